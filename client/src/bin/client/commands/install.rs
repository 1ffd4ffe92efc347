//! `client install`

use lamplighter_client::error::Error;
use lamplighter_client::updater::{Outcome, Updater};

use super::{absolute_site, origin, report, report_idle};
use crate::args::Install;
use crate::exit::Exit;
use crate::output::Output;

pub(super) fn run(args: Install, output: &Output) -> Result<Exit, Error> {
    let from = args.from.map(absolute_site).transpose()?;
    let (mut config, origin) = origin(args.origin, output)?;
    let keeping = args.keep.begin(&mut config)?;
    let ended = Updater::install_from(config.clone(), &origin, from.as_deref());
    keeping.end(|| Updater::open(config), output);
    match ended? {
        Outcome::Done(done) => {
            report(output, "installed", "installed", &done);
            Ok(Exit::Done)
        }
        Outcome::Idle(idle) => Ok(report_idle(output, &idle)),
    }
}
