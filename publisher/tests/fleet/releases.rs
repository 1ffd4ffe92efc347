//! A few real releases, made once by the publisher: what a simulated one signs and puts into its site.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use lamplighter_client::format::release::{RELEASE_BYTES_MAX, Release};
use lamplighter_client::format::signed::SignedDocument;

use super::world::{PLATFORM, World, noise, write};

/// How many different trees there are.
pub(crate) const TREES: usize = 6;
/// The listed file that belongs to the user once it is there.
pub(crate) const KEPT: &str = "data/edited.cfg";

/// What lies at a path of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Thing {
    File { content: Arc<[u8]>, executable: bool },
    Link(String),
    Directory,
}

/// One tree as released.
pub(crate) struct Made {
    /// The release document as the publisher wrote it, to be given another build and signed anew.
    pub(crate) release: Release,
    pub(crate) manifest: Arc<[u8]>,
    pub(crate) objects: Arc<[u8]>,
    /// Everything in the tree but directories that are there for what is in them.
    pub(crate) things: BTreeMap<String, Thing>,
}

/// All of them.
pub(crate) struct Releases {
    pub(crate) made: Vec<Made>,
    /// Objects and packs by name.
    pub(crate) content: BTreeMap<String, Arc<[u8]>>,
}

/// Made by the first who asks.
pub(crate) fn releases() -> &'static Releases {
    static RELEASES: OnceLock<Releases> = OnceLock::new();
    RELEASES.get_or_init(make)
}

fn make() -> Releases {
    let world = World::new();
    for number in 0..TREES {
        let input = input(&world, number);
        world.publish(number as u64 + 1, &input, &["--keep", KEPT]);
    }
    let site = files(&world.site());
    let made = (0..TREES).map(|number| {
        let dir = format!("releases/{}/{PLATFORM}", number + 1);
        let signed = &site[&format!("{dir}/release")];
        let body = SignedDocument::split(signed, RELEASE_BYTES_MAX).expect("a document").body;
        Made {
            release: Release::parse(&body).expect("a release"),
            manifest: site[&format!("{dir}/manifest.csv")].clone(),
            objects: site[&format!("{dir}/objects.csv")].clone(),
            things: things(&world.path(&format!("input-{}", number + 1))),
        }
    });
    let made = made.collect();
    let is_content = |name: &str| name.starts_with("objects/") || name.starts_with("packs/");
    Releases { made, content: site.into_iter().filter(|(name, _)| is_content(name)).collect() }
}

/// Trees that differ in every way trees can: edits, moves, links, modes, a file that becomes a directory and back.
fn input(world: &World, number: usize) -> std::path::PathBuf {
    let odd = number % 2 == 1;
    let mut big = noise(1, 24_000);
    big[number * 3000..number * 3000 + 16].copy_from_slice(b"sixteen bytes ok");
    let app = format!("#!/bin/sh\necho {number}\n");
    let text = |what: &str| format!("{what} {number}\n{}", "the same in all of them\n".repeat(20));
    let input = world.input(
        number as u64 + 1,
        &[
            ("app", app.as_bytes()),
            ("big.bin", &big),
            ("data/changed.txt", text("changed").as_bytes()),
            (KEPT, text("shipped").as_bytes()),
            ("data/same.txt", b"same"),
            (if odd { "moved/there.bin" } else { "data/here.bin" }, &noise(2, 9_000)),
            (if odd { "case.txt" } else { "Case.txt" }, b"case"),
            (if odd { "swap/inner.txt" } else { "swap" }, b"a file here, a directory there"),
        ],
    );
    fs::set_permissions(input.join("app"), fs::Permissions::from_mode(0o755)).expect("a mode");
    if number >= 2 {
        write(&input.join("new.txt"), text("new").as_bytes());
    }
    if number % 3 == 1 {
        write(&input.join("large/unlike.bin"), &noise(number as u64 + 10, 12_000));
        fs::set_permissions(input.join("data/same.txt"), fs::Permissions::from_mode(0o755)).expect("a mode");
    }
    if number % 3 != 2 {
        fs::create_dir(input.join("empty")).expect("a directory");
    }
    symlink(if odd { "data/same.txt" } else { "app" }, input.join("link")).expect("a link");
    input
}

fn files(root: &Path) -> BTreeMap<String, Arc<[u8]>> {
    let walk = walkdir::WalkDir::new(root).min_depth(1).into_iter().map(|entry| entry.expect("readable"));
    walk.filter(|entry| entry.file_type().is_file())
        .map(|entry| (name(root, entry.path()), fs::read(entry.path()).expect("readable").into()))
        .collect()
}

fn name(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).expect("below").to_str().expect("UTF-8").to_owned()
}

fn things(root: &Path) -> BTreeMap<String, Thing> {
    let mut things = BTreeMap::new();
    for entry in walkdir::WalkDir::new(root).min_depth(1) {
        let entry = entry.expect("readable");
        let path = entry.path();
        let thing = if entry.file_type().is_symlink() {
            Thing::Link(fs::read_link(path).expect("a link").to_str().expect("UTF-8").to_owned())
        } else if entry.file_type().is_file() {
            let executable = entry.metadata().expect("readable").permissions().mode() & 0o100 != 0;
            Thing::File { content: fs::read(path).expect("readable").into(), executable }
        } else if fs::read_dir(path).expect("readable").next().is_none() {
            Thing::Directory
        } else {
            continue;
        };
        things.insert(name(root, path), thing);
    }
    things
}
