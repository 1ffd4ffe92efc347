//! Page hashes of signed Mach-O images: what follows from the bytes before it is computed, not carried.
//!
//! A code signature holds the SHA-256 of every page of its image (Apple's `cs_blobs.h`, `CodeDirectory`). It stands
//! behind what it covers. A patch names the place of such a table and leaves zeros there; they are filled in as new is
//! written. A publisher names a table only where that gives the bytes of new.

use std::ops::Range;

use sha2::{Digest, Sha256};

use super::super::PatchError;
use crate::format::pack::wire::{Reader, put_varint};

/// Most tables of a unit.
const TABLES_MAX: u64 = 256;
/// Bytes of a hash.
const HASH_BYTES: u64 = 32;
/// Pages have 256 bytes to 1 MiB.
const PAGE_LOGS: Range<u8> = 8..21;

/// A table of page hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageTable {
    /// The bytes of new whose pages are hashed.
    pub covered: Range<u64>,
    /// Bytes of a page, as a power of two; the last page may be shorter.
    pub page_log: u8,
    /// Where the hashes begin in new.
    pub slots: u64,
}

impl PageTable {
    /// How many pages there are.
    pub const fn pages(&self) -> u64 {
        (self.covered.end - self.covered.start).div_ceil(1 << self.page_log)
    }

    /// Where the hashes stand in new.
    pub const fn slot_range(&self) -> Range<u64> {
        self.slots..self.slots + self.pages() * HASH_BYTES
    }

    /// The hashes that `new` asks for.
    pub fn compute(&self, new: &[u8]) -> Vec<u8> {
        let covered = new.get(self.covered.start as usize..self.covered.end as usize).unwrap_or_default();
        covered.chunks(1 << self.page_log).flat_map(Sha256::digest).collect()
    }
}

/// Appends the tables: their count; for each the bytes from the end of the slots before to its first covered byte,
/// the covered length, the page's power of two, and the bytes from the covered end to the slots.
pub fn put_tables(out: &mut Vec<u8>, tables: &[PageTable]) {
    put_varint(out, tables.len() as u64);
    let mut end = 0;
    for table in tables {
        put_varint(out, table.covered.start - end);
        put_varint(out, table.covered.end - table.covered.start);
        put_varint(out, u64::from(table.page_log));
        put_varint(out, table.slots - table.covered.end);
        end = table.slot_range().end;
    }
}

/// Reads what [`put_tables`] wrote; tables stand behind each other within new.
pub(super) fn read_tables(reader: &mut Reader<'_>, new_length: u64) -> Result<Vec<PageTable>, PatchError> {
    let count = reader.varint()?;
    if count > TABLES_MAX {
        return Err(PatchError::Limit { what: "tables of page hashes", limit: TABLES_MAX, found: count });
    }
    let (mut tables, mut end) = (Vec::new(), 0);
    for _ in 0..count {
        let table = read_table(reader, end, new_length)?;
        end = table.slot_range().end;
        tables.push(table);
    }
    Ok(tables)
}

fn read_table(reader: &mut Reader<'_>, end: u64, new_length: u64) -> Result<PageTable, PatchError> {
    let beyond = PatchError::Invalid { what: "a table of page hashes beyond new" };
    let mut step = |from: u64| -> Result<Option<u64>, PatchError> {
        Ok(from.checked_add(reader.varint()?).filter(|to| *to <= new_length))
    };
    let Some(start) = step(end)? else { return Err(beyond) };
    let Some(covered_end) = step(start)? else { return Err(beyond) };
    let page_log = reader.varint()?;
    let page_log = u8::try_from(page_log).ok().filter(|log| PAGE_LOGS.contains(log));
    let page_log = page_log.ok_or(PatchError::Invalid { what: "a page size out of bounds" })?;
    let mut step = |from: u64| -> Result<Option<u64>, PatchError> { Ok(from.checked_add(reader.varint()?)) };
    let slots = step(covered_end)?;
    let table = slots.map(|slots| PageTable { covered: start..covered_end, page_log, slots });
    let fits =
        |table: &PageTable| table.slots.checked_add(table.pages() * HASH_BYTES).is_some_and(|end| end <= new_length);
    table.filter(fits).ok_or(beyond)
}

/// Computes page hashes of the bytes that pass and puts them where they belong.
pub(super) struct PageHashes {
    tables: Vec<PageTable>,
    /// The table at work, its hashes so far, and the open page.
    table: usize,
    hashes: Vec<u8>,
    page: Sha256,
    page_bytes: u64,
}

