//! Whoever comes first after an update was cut off, at whatever change of the disk, finds a tree he can work with: the launcher
//! starts the app, and every question gets an answer.

#[allow(dead_code, reason = "shared with other tests")]
#[path = "../../client/tests/support/tree_fs.rs"]
mod tree_fs;
#[path = "support/world.rs"]
mod world;

use std::path::Path;
use std::sync::Arc;

use lamplighter_client::error::Error;
use lamplighter_client::launch::{Resources, Settings};
use lamplighter_client::launcher::{AsApp, Host, Setup, as_app};
use lamplighter_client::machine::Machine;
use lamplighter_client::tree::{Tree, TreeError};
use lamplighter_client::updater::{Config, Outcome, Updater};
use tree_fs::{Control, Fault, FaultyFs};
use world::{World, copy, done};

/// A machine that ends in the middle.
struct Mortal(Arc<Control>);

impl Machine for Mortal {
    fn open_tree(&self, root: &Path, _: Option<&Path>) -> Result<Tree, TreeError> {
        let state = root.join(".lamplighter");
        Ok(Tree::with_fs(FaultyFs::open(root, &state, self.0.clone()), root, &state))
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
    let config = Config { machine: Arc::new(Mortal(control)), ..world.config("tree").0 };
    Updater::open(config)?.update(None)
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
    let world = World::new();
    world.release(1, &[("app", b"one"), ("data/a", b"first"), ("gone", b"old")]);
    done(world.install("template"));
    world.release(2, &[("app", b"two"), ("data/a", b"second"), ("come", b"new")]);
    let fresh = || {
        let _ = std::fs::remove_dir_all(world.path("tree"));
        copy(&world.path("template"), &world.path("tree"));
    };
    fresh();
    let counting = Control::counting();
    done(update(&world, counting.clone()));
    assert!(counting.calls() > 40, "{} changes", counting.calls());
    let mut builds = [0_u32; 3];
    for call in 0..counting.calls() {
        for (name, ask) in QUESTIONS {
            fresh();
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
