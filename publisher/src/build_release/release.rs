//! One platform's release: objects, packs, small files, and the signed document that will name them.

use std::io;
use std::time::Instant;

use lamplighter_client::format::digest::Blake3;
use lamplighter_client::format::document::FileRef;
use lamplighter_client::format::layout;
use lamplighter_client::format::pack;
use lamplighter_client::format::path::RelPath;
use lamplighter_client::format::release::{Notes, PackRow, Release};
use lamplighter_client::trust::VerifiedRelease;

use super::prior::{Before, Loaded};
use super::{Input, Job};
use crate::error::Error;
use crate::objects::{self, ObjectSink, Prior};
use crate::proof::record::Proved;
use crate::report::{PackFate, PackSummary, PlatformSummary};
use crate::scratch::ScratchTree;
use crate::site::{SiteError, SiteWriter};
use crate::watch::{PartProgress, Step};

/// A release with all its files in the site, but for the signed document.
pub(super) struct Draft {
    pub(super) loaded: Loaded,
    /// Where its packs start, newest first.
    pub(super) bases: Vec<DraftBase>,
    pub(super) summary: PlatformSummary,
}

impl Draft {
    /// All its ways, once they were tried.
    pub(super) fn proved(&self) -> Proved {
        let bases = self.bases.iter().map(|base| base.loaded.release.release.build).collect();
        Proved::new(&self.loaded.release.release, bases)
    }
}

/// Where a pack starts.
pub(super) struct DraftBase {
    pub(super) loaded: Loaded,
    /// The tree the pack was made from, where there is room to keep it for the proof.
    pub(super) tree: Option<ScratchTree>,
    /// The client's code has gone this way already.
    pub(super) applied: bool,
}

/// A release under way.
pub(super) struct Target<'a> {
    pub(super) input: &'a Input<'a>,
    pub(super) manifest: FileRef,
    pub(super) objects: FileRef,
    pub(super) full_bytes: u64,
}

