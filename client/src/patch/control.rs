//! Control triples: which bytes of new come from where.
//!
//! A piece holds them in columns, since numbers of one kind compress best beside each other: a varint, how many triples
//! there are, then all diff lengths, all extra lengths and all seeks ([`super`] tells what they mean).

use super::PatchError;
use crate::format::pack::wire::{Reader, WireError, put_varint, unzigzag, zigzag};

/// One step of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Triple {
    /// New bytes made from old ones.
    pub diff: u64,
    /// New bytes after them that old has nothing for.
    pub extra: u64,
    /// How far the position in old then moves, from the end of what was used.
    pub seek: i64,
}

/// The columns of one piece.
pub struct Triples<'a> {
    left: u64,
    diffs: Reader<'a>,
    extras: Reader<'a>,
    seeks: Reader<'a>,
}

impl<'a> Triples<'a> {
    /// Reads a piece; it ends with the last seek.
    ///
    /// # Errors
    /// The piece is cut, or something follows the last seek.
    pub fn read(piece: &'a [u8]) -> Result<Self, PatchError> {
        let mut at = Reader::new(piece);
        let left = if piece.is_empty() { 0 } else { at.varint()? };
        let diffs = at;
        skip(&mut at, left)?;
        let extras = at;
        skip(&mut at, left)?;
        let seeks = at;
        skip(&mut at, left)?;
        match at.rest().len() as u64 {
            0 => Ok(Self { left, diffs, extras, seeks }),
            bytes => Err(PatchError::Unused { of: "the control triples", bytes }),
        }
    }

    /// The next triple; none behind the last.
    ///
    /// # Errors
    /// None that [`Triples::read`] lets through.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Triple>, PatchError> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        let (diff, extra) = (self.diffs.varint()?, self.extras.varint()?);
        Ok(Some(Triple { diff, extra, seek: unzigzag(self.seeks.varint()?) }))
    }
}

fn skip(reader: &mut Reader<'_>, count: u64) -> Result<(), WireError> {
    (0..count).try_for_each(|_| reader.varint().map(|_| ()))
}

/// The piece that holds `triples`; empty where there are none.
pub fn put_triples(triples: &[Triple]) -> Vec<u8> {
    let mut piece = Vec::new();
    if triples.is_empty() {
        return piece;
    }
    put_varint(&mut piece, triples.len() as u64);
    triples.iter().for_each(|triple| put_varint(&mut piece, triple.diff));
    triples.iter().for_each(|triple| put_varint(&mut piece, triple.extra));
    triples.iter().for_each(|triple| put_varint(&mut piece, zigzag(triple.seek)));
    piece
}
