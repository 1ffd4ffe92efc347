//! The cheapest way from the tree that is there to the target release; every cost known before the first byte.
//!
//! Pure functions. [`differing`] says which paths must be looked at at all: rows that are the same in base and target are
//! neither read nor touched. [`changes`] turns what was found there into changes of the tree, [`sources`] says where
//! the content of each new file comes from, and [`Costs`] adds up.

use std::collections::HashMap;

use crate::format::digest::Blake3;
use crate::format::manifest::{Kind, Manifest, Policy, Row};
use crate::format::path::RelPath;

/// A path at which base and target release differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// In the target release with another row than in the base, or only in the target.
    Changed {
        /// Row in the target manifest.
        target_row: usize,
        /// Row in the base manifest, if it is there.
        base_row: Option<usize>,
    },
    /// Only in the base release.
    Removed {
        /// Row in the base manifest.
        base_row: usize,
    },
}

/// Merges two manifests; rows that are equal but for their policy are left out, since the tree is the same there.
pub fn differing(base: &Manifest, target: &Manifest) -> Vec<Difference> {
    let (old, new) = (base.rows(), target.rows());
    let (mut base_row, mut target_row) = (0, 0);
    let mut differences = Vec::new();
    while base_row < old.len() || target_row < new.len() {
        let order = match (old.get(base_row), new.get(target_row)) {
            (Some(a), Some(b)) => a.path.cmp(&b.path),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, _) => std::cmp::Ordering::Greater,
        };
        match order {
            std::cmp::Ordering::Less => {
                differences.push(Difference::Removed { base_row });
                base_row += 1;
            }
            std::cmp::Ordering::Greater => {
                differences.push(Difference::Changed { target_row, base_row: None });
                target_row += 1;
            }
            std::cmp::Ordering::Equal => {
                let (a, b) = (&old[base_row], &new[target_row]);
                if a.digest != b.digest || a.kind != b.kind {
                    differences.push(Difference::Changed { target_row, base_row: Some(base_row) });
                }
                base_row += 1;
                target_row += 1;
            }
        }
    }
    differences
}

/// Every row of `target`, as healing and installing look at them.
pub fn everything(base: Option<&Manifest>, target: &Manifest) -> Vec<Difference> {
    let mut all: Vec<Difference> = target
        .rows()
        .iter()
        .enumerate()
        .map(|(target_row, row)| {
            let base_row = base.and_then(|b| b.find(&row.path)).map(|(index, _)| index);
            Difference::Changed { target_row, base_row }
        })
        .collect();
    let removed = base.into_iter().flat_map(|b| b.rows().iter().enumerate());
    all.extend(
        removed
            .filter(|(_, row)| target.find(&row.path).is_none())
            .map(|(base_row, _)| Difference::Removed { base_row }),
    );
    all
}

/// What the disk holds at a path, in the words of base and target release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDisk {
    /// As the target release has it.
    AsTarget,
    /// As the target release has it, but for the executable bit.
    AsTargetButMode,
    /// As the base release has it.
    AsBase,
    /// Nothing.
    Absent,
    /// Something neither release has: edited, damaged, or the user's own.
    Foreign,
}

/// One change of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Put a file with new content.
    Put {
        /// Row in the target manifest.
        target_row: usize,
        /// What is there now.
        found: OnDisk,
    },
    /// Make a link or an empty directory.
    Make {
        /// Row in the target manifest.
        target_row: usize,
        /// What is there now.
        found: OnDisk,
    },
    /// Set or clear the executable bit.
    SetMode {
        /// Row in the target manifest.
        target_row: usize,
    },
    /// Remove what only the base release had.
    Remove {
        /// Row in the base manifest.
        base_row: usize,
    },
    /// Set something foreign aside, because it stands where the target release has something else.
    SetAside {
        /// Row in the base manifest at whose path it stands.
        base_row: usize,
    },
    /// Leave what the user made of a listed file, and report it.
    LeaveEdited {
        /// Its path.
        path: RelPath,
    },
}

