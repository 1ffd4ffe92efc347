//! Numbers that look random and are the same every time.

pub(crate) struct Dice(blake3::OutputReader);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(blake3::Hasher::new().update(b"history").update(&seed.to_le_bytes()).finalize_xof())
    }

    /// One of 0 to `end` - 1.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes) % end.max(1)
    }

    pub(crate) fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1).unsigned_abs()) as i64
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// `count` of `of` (all, if it has fewer), in any order.
    pub(crate) fn some(&mut self, of: &[u8], count: usize) -> Vec<u8> {
        let mut left = of.to_vec();
        for at in (1..left.len()).rev() {
            left.swap(at, self.below(at as u64 + 1) as usize);
        }
        left.truncate(count);
        left
    }
}
