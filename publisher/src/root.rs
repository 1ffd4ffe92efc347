//! The chain of roots after the first: proposed anywhere, signed where the keys are, published once.
//!
//! A root on its way is a file that [`propose`] writes as a bare body and that gains signatures one by one, on any machine
//! and by any program that signs as minisign does ([`gather`]). With its first signature it is a signed document like any
//! other ([`lamplighter_client::format::signed`]); what makes it valid is counted by [`publish`], against the root before it
//! and against itself.

pub mod gather;
pub mod propose;
pub mod publish;

use std::io::Write;
use std::path::{Path, PathBuf};

use lamplighter_client::format::document::DocumentError;
use lamplighter_client::format::root::{ROOT_BYTES_MAX, Role as RootRole, Root};
use lamplighter_client::format::signed::{PublicKey, SignedDocument, SignedError};
use lamplighter_client::trust::pinned_root;

use crate::error::Class;
use crate::sign::Role;

/// Why a root cannot be proposed, signed or published.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum RootError {
    #[error("cannot read {}: {source}", file.display())]
    Read { file: PathBuf, source: std::io::Error },
    #[error("cannot write {}: {source}", file.display())]
    Write { file: PathBuf, source: std::io::Error },
    #[error("{} exists already: choose another name, or go on with it", file.display())]
    Exists { file: PathBuf },
    #[error("{} is no root: {detail}", file.display())]
    NotARoot { file: PathBuf, detail: String },
    #[error("--{flag} {text}: expected {expected}")]
    Argument { flag: &'static str, text: String, expected: String },
    #[error("{key} is a {role} key already; each key counts once")]
    Duplicate { role: String, key: String },
    #[error("{key} is no {role} key of root version {version}, which names {known}")]
    NoSuchKey { role: String, key: String, version: u64, known: String },
    #[error("the {role} threshold would be {threshold}, and {keys} key(s) would be there to meet it")]
    Threshold { role: String, threshold: u64, keys: usize },
    #[error("the new root breaks a rule of its format: {0}")]
    Rule(DocumentError),
    #[error("{} is root version {found}; after version {newest} comes {}", file.display(), newest + 1)]
    Version { file: PathBuf, found: u64, newest: u64 },
    #[error("the chain would be longer than the {max} roots that clients follow")]
    ChainLength { max: usize },
    #[error("{} is for another app: expected {expected}, found {found}", file.display())]
    OtherApp { file: PathBuf, expected: String, found: String },
    #[error("{} expired at {expired}; propose it again", file.display())]
    Expired { file: PathBuf, expired: String },
    #[error("{} is not signed by enough keys:{}", file.display(), shortfalls(missing))]
    ThresholdNotMet { file: PathBuf, missing: Vec<Shortfall> },
    #[error("{}: {detail}", signature.display())]
    Signature { signature: PathBuf, detail: String },
    #[error("none of the root keys at hand ({found}) counts for this root: expected one of {expected}")]
    NoKeyCounts { found: String, expected: String },
}

impl RootError {
    /// The class it belongs to.
    pub fn class(&self) -> Class {
        match self {
            RootError::Read { .. } | RootError::Write { .. } => Class::Disk,
            RootError::Exists { .. } | RootError::Argument { .. } => Class::Usage,
            RootError::Version { .. } | RootError::ChainLength { .. } | RootError::OtherApp { .. } => Class::Site,
            _ => Class::Trust,
        }
    }
}

/// Signatures a root still needs from the root role of one root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortfall {
    /// Version of the root whose keys are asked for.
    pub version: u64,
    /// How many of its keys must sign.
    pub threshold: u64,
    /// Ids of those that did.
    pub signed: Vec<String>,
    /// Ids of those that did not.
    pub unsigned: Vec<String>,
}

impl Shortfall {
    /// How many more keys must sign.
    pub fn missing(&self) -> u64 {
        self.threshold.saturating_sub(self.signed.len() as u64)
    }

    /// What `root` asks of `document`, met or not.
    pub fn of(root: &Root, document: &SignedDocument) -> Self {
        let (signed, unsigned): (Vec<&PublicKey>, Vec<&PublicKey>) =
            root.root.keys.iter().partition(|key| signs(key, document));
        let ids = |keys: Vec<&PublicKey>| keys.into_iter().map(PublicKey::id_hex).collect();
        Self { version: root.version, threshold: root.root.threshold, signed: ids(signed), unsigned: ids(unsigned) }
    }
}

