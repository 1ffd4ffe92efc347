//! A commit touches what it must, nothing else, and nothing before it has looked.

#[path = "tree/meanwhile.rs"]
mod meanwhile;
#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/tree.rs"]
mod tree;
#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/tree_fs.rs"]
mod tree_fs;

use std::fs;
#[cfg(unix)]
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::Duration;

use lamplighter_client::format::digest::ContentDigest;
use lamplighter_client::progress::{Event, Phase, Progress, Silent};
#[cfg(unix)]
use lamplighter_client::tree::fs::FsError;
use lamplighter_client::tree::{Before, CommitReport, Op, Recovery, Transaction, Tree, TreeError, TreeLock};
use tree::Item::{Dir, File, Link, Program};
use tree::{Release, Site, commit, commit_with, manifest, path, record, stage, update};

fn old() -> Release {
    vec![("app", Program("one")), ("lib/a", File("a")), ("lib/b", File("b")), ("lib/empty", Dir)]
}

fn new() -> Release {
    vec![("app", Program("two")), ("lib/a", File("a")), ("lib/b", File("b, changed")), ("lib/new/c", File("c"))]
}

/// A program that another test starts holds a copy of every descriptor between fork and exec, and with it a lock that was
/// let go of a moment ago; so this waits a little.
fn lock(site: &Site) -> TreeLock {
    site.tree().lock(Duration::from_secs(2)).expect("free")
}

/// Commits the change of `app` alone, after `meddle` was called between planning and committing.
fn commit_app(site: &Site, meddle: impl FnOnce(&TreeLock)) -> Result<(), TreeError> {
    let lock = lock(site);
    let staging = lock.staging("u").expect("staging");
    stage(&staging, 0, "two", true).expect("staged");
    meddle(&lock);
    let row = manifest(&old()).rows()[0].clone();
    let digest = ContentDigest::of(b"two");
    let ops = vec![Op::Put { path: path("app"), before: Before::Listed(row), staged: 0, digest, executable: true }];
    let (from, to) = (Some(record(&old())), record(&new()));
    lock.commit(Transaction { from, to, ops, staging }, &Silent).map(drop)
}

#[test]
fn a_target_that_changed_since_the_plan_stops_the_commit_before_it_begins() {
    let site = Site::plain(&old());
    let result = commit_app(&site, |_| fs::write(site.root().join("app"), "ONE").expect("written"));
    assert!(matches!(&result, Err(TreeError::ChangedMeanwhile { path, .. }) if path == "app"), "{result:?}");
    assert_eq!(fs::read(site.root().join("app")).expect("there"), b"ONE");
    assert!(!site.tree().is_in_transaction().expect("looked"));

    let site = Site::plain(&old());
    let result = commit_app(&site, |_| fs::write(site.state().join("installed/release"), "other").expect("written"));
    assert!(matches!(&result, Err(TreeError::ChangedMeanwhile { path, .. }) if path == "installed/release"));
}

#[test]
fn a_staged_file_that_was_swapped_never_reaches_the_tree() {
    let site = Site::plain(&old());
    let result = commit_app(&site, |_| fs::write(site.state().join("staging/u/0"), "TWO").expect("written"));
    assert!(matches!(result, Err(TreeError::Staged { number: 0, .. })), "{result:?}");
    assert_eq!(fs::read(site.root().join("app")).expect("there"), b"one");
    assert!(commit_app(&site, |_| {}).is_ok(), "the next try stages it anew");
    assert_eq!(fs::read(site.root().join("app")).expect("there"), b"two");
}

#[cfg(unix)]
#[test]
fn a_mode_that_was_changed_in_staging_is_set_right() {
    let site = Site::plain(&old());
    let suid = |_: &TreeLock| {
        let staged = site.state().join("staging/u/0");
        fs::set_permissions(staged, fs::Permissions::from_mode(0o4777)).expect("own");
    };
    commit_app(&site, suid).expect("committed");
    assert_eq!(fs::metadata(site.root().join("app")).expect("there").permissions().mode() & 0o7777, 0o755);
}

