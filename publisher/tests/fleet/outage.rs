//! A model disk whose power goes at a certain change, and the real directory beside it for downloads in progress.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lamplighter_client::progress::Cancel;
use lamplighter_client::tree::fs::{
    Base, Directory, Entry, Existing, Fs, FsError, LockGuard, Metadata, Place, WriteFile,
};

use super::dice::Dice;
use super::tree_model::{Disk, Machine, Node, STATE_ROOT};

/// When the power goes, and whether it has.
pub(crate) struct Power {
    changes: AtomicU64,
    /// The change it goes at, counted from 0.
    goes_at: u64,
    /// A change that fails once, as on a full disk; all goes on after it.
    fails_at: u64,
    gone: AtomicBool,
    /// Whoever waits for something learns of it.
    cancel: Cancel,
}

impl Power {
    pub(crate) fn new(goes_at: Option<u64>, fails_at: Option<u64>, cancel: Cancel) -> Arc<Self> {
        let (goes_at, fails_at) = (goes_at.unwrap_or(u64::MAX), fails_at.unwrap_or(u64::MAX));
        Arc::new(Self { changes: AtomicU64::new(0), goes_at, fails_at, gone: AtomicBool::new(false), cancel })
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    pub(crate) fn cancel(&self) -> Cancel {
        self.cancel.clone()
    }

    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    fn look(&self) -> io::Result<()> {
        if self.is_gone() { Err(io::Error::other("the power is gone")) } else { Ok(()) }
    }

    fn change(&self) -> io::Result<()> {
        self.look()?;
        let number = self.changes.fetch_add(1, Ordering::Relaxed);
        if number == self.goes_at {
            self.gone.store(true, Ordering::Relaxed);
            self.cancel.cancel();
            return self.look();
        }
        if number == self.fails_at { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

/// The model's file system under a power supply. Directories for downloads in progress are made in `real`, too: those are
/// files of the system.
pub(crate) struct Powered {
    inner: Box<dyn Fs>,
    power: Arc<Power>,
    real: PathBuf,
}

impl Powered {
    pub(crate) fn fs_of(machine: &Arc<Machine>, power: Arc<Power>, real: &Path) -> Box<dyn Fs> {
        Box::new(Self { inner: machine.fs(), power, real: real.to_owned() })
    }

    fn look(&self, at: &Place) -> Result<(), FsError> {
        self.power.look().map_err(|e| FsError::io("read", at, e))
    }

    fn change(&self, at: &Place) -> Result<(), FsError> {
        self.power.change().map_err(|e| FsError::io("write", at, e))
    }

    /// Where `at` is for real, if it is in staging.
    fn real(&self, at: &Place) -> Option<PathBuf> {
        (at.base() == Base::State && at.path().starts_with("staging")).then(|| self.real.join(at.path()))
    }
}

struct PoweredFile(Box<dyn WriteFile>, Arc<Power>);

impl Write for PoweredFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1.change()?;
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl WriteFile for PoweredFile {
    fn set_mode(&mut self, mode: u32) -> io::Result<()> {
        self.1.change()?;
        self.0.set_mode(mode)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.1.change()?;
        self.0.sync()
    }
}

impl Fs for Powered {
    fn metadata(&self, at: &Place) -> Result<Option<Metadata>, FsError> {
        self.look(at)?;
        self.inner.metadata(at)
    }

    fn look(&self, at: &Place) -> Result<Entry, FsError> {
        self.look(at)?;
        self.inner.look(at)
    }

    fn directory(&self, at: &Place) -> Result<Option<Box<dyn Directory>>, FsError> {
        self.look(at)?;
        self.inner.directory(at)
    }

    fn list(&self, at: &Place) -> Result<Vec<OsString>, FsError> {
        self.look(at)?;
        self.inner.list(at)
    }

    fn free_bytes(&self) -> Result<Option<u64>, FsError> {
        self.inner.free_bytes()
    }

    fn probe_directory(&self, at: &Place) -> Result<(), FsError> {
        self.look(at)?;
        self.inner.probe_directory(at)
    }

    fn probe_file(&self, at: &Place) -> Result<(), FsError> {
        self.inner.probe_file(at)
    }

    fn prepare_state(&self) -> Result<(), FsError> {
        self.inner.prepare_state()
    }

    fn lock(&self, at: &Place, wait: Duration) -> Result<Option<LockGuard>, FsError> {
        self.look(at)?;
        self.inner.lock(at, wait)
    }

    fn create_file(&self, at: &Place) -> Result<Box<dyn WriteFile>, FsError> {
        self.change(at)?;
        Ok(Box::new(PoweredFile(self.inner.create_file(at)?, self.power.clone())))
    }

    fn create_dir(&self, at: &Place, mode: u32) -> Result<(), FsError> {
        self.change(at)?;
        self.inner.create_dir(at, mode)?;
        if let Some(real) = self.real(at) {
            fs::create_dir_all(real).map_err(|e| FsError::io("create directory", at, e))?;
        }
        Ok(())
    }

    fn symlink(&self, destination: &[u8], at: &Place) -> Result<(), FsError> {
        self.change(at)?;
        self.inner.symlink(destination, at)
    }

    fn hard_link(&self, from: &Place, to: &Place) -> Result<(), FsError> {
        self.change(to)?;
        self.inner.hard_link(from, to)
    }

    fn rename(&self, from: &Place, to: &Place, existing: Existing) -> Result<(), FsError> {
        self.change(to)?;
        self.inner.rename(from, to, existing)
    }

    fn remove_file(&self, at: &Place) -> Result<(), FsError> {
        self.change(at)?;
        self.inner.remove_file(at)
    }

    fn remove_dir(&self, at: &Place) -> Result<(), FsError> {
        self.change(at)?;
        self.inner.remove_dir(at)?;
        if let Some(real) = self.real(at).filter(|real| real.exists()) {
            fs::remove_dir_all(real).map_err(|e| FsError::io("remove directory", at, e))?;
        }
        Ok(())
    }

    fn set_mode(&self, at: &Place, to: u32) -> Result<(), FsError> {
        self.change(at)?;
        self.inner.set_mode(at, to)
    }

    fn sync_file(&self, at: &Place) -> Result<(), FsError> {
        self.change(at)?;
        self.inner.sync_file(at)
    }

    fn sync_dir(&self, at: &Place) -> Result<(), FsError> {
        self.change(at)?;
        self.inner.sync_dir(at)
    }

    /// For every other number of files, so that both ways are gone.
    fn has_cheaper_sync_volume(&self, files: usize) -> bool {
        files.is_multiple_of(2)
    }

    fn sync_volume(&self) -> Result<(), FsError> {
        self.change(&Place::tree_root())?;
        self.inner.sync_volume()
    }
}

/// What a power cut makes of downloads in progress, which nobody flushes: whole, short, zeros, or gone.
pub(crate) fn lose_downloads(real: &Path, dice: &mut Dice) {
    let walk = walkdir::WalkDir::new(real.join("staging")).sort_by_file_name();
    for entry in walk.into_iter().filter_map(Result::ok).filter(|entry| entry.file_type().is_file()) {
        let length = entry.metadata().expect("readable").len();
        let changed = match dice.below(4) {
            0 => Ok(()),
            1 => fs::write(entry.path(), vec![0; length as usize]),
            2 => fs::remove_file(entry.path()),
            _ => fs::OpenOptions::new()
                .write(true)
                .open(entry.path())
                .and_then(|file| file.set_len(dice.below(length + 1))),
        };
        changed.expect("a download in progress");
    }
}

/// Makes the directories of staging that the disk has after a restart, and no others.
pub(crate) fn restore_directories(disk: &Disk, real: &Path) {
    fn below(disk: &Disk, dir: u64, real: &Path) {
        fs::create_dir_all(real).expect("a directory");
        for (name, node) in disk.dir(dir).into_iter().flatten() {
            if matches!(disk.nodes[node], Node::Dir { .. }) {
                below(disk, *node, &real.join(name));
            }
        }
    }
    let staging = real.join("staging");
    match disk.get(STATE_ROOT, "staging".as_ref()) {
        Some(dir) => below(disk, dir, &staging),
        None if staging.exists() => fs::remove_dir_all(&staging).expect("removed"),
        None => {}
    }
}
