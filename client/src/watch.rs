//! A background round: looks for a new release from time to time and stages it, so that it is ready at the next start.
//!
//! [`Schedule`] says when, as a pure function; [`Updater::watch`] does it, on a thread of the app or in a process of its own
//! (`client watch`). What the app can see does not change: the next start, or whoever calls [`Updater::commit`], commits.

use std::time::Duration;

use crate::download::Timing;
use crate::error::{Class, Error};
use crate::progress::Cancel;
use crate::trust::Idle;
use crate::updater::{CheckOutcome, Prepared, StageOutcome, Updater};

/// Never is a site asked more often than that.
pub const PAUSE_MIN: Duration = Duration::from_secs(60);

/// Longest wait a server may ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// How often a wait looks whether it should end.
const LOOK: Duration = Duration::from_millis(200);

/// When rounds are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Time between two rounds. 6 h.
    pub interval: Duration,
    /// Every wait is longer or shorter by up to so many percent, by chance, so that installs spread over time; at most 100. 20.
    pub jitter_percent: u32,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { interval: Duration::from_secs(6 * 3600), jitter_percent: 20 }
    }
}

/// How the rounds so far ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The last one well.
    Well,
    /// The last ones not.
    Failed {
        /// How many in a row, from 1.
        failures: u32,
        /// The wait the server asked for.
        retry_after: Option<Duration>,
    },
}

impl Schedule {
    /// The wait until the next round; `chance_per_mille` from 0 to 1000, evenly spread.
    ///
    /// After a failure a minute, doubled with each further one up to the interval; what the server asks for if that is
    /// longer; never less than [`PAUSE_MIN`].
    pub fn pause(&self, ended: Ended, chance_per_mille: u32) -> Duration {
        let (usual, asked) = match ended {
            Ended::Well => (self.interval, Duration::ZERO),
            Ended::Failed { failures, retry_after } => {
                let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
                (PAUSE_MIN.saturating_mul(doubled).min(self.interval), retry_after.unwrap_or_default())
            }
        };
        let jitter = self.jitter_percent.min(100);
        // From 100 − jitter to 100 + jitter percent, in thousandths of a percent.
        let share = (100 - jitter) * 1000 + 2 * jitter * chance_per_mille.min(1000);
        (usual / 1000).saturating_mul(share / 100).max(asked.min(RETRY_AFTER_MAX)).max(PAUSE_MIN)
    }
}

/// What to watch with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WatchOptions {
    /// When rounds are made; the first one at once.
    pub schedule: Schedule,
    /// End after so many rounds; without it only a cancel ends the watch.
    pub rounds: Option<u64>,
}

