//! The threats a client must withstand, row by row: every case does one thing an attacker, a broken mirror or a careless
//! publisher does, and names what must come of it. No case waits: clocks are numbers.
//!
//! | row | threat |
//! | --- | --- |
//! | A1 | software nobody authorised |
//! | A2 | a staged file swapped between check and use |
//! | A3 | bytes that no check covers |
//! | A4 | older signed documents replayed |
//! | A5 | lost or edited local state |
//! | A6 | an old head served for ever |
//! | A7 | counters driven to their end |
//! | A8 | clocks that run ahead or behind |
//! | A9 | data without end |
//! | A10 | data that never comes |
//! | A11 | parts of different releases mixed |
//! | A12 | another app, platform or channel |
//! | A13 | a stolen channel key |
//! | A14 | stolen release and root keys, rotation |
//! | A15 | thresholds counted wrong |
//! | A16 | weak keys, malleable signatures, other kinds of signature |
//! | A17 | bad releases: rollout, halt, bad builds |
//! | A18 | lying mirrors |
//! | A19 | login pages of a network |
//! | A20 | digests cut short or spelled otherwise |
//! | A21 | tricks with the grammar |
//! | A22 | the publisher's machine: a site anybody can build again |
//! | B1 | paths that leave the tree |
//! | B2 | names Windows takes for something else |
//! | B3 | names that collide |
//! | B4 | links in the tree |
//! | B5 | modes |
//! | B6 | content that unpacks without end |
//! | B7 | malformed patches |
//! | B8 | a base file that is not what was released |
//! | B9 | files of the user |

#![allow(clippy::print_stdout, reason = "what was tried is told with the result")]

#[path = "../../client/tests/support/documents.rs"]
mod documents;
#[path = "../../client/tests/support/frozen.rs"]
mod frozen;
#[path = "../../client/tests/support/hostile.rs"]
mod hostile;
#[path = "../../client/tests/support/keys.rs"]
mod keys;
#[path = "../../client/tests/support/scoreboard.rs"]
mod scoreboard;
#[path = "support/world.rs"]
mod world;

mod threats {
    pub(crate) mod authority;
    pub(crate) mod content;
    pub(crate) mod freshness;
    pub(crate) mod grammar;
    pub(crate) mod network;
    pub(crate) mod paths;
    pub(crate) mod scene;
    pub(crate) mod signatures;
    pub(crate) mod tree;
    use super::{documents, frozen, hostile, keys, world};
}

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::json;

/// One case; it says what was wrong.
struct Case {
    row: &'static str,
    name: String,
    run: Box<dyn FnOnce() -> Result<(), String> + Send>,
}

/// Cases as they are collected.
#[derive(Default)]
struct Table(Vec<Case>);

impl Table {
    /// A case that runs code of its own.
    fn run(
        &mut self,
        row: &'static str,
        name: impl Into<String>,
        run: impl FnOnce() -> Result<(), String> + Send + 'static,
    ) {
        self.0.push(Case { row, name: name.into(), run: Box::new(run) });
    }

    /// A case that compares what came of it in a word.
    fn expect(
        &mut self,
        row: &'static str,
        name: impl Into<String>,
        expected: &str,
        run: impl FnOnce() -> String + Send + 'static,
    ) {
        let expected = expected.to_owned();
        self.run(row, name, move || {
            let found = run();
            if found == expected { Ok(()) } else { Err(format!("expected {expected}, found {found}")) }
        });
    }

    /// A case that must be true.
    fn holds(&mut self, row: &'static str, name: impl Into<String>, run: impl FnOnce() -> bool + Send + 'static) {
        self.run(row, name, move || if run() { Ok(()) } else { Err("it does not hold".into()) });
    }
}

#[test]
fn every_row_of_the_threats_is_withstood() {
    let mut table = Table::default();
    threats::authority::cases(&mut table);
    threats::signatures::cases(&mut table);
    threats::freshness::cases(&mut table);
    threats::grammar::cases(&mut table);
    threats::network::cases(&mut table);
    threats::paths::cases(&mut table);
    threats::content::cases(&mut table);
    threats::tree::cases(&mut table);

    let begun = Instant::now();
    let mut rows: BTreeMap<(u8, u32), (usize, f64)> = BTreeMap::new();
    let mut failures = Vec::new();
    let count = table.0.len();
    for case in table.0 {
        let start = Instant::now();
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(case.run));
        let number = case.row[1..].parse().expect("a number");
        let row = rows.entry((case.row.as_bytes()[0], number)).or_default();
        *row = (row.0 + 1, row.1 + start.elapsed().as_secs_f64());
        match found {
            Ok(Ok(())) => {}
            Ok(Err(why)) => failures.push(format!("{} {}: {why}", case.row, case.name)),
            Err(_) => failures.push(format!("{} {}: it panicked", case.row, case.name)),
        }
    }
    for ((letter, number), (cases, seconds)) in &rows {
        println!("{}{number}: {cases} cases, {seconds:.2} s", char::from(*letter));
    }
    println!("{count} cases in {:.1} s, {} failed", begun.elapsed().as_secs_f64(), failures.len());
    scoreboard::note("threats", json!({ "rows": rows.len(), "cases": count, "failed": failures.len() }));
    assert!(failures.is_empty(), "{} of {count} failed:\n{}", failures.len(), failures.join("\n"));
    let expected: Vec<_> = (1..=22).map(|n| (b'A', n)).chain((1..=9).map(|n| (b'B', n))).collect();
    assert_eq!(rows.keys().copied().collect::<Vec<_>>(), expected, "every row has cases");
}
