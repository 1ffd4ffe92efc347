//! Stores the full content of a release in objects and writes the index that says where each row's content lies.
//!
//! The format is [`lamplighter_client::format::objects`]. What this module adds is the choice of what goes into which
//! object:
//!
//! 1. Equal content is one content. Content that an earlier release stored stays where it is and is not read; `reuse`
//!    says when.
//! 2. Other content is read, compared with the manifest and, if it is large, cut at places of its own choosing
//!    (`chunker`). Equal pieces are one piece.
//! 3. Pieces that will not fill an object share one with their neighbours in the order of the manifest (`grouping`).
//! 4. Each group is one zstd frame.
//!
//! The index depends on the manifest, the content, the compression level, the zstd library, the earlier releases in the
//! order they are given in, and on which of *their* objects the sink still has; not on anything else the sink holds and
//! not on the number of threads. Work runs on rayon's current pool and takes, for each of its threads, at most some
//! 64 MiB, most of it zstd's at its highest levels; no content is ever whole in memory.

mod chunker;
mod grouping;
mod reuse;
mod store;
mod survey;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;

use lamplighter_client::format::digest::Blake3;
use lamplighter_client::format::manifest::Manifest;
use lamplighter_client::format::objects::{ObjectsError, ObjectsIndex, Piece, StoredObject};
use lamplighter_client::progress::{Event, Progress};
use rayon::prelude::*;

use reuse::Content;
use store::Stored;
use survey::SourcePiece;

/// The zstd level objects are compressed at.
pub const LEVEL: i32 = 19;

/// A release that is in the site already.
#[derive(Debug, Clone, Copy)]
pub struct Prior<'a> {
    /// What it holds.
    pub manifest: &'a Manifest,
    /// Where its content lies.
    pub index: &'a ObjectsIndex,
}

/// Takes the bytes of objects; called from any thread.
pub trait ObjectSink: Sync {
    /// Whether it has the object of this name and stored length.
    fn has(&self, blake3: &Blake3, length: u64) -> bool;

    /// Takes the stored bytes of the object named `blake3`.
    ///
    /// # Errors
    /// Whatever storing gives.
    fn put(&self, blake3: &Blake3, stored: &[u8]) -> io::Result<()>;
}

/// What the objects of a release come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ObjectStats {
    /// Objects of the release.
    pub objects: usize,
    /// Their stored bytes.
    pub stored_bytes: u64,
    /// Those of them that no earlier release names.
    pub new_objects: usize,
    /// Their stored bytes.
    pub new_bytes: u64,
    /// Those of them that the sink did not have.
    pub written_objects: usize,
    /// Their stored bytes.
    pub written_bytes: u64,
}

/// Why a release's objects could not be stored.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum BuildError {
    #[error("cannot read {path}: {source}")]
    Read { path: String, source: io::Error },
    #[error("{path} changed while the release was built: its content is not what the manifest lists")]
    Changed { path: String },
    #[error("cannot compress an object: {source}")]
    Compress { source: io::Error },
    #[error("cannot store object {blake3}: {source}")]
    Store { blake3: Blake3, source: io::Error },
    #[error("the objects of the release make no index: {0}")]
    Index(#[from] ObjectsError),
}

