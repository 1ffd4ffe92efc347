//! What zlib's compressor writes, byte for byte.
//!
//! Archives hold what a compressor made, so a small change of their text changes all bytes of a stream. Whoever can
//! make a stream anew from its text needs only the change of the text. Nearly all zips, jars, wheels and gzip files are
//! written by zlib, whose output follows from the text and five [`Settings`] alone: it has had one form since version
//! 1.2.3, whatever size of pieces it is fed with. This module is that function.
//!
//! It follows the design of zlib's `deflate.c` and `trees.c` (Jean-loup Gailly, Mark Adler; zlib licence), written anew
//! for one purpose: no other program's memory layout, flush modes, preset dictionaries or stored level. `window`
//! finds matches as zlib does, with the hash chains, limits and lazy evaluation of each level; `block` gathers the
//! symbols of a block and writes it in the shortest of the three forms; `huffman` builds the code trees.
//!
//! A stream that another compressor made (zopfli, libdeflate, zlib-ng at most levels) has no settings here.
//!
//! Time is bounded by the length of the text times the chain length of the level, memory by the window and the symbols
//! of a block: below 1 MiB, whatever the length of the text. No input is invalid.

mod block;
mod huffman;
mod window;

use std::io::{self, Write};

use block::BlockSink;
use window::Window;

/// What zlib was told, as far as its output depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Settings {
    level: u8,
    memory_level: u8,
    window_bits: u8,
    filtered: bool,
}

impl Settings {
    /// What nearly every program takes: level 6 and the defaults of zlib.
    pub const DEFAULT: Self = Self { level: 6, memory_level: 8, window_bits: 15, filtered: false };

    /// Level 1 to 9, memory level 1 to 9, a window of 2^9 to 2^15 bytes, and whether the strategy is `Z_FILTERED`;
    /// nothing beyond these.
    pub fn new(level: u8, memory_level: u8, window_bits: u8, filtered: bool) -> Option<Self> {
        let known = (1..=9).contains(&level) && (1..=9).contains(&memory_level) && (9..=15).contains(&window_bits);
        known.then_some(Self { level, memory_level, window_bits, filtered })
    }

    /// From 1 to 9.
    pub const fn level(self) -> u8 {
        self.level
    }

    /// One number for all settings: level − 1, plus 9 × (memory level − 1), plus 81 × (15 − window bits), plus 567
    /// where filtered.
    pub fn number(self) -> u64 {
        u64::from(self.level - 1)
            + 9 * u64::from(self.memory_level - 1)
            + 81 * u64::from(15 - self.window_bits)
            + 567 * u64::from(self.filtered)
    }

    /// The settings of a number, if there are such.
    pub fn from_number(number: u64) -> Option<Self> {
        let digit = |value: u64| u8::try_from(value).ok();
        let filtered = number >= 567;
        let rest = if filtered { number - 567 } else { number };
        Self::new(digit(rest % 9)? + 1, digit(rest / 9 % 9)? + 1, 15u8.checked_sub(digit(rest / 81)?)?, filtered)
    }
}

/// Compresses text that comes in pieces. The output depends on the text alone, never on how it was cut.
pub struct Compressor<W> {
    window: Window,
    sink: BlockSink<W>,
}

impl<W: Write> Compressor<W> {
    /// A raw deflate stream, without a zlib or gzip header, into `out`.
    pub fn new(settings: Settings, out: W) -> Self {
        Self { window: Window::new(settings), sink: BlockSink::new(settings, out) }
    }

    /// Takes the next piece of the text.
    ///
    /// # Errors
    /// Writing to the output fails.
    pub fn push(&mut self, mut text: &[u8]) -> io::Result<()> {
        while !text.is_empty() {
            let taken = self.window.fill(text);
            text = &text[taken..];
            if self.window.is_full() {
                self.window.run(&mut self.sink, false)?;
                self.window.slide_if_due();
            }
        }
        Ok(())
    }

    /// The output; what it is so far may be taken out.
    pub fn output(&mut self) -> &mut W {
        self.sink.output()
    }

    /// Ends the stream and gives the output back.
    ///
    /// # Errors
    /// Writing to the output fails.
    pub fn finish(mut self) -> io::Result<W> {
        self.window.run(&mut self.sink, true)?;
        self.sink.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    fn compress(settings: Settings, text: &[u8], piece: usize) -> Vec<u8> {
        let mut compressor = Compressor::new(settings, Vec::new());
        text.chunks(piece).for_each(|piece| compressor.push(piece).expect("a vector takes all"));
        compressor.finish().expect("a vector takes all")
    }

    fn inflate(stream: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        flate2::read::DeflateDecoder::new(stream).read_to_end(&mut text).expect("a deflate stream");
        text
    }

    /// Words from a small vocabulary with some noise: matches of all lengths and distances.
    fn text(seed: u64, length: usize, vocabulary: usize) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as usize
        };
        let words: Vec<Vec<u8>> =
            (0..vocabulary.max(1)).map(|_| (0..next() % 40 + 1).map(|_| (next() % 90) as u8).collect()).collect();
        let mut out = Vec::new();
        while out.len() < length {
            match next() % 9 {
                0 => out.push(next() as u8),
                1 => {
                    let byte = next() as u8;
                    out.extend(vec![byte; next() % 600]);
                }
                _ => out.extend_from_slice(&words[next() % words.len()]),
            }
        }
        out.truncate(length);
        out
    }

    #[test]
    fn numbers_stand_for_all_settings() {
        let all: Vec<Settings> = (0..1134).filter_map(Settings::from_number).collect();
        assert_eq!(all.len(), 1134);
        assert!(all.iter().enumerate().all(|(number, settings)| settings.number() == number as u64));
        assert_eq!(Settings::from_number(1134), None);
        assert_eq!(Settings::from_number(u64::MAX), None);
        assert_eq!(Settings::DEFAULT.number(), 5 + 9 * 7);
    }

    /// The streams of zlib 1.2.13, recorded by `scripts/zlib_fixture.py`.
    #[test]
    fn streams_are_those_of_zlib() {
        let table = include_str!("../../fixtures/zlib/streams.csv");
        let mut known = (0, Vec::new());
        for row in table.lines().skip(1) {
            let values: Vec<u64> = row.split(',').map(|value| value.parse().expect("a number")).collect();
            let [seed, length, words, level, memory_level, window_bits, filtered, bytes, crc32] = values[..] else {
                panic!("{row}");
            };
            if known.0 != seed {
                known = (seed, text(seed, length as usize, words as usize));
            }
            let settings = Settings::new(level as u8, memory_level as u8, window_bits as u8, filtered == 1);
            let stream = compress(settings.expect("known"), &known.1, known.1.len().max(1));
            assert_eq!((stream.len() as u64, u64::from(crc32fast::hash(&stream))), (bytes, crc32), "{row}");
        }
    }

    #[test]
    fn nothing_is_one_empty_block() {
        assert_eq!(compress(Settings::DEFAULT, b"", 1), [3, 0]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

        #[test]
        fn any_text_comes_back_however_it_is_cut(
            seed in any::<u64>(), length in 0usize..300_000, vocabulary in 1usize..3000,
            number in 0u64..1134, piece in 1usize..200_000,
        ) {
            let settings = Settings::from_number(number).expect("known");
            let text = text(seed, length, vocabulary);
            let stream = compress(settings, &text, text.len().max(1));
            prop_assert!(inflate(&stream) == text);
            prop_assert!(compress(settings, &text, piece) == stream);
        }
    }
}
