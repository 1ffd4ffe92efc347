//! Encoded units by the contents they were made from, so that the same patch is computed once over all bases and
//! platforms.

use std::collections::HashMap;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use lamplighter_client::format::digest::Blake3;
use tempfile::SpooledTempFile;

use super::kept::KeptPatches;
use super::{Budget, PackBuildError, PackOptions, default_memory_bytes};
use crate::diff::{ENCODER_VERSION, Encoded};

/// Encoded units up to this size stay in memory; larger ones go to the scratch directory.
pub(super) const HELD_BYTES: usize = 256 << 10;

/// What a unit became.
pub(super) struct CachedUnit {
    pub(super) encoded: Encoded,
    /// False where the patch turned out smaller without old content.
    pub(super) uses_old: bool,
    blocks: Mutex<SpooledTempFile>,
}

impl CachedUnit {
    pub(super) const fn new(encoded: Encoded, uses_old: bool, blocks: SpooledTempFile) -> Self {
        Self { encoded, uses_old, blocks: Mutex::new(blocks) }
    }

    /// Bytes of its blocks.
    pub(super) fn length(&self) -> u64 {
        self.encoded.blocks.iter().map(|block| block.length).sum()
    }

    /// Appends its blocks to `out`.
    pub(super) fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        blocks.seek(SeekFrom::Start(0))?;
        io::copy(&mut *blocks, out).map(|_| ())
    }
}

/// Patches computed so far. Shared by reference between threads; a patch that two of them need is computed by one
/// while the other waits.
pub struct UnitCache {
    budget: Budget,
    slots: Mutex<HashMap<Blake3, Slot>>,
    /// Patches of earlier runs.
    kept: Option<KeptPatches>,
}

type Slot = Arc<Mutex<Option<Arc<CachedUnit>>>>;

impl Default for UnitCache {
    /// As many patches at once as the machine has cores, in half of its memory.
    fn default() -> Self {
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        Self::new(Budget::new(jobs, default_memory_bytes()))
    }
}

impl UnitCache {
    /// An empty cache. What it holds beyond memory lies in the scratch directories of the packs that were built with
    /// it, so those must outlive it.
    pub fn new(budget: Budget) -> Self {
        Self { budget, slots: Mutex::default(), kept: None }
    }

    /// The same, with the patches of earlier runs in `kept`.
    #[must_use]
    pub fn with_kept(self, kept: Option<KeptPatches>) -> Self {
        Self { kept, ..self }
    }

    /// The patches of earlier runs.
    pub fn kept(&self) -> Option<&KeptPatches> {
        self.kept.as_ref()
    }

    /// What the patches of all packs share.
    pub(super) const fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The unit under `key`, and whether it was there; else what `encode` gives.
    pub(super) fn get_or_encode(
        &self,
        key: Blake3,
        scratch: &Path,
        encode: impl FnOnce() -> Result<CachedUnit, PackBuildError>,
    ) -> Result<(Arc<CachedUnit>, bool), PackBuildError> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry(key).or_default())
        };
        let mut unit = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(unit) = &*unit {
            return Ok((Arc::clone(unit), true));
        }
        if let Some(found) = self.kept.as_ref().and_then(|kept| kept.load(key, scratch)) {
            let found = Arc::new(found);
            *unit = Some(Arc::clone(&found));
            return Ok((found, true));
        }
        let encoded = Arc::new(encode()?);
        if let Some(kept) = &self.kept {
            kept.store(key, &encoded);
        }
        *unit = Some(Arc::clone(&encoded));
        Ok((encoded, false))
    }
}

/// The key of a unit: everything its bytes depend on. `twins` are the old contents that new ones were paired with.
pub(super) fn key(options: PackOptions, old: &[Blake3], new: &[Blake3], twins: &[Option<usize>]) -> Blake3 {
    let mut text = ENCODER_VERSION.to_le_bytes().to_vec();
    text.push(options.effort.number());
    text.extend_from_slice(&options.deflate_bytes_per_second.to_le_bytes());
    text.extend_from_slice(&(old.len() as u64).to_le_bytes());
    old.iter().chain(new).for_each(|digest| text.extend_from_slice(digest.as_bytes()));
    let twin = |twin: &Option<usize>| twin.map_or(u64::MAX, |twin| twin as u64).to_le_bytes();
    twins.iter().for_each(|twinned| text.extend_from_slice(&twin(twinned)));
    Blake3::of(&text)
}
