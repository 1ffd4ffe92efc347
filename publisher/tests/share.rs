//! A tree on a network share: nothing is staged there unless that was allowed, and the app runs all the same.

#[path = "support/world.rs"]
mod world;

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use lamplighter_client::download::RetryPolicy;
use lamplighter_client::error::{Class, Error};
use lamplighter_client::launch::{Resources, Settings};
use lamplighter_client::launcher::{AsApp, Host, Setup, as_app};
use lamplighter_client::progress::{Cancel, Silent};
use lamplighter_client::single::{SelfConfig, SelfOutcome, SelfUpdate};
use lamplighter_client::source::HttpOptions;
use lamplighter_client::updater::{CheckOutcome, Config, Outcome, StageOutcome, Start, Updater};

use world::{World, contents, done};

/// A machine on which every directory lies on a share.
fn shared(world: &World, tree: &str) -> Config {
    Config { share_of: |_| Some("NFS"), ..world.config(tree).0 }
}

fn allowed(world: &World, tree: &str) -> Config {
    Config { allow_network_share: true, ..shared(world, tree) }
}

fn open(config: Config) -> Updater {
    Updater::open(config).expect("an installed tree")
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>, tree: &Path) {
    let error = result.expect_err("refused");
    assert_eq!((error.code(), error.class()), ("E_NETWORK_SHARE", Class::Disk), "{error}");
    let text = error.to_string();
    for part in ["(NFS)", tree.to_str().expect("Unicode"), "nothing was changed", "--allow-network-share"] {
        assert!(text.contains(part), "expected {part:?} in: {text}");
    }
}

/// Everything below `root`, the state included; but not the lock.
fn everything(root: &Path) -> Vec<(String, Vec<u8>)> {
    let walk = walkdir::WalkDir::new(root).sort_by_file_name().into_iter().map(|entry| entry.expect("readable"));
    let files = walk.filter(|entry| entry.file_type().is_file() && entry.file_name() != "lock");
    files.map(|entry| (world::text(entry.path()), fs::read(entry.path()).expect("readable"))).collect()
}

#[test]
fn nothing_is_staged_on_a_share_unless_that_is_allowed() {
    let world = World::new();
    world.release(1, &[("app", b"one")]);
    let tree = fs::canonicalize(world.dir.path()).expect("a directory").join("tree");
    refused(Updater::install(shared(&world, "tree"), &world.origin()), &tree);
    assert!(!tree.exists(), "no directory is left behind");
    done(Updater::install(allowed(&world, "tree"), &world.origin()));
    assert_eq!(world.contents("tree"), contents(&world.path("input-1")));

    // With nothing to do there is nothing to refuse.
    assert!(matches!(open(shared(&world, "tree")).update(None), Ok(Outcome::Idle(_))));
    world.release(2, &[("app", b"two")]);
    assert!(matches!(open(shared(&world, "tree")).check(), Ok(CheckOutcome::Available { build: 2, .. })));
    let before = everything(&tree);
    refused(open(shared(&world, "tree")).update(None), &tree);
    refused(open(shared(&world, "tree")).stage(None), &tree);
    refused(open(shared(&world, "tree")).heal(None), &tree);
    refused(open(shared(&world, "tree")).deploy_afresh(), &tree);
    let copy = fs::canonicalize(world.dir.path()).expect("a directory").join("copy");
    refused(open(world.config("tree").0).copy_to(shared(&world, "copy")), &copy);
    assert!(!copy.exists());
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let after = everything(&tree);
    assert!(names(&after).iter().all(|name| !name.contains("/staging/")), "{:?}", names(&after));
    let but_state = |files: Vec<(String, Vec<u8>)>| {
        let seen = |name: &str| name.ends_with(".lamplighter/state") || name.ends_with(".lamplighter/last");
        files.into_iter().filter(|(name, _)| !seen(name)).collect::<Vec<_>>()
    };
    assert_eq!(but_state(after), but_state(before), "nothing changed but what was seen of the site, and how it ended");

    done(open(allowed(&world, "tree")).update(None));
    assert_eq!(world.contents("tree"), contents(&world.path("input-2")));
    fs::write(tree.join("app"), b"damaged").expect("written");
    open(allowed(&world, "tree")).heal(None).expect("healed");
    assert_eq!(world.contents("tree"), contents(&world.path("input-2")));
}

