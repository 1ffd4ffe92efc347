//! The way to a later pack format: a client leaves aside what it cannot read and says so, and a publisher makes packs only
//! for bases whose client reads them. Format 2 is made up.

#[path = "support/signing.rs"]
mod signing;
#[path = "support/world.rs"]
mod world;

use std::path::PathBuf;

use lamplighter_client::deploy::RouteTaken;
use lamplighter_client::format::document::FileRef;
use lamplighter_client::format::pack;
use lamplighter_client::format::release::{PackRow, RELEASE_BYTES_MAX, Release};
use lamplighter_client::updater::Updater;
use lamplighter_publisher::sign::Role;

use signing::{body_of, change_head, sign};
use world::{PLATFORM, World, contents, done, noise, write};

fn release_path(world: &World, build: u64) -> PathBuf {
    world.site().join(format!("releases/{build}/{PLATFORM}/release"))
}

fn release(world: &World, build: u64) -> Release {
    Release::parse(&body_of(&release_path(world, build), RELEASE_BYTES_MAX)).expect("a release")
}

/// Changes the newest release, `build`, and the head that names it.
fn change(world: &World, build: u64, edit: impl FnOnce(&mut Release)) {
    let mut release = release(world, build);
    edit(&mut release);
    let signed = sign(world, Role::Release, release.to_body());
    write(&release_path(world, build), &signed);
    change_head(world, |head| head.releases[0].file = FileRef::of(&signed));
}

fn tree(changed: u8) -> Vec<u8> {
    let mut content = noise(1, 300_000);
    content[5] ^= changed;
    content
}

/// Build 1 is published and installed in `tree`.
fn first() -> World {
    let world = World::new();
    world.release(1, &[("big.bin", &tree(0)), ("c.txt", b"same")]);
    done(world.install("tree"));
    world
}

fn second(world: &World) {
    world.release(2, &[("big.bin", &tree(1)), ("c.txt", b"same")]);
}

/// A smaller pack of format 2, whose header is not there.
fn later(row: &PackRow) -> PackRow {
    PackRow { format: 2, length: 100, header: FileRef { length: 50, ..row.header }, ..row.clone() }
}

#[test]
fn a_pack_of_a_later_format_leads_to_objects_and_is_named() {
    let world = first();
    second(&world);
    change(&world, 2, |release| release.packs = release.packs.iter().map(later).collect());
    let (config, notices) = world.config("tree");
    let report = done(Updater::open(config).and_then(|updater| updater.update(None)));
    assert_eq!(report.route, RouteTaken::Objects);
    assert!(notices.has("pack_too_new"));
    assert_eq!(world.contents("tree"), contents(&world.path("input-2")));
}

#[test]
fn beside_a_pack_of_a_later_format_the_one_that_can_be_read_is_taken() {
    let world = first();
    second(&world);
    change(&world, 2, |release| release.packs.extend(release.packs.iter().map(later).collect::<Vec<_>>()));
    let (config, notices) = world.config("tree");
    let report = done(Updater::open(config).and_then(|updater| updater.update(None)));
    assert_eq!(report.route, RouteTaken::Pack);
    assert!(!notices.has("pack_too_new"));
    assert_eq!(world.contents("tree"), contents(&world.path("input-2")));
}

#[test]
fn a_pack_is_made_only_for_a_base_whose_client_reads_its_format() {
    for (reads, packs) in [(pack::FORMAT - 1, 0), (pack::FORMAT, 1), (pack::FORMAT + 1, 1)] {
        let world = first();
        change(&world, 1, |release| release.reads_pack = reads);
        second(&world);
        let release = release(&world, 2);
        assert_eq!(release.packs.len(), packs, "a base that reads format {reads}");
        assert!(release.packs.iter().all(|row| row.format == pack::FORMAT) && release.reads_pack == pack::FORMAT);
        done(world.update("tree"));
        assert_eq!(world.contents("tree"), contents(&world.path("input-2")));
    }
}
