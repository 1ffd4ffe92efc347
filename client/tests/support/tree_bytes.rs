//! An installed tree of files with any content, and its updates: path → bytes is all there is to a release.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use lamplighter_client::format::digest::ContentDigest;
use lamplighter_client::format::manifest::{Kind, Manifest, Policy, Row};
use lamplighter_client::format::path::RelPath;
use lamplighter_client::progress::{Event, Progress};
use lamplighter_client::tree::{Before, CommitReport, Op, Record, Staging, Transaction, Tree, TreeError};

pub(crate) type Contents = BTreeMap<String, Vec<u8>>;

fn row(name: &str, content: &[u8]) -> Row {
    Row {
        path: RelPath::parse(name).expect("a legal path"),
        digest: ContentDigest::of(content),
        kind: Kind::File { executable: false },
        policy: Policy::Managed,
    }
}

pub(crate) fn record(contents: &Contents) -> Record {
    let rows = contents.iter().map(|(name, content)| row(name, content)).collect();
    let manifest = Manifest::new(rows).expect("no conflicts").to_bytes();
    Record { release: format!("release of {} bytes", manifest.len()).into_bytes(), manifest }
}

/// A tree in a directory of its own.
pub(crate) struct Installed {
    /// Removes the directory at the end, unless it is somebody else's.
    _dir: Option<tempfile::TempDir>,
    root: PathBuf,
}

impl Installed {
    pub(crate) fn new(contents: &Contents) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().join("tree");
        Self { _dir: Some(dir), ..Self::new_at(root, contents) }
    }

    pub(crate) fn new_at(root: PathBuf, contents: &Contents) -> Self {
        let record = record(contents);
        let state = [("release", &record.release), ("manifest.csv", &record.manifest)];
        let state = state.map(|(name, bytes)| (root.join(".lamplighter/installed").join(name), bytes));
        let files = contents.iter().map(|(name, bytes)| (below(&root, name), bytes)).chain(state);
        for (at, bytes) in files {
            fs::create_dir_all(at.parent().expect("below the root")).expect("a directory");
            fs::write(&at, bytes).expect("written");
        }
        Self { _dir: None, root }
    }

    /// The tree that another process made in `dir`.
    pub(crate) fn at(dir: &Path) -> Self {
        Self { _dir: None, root: dir.join("tree") }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.root.parent().expect("below a directory")
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.root.clone()
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.root.join(".lamplighter")
    }

    pub(crate) fn tree(&self) -> Tree {
        Tree::open(&self.root, None).expect("a tree")
    }

    /// What is in the tree, with names as they are spelled on disk.
    pub(crate) fn contents(&self) -> Contents {
        let mut contents = Contents::new();
        collect(&self.root, "", &mut contents);
        contents
    }

    pub(crate) fn update(&self, old: &Contents, new: &Contents) -> Result<CommitReport, TreeError> {
        self.commit(old, new, |_| {}, |_| {})
    }

    /// An update that calls `after` with the number of files placed so far.
    pub(crate) fn update_with(
        &self,
        old: &Contents,
        new: &Contents,
        after: impl FnMut(usize) + Send,
    ) -> Result<CommitReport, TreeError> {
        self.commit(old, new, |_| {}, after)
    }

    /// An update that calls `staged` with the directory of the staged files before it commits.
    pub(crate) fn update_staged(
        &self,
        old: &Contents,
        new: &Contents,
        staged: impl FnOnce(&Path),
    ) -> Result<CommitReport, TreeError> {
        self.commit(old, new, staged, |_| {})
    }

    fn commit(
        &self,
        old: &Contents,
        new: &Contents,
        staged: impl FnOnce(&Path),
        after: impl FnMut(usize) + Send,
    ) -> Result<CommitReport, TreeError> {
        let lock = self.tree().lock(Duration::from_secs(5))?;
        lock.recover()?;
        let staging = lock.staging("update")?;
        let ops = plan(&self.root, &staging, old, new)?;
        staged(&self.state().join("staging/update"));
        let transaction = Transaction { from: Some(record(old)), to: record(new), ops, staging };
        lock.commit(transaction, &Placed(Mutex::new((0, after))))
    }
}

/// Counts what is placed.
struct Placed<F>(Mutex<(usize, F)>);

impl<F: FnMut(usize) + Send> Progress for Placed<F> {
    fn event(&self, event: Event<'_>) {
        if let Event::Advanced { .. } = event {
            let mut state = self.0.lock().expect("one thread");
            state.0 += 1;
            let placed = state.0;
            (state.1)(placed);
        }
    }
}

/// `name` below `root`, in the form of the system: long paths are not taken with other separators.
fn below(root: &Path, name: &str) -> PathBuf {
    name.split('/').fold(root.to_owned(), |path, part| path.join(part))
}

/// As a planner that looks at little: the tree holds the old release, but for what the user edited.
fn plan(root: &Path, staging: &Staging, old: &Contents, new: &Contents) -> Result<Vec<Op>, TreeError> {
    let mut ops = Vec::new();
    let folded = |name: &str| old.keys().any(|other| other.eq_ignore_ascii_case(name));
    let is_edited = |name: &str, content: &[u8]| fs::read(below(root, name)).is_ok_and(|found| found != content);
    for (name, content) in new.iter().filter(|(name, content)| old.get(*name) != Some(content)) {
        let (staged, row) = (ops.len(), row(name, content));
        let mut file = staging.create(staged, row.digest.size, false)?;
        file.write_all(content).expect("room");
        file.finish(&row.digest)?;
        let before = match old.get(name) {
            Some(content) if is_edited(name, content) => Before::Foreign,
            Some(content) => Before::Listed(self::row(name, content)),
            None if folded(name) => Before::Foreign,
            None => Before::Absent,
        };
        ops.push(Op::Put { path: row.path, before, staged, digest: row.digest, executable: false });
    }
    for (name, content) in old.iter().filter(|(name, _)| !new.contains_key(*name)) {
        let row = row(name, content);
        ops.push(Op::Remove { path: row.path.clone(), before: Before::Listed(row) });
    }
    Ok(ops)
}

fn collect(dir: &Path, above: &str, contents: &mut Contents) {
    for entry in fs::read_dir(dir).expect("listed").map(|e| e.expect("an entry")) {
        let name = format!("{above}{}", entry.file_name().to_string_lossy());
        if entry.file_type().expect("a type").is_dir() {
            if name != ".lamplighter" {
                collect(&entry.path(), &format!("{name}/"), contents);
            }
        } else {
            contents.insert(name, fs::read(entry.path()).expect("read"));
        }
    }
}
