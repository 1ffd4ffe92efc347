//! The calls where there are no directory handles: paths, each component looked at before use.
//!
//! Written for Windows; compiled elsewhere for its tests alone. What differs from Unix:
//!
//! * A link planted between the look and the use would be followed: who can do that can write to the tree anyway.
//! * Files have no modes, and no number that the standard library tells.
//! * A program that runs, and a file another program holds, cannot be replaced but can be renamed: it is moved to `trash/`
//!   in the state directory and removed at a later start. Where not even that is allowed, the call is tried again for about
//!   nine seconds, since scanners and indexers let go soon, and then fails as [`FsError::Held`]. A refusal that may as well
//!   be a missing right is tried again for a second and a half.
//! * A removed file may keep its name until the last program that has it open lets go, and then nothing can take its place.
//!   Where the volume does so, a file is moved to `trash/` before it is removed.
//! * Flushing a directory is tried and not relied on.
//! * A file is flushed through a handle that may write, and none is given for one that is marked read-only: it loses its
//!   mark while it is opened. After a crash in between the mark is gone.

mod patience;

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use super::{
    Base, Directory, EXECUTABLE_MODE, Entry, Existing, FILE_MODE, FileKind, Fs, FsError, LockGuard, Metadata, Place,
    ReadFile, Stamp, TRASH, WriteFile,
};
use crate::lock_file::LockFile;
use patience::{failed, is_held, patiently};

const LOCK_POLL: Duration = Duration::from_millis(20);
const PROBE: &str = ".lamplighter-probe";

pub(super) struct PortableFs {
    tree: PathBuf,
    state: PathBuf,
    trashed: AtomicU64,
    /// Whether the name of a removed file is free at once, though the file is open; found out when first needed.
    names_go_at_once: OnceLock<bool>,
}

impl PortableFs {
    pub(super) fn open(tree: &Path, state: &Path) -> Result<Self, FsError> {
        let error = |e: io::Error| FsError::io("open", &Place::tree_root(), e);
        if !fs::metadata(tree).map_err(error)?.is_dir() {
            return Err(error(io::ErrorKind::NotADirectory.into()));
        }
        Ok(Self {
            tree: tree.into(),
            state: state.into(),
            trashed: AtomicU64::new(0),
            names_go_at_once: OnceLock::new(),
        })
    }

    /// The full path of `place`, after every directory on the way was seen to be one.
    fn path(&self, place: &Place) -> Result<PathBuf, FsError> {
        let (root, mut passed) = match place.base() {
            Base::Tree => (&self.tree, Place::tree_root()),
            Base::State => (&self.state, Place::state_root()),
        };
        let mut path = root.clone();
        let parent = place.parent().unwrap_or_else(|| place.clone());
        for name in parent.path() {
            path.push(name);
            passed = passed.entry(name);
            let found = fs::symlink_metadata(&path).map_err(|e| FsError::io("open directory", place, e))?;
            if found.is_symlink() {
                return Err(FsError::LinkOnTheWay { place: passed });
            }
            if !found.is_dir() {
                return Err(FsError::io("open directory", place, io::Error::from(io::ErrorKind::NotADirectory)));
            }
        }
        path.extend(place.name());
        Ok(path)
    }

