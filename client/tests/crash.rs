//! Whatever ends an update in the middle, the next start finds the old tree or the new one, and the user's files.

#![allow(clippy::print_stdout, reason = "what was tried is told with the result")]

#[path = "support/scoreboard.rs"]
mod scoreboard;
#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/tree.rs"]
mod tree;
#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/tree_fs.rs"]
mod tree_fs;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use lamplighter_client::tree::fs::Fs;
use lamplighter_client::tree::{CommitReport, Record, Recovery, Tree, TreeError};
use serde_json::json;
use tree::Item::{Dir, File, Program};
use tree::{Site, USER, go_back, leave, new_release, old_release, recover, shown, update};
use tree_fs::{Control, Fault, FaultyFs, Lacks, NOTHING, REFUSALS};

/// One change of a tree that a user lives in.
struct Case {
    name: &'static str,
    prepare: fn() -> Site,
    change: fn(&Tree) -> Result<CommitReport, TreeError>,
}

const UPDATE: Case =
    Case { name: "update", prepare: Site::lived_in, change: |tree| update(tree, &old_release(), &new_release()) };

const ROLLBACK: Case =
    Case { name: "rollback", prepare: updated, change: |tree| go_back(tree, &new_release(), &old_release()) };

const HEAL: Case = Case {
    name: "heal",
    prepare: || {
        let site = updated();
        std::fs::write(site.root().join("app"), "damaged").expect("written");
        std::fs::remove_file(site.root().join("data/c")).expect("removed");
        std::fs::remove_dir_all(site.root().join("deep")).expect("removed");
        site
    },
    change: |tree| update(tree, &new_release(), &new_release()),
};

const CASES: [Case; 3] = [UPDATE, ROLLBACK, HEAL];

fn updated() -> Site {
    let site = Site::lived_in();
    update(&quick(&site), &old_release(), &new_release()).expect("an update");
    site
}

/// What can be seen of a tree and its state.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    tree: BTreeMap<String, String>,
    record: Option<Record>,
    previous: Option<Record>,
    /// What the way back needs, by digest.
    held: Vec<OsString>,
}

fn see(site: &Site) -> Seen {
    let tree = site.tree();
    let previous = tree.previous().expect("readable");
    let held = if previous.is_some() { held(site) } else { Vec::new() };
    Seen { tree: tree_of(site), record: tree.record().expect("readable"), previous, held }
}

/// Where case is ignored, a directory may come back in the spelling of either release: it is the same one.
fn tree_of(site: &Site) -> BTreeMap<String, String> {
    let spelled = |name: String| if cfg!(windows) { name.replace("case/Lib", "case/lib") } else { name };
    site.snapshot().into_iter().map(|(name, shown)| (spelled(name), shown)).collect()
}

/// Contents of the release before that are kept.
fn held(site: &Site) -> Vec<OsString> {
    let entries = std::fs::read_dir(site.state().join("previous/content")).expect("listed");
    let mut names: Vec<_> = entries.map(|entry| entry.expect("entry").file_name()).collect();
    names.sort();
    names
}

/// The tree before and after, and the number of calls in between: those that change something, and all.
struct Ends {
    old: Seen,
    new: Seen,
    changes: u64,
    calls: u64,
}

fn faulty(site: &Site, control: &Arc<Control>) -> Tree {
    site.tree_on(FaultyFs::open(&site.root(), &site.state(), control.clone()))
}

/// The next start, which does not wait for the disk either.
fn restart(site: &Site) -> Result<Recovery, TreeError> {
    recover(&quick(site))
}

fn quick(site: &Site) -> Tree {
    faulty(site, &Control::counting())
}

impl Case {
    fn ends(&self) -> Ends {
        let calls = |control: &Arc<Control>| {
            let site = (self.prepare)();
            let old = see(&site);
            (self.change)(&faulty(&site, control)).expect("it works where nothing happens");
            (old, see(&site), control.calls())
        };
        let (old, new, changes) = calls(&Control::counting());
        let (_, _, calls) = calls(&Control::at(u64::MAX, Fault::FailAny(REFUSALS[0])));
        assert_ne!(old.tree, new.tree);
        Ends { old, new, changes, calls }
    }
}

