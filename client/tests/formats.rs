//! Golden files: what each format accepts, and why it refuses the rest, one file a rule. `fixtures/README.md` says how
//! they are laid out; a format joins by a line in [`FORMATS`] and a directory of its name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use lamplighter_client::format::digest::Blake3;
use lamplighter_client::format::document::DocumentError;
use lamplighter_client::format::head::Head;
use lamplighter_client::format::journal::Journal;
use lamplighter_client::format::manifest::Manifest;
use lamplighter_client::format::notes;
use lamplighter_client::format::objects::{ObjectsIndex, StoredObject, decode};
use lamplighter_client::format::path::RelPath;
use lamplighter_client::format::release::Release;
use lamplighter_client::format::root::Root;
use lamplighter_client::format::signed::{PublicKey, Signature, SignedDocument};

struct Format {
    /// Its directory.
    name: &'static str,
    /// Files beside `good`, `bad` and `later` that `read` needs.
    shared: &'static [&'static str],
    /// Whether each line of a file is an example of its own.
    by_line: bool,
    /// Reads an example and writes it back.
    read: fn(&Example<'_>) -> Result<Vec<u8>, String>,
}

struct Example<'a> {
    /// The format's directory.
    dir: &'a Path,
    bytes: &'a [u8],
    /// What `expected.csv` says of the file, behind its name.
    expected: &'a [String],
}

const FORMATS: &[Format] = &[
    Format { name: "head", shared: &["key.pub"], by_line: false, read: read_head },
    Format { name: "journal", shared: &[], by_line: false, read: read_journal },
    Format { name: "manifest", shared: &[], by_line: false, read: read_manifest },
    Format { name: "notes", shared: &[], by_line: false, read: read_notes },
    Format { name: "object", shared: &[], by_line: false, read: read_object },
    Format { name: "objects", shared: &["manifest.csv"], by_line: false, read: read_objects },
    Format { name: "path", shared: &[], by_line: true, read: read_path },
    Format { name: "release", shared: &["key.pub"], by_line: false, read: read_release },
    Format { name: "root", shared: &["key.pub"], by_line: false, read: read_root },
];

/// Formats whose golden files are read by tests of their own: `pack_format.rs`, `units.rs`.
const ELSEWHERE: &[&str] = &["pack", "unit"];

/// A signed document: verified with the key beside the examples, parsed, and its body written again.
///
/// Comments are free text, so what the signatures say is kept; what must come back is the body of the canonical form.
fn read_signed(
    example: &Example<'_>,
    rewrite: impl Fn(&[u8]) -> Result<Vec<u8>, DocumentError>,
) -> Result<Vec<u8>, String> {
    let key = String::from_utf8(read(&example.dir.join("key.pub"))).expect("text");
    let key = PublicKey::parse_file(&key).expect("a public key");
    let document = SignedDocument::split(example.bytes, 1 << 20).map_err(|e| e.to_string())?;
    if document.count_signers([&key]) == 0 {
        return Err("not signed".into());
    }
    let body = rewrite(&document.body).map_err(|e| e.to_string())?;
    // The signatures of what a later writer adds are over other bytes than those of what it means.
    let known = if body == document.body { document.signatures } else { signatures_of(example, &body) };
    Ok(SignedDocument { body, signatures: known }.to_bytes())
}

/// The signatures of the good file with this body.
fn signatures_of(example: &Example<'_>, body: &[u8]) -> Vec<Signature> {
    let good = names(&example.dir.join("good"));
    let documents = good.iter().map(|name| SignedDocument::split(&read(&example.dir.join("good").join(name)), 1 << 20));
    let same = documents.map(|d| d.expect("a good file")).find(|d| d.body == body);
    same.map(|d| d.signatures).unwrap_or_default()
}

fn read_head(example: &Example<'_>) -> Result<Vec<u8>, String> {
    read_signed(example, |body| Head::parse(body).map(|head| head.to_body()))
}

fn read_release(example: &Example<'_>) -> Result<Vec<u8>, String> {
    read_signed(example, |body| Release::parse(body).map(|release| release.to_body()))
}

fn read_root(example: &Example<'_>) -> Result<Vec<u8>, String> {
    read_signed(example, |body| Root::parse(body).map(|root| root.to_body()))
}

fn read_journal(example: &Example<'_>) -> Result<Vec<u8>, String> {
    Journal::parse(example.bytes).map(|journal| journal.to_bytes()).map_err(|e| e.to_string())
}

