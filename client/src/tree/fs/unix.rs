//! The calls on Unix, relative to open directories.
//!
//! A path is walked from the handle of its root with links refused: by one `openat2` (`RESOLVE_BENEATH` and
//! `RESOLVE_NO_SYMLINKS`) where the kernel has it, else component by component with `O_NOFOLLOW`. The last component is
//! always used relative to the handle of its directory.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::fs::{self, Access, AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

#[cfg(target_os = "linux")]
use super::volume;
use super::{
    Base, Directory, Entry, Existing, FileKind, Fs, FsError, LockGuard, Metadata, PRIVATE_DIR_MODE, Place, ReadFile,
    Stamp, WriteFile,
};
use crate::lock_file::LockFile;
use crate::tree::volume_kind;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// `NONBLOCK`: opening a pipe must not wait for a writer.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);
const NEW_FILE: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const NEW_FILE_MODE: u32 = 0o600;
/// In the state directory, for a moment: a file made to see what becomes of its mode.
pub(super) const MODES: &str = "modes";
/// Volumes that number a file anew whenever they come upon it, some by each spelling of its name.
const UNNUMBERED: [&str; 5] = ["fat", "exfat", "fuse", "msdos", "macfuse"];
const LOCK_POLL: Duration = Duration::from_millis(20);

pub(super) struct UnixFs {
    tree: OwnedFd,
    tree_path: PathBuf,
    state: OnceLock<OwnedFd>,
    state_path: PathBuf,
    /// Whether a path is tried in one call before it is walked.
    at_once: bool,
    numbered: bool,
    keeps_modes: OnceLock<bool>,
    /// Whether one flush of the volume does for all files of it.
    #[cfg(target_os = "linux")]
    syncs_volume: OnceLock<bool>,
}

impl UnixFs {
    pub(super) fn open(tree: &Path, state: &Path) -> Result<Self, FsError> {
        let flags = DIRECTORY.difference(OFlags::NOFOLLOW);
        let handle = fs::open(tree, flags, Mode::empty()).map_err(|e| FsError::io("open", &Place::tree_root(), e))?;
        Ok(Self {
            tree: handle,
            tree_path: tree.into(),
            state: OnceLock::new(),
            state_path: state.into(),
            at_once: true,
            numbered: !volume_kind(tree).is_some_and(|kind| UNNUMBERED.contains(&kind.as_str())),
            keeps_modes: OnceLock::new(),
            #[cfg(target_os = "linux")]
            syncs_volume: OnceLock::new(),
        })
    }

    /// As on a kernel that cannot resolve a path in one call.
    #[cfg(test)]
    pub(super) fn walking(tree: &Path, state: &Path) -> Result<Self, FsError> {
        Ok(Self { at_once: false, ..Self::open(tree, state)? })
    }

    fn root(&self, base: Base) -> Result<&OwnedFd, Errno> {
        match base {
            Base::Tree => Ok(&self.tree),
            Base::State => match self.state.get() {
                Some(handle) => Ok(handle),
                None => {
                    let handle = fs::open(&self.state_path, DIRECTORY, Mode::empty())?;
                    Ok(self.state.get_or_init(|| handle))
                }
            },
        }
    }

    /// Opens the directory at `place`, following no link.
    fn open_dir(&self, place: &Place) -> Result<OwnedFd, FsError> {
        let error = |e: Errno| FsError::io("open directory", place, e);
        let root = self.root(place.base()).map_err(error)?;
        if place.path().as_os_str().is_empty() {
            return fs::openat(root, c".", DIRECTORY, Mode::empty()).map_err(error);
        }
        match self.at_once.then(|| resolve_at_once(root, place.path())).flatten() {
            Some(Ok(handle)) => Ok(handle),
            Some(Err(e)) if !matches!(e, Errno::LOOP | Errno::NOTDIR | Errno::AGAIN) => Err(error(e)),
            _ => walk(root, place),
        }
    }