/// Fails unless the tree is one of the two, with its record and its way back, all the user wrote, and nothing left over.
fn assert_whole(site: &Site, ends: &Ends, stamps: &[(u64, i64, i64)], context: &str) -> bool {
    let found = see(site);
    let is_new = found.tree == ends.new.tree;
    assert_eq!(&found, if is_new { &ends.new } else { &ends.old }, "{context}: neither old nor new");
    let contents = site.contents();
    for (name, text) in USER {
        assert!(contents.contains(text.as_bytes()), "{context}: {name} is lost");
    }
    assert_eq!(site.stamps(), stamps, "{context}: unchanged files were touched");
    let left: Vec<_> =
        std::fs::read_dir(site.state()).expect("listed").map(|e| e.expect("entry").file_name()).collect();
    assert!(!left.iter().any(|n| n.to_string_lossy().starts_with("journal")), "{context}: {left:?}");
    let outside = std::fs::read_to_string(site.dir.path().join("sentinel")).expect("there");
    assert_eq!((outside.as_str(), std::fs::read_dir(site.dir.path()).expect("listed").count()), ("outside", 2));
    is_new
}

#[test]
fn an_update_changes_what_it_must_and_keeps_what_is_the_users() {
    let site = Site::lived_in();
    let stamps = site.stamps();
    let report = update(&site.tree(), &old_release(), &new_release()).expect("an update");
    let found = site.snapshot();
    // Where case is ignored, a directory with another spelling is the same directory and keeps the one it has.
    let lib = if cfg!(windows) { "case/Lib" } else { "case/lib" };
    for row in tree::manifest(&new_release()).rows() {
        let name = row.path.as_str().replace("case/lib", lib);
        assert!(found.contains_key(&name), "{name} is missing");
    }
    let gone_lib = if cfg!(windows) { "case/lib" } else { "case/Lib" };
    let gone = ["case/ReadMe", gone_lib, "gone", "gone/y", "empty-old", "link-gone", "moved/from.bin", "shared/z"];
    for name in gone {
        assert!(!found.contains_key(name), "{name} is still there");
    }
    assert_eq!(found["mode.sh"], shown("755", "#!/bin/sh"));
    assert_eq!(found["tool"], shown("644", "tool two"));
    assert_eq!(found.get("link").map(String::as_str), cfg!(unix).then_some("link data/c"));
    assert_eq!(found["dirfile"], shown("644", "now a file"));
    assert_eq!(found["shared/user.txt"], shown("644", "mine in a shared directory"));
    let mut kept: Vec<&str> = report.kept.iter().map(|k| k.path.as_str()).collect();
    kept.sort_unstable();
    let odd = if cfg!(windows) { "dirfile/odd%25name~1" } else { "dirfile/odd%25name:%01" };
    let expected = ["blocked", "conf.ini", "dirfile/mine/notes.txt", odd, "edited-gone.txt", "new.txt"];
    assert_eq!(kept, expected);
    for kept in &report.kept {
        let text = std::fs::read_to_string(&kept.kept_at).expect("kept");
        assert!(USER.iter().any(|(_, mine)| *mine == text), "{kept:?}");
    }
    assert!(site.state().join("kept/1/dirfile/mine/hollow").is_dir(), "empty directories are kept too");
    assert_eq!(site.stamps(), stamps);
    assert_eq!((report.backups.copied, report.backups.moved), (0, 0));
    let again = update(&site.tree(), &new_release(), &new_release()).expect("nothing to do");
    assert_eq!((again.placed, again.removed, again.kept.len()), (0, 0, 0));
}

/// Under wine every call costs a hundred times as much, so only some of the many points are tried there.
const STRIDE: usize = if cfg!(windows) { 9 } else { 1 };

/// With `LAMPLIGHTER_LONG=1` every call fails in every way; else each in one of the four.
fn is_long() -> bool {
    std::env::var_os("LAMPLIGHTER_LONG").is_some()
}

