//! Archives are patched inside where that pays, and come back whole where it does not.

mod support;

use std::fs;
use std::io::{Cursor, Write};
use std::path::PathBuf;

use lamplighter_client::format::digest::ContentDigest;
use lamplighter_client::format::manifest::{Kind, Manifest, Policy, Row};
use lamplighter_client::format::pack::codec::Algorithm;
use lamplighter_client::format::pack::{DEFLATE, PLAIN, PackHeader, Unit};
use lamplighter_client::format::path::RelPath;
use lamplighter_client::patch::UnitDecoder;
use lamplighter_client::progress::Silent;
use lamplighter_client::zlib::{Compressor, Settings};
use lamplighter_publisher::diff::deflate::{self, find};
use lamplighter_publisher::diff::{self, Effort, Encoded, Files, Side};
use lamplighter_publisher::packs::{PackOptions, Step, UnitCache, build};
use proptest::prelude::*;

fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/archives").join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn decode(encoded: &Encoded, blocks: &[u8], old: &[u8], new_length: usize) -> Vec<u8> {
    let unit = Unit {
        method: encoded.method,
        parameters: encoded.parameters.clone(),
        codecs: encoded.codecs.clone(),
        blocks: 0..encoded.blocks.len(),
        old_rows: vec![0],
        new_rows: vec![0],
    };
    let scratch = Cursor::new(Vec::new());
    let mut decoder = UnitDecoder::new(&unit, old.len() as u64, new_length as u64, scratch).expect("readable");
    let (mut at, mut new) = (0, Vec::new());
    for block in &encoded.blocks {
        let end = at + block.length as usize;
        decoder.block(&blocks[at..end], &mut &old[..], &mut new).expect("decoded");
        at = end;
    }
    decoder.finish().expect("whole");
    new
}

/// Bytes of the patch, if there is something to expand; it is decoded and compared.
fn inside(mut old: &[u8], mut new: &[u8]) -> Option<usize> {
    let (all_old, all_new) = (old, new);
    let old_side = Side { length: old.len() as u64, bytes: &mut old };
    let new_side = Side { length: new.len() as u64, bytes: &mut new };
    let mut blocks = Vec::new();
    let archive = deflate::encode(old_side, new_side, Effort::new(4), &mut blocks).expect("encoded")?;
    assert_eq!(archive.encoded.method, DEFLATE);
    assert!(decode(&archive.encoded, &blocks, all_old, all_new.len()) == all_new, "the new bytes differ");
    Some(blocks.len())
}

fn plain(mut old: &[u8], mut new: &[u8]) -> usize {
    let old_side = Side { length: old.len() as u64, bytes: &mut old };
    let new_side = Side { length: new.len() as u64, bytes: &mut new };
    let files = Files { old: Vec::new(), new: Vec::new(), twins: Vec::new() };
    let mut blocks = Vec::new();
    let encoded = diff::encode(old_side, new_side, &files, Effort::new(4), &mut blocks).expect("encoded");
    assert_eq!(encoded.method, PLAIN);
    blocks.len()
}

#[test]
fn zips_and_gzip_files_of_python_cost_what_changed_inside() {
    for (kind, streams, part) in [("zip", 4, 8), ("gz", 1, 20), ("png", 1, 8)] {
        let (old, new) = (fixture(&format!("old.{kind}")), fixture(&format!("new.{kind}")));
        assert_eq!(find::streams(&new).len(), streams, "{kind}");
        let (inside, plain) = (inside(&old, &new).expect("streams of zlib"), plain(&old, &new));
        assert!(inside * part < plain, "{kind}: {inside} bytes instead of {plain}");
    }
}

#[test]
fn archives_within_archives_and_in_a_row_are_found() {
    let all = |side: &str| {
        let parts = ["zip", "png", "gz"].map(|kind| fixture(&format!("{side}.{kind}")));
        [&b"PK\x05\x06 and \x1f\x8b\x08 are no archives"[..], &parts[0], &parts[1], b"PK\x01\x02", &parts[2]].concat()
    };
    let (old, new) = (all("old"), all("new"));
    let apart: usize =
        ["zip", "png", "gz"].map(|kind| find::streams(&fixture(&format!("new.{kind}"))).len()).iter().sum();
    assert_eq!(find::streams(&new).len(), apart);
    assert!(inside(&old, &new).expect("streams of zlib") * 5 < plain(&old, &new));
}

#[test]
fn what_did_not_change_is_not_expanded() {
    let old = fixture("old.zip");
    assert_eq!(inside(&old, &old), None);
    assert_eq!(inside(&old, &[b"moved", &old[..]].concat()), None);
    assert_eq!(inside(&old, b"no archive"), None);
    assert_eq!(inside(b"", b""), None);
}

#[test]
fn an_archive_without_an_old_one_is_expanded_alone() {
    let new = fixture("new.zip");
    assert!(inside(b"", &new).expect("streams of zlib") < new.len());
}

#[test]
fn streams_of_other_compressors_stay_as_they_are() {
    let text =
        |n: u32| (0..3000u32).map(|line| format!("line {} of {n}\n", line * line)).collect::<String>().into_bytes();
    let pack = |text: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(text).expect("a vector takes all");
        encoder.finish().expect("a vector takes all")
    };
    let (old, new) = (pack(&text(1)), pack(&text(2)));
    assert_eq!(find::streams(&new).len(), 1);
    assert_eq!(inside(&old, &new), None);
}

