//! `publisher build-release`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use lamplighter_publisher::build_release::shard::Shard;
use lamplighter_publisher::build_release::{self, Mode, Request};
use lamplighter_publisher::config::{Config, ConfigError, PlatformConfig};
use lamplighter_publisher::error::Error;
use lamplighter_publisher::report::Summary;
use serde_json::{Value, json};

use super::place::Place;
use crate::args::SignArgs;
use crate::term::Term;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    sign: SignArgs,
    /// Build number, above the last one the channel offers.
    #[arg(long, value_name = "N")]
    build: Option<u64>,
    /// Version as shown to people.
    #[arg(long, value_name = "V")]
    version: Option<String>,
    /// A platform and the directory to publish; NAME alone takes the directory from the configuration.
    #[arg(long, value_name = "NAME=DIR")]
    platform: Vec<String>,
    /// Glob of files that are never published, on every platform; may be given more than once, as the next two.
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Glob of files that are executable whatever the file system says.
    #[arg(long, value_name = "GLOB")]
    executable: Vec<String>,
    /// Glob of files that are installed once and never replaced if the user edited them.
    #[arg(long, value_name = "GLOB")]
    keep: Vec<String>,
    /// How many old releases get a pack. [default: 5]
    #[arg(long, value_name = "K")]
    bases: Option<usize>,
    /// Threads. [default: one a core]
    #[arg(long, value_name = "J")]
    jobs: Option<usize>,
    /// Memory that patches may take together, in MiB; fewer are computed at once where it is scarce. [default: half of
    /// the machine's]
    #[arg(long, value_name = "MIB")]
    memory: Option<u64>,
    /// How hard packs are worked on, 1 (fast) to 9 (smallest). [default: 5]
    #[arg(long, value_name = "E")]
    effort: Option<u8>,
    /// Do not move the channel; `publisher promote` does it later.
    #[arg(long)]
    no_channel: bool,
    /// Builds below this must be downloaded afresh.
    #[arg(long, value_name = "N")]
    minimum_build: Option<u64>,
    /// How the release reaches its users, such as "1%, 10% after 1d, 100% after 3d". [default: all at once]
    #[arg(long, value_name = "SHARES")]
    rollout: Option<String>,
    /// Release notes in Markdown; may be given more than once.
    #[arg(long, value_name = "LANG=FILE")]
    notes: Vec<String>,
    /// Where trees of old releases are rebuilt; needs room for one tree and its update a thread. [default: in the site]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Do not try the ways to the release before it is published.
    #[arg(long)]
    no_proof: bool,
    /// After so many seconds no further pack is begun, the most useful being first; which that leaves out depends on the
    /// machine.
    #[arg(long, value_name = "S")]
    budget_seconds: Option<u64>,
    /// What the packs of the run may take together, in bytes; the least useful are left out until the others fit.
    #[arg(long, value_name = "N")]
    budget_bytes: Option<u64>,
    /// A directory of patches, so that the next run does not compute them again.
    #[arg(long, value_name = "DIR")]
    patch_cache: Option<PathBuf>,
    /// What that directory may take, in MiB; what was used longest ago goes first. [default: 4096]
    #[arg(long, value_name = "MIB")]
    patch_cache_mib: Option<u64>,
    /// Show what would be published and what it would cost users; writes nothing into the site, and needs no keys.
    #[arg(long)]
    dry_run: bool,
    /// Make only the packs of share I of N, without signing: for work divided over machines. Needs no keys.
    #[arg(long, value_name = "I/N", value_parser = |text: &str| text.parse::<Shard>(), conflicts_with = "dry_run")]
    shard: Option<Shard>,
    /// Take the packs that shards have made, each tried before it counts, make what is missing, sign and publish.
    #[arg(long, conflicts_with_all = ["dry_run", "shard"])]
    collect: bool,
}

impl Args {
    fn mode(&self) -> Mode {
        match self.shard {
            Some(shard) => Mode::Shard(shard),
            None if self.dry_run => Mode::DryRun,
            None if self.collect => Mode::Collect,
            None => Mode::Publish,
        }
    }

