//! Keys made from a seed byte, for tests that sign documents.

use ed25519_dalek::{Signer, SigningKey};
use lamplighter_client::format::signed::{PublicKey, Signature, SignedDocument, message_digest};

/// A key pair whose secret is one byte, 32 times over: another program can make the same pair.
pub(crate) struct Key {
    seed: u8,
    secret: SigningKey,
}

impl Key {
    pub(crate) fn new(seed: u8) -> Self {
        Self { seed, secret: SigningKey::from_bytes(&[seed; 32]) }
    }

    pub(crate) fn public(&self) -> PublicKey {
        PublicKey::new([self.seed; 8], self.secret.verifying_key().as_bytes()).expect("a good key")
    }

    fn sign(&self, body: &[u8]) -> Signature {
        let signature = self.secret.sign(&message_digest(body)).to_bytes();
        let mut made = Signature { key_id: [self.seed; 8], signature, trusted_comment: "test".into(), global: [0; 64] };
        made.global = self.secret.sign(&made.global_message()).to_bytes();
        made
    }
}

/// The public halves of these seeds.
pub(crate) fn publics(seeds: &[u8]) -> Vec<PublicKey> {
    seeds.iter().map(|seed| Key::new(*seed).public()).collect()
}

/// `body` with one signature a seed, in that order.
pub(crate) fn signed(body: Vec<u8>, seeds: &[u8]) -> Vec<u8> {
    let signatures = seeds.iter().map(|seed| Key::new(*seed).sign(&body)).collect();
    SignedDocument { body, signatures }.to_bytes()
}