#[test]
fn dying_at_any_call_leaves_the_old_tree_or_the_new_one() {
    let (mut deaths, mut went_forward) = (0, 0);
    for case in &CASES {
        let ends = case.ends();
        let (mut forward, mut back) = (0, 0);
        for k in (0..ends.changes).step_by(STRIDE) {
            let site = (case.prepare)();
            let stamps = site.stamps();
            let died = (case.change)(&faulty(&site, &Control::at(k, Fault::Die)));
            deaths += 1;
            let context = format!("{}, died at {k}", case.name);
            let recovered = restart(&site).unwrap_or_else(|e| panic!("{context}: {e}"));
            let is_new = assert_whole(&site, &ends, &stamps, &format!("{context} with {died:?}, {recovered:?}"));
            assert!(is_new || died.is_err(), "{context}: a commit that returned was undone");
            match recovered {
                Recovery::RolledForward(report) => {
                    forward += 1;
                    let kept = if case.name == "update" { 6 } else { report.kept.len() };
                    assert_eq!(report.kept.len(), kept, "{context}: what was set aside is reported: {report:?}");
                }
                Recovery::RolledBack(_) => back += 1,
                Recovery::Nothing => {}
            }
            if !is_new {
                (case.change)(&quick(&site)).unwrap_or_else(|e| panic!("{context}, once more: {e}"));
                assert_eq!(see(&site), ends.new, "{context}: the next try finishes the way");
            }
        }
        println!("{}: {forward} forward, {back} back of {}", case.name, ends.changes);
        went_forward += forward;
    }
    assert!(went_forward > 100 / STRIDE, "{went_forward}");
    scoreboard::note("deaths", json!({ "deaths": deaths, "mixed_trees_or_lost_files": 0 }));
}

/// Numbers of a second call for the case number `k`: early, in the middle and late, others for each.
fn later(k: u64) -> [u64; 5] {
    [k % 3, 4 + k % 7, 12 + k % 23, 36 + k % 53, 90 + k % 97]
}

#[test]
fn dying_again_during_recovery_changes_nothing_about_it() {
    let mut twice = 0;
    for case in &CASES {
        let ends = case.ends();
        let mut states = 0;
        for k in (0..ends.changes).step_by(3 * STRIDE - 2) {
            for j in later(k) {
                let site = (case.prepare)();
                let stamps = site.stamps();
                let _ = (case.change)(&faulty(&site, &Control::at(k, Fault::Die)));
                if !site.state().join("journal").exists() {
                    break;
                }
                let ended = recover(&faulty(&site, &Control::at(j, Fault::Die))).is_ok();
                let context = format!("{}, died at {k}, again at {j}", case.name);
                restart(&site).unwrap_or_else(|e| panic!("{context}: {e}"));
                assert_whole(&site, &ends, &stamps, &context);
                states += 1;
                if ended {
                    break;
                }
            }
        }
        println!("{}: died twice in {states} ways", case.name);
        twice += states;
    }
    assert!(twice > 300 / (3 * STRIDE - 2), "{twice}");
}

#[test]
fn a_failing_call_rolls_back_or_does_not_matter() {
    let (mut failing, mut all_back) = (0, 0);
    for case in &CASES {
        let ends = case.ends();
        let (mut failed, mut rolled_back) = (0, 0);
        let step = if cfg!(windows) { 3 * STRIDE } else { STRIDE };
        for k in (0..ends.calls).step_by(step) {
            for (e, refusal) in REFUSALS.into_iter().enumerate() {
                if !is_long() && e as u64 != k / step as u64 % 4 {
                    continue;
                }
                let site = (case.prepare)();
                let stamps = site.stamps();
                let result = (case.change)(&faulty(&site, &Control::at(k, Fault::FailAny(refusal))));
                failed += usize::from(result.is_err());
                failing += 1;
                let context = format!("{}, {refusal:?} at {k}: {result:?}", case.name);
                let in_flight = site.tree().is_in_transaction().expect("readable");
                match &result {
                    Ok(_) => assert_eq!(tree_of(&site), ends.new.tree, "{context}"),
                    Err(TreeError::RolledBack { .. }) => {
                        rolled_back += 1;
                        assert_eq!(tree_of(&site), ends.old.tree, "{context}");
                        assert!(!in_flight, "{context}");
                    }
                    // The journal may be there though its rename is said to have failed to become durable.
                    Err(TreeError::CutOff { .. }) => {}
                    Err(_) => assert_eq!(tree_of(&site), ends.old.tree, "{context}"),
                }
                restart(&site).unwrap_or_else(|e| panic!("{context}, then {e}"));
                assert_whole(&site, &ends, &stamps, &context);
            }
        }
        println!("{}: {failed} failed, {rolled_back} of them rolled back, of {}", case.name, ends.calls);
        all_back += rolled_back;
    }
    assert!(all_back > 100 / (3 * STRIDE), "{all_back}");
    scoreboard::note("failing-calls", json!({ "failing_calls": failing, "mixed_trees_or_lost_files": 0 }));
}

