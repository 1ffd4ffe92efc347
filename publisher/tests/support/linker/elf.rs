//! ELF, 64 bits.

use super::program::{Home, Program, Word};
use super::{Linked, Machine, Symbols, Writer};

const BASE: u64 = 0x20_0000;
const ALLOCATED: u64 = 2;
const EXECUTABLE: u64 = 4;
const FDE_BYTES: u64 = 24;
const CIE_BYTES: u64 = 24;

struct Section {
    name: &'static str,
    kind: u64,
    flags: u64,
    address: u64,
    size: u64,
}

pub(super) fn link(program: &Program, machine: Machine) -> Linked {
    let mut symbols = Symbols::default();
    let functions = program.functions.len() as u64;
    let mut sections: Vec<Section> = Vec::new();
    let mut add = |name, kind, flags, size: &mut dyn FnMut(u64) -> u64| {
        let at =
            sections.last().map_or(BASE + 0x1000, |last: &Section| (last.address + last.size).next_multiple_of(64));
        sections.push(Section { name, kind, flags: flags | ALLOCATED, address: at, size: size(at) });
    };
    add(".rodata", 1, 0, &mut |at| symbols.place_data(program, Home::ReadOnly, at));
    add(".eh_frame_hdr", 1, 0, &mut |_| 12 + 8 * functions);
    add(".eh_frame", 1, 0, &mut |_| CIE_BYTES + FDE_BYTES * functions + 4);
    add(".text", 1, EXECUTABLE, &mut |at| symbols.place_code(program, machine, at));
    add(".data", 1, 1, &mut |at| symbols.place_data(program, Home::Data, at));
    let words = program.data.iter().filter(|datum| datum.home != Home::Zeros).flat_map(|datum| &datum.words);
    let relocated = words.filter(|word| !matches!(word, Word::Raw(_))).count();
    add(".rela.dyn", 4, 0, &mut |_| 24 * relocated as u64);
    add(".bss", 8, 1, &mut |at| symbols.place_data(program, Home::Zeros, at));
    write(program, machine, &symbols, &sections)
}

/// Address and target of every pointer of a section.
fn pointers(program: &Program, symbols: &Symbols, home: Home) -> Vec<(u64, u64)> {
    let data = program.data.iter().filter(|datum| datum.home == home);
    let words = data.flat_map(|datum| {
        let start = symbols.data[&datum.id];
        datum.words.iter().enumerate().map(move |(index, word)| (start + 8 * index as u64, word))
    });
    words.filter_map(|(at, word): (u64, &Word)| Some((at, symbols.address(word)?))).collect()
}

fn write(program: &Program, machine: Machine, symbols: &Symbols, sections: &[Section]) -> Linked {
    let mut out = Writer::default();
    out.put(b"\x7fELF\x02\x01\x01");
    out.pad_to(16);
    out.u16(3);
    out.u16(if machine == Machine::X86 { 62 } else { 183 });
    out.pad_to(64);
    let (header, frames) = (sections[1].address, sections[2].address);
    for section in sections.iter().filter(|section| section.kind != 8) {
        out.pad_to(section.address - BASE);
        match section.name {
            ".rodata" => out.data(program, Home::ReadOnly, symbols, |target| target),
            ".eh_frame_hdr" => frame_header(&mut out, program, symbols, header, frames),
            ".eh_frame" => frame_records(&mut out, program, machine, symbols, frames),
            ".text" => out.code(program, machine, symbols),
            ".data" => out.data(program, Home::Data, symbols, |target| target),
            _ => {
                for home in [Home::ReadOnly, Home::Data] {
                    for (at, target) in pointers(program, symbols, home) {
                        out.u64_to(at, at);
                        out.u64(8);
                        out.u64_to(target, target);
                    }
                }
            }
        }
    }
    section_table(out, sections)
}

fn frame_header(out: &mut Writer, program: &Program, symbols: &Symbols, header: u64, frames: u64) {
    out.put(&[1, 0x1b, 3, 0x3b]);
    out.u32(frames.wrapping_sub(header + 4));
    out.u32(program.functions.len() as u64);
    for (index, function) in program.functions.iter().enumerate() {
        let code = symbols.functions[&function.id];
        let record = frames + CIE_BYTES + FDE_BYTES * index as u64;
        out.u32_to(code.wrapping_sub(header), code);
        out.u32_to(record.wrapping_sub(header), record);
    }
}

fn frame_records(out: &mut Writer, program: &Program, machine: Machine, symbols: &Symbols, frames: u64) {
    let start = out.at();
    out.u32(CIE_BYTES - 4);
    out.u32(0);
    out.put(b"\x01zR\0\x01\x78\x10\x01\x1b\x0c\x07\x08\x90\x01\0\0");
    for function in &program.functions {
        let code = symbols.functions[&function.id];
        let into = out.at() - start;
        out.u32(FDE_BYTES - 4);
        out.u32(into + 4);
        out.u32_to(code.wrapping_sub(frames + into + 8), code);
        out.u32(super::code::length(function, machine));
        out.put(b"\0\x41\x0e\x10\x86\x02\x43\x0d");
    }
    out.u32(0);
}

fn section_table(mut out: Writer, sections: &[Section]) -> Linked {
    let names_at = out.at();
    let mut names = vec![0];
    let mut starts = Vec::new();
    for name in sections.iter().map(|section| section.name).chain([".shstrtab"]) {
        starts.push(names.len() as u64);
        names.extend_from_slice(name.as_bytes());
        names.push(0);
    }
    out.put(&names);
    let table = out.at().next_multiple_of(8);
    out.pad_to(table + 64);
    for (section, name) in sections.iter().zip(&starts) {
        out.u32(*name);
        out.u32(section.kind);
        // What has no bytes lies where the ones before it end.
        let offset = if section.kind == 8 { names_at } else { section.address - BASE };
        [section.flags, section.address, offset, section.size, 0, 8, 0].iter().for_each(|number| out.u64(*number));
    }
    out.u32(starts[sections.len()]);
    out.u32(3);
    [0, 0, names_at, names.len() as u64, 0, 1, 0].iter().for_each(|number| out.u64(*number));
    let count = sections.len() as u16 + 2;
    out.linked.bytes[40..48].copy_from_slice(&table.to_le_bytes());
    out.linked.bytes[58..60].copy_from_slice(&64u16.to_le_bytes());
    out.linked.bytes[60..62].copy_from_slice(&count.to_le_bytes());
    out.linked.bytes[62..64].copy_from_slice(&(count - 1).to_le_bytes());
    out.linked
}
