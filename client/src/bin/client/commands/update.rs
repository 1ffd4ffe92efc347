//! `client update`

use lamplighter_client::error::Error;
use lamplighter_client::updater::{Outcome, StageOutcome, Updater};
use serde_json::json;

use super::{absolute_site, config, report, report_idle};
use crate::args::Update;
use crate::exit::Exit;
use crate::output::Output;

pub(super) fn run(args: Update, output: &Output) -> Result<Exit, Error> {
    let from = args.from.map(absolute_site).transpose()?;
    let mut config = config(args.tree, &args.network, output);
    let keeping = args.keep.begin(&mut config)?;
    let mut updater = Updater::open(config.clone())?;
    if let Some(channel) = args.channel {
        updater.follow(&channel)?;
    }
    let ended = if args.stage_only {
        stage(&updater, from.as_deref(), output)
    } else {
        update(&updater, from.as_deref(), output)
    };
    // What was remembered on the way counts, too.
    keeping.end(|| Updater::open(config), output);
    ended
}

fn update(updater: &Updater, from: Option<&str>, output: &Output) -> Result<Exit, Error> {
    match updater.update(from)? {
        Outcome::Done(done) => {
            report(output, "updated", "updated to", &done);
            Ok(Exit::Done)
        }
        Outcome::Idle(idle) => Ok(report_idle(output, &idle)),
    }
}

fn stage(updater: &Updater, from: Option<&str>, output: &Output) -> Result<Exit, Error> {
    match updater.stage(from)? {
        StageOutcome::Ready(prepared) => {
            let fields = json!({"build": prepared.build, "version": prepared.version, "staged_at": prepared.staged_at});
            let text = format!("{} (build {}) is staged; the next start commits it", prepared.version, prepared.build);
            output.result("staged", fields, &text);
            Ok(Exit::Done)
        }
        StageOutcome::Idle(idle) => Ok(report_idle(output, &idle)),
    }
}
