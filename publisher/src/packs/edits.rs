//! Compares two manifests: the edit list of a pack, and the rows whose content its units must bring.

use std::collections::HashMap;

use lamplighter_client::format::digest::Blake3;
use lamplighter_client::format::manifest::{Kind, Manifest, Row};
use lamplighter_client::format::pack::{Content, Edit, Entry};

/// How the base manifest becomes the target manifest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Comparison {
    /// The edit list.
    pub edits: Vec<Edit>,
    /// Rows with new content, in the order of the edit list.
    pub needed: Vec<Needed>,
}

/// A target row whose content the base release does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needed {
    /// The target row.
    pub row: usize,
    /// The base row at the same path, if that is a file.
    pub base_row: Option<usize>,
}

/// Compares `base` with `target`, both sorted by path.
pub fn compare(base: &Manifest, target: &Manifest) -> Comparison {
    let mut sources = Sources { base: HashMap::new(), new: HashMap::new() };
    for (index, row) in base.rows().iter().enumerate().filter(|(_, row)| row.is_file()) {
        sources.base.entry(row.digest.blake3).or_insert(index);
    }
    let mut result = Comparison::default();
    let mut at = 0;
    for (index, row) in target.rows().iter().enumerate() {
        let passed = base.rows()[at..].iter().take_while(|old| old.path < row.path).count();
        push_run(&mut result.edits, Edit::Drop { rows: passed });
        at += passed;
        let old = base.rows().get(at).filter(|old| old.path == row.path);
        at += usize::from(old.is_some());
        match old {
            Some(old) if old == row => push_run(&mut result.edits, Edit::Keep { rows: 1 }),
            Some(old) if old.is_file() && row.is_file() => {
                let content = (old.digest != row.digest).then(|| sources.take(row, &mut result, index, Some(at - 1)));
                result.edits.push(change(old, row, content));
            }
            other => {
                if other.is_some() {
                    push_run(&mut result.edits, Edit::Drop { rows: 1 });
                }
                let before = index.checked_sub(1).map_or("", |before| target.rows()[before].path.as_str());
                let shared = shared_prefix(before, row.path.as_str());
                let rest = row.path.as_str()[shared..].to_owned();
                let entry = entry(row, || sources.take(row, &mut result, index, None));
                result.edits.push(Edit::Insert { shared, rest, entry });
            }
        }
    }
    push_run(&mut result.edits, Edit::Drop { rows: base.rows().len() - at });
    if matches!(result.edits.last(), Some(Edit::Keep { .. })) {
        result.edits.pop();
    }
    result
}

/// Contents that can be had without a unit, and those that units bring already.
struct Sources {
    base: HashMap<Blake3, usize>,
    new: HashMap<Blake3, usize>,
}

impl Sources {
    fn take(&mut self, row: &Row, result: &mut Comparison, index: usize, base_row: Option<usize>) -> Content {
        if let Some(row) = self.base.get(&row.digest.blake3) {
            return Content::Base { row: *row };
        }
        let next = result.needed.len();
        let content = *self.new.entry(row.digest.blake3).or_insert(next);
        if content < next {
            return Content::Twin { content };
        }
        result.needed.push(Needed { row: index, base_row });
        Content::New(row.digest)
    }
}

fn change(old: &Row, row: &Row, content: Option<Content>) -> Edit {
    Edit::Change { content, flip_executable: old.kind != row.kind, flip_policy: old.policy != row.policy }
}

fn entry(row: &Row, content: impl FnOnce() -> Content) -> Entry {
    match &row.kind {
        Kind::File { executable } => Entry::File { executable: *executable, policy: row.policy, content: content() },
        Kind::Link(destination) => Entry::Link(destination.as_str().to_owned()),
        Kind::Directory => Entry::Directory,
    }
}

/// Bytes two paths begin with alike, at most to the end of a character.
fn shared_prefix(before: &str, path: &str) -> usize {
    let same = before.bytes().zip(path.bytes()).take_while(|(a, b)| a == b).count();
    (0..=same).rev().find(|at| path.is_char_boundary(*at) && before.is_char_boundary(*at)).unwrap_or(0)
}

/// Appends a keep or a drop, merged with the one before it.
fn push_run(edits: &mut Vec<Edit>, run: Edit) {
    match (edits.last_mut(), run) {
        (_, Edit::Keep { rows: 0 } | Edit::Drop { rows: 0 }) => {}
        (Some(Edit::Keep { rows: before }), Edit::Keep { rows })
        | (Some(Edit::Drop { rows: before }), Edit::Drop { rows }) => *before += rows,
        (_, run) => edits.push(run),
    }
}
