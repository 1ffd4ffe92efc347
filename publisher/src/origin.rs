//! A site elsewhere that a local directory is a part of: a publisher without kept state works on the directory, and what it
//! needs of the rest is fetched when it is asked for, once.
//!
//! [`Origin::attach`] makes the directory a site with the origin's roots and heads; [`Site`] then looks here
//! for what the directory lacks. Nothing is kept before it is verified: documents by signature or by the digest a signed
//! document gives, objects by the digest in their name. So the directory is a cache that only ever holds true files, a later
//! run fetches only what is new, and deleting it costs nothing but another fetch.
//!
//! A bucket lists its releases. A web server lists nothing; there the releases that heads offer are known, and those their
//! packs start from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lamplighter_client::download::{Downloader, RetryPolicy};
use lamplighter_client::error::Error as ClientError;
use lamplighter_client::format::digest::Blake3;
use lamplighter_client::format::layout;
use lamplighter_client::format::objects::{ObjectsIndex, STORED_BYTES_MAX};
use lamplighter_client::format::release::Release;
use lamplighter_client::format::text::{is_token, number};
use lamplighter_client::progress::{Cancel, Silent};
use lamplighter_client::source::{self, Body, ByteRange, HttpOptions, Kind, Source, SourceError, Trouble};
use rayon::prelude::*;

use crate::build_release::shard;
use crate::delivery::FileKind;
use crate::error::Error;
use crate::remote::Remote;
use crate::site::{Site, SiteError, SiteWriter, Trust};
use crate::store::{Location, Store, StoreError, StoreSource};
use crate::upload::{Listing, Survey, heads};
use crate::watch::Watch;

/// A site elsewhere.
pub struct Origin {
    source: Counted,
    downloader: Downloader,
    /// Where it can be written to as well.
    store: Option<Arc<Store>>,
    location: String,
    published: Published,
    /// Objects that published releases name, with their lengths.
    objects: Mutex<BTreeMap<String, u64>>,
    lengths: Mutex<BTreeMap<String, Option<u64>>>,
    /// Content that this process put into the directory.
    written: Mutex<BTreeSet<String>>,
    /// The first document that could not be fetched although it may be there.
    trouble: Mutex<Option<String>>,
    /// Notes of shards that were fetched, and the packs they name.
    shards: Mutex<BTreeSet<String>>,
}

/// What is known of the releases over there.
#[derive(Debug, Default)]
struct Published {
    releases: BTreeSet<(u64, String)>,
    /// Names and lengths of everything below `releases/` and `root/`, where the origin lists it.
    listing: Option<Listing>,
}

/// What was fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetched {
    /// Requests made, those of an upload as well.
    pub requests: u64,
    /// Bytes received.
    pub bytes: u64,
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin").field("location", &self.location).finish_non_exhaustive()
    }
}

impl Origin {
    /// Makes `dir` a site with the roots and heads of the one at `location`, an address: those of `channels`, and of all
    /// channels where the place lists them. A head of `dir` that is newer stays: it was signed here and not sent yet.
    ///
    /// # Errors
    /// There is no site, or it cannot be reached; `dir` belongs to another; another publisher works on `dir`.
    pub fn attach(location: &str, dir: &Path, channels: &[String], watch: Arc<dyn Watch>) -> Result<Self, Error> {
        let is_web = location.starts_with("http://") || location.starts_with("https://");
        let store = if is_web { None } else { Some(Arc::new(Store::open(location)?)) };
        Self::over(store, location, dir, channels, watch)
    }

    /// As [`Origin::attach`], for a store that is open already.
    ///
    /// # Errors
    /// Those of [`Origin::attach`].
    pub fn over(
        store: Option<Arc<Store>>,
        location: &str,
        dir: &Path,
        channels: &[String],
        watch: Arc<dyn Watch>,
    ) -> Result<Self, Error> {
        let inner: Arc<dyn Source> = match &store {
            Some(store) => Arc::new(StoreSource(store.clone())),
            None => source::open(location, &HttpOptions::default()).map_err(unopened)?,
        };
        let source = Counted { inner, counts: Arc::default() };
        let remote = Remote::over(Arc::new(source.clone()), watch);
        let (writer, trust) = remote.copy_roots(dir)?;
        let channels = match &store {
            Some(store) => listed_channels(&store.list("channels")?),
            None => channels.to_vec(),
        };
        let heads = remote.copy_heads(&writer, &trust, &channels)?;
        let published = match &store {
            Some(store) => {
                let published = Published::listed(store)?;
                forget_what_is_gone(&writer, &published.releases, &channels)?;
                published
            }
            None => {
                let mut published = Published::default();
                for head in &heads {
                    for row in &head.head.releases {
                        remote.copy_release(&writer, row)?;
                        published.offered(&trust, writer.site(), row.build, &row.platform)?;
                    }
                }
                published
            }
        };
        let progress = Arc::new(Silent);
        let downloader =
            Downloader::new(vec![Arc::new(source.clone())], RetryPolicy::default(), Cancel::default(), progress);
        let location = location.trim_end_matches('/').to_owned();
        let (objects, lengths, written) = (Mutex::default(), Mutex::default(), Mutex::default());
        let (trouble, shards) = (Mutex::default(), Mutex::default());
        Ok(Self { source, downloader, store, location, published, objects, lengths, written, trouble, shards })
    }

