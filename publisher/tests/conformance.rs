//! The cases of theupdateframework/tuf-conformance about files, by meaning, on whole sites. The others, and those without
//! a meaning here, are in the client's `conformance` tests.

#[path = "support/world.rs"]
mod world;

use std::fs;
use std::path::PathBuf;

use lamplighter_client::error::Class;
use lamplighter_client::trust::Idle;
use lamplighter_client::updater::Outcome;

use world::{World, contents, done, write};

/// Everything a site holds that is not signed itself.
fn stored(world: &World) -> Vec<(PathBuf, Vec<u8>)> {
    let all = contents(&world.site()).into_iter();
    let stored = all.filter(|(name, _)| name.starts_with("objects/") || name.starts_with("packs/"));
    stored.map(|(name, bytes)| (world.site().join(name), bytes)).collect()
}

/// Puts something else in place of every object and pack.
fn substitute(stored: &[(PathBuf, Vec<u8>)]) {
    for (path, bytes) in stored {
        let mut other = bytes.clone();
        other.reverse();
        other[0] ^= 1;
        write(path, &other);
    }
}

fn is_up_to_date(world: &World) -> bool {
    matches!(world.update("tree"), Ok(Outcome::Idle(Idle::UpToDate)))
}

/// Mirrors `test_client_downloads_expected_file` and `test_client_downloads_expected_file_in_sub_dir`.
#[test]
fn what_was_published_is_installed_in_folders_too() {
    let world = World::new();
    world.release(1, &[("file.txt", b"content"), ("path/to/a/file.txt", b"content below")]);
    done(world.install("tree"));
    assert_eq!(world.contents("tree"), contents(&world.path("input-1")));
}

/// Mirrors `test_repository_substitutes_target_file`.
#[test]
fn substituted_content_is_never_installed() {
    let world = World::new();
    world.release(1, &[("file.txt", b"content"), ("another.txt", b"other content")]);
    done(world.install("tree"));
    world.release(2, &[("file.txt", b"new content"), ("another.txt", b"new other content")]);
    let files = stored(&world);
    substitute(&files);
    assert_eq!(world.update("tree").expect_err("refused").class(), Class::NotTrusted);
    assert_eq!(world.contents("tree"), contents(&world.path("input-1")));
    assert_eq!(world.install("fresh").expect_err("refused").class(), Class::NotTrusted);
    assert!(!world.path("fresh/file.txt").exists());
}

/// Mirrors `test_multiple_changes_to_target`: eleven releases, of which the client sees every fifth, and after each of those
/// other content under the same names.
#[test]
fn many_changes_arrive_and_what_was_not_published_never_does() {
    let world = World::new();
    world.release(1, &[("file.txt", b"content")]);
    done(world.install("tree"));
    let mut news: Vec<(String, String)> = Vec::new();
    for round in 0..11_u64 {
        let (build, changed) = (round + 2, format!("changed content {round}"));
        news.push((format!("new-{round}.txt"), format!("new content {round}")));
        let mut files: Vec<(&str, &[u8])> = vec![("file.txt", changed.as_bytes())];
        files.extend(news.iter().map(|(name, content)| (name.as_str(), content.as_bytes())));
        world.release(build, &files);
        if round % 5 != 0 {
            continue;
        }
        done(world.update("tree"));
        let published = contents(&world.path(&format!("input-{build}")));
        assert_eq!(world.contents("tree"), published);
        let files = stored(&world);
        substitute(&files);
        assert!(is_up_to_date(&world));
        assert!(world.install(&format!("fresh-{round}")).is_err());
        assert_eq!(world.contents("tree"), published);
        files.iter().for_each(|(path, bytes)| write(path, bytes));
    }
}

/// Mirrors `test_artifact_cache`: what is there is not fetched again, even where it could not be.
#[test]
fn what_is_installed_is_not_fetched_again() {
    let world = World::new();
    world.release(1, &[("file.txt", b"content")]);
    done(world.install("tree"));
    fs::remove_dir_all(world.site().join("objects")).expect("removed");
    assert!(is_up_to_date(&world));
}
