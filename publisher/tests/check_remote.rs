//! A published site seen from outside: what is missing, old or altered on the way, and what only caches are told wrongly.

#[path = "../../client/tests/support/hostile.rs"]
mod hostile;
#[path = "support/world.rs"]
mod world;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use lamplighter_client::format::text::Time;
use lamplighter_publisher::delivery::FileKind;
use lamplighter_publisher::remote::{self, Checked, Request};
use lamplighter_publisher::watch::Unwatched;

use hostile::{Fault, Hostile};
use world::{World, contents, noise};

const HEAD: &str = "channels/stable.head";

/// A site of two builds, so that there is a pack.
fn world() -> World {
    let world = World::new();
    for build in [1, 2] {
        let mut changed = noise(1, 30_000);
        changed[5_000] ^= build as u8;
        world.release(build, &[("app", b"text"), ("changed.bin", &changed)]);
    }
    world
}

/// A server that says to caches what it should.
fn well_served(site: &Path) -> Hostile {
    let server = Hostile::dir(site);
    server.attack(Box::new(well));
    server
}

fn well(path: &str) -> Fault {
    FileKind::of(path).map_or(Fault::Honest, |kind| Fault::Header("Cache-Control", kind.cache_control().to_owned()))
}

fn look_at(location: &str, deep: bool) -> Checked {
    let channels = ["stable".to_owned()];
    let request = Request {
        location,
        app: None,
        root: None,
        channels: &channels,
        head_days: 1,
        root_days: 1,
        quick: false,
        deep,
        connections: 4,
        time: Time::now(),
    };
    remote::check(&request, Arc::new(Unwatched)).expect("looked at")
}

fn look(server: &Hostile) -> Checked {
    look_at(&server.url(), false)
}

/// Codes and whether each is only a warning.
fn codes(checked: &Checked) -> Vec<(bool, &'static str)> {
    checked.findings.iter().map(|f| (f.is_warning, f.code)).collect()
}

/// The first file of the site whose name begins so.
fn first(world: &World, start: &str) -> String {
    contents(&world.site()).into_keys().find(|name| name.starts_with(start)).expect("there is one")
}

/// An object that the release on offer names.
fn object(world: &World) -> String {
    let index = fs::read_to_string(world.site().join("releases/2/linux-x86_64/objects.csv")).expect("an index");
    let digest = index.lines().find_map(|line| line.strip_prefix("object,")).expect("an object");
    let digest = digest.split(',').next().expect("a digest");
    format!("objects/{}/{digest}", &digest[..2])
}

#[test]
fn a_site_that_is_delivered_well_has_no_findings() {
    let world = world();
    let server = well_served(&world.site());
    for deep in [false, true] {
        let checked = look_at(&server.url(), deep);
        assert_eq!(checked.findings, [], "deep: {deep}");
        assert!(checked.files >= 4, "manifest, index, object, pack: {checked:?}");
    }
    let files = look(&server).files;
    let asked = server.ranges(&object(&world));
    assert!(asked.contains(&"bytes=0-0".to_owned()), "one byte is enough: {asked:?}");
    assert_eq!(look_at(world.site().to_str().expect("Unicode"), true).files, files, "a directory has the same files");
}

#[test]
fn what_caches_are_told_is_judged_once_a_kind() {
    let world = world();
    let checked = look(&Hostile::dir(&world.site()));
    assert!(checked.findings.iter().all(|f| f.is_warning && f.code == "cache"), "{:?}", checked.findings);
    let kinds: Vec<_> = checked.findings.iter().filter_map(|f| FileKind::of(&f.name)).collect();
    for kind in [FileKind::Head, FileKind::Content, FileKind::Document] {
        assert_eq!(kinds.iter().filter(|found| **found == kind).count(), 1, "{kind:?}: {:?}", checked.findings);
    }
    let server = well_served(&world.site());
    server.always(HEAD, Fault::Header("Cache-Control", "public, max-age=31536000, immutable".to_owned()));
    assert_eq!(codes(&look(&server)), [(true, "cache")]);
}

#[test]
fn what_is_missing_or_of_another_length_is_named() {
    let world = world();
    for name in [object(&world), first(&world, "packs/")] {
        let server = well_served(&world.site());
        server.always(&name, Fault::Status(404));
        let checked = look(&server);
        assert_eq!(codes(&checked), [(false, "missing")], "{:?}", checked.findings);
        assert_eq!(checked.findings[0].name, name);
        server.always(&name, Fault::Other(b"short".to_vec()));
        assert!(codes(&look(&server)).contains(&(false, "length")), "{:?}", look(&server).findings);
    }
    let server = well_served(&world.site());
    server.always("releases/2/linux-x86_64/objects.csv", Fault::Status(404));
    assert!(codes(&look(&server)).contains(&(false, "objects")));
    // A head that was sent before what it names.
    server.always("releases/2/linux-x86_64/release", Fault::Status(404));
    assert!(codes(&look(&server)).contains(&(false, "release")));
}

#[test]
fn ranges_that_are_ignored_and_answers_that_are_packed_are_told() {
    let world = world();
    let server = well_served(&world.site());
    let (one, other) = (object(&world), first(&world, "packs/"));
    server.always(&one, Fault::IgnoreRange);
    server.always(&other, Fault::Header("Content-Encoding", "gzip".to_owned()));
    let checked = look(&server);
    assert!(codes(&checked).contains(&(true, "range")), "{:?}", checked.findings);
    assert!(checked.findings.iter().any(|f| f.code == "encoded" && !f.is_warning && f.name == other));
}

#[test]
fn an_edge_with_an_older_head_is_told() {
    let world = world();
    let old = fs::read(world.site().join(HEAD)).expect("a head");
    let (site, keys) = (world::text(&world.site()), world::text(&world.path("keys")));
    world.publisher(&["refresh", "--site", &site, "--keys", &keys, "--force"]);
    let server = well_served(&world.site());
    let well = || Fault::Header("Cache-Control", "no-cache".to_owned());
    // Clients and the request past all caches get the new one, ordinary ones the old one.
    server.script(HEAD, [well(), well(), Fault::Other(old.clone()), Fault::Other(old)]);
    let checked = look(&server);
    assert_eq!(codes(&checked), [(true, "head-old"); 2], "{:?}", checked.findings);
    server.script(HEAD, [well(), well(), Fault::Header("Age", "86400".to_owned())]);
    let checked = look(&server);
    assert!(codes(&checked) == [(true, "head-old")] && checked.findings[0].text.contains("86400"), "{checked:?}");
}

#[test]
fn only_a_deep_look_finds_altered_content() {
    let world = world();
    for name in [object(&world), first(&world, "packs/")] {
        let server = well_served(&world.site());
        let last = fs::metadata(world.site().join(&name)).expect("there").len() as usize - 1;
        server.always(&name, Fault::Flip(last));
        let shallow = look(&server);
        assert!(shallow.findings.iter().all(|f| f.is_warning), "{:?}", shallow.findings);
        let deep = look_at(&server.url(), true);
        let found: Vec<_> = deep.findings.iter().filter(|f| !f.is_warning).map(|f| (f.code, &f.name)).collect();
        assert_eq!(found, [("content", &name)], "{:?}", deep.findings);
    }
}
