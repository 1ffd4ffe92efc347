//! What the page tells, read from the site.
//!
//! The work is bounded, however large the site: of each platform the newest releases, of these the sizes that are known or
//! whose documents are within a budget, and one explanation. What cannot be read is told, and keeps nothing else from the page.

use std::collections::BTreeMap;

use lamplighter_client::format::head::Rollout;
use lamplighter_client::format::layout;
use lamplighter_client::format::text::Time;
use lamplighter_client::trust::VerifiedRelease;

use crate::build_release::prior::Loaded;
use crate::explain::{self, Explanation};
use crate::page::sizes::{Pair, Sizes};
use crate::proof::record::Proofs;
use crate::site::{Site, SiteError, Trust};

/// Newest releases of a platform that are told of.
pub const RELEASES_MAX: usize = 40;
/// Bytes of manifests and indexes that are read for sizes not known yet.
const DOCUMENT_BYTES_MAX: u64 = 64 << 20;
/// Platforms that are told of.
const PLATFORMS_MAX: usize = 24;

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// App id.
    pub app: String,
    /// Version of the newest root, and when it ends.
    pub root: (u64, Time),
    /// Channels with a head, in order.
    pub channels: Vec<Channel>,
    /// Platforms with a release, in order.
    pub platforms: Vec<Platform>,
    /// What could not be read, each with why.
    pub troubles: Vec<String>,
}

/// A channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Its name.
    pub name: String,
    /// Sequence of its head.
    pub sequence: u64,
    /// When that was signed, and when it is stale.
    pub dates: (Time, Time),
    /// What it offers, in the order of the head.
    pub offers: Vec<Offer>,
}

/// What a channel offers to a platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Platform token.
    pub platform: String,
    /// Build and version.
    pub build: u64,
    /// Version.
    pub version: String,
    /// Nothing is offered until it is resumed.
    pub is_halted: bool,
    /// The build is marked as bad.
    pub is_bad: bool,
    /// How it reaches its users; none where all have it at once.
    pub rollout: Option<Rollout>,
}

/// The releases of a platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// Platform token.
    pub name: String,
    /// How many there are.
    pub count: usize,
    /// The newest of them, oldest first.
    pub releases: Vec<Told>,
    /// The update to the newest from the nearest base with a pack.
    pub latest: Option<Explanation>,
}

/// One release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Build.
    pub build: u64,
    /// Version.
    pub version: String,
    /// When it was made.
    pub issued: Time,
    /// Bytes of its tree, and of a full download, where they were read.
    pub sizes: Option<(u64, u64)>,
    /// Base build and bytes of each pack.
    pub packs: Vec<(u64, u64)>,
    /// Base builds from which updates were tried, beside the fresh install; none where nothing is known of it.
    pub proved: Option<Vec<u64>>,
}

impl Page {
    /// Reads it, with the sizes that are known; takes what it finds into them.
    ///
    /// # Errors
    /// The roots are broken, or the site's directories cannot be listed.
    pub fn read(site: &Site, sizes: &mut Sizes) -> Result<Self, SiteError> {
        let trust = Trust::read(site)?;
        let mut troubles = Vec::new();
        let channels = channels(site, &trust, &mut troubles)?;
        let mut builds: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for (build, platform) in site.releases()? {
            builds.entry(platform).or_default().push(build);
        }
        if builds.len() > PLATFORMS_MAX {
            troubles.push(format!("{} platforms, of which {PLATFORMS_MAX} are told of here", builds.len()));
        }
        let proofs = Proofs::read(site);
        let mut reader = Reader { site, trust: &trust, proofs, sizes, left_bytes: DOCUMENT_BYTES_MAX };
        let platforms = builds
            .into_iter()
            .take(PLATFORMS_MAX)
            .map(|(name, builds)| reader.platform(name, &builds, &mut troubles))
            .collect();
        let root = trust.root();
        Ok(Self { app: root.app.clone(), root: (root.version, root.expires), channels, platforms, troubles })
    }
}

