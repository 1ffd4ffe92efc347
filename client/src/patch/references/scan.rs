//! Finds the references in an image: operands that name an address, and so change where code moves.
//!
//! A linear, heuristic scan without a disassembler: what it takes for a reference and is none costs patch bytes, as does
//! what it misses. Publisher and client run the same scan over the same old bytes, so it may not depend on anything
//! else: sections are cut into chunks of a fixed size that are scanned side by side, and what overlaps the reference
//! before it is dropped.
//!
//! Time is linear in the sections' bytes; memory is bounded by [`REFERENCES_MAX`].

mod arm;
mod tables;
mod x86;

use rayon::prelude::*;

pub(super) use x86::operand as x86_operand;

use super::image::{Contents, Image, Machine};
use super::operand::{Kind, Place, word_at};

/// Most references of one unit; those behind are left to plain copies.
pub const REFERENCES_MAX: usize = 1 << 22;
/// Bytes of code that are scanned at once.
const CHUNK_BYTES: usize = 256 << 10;

/// A reference: an operand in the unit's bytes, and what it points to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Where the operand lies in the unit's bytes.
    pub offset: u32,
    /// Its target: from the lowest address of the image, or from its first byte for an offset in the file.
    pub target: u32,
    /// How it is encoded.
    pub kind: Kind,
}

/// The references of all images in `bytes` of a unit, in order, without overlap.
///
/// `bytes` has less than 4 GiB.
pub fn scan(bytes: &[u8], images: &[Image]) -> Vec<Found> {
    let mut jobs = Vec::new();
    for image in images {
        let Some(reach) = Reach::new(image) else { continue };
        for section in 0..image.sections.len() {
            jobs.extend(Job::of_section(bytes, image, reach.clone(), section));
        }
    }
    let parts: Vec<Vec<Found>> = jobs.par_iter().map(Job::run).collect();
    let mut all = Vec::with_capacity(parts.iter().map(Vec::len).sum());
    // One after the other, so that each part's memory is free for the next steps.
    parts.into_iter().for_each(|part| all.extend(part));
    if !all.is_sorted_by_key(|found| found.offset) {
        all.sort_by_key(|found| found.offset);
    }
    let mut end = 0;
    all.retain(|found| {
        let free = found.offset >= end;
        if free {
            end = found.offset.saturating_add(found.kind.length() as u32);
        }
        free
    });
    all.truncate(REFERENCES_MAX);
    all
}

/// Which addresses an image has.
#[derive(Clone)]
pub(super) struct Reach {
    low: u64,
    code: Vec<(u64, u64)>,
    all: Vec<(u64, u64)>,
}

impl Reach {
    pub(super) fn new(image: &Image) -> Option<Self> {
        let (low, _) = image.span()?;
        let ranges = |code_only: bool| {
            let sections = image.sections.iter().filter(|section| section.size > 0);
            let chosen = sections.filter(|section| !code_only || section.contents == Contents::Code);
            chosen.map(|section| (section.address, section.size)).collect()
        };
        Some(Self { low, code: ranges(true), all: ranges(false) })
    }

    fn in_code(&self, address: u64) -> bool {
        self.code.iter().any(|(start, size)| address.wrapping_sub(*start) < *size)
    }

    fn in_image(&self, address: u64) -> bool {
        self.all.iter().any(|(start, size)| address.wrapping_sub(*start) < *size)
    }
}

/// A part of one section.
struct Job<'a> {
    image: &'a Image,
    reach: Reach,
    section: usize,
    /// Bytes of the whole section.
    bytes: &'a [u8],
    /// Where in it the scan starts, and where it starts no more.
    from: usize,
    to: usize,
}

impl<'a> Job<'a> {
    fn of_section(unit: &'a [u8], image: &'a Image, reach: Reach, section: usize) -> Vec<Self> {
        let found = &image.sections[section];
        let range = found.file_range();
        let bytes = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
        let Some(bytes) = bytes.and_then(|(start, end)| unit.get(start..end)) else { return Vec::new() };
        let step = if found.contents == Contents::Code { CHUNK_BYTES } else { bytes.len().max(1) };
        let job = |from| Self { image, reach: reach.clone(), section, bytes, from, to: bytes.len().min(from + step) };
        if found.contents == Contents::Other { Vec::new() } else { (0..bytes.len()).step_by(step).map(job).collect() }
    }

    fn run(&self) -> Vec<Found> {
        let section = &self.image.sections[self.section];
        let mut finds = Finds {
            bytes: self.bytes,
            reach: &self.reach,
            offset: section.offset,
            address: section.address,
            base: self.image.base,
            strings: self.image.strings,
            file: self.image.range.clone(),
            found: Vec::new(),
        };
        match (section.contents, self.image.machine) {
            (Contents::Code, Machine::X86) => x86::scan(&mut finds, self.from, self.to),
            (Contents::Code, Machine::Arm) => arm::scan(&mut finds, self.from, self.to),
            (contents, _) => tables::scan(&mut finds, contents),
        }
        finds.found
    }
}

/// What is found in one section.
struct Finds<'a> {
    bytes: &'a [u8],
    reach: &'a Reach,
    /// Where the section lies in the unit.
    offset: u64,
    address: u64,
    base: u64,
    strings: u64,
    file: std::ops::Range<u64>,
    found: Vec<Found>,
}

impl Finds<'_> {
    fn place(&self, at: usize) -> Place {
        Place {
            address: self.address.wrapping_add(at as u64),
            section: self.address,
            base: self.base,
            strings: self.strings,
        }
    }

    /// Where an operand of `kind` at `at` of the section points to.
    fn target(&self, at: usize, kind: Kind) -> Option<u64> {
        kind.target(word_at(self.bytes, at, kind.length()), self.place(at))
    }

    /// Takes the operand if it points into code; says so.
    fn take_code(&mut self, at: usize, kind: Kind) -> bool {
        match self.target(at, kind) {
            Some(target) if at + kind.length() <= self.bytes.len() && self.reach.in_code(target) => {
                self.push(at, kind, target)
            }
            _ => false,
        }
    }

    /// Takes the operand if it points into the image; says so.
    fn take_any(&mut self, at: usize, kind: Kind) -> bool {
        match self.target(at, kind) {
            Some(target) if at + kind.length() <= self.bytes.len() && self.reach.in_image(target) => {
                self.push(at, kind, target)
            }
            _ => false,
        }
    }

    /// Takes an operand whose target is known to lie within the image's span.
    fn push(&mut self, at: usize, kind: Kind, target: u64) -> bool {
        let from = if kind.is_file_offset() { self.file.start } else { self.reach.low };
        let target = u32::try_from(target.wrapping_sub(from));
        let offset = u32::try_from(self.offset + at as u64);
        match (offset, target) {
            (Ok(offset), Ok(target)) => {
                self.found.push(Found { offset, target, kind });
                true
            }
            _ => false,
        }
    }
}
