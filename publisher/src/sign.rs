//! Secret keys: the only module that ever holds one.
//!
//! Keys are minisign's secret key files ([`keyfile`]), with a password or without one, so that the stock program can use
//! them too. Those of a role come from
//!
//! * the variable `LAMPLIGHTER_<ROLE>_KEY`, which holds the content of such a file, and the command that signs
//!   ([`command`]), beside each other; or, where neither is given,
//! * the files `<role>.key` and `<role>-<anything>.key` of a directory;
//!
//! never from the command line, where every process of the machine could read them. Passwords come from variables, a file
//! or the terminal ([`password`]). Nothing here is ever shown, and memory is cleared on drop.

mod authority;
pub mod command;
pub mod keyfile;
mod keyring;
pub mod password;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use lamplighter_client::format::root::{self, Root};
use lamplighter_client::format::signed::{PublicKey, Signature, SignedDocument};
use lamplighter_client::format::text::Time;
use zeroize::Zeroizing;

use crate::error::Class;
pub use authority::hints;
use command::SignCommand;
use keyfile::KeyFile;
pub use keyfile::SecretKey;
pub use keyring::{AskPassword, KeySources, generate_pairs, public_keys, read_public};

const FILE_BYTES_MAX: u64 = 4096;

/// Why a key cannot be had or used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum SignError {
    #[error(
        "no {role} key: expected the file {}, the variable {}, which holds such a file's content, or a command that \
         signs in {}",
        file.display(), role.variable(), role.command_variable()
    )]
    NoKey { role: Role, file: PathBuf },
    #[error("the command that signs as {role} does not tell its public keys: expected them in {} and the like", file.display())]
    NoPublic { role: Role, file: PathBuf },
    #[error("cannot read {}: {source}", file.display())]
    Read { file: PathBuf, source: std::io::Error },
    #[error("cannot write {}: {source}", file.display())]
    Write { file: PathBuf, source: std::io::Error },
    #[error("{} exists already, and keys are never overwritten: choose another directory", file.display())]
    Exists { file: PathBuf },
    #[error(
        "{origin} needs a password: expected one in {}, in {}, in the file of --password-file, or on a terminal",
        role.password_variable(), password::PASSWORD_VARIABLE
    )]
    NoPassword { origin: String, role: Role },
    #[error("{origin}: wrong password (from {from})")]
    WrongPassword { origin: String, from: String },
    #[error("{origin}: its password derivation asks for more than the minisign program ever does, and is not tried")]
    TooCostly { origin: String },
    #[error("{origin}: trying its password takes {memory_mib} MiB of memory, which this machine does not give")]
    NoMemory { origin: String, memory_mib: u64 },
    #[error("{origin}: expected a minisign secret key file, found {found}")]
    NotAKey { origin: String, found: &'static str },
    #[error("{} and {} are the same {role} key {id}; each key counts once", files[0].display(), files[1].display())]
    Twice { role: Role, id: String, files: Box<[PathBuf; 2]> },
    #[error("the command that signs as {role} ({command}) failed: {detail}")]
    Command { role: Role, command: String, detail: String },
    #[error(
        "the {role} keys at hand would not be accepted by clients: root version {root_version} asks for {threshold} of {expected}; \
         found {found}{hints}"
    )]
    NotTrusted { role: Role, root_version: u64, threshold: u64, expected: String, found: String, hints: String },
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

impl SignError {
    /// The class it belongs to.
    pub fn class(&self) -> Class {
        match self {
            SignError::Write { .. } | SignError::Random(_) => Class::Disk,
            _ => Class::Trust,
        }
    }
}

