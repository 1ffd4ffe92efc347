//! How the library reports what it does; no terminal here.

use std::sync::Arc;

use lamplighter_client::progress::{Event, Progress};

/// What a run is busy with. The names are stable: they stand in `--json` events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Reading and hashing an input directory.
    Scan,
    /// Cutting, compressing and storing full content.
    Objects,
    /// Rebuilding trees of old releases from the site.
    Bases,
    /// Computing what changed since an old release.
    Packs,
    /// Updating scratch trees with the client's code.
    Proof,
    /// Reading a whole site.
    Verify,
}

impl Step {
    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Step::Scan => "scan",
            Step::Objects => "objects",
            Step::Bases => "bases",
            Step::Packs => "packs",
            Step::Proof => "proof",
            Step::Verify => "verify",
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
}

/// Drops all reports.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn step(&self, _: Step, _: &str, _: u64) {}
    fn advanced(&self, _: u64) {}
    fn notice(&self, _: &'static str, _: &str, _: &str) {}
}

/// Hands a part's reports on: its bytes and notices, not its phases, since the run names its own steps.
pub struct PartProgress(pub Arc<dyn Watch>);

impl Progress for PartProgress {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Started { .. } => {}
            Event::Advanced { bytes } => self.0.advanced(bytes),
            Event::Notice { code, subject, text } => self.0.notice(code, subject, text),
        }
    }
}
