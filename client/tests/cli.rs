//! The `client` program from the outside, on the frozen sites of `fixtures/sites`: commands, messages and exit codes.

#[path = "support/frozen_site.rs"]
mod frozen_site;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use frozen_site::install;

const DONE: i32 = 0;
const USAGE: i32 = 2;
const NOTHING_TO_DO: i32 = 3;
const NETWORK: i32 = 4;
const NOT_TRUSTED: i32 = 5;
const DAMAGED: i32 = 6;
const DISK: i32 = 7;
const LOCKED: i32 = 8;

struct World {
    dir: tempfile::TempDir,
}

impl World {
    /// A copy of the frozen site, so that tests can break it.
    fn new() -> Self {
        let world = Self { dir: tempfile::tempdir().expect("a directory") };
        frozen_site::copy_to(&world.path("site"));
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    #[cfg(target_os = "linux")]
    fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("a name in Unicode").to_owned()
    }

    /// Runs the client in the world's directory.
    fn run(&self, line: &str) -> Output {
        client(self.dir.path(), line).output().expect("the client runs")
    }

    /// Runs the client and expects an exit code; gives everything it said.
    fn expect(&self, code: i32, line: &str) -> String {
        let output = self.run(line);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "client {line}\n{said}");
        said
    }

    /// Build 1 installed in `tree`, following the channel `stable` that offers build 2.
    fn installed() -> Self {
        let world = Self::new();
        world.expect(DONE, &install("old", "tree"));
        let settings = world.path("tree/.lamplighter/settings");
        let text = fs::read_to_string(&settings).expect("settings");
        fs::write(&settings, text.replace("channel,old", "channel,stable")).expect("written");
        world
    }
}

