//! Long equal runs, found from hits of sample points and taken out before anything is indexed, so that the cost of a
//! patch of large files follows what changed in them.

use super::samples::{Hit, SAMPLE_BYTES};
use super::{DiffError, Side, matching, read};

/// Shorter runs are left to the search.
const RUN_BYTES_MIN: u64 = 16 << 10;
/// Bytes compared at first, and at most, at a time: most hits that are no run end soon.
const STEP_BYTES: std::ops::RangeInclusive<u64> = 512..=64 << 10;

/// A stretch of new that is the same in old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Where it begins in new.
    pub new: u64,
    /// Where it begins in old.
    pub old: u64,
    /// Its bytes.
    pub length: u64,
}

/// Runs in the order of new, without overlap, each as long as it can be.
///
/// Where old holds the same stretch several times, the place that continues the last run is preferred.
///
/// # Errors
/// Reading.
pub fn runs(old: &mut Side<'_>, new: &mut Side<'_>, hits: &[Hit]) -> Result<Vec<Run>, DiffError> {
    let mut runs: Vec<Run> = Vec::new();
    let mut covered = 0;
    let mut shift = 0;
    for hit in hits {
        if hit.new < covered + SAMPLE_BYTES as u64 {
            continue;
        }
        let goes_on = hit.new.checked_add_signed(shift).filter(|at| (1..=old.length).contains(at));
        let places = goes_on.filter(|at| *at != hit.old).into_iter().chain([hit.old]);
        for place in places {
            let run = extend(old, new, Hit { old: place, ..*hit }, covered)?;
            if run.length >= RUN_BYTES_MIN {
                runs.push(run);
                covered = run.new + run.length;
                shift = run.old as i64 - run.new as i64;
                break;
            }
        }
    }
    Ok(runs)
}

/// The equal bytes around a hit, not before `floor` in new.
fn extend(old: &mut Side<'_>, new: &mut Side<'_>, hit: Hit, floor: u64) -> Result<Run, DiffError> {
    let back = extend_back(old, new, &hit, floor)?;
    let ahead = extend_ahead(old, new, &hit)?;
    Ok(Run { new: hit.new - back, old: hit.old - back, length: back + ahead })
}

fn extend_ahead(old: &mut Side<'_>, new: &mut Side<'_>, hit: &Hit) -> Result<u64, DiffError> {
    let room = (old.length - hit.old).min(new.length - hit.new);
    let mut equal = 0;
    while equal < room {
        let step = step_after(equal).min(room - equal);
        let a = read(old, "old", hit.old + equal, step)?;
        let b = read(new, "new", hit.new + equal, step)?;
        let same = matching::common_prefix(&a, &b) as u64;
        equal += same;
        if same < step {
            break;
        }
    }
    Ok(equal)
}

/// As many bytes again as were equal so far, within bounds.
fn step_after(equal: u64) -> u64 {
    equal.clamp(*STEP_BYTES.start(), *STEP_BYTES.end())
}

/// How many bytes before a hit are equal, down to `floor` in new.
fn extend_back(old: &mut Side<'_>, new: &mut Side<'_>, hit: &Hit, floor: u64) -> Result<u64, DiffError> {
    let room = hit.old.min(hit.new - floor);
    let mut equal = 0;
    while equal < room {
        let step = step_after(equal).min(room - equal);
        let a = read(old, "old", hit.old - equal - step, step)?;
        let b = read(new, "new", hit.new - equal - step, step)?;
        let same = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count() as u64;
        equal += same;
        if same < step {
            break;
        }
    }
    Ok(equal)
}

#[cfg(test)]
mod tests {
    use super::super::samples::{hits, tests::noise};
    use super::*;

    fn find(old: &[u8], new: &[u8]) -> Vec<Run> {
        let (mut old_bytes, mut new_bytes) = (old, new);
        let mut old_side = Side { length: old.len() as u64, bytes: &mut old_bytes };
        let mut new_side = Side { length: new.len() as u64, bytes: &mut new_bytes };
        let hits = hits(&mut old_side, &mut new_side).expect("read");
        runs(&mut old_side, &mut new_side, &hits).expect("read")
    }

    #[test]
    fn repeated_content_keeps_to_the_alignment() {
        let old = [noise(1, 100_000).repeat(3), noise(2, 50_000)].concat();
        let mut new = old.clone();
        (0..9).for_each(|n| new[30_000 * n + 7] ^= 1);
        let found = find(&old, &new);
        assert!(found.len() >= 9 && found.iter().all(|run| run.new == run.old), "{found:?}");
    }

    #[test]
    fn runs_are_whole_and_in_order() {
        let old = noise(1, 300_000);
        let mut new = [&old[200_000..], &noise(2, 5_000), &old[..200_000]].concat();
        new[150_000] ^= 1;
        let found = find(&old, &new);
        let expected = [
            Run { new: 0, old: 200_000, length: 100_000 },
            Run { new: 105_000, old: 0, length: 45_000 },
            Run { new: 150_001, old: 45_001, length: 154_999 },
        ];
        assert_eq!(found, expected);
    }
}
