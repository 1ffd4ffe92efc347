//! `publisher page`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use lamplighter_publisher::config::Config;
use lamplighter_publisher::error::Error;
use lamplighter_publisher::page;
use lamplighter_publisher::site::SiteError;
use serde_json::json;

use super::place::Place;
use crate::args::SiteArgs;
use crate::term::Term;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    site: SiteArgs,
    /// Write the page here, and leave the site as it is. [default: index.html of the site]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, term: &Term) -> Result<ExitCode, Error> {
    let mut config = args.site.with(Config::default())?;
    let place = Place::open(&mut config, term)?;
    let (dir, watch) = (config.site()?, Arc::new(term.clone()));
    let (path, changed) = match (&args.out, place.origin()) {
        (None, None) => (dir.join(page::NAME).display().to_string(), page::write(dir, watch)?),
        (None, Some(origin)) => (format!("{}/{}", origin.location(), page::NAME), page::send(dir, origin, watch)?),
        (Some(out), origin) => {
            let (html, path) = (page::render(dir, origin)?, out.display().to_string());
            let changed = std::fs::read(out).ok().as_deref() != Some(html.as_bytes());
            std::fs::write(out, html).map_err(|source| SiteError::Write { name: path.clone(), source })?;
            (path, changed)
        }
    };
    let text = if changed { format!("wrote {path}") } else { format!("{path} is as it was") };
    term.result(&text, &json!({"event": "page", "path": path, "changed": changed}));
    place.tell(term);
    Ok(ExitCode::SUCCESS)
}
