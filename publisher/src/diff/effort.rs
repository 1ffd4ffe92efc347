//! One number for how much time a patch may take.

use zstd::stream::raw::CParameter;

use lamplighter_client::format::pack::codec::WINDOW_LOG_MAX;

/// From 1, fast, to 9, smallest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Effort(u8);

impl Default for Effort {
    fn default() -> Self {
        Self(5)
    }
}

impl Effort {
    /// An effort, held between 1 and 9.
    pub fn new(effort: u8) -> Self {
        Self(effort.clamp(1, 9))
    }

    /// The number from 1 to 9.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Whether streams are coded with LZMA, which takes a tenth off what zstd leaves and decodes at a tenth of its speed.
    pub(super) const fn uses_lzma(self) -> bool {
        self.0 >= 4
    }

    /// How long a match LZMA takes without looking for a better one, in bytes.
    pub(super) const fn lzma_nice_length(self) -> u32 {
        if self.0 >= 7 { 273 } else { 64 }
    }

    /// How many times code is aligned anew by what its references point to.
    pub(super) const fn reference_passes(self) -> usize {
        if self.0 >= 7 { 2 } else { 1 }
    }

    /// Whether the texts of archives are tried, which takes another search.
    pub const fn looks_into_archives(self) -> bool {
        self.0 > 3
    }

    /// Level of the entropy coder.
    pub(super) fn level(self) -> i32 {
        [1, 3, 7, 12, 19, 19, 20, 21, 22][usize::from(self.0) - 1]
    }

    /// Window of the entropy coder: as much as a reader takes for content, less for the small numbers of control.
    ///
    /// Above level 19 zstd would take tables for a window of 128 MiB, gigabytes for the streams of one patch; with our
    /// window those of level 19 find as much.
    pub(super) fn parameters(self, content: bool) -> Vec<CParameter> {
        let window_log = if content { WINDOW_LOG_MAX } else { 20 };
        let mut parameters = vec![CParameter::WindowLog(window_log)];
        if self.level() > 19 {
            parameters.extend([CParameter::ChainLog(window_log + 1), CParameter::HashLog(window_log - 1)]);
        }
        parameters
    }
}
