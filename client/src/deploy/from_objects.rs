//! New files from objects, and from pieces of old files that lie in the same objects.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{Read, Seek, SeekFrom, Write};

use super::feed::ObjectFeed;
use super::stage::Sink;
use super::{BaseRelease, Deploy};
use crate::error::Error;
use crate::format::digest::Blake3;
use crate::format::document::FileRef;
use crate::format::layout;
use crate::format::manifest::Manifest;
use crate::format::objects::{ObjectsIndex, StoredObject};
use crate::format::path::RelPath;
use crate::tree::{Staging, TreeFile};

/// Old files smaller than this are not worth fetching the base's index for.
const REUSE_BYTES_MIN: u64 = 1 << 20;

/// Copied at once.
const COPY_BYTES: usize = 256 << 10;

/// Where the raw bytes of an object lie in a file of the tree.
pub(super) struct InTree {
    path: RelPath,
    offset: u64,
}

/// Objects whose content is in the tree, by digest.
pub(super) type Reusable = HashMap<Blake3, InTree>;

/// Fetches and parses the objects index of a release.
pub(super) fn fetch_index(
    deploy: &Deploy<'_>,
    build: u64,
    platform: &str,
    file: &FileRef,
    manifest: &Manifest,
) -> Result<ObjectsIndex, Error> {
    let name = layout::objects(build, platform);
    let bytes = deploy.downloader.exact(&name, file.length, &file.blake3)?;
    ObjectsIndex::parse(&bytes, manifest).map_err(|source| Error::ObjectsIndex { name, source })
}

/// Finds objects of the base release that lie whole in one intact old file.
///
/// Content-defined pieces of a large file come back under the same object as long as their bytes do, so what did not
/// change in it need not be fetched. Any trouble only costs the saving.
pub(super) fn reusable(
    deploy: &Deploy<'_>,
    base: Option<&BaseRelease>,
    platform: &str,
    intact: &BTreeSet<usize>,
) -> Reusable {
    let mut reusable = Reusable::new();
    let Some((base, (build, file))) = base.and_then(|b| Some((b, b.objects?))) else { return reusable };
    let worth = intact.iter().any(|row| base.manifest.rows()[*row].digest.size >= REUSE_BYTES_MIN);
    if !worth {
        return reusable;
    }
    let Ok(index) = fetch_index(deploy, build, platform, &file, &base.manifest) else { return reusable };
    for row in intact {
        let mut offset = 0;
        for piece in index.pieces(*row) {
            let object = &index.objects()[piece.object];
            if piece.offset == 0 && piece.length == object.raw_length {
                let path = base.manifest.rows()[*row].path.clone();
                reusable.insert(object.blake3, InTree { path, offset });
            }
            offset += piece.length;
        }
    }
    reusable
}

/// Objects that must be fetched for `rows`, each once, in order of first use.
pub(super) fn needed(index: &ObjectsIndex, rows: &[usize], reusable: &Reusable) -> Vec<StoredObject> {
    let mut seen = BTreeSet::new();
    let pieces = rows.iter().flat_map(|row| index.pieces(*row));
    pieces
        .filter(|piece| seen.insert(piece.object))
        .map(|piece| index.objects()[piece.object])
        .filter(|object| !reusable.contains_key(&object.blake3))
        .collect()
}

