//! A publisher and its users in one directory: keys, a site, input trees and installed trees.

// Each test file takes what it needs.
#![allow(dead_code, unreachable_pub)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use lamplighter_client::error::Error;
use lamplighter_client::progress::{Event, Progress};
use lamplighter_client::updater::{Config, Origin, Outcome, Updater};

pub const APP: &str = "org.example.app";
pub const PLATFORM: &str = "linux-x86_64";

/// Everything one test needs; gone with it.
pub struct World {
    pub dir: tempfile::TempDir,
}

/// A tree as a test writes it down: path → content, `None` for an empty directory.
pub type Files<'a> = &'a [(&'a str, &'a [u8])];

impl World {
    /// Keys and an empty site.
    pub fn new() -> Self {
        let world = Self { dir: tempfile::tempdir().expect("a directory") };
        let (keys, site) = (world.path("keys"), world.path("site"));
        world.publisher(&["keygen", "--out", &text(&keys)]);
        world.publisher(&["init", "--site", &text(&site), "--app", APP, "--keys", &text(&keys)]);
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn site(&self) -> PathBuf {
        self.path("site")
    }

    /// Runs the publisher and expects it to succeed.
    pub fn publisher(&self, args: &[&str]) {
        let output = Command::new(env!("CARGO_BIN_EXE_publisher")).args(args).output().expect("the publisher runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "publisher {args:?}: {}\n{stderr}", output.status);
    }

    /// Writes an input tree for `build`.
    pub fn input(&self, build: u64, files: Files<'_>) -> PathBuf {
        let dir = self.path(&format!("input-{build}"));
        for (name, content) in files {
            write(&dir.join(name), content);
        }
        dir
    }

    /// Publishes the directory `input` as `build` on the channel `stable`, with more arguments if need be.
    pub fn publish(&self, build: u64, input: &Path, more: &[&str]) {
        let platform = format!("{PLATFORM}={}", input.display());
        let (build, version) = (build.to_string(), format!("{build}.0"));
        let (site, keys) = (text(&self.site()), text(&self.path("keys")));
        let args = ["build-release", "--site", &site, "--app", APP, "--build", &build, "--version", &version];
        let channel = if more.contains(&"--channel") { vec![] } else { vec!["--channel", "stable"] };
        self.publisher(&[&args[..], &channel, &["--platform", &platform, "--keys", &keys], more].concat());
    }

    /// Publishes `files` as `build`.
    pub fn release(&self, build: u64, files: Files<'_>) {
        let input = self.input(build, files);
        self.publish(build, &input, &[]);
    }

    pub fn origin(&self) -> Origin {
        Origin {
            site: text(&self.site()),
            app: APP.into(),
            channel: "stable".into(),
            platform: PLATFORM.into(),
            root: fs::read(self.site().join("root/1.root")).expect("a root"),
            mirrors: Vec::new(),
        }
    }

    pub fn config(&self, tree: &str) -> (Config, Arc<Notices>) {
        let notices = Arc::new(Notices::default());
        (Config { progress: notices.clone(), ..Config::new(self.path(tree)) }, notices)
    }

    pub fn install(&self, tree: &str) -> Result<Outcome, Error> {
        Updater::install(self.config(tree).0, &self.origin())
    }

    pub fn open(&self, tree: &str) -> Updater {
        Updater::open(self.config(tree).0).expect("an installed tree")
    }

    pub fn update(&self, tree: &str) -> Result<Outcome, Error> {
        self.open(tree).update(None)
    }

    /// What a tree holds: files with their content, links as `-> destination`, empty directories as `/`.
    pub fn contents(&self, tree: &str) -> BTreeMap<String, Vec<u8>> {
        contents(&self.path(tree))
    }
}

/// Keeps the notices of a run.
#[derive(Default)]
pub struct Notices(Mutex<Vec<(String, String)>>);

impl Notices {
    /// Whether a notice of this code came.
    pub fn has(&self, code: &str) -> bool {
        self.0.lock().expect("no panic").iter().any(|(c, _)| c == code)
    }
}

impl Progress for Notices {
    fn event(&self, event: Event<'_>) {
        if let Event::Notice { code, subject, text } = event {
            self.0.lock().expect("no panic").push((code.into(), format!("{subject}: {text}")));
        }
    }
}

/// The report of an outcome that must be a deployment.
pub fn done(outcome: Result<Outcome, Error>) -> lamplighter_client::deploy::DeployReport {
    match outcome {
        Ok(Outcome::Done(report)) => *report,
        Ok(Outcome::Idle(idle)) => panic!("nothing was done: {idle:?}"),
        Err(error) => panic!("{error}"),
    }
}

pub fn text(path: &Path) -> String {
    path.to_str().expect("a name in Unicode").to_owned()
}

pub fn write(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
    fs::write(path, content).expect("written");
}

/// Copies a directory with all below it.
pub fn copy(from: &Path, to: &Path) {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry.expect("readable");
        let to = to.join(entry.path().strip_prefix(from).expect("below"));
        if entry.file_type().is_dir() {
            fs::create_dir_all(to).expect("made");
        } else if entry.file_type().is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path()).expect("a link"), to).expect("linked");
        } else {
            fs::copy(entry.path(), to).expect("copied");
        }
    }
}

/// The tree goes by the site at `site` alone from now on: a place given for one run has its own site behind it.
pub fn set_site(tree: &Path, site: &str) {
    let path = tree.join(".lamplighter/settings");
    let old = fs::read_to_string(&path).expect("settings");
    let line = |line: &str| if line.starts_with("site,") { format!("site,{site}\n") } else { format!("{line}\n") };
    fs::write(&path, old.lines().map(line).collect::<String>()).expect("written");
}

/// Everything below `root` but the state directory.
pub fn contents(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let walk = walkdir::WalkDir::new(root).min_depth(1).sort_by_file_name().into_iter();
    for entry in walk.filter_entry(|e| e.file_name() != ".lamplighter") {
        let entry = entry.expect("readable");
        let name = text(entry.path().strip_prefix(root).expect("below the root"));
        let file_type = entry.file_type();
        if file_type.is_symlink() {
            let destination = fs::read_link(entry.path()).expect("a link");
            found.insert(name, format!("-> {}", destination.display()).into_bytes());
        } else if file_type.is_file() {
            found.insert(name, fs::read(entry.path()).expect("readable"));
        } else if fs::read_dir(entry.path()).expect("readable").next().is_none() {
            found.insert(name, b"/".to_vec());
        }
    }
    found
}

/// Bytes that do not compress and differ by seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut output = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut output);
    output
}
