//! Gathers the symbols of a block, and writes it in the shortest of the three forms of a deflate block.

use std::io::{self, Write};
use std::sync::LazyLock;

use super::Settings;
use super::huffman::{Code, DISTANCES, LENGTHS, LITERALS, build};

const END_OF_BLOCK: usize = 256;
/// Order in which the lengths of the code of lengths are written (RFC 1951, 3.2.7).
const LENGTHS_ORDER: [usize; LENGTHS] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
/// Bits that follow a symbol.
const LENGTH_EXTRA: [u8; 29] = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
const REPEAT_EXTRA: [u8; LENGTHS] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 3, 7];
/// Output gathered before it is passed on.
const OUT_BYTES: usize = 32 << 10;

/// What never changes: the fixed codes, and where the ranges of lengths and distances begin.
struct Tables {
    literals: Code,
    distances: Code,
    /// For each length − 3 the range it is in.
    length_range: [u8; 256],
    length_base: [u16; 29],
    distance_base: [u16; DISTANCES],
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let fixed = |symbol: usize| match symbol {
        144..256 => 9,
        256..280 => 7,
        _ => 8,
    };
    let mut tables = Tables {
        literals: Code::of_lengths((0..288).map(fixed).collect()),
        distances: Code::of_lengths(vec![5; DISTANCES]),
        length_range: [0; 256],
        length_base: [0; 29],
        distance_base: [0; DISTANCES],
    };
    let mut at = 0;
    for (range, extra) in LENGTH_EXTRA[..28].iter().enumerate() {
        tables.length_base[range] = at as u16;
        let end = at + (1 << extra);
        tables.length_range[at..end.min(256)].fill(range as u8);
        at = end;
    }
    // The longest match has a symbol of its own.
    tables.length_base[28] = 255;
    tables.length_range[255] = 28;
    let mut at = 0u32;
    for (range, base) in tables.distance_base.iter_mut().enumerate() {
        *base = at as u16;
        at += 1 << distance_extra(range);
    }
    tables
});

const fn distance_extra(range: usize) -> u8 {
    (range / 2).saturating_sub(1) as u8
}

/// The range a distance − 1 is in: two of them for each power of two.
const fn distance_range(distance: u16) -> usize {
    match distance {
        0..2 => distance as usize,
        _ => {
            let log = distance.ilog2() as usize;
            2 * log + ((distance >> (log - 1)) & 1) as usize
        }
    }
}

/// A literal where the distance is 0, else a reference of this distance and length − 3.
#[derive(Clone, Copy)]
struct Symbol {
    distance: u16,
    value: u8,
}

/// The open block and the output.
pub(super) struct BlockSink<W> {
    symbols: Vec<Symbol>,
    symbols_max: usize,
    literals: [u16; LITERALS],
    distances: [u16; DISTANCES],
    out: BitWriter<W>,
}

impl<W: Write> BlockSink<W> {
    pub(super) fn new(settings: Settings, out: W) -> Self {
        let symbols_max = (1 << (settings.memory_level + 6)) - 1;
        let mut sink = Self {
            symbols: Vec::with_capacity(symbols_max),
            symbols_max,
            literals: [0; LITERALS],
            distances: [0; DISTANCES],
            out: BitWriter { bits: 0, count: 0, bytes: Vec::new(), out },
        };
        sink.literals[END_OF_BLOCK] = 1;
        sink
    }

    /// Takes a byte; true once the block is full.
    pub(super) fn literal(&mut self, byte: u8) -> bool {
        self.literals[usize::from(byte)] += 1;
        self.take(Symbol { distance: 0, value: byte })
    }

    /// Takes a match, of length 3 to 258 and a distance up to 2^15; true once the block is full.
    pub(super) fn reference(&mut self, distance: usize, length: usize) -> bool {
        let (distance, value) = (distance as u16, (length - 3) as u8);
        self.literals[257 + usize::from(TABLES.length_range[usize::from(value)])] += 1;
        self.distances[distance_range(distance - 1)] += 1;
        self.take(Symbol { distance, value })
    }

