//! Makes patches: old and new bytes in, the blocks of a unit out, as [`lamplighter_client::patch`] reads them.
//!
//! One stage a file: [`windowing`] divides what is too large into sections, with the help of [`samples`] and [`equal`];
//! [`suffix`] finds the longest match of some bytes in old; [`matching`] aligns new with old by such matches; [`control`]
//! turns the alignment into control triples and raw streams; [`entropy`] compresses them block by block. Executables go
//! through [`references`] instead, as far as memory allows. [`deflate`] does all that on the texts inside of archives.
//!
//! The same input gives the same bytes, on any machine and at any thread count: no stage looks at a clock, a random
//! number, the number of cores or the order in which threads run.

pub mod control;
pub mod deflate;
pub mod effort;
pub mod entropy;
pub mod equal;
pub mod matching;
pub mod references;
pub mod runs;
pub mod samples;
pub mod suffix;
pub mod windowing;

use std::io::{self, Write};

use lamplighter_client::format::pack::codec::{Algorithm, CodecError};
use lamplighter_client::format::pack::{BlockInfo, PLAIN, PLAIN_STREAMS};
use lamplighter_client::patch::OldBytes;

use control::Control;
pub use effort::Effort;
use effort::Pass;
use entropy::{BlockWriter, Role};
use matching::{Match, Matcher};
pub use references::Files;
use suffix::SuffixIndex;
use windowing::{OldWindow, Part};

/// Counts up whenever the same input may give other bytes than before; part of the key under which patches are kept.
pub const ENCODER_VERSION: u32 = 3;

/// Why a patch can't be made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum DiffError {
    #[error("diff: reading {length} bytes at {offset} of the {side} content: {source}")]
    Read { side: &'static str, offset: u64, length: u64, source: io::Error },
    #[error("diff: writing a block: {0}")]
    Write(#[source] io::Error),
    #[error("diff: {0}")]
    Codec(#[from] CodecError),
    #[error("diff: suffix array of {bytes} bytes: {reason}")]
    Suffix { bytes: usize, reason: String },
}

/// Content to diff: bytes that can be read at any place, and how many they are.
pub struct Side<'a> {
    /// The bytes.
    pub bytes: &'a mut dyn OldBytes,
    /// How many.
    pub length: u64,
}

/// What a pack's header says of a unit's blocks; their bytes went to the sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// How a client makes the new bytes.
    pub method: Algorithm,
    /// What the method needs to know besides.
    pub parameters: Vec<u8>,
    /// Codec of each stream.
    pub codecs: Vec<Algorithm>,
    /// The blocks, in order.
    pub blocks: Vec<BlockInfo>,
}

const PLAIN_ROLES: [Role; PLAIN_STREAMS] = [Role::Numbers, Role::Numbers, Role::Numbers, Role::Content];

/// Encodes the patch that makes `new` from `old` and writes its blocks to `sink`. `files` are what both consist of.
///
/// Memory: both sides whole up to 256 MiB each, with five bytes of index a byte of old; executables up to 512 MiB, twice;
/// beyond that, sections of both.
///
/// # Errors
/// Reading either side, writing the blocks, or no memory for an index.
pub fn encode(
    mut old: Side<'_>,
    mut new: Side<'_>,
    files: &Files,
    effort: Effort,
    sink: &mut dyn Write,
) -> Result<Encoded, DiffError> {
    if old.length.max(new.length) <= references::BYTES_MAX && has_images(&mut old, files)? {
        let (old_length, new_length) = (old.length, new.length);
        let old_bytes = read(&mut old, "old", 0, old_length)?;
        let new_bytes = read(&mut new, "new", 0, new_length)?;
        let pairing = references::Pairing::find(&old_bytes, &new_bytes, files);
        let encode = |pairing| references::encode(&old_bytes, &new_bytes, &pairing, effort, sink);
        if let Some(encoded) = pairing.map_or(Ok(None), encode)? {
            return Ok(encoded);
        }
    }
    encode_within(effort.pass(), old, new, effort, sink)
}

