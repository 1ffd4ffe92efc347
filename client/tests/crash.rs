//! Whatever ends an update in the middle, the next start finds the old tree or the new one, and the user's files.

#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/tree.rs"]
mod tree;
#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/tree_fs.rs"]
mod tree_fs;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::sync::Arc;

use lamplighter_client::tree::fs::Fs;
use lamplighter_client::tree::{Recovery, Tree, TreeError};
use tree::{Site, USER, new_release, old_release, record, recover, shown, update};
use tree_fs::{Control, Fault, FaultyFs, Lacks, NOTHING};

type Snapshot = BTreeMap<String, String>;

/// The tree before and after, and the number of changing calls in between.
struct Ends {
    old: Snapshot,
    new: Snapshot,
    /// What the way back needs, by digest.
    held: Vec<OsString>,
    calls: u64,
}

fn faulty(site: &Site, control: &Arc<Control>) -> Box<dyn Fs> {
    FaultyFs::open(&site.root(), &site.state(), control.clone())
}

/// The next start, which does not wait for the disk either.
fn restart(site: &Site) -> Result<Recovery, TreeError> {
    recover(&quick(site))
}

fn quick(site: &Site) -> Tree {
    site.tree_on(faulty(site, &Control::counting()))
}

fn ends() -> Ends {
    let site = Site::lived_in();
    let (old, control) = (site.snapshot(), Control::counting());
    update(&site.tree_on(faulty(&site, &control)), &old_release(), &new_release()).expect("an update");
    Ends { old, new: site.snapshot(), held: held(&site), calls: control.calls() }
}

/// Contents of the release before that are kept.
fn held(site: &Site) -> Vec<OsString> {
    let entries = std::fs::read_dir(site.state().join("previous/content")).expect("listed");
    let mut names: Vec<_> = entries.map(|entry| entry.expect("entry").file_name()).collect();
    names.sort();
    names
}

/// Fails unless the tree is one of the two, with its record, all the user wrote, and nothing left over.
fn assert_whole(site: &Site, ends: &Ends, stamps: &[(u64, i64, i64)], context: &str) -> bool {
    let found = site.snapshot();
    let is_new = found == ends.new;
    if !is_new {
        assert_eq!(found, ends.old, "{context}: neither old nor new");
    }
    let installed = site.tree().record().expect("readable");
    let expected = record(&if is_new { new_release() } else { old_release() });
    assert_eq!(installed, Some(expected), "{context}: record");
    if is_new {
        let previous = site.tree().previous().expect("readable");
        assert_eq!(previous, Some(record(&old_release())), "{context}: the way back");
        assert_eq!(held(site), ends.held, "{context}: the way back");
    }
    let contents = site.contents();
    for (name, text) in USER {
        assert!(contents.contains(text.as_bytes()), "{context}: {name} is lost");
    }
    assert_eq!(site.stamps(), stamps, "{context}: unchanged files were touched");
    let left: Vec<_> =
        std::fs::read_dir(site.state()).expect("listed").map(|e| e.expect("entry").file_name()).collect();
    assert!(!left.iter().any(|n| n.to_string_lossy().starts_with("journal")), "{context}: {left:?}");
    let outside = std::fs::read_to_string(site.dir.path().join("sentinel")).expect("there");
    assert_eq!((outside.as_str(), std::fs::read_dir(site.dir.path()).expect("listed").count()), ("outside", 2));
    is_new
}

#[test]
fn an_update_changes_what_it_must_and_keeps_what_is_the_users() {
    let site = Site::lived_in();
    let stamps = site.stamps();
    let report = update(&site.tree(), &old_release(), &new_release()).expect("an update");
    let found = site.snapshot();
    // Where case is ignored, a directory with another spelling is the same directory and keeps the one it has.
    let lib = if cfg!(windows) { "case/Lib" } else { "case/lib" };
    for row in tree::manifest(&new_release()).rows() {
        let name = row.path.as_str().replace("case/lib", lib);
        assert!(found.contains_key(&name), "{name} is missing");
    }
    let gone_lib = if cfg!(windows) { "case/lib" } else { "case/Lib" };
    let gone = ["case/ReadMe", gone_lib, "gone", "gone/y", "empty-old", "link-gone", "moved/from.bin", "shared/z"];
    for name in gone {
        assert!(!found.contains_key(name), "{name} is still there");
    }
    assert_eq!(found["mode.sh"], shown("755", "#!/bin/sh"));
    assert_eq!(found["tool"], shown("644", "tool two"));
    assert_eq!(found.get("link").map(String::as_str), cfg!(unix).then_some("link data/c"));
    assert_eq!(found["dirfile"], shown("644", "now a file"));
    assert_eq!(found["shared/user.txt"], shown("644", "mine in a shared directory"));
    let mut kept: Vec<&str> = report.kept.iter().map(|k| k.path.as_str()).collect();
    kept.sort_unstable();
    let odd = if cfg!(windows) { "dirfile/odd%25name~1" } else { "dirfile/odd%25name:%01" };
    let expected = ["blocked", "conf.ini", "dirfile/mine/notes.txt", odd, "edited-gone.txt", "new.txt"];
    assert_eq!(kept, expected);
    for kept in &report.kept {
        let text = std::fs::read_to_string(&kept.kept_at).expect("kept");
        assert!(USER.iter().any(|(_, mine)| *mine == text), "{kept:?}");
    }
    assert!(site.state().join("kept/1/dirfile/mine/hollow").is_dir(), "empty directories are kept too");
    assert_eq!(site.stamps(), stamps);
    assert_eq!((report.backups.copied, report.backups.moved), (0, 0));
    let again = update(&site.tree(), &new_release(), &new_release()).expect("nothing to do");
    assert_eq!((again.placed, again.removed, again.kept.len()), (0, 0, 0));
}

