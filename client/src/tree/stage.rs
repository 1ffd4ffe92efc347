//! Staging: new contents, written and verified beside the tree before any of it changes.
//!
//! One directory for each update, named by a key the caller derives from what it installs, so that an update that was cut
//! off finds its files again and another never takes them for its own. Nothing found there is believed: a file is taken
//! only after its BLAKE3 was computed anew. Files belong to their owner alone until the commit.

use std::io::{self, Write};
use std::path::PathBuf;

use tempfile::SpooledTempFile;

use super::fs::{self, EXECUTABLE_MODE, Entry, FILE_MODE, FileKind, FsError, Place, WriteFile};
use super::{Before, Op, Record, Tree, TreeError, TreeFile, TreeLock, layout, scan};
use crate::format::digest::{Blake3, ContentDigest};
use crate::format::journal::Thing;
use crate::format::manifest::{Kind, MANIFEST_BYTES_MAX};
use crate::format::text::is_token;

/// Bytes of a scratch that stay in memory.
const SCRATCH_HELD_BYTES: usize = 8 << 20;

/// The new contents of one update.
#[derive(Debug, Clone)]
pub struct Staging {
    tree: Tree,
    key: String,
}

impl TreeLock {
    /// Opens the staging directory of the update `key`, and empties those of all others.
    ///
    /// `key`: 1 to 64 of `a-z 0-9 _ -`; equal for an update that may resume another's work.
    ///
    /// # Errors
    /// A bad key; [`TreeError::InTransaction`] before [`TreeLock::recover`]; what the system says.
    pub fn staging(&self, key: &str) -> Result<Staging, TreeError> {
        if !is_token(key) {
            return Err(TreeError::Key { key: key.chars().take(80).collect() });
        }
        if self.is_in_transaction()? {
            return Err(TreeError::InTransaction);
        }
        let fs = self.fs();
        fs::create_state_dirs(fs, &layout::partial(key))?;
        for other in fs.list(&layout::all_staging())? {
            if other != *key {
                fs::remove_all(fs, &layout::all_staging().entry(other))?;
            }
        }
        Ok(Staging { tree: (**self).clone(), key: key.to_owned() })
    }
}

/// An update that is staged whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedUpdate {
    /// Key of its staging directory.
    pub key: String,
    /// That directory.
    pub path: PathBuf,
    /// What it leads to.
    pub record: Record,
}

impl Tree {
    /// The update for which [`Staging::keep_record`] was called last, if it was neither committed nor given up.
    ///
    /// Its contents are hashed only when they are used.
    ///
    /// # Errors
    /// What the system says.
    pub fn staged(&self) -> Result<Option<StagedUpdate>, TreeError> {
        let fs = self.fs();
        if fs.metadata(&layout::all_staging())?.is_none() {
            return Ok(None);
        }
        for name in fs.list(&layout::all_staging())? {
            let Some(key) = name.to_str().filter(|key| is_token(key)) else { continue };
            let at = layout::staged_record(key);
            let release = fs::read_small(fs, &at.entry(layout::RELEASE), super::RELEASE_BYTES_MAX)?;
            let manifest = fs::read_small(fs, &at.entry(layout::MANIFEST), MANIFEST_BYTES_MAX)?;
            if let (Some(release), Some(manifest)) = (release, manifest) {
                let path = self.state_dir().join(layout::staging(key).path());
                let record = Record { release, manifest };
                return Ok(Some(StagedUpdate { key: key.to_owned(), path, record }));
            }
        }
        Ok(None)
    }
}

impl TreeLock {
    /// Gives up everything staged.
    ///
    /// # Errors
    /// [`TreeError::InTransaction`] before [`TreeLock::recover`]; what the system says.
    pub fn discard_staging(&self) -> Result<(), TreeError> {
        if self.is_in_transaction()? {
            return Err(TreeError::InTransaction);
        }
        Ok(fs::remove_all(self.fs(), &layout::all_staging())?)
    }
}

