//! Writing down how a change of the tree ended. Nothing rests on it, so a failure to write it is none.

use super::*;
use crate::format::last::LastOutcome;

/// Name of the file in the state directory.
const LAST: &str = "last";

/// What an outcome is called, and the build it led to.
pub(super) type Told = (&'static str, u64);

impl Updater {
    /// Writes down how `what` ended, and gives it back.
    pub(super) fn noted<T>(
        &self,
        lock: &TreeLock,
        what: &str,
        ended: Result<T, Error>,
        told: impl FnOnce(&T) -> Told,
    ) -> Result<T, Error> {
        let (code, build) = match &ended {
            Ok(done) => told(done),
            Err(error) => (error.code(), 0),
        };
        let since = self.config.machine.clock();
        let last = LastOutcome { what: what.into(), code: code.into(), build, since };
        if !self.last_outcome().is_some_and(|before| before.is_same(&last)) {
            let _ = lock.replace_state(LAST, &last.to_bytes());
        }
        ended
    }

    /// How the last change of the tree ended, if it was written down.
    pub fn last_outcome(&self) -> Option<LastOutcome> {
        LastOutcome::parse(&self.tree.read_state(LAST).ok()??).ok()
    }
}

/// The outcome of a deployment.
pub(super) fn deployed(report: &DeployReport) -> Told {
    ("done", report.build)
}
