//! Sequential reading of a file whose blocks have digests of their own: a pack.

use super::DownloadError;
use super::fetch::Fetch;
use super::kept::{self, KeptBlock};
use crate::format::digest::Blake3;

/// Reads a file block by block. Everything read in a row costs one request; a break or a wrong block costs one more, at
/// the byte it had reached.
pub struct VerifiedStream {
    fetch: Fetch,
}

impl VerifiedStream {
    pub(super) fn new(fetch: Fetch) -> Self {
        Self { fetch }
    }

    /// Declares that no byte at or after `end` will be wanted, so that the request names the end and its connection can
    /// be used again. A block that goes beyond it all the same only costs another request.
    pub fn until(mut self, end: u64) -> Self {
        self.fetch.limit(end);
        self
    }

    /// Offset in the file of the next block.
    pub fn position(&self) -> u64 {
        self.fetch.position()
    }

    /// The next `length` bytes, once their digest is `blake3`.
    ///
    /// # Errors
    /// See [`DownloadError`]. After one, the stream stands where the block begins or has given up within it: reading
    /// on needs [`Self::skip_to`] or a new stream. After the third block that stayed wrong, this one fails with every other.
    pub fn next(&mut self, length: u64, blake3: &Blake3) -> Result<Vec<u8>, DownloadError> {
        self.fetch.block(length, blake3)
    }

    /// The same by way of `kept`, a place in a file: what that has of the block from an earlier transfer is not fetched again,
    /// and after an error, a cancel or a crash it has what came. On success it has the block.
    ///
    /// # Errors
    /// See [`DownloadError`]; [`DownloadError::File`] for the file itself.
    pub fn next_kept(&mut self, length: u64, blake3: &Blake3, kept: KeptBlock<'_>) -> Result<Vec<u8>, DownloadError> {
        kept::next(&mut self.fetch, length, blake3, kept)
    }

    /// Goes on at `offset`. A small gap is read and dropped; for others the next block costs a request with one `Range`.
    pub fn skip_to(&mut self, offset: u64) {
        self.fetch.skip_to(offset);
    }
}
