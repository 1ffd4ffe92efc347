//! Where a place of old went in new, as the copies of a patch tell.

/// A copy: `length` bytes of new at `new` come from old at `old`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins in new.
    pub new: u64,
    /// Where it begins in old.
    pub old: u64,
    /// Its bytes.
    pub length: u64,
}

/// Of copies that overlap in old, so many are looked at.
const OVERLAPS_MAX: usize = 64;

/// All copies of a patch, by their place in old.
pub struct Alignment {
    segments: Vec<Segment>,
    /// The farthest end in old of the segments up to each.
    reach: Vec<u64>,
}

impl Alignment {
    /// From copies in any order.
    pub fn new(segments: &[Segment]) -> Self {
        let mut segments: Vec<Segment> = segments.iter().copied().filter(|segment| segment.length > 0).collect();
        segments.sort_by_key(|segment| (segment.old, segment.length, segment.new));
        let mut end = 0;
        let reach = segments.iter().map(|segment| {
            end = end.max(segment.old + segment.length);
            end
        });
        Self { reach: reach.collect(), segments }
    }

    /// Where the byte at `old` went: by the longest copy that covers it; else as far behind the copy before it as in
    /// old.
    pub fn new_offset(&self, old: u64) -> Option<u64> {
        let after = self.segments.partition_point(|segment| segment.old <= old);
        let Some(before) = after.checked_sub(1) else {
            let first = self.segments.first()?;
            return (first.new + old).checked_sub(first.old);
        };
        let mut best: Option<&Segment> = None;
        for index in (after.saturating_sub(OVERLAPS_MAX)..after).rev() {
            let segment = &self.segments[index];
            let covers = old < segment.old + segment.length;
            if covers && best.is_none_or(|best| segment.length > best.length) {
                best = Some(segment);
            }
            if self.reach[index] <= old {
                break;
            }
        }
        let chosen = best.unwrap_or(&self.segments[before]);
        Some(chosen.new + (old - chosen.old))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_copy_decides_and_gaps_follow_the_copy_before() {
        let segment = |new, old, length| Segment { new, old, length };
        let alignment = Alignment::new(&[segment(100, 50, 10), segment(500, 52, 20), segment(0, 90, 5)]);
        assert_eq!(alignment.new_offset(51), Some(101));
        assert_eq!(alignment.new_offset(55), Some(503));
        assert_eq!(alignment.new_offset(80), Some(528));
        assert_eq!(alignment.new_offset(94), Some(4));
        assert_eq!(alignment.new_offset(40), Some(90));
        assert_eq!(Alignment::new(&[]).new_offset(7), None);
    }
}
