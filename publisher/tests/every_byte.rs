//! Every single byte of every document, manifest, objects file and pack header of a small site, changed to three other
//! values: nothing is accepted, nothing on disk changes, nothing panics.
//!
//! One exception is meant and asserted as such: the text of an untrusted comment, which no signature covers and nobody reads.
//! A signature more than the threshold needs is the other; the head with two signatures has its own test.

#[path = "../../client/tests/support/scoreboard.rs"]
mod scoreboard;
#[path = "support/signing.rs"]
mod signing;
#[path = "support/world.rs"]
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lamplighter_client::download::{JumpingTiming, RetryPolicy};
use lamplighter_client::error::Error;
use lamplighter_client::format::document::FileRef;
use lamplighter_client::format::release::Release;
use lamplighter_client::format::root::Root;
use lamplighter_client::format::signed::SignedDocument;
use lamplighter_client::updater::{CheckOutcome, Config, Origin, Outcome, Updater};
use lamplighter_publisher::sign::Role;

use serde_json::json;
use signing::{HEAD, sign};
use world::{APP, PLATFORM, World, contents, copy, done, noise, text};

/// What is done to a byte, one after the other: the lowest bit, the bit of upper and lower case, all bits.
const CHANGES: [u8; 3] = [0x01, 0x20, 0xff];

fn hasty(config: Config) -> Config {
    let retry = RetryPolicy {
        tries_max: 1,
        document_tries_max: 1,
        timing: Arc::new(JumpingTiming::default()),
        ..RetryPolicy::default()
    };
    Config { retry, ..config }
}

/// Build 1 installed in `tree`; build 2 published, with a further root, which the head names.
fn small_site() -> World {
    let world = World::new();
    let tool = noise(3, 3000);
    world.release(1, &[("app", b"one"), ("docs/read me.txt", b"first words\n"), ("tool", &tool), ("same", b"same")]);
    done(world.install("tree"));
    rotate_root(&world);
    let input = world.input(2, &[("app", b"two"), ("docs/read me.txt", b"other words\n"), ("same", b"same")]);
    let mut tool = tool;
    tool[1000] ^= 1;
    world::write(&input.join("tool"), &tool);
    fs::set_permissions(input.join("tool"), fs::Permissions::from_mode(0o755)).expect("set");
    fs::create_dir(input.join("empty")).expect("made");
    std::os::unix::fs::symlink("app", input.join("link")).expect("linked");
    world.publish(2, &input, &[]);
    world
}

/// Root 2: the same keys, signed by them.
fn rotate_root(world: &World) {
    let first = fs::read(world.site().join("root/1.root")).expect("a root");
    let first = Root::parse(&SignedDocument::split(&first, 1 << 16).expect("signed").body).expect("a root");
    let second = Root { version: 2, ..first };
    let bytes = sign(world, Role::Root, second.to_body());
    fs::write(world.site().join("root/2.root"), bytes).expect("written");
}

/// Bytes of the text of untrusted comments.
fn comments(bytes: &[u8]) -> Vec<Range<usize>> {
    const LABEL: &[u8] = b"\nuntrusted comment: ";
    let starts = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(LABEL)).map(|at| at + LABEL.len());
    starts.map(|start| start..start + bytes[start..].iter().position(|b| *b == b'\n').expect("a line")).collect()
}

type Everything = BTreeMap<String, Vec<u8>>;

/// Everything below `root`, the state directory included; but not the lock, what a download may leave to go on with, and how the
/// last attempt ended, which decides nothing.
fn everything(root: &Path) -> Everything {
    let walk = walkdir::WalkDir::new(root).min_depth(1).sort_by_file_name().into_iter().map(|e| e.expect("readable"));
    let read = walk.filter(|e| !e.file_type().is_dir()).map(|entry| {
        let name = text(entry.path().strip_prefix(root).expect("below the root"));
        let link = || fs::read_link(entry.path()).map(|to| text(&to).into_bytes());
        (name, if entry.file_type().is_symlink() { link() } else { fs::read(entry.path()) }.expect("readable"))
    });
    let free = [".lamplighter/lock", ".lamplighter/last"];
    read.filter(|(name, _)| !free.contains(&name.as_str()) && !name.starts_with(".lamplighter/staging")).collect()
}

/// A copy of the publisher's site and of the tree, which follows that copy.
fn copy_of(world: &World) -> World {
    let own = World { dir: tempfile::tempdir().expect("a directory") };
    for dir in ["site", "tree", "keys"] {
        copy(&world.path(dir), &own.path(dir));
    }
    let settings = own.path("tree/.lamplighter/settings");
    let moved = fs::read_to_string(&settings).expect("settings").replace(&text(&world.site()), &text(&own.site()));
    fs::write(&settings, moved).expect("written");
    own
}

