//! The disk against a manifest: reads files of a tree, many at once, each once.
//!
//! Rows are taken in runs that share a directory, so that a directory is walked to once and a small file costs an open, a
//! look and a read. Large files are hashed by all threads together. Work runs in rayon's current pool.

#[cfg(all(unix, test))]
mod tests;

use std::cell::Cell;
use std::io;

use rayon::prelude::*;

use super::Tree;
use super::fs::{Directory, Entry, FileKind, Fs, FsError, Metadata, Place, ReadFile, Stamp};
use crate::format::digest::{Blake3, ContentDigest, ContentDigester};
use crate::format::journal::Thing;
use crate::format::manifest::{Kind, Row};
use crate::format::path::RelPath;
use crate::progress::{Cancel, Event, Progress, Silent};

/// How closely a tree is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Type, size and mode; nothing is read.
    Kind,
    /// BLAKE3 of every file.
    Content,
    /// BLAKE3 and the CRC pair of every file.
    ContentAndCrc,
}

/// What a row of a manifest is on disk.
#[derive(Debug)]
pub enum Finding {
    /// As the row says, as closely as was looked.
    Intact,
    /// Content as the row says, but not its mode. Never where modes are not kept.
    WrongMode,
    /// Nothing is there.
    Missing,
    /// Something else is there.
    Other(Found),
}

/// What lies at a path.
#[derive(Debug)]
pub enum Found {
    /// A file.
    File {
        /// Its length in bytes.
        size: u64,
        /// Its digest, if it was read: a file of another size than expected is not.
        blake3: Option<Blake3>,
    },
    /// A link, with its destination as text.
    Link(String),
    /// A directory.
    Directory,
    /// A device, socket or pipe.
    Special,
    /// It could not be read, or was not as the work was cancelled (`Interrupted`).
    Unreadable(FsError),
}

/// Compares each row with the disk; one finding a row, in the order of `rows`.
///
/// Fastest if rows that share a directory stand together, as they do in a manifest. `progress` receives the sizes of
/// file rows as [`Event::Advanced`] (their sum over all rows at the end, whatever was found, unless cancelled); the phase
/// is the caller's to announce. After [`Cancel::cancel`], what was not reached is [`Found::Unreadable`].
pub fn check(tree: &Tree, rows: &[&Row], depth: Depth, progress: &dyn Progress, cancel: &Cancel) -> Vec<Finding> {
    let modes = tree.fs().keeps_modes();
    in_runs(
        tree.fs(),
        rows,
        |row| &row.path,
        |directory, at, row| {
            let mut pass = Pass { progress, cancel, left: if row.is_file() { row.digest.size } else { 0 } };
            let finding = check_row(directory, at, row, depth, modes, &mut pass);
            pass.advance(u64::MAX);
            finding.unwrap_or_else(|e| Finding::Other(Found::Unreadable(e)))
        },
    )
}

/// What lies at each path, files with their digest; nothing where nothing is. In the order of `paths`.
///
/// `progress` receives the bytes read as [`Event::Advanced`].
pub fn identify(tree: &Tree, paths: &[&RelPath], progress: &dyn Progress, cancel: &Cancel) -> Vec<Option<Found>> {
    in_runs(
        tree.fs(),
        paths,
        |path| path,
        |directory, at, _| {
            let mut pass = Pass { progress, cancel, left: u64::MAX };
            let found = look(directory, at).and_then(|entry| match entry {
                Entry::Absent => Ok(None),
                Entry::File(mut file, metadata) => {
                    let (size, blake3) = pass.blake3(&mut *file, at, metadata.size())?;
                    Ok(Some(Found::File { size, blake3: Some(blake3) }))
                }
                Entry::Link(destination, _) => {
                    Ok(Some(Found::Link(String::from_utf8_lossy(&destination).into_owned())))
                }
                Entry::Directory(m) | Entry::Special(m) => Ok(Some(unread(&m))),
            });
            found.unwrap_or_else(|e| Some(Found::Unreadable(e)))
        },
    )
}

/// An entry as the journal tells it, with its stamp; the thing is nothing for a device, socket or pipe.
pub(super) struct Observed {
    pub(super) thing: Option<Thing>,
    pub(super) stamp: Option<Stamp>,
}

