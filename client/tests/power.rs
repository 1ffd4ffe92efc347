//! The same promise on a disk that forgets, in any combination, whatever was not flushed when the power goes.
//!
//! Not on Windows: the disk is a model with the rules of Unix, modes among them, and no call reaches the system.
#![cfg(not(windows))]
#![allow(clippy::print_stdout, reason = "what was tried is told with the result")]

#[path = "support/explorer.rs"]
mod explorer;
#[path = "power/late_writer.rs"]
mod late_writer;
#[path = "support/scenarios.rs"]
mod scenarios;
#[path = "support/scoreboard.rs"]
mod scoreboard;
#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/tree.rs"]
mod tree;
#[path = "support/tree_model.rs"]
mod tree_model;

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use explorer::{Explored, Reach, alone, explore, explore_failures, explore_kills, in_two_threads, power_cuts};
use lamplighter_client::format::digest::Blake3;
use lamplighter_client::format::path::RelPath;
use lamplighter_client::progress::{Event, Progress};
use lamplighter_client::tree::fs::Base;
use lamplighter_client::tree::{Recovery, TreeError};
use scenarios::{Scenario, install, lived_in, small};
use serde_json::json;
use tree::{Item, Release, recover, update};
use tree_model::{Disk, Flush, Forgets, Machine, Node};

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

/// The promise after one trouble more: the process was killed at any moment, or any call failed, before the power goes.
#[test]
fn a_power_cut_after_a_kill_or_a_failed_call_leaves_the_old_tree_or_the_new_one() {
    let scenarios = small();
    type Explore = fn(&Scenario, Reach) -> Explored;
    let ways = if is_long() { [640, 96] } else { [64, 16] };
    for (trouble, ways_max, explore) in
        [("kill", ways[0], explore_kills as Explore), ("failed call", ways[1], explore_failures)]
    {
        let reach = Reach { ways_max, cuts_max: 1, violations_max: 3 };
        let mut explored = Explored::default();
        for one in in_two_threads(&scenarios, |scenario| explore(scenario, reach)) {
            explored.add(one);
        }
        println!("after a {trouble}: {}", told(&explored));
        let violations = explored.violations.len();
        let figures = json!({ "cuts": explored.cuts, "mixed_trees_or_lost_files": violations });
        scoreboard::note(&format!("power-cuts-after-{}", trouble.replace(' ', "-")), figures);
        assert!(explored.violations.is_empty(), "{}", explored.violations.join("\n"));
        assert!(explored.disks > 10_000, "{trouble}: {}", explored.disks);
    }
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

/// What the user writes between a cut and the start after it.
const USERS: &str = "the user's";

/// Between a cut and the start after it the user writes over a file, or takes it away, or a directory with all that is in it, or puts
/// a file in the place of one; then another cut, a kill, a call that fails.
/// What is written is never lost, and all else is whole.
#[test]
fn what_the_user_does_between_two_cuts_stays_and_nothing_else_is_lost_by_it() {
    // A heal begins with what is not whole.
    let scenarios: Vec<Scenario> = small().into_iter().filter(|scenario| scenario.name != "heal").collect();
    let tried = in_two_threads(&scenarios, |scenario| {
        let (mut tried, mut seen) = (0, HashSet::new());
        for (k, moment) in moments(scenario).iter().enumerate() {
            power_cuts(moment, 2, k as u64, |disk| {
                if seen.insert(disk.identity()) {
                    tried += meddle_and_cut(scenario, &disk, &mut seen);
                }
            });
        }
        tried
    });
    let tried: usize = tried.into_iter().sum();
    scoreboard::note("power-cuts-overwritten", json!({ "disks": tried, "mixed_trees_or_lost_files": 0 }));
    assert!(tried > 10_000, "{tried}");
}

/// The disk before each change of a scenario.
fn moments(scenario: &Scenario) -> Vec<Disk> {
    let machine = Machine::start(scenario.disk.clone());
    machine.note();
    (scenario.change)(&machine.tree()).expect("it works where nothing happens");
    machine.noted()
}

/// What the user did to a file, or to a directory.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Wrote,
    Removed,
    RemovedFolder,
    FileForFolder,
}

