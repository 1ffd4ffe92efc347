//! What all transfers of one downloader have in common, and how they take turns.

use super::mirrors::{Mirror, Slot};
use super::throttle::Throttle;
use super::{DownloadError, RetryPolicy};
use crate::progress::{Cancel, Event, Progress};
use crate::source::{SourceError, Trouble};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Longest wait between two looks at the cancel token.
const PAUSE_SLICE: Duration = Duration::from_millis(100);

/// What all transfers of one downloader have in common.
pub(super) struct Shared {
    pub(super) mirrors: Vec<Mirror>,
    pub(super) policy: RetryPolicy,
    pub(super) cancel: Cancel,
    pub(super) progress: Arc<dyn Progress>,
    pub(super) requests: AtomicU64,
    pub(super) received_bytes: AtomicU64,
    pub(super) throttle: Throttle,
}

impl Shared {
    pub(super) fn check_cancel(&self) -> Result<(), DownloadError> {
        if self.cancel.is_cancelled() { Err(DownloadError::Cancelled) } else { Ok(()) }
    }

    pub(super) fn notice(&self, code: &'static str, subject: &str, text: &str) {
        self.progress.event(Event::Notice { code, subject, text });
    }

    /// Waits until a request may be sent to this mirror; none if its standing changed meanwhile.
    pub(super) fn wait_for_slot(&self, mirror: usize) -> Result<Option<Slot>, DownloadError> {
        let mirror = &self.mirrors[mirror];
        let mut slot = mirror.reserve(&self.policy);
        loop {
            self.check_cancel()?;
            if !mirror.honours(&slot) {
                return Ok(None);
            }
            let now = self.policy.timing.now();
            if slot.at <= now && mirror.admits(&mut slot, now) {
                return Ok(Some(slot));
            }
            self.policy.timing.pause(slot.at.saturating_sub(now).min(PAUSE_SLICE));
        }
    }

    /// Counts bytes of a body that came, and waits if more came than may.
    pub(super) fn received(&self, bytes: usize) -> Result<(), DownloadError> {
        self.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let Some(most) = self.policy.bytes_per_second_max else { return Ok(()) };
        let timing = self.policy.timing.as_ref();
        let until = self.throttle.book(bytes as u64, most, timing);
        loop {
            self.check_cancel()?;
            let left = until.saturating_sub(timing.now());
            if left.is_zero() {
                return Ok(());
            }
            timing.pause(left.min(PAUSE_SLICE));
        }
    }

    /// Notes a failure in the standing of `mirror`; an answer that is merely unwelcome shows that it works.
    pub(super) fn note_failure(&self, mirror: usize, slot: &mut Slot, error: &SourceError) {
        let mirror = &self.mirrors[mirror];
        match error {
            SourceError::NotFound { .. } | SourceError::Forbidden { .. } => mirror.worked(slot),
            SourceError::Transient { trouble: Trouble::Range { .. }, .. } => mirror.worked(slot),
            SourceError::Transient { .. } if error.is_mirror_fault() => mirror.lied(),
            SourceError::Transient { retry_after, .. } => mirror.failed(slot, &self.policy, *retry_after, error),
            SourceError::Fatal { .. } => mirror.failed(slot, &self.policy, None, error),
        }
    }
}