#[test]
fn a_failing_call_during_recovery_can_be_tried_again() {
    let mut failures = 0;
    for case in &CASES {
        let ends = case.ends();
        let (mut failed, mut tried) = (0, 0);
        for k in (0..ends.changes).step_by(if is_long() { 1 } else { 5 * STRIDE }) {
            for (e, refusal) in REFUSALS.into_iter().enumerate() {
                for j in later(k + e as u64).into_iter().step_by(if cfg!(windows) { 3 } else { 1 }) {
                    let site = (case.prepare)();
                    let stamps = site.stamps();
                    let _ = (case.change)(&faulty(&site, &Control::at(k, Fault::Die)));
                    if !site.state().join("journal").exists() {
                        break;
                    }
                    let result = recover(&faulty(&site, &Control::at(j, Fault::FailAny(refusal))));
                    (tried, failed) = (tried + 1, failed + usize::from(result.is_err()));
                    let context = format!("{}, died at {k}, {refusal:?} at {j}: {result:?}", case.name);
                    restart(&site).unwrap_or_else(|e| panic!("{context}, then {e}"));
                    assert_whole(&site, &ends, &stamps, &context);
                }
            }
        }
        println!("{}: {failed} of {tried} recoveries failed and worked at the next start", case.name);
        failures += failed;
    }
    assert!(failures > 100 / STRIDE, "{failures}");
}

fn few() -> tree::Release {
    vec![("app", Program("one")), ("data", File("a")), ("more", File("b"))]
}

fn grown() -> tree::Release {
    let mut release = vec![("app", Program("two")), ("data", File("a2")), ("more", File("b2"))];
    release.extend([("new/a/x", File("x")), ("new/b/y", File("y")), ("new/c", Dir)]);
    release
}

/// Between the names that hold what was and those that lead back to it come new directories, and nothing goes.
const GROWTH: Case = Case {
    name: "an update that adds",
    prepare: || Site::plain(&few()),
    change: |tree| update(tree, &few(), &grown()),
};

#[test]
fn where_there_is_no_room_for_names_the_next_start_finds_the_old_tree_or_the_new_one() {
    let (mut too_few, mut forward) = (0, 0);
    for case in CASES.iter().chain([&GROWTH]) {
        let ends = case.ends();
        let is_one_of_them = |site: &Site| [&ends.old.tree, &ends.new.tree].contains(&&tree_of(site));
        for names in (0..).step_by(STRIDE) {
            let (site, control) = ((case.prepare)(), Control::counting().with_names(names));
            let result = (case.change)(&faulty(&site, &control));
            let context = format!("{}, room for {names} names: {result:?}", case.name);
            recover(&faulty(&site, &control)).unwrap_or_else(|e| panic!("{context}, then {e}"));
            assert!(is_one_of_them(&site), "{context}: neither old nor new");
            too_few += usize::from(result.is_err());
            // The same, and the process ends on the way.
            for k in (names % 11..control.calls()).step_by(11 * STRIDE) {
                let site = (case.prepare)();
                let control = Control::at(k, Fault::Die).with_names(names);
                let died = (case.change)(&faulty(&site, &control));
                let left = Control::counting().with_names(control.names());
                let context = format!("{context}, died at {k}: {died:?}");
                let recovered = recover(&faulty(&site, &left)).unwrap_or_else(|e| panic!("{context}, then {e}"));
                forward += usize::from(matches!(recovered, Recovery::RolledForward(_)));
                assert!(is_one_of_them(&site), "{context}: neither old nor new");
            }
            if result.is_ok() {
                break;
            }
        }
    }
    assert!(too_few > 60 / STRIDE, "{too_few}");
    assert!(forward > 10 / STRIDE, "{forward}");
}

