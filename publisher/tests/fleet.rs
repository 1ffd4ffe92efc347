//! Months in the life of a fleet, many times over: the client's real trust, plan, download and tree code on model disks,
//! a network in memory and a clock that jumps.
//!
//! Each seed is one history: releases, roll-outs, halts, bad builds, reverts and new keys on one side; on the other,
//! devices that are started, lose power, run out of space, are lied to, and whose clocks and users do as they please.
//! After every start the disk is judged ([`judge`]). `LAMPLIGHTER_SEEDS` says how many seeds, `LAMPLIGHTER_SEEDS_FROM` which is the
//! first, `LAMPLIGHTER_SEED` runs one and shows all of it. The figures go to `target/scoreboard/simulation-<first>.json`.

#![allow(clippy::print_stdout, reason = "a seed is told, and what failed")]

#[path = "fleet/device.rs"]
mod device;
#[path = "fleet/dice.rs"]
mod dice;
#[path = "fleet/judge.rs"]
mod judge;
#[path = "../../client/tests/support/keys.rs"]
mod keys;
#[path = "fleet/network.rs"]
mod network;
#[path = "fleet/outage.rs"]
mod outage;
#[path = "fleet/publisher.rs"]
mod publisher;
#[path = "fleet/releases.rs"]
mod releases;
#[path = "../../client/tests/support/scoreboard.rs"]
mod scoreboard;
#[path = "fleet/simulation.rs"]
mod simulation;
#[allow(dead_code, reason = "shared with other tests")]
#[path = "../../client/tests/support/tree_model.rs"]
mod tree_model;
#[path = "fleet/tree_view.rs"]
mod tree_view;
#[path = "support/world.rs"]
mod world;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use judge::Kind;
use simulation::{Figures, Lived, live};

/// Seeds of the short form.
const SEEDS: u64 = 1000;
/// Failing seeds that are told.
const TOLD: usize = 10;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Lives through one seed, with nothing beside it: one thread, a directory of its own.
fn lived(seed: u64) -> Lived {
    // Where it can be had, in memory: nothing of it is to last.
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let dir = dir.expect("a directory");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool");
    pool.install(|| live(seed, dir.path()))
}

/// Lives through the seeds, on all processors; gives the figures and the seeds that failed, with what was found first.
fn all(seeds: std::ops::Range<u64>) -> (Figures, Vec<(u64, String)>) {
    let next = AtomicU64::new(seeds.start);
    let sum = Mutex::new((Figures::default(), Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    // What panics is named, too.
                    let lived = std::panic::catch_unwind(|| lived(seed))
                        .unwrap_or_else(|_| panic!("LAMPLIGHTER_SEED={seed} panicked"));
                    let mut sum = sum.lock().expect("no panic");
                    sum.0.add(&lived.figures);
                    sum.1.extend(lived.violations.first().map(|v| (seed, format!("{:?}: {}", v.kind, v.text))));
                }
            });
        }
    });
    let (figures, mut failed) = sum.into_inner().expect("no panic");
    failed.sort();
    (figures, failed)
}

fn as_json(figures: &Figures) -> serde_json::Value {
    let hours = |seconds: i64| (seconds as f64 / 360.0).round() / 10.0;
    serde_json::json!({
        "seeds": figures.seeds,
        "simulated_days": figures.seconds / 86_400,
        "starts": figures.starts,
        "updates": figures.updates,
        "rollbacks": figures.rollbacks,
        "crashes": figures.crashes,
        "releases": figures.releases,
        "rotations": figures.rotations,
        "halts": figures.halts,
        "requests": figures.requests,
        "faulty_requests": figures.faulty_requests,
        "violations": figures.violations.values().sum::<u64>(),
        "mixed_trees": figures.of(Kind::MixedTree),
        "wrong_bytes": figures.of(Kind::WrongBytes),
        "lost_user_files": figures.of(Kind::LostUserFile),
        "went_back": figures.of(Kind::WentBack),
        "forbidden_installs": figures.of(Kind::Forbidden),
        "clients_stuck": figures.of(Kind::Stuck),
        "installs_after_halt": figures.installed_after_halt,
        "halt_to_last_install_hours": hours(figures.halt_seconds),
        "halt_to_last_install_hours_staged_or_wrong_clock": hours(figures.halt_seconds_otherwise),
    })
}

#[test]
fn a_fleet_lives_through_months_without_a_mixed_tree_or_a_stuck_client() {
    if let Some(seed) = number("LAMPLIGHTER_SEED") {
        let lived = lived(seed);
        println!("{}", lived.trace.join("\n"));
        assert!(lived.violations.is_empty(), "seed {seed}: {:#?}", lived.violations);
        return;
    }
    let from = number("LAMPLIGHTER_SEEDS_FROM").unwrap_or(0);
    let (figures, failed) = all(from..from + number("LAMPLIGHTER_SEEDS").unwrap_or(SEEDS));
    let line = as_json(&figures);
    scoreboard::note(&format!("simulation-{from}"), line.clone());
    let told: Vec<String> =
        failed.iter().take(TOLD).map(|(seed, text)| format!("LAMPLIGHTER_SEED={seed}: {text}")).collect();
    assert!(failed.is_empty(), "{} of {} seeds failed:\n{}", failed.len(), figures.seeds, told.join("\n"));
    // Seeds in which nothing happens would prove nothing.
    let per_seed = |count: u64| count / figures.seeds;
    assert!(per_seed(figures.updates) > 3 && per_seed(figures.crashes) > 1, "{line}");
}

#[test]
fn a_seed_replays_exactly() {
    for seed in [3, 4] {
        let (one, two) = (lived(seed), lived(seed));
        for (line, (one, two)) in one.trace.iter().zip(&two.trace).enumerate() {
            assert_eq!(one, two, "seed {seed}, event {line}");
        }
        assert_eq!(one.trace.len(), two.trace.len());
    }
}
