//! The target release's manifest from the base release's and an edit list.

use super::super::digest::ContentDigest;
use super::super::manifest::{Kind, Manifest, Policy, Row};
use super::super::path::{LinkDestination, RelPath};
use super::edits::{Content, Edit, Entry};
use super::{PackError, Unit};

/// What a pack makes of the base manifest it was built for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// The manifest of the target release. It is to be checked against the BLAKE3 of the signed release.
    pub manifest: Manifest,
    /// For each of its rows, where the content comes from.
    pub origins: Vec<Origin>,
    /// For each unit of the pack, how long its old and new bytes are.
    pub lengths: Vec<UnitLengths>,
}

/// Where the content of a target row comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The base release has the same content at the same path; mode or policy may differ.
    Unchanged,
    /// The base release has it at another row: it was moved or copied.
    Copy {
        /// That row.
        base_row: usize,
    },
    /// A unit of the pack makes it.
    Unit {
        /// Index of the unit.
        unit: usize,
    },
    /// It is the same as that of another target row, which a unit makes.
    Twin {
        /// That row.
        row: usize,
    },
    /// There is none: a link or an empty directory.
    None,
}

/// Lengths of what a unit reads and writes, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnitLengths {
    /// Sum of the sizes of its old rows.
    pub old: u64,
    /// Sum of the sizes of its new rows.
    pub new: u64,
}

pub(super) fn rebuild(edits: &[Edit], units: &[Unit], base: &Manifest) -> Result<Rebuilt, PackError> {
    let mut walk = Walk { base: base.rows(), at: 0, rows: Vec::new(), origins: Vec::new(), contents: Vec::new() };
    for edit in edits {
        walk.step(edit)?;
    }
    walk.keep(base.rows().len() - walk.at)?;
    let Walk { rows, mut origins, .. } = walk;
    if let Some(pair) = rows.windows(2).find(|pair| pair[0].path >= pair[1].path) {
        return Err(PackError::Order { path: pair[1].path.clone() });
    }
    for (unit, made) in units.iter().enumerate() {
        made.new_rows.iter().for_each(|row| origins[*row] = Origin::Unit { unit });
    }
    let manifest = Manifest::new(rows)?;
    let lengths = units.iter().map(|unit| lengths(unit, base, &manifest)).collect::<Result<_, _>>()?;
    Ok(Rebuilt { manifest, origins, lengths })
}

fn lengths(unit: &Unit, base: &Manifest, target: &Manifest) -> Result<UnitLengths, PackError> {
    let sum = |rows: &[usize], all: &[Row]| {
        rows.iter().try_fold(0u64, |sum, row| {
            let size = file_at(all, *row)?.digest.size;
            sum.checked_add(size).ok_or(PackError::Invalid { what: "a unit of more than 2^64 bytes" })
        })
    };
    Ok(UnitLengths { old: sum(&unit.old_rows, base.rows())?, new: sum(&unit.new_rows, target.rows())? })
}

fn file_at(rows: &[Row], row: usize) -> Result<&Row, PackError> {
    match rows.get(row) {
        Some(found) if found.is_file() => Ok(found),
        Some(_) => Err(PackError::NotAFile { row }),
        None => Err(PackError::limit("a base row", rows.len() as u64, row as u64)),
    }
}

/// The walk over the base rows; `contents` are the target rows of the new contents so far.
struct Walk<'a> {
    base: &'a [Row],
    at: usize,
    rows: Vec<Row>,
    origins: Vec<Origin>,
    contents: Vec<usize>,
}

impl Walk<'_> {
    fn step(&mut self, edit: &Edit) -> Result<(), PackError> {
        match edit {
            Edit::Keep { rows } => self.keep(*rows),
            Edit::Drop { rows } => self.pass(*rows).map(|_| ()),
            Edit::Change { content, flip_executable, flip_policy } => {
                let mut row = file_at(self.base, self.at)?.clone();
                self.at += 1;
                if let Kind::File { executable } = &mut row.kind {
                    *executable ^= flip_executable;
                }
                if *flip_policy {
                    row.policy = if row.policy == Policy::Keep { Policy::Managed } else { Policy::Keep };
                }
                let origin = match content {
                    None => Origin::Unchanged,
                    Some(content) => {
                        let (digest, origin) = self.content(content)?;
                        row.digest = digest;
                        origin
                    }
                };
                self.push(row, origin);
                Ok(())
            }
            Edit::Insert { shared, rest, entry } => self.insert(*shared, rest, entry),
        }
    }

    fn insert(&mut self, shared: usize, rest: &str, entry: &Entry) -> Result<(), PackError> {
        let before = self.rows.last().map_or("", |row| row.path.as_str());
        let prefix = before.get(..shared).ok_or(PackError::Invalid { what: "a path that shares too much" })?;
        let path = RelPath::parse(&format!("{prefix}{rest}"))?;
        let (row, origin) = match entry {
            Entry::File { executable, policy, content } => {
                let (digest, origin) = self.content(content)?;
                (Row { path, digest, kind: Kind::File { executable: *executable }, policy: *policy }, origin)
            }
            Entry::Link(destination) => {
                let destination = LinkDestination::parse(&path, destination)?;
                (Row::link(path, destination), Origin::None)
            }
            Entry::Directory => (Row::directory(path), Origin::None),
        };
        self.push(row, origin);
        Ok(())
    }

    /// Digest and origin of `content`; a unit's index is filled in later.
    fn content(&mut self, content: &Content) -> Result<(ContentDigest, Origin), PackError> {
        match content {
            Content::New(digest) => {
                self.contents.push(self.rows.len());
                Ok((*digest, Origin::Unit { unit: usize::MAX }))
            }
            Content::Base { row } => Ok((file_at(self.base, *row)?.digest, Origin::Copy { base_row: *row })),
            Content::Twin { content } => {
                let row = *self.contents.get(*content).ok_or(PackError::Invalid { what: "a twin of no content" })?;
                Ok((self.rows[row].digest, Origin::Twin { row }))
            }
        }
    }

    fn keep(&mut self, rows: usize) -> Result<(), PackError> {
        for row in self.pass(rows)? {
            let origin = if self.base[row].is_file() { Origin::Unchanged } else { Origin::None };
            self.push(self.base[row].clone(), origin);
        }
        Ok(())
    }

    fn pass(&mut self, rows: usize) -> Result<std::ops::Range<usize>, PackError> {
        let end = self.at.saturating_add(rows);
        if end > self.base.len() {
            return Err(PackError::limit("base rows", self.base.len() as u64, end as u64));
        }
        let passed = self.at..end;
        self.at = end;
        Ok(passed)
    }

    fn push(&mut self, row: Row, origin: Origin) {
        self.rows.push(row);
        self.origins.push(origin);
    }
}
