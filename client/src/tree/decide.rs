//! Forward or back: what recovery does, as a pure function of what lies on disk. By content only; names, sizes and times
//! decide nothing.

use super::order::Side;
use crate::format::journal::{Area, Backup, JournalOp, Thing};

/// What lies at the path of an op.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Current {
    /// What was there before, and only that.
    Before,
    /// What is there after, and only that.
    After,
    /// Before and after have the same content, and that is there.
    Both,
    /// Nothing, though something was there before and is there after.
    Missing,
    /// Something else.
    Other,
}

impl Current {
    /// Which it is; `thing` is nothing for a device, socket or pipe.
    pub(super) fn of(op: &JournalOp, thing: Option<&Thing>) -> Self {
        let Some(thing) = thing else { return Self::Other };
        match (thing.same_content(&op.before), thing.same_content(&op.after)) {
            (true, true) => Self::Both,
            (true, false) => Self::Before,
            (false, true) => Self::After,
            (false, false) if *thing == Thing::Absent => Self::Missing,
            (false, false) => Self::Other,
        }
    }

    /// True where the content is that of `side`.
    pub(super) fn is(self, side: Side) -> bool {
        self == Self::Both || self == if side == Side::Before { Self::Before } else { Self::After }
    }
}

/// What recovery found out about one op.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    pub(super) current: Current,
    /// The staged file holds the content after.
    pub(super) staged: bool,
    /// The backup holds the content before.
    pub(super) backup: bool,
    /// The user had taken the content before away, or written over it, and what was written was set aside.
    pub(super) aside: bool,
}

/// Where recovery leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Direction {
    Forward,
    Back,
    /// Neither tree can be put together; the numbers of the ops that miss both contents, or either.
    Neither(Vec<usize>),
}

/// Forward if every content after is in place or staged; else back if every content before is in place or held; else
/// neither.
pub(super) fn decide(ops: &[JournalOp], facts: &[Facts]) -> Direction {
    if lacking(ops, facts, can_go_forward).is_empty() {
        return Direction::Forward;
    }
    let back = lacks_to_go_back(ops, facts);
    if back.is_empty() { Direction::Back } else { Direction::Neither(back) }
}

/// Numbers of the ops whose old content is not at hand.
pub(super) fn lacks_to_go_back(ops: &[JournalOp], facts: &[Facts]) -> Vec<usize> {
    lacking(ops, facts, can_go_back)
}

/// Where a tree is led as far as it goes that can be put together on neither side: the side that lacks fewer contents, of those
/// whose record is whole; and the numbers of the ops it lacks them for. Nothing if neither record is whole.
pub(super) fn salvage(ops: &[JournalOp], facts: &[Facts]) -> Option<(Side, Vec<usize>)> {
    let sides = [(Side::Before, lacking(ops, facts, can_go_back)), (Side::After, lacking(ops, facts, can_go_forward))];
    let whole = sides.into_iter().filter(|(_, lacking)| lacking.iter().all(|op| ops[*op].area == Area::Tree));
    whole.min_by_key(|(_, lacking)| lacking.len())
}

/// Numbers of the ops that cannot go where `can` asks.
fn lacking(ops: &[JournalOp], facts: &[Facts], can: fn(&JournalOp, &Facts) -> bool) -> Vec<usize> {
    ops.iter().zip(facts).enumerate().filter(|(_, (op, facts))| !can(op, facts)).map(|(number, _)| number).collect()
}

/// Links and directories are made from the journal itself; of a change in mode only, content that is there stays.
fn can_go_forward(op: &JournalOp, facts: &Facts) -> bool {
    op.staged.is_none() || facts.current.is(Side::After) || facts.staged
}