impl Job<'_> {
    /// Puts everything of a release into the site but its signed document; `drafts` are this run's other platforms.
    pub(super) fn draft(&self, input: &Input<'_>, drafts: &[Draft]) -> Result<Draft, Error> {
        let (site, build, platform) = (self.writer.site(), self.request.build, input.platform);
        let manifest = input.scanned.manifest.to_bytes();
        if let Some(published) = self.authority.trust.release(site, build, platform)? {
            return self.reuse(input, &manifest, published);
        }
        self.writer.clear_unsigned(build, platform)?;
        let started = Instant::now();
        let before = self.before(platform);
        let (index, stats) = self.objects(input, &before, drafts)?;
        let index_bytes = index.to_bytes();
        self.writer.put(&layout::manifest(build, platform), &manifest)?;
        self.writer.put(&layout::objects(build, platform), &index_bytes)?;
        let notes = self.notes(platform);
        for (language, text) in &notes {
            self.writer.put(&layout::notes(build, platform, language), text)?;
        }
        let seconds = started.elapsed().as_secs_f64();
        let (manifest, objects) = (FileRef::of(&manifest), FileRef::of(&index_bytes));
        let target = Target { input, manifest, objects, full_bytes: stats.stored_bytes };
        let packs = self.packs(&target, &before.bases)?;
        let rows = packs.iter().filter_map(|p| p.row.clone()).collect();
        let notes = notes
            .iter()
            .map(|(language, text)| Notes { language: language.clone(), file: FileRef::of(text) })
            .collect();
        let release = self.sign(&target, notes, rows)?;
        let summary = PlatformSummary {
            platform: platform.to_owned(),
            reused: false,
            rows: input.scanned.manifest.rows().len(),
            content_bytes: input.scanned.manifest.content_bytes(),
            full_bytes: stats.stored_bytes,
            new_object_bytes: stats.written_bytes,
            seconds,
            packs: packs.iter().map(|p| p.summary.clone()).collect(),
        };
        let loaded = Loaded { release, manifest: input.scanned.manifest.clone(), index };
        let bases = before.bases.into_iter().zip(packs).map(|(loaded, pack)| pack.into_base(loaded));
        Ok(Draft { loaded, bases: bases.collect(), summary })
    }

    /// Takes the release that is in the site, if it is the one asked for.
    pub(super) fn reuse(&self, input: &Input<'_>, manifest: &[u8], published: VerifiedRelease) -> Result<Draft, Error> {
        let release = &published.release;
        let other = |what, expected: String, found: String| SiteError::OtherContent {
            platform: input.platform.to_owned(),
            build: release.build,
            what,
            expected,
            found,
        };
        let found = FileRef::of(manifest);
        if release.manifest != found {
            let (expected, found) = (release.manifest.blake3.to_string(), found.blake3.to_string());
            return Err(other("manifest (BLAKE3)", expected, found).into());
        }
        if release.version != self.request.version {
            return Err(other("version", release.version.clone(), self.request.version.clone()).into());
        }
        let text = "this build is published already with the same content; its signed release is used as it is";
        self.watch.notice("reused", &layout::release(release.build, input.platform), text);
        let bases: Vec<Loaded> =
            release.packs.iter().filter_map(|row| self.read(row.base_build, input.platform)).collect();
        let version =
            |build| bases.iter().find(|b| b.release.release.build == build).map(|b| &b.release.release.version);
        let packs = release.packs.iter().map(|row| PackSummary {
            base_build: row.base_build,
            base_version: version(row.base_build).cloned().unwrap_or_default(),
            fate: PackFate::Kept(row.length),
            seconds: 0.0,
        });
        let packs = packs.collect();
        let loaded = Loaded::new(self.writer.site(), published)?;
        let summary = PlatformSummary {
            platform: input.platform.to_owned(),
            reused: true,
            rows: loaded.manifest.rows().len(),
            content_bytes: loaded.manifest.content_bytes(),
            full_bytes: loaded.index.stored_bytes(),
            new_object_bytes: 0,
            seconds: 0.0,
            packs,
        };
        let bases = bases.into_iter().map(|loaded| DraftBase { loaded, tree: None, applied: false }).collect();
        Ok(Draft { loaded, bases, summary })
    }

    fn objects(
        &self,
        input: &Input<'_>,
        before: &Before,
        drafts: &[Draft],
    ) -> Result<(lamplighter_client::format::objects::ObjectsIndex, objects::ObjectStats), Error> {
        let manifest = &input.scanned.manifest;
        self.watch.step(Step::Objects, input.platform, manifest.content_bytes());
        let own = before.bases.iter().map(Loaded::prior);
        let now = drafts.iter().map(|draft| draft.loaded.prior());
        let prior: Vec<Prior<'_>> = own.chain(now).chain(before.others.iter().map(Loaded::prior)).collect();
        let progress = PartProgress::new(self.watch.clone());
        Ok(objects::build(manifest, &input.scanned.dir, &prior, &Sink(self.writer), &progress)?)
    }

    pub(super) fn sign(
        &self,
        target: &Target<'_>,
        notes: Vec<Notes>,
        packs: Vec<PackRow>,
    ) -> Result<VerifiedRelease, Error> {
        let (request, config) = (self.request, target.input.config);
        let release = Release {
            app: request.app.clone(),
            platform: target.input.platform.to_owned(),
            build: request.build,
            version: request.version.clone(),
            issued: request.time,
            minimum_build: request.minimum_build,
            // The scan has found both in the tree, so they are paths.
            entry: config.entry.as_deref().and_then(|entry| RelPath::parse(entry).ok()),
            patcher: config.patcher.as_deref().and_then(|patcher| RelPath::parse(patcher).ok()),
            minimum_os: config.minimum_os.clone(),
            manifest: target.manifest,
            objects: target.objects,
            notes,
            reads_pack: pack::FORMAT,
            packs,
        };
        let name = layout::release(request.build, target.input.platform);
        let Some(signers) = &self.authority.release_signers else {
            // Nobody will see it: it says what a run would have signed.
            return Ok(VerifiedRelease { bytes: release.to_body(), release });
        };
        let bytes = signers.sign(release.to_body(), &name, request.time)?.to_bytes();
        Ok(self.authority.trust.check_release(&name, bytes, request.build, target.input.platform)?)
    }
}

/// Objects go straight into the site: their names are their digests.
struct Sink<'a>(&'a SiteWriter);

impl ObjectSink for Sink<'_> {
    fn has(&self, blake3: &Blake3, length: u64) -> bool {
        self.0.has(&layout::object(blake3), length)
    }

    fn put(&self, blake3: &Blake3, stored: &[u8]) -> io::Result<()> {
        self.0.put(&layout::object(blake3), stored).map(|_| ()).map_err(io::Error::other)
    }
}
