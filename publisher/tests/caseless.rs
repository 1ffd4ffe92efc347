//! Names that change their case alone, where the file system takes both spellings for one name: a file gets the new one, a
//! directory keeps the one it has, and nothing is lost by updates, ways back, heals and deaths in between.

#[path = "support/caseless.rs"]
mod caseless;
#[allow(dead_code, reason = "shared with other tests")]
#[path = "../../client/tests/support/tree_fs.rs"]
mod tree_fs;
#[path = "support/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use caseless::Caseless;
use lamplighter_client::machine::Machine;
use lamplighter_client::tree::{Tree, TreeError};
use lamplighter_client::updater::{Config, Updater};
use tree_fs::{Control, Fault, FaultyFs};
use world::{Files, World, copy, done};

/// A machine with such a file system, which may end in the middle.
struct Anycase(Arc<Control>);

impl Machine for Anycase {
    fn open_tree(&self, root: &Path, _: Option<&Path>) -> Result<Tree, TreeError> {
        let state = root.join(".lamplighter");
        let fs = FaultyFs::open(root, &state, self.0.clone());
        Ok(Tree::with_fs(Caseless::over(fs, root), root, &state))
    }

    fn helpers(&self) -> usize {
        0
    }
}

const BUILDS: [Files<'_>; 3] = [
    &[
        ("app", b"one"),
        ("Readme.txt", b"as it was"),
        ("Same", b"same"),
        ("Lib/a", b"first"),
        ("Lib/Deep/kept", b"kept"),
        ("Lib/Deep/Other", b"other of 1"),
    ],
    &[
        ("app", b"two"),
        ("README.TXT", b"as it is now"),
        ("same", b"same"),
        ("lib/a", b"second"),
        ("lib/deep/kept", b"kept"),
        ("lib/deep/other", b"other of 2"),
        ("lib/new", b"new"),
    ],
    // As the first, with what the second has in other places.
    &[
        ("app", b"three"),
        ("Readme.txt", b"as it is now"),
        ("SAME", b"same"),
        ("Lib/a", b"second"),
        ("Lib/Deep/kept", b"kept"),
        ("Lib/Deep/Other", b"other of 3"),
    ],
];

fn open(world: &World, control: Arc<Control>) -> Updater {
    Updater::open(Config { machine: Arc::new(Anycase(control)), ..world.config("tree").0 }).expect("an installed tree")
}

/// Builds from 1 to `last`, the first of them installed as the tree `template`.
fn published(last: usize) -> World {
    let world = World::new();
    for (build, files) in (1..).zip(&BUILDS[..last]) {
        world.release(build, files);
        if build == 1 {
            done(world.install("template"));
        }
    }
    copy(&world.path("template"), &world.path("tree"));
    world
}

/// The tree by names as such a file system knows them.
fn seen(world: &World) -> BTreeMap<String, Vec<u8>> {
    world.contents("tree").into_iter().map(|(name, content)| (name.to_lowercase(), content)).collect()
}

fn released(build: usize) -> BTreeMap<String, Vec<u8>> {
    BUILDS[build - 1].iter().map(|(name, content)| (name.to_lowercase(), content.to_vec())).collect()
}

fn expect(world: &World, build: usize, what: &str) {
    assert_eq!(seen(world), released(build), "{what}");
    let verified = open(world, Control::counting()).verify(true).expect("a release");
    assert!(verified.damaged.is_empty(), "{what}: {:?}", verified.damaged);
    // A file is spelled as its release spells it.
    let names: Vec<String> = world.contents("tree").into_keys().collect();
    let last = |name: &str| name.rsplit('/').next().expect("a name").to_owned();
    for (name, _) in BUILDS[build - 1] {
        assert!(names.iter().any(|found| last(found) == last(name)), "{what}: {name} in {names:?}");
    }
}

