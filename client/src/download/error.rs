//! What a download can end with.

use crate::format::digest::Blake3;
use crate::source::{SourceError, Trouble};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a file did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// No mirror could deliver it; the last failure of the best one.
    #[error(transparent)]
    Source(#[from] Box<SourceError>),
    /// Every mirror that has it delivered other bytes than were signed; the last one is named.
    #[error(transparent)]
    WrongContent(#[from] Box<WrongContent>),
    /// A document is longer than its kind may be.
    #[error("{name} from {site} is too long: expected at most {cap_bytes} bytes, received more")]
    TooLong {
        /// Name in the site.
        name: String,
        /// The mirror.
        site: String,
        /// The limit.
        cap_bytes: u64,
    },
    /// The caller asks for more in memory than is allowed.
    #[error("{name} cannot be held in memory: expected at most {max_bytes} bytes, asked for {bytes}")]
    TooLarge {
        /// Name in the site.
        name: String,
        /// Bytes asked for.
        bytes: u64,
        /// The limit.
        max_bytes: u64,
    },
    /// The partial file could not be used.
    #[error("cannot {action} {}: {error}", path.display())]
    File {
        /// What was being done.
        action: &'static str,
        /// The partial file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        error: io::Error,
    },
    /// There is nothing to fetch from.
    #[error("{name} cannot be fetched: no source was given")]
    NoSource {
        /// Name in the site.
        name: String,
    },
    /// The caller asked for the stop.
    #[error("cancelled")]
    Cancelled,
}

/// Bytes that are not those that were signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name} from {site} is not what was signed: bytes {start} to {end} have the BLAKE3 {actual}, expected {expected}{}",
    web_page_hint(*web_page)
)]
pub struct WrongContent {
    /// Name in the site.
    pub name: String,
    /// The mirror.
    pub site: String,
    /// First byte of the block.
    pub start: u64,
    /// The byte after its last one.
    pub end: u64,
    /// The signed digest.
    pub expected: Blake3,
    /// Digest of what arrived.
    pub actual: Blake3,
    /// Whether it looks like a web page.
    pub web_page: bool,
}

fn web_page_hint(web_page: bool) -> &'static str {
    if web_page { "; it looks like a web page (is there a log-in page on this network?)" } else { "" }
}

impl DownloadError {
    /// Stable name of the cause, for logs and scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Source(error) => error.code(),
            Self::WrongContent(_) => "wrong-content",
            Self::TooLong { .. } => "too-long",
            Self::TooLarge { .. } => "too-large",
            Self::File { .. } => "file",
            Self::NoSource { .. } => "no-source",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether every mirror answered, and none has such a file. A refusal is not counted as that answer, see
    /// [`Self::is_forbidden`].
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Source(error) if matches!(**error, SourceError::NotFound { .. }))
    }

    /// Whether the best answer was a refusal, such as 403, which buckets without public listing give for missing files.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Source(error) if matches!(**error, SourceError::Forbidden { .. }))
    }

    /// Whether the same may work later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Source(error) => matches!(**error, SourceError::Transient { .. }),
            Self::WrongContent(wrong) => wrong.web_page,
            _ => false,
        }
    }

    /// The wait the server asked for, if it did.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Source(error) => match **error {
                SourceError::Transient { retry_after, .. } => retry_after,
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether no source could be reached at all: this machine is offline, or the site is.
    pub fn is_offline(&self) -> bool {
        matches!(self, Self::Source(error)
            if matches!(**error, SourceError::Transient { trouble: Trouble::Connect(_), .. }))
    }
}

/// Whether `bytes` begin as web pages do and no file of a site does.
pub(super) fn looks_like_web_page(bytes: &[u8]) -> bool {
    let start = bytes.trim_ascii_start();
    let begins = |word: &[u8]| start.get(..word.len()).is_some_and(|s| s.eq_ignore_ascii_case(word));
    begins(b"<!doctype html") || begins(b"<html") || begins(b"<head")
}
