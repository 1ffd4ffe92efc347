//! Which old releases deserve a pack, and whether a pack deserves to be kept.

/// Chooses at most `bases_max` builds to make packs from, newest first.
///
/// `published` are the builds the platform has, `offered` those that a channel offers now: clients have these, so they come
/// before all others; then the newest. Builds below `minimum_build` must be downloaded afresh and need no pack.
pub fn choose(build: u64, minimum_build: u64, published: &[u64], offered: &[u64], bases_max: usize) -> Vec<u64> {
    let mut candidates: Vec<u64> =
        published.iter().copied().filter(|base| *base < build && *base >= minimum_build).collect();
    candidates.sort_unstable_by_key(|base| (!offered.contains(base), std::cmp::Reverse(*base)));
    candidates.dedup();
    candidates.truncate(bases_max);
    candidates.sort_unstable_by(|a, b| b.cmp(a));
    candidates
}

/// Indices of `bases`, the most useful first: where channels keep their users now, then the newest.
pub fn useful_first(bases: &[u64], offered: &[u64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..bases.len()).collect();
    order.sort_by_key(|index| (!offered.contains(&bases[*index]), std::cmp::Reverse(bases[*index])));
    order
}

/// How many of `packs_bytes`, the most useful first, fit into `budget_bytes`: the last are left out until the others do.
pub fn within(packs_bytes: &[u64], budget_bytes: u64) -> usize {
    let mut total: u64 = packs_bytes.iter().sum();
    let mut count = packs_bytes.len();
    while total > budget_bytes {
        count -= 1;
        total -= packs_bytes[count];
    }
    count
}

/// Whether a pack saves anything: it must be smaller than the full download it would replace.
pub fn worth_keeping(pack_bytes: u64, full_bytes: u64) -> bool {
    pack_bytes < full_bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_builds_are_chosen() {
        assert_eq!(choose(9, 0, &[1, 4, 7, 9, 12], &[], 2), [7, 4]);
        assert_eq!(choose(9, 0, &[1, 4, 7], &[], 5), [7, 4, 1]);
        assert_eq!(choose(9, 4, &[1, 4, 7], &[], 5), [7, 4]);
        assert!(choose(9, 0, &[1, 4], &[], 0).is_empty() && choose(1, 0, &[1, 2], &[], 5).is_empty());
    }

    #[test]
    fn what_clients_have_now_comes_before_what_is_newer() {
        assert_eq!(choose(9, 0, &[1, 4, 7, 8], &[1], 2), [8, 1]);
        assert_eq!(choose(9, 0, &[1, 4, 7, 8], &[1, 7, 12], 1), [7]);
    }

    #[test]
    fn a_budget_leaves_out_old_bases_before_new_ones_and_offered_ones_last() {
        assert_eq!(useful_first(&[8, 7, 4, 1], &[4]), [2, 0, 1, 3]);
        assert_eq!((within(&[5, 4, 3], 12), within(&[5, 4, 3], 11), within(&[5, 4, 3], 4)), (3, 2, 0));
        assert_eq!((within(&[], 0), within(&[0, 0], 0)), (0, 2));
    }

    #[test]
    fn a_pack_as_large_as_the_download_is_not_kept() {
        assert!(worth_keeping(9, 10) && !worth_keeping(10, 10) && !worth_keeping(11, 10));
    }
}
