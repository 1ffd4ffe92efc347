//! Codec 2: LZMA2 chunks.

use lzma_rust2::{Action, Lzma2Stream, Status};

use super::CodecError;

/// Smallest and largest dictionary, as powers of two.
pub const DICTIONARY_LOG_MIN: u8 = 16;
/// See [`DICTIONARY_LOG_MIN`].
pub const DICTIONARY_LOG_MAX: u8 = 25;

/// Decodes the pieces of one LZMA2 stream in order.
#[derive(Default)]
pub struct LzmaStream {
    /// None before the first byte.
    decoder: Option<Lzma2Stream>,
}

impl LzmaStream {
    /// Bytes of the dictionary that decoding `stored`, the next piece, would take memory for.
    pub fn dictionary_bytes(&self, stored: &[u8]) -> u64 {
        match (&self.decoder, stored) {
            (None, [log @ DICTIONARY_LOG_MIN..=DICTIONARY_LOG_MAX, ..]) => 1 << log,
            _ => 0,
        }
    }

    /// Decodes one piece of exactly `raw_length` bytes, which the caller has bounded.
    ///
    /// # Errors
    /// The bytes are not LZMA2 chunks, give more or fewer bytes, or end the stream.
    pub fn piece(&mut self, stored: &[u8], raw_length: usize) -> Result<Vec<u8>, CodecError> {
        let wrong = |actual| CodecError::Length { stored: stored.len(), expected: raw_length, actual };
        let (decoder, mut input) = match (&mut self.decoder, stored) {
            (None, []) if raw_length == 0 => return Ok(Vec::new()),
            (None, []) => return Err(wrong(0)),
            (None, [log, rest @ ..]) => {
                if !(DICTIONARY_LOG_MIN..=DICTIONARY_LOG_MAX).contains(log) {
                    return Err(CodecError::Chunk("a dictionary of less than 64 KiB or more than 32 MiB"));
                }
                (self.decoder.insert(Lzma2Stream::new(1 << log)), rest)
            }
            (Some(decoder), stored) => (decoder, stored),
        };
        let mut raw = vec![0; raw_length];
        let mut done = 0;
        // One more byte than there may be, so that a longer piece is noticed.
        let mut beyond = [0];
        loop {
            let room = if done < raw_length { &mut raw[done..] } else { &mut beyond[..] };
            let step = decoder.process(input, room, Action::Run).map_err(CodecError::Lzma)?;
            input = &input[step.bytes_consumed..];
            done += step.bytes_produced;
            if step.status == Status::StreamEnd {
                return Err(CodecError::Chunk("the end of the stream"));
            }
            if done > raw_length || (step.bytes_consumed == 0 && step.bytes_produced == 0) {
                break;
            }
        }
        if done == raw_length && input.is_empty() { Ok(raw) } else { Err(wrong(done + input.len())) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use lzma_rust2::{Lzma2Options, Lzma2Writer};

    use super::*;

    fn pieces(texts: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut options = Lzma2Options::with_preset(6);
        options.lzma_options.dict_size = 1 << 16;
        let mut writer = Lzma2Writer::new(vec![16u8], options);
        let mut from = 0;
        let mut piece = |text: &&[u8]| {
            writer.write_all(text).and_then(|()| writer.flush()).expect("encoded");
            let stored = writer.inner()[from..].to_vec();
            from = writer.inner().len();
            stored
        };
        texts.iter().map(&mut piece).collect()
    }

    #[test]
    fn pieces_share_one_context_and_come_back() {
        let text = b"the quick brown fox jumps over the lazy dog".repeat(20);
        let stored = pieces(&[&text, &text]);
        assert!(stored[1].len() < stored[0].len());
        let mut decoder = LzmaStream::default();
        assert_eq!(decoder.piece(&stored[0], text.len()).expect("decoded"), text);
        assert_eq!(decoder.piece(&[], 0).expect("decoded"), b"");
        assert_eq!(decoder.piece(&stored[1], text.len()).expect("decoded"), text);
    }

    #[test]
    fn every_other_length_and_an_ended_stream_are_refused() {
        let text = b"abc".repeat(1000);
        let stored = &pieces(&[&text])[0];
        for wrong in [0, 1, text.len() - 1, text.len() + 1, text.len() * 9] {
            assert!(LzmaStream::default().piece(stored, wrong).is_err(), "{wrong}");
        }
        assert!(LzmaStream::default().piece(&stored[..stored.len() - 1], text.len()).is_err());
        assert!(LzmaStream::default().piece(&[&stored[..], &[0]].concat(), text.len()).is_err());
        assert!(LzmaStream::default().piece(&[&[40], &stored[1..]].concat(), text.len()).is_err());
        assert!(LzmaStream::default().piece(&[], 5).is_err());
    }
}
