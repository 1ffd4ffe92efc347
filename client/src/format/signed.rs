//! Signed documents: a body and the minisign signatures over it, in one file.
//!
//! # Specification
//!
//! ```text
//! <body: records, LF, the last line is `end`>
//! untrusted comment: <free text>            ┐
//! <base64 of `ED` ‖ key id ‖ signature>      │ one or more times,
//! trusted comment: <free text>               │ four lines each
//! <base64 of the global signature>           ┘
//! ```
//!
//! The body is everything up to and including the first line `end`. A signature is minisign's prehashed form: Ed25519
//! over the BLAKE2b-512 of the body's bytes. The global signature is Ed25519 over signature ‖ trusted comment, by the
//! same key. Both MUST verify, strictly (RFC 8032 with canonical encodings, small-order keys refused), and the key id MUST
//! be that of the key. A legacy `Ed` signature is refused. Comments carry no authority and are never read.
//!
//! One file, so no cache can serve a body with another's signatures; and anyone can check the k-th signature by hand:
//!
//! ```sh
//! sed '/^end$/q' stable.head > b
//! sed '1,/^end$/d' stable.head | sed -n '<4k-3>,<4k>p' > b.minisig
//! minisign -Vm b -P <key>
//! ```
//!
//! MUST, in this order: the size cap of the document's kind; the split; the signatures, counted over *distinct public
//! keys*; only then is the body parsed. Signatures of unknown keys and invalid ones beside enough valid ones are ignored.
//! At most 32 signatures; comments at most 1024 bytes.
//!
//! # Changelog
//!
//! * 1: first.

use std::collections::BTreeSet;
use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine};
use blake2::{Blake2b512, Digest};
use ed25519_dalek::{Signature as Ed25519Signature, VerifyingKey};

/// Most signatures a document may carry.
pub const SIGNATURES_MAX: usize = 32;

const COMMENT_BYTES_MAX: usize = 1024;
const UNTRUSTED: &str = "untrusted comment: ";
const TRUSTED: &str = "trusted comment: ";
const PREHASHED: [u8; 2] = *b"ED";
const LEGACY: [u8; 2] = *b"Ed";

/// Why bytes are not a signed document, or text not a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum SignedError {
    #[error("longer than the {cap_bytes} bytes allowed")]
    TooLong { cap_bytes: u64 },
    #[error("not a signed document: no line `end` followed by signatures")]
    NotSigned,
    #[error("signature {index} is malformed: {expected}")]
    Malformed { index: usize, expected: &'static str },
    #[error("more than 32 signatures")]
    TooManySignatures,
    #[error("not a minisign public key: {reason}")]
    BadKey { reason: &'static str },
}

/// A minisign public key.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    id: [u8; 8],
    key: VerifyingKey,
}

impl PublicKey {
    /// Parses the base64 line of a minisign public key, `RW…`.
    ///
    /// # Errors
    /// [`SignedError::BadKey`], also for a key of small order.
    pub fn parse(base64: &str) -> Result<Self, SignedError> {
        let bad = |reason| SignedError::BadKey { reason };
        let bytes: [u8; 42] = decode(base64).ok_or(bad("expected 56 characters of base64"))?;
        let (algorithm, id, key) = (&bytes[..2], take(&bytes[2..10]), take(&bytes[10..]));
        if algorithm != LEGACY {
            return Err(bad("expected the algorithm Ed"));
        }
        Self::new(id, &key)
    }

    /// A key from its id and its 32 bytes.
    ///
    /// # Errors
    /// [`SignedError::BadKey`] for bytes that are no curve point, or one of small order.
    pub fn new(id: [u8; 8], key: &[u8; 32]) -> Result<Self, SignedError> {
        let key = VerifyingKey::from_bytes(key).map_err(|_| SignedError::BadKey { reason: "not a curve point" })?;
        if key.is_weak() {
            return Err(SignedError::BadKey { reason: "a key of small order" });
        }
        Ok(Self { id, key })
    }

    /// Parses a minisign `.pub` file: an untrusted comment and the key.
    ///
    /// # Errors
    /// [`SignedError::BadKey`].
    pub fn parse_file(text: &str) -> Result<Self, SignedError> {
        let line = text.lines().find(|l| !l.trim().is_empty() && !l.starts_with("untrusted comment:"));
        Self::parse(line.unwrap_or_default().trim())
    }

    /// The base64 line.
    pub fn to_base64(&self) -> String {
        BASE64_STANDARD.encode([&LEGACY[..], &self.id, self.key.as_bytes()].concat())
    }

    /// The `.pub` file.
    pub fn to_file(&self) -> String {
        format!("{UNTRUSTED}minisign public key {}\n{}\n", self.id_hex(), self.to_base64())
    }

    /// Key id: a label, not an identity.
    pub fn id(&self) -> [u8; 8] {
        self.id
    }

    /// The id as minisign shows it.
    pub fn id_hex(&self) -> String {
        format!("{:016X}", u64::from_le_bytes(self.id))
    }

