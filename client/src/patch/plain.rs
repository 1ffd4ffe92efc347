//! Method 1: carries out control triples.

use std::io::Write;

use super::control::Triples;
use super::old::ReadAhead;
use super::residues::Residues;
use super::{OldBytes, PatchError};
use crate::format::pack::PLAIN_STREAMS;
use crate::format::pack::wire::Reader;

/// New bytes gathered before they are written.
const OUT_BYTES: usize = 128 << 10;

/// Where the patch stands between blocks.
pub(super) struct Plain {
    old_length: u64,
    new_length: u64,
    old_at: u64,
    new_at: u64,
    ahead: ReadAhead,
    out: Vec<u8>,
}

impl Plain {
    pub(super) const fn new(old_length: u64, new_length: u64) -> Self {
        Self { old_length, new_length, old_at: 0, new_at: 0, ahead: ReadAhead::new(old_length), out: Vec::new() }
    }

    /// New bytes made so far.
    pub(super) const fn new_bytes(&self) -> u64 {
        self.new_at
    }

    /// Carries out one block.
    pub(super) fn apply(
        &mut self,
        pieces: &[Vec<u8>],
        old: &mut dyn OldBytes,
        new: &mut dyn Write,
    ) -> Result<(), PatchError> {
        let [control, runs, residues, extra] = pieces else {
            let (expected, actual) = (PLAIN_STREAMS as u64, pieces.len() as u64);
            return Err(PatchError::Count { what: "streams", expected, actual });
        };
        let mut triples = Triples::read(control)?;
        let mut residues = Residues::new(runs, residues);
        let mut extra = Reader::new(extra);
        while let Some(triple) = triples.next()? {
            self.claim(triple.diff, triple.extra)?;
            self.diff(triple.diff, &mut residues, old, new)?;
            let bytes =
                extra.bytes(triple.extra).map_err(|_| PatchError::Short { of: "extra bytes", needed: triple.extra })?;
            self.write(bytes, new)?;
            self.old_at = match self.old_at.checked_add_signed(triple.seek) {
                Some(at) if at <= self.old_length => at,
                _ => return Err(PatchError::Invalid { what: "a seek out of the old bytes" }),
            };
        }
        self.flush(new)?;
        residues.finish()?;
        match extra.rest().len() as u64 {
            0 => Ok(()),
            bytes => Err(PatchError::Unused { of: "the extra bytes", bytes }),
        }
    }

    /// Checks a triple's lengths against what is left of new and old.
    fn claim(&mut self, diff_length: u64, extra_length: u64) -> Result<(), PatchError> {
        let new_left = self.new_length - self.new_at;
        let made = diff_length.saturating_add(extra_length);
        if made > new_left {
            return Err(PatchError::Limit { what: "new bytes", limit: new_left, found: made });
        }
        let old_left = self.old_length - self.old_at;
        if diff_length > old_left {
            return Err(PatchError::Limit { what: "old bytes", limit: old_left, found: diff_length });
        }
        self.new_at += made;
        Ok(())
    }

    fn diff(
        &mut self,
        mut length: u64,
        residues: &mut Residues<'_>,
        old: &mut dyn OldBytes,
        new: &mut dyn Write,
    ) -> Result<(), PatchError> {
        while length > 0 {
            let at = self.out.len();
            let part = length.min((OUT_BYTES - at) as u64) as usize;
            self.out.resize(at + part, 0);
            let bytes = &mut self.out[at..];
            let offset = self.old_at;
            self.ahead.read(old, offset, bytes).map_err(|source| PatchError::Read { offset, length: part, source })?;
            residues.add_to(bytes)?;
            self.old_at += part as u64;
            length -= part as u64;
            self.flush_if_full(new)?;
        }
        Ok(())
    }

    fn write(&mut self, mut bytes: &[u8], new: &mut dyn Write) -> Result<(), PatchError> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(OUT_BYTES - self.out.len()));
            self.out.extend_from_slice(now);
            bytes = later;
            self.flush_if_full(new)?;
        }
        Ok(())
    }

    fn flush_if_full(&mut self, new: &mut dyn Write) -> Result<(), PatchError> {
        if self.out.len() < OUT_BYTES { Ok(()) } else { self.flush(new) }
    }

    fn flush(&mut self, new: &mut dyn Write) -> Result<(), PatchError> {
        new.write_all(&self.out).map_err(PatchError::Write)?;
        self.out.clear();
        Ok(())
    }
}
