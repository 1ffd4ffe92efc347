//! What the publisher tells people of a site: `explain`, `page`, `cost`, `configure`. Every byte of an update is some file's.

#[path = "support/linker/mod.rs"]
mod linker;
#[path = "support/press.rs"]
mod press;
#[path = "upload/scripted.rs"]
mod scripted;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use lamplighter_publisher::origin::Origin;
use lamplighter_publisher::page;
use lamplighter_publisher::store::Store;
use lamplighter_publisher::upload::{self, Options};
use lamplighter_publisher::watch::Unwatched;
use serde_json::Value;

use linker::program::{Dice, Program};
use linker::{Format, Machine, link};
use press::{LINUX, Press, noise};
use scripted::Scripted;

/// What `explain` said: the first record, and the parts by path.
struct Told {
    whole: Value,
    parts: BTreeMap<String, Value>,
}

impl Told {
    fn of(press: &Press, base: &str, target: &str) -> Self {
        let said = press.run(&["--json", "explain", base, target, "--site", "site"]).expect(0, &[]);
        let mut records = said.out.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let whole = records.next().expect("a first record");
        let parts = records.map(|part| (part["path"].as_str().expect("a path").to_owned(), part)).collect();
        let told = Self { whole, parts };
        let sum: u64 = told.parts.values().map(|part| part["download_bytes"].as_u64().expect("a number")).sum();
        assert_eq!(sum + told.number("directory_bytes"), told.number("download_bytes"), "no byte is lost");
        told
    }

    fn number(&self, key: &str) -> u64 {
        self.whole[key].as_u64().expect("a number")
    }

    fn how(&self, path: &str) -> (&str, Option<&str>) {
        let part = &self.parts[path];
        (part["how"].as_str().expect("a word"), part["from"][0].as_str())
    }

    fn bytes(&self, path: &str) -> u64 {
        self.parts[path]["download_bytes"].as_u64().expect("a number")
    }

    fn advice(&self, path: &str) -> Option<&str> {
        self.parts[path]["advice"]["code"].as_str()
    }
}

/// Length of the only pack in the site.
fn pack_bytes(press: &Press) -> u64 {
    let site = press.site();
    let packs: Vec<usize> =
        site.iter().filter(|(name, _)| name.starts_with("packs/")).map(|(_, bytes)| bytes.len()).collect();
    assert_eq!(packs.len(), 1);
    packs[0] as u64
}

fn text(seed: u64, lines: usize) -> Vec<u8> {
    noise(seed, lines).iter().flat_map(|n| format!("line {n} of a text that says {}\n", n / 3).into_bytes()).collect()
}

fn replaced(content: &[u8], at: usize, with: &[u8]) -> Vec<u8> {
    [&content[..at], with, &content[at + with.len()..]].concat()
}