#[test]
fn cut_and_flipped_archives_are_read_without_a_panic() {
    for kind in ["zip", "gz", "png"] {
        let (old, new) = (fixture(&format!("old.{kind}")), fixture(&format!("new.{kind}")));
        for cut in (0..new.len()).step_by(new.len() / 9) {
            inside(&old, &new[..cut]);
            inside(&new[cut..], &new);
        }
    }
}

/// Builds and applies the pack of a release that has the zip alone; gives the method of its unit and the pack's bytes.
fn pack(options: PackOptions) -> (Algorithm, u64) {
    let dir = tempfile::tempdir().expect("a directory");
    let side = |side: &str, name: &str| {
        let content = fixture(&format!("{side}.zip"));
        let dir = dir.path().join(side);
        fs::create_dir(&dir).expect("made");
        fs::write(dir.join(name), &content).expect("written");
        let row = Row {
            path: RelPath::parse(name).expect("a path"),
            digest: ContentDigest::of(&content),
            kind: Kind::File { executable: false },
            policy: Policy::Managed,
        };
        (Manifest::new(vec![row]).expect("a manifest"), dir)
    };
    let ((base, base_dir), (new, new_dir)) = (side("old", "core-1.0.jar"), side("new", "core-1.1.jar"));
    let step = Step { base: &base, base_dir: &base_dir, new: &new, new_dir: &new_dir };
    let built = build(&step, options, &UnitCache::default(), dir.path(), &Silent).expect("a pack");
    let bytes = fs::read(built.file.path()).expect("read");
    let (rebuilt, _) = support::apply(&bytes, built.header_length, &base, &support::contents(&base, &base_dir));
    assert_eq!(rebuilt, new);
    let header = PackHeader::parse(&bytes[..built.header_length as usize]).expect("a header");
    (header.units()[0].method, built.length)
}

#[test]
fn a_renamed_archive_is_patched_inside_where_that_pays() {
    let options = PackOptions::of_effort(5);
    let (method, inside) = pack(options);
    assert_eq!(method, DEFLATE);
    for outside in [
        PackOptions { deflate_bytes_per_second: u64::MAX, ..options },
        PackOptions { deflate_bytes_per_second: 100_000_000, ..options },
        PackOptions::of_effort(3),
    ] {
        let (method, bytes) = pack(outside);
        assert_eq!(method, PLAIN, "{outside:?}");
        assert!(inside * 4 < bytes, "{inside} bytes instead of {bytes}");
    }
    assert_eq!(pack(PackOptions { deflate_bytes_per_second: 0, ..options }), (DEFLATE, inside));
}

/// A zip of entries that are stored, made by zlib or by miniz.
fn zip(entries: &[(String, Vec<u8>, u64)]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, text, kind) in entries {
        let data = match kind % 4 {
            0 => text.clone(),
            1 => {
                let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(6));
                encoder.write_all(text).expect("a vector takes all");
                encoder.finish().expect("a vector takes all")
            }
            _ => {
                let settings = Settings::new((kind / 4 % 9) as u8 + 1, 8, 15, false).expect("known");
                let mut compressor = Compressor::new(settings, Vec::new());
                compressor.push(text).expect("a vector takes all");
                compressor.finish().expect("a vector takes all")
            }
        };
        let method = if kind % 4 == 0 { 0u16 } else { 8 };
        let mut common = [&[20u8, 0, 0, 0][..], &method.to_le_bytes(), &[0; 8]].concat();
        common.extend_from_slice(&(data.len() as u32).to_le_bytes());
        common.extend_from_slice(&(text.len() as u32).to_le_bytes());
        common.extend_from_slice(&[name.len() as u8, 0, 0, 0]);
        directory.extend_from_slice(&[b"PK\x01\x02\x14\0", &common[..], &[0; 10]].concat());
        directory.extend_from_slice(&(out.len() as u32).to_le_bytes());
        directory.extend_from_slice(name.as_bytes());
        out.extend_from_slice(&[b"PK\x03\x04", &common[..], name.as_bytes(), &data].concat());
    }
    let (count, start) = ((entries.len() as u16).to_le_bytes(), out.len() as u32);
    out.extend_from_slice(&directory);
    out.extend_from_slice(&[b"PK\x05\x06\0\0\0\0", &count[..], &count].concat());
    out.extend_from_slice(&(directory.len() as u32).to_le_bytes());
    out.extend_from_slice(&start.to_le_bytes());
    out.extend_from_slice(&[0, 0]);
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn any_zips_come_back(
        entries in proptest::collection::vec((any::<u64>(), "[a-e ]{0,9}", 0usize..3000, any::<u64>()), 0..12),
        edits in proptest::collection::vec((any::<usize>(), 0u8..4, "[a-z]{0,20}"), 0..6),
        flip in any::<usize>(),
    ) {
        let entry = |(n, (seed, word, count, kind)): (usize, (u64, String, usize, u64))| {
            let text = format!("{seed} {word}").repeat(count);
            (format!("{n}"), text.into_bytes(), kind)
        };
        let old: Vec<_> = entries.into_iter().enumerate().map(entry).collect();
        let mut new = old.clone();
        for (at, what, word) in edits {
            if new.is_empty() {
                break;
            }
            let at = at % new.len();
            match what {
                0 => new[at].1.extend_from_slice(word.as_bytes()),
                1 => drop(new.remove(at)),
                2 => new[at].2 = new[at].2.wrapping_add(5),
                _ => new.insert(at, (word.clone(), word.into_bytes(), at as u64)),
            }
        }
        let (mut old, new) = (zip(&old), zip(&new));
        inside(&old, &new);
        let at = flip % old.len();
        old[at] ^= 0x10;
        inside(&old, &new);
        inside(&new, &old);
    }
}
