//! Reads a whole site as distrustfully as a client, and more: everything in it, and every way through it.
//!
//! What is wrong is collected and reported together; one fault never hides another, but for a broken root chain, without
//! which nothing can be judged. The order is that of trust: roots, heads, releases, what these name, and at last the proof
//! of every way a release offers.

pub(crate) mod content;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use lamplighter_client::format::layout;
use lamplighter_client::format::notes;
use lamplighter_client::format::objects::StoredObject;
use lamplighter_client::format::release::{PackRow, Release};
use lamplighter_client::format::text::Time;
use lamplighter_client::trust::VerifiedRelease;
use rayon::prelude::*;

use crate::build_release::prior::Loaded;
use crate::error::Error;
use crate::head::accepted;
use crate::proof::{self, Base};
use crate::scratch::Scratch;
use crate::site::documents::{manifest, named};
use crate::site::{Site, SiteError, Trust};
use crate::watch::{Step, Watch};

/// What is to be verified, and how.
#[derive(Debug)]
pub struct Request<'a> {
    /// The site.
    pub site: &'a Path,
    /// Threads.
    pub jobs: usize,
    /// Whether every way is tried in scratch trees.
    pub prove: bool,
    /// Where scratch trees lie.
    pub scratch: &'a Path,
    /// The time of the run.
    pub time: Time,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Stable name of what it is about: `root`, `head`, `release`, `manifest`, `objects`, `notes`, `object`, `pack`, `proof`.
    pub code: &'static str,
    /// The file or the way.
    pub name: String,
    /// What was expected and what was found.
    pub text: String,
}

/// What a site holds, and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// All that is wrong, in the order of trust.
    pub findings: Vec<Finding>,
    /// Roots.
    pub roots: u64,
    /// Heads.
    pub heads: usize,
    /// Releases.
    pub releases: usize,
    /// Objects that releases name.
    pub objects: usize,
    /// Packs that releases name.
    pub packs: usize,
    /// Ways that were tried.
    pub ways: usize,
    /// Bytes of objects and packs read.
    pub read_bytes: u64,
    /// Objects and packs that no release names: left by runs that died, or by releases that were taken away.
    pub unnamed: usize,
}

/// Verifies the site.
///
/// # Errors
/// There is no site, or its directories cannot be listed. All else is a finding.
pub fn run(request: &Request<'_>, watch: Arc<dyn Watch>) -> Result<Verified, Error> {
    let site = Site::open(request.site)?;
    let threads = rayon::ThreadPoolBuilder::new().num_threads(request.jobs).build();
    threads.map_err(|e| Error::Threads(e.to_string()))?.install(|| verify(&site, request, watch))
}

fn verify(site: &Site, request: &Request<'_>, watch: Arc<dyn Watch>) -> Result<Verified, Error> {
    let mut verified = Verified::default();
    let trust = match Trust::read(site) {
        Ok(trust) => trust,
        Err(error) => {
            verified.add_site("root", "root", error);
            return Ok(verified);
        }
    };
    verified.roots = trust.root().version;
    if let Err(error) = trust.require_fresh(request.time) {
        verified.add("root", &layout::root(trust.root().version), error);
    }
    let offered = verified.heads(site, &trust, request.time, &*watch)?;
    let releases = verified.releases(site, &trust)?;
    verified.content(site, &releases, &offered, &*watch)?;
    if request.prove {
        let scratch = Scratch::new(site, request.scratch, watch.clone())
            .map_err(|source| Error::Client { doing: "open the site", source: Box::new(source) })?;
        verified.ways(site, &releases, &scratch, &*watch);
    }
    Ok(verified)
}

/// A release whose documents are in order. Its manifest is read again where it is wanted: a site may hold many.
struct Sound {
    release: VerifiedRelease,
    full_bytes: u64,
    objects: Vec<StoredObject>,
}

impl Sound {
    fn read(site: &Site, trust: &Trust, build: u64, platform: &str) -> Result<Self, SiteError> {
        let loaded = Loaded::read(site, trust, build, platform)?;
        let (full_bytes, objects) = (loaded.index.stored_bytes(), loaded.index.objects().to_vec());
        Ok(Self { release: loaded.release, full_bytes, objects })
    }
}

/// What channels offer: builds and platforms.
type Offered = BTreeSet<(u64, String)>;

/// Sound releases by build and platform.
type Releases = BTreeMap<(u64, String), Sound>;

/// Whether the base release of a pack was taken away, and the pack with it, or all but it.
fn is_pruned(site: &Site, platform: &str, row: &PackRow) -> bool {
    let found = site.length(&layout::pack(&row.header.blake3));
    site.length(&layout::release(row.base_build, platform)).is_none() && found.is_none_or(|l| l == row.length)
}

impl Verified {
    fn add(&mut self, code: &'static str, name: &str, error: impl ToString) {
        self.findings.push(Finding { code, name: name.to_owned(), text: error.to_string() });
    }

    /// A finding about `name`, or rather the very file the error names.
    fn add_site(&mut self, code: &'static str, name: &str, error: SiteError) {
        match error {
            SiteError::Damaged { name, detail } => self.add(code, &name, detail),
            other => self.add(code, name, other),
        }
    }

    /// Judges every head, and gives what they offer.
    fn heads(&mut self, site: &Site, trust: &Trust, time: Time, watch: &dyn Watch) -> Result<Offered, SiteError> {
        let mut offered = Offered::new();
        for channel in site.channels()? {
            self.heads += 1;
            let name = layout::head(&channel);
            let signed = match trust.head(site, &channel) {
                Ok(Some(signed)) => signed,
                Ok(None) => continue,
                Err(error) => {
                    self.add_site("head", &name, error);
                    continue;
                }
            };
            if signed.head.expires <= time {
                watch.notice("stale-head", &name, &format!("it expired at {}", signed.head.expires));
            }
            for row in &signed.head.releases {
                offered.insert((row.build, row.platform.clone()));
                if let Err(error) = accepted(site, trust, &channel, &signed.bytes, row, signed.head.issued) {
                    self.add_site("head", &name, error);
                }
            }
        }
        Ok(offered)
    }