fn client(dir: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_client"));
    command.args(line.split_whitespace()).current_dir(dir);
    command
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_frozen_site_installs_updates_verifies_and_heals() {
    let world = World::new();
    let installed = world.expect(DONE, &install("old", "tree"));
    assert!(installed.contains("installed 1.0 (build 1) by objects"), "{installed}");
    world.expect(NOTHING_TO_DO, "check --tree tree");
    let updated = world.expect(DONE, "update --tree tree --channel stable");
    assert!(updated.contains("updated to 2.0 (build 2) by pack"), "{updated}");
    assert_eq!(fs::read(world.path("tree/empty/full.txt")).expect("there"), b"now full\n");
    assert!(!world.path("tree/gone.txt").exists());
    world.expect(DONE, "verify --tree tree --crc");
    world.expect(NOTHING_TO_DO, "update --tree tree");

    fs::write(world.path("tree/new.txt"), b"NEW\n").expect("written");
    fs::remove_file(world.path("tree/moved/here.bin")).expect("removed");
    let verified = world.expect(DAMAGED, "verify --tree tree");
    assert!(verified.contains("new.txt: has other content") && verified.contains("moved/here.bin: is missing"));
    let healed = world.expect(DONE, "heal --tree tree");
    assert!(healed.contains("kept aside: new.txt"), "{healed}");
    world.expect(DONE, "verify --tree tree");
    let status = world.expect(DONE, "status --tree tree");
    assert!(status.contains("installed  2.0 (build 2)") && status.contains("channel    stable"), "{status}");
}

#[cfg(windows)]
#[test]
fn a_file_renamed_in_case_alone_is_there_in_its_new_spelling() {
    let world = World::installed();
    let spelled = || {
        let entries = fs::read_dir(world.path("tree/Docs")).expect("a directory");
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect::<Vec<_>>()
    };
    assert_eq!(spelled(), ["ReadMe.txt"]);
    let updated = world.expect(DONE, "update --tree tree");
    assert!(!updated.contains("kept aside"), "{updated}");
    assert_eq!(spelled(), ["README.txt"]);
    assert_eq!(fs::read(world.path("tree/Docs/README.txt")).expect("there"), b"read me first\n");
    world.expect(DONE, "verify --tree tree");
}

#[test]
fn a_build_that_is_held_stays_until_it_is_let_go_of() {
    let world = World::installed();
    assert!(world.expect(DONE, "hold --tree tree").contains("build 1 is held"));
    for command in ["check", "update", "why"] {
        let said = world.expect(NOTHING_TO_DO, &format!("{command} --tree tree"));
        assert!(said.contains("hold --off"), "{said}");
    }
    assert!(world.expect(DONE, "status --tree tree").contains("held"));
    fs::write(world.path("tree/new.txt"), b"damaged").expect("written");
    world.expect(DONE, "heal --tree tree");
    world.expect(DONE, "verify --tree tree");
    world.expect(DONE, "hold --tree tree --off");
    assert!(world.expect(DONE, "update --tree tree").contains("updated to 2.0 (build 2)"));
    assert!(!world.expect(DONE, "status --tree tree").contains("held"));
    // Another build is not held by what was said of this one.
    world.expect(DONE, "hold --tree tree");
    world.expect(DONE, "rollback --tree tree");
    assert!(!world.expect(DONE, "status --tree tree").contains("held"));
}

#[test]
fn results_and_events_come_as_json_lines() {
    let world = World::installed();
    let output = world.run("--json update --tree tree");
    let lines = String::from_utf8(output.stdout).expect("text");
    let events: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    let last = events.last().expect("a result");
    assert_eq!((last["event"].as_str(), last["build"].as_u64()), (Some("updated"), Some(2)));
    let started = events.iter().find(|e| e["phase"] == "download").expect("a download");
    let advanced: u64 = {
        let from = events.iter().position(|e| e["phase"] == "download").expect("a download");
        let rest = events[from + 1..].iter().take_while(|e| e["event"] != "started");
        rest.filter(|e| e["event"] == "advanced").filter_map(|e| e["bytes"].as_u64()).sum()
    };
    assert_eq!(Some(advanced), started["total_bytes"].as_u64(), "progress adds up to what was announced");
}

#[test]
fn a_check_tells_news_where_there_are_any() {
    let world = World::installed();
    let said = world.expect(DONE, "check --tree tree --notes");
    assert!(said.contains("2.0 (build 2) is available"), "{said}");
    let said = world.expect(DONE, "--json check --tree tree --notes de");
    let last: serde_json::Value = serde_json::from_str(said.lines().last().expect("a line")).expect("an object");
    assert_eq!((&last["build"], &last["notes"]), (&2.into(), &serde_json::json!([])), "the frozen releases have none");
    world.expect(USAGE, "watch --tree tree --interval 6");
}

#[test]
fn a_tree_without_state_is_adopted() {
    let world = World::installed();
    fs::remove_dir_all(world.path("tree/.lamplighter")).expect("removed");
    world.expect(USAGE, "update --tree tree");
    let adopted = world.expect(DONE, &install("stable", "tree").replacen("install", "adopt", 1));
    assert!(adopted.contains("adopted 1.0 (build 1): 9 of 9 files"), "{adopted}");
    let updated = world.expect(DONE, "update --tree tree");
    assert!(updated.contains("by pack"), "{updated}");
    let stranger = install("stable", "site").replacen("install", "adopt", 1);
    let refused = world.expect(USAGE, &stranger);
    assert!(refused.contains("nothing in"), "{refused}");
}

#[test]
fn a_tree_without_settings_is_refused() {
    let world = World::new();
    fs::create_dir(world.path("plain")).expect("a directory");
    for command in ["check", "update", "verify", "heal", "status"] {
        let refused = world.expect(USAGE, &format!("{command} --tree plain"));
        assert!(refused.contains("no settings"), "{refused}");
        world.expect(USAGE, &format!("{command} --tree missing"));
    }
    assert_eq!(fs::read_dir(world.path("plain")).expect("there").count(), 0, "nothing was written");
}

#[test]
fn what_is_not_the_site_is_told_apart_from_what_is_forged() {
    let world = World::new();
    let wrong = |line: String, code, needle: &str| {
        let refused = world.expect(code, &line);
        assert!(refused.contains(needle), "{refused}");
        assert!(!world.path("tree").exists(), "nothing stays behind: {line}");
    };
    let line = install("stable", "tree");
    wrong(line.replace("org.example.app", "org.example.other"), NOT_TRUSTED, "org.example.other");
    wrong(line.replace(frozen_site::PLATFORM, "plan9-x86_64"), NOTHING_TO_DO, "no release for this platform");
    wrong(line.replace("--channel stable", "--channel beta"), NETWORK, "channels/beta.head");
    wrong(line.replace("--channel stable", "--channel Bad!"), USAGE, "channel");
    wrong(line.replace("site/root/1.root", "site/channels/stable.head"), NOT_TRUSTED, "root");
    wrong(line.replace("site/root/1.root", "missing.root"), DISK, "missing.root");
    wrong(line.replace("--site site", "--site nowhere"), NETWORK, "nowhere");
    fs::write(world.path("site/channels/stable.head"), "<!doctype html>\n<html>Log in</html>\n").expect("written");
    wrong(line, NETWORK, "log-in page");
}

#[test]
fn a_web_page_served_for_everything_is_not_a_site() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let page = "<!doctype html><html>Welcome to the hotel</html>";
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n", page.len());
            let _ = stream.write_all(format!("{head}{page}").as_bytes());
        }
    });
    let refused =
        world.expect(NETWORK, &install("stable", "tree").replace("--site site", &format!("--site http://{address}")));
    assert!(refused.contains("login page") || refused.contains("log-in page"), "{refused}");
    assert!(!world.path("tree").exists());
}