impl Observed {
    /// Nothing is there.
    pub(super) const ABSENT: Self = Self { thing: Some(Thing::Absent), stamp: None };
}

/// Looks at one entry and reads it to its end.
pub(super) fn observe(fs: &dyn Fs, at: &Place) -> Result<Observed, FsError> {
    let (thing, metadata) = match fs.look(at)? {
        Entry::Absent => return Ok(Observed::ABSENT),
        Entry::File(mut file, metadata) => {
            let mut pass = Pass { progress: &Silent, cancel: &Cancel::default(), left: 0 };
            let (size, blake3) = pass.blake3(&mut *file, at, metadata.size())?;
            (Some(Thing::File { mode: metadata.mode & 0o777, size, blake3 }), metadata)
        }
        Entry::Link(destination, metadata) => {
            let thing = Thing::Link { size: destination.len() as u64, blake3: Blake3::of(&destination) };
            (Some(thing), metadata)
        }
        Entry::Directory(metadata) => (Some(Thing::Directory { mode: metadata.mode & 0o777 }), metadata),
        Entry::Special(metadata) => (None, metadata),
    };
    Ok(Observed { thing, stamp: Some(metadata.stamp) })
}

/// Most entries of one directory that one thread takes at once.
const RUN_MAX: usize = 32;

/// Calls `one` for each item, with its open directory where there is one.
fn in_runs<T: Sync, R: Send>(
    fs: &dyn Fs,
    items: &[T],
    path: impl Fn(&T) -> &RelPath + Sync,
    one: impl Fn(&Parent, &Place, &T) -> R + Sync,
) -> Vec<R> {
    let mut runs: Vec<&[T]> = Vec::new();
    for run in items.chunk_by(|a, b| parent_text(path(a)) == parent_text(path(b))) {
        runs.extend(run.chunks(RUN_MAX));
    }
    let results: Vec<Vec<R>> = runs
        .par_iter()
        .map(|run| {
            let directory = run.first().map_or(Ok(None), |item| {
                fs.directory(&Place::tree(path(item)).parent().unwrap_or_else(Place::tree_root))
            });
            run.iter().map(|item| one(&directory, &Place::tree(path(item)), item)).collect()
        })
        .collect();
    results.into_iter().flatten().collect()
}

type Parent = Result<Option<Box<dyn Directory>>, FsError>;

