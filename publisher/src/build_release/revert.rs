//! The way back from a bad release: the content of an old build under a new, higher number.
//!
//! Builds only grow, so clients that have the bad release go forward to the old content, by a pack from it. No object is
//! added: the old release's index is published again as it is. Packs that lead to the old release lead to the new one, too,
//! since its manifest is the same; only those from the builds published since are computed. A client that still has the old
//! content replaces its record and downloads nothing.
//!
//! The order is that of [`build_release`](super): everything is tried with the client's code before the signed release
//! appears, and the head, which also marks the bad build and ends a halt, comes last.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use lamplighter_client::format::document::FileRef;
use lamplighter_client::format::head::Head;
use lamplighter_client::format::layout;
use lamplighter_client::format::notes::NotesSection;
use lamplighter_client::format::release::{Notes, PackRow};
use lamplighter_client::trust::VerifiedRelease;

use super::packing::{Pack, PackBudget, Remaining};
use super::prior::Loaded;
use super::release::{Draft, Target};
use super::{Authority, Input, Job, Request, notes};
use crate::config::PlatformConfig;
use crate::error::Error;
use crate::head::edits::{self, Shares};
use crate::head::{Mover, Terms, row};
use crate::promote::require_complete;
use crate::proof::record::Proofs;
use crate::report::{ChannelSummary, PackFate, PackSummary, PlatformSummary, Summary};
use crate::scan::Scanned;
use crate::scratch::Scratch;
use crate::site::documents::named;
use crate::site::{SiteError, SiteWriter, Trust};
use crate::watch::Watch;

/// What is to be taken back, beside what [`Request`] says of sites, keys and packs.
#[derive(Debug, Clone)]
pub struct Back {
    /// The build whose content comes back.
    pub to: u64,
    /// Number of the new build; the one after the highest published where it is not said.
    pub build: Option<u64>,
    /// Its version; that of the old build where it is not said.
    pub version: Option<String>,
    /// Platforms to revert; all that are offered a build above where empty.
    pub platforms: Vec<String>,
    /// Builds to mark as bad, beside those that are offered now.
    pub bad: Vec<u64>,
    /// What people are told of it.
    pub notes: BTreeMap<String, PathBuf>,
}

impl Back {
    fn version_of(&self, way: &Way) -> String {
        self.version.clone().unwrap_or_else(|| way.old.release.release.version.clone())
    }
}

/// What one platform goes back from and to.
struct Way {
    platform: String,
    /// The build on offer.
    bad: u64,
    old: Loaded,
}

/// Publishes the old content again and moves the channel to it. `base` says everything but what is published: its build,
/// version, platforms, minimum build and notes are not looked at.
///
/// # Errors
/// Nothing above the old build is on offer; a platform has no such build, or one with missing files; anything on the way.
/// What clients see is as it was then.
pub fn run(base: &Request, back: &Back, watch: Arc<dyn Watch>) -> Result<Summary, Error> {
    let threads = rayon::ThreadPoolBuilder::new().num_threads(base.jobs).build();
    threads.map_err(|e| Error::Threads(e.to_string()))?.install(|| publish(base, back, watch))
}

