//! Replays the committed corpora of `fuzz/` through what is fuzzed, and inputs that are made from them: the same ones each
//! time, so that a failure is one again.
//!
//! `BLESS=1 cargo test --test corpora` writes seeds that are missing, from the golden files.

#[path = "support/frozen.rs"]
mod frozen;
#[path = "support/fuzzed.rs"]
mod fuzzed;
#[path = "support/mutator.rs"]
mod mutator;
#[path = "support/scoreboard.rs"]
mod scoreboard;
#[path = "support/seeds.rs"]
mod seeds;

use std::fs;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fuzzed::{TARGETS, Target, decodes};
use lamplighter_client::format::pack::{DEFLATE, PLAIN, REFERENCES};
use mutator::Mutator;
use seeds::seeds;
use serde_json::json;

/// Most bytes of a changed input.
const INPUT_BYTES_MAX: usize = 64 << 10;

/// An input that takes longer hangs.
const HANG: Duration = Duration::from_secs(60);

/// Most memory that all of it may have taken, in KiB.
const MEMORY_KIB_MAX: u64 = 1 << 20;

fn corpus(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target)
}

/// All inputs of a target, in order of their names.
fn inputs(target: &str) -> Vec<Vec<u8>> {
    let files = fs::read_dir(corpus(target)).unwrap_or_else(|error| panic!("{target}: {error}"));
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("an entry").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{target} has no corpus");
    files.iter().map(|file| fs::read(file).expect("read")).collect()
}

#[test]
fn every_input_of_the_corpora_is_survived() {
    if std::env::var_os("BLESS").is_some() {
        for (target, name, bytes) in seeds() {
            fs::create_dir_all(corpus(target)).expect("made");
            fs::write(corpus(target).join(name), bytes).expect("written");
        }
    }
    for (name, target) in TARGETS {
        inputs(name).iter().for_each(|input| target(input));
    }
}

#[test]
fn seeds_and_all_their_prefixes_are_survived() {
    for (name, seed, bytes) in seeds() {
        let target = TARGETS.iter().find(|target| target.0 == name).expect("a target").1;
        let step = bytes.len() / 200 + 1;
        (0..bytes.len()).step_by(step).for_each(|end| target(&bytes[..end]));
        assert!(!bytes.is_empty() || seed.starts_with("bad-nothing"), "{seed}");
    }
}

#[test]
fn seeds_of_units_are_units() {
    for (target, seed, bytes) in seeds() {
        let decoded = match target {
            "plain_unit" => decodes(PLAIN, [4, 4], &bytes),
            "references_unit" => decodes(REFERENCES, [7, 7], &bytes),
            "deflate_unit" => decodes(DEFLATE, [1, 4], &bytes),
            _ => true,
        };
        assert!(decoded, "{target}: {seed}");
    }
}

/// How many changed inputs each target gets: so many that all together take about a minute.
const EXECUTIONS: [(&str, u32); TARGETS.len()] = [
    ("text_records", 100_000),
    ("signed_document", 40_000),
    ("state_files", 25_000),
    ("release_notes", 300_000),
    ("paths", 50_000),
    ("manifest", 200_000),
    ("objects_index", 150_000),
    ("object_frame", 200_000),
    ("journal", 75_000),
    ("pack_header", 300_000),
    ("pack_rebuild", 100_000),
    ("zstd_stream", 150_000),
    ("lzma_stream", 200_000),
    ("plain_unit", 75_000),
    ("references_unit", 75_000),
    ("deflate_unit", 150_000),
    ("image_scan", 40_000),
];

/// What is run now, for whoever notices that it hangs.
type Running = Arc<Mutex<Option<(&'static str, Vec<u8>, Instant)>>>;

/// Where an input that failed is kept.
fn keep(target: &str, input: &[u8]) -> PathBuf {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{target}-failed"));
    fs::write(&file, input).expect("written");
    file
}

/// Ends the process if an input hangs: nothing else can end it.
fn watch(running: Running) {
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let Ok(running) = running.lock() else { return };
        if let Some((target, input, since)) = &*running
            && since.elapsed() > HANG
        {
            let file = keep(target, input);
            let _ = writeln!(std::io::stderr(), "{target} hangs: {}", file.display());
            std::process::abort();
        }
    }
}

fn mutate((name, target): Target, executions: u32, running: &Running) {
    let corpus = inputs(name);
    let mut mutator = Mutator(0);
    for execution in 0..executions {
        let input = mutator.input(&corpus, INPUT_BYTES_MAX);
        *running.lock().expect("a lock") = Some((name, input.clone(), Instant::now()));
        if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
            panic!("{name}: execution {execution} failed with {}", keep(name, &input).display());
        }
    }
}

/// Most memory this process has had, in KiB, where the system tells.
fn memory_kib() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[test]
fn changed_inputs_are_survived_in_bounded_time_and_memory() {
    let running = Running::default();
    let watched = running.clone();
    std::thread::spawn(move || watch(watched));
    for (target, (name, executions)) in TARGETS.into_iter().zip(EXECUTIONS) {
        assert_eq!(target.0, name);
        // The same code decodes everywhere; where another system stands in for it, a part is enough.
        mutate(target, if cfg!(windows) { executions / 10 } else { executions }, &running);
    }
    *running.lock().expect("a lock") = None;
    let executions: u32 = EXECUTIONS.iter().map(|(_, executions)| executions).sum();
    let figures = json!({ "targets": TARGETS.len(), "executions": executions, "failed": 0, "peak_kib": memory_kib() });
    scoreboard::note("corpora", figures);
    assert!(memory_kib().is_none_or(|kib| kib < MEMORY_KIB_MAX), "{:?} KiB", memory_kib());
}
