//! The main job from end to end: sites written by the publisher, trees changed by the client.

#[path = "support/world.rs"]
mod world;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use lamplighter_client::deploy::RouteTaken;
use lamplighter_client::error::Class;
use lamplighter_client::trust::Idle;
use lamplighter_client::updater::{CheckOutcome, Outcome, Updater};

use world::{World, contents, done, noise, write};

/// Two releases that differ in every way a tree can.
fn two_releases() -> (World, std::path::PathBuf) {
    let world = World::new();
    let big = noise(1, 300_000);
    let one = world.input(
        1,
        &[
            ("app", b"#!/bin/sh\necho one\n"),
            ("big.bin", &big),
            ("data/changed.txt", b"first line\nsecond line\n"),
            ("data/edited.cfg", b"colour=red\n"),
            ("data/gone.txt", b"gone"),
            ("data/moved.bin", &noise(2, 50_000)),
            ("data/same.txt", b"same"),
            ("Case.txt", b"case"),
            ("was-dir/inner.txt", b"inner"),
            ("was-file", b"file"),
        ],
    );
    fs::set_permissions(one.join("app"), fs::Permissions::from_mode(0o755)).expect("a mode");
    fs::create_dir(one.join("empty")).expect("a directory");
    symlink("data/same.txt", one.join("link")).expect("a link");
    world.publish(1, &one, &["--keep", "data/edited.cfg"]);

    let mut changed = big;
    changed[1000..1016].copy_from_slice(b"sixteen bytes ok");
    let two = world.input(
        2,
        &[
            ("app", b"#!/bin/sh\necho one\n"),
            ("big.bin", &changed),
            ("case.txt", b"case"),
            ("data/changed.txt", b"first line\nanother line\n"),
            ("data/edited.cfg", b"colour=blue\n"),
            ("data/same.txt", b"same"),
            ("moved/here.bin", &noise(2, 50_000)),
            ("new.txt", b"new"),
            ("was-dir", b"now a file"),
            ("was-file/inner.txt", b"now a directory"),
        ],
    );
    fs::create_dir(two.join("another-empty")).expect("a directory");
    symlink("new.txt", two.join("link")).expect("a link");
    (world, two)
}

#[test]
fn an_update_changes_everything_that_differs_and_touches_nothing_else() {
    let (world, two) = two_releases();
    done(world.install("tree"));
    assert_eq!(world.contents("tree"), contents(&world.path("input-1")));
    write(&world.path("tree/data/users-own.sav"), b"precious");
    let same = || fs::metadata(world.path("tree/data/same.txt")).map(|m| (m.ino(), m.mtime_nsec())).expect("there");
    let before = same();

    world.publish(2, &two, &["--keep", "data/edited.cfg"]);
    let report = done(world.update("tree"));
    assert_eq!(report.route, RouteTaken::Pack);
    assert!(report.requests <= 3, "{} requests", report.requests);
    assert!(report.kept_aside.is_empty() && report.left_edited.is_empty());
    assert_eq!(fs::read(world.path("tree/data/users-own.sav")).expect("there"), b"precious");
    fs::remove_file(world.path("tree/data/users-own.sav")).expect("removed");
    assert_eq!(world.contents("tree"), contents(&two));
    assert_eq!(same(), before, "an unchanged file keeps its inode and its time");
    let mode = fs::metadata(world.path("tree/app")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o644, "a change of mode alone is made");
    assert!(matches!(world.update("tree"), Ok(Outcome::Idle(Idle::UpToDate))));
}

