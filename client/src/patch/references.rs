//! Method 2, *references*: as *plain*, but operands in copied code are predicted.
//!
//! # Specification
//!
//! Old holds executables. Where code moved, every operand that names an address changed, though what it names did not.
//! So references are found in old ([`scan`]), and where a copy carries one to new, its operand is written anew
//! ([`operand`]) for where its target went ([`alignment`], [`predict`]). The patch says which predictions were wrong.
//!
//! | stream | form |
//! | --- | --- |
//! | 0 control, 1 runs, 2 residues, 3 extra | as of method *plain*; runs and residues pass over operands that are predicted, extra bytes of code have absolute targets ([`extra`]) |
//! | 4 layout | in every block a varint, how many new bytes it makes; in the first also the images ([`layout`]) and the tables of page hashes ([`page_hashes`]) |
//! | 5 gaps | varints: how many predictions are right before the next wrong one |
//! | 6 corrections | for each wrong prediction what is to be added to it: 4 or 8 bytes, as many as the operand has, the highest first |
//!
//! All triples come first: blocks make no new bytes until the triples they brought cover new, and bring none after
//! that. The images come whole in the first block. A block may end within a triple. An operand is predicted only if the
//! copy within one block holds all of it, it lies in a section of an image of new, and its target was mapped into that
//! image. Predictions behind the last gap of a block are right.
//!
//! MUST: old and new have at most 1 GiB each; there are at most 65,536 triples and one for every 16 bytes of new; triples cover new exactly, and only the first may make nothing; everything a block brings is used by its end.
//!
//! # Changelog
//!
//! * 1: first.

pub mod alignment;
pub mod extra;
pub mod image;
pub mod layout;
pub mod operand;
pub mod page_hashes;
pub mod predict;
pub mod scan;

mod make;

use std::io::Write;

use super::control::{Triple, Triples};
use super::{OldBytes, PatchError};
use crate::format::pack::REFERENCES_STREAMS;
use crate::format::pack::wire::Reader;
use alignment::{Alignment, Segment};
use make::{Maker, Pieces};
use page_hashes::PageHashes;

/// Most bytes of old, and of new.
pub const BYTES_MAX: u64 = 1 << 30;

/// Triples that any unit may have, and bytes of new for each further one.
const TRIPLES_BASE: u64 = 1 << 16;
const TRIPLE_BYTES: u64 = 16;

/// Most triples of a unit that makes `new_length` bytes.
pub const fn triples_max(new_length: u64) -> u64 {
    TRIPLES_BASE + new_length / TRIPLE_BYTES
}

/// Where the patch stands between blocks.
pub(super) struct References {
    old_length: u64,
    new_length: u64,
    state: State,
}

enum State {
    /// Triples so far, how many bytes they make, and the images as they were read.
    Planning {
        triples: Vec<Triple>,
        covered: u64,
        /// None before the first block.
        layout: Option<Vec<u8>>,
    },
    Making(Box<Maker>),
}

impl References {
    pub(super) fn new(old_length: u64, new_length: u64) -> Result<Self, PatchError> {
        let found = old_length.max(new_length);
        if found > BYTES_MAX {
            return Err(PatchError::Limit { what: "bytes of executables", limit: BYTES_MAX, found });
        }
        let state = State::Planning { triples: Vec::new(), covered: 0, layout: None };
        Ok(Self { old_length, new_length, state })
    }

    /// New bytes made so far.
    pub(super) const fn new_bytes(&self) -> u64 {
        match &self.state {
            State::Planning { .. } => 0,
            State::Making(maker) => maker.new_bytes(),
        }
    }

    /// Carries out one block.
    pub(super) fn apply(
        &mut self,
        pieces: &[Vec<u8>],
        old: &mut dyn OldBytes,
        new: &mut dyn Write,
    ) -> Result<(), PatchError> {
        let [control, runs, residues, extra, layout, gaps, corrections] = pieces else {
            let (expected, actual) = (REFERENCES_STREAMS as u64, pieces.len() as u64);
            return Err(PatchError::Count { what: "streams", expected, actual });
        };
        let mut layout_reader = Reader::new(layout);
        let count = layout_reader.varint()?;
        self.plan(control, layout_reader.rest(), old)?;
        match &mut self.state {
            State::Making(maker) => maker.make(count, &Pieces { runs, residues, extra, gaps, corrections }, new),
            State::Planning { .. } if count > 0 => {
                Err(PatchError::Invalid { what: "a block that makes bytes before all triples are there" })
            }
            State::Planning { .. } => Ok(()),
        }
    }

