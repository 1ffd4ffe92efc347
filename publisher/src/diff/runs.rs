//! Diff bytes as runs of zeros and residues between them, as [`lamplighter_client::patch`] reads them.

use lamplighter_client::format::pack::wire::put_varint;

/// The runs of one block.
#[derive(Debug, Default)]
pub struct Runs {
    runs: Vec<u8>,
    residues: Vec<u8>,
    /// The open run.
    zeros: u64,
    count: u64,
}

impl Runs {
    /// Differences between two stretches of the same length.
    pub fn push(&mut self, old: &[u8], new: &[u8]) {
        if old == new {
            return self.pass_zeros(new.len() as u64);
        }
        for (old, new) in old.iter().zip(new) {
            match new.wrapping_sub(*old) {
                0 => self.pass_zeros(1),
                difference => {
                    self.count += 1;
                    self.residues.push(difference);
                }
            }
        }
    }

    /// `count` bytes that do not differ.
    pub fn pass_zeros(&mut self, count: u64) {
        if self.count > 0 && count > 0 {
            self.close();
        }
        self.zeros += count;
    }

    /// Bytes of both streams so far.
    pub const fn raw_bytes(&self) -> usize {
        self.runs.len() + self.residues.len()
    }

    /// Both streams of the block; the next block begins.
    pub fn take(&mut self) -> (Vec<u8>, Vec<u8>) {
        if self.count > 0 {
            self.close();
        }
        self.zeros = 0;
        (std::mem::take(&mut self.runs), std::mem::take(&mut self.residues))
    }

    fn close(&mut self) {
        put_varint(&mut self.runs, self.zeros);
        put_varint(&mut self.runs, self.count);
        (self.zeros, self.count) = (0, 0);
    }
}
