//! `publisher promote`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use lamplighter_publisher::config::Config;
use lamplighter_publisher::error::Error;
use lamplighter_publisher::promote::{self, Request};
use serde_json::json;

use crate::args::{ConfigArgs, KeyArgs};
use crate::term::Term;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// The site's directory.
    #[arg(long, value_name = "DIR")]
    site: Option<PathBuf>,
    /// The app the site must belong to.
    #[arg(long, value_name = "ID")]
    app: Option<String>,
    /// The channel to move.
    #[arg(long, value_name = "NAME")]
    channel: Option<String>,
    /// The build to offer.
    #[arg(long, value_name = "N")]
    build: Option<u64>,
    /// Move this platform only; may be given more than once. Without it, all that have the build are moved.
    #[arg(long, value_name = "NAME")]
    platform: Vec<String>,
    #[command(flatten)]
    keys: KeyArgs,
    /// Days until the head is stale. [default: 7]
    #[arg(long, value_name = "DAYS")]
    expires_days: Option<u64>,
}

pub(crate) fn run(args: &Args, term: &Term) -> Result<ExitCode, Error> {
    let flags = Config {
        site: args.site.clone(),
        app: args.app.clone(),
        channel: args.channel.clone(),
        build: args.build,
        keys: args.keys.dir(),
        password_file: args.keys.password_file(),
        expires_days: args.expires_days,
        ..Config::default()
    };
    let config = args.config.with(flags)?;
    let keys = config.key_sources(term.ask())?;
    let request = Request {
        site: config.site()?,
        app: config.app.as_ref().map(|_| config.app()).transpose()?,
        channel: config.channel()?,
        build: config.build()?,
        platforms: &args.platform,
        keys: &keys,
        expires_days: config.expires_days()?,
        time: super::now()?,
    };
    let moved = promote::run(&request, Arc::new(term.clone()))?;
    let verb = if moved.changed { "offers" } else { "offered before" };
    let platforms = moved.platforms.join(", ");
    let text =
        format!("{} {verb} build {} to {platforms} (sequence {})", request.channel, request.build, moved.sequence);
    let event = json!({
        "event": "head", "channel": request.channel, "build": request.build, "platforms": moved.platforms,
        "sequence": moved.sequence, "changed": moved.changed,
    });
    term.result(&text, &event);
    Ok(ExitCode::SUCCESS)
}
