//! `publisher upload`.

use std::process::ExitCode;
use std::sync::Arc;

use indicatif::HumanBytes;
use lamplighter_publisher::config::Config;
use lamplighter_publisher::error::Error;
use lamplighter_publisher::store::{Conditions, Store};
use lamplighter_publisher::upload::{self, Options, Uploaded};
use serde_json::{Value, json};

use crate::args::SiteArgs;
use crate::term::Term;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    site: SiteArgs,
    /// Where the site goes: s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or a directory. Credentials and
    /// endpoints come from the provider's ordinary variables (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, GOOGLE_..., AZURE_...).
    #[arg(long, value_name = "LOCATION")]
    to: Option<String>,
    /// Files under way at once. [default: 8]
    #[arg(long, value_name = "N")]
    connections: Option<usize>,
    /// Replace the manifest, index and notes of a release that is not published there yet, which an upload left that died.
    #[arg(long)]
    replace_unfinished: bool,
}

pub(crate) fn run(args: &Args, term: &Term) -> Result<ExitCode, Error> {
    let flags = Config { upload_to: args.to.clone(), connections: args.connections, ..Config::default() };
    let config = args.site.with(flags)?;
    let store = Store::open(config.upload_to()?)?;
    let options = Options { connections: config.connections()?, replace_unfinished: args.replace_unfinished };
    let uploaded = upload::run(config.site()?, &store, options, Arc::new(term.clone()))?;
    term.result(&text(&uploaded, store.location()), &event(&uploaded, store.location()));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn text(uploaded: &Uploaded, location: &str) -> String {
    let head = |head: &upload::HeadSent| {
        let verb = if head.moved { "moved to" } else { "was at" };
        format!("\n{} {verb} sequence {}", head.channel, head.sequence)
    };
    format!(
        "{location}: {} file(s) sent ({}), {} there before ({}), {} requests{}",
        uploaded.files,
        HumanBytes(uploaded.bytes),
        uploaded.present_files,
        HumanBytes(uploaded.present_bytes),
        uploaded.requests,
        uploaded.heads.iter().map(head).collect::<String>()
    )
}

pub(super) fn event(uploaded: &Uploaded, location: &str) -> Value {
    let heads: Vec<Value> = uploaded
        .heads
        .iter()
        .map(|head| json!({"channel": head.channel, "sequence": head.sequence, "moved": head.moved}))
        .collect();
    let conditions = uploaded.conditions.as_ref().map(|conditions| match conditions {
        Conditions::Kept => "kept",
        Conditions::Ignored => "ignored",
        Conditions::Refused(_) => "refused",
    });
    json!({
        "event": "uploaded", "location": location, "files": uploaded.files, "bytes": uploaded.bytes,
        "present_files": uploaded.present_files, "present_bytes": uploaded.present_bytes, "heads": heads,
        "conditions": conditions, "requests": uploaded.requests,
    })
}
