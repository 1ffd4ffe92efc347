//! Tests of the objects index.

use super::*;
use crate::format::digest::ContentDigest;
use crate::format::manifest::{Kind, Policy};
use crate::format::path::{LinkDestination, RelPath};
use proptest::prelude::*;

fn path(text: &str) -> RelPath {
    RelPath::parse(text).expect("a legal path")
}

fn file(name: &str, size: u64) -> Row {
    let digest = ContentDigest { size, ..ContentDigest::of(name.as_bytes()) };
    Row { path: path(name), digest, kind: Kind::File { executable: false }, policy: Policy::Managed }
}

/// `a` of 10 bytes, `b` of 100 in two pieces, an empty file, a directory, a link.
fn manifest() -> Manifest {
    let link = path("link");
    let destination = LinkDestination::parse(&link, "a").expect("in the tree");
    let rows =
        vec![file("a", 10), file("b", 100), Row::directory(path("d")), file("empty", 0), Row::link(link, destination)];
    Manifest::new(rows).expect("no conflicts")
}

fn hex(digit: char) -> String {
    digit.to_string().repeat(64)
}

/// The index of [`manifest`], line by line.
fn lines() -> Vec<String> {
    let object = |digit, stored: u64, raw: u64| format!("object,{},{stored},{raw}", hex(digit));
    let rows = ["0,0,10", "0,20,60,1,0,40", "-", "-", "-", "end"];
    let mut lines = vec![HEADER.to_owned(), object('1', 70, 80), object('2', 45, 40)];
    lines.extend(rows.map(str::to_owned));
    lines
}

fn parse(lines: &[String]) -> Result<ObjectsIndex, ObjectsError> {
    ObjectsIndex::parse(format!("{}\n", lines.join("\n")).as_bytes(), &manifest())
}

/// The message about [`lines`] with line `line` (from 1) put in its place.
fn message(line: usize, replacement: &str) -> String {
    let mut lines = lines();
    lines[line - 1] = replacement.to_owned();
    parse(&lines).expect_err("refused").to_string()
}

#[test]
fn written_and_read_back() {
    let index = parse(&lines()).expect("a good index");
    assert_eq!(index.to_bytes(), format!("{}\n", lines().join("\n")).into_bytes());
    assert_eq!((index.objects().len(), index.row_count(), index.stored_bytes()), (2, 5, 115));
    assert_eq!(index.pieces(1)[1], Piece { object: 1, offset: 0, length: 40 });
    assert!(index.pieces(2).is_empty() && index.pieces(5).is_empty());
    let rows: Vec<Vec<Piece>> = (0..5).map(|row| index.pieces(row).to_vec()).collect();
    assert_eq!(ObjectsIndex::new(index.objects().to_vec(), &rows, &manifest()), Ok(index.clone()));
    assert_eq!(
        ObjectsIndex::new(index.objects().to_vec(), &rows[1..], &manifest()),
        Err(ObjectsError::RowCount { expected: 5, found: 4 })
    );
}

#[test]
fn the_index_of_nothing_is_two_lines() {
    let index = ObjectsIndex::parse(b"lamplighter-objects,1\nend\n", &Manifest::default()).expect("an empty index");
    assert_eq!(index, ObjectsIndex::default());
}

