//! The packs of one platform's release: the most useful first, as far as the budget goes.
//!
//! The most useful base is one that a channel offers now, then the newest: that is where users are. A budget of bytes is
//! kept by leaving out the least useful packs until the others fit, and gives the same site wherever it runs. A budget of
//! seconds begins no pack once the time is over; what is begun is finished. What it leaves out depends on the machine, and a
//! notice says so. Several platforms share a budget evenly; what one leaves is the next one's.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lamplighter_client::error::{Class as ClientClass, Error as ClientError};
use lamplighter_client::format::document::FileRef;
use lamplighter_client::format::layout;
use lamplighter_client::format::pack;
use lamplighter_client::format::release::PackRow;
use rayon::prelude::*;
use tempfile::NamedTempFile;

use super::Job;
use super::prior::Loaded;
use super::release::{DraftBase, Target};
use crate::bases::{useful_first, within, worth_keeping};
use crate::error::Error;
use crate::packs;
use crate::report::{PackFate, PackSummary};
use crate::scratch::ScratchTree;
use crate::watch::{PartProgress, Step};

/// Room that is left to others on the scratch volume.
const SPARE_BYTES: u64 = 4 << 30;

/// What packs may take in a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PackBudget {
    /// After so long no further pack is begun.
    pub time: Option<Duration>,
    /// Bytes of all packs together.
    pub bytes: Option<u64>,
}

/// What is left of a budget for how many platforms.
#[derive(Debug)]
pub(super) struct Remaining(Mutex<(PackBudget, u32)>);

impl Remaining {
    pub(super) fn new(budget: PackBudget, platforms: usize) -> Self {
        Self(Mutex::new((budget, u32::try_from(platforms).unwrap_or(u32::MAX).max(1))))
    }

    /// The share of the next platform.
    fn share(&self) -> PackBudget {
        let (left, platforms) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = left.bytes.map(|bytes| bytes / u64::from(platforms.max(1)));
        PackBudget { time: left.time.map(|time| time / platforms.max(1)), bytes }
    }

    fn used(&self, time: Duration, bytes: u64) {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        left.0.time = left.0.time.map(|had| had.saturating_sub(time));
        left.0.bytes = left.0.bytes.map(|had| had.saturating_sub(bytes));
        left.1 = left.1.saturating_sub(1);
    }
}

/// A pack to a release under way.
pub(super) struct Pack {
    pub(super) row: Option<PackRow>,
    pub(super) tree: Option<ScratchTree>,
    /// The client's code has taken the base to the release by it.
    pub(super) applied: bool,
    pub(super) summary: PackSummary,
}

impl Pack {
    pub(super) fn into_base(self, loaded: Loaded) -> DraftBase {
        DraftBase { loaded, tree: self.tree, applied: self.applied }
    }
}

/// A pack that is made and not in the site yet.
pub(super) struct Made {
    pub(super) fate: PackFate,
    pub(super) row: Option<PackRow>,
    /// None where it lies in the site.
    pub(super) file: Option<NamedTempFile>,
    pub(super) tree: Option<ScratchTree>,
    pub(super) applied: bool,
}

impl Made {
    fn without(fate: PackFate) -> Self {
        Self { fate, row: None, file: None, tree: None, applied: false }
    }
}

