//! `client check`

use lamplighter_client::error::Error;
use lamplighter_client::updater::CheckOutcome;
use serde_json::json;

use super::{open, report_idle};
use crate::args::Check;
use crate::exit::Exit;
use crate::output::Output;

pub(super) fn run(args: Check, output: &Output) -> Result<Exit, Error> {
    match open(args.tree, args.network, output)?.check()? {
        CheckOutcome::Available { build, version } => {
            let text = format!("{version} (build {build}) is available");
            output.result("available", json!({"build": build, "version": version}), &text);
            Ok(Exit::Done)
        }
        CheckOutcome::Idle(idle) => Ok(report_idle(output, &idle)),
    }
}
