//! A file system in memory that forgets what was not flushed, in any combination.
//!
//! Each directory has live entries and durable ones; flushing it makes the live ones durable. When the power goes, each
//! name that changed since holds independently what it held at any moment in between, so a rename may arrive whole, not at
//! all, or torn: gone here and not there yet. Content that was not flushed is whole, empty, or zeros of the right length.
//! This is weaker than what any file system of today promises.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io::{self, Cursor, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use lamplighter_client::tree::fs::{
    Base, Directory, Entry, Existing, FileKind, Fs, FsError, LockGuard, Metadata, Place, ReadFile, Stamp, WriteFile,
};

#[derive(Debug, Clone, PartialEq, Eq)]
struct FileData {
    content: Vec<u8>,
    mode: u32,
}

#[derive(Debug, Clone)]
enum Node {
    File {
        live: FileData,
        durable: FileData,
        modified: u64,
    },
    Link(Vec<u8>),
    Dir {
        mode: u32,
        live: BTreeMap<OsString, u64>,
        durable: BTreeMap<OsString, u64>,
        history: Vec<(OsString, Option<u64>)>,
    },
}

fn dir_node(mode: u32) -> Node {
    Node::Dir { mode, live: BTreeMap::new(), durable: BTreeMap::new(), history: Vec::new() }
}

fn fold(name: &OsStr) -> OsString {
    name.to_string_lossy().to_lowercase().into()
}

const TREE_ROOT: u64 = 1;
const STATE_ROOT: u64 = 2;

/// Everything on the disk at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    nodes: BTreeMap<u64, Node>,
    next: u64,
    /// Whether names that differ only in case are one name.
    lax: bool,
}

/// One choice among the ways a power cut may end.
pub(crate) trait Chance {
    /// A number below `below`.
    fn pick(&mut self, below: usize) -> usize;
}

impl Disk {
    pub(crate) fn new(lax: bool) -> Self {
        let nodes = [(TREE_ROOT, dir_node(0o755)), (STATE_ROOT, dir_node(0o700))].into();
        Self { nodes, next: 3, lax }
    }

    /// Places whose names changed since they were flushed, and files with content that was not flushed.
    pub(crate) fn loose(&self) -> usize {
        let loose = |node: &Node| match node {
            Node::File { live, durable, .. } => usize::from(live != durable),
            Node::Link(_) => 0,
            Node::Dir { history, .. } => history.iter().map(|(name, _)| name).collect::<BTreeSet<_>>().len(),
        };
        self.nodes.values().map(loose).sum()
    }

    /// What the disk holds after the power went, `chance` choosing for each loose thing.
    pub(crate) fn after_power_cut(&self, chance: &mut dyn Chance) -> Self {
        let (mut disk, lax) = (self.clone(), self.lax);
        for node in disk.nodes.values_mut() {
            match node {
                Node::File { live, durable, .. } if live != durable => {
                    let zeros = FileData { content: vec![0; live.content.len()], mode: live.mode };
                    let empty = FileData { content: Vec::new(), mode: durable.mode };
                    let same_content = live.content == durable.content;
                    let choices = [durable.clone(), live.clone(), zeros, empty];
                    *live = choices[chance.pick(if same_content { 2 } else { 4 })].clone();
                    *durable = live.clone();
                }
                Node::File { .. } | Node::Link(_) => {}
                Node::Dir { live, durable, history, .. } => {
                    let folded = |name: &OsString| if lax { fold(name) } else { name.clone() };
                    for key in history.iter().map(|(name, _)| folded(name)).collect::<BTreeSet<_>>() {
                        let entry = durable.iter().find(|(name, _)| folded(name) == key);
                        let mut values = vec![entry.map(|(name, node)| (name.clone(), *node))];
                        let changes = history.iter().filter(|(name, _)| folded(name) == key);
                        values.extend(changes.map(|(name, value)| value.map(|node| (name.clone(), node))));
                        durable.retain(|name, _| folded(name) != key);
                        // Counted from the newest, so that 0 keeps all and the last loses all.
                        durable.extend(values[values.len() - 1 - chance.pick(values.len())].clone());
                    }
                    history.clear();
                    *live = durable.clone();
                }
            }
        }
        disk
    }

