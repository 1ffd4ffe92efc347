//! The CI step: a directory a platform in, a proved release in the site out, and the channel moved to it.
//!
//! In this order, so that whatever fails fails before anything is written that would have to be taken back:
//!
//! 1. the site is locked; its roots, and the keys at hand against them; build numbers against the channel's head;
//! 2. every input directory is read;
//! 3. for each platform objects, packs and the small files go into the site (`release.rs`), none of which a client looks at
//!    before a signed release names it;
//! 4. a fresh install and the update from each base are tried with the client's code against what was written
//!    ([`crate::proof`]);
//! 5. only then the signed releases appear, each whole, and at last the head.
//!
//! A run that dies between any two of these leaves objects and packs the next run finds and uses; a release without its
//! signed document is no release, and what lies there is written anew.

mod notes;
mod packing;
pub(crate) mod prior;
mod release;
pub mod revert;
pub mod shard;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lamplighter_client::format::head::Head;
use lamplighter_client::format::layout;
use lamplighter_client::format::notes::NotesSection;
use lamplighter_client::format::text::Time;
use lamplighter_client::trust::VerifiedRelease;
use tempfile::TempDir;

use crate::config::{Config, ConfigError, PlatformConfig};
use crate::error::Error;
use crate::head::edits::Shares;
use crate::head::{Mover, Terms, last_build, require_above};
use crate::origin::Origin;
use crate::packs::{Budget, KeptPatches, KeptUse, PackOptions, UnitCache};
use crate::proof::record::Proofs;
use crate::proof::{self, Base};
use crate::report::{ChannelSummary, Summary};
use crate::rollout::Curve;
use crate::scan::{self, Rules, Scanned};
use crate::scratch::Scratch;
use crate::sign::{KeySources, Role, Signers};
use crate::site::{SiteError, SiteWriter, Trust};
use crate::watch::{Step, Watch};
pub use packing::PackBudget;
use packing::Remaining;
use release::{Draft, DraftBase};
use shard::Shard;

/// What is to be published.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Request {
    pub site: PathBuf,
    /// Where the rest of the site is, if its directory is only a part.
    pub origin: Option<Arc<Origin>>,
    pub app: String,
    /// Checked against its head even where it is not moved; only then may it be left out.
    pub channel: Option<String>,
    pub move_channel: bool,
    pub build: u64,
    pub version: String,
    pub platforms: BTreeMap<String, PlatformConfig>,
    pub bases: usize,
    pub jobs: usize,
    pub packs: PackOptions,
    /// Memory that patches may take together, in bytes.
    pub memory_bytes: u64,
    pub minimum_build: u64,
    pub expires_days: u64,
    /// How the release reaches its users.
    pub rollout: Option<Curve>,
    /// Mirrors the head is to name; those it names where this is none.
    pub mirrors: Option<Vec<String>>,
    pub notes: BTreeMap<String, PathBuf>,
    pub keys: KeySources,
    /// What packs may take.
    pub budget: PackBudget,
    /// A directory of patches of earlier runs, and the bytes it may take.
    pub patch_cache: Option<(PathBuf, u64)>,
    pub mode: Mode,
    /// Where trees are rebuilt; the site's own volume where it is not said.
    pub scratch: Option<PathBuf>,
    /// Whether every way is tried before the release appears.
    pub prove: bool,
    /// The time of the run.
    pub time: Time,
}

/// How far a run goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// All the way.
    Publish,
    /// It writes nothing, signs nothing, and needs no keys.
    DryRun,
    /// It makes one share of the packs, and needs no keys.
    Shard(Shard),
    /// All the way, with the packs that shards have made.
    Collect,
}

impl Mode {
    /// Whether releases are signed.
    fn signs(self) -> bool {
        matches!(self, Mode::Publish | Mode::Collect)
    }

    /// Whether packs of shards are looked for.
    fn collects(self) -> bool {
        self == Mode::Collect
    }
}