fn read_manifest(example: &Example<'_>) -> Result<Vec<u8>, String> {
    Manifest::parse(example.bytes).map(|manifest| manifest.to_bytes()).map_err(|e| e.to_string())
}

fn read_notes(example: &Example<'_>) -> Result<Vec<u8>, String> {
    notes::parse(example.bytes).map(|sections| notes::to_bytes(&sections)).map_err(|e| e.to_string())
}

/// The index of the manifest that lies beside all examples.
fn read_objects(example: &Example<'_>) -> Result<Vec<u8>, String> {
    let manifest = Manifest::parse(&read(&example.dir.join("manifest.csv"))).expect("a good manifest");
    ObjectsIndex::parse(example.bytes, &manifest).map(|index| index.to_bytes()).map_err(|e| e.to_string())
}

/// Frames are not written back: they are good if the content is the one expected.
fn read_object(example: &Example<'_>) -> Result<Vec<u8>, String> {
    let raw_length = example.expected[0].parse().expect("a raw length");
    let object = StoredObject { blake3: Blake3::of(example.bytes), length: example.bytes.len() as u64, raw_length };
    let content = decode(example.bytes, &object).map_err(|e| e.to_string())?;
    assert_eq!(Blake3::of(&content).to_string(), example.expected[1]);
    Ok(example.bytes.to_vec())
}

fn read_path(example: &Example<'_>) -> Result<Vec<u8>, String> {
    let text = std::str::from_utf8(example.bytes).expect("paths in fixtures are UTF-8");
    RelPath::parse(text).map(|path| path.as_str().as_bytes().to_vec()).map_err(|e| e.to_string())
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/formats")
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Names in a directory; none where there is no directory.
fn names(dir: &Path) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(dir) else { return BTreeSet::new() };
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a plain name")).collect()
}

/// What `expected.csv` of a directory says of each file.
fn expectations(dir: &Path) -> BTreeMap<String, Vec<String>> {
    let table = dir.join("expected.csv");
    if !table.exists() {
        return BTreeMap::new();
    }
    let mut reader = csv::Reader::from_path(&table).expect("a readable table");
    let row = |row: Result<csv::StringRecord, csv::Error>| {
        let mut cells = row.expect("a row as long as the header").iter().map(str::to_owned).collect::<Vec<_>>();
        (cells.remove(0), cells)
    };
    let rows: Vec<_> = reader.records().map(row).collect();
    let count = rows.len();
    let map: BTreeMap<_, _> = rows.into_iter().collect();
    assert_eq!(map.len(), count, "{} names a file twice", table.display());
    map
}

