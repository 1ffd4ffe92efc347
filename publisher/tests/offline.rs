//! Without the site, or beside it: from a copy on a stick, and from what another client kept of it.

#[path = "support/world.rs"]
mod world;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use lamplighter_client::deploy::RouteTaken;
use lamplighter_client::error::Error;
use lamplighter_client::keep::{Keep, Kept};
use lamplighter_client::trust::Idle;
use lamplighter_client::updater::{Outcome, Updater};
use lamplighter_publisher::serve::Server;

use world::{World, contents, copy, done, noise, text};

/// Builds 1 and 2 of a tree with one large file, which changes a little; build 1 is installed in `one` and in `two`.
fn two_clients() -> World {
    let world = World::new();
    let mut big = noise(1, 300_000);
    world.release(1, &[("app", b"one"), ("big", &big), ("same", b"same")]);
    for tree in ["one", "two"] {
        done(world.install(tree));
    }
    big[5000] ^= 1;
    world.release(2, &[("app", b"two"), ("big", &big), ("same", b"same")]);
    world
}

/// Updates `tree` from `from`, keeping what comes in the directory `kept`.
fn update_keeping(world: &World, tree: &str, from: Option<&Path>) -> (Result<Outcome, Error>, Kept) {
    let keep = Keep::open(&world.path("kept")).expect("made");
    let mut config = world.config(tree).0;
    config.machine = keep.watching(config.machine.clone());
    let updater = Updater::open(config).expect("a tree");
    let outcome = updater.update(from.map(text).as_deref());
    (outcome, updater.settle(&keep).expect("settled"))
}

fn update_from(world: &World, tree: &str, from: &str) -> Result<Outcome, Error> {
    world.open(tree).update(Some(from))
}

/// Names below a directory that begin with `folder`.
fn names(dir: &Path, folder: &str) -> Vec<String> {
    contents(dir).into_keys().filter(|name| name.starts_with(folder)).collect()
}

/// Takes the site out of everybody's reach.
fn cut_off(world: &World) {
    fs::rename(world.site(), world.path("out of reach")).expect("moved");
}

#[test]
fn what_one_client_kept_of_an_update_is_enough_for_another() {
    let world = two_clients();
    let (outcome, kept) = update_keeping(&world, "one", None);
    assert_eq!(done(outcome).route, RouteTaken::Pack);
    assert_eq!(kept.not_kept, 0);
    let (here, there) = (contents(&world.path("kept")), contents(&world.site()));
    let names: Vec<_> = here.keys().map(|name| name.split('/').next().unwrap_or_default()).collect();
    assert_eq!(names, ["channels", "packs", "releases", "root"], "head, pack, release and root: {:?}", here.keys());
    assert_eq!(kept.files, here.len() as u64);
    assert!(here.iter().all(|(name, bytes)| there.get(name) == Some(bytes)), "each is what the site has");

    cut_off(&world);
    let settings = fs::read(world.path("two/.lamplighter/settings")).expect("settings");
    let report = done(update_from(&world, "two", &text(&world.path("kept"))));
    assert_eq!((report.build, report.route), (2, RouteTaken::Pack));
    assert_eq!(world.contents("two"), contents(&world.path("input-2")));
    assert_eq!(fs::read(world.path("two/.lamplighter/settings")).expect("settings"), settings, "nothing is remembered");
}

#[test]
fn a_kept_part_is_handed_out_by_any_web_server() {
    let world = two_clients();
    done(update_keeping(&world, "one", None).0);
    cut_off(&world);
    let server = Server::bind(&world.path("kept"), "127.0.0.1:0", Arc::new(|_: &str, _, _| {})).expect("bound");
    let url = format!("http://{}/", server.address().expect("an address"));
    std::thread::spawn(move || server.run());
    assert_eq!(done(update_from(&world, "two", &url)).build, 2);
    assert_eq!(world.contents("two"), contents(&world.path("input-2")));
}

#[test]
fn an_installation_is_kept_whole_and_installs_another() {
    let world = two_clients();
    let keep = Keep::open(&world.path("kept")).expect("made");
    let mut config = world.config("three").0;
    config.machine = keep.watching(config.machine.clone());
    done(Updater::install(config.clone(), &world.origin()));
    let kept = Updater::open(config).and_then(|updater| updater.settle(&keep)).expect("settled");
    assert!(kept.not_kept == 0 && !names(&world.path("kept"), "objects/").is_empty(), "{kept:?}");

    let origin = lamplighter_client::updater::Origin { site: "https://site.invalid/".into(), ..world.origin() };
    cut_off(&world);
    let from = text(&world.path("kept"));
    done(Updater::install_from(world.config("four").0, &origin, Some(&from)));
    assert_eq!(world.contents("four"), contents(&world.path("input-2")));
    assert_eq!(world.open("four").status().expect("a status").settings.site, "https://site.invalid/");
    // Another base than the one that kept: by objects, since the pack was not fetched.
    assert_eq!(done(update_from(&world, "two", &from)).route, RouteTaken::Objects);
    assert_eq!(world.contents("two"), contents(&world.path("input-2")));
}

