//! Prints random histories of a site and what the client's rules of trust say to each step, one JSON object a line.
//!
//! usage: `histories FIRST COUNT`: the histories number FIRST to FIRST + COUNT - 1; the same number is the same history
//!
//! `scripts/oracle.py` reads them, writes every step as metadata of The Update Framework, has an independent program judge
//! it, and compares. Secret keys are one byte, 32 times over, so that both sides sign with the same keys.
#![allow(clippy::print_stdout)]

mod dice;
mod documents;
#[path = "../../tests/support/keys.rs"]
mod keys;
#[path = "../../tests/support/documents.rs"]
mod plain;
mod story;
mod visit;

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let args: Vec<u64> = std::env::args().skip(1).map(|a| a.parse()).collect::<Result<_, _>>().context("a number")?;
    let &[first, count] = args.as_slice() else { anyhow::bail!("usage: histories FIRST COUNT") };
    for number in first..first + count {
        println!("{}", story::tell(number));
    }
    Ok(())
}
