//! What the disk holds, in the words of base and target release.

use std::collections::{BTreeSet, HashMap};

use super::Deploy;
use crate::error::Error;
use crate::format::manifest::{Kind, Manifest, Row};
use crate::plan::{Difference, OnDisk};
use crate::progress::Silent;
use crate::tree::TreeError;
use crate::tree::fs::Place;
use crate::tree::scan::{self, Depth, Finding, Found};
use crate::tree::spelling::Spelling;

/// Looks at each of `differences`, in parallel; one answer each, in order.
pub(super) fn at(
    deploy: &Deploy<'_>,
    differences: &[Difference],
    base: Option<&Manifest>,
    target: &Manifest,
) -> Result<Vec<OnDisk>, Error> {
    let base_rows = base.map_or(&[][..], Manifest::rows);
    let rows: Vec<(&Row, Option<&Row>)> = differences
        .iter()
        .map(|difference| match *difference {
            Difference::Changed { target_row, base_row } => {
                (&target.rows()[target_row], base_row.map(|b| &base_rows[b]))
            }
            Difference::Removed { base_row } => (&base_rows[base_row], Some(&base_rows[base_row])),
        })
        .collect();
    let listed: Vec<&Row> = rows.iter().map(|(row, _)| *row).collect();
    let mut findings = check(deploy, &listed)?;
    // A file that has not the size of the new one was not read; only one with the size of the old one is worth it.
    let mut unread: Vec<(usize, &Row)> = Vec::new();
    for (index, ((_, base), finding)) in rows.iter().zip(&findings).enumerate() {
        if let (Some(base), Finding::Other(Found::File { size, blake3: None })) = (base, finding)
            && base.is_file()
            && base.digest.size == *size
        {
            unread.push((index, base));
        }
    }
    let base_rows: Vec<&Row> = unread.iter().map(|(_, row)| *row).collect();
    for ((index, row), finding) in unread.iter().zip(check(deploy, &base_rows)?) {
        findings[*index] = match finding {
            Finding::Intact | Finding::WrongMode => {
                Finding::Other(Found::File { size: row.digest.size, blake3: Some(row.digest.blake3) })
            }
            other => other,
        };
    }
    let found = rows.iter().zip(findings).map(|((row, base), finding)| judge(row, *base, finding));
    let mut found = found.collect::<Result<Vec<_>, _>>()?;
    tell_respelled(deploy, differences, &rows, &mut found)?;
    Ok(found)
}

/// What stands at a new path and is only found there because the file system takes the name of a file that goes for it
/// is not the new file: it would go with the old name, whichever of the two spellings it has.
fn tell_respelled(
    deploy: &Deploy<'_>,
    differences: &[Difference],
    rows: &[(&Row, Option<&Row>)],
    found: &mut [OnDisk],
) -> Result<(), Error> {
    let removed =
        differences.iter().zip(rows).zip(&*found).filter(|((d, _), _)| matches!(d, Difference::Removed { .. }));
    let there = removed.filter(|(_, found)| **found != OnDisk::Absent);
    let goes: HashMap<String, &Row> = there.map(|((_, (row, _)), _)| (row.path.fold_key(), *row)).collect();
    let mut spelling = Spelling::new(deploy.lock.fs());
    for ((row, base), found) in rows.iter().zip(found) {
        let stands = matches!(found, OnDisk::AsTarget | OnDisk::AsTargetButMode);
        if !stands || base.is_some() || goes.is_empty() {
            continue;
        }
        let Some(other) = goes.get(&row.path.fold_key()) else { continue };
        let mut is_exact = |row: &Row| spelling.is_exact(&Place::tree(&row.path)).map_err(TreeError::from);
        if !is_exact(row)? || !is_exact(other)? {
            *found = OnDisk::Foreign;
        }
    }
    Ok(())
}

fn check(deploy: &Deploy<'_>, rows: &[&Row]) -> Result<Vec<Finding>, Error> {
    let findings = scan::check(deploy.lock, rows, Depth::Content, &Silent, deploy.cancel);
    deploy.stop_if_asked()?;
    Ok(findings)
}

/// Which of the base rows `wanted` are on disk as the base release has them.
///
/// Rows among the `differences` have been looked at already; the others are read now.
pub(super) fn intact(
    deploy: &Deploy<'_>,
    wanted: &BTreeSet<usize>,
    base: &Manifest,
    target: &Manifest,
    looked_at: &[(Difference, OnDisk)],
) -> Result<BTreeSet<usize>, Error> {
    let mut intact = BTreeSet::new();
    let mut unread = wanted.clone();
    for (difference, on_disk) in looked_at {
        let (base_row, target_row) = match *difference {
            Difference::Changed { target_row, base_row: Some(base_row) } => (base_row, Some(target_row)),
            Difference::Changed { base_row: None, .. } => continue,
            Difference::Removed { base_row } => (base_row, None),
        };
        unread.remove(&base_row);
        let same = target_row.is_none_or(|t| target.rows()[t].digest == base.rows()[base_row].digest);
        let as_base = match on_disk {
            OnDisk::AsBase => true,
            OnDisk::AsTarget | OnDisk::AsTargetButMode => same,
            OnDisk::Absent | OnDisk::Foreign => false,
        };
        if as_base && wanted.contains(&base_row) {
            intact.insert(base_row);
        }
    }
    let rows: Vec<&Row> = unread.iter().map(|index| &base.rows()[*index]).collect();
    let findings = check(deploy, &rows)?;
    let good = unread.into_iter().zip(findings).filter(|(_, f)| matches!(f, Finding::Intact | Finding::WrongMode));
    intact.extend(good.map(|(index, _)| index));
    Ok(intact)
}

fn judge(row: &Row, base: Option<&Row>, finding: Finding) -> Result<OnDisk, Error> {
    let found = match finding {
        Finding::Intact => return Ok(OnDisk::AsTarget),
        Finding::WrongMode => return Ok(OnDisk::AsTargetButMode),
        Finding::Missing => return Ok(OnDisk::Absent),
        Finding::Other(found) => found,
    };
    let as_base = match (&found, base.map(|b| (&b.kind, &b.digest))) {
        (Found::Unreadable(source), _) => {
            return Err(Error::Unreadable { path: row.path.clone(), reason: source.to_string() });
        }
        (Found::File { size, blake3 }, Some((Kind::File { .. }, digest))) => {
            *size == digest.size && *blake3 == Some(digest.blake3)
        }
        (Found::Link(destination), Some((Kind::Link(listed), _))) => destination == listed.as_str(),
        (Found::Directory, Some((Kind::Directory, _))) => true,
        _ => false,
    };
    Ok(if as_base { OnDisk::AsBase } else { OnDisk::Foreign })
}