#[test]
fn names_change_their_case_there_and_back_and_nothing_is_lost() {
    let world = published(2);
    let updater = || open(&world, Control::counting());
    expect(&world, 1, "installed");
    done(updater().update(None));
    expect(&world, 2, "updated");
    updater().rollback().expect("the way back");
    expect(&world, 1, "taken back");
    updater().heal(None).expect("healed");
    expect(&world, 1, "healed");
    world.release(3, BUILDS[2]);
    done(updater().update(None));
    expect(&world, 3, "updated from what was taken back");
    updater().rollback().expect("the way back");
    expect(&world, 1, "taken back again");
}

#[test]
fn from_any_spelling_to_any_other() {
    let world = published(2);
    done(open(&world, Control::counting()).update(None));
    world.release(3, BUILDS[2]);
    // Directories have the spelling of the first build, the manifest that of the second.
    done(open(&world, Control::counting()).update(None));
    expect(&world, 3, "updated twice");
    std::fs::remove_file(world.path("tree/Lib/a")).expect("removed");
    open(&world, Control::counting()).heal(None).expect("healed");
    expect(&world, 3, "healed");
}

#[test]
fn a_file_comes_where_a_directory_was_in_which_names_are_spelled_otherwise() {
    let world = World::new();
    let old: Files<'_> = &[("app", b"one"), ("Data/Deep/table", b"table"), ("Data/readme.txt", b"read")];
    world.release(1, old);
    done(world.install("tree"));
    // Somebody spells them anew, in a way that such a file system takes for the same.
    for (from, to) in [("Data/Deep", "Data/DEEP"), ("Data/readme.txt", "Data/README.TXT")] {
        std::fs::rename(world.path("tree").join(from), world.path("tree").join(to)).expect("renamed");
    }
    std::fs::write(world.path("tree/Data/DEEP/mine"), "mine").expect("written");
    world.release(2, &[("app", b"two"), ("Data", b"now a file")]);
    done(open(&world, Control::counting()).update(None));
    let new: BTreeMap<String, Vec<u8>> =
        [("app".into(), b"two".to_vec()), ("data".into(), b"now a file".to_vec())].into();
    assert_eq!(seen(&world), new);
    assert_eq!(std::fs::read(world.path("tree/.lamplighter/kept/1/Data/Deep/mine")).expect("kept"), b"mine");
    open(&world, Control::counting()).rollback().expect("the way back");
    let back = old.iter().map(|(name, content)| (name.to_lowercase(), content.to_vec())).collect();
    assert_eq!(seen(&world), back, "taken back");
}

#[test]
fn an_end_at_any_change_leaves_one_release_or_the_other() {
    let world = published(2);
    done(open(&world, Control::counting()).update(None));
    copy(&world.path("tree"), &world.path("updated"));
    type Change = fn(&Updater) -> bool;
    let changes: [(&str, &str, Change); 2] = [
        ("update", "template", |updater| updater.update(None).is_ok()),
        ("rollback", "updated", |updater| updater.rollback().is_ok()),
    ];
    for (name, template, change) in changes {
        let fresh = || {
            std::fs::remove_dir_all(world.path("tree")).expect("removed");
            copy(&world.path(template), &world.path("tree"));
        };
        fresh();
        let counting = Control::counting();
        assert!(change(&open(&world, counting.clone())), "{name}");
        let mut found = [0; 2];
        for call in 0..counting.calls() {
            fresh();
            let control = Control::at(call, Fault::Die);
            if let Ok(updater) = Updater::open(Config { machine: Arc::new(Anycase(control)), ..world.config("tree").0 })
            {
                change(&updater);
            }
            let what = format!("{name}, ended at call {call}");
            let build = open(&world, Control::counting()).verify(true).unwrap_or_else(|e| panic!("{what}: {e}")).build;
            expect(&world, build as usize, &what);
            found[build as usize - 1] += 1;
        }
        assert!(found.iter().all(|count| *count > 0), "{name}: {found:?}");
    }
}
