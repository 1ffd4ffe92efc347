//! A user who does to his tree what users do.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::releases::{Dice, KEPT};

/// Begins every content the user writes.
const MINE: &[u8] = b"mine: ";

/// Names the user does something at: listed ones, some of them in another case, and names of his own.
const NAMES: &[&str] = &[
    "app",
    "data/a",
    "data/b",
    "data/deep/c",
    KEPT,
    "tool",
    "readme",
    "ReadMe",
    "turns",
    "turns/in",
    "turns/more/in",
    "flips",
    "flips/in",
    "link",
    "bare",
    "bare/own",
    "data/own",
    "data/deep/own",
    "own",
    "Own",
    "own-dir/x",
    "turns/own/y",
];

/// The user of one tree.
pub(crate) struct User {
    root: PathBuf,
    history: u64,
    written: u64,
    /// Names he did something at since the tree was last put right, in lower case.
    pub(crate) touched: BTreeSet<String>,
    /// What he wrote and did not take away, with how often it stands somewhere.
    expected: BTreeMap<Vec<u8>, usize>,
}

impl User {
    pub(crate) fn of(root: PathBuf, history: u64) -> Self {
        Self { root, history, written: 0, touched: BTreeSet::new(), expected: BTreeMap::new() }
    }

    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Does one thing, and tells what.
    pub(crate) fn act(&mut self, dice: &mut Dice) -> String {
        let name = *dice.of(NAMES);
        self.touched.insert(name.to_lowercase());
        let at = self.root.join(name);
        let what = match dice.below(8) {
            0..=2 => self.write(&at),
            3 => clear(&at),
            4 => {
                clear(&at);
                self.write(&at.join("inside"))
            }
            // Through a link it would be done to what the link leads to.
            5 if at.is_symlink() => "is a link",
            5 => {
                let mode = if dice.one_in(2) { 0o755 } else { 0o600 };
                fs::set_permissions(&at, fs::Permissions::from_mode(mode)).map_or("cannot change its mode", |()| "mode")
            }
            6 => {
                let other = if dice.one_in(2) { name.to_uppercase() } else { (*dice.of(NAMES)).to_owned() };
                self.touched.insert(other.to_lowercase());
                fs::rename(&at, self.root.join(other)).map_or("cannot rename", |()| "renamed")
            }
            _ => {
                clear(&at);
                at.parent().map(fs::create_dir_all).and_then(Result::ok);
                std::os::unix::fs::symlink("app", &at).map_or("cannot link", |()| "linked")
            }
        };
        self.expected = self.found();
        format!("the user, {name}: {what}")
    }

    /// Takes away a link of his that stands where a directory of the release must be: the client refuses to go through it.
    pub(crate) fn unlink(&mut self) -> bool {
        let links = ["turns", "flips", "bare", "data", "data/deep", "turns/more", "flips/more"];
        let there = links.iter().map(|name| self.root.join(name)).filter(|at| at.is_symlink());
        let gone = there.map(fs::remove_file).filter(Result::is_ok).count();
        self.expected = self.found();
        gone > 0
    }

    fn write(&mut self, at: &Path) -> &'static str {
        self.written += 1;
        let content = [MINE, format!("{} of {}", self.written, self.history).as_bytes()].concat();
        if let Some(parent) = at.parent()
            && fs::create_dir_all(parent).is_err()
        {
            return "cannot make its directory";
        }
        // Editors write beside it and rename, so nothing is written through a link.
        let beside = at.with_file_name("being-written");
        fs::write(&beside, content).expect("his own directory");
        fs::rename(&beside, at).map_or_else(
            |_| {
                let _ = fs::remove_file(&beside);
                "cannot be written"
            },
            |()| "written",
        )
    }

    /// Everything of his in the tree and in what was kept.
    fn found(&self) -> BTreeMap<Vec<u8>, usize> {
        let mut found = BTreeMap::new();
        let state = self.root.join(".lamplighter");
        for root in [self.root.clone(), state.join("kept")] {
            let walk = walkdir::WalkDir::new(&root).into_iter();
            let below = walk.filter_entry(|entry| entry.path() != state).filter_map(Result::ok);
            for entry in below.filter(|entry| entry.file_type().is_file()) {
                let content = fs::read(entry.path()).expect("readable");
                if content.starts_with(MINE) {
                    *found.entry(content).or_insert(0) += 1;
                }
            }
        }
        found
    }

    /// What of his is not there any more.
    pub(crate) fn lost(&self) -> Vec<String> {
        let found = self.found();
        let lost = self.expected.keys().filter(|content| !found.contains_key(*content));
        lost.map(|content| String::from_utf8_lossy(content).into_owned()).collect()
    }

    /// Whether what lies at `name` may differ from the release: he did something there, above it or below it.
    pub(crate) fn was_at(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        let below = |one: &str, other: &str| one.strip_prefix(other).is_some_and(|rest| rest.starts_with('/'));
        self.touched.iter().any(|touched| *touched == name || below(&name, touched) || below(touched, &name))
    }
}

/// Takes away what lies there, the user's own included.
fn clear(at: &Path) -> &'static str {
    let gone = match fs::symlink_metadata(at) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(at),
        Ok(_) => fs::remove_file(at),
        Err(error) => Err(error),
    };
    gone.map_or("was not there", |()| "deleted")
}
