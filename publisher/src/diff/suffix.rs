//! Finds the longest match of some bytes in old: a suffix array with a table of where its first bytes begin, behind a
//! filter that tells most bytes old does not have.

use super::DiffError;

/// A suffix array over old bytes.
pub struct SuffixIndex<'a> {
    text: &'a [u8],
    /// Starts of all suffixes, in the order of the suffixes.
    suffixes: Vec<i32>,
    /// For each value of the leading bytes, where its suffixes begin; one more entry for the end.
    buckets: Vec<u32>,
    /// How many leading bytes choose a bucket: 2 or 3.
    leading: usize,
    grams: GramFilter,
}

/// A match in old.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Longest {
    /// Where it begins in old.
    pub old: usize,
    /// Its bytes.
    pub length: usize,
    /// Its place in the order of suffixes.
    rank: usize,
}

/// The shortest match that can be worth its control triple ([`super::matching`]).
pub const MATCH_MIN: usize = 6;
/// The longest match an index may be told to begin with.
const MATCH_MIN_MAX: usize = 16;

/// Texts from this length on are worth a table of 64 MiB.
const WIDE_BYTES: usize = 4 << 20;
/// A longer match is not measured to its end: the next search goes on from there.
const MATCH_MAX: usize = 64 << 10;
/// Of equally good matches so many are weighed by their place.
const CANDIDATES_MAX: usize = 1 << 8;

impl<'a> SuffixIndex<'a> {
    /// Sorts the suffixes of `text`, which has less than 2 GiB. Matches of less than `match_min` bytes, 6 to 16, will not
    /// be found.
    ///
    /// # Errors
    /// The text is too long, or there is no memory.
    pub fn new(text: &'a [u8], match_min: usize) -> Result<Self, DiffError> {
        let sorted = libsais::SuffixArrayConstruction::for_text(text).in_owned_buffer32().single_threaded().run();
        let suffixes =
            sorted.map_err(|error| DiffError::Suffix { bytes: text.len(), reason: format!("{error:?}") })?.into_vec();
        let leading = if text.len() < WIDE_BYTES { 2 } else { 3 };
        let (buckets, grams) = rayon::join(|| count_buckets(text, leading), || GramFilter::new(text, match_min));
        Ok(Self { buckets, text, suffixes, leading, grams })
    }

    /// The longest match of the start of `bytes`, measured up to 64 KiB; length 0 where there is none of
    /// the least bytes that count.
    pub fn longest(&self, bytes: &[u8]) -> Longest {
        let bytes = &bytes[..bytes.len().min(MATCH_MAX)];
        if !self.grams.may_hold(bytes) {
            return Longest::default();
        }
        let bucket = bucket_of(bytes, self.leading);
        let (mut low, mut high) = (self.buckets[bucket] as usize, self.buckets[bucket + 1] as usize);
        let (mut low_match, mut high_match) = (0, 0);
        let mut best = Longest::default();
        while low < high {
            let middle = low.midpoint(high);
            let at = self.suffixes[middle] as usize;
            let known = low_match.min(high_match);
            let length = known + super::matching::common_prefix(&self.text[at + known..], &bytes[known..]);
            if length > best.length {
                best = Longest { old: at, length, rank: middle };
            }
            if length == bytes.len() {
                break;
            }
            if self.text.get(at + length).is_none_or(|byte| *byte < bytes[length]) {
                (low, low_match) = (middle + 1, length);
            } else {
                (high, high_match) = (middle, length);
            }
        }
        if best.length < self.grams.length { Longest::default() } else { best }
    }

    /// Of the places where the match `found` of the start of `bytes` stands in old, the one nearest to `wanted`. Of very
    /// many only some are weighed.
    pub fn nearest(&self, bytes: &[u8], found: Longest, wanted: usize) -> usize {
        let matched = &bytes[..found.length];
        let at = |rank: &usize| self.suffixes[*rank] as usize;
        let alike = |old: &usize| self.text[*old..].starts_with(matched);
        let before = (0..found.rank).rev().map(|rank| at(&rank)).take_while(alike).take(CANDIDATES_MAX);
        let after = (found.rank + 1..self.suffixes.len()).map(|rank| at(&rank)).take_while(alike).take(CANDIDATES_MAX);
        let candidates = before.chain(after).chain([found.old]);
        candidates.min_by_key(|old| (old.abs_diff(wanted), *old)).unwrap_or(found.old)
    }
}

