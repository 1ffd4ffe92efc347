//! A cap on the bytes a second of all transfers together.

use super::Timing;
use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What arrived is paid for with time, one transfer after the other. A transfer that waits reads no further than its
/// buffers go, so in the end the sender slows down.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    /// When everything that arrived so far is paid for, by [`Timing::now`].
    paid_at: Mutex<Duration>,
}

impl Throttle {
    /// When a transfer to which `bytes` have come may go on.
    pub(super) fn book(&self, bytes: u64, bytes_per_second_max: NonZeroU64, timing: &dyn Timing) -> Duration {
        let mut paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(bytes_per_second_max.get());
        let price = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        *paid_at = timing.now().max(*paid_at).saturating_add(price);
        *paid_at
    }
}

#[cfg(test)]
mod tests {
    use super::super::JumpingTiming;
    use super::*;

    #[test]
    fn transfers_side_by_side_share_the_cap_and_silence_is_not_saved_up() {
        let (throttle, clock) = (Throttle::default(), JumpingTiming::default());
        let cap = NonZeroU64::new(1000).unwrap();
        let book = |bytes| throttle.book(bytes, cap, &clock).as_millis();
        assert_eq!((book(500), book(250), book(0)), (500, 750, 750));
        clock.pause(Duration::from_secs(60));
        assert_eq!((book(1000), book(1)), (61_000, 61_001));
        assert!(throttle.book(u64::MAX, NonZeroU64::MIN, &clock) > Duration::from_secs(1 << 33));
    }
}
