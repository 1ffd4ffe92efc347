//! Secret keys: the only module that ever holds one.
//!
//! Keys are minisign's secret key files without a password, as `minisign -G -W` makes them, so that the stock program can
//! use them too:
//!
//! | offset | bytes | content |
//! | --- | --- | --- |
//! | 0 | 2 | `Ed` |
//! | 2 | 2 | key derivation: two zero bytes for none, `Sc` for a password |
//! | 4 | 2 | checksum algorithm `B2` |
//! | 6 | 48 | salt and limits of the derivation: zero |
//! | 54 | 8 | key id |
//! | 62 | 64 | Ed25519 seed ‖ public key |
//! | 126 | 32 | BLAKE2b-256 of `Ed` ‖ key id ‖ secret key, or zero |
//!
//! in base64, behind one comment line. They come from the files `<role>.key` and `<role>-<anything>.key` of a directory, or
//! from the variable `LAMPLIGHTER_<ROLE>_KEY`, which holds the content of such a file and wins; never from the command
//! line, where every process of the machine could read them. Nothing here is ever shown, and memory is cleared on drop.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, Engine};
use blake2::{Blake2b256, Digest};
use ed25519_dalek::{Signer, SigningKey};
use lamplighter_client::format::root;
use lamplighter_client::format::signed::{PublicKey, Signature, SignedDocument, message_digest};
use lamplighter_client::format::text::Time;
use zeroize::Zeroizing;

use crate::error::Class;

const FILE_BYTES: usize = 158;
const FILE_BYTES_MAX: u64 = 4096;

/// Why a key cannot be had or used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum SignError {
    #[error("no {role} key: expected the file {} or the variable {variable}, which holds such a file's content", file.display())]
    NoKey { role: Role, file: PathBuf, variable: &'static str },
    #[error("cannot read {}: {source}", file.display())]
    Read { file: PathBuf, source: std::io::Error },
    #[error("cannot write {}: {source}", file.display())]
    Write { file: PathBuf, source: std::io::Error },
    #[error("{} exists already, and keys are never overwritten: choose another directory", file.display())]
    Exists { file: PathBuf },
    #[error(
        "{origin}: password-protected keys are not supported here; make one with `minisign -G -W` or `publisher keygen`"
    )]
    Protected { origin: String },
    #[error("{origin}: expected a minisign secret key file, found {found}")]
    NotAKey { origin: String, found: &'static str },
    #[error(
        "the {role} keys at hand would not be accepted by clients: root version {root_version} asks for {threshold} of {expected}, \
         found {found}; use the keys that belong to this site"
    )]
    NotTrusted { role: Role, root_version: u64, threshold: u64, expected: String, found: String },
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

    /// The environment variable its key may come from.
    pub const fn variable(self) -> &'static str {
        match self {
            Role::Root => "LAMPLIGHTER_ROOT_KEY",
            Role::Release => "LAMPLIGHTER_RELEASE_KEY",
            Role::Channel => "LAMPLIGHTER_CHANNEL_KEY",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A secret key.
pub struct SecretKey {
    id: [u8; 8],
    key: SigningKey,
    public: PublicKey,
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.public.id_hex())
    }
}

impl SecretKey {
    /// A new key from the system's random bytes.
    ///
    /// # Errors
    /// The system has none.
    pub fn generate() -> Result<Self, SignError> {
        let mut seed = Zeroizing::new([0; 32]);
        let mut id = [0; 8];
        getrandom::fill(&mut *seed).map_err(SignError::Random)?;
        getrandom::fill(&mut id).map_err(SignError::Random)?;
        Self::new(id, SigningKey::from_bytes(&seed), "a new key")
    }

    fn new(id: [u8; 8], key: SigningKey, origin: &str) -> Result<Self, SignError> {
        let public = PublicKey::new(id, key.verifying_key().as_bytes())
            .map_err(|_| SignError::NotAKey { origin: origin.to_owned(), found: "a weak key" })?;
        Ok(Self { id, key, public })
    }

