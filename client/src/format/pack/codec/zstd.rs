//! Codec 1: zstd frames without what never changes.

use zstd::stream::raw::{CParameter, DParameter, Decoder, Encoder, InBuffer, Operation, OutBuffer};

use super::CodecError;

/// Largest zstd window, as a power of two.
pub const WINDOW_LOG_MAX: u32 = 23;

const WINDOW_LOG_MIN: u32 = 10;

/// What every zstd frame begins with, and so is left out.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Decodes the pieces of one zstd stream in order.
pub struct ZstdStream {
    decoder: Decoder<'static>,
    started: bool,
}

impl ZstdStream {
    /// A decoder at the first byte of a stream.
    ///
    /// # Errors
    /// zstd has no memory.
    pub fn new() -> Result<Self, CodecError> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX))?;
        Ok(Self { decoder, started: false })
    }

    /// Decodes one piece of exactly `raw_length` bytes, which the caller has bounded.
    ///
    /// # Errors
    /// The bytes are not zstd, give more or fewer bytes, or end the frame.
    pub fn piece(&mut self, stored: &[u8], raw_length: usize) -> Result<Vec<u8>, CodecError> {
        check_piece(stored, !self.started)?;
        let mut raw = vec![0; raw_length];
        let mut done = 0;
        if !stored.is_empty() && !self.started {
            self.started = true;
            self.feed(&ZSTD_MAGIC, &mut [])?;
        }
        let mut input = stored;
        while !input.is_empty() {
            let (read, written) = self.feed(input, &mut raw[done..])?;
            if read == 0 && written == 0 {
                break;
            }
            input = &input[read..];
            done += written;
        }
        let mut beyond = [0];
        let more = if self.started { self.feed(&[], &mut beyond)?.1 } else { 0 };
        if done + more != raw_length || !input.is_empty() {
            return Err(CodecError::Length {
                stored: stored.len(),
                expected: raw_length,
                actual: done + more + input.len(),
            });
        }
        Ok(raw)
    }

    fn feed(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), CodecError> {
        let mut input = InBuffer::around(input);
        let mut output = OutBuffer::around(output);
        self.decoder.run(&mut input, &mut output)?;
        Ok((input.pos(), output.pos()))
    }
}

/// Checks that a piece is whole blocks of a frame of the only kind that is allowed; the blocks themselves are for zstd
/// to check. Lengths are as in RFC 8878, section 3.1.1.
fn check_piece(stored: &[u8], first: bool) -> Result<(), CodecError> {
    let mut rest = stored;
    if first && !stored.is_empty() {
        let [descriptor, window, after @ ..] = stored else { return Err(CodecError::Frame("a cut frame header")) };
        if *descriptor != 0 {
            return Err(CodecError::Frame("a checksum, dictionary or content size"));
        }
        if u32::from(*window) > (WINDOW_LOG_MAX - WINDOW_LOG_MIN) << 3 {
            return Err(CodecError::Frame("a window of more than 8 MiB"));
        }
        rest = after;
    }
    while !rest.is_empty() {
        let [low, middle, high, after @ ..] = rest else { return Err(CodecError::Frame("a cut block header")) };
        let header = u32::from_le_bytes([*low, *middle, *high, 0]);
        if header & 1 != 0 {
            return Err(CodecError::Frame("the end of the frame"));
        }
        let repeats = header >> 1 & 3 == 1;
        let length = if repeats { 1 } else { (header >> 3) as usize };
        rest = after.get(length..).ok_or(CodecError::Frame("a cut block"))?;
    }
    Ok(())
}

/// Encodes the pieces of one zstd stream in order.
pub struct ZstdEncoder {
    encoder: Encoder<'static>,
    started: bool,
}

