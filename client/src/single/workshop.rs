//! The directory beside the executable in which the new one is built: `.<name>.lamplighter`, its owner's alone.
//!
//! ```text
//! tree/<file of the base release>     a copy of the executable, under the name the release gives it
//! tree/.lamplighter/                  staging and downloads in progress (crate::tree), and the lock
//! new-<random>                        the new executable, just before it takes its place
//! old-<random>.exe                    on Windows: the replaced one, while it runs
//! ```

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::executable::copy;
use crate::error::Error;
use crate::format::document::FileRef;
use crate::format::manifest::Row;
use crate::format::path::STATE_DIR;
use crate::tree::{Staging, Tree, TreeLock};

const TREE: &str = "tree";
const NEW: &str = "new-";
const OLD: &str = "old-";

/// An update under way; only one at a time for one executable.
pub(super) struct Workshop {
    dir: PathBuf,
    lock: TreeLock,
}

impl Workshop {
    /// Makes the directory, or takes what an update that was cut off has left there.
    ///
    /// # Errors
    /// Nothing can be written beside the executable; the directory is somebody else's; another update holds the lock.
    pub(super) fn open(executable: &Path) -> Result<Self, Error> {
        let dir = place(executable);
        make_private(&dir)?;
        let root = dir.join(TREE);
        make_private(&root)?;
        let lock = Tree::open(&root, None)?.lock(Duration::ZERO)?;
        lock.recover()?;
        let workshop = Self { dir, lock };
        workshop.clear()?;
        Ok(workshop)
    }

    pub(super) fn lock(&self) -> &TreeLock {
        &self.lock
    }

    /// Where a running executable goes.
    pub(super) fn aside(&self) -> PathBuf {
        self.dir.join(format!("{OLD}{}.exe", random()))
    }

    /// Copies the executable to where `row` has it, and sees to it that the copy is `content`.
    pub(super) fn copy_in(&self, executable: &Path, row: &Row, content: &FileRef) -> Result<(), Error> {
        let to = self.lock.root().join(row.path.to_path());
        let failed = |source| Error::Io { doing: "copy the executable to", path: to.clone(), source };
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        let from = File::open(executable).map_err(failed)?;
        let copied = copy(from, &mut create(&to).map_err(failed)?).map_err(failed)?;
        if copied == *content { Ok(()) } else { Err(Error::ChangedMeanwhile { path: executable.to_owned() }) }
    }

    /// Writes the staged file of `row` to a name nobody can guess, with the permissions of `executable`. It is hashed on the
    /// way and durable when this returns.
    pub(super) fn copy_out(&self, staging: &Staging, row: &Row, executable: &Path) -> Result<NewFile, Error> {
        let new = NewFile(self.dir.join(format!("{NEW}{}", random())));
        let failed = |source| Error::Io { doing: "write", path: new.0.clone(), source };
        let mut file = create(&new.0).map_err(failed)?;
        // A release is one file here, and so its row is the first.
        let written = copy(staging.open(0)?, &mut file).map_err(failed)?;
        if written != (FileRef { length: row.digest.size, blake3: row.digest.blake3 }) {
            return Err(Error::WrongContent { path: row.path.clone() });
        }
        keep_permissions(executable, &file).and_then(|()| file.sync_all()).map_err(failed)?;
        Ok(new)
    }

    /// Removes the directory with all that is in it. On Windows a program that runs from it stays.
    pub(super) fn remove(self) {
        drop(self.lock);
        // An update is over; what could not be removed is removed by the next one, or by the cleaning at the next start.
        let _ = fs::remove_dir_all(&self.dir);
    }

    /// Removes what an update that was cut off left, but what it can go on with.
    fn clear(&self) -> Result<(), Error> {
        let root = self.lock.root().to_owned();
        let failed = |source| Error::Io { doing: "clear", path: self.dir.clone(), source };
        for entry in fs::read_dir(&root).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_name() != STATE_DIR {
                remove_all(&entry).map_err(failed)?;
            }
        }
        for name in [NEW, OLD] {
            remove_files(&self.dir, name);
        }
        Ok(())
    }
}

