//! A macOS bundle is changed by new files alone, with its frameworks' links right and nothing foreign in it.
//!
//! Not on Windows, where no bundles are and no links can be made without a right of their own.
#![cfg(unix)]

#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/tree.rs"]
mod tree;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use lamplighter_client::tree::Tree;
use tree::Item::{File, Link, Program};
use tree::{Release, Site, record, update};

const FRAMEWORK: &str = "Contents/Frameworks/Light.framework";

fn old() -> Release {
    vec![
        ("Contents/Frameworks/Light.framework/Light", Link("Versions/Current/Light")),
        ("Contents/Frameworks/Light.framework/Resources", Link("Versions/Current/Resources")),
        ("Contents/Frameworks/Light.framework/Versions/A/Light", Program("light A")),
        ("Contents/Frameworks/Light.framework/Versions/A/Resources/Info.plist", File("plist A")),
        ("Contents/Frameworks/Light.framework/Versions/Current", Link("A")),
        ("Contents/Info.plist", File("app plist")),
        ("Contents/MacOS/lantern", Program("signed code one")),
        ("Contents/_CodeSignature/CodeResources", File("seal one")),
    ]
}

fn new() -> Release {
    vec![
        ("Contents/Frameworks/Light.framework/Light", Link("Versions/Current/Light")),
        ("Contents/Frameworks/Light.framework/Resources", Link("Versions/Current/Resources")),
        ("Contents/Frameworks/Light.framework/Versions/B/Light", Program("light B")),
        ("Contents/Frameworks/Light.framework/Versions/B/Resources/Info.plist", File("plist B")),
        ("Contents/Frameworks/Light.framework/Versions/Current", Link("B")),
        ("Contents/Info.plist", File("app plist")),
        ("Contents/MacOS/lantern", Program("signed code two")),
        ("Contents/_CodeSignature/CodeResources", File("seal two")),
    ]
}

/// The old release as a bundle, with its state where it belongs; the directory it lies in goes with the site.
fn bundle(site: &Site) -> (PathBuf, Tree) {
    let root = site.dir.path().join("Lantern.app");
    fs::rename(site.root(), &root).expect("renamed");
    fs::rename(root.join(".lamplighter"), site.dir.path().join(".Lantern.app.lamplighter")).expect("renamed");
    let tree = Tree::open(&root, None).expect("a tree");
    (root, tree)
}

#[test]
fn frameworks_keep_their_shape_and_links_lead_to_the_new_version() {
    let site = Site::plain(&old());
    let (root, tree) = bundle(&site);
    assert_eq!(tree.record().expect("read"), Some(record(&old())), "the state beside the bundle is used");
    for (from, to, version) in [(old(), new(), "B"), (new(), old(), "A")] {
        let report = update(&tree, &from, &to).expect("an update");
        assert_eq!(report.kept, []);
        let framework = root.join(FRAMEWORK);
        assert_eq!(fs::read_link(framework.join("Versions/Current")).expect("a link").to_str(), Some(version));
        assert_eq!(fs::read_to_string(framework.join("Light")).expect("through two links"), format!("light {version}"));
        let plist = fs::read_to_string(framework.join("Resources/Info.plist")).expect("through two links");
        assert_eq!(plist, format!("plist {version}"));
        assert_eq!(fs::read_dir(framework.join("Versions")).expect("listed").count(), 2, "one version and Current");
    }
    let names: Vec<_> = fs::read_dir(&root).expect("listed").map(|e| e.expect("an entry").file_name()).collect();
    assert_eq!(names, ["Contents"], "nothing foreign is in the bundle");
}

#[test]
fn signed_code_is_never_written_into() {
    let site = Site::plain(&old());
    let (root, tree) = bundle(&site);
    let code = root.join("Contents/MacOS/lantern");
    let number = |path: &std::path::Path| fs::metadata(path).expect("there").ino();
    // A second name keeps the old file, as a running process does.
    let second = site.dir.path().join("running");
    fs::hard_link(&code, &second).expect("linked");
    let (old_number, plist_number) = (number(&code), number(&root.join("Contents/Info.plist")));
    let changed = fs::metadata(&second).expect("there").modified().expect("a time");

    update(&tree, &old(), &new()).expect("an update");
    assert_eq!(fs::read_to_string(&code).expect("there"), "signed code two");
    assert_ne!(number(&code), old_number, "new code is a new file");
    assert_eq!(number(&second), old_number);
    assert_eq!(fs::read_to_string(&second).expect("there"), "signed code one", "the old file is as it was");
    assert_eq!(fs::metadata(&second).expect("there").modified().expect("a time"), changed);
    assert_eq!(number(&root.join("Contents/Info.plist")), plist_number, "what does not change is not touched");
}
