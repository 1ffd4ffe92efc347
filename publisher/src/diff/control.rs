//! Turns an alignment into control triples, runs, residues and extra bytes: the raw streams of method *plain*.

use lamplighter_client::format::pack::wire::{put_varint, zigzag};

use super::DiffError;
use super::entropy::{BlockWriter, RawBlock};

/// A block is closed once its raw streams have this many bytes: half of what a reader takes.
const BLOCK_RAW_BYTES: usize = 2 << 20;
/// Content is taken in steps of this size, so that a block never grows far beyond its bound.
const STEP_BYTES: usize = 64 << 10;

/// Builds the raw streams block by block and hands each block on.
pub struct Control<'a> {
    blocks: BlockWriter<'a>,
    raw: RawBlock,
    /// Position in old behind the bytes of the open triple.
    old_at: u64,
    /// Lengths of the open triple.
    diff: u64,
    extra: u64,
    /// The open run: zeros, then residues.
    zeros: u64,
    residues: u64,
}

impl<'a> Control<'a> {
    /// Nothing yet; blocks go to `blocks`.
    pub fn new(blocks: BlockWriter<'a>) -> Self {
        Self { blocks, raw: RawBlock::default(), old_at: 0, diff: 0, extra: 0, zeros: 0, residues: 0 }
    }

    /// New bytes that old has nothing for.
    pub fn insert(&mut self, new: &[u8]) -> Result<(), DiffError> {
        for part in new.chunks(STEP_BYTES) {
            self.extra += part.len() as u64;
            self.raw.extra.extend_from_slice(part);
            self.cut_if_full()?;
        }
        Ok(())
    }

    /// New bytes made from as many old ones at `old_start`.
    pub fn copy(&mut self, old_start: u64, old: &[u8], new: &[u8]) -> Result<(), DiffError> {
        debug_assert_eq!(old.len(), new.len());
        if new.is_empty() {
            return Ok(());
        }
        self.go_to(old_start);
        for (old, new) in old.chunks(STEP_BYTES).zip(new.chunks(STEP_BYTES)) {
            self.old_at += new.len() as u64;
            self.diff += new.len() as u64;
            if old == new {
                self.pass_zeros(new.len() as u64);
            } else {
                old.iter().zip(new).for_each(|(old, new)| self.push_difference(new.wrapping_sub(*old)));
            }
            self.cut_if_full()?;
        }
        Ok(())
    }

    /// New bytes that are the same as `length` old ones at `old_start`.
    pub fn copy_equal(&mut self, old_start: u64, length: u64) -> Result<(), DiffError> {
        self.go_to(old_start);
        self.old_at += length;
        self.diff += length;
        self.pass_zeros(length);
        self.cut_if_full()
    }

    /// Begins to copy at `old_start`, in the open triple if that is where it stands.
    fn go_to(&mut self, old_start: u64) {
        if self.extra > 0 || old_start != self.old_at {
            self.close_triple(old_start);
        }
    }

    /// Closes the last block.
    pub fn finish(mut self) -> Result<BlockWriter<'a>, DiffError> {
        if self.diff > 0 || self.extra > 0 {
            self.cut()?;
        }
        Ok(self.blocks)
    }

    fn pass_zeros(&mut self, count: u64) {
        if self.residues > 0 {
            self.close_run();
        }
        self.zeros += count;
    }

    fn push_difference(&mut self, difference: u8) {
        if difference == 0 {
            self.pass_zeros(1);
        } else {
            self.residues += 1;
            self.raw.residues.push(difference);
        }
    }

    fn close_run(&mut self) {
        put_varint(&mut self.raw.runs, self.zeros);
        put_varint(&mut self.raw.runs, self.residues);
        (self.zeros, self.residues) = (0, 0);
    }

    /// Ends the open triple with a seek to `old_next`.
    fn close_triple(&mut self, old_next: u64) {
        put_varint(&mut self.raw.control, self.diff);
        put_varint(&mut self.raw.control, self.extra);
        put_varint(&mut self.raw.control, zigzag(old_next as i64 - self.old_at as i64));
        (self.diff, self.extra, self.old_at) = (0, 0, old_next);
    }

    fn cut_if_full(&mut self) -> Result<(), DiffError> {
        if self.raw.length() < BLOCK_RAW_BYTES { Ok(()) } else { self.cut() }
    }

    fn cut(&mut self) -> Result<(), DiffError> {
        if self.residues > 0 {
            self.close_run();
        }
        self.zeros = 0;
        self.close_triple(self.old_at);
        self.blocks.push(std::mem::take(&mut self.raw))
    }
}