    fn found(&self, place: &Place) -> Result<Option<Metadata>, FsError> {
        match self.path(place).and_then(|p| fs::symlink_metadata(p).map_err(|e| FsError::io("look at", place, e))) {
            Ok(metadata) => Ok(Some(metadata_of(&metadata))),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// A name in `trash/` that nothing has.
    fn free_name(&self) -> io::Result<PathBuf> {
        let trash = self.state.join(TRASH);
        match fs::create_dir(&trash) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        loop {
            let number = self.trashed.fetch_add(1, Ordering::Relaxed);
            let name = trash.join(format!("{}-{number}", std::process::id()));
            if fs::symlink_metadata(&name).is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
                return Ok(name);
            }
        }
    }

    /// Renames a file out of the way.
    fn trash(&self, path: &Path) -> io::Result<PathBuf> {
        let away = self.free_name()?;
        fs::rename(path, &away)?;
        Ok(away)
    }

    fn names_go_at_once(&self) -> bool {
        *self.names_go_at_once.get_or_init(|| {
            let probe = || {
                let name = self.free_name()?;
                let _open = options().write(true).create_new(true).open(&name)?;
                fs::remove_file(&name)?;
                OpenOptions::new().write(true).create_new(true).open(&name)?;
                fs::remove_file(&name)
            };
            probe().is_ok()
        })
    }

    fn replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        let refused = match fs::rename(from, to) {
            Err(e) if is_held(&e) && fs::symlink_metadata(to).is_ok_and(|m| !m.is_dir()) => e,
            result => return result,
        };
        let away = self.trash(to).map_err(|_| refused)?;
        fs::rename(from, to).inspect_err(|_| {
            // The old file comes back; should that fail too, recovery has its backup.
            let _ = fs::rename(&away, to);
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if !self.names_go_at_once() {
            // What cannot be removed there goes at a later start.
            return self.trash(path).map(|away| drop(remove_name(&away)));
        }
        match remove_name(path) {
            Err(e) if is_held(&e) => self.trash(path).map(drop).map_err(|_| e),
            result => result,
        }
    }

    fn empty_trash(&self) {
        let Ok(entries) = fs::read_dir(self.state.join(TRASH)) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            // What still runs stays until a later start.
            if remove_name(&path).is_err_and(|e| is_held(&e)) {
                make_writable(&path);
                let _ = remove_name(&path);
            }
        }
        let _ = fs::remove_dir(self.state.join(TRASH));
    }
}

/// Removes a file or a link; Windows keeps apart links to files and links to directories.
fn remove_name(path: &Path) -> io::Result<()> {
    #[cfg(windows)]
    {
        use std::os::windows::fs::FileTypeExt;
        if fs::symlink_metadata(path)?.file_type().is_symlink_dir() {
            return fs::remove_dir(path);
        }
    }
    fs::remove_file(path)
}

/// Takes from a file the mark that it is read-only: older systems remove none that has it, and none opens one for writing.
/// Gives the permissions it had, if they were others.
fn make_writable(path: &Path) -> Option<fs::Permissions> {
    let marked = fs::symlink_metadata(path).ok()?.permissions();
    if !marked.readonly() {
        return None;
    }
    let mut permissions = marked.clone();
    #[cfg_attr(unix, allow(clippy::permissions_set_readonly_false, reason = "it is an attribute on Windows"))]
    permissions.set_readonly(false);
    fs::set_permissions(path, permissions).ok().map(|()| marked)
}

/// Opens a file so that it can be flushed; if it was marked read-only, it is so again when this returns.
fn open_to_flush(path: &Path) -> io::Result<File> {
    let open = || options().read(true).write(true).open(path);
    match open() {
        Err(refused) if refused.kind() == io::ErrorKind::PermissionDenied => {
            let Some(marked) = make_writable(path) else { return Err(refused) };
            let opened = open();
            fs::set_permissions(path, marked)?;
            opened
        }
        result => result,
    }
}

fn metadata_of(metadata: &fs::Metadata) -> Metadata {
    let kind = if metadata.is_symlink() {
        FileKind::Link
    } else if metadata.is_dir() {
        FileKind::Directory
    } else if metadata.is_file() {
        FileKind::File
    } else {
        FileKind::Special
    };
    let modified_ns = match metadata.modified().map(|time| time.duration_since(UNIX_EPOCH)) {
        Ok(Ok(after)) => i128::try_from(after.as_nanos()).unwrap_or(i128::MAX),
        Ok(Err(before)) => -i128::try_from(before.duration().as_nanos()).unwrap_or(i128::MAX),
        Err(_) => 0,
    };
    let mode = if kind == FileKind::Directory { EXECUTABLE_MODE } else { FILE_MODE };
    Metadata { kind, mode, stamp: Stamp { file: 0, size: metadata.len(), modified_ns } }
}

/// Options that never follow a link at the end, and let others rename or remove the file meanwhile.
fn options() -> OpenOptions {
    #[cfg_attr(not(windows), allow(unused_mut))]
    let mut options = OpenOptions::new();
    #[cfg(windows)]
    {
        use std::os::windows::fs::OpenOptionsExt;
        const OPEN_REPARSE_POINT: u32 = 0x0020_0000;
        const SHARE_ALL: u32 = 7;
        options.custom_flags(OPEN_REPARSE_POINT).share_mode(SHARE_ALL);
    }
    options
}

fn look_at(path: &Path, place: &Place) -> Result<Entry, FsError> {
    let error = |e: io::Error| FsError::io("open", place, e);
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata_of(&metadata),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Entry::Absent),
        Err(e) => return Err(error(e)),
    };
    Ok(match metadata.kind {
        FileKind::Directory => Entry::Directory(metadata),
        FileKind::Special => Entry::Special(metadata),
        FileKind::Link => {
            let destination = fs::read_link(path).map_err(error)?;
            Entry::Link(destination.to_string_lossy().replace('\\', "/").into_bytes(), metadata)
        }
        FileKind::File => {
            let file = patiently("open", place, || options().read(true).open(path))?;
            let opened = metadata_of(&file.metadata().map_err(error)?);
            if opened.kind != FileKind::File {
                return Err(error(io::Error::other("it changed while it was opened")));
            }
            Entry::File(Box::new(PortableFile(file)), opened)
        }
    })
}

