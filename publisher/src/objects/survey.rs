//! Reads content once: proves that it is what the manifest says, cuts it, and learns what grouping must know of each
//! piece.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use lamplighter_client::format::digest::Blake3;
use lamplighter_client::format::manifest::Row;

use super::BuildError;
use super::chunker::{LOOKAHEAD_BYTES, cut};
use super::grouping::Item;

/// A run of a row's content that goes into one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SourcePiece {
    /// Manifest row it is read from.
    pub(super) row: usize,
    /// Bytes from the start of the content.
    pub(super) offset: u64,
    /// Bytes.
    pub(super) length: u64,
    /// Digest of these bytes.
    pub(super) blake3: Blake3,
    /// For grouping.
    pub(super) item: Item,
}

/// Level at which pieces are compressed to estimate what they take.
const ESTIMATE_LEVEL: i32 = 1;

/// Cuts the content of `row`, the manifest's row `index`, below `dir`; takes at most [`LOOKAHEAD_BYTES`] and what
/// estimating one piece takes.
pub(super) fn survey(dir: &Path, index: usize, row: &Row) -> Result<Vec<SourcePiece>, BuildError> {
    let read_error = |source| BuildError::Read { path: row.path.to_string(), source };
    let changed = || BuildError::Changed { path: row.path.to_string() };
    let file = File::open(dir.join(row.path.to_path())).map_err(read_error)?;
    // One byte more, to notice a file that grew.
    let mut reader = file.take(row.digest.size + 1);
    let capacity = LOOKAHEAD_BYTES.min(usize::try_from(row.digest.size).unwrap_or(usize::MAX).saturating_add(1));
    let mut buffer = Vec::with_capacity(capacity);
    let mut whole = blake3::Hasher::new();
    let mut offset = 0;
    let mut pieces = Vec::new();
    loop {
        fill(&mut reader, &mut buffer, capacity).map_err(read_error)?;
        if buffer.is_empty() {
            break;
        }
        let bytes = &buffer[..cut(&buffer)];
        whole.update(bytes);
        let length = bytes.len() as u64;
        let blake3 = Blake3::of(bytes);
        let estimate_bytes = zstd::bulk::compress(bytes, ESTIMATE_LEVEL).map_err(read_error)?.len() as u64;
        let key = if length == row.digest.size { Blake3::of(row.path.as_str().as_bytes()) } else { blake3 };
        let item = Item::new(first_word(&key), length, estimate_bytes);
        pieces.push(SourcePiece { row: index, offset, length, blake3, item });
        offset += length;
        buffer.drain(..length as usize);
    }
    if offset != row.digest.size || whole.finalize().as_bytes() != row.digest.blake3.as_bytes() {
        return Err(changed());
    }
    Ok(pieces)
}

/// Reads until `buffer` holds `capacity` bytes or the reader ends.
fn fill(reader: &mut impl Read, buffer: &mut Vec<u8>, capacity: usize) -> io::Result<()> {
    let room = capacity.saturating_sub(buffer.len()) as u64;
    reader.take(room).read_to_end(buffer).map(|_| ())
}

fn first_word(digest: &Blake3) -> u64 {
    digest.as_bytes().iter().take(8).rev().fold(0, |word, byte| (word << 8) | u64::from(*byte))
}
