//! Moves a channel to a build that is in the site already.

use std::sync::Arc;

use lamplighter_client::format::layout;
use lamplighter_client::format::objects::ObjectsIndex;
use lamplighter_client::trust::VerifiedRelease;
use rayon::prelude::*;

use crate::channel::{Access, Opened};
use crate::error::Error;
use crate::head::Moved;
use crate::head::edits::Shares;
use crate::site::documents::{manifest, named};
use crate::site::{Site, SiteError, Trust};
use crate::watch::Watch;

/// What is to be promoted.
#[derive(Debug)]
pub struct Request<'a> {
    /// The channel to move, and who asks.
    pub access: Access<'a>,
    /// The channel.
    pub channel: &'a str,
    /// The build to offer.
    pub build: u64,
    /// Platforms to move; all that have the build where empty.
    pub platforms: &'a [String],
    /// How it reaches its users.
    pub shares: Shares<'a>,
}

/// Moves the head of the channel to the releases of the build; rows of other platforms stay.
///
/// Every file the releases name must be there with its length; `publisher verify` reads them too.
///
/// # Errors
/// No release of that build; one with missing files; a build below what the channel offers; keys clients do not trust.
pub fn run(request: &Request<'_>, watch: Arc<dyn Watch>) -> Result<Moved, Error> {
    let opened = request.access.open(watch)?;
    move_channel(&opened, request)
}

/// As [`run`], on a site that is open.
pub(crate) fn move_channel(opened: &Opened<'_>, request: &Request<'_>) -> Result<Moved, Error> {
    let signers = opened.signers(request.channel)?;
    let releases = releases(opened.writer.site(), &opened.trust, request)?;
    let terms = request.access.terms(request.channel);
    Ok(opened.mover(&signers).move_to(&terms, &releases, request.shares)?)
}

fn releases(site: &Site, trust: &Trust, request: &Request<'_>) -> Result<Vec<VerifiedRelease>, SiteError> {
    let published = published(site, request.build)?;
    let wanted = if request.platforms.is_empty() { &published } else { request.platforms };
    let missing: Vec<String> = wanted.iter().filter(|p| !published.contains(p)).cloned().collect();
    if wanted.is_empty() || !missing.is_empty() {
        return Err(SiteError::NoSuchBuild { build: request.build, platforms: missing });
    }
    let mut releases = Vec::new();
    for platform in wanted {
        let none = || SiteError::NoSuchBuild { build: request.build, platforms: vec![platform.clone()] };
        let release = trust.release(site, request.build, platform)?.ok_or_else(none)?;
        require_complete(site, &release)?;
        releases.push(release);
    }
    Ok(releases)
}

/// Platforms that have a signed release of `build`, in order.
pub(crate) fn published(site: &Site, build: u64) -> Result<Vec<String>, SiteError> {
    let releases = site.releases()?.into_iter();
    Ok(releases.filter(|(found, _)| *found == build).map(|(_, platform)| platform).collect())
}

/// Checks that every file `release` names is there: small ones by their digest, large ones by their length.
///
/// # Errors
/// The first that is not.
pub fn require_complete(site: &Site, release: &VerifiedRelease) -> Result<(), SiteError> {
    let release = &release.release;
    let manifest = manifest(site, release)?;
    let name = layout::objects(release.build, &release.platform);
    let index = ObjectsIndex::parse(&named(site, &name, &release.objects)?, &manifest)
        .map_err(|e| SiteError::damaged(&name, e))?;
    for notes in &release.notes {
        named(site, &layout::notes(release.build, &release.platform, &notes.language), &notes.file)?;
    }
    let objects = index.objects().iter().map(|o| (layout::object(&o.blake3), o.length));
    let packs = release.packs.iter().map(|p| (layout::pack(&p.header.blake3), p.length));
    let content: Vec<(String, u64)> = objects.chain(packs).collect();
    // Where the site is elsewhere, each is a request.
    content.par_iter().try_for_each(|(name, length)| {
        let found = site.length(name);
        if found == Some(*length) {
            return Ok(());
        }
        let found = found.map_or("no such file".to_owned(), |l| format!("{l} bytes"));
        Err(SiteError::damaged(name, format!("expected {length} bytes, found {found}")))
    })
}