#[test]
fn edited_files_are_kept_aside_or_in_place_and_never_lost() {
    let (world, two) = two_releases();
    done(world.install("tree"));
    write(&world.path("tree/data/changed.txt"), b"my own line\n");
    write(&world.path("tree/data/edited.cfg"), b"colour=mine\n");
    write(&world.path("tree/data/gone.txt"), b"my own words");
    write(&world.path("tree/new.txt"), b"mine, and in the way");
    world.publish(2, &two, &["--keep", "data/edited.cfg"]);
    let report = done(world.update("tree"));

    assert_eq!(fs::read(world.path("tree/data/edited.cfg")).expect("there"), b"colour=mine\n");
    assert_eq!(fs::read(world.path("tree/data/gone.txt")).expect("there"), b"my own words");
    assert_eq!(fs::read(world.path("tree/data/changed.txt")).expect("there"), b"first line\nanother line\n");
    assert_eq!(fs::read(world.path("tree/new.txt")).expect("there"), b"new");
    let kept: Vec<_> = report.kept_aside.iter().map(|k| fs::read(&k.kept_at).expect("kept")).collect();
    assert_eq!(kept.len(), 2, "{:?}", report.kept_aside);
    assert!(kept.contains(&b"my own line\n".to_vec()) && kept.contains(&b"mine, and in the way".to_vec()));
    let left: Vec<_> = report.left_edited.iter().map(|p| p.as_str()).collect();
    assert_eq!(left, ["data/edited.cfg", "data/gone.txt"]);
}

#[test]
fn a_damaged_file_is_healed_alone_during_an_update() {
    let (world, two) = two_releases();
    done(world.install("tree"));
    let mut damaged = fs::read(world.path("tree/big.bin")).expect("there");
    damaged[200_000] ^= 1;
    write(&world.path("tree/big.bin"), &damaged);
    world.publish(2, &two, &["--keep", "data/edited.cfg"]);
    let report = done(world.update("tree"));
    assert_eq!(report.route, RouteTaken::PackAndObjects, "the rest still comes by pack");
    assert_eq!(world.contents("tree"), contents(&two));
}

#[test]
fn verify_names_what_is_damaged_and_heal_mends_it() {
    let (world, _) = two_releases();
    done(world.install("tree"));
    assert!(world.open("tree").verify(true).expect("verified").damaged.is_empty());
    let mut broken = fs::read(world.path("tree/big.bin")).expect("there");
    broken[77] ^= 4;
    write(&world.path("tree/big.bin"), &broken);
    fs::remove_file(world.path("tree/data/same.txt")).expect("removed");
    fs::remove_file(world.path("tree/link")).expect("removed");
    fs::set_permissions(world.path("tree/app"), fs::Permissions::from_mode(0o644)).expect("a mode");
    fs::remove_dir(world.path("tree/empty")).expect("removed");

    let damaged = world.open("tree").verify(false).expect("verified").damaged;
    let named: Vec<_> = damaged.iter().map(|d| d.path.as_str()).collect();
    assert_eq!(named, ["app", "big.bin", "data/same.txt", "empty", "link"]);
    let report = world.open("tree").heal(None).expect("healed");
    assert_eq!(report.costs.files_written, 2);
    assert_eq!(world.contents("tree"), contents(&world.path("input-1")));
    assert!(world.open("tree").verify(true).expect("verified").damaged.is_empty());
    let again = world.open("tree").heal(None).expect("nothing to heal");
    assert_eq!((again.costs.files_written, again.requests), (0, 0), "a whole tree costs no request");
}

#[test]
fn a_check_asks_for_the_head_alone() {
    let (world, two) = two_releases();
    done(world.install("tree"));
    assert_eq!(world.open("tree").check().expect("checked"), CheckOutcome::Idle(Idle::UpToDate));
    world.publish(2, &two, &["--keep", "data/edited.cfg"]);
    let head = fs::metadata(world.site().join("channels/stable.head")).expect("a head").len();
    assert!(head <= 2048, "{head} bytes");
    // Everything but the head and the roots is out of reach: a check must not miss it.
    for gone in ["releases", "objects", "packs"] {
        fs::rename(world.site().join(gone), world.path(gone)).expect("moved");
    }
    let available = CheckOutcome::Available { build: 2, version: "2.0".into() };
    assert_eq!(world.open("tree").check().expect("checked"), available);
}