    /// The 32 bytes of the key: its identity.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// Whether `signature` is this key's over `body`, and says so.
    pub fn verifies(&self, body: &[u8], signature: &Signature) -> bool {
        if signature.key_id != self.id {
            return false;
        }
        let check = |message: &[u8], bytes: &[u8; 64]| {
            self.key.verify_strict(message, &Ed25519Signature::from_bytes(bytes)).is_ok()
        };
        check(&message_digest(body), &signature.signature) && check(&signature.global_message(), &signature.global)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.to_base64())
    }
}

/// One minisign signature of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Id of the key it claims. It must be that key's, as stock minisign wants it, too.
    pub key_id: [u8; 8],
    /// Ed25519 over [`message_digest`] of the body.
    pub signature: [u8; 64],
    /// Free text, without authority.
    pub trusted_comment: String,
    /// Ed25519 over `signature` ‖ `trusted_comment`.
    pub global: [u8; 64],
}

impl Signature {
    /// What the global signature signs.
    pub fn global_message(&self) -> Vec<u8> {
        [&self.signature[..], self.trusted_comment.as_bytes()].concat()
    }

    /// The four lines that stand in a document.
    pub fn to_text(&self) -> String {
        let first = BASE64_STANDARD.encode([&PREHASHED[..], &self.key_id, &self.signature].concat());
        let global = BASE64_STANDARD.encode(self.global);
        format!("{UNTRUSTED}minisign\n{first}\n{TRUSTED}{}\n{global}\n", self.trusted_comment)
    }

    /// Parses four lines; `index` counts signatures from 1, for errors.
    fn parse(index: usize, lines: &[&str]) -> Result<Self, SignedError> {
        let malformed = |expected| SignedError::Malformed { index, expected };
        let &[untrusted, first, trusted, global] = lines else {
            return Err(malformed("expected four lines"));
        };
        if !untrusted.starts_with(UNTRUSTED) || untrusted.len() > COMMENT_BYTES_MAX {
            return Err(malformed("expected an untrusted comment"));
        }
        let trusted_comment = trusted.strip_prefix(TRUSTED).ok_or(malformed("expected a trusted comment"))?;
        if trusted.len() > COMMENT_BYTES_MAX {
            return Err(malformed("expected a shorter trusted comment"));
        }
        let bytes: [u8; 74] = decode(first).ok_or(malformed("expected 74 bytes of base64"))?;
        if bytes[..2] != PREHASHED {
            return Err(malformed("expected the prehashed algorithm ED"));
        }
        Ok(Self {
            key_id: take(&bytes[2..10]),
            signature: take(&bytes[10..]),
            trusted_comment: trusted_comment.to_owned(),
            global: decode(global).ok_or(malformed("expected a global signature of 64 bytes"))?,
        })
    }
}

/// BLAKE2b-512 of a body: what Ed25519 signs in minisign's prehashed form.
pub fn message_digest(body: &[u8]) -> [u8; 64] {
    Blake2b512::digest(body).into()
}

/// A body and its signatures, not yet verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedDocument {
    /// From the first byte to `end` and its LF.
    pub body: Vec<u8>,
    /// At least one.
    pub signatures: Vec<Signature>,
}

impl SignedDocument {
    /// Splits `bytes` into body and signatures.
    ///
    /// # Errors
    /// More than `cap_bytes`; no `end`; malformed signatures.
    pub fn split(bytes: &[u8], cap_bytes: u64) -> Result<Self, SignedError> {
        if bytes.len() as u64 > cap_bytes {
            return Err(SignedError::TooLong { cap_bytes });
        }
        let text = std::str::from_utf8(bytes).map_err(|_| SignedError::NotSigned)?;
        let end = text.find("\nend\n").ok_or(SignedError::NotSigned)? + "\nend\n".len();
        let rest = text[end..].strip_suffix('\n').ok_or(SignedError::NotSigned)?;
        let lines: Vec<&str> = rest.split('\n').collect();
        if lines.len() > 4 * SIGNATURES_MAX {
            return Err(SignedError::TooManySignatures);
        }
        let signatures: Result<Vec<_>, _> =
            lines.chunks(4).enumerate().map(|(index, four)| Signature::parse(index + 1, four)).collect();
        Ok(Self { body: text.as_bytes()[..end].to_vec(), signatures: signatures? })
    }

    /// The bytes of the document.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.body.clone();
        for signature in &self.signatures {
            bytes.extend(signature.to_text().bytes());
        }
        bytes
    }

    /// How many distinct keys among `keys` have a valid signature here.
    pub fn count_signers<'a>(&self, keys: impl IntoIterator<Item = &'a PublicKey>) -> usize {
        let signers: BTreeSet<[u8; 32]> = keys
            .into_iter()
            .filter(|key| self.signatures.iter().any(|signature| key.verifies(&self.body, signature)))
            .map(|key| *key.as_bytes())
            .collect();
        signers.len()
    }
}

fn decode<const N: usize>(base64: &str) -> Option<[u8; N]> {
    BASE64_STANDARD.decode(base64).ok()?.try_into().ok()
}

/// The first `N` bytes of a slice that is known to have them.
fn take<const N: usize>(bytes: &[u8]) -> [u8; N] {
    std::array::from_fn(|i| bytes[i])
}

