//! The same promise on a disk that forgets, in any combination, whatever was not flushed when the power goes.
//!
//! Not on Windows: the disk is a model with the rules of Unix, modes among them, and no call reaches the system.
#![cfg(not(windows))]
#![allow(clippy::print_stdout, reason = "what was tried is told with the result")]

#[path = "support/explorer.rs"]
mod explorer;
#[path = "support/scenarios.rs"]
mod scenarios;
#[path = "support/scoreboard.rs"]
mod scoreboard;
#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/tree.rs"]
mod tree;
#[path = "support/tree_model.rs"]
mod tree_model;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use explorer::{Explored, Reach, alone, explore, in_two_threads, power_cuts};
use lamplighter_client::format::digest::Blake3;
use lamplighter_client::tree::fs::Base;
use lamplighter_client::tree::{Recovery, TreeError};
use scenarios::{Scenario, install, lived_in, small};
use serde_json::json;
use tree::{Item, Release, recover, update};
use tree_model::{Disk, Flush, Forgets, Machine};

/// With `LAMPLIGHTER_LONG=1` more combinations are tried, above ten million power cuts: a quarter of an hour.
fn is_long() -> bool {
    std::env::var_os("LAMPLIGHTER_LONG").is_some()
}

#[test]
fn a_power_cut_anywhere_leaves_the_old_tree_or_the_new_one() {
    let (ways_max, cuts_max, few_ways_max) = if is_long() { (640, 2, 64) } else { (96, 2, 16) };
    let mut jobs: Vec<(Scenario, Reach)> =
        small().into_iter().map(|small| (small, Reach { ways_max, cuts_max, violations_max: 3 })).collect();
    jobs.push((lived_in(), Reach { ways_max: few_ways_max, cuts_max: cuts_max - 1, violations_max: 3 }));
    let mut explored = Explored::default();
    for ((scenario, _), one) in jobs.iter().zip(in_two_threads(&jobs, |(one, reach)| explore(one, *reach, None))) {
        println!("{}: {}", scenario.name, told(&one));
        explored.add(one);
    }
    println!("together: {}", told(&explored));
    let violations = explored.violations.len();
    let figures =
        json!({ "cuts": explored.cuts, "distinct_disks": explored.disks, "mixed_trees_or_lost_files": violations });
    scoreboard::note("power-cuts", figures);
    assert!(explored.violations.is_empty(), "{}", explored.violations.join("\n"));
    assert!(explored.disks > 100_000, "{}", explored.disks);
    assert!(!is_long() || explored.cuts > 10_000_000, "{}", explored.cuts);
}

fn told(explored: &Explored) -> String {
    let Explored { disks, cuts, complete, drawn, new, violations } = explored;
    let violations = violations.len();
    format!(
        "{cuts} cuts, {disks} disks, {new} ended new; {complete} moments whole, {drawn} drawn; {violations} violations"
    )
}

