//! Cuts content that is too large to index at once into pairs of windows.
//!
//! Up to 256 MiB a side there is one pair, everything. Beyond that new is cut into windows of 64 MiB, and each gets the
//! parts of old that have most in common with it: old is divided into bins of 64 MiB, and of the content-defined sample
//! points of both sides those that are equal vote for the bin they lie in. What was moved by any distance is found
//! again; memory stays that of one pair, beside 16 bytes for every 4 KiB of old.

use std::collections::HashMap;
use std::ops::Range;

use super::{DiffError, Side, read};

/// Up to this length a side is one window.
const WHOLE_BYTES: u64 = 256 << 20;
/// New bytes of a window, and old bytes of a bin.
const WINDOW_BYTES: u64 = 64 << 20;
/// Bins of old that a window of new is compared with.
const BINS: usize = 3;
/// Bytes a sample point stands for.
const SAMPLE_BYTES: usize = 32;
/// One position in this many is a sample point.
const SAMPLE_RATE: u64 = 4096;

/// A stretch of new and the stretches of old it is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Stretches of old, in order.
    pub old: OldWindow,
    /// Stretch of new.
    pub new: Range<u64>,
}

/// Stretches of old that are indexed as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldWindow(Vec<Range<u64>>);

impl OldWindow {
    /// Reads all stretches, one after the other.
    pub(super) fn read(&self, old: &mut Side<'_>) -> Result<Vec<u8>, DiffError> {
        let mut bytes = Vec::new();
        for stretch in &self.0 {
            let part = read(old, "old", stretch.start, stretch.end - stretch.start)?;
            if bytes.is_empty() {
                bytes = part;
            } else {
                bytes.extend_from_slice(&part);
            }
        }
        Ok(bytes)
    }

    /// Where `length` bytes at `at` of the window lie in old: pieces of (start in old, range in the window).
    pub(super) fn locate(&self, at: usize, length: usize) -> Vec<(u64, Range<usize>)> {
        let (mut pieces, mut base) = (Vec::new(), 0);
        for stretch in &self.0 {
            let end = base + (stretch.end - stretch.start) as usize;
            let (from, to) = (at.max(base), (at + length).min(end));
            if from < to {
                pieces.push((stretch.start + (from - base) as u64, from..to));
            }
            base = end;
        }
        pieces
    }
}

/// The pairs of windows for two sides, in the order of new.
///
/// # Errors
/// Reading.
pub fn plan(old: &mut Side<'_>, new: &mut Side<'_>) -> Result<Vec<Window>, DiffError> {
    if old.length <= WHOLE_BYTES && new.length <= WHOLE_BYTES {
        return Ok(vec![Window { old: OldWindow(stretches(&[0], old.length, old.length)), new: 0..new.length }]);
    }
    cut(old, new, WINDOW_BYTES)
}

fn cut(old: &mut Side<'_>, new: &mut Side<'_>, window_bytes: u64) -> Result<Vec<Window>, DiffError> {
    let mut bins: HashMap<u64, u32> = HashMap::new();
    for (bin, start) in (0u32..).zip(starts(old.length, window_bytes)) {
        let bytes = read(old, "old", start, window_bytes.min(old.length - start))?;
        for hash in samples(&bytes) {
            bins.entry(hash).or_insert(bin);
        }
    }
    let mut windows = Vec::new();
    for start in starts(new.length, window_bytes) {
        let end = new.length.min(start + window_bytes);
        let bytes = read(new, "new", start, end - start)?;
        let chosen = vote(&samples(&bytes), &bins, start / window_bytes, old.length.div_ceil(window_bytes));
        windows.push(Window { old: OldWindow(stretches(&chosen, window_bytes, old.length)), new: start..end });
    }
    Ok(windows)
}

fn starts(length: u64, step: u64) -> impl Iterator<Item = u64> {
    (0..length.div_ceil(step)).map(move |index| index * step)
}

