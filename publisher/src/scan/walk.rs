//! Lists what lies in an input directory, without following links and without reading content.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use lamplighter_client::format::path::{LinkDestination, RelPath};
use walkdir::{DirEntry, WalkDir};

use super::{Globs, Offender, Problem, Stamp};

/// One thing that belongs into the manifest.
pub(super) struct Entry {
    pub(super) path: RelPath,
    pub(super) kind: EntryKind,
}

pub(super) enum EntryKind {
    File {
        executable: bool,
        stamp: Stamp,
    },
    Link(LinkDestination),
    /// An empty one.
    Directory,
}

impl Entry {
    /// Bytes to read.
    pub(super) fn bytes(&self) -> u64 {
        match &self.kind {
            EntryKind::File { stamp, .. } => stamp.size(),
            _ => 0,
        }
    }
}

/// Lists `dir` in the order of names, leaving out what `exclude` matches.
///
/// A directory is listed only if it is empty on disk: one that the globs emptied was not meant to be shipped.
pub(super) fn walk(dir: &Path, exclude: &Globs) -> (Vec<Entry>, Vec<Offender>) {
    let mut seen = Seen::default();
    let mut walker = WalkDir::new(dir).min_depth(1).sort_by_file_name().into_iter();
    while let Some(next) = walker.next() {
        let entry = match next {
            Ok(entry) => entry,
            Err(error) => {
                seen.error(dir, error);
                continue;
            }
        };
        seen.occupied.extend(entry.path().parent().map(Path::to_owned));
        let shown = shown(dir, entry.path());
        if exclude.matches_text(&shown) {
            if entry.file_type().is_dir() {
                walker.skip_current_dir();
            }
            continue;
        }
        if let Err(problem) = seen.entry(&entry, &shown) {
            seen.offenders.push(Offender { path: shown, problem });
            if entry.file_type().is_dir() {
                // Everything below would be named for the same reason.
                walker.skip_current_dir();
            }
        }
    }
    seen.finish()
}

#[derive(Default)]
struct Seen {
    entries: Vec<Entry>,
    directories: Vec<(PathBuf, RelPath)>,
    occupied: HashSet<PathBuf>,
    offenders: Vec<Offender>,
}

impl Seen {
    fn entry(&mut self, entry: &DirEntry, shown: &str) -> Result<(), Problem> {
        if entry.file_name().to_str().is_none() {
            return Err(Problem::NotUtf8);
        }
        let path = RelPath::parse(shown).map_err(|e| Problem::Path(e.rule))?;
        let file_type = entry.file_type();
        if file_type.is_dir() {
            self.directories.push((entry.path().to_owned(), path));
            return Ok(());
        }
        let kind = if file_type.is_symlink() {
            EntryKind::Link(link(entry.path(), &path)?)
        } else if file_type.is_file() {
            let metadata = entry.metadata().map_err(|e| Problem::Unreadable(e.into()))?;
            EntryKind::File { executable: is_executable(&metadata), stamp: Stamp::of(&metadata) }
        } else {
            return Err(Problem::Special { kind: special(file_type) });
        };
        self.entries.push(Entry { path, kind });
        Ok(())
    }

    fn error(&mut self, dir: &Path, error: walkdir::Error) {
        let path = error.path().unwrap_or(dir).to_owned();
        // A directory that cannot be listed is not an empty one.
        self.occupied.insert(path.clone());
        self.offenders.push(Offender { path: shown(dir, &path), problem: Problem::Unreadable(error.into()) });
    }

    fn finish(self) -> (Vec<Entry>, Vec<Offender>) {
        let Self { mut entries, directories, occupied, offenders } = self;
        let empty = directories.into_iter().filter(|(on_disk, _)| !occupied.contains(on_disk));
        entries.extend(empty.map(|(_, path)| Entry { path, kind: EntryKind::Directory }));
        (entries, offenders)
    }
}

/// `path` below `dir` with `/` between its components; what is not UTF-8 is replaced, for people only.
fn shown(dir: &Path, path: &Path) -> String {
    let relative = path.strip_prefix(dir).unwrap_or(path);
    let parts: Vec<_> = relative.components().map(|c| c.as_os_str().to_string_lossy()).collect();
    if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
}

fn link(on_disk: &Path, path: &RelPath) -> Result<LinkDestination, Problem> {
    let destination = std::fs::read_link(on_disk).map_err(Problem::Unreadable)?;
    let text = destination.to_str().ok_or(Problem::NotUtf8)?;
    let text = if cfg!(windows) { text.replace('\\', "/") } else { text.to_owned() };
    LinkDestination::parse(path, &text).map_err(|e| Problem::Link { destination: text, rule: e.rule })
}

#[cfg(unix)]
fn is_executable(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o100 != 0
}

#[cfg(not(unix))]
fn is_executable(_: &std::fs::Metadata) -> bool {
    false
}

#[cfg(unix)]
fn special(file_type: std::fs::FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    if file_type.is_socket() {
        "socket"
    } else if file_type.is_fifo() {
        "named pipe"
    } else {
        "device"
    }
}

#[cfg(not(unix))]
fn special(_: std::fs::FileType) -> &'static str {
    "special file"
}
