//! What a caller asks of a commit, and what it is told afterwards.

use std::path::PathBuf;

use super::Staging;
use super::layout::{INSTALLED, MANIFEST, RELEASE};
use crate::format::digest::ContentDigest;
use crate::format::manifest::Row;
use crate::format::path::{LinkDestination, RelPath};

/// What names the content of a tree: kept in `installed/`, switched in the same transaction as the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Bytes of the signed release.
    pub release: Vec<u8>,
    /// Bytes of its manifest.
    pub manifest: Vec<u8>,
}

impl Record {
    /// The record as files of the state directory, by their paths below it.
    pub fn state_files(&self) -> [(String, Vec<u8>); 2] {
        let path = |name: &str| format!("{INSTALLED}/{name}");
        [(path(RELEASE), self.release.clone()), (path(MANIFEST), self.manifest.clone())]
    }
}

/// What the plan found at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Before {
    /// Nothing.
    Absent,
    /// Exactly what this row of the old manifest says (modes do not count).
    Listed(Row),
    /// Something else. If it stands in the way it is moved to `kept/` and reported.
    Foreign,
}

/// One change of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Puts a staged file at `path`.
    Put {
        /// Where.
        path: RelPath,
        /// What is there.
        before: Before,
        /// Number of the staged file; each is used once.
        staged: usize,
        /// Its content.
        digest: ContentDigest,
        /// Whether it is executable.
        executable: bool,
    },
    /// Makes a link.
    Link {
        /// Where.
        path: RelPath,
        /// What is there.
        before: Before,
        /// Where it points.
        destination: LinkDestination,
    },
    /// Makes an empty directory that the new manifest lists. Directories that files need are made without being asked for.
    Directory {
        /// Where.
        path: RelPath,
        /// What is there.
        before: Before,
    },
    /// Removes what the old manifest listed. Directories left empty go too, unless the new manifest lists them.
    Remove {
        /// Where.
        path: RelPath,
        /// What is there.
        before: Before,
    },
    /// Changes the mode of a file whose content stays.
    SetMode {
        /// Where.
        path: RelPath,
        /// What is there: a listed file.
        before: Before,
        /// Whether it shall be executable.
        executable: bool,
    },
}

impl Op {
    /// The path it changes.
    pub fn path(&self) -> &RelPath {
        match self {
            Self::Put { path, .. }
            | Self::Link { path, .. }
            | Self::Directory { path, .. }
            | Self::Remove { path, .. }
            | Self::SetMode { path, .. } => path,
        }
    }

    /// What the plan found there.
    pub fn before(&self) -> &Before {
        match self {
            Self::Put { before, .. }
            | Self::Link { before, .. }
            | Self::Directory { before, .. }
            | Self::Remove { before, .. }
            | Self::SetMode { before, .. } => before,
        }
    }
}

/// One way from an old tree to a new one.
pub struct Transaction {
    /// The record that is installed now.
    pub from: Option<Record>,
    /// The record to install.
    pub to: Record,
    /// The changes, in any order, at most one a path.
    pub ops: Vec<Op>,
    /// The new contents.
    pub staging: Staging,
}

/// Something of the user's that stood in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Where it lay in the tree, in the escaped form of [`crate::format::journal::EntryPath`].
    pub path: String,
    /// Where it lies now.
    pub kept_at: PathBuf,
}

/// How the old contents were held while the tree changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backups {
    /// By hard links, at no cost.
    pub linked: usize,
    /// By copies, as the volume has no hard links.
    pub copied: usize,
    /// By being moved, as the volume has no hard links and they are large: a crash in the middle of such a move is safe only
    /// where the file system renames at once.
    pub moved: usize,
}

/// What a commit or a recovery did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommitReport {
    /// What was set aside for the user.
    pub kept: Vec<Kept>,
    /// How old contents were held.
    pub backups: Backups,
    /// Files and links put in place.
    pub placed: usize,
    /// Files and links removed.
    pub removed: usize,
}
