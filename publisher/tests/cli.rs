//! What the program says and does about everything that can be wrong: a clear error, an exit code, nothing lost.

#[path = "support/fresh.rs"]
mod fresh;
#[path = "support/press.rs"]
mod press;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use press::{APP, LINUX, Press, noise, write};
use serde_json::Value;

const USAGE: i32 = 2;
const INPUT: i32 = 3;
const TRUST: i32 = 4;
const SITE: i32 = 5;
const DISK: i32 = 6;
const LOCKED: i32 = 8;

/// A site with one release of the directory `one`.
fn published() -> Press {
    let press = Press::new();
    press.files("one", &[("app", b"#!/bin/sh\necho one\n"), ("data/a.txt", b"a"), ("data/big", &noise(7, 20_000))]);
    press.release(1, "one", &[]).expect(0, &[]);
    press
}

/// Fails unless `act` leaves the site as it was.
#[track_caller]
fn unchanged<T>(press: &Press, act: impl FnOnce() -> T) -> T {
    let before = press.site();
    let result = act();
    assert!(press.site() == before, "the site changed");
    result
}

/// Publishes a second release with the keys of another directory.
fn release_with(press: &Press, keys: &str) -> press::Said {
    let args = Press::release_args(2, "one").into_iter().map(|arg| if arg == "keys" { keys.to_owned() } else { arg });
    press.command().args(args).output().expect("the publisher runs").into()
}

#[test]
fn help_tells_the_exit_codes() {
    let said = Press::empty().run(&["--help"]);
    assert!(said.out.contains("Exit codes:") && said.out.contains("SOURCE_DATE_EPOCH"), "{}", said.out);
}

#[test]
fn a_missing_or_malformed_configuration_is_named() {
    let press = published();
    press.files("two", &[("app", b"2")]);
    let with = |text: &str| {
        write(&press.path("p.toml"), text.as_bytes());
        unchanged(&press, || press.release(2, "two", &["--config", "p.toml"]))
    };
    press.release(2, "two", &["--config", "none.toml"]).expect(USAGE, &["none.toml"]);
    with("site = ").expect(USAGE, &["p.toml"]);
    with("chanel = 'stable'").expect(USAGE, &["p.toml", "chanel", "channel"]);
    with("[platform.linux-x86_64]\nexclud = []").expect(USAGE, &["p.toml", "exclud"]);
    with("build = 'seven'").expect(USAGE, &["p.toml", "build"]);
    with("[platform.linux-x86_64]\nexclude = ['a[']").expect(USAGE, &["exclude", "a["]);
}

#[test]
fn missing_and_malformed_arguments_are_named() {
    let press = Press::new();
    press.files("one", &[("app", b"1")]);
    press.run(&["build-release"]).expect(USAGE, &["--build"]);
    press.run(&["build-release", "--site", "site", "--build", "1"]).expect(USAGE, &["--app"]);
    press.run(&["build-release", "--nonsense"]).expect(USAGE, &["--nonsense"]);
    press.release(1, "one", &["--jobs", "0"]).expect(USAGE, &["jobs"]);
    press.release(1, "one", &["--minimum-build", "2"]).expect(USAGE, &["minimum_build"]);
    press.release(1, "one", &["--notes", "English=x"]).expect(USAGE, &["notes", "English"]);
    let epoch = press.command().args(Press::release_args(1, "one")).env("SOURCE_DATE_EPOCH", "today").output();
    press::Said::from(epoch.expect("runs")).expect(USAGE, &["SOURCE_DATE_EPOCH", "today"]);
}

#[test]
fn an_unknown_platform_is_named_with_those_that_are_known() {
    let press = Press::new();
    write(&press.path("publisher.toml"), b"[platform.macos-aarch64]\ndir = 'mac'\n");
    let args = ["build-release", "--site", "site", "--app", APP, "--channel", "stable", "--keys", "keys"];
    let more = ["--build", "1", "--version", "1", "--platform"];
    let platform = |name: &str| press.run(&[&args[..], &more, &[name]].concat());
    platform("linux").expect(USAGE, &["linux", "macos-aarch64"]);
    platform("Linux!=x").expect(USAGE, &["Linux!"]);
    press.run(&[&args[..], &more, &["a=x", "--platform", "a=y"]].concat()).expect(USAGE, &["--platform", "once"]);
}