impl Job<'_> {
    /// Makes the packs from `bases`, and puts those into the site that are kept.
    pub(super) fn packs(&self, target: &Target<'_>, bases: &[Loaded]) -> Result<Vec<Pack>, Error> {
        let (started, share) = (Instant::now(), self.budget.share());
        let builds: Vec<u64> = bases.iter().map(|base| base.release.release.build).collect();
        let order = useful_first(&builds, &self.authority.offered(target.input.platform));
        let mut made = self.make(target, bases, &order, share.time)?;
        self.leave_out(target, &mut made, &order, share.bytes);
        let mut packs = Vec::new();
        for (base, (mut made, seconds)) in bases.iter().zip(made) {
            if let (Some(row), Some(file)) = (&made.row, made.file.take()) {
                self.writer.put_file(&layout::pack(&row.header.blake3), file)?;
            }
            let release = &base.release.release;
            let (base_build, base_version) = (release.build, release.version.clone());
            let summary = PackSummary { base_build, base_version, fate: made.fate, seconds };
            packs.push(Pack { row: made.row, tree: made.tree, applied: made.applied, summary });
        }
        self.budget.used(started.elapsed(), packs.iter().filter_map(|p| p.row.as_ref()).map(|row| row.length).sum());
        Ok(packs)
    }

    /// Makes packs in the order of `order`, each with the seconds it took; the answers are in the order of `bases`.
    fn make(
        &self,
        target: &Target<'_>,
        bases: &[Loaded],
        order: &[usize],
        time: Option<Duration>,
    ) -> Result<Vec<(Made, f64)>, Error> {
        if bases.is_empty() {
            return Ok(Vec::new());
        }
        let new = &target.input.scanned.manifest;
        let work = |base: &Loaded| base.index.stored_bytes() + packs::work_bytes(&base.manifest, new);
        self.watch.step(Step::Packs, target.input.platform, bases.iter().map(work).sum());
        let (begun, next) = (Instant::now(), AtomicUsize::new(0));
        let one = |_| {
            // Whichever thread comes takes the next in order, so that the least useful is what is left in the end.
            let index = order[next.fetch_add(1, Ordering::Relaxed)];
            let started = Instant::now();
            let is_over = time.is_some_and(|time| begun.elapsed() >= time);
            let made =
                if is_over { Ok(Made::without(PackFate::OverTime)) } else { self.pack_from(target, &bases[index]) };
            (index, made.map(|made| (made, started.elapsed().as_secs_f64())))
        };
        let mut made: Vec<_> = (0..bases.len()).into_par_iter().with_max_len(1).map(one).collect();
        made.sort_by_key(|(index, _)| *index);
        made.into_iter().map(|(_, made)| made).collect()
    }

    /// Leaves the least useful packs out until the others fit, and says what is left out for whatever reason.
    fn leave_out(&self, target: &Target<'_>, made: &mut [(Made, f64)], order: &[usize], bytes: Option<u64>) {
        let useful: Vec<usize> = order.iter().copied().filter(|index| made[*index].0.row.is_some()).collect();
        let lengths: Vec<u64> = useful.iter().filter_map(|i| made[*i].0.row.as_ref()).map(|row| row.length).collect();
        let fit = bytes.map_or(useful.len(), |bytes| within(&lengths, bytes));
        for (index, length) in useful.iter().zip(&lengths).skip(fit) {
            made[*index].0 = Made::without(PackFate::OverBytes(*length));
        }
        let platform = target.input.platform;
        if let (Some(bytes), true) = (bytes, fit < useful.len()) {
            let text = format!(
                "{} of {} packs are left out, the least useful first, for the others to fit into {bytes} bytes",
                useful.len() - fit,
                useful.len()
            );
            self.watch.notice("over-budget", platform, &text);
        }
        let late = made.iter().filter(|(made, _)| made.fate == PackFate::OverTime).count();
        if late > 0 {
            let text = format!(
                "{late} packs were not begun in time, the least useful ones; which, depends on the machine: another run may \
                 give another site"
            );
            self.watch.notice("over-time", platform, &text);
        }
    }

    /// Whether a site elsewhere could not be reached this time, which says nothing of the old release.
    fn is_line_trouble(&self, error: &ClientError) -> bool {
        self.request.origin.is_some() && matches!(error, ClientError::Download(error) if error.is_transient())
    }

    fn pack_from(&self, target: &Target<'_>, base: &Loaded) -> Result<Made, Error> {
        let release = &base.release.release;
        if release.manifest == target.manifest {
            return Ok(Made::without(PackFate::Same));
        }
        let skip = |detail: String| {
            self.watch.notice("base-skipped", &layout::release(release.build, &release.platform), &detail);
            Ok(Made::without(PackFate::Skipped))
        };
        if release.reads_pack < pack::FORMAT {
            return skip(format!("its client reads packs up to format {}, not {}", release.reads_pack, pack::FORMAT));
        }
        let tree = match self.scratch.install(&base.release) {
            Ok(tree) => tree,
            Err(source) if source.class() == ClientClass::Disk || self.is_line_trouble(&source) => {
                return Err(Error::Client { doing: "rebuild the tree of an old release", source: Box::new(source) });
            }
            Err(error) => return skip(format!("its tree cannot be rebuilt: {error}")),
        };
        if let Some(row) = self.collected(target, base)? {
            return self.apply(target, base, tree, row);
        }
        let step = packs::Step {
            base: &base.manifest,
            base_dir: &tree.path(),
            new: &target.input.scanned.manifest,
            new_dir: &target.input.scanned.dir,
        };
        let progress = PartProgress::new(self.watch.clone());
        let built = packs::build(&step, self.request.packs, &self.cache, &self.writer.temp_dir(), &progress)?;
        let tree = self.kept(target, base, tree);
        if !worth_keeping(built.length, target.full_bytes) {
            return Ok(Made { tree, ..Made::without(PackFate::TooLarge(built.length)) });
        }
        let row = PackRow {
            format: pack::FORMAT,
            base_build: release.build,
            base_manifest: release.manifest,
            length: built.length,
            header: FileRef { length: built.header_length, blake3: built.header_blake3 },
        };
        Ok(Made { fate: PackFate::Kept(row.length), row: Some(row), file: Some(built.file), tree, applied: false })
    }

    /// Keeps the tree of a base for the proof, if what is still to come will find room beside it.
    fn kept(&self, target: &Target<'_>, base: &Loaded, tree: ScratchTree) -> Option<ScratchTree> {
        let trees = base.manifest.content_bytes() + target.input.scanned.manifest.content_bytes();
        let wanted = trees.saturating_mul(2 * self.request.jobs as u64).saturating_add(SPARE_BYTES);
        (self.proves() && self.scratch.has_room(&tree, wanted)).then_some(tree)
    }
}
