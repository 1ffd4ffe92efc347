//! Builds the pack between two directories, proves it by decoding every unit, and prints what it takes.
//!
//! usage: pack_size OLD NEW [EFFORT]

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use lamplighter_client::format::digest::{Blake3, ContentDigest};
use lamplighter_client::format::manifest::{Kind, Manifest, Policy, Row};
use lamplighter_client::format::pack::PackHeader;
use lamplighter_client::format::path::RelPath;
use lamplighter_client::patch::{Joined, UnitDecoder};
use lamplighter_client::progress::Silent;
use lamplighter_publisher::packs::{Step, UnitCache, build};

fn scan(dir: &Path) -> Result<Manifest> {
    let mut rows = Vec::new();
    for entry in walkdir::WalkDir::new(dir) {
        let entry = entry?;
        if entry.file_type().is_file() {
            let relative = entry.path().strip_prefix(dir)?.to_str().context("a path in UTF-8")?;
            let digest = ContentDigest::of(&fs::read(entry.path())?);
            let kind = Kind::File { executable: false };
            rows.push(Row { path: RelPath::parse(relative)?, digest, kind, policy: Policy::Managed });
        }
    }
    Ok(Manifest::new(rows)?)
}

fn prove(pack: &[u8], header_length: usize, step: &Step<'_>) -> Result<()> {
    let header = PackHeader::parse(&pack[..header_length])?;
    let rebuilt = header.rebuild(step.base)?;
    ensure!(rebuilt.manifest == *step.new, "the rebuilt manifest differs");
    for (unit, lengths) in header.units().iter().zip(&rebuilt.lengths) {
        let contents: Vec<Vec<u8>> = unit
            .old_rows
            .iter()
            .map(|row| fs::read(step.base_dir.join(step.base.rows()[*row].path.to_path())))
            .collect::<Result<_, _>>()?;
        let mut old = Joined::new();
        contents.iter().for_each(|content| old.push(content.len() as u64, content.as_slice()));
        let mut decoder = UnitDecoder::new(unit, lengths.old, lengths.new)?;
        let mut new = Vec::new();
        for block in unit.blocks.clone() {
            let payload = &pack[header.block_offset(block) as usize..header.block_offset(block + 1) as usize];
            ensure!(Blake3::of(payload) == header.blocks()[block].blake3, "block {block} differs");
            decoder.block(payload, &mut old, &mut new)?;
        }
        decoder.finish()?;
        let mut at = 0;
        for row in &unit.new_rows {
            let row = &step.new.rows()[*row];
            let end = at + row.digest.size as usize;
            ensure!(Blake3::of(&new[at..end]) == row.digest.blake3, "{} differs", row.path);
            at = end;
        }
    }
    Ok(())
}

#[allow(clippy::print_stdout)]
fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let (old, new) = (Path::new(args.get(1).context("OLD")?), Path::new(args.get(2).context("NEW")?));
    let effort = args.get(3).map_or(Ok(5), |text| text.parse())?;
    let (base, target) = (scan(old)?, scan(new)?);
    let step = Step { base: &base, base_dir: old, new: &target, new_dir: new };
    let scratch = tempfile::tempdir()?;
    let started = Instant::now();
    let built = build(&step, effort, &UnitCache::new(), scratch.path(), &Silent)?;
    let seconds = started.elapsed().as_secs_f64();
    let pack = fs::read(built.file.path())?;
    let started = Instant::now();
    prove(&pack, built.header_length as usize, &step)?;
    let apply = started.elapsed().as_secs_f64();
    let mut units = built.units.clone();
    units.sort_by_key(|unit| std::cmp::Reverse(unit.pack_bytes));
    for unit in units.iter().take(12) {
        println!("  {:>9} of {:>10}  {} files, {}", unit.pack_bytes, unit.new_bytes, unit.files, unit.path);
    }
    println!(
        "{} bytes, header {}, {} units; build {seconds:.2} s, apply {apply:.2} s",
        pack.len(),
        built.header_length,
        built.units.len()
    );
    Ok(())
}
