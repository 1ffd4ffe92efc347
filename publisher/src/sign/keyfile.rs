//! Secret key files, as the stock `minisign` program reads and writes them.
//!
//! # Specification
//!
//! One comment line, then base64 of:
//!
//! | offset | bytes | content |
//! | --- | --- | --- |
//! | 0 | 2 | `Ed` |
//! | 2 | 2 | key derivation: two zero bytes for none, `Sc` for a password |
//! | 4 | 2 | checksum algorithm `B2` |
//! | 6 | 32 | salt of the derivation, or zero |
//! | 38 | 8 | its limit of operations, little-endian, or zero |
//! | 46 | 8 | its limit of memory in bytes, little-endian, or zero |
//! | 54 | 8 | key id |
//! | 62 | 64 | Ed25519 seed ‖ public key |
//! | 126 | 32 | BLAKE2b-256 of `Ed` ‖ key id ‖ secret key; without a password it may be zero |
//!
//! With a password the last 104 bytes are XORed with what [`super::password`] derives from it. The checksum then tells a
//! wrong password.

use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine};
use blake2::{Blake2b256, Digest};
use ed25519_dalek::{Signer, SigningKey};
use lamplighter_client::format::signed::{PublicKey, Signature, message_digest};
use zeroize::Zeroizing;

use super::SignError;
use super::password::{Limits, SALT_BYTES};

const FILE_BYTES: usize = 158;
const ID_AT: usize = 54;
const CHECKSUM_AT: usize = 126;
/// Bytes that a password covers: all from the key id on.
pub(super) const COVERED_BYTES: usize = FILE_BYTES - ID_AT;
const NO_PASSWORD: [u8; 2] = [0, 0];
const PASSWORD: [u8; 2] = *b"Sc";

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

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs in minisign's prehashed form; equal input gives equal signatures.
    pub(super) fn sign(&self, body: &[u8], trusted_comment: &str) -> Signature {
        let signature = self.key.sign(&message_digest(body)).to_bytes();
        let trusted_comment = trusted_comment.to_owned();
        let mut made = Signature { key_id: self.id, signature, trusted_comment, global: [0; 64] };
        made.global = self.key.sign(&made.global_message()).to_bytes();
        made
    }

    /// The file without a password.
    pub(super) fn to_file(&self) -> Zeroizing<String> {
        let mut bytes = self.bytes();
        bytes[2..4].copy_from_slice(&NO_PASSWORD);
        self.text(&bytes)
    }

    /// The file protected by `password`, with a fresh salt.
    ///
    /// # Errors
    /// No random bytes; no memory for the derivation.
    pub(super) fn to_protected_file(&self, password: &str, limits: Limits) -> Result<Zeroizing<String>, SignError> {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt).map_err(SignError::Random)?;
        let mut bytes = self.bytes();
        bytes[2..4].copy_from_slice(&PASSWORD);
        bytes[6..38].copy_from_slice(&salt);
        bytes[38..46].copy_from_slice(&limits.operations.to_le_bytes());
        bytes[46..54].copy_from_slice(&limits.memory_bytes.to_le_bytes());
        let stream = limits.derive(password, &salt, "a new key")?;
        cover(&mut bytes, &stream);
        Ok(self.text(&bytes))
    }

    fn bytes(&self) -> Zeroizing<[u8; FILE_BYTES]> {
        let mut bytes = Zeroizing::new([0; FILE_BYTES]);
        bytes[..2].copy_from_slice(b"Ed");
        bytes[4..6].copy_from_slice(b"B2");
        bytes[ID_AT..62].copy_from_slice(&self.id);
        bytes[62..CHECKSUM_AT].copy_from_slice(&*Zeroizing::new(self.key.to_keypair_bytes()));
        let checksum = checksum(&bytes);
        bytes[CHECKSUM_AT..].copy_from_slice(&checksum);
        bytes
    }

    fn text(&self, bytes: &[u8; FILE_BYTES]) -> Zeroizing<String> {
        let kind = if bytes[2..4] == PASSWORD { "minisign encrypted secret key" } else { "minisign secret key" };
        let line = Zeroizing::new(BASE64_STANDARD.encode(bytes));
        Zeroizing::new(format!("untrusted comment: {kind} {}\n{}\n", self.public.id_hex(), *line))
    }
}

