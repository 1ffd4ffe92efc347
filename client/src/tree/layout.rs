//! Names in the state directory, built here and nowhere else.

use super::TreeError;
use super::fs::Place;
use crate::format::digest::Blake3;
use crate::format::journal::{Area, Backup, EntryPath, Journal};

pub(super) const RELEASE: &str = "release";
pub(super) const MANIFEST: &str = "manifest.csv";
/// Directory of the record.
pub(super) const INSTALLED: &str = "installed";
/// Says that contents still have to move to `previous/`.
pub(super) const MOVING: &str = "moving";

/// Ends the name of a small file while it is written.
const SPARE: &str = ".tmp";
const OWN_NAMES: [&str; 12] = [
    "lock",
    "journal",
    "journal.done",
    "journal.abandoned",
    "modes",
    "staging",
    "backup",
    "kept",
    "installed",
    "previous",
    "programs",
    "trash",
];

fn at(names: &[&str]) -> Place {
    names.iter().fold(Place::state_root(), |place, name| place.entry(name))
}

pub(super) fn lock() -> Place {
    at(&["lock"])
}

pub(super) fn journal() -> Place {
    at(&["journal"])
}

/// The journal while it is written.
pub(super) fn journal_spare() -> Place {
    at(&["journal.tmp"])
}

/// The journal of a transaction that is over.
pub(super) fn journal_done() -> Place {
    at(&["journal.done"])
}

/// A journal that nobody could follow, put away.
pub(super) fn journal_abandoned() -> Place {
    at(&["journal.abandoned"])
}

pub(super) fn all_staging() -> Place {
    at(&["staging"])
}

pub(super) fn staging(key: &str) -> Place {
    at(&["staging", key])
}

pub(super) fn staged(key: &str, number: usize) -> Place {
    staging(key).entry(number.to_string())
}

/// A link that is tried, hard or symbolic, to see whether the volume has such links.
pub(super) fn tried_link(key: &str) -> Place {
    staging(key).entry("tried-link")
}

/// A link on its way into the tree.
pub(super) fn link_spare(key: &str, op: usize) -> Place {
    staging(key).entry(format!("link-{op}"))
}

pub(super) fn partial(key: &str) -> Place {
    staging(key).entry("partial")
}

/// The record an update that is staged whole leads to.
pub(super) fn staged_record(key: &str) -> Place {
    staging(key).entry("record")
}

pub(super) fn all_backups() -> Place {
    at(&["backup"])
}

pub(super) fn backups(key: &str) -> Place {
    at(&["backup", key])
}

/// Says that nothing is left of an old content which could be held: the user took it away, or wrote over it.
pub(super) fn nothing_held(key: &str, op: usize) -> Place {
    backups(key).entry(format!("none-{op}"))
}

/// A backup on its way back into the tree.
pub(super) fn restore_spare(key: &str, op: usize) -> Place {
    backups(key).entry(format!("restore-{op}"))
}

pub(super) fn all_kept() -> Place {
    at(&["kept"])
}

pub(super) fn kept(number: u64) -> Place {
    all_kept().entry(number.to_string())
}

pub(super) fn installed(name: &str) -> Place {
    at(&[INSTALLED, name])
}

pub(super) fn all_previous() -> Place {
    at(&["previous"])
}

/// A file of the record of the release before.
pub(super) fn previous(name: &str) -> Place {
    at(&["previous", name])
}

pub(super) fn previous_contents() -> Place {
    at(&["previous", "content"])
}

/// A content of the release before.
pub(super) fn previous_content(blake3: &Blake3) -> Place {
    previous_contents().entry(blake3.to_string())
}

/// Removed files that were in use.
pub(super) fn trash() -> Place {
    at(&[super::fs::TRASH])
}

/// Programs that were placed to be run.
pub(super) fn all_programs() -> Place {
    at(&["programs"])
}

/// Directory of a program that runs from outside the tree.
pub(super) fn program_dir(blake3: &Blake3) -> Place {
    all_programs().entry(&blake3.to_string()[..16])
}

/// Where an op's path lies.
///
/// # Errors
/// The path is not one on this system.
pub(super) fn target(area: Area, path: &EntryPath) -> Result<Place, TreeError> {
    let root = match area {
        Area::Tree => Place::tree_root(),
        Area::Record => at(&["installed"]),
    };
    let path = path.to_path().ok_or_else(|| TreeError::Unnamable { path: path.to_string() })?;
    Ok(root.below(&path))
}

/// Where an op holds the content before.
///
/// # Errors
/// The path is not one on this system.
pub(super) fn backup(journal: &Journal, op: usize) -> Result<Place, TreeError> {
    let entry = &journal.ops[op];
    match entry.backup {
        Backup::Keep => kept_entry(journal.kept, &entry.path),
        Backup::None | Backup::Drop => Ok(backups(&journal.key).entry(op.to_string())),
    }
}

pub(super) fn kept_entry(number: u64, path: &EntryPath) -> Result<Place, TreeError> {
    let path = path.to_path().ok_or_else(|| TreeError::Unnamable { path: path.to_string() })?;
    Ok(kept(number).below(&path))
}

/// A small file of the state directory that belongs to a caller.
///
/// # Errors
/// A name that is in use here, or is not 1 to 64 of `a-z 0-9 . _ -` beginning with a letter or digit.
pub(super) fn state_file(name: &str) -> Result<Place, TreeError> {
    let plain = name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.'));
    let sensible = (1..=64).contains(&name.len()) && name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !plain || !sensible || name.ends_with(SPARE) || OWN_NAMES.contains(&name) {
        return Err(TreeError::StateName { name: name.chars().take(80).collect() });
    }
    Ok(at(&[name]))
}

pub(super) fn state_file_spare(name: &str) -> Place {
    at(&[&format!("{name}{SPARE}")])
}