#[cfg(unix)]
#[test]
fn a_planted_link_in_a_parent_directory_is_refused_and_nothing_is_written_through_it() {
    let site = Site::plain(&old());
    let outside = site.dir.path().join("outside");
    fs::create_dir(&outside).expect("made");
    fs::rename(site.root().join("lib"), outside.join("lib")).expect("renamed");
    symlink(outside.join("lib"), site.root().join("lib")).expect("linked");
    let before: Vec<_> = fs::read_dir(outside.join("lib")).expect("listed").map(|e| e.expect("e").path()).collect();
    let result = update(&site.tree(), &old(), &new());
    assert!(
        matches!(&result, Err(TreeError::Fs(FsError::LinkOnTheWay { place })) if place.to_string() == "lib"),
        "{result:?}"
    );
    let after: Vec<_> = fs::read_dir(outside.join("lib")).expect("listed").map(|e| e.expect("e").path()).collect();
    assert_eq!(before, after);
    assert_eq!(fs::read(outside.join("lib/b")).expect("there"), b"b");
    assert_eq!(fs::read(site.root().join("app")).expect("there"), b"one");
}

#[cfg(unix)]
#[test]
fn a_state_directory_that_is_a_link_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("tree");
    fs::create_dir_all(dir.path().join("elsewhere")).expect("made");
    fs::create_dir(&root).expect("made");
    symlink("../elsewhere", root.join(".lamplighter")).expect("linked");
    assert!(Tree::open(&root, None).expect("a tree").lock(Duration::ZERO).is_err());
    assert_eq!(fs::read_dir(dir.path().join("elsewhere")).expect("listed").count(), 0);
}

#[test]
fn a_state_directory_beside_the_tree_serves_as_well() {
    let site = Site::plain(&old());
    let state = site.dir.path().join("state");
    fs::rename(site.state(), &state).expect("renamed");
    let tree = Tree::open(&site.root(), Some(&state)).expect("a tree");
    update(&tree, &old(), &new()).expect("an update");
    assert!(!site.state().exists() && state.join("installed/release").exists());
    #[cfg(unix)]
    assert_eq!(fs::metadata(&state).expect("there").permissions().mode() & 0o7777, 0o700);
    assert_eq!(tree.record().expect("read"), Some(record(&new())));
}

#[cfg(target_os = "linux")]
#[test]
fn a_state_directory_on_another_volume_is_refused() {
    let memory = std::path::Path::new("/dev/shm");
    let tree = tempfile::tempdir_in("/var/tmp").expect("a directory");
    let state = match tempfile::tempdir_in(memory) {
        Ok(state) => state,
        Err(e) => panic!("this test needs a second volume at {}: {e}", memory.display()),
    };
    let tree = Tree::open(tree.path(), Some(&state.path().join("s"))).expect("a tree");
    assert!(matches!(tree.lock(Duration::ZERO), Err(TreeError::Fs(FsError::OtherVolume { .. }))));
    assert!(!state.path().join("s").exists(), "nothing stays behind");
}

#[cfg(unix)]
#[test]
fn files_with_equal_content_never_share_a_file_and_outside_names_keep_theirs() {
    let site = Site::plain(&old());
    fs::hard_link(site.root().join("app"), site.dir.path().join("second-name")).expect("linked");
    let same: Release = vec![("app", Program("two")), ("copy", Program("two"))];
    update(&site.tree(), &old(), &same).expect("an update");
    use std::os::unix::fs::MetadataExt;
    let number = |name: &str| fs::metadata(site.root().join(name)).expect("there").ino();
    assert_ne!(number("app"), number("copy"));
    assert_eq!(fs::metadata(site.root().join("app")).expect("there").nlink(), 1, "backup and staging are gone");
    assert_eq!(fs::read(site.dir.path().join("second-name")).expect("there"), b"one");
}

