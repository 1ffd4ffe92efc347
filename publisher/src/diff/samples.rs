//! Sample points: places that the bytes before them choose, so that equal stretches have equal points wherever they
//! lie. They tell where in a large old file to look for the content of a large new one, at a few bytes of memory for
//! every 4 KiB.

use std::collections::HashMap;

use super::{DiffError, Side, read};

/// Bytes before a point that decide whether it is one.
pub const SAMPLE_BYTES: usize = 32;
/// One place in this many is a point.
const SAMPLE_RATE: u64 = 4096;
/// Points are at least this far apart, in bytes, lest a long repetition be full of them.
const APART_BYTES: u64 = 256;
/// Bytes read at a time.
const STEP_BYTES: u64 = 8 << 20;

/// The same sample in new and in old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// End of the sample in new.
    pub new: u64,
    /// End of the sample in old, where it comes first.
    pub old: u64,
}

/// All hits in the order of new.
///
/// # Errors
/// Reading.
pub fn hits(old: &mut Side<'_>, new: &mut Side<'_>) -> Result<Vec<Hit>, DiffError> {
    let mut places: HashMap<u64, u64> = HashMap::new();
    each(old, "old", |hash, at| {
        places.entry(hash).or_insert(at);
    })?;
    let mut hits = Vec::new();
    each(new, "new", |hash, at| hits.extend(places.get(&hash).map(|old| Hit { new: at, old: *old })))?;
    Ok(hits)
}

/// Calls `found` with the hash and the end of each sample of a side.
fn each(side: &mut Side<'_>, name: &'static str, mut found: impl FnMut(u64, u64)) -> Result<(), DiffError> {
    let mut rolling = Rolling::default();
    let (mut at, mut next) = (0, 0);
    while at < side.length {
        let bytes = read(side, name, at, STEP_BYTES.min(side.length - at))?;
        for byte in bytes {
            at += 1;
            if let Some(hash) = rolling.push(byte).filter(|_| at >= next) {
                found(hash, at);
                next = at + APART_BYTES;
            }
        }
    }
    Ok(())
}

/// A polynomial over the last 32 bytes, modulo 2^64.
#[derive(Default)]
struct Rolling {
    last: [u8; SAMPLE_BYTES],
    count: usize,
    hash: u64,
}

const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
const LEAVING: u64 = power(SAMPLE_BYTES);

const fn power(exponent: usize) -> u64 {
    let (mut result, mut index) = (1u64, 0);
    while index < exponent {
        result = result.wrapping_mul(FACTOR);
        index += 1;
    }
    result
}

impl Rolling {
    /// Takes a byte; gives the hash where the bytes so far end in a sample.
    fn push(&mut self, byte: u8) -> Option<u64> {
        let left = std::mem::replace(&mut self.last[self.count % SAMPLE_BYTES], byte);
        self.hash = self.hash.wrapping_mul(FACTOR).wrapping_add(u64::from(byte) + 1);
        if self.count >= SAMPLE_BYTES {
            self.hash = self.hash.wrapping_sub(LEAVING.wrapping_mul(u64::from(left) + 1));
        }
        self.count += 1;
        // The middle bits depend on all 32 bytes.
        (self.count >= SAMPLE_BYTES && self.hash >> 32 & (SAMPLE_RATE - 1) == 0).then_some(self.hash)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Bytes without repetition.
    pub(in super::super) fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed * 2 + 1;
        let step = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..length).map(step).collect()
    }

    #[test]
    fn repetition_has_few_samples() {
        for period in 1..40 {
            let bytes = noise(period as u64, period).repeat(100_000 / period);
            let mut slice = bytes.as_slice();
            let mut side = Side { length: bytes.len() as u64, bytes: &mut slice };
            let mut count = 0;
            each(&mut side, "old", |_, _| count += 1).expect("read");
            assert!(count <= 100_000 / 256 + 1);
        }
    }

    #[test]
    fn equal_stretches_are_hit_wherever_they_lie() {
        let stretch = noise(1, 100_000);
        let old = [noise(2, 12_345), stretch.clone(), noise(3, 999)].concat();
        let new = [noise(4, 777), stretch].concat();
        let (mut old_bytes, mut new_bytes) = (old.as_slice(), new.as_slice());
        let mut old_side = Side { length: old.len() as u64, bytes: &mut old_bytes };
        let mut new_side = Side { length: new.len() as u64, bytes: &mut new_bytes };
        let hits = hits(&mut old_side, &mut new_side).expect("read");
        assert!((10..60).contains(&hits.len()), "{} hits", hits.len());
        assert!(hits.iter().all(|hit| hit.old - 12_345 == hit.new - 777));
    }
}
