//! Packs from two trees on disk to the contents a client makes of them.

#[path = "support/linker/mod.rs"]
mod linker;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::path::Path;

use lamplighter_client::format::digest::ContentDigest;
use lamplighter_client::format::manifest::{Kind, Manifest, Policy, Row};
use lamplighter_client::format::pack::codec::Algorithm;
use lamplighter_client::format::pack::wire::{Reader, unzigzag};
use lamplighter_client::format::pack::{Origin, PackHeader, REFERENCES};
use lamplighter_client::format::path::{LinkDestination, RelPath};
use lamplighter_client::patch::{PatchError, PieceDecoder, UnitDecoder};
use lamplighter_client::progress::Silent;
use lamplighter_publisher::packs::{BuiltPack, PackOptions, Step, UnitCache, build};
use proptest::prelude::*;

#[derive(Debug, Clone, PartialEq)]
enum Node {
    File { content: Vec<u8>, executable: bool, keep: bool },
    Link(String),
    Directory,
}

type Tree = BTreeMap<String, Node>;

fn file(content: &[u8]) -> Node {
    Node::File { content: content.to_vec(), executable: false, keep: false }
}

fn tree(files: &[(&str, &[u8])]) -> Tree {
    files.iter().map(|(path, content)| ((*path).to_owned(), file(content))).collect()
}

fn manifest(tree: &Tree) -> Manifest {
    let row = |(path, node): (&String, &Node)| {
        let path = RelPath::parse(path).expect("a path");
        match node {
            Node::File { content, executable, keep } => Row {
                digest: ContentDigest::of(content),
                kind: Kind::File { executable: *executable },
                policy: if *keep { Policy::Keep } else { Policy::Managed },
                path,
            },
            Node::Link(to) => Row::link(path.clone(), LinkDestination::parse(&path, to).expect("in the tree")),
            Node::Directory => Row::directory(path),
        }
    };
    Manifest::new(tree.iter().map(row).collect()).expect("a manifest")
}

fn write(tree: &Tree, dir: &Path) {
    for (path, node) in tree {
        let Node::File { content, .. } = node else { continue };
        let path = dir.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, content).expect("written");
    }
}

/// Two trees on disk.
struct Pair {
    base: Manifest,
    new: Manifest,
    dir: tempfile::TempDir,
}

impl Pair {
    fn new(base: &Tree, new: &Tree) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        write(base, &dir.path().join("base"));
        write(new, &dir.path().join("new"));
        fs::create_dir(dir.path().join("scratch")).expect("made");
        Self { base: manifest(base), new: manifest(new), dir }
    }

    fn build(&self, effort: u8, cache: &UnitCache) -> (BuiltPack, Vec<u8>) {
        let (base_dir, new_dir) = (self.dir.path().join("base"), self.dir.path().join("new"));
        let step = Step { base: &self.base, base_dir: &base_dir, new: &self.new, new_dir: &new_dir };
        let built = build(&step, PackOptions::of_effort(effort), cache, &self.dir.path().join("scratch"), &Silent)
            .expect("a pack");
        let bytes = fs::read(built.file.path()).expect("read");
        assert_eq!(built.length, bytes.len() as u64);
        (built, bytes)
    }

    fn base_contents(&self) -> Vec<Vec<u8>> {
        support::contents(&self.base, &self.dir.path().join("base"))
    }

    /// Builds, applies and compares.
    fn prove(&self, effort: u8) -> Vec<u8> {
        let (built, bytes) = self.build(effort, &UnitCache::default());
        let (rebuilt, _) = support::apply(&bytes, built.header_length, &self.base, &self.base_contents());
        assert_eq!(rebuilt, self.new);
        bytes
    }
}

/// Bytes without repetition.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Some files whose units have one block, several blocks, and none.
fn varied() -> (Tree, Tree) {
    let (large, mut edited) = (noise(1, 3 << 20), noise(1, 3 << 20));
    edited.splice(1_000_000..1_000_010, noise(2, 2_500_000));
    edited[2_000_000] ^= 1;
    let text = "the lamplighter goes from lantern to lantern\n".repeat(200).into_bytes();
    let base = tree(&[("bin/large", &large), ("doc/a.txt", &text), ("doc/b.txt", &text[1..]), ("old/x", b"moved")]);
    let longer = [&text[..100], b"a new line\n", &text[100..]].concat();
    let mut new = tree(&[
        ("bin/large", &edited),
        ("doc/a.txt", &longer),
        ("doc/c.txt", &text[5..]),
        ("doc/copy.txt", &longer),
        ("doc/empty", b""),
        ("new/x", b"moved"),
        ("pic.bin", &noise(9, 2_200_000)),
    ]);
    new.insert("doc/link".into(), Node::Link("a.txt".into()));
    new.insert("nothing".into(), Node::Directory);
    (base, new)
}

