//! An update in two halves, and the way back: staged while the app runs, committed later, proved or taken back.

mod support {
    pub mod world;
}

use std::fs;
use std::sync::Arc;

use lamplighter_client::deploy::RouteTaken;
use lamplighter_client::error::{Class, Error};
use lamplighter_client::trust::Idle;
use lamplighter_client::updater::{CheckOutcome, Origin, Outcome, StageOutcome, Start, Updater};
use lamplighter_publisher::serve::Server;
use support::world::{APP, World, copy, done, noise, write};

fn content(world: &World, build: u64) -> std::collections::BTreeMap<String, Vec<u8>> {
    support::world::contents(&world.path(&format!("input-{build}")))
}

/// Publishes `builds` releases, of which the first is installed: `app` changes each time, one file goes, one comes, one stays.
fn started(builds: u64) -> World {
    let world = World::new();
    for build in 1..=builds {
        let app = [noise(1, 60_000), noise(build, 3000)].concat();
        let only = format!("only-{build}");
        world.release(build, &[("app", &app), (&only, b"x"), ("docs/same", b"the same")]);
        if build == 1 {
            done(world.install("tree"));
        }
    }
    world
}

fn take_site_away(world: &World) {
    fs::rename(world.site(), world.path("gone")).expect("renamed");
}

#[test]
fn staging_changes_nothing_and_the_commit_needs_no_site() {
    let world = started(2);
    let before = world.contents("tree");
    let StageOutcome::Ready(prepared) = world.open("tree").stage(None).expect("staged") else { panic!("an offer") };
    assert_eq!((prepared.build, prepared.from_build), (2, Some(1)));
    assert_eq!(world.contents("tree"), before, "the app sees nothing of it");
    assert!(prepared.staged_at.is_dir());
    take_site_away(&world);
    let updater = world.open("tree");
    assert_eq!(updater.prepared().expect("readable").map(|p| p.build), Some(2));
    assert_eq!(updater.commit().expect("committed").build, 2);
    assert_eq!(world.contents("tree"), content(&world, 2));
    assert_eq!(updater.prepared().expect("readable"), None);
    assert!(matches!(updater.commit(), Err(Error::NothingStaged { .. })));
}

#[test]
fn what_was_staged_gives_way_to_a_newer_release_and_to_a_halt() {
    let world = started(2);
    world.open("tree").stage(None).expect("staged");
    world.release(3, &[("app", b"three")]);
    assert!(matches!(world.open("tree").stage(None), Ok(StageOutcome::Ready(p)) if p.build == 3));
    assert_eq!(world.open("tree").commit().expect("committed").build, 3);
    assert_eq!(world.contents("tree"), content(&world, 3));
}

/// Runs `publisher` to steer the channel.
fn steer(world: &World, command: &str, more: &[&str]) {
    let (site, keys) = (world.site(), world.path("keys"));
    let args = [command, "--site", site.to_str().expect("UTF-8"), "--app", APP, "--channel", "stable", "--keys"];
    world.publisher(&[&args[..], &[keys.to_str().expect("UTF-8")], more].concat());
}

#[test]
fn what_was_staged_is_given_up_once_any_look_at_the_site_condemns_it() {
    type Look = fn(&World);
    let looks: [Look; 3] = [
        |world| drop(world.open("tree").check().expect("checked")),
        |world| drop(world.open("tree").look().expect("looked")),
        |world| assert!(matches!(world.update("tree"), Ok(Outcome::Idle(_)))),
    ];
    for (number, look) in looks.into_iter().enumerate() {
        let world = started(2);
        world.open("tree").stage(None).expect("staged");
        if number == 1 {
            steer(&world, "halt", &[]);
        } else {
            // Another build is offered, to nobody yet.
            let input = world.input(3, &[("app", b"three")]);
            world.publish(3, &input, &["--rollout", "0:0"]);
            steer(&world, "bad", &["--build", "2"]);
        }
        assert!(world.open("tree").prepared().expect("readable").is_some(), "{number}: nobody has told it yet");
        look(&world);
        assert_eq!(world.open("tree").prepared().expect("readable"), None, "{number}");
        assert!(matches!(world.open("tree").commit(), Err(Error::NothingStaged { .. })), "{number}");
        assert_eq!(world.contents("tree"), content(&world, 1));
    }
}