fn publish(base: &Request, back: &Back, watch: Arc<dyn Watch>) -> Result<Summary, Error> {
    let writer = SiteWriter::lock(&base.site, watch.clone())?.over(base.origin.clone());
    let channel = base.channel.clone().unwrap_or_default();
    let base = &Request { move_channel: true, platforms: BTreeMap::new(), ..base.clone() };
    let authority = Authority::new(base, &writer)?;
    let head = authority.heads.iter().find(|head| head.channel == channel);
    let head = head.ok_or_else(|| SiteError::NoHead { channel: channel.clone() })?;
    let ways = ways(&writer, &authority.trust, head, back, &*watch)?;
    if ways.is_empty() {
        return Ok(unchanged(head));
    }
    let version = back.version_of(&ways[0]);
    let build = match back.build {
        Some(build) => build,
        None => next_build(&writer, &authority, &ways, back)?,
    };
    for way in &ways {
        crate::head::require_above(Some(head), &channel, &way.platform, build)?;
    }
    let own_notes = notes::read(&back.notes, build, &version)?;
    let temp_dir = writer.temp_dir();
    let scratch = Scratch::new(writer.site(), base.scratch.as_deref().unwrap_or(&temp_dir), watch.clone())
        .map_err(|source| Error::Client { doing: "open the site", source: Box::new(source) })?;
    let mut drafts = Vec::new();
    for way in &ways {
        let request = Request {
            build,
            version: back.version_of(way),
            minimum_build: way.old.release.release.minimum_build,
            ..base.clone()
        };
        let job = Job {
            request: &request,
            writer: &writer,
            authority: &authority,
            notes: &own_notes,
            scratch: scratch.clone(),
            watch: watch.clone(),
            cache: super::unit_cache(base)?,
            budget: Remaining::new(PackBudget::default(), 1),
        };
        let mut draft = job.draft_of_old(way)?;
        writer.barrier()?;
        if base.prove {
            job.prove(&mut draft)?;
        }
        super::trim(&job.cache, &*watch);
        drafts.push(draft);
    }
    if base.prove {
        Proofs::keep(&writer, drafts.iter().map(Draft::proved).collect())?;
    }
    base.origin.iter().try_for_each(|origin| origin.require_no_trouble())?;
    for draft in drafts.iter().filter(|d| !d.summary.reused) {
        writer.put(&layout::release(build, &draft.summary.platform), &draft.loaded.release.bytes)?;
    }
    writer.barrier()?;
    let channel = move_channel(base, back, &authority, &writer, (&ways, &drafts), &*watch)?;
    let platforms = drafts.into_iter().map(|draft| draft.summary).collect();
    Ok(Summary { build, version, platforms, channel, ..Summary::default() })
}

/// What is to be done, platform by platform.
fn ways(writer: &SiteWriter, trust: &Trust, head: &Head, back: &Back, watch: &dyn Watch) -> Result<Vec<Way>, Error> {
    let site = writer.site();
    let missing = |platform: &str| SiteError::NoSuchBuild { build: back.to, platforms: vec![platform.to_owned()] };
    if let Some(unknown) = back.platforms.iter().find(|p| head.release_for(p).is_none()) {
        let known: Vec<&str> = head.releases.iter().map(|r| r.platform.as_str()).collect();
        let (channel, platform) = (head.channel.clone(), unknown.clone());
        return Err(SiteError::NoSuchPlatform { channel, platform, known: known.join(", ") }.into());
    }
    let mut ways = Vec::new();
    let mut done = 0;
    let wanted = |platform: &String| back.platforms.is_empty() || back.platforms.contains(platform);
    for offered in head.releases.iter().filter(|row| wanted(&row.platform)) {
        let (platform, bad) = (offered.platform.clone(), offered.build);
        if bad <= back.to {
            let text = format!("build {bad} is offered there, not above {}: nothing to take back", back.to);
            watch.notice("not-reverted", &platform, &text);
            continue;
        }
        let old = trust.past_release(site, back.to, &platform)?.ok_or_else(|| missing(&platform))?;
        let present = trust.release(site, bad, &platform)?.ok_or_else(|| missing(&platform))?;
        if present.release.manifest == old.release.manifest {
            watch.notice("reverted-before", &platform, &format!("build {bad} has the content of {} already", back.to));
            done += 1;
            continue;
        }
        require_complete(site, &old)?;
        ways.push(Way { platform, bad, old: Loaded::new(site, old)? });
    }
    if ways.is_empty() && done == 0 {
        let offered = head.releases.iter().find(|row| wanted(&row.platform));
        let (platform, offered) = offered.map_or((String::new(), 0), |row| (row.platform.clone(), row.build));
        let (channel, to) = (head.channel.clone(), back.to);
        return Err(SiteError::NothingToRevert { platform, channel, offered, to }.into());
    }
    Ok(ways)
}

