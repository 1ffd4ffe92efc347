//! An installed directory: its lock, its record, and changes that happen whole or not at all.
//!
//! # What holds, whatever happens in between
//!
//! * **I1** After any crash, kill, power cut or error, [`TreeLock::recover`] leaves the tree equal to the old or to the
//!   new manifest, never a mixture.
//! * **I2** Files that neither manifest lists are never touched. What the user put where a listed thing must go, and a
//!   listed file that the user edited, moves to `kept/` with its content, and the report names it.
//! * **I3** Recovery may itself be cut off at any point, any number of times.
//! * **I4** A name that both manifests list with other content is never missing: the new content is renamed over it. On
//!   Windows a program that runs is renamed away first; between the two renames recovery finds it in `backup/`.
//! * **I5** Files that do not change are not read, copied or touched: file number and time of change stay.
//! * **I6** Lack of space, of rights, and files that changed since the plan was made are found before the journal exists;
//!   any later error rolls back.
//! * **I7** Whoever finds the new tree finds the way back to the one before, offline, until it is dropped
//!   ([`TreeLock::drop_previous`]); for contents the user had not edited. Where files cannot have two names, or there is no
//!   room for another, a power cut between two renames may lose it, and so may a disk that fills up just then.
//!
//! # Layout of the state directory
//!
//! ```text
//! lock                      held through the kernel; never truncated, its presence means nothing
//! journal                   present while a transaction is in flight (crate::format::journal); .tmp while it is
//!                           written, .done when it is over, .abandoned until a heal if nobody could follow it
//! staging/<key>/<n>         new contents, verified; also where a resumed update finds them
//! staging/<key>/partial/    downloads in progress
//! staging/<key>/record/     what the update leads to; there once everything is staged
//! backup/<key>/<n>          old contents: hard links, so no data is copied, where the volume has them
//! kept/<n>/<path>           what belonged to the user and stood in the way
//! installed/release, installed/manifest.csv     the record: what the tree is; switched by the transaction
//! previous/                 the release before: its record and what the tree no longer has of it
//! programs/<digest>/<name>  programs of the release that run from outside the tree
//! trash/                    on Windows: files that were running when they were replaced
//! modes                     for a moment: shows whether the volume keeps the mode of a file
//! ```
//!
//! The state directory is `.lamplighter` in the tree; for a macOS bundle, whose signature allows nothing foreign inside,
//! `.<name>.lamplighter` beside it; or a directory the caller names. It always lies on the tree's volume.

mod apply;
mod check;
mod commit;
mod decide;
mod error;
pub mod fs;
mod layout;
mod order;
mod previous;
mod programs;
mod recover;
pub mod scan;
mod share;
pub(crate) mod spelling;
mod stage;
mod transaction;
mod uninstall;

use std::ffi::OsStr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::format::manifest::MANIFEST_BYTES_MAX;
use crate::format::path::{RelPath, STATE_DIR};

pub use error::TreeError;
pub use recover::Recovery;
pub use share::{system_share, volume_kind};
pub use stage::{CheckedFile, StagedFile, StagedUpdate, Staging};
pub use transaction::{Backups, Before, CommitReport, Kept, Op, Record, Transaction};
pub use uninstall::Uninstalled;

use fs::{Entry, Fs, FsError, LockGuard, Place, ReadFile};

/// Most bytes a small file of the state directory may have.
const STATE_BYTES_MAX: u64 = 16 << 20;
/// Most bytes a signed release may have.
const RELEASE_BYTES_MAX: u64 = 4 << 20;

/// An installed directory and its state directory. Clones share the open directories.
#[derive(Clone)]
pub struct Tree(Arc<Inner>);

struct Inner {
    fs: Box<dyn Fs>,
    root: PathBuf,
    state: PathBuf,
}

impl Tree {
    /// Opens the directory `root`, with its state in `state` or at the usual place. Creates nothing.
    ///
    /// # Errors
    /// `root` is no directory, or `state` lies in the tree other than as `.lamplighter`.
    pub fn open(root: &Path, state: Option<&Path>) -> Result<Self, TreeError> {
        let not_a_tree = |source| TreeError::NotATree { path: root.to_owned(), source };
        let root = std::fs::canonicalize(root).map_err(not_a_tree)?;
        let state = match state {
            None => usual_state_dir(&root),
            Some(state) => {
                let state = resolved(state).map_err(not_a_tree)?;
                if (state.starts_with(&root) && state != root.join(STATE_DIR)) || root.starts_with(&state) {
                    return Err(TreeError::StateInTree { state, tree: root });
                }
                state
            }
        };
        let fs = fs::system(&root, &state)?;
        Ok(Self::with_fs(fs, fs::plain(&root), fs::plain(&state)))
    }

