//! Brings a tree to a verified release: choose the base, plan, stage, commit.
//!
//! Knows nothing of heads and channels: what comes in is a release that was verified down from the root, what goes out is a
//! tree. Everything up to the commit happens in the state directory and is resumable; a crash at any point leaves the
//! tree as the old or the new manifest has it ([`crate::tree`]).

mod directory;
mod feed;
mod flush;
mod from_objects;
mod from_pack;
mod identify;
mod look;
mod ops;
mod stage;
mod target;

use stage::Stage;
use target::Target;

use crate::download::Downloader;
use crate::error::Error;
use crate::format::digest::Blake3;
use crate::format::document::FileRef;
use crate::format::manifest::Manifest;
use crate::format::path::RelPath;
use crate::format::release::Release;
use crate::plan::{self, Change, Costs, Difference, OnDisk};
use crate::progress::{Cancel, Event, Phase, Progress};
use crate::tree::{Kept, Record, Staging, Transaction, TreeLock};
use crate::trust::VerifiedRelease;

pub use directory::deploy_directory;
pub use identify::Recognised;

/// Threads that fetch objects, and as many that flush files, as a rule: what a disk and a server take at once.
pub const HELPERS: usize = 4;

/// What a tree is updated from.
#[derive(Debug, Clone)]
pub struct BaseRelease {
    /// Its manifest.
    pub manifest: Manifest,
    /// BLAKE3 of the manifest's bytes: the identity of the base.
    pub manifest_blake3: Blake3,
    /// Build, and the objects index its signed release names, where that release is known.
    pub objects: Option<(u64, FileRef)>,
    /// What is on disk is known only by looking at every file, not from a record.
    pub unproven: bool,
}

impl BaseRelease {
    /// The base that a record describes: `manifest` is the one that `release` names.
    pub fn recorded(release: &Release, manifest: Manifest) -> Self {
        let objects = Some((release.build, release.objects));
        Self { manifest, manifest_blake3: release.manifest.blake3, objects, unproven: false }
    }
}

/// Which way content may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// A pack where one fits, objects for the rest.
    Cheapest,
    /// Objects only.
    ObjectsOnly,
    /// A pack, and objects only for files that differ from their base.
    PackOnly,
    /// What the previous release left ([`crate::tree`]), and objects for what it did not.
    Back,
    /// Every file in full from the site, whatever the tree holds.
    Afresh,
}

/// What a deployment is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// The release the tree is brought to.
    pub release: &'a VerifiedRelease,
    /// What the tree is updated from.
    pub base: Option<&'a BaseRelease>,
    /// Which way content may come.
    pub route: Route,
    /// Look at every row, as healing does, and not only at those in which base and target differ.
    pub everything: bool,
    /// The target's manifest, where it is at hand; taken if it is the one the release names.
    pub manifest: Option<&'a [u8]>,
}

impl Order<'_> {
    /// Name of its staging directory: the same update, resumed after a restart, has the same.
    pub fn key(&self) -> String {
        let base = self.base.map_or(Blake3::of(b""), |b| b.manifest_blake3);
        let joined = [*self.release.release.manifest.blake3.as_bytes(), *base.as_bytes()].concat();
        Blake3::of(&joined).to_string()[..32].to_owned()
    }
}

/// A deployment of which everything but the commit is done. What it staged is durable and found again by the same order.
#[derive(Debug)]
pub struct Staged {
    staging: Staging,
    to: Record,
    survey: Survey,
    target: Manifest,
    route: RouteTaken,
    costs: Costs,
}

impl Staged {
    /// Where the staged contents lie.
    pub fn staging(&self) -> &Staging {
        &self.staging
    }

    /// The record that the commit installs.
    pub fn record(&self) -> &Record {
        &self.to
    }

    /// What the plan said it would cost.
    pub fn costs(&self) -> &Costs {
        &self.costs
    }

    /// Where content came from.
    pub fn route(&self) -> RouteTaken {
        self.route
    }
}

/// How a deployment went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteTaken {
    /// Only the record was replaced, or only modes and links.
    NoContent,
    /// By pack.
    Pack,
    /// By objects.
    Objects,
    /// By pack, and objects for files that were not as the base release has them.
    PackAndObjects,
}

impl RouteTaken {
    /// Stable name, for output.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoContent => "nothing",
            Self::Pack => "pack",
            Self::Objects => "objects",
            Self::PackAndObjects => "pack+objects",
        }
    }
}

/// What a deployment did.
#[derive(Debug, Clone)]
pub struct DeployReport {
    /// Build of the release.
    pub build: u64,
    /// Its version.
    pub version: String,
    /// Where content came from.
    pub route: RouteTaken,
    /// What the plan said it would cost.
    pub costs: Costs,
    /// Requests made since the downloader was made, documents included.
    pub requests: u64,
    /// Bytes received since then.
    pub received_bytes: u64,
    /// Edited or foreign content that was moved out of the way.
    pub kept_aside: Vec<Kept>,
    /// Listed files left as the user edited them.
    pub left_edited: Vec<RelPath>,
}

/// Brings one locked tree to releases.
pub struct Deploy<'a> {
    /// The tree, locked and recovered.
    pub lock: &'a TreeLock,
    /// Where documents and content come from.
    pub downloader: &'a Downloader,
    /// Told of phases, bytes and notices.
    pub progress: &'a dyn Progress,
    /// Asks to stop.
    pub cancel: &'a Cancel,
    /// Threads that fetch objects, and as many that flush files, beside the calling one: [`HELPERS`], or 0 for none.
    pub helpers: usize,
}