/// Under wine every call costs a hundred times as much, so only some of the many points are tried there.
const STRIDE: usize = if cfg!(windows) { 9 } else { 1 };

#[test]
fn dying_at_any_call_leaves_the_old_tree_or_the_new_one() {
    let ends = ends();
    let (mut forward, mut back) = (0, 0);
    for k in (0..ends.calls).step_by(STRIDE) {
        let site = Site::lived_in();
        let stamps = site.stamps();
        let died = update(&site.tree_on(faulty(&site, &Control::at(k, Fault::Die))), &old_release(), &new_release());
        let recovered = restart(&site).unwrap_or_else(|e| panic!("call {k}: {e}"));
        let is_new = assert_whole(&site, &ends, &stamps, &format!("died at {k} with {died:?}, {recovered:?}"));
        assert!(is_new || died.is_err(), "call {k}: a commit that returned was undone");
        match recovered {
            Recovery::RolledForward(report) => {
                forward += 1;
                assert_eq!(report.kept.len(), 6, "call {k}: what was set aside is reported: {report:?}");
            }
            Recovery::RolledBack(_) => back += 1,
            Recovery::Nothing => {}
        }
        update(&quick(&site), &if is_new { new_release() } else { old_release() }, &new_release()).expect("once more");
        assert_eq!(site.snapshot(), ends.new, "call {k}: the next update finishes the way");
    }
    assert!(forward > 50 / STRIDE, "{forward} forward, {back} back of {}", ends.calls);
}

#[test]
fn dying_again_during_recovery_changes_nothing_about_it() {
    let ends = ends();
    let mut states = 0;
    for k in (0..ends.calls).step_by(3 * STRIDE - 2) {
        // Early, in the middle and late, at other calls for each k.
        for j in [k % 3, 4 + k % 7, 12 + k % 23, 36 + k % 53, 90 + k % 97] {
            let site = Site::lived_in();
            let stamps = site.stamps();
            let tree = site.tree_on(faulty(&site, &Control::at(k, Fault::Die)));
            let _ = update(&tree, &old_release(), &new_release());
            drop(tree);
            if !site.state().join("journal").exists() {
                break;
            }
            let ended = recover(&site.tree_on(faulty(&site, &Control::at(j, Fault::Die)))).is_ok();
            restart(&site).unwrap_or_else(|e| panic!("calls {k}, {j}: {e}"));
            assert_whole(&site, &ends, &stamps, &format!("died at {k}, again at {j}"));
            states += 1;
            if ended {
                break;
            }
        }
    }
    assert!(states > 300 / (3 * STRIDE - 2), "{states}");
}

#[test]
fn a_failing_call_rolls_back_or_does_not_matter() {
    let ends = ends();
    let kinds = [io::ErrorKind::Other, io::ErrorKind::StorageFull, io::ErrorKind::PermissionDenied];
    let mut rolled_back = 0;
    for k in (0..ends.calls).step_by(3 * STRIDE - 2) {
        for kind in kinds {
            let site = Site::lived_in();
            let stamps = site.stamps();
            let control = Control::at(k, Fault::Fail(kind));
            let result = update(&site.tree_on(faulty(&site, &control)), &old_release(), &new_release());
            let context = format!("{kind} at {k}: {result:?}");
            let in_flight = site.tree().is_in_transaction().expect("readable");
            match &result {
                Ok(_) => assert_eq!(site.snapshot(), ends.new, "{context}"),
                Err(TreeError::RolledBack { .. }) => {
                    rolled_back += 1;
                    assert_eq!(site.snapshot(), ends.old, "{context}");
                    assert!(!in_flight, "{context}");
                }
                // The journal may be there though its rename is said to have failed to become durable.
                Err(TreeError::CutOff { .. }) => {}
                Err(_) => assert_eq!(site.snapshot(), ends.old, "{context}"),
            }
            restart(&site).unwrap_or_else(|e| panic!("{context}, then {e}"));
            assert_whole(&site, &ends, &stamps, &context);
        }
    }
    assert!(rolled_back > 50 / (3 * STRIDE - 2), "{rolled_back}");
}

#[test]
fn without_hard_links_old_contents_are_copied_and_nothing_else_changes() {
    let ends = ends();
    let site = Site::lived_in();
    let stamps = site.stamps();
    let lacks = Lacks { hard_links: true, ..NOTHING };
    let without = |site: &Site, control| FaultyFs::open_on(lacks, &site.root(), &site.state(), control);
    let control = Control::counting();
    let report = update(&site.tree_on(without(&site, control.clone())), &old_release(), &new_release()).expect("done");
    assert!(report.backups.linked == 0 && report.backups.copied > 10, "{report:?}");
    assert!(assert_whole(&site, &ends, &stamps, "copied"));
    for k in (0..control.calls()).step_by(3 * STRIDE) {
        let site = Site::lived_in();
        let stamps = site.stamps();
        let _ = update(&site.tree_on(without(&site, Control::at(k, Fault::Die))), &old_release(), &new_release());
        recover(&site.tree_on(without(&site, Control::counting()))).unwrap_or_else(|e| panic!("call {k}: {e}"));
        assert_whole(&site, &ends, &stamps, &format!("died at {k} without links"));
    }
}
