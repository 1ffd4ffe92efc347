//! The same promise on a disk that forgets, in any combination, whatever was not flushed when the power goes.
//!
//! Not on Windows: the disk is a model with the rules of Unix, modes among them, and no call reaches the system.
#![cfg(not(windows))]

#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/tree.rs"]
mod tree;
#[path = "support/tree_model.rs"]
mod tree_model;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use lamplighter_client::tree::fs::{Base, Place};
use lamplighter_client::tree::{Recovery, Tree};
use tree::{Item, Release, USER, new_release, old_release, record, recover, update};
use tree_model::{Chance, Disk, Machine};

fn install(disk: &mut Disk, release: &Release) {
    for (name, item) in release {
        match item {
            Item::File(text) => disk.install(Base::Tree, name, Some((text.as_bytes(), 0o644)), None),
            Item::Program(text) => disk.install(Base::Tree, name, Some((text.as_bytes(), 0o755)), None),
            Item::Link(to) => disk.install(Base::Tree, name, None, Some(to)),
            Item::Dir => disk.install(Base::Tree, name, None, None),
        }
    }
    let record = record(release);
    disk.install(Base::State, "installed/release", Some((&record.release, 0o644)), None);
    disk.install(Base::State, "installed/manifest.csv", Some((&record.manifest, 0o644)), None);
}

fn lived_in() -> Disk {
    let mut disk = Disk::new(false);
    let released = old_release().into_iter().filter(|(name, _)| *name != "lost");
    let mut released: Release = released.filter(|(name, _)| USER.iter().all(|(mine, _)| mine != name)).collect();
    released.sort_by_key(|(name, _)| *name);
    install(&mut disk, &released);
    let record = record(&old_release());
    disk.install(Base::State, "installed/release", Some((&record.release, 0o644)), None);
    disk.install(Base::State, "installed/manifest.csv", Some((&record.manifest, 0o644)), None);
    USER.iter().for_each(|(name, text)| disk.install(Base::Tree, name, Some((text.as_bytes(), 0o644)), None));
    disk.flushed()
}

fn tree_on(machine: &Arc<Machine>) -> Tree {
    Tree::with_fs(machine.fs(), Path::new("/tree"), Path::new("/state"))
}

/// xorshift; the seed is the number of the case.
struct Dice(u64);

