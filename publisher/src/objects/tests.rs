//! Tests of whole builds: what is stored comes back, once, and stays where it is.

use super::*;
use lamplighter_client::format::digest::ContentDigest;
use lamplighter_client::format::manifest::{Kind, Policy, Row};
use lamplighter_client::format::objects::decode;
use lamplighter_client::format::path::RelPath;
use lamplighter_client::progress::Silent;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;

/// Fast; which level is used decides on nothing but lengths.
const TEST_LEVEL: i32 = 1;

/// Bytes that look random and are the same everywhere.
pub(super) fn noise(seed: &str, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new_derive_key("test noise").update(seed.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Bytes that compress to about a fourth, as program text does.
fn text(seed: &str, length: usize) -> Vec<u8> {
    let words = noise("words", 64 * 9);
    noise(seed, length / 9 + 1)
        .iter()
        .flat_map(|b| &words[usize::from(b % 64) * 9..][..9])
        .copied()
        .take(length)
        .collect()
}

/// Files by their paths.
type Tree = BTreeMap<String, Vec<u8>>;

/// `count` files of 1 to 60 KB.
fn small_files(count: usize) -> Tree {
    let file = |n: usize| {
        let name = format!("dir{:02}/file{n:04}.txt", n / 30);
        let length = 1000 + usize::from(noise(&name, 1)[0]) * 230;
        (name.clone(), noise(&name, length))
    };
    (0..count).map(file).collect()
}

fn manifest(tree: &Tree) -> Manifest {
    let row = |(path, content): (&String, &Vec<u8>)| Row {
        path: RelPath::parse(path).expect("a legal path"),
        digest: ContentDigest::of(content),
        kind: Kind::File { executable: false },
        policy: Policy::Managed,
    };
    Manifest::new(tree.iter().map(row).collect()).expect("no conflicts")
}

fn written(tree: &Tree) -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    for (path, content) in tree {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("created");
        std::fs::write(path, content).expect("written");
    }
    dir
}

#[derive(Default)]
struct Memory(Mutex<HashMap<Blake3, Vec<u8>>>);

impl ObjectSink for Memory {
    fn has(&self, blake3: &Blake3, length: u64) -> bool {
        self.0.lock().expect("no panic").get(blake3).is_some_and(|stored| stored.len() as u64 == length)
    }

    fn put(&self, blake3: &Blake3, stored: &[u8]) -> io::Result<()> {
        assert_eq!(Blake3::of(stored), *blake3);
        self.0.lock().expect("no panic").insert(*blake3, stored.to_vec());
        Ok(())
    }
}

struct Release {
    tree: Tree,
    manifest: Manifest,
    index: ObjectsIndex,
    stats: ObjectStats,
}

impl Release {
    fn build(tree: &Tree, prior: &[&Release], sink: &Memory) -> Release {
        let dir = written(tree);
        let manifest = manifest(tree);
        let prior: Vec<Prior<'_>> = prior.iter().map(|r| Prior { manifest: &r.manifest, index: &r.index }).collect();
        let (index, stats) =
            build_at_level(TEST_LEVEL, &manifest, dir.path(), &prior, sink, &Silent).expect("a release is built");
        Release { tree: tree.clone(), manifest, index, stats }
    }

    /// Every row, put together from what the sink holds.
    fn read_back(&self, sink: &Memory) -> Tree {
        let stored = sink.0.lock().expect("no panic");
        let raw: Vec<Vec<u8>> =
            self.index.objects().iter().map(|o| decode(&stored[&o.blake3], o).expect("decoded")).collect();
        let content = |row: usize| {
            let pieces = self.index.pieces(row).iter();
            pieces.flat_map(|p| &raw[p.object][p.offset as usize..][..p.length as usize]).copied().collect()
        };
        self.manifest.rows().iter().enumerate().map(|(n, row)| (row.path.to_string(), content(n))).collect()
    }

    fn names(&self) -> HashSet<Blake3> {
        self.index.objects().iter().map(|o| o.blake3).collect()
    }

    fn objects_not_in(&self, other: &Release) -> usize {
        self.names().difference(&other.names()).count()
    }
}

#[test]
fn equal_content_is_stored_once() {
    let sink = Memory::default();
    let large = noise("large", 6 << 20);
    let doubled = [&large[..], &large].concat();
    let tree: Tree = [("a/1", large.clone()), ("b/2", large), ("c", doubled), ("d", vec![1; 9]), ("e", vec![1; 9])]
        .map(|(path, content)| (path.to_owned(), content))
        .into();
    let release = Release::build(&tree, &[], &sink);
    assert_eq!(release.read_back(&sink), tree);
    assert_eq!(release.index.pieces(0), release.index.pieces(1));
    assert_eq!(release.index.pieces(3), release.index.pieces(4));
    assert!(release.stats.stored_bytes < 14 << 20, "{:?}", release.stats);
}

#[test]
fn a_tree_without_content_has_no_objects() {
    let tree: Tree = [("empty".to_owned(), Vec::new())].into();
    let release = Release::build(&tree, &[], &Memory::default());
    assert_eq!(release.stats, ObjectStats::default());
    assert_eq!(release.index.row_count(), 1);
}

#[test]
fn objects_have_fitting_lengths_whatever_they_hold() {
    for (name, make) in [("noise", noise as fn(&str, usize) -> Vec<u8>), ("text", text)] {
        let mut tree: Tree =
            (0..700).map(|n| (format!("small{n}"), make(&n.to_string(), 3000 + n * 53 % 40_000))).collect();
        tree.insert("large".into(), make("large", 16 << 20));
        let release = Release::build(&tree, &[], &Memory::default());
        let mut lengths: Vec<u64> = release.index.objects().iter().map(|o| o.length).collect();
        lengths.sort_unstable();
        assert!(lengths[1] >= 256 << 10, "{name}: {lengths:?}");
        assert!(lengths.last().is_some_and(|longest| *longest <= (4 << 20) + 1024), "{name}: {lengths:?}");
    }
}

#[test]
fn content_that_an_earlier_release_stored_is_not_read() {
    let sink = Memory::default();
    let mut tree = small_files(60);
    tree.insert("large".into(), noise("large", 9 << 20));
    let first = Release::build(&tree, &[], &sink);
    let prior = [Prior { manifest: &first.manifest, index: &first.index }];
    let nowhere = Path::new("/nowhere/at/all");
    let (index, stats) = build_at_level(TEST_LEVEL, &first.manifest, nowhere, &prior, &sink, &Silent).expect("built");
    assert_eq!(index, first.index);
    assert_eq!((stats.new_objects, stats.written_objects), (0, 0));
}

#[test]
fn a_changed_file_costs_its_own_content() {
    let sink = Memory::default();
    let tree = small_files(300);
    let first = Release::build(&tree, &[], &sink);
    assert!(first.index.objects().len() >= 8);
    for path in ["dir00/file0000.txt", "dir05/file0164.txt"] {
        let mut changed = tree.clone();
        changed.insert(path.into(), noise("changed", 5000));
        let second = Release::build(&changed, &[&first], &sink);
        assert_eq!(second.read_back(&sink), changed);
        assert_eq!(second.stats.new_objects, 1);
        assert!(second.stats.new_bytes < 5100, "{:?}", second.stats);
    }
}

#[test]
fn a_file_that_comes_or_goes_costs_its_own_content() {
    let sink = Memory::default();
    let tree = small_files(300);
    let first = Release::build(&tree, &[], &sink);
    let mut more = tree.clone();
    more.insert("dir05/another.txt".into(), noise("another", 5000));
    let second = Release::build(&more, &[&first], &sink);
    assert!(second.stats.new_objects == 1 && second.stats.new_bytes < 5100, "{:?}", second.stats);
    assert_eq!(second.read_back(&sink), more);
    let mut less = tree.clone();
    less.remove("dir05/file0164.txt");
    assert_eq!(Release::build(&less, &[&first], &sink).stats.new_objects, 0);
}

/// Two platforms that are built apart still share nearly all objects.
#[test]
fn without_earlier_releases_a_change_moves_few_objects() {
    let tree = small_files(240);
    let first = Release::build(&tree, &[], &Memory::default());
    let all = first.index.objects().len();
    for n in (0..240).step_by(57) {
        let path = tree.keys().nth(n).expect("a path").clone();
        let mut changed = tree.clone();
        changed.insert(path.clone(), noise("changed", tree[&path].len() + 100));
        let mut more = tree.clone();
        more.insert(format!("{path}.more"), noise("more", 20_000));
        let mut less = tree.clone();
        less.remove(&path);
        for (what, tree, most) in [("changed", changed, 4), ("more", more, 6), ("less", less, 6)] {
            let fresh = Release::build(&tree, &[], &Memory::default()).objects_not_in(&first);
            assert!(fresh <= most, "{path} {what}: {fresh} of {all}");
        }
    }
}

#[test]
fn a_byte_in_front_of_a_large_file_costs_its_first_pieces() {
    let sink = Memory::default();
    let content = noise("large", 20 << 20);
    let longer = [&b"x"[..], &content].concat();
    let first = Release::build(&[("app".into(), content)].into(), &[], &sink);
    let second = Release::build(&[("app".into(), longer)].into(), &[&first], &sink);
    assert_eq!(second.read_back(&sink), second.tree);
    assert!(first.index.objects().len() >= 6 && second.stats.new_objects <= 2, "{:?}", second.stats);
}

#[test]
fn the_number_of_threads_decides_nothing() {
    let mut tree = small_files(150);
    tree.insert("large".into(), text("large", 9 << 20));
    let mut changed = tree.clone();
    changed.insert("dir01/file0040.txt".into(), text("changed", 70_000));
    let build = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| {
            let sink = Memory::default();
            let first = Release::build(&tree, &[], &sink);
            let second = Release::build(&changed, &[&first], &sink);
            let names = sink.0.into_inner().expect("no panic").into_keys().collect::<HashSet<_>>();
            (first.index.to_bytes(), second.index.to_bytes(), first.stats, second.stats, names)
        })
    };
    let one = build(1);
    assert!(one == build(2) && one == build(8));
}