/// What one change of one byte came to.
enum Came {
    /// As it must.
    Refused,
    /// The text of a comment was changed, and all went on as without the change.
    NoMatter,
    /// As it must not.
    Accepted(String),
}

#[derive(Default)]
struct Tally {
    refused: usize,
    no_matter: usize,
    accepted: Vec<String>,
}

/// Runs `attempt` with each byte of `range` of the site's file `name` changed in each way, in two threads with a copy of
/// `world` each; `prepare` makes the copy ready. `attempt` is told what the tree holds, and whether the byte is text of a
/// comment.
fn each_byte(
    world: &World,
    name: &str,
    range: Option<Range<usize>>,
    prepare: impl Fn(&World) + Sync,
    attempt: impl Fn(&World, &Everything, bool) -> Came + Sync,
) -> Tally {
    let good = fs::read(world.site().join(name)).expect("there");
    let (free, range) = (comments(&good), range.unwrap_or(0..good.len()));
    let next = AtomicUsize::new(range.start);
    let work = || {
        let own = copy_of(world);
        prepare(&own);
        let before = everything(&own.path("tree"));
        let mut tally = Tally::default();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= range.end {
                return tally;
            }
            for change in CHANGES {
                let mut bad = good.clone();
                bad[at] ^= change;
                fs::write(own.site().join(name), &bad).expect("written");
                match attempt(&own, &before, free.iter().any(|comment| comment.contains(&at))) {
                    Came::Refused => tally.refused += 1,
                    Came::NoMatter => tally.no_matter += 1,
                    Came::Accepted(what) => tally.accepted.push(format!("{name}, byte {at} ^ {change:#04x}: {what}")),
                }
            }
        }
    };
    let mut sum = std::thread::scope(|scope| {
        let (one, other) = (scope.spawn(work), scope.spawn(work));
        let (mut sum, other) = (one.join().expect("no panic"), other.join().expect("no panic"));
        sum.refused += other.refused;
        sum.no_matter += other.no_matter;
        sum.accepted.extend(other.accepted);
        sum
    });
    sum.accepted.sort();
    note(name, sum.refused, sum.no_matter, sum.accepted.len());
    assert_eq!(sum.refused + sum.no_matter + sum.accepted.len(), range.len() * CHANGES.len());
    sum
}

fn note(name: &str, refused: usize, without_effect: usize, accepted: usize) {
    let changes = refused + without_effect + accepted;
    let figures = json!({ "of": name, "changes": changes, "without_effect": without_effect, "accepted": accepted });
    scoreboard::note(&format!("every-byte-{}", name.replace(['/', ' '], "-")), figures);
}

fn open(world: &World) -> Updater {
    Updater::open(hasty(world.config("tree").0)).expect("an installed tree")
}

/// An update with a changed file: refused, and not a byte of the tree or its state is another, those of `but` excepted.
fn update(world: &World, before: &Everything, but: &[&str]) -> Came {
    let outcome = open(world).update(None);
    let after = everything(&world.path("tree"));
    let changed = |name: &&String| before.get(*name) != after.get(*name);
    let changed: BTreeSet<_> =
        before.keys().chain(after.keys()).filter(changed).filter(|name| !but.contains(&name.as_str())).collect();
    if !changed.is_empty() {
        return Came::Accepted(format!("{changed:?} changed after {outcome:?}"));
    }
    match outcome {
        Err(_) => Came::Refused,
        Ok(other) => Came::Accepted(format!("{other:?}")),
    }
}

/// What a change to the text of a comment must come to: nothing. Control characters and other alphabets are refused.
fn no_matter(world: &World) -> Came {
    match open(world).check() {
        Ok(CheckOutcome::Available { build: 2, .. }) => Came::NoMatter,
        Err(_) => Came::Refused,
        Ok(other) => Came::Accepted(format!("{other:?}")),
    }
}

fn install(world: &World, root: Option<Vec<u8>>) -> Result<Outcome, Error> {
    let origin = Origin { root: root.unwrap_or_else(|| world.origin().root), ..world.origin() };
    Updater::install(hasty(world.config("fresh").0), &origin)
}

/// What a refused installation left: nothing but what it needs to be tried again from the same pinned root.
fn left_by_refusal(tree: &Path) -> Vec<String> {
    let names = everything(tree).into_keys();
    names.filter(|name| !["root", "settings", "state"].iter().any(|n| *name == format!(".lamplighter/{n}"))).collect()
}

/// A first installation from a changed site: refused, and nothing of the release lies there.
fn fresh(world: &World) -> Came {
    let outcome = install(world, None);
    let left = left_by_refusal(&world.path("fresh"));
    let _ = fs::remove_dir_all(world.path("fresh"));
    match outcome {
        Err(_) if left.is_empty() => Came::Refused,
        other => Came::Accepted(format!("{other:?}, left {left:?}")),
    }
}

