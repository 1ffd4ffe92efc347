//! What can go wrong with a tree.

use std::io;
use std::path::PathBuf;

use super::fs::FsError;
use super::transaction::Kept;
use crate::format::digest::Blake3;
use crate::format::journal::JournalError;
use crate::format::manifest::ManifestError;

/// Why a tree could not be opened, changed or recovered.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The tree is not a directory that can be opened.
    #[error("open tree {}: {source}", path.display())]
    NotATree {
        /// What was to be opened.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The state directory was asked for inside the tree.
    #[error("the state directory {} must be .lamplighter in the tree {}, or lie outside it", state.display(), tree.display())]
    StateInTree {
        /// The directory asked for.
        state: PathBuf,
        /// The tree.
        tree: PathBuf,
    },
    /// Another program holds the lock.
    #[error("the tree {} is locked by another program (waited {waited_ms} ms)", tree.display())]
    Locked {
        /// The tree.
        tree: PathBuf,
        /// How long.
        waited_ms: u64,
    },
    /// A name that no small file of the state directory may have.
    #[error("{name:?} cannot be the name of a state file")]
    StateName {
        /// The name.
        name: String,
    },
    /// A call failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// What lies at a path is not what the plan was made for.
    #[error("{path} changed since the update was planned: expected {expected}, found {found}")]
    ChangedMeanwhile {
        /// Path in the tree, or file of the record.
        path: String,
        /// What the plan expected.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A device, socket or pipe where the update must write.
    #[error("{path} is a device, socket or pipe, and stands in the way of the update")]
    InTheWay {
        /// Path in the tree.
        path: String,
    },
    /// A name that this system cannot have, or that the journal cannot hold.
    #[error("{path} is a name that cannot be moved out of the way")]
    Unnamable {
        /// The path.
        path: String,
    },
    /// A directory of the tree, or a file in it, cannot be changed.
    #[error("{path} cannot be changed: {source}")]
    NotWritable {
        /// Path in the tree.
        path: String,
        /// What the probe said.
        source: FsError,
    },
    /// The volume has no symbolic links, or this user may make none.
    #[error("{path} is a link, and none can be made here: {source}")]
    NoLinks {
        /// Path in the tree.
        path: String,
        /// What the system said.
        source: FsError,
    },
    /// Too little space is left to begin.
    #[error("not enough disk space: {needed_bytes} bytes needed, {free_bytes} free")]
    NoSpace {
        /// Bytes needed.
        needed_bytes: u64,
        /// Bytes free.
        free_bytes: u64,
    },
    /// A staged file does not hold what it must.
    #[error("staged file {number}: expected {expected_size} bytes with BLAKE3 {expected}, found {found}")]
    Staged {
        /// Its number.
        number: usize,
        /// Bytes it must have.
        expected_size: u64,
        /// Digest it must have.
        expected: Blake3,
        /// What it holds.
        found: String,
    },
    /// A key that cannot name a directory.
    #[error("{key:?} cannot name an update: expected 1 to 64 of a-z 0-9 _ -")]
    Key {
        /// The key.
        key: String,
    },
    /// A transaction that contradicts itself.
    #[error("transaction: {problem}")]
    Transaction {
        /// What is wrong with it.
        problem: String,
    },
    /// The manifest of the record to install cannot be read.
    #[error("record: {0}")]
    Manifest(#[from] ManifestError),
    /// The journal cannot be followed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A transaction is in flight: recover first.
    #[error("a transaction that was cut off waits for recovery")]
    InTransaction,
    /// The commit failed and the tree is as it was before.
    #[error("the commit failed and was rolled back: {cause}")]
    RolledBack {
        /// Why it failed.
        #[source]
        cause: Box<TreeError>,
        /// What turned up in the way meanwhile and was set aside for the user.
        kept: Vec<Kept>,
    },
    /// The commit failed, and so did undoing it; recovery will finish or undo it.
    #[error("the commit failed ({cause}) and could not be undone now ({undoing}); recovery will do it")]
    CutOff {
        /// Why it failed.
        #[source]
        cause: Box<TreeError>,
        /// Why undoing failed.
        undoing: Box<TreeError>,
    },
    /// Neither the old nor the new tree can be put together from what is on disk.
    #[error("the tree is damaged and must be healed: {}", problems.join("; "))]
    NeedsHeal {
        /// The first things that are missing.
        problems: Vec<String>,
    },
}

impl TreeError {
    /// Whether the system had no room for data or for a name.
    pub(super) fn lacks_room(&self) -> bool {
        matches!(self, Self::Fs(error) if error.lacks_room())
    }
}