/// What happened in a round.
#[derive(Debug)]
pub enum WatchEvent<'a> {
    /// There is nothing to install.
    Idle(&'a Idle),
    /// A release is staged and waits for the next start; told in every round until it is committed.
    Ready(&'a Prepared),
    /// The round failed; there will be another.
    Failed(&'a Error),
    /// The next round begins after this time.
    Waiting(Duration),
}

/// How a round ended.
enum Round {
    Idle(Idle),
    Ready(Box<Prepared>),
}

impl Updater {
    /// Checks and stages, round after round, until it is cancelled; blocks, so give it a thread. Commits nothing.
    ///
    /// Failures are told and tried again: a network that is away, a full disk, another updater at work.
    ///
    /// # Errors
    /// The tree has no settings any more. The failure of the last round, where the rounds are counted.
    pub fn watch(&self, options: &WatchOptions, mut on_event: impl FnMut(WatchEvent<'_>)) -> Result<(), Error> {
        let (timing, cancel) = self.timing_and_cancel();
        let round = || self.round();
        let tell = |told: Told<'_, Round>| match told {
            Told::Done(Round::Idle(idle)) => on_event(WatchEvent::Idle(idle)),
            Told::Done(Round::Ready(prepared)) => on_event(WatchEvent::Ready(prepared)),
            Told::Failed(error) => on_event(WatchEvent::Failed(error)),
            Told::Waiting(pause) => on_event(WatchEvent::Waiting(pause)),
        };
        rounds(options, &*timing, &cancel, round, tell)
    }

    fn round(&self) -> Result<Round, Error> {
        let idle = match self.check()? {
            CheckOutcome::Available { build, .. } => match self.prepared()? {
                Some(prepared) if prepared.build == build => return Ok(Round::Ready(Box::new(prepared))),
                _ => match self.stage(None)? {
                    StageOutcome::Ready(prepared) => return Ok(Round::Ready(prepared)),
                    StageOutcome::Idle(idle) => idle,
                },
            },
            CheckOutcome::Idle(idle) => idle,
        };
        // What was staged before the publisher thought better of it must not be committed.
        if matches!(idle, Idle::Halted | Idle::BadBuild(_)) && self.prepared()?.is_some() {
            self.discard_staged()?;
        }
        Ok(Round::Idle(idle))
    }
}

/// What a round comes to, for whoever listens.
enum Told<'a, T> {
    Done(&'a T),
    Failed(&'a Error),
    Waiting(Duration),
}

/// The loop: knows neither sites nor trees.
fn rounds<T>(
    options: &WatchOptions,
    timing: &dyn Timing,
    cancel: &Cancel,
    mut round: impl FnMut() -> Result<T, Error>,
    mut tell: impl FnMut(Told<'_, T>),
) -> Result<(), Error> {
    let mut failures = 0;
    for number in 1_u64.. {
        if cancel.is_cancelled() {
            break;
        }
        let is_last = options.rounds.is_some_and(|rounds| number >= rounds);
        let ended = match round() {
            Ok(done) => {
                tell(Told::Done(&done));
                failures = 0;
                Ended::Well
            }
            Err(error) if error.class() == Class::Cancelled => break,
            Err(error) => {
                tell(Told::Failed(&error));
                if is_last || error.class() == Class::Usage {
                    return Err(error);
                }
                failures += 1;
                Ended::Failed { failures, retry_after: retry_after(&error) }
            }
        };
        if is_last {
            break;
        }
        let pause = options.schedule.pause(ended, timing.chance_per_mille());
        tell(Told::Waiting(pause));
        wait(pause, timing, cancel);
    }
    Ok(())
}

fn retry_after(error: &Error) -> Option<Duration> {
    match error {
        Error::Download(error) => error.retry_after(),
        _ => None,
    }
}

fn wait(pause: Duration, timing: &dyn Timing, cancel: &Cancel) {
    let end = timing.now().saturating_add(pause);
    while !cancel.is_cancelled() {
        match end.checked_sub(timing.now()) {
            Some(left) if !left.is_zero() => timing.pause(left.min(LOOK)),
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::download::{DownloadError, JumpingTiming};
    use crate::source::{SourceError, Trouble};

    fn seconds(schedule: Schedule, ended: Ended, chance: u32) -> f64 {
        schedule.pause(ended, chance).as_secs_f64()
    }

    fn failed(failures: u32) -> Ended {
        Ended::Failed { failures, retry_after: None }
    }

    #[test]
    fn the_interval_varies_by_its_jitter() {
        let schedule = Schedule { interval: Duration::from_secs(1000), jitter_percent: 20 };
        assert_eq!(
            [0, 500, 1000, u32::MAX].map(|c| seconds(schedule, Ended::Well, c)),
            [800.0, 1000.0, 1200.0, 1200.0]
        );
        assert_eq!(seconds(Schedule { jitter_percent: 0, ..schedule }, Ended::Well, 7), 1000.0);
        assert_eq!(seconds(Schedule { jitter_percent: 999, ..schedule }, Ended::Well, 1000), 2000.0);
    }

    #[test]
    fn failures_double_the_wait_up_to_the_interval() {
        let schedule = Schedule { interval: Duration::from_secs(1000), jitter_percent: 0 };
        let waits: Vec<f64> = (1..=7).map(|n| seconds(schedule, failed(n), 0)).collect();
        assert_eq!(waits, [60.0, 120.0, 240.0, 480.0, 960.0, 1000.0, 1000.0]);
        assert_eq!(seconds(schedule, failed(u32::MAX), 0), 1000.0);
    }

    #[test]
    fn a_server_may_ask_for_more_and_nobody_for_less_than_a_minute() {
        let schedule = Schedule { interval: Duration::from_secs(1), jitter_percent: 50 };
        let asked = |s| Ended::Failed { failures: 1, retry_after: Some(Duration::from_secs(s)) };
        assert_eq!(seconds(schedule, asked(500), 0), 500.0);
        assert_eq!(seconds(schedule, asked(1), 0), 60.0);
        assert_eq!(schedule.pause(asked(u64::MAX), 0), RETRY_AFTER_MAX);
        assert_eq!(seconds(schedule, Ended::Well, 0), 60.0);
    }

    proptest! {
        #[test]
        fn every_wait_is_bounded(interval: Duration, jitter: u32, failures: u32, asked: Option<Duration>, chance: u32) {
            let schedule = Schedule { interval, jitter_percent: jitter };
            for ended in [Ended::Well, Ended::Failed { failures, retry_after: asked }] {
                let pause = schedule.pause(ended, chance);
                let longest = interval.saturating_mul(2).max(RETRY_AFTER_MAX);
                prop_assert!(pause >= PAUSE_MIN && pause <= longest, "{:?}", pause);
            }
        }
    }

    fn unavailable(retry_after: Option<u64>) -> Error {
        let source = SourceError::Transient {
            name: "x".into(),
            site: "y".into(),
            trouble: Trouble::Status(503),
            retry_after: retry_after.map(Duration::from_secs),
        };
        Error::Download(DownloadError::Source(Box::new(source)))
    }

    #[test]
    fn rounds_back_off_and_recover_and_end_when_asked() {
        let (timing, cancel) = (JumpingTiming::default(), Cancel::default());
        let mut script =
            vec![Ok(1), Err(unavailable(None)), Err(unavailable(Some(5000))), Ok(2), Err(Error::Cancelled)].into_iter();
        let mut waits = Vec::new();
        let mut seen = Vec::new();
        let tell = |told: Told<'_, i32>| match told {
            Told::Done(number) => seen.push(*number),
            Told::Failed(_) => seen.push(-1),
            Told::Waiting(pause) => waits.push(pause.as_secs()),
        };
        let options = WatchOptions::default();
        rounds(&options, &timing, &cancel, || script.next().expect("it ends"), tell).expect("cancelled, not failed");
        assert_eq!((seen, waits), (vec![1, -1, -1, 2], vec![21_600, 60, 5000, 21_600]));
        assert_eq!(timing.now().as_secs(), 21_600 + 60 + 5000 + 21_600);
    }

    #[test]
    fn a_counted_watch_ends_with_its_last_failure_and_a_lost_tree_ends_it_at_once() {
        let (timing, cancel) = (JumpingTiming::default(), Cancel::default());
        let run = |rounds_max, error: fn() -> Error| {
            let mut count = 0;
            let options = WatchOptions { rounds: rounds_max, ..WatchOptions::default() };
            let round = || -> Result<(), Error> {
                count += 1;
                Err(error())
            };
            let ended = rounds(&options, &timing, &cancel, round, |_| {});
            (count, ended.is_err())
        };
        assert_eq!(run(Some(3), || unavailable(None)), (3, true));
        assert_eq!(run(None, || Error::NoSettings { path: "x".into() }), (1, true));
    }

    #[test]
    fn a_cancel_ends_a_wait() {
        let cancel = Cancel::default();
        let options = WatchOptions::default();
        let told = |told: Told<'_, ()>| {
            if matches!(told, Told::Waiting(_)) {
                cancel.cancel();
            }
        };
        let timing = JumpingTiming::default();
        rounds(&options, &timing, &cancel, || Ok(()), told).expect("cancelled");
        assert_eq!(timing.now(), Duration::ZERO);
    }

    #[test]
    fn an_updater_may_be_given_to_a_thread() {
        fn shared<T: Send + Sync>() {}
        shared::<Updater>();
    }
}
