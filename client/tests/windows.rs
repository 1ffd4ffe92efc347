//! What Windows does differently: files that run or are held cannot be replaced, case is ignored, paths are long.
#![cfg(windows)]

#[path = "support/tree_bytes.rs"]
mod tree_bytes;

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::windows::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lamplighter_client::format::digest::ContentDigest;
use lamplighter_client::format::path::RelPath;
use lamplighter_client::process;
use lamplighter_client::tree::fs::FsError;
use lamplighter_client::tree::{Recovery, Tree, TreeError};
use tree_bytes::{Contents, Installed};

/// Whether others may read, write, or delete and rename a file that is open.
const SHARE_NOTHING: u32 = 0;
const SHARE_READ: u32 = 1;

/// Says what a further process of this program is to do, and where.
const TASK: &str = "LAMPLIGHTER_TEST_TASK";

fn contents(rows: &[(&str, &str)]) -> Contents {
    rows.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
}

fn hold(path: &Path, share_mode: u32) -> File {
    OpenOptions::new().read(true).share_mode(share_mode).open(path).expect("opened")
}

/// Holds a file for a while, as a scanner does with a fresh one.
fn scan(path: PathBuf, wait: Duration) -> std::thread::JoinHandle<()> {
    let held = hold(&path, SHARE_READ);
    std::thread::spawn(move || {
        std::thread::sleep(wait);
        drop(held);
    })
}

fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<_> = entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// This program once more, as `program` or where it lies, with a task; it runs the test `tasks` alone.
fn start(program: &Path, task: &str) -> Child {
    let mut command = Command::new(program);
    command.args(["--exact", "tasks", "--nocapture"]).env(TASK, task).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("started");
    // It says so when it has begun.
    let mut said = Vec::new();
    let mut out = child.stdout.take().expect("piped");
    while !said.windows(5).any(|word| word == b"begun") {
        let mut byte = [0];
        assert_eq!(out.read(&mut byte).expect("it speaks"), 1, "it ended: {}", String::from_utf8_lossy(&said));
        said.push(byte[0]);
    }
    child
}

fn end(mut child: Child) {
    child.kill().expect("ended");
    child.wait().expect("it has ended");
}

/// Not a test: what [`start`] starts. Without a task it does nothing.
#[test]
fn tasks() {
    let Ok(task) = std::env::var(TASK) else { return };
    println!("begun");
    match task.split_once(' ') {
        Some(("update", dir)) => loop {
            let installed = Installed::at(Path::new(dir));
            installed.update(&small(1), &small(2)).expect("an update");
            installed.update(&small(2), &small(1)).expect("an update");
        },
        // Until the one who started it ends it, or ends.
        _ => drop(std::io::stdin().read(&mut [0])),
    }
}

/// A tree of which half the files change from release to release.
fn small(release: u32) -> Contents {
    let name = |n: u32| format!("d{}/f{n}", n % 3);
    let text = |n: u32| if n.is_multiple_of(2) { format!("{n} stays") } else { format!("{n} of release {release}") };
    let mut contents: Contents = (0..12).map(|n| (name(n), text(n).into_bytes())).collect();
    contents.insert(format!("only-{release}"), b"comes and goes".to_vec());
    contents
}

#[test]
fn a_running_executable_is_replaced_and_the_old_one_cleaned_at_next_start() {
    let this = std::env::current_exe().and_then(fs::read).expect("this program");
    let mut old = contents(&[("data", "one")]);
    old.insert("app.exe".into(), this.clone());
    let new = contents(&[("app.exe", "the new program"), ("data", "two")]);
    let installed = Installed::new(&old);
    let running = start(&installed.root().join("app.exe"), "wait");

    installed.update(&old, &new).expect("an update");
    assert_eq!(installed.contents(), new);
    // What runs cannot be removed: neither its own name nor the one it was held by.
    let only_what_runs = || {
        let trash = installed.state().join("trash");
        let left = names(&trash);
        assert!(matches!(left.len(), 1 | 2), "{left:?}");
        assert!(left.iter().all(|name| fs::read(trash.join(name)).expect("readable") == this), "{left:?}");
    };
    only_what_runs();
    drop(installed.tree().lock(Duration::ZERO).expect("free"));
    only_what_runs();

    end(running);
    drop(installed.tree().lock(Duration::ZERO).expect("free"));
    assert!(!installed.state().join("trash").exists());
    assert_eq!(installed.contents(), new);
}

