//! Directories above what comes that are gone since the journal was written, though no op speaks of them: both sides have them. Who
//! took one away, or put a file in its place, must not keep the tree from both.

use std::io;

use super::Run;
use crate::format::journal::{EntryPath, Thing};
use crate::tree::error::TreeError;
use crate::tree::fs::{Base, EXECUTABLE_MODE, FileKind, FsError, Place};
use crate::tree::scan;

impl Run<'_> {
    /// Makes `call`, which names something at `at`; where it fails for want of a directory above, makes that and calls again.
    pub(super) fn below_directories(
        &mut self,
        at: &Place,
        call: impl Fn() -> Result<(), FsError>,
    ) -> Result<(), TreeError> {
        match (call(), at.parent()) {
            (Err(e), Some(parent)) if self.is_for_want_of(&parent, &e)? => {
                self.make_directories(&parent)?;
                Ok(call()?)
            }
            (result, _) => Ok(result?),
        }
    }

    fn is_for_want_of(&self, directory: &Place, error: &FsError) -> Result<bool, FsError> {
        let leads_nowhere = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
        Ok(leads_nowhere
            && directory.base() == Base::Tree
            && self.fs.metadata(directory)?.is_none_or(|m| m.kind != FileKind::Directory))
    }

    fn make_directories(&mut self, at: &Place) -> Result<(), TreeError> {
        let Some(parent) = at.parent() else { return Ok(()) };
        match self.fs.metadata(at)?.map(|m| m.kind) {
            Some(FileKind::Directory) => return Ok(()),
            Some(_) => self.set_aside_from_above(at)?,
            None => self.make_directories(&parent)?,
        }
        self.fs.create_dir(at, EXECUTABLE_MODE)?;
        // Sealed are the directories of what has an op, and this has none.
        self.dirty.insert(parent);
        Ok(())
    }

    /// Moves what lies where a directory was to `kept/`, where it is durable before its name goes.
    fn set_aside_from_above(&mut self, at: &Place) -> Result<(), TreeError> {
        let unnamable = || TreeError::Unnamable { path: at.path().display().to_string() };
        let path = EntryPath::from_path(at.path()).ok_or_else(unnamable)?;
        let seen = scan::observe(self.fs, at)?;
        let thing = seen.thing.filter(Thing::is_leaf);
        // A number that no op has: the names of those are in use.
        let number = self.journal.ops.len();
        if thing.map_or(Ok(false), |thing| self.keep_as(&path, number, at, &thing))? {
            self.remove_kept(&path, at, seen.stamp)
        } else {
            self.move_to_kept(&path, at)
        }
    }
}
