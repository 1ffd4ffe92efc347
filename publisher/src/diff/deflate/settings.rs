//! What zlib was told when it wrote a stream: found by trying.
//!
//! Nothing in a stream says it, but few settings are in use, and wrong ones show within the first block. What the
//! stream before had is tried first. Where stream after stream has none, another compressor is at work, and the search
//! ends.

use std::io::{self, Write};

use lamplighter_client::zlib::{Compressor, Settings};

/// Streams without settings, in a row from the first one on, after which no more are tried.
const MISSES_MAX: u32 = 8;
/// Text taken at a time, so that a wrong guess ends early.
const STEP_BYTES: usize = 32 << 10;

/// Finds the settings of the streams of one archive.
#[derive(Default)]
pub struct SettingsSearch {
    found: Vec<Settings>,
    misses: u32,
}

impl SettingsSearch {
    /// Settings that give `stream` from `text`, byte for byte.
    pub fn find(&mut self, stream: &[u8], text: &[u8]) -> Option<Settings> {
        if self.found.is_empty() && self.misses == MISSES_MAX {
            return None;
        }
        let others = candidates().filter(|settings| !self.found.contains(settings));
        let right = self.found.iter().copied().chain(others).find(|settings| gives(*settings, text, stream));
        match right {
            None => self.misses += 1,
            Some(settings) => {
                self.found.retain(|other| *other != settings);
                self.found.insert(0, settings);
            }
        }
        right
    }
}

/// The settings in use, the likeliest first: level 6 and 9 with zlib's defaults, other levels, then the memory level 9
/// of PNG writers, with and without their strategy.
fn candidates() -> impl Iterator<Item = Settings> {
    let levels = [6, 9, 1, 5, 7, 8, 4, 3, 2];
    let kinds = [(8, false), (9, true), (9, false), (8, true)];
    let all = kinds.into_iter().flat_map(move |(memory, filtered)| levels.map(|level| (level, memory, filtered)));
    // The strategy makes no difference without lazy evaluation.
    let useful = all.filter(|(level, _, filtered)| *level >= 4 || !filtered);
    useful.filter_map(|(level, memory, filtered)| Settings::new(level, memory, 15, filtered))
}

fn gives(settings: Settings, text: &[u8], stream: &[u8]) -> bool {
    let mut compressor = Compressor::new(settings, Expected(stream));
    let same = text.chunks(STEP_BYTES).all(|part| compressor.push(part).is_ok());
    same && compressor.finish().is_ok_and(|expected| expected.0.is_empty())
}

/// Takes what is expected, and nothing else.
struct Expected<'a>(&'a [u8]);

impl Write for Expected<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.strip_prefix(bytes) {
            Some(rest) => {
                self.0 = rest;
                Ok(bytes.len())
            }
            None => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Time a client takes to compress a byte, in nanoseconds.
pub const fn compress_ns(settings: Settings) -> u64 {
    match settings.level() {
        1..=3 => 20,
        4..=5 => 30,
        6 => 40,
        7 => 50,
        8 => 100,
        _ => 150,
    }
}
