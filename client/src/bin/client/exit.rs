//! Exit codes: the class of an outcome, for scripts.

use std::process::ExitCode;

use lamplighter_client::error::{Class, Error};

/// How a command ended. The numbers are documented in the help and never change.
// The patcher has no use for some.
#[allow(dead_code)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// None of the others.
    Other = 1,
    /// Wrong use of the command.
    Usage = 2,
    /// Nothing to do.
    NothingToDo = 3,
    /// The site could not be reached.
    Network = 4,
    /// Not signed, not for this app, or not what was signed.
    NotTrusted = 5,
    /// The tree is damaged.
    Damaged = 6,
    /// Disk full, read-only or failing, or permissions missing.
    Disk = 7,
    /// Another program is updating this tree.
    Locked = 8,
    /// What the site says has expired.
    Stale = 9,
    /// This client is too old for the site.
    TooOld = 10,
    /// Stopped as asked.
    Cancelled = 11,
}

/// The table of the help.
pub(crate) const HELP: &str = "\
Exit codes:
   0  done (check: an update is available)
   1  another error
   2  wrong use
   3  nothing to do
   4  network: the site could not be reached, or what came was not the site's; try again
   5  not trusted: not signed, not for this app, or not what was signed
   6  the tree is damaged; heal it
   7  disk: full, read-only or failing, or permissions missing
   8  locked: another program is updating this tree
   9  stale: what the site says has expired; the app still runs
  10  this client is too old for the site; the app still runs
  11  stopped as asked";

impl Exit {
    /// The code of an error.
    pub(crate) fn of(error: &Error) -> Self {
        match error.class() {
            Class::Other => Self::Other,
            Class::Usage => Self::Usage,
            Class::Network => Self::Network,
            Class::NotTrusted => Self::NotTrusted,
            Class::Damaged => Self::Damaged,
            Class::Disk => Self::Disk,
            Class::Locked => Self::Locked,
            Class::TooOld => Self::TooOld,
            Class::Cancelled => Self::Cancelled,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
