//! Second names for old contents: made before anything changes, used to go back.
//!
//! A hard link costs no data and survives any disorder of the renames that follow. Where the volume has none, files below
//! 64 MiB are copied; larger ones are moved, which is safe only where the file system renames at once, and the report
//! says so.

use std::io::{self, Read, Write};

use super::{Run, changed};
use crate::format::journal::{Backup, Thing};
use crate::tree::decide::{Current, Facts};
use crate::tree::error::TreeError;
use crate::tree::fs::{Entry, Existing, Fs, FsError, Place, remove_all};
use crate::tree::layout;
use crate::tree::order::Side;

/// Files smaller than this are copied where they cannot be linked.
const COPY_BYTES_MAX: u64 = 64 << 20;
const COPY_BUFFER_BYTES: usize = 1 << 20;

/// How a content got a second name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    Linked,
    Copied,
}

impl Run<'_> {
    /// Gives every content before that is still in place its second name, and flushes those names.
    pub(super) fn hold(&mut self) -> Result<(), TreeError> {
        self.create_state_dirs(&layout::backups(&self.journal.key))?;
        for op in 0..self.journal.ops.len() {
            if self.op(op).backup != Backup::None {
                self.hold_one(op)?;
            }
        }
        // Those a run before this one made count too.
        self.dirty.insert(layout::backups(&self.journal.key));
        self.flush_dirty()
    }

    pub(super) fn flush_dirty(&mut self) -> Result<(), TreeError> {
        for place in std::mem::take(&mut self.dirty) {
            if self.fs.metadata(&place)?.is_some() {
                self.fs.sync_dir(&place)?;
            }
        }
        Ok(())
    }

    fn hold_one(&mut self, op: usize) -> Result<(), TreeError> {
        let entry = self.op(op);
        let Facts { current, backup: is_held, .. } = self.known[op].facts;
        let is_there = current.is(Side::Before);
        if !is_held && !is_there && entry.before.is_leaf() {
            // What an earlier run set aside is told at the end.
            return self.hold_users(op);
        }
        let backup = layout::backup(self.journal, op)?;
        if entry.backup == Backup::Keep {
            self.create_dirs_above(&backup)?;
            if entry.before.is_leaf() {
                self.note_kept(&entry.path, &backup);
            }
        }
        if is_held || !is_there {
            return Ok(());
        }
        if let Thing::Directory { mode } = entry.before {
            if self.fs.metadata(&backup)?.is_none() {
                self.fs.create_dir(&backup, mode | 0o700)?;
            }
            return Ok(());
        }
        if self.fs.metadata(&backup)?.is_some() {
            self.fs.remove_file(&backup)?;
        }
        let target = layout::target(entry.area, entry.was.as_ref().unwrap_or(&entry.path))?;
        self.unchanged(op, &target)?;
        let spare = layout::restore_spare(&self.journal.key, op);
        match hold_content(self.fs, &target, &backup, Some(&spare), &entry.before)? {
            Some(Held::Linked) => self.report.backups.linked += 1,
            Some(Held::Copied) => self.report.backups.copied += 1,
            None => {
                self.fs.rename(&target, &backup, Existing::Refuse)?;
                self.known[op].facts.current = Current::Missing;
                self.report.backups.moved += 1;
            }
        }
        self.known[op].facts.backup = true;
        if self.current(op) == Current::Missing { Ok(()) } else { self.unchanged(op, &target) }
    }

    /// A third name for the content before, which may be renamed away while the second stays.
    pub(super) fn held_copy(&mut self, op: usize) -> Result<Option<Place>, TreeError> {
        let entry = self.op(op);
        if !self.known[op].facts.backup {
            return match (self.name_of_aside(op)?, entry.backup) {
                (Some(place), _) => Ok(Some(place)),
                // The user took it away between the crash and now.
                (None, Backup::Keep | Backup::None) => Ok(None),
                (None, Backup::Drop) if self.known[op].facts.aside => Ok(None),
                (None, Backup::Drop) => Err(changed(&entry.path, "its backup", "none")),
            };
        }
        let backup = layout::backup(self.journal, op)?;
        self.name_to_rename(op, backup, &entry.before).map(Some)
    }

    /// A further name for `thing`, which lies at `held`, so that it may be renamed away and the name it has stays.
    pub(super) fn name_to_rename(&mut self, op: usize, held: Place, thing: &Thing) -> Result<Place, TreeError> {
        let spare = layout::restore_spare(&self.journal.key, op);
        self.create_state_dirs(&layout::backups(&self.journal.key))?;
        remove_all(self.fs, &spare)?;
        match hold_content(self.fs, &held, &spare, None, thing) {
            Ok(Some(_)) => Ok(spare),
            // Without links a large one is itself renamed.
            Ok(None) => Ok(held),
            // So is any where there is no room for a further name: nothing else would free some.
            Err(e) if e.lacks_room() => {
                remove_all(self.fs, &spare)?;
                Ok(held)
            }
            Err(e) => Err(e.into()),
        }
    }
}

