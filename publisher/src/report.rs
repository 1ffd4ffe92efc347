//! What a run has come to: a table for people, records for programs.

use std::fmt::Write;

use crate::build_release::shard::Shard;
use crate::packs::KeptUse;

/// Outcome of one `build-release`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    /// The build.
    pub build: u64,
    /// Its version.
    pub version: String,
    /// One entry a platform, in order.
    pub platforms: Vec<PlatformSummary>,
    /// Where the channel stands now, if it was to be moved.
    pub channel: Option<ChannelSummary>,
    /// Nothing was written: it is what a run would do.
    pub dry_run: bool,
    /// The share of the packs that was made; nothing else was.
    pub shard: Option<Shard>,
    /// What the directory of kept patches was good for.
    pub patch_cache: Option<KeptUse>,
}

/// One platform of it.
#[derive(Debug, Clone, PartialEq)]
pub struct PlatformSummary {
    /// Platform token.
    pub platform: String,
    /// The release was published before, and is the same.
    pub reused: bool,
    /// Rows of its manifest.
    pub rows: usize,
    /// Bytes of its tree.
    pub content_bytes: u64,
    /// Bytes of a full download: its objects.
    pub full_bytes: u64,
    /// Bytes of objects that the site did not have.
    pub new_object_bytes: u64,
    /// Seconds spent on objects.
    pub seconds: f64,
    /// One entry a base release, newest first.
    pub packs: Vec<PackSummary>,
}

/// One base release of a platform.
#[derive(Debug, Clone, PartialEq)]
pub struct PackSummary {
    /// Its build.
    pub base_build: u64,
    /// Its version.
    pub base_version: String,
    /// What became of the pack.
    pub fate: PackFate,
    /// Seconds it took.
    pub seconds: f64,
}

/// What became of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackFate {
    /// It is in the site, with so many bytes.
    Kept(u64),
    /// With so many bytes it would not have been smaller than the full download.
    TooLarge(u64),
    /// Base and target release hold the same: only the record changes.
    Same,
    /// With so many bytes it was left out, for the others to fit into the budget.
    OverBytes(u64),
    /// The time was over before it was begun.
    OverTime,
    /// The base could not be used; a notice said why.
    Skipped,
}

impl PackFate {
    /// Stable name.
    pub const fn name(self) -> &'static str {
        match self {
            PackFate::Kept(_) => "kept",
            PackFate::TooLarge(_) => "too-large",
            PackFate::Same => "same",
            PackFate::OverBytes(_) => "over-budget",
            PackFate::OverTime => "over-time",
            PackFate::Skipped => "skipped",
        }
    }

    /// Bytes of the pack, where one was made.
    pub const fn pack_bytes(self) -> Option<u64> {
        match self {
            PackFate::Kept(bytes) | PackFate::TooLarge(bytes) | PackFate::OverBytes(bytes) => Some(bytes),
            PackFate::OverTime | PackFate::Same | PackFate::Skipped => None,
        }
    }
}

/// Where a channel stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelSummary {
    /// The channel.
    pub channel: String,
    /// Sequence of its head.
    pub sequence: u64,
    /// Whether this run moved it.
    pub moved: bool,
}

impl Summary {
    /// The table: per platform and base, bytes in full and by pack, their ratio, seconds.
    pub fn to_table(&self) -> String {
        let mut rows = vec![["platform", "base", "full bytes", "pack bytes", "ratio", "seconds"].map(str::to_owned)];
        for platform in &self.platforms {
            rows.push(platform.row());
            rows.extend(platform.packs.iter().map(|pack| pack.row(platform)));
        }
        let mut text = columns(&rows);
        if let Some(kept) = self.patch_cache {
            let _ =
                writeln!(text, "patch cache: {} reused, {} computed, {} bytes", kept.reused, kept.computed, kept.bytes);
        }
        let _ = write!(text, "build {} ({})", self.build, self.version);
        if let Some(shard) = self.shard {
            let _ =
                writeln!(text, ": packs of shard {shard} are in the site; `publisher build-release --collect` signs");
            return text;
        }
        if self.dry_run {
            let bytes: u64 = self.platforms.iter().map(PlatformSummary::published_bytes).sum();
            let _ = writeln!(text, " would add {bytes} bytes of objects and packs; nothing was written");
            return text;
        }
        match &self.channel {
            None => text.push_str(" is in the site; `publisher promote` moves a channel to it\n"),
            Some(ChannelSummary { channel, sequence, moved }) => {
                let verb = if *moved { "is" } else { "was already" };
                let _ = writeln!(text, " {verb} what channel {channel} offers (sequence {sequence})");
            }
        }
        text
    }
}

