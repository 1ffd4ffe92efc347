//! What says how a tree is to be: paths, manifests, objects, journals.

use lamplighter_client::format::digest::{Blake3, ContentDigest, CrcPair};
use lamplighter_client::format::journal::{Area, EntryPath, Journal, JournalOp};
use lamplighter_client::format::manifest::{Kind, Manifest, Policy, Row};
use lamplighter_client::format::objects::{ObjectsIndex, StoredObject, decode};
use lamplighter_client::format::path::{LinkDestination, RelPath, STATE_DIR, find_conflicts};

use super::Input;
use super::documents::{comes_back, with_trailer};

/// The size of what is no file.
const NO_FILE: usize = 0xffff;

/// Most paths of an input that are compared with each other.
const PATHS_MAX: usize = 16;

/// A path that stays in a tree on any system, whatever the rules say.
fn check_path(path: &RelPath) {
    assert_eq!(RelPath::parse(path.as_str()).as_ref(), Ok(path));
    let plain = |name: &str| !matches!(name, "" | "." | "..") && !name.contains(['\\', ':', '\0']);
    assert!(path.components().all(plain));
    assert!(!path.components().next().is_some_and(|first| first.eq_ignore_ascii_case(STATE_DIR)));
    assert!(path.ancestors().all(|above| path.is_below(&above) && RelPath::parse(above.as_str()).is_ok()));
    assert!(path.to_path().is_relative());
}

/// Walks a link's destination by hand.
fn check_link(link: &RelPath, destination: &LinkDestination) {
    let mut at: Vec<&str> = link.components().collect();
    at.pop();
    for step in destination.as_str().split('/') {
        match step {
            ".." => assert!(at.pop().is_some(), "a link that leaves the tree"),
            name => at.push(name),
        }
    }
    check_path(&RelPath::parse(&at.join("/")).expect("a place in the tree"));
}

/// Each prefix of a path as a lax file system knows it, as it is spelled, and whether it is the whole path.
fn names(path: &RelPath) -> Vec<(String, String, bool)> {
    let above = path.ancestors().map(|above| (above.fold_key(), above.as_str().to_owned(), false));
    above.chain([(path.fold_key(), path.as_str().to_owned(), true)]).collect()
}

/// The slow way to say whether two paths cannot be in one tree.
fn clash(a: &[(String, String, bool)], b: &[(String, String, bool)]) -> bool {
    a.iter().any(|a| b.iter().any(|b| a.0 == b.0 && (a.1 != b.1 || a.2 || b.2)))
}

/// Lines are paths, and destinations of links that lie where the line before says.
pub fn paths(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let lines: Vec<&str> = text.split('\n').collect();
    let paths: Vec<RelPath> = lines.iter().filter_map(|line| RelPath::parse(line).ok()).take(PATHS_MAX).collect();
    paths.iter().for_each(check_path);
    for pair in lines.windows(2) {
        if let Ok(link) = RelPath::parse(pair[0])
            && let Ok(destination) = LinkDestination::parse(&link, pair[1])
        {
            check_link(&link, &destination);
        }
    }
    let names: Vec<_> = paths.iter().map(names).collect();
    let clashes = (1..names.len()).any(|i| names[..i].iter().any(|other| clash(other, &names[i])));
    assert_eq!(!find_conflicts(paths.iter().map(|path| (path, true))).is_empty(), clashes);
}

/// A manifest comes back; its rows are found and are free of conflicts.
pub fn manifest(data: &[u8]) {
    let Some(manifest) = comes_back(data, Manifest::parse, Manifest::to_bytes) else { return };
    let rows = manifest.rows();
    assert!(rows.iter().enumerate().all(|(index, row)| manifest.find(&row.path).is_some_and(|found| found.0 == index)));
    for row in rows {
        check_path(&row.path);
        if let Kind::Link(destination) = &row.kind {
            check_link(&row.path, destination);
        }
    }
    assert!(manifest.content_bytes() <= rows.iter().map(|row| row.digest.size).sum());
}

