//! Compresses the raw streams of each block and writes its payload.
//!
//! Each stream is one continuous zstd stream over all blocks of a unit. Where a unit has a single block, as most have,
//! a stream that zstd would make longer is stored, and zstd is told the length, so that it tunes itself to it.

use std::io::Write;

use lamplighter_client::format::digest::Blake3;
use lamplighter_client::format::pack::codec::{Algorithm, STORED, ZSTD, ZstdEncoder};
use lamplighter_client::format::pack::wire::put_varint;
use lamplighter_client::format::pack::{BlockInfo, PLAIN, PLAIN_STREAMS};

use super::{DiffError, Effort, Encoded};

/// The raw streams of one block.
#[derive(Debug, Default)]
pub struct RawBlock {
    /// Triples.
    pub control: Vec<u8>,
    /// Runs of zeros and residues.
    pub runs: Vec<u8>,
    /// Differences that are not zero.
    pub residues: Vec<u8>,
    /// Bytes that old has nothing for.
    pub extra: Vec<u8>,
}

impl RawBlock {
    /// Bytes of all streams.
    pub fn length(&self) -> usize {
        self.streams().iter().map(|stream| stream.len()).sum()
    }

    const fn streams(&self) -> [&Vec<u8>; PLAIN_STREAMS] {
        [&self.control, &self.runs, &self.residues, &self.extra]
    }
}

/// Writes blocks to a sink.
pub struct BlockWriter<'a> {
    effort: Effort,
    sink: &'a mut dyn Write,
    /// The last block pushed: whether it is the only one is known only later.
    pending: Option<RawBlock>,
    /// One encoder a stream, once there are several blocks.
    streams: Option<Vec<ZstdEncoder>>,
    blocks: Vec<BlockInfo>,
}

impl<'a> BlockWriter<'a> {
    /// Nothing yet; payloads go to `sink`.
    pub fn new(effort: Effort, sink: &'a mut dyn Write) -> Self {
        Self { effort, sink, pending: None, streams: None, blocks: Vec::new() }
    }

    /// Takes the next block.
    pub fn push(&mut self, block: RawBlock) -> Result<(), DiffError> {
        if let Some(before) = self.pending.replace(block) {
            self.write(&before)?;
        }
        Ok(())
    }

    /// Writes what is left.
    pub fn finish(mut self) -> Result<Encoded, DiffError> {
        if let Some(block) = self.pending.take() {
            if self.streams.is_some() {
                self.write(&block)?;
            } else {
                return self.write_only(&block);
            }
        }
        let codecs = vec![ZSTD; PLAIN_STREAMS];
        Ok(plain(codecs, self.blocks))
    }

    /// Writes one of several blocks.
    fn write(&mut self, block: &RawBlock) -> Result<(), DiffError> {
        let streams = match &mut self.streams {
            Some(streams) => streams,
            none => none.insert(open_streams(self.effort)?),
        };
        let mut payload = Vec::new();
        for (raw, encoder) in block.streams().into_iter().zip(streams) {
            put_piece(&mut payload, ZSTD, raw.len(), &encoder.piece(raw)?);
        }
        self.emit(&payload)
    }

    /// Writes the only block.
    fn write_only(mut self, block: &RawBlock) -> Result<Encoded, DiffError> {
        let mut payload = Vec::new();
        let mut codecs = Vec::new();
        for (index, raw) in block.streams().into_iter().enumerate() {
            let parameters = self.effort.parameters(is_content(index));
            let mut encoder = ZstdEncoder::new(self.effort.level(), &parameters, Some(raw.len() as u64))?;
            let packed = encoder.piece(raw)?;
            let smaller = packed.len() + varint_length(raw.len()) < raw.len();
            let (codec, stored) = if smaller { (ZSTD, &packed) } else { (STORED, raw) };
            put_piece(&mut payload, codec, raw.len(), stored);
            codecs.push(codec);
        }
        self.emit(&payload)?;
        Ok(plain(codecs, self.blocks))
    }

    fn emit(&mut self, payload: &[u8]) -> Result<(), DiffError> {
        self.blocks.push(BlockInfo { length: payload.len() as u64, blake3: Blake3::of(payload) });
        self.sink.write_all(payload).map_err(DiffError::Write)
    }
}

/// A patch of method 1, which has no parameters.
const fn plain(codecs: Vec<Algorithm>, blocks: Vec<BlockInfo>) -> Encoded {
    Encoded { method: PLAIN, parameters: Vec::new(), codecs, blocks }
}

fn open_streams(effort: Effort) -> Result<Vec<ZstdEncoder>, DiffError> {
    let open = |index| Ok(ZstdEncoder::new(effort.level(), &effort.parameters(is_content(index)), None)?);
    (0..PLAIN_STREAMS).map(open).collect()
}

/// True for the streams that hold bytes of files, which repeat over long distances.
const fn is_content(stream: usize) -> bool {
    stream >= 2
}

pub(super) fn put_piece(payload: &mut Vec<u8>, codec: Algorithm, raw_bytes: usize, stored: &[u8]) {
    put_varint(payload, stored.len() as u64);
    if codec != STORED {
        put_varint(payload, raw_bytes as u64);
    }
    payload.extend_from_slice(stored);
}

fn varint_length(value: usize) -> usize {
    (usize::BITS - (value | 1).leading_zeros()).div_ceil(7) as usize
}