/// What the user took away or wrote anew meanwhile need not be put back; what was written in its place is.
fn can_go_back(op: &JournalOp, facts: &Facts) -> bool {
    op.backup != Backup::Drop || facts.current.is(Side::Before) || facts.backup || facts.aside
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::digest::Blake3;
    use crate::format::journal::{Area, EntryPath};
    use crate::format::path::RelPath;

    fn file(content: &[u8]) -> Thing {
        Thing::File { mode: 0o644, size: content.len() as u64, blake3: Blake3::of(content) }
    }

    fn op(before: Thing, after: Thing, backup: Backup) -> JournalOp {
        let staged = matches!(after, Thing::File { .. }).then_some(0);
        let path = EntryPath::from(&RelPath::parse("p").expect("legal"));
        JournalOp { area: Area::Tree, path, before, after, destination: None, staged, backup, was: None }
    }

    fn facts(current: Current, staged: bool, backup: bool) -> Facts {
        Facts { current, staged, backup, aside: false }
    }

    #[test]
    fn content_tells_what_lies_there() {
        let replace = op(file(b"old"), file(b"new"), Backup::Drop);
        assert_eq!(Current::of(&replace, Some(&file(b"old"))), Current::Before);
        assert_eq!(Current::of(&replace, Some(&file(b"new"))), Current::After);
        assert_eq!(Current::of(&replace, Some(&file(b"\0\0\0"))), Current::Other);
        assert_eq!(Current::of(&replace, Some(&Thing::Absent)), Current::Missing);
        assert_eq!(Current::of(&replace, None), Current::Other);
        let add = op(Thing::Absent, file(b"new"), Backup::None);
        assert_eq!(Current::of(&add, Some(&Thing::Absent)), Current::Before);
        let mode = op(file(b"x"), Thing::File { mode: 0o755, size: 1, blake3: Blake3::of(b"x") }, Backup::None);
        assert_eq!(Current::of(&mode, Some(&file(b"x"))), Current::Both);
    }

    #[test]
    fn forward_if_it_can_back_otherwise() {
        use Current as C;
        let replace = || op(file(b"old"), file(b"new"), Backup::Drop);
        let add = || op(Thing::Absent, file(b"new"), Backup::None);
        let remove = || op(file(b"old"), Thing::Absent, Backup::Drop);
        let aside = || op(file(b"user"), Thing::Absent, Backup::Keep);
        type Case = (&'static str, Vec<(JournalOp, Facts)>, Direction);
        let cases: Vec<Case> = vec![
            ("nothing done, all staged", vec![(replace(), facts(C::Before, true, false))], Direction::Forward),
            ("all done", vec![(replace(), facts(C::After, false, false))], Direction::Forward),
            ("one lost its staged file", vec![(replace(), facts(C::Before, false, false))], Direction::Back),
            (
                "half done, the rest lost its staged file",
                vec![(replace(), facts(C::After, false, true)), (replace(), facts(C::Missing, false, true))],
                Direction::Back,
            ),
            (
                "back is cut off",
                vec![(replace(), facts(C::After, false, false)), (replace(), facts(C::Missing, false, true))],
                Direction::Neither(vec![0]),
            ),
            ("garbage in place, staged", vec![(replace(), facts(C::Other, true, true))], Direction::Forward),
            ("garbage in place, held", vec![(replace(), facts(C::Other, false, true))], Direction::Back),
            (
                "what the user wrote over it with was set aside",
                vec![(replace(), Facts { aside: true, ..facts(C::Missing, false, false) })],
                Direction::Back,
            ),
            ("an added file is simply undone", vec![(add(), facts(C::Other, false, false))], Direction::Back),
            ("a removal needs nothing", vec![(remove(), facts(C::Other, false, false))], Direction::Forward),
            (
                "the user's own absence is no obstacle",
                vec![(aside(), facts(C::After, false, false)), (add(), facts(C::Before, false, false))],
                Direction::Back,
            ),
        ];
        for (name, rows, expected) in cases {
            let (ops, facts): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
            assert_eq!(decide(&ops, &facts), expected, "{name}");
        }
    }

    #[test]
    fn what_can_be_put_together_on_neither_side_goes_where_less_is_lacking_and_the_record_is_whole() {
        use Current as C;
        let file_op = || op(file(b"old"), file(b"new"), Backup::Drop);
        let record_op = || JournalOp { area: Area::Record, ..file_op() };
        let lost = || facts(C::Other, false, false);
        let new = || facts(C::After, false, false);
        let both = || facts(C::Before, true, true);
        type Case = (&'static str, Vec<(JournalOp, Facts)>, Option<(Side, Vec<usize>)>);
        let cases: Vec<Case> = vec![
            ("as much either way", vec![(file_op(), lost()), (file_op(), both())], Some((Side::Before, vec![0]))),
            (
                "less forward",
                vec![(file_op(), lost()), (file_op(), new()), (record_op(), both())],
                Some((Side::After, vec![0])),
            ),
            (
                "less forward, with no record there",
                vec![(file_op(), lost()), (file_op(), new()), (record_op(), facts(C::Before, false, true))],
                Some((Side::Before, vec![0, 1])),
            ),
            ("no record", vec![(file_op(), both()), (record_op(), lost())], None),
        ];
        for (name, rows, expected) in cases {
            let (ops, facts): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
            assert_eq!(salvage(&ops, &facts), expected, "{name}");
        }
    }
}
