//! Turns an alignment into control triples, runs, residues and extra bytes: the raw streams of method *plain*.

use lamplighter_client::patch::control::{Triple, put_triples};

use super::DiffError;
use super::entropy::BlockWriter;
use super::runs::Runs;

/// A block is closed once its raw streams have this many bytes: half of what a reader takes.
const BLOCK_RAW_BYTES: usize = 2 << 20;
/// Content is taken in steps of this size, so that a block never grows far beyond its bound.
const STEP_BYTES: usize = 64 << 10;
/// About what a triple takes.
const TRIPLE_BYTES: usize = 8;

/// Builds the raw streams block by block and hands each block on.
pub struct Control<'a> {
    blocks: BlockWriter<'a>,
    triples: Vec<Triple>,
    runs: Runs,
    extra: Vec<u8>,
    /// Position in old behind the bytes of the open triple.
    old_at: u64,
    /// The open triple.
    open: Triple,
}

impl<'a> Control<'a> {
    /// Nothing yet; blocks go to `blocks`.
    pub fn new(blocks: BlockWriter<'a>) -> Self {
        let (runs, open) = (Runs::default(), Triple::default());
        Self { blocks, triples: Vec::new(), runs, extra: Vec::new(), old_at: 0, open }
    }

    /// New bytes that old has nothing for.
    pub fn insert(&mut self, new: &[u8]) -> Result<(), DiffError> {
        for part in new.chunks(STEP_BYTES) {
            self.open.extra += part.len() as u64;
            self.extra.extend_from_slice(part);
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
            self.open.diff += new.len() as u64;
            self.runs.push(old, new);
            self.cut_if_full()?;
        }
        Ok(())
    }

    /// New bytes that are the same as `length` old ones at `old_start`.
    pub fn copy_equal(&mut self, old_start: u64, length: u64) -> Result<(), DiffError> {
        self.go_to(old_start);
        self.old_at += length;
        self.open.diff += length;
        self.runs.pass_zeros(length);
        self.cut_if_full()
    }

    /// Begins to copy at `old_start`, in the open triple if that is where it stands.
    fn go_to(&mut self, old_start: u64) {
        if self.open.extra > 0 || old_start != self.old_at {
            self.close_triple(old_start);
        }
    }

    /// Closes the last block.
    pub fn finish(mut self) -> Result<BlockWriter<'a>, DiffError> {
        if self.open.diff > 0 || self.open.extra > 0 {
            self.cut()?;
        }
        Ok(self.blocks)
    }

    /// Ends the open triple with a seek to `old_next`.
    fn close_triple(&mut self, old_next: u64) {
        self.open.seek = old_next as i64 - self.old_at as i64;
        self.triples.push(std::mem::take(&mut self.open));
        self.old_at = old_next;
    }

    fn cut_if_full(&mut self) -> Result<(), DiffError> {
        let raw_bytes = self.triples.len() * TRIPLE_BYTES + self.runs.raw_bytes() + self.extra.len();
        if raw_bytes < BLOCK_RAW_BYTES { Ok(()) } else { self.cut() }
    }

    fn cut(&mut self) -> Result<(), DiffError> {
        self.close_triple(self.old_at);
        let control = put_triples(&std::mem::take(&mut self.triples));
        let (runs, residues) = self.runs.take();
        self.blocks.push(vec![control, runs, residues, std::mem::take(&mut self.extra)])
    }
}
