//! What a build could do to make an update smaller, from facts alone: what a file takes, how it begins, whether it can be
//! compressed.

use lamplighter_client::format::document::FileRef;
use lamplighter_client::format::layout;
use lamplighter_client::format::objects::{ObjectsIndex, decode};

use super::{How, Part, Transform};
use crate::site::documents::named;
use crate::site::{Site, SiteError};

/// So many of the largest parts are looked at, each by one object.
const LOOKED_AT_MAX: usize = 24;
/// Smaller parts are not worth a word, in bytes.
const WORTH_BYTES: u64 = 4 << 10;
/// What is compressed to see whether it can be, in bytes.
const SAMPLE_BYTES: usize = 1 << 20;
/// A sample that keeps more of its bytes than this, in percent, cannot be compressed.
const DENSE_PERCENT: u64 = 95;
/// Samples smaller than this say nothing of that.
const SAMPLE_BYTES_MIN: u64 = 1 << 10;

/// A change that takes more of what the file in full would than this, in percent, makes a file one that was rewritten.
const REWRITTEN_PERCENT: u64 = 60;

/// What is known of a file beside its part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// What it is by its first bytes.
    pub magic: Option<Magic>,
    /// How many percent of its bytes are left when its beginning is compressed.
    pub packed_percent: Option<u64>,
}

/// What a file's first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Magic {
    /// A container or stream that some program compressed; its name.
    Compressed(&'static str),
    /// Pictures, sound, film, fonts: compressed by nature.
    Media,
    /// An executable.
    Executable,
}

/// What would make a part smaller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// Stable name: `compressed`, `packed`, `dense`, `rewritten`.
    pub code: &'static str,
    /// For people.
    pub text: String,
}

/// Indexes of the parts that take enough to be looked at.
pub fn worth_a_look(parts: &[Part]) -> Vec<usize> {
    let worth = |part: &Part| part.download_bytes >= WORTH_BYTES && takes_much(part);
    let large = (0..parts.len()).filter(|index| worth(&parts[*index]));
    large.take(LOOKED_AT_MAX).collect()
}

/// Reads the beginning of `part`, row `row` of the manifest that `index` belongs to, and judges it.
///
/// # Errors
/// The object is missing or damaged.
pub fn look(site: &Site, index: &ObjectsIndex, row: usize, part: &Part) -> Result<Option<Advice>, SiteError> {
    let Some(piece) = index.pieces(row).first() else { return Ok(None) };
    let object = &index.objects()[piece.object];
    let name = layout::object(&object.blake3);
    // A cache of a site elsewhere has not all of it.
    if site.length(&name).is_none() {
        return Ok(None);
    }
    let stored = named(site, &name, &FileRef { length: object.length, blake3: object.blake3 })?;
    let raw = decode(&stored, object).map_err(|e| SiteError::damaged(&name, e))?;
    // An index keeps pieces within their objects.
    let start = piece.offset as usize;
    Ok(advise(part, &facts(&raw[start..start + piece.length as usize])))
}

/// What the beginning of a file says of it.
pub fn facts(beginning: &[u8]) -> Facts {
    let sample = &beginning[..beginning.len().min(SAMPLE_BYTES)];
    let packed = zstd::bulk::compress(sample, 1).ok().filter(|_| sample.len() as u64 >= SAMPLE_BYTES_MIN);
    let percent = packed.map(|packed| packed.len() as u64 * 100 / sample.len().max(1) as u64);
    Facts { magic: magic(beginning), packed_percent: percent }
}

fn magic(bytes: &[u8]) -> Option<Magic> {
    const KNOWN: &[(usize, &[u8], Magic)] = &[
        (0, b"PK\x03\x04", Magic::Compressed("a zip archive")),
        (0, b"\x1f\x8b", Magic::Compressed("gzip")),
        (0, b"\xfd7zXZ\0", Magic::Compressed("xz")),
        (0, b"\x28\xb5\x2f\xfd", Magic::Compressed("zstd")),
        (0, b"7z\xbc\xaf\x27\x1c", Magic::Compressed("a 7z archive")),
        (0, b"BZh", Magic::Compressed("bzip2")),
        (0, b"\x04\x22\x4d\x18", Magic::Compressed("lz4")),
        (0, b"Rar!", Magic::Compressed("a rar archive")),
        (0, b"MSCF", Magic::Compressed("a cabinet")),
        (0, b"hsqs", Magic::Compressed("a squashfs image")),
        (0, b"\x89PNG", Magic::Media),
        (0, b"\xff\xd8\xff", Magic::Media),
        (0, b"OggS", Magic::Media),
        (0, b"ID3", Magic::Media),
        (0, b"fLaC", Magic::Media),
        (0, b"wOF", Magic::Media),
        (0, b"\x1a\x45\xdf\xa3", Magic::Media),
        (4, b"ftyp", Magic::Media),
        (8, b"WEBP", Magic::Media),
        (0, b"MZ", Magic::Executable),
        (0, b"\x7fELF", Magic::Executable),
        (0, b"\xcf\xfa\xed\xfe", Magic::Executable),
        (0, b"\xca\xfe\xba\xbe", Magic::Executable),
    ];
    let fits = |(at, text, _): &&(usize, &[u8], Magic)| bytes.get(*at..).is_some_and(|rest| rest.starts_with(text));
    KNOWN.iter().find(fits).map(|known| known.2)
}

