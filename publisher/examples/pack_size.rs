//! Builds the pack between two directories, proves it by decoding every unit, and prints what it takes.
//!
//! usage: `pack_size OLD NEW [EFFORT [--build-only | DEFLATE_BYTES_PER_SECOND]]`; the first of the last two does not decode
#![allow(clippy::print_stdout)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use lamplighter_client::format::digest::ContentDigest;
use lamplighter_client::format::manifest::{Kind, Manifest, Policy, Row};
use lamplighter_client::format::path::RelPath;
use lamplighter_client::progress::Silent;
use lamplighter_publisher::packs::{PackOptions, Step, UnitCache, build};

fn scan(dir: &Path) -> Result<Manifest> {
    let mut rows = Vec::new();
    for entry in walkdir::WalkDir::new(dir) {
        let entry = entry?;
        if entry.file_type().is_file() {
            let relative = entry.path().strip_prefix(dir)?.to_str().context("a path in UTF-8")?;
            let digest = ContentDigest::read(&mut fs::File::open(entry.path())?)?;
            let kind = Kind::File { executable: false };
            rows.push(Row { path: RelPath::parse(relative)?, digest, kind, policy: Policy::Managed });
        }
    }
    Ok(Manifest::new(rows)?)
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let (old, new) = (Path::new(args.get(1).context("OLD")?), Path::new(args.get(2).context("NEW")?));
    let effort = args.get(3).map_or(Ok(5), |text| text.parse())?;
    let mut options = PackOptions::of_effort(effort);
    let build_only = args.get(4).is_some_and(|option| option == "--build-only");
    if let Some(text) = args.get(4).filter(|_| !build_only) {
        options.deflate_bytes_per_second = text.parse()?;
    }
    let (base, target) = (scan(old)?, scan(new)?);
    let step = Step { base: &base, base_dir: old, new: &target, new_dir: new };
    let scratch = tempfile::tempdir()?;
    let started = Instant::now();
    let built = build(&step, options, &UnitCache::default(), scratch.path(), &Silent)?;
    let seconds = started.elapsed().as_secs_f64();
    if build_only {
        println!("{} bytes, header {}; build {seconds:.2} s", built.length, built.header_length);
        return Ok(());
    }
    let pack = fs::read(built.file.path())?;
    let contents = support::contents(&base, old);
    let started = Instant::now();
    let (rebuilt, _) = support::apply(&pack, built.header_length, &base, &contents);
    ensure!(rebuilt == target, "the rebuilt manifest differs");
    let apply = started.elapsed().as_secs_f64();
    let mut units = built.units.clone();
    units.sort_by_key(|unit| std::cmp::Reverse(unit.pack_bytes));
    for unit in units.iter().take(12) {
        println!("  {:>9} of {:>10}  {} files, {}", unit.pack_bytes, unit.new_bytes, unit.files, unit.path);
    }
    let (header, count) = (built.header_length, built.units.len());
    println!("{} bytes, header {header}, {count} units; build {seconds:.2} s, apply {apply:.2} s", pack.len());
    Ok(())
}
