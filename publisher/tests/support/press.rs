//! A publisher under test: keys, a site and inputs in one directory, and the program with all it says.

// Each test file takes what it needs.
#![allow(dead_code, unreachable_pub)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub const APP: &str = "org.example.app";
pub const LINUX: &str = "linux-x86_64";
pub const WINDOWS: &str = "windows-x86_64";

/// What a run of the program came to.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program says UTF-8");
        Self { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Said {
    /// Fails unless the exit code is `code` and stderr names all of `words`.
    #[track_caller]
    pub fn expect(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.out, self.err);
        for word in words {
            assert!(self.err.contains(word), "expected {word:?} in: {}", self.err);
        }
        self
    }
}

/// Everything one test needs; gone with it.
pub struct Press {
    pub dir: tempfile::TempDir,
}

impl Press {
    /// Keys and an empty site.
    pub fn new() -> Self {
        let press = Self::empty();
        press.run(&["keygen", "--out", "keys"]).expect(0, &[]);
        press.run(&["init", "--site", "site", "--app", APP, "--keys", "keys"]).expect(0, &[]);
        press
    }

    pub fn empty() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory") }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The program, run in the directory, without anything of the outer environment that it would heed.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_publisher"));
        command.current_dir(self.dir.path()).env_remove("SOURCE_DATE_EPOCH");
        for role in ["ROOT", "RELEASE", "CHANNEL"] {
            for what in ["KEY", "SIGN", "KEY_PASSWORD"] {
                command.env_remove(format!("LAMPLIGHTER_{role}_{what}"));
            }
        }
        command.env_remove("LAMPLIGHTER_KEY_PASSWORD");
        command
    }

    pub fn run(&self, args: &[&str]) -> Said {
        self.command().args(args).output().expect("the publisher runs").into()
    }

    /// Writes `files` below `dir`.
    pub fn files(&self, dir: &str, files: &[(&str, &[u8])]) {
        for (name, content) in files {
            write(&self.path(dir).join(name), content);
        }
    }

    /// Arguments that publish the directory `input` as `build` for Linux.
    pub fn release_args(build: u64, input: &str) -> Vec<String> {
        let (number, version) = (build.to_string(), format!("{build}.0"));
        let platform = format!("{LINUX}={input}");
        let args = ["build-release", "--site", "site", "--app", APP, "--channel", "stable", "--keys", "keys"];
        let more = ["--build", &number, "--version", &version, "--platform", &platform];
        args.iter().chain(&more).map(|arg| (*arg).to_owned()).collect()
    }

    /// Publishes the directory `input` as `build` for Linux, with more arguments.
    pub fn release(&self, build: u64, input: &str, more: &[&str]) -> Said {
        let args = Self::release_args(build, input);
        self.command().args(args).args(more).output().expect("the publisher runs").into()
    }

    /// What the site holds for clients, file by file.
    pub fn site(&self) -> BTreeMap<String, Vec<u8>> {
        contents(&self.path("site"))
    }

    /// Fails unless the site is sound, every way through it tried.
    #[track_caller]
    pub fn verify(&self) {
        self.run(&["verify", "--site", "site"]).expect(0, &[]);
    }
}

pub fn write(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
    fs::write(path, content).expect("written");
}

/// Everything below `root` but the publisher's own files.
pub fn contents(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let walk = walkdir::WalkDir::new(root).min_depth(1).into_iter().filter_entry(|e| e.file_name() != ".publisher");
    let files = walk.map(|entry| entry.expect("readable")).filter(|entry| !entry.file_type().is_dir());
    let name = |path: &Path| path.strip_prefix(root).expect("below").to_str().expect("UTF-8").to_owned();
    files.map(|entry| (name(entry.path()), fs::read(entry.path()).expect("readable"))).collect()
}

pub fn copy_tree(from: &Path, to: &Path) {
    for (name, content) in contents(from) {
        write(&to.join(name), &content);
    }
}

/// Bytes nothing compresses, the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}
