//! A large update over a bad line: what has arrived is not fetched again, whatever ends a transfer, the process or the way.
//!
//! `LAMPLIGHTER_ALL=1` makes the update one of 100 MiB, which takes minutes.

#[path = "../../client/tests/support/hostile.rs"]
mod hostile;
#[path = "../../client/tests/support/proxy.rs"]
mod proxy;
#[path = "../../client/tests/support/scoreboard.rs"]
mod scoreboard;
#[path = "support/world.rs"]
mod world;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lamplighter_client::download::{JumpingTiming, RetryPolicy, Timing};
use lamplighter_client::error::{Class, Error};
use lamplighter_client::source::{HttpOptions, Proxy};
use lamplighter_client::updater::{Config, Outcome, Updater};

use hostile::{Fault, Hostile};
use proxy::Passing;
use scoreboard::note;
use serde_json::json;
use world::{World, contents, copy, done, noise, set_site, text, write};

/// Bytes of new content that cannot be compressed.
fn new_bytes() -> usize {
    if std::env::var_os("LAMPLIGHTER_ALL").is_some() { 100 << 20 } else { 12 << 20 }
}

const CUTS: usize = 50;

/// A tree of build 1, and build 2 with much that is new.
struct Scene {
    world: World,
    pack: String,
    pack_bytes: usize,
}

impl Scene {
    fn new() -> Self {
        let world = World::new();
        // A pack is made where it saves something.
        let changed = |build: u8| [noise(1, 1 << 19), vec![build]].concat();
        world.release(1, &[("app", b"one"), ("changed", &changed(1))]);
        done(world.install("tree"));
        let input = world.input(2, &[("app", b"two"), ("changed", &changed(2))]);
        write(&input.join("big.bin"), &noise(3, new_bytes()));
        world.publish(2, &input, &["--effort", "1", "--no-proof"]);
        let packs = walkdir::WalkDir::new(world.site().join("packs")).into_iter().map(|entry| entry.expect("readable"));
        let pack = packs.filter(|entry| entry.file_type().is_file()).map(walkdir::DirEntry::into_path).next();
        let pack = pack.expect("a pack");
        let pack_bytes = fs::metadata(&pack).expect("there").len() as usize;
        assert!(pack_bytes >= new_bytes(), "{pack_bytes}");
        let pack = text(pack.strip_prefix(world.site()).expect("below"));
        Self { world, pack, pack_bytes }
    }

    /// Lengths of the pieces into which cuts at random places divide the pack, but for the last.
    fn pieces(&self, seed: u64) -> Vec<usize> {
        let mut bytes = vec![0; CUTS * 8];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
        let place = |chunk: &[u8]| u64::from_le_bytes(chunk.try_into().expect("8 bytes")) as usize % self.pack_bytes;
        let mut places: Vec<usize> = bytes.chunks(8).map(place).collect();
        places.sort_unstable();
        let before = std::iter::once(0).chain(places.iter().copied());
        places.iter().zip(before).map(|(place, before)| place - before).collect()
    }

    fn tree(&self, dir: &Path) -> PathBuf {
        let tree = dir.join("tree");
        copy(&self.world.path("tree"), &tree);
        tree
    }

    /// Fails unless the tree is build 2 and what `servers` sent is at most a twentieth more than the pack.
    fn accept(&self, name: &str, tree: &Path, servers: &[&Hostile]) {
        assert!(contents(tree) == contents(&self.world.path("input-2")), "{name}: the tree is not build 2");
        let sent: u64 = servers.iter().map(|server| server.sent_bytes()).sum();
        let ratio = sent as f64 / self.pack_bytes as f64;
        let figures = json!({ "cuts": CUTS, "pack_bytes": self.pack_bytes, "sent_bytes": sent, "ratio": ratio });
        note(&format!("resume-{name}"), figures);
        assert!(ratio <= 1.05, "{name}: {sent} bytes were sent for {}", self.pack_bytes);
    }
}

/// One run of a program that updates: nothing but what is on disk is known from before.
fn update(tree: &Path, site: &str, proxy: Proxy) -> Result<Outcome, Error> {
    set_site(tree, site);
    let clock = Arc::new(JumpingTiming::default());
    let http = HttpOptions { proxy, ..HttpOptions::default() };
    let retry = RetryPolicy { timing: clock.clone(), ..RetryPolicy::default() };
    // The machine slept.
    clock.pause(Duration::from_secs(8 * 3600));
    Updater::open(Config { http, retry, ..Config::new(tree) })?.update(None)
}

fn address(server: &Hostile) -> SocketAddr {
    server.url()["http://".len()..].trim_end_matches('/').parse().expect("an address")
}

#[test]
fn fifty_cuts_of_a_large_pack_cost_at_most_a_twentieth_more() {
    let scene = Scene::new();
    in_one_process(&scene);
    over_restarts(&scene);
    over_changing_ways(&scene);
}

fn in_one_process(scene: &Scene) {
    let (dir, server) = (tempfile::tempdir().expect("a directory"), Hostile::dir(&scene.world.site()));
    let tree = scene.tree(dir.path());
    server.script(&scene.pack, scene.pieces(1).into_iter().map(Fault::CutAfter));
    done(update(&tree, &server.url(), Proxy::None));
    assert_eq!(server.ranges(&scene.pack).len(), CUTS + 1);
    scene.accept("in-one-process", &tree, &[&server]);
}

/// After each cut the host is gone until the program has given up.
fn over_restarts(scene: &Scene) {
    let (dir, server) = (tempfile::tempdir().expect("a directory"), Hostile::dir(&scene.world.site()));
    let tree = scene.tree(dir.path());
    server.script(&scene.pack, scene.pieces(2).into_iter().flat_map(|piece| [Fault::CutAfter(piece), Fault::Vanish]));
    let mut runs = 1;
    while let Err(error) = update(&tree, &server.url(), Proxy::None) {
        assert_eq!(error.class(), Class::Network, "{error}");
        server.come_back();
        runs += 1;
    }
    assert_eq!(runs, CUTS + 1);
    scene.accept("over-restarts", &tree, &[&server]);
}

/// After each cut the name leads to another machine, as when a laptop changes networks; the way is a proxy's.
fn over_changing_ways(scene: &Scene) {
    let dir = tempfile::tempdir().expect("a directory");
    let tree = scene.tree(dir.path());
    let servers = [Hostile::dir(&scene.world.site()), Hostile::dir(&scene.world.site())];
    for (n, piece) in scene.pieces(3).into_iter().enumerate() {
        servers[n % 2].script(&scene.pack, [Fault::CutAfter(piece), Fault::Vanish]);
    }
    let proxy = Passing::to(address(&servers[0]));
    let ways = ["http", "socks5h"].map(|scheme| Proxy::Url(proxy.url().replace("http", scheme)));
    let mut runs = 0;
    while update(&tree, "http://site.invalid/", ways[runs % 2].clone()).is_err() {
        servers[runs % 2].come_back();
        runs += 1;
        proxy.lead_to(address(&servers[runs % 2]));
    }
    assert_eq!(runs, CUTS);
    scene.accept("over-changing-ways", &tree, &[&servers[0], &servers[1]]);
}