    /// A tree on any implementation of [`Fs`]; the paths are only shown to people.
    pub fn with_fs(fs: Box<dyn Fs>, root: &Path, state: &Path) -> Self {
        Self(Arc::new(Inner { fs, root: root.to_owned(), state: state.to_owned() }))
    }

    /// Where the tree lies.
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// Where its state lies.
    pub fn state_dir(&self) -> &Path {
        &self.0.state
    }

    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn fs(&self) -> &dyn Fs {
        &*self.0.fs
    }

    /// Waits for the lock of the tree, creating the state directory if it is missing.
    ///
    /// The kernel holds the lock and lets go of it when the process ends, however it ends.
    ///
    /// # Errors
    /// [`TreeError::Locked`] if another program holds it for all of `wait`; a state directory on another volume.
    pub fn lock(&self, wait: Duration) -> Result<TreeLock, TreeError> {
        self.fs().prepare_state()?;
        match self.fs().lock(&layout::lock(), wait)? {
            Some(guard) => Ok(TreeLock { tree: self.clone(), _guard: guard }),
            None => Err(TreeError::Locked { tree: self.0.root.clone(), waited_ms: wait.as_millis() as u64 }),
        }
    }

    /// Reads the small file `name` of the state directory; nothing if it is missing.
    ///
    /// # Errors
    /// A name the tree uses itself, or what the system says.
    pub fn read_state(&self, name: &str) -> Result<Option<Vec<u8>>, TreeError> {
        Ok(fs::read_small(self.fs(), &layout::state_file(name)?, STATE_BYTES_MAX)?)
    }

    /// The signed release and the manifest of what is installed; nothing unless both are there.
    ///
    /// Consistent only under the lock and after [`TreeLock::recover`].
    ///
    /// # Errors
    /// What the system says.
    pub fn record(&self) -> Result<Option<Record>, TreeError> {
        let release = fs::read_small(self.fs(), &layout::installed(layout::RELEASE), RELEASE_BYTES_MAX)?;
        let manifest = fs::read_small(self.fs(), &layout::installed(layout::MANIFEST), MANIFEST_BYTES_MAX)?;
        Ok(release.zip(manifest).map(|(release, manifest)| Record { release, manifest }))
    }

    /// Opens a file of the tree for reading; no link is followed on the way or at the end.
    ///
    /// # Errors
    /// What the system says; `NotFound` if nothing is there, `InvalidInput` if it is no regular file.
    pub fn open_file(&self, path: &RelPath) -> Result<TreeFile, TreeError> {
        let at = Place::tree(path);
        let refused = |kind, text: &str| FsError::io("open", &at, std::io::Error::new(kind, text.to_owned()));
        match self.fs().look(&at)? {
            Entry::File(file, metadata) => Ok(TreeFile { file, size: metadata.size() }),
            Entry::Absent => Err(refused(std::io::ErrorKind::NotFound, "it is missing").into()),
            _ => Err(refused(std::io::ErrorKind::InvalidInput, "it is not a regular file").into()),
        }
    }

    /// Free bytes on the tree's volume; nothing if the system does not tell.
    ///
    /// # Errors
    /// What the system says.
    pub fn free_bytes(&self) -> Result<Option<u64>, TreeError> {
        Ok(self.fs().free_bytes()?)
    }

    /// Fails if the root of the tree could not be written to now.
    ///
    /// # Errors
    /// Why not.
    pub fn probe_writable(&self) -> Result<(), TreeError> {
        Ok(self.fs().probe_directory(&Place::tree_root())?)
    }

    /// True while the journal of a transaction that was cut off waits for [`TreeLock::recover`].
    ///
    /// # Errors
    /// What the system says.
    pub fn is_in_transaction(&self) -> Result<bool, TreeError> {
        Ok(self.fs().metadata(&layout::journal())?.is_some())
    }

    /// True while the tree is, or may be, neither release: in a transaction, or given up and not healed yet.
    ///
    /// # Errors
    /// What the system says.
    pub fn is_unfinished(&self) -> Result<bool, TreeError> {
        Ok(self.is_in_transaction()? || self.is_given_up()?)
    }

    /// True after a transaction was given up, until a heal has made every file as recorded.
    ///
    /// # Errors
    /// What the system says.
    pub fn is_given_up(&self) -> Result<bool, TreeError> {
        Ok(self.fs().metadata(&layout::journal_abandoned())?.is_some())
    }
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tree").field("root", &self.0.root).field("state", &self.0.state).finish_non_exhaustive()
    }
}

/// A file of a tree, open for reading.
pub struct TreeFile {
    file: Box<dyn ReadFile>,
    size: u64,
}

impl TreeFile {
    /// Its length in bytes when it was opened.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Fills `buffer` with the bytes from `offset` on.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before; what the system says.
    pub fn read_exact_at(&mut self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        use std::io::{Read, Seek};
        self.file.seek(std::io::SeekFrom::Start(offset))?;
        self.file.read_exact(buffer)
    }
}