#[test]
fn a_program_that_runs_from_the_tree_is_found_and_waited_for() {
    let this = std::env::current_exe().and_then(fs::read).expect("this program");
    let installed = Installed::new(&Contents::from([("bin/app.exe".into(), this)]));
    let tree = installed.tree();
    assert_eq!(process::running_from(tree.root()), []);
    let running = start(&installed.root().join("bin/app.exe"), "wait");
    assert_eq!(process::running_from(tree.root()), [running.id()]);
    let watched = match process::started(running.id()) {
        process::Known::Began(began) => process::Watched::new(running.id(), Some(began)),
        other => panic!("{other:?}"),
    };
    assert!(!watched.wait(Duration::from_millis(100), || false), "it runs");
    let ends = std::thread::spawn(move || end(running));
    assert!(watched.wait(Duration::from_secs(10), || false));
    ends.join().expect("ended");
    assert_eq!(process::running_from(tree.root()), []);
}

#[test]
fn an_update_with_a_running_executable_is_rolled_back_if_something_else_fails() {
    let this = std::env::current_exe().and_then(fs::read).expect("this program");
    let mut old = contents(&[("z-data", "one")]);
    old.insert("app.exe".into(), this);
    let new = contents(&[("app.exe", "the new program"), ("z-data", "two")]);
    let installed = Installed::new(&old);
    let running = start(&installed.root().join("app.exe"), "wait");
    // Taken between the probe and the rename: by then the program has been replaced.
    let mut held = None;
    let at = installed.root().join("z-data");
    let refused = installed.update_with(&old, &new, |placed| {
        if placed == 1 {
            held = Some(hold(&at, SHARE_NOTHING));
        }
    });
    let cut_off = match refused {
        Err(TreeError::RolledBack { .. }) => false,
        // Nobody can tell what the file holds as long as it is held.
        Err(TreeError::CutOff { .. }) => true,
        other => panic!("{other:?}"),
    };
    drop(held);
    let recovered = installed.tree().lock(Duration::ZERO).and_then(|lock| lock.recover()).expect("recovered");
    assert_eq!(cut_off, recovered != Recovery::Nothing, "{recovered:?}");
    let expected = if matches!(recovered, Recovery::RolledForward(_)) { &new } else { &old };
    assert!(installed.contents() == *expected, "neither old nor new");
    end(running);
}

#[test]
fn a_file_a_scanner_holds_for_300_ms_does_not_stop_the_commit() {
    let (old, new) = (contents(&[("app", "one"), ("lib", "a")]), contents(&[("app", "two"), ("lib", "b")]));
    let wait = Duration::from_millis(300);
    for file in ["app", "lib", ".lamplighter/installed/release"] {
        let installed = Installed::new(&old);
        let (start, scanner) = (Instant::now(), scan(installed.root().join(file), wait));
        installed.update(&old, &new).expect("an update");
        assert_eq!(installed.contents(), new, "{file}");
        assert!(start.elapsed() >= wait, "{file}: it was waited for");
        scanner.join().expect("done");
    }
    // A fresh file, which scanners like best.
    let installed = Installed::new(&old);
    let mut scanner = None;
    installed.update_staged(&old, &new, |staged| scanner = Some(scan(staged.join("0"), wait))).expect("an update");
    assert_eq!(installed.contents(), new);
    scanner.expect("it began").join().expect("done");
}

#[test]
fn a_file_held_for_ever_is_named_in_the_error_and_nothing_changed() {
    let (old, new) = (contents(&[("app", "one"), ("lib/x", "a")]), contents(&[("app", "two"), ("lib/x", "b")]));
    let installed = Installed::new(&old);
    let held = hold(&installed.root().join("lib/x"), SHARE_READ);
    let refused = installed.update(&old, &new).expect_err("it is held");
    assert!(
        matches!(&refused, TreeError::NotWritable { path, source: FsError::Held { waited_ms: 5000.., .. } }
            if path.contains("lib")),
        "{refused:?}"
    );
    assert!(refused.to_string().contains("another program holds it"), "{refused}");
    assert_eq!(installed.contents(), old);
    assert!(!installed.tree().is_in_transaction().expect("looked"));
    drop(held);
    installed.update(&old, &new).expect("an update");
    assert_eq!(installed.contents(), new);
}

