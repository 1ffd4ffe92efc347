//! What a client remembers is lost, overtaken by another run, or left behind by a copy, after the keys of releases were replaced:
//! the record is signed by keys of a root that the pinned one alone does not lead to.

#[path = "support/world.rs"]
mod world;

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use lamplighter_client::error::Error;
use lamplighter_client::machine::Machine;
use lamplighter_client::source::{self, Body, ByteRange, HttpOptions, Kind, Source, SourceError};
use lamplighter_client::trust::state;
use lamplighter_client::updater::Updater;

use world::{World, contents, copy, done, text, write};

const STATE: &str = ".lamplighter/state";
const RECORD: &str = ".lamplighter/installed/release";

/// Replaces the key of releases by a new root.
fn rotate(world: &World) {
    let path = |name: &str| text(&world.path(name));
    let (site, keys, next, file) = (text(&world.site()), path("keys"), path("next"), path("2.root"));
    world.publisher(&["keygen", "--out", &next, "--role", "release"]);
    let (old, new) = (format!("release={keys}/release.pub"), format!("release={next}/release.pub"));
    let swap = ["--remove-key", &old, "--add-key", &new];
    world.publisher(&[&["root", "propose", "--site", &site, "--out", &file][..], &swap].concat());
    world.publisher(&["root", "sign", &file, "--site", &site, "--keys", &keys]);
    world.publisher(&["root", "publish", &file, "--site", &site]);
    fs::copy(world.path("next/release.key"), world.path("keys/release.key")).expect("copied");
}

/// A site whose build 2 is signed by keys of its second root; build 1 was not.
fn rotated() -> World {
    let world = World::new();
    world.release(1, &[("app", b"one")]);
    rotate(&world);
    world.release(2, &[("app", b"two")]);
    world
}

fn installed(world: &World, tree: &str) -> Result<Option<u64>, Error> {
    world.open(tree).installed_build()
}

fn lose(world: &World, tree: &str) {
    fs::remove_file(world.path(tree).join(STATE)).expect("removed");
    assert!(matches!(installed(world, tree), Err(Error::DamagedRecord { .. })), "the root is known by the state alone");
}

#[test]
fn roots_that_got_lost_are_had_again_by_whatever_asks_the_site() {
    type Command = (&'static str, fn(&Updater));
    let commands: [Command; 6] = [
        ("check", |updater| drop(updater.check().expect("checked"))),
        ("look", |updater| drop(updater.look().expect("looked"))),
        ("update", |updater| drop(updater.update(None).expect("up to date"))),
        ("stage", |updater| drop(updater.stage(None).expect("up to date"))),
        ("heal", |updater| drop(updater.heal(None).expect("healed"))),
        ("afresh", |updater| drop(updater.deploy_afresh().expect("deployed"))),
    ];
    let world = rotated();
    for (tree, command) in commands {
        done(world.install(tree));
        lose(&world, tree);
        command(&world.open(tree));
        assert_eq!(installed(&world, tree).expect("remembered"), Some(2), "{tree}");
        let mut damaged = fs::read(world.path(tree).join(STATE)).expect("a state");
        damaged[40] ^= 1;
        write(&world.path(tree).join(STATE), &damaged);
        command(&world.open(tree));
        assert_eq!(installed(&world, tree).expect("remembered"), Some(2), "{tree}");
        assert_eq!(world.contents(tree), contents(&world.path("input-2")), "{tree}");
    }
}

#[test]
fn a_record_that_nobody_signed_stays_damaged_and_nothing_is_installed_over_it() {
    let world = rotated();
    done(world.install("tree"));
    world.release(3, &[("app", b"three")]);
    let mut forged = fs::read(world.path("tree").join(RECORD)).expect("a record");
    let at = forged.windows(7).position(|bytes| bytes == b"build,2").expect("its build");
    forged[at + 6] = b'1';
    write(&world.path("tree").join(RECORD), &forged);
    fs::remove_file(world.path("tree").join(STATE)).expect("removed");
    let updater = world.open("tree");
    let damaged = |error: Error| assert!(matches!(error, Error::DamagedRecord { .. }), "{error}");
    damaged(updater.check().expect_err("damaged"));
    damaged(updater.stage(None).expect_err("damaged"));
    damaged(updater.update(None).expect_err("damaged"));
    damaged(updater.heal(None).expect_err("damaged"));
    assert!(!world.path("tree").join(STATE).exists(), "what did not help is not remembered");
    assert_eq!(world.contents("tree"), contents(&world.path("input-2")));
}

#[test]
fn a_copy_knows_the_roots_and_has_a_place_in_rollouts_of_its_own() {
    let world = rotated();
    done(world.install("tree"));
    let remembered =
        |tree: &str| state::parse(&fs::read(world.path(tree).join(STATE)).expect("a state")).expect("whole");
    world.open("tree").copy_to(world.config("copy").0).expect("copied");
    assert_eq!(installed(&world, "copy").expect("verified"), Some(2));
    let (source, copied) = (remembered("tree"), remembered("copy"));
    assert_ne!(source.rollout_secret, copied.rollout_secret);
    assert_eq!((source.roots, source.channels), (copied.roots.clone(), copied.channels.clone()));
    // What is there already keeps its own.
    world.open("tree").copy_to(world.config("copy").0).expect("copied");
    assert_eq!(remembered("copy"), copied);
}

/// What happens once.
type Meanwhile = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// A machine that reaches a site as it was, and on which something happens while the head is under way.
struct Slow {
    site: PathBuf,
    meanwhile: Meanwhile,
}

impl Machine for Slow {
    fn open_source(&self, _: &str, options: &HttpOptions) -> Result<Arc<dyn Source>, SourceError> {
        let source = source::open(&text(&self.site), options)?;
        Ok(Arc::new(SlowSource { source, meanwhile: self.meanwhile.clone() }))
    }
}

struct SlowSource {
    source: Arc<dyn Source>,
    meanwhile: Meanwhile,
}

impl Source for SlowSource {
    fn open(&self, name: &str, range: Option<ByteRange>, kind: Kind) -> Result<Body, SourceError> {
        let meanwhile = self.meanwhile.lock().expect("no panic").take();
        if let Some(meanwhile) = meanwhile {
            meanwhile();
        }
        self.source.open(name, range, kind)
    }

    fn describe(&self) -> String {
        self.source.describe()
    }
}

#[test]
fn a_look_that_is_overtaken_by_an_update_takes_nothing_back() {
    type Look = fn(&Updater);
    let looks: [Look; 2] =
        [|updater| drop(updater.check().expect("checked")), |updater| drop(updater.look().expect("looked"))];
    for look in looks {
        let world = Arc::new(World::new());
        world.release(1, &[("app", b"one")]);
        done(world.install("tree"));
        world.publisher(&["refresh", "--site", &text(&world.site()), "--force", "--keys", &text(&world.path("keys"))]);
        copy(&world.site(), &world.path("old"));
        let other = world.clone();
        let update = move || {
            rotate(&other);
            other.release(2, &[("app", b"two")]);
            done(other.update("tree"));
        };
        let meanwhile: Meanwhile = Arc::new(Mutex::new(Some(Box::new(update))));
        let mut config = world.config("tree").0;
        config.machine = Arc::new(Slow { site: world.path("old"), meanwhile });
        let updater = Updater::open(config).expect("a tree");
        look(&updater);
        assert_eq!(installed(&world, "tree").expect("the root is still known"), Some(2));
        let status = world.open("tree").status().expect("readable");
        assert_eq!((status.root_version, status.sequence), (2, Some(3)), "nor does the head go back");
    }
}
