//! One transfer under way, and the bytes of it that were not used yet.

use super::error::looks_like_web_page;
use super::mirrors::Slot;
use super::pump::Pump;
use crate::source::Trouble;

/// Bytes by which a web page is known.
pub(super) const HEAD_BYTES: usize = 64;

/// A transfer under way.
pub(super) struct Connection {
    pub(super) pump: Pump,
    pub(super) mirror: usize,
    pub(super) slot: Slot,
    /// What arrived and was not used; `used` bytes of it were.
    chunk: Vec<u8>,
    used: usize,
    /// Offset in the file of `chunk[used]`.
    pub(super) at: u64,
    /// The end the transfer was told.
    pub(super) end: Option<u64>,
    /// The first bytes that came.
    head: Vec<u8>,
}

impl Connection {
    pub(super) fn new(pump: Pump, mirror: usize, slot: Slot, at: u64, end: Option<u64>) -> Self {
        Self { pump, mirror, slot, chunk: Vec::new(), used: 0, at, end, head: Vec::new() }
    }

    /// The bytes that are here and not used.
    pub(super) fn ready(&self) -> &[u8] {
        &self.chunk[self.used..]
    }

    /// Takes the next bytes that came, after all before them were used.
    pub(super) fn refill(&mut self, chunk: Vec<u8>) {
        self.head.extend(chunk.iter().take(HEAD_BYTES - self.head.len()));
        (self.chunk, self.used) = (chunk, 0);
    }

    /// What it means that nothing more comes although `position` was wanted.
    pub(super) fn early_end(&self, position: u64) -> Trouble {
        if looks_like_web_page(&self.head) {
            return Trouble::WebPage;
        }
        Trouble::Interrupted(format!("it ended at byte {}, byte {position} was wanted", self.at))
    }

    /// Marks so many bytes as used.
    pub(super) fn consume(&mut self, bytes: usize) {
        self.used += bytes;
        self.at += bytes as u64;
    }

    /// Drops what lies before `position`, as far as it is here.
    pub(super) fn drop_before(&mut self, position: u64) {
        let gap = usize::try_from(position.saturating_sub(self.at)).unwrap_or(usize::MAX);
        self.consume(gap.min(self.chunk.len() - self.used));
    }
}
