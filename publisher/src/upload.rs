//! Sends a site to a bucket or a directory: immutable files first, channel heads last, and only what is missing.
//!
//! In this order, so that clients are well served whatever the moment a run dies at:
//!
//! 1. every head that is to move is judged by the client's code, and all that its releases name must be in the local site or at the
//!    other place;
//! 2. both are listed; [`plan()`] says what is missing. An immutable file that is there with another length is an error;
//! 3. objects and packs, then the documents of releases, then the signed releases, roots, the page for people: each kind
//!    after the one before has arrived whole; created only where there is none (`If-None-Match: *`);
//! 4. heads, each replacing exactly the version that was looked at (`If-Match`): one that is newer than the local one is
//!    never overwritten, and of two publishers at once one is told that it came second.
//!
//! What a run leaves that died is found and completed by the next. Whether the provider keeps the conditions is tried out
//! once ([`Store::probe`]); where it does not, a warning says that publishers must take turns.

pub mod heads;
pub mod plan;
mod send;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use lamplighter_client::format::layout;
use lamplighter_client::format::root::ROOT_BYTES_MAX;

use crate::delivery::FileKind;
use crate::error::{Class, Error};
use crate::origin::Origin;
use crate::site::{SignedHead, Site, SiteWriter, Trust};
use crate::store::{Conditions, Store, StoreError};
use crate::watch::{Step, Watch};
pub use plan::{Conflict, Listing, Plan, plan};
use send::Sender;

/// Files under way at once, unless said otherwise.
pub const CONNECTIONS_DEFAULT: usize = 8;

/// Why a site is not sent.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum UploadError {
    #[error(
        "{location} holds other files than this site, and what is published never changes:\n{}\nuse a new build number{}",
        list(conflicts),
        if conflicts.iter().any(|c| c.unfinished) { UNFINISHED_HINT } else { "" }
    )]
    Conflicts { location: String, conflicts: Vec<Conflict> },
    #[error(
        "{name} at {location} has other content than in this site, and what is published never changes; use a new build \
         number{}", if *unfinished { UNFINISHED_HINT } else { "" }
    )]
    OtherContent { name: String, location: String, unfinished: bool },
    #[error(
        "{location} has root version {remote}, this site only {local}: fetch the roots first (another publisher replaced keys)"
    )]
    OldRoots { location: String, local: u64, remote: u64 },
    #[error(
        "channel {channel} has sequence {remote} at {location}, this site {local}: another publisher has moved it meanwhile; \
         fetch its head and build or promote again"
    )]
    Behind { channel: String, location: String, local: u64, remote: u64 },
    #[error(
        "channel {channel} was moved by another publisher at this moment at {location}: nothing is overwritten; \
             fetch its head and build or promote again"
    )]
    Lost { channel: String, location: String },
    #[error(
        "the head of channel {channel} at {location} cannot be judged by this site's roots, and so is not replaced: {detail}"
    )]
    ForeignHead { channel: String, location: String, detail: String },
    #[error("channel {channel} names {name}, which is neither in this site nor at {location}: expected {bytes} bytes")]
    Incomplete { channel: String, name: String, location: String, bytes: u64 },
}

const UNFINISHED_HINT: &str = "; if it is left over from an upload that died, and nobody else is publishing this build now, \
                               --replace-unfinished takes the local files";
const CONFLICTS_SHOWN: usize = 10;

fn list(conflicts: &[Conflict]) -> String {
    let mut lines: Vec<String> = conflicts.iter().take(CONFLICTS_SHOWN).map(|c| format!("  {c}")).collect();
    if conflicts.len() > CONFLICTS_SHOWN {
        lines.push(format!("  and {} more", conflicts.len() - CONFLICTS_SHOWN));
    }
    lines.join("\n")
}

impl UploadError {
    /// The class it belongs to.
    pub fn class(&self) -> Class {
        Class::Site
    }
}

/// How a site is sent.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Files under way at once.
    pub connections: usize,
    /// Replace documents of releases that are not there yet, which an upload left that died.
    pub replace_unfinished: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { connections: CONNECTIONS_DEFAULT, replace_unfinished: false }
    }
}

/// What became of the head of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadSent {
    /// Channel.
    pub channel: String,
    /// Its sequence now.
    pub sequence: u64,
    /// False if it was there before.
    pub moved: bool,
}

/// What was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uploaded {
    /// Files sent, heads not counted.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that were there.
    pub present_files: u64,
    /// Their bytes.
    pub present_bytes: u64,
    /// Heads, in the order of channels.
    pub heads: Vec<HeadSent>,
    /// What the provider makes of conditions; none where nothing had to be sent.
    pub conditions: Option<Conditions>,
    /// Requests made.
    pub requests: u64,
}

/// What is known of the other place before anything is sent.
pub trait Survey {
    /// Names and lengths of what is there, as far as it matters to `local`; heads may be left out.
    ///
    /// # Errors
    /// The provider.
    fn listing(&self, store: &Store, local: &Listing) -> Result<Listing, StoreError>;

