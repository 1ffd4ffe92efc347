//! `publisher page`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use lamplighter_publisher::config::Config;
use lamplighter_publisher::error::Error;
use lamplighter_publisher::page;
use lamplighter_publisher::site::{Site, SiteError};
use serde_json::json;

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
    let config = args.site.with(Config::default())?;
    let site = config.site()?;
    let (path, changed) = match &args.out {
        None => (site.join(page::NAME), page::write(site, Arc::new(term.clone()))?),
        Some(out) => {
            let html = page::render(&Site::open(site)?)?;
            let changed = std::fs::read(out).ok().as_deref() != Some(html.as_bytes());
            std::fs::write(out, html).map_err(|source| SiteError::Write { name: out.display().to_string(), source })?;
            (out.clone(), changed)
        }
    };
    let path = path.display().to_string();
    let text = if changed { format!("wrote {path}") } else { format!("{path} is as it was") };
    term.result(&text, &json!({"event": "page", "path": path, "changed": changed}));
    Ok(ExitCode::SUCCESS)
}
