//! A small site with every kind of file, a tree that is three releases behind, and one update of it through a server that
//! misbehaves.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lamplighter_client::download::{JumpingTiming, RetryPolicy, Timing};
use lamplighter_client::error::Error;
use lamplighter_client::source::{HttpOptions, Proxy};
use lamplighter_client::updater::{Config, Outcome, Updater};

use super::hostile::{Fault, Hostile};
use super::world::{World, contents, copy, done, noise, set_site, text};

/// The newest build in the site; the tree has the first.
const NEWEST: u64 = 4;

/// Wait after which silence is an error, where a case is not about silence: longer than any machine is busy.
pub(crate) const PATIENT: Duration = Duration::from_secs(60);

/// A kind of file in a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Root,
    Head,
    Release,
    Manifest,
    Index,
    Object,
    Pack,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] =
        [Self::Root, Self::Head, Self::Release, Self::Manifest, Self::Index, Self::Object, Self::Pack];

    /// Whether nobody knows its length and digest before it is there.
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Self::Root | Self::Head)
    }

    /// Whether an update that goes by pack asks for it.
    fn is_of_packs(self) -> bool {
        !matches!(self, Self::Manifest | Self::Index | Self::Object)
    }
}

/// Which of the requests for a kind of file meets the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum When {
    /// The first one, once.
    First,
    /// The one in the middle, once: of several files for the second one; for content after a first transfer was cut in half.
    Middle,
    /// The last one and all that are sent in its place, for ever; for content after a first transfer was cut in half.
    Last,
}

impl When {
    pub(crate) const ALL: [Self; 3] = [Self::First, Self::Middle, Self::Last];
}

/// The site, what is in it, and the tree before the update.
pub(crate) struct Scene {
    pub(crate) world: World,
    /// Names of the files of each kind, in the order the client has to ask for them, objects by name.
    names: BTreeMap<Kind, Vec<String>>,
    /// What the name of the newest file of each kind had in it before, or what its older counterpart has.
    older: BTreeMap<Kind, Vec<u8>>,
    /// What the tree holds by its build.
    trees: BTreeMap<u64, BTreeMap<String, Vec<u8>>>,
}

impl Scene {
    /// Four builds with a root each, the first one installed.
    pub(crate) fn new() -> Self {
        let world = World::new();
        let mut older = BTreeMap::new();
        for build in 1..=NEWEST {
            if build > 1 {
                rotate(&world, build);
            }
            publish(&world, build);
            if build == 1 {
                done(world.install("tree"));
            }
            if build == NEWEST - 1 {
                for (kind, name) in documents(build) {
                    older.insert(kind, fs::read(world.site().join(name)).expect("readable"));
                }
            }
        }
        let trees = (1..=NEWEST).map(|build| (build, contents(&world.path(&format!("input-{build}"))))).collect();
        let mut scene = Self { world, names: BTreeMap::new(), older, trees };
        scene.learn_names();
        scene
    }

    /// What the client asks for, from updates that nothing disturbs.
    fn learn_names(&mut self) {
        for by_pack in [true, false] {
            let run = self.run(by_pack, false, PATIENT, |_| {});
            assert_eq!(run.first, "whole", "by pack: {by_pack}");
            for name in run.log.into_iter().map(|(name, _)| name) {
                let kind = kind_of(&name);
                let known = self.names.entry(kind).or_default();
                if !known.contains(&name) && self.world.site().join(&name).exists() {
                    known.push(name);
                }
            }
        }
        self.names.get_mut(&Kind::Object).expect("objects were asked for").sort();
        assert_eq!(self.names[&Kind::Root].len(), 3, "{:?}", self.names);
        assert!(self.names[&Kind::Object].len() >= 3, "{:?}", self.names);
        let objects = self.names[&Kind::Object].clone();
        let other = fs::read(self.world.site().join(&objects[0])).expect("readable");
        self.older.insert(Kind::Object, other.clone());
        self.older.insert(Kind::Pack, other);
    }

