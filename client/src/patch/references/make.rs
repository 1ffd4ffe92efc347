//! Makes new bytes block by block, once all that a prediction needs is there.

use std::io::Write;

use super::super::PatchError;
use super::super::control::Triple;
use super::super::residues::Residues;
use super::extra::{Direction, transform};
use super::operand::word_at;
use super::page_hashes::PageHashes;
use super::predict::{NewImage, Places, Predictor};
use crate::format::pack::wire::Reader;

/// New bytes gathered before they are written.
const OUT_BYTES: usize = 128 << 10;

/// What a block brings to make bytes from.
pub(super) struct Pieces<'a> {
    pub(super) runs: &'a [u8],
    pub(super) residues: &'a [u8],
    pub(super) extra: &'a [u8],
    pub(super) gaps: &'a [u8],
    pub(super) corrections: &'a [u8],
}

/// Where the making stands between blocks.
pub(super) struct Maker {
    old: Vec<u8>,
    triples: Vec<Triple>,
    predictor: Predictor,
    places: Places,
    new_images: Vec<NewImage>,
    page_hashes: PageHashes,
    /// The triple at work, and how many of its diff and extra bytes are made.
    triple: usize,
    diff_done: u64,
    extra_done: u64,
    old_at: u64,
    new_at: u64,
    out: Vec<u8>,
}

impl Maker {
    /// Before the first byte. The triples lie within old.
    pub(super) fn new(
        old: Vec<u8>,
        triples: Vec<Triple>,
        predictor: Predictor,
        new_images: Vec<NewImage>,
        page_hashes: PageHashes,
    ) -> Self {
        let places = Places::new(&new_images);
        Self {
            old,
            triples,
            predictor,
            places,
            new_images,
            page_hashes,
            triple: 0,
            diff_done: 0,
            extra_done: 0,
            old_at: 0,
            new_at: 0,
            out: Vec::new(),
        }
    }

    pub(super) const fn new_bytes(&self) -> u64 {
        self.new_at
    }

    /// Makes the next `count` bytes.
    pub(super) fn make(&mut self, count: u64, pieces: &Pieces<'_>, new: &mut dyn Write) -> Result<(), PatchError> {
        let mut left = count;
        let mut residues = Residues::new(pieces.runs, pieces.residues);
        let mut extra = Reader::new(pieces.extra);
        let mut wrong = Wrong::new(pieces.gaps, pieces.corrections)?;
        while left > 0 {
            let Some(triple) = self.triples.get(self.triple).copied() else {
                let found = self.new_at.saturating_add(left);
                return Err(PatchError::Limit { what: "new bytes", limit: self.new_at, found });
            };
            if self.diff_done < triple.diff {
                let length = left.min(triple.diff - self.diff_done);
                self.copy(length, &mut residues, &mut wrong, new)?;
                self.diff_done += length;
                left -= length;
            } else if self.extra_done < triple.extra {
                let length = left.min(triple.extra - self.extra_done);
                self.insert(length, &mut extra, new)?;
                self.extra_done += length;
                left -= length;
            }
            if self.diff_done == triple.diff && self.extra_done == triple.extra {
                self.triple += 1;
                (self.diff_done, self.extra_done) = (0, 0);
                // Checked with all triples before the first byte.
                self.old_at = self.old_at.wrapping_add_signed(triple.seek);
            }
        }
        self.flush(new)?;
        residues.finish()?;
        wrong.finish()?;
        match extra.rest().len() as u64 {
            0 => Ok(()),
            bytes => Err(PatchError::Unused { of: "the extra bytes", bytes }),
        }
    }

    /// Copies `length` bytes of old.
    fn copy(
        &mut self,
        length: u64,
        residues: &mut Residues<'_>,
        wrong: &mut Wrong<'_>,
        new: &mut dyn Write,
    ) -> Result<(), PatchError> {
        let end = self.old_at + length;
        let mut index = self.predictor.first_from(self.old_at);
        while self.old_at < end {
            // A step is what lies before the next reference that is copied whole, and then that.
            let step_end = match self.predictor.reference(index) {
                Some((at, kind)) if at + kind.length() as u64 <= end => at,
                _ => end,
            };
            self.copy_plain(step_end - self.old_at, residues, new)?;
            if step_end < end {
                self.copy_reference(index, residues, wrong)?;
                index += 1;
            }
        }
        self.flush_if_full(new)
    }

