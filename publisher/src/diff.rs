//! Makes patches: old and new bytes in, the blocks of a unit out, as [`lamplighter_client::patch`] reads them.
//!
//! One stage a file: [`windowing`] cuts what is too large into pairs of windows; [`suffix`] finds the longest match of
//! some bytes in old; [`matching`] aligns new with old by such matches; [`control`] turns the alignment into control
//! triples and raw streams; [`entropy`] cuts the streams into blocks and compresses them.
//!
//! The same input gives the same bytes, on any machine and at any thread count: no stage looks at a clock, a random
//! number, the number of cores or the order in which threads run.

pub mod control;
pub mod effort;
pub mod entropy;
pub mod matching;
pub mod suffix;
pub mod windowing;

use std::io::{self, Write};

use lamplighter_client::format::pack::BlockInfo;
use lamplighter_client::format::pack::codec::{Algorithm, CodecError};
use lamplighter_client::patch::OldBytes;

use control::Control;
pub use effort::Effort;
use entropy::BlockWriter;
use matching::Matcher;
use suffix::SuffixIndex;

/// Counts up whenever the same input may give other bytes than before; part of the key under which patches are kept.
pub const ENCODER_VERSION: u32 = 1;

/// Why a patch can't be made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum DiffError {
    #[error("diff: reading {length} bytes at {offset} of the {side} content: {source}")]
    Read { side: &'static str, offset: u64, length: u64, source: io::Error },
    #[error("diff: writing a block: {0}")]
    Write(#[source] io::Error),
    #[error("diff: {0}")]
    Codec(#[from] CodecError),
    #[error("diff: suffix array of {bytes} bytes: {reason}")]
    Suffix { bytes: usize, reason: String },
}

/// Content to diff: bytes that can be read at any place, and how many they are.
pub struct Side<'a> {
    /// The bytes.
    pub bytes: &'a mut dyn OldBytes,
    /// How many.
    pub length: u64,
}

/// What a pack's header says of a unit's blocks; their bytes went to the sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Codec of each stream.
    pub codecs: Vec<Algorithm>,
    /// The blocks, in order.
    pub blocks: Vec<BlockInfo>,
}

/// Encodes the patch that makes `new` from `old` and writes its blocks to `sink`.
///
/// Memory: both sides whole up to 256 MiB each, with five bytes of index a byte of old; beyond that, windows.
///
/// # Errors
/// Reading either side, writing the blocks, or no memory for an index.
pub fn encode(
    mut old: Side<'_>,
    mut new: Side<'_>,
    effort: Effort,
    sink: &mut dyn Write,
) -> Result<Encoded, DiffError> {
    let mut control = Control::new(BlockWriter::new(effort, sink));
    for window in windowing::plan(&mut old, &mut new)? {
        let old_bytes = window.old.read(&mut old)?;
        let new_bytes = read(&mut new, "new", window.new.start, window.new.end - window.new.start)?;
        let matches = align(&old_bytes, &new_bytes, effort)?;
        let mut at = 0;
        for found in &matches {
            control.insert(&new_bytes[at..found.new])?;
            at = found.new + found.length;
            for (start, part) in window.old.locate(found.old, found.length) {
                let from = found.new + (part.start - found.old);
                control.copy(start, &old_bytes[part.clone()], &new_bytes[from..from + part.len()])?;
            }
        }
        control.insert(&new_bytes[at..])?;
    }
    control.finish()?.finish()
}

/// Matches of new in old, in the order of new, without overlap.
///
/// What both begin and end with alike is not searched for.
fn align(old: &[u8], new: &[u8], effort: Effort) -> Result<Vec<matching::Match>, DiffError> {
    let prefix = matching::common_prefix(old, new);
    if prefix == new.len() {
        return Ok(if new.is_empty() { Vec::new() } else { vec![matching::Match { new: 0, old: 0, length: prefix }] });
    }
    if old.is_empty() {
        return Ok(Vec::new());
    }
    let index = SuffixIndex::new(old)?;
    Ok(Matcher::new(&index, old, new, effort.gain_min()).run())
}

/// Reads a stretch of one side into memory.
fn read(side: &mut Side<'_>, name: &'static str, offset: u64, length: u64) -> Result<Vec<u8>, DiffError> {
    let fail = |source| DiffError::Read { side: name, offset, length, source };
    let size = usize::try_from(length).map_err(|_| fail(io::ErrorKind::OutOfMemory.into()))?;
    let mut bytes = vec![0; size];
    side.bytes.read_at(offset, &mut bytes).map_err(fail)?;
    Ok(bytes)
}