#[test]
fn a_file_that_others_read_is_replaced_and_they_read_on() {
    let (old, new) = (contents(&[("app", "one"), ("gone", "x")]), contents(&[("app", "two")]));
    let installed = Installed::new(&old);
    let mut app = File::open(installed.root().join("app")).expect("opened");
    let _gone = File::open(installed.root().join("gone")).expect("opened");
    installed.update(&old, &new).expect("an update");
    assert_eq!(installed.contents(), new);
    let mut text = String::new();
    app.read_to_string(&mut text).expect("read");
    assert_eq!(text, "one");
}

#[test]
fn a_read_only_file_is_replaced_and_its_leftovers_go() {
    let (old, new) = (contents(&[("app", "one"), ("gone", "x")]), contents(&[("app", "two")]));
    let installed = Installed::new(&old);
    ["app", "gone"].iter().for_each(|name| mark_read_only(&installed.root().join(name)));
    installed.update(&old, &new).expect("an update");
    assert_eq!(installed.contents(), new);
    drop(installed.tree().lock(Duration::ZERO).expect("free"));
    assert!(!installed.state().join("trash").exists());
}

fn mark_read_only(at: &Path) {
    let mut permissions = fs::metadata(at).expect("there").permissions();
    permissions.set_readonly(true);
    fs::set_permissions(at, permissions).expect("set");
}

fn is_read_only(at: &Path) -> bool {
    fs::metadata(at).expect("there").permissions().readonly()
}

#[test]
fn a_file_the_user_edited_and_marked_read_only_comes_back_where_the_commit_fails() {
    let (old, new) = (contents(&[("conf.ini", "one"), ("z", "1")]), contents(&[("conf.ini", "two"), ("z", "2")]));
    let installed = Installed::new(&old);
    let (conf, z) = (installed.root().join("conf.ini"), installed.root().join("z"));
    fs::write(&conf, "mine").expect("written");
    mark_read_only(&conf);
    let beside = installed.dir().join("beside");
    let failed = installed.update_with(&old, &new, |placed| {
        if placed == 1 {
            fs::write(&beside, "saved meanwhile").and_then(|()| fs::rename(&beside, &z)).expect("saved");
        }
    });
    assert!(matches!(failed, Err(TreeError::RolledBack { .. })), "{failed:?}");
    assert_eq!(fs::read(&conf).expect("there"), b"mine");
    assert!(is_read_only(&conf));
    assert!(!installed.state().join("kept/1/conf.ini").exists(), "it is in place again");
}

#[test]
fn a_file_that_was_marked_read_only_is_there_for_the_way_back() {
    let (old, new) = (contents(&[("app", "one")]), contents(&[("app", "two")]));
    let installed = Installed::new(&old);
    mark_read_only(&installed.root().join("app"));
    installed.update(&old, &new).expect("an update");
    let lock = installed.tree().lock(Duration::ZERO).expect("free");
    // wine takes the mark away with the name that was in the trash.
    let held = installed.state().join("previous/content");
    mark_read_only(&held.join(&names(&held)[0]));
    let staging = lock.staging("back").expect("staging");
    assert!(staging.take_previous(0, &ContentDigest::of(b"one"), true).expect("at hand"));
    assert!(is_read_only(&installed.state().join("staging/back/0")));
}

#[test]
fn a_name_changes_in_case_alone() {
    let old = contents(&[("Docs/ReadMe.txt", "words"), ("SAME", "before")]);
    let new = contents(&[("Docs/README.txt", "words"), ("same", "after")]);
    let installed = Installed::new(&old);
    let report = installed.update(&old, &new).expect("an update");
    assert_eq!(installed.contents(), new, "the new spelling, and nothing is lost");
    assert_eq!(report.kept, [], "the old spelling is not taken for the user's");
    installed.update(&new, &old).expect("an update");
    assert_eq!(installed.contents(), old);
}