impl ZstdEncoder {
    /// An encoder; `raw_length` is the length of the whole stream where it is known, and helps with short ones.
    ///
    /// # Errors
    /// zstd refuses a parameter.
    pub fn new(level: i32, parameters: &[CParameter], raw_length: Option<u64>) -> Result<Self, CodecError> {
        let mut encoder = Encoder::new(level)?;
        let plain =
            [CParameter::ContentSizeFlag(false), CParameter::ChecksumFlag(false), CParameter::DictIdFlag(false)];
        for parameter in plain.iter().chain(parameters) {
            encoder.set_parameter(*parameter)?;
        }
        encoder.set_pledged_src_size(raw_length)?;
        Ok(Self { encoder, started: false })
    }

    /// The stored bytes of the next piece; none for an empty one.
    ///
    /// # Errors
    /// zstd fails.
    pub fn piece(&mut self, raw: &[u8]) -> Result<Vec<u8>, CodecError> {
        let mut stored: Vec<u8> = Vec::with_capacity(zstd::zstd_safe::compress_bound(raw.len()) + 1024);
        if raw.is_empty() {
            return Ok(stored);
        }
        let mut input = InBuffer::around(raw);
        while input.pos() < raw.len() {
            let at = stored.len();
            stored.reserve(ROOM);
            let mut output = OutBuffer::around_pos(&mut stored, at);
            self.encoder.run(&mut input, &mut output)?;
        }
        loop {
            let at = stored.len();
            stored.reserve(ROOM);
            let mut output = OutBuffer::around_pos(&mut stored, at);
            if self.encoder.flush(&mut output)? == 0 {
                break;
            }
        }
        if !self.started {
            self.started = true;
            stored.drain(..ZSTD_MAGIC.len());
        }
        Ok(stored)
    }
}

const ROOM: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn encoder() -> ZstdEncoder {
        ZstdEncoder::new(3, &[CParameter::WindowLog(WINDOW_LOG_MAX)], None).expect("an encoder")
    }

    #[test]
    fn pieces_share_one_context_and_come_back() {
        let text = b"the quick brown fox jumps over the lazy dog".repeat(20);
        let mut encoder = encoder();
        let first = encoder.piece(&text).expect("encoded");
        let empty = encoder.piece(b"").expect("encoded");
        let second = encoder.piece(&text).expect("encoded");
        assert!(empty.is_empty() && second.len() < first.len());
        let mut decoder = ZstdStream::new().expect("a decoder");
        assert_eq!(decoder.piece(&first, text.len()).expect("decoded"), text);
        assert_eq!(decoder.piece(&[], 0).expect("decoded"), b"");
        assert_eq!(decoder.piece(&second, text.len()).expect("decoded"), text);
    }

    #[test]
    fn every_other_length_is_refused() {
        let text = b"abc".repeat(1000);
        let stored = encoder().piece(&text).expect("encoded");
        for wrong in [0, 1, text.len() - 1, text.len() + 1, text.len() * 9] {
            assert!(ZstdStream::new().expect("a decoder").piece(&stored, wrong).is_err(), "{wrong}");
        }
        assert!(ZstdStream::new().expect("a decoder").piece(&stored[..stored.len() - 1], text.len()).is_err());
        let longer = [&stored[..], &[0]].concat();
        assert!(ZstdStream::new().expect("a decoder").piece(&longer, text.len()).is_err());
        assert!(ZstdStream::new().expect("a decoder").piece(&[], 5).is_err());
    }

    #[test]
    fn ended_frames_and_large_windows_are_refused() {
        let text = b"abc".repeat(1000);
        let ended = zstd::bulk::compress(&text, 3).expect("compressed");
        assert!(ZstdStream::new().expect("a decoder").piece(&ended[4..], text.len()).is_err());
        let mut wide = ZstdEncoder::new(3, &[CParameter::WindowLog(24)], None).expect("an encoder");
        let stored = wide.piece(&text).expect("encoded");
        assert!(ZstdStream::new().expect("a decoder").piece(&stored, text.len()).is_err());
    }
}
