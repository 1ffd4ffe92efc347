//! Expanded old: old as it is, then the texts of its streams, which lie in the scratch.

use std::io::{self, SeekFrom};

use flate2::{Decompress, FlushDecompress, Status};

use super::super::{OldBytes, PatchError, Scratch};
use super::OldStream;

/// Stream and text bytes held at a time.
const STEP_BYTES: usize = 64 << 10;

/// Old and the texts as one.
pub(super) struct Expanded<'a> {
    old: &'a mut dyn OldBytes,
    old_length: u64,
    texts: &'a mut dyn Scratch,
}

impl<'a> Expanded<'a> {
    pub(super) fn new(old: &'a mut dyn OldBytes, old_length: u64, texts: &'a mut dyn Scratch) -> Self {
        Self { old, old_length, texts }
    }
}

impl OldBytes for Expanded<'_> {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let old_left = usize::try_from(self.old_length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let (here, after) = buffer.split_at_mut(old_left.min(buffer.len()));
        if !here.is_empty() {
            self.old.read_at(offset, here)?;
        }
        if !after.is_empty() {
            self.texts.seek(SeekFrom::Start((offset + here.len() as u64) - self.old_length))?;
            self.texts.read_exact(after)?;
        }
        Ok(())
    }
}

/// Writes the texts of `streams`, which lie within old, one after the other.
pub(super) fn inflate_all(
    streams: &[OldStream],
    old: &mut dyn OldBytes,
    texts: &mut dyn Scratch,
) -> Result<(), PatchError> {
    let mut decoder = Decompress::new(false);
    let (mut input, mut output) = (vec![0; STEP_BYTES], vec![0; STEP_BYTES]);
    for stream in streams {
        decoder.reset(false);
        inflate(stream, &mut decoder, old, texts, (&mut input, &mut output))?;
    }
    Ok(())
}

/// Writes one text, and stops where it is longer than declared.
fn inflate(
    stream: &OldStream,
    decoder: &mut Decompress,
    old: &mut dyn OldBytes,
    texts: &mut dyn Scratch,
    (input, output): (&mut [u8], &mut [u8]),
) -> Result<(), PatchError> {
    let differs = |what, expected, actual| PatchError::Stream { offset: stream.offset, what, expected, actual };
    let (mut held, mut ended) = (0..0, false);
    while !ended {
        if held.is_empty() {
            let offset = stream.offset + decoder.total_in();
            let left = usize::try_from(stream.stream_bytes - decoder.total_in()).unwrap_or(usize::MAX);
            let length = left.min(input.len());
            let read = old.read_at(offset, &mut input[..length]);
            read.map_err(|source| PatchError::Read { offset, length, source })?;
            held = 0..length;
        }
        let before = (decoder.total_in(), decoder.total_out());
        let status = decoder
            .decompress(&input[held.clone()], output, FlushDecompress::None)
            .map_err(|source| PatchError::Inflate { offset: stream.offset, source: source.into() })?;
        let (read, made) = (decoder.total_in() - before.0, decoder.total_out() - before.1);
        // Both are bounded by the buffers.
        held.start += read as usize;
        if decoder.total_out() > stream.text_bytes {
            return Err(differs("bytes of text", stream.text_bytes, decoder.total_out()));
        }
        texts.write_all(&output[..made as usize]).map_err(PatchError::Scratch)?;
        ended = status == Status::StreamEnd;
        if !ended && read == 0 && made == 0 {
            return Err(differs("bytes of a stream that ends", stream.stream_bytes, decoder.total_in()));
        }
    }
    match (decoder.total_out(), decoder.total_in()) {
        (text, _) if text != stream.text_bytes => Err(differs("bytes of text", stream.text_bytes, text)),
        (_, read) if read != stream.stream_bytes => Err(differs("bytes of the stream", stream.stream_bytes, read)),
        _ => Ok(()),
    }
}