    fn copy_plain(
        &mut self,
        mut length: u64,
        residues: &mut Residues<'_>,
        new: &mut dyn Write,
    ) -> Result<(), PatchError> {
        while length > 0 {
            let part = length.min(OUT_BYTES as u64);
            let at = self.out.len();
            // Within old, as all triples are.
            self.out.extend_from_slice(&self.old[self.old_at as usize..(self.old_at + part) as usize]);
            residues.add_to(&mut self.out[at..])?;
            (self.old_at, self.new_at) = (self.old_at + part, self.new_at + part);
            length -= part;
            self.flush_if_full(new)?;
        }
        Ok(())
    }

    /// Copies the reference at the position in old.
    fn copy_reference(
        &mut self,
        index: usize,
        residues: &mut Residues<'_>,
        wrong: &mut Wrong<'_>,
    ) -> Result<(), PatchError> {
        let Some((_, kind)) = self.predictor.reference(index) else { return Ok(()) };
        let length = kind.length();
        let old_word = word_at(&self.old, self.old_at as usize, length);
        let predicted =
            self.places.at(self.new_at).and_then(|at| Some((at, self.predictor.predict(index, old_word, at)?)));
        let out_at = self.out.len();
        match predicted {
            Some((at, prediction)) => {
                let word = prediction.word.wrapping_add(wrong.next(length)?);
                self.out.extend_from_slice(&word.to_le_bytes()[..length]);
                let word = word_at(&self.out, out_at, length);
                self.predictor.learn(index, prediction, old_word, word, at);
            }
            None => {
                self.out.extend_from_slice(&old_word.to_le_bytes()[..length]);
                residues.add_to(&mut self.out[out_at..])?;
            }
        }
        (self.old_at, self.new_at) = (self.old_at + length as u64, self.new_at + length as u64);
        Ok(())
    }

    fn insert(&mut self, length: u64, extra: &mut Reader<'_>, new: &mut dyn Write) -> Result<(), PatchError> {
        let bytes = extra.bytes(length).map_err(|_| PatchError::Short { of: "extra bytes", needed: length })?;
        let at = self.out.len();
        self.out.extend_from_slice(bytes);
        if let Some(image) = self.new_images.iter().find(|new| new.image.range.contains(&self.new_at)) {
            transform(&image.image, self.new_at, &mut self.out[at..], Direction::ToRelative);
        }
        self.new_at += length;
        self.flush_if_full(new)
    }

    fn flush_if_full(&mut self, new: &mut dyn Write) -> Result<(), PatchError> {
        if self.out.len() < OUT_BYTES { Ok(()) } else { self.flush(new) }
    }

    fn flush(&mut self, new: &mut dyn Write) -> Result<(), PatchError> {
        self.page_hashes.pass(self.new_at - self.out.len() as u64, &mut self.out);
        new.write_all(&self.out).map_err(PatchError::Write)?;
        self.out.clear();
        Ok(())
    }
}

/// What a block says of wrong predictions.
struct Wrong<'a> {
    gaps: Reader<'a>,
    corrections: Reader<'a>,
    /// Right predictions before the next wrong one; none once all are right.
    left: Option<u64>,
}

impl<'a> Wrong<'a> {
    fn new(gaps: &'a [u8], corrections: &'a [u8]) -> Result<Self, PatchError> {
        let mut wrong = Self { gaps: Reader::new(gaps), corrections: Reader::new(corrections), left: None };
        wrong.next_gap()?;
        Ok(wrong)
    }

    fn next_gap(&mut self) -> Result<(), PatchError> {
        self.left = if self.gaps.is_empty() { None } else { Some(self.gaps.varint()?) };
        Ok(())
    }

    /// What to add to the next prediction, an operand of `length` bytes.
    fn next(&mut self, length: usize) -> Result<u64, PatchError> {
        match &mut self.left {
            None => Ok(0),
            Some(0) => {
                let bytes = self.corrections.bytes(length as u64)?;
                self.next_gap()?;
                Ok(bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)))
            }
            Some(left) => {
                *left -= 1;
                Ok(0)
            }
        }
    }

    fn finish(self) -> Result<(), PatchError> {
        match (self.left, self.corrections.rest().len() as u64) {
            (None, 0) => Ok(()),
            (_, bytes) => Err(PatchError::Unused { of: "the gaps and corrections", bytes }),
        }
    }
}
