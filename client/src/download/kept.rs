//! A block of a pack on its way through the partial file of that pack, so that no byte that came is fetched twice, whatever
//! ends the process.

use super::fetch::{Fetch, Sink};
use super::{DownloadError, EXACT_BYTES_MAX};
use crate::format::digest::Blake3;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Where the partial file of a pack keeps a block.
pub struct KeptBlock<'a> {
    /// The partial file.
    pub file: &'a mut File,
    /// Its name, for messages.
    pub path: &'a Path,
    /// Where the block begins in it.
    pub offset: u64,
}

/// The block in memory and on disk.
struct Both<'a> {
    bytes: Vec<u8>,
    kept: KeptBlock<'a>,
    end: u64,
}

impl KeptBlock<'_> {
    fn error(&self, action: &'static str, error: io::Error) -> DownloadError {
        DownloadError::File { action, path: self.path.into(), error }
    }

    /// What the file holds of a block that ends at `end`, if it ends within it. More than that is another matter: it was
    /// complete, and proved wrong.
    fn begun(&mut self, end: u64) -> io::Result<Vec<u8>> {
        let length = self.file.metadata()?.len();
        self.file.seek(SeekFrom::Start(self.offset))?;
        let mut bytes = Vec::new();
        if self.offset < length && length < end {
            Read::by_ref(self.file).take(length - self.offset).read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    }
}

impl Sink for Both<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), DownloadError> {
        self.bytes.extend_from_slice(bytes);
        self.kept.file.write_all(bytes).map_err(|error| self.kept.error("write", error))
    }

    fn restart(&mut self) -> Result<(), DownloadError> {
        self.bytes.clear();
        let KeptBlock { file, offset, .. } = &mut self.kept;
        let mut emptied = || {
            if file.metadata()?.len() <= self.end {
                file.set_len(*offset)?;
            }
            file.seek(SeekFrom::Start(*offset))
        };
        emptied().map(|_| ()).map_err(|error| self.kept.error("empty", error))
    }
}

/// The next `length` bytes of `fetch`, of which `kept` may have the beginning.
pub(super) fn next(
    fetch: &mut Fetch,
    length: u64,
    blake3: &Blake3,
    mut kept: KeptBlock<'_>,
) -> Result<Vec<u8>, DownloadError> {
    let end = kept.offset.saturating_add(length);
    if length > EXACT_BYTES_MAX {
        return Err(fetch.too_large(length));
    }
    let bytes = kept.begun(end).map_err(|error| kept.error("read", error))?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&bytes);
    fetch.resume_at(bytes.len() as u64);
    let mut sink = Both { bytes, kept, end };
    fetch.block_into(length, blake3, hasher, &mut sink)?;
    Ok(sink.bytes)
}
