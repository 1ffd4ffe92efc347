//! Decoding of one object: a bounded zstd frame, as the specification of [`super`] has it.

use super::{RAW_BYTES_MAX, STORED_BYTES_MAX, StoredObject};
use crate::format::digest::Blake3;

/// Why stored bytes do not decode to what the index says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("object {blake3} cannot be decoded: expected {expected}, found {found}")]
pub struct ObjectError {
    /// Its name.
    pub blake3: Blake3,
    /// What the format asks for.
    pub expected: String,
    /// What the stored bytes hold.
    pub found: String,
}

/// Decodes the stored bytes of `object`, whose BLAKE3 has been checked, into exactly `object.raw_length` bytes.
///
/// Takes that much memory and a constant, whatever the bytes are.
///
/// # Errors
/// Lengths outside the limits or other than the index says; anything but one zstd frame of this content length,
/// without a dictionary and with a window inside the limit; a frame that does not decode.
pub fn decode(stored: &[u8], object: &StoredObject) -> Result<Vec<u8>, ObjectError> {
    let fail = |expected: String, found: String| ObjectError { blake3: object.blake3, expected, found };
    if object.length > STORED_BYTES_MAX || object.raw_length > RAW_BYTES_MAX {
        let found = format!("{} bytes stored and {} raw", object.length, object.raw_length);
        return Err(fail(format!("at most {STORED_BYTES_MAX} bytes stored and {RAW_BYTES_MAX} raw"), found));
    }
    if stored.len() as u64 != object.length {
        return Err(fail(format!("{} bytes stored", object.length), stored.len().to_string()));
    }
    let frame = FrameHeader::read(stored).map_err(|found| fail("a zstd frame".into(), found.into()))?;
    if frame.content_bytes != Some(object.raw_length) {
        let found = frame.content_bytes.map_or("none stated".into(), |n| n.to_string());
        return Err(fail(format!("a frame of {} bytes of content", object.raw_length), found));
    }
    if frame.window_bytes > RAW_BYTES_MAX {
        return Err(fail(format!("a window of at most {RAW_BYTES_MAX} bytes"), frame.window_bytes.to_string()));
    }
    let zstd_error = |code| fail("a valid zstd frame".into(), zstd::zstd_safe::get_error_name(code).to_owned());
    let frame_bytes = zstd::zstd_safe::find_frame_compressed_size(stored).map_err(zstd_error)?;
    if frame_bytes != stored.len() {
        return Err(fail(format!("one frame of {} bytes", stored.len()), format!("a frame of {frame_bytes}")));
    }
    let mut raw = Vec::with_capacity(object.raw_length as usize);
    zstd::zstd_safe::DCtx::create().decompress(&mut raw, stored).map_err(zstd_error)?;
    if raw.len() as u64 != object.raw_length {
        return Err(fail(format!("{} bytes of content", object.raw_length), raw.len().to_string()));
    }
    Ok(raw)
}

/// The part of a zstd frame header that decides what decoding takes (RFC 8878, section 3.1.1.1).
struct FrameHeader {
    content_bytes: Option<u64>,
    window_bytes: u64,
}

impl FrameHeader {
    fn read(stored: &[u8]) -> Result<Self, &'static str> {
        const CUT: &str = "a cut frame header";
        let rest = stored.strip_prefix(&[0x28, 0xb5, 0x2f, 0xfd]).ok_or("another magic number")?;
        let (&descriptor, rest) = rest.split_first().ok_or(CUT)?;
        if descriptor & 0b0000_1011 != 0 {
            return Err("a dictionary or reserved bits");
        }
        let single_segment = descriptor & 0b0010_0000 != 0;
        let (window, rest) = if single_segment {
            (None, rest)
        } else {
            let (&window, rest) = rest.split_first().ok_or(CUT)?;
            (Some(window_bytes(window)), rest)
        };
        let content_bytes = match (descriptor >> 6, single_segment) {
            (0, false) => None,
            (0, true) => Some(little_endian(rest, 1).ok_or(CUT)?),
            (1, _) => Some(little_endian(rest, 2).ok_or(CUT)? + 256),
            (2, _) => Some(little_endian(rest, 4).ok_or(CUT)?),
            _ => Some(little_endian(rest, 8).ok_or(CUT)?),
        };
        Ok(Self { content_bytes, window_bytes: window.or(content_bytes).unwrap_or(u64::MAX) })
    }
}

fn window_bytes(descriptor: u8) -> u64 {
    let base = 1u64 << (10 + (descriptor >> 3));
    base + (base / 8) * u64::from(descriptor & 7)
}