#[test]
fn an_input_without_files_is_refused() {
    let press = published();
    fs::create_dir(press.path("empty")).expect("made");
    unchanged(&press, || press.release(2, "empty", &[])).expect(INPUT, &["empty", "expected files"]);
    unchanged(&press, || press.release(2, "none", &[])).expect(INPUT, &["none", "expected a directory"]);
    unchanged(&press, || press.release(2, "one/app", &[])).expect(INPUT, &["one/app", "a file"]);
    unchanged(&press, || press.release(2, "one", &["--exclude", "*"])).expect(INPUT, &["exclude"]);
    unchanged(&press, || press.release(2, "site", &[])).expect(INPUT, &["keep them apart"]);
}

#[test]
fn all_offending_paths_are_listed_at_once() {
    let press = published();
    press.files("bad", &[("ok", b""), ("aux.txt", b""), ("a:b", b""), ("dir/x ", b""), ("Same", b""), ("same", b"")]);
    std::os::unix::fs::symlink("/etc/passwd", press.path("bad/out")).expect("linked");
    let said = unchanged(&press, || press.release(2, "bad", &[]));
    said.expect(INPUT, &["5 problem(s)", "aux.txt", "a:b", "dir/x ", "Same and same", "out", "/etc/passwd"]);
}

/// What only users without all rights meet.
#[test]
fn an_unreadable_file_is_named() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65534;
    let press = Press::empty();
    let as_root = press.dir.path().metadata().expect("there").uid() == 0;
    let program = press.path("publisher");
    fs::copy(env!("CARGO_BIN_EXE_publisher"), &program).expect("copied");
    if as_root {
        chown(press.dir.path(), Some(NOBODY), Some(NOBODY)).expect("given away");
    }
    let run = |args: &[String]| {
        let mut command = std::process::Command::new(&program);
        command.args(args).current_dir(press.dir.path());
        if as_root {
            command.uid(NOBODY).gid(NOBODY);
        }
        press::Said::from(fresh::output(&mut command))
    };
    let strings = |args: &[&str]| args.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>();
    run(&strings(&["keygen", "--out", "keys"])).expect(0, &[]);
    run(&strings(&["init", "--site", "site", "--app", APP, "--keys", "keys"])).expect(0, &[]);
    press.files("one", &[("app", b"1"), ("locked/x", b"2"), ("secret", b"3")]);
    for (name, mode) in [("one/secret", 0o000), ("one/locked", 0o000)] {
        fs::set_permissions(press.path(name), fs::Permissions::from_mode(mode)).expect("set");
    }
    let said = run(&Press::release_args(1, "one"));
    fs::set_permissions(press.path("one/locked"), fs::Permissions::from_mode(0o755)).expect("set");
    said.expect(INPUT, &["secret: cannot be read", "locked: cannot be read"]);
}

#[test]
fn a_file_that_changes_while_it_is_read_is_named() {
    let press = published();
    press.files("two", &[("app", b"2"), ("log", &noise(1, 40 << 20))]);
    let (path, stop) = (press.path("two/log"), std::sync::atomic::AtomicBool::new(false));
    let said = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut log = fs::File::options().append(true).open(&path).expect("there");
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                log.write_all(b"one more line\n").expect("written");
            }
        });
        let said = unchanged(&press, || press.release(2, "two", &[]));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        said
    });
    // Where the writer gets no turn meanwhile, it is found out when the content is read once more.
    let named = ["log: changed while it was read", "log changed while the release was built"];
    assert!(named.iter().any(|text| said.err.contains(text)), "{}", said.err);
    said.expect(INPUT, &["log"]);
}

