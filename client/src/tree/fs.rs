//! The few file-system calls a transaction uses, as a seam.
//!
//! Everything the tree part of this crate does to a disk goes through [`Fs`], addressed by a [`Place`]: a path below one
//! of two roots, the tree and its state directory. So a test can put a file system under the real code that counts calls,
//! fails at the k-th, or forgets what was not flushed.
//!
//! # What an implementation must promise
//!
//! * **No link on the way.** No component of a [`Place`] but the last is ever a link; the last is never followed. A link
//!   met on the way is [`FsError::LinkOnTheWay`], and nothing was touched.
//! * **Names are replaced, contents are not.** [`Fs::rename`] replaces a name at once; no call writes through an existing
//!   file, so a hard link somebody made to it keeps its content.
//! * **Only flushed things last.** [`WriteFile::sync`] and [`Fs::sync_file`] make content and mode durable,
//!   [`Fs::sync_dir`] the entries of one directory, [`Fs::sync_volume`] all of it. The caller takes nothing else as durable and
//!   no order as given.

use std::any::Any;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::format::path::RelPath;

#[cfg(any(not(unix), test))]
mod portable;
#[cfg(all(unix, test))]
mod tests;
#[cfg(unix)]
mod unix;
#[cfg(target_os = "linux")]
mod volume;

/// Mode of a plain file.
pub const FILE_MODE: u32 = 0o644;
/// Mode of an executable file, and of a directory in the tree.
pub const EXECUTABLE_MODE: u32 = 0o755;
/// Mode of everything in the state directory.
pub const PRIVATE_DIR_MODE: u32 = 0o700;
/// Directory of the state for files that are removed while they are in use.
pub(super) const TRASH: &str = "trash";

/// One of the two directories a transaction works in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Base {
    /// The installed directory.
    Tree,
    /// The state directory, in the tree or beside it on the same volume.
    State,
}

/// A path below one of the two roots; its components are plain names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    base: Base,
    path: PathBuf,
}

impl Place {
    /// The root of the tree.
    pub fn tree_root() -> Self {
        Self { base: Base::Tree, path: PathBuf::new() }
    }

    /// The state directory.
    pub fn state_root() -> Self {
        Self { base: Base::State, path: PathBuf::new() }
    }

    /// A path of the tree.
    pub fn tree(path: &RelPath) -> Self {
        Self { base: Base::Tree, path: path.to_path() }
    }

    /// `path` below this place; it must hold plain names only.
    pub(crate) fn below(&self, path: &Path) -> Self {
        debug_assert!(path.components().all(|c| matches!(c, std::path::Component::Normal(_))));
        Self { base: self.base, path: self.path.join(path) }
    }

    /// The entry `name` of this place.
    pub(crate) fn entry(&self, name: impl AsRef<OsStr>) -> Self {
        self.below(Path::new(name.as_ref()))
    }

    /// Which root it lies below.
    pub fn base(&self) -> Base {
        self.base
    }

    /// The path below the root, empty for the root itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory it lies in; none for a root.
    pub fn parent(&self) -> Option<Self> {
        self.path.parent().map(|parent| Self { base: self.base, path: parent.to_owned() })
    }

    /// Its last component; none for a root.
    pub fn name(&self) -> Option<&OsStr> {
        self.path.file_name()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = match self.base {
            Base::Tree => "the tree",
            Base::State => "the state directory",
        };
        if self.path.as_os_str().is_empty() {
            return f.write_str(root);
        }
        match self.base {
            Base::Tree => write!(f, "{}", self.path.display()),
            Base::State => write!(f, "{} in {root}", self.path.display()),
        }
    }
}

/// What lies at a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link or another reparse point.
    Link,
    /// A device, socket or pipe.
    Special,
}

/// What tells a file from itself after a change; equal stamps mean that nothing was written in between.
///
/// `file` is 0 where the system has no stable file number. Never decides what a file *is*: that takes its BLAKE3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Number of the file on its volume.
    pub file: u64,
    /// Its length in bytes.
    pub size: u64,
    /// Last change of its content, nanoseconds since the epoch.
    pub modified_ns: i128,
}

/// What is known of an entry without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: FileKind,
    /// Permission bits with set-uid, set-gid and sticky, `0o7777` at most; 0o644, or 0o755 for a directory, where the
    /// system has none.
    pub mode: u32,
    /// Identity and time of change.
    pub stamp: Stamp,
}

