//! The pack header against its specification: golden files, one for each rule, and whatever else may come.
//!
//! `BLESS=1 cargo test --test pack_format` writes golden files that are missing or differ; the diff is to be read.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use lamplighter_client::format::digest::{Blake3, ContentDigest};
use lamplighter_client::format::manifest::{Kind, Manifest, Policy, Row};
use lamplighter_client::format::pack::codec::{Algorithm, STORED, ZSTD};
use lamplighter_client::format::pack::wire::put_varint;
use lamplighter_client::format::pack::{BlockInfo, Content, Edit, Entry, Origin, PLAIN, PackHeader, Unit};
use lamplighter_client::format::path::RelPath;
use proptest::prelude::*;

/// A header with these tables, stored, and these digests.
fn header(tables: &[u8], digests: usize) -> Vec<u8> {
    let mut bytes = b"LLPK\x01\x00".to_vec();
    put_varint(&mut bytes, tables.len() as u64);
    bytes.extend_from_slice(tables);
    bytes.extend((0..digests).map(|at| at as u8));
    bytes
}

fn varint(value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_varint(&mut bytes, value);
    bytes
}

/// One changed file of nine bytes at row 2, and a unit that makes it: `unit` are the bytes of the unit table.
fn one_change(unit: &[u8]) -> Vec<u8> {
    [&[2, 8, 18, 9][..], unit].concat()
}

/// The unit table with one unit: method plain, stored streams, one block of 20 bytes, made from the row itself.
const UNIT: [u8; 14] = [1, 8, 0, 4, 0, 0, 0, 0, 1, 20, 1, 0, 1, 0];

fn with(mut bytes: Vec<u8>, at: usize, replacement: &[u8]) -> Vec<u8> {
    bytes.splice(at..=at, replacement.iter().copied());
    bytes
}

fn good() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("nothing-changed", header(&[0, 0], 0)),
        ("moved", header(&[4, 0x0c, 0x05, 0x04, 0x23, 4, 1, b'c', 3, 0], 0)),
        ("one-unit", header(&one_change(&UNIT), 72)),
        ("unknown-method", header(&one_change(&with(with(UNIT.to_vec(), 2, &[3, 7, 7, 7]), 1, &varint(77 * 8))), 72)),
        ("unknown-codec", header(&one_change(&with(UNIT.to_vec(), 7, &varint(9 * 8 + 1))), 72)),
        ("zstd-tables", many_links().to_bytes()),
    ]
}

/// A header whose tables are worth compressing.
fn many_links() -> PackHeader {
    let insert = |n: u32| Edit::Insert {
        shared: 0,
        rest: format!("directory/link{n:03}"),
        entry: Entry::Link("somewhere/else".into()),
    };
    PackHeader::new((0..40).map(insert).collect(), Vec::new(), Vec::new()).expect("a header")
}

