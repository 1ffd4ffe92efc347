//! Leads a tree to one side of its journal: holds old contents, changes names, seals.
//!
//! The journal is durable before anything here runs, and every step finds out whether it is done already, so that a run
//! may follow one that was cut off anywhere, in either direction. What makes each single step safe:
//!
//! * Before the first name changes, every old content, or what the user wrote over it since the journal was written, has a
//!   durable second name ([`Run::hold`]). So it does not matter in which order renames reach the disk, or whether one arrives
//!   torn: the content is never lost with the name.
//! * What is there already is not taken for durable: whoever made it may have ended before it was flushed.
//! * Going back takes contents by a third name and leaves the second, until the journal is gone.
//! * A name is replaced only if what lies there is what was found and hashed; anything else moves to `kept/`.

mod above;
mod aside;
mod hold;
mod seal;

use std::collections::BTreeSet;
use std::io;

use super::decide::{Current, Facts};
use super::error::TreeError;
use super::fs::{Existing, FileKind, Fs, FsError, PRIVATE_DIR_MODE, Place, Stamp};
use super::order::{Side, Step, steps};
use super::spelling::has_exact_name;
use super::transaction::{CommitReport, Kept};
use super::{Tree, layout};
use crate::format::journal::{Backup, EntryPath, Journal, JournalOp, Thing};
use crate::progress::{Event, Progress};

pub(super) use aside::{aside, settle_asides};
pub(super) use hold::{copied_bytes, copy_content};
pub(super) use seal::{clean, clean_leftovers, end, finish, has_leftovers, keep_late_edits};

/// What is known of one op before a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) facts: Facts,
    /// Stamp of what lies at the path.
    pub(super) stamp: Option<Stamp>,
    /// Stamp of the staged file, if it was hashed.
    pub(super) staged_stamp: Option<Stamp>,
}

