//! How the last change of a tree ended, for whoever asks later what happened.
//!
//! # Specification
//!
//! A text document ([`super::document`]) of type `lamplighter-last,1` in the state directory, not signed: it is told to people and
//! decides nothing. It is written anew when an outcome differs from the one before, so its time is that of the first of
//! equal ones.
//!
//! | record | meaning |
//! | --- | --- |
//! | `outcome,<what>,<code>,<build>,<time>` | what was asked for (`update`, `stage`, `commit`, `heal`, `rollback`), the stable code it ended with, the build it led to or 0, and when it was first so |
//!
//! # Changelog
//!
//! * 1: first.

use super::document::{Body, BodyWriter, DocumentError};
use super::text::Time;

/// First cell of the first line.
pub const TYPE: &str = "lamplighter-last";

/// The document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastOutcome {
    /// What was asked for.
    pub what: String,
    /// Stable code of the end: `done`, or that of an idle verdict or of an error.
    pub code: String,
    /// The build it led to; 0 if to none.
    pub build: u64,
    /// When it first ended so.
    pub since: Time,
}

impl LastOutcome {
    /// Parses the document.
    ///
    /// # Errors
    /// Any rule of the specification broken.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let body = Body::parse(bytes, TYPE, &["outcome"], &[])?;
        let outcome = body.one("outcome")?;
        Ok(Self {
            what: outcome.word(0, "a word", is_word)?,
            code: outcome.word(1, "a code", is_word)?,
            build: outcome.number(2)?,
            since: outcome.time(3)?,
        })
    }

    /// The document's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = BodyWriter::new(TYPE);
        out.push(&["outcome", &self.what, &self.code, &self.build.to_string(), &self.since.to_string()]);
        out.finish()
    }

    /// Whether both say the same of the tree, whenever it was.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.what, &self.code, self.build) == (&other.what, &other.code, other.build)
    }
}

fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_read_back() {
        let last = LastOutcome {
            what: "update".into(),
            code: "E_NETWORK".into(),
            build: 0,
            since: Time::from_seconds(1_000_000),
        };
        assert_eq!(LastOutcome::parse(&last.to_bytes()), Ok(last.clone()));
        let with_a_path = LastOutcome { code: "/home".into(), ..last.clone() };
        assert!(LastOutcome::parse(&with_a_path.to_bytes()).is_err(), "words only: it is handed on to others");
        let later = LastOutcome { since: Time::from_seconds(2_000_000), ..last.clone() };
        assert!(last.is_same(&later) && !last.is_same(&LastOutcome { build: 7, ..last.clone() }));
    }
}
