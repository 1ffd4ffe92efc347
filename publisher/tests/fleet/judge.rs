//! What must hold after every start, whatever happened before it.

use std::collections::BTreeMap;
use std::sync::Arc;

use lamplighter_client::format::release::{RELEASE_BYTES_MAX, Release};
use lamplighter_client::format::signed::SignedDocument;
use lamplighter_client::tree::fs::Base;
use lamplighter_client::trust::state;

use super::device::Device;
use super::publisher::{CHANNEL, Publisher};
use super::releases::{Thing, releases};
use super::tree_view::{state_file, things};
use super::world::PLATFORM;

/// What can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Files of more than one release, or a record of another.
    MixedTree,
    /// Bytes that no release has there.
    WrongBytes,
    /// Something of the user's is gone.
    LostUserFile,
    /// An older build than one that had proved itself, or one that had failed here.
    WentBack,
    /// A build that the head did not offer, had halted or had marked bad.
    Forbidden,
    /// The newest build was not reached although nothing stood in the way.
    Stuck,
}

#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) kind: Kind,
    pub(crate) text: String,
}

/// An update that was found to have happened.
pub(crate) struct Installed {
    pub(crate) build: u64,
    /// Committed from what was staged in an earlier start, maybe offline.
    pub(crate) from_staging: bool,
}

/// Judges the disk of a device after a start at `now`; says whether something newer is installed.
pub(crate) fn judge(
    device: &mut Device,
    publisher: &Publisher,
    now: i64,
    found: &mut Vec<Violation>,
) -> Option<Installed> {
    let mut broken = |kind, text: String| found.push(Violation { kind, text });
    let tree = things(&device.disk, Base::Tree);
    user_files(device, &tree, &mut broken);
    let committing = std::mem::take(&mut device.committing);
    let going_back = device.going_back.take();
    let Some(build) = recorded(device, publisher, &mut broken) else {
        whole(device, &tree, &BTreeMap::new(), &mut broken);
        if let Some(before) = device.installed {
            broken(Kind::MixedTree, format!("build {before} is recorded no more"));
        }
        return None;
    };
    let listed = &releases().made[publisher.builds[&build].tree].things;
    whole(device, &tree, listed, &mut broken);
    if build < device.confirmed {
        broken(Kind::WentBack, format!("build {build} although {} was confirmed", device.confirmed));
    }
    let before = device.installed.replace(build);
    if before.is_some_and(|before| build < before && going_back != Some(before)) {
        broken(Kind::WentBack, format!("build {build} after {before:?}, and nobody wanted to go back"));
    }
    if before.is_some_and(|before| before >= build) {
        return None;
    }
    if device.failed.contains(&build) {
        broken(Kind::WentBack, format!("build {build} again, which had failed here"));
    }
    allowed(device, publisher, build, (now, committing), &mut broken);
    Some(Installed { build, from_staging: committing })
}

/// The build that is recorded, with the manifest that was released with it.
fn recorded(device: &Device, publisher: &Publisher, broken: &mut impl FnMut(Kind, String)) -> Option<u64> {
    let release = state_file(&device.disk, "installed/release")?;
    let manifest = state_file(&device.disk, "installed/manifest.csv")?;
    let parsed = SignedDocument::split(&release, RELEASE_BYTES_MAX)
        .ok()
        .and_then(|document| Release::parse(&document.body).ok())
        .filter(|release| publisher.builds.contains_key(&release.build));
    let Some(parsed) = parsed else {
        broken(Kind::WrongBytes, "the record is no release".into());
        return None;
    };
    let expected = &releases().made[publisher.builds[&parsed.build].tree].manifest;
    if *expected != manifest {
        broken(Kind::MixedTree, format!("the recorded manifest is not that of build {}", parsed.build));
    }
    Some(parsed.build)
}

