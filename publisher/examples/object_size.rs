//! Prints what the objects of directories come to: `object_size DIR [NEXT_RELEASE_DIR ...]`.
//!
//! Each directory is a release; it is built after, and reusing, those before it. The last column compares what a first
//! install fetches with the sum of `zstd -19` over the files.
#![allow(clippy::print_stdout)]

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use lamplighter_client::format::digest::{Blake3, ContentDigest};
use lamplighter_client::format::manifest::{Kind, Manifest, Policy, Row};
use lamplighter_client::format::objects::ObjectsIndex;
use lamplighter_client::format::path::RelPath;
use lamplighter_client::progress::Silent;
use lamplighter_publisher::objects::{ObjectSink, ObjectStats, Prior, build};
use rayon::prelude::*;

#[derive(Default)]
struct Names(Mutex<HashSet<Blake3>>);

impl ObjectSink for Names {
    fn has(&self, blake3: &Blake3, _: u64) -> bool {
        self.0.lock().is_ok_and(|names| names.contains(blake3))
    }

    fn put(&self, blake3: &Blake3, _: &[u8]) -> io::Result<()> {
        self.0.lock().map_err(|_| io::Error::other("a thread panicked"))?.insert(*blake3);
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sink = Names::default();
    let mut releases: Vec<(Manifest, ObjectsIndex)> = Vec::new();
    for dir in std::env::args().skip(1) {
        let manifest = scan(Path::new(&dir))?;
        let prior: Vec<Prior<'_>> = releases.iter().rev().map(|(manifest, index)| Prior { manifest, index }).collect();
        let start = Instant::now();
        let (index, stats) = build(&manifest, Path::new(&dir), &prior, &sink, &Silent)?;
        report(&dir, &manifest, &index, &stats);
        println!("  {:.1} s, peak {} MiB", start.elapsed().as_secs_f64(), peak_mib());
        let single_bytes = zstd_bytes(Path::new(&dir), &manifest)?;
        let fetched_bytes = stats.stored_bytes + (index.to_bytes().len() + manifest.to_bytes().len()) as u64;
        println!(
            "  first install {fetched_bytes}, zstd -19 per file {single_bytes}: {:.3}",
            fetched_bytes as f64 / single_bytes as f64
        );
        releases.push((manifest, index));
    }
    Ok(())
}

fn report(dir: &str, manifest: &Manifest, index: &ObjectsIndex, stats: &ObjectStats) {
    let share = 100.0 * stats.new_bytes as f64 / stats.stored_bytes as f64;
    let list_bytes: usize =
        index.objects().iter().map(|o| format!("object,{},{},{}\n", o.blake3, o.length, o.raw_length).len()).sum();
    let row_bytes = index.to_bytes().len() - list_bytes;
    println!("{dir}: {} rows, {} bytes", manifest.rows().len(), manifest.content_bytes());
    println!(
        "  {} objects, {} bytes; new {} objects, {} bytes, {share:.2} %",
        stats.objects, stats.stored_bytes, stats.new_objects, stats.new_bytes
    );
    println!("  objects.csv: {:.1} bytes a row", row_bytes as f64 / manifest.rows().len() as f64);
    let mut lengths: Vec<u64> = index.objects().iter().map(|o| o.length >> 10).collect();
    lengths.sort_unstable();
    println!("  stored KiB: {lengths:?}");
}

fn scan(dir: &Path) -> Result<Manifest, Box<dyn std::error::Error>> {
    let mut rows = Vec::new();
    for entry in walkdir::WalkDir::new(dir) {
        let entry = entry?;
        if entry.file_type().is_file() {
            let relative = entry.path().strip_prefix(dir)?.to_str().ok_or("a path that is not UTF-8")?;
            let path = RelPath::parse(relative)?;
            let digest = ContentDigest::read(&mut std::fs::File::open(entry.path())?)?;
            rows.push(Row { path, digest, kind: Kind::File { executable: false }, policy: Policy::Managed });
        }
    }
    Ok(Manifest::new(rows)?)
}

fn zstd_bytes(dir: &Path, manifest: &Manifest) -> io::Result<u64> {
    let compressed = |row: &Row| {
        let raw = std::fs::read(dir.join(row.path.to_path()))?;
        Ok(zstd::bulk::compress(&raw, 19)?.len() as u64)
    };
    manifest.rows().par_iter().map(compressed).sum()
}

/// Peak memory of this process so far, from Linux's `/proc`; 0 elsewhere.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default() >> 10
}
