//! A file that one process at a time holds.

use std::fs::{File, TryLockError};
use std::io;

/// An open file with the kernel's exclusive lock on it; dropped, or at the death of the process, it is free.
///
/// The kernel keeps such a lock until the *last* handle of the file is closed, and a process started meanwhile has copies
/// of all handles until it calls `exec` (flock(2); close-on-exec, but not close-on-fork). So closing alone leaves it
/// locked for a moment now and then: dropping unlocks first, which holds for all copies.
#[derive(Debug)]
pub struct LockFile(File);

impl LockFile {
    /// Locks `file`, or gives it back where somebody else holds it.
    ///
    /// # Errors
    /// What the system says other than that it is held.
    pub fn try_lock(file: File) -> io::Result<Result<Self, File>> {
        match file.try_lock() {
            Ok(()) => Ok(Ok(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(Err(file)),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.0
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // What cannot be unlocked is unlocked by closing it.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_free_once_dropped_though_a_copy_of_the_handle_lives() {
        let dir = tempfile::tempdir().expect("a directory");
        let open = || File::options().create(true).truncate(false).write(true).open(dir.path().join("lock"));
        let lock = || LockFile::try_lock(open().expect("opened")).expect("asked");
        let held = lock().expect("free");
        // What a child has between fork and exec.
        let copy = held.file().try_clone().expect("copied");
        assert!(lock().is_err(), "held");
        drop(held);
        assert!(lock().is_ok(), "free again");
        drop(copy);
    }
}
