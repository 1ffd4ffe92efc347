//! The first root of a site: which keys may do what.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lamplighter_client::format::layout;
use lamplighter_client::format::root::{ChannelKey, Role as RootRole, Root};
use lamplighter_client::format::signed::PublicKey;
use lamplighter_client::format::text::Time;

use crate::error::Error;
use crate::root::propose;
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
    /// Root keys that must sign a root.
    pub root_threshold: u64,
    /// Release keys that must sign a release.
    pub release_threshold: u64,
    /// Channel keys that must sign a head.
    pub channel_threshold: u64,
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
    require_none(request.site)?;
    let signers = Signers::load(Role::Root, request.keys)?;
    let root = first(request, signers.publics())?;
    let signers = signers.trusted_by(&root.root, 1)?;
    let document = signers.sign(root.to_body(), &layout::root(1), request.time)?;
    SiteWriter::create(request.site, &document.to_bytes(), watch)?;
    Ok(root)
}

/// Writes the first root to `file` unsigned, for root keys that are elsewhere ([`crate::root`]); its publication makes the
/// site. No secret key is looked at where there are public ones.
///
/// # Errors
/// There is a site already, or the file; a key is missing; the disk.
pub fn propose(request: &Request<'_>, file: PathBuf) -> Result<Root, Error> {
    require_none(request.site)?;
    let root = first(request, Vec::new())?;
    propose::write(&root, file)?;
    Ok(root)
}

fn require_none(site: &Path) -> Result<(), SiteError> {
    let Ok(site) = Site::open(site) else { return Ok(()) };
    let app = Trust::read(&site).map_or_else(|_| "unknown".to_owned(), |trust| trust.root().app.clone());
    Err(SiteError::Exists { dir: site.dir().to_owned(), app })
}

/// The first root, of the keys in the directory and the root keys in `held`.
fn first(request: &Request<'_>, held: Vec<PublicKey>) -> Result<Root, Error> {
    let publics = |role| public_keys(role, request.keys);
    let any = |key| ChannelKey { key, channel: "*".to_owned() };
    let mut root_keys = publics(Role::Root)?;
    for key in held {
        if !root_keys.iter().any(|k| k.as_bytes() == key.as_bytes()) {
            root_keys.push(key);
        }
    }
    let root = Root {
        app: request.app.to_owned(),
        version: 1,
        issued: request.time,
        expires: request.time.plus(days_in_seconds(request.expires_days)),
        root: RootRole { threshold: request.root_threshold, keys: root_keys },
        release: RootRole { threshold: request.release_threshold, keys: publics(Role::Release)? },
        channel_threshold: request.channel_threshold,
        channel: publics(Role::Channel)?.into_iter().map(any).collect(),
    };
    // What is written is what readers make of it: two equal keys, for instance, are found here.
    Ok(propose::checked(root)?)
}

/// `days` in seconds, without overflow.
pub fn days_in_seconds(days: u64) -> i64 {
    i64::try_from(days).unwrap_or(i64::MAX).saturating_mul(86_400)
}
