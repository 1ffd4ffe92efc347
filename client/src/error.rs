//! Everything that can go wrong, in one type: what failed, on what, and of which class it is.

use std::io;
use std::path::PathBuf;

use crate::download::DownloadError;
use crate::format::digest::Blake3;
use crate::format::document::DocumentError;
use crate::format::manifest::ManifestError;
use crate::format::notes::NotesError;
use crate::format::objects::{ObjectError, ObjectsError};
use crate::format::pack::PackError;
use crate::format::path::RelPath;
use crate::patch::PatchError;
use crate::source::{SourceError, Trouble};
use crate::tree::TreeError;
use crate::trust::Refusal;

/// The class of an error: what a program can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// None of the others.
    Other,
    /// The call makes no sense: wrong settings, a tree without settings.
    Usage,
    /// The site could not be reached, or what came was incomplete; trying again may help.
    Network,
    /// Something is not signed, not for this app, or not what was signed.
    NotTrusted,
    /// The tree needs healing.
    Damaged,
    /// The disk is full, read-only or failing, or permissions are missing.
    Disk,
    /// Another program is updating this tree.
    Locked,
    /// This client is too old for the site.
    TooOld,
    /// The caller asked to stop.
    Cancelled,
}

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error("{name}: {source}")]
    Manifest { name: String, source: ManifestError },
    #[error("{name}: {source}")]
    ObjectsIndex { name: String, source: ObjectsError },
    #[error("{name}: {source}")]
    Notes { name: String, source: NotesError },
    #[error("{0}")]
    Object(#[from] ObjectError),
    #[error("{name}: {source}")]
    Pack { name: String, source: PackError },
    #[error("{name} does not lead to the signed manifest {expected}")]
    PackManifest { name: String, expected: Blake3 },
    #[error("{path} did not come out as signed, twice; the site's objects do not fit its manifest")]
    WrongContent { path: RelPath },
    #[error("a unit of {name}: {source}")]
    Patch { name: String, source: PatchError },
    #[error("{0}")]
    Download(#[from] DownloadError),
    #[error("{0}")]
    Source(#[from] SourceError),
    #[error("{0}")]
    Tree(#[from] TreeError),
    #[error("{path} cannot be read: {reason}")]
    Unreadable { path: RelPath, reason: String },
    #[error("cannot {doing} {path}: {source}")]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("{path} vanished while it was in use; is another program cleaning up?")]
    Vanished { path: PathBuf },
    #[error("the disk has {available_bytes} bytes free, this needs {needed_bytes}; nothing was changed")]
    NoSpace { needed_bytes: u64, available_bytes: u64 },
    #[error(
        "{path} lies on a network share ({kind}), where others may change what was verified; nothing was changed. \
         Install the app on a local disk, or allow network shares (--allow-network-share)"
    )]
    NetworkShare { path: PathBuf, kind: &'static str },
    #[error("{path} has no settings of a Lamplighter tree; install or adopt it first")]
    NoSettings { path: PathBuf },
    #[error("{path} holds a tree already; use update, heal or adopt")]
    AlreadyInstalled { path: PathBuf },
    #[error("{path}: {source}; run adopt with the same settings to write it anew")]
    Settings { path: PathBuf, source: DocumentError },
    #[error("{path} is not the pinned root: {source}")]
    PinnedRoot { path: PathBuf, source: Refusal },
    #[error("{path} has no record of what is installed; run adopt or update")]
    NoRecord { path: PathBuf },
    #[error("the record of what is installed in {path} is damaged: {reason}; run adopt")]
    DamagedRecord { path: PathBuf, reason: String },
    #[error("nothing is staged for {path}; run update or stage it first")]
    NothingStaged { path: PathBuf },
    #[error("{path} has no earlier release to go back to: the installed one is confirmed, or is the first")]
    NoPrevious { path: PathBuf },
    #[error("build {build} is not one file, which the program {path} could become")]
    NotOneFile { build: u64, path: PathBuf },
    #[error("{path} was changed by somebody else during its update, and was left so")]
    ChangedMeanwhile { path: PathBuf },
    #[error("neither the new release nor the installed one in {path} has a patcher that works here")]
    NoPatcher { path: PathBuf },
    #[error("{what} is not what the app left for the patcher: expected {expected}, found {found}; nothing was changed")]
    Handover { what: &'static str, expected: String, found: String },
    #[error("{path} is still in use by process {}; the update is finished at the next start", list(pids))]
    StillRunning { path: PathBuf, pids: Vec<u32> },
    #[error("{0}")]
    Usage(String),
    #[error("no pack leads from the installed release to build {build}, and nothing else was allowed")]
    NoPack { build: u64 },
    #[error("stopped as asked; what was fetched is kept for the next time")]
    Cancelled,
}

impl Error {
    /// Whether content that could not be had this way may be had another: a pack that is missing, damaged or altered says
    /// nothing of the objects. A network that fails, a full disk and a request to stop do.
    pub(crate) fn leaves_other_ways(&self) -> bool {
        match self {
            Self::Cancelled | Self::Download(DownloadError::Cancelled | DownloadError::File { .. }) => false,
            Self::Download(DownloadError::Source(error)) => match error.as_ref() {
                // A file that always ends too early is the file's trouble.
                SourceError::Transient { trouble, .. } => {
                    matches!(trouble, Trouble::Interrupted(_) | Trouble::Range { .. } | Trouble::Encoded(_))
                }
                SourceError::NotFound { .. } | SourceError::Forbidden { .. } => true,
                SourceError::Fatal { .. } => false,
            },
            Self::Io { .. } => false,
            _ => true,
        }
    }

    /// Stable name of the cause.
    pub fn code(&self) -> &'static str {
        if let Self::Refused(refusal) = self {
            return refusal.code();
        }
        if let Self::NetworkShare { .. } = self {
            return "E_NETWORK_SHARE";
        }
        match self.class() {
            Class::Other => "E_OTHER",
            Class::Usage => "E_USAGE",
            Class::Network => "E_NETWORK",
            Class::NotTrusted => "E_CONTENT",
            Class::Damaged => "E_DAMAGED",
            Class::Disk => "E_DISK",
            Class::Locked => "E_LOCKED",
            Class::TooOld => "E_CLIENT_TOO_OLD",
            Class::Cancelled => "E_CANCELLED",
        }
    }

    /// The class of the error.
    pub fn class(&self) -> Class {
        match self {
            Self::Refused(refusal) => refusal_class(refusal),
            Self::Manifest { source: ManifestError::TooOld { .. }, .. } => Class::TooOld,
            Self::Manifest { .. } | Self::ObjectsIndex { .. } | Self::Notes { .. } | Self::Object(_) => {
                Class::NotTrusted
            }
            Self::Pack { .. } | Self::PackManifest { .. } | Self::Patch { .. } => Class::NotTrusted,
            Self::WrongContent { .. } | Self::PinnedRoot { .. } => Class::NotTrusted,
            Self::Download(DownloadError::Cancelled) => Class::Cancelled,
            Self::Download(DownloadError::WrongContent(wrong)) if !wrong.web_page => Class::NotTrusted,
            Self::Download(DownloadError::File { .. }) => Class::Disk,
            Self::Download(_) => Class::Network,
            Self::Source(_) => Class::Network,
            Self::Tree(error) => tree_class(error),
            Self::Io { .. } | Self::Unreadable { .. } | Self::Vanished { .. } | Self::NoSpace { .. } => Class::Disk,
            Self::NetworkShare { .. } => Class::Disk,
            Self::NoSettings { .. } | Self::AlreadyInstalled { .. } | Self::Settings { .. } | Self::Usage(_) => {
                Class::Usage
            }
            Self::NoRecord { .. } | Self::DamagedRecord { .. } => Class::Damaged,
            Self::NotOneFile { .. } | Self::ChangedMeanwhile { .. } => Class::Other,
            Self::NoPack { .. } | Self::NothingStaged { .. } | Self::NoPrevious { .. } => Class::Other,
            Self::NoPatcher { .. } => Class::Other,
            Self::Handover { .. } => Class::NotTrusted,
            Self::StillRunning { .. } => Class::Locked,
            Self::Cancelled => Class::Cancelled,
        }
    }
}

fn list(pids: &[u32]) -> String {
    pids.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

fn refusal_class(refusal: &Refusal) -> Class {
    match refusal {
        Refusal::TooOld { .. } | Refusal::BelowMinimum { .. } => Class::TooOld,
        // A login page and an older copy at an edge are troubles of the network, not attacks.
        other if other.is_transient() => Class::Network,
        _ => Class::NotTrusted,
    }
}

fn tree_class(error: &TreeError) -> Class {
    match error {
        TreeError::Locked { .. } => Class::Locked,
        TreeError::NotATree { .. } | TreeError::StateInTree { .. } | TreeError::StateName { .. } => Class::Usage,
        TreeError::NeedsHeal { .. } | TreeError::Journal(_) | TreeError::Manifest(_) => Class::Damaged,
        TreeError::RolledBack { cause, .. } | TreeError::CutOff { cause, .. } => tree_class(cause),
        TreeError::Transaction { .. } | TreeError::Key { .. } | TreeError::InTransaction => Class::Other,
        _ => Class::Disk,
    }
}
