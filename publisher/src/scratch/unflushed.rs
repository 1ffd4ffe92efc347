//! A file system that flushes nothing, for trees that need not outlive the run: a flush a file is most of what a tree of many
//! small files costs.

use std::ffi::OsString;
use std::io::{self, Write};
use std::time::Duration;

use lamplighter_client::tree::fs::{Directory, Entry, Existing, Fs, FsError, LockGuard, Metadata, Place, WriteFile};

/// The calls of another file system, without its flushes. After a crash nothing in it may be used.
pub(super) struct Unflushed(pub(super) Box<dyn Fs>);

struct UnflushedFile(Box<dyn WriteFile>);

impl Write for UnflushedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl WriteFile for UnflushedFile {
    fn set_mode(&mut self, mode: u32) -> io::Result<()> {
        self.0.set_mode(mode)
    }

    fn sync(&mut self) -> io::Result<()> {
        // Content that a writer keeps for itself reaches the system all the same.
        self.0.flush()
    }
}

impl Fs for Unflushed {
    fn sync_file(&self, _: &Place) -> Result<(), FsError> {
        Ok(())
    }

    fn sync_dir(&self, _: &Place) -> Result<(), FsError> {
        Ok(())
    }

    fn create_file(&self, at: &Place) -> Result<Box<dyn WriteFile>, FsError> {
        Ok(Box::new(UnflushedFile(self.0.create_file(at)?)))
    }

    fn metadata(&self, at: &Place) -> Result<Option<Metadata>, FsError> {
        self.0.metadata(at)
    }

    fn look(&self, at: &Place) -> Result<Entry, FsError> {
        self.0.look(at)
    }

    fn directory(&self, at: &Place) -> Result<Option<Box<dyn Directory>>, FsError> {
        self.0.directory(at)
    }

    fn list(&self, at: &Place) -> Result<Vec<OsString>, FsError> {
        self.0.list(at)
    }

    fn free_bytes(&self) -> Result<Option<u64>, FsError> {
        self.0.free_bytes()
    }

    fn probe_directory(&self, at: &Place) -> Result<(), FsError> {
        self.0.probe_directory(at)
    }

    fn probe_file(&self, at: &Place) -> Result<(), FsError> {
        self.0.probe_file(at)
    }

    fn prepare_state(&self) -> Result<(), FsError> {
        self.0.prepare_state()
    }

    fn lock(&self, at: &Place, wait: Duration) -> Result<Option<LockGuard>, FsError> {
        self.0.lock(at, wait)
    }

    fn create_dir(&self, at: &Place, mode: u32) -> Result<(), FsError> {
        self.0.create_dir(at, mode)
    }

    fn symlink(&self, destination: &[u8], at: &Place) -> Result<(), FsError> {
        self.0.symlink(destination, at)
    }

    fn hard_link(&self, from: &Place, to: &Place) -> Result<(), FsError> {
        self.0.hard_link(from, to)
    }

    fn rename(&self, from: &Place, to: &Place, existing: Existing) -> Result<(), FsError> {
        self.0.rename(from, to, existing)
    }

    fn remove_file(&self, at: &Place) -> Result<(), FsError> {
        self.0.remove_file(at)
    }

    fn remove_dir(&self, at: &Place) -> Result<(), FsError> {
        self.0.remove_dir(at)
    }

    fn set_mode(&self, at: &Place, mode: u32) -> Result<(), FsError> {
        self.0.set_mode(at, mode)
    }
}