impl Request {
    /// What `config` asks for.
    ///
    /// # Errors
    /// Something is missing, or not what it must be.
    pub fn new(config: &Config, prove: bool, time: Time) -> Result<Self, ConfigError> {
        let mut request = Self::for_revert(config, prove, time)?;
        request.platforms = config.platforms()?;
        request.minimum_build = config.minimum_build(request.build)?;
        request.rollout = config.rollout()?;
        request.notes.clone_from(config.notes()?);
        Ok(request)
    }

    /// What `config` says of anything but the content: no platforms, no minimum build, no notes, no rollout.
    ///
    /// # Errors
    /// Something is missing, or not what it must be.
    pub fn for_revert(config: &Config, prove: bool, time: Time) -> Result<Self, ConfigError> {
        let move_channel = !config.no_channel.unwrap_or(false);
        let wants_channel = move_channel || config.channel.is_some();
        let build = config.build()?;
        Ok(Self {
            site: config.site()?.to_owned(),
            origin: None,
            app: config.app()?.to_owned(),
            channel: wants_channel.then(|| config.channel().map(str::to_owned)).transpose()?,
            move_channel,
            build,
            version: config.version()?.to_owned(),
            platforms: BTreeMap::new(),
            bases: config.bases()?,
            jobs: config.jobs()?,
            memory_bytes: config.memory_bytes()?,
            packs: config.pack_options()?,
            minimum_build: 0,
            expires_days: config.expires_days()?,
            rollout: None,
            mirrors: config.mirrors()?.map(<[String]>::to_vec),
            notes: BTreeMap::new(),
            keys: config.key_sources(None)?,
            budget: PackBudget { time: config.budget_time()?, bytes: config.budget_bytes },
            patch_cache: config.patch_cache()?.map(|(dir, limit)| (dir.to_owned(), limit)),
            mode: Mode::Publish,
            scratch: config.scratch.clone(),
            prove,
            time,
        })
    }
}

/// Publishes what `request` asks for, with `jobs` threads.
///
/// # Errors
/// Anything on the way; what clients see is as it was then.
pub fn run(request: &Request, watch: Arc<dyn Watch>) -> Result<Summary, Error> {
    let threads = rayon::ThreadPoolBuilder::new().num_threads(request.jobs).build();
    threads.map_err(|e| Error::Threads(e.to_string()))?.install(|| publish(request, watch))
}

fn publish(request: &Request, watch: Arc<dyn Watch>) -> Result<Summary, Error> {
    let aside = (request.mode == Mode::DryRun).then(|| aside(request)).transpose()?;
    let writer = match &aside {
        Some(dir) => SiteWriter::pretending(&request.site, dir.path(), watch.clone())?,
        None => SiteWriter::lock(&request.site, watch.clone())?,
    };
    let writer = writer.over(request.origin.clone());
    let authority = Authority::new(request, &writer)?;
    let inputs = read_inputs(request, &writer, &*watch)?;
    let notes = notes::read(&request.notes, request.build, &request.version)?;
    let temp_dir = writer.temp_dir();
    let scratch = Scratch::new(writer.site(), request.scratch.as_deref().unwrap_or(&temp_dir), watch.clone())
        .map_err(|source| Error::Client { doing: "open the site", source: Box::new(source) })?;
    let job = Job {
        request,
        writer: &writer,
        authority: &authority,
        notes: &notes,
        scratch,
        watch: watch.clone(),
        cache: unit_cache(request)?,
        budget: Remaining::new(request.budget, inputs.len()),
    };
    let mut summary = match request.mode {
        Mode::Shard(shard) => job.shard(&inputs, shard)?,
        Mode::Publish | Mode::Collect | Mode::DryRun => job.release(&inputs)?,
    };
    summary.patch_cache = trim(&job.cache, &*watch);
    Ok(summary)
}

