//! Which pieces share an object: pure, and stable from release to release.
//!
//! Pieces that are expected to fill an object alone do. All others share objects with their neighbours in the order of
//! the manifest. Where a group ends is chosen by the pieces' own keys: of all places that give a group of fitting
//! weight, the one after the piece with the lowest key. Whether a place wins depends on what stands near it, so a
//! change moves few boundaries: after a place whose key is low everything goes on as before.

/// Weight from which a piece is an object of its own.
pub(super) const ALONE_WEIGHT: u64 = 400 << 10;

/// Weight between which a group ends.
const GROUP_WEIGHT_MIN: u64 = 448 << 10;
const GROUP_WEIGHT_MAX: u64 = 1 << 20;

/// So that every group that reaches the upper bound has a place to end before it.
const _: () = assert!(GROUP_WEIGHT_MAX - GROUP_WEIGHT_MIN >= ALONE_WEIGHT);

/// A group weighs at least a fourth of its raw bytes, so that none has more than 4 MiB of them: what it takes to
/// compress one stays bounded.
const RAW_BYTES_A_WEIGHT: u64 = 4;

/// What grouping knows of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Item {
    /// Equally distributed and lasting: a hash of what names the piece over releases.
    pub(super) key: u64,
    /// Bytes it is expected to take, at least in proportion to its raw bytes.
    pub(super) weight: u64,
}

impl Item {
    /// A piece of `raw_bytes` that compress to about `estimate_bytes` alone.
    pub(super) fn new(key: u64, raw_bytes: u64, estimate_bytes: u64) -> Self {
        Self { key, weight: estimate_bytes.max(raw_bytes.div_ceil(RAW_BYTES_A_WEIGHT)) }
    }
}

/// Splits `items` into groups, each a list of their indexes in rising order; every index is in one group.
pub(super) fn group(items: &[Item]) -> Vec<Vec<usize>> {
    let (alone, shared): (Vec<usize>, Vec<usize>) = (0..items.len()).partition(|i| items[*i].weight >= ALONE_WEIGHT);
    let mut groups: Vec<Vec<usize>> = alone.into_iter().map(|index| vec![index]).collect();
    let mut rest = &shared[..];
    while !rest.is_empty() {
        let (first, others) = rest.split_at(first_group(rest.iter().map(|index| items[*index])));
        groups.push(first.to_vec());
        rest = others;
    }
    groups
}

/// Length of the first group of items that are all lighter than [`ALONE_WEIGHT`].
fn first_group(items: impl Iterator<Item = Item>) -> usize {
    let mut weight = 0;
    let mut best: Option<(u64, usize)> = None;
    let mut count = 0;
    for item in items {
        weight += item.weight;
        if weight > GROUP_WEIGHT_MAX {
            return best.map_or(count.max(1), |(_, end)| end);
        }
        count += 1;
        if weight >= GROUP_WEIGHT_MIN && best.is_none_or(|(key, _)| item.key < key) {
            best = Some((item.key, count));
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn key(name: &str) -> u64 {
        u64::from_le_bytes(*blake3::hash(name.as_bytes()).as_bytes().first_chunk().expect("32 bytes"))
    }

    /// Names with weights from 1 to about 64 KiB.
    fn tree(count: usize) -> Vec<(String, u64)> {
        (0..count).map(|n| format!("dir{}/file{n}", n / 40)).map(|name| (name.clone(), key(&name) >> 48)).collect()
    }

    fn groups_of(tree: &[(String, u64)]) -> Vec<Vec<String>> {
        let items: Vec<Item> = tree.iter().map(|(name, weight)| Item::new(key(name), *weight, weight / 2)).collect();
        group(&items).into_iter().map(|g| g.into_iter().map(|i| tree[i].0.clone()).collect()).collect()
    }

    fn fresh_groups(old: &[(String, u64)], new: &[(String, u64)]) -> usize {
        let old: HashSet<Vec<String>> = groups_of(old).into_iter().collect();
        groups_of(new).iter().filter(|g| !old.contains(*g)).count()
    }

    #[test]
    fn a_changed_weight_keeps_nearly_all_groups() {
        let old = tree(1000);
        assert!(groups_of(&old).len() > 15);
        for n in (0..1000).step_by(37) {
            let mut new = old.clone();
            new[n].1 += new[n].1 / 10;
            assert!(fresh_groups(&old, &new) <= 6, "{n}");
        }
    }

    #[test]
    fn files_that_come_or_go_change_their_neighbourhood_alone() {
        let old = tree(2000);
        let all = groups_of(&old).len();
        let mut fresh = Vec::new();
        for n in (0..2000).step_by(61) {
            let mut less = old.clone();
            less.remove(n);
            let mut more = old.clone();
            more.insert(n, (format!("inserted{n}"), 20_000));
            fresh.push(fresh_groups(&old, &less));
            fresh.push(fresh_groups(&old, &more));
        }
        let mean = fresh.iter().sum::<usize>() as f64 / fresh.len() as f64;
        assert!(all > 30 && mean < 3.0, "{mean} of {all}: {fresh:?}");
    }

    proptest! {
        #[test]
        fn every_piece_is_in_one_group_of_bounded_weight(
            pieces in prop::collection::vec((any::<u64>(), 1u64..4 << 20, 1u64..480 << 10), 0..300)
        ) {
            let items: Vec<Item> = pieces.iter().map(|(k, raw, estimate)| Item::new(*k, *raw, *estimate)).collect();
            let groups = group(&items);
            let mut seen: Vec<usize> = groups.concat();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..items.len()).collect::<Vec<_>>());
            let mut light = 0;
            for group in &groups {
                let weight: u64 = group.iter().map(|i| items[*i].weight).sum();
                prop_assert!(group.len() == 1 || weight <= GROUP_WEIGHT_MAX);
                prop_assert!(group.is_sorted());
                light += usize::from(weight < GROUP_WEIGHT_MIN && items[group[0]].weight < ALONE_WEIGHT);
            }
            prop_assert!(light <= 1, "only the last group of all is small");
        }
    }
}
