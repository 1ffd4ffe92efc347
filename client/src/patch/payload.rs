//! From the payload of a block to the raw pieces of its streams.

use rayon::prelude::*;

use super::PatchError;
use crate::format::pack::codec::{Algorithm, StreamDecoder};
use crate::format::pack::wire::Reader;

/// Most raw bytes the streams of one block may have together.
pub const BLOCK_RAW_MAX: u64 = 4 << 20;

/// Most bytes the dictionaries of a unit's streams may have together.
pub const DICTIONARIES_BYTES_MAX: u64 = 48 << 20;
/// Payloads from this size on are decoded on several cores.
const PARALLEL_BYTES: usize = 64 << 10;

/// Decodes the payloads of a unit's blocks, in order.
pub struct PieceDecoder {
    streams: Vec<StreamDecoder>,
    /// Of the streams that have begun.
    dictionary_bytes: u64,
}

impl PieceDecoder {
    /// A decoder before the first block.
    ///
    /// # Errors
    /// A codec is unknown.
    pub fn new(codecs: &[Algorithm]) -> Result<Self, PatchError> {
        let stream =
            |codec: &Algorithm| StreamDecoder::new(*codec)?.ok_or(PatchError::Unreadable { method: codec.number() });
        Ok(Self { streams: codecs.iter().map(stream).collect::<Result<_, _>>()?, dictionary_bytes: 0 })
    }

    /// The raw piece of each stream.
    ///
    /// # Errors
    /// The payload is cut, too long, or not what the codecs write.
    pub fn decode(&mut self, payload: &[u8]) -> Result<Vec<Vec<u8>>, PatchError> {
        let mut reader = Reader::new(payload);
        let mut parts = Vec::with_capacity(self.streams.len());
        let mut left = BLOCK_RAW_MAX;
        for stream in &self.streams {
            let stored_bytes = reader.varint()?;
            let raw_bytes = if matches!(stream, StreamDecoder::Stored) { stored_bytes } else { reader.varint()? };
            left = left.checked_sub(raw_bytes).ok_or(PatchError::Limit {
                what: "raw bytes of a block",
                limit: BLOCK_RAW_MAX,
                found: raw_bytes.saturating_add(BLOCK_RAW_MAX - left),
            })?;
            // Bounded above by what is left of 4 MiB.
            let stored = reader.bytes(stored_bytes)?;
            self.dictionary_bytes += stream.dictionary_bytes(stored);
            parts.push((stored, raw_bytes as usize));
        }
        if self.dictionary_bytes > DICTIONARIES_BYTES_MAX {
            let (limit, found) = (DICTIONARIES_BYTES_MAX, self.dictionary_bytes);
            return Err(PatchError::Limit { what: "bytes of dictionaries", limit, found });
        }
        if !reader.is_empty() {
            return Err(PatchError::Unused { of: "the payload", bytes: reader.rest().len() as u64 });
        }
        let decode = |(stream, (stored, raw)): (&mut StreamDecoder, &(&[u8], usize))| Ok(stream.piece(stored, *raw)?);
        if payload.len() < PARALLEL_BYTES {
            return self.streams.iter_mut().zip(&parts).map(decode).collect();
        }
        self.streams.par_iter_mut().zip(&parts).map(decode).collect()
    }
}
