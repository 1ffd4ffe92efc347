//! `publisher explain`.

use std::process::ExitCode;

use lamplighter_publisher::config::Config;
use lamplighter_publisher::error::Error;
use lamplighter_publisher::explain::{self, Explanation, How, Part, Way};
use lamplighter_publisher::report::{columns, ratio};
use lamplighter_publisher::site::{Site, SiteError, Trust};
use serde_json::json;

use crate::args::SiteArgs;
use crate::term::Term;

/// Parts that people are shown without `--all`.
const SHOWN: usize = 25;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    site: SiteArgs,
    /// The build the update starts from.
    #[arg(value_name = "BASE")]
    base: u64,
    /// The build it leads to.
    #[arg(value_name = "TARGET")]
    target: u64,
    /// Only this platform; may be given more than once. Without it all that have both builds.
    #[arg(long, value_name = "NAME")]
    platform: Vec<String>,
    /// List every file that differs, not only the largest.
    #[arg(long)]
    all: bool,
}

pub(crate) fn run(args: &Args, term: &Term) -> Result<ExitCode, Error> {
    let config = args.site.with(Config::default())?;
    let site = Site::open(config.site()?)?;
    let trust = Trust::read(&site)?;
    for platform in platforms(&site, args)? {
        tell(&explain::explain(&site, &trust, &platform, args.base, args.target)?, args.all, term);
    }
    Ok(ExitCode::SUCCESS)
}

fn platforms(site: &Site, args: &Args) -> Result<Vec<String>, SiteError> {
    if !args.platform.is_empty() {
        return Ok(args.platform.clone());
    }
    let releases = site.releases()?;
    let of = |build: u64| releases.iter().filter(move |r| r.0 == build).map(|r| r.1.clone());
    let bases: Vec<String> = of(args.base).collect();
    let both: Vec<String> = of(args.target).filter(|platform| bases.contains(platform)).collect();
    if both.is_empty() {
        let build = if bases.is_empty() { args.base } else { args.target };
        return Err(SiteError::NoSuchBuild { build, platforms: Vec::new() });
    }
    Ok(both)
}

fn tell(told: &Explanation, all: bool, term: &Term) {
    let event = json!({
        "event": "explained", "platform": told.platform, "way": told.way.name(),
        "base_build": told.base.0, "base_version": told.base.1, "build": told.target.0, "version": told.target.1,
        "download_bytes": told.download_bytes, "directory_bytes": told.directory_bytes, "full_bytes": told.full_bytes,
        "parts": told.parts.len(), "unchanged": told.unchanged, "removed": told.removed,
    });
    term.result(&heading(told), &event);
    for (index, part) in told.parts.iter().enumerate() {
        if term.is_json() {
            term.result("", &record(told, part));
        } else if index == 0 {
            let shown = if all { told.parts.len() } else { SHOWN };
            term.result(table(told, shown).trim_end(), &json!(null));
        }
    }
    for advice in told.parts.iter().filter_map(|part| part.advice.as_ref()).filter(|_| !term.is_json()) {
        term.result(&format!("smaller: {}", advice.text), &json!(null));
    }
}

fn heading(told: &Explanation) -> String {
    let (base, target) = (&told.base, &told.target);
    let by = match told.way {
        Way::Same => "holds the same; only the record changes".to_owned(),
        way => {
            let by = if way == Way::Pack { "a pack" } else { "objects, no pack leads there," };
            let share = ratio(told.download_bytes, told.full_bytes);
            format!("{by} of {} bytes, {share} of {} in full", told.download_bytes, told.full_bytes)
        }
    };
    format!(
        "{}: {} ({}) -> {} ({}): {by}; {} files unchanged, {} removed",
        told.platform,
        base.0,
        base.1,
        target.0,
        target.1,
        told.unchanged,
        told.removed.len()
    )
}

fn record(told: &Explanation, part: &Part) -> serde_json::Value {
    json!({
        "event": "part", "platform": told.platform, "path": part.path, "how": part.how.name(),
        "transform": match &part.how { How::Patched(transform) => Some(transform.name()), _ => None },
        "from": part.from, "size": part.size, "download_bytes": part.download_bytes, "estimate": part.is_estimate,
        "advice": part.advice.as_ref().map(|advice| json!({"code": advice.code, "text": advice.text})),
    })
}

fn table(told: &Explanation, shown: usize) -> String {
    let mut rows = vec![["file", "how", "size", "download bytes", "share"].map(str::to_owned)];
    for part in told.parts.iter().take(shown) {
        let share = ratio(part.download_bytes, told.download_bytes);
        rows.push([part.path.clone(), part.how_text(), part.size.to_string(), bytes(part), share]);
    }
    let rest = &told.parts[shown.min(told.parts.len())..];
    if !rest.is_empty() {
        let (size, taken) =
            rest.iter().fold((0, 0), |(size, taken), part| (size + part.size, taken + part.download_bytes));
        let share = ratio(taken, told.download_bytes);
        rows.push([format!("{} more (--all)", rest.len()), String::new(), size.to_string(), taken.to_string(), share]);
    }
    let share = ratio(told.directory_bytes, told.download_bytes);
    rows.push(["(directory)".to_owned(), String::new(), String::new(), told.directory_bytes.to_string(), share]);
    columns(&rows)
}

fn bytes(part: &Part) -> String {
    format!("{}{}", if part.is_estimate { "~" } else { "" }, part.download_bytes)
}