    /// The disk as it is, with everything on it durable.
    pub(crate) fn flushed(&self) -> Self {
        struct Keep;
        impl Chance for Keep {
            fn pick(&mut self, below: usize) -> usize {
                // Content: the second choice; names: the newest.
                usize::from(below == 4)
            }
        }
        let mut disk = self.clone();
        for node in disk.nodes.values_mut() {
            if let Node::File { live, durable, .. } = node {
                *durable = live.clone();
            }
        }
        disk.after_power_cut(&mut Keep)
    }

    fn dir(&self, node: u64) -> Option<&BTreeMap<OsString, u64>> {
        match self.nodes.get(&node)? {
            Node::Dir { live, .. } => Some(live),
            _ => None,
        }
    }

    /// The name under which `name` is stored in a directory.
    fn stored(&self, dir: u64, name: &OsStr) -> OsString {
        let mut entries = self.dir(dir).into_iter().flat_map(|entries| entries.keys());
        let lax = if self.lax { entries.find(|found| fold(found) == fold(name)) } else { None };
        lax.cloned().unwrap_or_else(|| name.to_owned())
    }

    fn set(&mut self, dir: u64, name: &OsStr, value: Option<u64>) {
        let name = self.stored(dir, name);
        if let Some(Node::Dir { live, history, .. }) = self.nodes.get_mut(&dir) {
            match value {
                Some(node) => drop(live.insert(name.clone(), node)),
                None => drop(live.remove(&name)),
            }
            history.push((name, value));
        }
    }

    fn get(&self, dir: u64, name: &OsStr) -> Option<u64> {
        self.dir(dir)?.get(&self.stored(dir, name)).copied()
    }

    fn add(&mut self, node: Node) -> u64 {
        self.nodes.insert(self.next, node);
        self.next += 1;
        self.next - 1
    }

    fn metadata_of(&self, node: u64) -> Metadata {
        let (kind, mode, size, modified) = match &self.nodes[&node] {
            Node::File { live, modified, .. } => (FileKind::File, live.mode, live.content.len(), *modified),
            Node::Link(to) => (FileKind::Link, 0o777, to.len(), 0),
            Node::Dir { mode, .. } => (FileKind::Directory, *mode, 0, 0),
        };
        Metadata { kind, mode, stamp: Stamp { file: node, size: size as u64, modified_ns: modified.into() } }
    }

    /// Path → what is there, below a root.
    pub(crate) fn snapshot(&self, base: Base) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let root = if base == Base::Tree { TREE_ROOT } else { STATE_ROOT };
        self.collect(root, "", &mut found);
        found
    }

    fn collect(&self, dir: u64, prefix: &str, found: &mut BTreeMap<String, String>) {
        for (name, node) in self.dir(dir).into_iter().flatten() {
            let path = format!("{prefix}{}", name.to_string_lossy());
            let shown = match &self.nodes[node] {
                Node::File { live, .. } => format!("{:o} {}", live.mode, String::from_utf8_lossy(&live.content)),
                Node::Link(to) => format!("link {}", String::from_utf8_lossy(to)),
                Node::Dir { .. } => {
                    self.collect(*node, &format!("{path}/"), found);
                    "dir".into()
                }
            };
            found.insert(path, shown);
        }
    }
}

/// A running machine with that disk; it may note the disk before every change.
pub(crate) struct Machine {
    disk: Mutex<Disk>,
    noted: Mutex<Option<Vec<Disk>>>,
    /// Flushes of these calls are left out: `sync_dir`, `sync_file`, `sync`.
    forgetful: Option<fn(&str, &Place) -> bool>,
}

impl Machine {
    pub(crate) fn start(disk: Disk) -> Arc<Self> {
        Arc::new(Self { disk: Mutex::new(disk), noted: Mutex::new(None), forgetful: None })
    }

    /// A machine that leaves out the flushes that `forgetful` names.
    pub(crate) fn start_forgetful(disk: Disk, forgetful: fn(&str, &Place) -> bool) -> Arc<Self> {
        Arc::new(Self { disk: Mutex::new(disk), noted: Mutex::new(None), forgetful: Some(forgetful) })
    }

    /// Notes the disk before every change from now on.
    pub(crate) fn note(&self) {
        *self.noted.lock().expect("noted") = Some(Vec::new());
    }

    pub(crate) fn noted(&self) -> Vec<Disk> {
        self.noted.lock().expect("noted").take().unwrap_or_default()
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

    fn change(&self) -> MutexGuard<'_, Disk> {
        let disk = self.disk.lock().expect("a disk");
        if let Some(noted) = self.noted.lock().expect("noted").as_mut() {
            noted.push(disk.clone());
        }
        disk
    }