#[test]
fn every_file_is_told_apart_and_every_byte_is_some_files() {
    let press = Press::new();
    let (long, big) = (text(1, 900), noise(2, 1 << 20));
    press.files(
        "a",
        &[
            ("app.cfg", &long),
            ("big.bin", &big),
            ("gone.txt", b"gone"),
            ("here.txt", b"stays"),
            ("old/name.dat", b"moved as it is"),
            ("quiet.txt", &long[7..]),
            ("seen.dat", b"copied"),
            ("wild.txt", &text(3, 900)),
        ],
    );
    press.files(
        "b",
        &[
            ("app.cfg", &replaced(&long, 5000, b"!")),
            ("big.bin", &replaced(&big, 500_000, &noise(4, 3000))),
            ("fresh.txt", &noise(5, 9000)),
            ("fresh2.txt", &noise(5, 9000)),
            ("here.txt", b"stays"),
            ("new/name.dat", b"moved as it is"),
            ("quiet.txt", &replaced(&long[7..], 2000, b"?")),
            ("seen.dat", b"copied"),
            ("seen2.dat", b"copied"),
            ("wild.txt", &replaced(&text(3, 900), 1000, &noise(6, 5000))),
        ],
    );
    press.release(1, "a", &[]).expect(0, &[]);
    press.release(2, "b", &[]).expect(0, &[]);
    let told = Told::of(&press, "1", "2");
    assert_eq!((told.whole["way"].as_str(), told.number("download_bytes")), (Some("pack"), pack_bytes(&press)));
    assert_eq!((told.number("unchanged"), &told.whole["removed"]), (2, &serde_json::json!(["gone.txt"])));
    assert_eq!(told.how("new/name.dat"), ("moved", Some("old/name.dat")));
    assert_eq!(told.how("seen2.dat"), ("copied", Some("seen.dat")));
    assert_eq!(told.how("fresh2.txt"), ("twin", Some("fresh.txt")));
    assert_eq!(told.how("big.bin"), ("patched", Some("big.bin")));
    assert_eq!(told.how("wild.txt"), ("patched", Some("wild.txt")));
    assert!((3000..4000).contains(&told.bytes("big.bin")), "{}", told.bytes("big.bin"));
    // These share a patch; what is new in each cannot be compressed.
    for (path, new) in [("wild.txt", 5000), ("fresh.txt", 9000)] {
        assert!((new..new + 400).contains(&told.bytes(path)), "{path}: {}", told.bytes(path));
    }
    assert!(told.bytes("app.cfg") < 100 && told.bytes("quiet.txt") < 100, "one letter costs next to nothing");
    assert_eq!((told.bytes("new/name.dat"), told.bytes("seen2.dat"), told.bytes("fresh2.txt")), (0, 0, 0));
}

#[test]
fn small_executables_that_share_a_patch_are_told_apart() {
    let press = Press::new();
    let mut dice = Dice::new(1);
    let program = Program::random(&mut dice, 200, 50);
    let edited = program.edited(&mut dice, 40);
    let linked = |program: &Program| link(program, Format::Elf(Machine::X86)).bytes;
    let (one, two) = (linked(&program), linked(&edited));
    let told = shared(&press, &[&one, &one], &[&[&one[..], &noise(8, 4000)].concat(), &two], "executable");
    // What changed in the other, a program, is compressed better than noise, and that is not told apart.
    assert!((3000..4400).contains(&told[0]), "4000 bytes of noise: {told:?}");
    assert!(told[1] > 300, "{told:?}");
}

#[test]
fn small_archives_that_share_a_patch_are_told_apart() {
    let press = Press::new();
    let fixture = |name: &str| {
        fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/archives").join(name)).expect("a fixture")
    };
    let (old, new) = (fixture("old.zip"), fixture("new.zip"));
    let told = shared(&press, &[&old, &old], &[&[&new[..], &noise(9, 3000)].concat(), &new], "deflate");
    assert!((2600..4400).contains(&told[0]), "3000 bytes of noise: {told:?}");
    assert!(told[1] > 0 && told[1] < told[0], "{told:?}");
}

/// Bytes that two small files take of the one patch they share.
fn shared(press: &Press, old: &[&[u8]; 2], new: &[&[u8]; 2], transform: &str) -> [u64; 2] {
    press.files("a", &[("one", old[0]), ("two", old[1])]);
    press.files("b", &[("one", new[0]), ("two", new[1])]);
    press.release(1, "a", &[]).expect(0, &[]);
    press.release(2, "b", &[]).expect(0, &[]);
    let told = Told::of(press, "1", "2");
    assert_eq!(told.number("download_bytes"), pack_bytes(press));
    for part in told.parts.values() {
        assert_eq!((&part["transform"], &part["estimate"]), (&Value::from(transform), &Value::from(true)));
    }
    ["one", "two"].map(|path| told.bytes(path))
}

