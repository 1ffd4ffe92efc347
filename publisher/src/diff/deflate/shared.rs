//! What a patch that does not look into archives must carry at least.
//!
//! A compressor writes the same bytes until the texts differ, and may fall into step again near the end. So a changed
//! stream shares its beginning and its end with an old one, and the rest is new to every matcher: what is left after
//! that is compressed already, and no coder makes it smaller. Where the patch inside is far below it, the other needs
//! not be made.

use std::collections::HashMap;
use std::ops::Range;

/// Streams are told apart by so many bytes at their beginnings and ends.
const KEY_BYTES: usize = 16;
/// Streams with one key that are compared.
const CANDIDATES_MAX: usize = 16;

/// Bytes of the streams in `new` that neither begin nor end a stream of `old`.
pub fn bytes_beyond(old: &[u8], old_streams: &[Range<usize>], new: &[u8], streams: &[Range<usize>]) -> u64 {
    let mut fronts: HashMap<&[u8], Vec<&[u8]>> = HashMap::new();
    let mut backs: HashMap<&[u8], Vec<&[u8]>> = HashMap::new();
    for range in old_streams.iter().filter(|range| range.len() >= KEY_BYTES) {
        let stream = &old[range.clone()];
        let (front, back) = (&stream[..KEY_BYTES], &stream[stream.len() - KEY_BYTES..]);
        for known in [fronts.entry(front).or_default(), backs.entry(back).or_default()] {
            if known.len() < CANDIDATES_MAX {
                known.push(stream);
            }
        }
    }
    let beyond = |range: &Range<usize>| {
        let stream = &new[range.clone()];
        let Some(back_at) = stream.len().checked_sub(KEY_BYTES) else { return 0 };
        let of = |known: &HashMap<&[u8], Vec<&[u8]>>, key: &[u8], common: fn(&[u8], &[u8]) -> usize| {
            let candidates = known.get(key).map_or(&[][..], Vec::as_slice);
            candidates.iter().map(|old| common(old, stream)).max().unwrap_or(0)
        };
        let front = of(&fronts, &stream[..KEY_BYTES], common_front);
        let back = of(&backs, &stream[back_at..], common_back);
        stream.len().saturating_sub(front + back) as u64
    };
    streams.iter().map(beyond).sum()
}

fn common_front(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

fn common_back(a: &[u8], b: &[u8]) -> usize {
    a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_and_ends_are_not_counted() {
        let old: Vec<u8> = (0..=255).collect();
        let new = [&old[..100], &[7; 30], &old[180..], &[1; 50], &[2; 3]].concat();
        let streams = [0..206, 206..256, 256..259];
        assert_eq!(bytes_beyond(&old, std::slice::from_ref(&(0..256)), &new, &streams), 30 + 50);
        assert_eq!(bytes_beyond(&old, &[], &new, &streams), 206 + 50);
        assert_eq!(bytes_beyond(&old, std::slice::from_ref(&(0..256)), &old, std::slice::from_ref(&(0..256))), 0);
    }
}