#[test]
fn without_hard_links_old_contents_are_copied_and_nothing_else_changes() {
    let ends = UPDATE.ends();
    let site = Site::lived_in();
    let stamps = site.stamps();
    let lacks = Lacks { hard_links: true, ..NOTHING };
    let without =
        |site: &Site, control| -> Box<dyn Fs> { FaultyFs::open_on(lacks, &site.root(), &site.state(), control) };
    let control = Control::counting();
    let report = update(&site.tree_on(without(&site, control.clone())), &old_release(), &new_release()).expect("done");
    assert!(report.backups.linked == 0 && report.backups.copied > 10, "{report:?}");
    assert!(assert_whole(&site, &ends, &stamps, "copied"));
    for k in (0..control.calls()).step_by(3 * STRIDE) {
        // A recovery that fails late turns back, by the copies.
        for fails_at in [u64::MAX, 60 + k % 60] {
            let site = Site::lived_in();
            let stamps = site.stamps();
            let _ = update(&site.tree_on(without(&site, Control::at(k, Fault::Die))), &old_release(), &new_release());
            let control = Control::at(fails_at, Fault::Fail(REFUSALS[0]));
            let _ = recover(&site.tree_on(without(&site, control)));
            let context = format!("died at {k} without links, failed at {fails_at}");
            recover(&site.tree_on(without(&site, Control::counting()))).unwrap_or_else(|e| panic!("{context}: {e}"));
            assert_whole(&site, &ends, &stamps, &context);
        }
    }
}

const AT_ONCE: Lacks = Lacks { cheap_flushes: true, ..NOTHING };

#[test]
fn files_flushed_all_at_once_make_an_update_no_less_safe() {
    let ends = UPDATE.ends();
    let at_once =
        |site: &Site, control| -> Box<dyn Fs> { FaultyFs::open_on(AT_ONCE, &site.root(), &site.state(), control) };
    let (control, separate) = (Control::counting(), Control::counting());
    let site = Site::lived_in();
    update(&site.tree_on(at_once(&site, control.clone())), &old_release(), &new_release()).expect("done");
    let site = Site::lived_in();
    let fs = FaultyFs::open(&site.root(), &site.state(), separate.clone());
    update(&site.tree_on(fs), &old_release(), &new_release()).expect("done");
    assert!(control.calls() < separate.calls(), "one flush for all");
    for k in (0..control.calls()).step_by(3 * STRIDE) {
        for fault in [Fault::Die, Fault::Fail(REFUSALS[k as usize % 4])] {
            let site = Site::lived_in();
            let stamps = site.stamps();
            let _ = update(&site.tree_on(at_once(&site, Control::at(k, fault))), &old_release(), &new_release());
            recover(&site.tree_on(at_once(&site, Control::counting()))).unwrap_or_else(|e| panic!("call {k}: {e}"));
            assert_whole(&site, &ends, &stamps, &format!("{fault:?} at {k}, flushed at once"));
        }
    }
}

#[test]
fn a_flush_of_the_volume_that_fails_is_asked_of_each_file() {
    let staged = |control: &Arc<Control>| {
        let site = Site::plain(&old_release());
        let fs = FaultyFs::open_on(AT_ONCE, &site.root(), &site.state(), control.clone());
        let lock = site.tree_on(fs).lock(Duration::from_secs(2)).expect("free");
        let staging = lock.staging("u").expect("staging");
        let left: Vec<usize> = (0..3).map(|number| leave(&staging, number, "content").expect("left")).collect();
        let before = control.calls();
        let flushed = staging.flush(&left);
        (flushed, control.calls() - before, before)
    };
    let (flushed, calls, before) = staged(&Control::counting());
    assert!(flushed.is_ok() && calls == 1, "{flushed:?}, {calls} calls");
    // Another program's loss is none of ours.
    let (flushed, calls, _) = staged(&Control::at(before, Fault::Fail(REFUSALS[0])));
    assert!(flushed.is_ok() && calls == 4, "{flushed:?}, {calls} calls");
    let (flushed, ..) = staged(&Control::at(before, Fault::Die));
    assert!(flushed.is_err(), "a file that cannot be flushed ends it");
}
