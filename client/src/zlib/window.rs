//! Finds matches as zlib does: which strings are remembered, which are tried, and which win.
//!
//! The window holds two times 2^*window bits* bytes, filled as far as it goes and moved by half of itself when the
//! position comes near its end. Every string of three bytes is remembered under a hash, the latest first; older ones
//! with the same hash follow in a chain. Position 0 stands for "none", so a string there is never found: zlib's output
//! depends on that, and with it on where the window stood.

use std::io::{self, Write};

use super::Settings;
use super::block::BlockSink;

const MATCH_MIN: usize = 3;
const MATCH_MAX: usize = 258;
/// Text that must be known ahead, so that no match is cut short.
const LOOKAHEAD_MIN: usize = MATCH_MAX + MATCH_MIN + 1;
/// A match of three bytes farther away than this costs more than literals.
const TOO_FAR: usize = 4096;

/// The limits of a level.
struct Limits {
    /// From this length on of the match before, chains are followed a quarter as far.
    good: usize,
    /// A match is put off in the hope of a better one up to this length; without lazy evaluation, the strings within a
    /// match are remembered up to this length.
    lazy: usize,
    /// The search ends at a match of this length.
    nice: usize,
    /// Most strings of a chain that are tried.
    chain: usize,
    evaluates_lazily: bool,
}

const fn limits(level: u8) -> Limits {
    let (good, lazy, nice, chain) = match level {
        1 => (4, 4, 8, 4),
        2 => (4, 5, 16, 8),
        3 => (4, 6, 32, 32),
        4 => (4, 4, 16, 16),
        5 => (8, 16, 32, 32),
        6 => (8, 16, 128, 128),
        7 => (8, 32, 128, 256),
        8 => (32, 128, 258, 1024),
        _ => (32, 258, 258, 4096),
    };
    Limits { good, lazy, nice, chain, evaluates_lazily: level >= 4 }
}

/// A match at the position: where the earlier string begins in the window, and how long it is.
#[derive(Clone, Copy)]
struct Found {
    start: usize,
    length: usize,
}

/// Fewer bytes than a match has.
const NOTHING: Found = Found { start: 0, length: MATCH_MIN - 1 };

/// The window, the strings in it, and what lazy evaluation put off.
pub(super) struct Window {
    bytes: Vec<u8>,
    /// Bytes of half the window.
    half: usize,
    /// Where the next symbol begins.
    at: usize,
    /// Where the known text ends.
    end: usize,
    /// Where the open block begins; negative once that has left the window.
    block_start: i64,
    head: Vec<u16>,
    previous: Vec<u16>,
    hash_shift: u32,
    hash_mask: usize,
    limits: Limits,
    filtered: bool,
    /// The match found at the position before.
    put_off: Found,
    /// Whether the byte before the position has yet to be written.
    literal_waits: bool,
}

impl Window {
    pub(super) fn new(settings: Settings) -> Self {
        let half = 1usize << settings.window_bits;
        let hash_bits = u32::from(settings.memory_level) + 7;
        Self {
            bytes: vec![0; 2 * half],
            half,
            at: 0,
            end: 0,
            block_start: 0,
            head: vec![0; 1 << hash_bits],
            previous: vec![0; half],
            hash_shift: hash_bits.div_ceil(3),
            hash_mask: (1 << hash_bits) - 1,
            limits: limits(settings.level),
            filtered: settings.filtered,
            put_off: NOTHING,
            literal_waits: false,
        }
    }

    /// Takes as much text as there is room for.
    pub(super) fn fill(&mut self, text: &[u8]) -> usize {
        let taken = text.len().min(self.bytes.len() - self.end);
        self.bytes[self.end..self.end + taken].copy_from_slice(&text[..taken]);
        self.end += taken;
        taken
    }

    pub(super) fn is_full(&self) -> bool {
        self.end == self.bytes.len()
    }

    /// Moves the window on by half of itself if the position is near its end.
    pub(super) fn slide_if_due(&mut self) {
        if self.at < self.half + self.distance_max() {
            return;
        }
        self.bytes.copy_within(self.half..self.end, 0);
        self.at -= self.half;
        self.end -= self.half;
        self.block_start -= self.half as i64;
        // A match that starts before the window is no longer looked at, only subtracted from positions.
        self.put_off.start = self.put_off.start.wrapping_sub(self.half);
        let half = self.half;
        let slide = |position: &mut u16| *position = usize::from(*position).saturating_sub(half) as u16;
        self.head.iter_mut().for_each(slide);
        self.previous.iter_mut().for_each(slide);
    }

    /// Passes symbols on: up to the end of the text if that is `finishing`, else while enough is known ahead.
    pub(super) fn run<W: Write>(&mut self, sink: &mut BlockSink<W>, finishing: bool) -> io::Result<()> {
        loop {
            if self.ahead() < LOOKAHEAD_MIN {
                if !finishing {
                    return Ok(());
                }
                self.slide_if_due();
                if self.ahead() == 0 {
                    break;
                }
            }
            if self.limits.evaluates_lazily { self.step_lazily(sink)? } else { self.step(sink)? }
        }
        if self.literal_waits {
            sink.literal(self.bytes[self.at - 1]);
            self.literal_waits = false;
        }
        self.end_block(sink, true)
    }

