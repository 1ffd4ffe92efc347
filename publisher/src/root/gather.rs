//! Signatures of a root on its way: made with the keys at hand, or brought from elsewhere.
//!
//! A signature is taken only if it verifies under a root key of the proposed root, or of the one before it where that is
//! known. The order does not matter, and a key that signed already signs no second time.

use std::path::Path;

use lamplighter_client::format::layout;
use lamplighter_client::format::root::Root;
use lamplighter_client::format::signed::{PublicKey, SIGNATURES_MAX};

use super::{Draft, RootError, read, signs};
use crate::error::Error;
use crate::sign::{self, KeySources, Role, Signers, ids};

/// Signs `draft` with every root key at hand that counts for it; gives the ids of keys that had not signed before.
///
/// Without `previous`, a key the proposed root does not name is taken for one of the root before: the machine that holds it
/// may have no site. [`super::publish`] counts in the end.
///
/// # Errors
/// No key, or none that counts; a password that is missing or wrong; a command that fails.
pub fn sign(draft: &mut Draft, previous: Option<&Root>, keys: &KeySources) -> Result<Vec<String>, Error> {
    let signers = Signers::load(Role::Root, keys)?;
    let held = signers.publics();
    let mut candidates = candidates(draft, previous);
    if previous.is_none() {
        let other = |key: &&PublicKey| {
            !has(&super::role(&draft.root, Role::Release).keys, key)
                && !has(&super::role(&draft.root, Role::Channel).keys, key)
        };
        candidates.extend(held.iter().filter(other).cloned());
    }
    let signers = signers.among(&candidates)?;
    let publics = signers.publics();
    if publics.is_empty() {
        let roots: Vec<Root> = previous.into_iter().chain([&draft.root]).cloned().collect();
        let found = format!("{}{}", ids(&held), sign::hints(&roots, Role::Root, "", &held));
        return Err(RootError::NoKeyCounts { found, expected: ids(&candidates) }.into());
    }
    // The time in the comment is the document's: the same key makes the same signature on any day.
    let (root, body) = (&draft.root, draft.document.body.clone());
    let signed = signers.sign(body, &layout::root(root.version), root.issued)?;
    let new: Vec<PublicKey> = publics.into_iter().filter(|key| !signs(key, &draft.document)).collect();
    for signature in signed.signatures {
        if new.iter().any(|key| key.verifies(&draft.document.body, &signature)) {
            draft.document.signatures.push(signature);
        }
    }
    Ok(new.iter().map(PublicKey::id_hex).collect())
}

/// Adds the signatures of a `.minisig` file that was made over the body of `draft`; gives the ids of keys that had not
/// signed before.
///
/// # Errors
/// It is no signature file, or one of its signatures is not by a root key over this body.
pub fn add(draft: &mut Draft, previous: Option<&Root>, file: &Path) -> Result<Vec<String>, RootError> {
    let bad = |detail: String| RootError::Signature { signature: file.to_owned(), detail };
    let brought = sign::with_signatures(&draft.document.body, &read(file)?)
        .map_err(|e| bad(format!("expected the four lines that `minisign -S` writes: {e}")))?;
    if brought.signatures.len() + draft.document.signatures.len() > SIGNATURES_MAX {
        return Err(bad(format!("the root would carry more than {SIGNATURES_MAX} signatures")));
    }
    let candidates = candidates(draft, previous);
    let mut new = Vec::new();
    for signature in brought.signatures {
        let signer = candidates.iter().find(|key| key.verifies(&draft.document.body, &signature));
        let Some(signer) = signer else {
            return Err(bad(stranger(draft, previous, &candidates, &signature.key_id)));
        };
        if !signs(signer, &draft.document) {
            new.push(signer.id_hex());
            draft.document.signatures.push(signature);
        }
    }
    Ok(new)
}

/// Why a signature is not taken; the id in it is a hint, which is all that is needed here.
fn stranger(draft: &Draft, previous: Option<&Root>, candidates: &[PublicKey], id: &[u8; 8]) -> String {
    let shown = format!("{:016X}", u64::from_le_bytes(*id));
    if candidates.iter().any(|key| key.id() == *id) {
        return format!(
            "key {shown} made it over other bytes: what is signed is the body alone, from its first line to `end`"
        );
    }
    let before = match previous {
        Some(root) => format!(" and of version {}", root.version),
        None => "; with --site or --previous the keys of the root before count too".to_owned(),
    };
    format!("key {shown} made it, which is no root key of version {}{before}", draft.root.version)
}

fn candidates(draft: &Draft, previous: Option<&Root>) -> Vec<PublicKey> {
    let mut keys: Vec<PublicKey> = Vec::new();
    for key in previous.into_iter().chain([&draft.root]).flat_map(|root| &root.root.keys) {
        if !has(&keys, key) {
            keys.push(key.clone());
        }
    }
    keys
}

fn has(keys: &[PublicKey], key: &PublicKey) -> bool {
    keys.iter().any(|k| k.as_bytes() == key.as_bytes())
}