#[test]
fn what_a_kept_part_lacks_comes_from_the_site() {
    let world = two_clients();
    done(update_keeping(&world, "one", None).0);
    let pack = names(&world.path("kept"), "packs/").remove(0);
    fs::remove_file(world.path("kept").join(pack)).expect("removed");
    let report = done(update_from(&world, "two", &text(&world.path("kept"))));
    assert_eq!((report.build, report.route), (2, RouteTaken::Pack));
    assert_eq!(world.contents("two"), contents(&world.path("input-2")));
}

#[test]
fn an_altered_copy_is_passed_by_and_never_kept() {
    let world = two_clients();
    copy(&world.site(), &world.path("altered"));
    for name in names(&world.path("altered"), "packs/") {
        let path = world.path("altered").join(name);
        let mut bytes = fs::read(&path).expect("a pack");
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&path, bytes).expect("written");
    }
    let (outcome, kept) = update_keeping(&world, "one", Some(&world.path("altered")));
    assert_eq!(done(outcome).build, 2);
    assert_eq!(world.contents("one"), contents(&world.path("input-2")));
    let site = contents(&world.site());
    let here = contents(&world.path("kept"));
    assert!(here.iter().all(|(name, bytes)| site.get(name) == Some(bytes)), "{kept:?}: {:?}", here.keys());

    // With nobody else to ask the tree stays as it was, and what came is not kept either.
    fs::remove_dir_all(world.path("kept")).expect("removed");
    cut_off(&world);
    fs::remove_dir_all(world.path("altered/objects")).expect("removed");
    let (outcome, kept) = update_keeping(&world, "two", Some(&world.path("altered")));
    outcome.expect_err("nowhere to get it");
    assert_eq!(world.contents("two"), contents(&world.path("input-1")));
    assert!(kept.not_kept > 0 && names(&world.path("kept"), "packs/").is_empty(), "{kept:?}");
}

#[test]
fn an_older_head_never_replaces_a_newer_one() {
    let world = two_clients();
    copy(&world.site(), &world.path("old"));
    world.release(3, &[("app", b"three")]);
    done(update_keeping(&world, "one", None).0);
    let head = || fs::read(world.path("kept/channels/stable.head")).expect("a head");
    let newer = head();
    let (outcome, _) = update_keeping(&world, "two", Some(&world.path("old")));
    assert_eq!(done(outcome).build, 2, "the copy is asked first, and knows no newer one");
    assert_eq!(head(), newer);
    let (outcome, _) = update_keeping(&world, "two", Some(&world.path("kept")));
    assert_eq!(done(outcome).build, 3);
    assert!(matches!(update_keeping(&world, "two", None).0, Ok(Outcome::Idle(Idle::UpToDate))));
}

/// Publishes a second root with the keys of the first.
fn rotate_root(world: &World) {
    let (site, keys, file) = (text(&world.site()), text(&world.path("keys")), text(&world.path("2.root")));
    world.publisher(&["root", "propose", "--site", &site, "--out", &file]);
    world.publisher(&["root", "sign", &file, "--site", &site, "--keys", &keys]);
    world.publisher(&["root", "publish", &file, "--site", &site]);
}

#[test]
fn a_place_from_before_the_root_was_replaced_does_not_hide_what_another_has() {
    let world = two_clients();
    copy(&world.site(), &world.path("old"));
    rotate_root(&world);
    world.release(3, &[("app", b"three")]);
    world::set_site(&world.path("one"), &text(&world.path("old")));
    assert_eq!(done(update_from(&world, "one", &text(&world.site()))).build, 3);
    // Nor does it lead back from there.
    assert!(matches!(world.update("one"), Err(_) | Ok(Outcome::Idle(_))));
    assert_eq!(world.contents("one"), contents(&world.path("input-3")));
}

#[test]
fn a_head_of_a_root_that_nobody_has_keeps_no_other_from_being_heard() {
    let (world, other) = (two_clients(), two_clients());
    rotate_root(&other);
    other.release(3, &[("app", b"of others")]);
    let root = other.site().join("root/2.root");
    assert_eq!(done(update_from(&world, "one", &text(&other.site()))).build, 2, "a root of others");
    fs::remove_file(&root).expect("removed");
    fs::create_dir(&root).expect("made");
    assert_eq!(done(update_from(&world, "two", &text(&other.site()))).build, 2, "a root that cannot be read");
    for tree in ["one", "two"] {
        assert_eq!(world.contents(tree), contents(&world.path("input-2")));
    }
}

#[test]
fn a_stick_works_where_the_site_is_out_of_reach() {
    let world = two_clients();
    copy(&world.site(), &world.path("stick"));
    cut_off(&world);
    world.update("one").expect_err("no site");
    done(update_from(&world, "one", &text(&world.path("stick"))));
    assert_eq!(world.contents("one"), contents(&world.path("input-2")));
    fs::write(world.path("one/big"), b"damaged").expect("written");
    world.open("one").heal(Some(&text(&world.path("stick")))).expect("healed");
    assert_eq!(world.contents("one"), contents(&world.path("input-2")));
    let gone = update_from(&world, "two", &text(&world.path("no such stick"))).expect_err("no such directory");
    assert!(gone.to_string().contains("no such stick"), "{gone}");
}