#[test]
fn what_could_be_smaller_is_told() {
    let press = Press::new();
    let zip = |seed| [b"PK\x03\x04", &noise(seed, 60_000)[..]].concat();
    press.files("a", &[("assets.zip", &zip(1)), ("secret.dat", &noise(2, 50_000)), ("ok.txt", &text(1, 500))]);
    press.files("b", &[("assets.zip", &zip(3)), ("secret.dat", &noise(4, 50_000)), ("ok.txt", &text(1, 501))]);
    press.release(1, "a", &[]).expect(0, &[]);
    press.release(2, "b", &["--bases", "0"]).expect(0, &[]);
    let told = Told::of(&press, "1", "2");
    assert_eq!(told.whole["way"], "objects");
    assert_eq!((told.advice("assets.zip"), told.advice("secret.dat")), (Some("compressed"), Some("dense")));
    assert_eq!(told.advice("ok.txt"), None);
    let said = press.run(&["explain", "1", "2", "--site", "site", "--platform", LINUX]).expect(0, &[]);
    assert!(said.out.contains("smaller: assets.zip is a zip archive: store it uncompressed"), "{}", said.out);
    assert!(said.out.contains("objects, no pack leads there") && said.out.contains("(directory)"), "{}", said.out);
}

#[test]
fn builds_that_are_not_there_are_named() {
    let press = Press::new();
    press.files("a", &[("app", b"1")]);
    press.release(1, "a", &[]).expect(0, &[]);
    press.release(2, "a", &[]).expect(0, &[]);
    press.run(&["explain", "1", "3", "--site", "site"]).expect(5, &["build 3"]);
    press.run(&["explain", "1", "2", "--site", "site", "--platform", "plan9"]).expect(5, &["build 1", "plan9"]);
    let said = press.run(&["explain", "1", "2", "--site", "site"]).expect(0, &[]);
    assert!(said.out.contains("holds the same"), "{}", said.out);
}

#[test]
fn the_page_follows_every_change_and_is_the_same_for_the_same_site() {
    let press = Press::new();
    press.files("a", &[("app", &noise(1, 40_000)), ("b&'.txt", b"1")]);
    press.files("b", &[("app", &replaced(&noise(1, 40_000), 9, b"!")), ("b&'.txt", b"2")]);
    let args = Press::release_args(1, "a").into_iter().map(|arg| if arg == "1.0" { "<i>1".to_owned() } else { arg });
    let first_run = press.command().args(args).output().expect("the publisher runs");
    press::Said::from(first_run).expect(0, &[]);
    let page = || String::from_utf8(press.site()["index.html"].clone()).expect("UTF-8");
    let first = page();
    assert!(first.contains("&lt;i&gt;1") && !first.contains("<i>1"));
    press.release(2, "b", &["--rollout", "1%, 100% after 3d"]).expect(0, &[]);
    let second = page();
    assert!(second.contains("install; from 1") && second.contains("data-curve=\"0:10 259200:1000\""));
    for document in ["channels/stable.head", "root/1.root"] {
        let text = String::from_utf8(press.site()[document].clone()).expect("UTF-8");
        let end = text.lines().find_map(|line| line.strip_prefix("expires,")).expect("an end");
        assert!(second.contains(&format!("good until <time datetime=\"{end}\"")), "{document} ends at {end}");
    }
    assert!(second.contains("b&amp;&#39;.txt") && !second.contains("b&'"), "names are escaped");
    press.verify();
    let head = ["--site", "site", "--channel", "stable", "--keys", "keys"];
    press.run(&[&["halt"][..], &head[..]].concat()).expect(0, &[]);
    assert!(page().contains("nobody: halted"));
    press.run(&[&["resume"][..], &head[..]].concat()).expect(0, &[]);
    assert!(!page().contains("halted"));
    press.run(&["page", "--site", "site", "--out", "again.html"]).expect(0, &[]);
    assert_eq!(fs::read_to_string(press.path("again.html")).expect("written"), page());
    fs::remove_file(press.path("site/index.html")).expect("removed");
    let said = press.run(&["page", "--site", "site"]).expect(0, &[]);
    assert!(said.out.contains("wrote site"), "{}", said.out);
    let said = press.run(&["page", "--site", "site"]).expect(0, &[]);
    assert!(said.out.contains("is as it was"), "{}", said.out);
}

