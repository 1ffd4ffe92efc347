//! The first root of a site: which keys may do what.

use std::path::Path;
use std::sync::Arc;

use lamplighter_client::format::layout;
use lamplighter_client::format::root::{ChannelKey, Role as RootRole, Root};
use lamplighter_client::format::text::Time;

use crate::error::Error;
use crate::sign::{KeySources, Role, Signers, public_keys};
use crate::site::{Site, SiteError, SiteWriter, Trust};
use crate::watch::Watch;

/// Days a root is good for, unless said otherwise: five years.
pub const ROOT_EXPIRES_DAYS_DEFAULT: u64 = 1826;

/// What a first root is made from.
#[derive(Debug)]
pub struct Request<'a> {
    /// Where the site is to be.
    pub site: &'a Path,
    /// App id.
    pub app: &'a str,
    /// Where the keys come from.
    pub keys: &'a KeySources,
    /// Root keys that must sign the next root.
    pub root_threshold: u64,
    /// Days the root is good for.
    pub expires_days: u64,
    /// The time of the run.
    pub time: Time,
}

/// Makes a site: `root/1.root`, signed by all root keys at hand.
///
/// # Errors
/// There is a root already; a key is missing; the disk. Nothing is written but the whole root.
pub fn run(request: &Request<'_>, watch: Arc<dyn Watch>) -> Result<Root, Error> {
    if let Ok(site) = Site::open(request.site) {
        let app = Trust::read(&site).map_or_else(|_| "unknown".to_owned(), |trust| trust.root().app.clone());
        return Err(SiteError::Exists { dir: request.site.to_owned(), app }.into());
    }
    let signers = Signers::load(Role::Root, request.keys)?;
    let publics = |role| public_keys(role, request.keys);
    let any = |key| ChannelKey { key, channel: "*".to_owned() };
    let root = Root {
        app: request.app.to_owned(),
        version: 1,
        issued: request.time,
        expires: request.time.plus(days_in_seconds(request.expires_days)),
        root: RootRole { threshold: request.root_threshold, keys: signers.publics() },
        release: RootRole { threshold: 1, keys: publics(Role::Release)? },
        channel_threshold: 1,
        channel: publics(Role::Channel)?.into_iter().map(any).collect(),
    };
    let signers = signers.trusted_by(&root.root, 1)?;
    let name = layout::root(1);
    let document = signers.sign(root.to_body(), &name, request.time)?;
    // What was written is what readers make of it: two equal keys, for instance, are found here.
    Root::parse(&document.body).map_err(|e| SiteError::damaged(&name, e))?;
    SiteWriter::create(request.site, &document.to_bytes(), watch)?;
    Ok(root)
}

/// `days` in seconds, without overflow.
pub fn days_in_seconds(days: u64) -> i64 {
    i64::try_from(days).unwrap_or(i64::MAX).saturating_mul(86_400)
}
