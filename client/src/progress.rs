//! How the library reports what it does; no terminal here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the client is busy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Fetching and verifying signed documents.
    Check,
    /// Working out what must change.
    Plan,
    /// Fetching content.
    Download,
    /// Building new files in staging.
    Apply,
    /// Changing the tree.
    Commit,
    /// Reading the tree and comparing it with its manifest.
    Verify,
}

impl Phase {
    /// Stable name, for output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Plan => "plan",
            Self::Download => "download",
            Self::Apply => "apply",
            Self::Commit => "commit",
            Self::Verify => "verify",
        }
    }
}

/// One report.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// A phase begins; the `Advanced` events up to the next `Started` add up to `total_bytes`.
    Started {
        /// The phase.
        phase: Phase,
        /// Bytes it will pass.
        total_bytes: u64,
    },
    /// Bytes done since the last report.
    Advanced {
        /// Their number.
        bytes: u64,
    },
    /// Something a person or a log should hear of.
    Notice {
        /// Stable name of the kind of notice.
        code: &'static str,
        /// What it is about: a path, a name in the site.
        subject: &'a str,
        /// One sentence for people.
        text: &'a str,
    },
}

/// Receives reports, from any thread.
pub trait Progress: Send + Sync {
    /// Takes one report; it should return quickly.
    fn event(&self, event: Event<'_>);
}

/// Drops all reports.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: Event<'_>) {}
}

/// Asks running work to stop at the next safe point. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks for the stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the stop was asked for.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
