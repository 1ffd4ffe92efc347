//! A site that is being uploaded: whatever part of it has arrived, in whatever order, a client has the old release or the new
//! one, whole.

#[path = "../../client/tests/support/hostile.rs"]
mod hostile;
#[path = "../../client/tests/support/scoreboard.rs"]
mod scoreboard;
#[path = "support/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;

use lamplighter_client::download::{JumpingTiming, RetryPolicy};
use lamplighter_client::error::{Class, Error};
use lamplighter_client::source::{HttpOptions, Proxy};
use lamplighter_client::trust::Idle;
use lamplighter_client::updater::{Config, Origin, Outcome, Updater};

use hostile::Hostile;
use scoreboard::note;
use serde_json::json;
use world::{World, contents, copy, done, noise, set_site};

/// A file and its new content, or what of it has arrived.
type Upload = Vec<(String, Vec<u8>)>;

/// Two releases with a root between them: the site before and after, and what has to be uploaded.
struct Scene {
    world: World,
    before: BTreeMap<String, Vec<u8>>,
    log: Upload,
}

fn files(build: u64) -> Vec<(String, Vec<u8>)> {
    let mut changed = noise(1, 30_000);
    changed[5_000] ^= build as u8;
    let sparse = |n: u64| [noise(10 + n, 3_000), vec![0; 300_000]].concat();
    let text = format!("build {build}\n").repeat(40).into_bytes();
    let mut files = vec![("app".into(), text), ("changed.bin".into(), changed), ("same".into(), b"same".to_vec())];
    files.extend((1..=build).map(|n| (format!("added-{n}.bin"), sparse(n))));
    files
}

impl Scene {
    fn new() -> Self {
        let world = World::new();
        let release = |build| {
            let files = files(build);
            let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
            world.release(build, &files);
        };
        release(1);
        done(world.install("tree"));
        let before = site(&world);
        let (dir, keys, root) =
            (world::text(&world.site()), world::text(&world.path("keys")), world::text(&world.path("2.root")));
        world.publisher(&["root", "propose", "--site", &dir, "--out", &root]);
        world.publisher(&["root", "sign", &root, "--site", &dir, "--keys", &keys]);
        world.publisher(&["root", "publish", &root, "--site", &dir]);
        release(2);
        let log = site(&world).into_iter().filter(|(name, bytes)| before.get(name) != Some(bytes)).collect();
        Self { world, before, log }
    }

    /// The uploads in the order in which providers make them.
    fn orders(&self) -> Vec<(&'static str, bool, Upload)> {
        let sorted = |key: &dyn Fn(&str) -> usize| {
            let mut log = self.log.clone();
            log.sort_by_key(|(name, _)| key(name));
            log
        };
        let by_name = self.log.clone();
        let backwards: Upload = by_name.iter().rev().cloned().collect();
        let by_chance = |seed: u64| {
            let mut log = self.log.clone();
            log.sort_by_key(|(name, _)| blake3::hash(format!("{seed} {name}").as_bytes()).to_hex().to_string());
            log
        };
        let mut by_size = self.log.clone();
        by_size.sort_by_key(|(_, bytes)| bytes.len());
        vec![
            ("as documented", true, sorted(&documented)),
            ("by name", false, by_name),
            ("by name, backwards", false, backwards),
            ("small files first", false, by_size),
            ("by chance", false, by_chance(1)),
            ("by chance again", false, by_chance(2)),
            ("by chance once more", false, by_chance(3)),
        ]
    }

    /// Brings a copy of the tree of build 1 up to date, and installs anew; both must be whole.
    fn try_both(&self, server: &Hostile, in_order: bool) -> Result<[u64; 2], String> {
        let dir = tempfile::tempdir().expect("a directory");
        let tree = dir.path().join("tree");
        copy(&self.world.path("tree"), &tree);
        let config = |name: &str| Config {
            http: HttpOptions { proxy: Proxy::None, ..HttpOptions::default() },
            retry: RetryPolicy { timing: Arc::new(JumpingTiming::default()), ..RetryPolicy::default() },
            ..Config::new(dir.path().join(name))
        };
        set_site(&tree, &server.url());
        let updated = Updater::open(config("tree")).and_then(|updater| updater.update(None));
        let origin = Origin { site: server.url(), ..self.world.origin() };
        let installed = Updater::install(config("fresh"), &origin);
        let mut builds = [0, 0];
        for (n, (name, outcome, without)) in [("tree", updated, 1), ("fresh", installed, 0)].into_iter().enumerate() {
            let build = came_to(&outcome, in_order).map_err(|why| format!("{name}: {why}"))?.unwrap_or(without);
            let found = if build == 0 { BTreeMap::new() } else { contents(&dir.path().join(name)) };
            let expected = if build == 0 { BTreeMap::new() } else { files(build).into_iter().collect() };
            if found != expected {
                return Err(format!("{name} is not build {build}"));
            }
            builds[n] = build;
        }
        Ok(builds)
    }
}

fn site(world: &World) -> BTreeMap<String, Vec<u8>> {
    let mut files = contents(&world.site());
    files.retain(|name, _| !name.starts_with('.'));
    files
}

/// Content before what names it, heads last (docs/publishing.md).
fn documented(name: &str) -> usize {
    let places = ["objects/", "packs/", "root/", "releases/", "channels/"];
    let place = places.iter().position(|dir| name.starts_with(dir)).unwrap_or(0);
    place * 2 + usize::from(name.ends_with("/release"))
}

/// The build an outcome leads to; none if it leaves what there is. Errors must be those of a network.
fn came_to(outcome: &Result<Outcome, Error>, in_order: bool) -> Result<Option<u64>, String> {
    match outcome {
        Ok(Outcome::Done(report)) => Ok(Some(report.build)),
        Ok(Outcome::Idle(Idle::UpToDate)) => Ok(None),
        Err(error) if !in_order && is_of_the_upload(error) => Ok(None),
        other => Err(format!("{:?}", other.as_ref().map(|_| ()).map_err(ToString::to_string))),
    }
}

/// A file that is missing is the network's trouble; one that has arrived by half is not what was signed.
fn is_of_the_upload(error: &Error) -> bool {
    matches!(error.class(), Class::Network | Class::NotTrusted)
}

#[test]
fn at_every_moment_of_an_upload_a_client_has_one_release_or_the_other() {
    let scene = Scene::new();
    let mut moments = 0;
    for (order, in_order, log) in scene.orders() {
        let before: Vec<(&str, &[u8])> = scene.before.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
        let server = Hostile::files(&before);
        let mut seen = vec![[1, 1]];
        for (name, bytes) in log {
            // Many providers put a file in place at once, some let it grow.
            let parts = if in_order { vec![] } else { vec![0, bytes.len() / 2] };
            for part in parts.into_iter().chain([bytes.len()]) {
                server.put(&name, &bytes[..part]);
                let builds = scene.try_both(&server, in_order);
                let builds = builds.unwrap_or_else(|why| panic!("{order}: with {part} bytes of {name}: {why}"));
                seen.push(builds);
                moments += 1;
            }
        }
        assert_eq!(seen.last(), Some(&[2, 2]), "{order}: all is there");
        assert!(seen.iter().all(|builds| builds[0] > 0 && (builds[1] > 0 || !in_order)), "{order}: {seen:?}");
    }
    note("torn-uploads", json!({ "moments": moments, "torn": 0 }));
}
