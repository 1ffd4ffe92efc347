//! Taking a tree away: exactly what its manifest lists, and the state directory.
//!
//! What the user wrote stays: files no manifest lists, listed files that were edited, and what was kept aside. The record
//! goes last, so an uninstallation that was cut off is finished by the next.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use super::fs::{self, FileKind, Fs, FsError, Place, Stamp};
use super::scan::{self, Depth, Finding};
use super::{TreeError, TreeLock, layout};
use crate::format::manifest::{Kind, Manifest, Row};
use crate::progress::{Cancel, Progress, Silent};

/// What an uninstallation came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Uninstalled {
    /// Files and links removed.
    pub removed: u64,
    /// The user's: files that were edited, and files in directories that were to go.
    pub left: Vec<PathBuf>,
    /// Nothing is left of the tree's directory.
    pub tree_is_gone: bool,
}

impl TreeLock {
    /// Removes what `manifest` lists and is as listed, directories this empties, and the state directory. What changes while the
    /// rest is hashed is looked at again before it goes.
    ///
    /// # Errors
    /// What the system says; the record is still there then, and the next call goes on.
    pub fn uninstall(self, manifest: &Manifest, progress: &dyn Progress) -> Result<Uninstalled, TreeError> {
        let fs = self.fs();
        let rows: Vec<&Row> = manifest.rows().iter().collect();
        let stamps: Vec<_> = rows.iter().map(|row| stamp(fs, row)).collect();
        let findings = scan::check(&self, &rows, Depth::Content, progress, &Cancel::default());
        let mut done = Uninstalled::default();
        for ((row, stamp), finding) in rows.iter().zip(stamps).zip(findings) {
            let finding = self.find_again(row, stamp).unwrap_or(finding);
            match (&row.kind, finding) {
                (Kind::Directory, _) | (_, Finding::Missing) => {}
                (_, Finding::Intact | Finding::WrongMode) => {
                    if !removes_itself(&self.root().join(row.path.to_path()), self.root()) {
                        remove(fs, &Place::tree(&row.path))?;
                    }
                    done.removed += 1;
                }
                (_, Finding::Other(_)) => done.left.push(self.root().join(row.path.to_path())),
            }
        }
        for directory in directories(&rows).into_iter().rev() {
            remove_if_empty(fs, &directory)?;
        }
        done.left.extend(self.what_is_left_in(&rows)?);
        if let Some(kept) = self.kept_things()? {
            done.left.push(kept);
        }
        self.remove_own_state(&mut done)?;
        Ok(done)
    }

    /// What a row is by now, if what lies there is not what had `stamp`.
    fn find_again(&self, row: &Row, before: Option<Stamp>) -> Option<Finding> {
        if stamp(self.fs(), row) == before {
            return None;
        }
        scan::check(self, &[row], Depth::Content, &Silent, &Cancel::default()).pop()
    }

    /// Entries of directories that should have gone.
    fn what_is_left_in(&self, rows: &[&Row]) -> Result<Vec<PathBuf>, TreeError> {
        let mut left = Vec::new();
        let listed: HashSet<Place> = rows.iter().map(|row| Place::tree(&row.path)).collect();
        for directory in directories(rows) {
            if self.fs().metadata(&directory)?.is_some_and(|m| m.kind == FileKind::Directory) {
                for name in self.fs().list(&directory)? {
                    let at = directory.entry(name);
                    let is_file = self.fs().metadata(&at)?.is_some_and(|m| m.kind != FileKind::Directory);
                    if is_file && !listed.contains(&at) {
                        left.push(self.root().join(at.path()));
                    }
                }
            }
        }
        Ok(left)
    }

    fn kept_things(&self) -> Result<Option<PathBuf>, TreeError> {
        let there =
            self.fs().metadata(&layout::all_kept())?.is_some() && !self.fs().list(&layout::all_kept())?.is_empty();
        Ok(there.then(|| self.state_dir().join(layout::all_kept().path())))
    }

    /// The record first of all names the tree, so it goes when all the rest has gone; what was kept aside stays.
    fn remove_own_state(self, done: &mut Uninstalled) -> Result<(), TreeError> {
        let (root, state) = (self.root().to_owned(), self.state_dir().to_owned());
        let last = [layout::installed(layout::MANIFEST), layout::installed(layout::RELEASE)];
        for name in self.fs().list(&Place::state_root())? {
            let at = Place::state_root().entry(&name);
            let stays = at == layout::lock() || last[0].parent().as_ref() == Some(&at) || at == layout::all_kept();
            // What still runs, or did when it was removed, goes when the system lets it.
            let may_run = at == layout::all_programs() || at == layout::trash();
            if !stays && fs::remove_all(self.fs(), &at).is_err() && !may_run {
                return Err(FsError::io("remove", &at, io::Error::other("it is in use")).into());
            }
        }
        for place in &last {
            fs::remove_all(self.fs(), place)?;
        }
        remove_if_empty(self.fs(), &layout::all_kept())?;
        if let Some(installed) = last[0].parent() {
            remove_if_empty(self.fs(), &installed)?;
        }
        let lock_file = state.join(layout::lock().path());
        // The lock goes before its file, which some systems do not let go of while it is open.
        drop(self);
        let _ = std::fs::remove_file(lock_file);
        let _ = std::fs::remove_dir(&state);
        done.tree_is_gone = std::fs::remove_dir(&root).is_ok();
        Ok(())
    }
}

/// Tells what lies at a row's path from what may come there; nothing if it cannot be told, or nothing is there.
fn stamp(fs: &dyn Fs, row: &Row) -> Option<Stamp> {
    fs.metadata(&Place::tree(&row.path)).ok().flatten().map(|m| m.stamp)
}

/// Directories that files and links of the manifest lie in, and those it lists; parents before what is in them.
fn directories(rows: &[&Row]) -> BTreeSet<Place> {
    let mut all = BTreeSet::new();
    for row in rows {
        let at = Place::tree(&row.path);
        let mut above = if row.kind == Kind::Directory { Some(at) } else { at.parent() };
        while let Some(place) = above.filter(|place| *place != Place::tree_root()) {
            above = place.parent();
            all.insert(place);
        }
    }
    all
}

/// Whether the file is the program that does this, and goes when it ends: where a program that runs cannot be removed, it is
/// moved out of the tree for that, to a place for temporary files on the same volume if that is possible.
#[cfg(windows)]
fn removes_itself(file: &Path, root: &Path) -> bool {
    let same = |this: PathBuf| Some(this.canonicalize().ok()? == file.canonicalize().ok()?);
    if std::env::current_exe().ok().and_then(same) != Some(true) {
        return false;
    }
    // Where that fails, it is moved to the trash like every program that runs.
    self_replace::self_delete_outside_path(root).is_ok()
}

#[cfg(not(windows))]
fn removes_itself(_: &Path, _: &Path) -> bool {
    false
}

fn remove(fs: &dyn Fs, at: &Place) -> Result<(), FsError> {
    match fs.remove_file(at) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn remove_if_empty(fs: &dyn Fs, at: &Place) -> Result<(), FsError> {
    if fs.metadata(at)?.is_none_or(|m| m.kind != FileKind::Directory) || !fs.list(at)?.is_empty() {
        return Ok(());
    }
    fs.remove_dir(at)
}
