//! PE32+.

use super::program::{Home, Program, Word};
use super::{Linked, Machine, Symbols, Writer};

const BASE: u64 = 0x1_4000_0000;
const MEMORY: u64 = 0x1000;
const FILE: u64 = 0x200;

struct Section {
    name: &'static str,
    flags: u32,
    address: u64,
    size: u64,
    offset: u64,
    file_size: u64,
}

pub(super) fn link(program: &Program, machine: Machine) -> Linked {
    let mut symbols = Symbols::default();
    let mut sections: Vec<Section> = Vec::new();
    let mut add = |name, flags, in_file: bool, size: &mut dyn FnMut(u64) -> u64| {
        let (address, offset) = match sections.last() {
            None => (BASE + MEMORY, 0x400),
            Some(last) => ((last.address + last.size.max(1)).next_multiple_of(MEMORY), last.offset + last.file_size),
        };
        let size = size(address);
        let file_size = if in_file { size.next_multiple_of(FILE) } else { 0 };
        sections.push(Section { name, flags, address, size, offset, file_size });
    };
    add(".text", 0x6000_0020, true, &mut |at| symbols.place_code(program, machine, at));
    // Read-only data, then one unwind record of 4 bytes a function.
    add(".rdata", 0x4000_0040, true, &mut |at| {
        symbols.place_data(program, Home::ReadOnly, at) + rvas(program).len() as u64 * 4
    });
    add(".data", 0xc000_0040, true, &mut |at| symbols.place_data(program, Home::Data, at));
    add(".bss", 0xc000_0080, false, &mut |at| symbols.place_data(program, Home::Zeros, at));
    let entry = if machine == Machine::X86 { 12 } else { 8 };
    add(".pdata", 0x4000_0040, true, &mut |_| program.functions.len() as u64 * entry);
    write(program, machine, &symbols, &sections)
}

/// Functions that read-only data names by image-relative addresses: a table as of a `switch`, of an even number.
fn rvas(program: &Program) -> Vec<u32> {
    let mut ids: Vec<u32> = program.functions.iter().step_by(3).map(|function| function.id).collect();
    ids.truncate(ids.len() & !1);
    ids
}

fn write(program: &Program, machine: Machine, symbols: &Symbols, sections: &[Section]) -> Linked {
    let mut out = Writer::default();
    header(&mut out, machine, sections);
    for section in sections {
        if section.file_size == 0 {
            continue;
        }
        out.pad_to(section.offset);
        match section.name {
            ".text" => out.code(program, machine, symbols),
            ".rdata" => {
                out.data(program, Home::ReadOnly, symbols, |target| target);
                for id in rvas(program) {
                    let target = symbols.address(&Word::Function(id)).expect("a function of the program");
                    out.u32_to(target - BASE, target);
                }
            }
            ".data" => out.data(program, Home::Data, symbols, |target| target),
            _ => unwind(&mut out, program, machine, symbols, sections[1].address),
        }
        out.pad_to(section.offset + section.file_size);
    }
    out.linked
}

fn header(out: &mut Writer, machine: Machine, sections: &[Section]) {
    out.put(b"MZ");
    out.pad_to(0x3c);
    out.u32(0x80);
    out.pad_to(0x80);
    out.put(b"PE\0\0");
    out.u16(if machine == Machine::X86 { 0x8664 } else { 0xaa64 });
    out.u16(sections.len() as u16);
    out.pad_to(0x80 + 20);
    out.u16(240);
    out.u16(0x22);
    let optional = out.at();
    out.u16(0x20b);
    out.pad_to(optional + 24);
    out.u64(BASE);
    out.u32(MEMORY);
    out.u32(FILE);
    out.pad_to(optional + 240);
    for section in sections {
        out.name(section.name, 8);
        let numbers = [section.size, section.address - BASE, section.file_size, section.offset, 0, 0, 0];
        numbers.iter().for_each(|number| out.u32(*number));
        out.u32(u64::from(section.flags));
    }
}

/// Where each function begins, and where it ends and how it is unwound, or how long it is.
fn unwind(out: &mut Writer, program: &Program, machine: Machine, symbols: &Symbols, records: u64) {
    for function in &program.functions {
        let begin = symbols.functions[&function.id];
        out.u32_to(begin - BASE, begin);
        let length = super::code::length(function, machine);
        if machine == Machine::X86 {
            out.u32_to(begin + length - BASE, begin + length);
            out.u32_to(records - BASE, records);
        } else {
            out.u32(length << 18 | 0x8000_0001);
        }
    }
}
