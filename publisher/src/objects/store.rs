//! Makes one object of a group of pieces: reads them again, compresses them together, hands the bytes on.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use lamplighter_client::format::digest::Blake3;
use lamplighter_client::format::manifest::Manifest;
use lamplighter_client::format::objects::StoredObject;

use super::survey::SourcePiece;
use super::{BuildError, ObjectSink};

/// What became of a group.
pub(super) struct Stored {
    pub(super) object: StoredObject,
    /// Whether the sink did not have it.
    pub(super) written: bool,
}

/// Stores the object that holds `pieces` one after the other. Takes their bytes, stored and raw, and the compressor's
/// memory.
pub(super) fn store(
    manifest: &Manifest,
    dir: &Path,
    pieces: &[&SourcePiece],
    level: i32,
    sink: &dyn ObjectSink,
) -> Result<Stored, BuildError> {
    let raw_length: u64 = pieces.iter().map(|p| p.length).sum();
    let mut raw = Vec::with_capacity(usize::try_from(raw_length).unwrap_or_default());
    for piece in pieces {
        read_piece(manifest, dir, piece, &mut raw)?;
    }
    // A new context for each object: what was compressed before must not decide on these bytes.
    let bytes = zstd::bulk::compress(&raw, level).map_err(|source| BuildError::Compress { source })?;
    drop(raw);
    let blake3 = Blake3::of(&bytes);
    let object = StoredObject { blake3, length: bytes.len() as u64, raw_length };
    let written = !sink.has(&blake3, object.length);
    if written {
        sink.put(&blake3, &bytes).map_err(|source| BuildError::Store { blake3, source })?;
    }
    Ok(Stored { object, written })
}

/// Appends the bytes of `piece`, which must still be what they were.
fn read_piece(manifest: &Manifest, dir: &Path, piece: &SourcePiece, raw: &mut Vec<u8>) -> Result<(), BuildError> {
    let path = &manifest.rows()[piece.row].path;
    let start = raw.len();
    let mut read = || {
        let mut file = File::open(dir.join(path.to_path()))?;
        file.seek(SeekFrom::Start(piece.offset))?;
        file.take(piece.length).read_to_end(raw)
    };
    read().map_err(|source| BuildError::Read { path: path.to_string(), source })?;
    if Blake3::of(&raw[start..]) != piece.blake3 {
        return Err(BuildError::Changed { path: path.to_string() });
    }
    Ok(())
}
