//! The unit table: which patches a pack holds, and which files each one makes from which.
//!
//! # Specification
//!
//! A varint count, then that many units. The blocks of a unit follow those of the unit before it. Each unit is
//!
//! | field | form | meaning |
//! | --- | --- | --- |
//! | method | varint | algorithm that makes new bytes from old ones ([`super::codec`]) |
//! | parameters | varint length, bytes | for the method; empty for methods 1 to 3 |
//! | codecs | varint count, varints | algorithm of each stream of the method |
//! | blocks | varint count, varints | lengths of the blocks in the pack, in bytes |
//! | new rows | varint count, varints | new contents it makes, in the order of their bytes: each the zigzag difference from the ordinal after the last one named (0 at first) |
//! | old rows | varint count, varints | base rows whose contents follow each other as *old*: 0 is the next base row that lies at the path of one of its new rows, in their order; any other number is 1 + the zigzag difference from the row named before (0 at first) |
//!
//! MUST: every new content is made by exactly one unit; parameters have at most 64 KiB; at most 16 codecs; a block has
//! 1 byte to 4 MiB + 64 KiB; a unit has a new row.
//!
//! A unit whose method or codec a reader does not know can't be read; its files are fetched as objects, and all else
//! of the pack stays of use.

use std::ops::Range;

use super::PackError;
use super::codec::{Algorithm, is_known};
use super::edits::{NewContent, ROWS_MAX};
use super::wire::{Reader, put_varint, unzigzag, zigzag};

/// Method 1: bsdiff's control, diff and extra streams ([`crate::patch`]).
pub const PLAIN: Algorithm = Algorithm::first(1);
/// Streams of method 1.
pub const PLAIN_STREAMS: usize = 4;
/// Method 2: the same, with predicted operands of executables ([`crate::patch::references`]).
pub const REFERENCES: Algorithm = Algorithm::first(2);
/// Streams of method 2.
pub const REFERENCES_STREAMS: usize = 7;
/// Method 3: method 1 on the texts of deflate streams ([`crate::patch::deflate`]). A stream for the layout comes before
/// those of method 1.
pub const DEFLATE: Algorithm = Algorithm::first(3);
/// Most bytes a block may have in the pack.
pub const BLOCK_BYTES_MAX: u64 = (4 << 20) + (64 << 10);

const PARAMETERS_BYTES_MAX: u64 = 64 << 10;
const CODECS_MAX: u64 = 16;
const UNITS_MAX: u64 = ROWS_MAX;

/// One patch: it makes the contents of some target rows from the contents of some base rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// How new bytes are made.
    pub method: Algorithm,
    /// What the method needs to know besides.
    pub parameters: Vec<u8>,
    /// Codec of each of the method's streams.
    pub codecs: Vec<Algorithm>,
    /// Its blocks in the pack.
    pub blocks: Range<usize>,
    /// Base rows whose contents, one after the other, are *old*.
    pub old_rows: Vec<usize>,
    /// Target rows whose contents, one after the other, are *new*.
    pub new_rows: Vec<usize>,
}

impl Unit {
    /// Whether this client knows its method and all its codecs.
    pub fn is_readable(&self) -> bool {
        let method_known = match self.method {
            PLAIN => self.parameters.is_empty() && self.codecs.len() == PLAIN_STREAMS,
            REFERENCES => self.parameters.is_empty() && self.codecs.len() == REFERENCES_STREAMS,
            DEFLATE => self.parameters.is_empty() && self.codecs.len() == 1 + PLAIN_STREAMS,
            _ => false,
        };
        method_known && self.codecs.iter().all(|codec| is_known(*codec))
    }
}

/// Appends the unit table; `lengths` are those of all blocks.
pub(super) fn put_units(
    out: &mut Vec<u8>,
    units: &[Unit],
    contents: &[NewContent],
    lengths: &[u64],
) -> Result<(), PackError> {
    put_varint(out, units.len() as u64);
    let mut expected = 0i64;
    for unit in units {
        put_varint(out, unit.method.number());
        put_varint(out, unit.parameters.len() as u64);
        out.extend_from_slice(&unit.parameters);
        put_varint(out, unit.codecs.len() as u64);
        unit.codecs.iter().for_each(|codec| put_varint(out, codec.number()));
        put_varint(out, unit.blocks.len() as u64);
        lengths[unit.blocks.clone()].iter().for_each(|length| put_varint(out, *length));
        put_varint(out, unit.new_rows.len() as u64);
        let mut own = Vec::new();
        for row in &unit.new_rows {
            let ordinal = contents
                .binary_search_by_key(row, |content| content.row)
                .map_err(|_| PackError::Invalid { what: "a unit for a row without new content" })?;
            put_varint(out, zigzag(ordinal as i64 - expected));
            expected = ordinal as i64 + 1;
            own.extend(contents[ordinal].base_row);
        }
        put_old_rows(out, &unit.old_rows, &own);
    }
    Ok(())
}

