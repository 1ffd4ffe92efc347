//! ELF, 64 bits, little-endian, by its section headers (System V ABI, chapters 4 and 5).

use super::{Contents, Fields, Image, Machine, Section};

const HEADER_BYTES: usize = 64;
const NO_BITS: u32 = 8;
const FLAG_ALLOCATED: u64 = 2;
const FLAG_EXECUTABLE: u64 = 4;
const FLAG_THREAD_LOCAL: u64 = 0x400;

pub(super) fn parse(bytes: &[u8]) -> Option<Image> {
    let fields = Fields(bytes);
    let machine = match fields.u16(18)? {
        62 => Machine::X86,
        183 => Machine::Arm,
        _ => return None,
    };
    let table = usize::try_from(fields.u64(40)?).ok()?;
    let count = usize::from(fields.u16(60)?);
    let names_at = table.checked_add(usize::from(fields.u16(62)?) * HEADER_BYTES)?;
    let strings = usize::try_from(fields.u64(names_at.checked_add(24)?)?).ok()?;
    let (mut sections, mut names) = (Vec::new(), Vec::new());
    for index in 1..count {
        let at = table.checked_add(index * HEADER_BYTES)?;
        let flags = fields.u64(at.checked_add(8)?)?;
        if flags & FLAG_ALLOCATED == 0 || flags & FLAG_THREAD_LOCAL != 0 {
            continue;
        }
        let size = fields.u64(at + 32)?;
        let name = fields.name(strings.checked_add(fields.place(at)?)?, 64)?;
        sections.push(Section {
            address: fields.u64(at + 16)?,
            size,
            offset: fields.u64(at + 24)?,
            file_size: if fields.u32(at + 4)? == NO_BITS { 0 } else { size },
            contents: contents_of(&name, flags & FLAG_EXECUTABLE != 0),
        });
        names.push(name);
    }
    Some(Image { machine, base: 0, range: 0..bytes.len() as u64, sections, names, strings: 0 })
}

fn contents_of(name: &str, executable: bool) -> Contents {
    match name {
        _ if executable => Contents::Code,
        ".rela.dyn" | ".rela.plt" => Contents::Relocations,
        ".eh_frame" => Contents::Frames,
        ".eh_frame_hdr" => Contents::FrameTable,
        ".data.rel.ro" | ".data" | ".rodata" | ".init_array" | ".fini_array" | ".got" | ".got.plt"
        | ".data.rel.local" => Contents::Pointers,
        _ => Contents::Other,
    }
}
