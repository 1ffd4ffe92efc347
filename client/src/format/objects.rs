//! The objects index: where the full content of each manifest row lies.
//!
//! # Specification: an object
//!
//! An object is a file named by the BLAKE3 of its stored bytes. It is exactly one zstd frame (RFC 8878), so that
//! `zstd -d` opens it, without a dictionary, whose header states the length of its content. What the content means is
//! said by the indexes that name it; parts of it that an index does not name are left alone.
//!
//! | limit | bytes |
//! | --- | --- |
//! | stored length | 1 to 8 MiB |
//! | raw length | 1 to 16 MiB |
//! | window of the frame | at most 16 MiB |
//!
//! A writer keeps stored lengths between 256 KiB and 4 MiB as a rule, so that fetching all of a release needs few
//! requests and healing one file few bytes; less for a small tree or a small change. Read in this order: length and
//! BLAKE3 against the index ([`decode`] expects both to have been checked), frame header, decoding, which stops at the
//! raw length and MUST reach it.
//!
//! # Specification: the index
//!
//! A text ([`crate::format`]) that belongs to one manifest. In this order:
//!
//! | lines | cells |
//! | --- | --- |
//! | first | `lamplighter-objects,1` |
//! | one for each object | `object,<BLAKE3 of the stored bytes>,<stored length>,<raw length>` |
//! | one for each manifest row, in its order | `<object>,<offset>,<length>` once for each piece of the content |
//! | last | `end` |
//!
//! A piece is `length` raw bytes at `offset` of the object, which is a number from 0 in the order of the `object`
//! lines; the pieces of a row, one after the other, are its content. The line of a row without content of its own (a
//! link, a directory, an empty file) is `-`. Any number of rows may share a piece.
//!
//! MUST: each object stands once and within its limits, in order of first use, and is used; lengths are not 0; each
//! piece lies inside its object's raw length; the lengths of a row's pieces add up to its size; a piece that continues
//! the one before it in the same object is written as one with it. At most 1,000,000 objects; at most 1 GiB.
//!
//! Lines before the rows whose key is neither `object` nor begins with a digit or `-` are ignored, and so are trailing
//! cells of the first line and of `object` lines; a key that begins with `!`, or another version, means that this client
//! is too old. The lines of rows are not extensible.
//!
//! Read in this order: length and BLAKE3 against the signed release, then line by line, then `end`.
//!
//! # Example
//!
//! The index of the manifest's example:
//!
//! ```csv
//! lamplighter-objects,1
//! object,1f9ca5ffff23a67291cf18b9c2848fda09221997cc3ab18ba5dfe38cacd09941,18,9
//! 0,0,9
//! end
//! ```
//!
//! # Changelog
//!
//! * 1: first.

mod frame;
mod text;

use std::collections::HashSet;
use std::fmt::Write;

use super::digest::Blake3;
use super::manifest::{Manifest, Row};
use super::text::TextError;

pub use frame::{ObjectError, decode};

/// Type and version of the index: its first line.
pub const HEADER: &str = "lamplighter-objects,1";

/// Most bytes an objects index may have.
pub const INDEX_BYTES_MAX: u64 = 1 << 30;

/// Most objects an index may name.
pub const OBJECTS_MAX: usize = 1_000_000;

/// Most bytes an object may have as it is stored.
pub const STORED_BYTES_MAX: u64 = 8 << 20;

/// Most bytes an object may hold; also the largest window of its frame.
pub const RAW_BYTES_MAX: u64 = 16 << 20;

const TYPE: &str = "lamplighter-objects";
const NO_CONTENT: &str = "-";
const END: &str = "end";

/// An object as an index names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoredObject {
    /// BLAKE3 of the stored bytes, which is its name.
    pub blake3: Blake3,
    /// Bytes stored.
    pub length: u64,
    /// Bytes it decodes to.
    pub raw_length: u64,
}

