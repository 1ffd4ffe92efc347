//! A file system in memory that forgets what was not flushed, in any combination.
//!
//! Each directory has live entries and durable ones; flushing it makes the live ones durable. When the power goes, each
//! name that changed since holds independently what it held at any moment in between, so a rename may arrive whole, not at
//! all, or torn: gone here and not there yet. Content that was not flushed is whole, empty, or zeros of the right length.
//! This is weaker than what any file system of today promises.

use std::ffi::{OsStr, OsString};
use std::io::{self, Cursor, Write};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use lamplighter_client::format::path::RelPath;
use lamplighter_client::tree::fs::{
    Base, Directory, Entry, Existing, Fs, FsError, LockGuard, Metadata, Place, ReadFile, WriteFile,
};

#[path = "tree_disk.rs"]
mod disk;

use disk::dir_node;
pub(crate) use disk::{Chance, Disk, FileData, Node, STATE_ROOT, TREE_ROOT};

/// A running machine with that disk; it may note the disk before every change.
pub(crate) struct Machine {
    disk: Mutex<Disk>,
    noted: Mutex<Option<Vec<Disk>>>,
    forgets: Option<Forgets>,
    flushes: Mutex<Vec<Flush>>,
    /// Changes until one fails, without any effect; the ones after it work again.
    until_failure: Mutex<Option<u64>>,
    failed: Mutex<Option<&'static str>>,
}

/// A flush that was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Flush {
    /// `sync_dir`, `sync_file`, or `sync` of a file being written.
    pub(crate) call: &'static str,
    pub(crate) place: Place,
}

/// Says whether a flush is left out.
pub(crate) type Forgets = Arc<dyn Fn(&Flush) -> bool + Send + Sync>;

impl Machine {
    pub(crate) fn start(disk: Disk) -> Arc<Self> {
        Self::start_with(disk, None)
    }

    /// A machine that leaves out the flushes that `forgets` names.
    pub(crate) fn start_with(disk: Disk, forgets: Option<Forgets>) -> Arc<Self> {
        Arc::new(Self {
            disk: Mutex::new(disk),
            noted: Mutex::new(None),
            forgets,
            flushes: Mutex::default(),
            until_failure: Mutex::new(None),
            failed: Mutex::new(None),
        })
    }

    /// All flushes asked for until now.
    pub(crate) fn flushes(&self) -> Vec<Flush> {
        self.flushes.lock().expect("flushes").clone()
    }

    /// Notes the disk before every change from now on.
    pub(crate) fn note(&self) {
        *self.noted.lock().expect("noted") = Some(Vec::new());
    }

    /// Lets one change fail, after so many that work.
    pub(crate) fn fail_after(&self, changes: u64) {
        *self.until_failure.lock().expect("a number") = Some(changes);
    }

    /// The call that failed.
    pub(crate) fn failed(&self) -> Option<&'static str> {
        *self.failed.lock().expect("a call")
    }

    pub(crate) fn noted(&self) -> Vec<Disk> {
        self.noted.lock().expect("noted").take().unwrap_or_default()
    }

    /// A program opens a file of the tree: it can write to it from now on, whatever becomes of its name.
    pub(crate) fn open(&self, at: &RelPath) -> u64 {
        self.read().find(&Place::tree(at)).ok().flatten().expect("it is there")
    }

    /// That program writes over the file, durably.
    pub(crate) fn write_over(&self, opened: u64, text: &[u8]) {
        if let Some(Node::File { live, durable, modified }) = self.disk.lock().expect("a disk").nodes.get_mut(&opened) {
            live.content = text.to_vec();
            *durable = live.clone();
            *modified += 1;
        }
    }

    pub(crate) fn disk(&self) -> Disk {
        self.disk.lock().expect("a disk").clone()
    }

    pub(crate) fn fs(self: &Arc<Self>) -> Box<dyn Fs> {
        Box::new(ModelFs(self.clone()))
    }

    fn read(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().expect("a disk")
    }

    fn change(&self) -> io::Result<MutexGuard<'_, Disk>> {
        let disk = self.disk.lock().expect("a disk");
        if let Some(noted) = self.noted.lock().expect("noted").as_mut() {
            noted.push(disk.clone());
        }
        let mut left = self.until_failure.lock().expect("a number");
        *left = match *left {
            Some(0) => {
                *left = None;
                return Err(io::Error::other("this one fails"));
            }
            left => left.map(|changes| changes - 1),
        };
        Ok(disk)
    }

    fn change_at(&self, call: &'static str, at: &Place) -> Result<MutexGuard<'_, Disk>, FsError> {
        self.change().map_err(|e| {
            *self.failed.lock().expect("a call") = Some(call);
            FsError::io(call, at, e)
        })
    }

    fn forgets(&self, call: &'static str, at: &Place) -> bool {
        let flush = Flush { call, place: at.clone() };
        let forgotten = self.forgets.as_ref().is_some_and(|forgets| forgets(&flush));
        self.flushes.lock().expect("flushes").push(flush);
        forgotten
    }
}

