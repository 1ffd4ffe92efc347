//! Operands: the bits of an instruction or a table entry that name an address, and how an address becomes such bits.
//!
//! | kind | bytes | where the operand points to |
//! | --- | --- | --- |
//! | relative | 4 | its own place + signed operand |
//! | relative, 0, 1 or 4 bytes of the instruction after it | 4 | the end of the instruction + signed operand (x86-64) |
//! | image-relative | 4 | base + operand |
//! | absolute | 8 | operand |
//! | section-relative | 4 | start of the section + signed operand (`.eh_frame_hdr`) |
//! | pointer, with or without base | 8 | low 36 bits (+ base); the others are kept (Mach-O fixups) |
//! | branch 26 | 4 | place + 4 × bits 0–25, signed (`B`, `BL`) |
//! | branch 19 | 4 | place + 4 × bits 5–23, signed (`B.cond`, `CBZ`, `LDR` literal) |
//! | page 21 | 4 | page of the place + 4096 × (bits 5–23, 29–30), signed (`ADRP`) |
//! | low 12, scaled by 0 to 4 bits | 4 | bits 10–21 are the low 12 bits of the target, shifted right (`ADD`, `LDR`, `STR`) |
//! | code offset | 4 | base + low 24 bits or all bits (`__unwind_info`) |
//! | string | 4 | operand bytes into the string table: a place in the file, not in memory |
//!
//! Encodings: *Intel 64 Software Developer's Manual*, volume 2, 2.2.1.6; *Arm Architecture Reference Manual*, C6.2.

/// What kind of operand a reference has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Kind {
    Relative = 0,
    Relative0,
    Relative1,
    Relative4,
    ImageRelative,
    Absolute,
    SectionRelative,
    Pointer,
    PointerFromBase,
    Branch26,
    Branch19,
    Page21,
    Low12Scale0,
    Low12Scale1,
    Low12Scale2,
    Low12Scale3,
    Low12Scale4,
    CodeOffset,
    String,
}

/// How many kinds there are.
pub const KINDS: usize = 19;

const ALL: [Kind; KINDS] = [
    Kind::Relative,
    Kind::Relative0,
    Kind::Relative1,
    Kind::Relative4,
    Kind::ImageRelative,
    Kind::Absolute,
    Kind::SectionRelative,
    Kind::Pointer,
    Kind::PointerFromBase,
    Kind::Branch26,
    Kind::Branch19,
    Kind::Page21,
    Kind::Low12Scale0,
    Kind::Low12Scale1,
    Kind::Low12Scale2,
    Kind::Low12Scale3,
    Kind::Low12Scale4,
    Kind::CodeOffset,
    Kind::String,
];

const POINTER_BITS: u64 = 0xf_ffff_ffff;
const CODE_OFFSET_BITS: u64 = 0xff_ffff;

/// Where an operand stands, as far as its meaning depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Address of its first byte.
    pub address: u64,
    /// Address of the section it lies in.
    pub section: u64,
    /// Base of its image.
    pub base: u64,
    /// Where the string table of its image lies in the file.
    pub strings: u64,
}

impl Kind {
    /// The low-12 kind of an access of `1 << scale` bytes.
    pub const fn low12(scale: u32) -> Self {
        match scale {
            0 => Self::Low12Scale0,
            1 => Self::Low12Scale1,
            2 => Self::Low12Scale2,
            3 => Self::Low12Scale3,
            _ => Self::Low12Scale4,
        }
    }

    /// The kind with this number.
    pub fn from_index(index: u8) -> Self {
        ALL.get(usize::from(index)).copied().unwrap_or(Self::Relative)
    }

    /// Bytes that hold the operand: 4 or 8.
    pub const fn length(self) -> usize {
        match self {
            Self::Absolute | Self::Pointer | Self::PointerFromBase => 8,
            _ => 4,
        }
    }

    /// Whether its target is an offset in the file, and not an address.
    pub const fn is_file_offset(self) -> bool {
        matches!(self, Self::String)
    }

    /// Bytes of the instruction from the operand's first to its end.
    pub(super) const fn to_end(self) -> u64 {
        match self {
            Self::Relative0 => 4,
            Self::Relative1 => 5,
            Self::Relative4 => 8,
            _ => 0,
        }
    }

    const fn scale(self) -> u32 {
        (self as u8).saturating_sub(Self::Low12Scale0 as u8) as u32
    }

    /// `word` with its operand made to point to `target`. `word` holds [`Self::length`] bytes, the lowest first.
    pub const fn point(self, word: u64, at: Place, target: u64) -> u64 {
        let distance = target.wrapping_sub(at.address);
        match self {
            Self::Relative | Self::Relative0 | Self::Relative1 | Self::Relative4 => {
                distance.wrapping_sub(self.to_end()) as u32 as u64
            }
            Self::ImageRelative => target.wrapping_sub(at.base) as u32 as u64,
            Self::Absolute => target,
            Self::SectionRelative => target.wrapping_sub(at.section) as u32 as u64,
            Self::Pointer => (word & !POINTER_BITS) | (target & POINTER_BITS),
            Self::PointerFromBase => (word & !POINTER_BITS) | (target.wrapping_sub(at.base) & POINTER_BITS),
            Self::Branch26 => (word & 0xfc00_0000) | ((distance >> 2) & 0x03ff_ffff),
            Self::Branch19 => (word & !(0x7_ffff << 5)) | ((distance >> 2) & 0x7_ffff) << 5,
            Self::Page21 => {
                let pages = (target >> 12).wrapping_sub(at.address >> 12);
                (word & !0x60ff_ffe0) | (pages & 3) << 29 | ((pages >> 2) & 0x7_ffff) << 5
            }
            Self::CodeOffset => (word & !CODE_OFFSET_BITS) | (target.wrapping_sub(at.base) & CODE_OFFSET_BITS),
            Self::String => target.wrapping_sub(at.strings) as u32 as u64,
            _ => (word & !(0xfff << 10)) | (((target & 0xfff) >> self.scale()) & 0xfff) << 10,
        }
    }

