//! `publisher check-remote`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use lamplighter_publisher::config::{Config, ConfigError};
use lamplighter_publisher::error::{Class, Error};
use lamplighter_publisher::remote::{self, Checked, HEAD_DAYS_DEFAULT, ROOT_DAYS_DEFAULT, Request};
use serde_json::json;

use crate::args::ConfigArgs;
use crate::term::Term;

/// The exit code where something expires soon, or is odd and harms no client.
const WARNING: u8 = 1;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// The site: a URL, a bucket (s3://bucket/prefix, gs://, az://) or a directory.
    #[arg(value_name = "URL|DIR")]
    location: String,
    /// App id; the site must belong to it.
    #[arg(long, value_name = "ID")]
    app: Option<String>,
    /// The channel to look at; may be given more than once.
    #[arg(long, value_name = "NAME")]
    channel: Vec<String>,
    /// The root document that clients carry. Without it, the site's own first root is believed.
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    /// Warn of a head that is good for fewer days.
    #[arg(long, value_name = "DAYS", default_value_t = HEAD_DAYS_DEFAULT)]
    head_days: u64,
    /// Warn of a root that is good for fewer days.
    #[arg(long, value_name = "DAYS", default_value_t = ROOT_DAYS_DEFAULT)]
    root_days: u64,
    /// Look at the signed documents alone, not at the objects and packs they name.
    #[arg(long, conflicts_with = "deep")]
    quick: bool,
    /// Fetch and hash everything that the offered releases name, not only the first byte of each file.
    #[arg(long)]
    deep: bool,
    /// Files asked for at once. [default: 8]
    #[arg(long, value_name = "N")]
    connections: Option<usize>,
}

pub(crate) fn run(args: &Args, term: &Term) -> Result<ExitCode, Error> {
    let flags = Config { app: args.app.clone(), connections: args.connections, ..Config::default() };
    let config = args.config.with(flags)?;
    let named = |channel: &String| {
        let one = Config { channel: Some(channel.clone()), ..Config::default() };
        one.channel().map(str::to_owned)
    };
    let channels = match args.channel.is_empty() {
        true => vec![config.channel()?.to_owned()],
        false => args.channel.iter().map(named).collect::<Result<_, _>>()?,
    };
    let read = |file: &PathBuf| {
        let found = |error: std::io::Error| format!("{}: {error}", file.display());
        let expected = "a root document that can be read";
        std::fs::read(file).map_err(|e| ConfigError::Invalid { key: "--root".to_owned(), expected, found: found(e) })
    };
    let root = args.root.as_ref().map(read).transpose()?;
    if root.is_none() {
        term.note("root-unpinned", "without --root the site's own first root is believed");
    }
    let request = Request {
        location: &args.location,
        app: config.app.as_ref().map(|_| config.app()).transpose()?,
        root: root.as_deref(),
        channels: &channels,
        head_days: args.head_days,
        root_days: args.root_days,
        quick: args.quick,
        deep: args.deep,
        connections: config.connections()?,
        time: super::now()?,
    };
    let checked = remote::check(&request, Arc::new(term.clone()))?;
    tell(&checked, term);
    Ok(match checked.findings.iter().map(|f| f.is_warning).reduce(|a, b| a && b) {
        None => ExitCode::SUCCESS,
        Some(true) => ExitCode::from(WARNING),
        Some(false) => ExitCode::from(Class::Site.exit_code()),
    })
}

fn tell(checked: &Checked, term: &Term) {
    for finding in &checked.findings {
        let word = match finding.is_warning {
            true if finding.code.ends_with("-expires") => "soon",
            true => "odd",
            false => "wrong",
        };
        let event = json!({
            "event": "finding", "level": if finding.is_warning { "warning" } else { "error" }, "code": finding.code,
            "name": finding.name, "text": finding.text,
        });
        term.result(&format!("{word}: {}: {}", finding.name, finding.text), &event);
    }
    for looked in &checked.channels {
        let offers: Vec<String> =
            looked.releases.iter().map(|(platform, build)| format!("{platform} {build}")).collect();
        let (channel, sequence, expires) = (&looked.channel, looked.sequence, looked.expires);
        let text = format!("{channel} offers {}, until {expires} (sequence {sequence})", offers.join(", "));
        let releases: Vec<_> =
            looked.releases.iter().map(|(platform, build)| json!({"platform": platform, "build": build})).collect();
        let event = json!({
            "event": "channel", "channel": channel, "sequence": sequence, "expires": expires.to_string(),
            "releases": releases,
        });
        term.result(&text, &event);
    }
    let event = json!({
        "event": "checked", "findings": checked.findings.len(), "requests": checked.requests,
        "files": checked.files,
        "root_expires": checked.root_expires.map(|time| time.to_string()),
    });
    let text = match checked.findings.len() {
        0 => format!("nothing is wrong; {} files named, {} requests", checked.files, checked.requests),
        count => format!("{count} finding(s); {} files named, {} requests", checked.files, checked.requests),
    };
    term.result(&text, &event);
}
