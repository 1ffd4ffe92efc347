//! Changes to what a head says: pure, and without effect where it says so already.

use lamplighter_client::format::head::{Head, HeadRelease};
use lamplighter_client::format::text::Time;

use crate::rollout::Curve;

/// All platforms.
pub const EVERY_PLATFORM: &str = "*";

/// How a release is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shares<'a> {
    /// Its rollout; everybody at once where there is none.
    pub curve: Option<&'a Curve>,
    /// Whether the curve is also for a release that is offered already.
    pub change: bool,
}

/// Offers `row` to its platform. A rollout ends with its release; one that runs as asked for goes on and does not begin again.
pub fn offer(head: &mut Head, row: &HeadRelease, shares: Shares<'_>, time: Time) {
    let offered = head.release_for(&row.platform) == Some(row);
    if !offered {
        head.rollouts.retain(|r| r.platform != row.platform);
        head.releases.retain(|r| r.platform != row.platform);
        head.releases.push(row.clone());
        head.releases.sort_by(|a, b| a.platform.cmp(&b.platform));
    }
    let Some(curve) = shares.curve.filter(|_| !offered || shares.change) else { return };
    if head.rollouts.iter().any(|rollout| curve.is_that_of(rollout, row)) {
        return;
    }
    head.rollouts.retain(|r| r.platform != row.platform);
    head.rollouts.extend(curve.rollout(row, time));
    head.rollouts.sort_by(|a, b| a.platform.cmp(&b.platform));
}

/// Offers nothing to `scope`, a platform or `*`, until it is resumed.
pub fn halt(head: &mut Head, scope: &str) {
    if scope == EVERY_PLATFORM {
        head.halts = vec![EVERY_PLATFORM.to_owned()];
    } else if !head.is_halted(scope) {
        head.halts.push(scope.to_owned());
        head.halts.sort();
    }
}

/// Takes a halt of `scope` back. Where everything is halted and one platform resumes, the others the head names stay halted.
pub fn resume(head: &mut Head, scope: &str) {
    if scope == EVERY_PLATFORM {
        head.halts.clear();
    } else if head.halts.iter().any(|h| h == EVERY_PLATFORM) {
        head.halts = head.releases.iter().map(|r| r.platform.clone()).filter(|p| p != scope).collect();
    } else {
        head.halts.retain(|h| h != scope);
    }
}

/// Marks `build` as one that must not be installed on `scope`, a platform or `*`.
pub fn mark_bad(head: &mut Head, scope: &str, build: u64) {
    if head.is_bad(scope, build) {
        return;
    }
    if scope == EVERY_PLATFORM {
        head.bad_builds.retain(|(_, bad)| *bad != build);
    }
    head.bad_builds.push((scope.to_owned(), build));
    head.bad_builds.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
}

/// Takes the mark back: of every platform with `*`, else of that one.
pub fn clear_bad(head: &mut Head, scope: &str, build: u64) {
    if scope != EVERY_PLATFORM && head.bad_builds.contains(&(EVERY_PLATFORM.to_owned(), build)) {
        let others = head.releases.iter().map(|r| r.platform.clone()).filter(|p| p != scope);
        head.bad_builds.extend(others.map(|platform| (platform, build)).collect::<Vec<_>>());
        head.bad_builds.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
        head.bad_builds.dedup();
    }
    head.bad_builds.retain(|(s, bad)| *bad != build || (scope != EVERY_PLATFORM && s != scope && s != EVERY_PLATFORM));
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamplighter_client::format::digest::Blake3;
    use lamplighter_client::format::document::FileRef;

    fn row(platform: &str, build: u64) -> HeadRelease {
        let file = FileRef { length: build, blake3: Blake3::of(platform.as_bytes()) };
        HeadRelease { platform: platform.to_owned(), build, version: build.to_string(), file }
    }

    fn head() -> Head {
        let time = Time::from_seconds(0);
        let mut head = Head {
            app: "app".to_owned(),
            channel: "stable".to_owned(),
            sequence: 1,
            issued: time,
            expires: time,
            root_version: 1,
            releases: Vec::new(),
            rollouts: Vec::new(),
            halts: Vec::new(),
            bad_builds: Vec::new(),
            mirrors: Vec::new(),
        };
        for platform in ["b", "a", "c"] {
            offer(&mut head, &row(platform, 1), Shares::default(), time);
        }
        head
    }

    fn curve(text: &str) -> Curve {
        Curve::parse(text).expect("a curve")
    }

    #[test]
    fn a_rollout_begins_with_its_release_and_does_not_begin_again() {
        let (mut head, slow, time) = (head(), curve("1%, 100% after 1d"), Time::from_seconds);
        let by = |curve| Shares { curve: Some(curve), change: false };
        offer(&mut head, &row("a", 2), by(&slow), time(100));
        assert_eq!(head.rollouts[0].start, time(100));
        let before = head.clone();
        offer(&mut head, &row("a", 2), Shares { change: true, ..by(&slow) }, time(200));
        assert_eq!(head, before);
        let fast = curve("50%");
        offer(&mut head, &row("a", 2), by(&fast), time(300));
        assert_eq!(head, before, "offering it again does not change how far it has come");
        offer(&mut head, &row("a", 2), Shares { change: true, ..by(&fast) }, time(300));
        assert_eq!((head.rollouts.len(), head.rollouts[0].start, head.rollouts[0].curve[0].1), (1, time(300), 500));
        assert_eq!(head.rollouts[0].salt, before.rollouts[0].salt, "who took part takes part");
        offer(&mut head, &row("a", 2), Shares { curve: Some(&curve("100%")), change: true }, time(400));
        assert!(head.rollouts.is_empty());
        offer(&mut head, &row("a", 3), by(&slow), time(500));
        offer(&mut head, &row("a", 4), Shares::default(), time(600));
        assert!(head.rollouts.is_empty(), "it ends with its release");
    }

    #[test]
    fn halts_are_of_one_platform_or_all() {
        let mut head = head();
        halt(&mut head, "b");
        halt(&mut head, "b");
        assert_eq!(head.halts, ["b"]);
        halt(&mut head, "*");
        halt(&mut head, "a");
        assert_eq!(head.halts, ["*"]);
        resume(&mut head, "a");
        assert_eq!(head.halts, ["b", "c"]);
        resume(&mut head, "a");
        resume(&mut head, "c");
        assert_eq!(head.halts, ["b"]);
        halt(&mut head, "*");
        resume(&mut head, "*");
        assert!(head.halts.is_empty());
    }

    #[test]
    fn bad_builds_are_marked_once() {
        let mut head = head();
        mark_bad(&mut head, "a", 2);
        mark_bad(&mut head, "a", 2);
        assert_eq!(head.bad_builds.len(), 1);
        mark_bad(&mut head, "*", 2);
        mark_bad(&mut head, "b", 2);
        mark_bad(&mut head, "b", 1);
        let bad = |head: &Head, platform, build| head.is_bad(platform, build);
        assert_eq!(head.bad_builds, [("b".to_owned(), 1), ("*".to_owned(), 2)]);
        clear_bad(&mut head, "a", 2);
        assert!(!bad(&head, "a", 2) && bad(&head, "b", 2) && bad(&head, "c", 2) && bad(&head, "b", 1));
        clear_bad(&mut head, "b", 2);
        assert!(!bad(&head, "b", 2) && bad(&head, "c", 2) && bad(&head, "b", 1));
        clear_bad(&mut head, "*", 2);
        assert_eq!(head.bad_builds, [("b".to_owned(), 1)]);
    }
}