    /// The file of `kind` that meets a fault at `when`.
    pub(crate) fn name(&self, kind: Kind, when: When) -> &str {
        let names = &self.names[&kind];
        match when {
            When::First => &names[0],
            When::Middle => &names[names.len() / 2],
            When::Last => &names[names.len() - 1],
        }
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.world.site().join(name)).expect("readable")
    }

    /// Another file of the same kind, which an edge that lags behind has under the same name.
    pub(crate) fn older(&self, kind: Kind) -> &[u8] {
        &self.older[&kind]
    }

    /// Updates through a server that meets requests for a file with `faults`: once, or the last of them for ever.
    pub(crate) fn update(&self, kind: Kind, when: When, silence: Duration, faults: Vec<Fault>) -> Run {
        let name = self.name(kind, when).to_owned();
        let half = self.bytes(&name).len() / 2;
        let of_trust = matches!(kind, Kind::Root | Kind::Head | Kind::Release);
        self.run(kind.is_of_packs(), of_trust, silence, |server| {
            let broken = when != When::First && !(kind == Kind::Root && when == When::Middle);
            server.script(&name, broken.then_some(Fault::CutAfter(half)));
            if when == When::Last {
                server.always(&name, faults[faults.len() - 1].clone());
            }
            server.script(&name, faults);
        })
    }

    /// Updates through a server that meets requests for each of these files with these faults, and then answers honestly.
    pub(crate) fn storm(&self, by_pack: bool, faults: Vec<(String, Vec<Fault>)>) -> Run {
        self.run(by_pack, false, PATIENT, |server| {
            faults.into_iter().for_each(|(name, faults)| server.script(&name, faults))
        })
    }

    /// Every file the client may ask for, with its kind.
    pub(crate) fn files(&self) -> impl Iterator<Item = (Kind, &str)> {
        self.names.iter().flat_map(|(kind, names)| names.iter().map(|name| (*kind, name.as_str())))
    }

    /// One update while the server does as `arrange` says, and one more after it behaves again. Where `of_trust` fails,
    /// nothing may be believed.
    fn run(&self, by_pack: bool, of_trust: bool, silence: Duration, arrange: impl FnOnce(&Hostile)) -> Run {
        let server = Arc::new(Hostile::dir(&self.world.site()));
        if !by_pack {
            for name in packs(&self.world) {
                server.always(&name, Fault::Status(404));
            }
        }
        arrange(&server);
        let dir = tempfile::tempdir().expect("a directory");
        let tree = dir.path().join("tree");
        copy(&self.world.path("tree"), &tree);
        set_site(&tree, &server.url());
        let state = contents(&tree.join(".lamplighter"));
        assert!(state.contains_key("settings"), "{:?}", state.keys());
        let clock = Arc::new(Waking { clock: JumpingTiming::default(), server: server.clone() });
        let first = update(&tree, silence, clock.clone());
        let (word, detail) = told(&first);
        let mut wrong = Vec::new();
        let build = if let Ok(Outcome::Done(report)) = &first { report.build } else { 1 };
        if contents(&tree) != self.trees[&build] {
            wrong.push(format!("the tree is not build {build}"));
        }
        if build == 1 {
            wrong.extend(differences(&state, &contents(&tree.join(".lamplighter")), of_trust));
        }
        let log: Vec<_> = server.log().into_iter().map(|seen| (seen.path, seen.range)).collect();
        server.behave();
        if build != NEWEST {
            let again = told(&update(&tree, PATIENT, clock));
            if contents(&tree) != self.trees[&NEWEST] {
                wrong.push(format!("the next update came to {}: {}", again.0, again.1));
            }
        }
        Run { first: word, detail, wrong, log }
    }
}

/// What came of one case.
pub(crate) struct Run {
    /// `whole`, `older` for a release before the newest, the code of what failed, or `refused` and why.
    pub(crate) first: String,
    pub(crate) detail: String,
    /// What must not be, whatever came of it.
    pub(crate) wrong: Vec<String>,
    /// Names and ranges asked for in the first update.
    pub(crate) log: Vec<(String, String)>,
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.first, self.detail)?;
        self.wrong.iter().try_for_each(|wrong| writeln!(f, "  WRONG: {wrong}"))?;
        self.log.iter().try_for_each(|(name, range)| writeln!(f, "  GET {name} {range}"))
    }
}

/// A clock on which waits pass at once, and during which a host that is down comes back.
struct Waking {
    clock: JumpingTiming,
    server: Arc<Hostile>,
}

impl Timing for Waking {
    fn now(&self) -> Duration {
        self.clock.now()
    }

    fn pause(&self, wait: Duration) {
        self.server.come_back();
        self.clock.pause(wait);
    }

    fn chance_per_mille(&self) -> u32 {
        self.clock.chance_per_mille()
    }
}

