//! A site in a bucket or a directory, written and read through one provider-neutral crate.
//!
//! Calls block and may come from several threads at once; the asynchronous runtime that carries them lives in here and
//! nowhere else. A store knows names, lengths and bytes; what may be written when is decided by [`crate::upload`].
//!
//! # Guarantees asked of a provider
//!
//! * A put is all or nothing: nobody ever reads half a file.
//! * `If-None-Match: *` creates, `If-Match` replaces what was read; [`Store::probe`] finds out whether that is so.
//!
//! A directory has no `If-Match`: a lock file keeps other publishers away while heads are replaced.

mod count;
mod location;
mod read;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::{StreamExt, TryStreamExt};
use lamplighter_client::format::text::Time;
use lamplighter_client::lock_file::LockFile;
use object_store::path::Path as Key;
use object_store::{
    Attribute, Attributes, Error as Fault, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions,
    PutOptions, PutPayload, UpdateVersion,
};
use tokio::runtime::Runtime;

use crate::delivery::{cache_control, content_type};
use crate::error::Class;
use count::Counts;
pub use location::{Location, is_remote};
pub use read::StoreSource;

/// Larger files are sent in parts, and created without a condition: providers offer none for them.
pub const WHOLE_BYTES_MAX: u64 = 16 << 20;
/// Providers take at most 10,000 parts.
const PARTS_MAX: u64 = 9_000;
const THREADS: usize = 2;
/// Name of what [`Store::probe`] writes and removes again; no name of a site.
const PROBE: &str = ".publisher/probe";
const LOCK: &str = ".publisher/lock";

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum StoreError {
    #[error(
        "{location:?} is no place to write a site to: expected s3://bucket/prefix, gs://bucket/prefix, \
             az://container/prefix or a directory, {detail}"
    )]
    BadLocation { location: String, detail: String },
    #[error("{location} cannot be opened: {detail}")]
    Settings { location: String, detail: String },
    #[error("cannot start the threads that talk to a store: {0}")]
    Threads(io::Error),
    #[error("cannot use the directory {}: {source}", dir.display())]
    Directory { dir: PathBuf, source: io::Error },
    #[error("another publisher is at work on {}; wait for it to end", dir.display())]
    Locked { dir: PathBuf },
    #[error("cannot {doing} {name} at {location}: {detail}")]
    Failed { doing: &'static str, name: String, location: String, detail: String },
    #[error("{location} refuses to {doing} {name}: {detail}; do the credentials allow it?")]
    Denied { doing: &'static str, name: String, location: String, detail: String },
    #[error("{name} at {location} is larger than expected: at most {expected_bytes} bytes, found {found_bytes}")]
    TooLarge { name: String, location: String, expected_bytes: u64, found_bytes: u64 },
}

impl StoreError {
    /// The class it belongs to.
    pub fn class(&self) -> Class {
        match self {
            StoreError::BadLocation { .. } | StoreError::Settings { .. } => Class::Usage,
            StoreError::Locked { .. } => Class::Locked,
            StoreError::TooLarge { .. } => Class::Site,
            _ => Class::Disk,
        }
    }

    fn settings(location: &str, error: &Fault) -> Self {
        Self::Settings { location: location.to_owned(), detail: text_of(error) }
    }
}

/// The bytes to be written.
#[derive(Debug, Clone, Copy)]
pub enum Content<'a> {
    /// These.
    Bytes(&'a [u8]),
    /// A file of this length.
    File(&'a Path, u64),
}

/// A file there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name in the site.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// When it was last written.
    pub modified: Time,
}

/// What was read, and which version of it that was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The whole file.
    pub bytes: Vec<u8>,
    /// What [`Store::replace`] asks for.
    pub version: Version,
}

/// Which version of a file was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(UpdateVersion);

/// What a provider makes of conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conditions {
    /// It keeps them: two publishers cannot overwrite each other.
    Kept,
    /// It takes them and writes all the same.
    Ignored,
    /// It refuses requests that carry them, with this answer.
    Refused(String),
}

/// A place a site is written to and read from.
pub struct Store {
    inner: Arc<dyn ObjectStore>,
    prefix: Key,
    location: String,
    /// Set for a directory, whose heads a lock guards and which keeps no attributes.
    directory: Option<PathBuf>,
    counts: Arc<Counts>,
    /// Whether requests are counted on their way out.
    counts_itself: bool,
    runtime: Runtime,
}

