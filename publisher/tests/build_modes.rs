//! `build-release` that only looks, that keeps to a budget, that remembers patches, and that is divided over machines.

#[path = "support/press.rs"]
mod press;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lamplighter_client::format::digest::Blake3;
use lamplighter_client::format::layout;
use lamplighter_client::format::pack::PackHeader;
use lamplighter_client::format::release::{PackRow, RELEASE_BYTES_MAX, Release};
use lamplighter_client::format::signed::SignedDocument;
use lamplighter_client::format::text::Time;
use lamplighter_publisher::build_release::{self, Request};
use lamplighter_publisher::config::{Config, PlatformConfig};
use lamplighter_publisher::report::PackFate;
use lamplighter_publisher::watch::Unwatched;
use serde_json::Value;

use press::{APP, LINUX, Press, Said, WINDOWS, copy_tree, noise};

const USAGE: i32 = 2;
const SITE: i32 = 5;
const EPOCH: &str = "1800000000";

/// Three releases on two platforms, and the inputs of a fourth.
fn three() -> Press {
    let press = Press::new();
    for build in 1..=4u64 {
        for (platform, seed) in [("l", 1), ("w", 2)] {
            let mut app = noise(seed, 40_000);
            // Each build changes a place of its own, so a pack from an older base is larger.
            (1..=build as usize).for_each(|n| app[n * 5000..n * 5000 + 300].copy_from_slice(&noise(n as u64, 300)));
            let more = noise(50 + build, 2_000);
            press.files(&format!("{platform}{build}"), &[("app", &app), ("more.bin", &more), ("same", b"same")]);
        }
        if build < 4 {
            build_release(&press, build, &["--no-proof"]).expect(0, &[]);
        }
    }
    press
}

fn build_release(press: &Press, build: u64, more: &[&str]) -> Said {
    let windows = format!("{WINDOWS}=w{build}");
    let mut args = Press::release_args(build, &format!("l{build}"));
    if more.contains(&"--keys") {
        let at = args.iter().position(|arg| arg == "--keys").expect("there");
        args.drain(at..at + 2);
    }
    let mut command = press.command();
    command.args(args).args(["--platform", &windows, "--jobs", "2"]).args(more).env("SOURCE_DATE_EPOCH", EPOCH);
    command.output().expect("the publisher runs").into()
}

/// Another machine with the same site and inputs.
fn copy(press: &Press) -> Press {
    let other = Press::empty();
    for dir in ["site", "keys", "l4", "w4"] {
        copy_tree(&press.path(dir), &other.path(dir));
    }
    other
}

fn packs(press: &Press, platform: &str) -> Vec<PackRow> {
    let bytes = fs::read(press.path("site").join(layout::release(4, platform))).expect("a release");
    Release::parse(&SignedDocument::split(&bytes, RELEASE_BYTES_MAX).expect("signed").body).expect("a release").packs
}

fn bases(press: &Press) -> Vec<u64> {
    packs(press, LINUX).iter().map(|pack| pack.base_build).collect()
}

fn event(said: &Said) -> Value {
    serde_json::from_str(said.out.lines().last().expect("a line")).expect("an event")
}

/// Base build and pack bytes of each base of a platform.
fn told(event: &Value, platform: usize) -> Vec<(u64, u64)> {
    let packs = event["platforms"][platform]["packs"].as_array().expect("a list");
    let number = |value: &Value| value.as_u64().expect("a number");
    packs.iter().map(|pack| (number(&pack["base_build"]), number(&pack["pack_bytes"]))).collect()
}