impl Metadata {
    /// Length in bytes.
    pub fn size(&self) -> u64 {
        self.stamp.size
    }

    /// Whether its owner may execute it.
    pub fn is_executable(&self) -> bool {
        self.mode & 0o100 != 0
    }
}

/// An entry opened without following links.
pub enum Entry {
    /// Nothing is there.
    Absent,
    /// A regular file, open for reading.
    File(Box<dyn ReadFile>, Metadata),
    /// A link, with the bytes of its destination.
    Link(Vec<u8>, Metadata),
    /// A directory.
    Directory(Metadata),
    /// Something else.
    Special(Metadata),
}

/// A file open for reading.
pub trait ReadFile: Read + Seek + Send {
    /// What is known of the open file.
    ///
    /// # Errors
    /// What the system says.
    fn metadata(&self) -> io::Result<Metadata>;
}

/// A new file open for writing, owner only until [`WriteFile::set_mode`].
pub trait WriteFile: Write + Send {
    /// Sets exactly these permission bits, whatever the umask.
    ///
    /// # Errors
    /// What the system says.
    fn set_mode(&mut self, mode: u32) -> io::Result<()>;

    /// Makes content and mode durable.
    ///
    /// # Errors
    /// What the system says; after an error the content is lost, even if a later call succeeds.
    fn sync(&mut self) -> io::Result<()>;
}

/// An open directory: many entries of it can be looked at without walking there again.
pub trait Directory: Send + Sync {
    /// Opens one entry.
    ///
    /// # Errors
    /// What the system says, other than that nothing is there.
    fn look(&self, name: &OsStr) -> Result<Entry, FsError>;

    /// What is known of one entry.
    ///
    /// # Errors
    /// As for [`Directory::look`].
    fn metadata(&self, name: &OsStr) -> Result<Option<Metadata>, FsError>;
}

/// Whether [`Fs::rename`] may take the place of what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Replace it, at once.
    Replace,
    /// Fail with `AlreadyExists`.
    Refuse,
}

/// A failed call.
#[derive(Debug, thiserror::Error)]
pub enum FsError {
    /// The system refused.
    #[error("{call} {place}: {source}")]
    Io {
        /// What was tried.
        call: &'static str,
        /// On what.
        place: Place,
        /// What the system said.
        source: io::Error,
    },
    /// Another program holds the file and lets nobody else have it, and did not let go while it was waited for.
    #[error("{call} {place}: another program holds it (waited {waited_ms} ms): {source}")]
    Held {
        /// What was tried.
        call: &'static str,
        /// On what.
        place: Place,
        /// How long.
        waited_ms: u64,
        /// What the system said.
        source: io::Error,
    },
    /// A directory on the way is a link, which is never followed.
    #[error("{place} is a link where a directory was expected, and links are not followed")]
    LinkOnTheWay {
        /// The component that is a link.
        place: Place,
    },
    /// The state directory lies on another volume than the tree, so nothing could be renamed between them.
    #[error("the state directory {state} lies on another volume than the tree {tree}")]
    OtherVolume {
        /// The tree.
        tree: PathBuf,
        /// The state directory.
        state: PathBuf,
    },
}

impl FsError {
    /// A failed `call` on `place`.
    pub fn io(call: &'static str, place: &Place, source: impl Into<io::Error>) -> Self {
        Self::Io { call, place: place.clone(), source: source.into() }
    }

