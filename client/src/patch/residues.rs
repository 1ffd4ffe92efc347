//! Diff bytes, as runs of zeros and what stands between them.

use super::PatchError;
use crate::format::pack::wire::Reader;

/// The diff bytes of one block, from its runs and residues.
pub(super) struct Residues<'a> {
    runs: Reader<'a>,
    residues: &'a [u8],
    zeros_left: u64,
    bytes_left: u64,
    first: bool,
}

impl<'a> Residues<'a> {
    pub(super) const fn new(runs: &'a [u8], residues: &'a [u8]) -> Self {
        Self { runs: Reader::new(runs), residues, zeros_left: 0, bytes_left: 0, first: true }
    }

    /// Adds the next diff bytes to `bytes`.
    pub(super) fn add_to(&mut self, mut bytes: &mut [u8]) -> Result<(), PatchError> {
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

    pub(super) fn finish(self) -> Result<(), PatchError> {
        let unused = |of, bytes| if bytes == 0 { Ok(()) } else { Err(PatchError::Unused { of, bytes }) };
        unused(
            "the runs",
            (self.runs.rest().len() as u64).saturating_add(self.zeros_left).saturating_add(self.bytes_left),
        )?;
        unused("the residues", self.residues.len() as u64)
    }
}