impl Staging {
    /// Bytes of disk that keeping what `ops` replaces will take where the volume gives no file a second name: those of copies. Nothing
    /// where it does, or there is no file to keep. After a crash a name may be left in the staging directory, and goes with it.
    ///
    /// # Errors
    /// What the system says.
    pub fn copied_bytes(&self, ops: &[Op]) -> Result<Option<u64>, TreeError> {
        let replaced = ops.iter().filter(|op| !matches!(op, Op::SetMode { .. }));
        let listed = |op: &Op| match op.before() {
            Before::Listed(row) if matches!(row.kind, Kind::File { .. }) => {
                Some((Place::tree(op.path()), row.digest.size))
            }
            _ => None,
        };
        let files: Vec<(Place, u64)> = replaced.filter_map(listed).collect();
        Ok(super::apply::copied_bytes(self.tree.fs(), &self.key, &files)?)
    }

    /// The key it was opened with.
    pub fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Whether file `number` was staged earlier and still holds exactly this content; if not, it is removed.
    ///
    /// # Errors
    /// What the system says.
    pub fn reuse(&self, number: usize, digest: &ContentDigest) -> Result<bool, TreeError> {
        let fs = self.tree.fs();
        let at = layout::staged(&self.key, number);
        match fs.metadata(&at)? {
            None => return Ok(false),
            Some(metadata) if metadata.kind == FileKind::File && metadata.size() == digest.size => {
                if holds(&scan::observe(fs, &at)?.thing, digest.size, &digest.blake3) {
                    // Whoever wrote it may have ended before it was flushed.
                    fs.sync_file(&at)?;
                    return Ok(true);
                }
            }
            Some(_) => {}
        }
        fs::remove_all(fs, &at)?;
        Ok(false)
    }

    /// Begins file `number`, in place of what was staged under that number before.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(&self, number: usize, size: u64, executable: bool) -> Result<StagedFile, TreeError> {
        StagedFile::create(&self.tree, layout::staged(&self.key, number), number, size, executable)
    }

    /// Opens file `number`, which was staged and finished, for reading.
    ///
    /// # Errors
    /// It is not there; what the system says.
    pub fn open(&self, number: usize) -> Result<TreeFile, TreeError> {
        let at = layout::staged(&self.key, number);
        match self.tree.fs().look(&at)? {
            Entry::File(file, metadata) => Ok(TreeFile { file, size: metadata.size() }),
            _ => Err(FsError::io("open", &at, io::Error::from(io::ErrorKind::NotFound)).into()),
        }
    }

    /// Writes down that everything is staged, and for which record. After a crash it is there whole, or not at all.
    ///
    /// # Errors
    /// What the system says.
    pub fn keep_record(&self, record: &Record) -> Result<(), TreeError> {
        let fs = self.tree.fs();
        fs::create_state_dirs(fs, &layout::staged_record(&self.key))?;
        let parts = [(layout::MANIFEST, &record.manifest), (layout::RELEASE, &record.release)];
        for (name, bytes) in parts {
            let at = layout::staged_record(&self.key).entry(name);
            let spare = layout::staged_record(&self.key).entry(format!("{name}.tmp"));
            fs::remove_all(fs, &spare)?;
            fs::replace_file(fs, &at, &spare, bytes)?;
        }
        for place in [layout::staging(&self.key), layout::all_staging(), Place::state_root()] {
            fs.sync_dir(&place)?;
        }
        Ok(())
    }

    /// Whether so many files are better left unflushed ([`CheckedFile::leave`]) until all are there ([`Staging::flush`]).
    pub fn flushes_at_once(&self, files: usize) -> bool {
        self.tree.fs().has_cheaper_sync_volume(files)
    }

    /// Makes the files `numbers` durable, which were left unflushed. They are once the commit has flushed the directory.
    ///
    /// # Errors
    /// What the system says of the first that could not be written; it is removed. The others are hashed and flushed before
    /// they are used.
    pub fn flush(&self, numbers: &[usize]) -> Result<(), TreeError> {
        let fs = self.tree.fs();
        // A failure may be another program's, so each file is asked for its own.
        if numbers.is_empty() || fs.sync_volume().is_ok() {
            return Ok(());
        }
        for number in numbers {
            let at = layout::staged(&self.key, *number);
            fs.sync_file(&at).inspect_err(|_| {
                // What failed is the answer: a file left over is hashed before it is ever used.
                let _ = fs.remove_file(&at);
            })?;
        }
        Ok(())
    }

    /// Where a download in progress may lie; kept over restarts, gone with the staging directory.
    pub fn partial_path(&self, name: &str) -> PathBuf {
        debug_assert!(!name.is_empty() && !name.contains(['/', '\\', ':']) && !name.starts_with('.'));
        self.tree.state_dir().join(layout::partial(&self.key).path()).join(name)
    }

    /// Bytes that are written and read again at any place, and gone when this is dropped: in memory at first, from
    /// 8 MiB on in a file without a name among the downloads in progress.
    pub fn scratch(&self) -> SpooledTempFile {
        let dir = self.tree.state_dir().join(layout::partial(&self.key).path());
        tempfile::spooled_tempfile_in(SCRATCH_HELD_BYTES, dir)
    }

    /// Removes everything staged, as for an update that was given up.
    ///
    /// # Errors
    /// What the system says.
    pub fn discard(self) -> Result<(), TreeError> {
        Ok(fs::remove_all(self.tree.fs(), &layout::staging(&self.key))?)
    }
}