    fn take(&mut self, symbol: Symbol) -> bool {
        self.symbols.push(symbol);
        self.symbols.len() == self.symbols_max
    }

    /// Writes the block. `text` is what it stands for, where that is still known.
    pub(super) fn end_block(&mut self, text: Option<&[u8]>, is_last: bool) -> io::Result<()> {
        let dynamic = DynamicCodes::build(&self.literals, &self.distances);
        let bytes = |bits: u64| (bits + 3 + 7) >> 3;
        let dynamic_bytes = bytes(dynamic.header_bits() + self.bits_with(&dynamic.literals, &dynamic.distances));
        let fixed_bytes = bytes(self.bits_with(&TABLES.literals, &TABLES.distances));
        let last = u64::from(is_last);
        match text {
            Some(text) if text.len() as u64 + 4 <= dynamic_bytes.min(fixed_bytes) => {
                self.out.put(last, 3);
                self.out.store(text);
            }
            _ if fixed_bytes <= dynamic_bytes => {
                self.out.put(2 + last, 3);
                self.write_symbols(&TABLES.literals, &TABLES.distances)?;
            }
            _ => {
                self.out.put(4 + last, 3);
                dynamic.write(&mut self.out);
                self.write_symbols(&dynamic.literals, &dynamic.distances)?;
            }
        }
        self.symbols.clear();
        (self.literals, self.distances) = ([0; LITERALS], [0; DISTANCES]);
        self.literals[END_OF_BLOCK] = 1;
        if is_last {
            self.out.pad();
        }
        self.out.flush()
    }

    pub(super) fn output(&mut self) -> &mut W {
        &mut self.out.out
    }

    /// Gives the output back, once the last block is written.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out.out)
    }

    /// Bits of all symbols of the block.
    fn bits_with(&self, literals: &Code, distances: &Code) -> u64 {
        let of = |count: &u16, length: &u8, extra: u8| u64::from(*count) * u64::from(*length + extra);
        let symbols = self.literals.iter().zip(&literals.lengths).enumerate();
        let symbols = symbols.map(|(symbol, (count, length))| {
            let extra = symbol.checked_sub(257).map_or(0, |range| LENGTH_EXTRA[range]);
            of(count, length, extra)
        });
        let ranges = self.distances.iter().zip(&distances.lengths).enumerate();
        let ranges = ranges.map(|(range, (count, length))| of(count, length, distance_extra(range)));
        symbols.sum::<u64>() + ranges.sum::<u64>()
    }

    fn write_symbols(&mut self, literals: &Code, distances: &Code) -> io::Result<()> {
        let tables = &*TABLES;
        for symbol in &self.symbols {
            let value = usize::from(symbol.value);
            if symbol.distance == 0 {
                self.out.put_code(literals, value);
                continue;
            }
            let range = usize::from(tables.length_range[value]);
            self.out.put_code(literals, 257 + range);
            self.out.put(value as u64 - u64::from(tables.length_base[range]), LENGTH_EXTRA[range]);
            let distance = symbol.distance - 1;
            let range = distance_range(distance);
            self.out.put_code(distances, range);
            self.out.put(u64::from(distance - tables.distance_base[range]), distance_extra(range));
            self.out.flush_if_full()?;
        }
        self.out.put_code(literals, END_OF_BLOCK);
        Ok(())
    }
}

/// The codes made for one block, and how their lengths are written.
struct DynamicCodes {
    literals: Code,
    distances: Code,
    lengths: Code,
    /// Symbols of the lengths' code, with the value of the bits that follow each.
    runs: Vec<(usize, u64)>,
    /// How many symbols the codes cover.
    literals_count: usize,
    distances_count: usize,
    lengths_count: usize,
}