#[test]
fn a_damaged_staged_file_is_fetched_again_or_stops_the_commit() {
    let world = started(2);
    let StageOutcome::Ready(prepared) = world.open("tree").stage(None).expect("staged") else { panic!("an offer") };
    let staged = prepared.staged_at.join("0");
    write(&staged, &noise(9, fs::metadata(&staged).expect("staged").len() as usize));
    let gone = world.path("gone");
    fs::rename(world.site(), &gone).expect("renamed");
    assert!(world.open("tree").commit().is_err(), "nothing to put in its place");
    assert_eq!(world.contents("tree"), content(&world, 1));
    fs::rename(&gone, world.site()).expect("renamed");
    world.open("tree").commit().expect("fetched again");
    assert_eq!(world.contents("tree"), content(&world, 2));
}

#[test]
fn an_edit_between_staging_and_commit_is_kept() {
    let world = started(2);
    world.open("tree").stage(None).expect("staged");
    write(&world.path("tree/app"), b"edited");
    let report = world.open("tree").commit().expect("committed");
    assert_eq!(world.contents("tree"), content(&world, 2));
    assert_eq!(report.kept_aside.len(), 1);
    assert_eq!(fs::read(&report.kept_aside[0].kept_at).expect("kept"), b"edited");
}

#[test]
fn a_release_that_is_not_confirmed_goes_back_without_a_site() {
    let world = started(2);
    done(world.update("tree"));
    take_site_away(&world);
    let updater = world.open("tree");
    assert_eq!(updater.previous_build().expect("readable"), Some(1));
    for start in 1..=3 {
        assert_eq!(updater.count_start().expect("counted"), Start::Probation { start });
    }
    assert_eq!(updater.count_start().expect("counted"), Start::GoBack);
    let report = updater.rollback().expect("back");
    assert_eq!((report.build, report.received_bytes), (1, 0));
    assert_eq!(world.contents("tree"), content(&world, 1));
    assert_eq!(updater.count_start().expect("counted"), Start::Plain);
    assert!(matches!(updater.rollback(), Err(Error::NoPrevious { .. })));
    fs::rename(world.path("gone"), world.site()).expect("renamed");
    assert_eq!(world.open("tree").check().expect("checked"), CheckOutcome::Idle(Idle::FailedHere(2)));
    assert!(matches!(world.update("tree"), Ok(Outcome::Idle(Idle::FailedHere(2)))));
    world.release(3, &[("app", b"three")]);
    assert_eq!(done(world.update("tree")).build, 3, "a newer one is taken");
}

#[test]
fn the_way_back_and_a_commit_find_what_was_edited_at_a_mirror() {
    for is_named in [false, true] {
        let (world, old) = (World::new(), noise(1, 5000));
        let mirror = world.path("mirror");
        fs::create_dir(&mirror).expect("made");
        let server = Server::bind(&mirror, "127.0.0.1:0", Arc::new(|_: &str, _, _| {})).expect("bound");
        let place = format!("http://{}", server.address().expect("an address"));
        std::thread::spawn(|| server.run());
        world.release(1, &[("app", &old), ("data", b"one")]);
        let mirrors = if is_named { Vec::new() } else { vec![place.clone()] };
        done(Updater::install(world.config("tree").0, &Origin { mirrors, ..world.origin() }));
        world.release(2, &[("app", &noise(2, 5000)), ("data", b"two")]);
        if is_named {
            steer(&world, "refresh", &["--force", "--mirror", &place]);
        }
        copy(&world.site(), &mirror);
        world.open("tree").stage(None).expect("staged");
        // The staged file is lost, and the site with it.
        let staged = world.open("tree").prepared().expect("readable").expect("staged").staged_at;
        write(&world.path("tree/app"), b"edited");
        for file in fs::read_dir(staged).expect("a directory").map(|entry| entry.expect("readable").path()) {
            if fs::metadata(&file).expect("there").len() == 5000 {
                write(&file, &noise(9, 5000));
            }
        }
        take_site_away(&world);
        world.open("tree").commit().expect("from the mirror");
        assert_eq!(world.contents("tree"), content(&world, 2));
        assert_eq!(world.open("tree").rollback().expect("from the mirror").build, 1);
        assert_eq!(world.contents("tree"), content(&world, 1));
    }
}

#[test]
fn a_confirmed_release_has_no_way_back_and_takes_no_space() {
    let world = started(2);
    done(world.update("tree"));
    let updater = world.open("tree");
    assert!(world.path("tree/.lamplighter/previous").is_dir());
    updater.confirm_healthy().expect("confirmed");
    assert!(!world.path("tree/.lamplighter/previous").exists());
    assert!(matches!(updater.rollback(), Err(Error::NoPrevious { .. })));
    updater.confirm_healthy().expect("a second time");
}

