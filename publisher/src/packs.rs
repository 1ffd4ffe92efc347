//! Builds packs: two releases in, one file out that takes a tree from the first to the second.
//!
//! The manifests alone decide what goes into a pack: [`edits`] finds what changed, [`pairing`] what each new file is
//! made from, [`grouping`] which files share a unit. Then the units are encoded side by side, as many as threads and memory
//! allow ([`Budget`]), largest first, and written in their own order: the same releases give the same bytes at any number of threads.

pub mod edits;
pub mod grouping;
pub mod pairing;

mod budget;
mod cache;
mod content;
mod kept;

use std::io::{self, BufWriter, Seek, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lamplighter_client::format::digest::Blake3;
use lamplighter_client::format::manifest::Manifest;
use lamplighter_client::format::pack::{BlockInfo, PackError, PackHeader, Unit};
use lamplighter_client::progress::{Event, Progress};
use tempfile::{NamedTempFile, SpooledTempFile, spooled_tempfile_in};

use crate::diff::deflate::{self, Archive};
use crate::diff::{self, DiffError, Effort, Files, Side};
pub use budget::{Budget, default_memory_bytes};
pub use cache::UnitCache;
use cache::{CachedUnit, HELD_BYTES};
use grouping::Item;
pub use kept::{KeptPatches, KeptUse};

/// What a second of a client's time must save, unless said otherwise, in bytes: less than most clients download in that
/// time.
pub const DEFLATE_BYTES_PER_SECOND_DEFAULT: u64 = 1_000_000;

/// Why a pack can't be built.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum PackBuildError {
    #[error("pack: reading {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("pack: {path} changed while the pack was built: expected BLAKE3 {expected}, found {actual}")]
    Changed { path: PathBuf, expected: Blake3, actual: Blake3 },
    #[error("pack: {path}: {source}")]
    Diff { path: String, source: DiffError },
    #[error("pack: writing to the scratch directory {scratch}: {source}")]
    Scratch { scratch: PathBuf, source: io::Error },
    #[error("pack: {0}")]
    Header(#[from] PackError),
}

/// The two releases a pack stands between.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// Manifest of the base release.
    pub base: &'a Manifest,
    /// Directory with its files.
    pub base_dir: &'a Path,
    /// Manifest of the target release.
    pub new: &'a Manifest,
    /// Directory with its files.
    pub new_dir: &'a Path,
}

/// How packs are worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackOptions {
    /// From 1 (fast) to 9 (smallest).
    pub effort: Effort,
    /// Bytes that a second of a client's time must save, for archives to be patched inside.
    pub deflate_bytes_per_second: u64,
}

impl PackOptions {
    /// An effort from 1 to 9, and defaults.
    pub fn of_effort(effort: u8) -> Self {
        Self { effort: Effort::new(effort), deflate_bytes_per_second: DEFLATE_BYTES_PER_SECOND_DEFAULT }
    }
}

/// A pack in the scratch directory.
#[derive(Debug)]
pub struct BuiltPack {
    /// The file, flushed to the system but not to the disk.
    pub file: NamedTempFile,
    /// Its length, in bytes.
    pub length: u64,
    /// Bytes of its header.
    pub header_length: u64,
    /// What the signed release names the pack by.
    pub header_blake3: Blake3,
    /// What became of each unit, in the order of the pack.
    pub units: Vec<UnitReport>,
}

/// One unit of a pack, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitReport {
    /// Path of its first target row.
    pub path: String,
    /// Its target rows.
    pub files: usize,
    /// Bytes it makes.
    pub new_bytes: u64,
    /// Bytes of its blocks.
    pub pack_bytes: u64,
    /// Whether the cache had it.
    pub reused: bool,
}

/// Rows of a unit before it is encoded.
struct UnitPlan {
    old_rows: Vec<usize>,
    new_rows: Vec<usize>,
    /// For each new row the index of the old row it was paired with.
    twins: Vec<Option<usize>>,
    old_bytes: u64,
    new_bytes: u64,
}

/// Bytes that [`build`] reports as progress: those of the files its units make.
pub fn work_bytes(base: &Manifest, new: &Manifest) -> u64 {
    edits::compare(base, new).needed.iter().map(|needed| new.rows()[needed.row].digest.size).sum()
}

