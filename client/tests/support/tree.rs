//! An installed tree with every kind of change before it, and every kind of thing a user may have put in the way.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lamplighter_client::format::digest::{Blake3, ContentDigest};
use lamplighter_client::format::manifest::{Kind, Manifest, Policy, Row};
use lamplighter_client::format::path::{LinkDestination, RelPath};
use lamplighter_client::progress::{Cancel, Progress, Silent};
use lamplighter_client::tree::fs::Fs;
use lamplighter_client::tree::scan::{self, Depth, Finding};
use lamplighter_client::tree::{
    Before, CheckedFile, CommitReport, Op, Record, Recovery, Staging, Transaction, Tree, TreeError, TreeLock,
};

/// One release: path → what lies there.
pub(crate) type Release = Vec<(&'static str, Item)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Item {
    File(&'static str),
    Program(&'static str),
    Link(&'static str),
    Dir,
}

use Item::{Dir, File, Link, Program};

impl Item {
    /// What a file holds.
    pub(crate) fn text(self) -> Option<&'static str> {
        match self {
            File(text) | Program(text) => Some(text),
            Link(_) | Dir => None,
        }
    }
}

/// What of a release can be there: links need a right on Windows that a user does not have, and wine makes none at all.
fn possible(mut release: Release) -> Release {
    release.retain(|(_, item)| cfg!(unix) || !matches!(item, Link(_)));
    release
}

/// The old release of the large scenario.
pub(crate) fn old_release() -> Release {
    possible(vec![
        ("app", Program("app one")),
        ("case/Lib/inner", File("same spelling inside")),
        ("case/ReadMe", File("same words")),
        ("conf.ini", File("default = 1")),
        ("data/a", File("a stays")),
        ("data/b", File("b stays")),
        ("data/c", File("c one")),
        ("dirfile/one", File("one")),
        ("dirfile/sub/two", File("two")),
        ("edited-gone.txt", File("as shipped")),
        ("empty-old", Dir),
        ("filedir", File("a file")),
        ("gone/x", File("x")),
        ("gone/y/z", File("z")),
        ("link", Link("data/a")),
        ("link-gone", Link("data/b")),
        ("linkdir", Link("data")),
        ("lost", File("the user deleted me")),
        ("mode.sh", File("#!/bin/sh")),
        ("moved/from.bin", File("contents that move")),
        ("shared/z", File("shared z")),
        ("tool", Program("tool one")),
    ])
}

/// The new release of the large scenario.
pub(crate) fn new_release() -> Release {
    possible(vec![
        ("app", Program("app two, longer")),
        ("blocked/f", File("below a user's file")),
        ("case/lib/inner", File("same spelling inside")),
        ("case/readme", File("same words")),
        ("conf.ini", File("default = 2")),
        ("data/a", File("a stays")),
        ("data/b", File("b stays")),
        ("data/c", File("c two")),
        ("deep/new/dirs/file", File("deep")),
        ("dirfile", File("now a file")),
        ("empty-new", Dir),
        ("filedir/inner", File("now below a directory")),
        ("link", Link("data/c")),
        ("link-new", Link("data/a")),
        ("linkdir/file", File("in a real directory now")),
        ("lost", File("the user deleted me")),
        ("mode.sh", Program("#!/bin/sh")),
        ("moved/to.bin", File("contents that move")),
        ("new.txt", File("from the release")),
        ("tool", File("tool two")),
    ])
}

/// A name that a release may not have. Windows itself allows no control characters.
pub(crate) const ODD_NAME: &str = if cfg!(windows) { "dirfile/odd%name~1" } else { "dirfile/odd%name:\u{1}" };

/// What the user wrote: path → content. Every content must exist for ever.
pub(crate) const USER: &[(&str, &str)] = &[
    ("conf.ini", "edited = by me"),
    ("edited-gone.txt", "my edit of a file that goes"),
    ("blocked", "my file where a directory comes"),
    ("new.txt", "my file where a file comes"),
    ("dirfile/mine/notes.txt", "my notes"),
    (ODD_NAME, "my odd name"),
    ("shared/user.txt", "mine in a shared directory"),
    ("data/user.dat", "mine in data"),
    ("unlisted/deep/file", "mine entirely"),
];

pub(crate) fn path(text: &str) -> RelPath {
    RelPath::parse(text).expect("a legal path")
}

pub(crate) fn manifest(release: &Release) -> Manifest {
    let row = |(name, item): &(&str, Item)| match item {
        File(text) | Program(text) => Row {
            path: path(name),
            digest: ContentDigest::of(text.as_bytes()),
            kind: Kind::File { executable: matches!(item, Program(_)) },
            policy: Policy::Managed,
        },
        Link(to) => Row::link(path(name), LinkDestination::parse(&path(name), to).expect("in the tree")),
        Dir => Row::directory(path(name)),
    };
    Manifest::new(release.iter().map(row).collect()).expect("no conflicts")
}

pub(crate) fn record(release: &Release) -> Record {
    let manifest = manifest(release).to_bytes();
    Record { release: format!("release of {}", Blake3::of(&manifest)).into_bytes(), manifest }
}

#[cfg(unix)]
mod system {
    use std::fs::{self, Metadata, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::Path;

    pub(super) fn set_executable(at: &Path, executable: bool) {
        let mode = if executable { 0o755 } else { 0o644 };
        fs::set_permissions(at, Permissions::from_mode(mode)).expect("own file");
    }

    pub(super) fn link(to: &str, at: &Path) {
        symlink(to, at).expect("linked");
    }

    /// The mode and a space.
    pub(super) fn mode(metadata: &Metadata) -> String {
        format!("{:o} ", metadata.mode() & 0o7777)
    }

    pub(super) fn stamp(metadata: &Metadata) -> (u64, i64, i64) {
        (metadata.ino(), metadata.mtime(), metadata.mtime_nsec())
    }
}

/// Without modes and links, and without file numbers, which the standard library does not tell.
#[cfg(windows)]
mod system {
    use std::fs::Metadata;
    use std::os::windows::fs::MetadataExt;
    use std::path::Path;

    pub(super) fn set_executable(_: &Path, _: bool) {}

    pub(super) fn link(to: &str, at: &Path) {
        panic!("no release has links here: {} to {to}", at.display());
    }

    pub(super) fn mode(_: &Metadata) -> String {
        String::new()
    }

    pub(super) fn stamp(metadata: &Metadata) -> (u64, i64, i64) {
        (0, metadata.last_write_time().cast_signed(), 0)
    }
}

/// How a snapshot shows a file of `mode`, which only Unix knows, with this content.
pub(crate) fn shown(mode: &str, content: &str) -> String {
    if cfg!(unix) { format!("{mode} {content}") } else { content.to_owned() }
}

fn write(root: &Path, name: &str, item: Item) {
    let at = root.join(name);
    fs::create_dir_all(at.parent().expect("below the root")).expect("a directory");
    match item {
        File(text) | Program(text) => {
            let _ = fs::remove_file(&at);
            fs::write(&at, text).expect("written");
            system::set_executable(&at, matches!(item, Program(_)));
        }
        Link(to) => system::link(to, &at),
        Dir => fs::create_dir(&at).expect("made"),
    }
}

/// A directory with the old release installed in `tree`, the user's things in it, and a sentinel beside it.
pub(crate) struct Site {
    pub(crate) dir: tempfile::TempDir,
}

/// In memory where the system offers it: thousands of trees come and go.
fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.or_else(|_| tempfile::tempdir()).expect("a directory")
}

impl Site {
    /// The old release alone.
    pub(crate) fn plain(release: &Release) -> Self {
        let dir = directory();
        let root = dir.path().join("tree");
        fs::create_dir(&root).expect("made");
        release.iter().for_each(|(name, item)| write(&root, name, *item));
        let installed = root.join(".lamplighter/installed");
        fs::create_dir_all(&installed).expect("made");
        fs::write(installed.join("release"), record(release).release).expect("written");
        fs::write(installed.join("manifest.csv"), record(release).manifest).expect("written");
        fs::write(dir.path().join("sentinel"), "outside").expect("written");
        Self { dir }
    }

    /// The old release of the large scenario, with the user's edits.
    pub(crate) fn lived_in() -> Self {
        let site = Self::plain(&old_release());
        USER.iter().for_each(|(name, text)| write(&site.root(), name, File(text)));
        fs::create_dir_all(site.root().join("dirfile/mine/hollow")).expect("made");
        fs::remove_file(site.root().join("lost")).expect("removed");
        site
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.root().join(".lamplighter")
    }

    pub(crate) fn tree(&self) -> Tree {
        Tree::open(&self.root(), None).expect("a tree")
    }

    pub(crate) fn tree_on(&self, fs: Box<dyn Fs>) -> Tree {
        Tree::with_fs(fs, &self.root(), &self.state())
    }

    /// Everything in the tree but its state directory: path → what is there.
    pub(crate) fn snapshot(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        collect(&self.root(), &self.root(), &mut found);
        found
    }

    /// Contents of all files in the tree and in `kept/`.
    pub(crate) fn contents(&self) -> BTreeSet<Vec<u8>> {
        let mut contents = BTreeSet::new();
        read_all(&self.root(), &mut contents);
        read_all(&self.state().join("kept"), &mut contents);
        contents
    }

    /// File number (where the system tells it) and time of change of the files both releases have alike.
    pub(crate) fn stamps(&self) -> Vec<(u64, i64, i64)> {
        let stamp = |name| system::stamp(&fs::symlink_metadata(self.root().join(name)).expect("there"));
        ["data/a", "data/b", "data/user.dat", "shared/user.txt"].map(stamp).to_vec()
    }
}

fn collect(root: &Path, dir: &Path, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(dir).expect("listed") {
        let at = entry.expect("an entry").path();
        let name = at.strip_prefix(root).expect("below").to_string_lossy().replace('\\', "/");
        if name == ".lamplighter" {
            continue;
        }
        let metadata = fs::symlink_metadata(&at).expect("there");
        let shown = if metadata.is_symlink() {
            format!("link {}", fs::read_link(&at).expect("a link").to_string_lossy().replace('\\', "/"))
        } else if metadata.is_dir() {
            collect(root, &at, found);
            "dir".into()
        } else {
            format!("{}{}", system::mode(&metadata), fs::read_to_string(&at).expect("text"))
        };
        found.insert(name, shown);
    }
}

fn read_all(dir: &Path, contents: &mut BTreeSet<Vec<u8>>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for at in entries.map(|e| e.expect("an entry").path()) {
        let metadata = fs::symlink_metadata(&at).expect("there");
        if metadata.is_dir() && !at.ends_with(".lamplighter") {
            read_all(&at, contents);
        } else if metadata.is_file() {
            contents.insert(fs::read(&at).expect("read"));
        }
    }
}

/// The ops from `old` to `new` for what lies on disk, without any cleverness; `put` is called for each staged file.
pub(crate) fn plan(
    tree: &Tree,
    old: &Release,
    new: &Release,
    mut put: impl FnMut(usize, &str, bool) -> Result<(), TreeError>,
) -> Result<Vec<Op>, TreeError> {
    let (old, new_manifest) = (manifest(old), manifest(new));
    let rows: Vec<&Row> = old.rows().iter().collect();
    let mut findings = scan::check(tree, &rows, Depth::Content, &Silent, &Cancel::default());
    let unreadable = |finding: &Finding| matches!(finding, Finding::Other(scan::Found::Unreadable(_)));
    if let Some(index) = findings.iter().position(unreadable)
        && let Finding::Other(scan::Found::Unreadable(source)) = findings.swap_remove(index)
    {
        // What cannot be read is not the user's.
        return Err(source.into());
    }
    let before_of = |path: &RelPath| match old.find(path) {
        Some((index, row)) => match &findings[index] {
            Finding::Intact | Finding::WrongMode => Before::Listed(row.clone()),
            Finding::Missing => Before::Absent,
            Finding::Other(_) => Before::Foreign,
        },
        None => match &scan::identify(tree, &[path], &Silent, &Cancel::default())[0] {
            None => Before::Absent,
            // What lies below a listed link goes with the link.
            Some(scan::Found::Unreadable(_)) => Before::Absent,
            Some(_) => Before::Foreign,
        },
    };
    let mut ops = Vec::new();
    for (row, (_, item)) in new_manifest.rows().iter().zip(sorted(new)) {
        let before = before_of(&row.path);
        if let Before::Listed(listed) = &before
            && listed.digest == row.digest
            && listed.is_file() == row.is_file()
        {
            if let (Kind::File { executable }, true) = (&row.kind, listed.kind != row.kind) {
                ops.push(Op::SetMode { path: row.path.clone(), before, executable: *executable });
            }
            continue;
        }
        let path = row.path.clone();
        ops.push(match (&row.kind, item) {
            (Kind::File { executable }, File(text) | Program(text)) => {
                let staged = ops.len();
                put(staged, text, *executable)?;
                Op::Put { path, before, staged, digest: row.digest, executable: *executable }
            }
            (Kind::Link(destination), _) => Op::Link { path, before, destination: destination.clone() },
            _ => Op::Directory { path, before },
        });
    }
    for row in old.rows().iter().filter(|row| new_manifest.find(&row.path).is_none()) {
        match before_of(&row.path) {
            Before::Absent => {}
            before => ops.push(Op::Remove { path: row.path.clone(), before }),
        }
    }
    Ok(ops)
}

fn sorted(release: &Release) -> Release {
    let mut release = release.clone();
    release.sort_by_key(|(name, _)| *name);
    release
}

/// Stages one file.
pub(crate) fn stage(staging: &Staging, number: usize, text: &str, executable: bool) -> Result<(), TreeError> {
    written(staging, number, text, executable)?.map_or(Ok(()), CheckedFile::seal)
}

/// Stages one file that is not staged, and leaves it unflushed.
pub(crate) fn leave(staging: &Staging, number: usize, text: &str) -> Result<usize, TreeError> {
    written(staging, number, text, false)?.expect("not staged").leave()
}

/// One file that is not durable yet; nothing if it is staged already.
fn written(staging: &Staging, number: usize, text: &str, executable: bool) -> Result<Option<CheckedFile>, TreeError> {
    let digest = ContentDigest::of(text.as_bytes());
    if staging.reuse(number, &digest)? {
        return Ok(None);
    }
    let mut file = staging.create(number, digest.size, executable)?;
    file.write_all(text.as_bytes()).map_err(|source| TreeError::NotATree { path: "staged".into(), source })?;
    file.check(&digest).map(Some)
}

/// A whole update as a caller would do it: lock, recover, stage, commit.
pub(crate) fn update(tree: &Tree, old: &Release, new: &Release) -> Result<CommitReport, TreeError> {
    let lock = tree.lock(Duration::from_secs(5))?;
    lock.recover()?;
    commit(&lock, old, new)
}

pub(crate) fn commit(lock: &TreeLock, old: &Release, new: &Release) -> Result<CommitReport, TreeError> {
    commit_with(lock, old, new, &Silent)
}

/// The same, with somebody who looks on.
pub(crate) fn commit_with(
    lock: &TreeLock,
    old: &Release,
    new: &Release,
    progress: &dyn Progress,
) -> Result<CommitReport, TreeError> {
    let staging = lock.staging("update")?;
    let at_once = staging.flushes_at_once(new.len());
    let mut left = Vec::new();
    let ops = plan(lock, old, new, |number, text, executable| {
        if !at_once {
            return stage(&staging, number, text, executable);
        }
        let file = written(&staging, number, text, executable)?;
        left.extend(file.map(CheckedFile::leave).transpose()?);
        Ok(())
    })?;
    staging.flush(&left)?;
    lock.commit(Transaction { from: Some(record(old)), to: record(new), ops, staging }, progress)
}

/// The way back from `from` to the release before it, with the contents that were kept where they are there.
pub(crate) fn go_back(tree: &Tree, from: &Release, to: &Release) -> Result<CommitReport, TreeError> {
    let lock = tree.lock(Duration::from_secs(5))?;
    lock.recover()?;
    let staging = lock.staging("back")?;
    let mut taken = BTreeSet::new();
    let put = |number: usize, text: &str, executable: bool| {
        let is_first = taken.insert(text.to_owned());
        match staging.take_previous(number, &ContentDigest::of(text.as_bytes()), is_first)? {
            true => Ok(()),
            false => stage(&staging, number, text, executable),
        }
    };
    let ops = plan(&lock, from, to, put)?;
    lock.commit(Transaction { from: Some(record(from)), to: record(to), ops, staging }, &Silent)
}

/// Lock and recover, as the next start does.
pub(crate) fn recover(tree: &Tree) -> Result<Recovery, TreeError> {
    tree.lock(Duration::from_secs(5))?.recover()
}
