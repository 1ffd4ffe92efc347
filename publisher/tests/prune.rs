//! Pruning a site that clients use: what goes is what nobody needs, whatever moment the run dies at.

#[path = "upload/scripted.rs"]
mod scripted;
#[path = "support/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lamplighter_client::deploy::RouteTaken;
use lamplighter_client::format::text::Time;
use lamplighter_publisher::error::{Class, Error};
use lamplighter_publisher::origin::Origin;
use lamplighter_publisher::prune::{self, Pruned, Request};
use lamplighter_publisher::store::Store;
use lamplighter_publisher::upload::{self, Options};
use lamplighter_publisher::watch::{Step, Unwatched, Watch};

use scripted::Scripted;
use world::{APP, World, contents, copy, done, noise, text, write};

/// Where the victim works, and before which removal it dies.
const VICTIM_DIR: &str = "LAMPLIGHTER_TEST_VICTIM_DIR";
const VICTIM_REMOVAL: &str = "LAMPLIGHTER_TEST_VICTIM_REMOVAL";
const LATER_DAYS: i64 = 100;

/// Kills the process, without any tidying, before the removal of this number.
struct Killer {
    fatal: usize,
    removals: AtomicUsize,
}

impl Watch for Killer {
    fn step(&self, _: Step, _: &str, _: u64) {}
    fn advanced(&self, _: u64) {}
    fn notice(&self, _: &'static str, _: &str, _: &str) {}
    fn removing(&self, _: &str) {
        if self.removals.fetch_add(1, Ordering::SeqCst) == self.fatal {
            std::process::abort();
        }
    }
}

/// All but the two newest releases of `site` are to go, when the grace of everything is over.
fn request(site: &Path) -> Request<'_> {
    Request {
        site,
        origin: None,
        app: Some(APP),
        keep: 2,
        keep_days: 0,
        grace_days: 7,
        delete: true,
        time: Time::now().plus(LATER_DAYS * 86_400),
    }
}

fn prune(site: &Path, fatal: usize) -> Pruned {
    prune::run(&request(site), Arc::new(Killer { fatal, removals: AtomicUsize::new(0) })).expect("pruned")
}

/// Runs the publisher as if it were days from now.
fn at(days: i64, args: &[&str]) -> Output {
    let seconds = Time::now().plus(days * 86_400).seconds().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_publisher"));
    command.args(args).env("SOURCE_DATE_EPOCH", seconds).output().expect("the publisher runs")
}

fn files(build: u64) -> Vec<(String, Vec<u8>)> {
    let mut large = noise(1, 60_000);
    large[..8].copy_from_slice(&build.to_le_bytes());
    let own = (format!("only-{build}"), noise(100 + build, 30_000));
    vec![("app".to_owned(), large), own, ("same".to_owned(), b"same".to_vec())]
}

/// Seven releases, each with packs from the two before, and a tree of each.
fn seven() -> World {
    let world = World::new();
    for build in 1..=7 {
        let files = files(build);
        let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
        let input = world.input(build, &files);
        world.publish(build, &input, &["--bases", "2", "--no-proof"]);
        done(world.install(&format!("tree-{build}")));
    }
    world
}

fn site(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = contents(dir);
    // The page for people tells of what is left, so it changes.
    files.retain(|name, _| !name.starts_with(".publisher") && name != "index.html");
    files
}

fn builds(site: &Path) -> Vec<String> {
    let names = fs::read_dir(site.join("releases")).expect("releases").map(|entry| entry.expect("readable"));
    let mut builds: Vec<String> = names.map(|entry| entry.file_name().into_string().expect("UTF-8")).collect();
    builds.sort();
    builds
}

/// Not a test of its own: the process that dies. Without its variables it has nothing to do.
#[test]
fn victim() {
    let (Ok(dir), Ok(fatal)) = (std::env::var(VICTIM_DIR), std::env::var(VICTIM_REMOVAL)) else { return };
    prune(dir.as_ref(), fatal.parse().expect("a number"));
}