/// Builds the pack of `step` in `scratch`.
///
/// `progress` hears [`Event::Advanced`] for the new bytes of each unit that is done.
///
/// # Errors
/// A file of either release can't be read or is not what its manifest says; `scratch` can't be written.
pub fn build(
    step: &Step<'_>,
    options: PackOptions,
    cache: &UnitCache,
    scratch: &Path,
    progress: &dyn Progress,
) -> Result<BuiltPack, PackBuildError> {
    let comparison = edits::compare(step.base, step.new);
    let plans = plan_units(step, &comparison.needed);
    let encoded = encode_all(step, &plans, options, cache, scratch, progress)?;
    let mut blocks: Vec<BlockInfo> = Vec::new();
    let mut units = Vec::new();
    let mut reports = Vec::new();
    for (plan, (unit, reused)) in plans.iter().zip(&encoded) {
        let first = blocks.len();
        blocks.extend_from_slice(&unit.encoded.blocks);
        units.push(Unit {
            method: unit.encoded.method,
            parameters: unit.encoded.parameters.clone(),
            codecs: unit.encoded.codecs.clone(),
            blocks: first..blocks.len(),
            old_rows: if unit.uses_old { plan.old_rows.clone() } else { Vec::new() },
            new_rows: plan.new_rows.clone(),
        });
        reports.push(report(step, plan, unit, *reused));
    }
    let header = PackHeader::new(comparison.edits, units, blocks)?.to_bytes();
    let file = write_pack(&header, &encoded, scratch)
        .map_err(|source| PackBuildError::Scratch { scratch: scratch.to_owned(), source })?;
    Ok(BuiltPack {
        file,
        length: header.len() as u64 + encoded.iter().map(|(unit, _)| unit.length()).sum::<u64>(),
        header_length: header.len() as u64,
        header_blake3: Blake3::of(&header),
        units: reports,
    })
}

fn report(step: &Step<'_>, plan: &UnitPlan, unit: &CachedUnit, reused: bool) -> UnitReport {
    UnitReport {
        path: plan.new_rows.first().map_or_else(String::new, |row| step.new.rows()[*row].path.as_str().to_owned()),
        files: plan.new_rows.len(),
        new_bytes: plan.new_bytes,
        pack_bytes: unit.length(),
        reused,
    }
}

fn write_pack(header: &[u8], units: &[(Arc<CachedUnit>, bool)], scratch: &Path) -> io::Result<NamedTempFile> {
    let mut out = BufWriter::new(NamedTempFile::new_in(scratch)?);
    out.write_all(header)?;
    for (unit, _) in units {
        unit.write_to(&mut out)?;
    }
    let mut file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.rewind()?;
    Ok(file)
}

fn plan_units(step: &Step<'_>, needed: &[edits::Needed]) -> Vec<UnitPlan> {
    let old_rows = pairing::pair(step.base, step.new, needed);
    let size = |manifest: &Manifest, row: usize| manifest.rows()[row].digest.size;
    let items: Vec<Item<'_>> = needed
        .iter()
        .zip(&old_rows)
        .map(|(needed, old)| Item {
            path: step.new.rows()[needed.row].path.as_str(),
            bytes: size(step.new, needed.row) + old.map_or(0, |row| size(step.base, row)),
        })
        .collect();
    let plan = |group: Vec<usize>| {
        let new_rows: Vec<usize> = group.iter().map(|index| needed[*index].row).collect();
        let mut unit = UnitPlan { old_rows: Vec::new(), twins: Vec::new(), old_bytes: 0, new_bytes: 0, new_rows };
        for row in group.iter().map(|index| old_rows[*index]) {
            let twin = row.map(|row| {
                unit.old_rows.iter().position(|known| *known == row).unwrap_or_else(|| {
                    unit.old_rows.push(row);
                    unit.old_rows.len() - 1
                })
            });
            unit.twins.push(twin);
        }
        unit.old_bytes = unit.old_rows.iter().map(|row| size(step.base, *row)).sum();
        unit.new_bytes = unit.new_rows.iter().map(|row| size(step.new, *row)).sum();
        unit
    };
    grouping::group(&items).into_iter().map(plan).collect()
}

type EncodedUnit = (Arc<CachedUnit>, bool);

/// Encodes all units, largest first so that none is left for the end, and gives them in their own order.
fn encode_all(
    step: &Step<'_>,
    plans: &[UnitPlan],
    options: PackOptions,
    cache: &UnitCache,
    scratch: &Path,
    progress: &dyn Progress,
) -> Result<Vec<EncodedUnit>, PackBuildError> {
    let mut order: Vec<usize> = (0..plans.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(plans[*index].old_bytes + plans[*index].new_bytes));
    let slots: Vec<Mutex<Option<Result<EncodedUnit, PackBuildError>>>> =
        plans.iter().map(|_| Mutex::new(None)).collect();
    // Threads of their own, since a patch waits for room, and for another thread that computes the same one: a rayon
    // thread that waits within a patch would begin the next one.
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(index) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (plan, slot) = (&plans[*index], &slots[*index]);
            let _share = cache.budget().take(budget::patch_memory_bytes(plan.old_bytes, plan.new_bytes));
            let unit = encode_unit(step, plan, options, cache, scratch);
            progress.event(Event::Advanced { bytes: plan.new_bytes });
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(unit);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..rayon::current_num_threads().min(plans.len()) {
            scope.spawn(work);
        }
    });
    let taken = slots.into_iter().filter_map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner));
    taken.collect()
}

