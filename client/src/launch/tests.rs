//! All combinations of facts against the original listing, written down as a table of conditions.
//!
//! Two of its conditions are read as they must be meant. "(RunInLocal && both below the minimum) || this below the minimum"
//! would make its first half idle; with local storage it is both builds that count, without it this one. And a local build
//! below the minimum counts as none: the listing would start it, only for it to refuse to run, although this very program
//! may take its place.

use super::*;

/// A line of the listing: its words, when it applies, and what it asks for.
type Line = (&'static str, fn(&Facts) -> bool, fn(&Facts) -> Action);

fn below(facts: &Facts, build: Option<u64>) -> bool {
    facts.settings.check_minimum && build.is_none_or(|build| build < facts.minimum_build)
}

fn offers_more(facts: &Facts) -> bool {
    facts.settings.check_for_updates && !facts.declined && facts.offered_build > Some(facts.this_build)
}

fn serves(facts: &Facts) -> bool {
    facts.local_build.is_some() && !below(facts, facts.local_build)
}

fn must_move(facts: &Facts) -> bool {
    facts.settings.run_in_local && !facts.running_in_local
}

fn resources_are(facts: &Facts, resources: Resources) -> bool {
    facts.settings.resources == resources && !facts.resources_done
}

fn offered(facts: &Facts) -> u64 {
    facts.offered_build.unwrap_or(0)
}

const LISTING: &[Line] = &[
    ("If locked, show error message", |f| f.locked, |_| Action::TellLocked),
    (
        "RunInLocal && this-build-id < min && local-build-id < min: inform user",
        |f| f.settings.run_in_local && below(f, Some(f.this_build)) && below(f, f.local_build),
        |f| Action::TellDownloadAgain { minimum_build: f.minimum_build },
    ),
    (
        "this-build-id < min: inform user",
        |f| !f.settings.run_in_local && below(f, Some(f.this_build)),
        |f| Action::TellDownloadAgain { minimum_build: f.minimum_build },
    ),
    (
        "local-build-id does not exist, CheckForUpdates && update > this: invoke updater",
        |f| must_move(f) && !serves(f) && offers_more(f),
        |f| Action::InstallLocal { build: offered(f) },
    ),
    ("else copy app to local storage", |f| must_move(f) && !serves(f), |_| Action::CopyToLocal),
    ("run app in local storage, exit", must_move, |_| Action::RunLocal),
    ("CheckForUpdates && update > this: download updater, invoke it, exit", offers_more, |f| Action::Update {
        build: offered(f),
    }),
    (
        "DevEnvOnlyBuildAndDeploy",
        |f| resources_are(f, Resources::BuildAndDeploy),
        |_| Action::Deploy(Resources::BuildAndDeploy),
    ),
    (
        "VerifyDownloadAndDeploy",
        |f| resources_are(f, Resources::VerifyAndDeploy),
        |_| Action::Deploy(Resources::VerifyAndDeploy),
    ),
    (
        "AlwaysDownloadAndDeploy",
        |f| resources_are(f, Resources::AlwaysDeploy),
        |_| Action::Deploy(Resources::AlwaysDeploy),
    ),
    ("Game is ready and running", |_| true, |_| Action::Ready),
];

const ALL_RESOURCES: [Resources; 4] =
    [Resources::Leave, Resources::BuildAndDeploy, Resources::VerifyAndDeploy, Resources::AlwaysDeploy];

/// Every combination: builds from 1 to 4 and none are enough, since only their order counts.
fn all_facts() -> impl Iterator<Item = Facts> {
    (0..2u32.pow(7) * 4 * 3 * 5 * 5 * 4).map(|n| {
        let mut rest = n;
        let mut take = |count: u32| {
            let digit = rest % count;
            rest /= count;
            digit
        };
        let settings = Settings {
            check_minimum: take(2) == 1,
            run_in_local: take(2) == 1,
            check_for_updates: take(2) == 1,
            resources: ALL_RESOURCES[take(4) as usize],
        };
        Facts {
            settings,
            locked: take(2) == 1,
            running_in_local: take(2) == 1,
            declined: take(2) == 1,
            resources_done: take(2) == 1,
            this_build: u64::from(take(3)) + 1,
            local_build: Some(u64::from(take(5))).filter(|build| *build > 0),
            offered_build: Some(u64::from(take(5))).filter(|build| *build > 0),
            minimum_build: u64::from(take(4)),
        }
    })
}

#[test]
fn every_combination_of_facts_follows_the_listing() {
    let mut used = vec![0u64; LISTING.len()];
    for facts in all_facts() {
        let line = LISTING.iter().position(|(_, applies, _)| applies(&facts)).expect("the last line always applies");
        used[line] += 1;
        let (words, _, action) = LISTING[line];
        assert_eq!(decide(&facts), action(&facts), "{words}: {facts:?}");
    }
    assert_eq!(used.iter().sum::<u64>(), 153_600, "no combination is left out");
    assert!(used.iter().all(|count| *count > 0), "every line of the listing decides something: {used:?}");
}

#[test]
fn the_app_always_gets_to_run_or_the_user_hears_why() {
    for mut facts in all_facts() {
        // What a driver does: each action changes the facts, and after a few steps it is over.
        let mut steps = 0;
        loop {
            steps += 1;
            assert!(steps <= 4, "goes round in circles: {facts:?}");
            match decide(&facts) {
                Action::TellLocked | Action::TellDownloadAgain { .. } | Action::RunLocal | Action::Ready => break,
                Action::InstallLocal { build } => facts.local_build = Some(build.max(facts.minimum_build)),
                Action::CopyToLocal => facts.local_build = Some(facts.this_build),
                Action::Update { .. } => facts.declined = true,
                Action::Deploy(_) => facts.resources_done = true,
            }
        }
    }
}