/// Removes replaced executables that no longer run, and the directory if nothing else is in it.
pub(super) fn remove_replaced(executable: &Path) {
    let dir = place(executable);
    remove_files(&dir, OLD);
    let _ = fs::remove_dir(dir);
}

/// Removes what was fetched for an update that is no longer on offer.
pub(super) fn remove_unused(executable: &Path) {
    if place(executable).exists()
        && let Ok(workshop) = Workshop::open(executable)
    {
        workshop.remove();
    }
}

/// A new executable that is not in its place yet; removed unless it gets there.
pub(super) struct NewFile(PathBuf);

impl NewFile {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// It was renamed, so there is nothing to remove.
    pub(super) fn took_its_place(mut self) {
        self.0 = PathBuf::new();
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            let _ = fs::remove_file(&self.0);
        }
    }
}

fn place(executable: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(executable.file_name().unwrap_or_default());
    name.push(STATE_DIR);
    executable.with_file_name(name)
}

/// A directory for its owner alone. One that is there already must be that, too: who could write to it could change what is
/// about to be run.
fn make_private(dir: &Path) -> Result<(), Error> {
    let failed = |source| Error::Io { doing: "create", path: dir.to_owned(), source };
    match create_private_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        other => return other.map_err(failed),
    }
    let metadata = fs::symlink_metadata(dir).map_err(failed)?;
    if metadata.is_dir() && is_ours_alone(&metadata) {
        return Ok(());
    }
    let text = "something of that name is there, and is not this user's own directory";
    Err(failed(io::Error::new(io::ErrorKind::AlreadyExists, text)))
}

#[cfg(unix)]
fn create_private_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().mode(0o700).create(dir)
}

#[cfg(not(unix))]
fn create_private_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir(dir)
}

#[cfg(unix)]
fn is_ours_alone(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & 0o022 == 0
}

#[cfg(not(unix))]
fn is_ours_alone(_: &fs::Metadata) -> bool {
    true
}

/// A new file that only its owner can read and write.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Read, write and execute bits of the old file for the new one. Bits that lend rights are not carried over.
#[cfg(unix)]
fn keep_permissions(old: &Path, new: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(old)?.permissions().mode() & 0o777;
    new.set_permissions(fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn keep_permissions(_: &Path, _: &File) -> io::Result<()> {
    Ok(())
}

fn remove_all(entry: &fs::DirEntry) -> io::Result<()> {
    if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) }
}

/// Removes the files in `dir` whose names begin with `start`; one that runs stays.
fn remove_files(dir: &Path, start: &str) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(start) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn random() -> String {
    let mut bytes = [0; 8];
    // The directory is its owner's alone, so a name that can be guessed harms nobody; two must not be equal.
    if getrandom::fill(&mut bytes).is_err() {
        bytes = u64::from(std::process::id()).to_le_bytes();
    }
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Class;

    #[test]
    fn one_update_at_a_time_and_nothing_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let app = dir.path().join("app");
        fs::write(&app, b"app").expect("written");
        let first = Workshop::open(&app).expect("opened");
        assert!(Workshop::open(&app).is_err_and(|e| e.class() == Class::Locked));
        remove_unused(&app);
        assert!(place(&app).exists(), "an update under way is left alone");
        fs::write(first.aside(), b"x").expect("written");
        first.remove();
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1);
        remove_replaced(&app);
    }

    #[cfg(unix)]
    #[test]
    fn somebody_elses_directory_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        let app = dir.path().join("app");
        let refused = || Workshop::open(&app).err().map(|e| e.to_string()).unwrap_or_default();
        std::os::unix::fs::symlink(dir.path(), place(&app)).expect("a link");
        assert!(refused().contains("not this user's own"), "{}", refused());
        fs::remove_file(place(&app)).expect("removed");
        fs::create_dir(place(&app)).expect("a directory");
        fs::set_permissions(place(&app), fs::Permissions::from_mode(0o777)).expect("a mode");
        assert!(refused().contains("not this user's own"), "{}", refused());
    }
}
