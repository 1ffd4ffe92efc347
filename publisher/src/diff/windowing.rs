//! Divides a unit into sections: what is searched for, and the stretches of old it is searched in.
//!
//! Up to 256 MiB a side there is one section, everything in everything. Beyond that, long equal runs are taken out
//! first ([`super::equal`]). What lies between them is searched, with a margin of the runs around it, so that the
//! search finds by itself which alignment goes on. A section searches for at most 64 MiB, in at most 192 MiB of old: the
//! surroundings of its gaps, and of what no run covers the bins of 64 MiB whose sample points it has most of.

use std::collections::BTreeMap;
use std::ops::Range;

use super::equal::{self, Run};
use super::samples::{self, Hit};
use super::{DiffError, Side, read};

/// Bounds that decide how a unit is divided, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Up to this length of either side there is one section.
    whole: u64,
    /// New bytes a section searches for.
    new: u64,
    /// Old bytes it searches in.
    old: u64,
    /// Part of a run that is searched with the gap beside it, and of old that is indexed around a gap.
    margin: u64,
}

impl Bounds {
    /// Equal runs are taken out of all but small files.
    pub(super) const fn fast() -> Self {
        Self { whole: 4 << 20, ..Self::thorough() }
    }

    /// Everything is searched in everything as far as memory allows.
    pub(super) const fn thorough() -> Self {
        Self { whole: 256 << 20, new: 64 << 20, old: 192 << 20, margin: 4 << 10 }
    }

    #[cfg(test)]
    pub(super) const fn small() -> Self {
        Self { whole: 0, new: 64 << 10, old: 192 << 10, margin: 512 }
    }
}

/// Bins of old are ranked, and added to a section, as wholes; this many make up a section's share.
const BINS: u64 = 3;

/// What is searched for in one index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// What is indexed.
    pub old: OldWindow,
    /// Parts of new, each after the one before.
    pub parts: Vec<Part>,
}

/// A part of new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// The same as in old.
    Equal(Run),
    /// To be searched for.
    Search(Range<u64>),
}

/// Stretches of old that are indexed as one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
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

/// The sections of a unit, in the order of new.
///
/// # Errors
/// Reading.
pub(super) fn plan(old: &mut Side<'_>, new: &mut Side<'_>, bounds: Bounds) -> Result<Vec<Section>, DiffError> {
    if old.length.max(new.length) <= bounds.whole {
        let all = Range { start: 0, end: old.length };
        return Ok(vec![Section { old: OldWindow(vec![all]), parts: vec![Part::Search(0..new.length)] }]);
    }
    let hits = samples::hits(old, new)?;
    let runs = equal::runs(old, new, &hits)?;
    let uncovered = uncovered(&runs, old.length, bounds.margin);
    let section = |parts: Vec<Part>| {
        let stretches = choose_old(&parts, &hits, &uncovered, old.length, bounds);
        Section { old: OldWindow(stretches), parts }
    };
    Ok(divide(&runs, new.length, bounds).into_iter().map(section).collect())
}

/// Cuts new into the parts of sections.
fn divide(runs: &[Run], new_length: u64, bounds: Bounds) -> Vec<Vec<Part>> {
    let mut sections: Vec<Vec<Part>> = vec![Vec::new()];
    let mut searched = 0;
    let mut at = 0;
    let mut search = |sections: &mut Vec<Vec<Part>>, mut range: Range<u64>| {
        while range.start < range.end {
            if searched == bounds.new {
                sections.push(Vec::new());
                searched = 0;
            }
            let end = range.end.min(range.start + bounds.new - searched);
            searched += end - range.start;
            if let Some(section) = sections.last_mut() {
                section.push(Part::Search(range.start..end));
            }
            range.start = end;
        }
    };
    for run in runs {
        // A run that goes on to either end of new needs no margin there.
        let front = if run.new == 0 { 0 } else { bounds.margin };
        let back = if run.new + run.length == new_length { 0 } else { bounds.margin };
        if run.length <= front + back {
            continue;
        }
        let inner = Run { new: run.new + front, old: run.old + front, length: run.length - front - back };
        search(&mut sections, at..inner.new);
        if let Some(section) = sections.last_mut() {
            section.push(Part::Equal(inner));
        }
        at = inner.new + inner.length;
    }
    search(&mut sections, at..new_length);
    sections
}

/// What no run takes from old, widened by a margin.
fn uncovered(runs: &[Run], length: u64, margin: u64) -> Vec<Range<u64>> {
    let mut taken: Vec<Range<u64>> = runs.iter().map(|run| run.old..run.old + run.length).collect();
    taken.sort_by_key(|range| (range.start, range.end));
    let mut free = Vec::new();
    let mut at = 0;
    for range in taken {
        if range.start > at {
            free.push(at.saturating_sub(margin)..(range.start + margin).min(length));
        }
        at = at.max(range.end);
    }
    if at < length {
        free.push(at.saturating_sub(margin)..length);
    }
    merge(free)
}