fn shortfalls(missing: &[Shortfall]) -> String {
    let list = |ids: &[String]| if ids.is_empty() { "none".to_owned() } else { ids.join(", ") };
    let line = |s: &Shortfall| {
        format!(
            "\n  root version {} asks for {} of its root keys, found {}: missing {} more of {}",
            s.version,
            s.threshold,
            list(&s.signed),
            s.missing(),
            list(&s.unsigned)
        )
    };
    missing.iter().map(line).collect()
}

/// Whether `key` signed `document`.
pub fn signs(key: &PublicKey, document: &SignedDocument) -> bool {
    document.signatures.iter().any(|signature| key.verifies(&document.body, signature))
}

/// A root on its way.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The file it was read from.
    pub file: PathBuf,
    /// Body and the signatures it has, possibly none.
    pub document: SignedDocument,
    /// What the body says; nobody has to have signed it.
    pub root: Root,
}

impl Draft {
    /// Reads a proposed root, signed or not.
    ///
    /// # Errors
    /// It cannot be read, is too long, or is no root.
    pub fn read(file: &Path) -> Result<Self, RootError> {
        let bytes = read(file)?;
        let bad = |detail: String| RootError::NotARoot { file: file.to_owned(), detail };
        let document = match SignedDocument::split(&bytes, ROOT_BYTES_MAX) {
            Ok(document) => document,
            // Nobody has signed it yet.
            Err(SignedError::NotSigned) if bytes.ends_with(b"\nend\n") => {
                SignedDocument { body: bytes, signatures: Vec::new() }
            }
            Err(e) => return Err(bad(e.to_string())),
        };
        let root = Root::parse(&document.body).map_err(|e| bad(e.to_string()))?;
        Ok(Self { file: file.to_owned(), document, root })
    }

    /// Replaces the file by what the draft is now. After a crash it is the old one or the new one.
    ///
    /// # Errors
    /// The disk; more signatures than a document may carry.
    pub fn write(&self) -> Result<(), RootError> {
        let bytes = self.document.to_bytes();
        let bad = |e: SignedError| RootError::NotARoot { file: self.file.clone(), detail: e.to_string() };
        SignedDocument::split(&bytes, ROOT_BYTES_MAX).map_err(bad)?;
        let write = |source| RootError::Write { file: self.file.clone(), source };
        let dir = self.file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut temp = tempfile::NamedTempFile::new_in(dir).map_err(write)?;
        temp.write_all(&bytes).and_then(|()| temp.as_file().sync_all()).map_err(write)?;
        temp.persist(&self.file).map_err(|e| write(e.error))?;
        Ok(())
    }

    /// What is still missing, by the root before and by this one.
    pub fn missing(&self, previous: Option<&Root>) -> Vec<Shortfall> {
        let judges = previous.into_iter().chain([&self.root]);
        judges.map(|root| Shortfall::of(root, &self.document)).filter(|s| s.missing() > 0).collect()
    }
}

/// The root before a proposed one, from a file that was copied out of a site.
///
/// # Errors
/// It cannot be read, or is not signed by its own root keys.
pub fn read_previous(file: &Path) -> Result<Root, RootError> {
    pinned_root(&read(file)?).map_err(|e| RootError::NotARoot { file: file.to_owned(), detail: e.to_string() })
}

fn read(file: &Path) -> Result<Vec<u8>, RootError> {
    let error = |source| RootError::Read { file: file.to_owned(), source };
    let length = std::fs::metadata(file).map_err(error)?.len();
    if length > ROOT_BYTES_MAX {
        let detail = format!("expected at most {ROOT_BYTES_MAX} bytes, found {length}");
        return Err(RootError::NotARoot { file: file.to_owned(), detail });
    }
    std::fs::read(file).map_err(error)
}

/// The role of a root by its kind; for channel keys those of all channels.
fn role(root: &Root, role: Role) -> RootRole {
    match role {
        Role::Root => root.root.clone(),
        Role::Release => root.release.clone(),
        Role::Channel => {
            RootRole { threshold: root.channel_threshold, keys: root.channel.iter().map(|k| k.key.clone()).collect() }
        }
    }
}
