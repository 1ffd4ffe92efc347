//! Removes from a site what nobody needs any more: releases by a policy, and with them what only they named.
//!
//! [`keep`] decides which releases stay, [`mod@sweep`] which files that leaves behind; both are pure. Here the documents are read,
//! each verified before it is believed, and files are removed: signed releases first, packs last, each group durable
//! before the next begins. So a run that dies leaves a sound site, and the next one finishes the job.
//!
//! Whatever a head offers stays with everything it names: objects, packs, and the releases these packs start from. Where
//! a head or a release cannot be read and verified, nothing is removed at all: nobody can tell what it needs.

pub mod keep;
pub mod sweep;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use lamplighter_client::format::layout;
use lamplighter_client::format::release::Release;
use lamplighter_client::format::text::Time;
use lamplighter_client::trust::VerifiedRelease;
use rayon::prelude::*;

use crate::build_release::prior::Loaded;
use crate::error::Error;
use crate::init::days_in_seconds;
use crate::site::documents::named;
use crate::site::write::WORK_DIR;
use crate::site::{Site, SiteError, SiteWriter, Trust};
use crate::watch::{Step, Watch};
use keep::{Id, Offer, Published, Rules, Why};
use sweep::{File, Plan, Reach};

/// What is to be pruned, and what must stay.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The site.
    pub site: &'a Path,
    /// The app the site must belong to, if the caller knows it.
    pub app: Option<&'a str>,
    /// Newest releases of each platform that stay.
    pub keep: usize,
    /// Days every release stays.
    pub keep_days: u64,
    /// Days that what is not offered any more stays for clients in the middle of an update.
    pub grace_days: u64,
    /// Whether files are removed; else it is only told which would be.
    pub delete: bool,
    /// The time of the run.
    pub time: Time,
}

/// A release of the site, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// Platform.
    pub platform: String,
    /// Build.
    pub build: u64,
    /// Version.
    pub version: String,
    /// Why it stays; none if it goes.
    pub why: Option<Why>,
}

/// What became of a site, or would.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Releases, by platform and build.
    pub releases: Vec<Decided>,
    /// Files that go and those that stay.
    pub plan: Plan,
    /// Whether the files are gone.
    pub deleted: bool,
}

/// Finds what nobody needs, and removes it where that is asked for.
///
/// # Errors
/// Not a site, or another app's; a document that cannot be read and verified: nothing is removed then. The disk; another
/// publisher at work.
pub fn run(request: &Request<'_>, watch: Arc<dyn Watch>) -> Result<Pruned, Error> {
    // Only looking needs no lock, and so no right to write.
    let writer = request.delete.then(|| SiteWriter::lock(request.site, watch.clone())).transpose()?;
    let site = Site::open(request.site)?;
    let trust = Trust::read(&site)?;
    if let Some(app) = request.app {
        trust.require_app(&site, app)?;
    }
    let rules = Rules {
        keep: request.keep,
        keep_seconds: days_in_seconds(request.keep_days),
        grace_seconds: days_in_seconds(request.grace_days),
        now: request.time,
    };
    let releases = releases(&site, &trust)?;
    let offers = offers(&site, &trust, &releases)?;
    let published: Vec<Published> = releases.values().map(|r| to_published(&r.release)).collect();
    let kept = keep::keep(&published, &offers, &rules);
    let reach = reach(&site, &releases, &kept)?;
    let decided = releases.iter().map(|((platform, build), release)| Decided {
        platform: platform.clone(),
        build: *build,
        version: release.release.version.clone(),
        why: kept.get(&(platform.clone(), *build)).copied(),
    });
    let mut pruned = Pruned {
        releases: decided.collect(),
        plan: sweep::sweep(files(&site)?, &reach, &rules),
        deleted: request.delete,
    };
    pruned.plan.unknown.sort();
    if let Some(writer) = &writer {
        remove(writer, &pruned.plan, &*watch)?;
    }
    Ok(pruned)
}

type Releases = BTreeMap<Id, VerifiedRelease>;

/// Every signed release, verified; keys that were replaced count, since clients may have what they signed.
fn releases(site: &Site, trust: &Trust) -> Result<Releases, SiteError> {
    let listed = site.releases()?;
    let read = |(build, platform): &(u64, String)| -> Result<(Id, VerifiedRelease), SiteError> {
        let missing = || SiteError::damaged(&layout::release(*build, platform), "it went away meanwhile");
        let release = trust.past_release(site, *build, platform)?.ok_or_else(missing)?;
        Ok(((platform.clone(), *build), release))
    };
    listed.par_iter().map(read).collect()
}