/// Every listed path holds what is listed, or what the user put there; nothing else is in the tree but what is the user's.
fn whole(
    device: &Device,
    tree: &BTreeMap<String, Thing>,
    listed: &BTreeMap<String, Thing>,
    broken: &mut impl FnMut(Kind, String),
) {
    let is_mine = |path: &str, thing: &Thing| match thing {
        Thing::File { content, .. } => device.ever.get(path).is_some_and(|all| all.contains(&content[..])),
        _ => false,
    };
    for (path, expected) in listed {
        match tree.get(path) {
            Some(thing) if thing == expected || is_mine(path, thing) => {}
            None => {
                // A user's file may stand where a directory would have to be.
                broken(Kind::MixedTree, format!("{path} is missing"));
            }
            Some(thing) => broken(kind_of(path, thing), format!("{path} is {}", shown(thing))),
        }
    }
    for (path, thing) in tree.iter().filter(|(path, _)| !listed.contains_key(*path)) {
        let prefix = format!("{path}/");
        let below = |path: &String| path.starts_with(&prefix);
        let is_way = *thing == Thing::Directory && (listed.keys().any(below) || device.ever.keys().any(below));
        if !is_way && !is_mine(path, thing) {
            broken(kind_of(path, thing), format!("{path} should not be there: {}", shown(thing)));
        }
    }
}

/// Whether any release has this at this path.
fn kind_of(path: &str, thing: &Thing) -> Kind {
    let released = releases().made.iter().any(|made| made.things.get(path) == Some(thing));
    if released || *thing == Thing::Directory { Kind::MixedTree } else { Kind::WrongBytes }
}

fn shown(thing: &Thing) -> String {
    match thing {
        Thing::File { content, executable } => {
            let text = String::from_utf8_lossy(&content[..content.len().min(24)]).into_owned();
            format!("{} bytes, executable {executable}: {text:?}", content.len())
        }
        other => format!("{other:?}"),
    }
}

/// What the user wrote last is at its place, or kept aside.
fn user_files(device: &Device, tree: &BTreeMap<String, Thing>, broken: &mut impl FnMut(Kind, String)) {
    if device.mine.is_empty() {
        return;
    }
    let mut kept: Option<Vec<Arc<[u8]>>> = None;
    for (path, mine) in &device.mine {
        let is_it = |thing: &Thing| matches!(thing, Thing::File { content, .. } if content[..] == mine[..]);
        if tree.get(path).is_some_and(is_it) {
            continue;
        }
        let kept = kept.get_or_insert_with(|| {
            let state = things(&device.disk, Base::State).into_iter();
            let aside = state.filter(|(path, _)| path.starts_with("kept/"));
            aside
                .filter_map(|(_, thing)| if let Thing::File { content, .. } = thing { Some(content) } else { None })
                .collect()
        });
        if !kept.iter().any(|content| content[..] == mine[..]) {
            broken(Kind::LostUserFile, format!("what the user wrote to {path} is nowhere"));
        }
    }
}

/// The head that was accepted last offers `build`, and neither halts nor condemns it.
fn allowed(
    device: &Device,
    publisher: &Publisher,
    build: u64,
    (now, from_staging): (i64, bool),
    broken: &mut impl FnMut(Kind, String),
) {
    let state = state_file(&device.disk, "state").and_then(|bytes| state::parse(&bytes).ok());
    let Some(state) = state else {
        return broken(Kind::Forbidden, format!("build {build} by no head that is remembered"));
    };
    let Some(seen) = state.channels.get(CHANNEL) else {
        return broken(Kind::Forbidden, format!("build {build} by no head of the channel"));
    };
    let Some(head) = publisher.heads.get(seen.sequence as usize - 1) else {
        return broken(Kind::Forbidden, format!("build {build} by head {} that nobody signed", seen.sequence));
    };
    let forbids = head.is_halted(PLATFORM) || head.is_bad(PLATFORM, build);
    // A head after the one it was staged under may offer another build, to others.
    if forbids || (head.releases[0].build != build && !from_staging) {
        let offered = head.releases[0].build;
        let halted = head.is_halted(PLATFORM);
        let text = format!("build {build}, and head {} offers {offered}, halted: {halted}", seen.sequence);
        broken(Kind::Forbidden, text);
    }
    if from_staging {
        return;
    }
    let clock = now + device.ahead;
    if head.expires.seconds() <= clock {
        broken(Kind::Forbidden, format!("build {build} by head {}, stale since {}", seen.sequence, head.expires));
    }
}
