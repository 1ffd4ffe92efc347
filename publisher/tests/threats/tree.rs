//! Trees, with a publisher and a client at work: A2, A22, B3 to B5, B8, B9.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::OnceLock;

use lamplighter_client::updater::StageOutcome;

use super::world::{World, contents, done, noise, text, write};
use crate::Table;

/// A site with builds 1 and 2. The cases share it, and install trees of their own.
fn site() -> &'static World {
    static SITE: OnceLock<World> = OnceLock::new();
    SITE.get_or_init(|| {
        let world = World::new();
        let big = noise(1, 50_000);
        let files = |build: u8| {
            let mut changed = big.clone();
            changed[100 + usize::from(build)] ^= 1;
            vec![("app", vec![build; 100]), ("big.bin", changed), ("lib/x", vec![build]), ("same", b"same".to_vec())]
        };
        let input = |build: u8| {
            let files = files(build);
            let files: Vec<(&str, &[u8])> = files.iter().map(|(name, content)| (*name, &content[..])).collect();
            world.input(u64::from(build), &files)
        };
        let first = input(1);
        world.publish(1, &first, &[]);
        fs::write(input(2).join("settings.ini"), "default").expect("written");
        for name in 0..40 {
            done(world.install(&format!("tree-{name}")));
        }
        world.publish(2, &world.path("input-2"), &["--no-proof"]);
        world
    })
}

fn next_tree() -> String {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    assert!(number < 40, "more trees are to be installed");
    format!("tree-{number}")
}

/// Runs `meddle` on a tree of build 1, updates, and compares with build 2 but for `except`.
fn updated(meddle: impl FnOnce(&std::path::Path), except: &[&str]) -> Result<String, String> {
    let (world, tree) = (site(), next_tree());
    meddle(&world.path(&tree));
    let outcome = world.update(&tree);
    outcome.map_err(|error| error.to_string())?;
    let (mut found, mut expected) = (world.contents(&tree), contents(&world.path("input-2")));
    for name in except {
        found.remove(*name);
        expected.remove(*name);
    }
    if found == expected { Ok(tree) } else { Err(format!("the tree holds {:?}", found.keys())) }
}

pub(crate) fn cases(table: &mut Table) {
    swapped(table);
    again(table);
    collisions(table);
    links(table);
    modes(table);
    wrong_bases(table);
    of_the_user(table);
}

fn swapped(table: &mut Table) {
    let mut case = |name: &str, swap: fn(&std::path::Path)| {
        table.run("A2", format!("a staged file {name} before the commit"), move || {
            let (world, tree) = (site(), next_tree());
            let updater = world.open(&tree);
            let staged_at = match updater.stage(None) {
                Ok(StageOutcome::Ready(prepared)) => prepared.staged_at,
                other => return Err(format!("{other:?}")),
            };
            let first = fs::read_dir(&staged_at).expect("listed").map(|e| e.expect("an entry").path()).min();
            swap(&first.expect("something is staged"));
            // The commit refuses, or makes it anew; what it never does is to take it.
            let outcome = updater.commit();
            let found = world.contents(&tree);
            let whole = [1, 2].iter().any(|build| found == contents(&world.path(&format!("input-{build}"))));
            if whole { Ok(()) } else { Err(format!("{outcome:?} left {:?}", found.keys())) }
        });
    };
    case("changed", |at| {
        let mut bytes = fs::read(at).expect("read");
        bytes[0] ^= 1;
        fs::write(at, bytes).expect("written");
    });
    case("cut short", |at| fs::write(at, b"").expect("written"));
    case("made longer", |at| fs::write(at, [&fs::read(at).expect("read")[..], b"x"].concat()).expect("written"));
    case("replaced", |at| {
        fs::remove_file(at).expect("removed");
        fs::write(at, b"evil").expect("written");
    });
    case("replaced by a link", |at| {
        fs::remove_file(at).expect("removed");
        symlink("/etc/passwd", at).expect("linked");
    });
    case("replaced by a directory", |at| {
        fs::remove_file(at).expect("removed");
        fs::create_dir(at).expect("made");
    });
    case("removed", |at| fs::remove_file(at).expect("removed"));
    case("made to run as root", |at| fs::set_permissions(at, fs::Permissions::from_mode(0o4777)).expect("set"));
}