struct ModelFs(Arc<Machine>);

fn refuse<T>(call: &'static str, at: &Place, kind: io::ErrorKind) -> Result<T, FsError> {
    Err(FsError::io(call, at, io::Error::from(kind)))
}

impl Disk {
    fn open_dir(&self, at: &Place) -> Result<u64, FsError> {
        let (mut here, root) = match at.base() {
            Base::Tree => (TREE_ROOT, "tree"),
            Base::State => (STATE_ROOT, "state"),
        };
        debug_assert!(!root.is_empty());
        for name in at.path() {
            let Some(next) = self.get(here, name) else { return refuse("open directory", at, io::ErrorKind::NotFound) };
            match &self.nodes[&next] {
                Node::Dir { .. } => here = next,
                Node::Link(_) => {
                    let mut place = at.clone();
                    while place.name() != Some(name) {
                        place = place.parent().expect("below the root");
                    }
                    return Err(FsError::LinkOnTheWay { place });
                }
                Node::File { .. } => return refuse("open directory", at, io::ErrorKind::NotADirectory),
            }
        }
        Ok(here)
    }

    fn parent<'a>(&self, at: &'a Place) -> Result<(u64, &'a OsStr), FsError> {
        let parent = at.parent().expect("not a root");
        Ok((self.open_dir(&parent)?, at.name().expect("not a root")))
    }

    fn find(&self, at: &Place) -> Result<Option<u64>, FsError> {
        if at.name().is_none() {
            return self.open_dir(at).map(Some);
        }
        match self.parent(at) {
            Ok((dir, name)) => Ok(self.get(dir, name)),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn found(&self, call: &'static str, at: &Place) -> Result<u64, FsError> {
        self.find(at)?.map_or_else(|| refuse(call, at, io::ErrorKind::NotFound), Ok)
    }

    fn vacant<'a>(&self, call: &'static str, at: &'a Place) -> Result<(u64, &'a OsStr), FsError> {
        let (dir, name) = self.parent(at)?;
        if self.get(dir, name).is_some() { refuse(call, at, io::ErrorKind::AlreadyExists) } else { Ok((dir, name)) }
    }

    fn entry(&self, node: Option<u64>) -> Entry {
        let Some(node) = node else { return Entry::Absent };
        let metadata = self.metadata_of(node);
        match &self.nodes[&node] {
            Node::File { live, .. } => {
                Entry::File(Box::new(Reading(Cursor::new(live.content.clone()), metadata)), metadata)
            }
            Node::Link(to) => Entry::Link(to.clone(), metadata),
            Node::Dir { .. } => Entry::Directory(metadata),
        }
    }
}

struct Reading(Cursor<Vec<u8>>, Metadata);