/// Stores the content of the release that `manifest` lists and `dir` holds, as far as the releases in `prior` (the one
/// to stay closest to first) do not have it already, and returns the index.
///
/// The [`Event::Advanced`] reports to `progress` add up to [`Manifest::content_bytes`].
///
/// # Errors
/// Content that cannot be read, is not what the manifest says or changes meanwhile, by its path; a failing sink.
/// Objects stored before the error are whole and stay.
pub fn build(
    manifest: &Manifest,
    dir: &Path,
    prior: &[Prior<'_>],
    sink: &dyn ObjectSink,
    progress: &dyn Progress,
) -> Result<(ObjectsIndex, ObjectStats), BuildError> {
    build_at_level(LEVEL, manifest, dir, prior, sink, progress)
}

/// As [`build`], compressing at the zstd level `level`.
///
/// # Errors
/// As [`build`].
pub fn build_at_level(
    level: i32,
    manifest: &Manifest,
    dir: &Path,
    prior: &[Prior<'_>],
    sink: &dyn ObjectSink,
    progress: &dyn Progress,
) -> Result<(ObjectsIndex, ObjectStats), BuildError> {
    let contents = distinct_contents(manifest);
    let mut placed = reuse::keep(&contents, prior, |object| sink.has(&object.blake3, object.length));
    let new: Vec<usize> = (0..contents.len()).filter(|index| placed[*index].is_none()).collect();
    let surveyed: Vec<Vec<SourcePiece>> = new
        .par_iter()
        .map(|index| contents[*index].row)
        .map(|row| survey::survey(dir, row, &manifest.rows()[row]))
        .collect::<Result<_, _>>()?;
    let (pieces, numbers) = distinct_pieces(&surveyed);
    let items: Vec<grouping::Item> = pieces.iter().map(|p| p.item).collect();
    let groups = grouping::group(&items);

    let to_store: u64 = pieces.iter().map(|p| p.length).sum();
    progress.event(Event::Advanced { bytes: manifest.content_bytes().saturating_sub(to_store) });
    let stored: Vec<Stored> = groups
        .par_iter()
        .map(|group| {
            let pieces: Vec<&SourcePiece> = group.iter().map(|index| pieces[*index]).collect();
            let stored = store::store(manifest, dir, &pieces, level, sink)?;
            progress.event(Event::Advanced { bytes: stored.object.raw_length });
            Ok(stored)
        })
        .collect::<Result<_, BuildError>>()?;

    let places = places(&pieces, &groups, &stored);
    for (index, numbers) in new.iter().zip(&numbers) {
        placed[*index] = Some(numbers.iter().map(|number| places[*number]).collect());
    }
    let index = assemble(manifest, &contents, &placed)?;
    let stats = stats(&index, prior, &stored);
    Ok((index, stats))
}

/// A run of an object's raw bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Placed {
    object: StoredObject,
    offset: u64,
    length: u64,
}

/// The distinct contents of the files that are not empty, in order of their first rows.
fn distinct_contents(manifest: &Manifest) -> Vec<Content> {
    let mut seen = HashSet::new();
    let files = manifest.rows().iter().enumerate().filter(|(_, row)| row.is_file() && row.digest.size > 0);
    files
        .filter(|(_, row)| seen.insert(row.digest.blake3))
        .map(|(index, row)| Content { row: index, blake3: row.digest.blake3, size: row.digest.size })
        .collect()
}

/// The distinct pieces in order, and for each list of `surveyed` their numbers.
fn distinct_pieces<'a>(surveyed: &'a [Vec<SourcePiece>]) -> (Vec<&'a SourcePiece>, Vec<Vec<usize>>) {
    let mut pieces = Vec::new();
    let mut known: HashMap<Blake3, usize> = HashMap::new();
    let mut number = |piece: &'a SourcePiece| {
        *known.entry(piece.blake3).or_insert_with(|| {
            pieces.push(piece);
            pieces.len() - 1
        })
    };
    let numbers = surveyed.iter().map(|list| list.iter().map(&mut number).collect()).collect();
    (pieces, numbers)
}

/// Where each piece lies, now that its group is stored.
fn places(pieces: &[&SourcePiece], groups: &[Vec<usize>], stored: &[Stored]) -> Vec<Placed> {
    let mut places: Vec<Option<Placed>> = vec![None; pieces.len()];
    for (group, stored) in groups.iter().zip(stored) {
        let mut offset = 0;
        for &number in group {
            let length = pieces[number].length;
            places[number] = Some(Placed { object: stored.object, offset, length });
            offset += length;
        }
    }
    places.into_iter().flatten().collect()
}

/// Numbers the objects in order of first use and joins runs that follow one another.
fn assemble(
    manifest: &Manifest,
    contents: &[Content],
    placed: &[Option<Vec<Placed>>],
) -> Result<ObjectsIndex, ObjectsError> {
    let by_digest: HashMap<Blake3, &[Placed]> =
        contents.iter().zip(placed).map(|(c, placed)| (c.blake3, placed.as_deref().unwrap_or_default())).collect();
    let mut objects: Vec<StoredObject> = Vec::new();
    let mut numbers: HashMap<Blake3, usize> = HashMap::new();
    let mut rows: Vec<Vec<Piece>> = Vec::with_capacity(manifest.rows().len());
    for row in manifest.rows() {
        let runs = if row.is_file() { by_digest.get(&row.digest.blake3).copied() } else { None };
        let mut pieces: Vec<Piece> = Vec::new();
        for run in runs.unwrap_or_default() {
            let object = *numbers.entry(run.object.blake3).or_insert_with(|| {
                objects.push(run.object);
                objects.len() - 1
            });
            match pieces.last_mut() {
                Some(last) if last.object == object && last.offset + last.length == run.offset => {
                    last.length += run.length;
                }
                _ => pieces.push(Piece { object, offset: run.offset, length: run.length }),
            }
        }
        rows.push(pieces);
    }
    ObjectsIndex::new(objects, &rows, manifest)
}

fn stats(index: &ObjectsIndex, prior: &[Prior<'_>], stored: &[Stored]) -> ObjectStats {
    let known: HashSet<Blake3> = prior.iter().flat_map(|p| p.index.objects()).map(|o| o.blake3).collect();
    let new: Vec<&StoredObject> = index.objects().iter().filter(|o| !known.contains(&o.blake3)).collect();
    let written: Vec<&StoredObject> = stored.iter().filter(|s| s.written).map(|s| &s.object).collect();
    let bytes = |objects: &[&StoredObject]| objects.iter().map(|o| o.length).sum();
    ObjectStats {
        objects: index.objects().len(),
        stored_bytes: index.stored_bytes(),
        new_objects: new.len(),
        new_bytes: bytes(&new),
        written_objects: written.len(),
        written_bytes: bytes(&written),
    }
}

#[cfg(test)]
mod tests;