#[test]
fn each_rule_refuses() {
    let digest = hex('1');
    let cases: &[(usize, &str, &str)] = &[
        (1, "lamplighter-objects,2", "has \"lamplighter-objects,2\", which this client is too old for"),
        (1, "lamplighter-objects,01", "line 1: expected lamplighter-objects,1"),
        (1, "lamplighter-objects", "line 1: expected lamplighter-objects,1"),
        (1, "lamplighter-head,1", "line 1: expected lamplighter-objects,1"),
        (1, "\u{feff}lamplighter-objects,1", "line 1"),
        (2, &format!("object,{digest},0,80"), "expected a stored length of 1 to 8388608 bytes, found 0"),
        (2, &format!("object,{digest},8388609,80"), "found 8388609"),
        (2, &format!("object,{digest},70,0"), "expected a raw length of 1 to 16777216 bytes, found 0"),
        (2, &format!("object,{digest},70,16777217"), "found 16777217"),
        (2, &format!("object,{digest},070,80"), "line 2: expected a length in bytes"),
        (2, &format!("object,{digest},70"), "line 2: expected object,BLAKE3"),
        (2, &format!("object,{},70,80", "A".repeat(64)), "line 2: expected a BLAKE3"),
        (2, "object", "line 2: expected object,BLAKE3"),
        (2, "Object", "line 2: expected object, another key, a row or end"),
        (2, "", "line 2"),
        (2, &format!("object,{},70,80", hex('2')), "twice"),
        (4, "0,0,9", "row of a: expected pieces of 10 bytes in all, found 9"),
        (4, "0,0,11", "found 11"),
        (4, "-", "found 0"),
        (4, "0,71,10", "row of a: expected pieces inside the 80 bytes of object 0, found 10 bytes at 71"),
        (4, "0,9007199254740991,10", "expected pieces inside"),
        (4, "2,0,10", "row of a: expected an object number below 2, found 2"),
        (4, "9007199254740991,0,10", "expected an object number below 2"),
        (4, "1,0,10", "expected objects in order of first use, so 0 here, found 1"),
        (4, "0,0,10,0,20,0", "expected pieces that are not empty"),
        (4, "0,0,5,0,5,5", "expected runs of an object written as one piece, found two at 5"),
        (4, "0,0", "line 4: expected object,offset,length"),
        (4, "0,0,10,", "line 4: expected object,offset,length"),
        (4, "0,0,10,,,", "line 4: expected a number"),
        (4, "0,00,10", "line 4: expected a number"),
        (4, "0, 0,10", "line 4: expected a number"),
        (4, "0,0,10\r", "line 4: expected a number"),
        (4, "-\r", "line 4"),
        (4, "\"0\",0,10", "line 4"),
        (5, "0,0,80,0,20,20", "and does not use it"),
        (6, "0,0,1", "row of d: expected pieces of 0 bytes in all, found 1"),
        (7, "0,0,1", "row of empty"),
        (8, "0,0,1", "row of link"),
        (8, "end", "one line a manifest row, 5 in all, found 4"),
        (9, "-", "line 9: expected end after the last row"),
    ];
    for (line, replacement, expected) in cases {
        let message = message(*line, replacement);
        assert!(message.contains(expected), "line {line} as {replacement:?}: {message}");
    }
}

#[test]
fn every_cut_and_every_addition_at_the_end_is_noticed() {
    let text = format!("{}\n", lines().join("\n"));
    for cut in 0..text.len() {
        assert!(ObjectsIndex::parse(&text.as_bytes()[..cut], &manifest()).is_err(), "cut at {cut}");
    }
    for more in ["\n", "x", "end\n", "-\n", "\0"] {
        assert!(ObjectsIndex::parse(format!("{text}{more}").as_bytes(), &manifest()).is_err(), "{more:?}");
    }
    assert!(ObjectsIndex::parse(b"lamplighter-objects,1\n\xff\nend\n", &Manifest::default()).is_err());
}

#[test]
fn what_later_writers_add_is_ignored_unless_critical() {
    let mut later = lines();
    later.insert(2, "later,\"a, b\",x".into());
    later[0].push_str(",more");
    later[1].push_str(",more");
    assert_eq!(parse(&later), parse(&lines()));
    let mut critical = lines();
    critical.insert(1, "!later,x".into());
    assert_eq!(parse(&critical), Err(ObjectsError::TooOld { key: "!later".into() }));
    for bad in ["later,\"x\"", "later\t", "la\u{7f}ter"] {
        assert!(message(2, bad).contains("line 2"), "{bad:?}");
    }
}

/// Fifty thousand small files need at most 24 bytes each beyond the list of objects.
#[test]
fn rows_of_small_files_are_short() {
    let rows: Vec<Row> = (0..50_000).map(|i| file(&format!("f{i:05}"), 4000 + i % 5000)).collect();
    let manifest = Manifest::new(rows).expect("no conflicts");
    let (mut pieces, mut offset, mut object) = (Vec::new(), 0, 0);
    for row in manifest.rows() {
        if offset + row.digest.size > 4 << 20 {
            (object, offset) = (object + 1, 0);
        }
        pieces.push(vec![Piece { object, offset, length: row.digest.size }]);
        offset += row.digest.size;
    }
    let objects: Vec<StoredObject> = (0..=object)
        .map(|n| StoredObject { blake3: Blake3::of(&n.to_le_bytes()), length: 1 << 20, raw_length: 4 << 20 })
        .collect();
    let list_bytes = objects.len() * 90;
    let index = ObjectsIndex::new(objects, &pieces, &manifest).expect("a good index");
    let bytes = index.to_bytes();
    assert!(bytes.len() <= list_bytes + 50_000 * 24, "{} bytes", bytes.len());
    assert_eq!(ObjectsIndex::parse(&bytes, &manifest), Ok(index));
}