/// What would make `part` smaller, if anything known would.
pub fn advise(part: &Part, facts: &Facts) -> Option<Advice> {
    let dense = facts.packed_percent.is_some_and(|percent| percent >= DENSE_PERCENT);
    let advice = |code, text: String| Some(Advice { code, text });
    let path = &part.path;
    match (facts.magic, &part.how) {
        (Some(Magic::Media), _) | (_, How::Patched(Transform::Deflate)) => None,
        (Some(Magic::Compressed(kind)), _) => advice(
            "compressed",
            format!(
                "{path} is {kind}: store it uncompressed, objects and packs are compressed anyway and then only what changed in it is sent"
            ),
        ),
        (Some(Magic::Executable), _) if dense => advice(
            "packed",
            format!(
                "{path} is an executable that cannot be compressed: ship it without a packer, and what it carries as files of their own"
            ),
        ),
        (None, _) if dense => advice(
            "dense",
            format!("{path} cannot be compressed: if the build compresses or encrypts it, ship the content itself"),
        ),
        // In full where there was an old file: nothing of that was of use.
        (_, How::Patched(_) | How::Full) if part.replaces && takes_most(part, facts) => {
            advice("rewritten", rewritten(part))
        }
        _ => None,
    }
}

/// What takes less than a fourth of its size is patched well, whatever it is.
fn takes_much(part: &Part) -> bool {
    part.download_bytes.saturating_mul(4) >= part.size
}

/// Whether the change takes most of what the file in full would.
fn takes_most(part: &Part, facts: &Facts) -> bool {
    let full = part.size.saturating_mul(facts.packed_percent.unwrap_or(100).min(100)) / 100;
    takes_much(part) && part.download_bytes.saturating_mul(100) >= full.saturating_mul(REWRITTEN_PERCENT)
}

fn rewritten(part: &Part) -> String {
    let percent = part.download_bytes.saturating_mul(100) / part.size.max(1);
    format!(
        "{} shares little with what it was: its change takes {percent} % of its size; keep the order of what is in it from build to build, and dates and random ids out of it",
        part.path
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(how: How, size: u64, download_bytes: u64) -> Part {
        let mut part = Part::new("data/x.bin", how);
        (part.size, part.download_bytes, part.replaces) = (size, download_bytes, true);
        part
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 7u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    fn code(how: How, download_bytes: u64, beginning: &[u8]) -> Option<&'static str> {
        advise(&part(how, 100_000, download_bytes), &facts(beginning)).map(|advice| advice.code)
    }

    #[test]
    fn the_first_bytes_and_what_is_left_of_them_decide() {
        let plain = How::Patched(Transform::Plain);
        let (text, dense) = (b"one line after the other\n".repeat(400), noise(10_000));
        let behind = |magic: &[u8]| [magic, &dense[..]].concat();
        assert_eq!(code(How::Full, 90_000, &behind(b"PK\x03\x04")), Some("compressed"));
        assert_eq!(code(plain.clone(), 90_000, &behind(b"\xfd7zXZ\0")), Some("compressed"));
        assert_eq!(code(How::Patched(Transform::Deflate), 90_000, &behind(b"PK\x03\x04")), None);
        assert_eq!(code(plain.clone(), 90_000, &behind(b"\x89PNG")), None);
        assert_eq!(code(plain.clone(), 90_000, &behind(b"\x7fELF")), Some("packed"));
        assert_eq!(code(plain.clone(), 90_000, &dense), Some("dense"));
        assert_eq!(code(plain.clone(), 90_000, &text), Some("rewritten"));
        assert_eq!(code(How::Full, 90_000, &text), Some("rewritten"));
        assert_eq!(code(plain, 100, &text), None);
        let fresh = Part { replaces: false, ..part(How::Full, 100_000, 90_000) };
        assert_eq!(advise(&fresh, &facts(&text)), None, "a file that is new has nothing to share with");
    }

    #[test]
    fn only_what_takes_much_of_its_size_is_looked_at() {
        let sizes = [(100_000, 90_000), (100_000, 10_000), (5_000, 1_000), (4 << 10, 4 << 10)];
        let parts: Vec<Part> = sizes.iter().map(|(size, bytes)| part(How::Full, *size, *bytes)).collect();
        assert_eq!(worth_a_look(&parts), [0, 3]);
    }
}
