//! Steering a channel with the channel key alone: halting, resuming, and marking builds bad.

use std::path::Path;
use std::sync::Arc;

use lamplighter_client::format::head::Head;
use lamplighter_client::format::text::Time;

use crate::error::Error;
use crate::head::edits::{self, EVERY_PLATFORM};
use crate::head::{Mover, Published, Terms};
use crate::origin::Origin;
use crate::sign::{KeySources, Role, Signers};
use crate::site::{SiteError, SiteWriter, Trust};
use crate::watch::Watch;

/// How the heads of a site are reached, and what new ones are given.
#[derive(Debug, Clone, Copy)]
pub struct Access<'a> {
    /// The site.
    pub site: &'a Path,
    /// Where the rest of the site is, if its directory is only a part.
    pub origin: Option<&'a Arc<Origin>>,
    /// The app the site must belong to, if the caller knows it.
    pub app: Option<&'a str>,
    /// Where the keys come from.
    pub keys: &'a KeySources,
    /// Days until a new head is stale.
    pub expires_days: u64,
    /// Mirrors a new head is to name; those it names where this is none.
    pub mirrors: Option<&'a [String]>,
    /// The time of the run.
    pub time: Time,
}

impl<'a> Access<'a> {
    /// Locks the site and verifies its roots.
    ///
    /// # Errors
    /// Not a site, or another app's; a root no client believes any more; another publisher at work.
    pub fn open(&self, watch: Arc<dyn Watch>) -> Result<Opened<'a>, Error> {
        let writer = SiteWriter::lock(self.site, watch.clone())?.over(self.origin.cloned());
        let trust = Trust::read(writer.site())?;
        if let Some(app) = self.app {
            trust.require_app(writer.site(), app)?;
        }
        trust.require_fresh(self.time)?;
        Ok(Opened { access: *self, writer, trust, watch })
    }

    /// What a new head of `channel` is given.
    pub fn terms<'c>(&self, channel: &'c str) -> Terms<'c>
    where
        'a: 'c,
    {
        Terms { channel, time: self.time, expires_days: self.expires_days, mirrors: self.mirrors }
    }
}

/// A site whose heads may be changed.
pub struct Opened<'a> {
    access: Access<'a>,
    /// The site, locked.
    pub writer: SiteWriter,
    /// Its roots.
    pub trust: Trust,
    watch: Arc<dyn Watch>,
}

impl Opened<'_> {
    /// The channel keys at hand that clients accept for `channel`.
    ///
    /// # Errors
    /// They are too few.
    pub fn signers(&self, channel: &str) -> Result<Signers, Error> {
        Ok(Signers::load(Role::Channel, self.access.keys)?.authorised(self.trust.roots(), channel)?)
    }

    /// What changes heads with these keys.
    pub fn mover<'m>(&'m self, signers: &'m Signers) -> Mover<'m> {
        Mover { writer: &self.writer, trust: &self.trust, signers, watch: &*self.watch }
    }
}

/// What a channel is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Offer nothing until it is resumed.
    Halt,
    /// Offer again what it names.
    Resume,
    /// Never offer this build again.
    MarkBad(u64),
    /// Take that back.
    ClearBad(u64),
}

/// Does `action` for `scope`, a platform the channel names or `*` for all. Nothing is written where it is so already.
///
/// # Errors
/// The channel has no head, or names no such platform; keys clients do not trust; the disk.
pub fn run(
    access: &Access<'_>,
    channel: &str,
    scope: &str,
    action: Action,
    watch: Arc<dyn Watch>,
) -> Result<Published, Error> {
    let opened = access.open(watch)?;
    let signers = opened.signers(channel)?;
    let signed = opened.trust.last_head(opened.writer.site(), channel)?;
    let head = signed.ok_or_else(|| SiteError::NoHead { channel: channel.to_owned() })?.head;
    require_platform(&head, scope)?;
    let edit = |head: &mut Head| match action {
        Action::Halt => edits::halt(head, scope),
        Action::Resume => edits::resume(head, scope),
        Action::MarkBad(build) => edits::mark_bad(head, scope, build),
        Action::ClearBad(build) => edits::clear_bad(head, scope, build),
    };
    Ok(opened.mover(&signers).change(&access.terms(channel), edit)?)
}

/// Checks that `head` says something of `scope`: a name that is mistyped would halt nothing.
fn require_platform(head: &Head, scope: &str) -> Result<(), SiteError> {
    let named = head.release_for(scope).is_some() || head.halts.iter().any(|h| h == scope);
    if scope == EVERY_PLATFORM || named {
        return Ok(());
    }
    let known: Vec<&str> = head.releases.iter().map(|r| r.platform.as_str()).collect();
    let (channel, platform) = (head.channel.clone(), scope.to_owned());
    Err(SiteError::NoSuchPlatform { channel, platform, known: known.join(", ") })
}
