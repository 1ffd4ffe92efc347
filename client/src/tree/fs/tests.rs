//! What every implementation must promise, on each of them.

use super::*;
use crate::tree::scan::observe;
use std::fs as std_fs;
use std::path::Path;

fn implementations(root: &Path, state: &Path) -> Vec<(&'static str, Box<dyn Fs>)> {
    vec![
        ("unix", Box::new(unix::UnixFs::open(root, state).expect("a tree"))),
        ("component by component", Box::new(unix::UnixFs::walking(root, state).expect("a tree"))),
        ("portable", Box::new(portable::PortableFs::open(root, state).expect("a tree"))),
    ]
}

/// Runs `test` on each implementation, in a fresh directory with `tree/` and `outside/`.
fn on_each(test: impl Fn(&dyn Fs, &Path)) {
    for number in 0..3 {
        let dir = tempfile::tempdir().expect("a directory");
        let (root, outside) = (dir.path().join("tree"), dir.path().join("outside"));
        std_fs::create_dir(&root).expect("made");
        std_fs::create_dir(&outside).expect("made");
        std_fs::write(outside.join("sentinel"), "outside").expect("written");
        let (name, fs) = implementations(&root, &root.join(".lamplighter")).remove(number);
        fs.prepare_state().unwrap_or_else(|e| panic!("{name}: {e}"));
        test(&*fs, dir.path());
        let left: Vec<_> = std_fs::read_dir(&outside).expect("listed").map(|e| e.expect("entry").file_name()).collect();
        assert_eq!(left, ["sentinel"], "{name}: something was written outside");
        assert_eq!(std_fs::read(outside.join("sentinel")).expect("there"), b"outside", "{name}");
    }
}

fn at(path: &str) -> Place {
    Place::tree(&RelPath::parse(path).expect("legal"))
}

fn put(fs: &dyn Fs, place: &Place, content: &[u8]) {
    write_new(fs, place, content).expect("written");
}

fn is_link_on_the_way<T>(result: Result<T, FsError>, component: &str) -> bool {
    matches!(result, Err(FsError::LinkOnTheWay { place }) if place == at(component))
}

#[test]
fn nothing_is_done_through_a_planted_link() {
    on_each(|fs, dir| {
        fs.create_dir(&at("a"), 0o755).expect("made");
        std::os::unix::fs::symlink(dir.join("outside"), dir.join("tree/a/planted")).expect("linked");
        put(fs, &at("own"), b"own");
        let through = at("a/planted/sentinel");
        let new = at("a/planted/new");
        assert!(is_link_on_the_way(fs.metadata(&through), "a/planted"));
        assert!(is_link_on_the_way(fs.look(&through), "a/planted"));
        assert!(is_link_on_the_way(fs.create_file(&new), "a/planted"));
        assert!(is_link_on_the_way(fs.create_dir(&new, 0o755), "a/planted"));
        assert!(is_link_on_the_way(fs.symlink(b"x", &new), "a/planted"));
        assert!(is_link_on_the_way(fs.hard_link(&at("own"), &new), "a/planted"));
        assert!(is_link_on_the_way(fs.rename(&at("own"), &new, Existing::Refuse), "a/planted"));
        assert!(is_link_on_the_way(fs.rename(&through, &at("stolen"), Existing::Refuse), "a/planted"));
        assert!(is_link_on_the_way(fs.remove_file(&through), "a/planted"));
        assert!(is_link_on_the_way(fs.set_mode(&through, 0o755), "a/planted") || fs.set_mode(&through, 0o755).is_ok());
        assert!(is_link_on_the_way(fs.sync_file(&through), "a/planted"));
        assert!(is_link_on_the_way(fs.directory(&at("a/planted/x")), "a/planted"));
        assert!(is_link_on_the_way(fs.directory(&at("a/planted")), "a/planted"));
        remove_all(fs, &at("a")).expect("the link itself is removed");
        assert!(fs.metadata(&at("a")).expect("looked").is_none());
    });
}

#[test]
fn a_link_at_the_end_is_seen_replaced_and_removed_but_never_followed() {
    on_each(|fs, dir| {
        let sentinel = dir.join("outside/sentinel");
        let plant = |name: &str| std::os::unix::fs::symlink(&sentinel, dir.join("tree").join(name)).expect("linked");
        plant("l");
        assert!(matches!(fs.look(&at("l")), Ok(Entry::Link(to, _)) if to.ends_with(b"outside/sentinel")));
        assert!(fs.create_file(&at("l")).is_err(), "creating does not write through it");
        put(fs, &at("new"), b"new");
        fs.rename(&at("new"), &at("l"), Existing::Replace).expect("renamed");
        assert!(matches!(fs.look(&at("l")), Ok(Entry::File(..))));
        plant("gone");
        fs.remove_file(&at("gone")).expect("removed");
        plant("lock");
        assert!(fs.lock(&at("lock"), Duration::ZERO).is_err(), "a lock is no link");
    });
}

