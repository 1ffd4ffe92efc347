//! Removes from a site what nobody needs any more: releases by a policy, and with them what only they named.
//!
//! [`keep`] decides which releases stay, [`mod@sweep`] which files that leaves behind; both are pure. Here the documents are read,
//! each verified before it is believed, and files are removed: signed releases first, packs last, each group durable
//! before the next begins. So a run that dies leaves a sound site, and the next one finishes the job.
//!
//! Whatever a head offers stays with everything it names: objects, packs, and the releases these packs start from. Where
//! a head or a release cannot be read and verified, nothing is removed at all: nobody can tell what it needs.

pub mod keep;
mod shelf;
pub mod sweep;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use lamplighter_client::format::layout;
use lamplighter_client::format::release::Release;
use lamplighter_client::format::text::Time;
use lamplighter_client::trust::VerifiedRelease;
use rayon::prelude::*;

use crate::build_release::prior::Loaded;
use crate::error::Error;
use crate::init::days_in_seconds;
use crate::origin::Origin;
use crate::site::documents::named;
use crate::site::{Site, SiteError, SiteWriter, Trust};
use crate::watch::{Step, Watch};
use keep::{Id, Offer, Published, Rules, Why};
use shelf::Shelf;
use sweep::{Plan, Reach};

/// What is to be pruned, and what must stay.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The site, or the directory that holds a part of it.
    pub site: &'a Path,
    /// Where the rest of it is: files are removed there, and the directory keeps none that are gone.
    pub origin: Option<&'a Arc<Origin>>,
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
/// Not a site, or another app's; a document that cannot be read and verified: nothing is removed then. The disk, or the
/// provider; another publisher at work.
pub fn run(request: &Request<'_>, watch: Arc<dyn Watch>) -> Result<Pruned, Error> {
    // Only looking needs no lock, and so no right to write.
    let writer = request.delete.then(|| SiteWriter::lock(request.site, watch.clone())).transpose()?;
    let site = Site::open(request.site)?.over(request.origin.cloned());
    let shelf = Shelf::of(&site, request.origin)?;
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
    let offers = offers(&site, &trust, &shelf, &releases)?;
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
        plan: sweep::sweep(shelf.files()?, &reach, &rules),
        deleted: request.delete,
    };
    pruned.plan.unknown.sort();
    if let Some(writer) = &writer {
        let place = request.origin.map_or_else(|| site.dir().display().to_string(), |o| o.location().to_owned());
        watch.step(Step::Prune, &place, pruned.plan.bytes());
        shelf.remove(writer, &pruned.plan, &*watch)?;
    }
    Ok(pruned)
}

type Releases = BTreeMap<Id, VerifiedRelease>;

/// Every signed release, verified; keys that were replaced count, since clients may have what they signed. With those of
/// the directory that were not sent to where the rest is yet.
fn releases(site: &Site, trust: &Trust) -> Result<Releases, SiteError> {
    let mut listed = site.releases()?;
    if site.origin().is_some() {
        listed.extend(Site::open(site.dir())?.releases()?);
        listed.sort();
        listed.dedup();
    }
    let read = |(build, platform): &(u64, String)| -> Result<(Id, VerifiedRelease), SiteError> {
        let missing = || SiteError::damaged(&layout::release(*build, platform), "it went away meanwhile");
        let release = trust.past_release(site, *build, platform)?.ok_or_else(missing)?;
        Ok(((platform.clone(), *build), release))
    };
    listed.par_iter().map(read).collect()
}

/// What the heads of all channels offer; every release they name must be the one that lies there.
fn offers(site: &Site, trust: &Trust, shelf: &Shelf<'_>, releases: &Releases) -> Result<Vec<Offer>, SiteError> {
    let mut heads = Vec::new();
    for channel in site.channels()? {
        heads.extend(trust.last_head(site, &channel)?.map(|signed| (channel, signed)));
    }
    for (channel, bytes) in shelf.heads() {
        heads.push((channel.clone(), trust.check_last_head(channel, bytes.clone())?));
    }
    let mut offers = Vec::new();
    for (channel, signed) in heads {
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

#[cfg(test)]
mod tests;