    /// Reads the content of a secret key file; `origin` names it in errors.
    ///
    /// # Errors
    /// A password-protected key; anything else that is not a sound key.
    pub fn parse(text: &str, origin: &str) -> Result<Self, SignError> {
        let bad = |found| SignError::NotAKey { origin: origin.to_owned(), found };
        let mut lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("untrusted comment:"));
        let line = lines.next().ok_or(bad("no line of base64"))?;
        let bytes = Zeroizing::new(BASE64_STANDARD.decode(line).map_err(|_| bad("a line that is not base64"))?);
        let bytes: &[u8; FILE_BYTES] = bytes.as_slice().try_into().map_err(|_| match bytes.len() {
            42 => bad("a public key"),
            _ => bad("another length than 158 bytes"),
        })?;
        if bytes[..2] != *b"Ed" || bytes[4..6] != *b"B2" {
            return Err(bad("another algorithm than Ed with B2"));
        }
        if bytes[2..4] != [0, 0] {
            return Err(SignError::Protected { origin: origin.to_owned() });
        }
        let checksum = &bytes[126..];
        if checksum != [0; 32] && checksum != key_checksum(&bytes[54..126]) {
            return Err(bad("a damaged key: its checksum differs"));
        }
        let pair: Zeroizing<[u8; 64]> = Zeroizing::new(std::array::from_fn(|i| bytes[62 + i]));
        let key = SigningKey::from_keypair_bytes(&pair).map_err(|_| bad("a damaged key: its halves do not fit"))?;
        Self::new(std::array::from_fn(|i| bytes[54 + i]), key, origin)
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    fn to_file(&self) -> Zeroizing<String> {
        let pair = Zeroizing::new(self.key.to_keypair_bytes());
        let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_BYTES));
        bytes.extend_from_slice(b"Ed\0\0B2");
        bytes.extend_from_slice(&[0; 48]);
        bytes.extend_from_slice(&self.id);
        bytes.extend_from_slice(&*pair);
        let checksum = key_checksum(&bytes[54..]);
        bytes.extend_from_slice(&checksum);
        let line = Zeroizing::new(BASE64_STANDARD.encode(&*bytes));
        Zeroizing::new(format!("untrusted comment: minisign secret key {}\n{}\n", self.public.id_hex(), *line))
    }

    fn sign(&self, body: &[u8], trusted_comment: &str) -> Signature {
        let signature = self.key.sign(&message_digest(body)).to_bytes();
        let trusted_comment = trusted_comment.to_owned();
        let mut made = Signature { key_id: self.id, signature, trusted_comment, global: [0; 64] };
        made.global = self.key.sign(&made.global_message()).to_bytes();
        made
    }
}

fn key_checksum(id_and_key: &[u8]) -> [u8; 32] {
    Blake2b256::new().chain_update(b"Ed").chain_update(id_and_key).finalize().into()
}

/// Makes a pair a role in `dir`: `<role>.key`, readable by the owner only, and `<role>.pub`.
///
/// # Errors
/// A file of that name exists (nothing is written then); the disk.
pub fn generate_pairs(dir: &Path, roles: &[Role]) -> Result<Vec<(Role, PublicKey)>, SignError> {
    let files = |role: &Role| [dir.join(format!("{role}.key")), dir.join(format!("{role}.pub"))];
    if let Some(file) = roles.iter().flat_map(files).find(|file| file.symlink_metadata().is_ok()) {
        return Err(SignError::Exists { file });
    }
    std::fs::create_dir_all(dir).map_err(|source| SignError::Write { file: dir.to_owned(), source })?;
    let mut pairs = Vec::new();
    for role in roles {
        let key = SecretKey::generate()?;
        let [secret, public] = files(role);
        write_new(&secret, key.to_file().as_bytes(), 0o600)?;
        write_new(&public, key.public.to_file().as_bytes(), 0o644)?;
        pairs.push((*role, key.public.clone()));
    }
    Ok(pairs)
}

fn write_new(file: &Path, content: &[u8], mode: u32) -> Result<(), SignError> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let written = options.open(file).and_then(|mut f| {
        f.write_all(content)?;
        f.sync_all()
    });
    written.map_err(|source| match source.kind() {
        std::io::ErrorKind::AlreadyExists => SignError::Exists { file: file.to_owned() },
        _ => SignError::Write { file: file.to_owned(), source },
    })
}

/// All secret keys of one role at hand.
#[derive(Debug)]
pub struct Signers {
    role: Role,
    keys: Vec<SecretKey>,
}

impl Signers {
    /// Loads the keys of `role` from its variable, or else from the files of `dir`.
    ///
    /// # Errors
    /// There is none, or one that cannot be read.
    pub fn load(role: Role, dir: Option<&Path>) -> Result<Self, SignError> {
        let variable = std::env::var_os(role.variable()).filter(|v| !v.is_empty());
        if let Some(content) = variable {
            let content = content.into_string().map_err(|_| SignError::NotAKey {
                origin: role.variable().to_owned(),
                found: "text that is not UTF-8",
            })?;
            let content = Zeroizing::new(content);
            return Ok(Self { role, keys: vec![SecretKey::parse(&content, role.variable())?] });
        }
        let dir = dir.unwrap_or(Path::new("keys"));
        let mut keys = Vec::new();
        for file in key_files(dir, role, "key") {
            keys.push(SecretKey::parse(&read(&file)?, &file.display().to_string())?);
        }
        if keys.is_empty() {
            let file = dir.join(format!("{role}.key"));
            return Err(SignError::NoKey { role, file, variable: role.variable() });
        }
        Ok(Self { role, keys })
    }