impl io::Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl io::Seek for Reading {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

impl ReadFile for Reading {
    fn metadata(&self) -> io::Result<Metadata> {
        Ok(self.1)
    }
}

struct Writing(Arc<Machine>, u64, Place);

impl Writing {
    fn edit(&self, edit: impl FnOnce(&mut FileData, &mut FileData, &mut u64)) -> io::Result<()> {
        if let Some(Node::File { live, durable, modified }) = self.0.change()?.nodes.get_mut(&self.1) {
            edit(live, durable, modified);
        }
        Ok(())
    }
}

impl Write for Writing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.edit(|live, _, modified| {
            live.content.extend_from_slice(bytes);
            *modified += 1;
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl WriteFile for Writing {
    fn set_mode(&mut self, mode: u32) -> io::Result<()> {
        self.edit(|live, _, _| live.mode = mode)
    }

    fn sync(&mut self) -> io::Result<()> {
        let forgotten = self.0.forgets("sync", &self.2);
        self.edit(|live, durable, _| {
            if !forgotten {
                *durable = live.clone()
            }
        })
    }
}

struct OpenDir(Arc<Machine>, u64);

impl Directory for OpenDir {
    fn look(&self, name: &OsStr) -> Result<Entry, FsError> {
        let disk = self.0.read();
        Ok(disk.entry(disk.get(self.1, name)))
    }

    fn metadata(&self, name: &OsStr) -> Result<Option<Metadata>, FsError> {
        let disk = self.0.read();
        Ok(disk.get(self.1, name).map(|node| disk.metadata_of(node)))
    }
}

impl Fs for ModelFs {
    fn metadata(&self, at: &Place) -> Result<Option<Metadata>, FsError> {
        let disk = self.0.read();
        Ok(disk.find(at)?.map(|node| disk.metadata_of(node)))
    }

    fn look(&self, at: &Place) -> Result<Entry, FsError> {
        let disk = self.0.read();
        Ok(disk.entry(disk.find(at)?))
    }

    fn directory(&self, at: &Place) -> Result<Option<Box<dyn Directory>>, FsError> {
        match self.0.read().open_dir(at) {
            Ok(node) => Ok(Some(Box::new(OpenDir(self.0.clone(), node)))),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn list(&self, at: &Place) -> Result<Vec<OsString>, FsError> {
        let disk = self.0.read();
        let node = disk.open_dir(at)?;
        Ok(disk.dir(node).into_iter().flat_map(|entries| entries.keys().cloned()).collect())
    }

    fn free_bytes(&self) -> Result<Option<u64>, FsError> {
        Ok(None)
    }

    fn probe_directory(&self, at: &Place) -> Result<(), FsError> {
        self.0.read().open_dir(at).map(drop)
    }

    fn probe_file(&self, _: &Place) -> Result<(), FsError> {
        Ok(())
    }

    fn prepare_state(&self) -> Result<(), FsError> {
        Ok(())
    }

    fn lock(&self, _: &Place, _: Duration) -> Result<Option<LockGuard>, FsError> {
        Ok(Some(Box::new(())))
    }

    fn create_file(&self, at: &Place) -> Result<Box<dyn WriteFile>, FsError> {
        let mut disk = self.0.change_at("create", at)?;
        let (dir, name) = disk.vacant("create", at)?;
        let data = FileData { content: Vec::new(), mode: 0o600 };
        let node = disk.add(Node::File { live: data.clone(), durable: data, modified: 0 });
        disk.set(dir, name, Some(node));
        Ok(Box::new(Writing(self.0.clone(), node, at.clone())))
    }

    fn create_dir(&self, at: &Place, mode: u32) -> Result<(), FsError> {
        let mut disk = self.0.change_at("create directory", at)?;
        let (dir, name) = disk.vacant("create directory", at)?;
        let node = disk.add(dir_node(mode));
        disk.set(dir, name, Some(node));
        Ok(())
    }

    fn symlink(&self, destination: &[u8], at: &Place) -> Result<(), FsError> {
        let mut disk = self.0.change_at("create link", at)?;
        let (dir, name) = disk.vacant("create link", at)?;
        let node = disk.add(Node::Link(destination.to_vec()));
        disk.set(dir, name, Some(node));
        Ok(())
    }

    fn hard_link(&self, from: &Place, to: &Place) -> Result<(), FsError> {
        let mut disk = self.0.change_at("link", to)?;
        if !disk.has_links {
            return refuse("link", from, io::ErrorKind::Unsupported);
        }
        let node = disk.found("link", from)?;
        let (dir, name) = disk.vacant("link", to)?;
        disk.set(dir, name, Some(node));
        Ok(())
    }

    fn rename(&self, from: &Place, to: &Place, existing: Existing) -> Result<(), FsError> {
        let mut disk = self.0.change_at("rename", to)?;
        let node = disk.found("rename", from)?;
        let (from_dir, from_name) = disk.parent(from)?;
        let (to_dir, to_name) = disk.parent(to)?;
        let there = disk.get(to_dir, to_name);
        if there.is_some() && existing == Existing::Refuse {
            return refuse("rename to", to, io::ErrorKind::AlreadyExists);
        }
        if there.is_some_and(|there| matches!(disk.nodes[&there], Node::Dir { .. })) {
            return refuse("rename to", to, io::ErrorKind::IsADirectory);
        }
        if there != Some(node) {
            disk.set(to_dir, to_name, Some(node));
            disk.set(from_dir, from_name, None);
        }
        Ok(())
    }

    fn remove_file(&self, at: &Place) -> Result<(), FsError> {
        let mut disk = self.0.change_at("remove", at)?;
        let node = disk.found("remove", at)?;
        if matches!(disk.nodes[&node], Node::Dir { .. }) {
            return refuse("remove", at, io::ErrorKind::IsADirectory);
        }
        let (dir, name) = disk.parent(at)?;
        disk.set(dir, name, None);
        Ok(())
    }

    fn remove_dir(&self, at: &Place) -> Result<(), FsError> {
        let mut disk = self.0.change_at("remove directory", at)?;
        let node = disk.found("remove directory", at)?;
        match disk.dir(node) {
            None => return refuse("remove directory", at, io::ErrorKind::NotADirectory),
            Some(entries) if !entries.is_empty() => {
                return refuse("remove directory", at, io::ErrorKind::DirectoryNotEmpty);
            }
            Some(_) => {}
        }
        let (dir, name) = disk.parent(at)?;
        disk.set(dir, name, None);
        Ok(())
    }

    fn set_mode(&self, at: &Place, to: u32) -> Result<(), FsError> {
        let mut disk = self.0.change_at("set mode", at)?;
        let node = disk.found("set mode", at)?;
        if let Some(Node::File { live, .. }) = disk.nodes.get_mut(&node) {
            live.mode = to;
        }
        Ok(())
    }

    fn sync_file(&self, at: &Place) -> Result<(), FsError> {
        let mut disk = self.0.change_at("flush", at)?;
        let node = disk.found("flush", at)?;
        if self.0.forgets("sync_file", at) {
            return Ok(());
        }
        if let Some(Node::File { live, durable, .. }) = disk.nodes.get_mut(&node) {
            *durable = live.clone();
        }
        Ok(())
    }

    fn sync_dir(&self, at: &Place) -> Result<(), FsError> {
        let mut disk = self.0.change_at("flush", at)?;
        let node = disk.open_dir(at)?;
        if self.0.forgets("sync_dir", at) {
            return Ok(());
        }
        if let Some(Node::Dir { live, durable, history, .. }) = disk.nodes.get_mut(&node) {
            *durable = live.clone();
            history.clear();
        }
        Ok(())
    }

    fn has_cheaper_sync_volume(&self, _: usize) -> bool {
        self.0.read().syncs_volume
    }

    fn sync_volume(&self) -> Result<(), FsError> {
        let mut disk = self.0.change_at("flush", &Place::tree_root())?;
        if self.0.forgets("sync_volume", &Place::tree_root()) {
            return Ok(());
        }
        for node in disk.nodes.values_mut() {
            match node {
                Node::File { live, durable, .. } => *durable = live.clone(),
                Node::Dir { live, durable, history, .. } => {
                    *durable = live.clone();
                    history.clear();
                }
                Node::Link(_) => {}
            }
        }
        Ok(())
    }
}
