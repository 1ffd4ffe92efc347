//! Replays the committed corpora of `fuzz/` through what is fuzzed.
//!
//! `BLESS=1 cargo test --test corpora` writes seeds that are missing, from the golden files.

#[path = "support/frozen.rs"]
mod frozen;
#[path = "support/fuzzed.rs"]
mod fuzzed;

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use frozen::Frozen;
use fuzzed::{TARGETS, stream_input, unit_input};
use lamplighter_client::format::pack::PLAIN;
use lamplighter_client::format::pack::codec::ZstdEncoder;
use lzma_rust2::{Lzma2Options, Lzma2Writer};

fn corpus(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target)
}

/// Inputs that are worth something, by target.
fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    let mut seeds = Vec::new();
    let headers = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/formats/pack/v1");
    for kind in ["good", "bad"] {
        for entry in fs::read_dir(headers.join(kind)).expect("a folder") {
            let entry = entry.expect("an entry");
            let bytes = fs::read(entry.path()).expect("read");
            if bytes.len() < 2000 {
                seeds.push(("pack_header", format!("{kind}-{}", entry.file_name().to_string_lossy()), bytes));
            }
        }
    }
    for name in frozen::names() {
        let frozen = Frozen::read(&name);
        // Lengths in inputs have 16 bits.
        if frozen.old.len() < 1 << 16 {
            let target = if frozen.unit.method == PLAIN { "plain_unit" } else { "references_unit" };
            let input = unit_input(frozen.new_length as usize, &frozen.old, &frozen.pieces());
            seeds.push((target, name.clone(), input));
        }
        if frozen.unit.method != PLAIN {
            seeds.push(("image_scan", name, frozen.old));
        }
    }
    seeds.push(("zstd_stream", "three-pieces".into(), stream_input(&streams(zstd_pieces()))));
    seeds.push(("lzma_stream", "three-pieces".into(), stream_input(&streams(lzma_pieces()))));
    seeds
}

fn texts() -> [Vec<u8>; 3] {
    [b"lantern ".repeat(30), b"wick and flame ".repeat(9), (0..=255).collect()]
}

fn streams(stored: Vec<Vec<u8>>) -> Vec<(usize, Vec<u8>)> {
    texts().iter().map(Vec::len).zip(stored).collect()
}

fn zstd_pieces() -> Vec<Vec<u8>> {
    let mut encoder = ZstdEncoder::new(3, &[], None).expect("an encoder");
    texts().iter().map(|text| encoder.piece(text).expect("encoded")).collect()
}

fn lzma_pieces() -> Vec<Vec<u8>> {
    let mut options = Lzma2Options::with_preset(1);
    options.lzma_options.dict_size = 1 << 16;
    let mut encoder = Lzma2Writer::new(vec![16u8], options);
    let mut piece = |text: &Vec<u8>| {
        encoder.write_all(text).and_then(|()| encoder.flush()).expect("encoded");
        std::mem::take(encoder.inner_mut())
    };
    texts().iter().map(&mut piece).collect()
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
        let files = fs::read_dir(corpus(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut count = 0;
        for file in files {
            target(&fs::read(file.expect("an entry").path()).expect("read"));
            count += 1;
        }
        assert!(count > 0, "{name} has no corpus");
    }
}

#[test]
fn seeds_and_all_their_prefixes_are_survived() {
    for (name, seed, bytes) in seeds() {
        let target = TARGETS.iter().find(|target| target.0 == name).expect("a target").1;
        let step = bytes.len() / 200 + 1;
        (0..bytes.len()).step_by(step).for_each(|end| target(&bytes[..end]));
        assert!(!bytes.is_empty(), "{seed}");
    }
}