impl DynamicCodes {
    fn build(literal_counts: &[u16], distance_counts: &[u16]) -> Self {
        let (literals, last_literal) = build(literal_counts, 15);
        let (distances, last_distance) = build(distance_counts, 15);
        let mut runs = Vec::new();
        put_runs(&mut runs, &literals.lengths[..=last_literal]);
        put_runs(&mut runs, &distances.lengths[..=last_distance]);
        let mut counts = [0u16; LENGTHS];
        runs.iter().for_each(|(symbol, _)| counts[*symbol] += 1);
        let (lengths, _) = build(&counts, 7);
        let used = LENGTHS_ORDER.iter().rposition(|symbol| lengths.lengths[*symbol] != 0);
        Self {
            lengths_count: used.map_or(4, |last| (last + 1).max(4)),
            literals_count: last_literal + 1,
            distances_count: last_distance + 1,
            literals,
            distances,
            lengths,
            runs,
        }
    }

    fn header_bits(&self) -> u64 {
        let run = |(symbol, _): &(usize, u64)| u64::from(self.lengths.lengths[*symbol] + REPEAT_EXTRA[*symbol]);
        14 + 3 * self.lengths_count as u64 + self.runs.iter().map(run).sum::<u64>()
    }

    fn write<W: Write>(&self, out: &mut BitWriter<W>) {
        out.put(self.literals_count as u64 - 257, 5);
        out.put(self.distances_count as u64 - 1, 5);
        out.put(self.lengths_count as u64 - 4, 4);
        for symbol in &LENGTHS_ORDER[..self.lengths_count] {
            out.put(u64::from(self.lengths.lengths[*symbol]), 3);
        }
        for (symbol, extra) in &self.runs {
            out.put_code(&self.lengths, *symbol);
            out.put(*extra, REPEAT_EXTRA[*symbol]);
        }
    }
}

/// Writes lengths as runs. A run is cut where zlib cuts it: 138 zeros, 6 repeats, or 7 with the first.
fn put_runs(runs: &mut Vec<(usize, u64)>, lengths: &[u8]) {
    let mut before = None;
    for run in lengths.chunk_by(|a, b| a == b) {
        let length = usize::from(run[0]);
        let mut left = run.len();
        while left > 0 {
            let most = match length {
                0 => 138,
                _ if before == Some(length) => 6,
                _ => 7,
            };
            let count = left.min(most);
            left -= count;
            let repeats = if before == Some(length) { count } else { count - 1 };
            match (length, count) {
                (0, 3..=10) => runs.push((17, count as u64 - 3)),
                (0, 11..) => runs.push((18, count as u64 - 11)),
                (1.., _) if repeats >= 3 => {
                    runs.extend((repeats < count).then_some((length, 0)));
                    runs.push((16, repeats as u64 - 3));
                }
                _ => runs.extend(std::iter::repeat_n((length, 0), count)),
            }
            before = Some(length);
        }
    }
}

/// Writes bits, the lowest first.
struct BitWriter<W> {
    bits: u64,
    count: u8,
    bytes: Vec<u8>,
    out: W,
}

impl<W: Write> BitWriter<W> {
    /// At most 16 bits.
    fn put(&mut self, value: u64, bits: u8) {
        self.bits |= value << self.count;
        self.count += bits;
        while self.count >= 8 {
            self.bytes.push(self.bits as u8);
            self.bits >>= 8;
            self.count -= 8;
        }
    }

    fn put_code(&mut self, code: &Code, symbol: usize) {
        self.put(u64::from(code.bits[symbol]), code.lengths[symbol]);
    }

    /// Goes on at the next byte.
    fn pad(&mut self) {
        if self.count > 0 {
            self.put(0, 8 - self.count);
        }
    }

    /// A stored block behind its first bits.
    fn store(&mut self, text: &[u8]) {
        self.pad();
        // A window holds less than 2^16 bytes.
        let length = text.len() as u16;
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(&(!length).to_le_bytes());
        self.bytes.extend_from_slice(text);
    }

    fn flush_if_full(&mut self) -> io::Result<()> {
        if self.bytes.len() < OUT_BYTES { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.bytes)?;
        self.bytes.clear();
        Ok(())
    }
}
