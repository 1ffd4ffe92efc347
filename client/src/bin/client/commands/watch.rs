//! `client watch`

use lamplighter_client::error::Error;
use lamplighter_client::watch::{Schedule, WatchEvent, WatchOptions};
use serde_json::json;

use super::{open, report_idle};
use crate::args::Watch;
use crate::exit::Exit;
use crate::output::Output;

pub(super) fn run(args: Watch, output: &Output) -> Result<Exit, Error> {
    let updater = open(args.tree, args.network, output)?;
    let schedule = Schedule { interval: args.interval, ..Schedule::default() };
    let mut exit = Exit::Done;
    updater.watch(&WatchOptions { schedule, rounds: args.once.then_some(1) }, |event| match event {
        WatchEvent::Idle(idle) => exit = report_idle(output, idle),
        WatchEvent::Ready(prepared) => {
            let text = format!("{} (build {}) is ready; the next start has it", prepared.version, prepared.build);
            output.result("ready", json!({"build": prepared.build, "version": prepared.version}), &text);
            exit = Exit::Done;
        }
        // The failure of the only round is what the program ends with.
        WatchEvent::Failed(_) if args.once => {}
        WatchEvent::Failed(error) => output.error(error, Exit::of(error)),
        WatchEvent::Waiting(pause) => {
            let seconds = pause.as_secs();
            output.result("waiting", json!({ "seconds": seconds }), &format!("next round in {} min", seconds / 60));
        }
    })?;
    Ok(if args.once { exit } else { Exit::Done })
}
