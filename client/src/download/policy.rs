//! How patient a download is.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Numbers of tries and lengths of waits, with the defaults of the protocol.
#[derive(Clone)]
pub struct RetryPolicy {
    /// Most failures for one file at one mirror while it brings nothing new worth mentioning (64 KiB). 8.
    pub tries_max: u32,
    /// The same for a signed document, which somebody may be waiting for. 3; a host that cannot be reached is asked once.
    pub document_tries_max: u32,
    /// Most time one mirror gets to deliver a signed document, a release or notes, waits included. 60 s.
    pub document_time_max: Duration,
    /// Wait after the first failure, doubled after each further one, ±50 % by chance. 1 s.
    pub pause_first: Duration,
    /// Longest such wait. 15 min.
    pub pause_max: Duration,
    /// Longest wait a server may ask for; if it wants more it is left alone. 1 h.
    pub retry_after_max: Duration,
    /// Most bytes a second that all transfers of a downloader take together, on the average. No limit.
    pub bytes_per_second_max: Option<NonZeroU64>,
    /// The clock, and chance.
    pub timing: Arc<dyn Timing>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            tries_max: 8,
            document_tries_max: 3,
            document_time_max: Duration::from_secs(60),
            pause_first: Duration::from_secs(1),
            pause_max: Duration::from_secs(15 * 60),
            retry_after_max: Duration::from_secs(60 * 60),
            bytes_per_second_max: None,
            timing: Arc::new(SystemTiming::default()),
        }
    }
}

impl fmt::Debug for RetryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryPolicy").field("tries_max", &self.tries_max).finish_non_exhaustive()
    }
}

impl RetryPolicy {
    /// The wait after the `failures`-th failure in a row, counted from 1.
    pub(super) fn pause(&self, failures: u32) -> Duration {
        let doubled =
            self.pause_first.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
        doubled.min(self.pause_max).saturating_mul(500 + self.timing.chance_per_mille().min(1000)) / 1000
    }
}

/// Time and chance, as a seam for tests and simulations.
pub trait Timing: Send + Sync {
    /// Time since some fixed moment; never goes back.
    fn now(&self) -> Duration;
    /// Waits; called with short waits, so that a cancel is noticed between two of them.
    fn pause(&self, wait: Duration);
    /// A number from 0 to 1000, evenly spread.
    fn chance_per_mille(&self) -> u32;
}

/// The machine's clock and randomness.
#[derive(Debug)]
pub struct SystemTiming(Instant);

impl Default for SystemTiming {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Timing for SystemTiming {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn pause(&self, wait: Duration) {
        std::thread::sleep(wait);
    }

    fn chance_per_mille(&self) -> u32 {
        // Without randomness all clients pause alike, which is rude and not wrong.
        getrandom::u32().map_or(500, |n| n % 1001)
    }
}

/// A clock on which waits pass at once, and without chance: for tests of what waits.
#[derive(Debug, Default)]
pub struct JumpingTiming(Mutex<Duration>);

impl Timing for JumpingTiming {
    fn now(&self) -> Duration {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pause(&self, wait: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += wait;
    }

    fn chance_per_mille(&self) -> u32 {
        500
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(u32);

    impl Timing for Fixed {
        fn now(&self) -> Duration {
            Duration::ZERO
        }
        fn pause(&self, _: Duration) {}
        fn chance_per_mille(&self) -> u32 {
            self.0
        }
    }

    #[test]
    fn pauses_double_up_to_a_limit_and_vary_by_half() {
        let policy = |chance| RetryPolicy { timing: Arc::new(Fixed(chance)), ..RetryPolicy::default() };
        let seconds: Vec<f64> = (1..=12).map(|n| policy(500).pause(n).as_secs_f64()).collect();
        assert_eq!(seconds, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 900.0, 900.0]);
        assert_eq!(policy(0).pause(3), Duration::from_secs(2));
        assert_eq!(policy(1000).pause(3), Duration::from_secs(6));
        assert_eq!(policy(u32::MAX).pause(u32::MAX), Duration::from_secs(1350));
    }

    #[test]
    fn chance_stays_in_its_range_and_varies() {
        let timing = SystemTiming::default();
        let drawn: std::collections::BTreeSet<u32> = (0..100).map(|_| timing.chance_per_mille()).collect();
        assert!(drawn.len() > 10 && drawn.iter().all(|n| *n <= 1000));
    }
}