#[test]
fn a_plan_that_contradicts_itself_is_refused() {
    let site = Site::plain(&old());
    let lock = lock(&site);
    let put = |name: &str, staged| {
        let digest = ContentDigest::of(b"x");
        Op::Put { path: path(name), before: Before::Absent, staged, digest, executable: false }
    };
    let cases = [vec![put("x", 0), put("x", 1)], vec![put("x", 0), put("y", 0)], vec![put("x", 0), put("x/y", 1)]];
    for ops in cases {
        let staging = lock.staging("u").expect("staging");
        stage(&staging, 0, "x", false).expect("staged");
        stage(&staging, 1, "x", false).expect("staged");
        let transaction = Transaction { from: Some(record(&old())), to: record(&new()), ops, staging };
        let refused = lock.commit(transaction, &Silent);
        assert!(matches!(refused, Err(TreeError::Transaction { .. })), "{refused:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_pipe_in_the_way_is_named_and_left_alone() {
    let site = Site::plain(&old());
    let pipe = site.root().join("lib/new");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    let result = update(&site.tree(), &old(), &new());
    assert!(matches!(&result, Err(TreeError::InTheWay { path }) if path == "lib/new"), "{result:?}");
    assert!(pipe.exists() && fs::read(site.root().join("app")).expect("there") == b"one");
}

#[test]
fn a_damaged_journal_is_dropped_only_over_an_intact_tree() {
    let site = Site::plain(&old());
    fs::write(site.state().join("journal"), "lamplighter-journal,1\nkey,").expect("written");
    assert_eq!(lock(&site).recover().expect("nothing was done"), Recovery::Nothing);
    assert!(!site.tree().is_in_transaction().expect("looked"));

    fs::write(site.state().join("journal"), "lamplighter-journal,1\nkey,").expect("written");
    fs::write(site.root().join("lib/a"), "half new").expect("written");
    let result = lock(&site).recover();
    assert!(matches!(&result, Err(TreeError::NeedsHeal { problems }) if problems[0].contains("lib/a")), "{result:?}");
    assert!(site.tree().is_in_transaction().expect("looked"), "nothing was dropped");
    let lock = lock(&site);
    assert!(matches!(lock.staging("heal"), Err(TreeError::InTransaction)));
    lock.abandon().expect("put away");
    assert!(lock.staging("heal").is_ok());
    assert!(matches!(lock.recover(), Err(TreeError::NeedsHeal { .. })), "it is not whole yet");
    lock.healed().expect("noted");
    assert_eq!(lock.recover().expect("whole"), Recovery::Nothing);
}

#[test]
fn a_tree_that_lost_both_contents_says_so_and_stays_as_it_is() {
    let site = Site::plain(&old());
    let control = tree_fs::Control::counting();
    let tree = site.tree_on(tree_fs::FaultyFs::open(&site.root(), &site.state(), control.clone()));
    commit(&tree.lock(Duration::ZERO).expect("free"), &old(), &new()).expect("an update");
    // The same update again, cut off right after the journal was written.
    for k in 0..control.calls() {
        let site = Site::plain(&old());
        let faulty = tree_fs::Control::at(k, tree_fs::Fault::Die);
        let tree = site.tree_on(tree_fs::FaultyFs::open(&site.root(), &site.state(), faulty));
        let _ = tree.lock(Duration::ZERO).and_then(|lock| commit(&lock, &old(), &new()));
        drop(tree);
        if !site.state().join("journal").exists() {
            continue;
        }
        // The medium loses what was staged, and the old content of one file with it.
        fs::remove_dir_all(site.state().join("staging")).expect("removed");
        fs::write(site.root().join("app"), "\0\0\0").expect("written");
        let _ = fs::remove_dir_all(site.state().join("backup"));
        let result = lock(&site).recover();
        assert!(matches!(&result, Err(TreeError::NeedsHeal { problems }) if problems[0].contains("app")), "{result:?}");
        return;
    }
    panic!("the journal was never seen");
}

#[test]
fn the_lock_is_free_for_the_next_and_refused_to_a_second() {
    let site = Site::plain(&old());
    let first = lock(&site);
    let refused = site.tree().lock(Duration::from_millis(40));
    assert!(matches!(&refused, Err(TreeError::Locked { waited_ms: 40, .. })), "{:?}", refused.err());
    drop(first);
    drop(lock(&site));
}

#[test]
fn lack_of_space_and_rights_and_files_in_use_are_found_before_the_commit_begins() {
    use tree_fs::{Control, FaultyFs, Lacks, NOTHING};
    let on = |lacks: Lacks| {
        let site = Site::plain(&old());
        let before = site.snapshot();
        let fs = FaultyFs::open_on(lacks, &site.root(), &site.state(), Control::counting());
        let result = update(&site.tree_on(fs), &old(), &new());
        assert_eq!(site.snapshot(), before, "{lacks:?}");
        assert!(!site.tree().is_in_transaction().expect("looked"), "{lacks:?}");
        result.expect_err("it lacks something")
    };
    let no_space = on(Lacks { free_bytes: Some(1000), ..NOTHING });
    assert!(matches!(no_space, TreeError::NoSpace { free_bytes: 1000, .. }), "{no_space}");
    let no_rights = on(Lacks { rights: Some("lib"), ..NOTHING });
    assert!(matches!(&no_rights, TreeError::NotWritable { path, .. } if path == "lib"), "{no_rights}");
    let held = on(Lacks { held: Some("app"), ..NOTHING });
    assert!(matches!(&held, TreeError::NotWritable { path, .. } if path == "app"), "{held}");
}

#[test]
fn where_no_link_can_be_made_a_release_with_one_changes_nothing() {
    use tree_fs::{Control, FaultyFs, Lacks, NOTHING};
    let mut new = new();
    new.push(("lib/link", Link("a")));
    new.sort_by_key(|(path, _)| *path);
    let site = Site::plain(&old());
    let before = site.snapshot();
    let lacks = Lacks { links: true, ..NOTHING };
    let fs = FaultyFs::open_on(lacks, &site.root(), &site.state(), Control::counting());
    let refused = update(&site.tree_on(fs), &old(), &new);
    assert!(matches!(&refused, Err(TreeError::NoLinks { path, .. }) if path == "lib/link"), "{refused:?}");
    assert_eq!(site.snapshot(), before);
    assert!(!site.tree().is_in_transaction().expect("looked"));
}

#[test]
fn where_files_have_only_one_name_the_copies_of_what_is_replaced_need_room() {
    use tree_fs::{Control, FaultyFs, Lacks, NOTHING};
    let data: &str = "old ".repeat(1 << 19).leak();
    let old = vec![("app", Program("one")), ("data", File(data))];
    let new = vec![("app", Program("two")), ("data", File("new"))];
    let on = |hard_links: bool| {
        let lacks = Lacks { hard_links, free_bytes: Some(3 << 19), ..NOTHING };
        let site = Site::plain(&old);
        let fs = FaultyFs::open_on(lacks, &site.root(), &site.state(), Control::counting());
        (update(&site.tree_on(fs), &old, &new), site)
    };
    on(false).0.expect("a second name takes no room");
    let (refused, site) = on(true);
    let needed = 3 << 20;
    assert!(matches!(refused, Err(TreeError::NoSpace { needed_bytes, .. }) if needed_bytes > needed), "{refused:?}");
    assert_eq!(fs::read_to_string(site.root().join("data")).expect("there"), data);
    assert!(!site.tree().is_in_transaction().expect("looked"));
}

#[cfg(unix)]
#[test]
fn nothing_is_written_outside_while_somebody_swaps_a_directory_for_a_link() {
    let (mut done, mut refused) = (0, 0);
    for round in 0..300_u32 {
        if round >= 60 && done > 0 && refused > 0 {
            break;
        }
        // On a busy machine an update takes long, and comes through only where it is left alone for longer.
        let (d, r) = updates_under_attack(Duration::from_micros(200 << (round / 60 * 3)));
        (done, refused) = (done + d, refused + r);
    }
    assert!(done > 0 && refused > 0, "{done} done, {refused} refused");
}

/// A few updates of a tree of which somebody swaps a directory for a link to the outside, with a `pause` in between; how many were
/// done and how many refused. Whatever becomes of the tree, which is torn apart: nothing may reach outside.
#[cfg(unix)]
fn updates_under_attack(pause: Duration) -> (usize, usize) {
    use std::sync::atomic::{AtomicBool, Ordering};
    let site = Site::plain(&old());
    let outside = site.dir.path().join("outside");
    fs::create_dir_all(outside.join("new")).expect("made");
    let sentinels = ["a", "b", "new/c"];
    sentinels.iter().for_each(|name| fs::write(outside.join(name), "outside").expect("written"));
    let stop = AtomicBool::new(false);
    let (real, aside) = (site.root().join("lib"), site.root().join("lib-aside"));
    let mut counts = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                if fs::rename(&real, &aside).is_ok() && symlink(&outside, &real).is_ok() {
                    std::thread::yield_now();
                    let _ = fs::remove_file(&real);
                }
                let _ = fs::rename(&aside, &real);
                std::thread::sleep(pause);
            }
        });
        for round in 0..6 {
            let (from, to) = if round % 2 == 0 { (old(), new()) } else { (new(), old()) };
            match update(&site.tree(), &from, &to) {
                Ok(_) => counts.0 += 1,
                Err(_) => counts.1 += 1,
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    for name in sentinels {
        assert_eq!(fs::read(outside.join(name)).expect("still there"), b"outside", "{name}");
    }
    assert_eq!(fs::read_dir(&outside).expect("listed").count(), 3);
    assert_eq!(fs::read_dir(outside.join("new")).expect("listed").count(), 1);
    counts
}
