//! What a plan does not name and a commit must do all the same: directories made, left empty, or full of the user's things
//! where a file must go.

use std::collections::{HashMap, HashSet};

use super::contradiction;
use super::entries::Entries;
use crate::format::journal::Area;
use crate::format::journal::{Backup, EntryPath, Thing};
use crate::format::manifest::{Kind, Manifest};
use crate::format::path::RelPath;
use crate::tree::error::TreeError;
use crate::tree::fs::{EXECUTABLE_MODE, FileKind, FsError, Place};
use crate::tree::spelling::Spelling;
use crate::tree::{layout, scan};

/// Directories above what comes: made where they are missing; a user's file there is set aside.
pub(super) fn add_needed_directories(entries: &mut Entries<'_>) -> Result<(), TreeError> {
    let mut done = HashSet::new();
    for path in entries.tree_paths(|op| op.after != Thing::Absent) {
        let Some(path) = path.to_rel() else { continue };
        for above in path.ancestors() {
            if done.insert(above.clone()) {
                add_needed_directory(entries, &above)?;
            }
        }
    }
    Ok(())
}

fn add_needed_directory(entries: &mut Entries<'_>, path: &RelPath) -> Result<(), TreeError> {
    let entry = EntryPath::from(path);
    let directory = Thing::Directory { mode: EXECUTABLE_MODE };
    if let Some(op) = entries.tree_op_mut(&entry) {
        match op.after {
            Thing::Absent if op.before.is_directory() => entries.remove_tree_op(&entry),
            Thing::Absent => op.after = directory,
            Thing::Directory { .. } => {}
            _ => return Err(contradiction(format!("a file comes at {path}, and something below it"))),
        }
        return Ok(());
    }
    let place = Place::tree(path);
    let found = match entries.fs.metadata(&place) {
        // The link goes; the plan was checked for that when its paths were read.
        Err(FsError::LinkOnTheWay { place: link }) if is_replaced(entries, &link) => None,
        result => result?,
    };
    match found.map(|m| m.kind) {
        None => entries.insert_plain(entry, Thing::Absent, directory, Backup::None, None),
        Some(FileKind::Directory) => {}
        Some(FileKind::Link) => return Err(FsError::LinkOnTheWay { place }.into()),
        Some(FileKind::Special) => return Err(TreeError::InTheWay { path: path.to_string() }),
        Some(FileKind::File) => {
            let seen = scan::observe(entries.fs, &place)?;
            let thing = seen.thing.ok_or_else(|| TreeError::InTheWay { path: path.to_string() })?;
            entries.insert_plain(entry, thing, directory, Backup::Keep, seen.stamp);
        }
    }
    Ok(())
}

fn is_replaced(entries: &Entries<'_>, link: &Place) -> bool {
    EntryPath::from_path(link.path()).is_some_and(|path| entries.tree_op(&path).is_some())
}

/// Directories above what goes: removed if they end up empty, unless the new manifest needs them.
pub(super) fn add_emptied_directories(entries: &mut Entries<'_>, manifest: &[u8]) -> Result<(), TreeError> {
    let gone = entries.tree_paths(|op| op.after == Thing::Absent && op.before != Thing::Absent);
    if gone.is_empty() {
        return Ok(());
    }
    let manifest = Manifest::parse(manifest)?;
    let mut done = HashSet::new();
    for path in gone.iter().filter_map(EntryPath::to_rel) {
        for above in path.ancestors() {
            let entry = EntryPath::from(&above);
            if !done.insert(above.clone()) || entries.tree_op(&entry).is_some() || is_needed(&manifest, &above) {
                continue;
            }
            let place = Place::tree(&above);
            if let Some(found) = entries.fs.metadata(&place)?.filter(|m| m.kind == FileKind::Directory) {
                let before = Thing::Directory { mode: found.mode & 0o777 };
                entries.insert_plain(entry, before, Thing::Absent, Backup::None, Some(found.stamp));
            }
        }
    }
    Ok(())
}

/// True if the manifest lists the directory itself or something below it.
fn is_needed(manifest: &Manifest, directory: &RelPath) -> bool {
    if manifest.find(directory).is_some_and(|(_, row)| row.kind == Kind::Directory) {
        return true;
    }
    let prefix = format!("{directory}/");
    let at = manifest.rows().partition_point(|row| row.path.as_str() < prefix.as_str());
    manifest.rows().get(at).is_some_and(|row| row.path.as_str().starts_with(&prefix))
}

/// Directories where a file or link comes: what the plan does not remove from them is the user's and is set aside.
pub(super) fn add_contents_in_the_way(entries: &mut Entries<'_>) -> Result<(), TreeError> {
    let mut gone = Gone { spelling: Spelling::to_the_byte(entries.fs), by_key: None };
    for path in entries.tree_paths(|op| op.before.is_directory() && op.after.is_leaf()) {
        add_contents(entries, &mut gone, &path)?;
    }
    Ok(())
}

/// What the plan removes, whatever the spelling it has on disk.
struct Gone<'a> {
    spelling: Spelling<'a>,
    by_key: Option<HashMap<String, EntryPath>>,
}

impl Gone<'_> {
    /// The path under which the plan removes the entry `path` at `place`, if it is the same one in another spelling.
    fn other_spelling(
        &mut self,
        entries: &Entries<'_>,
        path: &EntryPath,
        place: &Place,
    ) -> Result<Option<EntryPath>, TreeError> {
        let by_key = self.by_key.get_or_insert_with(|| {
            let gone = entries.tree_paths(|op| op.after == Thing::Absent);
            gone.into_iter().map(|path| (path.fold_key(), path)).collect()
        });
        let Some(other) = by_key.get(&path.fold_key()) else { return Ok(None) };
        let other_place = layout::target(Area::Tree, other)?;
        let stamp = |place: &Place| Ok::<_, FsError>(entries.fs.metadata(place)?.map(|m| m.stamp));
        if stamp(place)? != stamp(&other_place)? {
            return Ok(None);
        }
        // Where both are listed, they are two names of one file, or two files that a volume without numbers does not tell apart.
        let are_two = self.spelling.is_exact(place)? && self.spelling.is_exact(&other_place)?;
        Ok((!are_two).then(|| other.clone()))
    }
}

fn add_contents(entries: &mut Entries<'_>, gone: &mut Gone<'_>, directory: &EntryPath) -> Result<(), TreeError> {
    let place = layout::target(Area::Tree, directory)?;
    for name in entries.fs.list(&place)? {
        let place = place.entry(&name);
        let unnamable = || TreeError::Unnamable { path: place.path().display().to_string() };
        let listed = EntryPath::from_path(place.path()).ok_or_else(unnamable)?;
        let other = match entries.tree_op(&listed) {
            None => gone.other_spelling(entries, &listed, &place)?,
            Some(_) => None,
        };
        let path = other.unwrap_or(listed);
        match entries.tree_op(&path).map(|op| (op.before, op.after)) {
            Some((Thing::Directory { .. }, Thing::Absent)) => add_contents(entries, gone, &path)?,
            Some((_, Thing::Absent)) => {}
            Some(_) => return Err(contradiction(format!("a file comes at {directory}, and {path} below it"))),
            None => {
                let seen = scan::observe(entries.fs, &place)?;
                let thing = seen.thing.ok_or_else(|| TreeError::InTheWay { path: path.to_string() })?;
                entries.insert_plain(path.clone(), thing, Thing::Absent, Backup::Keep, seen.stamp);
                if thing.is_directory() {
                    add_contents(entries, gone, &path)?;
                }
            }
        }
    }
    Ok(())
}