/// Which sequences of some bytes a text holds, by a bit for their hash: it may say yes where the answer is no,
/// and never the other way.
struct GramFilter {
    bits: Vec<u64>,
    shift: u32,
    /// Bytes of a sequence.
    length: usize,
}

impl GramFilter {
    fn new(text: &[u8], length: usize) -> Self {
        let length = length.clamp(MATCH_MIN, MATCH_MIN_MAX);
        // Eight bits a byte of text: one wrong yes in eight or so.
        let log = (text.len().max(1) * 8).ilog2().max(6);
        let mut filter = Self { bits: vec![0; 1 << (log - 6)], shift: 64 - log, length };
        for gram in text.windows(length) {
            let hash = filter.hash(gram);
            filter.bits[hash >> 6] |= 1 << (hash & 63);
        }
        filter
    }

    fn may_hold(&self, bytes: &[u8]) -> bool {
        let Some(gram) = bytes.get(..self.length) else { return false };
        let hash = self.hash(gram);
        self.bits[hash >> 6] >> (hash & 63) & 1 == 1
    }

    fn hash(&self, gram: &[u8]) -> usize {
        let (mut front, mut back) = ([0; 8], [0; 8]);
        let half = gram.len().min(8);
        front[..half].copy_from_slice(&gram[..half]);
        back[..half].copy_from_slice(&gram[gram.len() - half..]);
        let word = u64::from_le_bytes(front) ^ u64::from_le_bytes(back).rotate_left(23);
        (word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
    }
}

/// The bucket of the first bytes; missing ones count as the smallest, as in the order of suffixes.
fn bucket_of(bytes: &[u8], leading: usize) -> usize {
    (0..leading).fold(0, |bucket, index| bucket << 8 | usize::from(bytes.get(index).copied().unwrap_or(0)))
}

fn count_buckets(text: &[u8], leading: usize) -> Vec<u32> {
    let mut buckets = vec![0u32; (1 << (8 * leading)) + 1];
    let whole = (text.len() + 1).saturating_sub(leading);
    let mask = (1usize << (8 * leading)) - 1;
    let mut bucket = bucket_of(text, leading) >> 8;
    for byte in text.iter().skip(leading - 1) {
        bucket = (bucket << 8 | usize::from(*byte)) & mask;
        buckets[bucket + 1] += 1;
    }
    for at in whole..text.len() {
        buckets[bucket_of(&text[at..], leading) + 1] += 1;
    }
    let mut sum = 0;
    for count in &mut buckets {
        sum += *count;
        *count = sum;
    }
    buckets
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive(text: &[u8], bytes: &[u8]) -> usize {
        (0..text.len()).map(|at| text[at..].iter().zip(bytes).take_while(|(a, b)| a == b).count()).max().unwrap_or(0)
    }

    #[test]
    fn both_tables_agree() {
        let text: Vec<u8> = (0..5000u32).map(|i| (i * i % 7) as u8).collect();
        for leading in [2, 3] {
            let mut index = SuffixIndex::new(&text, MATCH_MIN).expect("an index");
            index.leading = leading;
            index.buckets = count_buckets(&text, leading);
            for at in (0..text.len() - MATCH_MIN).step_by(97) {
                let found = index.longest(&text[at..]);
                assert_eq!(found.length, text.len() - at);
                assert_eq!(text[found.old..found.old + found.length], text[at..]);
            }
        }
    }

    proptest! {
        #[test]
        fn the_longest_match_is_found(
            text in proptest::collection::vec(0u8..3, 1..200),
            bytes in proptest::collection::vec(0u8..4, 0..30),
        ) {
            let index = SuffixIndex::new(&text, MATCH_MIN).expect("an index");
            let found = index.longest(&bytes);
            let expected = naive(&text, &bytes);
            prop_assert_eq!(found.length, if expected < MATCH_MIN { 0 } else { expected });
            prop_assert_eq!(&text[found.old..found.old + found.length], &bytes[..found.length]);
            let nearest = index.nearest(&bytes, found, text.len() / 2);
            let distance = |at: usize| at.abs_diff(text.len() / 2);
            let places = (0..text.len()).filter(|at| text[*at..].starts_with(&bytes[..found.length]));
            prop_assert!(found.length == 0 || Some(distance(nearest)) == places.map(distance).min());
        }
    }
}