/// Rows with their pieces over a few objects; whole indexes by [`assemble`].
fn random_rows() -> impl Strategy<Value = Vec<Vec<(usize, u64)>>> {
    prop::collection::vec(prop::collection::vec((0usize..4, 1u64..1000), 0..5), 0..20)
}

/// Lays each piece behind the last of its object, and numbers objects by first use.
fn assemble(rows: &[Vec<(usize, u64)>]) -> (Manifest, Vec<StoredObject>, Vec<Vec<Piece>>) {
    let mut numbers: Vec<usize> = Vec::new();
    let mut raw = [0u64; 4];
    let mut all = Vec::new();
    for row in rows {
        let mut pieces: Vec<Piece> = Vec::new();
        for &(key, length) in row {
            let object = numbers.iter().position(|k| *k == key).unwrap_or_else(|| {
                numbers.push(key);
                numbers.len() - 1
            });
            // A gap of one byte, so that no two pieces are one run.
            let offset = raw[key] + 1;
            raw[key] = offset + length;
            pieces.push(Piece { object, offset, length });
        }
        all.push(pieces);
    }
    let objects = numbers
        .iter()
        .map(|key| StoredObject { blake3: Blake3::of(&[*key as u8]), length: 1 + raw[*key] / 2, raw_length: raw[*key] })
        .collect();
    let size = |pieces: &Vec<Piece>| pieces.iter().map(|p| p.length).sum();
    let rows = all.iter().enumerate().map(|(i, pieces)| file(&format!("{i:03}"), size(pieces))).collect();
    (Manifest::new(rows).expect("no conflicts"), objects, all)
}

proptest! {
    #[test]
    fn any_index_is_read_back(rows in random_rows()) {
        let (manifest, objects, pieces) = assemble(&rows);
        let index = ObjectsIndex::new(objects, &pieces, &manifest).expect("a good index");
        prop_assert_eq!(ObjectsIndex::parse(&index.to_bytes(), &manifest), Ok(index));
    }

    /// Whatever is accepted after damage is canonical: it is written as it was read.
    #[test]
    fn damaged_indexes_are_refused_or_canonical(rows in random_rows(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let (manifest, objects, pieces) = assemble(&rows);
        let mut bytes = ObjectsIndex::new(objects, &pieces, &manifest).expect("a good index").to_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(index) = ObjectsIndex::parse(&bytes, &manifest) {
            let ignored = bytes.starts_with(HEADER.as_bytes()) && index.to_bytes().len() < bytes.len();
            prop_assert!(ignored || index.to_bytes() == bytes);
        }
    }
}

#[test]
fn a_small_file_costs_at_most_24_bytes() {
    // 400 groups of 100 files: large numbers of objects, offsets up to 4 MiB, files of five digits.
    let size = 41_943;
    let rows: Vec<Row> = (0..40_000).map(|n| file(&format!("f{n:05}"), size)).collect();
    let manifest = Manifest::new(rows).expect("no conflicts");
    let object =
        |n: u64| StoredObject { blake3: Blake3::of(&n.to_le_bytes()), length: 1 << 20, raw_length: 100 * size };
    let objects: Vec<StoredObject> = (0..400).map(object).collect();
    let piece = |n: u64| vec![Piece { object: (n / 100) as usize, offset: n % 100 * size, length: size }];
    let pieces: Vec<Vec<Piece>> = (0..40_000).map(piece).collect();
    let with_rows = ObjectsIndex::new(objects, &pieces, &manifest).expect("a good index").to_bytes();
    let text = String::from_utf8(with_rows).expect("text");
    let bytes: usize = text.lines().filter(|l| !l.starts_with("object,")).map(|l| l.len() + 1).sum();
    assert!(bytes <= 24 * 40_000, "{bytes} bytes");
}
