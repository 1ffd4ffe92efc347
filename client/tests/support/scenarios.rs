//! Changes of a tree, each small enough that everything a power cut may leave can be tried, and one with everything in it.

use lamplighter_client::tree::fs::Base;
use lamplighter_client::tree::{Tree, TreeError};

use crate::tree::{Item, Release, USER, go_back, new_release, old_release, record, update};
use crate::tree_model::{Disk, Machine};

use Item::{Dir, File, Link, Program};

/// What is done to a tree.
type Change = Box<dyn Fn(&Tree) -> Result<(), TreeError> + Send + Sync>;

/// One change, from a disk on which everything is durable.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) disk: Disk,
    pub(crate) old: Release,
    pub(crate) new: Release,
    /// What the user wrote: path and content. Every content must exist for ever.
    pub(crate) user: &'static [(&'static str, &'static str)],
    pub(crate) change: Change,
    pub(crate) way_back: WayBack,
}

/// Whether the old release can be put together again after a change, from what is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WayBack {
    Open,
    Closed,
    /// Where contents must move, a rename that arrives in part loses it.
    Fragile,
}

/// Puts a release on a disk, as if it had always been there.
pub(crate) fn install(disk: &mut Disk, release: &Release) {
    for (name, item) in release {
        match item {
            File(text) => disk.install(Base::Tree, name, Some((text.as_bytes(), 0o644)), None),
            Program(text) => disk.install(Base::Tree, name, Some((text.as_bytes(), 0o755)), None),
            Link(to) => disk.install(Base::Tree, name, None, Some(to)),
            Dir => disk.install(Base::Tree, name, None, None),
        }
    }
    let record = record(release);
    disk.install(Base::State, "installed/release", Some((&record.release, 0o644)), None);
    disk.install(Base::State, "installed/manifest.csv", Some((&record.manifest, 0o644)), None);
}

/// A disk with the files of `there` and the user's, and the record of `old`.
fn disk(there: &Release, old: &Release, user: &[(&str, &str)]) -> Disk {
    let mut disk = Disk::new(false);
    let mut there: Release =
        there.iter().filter(|(name, _)| user.iter().all(|(mine, _)| mine != name)).copied().collect();
    there.sort_by_key(|(name, _)| *name);
    install(&mut disk, &there);
    let record = record(old);
    disk.install(Base::State, "installed/release", Some((&record.release, 0o644)), None);
    disk.install(Base::State, "installed/manifest.csv", Some((&record.manifest, 0o644)), None);
    user.iter().for_each(|(name, text)| disk.install(Base::Tree, name, Some((text.as_bytes(), 0o644)), None));
    disk.flushed()
}

fn an_update(name: &'static str, old: Release, new: Release, user: &'static [(&str, &str)]) -> Scenario {
    let there = old.clone();
    an_update_of(
        &there,
        Scenario {
            name,
            disk: Disk::new(false),
            old,
            new,
            user,
            change: Box::new(|_| Ok(())),
            way_back: WayBack::Open,
        },
    )
}

/// `scenario`, an update, on a disk with the files of `there` and the user's.
fn an_update_of(there: &Release, scenario: Scenario) -> Scenario {
    let (from, to) = (scenario.old.clone(), scenario.new.clone());
    let change = Box::new(move |tree: &Tree| update(tree, &from, &to).map(drop));
    Scenario { disk: disk(there, &scenario.old, scenario.user), change, ..scenario }
}

/// The way back after an update, from what the update left on the disk.
fn a_rollback() -> Scenario {
    let old: Release = vec![("app", Program("app one")), ("gone", File("gone one")), ("same", File("same"))];
    let new: Release = vec![("app", Program("app two")), ("came", File("came two")), ("same", File("same"))];
    let machine = Machine::start(disk(&old, &old, &[]));
    let tree = Tree::with_fs(machine.fs(), "/tree".as_ref(), "/state".as_ref());
    update(&tree, &old, &new).expect("an update");
    let (from, to) = (new.clone(), old.clone());
    let change = Box::new(move |tree: &Tree| go_back(tree, &from, &to).map(drop));
    let disk = machine.disk().flushed();
    Scenario { name: "rollback", disk, old: new, new: old, user: &[], change, way_back: WayBack::Closed }
}

/// A file that is missing and one with other content come back; what was there instead is kept.
fn a_heal() -> Scenario {
    let release: Release = vec![("app", Program("app one")), ("lost", File("lost one")), ("same", File("same"))];
    let heal = an_update("heal", release.clone(), release, &[("app", "damaged, or mine")]);
    an_update_of(&vec![("same", File("same"))], Scenario { way_back: WayBack::Closed, ..heal })
}

fn without_links(mut scenario: Scenario) -> Scenario {
    scenario.disk.has_links = false;
    Scenario { way_back: WayBack::Fragile, ..scenario }
}

fn flushed_at_once(mut scenario: Scenario) -> Scenario {
    scenario.disk.syncs_volume = true;
    scenario
}

/// Changes of few things, of which all ways a power cut may end are tried.
pub(crate) fn small() -> Vec<Scenario> {
    let same = ("same", File("same"));
    let mut all = vec![
        an_update(
            "replace, add, remove",
            vec![("app", Program("app one")), ("gone", File("gone one")), same],
            vec![("app", Program("app two")), ("came", File("came two")), same],
            &[],
        ),
        an_update(
            "three replaced",
            vec![("a", File("a one")), ("b", File("b one")), ("c", Program("c one")), same],
            vec![("a", File("a two")), ("b", File("b two")), ("c", Program("c two")), same],
            &[],
        ),
        an_update(
            "a file becomes a directory, another the other way",
            vec![("was-dir/inner", File("inner")), ("was-file", File("file")), same],
            vec![("was-dir", File("now a file")), ("was-file/inner", File("now inside")), same],
            &[],
        ),
        an_update(
            "mode, link, empty directories",
            vec![("bare-old", Dir), ("link", Link("same")), same, ("tool", File("tool"))],
            vec![("bare-new", Dir), ("link", Link("tool")), same, ("tool", Program("tool"))],
            &[],
        ),
        an_update(
            "two contents change places",
            vec![("left", File("one")), ("right", File("two")), same],
            vec![("left", File("two")), ("right", File("one")), same],
            &[],
        ),
        an_update(
            "a file in new directories, another's directory goes",
            vec![("going/deep/file", File("old file")), same],
            vec![("coming/deep/file", File("new file")), same],
            &[("going/mine.txt", "mine beside it")],
        ),
        an_update(
            "edited and in the way",
            vec![("in/deep/edited", File("as shipped")), same],
            vec![("in/deep/edited", File("as shipped, two")), ("in/new", File("new")), same],
            &[("in/deep/edited", "my edit"), ("in/new", "mine, where a file comes")],
        ),
        without_links(an_update(
            "without hard links",
            vec![("app", Program("app one")), ("gone", File("gone one")), same],
            vec![("app", Program("app two")), ("came", File("came two")), same],
            &[],
        )),
        flushed_at_once(an_update(
            "many flushed at once",
            vec![("app", Program("app one")), ("gone", File("gone one")), same],
            vec![("app", Program("app two")), ("came", File("came two")), same],
            &[],
        )),
        a_rollback(),
        a_heal(),
    ];
    all.sort_by_key(|scenario| scenario.name);
    all
}

/// Every kind of change at once, and everything of the user's in the way.
pub(crate) fn lived_in() -> Scenario {
    let old = old_release();
    let there: Release = old.iter().filter(|(name, _)| *name != "lost").copied().collect();
    an_update_of(&there, an_update("everything", old, new_release(), USER))
}
