//! A published site, seen from outside: its documents as clients get them, and whether they will do for long enough.
//!
//! [`Remote`] copies documents into a directory that is itself a site, without content; there [`Trust`] and the client's own
//! judgement look at them, so that nothing is verified in a second way. Every file that offered releases name is asked for,
//! its first byte at least, and of a web server it is told what it says to caches, of ranges and of compression.

mod content;
mod judge;
mod web;

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use lamplighter_client::download::{DownloadError, Downloader, RetryPolicy};
use lamplighter_client::error::Error as ClientError;
use lamplighter_client::format::head::{HEAD_BYTES_MAX, HeadRelease};
use lamplighter_client::format::layout;
use lamplighter_client::format::manifest::Manifest;
use lamplighter_client::format::objects::ObjectsIndex;
use lamplighter_client::format::release::Release;
use lamplighter_client::format::root::ROOT_BYTES_MAX;
use lamplighter_client::format::text::Time;
use lamplighter_client::progress::Cancel;
use lamplighter_client::source::{self, ByteRange, HttpOptions, Kind, Source};
use lamplighter_client::trust::ROOTS_MAX;

use crate::error::Error;
use crate::head::accepted;
use crate::init::days_in_seconds;
use crate::site::{SignedHead, SiteError, SiteWriter, Trust};
use crate::store::{Location, Store, StoreSource, is_remote};
use crate::watch::{PartProgress, Watch};
use content::Names;
use web::Web;

/// Days before its end from which a head is warned of.
pub const HEAD_DAYS_DEFAULT: u64 = 3;
/// Days before its end from which a root is warned of.
pub const ROOT_DAYS_DEFAULT: u64 = 90;

/// A site somewhere else.
pub struct Remote {
    source: Arc<dyn Source>,
    downloader: Downloader,
    watch: Arc<dyn Watch>,
}

impl Remote {
    /// The site at `location`, a URL, a bucket or a directory. Nothing is asked for yet.
    ///
    /// # Errors
    /// Not a place a client could open.
    pub fn open(location: &str, watch: Arc<dyn Watch>) -> Result<Self, Error> {
        let bucket = is_remote(location) && Location::parse(location).is_ok();
        let opened: Arc<dyn Source> = match bucket {
            true => Arc::new(StoreSource(Arc::new(Store::open(location)?))),
            false => source::open(location, &HttpOptions::default()).map_err(|e| failed("open the site", e.into()))?,
        };
        Ok(Self::over(opened, watch))
    }

    /// The site `source` reads.
    pub fn over(source: Arc<dyn Source>, watch: Arc<dyn Watch>) -> Self {
        let progress = Arc::new(PartProgress::new(watch.clone()));
        let downloader = Downloader::new(vec![source.clone()], RetryPolicy::default(), Cancel::default(), progress);
        Self { source, downloader, watch }
    }

    /// Copies the chain of roots to `dir`, which becomes a site if it is none. A root it has already never changes.
    ///
    /// # Errors
    /// The site has no first root, or cannot be reached; `dir` has another chain; the disk.
    pub fn copy_roots(&self, dir: &Path) -> Result<(SiteWriter, Trust), Error> {
        let mut roots = Vec::new();
        while roots.len() < ROOTS_MAX {
            match self.downloader.document(&layout::root(roots.len() as u64 + 1), ROOT_BYTES_MAX) {
                Ok(bytes) => roots.push(bytes),
                Err(error) if error.is_not_found() && !roots.is_empty() => break,
                Err(error) => return Err(fetching("fetch the chain of roots", error)),
            }
        }
        if crate::site::Site::open(dir).is_err() {
            SiteWriter::create(dir, &roots[0], self.watch.clone())?;
        }
        let writer = SiteWriter::lock(dir, self.watch.clone())?;
        for (index, bytes) in roots.iter().enumerate() {
            writer.put(&layout::root(index as u64 + 1), bytes)?;
        }
        let trust = Trust::read(writer.site())?;
        Ok((writer, trust))
    }

