//! The effects: looking at heads, comparing, sending.

use lamplighter_client::format::head::HEAD_BYTES_MAX;
use lamplighter_client::format::layout;
use rayon::prelude::*;

use super::heads::{self, Move};
use super::plan::{Item, Listing, Plan};
use super::{COMPARE_BYTES_MAX, UploadError};
use crate::delivery::FileKind;
use crate::error::Error;
use crate::site::{SignedHead, Site, SiteError, Trust};
use crate::store::{Conditions, Content, Store, Version};
use crate::watch::Watch;

/// All that the steps of one upload share.
pub(super) struct Sender<'a> {
    pub(super) site: &'a Site,
    pub(super) trust: &'a Trust,
    pub(super) store: &'a Store,
    pub(super) watch: &'a dyn Watch,
    pub(super) connections: usize,
}

/// The head that is there, before it is replaced.
pub(super) struct Waiting {
    /// Whether the local head is to be written.
    pub(super) writes: bool,
    version: Option<Version>,
}

impl Sender<'_> {
    /// Looks at the head of the channel of `local`.
    pub(super) fn look(&self, local: &SignedHead) -> Result<Waiting, Error> {
        let channel = &local.head.channel;
        let stored = self.store.read(&layout::head(channel), HEAD_BYTES_MAX)?;
        let location = self.store.location();
        let (bytes, version) = stored.map(|s| (s.bytes, s.version)).unzip();
        if bytes.as_ref() == Some(&local.bytes) {
            return Ok(Waiting { writes: false, version });
        }
        let remote = bytes.map(|bytes| heads::remote(self.trust, channel, bytes, location)).transpose()?;
        match (heads::decide(local, remote.as_ref()), remote) {
            (Move::Behind, Some(remote)) => {
                let (local, remote) = (local.head.sequence, remote.head.sequence);
                let (channel, location) = (channel.clone(), location.to_owned());
                Err(UploadError::Behind { channel, location, local, remote }.into())
            }
            (decided, _) => Ok(Waiting { writes: decided == Move::Write, version }),
        }
    }

    /// Checks that all that the releases of `head` name is here or there. Documents of a release that lie only there, with
    /// the release itself, were looked at when it was sent.
    pub(super) fn require_complete(
        &self,
        head: &SignedHead,
        local: &Listing,
        remote: &Listing,
        is_whole: bool,
    ) -> Result<(), Error> {
        for row in &head.head.releases {
            let name = layout::release(row.build, &row.platform);
            let release = self.trust.release(self.site, row.build, &row.platform)?;
            let release = release.ok_or_else(|| SiteError::damaged(&name, "it is missing"))?.release;
            let has_documents = local.contains_key(&layout::manifest(row.build, &row.platform))
                && local.contains_key(&layout::objects(row.build, &row.platform));
            if !(has_documents && is_whole) && remote.get(&name) == Some(&row.file.length) {
                continue;
            }
            let has_base = |build| {
                let base = layout::release(build, &row.platform);
                local.contains_key(&base) || remote.contains_key(&base)
            };
            for (name, bytes) in heads::names(self.site, &release, has_base)? {
                if local.get(&name) != Some(&bytes) && remote.get(&name) != Some(&bytes) {
                    let (channel, location) = (head.head.channel.clone(), self.store.location().to_owned());
                    return Err(UploadError::Incomplete { channel, name, location, bytes }.into());
                }
            }
        }
        Ok(())
    }

    /// Compares the bytes of files that have the same length here and there.
    pub(super) fn compare(&self, names: &[String]) -> Result<(), Error> {
        self.in_parallel(|| names.par_iter().with_max_len(1).try_for_each(|name| self.require_same(name)))
    }

    /// Finds out what the provider makes of conditions, and warns where that is not enough.
    pub(super) fn probe(&self) -> Result<Conditions, Error> {
        let mut token = [0; 8];
        getrandom::fill(&mut token).map_err(|e| Error::Threads(e.to_string()))?;
        let token: String = token.iter().map(|byte| format!("{byte:02x}")).collect();
        let conditions = self.store.probe(&token)?;
        let what = match &conditions {
            Conditions::Kept => return Ok(conditions),
            Conditions::Ignored => "the provider ignores conditions (If-None-Match, If-Match)".to_owned(),
            Conditions::Refused(answer) => format!("the provider refuses conditional writes ({answer})"),
        };
        let text =
            format!("{what}: two publishers at once could overwrite each other's heads; let only one run at a time");
        self.watch.notice("no-conditions", self.store.location(), &text);
        Ok(conditions)
    }

    /// Sends what is missing, each kind after the one before it has arrived.
    pub(super) fn immutable_files(&self, plan: &Plan, conditions: &Conditions) -> Result<(), Error> {
        for items in plan.items.chunk_by(|a, b| a.kind == b.kind) {
            let send = |item: &Item| self.item(item, conditions);
            match items.first().map(|item| item.kind) {
                // Clients walk roots until one is missing: they appear one by one.
                Some(FileKind::Root) => items.iter().try_for_each(send)?,
                _ => self.in_parallel(|| items.par_iter().with_max_len(1).try_for_each(send))?,
            }
        }
        Ok(())
    }

    fn item(&self, item: &Item, conditions: &Conditions) -> Result<(), Error> {
        let path = self.site.path(&item.name);
        let content = Content::File(&path, item.length);
        let advanced = |bytes| self.watch.advanced(bytes);
        self.watch.publishing(&item.name);
        if item.replaces || matches!(conditions, Conditions::Refused(_)) {
            return Ok(self.store.put(&item.name, content, &advanced)?);
        }
        if self.store.create(&item.name, content, &advanced)? {
            return Ok(());
        }
        // It appeared meanwhile: another publisher's, or our own of a try whose answer was lost.
        match item.kind {
            FileKind::Content => self.require_length(item),
            _ => self.require_same(&item.name),
        }
    }

    /// Replaces the head that was looked at by `local`.
    pub(super) fn head(&self, local: &SignedHead, waiting: &Waiting, conditions: &Conditions) -> Result<(), Error> {
        let name = layout::head(&local.head.channel);
        self.watch.publishing(&name);
        let written = match conditions {
            Conditions::Refused(_) => {
                // The best that can be had: what is there must still be what was looked at.
                let now = self.store.read(&name, HEAD_BYTES_MAX)?.map(|stored| stored.version);
                let same = now == waiting.version;
                if same {
                    self.store.put(&name, Content::Bytes(&local.bytes), &|_| {})?;
                }
                same
            }
            _ => self.store.replace(&name, &local.bytes, waiting.version.as_ref())?,
        };
        // A try whose answer was lost is repeated, and then finds its own work.
        if written || self.store.read(&name, HEAD_BYTES_MAX)?.is_some_and(|stored| stored.bytes == local.bytes) {
            return Ok(());
        }
        let (channel, location) = (local.head.channel.clone(), self.store.location().to_owned());
        Err(UploadError::Lost { channel, location }.into())
    }

    fn require_length(&self, item: &Item) -> Result<(), Error> {
        match self.store.length(&item.name)? {
            Some(length) if length == item.length => Ok(()),
            _ => Err(self.other_content(&item.name)),
        }
    }

    fn require_same(&self, name: &str) -> Result<(), Error> {
        let ours = self.site.read(name, COMPARE_BYTES_MAX)?;
        let theirs = self.store.read(name, COMPARE_BYTES_MAX)?.map(|stored| stored.bytes);
        if ours.is_some() && ours == theirs { Ok(()) } else { Err(self.other_content(name)) }
    }

    fn other_content(&self, name: &str) -> Error {
        let (location, unfinished) = (self.store.location().to_owned(), FileKind::of(name) == Some(FileKind::Document));
        UploadError::OtherContent { name: name.to_owned(), location, unfinished }.into()
    }

    fn in_parallel(&self, work: impl FnOnce() -> Result<(), Error> + Send) -> Result<(), Error> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(self.connections).build();
        pool.map_err(|e| Error::Threads(e.to_string()))?.install(work)
    }
}
