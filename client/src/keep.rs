//! Keeps what is fetched from a site as a part of that site, which can be handed out to others.
//!
//! What passes on its way to a tree is copied aside, unverified; what came whole and proves to be what was signed is moved to
//! its name ([`crate::updater::Updater::settle`]). So everything under a name of a site is verified, and whoever takes it from
//! here verifies it again. A copy that fails is no failure of the work it is a copy of.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::format::text::Time;
use crate::machine::Machine;
use crate::source::{Body, ByteRange, HttpOptions, Kind, Source, SourceError};
use crate::tree::{Tree, TreeError};

/// Folders of a site of which something is copied. Roots are taken from what is believed already.
const FOLDERS: [&str; 4] = ["channels/", "releases/", "objects/", "packs/"];

/// A directory that becomes a part of a site.
pub struct Keep {
    dir: PathBuf,
    /// Copies that are not verified, gone with this.
    copies: tempfile::TempDir,
    /// Bytes of each file that came, from its start on.
    came: Mutex<BTreeMap<String, u64>>,
}

/// What was kept of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kept {
    /// Files that are in the directory now.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files of which a part came, or not what was signed: they were not kept.
    pub not_kept: u64,
}

impl Keep {
    /// Keeps in `dir`, which is made if it is missing.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(dir: &Path) -> io::Result<Arc<Self>> {
        std::fs::create_dir_all(dir)?;
        let copies = tempfile::Builder::new().prefix(".keeping-").tempdir_in(dir)?;
        Ok(Arc::new(Self { dir: dir.to_owned(), copies, came: Mutex::default() }))
    }

    /// `machine`, whose sites are copied from while they are read.
    pub fn watching(self: &Arc<Self>, machine: Arc<dyn Machine>) -> Arc<dyn Machine> {
        Arc::new(Watched { machine, keep: self.clone() })
    }

    /// Where it keeps.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What came, with the number of bytes from its start on.
    pub(crate) fn came(&self) -> Vec<(String, u64)> {
        self.lock().iter().map(|(name, bytes)| (name.clone(), *bytes)).collect()
    }

    /// Where the copy of `name` lies.
    pub(crate) fn copy_of(&self, name: &str) -> PathBuf {
        // No name of a site has a plus.
        self.copies.path().join(name.replace('/', "+"))
    }

    /// Whether `name` is there, verified in an earlier run.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.dir.join(name).is_file()
    }

    /// Gives the verified copy of `name` its name: at once, and not before it is on the disk.
    pub(crate) fn place(&self, name: &str) -> io::Result<()> {
        let (copy, to) = (self.copy_of(name), self.dir.join(name));
        to.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        // Windows flushes only what may be written.
        OpenOptions::new().write(true).open(&copy)?.sync_all()?;
        std::fs::rename(copy, to)
    }

    /// Writes `bytes` as the copy of `name`, for what was not fetched.
    pub(crate) fn write_copy(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        std::fs::write(self.copy_of(name), bytes)
    }

    fn wants(&self, name: &str) -> bool {
        let is_mutable = name.starts_with("channels/");
        FOLDERS.iter().any(|folder| name.starts_with(folder)) && (is_mutable || !self.has(name))
    }

    /// Opens the copy of `name`, to be written from `start` on; none if there would be a gap before.
    fn open_copy(&self, name: &str, start: u64) -> Option<File> {
        let mut came = self.lock();
        if start > came.get(name).copied().unwrap_or(0) {
            return None;
        }
        // A head may have got shorter since it was asked for first.
        if start == 0 {
            came.insert(name.to_owned(), 0);
        }
        let mut copy =
            OpenOptions::new().write(true).create(true).truncate(start == 0).open(self.copy_of(name)).ok()?;
        copy.seek(SeekFrom::Start(start)).ok()?;
        Some(copy)
    }

    fn advanced(&self, name: &str, to: u64) {
        let mut came = self.lock();
        let bytes = came.entry(name.to_owned()).or_default();
        *bytes = to.max(*bytes);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.came.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Watched {
    machine: Arc<dyn Machine>,
    keep: Arc<Keep>,
}

impl Machine for Watched {
    fn clock(&self) -> Time {
        self.machine.clock()
    }

    fn secret(&self) -> [u8; 16] {
        self.machine.secret()
    }

    fn open_tree(&self, root: &Path, state: Option<&Path>) -> Result<Tree, TreeError> {
        self.machine.open_tree(root, state)
    }

    fn open_source(&self, location: &str, options: &HttpOptions) -> Result<Arc<dyn Source>, SourceError> {
        let source = self.machine.open_source(location, options)?;
        Ok(Arc::new(WatchedSource { source, keep: self.keep.clone() }))
    }

    fn helpers(&self) -> usize {
        self.machine.helpers()
    }
}

struct WatchedSource {
    source: Arc<dyn Source>,
    keep: Arc<Keep>,
}

impl Source for WatchedSource {
    fn open(&self, name: &str, range: Option<ByteRange>, kind: Kind) -> Result<Body, SourceError> {
        let body = self.source.open(name, range, kind)?;
        let copy = if self.keep.wants(name) { self.keep.open_copy(name, body.start) } else { None };
        let Some(copy) = copy else { return Ok(body) };
        let Body { start, length, reader } = body;
        let keep = self.keep.clone();
        let reader = Copied { reader, keep, name: name.to_owned(), at: start, copy: Some(copy) };
        Ok(Body { start, length, reader: Box::new(reader) })
    }

    fn describe(&self) -> String {
        self.source.describe()
    }
}

/// Copies what is read.
struct Copied {
    reader: Box<dyn Read + Send>,
    keep: Arc<Keep>,
    name: String,
    at: u64,
    /// None after it could not be written to.
    copy: Option<File>,
}

impl Read for Copied {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        if let Some(copy) = &mut self.copy {
            if copy.write_all(&buffer[..count]).is_ok() {
                self.at += count as u64;
                self.keep.advanced(&self.name, self.at);
            } else {
                self.copy = None;
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(&'static [u8]);

    impl Source for Fixed {
        fn open(&self, _: &str, range: Option<ByteRange>, _: Kind) -> Result<Body, SourceError> {
            let start = range.map_or(0, |range| range.start);
            Ok(Body { start, length: None, reader: Box::new(&self.0[start as usize..]) })
        }

        fn describe(&self) -> String {
            "fixed".into()
        }
    }

    fn read(source: &WatchedSource, name: &str, start: u64, bytes: usize) {
        let range = Some(ByteRange { start, end: None });
        let mut body = source.open(name, range, Kind::Content).expect("open");
        body.reader.read_exact(&mut vec![0; bytes]).expect("read");
    }

    #[test]
    fn what_came_is_counted_from_the_start_without_gaps() {
        let dir = tempfile::tempdir().expect("a directory");
        let keep = Keep::open(&dir.path().join("kept")).expect("made");
        let source = WatchedSource { source: Arc::new(Fixed(b"0123456789")), keep: keep.clone() };
        read(&source, "packs/ab/x", 0, 4);
        read(&source, "packs/ab/x", 6, 4);
        read(&source, "root/1.root", 0, 4);
        assert_eq!(keep.came(), [("packs/ab/x".into(), 4)], "after a gap nothing counts; roots are not copied");
        read(&source, "packs/ab/x", 3, 7);
        assert_eq!(keep.came(), [("packs/ab/x".into(), 10)]);
        assert_eq!(std::fs::read(keep.copy_of("packs/ab/x")).expect("copied"), b"0123456789");
        keep.place("packs/ab/x").expect("placed");
        assert!(keep.has("packs/ab/x") && !keep.wants("packs/ab/x") && keep.wants("channels/stable.head"));
        drop((source, keep));
        assert_eq!(std::fs::read_dir(dir.path().join("kept")).expect("there").count(), 1, "no copies are left");
    }
}