    /// Whether that is all that is there. Else what published releases name counts as there: it was looked at when they
    /// were sent.
    fn is_whole(&self) -> bool;

    /// Takes from `local` what need not be looked at.
    ///
    /// # Errors
    /// A local release cannot be read.
    fn narrow(&self, _site: &Site, _trust: &Trust, _local: &mut Listing) -> Result<(), Error> {
        Ok(())
    }
}

/// Lists everything that is there.
#[derive(Debug, Clone, Copy, Default)]
pub struct WholeListing;

impl Survey for WholeListing {
    fn listing(&self, store: &Store, _: &Listing) -> Result<Listing, StoreError> {
        store.list("")
    }

    fn is_whole(&self) -> bool {
        true
    }
}

/// Sends the site at `dir` to `store`; no other publisher changes it meanwhile.
///
/// # Errors
/// Anything on the way: clients see what they saw before, or the whole new state of some channels.
pub fn run(dir: &Path, store: &Store, options: Options, watch: Arc<dyn Watch>) -> Result<Uploaded, Error> {
    let writer = SiteWriter::lock(dir, watch.clone())?;
    send(writer.site(), store, &WholeListing, options, &*watch)
}

/// Sends what is new in `dir`, a part of the site at `origin`, back to where that is.
///
/// # Errors
/// Those of [`run`]; the origin cannot be written.
pub fn return_to(dir: &Path, origin: &Arc<Origin>, options: Options, watch: Arc<dyn Watch>) -> Result<Uploaded, Error> {
    let store = origin.writable()?;
    let writer = SiteWriter::lock(dir, watch.clone())?.over(Some(origin.clone()));
    send(writer.site(), store, &**origin, options, &*watch)
}

/// As [`run`], for a site that is locked already, and with what is known of the other place.
///
/// # Errors
/// Those of [`run`].
pub fn send(
    site: &Site,
    store: &Store,
    survey: &dyn Survey,
    options: Options,
    watch: &dyn Watch,
) -> Result<Uploaded, Error> {
    let _lock = store.lock()?;
    let trust = Trust::read(site)?;
    let mut local = site.listing()?;
    survey.narrow(site, &trust, &mut local)?;
    let mut remote = survey.listing(store, &local)?;
    remote.retain(|name, _| FileKind::of(name).is_some());
    let (ours, theirs) = (plan::newest_root(&local), plan::newest_root(&remote));
    if theirs > ours {
        let location = store.location().to_owned();
        return Err(UploadError::OldRoots { location, local: ours, remote: theirs }.into());
    }
    let heads = site.channels()?.iter().map(|c| heads::local(site, &trust, c)).collect::<Result<Vec<_>, _>>()?;
    let sender = Sender { site, trust: &trust, store, watch, connections: options.connections };
    let waiting = heads.iter().map(|head| sender.look(head)).collect::<Result<Vec<_>, _>>()?;
    let moving: Vec<&SignedHead> = heads.iter().zip(&waiting).filter(|(_, w)| w.writes).map(|(head, _)| head).collect();
    moving.iter().try_for_each(|head| heads::require_accepted(site, &trust, head))?;
    moving.iter().try_for_each(|head| sender.require_complete(head, &local, &remote, survey.is_whole()))?;
    let planned = plan(&local, &remote, &released(&moving), options.replace_unfinished)
        .map_err(|conflicts| UploadError::Conflicts { location: store.location().to_owned(), conflicts })?;
    for name in planned.unsigned.iter().filter(|name| name.ends_with("/manifest.csv")) {
        watch.notice("unsigned", name, "the release is not signed and is not sent");
    }
    sender.compare(&planned.compare)?;
    let mut uploaded =
        Uploaded { present_files: planned.present_files, present_bytes: planned.present_bytes, ..Uploaded::default() };
    let has_work = !planned.items.is_empty() || !moving.is_empty();
    let conditions = if has_work { sender.probe()? } else { Conditions::Kept };
    watch.step(Step::Upload, store.location(), planned.bytes());
    sender.immutable_files(&planned, &conditions)?;
    for (head, waiting) in heads.iter().zip(&waiting) {
        if waiting.writes {
            sender.head(head, waiting, &conditions)?;
        }
        let (channel, sequence) = (head.head.channel.clone(), head.head.sequence);
        uploaded.heads.push(HeadSent { channel, sequence, moved: waiting.writes });
    }
    uploaded.files = planned.items.len() as u64;
    uploaded.bytes = planned.bytes();
    uploaded.conditions = has_work.then_some(conditions);
    uploaded.requests = store.requests();
    Ok(uploaded)
}

/// Names of the releases that heads name.
fn released(heads: &[&SignedHead]) -> BTreeSet<String> {
    heads.iter().flat_map(|h| &h.head.releases).map(|row| layout::release(row.build, &row.platform)).collect()
}

/// Longest document whose bytes are compared without a digest of it at hand.
const COMPARE_BYTES_MAX: u64 = if ROOT_BYTES_MAX > (64 << 20) { ROOT_BYTES_MAX } else { 64 << 20 };
