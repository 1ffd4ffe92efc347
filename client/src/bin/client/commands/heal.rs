//! `client heal`

use lamplighter_client::error::Error;

use super::{absolute_site, open, report};
use crate::args::Heal;
use crate::exit::Exit;
use crate::output::Output;

pub(super) fn run(args: Heal, output: &Output) -> Result<Exit, Error> {
    let from = args.from.map(absolute_site).transpose()?;
    let healed = open(args.tree, args.network, output)?.heal(from.as_deref())?;
    report(output, "healed", "healed", &healed);
    Ok(Exit::Done)
}
