//! Finds the longest match of some bytes in old: a suffix array with a table of where its first bytes begin.

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
}

/// Texts from this length on are worth a table of 64 MiB.
const WIDE_BYTES: usize = 4 << 20;
/// A longer match is not measured to its end: the next search goes on from there.
const MATCH_MAX: usize = 64 << 10;
/// Of equally good matches so many are weighed by their place.
const CANDIDATES_MAX: usize = 1 << 12;

impl<'a> SuffixIndex<'a> {
    /// Sorts the suffixes of `text`, which has less than 2 GiB.
    ///
    /// # Errors
    /// The text is too long, or there is no memory.
    pub fn new(text: &'a [u8]) -> Result<Self, DiffError> {
        let sorted = libsais::SuffixArrayConstruction::for_text(text).in_owned_buffer32().single_threaded().run();
        let suffixes =
            sorted.map_err(|error| DiffError::Suffix { bytes: text.len(), reason: format!("{error:?}") })?.into_vec();
        let leading = if text.len() < WIDE_BYTES { 2 } else { 3 };
        Ok(Self { buckets: count_buckets(text, leading), text, suffixes, leading })
    }

    /// Where the longest match of the start of `bytes` lies and how long it is, up to 64 KiB; length 0 where there is
    /// none of three bytes.
    pub fn longest(&self, bytes: &[u8]) -> (usize, usize) {
        let bytes = &bytes[..bytes.len().min(MATCH_MAX)];
        if bytes.len() < self.leading {
            return (0, 0);
        }
        let bucket = bucket_of(bytes, self.leading);
        let (mut low, mut high) = (self.buckets[bucket] as usize, self.buckets[bucket + 1] as usize);
        let (mut low_match, mut high_match) = (0, 0);
        let (mut best_at, mut best) = (0, 0);
        while low < high {
            let middle = low.midpoint(high);
            let at = self.suffixes[middle] as usize;
            let known = low_match.min(high_match);
            let length = known + super::matching::common_prefix(&self.text[at + known..], &bytes[known..]);
            if length > best {
                (best_at, best) = (at, length);
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
        (best_at, best)
    }

    /// Of the places where `bytes` stands in the text, the one nearest to `wanted`; `found` is one of them. Of very many
    /// only some are weighed.
    pub fn nearest(&self, bytes: &[u8], found: usize, wanted: usize) -> usize {
        if bytes.len() < self.leading {
            return found;
        }
        let bucket = bucket_of(bytes, self.leading);
        let (start, end) = (self.buckets[bucket] as usize, self.buckets[bucket + 1] as usize);
        let inside = &self.suffixes[start..end];
        let before = |at: &i32| {
            let suffix = &self.text[*at as usize..];
            &suffix[..suffix.len().min(bytes.len())] < bytes
        };
        let first = inside.partition_point(before);
        let alike = inside[first..].iter().take(CANDIDATES_MAX).map(|at| *at as usize);
        let alike = alike.take_while(|at| self.text[*at..].starts_with(bytes));
        alike.chain([found]).min_by_key(|at| (at.abs_diff(wanted), *at)).unwrap_or(found)
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
            let mut index = SuffixIndex::new(&text).expect("an index");
            index.leading = leading;
            index.buckets = count_buckets(&text, leading);
            for at in (0..text.len()).step_by(97) {
                let (found, length) = index.longest(&text[at..]);
                assert_eq!(length, text.len() - at);
                assert_eq!(text[found..found + length], text[at..]);
            }
        }
    }

    proptest! {
        #[test]
        fn the_longest_match_is_found(
            text in proptest::collection::vec(0u8..3, 1..200),
            bytes in proptest::collection::vec(0u8..4, 0..30),
        ) {
            let index = SuffixIndex::new(&text).expect("an index");
            let (at, length) = index.longest(&bytes);
            let expected = naive(&text, &bytes);
            prop_assert!(length == expected || (expected < 2 && length == 0));
            prop_assert_eq!(&text[at..at + length], &bytes[..length]);
        }
    }
}
