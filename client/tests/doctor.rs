//! The support report: it says what a helper must know, and nothing that is the user's.

#![cfg(unix)]

#[path = "support/frozen_site.rs"]
mod frozen_site;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use frozen_site::install;
use serde_json::Value;

/// What is planted wherever something private may be, and must never be told.
const SECRET: &str = "SECRET";

struct World {
    dir: tempfile::TempDir,
}

impl World {
    /// Build 1 installed below a directory with a private name, from a site in such a directory.
    fn new() -> Self {
        let world = Self { dir: tempfile::tempdir().expect("a directory") };
        frozen_site::copy_to(&world.home().join("site"));
        let installed = world.client(&install("old", "tree")).output().expect("the client runs");
        assert!(installed.status.success(), "{}", said(&installed));
        world
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("SECRET-alice")
    }

    fn tree(&self, name: &str) -> PathBuf {
        self.home().join("tree").join(name)
    }

    fn state(&self, name: &str) -> PathBuf {
        self.tree(".lamplighter").join(name)
    }

    fn client(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_client"));
        command.args(line.split_whitespace()).current_dir(self.home());
        for name in ["HOME", "USER", "LOGNAME", "HOSTNAME"] {
            command.env(name, format!("SECRET-{name}"));
        }
        command
    }

    /// The settings point at `site`, with `mirrors`.
    fn settle(&self, site: &str, mirrors: &[&str]) {
        let mut text = format!("lamplighter-settings,1\nsite,{site}\napp,org.example.app\nchannel,old\n");
        text.push_str(&format!("platform,{}\n", frozen_site::PLATFORM));
        mirrors.iter().for_each(|mirror| text.push_str(&format!("mirror,{mirror}\n")));
        fs::write(self.state("settings"), text + "end\n").expect("written");
    }

    /// The report as text and as JSON; every way to it was looked through for secrets.
    #[track_caller]
    fn doctor(&self, more: &str) -> (String, Value) {
        let mut reports = Vec::new();
        for flags in ["", "--json", "--out report", "--json --out report"] {
            let run = self.client(&format!("doctor --tree tree {flags} {more}")).output().expect("the client runs");
            let mut text = said(&run);
            assert!(run.status.success(), "{text}");
            reports.push(String::from_utf8_lossy(&run.stdout).into_owned());
            if flags.contains("--out") {
                let report = fs::read_to_string(self.home().join("report")).expect("a report");
                text.push_str(&report);
                reports.push(report);
            }
            self.is_clean(&text);
        }
        let json = reports[1].lines().last().expect("a line");
        let (json, in_file) = (serde_json::from_str(json), serde_json::from_str::<Value>(&reports[5]));
        let json: Value = json.expect("JSON");
        assert_eq!(json["event"], "doctor");
        assert_eq!(json["tree"]["places"], in_file.expect("JSON")["tree"]["places"], "the file has the same");
        assert!(reports[2].contains("nothing was sent"), "{}", reports[2]);
        (reports.swap_remove(0), json)
    }

    /// Whether a text has nothing private in it.
    #[track_caller]
    fn is_clean(&self, text: &str) {
        assert!(!text.contains(SECRET), "{text}");
        let state = fs::read_to_string(self.state("state")).unwrap_or_default();
        if let Some(secret) = state.lines().find_map(|line| line.strip_prefix("secret,")) {
            assert!(!text.contains(&secret[..8]), "the roll-out secret: {text}");
        }
        assert!(!text.contains(self.dir.path().to_str().expect("Unicode")), "a path of the machine: {text}");
        let host = Command::new("uname").arg("-n").output().expect("uname runs").stdout;
        let host = String::from_utf8_lossy(&host).trim().to_owned();
        let word = |c: char| !c.is_ascii_alphanumeric() && c != '-';
        assert!(host.len() < 4 || !text.split(word).any(|found| found == host), "the host's name {host}: {text}");
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A server that answers everything with a log-in page.
fn portal() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let _ = stream.read(&mut [0; 4096]);
            let page = "<!doctype html>Log in, SECRET-guest";
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n", page.len());
            let _ = write!(stream, "{head}Connection: close\r\n\r\n{page}");
        }
    });
    port
}

/// A port nobody listens at.
fn closed() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port()
}

#[test]
fn the_report_says_what_a_helper_must_know() {
    let world = World::new();
    let (text, json) = world.doctor("");
    let tree = &json["tree"];
    assert_eq!(tree["installed"]["build"], 1);
    assert_eq!((&tree["files"]["damaged_count"], &tree["locked"]), (&Value::from(0), &Value::from(false)));
    assert_eq!(
        (&tree["places"][0]["place"], &tree["places"][0]["code"]),
        (&"a directory".into(), &"up_to_date".into())
    );
    assert!(tree["disk"]["free_bytes"].as_u64() > Some(0) && tree["disk"]["writable"] == true, "{tree}");
    assert_eq!(json["client"], env!("CARGO_PKG_VERSION"));
    assert!(text.contains("installed  1.0 (build 1)") && text.contains("site       a directory: up_to_date"), "{text}");

    let update = |code| {
        let run = world.client("update --tree tree --channel stable").output().expect("the client runs");
        assert_eq!(run.status.code(), Some(code), "{}", said(&run));
    };
    update(0);
    let last = |world: &World| world.doctor("--no-files").1["tree"]["last"].clone();
    assert_eq!((&last(&world)["code"], &last(&world)["build"]), (&"done".into(), &Value::from(2)));
    assert_eq!(world.doctor("--no-files").1["tree"]["files"], Value::Null);
    fs::rename(world.home().join("site"), world.home().join("gone")).expect("moved");
    update(4);
    assert_eq!((&last(&world)["what"], &last(&world)["code"]), (&"update".into(), &"E_NETWORK".into()));
}