/// Turns what was found at each differing path into changes.
///
/// `found` gives what the disk holds for each of `differences`, in order.
pub fn changes(
    differences: &[Difference],
    found: &[OnDisk],
    base: Option<&Manifest>,
    target: &Manifest,
) -> Vec<Change> {
    let change = |(difference, found): (&Difference, &OnDisk)| match *difference {
        Difference::Changed { target_row, .. } => change_row(target_row, &target.rows()[target_row], *found),
        Difference::Removed { base_row } => {
            let row = base.map(|b| &b.rows()[base_row])?;
            remove_row(base_row, row, *found, target)
        }
    };
    differences.iter().zip(found).filter_map(change).collect()
}

fn change_row(target_row: usize, row: &Row, found: OnDisk) -> Option<Change> {
    match (&row.kind, found) {
        (_, OnDisk::AsTarget) => None,
        (_, OnDisk::AsTargetButMode) => Some(Change::SetMode { target_row }),
        (Kind::File { .. }, OnDisk::Foreign) if row.policy == Policy::Keep => {
            Some(Change::LeaveEdited { path: row.path.clone() })
        }
        (Kind::File { .. }, _) => Some(Change::Put { target_row, found }),
        (Kind::Link(_) | Kind::Directory, _) => Some(Change::Make { target_row, found }),
    }
}

fn remove_row(base_row: usize, row: &Row, found: OnDisk, target: &Manifest) -> Option<Change> {
    match found {
        OnDisk::Absent => None,
        OnDisk::AsBase | OnDisk::AsTarget | OnDisk::AsTargetButMode => Some(Change::Remove { base_row }),
        OnDisk::Foreign if stands_in_the_way(&row.path, target) => Some(Change::SetAside { base_row }),
        OnDisk::Foreign => Some(Change::LeaveEdited { path: row.path.clone() }),
    }
}

/// Whether the target release has a directory where `path`, which it does not list, stands.
fn stands_in_the_way(path: &RelPath, target: &Manifest) -> bool {
    let rows = target.rows();
    let start = rows.partition_point(|row| row.path < *path);
    // Rows below `path` share its text as prefix; names such as `a-b` sort between `a` and `a/b`.
    rows[start..]
        .iter()
        .take_while(|row| row.path.as_str().starts_with(path.as_str()))
        .any(|row| row.path.is_below(path))
}

/// Where the content of a new file comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContentSource {
    /// It is empty.
    Nothing,
    /// A file that is in the tree with the same content.
    Local(RelPath),
    /// A unit of the pack.
    Unit(usize),
    /// Objects.
    Objects,
}

/// Chooses the source of each file in `target_rows`: nothing, the tree, the pack, objects, in this order.
///
/// `local` names, by content, files that are in the tree now; `unit_of` the usable unit of the pack that makes a row.
pub fn sources(
    target_rows: &[usize],
    target: &Manifest,
    local: &HashMap<Blake3, RelPath>,
    unit_of: impl Fn(usize) -> Option<usize>,
) -> Vec<ContentSource> {
    let source = |index: &usize| {
        let digest = &target.rows()[*index].digest;
        if digest.size == 0 {
            return ContentSource::Nothing;
        }
        let from_tree = local.get(&digest.blake3).cloned().map(ContentSource::Local);
        from_tree.or_else(|| unit_of(*index).map(ContentSource::Unit)).unwrap_or(ContentSource::Objects)
    };
    target_rows.iter().map(source).collect()
}

/// What an update will cost, known before its content is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Costs {
    /// Files that get new content.
    pub files_written: u64,
    /// Files removed.
    pub files_removed: u64,
    /// Requests for content still to be made.
    pub requests: u64,
    /// Bytes still to be fetched.
    pub fetch_bytes: u64,
    /// Bytes of new content to be written.
    pub write_bytes: u64,
    /// Free space needed on the volume of the tree.
    pub disk_bytes: u64,
}

/// Part of the needed space that is asked for on top, for directories, the journal and the record.
const SPARE_PERCENT: u64 = 5;
const SPARE_BYTES: u64 = 1 << 20;

