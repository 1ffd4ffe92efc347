//! A download through a partial file that outlives the process.

use super::fetch::{Fetch, Sink};
use super::{DownloadError, Shared};
use crate::format::digest::Blake3;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

const READ_BYTES: usize = 64 << 10;

/// The partial file, with its name for messages.
struct Part<'a> {
    file: File,
    path: &'a Path,
}

impl Part<'_> {
    fn error(&self, action: &'static str, error: io::Error) -> DownloadError {
        DownloadError::File { action, path: self.path.into(), error }
    }

    /// Hashes what is there, if it can be the beginning of a file of `length` bytes; else empties it.
    fn begin(&mut self, length: u64, shared: &Shared) -> Result<(u64, blake3::Hasher), DownloadError> {
        let mut hasher = blake3::Hasher::new();
        let there = self.file.metadata().map_err(|e| self.error("read", e))?.len();
        if there > length {
            self.restart()?;
            return Ok((0, hasher));
        }
        let mut buffer = vec![0; READ_BYTES];
        let mut hashed = 0;
        loop {
            shared.check_cancel()?;
            match self.file.read(&mut buffer) {
                Ok(0) => return Ok((hashed, hasher)),
                Ok(read) => {
                    hasher.update(&buffer[..read]);
                    hashed += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.error("read", error)),
            }
        }
    }
}

impl Sink for Part<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), DownloadError> {
        self.file.write_all(bytes).map_err(|e| self.error("write", e))
    }

    fn restart(&mut self) -> Result<(), DownloadError> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map(|_| ()).map_err(|e| self.error("empty", e))
    }
}

pub(super) fn fetch(
    shared: &Arc<Shared>,
    name: &str,
    length: u64,
    expected: &Blake3,
    path: &Path,
) -> Result<File, DownloadError> {
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    let file = opened.map_err(|error| DownloadError::File { action: "open", path: path.into(), error })?;
    let mut part = Part { file, path };
    let (there, hasher) = part.begin(length, shared)?;
    let mut fetch = Fetch::whole(shared.clone(), name, length);
    fetch.resume_at(there);
    fetch.block_into(length, expected, hasher, &mut part)?;
    part.file.seek(SeekFrom::Start(0)).map_err(|e| part.error("read", e))?;
    Ok(part.file)
}
