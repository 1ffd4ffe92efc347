//! Mach-O, 64 bits, alone or in a fat file (Apple's `mach-o/loader.h`, `fat.h`, `nlist.h`).

use super::{Contents, Fields, Image, Machine, Section};

const MAGIC: u32 = 0xfeed_facf;
const FAT_MAGIC: u32 = 0xcafe_babe;
const SLICES_MAX: u32 = 8;
const COMMANDS_MAX: u32 = 4096;
const SEGMENT_64: u32 = 0x19;
const SYMBOL_TABLE: u32 = 2;
const NLIST_BYTES: u64 = 16;
const INSTRUCTIONS: u32 = 0x8000_0400;

pub(super) fn parse(bytes: &[u8]) -> Vec<Image> {
    let fields = Fields(bytes);
    if fields.u32(0) == Some(MAGIC) {
        return slice(bytes, 0, bytes.len()).into_iter().collect();
    }
    if fields.u32_big(0) != Some(FAT_MAGIC) {
        return Vec::new();
    }
    // A Java class file has the same magic, and a version above any number of slices here.
    let count = fields.u32_big(4).filter(|count| *count <= SLICES_MAX).unwrap_or(0);
    let found = (0..count as usize).filter_map(|index| {
        let at = 8 + index * 20;
        let (offset, size) = (fields.u32_big(at + 8)? as usize, fields.u32_big(at + 12)? as usize);
        slice(bytes, offset, offset.checked_add(size)?)
    });
    found.collect()
}

/// The image in `start..end` of a file.
fn slice(file: &[u8], start: usize, end: usize) -> Option<Image> {
    let fields = Fields(file.get(start..end)?);
    if fields.u32(0)? != MAGIC {
        return None;
    }
    let machine = match fields.u32(4)? {
        0x0100_0007 => Machine::X86,
        0x0100_000c => Machine::Arm,
        _ => return None,
    };
    let mut image = Image {
        machine,
        base: 0,
        range: start as u64..end as u64,
        sections: Vec::new(),
        names: Vec::new(),
        strings: start as u64,
    };
    let mut at = 32usize;
    for _ in 0..fields.u32(16)?.min(COMMANDS_MAX) {
        let (command, size) = (fields.u32(at)?, fields.place(at + 4)?);
        match command {
            SEGMENT_64 => segment(fields, at, start as u64, &mut image)?,
            SYMBOL_TABLE => symbols(fields, at, start as u64, &mut image)?,
            _ => {}
        }
        at = at.checked_add(size.max(8))?;
    }
    Some(image)
}

fn segment(fields: Fields<'_>, at: usize, start: u64, image: &mut Image) -> Option<()> {
    let segment = fields.name(at + 8, 16)?;
    if segment == "__TEXT" {
        image.base = fields.u64(at + 24)?;
    }
    let room = super::SECTIONS_MAX - image.sections.len().min(super::SECTIONS_MAX);
    for index in 0..fields.place(at + 64)?.min(room) {
        let at = at + 72 + index * 80;
        let flags = fields.u32(at + 64)?;
        let zero_filled = matches!(flags & 0xff, 1 | 12);
        let size = fields.u64(at + 40)?;
        let name = fields.name(at, 16)?;
        image.sections.push(Section {
            address: fields.u64(at + 32)?,
            size,
            offset: start + u64::from(fields.u32(at + 48)?),
            file_size: if zero_filled { 0 } else { size },
            contents: contents_of(&segment, &name, flags),
        });
        image.names.push(format!("{segment}.{name}"));
    }
    Some(())
}

fn contents_of(segment: &str, name: &str, flags: u32) -> Contents {
    match name {
        _ if flags & INSTRUCTIONS != 0 => Contents::Code,
        "__eh_frame" => Contents::Frames,
        "__unwind_info" => Contents::CodeOffsets,
        _ if segment.starts_with("__DATA") => Contents::ChainedPointers,
        _ => Contents::Other,
    }
}

/// The symbol table as a section without memory, as it has no address.
fn symbols(fields: Fields<'_>, at: usize, start: u64, image: &mut Image) -> Option<()> {
    let (offset, count) = (u64::from(fields.u32(at + 8)?), u64::from(fields.u32(at + 12)?));
    let size = count * NLIST_BYTES;
    image.strings = start + u64::from(fields.u32(at + 16)?);
    image.sections.push(Section {
        address: 0,
        size: 0,
        offset: start + offset,
        file_size: size,
        contents: Contents::Symbols,
    });
    image.names.push("symbols".into());
    Some(())
}