fn again(table: &mut Table) {
    table.run("A22", "two publishers with the same keys, inputs and time write the same site", || {
        let publish = |jobs: &str| {
            let world = World { dir: tempfile::tempdir().expect("a directory") };
            let keys = text(&site().path("keys"));
            let (site_dir, time) = (text(&world.site()), [("SOURCE_DATE_EPOCH", "1800000000")]);
            run(&["init", "--site", &site_dir, "--app", super::world::APP, "--keys", &keys], &time);
            for build in ["1", "2"] {
                let platform =
                    format!("{}={}", super::world::PLATFORM, site().path(&format!("input-{build}")).display());
                let args = ["build-release", "--site", &site_dir, "--app", super::world::APP, "--channel", "stable"];
                let more =
                    ["--build", build, "--version", build, "--platform", &platform, "--keys", &keys, "--jobs", jobs];
                run(&[&args[..], &more].concat(), &time);
            }
            let mut files = contents(&world.site());
            files.retain(|name, _| !name.starts_with(".publisher"));
            files
        };
        let (one, two) = (publish("1"), publish("2"));
        let other: Vec<_> =
            one.iter().filter(|(name, bytes)| two.get(*name) != Some(bytes)).map(|(name, _)| name).collect();
        if one.len() == two.len() && other.is_empty() { Ok(()) } else { Err(format!("{other:?} differ")) }
    });
}

fn run(args: &[&str], env: &[(&str, &str)]) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_publisher"));
    let output = command.args(args).envs(env.iter().copied()).output().expect("the publisher runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn collisions(table: &mut Table) {
    for (name, pair) in [("case", ["Read.me", "read.me"]), ("a letter's other form", ["\u{fb01}x", "fix"])] {
        table.run("B3", format!("the publisher refuses names that differ in {name}"), move || {
            let dir = tempfile::tempdir().expect("a directory");
            pair.iter().for_each(|file| write(&dir.path().join(file), file.as_bytes()));
            let platform = format!("windows-x86_64={}", dir.path().display());
            let (site_dir, keys) = (text(&site().site()), text(&site().path("keys")));
            let args = ["build-release", "--site", &site_dir, "--app", super::world::APP, "--channel", "other"];
            let more = ["--build", "1", "--version", "1", "--platform", &platform, "--keys", &keys];
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_publisher"));
            let output = command.args(args).args(more).output().expect("the publisher runs");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            if output.status.code() == Some(3) && said.contains(pair[0]) { Ok(()) } else { Err(said) }
        });
    }
}

fn links(table: &mut Table) {
    let outside = || {
        let dir = tempfile::tempdir().expect("a directory");
        write(&dir.path().join("x"), b"outside");
        dir
    };
    table.run("B4", "a directory replaced by a link to the outside", move || {
        let (world, tree, outside) = (site(), next_tree(), outside());
        fs::remove_dir_all(world.path(&tree).join("lib")).expect("removed");
        symlink(outside.path(), world.path(&tree).join("lib")).expect("linked");
        let outcome = world.update(&tree);
        let untouched = fs::read(outside.path().join("x")).expect("there") == b"outside"
            && fs::read_dir(outside.path()).expect("listed").count() == 1;
        if untouched { Ok(()) } else { Err(format!("{outcome:?} reached outside")) }
    });
    table.run("B4", "a file replaced by a link to the outside", move || {
        let outside = outside();
        let target = outside.path().join("x");
        updated(
            |tree| {
                fs::remove_file(tree.join("app")).expect("removed");
                symlink(&target, tree.join("app")).expect("linked");
            },
            &[],
        )?;
        if fs::read(&target).expect("there") == b"outside" { Ok(()) } else { Err("written through a link".into()) }
    });
    table.run("B4", "a file with a second name outside", move || {
        let outside = outside();
        let second = outside.path().join("second");
        let before = OnceLock::new();
        updated(
            |tree| {
                let _ = before.set(fs::read(tree.join("app")).expect("read"));
                fs::hard_link(tree.join("app"), &second).expect("linked");
            },
            &[],
        )?;
        if Some(&fs::read(&second).expect("there")) == before.get() { Ok(()) } else { Err("written through".into()) }
    });
    table.run("B4", "the state directory replaced by a link", move || {
        let (world, tree, outside) = (site(), next_tree(), outside());
        let state = world.path(&tree).join(".lamplighter");
        fs::rename(&state, outside.path().join("state")).expect("renamed");
        symlink(outside.path().join("state"), &state).expect("linked");
        let (config, _) = world.config(&tree);
        let outcome = lamplighter_client::updater::Updater::open(config).and_then(|updater| updater.update(None));
        let unchanged = world.contents(&tree).get("app") == contents(&world.path("input-1")).get("app");
        if outcome.is_err() && unchanged { Ok(()) } else { Err(format!("{outcome:?}")) }
    });
    table.run("B4", "a link where a new file is to be", move || {
        let outside = outside();
        let target = outside.path().join("x");
        updated(|tree| symlink(&target, tree.join("settings.ini")).expect("linked"), &[])?;
        if fs::read(&target).expect("there") == b"outside" { Ok(()) } else { Err("written through a link".into()) }
    });
}

