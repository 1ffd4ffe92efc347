//! All the ways a run can fail, gathered once, and the class each belongs to.

use crate::config::ConfigError;
use crate::scan::ScanError;
use crate::serve::ServeError;
use crate::sign::SignError;
use crate::site::SiteError;

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

/// Any failure of the publisher.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Scan(#[from] ScanError),
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error(transparent)]
    Site(#[from] SiteError),
}

impl Error {
    /// The class it belongs to.
    pub fn class(&self) -> Class {
        match self {
            Error::Config(_) => Class::Usage,
            Error::Scan(error) => error.class(),
            Error::Sign(error) => error.class(),
            Error::Serve(error) => error.class(),
            Error::Site(error) => error.class(),
        }
    }
}
