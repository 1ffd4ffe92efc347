//! Release notes from the author's files to a person's eyes.

#[path = "support/app.rs"]
mod app;
#[path = "../../client/tests/support/hostile.rs"]
mod hostile;
#[path = "support/world.rs"]
mod world;

use std::fs;
use std::sync::Arc;

use hostile::{Fault, Hostile};
use lamplighter_client::download::{JumpingTiming, Timing};
use lamplighter_client::format::layout;
use lamplighter_client::notes::NotesSection;
use lamplighter_client::updater::Updater;
use world::{PLATFORM, World, done, set_site, text, write};

/// Publishes `build` with these notes.
fn publish(world: &World, build: u64, notes: &[(&str, &str)]) {
    let input = world.input(build, &[("app", format!("build {build}\n").as_bytes())]);
    let mut more = Vec::new();
    for (language, content) in notes {
        let file = world.path(&format!("notes-{build}-{language}.md"));
        write(&file, content.as_bytes());
        more.extend(["--notes".to_owned(), format!("{language}={}", text(&file))]);
    }
    world.publish(build, &input, &more.iter().map(String::as_str).collect::<Vec<_>>());
}

fn told(sections: &[NotesSection]) -> Vec<(u64, &str, &str)> {
    sections.iter().map(|s| (s.build, s.version.as_str(), s.text.as_str())).collect()
}

#[test]
fn whoever_skipped_builds_is_told_of_each_in_his_language() {
    let world = World::new();
    publish(&world, 1, &[("en", "first"), ("de", "Erstes")]);
    done(world.install("tree"));
    assert!(world.open("tree").notes("de").expect("a site").is_empty(), "nothing is on offer");

    publish(&world, 2, &[("en", "# Two\r\n\r\n* fast\r\n"), ("de", "Zweites")]);
    publish(&world, 3, &[("en", "three")]);
    publish(&world, 4, &[]);
    let updater = world.open("tree");
    let english = updater.notes("en_GB.UTF-8").expect("notes");
    assert_eq!(told(&english), [(3, "3.0", "three\n"), (2, "2.0", "# Two\n\n* fast\n")]);
    let german = updater.notes("de-AT").expect("notes");
    assert_eq!(told(&german), [(3, "3.0", "three\n"), (2, "2.0", "Zweites\n")]);
    world.publisher(&["verify", "--site", &text(&world.site())]);

    done(world.update("tree"));
    publish(&world, 5, &[("de", "Fünftes")]);
    assert_eq!(told(&world.open("tree").notes("fr").expect("notes")), [(5, "5.0", "Fünftes\n")]);
}

#[test]
fn notes_that_do_not_come_keep_nobody_waiting() {
    let world = World::new();
    publish(&world, 1, &[("en", "first")]);
    done(world.install("tree"));
    publish(&world, 2, &[("en", "two")]);
    let server = Hostile::dir(&world.site());
    set_site(&world.path("tree"), &server.url());
    let (mut config, _) = world.config("tree");
    let clock = Arc::new(JumpingTiming::default());
    config.retry.timing = clock.clone();
    let most = config.retry.document_time_max;
    let updater = Updater::open(config).expect("an installed tree");
    assert_eq!(told(&updater.notes("en").expect("notes")), [(2, "2.0", "two\n")]);
    server.always(&layout::notes(2, PLATFORM, "en"), Fault::StatusWith(503, vec![("Retry-After", "3600".into())]));
    let error = updater.notes("en").expect_err("no notes").to_string();
    assert!(error.contains("503"), "{error}");
    assert!(clock.now() <= most, "{:?}", clock.now());
}

/// Runs the client program in the world's directory, as a user with a German desktop does.
fn client(world: &World, args: &[&str]) -> (i32, String) {
    let mut command = std::process::Command::new(app::program("client"));
    command.args(args).current_dir(world.dir.path());
    for name in ["LC_ALL", "LC_MESSAGES"] {
        command.env_remove(name);
    }
    let output = command.env("LANG", "de_AT.UTF-8").output().expect("the client runs");
    let said = String::from_utf8(output.stdout).expect("UTF-8") + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), said)
}

#[test]
fn the_program_tells_what_is_new_in_the_language_of_its_user() {
    let world = World::new();
    publish(&world, 1, &[]);
    done(world.install("tree"));
    let check = |more: &[&str]| client(&world, &[&["check", "--tree", "tree"], more].concat());
    let (code, said) = check(&["--notes"]);
    assert!(code == 3 && !said.contains("build 2"), "{code}: {said}");

    publish(&world, 2, &[("en", "# Two\n* fast\n"), ("de", "Zweites\x1b[2J\n")]);
    publish(&world, 3, &[("en", "three\n")]);
    assert_eq!(check(&[]), (0, "3.0 (build 3) is available\n".into()), "nobody asked for notes");
    let german = "3.0 (build 3) is available\n\n3.0 (build 3)\nthree\n\n2.0 (build 2)\nZweites\n".to_owned();
    assert_eq!(check(&["--notes"]), (0, german.clone()), "LANG is German");
    assert_eq!(check(&["--notes", "de"]), (0, german));
    let (code, english) = check(&["--notes", "en"]);
    assert!(code == 0 && english.ends_with("2.0 (build 2)\n# Two\n* fast\n"), "{english}");

    let (code, said) = check(&["--notes", "de", "--json"]);
    let line = said.lines().find(|line| line.contains("\"available\"")).expect("the event");
    let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
    assert_eq!(code, 0);
    assert_eq!(event["notes"][0], serde_json::json!({"build": 3, "version": "3.0", "text": "three\n"}), "{event}");
    assert_eq!(event["notes"][1]["text"], "Zweites\n", "{event}");

    let file = world.site().join(layout::notes(3, PLATFORM, "en"));
    let altered = fs::read_to_string(&file).expect("published").replace("three", "threx");
    fs::write(&file, altered).expect("written");
    let (code, said) = check(&["--notes", "en"]);
    assert!(code == 5 && said.contains("notes.en.md"), "{code}: {said}");
    assert_eq!(check(&[]).0, 0, "the update itself is as good as before");
}

#[test]
fn nothing_in_notes_reaches_a_terminal_but_text() {
    let world = World::new();
    publish(&world, 1, &[]);
    done(world.install("tree"));
    publish(&world, 2, &[("en", "a\x1b]0;owned\x07\x1b[2Jb\u{202e}c\u{200b}\u{7}\td\n")]);
    let published = fs::read(world.site().join(layout::notes(2, PLATFORM, "en"))).expect("published");
    assert!(published.contains(&0x1b), "the site has what the author wrote");
    assert_eq!(told(&world.open("tree").notes("en").expect("notes")), [(2, "2.0", "abc\td\n")]);
}

#[test]
fn altered_notes_are_refused() {
    let world = World::new();
    publish(&world, 1, &[]);
    done(world.install("tree"));
    publish(&world, 2, &[("en", "good news")]);
    let file = world.site().join(layout::notes(2, PLATFORM, "en"));
    let altered = fs::read_to_string(&file).expect("published").replace("good", "evil");
    fs::write(&file, altered).expect("written");
    let refused = world.open("tree").notes("en").expect_err("altered").to_string();
    assert!(refused.contains("notes.en.md"), "{refused}");
}
