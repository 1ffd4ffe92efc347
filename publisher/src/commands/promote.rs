//! `publisher promote`.

use std::process::ExitCode;
use std::sync::Arc;

use lamplighter_publisher::channel::Access;
use lamplighter_publisher::config::Config;
use lamplighter_publisher::error::Error;
use lamplighter_publisher::head::Moved;
use lamplighter_publisher::head::edits::Shares;
use lamplighter_publisher::promote::{self, Request};
use serde_json::json;

use super::place::Place;
use crate::args::{SignArgs, access};
use crate::term::Term;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    sign: SignArgs,
    /// The build to offer.
    #[arg(long, value_name = "N")]
    build: Option<u64>,
    /// Move this platform only; may be given more than once. Without it, all that have the build are moved.
    #[arg(long, value_name = "NAME")]
    platform: Vec<String>,
    /// How the build reaches its users, such as "1%, 10% after 1d, 100% after 3d"; for one that is offered already, from now
    /// on. [default: all at once; for one that is offered already, as before]
    #[arg(long, value_name = "SHARES")]
    rollout: Option<String>,
}

pub(crate) fn run(args: &Args, term: &Term) -> Result<ExitCode, Error> {
    let flags = Config { build: args.build, rollout: args.rollout.clone(), ..Config::default() };
    let mut config = args.sign.with(flags)?;
    let place = Place::open(&mut config, term)?;
    let (curve, keys) = (config.rollout()?, config.key_sources(term.ask())?);
    let request = Request {
        access: Access { origin: place.origin(), ..access(&config, &keys, super::now()?)? },
        channel: config.channel()?,
        build: config.build()?,
        platforms: &args.platform,
        shares: Shares { curve: curve.as_ref(), change: args.rollout.is_some() },
    };
    let moved = promote::run(&request, Arc::new(term.clone()))?;
    place.write_page(config.site()?, term);
    told(request.channel, request.build, &moved, term);
    place.finish(&config, term)?;
    Ok(ExitCode::SUCCESS)
}

/// Says where `channel` stands.
pub(super) fn told(channel: &str, build: u64, moved: &Moved, term: &Term) {
    let verb = if moved.changed { "offers" } else { "offered before" };
    let text =
        format!("{channel} {verb} build {build} to {} (sequence {})", moved.platforms.join(", "), moved.sequence);
    let event = json!({
        "event": "head", "channel": channel, "build": build, "platforms": moved.platforms, "sequence": moved.sequence,
        "changed": moved.changed,
    });
    term.result(&text, &event);
}