/// What a flush is for, whether a promise rests on it, and whether a flush is such a one.
type Purpose = (&'static str, bool, fn(&Flush) -> bool);

const FLUSHES: &[Purpose] = &[
    ("the journal's content", true, |flush| flush.call == "sync" && is_state(flush, "journal.tmp")),
    ("staged contents", true, |flush| flush.call != "sync_dir" && is_state(flush, "staging")),
    ("all staged contents at once", true, |flush| flush.call == "sync_volume"),
    // Without it fewer updates go forward after a cut, but none goes wrong.
    ("names of staged files", false, |flush| flush.call == "sync_dir" && is_state(flush, "staging")),
    ("names in the state directory", true, |flush| {
        flush.call == "sync_dir" && flush.place.base() == Base::State && flush.place.path().as_os_str().is_empty()
    }),
    ("contents of backups and kept files that are copies", true, |flush| {
        flush.call != "sync_dir" && (is_state(flush, "backup") || is_state(flush, "kept"))
    }),
    ("names of backups", true, |flush| flush.call == "sync_dir" && is_state(flush, "backup")),
    ("names of kept files", true, |flush| flush.call == "sync_dir" && is_state(flush, "kept")),
    ("names in the tree", true, |flush| flush.call == "sync_dir" && flush.place.base() == Base::Tree),
    ("modes", true, |flush| flush.call == "sync_file" && flush.place.base() == Base::Tree),
    ("names in the record", true, |flush| flush.call == "sync_dir" && is_state(flush, "installed")),
    ("names of the release before", true, |flush| flush.call == "sync_dir" && is_state(flush, "previous")),
];

fn is_state(flush: &Flush, below: &str) -> bool {
    flush.place.base() == Base::State && flush.place.path().starts_with(below)
}

/// The first scenario that goes wrong on a machine that leaves out what `forgets` names, and how.
fn first_violation(scenarios: &[Scenario], forgets: &Forgets) -> Option<String> {
    let reach = Reach { ways_max: 128, cuts_max: 1, violations_max: 0 };
    scenarios.iter().find_map(|scenario| explore(scenario, reach, Some(forgets.clone())).violations.pop())
}

/// If leaving out a flush did no harm, the model would prove nothing, or the flush would not be needed.
#[test]
fn each_flush_is_needed() {
    let scenarios = small();
    let harmless = in_two_threads(FLUSHES, |(name, _, is_it)| {
        let violation = first_violation(&scenarios, &(Arc::new(*is_it) as Forgets));
        println!("without flushing {name}: {}", violation.as_deref().unwrap_or("no harm"));
        violation.is_none()
    });
    for ((name, is_needed, _), harmless) in FLUSHES.iter().zip(harmless) {
        assert_eq!(harmless, !is_needed, "without flushing {name}");
    }
}

/// No flush of a change, or of the recovery from it, is of another kind than those.
#[test]
fn no_flush_is_without_a_reason() {
    for scenario in small() {
        alone(|| {
            let machine = Machine::start(scenario.disk.clone());
            machine.note();
            (scenario.change)(&machine.tree()).expect("it works where nothing happens");
            let mut flushes = machine.flushes();
            for moment in machine.noted() {
                let machine = Machine::start(moment);
                recover(&machine.tree()).expect("nothing is lost");
                flushes.extend(machine.flushes());
            }
            for flush in flushes {
                let kinds = FLUSHES.iter().filter(|(_, _, is_it)| is_it(&flush)).count();
                assert_eq!(kinds, 1, "{}: {flush:?}", scenario.name);
            }
        });
    }
}

/// The small changes of which a cut may lose one content while another was written over; the rest change too little at once for
/// that, or have the user's own files in the way.
const OVERWRITTEN: [&str; 4] = [
    "replace, add, remove",
    "three replaced",
    "a file becomes a directory, another the other way",
    "without hard links",
];

/// Between a cut and the start after it the user writes over a file of the old release; a second cut loses a new content. Then
/// neither release can be had whole, but nothing of the one that is not recorded may stay and pass for the user's.
#[test]
fn a_tree_that_nothing_can_make_whole_is_left_without_traces_of_the_other_release() {
    let scenarios: Vec<Scenario> = small().into_iter().filter(|one| OVERWRITTEN.contains(&one.name)).collect();
    let given_up = in_two_threads(&scenarios, |scenario| {
        let machine = Machine::start(scenario.disk.clone());
        machine.note();
        (scenario.change)(&machine.tree()).expect("it works where nothing happens");
        let (mut given_up, mut seen) = (0, HashSet::new());
        for (k, moment) in machine.noted().iter().enumerate() {
            power_cuts(moment, 2, k as u64, |disk| {
                if seen.insert(disk.identity()) {
                    given_up += overwrite_and_cut(scenario, &disk, &mut seen);
                }
            });
        }
        given_up
    });
    for (scenario, given_up) in scenarios.iter().zip(given_up) {
        println!("{}: {given_up} given up", scenario.name);
        assert!(given_up > 0, "{}: never happens", scenario.name);
    }
}

/// Writes over each old file of `disk` in turn, cuts the recovery that follows; how many disks could not be recovered, of those that
/// were not `seen`.
fn overwrite_and_cut(scenario: &Scenario, disk: &Disk, seen: &mut HashSet<Blake3>) -> usize {
    let mut given_up = 0;
    let listed = scenario.old.iter().filter(|old| !scenario.new.contains(old));
    for (name, _) in listed.filter(|(_, item)| matches!(item, Item::File(_) | Item::Program(_))) {
        if disk.snapshot(Base::Tree).get(*name).is_none_or(|shown| shown == "dir") {
            continue;
        }
        let mut disk = disk.clone();
        disk.install(Base::Tree, name, Some((b"the user's", 0o644)), None);
        let machine = Machine::start(disk.flushed());
        machine.note();
        let _ = recover(&machine.tree());
        for (k, moment) in machine.noted().iter().enumerate() {
            power_cuts(moment, 6, k as u64, |cut| {
                given_up += usize::from(seen.insert(cut.identity()) && is_given_up(scenario, cut, name));
            });
        }
    }
    given_up
}

/// Whether nothing can make the tree of `disk` whole; then it is given up, on every disk that a cut in that leaves, too.
fn is_given_up(scenario: &Scenario, disk: Disk, overwritten: &str) -> bool {
    let machine = Machine::start(disk);
    let Err(TreeError::NeedsHeal { .. }) = recover(&machine.tree()) else { return false };
    machine.note();
    give_up(scenario, &machine, overwritten);
    for (k, moment) in machine.noted().iter().enumerate() {
        power_cuts(moment, 2, k as u64, |cut| {
            let machine = Machine::start(cut);
            if matches!(recover(&machine.tree()), Err(TreeError::NeedsHeal { .. })) {
                give_up(scenario, &machine, overwritten);
            }
        });
    }
    true
}

fn give_up(scenario: &Scenario, machine: &Arc<Machine>, overwritten: &str) {
    let lock = machine.tree().lock(Duration::ZERO).expect("free");
    lock.abandon().expect("given up");
    assert_eq!(lock.recover().expect("no journal"), Recovery::Nothing);
    let record = lock.record().expect("read").expect("a record");
    let is_old = record == tree::record(&scenario.old);
    let release = if is_old { &scenario.old } else { &scenario.new };
    assert!(is_old || record == tree::record(release), "{}: a mixed record", scenario.name);
    let found = machine.disk().snapshot(Base::Tree);
    for (name, shown) in &found {
        let is_listed = release.iter().any(|(listed, _)| listed == name || listed.starts_with(&format!("{name}/")));
        // A directory may stand where a file cannot be put back.
        assert!(is_listed || name == overwritten || shown == "dir", "{}: {name} stays: {found:?}", scenario.name);
    }
    for (name, item) in release.iter().filter(|(name, _)| is_old && *name != overwritten) {
        let expected = match item {
            Item::File(text) => format!("644 {text}"),
            Item::Program(text) => format!("755 {text}"),
            Item::Link(_) | Item::Dir => continue,
        };
        assert_eq!(found.get(*name), Some(&expected), "{}: {name} could be had: {found:?}", scenario.name);
    }
}

/// The flush of the staging directory keeps no promise of its own, but what was staged: more updates go forward.
#[test]
fn flushed_staging_lets_more_updates_go_forward() {
    let reach = Reach { ways_max: 16, cuts_max: 1, violations_max: 0 };
    let forgets: Forgets = Arc::new(|flush| flush.call == "sync_dir" && is_state(flush, "staging/update"));
    let [with, without] = [None, Some(forgets)].map(|forgets| explore(&lived_in(), reach, forgets));
    assert!(with.violations.is_empty() && without.violations.is_empty(), "{:?}", without.violations);
    let share = |explored: &Explored| explored.new * 100 / explored.disks;
    assert!(share(&with) > share(&without), "{} and {} of a hundred", share(&with), share(&without));
}

#[test]
fn a_rename_in_case_alone_works_where_case_does_not_count() {
    alone(renames_in_case_alone);
}

fn renames_in_case_alone() {
    let old: Release =
        vec![("Docs/ReadMe", Item::File("same")), ("Tool", Item::Program("one")), ("z", Item::File("z"))];
    let new: Release =
        vec![("docs/readme", Item::File("same")), ("tool", Item::Program("two")), ("z", Item::File("z"))];
    let mut disk = Disk::new(true);
    install(&mut disk, &old);
    let machine = Machine::start(disk.flushed());
    machine.note();
    update(&machine.tree(), &old, &new).expect("an update");
    let found = machine.disk().snapshot(Base::Tree);
    assert_eq!(found["Docs/readme"], "644 same", "{found:?}");
    assert_eq!(found["tool"], "755 two", "{found:?}");
    assert!(!found.contains_key("Tool") && !found.contains_key("Docs/ReadMe"), "{found:?}");
    for (k, moment) in machine.noted().iter().enumerate() {
        let mut way = 0;
        power_cuts(moment, 64, k as u64, |cut| {
            way += 1;
            old_or_new_in_any_case(cut, &format!("change {k}, way {way}"));
        });
    }
}

fn old_or_new_in_any_case(disk: Disk, context: &str) {
    let machine = Machine::start(disk);
    let recovered = recover(&machine.tree()).unwrap_or_else(|e| panic!("{context}: {e}"));
    let found = machine.disk().snapshot(Base::Tree);
    let content =
        |name: &str| found.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, shown)| shown.as_str());
    assert_eq!(content("docs/readme"), Some("644 same"), "{context}: {found:?}");
    let tool = if matches!(recovered, Recovery::RolledBack(_)) { "755 one" } else { content("tool").unwrap_or("none") };
    assert!(["755 one", "755 two"].contains(&tool), "{context}: {found:?}");
    assert_eq!(content("tool"), Some(tool), "{context}: {recovered:?} {found:?}");
    assert_eq!(found.len(), 4, "{context}: {found:?}");
}