impl std::io::Read for TreeFile {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.file.read(buffer)
    }
}

impl std::io::Seek for TreeFile {
    fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
        self.file.seek(to)
    }
}

/// A tree that this program alone may change, until dropped.
pub struct TreeLock {
    tree: Tree,
    _guard: LockGuard,
}

impl Deref for TreeLock {
    type Target = Tree;

    fn deref(&self) -> &Tree {
        &self.tree
    }
}

impl TreeLock {
    /// Replaces the small file `name` of the state directory: after a crash it holds the old bytes or the new.
    ///
    /// # Errors
    /// A name the tree uses itself, or what the system says.
    pub fn replace_state(&self, name: &str, bytes: &[u8]) -> Result<(), TreeError> {
        let at = layout::state_file(name)?;
        Ok(fs::replace_file(self.fs(), &at, &layout::state_file_spare(name), bytes)?)
    }

    /// Removes the small file `name` of the state directory, if it is there.
    ///
    /// # Errors
    /// A name the tree uses itself, or what the system says.
    pub fn remove_state(&self, name: &str) -> Result<(), TreeError> {
        let at = layout::state_file(name)?;
        if self.fs().metadata(&at)?.is_some() {
            self.fs().remove_file(&at)?;
            self.fs().sync_dir(&Place::state_root())?;
        }
        Ok(())
    }
}

/// `.lamplighter` in the tree, but beside a macOS bundle.
///
/// It depends on the name alone, so it may be asked of a tree that does not exist yet.
pub fn usual_state_dir(root: &Path) -> PathBuf {
    match (root.extension(), root.file_name()) {
        (Some(extension), Some(name)) if extension.eq_ignore_ascii_case("app") => {
            let mut beside = std::ffi::OsString::from(".");
            beside.push(name);
            beside.push(OsStr::new(STATE_DIR));
            root.with_file_name(beside)
        }
        _ => root.join(STATE_DIR),
    }
}

/// `path` absolute and without links, where its last component may be missing.
fn resolved(path: &Path) -> std::io::Result<PathBuf> {
    if path.try_exists()? {
        return std::fs::canonicalize(path);
    }
    let absolute = std::path::absolute(path)?;
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => Ok(std::fs::canonicalize(parent)?.join(name)),
        _ => Ok(absolute),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_has_its_state_beside_it() {
        let usual = |root: &str| usual_state_dir(Path::new(root));
        assert_eq!(usual("/opt/app"), Path::new("/opt/app/.lamplighter"));
        assert_eq!(usual("/Applications/Lantern.app"), Path::new("/Applications/.Lantern.app.lamplighter"));
    }

    #[test]
    fn state_is_in_the_usual_place_or_outside_the_tree() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().join("tree");
        std::fs::create_dir(&root).expect("a tree");
        assert!(Tree::open(&root, None).is_ok());
        assert!(Tree::open(&root, Some(&dir.path().join("state"))).is_ok());
        assert!(Tree::open(&root, Some(&root.join(".lamplighter"))).is_ok());
        for bad in [root.join("state"), root.clone(), dir.path().to_owned()] {
            assert!(matches!(Tree::open(&root, Some(&bad)), Err(TreeError::StateInTree { .. })), "{bad:?}");
        }
        assert!(matches!(Tree::open(&root.join("missing"), None), Err(TreeError::NotATree { .. })));
        assert!(!root.join(".lamplighter").exists(), "opening creates nothing");
    }

    #[test]
    fn small_state_files_are_replaced_whole() {
        let dir = tempfile::tempdir().expect("a directory");
        let tree = Tree::open(dir.path(), None).expect("a tree");
        assert_eq!(tree.read_state("settings").expect("readable"), None);
        let lock = tree.lock(Duration::ZERO).expect("free");
        lock.replace_state("settings", b"one").expect("written");
        lock.replace_state("settings", b"two").expect("written");
        assert_eq!(tree.read_state("settings").expect("readable"), Some(b"two".to_vec()));
        lock.remove_state("settings").expect("removed");
        assert_eq!(tree.read_state("settings").expect("readable"), None);
        for name in ["journal", "lock", "staging", "a/b", "..", "", "x.tmp"] {
            assert!(matches!(lock.replace_state(name, b""), Err(TreeError::StateName { .. })), "{name}");
        }
    }

    #[test]
    fn a_second_locker_is_refused_until_the_first_lets_go() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = Tree::open(dir.path(), None).expect("a tree").lock(Duration::ZERO).expect("free");
        let other = Tree::open(dir.path(), None).expect("a tree");
        assert!(matches!(other.lock(Duration::from_millis(30)), Err(TreeError::Locked { .. })));
        drop(first);
        assert!(other.lock(Duration::ZERO).is_ok());
    }
}