#[test]
fn a_build_is_confirmed_only_while_it_is_the_installed_one() {
    let world = started(2);
    done(world.update("tree"));
    assert_eq!(world.open("tree").count_start().expect("counted"), Start::Probation { start: 1 });
    world.release(3, &[("app", &noise(3, 5000))]);
    done(world.update("tree"));
    // The app of build 2 still runs, and says that it works.
    world.open("tree").confirm_build(2).expect("no matter");
    assert_eq!(world.open("tree").previous_build().expect("readable"), Some(1), "3 has proved nothing");
    world.open("tree").confirm_build(3).expect("confirmed");
    assert_eq!(world.open("tree").previous_build().expect("readable"), None);
}

#[test]
fn over_a_release_that_could_not_be_left_the_way_back_stays_the_same() {
    let world = started(2);
    done(world.update("tree"));
    let config = world.config("tree").0;
    config.cancel.cancel();
    let stopped = Updater::open(config).expect("a tree").rollback();
    assert!(matches!(stopped, Err(error) if error.class() == Class::Cancelled));
    assert_eq!(world.contents("tree"), content(&world, 2), "nothing was changed");
    world.release(3, &[("app", &noise(3, 5000))]);
    done(world.update("tree"));
    assert_eq!(world.open("tree").previous_build().expect("readable"), Some(1), "2 is not one to go back to");
}

/// A disk that takes no writes keeps a whole release from nothing; confirmed, it gives space back.
#[test]
fn a_start_that_cannot_be_counted_is_a_start_all_the_same() {
    let world = started(2);
    done(world.update("tree"));
    let in_the_way = world.path("tree/.lamplighter/launch.tmp");
    fs::create_dir_all(in_the_way.join("x")).expect("made");
    for _ in 0..5 {
        assert_eq!(world.open("tree").count_start().expect("started"), Start::Probation { start: 1 });
    }
    fs::remove_dir_all(in_the_way).expect("removed");
    assert_eq!(world.open("tree").count_start().expect("counted"), Start::Probation { start: 1 });
    world.open("tree").confirm_build(2).expect("confirmed");
    assert_eq!(world.open("tree").previous_build().expect("readable"), None);
}

#[test]
fn over_a_release_that_never_proved_itself_the_way_back_stays_the_same() {
    let world = started(2);
    done(world.update("tree"));
    assert_eq!(world.open("tree").count_start().expect("counted"), Start::Probation { start: 1 });
    world.release(3, &[("app", &noise(3, 5000)), ("more", b"m"), ("docs/same", b"not the same")]);
    done(world.update("tree"));
    assert_eq!(world.open("tree").previous_build().expect("readable"), Some(1), "2 was started and never confirmed");
    take_site_away(&world);
    assert_eq!(world.open("tree").rollback().expect("back").build, 1);
    assert_eq!(world.contents("tree"), content(&world, 1));
}

#[test]
fn without_a_launcher_the_next_update_confirms() {
    let world = started(2);
    done(world.update("tree"));
    world.release(3, &[("app", b"three")]);
    done(world.update("tree"));
    assert_eq!(world.open("tree").previous_build().expect("readable"), Some(2));
}

#[test]
fn a_file_that_only_the_old_release_had_comes_back_with_the_mode_it_had() {
    let world = started(2);
    done(world.update("tree"));
    assert!(!world.path("tree/only-1").exists());
    world.open("tree").rollback().expect("back");
    assert_eq!(fs::read(world.path("tree/only-1")).expect("back"), b"x");
    assert!(world.open("tree").verify(true).expect("verified").damaged.is_empty());
}

#[test]
fn everything_is_fetched_afresh_and_only_what_differs_is_replaced() {
    let world = started(1);
    write(&world.path("tree/app"), b"damaged");
    write(&world.path("tree/mine"), b"the user's");
    let report = world.open("tree").deploy_afresh().expect("deployed");
    assert_eq!(report.route, RouteTaken::Objects);
    assert!(report.received_bytes > 60_000, "all of it came from the site");
    let mut expected = content(&world, 1);
    expected.insert("mine".into(), b"the user's".to_vec());
    assert_eq!(world.contents("tree"), expected);
}