fn put_old_rows(out: &mut Vec<u8>, rows: &[usize], own: &[usize]) {
    put_varint(out, rows.len() as u64);
    let mut own = own.iter().peekable();
    let mut last = 0i64;
    for row in rows {
        if own.next_if_eq(&row).is_some() {
            put_varint(out, 0);
        } else {
            put_varint(out, 1 + zigzag(*row as i64 - last));
        }
        last = *row as i64;
    }
}

/// Reads the unit table, and the lengths of all blocks.
pub(super) fn read_units(reader: &mut Reader<'_>, contents: &[NewContent]) -> Result<(Vec<Unit>, Vec<u64>), PackError> {
    let count = bounded(reader, "units", UNITS_MAX)?;
    let (mut units, mut lengths) = (Vec::new(), Vec::new());
    let mut made = vec![false; contents.len()];
    let mut expected = 0;
    for _ in 0..count {
        let method = Algorithm::from_number(reader.varint()?);
        let parameters_bytes = bounded(reader, "bytes of parameters", PARAMETERS_BYTES_MAX)?;
        let parameters = reader.bytes(parameters_bytes)?.to_vec();
        let mut codecs = Vec::new();
        for _ in 0..bounded(reader, "codecs of a unit", CODECS_MAX)? {
            codecs.push(Algorithm::from_number(reader.varint()?));
        }
        let first_block = lengths.len();
        for _ in 0..reader.varint()? {
            let length = bounded(reader, "bytes of a block", BLOCK_BYTES_MAX)?;
            if length == 0 {
                return Err(PackError::Invalid { what: "an empty block" });
            }
            lengths.push(length);
        }
        let ordinals = read_ordinals(reader, &mut expected, &mut made)?;
        let own: Vec<usize> = ordinals.iter().filter_map(|ordinal| contents[*ordinal].base_row).collect();
        units.push(Unit {
            method,
            parameters,
            codecs,
            blocks: first_block..lengths.len(),
            old_rows: read_old_rows(reader, &own)?,
            new_rows: ordinals.iter().map(|ordinal| contents[*ordinal].row).collect(),
        });
    }
    match made.iter().position(|made| !made) {
        Some(_) => Err(PackError::Invalid { what: "a new content that no unit makes" }),
        None => Ok((units, lengths)),
    }
}

fn read_ordinals(reader: &mut Reader<'_>, expected: &mut i64, made: &mut [bool]) -> Result<Vec<usize>, PackError> {
    let count = bounded(reader, "new rows of a unit", made.len() as u64)?;
    if count == 0 {
        return Err(PackError::Invalid { what: "a unit without new rows" });
    }
    let mut ordinals = Vec::new();
    for _ in 0..count {
        let ordinal = offset_by(*expected, reader.varint()?)?;
        match made.get_mut(ordinal) {
            Some(made) if !*made => *made = true,
            Some(_) => return Err(PackError::Invalid { what: "a new content that two units make" }),
            None => return Err(PackError::limit("ordinal of a new content", made.len() as u64, ordinal as u64)),
        }
        *expected = ordinal as i64 + 1;
        ordinals.push(ordinal);
    }
    Ok(ordinals)
}

fn read_old_rows(reader: &mut Reader<'_>, own: &[usize]) -> Result<Vec<usize>, PackError> {
    let count = bounded(reader, "old rows of a unit", ROWS_MAX)?;
    let mut own = own.iter();
    let mut rows = Vec::new();
    let mut last = 0;
    for _ in 0..count {
        let row = match reader.varint()? {
            0 => *own.next().ok_or(PackError::Invalid { what: "an old row beyond those of the new rows" })?,
            number => offset_by(last, number - 1)?,
        };
        last = row as i64;
        rows.push(row);
    }
    Ok(rows)
}

fn offset_by(from: i64, code: u64) -> Result<usize, PackError> {
    let value = from.checked_add(unzigzag(code)).and_then(|value| u64::try_from(value).ok());
    match value {
        Some(value) if value <= ROWS_MAX => Ok(value as usize),
        _ => Err(PackError::limit("a row or ordinal", ROWS_MAX, code)),
    }
}

fn bounded(reader: &mut Reader<'_>, what: &'static str, limit: u64) -> Result<u64, PackError> {
    let value = reader.varint()?;
    if value > limit { Err(PackError::limit(what, limit, value)) } else { Ok(value) }
}
