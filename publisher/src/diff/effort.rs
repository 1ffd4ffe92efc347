//! One number for how much time a patch may take.

use zstd::stream::raw::CParameter;

use lamplighter_client::format::pack::codec::WINDOW_LOG_MAX;

use super::suffix::MATCH_MIN;
use super::windowing::Bounds;

/// From 1, fast, to 9, smallest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Effort(u8);

/// How one alignment is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pass {
    /// What is indexed at once.
    pub(super) bounds: Bounds,
    /// The shortest match looked for, in bytes.
    pub(super) match_min: usize,
}

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

    /// How executables are aligned: by their bytes, then, in each further pass, by what their references point to. All but
    /// the last pass only have to tell where references lead.
    pub(super) fn image_passes(self) -> Vec<Pass> {
        let last = self.pass();
        let coarse = Pass { bounds: Bounds::fast(), match_min: 16 };
        let middle = Pass { match_min: 12, ..coarse };
        match self.0 {
            1..=3 => vec![last],
            4 => vec![coarse, last],
            5 | 6 => vec![coarse, middle, last],
            _ => vec![last, last, last],
        }
    }

    /// How files are aligned.
    pub(super) const fn pass(self) -> Pass {
        match self.0 {
            1 => Pass { bounds: Bounds::fast(), match_min: 16 },
            2 => Pass { bounds: Bounds::fast(), match_min: 12 },
            3 => Pass { bounds: Bounds::fast(), match_min: 8 },
            4 => Pass { bounds: Bounds::thorough(), match_min: 8 },
            _ => Pass { bounds: Bounds::thorough(), match_min: MATCH_MIN },
        }
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
