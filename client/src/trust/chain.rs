//! The chain of roots, from the pinned one to the newest that verifies.

use super::refusal::Refusal;
use super::{ChannelState, Documents, Facts, ROOTS_MAX, TrustState, body_error, matching, split};
use crate::format::root::{ROOT_BYTES_MAX, Root};
use crate::format::signed::SignedDocument;
use crate::format::text::Time;

/// Parses a root document that is trusted because it is pinned, checking that it is signed by its own root role.
///
/// # Errors
/// A [`Refusal`] for bytes that are no such root.
pub fn pinned_root(bytes: &[u8]) -> Result<Root, Refusal> {
    let (document, root) = parse_root(bytes)?;
    root_signed(&root, &document, root.version)?;
    Ok(root)
}

/// The verified chain of roots.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    /// From the pinned root to the newest.
    pub(super) all: Vec<Root>,
    /// The documents after the pinned one.
    bytes: Vec<Vec<u8>>,
}

impl Chain {
    /// From the pinned root as far as the remembered ones verify.
    pub(super) fn verify(facts: &Facts<'_>) -> Result<Self, Refusal> {
        let root = pinned_root(&facts.pin.root)?;
        matching("root", "app", &facts.pin.app, &root.app)?;
        let mut chain = Self { all: vec![root], bytes: Vec::new() };
        for bytes in &facts.state.roots {
            // What the state holds may have been damaged or altered: believe as far as it verifies.
            if chain.step(facts, bytes).is_err() {
                break;
            }
        }
        Ok(chain)
    }

    /// The chain with the roots of `documents` after it.
    pub(super) fn with(mut self, facts: &Facts<'_>, documents: &Documents) -> Result<Self, Refusal> {
        documents.roots.iter().try_for_each(|bytes| self.step(facts, bytes))?;
        Ok(self)
    }

    /// The root that judges now.
    pub(super) fn newest(&self) -> &Root {
        &self.all[self.all.len() - 1]
    }

    fn step(&mut self, facts: &Facts<'_>, bytes: &[u8]) -> Result<(), Refusal> {
        if self.all.len() > ROOTS_MAX {
            return Err(Refusal::RootChain);
        }
        let (document, next) = parse_root(bytes)?;
        root_signed(self.newest(), &document, next.version)?;
        // The same keys with the same threshold would say the same again.
        if next.root != self.newest().root {
            root_signed(&next, &document, next.version)?;
        }
        let expected = self.newest().version + 1;
        if next.version != expected {
            return Err(Refusal::RootVersion { expected, found: next.version });
        }
        matching("root", "app", &facts.pin.app, &next.app)?;
        self.all.push(next);
        self.bytes.push(bytes.to_vec());
        Ok(())
    }

    /// Whether `role` has changed since root `version`, be it there and back.
    pub(super) fn rotated_since<T: PartialEq>(&self, version: u64, role: impl Fn(&Root) -> T) -> bool {
        let since: Vec<T> = self.all.iter().skip_while(|r| r.version != version).map(role).collect();
        since.windows(2).any(|step| step[0] != step[1])
    }

    /// `facts.state` with this chain in it.
    pub(super) fn in_state(&self, facts: &Facts<'_>) -> TrustState {
        TrustState { roots: self.bytes.clone(), ..facts.state.clone() }
    }

    /// The same with `channel` in it.
    pub(super) fn state_with(&self, facts: &Facts<'_>, channel: ChannelState, walked: Option<Time>) -> TrustState {
        let mut state = self.in_state(facts);
        // The first accepted head names the newest root: the week begins there.
        state.roots_walked = walked.or(state.roots_walked).or(Some(facts.clock));
        state.channels.insert(facts.channel.to_owned(), channel);
        state
    }
}

fn parse_root(bytes: &[u8]) -> Result<(SignedDocument, Root), Refusal> {
    let document = split("root", bytes, ROOT_BYTES_MAX)?;
    // The keys that judge a root stand in it, so here, and only here, parsing comes before the signatures.
    let root = Root::parse(&document.body).map_err(|source| body_error("root", source))?;
    Ok((document, root))
}

fn root_signed(by: &Root, document: &SignedDocument, version: u64) -> Result<(), Refusal> {
    if by.root.accepts(document) {
        return Ok(());
    }
    let found = document.count_signers(&by.root.keys) as u64;
    Err(Refusal::RootUnsigned { version, by: by.version, needed: by.root.threshold, found })
}
