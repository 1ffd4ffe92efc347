//! Mach-O, 64 bits, alone or in a fat file, with and without a code signature.

use sha2::{Digest, Sha256};

use super::program::{Home, Program, Word};
use super::{Linked, Machine, Reference, Symbols, Writer};

const BASE: u64 = 0x1_0000_0000;
const PAGE: u64 = 0x1000;
const COMMANDS: u64 = 0x1000;

/// Whether an image is signed, and whether the hashes in it are those of its pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    None,
    Right,
    /// One bit of one hash is wrong.
    Wrong,
}

struct Section {
    segment: &'static str,
    name: &'static str,
    flags: u64,
    address: u64,
    size: u64,
}

pub(super) fn link(program: &Program, machine: Machine, signature: Signature) -> Linked {
    let mut symbols = Symbols::default();
    let mut sections: Vec<Section> = Vec::new();
    let mut add = |segment, name, flags, align, size: &mut dyn FnMut(u64) -> u64| {
        let at =
            sections.last().map_or(BASE + 0x4000, |last: &Section| (last.address + last.size).next_multiple_of(align));
        sections.push(Section { segment, name, flags, address: at, size: size(at) });
    };
    let functions = program.functions.len() as u64;
    add("__TEXT", "__text", 0x8000_0400, 16, &mut |at| symbols.place_code(program, machine, at));
    add("__TEXT", "__unwind_info", 0, 16, &mut |_| 8 * functions);
    add("__DATA_CONST", "__const", 0, PAGE, &mut |at| symbols.place_data(program, Home::ReadOnly, at));
    add("__DATA", "__data", 0, PAGE, &mut |at| symbols.place_data(program, Home::Data, at));
    add("__DATA", "__bss", 1, 16, &mut |at| symbols.place_data(program, Home::Zeros, at));
    write(program, machine, &symbols, &sections, signature)
}

fn write(program: &Program, machine: Machine, symbols: &Symbols, sections: &[Section], signature: Signature) -> Linked {
    let mut out = Writer::default();
    out.pad_to(COMMANDS);
    for section in sections.iter().filter(|section| section.flags != 1) {
        out.pad_to(section.address - BASE);
        match section.name {
            "__text" => out.code(program, machine, symbols),
            "__unwind_info" => {
                for (index, function) in program.functions.iter().enumerate() {
                    let code = symbols.functions[&function.id];
                    out.u32_to((index as u64 & 3) << 24 | (code - BASE), code);
                    out.u32(0x0101_0000);
                }
            }
            // The distance to the next pointer stands in the high bits.
            "__const" => out.data(program, Home::ReadOnly, symbols, |target| pointer(target, machine) | 2 << 51),
            _ => out.data(program, Home::Data, symbols, |target| pointer(target, machine) | 2 << 51),
        }
    }
    let table = symbol_table(&mut out, program, symbols);
    let signed_at = out.at().next_multiple_of(16);
    if signature != Signature::None {
        out.pad_to(signed_at);
    }
    let header = commands(machine, sections, &table, (signature != Signature::None).then_some(signed_at));
    out.linked.bytes[..header.len()].copy_from_slice(&header);
    if signature != Signature::None {
        sign(&mut out, signature);
    }
    out.linked
}

/// Chained fixups: of x86-64 by address, of arm64 from the image's base.
const fn pointer(target: u64, machine: Machine) -> u64 {
    match machine {
        Machine::X86 => target,
        Machine::Arm => target - BASE,
    }
}

/// Where symbols and strings lie, and how many of each.
struct SymbolTable([u64; 4]);

fn symbol_table(out: &mut Writer, program: &Program, symbols: &Symbols) -> SymbolTable {
    out.pad_to(out.at().next_multiple_of(8));
    let symbols_at = out.at();
    let count = program.functions.len() as u64;
    let strings_at = symbols_at + 16 * count;
    let mut strings = vec![0];
    for function in &program.functions {
        let code = symbols.address(&Word::Function(function.id)).expect("a function of the program");
        out.u32_to(strings.len() as u64, strings_at + strings.len() as u64);
        out.put(&[0x0f, 1, 0, 0]);
        out.u64_to(code, code);
        let name = format!("_function_of_number_{}", function.id);
        strings.extend_from_slice(name.as_bytes());
        strings.push(0);
    }
    out.put(&strings);
    SymbolTable([symbols_at, count, strings_at, strings.len() as u64])
}

