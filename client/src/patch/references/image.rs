//! Executable images within old or new bytes: where their sections lie in the file and in memory.
//!
//! A parser takes what it can check and gives up on the image otherwise: an image that is not found costs patch bytes,
//! never correctness. Nothing here is trusted: every length is checked against the bytes there are.

mod elf;
mod macho;
mod pe;

use std::ops::Range;

/// Most sections an image may have.
pub const SECTIONS_MAX: usize = 256;
/// Most images within the bytes of one unit.
pub const IMAGES_MAX: usize = 256;

/// The instruction set of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// AMD64.
    X86,
    /// AArch64.
    Arm,
}

/// What a section holds, as far as references are looked for in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// Nothing that is looked at.
    Other,
    /// Machine code.
    Code,
    /// Addresses of 8 bytes, aligned, among other data.
    Pointers,
    /// The same, and image-relative addresses of 4 bytes (PE `.rdata`).
    PointersAndRvas,
    /// Image-relative addresses of 4 bytes, all of it (PE `.pdata`).
    Rvas,
    /// ELF relocations with addends.
    Relocations,
    /// Call frame records (`.eh_frame`).
    Frames,
    /// The search table over them (`.eh_frame_hdr`).
    FrameTable,
    /// Mach-O pointers, with or without chained fixups.
    ChainedPointers,
    /// Mach-O `nlist_64` records.
    Symbols,
    /// Mach-O code-relative offsets of 4 bytes, all of it (`__unwind_info`).
    CodeOffsets,
}

impl Contents {
    const ALL: [Self; 11] = [
        Self::Other,
        Self::Code,
        Self::Pointers,
        Self::PointersAndRvas,
        Self::Rvas,
        Self::Relocations,
        Self::Frames,
        Self::FrameTable,
        Self::ChainedPointers,
        Self::Symbols,
        Self::CodeOffsets,
    ];

    /// The number that stands for it in a patch.
    pub fn number(self) -> u64 {
        Self::ALL.iter().position(|contents| *contents == self).unwrap_or(0) as u64
    }

    /// The contents of a number.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }
}

/// A stretch of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// Where it lies in memory.
    pub address: u64,
    /// Bytes in memory.
    pub size: u64,
    /// Where its bytes lie among those of the unit.
    pub offset: u64,
    /// How many bytes the file has of it; the rest of `size` is zeros.
    pub file_size: u64,
    /// What it holds.
    pub contents: Contents,
}

impl Section {
    /// Its bytes within those of the unit.
    pub const fn file_range(&self) -> Range<u64> {
        self.offset..self.offset + self.file_size
    }

    const fn holds_address(&self, address: u64) -> bool {
        address >= self.address && address - self.address < self.size
    }
}

/// An executable or library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its instruction set.
    pub machine: Machine,
    /// Address its relative addresses count from.
    pub base: u64,
    /// Its bytes within those of the unit.
    pub range: Range<u64>,
    /// Its sections, in the order of the file's table.
    pub sections: Vec<Section>,
    /// Names of the sections, as the file spells them; empty where an image was read from a patch.
    pub names: Vec<String>,
    /// Where the string table of its symbols begins, where references to it are known.
    pub strings: u64,
}

impl Image {
    /// The images in `bytes`, which begin at `start` of the unit; none in what is no executable.
    pub fn find(bytes: &[u8], start: u64) -> Vec<Self> {
        let found = match bytes {
            [0x7f, b'E', b'L', b'F', 2, 1, ..] => elf::parse(bytes).into_iter().collect(),
            [b'M', b'Z', ..] => pe::parse(bytes).into_iter().collect(),
            _ => macho::parse(bytes),
        };
        let mut images: Vec<Self> = found.into_iter().filter_map(|image| image.checked(bytes.len() as u64)).collect();
        // A fat file may list its slices in any order, and name the same bytes twice.
        images.sort_by_key(|image| (image.range.start, image.range.end));
        let mut end = 0;
        images.retain(|image| {
            let apart = image.range.start >= end;
            if apart {
                end = image.range.end;
            }
            apart
        });
        images.into_iter().map(|image| image.moved(start)).collect()
    }

    /// The image, if its sections lie within its bytes and within 4 GiB of memory, and few of them overlap.
    fn checked(mut self, length: u64) -> Option<Self> {
        let within = |section: &Section| {
            let end = section.offset.checked_add(section.file_size);
            let in_file = section.file_size == 0 || section.offset >= self.range.start;
            in_file
                && end.is_some_and(|end| end <= self.range.end)
                && section.address.checked_add(section.size).is_some()
        };
        let whole = self.range.start <= self.range.end && self.range.end <= length && self.sections.iter().all(within);
        self.sections.truncate(SECTIONS_MAX);
        self.names.truncate(SECTIONS_MAX);
        // Every section is scanned: were all of them the whole file, that would take 256 times as long.
        let scanned: u64 = self.sections.iter().filter(|_| whole).map(|section| section.file_size).sum();
        let whole = whole && scanned <= 2 * (self.range.end - self.range.start);
        (whole && !self.sections.is_empty() && self.span().is_some()).then_some(self)
    }

    fn moved(mut self, start: u64) -> Self {
        self.range = self.range.start + start..self.range.end + start;
        self.sections.iter_mut().for_each(|section| section.offset += start);
        self.strings += start;
        self
    }

    /// Lowest address and bytes from there to the highest, of what lies in memory; none where that is more than 4 GiB.
    pub fn span(&self) -> Option<(u64, u32)> {
        let in_memory = || self.sections.iter().filter(|section| section.size > 0);
        let low = in_memory().map(|section| section.address).min()?;
        let high = in_memory().filter_map(|section| section.address.checked_add(section.size)).max()?;
        Some((low, u32::try_from(high.checked_sub(low)?).ok()?))
    }

    /// Where the file has the byte at `address`, within the unit's bytes.
    pub fn offset_of(&self, address: u64) -> Option<u64> {
        let section = &self.sections[self.section_at(address)?];
        let into = address - section.address;
        (into < section.file_size).then(|| section.offset + into)
    }

    /// The address of a byte of the unit.
    pub fn address_of(&self, offset: u64) -> Option<u64> {
        let section = self.sections.iter().find(|section| section.file_range().contains(&offset))?;
        let into = offset - section.offset;
        (into < section.size).then(|| section.address + into)
    }

    /// The first section that holds `address`.
    pub fn section_at(&self, address: u64) -> Option<usize> {
        self.sections.iter().position(|section| section.holds_address(address))
    }
}

/// The image that holds byte `offset` of the unit.
pub fn image_at(images: &[Image], offset: u64) -> Option<usize> {
    images.iter().position(|image| image.range.contains(&offset))
}

/// Reads numbers from untrusted bytes.
#[derive(Clone, Copy)]
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn array<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..)?.first_chunk().copied()
    }

    fn u16(self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    fn u32(self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    fn u32_big(self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_be_bytes)
    }

    fn u64(self, at: usize) -> Option<u64> {
        self.array(at).map(u64::from_le_bytes)
    }

    /// A `u32` as a place in the bytes.
    fn place(self, at: usize) -> Option<usize> {
        self.u32(at).and_then(|value| usize::try_from(value).ok())
    }

    /// Text of at most `length` bytes, up to the first zero.
    fn name(self, at: usize, length: usize) -> Option<String> {
        let end = at.saturating_add(length).min(self.0.len());
        let bytes = self.0.get(at..end)?;
        let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        Some(String::from_utf8_lossy(text).into_owned())
    }
}
