//! The background round, as a process of its own beside a running app, on the frozen sites of `fixtures/sites`.

#![cfg(all(feature = "cli", feature = "http"))]

#[path = "support/frozen_site.rs"]
mod frozen_site;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use lamplighter_client::source::{HttpOptions, Proxy};
use lamplighter_client::updater::{Config, Updater};
use lamplighter_client::watch::{WatchEvent, WatchOptions};
use support::hostile::{Fault, Hostile};
use support::proxy::Passing;

/// A site, and a tree with its build 1 that follows a channel which offers build 2.
struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self { dir: tempfile::tempdir().expect("a directory") };
        frozen_site::copy_to(&world.path("site"));
        assert!(world.client(&frozen_site::install("old", "tree")).status().expect("the client runs").success());
        world.set("channel,old", "channel,stable");
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn set(&self, known: &str, new: &str) {
        let settings = self.path("tree/.lamplighter/settings");
        let text = fs::read_to_string(&settings).expect("settings");
        assert!(text.contains(known), "{text}");
        fs::write(&settings, text.replace(known, new)).expect("written");
    }

    fn set_site(&self, url: &str) {
        let site = self.path("site").to_str().expect("a name in Unicode").to_owned();
        self.set(&format!("site,{site}"), &format!("site,{url}"));
    }

    fn client(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_client"));
        command.args(line.split_whitespace()).current_dir(self.dir.path());
        command.env_remove("HTTP_PROXY").env_remove("http_proxy").stdout(Stdio::piped());
        command
    }

    fn config(&self) -> Config {
        let http = HttpOptions { proxy: Proxy::None, ..HttpOptions::default() };
        Config { http, ..Config::new(self.path("tree")) }
    }

    /// Files of the tree, with their content and time of change.
    fn tree(&self) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
        let mut found = BTreeMap::new();
        list(&self.path("tree"), &mut found);
        found
    }
}

fn list(dir: &Path, found: &mut BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)>) {
    for entry in fs::read_dir(dir).expect("listed").map(|entry| entry.expect("an entry")) {
        let (path, kind) = (entry.path(), entry.file_type().expect("a type"));
        if kind.is_dir() && entry.file_name() != ".lamplighter" {
            list(&path, found);
        } else if kind.is_file() {
            let changed = entry.metadata().and_then(|m| m.modified()).expect("a time");
            found.insert(path.clone(), (fs::read(path).expect("readable"), changed));
        }
    }
}

/// A watch under way, ended when it is dropped.
struct Watching(Child, BufReader<ChildStdout>);

impl Watching {
    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the client runs");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Self(child, output)
    }

    /// Waits for this event.
    fn until(&mut self, event: &str) -> serde_json::Value {
        loop {
            let mut line = String::new();
            assert!(self.1.read_line(&mut line).expect("text") > 0, "the watch ended before {event}");
            let value: serde_json::Value = serde_json::from_str(&line).expect("an object a line");
            if value["event"] == event {
                return value;
            }
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_release_is_ready_at_the_next_start_and_nothing_changes_before() {
    let world = World::new();
    let before = world.tree();
    // The app has a file of its own open meanwhile.
    let app = fs::File::open(before.keys().next().expect("a file")).expect("readable");
    let mut watch = Watching::start(world.client("--json watch --tree tree --interval 6h"));
    assert_eq!(watch.until("ready")["build"], 2);
    let seconds = watch.until("waiting")["seconds"].as_u64().expect("a number");
    assert!((17_280..=25_920).contains(&seconds), "6 h and a fifth more or less: {seconds}");
    assert_eq!(world.tree(), before, "the running app sees nothing of it");
    drop((app, watch));

    // The next start, offline.
    fs::remove_dir_all(world.path("site")).expect("removed");
    let updater = Updater::open(world.config()).expect("an installed tree");
    assert_eq!(updater.prepared().expect("readable").map(|p| p.build), Some(2));
    assert_eq!(updater.commit().expect("all is there").build, 2);
    assert!(world.client("verify --tree tree").status().expect("the client runs").success());
    assert_ne!(world.tree(), before);
}

#[test]
fn a_watch_goes_through_the_proxy() {
    let world = World::new();
    let server = Hostile::dir(&world.path("site"));
    let address = server.url().trim_start_matches("http://").trim_end_matches('/').parse().expect("an address");
    let proxy = Passing::to(address);
    world.set_site("http://updates.invalid/");
    let said = world.client(&format!("--json watch --once --tree tree --proxy {}", proxy.url())).output();
    let said = String::from_utf8(said.expect("the client runs").stdout).expect("text");
    assert!(said.contains("\"ready\""), "{said}");
    assert!(proxy.plain() > 0 && server.requests() >= 3, "{said}");
    let from_environment = world.client("check --tree tree").env("http_proxy", proxy.url()).status();
    assert!(from_environment.expect("the client runs").success());
    let alone = world.client("watch --once --tree tree").output().expect("the client runs");
    assert_eq!(alone.status.code(), Some(4), "without the proxy there is no such host");
}

#[test]
fn a_failed_round_is_told_and_followed_by_another() {
    let world = World::new();
    let server = Hostile::dir(&world.path("site"));
    world.set_site(&server.url());
    server.always("*", Fault::StatusWith(503, vec![("Retry-After", "4000".into())]));
    let config = world.config();
    let cancel = config.cancel.clone();
    let mut told = Vec::new();
    let updater = Updater::open(config).expect("an installed tree");
    updater
        .watch(&WatchOptions::default(), |event| match event {
            WatchEvent::Failed(error) => told.push(error.to_string()),
            WatchEvent::Waiting(pause) => {
                told.push(format!("{} s", pause.as_secs()));
                cancel.cancel();
            }
            WatchEvent::Idle(_) | WatchEvent::Ready(_) => told.push("unexpected".into()),
        })
        .expect("cancelled, not failed");
    assert!(told.len() == 2 && told[0].contains("503") && told[1] == "4000 s", "{told:?}");
}

#[test]
fn what_is_ready_is_told_until_it_is_committed() {
    let world = World::new();
    let updater = Updater::open(world.config()).expect("an installed tree");
    let mut told = Vec::new();
    for _ in 0..2 {
        let once = WatchOptions { rounds: Some(1), ..WatchOptions::default() };
        updater
            .watch(&once, |event| match event {
                WatchEvent::Ready(prepared) => told.push(prepared.build),
                other => panic!("{other:?}"),
            })
            .expect("a good round");
    }
    assert_eq!(told, [2, 2]);
    updater.commit().expect("committed");
    let once = WatchOptions { rounds: Some(1), ..WatchOptions::default() };
    updater.watch(&once, |event| assert!(matches!(event, WatchEvent::Idle(_)), "{event:?}")).expect("a good round");
}