/// What second names of these files, each with its size in bytes, will take: nothing where the volume links files, elsewhere the
/// bytes of the copies. Found out on the record, or the first of them, by a name in the staging directory of `key` that is gone
/// again when this returns; after a crash it goes with the directory.
pub(in crate::tree) fn copied_bytes(fs: &dyn Fs, key: &str, files: &[(Place, u64)]) -> Result<Option<u64>, FsError> {
    // One of the tree may be a program that runs, of which Windows removes no name.
    let record = layout::installed(layout::MANIFEST);
    let recorded = fs.metadata(&record)?.map(|_| record);
    match files.first() {
        Some((first, _)) if !has_links(fs, key, recorded.as_ref().unwrap_or(first))? => {
            Ok(Some(files.iter().map(|(_, size)| *size).filter(|size| *size < COPY_BYTES_MAX).sum()))
        }
        _ => Ok(None),
    }
}

fn has_links(fs: &dyn Fs, key: &str, file: &Place) -> Result<bool, FsError> {
    let second = layout::tried_link(key);
    remove_all(fs, &second)?;
    match fs.hard_link(file, &second) {
        Ok(()) => fs.remove_file(&second).map(|()| true),
        Err(refused) => Ok(is_about_the_file(&refused)),
    }
}

/// Whether a link was refused for what is there, or for want of room, and not because there are no links.
fn is_about_the_file(refused: &FsError) -> bool {
    refused.kind() == io::ErrorKind::NotFound || refused.lacks_room()
}

/// Gives content a further name, by a link or a copy; nothing if it is too large for a copy, and is where it was. A copy is made under
/// the name `spare`, if there is one, so that a part of one never has the name.
pub(super) fn hold_content(
    fs: &dyn Fs,
    from: &Place,
    to: &Place,
    spare: Option<&Place>,
    thing: &Thing,
) -> Result<Option<Held>, FsError> {
    let refused = match fs.hard_link(from, to) {
        Ok(()) => return Ok(Some(Held::Linked)),
        Err(e) => e,
    };
    if is_about_the_file(&refused) {
        return Err(refused);
    }
    match *thing {
        Thing::File { size, mode, .. } if size < COPY_BYTES_MAX => {
            if let Some(spare) = spare {
                remove_all(fs, spare)?;
                copy(fs, from, spare, mode)?;
                fs.rename(spare, to, Existing::Refuse)?;
            } else {
                copy(fs, from, to, mode)?;
            }
        }
        Thing::File { .. } => return Ok(None),
        _ => match fs.look(from)? {
            Entry::Link(destination, _) => fs.symlink(&destination, to)?,
            _ => return Err(refused),
        },
    }
    Ok(Some(Held::Copied))
}

/// Copies the file `thing` that lies at `from`; flushed when it returns.
pub(in crate::tree) fn copy_content(fs: &dyn Fs, from: &Place, to: &Place, thing: &Thing) -> Result<(), FsError> {
    let &Thing::File { mode, .. } = thing else { return Ok(()) };
    copy(fs, from, to, mode)
}

fn copy(fs: &dyn Fs, from: &Place, to: &Place, mode: u32) -> Result<(), FsError> {
    let Entry::File(mut source, _) = fs.look(from)? else {
        return Err(FsError::io("copy", from, io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")));
    };
    let mut file = fs.create_file(to)?;
    let mut buffer = vec![0; COPY_BUFFER_BYTES];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => file.write_all(&buffer[..n]).map_err(|e| FsError::io("write", to, e))?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(FsError::io("read", from, e)),
        }
    }
    file.flush().and_then(|()| file.set_mode(mode)).and_then(|()| file.sync()).map_err(|e| FsError::io("flush", to, e))
}