#[test]
fn looking_works_on_a_share_and_what_was_staged_by_leave_is_committed() {
    let world = World::new();
    world.release(1, &[("app", b"one")]);
    done(world.install("tree"));
    world.release(2, &[("app", b"two")]);
    let updater = open(shared(&world, "tree"));
    assert!(updater.verify(true).expect("verified").damaged.is_empty());
    assert_eq!(updater.status().expect("known").installed.map(|installed| installed.build), Some(1));
    assert_eq!(updater.why().0.code, "available");
    assert!(updater.notes("en").expect("notes").is_empty());

    assert!(matches!(open(allowed(&world, "tree")).stage(None), Ok(StageOutcome::Ready(_))));
    assert_eq!(updater.prepared().expect("readable").map(|prepared| prepared.build), Some(2));
    updater.commit().expect("committed");
    assert_eq!(world.contents("tree"), contents(&world.path("input-2")));
    updater.rollback().expect("back, by what is on disk");
    assert_eq!(world.contents("tree"), contents(&world.path("input-1")));
}

#[test]
fn a_single_file_on_a_share_stays_as_it_is_unless_that_is_allowed() {
    let world = World::new();
    world.release(1, &[("app", b"one")]);
    let origin = world.origin();
    let executable = world.path("app");
    fs::write(&executable, b"one").expect("written");
    let updater = |allow_network_share| {
        SelfUpdate::new(SelfConfig {
            site: origin.site.clone(),
            app: origin.app.clone(),
            channel: origin.channel.clone(),
            platform: origin.platform.clone(),
            root: origin.root.clone(),
            build: 1,
            executable: Some(executable.clone()),
            state: None,
            http: HttpOptions::default(),
            retry: RetryPolicy::default(),
            progress: Arc::new(Silent),
            cancel: Cancel::default(),
            allow_network_share,
            share_of: |_| Some("NFS"),
        })
        .expect("a program")
    };
    // With nothing to do there is nothing to refuse.
    assert!(matches!(updater(false).update(), Ok(SelfOutcome::Idle(_))));
    world.release(2, &[("app", b"two")]);
    assert!(matches!(updater(false).check(), Ok(CheckOutcome::Available { build: 2, .. })));
    refused(updater(false).update(), &fs::canonicalize(&executable).expect("there"));
    assert_eq!(fs::read(&executable).expect("readable"), b"one");
    assert!(!world.path(".app.lamplighter").exists(), "nothing was begun beside it");
    assert!(matches!(updater(true).update(), Ok(SelfOutcome::Replaced(_))));
    assert_eq!(fs::read(&executable).expect("readable"), b"two");
}

#[derive(Default)]
struct Listener(Mutex<Vec<String>>);

impl Host for Listener {
    fn message(&self, text: &str, _: Option<u8>) {
        self.0.lock().expect("no panic").push(text.to_owned());
    }
}

#[test]
fn an_app_on_a_share_starts_and_its_user_is_told_why_it_is_not_updated() {
    let world = World::new();
    world.release(1, &[("app", b"one")]);
    done(world.install("tree"));
    world.release(2, &[("app", b"two")]);
    for resources in [Resources::Leave, Resources::VerifyAndDeploy, Resources::AlwaysDeploy] {
        let settings = Settings { check_minimum: true, run_in_local: false, check_for_updates: true, resources };
        let setup = Setup { program: Some(world.path("tree/app")), ..Setup::new(shared(&world, "tree"), settings) };
        let listener = Arc::new(Listener::default());
        let host: Arc<dyn Host> = listener.clone();
        let ready = as_app(&setup, &host).expect("a launch");
        assert!(matches!(ready, AsApp::Ready { start: Start::Plain, .. }), "{ready:?}");
        let told = listener.0.lock().expect("no panic").join("\n");
        assert!(told.contains("network share (NFS)"), "{told}");
        assert_eq!(world.contents("tree"), contents(&world.path("input-1")));
    }
}
