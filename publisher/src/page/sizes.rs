//! Sizes of releases the page has told of before, kept beside the site: reading them again takes two long documents each.
//!
//! `.publisher/sizes.csv` of the site, for nobody but the publisher: `platform,build,BLAKE3 of the manifest,BLAKE3 of the
//! objects index,bytes of the tree,bytes of a full download`. A line is believed only for a release that names these two
//! documents, neither of which is read then: `publisher verify` finds what became of them, the page does not. What is malformed
//! is left out, and read again.

use std::collections::BTreeMap;

use lamplighter_client::format::digest::Blake3;
use lamplighter_client::format::release::Release;
use lamplighter_client::format::text::{number, push_record, records};

use crate::site::write::WORK_DIR;
use crate::site::{Site, SiteError, SiteWriter};

const NAME: &str = "sizes.csv";
const BYTES_MAX: u64 = 1 << 20;

/// Bytes of a release's tree, and of a full download.
pub type Pair = (u64, u64);

/// Platform, build, and the two documents that say how large a release is.
type Key = (String, u64, Blake3, Blake3);

fn key(release: &Release) -> Key {
    (release.platform.clone(), release.build, release.manifest.blake3, release.objects.blake3)
}

/// What was known before, and what of it, with what is new, the page tells now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sizes {
    known: BTreeMap<Key, Pair>,
    told: BTreeMap<Key, Pair>,
}

impl Sizes {
    /// Reads what is kept; nothing where it cannot be read.
    pub fn read(site: &Site) -> Self {
        let bytes = site.read(&format!("{WORK_DIR}/{NAME}"), BYTES_MAX).ok().flatten().unwrap_or_default();
        let known = records(&bytes).unwrap_or_default().iter().filter_map(|cells| parse(cells)).collect();
        Self { known, told: BTreeMap::new() }
    }

    /// Sizes of `release`, if they are known.
    pub fn of(&mut self, release: &Release) -> Option<Pair> {
        let key = key(release);
        let sizes = *self.known.get(&key)?;
        self.told.insert(key, sizes);
        Some(sizes)
    }

    /// Takes the sizes of `release`.
    pub fn learn(&mut self, release: &Release, sizes: Pair) {
        self.told.insert(key(release), sizes);
    }

    /// Keeps what was asked for or learned, and nothing else, so that it does not grow with the site.
    ///
    /// # Errors
    /// The disk; what was kept is untouched then.
    pub fn keep(&self, writer: &SiteWriter) -> Result<(), SiteError> {
        if self.told == self.known {
            return Ok(());
        }
        let mut text = String::new();
        for ((platform, build, manifest, objects), (tree_bytes, full_bytes)) in &self.told {
            let numbers = [build, tree_bytes, full_bytes].map(u64::to_string);
            let digests = [manifest, objects].map(Blake3::to_string);
            push_record(
                &mut text,
                [platform, &numbers[0], &digests[0], &digests[1], &numbers[1], &numbers[2]].map(|c| &**c),
            );
        }
        writer.note(NAME, text.as_bytes())
    }
}

fn parse(cells: &[String]) -> Option<(Key, Pair)> {
    let [platform, build, manifest, objects, tree_bytes, full_bytes] = cells else { return None };
    let key = (platform.clone(), number(build)?, manifest.parse().ok()?, objects.parse().ok()?);
    Some((key, (number(tree_bytes)?, number(full_bytes)?)))
}
