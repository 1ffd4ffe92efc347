//! `docs/json.md` is what programs are written by: it names every event and every field, and no other.

#![cfg(target_os = "linux")]

mod support {
    pub mod app;
    pub mod world;
}

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::app::program;
use support::world::{APP, PLATFORM, World, noise, text, write};

/// Fields by event, as the table below `heading` has them.
fn documented(heading: &str) -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(repository().join("docs/json.md")).expect("the document");
    let section = text.split(&format!("## {heading}\n")).nth(1).expect("the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let words = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').collect();
        (words(cells[1]).remove(0), words(cells[2]).into_iter().collect())
    };
    rows.map(row).collect()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The text of all sources below these folders.
fn sources(folders: &[&str]) -> String {
    let mut all = String::new();
    for folder in folders {
        for entry in walkdir::WalkDir::new(repository().join(folder)) {
            let entry = entry.expect("readable");
            if entry.path().extension().is_some_and(|extension| extension == "rs") {
                all.push_str(&fs::read_to_string(entry.path()).expect("text"));
            }
        }
    }
    all
}

/// What stands in quotes after each of `marks`, however the source is wrapped.
fn named_after(source: &str, marks: &[&str]) -> BTreeSet<String> {
    let flat: String = source.split_whitespace().collect::<Vec<_>>().join(" ").replace("( ", "(");
    let after = |mark: &str| {
        let pieces = flat.split(mark).skip(1).map(str::to_owned).collect::<Vec<_>>();
        pieces.into_iter().filter_map(|piece| piece.split('"').next().map(str::to_owned))
    };
    marks.iter().flat_map(|mark| after(mark).collect::<Vec<_>>()).collect()
}

/// The names of the leaves of `value`, as the document writes them.
fn leaves(name: &str, value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            let inner = |key: &String| if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
            fields.iter().for_each(|(key, value)| leaves(&inner(key), value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| leaves(&format!("{name}[]"), item, found)),
        // What says nothing may be the place of an object.
        Value::Null => {}
        _ => drop(found.insert(name.to_owned())),
    }
}

/// Checks every line of `said`, and gives the events met.
#[track_caller]
fn check(said: &str, documented: &BTreeMap<String, BTreeSet<String>>, met: &mut BTreeSet<String>) {
    for line in said.lines() {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let event = value["event"].as_str().expect("an event").to_owned();
        let fields = documented.get(&event).unwrap_or_else(|| panic!("the event {event:?} is not documented: {line}"));
        let mut found = BTreeSet::new();
        leaves("", &value, &mut found);
        found.remove("event");
        let extra: Vec<_> = found.difference(fields).collect();
        assert!(extra.is_empty(), "not documented of {event:?}: {extra:?}: {line}");
        met.insert(event);
    }
}

#[track_caller]
fn same_names(documented: &BTreeMap<String, BTreeSet<String>>, source: &str, marks: &[&str]) {
    let in_code = named_after(source, marks);
    let in_document: BTreeSet<_> = documented.keys().cloned().collect();
    assert_eq!(in_document, in_code, "events of the document, events of the code");
    for (event, fields) in documented {
        for field in fields {
            let last = field.trim_end_matches("[]").rsplit('.').next().unwrap_or_default();
            assert!(source.contains(&format!("\"{last}\"")), "{event}: no such field in the code: {field}");
        }
    }
}

#[test]
fn the_document_names_the_events_and_fields_of_the_code() {
    let client = sources(&["client/src/bin"]);
    let marks = [".result(\"", "print_line(\"", "report(output, \"", "report(&output, \"", "\"event\": \""];
    let mut names = documented("client and patcher");
    // `doctor --out` writes the event by another way.
    assert!(client.contains("fields[\"event\"] = json!(\"doctor\")") && names.contains_key("doctor"));
    same_names(&names, &client, &marks);
    names = documented("publisher");
    same_names(&names, &sources(&["publisher/src"]), &["\"event\": \""]);
}

