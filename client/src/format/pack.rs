//! A pack: everything needed to go from one base release to the target release.
//!
//! # Specification
//!
//! A pack file is a header followed by the blocks it lists, without gaps. The signed release names the length and the
//! BLAKE3 of the header, and the base and target manifests it stands between; the header names every block. Numbers
//! are varints ([`wire`]), rows are indices from 0.
//!
//! | field | form | meaning |
//! | --- | --- | --- |
//! | magic | 4 bytes | `LLPK` |
//! | format | varint | 1 |
//! | codec | varint | algorithm of the tables ([`codec`]): 0 stored or 8 zstd |
//! | raw length | varint | bytes of the tables once decoded, at most 256 MiB |
//! | stored length | varint | bytes of the tables as they stand here; left out where they are stored |
//! | tables | bytes | the edit list ([`edits`]), then the unit table ([`units`]) |
//! | block digests | 32 bytes each | BLAKE3 of each block, in order |
//! | content digests | 40 bytes each | of each new content, in the order of the edit list: BLAKE3, then `crc32` and `crc32_reversed` as 4 bytes from the lowest |
//!
//! What can be compressed stands in the tables, and what can't stands outside of them. Nothing here grows with the
//! number of files that do not change.
//!
//! A *unit* is one patch and a run of blocks. Its old bytes are the contents of base rows one after the other, its new
//! bytes the contents of target rows. Small files share a unit, and with it a compression context; a large file is a
//! unit of its own. Every unit can be applied without the others, from its own blocks, in order. What a block holds is
//! up to the unit's method ([`crate::patch`]).
//!
//! MUST: the header has at most 256 MiB; the tables have one form, the one a writer of this version gives them (varints
//! in their shortest form, [`edits`] and [`units`] as their own rules say); nothing follows the digests.
//!
//! Read in this order: length and BLAKE3 of the header against the signed release; magic, format, limits; tables;
//! digests. Then the base manifest is edited, and the result is checked against the signed BLAKE3 of the target
//! manifest. Each block is checked against its BLAKE3 before it is decoded, and each file that comes out against its
//! row.
//!
//! # Example
//!
//! One file of nine bytes at row 3 of the base manifest that moved to row 5, behind `lib/b`, as `lib/c`:
//!
//! ```text
//! 4c 4c 50 4b 01         LLPK, format 1
//! 00 0a                  tables stored, 10 bytes
//! 04                     4 edits
//! 0c 05 04               keep 3 rows; drop 1; keep 1
//! 23 04 01 63 03         insert a file with base content: 4 bytes of the path before it and "c"; base row 3
//! 00                     no units
//! ```
//!
//! # Changelog
//!
//! * 1: first.

pub mod codec;
pub mod edits;
pub mod units;
pub mod wire;

mod rebuild;

use super::digest::Blake3;
use super::manifest::{Manifest, ManifestError};
use super::path::{PathError, RelPath};
use codec::{Algorithm, CodecError, STORED, ZSTD, ZstdStream};
use edits::{DIGEST_BYTES, NewContent};
use wire::{Reader, WireError, put_varint};

pub use edits::{Content, Edit, Entry};
pub use rebuild::{Origin, Rebuilt, UnitLengths};
pub use units::{BLOCK_BYTES_MAX, DEFLATE, PLAIN, PLAIN_STREAMS, REFERENCES, REFERENCES_STREAMS, Unit};

/// The pack format this crate writes and reads.
pub const FORMAT: u64 = 1;
/// Most bytes a header may have.
pub const HEADER_BYTES_MAX: u64 = 256 << 20;

const MAGIC: &[u8; 4] = b"LLPK";
const TABLES_BYTES_MAX: u64 = 256 << 20;