/// What a channel that offers the old content already comes to.
fn unchanged(head: &Head) -> Summary {
    let (build, version) = head.releases.first().map_or((0, String::new()), |r| (r.build, r.version.clone()));
    let channel = ChannelSummary { channel: head.channel.clone(), sequence: head.sequence, moved: false };
    Summary { build, version, platforms: Vec::new(), channel: Some(channel), ..Summary::default() }
}

/// The number after the highest published; or the highest itself, if a run that died before it moved the channel published
/// this very content under it.
fn next_build(writer: &SiteWriter, authority: &Authority, ways: &[Way], back: &Back) -> Result<u64, SiteError> {
    let (site, Authority { published, trust, .. }) = (writer.site(), authority);
    let highest = published.last().map_or(0, |(build, _)| *build);
    for (_, platform) in published.iter().filter(|(build, _)| *build == highest) {
        let ours = ways.iter().find(|way| way.platform == *platform && way.bad < highest);
        let release = trust.release(site, highest, platform)?.map(|release| release.release);
        let same = ours.zip(release).is_some_and(|(way, release)| {
            release.manifest == way.old.release.release.manifest && release.version == back.version_of(way)
        });
        if !same {
            return Ok(highest + 1);
        }
    }
    Ok(highest)
}

fn move_channel(
    base: &Request,
    back: &Back,
    authority: &Authority,
    writer: &SiteWriter,
    (ways, drafts): (&[Way], &[Draft]),
    watch: &dyn Watch,
) -> Result<Option<ChannelSummary>, SiteError> {
    let Some((signers, channel)) = authority.channel_signers.as_ref().zip(base.channel.as_deref()) else {
        return Ok(None);
    };
    let mover = Mover { writer, trust: &authority.trust, signers, watch };
    let Request { time, expires_days, .. } = *base;
    let terms = Terms { channel, time, expires_days, mirrors: base.mirrors.as_deref() };
    let published = mover.change(&terms, |head| {
        for (way, draft) in ways.iter().zip(drafts) {
            edits::offer(head, &row(&draft.loaded.release), Shares::default(), time);
            back.bad.iter().chain([&way.bad]).for_each(|build| edits::mark_bad(head, &way.platform, *build));
            // Whoever takes a release back wants it to arrive.
            edits::resume(head, &way.platform);
        }
    })?;
    let (channel, sequence) = (channel.to_owned(), published.head.sequence);
    Ok(Some(ChannelSummary { channel, sequence, moved: published.changed }))
}

