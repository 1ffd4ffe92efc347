//! Puts new together: what lies beside the streams as it is, and each text as the stream zlib makes of it.

use std::io::{self, Write};

use super::NewStream;
use crate::zlib::Compressor;

/// Text taken at a time, so that little output waits.
const STEP_BYTES: usize = 32 << 10;

/// How far new has come.
pub(super) struct Weaver {
    streams: std::vec::IntoIter<NewStream>,
    /// The stream that comes after the bytes that are open, or is open itself.
    next: Option<NewStream>,
    /// Bytes left of what lies before the next stream.
    gap_left: u64,
    /// The open stream and what is left of its text.
    open: Option<(Compressor<Vec<u8>>, u64)>,
    new_bytes: u64,
    new_length: u64,
}

impl Weaver {
    pub(super) fn new(streams: Vec<NewStream>, new_length: u64) -> Self {
        let mut weaver =
            Self { streams: streams.into_iter(), next: None, gap_left: 0, open: None, new_bytes: 0, new_length };
        weaver.advance();
        weaver
    }

    /// New bytes written.
    pub(super) const fn new_bytes(&self) -> u64 {
        self.new_bytes
    }

    /// Goes on to the gap before the next stream; after the last one, to all that is left.
    fn advance(&mut self) {
        self.next = self.streams.next();
        self.gap_left = self.next.map_or(u64::MAX, |stream| stream.gap_bytes);
    }

    /// Takes some of `bytes`, at least one, and says how many.
    fn take(&mut self, bytes: &[u8], new: &mut dyn Write) -> io::Result<usize> {
        if self.open.is_none() && self.gap_left > 0 {
            let length = usize::try_from(self.gap_left).unwrap_or(usize::MAX).min(bytes.len());
            self.emit(&bytes[..length], new)?;
            self.gap_left -= length as u64;
            return Ok(length);
        }
        let (mut compressor, left) = match (self.open.take(), self.next) {
            (Some(open), _) => open,
            (None, Some(stream)) => (Compressor::new(stream.settings, Vec::new()), stream.text_bytes),
            // Without a next stream the gap never ends.
            (None, None) => return Ok(bytes.len()),
        };
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len()).min(STEP_BYTES);
        compressor.push(&bytes[..length])?;
        if left > length as u64 {
            self.emit(compressor.output(), new)?;
            compressor.output().clear();
            self.open = Some((compressor, left - length as u64));
        } else {
            self.emit(&compressor.finish()?, new)?;
            self.advance();
        }
        Ok(length)
    }

    fn emit(&mut self, bytes: &[u8], new: &mut dyn Write) -> io::Result<()> {
        let left = self.new_length - self.new_bytes;
        if bytes.len() as u64 > left {
            let text = format!("expected at most {} bytes, the streams make more", self.new_length);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        self.new_bytes += bytes.len() as u64;
        new.write_all(bytes)
    }
}

/// Takes expanded new, and writes new.
pub(super) struct Weaving<'a> {
    weaver: &'a mut Weaver,
    new: &'a mut dyn Write,
}

impl<'a> Weaving<'a> {
    pub(super) fn new(weaver: &'a mut Weaver, new: &'a mut dyn Write) -> Self {
        Self { weaver, new }
    }
}

impl Write for Weaving<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() { Ok(0) } else { self.weaver.take(bytes, self.new) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.new.flush()
    }
}
