//! The check before a commit: looks once more at everything the plan assumed, and writes down what will be done.
//!
//! Afterwards each name that will change stands in the journal with what is there and what comes, among them those the
//! caller did not ask for: directories that new files need, directories left empty, and whatever of the user's stands in
//! the way. Whatever is wrong is found here, while nothing has changed yet.

mod entries;
mod record;
mod surroundings;

use std::collections::{BTreeSet, HashSet};

use rayon::prelude::*;

use super::apply::{self, Known, next_kept};
use super::decide::{Current, Facts};
use super::error::TreeError;
use super::fs::{self, FileKind, Fs, FsError, Place, Stamp};
use super::scan::{self, Observed};
use super::transaction::{Op, Transaction};
use super::{Tree, layout};
use crate::format::digest::Blake3;
use crate::format::journal::{Area, Backup, Journal, JournalOp, Thing};

use entries::Entries;

/// Room for directories and the journal's own growth on disk.
const SPARE_BYTES: u64 = 1 << 20;

/// A transaction ready to be carried out.
pub(super) struct Prepared {
    pub(super) journal: Journal,
    pub(super) known: Vec<Known>,
}

/// Checks `transaction` against the disk and makes everything it rests on durable.
pub(super) fn prepare(tree: &Tree, transaction: &Transaction) -> Result<Prepared, TreeError> {
    let fs = tree.fs();
    if !transaction.staging.tree().is_same(tree) {
        return Err(contradiction("the staging directory belongs to another tree"));
    }
    expect_consistent(&transaction.ops)?;
    let seen = observe_all(fs, &transaction.ops)?;
    let mut entries = Entries::new(fs);
    entries.add_ops(&transaction.ops, seen)?;
    surroundings::add_needed_directories(&mut entries)?;
    surroundings::add_emptied_directories(&mut entries, &transaction.to.manifest)?;
    surroundings::add_contents_in_the_way(&mut entries)?;
    record::add(&mut entries, transaction)?;
    let (ops, stamps) = entries.finish()?;

    let staged_stamps = check_staged(fs, transaction.staging.key(), &ops)?;
    probe(fs, &ops)?;
    probe_links(fs, transaction.staging.key(), &ops)?;
    let known = ops.iter().zip(stamps).zip(staged_stamps).map(|((op, stamp), staged_stamp)| Known {
        facts: Facts { current: current(op), staged: op.staged.is_some(), backup: false, aside: false },
        stamp,
        staged_stamp,
    });
    let known = known.collect();
    let journal = Journal {
        key: transaction.staging.key().to_owned(),
        kept: next_kept(fs)?,
        from: transaction.from.as_ref().map(|record| Blake3::of(&record.manifest)),
        to: Blake3::of(&transaction.to.manifest),
        ops,
    };
    let copied_bytes = apply::copied_bytes(fs, &journal.key, &held(&journal.ops)?)?;
    expect_space(fs, copied_bytes.unwrap_or(0).saturating_add(journal.to_bytes().len() as u64))?;
    if !journal.ops.is_empty() {
        make_durable(fs, &journal.key)?;
    }
    Ok(Prepared { journal, known })
}

fn current(op: &JournalOp) -> Current {
    if op.before.same_content(&op.after) { Current::Both } else { Current::Before }
}

pub(super) fn contradiction(problem: impl Into<String>) -> TreeError {
    TreeError::Transaction { problem: problem.into() }
}

fn expect_consistent(ops: &[Op]) -> Result<(), TreeError> {
    let (mut paths, mut numbers) = (HashSet::with_capacity(ops.len()), HashSet::new());
    for op in ops {
        if !paths.insert(op.path()) {
            return Err(contradiction(format!("{} is to be changed twice", op.path())));
        }
        if let Op::Put { staged, path, .. } = op
            && !numbers.insert(*staged)
        {
            return Err(contradiction(format!("the staged file {staged} of {path} is used twice")));
        }
    }
    Ok(())
}

/// Reads what lies at every path of the plan. A link on the way counts as nothing if the plan removes that link.
fn observe_all(fs: &dyn Fs, ops: &[Op]) -> Result<Vec<Observed>, TreeError> {
    let goes = ops.iter().filter(|op| matches!(op, Op::Remove { .. } | Op::Directory { .. }));
    let goes: HashSet<Place> = goes.map(|op| Place::tree(op.path())).collect();
    let one = |op: &Op| match scan::observe(fs, &Place::tree(op.path())) {
        Err(FsError::LinkOnTheWay { place }) if goes.contains(&place) => Ok(Observed::ABSENT),
        result => result,
    };
    Ok(ops.par_iter().map(one).collect::<Result<_, _>>()?)
}

