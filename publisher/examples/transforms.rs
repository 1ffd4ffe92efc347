//! Proves that executables found on a machine come back from patches between neighbours.
//!
//! usage: `transforms [--limit N] [--effort E] [DIRECTORY...]`
//!
//! Takes every executable below the directories, sorts them by format and size, and makes and applies a patch from each to
//! the next. Prints what was proven; the exit code is 1 if anything did not come back.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::fs::{self, File};
use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lamplighter_client::format::pack::{REFERENCES, Unit};
use lamplighter_client::patch::UnitDecoder;
use lamplighter_publisher::diff::{Effort, Files, Side, encode};

/// Larger files take minutes each.
const BYTES_MAX: u64 = 96 << 20;

struct Options {
    limit: usize,
    effort: u8,
    directories: Vec<PathBuf>,
}

fn options() -> Result<Options> {
    let mut options = Options { limit: usize::MAX, effort: 1, directories: Vec::new() };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().context("a value is missing");
        match arg.as_str() {
            "--limit" => options.limit = value()?.parse()?,
            "--effort" => options.effort = value()?.parse()?,
            _ => options.directories.push(arg.into()),
        }
    }
    if options.directories.is_empty() {
        options.directories = ["/usr/bin", "/usr/lib"].map(PathBuf::from).to_vec();
    }
    Ok(options)
}

/// What a file begins with, and how long it is, if it is an executable.
fn executable(path: &Path) -> Option<(Vec<u8>, u64)> {
    let metadata = fs::symlink_metadata(path).ok().filter(|metadata| metadata.is_file())?;
    let mut start = vec![0; 20];
    File::open(path).ok()?.read_exact(&mut start).ok()?;
    let known = matches!(
        start[..],
        [b'M', b'Z', ..]
            | [0x7f, b'E', b'L', b'F', 2, ..]
            | [0xcf, 0xfa, 0xed, 0xfe, ..]
            | [0xca, 0xfe, 0xba, 0xbe, ..]
    );
    // Format and machine come first, so that neighbours are of one kind.
    let kind = [&start[..4], &start[18..20]].concat();
    (known && (1 << 10..=BYTES_MAX).contains(&metadata.len())).then_some((kind, metadata.len()))
}

fn find(directories: &[PathBuf]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for directory in directories {
        for entry in walkdir::WalkDir::new(directory).into_iter().filter_map(Result::ok) {
            found.extend(executable(entry.path()).map(|(kind, length)| (kind, length, entry.into_path())));
        }
    }
    found.sort();
    found.into_iter().map(|(.., path)| path).collect()
}

#[derive(Default)]
struct Totals {
    pairs: usize,
    predicted: usize,
    new_bytes: u64,
    patch_bytes: u64,
    encoding: Duration,
    decoding: Duration,
}

/// Makes and applies the patch of one pair.
fn prove(old: &[u8], new: &[u8], effort: Effort, totals: &mut Totals) -> Result<()> {
    let whole = |bytes: &[u8]| std::iter::once(0..bytes.len() as u64).collect();
    let files = Files { old: whole(old), new: whole(new), twins: vec![Some(0)] };
    let (mut old_bytes, mut new_bytes, mut blocks) = (old, new, Vec::new());
    let old_side = Side { length: old.len() as u64, bytes: &mut old_bytes };
    let new_side = Side { length: new.len() as u64, bytes: &mut new_bytes };
    let start = Instant::now();
    let encoded = encode(old_side, new_side, &files, effort, &mut blocks)?;
    totals.encoding += start.elapsed();
    let unit = Unit {
        method: encoded.method,
        parameters: encoded.parameters,
        codecs: encoded.codecs,
        blocks: 0..encoded.blocks.len(),
        old_rows: vec![0],
        new_rows: vec![0],
    };
    let start = Instant::now();
    let mut decoder = UnitDecoder::new(&unit, old.len() as u64, new.len() as u64, Cursor::new(Vec::new()))?;
    let (mut made, mut rest) = (Vec::with_capacity(new.len()), blocks.as_slice());
    for block in &encoded.blocks {
        let (now, later) = rest.split_at(block.length as usize);
        decoder.block(now, &mut &*old, &mut made)?;
        rest = later;
    }
    decoder.finish()?;
    totals.decoding += start.elapsed();
    ensure!(made == new, "the new bytes differ");
    totals.pairs += 1;
    totals.predicted += usize::from(unit.method == REFERENCES);
    totals.new_bytes += new.len() as u64;
    totals.patch_bytes += blocks.len() as u64;
    Ok(())
}

fn main() -> Result<ExitCode> {
    let options = options()?;
    let found = find(&options.directories);
    // A part of them is spread over all of them.
    let step = (found.len() / options.limit.max(1)).max(1);
    let (mut totals, mut failed) = (Totals::default(), 0);
    for pair in found.windows(2).step_by(step).take(options.limit) {
        let (Ok(old), Ok(new)) = (fs::read(&pair[0]), fs::read(&pair[1])) else { continue };
        if let Err(error) = prove(&old, &new, Effort::new(options.effort), &mut totals) {
            failed += 1;
            println!("{} to {}: {error:#}", pair[0].display(), pair[1].display());
        }
        if totals.pairs % 100 == 0 {
            eprint!("\r{} of {}", totals.pairs * step, found.len());
            std::io::stderr().flush()?;
        }
    }
    let Totals { pairs, predicted, new_bytes, patch_bytes, encoding, decoding } = totals;
    println!(
        "{} executables, {pairs} pairs proven ({predicted} with prediction), {failed} failed; {new_bytes} bytes from \
         {patch_bytes}, made in {:.1} s, applied in {:.1} s",
        found.len(),
        encoding.as_secs_f64(),
        decoding.as_secs_f64()
    );
    Ok(if failed == 0 && pairs > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
