//! Aligns new with old: bsdiff's scan, which keeps to the running alignment while it serves, and follows a match
//! elsewhere once that is clearly better.
//!
//! From where the last match ended the scan looks for the longest match of what comes next. As long as the running
//! alignment (the same distance between new and old as in the last match) reproduces those bytes nearly as well, it
//! goes on. Else the gap between the two matches is shared out: the last match is extended forwards and the new one
//! backwards over bytes that mostly agree, since a byte that differs costs little as a residue.
//!
//! Unlike in bsdiff, the scan goes on behind the next byte where the running alignment fails, and not byte by byte: no
//! search before it can come out better, since a match that starts there also covers what comes after. So the cost
//! follows the number of differences.
//!
//! A match is worth what it saves in coded bytes: of equally long ones the nearest to the running alignment is taken,
//! because a short seek is cheap, and how much longer than the running alignment it must be follows from its distance.

use super::suffix::SuffixIndex;

/// A stretch of new that is made from a stretch of old of the same length; most of its bytes are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    /// Where it begins in new.
    pub new: usize,
    /// Where it begins in old.
    pub old: usize,
    /// Its bytes.
    pub length: usize,
}

/// How many bytes two slices begin with alike.
pub fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let (a_words, b_words) = (a.as_chunks::<8>().0, b.as_chunks::<8>().0);
    for (index, (x, y)) in a_words.iter().zip(b_words).enumerate() {
        let different = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if different != 0 {
            return index * 8 + (different.trailing_zeros() / 8) as usize;
        }
    }
    let done = a_words.len().min(b_words.len()) * 8;
    done + a[done..].iter().zip(&b[done..]).take_while(|(x, y)| x == y).count()
}

/// One scan over new.
pub struct Matcher<'a> {
    index: &'a SuffixIndex<'a>,
    old: &'a [u8],
    new: &'a [u8],
    matches: Vec<Match>,
}

/// By how many bytes a match must beat the running alignment, by how far in old it leads away from it. A byte more in a
/// match saves some three bits; a triple with a seek of so many bits costs two bytes and the seek. Found on executables of
/// several compilers; what lies beside does as well within half a percent.
const GAINS: [(usize, usize); 4] = [(1 << 8, 4), (1 << 12, 8), (1 << 16, 10), (1 << 20, 13)];
const GAIN_FAR: usize = 15;

/// Where the running alignment reproduces so many bytes, nothing better is looked for.
const RUN_KEPT: usize = 20;

fn gain_needed(distance: usize) -> usize {
    GAINS.iter().find(|(below, _)| distance < *below).map_or(GAIN_FAR, |(_, gain)| *gain)
}

/// Where the running alignment began.
#[derive(Clone, Copy)]
struct Anchor {
    new: usize,
    old: usize,
}

impl<'a> Matcher<'a> {
    /// A scan of `new` over the index of `old`.
    pub const fn new(index: &'a SuffixIndex<'a>, old: &'a [u8], new: &'a [u8]) -> Self {
        Self { index, old, new, matches: Vec::new() }
    }

    /// Matches in the order of new, without overlap.
    pub fn run(mut self) -> Vec<Match> {
        let mut anchor = Anchor { new: 0, old: 0 };
        let mut from = 0;
        while anchor.new < self.new.len() {
            let (at, old_at, length) = self.next_better(anchor, from);
            anchor = self.settle(anchor, at, old_at);
            from = at + length;
            if at >= self.new.len() {
                break;
            }
        }
        self.matches
    }

