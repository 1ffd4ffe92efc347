//! Frozen units of `fixtures/formats/unit/v1`.

// Each test file takes what it needs.
#![allow(dead_code, unreachable_pub)]

use std::fs;
use std::io::Cursor;
use std::path::PathBuf;

use lamplighter_client::format::pack::Unit;
use lamplighter_client::format::pack::codec::Algorithm;
use lamplighter_client::patch::{PatchError, PieceDecoder, UnitDecoder};

pub fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/formats/unit/v1").join(name)
}

/// Names of all of them.
pub fn names() -> Vec<String> {
    let entries = fs::read_dir(folder("")).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// One of them.
pub struct Frozen {
    pub unit: Unit,
    pub old: Vec<u8>,
    pub payloads: Vec<Vec<u8>>,
    pub new_length: u64,
    pub new_blake3: String,
}

impl Frozen {
    pub fn read(name: &str) -> Self {
        let file =
            |file: &str| fs::read(folder(name).join(file)).unwrap_or_else(|error| panic!("{name}/{file}: {error}"));
        let text = String::from_utf8(file("unit.csv")).expect("text");
        let cells: Vec<&str> = text.lines().nth(1).expect("a row").split(',').collect();
        let numbers = |cell: &str| -> Vec<u64> { cell.split(' ').map(|n| n.parse().expect("a number")).collect() };
        let blocks = file("blocks");
        let mut at = 0;
        let payload = |length: u64| {
            at += length as usize;
            blocks[at - length as usize..at].to_vec()
        };
        let payloads: Vec<Vec<u8>> = numbers(cells[2]).into_iter().map(payload).collect();
        assert_eq!(at, blocks.len(), "{name}: blocks");
        let unit = Unit {
            method: Algorithm::from_number(numbers(cells[0])[0]),
            parameters: Vec::new(),
            codecs: numbers(cells[1]).into_iter().map(Algorithm::from_number).collect(),
            blocks: 0..payloads.len(),
            old_rows: vec![0],
            new_rows: vec![0],
        };
        Self { unit, old: file("old"), payloads, new_length: numbers(cells[3])[0], new_blake3: cells[4].to_owned() }
    }

    /// The raw pieces of each block.
    pub fn pieces(&self) -> Vec<Vec<Vec<u8>>> {
        let mut decoder = PieceDecoder::new(&self.unit.codecs).expect("known codecs");
        self.payloads.iter().map(|payload| decoder.decode(payload).expect("pieces")).collect()
    }

    pub fn decode(&self) -> Result<Vec<u8>, PatchError> {
        decode(&self.unit, &self.payloads, &self.old, self.new_length)
    }
}

/// Decodes a unit, and checks that no more is written than declared.
pub fn decode(unit: &Unit, payloads: &[Vec<u8>], mut old: &[u8], new_length: u64) -> Result<Vec<u8>, PatchError> {
    let mut decoder = UnitDecoder::new(unit, old.len() as u64, new_length, Cursor::new(Vec::new()))?;
    let mut new = Vec::new();
    for payload in payloads {
        let decoded = decoder.block(payload, &mut old, &mut new);
        assert!(new.len() as u64 <= new_length, "more was written than declared");
        decoded?;
    }
    decoder.finish()?;
    assert_eq!(new.len() as u64, new_length);
    Ok(new)
}
