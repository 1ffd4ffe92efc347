//! From what the plan asks and what the disk holds to the ops of a journal.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{contradiction, describe};
use crate::format::digest::Blake3;
use crate::format::journal::{Area, Backup, EntryPath, JournalOp, Thing};
use crate::format::manifest::{Kind, Row};
use crate::format::path::RelPath;
use crate::tree::error::TreeError;
use crate::tree::fs::{EXECUTABLE_MODE, FILE_MODE, Fs, Place, Stamp};
use crate::tree::scan::Observed;
use crate::tree::spelling::Spelling;
use crate::tree::transaction::{Before, Op};

/// The ops of a journal in the making.
pub(super) struct Entries<'a> {
    pub(super) fs: &'a dyn Fs,
    ops: BTreeMap<(Area, EntryPath), (JournalOp, Option<Stamp>)>,
}

/// The op that removes a name which the file system takes for another that is made.
struct OtherSpelling {
    op: usize,
    /// Whether the entry is spelled already as the one that is made.
    is_spelled_new: bool,
}

/// What an op makes of its path.
struct Wanted {
    after: Thing,
    staged: Option<usize>,
    destination: Option<crate::format::path::LinkDestination>,
}

impl<'a> Entries<'a> {
    pub(super) fn new(fs: &'a dyn Fs) -> Self {
        Self { fs, ops: BTreeMap::new() }
    }

    /// Takes over what the plan asks, `seen` being what lies at each path.
    pub(super) fn add_ops(&mut self, ops: &[Op], seen: Vec<Observed>) -> Result<(), TreeError> {
        let respelled = self.respelled(ops, &seen)?;
        let gone: HashSet<&RelPath> = respelled.values().map(|other| ops[other.op].path()).collect();
        for (index, op) in ops.iter().enumerate() {
            if gone.contains(op.path()) {
                continue;
            }
            let other = respelled.get(&index).map(|other| (&ops[other.op], other.is_spelled_new));
            let before = other.map_or(op.before(), |(other, _)| other.before());
            let Some(found) = seen[index].thing else {
                return Err(TreeError::InTheWay { path: op.path().to_string() });
            };
            let was =
                other.filter(|(_, is_spelled_new)| !is_spelled_new).map(|(other, _)| EntryPath::from(other.path()));
            self.add_op(op, before, found, seen[index].stamp, was)?;
        }
        Ok(())
    }

    /// For each op that makes a name, an op that removes the same name in another spelling, where the file system takes
    /// both for one. The entry may have either: a directory above it keeps the spelling it was made with, whatever release it
    /// is of.
    fn respelled(&self, ops: &[Op], seen: &[Observed]) -> Result<HashMap<usize, OtherSpelling>, TreeError> {
        let makes = |op: &Op| matches!(op, Op::Put { .. } | Op::Link { .. });
        let is_leaf = |index: usize| seen[index].thing.is_some_and(|t| t.is_leaf());
        let unlisted = |op: &Op| !matches!(op.before(), Before::Listed(_));
        let meets: Vec<usize> =
            (0..ops.len()).filter(|i| makes(&ops[*i]) && unlisted(&ops[*i]) && is_leaf(*i)).collect();
        if meets.is_empty() {
            return Ok(HashMap::new());
        }
        let removed = ops.iter().enumerate().filter(|(i, op)| matches!(op, Op::Remove { .. }) && is_leaf(*i));
        let removed: HashMap<String, usize> = removed.map(|(i, op)| (op.path().fold_key(), i)).collect();
        let (mut pairs, mut spelling) = (HashMap::new(), Spelling::new(self.fs));
        for index in meets {
            let Some(other) = removed.get(&ops[index].path().fold_key()) else { continue };
            if seen[index].stamp != seen[*other].stamp || seen[index].thing != seen[*other].thing {
                continue;
            }
            let is_spelled_new = spelling.is_exact(&Place::tree(ops[index].path()))?;
            if !is_spelled_new || !spelling.is_exact(&Place::tree(ops[*other].path()))? {
                pairs.insert(index, OtherSpelling { op: *other, is_spelled_new });
            }
        }
        Ok(pairs)
    }

    fn add_op(
        &mut self,
        op: &Op,
        before: &Before,
        found: Thing,
        stamp: Option<Stamp>,
        was: Option<EntryPath>,
    ) -> Result<(), TreeError> {
        let wanted = wanted(op, before)?;
        let backup = match judge(op, before, &found) {
            Verdict::Nothing => return Ok(()),
            Verdict::Change(backup) => backup,
            Verdict::Changed(expected) => {
                let (path, found) = (op.path().to_string(), describe(&found));
                return Err(TreeError::ChangedMeanwhile { path, expected, found });
            }
        };
        let path = EntryPath::from(op.path());
        let mut entry = JournalOp {
            area: Area::Tree,
            path,
            before: found,
            after: wanted.after,
            destination: wanted.destination,
            staged: wanted.staged,
            backup,
            was,
        };
        if entry.before == entry.after && entry.was.is_none() {
            return Ok(());
        }
        if entry.is_mode_only() {
            entry.backup = Backup::None;
        }
        self.insert(entry, stamp);
        Ok(())
    }

    pub(super) fn insert(&mut self, entry: JournalOp, stamp: Option<Stamp>) {
        self.ops.insert((entry.area, entry.path.clone()), (entry, stamp));
    }

    /// A plain entry: something goes, a directory comes.
    pub(super) fn insert_plain(
        &mut self,
        path: EntryPath,
        before: Thing,
        after: Thing,
        backup: Backup,
        stamp: Option<Stamp>,
    ) {
        let op =
            JournalOp { area: Area::Tree, path, before, after, destination: None, staged: None, backup, was: None };
        self.insert(op, stamp);
    }