/// A run of bytes of an object that is part of a row's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Piece {
    /// Index of the object in [`ObjectsIndex::objects`].
    pub object: usize,
    /// Bytes from the start of the object's raw bytes.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// Why bytes are not the objects index of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum ObjectsError {
    #[error("objects index {0}")]
    Text(#[from] TextError),
    #[error("objects index has {key:?}, which this client is too old for")]
    TooOld { key: String },
    #[error("objects index, object {blake3}: expected {expected}, found {found}")]
    Object { blake3: Blake3, expected: &'static str, found: u64 },
    #[error("objects index names object {blake3} twice")]
    ObjectTwice { blake3: Blake3 },
    #[error("objects index has more than 1000000 objects")]
    TooManyObjects,
    #[error("objects index, row of {path}: expected {expected}, found {found}")]
    Row { path: String, expected: String, found: String },
    #[error("objects index: expected one line a manifest row, {expected} in all, found {found}")]
    RowCount { expected: usize, found: usize },
    #[error("objects index names object {blake3} and does not use it")]
    Unused { blake3: Blake3 },
}

/// The whole objects index of one manifest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObjectsIndex {
    objects: Vec<StoredObject>,
    /// Pieces of all rows, one row after the other.
    pieces: Vec<Piece>,
    /// For each row, where its pieces end in `pieces`.
    ends: Vec<usize>,
}

impl ObjectsIndex {
    /// Builds the index of `manifest` from objects in order of first use and the pieces of each row, and checks it as
    /// [`ObjectsIndex::parse`] does.
    ///
    /// # Errors
    /// The first rule of the specification that is broken.
    pub fn new(
        objects: Vec<StoredObject>,
        rows: &[Vec<Piece>],
        manifest: &Manifest,
    ) -> Result<ObjectsIndex, ObjectsError> {
        let mut builder = Builder::new(manifest);
        for object in objects {
            builder.object(object)?;
        }
        if rows.len() != manifest.rows().len() {
            return Err(ObjectsError::RowCount { expected: manifest.rows().len(), found: rows.len() });
        }
        for (row, pieces) in manifest.rows().iter().zip(rows) {
            builder.row(row, pieces.iter().copied())?;
        }
        builder.finish()
    }

    /// Parses the bytes of the index of `manifest`; their digest has been checked.
    ///
    /// # Errors
    /// The first line that breaks the specification, with what was expected.
    pub fn parse(bytes: &[u8], manifest: &Manifest) -> Result<ObjectsIndex, ObjectsError> {
        text::parse(bytes, manifest)
    }

    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = String::with_capacity(self.objects.len() * 96 + self.pieces.len() * 24 + self.ends.len() + 32);
        text.push_str(HEADER);
        text.push('\n');
        for object in &self.objects {
            push(&mut text, format_args!("object,{},{},{}\n", object.blake3, object.length, object.raw_length));
        }
        for row in 0..self.ends.len() {
            let pieces = self.pieces(row);
            if pieces.is_empty() {
                text.push_str(NO_CONTENT);
            }
            for (index, piece) in pieces.iter().enumerate() {
                let comma = if index == 0 { "" } else { "," };
                push(&mut text, format_args!("{comma}{},{},{}", piece.object, piece.offset, piece.length));
            }
            text.push('\n');
        }
        text.push_str(END);
        text.push('\n');
        text.into_bytes()
    }

    /// The objects in order of first use.
    pub fn objects(&self) -> &[StoredObject] {
        &self.objects
    }

    /// Number of manifest rows it speaks of.
    pub fn row_count(&self) -> usize {
        self.ends.len()
    }

    /// The pieces that make up the content of manifest row `row`; none for a row without content, or that is not there.
    pub fn pieces(&self, row: usize) -> &[Piece] {
        let Some(&end) = self.ends.get(row) else { return &[] };
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.pieces[start..end]
    }

    /// Sum of the stored lengths of all objects, in bytes.
    pub fn stored_bytes(&self) -> u64 {
        self.objects.iter().map(|o| o.length).sum()
    }
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("writing to a String cannot fail");
}