/// What the heads of all channels offer; every release they name must be the one that lies there.
fn offers(site: &Site, trust: &Trust, releases: &Releases) -> Result<Vec<Offer>, SiteError> {
    let mut offers = Vec::new();
    for channel in site.channels()? {
        let Some(signed) = trust.last_head(site, &channel)? else { continue };
        for row in &signed.head.releases {
            let (name, id) = (layout::release(row.build, &row.platform), (row.platform.clone(), row.build));
            named(site, &name, &row.file)?;
            if !releases.contains_key(&id) {
                return Err(SiteError::damaged(&name, format!("channel {channel} offers it, and it is no release")));
            }
            let rollouts = signed.head.rollouts.iter().filter(|r| r.platform == row.platform || r.platform == "*");
            offers.push(Offer { id, rollout_start: rollouts.map(|r| r.start).max() });
        }
    }
    Ok(offers)
}

fn to_published(release: &Release) -> Published {
    let packs = release.packs.iter().map(|row| (row.base_build, layout::pack(&row.header.blake3)));
    Published { id: (release.platform.clone(), release.build), issued: release.issued, packs: packs.collect() }
}

/// What the releases that stay need, and what any release names.
///
/// A release that stays keeps the packs from releases that stay: those from others have nobody to serve.
fn reach(site: &Site, releases: &Releases, kept: &BTreeMap<Id, Why>) -> Result<Reach, SiteError> {
    let objects = |release: &VerifiedRelease| -> Result<Vec<String>, SiteError> {
        let loaded = Loaded::new(site, release.clone())?;
        Ok(loaded.index.objects().iter().map(|object| layout::object(&object.blake3)).collect())
    };
    let read: Vec<(&Id, Result<Vec<String>, SiteError>)> =
        releases.par_iter().map(|(id, release)| (id, objects(release))).collect();
    let mut reach = Reach::default();
    for (id, objects) in read {
        let (platform, _) = id;
        let packs = releases[id].release.packs.iter();
        let packs = packs.map(|row| ((platform.clone(), row.base_build), layout::pack(&row.header.blake3)));
        if kept.contains_key(id) {
            let objects = objects?;
            reach.needed.extend(packs.clone().filter(|(base, _)| kept.contains_key(base)).map(|(_, name)| name));
            reach.needed.extend(objects.iter().cloned());
            reach.named.extend(objects);
            reach.kept.insert(id.clone());
        } else {
            // What a damaged one names waits for the grace like any other file that nobody names.
            reach.named.extend(objects.unwrap_or_default());
            reach.dropped.insert(id.clone());
        }
        reach.named.extend(packs.map(|(_, name)| name));
    }
    Ok(reach)
}

/// All files of the site but the publisher's own.
fn files(site: &Site) -> Result<Vec<File>, SiteError> {
    let mut files = Vec::new();
    let walk = walkdir::WalkDir::new(site.dir()).min_depth(1).into_iter();
    for entry in walk.filter_entry(|e| e.depth() != 1 || e.file_name() != WORK_DIR) {
        let entry = entry.map_err(|error| {
            let name = error.path().map_or_else(String::new, |path| path.display().to_string());
            SiteError::Read { name, source: error.into() }
        })?;
        if entry.file_type().is_dir() {
            continue;
        }
        let below = entry.path().strip_prefix(site.dir()).unwrap_or(entry.path());
        let parts: Vec<_> = below.components().map(|part| part.as_os_str().to_string_lossy()).collect();
        let read = |source| SiteError::Read { name: parts.join("/"), source };
        let metadata = entry.metadata().map_err(|e| read(e.into()))?;
        let since = metadata.modified().map_err(read)?.duration_since(UNIX_EPOCH).unwrap_or_default();
        // A link, a device, or a name that is not what it seems, is none of ours.
        let name = if metadata.is_file() { parts.join("/") } else { format!("{} (no plain file)", parts.join("/")) };
        files.push(File { name, bytes: metadata.len(), modified: Time::from_seconds(since.as_secs() as i64) });
    }
    Ok(files)
}

fn remove(writer: &SiteWriter, plan: &Plan, watch: &dyn Watch) -> Result<(), SiteError> {
    watch.step(Step::Prune, &writer.site().dir().display().to_string(), plan.bytes());
    for group in &plan.groups {
        for file in group {
            writer.remove(&file.name)?;
            watch.advanced(file.bytes);
        }
        writer.barrier()?;
    }
    // Those that a run that died left, too.
    for top in ["releases", "objects", "packs", "shards"] {
        let dir = writer.site().path(top);
        let walk = walkdir::WalkDir::new(&dir).min_depth(1).contents_first(true).into_iter().filter_map(Result::ok);
        for entry in walk.filter(|entry| entry.file_type().is_dir()) {
            let below = entry.path().strip_prefix(&dir).unwrap_or(entry.path());
            let parts: Vec<_> = below.components().map(|part| part.as_os_str().to_string_lossy()).collect();
            writer.remove_empty(&format!("{top}/{}", parts.join("/")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
