//! Patches of executables by method *references* ([`lamplighter_client::patch::references`]).
//!
//! [`pairing`] finds the images on both sides and which continues which. New is aligned with old by its bytes; [`mask`]
//! then replaces every operand by what it points to, mapped by that alignment, so that code that only moved becomes
//! equal, and the images are aligned once more. What a client can compute is left out ([`signature`]). [`emit`] writes down what the client needs besides the alignment.

mod emit;
mod mask;
mod pairing;
mod signature;

use std::io::Write;
use std::ops::Range;

use lamplighter_client::patch::references::alignment::{Alignment, Segment};
use lamplighter_client::patch::references::image::Image;
use lamplighter_client::patch::references::predict::Predictor;
use lamplighter_client::patch::references::scan::{Found, scan};

use super::matching::{Match, Matcher, common_prefix};
use super::suffix::SuffixIndex;
use super::{DiffError, Effort, Encoded};
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

/// Encodes the patch from `old` to `new`, whose images are paired by `pairing`.
pub(super) fn encode(
    old: &[u8],
    new: &[u8],
    pairing: &Pairing,
    effort: Effort,
    sink: &mut dyn Write,
) -> Result<Encoded, DiffError> {
    let new_images: Vec<Image> = pairing.layout.new_images.iter().map(|new| new.image.clone()).collect();
    let tables = signature::page_tables(new, &new_images);
    let new = &*signature::without_hashes(new, &tables);
    let (old_found, new_found) = rayon::join(|| scan(old, &pairing.old_images), || scan(new, &new_images));
    let predictor = |segments: &[Segment]| {
        Predictor::new(&pairing.old_images, &pairing.layout.new_images, &old_found, &Alignment::new(segments))
    };
    let mut segments = align(old, new)?;
    for _ in 0..effort.reference_passes() {
        segments = align_masked(old, new, &old_found, &new_found, &new_images, &predictor(&segments))?;
    }
    let mut emitter = emit::Emitter::new(old, new, pairing, &tables, predictor(&segments), effort, sink);
    emitter.plan(&segments)?;
    emitter.make(&segments)?;
    emitter.finish()
}

fn align_masked(
    old: &[u8],
    new: &[u8],
    old_found: &[Found],
    new_found: &[Found],
    new_images: &[Image],
    predictor: &Predictor,
) -> Result<Vec<Segment>, DiffError> {
    let old = mask::masked(old, old_found, |index| predictor.mapped(index));
    let new = mask::masked(new, new_found, mask::own_targets(new_images, new_found));
    align(&old, &new)
}

/// Copies in the order of new.
fn align(old: &[u8], new: &[u8]) -> Result<Vec<Segment>, DiffError> {
    let segment = |found: Match| Segment { new: found.new as u64, old: found.old as u64, length: found.length as u64 };
    if common_prefix(old, new) == new.len() {
        return Ok(vec![segment(Match { new: 0, old: 0, length: new.len() })]);
    }
    let index = SuffixIndex::new(old)?;
    Ok(Matcher::new(&index, old, new).run().into_iter().map(segment).collect())
}
