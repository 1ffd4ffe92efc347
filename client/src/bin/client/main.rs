//! The `client` program: installs, updates, verifies and heals a tree from a site of static files.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod commands;
mod exit;
mod keep;
mod network;
mod output;
mod term;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = args::Args::parse();
    let output = output::Output::new(args.json, args.quiet);
    match commands::run(args.command, &output) {
        Ok(exit) => exit.into(),
        Err(error) => {
            let exit = exit::Exit::of(&error);
            output.error(&error, exit);
            exit.into()
        }
    }
}
