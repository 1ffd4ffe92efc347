use super::*;
use crate::format::manifest::Policy;
use crate::format::path::LinkDestination;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::{AtomicU64, Ordering};

fn path(text: &str) -> RelPath {
    RelPath::parse(text).expect("a legal path")
}

fn file(name: &str, content: &[u8], executable: bool) -> Row {
    let (digest, policy) = (ContentDigest::of(content), Policy::Managed);
    Row { path: path(name), digest, kind: Kind::File { executable }, policy }
}

#[derive(Default)]
struct Sum(AtomicU64);

impl Progress for Sum {
    fn event(&self, event: Event<'_>) {
        if let Event::Advanced { bytes } = event {
            self.0.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

/// A tree with one thing of each kind, and rows that each find something else.
fn mixed() -> (tempfile::TempDir, Vec<Row>) {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("d/e")).expect("made");
    for (name, mode) in [("d/good", 0o644), ("d/program", 0o755), ("d/lost-bit", 0o644), ("d/suid", 0o4755)] {
        fs::write(at(name), "content").expect("written");
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).expect("own");
    }
    fs::write(at("d/damaged"), "cOntent").expect("written");
    fs::write(at("d/longer"), "content and more").expect("written");
    symlink("good", at("d/link")).expect("linked");
    symlink("elsewhere", at("d/moved-link")).expect("linked");
    symlink("d", at("planted")).expect("linked");
    fs::create_dir(at("d/now-a-directory")).expect("made");
    let link = |name: &str| {
        let destination = LinkDestination::parse(&path(name), "good").expect("in the tree");
        Row::link(path(name), destination)
    };
    let rows = vec![
        file("d/damaged", b"content", false),
        Row::directory(path("d/e")),
        file("d/good", b"content", false),
        link("d/link"),
        file("d/longer", b"content", false),
        file("d/lost-bit", b"content", true),
        file("d/missing", b"content", false),
        link("d/moved-link"),
        file("d/now-a-directory", b"content", false),
        file("d/program", b"content", true),
        file("d/suid", b"content", true),
        file("nowhere/at/all", b"content", false),
        file("planted/good", b"content", false),
    ];
    (dir, rows)
}

fn shown(finding: &Finding) -> String {
    match finding {
        Finding::Other(Found::File { size, blake3 }) => format!("file {size} {}", blake3.is_some()),
        Finding::Other(Found::Unreadable(e)) => format!("unreadable: {e}"),
        other => format!("{other:?}"),
    }
}

#[test]
fn each_row_is_found_as_it_is() {
    let (dir, rows) = mixed();
    let tree = Tree::open(dir.path(), None).expect("a tree");
    let rows: Vec<&Row> = rows.iter().collect();
    for depth in [Depth::Kind, Depth::Content, Depth::ContentAndCrc] {
        let sum = Sum::default();
        let found: Vec<String> = check(&tree, &rows, depth, &sum, &Cancel::default()).iter().map(shown).collect();
        let damaged = if depth == Depth::Kind { "Intact" } else { "file 7 true" };
        let expected = [
            damaged,
            "Intact",
            "Intact",
            "Intact",
            "file 16 false",
            "WrongMode",
            "Missing",
            "Other(Link(\"elsewhere\"))",
            "Other(Directory)",
            "Intact",
            "WrongMode",
            "Missing",
            "unreadable: planted is a link where a directory was expected, and links are not followed",
        ];
        assert_eq!(found, expected, "{depth:?}");
        let files: u64 = rows.iter().filter(|row| row.is_file()).map(|row| row.digest.size).sum();
        assert_eq!(sum.0.into_inner(), files, "{depth:?}: progress adds up whatever is found");
    }
}

#[test]
fn wrong_crcs_are_found_only_where_they_are_computed() {
    let (dir, _) = mixed();
    let tree = Tree::open(dir.path(), None).expect("a tree");
    let mut row = file("d/good", b"content", false);
    row.digest.crc.reversed ^= 1;
    let found = |depth| shown(&check(&tree, &[&row], depth, &Silent, &Cancel::default())[0]);
    assert_eq!((found(Depth::Content).as_str(), found(Depth::ContentAndCrc).as_str()), ("Intact", "file 7 true"));
}

#[test]
fn large_files_are_hashed_right_on_any_number_of_threads() {
    let dir = tempfile::tempdir().expect("a directory");
    let sizes =
        [BUFFER_BYTES - 1, BUFFER_BYTES, BUFFER_BYTES + 1, SHARED_BYTES as usize, SHARED_BYTES as usize + 12345];
    let mut rows = Vec::new();
    for (index, size) in sizes.into_iter().enumerate() {
        let content: Vec<u8> = (0..size).map(|i| (i * 31 + index) as u8).collect();
        fs::write(dir.path().join(index.to_string()), &content).expect("written");
        rows.push(file(&index.to_string(), &content, false));
    }
    let tree = Tree::open(dir.path(), None).expect("a tree");
    // Many rows of the same files, so that threads wait for each other in the middle of one.
    let many: Vec<&Row> = (0..40).map(|i| &rows[i % rows.len()]).collect();
    for threads in [1, 4] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        let found = pool.install(|| check(&tree, &many, Depth::ContentAndCrc, &Silent, &Cancel::default()));
        assert!(found.iter().all(|f| matches!(f, Finding::Intact)), "{found:?}");
        let found = pool.install(|| check(&tree, &many, Depth::Content, &Silent, &Cancel::default()));
        assert!(found.iter().all(|f| matches!(f, Finding::Intact)), "{found:?}");
    }
}

#[test]
fn identifying_reads_whatever_is_there() {
    let (dir, _) = mixed();
    let tree = Tree::open(dir.path(), None).expect("a tree");
    let paths = ["d/longer", "d/missing", "d/link", "d/e"].map(path);
    let paths: Vec<&RelPath> = paths.iter().collect();
    let found = identify(&tree, &paths, &Silent, &Cancel::default());
    let long = Blake3::of(b"content and more");
    assert!(matches!(&found[0], Some(Found::File { size: 16, blake3: Some(b) }) if *b == long), "{:?}", found[0]);
    assert!(found[1].is_none());
    assert!(matches!(&found[2], Some(Found::Link(to)) if to == "good"));
    assert!(matches!(&found[3], Some(Found::Directory)));
}

#[test]
fn a_cancelled_check_says_what_it_did_not_read() {
    let (dir, rows) = mixed();
    let tree = Tree::open(dir.path(), None).expect("a tree");
    let cancel = Cancel::default();
    cancel.cancel();
    let found = check(&tree, &[&rows[2]], Depth::Content, &Silent, &cancel);
    assert!(matches!(&found[0], Finding::Other(Found::Unreadable(e)) if e.kind() == io::ErrorKind::Interrupted));
}

#[test]
fn where_modes_are_not_kept_none_is_wrong() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("program"), "content").expect("written");
    let rows = [file("program", b"content", true)];
    let found = || {
        let tree = Tree::open(dir.path(), None).expect("a tree");
        let rows: Vec<&Row> = rows.iter().collect();
        check(&tree, &rows, Depth::Content, &Silent, &Cancel::default()).iter().map(shown).collect::<Vec<_>>()
    };
    assert_eq!(found(), ["WrongMode"]);
    // As on a volume that shows the same for all files: neither the state directory nor a file made in it has its mode.
    let state = dir.path().join(".lamplighter");
    fs::create_dir(&state).expect("made");
    fs::write(state.join("modes"), "").expect("written");
    for path in [&state, &state.join("modes")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).expect("own");
    }
    assert_eq!(found(), ["Intact"]);
}
