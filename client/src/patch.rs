//! Applies the patches of a pack: old bytes and blocks in, new bytes out, in bounded memory. No file system here.
//!
//! One module a method: here *plain*, in [`references`] what predicts the operands of executables, in
//! [`deflate`] what patches the text inside of archives.
//!
//! # Specification: method 1, *plain*
//!
//! bsdiff's model. New bytes are made by a run of *control triples* `(diff length, extra length, seek)`, with a
//! position in old that starts at 0: *diff length* bytes are the sums, modulo 256, of old bytes from the position on
//! and of as many diff bytes; *extra length* bytes follow as they are; the position moves past the old bytes that were
//! used and then by *seek*. The triples, the diff bytes and the extra bytes lie in four streams:
//!
//! | stream | form |
//! | --- | --- |
//! | 0 control | a varint, how many triples; their diff lengths, varints; their extra lengths, varints; their seeks, zigzag varints |
//! | 1 runs | where diff bytes differ from 0: pairs of varints, how many zeros, then how many bytes of stream 2 |
//! | 2 residues | the diff bytes that the runs name, one byte each |
//! | 3 extra | the extra bytes |
//!
//! Diff bytes after the last run of a block are 0.
//!
//! A block holds a piece of each stream, and begins and ends between triples and between runs. It is, for each stream:
//! the varint stored length of the piece; unless the stream's codec is *stored*, the varint raw length; the stored
//! bytes. Nothing follows. Each stream is one continuous stream of its codec over all blocks of the unit, so blocks are
//! applied in order from the first; the position in old is carried over too.
//!
//! MUST: the raw lengths of a block's pieces add up to at most 4 MiB, the LZMA dictionaries of a unit to at most 48 MiB; a
//! run has at least one residue, and only the first run of a block may have no zeros; every piece is used up by the end
//! of its block; the position stays within old; the new bytes are exactly as many as declared.
//!
//! # Changelog
//!
//! * 1: first.

pub mod control;
pub mod deflate;
pub mod references;

mod old;
mod payload;
mod plain;
mod residues;

use std::io::{self, Read, Seek, Write};

use crate::format::pack::codec::CodecError;
use crate::format::pack::wire::WireError;
use crate::format::pack::{BLOCK_BYTES_MAX, DEFLATE, PLAIN, REFERENCES, Unit};

use deflate::Deflate;
pub use old::{Joined, OldBytes};
pub use payload::{BLOCK_RAW_MAX, DICTIONARIES_BYTES_MAX, PieceDecoder};
use plain::Plain;
use references::References;

