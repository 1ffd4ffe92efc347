//! One unit, from its two sides to blocks and back.

// Each test file takes what it needs.
#![allow(dead_code, unreachable_pub)]

use std::io;
use std::ops::Range;

use lamplighter_client::format::pack::Unit;
use lamplighter_client::patch::{PatchError, PieceDecoder, UnitDecoder};
use lamplighter_publisher::diff::{Effort, Encoded, Files, Side, encode};

/// A patch and its blocks.
pub struct Patch {
    pub encoded: Encoded,
    pub blocks: Vec<u8>,
}

/// Files that follow each other on both sides, the first of new made from the first of old and so on.
pub fn files(old: &[usize], new: &[usize]) -> Files {
    let ranges = |lengths: &[usize]| -> Vec<Range<u64>> {
        let mut at = 0;
        let range = |length: &usize| {
            at += *length as u64;
            at - *length as u64..at
        };
        lengths.iter().map(range).collect()
    };
    let twins = (0..new.len()).map(|index| (index < old.len()).then_some(index)).collect();
    Files { old: ranges(old), new: ranges(new), twins }
}

/// Encodes with images where they are found.
pub fn diff(old: &[u8], new: &[u8], effort: u8) -> Patch {
    diff_files(old, new, &files(&[old.len()], &[new.len()]), effort)
}

/// Encodes by method plain.
pub fn diff_plain(old: &[u8], new: &[u8], effort: u8) -> Patch {
    diff_files(old, new, &Files::default(), effort)
}

pub fn diff_files(mut old: &[u8], mut new: &[u8], files: &Files, effort: u8) -> Patch {
    let (old_length, new_length) = (old.len() as u64, new.len() as u64);
    let old = Side { length: old_length, bytes: &mut old };
    let new = Side { length: new_length, bytes: &mut new };
    let mut blocks = Vec::new();
    let encoded = encode(old, new, files, Effort::new(effort), &mut blocks).expect("encoded");
    Patch { encoded, blocks }
}

impl Patch {
    pub fn bytes(&self) -> usize {
        self.blocks.len()
    }

    pub fn unit(&self) -> Unit {
        Unit {
            method: self.encoded.method,
            parameters: self.encoded.parameters.clone(),
            codecs: self.encoded.codecs.clone(),
            blocks: 0..self.encoded.blocks.len(),
            old_rows: vec![0],
            new_rows: vec![0],
        }
    }

    /// The payload of each block.
    pub fn payloads(&self) -> Vec<&[u8]> {
        let mut rest = self.blocks.as_slice();
        let payload = |length: u64| {
            let (now, later) = rest.split_at(length as usize);
            rest = later;
            now
        };
        self.encoded.blocks.iter().map(|block| block.length).map(payload).collect()
    }

    /// The raw pieces of every block.
    pub fn pieces(&self) -> Vec<Vec<Vec<u8>>> {
        let mut decoder = PieceDecoder::new(&self.encoded.codecs).expect("known codecs");
        self.payloads().into_iter().map(|payload| decoder.decode(payload).expect("pieces")).collect()
    }

    pub fn apply(&self, old: &[u8], new_length: usize) -> Result<Vec<u8>, PatchError> {
        apply(&self.unit(), &self.payloads(), old, new_length)
    }
}

/// Decodes a unit and checks on the way that no more is written than was declared.
pub fn apply(unit: &Unit, payloads: &[&[u8]], mut old: &[u8], new_length: usize) -> Result<Vec<u8>, PatchError> {
    let mut decoder = UnitDecoder::new(unit, old.len() as u64, new_length as u64, io::Cursor::new(Vec::new()))?;
    let mut new = Bounded { bytes: Vec::new(), limit: new_length };
    for payload in payloads {
        decoder.block(payload, &mut old, &mut new)?;
    }
    decoder.finish()?;
    assert_eq!(new.bytes.len(), new_length);
    Ok(new.bytes)
}

struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        assert!(self.bytes.len() <= self.limit, "more was written than declared");
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Encodes, decodes and compares; gives the patch.
pub fn prove(old: &[u8], new: &[u8], effort: u8) -> Patch {
    let patch = diff(old, new, effort);
    let made = patch.apply(old, new.len()).expect("decoded");
    assert!(made == new, "the new bytes differ");
    patch
}
