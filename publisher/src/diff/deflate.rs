//! Patches of archives: takes the deflate streams that changed out of both sides, and diffs their texts.
//!
//! [`find`] tells where streams lie, [`settings`] what zlib was told when it wrote one, [`shared`] what they cost if they
//! are left as they are. A stream of new that old does
//! not have is replaced by its text if zlib gives it back byte for byte, which is tried here and now; all else stays as
//! it is. Of old, every stream that new does not have gives its text: names say nothing that the diff of all texts with
//! all texts does not find.

pub mod find;
pub mod settings;
pub mod shared;

use std::collections::HashSet;
use std::io::Write;
use std::ops::Range;

use flate2::{Decompress, FlushDecompress, Status};
use lamplighter_client::format::digest::Blake3;
use lamplighter_client::format::pack::{BlockInfo, DEFLATE};
use lamplighter_client::patch::deflate::{DeflateLayout, LAYOUT_BYTES_MAX, NewStream, OldStream, TEXT_BYTES_MAX};
use lamplighter_client::zlib::Settings;

use super::entropy::{Role, put_piece, smallest};
use super::{DiffError, Effort, Encoded, Side, encode_within, read};
use settings::SettingsSearch;

/// Each side is held in memory; one that is larger is not looked into.
const SIDE_BYTES_MAX: u64 = 256 << 20;
/// Most bytes of the texts of one side, and of one stream.
const TEXTS_BYTES_MAX: u64 = 256 << 20;
/// Time a client takes for a byte of old text, in nanoseconds.
const INFLATE_NS: u64 = 5;

/// A patch of method 3.
pub struct Archive {
    /// What the header says of it.
    pub encoded: Encoded,
    /// Time a client takes for the texts, beyond that of method 1: an estimate in nanoseconds, the same on any machine.
    pub client_ns: u64,
    /// Bytes that a patch of another method has to carry at least ([`shared`]).
    pub outside_bytes: u64,
}

impl Archive {
    /// Whether no other method comes near these `pack_bytes`, so that it needs not be tried.
    pub fn wins(&self, pack_bytes: u64, bytes_per_second: u64) -> bool {
        pack_bytes <= self.outside_bytes / 2 && self.pays(pack_bytes, self.outside_bytes, bytes_per_second)
    }

    /// Whether its `pack_bytes` are worth the client's time beside those of the `other` method. `bytes_per_second`:
    /// what a second must save.
    pub fn pays(&self, pack_bytes: u64, other: u64, bytes_per_second: u64) -> bool {
        let needed = u128::from(self.client_ns) * u128::from(bytes_per_second) / 1_000_000_000;
        pack_bytes < other && u128::from(other - pack_bytes) >= needed
    }
}

/// Encodes the patch of method 3 that makes `new` from `old`, unless there is nothing to expand.
///
/// Memory: both sides whole, and their texts, up to 256 MiB each.
///
/// # Errors
/// Reading either side, writing the blocks, or no memory for an index.
pub fn encode(
    mut old: Side<'_>,
    mut new: Side<'_>,
    effort: Effort,
    sink: &mut dyn Write,
) -> Result<Option<Archive>, DiffError> {
    if old.length.max(new.length) > SIDE_BYTES_MAX {
        return Ok(None);
    }
    let (old_length, new_length) = (old.length, new.length);
    let new_bytes = read(&mut new, "new", 0, new_length)?;
    let new_streams = find::streams(&new_bytes);
    if new_streams.is_empty() {
        return Ok(None);
    }
    let old_bytes = read(&mut old, "old", 0, old_length)?;
    let old_streams = find::streams(&old_bytes);
    let mut layout = DeflateLayout::default();
    let new_absent = absent(&new_bytes, &new_streams, &old_bytes, &old_streams);
    let outside_bytes = shared::bytes_beyond(&old_bytes, &old_streams, &new_bytes, &new_absent);
    let new_expanded = expand_new(&new_bytes, new_absent, &mut layout);
    if layout.new.is_empty() {
        return Ok(None);
    }
    let old_absent = absent(&old_bytes, &old_streams, &new_bytes, &new_streams);
    let old_expanded = expand_old(old_bytes, old_absent, &mut layout);
    let layout_bytes = layout.to_bytes();
    if layout_bytes.len() as u64 > LAYOUT_BYTES_MAX {
        return Ok(None);
    }
    let encoded = write_blocks(&layout_bytes, &old_expanded, &new_expanded, effort, sink)?;
    Ok(Some(Archive { encoded, client_ns: client_ns(&layout), outside_bytes }))
}

