//! A file system that finds the names of a tree whatever their case, and keeps the case they were made with, as those of
//! Windows and macOS do; over any other.

use std::ffi::{OsStr, OsString};
use std::fs::read_dir;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lamplighter_client::format::path::RelPath;
use lamplighter_client::tree::fs::{
    Base, Directory, Entry, Existing, Fs, FsError, LockGuard, Metadata, Place, WriteFile,
};

pub(crate) struct Caseless {
    root: PathBuf,
    inner: Box<dyn Fs>,
}

impl Caseless {
    /// Over `inner`, whose tree lies at `root`.
    pub(crate) fn over(inner: Box<dyn Fs>, root: &Path) -> Box<dyn Fs> {
        Box::new(Self { root: root.to_owned(), inner })
    }

    /// The place as it is spelled on disk, as far as it is there.
    fn real(&self, at: &Place) -> Place {
        let real = at.path().iter().fold(PathBuf::new(), |real, name| {
            let spelled = spelled(&self.root.join(&real), name);
            real.join(spelled)
        });
        if at.base() == Base::Tree { place(&real) } else { at.clone() }
    }
}

fn place(path: &Path) -> Place {
    let text = path.to_str().expect("a name of a test");
    if text.is_empty() { Place::tree_root() } else { Place::tree(&RelPath::parse(text).expect("legal")) }
}

fn folded(name: &OsStr) -> String {
    name.to_string_lossy().to_lowercase()
}

/// `name` as `directory` has it.
fn spelled(directory: &Path, name: &OsStr) -> OsString {
    let entries = read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let names: Vec<OsString> = entries.filter(|found| folded(found) == folded(name)).collect();
    assert!(names.len() < 2, "{names:?} in {} are one name", directory.display());
    names.into_iter().next().unwrap_or_else(|| name.to_owned())
}

struct CaselessDirectory {
    path: PathBuf,
    inner: Box<dyn Directory>,
}

impl Directory for CaselessDirectory {
    fn look(&self, name: &OsStr) -> Result<Entry, FsError> {
        self.inner.look(&spelled(&self.path, name))
    }

    fn metadata(&self, name: &OsStr) -> Result<Option<Metadata>, FsError> {
        self.inner.metadata(&spelled(&self.path, name))
    }
}

impl Fs for Caseless {
    fn metadata(&self, at: &Place) -> Result<Option<Metadata>, FsError> {
        self.inner.metadata(&self.real(at))
    }

    fn look(&self, at: &Place) -> Result<Entry, FsError> {
        self.inner.look(&self.real(at))
    }

    fn directory(&self, at: &Place) -> Result<Option<Box<dyn Directory>>, FsError> {
        let real = self.real(at);
        let inner = self.inner.directory(&real)?;
        if at.base() == Base::State {
            return Ok(inner);
        }
        let path = self.root.join(real.path());
        Ok(inner.map(|inner| Box::new(CaselessDirectory { path, inner }) as Box<dyn Directory>))
    }

    fn list(&self, at: &Place) -> Result<Vec<OsString>, FsError> {
        self.inner.list(&self.real(at))
    }

    fn free_bytes(&self) -> Result<Option<u64>, FsError> {
        self.inner.free_bytes()
    }

    fn probe_directory(&self, at: &Place) -> Result<(), FsError> {
        self.inner.probe_directory(&self.real(at))
    }

    fn probe_file(&self, at: &Place) -> Result<(), FsError> {
        self.inner.probe_file(&self.real(at))
    }

    fn prepare_state(&self) -> Result<(), FsError> {
        self.inner.prepare_state()
    }

    fn lock(&self, at: &Place, wait: Duration) -> Result<Option<LockGuard>, FsError> {
        self.inner.lock(at, wait)
    }

    fn create_file(&self, at: &Place) -> Result<Box<dyn WriteFile>, FsError> {
        self.inner.create_file(&self.real(at))
    }

    fn create_dir(&self, at: &Place, mode: u32) -> Result<(), FsError> {
        self.inner.create_dir(&self.real(at), mode)
    }

    fn symlink(&self, destination: &[u8], at: &Place) -> Result<(), FsError> {
        self.inner.symlink(destination, &self.real(at))
    }

    fn hard_link(&self, from: &Place, to: &Place) -> Result<(), FsError> {
        self.inner.hard_link(&self.real(from), &self.real(to))
    }

    /// What is replaced keeps its spelling; what is renamed to another spelling of its own name gets that.
    fn rename(&self, from: &Place, to: &Place, existing: Existing) -> Result<(), FsError> {
        let (from, real) = (self.real(from), self.real(to));
        if from != real {
            return self.inner.rename(&from, &real, existing);
        }
        let named = real.path().with_file_name(to.name().expect("no root"));
        self.inner.rename(&from, &place(&named), existing)
    }

    fn remove_file(&self, at: &Place) -> Result<(), FsError> {
        self.inner.remove_file(&self.real(at))
    }

    fn remove_dir(&self, at: &Place) -> Result<(), FsError> {
        self.inner.remove_dir(&self.real(at))
    }

    fn set_mode(&self, at: &Place, mode: u32) -> Result<(), FsError> {
        self.inner.set_mode(&self.real(at), mode)
    }

    fn sync_file(&self, at: &Place) -> Result<(), FsError> {
        self.inner.sync_file(&self.real(at))
    }

    fn sync_dir(&self, at: &Place) -> Result<(), FsError> {
        self.inner.sync_dir(&self.real(at))
    }
}
