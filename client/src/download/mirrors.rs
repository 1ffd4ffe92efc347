//! What all transfers together know of a mirror: whether it fails now, and whether it ever lied.
//!
//! A mirror that fails rests. While it does, transfers that want it are given slots one pause apart, so that a host in
//! trouble sees a few requests a minute from this client, however many threads there are, and never more than
//! [`REQUESTS_MAX`] in [`REQUESTS_TIME`], beside those that were under way when it began to fail: these count from when they
//! fail. Failures of transfers that ran side by side count as one.

use super::RetryPolicy;
use crate::source::{Source, SourceError, Trouble};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Most requests a mirror that fails is sent within [`REQUESTS_TIME`], those counted that showed that it does.
const REQUESTS_MAX: usize = 8;
const REQUESTS_TIME: Duration = Duration::from_secs(60);

/// One source and its standing.
pub(super) struct Mirror {
    pub(super) source: Arc<dyn Source>,
    standing: Mutex<Standing>,
    last_error: Mutex<Option<SourceError>>,
    /// When the last requests were sent, or failed, since it last worked.
    recent: Mutex<VecDeque<Duration>>,
}

/// Times are those of [`super::Timing::now`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Failures since it last worked.
    pub(super) failures: u32,
    /// Times it delivered wrong content.
    pub(super) faults: u32,
    /// When the next request may be sent, if it fails.
    pub(super) next_slot: Duration,
    /// Changes whenever the standing does, so that who waits knows.
    epoch: u64,
}

/// Leave to send a request at a certain time, as long as the standing stays the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) at: Duration,
    epoch: u64,
    /// It is among the recent ones.
    counted: bool,
}

impl Standing {
    /// How long it still rests.
    pub(super) fn rest(&self, now: Duration) -> Duration {
        if self.failures == 0 { Duration::ZERO } else { self.next_slot.saturating_sub(now) }
    }
}

impl Mirror {
    pub(super) fn new(source: Arc<dyn Source>) -> Self {
        Self { source, standing: Mutex::default(), last_error: Mutex::default(), recent: Mutex::default() }
    }

    pub(super) fn standing(&self) -> Standing {
        *self.lock()
    }

    /// A slot for a request that does not wait its turn.
    pub(super) fn at_once(&self, policy: &RetryPolicy) -> Slot {
        Slot { at: policy.timing.now(), epoch: self.lock().epoch, counted: false }
    }

    /// Takes the next slot.
    pub(super) fn reserve(&self, policy: &RetryPolicy) -> Slot {
        let now = policy.timing.now();
        let mut standing = self.lock();
        let epoch = standing.epoch;
        if standing.failures == 0 {
            return Slot { at: now, epoch, counted: false };
        }
        let at = standing.next_slot.max(now);
        standing.next_slot = at + policy.pause(standing.failures);
        Slot { at, epoch, counted: false }
    }

    /// Whether the request of `slot`, whose time has come, may be sent; if not, its time is put off.
    pub(super) fn admits(&self, slot: &mut Slot, now: Duration) -> bool {
        if self.standing().failures == 0 {
            return true;
        }
        let mut recent = self.recent();
        while recent.front().is_some_and(|at| now.saturating_sub(*at) >= REQUESTS_TIME) {
            recent.pop_front();
        }
        if recent.len() >= REQUESTS_MAX {
            slot.at = recent[recent.len() - REQUESTS_MAX] + REQUESTS_TIME;
            return false;
        }
        recent.push_back(now);
        slot.counted = true;
        true
    }

    /// Whether `slot` still counts.
    pub(super) fn honours(&self, slot: &Slot) -> bool {
        self.lock().epoch == slot.epoch
    }

    /// What it failed with last.
    pub(super) fn last_error(&self) -> Option<SourceError> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes that the request sent in `slot` failed.
    pub(super) fn failed(&self, slot: &Slot, policy: &RetryPolicy, retry_after: Option<Duration>, error: &SourceError) {
        let now = policy.timing.now();
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
        if !slot.counted {
            self.recent().push_back(now);
        }
        let mut standing = self.lock();
        if standing.epoch == slot.epoch {
            standing.failures = match error {
                // It may be this file's trouble alone: it rests, and is not given up for others.
                SourceError::Transient { trouble: Trouble::Interrupted(_), .. } => {
                    (standing.failures + 1).min(policy.tries_max.saturating_sub(1)).max(standing.failures)
                }
                _ => standing.failures.saturating_add(1),
            };
            standing.epoch += 1;
            standing.next_slot = now + policy.pause(standing.failures);
        }
        if let Some(wait) = retry_after {
            standing.next_slot = standing.next_slot.max(now.saturating_add(wait));
        }
    }

