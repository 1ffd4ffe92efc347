//! `publisher init`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use lamplighter_client::format::layout;
use lamplighter_publisher::config::Config;
use lamplighter_publisher::error::Error;
use lamplighter_publisher::init::{self, ROOT_EXPIRES_DAYS_DEFAULT, Request};
use serde_json::json;

use crate::args::{ConfigArgs, KeyArgs};
use crate::term::Term;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// The site's directory; it must have no root yet.
    #[arg(long, value_name = "DIR")]
    site: Option<PathBuf>,
    /// App id: letters, digits, '.', '_' and '-'.
    #[arg(long, value_name = "ID")]
    app: Option<String>,
    #[command(flatten)]
    keys: KeyArgs,
    /// How many root keys must sign the next root.
    #[arg(long, value_name = "N", default_value_t = 1)]
    root_threshold: u64,
    /// How many release keys must sign a release.
    #[arg(long, value_name = "N", default_value_t = 1)]
    release_threshold: u64,
    /// How many channel keys must sign a head.
    #[arg(long, value_name = "N", default_value_t = 1)]
    channel_threshold: u64,
    /// Write the first root to this file, unsigned, for root keys that are elsewhere: `publisher root sign` or `add-signature`
    /// sign it, and `publisher root publish` makes the site. Only public keys are needed then.
    #[arg(long, value_name = "FILE")]
    propose: Option<PathBuf>,
    /// Days the root is good for.
    #[arg(long, value_name = "DAYS", default_value_t = ROOT_EXPIRES_DAYS_DEFAULT)]
    root_expires_days: u64,
}

pub(crate) fn run(args: &Args, term: &Term) -> Result<ExitCode, Error> {
    let flags = Config {
        site: args.site.clone(),
        app: args.app.clone(),
        keys: args.keys.dir(),
        password_file: args.keys.password_file(),
        ..Config::default()
    };
    let config = args.config.with(flags)?;
    let keys = config.key_sources(term.ask())?;
    let request = Request {
        site: config.site()?,
        app: config.app()?,
        keys: &keys,
        root_threshold: args.root_threshold,
        release_threshold: args.release_threshold,
        channel_threshold: args.channel_threshold,
        expires_days: args.root_expires_days,
        time: super::now()?,
    };
    if let Some(file) = &args.propose {
        let root = init::propose(&request, file.clone())?;
        let text = format!("{} is to be signed by {} of its root keys", file.display(), root.root.threshold);
        term.result(&text, &json!({"event": "proposed", "file": file, "version": root.version}));
        return Ok(ExitCode::SUCCESS);
    }
    let root = init::run(&request, Arc::new(term.clone()))?;
    let file = request.site.join(layout::root(1));
    let text = format!("{} is a site of {} now; clients carry {}", request.site.display(), root.app, file.display());
    let event = json!({
        "event": "site", "site": request.site, "app": root.app, "root": file, "expires": root.expires.to_string(),
    });
    term.result(&text, &event);
    Ok(ExitCode::SUCCESS)
}
