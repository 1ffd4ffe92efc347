//! In which order the names of a tree change: a pure function of the journal.
//!
//! 1. **Clear** what must be gone before something else can come: a file where a directory comes, a directory where a file
//!    comes with all that goes below it, and a name that a lax file system takes for one that comes. Deepest first.
//! 2. **Make** directories, outermost first.
//! 3. **Place** contents: plain files, executables, links.
//! 4. **Remove** the rest, deepest first.
//! 5. The record.

use std::collections::{HashMap, HashSet};

use crate::format::journal::{Area, JournalOp, Thing};

/// One of the two trees a journal leads between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The old tree: rolling back.
    Before,
    /// The new tree: rolling forward.
    After,
}

impl Side {
    /// What an op leads from and to when the tree is to be this side.
    pub(super) fn ends(self, op: &JournalOp) -> (&Thing, &Thing) {
        match self {
            Self::Before => (&op.after, &op.before),
            Self::After => (&op.before, &op.after),
        }
    }

    /// What an op leads to.
    pub(super) fn goal(self, op: &JournalOp) -> &Thing {
        self.ends(op).1
    }
}

/// One step; the number is that of the op.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Clear(usize),
    Make(usize),
    Place(usize),
    Remove(usize),
}

impl Step {
    /// Number of the op it belongs to.
    pub(super) fn op(self) -> usize {
        let (Self::Clear(op) | Self::Make(op) | Self::Place(op) | Self::Remove(op)) = self;
        op
    }
}

/// The steps that lead a tree to `goal`. Each may find itself done already.
pub(super) fn steps(ops: &[JournalOp], goal: Side) -> Vec<Step> {
    let clear = cleared_first(ops, goal);
    let mut steps: Vec<Step> = (0..ops.len()).rev().filter(|i| clear.contains(i)).map(Step::Clear).collect();
    let tree = |i: &usize| ops[*i].area == Area::Tree;
    steps.extend((0..ops.len()).filter(|i| goal.goal(&ops[*i]).is_directory()).map(Step::Make));
    for rank in 0..3 {
        steps.extend(
            (0..ops.len()).filter(tree).filter(|i| rank_of(goal.goal(&ops[*i])) == Some(rank)).map(Step::Place),
        );
    }
    let removed = |i: &usize| *goal.goal(&ops[*i]) == Thing::Absent && !clear.contains(i);
    steps.extend((0..ops.len()).rev().filter(tree).filter(removed).map(Step::Remove));
    let record = (0..ops.len()).filter(|i| !tree(i));
    steps.extend(record.map(|i| if goal.goal(&ops[i]).is_leaf() { Step::Place(i) } else { Step::Remove(i) }));
    steps
}

fn rank_of(goal: &Thing) -> Option<u8> {
    match goal {
        Thing::File { mode, .. } => Some(u8::from(mode & 0o100 != 0)),
        Thing::Link { .. } => Some(2),
        Thing::Absent | Thing::Directory { .. } => None,
    }
}