/// Writes over each file of `disk` that changes or was the user's in turn, and removes it, and removes each directory, and puts a file
/// there, and troubles the recovery that follows; how many disks that were not `seen` were started then.
fn meddle_and_cut(scenario: &Scenario, disk: &Disk, seen: &mut HashSet<Blake3>) -> usize {
    let mut tried = 0;
    let own = scenario.user.iter().map(|(name, _)| *name);
    // One that a release lacks has an op of its own.
    let is_in = |release: &Release, name: &str| release.iter().any(|(path, _)| Path::new(path).starts_with(name));
    let is_common = |name: &str| is_in(&scenario.old, name) && is_in(&scenario.new, name);
    let files: BTreeSet<&str> = changed_files(scenario).chain(own).collect();
    for (name, shown) in &disk.snapshot(Base::Tree) {
        let deeds = match shown == "dir" {
            true if is_common(name) => [Deed::RemovedFolder, Deed::FileForFolder],
            false if files.contains(name.as_str()) => [Deed::Wrote, Deed::Removed],
            _ => continue,
        };
        for deed in deeds {
            let mut disk = disk.clone();
            match deed {
                Deed::Wrote | Deed::FileForFolder => {
                    disk.install(Base::Tree, name, Some((USERS.as_bytes(), 0o644)), None);
                }
                Deed::Removed | Deed::RemovedFolder => disk.remove(Base::Tree, name),
            }
            let mut expect_whole = |disk: Disk, how: &dyn Fn() -> String| {
                if seen.insert(disk.identity()) {
                    let machine = Machine::start(disk);
                    let context = || format!("{}, {name} {deed:?}, {}", scenario.name, how());
                    recover(&machine.tree()).unwrap_or_else(|e| panic!("{}: {e}", context()));
                    expect_whole_but_for(scenario, &machine.disk(), (name, deed), &context);
                    tried += 1;
                }
            };
            trouble_recovery(&disk.flushed(), &mut expect_whole);
        }
    }
    tried
}

/// Recovers `disk`, and gives every disk that is left to `then`: after a cut at each moment, a kill there, and a change that fails.
fn trouble_recovery(disk: &Disk, then: &mut dyn FnMut(Disk, &dyn Fn() -> String)) {
    let machine = Machine::start(disk.clone());
    machine.note();
    let _ = recover(&machine.tree());
    let moments = machine.noted();
    then(machine.disk(), &|| "in peace".into());
    for (k, moment) in moments.iter().enumerate() {
        power_cuts(moment, 6, k as u64, |cut| then(cut, &|| format!("cut before change {k}")));
        then(moment.clone(), &|| format!("killed before change {k}"));
        let machine = Machine::start(disk.clone());
        machine.fail_after(k as u64);
        let result = recover(&machine.tree());
        then(machine.disk(), &|| format!("change {k} failed: {result:?}"));
    }
}

/// Whoever made a directory again that the user took away, a recovery that was killed or the one that is done, it lasts.
#[test]
fn a_directory_that_is_made_again_is_there_after_a_power_cut() {
    alone(|| {
        let scenarios = small();
        let scenario = scenarios.iter().find(|scenario| scenario.name == "edited and in the way").expect("one of them");
        let mut made = 0;
        let in_flight = |disk: &Disk| disk.snapshot(Base::State).contains_key("journal");
        for mut moment in moments(scenario).into_iter().filter(in_flight) {
            moment.remove(Base::Tree, "in");
            let machine = Machine::start(moment.flushed());
            machine.note();
            recover(&machine.tree()).expect("finished, or undone");
            for (k, killed) in machine.noted().into_iter().enumerate() {
                let machine = Machine::start(killed);
                recover(&machine.tree()).expect("finished, or undone");
                power_cuts(&machine.disk(), 6, k as u64, |cut| {
                    let machine = Machine::start(cut);
                    recover(&machine.tree()).expect("finished, or undone");
                    let found = machine.disk().snapshot(Base::Tree);
                    if machine.tree().record().expect("read") == Some(tree::record(&scenario.new)) {
                        made += 1;
                        for (name, item) in &scenario.new {
                            assert_eq!(found.get(*name), shown_file(item).as_ref(), "killed at {k}: {found:?}");
                        }
                    }
                });
            }
        }
        assert!(made > 1000, "{made}");
    });
}

/// Names of the files of the old release that the new one does not have so.
fn changed_files(scenario: &Scenario) -> impl Iterator<Item = &'static str> {
    let changed = scenario.old.iter().filter(|old| !scenario.new.contains(old));
    changed.filter(|(_, item)| matches!(item, Item::File(_) | Item::Program(_))).map(|(name, _)| *name)
}

/// A file of a release as a snapshot shows it.
fn shown_file(item: &Item) -> Option<String> {
    match item {
        Item::File(text) => Some(format!("644 {text}")),
        Item::Program(text) => Some(format!("755 {text}")),
        Item::Link(_) | Item::Dir => None,
    }
}

