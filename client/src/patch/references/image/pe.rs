//! Portable Executable (PE32+), as in Microsoft's *PE Format* specification.

use super::{Contents, Fields, Image, Machine, Section};

const SECTION_HEADER_BYTES: usize = 40;
const EXECUTABLE: u32 = 0x2000_0000;

pub(super) fn parse(bytes: &[u8]) -> Option<Image> {
    let fields = Fields(bytes);
    let header = fields.place(0x3c)?;
    if fields.array(header)? != *b"PE\0\0" {
        return None;
    }
    let machine = match fields.u16(header + 4)? {
        0x8664 => Machine::X86,
        0xaa64 => Machine::Arm,
        _ => return None,
    };
    let optional = header + 24;
    if fields.u16(optional)? != 0x20b {
        return None;
    }
    let base = fields.u64(optional + 24)?;
    let count = usize::from(fields.u16(header + 6)?);
    let table = optional + usize::from(fields.u16(header + 20)?);
    let (mut sections, mut names) = (Vec::new(), Vec::new());
    for index in 0..count {
        let at = table + index * SECTION_HEADER_BYTES;
        let name = fields.name(at, 8)?;
        let virtual_size = u64::from(fields.u32(at + 8)?);
        let file_size = u64::from(fields.u32(at + 16)?);
        let offset = u64::from(fields.u32(at + 20)?);
        if offset + file_size > bytes.len() as u64 {
            continue;
        }
        let contents = contents_of(&name, fields.u32(at + 36)? & EXECUTABLE != 0);
        let address = base.checked_add(u64::from(fields.u32(at + 12)?))?;
        sections.push(Section { address, size: virtual_size.max(file_size), offset, file_size, contents });
        names.push(name);
    }
    Some(Image { machine, base, range: 0..bytes.len() as u64, sections, names, strings: 0 })
}

fn contents_of(name: &str, executable: bool) -> Contents {
    match name {
        _ if executable => Contents::Code,
        ".pdata" => Contents::Rvas,
        ".rdata" | ".xdata" => Contents::PointersAndRvas,
        ".data" => Contents::Pointers,
        _ => Contents::Other,
    }
}