impl PlatformSummary {
    /// Bytes of objects and packs that are new in the site.
    pub fn published_bytes(&self) -> u64 {
        let kept = |pack: &PackSummary| if let PackFate::Kept(bytes) = pack.fate { bytes } else { 0 };
        self.new_object_bytes + if self.reused { 0 } else { self.packs.iter().map(kept).sum::<u64>() }
    }

    fn row(&self) -> [String; 6] {
        let what = if self.reused { "(published before)" } else { "(full)" };
        let seconds = format!("{:.1}", self.seconds);
        [self.platform.clone(), what.to_owned(), self.full_bytes.to_string(), String::new(), String::new(), seconds]
    }
}

impl PackSummary {
    fn row(&self, platform: &PlatformSummary) -> [String; 6] {
        let bytes = self.fate.pack_bytes();
        let ratio = bytes.map(|b| ratio(b, platform.full_bytes)).unwrap_or_default();
        let pack = match self.fate {
            PackFate::Kept(bytes) => bytes.to_string(),
            PackFate::TooLarge(bytes) => format!("({bytes}, not kept)"),
            PackFate::OverBytes(bytes) => format!("({bytes}, over budget)"),
            PackFate::OverTime => "(no time)".to_owned(),
            PackFate::Same => "(same content)".to_owned(),
            PackFate::Skipped => "(skipped)".to_owned(),
        };
        let base = format!("{} ({})", self.base_build, self.base_version);
        let full = platform.full_bytes.to_string();
        [platform.platform.clone(), base, full, pack, ratio, format!("{:.1}", self.seconds)]
    }
}

/// One number of bytes as a share of another, in percent; empty where that is none.
pub fn ratio(pack_bytes: u64, full_bytes: u64) -> String {
    if full_bytes == 0 { String::new() } else { format!("{:.2} %", pack_bytes as f64 * 100.0 / full_bytes as f64) }
}

/// Sets rows as a table: words to the left, numbers to the right, from the third on.
pub fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .enumerate()
            .map(|(i, cell)| if i < 2 { format!("{cell:<0$}", widths[i]) } else { format!("{cell:>0$}", widths[i]) })
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_every_pack() {
        let pack = |base_build, fate| PackSummary { base_build, base_version: "1.0".to_owned(), fate, seconds: 0.25 };
        let fates = [PackFate::Kept(50), PackFate::TooLarge(2000), PackFate::Same, PackFate::Skipped];
        let packs = fates.iter().zip(1..).map(|(fate, build)| pack(build, *fate)).collect();
        let platform = PlatformSummary {
            platform: "linux-x86_64".to_owned(),
            reused: false,
            rows: 3,
            content_bytes: 5000,
            full_bytes: 1000,
            new_object_bytes: 1000,
            seconds: 1.0,
            packs,
        };
        let mut summary =
            Summary { build: 7, version: "1.2".to_owned(), platforms: vec![platform], ..Summary::default() };
        let table = summary.to_table();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 7);
        let cells: Vec<&str> = lines[2].split_whitespace().collect();
        assert_eq!(cells, ["linux-x86_64", "1", "(1.0)", "1000", "50", "5.00", "%", "0.2"]);
        assert_eq!(lines[2].len(), lines[0].len(), "numbers end where their headings end: {table}");
        assert!(lines[3].contains("(2000, not kept)") && lines[6].contains("promote"), "{table}");
        summary.channel = Some(ChannelSummary { channel: "stable".to_owned(), sequence: 3, moved: true });
        assert!(summary.to_table().ends_with("build 7 (1.2) is what channel stable offers (sequence 3)\n"));
    }
}