impl Chance for Dice {
    fn pick(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}

/// Keeps all loose things, or loses all, but for one.
struct AllBut {
    lose: bool,
    one: usize,
    seen: usize,
}

impl Chance for AllBut {
    fn pick(&mut self, below: usize) -> usize {
        let lose = self.lose != (self.seen == self.one);
        self.seen += 1;
        if lose { below - 1 } else { 0 }
    }
}

/// With `LAMPLIGHTER_LONG=1` each loose thing is lost, and kept, alone at every moment; else every few, in turn.
fn is_long() -> bool {
    std::env::var_os("LAMPLIGHTER_LONG").is_some()
}

/// Ways the power may go at one moment: all kept, all lost, all but each one, and some at random.
fn power_cuts(disk: &Disk, random: u64, seed: u64) -> Vec<Disk> {
    let mut cuts = Vec::new();
    let step = if is_long() { 1 } else { disk.loose() / 6 + 1 };
    for lose in [true, false] {
        cuts.push(disk.after_power_cut(&mut AllBut { lose, one: usize::MAX, seen: 0 }));
        for one in (seed as usize % step..disk.loose()).step_by(step) {
            cuts.push(disk.after_power_cut(&mut AllBut { lose, one, seen: 0 }));
        }
    }
    cuts.extend((0..random).map(|n| disk.after_power_cut(&mut Dice(seed * 1000 + n + 1))));
    cuts
}

struct Ends {
    old: BTreeMap<String, String>,
    new: BTreeMap<String, String>,
}

impl Ends {
    /// Whether the disk holds the new tree; fails if it holds neither, or lost something of the user's.
    fn judge(&self, disk: &Disk, context: &dyn Fn() -> String) -> Result<bool, String> {
        let found = disk.snapshot(Base::Tree);
        let is_new = found == self.new;
        if !is_new && found != self.old {
            let differs: Vec<_> =
                found.iter().filter(|(k, v)| self.old.get(*k) != Some(v) && self.new.get(*k) != Some(v)).collect();
            return Err(format!("{}: neither old nor new: {differs:?} in {found:?}", context()));
        }
        let state = disk.snapshot(Base::State);
        let expected = record(&if is_new { new_release() } else { old_release() });
        let manifest = format!("644 {}", String::from_utf8_lossy(&expected.manifest));
        if state.get("installed/manifest.csv") != Some(&manifest) {
            return Err(format!("{}: the record is of another tree", context()));
        }
        let kept = state.iter().filter(|(path, _)| path.starts_with("kept/")).map(|(_, shown)| shown);
        let contents: Vec<&String> = found.values().chain(kept).collect();
        for (name, text) in USER {
            if !contents.iter().any(|shown| shown.ends_with(text)) {
                return Err(format!("{}: {name} is lost", context()));
            }
        }
        if state.contains_key("journal") {
            return Err(format!("{}: the journal is still there", context()));
        }
        Ok(is_new)
    }
}

/// The next start on `disk`: recovers, and holds what it says even if the power goes right after.
fn start(disk: Disk, ends: &Ends, context: &dyn Fn() -> String) -> Result<bool, String> {
    let machine = Machine::start(disk);
    recover(&tree_on(&machine)).map_err(|e| format!("{}: {e}", context()))?;
    let is_new = ends.judge(&machine.disk(), context)?;
    let lost = machine.disk().after_power_cut(&mut AllBut { lose: true, one: usize::MAX, seen: 0 });
    let again = Machine::start(lost);
    recover(&tree_on(&again)).map_err(|e| format!("{}, power cut after recovery: {e}", context()))?;
    if ends.judge(&again.disk(), context)? != is_new {
        return Err(format!("{}: what recovery did was not durable", context()));
    }
    Ok(is_new)
}

struct Explored {
    states: usize,
    /// Starts that found or made the new tree.
    new: usize,
    violations: Vec<String>,
}

/// Runs an update on `machine`, cuts the power everywhere, and again during recovery.
fn explore(machine: &Arc<Machine>, random: u64, nested_every: usize, violations_max: usize) -> Explored {
    let ends = {
        let whole = Machine::start(machine.disk());
        let old = whole.disk().snapshot(Base::Tree);
        update(&tree_on(&whole), &old_release(), &new_release()).expect("an update");
        Ends { old, new: whole.disk().snapshot(Base::Tree) }
    };
    machine.note();
    update(&tree_on(machine), &old_release(), &new_release()).expect("an update");
    let mut moments = machine.noted();
    let last = moments.len();
    moments.push(machine.disk());
    let mut explored = Explored { states: 0, new: 0, violations: Vec::new() };
    for (k, moment) in moments.iter().enumerate() {
        // While staging, one moment is much like the next.
        if k % 8 != 0 && k != last && !began(moment) {
            continue;
        }
        for (c, cut) in power_cuts(moment, random, k as u64).into_iter().enumerate() {
            explored.states += 1;
            let context = || format!("change {k} of {last}, cut {c}");
            match start(cut.clone(), &ends, &context) {
                Ok(false) if k == last => explored.violations.push(format!("{}: a commit was undone", context())),
                Ok(is_new) => explored.new += usize::from(is_new),
                Err(violation) => explored.violations.push(violation),
            }
            if explored.states.is_multiple_of(nested_every) {
                nested(cut, &ends, &context, &mut explored);
            }
        }
        if explored.violations.len() > violations_max {
            break;
        }
    }
    explored
}

fn began(disk: &Disk) -> bool {
    let state = disk.snapshot(Base::State);
    ["journal", "journal.tmp", "journal.done"].iter().any(|name| state.contains_key(*name))
}

/// Cuts the power once more at every change of the recovery of `disk`.
fn nested(disk: Disk, ends: &Ends, context: &dyn Fn() -> String, explored: &mut Explored) {
    let machine = Machine::start(disk);
    machine.note();
    if recover(&tree_on(&machine)).is_err() {
        return;
    }
    for (j, moment) in machine.noted().iter().enumerate() {
        for seed in 0..2 {
            explored.states += 1;
            let cut = moment.after_power_cut(&mut Dice(j as u64 * 7919 + seed + 1));
            let context = || format!("{}, again at change {j} of recovery, {seed}", context());
            if let Err(violation) = start(cut, ends, &context) {
                explored.violations.push(violation);
            }
        }
    }
}

/// Runs `test` on one thread of its own: the work of a start is too small to share.
fn alone(test: impl FnOnce() + Send) {
    rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool").install(test);
}

#[test]
fn a_power_cut_anywhere_leaves_the_old_tree_or_the_new_one() {
    alone(power_cut_anywhere);
}

fn power_cut_anywhere() {
    let explored = explore(&Machine::start(lived_in()), 4, 97, 5);
    assert!(
        explored.violations.is_empty(),
        "{} of {}:\n{}",
        explored.violations.len(),
        explored.states,
        explored.violations.join("\n")
    );
    assert!(explored.states > 2_000, "{}", explored.states);
}

fn explored_alone(forgets: fn(&str, &Place) -> bool) -> Explored {
    let mut explored = None;
    alone(|| explored = Some(explore(&Machine::start_forgetful(lived_in(), forgets), 6, usize::MAX, 0)));
    explored.expect("it ran")
}

/// If leaving out a flush did no harm, the model would prove nothing, or the flush would not be needed.
#[test]
fn each_flush_is_needed() {
    type Forgets = fn(&str, &Place) -> bool;
    let cases: &[(&str, Forgets)] = &[
        ("the journal's content", |call, at| call == "sync" && at.path() == Path::new("journal.tmp")),
        ("staged contents", |call, at| call == "sync" && at.path().starts_with("staging")),
        ("names in the state directory", |call, at| {
            call == "sync_dir" && at.base() == Base::State && at.path().as_os_str().is_empty()
        }),
        ("names of backups", |call, at| call == "sync_dir" && at.path().starts_with("backup/update")),
        ("names of kept files", |call, at| call == "sync_dir" && at.path().starts_with("kept")),
        ("names in the tree", |call, at| call == "sync_dir" && at.base() == Base::Tree),
        ("modes", |call, at| call == "sync_file" && at.base() == Base::Tree),
        ("names in the record", |call, at| call == "sync_dir" && at.path() == Path::new("installed")),
    ];
    for (name, forgets) in cases {
        let explored = explored_alone(*forgets);
        assert!(
            !explored.violations.is_empty(),
            "nothing happened without flushing {name}: {} states",
            explored.states
        );
    }
}

/// The flush of the staging directory keeps no promise of its own, but what was staged: more updates go forward.
#[test]
fn flushed_staging_lets_more_updates_go_forward() {
    alone(|| {
        let forgets = |call: &str, at: &Place| call == "sync_dir" && at.path().starts_with("staging/update");
        let with = explore(&Machine::start(lived_in()), 0, usize::MAX, 0);
        let without = explore(&Machine::start_forgetful(lived_in(), forgets), 0, usize::MAX, 0);
        assert!(with.violations.is_empty() && without.violations.is_empty(), "{:?}", without.violations);
        let share = |explored: &Explored| explored.new * 100 / explored.states;
        assert!(share(&with) > share(&without), "{} and {} of a hundred", share(&with), share(&without));
    });
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
    update(&tree_on(&machine), &old, &new).expect("an update");
    let found = machine.disk().snapshot(Base::Tree);
    assert_eq!(found["Docs/readme"], "644 same", "{found:?}");
    assert_eq!(found["tool"], "755 two", "{found:?}");
    assert!(!found.contains_key("Tool") && !found.contains_key("Docs/ReadMe"), "{found:?}");
    for (k, moment) in machine.noted().iter().enumerate() {
        for (c, cut) in power_cuts(moment, 6, k as u64).into_iter().enumerate() {
            let machine = Machine::start(cut);
            let recovered = recover(&tree_on(&machine)).unwrap_or_else(|e| panic!("change {k}, cut {c}: {e}"));
            let found = machine.disk().snapshot(Base::Tree);
            let content =
                |name: &str| found.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, shown)| shown.as_str());
            assert_eq!(content("docs/readme"), Some("644 same"), "change {k}, cut {c}: {found:?}");
            let tool = if matches!(recovered, Recovery::RolledBack(_)) {
                "755 one"
            } else {
                content("tool").unwrap_or("none")
            };
            assert!(["755 one", "755 two"].contains(&tool), "change {k}, cut {c}: {found:?}");
            assert_eq!(content("tool"), Some(tool), "change {k}, cut {c}: {recovered:?} {found:?}");
            assert_eq!(found.len(), 4, "change {k}, cut {c}: {found:?}");
        }
    }
}