#[test]
fn nothing_private_is_in_it_wherever_it_lies() {
    let world = World::new();
    let (portal, closed) = (portal(), closed());
    world.settle(
        &format!("http://SECRET-user:SECRET-word@127.0.0.1:{closed}/app"),
        &[
            &format!("http://SECRET-token@127.0.0.1:{portal}"),
            &format!("http://127.0.0.1:{closed}/app?key=SECRET#SECRET"),
            &format!("file://{}/SECRET-stick", world.home().display()),
            world.home().join("site").to_str().expect("Unicode"),
            "ftp://SECRET.example.org/SECRET",
        ],
    );
    // What is the user's own: files beside the release, edits, links, what an app was started with, what was kept aside.
    fs::write(world.tree("SECRET-diary.txt"), "SECRET").expect("written");
    fs::write(world.tree("gone.txt"), "SECRET, edited").expect("written");
    fs::remove_file(world.tree("data/changed.txt")).expect("listed");
    symlink("/SECRET-home/changed.txt", world.tree("data/changed.txt")).expect("linked");
    fs::create_dir_all(world.state("kept/1/SECRET")).expect("made");
    fs::write(world.state("handover"), "lamplighter-handover,1\nargument,SECRET\nend\n").expect("written");
    fs::write(world.state("last"), "lamplighter-last,1\noutcome,update,/SECRET,0,2026-01-01T00:00:00Z\nend\n")
        .expect("written");
    fs::write(world.home().join("headers"), "Authorization: Bearer SECRET\n").expect("written");

    let proxied = format!("--proxy http://SECRET:SECRET@127.0.0.1:{closed} --header @headers --header X:SECRET");
    let (_, json) = world.doctor(&proxied);
    assert_eq!((&json["proxy"]["set_by"], &json["proxy"]["kind"]), (&"flag".into(), &"http".into()));
    let (text, json) = world.doctor("");
    let places: Vec<_> = json["tree"]["places"].as_array().expect("places").iter().collect();
    let found: Vec<_> =
        places.iter().map(|p| [p["place"].as_str(), p["code"].as_str(), p["obstacle"].as_str()]).collect();
    let (first, second) = (format!("http://127.0.0.1:{closed}/app"), format!("http://127.0.0.1:{portal}"));
    let expected = [
        [Some(first.as_str()), Some("E_NETWORK"), Some("connect")],
        [Some(second.as_str()), Some("E_NETWORK"), Some("web-page")],
        [Some(first.as_str()), Some("E_NETWORK"), Some("bad-location")],
        [Some("a directory"), Some("E_NETWORK"), Some("no-directory")],
        [Some("a directory"), Some("up_to_date"), None],
        [Some("a directory"), Some("E_NETWORK"), Some("bad-location")],
    ];
    assert_eq!(found, expected, "{text}");
    let damaged = &json["tree"]["files"]["damaged"];
    assert_eq!((&damaged[0]["path"], &damaged[0]["code"]), (&"data/changed.txt".into(), &"link".into()), "{damaged}");
    assert_eq!((&damaged[1]["path"], &damaged[1]["code"]), (&"gone.txt".into(), &"content".into()), "{damaged}");
    assert_eq!(json["tree"]["last"], Value::Null, "what is no word is not told");
}

#[test]
fn a_broken_tree_is_reported_too() {
    let world = World::new();
    let before = fs::read(world.state("state")).expect("state");
    fs::write(world.state("state"), "SECRET").expect("written");
    world.doctor("");
    fs::write(world.state("state"), before).expect("written");

    fs::write(world.state("journal"), "SECRET").expect("written");
    let (text, json) = world.doctor("");
    assert_eq!((&json["tree"]["unfinished"], &json["tree"]["files"]), (&Value::from(true), &Value::Null), "{text}");
    assert_eq!(fs::read(world.state("journal")).expect("still there"), b"SECRET", "a report changes nothing");
    fs::remove_file(world.state("journal")).expect("removed");

    fs::write(world.state("installed/manifest.csv"), "SECRET").expect("written");
    let (text, json) = world.doctor("");
    assert_eq!(json["tree"]["record_trouble"], "E_DAMAGED", "{text}");
    fs::write(world.state("settings"), "SECRET").expect("written");
    let (text, json) = world.doctor("");
    assert_eq!((&json["trouble"], &json["tree"]), (&"E_USAGE".into(), &Value::Null), "{text}");
    fs::remove_dir_all(world.home().join("tree")).expect("removed");
    assert_eq!(world.doctor("").1["trouble"], "E_USAGE");
}

#[test]
fn a_held_lock_is_seen() {
    let world = World::new();
    let lock = fs::File::options().write(true).open(world.state("lock")).expect("a lock");
    lock.lock().expect("locked");
    assert_eq!(world.doctor("").1["tree"]["locked"], true);
    drop(lock);
    assert_eq!(world.doctor("").1["tree"]["locked"], false);
    assert!(!Path::new(&world.home().join("site/doctor")).exists());
}
