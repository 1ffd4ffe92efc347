use super::*;
use proptest::prelude::*;

fn entry(text: &str) -> EntryPath {
    EntryPath::parse(text).expect("a path")
}

fn file(content: &[u8], mode: u32) -> Thing {
    Thing::File { mode, size: content.len() as u64, blake3: Blake3::of(content) }
}

fn op(path: &str, before: Thing, after: Thing) -> JournalOp {
    let backup = if before.is_leaf() { Backup::Drop } else { Backup::None };
    JournalOp { area: Area::Tree, path: entry(path), before, after, destination: None, staged: None, backup, was: None }
}

fn staged(path: &str, before: Thing, after: Thing, staged: usize) -> JournalOp {
    JournalOp { staged: Some(staged), ..op(path, before, after) }
}

fn sample() -> Journal {
    let destination =
        LinkDestination::parse(&entry("lib/link").to_rel().expect("legal"), "../app").expect("in the tree");
    let link = Thing::Link { size: 6, blake3: Blake3::of(b"../app") };
    let ops = vec![
        staged("app", file(b"old", 0o755), file(b"new", 0o755), 4),
        JournalOp { backup: Backup::None, ..op("bin", file(b"tool", 0o644), file(b"tool", 0o755)) },
        op("dir", Thing::Absent, Thing::Directory { mode: 0o755 }),
        op("gone, too", file(b"x", 0o600), Thing::Absent),
        JournalOp { destination: Some(destination), ..op("lib/link", Thing::Absent, link) },
        JournalOp { was: Some(entry("README")), ..staged("readme", file(b"r", 0o644), file(b"r", 0o644), 5) },
        JournalOp { backup: Backup::Keep, ..op("user/odd%FF:name", file(b"mine", 0o640), Thing::Absent) },
        JournalOp { area: Area::Record, ..staged("manifest.csv", Thing::Absent, file(b"m", 0o644), 6) },
    ];
    Journal { key: "update-7".into(), kept: 3, from: None, to: Blake3::of(b"to"), ops }
}

#[test]
fn written_and_read_back() {
    let journal = sample();
    assert_eq!(Journal::parse(&journal.to_bytes()), Ok(journal));
}

/// The body with `edit` done to its lines, under a right trailer.
fn edited(edit: impl Fn(&mut Vec<String>)) -> Vec<u8> {
    let text = String::from_utf8(sample().to_bytes()).expect("text");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.pop();
    edit(&mut lines);
    let body = format!("{}\n", lines.join("\n"));
    format!("{body}{}", trailer_of(body.as_bytes())).into_bytes()
}

#[test]
fn what_a_later_writer_adds_is_ignored_unless_critical() {
    let later = edited(|lines| {
        lines.insert(1, "later,x".into());
        lines[6].push_str(",later");
    });
    assert_eq!(Journal::parse(&later), Ok(sample()));
    let refused = Journal::parse(&edited(|lines| lines.insert(1, "!later".into())));
    assert_eq!(refused, Err(JournalError::TooOld { key: "!later".into() }));
}

#[test]
fn a_journal_cut_anywhere_was_never_written() {
    let bytes = sample().to_bytes();
    for length in 0..bytes.len() {
        assert_eq!(Journal::parse(&bytes[..length]), Err(JournalError::Trailer), "{length}");
    }
}

proptest! {
    #[test]
    fn a_flipped_bit_is_seen(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut bytes = sample().to_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert_eq!(Journal::parse(&bytes), Err(JournalError::Trailer));
    }

    #[test]
    fn no_body_panics(line in 0usize..14, cell in 0usize..16, text in "[ -~]{0,70}") {
        let bytes = edited(|lines| {
            let line = line % lines.len();
            let mut cells: Vec<&str> = lines[line].split(',').collect();
            let cell = cell % cells.len();
            cells[cell] = &text;
            lines[line] = cells.join(",");
        });
        if let Ok(journal) = Journal::parse(&bytes) {
            prop_assert_eq!(Journal::parse(&journal.to_bytes()), Ok(journal));
        }
    }
}

/// Golden files of one kind, with the last cell that `expected.csv` has for each.
fn golden(kind: &str) -> Vec<(String, Vec<u8>, String)> {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/formats/journal/v1").join(kind);
    let table = std::fs::read(dir.join("expected.csv")).unwrap_or_default();
    let rows = records(&table).expect("a table");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&dir).expect("listed") {
        let name = entry.expect("an entry").file_name().into_string().expect("a plain name");
        if name == "expected.csv" {
            continue;
        }
        let expected = rows.iter().find(|row| row[0] == name).map(|row| row[1].clone()).unwrap_or_default();
        files.push((name.clone(), std::fs::read(dir.join(name)).expect("read"), expected));
    }
    assert!(table.is_empty() || files.len() + 1 == rows.len(), "expected.csv of {kind} names each file once");
    files
}

#[test]
fn good_files_are_read_and_written_back_unchanged() {
    for (name, bytes, _) in golden("good") {
        let journal = Journal::parse(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(journal.to_bytes(), bytes, "{name}");
    }
}

#[test]
fn bad_files_are_refused_for_the_reason_they_are_named_after() {
    for (name, bytes, expected) in golden("bad") {
        let error = Journal::parse(&bytes).expect_err(&name).to_string();
        assert!(!expected.is_empty() && error.contains(&expected), "{name}: expected {expected:?}, found {error:?}");
    }
}

#[test]
fn what_later_writers_may_add_is_ignored() {
    let good = golden("good");
    for (name, bytes, same_as) in golden("later") {
        let (_, same, _) = good.iter().find(|(good, ..)| *good == same_as).expect("a good file");
        assert_eq!(Journal::parse(&bytes), Journal::parse(same), "{name}");
    }
}
