//! How the library reports what it does; no terminal here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lamplighter_client::progress::{Event, Phase, Progress};

/// What a run is busy with. The names are stable: they stand in `--json` events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Reading and hashing an input directory.
    Scan,
    /// Cutting, compressing and storing full content.
    Objects,
    /// Rebuilding trees of old releases from the site, and computing what changed since.
    Packs,
    /// Updating scratch trees with the client's code.
    Proof,
    /// Reading a whole site.
    Verify,
    /// Sending files to a bucket or a directory.
    Upload,
    /// Removing what nobody needs.
    Prune,
}

impl Step {
    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Step::Scan => "scan",
            Step::Objects => "objects",
            Step::Packs => "packs",
            Step::Proof => "proof",
            Step::Verify => "verify",
            Step::Upload => "upload",
            Step::Prune => "prune",
        }
    }
}

/// Receives reports, from any thread; each call should return quickly.
pub trait Watch: Send + Sync {
    /// A step begins on `subject` (a platform, a pair of builds); what follows passes about `total_bytes`.
    fn step(&self, step: Step, subject: &str, total_bytes: u64);

    /// Bytes done in the current step since the last report.
    fn advanced(&self, bytes: u64);

    /// Something a person or a log should hear of: a stable code, what it is about, one sentence.
    fn notice(&self, code: &'static str, subject: &str, text: &str);

    /// A file of this name is about to appear in the site.
    fn publishing(&self, _name: &str) {}

    /// The file of this name is about to be removed from the site.
    fn removing(&self, _name: &str) {}
}

/// Drops all reports.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn step(&self, _: Step, _: &str, _: u64) {}
    fn advanced(&self, _: u64) {}
    fn notice(&self, _: &'static str, _: &str, _: &str) {}
}

/// Hands the bytes of a part of the work on: the run names its own steps, and what a client would tell its user about a
/// scratch tree is not for the publisher's.
pub struct PartProgress {
    watch: Arc<dyn Watch>,
    /// Whether the part is at what its bytes are counted by: the download, if it has phases at all.
    counts: AtomicBool,
}

impl PartProgress {
    /// Reports to `watch`.
    pub fn new(watch: Arc<dyn Watch>) -> Self {
        Self { watch, counts: AtomicBool::new(true) }
    }
}

impl Progress for PartProgress {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Started { phase, .. } => self.counts.store(phase == Phase::Download, Ordering::Relaxed),
            Event::Advanced { bytes } if self.counts.load(Ordering::Relaxed) => self.watch.advanced(bytes),
            Event::Advanced { .. } | Event::Notice { .. } => {}
        }
    }
}
