//! Inputs that are worth something, by target of `fuzz/`: golden files, and what the formats write themselves.

#![allow(dead_code, unreachable_pub)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use lamplighter_client::format::digest::Blake3;
use lamplighter_client::format::handover::Handover;
use lamplighter_client::format::launch::LaunchState;
use lamplighter_client::format::manifest::Manifest;
use lamplighter_client::format::pack::PLAIN;
use lamplighter_client::format::pack::codec::ZstdEncoder;
use lamplighter_client::format::settings::Settings;
use lamplighter_client::format::signed::SignedDocument;
use lamplighter_client::format::text::Time;
use lamplighter_client::patch::control::{Triple, put_triples};
use lamplighter_client::patch::deflate::{DeflateLayout, NewStream, OldStream};
use lamplighter_client::trust::{ChannelState, TrustState, state};
use lamplighter_client::zlib;
use lzma_rust2::{Lzma2Options, Lzma2Writer};

use super::frozen::{self, Frozen};
use super::fuzzed::trees::index_input;
use super::fuzzed::{stream_input, unit_input};

/// A target, a name, and bytes.
pub type Seed = (&'static str, String, Vec<u8>);

/// Bytes of the last line of a state file or a journal, which targets add themselves.
const TRAILER_BYTES: usize = "blake3,".len() + 64 + 1;

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

/// Files of a folder of golden files, with names that say which.
fn golden(format: &str, kinds: &[&str]) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for kind in kinds {
        for entry in fs::read_dir(fixtures().join("formats").join(format).join("v1").join(kind)).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).expect("a name");
            let bytes = fs::read(&path).expect("read");
            if name != "expected.csv" && bytes.len() < 2000 {
                files.push((format!("{kind}-{name}"), bytes));
            }
        }
    }
    files.sort();
    files
}

pub fn seeds() -> Vec<Seed> {
    [signed(), state_files(), trees(), objects(), packs(), streams(), vec![deflate_unit()]].concat()
}

fn of(target: &'static str, files: Vec<(String, Vec<u8>)>) -> impl Iterator<Item = Seed> {
    files.into_iter().map(move |(name, bytes)| (target, name, bytes))
}

fn signed() -> Vec<Seed> {
    let mut seeds: Vec<Seed> = Vec::new();
    for format in ["root", "head", "release"] {
        for (name, bytes) in golden(format, &["good", "later"]) {
            let body = SignedDocument::split(&bytes, 1 << 20).expect("a signed document").body;
            seeds.push(("signed_document", format!("{format}-body-{name}"), body));
            seeds.push(("signed_document", format!("{format}-{name}"), bytes));
        }
    }
    for name in ["root/1.root", "channels/stable.head", "releases/2/linux-x86_64/release"] {
        let bytes = fs::read(fixtures().join("sites/v1").join(name)).expect("read");
        seeds.push(("signed_document", format!("site-{}", name.replace('/', "-")), bytes));
    }
    let key = fs::read(fixtures().join("formats/root/v1/key.pub")).expect("read");
    seeds.push(("signed_document", "key.pub".into(), key));
    seeds
}