#[test]
fn every_kept_release_installs_and_updates_and_nothing_else_is_left() {
    let world = seven();
    let dir = text(&world.site());
    fs::write(world.site().join("robots.txt"), b"User-agent: *\n").expect("written");
    let before = site(&world.site());
    let run = |days, more: &[&str]| at(days, &[&["prune", "--site", &dir, "--json"], more].concat());
    let event = |output: Output| -> serde_json::Value {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("one event")
    };

    // Everything came a moment ago: clients may be in the middle of any of it.
    let early = event(run(0, &["--keep", "0", "--delete"]));
    assert_eq!((&early["files"], &early["deleted"]), (&0.into(), &true.into()), "{early}");
    assert_eq!(early["unknown"], serde_json::json!(["robots.txt"]));
    // Later, first a look.
    let look = event(run(LATER_DAYS, &["--keep", "2"]));
    assert!(look["files"].as_u64() > Some(10) && look["deleted"] == false, "{look}");
    assert!(site(&world.site()) == before, "looking changed the site");
    let kept = event(run(LATER_DAYS, &["--keep", "2", "--keep-days", "200"]));
    assert_eq!(kept["files"], 0, "{kept}");

    let gone = event(run(LATER_DAYS, &["--keep", "2", "--delete"]));
    assert_eq!(gone["removed"], look["removed"]);
    let after = site(&world.site());
    let bytes = |files: &BTreeMap<String, Vec<u8>>| files.values().map(|b| b.len() as u64).sum::<u64>();
    assert_eq!(gone["bytes"].as_u64(), Some(bytes(&before) - bytes(&after)));
    assert_eq!(after.len() as u64 + gone["files"].as_u64().expect("a number"), before.len() as u64);
    assert_eq!(builds(&world.site()), ["4", "5", "6", "7"], "7 is offered, 6 kept, 4 and 5 are what packs start from");
    assert!(after.contains_key("robots.txt"));
    // Fresh installs of all that is left, and updates from all bases that are left.
    world.publisher(&["verify", "--site", &dir]);

    for build in 1..=7u64 {
        let tree = format!("tree-{build}");
        if build < 7 {
            let report = done(world.update(&tree));
            assert_eq!(matches!(report.route, RouteTaken::Pack), build >= 5, "build {build}: {:?}", report.route);
        }
        assert_eq!(world.contents(&tree), files(7).into_iter().collect(), "from build {build}");
    }
    done(world.install("fresh"));
    assert_eq!(world.contents("fresh"), files(7).into_iter().collect());
    // A kept release may be offered again, and the next release goes on.
    let keys = text(&world.path("keys"));
    world.publisher(&["promote", "--site", &dir, "--keys", &keys, "--channel", "beta", "--build", "6"]);
    world.release(8, &[("app", b"eight")]);
    world.publisher(&["verify", "--site", &dir]);
    let again = event(run(LATER_DAYS, &["--keep", "0", "--delete"]));
    assert_eq!(again["deleted"], true);
    world.publisher(&["verify", "--site", &dir]);
    assert_eq!(builds(&world.site()), ["4", "5", "6", "8"], "6 is offered on beta, and 8 has no pack from 7");
}

#[test]
fn a_run_killed_before_any_removal_leaves_a_sound_site_and_the_next_one_finishes() {
    let world = seven();
    let pruned = world.path("pruned");
    copy(&world.site(), &pruned);
    let removals = prune(&pruned, usize::MAX).plan.files().count();
    assert!(removals > 10, "{removals} removals");
    let expected = site(&pruned);
    for fatal in 0..removals {
        let dir = world.path(&format!("killed-{fatal}"));
        copy(&world.site(), &dir);
        let status = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "victim"])
            .env(VICTIM_DIR, &dir)
            .env(VICTIM_REMOVAL, fatal.to_string())
            .output();
        assert!(!status.expect("it runs").status.success(), "nobody died before removal {fatal}");
        world.publisher(&["verify", "--site", &text(&dir), "--no-proof"]);
        assert_eq!(prune(&dir, usize::MAX).plan.files().count(), removals - fatal, "removal {fatal}");
        assert!(site(&dir) == expected, "after removal {fatal}");
        fs::remove_dir_all(&dir).expect("removed");
    }
    world.publisher(&["verify", "--site", &text(&pruned)]);
}

