//! Releases that are in the site already: bases of packs, and what objects are shared with.

use lamplighter_client::format::layout;
use lamplighter_client::format::manifest::Manifest;
use lamplighter_client::format::objects::ObjectsIndex;
use lamplighter_client::trust::VerifiedRelease;

use super::Job;
use crate::bases;
use crate::objects::Prior;
use crate::proof::Known;
use crate::site::documents::{manifest, named};
use crate::site::{Site, SiteError, Trust};

/// Newest releases of other platforms that objects may be shared with.
const OTHER_PLATFORMS_MAX: usize = 3;

/// A release with what its two large documents say.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub(crate) release: VerifiedRelease,
    pub(crate) manifest: Manifest,
    pub(crate) index: ObjectsIndex,
}

impl Loaded {
    pub(crate) fn known(&self) -> Known<'_> {
        (&self.release, &self.manifest)
    }

    pub(super) fn prior(&self) -> Prior<'_> {
        Prior { manifest: &self.manifest, index: &self.index }
    }

    /// Reads what `release` names.
    pub(crate) fn new(site: &Site, release: VerifiedRelease) -> Result<Self, SiteError> {
        let manifest = manifest(site, &release.release)?;
        let name = layout::objects(release.release.build, &release.release.platform);
        let bytes = named(site, &name, &release.release.objects)?;
        let index = ObjectsIndex::parse(&bytes, &manifest).map_err(|e| SiteError::damaged(&name, e))?;
        if let Some(origin) = site.origin() {
            origin.learn(&release.release, &index);
        }
        Ok(Self { release, manifest, index })
    }

    /// Reads the release of `build`, also one that replaced keys signed: it is what users have.
    pub(crate) fn read(site: &Site, trust: &Trust, build: u64, platform: &str) -> Result<Self, SiteError> {
        let name = layout::release(build, platform);
        let release =
            trust.past_release(site, build, platform)?.ok_or_else(|| SiteError::damaged(&name, "it is missing"))?;
        Self::new(site, release)
    }
}

/// What a new release of one platform stands on.
pub(super) struct Before {
    /// Where packs start, newest first.
    pub(super) bases: Vec<Loaded>,
    /// Others to share objects with.
    pub(super) others: Vec<Loaded>,
}

impl Job<'_> {
    /// Reads the old releases that matter for a new one of `platform`. One that cannot be used is left out with a notice: a
    /// damaged old release must not keep a new one from being published.
    pub(super) fn before(&self, platform: &str) -> Before {
        let (published, request) = (&self.authority.published, self.request);
        let own: Vec<u64> = published.iter().filter(|(_, p)| p == platform).map(|(build, _)| *build).collect();
        let offered = self.authority.offered(platform);
        let chosen = bases::choose(request.build, request.minimum_build, &own, &offered, request.bases);
        let newest = own.iter().rev().find(|build| **build < request.build && !chosen.contains(build));
        let share_own = newest.filter(|_| chosen.is_empty()).map(|build| (*build, platform.to_owned()));
        let mut share = Vec::from_iter(share_own);
        for (build, other) in published.iter().rev() {
            let known = share.iter().any(|(_, p)| p == other) || request.platforms.contains_key(other);
            if !known && *build < request.build && share.len() < OTHER_PLATFORMS_MAX {
                share.push((*build, other.clone()));
            }
        }
        let bases = chosen.iter().filter_map(|build| self.read(*build, platform)).collect();
        let others = share.iter().filter_map(|(build, platform)| self.read(*build, platform)).collect();
        Before { bases, others }
    }

    /// The release of `build`, or a notice.
    pub(super) fn read(&self, build: u64, platform: &str) -> Option<Loaded> {
        match Loaded::read(self.writer.site(), &self.authority.trust, build, platform) {
            Ok(loaded) => Some(loaded),
            Err(error) => {
                self.watch.notice("release-skipped", &layout::release(build, platform), &error.to_string());
                None
            }
        }
    }
}
