//! Which files go, in which order: a pure function of what lies in the site.
//!
//! A file goes if the release it belongs to goes, or if no release that stays names it. Objects and packs that no signed
//! release ever named, and documents without a signed release, may be those of a run or an upload under way: they stay
//! until nobody has written them for as long as the grace. Files of no known name are none of our business.
//!
//! Order: signed releases first, so that nothing names what is gone; then their other documents; then objects; then packs.

use std::collections::BTreeSet;

use lamplighter_client::format::digest::Blake3;
use lamplighter_client::format::layout;
use lamplighter_client::format::release::is_language;
use lamplighter_client::format::text::{Time, is_token, number};

use super::keep::{Id, Rules};
use crate::build_release::shard::is_note;

/// A file of the site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its name in the site.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// When it was last written.
    pub modified: Time,
}

/// What documents say about the files of a site.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// Releases that stay.
    pub kept: BTreeSet<Id>,
    /// Releases that go.
    pub dropped: BTreeSet<Id>,
    /// Objects and packs that the former name and need.
    pub needed: BTreeSet<String>,
    /// Objects and packs that a release names, whichever.
    pub named: BTreeSet<String>,
}

/// What is to happen to the files of a site.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Files that go, group by group: all of one are gone before the next begins.
    pub groups: [Vec<File>; 4],
    /// Files of no known name; they stay.
    pub unknown: Vec<String>,
    /// Files that stay, the unknown ones apart.
    pub kept_files: usize,
    /// Their bytes.
    pub kept_bytes: u64,
}

impl Plan {
    /// All that goes, in order.
    pub fn files(&self) -> impl Iterator<Item = &File> {
        self.groups.iter().flatten()
    }

    /// Bytes of all that goes.
    pub fn bytes(&self) -> u64 {
        self.files().map(|file| file.bytes).sum()
    }
}

/// What a file is, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// A root, a head, the page for people.
    Standing,
    Release(Id),
    /// Another file of a release, signed or not.
    OfRelease(Id),
    /// What one machine of several says of its packs.
    ShardNote,
    Object,
    Pack,
}

/// Sorts `files` into what goes and what stays.
pub fn sweep(mut files: Vec<File>, reach: &Reach, rules: &Rules) -> Plan {
    files.sort_by(|a, b| a.name.cmp(&b.name));
    let mut plan = Plan::default();
    for file in files {
        let Some(kind) = kind(&file.name) else {
            plan.unknown.push(file.name);
            continue;
        };
        let is_old = !rules.is_within(file.modified, rules.grace_seconds);
        let unnamed = |name: &str| !reach.needed.contains(name) && (is_old || reach.named.contains(name));
        let group = match &kind {
            Kind::Standing => None,
            Kind::Release(id) => reach.dropped.contains(id).then_some(0),
            Kind::OfRelease(id) => {
                let goes = reach.dropped.contains(id) || (is_old && !reach.kept.contains(id));
                goes.then_some(1)
            }
            Kind::ShardNote => is_old.then_some(1),
            Kind::Object => unnamed(&file.name).then_some(2),
            Kind::Pack => unnamed(&file.name).then_some(3),
        };
        match group {
            Some(group) => plan.groups[group].push(file),
            None => {
                plan.kept_files += 1;
                plan.kept_bytes += file.bytes;
            }
        }
    }
    plan
}

fn kind(name: &str) -> Option<Kind> {
    let parts: Vec<&str> = name.split('/').collect();
    let id = |build: &str, platform: &str| -> Option<Id> {
        is_token(platform).then(|| number(build).map(|build| (platform.to_owned(), build))).flatten()
    };
    match parts[..] {
        _ if is_note(name) => Some(Kind::ShardNote),
        ["index.html"] => Some(Kind::Standing),
        ["root", file] => number(file.strip_suffix(".root")?).map(|_| Kind::Standing),
        ["channels", file] => is_token(file.strip_suffix(".head")?).then_some(Kind::Standing),
        ["releases", build, platform, "release"] => id(build, platform).map(Kind::Release),
        ["releases", build, platform, file] => {
            let notes = |name: &str| name.strip_prefix("notes.")?.strip_suffix(".md").map(is_language);
            let known = matches!(file, "manifest.csv" | "objects.csv") || notes(file) == Some(true);
            id(build, platform).filter(|_| known).map(Kind::OfRelease)
        }
        ["objects", _, hex] => (layout::object(&hex.parse::<Blake3>().ok()?) == name).then_some(Kind::Object),
        ["packs", _, hex] => (layout::pack(&hex.parse::<Blake3>().ok()?) == name).then_some(Kind::Pack),
        _ => None,
    }
}