#[test]
fn over_many_releases_objects_stay_few_and_full() {
    let sink = Memory::default();
    let mut tree = small_files(120);
    let mut last = Release::build(&tree, &[], &sink);
    let at_first = last.index.objects().len();
    for round in 0..24usize {
        for n in 0..4 {
            let name = format!("{round} {n}");
            let pick = usize::from(noise(&name, 1)[0]) % tree.len();
            let path = tree.keys().nth(pick).expect("a path").clone();
            tree.insert(path, noise(&name, 20_000));
        }
        let next = Release::build(&tree, &[&last], &sink);
        assert_eq!(next.read_back(&sink), tree);
        let raw: u64 = next.index.objects().iter().map(|o| o.raw_length).sum();
        assert!(raw <= next.manifest.content_bytes() * 21 / 20, "round {round}: {raw}");
        assert!(next.index.objects().len() <= at_first + 12, "round {round}: {}", next.index.objects().len());
        last = next;
    }
}

fn refusal(tree: &Tree, dir: &Path, sink: &dyn ObjectSink) -> String {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool");
    let build = || build_at_level(TEST_LEVEL, &manifest(tree), dir, &[], sink, &Silent);
    pool.install(build).expect_err("refused").to_string()
}

#[test]
fn a_file_that_is_not_what_the_manifest_says_is_named() {
    let tree: Tree = [("a".into(), noise("a", 5000)), ("d/b".into(), noise("b", 5000))].into();
    for content in [noise("b", 4999), noise("b", 5001), noise("c", 5000), Vec::new()] {
        let dir = written(&tree);
        std::fs::write(dir.path().join("d/b"), content).expect("written");
        assert!(refusal(&tree, dir.path(), &Memory::default()).starts_with("d/b changed while"));
    }
    let dir = written(&tree);
    std::fs::remove_file(dir.path().join("d/b")).expect("removed");
    assert!(refusal(&tree, dir.path(), &Memory::default()).starts_with("cannot read d/b: "));
}

