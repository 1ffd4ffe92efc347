//! How many patches may be computed at once: by threads, and by the memory each is expected to take.

use std::sync::{Condvar, Mutex, PoisonError};

/// What all patches of a run share. A patch that alone would take more than there is runs alone.
#[derive(Debug)]
pub struct Budget {
    jobs: usize,
    memory_bytes: u64,
    used: Mutex<Used>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct Used {
    jobs: usize,
    memory_bytes: u64,
}

impl Budget {
    /// For `jobs` patches at once that take `memory_bytes` together.
    pub fn new(jobs: usize, memory_bytes: u64) -> Self {
        Self { jobs: jobs.max(1), memory_bytes, used: Mutex::default(), freed: Condvar::new() }
    }

    /// Waits until there is room for a patch that takes `memory_bytes`; the room is free again when the answer is
    /// dropped.
    pub(super) fn take(&self, memory_bytes: u64) -> Share<'_> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |used: &mut Used| {
            let memory = used.memory_bytes.saturating_add(memory_bytes) > self.memory_bytes;
            used.jobs > 0 && (used.jobs >= self.jobs || memory)
        };
        let mut used = self.freed.wait_while(used, full).unwrap_or_else(PoisonError::into_inner);
        used.jobs += 1;
        used.memory_bytes = used.memory_bytes.saturating_add(memory_bytes);
        Share { budget: self, memory_bytes }
    }
}

/// Room that is taken.
pub(super) struct Share<'a> {
    budget: &'a Budget,
    memory_bytes: u64,
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let mut used = self.budget.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.jobs -= 1;
        used.memory_bytes -= self.memory_bytes.min(used.memory_bytes);
        self.budget.freed.notify_all();
    }
}

/// Memory that a patch takes at most, by the bytes of both sides: old, masked old and its index of five bytes a byte and
/// a filter; new twice, and its streams; tables of fixed size. Sides that are divided into sections take what 256 MiB do.
pub(super) fn patch_memory_bytes(old_bytes: u64, new_bytes: u64) -> u64 {
    const MIB: u64 = 1 << 20;
    let (old, new) = (old_bytes.min(512 * MIB), new_bytes.min(512 * MIB));
    // Tables of the entropy coder follow what is new, up to its dictionary.
    let coder = 12 * new.min(32 * MIB);
    8 * old + 3 * new + coder + (96 * MIB).min(16 * (old + new))
}

/// Half of the machine's memory, in bytes; 4 GiB where the system does not tell it as Linux does.
pub fn default_memory_bytes() -> u64 {
    const FALLBACK: u64 = 4 << 30;
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.map_or(FALLBACK, |kib| kib * 1024 / 2)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn neither_jobs_nor_memory_exceed_the_budget_and_large_patches_run_alone() {
        let budget = Budget::new(3, 100);
        let (running, memory, most) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for thread in 0..8u64 {
                let (budget, running, memory, most) = (&budget, &running, &memory, &most);
                scope.spawn(move || {
                    for round in 0..50 {
                        let need = [30, 60, 500][((thread + round) % 3) as usize];
                        let _share = budget.take(need);
                        let jobs = running.fetch_add(1, Ordering::SeqCst) + 1;
                        let bytes = memory.fetch_add(need, Ordering::SeqCst) + need;
                        assert!(jobs <= 3 && (bytes <= 100 || jobs == 1), "{jobs} jobs take {bytes}");
                        most.fetch_max(jobs, Ordering::SeqCst);
                        std::thread::yield_now();
                        memory.fetch_sub(need, Ordering::SeqCst);
                        running.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(most.load(Ordering::SeqCst) > 1, "nothing ran side by side");
    }
}