    pub(super) fn tree_op(&self, path: &EntryPath) -> Option<&JournalOp> {
        self.ops.get(&(Area::Tree, path.clone())).map(|(op, _)| op)
    }

    pub(super) fn tree_op_mut(&mut self, path: &EntryPath) -> Option<&mut JournalOp> {
        self.ops.get_mut(&(Area::Tree, path.clone())).map(|(op, _)| op)
    }

    pub(super) fn remove_tree_op(&mut self, path: &EntryPath) {
        self.ops.remove(&(Area::Tree, path.clone()));
    }

    /// Paths of the tree whose op has the given ends.
    pub(super) fn tree_paths(&self, wanted: impl Fn(&JournalOp) -> bool) -> Vec<EntryPath> {
        let tree = self.ops.values().map(|(op, _)| op).filter(|op| op.area == Area::Tree);
        tree.filter(|op| wanted(op)).map(|op| op.path.clone()).collect()
    }

    pub(super) fn next_staged(&self) -> usize {
        self.ops.values().filter_map(|(op, _)| op.staged).max().map_or(0, |n| n + 1)
    }

    /// The ops in the order of the journal, with the stamps of what lies there.
    pub(super) fn finish(self) -> Result<(Vec<JournalOp>, Vec<Option<Stamp>>), TreeError> {
        let (ops, stamps): (Vec<JournalOp>, Vec<_>) = self.ops.into_values().unzip();
        let leaves: HashSet<&str> =
            ops.iter().filter(|op| op.area == Area::Tree && op.after.is_leaf()).map(|op| op.path.as_str()).collect();
        for op in ops.iter().filter(|op| op.area == Area::Tree && op.after != Thing::Absent) {
            let above = op.path.as_str().match_indices('/').map(|(at, _)| &op.path.as_str()[..at]);
            if let Some(leaf) = above.into_iter().find(|above| leaves.contains(above)) {
                return Err(contradiction(format!("{} would lie below the file {leaf}", op.path)));
            }
        }
        Ok((ops, stamps))
    }
}

fn wanted(op: &Op, before: &Before) -> Result<Wanted, TreeError> {
    let mode = |executable: bool| if executable { EXECUTABLE_MODE } else { FILE_MODE };
    let plain = |after| Wanted { after, staged: None, destination: None };
    Ok(match op {
        Op::Put { staged, digest, executable, .. } => {
            let after = Thing::File { mode: mode(*executable), size: digest.size, blake3: digest.blake3 };
            Wanted { staged: Some(*staged), ..plain(after) }
        }
        Op::Link { destination, .. } => {
            let text = destination.as_str().as_bytes();
            let after = Thing::Link { size: text.len() as u64, blake3: Blake3::of(text) };
            Wanted { destination: Some(destination.clone()), ..plain(after) }
        }
        Op::Directory { .. } => plain(Thing::Directory { mode: EXECUTABLE_MODE }),
        Op::Remove { .. } => plain(Thing::Absent),
        Op::SetMode { path, executable, .. } => match before {
            Before::Listed(row) if row.is_file() => {
                let (size, blake3) = (row.digest.size, row.digest.blake3);
                plain(Thing::File { mode: mode(*executable), size, blake3 })
            }
            _ => return Err(contradiction(format!("the mode of {path} is to change, which is no listed file"))),
        },
    })
}

enum Verdict {
    /// It is as it shall be, or not in the way.
    Nothing,
    /// It is to change, and this becomes of what is there.
    Change(Backup),
    /// It is not what the plan expected, which was this.
    Changed(String),
}

/// What to do about `found` at the path of `op`. Pure.
fn judge(op: &Op, before: &Before, found: &Thing) -> Verdict {
    let held = |backup| if found.is_leaf() { backup } else { Backup::None };
    let makes_leaf = matches!(op, Op::Put { .. } | Op::Link { .. });
    match (op, before, found) {
        (Op::Directory { .. }, _, Thing::Directory { .. }) => Verdict::Nothing,
        (Op::Remove { .. }, Before::Absent, _) => Verdict::Nothing,
        (Op::Remove { .. }, Before::Foreign, Thing::Absent | Thing::Directory { .. }) => Verdict::Nothing,
        (Op::Remove { .. }, Before::Listed(row), _) if row.kind == Kind::Directory && !found.is_directory() => {
            Verdict::Nothing
        }
        // What is in it is set aside, or goes with it.
        (_, Before::Absent, Thing::Directory { .. }) if makes_leaf => Verdict::Change(Backup::None),
        (_, Before::Absent, Thing::Absent) => Verdict::Change(Backup::None),
        (_, Before::Absent, _) => Verdict::Changed("nothing".into()),
        (_, Before::Listed(row), _) if is_as_listed(row, found) => Verdict::Change(held(Backup::Drop)),
        (_, Before::Listed(row), _) => Verdict::Changed(describe(&listed(row))),
        (_, Before::Foreign, _) => Verdict::Change(held(Backup::Keep)),
    }
}

fn listed(row: &Row) -> Thing {
    let (size, blake3) = (row.digest.size, row.digest.blake3);
    match row.kind {
        Kind::File { executable } => {
            Thing::File { mode: if executable { EXECUTABLE_MODE } else { FILE_MODE }, size, blake3 }
        }
        Kind::Link(_) => Thing::Link { size, blake3 },
        Kind::Directory => Thing::Directory { mode: EXECUTABLE_MODE },
    }
}

fn is_as_listed(row: &Row, found: &Thing) -> bool {
    found.same_content(&listed(row))
}