#[test]
fn what_the_publisher_prints_is_documented() {
    let (events, mut met) = (documented("publisher"), BTreeSet::new());
    let world = World::new();
    write(&world.path("one/app"), &noise(1, 40_000));
    write(&world.path("two/app"), &noise(2, 40_000));
    let mut run = |line: &str, code: i32| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_publisher"));
        let run = command.arg("--json").args(line.split_whitespace()).current_dir(world.dir.path()).output();
        let run = run.expect("the publisher runs");
        let said = [run.stdout, run.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(run.status.code(), Some(code), "publisher {line}: {said}");
        check(&said, &events, &mut met);
    };
    let keys = "--site site --keys keys";
    let sign = format!("{keys} --app {APP} --channel stable");
    run("keygen --out more", 0);
    run(&format!("init --site other --app {APP} --keys more --propose 1.root"), 0);
    for (build, dir) in [(1, "one"), (2, "two")] {
        run(&format!("build-release {sign} --build {build} --version {build} --platform {PLATFORM}={dir}"), 0);
    }
    run(&format!("build-release {sign} --build 2 --version 2 --platform {PLATFORM}=one"), 5);
    run(&format!("promote {sign} --build 2 --rollout 10%"), 0);
    run(&format!("halt {sign}"), 0);
    run(&format!("resume {sign}"), 0);
    run(&format!("bad {sign} --build 1"), 0);
    run(&format!("refresh {keys} --force"), 0);
    run("check-remote --channel stable site", 0);
    run("upload --site site --to copy", 0);
    run("upload --site site --to copy", 0);
    run("check-remote --channel stable --head-days 30 site", 1);
    run("root propose --site site --out 2.root --expires-days 90", 0);
    run("root show --site site", 0);
    run("root sign --site site --keys keys 2.root", 0);
    run("root publish --site site 2.root", 0);
    run(&format!("revert {sign} --to 1 --build 3"), 0);
    run(&format!("finish {sign} --build 3 --platform {PLATFORM}"), 0);
    let place = "--url https://updates.example.org/ --out app.zip";
    run(&format!("bundle --site site --app {APP} --channel stable --platform {PLATFORM} --build 3 {place}"), 0);
    run(&format!("prune --site site --app {APP} --keep 1 --grace-days 0"), 0);
    run("verify --site site", 0);
    fs::remove_dir_all(world.path("site/objects")).expect("removed");
    run("verify --site site --no-proof", 5);
    run("completions bash", 0);
    run("man --out man", 0);
    for event in [
        "step",
        "progress",
        "release",
        "head",
        "refreshed",
        "finding",
        "channel",
        "error",
        "root-published",
        "uploaded",
    ] {
        assert!(met.contains(event), "{event} never came: {met:?}");
    }
}

#[test]
fn what_the_client_prints_is_documented() {
    let (events, mut met) = (documented("client and patcher"), BTreeSet::new());
    let world = World::new();
    world.release(1, &[("app", b"one"), ("big", &noise(1, 40_000))]);
    let (mirror, kept) = (text(&world.path("mirror")), text(&world.path("kept")));
    let mut run = |line: &str, code: i32| {
        let mut command = Command::new(program("client"));
        let run = command.arg("--json").args(line.split_whitespace()).current_dir(world.dir.path()).output();
        let run = run.expect("the client runs");
        let said = String::from_utf8_lossy(&run.stdout);
        assert_eq!(run.status.code(), Some(code), "client {line}: {said}");
        assert!(run.stderr.is_empty(), "client {line}: {}", String::from_utf8_lossy(&run.stderr));
        check(&said, &events, &mut met);
    };
    let origin = format!("--site site --root site/root/1.root --app {APP} --channel stable --platform {PLATFORM}");
    run(&format!("install {origin} --tree tree --mirror {mirror}"), 0);
    run(&format!("install {origin} --tree tree"), 2);
    run(&format!("adopt {origin} --tree tree"), 0);
    run("check --tree tree", 3);
    write(&world.path("notes.md"), b"# 2\n\nMore.\n");
    let notes = format!("en={}", text(&world.path("notes.md")));
    world.publish(2, &world.input(2, &[("app", b"two"), ("big", &noise(1, 40_000))]), &["--notes", &notes]);
    run("check --tree tree --notes en", 0);
    run("why --tree tree", 0);
    run("update --tree tree --stage-only", 0);
    run(&format!("update --tree tree --keep-site {kept}"), 0);
    run("rollback --tree tree", 0);
    run("why --tree tree", 3);
    run("hold --tree tree", 0);
    run("status --tree tree", 0);
    run("doctor --tree tree", 0);
    run("doctor --tree tree --out report", 0);
    run("hold --tree tree --off", 0);
    run("confirm --tree tree", 0);
    write(&world.path("tree/app"), b"edited");
    run("verify --tree tree", 6);
    run("doctor --tree tree", 0);
    run("heal --tree tree", 0);
    run("watch --tree tree --once", 3);
    run("uninstall --tree tree", 0);
    for event in ["started", "advanced", "available", "kept", "healed", "verified", "doctor", "uninstalled", "error"] {
        assert!(met.contains(event), "{event} never came: {met:?}");
    }
}