/// Makes `rows` of the target manifest, each into the sink that `finish` gives to what it is handed.
pub(super) fn make(
    deploy: &Deploy<'_>,
    staging: &Staging,
    index: &ObjectsIndex,
    rows: &[usize],
    reusable: &Reusable,
    mut finish: impl FnMut(usize, &mut dyn FnMut(&mut Sink<'_>) -> Result<(), Error>) -> Result<(), Error>,
) -> Result<(), Error> {
    let rows = &together(index, rows);
    let objects = needed(index, rows, reusable);
    let numbers: HashMap<Blake3, usize> = objects.iter().enumerate().map(|(n, o)| (o.blake3, n)).collect();
    let last_use = last_uses(index, rows);
    let feed = ObjectFeed::new(deploy, staging, objects);
    feed.run(|| {
        let mut raw = RawObjects { feed: &feed, numbers: &numbers, held: None };
        for row in rows {
            finish(*row, &mut |sink| write_row(deploy, index, *row, reusable, &mut raw, sink))?;
            for object in last_use.get(row).into_iter().flatten() {
                raw.discard(&index.objects()[*object].blake3);
            }
        }
        Ok(())
    })
}

/// The rows in the order of the objects they begin in.
///
/// One object is decoded at a time. Where a few of many small files have changed since an object was made, those that lie in it
/// have others between them in the manifest, and every return to it would decode all of it again.
fn together(index: &ObjectsIndex, rows: &[usize]) -> Vec<usize> {
    let mut rows = rows.to_vec();
    rows.sort_by_key(|row| index.pieces(*row).first().map(|piece| (piece.object, piece.offset)));
    rows
}

/// For each row the objects no later row needs.
fn last_uses(index: &ObjectsIndex, rows: &[usize]) -> BTreeMap<usize, Vec<usize>> {
    let mut last: BTreeMap<usize, usize> = BTreeMap::new();
    for row in rows {
        for piece in index.pieces(*row) {
            last.insert(piece.object, *row);
        }
    }
    let mut by_row: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (object, row) in last {
        by_row.entry(row).or_default().push(object);
    }
    by_row
}

fn write_row(
    deploy: &Deploy<'_>,
    index: &ObjectsIndex,
    row: usize,
    reusable: &Reusable,
    raw: &mut RawObjects<'_, '_>,
    sink: &mut Sink<'_>,
) -> Result<(), Error> {
    for piece in index.pieces(row) {
        deploy.stop_if_asked()?;
        let object = &index.objects()[piece.object];
        if let Some(place) = reusable.get(&object.blake3) {
            copy_range(deploy, &place.path, place.offset + piece.offset, piece.length, sink)?;
        } else {
            // The index was checked: a piece lies inside its object.
            let (start, length) = (piece.offset as usize, piece.length as usize);
            sink.write_all(&raw.get(&object.blake3)?[start..start + length]).map_err(|e| sink.error(e))?;
        }
    }
    Ok(())
}

/// Copies `length` bytes at `offset` of a file in the tree.
pub(super) fn copy_range(
    deploy: &Deploy<'_>,
    path: &RelPath,
    offset: u64,
    length: u64,
    sink: &mut Sink<'_>,
) -> Result<(), Error> {
    let mut file = deploy.lock.open_file(path)?;
    let sought = file.seek(SeekFrom::Start(offset));
    sought.map_err(|source| Error::Io { doing: "read", path: path.to_path(), source })?;
    copy(deploy, &mut file, path, length, sink)
}

/// Copies the next `length` bytes of `file`; `path` is for messages.
pub(super) fn copy(
    deploy: &Deploy<'_>,
    file: &mut TreeFile,
    path: &RelPath,
    length: u64,
    sink: &mut Sink<'_>,
) -> Result<(), Error> {
    let read_error = |source| Error::Io { doing: "read", path: path.to_path(), source };
    let mut left = length;
    let mut buffer = vec![0; COPY_BYTES];
    while left > 0 {
        deploy.stop_if_asked()?;
        let want = left.min(COPY_BYTES as u64) as usize;
        file.read_exact(&mut buffer[..want]).map_err(read_error)?;
        sink.write_all(&buffer[..want]).map_err(|e| sink.error(e))?;
        left -= want as u64;
    }
    Ok(())
}

/// Decoded objects; the last one is held, since rows that are made one after the other share it.
struct RawObjects<'a, 'b> {
    feed: &'a ObjectFeed<'b>,
    numbers: &'a HashMap<Blake3, usize>,
    held: Option<(Blake3, Vec<u8>)>,
}

impl RawObjects<'_, '_> {
    fn get(&mut self, blake3: &Blake3) -> Result<&[u8], Error> {
        if self.held.as_ref().is_none_or(|(held, _)| held != blake3) {
            self.held = None;
            // Every object of the rows is either reusable or numbered.
            let raw = self.feed.raw(self.numbers[blake3])?;
            self.held = Some((*blake3, raw));
        }
        Ok(self.held.as_ref().map_or(&[], |(_, raw)| raw))
    }

    fn discard(&mut self, blake3: &Blake3) {
        if let Some(number) = self.numbers.get(blake3) {
            self.feed.discard(*number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::digest::ContentDigest;
    use crate::format::manifest::{Kind, Policy, Row};
    use crate::format::objects::Piece;

    /// An index of files that each lie in one object, 10 bytes each, which `objects` numbers.
    fn index_of(objects: &[usize]) -> ObjectsIndex {
        let row = |n: usize| Row {
            path: RelPath::parse(&format!("file-{n:02}")).expect("a path"),
            digest: ContentDigest::of(&[n as u8; 10]),
            kind: Kind::File { executable: false },
            policy: Policy::Managed,
        };
        let manifest = Manifest::new((0..objects.len()).map(row).collect()).expect("a manifest");
        let mut used = BTreeMap::new();
        let piece = |object: &usize| {
            let offset: &mut u64 = used.entry(*object).or_default();
            *offset += 10;
            vec![Piece { object: *object, offset: *offset - 10, length: 10 }]
        };
        let rows: Vec<Vec<Piece>> = objects.iter().map(piece).collect();
        let count = objects.iter().max().map_or(0, |last| last + 1);
        let object = |n: usize| StoredObject { blake3: Blake3::of(&[n as u8]), length: 99, raw_length: 1000 };
        ObjectsIndex::new((0..count).map(object).collect(), &rows, &manifest).expect("an index")
    }

    #[test]
    fn files_of_one_object_are_made_one_after_the_other() {
        let index = index_of(&[0, 1, 0, 2, 1, 0, 3, 1]);
        let rows = together(&index, &[0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(rows, [0, 2, 5, 1, 4, 7, 3, 6]);
        let last: Vec<(usize, Vec<usize>)> = last_uses(&index, &rows).into_iter().collect();
        assert_eq!(last, [(3, vec![2]), (5, vec![0]), (6, vec![3]), (7, vec![1])]);
        assert_eq!(together(&index, &[1, 2, 4]), [2, 1, 4]);
    }
}
