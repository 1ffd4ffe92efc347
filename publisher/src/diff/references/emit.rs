//! Writes the streams of a patch: the same walk over the copies as a client's, with new at hand.

use std::io::Write;

use lamplighter_client::format::pack::wire::put_varint;
use lamplighter_client::format::pack::{REFERENCES, REFERENCES_STREAMS};
use lamplighter_client::patch::control::{Triple, put_triples};
use lamplighter_client::patch::references::alignment::Segment;
use lamplighter_client::patch::references::extra::{Direction, transform};
use lamplighter_client::patch::references::operand::word_at;
use lamplighter_client::patch::references::page_hashes::{PageTable, put_tables};
use lamplighter_client::patch::references::predict::{Places, Predictor};

use super::Pairing;
use crate::diff::entropy::{BlockWriter, Role};
use crate::diff::runs::Runs;
use crate::diff::{DiffError, Effort, Encoded};

/// A block is closed once its raw streams have this many bytes: half of what a reader takes.
const BLOCK_RAW_BYTES: usize = 2 << 20;
/// Triples of one block; each takes some bytes.
const BLOCK_TRIPLES: usize = 128 << 10;
/// Copies are taken in steps of this size, so that a block never grows far beyond its bound.
const STEP_BYTES: u64 = 64 << 10;
/// Most bytes of one run of extra bytes in a block.
const RUN_BYTES: u64 = 1 << 20;

const ROLES: [Role; REFERENCES_STREAMS] =
    [Role::Numbers, Role::Numbers, Role::Numbers, Role::Content, Role::Numbers, Role::Numbers, Role::Words];

/// Builds the streams block by block.
pub(super) struct Emitter<'a> {
    old: &'a [u8],
    new: &'a [u8],
    pairing: &'a Pairing,
    predictor: Predictor,
    places: Places,
    blocks: BlockWriter<'a>,
    control: Vec<u8>,
    layout: Vec<u8>,
    runs: Runs,
    extra: Vec<u8>,
    gaps: Vec<u8>,
    corrections: Vec<u8>,
    /// Right predictions since the last wrong one.
    gap: u64,
    /// New bytes of the open block.
    made: u64,
}

impl<'a> Emitter<'a> {
    pub(super) fn new(
        old: &'a [u8],
        new: &'a [u8],
        pairing: &'a Pairing,
        tables: &[PageTable],
        predictor: Predictor,
        effort: Effort,
        sink: &'a mut dyn Write,
    ) -> Self {
        let mut layout = Vec::new();
        pairing.layout.put(&mut layout, &pairing.old_images);
        put_tables(&mut layout, tables);
        Self {
            old,
            new,
            pairing,
            predictor,
            places: Places::new(&pairing.layout.new_images),
            blocks: BlockWriter::new(REFERENCES, &ROLES, effort, sink),
            control: Vec::new(),
            layout,
            runs: Runs::default(),
            extra: Vec::new(),
            gaps: Vec::new(),
            corrections: Vec::new(),
            gap: 0,
            made: 0,
        }
    }

    /// Writes down all triples; the last of them share a block with the first new bytes.
    pub(super) fn plan(&mut self, segments: &[Segment]) -> Result<(), DiffError> {
        let triples = triples(segments, self.new.len() as u64);
        for (index, part) in triples.chunks(BLOCK_TRIPLES).enumerate() {
            if index > 0 {
                self.cut()?;
            }
            self.control = put_triples(part);
        }
        Ok(())
    }

    /// Writes down what makes new from the copies and what lies between them.
    pub(super) fn make(&mut self, segments: &[Segment]) -> Result<(), DiffError> {
        let mut at = 0;
        for segment in segments {
            self.insert(at, segment.new)?;
            self.copy(segment)?;
            at = segment.new + segment.length;
        }
        self.insert(at, self.new.len() as u64)
    }

    /// Closes the last block.
    pub(super) fn finish(mut self) -> Result<Encoded, DiffError> {
        self.cut()?;
        self.blocks.finish()
    }