fn channels(site: &Site, trust: &Trust, troubles: &mut Vec<String>) -> Result<Vec<Channel>, SiteError> {
    let mut channels = Vec::new();
    for name in site.channels()? {
        let head = match trust.head(site, &name) {
            Ok(Some(signed)) => signed.head,
            Ok(None) => continue,
            Err(error) => {
                troubles.push(error.to_string());
                continue;
            }
        };
        let offer = |row: &lamplighter_client::format::head::HeadRelease| Offer {
            platform: row.platform.clone(),
            build: row.build,
            version: row.version.clone(),
            is_halted: head.is_halted(&row.platform),
            is_bad: head.is_bad(&row.platform, row.build),
            rollout: head.rollout_for(&row.platform).cloned(),
        };
        let offers = head.releases.iter().map(offer).collect();
        channels.push(Channel { name, sequence: head.sequence, dates: (head.issued, head.expires), offers });
    }
    Ok(channels)
}

struct Reader<'a> {
    site: &'a Site,
    trust: &'a Trust,
    proofs: Proofs,
    sizes: &'a mut Sizes,
    left_bytes: u64,
}

impl Reader<'_> {
    /// `builds` are in order.
    fn platform(&mut self, name: String, builds: &[u64], troubles: &mut Vec<String>) -> Platform {
        let mut releases = Vec::new();
        for build in builds.iter().rev().take(RELEASES_MAX) {
            match self.trust.past_release(self.site, *build, &name) {
                Ok(Some(release)) => releases.push(self.told(release, troubles)),
                Ok(None) => {}
                Err(error) => troubles.push(error.to_string()),
            }
        }
        let latest = releases.first().and_then(|newest: &Told| self.latest(&name, newest, troubles));
        releases.reverse();
        Platform { name, count: builds.len(), releases, latest }
    }

    fn told(&mut self, verified: VerifiedRelease, troubles: &mut Vec<String>) -> Told {
        let release = &verified.release;
        let proved = self.proofs.of(release).map(<[u64]>::to_vec);
        let packs = release.packs.iter().map(|row| (row.base_build, row.length)).collect();
        let (build, version, issued) = (release.build, release.version.clone(), release.issued);
        let sizes = self.sizes.of(release).or_else(|| self.measured(verified, troubles));
        Told { build, version, issued, sizes, packs, proved }
    }

    /// Sizes as the documents of `verified` have them, if these are within what is left of the budget.
    fn measured(&mut self, verified: VerifiedRelease, troubles: &mut Vec<String>) -> Option<Pair> {
        let release = &verified.release;
        let names =
            [layout::manifest(release.build, &release.platform), layout::objects(release.build, &release.platform)];
        // Of a copy that a web server lists nothing of, not all is there.
        names.iter().all(|name| self.site.length(name).is_some()).then_some(())?;
        self.left_bytes =
            self.left_bytes.checked_sub(release.manifest.length.saturating_add(release.objects.length))?;
        let loaded = Loaded::new(self.site, verified).inspect_err(|error| troubles.push(error.to_string())).ok()?;
        let sizes = (loaded.manifest.content_bytes(), loaded.index.stored_bytes());
        self.sizes.learn(&loaded.release.release, sizes);
        Some(sizes)
    }

    fn latest(&self, platform: &str, newest: &Told, troubles: &mut Vec<String>) -> Option<Explanation> {
        let (base, pack_bytes) = newest.packs.iter().max_by_key(|pack| pack.0).copied()?;
        newest.sizes?;
        // A pack that lies elsewhere has to be fetched.
        let is_near = self.site.origin().is_none() || pack_bytes <= self.left_bytes;
        is_near.then_some(())?;
        let explained = explain::explain(self.site, self.trust, platform, base, newest.build);
        explained.inspect_err(|error| troubles.push(error.to_string())).ok()
    }
}
