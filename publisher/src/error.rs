//! All the ways a run can fail, gathered once, and the class each belongs to.

use std::path::PathBuf;

use lamplighter_client::error::{Class as ClientClass, Error as ClientError};

use crate::bundle::BundleError;
use crate::config::ConfigError;
use crate::objects::BuildError;
use crate::packs::PackBuildError;
use crate::proof::ProofError;
use crate::root::RootError;
use crate::scan::ScanError;
use crate::serve::ServeError;
use crate::sign::SignError;
use crate::site::SiteError;
use crate::store::StoreError;
use crate::upload::UploadError;

/// Classes of failure; scripts act on them, through exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Arguments or configuration.
    Usage,
    /// The input tree.
    Input,
    /// Keys, signatures, trust.
    Trust,
    /// What the site holds, or does not.
    Site,
    /// Disk and other input or output.
    Disk,
    /// A proof failed: what was built does not lead where it should.
    Proof,
    /// Another publisher is at work on the site.
    Locked,
}

impl Class {
    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Class::Usage => "usage",
            Class::Input => "input",
            Class::Trust => "trust",
            Class::Site => "site",
            Class::Disk => "disk",
            Class::Proof => "proof",
            Class::Locked => "locked",
        }
    }

    /// The exit code.
    pub const fn exit_code(self) -> u8 {
        match self {
            Class::Usage => 2,
            Class::Input => 3,
            Class::Trust => 4,
            Class::Site => 5,
            Class::Disk => 6,
            Class::Proof => 7,
            Class::Locked => 8,
        }
    }
}

impl Class {
    /// What to do about it, where the class alone says so.
    pub const fn hint(self) -> Option<&'static str> {
        match self {
            Class::Usage => Some("`publisher COMMAND --help` tells what the command takes."),
            Class::Input => Some("Nothing was published; mend the directory and run again."),
            Class::Trust => Some("`publisher root show` tells which keys the site believes, and for what."),
            Class::Proof => Some("Nothing was published: what was built would not have worked for clients."),
            Class::Locked => Some("The lock goes with the process that holds it; run again when it has ended."),
            _ => None,
        }
    }
}

/// Any failure of the publisher.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Root(#[from] RootError),
    #[error(transparent)]
    Scan(#[from] ScanError),
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error(transparent)]
    Site(#[from] SiteError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Upload(#[from] UploadError),
    #[error("objects: {0}")]
    Objects(#[from] BuildError),
    #[error(transparent)]
    Pack(#[from] PackBuildError),
    #[error("cannot {doing}: {source}")]
    Client { doing: &'static str, source: Box<ClientError> },
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Proof(Vec<ProofError>),
    #[error("release notes {}: {detail}", file.display())]
    Notes { file: PathBuf, detail: String },
    #[error("--patch-cache {}: {source}", dir.display())]
    PatchCache { dir: PathBuf, source: std::io::Error },
    #[error("cannot start threads: {0}")]
    Threads(String),
}

impl Error {
    /// The class it belongs to.
    pub fn class(&self) -> Class {
        match self {
            Error::Bundle(error) => error.class(),
            Error::Config(_) => Class::Usage,
            Error::Root(error) => error.class(),
            Error::Scan(error) => error.class(),
            Error::Sign(error) => error.class(),
            Error::Serve(error) => error.class(),
            Error::Site(error) => error.class(),
            Error::Store(error) => error.class(),
            Error::Upload(error) => error.class(),
            Error::Objects(error) => match error {
                BuildError::Read { .. } | BuildError::Changed { .. } => Class::Input,
                BuildError::Compress { .. } | BuildError::Store { .. } => Class::Disk,
                BuildError::Index(_) => Class::Proof,
            },
            Error::Pack(error) => match error {
                PackBuildError::Read { .. } | PackBuildError::Changed { .. } => Class::Input,
                PackBuildError::Scratch { .. } => Class::Disk,
                PackBuildError::Diff { .. } | PackBuildError::Header(_) => Class::Proof,
            },
            Error::Client { source, .. } => match source.class() {
                ClientClass::Disk => Class::Disk,
                ClientClass::NotTrusted => Class::Trust,
                _ => Class::Site,
            },
            Error::Proof(failures) => match failures.iter().all(ProofError::is_disk) {
                true => Class::Disk,
                false => Class::Proof,
            },
            Error::Notes { .. } => Class::Input,
            Error::Threads(_) | Error::PatchCache { .. } => Class::Disk,
        }
    }
}
