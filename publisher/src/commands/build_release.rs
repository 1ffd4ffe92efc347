//! `publisher build-release`.

use std::path::PathBuf;
use std::process::ExitCode;

use lamplighter_publisher::error::Error;

use crate::args::ConfigArgs;
use crate::term::Term;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    #[arg(long)]
    site: Option<PathBuf>,
}
pub(crate) fn run(args: &Args, term: &Term) -> Result<ExitCode, Error> {
    Ok(ExitCode::SUCCESS)
}