/// Why bytes are not the header of a pack, or do not fit a base manifest.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum PackError {
    #[error("pack header: expected the magic LLPK")]
    NotAPack,
    #[error("pack header: expected format {FORMAT}, found {found}")]
    Format { found: u64 },
    #[error("pack header: expected at most {limit} for {what}, found {found}")]
    Limit { what: &'static str, limit: u64, found: u64 },
    #[error("pack header: found {what}")]
    Invalid { what: &'static str },
    #[error("pack header: {0}")]
    Wire(#[from] WireError),
    #[error("pack header: tables: {0}")]
    Codec(#[from] CodecError),
    #[error("pack header: found {bytes} bytes after the end of the {after}")]
    Trailing { after: &'static str, bytes: usize },
    #[error("pack header: row {row} of the base release is not a file")]
    NotAFile { row: usize },
    #[error("pack header: {path} is out of order or stands twice")]
    Order { path: RelPath },
    #[error("pack header: {0}")]
    Path(#[from] PathError),
    #[error("pack header: {0}")]
    Manifest(#[from] ManifestError),
}

impl PackError {
    fn limit(what: &'static str, limit: u64, found: u64) -> Self {
        Self::Limit { what, limit, found }
    }
}

/// One block of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockInfo {
    /// Its length, in bytes.
    pub length: u64,
    /// What its bytes must hash to before anything reads them.
    pub blake3: Blake3,
}

/// The header of a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackHeader {
    edits: Vec<Edit>,
    units: Vec<Unit>,
    blocks: Vec<BlockInfo>,
    /// Where each block begins in the pack file, and where the last one ends.
    offsets: Vec<u64>,
}

impl PackHeader {
    /// Puts a header together. The units' blocks follow each other, and each row with new content is in one unit.
    ///
    /// # Errors
    /// Edits, units and blocks do not fit together, or break a limit.
    pub fn new(edits: Vec<Edit>, units: Vec<Unit>, blocks: Vec<BlockInfo>) -> Result<Self, PackError> {
        let header = Self { edits, units, blocks, offsets: Vec::new() };
        let mut next = 0;
        let follows = header.units.iter().all(|unit| {
            let fits = unit.blocks.start == next && unit.blocks.end >= next;
            next = unit.blocks.end;
            fits
        });
        let blocks_fit = follows && next == header.blocks.len();
        if !blocks_fit {
            return Err(PackError::Invalid { what: "units whose blocks do not follow each other" });
        }
        Self::parse(&header.encode()?)
    }

    /// Parses the bytes of a header whose BLAKE3 has been checked.
    ///
    /// # Errors
    /// The first rule of the specification they break.
    pub fn parse(bytes: &[u8]) -> Result<Self, PackError> {
        if bytes.len() as u64 > HEADER_BYTES_MAX {
            return Err(PackError::limit("bytes of the header", HEADER_BYTES_MAX, bytes.len() as u64));
        }
        let mut reader = Reader::new(bytes.strip_prefix(MAGIC).ok_or(PackError::NotAPack)?);
        match reader.varint()? {
            FORMAT => {}
            found => return Err(PackError::Format { found }),
        }
        let tables = read_tables(&mut reader)?;
        let mut inner = Reader::new(&tables);
        let mut edits = edits::read_edits(&mut inner)?;
        let contents = edits::new_contents(&edits)?;
        let (units, lengths) = units::read_units(&mut inner, &contents)?;
        if !inner.is_empty() {
            return Err(PackError::Trailing { after: "tables", bytes: inner.rest().len() });
        }
        if encode_tables(&edits, &units, &contents, &lengths)? != tables {
            return Err(PackError::Invalid { what: "tables in another form than a writer gives them" });
        }
        let blocks = read_blocks(&mut reader, &lengths)?;
        edits::read_digests(&mut reader, &mut edits)?;
        if !reader.is_empty() {
            return Err(PackError::Trailing { after: "digests", bytes: reader.rest().len() });
        }
        let mut end = bytes.len() as u64;
        let offsets = std::iter::once(end).chain(lengths.iter().map(|length| {
            end += length;
            end
        }));
        Ok(Self { offsets: offsets.collect(), edits, units, blocks })
    }

    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        // A header exists only if its tables could be encoded once.
        self.encode().unwrap_or_default()
    }

    fn encode(&self) -> Result<Vec<u8>, PackError> {
        let contents = edits::new_contents(&self.edits)?;
        let lengths: Vec<u64> = self.blocks.iter().map(|block| block.length).collect();
        let tables = encode_tables(&self.edits, &self.units, &contents, &lengths)?;
        let (codec, stored) = codec::compress(&tables);
        let mut out = MAGIC.to_vec();
        put_varint(&mut out, FORMAT);
        put_varint(&mut out, codec.number());
        put_varint(&mut out, tables.len() as u64);
        if codec != STORED {
            put_varint(&mut out, stored.len() as u64);
        }
        out.extend_from_slice(&stored);
        self.blocks.iter().for_each(|block| out.extend_from_slice(block.blake3.as_bytes()));
        edits::put_digests(&mut out, &self.edits);
        Ok(out)
    }

    /// Edits `base`, whose digest has been checked, into the target manifest.
    ///
    /// # Errors
    /// The edits do not fit `base`, or give what is no manifest.
    pub fn rebuild(&self, base: &Manifest) -> Result<Rebuilt, PackError> {
        rebuild::rebuild(&self.edits, &self.units, base)
    }

    /// How the base manifest becomes the target manifest.
    pub fn edits(&self) -> &[Edit] {
        &self.edits
    }

    /// The patches.
    pub fn units(&self) -> &[Unit] {
        &self.units
    }

    /// All blocks, in the order they have in the file.
    pub fn blocks(&self) -> &[BlockInfo] {
        &self.blocks
    }

    /// Where block `index` begins in the pack file, in bytes; for the number of blocks, where the file ends.
    ///
    /// # Panics
    /// `index` is larger than the number of blocks.
    pub fn block_offset(&self, index: usize) -> u64 {
        self.offsets[index]
    }

    /// Bytes of the header, where the first block begins.
    pub fn header_bytes(&self) -> u64 {
        self.offsets[0]
    }

    /// Bytes of the whole pack.
    pub fn pack_bytes(&self) -> u64 {
        self.offsets[self.blocks.len()]
    }
}

fn encode_tables(
    edits: &[Edit],
    units: &[Unit],
    contents: &[NewContent],
    lengths: &[u64],
) -> Result<Vec<u8>, PackError> {
    let mut tables = Vec::new();
    edits::put_edits(&mut tables, edits);
    units::put_units(&mut tables, units, contents, lengths)?;
    Ok(tables)
}

fn read_tables(reader: &mut Reader<'_>) -> Result<Vec<u8>, PackError> {
    let codec = Algorithm::from_number(reader.varint()?);
    let raw_bytes = reader.varint()?;
    if raw_bytes > TABLES_BYTES_MAX {
        return Err(PackError::limit("bytes of the tables", TABLES_BYTES_MAX, raw_bytes));
    }
    match codec {
        STORED => Ok(reader.bytes(raw_bytes)?.to_vec()),
        ZSTD => {
            let stored_bytes = reader.varint()?;
            Ok(ZstdStream::new()?.piece(reader.bytes(stored_bytes)?, raw_bytes as usize)?)
        }
        _ => Err(PackError::Invalid { what: "an unknown codec of the tables" }),
    }
}

fn read_blocks(reader: &mut Reader<'_>, lengths: &[u64]) -> Result<Vec<BlockInfo>, PackError> {
    let needed = lengths.len() as u64 * 32;
    let digests = reader.bytes(needed)?;
    let blocks = lengths.iter().zip(digests.as_chunks().0);
    Ok(blocks.map(|(length, digest)| BlockInfo { length: *length, blake3: Blake3::from_bytes(*digest) }).collect())
}

const _: () = assert!(DIGEST_BYTES == 40);