struct PortableFile(File);

impl io::Read for PortableFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl io::Seek for PortableFile {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

impl io::Write for PortableFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl ReadFile for PortableFile {
    fn metadata(&self) -> io::Result<Metadata> {
        Ok(metadata_of(&self.0.metadata()?))
    }
}

impl WriteFile for PortableFile {
    fn set_mode(&mut self, _: u32) -> io::Result<()> {
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_all()
    }
}

struct PortableDirectory {
    path: PathBuf,
    place: Place,
}

impl Directory for PortableDirectory {
    fn look(&self, name: &std::ffi::OsStr) -> Result<Entry, FsError> {
        look_at(&self.path.join(name), &self.place.entry(name))
    }

    fn metadata(&self, name: &std::ffi::OsStr) -> Result<Option<Metadata>, FsError> {
        match fs::symlink_metadata(self.path.join(name)) {
            Ok(metadata) => Ok(Some(metadata_of(&metadata))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(FsError::io("look at", &self.place.entry(name), e)),
        }
    }
}

impl Fs for PortableFs {
    fn metadata(&self, at: &Place) -> Result<Option<Metadata>, FsError> {
        self.found(at)
    }

    fn look(&self, at: &Place) -> Result<Entry, FsError> {
        if self.found(at)?.is_none() {
            return Ok(Entry::Absent);
        }
        look_at(&self.path(at)?, at)
    }

    fn directory(&self, at: &Place) -> Result<Option<Box<dyn Directory>>, FsError> {
        match self.found(at)?.map(|m| m.kind) {
            Some(FileKind::Directory) => {
                Ok(Some(Box::new(PortableDirectory { path: self.path(at)?, place: at.clone() })))
            }
            Some(FileKind::Link) => Err(FsError::LinkOnTheWay { place: at.clone() }),
            _ => Ok(None),
        }
    }

    fn list(&self, at: &Place) -> Result<Vec<OsString>, FsError> {
        let error = |e: io::Error| FsError::io("list", at, e);
        let entries = fs::read_dir(self.path(at)?).map_err(error)?;
        let mut names: Vec<OsString> =
            entries.map(|entry| entry.map(|e| e.file_name())).collect::<io::Result<_>>().map_err(error)?;
        names.sort();
        Ok(names)
    }

    fn free_bytes(&self) -> Result<Option<u64>, FsError> {
        #[cfg(windows)]
        return fs4::available_space(&self.tree).map(Some).map_err(|e| FsError::io("measure", &Place::tree_root(), e));
        #[cfg(not(windows))]
        Ok(None)
    }

    fn probe_directory(&self, at: &Place) -> Result<(), FsError> {
        let error = |e: io::Error| FsError::io("write in", at, e);
        let probe = self.path(&at.entry(PROBE))?;
        let _ = fs::remove_file(&probe);
        drop(OpenOptions::new().write(true).create_new(true).open(&probe).map_err(error)?);
        patiently("write in", at, || fs::remove_file(&probe))
    }

    fn probe_file(&self, at: &Place) -> Result<(), FsError> {
        #[cfg(windows)]
        {
            use std::os::windows::fs::OpenOptionsExt;
            const DELETE: u32 = 0x0001_0000;
            let path = self.path(at)?;
            patiently("replace", at, || options().access_mode(DELETE).open(&path))?;
        }
        let _ = at;
        Ok(())
    }

    fn prepare_state(&self) -> Result<(), FsError> {
        let prefix = |path: &Path| {
            path.components().find(|c| matches!(c, Component::Prefix(_))).map(|c| c.as_os_str().to_owned())
        };
        if prefix(&self.tree) != prefix(&self.state) {
            return Err(FsError::OtherVolume { tree: self.tree.clone(), state: self.state.clone() });
        }
        match fs::create_dir(&self.state) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                match fs::symlink_metadata(&self.state) {
                    Ok(found) if found.is_dir() && !found.is_symlink() => {}
                    _ => return Err(FsError::LinkOnTheWay { place: Place::state_root() }),
                }
                self.empty_trash();
                Ok(())
            }
            Err(e) => Err(FsError::io("create", &Place::state_root(), e)),
        }
    }

