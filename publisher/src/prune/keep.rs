//! Which releases stay: a pure function of what is published, what channels offer, and the policy.
//!
//! | why a release stays | rule |
//! | --- | --- |
//! | offered | a head names it |
//! | ahead | it lies above all that is offered on its platform: it may be about to be promoted. Where nothing is offered, all are |
//! | newest | it is one of the newest `keep` of its platform |
//! | recent | it was issued less than `keep_days` ago |
//! | grace | clients may have been told of it a moment ago (below) |
//! | base | a release that stays for one of the reasons above has a pack from it: clients heal and start there |
//!
//! Grace needs no memory of what heads said. A release counts as left when its successor came: the next build of its
//! platform, issued or, if its rollout began later, rolled out. And while a release that is offered, or counts by this
//! very rule, came less than the grace ago, the bases of its packs stay whole, since `build-release` makes packs from what
//! channels offer at that time: so whatever a channel offered within the grace is found again, however often it moved.

use std::collections::{BTreeMap, BTreeSet};

use lamplighter_client::format::text::Time;

/// A build on a platform.
pub type Id = (String, u64);

/// A signed release of the site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Platform and build.
    pub id: Id,
    /// When it was signed.
    pub issued: Time,
    /// Builds its packs start from, each with the name of the pack.
    pub packs: Vec<(u64, String)>,
}

/// What a head offers on one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Platform and build.
    pub id: Id,
    /// When its rollout began, if it has one.
    pub rollout_start: Option<Time>,
}

/// The policy, at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Newest releases of each platform that stay.
    pub keep: usize,
    /// Seconds a release stays at least.
    pub keep_seconds: i64,
    /// Seconds that what is not offered any more stays for those who are in the middle of fetching it.
    pub grace_seconds: i64,
    /// The time of the run.
    pub now: Time,
}

impl Rules {
    /// Whether `time` lies less than `seconds` back, or in the future.
    pub(super) fn is_within(&self, time: Time, seconds: i64) -> bool {
        self.now.seconds().saturating_sub(time.seconds()) < seconds
    }
}

/// Why a release stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Why {
    Offered,
    Ahead,
    Newest,
    Recent,
    Grace,
    Base,
}

impl Why {
    /// Stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Why::Offered => "offered",
            Why::Ahead => "ahead",
            Why::Newest => "newest",
            Why::Recent => "recent",
            Why::Grace => "grace",
            Why::Base => "base",
        }
    }
}

/// The releases that stay, and the first reason of each.
pub fn keep(releases: &[Published], offers: &[Offer], rules: &Rules) -> BTreeMap<Id, Why> {
    let known: BTreeMap<&Id, &Published> = releases.iter().map(|r| (&r.id, r)).collect();
    let mut kept: BTreeMap<Id, Why> = BTreeMap::new();
    let platforms: BTreeSet<&String> = known.keys().map(|id| &id.0).collect();
    for platform in platforms {
        let own: Vec<&Published> = known.values().filter(|r| r.id.0 == *platform).copied().collect();
        let offered = offers.iter().filter(|o| o.id.0 == *platform).map(|o| o.id.1).max();
        for (index, release) in own.iter().enumerate() {
            let successor = own.get(index + 1).map(|next| came(next, offers));
            let why = if offers.iter().any(|o| o.id == release.id) {
                Why::Offered
            } else if offered.is_none_or(|highest| release.id.1 > highest) {
                Why::Ahead
            } else if index + rules.keep >= own.len() {
                Why::Newest
            } else if rules.is_within(release.issued, rules.keep_seconds) {
                Why::Recent
            } else if successor.is_some_and(|left| rules.is_within(left, rules.grace_seconds)) {
                Why::Grace
            } else {
                continue;
            };
            kept.insert(release.id.clone(), why);
        }
    }
    add_what_was_offered(&known, offers, rules, &mut kept);
    let bases: Vec<Id> = kept.keys().flat_map(|id| bases(known[id])).filter(|id| known.contains_key(id)).collect();
    for base in bases {
        kept.entry(base).or_insert(Why::Base);
    }
    kept
}

/// When clients were first told of a release, as far as documents say.
fn came(release: &Published, offers: &[Offer]) -> Time {
    let starts = offers.iter().filter(|o| o.id == release.id).filter_map(|o| o.rollout_start);
    starts.chain([release.issued]).max().unwrap_or(release.issued)
}