fn update(tree: &Path, silence: Duration, clock: Arc<dyn Timing>) -> Result<Outcome, Error> {
    let http = HttpOptions {
        proxy: Proxy::None,
        stall_timeout: silence,
        speed_min: 10_000,
        speed_window: silence.min(Duration::from_secs(5)),
        ..HttpOptions::default()
    };
    let retry = RetryPolicy { timing: clock, ..RetryPolicy::default() };
    Updater::open(Config { http, retry, ..Config::new(tree) })?.update(None)
}

/// An outcome in one word, and at length.
fn told(outcome: &Result<Outcome, Error>) -> (String, String) {
    match outcome {
        Ok(Outcome::Done(report)) => {
            let word = if report.build == NEWEST { "whole" } else { "older" };
            (word.into(), format!("build {} by {}", report.build, report.route.name()))
        }
        Ok(Outcome::Idle(idle)) => (format!("idle {}", idle.code()), idle.to_string()),
        Err(Error::Refused(refusal)) => (format!("refused {}", refusal.code()), refusal.to_string()),
        Err(Error::Download(error)) => (error.code().into(), error.to_string()),
        Err(error) => (error.code().into(), error.to_string()),
    }
}

/// State a failed update may not have touched: what is installed, where from, and a transaction begun; and what it believes,
/// if it failed before the last signature was checked. What it has fetched it may keep.
fn differences(before: &BTreeMap<String, Vec<u8>>, now: &BTreeMap<String, Vec<u8>>, of_trust: bool) -> Vec<String> {
    let free =
        |name: &str| (name == "state" && !of_trust) || ["lock", "last"].contains(&name) || name.starts_with("staging");
    let names = before.keys().chain(now.keys()).filter(|name| !free(name) && before.get(*name) != now.get(*name));
    names.map(|name| format!("{name} of the state is another")).collect()
}

fn kind_of(name: &str) -> Kind {
    let (dir, file) = name.split_once('/').unwrap_or_default();
    match (dir, file.rsplit('/').next().unwrap_or_default()) {
        ("root", _) => Kind::Root,
        ("channels", _) => Kind::Head,
        ("objects", _) => Kind::Object,
        ("packs", _) => Kind::Pack,
        (_, "release") => Kind::Release,
        (_, "manifest.csv") => Kind::Manifest,
        _ => Kind::Index,
    }
}

/// The documents of `build` by their kinds.
fn documents(build: u64) -> Vec<(Kind, String)> {
    let dir = format!("releases/{build}/{}", super::world::PLATFORM);
    vec![
        (Kind::Root, format!("root/{}.root", build - 1)),
        (Kind::Head, "channels/stable.head".into()),
        (Kind::Release, format!("{dir}/release")),
        (Kind::Manifest, format!("{dir}/manifest.csv")),
        (Kind::Index, format!("{dir}/objects.csv")),
    ]
}

fn packs(world: &World) -> Vec<String> {
    let root = world.site();
    let files = walkdir::WalkDir::new(root.join("packs")).into_iter().map(|entry| entry.expect("readable"));
    let files = files.filter(|entry| entry.file_type().is_file());
    files.map(|entry| text(entry.path().strip_prefix(&root).expect("below"))).collect()
}

/// Each build changes one file and adds another, of so many bytes that it gets and keeps an object of its own, and so few
/// that mean anything that this object is small.
fn publish(world: &World, build: u64) {
    let mut big = noise(1, 20_000);
    (1..=build).for_each(|n| big[n as usize * 1000] ^= 0x55);
    let app = format!("build {build}\n").repeat(50);
    let sparse = |n: u64| [noise(10 + n, 6_000 + n as usize), vec![0; 300_000]].concat();
    let added: Vec<(String, Vec<u8>)> = (2..=build).map(|n| (format!("added-{n}.bin"), sparse(n))).collect();
    let mut files: Vec<(&str, &[u8])> = vec![("app", app.as_bytes()), ("big.bin", &big), ("same.txt", b"same")];
    files.extend(added.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())));
    world.release(build, &files);
}

/// Publishes the root `version`.
fn rotate(world: &World, version: u64) {
    let (site, keys, file) =
        (text(&world.site()), text(&world.path("keys")), text(&world.path(&format!("{version}.root"))));
    world.publisher(&["root", "propose", "--site", &site, "--out", &file]);
    world.publisher(&["root", "sign", &file, "--site", &site, "--keys", &keys]);
    world.publisher(&["root", "publish", &file, "--site", &site]);
}