#[test]
fn a_varied_step_comes_back_whole() {
    let (base, new) = varied();
    let pair = Pair::new(&base, &new);
    let bytes = pair.prove(1);
    let header = PackHeader::parse(&bytes[..pair.build(1, &UnitCache::default()).0.header_length as usize]);
    let header = header.expect("a header");
    assert!(header.units().iter().any(|unit| unit.blocks.len() > 1), "no unit with several blocks");
    let rebuilt = header.rebuild(&pair.base).expect("edits that fit");
    let origin = |path: &str| rebuilt.origins[pair.new.find(&RelPath::parse(path).expect("a path")).expect("a row").0];
    assert!(matches!(origin("new/x"), Origin::Copy { .. }));
    assert!(matches!(origin("doc/copy.txt"), Origin::Twin { .. }));
    assert!(matches!(origin("doc/link"), Origin::None));
    assert!(bytes.len() < 4_750_000, "{} bytes", bytes.len());
}

#[test]
fn packs_are_equal_at_any_thread_count_and_with_any_cache() {
    let (base, new) = varied();
    let pair = Pair::new(&base, &new);
    let shared = UnitCache::default();
    let at = |threads: usize, cache: &UnitCache| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| pair.build(2, cache))
    };
    let (_, one) = at(1, &UnitCache::default());
    for threads in [2, 8] {
        assert!(at(threads, &UnitCache::default()).1 == one, "{threads} threads give another pack");
    }
    let (first, bytes) = at(2, &shared);
    assert!(bytes == one && first.units.iter().all(|unit| !unit.reused));
    let (second, bytes) = at(2, &shared);
    assert!(bytes == one && second.units.iter().all(|unit| unit.reused));
}

#[test]
fn packs_of_executables_among_other_files_are_equal_at_any_thread_count() {
    use linker::program::{Dice, Program};
    let text = "the lamplighter goes from lantern to lantern\n".repeat(200).into_bytes();
    let (mut base, mut new) =
        (tree(&[("a.txt", &text), ("b.js", b"b")]), tree(&[("a.txt", &text[9..]), ("c.js", b"c")]));
    let mut dice = Dice::new(1);
    for (n, format) in linker::FORMATS.into_iter().enumerate() {
        // Two are large enough for units of their own.
        let program = Program::random(&mut dice, if n % 5 == 0 { 5000 } else { 100 }, 90);
        let next = program.edited(&mut dice, 5);
        base.insert(format!("bin/program{n}"), file(&linker::link(&program, format).bytes));
        new.insert(format!("bin/program{n}"), file(&linker::link(&next, format).bytes));
    }
    let pair = Pair::new(&base, &new);
    let at = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| pair.build(2, &UnitCache::new()).1)
    };
    let one = at(1);
    assert!(at(2) == one && at(8) == one);
    let header_length = pair.build(2, &UnitCache::new()).0.header_length;
    let (rebuilt, _) = support::apply(&one, header_length, &pair.base, &pair.base_contents());
    assert_eq!(rebuilt, pair.new);
    let header = PackHeader::parse(&one[..header_length as usize]).expect("a header");
    let images = header.units().iter().filter(|unit| unit.method == REFERENCES);
    let (images, units) = (images.count(), header.units().len());
    assert!(images >= 3, "{images} of {units} units");
}

#[test]
fn equal_releases_need_a_few_bytes() {
    let (base, _) = varied();
    assert!(Pair::new(&base, &base).prove(5).len() < 16);
}

#[test]
fn a_moved_file_costs_less_than_200_bytes() {
    let big = noise(3, 300_000);
    let mut base = tree(&[("some/directory/of/the/first/release/library-1.0.so", &big)]);
    (0..2000).for_each(|n| drop(base.insert(format!("data/{n}.bin"), file(&[n as u8, (n >> 8) as u8]))));
    let mut new = base.clone();
    let content = new.remove("some/directory/of/the/first/release/library-1.0.so").expect("there");
    new.insert("another/rather/deep/directory/of/the/second/release/library-1.1.so".into(), content);
    let bytes = Pair::new(&base, &new).prove(5);
    assert!(bytes.len() < 200, "{} bytes", bytes.len());
}