/// One run to one side.
pub(super) struct Run<'a> {
    tree: &'a Tree,
    fs: &'a dyn Fs,
    journal: &'a Journal,
    goal: Side,
    known: Vec<Known>,
    /// Directories with entries that are not flushed: those of the state directory, and those above what came.
    dirty: BTreeSet<Place>,
    /// Number in `kept/` for what turned up only now.
    fresh_kept: Option<u64>,
    /// Ops whose goal cannot be had: what lies there is left alone.
    left: BTreeSet<usize>,
    /// A run before this one may have ended before it flushed the directories it made.
    is_recovery: bool,
    progress: &'a dyn Progress,
    report: CommitReport,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        tree: &'a Tree,
        journal: &'a Journal,
        goal: Side,
        known: Vec<Known>,
        progress: &'a dyn Progress,
    ) -> Self {
        let (dirty, left, report) = (BTreeSet::new(), BTreeSet::new(), CommitReport::default());
        let (fs, fresh_kept, is_recovery) = (tree.fs(), None, false);
        Self { tree, fs, journal, goal, known, dirty, fresh_kept, left, is_recovery, progress, report }
    }

    /// The same run, after another that was cut off or failed.
    pub(super) fn after_another(self) -> Self {
        Self { is_recovery: true, ..self }
    }

    /// The same run, but for the ops `left`: what lies there stays, and need not be right in the end.
    pub(super) fn but_for(self, left: Vec<usize>) -> Self {
        Self { left: left.into_iter().collect(), ..self }
    }

    /// Runs to the end: afterwards the tree is durably that side, and only the journal says otherwise.
    pub(super) fn run(mut self) -> Result<CommitReport, TreeError> {
        if self.goal == Side::After {
            self.hold()?;
        }
        for step in steps(&self.journal.ops, self.goal) {
            if self.left.contains(&step.op()) {
                continue;
            }
            match step {
                Step::Clear(op) | Step::Remove(op) => self.remove(op, step)?,
                Step::Make(op) => self.make(op)?,
                Step::Place(op) => self.place(op)?,
            }
        }
        self.seal()?;
        Ok(self.report)
    }

    fn op(&self, op: usize) -> &'a JournalOp {
        &self.journal.ops[op]
    }

    fn current(&self, op: usize) -> Current {
        self.known[op].facts.current
    }

    /// Where the op's path lies on the side that the run leads to.
    fn target(&self, op: usize) -> Result<Place, TreeError> {
        let entry = self.op(op);
        let path = match (&entry.was, self.goal) {
            (Some(was), Side::Before) => was,
            _ => &entry.path,
        };
        layout::target(entry.area, path)
    }

    /// Takes away what stands for the other side.
    fn remove(&mut self, op: usize, step: Step) -> Result<(), TreeError> {
        let (from, to) = self.goal.ends(self.op(op));
        let target = self.target(op)?;
        if self.op(op).was.is_some() && matches!(step, Step::Clear(_)) {
            return self.remove_other_spelling(op, &target);
        }
        match self.current(op) {
            Current::Missing | Current::Both => return Ok(()),
            current if current.is(self.goal) => return Ok(()),
            Current::Other => return self.set_aside(op, &target),
            _ => {}
        }
        if from.is_directory() {
            let removed = self.fs.remove_dir(&target);
            return match removed {
                Err(e) if *to == Thing::Absent && may_stay(&e) => Ok(()),
                // Somebody put something in meanwhile, where a file comes.
                Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => self.set_aside(op, &target),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
                result => Ok(result?),
            };
        }
        self.unchanged(op, &target)?;
        self.fs.remove_file(&target)?;
        self.known[op].facts.current = Current::Missing;
        self.report.removed += usize::from(*to == Thing::Absent);
        Ok(())
    }

    /// On a file system that takes both spellings for one name: a rename over the entry would leave the other spelling.
    fn remove_other_spelling(&mut self, op: usize, target: &Place) -> Result<(), TreeError> {
        let source = if self.goal == Side::After { self.known[op].facts.staged } else { self.known[op].facts.backup };
        let there = !matches!(self.current(op), Current::Missing | Current::Other);
        if source && there && !has_exact_name(self.fs, target)? {
            self.unchanged(op, target)?;
            self.fs.remove_file(target)?;
            self.known[op].facts.current = Current::Missing;
        }
        Ok(())
    }

    fn make(&mut self, op: usize) -> Result<(), TreeError> {
        let target = self.target(op)?;
        let &Thing::Directory { mode } = self.goal.goal(self.op(op)) else { return Ok(()) };
        match self.fs.metadata(&target)?.map(|m| m.kind) {
            Some(FileKind::Directory) => return Ok(()),
            Some(_) => self.set_aside(op, &target)?,
            None => {}
        }
        let fs = self.fs;
        self.below_directories(&target, || fs.create_dir(&target, mode))
    }

    fn place(&mut self, op: usize) -> Result<(), TreeError> {
        let target = self.target(op)?;
        let goal = *self.goal.goal(self.op(op));
        let current = self.current(op);
        if current.is(self.goal) {
            return self.right_mode(&target, &goal);
        }
        let existing = match current {
            // The content is neither; its mode is not ours to change.
            _ if self.op(op).is_mode_only() => return Ok(()),
            // The user's, and nothing older is left that could come here.
            Current::Other if self.may_stay_as_it_is(op) => return Ok(()),
            Current::Other => {
                self.set_aside(op, &target)?;
                Existing::Refuse
            }
            Current::Missing => Existing::Refuse,
            _ if !self.goal.ends(self.op(op)).0.is_leaf() => Existing::Refuse,
            _ => {
                self.unchanged(op, &target)?;
                Existing::Replace
            }
        };
        let Some(source) = self.source(op)? else {
            // Nothing is left of what was there, and the new content is none of this side's.
            if current == Current::After && existing == Existing::Replace {
                self.fs.remove_file(&target)?;
                self.known[op].facts.current = Current::Missing;
            }
            return Ok(());
        };
        let fs = self.fs;
        self.below_directories(&target, || fs.rename(&source, &target, existing)).map_err(|e| match e {
            TreeError::Fs(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                changed(&self.op(op).path, "nothing", "something new")
            }
            e => e,
        })?;
        self.known[op].facts.current = if self.goal == Side::After { Current::After } else { Current::Before };
        self.report.placed += 1;
        if let Thing::File { size, .. } = goal {
            self.progress.event(Event::Advanced { bytes: size });
        }
        Ok(())
    }

    /// Whether going back leaves alone what the user put in place of the old content, of which nothing was held yet.
    fn may_stay_as_it_is(&self, op: usize) -> bool {
        let facts = &self.known[op].facts;
        self.goal == Side::Before && !facts.backup && (facts.aside || self.op(op).backup == Backup::Keep)
    }

    /// A name that holds the content of the goal and may be renamed away.
    fn source(&mut self, op: usize) -> Result<Option<Place>, TreeError> {
        if self.goal == Side::Before {
            return self.held_copy(op);
        }
        let entry = self.op(op);
        if let Some(number) = entry.staged {
            return Ok(Some(layout::staged(&self.journal.key, number)));
        }
        let Some(destination) = &entry.destination else { return Ok(None) };
        let spare = layout::link_spare(&self.journal.key, op);
        if self.fs.metadata(&spare)?.is_some() {
            self.fs.remove_file(&spare)?;
        }
        self.create_state_dirs(&layout::staging(&self.journal.key))?;
        self.fs.symlink(destination.as_str().as_bytes(), &spare)?;
        Ok(Some(spare))
    }

    fn right_mode(&self, target: &Place, goal: &Thing) -> Result<(), TreeError> {
        let &Thing::File { mode, .. } = goal else { return Ok(()) };
        match self.fs.metadata(target)? {
            Some(found) if cfg!(unix) && found.mode & 0o777 != mode => Ok(self.fs.set_mode(target, mode)?),
            _ => Ok(()),
        }
    }

    /// Fails if what lies at `target` is not what was found and hashed.
    fn unchanged(&self, op: usize, target: &Place) -> Result<(), TreeError> {
        let found = self.fs.metadata(target)?.map(|m| m.stamp);
        if found.is_some() && found == self.known[op].stamp {
            return Ok(());
        }
        Err(changed(&self.op(op).path, "what was hashed before the commit", "something newer"))
    }

    fn note_kept(&mut self, path: &EntryPath, kept: &Place) {
        let kept_at = self.tree.state_dir().join(kept.path());
        self.report.kept.push(Kept { path: path.to_string(), kept_at });
    }

    /// Creates the directory of `at`, in the state directory; it is flushed later, with all others.
    fn create_dirs_above(&mut self, at: &Place) -> Result<(), FsError> {
        let Some(parent) = at.parent() else { return Ok(()) };
        self.create_state_dirs(&parent)?;
        self.dirty.insert(parent);
        Ok(())
    }

    /// Creates a directory of the state directory; its entry is flushed later, with all others.
    fn create_state_dirs(&mut self, at: &Place) -> Result<(), FsError> {
        let Some(parent) = at.parent() else { return Ok(()) };
        self.create_state_dirs(&parent)?;
        if self.fs.metadata(at)?.is_none() {
            self.fs.create_dir(at, PRIVATE_DIR_MODE)?;
        }
        // Whoever made one that is there may have ended before any of them was flushed.
        self.dirty.insert(parent);
        Ok(())
    }
}