    /// Notes that it delivers what was asked for in `slot`, which keeps counting.
    pub(super) fn worked(&self, slot: &mut Slot) {
        let mut standing = self.lock();
        if standing.failures > 0 {
            standing.failures = 0;
            standing.next_slot = Duration::ZERO;
            standing.epoch += 1;
            self.recent().clear();
        }
        slot.epoch = standing.epoch;
    }

    /// Notes that it delivered wrong content.
    pub(super) fn lied(&self) {
        let mut standing = self.lock();
        standing.faults = standing.faults.saturating_add(1);
    }

    fn recent(&self) -> MutexGuard<'_, VecDeque<Duration>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        // Plain numbers are right even if a thread died while it held the lock.
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Timing;
    use super::*;
    use crate::source::{Body, ByteRange, Kind};

    struct Nowhere;

    impl Source for Nowhere {
        fn open(&self, name: &str, _: Option<ByteRange>, _: Kind) -> Result<Body, SourceError> {
            Err(SourceError::NotFound { name: name.into(), site: String::new(), answer: String::new() })
        }
        fn describe(&self) -> String {
            String::new()
        }
    }

    struct Noon;

    impl Timing for Noon {
        fn now(&self) -> Duration {
            Duration::from_secs(100)
        }
        fn pause(&self, _: Duration) {}
        fn chance_per_mille(&self) -> u32 {
            500
        }
    }

    fn setting() -> (Mirror, RetryPolicy) {
        (Mirror::new(Arc::new(Nowhere)), RetryPolicy { timing: Arc::new(Noon), ..RetryPolicy::default() })
    }

    fn error() -> SourceError {
        SourceError::transient("name", "site", Trouble::Status(500))
    }

    fn seconds(mirror: &Mirror, policy: &RetryPolicy) -> u64 {
        mirror.reserve(policy).at.as_secs()
    }

    #[test]
    fn slots_of_a_failing_mirror_lie_a_pause_apart() {
        let (mirror, policy) = setting();
        assert_eq!((seconds(&mirror, &policy), seconds(&mirror, &policy)), (100, 100));
        let slot = mirror.reserve(&policy);
        mirror.failed(&slot, &policy, None, &error());
        assert!(!mirror.honours(&slot));
        assert_eq!((seconds(&mirror, &policy), seconds(&mirror, &policy)), (101, 102));
        let slot = mirror.reserve(&policy);
        mirror.failed(&slot, &policy, None, &error());
        assert_eq!((seconds(&mirror, &policy), seconds(&mirror, &policy)), (102, 104));
    }

    #[test]
    fn failures_side_by_side_count_as_one() {
        let (mirror, policy) = setting();
        let mut slots: Vec<Slot> = (0..8).map(|_| mirror.reserve(&policy)).collect();
        slots.iter().for_each(|slot| mirror.failed(slot, &policy, None, &error()));
        assert_eq!(mirror.standing().failures, 1);
        mirror.worked(&mut slots[3]);
        assert_eq!(mirror.standing().failures, 0);
        assert!(mirror.honours(&slots[3]));
        assert_eq!(seconds(&mirror, &policy), 100);
    }

    #[test]
    fn a_failing_mirror_is_sent_eight_requests_a_minute() {
        let (mirror, policy) = setting();
        // Four were under way when it began to fail.
        let mut slots: Vec<Slot> = (0..4).map(|_| mirror.reserve(&policy)).collect();
        slots.iter().for_each(|slot| mirror.failed(slot, &policy, None, &error()));
        let now = policy.timing.now();
        for n in 4..8 {
            assert!(mirror.admits(&mut mirror.reserve(&policy), now), "{n}");
        }
        let mut ninth = mirror.reserve(&policy);
        assert!(!mirror.admits(&mut ninth, now));
        assert_eq!(ninth.at, now + REQUESTS_TIME);
        assert!(mirror.admits(&mut ninth, now + REQUESTS_TIME));
        mirror.worked(&mut slots[0]);
        assert!((0..100).all(|_| mirror.admits(&mut mirror.reserve(&policy), now)));
    }

    #[test]
    fn a_wait_the_server_asks_for_holds_for_everybody() {
        let (mirror, policy) = setting();
        let slot = mirror.reserve(&policy);
        mirror.failed(&slot, &policy, Some(Duration::from_secs(300)), &error());
        assert_eq!(seconds(&mirror, &policy), 400);
        assert_eq!(mirror.last_error(), Some(error()));
    }
}