    /// Fetches the head of `channel`, and gives it verified; where keys were replaced since, under a root before.
    ///
    /// # Errors
    /// It cannot be fetched, or is not signed for this channel of this app.
    pub fn last_head(&self, trust: &Trust, channel: &str) -> Result<SignedHead, Error> {
        let name = layout::head(channel);
        let bytes = self.downloader.document(&name, HEAD_BYTES_MAX).map_err(|e| fetching("fetch the head", e))?;
        Ok(trust.check_last_head(channel, bytes)?)
    }

    /// Copies the heads of `channels`, those that are there, and gives what `writer` has then, verified. One that was signed
    /// here and is newer stays.
    ///
    /// # Errors
    /// One cannot be fetched or believed; the disk.
    pub fn copy_heads(
        &self,
        writer: &SiteWriter,
        trust: &Trust,
        channels: &[String],
    ) -> Result<Vec<SignedHead>, Error> {
        let mut heads = Vec::new();
        for channel in channels {
            let name = layout::head(channel);
            let bytes = match self.downloader.document(&name, HEAD_BYTES_MAX) {
                Ok(bytes) => bytes,
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(fetching("fetch the head", error)),
            };
            let head = newer_of(writer, trust, trust.check_last_head(channel, bytes)?);
            writer.replace(&name, &head.bytes)?;
            heads.push(head);
        }
        Ok(heads)
    }

    /// Copies the signed release that `row` names.
    ///
    /// # Errors
    /// It cannot be fetched, or is another.
    pub fn copy_release(&self, writer: &SiteWriter, row: &HeadRelease) -> Result<(), Error> {
        let name = layout::release(row.build, &row.platform);
        let fetched = self.downloader.exact(&name, row.file.length, &row.file.blake3);
        writer.put(&name, &fetched.map_err(|e| fetching("fetch a release", e))?)?;
        Ok(())
    }

    /// Whether the file `name` goes on after the `length` bytes that were signed, which no client ever reads. One request.
    /// A source that does not tell is taken at its best.
    fn goes_on(&self, name: &str, length: u64) -> bool {
        // Past the end there is nothing to be had, which sources answer with an error.
        let rest = Some(ByteRange { start: length, end: Some(length.saturating_add(1)) });
        let Ok(mut body) = self.source.open(name, rest, Kind::Content) else { return false };
        let before = length.saturating_sub(body.start);
        let skipped = io::copy(&mut body.reader.by_ref().take(before), &mut io::sink());
        skipped.is_ok_and(|skipped| skipped == before) && matches!(body.reader.read(&mut [0]), Ok(1))
    }
}

fn fetching(doing: &'static str, error: DownloadError) -> Error {
    failed(doing, error.into())
}

fn failed(doing: &'static str, source: ClientError) -> Error {
    Error::Client { doing, source: Box::new(source) }
}

/// Copies what the head of `channel` rests on to `dir`: roots, the head, the releases it names.
///
/// # Errors
/// Any of it cannot be fetched or believed; the site belongs to another app.
pub fn copy_channel(
    location: &str,
    dir: &Path,
    app: Option<&str>,
    channel: &str,
    watch: Arc<dyn Watch>,
) -> Result<(), Error> {
    let remote = Remote::open(location, watch)?;
    let (writer, trust) = remote.copy_roots(dir)?;
    if let Some(app) = app {
        trust.require_app(writer.site(), app)?;
    }
    let signed = remote.last_head(&trust, channel)?;
    let head = newer_of(&writer, &trust, signed);
    head.head.releases.iter().try_for_each(|row| remote.copy_release(&writer, row))?;
    Ok(writer.replace(&layout::head(channel), &head.bytes)?)
}

/// The head that was fetched, or the one that was signed here and did not come to be uploaded: it is not signed again.
fn newer_of(writer: &SiteWriter, trust: &Trust, fetched: SignedHead) -> SignedHead {
    let known = trust.last_head(writer.site(), &fetched.head.channel).ok().flatten();
    let rank = |signed: &SignedHead| (signed.current, signed.head.sequence);
    let is_ahead = known.as_ref().is_some_and(|known| rank(known) > rank(&fetched));
    known.filter(|_| is_ahead).unwrap_or(fetched)
}

