//! Which mirror is asked next for one file, and when to stop: pure decisions over what happened so far.

use super::RetryPolicy;
use super::mirrors::Standing;
use crate::source::{SourceError, Trouble};
use std::time::Duration;

/// Wrong deliveries of one block after which a mirror is done with: the second one was fetched past all caches.
const LIES_MAX: u32 = 2;

/// New bytes that make up for all failures before: who delivers this much does work.
const PROGRESS_BYTES: u64 = 64 << 10;

/// A mirror that lied before is passed over for one that can be used within this time.
const FAULT_WEIGHT: Duration = Duration::from_secs(10);

/// What happened with one file so far.
#[derive(Debug)]
pub(super) struct Attempts {
    mirrors: Vec<Own>,
    tries_max: u32,
    /// Failures of a mirror with all files together after which it counts as down.
    down_after: u32,
    retry_after_max: Duration,
}

#[derive(Debug, Clone, Default)]
struct Own {
    /// Failures since it last delivered [`PROGRESS_BYTES`] or the end of a block.
    tries: u32,
    /// New bytes since then.
    fresh_bytes: u64,
    /// Wrong deliveries of the present block.
    lies: u32,
    /// It will not be asked for this file again.
    out: bool,
    /// It answers ranges with something else.
    whole_only: bool,
    last: Option<SourceError>,
}

/// The next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) mirror: usize,
    /// Caches are to be passed by.
    pub(super) refetch: bool,
    /// No range may be asked for.
    pub(super) whole: bool,
}

impl Attempts {
    /// For content. A mirror that is down is not waited for: it is asked again, once, when it has rested.
    pub(super) fn content(mirrors: usize, policy: &RetryPolicy) -> Self {
        let (tries_max, retry_after_max) = (policy.tries_max, policy.retry_after_max);
        Self { mirrors: vec![Own::default(); mirrors], tries_max, down_after: tries_max, retry_after_max }
    }

    /// For a document, which every mirror is asked for at least once.
    pub(super) fn document(mirrors: usize, policy: &RetryPolicy) -> Self {
        let tries_max = policy.document_tries_max;
        Self { tries_max, down_after: u32::MAX, ..Self::content(mirrors, policy) }
    }

    /// For content that somebody waits for: as often as content, and every mirror at least once. The time it gets ends it.
    pub(super) fn awaited(mirrors: usize, policy: &RetryPolicy) -> Self {
        Self { down_after: u32::MAX, ..Self::content(mirrors, policy) }
    }

    /// The mirror to ask next, or none if all have had their chances.
    ///
    /// `kept` stays if it can be used at all. Else one that lied about this block comes last; else the one that can be used
    /// soonest, where having lied before weighs as much as a wait; else the one that failed least; else the one named
    /// first.
    pub(super) fn choose(&self, standings: &[Standing], now: Duration, kept: Option<usize>) -> Option<Choice> {
        let usable = |own: &Own, standing: &Standing| {
            let down = standing.failures >= self.down_after && (own.tries > 0 || !standing.rest(now).is_zero());
            !own.out && !down && own.lies < LIES_MAX && own.tries < self.tries_max
        };
        let cost = |own: &Own, standing: &Standing| {
            (own.lies, standing.rest(now) + FAULT_WEIGHT * standing.faults.min(6), own.tries)
        };
        let pairs = self.mirrors.iter().zip(standings).enumerate();
        let best = pairs.filter(|(_, (own, standing))| usable(own, standing));
        let (mirror, (own, _)) =
            best.min_by_key(|(index, (own, standing))| (kept != Some(*index), cost(own, standing), *index))?;
        Some(Choice { mirror, refetch: own.lies > 0, whole: own.whole_only })
    }

    /// Whether `mirror` was not asked yet.
    pub(super) fn is_first(&self, mirror: usize) -> bool {
        self.mirrors[mirror].last.is_none()
    }