fn encode_unit(
    step: &Step<'_>,
    plan: &UnitPlan,
    options: PackOptions,
    cache: &UnitCache,
    scratch: &Path,
) -> Result<EncodedUnit, PackBuildError> {
    let digests = |manifest: &Manifest, rows: &[usize]| -> Vec<Blake3> {
        rows.iter().map(|row| manifest.rows()[*row].digest.blake3).collect()
    };
    let (old, new) = (digests(step.base, &plan.old_rows), digests(step.new, &plan.new_rows));
    let key = cache::key(options, &old, &new, &plan.twins);
    cache.get_or_encode(key, scratch, || {
        let rate = options.deflate_bytes_per_second;
        let looks_inside = options.effort.looks_into_archives();
        let mut inside = if looks_inside { encode_inside(step, plan, options.effort, scratch)? } else { None };
        if let Some((unit, _)) = inside.take_if(|(unit, archive)| archive.wins(unit.length(), rate)) {
            return Ok(unit);
        }
        let outside = encode_outside(step, plan, options.effort, scratch)?;
        let pays = |(unit, archive): &(CachedUnit, Archive)| archive.pays(unit.length(), outside.length(), rate);
        Ok(inside.filter(pays).map_or(outside, |(unit, _)| unit))
    })
}

/// Method 1 or 2, with old content or without.
fn encode_outside(
    step: &Step<'_>,
    plan: &UnitPlan,
    effort: Effort,
    scratch: &Path,
) -> Result<CachedUnit, PackBuildError> {
    let with_old = encode_once(step, plan, &plan.old_rows, effort, scratch)?;
    // A patch this large may be larger than the content on its own.
    if plan.old_rows.is_empty() || with_old.length() * 4 < plan.new_bytes {
        return Ok(with_old);
    }
    let without_old = encode_once(step, plan, &[], effort, scratch)?;
    Ok(if without_old.length() <= with_old.length() { without_old } else { with_old })
}

fn encode_once(
    step: &Step<'_>,
    plan: &UnitPlan,
    old_rows: &[usize],
    effort: Effort,
    scratch: &Path,
) -> Result<CachedUnit, PackBuildError> {
    let mut blocks: SpooledTempFile = spooled_tempfile_in(HELD_BYTES, scratch);
    let files = Files {
        old: file_ranges(step.base, old_rows),
        new: file_ranges(step.new, &plan.new_rows),
        twins: if old_rows.is_empty() { vec![None; plan.new_rows.len()] } else { plan.twins.clone() },
    };
    let encoded = with_sides(step, plan, old_rows, |old, new| diff::encode(old, new, &files, effort, &mut blocks))?;
    Ok(CachedUnit::new(encoded, !old_rows.is_empty(), blocks))
}

/// Method 3, where there are archives that changed.
fn encode_inside(
    step: &Step<'_>,
    plan: &UnitPlan,
    effort: Effort,
    scratch: &Path,
) -> Result<Option<(CachedUnit, Archive)>, PackBuildError> {
    let mut blocks: SpooledTempFile = spooled_tempfile_in(HELD_BYTES, scratch);
    let archive = with_sides(step, plan, &plan.old_rows, |old, new| deflate::encode(old, new, effort, &mut blocks))?;
    Ok(archive.map(|archive| (CachedUnit::new(archive.encoded.clone(), !plan.old_rows.is_empty(), blocks), archive)))
}

/// Opens both sides of a unit for an encoder.
fn with_sides<T>(
    step: &Step<'_>,
    plan: &UnitPlan,
    old_rows: &[usize],
    encode: impl FnOnce(Side<'_>, Side<'_>) -> Result<T, DiffError>,
) -> Result<T, PackBuildError> {
    let mut old = content::open(step.base, step.base_dir, old_rows)?;
    let mut new = content::open(step.new, step.new_dir, &plan.new_rows)?;
    let (old_side, new_side) =
        (Side { length: old.length(), bytes: &mut old }, Side { length: new.length(), bytes: &mut new });
    encode(old_side, new_side).map_err(|source| {
        let path = plan.new_rows.first().map_or_else(String::new, |row| step.new.rows()[*row].path.to_string());
        PackBuildError::Diff { path, source }
    })
}

/// Where the contents of `rows` lie, one after the other.
fn file_ranges(manifest: &Manifest, rows: &[usize]) -> Vec<Range<u64>> {
    let mut at = 0;
    let range = |row: &usize| {
        let start = at;
        at += manifest.rows()[*row].digest.size;
        start..at
    };
    rows.iter().map(range).collect()
}