#[track_caller]
fn assert_same(expected: &Press, found: &Press) {
    let (expected, found): (BTreeMap<_, _>, BTreeMap<_, _>) = (expected.site(), found.site());
    assert_eq!(expected.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
    for (name, bytes) in &expected {
        assert!(*bytes == found[name], "{name} differs");
    }
}

#[test]
fn a_dry_run_says_what_the_run_does_and_writes_nothing() {
    let press = three();
    let before = press.site();
    fs::remove_dir_all(press.path("site/.publisher")).expect("removed");
    let dry = build_release(&press, 4, &["--dry-run", "--json", "--keys", "none"]).expect(0, &[]);
    assert!(press.site() == before && !press.path("site/.publisher").exists(), "the site changed");
    let dry = event(&dry);
    assert_eq!((&dry["dry_run"], &dry["channel"]), (&Value::Bool(true), &Value::Null));
    let text = build_release(&press, 4, &["--dry-run"]).expect(0, &[]).out;
    assert!(text.contains("would add") && text.contains("nothing was written"), "{text}");
    let done = event(&build_release(&press, 4, &["--json"]).expect(0, &[]));
    for (platform, name) in [LINUX, WINDOWS].into_iter().enumerate() {
        let rows: Vec<(u64, u64)> = packs(&press, name).iter().map(|p| (p.base_build, p.length)).collect();
        assert_eq!(rows.len(), 3);
        assert_eq!((told(&dry, platform), told(&done, platform)), (rows.clone(), rows), "{name}");
        assert_eq!(dry["platforms"][platform]["full_bytes"], done["platforms"][platform]["full_bytes"]);
        assert_eq!(dry["platforms"][platform]["new_object_bytes"], done["platforms"][platform]["new_object_bytes"]);
    }
    press.verify();
    build_release(&press, 4, &["--dry-run", "--collect"]).expect(USAGE, &["--collect"]);
    build_release(&press, 4, &["--shard", "3/2"]).expect(USAGE, &["I/N"]);
}

#[test]
fn a_budget_leaves_out_the_least_useful_packs_and_says_so() {
    let press = three();
    let dry = |press: &Press, more: &[&str]| build_release(press, 4, &[&["--dry-run", "--json"], more].concat());
    let whole = event(&dry(&press, &[]).expect(0, &[]));
    let total: u64 = [0, 1].iter().flat_map(|p| told(&whole, *p)).map(|(_, bytes)| bytes).sum();
    let kept = |more: &[&str], press: &Press| {
        let said = dry(press, more).expect(0, &[]);
        let event = event(&said);
        let packs = event["platforms"][0]["packs"].as_array().expect("a list").clone();
        let kept = packs.iter().filter(|p| p["fate"] == "kept").map(|p| p["base_build"].as_u64().expect("a number"));
        (kept.collect::<Vec<_>>(), said.err.contains("are left out"))
    };
    let half = (told(&whole, 0).iter().map(|(_, bytes)| bytes).sum::<u64>() * 2 - 1).to_string();
    assert_eq!(kept(&["--budget-bytes", &(total * 2).to_string()], &press), (vec![3, 2, 1], false));
    assert_eq!(kept(&["--budget-bytes", &half], &press), (vec![3, 2], true), "the oldest goes first");
    assert_eq!(kept(&["--budget-bytes", "0"], &press), (vec![], true));
    // Where users are comes before what is newer.
    let beta = ["promote", "--site", "site", "--channel", "beta", "--build", "1", "--keys", "keys"];
    press.command().args(beta).env("SOURCE_DATE_EPOCH", EPOCH).output().expect("it runs");
    assert_eq!(kept(&["--budget-bytes", &half], &press).0, [3, 1]);
    let said = build_release(&press, 4, &["--budget-bytes", &half]).expect(0, &["left out"]);
    assert!(said.out.contains("over budget"), "{}", said.out);
    assert_eq!(bases(&press), [3, 1]);
    press.verify();
}

#[test]
fn no_pack_is_begun_when_the_time_is_over() {
    let press = three();
    let platform = PlatformConfig { dir: Some(press.path("l4")), ..PlatformConfig::default() };
    let config = Config {
        site: Some(press.path("site")),
        keys: Some(press.path("keys")),
        app: Some(APP.to_owned()),
        channel: Some("stable".to_owned()),
        build: Some(4),
        version: Some("4.0".to_owned()),
        budget_seconds: Some(1),
        platform: [(LINUX.to_owned(), platform)].into(),
        ..Config::default()
    };
    let mut request = Request::new(&config, true, Time::from_seconds(1_800_000_000)).expect("a request");
    assert_eq!(request.budget.time, Some(Duration::from_secs(1)));
    request.budget.time = Some(Duration::ZERO);
    let summary = build_release::run(&request, Arc::new(Unwatched)).expect("published");
    assert!(summary.platforms[0].packs.iter().all(|pack| pack.fate == PackFate::OverTime));
    assert!(bases(&press).is_empty());
    press.verify();
}

#[test]
fn kept_patches_are_not_computed_again_and_damaged_ones_are() {
    let press = three();
    let runs: Vec<Press> = (0..3).map(|_| copy(&press)).collect();
    let cache = press.path("cache");
    let run = |machine: &Press| {
        let more = ["--patch-cache", cache.to_str().expect("UTF-8"), "--json"];
        event(&build_release(machine, 4, &more).expect(0, &[]))["patch_cache"].clone()
    };
    let first = run(&runs[0]);
    let computed = first["computed"].as_u64().expect("a number");
    assert!(computed > 0 && first["reused"] == 0, "{first}");
    let second = run(&runs[1]);
    assert_eq!(
        (&second["computed"], &second["reused"], &second["bytes"]),
        (&0.into(), &computed.into(), &first["bytes"])
    );
    let files = || -> Vec<PathBuf> {
        let walk = walkdir::WalkDir::new(&cache).sort_by_file_name().into_iter().map(|e| e.expect("readable"));
        walk.filter(|e| e.file_type().is_file()).map(walkdir::DirEntry::into_path).collect()
    };
    let victim = files().remove(0);
    let mut damaged = fs::read(&victim).expect("there");
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    fs::write(&victim, damaged).expect("written");
    let third = run(&runs[2]);
    assert_eq!((&third["computed"], &third["failed"]), (&1.into(), &1.into()), "{third}");
    assert_same(&runs[0], &runs[1]);
    assert_same(&runs[0], &runs[2]);
    let plain = copy(&press);
    build_release(&plain, 4, &[]).expect(0, &[]);
    assert_same(&plain, &runs[0]);
}

/// The site after shards have put their packs into it, each on a machine of its own without keys.
fn sharded(press: &Press, shards: &[&str]) -> Press {
    let bucket = copy(press);
    for shard in shards {
        let machine = copy(press);
        let before = machine.site();
        build_release(&machine, 4, &["--shard", shard, "--keys", "none"]).expect(0, &[]);
        for (name, bytes) in machine.site().into_iter().filter(|(name, _)| !before.contains_key(name)) {
            assert!(name.starts_with("packs/") || name.starts_with("shards/4/"), "a shard wrote {name}");
            press::write(&bucket.path("site").join(name), &bytes);
        }
    }
    bucket
}

#[test]
fn a_release_made_on_many_machines_is_that_of_one() {
    let press = three();
    let one = copy(&press);
    build_release(&one, 4, &[]).expect(0, &[]);
    one.verify();
    let whole = sharded(&press, &["1/4", "2/4", "3/4", "4/4"]);
    let noted = whole.site().keys().filter(|name| name.starts_with("packs/")).count();
    assert_eq!(noted, one.site().keys().filter(|name| name.starts_with("packs/")).count(), "all packs were made");
    let said = build_release(&whole, 4, &["--collect"]).expect(0, &[]);
    assert!(!said.err.contains("no shard"), "{}", said.err);
    assert_same(&one, &whole);
    // A machine that never came back; and a run that is not told to collect.
    let partly = sharded(&press, &["1/3", "3/3"]);
    build_release(&partly, 4, &["--collect"]).expect(0, &["no shard has made"]);
    assert_same(&one, &partly);
    // Packs that in the end are not wanted go with the notes.
    let (small, small_one) = (sharded(&press, &["1/1"]), copy(&press));
    build_release(&small, 4, &["--collect", "--budget-bytes", "0"]).expect(0, &["left out"]);
    build_release(&small_one, 4, &["--budget-bytes", "0"]).expect(0, &[]);
    assert_same(&small_one, &small);
}

/// Puts into `bucket`, instead of `row`'s pack, one that hangs together and does something else, with a note that says so.
fn forge(bucket: &Press, row: &PackRow) -> String {
    let bytes = fs::read(bucket.path("site").join(layout::pack(&row.header.blake3))).expect("a pack");
    let header = PackHeader::parse(&bytes[..row.header.length as usize]).expect("a header");
    let mut payload = bytes[row.header.length as usize..].to_vec();
    let last = payload.len() - 1;
    payload[last] ^= 1;
    let mut blocks = header.blocks().to_vec();
    let start = (header.block_offset(blocks.len() - 1) - header.header_bytes()) as usize;
    blocks.last_mut().expect("a block").blake3 = Blake3::of(&payload[start..]);
    let forged = PackHeader::new(header.edits().to_vec(), header.units().to_vec(), blocks).expect("fits").to_bytes();
    let name = layout::pack(&Blake3::of(&forged));
    press::write(&bucket.path("site").join(&name), &[&forged[..], &payload].concat());
    let note = bucket.path(&format!("site/shards/4/{LINUX}/1-of-1"));
    let text = fs::read_to_string(&note).expect("a note");
    fs::write(note, text.replace(&row.header.blake3.to_string(), &Blake3::of(&forged).to_string())).expect("written");
    name
}

#[test]
fn an_altered_part_is_refused_by_name_and_nothing_is_signed() {
    let press = three();
    let one = copy(&press);
    build_release(&one, 4, &[]).expect(0, &[]);
    let rows = packs(&one, LINUX);
    let row = rows.iter().find(|row| row.base_build == 2).expect("a pack");
    let bucket = sharded(&press, &["1/1"]);
    let before = bucket.site();
    let signed = |bucket: &Press| bucket.path("site").join(layout::release(4, LINUX)).exists();
    let head = |site: &BTreeMap<String, Vec<u8>>| site["channels/stable.head"].clone();
    let collect = |name: &str| {
        build_release(&bucket, 4, &["--collect"]).expect(SITE, &[name]);
        assert!(!signed(&bucket) && head(&bucket.site()) == head(&before), "{name}: it was signed");
    };

    let name = layout::pack(&row.header.blake3);
    let path = bucket.path("site").join(&name);
    let whole = fs::read(&path).expect("a pack");
    let other = layout::pack(&rows.iter().find(|row| row.base_build == 3).expect("a pack").header.blake3);
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let damages = [
        flipped(0),
        flipped(row.header.length as usize - 1),
        flipped(row.header.length as usize),
        flipped(whole.len() - 1),
        whole[..whole.len() - 1].to_vec(),
        [&whole[..], b"x"].concat(),
        before[&other].clone(),
        Vec::new(),
    ];
    for damaged in damages {
        fs::write(&path, damaged).expect("written");
        collect(&name);
    }
    fs::remove_file(&path).expect("removed");
    collect(&name);
    fs::write(&path, &whole).expect("mended");

    // A note that is none, and one that names a pack that hangs together and makes something else.
    let note = format!("shards/4/{LINUX}/1-of-1");
    let text = fs::read(bucket.path("site").join(&note)).expect("a note");
    for damaged in [&b"lamplighter-shard,1\n"[..], b"", &text[..text.len() - 5], b"\xff"] {
        fs::write(bucket.path("site").join(&note), damaged).expect("written");
        collect(&note);
    }
    fs::write(bucket.path("site").join(&note), &text).expect("mended");
    let forged = forge(&bucket, row);
    collect(&forged);
    fs::remove_file(bucket.path("site").join(&forged)).expect("removed");
    fs::write(bucket.path("site").join(&note), &text).expect("mended");
    build_release(&bucket, 4, &["--collect"]).expect(0, &[]);
    assert_same(&one, &bucket);
}