/// Bytes of `row` that objects must hold.
fn stored_size(row: &Row) -> u64 {
    if row.is_file() { row.digest.size } else { 0 }
}

/// Checks an index while it grows.
struct Builder {
    index: ObjectsIndex,
    seen: HashSet<Blake3>,
    /// Objects used so far: always the first ones.
    used: usize,
}

impl Builder {
    fn new(manifest: &Manifest) -> Self {
        let index = ObjectsIndex { ends: Vec::with_capacity(manifest.rows().len()), ..ObjectsIndex::default() };
        Self { index, seen: HashSet::new(), used: 0 }
    }

    fn object(&mut self, object: StoredObject) -> Result<(), ObjectsError> {
        let blake3 = object.blake3;
        if !(1..=STORED_BYTES_MAX).contains(&object.length) {
            let expected = "a stored length of 1 to 8388608 bytes";
            return Err(ObjectsError::Object { blake3, expected, found: object.length });
        }
        if !(1..=RAW_BYTES_MAX).contains(&object.raw_length) {
            let expected = "a raw length of 1 to 16777216 bytes";
            return Err(ObjectsError::Object { blake3, expected, found: object.raw_length });
        }
        if !self.seen.insert(blake3) {
            return Err(ObjectsError::ObjectTwice { blake3 });
        }
        if self.index.objects.len() == OBJECTS_MAX {
            return Err(ObjectsError::TooManyObjects);
        }
        self.index.objects.push(object);
        Ok(())
    }

    fn row(&mut self, row: &Row, pieces: impl Iterator<Item = Piece>) -> Result<(), ObjectsError> {
        let first = self.index.pieces.len();
        let mut total: u64 = 0;
        for piece in pieces {
            self.check_piece(row, first, &piece)?;
            total = total.saturating_add(piece.length);
            self.index.pieces.push(piece);
        }
        if total != stored_size(row) {
            return Err(row_error(row, format!("pieces of {} bytes in all", stored_size(row)), total));
        }
        self.index.ends.push(self.index.pieces.len());
        Ok(())
    }

    fn check_piece(&mut self, row: &Row, first: usize, piece: &Piece) -> Result<(), ObjectsError> {
        let Some(object) = self.index.objects.get(piece.object) else {
            let expected = format!("an object number below {}", self.index.objects.len());
            return Err(row_error(row, expected, piece.object));
        };
        if piece.object > self.used {
            let expected = format!("objects in order of first use, so {} here", self.used);
            return Err(row_error(row, expected, piece.object));
        }
        if piece.length == 0 {
            return Err(row_error(row, "pieces that are not empty", 0));
        }
        let end = piece.offset.checked_add(piece.length);
        if end.is_none_or(|end| end > object.raw_length) {
            let expected = format!("pieces inside the {} bytes of object {}", object.raw_length, piece.object);
            return Err(row_error(row, expected, format!("{} bytes at {}", piece.length, piece.offset)));
        }
        let last = self.index.pieces[first..].last();
        if last.is_some_and(|last| last.object == piece.object && last.offset + last.length == piece.offset) {
            return Err(row_error(row, "runs of an object written as one piece", format!("two at {}", piece.offset)));
        }
        self.used = self.used.max(piece.object + 1);
        Ok(())
    }

    fn finish(self) -> Result<ObjectsIndex, ObjectsError> {
        match self.index.objects.get(self.used) {
            Some(object) => Err(ObjectsError::Unused { blake3: object.blake3 }),
            None => Ok(self.index),
        }
    }
}

fn row_error(row: &Row, expected: impl Into<String>, found: impl ToString) -> ObjectsError {
    ObjectsError::Row { path: row.path.to_string(), expected: expected.into(), found: found.to_string() }
}

#[cfg(test)]
mod tests;
