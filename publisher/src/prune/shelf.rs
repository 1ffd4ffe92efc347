//! Where the files of a site lie that is pruned: its directory, or a bucket of which the directory holds a part.
//!
//! A bucket has no lock. So before content goes, which a release of another publisher might name by then, releases and heads
//! are looked at once more: if anything is new, content stays.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use lamplighter_client::format::head::HEAD_BYTES_MAX;
use lamplighter_client::format::layout;
use lamplighter_client::format::text::Time;

use super::sweep::{File, Plan};
use crate::error::Error;
use crate::origin::{Origin, listed_channels, release_of};
use crate::site::write::WORK_DIR;
use crate::site::{Site, SiteError, SiteWriter};
use crate::store::{Entry, Store, StoreError};
use crate::watch::Watch;

/// Groups of a plan that are documents; the others are content, which a document signed meanwhile may name.
const DOCUMENT_GROUPS: usize = 2;

/// Where the files are.
pub(super) enum Shelf<'a> {
    Directory(&'a Site),
    Bucket(Bucket<'a>),
}

/// A bucket, and what other publishers might change in it.
pub(super) struct Bucket<'a> {
    store: &'a Store,
    /// Names of the signed releases that the plan knows of.
    releases: BTreeSet<String>,
    /// The heads by channel.
    heads: BTreeMap<String, Vec<u8>>,
}

impl<'a> Shelf<'a> {
    /// Of the site in a directory, or of `origin` where that is only a part.
    ///
    /// # Errors
    /// The origin lists nothing, since it is a web server; the provider.
    pub(super) fn of(site: &'a Site, origin: Option<&'a Arc<Origin>>) -> Result<Self, Error> {
        let Some(origin) = origin else { return Ok(Self::Directory(site)) };
        let store = origin.writable()?;
        let releases = origin.releases().iter().map(|(build, platform)| layout::release(*build, platform)).collect();
        Ok(Self::Bucket(Bucket { store, releases, heads: heads(store)? }))
    }

    /// Heads as they are in the bucket, by channel; the directory may have newer ones that were not sent yet.
    pub(super) fn heads(&self) -> impl Iterator<Item = (&String, &Vec<u8>)> {
        let heads = if let Self::Bucket(bucket) = self { Some(&bucket.heads) } else { None };
        heads.into_iter().flatten()
    }

    /// All files but the publisher's own.
    ///
    /// # Errors
    /// The disk, or the provider.
    pub(super) fn files(&self) -> Result<Vec<File>, Error> {
        match self {
            Self::Directory(site) => Ok(files(site)?),
            Self::Bucket(bucket) => {
                let found = bucket.store.files("")?.into_iter();
                let others = found.filter(|file| file.name.split('/').next() != Some(WORK_DIR));
                Ok(others.map(|Entry { name, bytes, modified }| File { name, bytes, modified }).collect())
            }
        }
    }

    /// Removes what `plan` says, group by group: all of one are gone for good before the next begins. `writer` holds the
    /// directory.
    ///
    /// # Errors
    /// The disk, or the provider; another publisher changed the bucket. What is left is a sound site.
    pub(super) fn remove(&self, writer: &SiteWriter, plan: &Plan, watch: &dyn Watch) -> Result<(), Error> {
        match self {
            Self::Directory(_) => Ok(remove(writer, plan, watch)?),
            Self::Bucket(bucket) => bucket.remove(writer, plan, watch),
        }
    }
}