/// A directory outside of the site, for what is under way in a run that writes nothing into it.
fn aside(request: &Request) -> Result<TempDir, Error> {
    let dir = request.scratch.clone().unwrap_or_else(std::env::temp_dir);
    let made = tempfile::Builder::new().prefix("publisher-").tempdir_in(&dir);
    made.map_err(|source| SiteError::Write { name: dir.display().to_string(), source }.into())
}

/// Patches of this run, and of earlier ones where they are kept.
fn unit_cache(request: &Request) -> Result<UnitCache, Error> {
    let open = |(dir, limit): &(PathBuf, u64)| {
        KeptPatches::open(dir, *limit).map_err(|source| Error::PatchCache { dir: dir.clone(), source })
    };
    let kept = request.patch_cache.as_ref().map(open).transpose()?;
    Ok(UnitCache::new(Budget::new(request.jobs, request.memory_bytes)).with_kept(kept))
}

/// Brings the directory of kept patches back to its size, and says what it was good for.
fn trim(cache: &UnitCache, watch: &dyn Watch) -> Option<KeptUse> {
    let kept = cache.kept()?;
    let used = kept.trim();
    if used.failed > 0 {
        let text = format!("{} files were damaged, or could not be written or removed", used.failed);
        watch.notice("patch-cache", &kept.dir().display().to_string(), &text);
    }
    Some(used)
}

impl Job<'_> {
    /// Publishes a release of every input, or finds out what that would come to.
    fn release(&self, inputs: &[Input<'_>]) -> Result<Summary, Error> {
        let (job, request, writer) = (self, self.request, self.writer);
        let mut drafts: Vec<Draft> = Vec::new();
        for input in inputs {
            let draft = job.draft(input, &drafts)?;
            drafts.push(draft);
        }
        request.origin.iter().try_for_each(|origin| origin.require_no_trouble())?;
        if request.mode == Mode::DryRun {
            let platforms = drafts.into_iter().map(|draft| draft.summary).collect();
            let version = request.version.clone();
            return Ok(Summary { build: request.build, version, platforms, dry_run: true, ..Summary::default() });
        }
        writer.barrier()?;
        if request.prove {
            drafts.iter_mut().try_for_each(|draft| job.prove(draft))?;
            Proofs::keep(writer, drafts.iter().map(Draft::proved).collect())?;
        }
        inputs.iter().try_for_each(|input| input.scanned.recheck())?;
        for draft in drafts.iter().filter(|d| !d.summary.reused) {
            writer.put(&layout::release(request.build, &draft.summary.platform), &draft.loaded.release.bytes)?;
        }
        writer.barrier()?;
        if request.mode.collects() {
            drafts.iter().try_for_each(|draft| job.clear_notes(&draft.loaded.release.release))?;
        }
        let channel = job.move_channel(&drafts)?;
        let platforms = drafts.into_iter().map(|draft| draft.summary).collect();
        Ok(Summary { build: request.build, version: request.version.clone(), platforms, channel, ..Summary::default() })
    }
}

/// What the site's roots say of the keys at hand, and what the site holds when the run begins.
struct Authority {
    trust: Trust,
    /// None where nothing is signed.
    release_signers: Option<Signers>,
    channel_signers: Option<Signers>,
    /// Heads of all channels: what clients have.
    heads: Vec<Head>,
    /// Builds and platforms with a signed release, in order. Listed once: it takes longer the more there are.
    published: Vec<(u64, String)>,
}

