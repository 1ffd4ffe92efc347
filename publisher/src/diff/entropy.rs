//! Compresses the raw streams of each block and writes its payload.
//!
//! Each stream is one continuous stream of its codec over all blocks of a unit. Where a unit has a single block, as most
//! have, each stream gets the codec that makes it smallest, or none.

use std::io::Write;

use lamplighter_client::format::digest::Blake3;
use lamplighter_client::format::pack::BlockInfo;
use lamplighter_client::format::pack::codec::lzma::{DICTIONARY_LOG_MAX, DICTIONARY_LOG_MIN};
use lamplighter_client::format::pack::codec::{Algorithm, CodecError, LZMA, STORED, ZSTD, ZstdEncoder};
use lamplighter_client::format::pack::wire::put_varint;
use lzma_rust2::{Lzma2Options, Lzma2Writer};

use super::{DiffError, Effort, Encoded};

/// Streams up to this size are tried with both codecs, in raw bytes.
const TRY_BOTH_BYTES: usize = 64 << 10;
/// So are those that LZMA makes so many times smaller: it pays for long repetitions every 273 bytes.
const TRY_BOTH_RATIO: usize = 32;
/// Dictionary of streams that are not content, as a power of two.
const SMALL_DICTIONARY_LOG: u8 = 21;

/// What a stream holds, as far as a codec can be tuned to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Varints.
    Numbers,
    /// Bytes of files, which repeat over long distances.
    Content,
    /// Words of 4 bytes.
    Words,
}

/// The raw streams of one block.
pub type RawBlock = Vec<Vec<u8>>;

/// Bytes of all streams.
pub fn raw_bytes(block: &[Vec<u8>]) -> usize {
    block.iter().map(Vec::len).sum()
}

/// Writes the blocks of a unit to a sink.
pub struct BlockWriter<'a> {
    method: Algorithm,
    roles: &'static [Role],
    effort: Effort,
    sink: &'a mut dyn Write,
    /// The last block pushed: whether it is the only one is known only later.
    pending: Option<RawBlock>,
    /// Codec and encoder of each stream, once there are several blocks.
    streams: Option<Vec<(Algorithm, StreamEncoder)>>,
    blocks: Vec<BlockInfo>,
}

impl<'a> BlockWriter<'a> {
    /// Nothing yet; payloads go to `sink`. Every block has as many streams as there are `roles`.
    pub fn new(method: Algorithm, roles: &'static [Role], effort: Effort, sink: &'a mut dyn Write) -> Self {
        Self { method, roles, effort, sink, pending: None, streams: None, blocks: Vec::new() }
    }

    /// Takes the next block.
    pub fn push(&mut self, block: RawBlock) -> Result<(), DiffError> {
        debug_assert_eq!(block.len(), self.roles.len());
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
        // Without a block there is nothing to code.
        let none = || vec![STORED; self.roles.len()];
        let codecs =
            self.streams.as_ref().map_or_else(none, |streams| streams.iter().map(|(codec, _)| *codec).collect());
        Ok(self.encoded(codecs))
    }

    fn encoded(self, codecs: Vec<Algorithm>) -> Encoded {
        Encoded { method: self.method, parameters: Vec::new(), codecs, blocks: self.blocks }
    }

    /// Writes one of several blocks. The first one chooses the codecs.
    fn write(&mut self, block: &RawBlock) -> Result<(), DiffError> {
        if self.streams.is_none() {
            let open = |(raw, role): (&Vec<u8>, &Role)| {
                let codec = codec_of_many(raw, *role, self.effort)?;
                Ok((codec, StreamEncoder::new(codec, *role, self.effort, None)?))
            };
            self.streams = Some(block.iter().zip(self.roles).map(open).collect::<Result<_, CodecError>>()?);
        }
        let mut payload = Vec::new();
        for (raw, (codec, encoder)) in block.iter().zip(self.streams.iter_mut().flatten()) {
            put_piece(&mut payload, *codec, raw.len(), &encoder.piece(raw)?);
        }
        self.emit(&payload)
    }