    /// Notes bytes from `mirror` that nobody had delivered before; true when they have become enough to call it progress.
    pub(super) fn delivered(&mut self, mirror: usize, fresh_bytes: u64) -> bool {
        let own = &mut self.mirrors[mirror];
        own.fresh_bytes += fresh_bytes;
        let progress = own.fresh_bytes >= PROGRESS_BYTES;
        if progress {
            (own.fresh_bytes, own.tries) = (0, 0);
        }
        progress
    }

    /// Notes a failure of `mirror`.
    pub(super) fn failed(&mut self, mirror: usize, error: SourceError) {
        let own = &mut self.mirrors[mirror];
        match &error {
            SourceError::Transient { trouble, retry_after, .. } => {
                own.tries += 1;
                let range = matches!(trouble, Trouble::Range { .. });
                // Who does so without being asked for one will not stop.
                own.out |= range && own.whole_only;
                own.whole_only |= range;
                own.out |= error.is_mirror_fault() || retry_after.is_some_and(|wait| wait > self.retry_after_max);
            }
            _ => own.out = true,
        }
        own.last = Some(error);
    }

    /// Notes that `mirror` delivered wrong content.
    pub(super) fn lied(&mut self, mirror: usize) {
        self.mirrors[mirror].lies += 1;
    }

    /// Notes that `mirror` is not to be asked again.
    pub(super) fn give_up(&mut self, mirror: usize) {
        self.mirrors[mirror].out = true;
    }

    /// Notes that another block begins.
    pub(super) fn forget_lies(&mut self) {
        self.mirrors.iter_mut().for_each(|own| own.lies = 0);
    }

    /// Notes that a block proved right: the next one begins without lies, and `mirror` without failures.
    pub(super) fn accepted(&mut self, mirror: Option<usize>) {
        self.forget_lies();
        if let Some(mirror) = mirror {
            (self.mirrors[mirror].tries, self.mirrors[mirror].fresh_bytes) = (0, 0);
        }
    }