#[test]
fn an_altered_site_changes_nothing() {
    let world = World::installed();
    let head = world.path("site/channels/stable.head");
    let good = fs::read(&head).expect("there");
    let mut bad = good.clone();
    bad[30] ^= 1;
    fs::write(&head, bad).expect("written");
    world.expect(NOT_TRUSTED, "update --tree tree");
    fs::write(&head, good).expect("written");
    world.expect(DONE, "verify --tree tree");
    world.expect(DONE, "update --tree tree");
}

#[test]
fn two_clients_at_once_are_kept_apart() {
    let world = World::installed();
    let held = fs::OpenOptions::new().write(true).open(world.path("tree/.lamplighter/lock")).expect("a lock file");
    held.lock().expect("locked");
    let refused = world.expect(LOCKED, "update --tree tree");
    assert!(refused.contains("locked by another program"), "{refused}");
    world.expect(DONE, "check --tree tree");
    drop(held);
    world.expect(DONE, "update --tree tree");
}

/// Runs a shell script as root of a mount namespace of its own; `$1` is the client, `$2` the world.
#[cfg(target_os = "linux")]
fn in_namespace(world: &World, script: &str) -> Output {
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_client"), &world.text("")]);
    command.current_dir(world.dir.path()).output().expect("unshare runs")
}

#[cfg(target_os = "linux")]
#[test]
fn a_read_only_tree_can_be_checked_and_verified_but_not_updated() {
    let world = World::installed();
    let script = "set -e; mount --bind tree tree; mount -o remount,ro,bind tree
        \"$1\" check --tree tree; \"$1\" verify --tree tree; \"$1\" status --tree tree
        \"$1\" update --tree tree";
    let output = in_namespace(&world, script);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(DISK), "{said}");
    assert!(said.contains("2.0 (build 2) is available"), "{said}");
    world.expect(DONE, "verify --tree tree");
}

#[cfg(target_os = "linux")]
#[test]
fn too_little_disk_is_refused_before_anything_is_fetched() {
    let world = World::new();
    fs::create_dir(world.path("small")).expect("a directory");
    let line = install("stable", "small/tree");
    let script = format!(
        "mount -t tmpfs -o size=600k tmpfs small || exit 99
        \"$1\" --json {line}; code=$?; find small -type f | grep -c -E 'object|staging/.*/[0-9]' >&2; exit $code"
    );
    let output = in_namespace(&world, &script);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(DISK), "{said}");
    assert!(said.contains("bytes free") && !said.contains("\"download\""), "{said}");
    assert!(said.ends_with("0\n"), "nothing was fetched or written: {said}");
}

#[test]
fn wrong_use_is_told() {
    let world = World::new();
    for line in ["", "fly", "install", "update", "install --tree x", "verify --tree tree --colour"] {
        world.expect(USAGE, line);
    }
    let help = world.expect(DONE, "--help");
    assert!(help.contains("Exit codes") && help.contains("locked"), "{help}");
}

#[test]
fn why_tells_the_rule_to_people_and_programs_with_the_exit_code_of_a_check() {
    let world = World::installed();
    let said = world.expect(DONE, "why --tree tree");
    assert!(
        said.contains("Build 1 (1.0) is installed, from channel stable.") && said.contains("Build 2 (2.0) is newer"),
        "{said}"
    );
    world.expect(DONE, "update --tree tree");
    let said = world.expect(NOTHING_TO_DO, "why --tree tree --json");
    let answer: serde_json::Value = said
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .find(|v: &serde_json::Value| v["event"] == "why")
        .expect("an answer");
    assert_eq!((answer["code"].as_str(), answer["advice"].is_null()), (Some("up_to_date"), true));
    fs::write(world.path("site/channels/stable.head"), "<!DOCTYPE html>").expect("written");
    let said = world.expect(NETWORK, "why --tree tree --json");
    assert!(said.contains("\"event\":\"why\"") && said.contains("\"code\":\"E_"), "{said}");
    world.expect(USAGE, "why --tree nowhere");
}

#[test]
fn mirrors_given_at_the_installation_are_asked_when_the_site_is_gone() {
    let world = World::new();
    frozen_site::copy(&world.path("site"), &world.path("mirror"));
    let line = install("stable", "tree");
    fs::remove_dir_all(world.path("site/objects")).expect("removed");
    world.expect(DONE, &format!("{line} --mirror mirror"));
    fs::remove_dir_all(world.path("site/channels")).expect("removed");
    world.expect(NOTHING_TO_DO, "check --tree tree");
    fs::remove_dir_all(world.path("mirror/channels")).expect("removed");
    world.expect(NETWORK, "check --tree tree");
}
