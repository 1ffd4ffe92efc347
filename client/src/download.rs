//! Fetches files of a site from its mirrors: resumed, bounded, and verified before anything is returned.
//!
//! Knows [`Source`], not HTTP. Nothing a mirror says is believed: lengths come from the caller, digests decide. One bad
//! mirror costs time, never correctness, and while one good mirror exists everything arrives:
//!
//! * a broken or silent transfer goes on at the byte it had reached, here or elsewhere;
//! * content with a wrong digest is fetched again from another mirror, and once more from the same one past all caches;
//! * a mirror that delivered wrong content comes last from then on; one that fails rests, longer each time.
//!
//! Memory: one block or file as asked for, and at most [`READ_AHEAD_BYTES`] on the way to it.

mod attempts;
mod connection;
mod document;
mod error;
mod fetch;
mod kept;
mod mirrors;
mod part;
mod policy;
mod pump;
mod shared;
mod stream;
#[cfg(test)]
mod tests;
mod throttle;

use crate::format::digest::Blake3;
use crate::progress::{Cancel, Progress};
use crate::source::Source;
use fetch::Fetch;
use mirrors::Mirror;
use shared::Shared;
use std::convert::Infallible;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use throttle::Throttle;

pub use document::DocumentError;
pub use error::{DownloadError, WrongContent};
pub use kept::KeptBlock;
pub use policy::{JumpingTiming, RetryPolicy, SystemTiming, Timing};
pub use pump::READ_AHEAD_BYTES;
pub use stream::VerifiedStream;

/// Most bytes [`Downloader::exact`] and [`VerifiedStream::next`] hold in memory.
pub const EXACT_BYTES_MAX: u64 = 1 << 30;

/// Fetches from a list of mirrors. Clones share connections, counters and what was learnt about the mirrors, and may be
/// used from several threads at once.
#[derive(Clone)]
pub struct Downloader {
    shared: Arc<Shared>,
}

impl Downloader {
    /// Uses `sources`, the first one preferred, the others as mirrors of it.
    ///
    /// Every needed byte is reported once as [`Event::Advanced`](crate::progress::Event::Advanced), however often it had to be fetched. Notices:
    /// `retry` when a transfer failed and is tried again, `wrong-content` when a mirror delivered wrong bytes.
    pub fn new(
        sources: Vec<Arc<dyn Source>>,
        policy: RetryPolicy,
        cancel: Cancel,
        progress: Arc<dyn Progress>,
    ) -> Self {
        let mirrors = sources.into_iter().map(Mirror::new).collect();
        let (requests, received_bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        Self {
            shared: Arc::new(Shared {
                mirrors,
                policy,
                cancel,
                progress,
                requests,
                received_bytes,
                throttle: Throttle::default(),
            }),
        }
    }

    /// Fetches a signed document whose length and digest nobody knows yet, of at most `cap_bytes`.
    ///
    /// Prefer [`Self::document_checked`] where there are mirrors: only who can check a document can tell that another
    /// mirror should be asked.
    ///
    /// # Errors
    /// See [`DownloadError`]. The bytes are *not* verified.
    pub fn document(&self, name: &str, cap_bytes: u64) -> Result<Vec<u8>, DownloadError> {
        let accept = |bytes: Vec<u8>| Ok::<_, Infallible>(bytes);
        self.document_checked(name, cap_bytes, accept).map_err(|error| match error {
            DocumentError::Download(error) => error,
            DocumentError::Refused { error, .. } => match error {},
        })
    }

    /// The same, with a judge: what `accept` refuses is asked for once more, then from the next mirror.
    ///
    /// # Errors
    /// [`DocumentError::Refused`] with the first refusal if no mirror has what `accept` takes.
    pub fn document_checked<T, E>(
        &self,
        name: &str,
        cap_bytes: u64,
        mut accept: impl FnMut(Vec<u8>) -> Result<T, E>,
    ) -> Result<T, DocumentError<E>> {
        document::fetch(&self.shared, name, cap_bytes, |_, bytes| accept(bytes))
    }

    /// The same, where `accept` is told the number of the source, too: [`Self::document_from`] takes it.
    ///
    /// # Errors
    /// As [`Self::document_checked`].
    pub(crate) fn document_checked_by_source<T, E>(
        &self,
        name: &str,
        cap_bytes: u64,
        accept: impl FnMut(usize, Vec<u8>) -> Result<T, E>,
    ) -> Result<T, DocumentError<E>> {
        document::fetch(&self.shared, name, cap_bytes, accept)
    }

    /// Asks one source for a document, once; nothing if it does not deliver it.
    ///
    /// # Errors
    /// It was cancelled, or too much was fetched.
    pub(crate) fn document_from(
        &self,
        source: usize,
        name: &str,
        cap_bytes: u64,
    ) -> Result<Option<Vec<u8>>, DownloadError> {
        document::fetch_from(&self.shared, source, name, cap_bytes)
    }

    /// Fetches the whole file `name` of known length and digest into memory.
    ///
    /// # Errors
    /// See [`DownloadError`]; [`DownloadError::TooLarge`] beyond [`EXACT_BYTES_MAX`].
    pub fn exact(&self, name: &str, length: u64, blake3: &Blake3) -> Result<Vec<u8>, DownloadError> {
        let mut fetch = Fetch::whole(self.shared.clone(), name, length);
        fetch.block(length, blake3)
    }

    /// The same for who cannot wait long: a mirror gets the time of a document. What broke goes on at the mirror it came from.
    ///
    /// # Errors
    /// As [`Self::exact`].
    pub fn exact_in_time(&self, name: &str, length: u64, blake3: &Blake3) -> Result<Vec<u8>, DownloadError> {
        document::fetch_exact(&self.shared, name, length, blake3)
    }

    /// Fetches the whole file `name` of known length and digest through the partial file `part`.
    ///
    /// What `part` already holds is not fetched again; if it proves wrong in the end, everything is fetched once more
    /// from the start. On success `part` holds exactly the file, and the handle returned, at its start, is the one it was
    /// checked through. After an error, a cancel or a crash `part` holds what had arrived. The caller sees to it that
    /// nobody else uses `part`, and removes it.
    ///
    /// # Errors
    /// See [`DownloadError`]; [`DownloadError::File`] for `part` itself.
    pub fn exact_to_file(&self, name: &str, length: u64, blake3: &Blake3, part: &Path) -> Result<File, DownloadError> {
        part::fetch(&self.shared, name, length, blake3, part)
    }

    /// Reads the file `name` from offset `start` on, block after block. Nothing is requested before the first block.
    pub fn stream(&self, name: &str, start: u64) -> VerifiedStream {
        VerifiedStream::new(Fetch::open_ended(self.shared.clone(), name, start))
    }

    /// How many places there are to ask.
    pub fn sources(&self) -> usize {
        self.shared.mirrors.len()
    }

    /// GETs sent so far, failed ones included, redirects not.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Bytes of bodies received so far, useless ones included.
    pub fn received_bytes(&self) -> u64 {
        self.shared.received_bytes.load(Ordering::Relaxed)
    }
}
