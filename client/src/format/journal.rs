//! The journal: what a transaction is about to do to a tree; enough to finish or undo it after a crash.
//!
//! # Specification
//!
//! A text by the rules of [`crate::format`], in the state directory of a tree, present exactly while the tree may be
//! neither the old nor the new one. It is written whole, flushed, and renamed into place before the first change.
//!
//! | line | content |
//! | --- | --- |
//! | `lamplighter-journal,1` | type and version; first |
//! | `key,<token>` | name of the update: its files lie in `staging/<key>/` and `backup/<key>/` |
//! | `kept,<number>` | what is set aside for the user goes to `kept/<number>/`, and to greater numbers what a run finds that the user wrote since |
//! | `from,<blake3>` | manifest of the old tree, or `none` |
//! | `to,<blake3>` | manifest of the new tree |
//! | `op,…` | one line a changed name, see below; any number |
//! | `end` | last line of the body |
//! | `blake3,<digest>` | trailer: BLAKE3 of every byte before it |
//!
//! The header lines stand once each, in any order, before the first `op`. An `op` has the cells
//!
//! | cell | content |
//! | --- | --- |
//! | number | 0, 1, 2 … in order; its backup is `backup/<key>/<number>` |
//! | area | `tree`, or `record` for a file of `installed/` |
//! | path | see below; in `record` only `release` or `manifest.csv` |
//! | before: kind, mode, size, blake3 | `absent`, `file`, `link` or `dir`; of a link the digest of its destination |
//! | after: kind, mode, size, blake3 | the same |
//! | link | destination of the link after, else empty |
//! | staged | number of the staged file with the content after, else empty |
//! | backup | empty, `drop` (an old listed file, dropped after the commit) or `keep` (the user's: moved to `kept/`) |
//! | was | the path before, if the file system takes both for one name (case, Unicode form), else empty |
//!
//! A cell that does not apply is empty. Modes are four octal digits, `0777` at most, and after only `0644` or `0755`
//! (`0755` for a directory).
//!
//! A **path** has its components divided by `/`; in each the character `%`, control characters, U+FEFF and bytes that are
//! not UTF-8 stand as `%` and two uppercase hexadecimal digits a byte, and nothing else does. None is empty, `.`, `..`,
//! and the first is not `.lamplighter` in any case. Where something stands after, it also obeys [`super::path`]; what is
//! only set aside or removed may have any name a file system allows.
//!
//! MUST: ops are sorted (`tree` before `record`, then by the bytes of the path) and no path stands twice; before and after
//! differ, or the path before does, with an equal fold key; a file after has a staged number, used once, unless only its mode changes; a file or link
//! before has a backup unless only its mode changes; nothing absent before has one; at most 1 GiB.
//!
//! Read in this order: length, trailer, text, first line, header, ops.
//!
//! # Example
//!
//! ```csv
//! lamplighter-journal,1
//! key,update-7
//! kept,1
//! from,none
//! to,af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262
//! op,0,tree,app,absent,,,,file,0755,9,b7d65b48420d1033cb2595293263b6f72eabee20d55e699d0df1973b3c9deed1,,0,,
//! end
//! blake3,…
//! ```
//!
//! # Changelog
//!
//! * 1: first.

use super::digest::Blake3;
use super::path::{LinkDestination, PathError};
use super::text::{TextError, push_record, records};

mod entry_path;
mod parse;
#[cfg(test)]
mod tests;

pub use entry_path::EntryPath;

/// First line of a journal.
pub const HEADER: &str = "lamplighter-journal,1";

/// Most bytes a journal may have.
pub const JOURNAL_BYTES_MAX: u64 = 1 << 30;

/// Length of the trailer: `blake3,`, 64 digits, LF.
const TRAILER_BYTES: usize = 7 + 64 + 1;

/// What lies at a name, as the journal tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Thing {
    /// Nothing.
    Absent,
    /// A file.
    File {
        /// Permission bits, `0o777` at most.
        mode: u32,
        /// Length in bytes.
        size: u64,
        /// Digest of its content.
        blake3: Blake3,
    },
    /// A link.
    Link {
        /// Length of its destination in bytes.
        size: u64,
        /// Digest of its destination.
        blake3: Blake3,
    },
    /// A directory, whatever is in it.
    Directory {
        /// Permission bits, `0o777` at most.
        mode: u32,
    },
}

impl Thing {
    /// True where both are the same kind of thing with the same content; modes do not count.
    pub fn same_content(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Absent, Self::Absent) | (Self::Directory { .. }, Self::Directory { .. }) => true,
            (Self::File { size: a, blake3: x, .. }, Self::File { size: b, blake3: y, .. })
            | (Self::Link { size: a, blake3: x }, Self::Link { size: b, blake3: y }) => a == b && x == y,
            _ => false,
        }
    }

    /// A file or a link: something with content that can be staged or backed up.
    pub fn is_leaf(&self) -> bool {
        matches!(self, Self::File { .. } | Self::Link { .. })
    }

    /// True for a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self, Self::Directory { .. })
    }

    fn cells(&self) -> [String; 4] {
        let octal = |mode: &u32| format!("{mode:04o}");
        let none = String::new;
        match self {
            Self::Absent => ["absent".into(), none(), none(), none()],
            Self::File { mode, size, blake3 } => ["file".into(), octal(mode), size.to_string(), blake3.to_string()],
            Self::Link { size, blake3 } => ["link".into(), none(), size.to_string(), blake3.to_string()],
            Self::Directory { mode } => ["dir".into(), octal(mode), none(), none()],
        }
    }
}

