//! `publisher serve`.

use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;

use lamplighter_publisher::config::{Config, LISTEN_DEFAULT};
use lamplighter_publisher::error::Error;
use lamplighter_publisher::serve::Server;
use lamplighter_publisher::site::Site;
use serde_json::json;

use crate::args::SiteArgs;
use crate::term::Term;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    site: SiteArgs,
    /// Address and port; port 0 takes a free one. [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Do not log requests.
    #[arg(long)]
    quiet: bool,
}

pub(crate) fn run(args: &Args, term: &Term) -> Result<ExitCode, Error> {
    let flags = Config { listen: args.listen.clone(), ..Config::default() };
    let config = args.site.with(flags)?;
    let site = Site::open(config.site()?)?;
    let listen = config.listen.as_deref().unwrap_or(LISTEN_DEFAULT);
    let (quiet, log_term) = (args.quiet, term.clone());
    let log = move |line: &str, status: u16, bytes: u64| {
        if !quiet {
            log_term.request(line, status, bytes);
        }
    };
    let server = Server::bind(site.dir(), listen, Arc::new(log))?;
    let shown = server.address().map_or_else(|_| listen.to_owned(), |a| a.to_string());
    let loopback =
        server.address().is_ok_and(|a| matches!(a.ip(), IpAddr::V4(ip) if ip.is_loopback()) || a.ip().is_loopback());
    if !loopback {
        term.note("not-loopback", "this server is for trying a site; others can reach it at this address");
    }
    let text = format!("serving {} at http://{shown}/", site.dir().display());
    term.result(&text, &json!({"event": "serving", "site": site.dir(), "url": format!("http://{shown}/")}));
    server.run();
    Ok(ExitCode::SUCCESS)
}