    /// The place, for messages.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Where it is written to; none for a web server.
    pub fn store(&self) -> Option<&Arc<Store>> {
        self.store.as_ref()
    }

    /// Where it is written to.
    ///
    /// # Errors
    /// It is a web server.
    pub fn writable(&self) -> Result<&Arc<Store>, StoreError> {
        self.store.as_ref().ok_or_else(|| {
            let (location, detail) = (self.location.clone(), "found a web server".to_owned());
            StoreError::BadLocation { location, detail }
        })
    }

    /// What was fetched so far.
    pub fn fetched(&self) -> Fetched {
        let sent = self.store.as_ref().map(|store| store.requests());
        let requests = sent.unwrap_or_else(|| self.source.counts.requests.load(Ordering::Relaxed));
        Fetched { requests, bytes: self.source.counts.bytes.load(Ordering::Relaxed) }
    }

    /// Builds and platforms that have a signed release over there, in order.
    pub(crate) fn releases(&self) -> Vec<(u64, String)> {
        self.published.releases.iter().cloned().collect()
    }

    /// The document `name` of a release, not verified yet; none where there is no such file.
    pub(crate) fn read(&self, name: &str, cap_bytes: u64) -> Result<Option<Vec<u8>>, SiteError> {
        if self.published.listing.as_ref().is_some_and(|listing| !listing.contains_key(name)) {
            return Ok(None);
        }
        match self.downloader.document(name, cap_bytes) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => {
                lock(&self.trouble).get_or_insert_with(|| error.to_string());
                Err(unread(name, error))
            }
        }
    }

    /// Checks that no document was left out because the line was down: a damaged old release may be done without, one that
    /// could not be fetched this time may not.
    pub(crate) fn require_no_trouble(&self) -> Result<(), SiteError> {
        lock(&self.trouble).as_ref().map_or(Ok(()), |text| Err(unread("a release", text)))
    }

    /// Fetches what shards have made for `build` into the directory `dir`: their notes, and the packs these name. None of it
    /// is believed; the run that collects tries each pack.
    ///
    /// # Errors
    /// It cannot be fetched; a note that is none.
    pub fn fetch_shards(&self, dir: &Path, build: u64) -> Result<(), Error> {
        let (Some(store), site) = (&self.store, Site::open(dir)?) else { return Ok(()) };
        let listed = store.list(&format!("shards/{build}"))?;
        for name in listed.into_keys().filter(|name| shard::is_note(name)) {
            let Some(stored) = store.read(&name, shard::NOTE_BYTES_MAX)? else { continue };
            for (pack, length) in shard::packs_of(&name, &stored.bytes)? {
                self.fetch_pack(&site, &pack, length)?;
                lock(&self.shards).insert(pack);
            }
            SiteWriter::keep(&site, &name, &stored.bytes[..])?;
            lock(&self.shards).insert(name);
        }
        Ok(())
    }

    /// Fetches the pack `name` of `length` bytes into the directory of `site`. It is not verified: who reads it verifies
    /// header and blocks.
    pub(crate) fn fetch_pack(&self, site: &Site, name: &str, length: u64) -> Result<(), SiteError> {
        let body = self.source.open(name, None, Kind::Content).map_err(|e| unread(name, e))?;
        SiteWriter::keep(site, name, body.reader.take(length))
    }

    /// Removes over there what was fetched of shards and is in `dir` no more: the release is signed.
    ///
    /// # Errors
    /// The provider.
    pub fn clear_shards(&self, dir: &Path) -> Result<(), Error> {
        let (Some(store), site) = (&self.store, Site::open(dir)?) else { return Ok(()) };
        let shards = std::mem::take(&mut *lock(&self.shards));
        let mut gone = shards.iter().filter(|name| !site.path(name).exists());
        Ok(gone.try_for_each(|name| store.remove(name))?)
    }

    /// Takes note of content that was put into the directory.
    pub(crate) fn wrote(&self, name: &str) {
        lock(&self.written).insert(name.to_owned());
    }

    /// Length of the file `name` over there; asked for once. A web server is not asked: `None` means it is not known.
    pub(crate) fn length(&self, name: &str) -> Result<Option<u64>, SiteError> {
        if let Some(listing) = self.published.listing.as_ref().filter(|_| name.starts_with("releases/")) {
            return Ok(listing.get(name).copied());
        }
        let Some(store) = &self.store else { return Ok(self.known(name)) };
        if let Some(known) = lock(&self.lengths).get(name) {
            return Ok(*known);
        }
        let length = store.length(name).map_err(|e| unread(name, e))?;
        lock(&self.lengths).insert(name.to_owned(), length);
        Ok(length)
    }

    /// Length of the object `name`, if a published release names it.
    pub(crate) fn known(&self, name: &str) -> Option<u64> {
        lock(&self.objects).get(name).copied()
    }

    /// Takes note of what `release` names, if it is published over there.
    pub(crate) fn learn(&self, release: &Release, index: &ObjectsIndex) {
        if self.published.releases.contains(&(release.build, release.platform.clone())) {
            lock(&self.objects).extend(index.objects().iter().map(|o| (layout::object(&o.blake3), o.length)));
        }
    }

    /// The object `name`, verified.
    fn object(&self, name: &str, kind: Kind) -> Result<Vec<u8>, SourceError> {
        let body = self.source.open(name, None, kind)?;
        let mut bytes = Vec::new();
        let broken = |text: String| SourceError::Transient {
            name: name.to_owned(),
            site: self.location.clone(),
            trouble: Trouble::Interrupted(text),
            retry_after: None,
        };
        body.reader.take(STORED_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|e| broken(e.to_string()))?;
        let found = Blake3::of(&bytes).to_string();
        match name.rsplit('/').next() == Some(&found) {
            true => Ok(bytes),
            false => Err(broken(format!("expected the bytes its name says, found BLAKE3 {found}"))),
        }
    }
}

