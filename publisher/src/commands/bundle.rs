//! `publisher bundle`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use lamplighter_publisher::bundle::template::Template;
use lamplighter_publisher::bundle::{self, Request};
use lamplighter_publisher::config::Config;
use lamplighter_publisher::error::Error;
use serde_json::json;

use crate::args::SiteArgs;
use crate::term::Term;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    site: SiteArgs,
    /// App id; the site must belong to it.
    #[arg(long, value_name = "ID")]
    app: Option<String>,
    /// The channel that the tree is to follow.
    #[arg(long, value_name = "NAME")]
    channel: Option<String>,
    /// The build.
    #[arg(long, value_name = "N")]
    build: Option<u64>,
    /// The platform.
    #[arg(long, value_name = "NAME")]
    platform: String,
    /// Where clients find the site.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Another place that hands out the same site; may be given more than once.
    #[arg(long, value_name = "URL")]
    mirror: Vec<String>,
    /// The root document to pin: the one the app carries, if it carries one. [default: the newest of the site]
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    /// Directory that everything lies in; of a macOS app it ends in .app. [default: the app id]
    #[arg(long, value_name = "DIR")]
    name: Option<String>,
    /// The archive to write, .zip or .tar.zst; with --template a directory that does not exist yet.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Write the script and the folder that an installer is made from: nsis, inno, deb or macos.
    #[arg(long, value_name = "KIND", value_parser = template)]
    template: Option<Template>,
}

fn template(text: &str) -> Result<Template, String> {
    let found = Template::NAMES.iter().find(|(name, _)| *name == text);
    found.map(|(_, template)| *template).ok_or_else(|| "expected nsis, inno, deb or macos".to_owned())
}

pub(crate) fn run(args: &Args, term: &Term) -> Result<ExitCode, Error> {
    let flags = Config {
        app: args.app.clone(),
        channel: args.channel.clone(),
        build: args.build,
        url: args.url.clone(),
        mirrors: (!args.mirror.is_empty()).then(|| args.mirror.clone()),
        ..Config::default()
    };
    let config = args.site.with(flags)?;
    let request = Request {
        site: config.site()?,
        app: config.app.as_ref().map(|_| config.app()).transpose()?,
        build: config.build()?,
        platform: &args.platform,
        url: config.url()?,
        channel: config.channel()?,
        mirrors: config.mirrors()?.unwrap_or_default(),
        root: args.root.as_deref(),
        name: args.name.as_deref(),
        out: &args.out,
        template: args.template,
    };
    let bundled = bundle::run(&request, Arc::new(term.clone()))?;
    let out = bundled.out.display();
    let (build, platform) = (request.build, request.platform);
    let what = format!("build {build} ({}) of {platform}, {} entries", bundled.version, bundled.entries);
    let text = match bundled.file {
        Some((length, blake3)) => format!("{out}: {what}, {length} bytes, BLAKE3 {blake3}"),
        None => format!("{out}: {what}, {} bytes; the script says what to do with it", bundled.content_bytes),
    };
    let event = json!({
        "event": "bundle", "out": bundled.out, "build": build, "version": bundled.version, "platform": platform,
        "entries": bundled.entries, "content_bytes": bundled.content_bytes, "bytes": bundled.file.map(|f| f.0),
        "blake3": bundled.file.map(|f| f.1.to_string()),
    });
    term.result(&text, &event);
    Ok(ExitCode::SUCCESS)
}
