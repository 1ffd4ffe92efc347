//! What was proved, kept beside the site for its report: which ways led where they should.
//!
//! `.publisher/proofs.csv` of the site, for nobody but the publisher: `platform,build,BLAKE3 of the manifest,base builds`,
//! the bases with spaces between. It is believed only for a release with that manifest; what is malformed is left out. A site
//! that was fetched from elsewhere has none, and then nothing is known, not that nothing was proved.

use lamplighter_client::format::digest::Blake3;
use lamplighter_client::format::release::Release;
use lamplighter_client::format::text::{number, push_record, records};

use crate::site::write::WORK_DIR;
use crate::site::{Site, SiteError, SiteWriter};

const NAME: &str = "proofs.csv";
const BYTES_MAX: u64 = 16 << 20;

/// A release all of whose ways were tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proved {
    /// Platform token.
    pub platform: String,
    /// Build.
    pub build: u64,
    /// Its manifest.
    pub manifest: Blake3,
    /// Builds from which the update was tried, beside the fresh install.
    pub bases: Vec<u64>,
}

impl Proved {
    /// All ways to `release`, from `bases`.
    pub fn new(release: &Release, bases: Vec<u64>) -> Self {
        let (platform, build) = (release.platform.clone(), release.build);
        Self { platform, build, manifest: release.manifest.blake3, bases }
    }

    fn is_of(&self, release: &Release) -> bool {
        let own = (self.platform.as_str(), self.build, self.manifest);
        own == (release.platform.as_str(), release.build, release.manifest.blake3)
    }
}

/// What is kept beside a site.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proofs(Vec<Proved>);

impl Proofs {
    /// Reads them; none where they cannot be read.
    pub fn read(site: &Site) -> Self {
        let bytes = site.read(&format!("{WORK_DIR}/{NAME}"), BYTES_MAX).ok().flatten().unwrap_or_default();
        Self(records(&bytes).unwrap_or_default().iter().filter_map(|cells| parse(cells)).collect())
    }

    /// The bases from which the update to `release` was tried, where it was.
    pub fn of(&self, release: &Release) -> Option<&[u64]> {
        self.0.iter().rfind(|proved| proved.is_of(release)).map(|proved| proved.bases.as_slice())
    }

    /// Keeps `proved`, in place of what was known of the same builds.
    ///
    /// # Errors
    /// The disk.
    pub fn keep(writer: &SiteWriter, proved: Vec<Proved>) -> Result<(), SiteError> {
        let Self(mut all) = Self::read(writer.site());
        all.retain(|old| !proved.iter().any(|new| (new.build, &new.platform) == (old.build, &old.platform)));
        all.extend(proved);
        all.sort_by(|a, b| (a.build, &a.platform).cmp(&(b.build, &b.platform)));
        let mut text = String::new();
        for Proved { platform, build, manifest, bases } in &all {
            let bases: Vec<String> = bases.iter().map(u64::to_string).collect();
            push_record(
                &mut text,
                [platform, &build.to_string(), &manifest.to_string(), &bases.join(" ")].map(|c| &**c),
            );
        }
        writer.note(NAME, text.as_bytes())
    }
}

fn parse(cells: &[String]) -> Option<Proved> {
    let [platform, build, manifest, bases] = cells else { return None };
    let bases = bases.split_ascii_whitespace().map(number).collect::<Option<_>>()?;
    Some(Proved { platform: platform.clone(), build: number(build)?, manifest: manifest.parse().ok()?, bases })
}
