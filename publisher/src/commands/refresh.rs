//! `publisher refresh`.

use std::process::ExitCode;
use std::sync::Arc;

use lamplighter_publisher::channel::Access;
use lamplighter_publisher::config::Config;
use lamplighter_publisher::error::Error;
use lamplighter_publisher::init::days_in_seconds;
use lamplighter_publisher::refresh::{self, Refreshed, Request};
use lamplighter_publisher::remote;
use serde_json::json;

use super::place::Place;
use crate::args::{SignArgs, access};
use crate::term::Term;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    sign: SignArgs,
    /// Take root, heads and releases from here first, a URL or a directory: for a job that has no copy of the site. Needs
    /// --channel; afterwards --site holds no more than that, for its channels/ to be uploaded.
    #[arg(long, value_name = "URL|DIR")]
    from: Option<String>,
    /// Sign a head again when it is good for fewer days than this. [default: two thirds of --expires-days]
    #[arg(long, value_name = "DAYS")]
    days_left: Option<u64>,
    /// Sign heads again however long they are good.
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(args: &Args, term: &Term) -> Result<ExitCode, Error> {
    let mut config = args.sign.with(Config::default())?;
    let place = Place::open(&mut config, term)?;
    let watch = Arc::new(term.clone());
    let keys = config.key_sources(term.ask())?;
    let access = Access { origin: place.origin(), ..access(&config, &keys, super::now()?)? };
    if let Some(from) = &args.from {
        remote::copy_channel(from, access.site, access.app, config.channel()?, watch.clone())?;
    }
    let request = Request {
        access,
        // A channel in the configuration is the one releases go to; the others expire as well.
        channel: args.sign.channel.as_ref().map(|_| config.channel()).transpose()?,
        left_seconds: args
            .days_left
            .map_or_else(|| refresh::left_seconds_default(access.expires_days), days_in_seconds),
        force: args.force,
    };
    let done = refresh::run(&request, watch, |refreshed| tell(refreshed, term));
    // A job that has no copy of the site has nothing to tell of but a head.
    if args.from.is_none() {
        place.write_page(request.access.site, term);
    }
    done?;
    place.finish(&config, term)?;
    Ok(ExitCode::SUCCESS)
}

fn tell(refreshed: &Refreshed, term: &Term) {
    let Refreshed { channel, sequence, expires, changed } = refreshed;
    let verb = if *changed { "is signed again and good" } else { "was left as it is: good" };
    let text = format!("{channel} {verb} until {expires} (sequence {sequence})");
    let event = json!({
        "event": "refreshed", "channel": channel, "sequence": sequence, "expires": expires.to_string(), "changed": changed,
    });
    term.result(&text, &event);
}