fn holds(thing: &Option<Thing>, size: u64, blake3: &Blake3) -> bool {
    matches!(thing, Some(Thing::File { size: s, blake3: b, .. }) if *s == size && b == blake3)
}

/// A staged file being written; hashed as it is. Without [`StagedFile::finish`] it is not staged.
pub struct StagedFile {
    tree: Tree,
    at: Place,
    number: usize,
    file: Box<dyn WriteFile>,
    size: u64,
    written: u64,
    executable: bool,
    hasher: blake3::Hasher,
}

impl StagedFile {
    /// Begins a file at `at`, in place of whatever is there.
    pub(super) fn create(
        tree: &Tree,
        at: Place,
        number: usize,
        size: u64,
        executable: bool,
    ) -> Result<Self, TreeError> {
        fs::remove_all(tree.fs(), &at)?;
        let file = tree.fs().create_file(&at)?;
        let tree = tree.clone();
        Ok(Self { tree, at, number, file, size, written: 0, executable, hasher: blake3::Hasher::new() })
    }

    /// Checks size and BLAKE3, sets the mode and flushes. If it returns, the content is durable once the commit has
    /// flushed the directory.
    ///
    /// # Errors
    /// [`TreeError::Staged`] if the content is not `expected`; what the system says. The file is removed then.
    pub fn finish(self, expected: &ContentDigest) -> Result<(), TreeError> {
        self.check(expected)?.seal()
    }

    /// The first half of [`Self::finish`]: checks size and BLAKE3.
    ///
    /// # Errors
    /// [`TreeError::Staged`] if the content is not `expected`. The file is removed then.
    pub fn check(self, expected: &ContentDigest) -> Result<CheckedFile, TreeError> {
        let blake3 = Blake3::from_bytes(*self.hasher.finalize().as_bytes());
        if self.written == expected.size && blake3 == expected.blake3 {
            return Ok(CheckedFile(self));
        }
        self.remove();
        Err(TreeError::Staged {
            number: self.number,
            expected_size: expected.size,
            expected: expected.blake3,
            found: format!("{} bytes with BLAKE3 {blake3}", self.written),
        })
    }

    /// What it means that a write to it failed with `source`.
    pub(crate) fn error(&self, source: io::Error) -> TreeError {
        FsError::io("write", &self.at, source).into()
    }

    fn end(&mut self) -> io::Result<()> {
        let mode = if self.executable { EXECUTABLE_MODE } else { FILE_MODE };
        self.file.flush()?;
        self.file.set_mode(mode)
    }

    /// Removes what is not as it should be. What failed is the answer: a file left over is hashed before it is ever used.
    pub(super) fn remove(&self) {
        let _ = self.tree.fs().remove_file(&self.at);
    }
}

/// A staged file with the right content that is not durable yet.
pub struct CheckedFile(StagedFile);

impl CheckedFile {
    /// The second half of [`StagedFile::finish`]: sets the mode and flushes.
    ///
    /// # Errors
    /// What the system says. The file is removed then.
    pub fn seal(mut self) -> Result<(), TreeError> {
        let sealed = self.0.end().and_then(|()| self.0.file.sync());
        self.or_gone(sealed)
    }

    /// Sets the mode, and leaves the file to [`Staging::flush`]; gives its number.
    ///
    /// # Errors
    /// What the system says. The file is removed then.
    pub fn leave(mut self) -> Result<usize, TreeError> {
        let ended = self.0.end();
        let number = self.0.number;
        self.or_gone(ended).map(|()| number)
    }