    /// Their public halves.
    pub fn publics(&self) -> Vec<PublicKey> {
        self.keys.iter().map(|k| k.public.clone()).collect()
    }

    /// Keeps the keys that `trusted` names.
    ///
    /// # Errors
    /// They are fewer than its threshold: no client would accept what they sign.
    pub fn trusted_by(mut self, trusted: &root::Role, root_version: u64) -> Result<Self, SignError> {
        let found = ids(&self.publics());
        self.keys.retain(|key| trusted.keys.iter().any(|k| k.as_bytes() == key.public.as_bytes()));
        let mut seen = BTreeSet::new();
        self.keys.retain(|key| seen.insert(*key.public.as_bytes()));
        if trusted.threshold == 0 || (self.keys.len() as u64) < trusted.threshold {
            let (threshold, expected) = (trusted.threshold, ids(&trusted.keys));
            return Err(SignError::NotTrusted { role: self.role, root_version, threshold, expected, found });
        }
        Ok(self)
    }

    /// Signs `body` with every key; `name` and `time` go into the comment, so that equal input gives equal bytes.
    pub fn sign(&self, body: Vec<u8>, name: &str, time: Time) -> SignedDocument {
        let comment = format!("timestamp:{}\tfile:{name}\thashed", time.seconds());
        let signatures = self.keys.iter().map(|key| key.sign(&body, &comment)).collect();
        SignedDocument { body, signatures }
    }
}

/// Public keys of `role`: from `<role>.pub` and `<role>-<anything>.pub` in `dir`, or else from the secret keys at hand.
///
/// # Errors
/// There is neither, or one that cannot be read.
pub fn public_keys(role: Role, dir: Option<&Path>) -> Result<Vec<PublicKey>, SignError> {
    let mut keys: Vec<PublicKey> = Vec::new();
    for file in key_files(dir.unwrap_or(Path::new("keys")), role, "pub") {
        let key = PublicKey::parse_file(&read(&file)?).map_err(|_| SignError::NotAKey {
            origin: file.display().to_string(),
            found: "something other than a minisign public key",
        })?;
        keys.push(key);
    }
    if keys.is_empty() { Ok(Signers::load(role, dir)?.publics()) } else { Ok(keys) }
}

fn ids(keys: &[PublicKey]) -> String {
    let ids: Vec<String> = keys.iter().map(PublicKey::id_hex).collect();
    if ids.is_empty() { "none".to_owned() } else { ids.join(", ") }
}

