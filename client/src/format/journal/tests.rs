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
