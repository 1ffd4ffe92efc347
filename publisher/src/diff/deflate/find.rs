//! Where deflate streams lie in the contents of files: in zips and all that is one, in gzip and in PNG files.
//!
//! The marks of these formats are looked for anywhere, so archives within others and several files in a row need no
//! treatment of their own. What a mark promises is checked as far as it costs little; a stream that turns out to be
//! none is left alone later, so a wrong hint costs time and nothing else.

use std::ops::Range;

use super::inflate_from;

const ZIP_END: &[u8] = b"PK\x05\x06";
const ZIP_ENTRY: &[u8] = b"PK\x01\x02";
const ZIP_FILE: &[u8] = b"PK\x03\x04";
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
const GZIP: &[u8] = b"\x1f\x8b\x08";
/// A stream shorter than this gains nothing.
const STREAM_BYTES_MIN: usize = 16;
/// The longest text of a gzip file.
const TEXT_BYTES_MAX: u64 = 256 << 20;

/// The streams in `bytes`, in order and apart.
pub fn streams(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut gzip_end = 0;
    for at in marks(bytes) {
        let rest = &bytes[at..];
        if rest.starts_with(ZIP_END) {
            put_zip(bytes, at, &mut found);
        } else if rest.starts_with(PNG) {
            put_png(bytes, at, &mut found);
        } else if rest.starts_with(GZIP)
            && at >= gzip_end
            && let Some(range) = gzip_stream(bytes, at)
        {
            gzip_end = range.end;
            found.push(range);
        }
    }
    found.retain(|range| range.len() >= STREAM_BYTES_MIN);
    found.sort_by_key(|range| (range.start, range.end));
    let mut end = 0;
    found.retain(|range| {
        let apart = range.start >= end;
        if apart {
            end = range.end;
        }
        apart
    });
    found
}

/// Places of the first bytes of all marks.
fn marks(bytes: &[u8]) -> impl Iterator<Item = usize> {
    bytes.iter().enumerate().filter(|(_, byte)| matches!(byte, b'P' | 0x89 | 0x1f)).map(|(at, _)| at)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    Some(usize::from(u16::from_le_bytes(bytes.try_into().ok()?)))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
}

/// The deflated entries of the zip whose directory ends at `end`. Offsets count from where the zip begins, which
/// follows from where its directory lies.
fn put_zip(bytes: &[u8], end: usize, found: &mut Vec<Range<usize>>) {
    let read = || Some((u16_at(bytes, end + 10)?, u32_at(bytes, end + 12)?, u32_at(bytes, end + 16)?));
    let Some((entries, directory_bytes, directory_offset)) = read() else { return };
    let Some(mut at) = end.checked_sub(directory_bytes) else { return };
    let Some(start) = at.checked_sub(directory_offset) else { return };
    for _ in 0..entries {
        let Some(length) = put_entry(bytes, start, at, found) else { return };
        at += length;
    }
}

/// Notes the stream of the entry described at `at`; gives the length of the description.
fn put_entry(bytes: &[u8], start: usize, at: usize, found: &mut Vec<Range<usize>>) -> Option<usize> {
    if !bytes.get(at..)?.starts_with(ZIP_ENTRY) {
        return None;
    }
    let (method, length, offset) = (u16_at(bytes, at + 10)?, u32_at(bytes, at + 20)?, u32_at(bytes, at + 42)?);
    let range = || {
        let file = start.checked_add(offset)?;
        let is_there = bytes.get(file..)?.starts_with(ZIP_FILE);
        let data = file + 30 + u16_at(bytes, file + 26)? + u16_at(bytes, file + 28)?;
        let end = data.checked_add(length)?;
        (is_there && end <= bytes.len()).then_some(data..end)
    };
    if method == 8 {
        found.extend(range());
    }
    Some(46 + u16_at(bytes, at + 28)? + u16_at(bytes, at + 30)? + u16_at(bytes, at + 32)?)
}

/// Notes the stream of the PNG at `at`, if it lies in one chunk.
fn put_png(bytes: &[u8], at: usize, found: &mut Vec<Range<usize>>) {
    let mut at = at + PNG.len();
    let mut data = None;
    loop {
        let Some(length) = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes) else {
            return;
        };
        let length = length as usize;
        match bytes.get(at + 4..at + 8) {
            Some(b"IDAT") if data.is_some() => return,
            // A zlib header of two bytes before the stream, a checksum of four behind it.
            Some(b"IDAT") if length > 6 => data = Some(at + 10..at + 4 + length),
            Some(b"IEND") => break,
            Some(_) => {}
            None => return,
        }
        at += 12 + length;
    }
    found.extend(data.filter(|range| range.end <= bytes.len()));
}

/// The stream of the gzip file at `at` (RFC 1952), whose checksums say that it is one.
fn gzip_stream(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let flags = *bytes.get(at + 3)?;
    if flags & 0xe0 != 0 {
        return None;
    }
    let mut start = at + 10;
    if flags & 4 != 0 {
        start += 2 + u16_at(bytes, start)?;
    }
    // A name and a comment, each ended by a zero.
    for _ in 0..(flags >> 3 & 1) + (flags >> 4 & 1) {
        start += bytes.get(start..)?.iter().position(|byte| *byte == 0)? + 1;
    }
    if flags & 2 != 0 {
        start += 2;
    }
    let mut crc = flate2::Crc::new();
    let (length, _) = inflate_from(bytes.get(start..)?, TEXT_BYTES_MAX, |part| crc.update(part))?;
    let end = start + length;
    let is_gzip = u32_at(bytes, end)? == crc.sum() as usize && u32_at(bytes, end + 4)? == crc.amount() as usize;
    is_gzip.then_some(start..end)
}