#[test]
fn a_name_is_replaced_and_other_names_of_the_old_file_keep_its_content() {
    on_each(|fs, dir| {
        put(fs, &at("old"), b"old");
        std_fs::hard_link(dir.join("tree/old"), dir.join("tree/second")).expect("linked");
        put(fs, &at("new"), b"new");
        fs.rename(&at("new"), &at("old"), Existing::Replace).expect("renamed");
        let content = |name: &str| std_fs::read(dir.join("tree").join(name)).expect("there");
        assert_eq!((content("old"), content("second")), (b"new".to_vec(), b"old".to_vec()));
        let refused = fs.rename(&at("second"), &at("old"), Existing::Refuse).expect_err("it exists");
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(content("old"), b"new");
    });
}

#[test]
fn missing_things_are_absent_and_files_are_no_directories() {
    on_each(|fs, _| {
        put(fs, &at("file"), b"x");
        for nowhere in ["none", "none/below", "file/below"] {
            assert!(fs.metadata(&at(nowhere)).expect("looked").is_none(), "{nowhere}");
            assert!(matches!(fs.look(&at(nowhere)), Ok(Entry::Absent)), "{nowhere}");
        }
        assert!(fs.directory(&at("none")).expect("looked").is_none());
        assert!(fs.directory(&at("file")).expect("looked").is_none());
        fs.create_dir(&at("d"), 0o755).expect("made");
        put(fs, &at("d/x"), b"x");
        assert_eq!(fs.remove_dir(&at("d")).expect_err("not empty").kind(), io::ErrorKind::DirectoryNotEmpty);
        assert_eq!(fs.list(&at("d")).expect("listed"), ["x"]);
        assert!(observe(fs, &at("d")).expect("looked").thing.is_some_and(|t| t.is_directory()));
        fs.probe_directory(&at("d")).expect("writable");
        assert_eq!(fs.list(&at("d")).expect("listed"), ["x"], "the probe leaves nothing");
        fs.sync_dir(&at("d")).expect("flushed");
    });
}

#[test]
fn modes_are_kept_here_whatever_mode_the_state_directory_was_given() {
    let dir = tempfile::tempdir().expect("a directory");
    let (root, state) = (dir.path(), dir.path().join("state"));
    let open = || unix::UnixFs::open(root, &state).expect("a tree");
    assert!(open().keeps_modes(), "nothing is known yet");
    open().prepare_state().expect("made");
    assert!(open().keeps_modes());
    let set = |path: &Path, mode| {
        let permissions = <std_fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(mode);
        std_fs::set_permissions(path, permissions).expect("own");
    };
    set(&state, 0o777);
    assert!(open().keeps_modes(), "a file made there has its mode");
    assert_eq!(std_fs::read_dir(&state).expect("listed").count(), 0, "and is gone");
    // As on a volume where all files show the same; it was left by a process that died.
    std_fs::write(state.join(unix::MODES), "").expect("written");
    set(&state.join(unix::MODES), 0o777);
    assert!(!open().keeps_modes());
    assert!(open().keeps_modes(), "asked anew");
    let found = open();
    found.prepare_state().expect("mended");
    assert!(found.metadata(&Place::state_root()).expect("looked").is_some_and(|m| m.mode == PRIVATE_DIR_MODE));
}

#[test]
fn one_lock_at_a_time() {
    on_each(|fs, _| {
        let lock = Place::state_root().entry("lock");
        put(fs, &lock, b"kept");
        let held = fs.lock(&lock, Duration::ZERO).expect("locked");
        assert!(held.is_some());
        assert!(fs.lock(&lock, Duration::from_millis(50)).expect("tried").is_none());
        drop(held);
        assert!(fs.lock(&lock, Duration::ZERO).expect("locked").is_some());
        assert_eq!(read_small(fs, &lock, 10).expect("read"), Some(b"kept".to_vec()), "it is never truncated");
    });
}

#[test]
fn a_pipe_is_special_and_does_not_block() {
    on_each(|fs, dir| {
        let made = std::process::Command::new("mkfifo").arg(dir.join("tree/pipe")).status().expect("mkfifo runs");
        assert!(made.success());
        assert!(matches!(fs.look(&at("pipe")), Ok(Entry::Special(_))));
    });
}

#[test]
fn small_files_have_a_cap() {
    on_each(|fs, _| {
        put(fs, &at("small"), b"12345");
        assert_eq!(read_small(fs, &at("small"), 5).expect("read"), Some(b"12345".to_vec()));
        assert!(read_small(fs, &at("small"), 4).is_err());
        assert_eq!(read_small(fs, &at("none"), 4).expect("read"), None);
    });
}
