//! The `publisher` program.

mod args;
mod commands;
mod term;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    let term = term::Term::new(cli.json);
    match commands::run(&cli.command, &term) {
        Ok(code) => code,
        Err(error) => term.failed(&error),
    }
}