#[test]
fn missing_wrong_and_malformed_keys_are_refused_before_any_work() {
    let press = published();
    let release = |keys: &str| {
        let said = release_with(&press, keys);
        assert!(!said.err.contains("scan "), "work began: {}", said.err);
        said
    };
    unchanged(&press, || release("none")).expect(TRUST, &["none/release.key", "LAMPLIGHTER_RELEASE_KEY"]);
    press.run(&["keygen", "--out", "others"]).expect(0, &[]);
    unchanged(&press, || release("others")).expect(TRUST, &["release keys", "would not be accepted"]);
    fs::copy(press.path("keys/release.key"), press.path("others/release.key")).expect("copied");
    unchanged(&press, || release("others")).expect(TRUST, &["channel keys", "would not be accepted"]);
    write(&press.path("bad/release.key"), b"untrusted comment: x\nbm8=\n");
    unchanged(&press, || release("bad")).expect(TRUST, &["bad/release.key", "minisign secret key"]);
    fs::copy(press.path("keys/release.pub"), press.path("bad/release.key")).expect("copied");
    unchanged(&press, || release("bad")).expect(TRUST, &["a public key"]);
}

#[test]
fn keys_with_a_password_are_made_and_used() {
    let press = Press::empty();
    press
        .run(&["keygen", "--out", "keys", "--password"])
        .expect(TRUST, &["new root key", "LAMPLIGHTER_ROOT_KEY_PASSWORD"]);
    assert!(!press.path("keys").exists(), "nothing is written without a password");
    press.run(&["keygen", "--out", "keys"]).expect(0, &[]);
    press.run(&["init", "--site", "site", "--app", APP, "--keys", "keys"]).expect(0, &[]);
    press.files("one", &[("app", b"1")]);
    write(&press.path("password"), b"from a file\n");
    let protected = ["keygen", "--role", "release", "--out", "protected", "--password", "--password-file", "password"];
    press.run(&protected).expect(0, &[]);
    fs::copy(press.path("keys/channel.key"), press.path("protected/channel.key")).expect("copied");
    let release = |more: &[&str], variable: Option<&str>| {
        let args =
            Press::release_args(1, "one").into_iter().map(|a| if a == "keys" { "protected".to_owned() } else { a });
        let mut command = press.command();
        command.args(args).args(more);
        if let Some(password) = variable {
            command.env("LAMPLIGHTER_RELEASE_KEY_PASSWORD", password);
        }
        press::Said::from(command.output().expect("the publisher runs"))
    };
    release(&[], None).expect(TRUST, &["protected/release.key needs a password", "--password-file"]);
    let wrong = release(&["--password-file", "password"], Some("wrong"));
    let wrong = wrong.expect(TRUST, &["wrong password (from LAMPLIGHTER_RELEASE_KEY_PASSWORD)"]);
    assert!(!wrong.err.contains("from a file"), "{}", wrong.err);
    // The right password opens it; that the site does not know the key is another matter.
    release(&["--password-file", "password"], None).expect(TRUST, &["is in none of the site's roots"]);
}

#[test]
fn keys_may_come_from_variables_and_are_never_shown() {
    let press = published();
    press.files("two", &[("app", b"2")]);
    let key = |role: &str| fs::read_to_string(press.path(&format!("keys/{role}.key"))).expect("there");
    let (release, channel) = (key("release"), key("channel"));
    fs::rename(press.path("keys"), press.path("away")).expect("renamed");
    press.release(2, "two", &[]).expect(TRUST, &[]);
    let mut command = press.command();
    command.env("LAMPLIGHTER_RELEASE_KEY", &release).env("LAMPLIGHTER_CHANNEL_KEY", &channel);
    let said: press::Said = command.args(Press::release_args(2, "two")).output().expect("runs").into();
    let said = said.expect(0, &[]);
    for secret in [&release, &channel].map(|k| k.lines().nth(1).expect("two lines").to_owned()) {
        assert!(!said.err.contains(&secret) && !said.out.contains(&secret));
    }
    let bad = press.command().args(Press::release_args(3, "two")).env("LAMPLIGHTER_RELEASE_KEY", "x").output();
    press::Said::from(bad.expect("runs")).expect(TRUST, &["LAMPLIGHTER_RELEASE_KEY"]);
}

