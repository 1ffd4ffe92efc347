//! The end of a run: everything flushed and checked once more, then the journal goes, then what it held.

use std::collections::BTreeSet;
use std::io;
use std::iter::successors;

use super::aside::{aside, fresh_kept};
use super::{Run, absent_below_own_link, changed};
use crate::format::journal::{Backup, Journal, JournalOp, Thing};
use crate::tree::decide::Current;
use crate::tree::error::TreeError;
use crate::tree::fs::{self, Existing, FileKind, Fs, FsError, Place};
use crate::tree::order::Side;
use crate::tree::scan::Observed;
use crate::tree::transaction::{CommitReport, Kept};
use crate::tree::{Tree, layout, previous, scan};

impl Run<'_> {
    /// Makes every changed name durable, and checks that each holds what it must.
    pub(super) fn seal(&mut self) -> Result<(), TreeError> {
        let mut touched = BTreeSet::new();
        for op in 0..self.journal.ops.len() {
            let target = self.target(op)?;
            let entry = self.op(op);
            if matches!(entry.after, Thing::File { .. }) && self.current(op) == Current::Both {
                // Its mode may have changed, now or in a run before this one.
                self.fs.sync_file(&target)?;
            }
            touched.extend(target.parent());
            if self.is_recovery {
                touched.extend(successors(target.parent(), Place::parent));
            }
        }
        let existing: BTreeSet<Place> =
            touched.iter().map(|place| self.existing_directory(place)).collect::<Result<_, _>>()?;
        for place in &existing {
            self.fs.sync_dir(place)?;
        }
        self.flush_dirty()?;
        for op in (0..self.journal.ops.len()).filter(|op| !self.left.contains(op)) {
            self.check_goal(op)?;
        }
        if self.goal == Side::Before {
            self.forget_kept()?;
        }
        Ok(())
    }

    /// `place`, or the nearest directory above it that is there.
    fn existing_directory(&self, place: &Place) -> Result<Place, FsError> {
        let found = absent_below_own_link(self.journal, self.fs.metadata(place), None)?;
        match place.parent() {
            Some(parent) if found.is_none_or(|m| m.kind != FileKind::Directory) => self.existing_directory(&parent),
            _ => Ok(place.clone()),
        }
    }

    fn check_goal(&self, op: usize) -> Result<(), TreeError> {
        let (entry, target) = (self.op(op), self.target(op)?);
        let goal = self.goal.goal(entry);
        let found = absent_below_own_link(self.journal, self.fs.metadata(&target), None)?;
        let right = match goal {
            // A directory the user put something in stays.
            Thing::Absent => found.is_none_or(|m| m.kind == FileKind::Directory),
            Thing::Directory { .. } => found.is_some_and(|m| m.kind == FileKind::Directory),
            Thing::File { .. } | Thing::Link { .. } => {
                let known = self.known[op].staged_stamp.filter(|stamp| stamp.file != 0 && self.goal == Side::After);
                let may_be_newer = entry.backup == Backup::Keep || self.known[op].facts.aside;
                let users_own = entry.is_mode_only() || may_be_newer && self.goal == Side::Before;
                let same_file = known.is_some() && found.map(|m| m.stamp) == known;
                let same_content =
                    || Ok::<_, FsError>(scan::observe(self.fs, &target)?.thing.is_some_and(|t| t.same_content(goal)));
                same_file || users_own || same_content()?
            }
        };
        if right { Ok(()) } else { Err(changed(&entry.path, "what the journal says", "something else")) }
    }

    /// After going back, what is in place again need not be kept a second time. What was set aside stays until the journal is
    /// gone: recovery counts on it.
    fn forget_kept(&self) -> Result<(), TreeError> {
        for op in (0..self.journal.ops.len()).rev() {
            let entry = self.op(op);
            if entry.backup == Backup::Keep {
                let kept = layout::backup(self.journal, op)?;
                forget(self.fs, self.journal, &self.target(op)?, &kept, &entry.before)?;
            }
        }
        Ok(())
    }
}

/// Drops `kept`, which holds `thing`, and the directories this leaves empty, if `target` holds the same, durably; whether it did.
pub(super) fn forget(
    fs: &dyn Fs,
    journal: &Journal,
    target: &Place,
    kept: &Place,
    thing: &Thing,
) -> Result<bool, TreeError> {
    let seen = absent_below_own_link(journal, scan::observe(fs, target), Observed::ABSENT)?;
    let is_back = match fs.metadata(kept)?.map(|m| m.kind) {
        Some(FileKind::Directory) => {
            remove_if_empty(fs, kept)?;
            false
        }
        Some(kind) if seen.thing.is_some_and(|t| t.same_content(thing)) => {
            if kind == FileKind::File {
                // The user may have put it there himself, a moment ago.
                fs.sync_file(target)?;
            }
            fs.remove_file(kept)?;
            true
        }
        _ => false,
    };
    let mut above = kept.parent();
    while let Some(place) = above.filter(|place| *place != layout::all_kept()) {
        remove_if_empty(fs, &place)?;
        above = place.parent();
    }
    Ok(is_back)
}

fn remove_if_empty(fs: &dyn Fs, at: &Place) -> Result<(), FsError> {
    match fs.remove_dir(at) {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => Ok(()),
        result => result,
    }
}