/// Calls `check` with every example in the directory `kind` of every format.
fn each(kind: &str, mut check: impl FnMut(&Format, &Path, &Example<'_>)) {
    for format in FORMATS {
        let dir = fixtures().join(format.name).join("v1");
        let expectations = expectations(&dir.join(kind));
        for name in names(&dir.join(kind)).iter().filter(|name| *name != "expected.csv") {
            let path = dir.join(kind).join(name);
            let expected = expectations.get(name).map(Vec::as_slice).unwrap_or_default();
            let bytes = read(&path);
            let whole = [&bytes[..]];
            let lines = || bytes.strip_suffix(b"\n").expect("a last line feed").split(|byte| *byte == b'\n').collect();
            let examples = if format.by_line { lines() } else { whole.to_vec() };
            for bytes in examples {
                check(format, &path, &Example { dir: &dir, bytes, expected });
            }
        }
    }
}

#[test]
fn good_files_are_read_and_written_back_unchanged() {
    each("good", |format, path, example| match (format.read)(example) {
        Ok(written) => assert_eq!(written, example.bytes, "{}", path.display()),
        Err(error) => panic!("{}: {error}", path.display()),
    });
}

#[test]
fn bad_files_are_refused_for_the_reason_they_are_named_after() {
    let mut wrong = Vec::new();
    each("bad", |format, path, example| {
        let fragment = example.expected.last().map(String::as_str).unwrap_or_default();
        let shown = String::from_utf8_lossy(example.bytes).chars().take(200).collect::<String>();
        match (format.read)(example) {
            Ok(_) => wrong.push(format!("{} is accepted: {shown:?}", path.display())),
            Err(error) if fragment.is_empty() || !error.contains(fragment) => {
                wrong.push(format!("{}: expected {fragment:?}, found {error:?}", path.display()));
            }
            Err(_) => {}
        }
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A file in `later` holds what a later writer may add; it means what the good file does that `expected.csv` names.
#[test]
fn what_later_writers_may_add_is_ignored() {
    each("later", |format, path, example| {
        let same = read(&example.dir.join("good").join(&example.expected[0]));
        assert_eq!((format.read)(example), Ok(same), "{}", path.display());
    });
}

#[test]
fn every_file_belongs_to_a_test() {
    let here = FORMATS.iter().map(|format| format.name);
    let formats: BTreeSet<String> = here.chain(ELSEWHERE.iter().copied()).map(str::to_owned).collect();
    assert_eq!(names(&fixtures()), formats);
    for format in FORMATS {
        let dir = fixtures().join(format.name);
        assert_eq!(names(&dir), ["v1".to_owned()].into());
        let mut known: BTreeSet<String> =
            ["good", "bad"].into_iter().chain(format.shared.iter().copied()).map(str::to_owned).collect();
        if dir.join("v1/later").exists() {
            known.insert("later".into());
        }
        assert_eq!(names(&dir.join("v1")), known, "{}", format.name);
        for kind in ["good", "bad", "later"] {
            let dir = dir.join("v1").join(kind);
            let mut files = names(&dir);
            let has_table = files.remove("expected.csv");
            assert!(kind == "later" || !files.is_empty(), "{} is empty", dir.display());
            assert!(kind == "good" || files.is_empty() || has_table, "{} lacks expected.csv", dir.display());
            if has_table {
                assert_eq!(expectations(&dir).into_keys().collect::<BTreeSet<_>>(), files, "{}", dir.display());
            }
        }
    }
}

/// What a bad file is named after must be what is wrong with it, so the same flaw does not hide behind two names.
#[test]
fn no_two_files_are_equal() {
    for kind in ["good", "bad", "later"] {
        let mut seen: BTreeMap<(&str, Vec<u8>, Vec<String>), PathBuf> = BTreeMap::new();
        each(kind, |format, path, example| {
            let arguments = if format.name == "object" { example.expected.to_vec() } else { Vec::new() };
            if let Some(other) = seen.insert((format.name, example.bytes.to_vec(), arguments), path.to_owned()) {
                panic!("{} and {} hold the same", other.display(), path.display());
            }
        });
    }
}

// Not on Windows: wine starts neither sh nor minisign of the host, and the documents are the same.
#[cfg(not(windows))]
/// The recipe of the specification: a body and its k-th signature cut out with sed, judged by the stock program.
#[test]
fn stock_minisign_verifies_every_signature_cut_out_with_sed() {
    let recipe = r#"set -e; cd "$1"
        sed '/^end$/q' "$2" > b
        sed '1,/^end$/d' "$2" | sed -n "$((4 * $3 - 3)),$((4 * $3))p" > b.minisig
        minisign -Vqm b -P "$4""#;
    let dir = tempfile::tempdir().expect("a directory");
    let keys = |document: &SignedDocument| match Root::parse(&document.body) {
        Ok(root) => root.root.keys,
        Err(_) => Vec::new(),
    };
    let mut verified = 0;
    each("good", |format, path, example| {
        if !["head", "release", "root"].contains(&format.name) {
            return;
        }
        let document = SignedDocument::split(example.bytes, 1 << 20).expect("a good file");
        let key = PublicKey::parse_file(&String::from_utf8(read(&example.dir.join("key.pub"))).expect("text"));
        let mut keys = keys(&document);
        keys.push(key.expect("a public key"));
        for (index, signature) in document.signatures.iter().enumerate() {
            let key = keys.iter().find(|key| key.verifies(&document.body, signature)).expect("its key is here");
            let ok = |path: &Path| {
                let mut command = std::process::Command::new("sh");
                command.args(["-c", recipe, "sh"]).arg(dir.path()).arg(path);
                command.arg((index + 1).to_string()).arg(key.to_base64());
                command.status().expect("sh runs").success()
            };
            assert!(ok(&fs::canonicalize(path).expect("there")), "{} signature {}", path.display(), index + 1);
            let altered = dir.path().join("altered");
            fs::write(&altered, String::from_utf8_lossy(example.bytes).replace("app", "apq")).expect("written");
            assert!(!ok(&altered), "an altered body must fail");
            verified += 1;
        }
    });
    assert_eq!(verified, 5, "one signature each, and two on another root");
}