/// Hashes the staged files once more and sets their modes; gives their stamps.
fn check_staged(fs: &dyn Fs, key: &str, ops: &[JournalOp]) -> Result<Vec<Option<Stamp>>, TreeError> {
    let one = |op: &JournalOp| {
        let (Some(number), &Thing::File { mode, size, blake3 }) = (op.staged, &op.after) else { return Ok(None) };
        let at = layout::staged(key, number);
        let found = scan::observe(fs, &at)?;
        if !found.thing.is_some_and(|t| t.same_content(&op.after)) {
            let found = found.thing.map_or_else(|| "a special file".into(), |t| describe(&t));
            return Err(TreeError::Staged { number, expected_size: size, expected: blake3, found });
        }
        if cfg!(unix) && fs.metadata(&at)?.is_some_and(|m| m.mode != mode) {
            fs.set_mode(&at, mode)?;
            fs.sync_file(&at)?;
        }
        Ok(found.stamp)
    };
    ops.par_iter().map(one).collect()
}

/// Finds out whether every directory and file can be changed, before anything is.
fn probe(fs: &dyn Fs, ops: &[JournalOp]) -> Result<(), TreeError> {
    let mut directories = BTreeSet::new();
    for op in ops.iter().filter(|op| op.area == Area::Tree) {
        let target = layout::target(op.area, &op.path)?;
        if op.before.is_leaf() {
            fs.probe_file(&target).map_err(|e| not_writable(&target, e))?;
        }
        directories.extend(target.parent());
    }
    for directory in directories {
        let there = fs.metadata(&directory).or_else(|e| match e {
            // It is one that goes.
            FsError::LinkOnTheWay { .. } => Ok(None),
            e => Err(e),
        });
        if there?.is_some_and(|m| m.kind == FileKind::Directory) {
            fs.probe_directory(&directory).map_err(|e| not_writable(&directory, e))?;
        }
    }
    Ok(())
}

/// Finds out whether links can be made, if any is to be.
fn probe_links(fs: &dyn Fs, key: &str, ops: &[JournalOp]) -> Result<(), TreeError> {
    let is_new = |op: &&JournalOp| matches!(op.after, Thing::Link { .. }) && current(op) != Current::Both;
    let Some(op) = ops.iter().find(is_new) else { return Ok(()) };
    let Some(destination) = &op.destination else { return Ok(()) };
    let tried = layout::tried_link(key);
    fs::remove_all(fs, &tried)?;
    match fs.symlink(destination.as_str().as_bytes(), &tried) {
        Ok(()) => Ok(fs.remove_file(&tried)?),
        Err(source) if source.lacks_room() => Err(source.into()),
        Err(source) => Err(TreeError::NoLinks { path: op.path.to_string(), source }),
    }
}

fn not_writable(place: &Place, source: FsError) -> TreeError {
    TreeError::NotWritable { path: place.to_string(), source }
}

/// Files that get a second name, with their sizes.
fn held(ops: &[JournalOp]) -> Result<Vec<(Place, u64)>, TreeError> {
    let mut held = Vec::new();
    for op in ops.iter().filter(|op| op.backup != Backup::None) {
        if let Thing::File { size, .. } = op.before {
            held.push((layout::target(op.area, op.was.as_ref().unwrap_or(&op.path))?, size));
        }
    }
    Ok(held)
}

fn expect_space(fs: &dyn Fs, written_bytes: u64) -> Result<(), TreeError> {
    let needed_bytes = written_bytes.saturating_add(SPARE_BYTES);
    match fs.free_bytes()? {
        Some(free_bytes) if free_bytes < needed_bytes => Err(TreeError::NoSpace { needed_bytes, free_bytes }),
        _ => Ok(()),
    }
}

/// Names of staged files and of the directory that backups go to, before the journal speaks of them. Without the former
/// recovery would still be right, but would more often go back, and what was downloaded would be gone.
fn make_durable(fs: &dyn Fs, key: &str) -> Result<(), FsError> {
    fs::remove_all(fs, &layout::all_backups())?;
    fs::create_state_dirs(fs, &layout::backups(key))?;
    fs.sync_dir(&layout::staging(key))?;
    fs.sync_dir(&layout::all_staging())?;
    fs.sync_dir(&Place::state_root())
}

/// A thing in words.
pub(super) fn describe(thing: &Thing) -> String {
    match thing {
        Thing::Absent => "nothing".into(),
        Thing::File { size, blake3, .. } => format!("a file of {size} bytes with BLAKE3 {blake3}"),
        Thing::Link { .. } => "a link".into(),
        Thing::Directory { .. } => "a directory".into(),
    }
}
