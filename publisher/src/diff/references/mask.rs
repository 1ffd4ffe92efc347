//! Bytes in which every operand stands for what it points to, so that references to one target are equal wherever they
//! stand.

use lamplighter_client::patch::references::image::{Image, image_at};
use lamplighter_client::patch::references::operand::word_at;
use lamplighter_client::patch::references::scan::Found;

/// A target nothing is known of.
const UNKNOWN: u64 = 1;

/// `bytes` with the operands of `found` replaced by a hash of their targets.
pub(super) fn masked(bytes: &[u8], found: &[Found], mut target: impl FnMut(usize) -> Option<u64>) -> Vec<u8> {
    let mut masked = bytes.to_vec();
    for (index, found) in found.iter().enumerate() {
        let hash = target(index).unwrap_or(UNKNOWN).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 30;
        let (at, length, mask) = (found.offset as usize, found.kind.length(), found.kind.mask());
        // Four bytes of hash say enough.
        let word = word_at(bytes, at, length) & !mask | hash & 0xffff_ffff & mask;
        if let Some(operand) = masked.get_mut(at..at + length) {
            operand.copy_from_slice(&word.to_le_bytes()[..length]);
        }
    }
    masked
}

/// The targets of references of new, as [`super::Predictor::mapped`] names those of old.
pub(super) fn own_targets<'a>(images: &'a [Image], found: &'a [Found]) -> impl FnMut(usize) -> Option<u64> + 'a {
    let mut image = 0;
    move |index| {
        let found = &found[index];
        let offset = u64::from(found.offset);
        if !images.get(image).is_some_and(|image| image.range.contains(&offset)) {
            image = image_at(images, offset)?;
        }
        Some((image as u64) << 32 | u64::from(found.target))
    }
}
