//! The installed record: two more files of the same transaction.

use std::io::Write;

use super::describe;
use super::entries::Entries;
use crate::format::digest::{Blake3, ContentDigest};
use crate::format::journal::{Area, Backup, EntryPath, JournalOp, Thing};
use crate::format::path::RelPath;
use crate::tree::error::TreeError;
use crate::tree::fs::{self, FILE_MODE, FsError};
use crate::tree::transaction::Transaction;
use crate::tree::{layout, scan};

/// Stages the new record and adds its files, if they differ from what is installed.
pub(super) fn add(entries: &mut Entries<'_>, transaction: &Transaction) -> Result<(), TreeError> {
    let from = transaction.from.as_ref();
    let files = [
        (layout::RELEASE, from.map(|record| &record.release), &transaction.to.release),
        (layout::MANIFEST, from.map(|record| &record.manifest), &transaction.to.manifest),
    ];
    for (name, old, new) in files {
        add_file(entries, transaction, name, old.map(Vec::as_slice), new)?;
    }
    Ok(())
}

fn add_file(
    entries: &mut Entries<'_>,
    transaction: &Transaction,
    name: &str,
    old: Option<&[u8]>,
    new: &[u8],
) -> Result<(), TreeError> {
    let at = layout::installed(name);
    let seen = scan::observe(entries.fs, &at)?;
    let path = || format!("installed/{name}");
    let before = seen.thing.ok_or_else(|| TreeError::InTheWay { path: path() })?;
    let expected = old.map_or(Thing::Absent, file);
    if !before.same_content(&expected) {
        let (expected, found) = (describe(&expected), describe(&before));
        return Err(TreeError::ChangedMeanwhile { path: path(), expected, found });
    }
    let after = file(new);
    if before.same_content(&after) {
        return Ok(());
    }
    fs::create_state_dirs(entries.fs, &at.parent().unwrap_or_else(fs::Place::state_root))?;
    let number = entries.next_staged();
    let mut staged = transaction.staging.create(number, new.len() as u64, false)?;
    staged.write_all(new).map_err(|e| FsError::io("write", &layout::staged(transaction.staging.key(), number), e))?;
    staged.finish(&ContentDigest::of(new))?;
    let path = RelPath::parse(name).map_err(|e| super::contradiction(e.to_string()))?;
    let backup = if before.is_leaf() { Backup::Drop } else { Backup::None };
    let op = JournalOp {
        area: Area::Record,
        path: EntryPath::from(&path),
        before,
        after,
        destination: None,
        staged: Some(number),
        backup,
        was: None,
    };
    entries.insert(op, seen.stamp);
    Ok(())
}

fn file(bytes: &[u8]) -> Thing {
    Thing::File { mode: FILE_MODE, size: bytes.len() as u64, blake3: Blake3::of(bytes) }
}