/// Changes two files as soon as the first object arrives.
struct Meddler<'a>(&'a Path);

impl ObjectSink for Meddler<'_> {
    fn has(&self, _: &Blake3, _: u64) -> bool {
        false
    }

    fn put(&self, _: &Blake3, _: &[u8]) -> io::Result<()> {
        std::fs::write(self.0.join("a"), noise("other", 1 << 20))?;
        std::fs::write(self.0.join("b"), noise("other", 1 << 20))
    }
}

#[test]
fn a_file_that_changes_after_it_was_cut_is_named() {
    let tree: Tree = [("a".into(), noise("a", 1 << 20)), ("b".into(), noise("b", 1 << 20))].into();
    let dir = written(&tree);
    let refusal = refusal(&tree, dir.path(), &Meddler(dir.path()));
    assert!(refusal.contains(" changed while the release was built"), "{refusal}");
}

struct Full;

impl ObjectSink for Full {
    fn has(&self, _: &Blake3, _: u64) -> bool {
        false
    }

    fn put(&self, _: &Blake3, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::StorageFull.into())
    }
}

#[test]
fn a_sink_that_fails_is_reported() {
    let tree: Tree = [("a".into(), noise("a", 50))].into();
    assert!(refusal(&tree, written(&tree).path(), &Full).starts_with("cannot store object "));
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

#[test]
fn progress_adds_up_to_the_content() {
    let mut tree = small_files(50);
    tree.insert("twice".into(), tree["dir00/file0001.txt"].clone());
    let (dir, manifest, sum) = (written(&tree), manifest(&tree), Sum::default());
    build_at_level(TEST_LEVEL, &manifest, dir.path(), &[], &Memory::default(), &sum).expect("built");
    assert_eq!(sum.0.into_inner(), manifest.content_bytes());
}

/// Content of small alphabets and lengths, so that equal and empty files are common, and some that are cut.
fn contents() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::collection::vec(0u8..3, 0..3),
        4 => (0u8..5, 1usize..40_000).prop_map(|(seed, length)| noise(&seed.to_string(), length)),
        1 => (0u8..3, 2usize << 20..7 << 20).prop_map(|(seed, length)| noise(&seed.to_string(), length)),
    ]
}

fn trees() -> impl Strategy<Value = Tree> {
    prop::collection::btree_map("[a-d]/[a-z]{1,3}", contents(), 0..12)
        .prop_filter("legal names", |tree| tree.keys().all(|path| RelPath::parse(path).is_ok()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_trees_are_given_back(trees in prop::collection::vec(trees(), 1..4)) {
        let sink = Memory::default();
        let mut releases: Vec<Release> = Vec::new();
        for tree in &trees {
            let prior: Vec<&Release> = releases.iter().rev().collect();
            let release = Release::build(tree, &prior, &sink);
            prop_assert_eq!(&release.read_back(&sink), tree);
            prop_assert_eq!(&ObjectsIndex::parse(&release.index.to_bytes(), &release.manifest), &Ok(release.index.clone()));
            releases.push(release);
        }
    }
}
