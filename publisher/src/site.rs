//! A site on disk: what is in it, read with the same distrust as a client's.
//!
//! [`Site`] reads, [`documents`] verifies, [`mod@write`] is the only place that changes a site.

pub mod documents;
pub mod write;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lamplighter_client::format::layout;
use lamplighter_client::format::text::{is_token, number};

use crate::delivery::FileKind;
use crate::error::Class;
use crate::origin::Origin;
use crate::sign::SignError;
pub use documents::{SignedHead, Trust};
pub use write::SiteWriter;

/// Why a site cannot be read, or must not be changed in the way asked for.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum SiteError {
    #[error("{dir} is not a site: expected root/1.root, found {found}; `publisher init` makes a site")]
    NotASite { dir: PathBuf, found: String },
    #[error("{dir} has a root already, of app {app}; a site is made once")]
    Exists { dir: PathBuf, app: String },
    #[error("site {dir} belongs to another app: expected {expected}, found {found}")]
    OtherApp { dir: PathBuf, expected: String, found: String },
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error("site: cannot read {name}: {source}")]
    Read { name: String, source: std::io::Error },
    #[error("site: cannot write {name}: {source}; what clients see is as it was, run again once this is mended")]
    Write { name: String, source: std::io::Error },
    #[error("site: {name} is not what it should be: {detail}")]
    Damaged { name: String, detail: String },
    #[error("site: {name} is not signed as {by} asks: {detail}")]
    NotTrusted { name: String, by: String, detail: String },
    #[error(
        "site: {name} was signed by keys of root version {version}, which {by} does not name any more: publish the content of \
         build {build} for {platform} under a new build number"
    )]
    KeysReplaced { name: String, by: String, version: u64, build: u64, platform: String },
    #[error("site: root version {version} expired at {expired}; sign a newer root first (`publisher root propose`)")]
    RootExpired { version: u64, expired: String },
    #[error(
        "site: {name} is published with other content, and what is published never changes; use a new build number"
    )]
    Immutable { name: String },
    #[error("site: a client on {platform} would refuse {name}: {detail}")]
    Refused { name: String, platform: String, detail: String },
    #[error("another publisher is at work on the site {dir}; wait for it to end")]
    Locked { dir: PathBuf },
    #[error(
        "build {build} is not above the last one of {platform} on channel {channel}: expected {} or more, found {build}",
        last + 1
    )]
    BuildTooLow { platform: String, channel: String, build: u64, last: u64 },
    #[error(
        "build {build} of {platform} is published already with another {what}: expected {expected}, found {found}; \
         use a new build number"
    )]
    OtherContent { platform: String, build: u64, what: &'static str, expected: String, found: String },
    #[error("the site has no release of build {build}{}; `publisher build-release` makes one", of_platforms(platforms))]
    NoSuchBuild { build: u64, platforms: Vec<String> },
    #[error(
        "build {build} is not finished: expected a signed release for {}, found {}; channel {channel} stays as it was: run the \
         missing jobs (`publisher build-release --no-channel`), then `publisher finish` again",
        missing.join(", "), some(found)
    )]
    Unfinished { channel: String, build: u64, missing: Vec<String>, found: Vec<String> },
    #[error(
        "{name} is not what a shard would have made: {detail}; it was altered or cut off: remove it and the notes in shards/, \
         and run its shard again"
    )]
    ShardPart { name: String, detail: String },
    #[error(
        "{name} at {location} was changed by another publisher while this run pruned: objects and packs stay, nothing that \
         is offered is touched; run again when nobody publishes"
    )]
    ChangedMeanwhile { name: String, location: String },
    #[error("channel {channel} has no head yet; `publisher build-release` or `promote` makes one")]
    NoHead { channel: String },
    #[error("the site has no channel with a head")]
    NoChannel,
    #[error("channel {channel} offers nothing to {platform}: expected {known}, or * for all")]
    NoSuchPlatform { channel: String, platform: String, known: String },
    #[error(
        "{platform} is offered build {offered} on channel {channel}: there is nothing above build {to} to go back from"
    )]
    NothingToRevert { platform: String, channel: String, offered: u64, to: u64 },
}

fn of_platforms(platforms: &[String]) -> String {
    if platforms.is_empty() { String::new() } else { format!(" for {}", platforms.join(", ")) }
}

fn some(platforms: &[String]) -> String {
    if platforms.is_empty() { "none".to_owned() } else { format!("{} alone", platforms.join(", ")) }
}

impl SiteError {
    /// The class it belongs to.
    pub fn class(&self) -> Class {
        match self {
            SiteError::Read { .. } | SiteError::Write { .. } => Class::Disk,
            SiteError::NotTrusted { .. } | SiteError::KeysReplaced { .. } | SiteError::RootExpired { .. } => {
                Class::Trust
            }
            SiteError::Refused { .. } => Class::Proof,
            SiteError::Locked { .. } => Class::Locked,
            SiteError::Sign(error) => error.class(),
            _ => Class::Site,
        }
    }

    /// A file that breaks the specification of its format, or is not the one a signed document names.
    pub fn damaged(name: &str, detail: impl ToString) -> Self {
        SiteError::Damaged { name: name.to_owned(), detail: detail.to_string() }
    }
}

/// A site's directory.
#[derive(Debug, Clone)]
pub struct Site {
    dir: PathBuf,
    /// Where the rest of it is, if the directory is only a part.
    origin: Option<Arc<Origin>>,
}

