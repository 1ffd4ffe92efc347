//! `publisher revert`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use lamplighter_publisher::build_release::Request;
use lamplighter_publisher::build_release::revert::{self, Back};
use lamplighter_publisher::config::Config;
use lamplighter_publisher::error::Error;

use super::build_release::{event, pairs};
use super::place::Place;
use crate::args::SignArgs;
use crate::term::Term;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    sign: SignArgs,
    /// The build whose content comes back.
    #[arg(long, value_name = "BUILD")]
    to: u64,
    /// Number of the new build. [default: the one after the highest published]
    #[arg(long, value_name = "N")]
    build: Option<u64>,
    /// Its version as shown to people. [default: the old build's]
    #[arg(long, value_name = "V")]
    version: Option<String>,
    /// Revert this platform only; may be given more than once. Without it, all that are offered a higher build.
    #[arg(long, value_name = "NAME")]
    platform: Vec<String>,
    /// Mark this build as bad, too, beside the one on offer; may be given more than once.
    #[arg(long, value_name = "BUILD")]
    bad: Vec<u64>,
    /// Release notes in Markdown: why; may be given more than once.
    #[arg(long, value_name = "LANG=FILE")]
    notes: Vec<String>,
    /// How many old releases get a new pack. [default: 5]
    #[arg(long, value_name = "K")]
    bases: Option<usize>,
    /// Threads. [default: one a core]
    #[arg(long, value_name = "J")]
    jobs: Option<usize>,
    /// Where trees of old releases are rebuilt. [default: in the site]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Do not try the ways to the release before it is published.
    #[arg(long)]
    no_proof: bool,
}

pub(crate) fn run(args: &Args, term: &Term) -> Result<ExitCode, Error> {
    // What the configuration says of the next release is not said of this one.
    let number = Config { build: Some(args.to), ..Config::default() };
    let to = number.build()?;
    let flags = Config {
        bases: args.bases,
        jobs: args.jobs,
        scratch: args.scratch.clone(),
        build: Some(args.build.unwrap_or(to)),
        version: Some(args.version.clone().unwrap_or_else(|| "unsaid".to_owned())),
        ..Config::default()
    };
    let mut config = args.sign.with(flags)?;
    let place = Place::open(&mut config, term)?;
    let mut base = Request::for_revert(&config, !args.no_proof, super::now()?)?;
    base.origin = place.origin().cloned();
    base.keys.ask = term.ask();
    let notes = pairs("notes", &args.notes)?.into_iter();
    let notes = Config { notes: notes.map(|(l, file)| (l, file.unwrap_or_default())).collect(), ..Config::default() };
    let back = Back {
        to,
        build: args.build,
        version: args.version.clone(),
        platforms: args.platform.clone(),
        bad: args.bad.clone(),
        notes: notes.notes()?.clone(),
    };
    super::tidy_on_interrupt(&base.site, term);
    let summary = revert::run(&base, &back, Arc::new(term.clone()))?;
    place.write_page(&base.site, term);
    match summary.platforms.is_empty() {
        true => term.result("the channel offers this content already", &event(&summary)),
        false => term.result(summary.to_table().trim_end(), &event(&summary)),
    }
    place.finish(&config, term)?;
    Ok(ExitCode::SUCCESS)
}
