//! Changes of a plan as operations of a transaction.

use super::Survey;
use crate::format::manifest::{Kind, Manifest, Row};
use crate::plan::{Change, OnDisk};
use crate::tree::{Before, Op};

/// One operation a change; the content of a target row is staged under the row's number.
pub(super) fn operations(survey: &Survey, base: Option<&Manifest>, target: &Manifest) -> Vec<Op> {
    let base_row = |row: &Row| base.and_then(|b| b.find(&row.path)).map(|(_, row)| row.clone());
    let before = |row: &Row, found: OnDisk| match found {
        OnDisk::Absent => Before::Absent,
        OnDisk::AsBase => base_row(row).map_or(Before::Foreign, Before::Listed),
        OnDisk::AsTarget | OnDisk::AsTargetButMode => Before::Listed(row.clone()),
        OnDisk::Foreign => Before::Foreign,
    };
    let operation = |change: &Change| {
        Some(match change {
            Change::Put { target_row, found } => {
                let row = &target.rows()[*target_row];
                let executable = row.kind == Kind::File { executable: true };
                Op::Put {
                    path: row.path.clone(),
                    before: before(row, *found),
                    staged: *target_row,
                    digest: row.digest,
                    executable,
                }
            }
            Change::Make { target_row, found } => {
                let row = &target.rows()[*target_row];
                let (path, before) = (row.path.clone(), before(row, *found));
                match &row.kind {
                    Kind::Link(destination) => Op::Link { path, before, destination: destination.clone() },
                    _ => Op::Directory { path, before },
                }
            }
            Change::SetMode { target_row } => {
                let row = &target.rows()[*target_row];
                let executable = row.kind == Kind::File { executable: true };
                Op::SetMode { path: row.path.clone(), before: Before::Listed(row.clone()), executable }
            }
            Change::Remove { base_row } => {
                let row = &base?.rows()[*base_row];
                Op::Remove { path: row.path.clone(), before: Before::Listed(row.clone()) }
            }
            Change::SetAside { base_row } => {
                let row = &base?.rows()[*base_row];
                Op::Remove { path: row.path.clone(), before: Before::Foreign }
            }
            Change::LeaveEdited { .. } => return None,
        })
    };
    survey.changes.iter().filter_map(operation).collect()
}
