//! Whoever comes first after an update was cut off, at whatever change of the disk, finds a tree he can work with: the launcher
//! starts the app, and every question gets an answer.

#[allow(dead_code, reason = "shared with other tests")]
#[path = "../../client/tests/support/tree_fs.rs"]
mod tree_fs;
#[path = "support/world.rs"]
mod world;

use std::path::Path;
use std::sync::Arc;

use lamplighter_client::deploy::RouteTaken;
use lamplighter_client::error::{Class, Error};
use lamplighter_client::launch::{Resources, Settings};
use lamplighter_client::launcher::{AsApp, Host, Setup, as_app};
use lamplighter_client::machine::Machine;
use lamplighter_client::tree::{Tree, TreeError};
use lamplighter_client::updater::{Config, Outcome, Updater};
use tree_fs::{Control, Fault, FaultyFs, Lacks, NOTHING, Refusal};
use world::{World, copy, done, noise};

/// A machine that ends in the middle.
struct Mortal {
    control: Arc<Control>,
    lacks: Lacks,
}

impl Machine for Mortal {
    fn open_tree(&self, root: &Path, _: Option<&Path>) -> Result<Tree, TreeError> {
        let state = root.join(".lamplighter");
        Ok(Tree::with_fs(FaultyFs::open_on(self.lacks, root, &state, self.control.clone()), root, &state))
    }

    fn helpers(&self) -> usize {
        0
    }
}

struct Silent;

impl Host for Silent {
    fn message(&self, _: &str, _: Option<u8>) {}
}

fn update(world: &World, control: Arc<Control>) -> Result<Outcome, Error> {
    update_on(NOTHING, world, control)
}

fn update_on(lacks: Lacks, world: &World, control: Arc<Control>) -> Result<Outcome, Error> {
    let config = Config { machine: Arc::new(Mortal { control, lacks }), ..world.config("tree").0 };
    Updater::open(config)?.update(None)
}

/// A tree of build 1 as `template`, and a site that offers build 2.
fn two_builds() -> World {
    let world = World::new();
    world.release(1, &[("app", b"one"), ("data/a", b"first"), ("gone", b"old")]);
    done(world.install("template"));
    world.release(2, &[("app", b"two"), ("data/a", b"second"), ("come", b"new")]);
    world
}

fn fresh_tree(world: &World) {
    let _ = std::fs::remove_dir_all(world.path("tree"));
    copy(&world.path("template"), &world.path("tree"));
}

fn launched(world: &World) -> Result<AsApp, Error> {
    let settings =
        Settings { check_minimum: false, run_in_local: false, check_for_updates: false, resources: Resources::Leave };
    let host: Arc<dyn Host> = Arc::new(Silent);
    let setup = Setup { program: Some(world.path("launcher")), ..Setup::new(world.config("tree").0, settings) };
    as_app(&setup, &host)
}