/// The content of a secret key file, its form checked, not yet opened.
pub(super) struct KeyFile {
    bytes: Zeroizing<[u8; FILE_BYTES]>,
    origin: String,
}

impl KeyFile {
    /// Reads the text of a secret key file; `origin` names it in errors.
    ///
    /// # Errors
    /// It is something else.
    pub(super) fn parse(text: &str, origin: &str) -> Result<Self, SignError> {
        let bad = |found| SignError::NotAKey { origin: origin.to_owned(), found };
        let mut lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("untrusted comment:"));
        let line = lines.next().ok_or(bad("no line of base64"))?;
        let bytes = Zeroizing::new(BASE64_STANDARD.decode(line).map_err(|_| bad("a line that is not base64"))?);
        let bytes: [u8; FILE_BYTES] = bytes.as_slice().try_into().map_err(|_| match bytes.len() {
            42 => bad("a public key"),
            _ => bad("another length than 158 bytes"),
        })?;
        let bytes = Zeroizing::new(bytes);
        if bytes[..2] != *b"Ed" || bytes[4..6] != *b"B2" {
            return Err(bad("another algorithm than Ed with B2"));
        }
        if bytes[2..4] != NO_PASSWORD && bytes[2..4] != PASSWORD {
            return Err(bad("another key derivation than scrypt"));
        }
        Ok(Self { bytes, origin: origin.to_owned() })
    }

    /// Where it comes from.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    pub(super) fn is_protected(&self) -> bool {
        self.bytes[2..4] == PASSWORD
    }

    /// The key of a file without a password.
    ///
    /// # Errors
    /// The file is protected, or damaged.
    pub(super) fn open(&self) -> Result<SecretKey, SignError> {
        if self.is_protected() {
            return Err(self.bad("a key protected by a password"));
        }
        if self.bytes[CHECKSUM_AT..] != [0; 32] && self.bytes[CHECKSUM_AT..] != checksum(&self.bytes) {
            return Err(self.bad("a damaged key: its checksum differs"));
        }
        self.key(&self.bytes)
    }

    /// The key of a protected file; none if `password` is not its password.
    ///
    /// # Errors
    /// The file asks for more than is granted, there is no memory, or its halves do not fit.
    pub(super) fn unlock(&self, password: &str) -> Result<Option<SecretKey>, SignError> {
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| self.bytes[at + i]));
        let limits = Limits { operations: number(38), memory_bytes: number(46) };
        let salt: [u8; SALT_BYTES] = std::array::from_fn(|i| self.bytes[6 + i]);
        let stream = limits.derive(password, &salt, &self.origin)?;
        let mut bytes = self.bytes.clone();
        cover(&mut bytes, &stream);
        if bytes[CHECKSUM_AT..] != checksum(&bytes) {
            return Ok(None);
        }
        self.key(&bytes).map(Some)
    }

    fn key(&self, bytes: &[u8; FILE_BYTES]) -> Result<SecretKey, SignError> {
        let pair: Zeroizing<[u8; 64]> = Zeroizing::new(std::array::from_fn(|i| bytes[62 + i]));
        let halves = "a damaged key: its halves do not fit";
        let key = SigningKey::from_keypair_bytes(&pair).map_err(|_| self.bad(halves))?;
        SecretKey::new(std::array::from_fn(|i| bytes[ID_AT + i]), key, &self.origin)
    }

    fn bad(&self, found: &'static str) -> SignError {
        SignError::NotAKey { origin: self.origin.clone(), found }
    }
}

fn checksum(bytes: &[u8; FILE_BYTES]) -> [u8; 32] {
    Blake2b256::new().chain_update(&bytes[..2]).chain_update(&bytes[ID_AT..CHECKSUM_AT]).finalize().into()
}

fn cover(bytes: &mut [u8; FILE_BYTES], stream: &[u8; COVERED_BYTES]) {
    bytes[ID_AT..].iter_mut().zip(stream).for_each(|(byte, mask)| *byte ^= mask);
}
