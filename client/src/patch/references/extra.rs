//! Extra bytes of code with absolute targets: two calls to one function then look alike, which compresses better.
//!
//! The transform works on the operands of what look like branches and RIP-relative accesses, whether or not they are,
//! and is one to one on 32 bits (26 or 21 on AArch64), so it needs no list of where it was done. Its input is one run
//! of extra bytes in one block: it sees nothing before the run.
//!
//! * x86-64: with the operand's end at *p* bytes from the image's lowest address, and *s* the image's span, an operand
//!   *r* in [−p, s − p) becomes r + p, one in [s − p, s) becomes r − s, any other stays; then it is written with the
//!   highest byte first. Candidates are found as in [`super::scan`], without a look at their targets.
//!   Images that span more than 2³¹ − 9 bytes are left as they are, and bytes that end farther from the lowest address.
//! * AArch64: `B` and `BL` get the words from the image's lowest address added modulo 2²⁶, `ADRP` the pages modulo 2²¹.

use super::image::{Contents, Image, Machine};
use super::operand::Kind;
use super::scan::x86_operand;

/// Images of a longer span are left alone, as are bytes farther from the lowest address: 8 bytes less than 31 bits hold.
const SPAN_MAX: u32 = i32::MAX as u32 - 8;

/// Which way to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// As the patch carries them.
    ToAbsolute,
    /// As the file has them.
    ToRelative,
}

/// Transforms `bytes`, which stand at `offset` of new, in place, as far as they lie in one section of code.
pub fn transform(image: &Image, offset: u64, bytes: &mut [u8], direction: Direction) {
    let found = image.sections.iter().find(|section| section.file_range().contains(&offset));
    let Some(section) = found.filter(|section| section.contents == Contents::Code) else { return };
    let Some((low, span)) = image.span() else { return };
    let left = usize::try_from(section.file_range().end - offset).unwrap_or(usize::MAX);
    let length = bytes.len().min(left);
    let into = section.address.wrapping_add(offset - section.offset).wrapping_sub(low);
    // Beyond 2 GiB the numbers below would not fit 32 bits.
    if span > SPAN_MAX || into > u64::from(SPAN_MAX) - length.min(SPAN_MAX as usize) as u64 {
        return;
    }
    match image.machine {
        Machine::X86 => x86(&mut bytes[..length], into, i64::from(span), direction),
        Machine::Arm => arm(&mut bytes[..length], into, direction),
    }
}

fn x86(bytes: &mut [u8], into: u64, span: i64, direction: Direction) {
    let mut at = 0;
    // What the file has: of the bytes before `at` both ways know them.
    let mut file = [0u8; 4];
    while at < bytes.len() {
        let Some((operand, kind)) = x86_operand(bytes, at, file) else {
            file = [file[1], file[2], file[3], bytes[at]];
            at += 1;
            continue;
        };
        let Some(chunk) = bytes.get_mut(operand..operand + 4).and_then(|chunk| chunk.first_chunk_mut::<4>()) else {
            return;
        };
        let end = into as i64 + operand as i64 + kind.to_end() as i64;
        if direction == Direction::ToAbsolute {
            file = *chunk;
            *chunk = (absolute(i32::from_le_bytes(*chunk).into(), end, span) as i32).to_be_bytes();
        } else {
            *chunk = (relative(i32::from_be_bytes(*chunk).into(), end, span) as i32).to_le_bytes();
            file = *chunk;
        }
        at = operand + 4;
    }
}

const fn absolute(value: i64, end: i64, span: i64) -> i64 {
    if value >= -end && value < span - end {
        value + end
    } else if value >= span - end && value < span {
        value - span
    } else {
        value
    }
}

const fn relative(value: i64, end: i64, span: i64) -> i64 {
    if value >= 0 && value < span {
        value - end
    } else if value >= -end && value < 0 {
        value + span
    } else {
        value
    }
}

fn arm(bytes: &mut [u8], into: u64, direction: Direction) {
    let first = (into.next_multiple_of(4) - into) as usize;
    let Some(words) = bytes.get_mut(first..) else { return };
    for (index, chunk) in words.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let place = into + first as u64 + 4 * index as u64;
        let add = |value: u32, amount: u64| match direction {
            Direction::ToAbsolute => value.wrapping_add(amount as u32),
            Direction::ToRelative => value.wrapping_sub(amount as u32),
        };
        let word = u32::from_le_bytes(*chunk);
        let changed = if word & 0x7c00_0000 == 0x1400_0000 {
            word & 0xfc00_0000 | add(word, place >> 2) & 0x03ff_ffff
        } else if word & 0x9f00_0000 == 0x9000_0000 {
            let pages = add((word >> 5 & 0x7_ffff) << 2 | word >> 29 & 3, place >> 12);
            word & !(Kind::Page21.mask() as u32) | (pages & 3) << 29 | (pages >> 2 & 0x7_ffff) << 5
        } else {
            continue;
        };
        *chunk = changed.to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::patch::references::image::Section;
    use proptest::prelude::*;

    fn image(machine: Machine) -> Image {
        let code = Section { address: 0x1000, size: 0x4000, offset: 16, file_size: 0x4000, contents: Contents::Code };
        Image { machine, base: 0, range: 0..0x5000, sections: vec![code], names: Vec::new(), strings: 0 }
    }

    #[test]
    fn two_calls_of_one_function_look_alike() {
        let mut bytes = *b"\xe8\x00\x01\x00\x00\x90\xe8\xfa\x00\x00\x00";
        transform(&image(Machine::X86), 16, &mut bytes, Direction::ToAbsolute);
        assert_eq!(&bytes, b"\xe8\x00\x00\x01\x05\x90\xe8\x00\x00\x01\x05");
        let mut words = [0x9400_0010u32.to_le_bytes(), 0x9400_000fu32.to_le_bytes()].concat();
        transform(&image(Machine::Arm), 16, &mut words, Direction::ToAbsolute);
        assert_eq!(words[..4], words[4..]);
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(
            bytes in proptest::collection::vec(prop_oneof![Just(0xe8u8), Just(0x0f), Just(0x85), Just(0x8b), Just(0x05),
                Just(0), Just(0xff), Just(0x94), any::<u8>()], 0..300),
            offset in 10u64..0x4020,
            arm: bool,
            address in prop_oneof![Just(0x1000u64), Just(1 << 31), Just((1 << 32) - 0x5000), Just(u64::MAX - 0x5000)],
            size in prop_oneof![Just(0u64), Just(0x4000), (0x7fff_bff0u64..0x7fff_ffff), Just(0xffff_f000)],
            below in prop_oneof![Just(0u64), any::<u32>().prop_map(u64::from), Just(1 << 31)],
        ) {
            let mut image = image(if arm { Machine::Arm } else { Machine::X86 });
            image.sections[0].address = address;
            image.sections[0].size = size.min(u64::MAX - address);
            // One that decides where memory begins, so that the code may lie anywhere.
            let far = Section { address: 0, size: 8, offset: 0, file_size: 0, contents: Contents::Other };
            image.sections.extend(address.checked_sub(below).map(|address| Section { address, ..far }));
            let mut changed = bytes.clone();
            transform(&image, offset, &mut changed, Direction::ToAbsolute);
            transform(&image, offset, &mut changed, Direction::ToRelative);
            prop_assert_eq!(changed, bytes);
        }
    }
}