/// `result`, or `absent` where a link on the way is one that the journal itself puts there or takes away: on that side
/// of the transaction nothing lies below it.
pub(super) fn absent_below_own_link<T>(journal: &Journal, result: Result<T, FsError>, absent: T) -> Result<T, FsError> {
    match result {
        Err(FsError::LinkOnTheWay { place })
            if EntryPath::from_path(place.path()).is_some_and(|path| journal.tree_op(&path).is_some()) =>
        {
            Ok(absent)
        }
        result => result,
    }
}

pub(super) fn changed(path: &EntryPath, expected: &str, found: &str) -> TreeError {
    TreeError::ChangedMeanwhile { path: path.to_string(), expected: expected.into(), found: found.into() }
}

/// A directory that is not empty, or that a program is in, does no harm where nothing else must come.
fn may_stay(error: &FsError) -> bool {
    let used = error.kind() == io::ErrorKind::PermissionDenied && cfg!(windows);
    used || matches!(
        error.kind(),
        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists | io::ErrorKind::ResourceBusy
    )
}

/// A number in `kept/` that is not in use.
pub(super) fn next_kept(fs: &dyn Fs) -> Result<u64, FsError> {
    if fs.metadata(&layout::all_kept())?.is_none() {
        return Ok(1);
    }
    let used = fs.list(&layout::all_kept())?.iter().filter_map(|name| name.to_str()?.parse::<u64>().ok()).max();
    Ok(used.map_or(1, |n| n.saturating_add(1)))
}
