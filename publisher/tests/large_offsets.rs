//! Old content of more bytes than 31 and 32 bits count: places on both sides of the borders are found again.
//!
//! `LONG=1 cargo test --test large_offsets` also makes patches of such content, which reads it whole several times.

#[path = "support/unit.rs"]
mod unit;

use std::collections::BTreeMap;
use std::io::{self, Cursor, Write};

use lamplighter_client::format::pack::codec::STORED;
use lamplighter_client::format::pack::wire::put_varint;
use lamplighter_client::format::pack::{PLAIN, Unit};
use lamplighter_client::patch::control::{Triple, put_triples};
use lamplighter_client::patch::{OldBytes, UnitDecoder};
use lamplighter_publisher::diff::{Effort, Files, Side, encode};

/// Zeros with islands of other bytes.
#[derive(Debug, Clone, Default)]
struct Sparse {
    length: u64,
    islands: BTreeMap<u64, Vec<u8>>,
}

impl OldBytes for Sparse {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset + buffer.len() as u64;
        if end > self.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer.fill(0);
        for (start, island) in self.islands.range(..end) {
            let (from, to) = (offset.max(*start), end.min(start + island.len() as u64));
            if from < to {
                let bytes = &island[(from - start) as usize..(to - start) as usize];
                buffer[(from - offset) as usize..(to - offset) as usize].copy_from_slice(bytes);
            }
        }
        Ok(())
    }
}

/// Checks what is written against a sparse content.
struct Check {
    expected: Sparse,
    at: u64,
}

impl Write for Check {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut expected = vec![0; bytes.len()];
        self.expected.read_at(self.at, &mut expected)?;
        assert!(expected == bytes, "new differs behind {}", self.at);
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..length).map(next).collect()
}

const BORDERS: [u64; 3] = [1 << 31, 1 << 32, 3 << 32];

/// An island across each border.
fn borders(length: u64) -> Sparse {
    let inside = BORDERS.into_iter().filter(|border| border + 200_000 < length);
    let islands = inside.map(|border| (border - 100_000, noise(border, 200_000))).collect();
    Sparse { length, islands }
}

fn plain(blocks: usize) -> Unit {
    Unit {
        method: PLAIN,
        parameters: Vec::new(),
        codecs: vec![STORED; 4],
        blocks: 0..blocks,
        old_rows: vec![0],
        new_rows: vec![0],
    }
}

/// A block of copies, each from a place in old.
fn copies(places: &[(u64, u64)]) -> Vec<u8> {
    let ends = places.iter().skip(1).map(|place| place.0).chain([0]);
    let mut first = Triple { diff: 0, extra: 0, seek: places[0].0 as i64 };
    let mut triples = vec![std::mem::take(&mut first)];
    for ((start, length), next) in places.iter().zip(ends) {
        triples.push(Triple { diff: *length, extra: 0, seek: next as i64 - (start + length) as i64 });
    }
    let control = put_triples(&triples);
    let mut payload = Vec::new();
    put_varint(&mut payload, control.len() as u64);
    payload.extend_from_slice(&control);
    payload.extend_from_slice(&[0; 3]);
    payload
}

#[test]
fn copies_from_beyond_32_bits_are_made() {
    let mut old = borders(4 << 32);
    let places: Vec<(u64, u64)> =
        BORDERS.iter().flat_map(|border| [(border - 70_000, 90_000), (border - 1, 2), (border - 5, 5)]).collect();
    let mut expected = Vec::new();
    for (start, length) in &places {
        let mut bytes = vec![0; *length as usize];
        old.read_at(*start, &mut bytes).expect("read");
        expected.extend(bytes);
    }
    let scratch = Cursor::new(Vec::new());
    let mut decoder = UnitDecoder::new(&plain(1), old.length, expected.len() as u64, scratch).expect("readable");
    let mut new = Vec::new();
    decoder.block(&copies(&places), &mut old, &mut new).expect("decoded");
    decoder.finish().expect("whole");
    assert!(new == expected);
}

#[test]
fn what_lies_on_a_border_is_the_end_of_old() {
    for length in [(1u64 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 32) + 1] {
        let mut old = Sparse { length, islands: BTreeMap::from([(length - 9, b"lanterns!".to_vec())]) };
        for (places, fits) in [([(length - 9, 9)], true), ([(length - 9, 10)], false), ([(length, 1)], false)] {
            let scratch = Cursor::new(Vec::new());
            let mut decoder = UnitDecoder::new(&plain(1), length, places[0].1, scratch).expect("readable");
            let mut new = Vec::new();
            let decoded = decoder.block(&copies(&places), &mut old, &mut new);
            assert_eq!(decoded.is_ok(), fits, "{places:?} of {length}");
            assert!(!fits || new == b"lanterns!");
        }
    }
}

/// Makes a patch and checks what a client makes of it.
fn prove(old: &Sparse, new: &Sparse, blocks_max: usize) {
    let (mut old_bytes, mut new_bytes) = (old.clone(), new.clone());
    let old_side = Side { length: old.length, bytes: &mut old_bytes };
    let new_side = Side { length: new.length, bytes: &mut new_bytes };
    let mut blocks = Vec::new();
    let encoded = encode(old_side, new_side, &Files::default(), Effort::new(1), &mut blocks).expect("encoded");
    assert!(blocks.len() <= blocks_max, "{} bytes", blocks.len());
    let patch = unit::Patch { encoded, blocks };
    let scratch = Cursor::new(Vec::new());
    let mut decoder = UnitDecoder::new(&patch.unit(), old.length, new.length, scratch).expect("readable");
    let mut check = Check { expected: new.clone(), at: 0 };
    for payload in patch.payloads() {
        decoder.block(payload, &mut old_bytes, &mut check).expect("decoded");
    }
    decoder.finish().expect("whole");
    assert_eq!(check.at, new.length);
}

#[test]
fn patches_across_the_borders_are_made_and_applied() {
    if std::env::var_os("LONG").is_none() {
        // The same in small: an island in the middle of zeros that moves.
        let sparse = |at, length| Sparse { length, islands: BTreeMap::from([(at, noise(1, 200_000))]) };
        return prove(&sparse(1 << 20, 3 << 20), &sparse((1 << 20) + 7, (3 << 20) + 9), 2_000);
    }
    for length in [(1u64 << 31) + 300_000, (1 << 32) + 300_000] {
        let old = borders(length);
        let mut new = old.clone();
        let last = new.islands.values_mut().last().expect("an island");
        last.splice(50_000..50_100, noise(9, 150));
        new.length += 50;
        prove(&old, &new, 20_000);
    }
}