fn bases(release: &Published) -> impl Iterator<Item = Id> {
    release.packs.iter().map(|(base, _)| (release.id.0.clone(), *base))
}

/// From what is offered backwards, over releases that came within the grace: the bases of their packs.
fn add_what_was_offered(
    known: &BTreeMap<&Id, &Published>,
    offers: &[Offer],
    rules: &Rules,
    kept: &mut BTreeMap<Id, Why>,
) {
    let mut next: Vec<Id> = offers.iter().map(|o| o.id.clone()).collect();
    let mut seen: BTreeSet<Id> = next.iter().cloned().collect();
    while let Some(release) = next.pop().and_then(|id| known.get(&id)) {
        if !rules.is_within(came(release, offers), rules.grace_seconds) {
            continue;
        }
        for base in bases(release).filter(|id| known.contains_key(id)) {
            kept.entry(base.clone()).or_insert(Why::Grace);
            if seen.insert(base.clone()) {
                next.push(base);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    /// Builds 1, 2 … of one platform, each issued on the day given, with packs from the two before.
    fn history(days: &[i64]) -> Vec<Published> {
        let release = |(index, day): (usize, &i64)| {
            let build = index as u64 + 1;
            let packs = (build.saturating_sub(2).max(1)..build).map(|base| (base, format!("{base}-{build}")));
            Published { id: id(build), issued: Time::from_seconds(day * DAY), packs: packs.collect() }
        };
        days.iter().enumerate().map(release).collect()
    }

    fn id(build: u64) -> Id {
        ("any".to_owned(), build)
    }

    fn offer(build: u64) -> Offer {
        Offer { id: id(build), rollout_start: None }
    }

    fn kept(days: &[i64], offers: &[Offer], keep_newest: usize, grace_days: i64, now_day: i64) -> Vec<(u64, Why)> {
        let now = Time::from_seconds(now_day * DAY);
        let rules = Rules { keep: keep_newest, keep_seconds: 0, grace_seconds: grace_days * DAY, now };
        keep(&history(days), offers, &rules).into_iter().map(|((_, build), why)| (build, why)).collect()
    }

    #[test]
    fn what_is_offered_stays_with_its_bases_and_what_lies_ahead() {
        use Why::{Ahead, Base, Newest, Offered};
        let days = [0, 10, 20, 30, 40, 50, 60];
        assert_eq!(kept(&days, &[offer(5)], 0, 0, 100), [(3, Base), (4, Base), (5, Offered), (6, Ahead), (7, Ahead)]);
        let two = kept(&days, &[offer(3), offer(7)], 0, 0, 100);
        assert_eq!(two, [(1, Base), (2, Base), (3, Offered), (5, Base), (6, Base), (7, Offered)]);
        let newest = kept(&days, &[offer(7)], 2, 0, 100);
        assert_eq!(newest, [(4, Base), (5, Base), (6, Newest), (7, Offered)]);
        assert_eq!(kept(&days, &[], 0, 0, 100).len(), 7, "a platform nothing is offered on");
    }

    #[test]
    fn grace_counts_from_the_day_a_release_was_left() {
        use Why::{Base, Grace, Offered};
        let days = [0, 10, 20, 30, 40];
        let of = |now| kept(&days, &[offer(5)], 0, 7, now);
        // Build 4 was left on day 40, and what led to it is still wanted.
        assert_eq!(of(46), [(1, Base), (2, Base), (3, Grace), (4, Grace), (5, Offered)]);
        assert_eq!(of(47), [(3, Base), (4, Base), (5, Offered)]);
        // A rollout that began late.
        let late = Offer { rollout_start: Some(Time::from_seconds(90 * DAY)), ..offer(5) };
        assert_eq!(kept(&days, &[late], 0, 7, 95).len(), 5);
    }

    #[test]
    fn a_channel_that_moved_many_times_within_the_grace_is_traced_back() {
        let days: Vec<i64> = (0..30).collect();
        let found = kept(&days, &[offer(30)], 0, 7, 30);
        // Builds from day 24 on are young; the oldest of them has packs from two before, whose bases stay too.
        assert_eq!(found.first(), Some(&(21, Why::Base)));
        assert_eq!(found.iter().filter(|(_, why)| *why == Why::Grace).count(), 7);
    }
}
