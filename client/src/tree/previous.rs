//! The release before the installed one: its record, and every content of it that the tree no longer has.
//!
//! A commit has given each old content a second name anyway; when it is over, those names move here instead of being
//! dropped. So going back costs no network and no copy, and keeping the possibility costs the space of what changed.
//!
//! ```text
//! previous/content/<blake3>    contents, found by what they hold
//! previous/manifest.csv        its manifest
//! previous/release             its signed release; written last: without it there is no previous release
//! ```
//!
//! A commit over a tree that still has a previous release adds to it what that release needs: the way back leads to the
//! same release as before. [`TreeLock::drop_previous`] before the commit makes it lead to the release that is replaced.

use std::collections::HashSet;
use std::io;

use super::fs::{self, Existing, FileKind, Fs, FsError, Place};
use super::{RELEASE_BYTES_MAX, Record, Staging, Tree, TreeError, TreeLock, layout};
use crate::format::digest::{Blake3, ContentDigest};
use crate::format::journal::{Area, Backup, JOURNAL_BYTES_MAX, Journal, Thing};
use crate::format::manifest::{MANIFEST_BYTES_MAX, Manifest};

impl Tree {
    /// The record of the release before, if the way back to it is open.
    ///
    /// # Errors
    /// What the system says.
    pub fn previous(&self) -> Result<Option<Record>, TreeError> {
        let release = fs::read_small(self.fs(), &layout::previous(layout::RELEASE), RELEASE_BYTES_MAX)?;
        let manifest = fs::read_small(self.fs(), &layout::previous(layout::MANIFEST), MANIFEST_BYTES_MAX)?;
        Ok(release.zip(manifest).map(|(release, manifest)| Record { release, manifest }))
    }

    /// Whether the way back is open; reads nothing of what it leads to.
    ///
    /// # Errors
    /// What the system says.
    pub fn has_previous(&self) -> Result<bool, TreeError> {
        let is_there = |name| Ok::<_, TreeError>(self.fs().metadata(&layout::previous(name))?.is_some());
        Ok(is_there(layout::RELEASE)? && is_there(layout::MANIFEST)?)
    }
}

impl TreeLock {
    /// Gives up the way back, and the space it takes. After a crash it is open as before, or closed.
    ///
    /// # Errors
    /// What the system says.
    pub fn drop_previous(&self) -> Result<(), TreeError> {
        drop_all(self.fs())?;
        Ok(())
    }
}

impl Staging {
    /// Stages as file `number` a content of the previous release, by a further name; false if it is not there whole.
    ///
    /// # Errors
    /// What the system says.
    pub fn take_previous(&self, number: usize, digest: &ContentDigest) -> Result<bool, TreeError> {
        let fs = self.tree().fs();
        let held = layout::previous_content(&digest.blake3);
        let there = fs.metadata(&held)?.is_some_and(|m| m.kind == FileKind::File && m.size() == digest.size);
        if !there {
            return Ok(false);
        }
        let staged = layout::staged(self.key(), number);
        fs::remove_all(fs, &staged)?;
        if fs.hard_link(&held, &staged).is_err() {
            let thing = Thing::File { mode: fs::FILE_MODE, size: digest.size, blake3: digest.blake3 };
            super::apply::copy_content(fs, &held, &staged, &thing)?;
        }
        self.reuse(number, digest)
    }
}

/// After the end of a transaction that led forward: moves what it held here. Safe to be cut off and done again as long as
/// `journal.done` is there.
///
/// # Errors
/// What the system says; the way back may then be closed, nothing else is lost.
pub(super) fn keep(tree: &Tree, journal: &Journal) -> Result<(), TreeError> {
    let fs = tree.fs();
    let is_update = journal.from.is_some_and(|from| from != journal.to);
    if !is_update || installed_manifest(fs)? != Some(journal.to) {
        return Ok(());
    }
    let listed = match tree.previous()? {
        // The tree is that release again: there is nothing to go back to.
        Some(previous) if Blake3::of(&previous.manifest) == journal.to => return Ok(drop_all(fs)?),
        Some(previous) => {
            let manifest = Manifest::parse(&previous.manifest)?;
            Some(manifest.rows().iter().map(|row| row.digest.blake3).collect::<HashSet<Blake3>>())
        }
        None => None,
    };
    let wanted = |digest: &Blake3| listed.as_ref().is_none_or(|contents| contents.contains(digest));
    fs::create_state_dirs(fs, &layout::previous_contents())?;
    for (number, op) in journal.ops.iter().enumerate() {
        match (op.area, op.before, op.backup) {
            (Area::Tree, Thing::File { blake3, .. }, Backup::Drop) if wanted(&blake3) => {
                move_if_there(fs, &layout::backup(journal, number)?, &layout::previous_content(&blake3))?;
            }
            _ => {}
        }
    }
    fs.sync_dir(&layout::previous_contents())?;
    if listed.is_none() {
        keep_record(fs, journal)?;
    }
    Ok(())
}

/// The record that was replaced, its release last.
fn keep_record(fs: &dyn Fs, journal: &Journal) -> Result<(), TreeError> {
    for name in [layout::MANIFEST, layout::RELEASE] {
        let is_it = |op: &crate::format::journal::JournalOp| op.area == Area::Record && op.path.as_str() == name;
        if let Some(number) = journal.ops.iter().position(is_it) {
            move_if_there(fs, &layout::backup(journal, number)?, &layout::previous(name))?;
        }
        fs.sync_dir(&layout::all_previous())?;
    }
    Ok(fs.sync_dir(&Place::state_root())?)
}

/// What an ended transaction left, if that is to be kept. A journal nobody can read says nothing to keep.
pub(super) fn keep_leftovers(tree: &Tree) -> Result<(), TreeError> {
    match fs::read_small(tree.fs(), &layout::journal_done(), JOURNAL_BYTES_MAX)? {
        Some(bytes) => match Journal::parse(&bytes) {
            Ok(journal) => keep(tree, &journal),
            Err(_) => Ok(()),
        },
        None => Ok(()),
    }
}

fn installed_manifest(fs: &dyn Fs) -> Result<Option<Blake3>, FsError> {
    let bytes = fs::read_small(fs, &layout::installed(layout::MANIFEST), MANIFEST_BYTES_MAX)?;
    Ok(bytes.map(|bytes| Blake3::of(&bytes)))
}

fn move_if_there(fs: &dyn Fs, from: &Place, to: &Place) -> Result<(), FsError> {
    if fs.metadata(to)?.is_some() {
        // The same content, from a run before or from another name.
        return Ok(());
    }
    match fs.rename(from, to, Existing::Replace) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn drop_all(fs: &dyn Fs) -> Result<(), FsError> {
    if fs.metadata(&layout::all_previous())?.is_none() {
        return Ok(());
    }
    let release = layout::previous(layout::RELEASE);
    if fs.metadata(&release)?.is_some() {
        fs.remove_file(&release)?;
        fs.sync_dir(&layout::all_previous())?;
    }
    fs::remove_all(fs, &layout::all_previous())
}