    fn insert(&mut self, mut at: u64, end: u64) -> Result<(), DiffError> {
        while at < end {
            let step = end.min(at + RUN_BYTES);
            let from = self.extra.len();
            self.extra.extend_from_slice(&self.new[at as usize..step as usize]);
            let images = &self.pairing.layout.new_images;
            if let Some(found) = images.iter().find(|new| new.image.range.contains(&at)) {
                transform(&found.image, at, &mut self.extra[from..], Direction::ToAbsolute);
            }
            self.made += step - at;
            at = step;
            // A reader transforms what a block has of a run as a whole, so a run goes on in the next block.
            if at < end || self.is_full() {
                self.cut()?;
            }
        }
        Ok(())
    }

    fn copy(&mut self, segment: &Segment) -> Result<(), DiffError> {
        let (mut old_at, end) = (segment.old, segment.old + segment.length);
        let mut index = self.predictor.first_from(old_at);
        while old_at < end {
            let new_at = segment.new + (old_at - segment.old);
            let reference = self.predictor.reference(index).filter(|(at, kind)| at + kind.length() as u64 <= end);
            match reference {
                Some((at, kind)) if at == old_at => {
                    self.copy_reference(index, old_at, new_at, kind.length());
                    old_at += kind.length() as u64;
                    index += 1;
                }
                _ => {
                    let step = reference.map_or(end, |(at, _)| at).min(old_at + STEP_BYTES) - old_at;
                    self.copy_plain(old_at, new_at, step);
                    old_at += step;
                }
            }
            if self.is_full() {
                self.cut()?;
            }
        }
        Ok(())
    }

    fn copy_plain(&mut self, old_at: u64, new_at: u64, length: u64) {
        let (old_at, new_at, length) = (old_at as usize, new_at as usize, length as usize);
        self.runs.push(&self.old[old_at..old_at + length], &self.new[new_at..new_at + length]);
        self.made += length as u64;
    }

    fn copy_reference(&mut self, index: usize, old_at: u64, new_at: u64, length: usize) {
        let old_word = word_at(self.old, old_at as usize, length);
        let predicted = self.places.at(new_at).and_then(|at| Some((at, self.predictor.predict(index, old_word, at)?)));
        let Some((at, prediction)) = predicted else { return self.copy_plain(old_at, new_at, length as u64) };
        let word = word_at(self.new, new_at as usize, length);
        if prediction.word == word {
            self.gap += 1;
        } else {
            put_varint(&mut self.gaps, self.gap);
            self.gap = 0;
            let correction = word.wrapping_sub(prediction.word).to_be_bytes();
            self.corrections.extend_from_slice(&correction[8 - length..]);
        }
        self.predictor.learn(index, prediction, old_word, word, at);
        self.made += length as u64;
    }

    fn is_full(&self) -> bool {
        let numbers = self.control.len() + self.gaps.len() + self.corrections.len() + self.layout.len();
        numbers + self.runs.raw_bytes() + self.extra.len() >= BLOCK_RAW_BYTES
    }

    fn cut(&mut self) -> Result<(), DiffError> {
        let (runs, residues) = self.runs.take();
        let mut layout = Vec::new();
        put_varint(&mut layout, std::mem::take(&mut self.made));
        layout.append(&mut self.layout);
        self.gap = 0;
        let take = std::mem::take::<Vec<u8>>;
        let extra = take(&mut self.extra);
        let (gaps, corrections) = (take(&mut self.gaps), take(&mut self.corrections));
        self.blocks.push(vec![take(&mut self.control), runs, residues, extra, layout, gaps, corrections])
    }
}

/// The control triples of copies in the order of new.
fn triples(segments: &[Segment], new_length: u64) -> Vec<Triple> {
    let mut triples: Vec<Triple> = Vec::with_capacity(segments.len() + 1);
    let (mut new_at, mut old_at) = (0, 0u64);
    for segment in segments {
        // The first copy may not begin at the start of either side.
        if let Some(last) = triples.last_mut() {
            last.extra = segment.new - new_at;
            last.seek = segment.old as i64 - old_at as i64;
        } else if segment.new > 0 || segment.old > 0 {
            triples.push(Triple { diff: 0, extra: segment.new, seek: segment.old as i64 });
        }
        triples.push(Triple { diff: segment.length, extra: 0, seek: 0 });
        (new_at, old_at) = (segment.new + segment.length, segment.old + segment.length);
    }
    match triples.last_mut() {
        Some(last) => last.extra = new_length - new_at,
        None => triples.push(Triple { diff: 0, extra: new_length, seek: 0 }),
    }
    triples
}
