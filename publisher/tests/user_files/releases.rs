//! Releases whose files get in each other's way, published once, and the site as it was after each.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::world::{World, copy, write};

/// Builds there are.
pub(crate) const BUILDS: u64 = 8;

/// Files that belong to the user once they are installed.
pub(crate) const KEPT: &str = "settings.ini";

/// xorshift; the same numbers for the same seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % end
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// What may lie at a name of a release.
enum Thing {
    File(Vec<u8>, bool),
    Link(&'static str),
    Empty,
}

/// All releases, in one directory.
pub(crate) struct Releases {
    pub(crate) world: World,
}

impl Releases {
    pub(crate) fn published() -> Self {
        let world = World::new();
        for build in 1..=BUILDS {
            let input = world.path(&format!("input-{build}"));
            lay_out(&input, &release(build));
            world.publish(build, &input, &["--keep", KEPT, "--effort", "1", "--no-proof"]);
            copy(&world.site(), &world.path(&format!("site-{build}")));
        }
        Self { world }
    }

    /// The site as it was when `build` was the newest.
    pub(crate) fn site(&self, build: u64) -> PathBuf {
        self.world.path(&format!("site-{build}"))
    }
}

fn release(build: u64) -> BTreeMap<&'static str, Thing> {
    let mut dice = Dice::new(build + 100);
    let mut things = BTreeMap::new();
    let content = |dice: &mut Dice| match dice.below(3) {
        // Some contents are in several files and releases, some change a little, some are new.
        0 => format!("shared {}", dice.below(3)).into_bytes(),
        1 => [vec![b'x'; 3_000], build.to_string().into_bytes()].concat(),
        _ => format!("of build {build}, {}", dice.below(1_000)).into_bytes(),
    };
    for name in ["app", "data/a", "data/b", "data/deep/c", KEPT, "tool"] {
        if name == "app" || name == KEPT || !dice.one_in(4) {
            let executable = name == "app" || dice.one_in(2);
            things.insert(name, Thing::File(content(&mut dice), executable));
        }
    }
    // One name or another that differs in case alone.
    things.insert(
        if build.is_multiple_of(3) { "ReadMe" } else { "readme" },
        Thing::File(b"the same words".to_vec(), false),
    );
    // A file, a directory with files, an empty directory, or nothing.
    for [plain, inner, other] in [["turns", "turns/in", "turns/more/in"], ["flips", "flips/in", "flips/more/in"]] {
        match dice.below(4) {
            0 => drop(things.insert(plain, Thing::File(content(&mut dice), false))),
            1 => drop(things.insert(plain, Thing::Empty)),
            2 => drop(things.insert(inner, Thing::File(content(&mut dice), false))),
            _ => {
                things.insert(inner, Thing::File(content(&mut dice), true));
                things.insert(other, Thing::File(content(&mut dice), false));
            }
        }
    }
    match dice.below(3) {
        0 => drop(things.insert("link", Thing::Link("app"))),
        1 => drop(things.insert("link", Thing::Link(KEPT))),
        _ => drop(things.insert("link", Thing::File(content(&mut dice), false))),
    }
    if dice.one_in(2) {
        things.insert("bare", Thing::Empty);
    }
    things
}

fn lay_out(root: &Path, things: &BTreeMap<&str, Thing>) {
    for (name, thing) in things {
        let at = root.join(name);
        match thing {
            Thing::File(content, executable) => {
                write(&at, content);
                let mode = if *executable { 0o755 } else { 0o644 };
                fs::set_permissions(&at, fs::Permissions::from_mode(mode)).expect("own file");
            }
            Thing::Link(to) => symlink(to, &at).expect("linked"),
            Thing::Empty => fs::create_dir_all(&at).expect("made"),
        }
    }
}
