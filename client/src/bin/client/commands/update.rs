//! `client update`

use lamplighter_client::error::Error;
use lamplighter_client::updater::{Outcome, StageOutcome, Updater};
use serde_json::json;

use super::{absolute_site, open, report, report_idle};
use crate::args::Update;
use crate::exit::Exit;
use crate::output::Output;

pub(super) fn run(args: Update, output: &Output) -> Result<Exit, Error> {
    let from = args.from.map(absolute_site).transpose()?;
    let mut updater = open(args.tree, args.network, output)?;
    if let Some(channel) = args.channel {
        updater.follow(&channel)?;
    }
    if args.stage_only {
        return stage(&updater, from.as_deref(), output);
    }
    match updater.update(from.as_deref())? {
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