    fn forgets(&self, call: &str, at: &Place) -> bool {
        self.forgetful.is_some_and(|forgets| forgets(call, at))
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
    fn edit(&self, edit: impl FnOnce(&mut FileData, &mut FileData, &mut u64)) {
        if let Some(Node::File { live, durable, modified }) = self.0.change().nodes.get_mut(&self.1) {
            edit(live, durable, modified);
        }
    }
}

impl Write for Writing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.edit(|live, _, modified| {
            live.content.extend_from_slice(bytes);
            *modified += 1;
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl WriteFile for Writing {
    fn set_mode(&mut self, mode: u32) -> io::Result<()> {
        self.edit(|live, _, _| live.mode = mode);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if !self.0.forgets("sync", &self.2) {
            self.edit(|live, durable, _| *durable = live.clone());
        }
        Ok(())
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
        let mut disk = self.0.change();
        let (dir, name) = disk.vacant("create", at)?;
        let data = FileData { content: Vec::new(), mode: 0o600 };
        let node = disk.add(Node::File { live: data.clone(), durable: data, modified: 0 });
        disk.set(dir, name, Some(node));
        Ok(Box::new(Writing(self.0.clone(), node, at.clone())))
    }

    fn create_dir(&self, at: &Place, mode: u32) -> Result<(), FsError> {
        let mut disk = self.0.change();
        let (dir, name) = disk.vacant("create directory", at)?;
        let node = disk.add(dir_node(mode));
        disk.set(dir, name, Some(node));
        Ok(())
    }

    fn symlink(&self, destination: &[u8], at: &Place) -> Result<(), FsError> {
        let mut disk = self.0.change();
        let (dir, name) = disk.vacant("create link", at)?;
        let node = disk.add(Node::Link(destination.to_vec()));
        disk.set(dir, name, Some(node));
        Ok(())
    }

    fn hard_link(&self, from: &Place, to: &Place) -> Result<(), FsError> {
        let mut disk = self.0.change();
        let node = disk.found("link", from)?;
        let (dir, name) = disk.vacant("link", to)?;
        disk.set(dir, name, Some(node));
        Ok(())
    }

    fn rename(&self, from: &Place, to: &Place, existing: Existing) -> Result<(), FsError> {
        let mut disk = self.0.change();
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
        let mut disk = self.0.change();
        let node = disk.found("remove", at)?;
        if matches!(disk.nodes[&node], Node::Dir { .. }) {
            return refuse("remove", at, io::ErrorKind::IsADirectory);
        }
        let (dir, name) = disk.parent(at)?;
        disk.set(dir, name, None);
        Ok(())
    }

    fn remove_dir(&self, at: &Place) -> Result<(), FsError> {
        let mut disk = self.0.change();
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
        let mut disk = self.0.change();
        let node = disk.found("set mode", at)?;
        if let Some(Node::File { live, .. }) = disk.nodes.get_mut(&node) {
            live.mode = to;
        }
        Ok(())
    }

    fn sync_file(&self, at: &Place) -> Result<(), FsError> {
        let mut disk = self.0.change();
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
        let mut disk = self.0.change();
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
}

impl Disk {
    /// Puts something on the disk, with the directories above it, as if it had always been there.
    pub(crate) fn install(&mut self, base: Base, path: &str, node: Option<(&[u8], u32)>, link: Option<&str>) {
        let mut here = if base == Base::Tree { TREE_ROOT } else { STATE_ROOT };
        let mut names: Vec<&OsStr> = Path::new(path).iter().collect();
        let last = if node.is_some() || link.is_some() { names.pop() } else { None };
        for name in names {
            here = self.get(here, name).unwrap_or_else(|| {
                let made = self.add(dir_node(0o755));
                self.set(here, name, Some(made));
                made
            });
        }
        let Some(last) = last else { return };
        let made = match (node, link) {
            (Some((content, mode)), _) => {
                let data = FileData { content: content.to_vec(), mode };
                self.add(Node::File { live: data.clone(), durable: data, modified: 0 })
            }
            (None, Some(to)) => self.add(Node::Link(to.as_bytes().to_vec())),
            (None, None) => return,
        };
        self.set(here, last, Some(made));
    }
}
