//! How many requests a second a fleet makes at its worst: simulated clients that wait as real ones do.
//!
//! A client's waits are those of [`Schedule::pause`], the very rule the client uses, with the dice of a generator that is
//! seeded by the client's number. So the result is the same each time. Clients are simulated one after the other, and only the
//! requests of each minute are kept: memory does not grow with the fleet. Of more than [`CLIENTS_MAX`] clients so many are
//! simulated, and each stands for as many as it takes.

use std::time::Duration;

use lamplighter_client::watch::{Ended, Schedule};

/// Clients that are simulated at most.
pub const CLIENTS_MAX: u64 = 1_000_000;
/// What is simulated: a week.
pub const DAYS: u64 = 7;

const DAY_SECONDS: u64 = 86_400;
const BUCKET_SECONDS: u64 = 60;

/// A fleet whose clients all begin to ask within a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crowd {
    /// How many.
    pub clients: u64,
    /// Seconds within which they begin, evenly.
    pub window_seconds: u64,
    /// How they wait.
    pub schedule: Schedule,
}

/// Requests a second, of the worst minute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peaks {
    /// Of the first day, when all begin.
    pub first_day: f64,
    /// Of the last day of a week.
    pub last_day: f64,
}

impl Crowd {
    /// Simulates a week.
    pub fn peaks(&self) -> Peaks {
        let simulated = self.clients.clamp(1, CLIENTS_MAX);
        let mut minutes = vec![0u64; (DAYS * DAY_SECONDS / BUCKET_SECONDS) as usize];
        for client in 0..simulated {
            let mut dice = Dice(client);
            let mut at_ms =
                (u128::from(self.window_seconds) * 1000 * u128::from(client) / u128::from(simulated)) as u64;
            while let Some(minute) = minutes.get_mut((at_ms / (BUCKET_SECONDS * 1000)) as usize) {
                *minute += 1;
                let pause = self.schedule.pause(Ended::Well, dice.per_mille());
                at_ms = at_ms.saturating_add(milliseconds(pause));
            }
        }
        let day = (DAY_SECONDS / BUCKET_SECONDS) as usize;
        let scale = self.clients as f64 / simulated as f64 / BUCKET_SECONDS as f64;
        let peak = |minutes: &[u64]| minutes.iter().max().map_or(0.0, |max| *max as f64 * scale);
        Peaks { first_day: peak(&minutes[..day]), last_day: peak(&minutes[minutes.len() - day..]) }
    }
}

/// At least one, so that time goes on.
fn milliseconds(pause: Duration) -> u64 {
    u64::try_from(pause.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// SplitMix64 (Steele, Lea, Flood 2014), seeded by a small number.
struct Dice(u64);

impl Dice {
    /// 0 to 1000, evenly.
    fn per_mille(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % 1001) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd(clients: u64, window_seconds: u64, jitter_percent: u32) -> Peaks {
        let schedule = Schedule { interval: Duration::from_secs(3600), jitter_percent };
        Crowd { clients, window_seconds, schedule }.peaks()
    }

    #[test]
    fn without_jitter_a_crowd_stays_one() {
        // All 6,000 in one minute, each hour.
        assert_eq!(crowd(6000, 0, 0), Peaks { first_day: 100.0, last_day: 100.0 });
        // Six a minute for ten minutes, each hour.
        assert_eq!(crowd(60, 600, 0), Peaks { first_day: 0.1, last_day: 0.1 });
    }

    #[test]
    fn with_jitter_it_spreads_to_the_mean() {
        let peaks = crowd(60_000, 0, 20);
        assert_eq!(peaks.first_day, 1000.0);
        // The mean is 60,000 an hour, 1,000 a minute: 16.7 a second.
        assert!((16.6..20.0).contains(&peaks.last_day), "{peaks:?}");
        assert_eq!(peaks, crowd(60_000, 0, 20), "the same each time");
    }

    #[test]
    fn a_client_of_a_large_fleet_stands_for_many() {
        let peaks = crowd(100_000_000, 0, 0);
        assert!((peaks.last_day - 100_000_000.0 / 60.0).abs() < 1e-6, "{peaks:?}");
    }
}
