//! The commands: each file holds one, its arguments and a thin `run`.

pub(crate) mod build_release;
pub(crate) mod bundle;
pub(crate) mod check_remote;
pub(crate) mod configure;
pub(crate) mod cost;
pub(crate) mod explain;
pub(crate) mod finish;
pub(crate) mod init;
pub(crate) mod keygen;
pub(crate) mod manual;
pub(crate) mod page;
pub(crate) mod place;
pub(crate) mod promote;
pub(crate) mod prune;
pub(crate) mod refresh;
pub(crate) mod revert;
pub(crate) mod root;
pub(crate) mod serve;
pub(crate) mod steer;
pub(crate) mod upload;
pub(crate) mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lamplighter_client::format::text::Time;
use lamplighter_publisher::config::{self, ConfigError};
use lamplighter_publisher::error::Error;
use lamplighter_publisher::site::write::clear_temp;

use crate::args::Command;
use crate::term::Term;

const INTERRUPTED: i32 = 130;

/// Runs the command; a code other than 0 without an error is a result of its own.
pub(crate) fn run(command: &Command, term: &Term) -> Result<ExitCode, Error> {
    match command {
        Command::Keygen(args) => keygen::run(args, term),
        Command::Init(args) => init::run(args, term),
        Command::Root(command) => root::run(command, term),
        Command::BuildRelease(args) => build_release::run(args, term),
        Command::Promote(args) => promote::run(args, term),
        Command::Finish(args) => finish::run(args, term),
        Command::Halt(args) => steer::halt(args, term),
        Command::Resume(args) => steer::resume(args, term),
        Command::Bad(args) => steer::bad(args, term),
        Command::Revert(args) => revert::run(args, term),
        Command::Refresh(args) => refresh::run(args, term),
        Command::Explain(args) => explain::run(args, term),
        Command::Page(args) => page::run(args, term),
        Command::Bundle(args) => bundle::run(args, term),
        Command::CheckRemote(args) => check_remote::run(args, term),
        Command::Upload(args) => upload::run(args, term),
        Command::Verify(args) => verify::run(args, term),
        Command::Prune(args) => prune::run(args, term),
        Command::Configure(args) => configure::run(args, term),
        Command::Cost(args) => cost::run(args, term),
        Command::Serve(args) => serve::run(args, term),
        Command::Completions(args) => manual::completions(args, term),
        Command::Man(args) => manual::man(args, term),
    }
}

/// The time of the run: `SOURCE_DATE_EPOCH`, or the clock.
fn now() -> Result<Time, ConfigError> {
    config::time_from(std::env::var_os("SOURCE_DATE_EPOCH").as_deref())
}

/// Clears what is under way in the site when the user interrupts; what clients see is whole at any moment.
fn tidy_on_interrupt(site: &Path, term: &Term) {
    let (site, term): (PathBuf, Term) = (site.to_owned(), term.clone());
    let set = ctrlc::set_handler(move || {
        term.note("interrupted", "clients see the site as it was; run again to finish");
        clear_temp(&site);
        std::process::exit(INTERRUPTED);
    });
    // Without a handler the next run tidies up.
    drop(set);
}
