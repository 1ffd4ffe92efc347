//! What the user wrote is there after any history of updates, heals, ways back and his own changes, cut off or not.
//!
//! A few releases full of things that get in each other's way are published once: files that become directories and back,
//! names that differ in case alone, modes, links, empty directories, files the user may edit. Then random histories: the user
//! writes, deletes, renames and puts directories where files should be; the client updates, heals, goes back, confirms, and
//! every third time it ends in the middle. After each step every byte the user wrote and did not take away himself must
//! still be in the tree or in what was kept, and all that he did not touch must be as released.
//!
//! `LAMPLIGHTER_SEED=n` runs one history alone and tells its steps; `LAMPLIGHTER_HISTORIES=10000` is the long form.

#![allow(clippy::print_stdout, reason = "one history is told step by step")]

#[path = "../../client/tests/support/scoreboard.rs"]
mod scoreboard;
#[allow(dead_code, reason = "shared with other tests")]
#[path = "../../client/tests/support/tree_fs.rs"]
mod tree_fs;
#[path = "support/world.rs"]
mod world;

mod user_files {
    pub(crate) mod history;
    pub(crate) mod releases;
    pub(crate) mod user;
    use super::{tree_fs, world};
}

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use user_files::history::{History, Tally};
use user_files::releases::Releases;

/// Histories in the short form.
const HISTORIES: u64 = 1_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn every_byte_the_user_wrote_is_there_after_any_history() {
    let releases = Releases::published();
    if let Some(seed) = number("LAMPLIGHTER_SEED") {
        History::run(&releases, seed, true);
        return;
    }
    let (histories, next) = (number("LAMPLIGHTER_HISTORIES").unwrap_or(HISTORIES), AtomicU64::new(0));
    let worker = || {
        let mut tally = Tally::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= histories {
                return tally;
            }
            tally.add(&History::run(&releases, seed, false));
        }
    };
    let tally = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..3).map(|_| scope.spawn(worker)).collect();
        let mut tally = Tally::default();
        workers.into_iter().for_each(|worker| tally.add(&worker.join().expect("no history fails")));
        tally
    });
    let Tally { steps, cut_off, written, kept, .. } = tally;
    let figures = json!({ "histories": histories, "steps": steps, "cut_off": cut_off, "files_written_by_the_user": written,
        "set_aside": kept, "lost": 0 });
    scoreboard::note("user-files", figures);
    for (what, count) in [("updates", tally.updates), ("heals", tally.heals), ("ways back", tally.ways_back)] {
        assert!(count > histories / 10, "{what}: {count}");
    }
    assert!(cut_off > histories / 2 && kept > histories / 4, "{cut_off} cut off, {kept} set aside");
}