/// The stretches of old a section's gaps are searched in.
fn choose_old(
    parts: &[Part],
    hits: &[Hit],
    uncovered: &[Range<u64>],
    old_length: u64,
    bounds: Bounds,
) -> Vec<Range<u64>> {
    let mut chosen = surroundings(parts, old_length, bounds);
    let mut left = bounds.old.saturating_sub(total(&chosen));
    let bin_bytes = bounds.old / BINS;
    for bin in rank_bins(parts, hits, old_length.div_ceil(bin_bytes), bin_bytes) {
        let (start, end) = (bin * bin_bytes, (bin + 1) * bin_bytes);
        let first = uncovered.partition_point(|stretch| stretch.end <= start);
        for stretch in uncovered[first..].iter().take_while(|stretch| stretch.start < end) {
            let from = stretch.start.max(start);
            let to = stretch.end.min(end).min(from + left);
            left -= to - from;
            chosen.push(from..to);
        }
    }
    merge(chosen)
}

/// Old bytes beside the gaps, where the runs around them go on: as many as the gap has, up to a 64th of a section's.
fn surroundings(parts: &[Part], old_length: u64, bounds: Bounds) -> Vec<Range<u64>> {
    let near = bounds.margin * 2;
    let reach = |gap: &Range<u64>| (bounds.margin + gap.end - gap.start).clamp(near, near.max(bounds.new / 64));
    let mut left = bounds.old / 2;
    let mut stretches = Vec::new();
    for pair in parts.windows(2) {
        let (start, end) = match (&pair[0], &pair[1]) {
            (Part::Equal(run), Part::Search(gap)) => (run.old + run.length, run.old + run.length + reach(gap)),
            (Part::Search(gap), Part::Equal(run)) => (run.old.saturating_sub(reach(gap)), run.old),
            _ => continue,
        };
        let end = end.min(old_length).min(start + left);
        left -= end - start;
        stretches.push(start..end);
    }
    merge(stretches)
}

/// Bins of old, those first that hold most of the gaps' samples, then those nearest to the same place.
fn rank_bins(parts: &[Part], hits: &[Hit], count: u64, bin_bytes: u64) -> Vec<u64> {
    let mut votes: BTreeMap<u64, u64> = (0..count).map(|bin| (bin, 0)).collect();
    let mut here = 0;
    for gap in parts.iter().filter_map(|part| if let Part::Search(gap) = part { Some(gap) } else { None }) {
        let first = hits.partition_point(|hit| hit.new <= gap.start);
        let inside = hits[first..].iter().take_while(|hit| hit.new <= gap.end);
        inside.for_each(|hit| *votes.entry((hit.old - 1) / bin_bytes).or_default() += 1);
        here = gap.start / bin_bytes;
    }
    let mut ranked: Vec<(u64, u64)> = votes.into_iter().collect();
    ranked.sort_by_key(|(bin, votes)| (std::cmp::Reverse(*votes), bin.abs_diff(here), *bin));
    ranked.into_iter().map(|(bin, _)| bin).collect()
}

fn total(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

/// Sorts ranges and joins those that touch; empty ones are dropped.
fn merge(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.retain(|range| range.start < range.end);
    ranges.sort_by_key(|range| (range.start, range.end));
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_cover_new_without_gaps_and_stay_within_bounds() {
        let bounds = Bounds { whole: 0, new: 100, old: 300, margin: 10 };
        let run = |new, old, length| Run { new, old, length };
        let runs = [run(0, 500, 50), run(60, 560, 15), run(300, 0, 200)];
        let sections = divide(&runs, 600, bounds);
        let mut at = 0;
        for parts in &sections {
            let mut searched = 0;
            for part in parts {
                let range = match part {
                    Part::Equal(run) => run.new..run.new + run.length,
                    Part::Search(range) => range.clone(),
                };
                assert_eq!(range.start, at);
                at = range.end;
                searched += if matches!(part, Part::Search(_)) { range.end - range.start } else { 0 };
            }
            assert!(searched <= bounds.new);
        }
        assert_eq!((at, sections.len()), (600, 4));
        assert_eq!(sections[0][0], Part::Equal(run(0, 500, 40)));
        assert!(sections[2].contains(&Part::Equal(run(310, 10, 180))));
        for parts in &sections {
            assert!(total(&choose_old(parts, &[], &uncovered(&runs, 1000, 10), 1000, bounds)) <= bounds.old);
        }
    }

    #[test]
    fn what_no_run_covers_is_widened_and_merged() {
        let run = |old, length| Run { new: 0, old, length };
        let runs = [run(100, 100), run(400, 50), run(120, 20)];
        assert_eq!(uncovered(&runs, 500, 10), [0..110, 190..410, 440..500]);
        assert_eq!(merge(vec![5..9, 0..2, 2..4, 7..7]), [0..4, 5..9]);
    }

    #[test]
    fn pieces_of_a_window_are_found_in_old() {
        let window = OldWindow(vec![0..20, 30..35]);
        assert_eq!(window.locate(15, 8), [(15, 15..20), (30, 20..23)]);
        assert_eq!(window.locate(21, 2), [(31, 21..23)]);
    }
}