fn parent_text(path: &RelPath) -> &str {
    path.as_str().rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn look(directory: &Parent, at: &Place) -> Result<Entry, FsError> {
    match (opened(directory)?, at.name()) {
        (Some(directory), Some(name)) => directory.look(name),
        _ => Ok(Entry::Absent),
    }
}

fn opened(directory: &Parent) -> Result<Option<&dyn Directory>, FsError> {
    match directory {
        Ok(directory) => Ok(directory.as_deref()),
        Err(e) => Err(e.again()),
    }
}

fn check_row(
    directory: &Parent,
    at: &Place,
    row: &Row,
    depth: Depth,
    modes: bool,
    pass: &mut Pass<'_>,
) -> Result<Finding, FsError> {
    if depth == Depth::Kind && row.is_file() {
        let metadata = match (opened(directory)?, at.name()) {
            (Some(directory), Some(name)) => directory.metadata(name)?,
            _ => None,
        };
        return Ok(match metadata {
            None => Finding::Missing,
            Some(m) if m.kind == FileKind::File && m.size() == row.digest.size => judge_mode(&m, row, modes),
            Some(m) => Finding::Other(unread(&m)),
        });
    }
    Ok(match (look(directory, at)?, &row.kind) {
        (Entry::Absent, _) => Finding::Missing,
        (Entry::Directory(_), Kind::Directory) => Finding::Intact,
        (Entry::Link(found, _), Kind::Link(destination)) if found == destination.as_str().as_bytes() => Finding::Intact,
        (Entry::File(mut file, metadata), Kind::File { .. }) if metadata.size() == row.digest.size => {
            let (size, blake3, crc) = if depth == Depth::ContentAndCrc {
                let found = pass.content(&mut *file, at)?;
                (found.size, found.blake3, found.crc)
            } else {
                let (size, blake3) = pass.blake3(&mut *file, at, metadata.size())?;
                (size, blake3, row.digest.crc)
            };
            if (ContentDigest { size, blake3, crc }) == row.digest {
                judge_mode(&metadata, row, modes)
            } else {
                Finding::Other(Found::File { size, blake3: Some(blake3) })
            }
        }
        (Entry::Link(found, _), _) => Finding::Other(Found::Link(String::from_utf8_lossy(&found).into_owned())),
        (Entry::File(_, m) | Entry::Directory(m) | Entry::Special(m), _) => Finding::Other(unread(&m)),
    })
}

/// Only the owner's executable bit is compared, and no set-uid, set-gid or sticky bit may be there; nothing where `modes` are not kept.
fn judge_mode(metadata: &Metadata, row: &Row, modes: bool) -> Finding {
    let wanted = row.kind == Kind::File { executable: true };
    let right = metadata.is_executable() == wanted && metadata.mode & 0o7000 == 0;
    if right || !modes { Finding::Intact } else { Finding::WrongMode }
}

fn unread(metadata: &Metadata) -> Found {
    match metadata.kind {
        FileKind::File => Found::File { size: metadata.size(), blake3: None },
        FileKind::Directory => Found::Directory,
        FileKind::Link => Found::Link(String::new()),
        FileKind::Special => Found::Special,
    }
}

/// One buffer a thread: allocated for every small file it would cost more than hashing.
const BUFFER_BYTES: usize = 256 << 10;
/// From here on all threads hash one file together.
const SHARED_BYTES: u64 = 4 << 20;
const SHARED_BUFFER_BYTES: usize = 1 << 20;

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Lends the thread's buffer. It is taken out meanwhile, since a thread that waits for others may begin another file.
fn with_buffer<R>(use_it: impl FnOnce(&mut [u8]) -> R) -> R {
    let mut buffer = BUFFER.take();
    if buffer.is_empty() {
        buffer = vec![0; BUFFER_BYTES];
    }
    let result = use_it(&mut buffer);
    BUFFER.set(buffer);
    result
}

/// One pass over one file.
struct Pass<'a> {
    progress: &'a dyn Progress,
    cancel: &'a Cancel,
    /// Bytes still to be reported.
    left: u64,
}

impl Pass<'_> {
    fn advance(&mut self, bytes: u64) {
        let bytes = bytes.min(self.left);
        self.left -= bytes;
        if bytes > 0 {
            self.progress.event(Event::Advanced { bytes });
        }
    }

    /// Hands the file on in chunks. The file is over when `expected_size` bytes were read or at its end.
    fn chunks(
        &mut self,
        file: &mut dyn ReadFile,
        at: &Place,
        expected_size: u64,
        buffer: &mut [u8],
        mut take: impl FnMut(&[u8]),
    ) -> Result<u64, FsError> {
        let mut size = 0;
        loop {
            if self.cancel.is_cancelled() {
                return Err(FsError::io("read", at, io::Error::new(io::ErrorKind::Interrupted, "cancelled")));
            }
            match file.read(buffer) {
                Ok(0) => return Ok(size),
                Ok(n) => {
                    take(&buffer[..n]);
                    size += n as u64;
                    self.advance(n as u64);
                    if size == expected_size {
                        return Ok(size);
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(FsError::io("read", at, e)),
            }
        }
    }

    fn blake3(&mut self, file: &mut dyn ReadFile, at: &Place, expected_size: u64) -> Result<(u64, Blake3), FsError> {
        let mut hasher = blake3::Hasher::new();
        let size = if expected_size < SHARED_BYTES {
            with_buffer(|buffer| {
                self.chunks(file, at, expected_size, buffer, |chunk| {
                    hasher.update(chunk);
                })
            })?
        } else {
            let mut buffer = vec![0; SHARED_BUFFER_BYTES];
            self.chunks(file, at, expected_size, &mut buffer, |chunk| {
                hasher.update_rayon(chunk);
            })?
        };
        Ok((size, Blake3::from_bytes(*hasher.finalize().as_bytes())))
    }

    fn content(&mut self, file: &mut dyn ReadFile, at: &Place) -> Result<ContentDigest, FsError> {
        let mut digester = ContentDigester::new();
        with_buffer(|buffer| self.chunks(file, at, u64::MAX, buffer, |chunk| digester.update(chunk)))?;
        Ok(digester.finish())
    }
}
