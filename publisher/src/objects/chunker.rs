//! Where large content is cut: at places its own bytes choose, so that cuts move along with what is inserted before.
//!
//! A *gear* hash rolls over the content: each byte shifts a 64-bit word left by one and adds the byte's number from a
//! fixed table, so the word depends on the last 64 bytes alone. A cut follows a byte after which the word is below a
//! threshold. As in FastCDC (Xia et al., 2016) the threshold is hard to meet up to a normal length and easy to meet
//! beyond it, which keeps lengths near the normal one.
//!
//! Pieces are named by their content over all releases, so none of these numbers may change without storing everything
//! once more.

use std::ops::Range;
use std::sync::LazyLock;

/// Least bytes of a piece; content below twice that is never cut.
pub(super) const PIECE_BYTES_MIN: usize = 1 << 20;

/// Most bytes of a piece, so that no piece is stored in more, whatever it holds.
pub(super) const PIECE_BYTES_MAX: usize = 4 << 20;

/// What [`cut`] must see of content that goes on.
pub(super) const LOOKAHEAD_BYTES: usize = PIECE_BYTES_MAX + PIECE_BYTES_MIN;

/// Length from which cuts come easily.
const NORMAL_BYTES: usize = 5 << 19;

/// Met once in 4 MiB of random bytes.
const HARD: u64 = 1 << (64 - 22);

/// Met once in 512 KiB of random bytes.
const EASY: u64 = 1 << (64 - 19);

/// Bytes the rolling word depends on.
const WINDOW_BYTES: usize = 64;

/// The table is the first 2048 bytes that BLAKE3 derives from this context and no key material, as little-endian words.
const TABLE_CONTEXT: &str = "lamplighter objects gear table 1";

static TABLE: LazyLock<[u64; 256]> = LazyLock::new(|| {
    let mut bytes = [0; 256 * 8];
    blake3::Hasher::new_derive_key(TABLE_CONTEXT).finalize_xof().fill(&mut bytes);
    let mut table = [0; 256];
    for (word, bytes) in table.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    table
});

/// Length of the first piece of `bytes`, which are the rest of the content or at least [`LOOKAHEAD_BYTES`] of it.
///
/// No piece is shorter than [`PIECE_BYTES_MIN`], the last one included, unless all the content is.
pub(super) fn cut(bytes: &[u8]) -> usize {
    if bytes.len() < 2 * PIECE_BYTES_MIN {
        return bytes.len();
    }
    // Leaves the last piece its least length.
    let end = PIECE_BYTES_MAX.min(bytes.len() - PIECE_BYTES_MIN);
    let otherwise = if bytes.len() <= PIECE_BYTES_MAX { bytes.len() } else { end };
    let normal = NORMAL_BYTES.min(end);
    find(bytes, PIECE_BYTES_MIN..normal, HARD).or_else(|| find(bytes, normal..end, EASY)).unwrap_or(otherwise)
}

/// First place in `range` that follows a byte after which the rolling word is below `threshold`.
fn find(bytes: &[u8], range: Range<usize>, threshold: u64) -> Option<usize> {
    let table = &*TABLE;
    let roll = |word: u64, byte: &u8| (word << 1).wrapping_add(table[usize::from(*byte)]);
    // The byte before a place takes part in its word; older ones have left the word by then.
    let mut word = bytes[range.start - WINDOW_BYTES..range.start - 1].iter().fold(0, roll);
    let tested = &bytes[range.start - 1..range.end.max(range.start) - 1];
    for (index, byte) in tested.iter().enumerate() {
        word = roll(word, byte);
        if word < threshold {
            return Some(range.start + index);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::tests::noise;
    use super::*;

    fn pieces(mut bytes: &[u8]) -> Vec<&[u8]> {
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at(cut(&bytes[..bytes.len().min(LOOKAHEAD_BYTES)]));
            pieces.push(piece);
            bytes = rest;
        }
        pieces
    }

    #[test]
    fn lengths_stay_within_their_bounds() {
        for length in [0, 1, PIECE_BYTES_MIN, 2 * PIECE_BYTES_MIN - 1, 2 * PIECE_BYTES_MIN, 3 << 20, 5 << 20, 30 << 20]
        {
            let content = noise("lengths", length);
            let found = pieces(&content);
            assert_eq!(found.concat(), content);
            let least = PIECE_BYTES_MIN.min(length);
            assert!(found.iter().all(|p| (least..=PIECE_BYTES_MAX).contains(&p.len())), "{length}");
        }
        let even = pieces(&[0; 21 << 20]).iter().map(|p| p.len() >> 20).collect::<Vec<_>>();
        assert_eq!(even, [4, 4, 4, 4, 4, 1], "bytes that offer no cut are cut at the most");
    }

    /// Cut places are part of what makes objects of different releases equal.
    #[test]
    fn cuts_never_move() {
        let content = noise("fixed", 12 << 20);
        let lengths: Vec<usize> = pieces(&content).iter().map(|p| p.len()).collect();
        assert_eq!((TABLE[0], TABLE[255]), (17_776_867_791_668_720_172, 5_378_030_094_936_090_715));
        assert_eq!(lengths, [2_848_608, 2_683_170, 2_648_249, 3_354_309, 1_048_576]);
    }

    #[test]
    fn content_moved_along_is_cut_at_the_same_places() {
        let content = noise("moved", 20 << 20);
        let old = pieces(&content);
        let longer = [&b"x"[..], &content].concat();
        let new = pieces(&longer);
        let fresh = new.iter().filter(|p| !old.contains(p)).count();
        assert!(old.len() >= 6 && fresh <= 2, "{fresh} of {}", new.len());
    }

    #[test]
    fn a_cut_depends_on_the_bytes_just_before_it() {
        let content = noise("local", 8 << 20);
        let at = cut(&content[..LOOKAHEAD_BYTES]);
        let mut other = noise("elsewhere", at);
        other[at - WINDOW_BYTES..].copy_from_slice(&content[at - WINDOW_BYTES..at]);
        other.extend(&content[at..]);
        assert!(find(&other, at..at + 1, HARD).is_some() || find(&other, at..at + 1, EASY).is_some());
    }
}