fn none(tally: &Tally) {
    let first = &tally.accepted[..tally.accepted.len().min(5)];
    assert!(first.is_empty(), "{} accepted, the first: {first:#?}", tally.accepted.len());
}

#[test]
fn no_byte_of_a_head_root_or_release_can_be_changed() {
    let world = small_site();
    let release = format!("releases/2/{PLATFORM}/release");
    for (name, has_free_text) in [(HEAD, true), ("root/2.root", true), (release.as_str(), false)] {
        let attempt = |own: &World, before: &Everything, free: bool| {
            if free && has_free_text { no_matter(own) } else { update(own, before, &[]) }
        };
        let tally = each_byte(&world, name, None, |_| {}, attempt);
        none(&tally);
        assert_eq!(tally.no_matter > 0, has_free_text, "the head names the release's comments, too");
    }
    done(open(&world).update(None));
    assert_eq!(world.contents("tree"), contents(&world.path("input-2")));
}

#[test]
fn no_byte_of_a_pinned_root_can_be_changed() {
    let world = small_site();
    let good = world.origin().root;
    let free = comments(&good);
    let mut refused = 0;
    for at in (0..good.len()).filter(|at| !free.iter().any(|comment| comment.contains(at))) {
        for change in CHANGES {
            let mut bad = good.clone();
            bad[at] ^= change;
            let outcome = install(&world, Some(bad));
            assert!(outcome.is_err(), "byte {at} ^ {change:#04x}: {outcome:?}");
            assert!(!world.path("fresh").exists(), "byte {at} ^ {change:#04x} left something");
            refused += 1;
        }
    }
    note("pinned root", refused, 0, 0);
    done(install(&world, None));
}

#[test]
fn no_byte_of_a_manifest_or_an_objects_file_can_be_changed() {
    let world = small_site();
    for file in ["manifest.csv", "objects.csv"] {
        none(&each_byte(&world, &format!("releases/2/{PLATFORM}/{file}"), None, |_| {}, |own, _, _| fresh(own)));
    }
    done(install(&world, None));
    assert_eq!(world.contents("fresh"), contents(&world.path("input-2")));
}

#[test]
fn no_byte_of_a_pack_header_can_be_changed() {
    let world = small_site();
    let release = fs::read(world.site().join(format!("releases/2/{PLATFORM}/release"))).expect("a release");
    let release = Release::parse(&SignedDocument::split(&release, 1 << 20).expect("signed").body).expect("a release");
    let [pack] = &release.packs[..] else { panic!("one pack: {:?}", release.packs) };
    let header: FileRef = pack.header;
    let name = lamplighter_client::format::layout::pack(&header.blake3);
    // Without objects the pack is the only way.
    let only_the_pack = |own: &World| fs::remove_dir_all(own.site().join("objects")).expect("removed");
    let header = Some(0..usize::try_from(header.length).expect("small"));
    // The head and the release are true, and remembered.
    let state = &[".lamplighter/state"];
    none(&each_byte(&world, &name, header, only_the_pack, |own, before, _| update(own, before, state)));
    only_the_pack(&world);
    done(open(&world).update(None));
    assert_eq!(world.contents("tree"), contents(&world.path("input-2")));
}

#[test]
fn a_signature_more_than_the_threshold_needs_may_break_and_changes_nothing() {
    let world = World::new();
    let second = world.path("more");
    world.publisher(&["keygen", "--out", &text(&second)]);
    for suffix in ["key", "pub"] {
        let to = world.path(&format!("keys/channel-2.{suffix}"));
        fs::copy(second.join(format!("channel.{suffix}")), to).expect("copied");
    }
    // A root that knows both channel keys, one of which is enough.
    fs::remove_dir_all(world.site()).expect("removed");
    world.publisher(&["init", "--site", &text(&world.site()), "--app", APP, "--keys", &text(&world.path("keys"))]);
    world.release(1, &[("app", b"one")]);
    done(world.install("tree"));
    world.release(2, &[("app", b"two")]);
    let head = fs::read(world.site().join(HEAD)).expect("a head");
    assert_eq!(SignedDocument::split(&head, 1 << 14).expect("signed").signatures.len(), 2);
    let body = head.windows(5).position(|w| w == b"\nend\n").expect("an end") + 5;
    none(&each_byte(&world, HEAD, Some(0..body), |_| {}, |own, before, _| update(own, before, &[])));
    let tally = each_byte(&world, HEAD, Some(body..head.len()), |_| {}, |own, _, _| no_matter(own));
    none(&tally);
    assert!(tally.no_matter > 300, "one of two signatures is enough");
}