impl PageHashes {
    pub(super) fn new(tables: Vec<PageTable>) -> Self {
        Self { tables, table: 0, hashes: Vec::new(), page: Sha256::new(), page_bytes: 0 }
    }

    /// Takes the bytes of new from `offset` on, which follow those of the call before, and fills in what is known.
    pub(super) fn pass(&mut self, mut offset: u64, mut bytes: &mut [u8]) {
        while let Some(table) = self.tables.get(self.table).cloned() {
            let slots = table.slot_range();
            let (now, later) = split(bytes, slots.end.saturating_sub(offset));
            self.cover(&table, offset, now);
            if let Some((from, part)) = overlap(&slots, offset, now) {
                let known = self.hashes.get(from..from + part.len()).unwrap_or_default();
                part[..known.len()].copy_from_slice(known);
            }
            offset += now.len() as u64;
            if offset < slots.end {
                return;
            }
            bytes = later;
            self.table += 1;
            self.hashes.clear();
        }
    }

    fn cover(&mut self, table: &PageTable, offset: u64, bytes: &mut [u8]) {
        let page_bytes = 1 << table.page_log;
        let length = table.covered.end - table.covered.start;
        let Some((mut from, mut rest)) =
            overlap(&table.covered, offset, bytes).map(|(from, part)| (from as u64, &*part))
        else {
            return;
        };
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min((page_bytes - self.page_bytes) as usize));
            self.page.update(now);
            self.page_bytes += now.len() as u64;
            from += now.len() as u64;
            rest = later;
            if self.page_bytes == page_bytes || from == length {
                self.hashes.extend_from_slice(&self.page.finalize_reset());
                self.page_bytes = 0;
            }
        }
    }
}

fn split(bytes: &mut [u8], at: u64) -> (&mut [u8], &mut [u8]) {
    let at = usize::try_from(at).map_or(bytes.len(), |at| at.min(bytes.len()));
    bytes.split_at_mut(at)
}

/// The part of `bytes`, which stand at `offset`, that lies in `range`, and how far into the range it begins.
fn overlap<'a>(range: &Range<u64>, offset: u64, bytes: &'a mut [u8]) -> Option<(usize, &'a mut [u8])> {
    let start = range.start.max(offset);
    let end = range.end.min(offset + bytes.len() as u64);
    (start < end)
        .then(|| ((start - range.start) as usize, &mut bytes[(start - offset) as usize..(end - offset) as usize]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn hashes_are_filled_in_however_the_bytes_arrive(
            covered in 1u64..3000,
            gap in 0u64..50,
            steps in proptest::collection::vec(1usize..700, 1..40),
        ) {
            let table = PageTable { covered: 7..7 + covered, page_log: 8, slots: 7 + covered + gap };
            let end = table.slot_range().end as usize + 11;
            let second = PageTable { covered: end as u64..end as u64 + 300, page_log: 8, slots: end as u64 + 300 };
            let mut new: Vec<u8> = (0..second.slot_range().end as usize).map(|i| (i * 7 % 251) as u8).collect();
            new[table.slots as usize..table.slot_range().end as usize].fill(0);
            let mut expected = new.clone();
            for table in [&table, &second] {
                let hashes = table.compute(&expected);
                expected[table.slots as usize..table.slot_range().end as usize].copy_from_slice(&hashes);
            }
            let mut tables = Vec::new();
            put_tables(&mut tables, &[table, second]);
            let tables = read_tables(&mut Reader::new(&tables), new.len() as u64).expect("tables");
            let mut hashes = PageHashes::new(tables);
            let mut at = 0;
            for step in steps.into_iter().cycle().take_while({ let mut sum = 0; let all = new.len(); move |step| { let go = sum < all; sum += step; go } }).collect::<Vec<_>>() {
                let to = (at + step).min(new.len());
                hashes.pass(at as u64, &mut new[at..to]);
                at = to;
            }
            prop_assert!(new == expected);
        }
    }

    #[test]
    fn tables_beyond_new_are_refused() {
        let mut bytes = Vec::new();
        put_tables(&mut bytes, &[PageTable { covered: 0..4096, page_log: 12, slots: 4096 }]);
        assert!(read_tables(&mut Reader::new(&bytes), 4128).is_ok());
        assert!(read_tables(&mut Reader::new(&bytes), 4127).is_err());
        assert!(read_tables(&mut Reader::new(&[1, 0, 5, 64, 0]), 4096).is_err(), "a page of 2^64 bytes");
    }
}