    fn lock(&self, at: &Place, wait: Duration) -> Result<Option<LockGuard>, FsError> {
        let (path, start) = (self.path(at)?, Instant::now());
        if self.found(at)?.is_some_and(|m| m.kind != FileKind::File) {
            return Err(FsError::LinkOnTheWay { place: at.clone() });
        }
        let mut file = options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|e| FsError::io("open lock", at, e))?;
        loop {
            match LockFile::try_lock(file).map_err(|e| FsError::io("lock", at, e))? {
                Ok(held) => return Ok(Some(Box::new(held))),
                Err(_) if start.elapsed() >= wait => return Ok(None),
                Err(others) => file = others,
            }
            std::thread::sleep(LOCK_POLL.min(wait));
        }
    }

    fn create_file(&self, at: &Place) -> Result<Box<dyn WriteFile>, FsError> {
        let path = self.path(at)?;
        let file = patiently("create", at, || OpenOptions::new().write(true).create_new(true).open(&path))?;
        Ok(Box::new(PortableFile(file)))
    }

    fn create_dir(&self, at: &Place, _: u32) -> Result<(), FsError> {
        fs::create_dir(self.path(at)?).map_err(|e| FsError::io("create directory", at, e))
    }

    fn symlink(&self, destination: &[u8], at: &Place) -> Result<(), FsError> {
        let path = self.path(at)?;
        let text = String::from_utf8_lossy(destination);
        make_link(&text, &path).map_err(|e| FsError::io("create link", at, e))
    }

    fn hard_link(&self, from: &Place, to: &Place) -> Result<(), FsError> {
        let (from_path, to_path) = (self.path(from)?, self.path(to)?);
        patiently("link", from, || fs::hard_link(&from_path, &to_path))
    }

    fn rename(&self, from: &Place, to: &Place, existing: Existing) -> Result<(), FsError> {
        let (from_path, to_path) = (self.path(from)?, self.path(to)?);
        if existing == Existing::Refuse && self.found(to)?.is_some() {
            return Err(FsError::io("rename to", to, io::Error::from(io::ErrorKind::AlreadyExists)));
        }
        patiently("rename to", to, || self.replace(&from_path, &to_path))
    }

    fn remove_file(&self, at: &Place) -> Result<(), FsError> {
        let path = self.path(at)?;
        patiently("remove", at, || self.remove(&path))
    }

    fn remove_dir(&self, at: &Place) -> Result<(), FsError> {
        // Not patiently: a directory that a program is in may stay.
        fs::remove_dir(self.path(at)?).map_err(|e| failed("remove directory", at, 0, e))
    }

    fn set_mode(&self, _: &Place, _: u32) -> Result<(), FsError> {
        Ok(())
    }

    fn sync_file(&self, at: &Place) -> Result<(), FsError> {
        let path = self.path(at)?;
        let file = patiently("flush", at, || open_to_flush(&path))?;
        file.sync_all().map_err(|e| FsError::io("flush", at, e))
    }

    fn sync_dir(&self, at: &Place) -> Result<(), FsError> {
        let path = self.path(at)?;
        #[cfg(windows)]
        {
            use std::os::windows::fs::OpenOptionsExt;
            const BACKUP_SEMANTICS: u32 = 0x0200_0000;
            let directory = OpenOptions::new().read(true).write(true).custom_flags(BACKUP_SEMANTICS).open(&path);
            // Not every volume can; the protocol does not need it to.
            let _ = directory.and_then(|directory| directory.sync_all());
        }
        fs::metadata(path).map(drop).map_err(|e| FsError::io("flush directory", at, e))
    }
}

#[cfg(windows)]
fn make_link(destination: &str, at: &Path) -> io::Result<()> {
    let destination = PathBuf::from(destination.replace('/', "\\"));
    let is_dir = at.parent().is_some_and(|parent| parent.join(&destination).is_dir());
    if is_dir {
        std::os::windows::fs::symlink_dir(destination, at)
    } else {
        std::os::windows::fs::symlink_file(destination, at)
    }
}

#[cfg(unix)]
fn make_link(destination: &str, at: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(destination, at)
}

#[cfg(not(any(unix, windows)))]
fn make_link(_: &str, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
