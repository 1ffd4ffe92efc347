//! `client install`

use lamplighter_client::error::Error;
use lamplighter_client::updater::{Outcome, Updater};

use super::{origin, report, report_idle};
use crate::args::Origin;
use crate::exit::Exit;
use crate::output::Output;

pub(super) fn run(args: Origin, output: &Output) -> Result<Exit, Error> {
    let (config, origin) = origin(args, output)?;
    match Updater::install(config, &origin)? {
        Outcome::Done(done) => {
            report(output, "installed", "installed", &done);
            Ok(Exit::Done)
        }
        Outcome::Idle(idle) => Ok(report_idle(output, &idle)),
    }
}