fn commands(machine: Machine, sections: &[Section], table: &SymbolTable, signed_at: Option<u64>) -> Vec<u8> {
    let mut out = Writer::default();
    let mut count = 1;
    for group in sections.chunk_by(|a, b| a.segment == b.segment) {
        count += 1;
        segment(&mut out, group);
    }
    out.u32(2);
    out.u32(24);
    table.0.iter().for_each(|number| out.u32(*number));
    if let Some(signed_at) = signed_at {
        count += 1;
        out.u32(0x1d);
        out.u32(16);
        out.u32(signed_at);
        out.u32(0);
    }
    let mut header = Writer::default();
    header.u32(0xfeed_facf);
    header.u32(if machine == Machine::X86 { 0x0100_0007 } else { 0x0100_000c });
    header.u32(3);
    header.u32(2);
    header.u32(count);
    header.u32(out.at());
    header.u32(0);
    header.u32(0);
    header.put(&out.linked.bytes);
    assert!(header.at() <= COMMANDS);
    header.linked.bytes
}

fn segment(out: &mut Writer, sections: &[Section]) {
    let first = &sections[0];
    let text = first.segment == "__TEXT";
    let start = if text { BASE } else { first.address };
    let end = sections.last().map_or(start, |last| last.address + last.size);
    out.u32(0x19);
    out.u32(72 + 80 * sections.len() as u64);
    out.name(first.segment, 16);
    [start, end - start, start - BASE, end - start].iter().for_each(|number| out.u64(*number));
    [7, 3, sections.len() as u64, 0].iter().for_each(|number| out.u32(*number));
    for section in sections {
        out.name(section.name, 16);
        out.name(section.segment, 16);
        out.u64(section.address);
        out.u64(section.size);
        let offset = if section.flags == 1 { 0 } else { section.address - BASE };
        [offset, 4, 0, 0, section.flags, 0, 0, 0].iter().for_each(|number| out.u32(*number));
    }
}

/// Appends a signature with one code directory over everything before it.
fn sign(out: &mut Writer, signature: Signature) {
    let covered = out.linked.bytes.clone();
    let pages = covered.len().div_ceil(PAGE as usize);
    let hashes_at = 88 + 8u32;
    let length = hashes_at + 32 * pages as u32;
    let mut blob = Vec::new();
    for number in [0xfade_0cc0, 12 + 8 + length, 1, 0, 20] {
        blob.extend_from_slice(&u32::to_be_bytes(number));
    }
    for number in [0xfade_0c02, length, 0x2_0400, 2, hashes_at, 88, 0, pages as u32, covered.len() as u32] {
        blob.extend_from_slice(&u32::to_be_bytes(number));
    }
    blob.extend_from_slice(&[32, 2, 0, 12]);
    blob.resize(20 + 88, 0);
    blob.extend_from_slice(b"program\0");
    for page in covered.chunks(PAGE as usize) {
        blob.extend_from_slice(&Sha256::digest(page));
    }
    if signature == Signature::Wrong {
        let at = blob.len() - 32 * pages.div_ceil(2);
        blob[at] ^= 0x10;
    }
    out.put(&blob);
}

pub(super) fn link_fat(program: &Program, signature: Signature) -> Linked {
    let mut out = Writer::default();
    let machines = [Machine::X86, Machine::Arm];
    let slices = machines.map(|machine| link(program, machine, signature));
    let mut at = 0x4000u64;
    let mut header = vec![0xcafe_babe, 2];
    let mut starts = Vec::new();
    for (machine, slice) in machines.into_iter().zip(&slices) {
        let cpu = if machine == Machine::X86 { 0x0100_0007 } else { 0x0100_000c };
        header.extend([cpu, 3, at as u32, slice.bytes.len() as u32, 14]);
        starts.push(at);
        at = (at + slice.bytes.len() as u64).next_multiple_of(0x4000);
    }
    header.iter().for_each(|number: &u32| out.put(&number.to_be_bytes()));
    for (slice, start) in slices.iter().zip(starts) {
        out.pad_to(start);
        out.put(&slice.bytes);
        let moved = |found: &Reference| Reference { offset: found.offset + start, ..*found };
        out.linked.references.extend(slice.references.iter().map(moved));
    }
    out.linked
}