    /// Writes the only block.
    fn write_only(mut self, block: &RawBlock) -> Result<Encoded, DiffError> {
        let mut payload = Vec::new();
        let mut codecs = Vec::new();
        for (raw, role) in block.iter().zip(self.roles) {
            let (codec, stored) = smallest(raw, *role, self.effort)?;
            put_piece(&mut payload, codec, raw.len(), &stored);
            codecs.push(codec);
        }
        self.emit(&payload)?;
        Ok(self.encoded(codecs))
    }

    fn emit(&mut self, payload: &[u8]) -> Result<(), DiffError> {
        self.blocks.push(BlockInfo { length: payload.len() as u64, blake3: Blake3::of(payload) });
        self.sink.write_all(payload).map_err(DiffError::Write)
    }
}

/// The codec of a stream of several pieces, by its first one.
fn codec_of_many(raw: &[u8], role: Role, effort: Effort) -> Result<Algorithm, CodecError> {
    if !effort.uses_lzma() {
        return Ok(ZSTD);
    }
    // A sample tells long repetitions.
    let sample = &raw[..raw.len().min(TRY_BOTH_BYTES)];
    let (codec, packed) = smallest(sample, role, effort)?;
    Ok(if codec == ZSTD && packed.len() * TRY_BOTH_RATIO < sample.len() { ZSTD } else { LZMA })
}

/// A stream that is one piece, by the codec that makes it smallest.
pub(super) fn smallest(raw: &[u8], role: Role, effort: Effort) -> Result<(Algorithm, Vec<u8>), CodecError> {
    let mut best = (STORED, raw.to_vec());
    if raw.is_empty() {
        return Ok(best);
    }
    let mut attempt = |codec| -> Result<usize, CodecError> {
        let packed = StreamEncoder::new(codec, role, effort, Some(raw.len()))?.piece(raw)?;
        let (length, raw_length) = (packed.len(), if best.0 == STORED { varint_length(raw.len()) } else { 0 });
        if length + raw_length < best.1.len() {
            best = (codec, packed);
        }
        Ok(length)
    };
    let lzma_bytes = if effort.uses_lzma() { Some(attempt(LZMA)?) } else { None };
    if lzma_bytes.is_none_or(|bytes| raw.len() <= TRY_BOTH_BYTES || bytes * TRY_BOTH_RATIO < raw.len()) {
        attempt(ZSTD)?;
    }
    Ok(best)
}

/// Encodes the pieces of one stream in order.
enum StreamEncoder {
    Zstd(Box<ZstdEncoder>),
    Lzma(Box<Lzma2Writer<Vec<u8>>>),
}

impl StreamEncoder {
    /// `raw_length` is the length of the whole stream where it is known.
    fn new(codec: Algorithm, role: Role, effort: Effort, raw_length: Option<usize>) -> Result<Self, CodecError> {
        if codec != LZMA {
            let parameters = effort.parameters(role == Role::Content);
            let encoder = ZstdEncoder::new(effort.level(), &parameters, raw_length.map(|length| length as u64))?;
            return Ok(Self::Zstd(Box::new(encoder)));
        }
        let most = if role == Role::Content { DICTIONARY_LOG_MAX } else { SMALL_DICTIONARY_LOG };
        let whole = raw_length.map_or(most, |length| length.max(1).ilog2() as u8 + 1);
        let log = whole.clamp(DICTIONARY_LOG_MIN, most);
        let mut options = Lzma2Options::with_preset(6);
        options.lzma_options.dict_size = 1 << log;
        options.lzma_options.nice_len = effort.lzma_nice_length();
        if role == Role::Words {
            (options.lzma_options.lc, options.lzma_options.lp) = (1, 2);
        }
        Ok(Self::Lzma(Box::new(Lzma2Writer::new(vec![log], options))))
    }

    /// The stored bytes of the next piece; none for an empty one.
    fn piece(&mut self, raw: &[u8]) -> Result<Vec<u8>, CodecError> {
        match self {
            Self::Zstd(encoder) => encoder.piece(raw),
            Self::Lzma(_) if raw.is_empty() => Ok(Vec::new()),
            Self::Lzma(encoder) => {
                encoder.write_all(raw).and_then(|()| encoder.flush()).map_err(CodecError::Lzma)?;
                Ok(std::mem::take(encoder.inner_mut()))
            }
        }
    }
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