/// Why a block can't be applied.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum PatchError {
    #[error("patch: this client does not know method {method} with its codecs")]
    Unreadable { method: u64 },
    #[error("patch: expected at most {limit} for {what}, found {found}")]
    Limit { what: &'static str, limit: u64, found: u64 },
    #[error("patch: {bytes} bytes are left of {of} where its block ends")]
    Unused { of: &'static str, bytes: u64 },
    #[error("patch: the {of} end early, {needed} bytes short")]
    Short { of: &'static str, needed: u64 },
    #[error("patch: found {what}")]
    Invalid { what: &'static str },
    #[error("patch: expected {expected} {what}, found {actual}")]
    Count { what: &'static str, expected: u64, actual: u64 },
    #[error("patch: {0}")]
    Wire(#[from] WireError),
    #[error("patch: {0}")]
    Codec(#[from] CodecError),
    #[error("patch: reading {length} old bytes at {offset}: {source}")]
    Read { offset: u64, length: usize, source: io::Error },
    #[error("patch: inflating the old stream at {offset}: {source}")]
    Inflate { offset: u64, source: io::Error },
    #[error("patch: the old stream at {offset}: expected {expected} {what}, found {actual}")]
    Stream { offset: u64, what: &'static str, expected: u64, actual: u64 },
    #[error("patch: keeping old texts in the scratch: {0}")]
    Scratch(#[source] io::Error),
    #[error("patch: writing new bytes: {0}")]
    Write(#[source] io::Error),
}

/// Where the method of a unit stands between blocks.
enum Method {
    Plain { pieces: PieceDecoder, plain: Plain },
    References { pieces: PieceDecoder, references: References },
    Deflate(Box<Deflate>),
}

/// Where a decoder keeps what it must read again: empty at first, read and written at any place.
///
/// Most units leave it empty; method 3 writes the texts of old streams, up to 1 GiB, so it is a file beyond some size.
pub trait Scratch: Read + Write + Seek {}

impl<T: Read + Write + Seek> Scratch for T {}

impl Method {
    /// The method of `unit`.
    fn new(unit: &Unit, old_length: u64, new_length: u64, scratch: Box<dyn Scratch>) -> Result<Self, PatchError> {
        match unit.method {
            PLAIN => {
                let plain = Plain::new(old_length, new_length);
                Ok(Self::Plain { pieces: PieceDecoder::new(&unit.codecs)?, plain })
            }
            REFERENCES => {
                let references = References::new(old_length, new_length)?;
                Ok(Self::References { pieces: PieceDecoder::new(&unit.codecs)?, references })
            }
            DEFLATE => Ok(Self::Deflate(Box::new(Deflate::new(&unit.codecs, old_length, new_length, scratch)?))),
            other => Err(PatchError::Unreadable { method: other.number() }),
        }
    }

    /// Carries out one block.
    fn block(&mut self, payload: &[u8], old: &mut dyn OldBytes, new: &mut dyn Write) -> Result<(), PatchError> {
        match self {
            Self::Plain { pieces, plain } => plain.apply(&pieces.decode(payload)?, old, new),
            Self::References { pieces, references } => references.apply(&pieces.decode(payload)?, old, new),
            Self::Deflate(deflate) => deflate.block(payload, old, new),
        }
    }

    /// Checks that all of `new_length` bytes were made.
    fn finish(&self, new_length: u64) -> Result<(), PatchError> {
        match self {
            Self::Plain { plain, .. } => count("new bytes", new_length, plain.new_bytes()),
            Self::References { references, .. } => count("new bytes", new_length, references.new_bytes()),
            Self::Deflate(deflate) => deflate.finish(),
        }
    }
}

/// Applies one unit, block by block.
///
/// Its memory is bounded by a block's raw streams (4 MiB) and the windows of the codecs, whatever the size of the
/// files; method *references* also holds old and some 13 bytes for each of at most 4 million references in it. Its time
/// is bounded by the declared lengths.
pub struct UnitDecoder {
    method: Method,
    new_length: u64,
    blocks: usize,
    blocks_done: usize,
}

impl UnitDecoder {
    /// A decoder before the first block of `unit`, which turns `old_length` bytes into `new_length` bytes.
    ///
    /// # Errors
    /// The unit's method or codecs are unknown to this client.
    pub fn new(
        unit: &Unit,
        old_length: u64,
        new_length: u64,
        scratch: impl Scratch + 'static,
    ) -> Result<Self, PatchError> {
        if !unit.is_readable() {
            return Err(PatchError::Unreadable { method: unit.method.number() });
        }
        Ok(Self {
            method: Method::new(unit, old_length, new_length, Box::new(scratch))?,
            new_length,
            blocks: unit.blocks.len(),
            blocks_done: 0,
        })
    }

    /// Applies the next block, whose BLAKE3 has been checked, and writes the new bytes it makes.
    ///
    /// # Errors
    /// The payload breaks the specification, or reading old or writing new fails. The decoder is of no use then.
    pub fn block(&mut self, payload: &[u8], old: &mut dyn OldBytes, new: &mut dyn Write) -> Result<(), PatchError> {
        if payload.len() as u64 > BLOCK_BYTES_MAX {
            let found = payload.len() as u64;
            return Err(PatchError::Limit { what: "bytes of a block", limit: BLOCK_BYTES_MAX, found });
        }
        if self.blocks_done == self.blocks {
            let found = self.blocks as u64 + 1;
            return Err(PatchError::Limit { what: "blocks", limit: self.blocks as u64, found });
        }
        self.blocks_done += 1;
        self.method.block(payload, old, new)
    }

    /// Checks that all blocks came and all new bytes were written.
    ///
    /// # Errors
    /// They were not.
    pub fn finish(self) -> Result<(), PatchError> {
        count("blocks", self.blocks as u64, self.blocks_done as u64)?;
        self.method.finish(self.new_length)
    }
}

fn count(what: &'static str, expected: u64, actual: u64) -> Result<(), PatchError> {
    if expected == actual { Ok(()) } else { Err(PatchError::Count { what, expected, actual }) }
}
