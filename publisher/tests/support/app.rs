//! An app for tests of launchers and patchers: shell scripts that write down how they were started.

#![allow(dead_code, unreachable_pub)]

#[path = "cargo.rs"]
mod cargo;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::world::{PLATFORM, World, done, text, write};

/// The client's program `name`, built if need be.
pub fn program(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        let built = cargo::build(&["--quiet", "--bins", "--example", "histories"]).status();
        assert!(built.expect("cargo runs").success());
    });
    Path::new(env!("CARGO_BIN_EXE_publisher")).with_file_name(name)
}

/// What the app of `build` writes to the log named by `APP_LOG`, and how it ends.
pub struct App {
    pub world: World,
}

impl App {
    pub fn new() -> Self {
        Self { world: World::new() }
    }

    /// One whose build 1, which ends well, is installed in `tree`.
    pub fn installed() -> Self {
        let app = Self::new();
        app.release(1, "exit 0");
        done(app.world.install("tree"));
        app
    }

    /// Build of what is recorded as installed in `tree`.
    pub fn build_of(&self, tree: &str) -> Option<u64> {
        self.world.open(tree).installed_build().expect("readable")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.world.path("log")).unwrap_or_default()
    }

    /// Waits until the log holds `line`.
    pub fn expect_log(&self, line: &str) {
        let until = Instant::now() + Duration::from_secs(20);
        while !self.log().contains(line) {
            assert!(Instant::now() < until, "the log never held {line:?}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Publishes `build`: an app that logs its build and arguments and then runs `ending`, and a patcher.
    pub fn release(&self, build: u64, ending: &str) {
        self.release_with(build, ending, &format!("exec {} \"$@\"", program("patcher").display()), "");
    }

    /// The same with another body of the patcher, and more lines of configuration.
    pub fn release_with(&self, build: u64, ending: &str, patcher: &str, more: &str) {
        let log = ": \"${APP_LOG:=/dev/null}\"; printf '%s' \"build $0\" >> \"$APP_LOG\"; for a in \"$@\"; do printf '<%s>' \"$a\" >> \"$APP_LOG\"; done";
        let app = format!("#!/bin/sh\n# build {build}\nset -- {build} \"$@\"\n{log}\necho >> \"$APP_LOG\"\n{ending}\n");
        let patcher = format!("#!/bin/sh\n# of build {build}\n{patcher}\n");
        self.publish(build, &[("app", app.as_bytes()), ("patcher", patcher.as_bytes()), ("data", b"data")], more);
    }

    /// Publishes `files`, all executable; `app` is started, `patcher` patches if it is there.
    pub fn publish(&self, build: u64, files: &[(&str, &[u8])], more: &str) {
        let world = &self.world;
        let dir = world.path(&format!("input-{build}"));
        for (name, content) in files {
            write(&dir.join(name), content);
            fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o755)).expect("set");
        }
        let has_patcher = files.iter().any(|(name, _)| *name == "patcher");
        let patcher = if has_patcher { "patcher = \"patcher\"\n" } else { "" };
        let config = format!(
            "{more}\n[platform.{PLATFORM}]\ndir = {:?}\nentry = \"app\"\n{patcher}",
            dir.to_str().expect("a name in Unicode")
        );
        write(&world.path("publisher.toml"), config.as_bytes());
        let (build, version) = (build.to_string(), format!("{build}.0"));
        let (site, keys, config) =
            (text(&world.site()), text(&world.path("keys")), text(&world.path("publisher.toml")));
        let args = ["build-release", "--site", &site, "--app", super::world::APP, "--config", &config];
        let named = ["--build", &build, "--version", &version, "--channel", "stable", "--keys", &keys, "--no-proof"];
        world.publisher(&[&args[..], &named].concat());
    }

    /// A program of the client, told where the log is.
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(program(name));
        command.env("APP_LOG", self.world.path("log")).current_dir(self.world.dir.path());
        command
    }

    /// Runs `client launch` with more arguments.
    pub fn launch(&self, more: &[&str]) -> Output {
        self.command("client").args(["launch", "--tree", "tree"]).args(more).output().expect("the client runs")
    }

    /// What `program` said, after it ended with `code`.
    pub fn said(output: &Output, code: i32) -> String {
        let said = [&output.stdout[..], &output.stderr[..]].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        said
    }
}