    fn or_gone(self, ended: io::Result<()>) -> Result<(), TreeError> {
        let Err(error) = ended else { return Ok(()) };
        self.0.remove();
        Err(FsError::io("flush", &self.0.at, error).into())
    }
}

impl Write for StagedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.size - self.written {
            let text = format!("staged file {} grows beyond its {} bytes", self.number, self.size);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, SeekFrom};

    use super::*;
    use std::time::Duration;

    fn lock(dir: &std::path::Path) -> TreeLock {
        Tree::open(dir, None).and_then(|tree| tree.lock(Duration::ZERO)).expect("a free tree")
    }

    fn put(staging: &Staging, number: usize, content: &[u8]) -> Result<(), TreeError> {
        let mut file = staging.create(number, content.len() as u64, true)?;
        file.write_all(content).expect("room");
        file.finish(&ContentDigest::of(content))
    }

    #[test]
    fn staged_files_are_found_again_only_with_their_content() {
        let dir = tempfile::tempdir().expect("a directory");
        let lock = lock(dir.path());
        put(&lock.staging("a").expect("staging"), 0, b"content").expect("staged");
        let staging = lock.staging("a").expect("staging");
        let digest = ContentDigest::of(b"content");
        assert!(staging.reuse(0, &digest).expect("readable"));
        std::fs::write(lock.state_dir().join("staging/a/0"), b"CONTENT").expect("written");
        assert!(!staging.reuse(0, &digest).expect("readable"));
        assert!(!lock.state_dir().join("staging/a/0").exists(), "what is wrong is removed");
        assert!(!staging.reuse(1, &digest).expect("readable"));
    }

    #[test]
    fn a_scratch_is_read_back_and_leaves_no_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let staging = lock(dir.path()).staging("a").expect("staging");
        let mut scratch = staging.scratch();
        let bytes: Vec<u8> = (0..SCRATCH_HELD_BYTES as u32 + 9).map(|n| (n / 251) as u8).collect();
        scratch.write_all(&bytes).expect("written");
        assert!(scratch.is_rolled());
        let mut back = vec![0; 20];
        scratch.seek(SeekFrom::Start(1000)).expect("sought");
        scratch.read_exact(&mut back).expect("read");
        assert_eq!(back, bytes[1000..1020]);
        drop(scratch);
        let partial = staging.partial_path("x");
        let left = std::fs::read_dir(partial.parent().expect("a directory")).expect("listed").count();
        assert_eq!(left, 0);
    }

    #[test]
    fn another_update_empties_staging() {
        let dir = tempfile::tempdir().expect("a directory");
        let lock = lock(dir.path());
        let first = lock.staging("a").expect("staging");
        put(&first, 0, b"x").expect("staged");
        std::fs::write(first.partial_path("pack"), b"half").expect("written");
        lock.staging("b").expect("staging");
        assert!(!lock.state_dir().join("staging/a").exists());
        for bad in ["", "a/b", "..", "A"] {
            assert!(matches!(lock.staging(bad), Err(TreeError::Key { .. })), "{bad:?}");
        }
    }

    #[test]
    fn wrong_content_is_refused_and_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        let lock = lock(dir.path());
        let staging = lock.staging("a").expect("staging");
        let mut file = staging.create(3, 4, false).expect("created");
        assert!(file.write_all(b"12345").is_err(), "one byte too many");
        let mut file = staging.create(3, 4, false).expect("created");
        file.write_all(b"1234").expect("room");
        let refused = file.finish(&ContentDigest::of(b"1235"));
        assert!(matches!(refused, Err(TreeError::Staged { number: 3, .. })), "{refused:?}");
        assert!(!lock.state_dir().join("staging/a/3").exists());
    }

    #[cfg(unix)]
    #[test]
    fn modes_are_exact() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        let lock = lock(dir.path());
        let staging = lock.staging("a").expect("staging");
        put(&staging, 0, b"x").expect("staged");
        let mode = |path: &str| std::fs::metadata(lock.state_dir().join(path)).expect("there").permissions().mode();
        assert_eq!(mode("staging/a/0") & 0o7777, 0o755);
        assert_eq!(mode("") & 0o7777, 0o700);
        let _unfinished = staging.create(1, 1, true).expect("created");
        assert_eq!(mode("staging/a/1") & 0o7777, 0o600, "for its owner alone while it is written");
    }
}
