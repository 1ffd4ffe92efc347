//! `publisher cost`.

use std::path::PathBuf;
use std::process::ExitCode;

use lamplighter_publisher::config::Config;
use lamplighter_publisher::cost::fleet::Fleet;
use lamplighter_publisher::cost::simulate::Peaks;
use lamplighter_publisher::cost::{self, Facts, Sheet, Traffic};
use lamplighter_publisher::error::Error;
use lamplighter_publisher::page::html::bytes;
use lamplighter_publisher::report::columns;
use lamplighter_publisher::site::Site;
use serde_json::{Value, json};

use crate::args::SiteArgs;
use crate::term::Term;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    site: SiteArgs,
    /// Description of the fleet and the prices, in TOML.
    #[arg(long, value_name = "FILE")]
    fleet: PathBuf,
}

pub(crate) fn run(args: &Args, term: &Term) -> Result<ExitCode, Error> {
    let config = args.site.with(Config::default())?;
    let site = Site::open(config.site()?)?;
    let fleet = Fleet::load(&args.fleet)?;
    let (head_bytes, facts) = cost::read(&site, &fleet)?;
    let sheet = cost::sheet(&fleet, head_bytes, &facts);
    term.result(to_text(&fleet, &sheet).trim_end(), &to_json(&fleet, head_bytes, &facts, &sheet));
    Ok(ExitCode::SUCCESS)
}

fn to_text(fleet: &Fleet, sheet: &Sheet) -> String {
    let currency = &fleet.prices.currency;
    let mut rows = vec![["a month", "", "requests", "bytes", currency.as_str()].map(str::to_owned)];
    let mut row = |what: &str, traffic: Traffic| {
        let money = format!("{:.2}", traffic.money(fleet));
        rows.push([
            what.to_owned(),
            String::new(),
            format!("{:.0}", traffic.requests),
            bytes(traffic.bytes as u64),
            money,
        ]);
    };
    row("checks", sheet.checks);
    row("updates", sheet.updates);
    row("first installs", sheet.installs);
    row("all", sheet.checks.plus(sheet.updates).plus(sheet.installs));
    row("updates as full downloads", sheet.full_updates);
    let share = match sheet.full_updates.bytes {
        0.0 => String::new(),
        full => format!("updates take {:.2} % of the bytes of full downloads\n", sheet.updates.bytes * 100.0 / full),
    };
    let peak = |what: &str, peaks: Peaks| {
        format!("{what}: {:.0} a second on the first day, {:.0} a week later\n", peaks.first_day, peaks.last_day)
    };
    format!(
        "{}{share}checks a second, all clients beginning within {} minutes: {:.0} on average\n{}{}",
        columns(&rows),
        fleet.start_window_minutes,
        sheet.mean_rate,
        peak(&format!("  at most, with {} % jitter", fleet.jitter_percent), sheet.with_jitter),
        peak("  at most, without", sheet.without_jitter)
    )
}

fn to_json(fleet: &Fleet, head_bytes: u64, facts: &[Facts], sheet: &Sheet) -> Value {
    let traffic = |traffic: Traffic| {
        let (requests, bytes) = (traffic.requests.round() as u64, traffic.bytes.round() as u64);
        json!({"requests": requests, "bytes": bytes, "money": traffic.money(fleet)})
    };
    let peaks = |peaks: Peaks| json!({"first_day": peaks.first_day, "last_day": peaks.last_day});
    let platforms: Vec<Value> = facts
        .iter()
        .map(|facts| {
            let updates: Vec<Value> =
                facts.updates.iter().map(|u| json!({"requests": u.requests, "bytes": u.bytes})).collect();
            let full = json!({"requests": facts.full.requests, "bytes": facts.full.bytes});
            json!({"platform": facts.platform, "build": facts.build, "updates": updates, "full": full})
        })
        .collect();
    json!({
        "event": "cost", "currency": fleet.prices.currency, "month_days": cost::MONTH_DAYS, "head_bytes": head_bytes,
        "platforms": platforms, "checks": traffic(sheet.checks), "updates": traffic(sheet.updates),
        "full_updates": traffic(sheet.full_updates), "installs": traffic(sheet.installs),
        "rate": {
            "mean": sheet.mean_rate, "with_jitter": peaks(sheet.with_jitter),
            "without_jitter": peaks(sheet.without_jitter),
        },
    })
}