impl Bucket<'_> {
    fn remove(&self, writer: &SiteWriter, plan: &Plan, watch: &dyn Watch) -> Result<(), Error> {
        for (index, group) in plan.groups.iter().enumerate() {
            if index >= DOCUMENT_GROUPS && !group.is_empty() {
                self.require_unchanged(plan)?;
            }
            let names: Vec<&str> = group.iter().map(|file| file.name.as_str()).collect();
            // Copies first: whatever moment this dies at, none is left that nobody would look for.
            let mut copies = names.iter().filter(|name| writer.site().path(name).exists());
            copies.try_for_each(|name| writer.remove(name))?;
            let bytes: BTreeMap<&str, u64> = group.iter().map(|file| (file.name.as_str(), file.bytes)).collect();
            self.store.remove_all(&names, &|name| watch.removing(name), &|name| {
                watch.advanced(bytes.get(name).copied().unwrap_or_default());
            })?;
            writer.barrier()?;
        }
        remove_empty_dirs(writer);
        Ok(())
    }

    /// Checks that nobody has published since the plan was made.
    fn require_unchanged(&self, plan: &Plan) -> Result<(), Error> {
        let gone: BTreeSet<&String> = plan.groups[0].iter().map(|file| &file.name).collect();
        let is_new = |name: &String| !self.releases.contains(name) || gone.contains(name);
        let changed = match signed(self.store)?.into_iter().find(is_new) {
            Some(name) => Some(name),
            None => {
                let now = heads(self.store)?;
                let other = |channel: &&String| now.get(*channel) != self.heads.get(*channel);
                now.keys().chain(self.heads.keys()).find(other).map(|channel| layout::head(channel))
            }
        };
        match changed {
            None => Ok(()),
            Some(name) => Err(SiteError::ChangedMeanwhile { name, location: self.store.location().to_owned() }.into()),
        }
    }
}

fn signed(store: &Store) -> Result<Vec<String>, StoreError> {
    Ok(store.list("releases")?.into_keys().filter(|name| release_of(name).is_some()).collect())
}

fn heads(store: &Store) -> Result<BTreeMap<String, Vec<u8>>, StoreError> {
    let mut found = BTreeMap::new();
    for channel in listed_channels(&store.list("channels")?) {
        let stored = store.read(&layout::head(&channel), HEAD_BYTES_MAX)?;
        found.extend(stored.map(|stored| (channel, stored.bytes)));
    }
    Ok(found)
}

/// All files of the site but the publisher's own.
fn files(site: &Site) -> Result<Vec<File>, SiteError> {
    let mut files = Vec::new();
    let walk = walkdir::WalkDir::new(site.dir()).min_depth(1).into_iter();
    for entry in walk.filter_entry(|e| e.depth() != 1 || e.file_name() != WORK_DIR) {
        let entry = entry.map_err(|error| {
            let name = error.path().map_or_else(String::new, |path| path.display().to_string());
            SiteError::Read { name, source: error.into() }
        })?;
        if entry.file_type().is_dir() {
            continue;
        }
        let below = entry.path().strip_prefix(site.dir()).unwrap_or(entry.path());
        let parts: Vec<_> = below.components().map(|part| part.as_os_str().to_string_lossy()).collect();
        let read = |source| SiteError::Read { name: parts.join("/"), source };
        let metadata = entry.metadata().map_err(|e| read(e.into()))?;
        let since = metadata.modified().map_err(read)?.duration_since(UNIX_EPOCH).unwrap_or_default();
        // A link, a device, or a name that is not what it seems, is none of ours.
        let name = if metadata.is_file() { parts.join("/") } else { format!("{} (no plain file)", parts.join("/")) };
        files.push(File { name, bytes: metadata.len(), modified: Time::from_seconds(since.as_secs() as i64) });
    }
    Ok(files)
}

fn remove(writer: &SiteWriter, plan: &Plan, watch: &dyn Watch) -> Result<(), SiteError> {
    for group in &plan.groups {
        for file in group {
            writer.remove(&file.name)?;
            watch.advanced(file.bytes);
        }
        writer.barrier()?;
    }
    remove_empty_dirs(writer);
    Ok(())
}

/// Removes directories of files that went, those that a run that died left, too.
fn remove_empty_dirs(writer: &SiteWriter) {
    for top in ["releases", "objects", "packs", "shards"] {
        let dir = writer.site().path(top);
        let walk = walkdir::WalkDir::new(&dir).min_depth(1).contents_first(true).into_iter().filter_map(Result::ok);
        for entry in walk.filter(|entry| entry.file_type().is_dir()) {
            let below = entry.path().strip_prefix(&dir).unwrap_or(entry.path());
            let parts: Vec<_> = below.components().map(|part| part.as_os_str().to_string_lossy()).collect();
            writer.remove_empty(&format!("{top}/{}", parts.join("/")));
        }
    }
}