#[test]
fn a_directory_that_changes_in_case_alone_keeps_its_spelling_and_its_files() {
    let old = contents(&[("Lib/a", "a"), ("Lib/b", "one")]);
    let new = contents(&[("lib/a", "a"), ("lib/b", "two"), ("lib/c", "c")]);
    let installed = Installed::new(&old);
    let report = installed.update(&old, &new).expect("an update");
    assert_eq!(installed.contents(), contents(&[("Lib/a", "a"), ("Lib/b", "two"), ("Lib/c", "c")]));
    assert_eq!(report.kept, []);
}

#[test]
fn paths_over_260_characters_are_installed_and_updated() {
    let deep = ["a-directory-with-quite-a-long-name-of-48-characters"; 6].join("/");
    let name = format!("{deep}/file");
    let (old, new) = (contents(&[(&name, "one"), ("top", "1")]), contents(&[(&name, "two"), ("top", "2")]));
    let installed = Installed::new(&old);
    assert!(installed.root().join(&name).as_os_str().len() > 300);
    installed.update(&old, &new).expect("an update");
    assert_eq!(installed.contents(), new);
    // The root of a tree takes up some of it, too. (wine cannot tell the full name of a root over 260 characters.)
    let root = installed.root().join("some-directory-with-a-long-name").join("and-one-more-of-them-above-the-root");
    let nested = Installed::new_at(root, &old);
    nested.update(&old, &new).expect("an update");
    assert_eq!(nested.contents(), new);
}

#[test]
fn the_root_is_shown_as_people_write_it() {
    let installed = Installed::new(&contents(&[("app", "one")]));
    let tree = installed.tree();
    assert!(!tree.root().to_string_lossy().starts_with(r"\\?\"), "{:?}", tree.root());
    assert!(!tree.state_dir().to_string_lossy().starts_with(r"\\?\"), "{:?}", tree.state_dir());
    assert!(tree.free_bytes().expect("measured").is_some_and(|bytes| bytes > 0));
}

#[test]
fn names_the_system_reserves_are_refused_by_our_own_rule() {
    let bad = [
        "con",
        "AUX.txt",
        "d/lpt1.log",
        "CONIN$",
        "com¹",
        "a:stream",
        "a::$DATA",
        "dot.",
        "space ",
        "C:x",
        r"\\srv\x",
        r"a\b",
        "PROGRA~1/x",
        "nul",
        "q?",
        "star*",
        "/abs",
        "../up",
    ];
    for name in bad {
        assert!(RelPath::parse(name).is_err(), "{name}");
    }
}

#[test]
fn a_kill_at_any_moment_leaves_the_old_tree_or_the_new_one() {
    let this = std::env::current_exe().expect("this program");
    let (mut olds, mut news, mut recoveries) = (0, 0, 0);
    let installed = Installed::new(&small(1));
    for round in 0..24u64 {
        let child = start(&this, &format!("update {}", installed.dir().display()));
        // From 0 to 0.9 s, spread evenly.
        std::thread::sleep(Duration::from_millis(round * 37 % 900));
        end(child);
        let lock = installed.tree().lock(Duration::from_secs(5)).expect("the lock went with the process");
        let recovered = lock.recover().unwrap_or_else(|e| panic!("round {round}: {e}"));
        recoveries += u32::from(recovered != Recovery::Nothing);
        let found = installed.contents();
        let release = if found == small(2) { 2 } else { 1 };
        assert!(found == small(release), "round {round}: neither old nor new: {found:?}");
        assert_eq!(lock.record().expect("read"), Some(tree_bytes::record(&small(release))), "round {round}");
        drop(lock);
        if release == 2 {
            news += 1;
            installed.update(&small(2), &small(1)).expect("an update");
        } else {
            olds += 1;
        }
    }
    println!("{olds} old, {news} new, {recoveries} recovered");
    assert!(recoveries > 0, "no kill fell into a commit: {olds} old, {news} new");
}

#[test]
fn a_tree_on_a_missing_drive_is_refused() {
    assert!(matches!(Tree::open(Path::new(r"Q:\nowhere"), None), Err(TreeError::NotATree { .. })));
}