fn modes(table: &mut Table) {
    for mode in [0o4755, 0o2755, 0o1777, 0o777, 0o600] {
        table.run("B5", format!("a file made {mode:o} before an update comes out as 644"), move || {
            let tree = updated(
                |tree| {
                    fs::set_permissions(tree.join("app"), fs::Permissions::from_mode(mode)).expect("set");
                },
                &[],
            )?;
            let found = fs::metadata(site().path(&tree).join("app")).expect("there").permissions().mode() & 0o7777;
            if found == 0o644 { Ok(()) } else { Err(format!("{found:o}")) }
        });
    }
}

fn wrong_bases(table: &mut Table) {
    let files = ["app", "big.bin", "lib/x"];
    for subset in 0..8usize {
        table.run("B8", format!("files of the base that were damaged: {subset:03b}"), move || {
            let names = files.iter().enumerate().filter(|(n, _)| subset >> n & 1 == 1).map(|(_, name)| *name);
            let names: Vec<_> = names.collect();
            updated(|tree| names.iter().for_each(|name| fs::write(tree.join(name), "damaged").expect("written")), &[])
                .map(drop)
        });
    }
    table.run("B8", "a file of the base that is lost", || {
        updated(|tree| fs::remove_file(tree.join("big.bin")).expect("removed"), &[]).map(drop)
    });
    table.run("B8", "an unchanged file that was damaged is not read, and told by verify", || {
        let tree = updated(|tree| fs::write(tree.join("same"), "edited").expect("written"), &["same"])?;
        let kept = fs::read(site().path(&tree).join("same")).expect("there");
        if kept == b"edited" { Ok(()) } else { Err("it was replaced".into()) }
    });
}

fn of_the_user(table: &mut Table) {
    let keeps = |name: &'static str| {
        move |tree: String, content: &[u8]| {
            let found = fs::read(site().path(&tree).join(name)).ok();
            if found.as_deref() == Some(content) { Ok(()) } else { Err(format!("{name} is {found:?}")) }
        }
    };
    table.run("B9", "a file beside the released ones stays", move || {
        let tree = updated(|tree| write(&tree.join("mine.txt"), b"mine"), &["mine.txt"])?;
        keeps("mine.txt")(tree, b"mine")
    });
    table.run("B9", "a file in a directory of the release stays", move || {
        let tree = updated(|tree| write(&tree.join("lib/mine"), b"mine"), &["lib/mine"])?;
        keeps("lib/mine")(tree, b"mine")
    });
    table.run("B9", "a file where a new one comes is kept aside", move || {
        let tree = updated(|tree| write(&tree.join("settings.ini"), b"mine"), &[])?;
        kept_aside(&tree, b"mine")
    });
    table.run("B9", "an edited file that changes is kept aside", move || {
        let tree = updated(|tree| write(&tree.join("app"), b"mine"), &[])?;
        kept_aside(&tree, b"mine")
    });
    table.run("B9", "a directory where a new file comes is kept aside", move || {
        let tree = updated(|tree| write(&tree.join("settings.ini/mine"), b"mine"), &[])?;
        kept_aside(&tree, b"mine")
    });
    table.run("B9", "what the user removed and the update does not touch stays away or comes back whole", move || {
        let tree = updated(|tree| fs::remove_file(tree.join("same")).expect("removed"), &["same"])?;
        let found = fs::read(site().path(&tree).join("same")).ok();
        if found.is_none_or(|content| content == b"same") { Ok(()) } else { Err("something else is there".into()) }
    });
}

/// Whether some file of the state directory's `kept` holds `content`.
fn kept_aside(tree: &str, content: &[u8]) -> Result<(), String> {
    let kept = contents(&site().path(tree).join(".lamplighter/kept"));
    if kept.values().any(|found| found == content) { Ok(()) } else { Err(format!("kept: {:?}", kept.keys())) }
}