fn bad() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let unit_with = |at: usize, bytes: &[u8]| header(&one_change(&with(UNIT.to_vec(), at, bytes)), 72);
    let edits = |bytes: &[u8]| header(&[bytes, &[0]].concat(), 0);
    let huge = [&b"LLPK\x01\x00"[..], &varint((256 << 20) + 1)].concat();
    let zstd = many_links().to_bytes();
    let mut zstd_shorter = zstd.clone();
    zstd_shorter[6] ^= 1;
    vec![
        ("magic", with(header(&[0, 0], 0), 0, b"l"), "magic"),
        ("format-2", with(header(&[0, 0], 0), 4, &[2]), "expected format 1, found 2"),
        ("format-overlong-varint", with(header(&[0, 0], 0), 4, &[0x81, 0]), "longer than its value needs"),
        ("tables-of-unknown-codec", with(header(&[0, 0], 0), 5, &[16]), "unknown codec"),
        ("tables-over-256-mib", huge, "bytes of the tables"),
        ("tables-of-another-length", zstd_shorter, "raw bytes, expected"),
        ("tables-cut", header(&[0, 0], 0)[..8].to_vec(), "more bytes are needed"),
        ("tables-trailing-byte", header(&[0, 0, 0], 0), "1 bytes after the end of the tables"),
        ("digests-cut", header(&one_change(&UNIT), 71), "more bytes are needed"),
        ("digests-trailing-byte", header(&one_change(&UNIT), 73), "1 bytes after the end of the digests"),
        ("edits-too-many", edits(&varint(8_000_001)), "for edits"),
        ("edits-fewer-than-counted", header(&[3, 5], 0), "more bytes are needed"),
        ("keep-of-no-rows", edits(&[2, 0, 5]), "rows of an edit"),
        ("keep-of-too-many-rows", edits(&[&[2][..], &varint(4_000_001 << 2), &[5]].concat()), "rows of an edit"),
        (
            "rows-over-4-million",
            edits(&[&[3][..], &varint(3_999_999 << 2), &[5, 6, 9]].concat()),
            "at most 4000000 for rows",
        ),
        ("keep-after-keep", edits(&[3, 4, 4, 5]), "repeats the kind"),
        ("drop-after-drop", edits(&[2, 5, 5]), "repeats the kind"),
        ("keep-at-the-end", edits(&[2, 5, 4]), "a keep as last edit"),
        ("change-of-nothing", edits(&[1, 2]), "the bits of a change"),
        ("change-of-unknown-bits", edits(&[&[1][..], &varint(16 << 2 | 2)].concat()), "the bits of a change"),
        ("insert-of-unknown-source", edits(&[1, 24 << 2 | 3, 0, 1, b'x', 0]), "the bits of an insert"),
        ("insert-of-directory-with-policy", edits(&[1, 7 << 2 | 3, 0, 1, b'x']), "the bits of an insert"),
        ("path-too-long", edits(&[&[1, 15, 0][..], &varint(1025), &[b'x'; 1025]].concat()), "bytes of a path"),
        ("path-shares-too-much", edits(&[&[1, 15][..], &varint(1025), &[1, b'x']].concat()), "bytes a path shares"),
        ("path-not-utf8", edits(&[1, 15, 0, 1, 0xff]), "not UTF-8"),
        ("content-over-2-to-53", header(&[&[1, 18][..], &varint(1 << 53), &UNIT].concat(), 72), "bytes of a content"),
        ("base-row-over-4-million", edits(&[&[1, 34][..], &varint(4_000_001)].concat()), "a row or ordinal"),
        ("twin-of-nothing", edits(&[1, 50, 0]), "a twin's content"),
        ("units-too-many", header(&[&[0][..], &varint(4_000_001)].concat(), 0), "for units"),
        ("parameters-too-long", unit_with(2, &varint(65_537)), "bytes of parameters"),
        ("codecs-too-many", unit_with(3, &[17]), "codecs of a unit"),
        ("block-empty", unit_with(9, &[0]), "an empty block"),
        ("block-too-large", unit_with(9, &varint((4 << 20) + (64 << 10) + 1)), "bytes of a block"),
        ("unit-without-new-rows", header(&one_change(&[1, 8, 0, 4, 0, 0, 0, 0, 1, 20, 0, 0]), 72), "without new rows"),
        ("content-no-unit-makes", header(&one_change(&[0]), 40), "no unit makes"),
        (
            "content-two-units-make",
            header(&one_change(&[&[2][..], &UNIT[1..], &with(with(UNIT.to_vec(), 11, &[1]), 0, &[])].concat()), 104),
            "two units make",
        ),
        ("ordinal-out-of-range", unit_with(11, &[2]), "ordinal of a new content"),
        ("ordinal-negative", unit_with(11, &[1]), "a row or ordinal"),
        (
            "old-row-beyond-its-own",
            header(&one_change(&[1, 8, 0, 4, 0, 0, 0, 0, 1, 20, 1, 0, 2, 0, 0]), 72),
            "beyond those of the new rows",
        ),
        ("old-row-in-another-form", unit_with(13, &[5]), "another form"),
        ("old-row-over-4-million", unit_with(13, &varint(8_000_003)), "a row or ordinal"),
    ]
}

fn folder(kind: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/formats/pack/v1").join(kind)
}

fn golden(kind: &str, name: &str, bytes: &[u8]) -> Vec<u8> {
    let path = folder(kind).join(format!("{name}.header"));
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(folder(kind)).expect("made");
        fs::write(&path, bytes).expect("written");
    }
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn good_headers_are_read_and_written_alike() {
    for (name, bytes) in good() {
        let stored = golden("good", name, &bytes);
        assert_eq!(stored, bytes, "{name}");
        let header = PackHeader::parse(&stored).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(header.to_bytes(), stored, "{name}");
        let readable = header.units().iter().all(Unit::is_readable);
        assert_eq!(readable, !name.starts_with("unknown"), "{name}");
    }
}

#[test]
fn bad_headers_are_refused_for_what_is_bad_in_them() {
    for (name, bytes, message) in bad() {
        let stored = golden("bad", name, &bytes);
        assert_eq!(stored, bytes, "{name}");
        let error = PackHeader::parse(&stored).map(|_| name).expect_err("a bad header was read").to_string();
        assert!(error.contains(message), "{name}: {error}");
    }
}