fn state_files() -> Vec<Seed> {
    let (blake3, time) = (Blake3::of(b"lantern"), Time::from_seconds(1_769_860_800));
    let channel = ChannelState { sequence: 5, issued: time, body: blake3, highest_build: 7, root_version: 2 };
    let trust = TrustState {
        roots: vec![b"lamplighter-root,1\nend\n".to_vec()],
        roots_walked: Some(time),
        channels: BTreeMap::from([("stable".into(), channel)]),
        rollout_secret: [7; 16],
        mirrors: vec!["https://mirror.example/app".into()],
    };
    let settings = Settings {
        site: "https://updates.example/app".into(),
        app: "org.example.app".into(),
        channel: "stable".into(),
        platform: "linux-x86_64".into(),
        mirrors: vec!["/srv/site, copied".into()],
    };
    let handover = Handover {
        build: 7,
        key: "update-7".into(),
        pid: 4711,
        started: Some("123456".into()),
        tree: blake3,
        tree_text: "/opt/\"app\"".into(),
        argument_count: 2,
        arguments: blake3,
    };
    let launch = LaunchState {
        starts: Some((7, 2)),
        held: Some(7),
        failed: BTreeSet::from([3, 5]),
        skipped: BTreeSet::from_iter(10..80),
    };
    let mut trust = state::to_bytes(&trust);
    trust.truncate(trust.len() - TRAILER_BYTES);
    let files = [("trust", trust), ("settings", settings.to_bytes()), ("handover", handover.to_bytes())];
    let files = files.into_iter().chain([("launch", launch.to_bytes())]);
    files.map(|(name, bytes)| ("state_files", name.into(), bytes)).collect()
}

fn trees() -> Vec<Seed> {
    let mut journals = golden("journal", &["good", "later"]);
    journals.iter_mut().for_each(|(_, bytes)| bytes.truncate(bytes.len() - TRAILER_BYTES));
    let links = "lib/link\n../app\nApp\n\u{2100}\na/c\na\nlink\nlib/../x\n".as_bytes().to_vec();
    let shown = "<!-- build 7 version 1 -->\n\u{1b}]8;;x\u{7}a\u{1b}[31m\u{202e}b\u{200d}\r\n".as_bytes().to_vec();
    let mut seeds: Vec<Seed> = of("journal", journals).collect();
    seeds.extend(of("manifest", golden("manifest", &["good", "later", "bad"])));
    seeds.extend(of("text_records", golden("manifest", &["good"])));
    seeds.extend(of("paths", golden("path", &["good", "bad"])));
    seeds.extend(of("release_notes", golden("notes", &["good", "bad"])));
    seeds.push(("paths", "links".into(), links));
    seeds.push(("release_notes", "escapes".into(), shown));
    let times = b"-2026-01-31T12:00:00Z\n0000-01-01T00:00:00Z\n9999-12-30T22:00:00Z\n9999-12-31T00:00:00Z\n".to_vec();
    seeds.push(("text_records", "times".into(), times));
    seeds.push(("text_records", "cells".into(), b"a,\"b,c\",\"say \"\"x\"\"\"\n,\n0,2026-01-31T12:00:00Z\n".to_vec()));
    seeds
}

fn objects() -> Vec<Seed> {
    let folder = fixtures().join("formats");
    let manifest = fs::read(folder.join("objects/v1/manifest.csv")).expect("read");
    let manifest = Manifest::parse(&manifest).expect("a manifest");
    let indexes = golden("objects", &["good", "later"]);
    let indexes = indexes.into_iter().map(|(name, bytes)| (name, index_input(&manifest, &bytes))).collect();
    let mut seeds: Vec<Seed> = of("objects_index", indexes).collect();
    for kind in ["good", "bad"] {
        let lengths = raw_lengths(&folder.join("object/v1").join(kind));
        for (name, stored) in golden("object", &[kind]) {
            let length = lengths.get(name.trim_start_matches("good-").trim_start_matches("bad-")).expect("a row");
            seeds.push(("object_frame", name, [&length.to_le_bytes()[..], &stored].concat()));
        }
    }
    seeds
}

/// Second column of a folder's `expected.csv`.
fn raw_lengths(folder: &Path) -> BTreeMap<String, u32> {
    let text = fs::read_to_string(folder.join("expected.csv")).expect("read");
    let row = |line: &str| {
        let mut cells = line.split(',');
        (cells.next().unwrap_or_default().to_owned(), cells.next().and_then(|n| n.parse().ok()).expect("a length"))
    };
    text.lines().skip(1).map(row).collect()
}

