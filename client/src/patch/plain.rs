//! Method 1: carries out control triples.

use std::io::Write;

use super::old::ReadAhead;
use super::{OldBytes, PatchError};
use crate::format::pack::PLAIN_STREAMS;
use crate::format::pack::wire::{Reader, unzigzag};

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
        let mut control = Reader::new(control);
        let mut residues = Residues::new(runs, residues);
        let mut extra = Reader::new(extra);
        while !control.is_empty() {
            let (diff_length, extra_length) = (control.varint()?, control.varint()?);
            let seek = unzigzag(control.varint()?);
            self.claim(diff_length, extra_length)?;
            self.diff(diff_length, &mut residues, old, new)?;
            let bytes =
                extra.bytes(extra_length).map_err(|_| PatchError::Short { of: "extra bytes", needed: extra_length })?;
            self.write(bytes, new)?;
            self.old_at = match self.old_at.checked_add_signed(seek) {
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

/// The diff bytes of one block, from its runs and residues.
struct Residues<'a> {
    runs: Reader<'a>,
    residues: &'a [u8],
    zeros_left: u64,
    bytes_left: u64,
    first: bool,
}

impl<'a> Residues<'a> {
    fn new(runs: &'a [u8], residues: &'a [u8]) -> Self {
        Self { runs: Reader::new(runs), residues, zeros_left: 0, bytes_left: 0, first: true }
    }

    /// Adds the next diff bytes to `bytes`.
    fn add_to(&mut self, mut bytes: &mut [u8]) -> Result<(), PatchError> {
        while !bytes.is_empty() {
            if self.zeros_left == 0 && self.bytes_left == 0 && !self.next_run()? {
                return Ok(());
            }
            let zeros = self.zeros_left.min(bytes.len() as u64) as usize;
            self.zeros_left -= zeros as u64;
            bytes = &mut bytes[zeros..];
            let count = self.bytes_left.min(bytes.len() as u64) as usize;
            self.bytes_left -= count as u64;
            let (here, after) = bytes.split_at_mut(count);
            // The run was checked against the residues when it began.
            let (now, later) = self.residues.split_at(count);
            here.iter_mut().zip(now).for_each(|(byte, residue)| *byte = byte.wrapping_add(*residue));
            (bytes, self.residues) = (after, later);
        }
        Ok(())
    }

    /// Reads the next run; false after the last.
    fn next_run(&mut self) -> Result<bool, PatchError> {
        if self.runs.is_empty() {
            return Ok(false);
        }
        self.zeros_left = self.runs.varint()?;
        self.bytes_left = self.runs.varint()?;
        if self.bytes_left == 0 || (self.zeros_left == 0 && !self.first) {
            return Err(PatchError::Invalid { what: "an empty run" });
        }
        if self.bytes_left > self.residues.len() as u64 {
            return Err(PatchError::Short { of: "residues", needed: self.bytes_left - self.residues.len() as u64 });
        }
        self.first = false;
        Ok(true)
    }

    fn finish(self) -> Result<(), PatchError> {
        let unused = |of, bytes| if bytes == 0 { Ok(()) } else { Err(PatchError::Unused { of, bytes }) };
        unused(
            "the runs",
            (self.runs.rest().len() as u64).saturating_add(self.zeros_left).saturating_add(self.bytes_left),
        )?;
        unused("the residues", self.residues.len() as u64)
    }
}