impl Site {
    /// Opens `dir`, which must hold a first root.
    ///
    /// # Errors
    /// [`SiteError::NotASite`].
    pub fn open(dir: &Path) -> Result<Self, SiteError> {
        let found = match std::fs::metadata(dir.join(layout::root(1))) {
            Ok(metadata) if metadata.is_file() => return Ok(Self { dir: dir.to_owned(), origin: None }),
            Ok(_) => "a directory of that name".to_owned(),
            Err(_) if !dir.exists() => "no such directory".to_owned(),
            Err(error) => error.to_string(),
        };
        Err(SiteError::NotASite { dir: dir.to_owned(), found })
    }

    /// The same, as a part of the site at `origin`, if there is one.
    pub(crate) fn over(mut self, origin: Option<Arc<Origin>>) -> Self {
        self.origin = origin;
        self
    }

    /// Where it lies.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the rest of it is, if the directory is only a part.
    pub fn origin(&self) -> Option<&Arc<Origin>> {
        self.origin.as_ref()
    }

    /// Where the file `name` of the site lies.
    pub fn path(&self, name: &str) -> PathBuf {
        name.split('/').fold(self.dir.clone(), |path, part| path.join(part))
    }

    /// What `check` makes of the file `name`, or none where it does not exist. If the directory is only a part, the file
    /// comes from where the rest is unless a sound copy is here; one is kept from then on.
    ///
    /// # Errors
    /// That of `check`; more than `cap_bytes`; the disk, or the place where the rest is.
    pub fn checked<T>(
        &self,
        name: &str,
        cap_bytes: u64,
        check: impl Fn(Vec<u8>) -> Result<T, SiteError>,
    ) -> Result<Option<T>, SiteError> {
        let Some(origin) = self.origin.as_ref().filter(|_| name.starts_with("releases/")) else {
            return self.read(name, cap_bytes)?.map(check).transpose();
        };
        // A damaged copy is as good as none.
        if let Ok(Some(Ok(known))) = self.read(name, cap_bytes).map(|bytes| bytes.map(&check)) {
            return Ok(Some(known));
        }
        let Some(bytes) = origin.read(name, cap_bytes)? else { return Ok(None) };
        let checked = check(bytes.clone())?;
        SiteWriter::keep(self, name, &bytes[..])?;
        Ok(Some(checked))
    }

    /// The file `name` in the directory, or none where it does not exist.
    ///
    /// # Errors
    /// More than `cap_bytes`; the disk.
    pub fn read(&self, name: &str, cap_bytes: u64) -> Result<Option<Vec<u8>>, SiteError> {
        let error = |source| SiteError::Read { name: name.to_owned(), source };
        let file = match File::open(self.path(name)) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(error(e)),
        };
        let mut bytes = Vec::new();
        file.take(cap_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(error)?;
        if bytes.len() as u64 > cap_bytes {
            return Err(SiteError::damaged(name, format!("expected at most {cap_bytes} bytes, found more")));
        }
        Ok(Some(bytes))
    }

    /// Length of the file `name`, or none where there is no such file; nor is there one where the rest of the site is, if
    /// the directory is only a part.
    pub fn length(&self, name: &str) -> Option<u64> {
        let elsewhere = || self.origin.as_ref().and_then(|origin| origin.length(name).ok().flatten());
        self.local_length(name).or_else(elsewhere)
    }

    /// Length of the file `name` in the directory, or none where there is no such file.
    fn local_length(&self, name: &str) -> Option<u64> {
        std::fs::metadata(self.path(name)).ok().filter(|m| m.is_file()).map(|m| m.len())
    }

    /// Channels that have a head, in order.
    ///
    /// # Errors
    /// The disk.
    pub fn channels(&self) -> Result<Vec<String>, SiteError> {
        let names = self.names("channels")?.into_iter();
        Ok(names.filter_map(|n| n.strip_suffix(".head").filter(|c| is_token(c)).map(str::to_owned)).collect())
    }

    /// Builds and platforms that have a signed release, in order.
    ///
    /// # Errors
    /// The disk.
    pub fn releases(&self) -> Result<Vec<(u64, String)>, SiteError> {
        if let Some(origin) = &self.origin {
            return Ok(origin.releases());
        }
        let mut found = Vec::new();
        for name in self.names("releases")? {
            let Some(build) = number(&name) else { continue };
            for platform in self.names(&format!("releases/{name}"))? {
                if is_token(&platform) && self.local_length(&layout::release(build, &platform)).is_some() {
                    found.push((build, platform));
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// Names and lengths of all files that are of the site; what else lies in its directory is left out.
    ///
    /// # Errors
    /// The disk.
    pub fn listing(&self) -> Result<BTreeMap<String, u64>, SiteError> {
        let error = |e: walkdir::Error| SiteError::Read { name: self.dir.display().to_string(), source: e.into() };
        let mut found = BTreeMap::new();
        for entry in walkdir::WalkDir::new(&self.dir).min_depth(1) {
            let entry = entry.map_err(error)?;
            let parts = entry.path().strip_prefix(&self.dir).unwrap_or(entry.path()).iter().map(|part| part.to_str());
            let name = parts.collect::<Option<Vec<_>>>().map(|parts| parts.join("/"));
            let Some(name) = name.filter(|name| entry.file_type().is_file() && FileKind::of(name).is_some()) else {
                continue;
            };
            found.insert(name, entry.metadata().map_err(error)?.len());
        }
        Ok(found)
    }

    /// Names in the directory `name`, in order; none where it does not exist.
    ///
    /// # Errors
    /// The disk.
    pub fn names(&self, name: &str) -> Result<Vec<String>, SiteError> {
        let error = |source| SiteError::Read { name: name.to_owned(), source };
        let entries = match std::fs::read_dir(self.path(name)) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(error(e)),
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry.map_err(error)?.file_name().into_string().ok());
        }
        names.sort();
        Ok(names)
    }
}