/// `<role>.<suffix>` and `<role>-<anything>.<suffix>` of `dir`, in order of their names.
fn key_files(dir: &Path, role: Role, suffix: &str) -> Vec<PathBuf> {
    let is_key = |name: &str| {
        let stem = name.strip_suffix(&format!(".{suffix}")).and_then(|n| n.strip_prefix(role.name()));
        stem.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> =
        entries.filter(|e| e.file_name().to_str().is_some_and(is_key)).map(|e| e.path()).collect();
    files.sort();
    files
}

fn read(file: &Path) -> Result<Zeroizing<String>, SignError> {
    let error = |source| SignError::Read { file: file.to_owned(), source };
    let length = std::fs::metadata(file).map_err(error)?.len();
    if length > FILE_BYTES_MAX {
        let origin = file.display().to_string();
        return Err(SignError::NotAKey { origin, found: "a file of more than 4096 bytes" });
    }
    std::fs::read_to_string(file).map(Zeroizing::new).map_err(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn pairs() -> (tempfile::TempDir, Vec<(Role, PublicKey)>) {
        let dir = tempfile::tempdir().expect("a directory");
        let pairs = generate_pairs(dir.path(), &Role::ALL).expect("written");
        (dir, pairs)
    }

    fn minisign() -> Command {
        Command::new("minisign")
    }

    fn run(command: &mut Command) {
        let output = command.output().expect("the stock minisign program is installed");
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    #[test]
    fn pairs_are_written_once_and_read_back() {
        let (dir, pairs) = pairs();
        for (role, public) in &pairs {
            let signers = Signers::load(*role, Some(dir.path())).expect("a key");
            assert_eq!(signers.publics(), std::slice::from_ref(public));
            assert_eq!(public_keys(*role, Some(dir.path())).expect("a key"), std::slice::from_ref(public));
        }
        let before = std::fs::read(dir.path().join("release.key")).expect("there");
        assert!(matches!(generate_pairs(dir.path(), &[Role::Release]), Err(SignError::Exists { .. })));
        assert_eq!(std::fs::read(dir.path().join("release.key")).expect("there"), before);
    }

    #[cfg(unix)]
    #[test]
    fn secret_keys_are_for_their_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let (dir, _) = pairs();
        let mode = dir.path().join("root.key").metadata().expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn stock_minisign_verifies_our_signatures_and_uses_our_keys() {
        let (dir, pairs) = pairs();
        let body = b"lamplighter-test,1\nend\n".to_vec();
        let signers = Signers::load(Role::Release, Some(dir.path())).expect("a key");
        let document = signers.sign(body.clone(), "release", Time::from_seconds(1_700_000_000));
        std::fs::write(dir.path().join("b"), &body).expect("written");
        std::fs::write(dir.path().join("b.minisig"), document.signatures[0].to_text()).expect("written");
        let public = &pairs[1].1;
        run(minisign().current_dir(&dir).args(["-V", "-m", "b", "-P", &public.to_base64()]));
        run(minisign().current_dir(&dir).args(["-V", "-m", "b", "-p", "release.pub"]));
        // Its own signature with our key is ours, byte for byte.
        let comment = &document.signatures[0].trusted_comment;
        run(minisign().current_dir(&dir).args(["-S", "-s", "release.key", "-m", "b", "-x", "stock", "-t", comment]));
        let stock = std::fs::read_to_string(dir.path().join("stock")).expect("written");
        let ours = document.signatures[0].to_text();
        assert_eq!(stock.lines().skip(1).collect::<Vec<_>>(), ours.lines().skip(1).collect::<Vec<_>>());
    }

    #[test]
    fn stock_minisign_keys_are_read() {
        let dir = tempfile::tempdir().expect("a directory");
        run(minisign().current_dir(&dir).args(["-G", "-W", "-p", "root.pub", "-s", "root.key"]));
        let signers = Signers::load(Role::Root, Some(dir.path())).expect("a key");
        assert_eq!(signers.publics(), public_keys(Role::Root, Some(dir.path())).expect("a key"));
    }

    #[test]
    fn what_is_no_usable_key_is_refused_by_name() {
        let (dir, _) = pairs();
        let text = read(&dir.path().join("root.key")).expect("there");
        let line = text.lines().nth(1).expect("two lines");
        let bytes = BASE64_STANDARD.decode(line).expect("base64");
        let altered = |at: usize, to: &[u8]| {
            let mut bytes = bytes.clone();
            bytes[at..at + to.len()].copy_from_slice(to);
            SecretKey::parse(&BASE64_STANDARD.encode(bytes), "k").err()
        };
        assert!(SecretKey::parse(&text, "k").is_ok() && altered(126, &[0; 32]).is_none());
        assert!(matches!(altered(2, b"Sc"), Some(SignError::Protected { .. })));
        assert!(matches!(altered(0, b"RS"), Some(SignError::NotAKey { .. })));
        assert!(matches!(altered(70, &[bytes[70] ^ 1]), Some(SignError::NotAKey { .. })));
        let public = std::fs::read_to_string(dir.path().join("root.pub")).expect("there");
        for bad in ["", "untrusted comment: x\n", "hello", "aGVsbG8=", &public] {
            let error = SecretKey::parse(bad, "the origin").expect_err(bad).to_string();
            assert!(error.contains("the origin"), "{error}");
        }
        let none = Signers::load(Role::Root, Some(&dir.path().join("none"))).expect_err("no keys").to_string();
        assert!(none.contains("root.key") && none.contains("LAMPLIGHTER_ROOT_KEY"), "{none}");
    }

    #[test]
    fn only_keys_the_root_names_sign() {
        let (dir, pairs) = pairs();
        let load = || Signers::load(Role::Release, Some(dir.path())).expect("a key");
        let role = |threshold, keys: &[PublicKey]| root::Role { threshold, keys: keys.to_vec() };
        let own = &pairs[1].1;
        assert!(load().trusted_by(&role(1, std::slice::from_ref(own)), 1).is_ok());
        for refused in [role(1, &[pairs[0].1.clone()]), role(2, std::slice::from_ref(own)), role(0, &[])] {
            assert!(matches!(load().trusted_by(&refused, 1), Err(SignError::NotTrusted { .. })));
        }
        // The same key twice is one signer.
        std::fs::copy(dir.path().join("release.key"), dir.path().join("release-2.key")).expect("copied");
        assert!(load().trusted_by(&role(2, std::slice::from_ref(own)), 1).is_err());
    }

    #[test]
    fn secrets_are_never_shown() {
        let (dir, _) = pairs();
        let signers = Signers::load(Role::Root, Some(dir.path())).expect("a key");
        let text = read(&dir.path().join("root.key")).expect("there");
        let shown = format!("{signers:?}");
        assert!(!shown.contains(text.lines().nth(1).expect("two lines")) && shown.len() < 200, "{shown}");
    }
}