/// Ends a transaction whose names are sealed: the way back is made durable, if it led forward, then the journal goes.
pub(in crate::tree) fn end(tree: &Tree, journal: &Journal, side: Side) -> Result<(), TreeError> {
    if side == Side::After {
        previous::keep(tree, journal)?;
    }
    Ok(finish(tree.fs())?)
}

/// The journal goes, durably, and with it the need for anything it held.
pub(in crate::tree) fn finish(fs: &dyn Fs) -> Result<(), FsError> {
    // A rename torn by a power cut may have left both names on one file, and between those renaming does nothing.
    fs::remove_all(fs, &layout::journal_done())?;
    fs.rename(&layout::journal(), &layout::journal_done(), Existing::Replace)?;
    fs.sync_dir(&Place::state_root())
}

/// Settles the way back and drops what a finished transaction held. What fails here is done at the next start.
pub(in crate::tree) fn clean(tree: &Tree, journal: &Journal, side: Side) {
    let fs = tree.fs();
    if previous::settle(tree).is_err() {
        return;
    }
    let mut over = vec![layout::all_backups()];
    if side == Side::After {
        // Where a transaction was given up, the next that leads forward heals the tree.
        over.extend([layout::staging(&journal.key), layout::journal_abandoned()]);
    }
    over.push(layout::journal_done());
    for place in over {
        let _ = fs::remove_all(fs, &place);
    }
}

fn leftovers() -> [Place; 3] {
    [layout::journal_spare(), layout::journal_done(), layout::all_backups()]
}

/// Whether a transaction left something behind.
pub(in crate::tree) fn has_leftovers(fs: &dyn Fs) -> Result<bool, FsError> {
    for place in leftovers() {
        if fs.metadata(&place)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Settles and drops what finished transactions left, where no journal is. Staging stays: it may be resumed. Old contents that
/// cannot be removed, as a program holds one, stay too: the tree is whole without, and no commit begins over them.
pub(in crate::tree) fn clean_leftovers(tree: &Tree) -> Result<(), TreeError> {
    // A way back that cannot be kept open must not keep the app from its next update.
    previous::settle_or_drop(tree);
    let _ = fs::remove_all(tree.fs(), &layout::all_backups());
    // Over the journals' own names a commit would begin and not end.
    let journals = [layout::journal_spare(), layout::journal_done()];
    Ok(journals.iter().try_for_each(|place| fs::remove_all(tree.fs(), place))?)
}

/// Looks for old contents that somebody wrote to, through a file held open, after they got their second name; they are the
/// user's and move to `kept/`. By stamp where `known` has one, else by content. Not those of ops that are `untouched`: a second
/// name that was being made may hold a part of a copy.
pub(in crate::tree) fn keep_late_edits(
    tree: &Tree,
    journal: &Journal,
    known: &[super::Known],
    untouched: impl Fn(usize) -> bool,
    report: &mut CommitReport,
) -> Result<(), TreeError> {
    let fs = tree.fs();
    let mut number = None;
    let dropped = journal.ops.iter().enumerate().filter(|(op, entry)| entry.backup == Backup::Drop && !untouched(*op));
    for (op, entry) in dropped {
        let backup = layout::backup(journal, op)?;
        let Some(metadata) = fs.metadata(&backup)? else { continue };
        let same_stamp = known.get(op).and_then(|k| k.stamp) == Some(metadata.stamp);
        if same_stamp {
            continue;
        }
        let late = scan::observe(fs, &backup)?;
        if late.thing.is_some_and(|t| t.same_content(&entry.before)) {
            continue;
        }
        let earlier = second_name(fs, journal, entry, &late)?;
        let chosen = number.map_or_else(|| fresh_kept(fs, journal), Ok)?;
        number = Some(chosen);
        let kept = earlier.clone().map_or_else(|| layout::kept_entry(chosen, &entry.path), Ok)?;
        keep_late(fs, &backup, &kept, earlier.is_some())?;
        let kept_at = tree.state_dir().join(kept.path());
        report.kept.push(Kept { path: entry.path.to_string(), kept_at });
    }
    Ok(())
}

/// The name in `kept/` that a run which was cut off before it took the other gave to what is `late`.
fn second_name(fs: &dyn Fs, journal: &Journal, entry: &JournalOp, late: &Observed) -> Result<Option<Place>, TreeError> {
    let Some((kept, held)) = aside(fs, journal, entry)? else { return Ok(None) };
    let is_same_file = fs.metadata(&kept)?.map(|m| m.stamp) == late.stamp;
    Ok(late.thing.filter(|thing| is_same_file && thing.same_content(&held)).map(|_| kept))
}

/// Moves an old content that was written to, and has no other name unless it `has_both`, to `kept/`: it is there durably before
/// this name goes.
fn keep_late(fs: &dyn Fs, backup: &Place, kept: &Place, has_both: bool) -> Result<(), FsError> {
    let parent = kept.parent().unwrap_or_else(Place::state_root);
    fs::create_state_dirs(fs, &parent)?;
    let is_linked = has_both || fs.hard_link(backup, kept).is_ok();
    if !is_linked {
        // As everywhere without links: a rename that a power cut tears loses it.
        fs.rename(backup, kept, Existing::Refuse)?;
    }
    fs::sync_up(fs, &parent)?;
    if is_linked { fs.remove_file(backup) } else { Ok(()) }
}