    /// The directory of `place`, and its name in there.
    fn parent<'a>(&self, place: &'a Place) -> Result<(OwnedFd, &'a OsStr), FsError> {
        match (place.parent(), place.name()) {
            (Some(parent), Some(name)) => Ok((self.open_dir(&parent)?, name)),
            _ => Err(FsError::io("use", place, io::Error::new(io::ErrorKind::InvalidInput, "it is a root"))),
        }
    }

    fn open_file(&self, at: &Place, call: &'static str) -> Result<OwnedFd, FsError> {
        let (dir, name) = self.parent(at)?;
        fs::openat(dir, name, READ, Mode::empty()).map_err(|e| FsError::io(call, at, e))
    }
}

fn has_mode(handle: impl AsFd, mode: u32) -> bool {
    fs::fstat(handle).is_ok_and(|stat| mode_of(&stat) == mode)
}

/// Sets exactly these permission bits; that it may not be done is no error where they are not kept.
fn set_mode(handle: impl AsFd, mode: u32, are_kept: impl Fn() -> bool) -> Result<(), Errno> {
    match fs::fchmod(handle, Mode::from_raw_mode(mode as fs::RawMode)) {
        Err(Errno::PERM | Errno::NOTSUP | Errno::NOSYS) if !are_kept() => Ok(()),
        result => result,
    }
}

/// Whether a file that is made in `dir` has the permission bits it is made with. One that was left there was made here, too.
fn keeps_mode_of_new_file(dir: impl AsFd) -> bool {
    let dir = dir.as_fd();
    let stat = match fs::openat(dir, MODES, NEW_FILE, Mode::from_raw_mode(NEW_FILE_MODE as fs::RawMode)) {
        Ok(handle) => fs::fstat(handle),
        Err(Errno::EXIST) => fs::statat(dir, MODES, AtFlags::SYMLINK_NOFOLLOW),
        Err(refused) => Err(refused),
    };
    let _ = fs::unlinkat(dir, MODES, AtFlags::empty());
    stat.is_ok_and(|stat| mode_of(&stat) == NEW_FILE_MODE)
}

/// One call where the kernel knows it; nothing where it does not.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn resolve_at_once(root: &OwnedFd, path: &Path) -> Option<Result<OwnedFd, Errno>> {
    use rustix::fs::ResolveFlags;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match fs::openat2(root, path, DIRECTORY, Mode::empty(), resolve) {
        // Old kernels, and sandboxes that refuse what they do not know.
        Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => None,
        result => Some(result),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn resolve_at_once(_: &OwnedFd, _: &Path) -> Option<Result<OwnedFd, Errno>> {
    None
}

fn walk(root: &OwnedFd, place: &Place) -> Result<OwnedFd, FsError> {
    let mut here = root.try_clone().map_err(|e| FsError::io("open directory", place, e))?;
    let mut passed = match place.base() {
        Base::Tree => Place::tree_root(),
        Base::State => Place::state_root(),
    };
    for name in place.path() {
        passed = passed.entry(name);
        here = match fs::openat(&here, name, DIRECTORY, Mode::empty()) {
            Ok(next) => next,
            Err(e @ (Errno::LOOP | Errno::NOTDIR | Errno::MLINK)) => {
                let is_link = fs::statat(&here, name, AtFlags::SYMLINK_NOFOLLOW)
                    .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink);
                return Err(match is_link {
                    true => FsError::LinkOnTheWay { place: passed },
                    false => FsError::io("open directory", place, e),
                });
            }
            Err(e) => return Err(FsError::io("open directory", place, e)),
        };
    }
    Ok(here)
}

// The widths of these fields differ from system to system.
#[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
fn mode_of(stat: &fs::Stat) -> u32 {
    u32::from(stat.st_mode) & 0o7777
}