/// Files of these sizes; where there is no size, a directory. The first names are those of the golden headers' base.
pub fn rows_of(sizes: impl Iterator<Item = Option<u64>>) -> Manifest {
    let row = |(index, size): (usize, Option<u64>)| {
        let name = match index {
            0..3 => char::from(b'a' + index as u8).to_string(),
            // lib/a to lib/z, lib/za to lib/zz, lib/zza and so on: in order.
            _ => format!("lib/{}{}", "z".repeat((index - 3) / 26), char::from(b'a' + ((index - 3) % 26) as u8)),
        };
        let path = RelPath::parse(&name).expect("a path");
        let Some(size) = size else { return Row::directory(path) };
        let digest =
            ContentDigest { size, crc: CrcPair { forward: 0, reversed: 0 }, blake3: Blake3::of(name.as_bytes()) };
        Row { path, digest, kind: Kind::File { executable: index % 3 == 0 }, policy: Policy::Managed }
    };
    Manifest::new(sizes.enumerate().map(row).collect()).expect("a manifest")
}

/// An index of a manifest whose sizes stand first: how many, and each, or [`NO_FILE`].
pub fn objects_index(data: &[u8]) {
    let mut input = Input(data);
    let count = input.number() % 27;
    let sizes: Vec<usize> = (0..count).map(|_| input.number()).collect();
    let manifest = rows_of(sizes.into_iter().map(|size| (size != NO_FILE).then_some(size as u64)));
    let parse = |bytes: &[u8]| ObjectsIndex::parse(bytes, &manifest);
    let Some(index) = comes_back(input.0, parse, ObjectsIndex::to_bytes) else { return };
    assert_eq!(index.row_count(), count);
    for (row, listed) in manifest.rows().iter().enumerate() {
        let pieces = index.pieces(row);
        let bytes: u64 = pieces.iter().map(|piece| piece.length).sum();
        assert_eq!(bytes, if listed.is_file() { listed.digest.size } else { 0 });
        assert!(pieces.iter().all(|piece| piece.offset + piece.length <= index.objects()[piece.object].raw_length));
    }
}

/// An input of [`objects_index`].
pub fn index_input(manifest: &Manifest, index: &[u8]) -> Vec<u8> {
    let sizes = manifest.rows().iter().map(|row| if row.is_file() { row.digest.size } else { NO_FILE as u64 } as u16);
    let numbers = [manifest.rows().len() as u16].into_iter().chain(sizes);
    numbers.flat_map(u16::to_le_bytes).chain(index.iter().copied()).collect()
}

/// A raw length of 32 bits and a stored object: refused, or of that length.
pub fn object_frame(data: &[u8]) {
    let Some((length, stored)) = data.split_first_chunk() else { return };
    let raw_length = u64::from(u32::from_le_bytes(*length));
    let object = StoredObject { blake3: Blake3::of(stored), length: stored.len() as u64, raw_length };
    match decode(stored, &object) {
        Ok(raw) => assert_eq!(raw.len() as u64, raw_length),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A journal, with its trailer or without, comes back; its paths are paths on disk.
pub fn journal(data: &[u8]) {
    comes_back(data, Journal::parse, Journal::to_bytes);
    let Some(journal) = comes_back(&with_trailer(data), Journal::parse, Journal::to_bytes) else { return };
    for op in &journal.ops {
        check_op(op);
        assert_eq!(journal.tree_op(&op.path).is_some(), op.area == Area::Tree || has_tree_op(&journal, &op.path));
    }
}

fn has_tree_op(journal: &Journal, path: &EntryPath) -> bool {
    journal.ops.iter().any(|op| op.area == Area::Tree && op.path == *path)
}

fn check_op(op: &JournalOp) {
    for path in [Some(&op.path), op.was.as_ref()].into_iter().flatten() {
        let on_disk = path.to_path();
        assert!(cfg!(windows) || on_disk.is_some());
        if let Some(on_disk) = &on_disk {
            assert!(on_disk.is_relative() && on_disk.components().count() == path.as_str().split('/').count());
            assert!(cfg!(windows) || EntryPath::from_path(on_disk).as_ref() == Some(path));
        }
        path.to_rel().iter().for_each(check_path);
    }
}
