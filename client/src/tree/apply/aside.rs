//! What the user wrote, after the journal was written, where it changes something: a run that meets it gives it a second name in
//! `kept/`, with a greater number than the journal's own. Where the transaction is undone it goes back in place.

use std::collections::HashSet;

use super::hold::hold_content;
use super::seal::forget;
use super::{Run, changed, next_kept};
use crate::format::journal::{Area, Backup, EntryPath, Journal, JournalOp, Thing};
use crate::tree::decide::Current;
use crate::tree::error::TreeError;
use crate::tree::fs::{Existing, FileKind, Fs, Place, Stamp};
use crate::tree::order::Side;
use crate::tree::transaction::{CommitReport, Kept};
use crate::tree::{Tree, layout, scan};

impl Run<'_> {
    /// Gives what the user wrote over the old content, before that was held, a second name in `kept/`: going back needs it, as
    /// it needs the others. If there is nothing that could have one, that is written down: going back needs nothing then.
    pub(super) fn hold_users(&mut self, op: usize) -> Result<(), TreeError> {
        let entry = self.op(op);
        let is_noted = self.known[op].facts.aside && self.current(op) != Current::Other;
        // What is new came here after the old content was held, or noted as gone: who had it lost it.
        let is_new = self.current(op) == Current::After && entry.after != Thing::Absent;
        if is_noted || is_new || entry.area != Area::Tree {
            return Ok(());
        }
        if self.current(op) == Current::Other {
            let target = self.target(op)?;
            let thing = scan::observe(self.fs, &target)?.thing.filter(Thing::is_leaf);
            if thing.map_or(Ok(false), |thing| self.keep(op, &target, &thing))? {
                return Ok(());
            }
        }
        let (backup, none) = (layout::backup(self.journal, op)?, layout::nothing_held(&self.journal.key, op));
        // What lies there damaged was held.
        if entry.backup == Backup::Drop && self.fs.metadata(&backup)?.is_none() && self.fs.metadata(&none)?.is_none() {
            // The name says it all: there is no content to flush.
            self.fs.create_file(&none)?;
            self.known[op].facts.aside = true;
        }
        Ok(())
    }

    /// Gives `thing`, which lies at `target`, a name in `kept/`, unless it has one; flushed with all others. False if it can only be
    /// moved there, to the entry of [`Self::fresh_kept_at`].
    fn keep(&mut self, op: usize, target: &Place, thing: &Thing) -> Result<bool, TreeError> {
        let is_kept = self.keep_as(&self.op(op).path, op, target, thing)?;
        self.known[op].facts.aside |= is_kept;
        Ok(is_kept)
    }

    /// The same for what lies at any `path` of the tree; a copy is made under the spare name `number`.
    pub(super) fn keep_as(
        &mut self,
        path: &EntryPath,
        number: usize,
        target: &Place,
        thing: &Thing,
    ) -> Result<bool, TreeError> {
        let earlier = aside_at(self.fs, self.journal, path)?.filter(|(_, held)| held.same_content(thing));
        let kept = match &earlier {
            Some((place, _)) => place.clone(),
            None => self.fresh_kept_at(path)?,
        };
        self.create_dirs_above(&kept)?;
        if earlier.is_none() {
            let spare = layout::restore_spare(&self.journal.key, number);
            self.create_state_dirs(&layout::backups(&self.journal.key))?;
            if hold_content(self.fs, target, &kept, Some(&spare), thing)?.is_none() {
                return Ok(false);
            }
        }
        let kept_at = self.tree.state_dir().join(kept.path());
        if self.report.kept.iter().all(|reported| reported.kept_at != kept_at) {
            self.note_kept(path, &kept);
        }
        Ok(true)
    }

    /// Where in `kept/` goes what this run finds at `path`.
    pub(super) fn fresh_kept_at(&mut self, path: &EntryPath) -> Result<Place, TreeError> {
        let number = match self.fresh_kept {
            Some(number) => number,
            None => fresh_kept(self.fs, self.journal)?,
        };
        self.fresh_kept = Some(number);
        layout::kept_entry(number, path)
    }

    /// Moves what is neither the old nor the new content to `kept/`, where it is durable before its name goes, and fails if
    /// something newer has the name by then. A directory stays where nothing comes; else it is moved as a whole.
    pub(super) fn set_aside(&mut self, op: usize, target: &Place) -> Result<(), TreeError> {
        let entry = self.op(op);
        let seen = scan::observe(self.fs, target)?;
        let thing = match seen.thing {
            Some(Thing::Absent) => return Ok(()),
            Some(Thing::Directory { .. }) if *self.goal.goal(entry) == Thing::Absent => return Ok(()),
            thing => thing.filter(Thing::is_leaf),
        };
        if thing.map_or(Ok(false), |thing| self.keep(op, target, &thing))? {
            self.remove_kept(&entry.path, target, seen.stamp)?;
        } else {
            self.move_to_kept(&entry.path, target)?;
        }
        self.known[op].facts.current = Current::Missing;
        Ok(())
    }

    /// Takes the name in the tree from what [`Self::keep_as`] gave one in `kept/`, once that is durable.
    pub(super) fn remove_kept(&mut self, path: &EntryPath, at: &Place, stamp: Option<Stamp>) -> Result<(), TreeError> {
        self.flush_dirty()?;
        // What came in its place while all that was written has no other name.
        if self.fs.metadata(at)?.map(|m| m.stamp) != stamp {
            return Err(changed(path, "what was set aside", "something newer"));
        }
        Ok(self.fs.remove_file(at)?)
    }

    /// Moves to `kept/` what can have no second name.
    pub(super) fn move_to_kept(&mut self, path: &EntryPath, at: &Place) -> Result<(), TreeError> {
        let kept = self.fresh_kept_at(path)?;
        self.create_dirs_above(&kept)?;
        self.fs.rename(at, &kept, Existing::Refuse)?;
        self.note_kept(path, &kept);
        Ok(())
    }

    /// A further name for what a run set aside at the path before the old content was held: what the user wrote last goes back
    /// in place of what it was written over.
    pub(super) fn name_of_aside(&mut self, op: usize) -> Result<Option<Place>, TreeError> {
        let Some((kept, thing)) = aside(self.fs, self.journal, self.op(op))? else { return Ok(None) };
        self.known[op].facts.aside = true;
        self.name_to_rename(op, kept, &thing).map(Some)
    }
}

