//! A signed root joins the chain of a site, and what its coming means for what clients are offered.
//!
//! Everything a client checks is checked here first. What is published cannot be taken back: clients that saw root N+1 follow
//! no other. So consequences are told, and told before by a dry run; but they never hold a root back, since the day a key is
//! stolen the new root is what matters.

use std::path::Path;
use std::sync::Arc;

use lamplighter_client::format::layout;
use lamplighter_client::format::release::RELEASE_BYTES_MAX;
use lamplighter_client::format::root::{Role as RootRole, Root};
use lamplighter_client::format::signed::{PublicKey, SignedDocument};
use lamplighter_client::format::text::Time;
use lamplighter_client::trust::ROOTS_MAX;

use super::{Draft, RootError};
use crate::error::Error;
use crate::site::{Site, SiteError, SiteWriter, Trust};
use crate::watch::Watch;

/// Something that clients which follow the new root will not accept any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Consequence {
    /// The head of a channel must be signed again.
    Head {
        /// The channel.
        channel: String,
        /// How many keys must sign it.
        threshold: u64,
        /// Ids of those that may.
        keys: Vec<String>,
    },
    /// A release that a head offers counts no more.
    Release {
        /// The channel.
        channel: String,
        /// The platform.
        platform: String,
        /// The build.
        build: u64,
        /// How many keys must sign the build that replaces it.
        threshold: u64,
        /// Ids of those that may.
        keys: Vec<String>,
    },
}

impl Consequence {
    /// Stable name.
    pub fn code(&self) -> &'static str {
        match self {
            Consequence::Head { .. } => "head-to-sign",
            Consequence::Release { .. } => "release-to-replace",
        }
    }

    /// The file it is about.
    pub fn subject(&self) -> String {
        match self {
            Consequence::Head { channel, .. } => layout::head(channel),
            Consequence::Release { build, platform, .. } => layout::release(*build, platform),
        }
    }

    /// One sentence for people, and what to do.
    pub fn text(&self, version: u64) -> String {
        match self {
            Consequence::Head { channel, threshold, keys } => format!(
                "root version {version} does not accept the head of channel {channel}: sign it again, with {threshold} of {}",
                keys.join(", ")
            ),
            Consequence::Release { channel, platform, build, threshold, keys } => format!(
                "root version {version} does not accept build {build}, which channel {channel} offers to {platform}: publish its \
                 content under a new build number, signed with {threshold} of {}",
                keys.join(", ")
            ),
        }
    }
}

/// What became of a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// What it says.
    pub root: Root,
    /// False if it was there already, or was only looked at.
    pub changed: bool,
    /// What follows from it.
    pub consequences: Vec<Consequence>,
}

/// Publishes `draft` as the next root of the site in `dir`; the first root makes the site. With `dry_run` nothing is
/// written.
///
/// After a crash the site has the old chain or the new one.
///
/// # Errors
/// Too few signatures, of this root's keys or of those before; another version than the next; another app; it has expired.
/// The disk.
pub fn run(dir: &Path, draft: &Draft, time: Time, dry_run: bool, watch: Arc<dyn Watch>) -> Result<Published, Error> {
    let (root, file) = (&draft.root, || draft.file.clone());
    let published = |changed, consequences| Published { root: root.clone(), changed, consequences };
    let require = |previous: Option<&Root>| {
        let missing = draft.missing(previous);
        if missing.is_empty() { Ok(()) } else { Err(RootError::ThresholdNotMet { file: file(), missing }) }
    };
    if root.expires <= time {
        return Err(RootError::Expired { file: file(), expired: root.expires.to_string() }.into());
    }
    let bytes = draft.document.to_bytes();
    if root.version == 1 && Site::open(dir).is_err() {
        require(None)?;
        if !dry_run {
            SiteWriter::create(dir, &bytes, watch)?;
        }
        return Ok(published(!dry_run, Vec::new()));
    }
    let writer = SiteWriter::lock(dir, watch)?;
    let trust = Trust::read(writer.site())?;
    let newest = trust.root();
    if newest.app != root.app {
        let (expected, found) = (newest.app.clone(), root.app.clone());
        return Err(RootError::OtherApp { file: file(), expected, found }.into());
    }
    let there = root.version == newest.version && newest == root;
    if !there {
        if root.version != newest.version + 1 {
            return Err(RootError::Version { file: file(), found: root.version, newest: newest.version }.into());
        }
        if trust.roots().len() >= ROOTS_MAX {
            return Err(RootError::ChainLength { max: ROOTS_MAX }.into());
        }
        require(Some(newest))?;
        if !dry_run {
            writer.put(&layout::root(root.version), &bytes)?;
            writer.barrier()?;
        }
    }
    Ok(published(!there && !dry_run, consequences(writer.site(), &trust, root)?))
}

/// What clients that follow `root`, the next of the chain or its newest, do not accept of what the heads offer.
///
/// # Errors
/// A head no root of the chain stands behind; the disk.
pub fn consequences(site: &Site, trust: &Trust, root: &Root) -> Result<Vec<Consequence>, SiteError> {
    let mut found = Vec::new();
    for channel in site.channels()? {
        let Some(last) = trust.last_head(site, &channel)? else { continue };
        let role = root.channel_role(&channel);
        if !accepts(&role, &last.bytes) {
            found.push(Consequence::Head {
                channel: channel.clone(),
                threshold: role.threshold,
                keys: ids(&role.keys),
            });
        }
        for row in &last.head.releases {
            let release = site.read(&layout::release(row.build, &row.platform), RELEASE_BYTES_MAX)?;
            if release.is_some_and(|bytes| !accepts(&root.release, &bytes)) {
                found.push(Consequence::Release {
                    channel: channel.clone(),
                    platform: row.platform.clone(),
                    build: row.build,
                    threshold: root.release.threshold,
                    keys: ids(&root.release.keys),
                });
            }
        }
    }
    Ok(found)
}

fn accepts(role: &RootRole, bytes: &[u8]) -> bool {
    SignedDocument::split(bytes, bytes.len() as u64).is_ok_and(|document| role.accepts(&document))
}

fn ids(keys: &[PublicKey]) -> Vec<String> {
    keys.iter().map(PublicKey::id_hex).collect()
}
