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
use lamplighter_client::updater::Updater;

use world::{World, copy, done, text};

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