/// The bins with most votes, in order; without votes those around the same place.
fn vote(samples: &[u64], bins: &HashMap<u64, u32>, here: u64, count: u64) -> Vec<u64> {
    let mut votes: HashMap<u64, usize> = HashMap::new();
    for bin in samples.iter().filter_map(|sample| bins.get(sample)) {
        *votes.entry(u64::from(*bin)).or_default() += 1;
    }
    let near = [here, here + 1, here.wrapping_sub(1)];
    near.iter().filter(|bin| **bin < count).for_each(|bin| *votes.entry(*bin).or_default() += 0);
    let mut ranked: Vec<(u64, usize)> = votes.into_iter().collect();
    ranked.sort_by_key(|(bin, votes)| (std::cmp::Reverse(*votes), bin.abs_diff(here), *bin));
    let mut chosen: Vec<u64> = ranked.into_iter().take(BINS).map(|(bin, _)| bin).collect();
    chosen.sort_unstable();
    chosen
}

/// Bins as stretches of old; neighbours become one.
fn stretches(bins: &[u64], bin_bytes: u64, length: u64) -> Vec<Range<u64>> {
    let mut stretches: Vec<Range<u64>> = Vec::new();
    for bin in bins {
        let (start, end) = (bin * bin_bytes, length.min((bin + 1).saturating_mul(bin_bytes)));
        match stretches.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ if start < end => stretches.push(start..end),
            _ => {}
        }
    }
    stretches
}

/// Hashes of the sample points of `bytes`: the bytes before a position decide whether it is one, so equal stretches
/// have equal points wherever they lie.
fn samples(bytes: &[u8]) -> Vec<u64> {
    // A polynomial over the last 32 bytes, modulo 2^64.
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let leaving = (0..SAMPLE_BYTES).fold(1u64, |power, _| power.wrapping_mul(FACTOR));
    let (mut hash, mut found) = (0u64, Vec::new());
    for (at, byte) in bytes.iter().enumerate() {
        hash = hash.wrapping_mul(FACTOR).wrapping_add(u64::from(*byte) + 1);
        if let Some(left) = at.checked_sub(SAMPLE_BYTES) {
            hash = hash.wrapping_sub(leaving.wrapping_mul(u64::from(bytes[left]) + 1));
        }
        // The high bits depend on all 32 bytes.
        if at + 1 >= SAMPLE_BYTES && hash >> 32 & (SAMPLE_RATE - 1) == 0 {
            found.push(hash);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed | 1;
        let step = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..length).map(step).collect()
    }

    #[test]
    fn moved_content_finds_its_bin() {
        let window = 64 << 10;
        let parts: Vec<Vec<u8>> = (1..=8).map(|seed| noise(seed, window)).collect();
        let old = parts.concat();
        let new = [&parts[6][..], &parts[0], &parts[3][..window / 2], &parts[7][window / 2..]].concat();
        let (mut old_bytes, mut new_bytes) = (old.as_slice(), new.as_slice());
        let mut old = Side { length: old.len() as u64, bytes: &mut old_bytes };
        let mut new = Side { length: new.len() as u64, bytes: &mut new_bytes };
        let windows = cut(&mut old, &mut new, window as u64).expect("read");
        let holds = |index: usize, bin: u64| {
            let start = bin * window as u64;
            windows[index].old.0.iter().any(|stretch| stretch.contains(&start))
        };
        assert_eq!(windows.len(), 3);
        assert!(holds(0, 6) && holds(1, 0) && holds(2, 3) && holds(2, 7));
    }

    #[test]
    fn pieces_of_a_window_are_found_in_old() {
        let window = OldWindow(stretches(&[0, 1, 3], 10, 35));
        assert_eq!(window.0, [0..20, 30..35]);
        assert_eq!(window.locate(15, 8), [(15, 15..20), (30, 20..23)]);
        assert_eq!(window.locate(21, 2), [(31, 21..23)]);
    }
}