    /// The failure that says most: an answer rather than none, and *not there* before all, since a mirror that is down
    /// must not hide that the others agree.
    pub(super) fn error(&self) -> Option<SourceError> {
        let weight = |error: &&SourceError| match error {
            SourceError::NotFound { .. } => 0,
            SourceError::Forbidden { .. } => 1,
            SourceError::Transient { .. } => 2,
            SourceError::Fatal { .. } => 3,
        };
        self.mirrors.iter().filter_map(|own| own.last.as_ref()).min_by_key(weight).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Obstacle;

    const NOW: Duration = Duration::from_secs(100);

    fn attempts(mirrors: usize) -> (Attempts, Vec<Standing>) {
        let policy = RetryPolicy { tries_max: 3, ..RetryPolicy::default() };
        (Attempts::content(mirrors, &policy), vec![Standing::default(); mirrors])
    }

    fn trouble(trouble: Trouble) -> SourceError {
        SourceError::transient("name", "site", trouble)
    }

    fn next(attempts: &Attempts, standings: &[Standing]) -> Option<usize> {
        attempts.choose(standings, NOW, None).map(|choice| choice.mirror)
    }

    #[test]
    fn failing_mirrors_take_turns_until_each_has_had_its_tries() {
        let (mut a, s) = attempts(2);
        let mut order = Vec::new();
        while let Some(mirror) = next(&a, &s) {
            order.push(mirror);
            a.failed(mirror, trouble(Trouble::Status(500)));
        }
        assert_eq!(order, [0, 1, 0, 1, 0, 1]);
        assert_eq!(a.error().map(|e| e.code()), Some("status"));
    }

    #[test]
    fn progress_resets_the_tries() {
        let (mut a, s) = attempts(1);
        for round in 0..50 {
            assert_eq!(next(&a, &s), Some(0), "{round}");
            assert_eq!(a.delivered(0, PROGRESS_BYTES / 2), round % 2 == 1);
            a.failed(0, trouble(Trouble::Interrupted(String::new())));
        }
        a.failed(0, trouble(Trouble::Status(500)));
        a.failed(0, trouble(Trouble::Status(500)));
        assert_eq!(next(&a, &s), None);
    }

    #[test]
    fn liars_come_last_and_get_one_more_chance_past_the_caches() {
        let (mut a, s) = attempts(2);
        a.lied(0);
        assert_eq!(a.choose(&s, NOW, None), Some(Choice { mirror: 1, refetch: false, whole: false }));
        a.lied(1);
        assert_eq!(a.choose(&s, NOW, None), Some(Choice { mirror: 0, refetch: true, whole: false }));
        a.lied(0);
        a.lied(1);
        assert_eq!(a.choose(&s, NOW, None), None);
        a.accepted(None);
        assert_eq!(a.choose(&s, NOW, None), Some(Choice { mirror: 0, refetch: false, whole: false }));
    }

    #[test]
    fn resting_and_demoted_mirrors_are_passed_over() {
        let (a, mut s) = attempts(3);
        (s[0].failures, s[0].next_slot) = (1, NOW + Duration::from_secs(4));
        s[1].faults = 1;
        (s[2].failures, s[2].next_slot) = (1, NOW + Duration::from_secs(5));
        assert_eq!(next(&a, &s), Some(0));
        s[0].next_slot = NOW + Duration::from_secs(60);
        s[2].next_slot = NOW + Duration::from_secs(60);
        assert_eq!(next(&a, &s), Some(1));
    }

    #[test]
    fn a_mirror_is_kept_while_it_can_be_used() {
        let (mut a, mut s) = attempts(2);
        (s[1].failures, s[1].next_slot) = (1, NOW + Duration::from_secs(50));
        assert_eq!(a.choose(&s, NOW, Some(1)).map(|choice| choice.mirror), Some(1));
        a.give_up(1);
        assert_eq!(a.choose(&s, NOW, Some(1)).map(|choice| choice.mirror), Some(0));
    }

    #[test]
    fn a_mirror_that_is_down_is_asked_once_when_it_has_rested() {
        let (mut a, mut s) = attempts(1);
        (s[0].failures, s[0].next_slot) = (3, NOW + Duration::from_secs(1));
        assert_eq!(next(&a, &s), None);
        assert_eq!(Attempts::document(1, &RetryPolicy::default()).choose(&s, NOW, None).map(|c| c.mirror), Some(0));
        s[0].next_slot = NOW;
        assert_eq!(next(&a, &s), Some(0));
        a.failed(0, trouble(Trouble::Status(500)));
        assert_eq!(next(&a, &s), None);
    }

    #[test]
    fn final_answers_are_not_asked_for_again() {
        let not_found = || SourceError::NotFound { name: "n".into(), site: "s".into(), answer: "404".into() };
        let (mut a, s) = attempts(5);
        a.failed(0, SourceError::fatal("n", "s", Obstacle::Tls("expired".into())));
        a.failed(1, trouble(Trouble::Encoded("gzip".into())));
        let late = Some(Duration::from_secs(3601));
        a.failed(
            2,
            SourceError::Transient {
                name: "n".into(),
                site: "s".into(),
                trouble: Trouble::Status(503),
                retry_after: late,
            },
        );
        a.give_up(3);
        assert_eq!(a.error().map(|e| e.code()), Some("encoded"));
        a.failed(4, not_found());
        assert_eq!(next(&a, &s), None);
        assert_eq!(a.error(), Some(not_found()));
    }

    #[test]
    fn a_mirror_that_gets_ranges_wrong_is_asked_for_the_whole_file() {
        let (mut a, s) = attempts(1);
        a.failed(0, trouble(Trouble::Range { expected: 5, actual: "206".into() }));
        assert_eq!(a.choose(&s, NOW, None), Some(Choice { mirror: 0, refetch: false, whole: true }));
        a.failed(0, trouble(Trouble::Range { expected: 0, actual: "206".into() }));
        assert_eq!(next(&a, &s), None);
    }
}
