//! Ids of methods and codecs, and the codecs: [`zstd`], which is fast, and [`lzma`], which is small.
//!
//! # Specification
//!
//! An *algorithm* is a number `id × 8 + version`. A reader that does not know the number can't read what was made with
//! it, and says so before it tries.
//!
//! | codec | bytes |
//! | --- | --- |
//! | 0 version 0, *stored* | the raw bytes |
//! | 1 version 0, *zstd* | a zstd frame (RFC 8878) without its four magic bytes, without checksum, dictionary and content size, whose window is at most 8 MiB, and which is never ended: a writer flushes it where a piece ends |
//!
//! | 2 version 0, *lzma* | one byte, the power of two of the dictionary, 16 to 25; then LZMA2 chunks as in an `.xz` file (its specification, 5.3.1), without the zero that ends them; a chunk ends where a piece ends |
//!
//! A stream may be cut into *pieces*; each piece can be decoded as soon as the ones before it were. Ids 3 and above are
//! free.

pub mod lzma;
pub mod zstd;

use std::io;

use ::zstd::stream::raw::CParameter;

pub use self::lzma::LzmaStream;
pub use self::zstd::{WINDOW_LOG_MAX, ZstdEncoder, ZstdStream};

/// A method or a codec and its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Algorithm {
    /// What it is.
    pub id: u64,
    /// Which form of it, 0 to 7.
    pub version: u8,
}

impl Algorithm {
    /// Version 0 of `id`.
    pub const fn first(id: u64) -> Self {
        Self { id, version: 0 }
    }

    /// The number that stands for it in a pack.
    pub const fn number(self) -> u64 {
        self.id << 3 | (self.version & 7) as u64
    }

    /// The algorithm of a number.
    pub const fn from_number(number: u64) -> Self {
        Self { id: number >> 3, version: (number & 7) as u8 }
    }
}

/// Codec 0: the raw bytes.
pub const STORED: Algorithm = Algorithm::first(0);

/// Codec 1: a zstd frame.
pub const ZSTD: Algorithm = Algorithm::first(1);

/// Codec 2: LZMA2 chunks.
pub const LZMA: Algorithm = Algorithm::first(2);

/// Level of the tables of a header, which are small.
const TABLES_LEVEL: i32 = 19;

/// Why stored bytes are not a piece of a stream.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum CodecError {
    #[error("{stored} stored bytes gave {actual} raw bytes, expected {expected}")]
    Length { stored: usize, expected: usize, actual: usize },
    #[error("zstd: found {0}")]
    Frame(&'static str),
    #[error("lzma: found {0}")]
    Chunk(&'static str),
    #[error("lzma: {0}")]
    Lzma(#[source] io::Error),
    #[error("zstd: {0}")]
    Zstd(#[from] io::Error),
}

/// Decodes the pieces of one stream in order.
pub enum StreamDecoder {
    /// Codec 0.
    Stored,
    /// Codec 1.
    Zstd(Box<ZstdStream>),
    /// Codec 2.
    Lzma(Box<LzmaStream>),
}

impl StreamDecoder {
    /// A decoder at the first byte of a stream; none for a codec this crate does not know.
    ///
    /// # Errors
    /// There is no memory.
    pub fn new(codec: Algorithm) -> Result<Option<Self>, CodecError> {
        Ok(match codec {
            STORED => Some(Self::Stored),
            ZSTD => Some(Self::Zstd(Box::new(ZstdStream::new()?))),
            LZMA => Some(Self::Lzma(Box::default())),
            _ => None,
        })
    }

    /// Bytes of the dictionary that decoding `stored`, the next piece, would take memory for.
    pub fn dictionary_bytes(&self, stored: &[u8]) -> u64 {
        match self {
            Self::Lzma(stream) => stream.dictionary_bytes(stored),
            Self::Stored | Self::Zstd(_) => 0,
        }
    }

    /// Decodes one piece of exactly `raw_length` bytes, which the caller has bounded.
    ///
    /// # Errors
    /// The bytes are not of the codec, or give more or fewer bytes.
    pub fn piece(&mut self, stored: &[u8], raw_length: usize) -> Result<Vec<u8>, CodecError> {
        match self {
            Self::Stored if stored.len() == raw_length => Ok(stored.to_vec()),
            Self::Stored => {
                Err(CodecError::Length { stored: stored.len(), expected: raw_length, actual: stored.len() })
            }
            Self::Zstd(stream) => stream.piece(stored, raw_length),
            Self::Lzma(stream) => stream.piece(stored, raw_length),
        }
    }
}

/// True if this crate can decode `codec`.
pub fn is_known(codec: Algorithm) -> bool {
    [STORED, ZSTD, LZMA].contains(&codec)
}

/// Compresses small tables: the smaller of stored and zstd.
pub(super) fn compress(raw: &[u8]) -> (Algorithm, Vec<u8>) {
    let window = CParameter::WindowLog(WINDOW_LOG_MAX);
    let packed = ZstdEncoder::new(TABLES_LEVEL, &[window], Some(raw.len() as u64)).and_then(|mut e| e.piece(raw));
    match packed {
        Ok(packed) if packed.len() + 3 < raw.len() => (ZSTD, packed),
        _ => (STORED, raw.to_vec()),
    }
}