#[test]
fn keys_are_never_overwritten() {
    let press = Press::new();
    let before = press::contents(&press.path("keys"));
    press.run(&["keygen", "--out", "keys"]).expect(TRUST, &["root.key", "never overwritten"]);
    assert!(press::contents(&press.path("keys")) == before);
    press.run(&["keygen", "--out", "more", "--role", "release"]).expect(0, &[]);
    assert_eq!(press::contents(&press.path("more")).len(), 2);
}

#[test]
fn a_build_number_must_be_above_the_last() {
    let press = published();
    press.release(5, "one", &[]).expect(0, &[]);
    let low = unchanged(&press, || press.release(4, "one", &[]));
    low.expect(SITE, &["build 4", "expected 6 or more", LINUX, "stable"]);
    press.release(5, "one", &[]).expect(0, &["published already with the same content"]);
}

#[test]
fn what_is_published_never_changes() {
    let press = published();
    press.files("other", &[("app", b"other")]);
    unchanged(&press, || press.release(1, "other", &[]))
        .expect(SITE, &["build 1", "another manifest", "new build number"]);
    unchanged(&press, || press.release(1, "one", &[])).expect(0, &[]);
    let renamed = unchanged(&press, || press.release(1, "one", &["--exclude", "data"]));
    renamed.expect(SITE, &["another manifest"]);
}

#[test]
fn a_site_of_another_app_and_no_site_at_all_are_refused() {
    let press = published();
    let release = |site: &str, app: &str| {
        let args = ["build-release", "--site", site, "--app", app, "--channel", "stable", "--keys", "keys"];
        let platform = format!("{LINUX}=one");
        press.run(&[&args[..], &["--build", "2", "--version", "2", "--platform", &platform]].concat())
    };
    unchanged(&press, || release("site", "org.other")).expect(SITE, &["expected org.other", APP]);
    release("nowhere", APP).expect(SITE, &["nowhere is not a site", "publisher init"]);
    assert!(!press.path("nowhere").exists());
    release("one", APP).expect(SITE, &["one is not a site"]);
    let again = ["init", "--site", "site", "--app", "org.other", "--keys", "keys"];
    unchanged(&press, || press.run(&again)).expect(SITE, &["has a root already", APP]);
    let promote = ["promote", "--site", "site", "--app", "org.other", "--channel", "stable", "--build", "1"];
    press.run(&[&promote[..], &["--keys", "keys"]].concat()).expect(SITE, &["another app"]);
}

#[test]
fn an_expired_root_signs_nothing() {
    let press = Press::empty();
    press.run(&["keygen", "--out", "keys"]).expect(0, &[]);
    let init = ["init", "--site", "site", "--app", APP, "--keys", "keys", "--root-expires-days", "1"];
    let mut command = press.command();
    press::Said::from(command.args(init).env("SOURCE_DATE_EPOCH", "1700000000").output().expect("runs")).expect(0, &[]);
    press.files("one", &[("app", b"1")]);
    press.release(1, "one", &[]).expect(TRUST, &["root version 1 expired at 2023-11-15"]);
}

#[test]
fn a_damaged_head_is_not_built_upon() {
    let press = published();
    let head = press.path("site/channels/stable.head");
    let text = fs::read_to_string(&head).expect("there").replace("sequence,1", "sequence,9");
    fs::write(&head, text).expect("written");
    unchanged(&press, || press.release(2, "one", &[])).expect(TRUST, &["channels/stable.head", "is not signed"]);
}

/// A limit on the size of files stands in for a full disk: writing fails half-way through an object.
#[test]
fn a_full_disk_is_told_and_the_next_run_finishes_the_job() {
    let press = published();
    press.files("two", &[("app", &noise(1, 400_000))]);
    let script = "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\"";
    let limited = std::process::Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_publisher")])
        .args(Press::release_args(2, "two"))
        .current_dir(press.dir.path())
        .output();
    let said = unchanged(&press, || press::Said::from(limited.expect("runs")));
    said.expect(DISK, &["objects/", "File too large"]);
    assert!(!press.path("site/.publisher/tmp").exists(), "nothing half-written is left");
    press.verify();
    press.release(2, "two", &[]).expect(0, &[]);
    press.verify();
}

