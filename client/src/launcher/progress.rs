//! Events of the library as messages with a percentage.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::Host;
use crate::progress::{Event, Phase, Progress};

/// Tells a host, and whoever was told before.
pub(super) struct HostProgress {
    host: Arc<dyn Host>,
    inner: Arc<dyn Progress>,
    phase: Mutex<Option<Phase>>,
    total_bytes: AtomicU64,
    done_bytes: AtomicU64,
    /// The percentage told last; a message a percent is enough.
    told: AtomicU64,
}

impl HostProgress {
    pub(super) fn new(host: Arc<dyn Host>, inner: Arc<dyn Progress>) -> Self {
        let zero = || AtomicU64::new(0);
        Self { host, inner, phase: Mutex::new(None), total_bytes: zero(), done_bytes: zero(), told: zero() }
    }

    fn tell(&self, percent: Option<u8>) {
        let phase = *self.phase.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(text) = phase.map(words) {
            self.host.message(text, percent);
        }
    }
}

impl Progress for HostProgress {
    fn event(&self, event: Event<'_>) {
        self.inner.event(event);
        match event {
            Event::Started { phase, total_bytes } => {
                *self.phase.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(phase);
                self.total_bytes.store(total_bytes, Ordering::Relaxed);
                self.done_bytes.store(0, Ordering::Relaxed);
                self.told.store(0, Ordering::Relaxed);
                self.tell(Some(0));
            }
            Event::Advanced { bytes } => {
                let done = self.done_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
                let total = self.total_bytes.load(Ordering::Relaxed);
                let percent = done.saturating_mul(100).checked_div(total).unwrap_or(0).min(100);
                if self.told.swap(percent, Ordering::Relaxed) != percent {
                    self.tell(Some(percent as u8));
                }
            }
            Event::Notice { .. } => {}
        }
    }
}

fn words(phase: Phase) -> &'static str {
    match phase {
        Phase::Check => "looking for updates",
        Phase::Plan => "planning the update",
        Phase::Download => "downloading",
        Phase::Apply => "building new files",
        Phase::Commit => "changing files",
        Phase::Verify => "comparing files",
    }
}
