//! The target release's manifest: rebuilt from the base's and a pack, or fetched.

use super::from_pack::OpenPack;
use super::{Deploy, Order, Route};
use crate::error::Error;
use crate::format::digest::Blake3;
use crate::format::document::FileRef;
use crate::format::layout;
use crate::format::manifest::Manifest;
use crate::format::pack;
use crate::format::release::Release;
use crate::tree::Staging;

/// The target release, and the pack that leads to it.
pub(super) struct Target<'a> {
    pub(super) release: &'a Release,
    pub(super) manifest: Manifest,
    pub(super) manifest_bytes: Vec<u8>,
    pub(super) pack: Option<OpenPack>,
}

impl<'a> Target<'a> {
    /// Takes a pack that starts from `base` if the route allows it and there is one this client reads.
    ///
    /// A pack that cannot be fetched, read or does not give the signed manifest is left aside, with a notice: objects
    /// lead to the same tree.
    pub(super) fn open(deploy: &Deploy<'_>, order: &Order<'a>, staging: &Staging) -> Result<Self, Error> {
        let Order { base, route, .. } = *order;
        let release = &order.release.release;
        if let Some(bytes) = order.manifest.filter(|bytes| FileRef::of(bytes) == release.manifest) {
            let manifest = parse_manifest(&layout::manifest(release.build, &release.platform), bytes)?;
            return Ok(Self { release, manifest, manifest_bytes: bytes.to_vec(), pack: None });
        }
        if let Some(base) = base.filter(|b| b.manifest_blake3 == release.manifest.blake3) {
            let manifest = base.manifest.clone();
            return Ok(Self { release, manifest_bytes: manifest.to_bytes(), manifest, pack: None });
        }
        let packs_up_to = |format_max| base.and_then(|b| release.pack_from(&b.manifest_blake3, format_max));
        let row = packs_up_to(pack::FORMAT);
        if let (None, Some(later)) = (row, packs_up_to(u64::MAX)) {
            let text = format!("its format is {}, and this client reads up to {}", later.format, pack::FORMAT);
            deploy.notice("pack_too_new", &layout::pack(&later.header.blake3), &text);
        }
        if let (Some(base), Some(row), true) = (base, row, matches!(route, Route::Cheapest | Route::PackOnly)) {
            match OpenPack::open(deploy, row, base, release, staging) {
                Ok((pack, manifest_bytes)) => {
                    let manifest = pack.rebuilt.manifest.clone();
                    return Ok(Self { release, manifest, manifest_bytes, pack: Some(pack) });
                }
                Err(error) if route == Route::PackOnly || !error.leaves_other_ways() => return Err(error),
                Err(error) => deploy.notice("pack_unusable", &layout::pack(&row.header.blake3), &error.to_string()),
            }
        } else if route == Route::PackOnly {
            return Err(Error::NoPack { build: release.build });
        }
        let name = layout::manifest(release.build, &release.platform);
        let (manifest, manifest_bytes) = fetch_manifest(deploy, &name, &release.manifest)?;
        Ok(Self { release, manifest, manifest_bytes, pack: None })
    }
}

/// Fetches and parses a manifest named by a signed document.
pub(super) fn fetch_manifest(deploy: &Deploy<'_>, name: &str, file: &FileRef) -> Result<(Manifest, Vec<u8>), Error> {
    let bytes = deploy.downloader.exact(name, file.length, &file.blake3)?;
    let manifest = parse_manifest(name, &bytes)?;
    Ok((manifest, bytes))
}

/// Parses the bytes of a manifest whose digest has been checked.
pub(super) fn parse_manifest(name: &str, bytes: &[u8]) -> Result<Manifest, Error> {
    Manifest::parse(bytes).map_err(|source| Error::Manifest { name: name.to_owned(), source })
}

/// The manifest's bytes if they are what the signed release names.
pub(super) fn checked_bytes(manifest: &Manifest, file: &FileRef) -> Option<Vec<u8>> {
    let bytes = manifest.to_bytes();
    (bytes.len() as u64 == file.length && Blake3::of(&bytes) == file.blake3).then_some(bytes)
}