/// How a published site is looked at.
#[derive(Debug)]
pub struct Request<'a> {
    /// URL or directory.
    pub location: &'a str,
    /// The app it must belong to, if the caller knows it.
    pub app: Option<&'a str>,
    /// The root document that clients carry; the site's word is taken where it is not given.
    pub root: Option<&'a [u8]>,
    /// Channels to look at.
    pub channels: &'a [String],
    /// A head good for fewer days is warned of.
    pub head_days: u64,
    /// A root good for fewer days is warned of.
    pub root_days: u64,
    /// Look at the documents alone, not at the files that releases name.
    pub quick: bool,
    /// Fetch and hash everything that offered releases name.
    pub deep: bool,
    /// Files asked for at once.
    pub connections: usize,
    /// The time of the run.
    pub time: Time,
}

/// Something that is wrong, or soon will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Clients are still well served.
    pub is_warning: bool,
    /// Stable name: `root`, `root-expires`, `head`, `head-stale`, `head-expires`, `release`, `manifest`, `objects`,
    /// `longer`; of the files they name `missing`, `length`, `encoded`, `content`; of the delivery `cache`, `range`,
    /// `compressed`, `head-old`.
    pub code: &'static str,
    /// The file, or the channel.
    pub name: String,
    /// What was found.
    pub text: String,
}

/// What a head says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// Channel.
    pub channel: String,
    /// Sequence of its head.
    pub sequence: u64,
    /// When that is stale.
    pub expires: Time,
    /// Platforms and builds on offer.
    pub releases: Vec<(String, u64)>,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// In the order of trust.
    pub findings: Vec<Finding>,
    /// Channels whose head is in order, stale or not.
    pub channels: Vec<Looked>,
    /// When the newest root expires.
    pub root_expires: Option<Time>,
    /// Files that offered releases name and that were asked for.
    pub files: u64,
    /// Requests made.
    pub requests: u64,
}

impl Checked {
    fn add(&mut self, is_warning: bool, code: &'static str, name: &str, text: impl ToString) {
        self.findings.push(Finding { is_warning, code, name: name.to_owned(), text: text.to_string() });
    }
}

/// Looks at a published site as a new client of each platform would: chain of roots, heads, releases and manifests, and
/// when they expire; whether all they name is there, and how it is delivered.
///
/// # Errors
/// The location is none, or there is no room for the few documents. All else is a finding.
pub fn check(request: &Request<'_>, watch: Arc<dyn Watch>) -> Result<Checked, Error> {
    let remote = Remote::open(request.location, watch.clone())?;
    let name = "scratch directory".to_owned();
    let dir = tempfile::tempdir().map_err(|source| SiteError::Write { name, source })?;
    let mut checked = Checked::default();
    let (web, mut names) = (Web::open(request.location), Names::new());
    match remote.copy_roots(&dir.path().join("site")) {
        Err(error) => checked.add(false, "root", &layout::root(1), error),
        Ok((writer, trust)) => {
            roots(request, &trust, &writer, &mut checked);
            for channel in request.channels {
                match one(request, &remote, (&writer, &trust), channel, &mut names, &mut checked) {
                    Err(error) => checked.add(false, "head", &layout::head(channel), error),
                    Ok(sequence) => {
                        web.iter().for_each(|web| content::head(web, &trust, channel, sequence, &mut checked));
                    }
                }
            }
        }
    }
    if !request.quick {
        content::look(&remote, web.as_ref(), &names, (request.connections, request.deep), &mut checked)?;
    }
    web.iter().for_each(|web| content::compressed(web, &names, &mut checked));
    checked.requests += remote.downloader.requests();
    Ok(checked)
}

fn roots(request: &Request<'_>, trust: &Trust, writer: &SiteWriter, checked: &mut Checked) {
    let root = trust.root();
    let name = layout::root(root.version);
    checked.root_expires = Some(root.expires);
    if let Some(Err(error)) = request.app.map(|app| trust.require_app(writer.site(), app)) {
        checked.add(false, "root", &name, error);
    }
    let (first, rest) = trust.documents();
    if request.root.is_some_and(|pinned| first != pinned && !rest.iter().any(|bytes| bytes == pinned)) {
        checked.add(false, "root", &name, "the root that clients carry is none of this chain; they refuse this site");
    }
    match days_left(root.expires, request.time) {
        None => checked.add(false, "root-expires", &name, format!("it expired at {}", root.expires)),
        Some(days) if days < request.root_days => {
            checked.add(true, "root-expires", &name, format!("{days} days are left, until {}", root.expires));
        }
        Some(_) => {}
    }
}

