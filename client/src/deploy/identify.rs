//! Which release a tree holds, told from its files alone.

use std::collections::HashMap;

use super::target::fetch_manifest;
use super::{BaseRelease, Deploy};
use crate::error::Error;
use crate::format::document::FileRef;
use crate::format::layout;
use crate::format::manifest::{Kind, Manifest, Row};
use crate::format::path::RelPath;
use crate::format::release::Release;
use crate::progress::{Event, Phase};
use crate::tree::scan::{self, Found};

/// A release whose files were found in a tree.
#[derive(Debug, Clone)]
pub struct Recognised {
    /// The release as a base.
    pub base: BaseRelease,
    /// Its build.
    pub build: u64,
    /// Its manifest, as signed documents name it.
    pub manifest: FileRef,
    /// Its rows that are on disk as released.
    pub rows_intact: usize,
}

impl Deploy<'_> {
    /// Finds the release the tree holds: among `offered` and the base releases of its packs, newest first, the one with
    /// most content in place. Every listed file is read once.
    ///
    /// None if nothing of any of them is there.
    ///
    /// # Errors
    /// The site or the tree cannot be read.
    pub fn recognise(&self, offered: &Release) -> Result<Option<Recognised>, Error> {
        self.progress.event(Event::Started { phase: Phase::Verify, total_bytes: 0 });
        let mut seen: HashMap<RelPath, Option<Found>> = HashMap::new();
        let mut best: Option<(u64, Recognised)> = None;
        for (build, file) in candidates(offered) {
            self.stop_if_asked()?;
            let (manifest, _) = fetch_manifest(self, &layout::manifest(build, &offered.platform), &file)?;
            self.look_at_new(&manifest, &mut seen)?;
            let matching = manifest.rows().iter().filter(|row| matches(row, seen.get(&row.path)));
            let (rows_intact, bytes) = matching.fold((0, 0), |(n, bytes), row| (n + 1, bytes + 1 + row.digest.size));
            let complete = rows_intact == manifest.rows().len();
            if bytes > best.as_ref().map_or(0, |(bytes, _)| *bytes) {
                let base = BaseRelease { manifest, manifest_blake3: file.blake3, objects: None, unproven: true };
                best = Some((bytes, Recognised { base, build, manifest: file, rows_intact }));
            }
            if complete {
                break;
            }
        }
        Ok(best.map(|(_, recognised)| recognised))
    }

    fn look_at_new(&self, manifest: &Manifest, seen: &mut HashMap<RelPath, Option<Found>>) -> Result<(), Error> {
        let unseen = manifest.rows().iter().map(|row| &row.path).filter(|path| !seen.contains_key(*path));
        let paths: Vec<&RelPath> = unseen.collect();
        let found = scan::identify(self.lock, &paths, self.progress, self.cancel);
        self.stop_if_asked()?;
        seen.extend(paths.into_iter().cloned().zip(found));
        Ok(())
    }
}

/// Builds and manifests to try, newest first.
fn candidates(offered: &Release) -> Vec<(u64, FileRef)> {
    let mut all = vec![(offered.build, offered.manifest)];
    for pack in &offered.packs {
        if all.iter().all(|(_, file)| *file != pack.base_manifest) {
            all.push((pack.base_build, pack.base_manifest));
        }
    }
    all.sort_by_key(|(build, _)| std::cmp::Reverse(*build));
    all
}

fn matches(row: &Row, found: Option<&Option<Found>>) -> bool {
    match (&row.kind, found.and_then(Option::as_ref)) {
        (Kind::File { .. }, Some(Found::File { size, blake3 })) => {
            *size == row.digest.size && *blake3 == Some(row.digest.blake3)
        }
        (Kind::Link(destination), Some(Found::Link(found))) => found == destination.as_str(),
        (Kind::Directory, Some(Found::Directory)) => true,
        _ => false,
    }
}
