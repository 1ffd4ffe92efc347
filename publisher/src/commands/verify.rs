//! `publisher verify`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use lamplighter_publisher::config::Config;
use lamplighter_publisher::error::{Class, Error};
use lamplighter_publisher::verify::{self, Request, Verified};
use serde_json::json;

use crate::args::SiteArgs;
use crate::term::Term;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    site: SiteArgs,
    /// Threads. [default: one a core]
    #[arg(long, value_name = "J")]
    jobs: Option<usize>,
    /// Where scratch trees lie; needs room for one tree and its update a thread. [default: the system's]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Read everything, but do not try the ways from release to release.
    #[arg(long)]
    no_proof: bool,
}

pub(crate) fn run(args: &Args, term: &Term) -> Result<ExitCode, Error> {
    let flags = Config { jobs: args.jobs, scratch: args.scratch.clone(), ..Config::default() };
    let config = args.site.with(flags)?;
    let system = std::env::temp_dir();
    let request = Request {
        site: config.site()?,
        jobs: config.jobs()?,
        prove: !args.no_proof,
        scratch: config.scratch.as_deref().unwrap_or(&system),
        time: super::now()?,
    };
    let verified = verify::run(&request, Arc::new(term.clone()))?;
    for finding in &verified.findings {
        let event = json!({"event": "finding", "code": finding.code, "name": finding.name, "text": finding.text});
        term.result(&format!("wrong: {}: {}", finding.name, finding.text), &event);
    }
    tell(&verified, term);
    let sound = verified.findings.is_empty();
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::from(Class::Site.exit_code()) })
}

fn tell(verified: &Verified, term: &Term) {
    let wrong = match verified.findings.len() {
        0 => "nothing is wrong".to_owned(),
        1 => "1 thing is wrong".to_owned(),
        many => format!("{many} things are wrong"),
    };
    let text = format!(
        "read {} root(s), {} head(s), {} release(s), {} object(s), {} pack(s), {} bytes; tried {} way(s): {wrong}",
        verified.roots,
        verified.heads,
        verified.releases,
        verified.objects,
        verified.packs,
        verified.read_bytes,
        verified.ways
    );
    let event = json!({
        "event": "verified", "findings": verified.findings.len(), "roots": verified.roots, "heads": verified.heads,
        "releases": verified.releases, "objects": verified.objects, "packs": verified.packs,
        "read_bytes": verified.read_bytes, "ways": verified.ways, "unnamed": verified.unnamed,
    });
    term.result(&text, &event);
}
