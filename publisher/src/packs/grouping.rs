//! Which files share a unit: a pure function of their sizes and names.
//!
//! A large file is a unit of its own. Small ones are put together by extension, so that they share a compression
//! context and can copy from each other's old content. Extensions with much change make groups of their own, which come
//! out alike on platforms that share such files; the others are joined.

use super::pairing::extension;

/// Old and new bytes from which a file is a unit of its own.
const LARGE_BYTES: u64 = 1 << 20;
/// Most old and new bytes of a group.
const GROUP_BYTES: u64 = 4 << 20;
/// Most files of a group, so that a client may hold all of them open at once, old and new: some systems allow 256.
const GROUP_FILES: usize = 96;
/// An extension with as many bytes is not mixed with others.
const OWN_EXTENSION_BYTES: u64 = 512 << 10;

/// A new content to be put into a unit.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    /// Path of the target row.
    pub path: &'a str,
    /// Old and new bytes.
    pub bytes: u64,
}

/// Groups of indices into `items`; every index is in one group.
pub fn group(items: &[Item<'_>]) -> Vec<Vec<usize>> {
    let (large, mut small): (Vec<usize>, Vec<usize>) =
        (0..items.len()).partition(|index| items[*index].bytes >= LARGE_BYTES);
    let key = |index: &usize| (extension_of(items[*index].path), items[*index].path);
    small.sort_by(|a, b| key(a).cmp(&key(b)));
    let mut groups = Vec::new();
    let mut mixed = Vec::new();
    for run in small.chunk_by(|a, b| extension_of(items[*a].path) == extension_of(items[*b].path)) {
        if run.iter().map(|index| items[*index].bytes).sum::<u64>() >= OWN_EXTENSION_BYTES {
            fill(&mut groups, items, run);
        } else {
            mixed.extend_from_slice(run);
        }
    }
    fill(&mut groups, items, &mixed);
    groups.extend(large.into_iter().map(|index| vec![index]));
    groups
}

/// Cuts a run of small files into groups of bounded size.
fn fill(groups: &mut Vec<Vec<usize>>, items: &[Item<'_>], run: &[usize]) {
    let (mut open, mut bytes) = (Vec::new(), 0);
    for index in run {
        let full = bytes + items[*index].bytes > GROUP_BYTES || open.len() == GROUP_FILES;
        if full && !open.is_empty() {
            groups.push(std::mem::take(&mut open));
            bytes = 0;
        }
        open.push(*index);
        bytes += items[*index].bytes;
    }
    if !open.is_empty() {
        groups.push(open);
    }
}

fn extension_of(path: &str) -> &str {
    extension(path.rsplit('/').next().unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(files: &[(&str, u64)]) -> Vec<Vec<String>> {
        let items: Vec<Item<'_>> = files.iter().map(|(path, bytes)| Item { path, bytes: *bytes }).collect();
        let names = |group: Vec<usize>| group.into_iter().map(|index| files[index].0.to_owned()).collect();
        group(&items).into_iter().map(names).collect()
    }

    #[test]
    fn small_files_share_and_large_ones_do_not() {
        let found = groups(&[("z.js", 10), ("a.exe", 5 << 20), ("lib/b.js", 10), ("a.css", 10), ("noext", 1)]);
        assert_eq!(found, [vec!["noext", "a.css", "lib/b.js", "z.js"], vec!["a.exe"]]);
    }

    #[test]
    fn groups_are_bounded_and_busy_extensions_apart() {
        let names: Vec<String> = (0..10).map(|n| format!("f{n}.dll")).collect();
        let mut files: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 900 << 10)).collect();
        files.push(("a.txt", 10));
        let found = groups(&files);
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 2, 1]);
        let tiny: Vec<(&str, u64)> = names.iter().cycle().take(200).map(|name| (name.as_str(), 1)).collect();
        assert_eq!(groups(&tiny).iter().map(Vec::len).collect::<Vec<_>>(), [96, 96, 8]);
    }
}