#[test]
fn every_golden_file_is_used() {
    let names: BTreeSet<String> = good().iter().map(|(name, _)| format!("{name}.header")).collect();
    let bad: BTreeSet<String> = bad().iter().map(|(name, ..)| format!("{name}.header")).collect();
    for (kind, names) in [("good", names), ("bad", bad)] {
        let files = fs::read_dir(folder(kind)).expect("a folder");
        let files: BTreeSet<String> =
            files.map(|file| file.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        assert_eq!(files, names, "{kind}");
    }
}

#[test]
fn cut_and_flipped_headers_are_refused_or_read_but_never_panic() {
    for (name, bytes) in good() {
        for end in 0..bytes.len() {
            assert!(PackHeader::parse(&bytes[..end]).is_err(), "{name} cut to {end} bytes");
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                if let Ok(header) = PackHeader::parse(&flipped) {
                    let _ = header.rebuild(&base());
                }
            }
        }
    }
}

fn row(path: &str, content: &[u8]) -> Row {
    Row {
        path: RelPath::parse(path).expect("a path"),
        digest: ContentDigest::of(content),
        kind: Kind::File { executable: false },
        policy: Policy::Managed,
    }
}

/// Rows: a, b (a directory), c, lib/a, lib/b.
fn base() -> Manifest {
    let directory = Row::directory(RelPath::parse("b").expect("a path"));
    let rows = vec![row("a", b"1"), directory, row("c", b"2"), row("lib/a", b"3"), row("lib/b", b"4")];
    Manifest::new(rows).expect("a manifest")
}

#[test]
fn the_example_of_the_specification_is_what_it_says() {
    let header = PackHeader::parse(&header(&[4, 0x0c, 0x05, 0x04, 0x23, 4, 1, b'c', 3, 0], 0)).expect("a header");
    let rebuilt = header.rebuild(&base()).expect("a manifest");
    let paths: Vec<&str> = rebuilt.manifest.rows().iter().map(|row| row.path.as_str()).collect();
    assert_eq!(paths, ["a", "b", "c", "lib/b", "lib/c"]);
    assert_eq!(rebuilt.manifest.rows()[4].digest, ContentDigest::of(b"3"));
    assert_eq!(rebuilt.origins[4], Origin::Copy { base_row: 3 });
    assert_eq!(rebuilt.origins[..2], [Origin::Unchanged, Origin::None]);
}

#[test]
fn edits_that_do_not_fit_the_base_are_refused() {
    let insert = |rest: &str, entry: Entry| Edit::Insert { shared: 0, rest: rest.into(), entry };
    let copy = |row: usize| Entry::File { executable: false, policy: Policy::Managed, content: Content::Base { row } };
    let flip = Edit::Change { content: None, flip_executable: true, flip_policy: false };
    let cases: Vec<(&str, Vec<Edit>)> = vec![
        ("base rows", vec![Edit::Drop { rows: 6 }]),
        ("base row", vec![Edit::Keep { rows: 5 }, flip.clone()]),
        ("is not a file", vec![Edit::Keep { rows: 1 }, flip]),
        ("a base row", vec![insert("0", copy(5))]),
        ("row 1 of the base release is not a file", vec![insert("0", copy(1))]),
        ("a stands twice", vec![insert("a", Entry::Directory)]),
        ("out of order", vec![Edit::Keep { rows: 2 }, insert("aa", Entry::Directory)]),
        ("not allowed", vec![insert("../x", Entry::Directory)]),
        ("not allowed", vec![insert("0", Entry::Link("/etc/passwd".into()))]),
        ("one name on systems", vec![insert("A", copy(0))]),
        ("lies below", vec![Edit::Keep { rows: 1 }, insert("a/x", copy(0))]),
        ("shares too much", vec![Edit::Insert { shared: 1, rest: "x".into(), entry: Entry::Directory }]),
    ];
    for (message, edits) in cases {
        let header = PackHeader::new(edits, Vec::new(), Vec::new()).expect("a header");
        let error = header.rebuild(&base()).map(|_| message).expect_err("edits that do not fit were carried out");
        let error = error.to_string().replace("is out of order or ", "");
        let error = if message == "out of order" { header.rebuild(&base()).unwrap_err().to_string() } else { error };
        assert!(error.contains(message), "{message}: {error}");
    }
}