impl Store {
    /// Opens `location` with what the environment says of credentials and endpoints. Nothing is asked for yet.
    ///
    /// # Errors
    /// Not a location; settings the provider's client refuses; a directory that cannot be made.
    pub fn open(location: &str) -> Result<Self, StoreError> {
        let parsed = Location::parse(location)?;
        let counts = Arc::<Counts>::default();
        let inner = parsed.open(location, &counts)?;
        let mut store = Self::new(inner, parsed.prefix(), location.trim_end_matches('/'), counts)?;
        store.counts_itself = true;
        if let Location::Directory(dir) = parsed {
            store.counts_itself = false;
            store.directory = Some(dir);
        }
        Ok(store)
    }

    /// The site below `prefix` of any store; `location` is what messages call it.
    ///
    /// # Errors
    /// No threads can be started.
    pub fn over(inner: Arc<dyn ObjectStore>, prefix: &str, location: &str) -> Result<Self, StoreError> {
        Self::new(inner, prefix, location, Arc::default())
    }

    fn new(inner: Arc<dyn ObjectStore>, prefix: &str, location: &str, counts: Arc<Counts>) -> Result<Self, StoreError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build();
        let runtime = runtime.map_err(StoreError::Threads)?;
        let (prefix, location) = (Key::from(prefix), location.to_owned());
        Ok(Self { inner, prefix, location, directory: None, counts, counts_itself: false, runtime })
    }

    /// The place, for messages.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Requests made, repeated ones as well; for a directory, calls.
    pub fn requests(&self) -> u64 {
        self.counts.requests.load(Ordering::Relaxed)
    }

    /// Bytes of files sent, each once.
    pub fn sent_bytes(&self) -> u64 {
        self.counts.sent_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of files received.
    pub fn received_bytes(&self) -> u64 {
        self.counts.received_bytes.load(Ordering::Relaxed)
    }

    /// Keeps other publishers away from a directory until the result is dropped; a bucket has no locks.
    ///
    /// # Errors
    /// Another publisher is at work; the disk.
    pub fn lock(&self) -> Result<Option<LockFile>, StoreError> {
        let Some(dir) = &self.directory else { return Ok(None) };
        let failed = |source| StoreError::Directory { dir: dir.clone(), source };
        std::fs::create_dir_all(dir.join(".publisher")).map_err(failed)?;
        let lock = File::options().create(true).truncate(false).write(true).open(dir.join(LOCK)).map_err(failed)?;
        let held = LockFile::try_lock(lock).map_err(failed)?;
        held.map(Some).map_err(|_| StoreError::Locked { dir: dir.clone() })
    }

    /// Names and lengths of all files below `folder`, or of all there are where it is empty.
    ///
    /// # Errors
    /// The provider.
    pub fn list(&self, folder: &str) -> Result<BTreeMap<String, u64>, StoreError> {
        Ok(self.files(folder)?.into_iter().map(|file| (file.name, file.bytes)).collect())
    }

    /// As [`Store::list`], with the time each was last written.
    ///
    /// # Errors
    /// The provider.
    pub fn files(&self, folder: &str) -> Result<Vec<Entry>, StoreError> {
        self.count();
        let below = self.key(folder);
        let listed = self.runtime.block_on(self.inner.list(Some(&below)).try_collect::<Vec<_>>());
        let listed = listed.map_err(|e| self.failed("list", folder, &e))?;
        let file = |meta: ObjectMeta| {
            let modified = Time::from_seconds(meta.last_modified.timestamp());
            Some(Entry { name: self.name(&meta.location)?, bytes: meta.size, modified })
        };
        Ok(listed.into_iter().filter_map(file).collect())
    }

    /// Length of the file `name`, or none where there is no such file.
    ///
    /// # Errors
    /// The provider.
    pub fn length(&self, name: &str) -> Result<Option<u64>, StoreError> {
        self.count();
        match self.runtime.block_on(self.inner.head(&self.key(name))) {
            Ok(meta) => Ok(Some(meta.size)),
            Err(Fault::NotFound { .. }) => Ok(None),
            Err(e) => Err(self.failed("look for", name, &e)),
        }
    }

    /// The whole file `name`, or none where there is no such file.
    ///
    /// # Errors
    /// More than `cap_bytes`; the provider.
    pub fn read(&self, name: &str, cap_bytes: u64) -> Result<Option<Stored>, StoreError> {
        self.count();
        let answer = self.runtime.block_on(async {
            let found = self.inner.get(&self.key(name)).await?;
            let version = UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
            let size = found.meta.size;
            let bytes = if size > cap_bytes { None } else { Some(found.bytes().await?) };
            Ok((bytes, size, version))
        });
        let (bytes, found_bytes, version) = match answer {
            Ok(answer) => answer,
            Err(Fault::NotFound { .. }) => return Ok(None),
            Err(e) => return Err(self.failed("read", name, &e)),
        };
        let Some(bytes) = bytes else {
            let (name, location) = (name.to_owned(), self.location.clone());
            return Err(StoreError::TooLarge { name, location, expected_bytes: cap_bytes, found_bytes });
        };
        self.counts.received_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(Some(Stored { bytes: bytes.into(), version: Version(version) }))
    }

    /// Creates the file `name`; false if there is one already, which stays. `advanced` hears of bytes that were sent.
    ///
    /// Above [`WHOLE_BYTES_MAX`] there is no condition, and a file that appeared meanwhile is replaced.
    ///
    /// # Errors
    /// The provider, the disk.
    pub fn create(&self, name: &str, content: Content<'_>, advanced: &dyn Fn(u64)) -> Result<bool, StoreError> {
        self.write(name, content, PutMode::Create, advanced)
    }

    /// Puts the file `name`, whatever was there.
    ///
    /// # Errors
    /// The provider, the disk.
    pub fn put(&self, name: &str, content: Content<'_>, advanced: &dyn Fn(u64)) -> Result<(), StoreError> {
        self.write(name, content, PutMode::Overwrite, advanced).map(|_| ())
    }

    /// Replaces version `old` of the file `name`, or creates it where there was none; false if it is another by now.
    ///
    /// # Errors
    /// The provider.
    pub fn replace(&self, name: &str, bytes: &[u8], old: Option<&Version>) -> Result<bool, StoreError> {
        let mode = match old {
            None => PutMode::Create,
            // Nobody else writes into a directory while it is locked.
            Some(_) if self.directory.is_some() => PutMode::Overwrite,
            Some(version) => PutMode::Update(version.0.clone()),
        };
        self.write(name, Content::Bytes(bytes), mode, &|_| {})
    }

    /// Removes the file `name`.
    ///
    /// # Errors
    /// The provider.
    pub fn remove(&self, name: &str) -> Result<(), StoreError> {
        self.count();
        match self.runtime.block_on(self.inner.delete(&self.key(name))) {
            Ok(()) | Err(Fault::NotFound { .. }) => Ok(()),
            Err(e) => Err(self.failed("remove", name, &e)),
        }
    }

    /// Removes the files `names`, many with one request where the provider takes that. `removing` hears of each before
    /// that, `removed` when it is gone.
    ///
    /// # Errors
    /// The provider; some may be gone then.
    pub fn remove_all(
        &self,
        names: &[&str],
        removing: &dyn Fn(&str),
        removed: &dyn Fn(&str),
    ) -> Result<(), StoreError> {
        names.iter().for_each(|name| removing(name));
        let keys: Vec<_> = names.iter().map(|name| Ok(self.key(name))).collect();
        self.count();
        let mut results = self.inner.delete_stream(futures_util::stream::iter(keys).boxed());
        while let Some(result) = self.runtime.block_on(results.next()) {
            match result {
                Ok(key) => self.name(&key).iter().for_each(|name| removed(name)),
                Err(Fault::NotFound { .. }) => {}
                Err(e) => return Err(self.failed("remove", names.first().unwrap_or(&""), &e)),
            }
        }
        Ok(())
    }

    /// Finds out what the provider makes of conditions, with a small file that is removed again; `token` makes its name
    /// unique. A directory keeps them by its lock.
    ///
    /// # Errors
    /// It cannot be written at all.
    pub fn probe(&self, token: &str) -> Result<Conditions, StoreError> {
        if self.directory.is_some() {
            return Ok(Conditions::Kept);
        }
        let name = format!("{PROBE}-{token}");
        self.put(&name, Content::Bytes(b"first\n"), &|_| {})?;
        let found = self.probe_with(&name);
        // A leftover is a few bytes under a name no client asks for.
        let _ = self.remove(&name);
        found
    }

    fn probe_with(&self, name: &str) -> Result<Conditions, StoreError> {
        let refused = |error: StoreError| match error {
            StoreError::Failed { detail, .. } => Ok(Conditions::Refused(detail)),
            other => Err(other),
        };
        let Some(first) = self.read(name, 64)? else { return Ok(Conditions::Ignored) };
        match self.write(name, Content::Bytes(b"again\n"), PutMode::Create, &|_| {}) {
            Ok(true) => return Ok(Conditions::Ignored),
            Ok(false) => {}
            Err(error) => return refused(error),
        }
        self.put(name, Content::Bytes(b"second\n"), &|_| {})?;
        match self.replace(name, b"third\n", Some(&first.version)) {
            Ok(true) => Ok(Conditions::Ignored),
            Ok(false) => Ok(Conditions::Kept),
            Err(error) => refused(error),
        }
    }

    fn write(
        &self,
        name: &str,
        content: Content<'_>,
        mode: PutMode,
        advanced: &dyn Fn(u64),
    ) -> Result<bool, StoreError> {
        let (bytes, length) = match content {
            Content::Bytes(bytes) => (bytes.to_vec(), bytes.len() as u64),
            Content::File(path, length) if length > WHOLE_BYTES_MAX => {
                return self.write_parts(name, path, length, advanced).map(|()| true);
            }
            Content::File(path, length) => (whole(path, length).map_err(|e| self.unreadable(name, &e))?, length),
        };
        self.count();
        let options = PutOptions { mode, attributes: self.attributes(name), ..PutOptions::default() };
        let key = self.key(name);
        match self.runtime.block_on(self.inner.put_opts(&key, PutPayload::from(bytes), options)) {
            Ok(_) => {
                self.counts.sent_bytes.fetch_add(length, Ordering::Relaxed);
                advanced(length);
                Ok(true)
            }
            Err(Fault::AlreadyExists { .. } | Fault::Precondition { .. } | Fault::NotModified { .. }) => Ok(false),
            Err(e) => Err(self.failed("write", name, &e)),
        }
    }

    /// Sends a large file in parts; it appears when the last has arrived.
    fn write_parts(&self, name: &str, path: &Path, length: u64, advanced: &dyn Fn(u64)) -> Result<(), StoreError> {
        let mut file = File::open(path).map_err(|e| self.unreadable(name, &e))?;
        let options = PutMultipartOptions { attributes: self.attributes(name), ..PutMultipartOptions::default() };
        let mut upload = self
            .runtime
            .block_on(self.inner.put_multipart_opts(&self.key(name), options))
            .map_err(|e| self.failed("write", name, &e))?;
        let part_bytes = WHOLE_BYTES_MAX.max(length.div_ceil(PARTS_MAX));
        let mut sent = 0;
        let mut send = || {
            while sent < length {
                let wanted = part_bytes.min(length - sent);
                let part = next(&mut file, wanted).map_err(|e| self.unreadable(name, &e))?;
                self.count();
                let put = upload.put_part(PutPayload::from(part));
                self.runtime.block_on(put).map_err(|e| self.failed("write", name, &e))?;
                sent += wanted;
                self.counts.sent_bytes.fetch_add(wanted, Ordering::Relaxed);
                advanced(wanted);
            }
            self.runtime.block_on(upload.complete()).map_err(|e| self.failed("write", name, &e))
        };
        match send() {
            Ok(_) => Ok(()),
            Err(error) => {
                // Parts that stay behind are invisible; the error itself is what matters.
                let _ = self.runtime.block_on(upload.abort());
                Err(error)
            }
        }
    }

    fn attributes(&self, name: &str) -> Attributes {
        let wanted = [(Attribute::CacheControl, cache_control(name)), (Attribute::ContentType, content_type(name))];
        if self.directory.is_some() { Attributes::new() } else { wanted.into_iter().collect() }
    }

    fn key(&self, name: &str) -> Key {
        Key::from_iter(self.prefix.parts().chain(Key::from(name).parts()))
    }

    /// The name of what lies under `key`.
    fn name(&self, key: &Key) -> Option<String> {
        let skip = if self.prefix.as_ref().is_empty() { 0 } else { self.prefix.as_ref().len() + 1 };
        key.as_ref().get(skip..).map(str::to_owned)
    }

    fn count(&self) {
        if !self.counts_itself {
            self.counts.request();
        }
    }

    fn failed(&self, doing: &'static str, name: &str, error: &Fault) -> StoreError {
        let (name, location, detail) = (name.to_owned(), self.location.clone(), text_of(error));
        match error {
            Fault::PermissionDenied { .. } | Fault::Unauthenticated { .. } => {
                StoreError::Denied { doing, name, location, detail }
            }
            _ => StoreError::Failed { doing, name, location, detail },
        }
    }

    fn unreadable(&self, name: &str, error: &io::Error) -> StoreError {
        let (name, location) = (name.to_owned(), self.location.clone());
        StoreError::Failed { doing: "read the local file for", name, location, detail: error.to_string() }
    }
}

/// All that an error and its sources say, each once.
fn text_of(error: &dyn std::error::Error) -> String {
    let mut texts = vec![error.to_string()];
    let mut next = error.source();
    while let Some(error) = next {
        let text = error.to_string();
        if !texts.iter().any(|t| t.contains(&text)) {
            texts.push(text);
        }
        next = error.source();
    }
    texts.join(": ")
}

fn whole(path: &Path, length: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let bytes = next(&mut file, length)?;
    if file.read(&mut [0])? != 0 {
        return Err(io::Error::other(format!("it has more than {length} bytes by now")));
    }
    Ok(bytes)
}

fn next(file: &mut File, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == length {
        return Ok(bytes);
    }
    Err(io::Error::other(format!("expected {length} bytes more, found {}", bytes.len())))
}