    /// Takes triples and images; once the triples cover new, reads old and makes ready.
    fn plan(&mut self, control: &[u8], images: &[u8], old: &mut dyn OldBytes) -> Result<(), PatchError> {
        let State::Planning { triples, covered, layout } = &mut self.state else {
            let bytes = (control.len() + images.len()) as u64;
            return if bytes == 0 { Ok(()) } else { Err(PatchError::Unused { of: "the plan", bytes }) };
        };
        match layout {
            None => *layout = Some(images.to_vec()),
            Some(_) if !images.is_empty() => {
                return Err(PatchError::Unused { of: "the layout", bytes: images.len() as u64 });
            }
            Some(_) => {}
        }
        let mut read = Triples::read(control)?;
        while let Some(triple) = read.next()? {
            let made = triple.diff.saturating_add(triple.extra);
            let left = self.new_length - *covered;
            if made > left {
                return Err(PatchError::Limit { what: "new bytes", limit: left, found: made });
            }
            if made == 0 && !triples.is_empty() {
                return Err(PatchError::Invalid { what: "a triple that makes nothing" });
            }
            let limit = triples_max(self.new_length);
            if triples.len() as u64 == limit {
                return Err(PatchError::Limit { what: "control triples", limit, found: limit + 1 });
            }
            *covered += made;
            triples.push(triple);
        }
        if *covered == self.new_length {
            let (triples, layout) = (std::mem::take(triples), layout.take().unwrap_or_default());
            let maker = prepare(triples, &layout, self.old_length, self.new_length, old)?;
            self.state = State::Making(Box::new(maker));
        }
        Ok(())
    }
}

/// Reads old, finds its references, and maps their targets.
fn prepare(
    triples: Vec<Triple>,
    layout: &[u8],
    old_length: u64,
    new_length: u64,
    old: &mut dyn OldBytes,
) -> Result<Maker, PatchError> {
    let segments = segments(&triples, old_length)?;
    let length = usize::try_from(old_length).map_err(|_| PatchError::Invalid { what: "more old bytes than memory" })?;
    let mut bytes = vec![0; length];
    old.read_at(0, &mut bytes).map_err(|source| PatchError::Read { offset: 0, length, source })?;
    let mut reader = Reader::new(layout);
    let parts = layout::read_parts(&mut reader, old_length)?;
    let old_images = layout::find_images(&bytes, &parts);
    let new_images = layout::read_images(&mut reader, &old_images, new_length)?;
    let page_hashes = PageHashes::new(page_hashes::read_tables(&mut reader, new_length)?);
    if !reader.is_empty() {
        return Err(PatchError::Unused { of: "the layout", bytes: reader.rest().len() as u64 });
    }
    let found = scan::scan(&bytes, &old_images);
    let predictor = predict::Predictor::new(&old_images, &new_images, &found, &Alignment::new(&segments));
    Ok(Maker::new(bytes, triples, predictor, new_images, page_hashes))
}

/// The copies the triples make; they lie within old.
fn segments(triples: &[Triple], old_length: u64) -> Result<Vec<Segment>, PatchError> {
    let (mut new_at, mut old_at) = (0, 0u64);
    let mut segments = Vec::with_capacity(triples.len());
    for triple in triples {
        let left = old_length - old_at;
        if triple.diff > left {
            return Err(PatchError::Limit { what: "old bytes", limit: left, found: triple.diff });
        }
        segments.push(Segment { new: new_at, old: old_at, length: triple.diff });
        new_at += triple.diff + triple.extra;
        old_at = match (old_at + triple.diff).checked_add_signed(triple.seek) {
            Some(at) if at <= old_length => at,
            _ => return Err(PatchError::Invalid { what: "a seek out of the old bytes" }),
        };
    }
    Ok(segments)
}