    fn releases(&mut self, site: &Site, trust: &Trust) -> Result<Releases, SiteError> {
        let listed = site.releases()?;
        self.releases = listed.len();
        let read: Vec<_> =
            listed.par_iter().map(|(build, platform)| Sound::read(site, trust, *build, platform)).collect();
        let mut releases = Releases::new();
        for ((build, platform), result) in listed.into_iter().zip(read) {
            match result {
                Ok(sound) => {
                    self.notes(site, &sound.release.release);
                    releases.insert((build, platform), sound);
                }
                Err(error) => self.add_site("release", &layout::release(build, &platform), error),
            }
        }
        Ok(releases)
    }

    fn notes(&mut self, site: &Site, release: &Release) {
        for known in &release.notes {
            let name = layout::notes(release.build, &release.platform, &known.language);
            let read = named(site, &name, &known.file)
                .and_then(|bytes| notes::parse(&bytes).map_err(|e| SiteError::damaged(&name, e)));
            if let Err(error) = read {
                self.add_site("notes", &name, error);
            }
        }
    }

    fn content(
        &mut self,
        site: &Site,
        releases: &Releases,
        offered: &Offered,
        watch: &dyn Watch,
    ) -> Result<(), SiteError> {
        let objects: BTreeSet<_> = releases
            .values()
            .flat_map(|sound| &sound.objects)
            .map(|object| (object.blake3, object.length, object.raw_length))
            .collect();
        let packs = self.pack_rows(site, releases, offered);
        self.objects = objects.len();
        self.packs = packs.len();
        let pack_bytes: u64 = packs.iter().map(|p| p.row.length).sum();
        self.read_bytes = objects.iter().map(|(_, length, _)| length).sum::<u64>() + pack_bytes;
        watch.step(Step::Verify, &site.dir().display().to_string(), self.read_bytes);
        let objects: Vec<_> = objects.into_iter().collect();
        let wrong: Vec<Finding> =
            objects.par_iter().filter_map(|object| content::object(site, *object, watch).err()).collect();
        self.findings.extend(wrong);
        let wrong: Vec<Finding> = packs.par_iter().filter_map(|pack| content::pack(site, pack, watch).err()).collect();
        self.findings.extend(wrong);
        let names = objects.iter().map(|(blake3, ..)| layout::object(blake3));
        let named: BTreeSet<String> = names.chain(packs.iter().map(|p| layout::pack(&p.row.header.blake3))).collect();
        for kind in ["objects", "packs"] {
            for fan in site.names(kind)? {
                let dir = format!("{kind}/{fan}");
                self.unnamed += site.names(&dir)?.iter().filter(|n| !named.contains(&format!("{dir}/{n}"))).count();
            }
        }
        if self.unnamed > 0 {
            watch.notice(
                "unnamed",
                &site.dir().display().to_string(),
                &format!("{} files no release names", self.unnamed),
            );
        }
        Ok(())
    }

    /// Every pack row with the manifests it stands between; a row without a sound base is a finding.
    ///
    /// A release no channel offers may outlive the releases its packs start from: `publisher prune` takes them away, the
    /// packs with them.
    fn pack_rows<'a>(&mut self, site: &Site, releases: &'a Releases, offered: &Offered) -> Vec<content::Pack<'a>> {
        let mut packs = Vec::new();
        for ((build, platform), target) in releases {
            for row in &target.release.release.packs {
                match releases.get(&(row.base_build, platform.clone())) {
                    Some(base) if base.release.release.manifest == row.base_manifest => {
                        packs.push(content::Pack { row, base: &base.release.release, target: &target.release.release });
                    }
                    None if !offered.contains(&(*build, platform.clone())) && is_pruned(site, platform, row) => {}
                    found => {
                        let found = found.map_or("no sound release of it", |_| "another manifest");
                        let text = format!("pack from build {}: expected that release, found {found}", row.base_build);
                        self.add("pack", &layout::release(*build, platform), text);
                    }
                }
            }
        }
        packs
    }

    fn ways(&mut self, site: &Site, releases: &Releases, scratch: &Scratch, watch: &dyn Watch) {
        for ((build, platform), target) in releases {
            let rows = &target.release.release.packs;
            let bases: Vec<&Sound> =
                rows.iter().filter_map(|row| releases.get(&(row.base_build, platform.clone()))).collect();
            let fetched = bases.iter().map(|b| b.full_bytes).sum::<u64>() + target.full_bytes;
            let packs: u64 = rows.iter().map(|row| row.length).sum();
            watch.step(Step::Proof, &format!("{platform} {build}"), fetched + packs);
            // They were read before; one that cannot be read now has been taken away meanwhile.
            let manifests: Vec<_> =
                bases.iter().filter_map(|b| Some((*b, manifest(site, &b.release.release).ok()?))).collect();
            let Ok(target_manifest) = manifest(site, &target.release.release) else { continue };
            let starts: Vec<Base<'_>> = manifests
                .iter()
                .map(|(base, manifest)| Base { known: (&base.release, manifest), tree: None })
                .collect();
            self.ways += starts.len() + 1;
            for failure in proof::prove(scratch, (&target.release, &target_manifest), starts) {
                let name = format!("{platform} {} -> build {build}", failure.from);
                self.add("proof", &name, failure.detail);
            }
        }
    }
}
