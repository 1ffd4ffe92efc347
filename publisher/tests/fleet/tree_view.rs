//! What a model disk holds, in the words of releases; and what a user does to it by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lamplighter_client::tree::fs::Base;

use super::releases::Thing;
use super::tree_model::{Disk, Node, STATE_ROOT, TREE_ROOT};

/// Everything below a root, by path; directories too.
pub(crate) fn things(disk: &Disk, base: Base) -> BTreeMap<String, Thing> {
    let mut found = BTreeMap::new();
    collect(disk, if base == Base::Tree { TREE_ROOT } else { STATE_ROOT }, "", &mut found);
    found
}

fn collect(disk: &Disk, dir: u64, prefix: &str, found: &mut BTreeMap<String, Thing>) {
    for (name, node) in disk.dir(dir).into_iter().flatten() {
        let path = format!("{prefix}{}", name.to_string_lossy());
        let thing = match &disk.nodes[node] {
            Node::File { live, .. } => {
                Thing::File { content: live.content.as_slice().into(), executable: live.mode & 0o100 != 0 }
            }
            Node::Link(to) => Thing::Link(String::from_utf8_lossy(to).into_owned()),
            Node::Dir { .. } => {
                collect(disk, *node, &format!("{path}/"), found);
                Thing::Directory
            }
        };
        found.insert(path, thing);
    }
}

/// A small file of the state directory.
pub(crate) fn state_file(disk: &Disk, path: &str) -> Option<Arc<[u8]>> {
    let mut here = STATE_ROOT;
    for name in path.split('/') {
        here = disk.get(here, name.as_ref())?;
    }
    match &disk.nodes[&here] {
        Node::File { live, .. } => Some(live.content.as_slice().into()),
        _ => None,
    }
}

/// Writes a user's file, if no directory is there and nothing but directories on the way; durable at once.
pub(crate) fn write(disk: &mut Disk, path: &str, content: &[u8]) -> bool {
    let mut here = TREE_ROOT;
    let mut names = path.split('/').peekable();
    while let Some(name) = names.next() {
        match disk.get(here, name.as_ref()).map(|node| (node, &disk.nodes[&node])) {
            None => break,
            Some((node, Node::Dir { .. })) if names.peek().is_some() => here = node,
            Some((_, Node::File { .. })) if names.peek().is_none() => break,
            Some(_) => return false,
        }
    }
    disk.install(Base::Tree, path, Some((content, 0o644)), None);
    *disk = disk.flushed();
    true
}

/// Forgets what no name leads to any more.
pub(crate) fn sweep(disk: &mut Disk) {
    let mut reached = BTreeSet::new();
    let mut todo = vec![TREE_ROOT, STATE_ROOT];
    while let Some(node) = todo.pop() {
        if !reached.insert(node) {
            continue;
        }
        if let Some(Node::Dir { live, durable, history, .. }) = disk.nodes.get(&node) {
            todo.extend(live.values().chain(durable.values()).copied());
            todo.extend(history.iter().filter_map(|(_, node)| *node));
        }
    }
    disk.nodes.retain(|node, _| reached.contains(node));
}