fn packs() -> Vec<Seed> {
    let mut seeds: Vec<Seed> = of("pack_header", golden("pack", &["good", "bad"])).collect();
    seeds.extend(of("pack_rebuild", golden("pack", &["good"])));
    for name in frozen::names() {
        let frozen = Frozen::read(&name);
        // Lengths in inputs have 16 bits.
        if frozen.old.len() < 1 << 16 {
            let target = if frozen.unit.method == PLAIN { "plain_unit" } else { "references_unit" };
            let input = unit_input(frozen.new_length as usize, &frozen.old, &frozen.pieces());
            seeds.push((target, name.clone(), input));
        }
        if frozen.unit.method != PLAIN {
            seeds.push(("image_scan", name, frozen.old));
        }
    }
    seeds
}

fn texts() -> [Vec<u8>; 3] {
    [b"lantern ".repeat(30), b"wick and flame ".repeat(9), (0..=255).collect()]
}

fn streams() -> Vec<Seed> {
    let input = |stored: Vec<Vec<u8>>| stream_input(&texts().iter().map(Vec::len).zip(stored).collect::<Vec<_>>());
    vec![
        ("zstd_stream", "three-pieces".into(), input(zstd_pieces())),
        ("lzma_stream", "three-pieces".into(), input(lzma_pieces())),
    ]
}

fn zstd_pieces() -> Vec<Vec<u8>> {
    let mut encoder = ZstdEncoder::new(3, &[], None).expect("an encoder");
    texts().iter().map(|text| encoder.piece(text).expect("encoded")).collect()
}

fn lzma_pieces() -> Vec<Vec<u8>> {
    let mut options = Lzma2Options::with_preset(1);
    options.lzma_options.dict_size = 1 << 16;
    let mut encoder = Lzma2Writer::new(vec![16u8], options);
    let mut piece = |text: &Vec<u8>| {
        encoder.write_all(text).and_then(|()| encoder.flush()).expect("encoded");
        std::mem::take(encoder.inner_mut())
    };
    texts().iter().map(&mut piece).collect()
}

/// Two streams of old become two of new, with bytes around them.
fn deflate_unit() -> Seed {
    let compressed = |text: &[u8]| {
        let mut compressor = zlib::Compressor::new(zlib::Settings::DEFAULT, Vec::new());
        compressor.push(text).and_then(|()| compressor.finish()).expect("a vector takes all")
    };
    let [first, second, _] = texts();
    let (a, b) = (compressed(&first), compressed(&second));
    let old = [b"<<".as_slice(), &a, b"==", &b, b">>"].concat();
    let stream = |offset: usize, stream: &[u8], text: &[u8]| OldStream {
        offset: offset as u64,
        stream_bytes: stream.len() as u64,
        text_bytes: text.len() as u64,
    };
    let new =
        |text: &[u8]| NewStream { gap_bytes: 2, text_bytes: text.len() as u64, settings: zlib::Settings::DEFAULT };
    let layout = DeflateLayout {
        old: vec![stream(2, &a, &first), stream(4 + a.len(), &b, &second)],
        new: vec![new(&second), new(&first)],
        rest_bytes: 1,
    };
    // Expanded old is old, then both texts; expanded new is `<<`, the second text, `==`, the first text, `>`.
    let (text, gap) = (old.len() as i64, |bytes| Triple { diff: bytes, extra: 0, seek: 0 });
    let (one, two) = (first.len() as u64, second.len() as u64);
    let triples = [
        Triple { seek: text + one as i64 - 2, ..gap(2) },
        Triple { extra: 2, seek: -((one + two) as i64), ..gap(two) },
        Triple { extra: 1, ..gap(one) },
    ];
    let blocks = vec![vec![layout.to_bytes()], vec![put_triples(&triples), vec![], vec![], b"==>".to_vec()]];
    let new_length = 2 + b.len() + 2 + a.len() + 1;
    ("deflate_unit", "two-streams".into(), unit_input(new_length, &old, &blocks))
}