#[test]
fn sizes_of_old_releases_are_read_once_and_believed_of_the_very_same_documents_only() {
    let press = Press::new();
    for build in 1..=3u8 {
        press.files("a", &[("app", &replaced(&noise(1, 40_000), 9, &[build]))]);
        press.release(build.into(), "a", &[]).expect(0, &[]);
    }
    let (kept, manifest) =
        (press.path("site/.publisher/sizes.csv"), press.path("site/releases/1/linux-x86_64/manifest.csv"));
    let page = || {
        fs::remove_file(press.path("site/index.html")).expect("removed");
        press.run(&["page", "--site", "site"]).expect(0, &[]);
        String::from_utf8(press.site()["index.html"].clone()).expect("UTF-8")
    };
    let (whole, sizes) = (page(), fs::read_to_string(&kept).expect("kept"));
    assert_eq!(sizes.lines().count(), 3, "{sizes}");
    let bytes = fs::read(&manifest).expect("there");
    fs::remove_file(&manifest).expect("removed");
    assert!(page() == whole, "it is not asked for");
    // Lines of other documents, and no lines at all: what is said of a release comes from the release.
    let digest = sizes.split(',').nth(2).expect("a digest");
    let others = sizes.replacen(digest, &"0".repeat(digest.len()), 1).replacen(",40000,", ",4,", 1);
    for not_of_it in [others.as_str(), "linux-x86_64,1,x,y,1,1\n\"", ""] {
        fs::write(&kept, not_of_it).expect("written");
        assert!(page() != whole, "{not_of_it}");
        fs::write(&kept, not_of_it).expect("written");
        fs::write(&manifest, &bytes).expect("written");
        assert!(page() == whole, "{not_of_it}");
        fs::remove_file(&manifest).expect("removed");
    }
}

#[test]
fn the_page_of_a_bucket_tells_all_that_the_page_of_the_whole_site_tells() {
    let press = Press::new();
    for build in 1..=3u8 {
        press.files("a", &[("app", &replaced(&noise(1, 40_000), 9, &[build])), ("same", b"same")]);
        press.release(build.into(), "a", &[]).expect(0, &[]);
    }
    let (bucket, site) = (Scripted::new(), press.path("site"));
    let store = || Store::over(bucket.clone(), "", "memory").expect("threads");
    upload::run(&site, &store(), Options::default(), Arc::new(Unwatched)).expect("sent");
    bucket.remove("index.html");
    let cache = press.path("cache");
    let attach = || {
        let store = Some(Arc::new(store()));
        Arc::new(Origin::over(store, "memory", &cache, &[], Arc::new(Unwatched)).expect("attached"))
    };
    assert!(page::send(&cache, &attach(), Arc::new(Unwatched)).expect("sent"));
    // What was proved is kept beside the site, and not handed out.
    fs::remove_file(site.join(".publisher/proofs.csv")).expect("removed");
    let expected = page::render(&site, None).expect("a page");
    assert_eq!(String::from_utf8(bucket.files()["index.html"].clone()), Ok(expected));
    let origin = attach();
    assert!(!page::send(&cache, &origin, Arc::new(Unwatched)).expect("sent"), "it is as it was");
    assert!(origin.fetched().bytes < 20_000, "what the cache has is not fetched again: {:?}", origin.fetched());
}

#[test]
fn a_page_that_cannot_be_written_stops_no_release() {
    let press = Press::new();
    press.files("a", &[("app", b"1")]);
    fs::create_dir_all(press.path("site/index.html/in the way")).expect("made");
    press.release(1, "a", &[]).expect(0, &["index.html", "`publisher page` writes it"]);
    press.run(&["page", "--site", "site"]).expect(6, &["index.html"]);
}

#[test]
fn what_cannot_be_read_is_told_on_the_page_and_keeps_nothing_else_from_it() {
    let press = Press::new();
    press.files("a", &[("app", b"1")]);
    press.release(1, "a", &[]).expect(0, &[]);
    press.release(2, "a", &[]).expect(0, &[]);
    fs::write(press.path(&format!("site/releases/1/{LINUX}/release")), b"x\n").expect("written");
    fs::write(press.path("site/channels/stable.head"), b"x\n").expect("written");
    press.run(&["page", "--site", "site"]).expect(0, &[]);
    let page = String::from_utf8(press.site()["index.html"].clone()).expect("UTF-8");
    assert!(page.contains("Could not be read") && page.contains(">2.0<") && page.contains("stable.head"), "{page}");
}

