//! `publisher completions` and `publisher man`: what shells and man(1) want to know of the command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;
use lamplighter_publisher::error::Error;
use lamplighter_publisher::site::SiteError;
use serde_json::json;

use crate::args::Cli;
use crate::term::Term;

#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// Directory for publisher.1 and one page a command; made if it is missing.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub(crate) fn completions(args: &CompletionsArgs, term: &Term) -> Result<ExitCode, Error> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "publisher", &mut script);
    let script = String::from_utf8_lossy(&script);
    term.result(script.trim_end(), &json!({"event": "completions", "shell": args.shell.to_string(), "text": script}));
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn man(args: &ManArgs, term: &Term) -> Result<ExitCode, Error> {
    let write = || {
        std::fs::create_dir_all(&args.out)?;
        clap_mangen::generate_to(Cli::command(), &args.out)
    };
    let failed = |source| SiteError::Write { name: args.out.display().to_string(), source };
    write().map_err(failed)?;
    let text = format!("{} has the man pages; MANPATH or man -l shows them", args.out.display());
    term.result(&text, &json!({"event": "manual", "dir": args.out}));
    Ok(ExitCode::SUCCESS)
}
