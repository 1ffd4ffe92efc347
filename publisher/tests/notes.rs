//! Release notes from the author's files to a person's eyes.

#[path = "support/world.rs"]
mod world;

use std::fs;

use lamplighter_client::format::layout;
use lamplighter_client::notes::NotesSection;

use world::{PLATFORM, World, done, text, write};

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
