//! Every fault a network can have, for every kind of file, at the first, the middle and the last request: after each the
//! update has arrived, or an error says by its code what was wrong and nothing has changed; and as soon as the server is
//! itself again, the next update arrives.
//!
//! | row | fault |
//! | --- | --- |
//! | N1 | nobody there |
//! | N2 | the connection is reset |
//! | N3 | it is closed early |
//! | N4 | a body too long |
//! | N5 | a wrong length announced |
//! | N6 | silence |
//! | N7 | a trickle |
//! | N8 | a body encoded |
//! | N9 | a body "optimised" |
//! | N10 | 200 for a range |
//! | N11 | another range |
//! | N12 | 416 |
//! | N13 | validators that change |
//! | N14 | 304 |
//! | N15 | an edge that lags behind |
//! | N16 | edges of two releases |
//! | N17 | missing and refused files |
//! | N18 | the end of the chain of roots |
//! | N19 | a server in trouble |
//! | N20 | redirects |
//! | N21 | TLS |
//! | N22 | log-in pages |
//! | N23 | bad HTTP |
//! | N24 | more than one answer |
//! | N25 | dual stack |
//! | N26 | proxies |
//! | N27 | sleep and another network |
//! | N28 | flipped bits |
//! | N29 | a full disk |
//! | N30 | a torn upload |
//!
//! Each fault has several forms, of which two meet each kind of file at each time; `LAMPLIGHTER_ALL=1` lets all of them.
//! `LAMPLIGHTER_CASE=123` runs one case and prints what was asked for; `LAMPLIGHTER_SEED=7` draws other numbers by chance.
//! Then come storms, in which any file meets any faults: of them nothing is known but what must never be.

#![allow(clippy::print_stdout, reason = "what was tried is told with the result")]

#[path = "../../client/tests/support/hostile.rs"]
mod hostile;
#[path = "../../client/tests/support/scoreboard.rs"]
mod scoreboard;
#[path = "../../client/tests/support/tls.rs"]
mod tls;
#[path = "support/world.rs"]
mod world;

mod network {
    pub(crate) mod faults;
    pub(crate) mod scene;
    pub(crate) use super::{hostile, tls, world};
}

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use network::faults::{Facts, Row, excluded, rows};
use network::scene::{Kind, PATIENT, Run, Scene, When};
use scoreboard::note;
use serde_json::json;

/// Cases at once; most of their time they wait.
const WORKERS: usize = 8;

/// Forms of a fault that meet one kind of file at one time, unless all are asked for.
const FORMS: usize = 2;

/// One fault, at one kind of file, at one time.
struct Case<'a> {
    row: &'a Row,
    kind: Kind,
    when: When,
}

impl Case<'_> {
    fn run(&self, scene: &Scene, number: usize, seed: u64) -> Run {
        let name = scene.name(self.kind, self.when);
        let mut dice = dice(seed, number);
        let file = scene.bytes(name);
        let mut facts =
            Facts { file: &file, older: scene.older(self.kind), name, is_open: self.kind.is_open(), dice: &mut dice };
        scene.update(self.kind, self.when, self.row.silence, (self.row.make)(&mut facts))
    }
}

/// Numbers below what is asked for, that look random and are the same every time.
fn dice(seed: u64, number: usize) -> impl FnMut(usize) -> usize {
    let mut random = blake3::Hasher::new().update(&seed.to_le_bytes()).update(&number.to_le_bytes()).finalize_xof();
    move |end: usize| {
        let mut bytes = [0; 8];
        random.fill(&mut bytes);
        (u64::from_le_bytes(bytes) % end as u64) as usize
    }
}

/// Whether `found` is one of the words, or one of them said at more length.
fn is_one_of(found: &str, words: &str) -> bool {
    words.split('|').any(|word| found == word || found.strip_prefix(word).is_some_and(|rest| rest.starts_with(' ')))
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// Every form of every fault for every kind at every time, but for those that make no sense: those are counted by reason.
fn cases(rows: &[Row]) -> (Vec<Case<'_>>, BTreeMap<(u32, &'static str), usize>) {
    let mut cases = Vec::new();
    let mut left_out: BTreeMap<(u32, &str), usize> = BTreeMap::new();
    for row in rows {
        for (kind, when) in Kind::ALL.into_iter().flat_map(|kind| When::ALL.map(|when| (kind, when))) {
            match excluded(row.number, kind, when) {
                None => cases.push(Case { row, kind, when }),
                Some(reason) => *left_out.entry((row.number, reason)).or_default() += 1,
            }
        }
    }
    // These have no server to fail, and so no row.
    for number in [25, 29] {
        let reason = excluded(number, Kind::Head, When::First).expect("a reason");
        left_out.insert((number, reason), Kind::ALL.len() * When::ALL.len());
    }
    (cases, left_out)
}