#[test]
fn pack_size_follows_the_change_and_not_the_tree() {
    let size = |rows: usize| {
        let text = "some text that changes a little ".repeat(50).into_bytes();
        let mut base = tree(&[("m/changed", &text)]);
        let mut edited = text;
        edited[700] = b'X';
        let mut new = tree(&[("m/changed", &edited)]);
        let pair = Pair::new(&base, &new);
        for n in 0..rows {
            let name = format!("{}/{n}", if n % 2 == 0 { "a" } else { "z" });
            base.insert(name.clone(), file(&n.to_le_bytes()));
            new.insert(name, file(&n.to_le_bytes()));
        }
        // Files that do not change are not even opened: there are none on disk.
        let pair = Pair { base: manifest(&base), new: manifest(&new), dir: pair.dir };
        pair.build(5, &UnitCache::default()).1.len()
    };
    let (small, large) = (size(1_000), size(50_000));
    assert!(small < 200 && large <= small + 4, "{small} and {large} bytes");
}

#[test]
fn small_files_share_what_they_have_in_common() {
    let common = noise(5, 6_000);
    let mut new = tree(&[]);
    for n in 0..40u8 {
        new.insert(format!("m/{n}.dat"), file(&[&[n; 5], &common[..], &[n; 5]].concat()));
    }
    let bytes = Pair::new(&tree(&[]), &new).prove(5);
    assert!(bytes.len() < 6_000 + 40 * 80, "{} bytes", bytes.len());
}

#[test]
fn a_renamed_and_changed_file_is_made_from_the_old_one() {
    let old = noise(6, 400_000);
    let mut edited = old.clone();
    edited[200_000] ^= 0x55;
    let (base, new) = (tree(&[("jars/core-4.0.4.jar", &old)]), tree(&[("jars/core-4.0.5.jar", &edited)]));
    let bytes = Pair::new(&base, &new).prove(5);
    assert!(bytes.len() < 250, "{} bytes", bytes.len());
}

#[test]
fn a_patch_is_never_larger_than_the_content() {
    let repeating = noise(7, 1000).repeat(600);
    let (base, new) = (tree(&[("a.bin", &noise(8, 600_000))]), tree(&[("a.bin", &repeating)]));
    let bytes = Pair::new(&base, &new).prove(5);
    let full = zstd::bulk::compress(&repeating, 19).expect("compressed").len();
    assert!(bytes.len() < full + 150, "{} bytes, {full} alone", bytes.len());
}

#[test]
fn a_file_that_changes_while_it_is_read_is_named() {
    let pair = Pair::new(&tree(&[("a", b"one")]), &tree(&[("a", b"two")]));
    fs::write(pair.dir.path().join("new/a"), b"three").expect("written");
    let (base_dir, new_dir) = (pair.dir.path().join("base"), pair.dir.path().join("new"));
    let step = Step { base: &pair.base, base_dir: &base_dir, new: &pair.new, new_dir: &new_dir };
    let error =
        build(&step, PackOptions::of_effort(5), &UnitCache::default(), pair.dir.path(), &Silent).expect_err("refused");
    assert!(error.to_string().contains("changed while"), "{error}");
}

#[test]
fn a_unit_with_an_unknown_method_or_codec_is_skipped_and_the_others_are_read() {
    let (base, new) = varied();
    let pair = Pair::new(&base, &new);
    let (built, bytes) = pair.build(1, &UnitCache::default());
    let header = PackHeader::parse(&bytes[..built.header_length as usize]).expect("a header");
    for unknown in [Algorithm { id: 77, version: 0 }, Algorithm { id: 1, version: 3 }] {
        let mut units = header.units().to_vec();
        units[0].method = unknown;
        units[0].parameters = vec![1, 2, 3];
        units[1].codecs[3] = unknown;
        let later = PackHeader::new(header.edits().to_vec(), units, header.blocks().to_vec()).expect("a header");
        let later_bytes = [later.to_bytes(), bytes[built.header_length as usize..].to_vec()].concat();
        let rebuilt = later.rebuild(&pair.base).expect("edits that fit");
        assert_eq!(rebuilt.manifest, pair.new);
        for (index, unit) in later.units().iter().enumerate() {
            let decoded = support::decode_unit(&later, &rebuilt, index, &later_bytes, &pair.base_contents());
            assert_eq!(unit.is_readable(), index > 1);
            match decoded {
                Ok(_) => assert!(index > 1),
                Err(error) => assert!(index < 2 && matches!(error, PatchError::Unreadable { .. }), "{error}"),
            }
        }
    }
}