/// What looking at the tree came to.
#[derive(Debug)]
struct Survey {
    differences: Vec<Difference>,
    /// What the disk holds at each of them.
    found: Vec<OnDisk>,
    changes: Vec<Change>,
}

impl Deploy<'_> {
    /// Brings the tree to a release: [`Self::stage`] and [`Self::commit`].
    ///
    /// # Errors
    /// Whatever stops it. Up to the commit nothing the app can see has changed, and what was fetched is kept for the
    /// next time.
    pub fn run(&self, order: &Order<'_>) -> Result<DeployReport, Error> {
        self.commit(self.stage(order)?, order)
    }

    /// Plans, fetches and builds everything the order needs; the app may run and sees nothing of it.
    ///
    /// With a base, only rows in which base and target differ are looked at, unless the order asks for every row, or the
    /// base was recognised rather than recorded.
    ///
    /// # Errors
    /// Whatever stops it; what was fetched is kept for the next time.
    pub fn stage(&self, order: &Order<'_>) -> Result<Staged, Error> {
        self.progress.event(Event::Started { phase: Phase::Plan, total_bytes: 0 });
        let staging = self.lock.staging(&order.key())?;
        let mut target = Target::open(self, order, &staging)?;
        let survey = self.survey(order.base, &target.manifest, order.everything)?;
        let mut stage = Stage::plan(self, &target, order.base, &survey, &staging, order.route)?;
        let ops = ops::operations(&survey, order.base.map(|b| &b.manifest), &target.manifest);
        let copied_bytes = staging.copied_bytes(&ops)?;
        if let Some(bytes) = copied_bytes {
            let text = format!(
                "no file can have two names here: {bytes} bytes of what is replaced are copied until the new is in place"
            );
            self.notice("copies_old", "", &text);
        }
        let costs = stage.costs(&target, &survey, copied_bytes.unwrap_or(0));
        self.announce(&costs)?;

        self.progress.event(Event::Started { phase: Phase::Download, total_bytes: costs.fetch_bytes });
        let route = stage.fill(&mut target, order.base)?;
        drop(stage);
        let to = Record { release: order.release.bytes.clone(), manifest: target.manifest_bytes };
        Ok(Staged { staging, to, survey, target: target.manifest, route, costs })
    }

    /// Changes the tree to what was staged for the same order.
    ///
    /// # Errors
    /// Whatever stops it; the tree is as before or as after ([`TreeLock::commit`]).
    pub fn commit(&self, staged: Staged, order: &Order<'_>) -> Result<DeployReport, Error> {
        self.progress.event(Event::Started { phase: Phase::Commit, total_bytes: 0 });
        self.stop_if_asked()?;
        let Staged { staging, to, survey, target, route, costs } = staged;
        let ops = ops::operations(&survey, order.base.map(|b| &b.manifest), &target);
        let from = self.lock.record()?;
        // A tree that is as it should be is not written to.
        let kept_aside = if ops.is_empty() && from.as_ref() == Some(&to) {
            staging.discard()?;
            Vec::new()
        } else {
            self.lock.commit(Transaction { from, to, ops, staging }, self.progress)?.kept
        };
        Ok(DeployReport {
            build: order.release.release.build,
            version: order.release.release.version.clone(),
            route,
            costs,
            requests: self.downloader.requests(),
            received_bytes: self.downloader.received_bytes(),
            kept_aside,
            left_edited: survey.left_edited(),
        })
    }

    fn survey(&self, base: Option<&BaseRelease>, target: &Manifest, everything: bool) -> Result<Survey, Error> {
        let manifest = base.map(|b| &b.manifest);
        let differences = match base {
            Some(base) if !everything && !base.unproven => plan::differing(&base.manifest, target),
            _ => plan::everything(manifest, target),
        };
        let found = look::at(self, &differences, manifest, target)?;
        let changes = plan::changes(&differences, &found, manifest, target);
        Ok(Survey { differences, found, changes })
    }

    /// Tells the costs, and refuses what the disk has no room for, before anything is fetched or written.
    fn announce(&self, costs: &Costs) -> Result<(), Error> {
        let text = format!(
            "{} files to write ({} bytes), {} to remove, {} bytes to fetch in {} more requests, {} bytes of disk space needed",
            costs.files_written,
            costs.write_bytes,
            costs.files_removed,
            costs.fetch_bytes,
            costs.requests,
            costs.disk_bytes
        );
        self.progress.event(Event::Notice { code: "plan", subject: "", text: &text });
        match self.lock.free_bytes()? {
            Some(available_bytes) if costs.write_bytes > 0 && available_bytes < costs.disk_bytes => {
                Err(Error::NoSpace { needed_bytes: costs.disk_bytes, available_bytes })
            }
            _ => Ok(()),
        }
    }

    fn notice(&self, code: &'static str, subject: &str, text: &str) {
        self.progress.event(Event::Notice { code, subject, text });
    }

    fn stop_if_asked(&self) -> Result<(), Error> {
        if self.cancel.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }
}

impl Survey {
    /// Rows of the target manifest that get new content, in order.
    fn rows_to_put(&self) -> Vec<usize> {
        let row = |change: &Change| match change {
            Change::Put { target_row, .. } => Some(*target_row),
            _ => None,
        };
        self.changes.iter().filter_map(row).collect()
    }

    fn left_edited(&self) -> Vec<RelPath> {
        let path = |change: &Change| match change {
            Change::LeaveEdited { path } => Some(path.clone()),
            _ => None,
        };
        self.changes.iter().filter_map(path).collect()
    }
}
