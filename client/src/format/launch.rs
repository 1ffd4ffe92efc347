//! What a launcher remembers of one tree: how often a new build was started without proving itself, and which builds are
//! not wanted here.
//!
//! # Specification
//!
//! A text document ([`super::document`]) of type `lamplighter-launch,1` in the state directory, not signed. It can keep an
//! update away, or lead back to the release before; it can never make anything be accepted.
//!
//! | record | meaning |
//! | --- | --- |
//! | `starts,<build>,<n>` | the build was started `n` times since it was installed, and has not been confirmed; optional |
//! | `failed,<build>` | it did not prove itself here, or the user went back from it; any number |
//! | `skipped,<build>` | the user does not want to be asked for it again; any number |
//! | `held,<build>` | as long as this build is installed, the user wants no other; optional |
//!
//! Of `failed` and `skipped` at most 64 builds each are kept, the highest.
//!
//! # Changelog
//!
//! * 1: first.

use std::collections::BTreeSet;

use super::document::{Body, BodyWriter, DocumentError};

/// First cell of the first line.
pub const TYPE: &str = "lamplighter-launch";

/// Most builds kept of one kind.
const BUILDS_MAX: usize = 64;

/// The document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LaunchState {
    /// A build and how often it was started since it was installed.
    pub starts: Option<(u64, u64)>,
    /// Builds that are not installed again.
    pub failed: BTreeSet<u64>,
    /// Builds the user is not asked for again.
    pub skipped: BTreeSet<u64>,
    /// As long as this build is installed, the user wants no other.
    pub held: Option<u64>,
}

impl LaunchState {
    /// Parses the document.
    ///
    /// # Errors
    /// Any rule of the specification broken.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let body = Body::parse(bytes, TYPE, &["starts", "held"], &["failed", "skipped"])?;
        let starts =
            body.optional("starts").map(|r| Ok::<_, DocumentError>((r.number(0)?, r.number(1)?))).transpose()?;
        let builds = |key| body.all(key).map(|record| record.number(0)).collect::<Result<_, _>>();
        let held = body.optional("held").map(|r| r.number(0)).transpose()?;
        Ok(Self { starts, failed: builds("failed")?, skipped: builds("skipped")?, held })
    }

    /// The document's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = BodyWriter::new(TYPE);
        if let Some((build, count)) = self.starts {
            out.push(&["starts", &build.to_string(), &count.to_string()]);
        }
        if let Some(build) = self.held {
            out.push(&["held", &build.to_string()]);
        }
        for (key, builds) in [("failed", &self.failed), ("skipped", &self.skipped)] {
            for build in builds.iter().rev().take(BUILDS_MAX).rev() {
                out.push(&[key, &build.to_string()]);
            }
        }
        out.finish()
    }

    /// How often `build` was started since it was installed.
    pub fn starts_of(&self, build: u64) -> u64 {
        self.starts.filter(|(counted, _)| *counted == build).map_or(0, |(_, count)| count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_read_back() {
        let mut state = LaunchState { starts: Some((7, 2)), ..LaunchState::default() };
        state.failed.extend([5, 6]);
        state.skipped.insert(8);
        state.held = Some(7);
        assert_eq!(LaunchState::parse(&state.to_bytes()), Ok(state.clone()));
        assert_eq!((state.starts_of(7), state.starts_of(6)), (2, 0));
        assert_eq!(LaunchState::parse(&LaunchState::default().to_bytes()), Ok(LaunchState::default()));
        assert!(LaunchState::parse(b"lamplighter-launch,1\nstarts,7\nend\n").is_err());
    }

    #[test]
    fn only_the_highest_builds_are_kept() {
        let state = LaunchState { failed: (1..=100).collect(), ..LaunchState::default() };
        let back = LaunchState::parse(&state.to_bytes()).expect("legal");
        assert_eq!(back.failed, (37..=100).collect());
    }
}