    fn flags(&self) -> Result<Config, ConfigError> {
        let platform = |(name, dir)| (name, PlatformConfig { dir, ..PlatformConfig::default() });
        let notes =
            pairs("notes", &self.notes)?.into_iter().map(|(language, file)| (language, file.unwrap_or_default()));
        Ok(Config {
            build: self.build,
            version: self.version.clone(),
            bases: self.bases,
            jobs: self.jobs,
            memory_mib: self.memory,
            effort: self.effort,
            budget_seconds: self.budget_seconds,
            budget_bytes: self.budget_bytes,
            patch_cache: self.patch_cache.clone(),
            patch_cache_mib: self.patch_cache_mib,
            minimum_build: self.minimum_build,
            rollout: self.rollout.clone(),
            no_channel: self.no_channel.then_some(true),
            scratch: self.scratch.clone(),
            exclude: self.exclude.clone(),
            executable: self.executable.clone(),
            keep: self.keep.clone(),
            notes: notes.collect(),
            platform: pairs("platform", &self.platform)?.into_iter().map(platform).collect(),
            ..Config::default()
        })
    }
}

/// `NAME=PATH` or `NAME`, each name once.
pub(super) fn pairs(key: &str, texts: &[String]) -> Result<BTreeMap<String, Option<PathBuf>>, ConfigError> {
    let mut pairs = BTreeMap::new();
    for text in texts {
        let (name, path) = match text.split_once('=') {
            Some((name, path)) => (name, Some(PathBuf::from(path))),
            None => (text.as_str(), None),
        };
        if pairs.insert(name.to_owned(), path).is_some() {
            let key = format!("--{key}");
            return Err(ConfigError::Invalid { key, expected: "each name once", found: text.clone() });
        }
    }
    Ok(pairs)
}

pub(crate) fn run(args: &Args, term: &Term) -> Result<ExitCode, Error> {
    let mut config = args.sign.with(args.flags()?)?;
    let place = Place::open(&mut config, term)?;
    let mut request = Request::new(&config, !args.no_proof, super::now()?)?;
    request.origin = place.origin().cloned();
    request.mode = args.mode();
    if request.mode == Mode::Collect {
        place.collect(&config, request.build)?;
    }
    request.keys.ask = term.ask();
    super::tidy_on_interrupt(&request.site, term);
    let summary = build_release::run(&request, Arc::new(term.clone()))?;
    if matches!(request.mode, Mode::Publish | Mode::Collect) {
        place.write_page(&request.site, term);
    }
    term.result(summary.to_table().trim_end(), &event(&summary));
    match request.mode {
        Mode::DryRun => place.tell(term),
        _ => place.finish(&config, term)?,
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn event(summary: &Summary) -> Value {
    let platforms: Vec<Value> = summary
        .platforms
        .iter()
        .map(|platform| {
            let packs: Vec<Value> = platform
                .packs
                .iter()
                .map(|pack| {
                    json!({
                        "base_build": pack.base_build, "base_version": pack.base_version, "fate": pack.fate.name(),
                        "pack_bytes": pack.fate.pack_bytes(), "seconds": pack.seconds,
                    })
                })
                .collect();
            json!({
                "platform": platform.platform, "reused": platform.reused, "rows": platform.rows,
                "content_bytes": platform.content_bytes, "full_bytes": platform.full_bytes,
                "new_object_bytes": platform.new_object_bytes, "seconds": platform.seconds, "packs": packs,
            })
        })
        .collect();
    let channel =
        summary.channel.as_ref().map(|c| json!({"channel": c.channel, "sequence": c.sequence, "moved": c.moved}));
    json!({
        "event": "release", "build": summary.build, "version": summary.version, "platforms": platforms,
        "channel": channel, "dry_run": summary.dry_run, "shard": summary.shard.map(|shard| shard.to_string()),
        "patch_cache": summary.patch_cache.map(|kept| json!({
            "reused": kept.reused, "computed": kept.computed, "failed": kept.failed, "bytes": kept.bytes,
        })),
    })
}
