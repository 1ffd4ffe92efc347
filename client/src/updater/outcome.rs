//! What calls of an [`Updater`](super::Updater) come to.

use crate::deploy::DeployReport;
use crate::format::path::RelPath;
use crate::format::release::Release;
use crate::format::settings::Settings;
use crate::format::text::Time;
use crate::trust::Idle;

/// How an installation or an update ended.
#[derive(Debug)]
pub enum Outcome {
    /// The tree was brought to the offered release.
    Done(Box<DeployReport>),
    /// There was nothing to install.
    Idle(Idle),
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckOutcome {
    /// A newer release.
    Available {
        /// Its build.
        build: u64,
        /// Its version.
        version: String,
    },
    /// None.
    Idle(Idle),
}

/// What adopting a tree found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// Build of the release that was recognised.
    pub build: u64,
    /// Its version.
    pub version: String,
    /// Rows of its manifest that are on disk as released.
    pub rows_intact: usize,
    /// Rows of its manifest.
    pub rows: usize,
}

/// A listed path that is not as released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The path.
    pub path: RelPath,
    /// Stable name of what was found: `missing`, `content`, `mode`, `link`, `directory`, `special`, `unreadable`.
    pub code: &'static str,
    /// What was found in its place.
    pub what: String,
    /// Its policy lets the user edit it: not a damage.
    pub keep: bool,
}

/// What verifying a tree found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Build of the installed release.
    pub build: u64,
    /// Its version.
    pub version: String,
    /// Rows of its manifest.
    pub rows: usize,
    /// Bytes of files read.
    pub read_bytes: u64,
    /// What is not as released.
    pub damaged: Vec<Damage>,
}

/// What is known of a tree without asking its site.
#[derive(Debug, Clone)]
pub struct Status {
    /// Where it comes from.
    pub settings: Settings,
    /// The release recorded as installed.
    pub installed: Option<Release>,
    /// An update was interrupted and is finished or undone by the next command that changes the tree.
    pub unfinished: bool,
    /// It could be neither: the tree may be of no release, and [`Updater::heal`](super::Updater::heal) makes it whole.
    pub given_up: bool,
    /// Version of the newest root known.
    pub root_version: u64,
    /// When it expires.
    pub root_expires: Time,
    /// `issued` of the last accepted head of the channel.
    pub last_issued: Option<Time>,
    /// Its sequence.
    pub sequence: Option<u64>,
}