#[test]
fn a_tree_without_state_is_adopted_and_updated_by_pack() {
    let (world, two) = two_releases();
    done(world.install("tree"));
    fs::remove_dir_all(world.path("tree/.lamplighter")).expect("removed");
    world.publish(2, &two, &["--keep", "data/edited.cfg"]);
    let adopted = Updater::adopt(world.config("tree").0, &world.origin()).expect("adopted");
    assert_eq!((adopted.build, adopted.rows_intact), (1, adopted.rows));
    let report = done(world.update("tree"));
    assert_eq!(report.route, RouteTaken::Pack);
    assert_eq!(world.contents("tree"), contents(&two));
}

#[test]
fn a_base_no_pack_covers_goes_by_objects_and_fetches_only_what_changed() {
    let world = World::new();
    let library = noise(9, 6_000_000);
    let mut files: Vec<(String, Vec<u8>)> =
        (0..40).map(|i| (format!("lib/{i:02}.txt"), format!("content {i}\n").into_bytes())).collect();
    files.push(("library.bin".into(), library.clone()));
    let as_input = |files: &[(String, Vec<u8>)], build| {
        let borrowed: Vec<(&str, &[u8])> = files.iter().map(|(n, c)| (n.as_str(), c.as_slice())).collect();
        world.input(build, &borrowed)
    };
    let one = as_input(&files, 1);
    world.publish(1, &one, &[]);
    done(world.install("tree"));
    files[40].1[5_900_000] ^= 1;
    files[3].1 = b"changed\n".to_vec();
    let two = as_input(&files, 2);
    world.publish(2, &two, &["--bases", "0"]);
    let report = done(world.update("tree"));
    assert_eq!(report.route, RouteTaken::Objects);
    assert_eq!(world.contents("tree"), contents(&two));
    assert!(report.received_bytes < 5_000_000, "{} of 6000000 bytes", report.received_bytes);
}

#[test]
fn a_site_copied_elsewhere_serves_the_same_update() {
    let (world, two) = two_releases();
    done(world.install("tree"));
    world.publish(2, &two, &["--keep", "data/edited.cfg"]);
    fs::rename(world.site(), world.path("usb")).expect("moved");
    let outcome = world.open("tree").update(Some(&world::text(&world.path("usb"))));
    assert_eq!(done(outcome).route, RouteTaken::Pack);
    assert_eq!(world.contents("tree"), contents(&two));
}

#[test]
fn switching_to_an_older_channel_waits() {
    let (world, two) = two_releases();
    let build_one = world.path("input-1");
    world.publish(2, &two, &["--keep", "data/edited.cfg", "--channel", "beta"]);
    let origin = lamplighter_client::updater::Origin { channel: "beta".into(), ..world.origin() };
    done(Updater::install(world.config("tree").0, &origin));
    let mut updater = world.open("tree");
    updater.follow("stable").expect("a channel");
    let waits = updater.update(None).expect("understood");
    assert!(matches!(waits, Outcome::Idle(Idle::BelowFloor { offered: 1, floor: 3 })), "{waits:?}");
    assert_eq!(world.open("tree").status().expect("a status").settings.channel, "stable");
    world.publish(3, &build_one, &["--keep", "data/edited.cfg"]);
    done(world.update("tree"));
    assert_eq!(world.contents("tree"), contents(&build_one));
}

#[test]
fn old_content_under_a_new_build_only_replaces_the_record() {
    let (world, _) = two_releases();
    done(world.install("tree"));
    world.publish(2, &world.path("input-1"), &["--keep", "data/edited.cfg"]);
    let report = done(world.update("tree"));
    assert_eq!((report.build, report.costs.files_written, report.route), (2, 0, RouteTaken::NoContent));
    assert!(matches!(world.update("tree"), Ok(Outcome::Idle(Idle::UpToDate))));
}

#[test]
fn installing_twice_and_opening_nothing_are_refused() {
    let (world, _) = two_releases();
    done(world.install("tree"));
    let again = world.install("tree").expect_err("refused");
    assert_eq!(again.class(), Class::Usage);
    fs::create_dir(world.path("plain")).expect("a directory");
    let plain = Updater::open(world.config("plain").0).map(|_| ()).expect_err("refused");
    assert_eq!(plain.class(), Class::Usage);
    assert_eq!(fs::read_dir(world.path("plain")).expect("there").count(), 0, "nothing was written");
}

