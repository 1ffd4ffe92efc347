//! What a disk holds, live and durable, and what a power cut makes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::Path;

use lamplighter_client::format::digest::Blake3;
use lamplighter_client::tree::fs::{Base, FileKind, Metadata, Stamp};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileData {
    pub(crate) content: Vec<u8>,
    pub(crate) mode: u32,
}

#[derive(Debug, Clone)]
pub(crate) enum Node {
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

pub(crate) fn dir_node(mode: u32) -> Node {
    Node::Dir { mode, live: BTreeMap::new(), durable: BTreeMap::new(), history: Vec::new() }
}

pub(crate) fn fold(name: &OsStr) -> OsString {
    name.to_string_lossy().to_lowercase().into()
}

pub(crate) const TREE_ROOT: u64 = 1;
pub(crate) const STATE_ROOT: u64 = 2;

/// Everything on the disk at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    pub(crate) nodes: BTreeMap<u64, Node>,
    next: u64,
    /// Whether names that differ only in case are one name.
    lax: bool,
    /// Whether a file may have several names.
    pub(crate) has_links: bool,
    /// Whether staged files are made durable all at once.
    pub(crate) syncs_volume: bool,
}

/// One choice among the ways a power cut may end.
pub(crate) trait Chance {
    /// A number below `below`.
    fn pick(&mut self, below: usize) -> usize;
}

impl Disk {
    pub(crate) fn new(lax: bool) -> Self {
        let nodes = [(TREE_ROOT, dir_node(0o755)), (STATE_ROOT, dir_node(0o700))].into();
        Self { nodes, next: 3, lax, has_links: true, syncs_volume: false }
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

    pub(crate) fn dir(&self, node: u64) -> Option<&BTreeMap<OsString, u64>> {
        match self.nodes.get(&node)? {
            Node::Dir { live, .. } => Some(live),
            _ => None,
        }
    }

    /// The name under which `name` is stored in a directory.
    pub(crate) fn stored(&self, dir: u64, name: &OsStr) -> OsString {
        let mut entries = self.dir(dir).into_iter().flat_map(|entries| entries.keys());
        let lax = if self.lax { entries.find(|found| fold(found) == fold(name)) } else { None };
        lax.cloned().unwrap_or_else(|| name.to_owned())
    }

    pub(crate) fn set(&mut self, dir: u64, name: &OsStr, value: Option<u64>) {
        let name = self.stored(dir, name);
        if let Some(Node::Dir { live, history, .. }) = self.nodes.get_mut(&dir) {
            match value {
                Some(node) => drop(live.insert(name.clone(), node)),
                None => drop(live.remove(&name)),
            }
            history.push((name, value));
        }
    }

    pub(crate) fn get(&self, dir: u64, name: &OsStr) -> Option<u64> {
        self.dir(dir)?.get(&self.stored(dir, name)).copied()
    }

    pub(crate) fn add(&mut self, node: Node) -> u64 {
        self.nodes.insert(self.next, node);
        self.next += 1;
        self.next - 1
    }

    pub(crate) fn metadata_of(&self, node: u64) -> Metadata {
        let (kind, mode, size, modified) = match &self.nodes[&node] {
            Node::File { live, modified, .. } => (FileKind::File, live.mode, live.content.len(), *modified),
            Node::Link(to) => (FileKind::Link, 0o777, to.len(), 0),
            Node::Dir { mode, .. } => (FileKind::Directory, *mode, 0, 0),
        };
        Metadata { kind, mode, stamp: Stamp { file: node, size: size as u64, modified_ns: modified.into() } }
    }

    /// Equal for disks that hold the same under the same names, links to one file included.
    pub(crate) fn identity(&self) -> Blake3 {
        let (mut bytes, mut met) = (Vec::new(), BTreeMap::new());
        [TREE_ROOT, STATE_ROOT].into_iter().for_each(|root| self.describe(root, &mut bytes, &mut met));
        Blake3::of(&bytes)
    }

    fn describe(&self, node: u64, bytes: &mut Vec<u8>, met: &mut BTreeMap<u64, usize>) {
        let next = met.len();
        let number = *met.entry(node).or_insert(next);
        bytes.extend((number as u64).to_le_bytes());
        if number != next {
            return;
        }
        let put = |bytes: &mut Vec<u8>, tag: u8, mode: u32, part: &[u8]| {
            bytes.push(tag);
            bytes.extend(mode.to_le_bytes());
            bytes.extend((part.len() as u64).to_le_bytes());
            bytes.extend(part);
        };
        match &self.nodes[&node] {
            Node::File { live, modified, .. } => {
                put(bytes, 0, live.mode, &live.content);
                put(bytes, 1, 0, &modified.to_le_bytes());
            }
            Node::Link(to) => put(bytes, 2, 0, to),
            Node::Dir { mode, live, .. } => {
                put(bytes, 3, *mode, &[]);
                for (name, node) in live {
                    put(bytes, 4, 0, name.as_encoded_bytes());
                    self.describe(*node, bytes, met);
                }
                bytes.push(5);
            }
        }
    }

    /// Path → what is there, below a root.
    pub(crate) fn snapshot(&self, base: Base) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let root = if base == Base::Tree { TREE_ROOT } else { STATE_ROOT };
        self.collect(root, "", &mut found);
        found
    }

    pub(crate) fn collect(&self, dir: u64, prefix: &str, found: &mut BTreeMap<String, String>) {
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

impl Disk {
    /// Takes a name from the disk, as if it had never been there.
    pub(crate) fn remove(&mut self, base: Base, path: &str) {
        let mut here = if base == Base::Tree { TREE_ROOT } else { STATE_ROOT };
        let mut names: Vec<&OsStr> = Path::new(path).iter().collect();
        let Some(last) = names.pop() else { return };
        for name in names {
            let Some(next) = self.get(here, name) else { return };
            here = next;
        }
        self.set(here, last, None);
    }

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