/// The tree is the recorded release, but for one file that the user wrote over or removed, or one directory with what was in it; and
/// what was written is there, in place where that is the old release.
fn expect_whole_but_for(scenario: &Scenario, disk: &Disk, (meddled, deed): (&str, Deed), how: &dyn Fn() -> String) {
    let (found, state) = (disk.snapshot(Base::Tree), disk.snapshot(Base::State));
    let recorded = |release: &Release| {
        let manifest = String::from_utf8_lossy(&tree::record(release).manifest).into_owned();
        state.get("installed/manifest.csv").is_some_and(|shown| shown.ends_with(&manifest))
    };
    let context = || format!("{}: {found:?}, {state:?}", how());
    let is_old = recorded(&scenario.old);
    assert!(is_old || recorded(&scenario.new), "a mixed record: {}", context());
    let release = if is_old { &scenario.old } else { &scenario.new };
    let is_own = |name: &str| scenario.user.iter().any(|(own, _)| *own == name);
    let is_meddled = |name: &str| Path::new(name).starts_with(meddled);
    for (name, item) in release.iter().filter(|(name, _)| !(is_meddled(name) || is_old && is_own(name))) {
        let Some(expected) = shown_file(item) else { continue };
        assert_eq!(found.get(*name), Some(&expected), "{name}: {}", context());
    }
    let own = scenario.user.iter().filter(|(name, _)| !is_meddled(name)).copied();
    let written = match deed {
        Deed::Wrote | Deed::FileForFolder => Some((meddled, USERS)),
        Deed::Removed | Deed::RemovedFolder => None,
    };
    for (name, text) in own.chain(written) {
        let in_place = found.get(name).is_some_and(|shown| shown.ends_with(text));
        let is_kept = state.iter().any(|(path, shown)| path.starts_with("kept/") && shown.ends_with(text));
        assert!(in_place || is_kept, "what the user wrote to {name} is lost: {}", context());
    }
    let is_listed = release.iter().any(|(name, _)| *name == meddled);
    assert!(!is_listed || written.is_none() || found.contains_key(meddled), "nothing is there: {}", context());
}

/// An old content and a new one are damaged on the medium, wherever they lie. Then neither release can be had whole, but nothing of
/// the one that is not recorded may stay and pass for the user's.
#[test]
fn a_tree_that_nothing_can_make_whole_is_left_without_traces_of_the_other_release() {
    let given_up = in_two_threads(&small(), |scenario| {
        let mut given_up = 0;
        for moment in moments(scenario) {
            for name in changed_files(scenario) {
                let old = scenario.old.iter().filter(|(old, _)| *old == name).filter_map(|(_, item)| item.text());
                let old: Vec<&str> = old.collect();
                let is_olds = |text: &&str| scenario.old.iter().any(|(_, item)| item.text() == Some(*text));
                for new in scenario.new.iter().filter_map(|(_, item)| item.text()).filter(|text| !is_olds(text)) {
                    let damaged = damaged(&moment, &[&old[..], &[new]].concat());
                    given_up += usize::from(is_given_up(scenario, damaged, name));
                }
            }
        }
        given_up
    });
    println!("{given_up:?} disks given up");
    assert!(given_up.iter().filter(|count| **count > 0).count() > 5, "{given_up:?}");
}

/// `disk`, durable, with other bytes in all files that hold one of `texts`.
fn damaged(disk: &Disk, texts: &[&str]) -> Disk {
    let mut disk = disk.flushed();
    for node in disk.nodes.values_mut() {
        if let Node::File { live, durable, modified } = node
            && texts.iter().any(|text| text.as_bytes() == live.content)
        {
            live.content.fill(0xff);
            *durable = live.clone();
            *modified += 1;
        }
    }
    disk
}

/// Whether nothing can make the tree of `disk` whole; then it is given up, on every disk that a cut in that leaves, too.
fn is_given_up(scenario: &Scenario, disk: Disk, damaged: &str) -> bool {
    let machine = Machine::start(disk);
    let Err(TreeError::NeedsHeal { .. }) = recover(&machine.tree()) else { return false };
    machine.note();
    give_up(&machine);
    let moments = machine.noted();
    expect_no_traces(scenario, &machine, damaged);
    for (k, moment) in moments.iter().enumerate() {
        power_cuts(moment, 2, k as u64, |cut| {
            let machine = Machine::start(cut);
            assert!(
                matches!(recover(&machine.tree()), Err(TreeError::NeedsHeal { .. })),
                "{}: not whole",
                scenario.name
            );
            give_up(&machine);
            expect_no_traces(scenario, &machine, damaged);
        });
    }
    true
}

fn give_up(machine: &Arc<Machine>) {
    let lock = machine.tree().lock(Duration::ZERO).expect("free");
    lock.abandon().expect("given up");
    assert!(matches!(lock.recover(), Err(TreeError::NeedsHeal { .. })), "it is not whole yet");
}

fn expect_no_traces(scenario: &Scenario, machine: &Arc<Machine>, damaged: &str) {
    let lock = machine.tree().lock(Duration::ZERO).expect("free");
    lock.healed().expect("noted");
    assert_eq!(lock.recover().expect("no journal"), Recovery::Nothing);
    let record = lock.record().expect("read").expect("a record");
    let is_old = record == tree::record(&scenario.old);
    let release = if is_old { &scenario.old } else { &scenario.new };
    assert!(is_old || record == tree::record(release), "{}: a mixed record", scenario.name);
    let found = machine.disk().snapshot(Base::Tree);
    for (name, shown) in &found {
        let is_listed = release.iter().any(|(listed, _)| listed == name || listed.starts_with(&format!("{name}/")));
        let is_own = name == damaged || scenario.user.iter().any(|(own, _)| own == name);
        // A directory may stand where a file cannot be put back.
        assert!(is_listed || is_own || shown == "dir", "{}: {name} stays: {found:?}", scenario.name);
    }
    for (name, item) in release.iter().filter(|(name, _)| is_old && *name != damaged) {
        let Some(expected) = shown_file(item) else { continue };
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
