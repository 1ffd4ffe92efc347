//! `publisher configure`.

use std::process::ExitCode;

use clap::ValueEnum;
use lamplighter_publisher::config::ConfigError;
use lamplighter_publisher::configure::{Place, Server, configure};
use lamplighter_publisher::error::Error;
use serde_json::json;

use crate::term::Term;

/// What hands the site out.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Nginx,
    Caddy,
    Apache,
    S3Cloudfront,
    Cloudflare,
    GithubPages,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What is to hand out the site.
    #[arg(value_name = "SERVER")]
    server: Kind,
    /// The name clients reach it by.
    #[arg(long, value_name = "NAME", default_value = "updates.example.com")]
    host: String,
    /// Path of the site below that name.
    #[arg(long, value_name = "PATH", default_value = "/")]
    path: String,
    /// Directory of the site on the server.
    #[arg(long, value_name = "DIR", default_value = "/srv/site")]
    root: String,
    /// Where the server listens, as it writes it. [default: port 80; of Caddy the host]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
}

pub(crate) fn run(args: &Args, term: &Term) -> Result<ExitCode, Error> {
    let server = match args.server {
        Kind::Nginx => Server::Nginx,
        Kind::Caddy => Server::Caddy,
        Kind::Apache => Server::Apache,
        Kind::S3Cloudfront => Server::S3CloudFront,
        Kind::Cloudflare => Server::Cloudflare,
        Kind::GithubPages => Server::GithubPages,
    };
    let place = Place::new(&args.host, &args.path, &args.root, args.listen.as_deref())
        .map_err(|e| ConfigError::Invalid { key: e.key.to_owned(), expected: e.expected, found: e.found })?;
    let text = configure(server, &place);
    term.result(text.trim_end(), &json!({"event": "configuration", "server": server.name(), "text": text}));
    Ok(ExitCode::SUCCESS)
}