/// The block of the layout, then those of the plain patch.
fn write_blocks(
    layout: &[u8],
    mut old: &[u8],
    mut new: &[u8],
    effort: Effort,
    sink: &mut dyn Write,
) -> Result<Encoded, DiffError> {
    let (codec, stored) = smallest(layout, Role::Numbers, effort)?;
    let mut payload = Vec::new();
    put_piece(&mut payload, codec, layout.len(), &stored);
    sink.write_all(&payload).map_err(DiffError::Write)?;
    let old_side = Side { length: old.len() as u64, bytes: &mut old };
    let new_side = Side { length: new.len() as u64, bytes: &mut new };
    let mut encoded = encode_within(effort.pass(), old_side, new_side, effort, sink)?;
    encoded.method = DEFLATE;
    encoded.codecs.insert(0, codec);
    encoded.blocks.insert(0, BlockInfo { length: payload.len() as u64, blake3: Blake3::of(&payload) });
    Ok(encoded)
}

/// The streams of one side whose bytes are no stream of the other.
fn absent(bytes: &[u8], streams: &[Range<usize>], other: &[u8], other_streams: &[Range<usize>]) -> Vec<Range<usize>> {
    let known: HashSet<&[u8]> = other_streams.iter().map(|range| &other[range.clone()]).collect();
    streams.iter().filter(|range| !known.contains(&bytes[(*range).clone()])).cloned().collect()
}

/// New with the streams that zlib gives back replaced by their texts; notes them in the layout.
fn expand_new(new: &[u8], streams: Vec<Range<usize>>, layout: &mut DeflateLayout) -> Vec<u8> {
    let mut search = SettingsSearch::default();
    let mut expanded = Vec::new();
    let mut at = 0;
    for range in streams {
        let stream = &new[range.clone()];
        let left = TEXTS_BYTES_MAX - layout.new_text_bytes();
        let Some(text) = inflate(stream, left).filter(|text| !text.is_empty()) else { continue };
        let Some(settings) = search.find(stream, &text) else { continue };
        expanded.extend_from_slice(&new[at..range.start]);
        expanded.extend_from_slice(&text);
        let gap_bytes = (range.start - at) as u64;
        layout.new.push(NewStream { gap_bytes, text_bytes: text.len() as u64, settings });
        at = range.end;
    }
    layout.rest_bytes = (new.len() - at) as u64;
    expanded.extend_from_slice(&new[at..]);
    expanded
}

/// Old followed by the texts of streams; notes them in the layout.
fn expand_old(mut old: Vec<u8>, streams: Vec<Range<usize>>, layout: &mut DeflateLayout) -> Vec<u8> {
    for range in streams {
        let left = TEXTS_BYTES_MAX - layout.old_text_bytes();
        let Some(text) = inflate(&old[range.clone()], left).filter(|text| !text.is_empty()) else { continue };
        let (offset, stream_bytes) = (range.start as u64, range.len() as u64);
        layout.old.push(OldStream { offset, stream_bytes, text_bytes: text.len() as u64 });
        old.extend_from_slice(&text);
    }
    old
}

/// The text of a stream that ends where its bytes do, if it has at most `text_bytes_max`.
fn inflate(stream: &[u8], text_bytes_max: u64) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let (read, made) = inflate_from(stream, text_bytes_max, |part| text.extend_from_slice(part))?;
    (read == stream.len() && made == text.len() as u64).then_some(text)
}

/// Inflates the stream that begins where `bytes` do; gives its own length and that of its text.
fn inflate_from(bytes: &[u8], text_bytes_max: u64, mut take: impl FnMut(&[u8])) -> Option<(usize, u64)> {
    let mut decoder = Decompress::new(false);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let (read, made) = (decoder.total_in(), decoder.total_out());
        let status = decoder.decompress(&bytes[read as usize..], &mut buffer, FlushDecompress::None).ok()?;
        take(&buffer[..(decoder.total_out() - made) as usize]);
        if decoder.total_out() > text_bytes_max {
            return None;
        }
        if status == Status::StreamEnd {
            return Some((decoder.total_in() as usize, decoder.total_out()));
        }
        if (read, made) == (decoder.total_in(), decoder.total_out()) {
            return None;
        }
    }
}

fn client_ns(layout: &DeflateLayout) -> u64 {
    let compress = |stream: &NewStream| stream.text_bytes * settings::compress_ns(stream.settings);
    layout.old_text_bytes() * INFLATE_NS + layout.new.iter().map(compress).sum::<u64>()
}

const _: () = assert!(TEXTS_BYTES_MAX <= TEXT_BYTES_MAX);
const _: () = assert!(Settings::DEFAULT.level() == 6);
