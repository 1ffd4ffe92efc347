//! What is said of packs: how many, how small, in how much memory and time.

use std::path::Path;
use std::time::Duration;

use super::{BASES_DEFAULT, Config, ConfigError, EFFORT_DEFAULT, in_range};
use crate::packs::{PackOptions, default_memory_bytes};

const BASES_MAX: usize = 1000;
/// What patches that are kept may take, unless said otherwise.
const PATCH_CACHE_MIB_DEFAULT: u64 = 4096;

impl Config {
    /// How much memory patches may take together, in bytes: half of the machine's unless it is said.
    ///
    /// # Errors
    /// Less than 64 MiB or more than 16 TiB is asked for.
    pub fn memory_bytes(&self) -> Result<u64, ConfigError> {
        let range = "64 to 16777216 MiB";
        match self.memory_mib {
            None => Ok(default_memory_bytes()),
            Some(mib) => Ok(in_range("memory_mib", mib, 64, 16 << 20, range)? << 20),
        }
    }

    /// How many old releases get a pack.
    ///
    /// # Errors
    /// More than a thousand.
    pub fn bases(&self) -> Result<usize, ConfigError> {
        in_range("bases", self.bases.unwrap_or(BASES_DEFAULT), 0, BASES_MAX, "0 to 1000 old releases")
    }

    /// Effort of packs.
    ///
    /// # Errors
    /// Out of range.
    pub fn effort(&self) -> Result<u8, ConfigError> {
        in_range("effort", self.effort.unwrap_or(EFFORT_DEFAULT), 1, 9, "1 to 9")
    }

    /// How packs are worked on.
    ///
    /// # Errors
    /// The effort is out of range.
    pub fn pack_options(&self) -> Result<PackOptions, ConfigError> {
        let mut options = PackOptions::of_effort(self.effort()?);
        if let Some(bytes) = self.deflate_bytes_per_second {
            options.deflate_bytes_per_second = bytes;
        }
        Ok(options)
    }

    /// After how long no further pack is begun.
    ///
    /// # Errors
    /// No second, or more than a week.
    pub fn budget_time(&self) -> Result<Option<Duration>, ConfigError> {
        let checked = |seconds| in_range("budget_seconds", seconds, 1, 604_800, "1 to 604800 seconds");
        Ok(self.budget_seconds.map(checked).transpose()?.map(Duration::from_secs))
    }

    /// Where patches are kept, and how many bytes they may take.
    ///
    /// # Errors
    /// No MiB, or more than 16 TiB.
    pub fn patch_cache(&self) -> Result<Option<(&Path, u64)>, ConfigError> {
        let mib = self.patch_cache_mib.unwrap_or(PATCH_CACHE_MIB_DEFAULT);
        let limit = in_range("patch_cache_mib", mib, 1, 16 << 20, "1 to 16777216 MiB")? << 20;
        Ok(self.patch_cache.as_deref().map(|dir| (dir, limit)))
    }
}
