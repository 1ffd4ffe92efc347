//! AArch64 code: branches, and `ADRP` with the instructions that add to the page it names.

use super::Finds;
use crate::patch::references::operand::{Kind, word_at};

/// An instruction this far behind an `ADRP` of the same register belongs to it, in bytes.
const PAIR_BYTES: usize = 64;

/// The last `ADRP` into a register.
#[derive(Clone, Copy)]
struct Page {
    address: u64,
    at: usize,
    /// Its reference, until the first instruction that adds to it has told the whole target.
    open: Option<usize>,
}

/// Scans the words that begin in `from..to`, which are aligned in memory as sections are.
pub(super) fn scan(finds: &mut Finds<'_>, from: usize, to: usize) {
    let bytes = finds.bytes;
    let mut pages: [Option<Page>; 32] = [None; 32];
    for at in (from.next_multiple_of(4)..to).step_by(4) {
        if at + 4 > bytes.len() {
            return;
        }
        let word = word_at(bytes, at, 4) as u32;
        if word & 0x7c00_0000 == 0x1400_0000 {
            finds.take_code(at, Kind::Branch26);
        } else if word & 0xff00_0010 == 0x5400_0000 || word & 0x7e00_0000 == 0x3400_0000 {
            finds.take_code(at, Kind::Branch19);
        } else if word & 0x9f00_0000 == 0x9000_0000 {
            pages[(word & 31) as usize] = take_page(finds, at, word);
        } else if let Some(scale) = low12_scale(word) {
            let page = &mut pages[(word >> 5 & 31) as usize];
            if let Some(open) = page.as_mut().filter(|page| at - page.at <= PAIR_BYTES) {
                take_low12(finds, at, word, scale, open);
            }
        }
    }
}

fn take_page(finds: &mut Finds<'_>, at: usize, word: u32) -> Option<Page> {
    let address = Kind::page(u64::from(word), finds.place(at));
    let near = finds.reach.in_image(address) || finds.reach.in_image(address.wrapping_add(0xfff));
    let open = (near && finds.push(at, Kind::Page21, address)).then(|| finds.found.len() - 1);
    open.map(|open| Page { address, at, open: Some(open) })
}

fn take_low12(finds: &mut Finds<'_>, at: usize, word: u32, scale: u32, page: &mut Page) {
    let target = page.address.wrapping_add(u64::from(word >> 10 & 0xfff) << scale);
    if !finds.reach.in_image(target) {
        return;
    }
    if finds.push(at, Kind::low12(scale), target) {
        // Both words of the pair then follow the same target.
        if let Some(index) = page.open.take() {
            let whole = finds.found.last().map_or(0, |found| found.target);
            finds.found[index].target = whole;
        }
    }
}

/// Bits the immediate of an `ADD` or of a load or store is shifted by; none for other instructions.
const fn low12_scale(word: u32) -> Option<u32> {
    if word & 0xffc0_0000 == 0x9100_0000 {
        return Some(0);
    }
    if word & 0x3b00_0000 == 0x3900_0000 {
        // 128-bit registers: vector bit and the high opc bit, size 0.
        return Some(if word & 0x0480_0000 == 0x0480_0000 && word >> 30 == 0 { 4 } else { word >> 30 });
    }
    None
}