    /// Scans from `from` for a match that beats the alignment of `anchor`; gives its place in new and old and its
    /// length, or the end of new.
    fn next_better(&self, anchor: Anchor, from: usize) -> (usize, usize, usize) {
        let mut at = from;
        // The running alignment's equal bytes in `at..scored`.
        let (mut equal, mut scored) = (0, from);
        while at < self.new.len() {
            let run = self.running_match(anchor, at);
            if run >= RUN_KEPT {
                (at, equal, scored) = (at + run, 0, at + run);
                continue;
            }
            let found = self.index.longest(&self.new[at..]);
            let length = found.length;
            while scored < at + length {
                equal += usize::from(self.agrees(anchor, scored));
                scored += 1;
            }
            if length == equal && length > 0 {
                // The running alignment is as good: pass over what it reproduces.
                (at, equal, scored) = (at + length, 0, at + length);
                continue;
            }
            if length > equal + GAINS[0].1 {
                let running = (at + anchor.old).saturating_sub(anchor.new);
                let old_at = self.index.nearest(&self.new[at..], found, running);
                if length > equal + gain_needed(old_at.abs_diff(running)) {
                    return (at, old_at, length);
                }
            }
            let before = at;
            while at < scored && self.agrees(anchor, at) {
                at += 1;
            }
            equal = equal.saturating_sub(at - before);
            if at < scored || at == before {
                at += 1;
                scored = scored.max(at);
            }
        }
        (self.new.len(), 0, 0)
    }

    /// How many bytes from `at` on the running alignment reproduces.
    fn running_match(&self, anchor: Anchor, at: usize) -> usize {
        let old_at = (at + anchor.old).wrapping_sub(anchor.new);
        self.old.get(old_at..).map_or(0, |old| common_prefix(old, &self.new[at..]))
    }

    fn agrees(&self, anchor: Anchor, at: usize) -> bool {
        self.old.get((at + anchor.old).wrapping_sub(anchor.new)).is_some_and(|byte| *byte == self.new[at])
    }

    /// Ends the running alignment somewhere before `at` and gives the next one's anchor, moved back as far as its
    /// bytes mostly agree.
    fn settle(&mut self, anchor: Anchor, at: usize, old_at: usize) -> Anchor {
        let gap = at - anchor.new;
        let room = gap.min(self.old.len().saturating_sub(anchor.old));
        let mut forward = best_extent((0..room).map(|i| self.old[anchor.old + i] == self.new[anchor.new + i]));
        let mut backward = 0;
        if at < self.new.len() {
            let room = gap.min(old_at);
            backward = best_extent((1..=room).map(|i| self.old[old_at - i] == self.new[at - i]));
        }
        if forward + backward > gap {
            let overlap = forward + backward - gap;
            let kept = self.split_overlap(
                anchor.new + forward - overlap,
                anchor.old + forward - overlap,
                at - backward,
                old_at - backward,
                overlap,
            );
            forward = forward - overlap + kept;
            backward -= kept;
        }
        if forward > 0 {
            self.matches.push(Match { new: anchor.new, old: anchor.old, length: forward });
        }
        Anchor { new: at - backward, old: old_at.saturating_sub(backward) }
    }

    /// Of `overlap` bytes that both alignments claim, how many the first one should keep.
    fn split_overlap(
        &self,
        new_at: usize,
        old_first: usize,
        new_second: usize,
        old_second: usize,
        overlap: usize,
    ) -> usize {
        debug_assert_eq!(new_at, new_second);
        let (mut score, mut best, mut kept) = (0i64, 0i64, 0);
        for i in 0..overlap {
            score += i64::from(self.new[new_at + i] == self.old[old_first + i]);
            score -= i64::from(self.new[new_at + i] == self.old[old_second + i]);
            if score > best {
                (best, kept) = (score, i + 1);
            }
        }
        kept
    }
}

/// How far to extend: where equal bytes exceed different ones by most, the nearest such place.
fn best_extent(agree: impl Iterator<Item = bool>) -> usize {
    let (mut score, mut best, mut extent) = (0i64, 0i64, 0);
    for (index, equal) in agree.enumerate() {
        score += if equal { 1 } else { -1 };
        if score > best {
            (best, extent) = (score, index + 1);
        }
    }
    extent
}