/// Whether it is the turn of this form of its fault.
fn is_chosen(case: &Case<'_>, rows: &[Row]) -> bool {
    let forms: Vec<_> = rows.iter().filter(|row| row.number == case.row.number).map(|row| &row.name).collect();
    let form = forms.iter().position(|name| **name == case.row.name).expect("one of them");
    let place = case.kind as usize * When::ALL.len() + case.when as usize;
    (form + forms.len() - (place * FORMS) % forms.len()) % forms.len() < FORMS
}

#[test]
fn every_fault_is_survived_or_named_and_changes_nothing() {
    let (only, seed) = (from_environment("LAMPLIGHTER_CASE"), from_environment("LAMPLIGHTER_SEED").unwrap_or(1));
    let all = from_environment("LAMPLIGHTER_ALL").is_some() || only.is_some();
    let begun = Instant::now();
    let (rows, scene) = (rows(), Scene::new());
    let (cases, left_out) = cases(&rows);
    let chosen = |case: &&Case<'_>| all || is_chosen(case, &rows);
    let count = cases.iter().filter(chosen).count();
    let failures = Mutex::new(BTreeMap::new());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(number) else { return };
                    if only.is_some_and(|only| only != number as u64) || !chosen(&case) {
                        continue;
                    }
                    let run = case.run(&scene, number, seed);
                    let expected = case.row.expected(case.kind, case.when);
                    let what =
                        format!("{number}: N{} {}, {:?}, {:?}", case.row.number, case.row.name, case.kind, case.when);
                    if only.is_some() {
                        println!("{what}: expected {expected}\n{run}");
                    }
                    if !is_one_of(&run.first, expected) || !run.wrong.is_empty() {
                        failures
                            .lock()
                            .expect("no panic")
                            .insert(number, format!("{what}: expected {expected}, found {run}"));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no panic");
    for ((number, reason), count) in &left_out {
        println!("N{number}: {count} left out: {reason}");
    }
    let (failed, seconds) = (failures.len(), begun.elapsed().as_secs_f64());
    println!(
        "{count} of {} cases of {} forms of 30 faults in {seconds:.1} s, {failed} failed",
        cases.len(),
        rows.len()
    );
    if only.is_none() {
        note("network-faults", json!({ "cases": count, "forms": rows.len(), "failed": failed }));
    }
    assert!(failures.is_empty(), "{failed} of {count} failed:\n{}", failures.into_values().collect::<String>());
    let covered: BTreeSet<u32> = cases.iter().map(|case| case.row.number).collect();
    let without: Vec<u32> = (1..=30).filter(|number| !covered.contains(number)).collect();
    assert_eq!(without, [25, 29], "these have no case here, for the reasons given in the table");
}

/// Updates with one or two faults at half of all files.
const STORMS: usize = 300;

#[test]
fn whatever_faults_come_together_there_is_one_release_or_the_other() {
    let (only, seed) = (from_environment("LAMPLIGHTER_STORM"), from_environment("LAMPLIGHTER_SEED").unwrap_or(1));
    let storms = if from_environment("LAMPLIGHTER_ALL").is_some() { STORMS * 20 } else { STORMS };
    // Silence takes time, and has cases of its own.
    let rows: Vec<Row> = rows().into_iter().filter(|row| row.silence == PATIENT).collect();
    let scene = Scene::new();
    let (next, words, failures) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= storms {
                        return;
                    }
                    if only.is_some_and(|only| only != number as u64) {
                        continue;
                    }
                    let run = storm(&scene, &rows, seed, number);
                    if only.is_some() {
                        println!("{run}");
                    }
                    *words.lock().expect("no panic").entry(run.first.clone()).or_insert(0) += 1;
                    if !run.wrong.is_empty() {
                        failures.lock().expect("no panic").insert(number, format!("storm {number}: {run}"));
                    }
                }
            });
        }
    });
    let (words, failures) = (words.into_inner().expect("no panic"), failures.into_inner().expect("no panic"));
    println!("{storms} storms, {} failed: {words:?}", failures.len());
    assert!(failures.is_empty(), "{}", failures.into_values().collect::<String>());
    let whole = words.get("whole").copied().unwrap_or(0);
    assert!(only.is_some() || (whole * 20 > storms && words.len() > 5), "neither all calm nor all lost: {words:?}");
    if only.is_none() {
        note("network-storms", json!({ "storms": storms, "whole": whole, "failed": 0 }));
    }
}

fn storm(scene: &Scene, rows: &[Row], seed: u64, number: usize) -> Run {
    let mut dice = dice(seed ^ 0x5707_1234, number);
    let by_pack = dice(2) == 0;
    let mut faults = Vec::new();
    for (kind, name) in scene.files() {
        let mut of_file = Vec::new();
        for _ in 0..dice(4).saturating_sub(1) {
            let row = &rows[dice(rows.len())];
            let file = scene.bytes(name);
            let is_open = kind.is_open();
            let mut facts = Facts { file: &file, older: scene.older(kind), name, is_open, dice: &mut dice };
            of_file.extend((row.make)(&mut facts));
        }
        faults.push((name.to_owned(), of_file));
    }
    scene.storm(by_pack, faults)
}