/// Where a run of this journal set aside what it met at the path of `op`, and what that is: the newest, if there are several.
/// Not what the journal itself says is to be kept.
pub(in crate::tree) fn aside(
    fs: &dyn Fs,
    journal: &Journal,
    op: &JournalOp,
) -> Result<Option<(Place, Thing)>, TreeError> {
    if op.area == Area::Tree { aside_at(fs, journal, &op.path) } else { Ok(None) }
}

fn aside_at(fs: &dyn Fs, journal: &Journal, path: &EntryPath) -> Result<Option<(Place, Thing)>, TreeError> {
    for number in (journal.kept + 1..next_kept(fs)?).rev() {
        let kept = layout::kept_entry(number, path)?;
        if let Some(thing) = scan::observe(fs, &kept)?.thing.filter(Thing::is_leaf) {
            return Ok(Some((kept, thing)));
        }
    }
    Ok(None)
}

/// A number in `kept/` that is not in use, and not the journal's own.
pub(super) fn fresh_kept(fs: &dyn Fs, journal: &Journal) -> Result<u64, TreeError> {
    Ok(next_kept(fs)?.max(journal.kept + 1))
}

/// After the end of a transaction, which went to `side`: of what was set aside on the way, by whichever run, drops what is in place
/// again, and names the rest in `report`.
pub(in crate::tree) fn settle_asides(
    tree: &Tree,
    journal: &Journal,
    side: Side,
    report: &mut CommitReport,
) -> Result<(), TreeError> {
    let fs = tree.fs();
    let numbers = journal.kept + 1..next_kept(fs)?;
    if numbers.is_empty() {
        return Ok(());
    }
    for op in journal.ops.iter().rev() {
        let Some((kept, thing)) = aside(fs, journal, op)? else { continue };
        let kept_at = tree.state_dir().join(kept.path());
        let target = layout::target(op.area, op.was.as_ref().unwrap_or(&op.path))?;
        if side == Side::Before && forget(fs, journal, &target, &kept, &thing)? {
            report.kept.retain(|reported| reported.kept_at != kept_at);
        } else if report.kept.iter().all(|reported| reported.kept_at != kept_at) {
            report.kept.push(Kept { path: op.path.to_string(), kept_at });
        }
    }
    let named = Named::by(journal);
    for number in numbers {
        let kept = layout::kept(number);
        if fs.metadata(&kept)?.is_some_and(|m| m.kind == FileKind::Directory) {
            named.report_others(tree, number, &kept, None, report)?;
        }
    }
    Ok(())
}

/// Paths of the tree that a journal speaks of.
struct Named<'a> {
    ops: HashSet<&'a str>,
    /// Those of the directories above.
    above: HashSet<&'a str>,
}

impl<'a> Named<'a> {
    fn by(journal: &'a Journal) -> Self {
        let ops: HashSet<&str> =
            journal.ops.iter().filter(|op| op.area == Area::Tree).map(|op| op.path.as_str()).collect();
        let above = ops.iter().flat_map(|path| path.match_indices('/').map(|(at, _)| &path[..at])).collect();
        Self { ops, above }
    }

    /// Names in `report` what lies in `directory`, at `number` in `kept/`, and has no op: what the user put in the place of a
    /// directory, or into one that was moved as a whole, which is `moved` if that has an op.
    fn report_others(
        &self,
        tree: &Tree,
        number: u64,
        directory: &Place,
        moved: Option<&EntryPath>,
        report: &mut CommitReport,
    ) -> Result<(), TreeError> {
        let fs = tree.fs();
        for name in fs.list(directory)? {
            let place = directory.entry(&name);
            let path = place.path().strip_prefix(layout::kept(number).path()).ok().and_then(EntryPath::from_path);
            let has_op = path.as_ref().filter(|path| self.ops.contains(path.as_str()));
            let is_above = path.as_ref().is_some_and(|path| self.above.contains(path.as_str()));
            let is_directory = fs.metadata(&place)?.is_some_and(|m| m.kind == FileKind::Directory);
            if is_directory && (has_op.is_some() || is_above) {
                self.report_others(tree, number, &place, has_op.or(moved), report)?;
            } else if let (None, Some(path)) = (has_op, moved.or(path.as_ref())) {
                let kept_at = tree.state_dir().join(layout::kept_entry(number, path)?.path());
                if report.kept.iter().all(|reported| reported.kept_at != kept_at) {
                    report.kept.push(Kept { path: path.to_string(), kept_at });
                }
            }
        }
        Ok(())
    }
}