/// Which directory an op's path is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Area {
    /// The tree.
    Tree,
    /// `installed/` in the state directory.
    Record,
}

/// What becomes of the content that an op replaces or removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Backup {
    /// There is none, or only the mode changes.
    None,
    /// Held until the commit, then dropped.
    Drop,
    /// The user's: held, then left in `kept/`.
    Keep,
}

/// One changed name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalOp {
    /// Directory its path is in.
    pub area: Area,
    /// Its path.
    pub path: EntryPath,
    /// What lies there in the old tree.
    pub before: Thing,
    /// What lies there in the new tree.
    pub after: Thing,
    /// Destination of the link after.
    pub destination: Option<LinkDestination>,
    /// Number of the staged file with the content after.
    pub staged: Option<usize>,
    /// What becomes of the content before.
    pub backup: Backup,
    /// The path before, where the file system takes both for one name.
    pub was: Option<EntryPath>,
}

impl JournalOp {
    /// True where the content stays and only the mode changes.
    pub fn is_mode_only(&self) -> bool {
        matches!(self.after, Thing::File { .. }) && self.staged.is_none() && self.before.same_content(&self.after)
    }
}

/// Why bytes are not a journal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum JournalError {
    #[error("journal {0}")]
    Text(#[from] TextError),
    #[error("journal has {actual} bytes, more than {JOURNAL_BYTES_MAX}")]
    TooLong { actual: u64 },
    #[error("journal does not end with the BLAKE3 of its body")]
    Trailer,
    #[error("journal line {line}: {source}")]
    Path { line: usize, source: PathError },
    #[error("journal has {key:?}, which this client is too old for")]
    TooOld { key: String },
}

/// A whole journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    /// Name of the update.
    pub key: String,
    /// Number of the directory in `kept/`.
    pub kept: u64,
    /// Manifest of the old tree.
    pub from: Option<Blake3>,
    /// Manifest of the new tree.
    pub to: Blake3,
    /// The changed names, sorted.
    pub ops: Vec<JournalOp>,
}

impl Journal {
    /// Checks the trailer and parses the body.
    ///
    /// # Errors
    /// [`JournalError::Trailer`] for a journal that was never written whole; else the first line that breaks the
    /// specification.
    pub fn parse(bytes: &[u8]) -> Result<Self, JournalError> {
        if bytes.len() as u64 > JOURNAL_BYTES_MAX {
            return Err(JournalError::TooLong { actual: bytes.len() as u64 });
        }
        let body = bytes.len().checked_sub(TRAILER_BYTES).and_then(|at| bytes.split_at_checked(at));
        let (body, trailer) = body.ok_or(JournalError::Trailer)?;
        if trailer != trailer_of(body).as_bytes() {
            return Err(JournalError::Trailer);
        }
        parse::body(&records(body)?)
    }

    /// The op of a path of the tree.
    pub fn tree_op(&self, path: &EntryPath) -> Option<&JournalOp> {
        let index = self.ops.binary_search_by(|op| (op.area, &op.path).cmp(&(Area::Tree, path))).ok()?;
        self.ops.get(index)
    }

    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = String::with_capacity(200 + self.ops.len() * 300);
        let from = self.from.map_or_else(|| "none".to_owned(), |digest| digest.to_string());
        push_record(&mut text, HEADER.split(','));
        push_record(&mut text, ["key", &self.key]);
        push_record(&mut text, ["kept", &self.kept.to_string()]);
        push_record(&mut text, ["from", &from]);
        push_record(&mut text, ["to", &self.to.to_string()]);
        for (index, op) in self.ops.iter().enumerate() {
            push_record(&mut text, op_cells(index, op).iter().map(String::as_str));
        }
        push_record(&mut text, ["end"]);
        let trailer = trailer_of(text.as_bytes());
        text.push_str(&trailer);
        text.into_bytes()
    }
}

fn trailer_of(body: &[u8]) -> String {
    format!("blake3,{}\n", Blake3::of(body))
}

fn op_cells(index: usize, op: &JournalOp) -> Vec<String> {
    let area = match op.area {
        Area::Tree => "tree",
        Area::Record => "record",
    };
    let backup = match op.backup {
        Backup::None => "",
        Backup::Drop => "drop",
        Backup::Keep => "keep",
    };
    let mut cells = vec!["op".to_owned(), index.to_string(), area.into(), op.path.as_str().into()];
    cells.extend(op.before.cells());
    cells.extend(op.after.cells());
    cells.push(op.destination.as_ref().map_or("", LinkDestination::as_str).into());
    cells.push(op.staged.map(|n| n.to_string()).unwrap_or_default());
    cells.push(backup.into());
    cells.push(op.was.as_ref().map_or("", EntryPath::as_str).into());
    debug_assert_eq!(cells.len(), parse::OP_CELLS);
    cells
}
