//! A site on its way into a bucket: order, conflicts, races, and crashes at every step.

#[path = "upload/scripted.rs"]
mod scripted;
#[path = "support/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use lamplighter_client::updater::Updater;
use lamplighter_publisher::delivery::FileKind;
use lamplighter_publisher::error::{Class, Error};
use lamplighter_publisher::origin::Origin;
use lamplighter_publisher::store::{Conditions, Store, WHOLE_BYTES_MAX};
use lamplighter_publisher::upload::{self, Options, UploadError, Uploaded};
use lamplighter_publisher::watch::{Step, Watch};
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt};

use scripted::Scripted;
use world::{World, contents, copy, done, noise, set_site, text, write};

const HEAD: &str = "channels/stable.head";

/// Keeps the codes of notices.
#[derive(Default)]
struct Heard(Mutex<Vec<&'static str>>);

impl Watch for Heard {
    fn step(&self, _: Step, _: &str, _: u64) {}
    fn advanced(&self, _: u64) {}
    fn notice(&self, code: &'static str, _: &str, _: &str) {
        self.0.lock().expect("no panic").push(code);
    }
}

fn store(bucket: &Arc<Scripted>) -> Store {
    let inner: Arc<dyn ObjectStore> = bucket.clone();
    Store::over(inner, "", "memory").expect("threads")
}

fn send(site: &Path, bucket: &Arc<Scripted>) -> Result<Uploaded, Error> {
    upload::run(site, &store(bucket), Options::default(), Arc::new(Heard::default()))
}

/// What is of the site in its directory.
fn local(site: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = contents(site);
    files.retain(|name, _| FileKind::of(name).is_some());
    files
}

fn files(build: u64) -> Vec<(String, Vec<u8>)> {
    let mut changed = noise(1, 30_000);
    changed[5_000] ^= build as u8;
    vec![("app".into(), format!("build {build}\n").repeat(40).into_bytes()), ("changed.bin".into(), changed)]
}

fn release(world: &World, build: u64) {
    let files = files(build);
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    world.release(build, &files);
}

/// A world with one release.
fn world() -> World {
    let world = World::new();
    release(&world, 1);
    world
}

#[test]
fn everything_arrives_in_order_with_its_headers_and_a_second_run_sends_nothing() {
    let world = world();
    write(&world.site().join("index.html"), b"<p>");
    write(&world.site().join("objects/.stray"), b"x");
    let bucket = Scripted::new();
    let sent = send(&world.site(), &bucket).expect("sent");
    assert_eq!(bucket.files(), local(&world.site()), "what is of the site, and nothing else");
    assert_eq!(sent.files, bucket.files().len() as u64 - 1, "the head is counted apart");
    assert_eq!((sent.heads[0].sequence, sent.heads[0].moved, sent.conditions), (1, true, Some(Conditions::Kept)));
    let kinds: Vec<_> = bucket.take_written().iter().filter_map(|name| FileKind::of(name)).collect();
    assert!(kinds.is_sorted(), "{kinds:?}");
    assert_eq!(bucket.headers(HEAD), ["no-cache", "text/plain; charset=utf-8"]);
    assert_eq!(bucket.headers("index.html"), ["no-cache", "text/html; charset=utf-8"]);
    let manifest = bucket.headers("releases/1/linux-x86_64/manifest.csv");
    assert_eq!(manifest, ["public, max-age=31536000, immutable", "text/csv; charset=utf-8"]);
    fs::remove_file(world.site().join("index.html")).expect("removed");
    let again = send(&world.site(), &bucket).expect("nothing to do");
    assert_eq!((again.files, again.heads[0].moved, again.conditions), (0, false, None));
    assert!(bucket.take_written().is_empty());
}

#[test]
fn only_what_is_new_follows() {
    let world = world();
    let bucket = Scripted::new();
    send(&world.site(), &bucket).expect("sent");
    let before = bucket.files();
    bucket.take_written();
    release(&world, 2);
    let sent = send(&world.site(), &bucket).expect("sent");
    let mut written = bucket.take_written();
    written.retain(|name| FileKind::of(name).is_some_and(FileKind::is_immutable));
    assert!(written.iter().all(|name| !before.contains_key(name)), "{written:?}");
    // All but the head and the page.
    assert_eq!((sent.present_files, sent.heads[0].sequence), (before.len() as u64 - 2, 2));
    assert_eq!(bucket.files(), local(&world.site()));
}

#[test]
fn a_crash_at_any_step_leaves_clients_fine_and_the_next_run_finishes() {
    let world = world();
    let bucket = Scripted::new();
    send(&world.site(), &bucket).expect("sent");
    let before = bucket.files();
    done(world.install("tree"));
    release(&world, 2);
    let mut crashes = 0;
    for writes in 0.. {
        let bucket = Scripted::new();
        before.iter().for_each(|(name, bytes)| bucket.set(name, bytes));
        bucket.writes_left.store(writes, Ordering::SeqCst);
        let crashed = send(&world.site(), &bucket).is_err();
        // The last write is that of the head; a cut right after it loses nothing.
        let arrived = bucket.files().get(HEAD) != before.get(HEAD);
        assert_eq!(
            updated(&world, &bucket),
            files(if arrived { 2 } else { 1 }).into_iter().collect(),
            "after {writes}"
        );
        bucket.writes_left.store(-1, Ordering::SeqCst);
        send(&world.site(), &bucket).expect("finished");
        let mut found = bucket.files();
        found.retain(|name, _| FileKind::of(name).is_some());
        assert_eq!(found, local(&world.site()), "after {writes}");
        if !crashed {
            break;
        }
        crashes += 1;
    }
    assert!(crashes > 8, "{crashes}");
}

/// What a client of release 1 has after an update from what the bucket holds now.
fn updated(world: &World, bucket: &Arc<Scripted>) -> BTreeMap<String, Vec<u8>> {
    let dir = tempfile::tempdir().expect("a directory");
    for (name, bytes) in bucket.files() {
        write(&dir.path().join("site").join(name), &bytes);
    }
    copy(&world.path("tree"), &dir.path().join("tree"));
    set_site(&dir.path().join("tree"), &text(&dir.path().join("site")));
    let config = lamplighter_client::updater::Config::new(dir.path().join("tree"));
    Updater::open(config).and_then(|updater| updater.update(None)).expect("a client is fine");
    contents(&dir.path().join("tree"))
}

#[test]
fn a_published_file_of_another_length_or_content_is_refused() {
    let world = world();
    let bucket = Scripted::new();
    send(&world.site(), &bucket).expect("sent");
    let object = bucket.files().into_keys().find(|name| name.starts_with("objects/")).expect("an object");
    bucket.set(&object, b"short");
    let error = send(&world.site(), &bucket).expect_err("another length");
    assert!(
        matches!(&error, Error::Upload(UploadError::Conflicts { .. })) && error.to_string().contains(&object),
        "{error}"
    );
    assert_eq!(error.class(), Class::Site);
    // A root of the same length by other keys.
    let bucket = Scripted::new();
    let mut root = fs::read(world.site().join("root/1.root")).expect("read");
    *root.last_mut().expect("not empty") = b' ';
    bucket.set("root/1.root", &root);
    let error = send(&world.site(), &bucket).expect_err("another root");
    assert!(error.to_string().contains("root/1.root"), "{error}");
    assert!(bucket.take_written().is_empty(), "nothing was sent");
}

#[test]
fn leftovers_of_an_unfinished_release_are_replaced_only_if_asked() {
    let world = world();
    let name = "releases/1/linux-x86_64/manifest.csv";
    let mut other = fs::read(world.site().join(name)).expect("read");
    let last = other.len() - 2;
    other[last] ^= 1;
    for leftover in [other, b"short".to_vec()] {
        let bucket = Scripted::new();
        bucket.set(name, &leftover);
        let error = send(&world.site(), &bucket).expect_err("other content");
        assert!(error.to_string().contains(name) && error.to_string().contains("--replace-unfinished"), "{error}");
        let options = Options { replace_unfinished: true, ..Options::default() };
        upload::run(&world.site(), &store(&bucket), options, Arc::new(Heard::default())).expect("replaced");
        assert_eq!(bucket.files(), local(&world.site()));
    }
}

#[test]
fn a_newer_head_is_never_overwritten() {
    let world = world();
    let bucket = Scripted::new();
    copy(&world.site(), &world.path("old"));
    release(&world, 2);
    send(&world.site(), &bucket).expect("sent");
    let before = bucket.files();
    let error = send(&world.path("old"), &bucket).expect_err("an older head");
    assert!(matches!(error, Error::Upload(UploadError::Behind { local: 1, remote: 2, .. })), "{error}");
    assert_eq!(bucket.files(), before);
}

#[test]
fn of_two_publishers_at_once_the_second_is_told() {
    let world = world();
    let bucket = Scripted::new();
    send(&world.site(), &bucket).expect("sent");
    copy(&world.site(), &world.path("theirs"));
    release(&world, 2);
    let (dir, keys) = (text(&world.path("theirs")), text(&world.path("keys")));
    world.publisher(&["halt", "--site", &dir, "--channel", "stable", "--keys", &keys]);
    let theirs = fs::read(world.path("theirs").join(HEAD)).expect("read");
    // The other publisher's head arrives between our look and our write.
    let sneaked = theirs.clone();
    bucket.before(HEAD, move |inner, handle| {
        let (bytes, key) = (sneaked.clone(), Key::from(HEAD));
        tokio::task::block_in_place(|| handle.block_on(inner.put(&key, bytes.into()))).expect("written");
    });
    let error = send(&world.site(), &bucket).expect_err("they were first");
    assert!(matches!(error, Error::Upload(UploadError::Lost { .. })), "{error}");
    assert_eq!(bucket.files().get(HEAD), Some(&theirs));
    let error = send(&world.site(), &bucket).expect_err("the same sequence, other bytes");
    assert!(matches!(error, Error::Upload(UploadError::Behind { local: 2, remote: 2, .. })), "{error}");
}

#[test]
fn a_provider_that_ignores_conditions_is_told_of() {
    let world = world();
    let bucket = Scripted::new();
    bucket.ignores_conditions.store(true, Ordering::SeqCst);
    let heard = Arc::new(Heard::default());
    let sent = upload::run(&world.site(), &store(&bucket), Options::default(), heard.clone()).expect("sent");
    assert_eq!(sent.conditions, Some(Conditions::Ignored));
    assert_eq!(*heard.0.lock().expect("no panic"), ["no-conditions"]);
    assert_eq!(bucket.files(), local(&world.site()), "the probe is gone");
}

#[test]
fn a_head_moves_only_if_all_that_it_names_is_here_or_there() {
    let world = world();
    let bucket = Scripted::new();
    send(&world.site(), &bucket).expect("sent");
    release(&world, 2);
    let known = bucket.files();
    let object = local(&world.site()).into_keys().find(|n| n.starts_with("objects/") && !known.contains_key(n));
    let path = world.site().join(object.expect("a new object"));
    let bytes = fs::read(&path).expect("read");
    fs::remove_file(&path).expect("removed");
    bucket.take_written();
    let error = send(&world.site(), &bucket).expect_err("an object is nowhere");
    assert!(matches!(error, Error::Upload(UploadError::Incomplete { .. })), "{error}");
    assert!(bucket.take_written().is_empty(), "nothing was sent");
    write(&path, &bytes);
    // What is there need not be here: old objects may be gone from the local site.
    for name in known.keys().filter(|name| name.starts_with("objects/")) {
        fs::remove_file(world.site().join(name)).expect("removed");
    }
    send(&world.site(), &bucket).expect("sent");
}

#[test]
fn a_newer_root_over_there_stops_an_old_site() {
    let world = world();
    let bucket = Scripted::new();
    copy(&world.site(), &world.path("old"));
    let (dir, keys, root) = (text(&world.site()), text(&world.path("keys")), text(&world.path("2.root")));
    world.publisher(&["root", "propose", "--site", &dir, "--out", &root]);
    world.publisher(&["root", "sign", &root, "--site", &dir, "--keys", &keys]);
    world.publisher(&["root", "publish", &root, "--site", &dir]);
    send(&world.site(), &bucket).expect("sent");
    let error = send(&world.path("old"), &bucket).expect_err("an old site");
    assert!(matches!(error, Error::Upload(UploadError::OldRoots { local: 1, remote: 2, .. })), "{error}");
}

#[test]
fn a_cache_brings_nothing_back_that_was_pruned() {
    let world = world();
    let bucket = Scripted::new();
    let old = local(&world.site());
    release(&world, 2);
    send(&world.site(), &bucket).expect("sent");
    let cache = world.path("cache");
    let attach = || {
        let store = Some(Arc::new(store(&bucket)));
        Origin::over(store, "memory", &cache, &[], Arc::new(Heard::default())).expect("attached")
    };
    attach();
    assert_eq!(local(&cache).len(), 2, "a root and a head, and nothing else");
    for folder in ["releases", "objects", "packs"] {
        copy(&world.site().join(folder), &cache.join(folder));
    }
    let objects = fs::read_to_string(world.site().join("releases/2/linux-x86_64/objects.csv")).expect("an index");
    let is_old = |name: &&String| {
        let digest = name.rsplit('/').next().unwrap_or_default();
        name.starts_with("releases/1/") || name.starts_with("objects/") && !objects.contains(digest)
    };
    let gone: Vec<&String> = old.keys().filter(is_old).collect();
    assert!(gone.len() > 3, "{gone:?}");
    gone.iter().for_each(|name| bucket.remove(name));
    let before = bucket.files();
    bucket.take_written();
    let origin = Arc::new(attach());
    assert!(!cache.join("releases/1/linux-x86_64/release").exists(), "what was pruned there goes here as well");
    let sent = upload::return_to(&cache, &origin, Options::default(), Arc::new(Heard::default())).expect("fine");
    assert_eq!((sent.files, bucket.take_written().len()), (0, 0));
    assert_eq!(bucket.files(), before);
}

#[test]
fn large_files_go_in_parts() {
    let dir = tempfile::tempdir().expect("a directory");
    let bytes = noise(1, WHOLE_BYTES_MAX as usize + 5);
    write(&dir.path().join("large"), &bytes);
    let bucket = Scripted::new();
    let content = lamplighter_publisher::store::Content::File(&dir.path().join("large"), bytes.len() as u64);
    let sent = Mutex::new(Vec::new());
    let created = store(&bucket).create("objects/x", content, &|n| sent.lock().expect("no panic").push(n));
    assert!(created.expect("sent"));
    assert_eq!(*sent.lock().expect("no panic"), [WHOLE_BYTES_MAX, 5]);
    assert_eq!(bucket.files()["objects/x"], bytes);
}

#[test]
fn a_directory_is_a_place_as_well() {
    let world = world();
    let out = text(&world.path("out"));
    let upload = |site: &str| {
        let args = ["--json", "upload", "--site", site, "--to", &out];
        Command::new(env!("CARGO_BIN_EXE_publisher")).args(args).output().expect("the publisher runs")
    };
    let site = text(&world.site());
    let first = upload(&site);
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    let event: serde_json::Value = serde_json::from_slice(&first.stdout).expect("one event");
    assert_eq!((event["event"].as_str(), event["heads"][0]["sequence"].as_u64()), (Some("uploaded"), Some(1)));
    let mut found = contents(&world.path("out"));
    found.retain(|name, _| !name.starts_with(".publisher/"));
    assert_eq!(found, local(&world.site()));
    copy(&world.site(), &world.path("old"));
    release(&world, 2);
    assert!(upload(&site).status.success());
    let refused = upload(&text(&world.path("old")));
    assert_eq!(refused.status.code(), Some(5), "an older head: {}", String::from_utf8_lossy(&refused.stderr));
    assert_eq!(upload("nowhere").status.code(), Some(5));
    let bad =
        Command::new(env!("CARGO_BIN_EXE_publisher")).args(["upload", "--site", &site, "--to", "ftp://x"]).output();
    assert_eq!(bad.expect("the publisher runs").status.code(), Some(2));
}