#[test]
fn nothing_goes_while_a_document_cannot_be_read() {
    let world = seven();
    let dir = text(&world.site());
    let documents = ["channels/stable.head", "releases/7/linux-x86_64/release", "releases/2/linux-x86_64/release"];
    for name in documents.into_iter().chain(["releases/5/linux-x86_64/objects.csv"]) {
        let path = world.site().join(name);
        let kept = fs::read(&path).expect("there");
        let mut damaged = kept.clone();
        damaged[40] ^= 1;
        fs::write(&path, &damaged).expect("written");
        let before = site(&world.site());
        let output = at(LATER_DAYS, &["prune", "--site", &dir, "--keep", "0", "--delete"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(name), "{name}: {said}");
        assert!(site(&world.site()) == before, "{name}: something went");
        fs::write(&path, kept).expect("mended");
    }
    let foreign = at(0, &["prune", "--site", &dir, "--app", "org.example.other"]);
    assert_eq!(foreign.status.code(), Some(5), "{}", String::from_utf8_lossy(&foreign.stderr));
}

/// A bucket with the whole site of `world`.
fn bucket_of(world: &World) -> Arc<Scripted> {
    let bucket = Scripted::new();
    upload::run(&world.site(), &store(&bucket), Options::default(), Arc::new(Unwatched)).expect("sent");
    bucket
}

fn store(bucket: &Arc<Scripted>) -> Store {
    Store::over(bucket.clone(), "", "memory").expect("threads")
}

/// Makes `cache`, which may be empty, a part of the site in `bucket`.
fn attach(bucket: &Arc<Scripted>, cache: &Path) -> Result<Arc<Origin>, Error> {
    Origin::over(Some(Arc::new(store(bucket))), "memory", cache, &[], Arc::new(Unwatched)).map(Arc::new)
}

fn prune_bucket(bucket: &Arc<Scripted>, cache: &Path, watch: Arc<dyn Watch>) -> Result<Pruned, Error> {
    prune::run(&Request { origin: Some(&attach(bucket, cache)?), ..request(cache) }, watch)
}

fn served(bucket: &Scripted) -> BTreeMap<String, Vec<u8>> {
    let mut files = bucket.files();
    files.retain(|name, _| name != "index.html");
    files
}

#[test]
fn a_bucket_is_pruned_as_a_directory_is_and_whatever_moment_the_run_dies_at() {
    let world = seven();
    let expected = world.path("expected");
    copy(&world.site(), &expected);
    let removals = prune(&expected, usize::MAX).plan.files().count();
    let expected = site(&expected);
    let cache = world.path("cache");
    for cut in (1..removals as i64).step_by(3).map(Some).chain([None]) {
        let bucket = bucket_of(&world);
        bucket.set("robots.txt", b"User-agent: *\n");
        let _ = fs::remove_dir_all(&cache);
        if let Some(removals) = cut {
            bucket.writes_left.store(removals, Ordering::SeqCst);
            let died = prune_bucket(&bucket, &cache, Arc::new(Unwatched)).expect_err("the line is cut");
            assert_eq!(died.class(), Class::Disk, "{died}");
            bucket.writes_left.store(-1, Ordering::SeqCst);
            let left = world.path("left");
            for (name, bytes) in bucket.files() {
                write(&left.join(name), &bytes);
            }
            world.publisher(&["verify", "--site", &text(&left), "--no-proof"]);
            fs::remove_dir_all(&left).expect("removed");
        }
        let pruned = prune_bucket(&bucket, &cache, Arc::new(Unwatched)).expect("pruned");
        assert_eq!(pruned.plan.unknown, ["robots.txt"]);
        let mut found = served(&bucket);
        found.remove("robots.txt").expect("not ours, so it stays");
        assert!(found == expected, "cut after {cut:?}");
        let kept: Vec<String> = site(&cache).into_keys().filter(|name| !expected.contains_key(name)).collect();
        assert!(kept.is_empty(), "the cache keeps what is gone: {kept:?}");
    }
}

/// Puts a file into a bucket as soon as the first file is removed.
struct Meanwhile(Arc<Scripted>, &'static str, Vec<u8>, AtomicUsize);

impl Watch for Meanwhile {
    fn step(&self, _: Step, _: &str, _: u64) {}
    fn advanced(&self, _: u64) {}
    fn notice(&self, _: &'static str, _: &str, _: &str) {}
    fn removing(&self, _: &str) {
        if self.3.fetch_add(1, Ordering::SeqCst) == 0 {
            self.0.set(self.1, &self.2);
        }
    }
}

#[test]
fn content_stays_in_a_bucket_where_somebody_published_meanwhile() {
    let world = seven();
    let newer = World { dir: tempfile::tempdir().expect("a directory") };
    copy(&world.path("keys"), &newer.path("keys"));
    copy(&world.site(), &newer.site());
    newer.release(8, &[("app", b"eight")]);
    let head = "channels/stable.head";
    for (name, from) in [("releases/8/linux-x86_64/release", &newer), (head, &newer)] {
        let bucket = bucket_of(&world);
        let bytes = fs::read(from.site().join(name)).expect("published");
        let watch = Arc::new(Meanwhile(bucket.clone(), name, bytes, AtomicUsize::new(0)));
        let cache = world.path("cache");
        let _ = fs::remove_dir_all(&cache);
        let error = prune_bucket(&bucket, &cache, watch).expect_err("it was changed");
        assert!(error.to_string().contains(name) && error.class() == Class::Site, "{error}");
        let (before, after) = (site(&world.site()), served(&bucket));
        let gone: Vec<&String> = before.keys().filter(|name| !after.contains_key(*name)).collect();
        assert!(!gone.is_empty() && gone.iter().all(|name| name.starts_with("releases/")), "{gone:?}");
    }
    // Nor may it come after the releases were listed, and before they are read.
    let (bucket, cache) = (bucket_of(&world), world.path("early"));
    let origin = attach(&bucket, &cache).expect("attached");
    let name = "releases/8/linux-x86_64/release";
    bucket.set(name, &fs::read(newer.site().join(name)).expect("published"));
    let tried = prune::run(&Request { origin: Some(&origin), ..request(&cache) }, Arc::new(Unwatched));
    assert!(tried.is_err_and(|error| error.to_string().contains(name)));
}

#[test]
fn what_a_cache_has_signed_and_not_sent_keeps_what_it_needs_in_the_bucket() {
    let world = seven();
    let (bucket, cache) = (bucket_of(&world), world.path("cache"));
    // Build 8 needs the very content of build 1 again; its head is not sent either.
    copy(&world.site(), &cache);
    let old = files(1);
    let old: Vec<(&str, &[u8])> = old.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    world.release(8, &old);
    let _ = fs::remove_dir_all(&cache);
    copy(&world.site(), &cache);
    let pruned = prune_bucket(&bucket, &cache, Arc::new(Unwatched)).expect("pruned");
    assert!(pruned.plan.files().count() > 3, "{pruned:?}");
    let origin = attach(&bucket, &cache).expect("attached");
    upload::return_to(&cache, &origin, Options::default(), Arc::new(Unwatched)).expect("sent");
    let there = world.path("there");
    for (name, bytes) in bucket.files() {
        write(&there.join(name), &bytes);
    }
    world.publisher(&["verify", "--site", &text(&there)]);
}
