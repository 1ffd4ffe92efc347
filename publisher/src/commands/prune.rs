//! `publisher prune`.

use std::fmt::Write;
use std::process::ExitCode;
use std::sync::Arc;

use lamplighter_publisher::config::{Config, PruneConfig};
use lamplighter_publisher::error::Error;
use lamplighter_publisher::prune::{self, Pruned, Request};
use serde_json::{Value, json};

use super::place::Place;
use crate::args::SiteArgs;
use crate::term::Term;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    site: SiteArgs,
    /// App id; the site must belong to it.
    #[arg(long, value_name = "ID")]
    app: Option<String>,
    /// Newest releases of each platform that stay. [default: 5]
    #[arg(long, value_name = "N")]
    keep: Option<usize>,
    /// Days every release stays. [default: 0]
    #[arg(long, value_name = "D")]
    keep_days: Option<u64>,
    /// Days that what no channel offers any more stays, for clients in the middle of an update; not less than a head is good
    /// for. [default: 7]
    #[arg(long, value_name = "D")]
    grace_days: Option<u64>,
    /// Remove the files. Without this it is only shown which would go.
    #[arg(long)]
    delete: bool,
    /// Only show which files would go; so it is without --delete, too.
    #[arg(long, conflicts_with = "delete")]
    dry_run: bool,
}

pub(crate) fn run(args: &Args, term: &Term) -> Result<ExitCode, Error> {
    let prune = PruneConfig { keep: args.keep, keep_days: args.keep_days, grace_days: args.grace_days };
    let mut config = args.site.with(Config { app: args.app.clone(), prune, ..Config::default() })?;
    let place = Place::open(&mut config, term)?;
    let request = Request {
        site: config.site()?,
        origin: place.origin(),
        app: config.app.as_ref().map(|_| config.app()).transpose()?,
        keep: config.prune.keep()?,
        keep_days: config.prune.keep_days()?,
        grace_days: config.prune.grace_days()?,
        delete: args.delete,
        time: super::now()?,
    };
    let pruned = prune::run(&request, Arc::new(term.clone()))?;
    if pruned.deleted {
        place.write_page(request.site, term);
    }
    term.result(table(&pruned).trim_end(), &event(&pruned));
    place.tell(term);
    Ok(ExitCode::SUCCESS)
}

fn table(pruned: &Pruned) -> String {
    let mut text = String::new();
    for release in &pruned.releases {
        let fate = release.why.map_or("goes".to_owned(), |why| format!("stays ({})", why.name()));
        let _ = writeln!(text, "{} {} ({}) {fate}", release.platform, release.build, release.version);
    }
    for name in &pruned.plan.unknown {
        let _ = writeln!(text, "left alone, not a file of a site: {name}");
    }
    let (files, bytes) = (pruned.plan.files().count(), pruned.plan.bytes());
    let verb = if pruned.deleted { "removed" } else { "would be removed" };
    let _ = writeln!(
        text,
        "{files} files with {bytes} bytes {verb}; {} with {} bytes stay",
        pruned.plan.kept_files, pruned.plan.kept_bytes
    );
    if !pruned.deleted && files > 0 {
        text.push_str("nothing was removed: --delete does it\n");
    }
    text
}

fn event(pruned: &Pruned) -> Value {
    let release = |decided: &prune::Decided| {
        json!({
            "platform": decided.platform, "build": decided.build, "version": decided.version,
            "stays": decided.why.is_some(), "why": decided.why.map(|why| why.name()),
        })
    };
    let files: Vec<Value> = pruned.plan.files().map(|f| json!({"name": f.name, "bytes": f.bytes})).collect();
    json!({
        "event": "prune", "deleted": pruned.deleted, "files": files.len(), "bytes": pruned.plan.bytes(),
        "kept_files": pruned.plan.kept_files, "kept_bytes": pruned.plan.kept_bytes,
        "releases": pruned.releases.iter().map(release).collect::<Vec<_>>(), "removed": files,
        "unknown": pruned.plan.unknown,
    })
}
