//! `client update`

use lamplighter_client::error::Error;
use lamplighter_client::updater::Outcome;

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
    match updater.update(from.as_deref())? {
        Outcome::Done(done) => {
            report(output, "updated", "updated to", &done);
            Ok(Exit::Done)
        }
        Outcome::Idle(idle) => Ok(report_idle(output, &idle)),
    }
}
