//! The table `[prune]`: what stays in a site.

use serde::Deserialize;

use super::{ConfigError, in_range};

/// Newest releases of each platform that stay, unless said otherwise.
const KEEP_DEFAULT: usize = 5;
/// Days that what is not offered any more stays, unless said otherwise: as long as a head is good for by default, so that
/// a client that was told of a release by a cache finds it.
const GRACE_DAYS_DEFAULT: u64 = 7;

const KEEP_MAX: usize = 1_000_000;
const DAYS_MAX: u64 = 36_500;

/// What the file or the flags say of pruning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct PruneConfig {
    pub keep: Option<usize>,
    pub keep_days: Option<u64>,
    pub grace_days: Option<u64>,
}

impl PruneConfig {
    pub(super) fn with_flags(self, flags: Self) -> Self {
        Self {
            keep: flags.keep.or(self.keep),
            keep_days: flags.keep_days.or(self.keep_days),
            grace_days: flags.grace_days.or(self.grace_days),
        }
    }

    /// Newest releases of each platform that stay.
    ///
    /// # Errors
    /// More than a million.
    pub fn keep(&self) -> Result<usize, ConfigError> {
        in_range("prune.keep", self.keep.unwrap_or(KEEP_DEFAULT), 0, KEEP_MAX, "0 to 1000000 releases")
    }

    /// Days every release stays.
    ///
    /// # Errors
    /// More than a hundred years.
    pub fn keep_days(&self) -> Result<u64, ConfigError> {
        in_range("prune.keep_days", self.keep_days.unwrap_or(0), 0, DAYS_MAX, "0 to 36500 days")
    }

    /// Days that what is not offered any more stays.
    ///
    /// # Errors
    /// More than a hundred years.
    pub fn grace_days(&self) -> Result<u64, ConfigError> {
        in_range("prune.grace_days", self.grace_days.unwrap_or(GRACE_DAYS_DEFAULT), 0, DAYS_MAX, "0 to 36500 days")
    }
}
