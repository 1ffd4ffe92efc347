//! Man pages and shell completions of `client` and `patcher`, which carry none themselves: they are to stay small.
//!
//! usage: cargo run -p lamplighter-publisher --example client_manual -- DIR

// The command lines as the programs have them; not all of what stands beside them, and no feature of theirs, is of use here.
#![allow(dead_code, unreachable_pub, unexpected_cfgs)]

#[path = "../../client/src/bin/client/args.rs"]
mod client;
#[path = "../../client/src/bin/client/exit.rs"]
mod exit;
#[path = "../../client/src/bin/client/network.rs"]
mod network;
#[path = "../../client/src/bin/patcher/args.rs"]
mod patcher;

use std::path::Path;

use clap::{Command, CommandFactory, ValueEnum};
use clap_complete::Shell;

fn main() -> std::io::Result<()> {
    let out = std::env::args_os().nth(1).ok_or_else(|| std::io::Error::other("expected a directory"))?;
    let out = Path::new(&out);
    std::fs::create_dir_all(out)?;
    for (name, command) in [("client", client::Args::command()), ("patcher", patcher::Args::command())] {
        write(command.name(name), name, out)?;
    }
    Ok(())
}

fn write(mut command: Command, name: &str, out: &Path) -> std::io::Result<()> {
    for shell in Shell::value_variants() {
        clap_complete::generate_to(*shell, &mut command, name, out)?;
    }
    clap_mangen::generate_to(command, out)
}