fn one(
    request: &Request<'_>,
    remote: &Remote,
    (writer, trust): (&SiteWriter, &Trust),
    channel: &str,
    names: &mut Names,
    checked: &mut Checked,
) -> Result<u64, Error> {
    let name = layout::head(channel);
    let SignedHead { head, bytes, current } = remote.last_head(trust, channel)?;
    if !current {
        // No client believes it: the error says by which root.
        trust.check_head(channel, bytes.clone())?;
    }
    match days_left(head.expires, request.time) {
        None => checked.add(false, "head-stale", &name, format!("it expired at {}", head.expires)),
        Some(days) if days < request.head_days => {
            checked.add(true, "head-expires", &name, format!("{days} days are left, until {}", head.expires));
        }
        Some(_) => {}
    }
    for row in &head.releases {
        let name = layout::release(row.build, &row.platform);
        let sound = remote.copy_release(writer, row).and_then(|()| {
            // Whether it is stale was told above.
            Ok(accepted(writer.site(), trust, channel, &bytes, row, head.issued)?)
        });
        if let Err(error) = sound {
            checked.add(false, "release", &name, error);
            continue;
        }
        longer(remote, &name, row.file.length, checked);
        if let Ok(Some(release)) = trust.release(writer.site(), row.build, &row.platform) {
            documents(request, remote, &release.release, names, checked);
        }
    }
    let releases = head.releases.iter().map(|r| (r.platform.clone(), r.build)).collect();
    let (channel, sequence, expires) = (channel.to_owned(), head.sequence, head.expires);
    checked.channels.push(Looked { channel, sequence, expires, releases });
    Ok(sequence)
}

/// Fetches the manifest of a release and its index, and notes what they name.
fn documents(request: &Request<'_>, remote: &Remote, release: &Release, names: &mut Names, checked: &mut Checked) {
    let name = layout::manifest(release.build, &release.platform);
    let bytes = match remote.downloader.exact(&name, release.manifest.length, &release.manifest.blake3) {
        Err(error) => return checked.add(false, "manifest", &name, error),
        Ok(bytes) => bytes,
    };
    longer(remote, &name, release.manifest.length, checked);
    if request.quick {
        return;
    }
    let manifest = match Manifest::parse(&bytes) {
        Err(error) => return checked.add(false, "manifest", &name, error),
        Ok(manifest) => manifest,
    };
    let name = layout::objects(release.build, &release.platform);
    let index = remote.downloader.exact(&name, release.objects.length, &release.objects.blake3);
    match index.map_err(|e| e.to_string()).and_then(|b| ObjectsIndex::parse(&b, &manifest).map_err(|e| e.to_string())) {
        Err(error) => checked.add(false, "objects", &name, error),
        Ok(index) => content::add_names(names, release, &index),
    }
}

/// Warns of a file that is longer than signed: clients take what is signed and are well served, but what is published never
/// changes, so somebody or something wrote to it.
fn longer(remote: &Remote, name: &str, length: u64, checked: &mut Checked) {
    checked.requests += 1;
    if remote.goes_on(name, length) {
        checked.add(
            true,
            "longer",
            name,
            format!("it goes on after the {length} bytes that are signed; was it altered?"),
        );
    }
}

/// Whole days from `now` to `end`; none if it is over.
fn days_left(end: Time, now: Time) -> Option<u64> {
    let seconds = u64::try_from(end.seconds() - now.seconds()).ok().filter(|seconds| *seconds > 0)?;
    Some(seconds / days_in_seconds(1).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_down_to_the_end() {
        let left = |seconds: i64| days_left(Time::from_seconds(1000 + seconds), Time::from_seconds(1000));
        assert_eq!([3 * 86_400, 3 * 86_400 - 1, 1, 0, -1].map(left), [Some(3), Some(2), Some(0), None, None]);
    }
}