#[test]
fn units_of_rows_that_are_no_files_are_refused() {
    let change = Edit::Change {
        content: Some(Content::New(ContentDigest::of(b"5"))),
        flip_executable: false,
        flip_policy: false,
    };
    for (old_row, fits) in [(0, true), (1, false), (4, true), (5, false)] {
        let unit = Unit {
            method: PLAIN,
            parameters: Vec::new(),
            codecs: vec![STORED; 4],
            blocks: 0..1,
            old_rows: vec![old_row],
            new_rows: vec![0],
        };
        let block = BlockInfo { length: 10, blake3: Blake3::of(b"") };
        let header = PackHeader::new(vec![change.clone()], vec![unit], vec![block]).expect("a header");
        assert_eq!(header.rebuild(&base()).is_ok(), fits, "row {old_row}");
    }
}

fn contents() -> impl Strategy<Value = Content> {
    prop_oneof![
        any::<u32>().prop_map(|n| Content::New(ContentDigest::of(&n.to_le_bytes()))),
        (0usize..5000).prop_map(|row| Content::Base { row }),
    ]
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let entry = prop_oneof![
        (any::<bool>(), any::<bool>(), contents()).prop_map(|(executable, keep, content)| Entry::File {
            executable,
            policy: if keep { Policy::Keep } else { Policy::Managed },
            content,
        }),
        "[a-z/]{0,12}".prop_map(Entry::Link),
        Just(Entry::Directory),
    ];
    let edit = prop_oneof![
        (1usize..3000).prop_map(|rows| Edit::Keep { rows }),
        (1usize..3000).prop_map(|rows| Edit::Drop { rows }),
        (contents(), any::<bool>(), any::<bool>()).prop_map(|(content, flip_executable, flip_policy)| {
            Edit::Change { content: Some(content), flip_executable, flip_policy }
        }),
        (0usize..9, "\\PC{0,9}", entry).prop_map(|(shared, rest, entry)| Edit::Insert { shared, rest, entry }),
    ];
    proptest::collection::vec(edit, 0..20).prop_map(|mut edits| {
        edits.dedup_by_key(|edit| std::mem::discriminant(edit));
        while matches!(edits.last(), Some(Edit::Keep { .. })) {
            edits.pop();
        }
        edits
    })
}

/// Target rows with new content.
fn new_rows(edits: &[Edit]) -> Vec<usize> {
    let (mut at, mut rows) = (0, Vec::new());
    for edit in edits {
        match edit {
            Edit::Keep { rows } => at += rows,
            Edit::Drop { .. } => {}
            Edit::Change { content: Some(Content::New(_)), .. }
            | Edit::Insert { entry: Entry::File { content: Content::New(_), .. }, .. } => {
                rows.push(at);
                at += 1;
            }
            _ => at += 1,
        }
    }
    rows
}

proptest! {
    #[test]
    fn headers_come_back(
        edits in edits(),
        seeds in proptest::collection::vec((0usize..3, proptest::collection::vec(0usize..9000, 0..5)), 20),
        reversed in any::<bool>(),
    ) {
        let mut rows = new_rows(&edits);
        if reversed {
            rows.reverse();
        }
        let (mut units, mut blocks) = (Vec::new(), Vec::new());
        for (new_rows, (count, old_rows)) in rows.chunks(2).zip(seeds) {
            let first = blocks.len();
            blocks.extend((0..count).map(|n| BlockInfo { length: 1 + n as u64 * 100_000, blake3: Blake3::of(&[n as u8]) }));
            units.push(Unit {
                method: Algorithm { id: 1 + count as u64 * 40, version: count as u8 },
                parameters: vec![7; count],
                codecs: vec![ZSTD; count + 2],
                blocks: first..blocks.len(),
                old_rows,
                new_rows: new_rows.to_vec(),
            });
        }
        let header = PackHeader::new(edits.clone(), units.clone(), blocks.clone());
        let header = header.map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(header.edits(), edits);
        prop_assert_eq!(header.units(), units);
        prop_assert_eq!(header.blocks(), blocks);
        let bytes = header.to_bytes();
        prop_assert_eq!(header.header_bytes(), bytes.len() as u64);
        let again = PackHeader::parse(&bytes).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(again.to_bytes(), bytes);
        prop_assert_eq!(again, header);
    }

    #[test]
    fn any_tables_are_read_or_refused(tables in proptest::collection::vec(any::<u8>(), 0..60), digests in 0usize..90) {
        if let Ok(found) = PackHeader::parse(&header(&tables, digests)) {
            let _ = found.rebuild(&base());
        }
    }
}
