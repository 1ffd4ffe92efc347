//! Data: tables of addresses, relocations and unwind records.

use super::Finds;
use crate::patch::references::image::Contents;
use crate::patch::references::operand::{Kind, word_at};

/// Smaller numbers are not taken for addresses.
const ADDRESS_MIN: u64 = 0x1000;
/// Mach-O: a fixup below is no address but an ordinal or a small number.
const FIXUP_MIN: u64 = 0x4000;
const RELOCATION_BYTES: usize = 24;
const SYMBOL_BYTES: usize = 16;

/// Scans a whole section.
pub(super) fn scan(finds: &mut Finds<'_>, contents: Contents) {
    match contents {
        Contents::Rvas => (0..finds.bytes.len()).step_by(4).for_each(|at| image_relative(finds, at)),
        Contents::Pointers => pointers(finds),
        Contents::PointersAndRvas => pointers_and_rvas(finds),
        Contents::Relocations => relocations(finds),
        Contents::Frames => frames(finds),
        Contents::FrameTable => (12..finds.bytes.len()).step_by(4).for_each(|at| {
            finds.take_any(at, Kind::SectionRelative);
        }),
        Contents::ChainedPointers => chained_pointers(finds),
        Contents::Symbols => symbols(finds),
        Contents::CodeOffsets => (0..finds.bytes.len()).step_by(4).for_each(|at| {
            finds.take_code(at, Kind::CodeOffset);
        }),
        Contents::Code | Contents::Other => {}
    }
}

fn image_relative(finds: &mut Finds<'_>, at: usize) {
    if word_at(finds.bytes, at, 4) != 0 {
        finds.take_any(at, Kind::ImageRelative);
    }
}

/// Places of the section that are aligned to 8 bytes in the image, as linkers align them in memory.
fn aligned(finds: &Finds<'_>) -> std::iter::StepBy<std::ops::Range<usize>> {
    let offset = finds.offset - finds.file.start;
    let first = (offset.next_multiple_of(8) - offset) as usize;
    (first..finds.bytes.len().max(first)).step_by(8)
}

fn pointers(finds: &mut Finds<'_>) {
    for at in aligned(finds) {
        pointer(finds, at);
    }
}

fn pointer(finds: &mut Finds<'_>, at: usize) -> bool {
    word_at(finds.bytes, at, 8) > ADDRESS_MIN && finds.take_any(at, Kind::Absolute)
}

fn pointers_and_rvas(finds: &mut Finds<'_>) {
    for at in aligned(finds) {
        if !pointer(finds, at) {
            finds.take_code(at, Kind::ImageRelative);
            finds.take_code(at + 4, Kind::ImageRelative);
        }
    }
}

fn relocations(finds: &mut Finds<'_>) {
    for at in (0..finds.bytes.len()).step_by(RELOCATION_BYTES) {
        finds.take_any(at, Kind::Absolute);
        finds.take_any(at + 16, Kind::Absolute);
    }
}

/// Frame description entries: a length, a distance back to the common entry (0 in a common entry itself), then the
/// place of the code, relative to itself (Linux Standard Base, `.eh_frame`).
fn frames(finds: &mut Finds<'_>) {
    let mut at = 0;
    while at + 16 <= finds.bytes.len() {
        let length = word_at(finds.bytes, at, 4) as usize;
        if length == 0 || length == 0xffff_ffff {
            return;
        }
        if word_at(finds.bytes, at + 4, 4) != 0 {
            // The place itself counts, not its end as in an instruction.
            finds.take_code(at + 8, Kind::Relative);
        }
        at = at.saturating_add(4 + length);
    }
}

fn chained_pointers(finds: &mut Finds<'_>) {
    for at in aligned(finds) {
        let word = word_at(finds.bytes, at, 8);
        // The highest bit marks an import.
        if word >> 63 == 0 && word & 0xf_ffff_ffff > FIXUP_MIN && !finds.take_any(at, Kind::Pointer) {
            finds.take_any(at, Kind::PointerFromBase);
        }
    }
}

fn symbols(finds: &mut Finds<'_>) {
    let length = finds.file.end - finds.file.start;
    for at in (0..finds.bytes.len()).step_by(SYMBOL_BYTES) {
        let name = finds.strings.wrapping_add(word_at(finds.bytes, at, 4));
        if name.wrapping_sub(finds.file.start) < length {
            finds.push(at, Kind::String, name);
        }
        finds.take_any(at + 8, Kind::Absolute);
    }
}
