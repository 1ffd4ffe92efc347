//! Every reason to refuse a document, each with a stable name.

use crate::format::digest::Blake3;
use crate::format::document::DocumentError;
use crate::format::signed::SignedError;

/// Why a document is refused. [`Refusal::code`] is stable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Refusal {
    #[error("the {document} is not a Lamplighter document ({source}); is this a site, or a login page of the network?")]
    NotOurs { document: &'static str, source: SignedError },
    #[error("the {document} is malformed: {source}")]
    Malformed { document: &'static str, source: SignedError },
    #[error("the {document} breaks its specification: {source}")]
    Document { document: &'static str, source: DocumentError },
    #[error(
        "this client is too old to follow the {document}: {source}; the app still runs, a newer download is needed"
    )]
    TooOld { document: &'static str, source: DocumentError },
    #[error("the {document} is not signed by {needed} of its keys; found {found} valid signature(s)")]
    Unsigned { document: &'static str, needed: u64, found: u64 },
    #[error("root {version} is not signed by {needed} of the keys of root {by}; found {found} valid signature(s)")]
    RootUnsigned { version: u64, by: u64, needed: u64, found: u64 },
    #[error("expected root {expected}, found root {found}")]
    RootVersion { expected: u64, found: u64 },
    #[error("the chain of roots is longer than 256")]
    RootChain,
    #[error("the {document} is for {what} {found:?}, expected {expected:?}")]
    Wrong { document: &'static str, what: &'static str, expected: String, found: String },
    #[error("the head has sequence {found}, but {known} was seen before; an older copy, harmless and ignored")]
    OlderHead { found: u64, known: u64 },
    #[error(
        "two different heads carry the sequence {sequence}: the channel's signer, or its key, is not to be trusted"
    )]
    Equivocation { sequence: u64 },
    #[error("the release has {found_length} bytes and BLAKE3 {found}, the head names {expected_length} and {expected}")]
    ReleaseDigest { expected: Blake3, expected_length: u64, found: Blake3, found_length: u64 },
    #[error("the installed build {installed} is below the minimum {minimum}; the app must be downloaded afresh")]
    BelowMinimum { installed: u64, minimum: u64 },
}

impl Refusal {
    /// Stable name of the cause.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotOurs { .. } => "E_NOT_OURS",
            Self::Malformed { .. } => "E_SIGNATURE_FORM",
            Self::Document { .. } => "E_DOCUMENT",
            Self::TooOld { .. } => "E_CLIENT_TOO_OLD",
            Self::Unsigned { .. } => "E_SIGNATURE",
            Self::RootUnsigned { .. } => "E_ROOT_SIGNATURE",
            Self::RootVersion { .. } => "E_ROOT_VERSION",
            Self::RootChain => "E_ROOT_CHAIN",
            Self::Wrong { what: "app", .. } => "E_WRONG_APP",
            Self::Wrong { what: "channel", .. } => "E_WRONG_CHANNEL",
            Self::Wrong { what: "platform", .. } => "E_WRONG_PLATFORM",
            Self::Wrong { .. } => "E_WRONG_RELEASE",
            Self::OlderHead { .. } => "E_OLDER_HEAD",
            Self::Equivocation { .. } => "E_EQUIVOCATION",
            Self::ReleaseDigest { .. } => "E_RELEASE_DIGEST",
            Self::BelowMinimum { .. } => "E_BELOW_MINIMUM",
        }
    }

    /// Whether trying again later, or elsewhere, may help: a login page, an older copy at an edge.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::NotOurs { .. } | Self::OlderHead { .. } | Self::ReleaseDigest { .. })
    }
}