/// The control triples of a piece: a count, all diff lengths, all extra lengths, all seeks.
fn columns(control: &[u8]) -> Vec<(usize, usize, i64)> {
    let mut reader = Reader::new(control);
    let mut next = || reader.varint().expect("a varint");
    let count = if control.is_empty() { 0 } else { next() as usize };
    let numbers: Vec<u64> = (0..3 * count).map(|_| next()).collect();
    assert!(reader.is_empty());
    let triple = |n: usize| (numbers[n] as usize, numbers[count + n] as usize, unzigzag(numbers[2 * count + n]));
    (0..count).map(triple).collect()
}

/// Turns the streams of a unit into a patch of the stock `bsdiff` crate.
fn to_stock_patch(header: &PackHeader, unit: usize, pack: &[u8]) -> Vec<u8> {
    let unit = &header.units()[unit];
    let mut pieces = PieceDecoder::new(&unit.codecs).expect("known codecs");
    let mut patch = Vec::new();
    for block in unit.blocks.clone() {
        let payload = &pack[header.block_offset(block) as usize..header.block_offset(block + 1) as usize];
        let [control, runs, residues, extra] =
            pieces.decode(payload).expect("pieces").try_into().expect("four streams");
        let triples = columns(&control);
        let mut diff = Vec::new();
        let (mut reader, mut residues) = (Reader::new(&runs), residues.as_slice());
        while !reader.is_empty() {
            let mut next = || reader.varint().expect("a varint") as usize;
            diff.resize(diff.len() + next(), 0);
            let (now, later) = residues.split_at(next());
            diff.extend_from_slice(now);
            residues = later;
        }
        diff.resize(triples.iter().map(|triple| triple.0).sum(), 0);
        let (mut diff, mut extra) = (diff.as_slice(), extra.as_slice());
        for (diff_length, extra_length, seek) in triples {
            let sign = if seek < 0 { 1 << 63 } else { 0 };
            for number in [diff_length as u64, extra_length as u64, seek.unsigned_abs() | sign] {
                patch.extend_from_slice(&number.to_le_bytes());
            }
            patch.extend_from_slice(&diff[..diff_length]);
            patch.extend_from_slice(&extra[..extra_length]);
            (diff, extra) = (&diff[diff_length..], &extra[extra_length..]);
        }
    }
    patch
}

#[test]
fn the_stock_bsdiff_crate_applies_our_streams() {
    let (base, new) = varied();
    let pair = Pair::new(&base, &new);
    let (built, bytes) = pair.build(1, &UnitCache::default());
    let header = PackHeader::parse(&bytes[..built.header_length as usize]).expect("a header");
    let rebuilt = header.rebuild(&pair.base).expect("edits that fit");
    let contents = pair.base_contents();
    for unit in 0..header.units().len() {
        let ours = support::decode_unit(&header, &rebuilt, unit, &bytes, &contents).expect("a unit");
        let old: Vec<u8> = header.units()[unit].old_rows.iter().flat_map(|row| contents[*row].clone()).collect();
        let mut theirs = Vec::new();
        let patch = to_stock_patch(&header, unit, &bytes);
        bsdiff::patch(&old, &mut patch.as_slice(), &mut theirs).expect("applied");
        assert!(ours == theirs, "unit {unit} differs");
    }
}