impl Survey for Origin {
    /// What was listed, what published releases name, and of the rest what the place answers.
    fn listing(&self, store: &Store, local: &Listing) -> Result<Listing, StoreError> {
        let mut found = self.published.listing.clone().unwrap_or_default();
        found.extend(lock(&self.objects).clone());
        let content = local.keys().filter(|name| FileKind::of(name) == Some(FileKind::Content));
        let unknown: Vec<&String> = content.filter(|name| !found.contains_key(*name)).collect();
        let asked: Vec<_> = unknown.par_iter().map(|name| Ok((*name, store.length(name)?))).collect();
        for answer in asked {
            let (name, length) = answer?;
            found.extend(length.map(|length| (name.clone(), length)));
        }
        Ok(found)
    }

    fn is_whole(&self) -> bool {
        false
    }

    /// Content that came from there stays out, however old the cache is, and so do notes of earlier shards: only what new
    /// releases name is looked at, and what this run wrote.
    fn narrow(&self, site: &Site, trust: &Trust, local: &mut Listing) -> Result<(), Error> {
        let mut wanted = lock(&self.written).clone();
        let releases = local.keys().filter_map(|name| release_of(name));
        for (build, platform) in releases.filter(|release| !self.published.releases.contains(release)) {
            let Some(release) = trust.past_release(site, build, &platform)? else { continue };
            wanted.extend(heads::names(site, &release.release, |_| true)?.into_iter().map(|(name, _)| name));
        }
        let is_narrowed = |name: &str| matches!(FileKind::of(name), Some(FileKind::Content | FileKind::ShardNote));
        local.retain(|name, _| !is_narrowed(name) || wanted.contains(name));
        Ok(())
    }
}

/// Removes from the directory what the origin has no more: heads, and releases below its newest, which were pruned there.
/// A release above was signed here and not sent yet.
fn forget_what_is_gone(
    writer: &SiteWriter,
    published: &BTreeSet<(u64, String)>,
    channels: &[String],
) -> Result<(), SiteError> {
    let site = writer.site();
    for channel in site.channels()?.iter().filter(|channel| !channels.contains(channel)) {
        writer.remove(&layout::head(channel))?;
    }
    for (build, platform) in site.releases()? {
        let newer = published.iter().any(|(other, p)| *p == platform && *other > build);
        if newer && !published.contains(&(build, platform.clone())) {
            for name in site.names(&layout::release_dir(build, &platform))? {
                writer.remove(&format!("{}/{name}", layout::release_dir(build, &platform)))?;
            }
        }
    }
    Ok(())
}