impl Authority {
    fn new(request: &Request, writer: &SiteWriter) -> Result<Self, Error> {
        let site = writer.site();
        let trust = Trust::read(site)?;
        trust.require_app(site, &request.app)?;
        trust.require_fresh(request.time)?;
        let (roots, keys) = (trust.roots(), &request.keys);
        let signs = request.mode.signs();
        let load = || Signers::load(Role::Release, keys)?.authorised(roots, "");
        let release_signers = signs.then(load).transpose()?;
        let moved = request.channel.as_deref().filter(|_| request.move_channel && signs);
        let channel_signers = moved.map(|channel| Signers::load(Role::Channel, keys)?.authorised(roots, channel));
        let channel_signers = channel_signers.transpose()?;
        let mut heads = Vec::new();
        for channel in site.channels()? {
            let Some(signed) = trust.last_head(site, &channel)? else { continue };
            if request.channel.as_deref() == Some(channel.as_str()) {
                for platform in request.platforms.keys() {
                    require_above(Some(&signed.head), &channel, platform, request.build)?;
                }
            }
            heads.push(signed.head);
        }
        Ok(Self { trust, release_signers, channel_signers, heads, published: site.releases()? })
    }

    /// Builds that some channel offers to `platform`.
    fn offered(&self, platform: &str) -> Vec<u64> {
        self.heads.iter().filter_map(|head| last_build(Some(head), platform)).collect()
    }
}

/// One platform's directory, read.
struct Input<'a> {
    platform: &'a str,
    config: &'a PlatformConfig,
    scanned: Scanned,
}

fn read_inputs<'a>(request: &'a Request, writer: &SiteWriter, watch: &dyn Watch) -> Result<Vec<Input<'a>>, Error> {
    let mut inputs = Vec::new();
    for (platform, config) in &request.platforms {
        let dir = config.dir.as_deref().unwrap_or(Path::new(""));
        scan::check_apart(dir, writer.site().dir())?;
        let rules = Rules::new(platform, config)?;
        inputs.push(Input { platform, config, scanned: scan::scan(dir, platform, &rules, watch)? });
    }
    Ok(inputs)
}

/// All that the steps of one run share.
struct Job<'a> {
    request: &'a Request,
    writer: &'a SiteWriter,
    authority: &'a Authority,
    /// This build's own, by language.
    notes: &'a BTreeMap<String, NotesSection>,
    scratch: Scratch,
    watch: Arc<dyn Watch>,
    cache: UnitCache,
    budget: Remaining,
}

impl Job<'_> {
    /// Whether ways are tried in the end.
    fn proves(&self) -> bool {
        self.request.prove && self.request.mode.signs()
    }

    fn prove(&self, draft: &mut Draft) -> Result<(), Error> {
        let to_install = |base: &DraftBase| if base.tree.is_some() { 0 } else { base.loaded.index.stored_bytes() };
        let packs: u64 = draft.loaded.release.release.packs.iter().map(|row| row.length).sum();
        let installs: u64 = draft.bases.iter().map(to_install).sum();
        let total = draft.loaded.index.stored_bytes() + installs + packs;
        self.watch.step(Step::Proof, &draft.summary.platform, total);
        let known = draft.loaded.known();
        let mut starts = Vec::new();
        for base in draft.bases.iter_mut().filter(|base| !base.applied) {
            let tree = base.tree.take();
            starts.push(Base { known: base.loaded.known(), tree });
        }
        let failures = proof::prove(&self.scratch, known, starts);
        if failures.is_empty() { Ok(()) } else { Err(Error::Proof(failures)) }
    }

    fn move_channel(&self, drafts: &[Draft]) -> Result<Option<ChannelSummary>, SiteError> {
        let Some((signers, channel)) = self.authority.channel_signers.as_ref().zip(self.request.channel.as_deref())
        else {
            return Ok(None);
        };
        let mover = Mover { writer: self.writer, trust: &self.authority.trust, signers, watch: &*self.watch };
        let Request { time, expires_days, .. } = *self.request;
        let terms = Terms { channel, time, expires_days, mirrors: self.request.mirrors.as_deref() };
        let shares = Shares { curve: self.request.rollout.as_ref(), change: false };
        let releases: Vec<VerifiedRelease> = drafts.iter().map(|d| d.loaded.release.clone()).collect();
        let moved = mover.move_to(&terms, &releases, shares)?;
        Ok(Some(ChannelSummary { channel: channel.to_owned(), sequence: moved.sequence, moved: moved.changed }))
    }
}
