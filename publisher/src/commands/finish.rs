//! `publisher finish`.

use std::process::ExitCode;
use std::sync::Arc;

use lamplighter_publisher::channel::Access;
use lamplighter_publisher::config::Config;
use lamplighter_publisher::error::Error;
use lamplighter_publisher::finish;
use lamplighter_publisher::head::edits::Shares;
use lamplighter_publisher::promote::Request;

use super::place::Place;
use super::promote::told;
use crate::args::{SignArgs, access};
use crate::term::Term;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    sign: SignArgs,
    /// The build to offer.
    #[arg(long, value_name = "N")]
    build: Option<u64>,
    /// A platform that must have the build; may be given more than once. [default: every platform of the configuration]
    #[arg(long, value_name = "NAME")]
    platform: Vec<String>,
    /// How the build reaches its users, such as "1%, 10% after 1d, 100% after 3d". [default: all at once]
    #[arg(long, value_name = "SHARES")]
    rollout: Option<String>,
}

pub(crate) fn run(args: &Args, term: &Term) -> Result<ExitCode, Error> {
    let platform = super::build_release::pairs("platform", &args.platform)?;
    let flags = Config {
        build: args.build,
        rollout: args.rollout.clone(),
        platform: platform.into_keys().map(|name| (name, Default::default())).collect(),
        ..Config::default()
    };
    let mut config = args.sign.with(flags)?;
    let place = Place::open(&mut config, term)?;
    let (curve, keys) = (config.rollout()?, config.key_sources(term.ask())?);
    let request = Request {
        access: Access { origin: place.origin(), ..access(&config, &keys, super::now()?)? },
        channel: config.channel()?,
        build: config.build()?,
        platforms: &config.platform_names()?,
        // As `build-release` does it: repeating it begins no rollout again.
        shares: Shares { curve: curve.as_ref(), change: false },
    };
    let moved = finish::run(&request, Arc::new(term.clone()))?;
    place.write_page(config.site()?, term);
    told(request.channel, request.build, &moved, term);
    place.finish(&config, term)?;
    Ok(ExitCode::SUCCESS)
}