    /// Text known from the position on.
    const fn ahead(&self) -> usize {
        self.end - self.at
    }

    const fn distance_max(&self) -> usize {
        self.half - LOOKAHEAD_MIN
    }

    /// One symbol: the longest match here, else a literal.
    fn step<W: Write>(&mut self, sink: &mut BlockSink<W>) -> io::Result<()> {
        let found = match self.remember_here() {
            0 => NOTHING,
            head if self.at - head > self.distance_max() => NOTHING,
            head => self.longest(head, NOTHING),
        };
        let is_full = if found.length < MATCH_MIN {
            self.at += 1;
            sink.literal(self.bytes[self.at - 1])
        } else {
            let is_full = sink.reference(self.at - found.start, found.length);
            let after = self.at + found.length;
            if found.length <= self.limits.lazy && self.end - after >= MATCH_MIN {
                (self.at + 1..after).for_each(|at| {
                    self.remember(at);
                });
            }
            self.at = after;
            is_full
        };
        if is_full { self.end_block(sink, false) } else { Ok(()) }
    }

    /// At most one symbol: the match of the position before unless the one here is longer, else the literal before.
    fn step_lazily<W: Write>(&mut self, sink: &mut BlockSink<W>) -> io::Result<()> {
        let head = self.remember_here();
        let before = self.put_off;
        let mut found = NOTHING;
        if head != 0 && before.length < self.limits.lazy && self.at - head <= self.distance_max() {
            found = self.longest(head, before);
            let far = found.length == MATCH_MIN && self.at.wrapping_sub(found.start) > TOO_FAR;
            if found.length <= 5 && (self.filtered || far) {
                found.length = MATCH_MIN - 1;
            }
        }
        if before.length >= MATCH_MIN && found.length <= before.length {
            let is_full = sink.reference(self.at - 1 - before.start, before.length);
            let after = self.at - 1 + before.length;
            (self.at + 1..after.min(self.end - MATCH_MIN + 1)).for_each(|at| {
                self.remember(at);
            });
            (self.at, self.literal_waits, self.put_off) = (after, false, NOTHING);
            return if is_full { self.end_block(sink, false) } else { Ok(()) };
        }
        if self.literal_waits && sink.literal(self.bytes[self.at - 1]) {
            self.end_block(sink, false)?;
        }
        (self.literal_waits, self.put_off) = (true, found);
        self.at += 1;
        Ok(())
    }

    /// Remembers the string at the position; gives the latest one with its hash, or 0.
    fn remember_here(&mut self) -> usize {
        if self.ahead() < MATCH_MIN { 0 } else { self.remember(self.at) }
    }

    fn remember(&mut self, at: usize) -> usize {
        let [a, b, c] = [at, at + 1, at + 2].map(|at| usize::from(self.bytes[at]));
        let hash = (a << (2 * self.hash_shift) ^ b << self.hash_shift ^ c) & self.hash_mask;
        let head = self.head[hash];
        self.previous[at & (self.half - 1)] = head;
        // Positions stay below 2^16, twice the largest half.
        self.head[hash] = at as u16;
        usize::from(head)
    }

    /// Follows a chain for a match longer than `best`; gives `best` where there is none. Never longer than the text.
    fn longest(&self, head: usize, mut best: Found) -> Found {
        let (at, ahead) = (self.at, self.ahead());
        let nice = self.limits.nice.min(ahead);
        let limit = at.saturating_sub(self.distance_max());
        let mut tries = if best.length >= self.limits.good { self.limits.chain >> 2 } else { self.limits.chain };
        let here = &self.bytes[at..at + ahead.min(MATCH_MAX)];
        let mut start = head;
        loop {
            let there = &self.bytes[start..];
            // A match no longer than the text can't be longer than one that ends with it.
            let is_longer = best.length < here.len()
                && there[best.length] == here[best.length]
                && there[best.length - 1] == here[best.length - 1];
            if is_longer {
                let length = common(here, there);
                if length > best.length {
                    best = Found { start, length };
                    if length >= nice {
                        break;
                    }
                }
            }
            start = usize::from(self.previous[start & (self.half - 1)]);
            tries -= 1;
            if start <= limit || tries == 0 {
                break;
            }
        }
        best.length = best.length.min(ahead);
        best
    }

    fn end_block<W: Write>(&mut self, sink: &mut BlockSink<W>, is_last: bool) -> io::Result<()> {
        let text = usize::try_from(self.block_start).ok().map(|start| &self.bytes[start..self.at]);
        sink.end_block(text, is_last)?;
        self.block_start = self.at as i64;
        Ok(())
    }
}

/// Bytes that `a` and the longer `b` have in common at their beginnings.
fn common(a: &[u8], b: &[u8]) -> usize {
    let words = a.chunks_exact(8).zip(b.chunks_exact(8));
    let mut equal = 0;
    for (a, b) in words {
        if a != b {
            break;
        }
        equal += 8;
    }
    equal + a[equal..].iter().zip(&b[equal..]).take_while(|(a, b)| a == b).count()
}