#[test]
fn a_flipped_byte_in_a_block_never_panics_and_never_writes_too_much() {
    let text = noise(11, 3000);
    let edited = [&text[..1000], b"inserted", &text[1200..2000], &text[100..400]].concat();
    let pair = Pair::new(&tree(&[("a", &text), ("b", b"x")]), &tree(&[("a", &edited), ("b", &text[7..90])]));
    let (built, bytes) = pair.build(5, &UnitCache::default());
    let header = PackHeader::parse(&bytes[..built.header_length as usize]).expect("a header");
    let rebuilt = header.rebuild(&pair.base).expect("edits that fit");
    let contents = pair.base_contents();
    let old: Vec<u8> = header.units()[0].old_rows.iter().flat_map(|row| contents[*row].clone()).collect();
    for at in built.header_length as usize..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            let payload = &flipped[built.header_length as usize..];
            let lengths = rebuilt.lengths[0];
            let mut decoder = UnitDecoder::new(&header.units()[0], lengths.old, lengths.new, Cursor::new(Vec::new()))
                .expect("readable");
            let mut new = Vec::new();
            let decoded = decoder.block(payload, &mut old.as_slice(), &mut new).and_then(|()| decoder.finish());
            assert!(new.len() as u64 <= lengths.new);
            assert!(decoded.is_err() || new.len() as u64 == lengths.new);
        }
    }
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        1 => Just(Vec::new()),
        4 => (any::<u64>(), 1usize..3000).prop_map(|(seed, length)| noise(seed % 5, length)),
        3 => (0usize..200, 1usize..60).prop_map(|(skip, times)| b"lantern, wick and flame; "[skip % 20..].repeat(times)),
        1 => (any::<u64>(), 500_000usize..700_000).prop_map(|(seed, length)| noise(seed % 3, length)),
    ]
}

fn path() -> impl Strategy<Value = String> {
    (0u8..4, 0u8..8, 0usize..4).prop_map(|(dir, name, extension)| {
        let extension = ["txt", "js", "dll", ""][extension];
        if dir == 0 { format!("f{name}.{extension}x") } else { format!("d{dir}/f{name}.{extension}x") }
    })
}

fn node() -> impl Strategy<Value = Node> {
    prop_oneof![
        8 => (content(), any::<bool>(), any::<bool>())
            .prop_map(|(content, executable, keep)| Node::File { content, executable, keep }),
        1 => (0u8..5).prop_map(|n| Node::Link(format!("to{n}"))),
        1 => Just(Node::Directory),
    ]
}

#[derive(Debug, Clone)]
enum Change {
    Put(String, Node),
    Remove(usize),
    Move(usize, String),
    Copy(usize, String),
    Splice(usize, usize, usize, Vec<u8>),
    Mode(usize),
    Keep(usize),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (path(), node()).prop_map(|(path, node)| Change::Put(path, node)),
        any::<usize>().prop_map(Change::Remove),
        (any::<usize>(), path()).prop_map(|(at, path)| Change::Move(at, path)),
        (any::<usize>(), path()).prop_map(|(at, path)| Change::Copy(at, path)),
        (any::<usize>(), any::<usize>(), 0usize..400, proptest::collection::vec(any::<u8>(), 0..300))
            .prop_map(|(at, start, length, bytes)| Change::Splice(at, start, length, bytes)),
        any::<usize>().prop_map(Change::Mode),
        any::<usize>().prop_map(Change::Keep),
    ]
}

fn edit(tree: &mut Tree, change: Change) {
    let pick = |tree: &Tree, at: usize| tree.keys().nth(at % tree.len().max(1)).cloned();
    match change {
        Change::Put(path, node) => drop(tree.insert(path, node)),
        Change::Remove(at) => drop(pick(tree, at).and_then(|path| tree.remove(&path))),
        Change::Move(at, to) => {
            if let Some(node) = pick(tree, at).and_then(|path| tree.remove(&path)) {
                tree.insert(to, node);
            }
        }
        Change::Copy(at, to) => {
            if let Some(node) = pick(tree, at).and_then(|path| tree.get(&path).cloned()) {
                tree.insert(to, node);
            }
        }
        Change::Splice(at, start, length, bytes) => {
            if let Some(Node::File { content, .. }) = pick(tree, at).and_then(|path| tree.get_mut(&path)) {
                let start = start % (content.len() + 1);
                let end = (start + length).min(content.len());
                content.splice(start..end, bytes);
            }
        }
        Change::Mode(at) => {
            if let Some(Node::File { executable, .. }) = pick(tree, at).and_then(|path| tree.get_mut(&path)) {
                *executable ^= true;
            }
        }
        Change::Keep(at) => {
            if let Some(Node::File { keep, .. }) = pick(tree, at).and_then(|path| tree.get_mut(&path)) {
                *keep ^= true;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_becomes_any_other(
        base in proptest::collection::btree_map(path(), node(), 0..14),
        changes in proptest::collection::vec(change(), 0..12),
    ) {
        let mut new = base.clone();
        changes.into_iter().for_each(|change| edit(&mut new, change));
        Pair::new(&base, &new).prove(1);
    }
}