/// `numbered`: whether the number of a file says anything.
#[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
fn metadata_of(stat: &fs::Stat, numbered: bool) -> Metadata {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Link,
        _ => FileKind::Special,
    };
    let modified_ns = i128::from(stat.st_mtime as i64) * 1_000_000_000 + i128::from(stat.st_mtime_nsec as i64);
    let file = if numbered { stat.st_ino as u64 } else { 0 };
    let stamp = Stamp { file, size: u64::try_from(stat.st_size).unwrap_or(0), modified_ns };
    Metadata { kind, mode: mode_of(stat), stamp }
}

fn metadata_at(dir: impl AsFd, name: &OsStr, numbered: bool) -> Result<Option<Metadata>, Errno> {
    match fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(metadata_of(&stat, numbered))),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

fn look_at(dir: impl AsFd, name: &OsStr, numbered: bool) -> Result<Entry, Errno> {
    let dir = dir.as_fd();
    // A regular file, the usual case, takes two calls.
    match fs::openat(dir, name, READ, Mode::empty()) {
        Ok(handle) => {
            let metadata = metadata_of(&fs::fstat(&handle)?, numbered);
            Ok(match metadata.kind {
                FileKind::File => Entry::File(Box::new(OpenFile { file: File::from(handle), numbered }), metadata),
                FileKind::Directory => Entry::Directory(metadata),
                FileKind::Link | FileKind::Special => Entry::Special(metadata),
            })
        }
        Err(Errno::NOENT) => Ok(Entry::Absent),
        Err(refused) => match metadata_at(dir, name, numbered)? {
            None => Ok(Entry::Absent),
            Some(metadata) => match metadata.kind {
                FileKind::Link => {
                    let destination = fs::readlinkat(dir, name, Vec::new())?;
                    Ok(Entry::Link(destination.into_bytes(), metadata))
                }
                FileKind::Special => Ok(Entry::Special(metadata)),
                FileKind::Directory => Ok(Entry::Directory(metadata)),
                FileKind::File => Err(refused),
            },
        },
    }
}

/// True where a path leads nowhere because of what is, or is not, above it.
fn is_nowhere(error: &FsError) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

struct OpenDirectory {
    handle: OwnedFd,
    place: Place,
    numbered: bool,
}

impl Directory for OpenDirectory {
    fn look(&self, name: &OsStr) -> Result<Entry, FsError> {
        look_at(&self.handle, name, self.numbered).map_err(|e| FsError::io("open", &self.place.entry(name), e))
    }

    fn metadata(&self, name: &OsStr) -> Result<Option<Metadata>, FsError> {
        metadata_at(&self.handle, name, self.numbered).map_err(|e| FsError::io("look at", &self.place.entry(name), e))
    }
}

struct OpenFile {
    file: File,
    numbered: bool,
}

impl Read for OpenFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

impl Seek for OpenFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl ReadFile for OpenFile {
    fn metadata(&self) -> io::Result<Metadata> {
        Ok(metadata_of(&fs::fstat(&self.file)?, self.numbered))
    }
}

