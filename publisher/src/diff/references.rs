//! Patches of executables by method *references* ([`lamplighter_client::patch::references`]).
//!
//! `pairing` finds the images on both sides and which continues which. New is aligned with old by its bytes; `mask`
//! then replaces every operand by what it points to, mapped by that alignment, so that code that only moved becomes
//! equal, and the images are aligned once more. What a client can compute is left out (`signature`). `emit` writes down what the client needs besides the alignment.

mod emit;
mod mask;
mod pairing;
mod signature;

use std::io::Write;
use std::ops::Range;

use lamplighter_client::patch::references::alignment::{Alignment, Segment};
use lamplighter_client::patch::references::image::Image;
use lamplighter_client::patch::references::predict::Predictor;
use lamplighter_client::patch::references::scan::scan;
use lamplighter_client::patch::references::triples_max;

use super::effort::Pass;
use super::windowing::{self, Part};
use super::{DiffError, Effort, Encoded, Search, Side};
pub use pairing::Pairing;

/// Old and new bytes from which executables are encoded as other files are, in windows.
pub const BYTES_MAX: u64 = 512 << 20;

/// The files of a unit on both sides.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// Where each old file lies in old.
    pub old: Vec<Range<u64>>,
    /// Where each new file lies in new.
    pub new: Vec<Range<u64>>,
    /// For each new file the old one it was paired with.
    pub twins: Vec<Option<usize>>,
}

/// Encodes the patch from `old` to `new`, whose images are paired by `pairing`; nothing where its copies are too many and
/// too short for this method.
pub(super) fn encode(
    old: &[u8],
    new: &[u8],
    pairing: &Pairing,
    effort: Effort,
    sink: &mut dyn Write,
) -> Result<Option<Encoded>, DiffError> {
    let new_images: Vec<Image> = pairing.layout.new_images.iter().map(|new| new.image.clone()).collect();
    let tables = signature::page_tables(new, &new_images);
    let new = &*signature::without_hashes(new, &tables);
    let (old_found, new_found) = rayon::join(|| scan(old, &pairing.old_images), || scan(new, &new_images));
    let predictor = |segments: &[Segment]| {
        Predictor::new(&pairing.old_images, &pairing.layout.new_images, &old_found, &Alignment::new(segments))
    };
    let passes = effort.image_passes();
    let mut segments = align(old, new, passes[0])?;
    for pass in &passes[1..] {
        let predictor = predictor(&segments);
        let masked_old = mask::masked(old, &old_found, |index| predictor.mapped(index));
        let masked_new = mask::masked(new, &new_found, mask::own_targets(&new_images, &new_found));
        segments = align(&masked_old, &masked_new, *pass)?;
    }
    // One for what comes before the first copy.
    if segments.len() as u64 + 1 > triples_max(new.len() as u64) {
        return Ok(None);
    }
    let mut emitter = emit::Emitter::new(old, new, pairing, &tables, predictor(&segments), effort, sink);
    emitter.plan(&segments)?;
    emitter.make(&segments)?;
    emitter.finish().map(Some)
}

/// Copies in the order of new. Long equal runs are taken out first, so that the cost follows what changed.
fn align(old: &[u8], new: &[u8], pass: Pass) -> Result<Vec<Segment>, DiffError> {
    let (mut old_bytes, mut new_bytes) = (old, new);
    let mut old_side = Side { bytes: &mut old_bytes, length: old.len() as u64 };
    let mut new_side = Side { bytes: &mut new_bytes, length: new.len() as u64 };
    let mut segments = Vec::new();
    for section in windowing::plan(&mut old_side, &mut new_side, pass.bounds)? {
        let window = section.old.read(&mut old_side)?;
        let mut search = Search { old: &window, window: &section.old, index: None, match_min: pass.match_min };
        for part in &section.parts {
            match part {
                Part::Equal(run) => {
                    push(&mut segments, Segment { new: run.new, old: run.old, length: run.length });
                }
                Part::Search(range) => {
                    for found in search.align(&new[range.start as usize..range.end as usize])? {
                        for (start, piece) in section.old.locate(found.old, found.length) {
                            let into = (found.new + (piece.start - found.old)) as u64;
                            let segment = Segment { new: range.start + into, old: start, length: piece.len() as u64 };
                            push(&mut segments, segment);
                        }
                    }
                }
            }
        }
    }
    Ok(segments)
}

/// Appends a copy; one that goes on where the last one ends makes that longer.
fn push(segments: &mut Vec<Segment>, segment: Segment) {
    match segments.last_mut() {
        Some(last) if last.new + last.length == segment.new && last.old + last.length == segment.old => {
            last.length += segment.length;
        }
        _ => segments.push(segment),
    }
}