/// What is asked of a tree: its name, and the build it answers with.
type Question = (&'static str, fn(&World) -> Result<u64, Error>);

const QUESTIONS: [Question; 5] = [
    ("launch", |world| {
        launched(world)?;
        Ok(world.open("tree").installed_build()?.expect("a build"))
    }),
    ("status", |world| Ok(world.open("tree").status()?.installed.expect("a release").build)),
    ("verify", |world| Ok(world.open("tree").verify(true)?.build)),
    ("entry", |world| {
        world.open("tree").entry()?;
        Ok(world.open("tree").installed_build()?.expect("a build"))
    }),
    ("check", |world| {
        world.open("tree").check()?;
        Ok(world.open("tree").installed_build()?.expect("a build"))
    }),
];

#[test]
fn a_tree_cut_off_at_any_change_of_an_update_answers_whoever_comes_first() {
    let world = two_builds();
    fresh_tree(&world);
    let counting = Control::counting();
    done(update(&world, counting.clone()));
    assert!(counting.calls() > 40, "{} changes", counting.calls());
    let mut builds = [0_u32; 3];
    for call in 0..counting.calls() {
        for (name, ask) in QUESTIONS {
            fresh_tree(&world);
            // The last changes only tidy up: that they fail stops nothing.
            let _ = update(&world, Control::at(call, Fault::Die));
            let build = ask(&world).unwrap_or_else(|error| panic!("{name} after death at call {call}: {error}"));
            builds[usize::try_from(build).expect("small")] += 1;
            world
                .update("tree")
                .unwrap_or_else(|error| panic!("update after {name} and death at call {call}: {error}"));
            assert_eq!(world.contents("tree"), world::contents(&world.path("input-2")), "{name}, call {call}");
        }
    }
    assert!(builds[1] > 0 && builds[2] > 0, "{builds:?}");
}

/// The program that decides may be of neither release then: it is started anew. One in local storage is not started before.
#[test]
fn an_app_is_never_started_from_a_tree_between_two_releases() {
    let world = two_builds();
    let quiet =
        Settings { check_minimum: false, run_in_local: false, check_for_updates: false, resources: Resources::Leave };
    let host: Arc<dyn Host> = Arc::new(Silent);
    let inside = Setup { program: Some(world.path("tree/app")), ..Setup::new(world.config("tree").0, quiet) };
    let from_elsewhere = Setup {
        program: Some(world.path("template/app")),
        local: Some(world.path("tree")),
        ..Setup::new(world.config("template").0, Settings { run_in_local: true, ..quiet })
    };
    fresh_tree(&world);
    let counting = Control::counting();
    done(update(&world, counting.clone()));
    let mut anew = 0;
    for call in 0..counting.calls() {
        for (name, setup, is_inside) in [("inside", &inside, true), ("from elsewhere", &from_elsewhere, false)] {
            fresh_tree(&world);
            let _ = update(&world, Control::at(call, Fault::Die));
            let is_cut_off = world.path("tree/.lamplighter/journal").exists();
            let done = as_app(setup, &host).unwrap_or_else(|error| panic!("{name}, call {call}: {error}"));
            let is_anew = matches!(done, AsApp::Restart);
            assert_eq!(is_anew, is_cut_off || !is_inside, "{name}, call {call}: {done:?}");
            anew += u32::from(is_anew && is_inside);
            let found = world.contents("tree");
            let whole = [1, 2].map(|build| world::contents(&world.path(&format!("input-{build}"))));
            assert!(whole.contains(&found), "{name}, call {call}: {found:?}");
        }
    }
    assert!(anew > 10, "{anew}");
}

/// Where files have one name only, the way back is put together after the commit: who confirms in between closes it for good.
#[test]
fn a_build_that_was_confirmed_has_no_way_back_wherever_its_update_was_cut_off() {
    let world = two_builds();
    let lacks = Lacks { hard_links: true, ..NOTHING };
    fresh_tree(&world);
    let counting = Control::counting();
    done(update_on(lacks, &world, counting.clone()));
    assert_eq!(world.open("tree").previous_build().expect("read"), Some(1), "there is one to be closed");
    let mut confirmed = [0_u32; 3];
    for call in 0..counting.calls() {
        fresh_tree(&world);
        let _ = update_on(lacks, &world, Control::at(call, Fault::Die));
        let build = launched(&world).and_then(|_| world.open("tree").installed_build());
        let build = build.unwrap_or_else(|error| panic!("death at call {call}: {error}")).expect("a build");
        world.open("tree").confirm_healthy().unwrap_or_else(|error| panic!("death at call {call}: {error}"));
        confirmed[usize::try_from(build).expect("small")] += 1;
        world.open("tree").hold().unwrap_or_else(|error| panic!("death at call {call}: {error}"));
        assert_eq!(world.open("tree").previous_build().expect("read"), None, "death at call {call}, build {build}");
    }
    assert!(confirmed[1] > 0 && confirmed[2] > 0, "{confirmed:?}");
}

/// Writes other bytes over all files of the tree and of its state that hold one of `contents`.
fn damage(world: &World, contents: &[&[u8]]) {
    for entry in walkdir::WalkDir::new(world.path("tree")) {
        let entry = entry.expect("readable");
        if entry.file_type().is_file() && contents.contains(&&*std::fs::read(entry.path()).expect("read")) {
            std::fs::write(entry.path(), "\0\0\0").expect("written");
        }
    }
}

/// The medium loses the old content and the new one. Until that is healed the app is not started, however often that is tried.
#[test]
fn a_tree_that_was_given_up_is_started_only_when_it_is_whole_again() {
    let world = two_builds();
    let mut given_up = 0;
    for call in 0.. {
        fresh_tree(&world);
        if update(&world, Control::at(call, Fault::Die)).is_ok() {
            break;
        }
        if !world.path("tree/.lamplighter/journal").exists() {
            continue;
        }
        damage(&world, &[b"one", b"two"]);
        let refused = |what: &str| {
            let error = launched(&world).err().unwrap_or_else(|| panic!("call {call}: started {what}"));
            assert_eq!(error.class(), Class::Damaged, "call {call}, {what}: {error}");
        };
        refused("as it was");
        std::fs::rename(world.site(), world.path("away")).expect("renamed");
        world.open("tree").heal(None).expect_err("there is no site");
        refused("after a heal that failed");
        let status = world.open("tree").status().expect("a status");
        assert!(status.unfinished && status.given_up, "call {call}: {status:?}");
        std::fs::rename(world.path("away"), world.site()).expect("renamed");
        world.open("tree").heal(None).unwrap_or_else(|error| panic!("call {call}: {error}"));
        assert!(!world.open("tree").status().expect("a status").given_up, "call {call}");
        launched(&world).unwrap_or_else(|error| panic!("call {call}: {error}"));
        let build = world.open("tree").installed_build().expect("read").expect("a build");
        assert_eq!(world.contents("tree"), world::contents(&world.path(&format!("input-{build}"))), "call {call}");
        given_up += 1;
    }
    assert!(given_up > 5, "{given_up}");
}

/// Bytes of [`a_file_that_grows`] that build 2 adds, and that the pack to it has.
const MORE_BYTES: usize = 400_000;

/// A tree of build 1 as `template`, and a site with a pack from it to build 2.
fn a_file_that_grows() -> World {
    let world = World::new();
    let (first, more) = (noise(1, MORE_BYTES), noise(2, MORE_BYTES));
    world.release(1, &[("big", &first)]);
    done(world.install("template"));
    world.release(2, &[("big", &[first, more].concat())]);
    world
}

#[test]
fn a_full_disk_is_called_so_wherever_it_is_met() {
    let world = a_file_that_grows();
    let control = Control::counting();
    fresh_tree(&world);
    assert_eq!(done(update(&world, control.clone())).route, RouteTaken::Pack);
    let mut told = Vec::new();
    for call in 0..control.calls() {
        fresh_tree(&world);
        if let Err(error) = update(&world, Control::at(call, Fault::Fail(Refusal::Space))) {
            assert_eq!(error.class(), Class::Disk, "call {call}: {error}");
            told.push(error.to_string());
        }
    }
    assert!(told.iter().any(|text| text.starts_with("write staging/")), "a staged file is named: {told:#?}");
}

/// Bytes of packs that are partly fetched for the tree.
fn partly_fetched(world: &World) -> u64 {
    let files = walkdir::WalkDir::new(world.path("tree/.lamplighter")).into_iter().filter_map(Result::ok);
    let packs = files.filter(|entry| entry.file_name().to_string_lossy().starts_with("pack-"));
    packs.map(|entry| entry.metadata().expect("there").len()).sum()
}

#[test]
fn what_is_fetched_already_needs_no_room_again() {
    let world = a_file_that_grows();
    let with_room =
        |free_bytes| update_on(Lacks { free_bytes: Some(free_bytes), ..NOTHING }, &world, Control::counting());
    fresh_tree(&world);
    let Err(Error::NoSpace { needed_bytes, .. }) = with_room(0) else { panic!("there is no room") };
    // A run that ends once it has fetched all of it.
    let ended = (0..).find(|call| {
        fresh_tree(&world);
        let ended = update(&world, Control::at(*call, Fault::Die));
        assert!(ended.is_err(), "nothing was left behind");
        partly_fetched(&world) > MORE_BYTES as u64
    });
    assert!(ended.is_some());
    let left = needed_bytes - partly_fetched(&world) / 2;
    assert!(matches!(with_room(left), Ok(Outcome::Done(_))), "{left} of {needed_bytes}");
}