#[cfg(test)]
pub(crate) mod testing {
    //! Keys and signatures for the tests of this crate.
    use super::*;
    use ed25519_dalek::{Signer, SigningKey};

    /// A key pair made from a seed byte.
    pub(crate) struct TestKey(pub(crate) SigningKey, pub(crate) u8);

    impl TestKey {
        pub(crate) fn new(seed: u8) -> Self {
            Self(SigningKey::from_bytes(&[seed; 32]), seed)
        }

        pub(crate) fn public(&self) -> PublicKey {
            PublicKey::new([self.1; 8], self.0.verifying_key().as_bytes()).expect("a good key")
        }

        pub(crate) fn sign(&self, body: &[u8]) -> Signature {
            let signature = self.0.sign(&message_digest(body)).to_bytes();
            let mut made =
                Signature { key_id: [self.1; 8], signature, trusted_comment: "test".into(), global: [0; 64] };
            made.global = self.0.sign(&made.global_message()).to_bytes();
            made
        }
    }

    /// `body` signed by `keys`.
    pub(crate) fn sign(body: &[u8], keys: &[&TestKey]) -> Vec<u8> {
        let signatures = keys.iter().map(|k| k.sign(body)).collect();
        SignedDocument { body: body.to_vec(), signatures }.to_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{TestKey, sign};
    use super::*;

    const BODY: &[u8] = b"lamplighter-test,1\nend\n";

    #[test]
    fn signs_and_counts_distinct_keys() {
        let (a, b, stranger) = (TestKey::new(1), TestKey::new(2), TestKey::new(3));
        let bytes = sign(BODY, &[&a, &a, &b]);
        let document = SignedDocument::split(&bytes, 4096).expect("well formed");
        assert_eq!(document.to_bytes(), bytes);
        let (a, b, stranger) = (a.public(), b.public(), stranger.public());
        assert_eq!(document.count_signers([&a, &b, &stranger]), 2);
        assert_eq!(document.count_signers([&a, &a]), 1, "one key is one signer however often it is listed");
        assert_eq!(document.count_signers([&stranger]), 0);
    }

    #[test]
    fn an_independent_verifier_agrees() {
        let key = TestKey::new(7);
        let signature = minisign_verify::Signature::decode(&key.sign(BODY).to_text()).expect("minisign's form");
        let public = minisign_verify::PublicKey::decode(&key.public().to_file()).expect("minisign's form");
        public.verify(BODY, &signature, false).expect("a valid signature");
    }

    #[test]
    fn every_flipped_byte_is_refused() {
        let key = TestKey::new(1);
        let bytes = sign(BODY, &[&key]);
        let comment_end = BODY.len() + "untrusted comment: minisign".len();
        let untrusted = BODY.len() + UNTRUSTED.len()..comment_end;
        for at in (0..bytes.len()).filter(|at| !untrusted.contains(at)) {
            for change in [1u8, 0x20, 0x80] {
                let mut altered = bytes.clone();
                altered[at] ^= change;
                let signers = SignedDocument::split(&altered, 4096).map_or(0, |d| d.count_signers([&key.public()]));
                assert_eq!(signers, 0, "byte {at}");
            }
        }
    }

    #[test]
    fn malformed_documents_are_refused() {
        let good = String::from_utf8(sign(BODY, &[&TestKey::new(1)])).expect("text");
        let split = |text: &str| SignedDocument::split(text.as_bytes(), 4096).err();
        assert_eq!(split("<html>hello</html>\n"), Some(SignedError::NotSigned));
        assert_eq!(split("lamplighter-test,1\nend\n"), Some(SignedError::NotSigned));
        assert_eq!(split(good.trim_end()), Some(SignedError::NotSigned));
        let malformed = |text: String| matches!(split(&text), Some(SignedError::Malformed { index: 1, .. }));
        assert!(malformed(good.replace("\nRUQ", "\nRWQ")), "a legacy signature");
        assert!(malformed(good.replace("\ntrusted comment: ", "\ncomment: ")));
        assert!(matches!(split(&format!("{good}more\n")), Some(SignedError::Malformed { index: 2, .. })));
        assert_eq!(SignedDocument::split(good.as_bytes(), 10), Err(SignedError::TooLong { cap_bytes: 10 }));
        let many = format!("{}{}", String::from_utf8_lossy(BODY), &good[BODY.len()..].repeat(33));
        assert_eq!(SignedDocument::split(many.as_bytes(), 1 << 20), Err(SignedError::TooManySignatures));
    }

    #[test]
    fn weak_and_malformed_keys_are_refused() {
        let neutral = {
            let mut p = [0u8; 32];
            p[0] = 1;
            p
        };
        assert!(PublicKey::new([0; 8], &neutral).is_err());
        assert!(PublicKey::parse("").is_err());
        let good = TestKey::new(1).public();
        assert_eq!(PublicKey::parse(&good.to_base64()), Ok(good.clone()));
        assert_eq!(PublicKey::parse_file(&good.to_file()), Ok(good));
    }
}
