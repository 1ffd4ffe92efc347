//! Taking a release back: the old content under a new number, for clients on either side of the bad one.

#[path = "support/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use lamplighter_client::deploy::RouteTaken;
use lamplighter_client::error::Error;
use lamplighter_client::trust::{Idle, Refusal};
use lamplighter_client::updater::{CheckOutcome, Outcome, Updater};
use world::{PLATFORM, World, done, noise, set_site, text};

#[path = "../../client/tests/support/hostile.rs"]
mod hostile;

const BIG: usize = 400_000;

/// Builds 1, 2 and 3, of which 3 is bad, and a tree of each.
fn three() -> World {
    let world = World::new();
    let mut content = noise(1, BIG);
    for build in 1..=3 {
        content[usize::try_from(build).expect("small") * 1000..][..16].copy_from_slice(b"sixteen bytes ok");
        let own = format!("build {build}");
        let more = noise(build, 30_000);
        world.release(build, &[("app", own.as_bytes()), ("big", &content), (&format!("only-{build}"), &more)]);
        done(world.install(&format!("tree-{build}")));
    }
    world
}

fn revert(world: &World, more: &[&str]) {
    let (site, keys) = (text(&world.site()), text(&world.path("keys")));
    let args = ["revert", "--site", &site, "--app", world::APP, "--channel", "stable", "--keys", &keys];
    world.publisher(&[&args[..], more].concat());
}

/// Files of the site with their lengths.
fn files(site: &Path) -> BTreeMap<String, Vec<u8>> {
    world::contents(site)
        .into_iter()
        .filter(|(name, _)| !name.starts_with(".publisher") && name != "index.html")
        .collect()
}

fn offered(world: &World, tree: &str) -> Option<u64> {
    match world.open(tree).check().expect("a check") {
        CheckOutcome::Available { build, .. } => Some(build),
        CheckOutcome::Idle(Idle::UpToDate) => None,
        CheckOutcome::Idle(other) => panic!("{other}"),
    }
}

#[test]
fn every_client_finds_its_way_back_and_is_then_up_to_date() {
    let world = three();
    let wanted = world.contents("tree-2");
    revert(&world, &["--to", "2"]);
    for (tree, route) in [("tree-1", RouteTaken::Pack), ("tree-2", RouteTaken::NoContent), ("tree-3", RouteTaken::Pack)]
    {
        assert_eq!(offered(&world, tree), Some(4), "{tree}");
        let report = done(world.update(tree));
        assert_eq!((report.route, report.build), (route, 4), "{tree}");
        assert_eq!(offered(&world, tree), None, "{tree}: a second check offers nothing");
        assert_eq!(world.contents(tree), wanted, "{tree}");
        assert!(matches!(world.update(tree), Ok(Outcome::Idle(Idle::UpToDate))));
    }
    done(world.install("tree-new"));
    assert_eq!(world.contents("tree-new"), wanted);
    // The line goes on.
    let mut next: Vec<(&str, &[u8])> = wanted.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    next.push(("new", b"build 5"));
    world.release(5, &next);
    for tree in ["tree-1", "tree-2", "tree-3", "tree-new"] {
        assert_eq!(done(world.update(tree)).route, RouteTaken::Pack, "{tree}");
    }
}

