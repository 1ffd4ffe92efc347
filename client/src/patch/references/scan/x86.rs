//! x86-64 code: calls, jumps and RIP-relative operands, found by opcode and operand.
//!
//! A candidate counts if its target lies in code (calls and jumps) or in the image (RIP-relative). Random bytes pass
//! that test rarely: a section of 20 MB is a two-hundredth of what 32 bits can point to.

use super::Finds;
use crate::patch::references::operand::Kind;

/// Opcodes of one byte that take a ModRM byte and are common with RIP-relative operands.
const ONE_BYTE: [u8; 32] = [
    0x8b, 0x8d, 0x89, 0x88, 0x8a, 0x03, 0x3b, 0x39, 0x38, 0x3a, 0x2b, 0x33, 0x0b, 0x23, 0x63, 0x85, 0x84, 0x87, 0xff,
    0xc7, 0xc6, 0x80, 0x81, 0x83, 0xf6, 0xf7, 0x01, 0x29, 0x86, 0xfe, 0x69, 0x6b,
];

const fn one_byte_table() -> [bool; 256] {
    let mut table = [false; 256];
    let mut index = 0;
    while index < ONE_BYTE.len() {
        table[ONE_BYTE[index] as usize] = true;
        index += 1;
    }
    table
}

const IS_ONE_BYTE: [bool; 256] = one_byte_table();

/// Scans instructions that begin in `from..to`.
pub(super) fn scan(finds: &mut Finds<'_>, from: usize, to: usize) {
    let bytes = finds.bytes;
    let mut at = from;
    while at < to {
        let Some([opcode, second]) = bytes.get(at..).and_then(|rest| rest.first_chunk()).copied() else { return };
        if opcode & 0xfe == 0xe8 {
            if finds.take_code(at + 1, Kind::Relative0) {
                at += 5;
                continue;
            }
        } else if opcode == 0x0f && second & 0xf0 == 0x80 && finds.take_code(at + 2, Kind::Relative0) {
            at += 6;
            continue;
        }
        if second & 0xc7 == 0x05 {
            let before = |back: usize| at.checked_sub(back).map_or(0, |index| bytes[index]);
            let relative = takes_operand([before(4), before(3), before(2), before(1)], opcode);
            if relative && finds.take_any(at + 2, kind_of(opcode, second)) {
                at += 6;
                continue;
            }
        }
        at += 1;
    }
}

/// Where the operand of an instruction at `at` stands, and its kind, by the opcode alone; `before` are the four bytes in
/// front of it.
pub(in crate::patch::references) fn operand(bytes: &[u8], at: usize, before: [u8; 4]) -> Option<(usize, Kind)> {
    let [opcode, second] = *bytes.get(at..)?.first_chunk()?;
    if opcode & 0xfe == 0xe8 {
        return Some((at + 1, Kind::Relative0));
    }
    if opcode == 0x0f && second & 0xf0 == 0x80 {
        return Some((at + 2, Kind::Relative0));
    }
    (second & 0xc7 == 0x05 && takes_operand(before, opcode)).then(|| (at + 2, kind_of(opcode, second)))
}

const fn kind_of(opcode: u8, modrm: u8) -> Kind {
    match immediate(opcode, modrm) {
        0 => Kind::Relative0,
        1 => Kind::Relative1,
        _ => Kind::Relative4,
    }
}

/// Whether `opcode`, with the four bytes before it, is likely to be one that takes a ModRM byte.
fn takes_operand(before: [u8; 4], opcode: u8) -> bool {
    let before = |back: usize| before[4 - back];
    let escaped = matches!(
        opcode,
        0x10..=0x17 | 0x28..=0x2f | 0x40..=0x7f | 0xaf | 0xb0 | 0xb1 | 0xb6 | 0xb7 | 0xbe..=0xc6 | 0xd0..=0xff
    );
    IS_ONE_BYTE[usize::from(opcode)]
        || (escaped && before(1) == 0x0f)
        || before(2) == 0xc5
        || before(3) == 0xc4
        || before(3) == 0x0f
}

/// Bytes of the immediate behind the operand.
const fn immediate(opcode: u8, modrm: u8) -> u8 {
    match opcode {
        0xc7 | 0x81 | 0x69 => 4,
        0xc6 | 0x80 | 0x83 | 0xc0 | 0xc1 | 0x6b => 1,
        0xf6 if modrm & 0x38 == 0 => 1,
        0xf7 if modrm & 0x38 == 0 => 4,
        _ => 0,
    }
}