#[test]
fn a_second_updater_is_told_that_the_tree_is_locked() {
    let (world, _) = two_releases();
    done(world.install("tree"));
    let tree = lamplighter_client::tree::Tree::open(&world.path("tree"), None).expect("a tree");
    let _held = tree.lock(std::time::Duration::ZERO).expect("free");
    let refused = world.open("tree").heal(None).expect_err("locked");
    assert_eq!(refused.class(), Class::Locked);
}

/// Asks to stop once this many bytes have come.
struct StopAfter {
    bytes: std::sync::atomic::AtomicU64,
    limit: u64,
    cancel: lamplighter_client::progress::Cancel,
}

impl lamplighter_client::progress::Progress for StopAfter {
    fn event(&self, event: lamplighter_client::progress::Event<'_>) {
        if let lamplighter_client::progress::Event::Advanced { bytes } = event {
            let before = self.bytes.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
            if before + bytes > self.limit {
                self.cancel.cancel();
            }
        }
    }
}

#[test]
fn an_update_that_was_stopped_goes_on_where_it_was() {
    for bases in ["5", "0"] {
        let world = World::new();
        let same = noise(100, 2_000_000);
        world.release(1, &[("same.bin", &same)]);
        done(world.install("tree"));
        let new: Vec<Vec<u8>> = (0..3).map(|seed| noise(seed, 4_500_000)).collect();
        let two = world.input(2, &[("a", &new[0]), ("b", &new[1]), ("c", &new[2]), ("same.bin", &same)]);
        world.publish(2, &two, &["--bases", bases]);

        let (mut config, _) = world.config("tree");
        let limit = 9_500_000;
        config.progress = std::sync::Arc::new(StopAfter { bytes: 0.into(), limit, cancel: config.cancel.clone() });
        let stopped = Updater::open(config).and_then(|u| u.update(None)).expect_err("stopped");
        assert_eq!(stopped.class(), Class::Cancelled, "{stopped}");
        assert_eq!(world.contents("tree"), contents(&world.path("input-1")), "nothing has changed yet");

        let report = done(world.update("tree"));
        assert_eq!(world.contents("tree"), contents(&two));
        assert!(report.received_bytes < 13_500_000 - limit / 2, "{} bytes fetched again", report.received_bytes);
    }
}

#[test]
fn new_content_at_several_paths_is_fetched_once() {
    let world = World::new();
    world.release(1, &[("a", b"one"), ("same.bin", &noise(3, 200_000))]);
    done(world.install("tree"));
    let new = noise(4, 100_000);
    world.release(2, &[("a", &new), ("b", &new), ("c/d", &new), ("same.bin", &noise(3, 200_000))]);
    // One of them is in place already: it must serve the others.
    write(&world.path("tree/b"), &new);
    let report = done(world.update("tree"));
    assert_eq!((report.route, report.requests <= 3), (RouteTaken::Pack, true));
    assert!(report.received_bytes < 110_000, "{} bytes", report.received_bytes);
    assert_eq!(world.contents("tree"), contents(&world.path("input-2")));
}

#[test]
fn new_content_is_not_copied_from_a_file_the_user_edited() {
    let world = World::new();
    let same = noise(3, 200_000);
    let one = world.input(1, &[("a.cfg", b"red"), ("same.bin", &same)]);
    world.publish(1, &one, &["--keep", "a.cfg"]);
    done(world.install("tree"));
    write(&world.path("tree/a.cfg"), b"mine");
    let new = noise(4, 100_000);
    let two = world.input(2, &[("a.cfg", &new), ("b", &new), ("same.bin", &same)]);
    world.publish(2, &two, &["--keep", "a.cfg"]);
    let report = done(world.update("tree"));
    assert_eq!(report.left_edited.len(), 1);
    assert_eq!(fs::read(world.path("tree/a.cfg")).expect("there"), b"mine");
    assert_eq!(fs::read(world.path("tree/b")).expect("there"), new);
}
