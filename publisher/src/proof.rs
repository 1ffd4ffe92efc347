//! Proof: a fresh install, and the update from every base, tried out with the client's code against the written site.
//!
//! What comes out is read back by [`crate::scan`], which shares nothing with the code that wrote it, and compared with the
//! manifest.

pub mod record;

use lamplighter_client::deploy::{Route, RouteTaken};
use lamplighter_client::error::{Class, Error as ClientError};
use lamplighter_client::format::manifest::{Kind, Manifest, Policy, Row};
use lamplighter_client::trust::VerifiedRelease;
use rayon::prelude::*;

use crate::config::PlatformConfig;
use crate::scan::{self, Rules};
use crate::scratch::{Scratch, ScratchTree};
use crate::watch::Unwatched;

/// Differences that are named; the rest is counted.
const NAMED_MAX: usize = 10;

/// A way to a release that does not lead there.
#[derive(Debug, thiserror::Error)]
#[error("proof failed: {platform} {from} → build {build}: {detail}")]
pub struct ProofError {
    /// Platform.
    pub platform: String,
    /// Where the way begins.
    pub from: String,
    /// The release it should lead to.
    pub build: u64,
    /// What went wrong.
    pub detail: ProofDetail,
}

impl ProofError {
    /// True where the disk stood in the way, and nothing is said of the release.
    pub fn is_disk(&self) -> bool {
        matches!(&self.detail, ProofDetail::Client(error) if error.class() == Class::Disk)
    }
}

/// What went wrong on the way.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ProofDetail {
    #[error("the client stops: {0}")]
    Client(Box<ClientError>),
    #[error("expected the pack to do, found that the client went by {0}")]
    Route(&'static str),
    #[error("the tree cannot be read back: {0}")]
    Unreadable(String),
    #[error("the tree differs from the manifest: {0}")]
    Differs(String),
}

impl From<ClientError> for ProofDetail {
    fn from(error: ClientError) -> Self {
        Self::Client(Box::new(error))
    }
}

/// A release and its manifest.
pub type Known<'a> = (&'a VerifiedRelease, &'a Manifest);

/// Where an update starts.
pub struct Base<'a> {
    /// The base release.
    pub known: Known<'a>,
    /// A tree that holds it already; else one is installed.
    pub tree: Option<ScratchTree>,
}

/// Tries a fresh install of `release`, and its update from each of `bases`; gives all failures.
///
/// Reports the bytes fetched; a way takes room for one tree and its update in the scratch directory.
pub fn prove(scratch: &Scratch, release: Known<'_>, bases: Vec<Base<'_>>) -> Vec<ProofError> {
    let ways: Vec<Option<Base<'_>>> = std::iter::once(None).chain(bases.into_iter().map(Some)).collect();
    let tried: Vec<Option<ProofError>> = ways.into_par_iter().map(|base| way(scratch, release, base).err()).collect();
    tried.into_iter().flatten().collect()
}

/// Tries one way to a release: from a base, or from nothing.
///
/// # Errors
/// Why it does not lead there.
pub fn way(scratch: &Scratch, release: Known<'_>, base: Option<Base<'_>>) -> Result<(), ProofError> {
    let from = base.as_ref().map_or("fresh install".to_owned(), |base| format!("build {}", base.known.0.release.build));
    let target = &release.0.release;
    let failed =
        |detail| ProofError { platform: target.platform.clone(), from: from.clone(), build: target.build, detail };
    let tree = match base {
        None => scratch.install(release.0).map_err(|e| failed(e.into()))?,
        Some(base) => updated(scratch, release, base).map_err(failed)?,
    };
    compare(&tree, &target.platform, release.1).map_err(failed)
}

fn updated(scratch: &Scratch, release: Known<'_>, base: Base<'_>) -> Result<ScratchTree, ProofDetail> {
    let Base { known, tree } = base;
    let tree = tree.map_or_else(|| scratch.install(known.0), Ok)?;
    let base_manifest = &known.0.release.manifest;
    let has_pack = release.0.release.packs.iter().any(|row| row.base_manifest == *base_manifest);
    let route = if has_pack { Route::PackOnly } else { Route::Cheapest };
    let report = scratch.update(&tree, known, release.0, route)?;
    match report.route {
        RouteTaken::Pack | RouteTaken::NoContent => Ok(tree),
        other if has_pack => Err(ProofDetail::Route(other.name())),
        _ => Ok(tree),
    }
}

fn compare(tree: &ScratchTree, platform: &str, expected: &Manifest) -> Result<(), ProofDetail> {
    let unreadable = |e: scan::ScanError| ProofDetail::Unreadable(e.to_string());
    let rules = Rules::new(platform, &PlatformConfig::default()).map_err(unreadable)?;
    let found = scan::scan(&tree.path(), platform, &rules, &Unwatched).map_err(unreadable)?;
    let differences = differences(expected, &found.manifest);
    if differences.is_empty() {
        return Ok(());
    }
    let mut named: Vec<&str> = differences.iter().take(NAMED_MAX).map(String::as_str).collect();
    let more = format!("and {} more", differences.len().saturating_sub(NAMED_MAX));
    if differences.len() > NAMED_MAX {
        named.push(&more);
    }
    Err(ProofDetail::Differs(named.join("; ")))
}

/// Paths in which a tree differs from its manifest, with what is wrong. A policy leaves no trace on disk.
fn differences(expected: &Manifest, found: &Manifest) -> Vec<String> {
    let missing = expected.rows().iter().filter_map(|row| match found.find(&row.path) {
        None => Some(format!("{} is missing", row.path)),
        Some((_, other)) if plain(row) != plain(other) => Some(format!("{} differs", row.path)),
        Some(_) => None,
    });
    let extra = found.rows().iter().filter(|row| expected.find(&row.path).is_none());
    missing.chain(extra.map(|row| format!("{} is too much", row.path))).collect()
}

fn plain(row: &Row) -> Row {
    let mut row = Row { policy: Policy::Managed, ..row.clone() };
    if let Kind::File { executable } = &mut row.kind
        && !cfg!(unix)
    {
        *executable = false;
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamplighter_client::format::digest::ContentDigest;
    use lamplighter_client::format::path::RelPath;

    fn file(path: &str, content: &str, executable: bool, policy: Policy) -> Row {
        let path = RelPath::parse(path).expect("a path");
        Row { path, digest: ContentDigest::of(content.as_bytes()), kind: Kind::File { executable }, policy }
    }

    #[test]
    fn every_difference_is_named() {
        let tree = |rows: Vec<Row>| Manifest::new(rows).expect("no conflicts");
        let (managed, keep) = (Policy::Managed, Policy::Keep);
        let expected =
            tree(vec![file("a", "1", false, keep), file("b", "2", false, managed), file("c", "", false, keep)]);
        let found =
            tree(vec![file("a", "1", false, managed), file("b", "3", false, managed), file("d", "", true, managed)]);
        assert!(differences(&expected, &expected).is_empty());
        assert_eq!(differences(&expected, &found), ["b differs", "c is missing", "d is too much"]);
    }

    #[cfg(unix)]
    #[test]
    fn modes_count() {
        let tree = |executable| Manifest::new(vec![file("a", "1", executable, Policy::Managed)]).expect("one row");
        assert_eq!(differences(&tree(true), &tree(false)), ["a differs"]);
    }
}