#[test]
fn two_publishers_at_once_do_not_meet() {
    let press = published();
    press.files("two", &[("app", b"2")]);
    let lock = fs::File::options().write(true).open(press.path("site/.publisher/lock")).expect("there");
    lock.lock().expect("free");
    unchanged(&press, || press.release(2, "two", &[])).expect(LOCKED, &["another publisher"]);
    let promote = ["promote", "--site", "site", "--channel", "stable", "--build", "1", "--keys", "keys"];
    press.run(&promote).expect(LOCKED, &["another publisher"]);
    drop(lock);
    press.release(2, "two", &[]).expect(0, &[]);
}

#[test]
fn verify_reports_everything_that_is_wrong() {
    let press = published();
    press.files("two", &[("app", b"#!/bin/sh\necho two\n"), ("data/a.txt", b"a"), ("data/big", &noise(7, 20_000))]);
    press.release(2, "two", &[]).expect(0, &[]);
    press.verify();
    let flip = |name: &str| {
        let path = press.path("site").join(name);
        let mut bytes = fs::read(&path).expect("there");
        let at = bytes.len() / 3;
        bytes[at] ^= 1;
        fs::write(path, bytes).expect("written");
    };
    let packs: Vec<String> = press.site().into_keys().filter(|n| n.starts_with("packs/")).collect();
    let objects: Vec<String> = press.site().into_keys().filter(|n| n.starts_with("objects/")).collect();
    let wrong = [&packs[0], &objects[0], "channels/stable.head"];
    wrong.iter().for_each(|name| flip(name));
    let said = press.run(&["verify", "--site", "site", "--json"]).expect(SITE, &[]);
    let named: Vec<String> = said
        .out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .filter(|event| event["event"] == "finding")
        .map(|event| event["name"].as_str().expect("a name").to_owned())
        .collect();
    for name in wrong {
        assert!(named.iter().any(|n| n == name), "{name} is not among {named:?}");
    }
    press.run(&["verify", "--site", "one"]).expect(SITE, &["not a site"]);
}

#[test]
fn events_are_json_one_a_line() {
    let press = Press::new();
    press.files("one", &[("app", b"#!/bin/sh\n")]);
    let said = press.release(1, "one", &["--json"]).expect(0, &[]);
    let events =
        |text: &str| -> Vec<Value> { text.lines().map(|line| serde_json::from_str(line).expect(line)).collect() };
    let results = events(&said.out);
    assert_eq!(results.len(), 1);
    assert_eq!((&results[0]["event"], &results[0]["channel"]["sequence"]), (&"release".into(), &1.into()));
    let progress = events(&said.err);
    let codes: Vec<&str> = progress.iter().filter_map(|e| e["code"].as_str()).collect();
    assert_eq!(codes, ["not-executable"]);
    let steps: Vec<&str> =
        progress.iter().filter(|e| e["event"] == "step").filter_map(|e| e["step"].as_str()).collect();
    assert_eq!(steps, ["scan", "objects", "proof"]);
    let failed = press.release(1, "none", &["--json"]).expect(INPUT, &[]);
    let error = events(&failed.err).pop().expect("an event");
    assert_eq!((&error["event"], &error["class"], &error["code"]), (&"error".into(), &"input".into(), &3.into()));
}

#[test]
fn a_site_is_served_and_says_where() {
    let press = published();
    let mut command = press.command();
    command.args(["serve", "--site", "site", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut server = command.spawn().expect("the publisher runs");
    let mut line = String::new();
    BufReader::new(server.stdout.take().expect("piped")).read_line(&mut line).expect("said");
    let address = line.trim().split("http://").nth(1).expect("an address").trim_end_matches('/').to_owned();
    let mut stream = TcpStream::connect(&address).expect("connected");
    stream.write_all(b"GET /channels/stable.head HTTP/1.1\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    server.kill().expect("running");
    server.wait().expect("ended");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("lamplighter-head,1"), "{answer}");
    press.run(&["serve", "--site", "one"]).expect(SITE, &["not a site"]);
    press.run(&["serve", "--site", "site", "--listen", "nowhere"]).expect(USAGE, &["nowhere"]);
}