#[test]
fn a_cost_sheet_adds_up_from_the_files_of_the_site() {
    let press = Press::new();
    press.files("a", &[("app", &noise(1, 40_000))]);
    press.files("b", &[("app", &replaced(&noise(1, 40_000), 9, b"!"))]);
    press.release(1, "a", &[]).expect(0, &[]);
    press.release(2, "b", &[]).expect(0, &[]);
    let fleet = "clients = 1000\nreleases_per_month = 2\nbehind_percent = [90]\nstart_window_minutes = 0\n\
                 prices = { per_gb = 1000.0, per_10000_requests = 1.0 }\n";
    fs::write(press.path("fleet.toml"), fleet).expect("written");
    let said = press.run(&["--json", "cost", "--site", "site", "--fleet", "fleet.toml"]).expect(0, &[]);
    let told: Value = serde_json::from_str(said.out.trim()).expect("JSON");
    let site = press.site();
    let length = |name: &str| site[name].len() as u64;
    let of = |file: &str| length(&format!("releases/2/{LINUX}/{file}"));
    let objects: u64 = of_release(&press, 2);
    let full = of("release") + of("manifest.csv") + of("objects.csv") + objects;
    let update = of("release") + pack_bytes(&press);
    assert_eq!(told["checks"]["bytes"], 1000 * 4 * 30 * length("channels/stable.head"));
    assert_eq!(told["checks"]["requests"], 120_000);
    assert_eq!(told["updates"]["bytes"], 1800 * update + 200 * full);
    assert_eq!(
        told["full_updates"],
        serde_json::json!({
            "requests": 2000, "bytes": 2000 * full, "money": 2000.0 * full as f64 / 1e9 * 1000.0 + 0.2,
        })
    );
    assert_eq!(told["rate"]["without_jitter"]["last_day"].as_f64(), Some(1000.0 / 60.0));
    assert!(told["rate"]["with_jitter"]["last_day"].as_f64() < Some(1.0));
    let said = press.run(&["cost", "--site", "site", "--fleet", "fleet.toml"]).expect(0, &[]);
    assert!(said.out.contains("updates as full downloads") && said.out.contains("jitter"), "{}", said.out);
    fs::write(press.path("fleet.toml"), fleet.replace("[90]", "[101]")).expect("written");
    press
        .run(&["cost", "--site", "site", "--fleet", "fleet.toml"])
        .expect(2, &["behind_percent", "together at most 100"]);
}

/// Bytes of the objects that the release of `build` names.
fn of_release(press: &Press, build: u64) -> u64 {
    let index =
        String::from_utf8(press.site()[&format!("releases/{build}/{LINUX}/objects.csv")].clone()).expect("UTF-8");
    let lengths = index.lines().filter_map(|line| line.strip_prefix("object,")?.split(',').nth(1)?.parse::<u64>().ok());
    lengths.sum()
}

#[test]
fn configuration_is_printed_for_every_server_and_takes_no_strange_signs() {
    let press = Press::empty();
    for server in ["nginx", "caddy", "apache", "s3-cloudfront", "cloudflare", "github-pages"] {
        let said = press.run(&["configure", server, "--host", "get.example.org", "--path", "/app/"]).expect(0, &[]);
        assert!(said.out.len() > 500, "{server}");
        let json = press.run(&["--json", "configure", server, "--host", "get.example.org", "--path", "/app/"]);
        let told: Value = serde_json::from_str(json.expect(0, &[]).out.trim()).expect("JSON");
        assert_eq!(told["text"].as_str().expect("a text").trim_end(), said.out.trim_end());
    }
    press.run(&["configure", "nginx", "--root", "/srv/$x"]).expect(2, &["--root", "expected a directory"]);
    press.run(&["configure", "iis"]).expect(2, &["iis"]);
}