#[test]
fn who_still_has_the_old_content_downloads_none_and_who_has_the_bad_one_a_pack() {
    let world = three();
    revert(&world, &["--to", "2"]);
    let asked = |tree: &str| -> Vec<String> {
        let server = hostile::Hostile::dir(&world.site());
        set_site(&world.path(tree), &server.url());
        done(world.update(tree));
        server.log().into_iter().map(|seen| seen.path.split('/').next().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(asked("tree-2"), ["channels", "releases"]);
    let way_back = asked("tree-3");
    assert_eq!(way_back[..2], ["channels", "releases"]);
    assert!(way_back[2..].iter().all(|kind| kind == "packs") && way_back.len() > 2, "{way_back:?}");
}

#[test]
fn the_site_grows_by_documents_and_packs_alone() {
    let world = three();
    let before = files(&world.site());
    revert(&world, &["--to", "2"]);
    let after = files(&world.site());
    let changed: Vec<&String> =
        after.iter().filter(|(name, bytes)| before.get(*name) != Some(bytes)).map(|(name, _)| name).collect();
    let kinds = |kind: &str| changed.iter().filter(|name| name.starts_with(kind)).count();
    assert_eq!(kinds("objects/"), 0, "{changed:?}");
    // Only the pack from the bad build is new: those to the old content lead here as well.
    assert_eq!((kinds("packs/"), kinds("channels/")), (1, 1), "{changed:?}");
    assert_eq!(kinds("packs/") + kinds("channels/") + kinds(&format!("releases/4/{PLATFORM}/")), changed.len());
    let bytes: usize = changed.iter().map(|name| after[*name].len()).sum();
    assert!(bytes < BIG / 4, "{bytes} bytes");
    world.publisher(&["verify", "--site", &text(&world.site())]);
    let repeated = |more: &[&str]| {
        revert(&world, more);
        assert!(files(&world.site()) == after, "again is once: {more:?}");
    };
    repeated(&["--to", "2"]);
    repeated(&["--to", "2", "--build", "4"]);
}

#[test]
fn a_revert_ends_a_halt_and_marks_what_was_bad() {
    let world = three();
    let (site, keys) = (text(&world.site()), text(&world.path("keys")));
    world.publisher(&["halt", "--site", &site, "--channel", "stable", "--keys", &keys]);
    fs::write(world.path("why.md"), "Build 3 lost files.").expect("written");
    let notes = format!("en={}", text(&world.path("why.md")));
    revert(&world, &["--to", "1", "--bad", "2", "--build", "40", "--version", "1.0 again", "--notes", &notes]);
    let bytes = fs::read(world.site().join("channels/stable.head")).expect("a head");
    let bytes = String::from_utf8(bytes).expect("text");
    for line in [format!("\nbad,{PLATFORM},2\n"), format!("\nbad,{PLATFORM},3\n")] {
        assert!(bytes.contains(&line), "{bytes}");
    }
    assert!(!bytes.contains("\nhalt,"), "{bytes}");
    let notes = world.open("tree-3").notes("en").expect("notes");
    assert_eq!(notes.iter().map(|n| (n.build, n.text.trim())).collect::<Vec<_>>(), [(40, "Build 3 lost files.")]);
    for (tree, route) in [("tree-1", RouteTaken::NoContent), ("tree-2", RouteTaken::Pack), ("tree-3", RouteTaken::Pack)]
    {
        assert_eq!(done(world.update(tree)).route, route, "{tree}");
    }
    assert_eq!(world.open("tree-1").status().expect("a status").installed.map(|r| r.version), Some("1.0 again".into()));
}

#[test]
fn a_revert_that_died_before_the_channel_moved_goes_on_under_its_number() {
    let world = three();
    let head = fs::read(world.site().join("channels/stable.head")).expect("a head");
    revert(&world, &["--to", "2"]);
    let moved = fs::read(world.site().join("channels/stable.head")).expect("a head");
    fs::write(world.site().join("channels/stable.head"), head).expect("as if it had died");
    revert(&world, &["--to", "2"]);
    let again = fs::read(world.site().join("channels/stable.head")).expect("a head");
    let offers =
        |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().find(|l| l.starts_with("release,")).map(str::to_owned);
    assert_eq!(offers(&again), offers(&moved));
    assert!(!world.site().join("releases/5").exists());
}

#[test]
fn a_minimum_build_comes_with_the_release_and_the_client_tells_what_to_do() {
    let world = three();
    let input = world.input(4, &[("app", b"build 4")]);
    world.publish(4, &input, &["--minimum-build", "3"]);
    let refused =
        |tree: &str| matches!(world.update(tree), Err(Error::Refused(Refusal::BelowMinimum { minimum: 3, .. })));
    assert!(refused("tree-1") && refused("tree-2"));
    done(world.update("tree-3"));
    // An install of its own needs no earlier build.
    done(Updater::install(world.config("tree-new").0, &world.origin()));
}