impl Published {
    fn listed(store: &Store) -> Result<Self, StoreError> {
        let mut listing = store.list("releases")?;
        let releases = listing.keys().filter_map(|name| release_of(name)).collect();
        listing.extend(store.list("root")?);
        Ok(Self { releases, listing: Some(listing) })
    }

    /// A release that a head offers, and those its packs start from.
    fn offered(&mut self, trust: &Trust, site: &Site, build: u64, platform: &str) -> Result<(), SiteError> {
        self.releases.insert((build, platform.to_owned()));
        let release = trust.past_release(site, build, platform)?;
        let bases = release.into_iter().flat_map(|r| r.release.packs).map(|row| (row.base_build, platform.to_owned()));
        self.releases.extend(bases);
        Ok(())
    }
}

/// The build and platform whose signed release is called `name`.
pub(crate) fn release_of(name: &str) -> Option<(u64, String)> {
    let parts: Vec<&str> = name.split('/').collect();
    match parts[..] {
        ["releases", build, platform, "release"] if is_token(platform) => Some((number(build)?, platform.to_owned())),
        _ => None,
    }
}

/// The channels whose heads are in `listing`.
pub(crate) fn listed_channels(listing: &Listing) -> Vec<String> {
    let heads = listing.keys().filter(|name| FileKind::of(name) == Some(FileKind::Head));
    heads.filter_map(|name| Some(name.strip_prefix("channels/")?.strip_suffix(".head")?.to_owned())).collect()
}

fn unread(name: &str, error: impl ToString) -> SiteError {
    SiteError::Read { name: name.to_owned(), source: io::Error::other(error.to_string()) }
}

fn unopened(error: SourceError) -> Error {
    Error::Client { doing: "open the site", source: Box::new(ClientError::from(error)) }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a location is one this module attaches a directory to.
///
/// # Errors
/// An address of another kind.
pub fn is_address(location: &str) -> Result<bool, StoreError> {
    if location.starts_with("http://") || location.starts_with("https://") {
        return Ok(true);
    }
    Ok(!matches!(Location::parse(location)?, Location::Directory(_)))
}

/// Counts what comes in.
#[derive(Clone)]
struct Counted {
    inner: Arc<dyn Source>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    bytes: AtomicU64,
}

impl Source for Counted {
    fn open(&self, name: &str, range: Option<ByteRange>, kind: Kind) -> Result<Body, SourceError> {
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
        let body = self.inner.open(name, range, kind)?;
        let reader = Box::new(CountedBody { reader: body.reader, counts: self.counts.clone() });
        Ok(Body { reader, ..body })
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

struct CountedBody {
    reader: Box<dyn Read + Send>,
    counts: Arc<Counts>,
}

impl Read for CountedBody {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.counts.bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// The local directory, and behind it the origin: what clients' code reads when it rebuilds trees.
pub(crate) struct Layered {
    local: Arc<dyn Source>,
    site: Site,
    origin: Arc<Origin>,
}

impl Layered {
    pub(crate) fn new(local: Arc<dyn Source>, site: &Site, origin: &Arc<Origin>) -> Self {
        Self { local, site: site.clone(), origin: origin.clone() }
    }
}

impl Source for Layered {
    fn open(&self, name: &str, range: Option<ByteRange>, kind: Kind) -> Result<Body, SourceError> {
        if kind != Kind::Refetch {
            match self.local.open(name, range, kind) {
                Err(SourceError::NotFound { .. }) => {}
                answer => return answer,
            }
        }
        if !name.starts_with("objects/") {
            return self.origin.source.open(name, range, kind);
        }
        let bytes = self.origin.object(name, kind)?;
        // A copy that cannot be kept is fetched again another time.
        let _ = SiteWriter::keep(&self.site, name, &bytes[..]);
        let start = range.map_or(0, |r| r.start).min(bytes.len() as u64);
        let end = range.and_then(|r| r.end).map_or(bytes.len(), |end| (end as usize).min(bytes.len()));
        let part = bytes[start as usize..end.max(start as usize)].to_vec();
        Ok(Body { start, length: Some(part.len() as u64), reader: Box::new(io::Cursor::new(part)) })
    }

    fn describe(&self) -> String {
        self.origin.location.clone()
    }
}