impl WriteFile for File {
    fn set_mode(&mut self, mode: u32) -> io::Result<()> {
        // It was made a moment ago, with that mode.
        Ok(set_mode(&*self, mode, || has_mode(&*self, NEW_FILE_MODE))?)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

impl Fs for UnixFs {
    fn metadata(&self, at: &Place) -> Result<Option<Metadata>, FsError> {
        let found = match at.name() {
            None => self.open_dir(at).and_then(|dir| match fs::fstat(dir) {
                Ok(stat) => Ok(Some(metadata_of(&stat, self.numbered))),
                Err(e) => Err(FsError::io("look at", at, e)),
            }),
            Some(_) => self.parent(at).and_then(|(dir, name)| {
                metadata_at(dir, name, self.numbered).map_err(|e| FsError::io("look at", at, e))
            }),
        };
        found.or_else(|e| if is_nowhere(&e) { Ok(None) } else { Err(e) })
    }

    fn look(&self, at: &Place) -> Result<Entry, FsError> {
        let found = self
            .parent(at)
            .and_then(|(dir, name)| look_at(dir, name, self.numbered).map_err(|e| FsError::io("open", at, e)));
        found.or_else(|e| if is_nowhere(&e) { Ok(Entry::Absent) } else { Err(e) })
    }

    fn directory(&self, at: &Place) -> Result<Option<Box<dyn Directory>>, FsError> {
        match self.open_dir(at) {
            Ok(handle) => Ok(Some(Box::new(OpenDirectory { handle, place: at.clone(), numbered: self.numbered }))),
            Err(e) if is_nowhere(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn list(&self, at: &Place) -> Result<Vec<OsString>, FsError> {
        let error = |e: Errno| FsError::io("list", at, e);
        let mut names = Vec::new();
        for entry in fs::Dir::new(self.open_dir(at)?).map_err(error)? {
            let name = entry.map_err(error)?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        names.sort();
        Ok(names)
    }

    fn free_bytes(&self) -> Result<Option<u64>, FsError> {
        let stat = fs::fstatvfs(&self.tree).map_err(|e| FsError::io("measure", &Place::tree_root(), e))?;
        Ok(Some(stat.f_bavail.saturating_mul(stat.f_frsize)))
    }

    fn probe_directory(&self, at: &Place) -> Result<(), FsError> {
        let dir = self.open_dir(at)?;
        fs::accessat(dir, c".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::empty())
            .map_err(|e| FsError::io("write in", at, e))
    }

    /// Nothing a program does with a file keeps its name from being replaced here.
    fn probe_file(&self, _: &Place) -> Result<(), FsError> {
        Ok(())
    }

    fn keeps_modes(&self) -> bool {
        let Ok(state) = self.root(Base::State) else { return true };
        *self.keeps_modes.get_or_init(|| has_mode(state, PRIVATE_DIR_MODE) || keeps_mode_of_new_file(state))
    }

    fn prepare_state(&self) -> Result<(), FsError> {
        let at = Place::state_root();
        let error = |e: Errno| FsError::io("create", &at, e);
        let created = match fs::mkdir(&self.state_path, Mode::from_raw_mode(PRIVATE_DIR_MODE as fs::RawMode)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(e) => return Err(error(e)),
        };
        let state = self.root(Base::State).map_err(error)?;
        let (tree_stat, state_stat) = (fs::fstat(&self.tree).map_err(error)?, fs::fstat(state).map_err(error)?);
        if tree_stat.st_dev != state_stat.st_dev {
            if created {
                // It is empty and ours; should this fail, an empty directory stays.
                let _ = fs::rmdir(&self.state_path);
            }
            return Err(FsError::OtherVolume { tree: self.tree_path.clone(), state: self.state_path.clone() });
        }
        if mode_of(&state_stat) != PRIVATE_DIR_MODE {
            set_mode(state, PRIVATE_DIR_MODE, || self.keeps_modes()).map_err(error)?;
        }
        if created && let Some(parent) = self.state_path.parent() {
            let flags = DIRECTORY.difference(OFlags::NOFOLLOW);
            fs::open(parent, flags, Mode::empty()).and_then(fs::fsync).map_err(error)?;
        }
        Ok(())
    }

    fn lock(&self, at: &Place, wait: Duration) -> Result<Option<LockGuard>, FsError> {
        let start = Instant::now();
        loop {
            let (dir, name) = self.parent(at)?;
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let handle =
                fs::openat(&dir, name, flags, Mode::RUSR | Mode::WUSR).map_err(|e| FsError::io("open lock", at, e))?;
            if let Ok(held) = LockFile::try_lock(File::from(handle)).map_err(|e| FsError::io("lock", at, e))? {
                // Whoever removed the file meanwhile let others lock a new one.
                let mine = fs::fstat(held.file()).map_err(|e| FsError::io("lock", at, e))?.st_ino;
                if fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| stat.st_ino == mine) {
                    return Ok(Some(Box::new(held)));
                }
            }
            if start.elapsed() >= wait {
                return Ok(None);
            }
            std::thread::sleep(LOCK_POLL.min(wait));
        }
    }

    fn create_file(&self, at: &Place) -> Result<Box<dyn WriteFile>, FsError> {
        let (dir, name) = self.parent(at)?;
        let mode = Mode::from_raw_mode(NEW_FILE_MODE as fs::RawMode);
        let handle = fs::openat(dir, name, NEW_FILE, mode).map_err(|e| FsError::io("create", at, e))?;
        Ok(Box::new(File::from(handle)))
    }

    fn create_dir(&self, at: &Place, mode: u32) -> Result<(), FsError> {
        let error = |e: Errno| FsError::io("create directory", at, e);
        let (dir, name) = self.parent(at)?;
        fs::mkdirat(&dir, name, Mode::RWXU).map_err(error)?;
        let handle = fs::openat(&dir, name, DIRECTORY, Mode::empty()).map_err(error)?;
        set_mode(&handle, mode, || has_mode(&handle, PRIVATE_DIR_MODE)).map_err(error)
    }

    fn symlink(&self, destination: &[u8], at: &Place) -> Result<(), FsError> {
        let (dir, name) = self.parent(at)?;
        fs::symlinkat(OsStr::from_bytes(destination), dir, name).map_err(|e| FsError::io("create link", at, e))
    }

    fn hard_link(&self, from: &Place, to: &Place) -> Result<(), FsError> {
        let (from_dir, from_name) = self.parent(from)?;
        let (to_dir, to_name) = self.parent(to)?;
        fs::linkat(from_dir, from_name, to_dir, to_name, AtFlags::empty()).map_err(|e| FsError::io("link", from, e))
    }

    fn rename(&self, from: &Place, to: &Place, existing: Existing) -> Result<(), FsError> {
        let error = |e: Errno| FsError::io("rename to", to, e);
        let (from_dir, from_name) = self.parent(from)?;
        let (to_dir, to_name) = self.parent(to)?;
        if existing == Existing::Refuse {
            match fs::renameat_with(&from_dir, from_name, &to_dir, to_name, RenameFlags::NOREPLACE) {
                Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                    if metadata_at(&to_dir, to_name, self.numbered).map_err(error)?.is_some() {
                        return Err(error(Errno::EXIST));
                    }
                }
                result => return result.map_err(error),
            }
        }
        fs::renameat(from_dir, from_name, to_dir, to_name).map_err(error)
    }

    fn remove_file(&self, at: &Place) -> Result<(), FsError> {
        let (dir, name) = self.parent(at)?;
        fs::unlinkat(dir, name, AtFlags::empty()).map_err(|e| FsError::io("remove", at, e))
    }

    fn remove_dir(&self, at: &Place) -> Result<(), FsError> {
        let (dir, name) = self.parent(at)?;
        fs::unlinkat(dir, name, AtFlags::REMOVEDIR).map_err(|e| FsError::io("remove directory", at, e))
    }

    fn set_mode(&self, at: &Place, mode: u32) -> Result<(), FsError> {
        let handle = self.open_file(at, "set mode of")?;
        set_mode(handle, mode, || self.keeps_modes()).map_err(|e| FsError::io("set mode of", at, e))
    }

    fn sync_file(&self, at: &Place) -> Result<(), FsError> {
        File::from(self.open_file(at, "flush")?).sync_all().map_err(|e| FsError::io("flush", at, e))
    }

    fn sync_dir(&self, at: &Place) -> Result<(), FsError> {
        File::from(self.open_dir(at)?).sync_all().map_err(|e| FsError::io("flush directory", at, e))
    }

    #[cfg(target_os = "linux")]
    fn has_cheaper_sync_volume(&self, files: usize) -> bool {
        files >= volume::FILES_MIN && *self.syncs_volume.get_or_init(|| volume::tells_of_losses(&self.tree))
    }

    /// The handle was opened before anything was written, so it is told of every loss since.
    #[cfg(target_os = "linux")]
    fn sync_volume(&self) -> Result<(), FsError> {
        fs::syncfs(&self.tree).map_err(|e| FsError::io("flush volume of", &Place::tree_root(), e))
    }
}
