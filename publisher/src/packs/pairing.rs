//! Which old files a new file is made from: a pure function of the two manifests.
//!
//! A file that is at its path in the base release is made from that. An added file is made from an old one with a
//! similar name, since real releases rename files and change them at once (`core-4.0.4.jar`, `main.8d7f3a2c.js`); else
//! from one with the same extension and about the same size. Among several the choice goes to one that is gone from
//! the target release, that lies in the most similar directory, that has the nearest size, that comes first.

use std::collections::HashMap;

use lamplighter_client::format::manifest::{Manifest, Row};

use super::edits::Needed;

/// Of files with one key so many are weighed against each other.
const CANDIDATES_MAX: usize = 256;
/// A file found by its extension alone is used up to this size, in bytes.
const STRANGER_BYTES_MAX: u64 = 64 << 20;

/// For each needed row the base row to make it from, if there is one.
pub fn pair(base: &Manifest, target: &Manifest, needed: &[Needed]) -> Vec<Option<usize>> {
    if needed.iter().all(|needed| needed.base_row.is_some()) {
        return needed.iter().map(|needed| needed.base_row).collect();
    }
    let names = Index::new(base, |row| name_key(row.path.file_name()));
    let extensions = Index::new(base, |row| extension(row.path.file_name()).to_lowercase());
    let find = |needed: &Needed| {
        let row = &target.rows()[needed.row];
        needed.base_row.or_else(|| names.best(base, target, row, |_| true)).or_else(|| {
            extensions.best(base, target, row, |old| {
                let (small, large) = minmax(old.digest.size, row.digest.size);
                large <= STRANGER_BYTES_MAX && large / 4 <= small
            })
        })
    };
    needed.iter().map(find).collect()
}

/// Base files by a key of their names.
struct Index<K> {
    key: K,
    rows: HashMap<String, Vec<usize>>,
}

impl<K: Fn(&Row) -> String> Index<K> {
    fn new(base: &Manifest, key: K) -> Self {
        let mut rows: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, row) in base.rows().iter().enumerate().filter(|(_, row)| row.is_file() && row.digest.size > 0) {
            rows.entry(key(row)).or_default().push(index);
        }
        Self { key, rows }
    }

    fn best(&self, base: &Manifest, target: &Manifest, row: &Row, fits: impl Fn(&Row) -> bool) -> Option<usize> {
        let all = self.rows.get(&(self.key)(row))?;
        // Neighbours in the order of paths are the likeliest.
        let here = all.partition_point(|index| base.rows()[*index].path < row.path);
        let start = here.saturating_sub(CANDIDATES_MAX / 2);
        let near = &all[start..all.len().min(start + CANDIDATES_MAX)];
        let rank = |index: &usize| {
            let old = &base.rows()[*index];
            let stays = target.find(&old.path).is_some();
            let distance = usize::MAX - common_directories(old, row);
            (stays, distance, old.digest.size.abs_diff(row.digest.size), *index)
        };
        near.iter().filter(|index| fits(&base.rows()[**index])).min_by_key(|index| rank(index)).copied()
    }
}

/// A file name without what changes from release to release: digits, and parts that look like a hash.
fn name_key(name: &str) -> String {
    let mut key = String::new();
    for part in name.split_inclusive(['.', '-', '_']) {
        let word = part.trim_end_matches(['.', '-', '_']);
        let hash = word.len() >= 6
            && word.bytes().all(|byte| byte.is_ascii_hexdigit())
            && word.bytes().any(|byte| byte.is_ascii_digit());
        if !hash {
            key.extend(part.chars().filter(|c| !c.is_ascii_digit()).flat_map(char::to_lowercase));
        }
    }
    key
}

/// The part of a name behind its last dot; empty where there is none.
pub(super) fn extension(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(_, extension)| extension)
}

/// How many directories two paths have in common from the root and from the file, digits apart.
fn common_directories(a: &Row, b: &Row) -> usize {
    let directories = |row: &Row| -> Vec<String> {
        let mut parts: Vec<String> = row.path.components().map(name_key).collect();
        parts.pop();
        parts
    };
    let (a, b) = (directories(a), directories(b));
    let front = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let back = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
    front + back
}

fn minmax(a: u64, b: u64) -> (u64, u64) {
    (a.min(b), a.max(b))
}

#[cfg(test)]
mod tests {
    use lamplighter_client::format::digest::ContentDigest;
    use lamplighter_client::format::manifest::{Kind, Policy};
    use lamplighter_client::format::path::RelPath;

    use super::super::edits::compare;
    use super::*;

    fn manifest(files: &[(&str, usize)]) -> Manifest {
        let row = |(index, (path, size)): (usize, &(&str, usize))| Row {
            path: RelPath::parse(path).expect("a path"),
            digest: ContentDigest::of(&vec![index as u8 + 1; *size]),
            kind: Kind::File { executable: false },
            policy: Policy::Managed,
        };
        Manifest::new(files.iter().enumerate().map(row).collect()).expect("a manifest")
    }

    fn paired(base: &[(&str, usize)], target: &[(&str, usize)]) -> Vec<(String, String)> {
        let (base, target) = (manifest(base), manifest(target));
        let needed = compare(&base, &target).needed;
        let pairs = pair(&base, &target, &needed);
        let name = |row: &Row| row.path.as_str().to_owned();
        needed
            .iter()
            .zip(pairs)
            .filter_map(|(needed, old)| Some((name(&target.rows()[needed.row]), name(&base.rows()[old?]))))
            .collect()
    }

    fn one(base: &[(&str, usize)], added: (&str, usize)) -> Option<String> {
        let found = paired(base, &[added]);
        found.into_iter().find(|(new, _)| new == added.0).map(|(_, old)| old)
    }

    #[test]
    fn the_same_path_wins() {
        assert_eq!(one(&[("a/x.dll", 9), ("b/x.dll", 10)], ("b/x.dll", 8)).as_deref(), Some("b/x.dll"));
    }

    #[test]
    fn versions_and_hashes_in_names_do_not_matter() {
        let base = [("jars/core_2.13-4.0.4.jar", 10), ("jars/core-ui.jar", 50), ("js/main.8d7f3a2c.js", 10)];
        assert_eq!(one(&base, ("jars/core_2.13-4.0.5.jar", 50)).as_deref(), Some("jars/core_2.13-4.0.4.jar"));
        assert_eq!(one(&base, ("js/main.00ffee11.js", 20)).as_deref(), Some("js/main.8d7f3a2c.js"));
        assert_eq!(
            one(&[("v1.2/lib/a.so", 9), ("v1.2/bin/a.so", 9)], ("v1.3/lib/a.so", 8)).as_deref(),
            Some("v1.2/lib/a.so")
        );
    }

    #[test]
    fn strangers_must_be_alike_in_size() {
        assert_eq!(one(&[("a.dll", 100), ("b.dll", 1000)], ("c.dll", 900)).as_deref(), Some("b.dll"));
        assert_eq!(one(&[("a.dll", 100)], ("c.dll", 900)), None);
        assert_eq!(one(&[("a.png", 100)], ("c.dll", 100)), None);
    }

    #[test]
    fn files_that_are_gone_come_first() {
        let base = [("a/part1.bin", 10), ("a/part2.bin", 12)];
        let target = [("a/part1.bin", 11), ("a/part3.bin", 10)];
        assert!(paired(&base, &target).contains(&("a/part3.bin".into(), "a/part2.bin".into())));
    }
}
