//! Tables of page hashes in the code signatures of new, where a client can compute them.

use lamplighter_client::patch::references::image::Image;
use lamplighter_client::patch::references::page_hashes::PageTable;

const MACH_O: u32 = 0xfeed_facf;
const CODE_SIGNATURE: u32 = 0x1d;
const SUPER_BLOB: u32 = 0xfade_0cc0;
const CODE_DIRECTORY: u32 = 0xfade_0c02;
const SHA256: (u8, u8) = (32, 2);
const COMMANDS_MAX: u32 = 4096;
const BLOBS_MAX: u32 = 32;

/// The tables in `images` of `new` whose hashes follow from the bytes before them, in order.
pub(super) fn page_tables(new: &[u8], images: &[Image]) -> Vec<PageTable> {
    let mut tables: Vec<PageTable> = images.iter().filter_map(|image| page_table(new, image)).collect();
    let mut end = 0;
    tables.retain(|table| {
        let behind = table.covered.start >= end;
        if behind {
            end = table.slot_range().end;
        }
        behind
    });
    tables
}

/// `new` with zeros in the slots of `tables`, as a client gets it to fill in.
pub(super) fn without_hashes(new: &[u8], tables: &[PageTable]) -> Vec<u8> {
    let mut bare = new.to_vec();
    for table in tables {
        let slots = table.slot_range();
        bare[slots.start as usize..slots.end as usize].fill(0);
    }
    bare
}

fn page_table(new: &[u8], image: &Image) -> Option<PageTable> {
    let start = image.range.start as usize;
    let slice = new.get(start..image.range.end as usize)?;
    let signature = signature_offset(slice)?;
    if big(slice, signature)? != SUPER_BLOB {
        return None;
    }
    let count = big(slice, signature + 8)?.min(BLOBS_MAX) as usize;
    let blobs = (0..count).filter_map(|index| Some(signature + big(slice, signature + 16 + index * 8)? as usize));
    let tables = blobs.filter_map(|at| code_directory(slice, at, image.range.start));
    tables.into_iter().find(|table| {
        let slots = table.slot_range();
        let stored = new.get(slots.start as usize..slots.end as usize);
        table.covered.end <= table.slots && stored.is_some_and(|stored| stored == table.compute(new))
    })
}

fn signature_offset(slice: &[u8]) -> Option<usize> {
    if little(slice, 0)? != MACH_O {
        return None;
    }
    let mut at = 32usize;
    for _ in 0..little(slice, 16)?.min(COMMANDS_MAX) {
        if little(slice, at)? == CODE_SIGNATURE {
            return Some(little(slice, at + 8)? as usize);
        }
        at = at.checked_add(little(slice, at + 4)?.max(8) as usize)?;
    }
    None
}

/// A code directory with SHA-256 hashes; numbers in it have the highest byte first.
fn code_directory(slice: &[u8], at: usize, start: u64) -> Option<PageTable> {
    let kind = (*slice.get(at + 36)?, *slice.get(at + 37)?);
    if big(slice, at)? != CODE_DIRECTORY || kind != SHA256 {
        return None;
    }
    let (hashes, count, limit) = (big(slice, at + 16)?, big(slice, at + 28)?, big(slice, at + 32)?);
    let page_log = *slice.get(at + 39)?;
    let slots = start + at as u64 + u64::from(hashes);
    let table = PageTable { covered: start..start + u64::from(limit), page_log, slots };
    ((8..21).contains(&page_log) && table.pages() == u64::from(count)).then_some(table)
}

fn little(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

fn big(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_be_bytes)
}