/// What a key may do; see [`lamplighter_client::format::root`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Names keys and thresholds.
    Root,
    /// Authorises releases.
    Release,
    /// Points channels at releases.
    Channel,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 3] = [Role::Root, Role::Release, Role::Channel];

    /// Its name in file names and documents.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Root => "root",
            Role::Release => "release",
            Role::Channel => "channel",
        }
    }

    /// The role of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    /// The environment variable its key may come from.
    pub const fn variable(self) -> &'static str {
        match self {
            Role::Root => "LAMPLIGHTER_ROOT_KEY",
            Role::Release => "LAMPLIGHTER_RELEASE_KEY",
            Role::Channel => "LAMPLIGHTER_CHANNEL_KEY",
        }
    }

    /// The environment variable the password of its keys may come from.
    pub const fn password_variable(self) -> &'static str {
        match self {
            Role::Root => "LAMPLIGHTER_ROOT_KEY_PASSWORD",
            Role::Release => "LAMPLIGHTER_RELEASE_KEY_PASSWORD",
            Role::Channel => "LAMPLIGHTER_CHANNEL_KEY_PASSWORD",
        }
    }

    /// The environment variable that names a command which signs for it.
    pub const fn command_variable(self) -> &'static str {
        match self {
            Role::Root => "LAMPLIGHTER_ROOT_SIGN",
            Role::Release => "LAMPLIGHTER_RELEASE_SIGN",
            Role::Channel => "LAMPLIGHTER_CHANNEL_SIGN",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// All secret keys of one role at hand, and a command that signs for it.
#[derive(Debug)]
pub struct Signers {
    role: Role,
    keys: Vec<SecretKey>,
    command: Option<SignCommand>,
}

impl Signers {
    /// Loads the keys of `role`. A command is not run yet: [`Signers::among`] and what builds on it do that.
    ///
    /// # Errors
    /// There is none, one that cannot be read, or a password that is missing or wrong.
    pub fn load(role: Role, sources: impl Into<KeySources>) -> Result<Self, SignError> {
        let sources = sources.into();
        let command = sources.command(role)?;
        if let Some(content) = variable(role.variable())? {
            let file = KeyFile::parse(&content, role.variable())?;
            return Ok(Self { role, keys: vec![password::open(&file, role, &sources)?], command });
        }
        if command.is_some() {
            return Ok(Self { role, keys: Vec::new(), command });
        }
        let mut keys = Vec::new();
        for path in sources.files(role, "key") {
            let file = KeyFile::parse(&read_small(&path)?, &path.display().to_string())?;
            keys.push(password::open(&file, role, &sources)?);
        }
        if keys.is_empty() {
            return Err(SignError::NoKey { role, file: sources.dir().join(format!("{role}.key")) });
        }
        Ok(Self { role, keys, command: None })
    }

    /// Their public halves; those of a command as far as it was seen to sign.
    pub fn publics(&self) -> Vec<PublicKey> {
        let of_command = self.command.iter().flat_map(|c| &c.keys);
        self.keys.iter().map(SecretKey::public).chain(of_command).cloned().collect()
    }

    /// Keeps the keys among `candidates`, each once; a command is run once to see which of them it holds.
    ///
    /// # Errors
    /// The command fails, or holds none of them.
    pub fn among(mut self, candidates: &[PublicKey]) -> Result<Self, SignError> {
        if let Some(command) = &mut self.command {
            command.probe(candidates)?;
        }
        let mut seen = BTreeSet::new();
        let mut wanted =
            |key: &PublicKey| candidates.iter().any(|k| k.as_bytes() == key.as_bytes()) && seen.insert(*key.as_bytes());
        self.keys.retain(|key| wanted(key.public()));
        if let Some(command) = &mut self.command {
            command.keys.retain(&mut wanted);
        }
        Ok(self)
    }

    /// Keeps the keys that `trusted` names.
    ///
    /// # Errors
    /// They are fewer than its threshold: no client would accept what they sign. As [`Signers::among`].
    pub fn trusted_by(self, trusted: &root::Role, root_version: u64) -> Result<Self, SignError> {
        self.judged(trusted, root_version, |_| String::new())
    }

    /// Keeps the keys that the newest of `roots` names, a verified chain; for channel keys, those that may sign `channel`.
    ///
    /// # Errors
    /// As [`Signers::trusted_by`]; the error says of each key whose else it is, or was.
    pub fn authorised(self, roots: &[Root], channel: &str) -> Result<Self, SignError> {
        let role = self.role;
        let none = root::Role { threshold: 0, keys: Vec::new() };
        let version = roots.last().map_or(0, |root| root.version);
        let trusted = roots.last().map_or(none, |root| authority::role_of(root, role, channel));
        self.judged(&trusted, version, |publics| authority::hints(roots, role, channel, publics))
    }

    fn judged(
        self,
        trusted: &root::Role,
        root_version: u64,
        hints: impl Fn(&[PublicKey]) -> String,
    ) -> Result<Self, SignError> {
        let (role, held) = (self.role, self.publics());
        let kept = self.among(&trusted.keys)?;
        let publics = kept.publics();
        if trusted.threshold > 0 && publics.len() as u64 >= trusted.threshold {
            return Ok(kept);
        }
        let (threshold, expected) = (trusted.threshold, ids(&trusted.keys));
        let all = [held, publics].concat();
        let hints = format!("{}{}", hints(&all), authority::missing(trusted, &all));
        Err(SignError::NotTrusted { role, root_version, threshold, expected, found: ids(&all), hints })
    }

    /// Signs `body` with every key; `name` and `time` go into the comment, so that equal input gives equal bytes.
    ///
    /// # Errors
    /// A command fails; keys that are here do not.
    pub fn sign(&self, body: Vec<u8>, name: &str, time: Time) -> Result<SignedDocument, SignError> {
        let comment = format!("timestamp:{}\tfile:{name}\thashed", time.seconds());
        let mut signatures: Vec<Signature> = self.keys.iter().map(|key| key.sign(&body, &comment)).collect();
        if let Some(command) = &self.command {
            signatures.extend(command.sign(&body, name, &comment)?);
        }
        Ok(SignedDocument { body, signatures })
    }
}

/// `body` with the signatures in `text` behind it: one or more `.minisig` files, not yet verified.
///
/// # Errors
/// What was expected instead.
pub fn with_signatures(body: &[u8], text: &[u8]) -> Result<SignedDocument, String> {
    command::parse_signatures(body, text)
}

/// Ids of `keys`, for people.
pub fn ids(keys: &[PublicKey]) -> String {
    let mut seen = BTreeSet::new();
    let ids: Vec<String> = keys.iter().filter(|k| seen.insert(*k.as_bytes())).map(PublicKey::id_hex).collect();
    if ids.is_empty() { "none".to_owned() } else { ids.join(", ") }
}

/// The content of an environment variable, or none where it is not set or empty.
fn variable(name: &str) -> Result<Option<Zeroizing<String>>, SignError> {
    let content = std::env::var_os(name).filter(|v| !v.is_empty()).map(|v| v.into_string());
    let bad = |_| SignError::NotAKey { origin: name.to_owned(), found: "text that is not UTF-8" };
    content.transpose().map_err(bad).map(|content| content.map(Zeroizing::new))
}

/// The text of a file of keys or of a password.
fn read_small(file: &Path) -> Result<Zeroizing<String>, SignError> {
    let error = |source| SignError::Read { file: file.to_owned(), source };
    let length = std::fs::metadata(file).map_err(error)?.len();
    if length > FILE_BYTES_MAX {
        let origin = file.display().to_string();
        return Err(SignError::NotAKey { origin, found: "a file of more than 4096 bytes" });
    }
    std::fs::read_to_string(file).map(Zeroizing::new).map_err(error)
}

#[cfg(test)]
mod tests;