/// Whether an old file begins as an executable does.
fn has_images(old: &mut Side<'_>, files: &Files) -> Result<bool, DiffError> {
    for file in files.old.iter().filter(|file| file.end - file.start >= IMAGE_BYTES_MIN) {
        let start = read(old, "old", file.start, 4)?;
        if matches!(
            start[..],
            [b'M', b'Z', ..] | [0x7f, b'E', b'L', b'F'] | [0xcf, 0xfa, 0xed, 0xfe] | [0xca, 0xfe, 0xba, 0xbe]
        ) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Smaller files hold no code to speak of.
const IMAGE_BYTES_MIN: u64 = 1 << 10;

fn encode_within(
    pass: Pass,
    mut old: Side<'_>,
    mut new: Side<'_>,
    effort: Effort,
    sink: &mut dyn Write,
) -> Result<Encoded, DiffError> {
    let mut control = Control::new(BlockWriter::new(PLAIN, &PLAIN_ROLES, effort, sink));
    for section in windowing::plan(&mut old, &mut new, pass.bounds)? {
        let searches = section.parts.iter().any(|part| matches!(part, Part::Search(_)));
        let old_bytes = if searches { section.old.read(&mut old)? } else { Vec::new() };
        let mut search = Search { old: &old_bytes, window: &section.old, index: None, match_min: pass.match_min };
        for part in &section.parts {
            match part {
                Part::Equal(run) => control.copy_equal(run.old, run.length)?,
                Part::Search(range) => {
                    let new_bytes = read(&mut new, "new", range.start, range.end - range.start)?;
                    search.encode(&new_bytes, &mut control)?;
                }
            }
        }
    }
    control.finish()?.finish()
}

/// The search in the old bytes of one section; they are indexed when first needed.
struct Search<'a> {
    old: &'a [u8],
    window: &'a OldWindow,
    index: Option<SuffixIndex<'a>>,
    match_min: usize,
}

impl Search<'_> {
    /// Aligns `new` with old and passes the alignment on.
    fn encode(&mut self, new: &[u8], control: &mut Control<'_>) -> Result<(), DiffError> {
        let mut at = 0;
        for found in self.align(new)? {
            control.insert(&new[at..found.new])?;
            at = found.new + found.length;
            for (start, part) in self.window.locate(found.old, found.length) {
                let from = found.new + (part.start - found.old);
                control.copy(start, &self.old[part.clone()], &new[from..from + part.len()])?;
            }
        }
        control.insert(&new[at..])
    }

    /// Matches in the order of new, without overlap. Equal content, and old that is empty, need no index.
    fn align(&mut self, new: &[u8]) -> Result<Vec<Match>, DiffError> {
        if new.is_empty() || self.old.is_empty() {
            return Ok(Vec::new());
        }
        if matching::common_prefix(self.old, new) == new.len() {
            return Ok(vec![Match { new: 0, old: 0, length: new.len() }]);
        }
        let index = match &mut self.index {
            Some(index) => index,
            none => none.insert(SuffixIndex::new(self.old, self.match_min)?),
        };
        Ok(Matcher::new(index, self.old, new).run())
    }
}

/// Reads a stretch of one side into memory.
fn read(side: &mut Side<'_>, name: &'static str, offset: u64, length: u64) -> Result<Vec<u8>, DiffError> {
    let fail = |source| DiffError::Read { side: name, offset, length, source };
    let size = usize::try_from(length).map_err(|_| fail(io::ErrorKind::OutOfMemory.into()))?;
    let mut bytes = vec![0; size];
    side.bytes.read_at(offset, &mut bytes).map_err(fail)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use lamplighter_client::format::pack::Unit;
    use lamplighter_client::patch::UnitDecoder;
    use proptest::prelude::*;

    use super::samples::tests::noise;
    use super::windowing::Bounds;
    use super::*;

    /// Encodes and decodes; gives the length of the blocks.
    fn round_trip(bounds: Bounds, old: &[u8], new: &[u8]) -> usize {
        let (mut old_bytes, mut new_bytes) = (old, new);
        let old_side = Side { length: old.len() as u64, bytes: &mut old_bytes };
        let new_side = Side { length: new.len() as u64, bytes: &mut new_bytes };
        let mut blocks = Vec::new();
        let encoded = encode_within(Pass { bounds, match_min: 6 }, old_side, new_side, Effort::new(1), &mut blocks)
            .expect("encoded");
        let unit = Unit {
            method: encoded.method,
            parameters: encoded.parameters,
            codecs: encoded.codecs,
            blocks: 0..encoded.blocks.len(),
            old_rows: Vec::new(),
            new_rows: vec![0],
        };
        let mut decoder =
            UnitDecoder::new(&unit, old.len() as u64, new.len() as u64, Cursor::new(Vec::new())).expect("readable");
        let (mut at, mut decoded) = (0, Vec::new());
        for block in &encoded.blocks {
            let end = at + block.length as usize;
            decoder.block(&blocks[at..end], &mut &old[..], &mut decoded).expect("decoded");
            at = end;
        }
        decoder.finish().expect("whole");
        assert!(decoded == new, "the new bytes differ");
        blocks.len()
    }

    #[test]
    fn sections_find_what_moved_far() {
        let old = noise(1, 900_000);
        let mut new = [&old[700_000..], &noise(2, 20_000), &old[..300_000], &old[310_000..700_000]].concat();
        (0..40).for_each(|n| new[n * 20_011] ^= 0x20);
        let bytes = round_trip(Bounds::small(), &old, &new);
        assert!(bytes < 20_000 + 1_500, "{bytes} bytes");
    }

    #[test]
    fn a_large_equal_stretch_is_one_small_block() {
        let old = noise(3, 6 << 20);
        let bytes = round_trip(Bounds::small(), &old, &[&b"front"[..], &old, b"end"].concat());
        assert!(bytes < 100, "{bytes} bytes");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn any_edits_come_back_with_and_without_sections(
            seed in 0u64..9,
            length in 0usize..200_000,
            splices in proptest::collection::vec((any::<usize>(), 0usize..60_000, any::<usize>(), 0usize..60_000), 0..6),
        ) {
            let old = noise(seed, length);
            let mut new = old.clone();
            for (at, removed, from, copied) in splices {
                let at = at % (new.len() + 1);
                let end = (at + removed).min(new.len());
                let from = from % (old.len() + 1);
                let copy = old[from..(from + copied).min(old.len())].to_vec();
                new.splice(at..end, copy);
            }
            round_trip(Bounds::small(), &old, &new);
            round_trip(Bounds::thorough(), &old, &new);
        }
    }
}
