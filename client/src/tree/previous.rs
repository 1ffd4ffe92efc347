//! The release before the installed one: its record, and every content of it that the tree no longer has.
//!
//! A commit has given each old content a second name anyway; before it is over, each gets a further name here. So going back
//! costs no network and no copy, and keeping the possibility costs the space of what changed.
//!
//! ```text
//! previous/content/<blake3>    contents, found by what they hold
//! previous/manifest.csv        its manifest
//! previous/release             its signed release; written last: without it there is no previous release
//! previous/moving              only where files cannot have another name: contents move here once the commit is over
//! ```
//!
//! All of it is durable before the journal goes, so whoever finds the new tree finds the way back (invariant I7). A previous
//! release that is the installed one, as after going back, is none: it is dropped.
//!
//! A commit over a tree that still has a previous release adds to it what that release needs: the way back leads to the
//! same release as before. [`TreeLock::drop_previous`] before the commit makes it lead to the release that is replaced.

use std::collections::HashSet;
use std::io;

use super::fs::{self, Existing, FileKind, Fs, FsError, Place};
use super::{RELEASE_BYTES_MAX, Record, Staging, Tree, TreeError, TreeLock, layout};
use crate::format::digest::{Blake3, ContentDigest};
use crate::format::journal::{Area, Backup, JOURNAL_BYTES_MAX, Journal, JournalOp, Thing};
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

    /// Whether the way back is open, or will be once [`TreeLock::recover`] has moved the rest of it; reads nothing of what it
    /// leads to.
    ///
    /// # Errors
    /// What the system says.
    pub fn has_previous(&self) -> Result<bool, TreeError> {
        let is_there = |name| Ok::<_, TreeError>(self.fs().metadata(&layout::previous(name))?.is_some());
        Ok(is_there(layout::RELEASE)? && is_there(layout::MANIFEST)? || is_there(layout::MOVING)?)
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
    /// Stages as file `number` a content of the previous release, by a further name if it `may_link`, else as a copy; false
    /// if it is not there whole. Only one staged file may be a link: two files of a tree never share one.
    ///
    /// # Errors
    /// What the system says.
    pub fn take_previous(&self, number: usize, digest: &ContentDigest, may_link: bool) -> Result<bool, TreeError> {
        let fs = self.tree().fs();
        let held = layout::previous_content(&digest.blake3);
        let there = fs.metadata(&held)?.is_some_and(|m| m.kind == FileKind::File && m.size() == digest.size);
        if !there {
            return Ok(false);
        }
        let staged = layout::staged(self.key(), number);
        fs::remove_all(fs, &staged)?;
        if !may_link || fs.hard_link(&held, &staged).is_err() {
            let thing = Thing::File { mode: fs::FILE_MODE, size: digest.size, blake3: digest.blake3 };
            super::apply::copy_content(fs, &held, &staged, &thing)?;
        }
        self.reuse(number, digest)
    }
}

/// Before the end of a transaction that led forward: gives what it held further names here, durably. Safe to be cut off and
/// done again. Where there is no room what was staged goes first: its contents have their places in the tree by now.
///
/// # Errors
/// What the system says; the transaction can still be undone.
pub(super) fn keep(tree: &Tree, journal: &Journal) -> Result<(), TreeError> {
    match try_to_keep(tree, journal) {
        Err(e) if e.lacks_room() => {
            fs::remove_all(tree.fs(), &layout::staging(&journal.key))?;
            try_to_keep(tree, journal)
        }
        result => result,
    }
}

fn try_to_keep(tree: &Tree, journal: &Journal) -> Result<(), TreeError> {
    let fs = tree.fs();
    let Some(wanted) = Wanted::by(tree, journal)? else { return Ok(()) };
    fs::create_state_dirs(fs, &layout::previous_contents())?;
    if !keep_contents(fs, journal, &wanted, link_if_there)? || !keep_record(fs, journal, &wanted, link_if_there)? {
        // Moving is safe only when nothing is undone any more. The name says it all: there is no content to flush.
        let moving = layout::previous(layout::MOVING);
        if fs.metadata(&moving)?.is_none() {
            fs.create_file(&moving)?;
        }
        fs.sync_dir(&layout::all_previous())?;
    }
    Ok(fs.sync_dir(&Place::state_root())?)
}

/// After the end of a transaction, or at the start that finds what it left: moves what could not be linked, and drops what
/// is no way back.
///
/// # Errors
/// What the system says; the next start goes on.
pub(super) fn settle(tree: &Tree) -> Result<(), TreeError> {
    let fs = tree.fs();
    if fs.metadata(&layout::all_previous())?.is_none() {
        return Ok(());
    }
    if fs.metadata(&layout::previous(layout::MOVING))?.is_some() {
        match move_held(tree) {
            // The app starts, though there is no way back from here.
            Err(e) if e.lacks_room() => return Ok(drop_all(fs)?),
            moved => moved?,
        }
        fs.remove_file(&layout::previous(layout::MOVING))?;
        fs.sync_dir(&layout::all_previous())?;
    }
    let installed = installed_manifest(fs)?;
    let is_way_back = tree.previous()?.is_some_and(|previous| Some(Blake3::of(&previous.manifest)) != installed);
    if is_way_back { Ok(()) } else { Ok(drop_all(fs)?) }
}