fn little_endian(bytes: &[u8], count: usize) -> Option<u64> {
    let bytes = bytes.get(..count)?;
    Some(bytes.iter().rev().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use zstd::stream::Encoder;

    fn object(stored: &[u8], raw_length: usize) -> StoredObject {
        StoredObject { blake3: Blake3::of(stored), length: stored.len() as u64, raw_length: raw_length as u64 }
    }

    fn found(stored: &[u8], raw_length: usize) -> String {
        decode(stored, &object(stored, raw_length)).expect_err("refused").to_string()
    }

    fn frame(raw: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(raw, 3).expect("compressed")
    }

    /// A frame with chosen settings, written as a stream.
    fn streamed(raw: &[u8], set: impl Fn(&mut Encoder<'_, Vec<u8>>)) -> Vec<u8> {
        let mut encoder = Encoder::new(Vec::new(), 3).expect("an encoder");
        set(&mut encoder);
        std::io::Write::write_all(&mut encoder, raw).expect("written");
        encoder.finish().expect("finished")
    }

    #[test]
    fn every_length_of_content_is_given_back() {
        for length in [1usize, 255, 256, 257, 65_791, 65_792, 1 << 20, RAW_BYTES_MAX as usize] {
            let raw: Vec<u8> = (0..length).map(|i| ((i * i) >> 7) as u8).collect();
            let stored = frame(&raw);
            assert_eq!(decode(&stored, &object(&stored, length)), Ok(raw), "{length}");
        }
    }

    /// A frame by hand: a window of 2^`window_log`, a stated length of 100,000 and one run of `x` of that length.
    fn run_of_x(window_log: u8) -> Vec<u8> {
        let mut stored = vec![0x28, 0xb5, 0x2f, 0xfd, 0b1000_0000, (window_log - 10) << 3];
        stored.extend(100_000u32.to_le_bytes());
        stored.extend(&((100_000u32 << 3) | 0b011).to_le_bytes()[..3]);
        stored.push(b'x');
        stored
    }

    #[test]
    fn frames_with_a_window_or_a_checksum_are_read() {
        for window_log in [17, 24] {
            let stored = run_of_x(window_log);
            assert_eq!(decode(&stored, &object(&stored, 100_000)), Ok(vec![b'x'; 100_000]));
        }
        let stored = streamed(&[7; 3000], |e| {
            e.set_pledged_src_size(Some(3000)).expect("pledged");
            e.include_checksum(true).expect("set");
        });
        assert_eq!(decode(&stored, &object(&stored, 3000)), Ok(vec![7; 3000]));
    }

    #[test]
    fn a_frame_that_states_no_length_is_refused() {
        let stored = streamed(b"content", |_| {});
        assert!(found(&stored, 7).contains("found none stated"));
    }

    #[test]
    fn a_frame_of_another_length_is_refused() {
        let stored = frame(&[0; 1000]);
        assert!(found(&stored, 999).contains("expected a frame of 999 bytes of content, found 1000"));
        assert!(found(&stored, 1001).contains("found 1000"));
    }

    #[test]
    fn bombs_are_refused_before_they_are_decoded() {
        let stored = frame(&vec![0; 64 << 20]);
        assert!(stored.len() < 8192);
        assert!(found(&stored, 64 << 20).contains("at most 8388608 bytes stored and 16777216 raw"));
        assert!(found(&stored, 1000).contains("expected a frame of 1000 bytes"));
    }

    #[test]
    fn a_frame_whose_blocks_hold_more_than_it_states_is_refused() {
        // One run-length block of 100,000 bytes behind a header that states 1,000.
        let mut stored = vec![0x28, 0xb5, 0x2f, 0xfd, 0b0110_0000];
        stored.extend((1000u16 - 256).to_le_bytes());
        stored.extend(&((100_000u32 << 3) | 0b011).to_le_bytes()[..3]);
        stored.push(b'x');
        assert!(found(&stored, 1000).contains("a valid zstd frame"));
    }

    #[test]
    fn a_window_above_the_limit_is_refused() {
        assert!(found(&run_of_x(25), 100_000).contains("window of at most 16777216 bytes, found 33554432"));
    }

    #[test]
    fn anything_but_one_frame_is_refused() {
        let one = frame(b"content");
        let twice = [one.clone(), one.clone()].concat();
        assert!(found(&twice, 7).contains("expected one frame of"));
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9][..], &one].concat();
        assert!(found(&skippable, 7).contains("another magic number"));
        assert!(found(&one[..one.len() - 1], 7).contains("a valid zstd frame"));
        for cut in 0..6 {
            assert!(decode(&one[..cut], &object(&one[..cut], 7)).is_err(), "{cut}");
        }
        let longer = [&one[..], b"x"].concat();
        assert!(decode(&longer, &object(&longer, 7)).is_err());
        let lying = StoredObject { length: one.len() as u64 + 1, ..object(&one, 7) };
        assert!(decode(&one, &lying).is_err());
    }

    #[test]
    fn dictionaries_are_refused() {
        let mut stored = frame(b"content");
        stored[4] |= 1;
        assert!(found(&stored, 7).contains("a dictionary or reserved bits"));
    }

    proptest::proptest! {
        #[test]
        fn damaged_frames_never_panic(at in 0usize..200, bit in 0u8..8, raw in proptest::collection::vec(0u8..4, 1..2000)) {
            let mut stored = frame(&raw);
            let at = at % stored.len();
            stored[at] ^= 1 << bit;
            if let Ok(decoded) = decode(&stored, &object(&stored, raw.len())) {
                proptest::prop_assert_eq!(decoded.len(), raw.len());
            }
        }
    }
}