impl Costs {
    /// Space needed for `write_bytes` of new files and copies of old ones, and `kept_bytes` of downloads kept until they are used.
    pub fn disk_bytes_for(write_bytes: u64, kept_bytes: u64) -> u64 {
        let content = write_bytes.saturating_add(kept_bytes);
        content.saturating_add(content / 100 * SPARE_PERCENT).saturating_add(SPARE_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::digest::ContentDigest;
    use crate::format::path::LinkDestination;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text).expect("a legal path")
    }

    fn file(name: &str, content: &str) -> Row {
        let digest = ContentDigest::of(content.as_bytes());
        Row { path: path(name), digest, kind: Kind::File { executable: false }, policy: Policy::Managed }
    }

    fn manifest(rows: Vec<Row>) -> Manifest {
        Manifest::new(rows).expect("no conflicts")
    }

    #[test]
    fn only_rows_that_differ_are_looked_at() {
        let mut kept = file("policy", "p");
        kept.policy = Policy::Keep;
        let mut executable = file("mode", "m");
        executable.kind = Kind::File { executable: true };
        let base =
            manifest(vec![file("a", "1"), file("gone", "g"), file("mode", "m"), file("policy", "p"), file("z", "1")]);
        let target = manifest(vec![file("a", "1"), file("b", "new"), executable, kept, file("z", "2")]);
        assert_eq!(
            differing(&base, &target),
            [
                Difference::Changed { target_row: 1, base_row: None },
                Difference::Removed { base_row: 1 },
                Difference::Changed { target_row: 2, base_row: Some(2) },
                Difference::Changed { target_row: 4, base_row: Some(4) },
            ]
        );
        assert_eq!(everything(Some(&base), &target).len(), 6);
    }

    #[test]
    fn each_finding_has_its_change() {
        let link = Row::link(path("link"), LinkDestination::parse(&path("link"), "a").expect("in the tree"));
        let mut keep = file("keep", "k");
        keep.policy = Policy::Keep;
        let target = manifest(vec![file("a", "1"), keep, link]);
        let one = |row: usize, found| {
            let difference = [Difference::Changed { target_row: row, base_row: None }];
            changes(&difference, &[found], None, &target).pop()
        };
        use OnDisk::{Absent, AsBase, AsTarget, AsTargetButMode, Foreign};
        for found in [AsBase, Absent, Foreign] {
            assert_eq!(one(0, found), Some(Change::Put { target_row: 0, found }));
            assert_eq!(one(2, found), Some(Change::Make { target_row: 2, found }));
        }
        assert_eq!(one(0, AsTarget), None);
        assert_eq!(one(0, AsTargetButMode), Some(Change::SetMode { target_row: 0 }));
        assert_eq!(one(1, AsBase), Some(Change::Put { target_row: 1, found: AsBase }));
        assert_eq!(one(1, Absent), Some(Change::Put { target_row: 1, found: Absent }));
        assert_eq!(one(1, Foreign), Some(Change::LeaveEdited { path: path("keep") }));
    }

    #[test]
    fn removed_files_the_user_edited_stay_unless_they_stand_in_the_way() {
        let base = manifest(vec![file("a", "1"), file("d", "2")]);
        let target = manifest(vec![file("a-b", "x"), file("d/e", "3")]);
        let removed =
            |base_row, found| changes(&[Difference::Removed { base_row }], &[found], Some(&base), &target).pop();
        assert_eq!(removed(0, OnDisk::AsBase), Some(Change::Remove { base_row: 0 }));
        assert_eq!(removed(0, OnDisk::Absent), None);
        assert_eq!(removed(0, OnDisk::Foreign), Some(Change::LeaveEdited { path: path("a") }));
        assert_eq!(removed(1, OnDisk::Foreign), Some(Change::SetAside { base_row: 1 }));
    }

    #[test]
    fn sources_prefer_what_costs_nothing() {
        let target = manifest(vec![file("a", "here"), file("b", ""), file("c", "packed"), file("d", "neither")]);
        let local = HashMap::from([(ContentDigest::of(b"here").blake3, path("old"))]);
        let chosen = sources(&[0, 1, 2, 3], &target, &local, |row| (row <= 2).then_some(7));
        assert_eq!(
            chosen,
            [ContentSource::Local(path("old")), ContentSource::Nothing, ContentSource::Unit(7), ContentSource::Objects]
        );
    }
}