    /// Where the operand in `word` points to; of *page 21* and *low 12* only a part is known, so there is no answer.
    pub const fn target(self, word: u64, at: Place) -> Option<u64> {
        let signed = word as u32 as i32 as i64 as u64;
        Some(match self {
            Self::Relative | Self::Relative0 | Self::Relative1 | Self::Relative4 => {
                at.address.wrapping_add(self.to_end()).wrapping_add(signed)
            }
            Self::ImageRelative => at.base.wrapping_add(word as u32 as u64),
            Self::Absolute => word,
            Self::SectionRelative => at.section.wrapping_add(signed),
            Self::Pointer => word & POINTER_BITS,
            Self::PointerFromBase => at.base.wrapping_add(word & POINTER_BITS),
            Self::Branch26 => at.address.wrapping_add((((word as u32) << 6) as i32 >> 4) as i64 as u64),
            Self::Branch19 => at.address.wrapping_add((((word as u32) << 8) as i32 >> 11) as i64 as u64 & !3),
            Self::CodeOffset => at.base.wrapping_add(word & CODE_OFFSET_BITS),
            Self::String => at.strings.wrapping_add(word as u32 as u64),
            _ => return None,
        })
    }

    /// Address of the page an `ADRP` points to.
    pub const fn page(word: u64, at: Place) -> u64 {
        let bits = ((word >> 5 & 0x7_ffff) << 2 | (word >> 29 & 3)) as u32;
        let pages = ((bits << 11) as i32 >> 11) as i64 as u64;
        (at.address & !0xfff).wrapping_add(pages << 12)
    }

    /// The bits of `word` that the operand takes.
    pub const fn mask(self) -> u64 {
        match self {
            Self::Absolute => u64::MAX,
            Self::Pointer | Self::PointerFromBase => POINTER_BITS,
            Self::Branch26 => 0x03ff_ffff,
            Self::Branch19 => 0x7_ffff << 5,
            Self::Page21 => 0x60ff_ffe0,
            Self::Low12Scale0 | Self::Low12Scale1 | Self::Low12Scale2 | Self::Low12Scale3 | Self::Low12Scale4 => {
                0xfff << 10
            }
            Self::CodeOffset => CODE_OFFSET_BITS,
            _ => 0xffff_ffff,
        }
    }
}

/// Reads the `length` (4 or 8) bytes of an operand at `at`; zero bits where they end.
pub fn word_at(bytes: &[u8], at: usize, length: usize) -> u64 {
    let mut word = [0; 8];
    if let Some(found) = at.checked_add(length).and_then(|end| bytes.get(at..end)) {
        word[..length].copy_from_slice(found);
    }
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_and_kinds_agree() {
        for (index, kind) in ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
            assert_eq!(Kind::from_index(index as u8), kind);
        }
        assert_eq!(Kind::low12(3).scale(), 3);
    }

    #[test]
    fn instructions_as_assemblers_write_them() {
        let at = |address| Place { address, section: 0, base: 0, strings: 0 };
        // e8 fb ff ff ff: a call to its own operand's address minus one, at 0x1000.
        assert_eq!(Kind::Relative0.target(0xffff_fffb, at(0x1001)), Some(0x1000));
        // `bl .+8` is 0x94000002, `b.ne .-4` is 0x54ffffe1, `adrp x0, .+0x1000` is 0xb0000000.
        assert_eq!(Kind::Branch26.target(0x9400_0002, at(0x4000)), Some(0x4008));
        assert_eq!(Kind::Branch19.target(0x54ff_ffe1, at(0x4000)), Some(0x3ffc));
        assert_eq!(Kind::page(0xb000_0000, at(0x4abc)), 0x5000);
        assert_eq!(Kind::Page21.point(0x9000_0000, at(0x4abc), 0x5123), 0xb000_0000);
        // `add x0, x0, #0x123` is 0x91048c00; `ldr x1, [x0, #8]` is 0xf9400401.
        assert_eq!(Kind::Low12Scale0.point(0x9100_0000, at(0), 0x5123), 0x9104_8c00);
        assert_eq!(Kind::Low12Scale3.point(0xf940_0001, at(0), 0x5008), 0xf940_0401);
    }

    proptest! {
        #[test]
        fn an_operand_points_where_it_was_made_to_point(
            kind in 0u8..KINDS as u8,
            word: u64,
            address in 0x10_0000u64..0x20_0000,
            target in 0x10_0000u64..0x20_0000,
        ) {
            let kind = Kind::from_index(kind);
            let at = Place { address: address & !3, section: 0x10_0000, base: 0x1000, strings: 0x100 };
            let target = target & !3;
            let word = if kind.length() == 4 { word & 0xffff_ffff } else { word };
            let pointed = kind.point(word, at, target);
            prop_assert_eq!(pointed & !kind.mask(), word & !kind.mask());
            if let Some(found) = kind.target(pointed, at) {
                prop_assert_eq!(found, target);
            }
            if kind == Kind::Page21 {
                prop_assert_eq!(Kind::page(pointed, at), target & !0xfff);
            }
        }
    }
}