impl Job<'_> {
    /// Puts the content of an old release into the site under this run's number, but for the signed document.
    fn draft_of_old(&self, way: &Way) -> Result<Draft, Error> {
        let (site, build, platform) = (self.writer.site(), self.request.build, way.platform.as_str());
        let old = &way.old.release.release;
        let config = PlatformConfig {
            entry: old.entry.as_ref().map(ToString::to_string),
            patcher: old.patcher.as_ref().map(ToString::to_string),
            minimum_os: old.minimum_os.clone(),
            ..PlatformConfig::default()
        };
        let tree = self.scratch.install(&way.old.release).map_err(|source| Error::Client {
            doing: "rebuild the tree of the old release",
            source: Box::new(source),
        })?;
        let scanned = Scanned::installed(tree.path(), way.old.manifest.clone());
        let input = Input { platform, config: &config, scanned };
        if let Some(published) = self.authority.trust.release(site, build, platform)? {
            return self.reuse(&input, &way.old.manifest.to_bytes(), published);
        }
        self.writer.clear_unsigned(build, platform)?;
        self.put_documents(old)?;
        let notes = self.put_notes(way)?;
        let full_bytes = way.old.index.stored_bytes();
        let target = Target { input: &input, manifest: old.manifest, objects: old.objects, full_bytes };
        let (bases, packs) = self.packs_to_old(&target, way)?;
        let rows = packs.iter().filter_map(|pack| pack.row.clone()).collect();
        let release = self.sign(&target, notes, rows)?;
        let summary = PlatformSummary {
            platform: platform.to_owned(),
            reused: false,
            rows: way.old.manifest.rows().len(),
            content_bytes: way.old.manifest.content_bytes(),
            full_bytes,
            new_object_bytes: 0,
            seconds: 0.0,
            packs: packs.iter().map(|pack| pack.summary.clone()).collect(),
        };
        let loaded = Loaded { release, manifest: way.old.manifest.clone(), index: way.old.index.clone() };
        let bases = bases.into_iter().zip(packs).map(|(loaded, pack)| pack.into_base(loaded));
        Ok(Draft { loaded, bases: bases.collect(), summary })
    }

    /// Manifest and index of the old release, byte by byte, under the new number.
    fn put_documents(&self, old: &lamplighter_client::format::release::Release) -> Result<(), SiteError> {
        let (site, build, platform) = (self.writer.site(), self.request.build, old.platform.as_str());
        let manifest = named(site, &layout::manifest(old.build, platform), &old.manifest)?;
        self.writer.put(&layout::manifest(build, platform), &manifest)?;
        let index = named(site, &layout::objects(old.build, platform), &old.objects)?;
        self.writer.put(&layout::objects(build, platform), &index)?;
        Ok(())
    }

    /// What this run says, in front of what the old release said: the releases between are not in it.
    fn put_notes(&self, way: &Way) -> Result<Vec<Notes>, SiteError> {
        let own: &BTreeMap<String, NotesSection> = self.notes;
        let files = notes::cumulated(own, &self.sections_of(&way.old.release.release));
        let mut named = Vec::new();
        for (language, text) in files {
            self.writer.put(&layout::notes(self.request.build, &way.platform, &language), &text)?;
            named.push(Notes { language, file: FileRef::of(&text) });
        }
        Ok(named)
    }

    /// Packs from every build clients may have: those to the old release as they are, the others made anew.
    fn packs_to_old(&self, target: &Target<'_>, way: &Way) -> Result<(Vec<Loaded>, Vec<Pack>), Error> {
        let old = &way.old.release.release;
        let mut bases = Vec::new();
        let mut packs = Vec::new();
        for row in old.packs.iter().filter(|row| self.writer.has(&layout::pack(&row.header.blake3), row.length)) {
            let Some(base) = self.read(row.base_build, &way.platform) else { continue };
            packs.push(taken_over(row, &base.release));
            bases.push(base);
        }
        let known: Vec<u64> = bases.iter().map(|base| base.release.release.build).collect();
        let mut others = self.before(&way.platform).bases;
        others.retain(|base| !known.contains(&base.release.release.build));
        // The build that is taken back is where clients are, however many were published since.
        if !known.contains(&way.bad) && others.iter().all(|base| base.release.release.build != way.bad) {
            others.extend(self.read(way.bad, &way.platform));
        }
        packs.extend(self.packs(target, &others)?);
        bases.extend(others);
        let mut pairs: Vec<(Loaded, Pack)> = bases.into_iter().zip(packs).collect();
        pairs.sort_by_key(|(base, _)| std::cmp::Reverse(base.release.release.build));
        Ok(pairs.into_iter().unzip())
    }
}

/// A pack to the old release, which leads to the new one as well.
fn taken_over(row: &PackRow, base: &VerifiedRelease) -> Pack {
    let summary = PackSummary {
        base_build: base.release.build,
        base_version: base.release.version.clone(),
        fate: PackFate::Kept(row.length),
        seconds: 0.0,
    };
    Pack { row: Some(row.clone()), tree: None, applied: false, summary }
}
