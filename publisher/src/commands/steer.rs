//! `publisher halt`, `resume` and `bad`.

use std::process::ExitCode;
use std::sync::Arc;

use lamplighter_publisher::channel::{self, Access, Action};
use lamplighter_publisher::config::{Config, ConfigError};
use lamplighter_publisher::error::Error;
use lamplighter_publisher::head::edits::EVERY_PLATFORM;
use serde_json::json;

use super::place::Place;
use crate::args::{SignArgs, access};
use crate::term::Term;

#[derive(Debug, clap::Args)]
pub(crate) struct HaltArgs {
    #[command(flatten)]
    sign: SignArgs,
    /// This platform only, or * for all.
    #[arg(long, value_name = "NAME", default_value = EVERY_PLATFORM)]
    platform: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct BadArgs {
    #[command(flatten)]
    sign: SignArgs,
    /// The build.
    #[arg(long, value_name = "N")]
    build: Option<u64>,
    /// On this platform only, or * for all.
    #[arg(long, value_name = "NAME", default_value = EVERY_PLATFORM)]
    platform: String,
    /// Take the mark back.
    #[arg(long)]
    undo: bool,
}

pub(crate) fn halt(args: &HaltArgs, term: &Term) -> Result<ExitCode, Error> {
    let config = args.sign.with(Config::default())?;
    steer(config, &args.platform, Action::Halt, "offers nothing to", term)
}

pub(crate) fn resume(args: &HaltArgs, term: &Term) -> Result<ExitCode, Error> {
    let config = args.sign.with(Config::default())?;
    steer(config, &args.platform, Action::Resume, "is not halted on", term)
}

pub(crate) fn bad(args: &BadArgs, term: &Term) -> Result<ExitCode, Error> {
    let config = args.sign.with(Config::default())?;
    // A build in the configuration is the one to be published, not the one to be taken back.
    let build = Config { build: args.build, ..Config::default() }.build()?;
    let (action, said) = match args.undo {
        false => (Action::MarkBad(build), format!("marks build {build} as bad on")),
        true => (Action::ClearBad(build), format!("does not mark build {build} on")),
    };
    steer(config, &args.platform, action, &said, term)
}

fn steer(mut config: Config, scope: &str, action: Action, said: &str, term: &Term) -> Result<ExitCode, Error> {
    if scope != EVERY_PLATFORM && !lamplighter_client::format::text::is_token(scope) {
        let expected = "a platform, or * for all";
        return Err(ConfigError::Invalid { key: "--platform".to_owned(), expected, found: scope.to_owned() }.into());
    }
    let place = Place::open(&mut config, term)?;
    let keys = config.key_sources(term.ask())?;
    let access = Access { origin: place.origin(), ..access(&config, &keys, super::now()?)? };
    let published = channel::run(&access, config.channel()?, scope, action, Arc::new(term.clone()))?;
    place.write_page(access.site, term);
    let (head, changed) = (&published.head, published.changed);
    let platforms = if scope == EVERY_PLATFORM { "all platforms" } else { scope };
    let before = if changed { "" } else { ", as before" };
    let text = format!("{} {said} {platforms}{before} (sequence {})", head.channel, head.sequence);
    let bad: Vec<_> = head.bad_builds.iter().map(|(s, build)| json!({"platform": s, "build": build})).collect();
    let event = json!({
        "event": "head", "channel": head.channel, "sequence": head.sequence, "changed": changed, "halted": head.halts,
        "bad_builds": bad,
    });
    term.result(&text, &event);
    place.finish(&config, term)?;
    Ok(ExitCode::SUCCESS)
}