    /// The same error once more, for each of several entries it concerns.
    pub(crate) fn again(&self) -> Self {
        let same = |source: &io::Error| match source.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(source.kind(), source.to_string()),
        };
        match self {
            Self::Io { call, place, source } => Self::Io { call, place: place.clone(), source: same(source) },
            Self::Held { call, place, waited_ms, source } => {
                Self::Held { call, place: place.clone(), waited_ms: *waited_ms, source: same(source) }
            }
            Self::LinkOnTheWay { place } => Self::LinkOnTheWay { place: place.clone() },
            Self::OtherVolume { tree, state } => Self::OtherVolume { tree: tree.clone(), state: state.clone() },
        }
    }

    /// The kind of the system's error; `Other` where the system did not speak.
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Io { source, .. } => source.kind(),
            Self::Held { .. } => io::ErrorKind::ResourceBusy,
            Self::LinkOnTheWay { .. } => io::ErrorKind::Other,
            Self::OtherVolume { .. } => io::ErrorKind::CrossesDevices,
        }
    }

    /// Whether there was no room for data or for a name, or none for this user.
    pub(crate) fn lacks_room(&self) -> bool {
        matches!(self.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// Held until dropped or until the process ends.
pub type LockGuard = Box<dyn Any + Send + Sync>;

/// The calls. All paths are taken as the [module](self) says.
pub trait Fs: Send + Sync {
    // Looking.

    /// What is known of `at`; nothing if it, or a directory above it, is missing.
    ///
    /// # Errors
    /// What the system says otherwise.
    fn metadata(&self, at: &Place) -> Result<Option<Metadata>, FsError>;

    /// Opens `at` for reading, whatever it is.
    ///
    /// # Errors
    /// What the system says.
    fn look(&self, at: &Place) -> Result<Entry, FsError>;

    /// Opens a directory; nothing if it is missing or not a directory.
    ///
    /// # Errors
    /// What the system says.
    fn directory(&self, at: &Place) -> Result<Option<Box<dyn Directory>>, FsError>;

    /// Names of the entries of a directory, sorted.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self, at: &Place) -> Result<Vec<OsString>, FsError>;

    /// Free bytes on the volume for this user; nothing if the system does not tell.
    ///
    /// # Errors
    /// What the system says.
    fn free_bytes(&self) -> Result<Option<u64>, FsError>;

    /// Fails if entries of the directory `at` could not be added, replaced or removed.
    ///
    /// # Errors
    /// Why not.
    fn probe_directory(&self, at: &Place) -> Result<(), FsError>;

    /// Fails if the file `at` could not be replaced now, as another program holds it.
    ///
    /// # Errors
    /// Why not.
    fn probe_file(&self, at: &Place) -> Result<(), FsError>;

    /// Whether files keep the permission bits they are given. Those of FAT, exFAT and many network shares all show the same, and often
    /// nobody may set any; there a mode says nothing. True before [`Fs::prepare_state`] made the state directory.
    fn keeps_modes(&self) -> bool {
        cfg!(unix)
    }

    // Changing.

    /// Creates the state directory, for its owner only, unless it is there, and checks that it lies on the tree's volume.
    ///
    /// # Errors
    /// What the system says, or [`FsError::OtherVolume`].
    fn prepare_state(&self) -> Result<(), FsError>;

    /// Takes the kernel's lock on the file `at`, created empty if missing; nothing if another holds it for all of `wait`.
    ///
    /// # Errors
    /// What the system says.
    fn lock(&self, at: &Place, wait: Duration) -> Result<Option<LockGuard>, FsError>;

    /// Creates a file that must not exist yet.
    ///
    /// # Errors
    /// What the system says.
    fn create_file(&self, at: &Place) -> Result<Box<dyn WriteFile>, FsError>;

    /// Creates a directory with exactly these permission bits, where they are kept.
    ///
    /// # Errors
    /// What the system says.
    fn create_dir(&self, at: &Place, mode: u32) -> Result<(), FsError>;

    /// Creates a link that holds `destination`.
    ///
    /// # Errors
    /// What the system says.
    fn symlink(&self, destination: &[u8], at: &Place) -> Result<(), FsError>;

    /// Gives the file or link `from` the further name `to`, which must not exist.
    ///
    /// # Errors
    /// What the system says, as where the volume has no hard links.
    fn hard_link(&self, from: &Place, to: &Place) -> Result<(), FsError>;

    /// Renames an entry, within a directory or to another.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &Place, to: &Place, existing: Existing) -> Result<(), FsError>;

    /// Removes a file or link.
    ///
    /// # Errors
    /// What the system says.
    fn remove_file(&self, at: &Place) -> Result<(), FsError>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// What the system says.
    fn remove_dir(&self, at: &Place) -> Result<(), FsError>;

    /// Sets exactly these permission bits on a file, where they are kept.
    ///
    /// # Errors
    /// What the system says.
    fn set_mode(&self, at: &Place, mode: u32) -> Result<(), FsError>;

    /// Makes content and mode of a file durable.
    ///
    /// # Errors
    /// What the system says.
    fn sync_file(&self, at: &Place) -> Result<(), FsError>;

    /// Makes the entries of a directory durable.
    ///
    /// # Errors
    /// What the system says.
    fn sync_dir(&self, at: &Place) -> Result<(), FsError>;

    /// Whether [`Fs::sync_volume`] is there, and likely to be cheaper than a flush for each of `files` files.
    fn has_cheaper_sync_volume(&self, files: usize) -> bool {
        let _ = files;
        false
    }

    /// Makes everything durable that was written to the volume before the call, whoever wrote it.
    ///
    /// # Errors
    /// Something was lost, be it another program's; there is no such call.
    fn sync_volume(&self) -> Result<(), FsError> {
        Err(FsError::io("flush volume of", &Place::tree_root(), io::Error::from(io::ErrorKind::Unsupported)))
    }
}

/// The file system of this machine for a tree at `tree` with its state in `state`, which need not exist yet.
///
/// # Errors
/// The tree is not a directory.
pub fn system(tree: &Path, state: &Path) -> Result<Box<dyn Fs>, FsError> {
    #[cfg(unix)]
    return Ok(Box::new(unix::UnixFs::open(tree, state)?));
    #[cfg(not(unix))]
    return Ok(Box::new(portable::PortableFs::open(tree, state)?));
}

/// `path` as people and other programs know it: on Windows a canonical path begins with `\\?\`, which not every program
/// takes, so it is left out where the path means the same without it.
pub(crate) fn plain(path: &Path) -> &Path {
    #[cfg(windows)]
    return dunce::simplified(path);
    #[cfg(not(windows))]
    path
}

/// Removes whatever is at `at`, with all below it; links are removed, not followed. Nothing there is no error.
pub(crate) fn remove_all(fs: &dyn Fs, at: &Place) -> Result<(), FsError> {
    match fs.metadata(at)?.map(|m| m.kind) {
        None => Ok(()),
        Some(FileKind::Directory) => {
            for name in fs.list(at)? {
                remove_all(fs, &at.entry(name))?;
            }
            fs.remove_dir(at)
        }
        Some(_) => fs.remove_file(at),
    }
}

/// Creates the directory `at` in the state directory with those above it, and flushes every directory that got an entry.
pub(crate) fn create_state_dirs(fs: &dyn Fs, at: &Place) -> Result<(), FsError> {
    let Some(parent) = at.parent() else { return Ok(()) };
    if fs.metadata(at)?.is_some_and(|m| m.kind == FileKind::Directory) {
        return Ok(());
    }
    create_state_dirs(fs, &parent)?;
    fs.create_dir(at, PRIVATE_DIR_MODE)?;
    fs.sync_dir(&parent)
}

/// Flushes a directory of the state directory and all above it: whoever made one may have ended before it was flushed.
pub(crate) fn sync_up(fs: &dyn Fs, at: &Place) -> Result<(), FsError> {
    fs.sync_dir(at)?;
    at.parent().map_or(Ok(()), |parent| sync_up(fs, &parent))
}

/// Writes a small file so that after a crash `at` holds either what it held before or all of `bytes`.
pub(crate) fn replace_file(fs: &dyn Fs, at: &Place, spare: &Place, bytes: &[u8]) -> Result<(), FsError> {
    write_new(fs, spare, bytes)?;
    fs.rename(spare, at, Existing::Replace)?;
    fs.sync_dir(&at.parent().unwrap_or_else(Place::state_root))
}

/// Writes and flushes the file `at`, in place of an older one.
pub(crate) fn write_new(fs: &dyn Fs, at: &Place, bytes: &[u8]) -> Result<(), FsError> {
    if fs.metadata(at)?.is_some() {
        fs.remove_file(at)?;
    }
    let mut file = fs.create_file(at)?;
    file.write_all(bytes).and_then(|()| file.sync()).map_err(|e| FsError::io("write", at, e))
}

/// Reads a small file of at most `bytes_max` bytes; nothing if it is missing.
pub(crate) fn read_small(fs: &dyn Fs, at: &Place, bytes_max: u64) -> Result<Option<Vec<u8>>, FsError> {
    let error = |source: io::Error| FsError::io("read", at, source);
    let not_a_file = || error(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    match fs.look(at)? {
        Entry::Absent => Ok(None),
        Entry::File(mut file, metadata) => {
            if metadata.size() > bytes_max {
                return Err(error(io::Error::new(
                    io::ErrorKind::FileTooLarge,
                    format!("it has over {bytes_max} bytes"),
                )));
            }
            let mut bytes = Vec::new();
            file.by_ref().take(bytes_max).read_to_end(&mut bytes).map_err(error)?;
            Ok(Some(bytes))
        }
        Entry::Link(..) | Entry::Directory(_) | Entry::Special(_) => Err(not_a_file()),
    }
}