fn cleared_first(ops: &[JournalOp], goal: Side) -> HashSet<usize> {
    let mut coming: HashMap<String, usize> = HashMap::new();
    for (index, op) in ops.iter().enumerate().filter(|(_, op)| op.area == Area::Tree) {
        if *goal.goal(op) != Thing::Absent {
            coming.insert(op.path.fold_key(), index);
        }
    }
    let must_go = |op: &JournalOp| {
        let (from, to) = goal.ends(op);
        let changes_kind = (from.is_leaf() && to.is_directory()) || (from.is_directory() && to.is_leaf());
        let meets_another = || *to == Thing::Absent && coming.contains_key(&op.path.fold_key());
        op.area == Area::Tree && *from != Thing::Absent && (changes_kind || op.was.is_some() || meets_another())
    };
    let tops: HashMap<&str, usize> =
        ops.iter().enumerate().filter(|(_, op)| must_go(op)).map(|(i, op)| (op.path.as_str(), i)).collect();
    let below_a_top = |op: &JournalOp| {
        let path = op.path.as_str();
        op.area == Area::Tree && path.match_indices('/').any(|(at, _)| tops.contains_key(&path[..at]))
    };
    let goes = |op: &JournalOp| *goal.goal(op) == Thing::Absent && below_a_top(op);
    let below = ops.iter().enumerate().filter(|(_, op)| goes(op)).map(|(i, _)| i);
    tops.values().copied().chain(below).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::digest::Blake3;
    use crate::format::journal::{Backup, EntryPath};
    use crate::format::path::RelPath;

    const NONE: Thing = Thing::Absent;
    const DIR: Thing = Thing::Directory { mode: 0o755 };

    fn file() -> Thing {
        Thing::File { mode: 0o644, size: 0, blake3: Blake3::of(b"") }
    }

    fn program() -> Thing {
        Thing::File { mode: 0o755, size: 1, blake3: Blake3::of(b"x") }
    }

    fn link() -> Thing {
        Thing::Link { size: 0, blake3: Blake3::of(b"") }
    }

    fn ops(rows: &[(&str, Thing, Thing)]) -> Vec<JournalOp> {
        let op = |(path, before, after): &(&str, Thing, Thing)| JournalOp {
            area: Area::Tree,
            path: EntryPath::from(&RelPath::parse(path).expect("legal")),
            before: *before,
            after: *after,
            destination: None,
            staged: None,
            backup: Backup::None,
            was: None,
        };
        rows.iter().map(op).collect()
    }

    /// The steps as text: a letter and the path.
    fn shown(rows: &[(&str, Thing, Thing)], goal: Side) -> Vec<String> {
        let show = |step: Step| {
            let (letter, op) = match step {
                Step::Clear(op) => ('c', op),
                Step::Make(op) => ('m', op),
                Step::Place(op) => ('p', op),
                Step::Remove(op) => ('r', op),
            };
            format!("{letter} {}", rows[op].0)
        };
        steps(&ops(rows), goal).into_iter().map(show).collect()
    }

    #[test]
    fn the_order_of_each_kind_of_change() {
        type Case<'a> = (&'a str, &'a [(&'a str, Thing, Thing)], &'a [&'a str], &'a [&'a str]);
        let cases: &[Case<'_>] = &[
            (
                "plain files, executables, links, then removals",
                &[("a", program(), program()), ("b", NONE, link()), ("c", file(), file()), ("d", file(), NONE)],
                &["p c", "p a", "p b", "r d"],
                &["p c", "p d", "p a", "r b"],
            ),
            (
                "new directories outermost first, emptied ones innermost first",
                &[
                    ("n", NONE, DIR),
                    ("n/m", NONE, DIR),
                    ("n/m/f", NONE, file()),
                    ("o", DIR, NONE),
                    ("o/p", DIR, NONE),
                    ("o/p/f", file(), NONE),
                ],
                &["m n", "m n/m", "p n/m/f", "r o/p/f", "r o/p", "r o"],
                &["m o", "m o/p", "p o/p/f", "r n/m/f", "r n/m", "r n"],
            ),
            (
                "file to directory",
                &[("x", file(), DIR), ("x/y", NONE, file())],
                &["c x", "m x", "p x/y"],
                &["c x/y", "c x", "p x"],
            ),
            (
                "directory to file, with what else goes there",
                &[("x", DIR, file()), ("x/s", DIR, NONE), ("x/s/u", file(), NONE), ("x/y", file(), NONE)],
                &["c x/y", "c x/s/u", "c x/s", "c x", "p x"],
                &["c x", "m x", "m x/s", "p x/s/u", "p x/y"],
            ),
            (
                "case-only rename",
                &[("Read", file(), NONE), ("read", NONE, file()), ("z", file(), NONE)],
                &["c Read", "p read", "r z"],
                &["c read", "p Read", "p z"],
            ),
            (
                "case-only rename of a directory",
                &[
                    ("Lib", DIR, NONE),
                    ("Lib/a", file(), NONE),
                    ("Lib/old", file(), NONE),
                    ("lib", NONE, DIR),
                    ("lib/a", NONE, file()),
                ],
                &["c Lib/old", "c Lib/a", "c Lib", "m lib", "p lib/a"],
                &["c lib/a", "c lib", "m Lib", "p Lib/a", "p Lib/old"],
            ),
            (
                "link to directory",
                &[("l", link(), DIR), ("l/f", NONE, file())],
                &["c l", "m l", "p l/f"],
                &["c l/f", "c l", "p l"],
            ),
            (
                "a name that only begins alike",
                &[("x", file(), DIR), ("xy", file(), NONE)],
                &["c x", "m x", "r xy"],
                &["c x", "p x", "p xy"],
            ),
        ];
        for (name, rows, forward, back) in cases {
            assert_eq!(shown(rows, Side::After), *forward, "{name}, forward");
            assert_eq!(shown(rows, Side::Before), *back, "{name}, back");
        }
    }

    #[test]
    fn the_record_comes_last() {
        let mut ops = ops(&[("app", NONE, file()), ("gone", file(), NONE), ("release", file(), file())]);
        ops[2].area = Area::Record;
        assert_eq!(steps(&ops, Side::After), [Step::Place(0), Step::Remove(1), Step::Place(2)]);
    }
}
