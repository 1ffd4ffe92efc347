//! A small linker: one model program as an executable of any format and machine that references are predicted in, with
//! a list of the references it wrote.

// Each test file takes what it needs.
#![allow(dead_code, unreachable_pub)]

mod code;
mod elf;
mod macho;
mod pe;
pub mod program;

use std::collections::BTreeMap;

pub use macho::Signature;
use program::{Home, Program, Word};

/// An instruction set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    X86,
    Arm,
}

/// What to link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Pe(Machine),
    Elf(Machine),
    MachO(Machine, Signature),
    /// Both machines.
    Fat(Signature),
}

/// Every format, unsigned.
pub const FORMATS: [Format; 7] = [
    Format::Pe(Machine::X86),
    Format::Pe(Machine::Arm),
    Format::Elf(Machine::X86),
    Format::Elf(Machine::Arm),
    Format::MachO(Machine::X86, Signature::None),
    Format::MachO(Machine::Arm, Signature::None),
    Format::Fat(Signature::None),
];

/// A reference the linker wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// Where its operand lies in the file.
    pub offset: u64,
    /// The address, or the place in the file, that it names.
    pub target: u64,
}

/// An executable.
#[derive(Debug, Clone, Default)]
pub struct Linked {
    pub bytes: Vec<u8>,
    pub references: Vec<Reference>,
}

/// Links `program`.
pub fn link(program: &Program, format: Format) -> Linked {
    match format {
        Format::Pe(machine) => pe::link(program, machine),
        Format::Elf(machine) => elf::link(program, machine),
        Format::MachO(machine, signature) => macho::link(program, machine, signature),
        Format::Fat(signature) => macho::link_fat(program, signature),
    }
}

/// Addresses of everything that has a name.
#[derive(Debug, Default)]
struct Symbols {
    functions: BTreeMap<u32, u64>,
    data: BTreeMap<u32, u64>,
}

impl Symbols {
    fn address(&self, word: &Word) -> Option<u64> {
        match word {
            Word::Raw(_) => None,
            Word::Function(id) => self.functions.get(id).copied(),
            Word::Datum(id) => self.data.get(id).copied(),
        }
    }

    /// Names the functions of a code section and gives its bytes' number.
    fn place_code(&mut self, program: &Program, machine: Machine, start: u64) -> u64 {
        let mut at = start;
        for function in &program.functions {
            self.functions.insert(function.id, at);
            at = (at + code::length(function, machine)).next_multiple_of(16);
        }
        at - start
    }

    /// Names the data of one section and gives its bytes' number.
    fn place_data(&mut self, program: &Program, home: Home, start: u64) -> u64 {
        let mut at = start;
        for datum in program.data.iter().filter(|datum| datum.home == home) {
            self.data.insert(datum.id, at);
            at += 8 * datum.words.len() as u64;
        }
        at - start
    }
}

/// A file being written, and the references in it.
#[derive(Debug, Default)]
struct Writer {
    linked: Linked,
}

impl Writer {
    fn at(&self) -> u64 {
        self.linked.bytes.len() as u64
    }

    fn put(&mut self, bytes: &[u8]) {
        self.linked.bytes.extend_from_slice(bytes);
    }

    fn u16(&mut self, value: u16) {
        self.put(&value.to_le_bytes());
    }

    fn u32(&mut self, value: u64) {
        self.put(&(value as u32).to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }

    fn name(&mut self, name: &str, length: usize) {
        let mut bytes = name.as_bytes().to_vec();
        bytes.resize(length, 0);
        self.put(&bytes);
    }

    fn pad_to(&mut self, at: u64) {
        assert!(self.at() <= at, "{} bytes are beyond {at}", self.at());
        self.linked.bytes.resize(at as usize, 0);
    }

    /// Takes note that what is written next names `target`.
    fn refer(&mut self, target: u64) {
        let offset = self.at();
        self.linked.references.push(Reference { offset, target });
    }

    /// A reference of 4 bytes.
    fn u32_to(&mut self, value: u64, target: u64) {
        self.refer(target);
        self.u32(value);
    }

    /// A reference of 8 bytes.
    fn u64_to(&mut self, value: u64, target: u64) {
        self.refer(target);
        self.u64(value);
    }

    fn code(&mut self, program: &Program, machine: Machine, symbols: &Symbols) {
        for function in &program.functions {
            let end = self.at().next_multiple_of(16);
            self.linked.bytes.resize(end as usize, if machine == Machine::X86 { 0xcc } else { 0 });
            code::write(self, function, machine, symbols);
        }
        self.pad_to(self.at().next_multiple_of(16));
    }

    /// The data of one section; `encode` says how a pointer is written.
    fn data(&mut self, program: &Program, home: Home, symbols: &Symbols, encode: impl Fn(u64) -> u64) {
        for word in program.data.iter().filter(|datum| datum.home == home).flat_map(|datum| &datum.words) {
            match (word, symbols.address(word)) {
                (_, Some(target)) => self.u64_to(encode(target), target),
                (Word::Raw(value), _) => self.u64(*value),
                _ => self.u64(0),
            }
        }
    }
}