/// The same where what was held goes next, whatever comes of it: then nothing is left that could still move here.
pub(super) fn settle_or_drop(tree: &Tree) {
    let fs = tree.fs();
    let moves = || fs.metadata(&layout::previous(layout::MOVING)).is_ok_and(|there| there.is_some());
    if settle(tree).is_err() && moves() {
        let _ = drop_all(fs);
    }
}

/// What a transaction held, as its journal tells, moves here. A journal nobody can read says nothing to keep.
fn move_held(tree: &Tree) -> Result<(), TreeError> {
    let fs = tree.fs();
    let journal = fs::read_small(fs, &layout::journal_done(), JOURNAL_BYTES_MAX)?;
    let Some(journal) = journal.and_then(|bytes| Journal::parse(&bytes).ok()) else { return Ok(()) };
    if let Some(wanted) = Wanted::by(tree, &journal)? {
        keep_contents(fs, &journal, &wanted, move_if_there)?;
        keep_record(fs, &journal, &wanted, move_if_there)?;
    }
    Ok(())
}

/// What of the contents before a transaction is to be kept.
enum Wanted {
    /// All, with the record: the way back will lead to the release that was replaced.
    All,
    /// What the previous release lists, to which it leads already.
    Listed(HashSet<Blake3>),
}

impl Wanted {
    /// Nothing if the transaction put no other release in place, or one that leads back.
    fn by(tree: &Tree, journal: &Journal) -> Result<Option<Self>, TreeError> {
        let is_update = journal.from.is_some_and(|from| from != journal.to);
        if !is_update || installed_manifest(tree.fs())? != Some(journal.to) {
            return Ok(None);
        }
        let Some(previous) = tree.previous()? else { return Ok(Some(Self::All)) };
        if Blake3::of(&previous.manifest) == journal.to {
            return Ok(None);
        }
        let manifest = Manifest::parse(&previous.manifest)?;
        Ok(Some(Self::Listed(manifest.rows().iter().map(|row| row.digest.blake3).collect())))
    }

    fn has(&self, digest: &Blake3) -> bool {
        match self {
            Self::All => true,
            Self::Listed(contents) => contents.contains(digest),
        }
    }
}

/// How a content gets its name here; false if the volume has no such way.
type Naming = fn(&dyn Fs, &Place, &Place) -> Result<bool, FsError>;

fn keep_contents(fs: &dyn Fs, journal: &Journal, wanted: &Wanted, name: Naming) -> Result<bool, TreeError> {
    for (number, op) in journal.ops.iter().enumerate() {
        match (op.area, op.before, op.backup) {
            (Area::Tree, Thing::File { blake3, .. }, Backup::Drop)
                if wanted.has(&blake3)
                    && !name(fs, &layout::backup(journal, number)?, &layout::previous_content(&blake3))? =>
            {
                return Ok(false);
            }
            _ => {}
        }
    }
    fs.sync_dir(&layout::previous_contents())?;
    Ok(true)
}

/// The record that was replaced, its release last.
fn keep_record(fs: &dyn Fs, journal: &Journal, wanted: &Wanted, name: Naming) -> Result<bool, TreeError> {
    if matches!(wanted, Wanted::Listed(_)) {
        // Whoever put it there may have ended before it was flushed.
        return Ok(fs.sync_dir(&layout::all_previous()).map(|()| true)?);
    }
    for file in [layout::MANIFEST, layout::RELEASE] {
        let is_it = |op: &JournalOp| op.area == Area::Record && op.path.as_str() == file;
        if let Some(number) = journal.ops.iter().position(is_it)
            && !name(fs, &layout::backup(journal, number)?, &layout::previous(file))?
        {
            return Ok(false);
        }
        fs.sync_dir(&layout::all_previous())?;
    }
    Ok(true)
}

fn installed_manifest(fs: &dyn Fs) -> Result<Option<Blake3>, FsError> {
    let bytes = fs::read_small(fs, &layout::installed(layout::MANIFEST), MANIFEST_BYTES_MAX)?;
    Ok(bytes.map(|bytes| Blake3::of(&bytes)))
}

fn link_if_there(fs: &dyn Fs, from: &Place, to: &Place) -> Result<bool, FsError> {
    if fs.metadata(to)?.is_some() {
        // The same content, from a run before or from another name.
        return Ok(true);
    }
    match fs.hard_link(from, to) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        result => Ok(result.is_ok()),
    }
}

fn move_if_there(fs: &dyn Fs, from: &Place, to: &Place) -> Result<bool, FsError> {
    if fs.metadata(to)?.is_some() {
        return Ok(true);
    }
    match fs.rename(from, to, Existing::Replace) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        result => result.map(|()| true),
    }
}

fn drop_all(fs: &dyn Fs) -> Result<(), FsError> {
    if fs.metadata(&layout::all_previous())?.is_none() {
        return Ok(());
    }
    for name in [layout::RELEASE, layout::MOVING] {
        if fs.metadata(&layout::previous(name))?.is_some() {
            fs.remove_file(&layout::previous(name))?;
        }
    }
    // Whoever removed it may have ended before that was flushed.
    fs.sync_dir(&layout::all_previous())?;
    fs::remove_all(fs, &layout::all_previous())
}
