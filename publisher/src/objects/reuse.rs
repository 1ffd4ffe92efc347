//! Which content stays in the objects that earlier releases put it into: pure, but for asking whether they are there.
//!
//! Content that an earlier release stored is left where it lies, unread, as long as that costs a first install little.
//! An object some of whose content is no longer in the release is dead weight for whoever fetches it, so an object is
//! kept only while
//!
//! 1. the release still uses three fourths of its raw bytes;
//! 2. all kept objects together hold no more unused bytes than a twentieth of the release's content (else the emptiest
//!    are given up first);
//! 3. no more than eight kept objects are fragments of less than 256 KiB of raw bytes, which each release adds one of
//!    for its changed files (else all fragments are given up, and their content is grouped anew).
//!
//! Content of an object that is given up counts as new. Content that lies in several objects is kept whole or not at
//! all. Where several earlier releases have content, the first of them in the caller's order decides.

use std::collections::{HashMap, HashSet};

use lamplighter_client::format::digest::Blake3;
use lamplighter_client::format::objects::StoredObject;

use super::{Placed, Prior};

const FRAGMENT_RAW_BYTES: u64 = 256 << 10;
const FRAGMENTS_MAX: usize = 8;

/// A kept object's unused bytes are at most a fourth of it.
const UNUSED_PART_OF_OBJECT: u64 = 4;

/// All unused bytes are at most a twentieth of the release's.
const UNUSED_PART_OF_RELEASE: u64 = 20;

/// Distinct content of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Content {
    /// First manifest row that has it.
    pub(super) row: usize,
    pub(super) blake3: Blake3,
    /// Bytes, at least one.
    pub(super) size: u64,
}

/// For each of `contents` where it stays; none where it must be stored.
///
/// `exists` says whether the site has an object; one it lacks is not used.
pub(super) fn keep(
    contents: &[Content],
    priors: &[Prior<'_>],
    exists: impl Fn(&StoredObject) -> bool,
) -> Vec<Option<Vec<Placed>>> {
    let objects = Objects::of(priors, exists);
    let wanted: HashMap<Blake3, usize> = contents.iter().enumerate().map(|(index, c)| (c.blake3, index)).collect();
    let mut kept: Vec<Option<Vec<Placed>>> = vec![None; contents.len()];
    for prior in priors {
        offer(&mut kept, &wanted, contents, prior, &objects);
        give_up(&mut kept, |usage| usage.is_mostly_unused());
    }
    let content_bytes = contents.iter().map(|c| c.size).sum();
    settle(&mut kept, content_bytes);
    kept
}

/// What the site has of the objects that earlier releases name.
struct Objects(HashMap<Blake3, StoredObject>);

impl Objects {
    fn of(priors: &[Prior<'_>], exists: impl Fn(&StoredObject) -> bool) -> Self {
        let mut objects = HashMap::new();
        let mut seen = HashSet::new();
        for object in priors.iter().flat_map(|p| p.index.objects()) {
            if seen.insert(object.blake3) && exists(object) {
                objects.insert(object.blake3, *object);
            }
        }
        Self(objects)
    }

    fn has(&self, object: &StoredObject) -> bool {
        self.0.get(&object.blake3) == Some(object)
    }
}

/// Places content that lies nowhere yet where `prior` has it.
fn offer(
    kept: &mut [Option<Vec<Placed>>],
    wanted: &HashMap<Blake3, usize>,
    contents: &[Content],
    prior: &Prior<'_>,
    objects: &Objects,
) {
    for (row, listed) in prior.manifest.rows().iter().enumerate().filter(|(_, row)| row.is_file()) {
        let Some(&index) = wanted.get(&listed.digest.blake3) else { continue };
        if kept[index].is_some() || listed.digest.size != contents[index].size {
            continue;
        }
        let pieces = prior.index.pieces(row).iter();
        let placed: Vec<Placed> = pieces
            .map(|p| Placed { object: prior.index.objects()[p.object], offset: p.offset, length: p.length })
            .collect();
        let whole = placed.iter().map(|p| p.length).sum::<u64>() == listed.digest.size;
        if whole && placed.iter().all(|p| objects.has(&p.object)) {
            kept[index] = Some(placed);
        }
    }
}

/// How much of an object the release uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Usage {
    object: StoredObject,
    used_bytes: u64,
}

impl Usage {
    fn unused_bytes(&self) -> u64 {
        self.object.raw_length - self.used_bytes
    }

    fn is_mostly_unused(&self) -> bool {
        self.unused_bytes() * UNUSED_PART_OF_OBJECT > self.object.raw_length
    }

    fn is_fragment(&self) -> bool {
        self.object.raw_length < FRAGMENT_RAW_BYTES
    }

    /// Unused bytes in a million, rounded down.
    fn unused_share(&self) -> u64 {
        self.unused_bytes() * 1_000_000 / self.object.raw_length
    }
}

/// The usage of every object in `kept`, in order of their names.
fn usages(kept: &[Option<Vec<Placed>>]) -> Vec<Usage> {
    let mut runs: Vec<&Placed> = kept.iter().flatten().flatten().collect();
    runs.sort_unstable_by_key(|p| (p.object.blake3, p.offset, p.length));
    let used = |runs: &[&Placed]| {
        let mut end = 0;
        runs.iter().fold(0, |used, run| {
            let from = run.offset.max(end);
            end = end.max(run.offset + run.length);
            used + end.saturating_sub(from)
        })
    };
    runs.chunk_by(|a, b| a.object.blake3 == b.object.blake3)
        .map(|runs| Usage { object: runs[0].object, used_bytes: used(runs) })
        .collect()
}

/// Gives up objects that `condition` is true for until there are none.
fn give_up(kept: &mut [Option<Vec<Placed>>], condition: impl Fn(&Usage) -> bool) {
    loop {
        let given_up: HashSet<Blake3> =
            usages(kept).into_iter().filter(|u| condition(u)).map(|u| u.object.blake3).collect();
        if given_up.is_empty() {
            return;
        }
        drop_objects(kept, &given_up);
    }
}

fn drop_objects(kept: &mut [Option<Vec<Placed>>], given_up: &HashSet<Blake3>) {
    for placed in kept {
        placed.take_if(|placed| placed.iter().any(|p| given_up.contains(&p.object.blake3)));
    }
}

/// Enforces the bounds on all kept objects together.
fn settle(kept: &mut [Option<Vec<Placed>>], content_bytes: u64) {
    loop {
        let usages = usages(kept);
        let mut given_up = emptiest(&usages, content_bytes / UNUSED_PART_OF_RELEASE);
        let fragments = usages.iter().filter(|u| u.is_fragment());
        if fragments.clone().count() > FRAGMENTS_MAX {
            given_up.extend(fragments.map(|u| u.object.blake3));
        }
        if given_up.is_empty() {
            return;
        }
        drop_objects(kept, &given_up);
        give_up(kept, |usage| usage.is_mostly_unused());
    }
}

/// The objects with the highest share of unused bytes without which all others hold at most `allowed_bytes` of them.
fn emptiest(usages: &[Usage], allowed_bytes: u64) -> HashSet<Blake3> {
    let mut by_share: Vec<&Usage> = usages.iter().collect();
    by_share.sort_by_key(|u| (std::cmp::Reverse(u.unused_share()), u.object.blake3));
    let mut unused_bytes: u64 = usages.iter().map(Usage::unused_bytes).sum();
    let mut given_up = HashSet::new();
    for usage in by_share {
        if unused_bytes <= allowed_bytes {
            break;
        }
        unused_bytes -= usage.unused_bytes();
        given_up.insert(usage.object.blake3);
    }
    given_up
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamplighter_client::format::digest::ContentDigest;
    use lamplighter_client::format::manifest::{Kind, Manifest, Policy, Row};
    use lamplighter_client::format::objects::{ObjectsIndex, Piece};
    use lamplighter_client::format::path::RelPath;

    fn digest(name: &str, size: u64) -> ContentDigest {
        ContentDigest { size, ..ContentDigest::of(name.as_bytes()) }
    }

    fn object(name: &str, raw_length: u64) -> StoredObject {
        StoredObject { blake3: Blake3::of(name.as_bytes()), length: raw_length, raw_length }
    }

    /// A release of objects that hold the named contents, each of the given size, one after the other.
    fn release(objects: &[(&str, &[(&str, u64)])]) -> (Manifest, ObjectsIndex) {
        let mut rows = Vec::new();
        let mut placed = Vec::new();
        for (number, (_, contents)) in objects.iter().enumerate() {
            let mut offset = 0;
            for (name, size) in *contents {
                let path = RelPath::parse(&format!("{number:03}{name}")).expect("a legal path");
                let kind = Kind::File { executable: false };
                rows.push(Row { path, digest: digest(name, *size), kind, policy: Policy::Managed });
                placed.push(vec![Piece { object: number, offset, length: *size }]);
                offset += size;
            }
        }
        let listed = objects.iter().map(|(name, contents)| object(name, contents.iter().map(|c| c.1).sum())).collect();
        let manifest = Manifest::new(rows).expect("no conflicts");
        let index = ObjectsIndex::new(listed, &placed, &manifest).expect("a good index");
        (manifest, index)
    }

    fn wanted(contents: &[(&str, u64)]) -> Vec<Content> {
        let content = |(row, (name, size)): (usize, &(&str, u64))| {
            let digest = digest(name, *size);
            Content { row, blake3: digest.blake3, size: *size }
        };
        contents.iter().enumerate().map(content).collect()
    }

    /// For each content the object it is kept in.
    fn kept(contents: &[(&str, u64)], releases: &[&(Manifest, ObjectsIndex)], missing: &[&str]) -> Vec<Option<Blake3>> {
        let priors: Vec<Prior<'_>> = releases.iter().map(|(manifest, index)| Prior { manifest, index }).collect();
        let missing: Vec<Blake3> = missing.iter().map(|name| Blake3::of(name.as_bytes())).collect();
        let placed = keep(&wanted(contents), &priors, |object| !missing.contains(&object.blake3));
        placed.into_iter().map(|placed| placed.map(|placed| placed[0].object.blake3)).collect()
    }

    fn named(name: &str) -> Option<Blake3> {
        Some(Blake3::of(name.as_bytes()))
    }

    const KIB: u64 = 1 << 10;

    #[test]
    fn an_object_is_kept_while_three_fourths_of_it_are_used() {
        let old = release(&[("o", &[("a", 300 * KIB), ("b", 100 * KIB)]), ("p", &[("c", 4000 * KIB)])]);
        let rest = ("c", 4000 * KIB);
        assert_eq!(kept(&[("a", 300 * KIB), rest], &[&old], &[]), [named("o"), named("p")]);
        let old = release(&[("o", &[("a", 299 * KIB), ("b", 101 * KIB)]), ("p", &[("c", 4000 * KIB)])]);
        assert_eq!(kept(&[("a", 299 * KIB), rest], &[&old], &[]), [None, named("p")]);
    }

    #[test]
    fn all_kept_objects_hold_at_most_a_twentieth_of_unused_bytes() {
        let old = release(&[
            ("o", &[("a", 800 * KIB), ("x", 200 * KIB)]),
            ("p", &[("b", 900 * KIB), ("y", 100 * KIB)]),
            ("q", &[("c", 1000 * KIB)]),
        ]);
        let all = [("a", 800 * KIB), ("b", 900 * KIB), ("c", 1000 * KIB)];
        assert_eq!(kept(&all, &[&old], &[]), [None, named("p"), named("q")], "the emptiest goes, and that is enough");
    }

    #[test]
    fn more_than_eight_fragments_are_stored_anew() {
        let names: Vec<String> = (0..9).map(|n| n.to_string()).collect();
        let contents: Vec<[(&str, u64); 1]> = names.iter().map(|name| [(name.as_str(), 1000)]).collect();
        let objects: Vec<(&str, &[(&str, u64)])> =
            names.iter().zip(&contents).map(|(name, content)| (name.as_str(), &content[..])).collect();
        let wanted: Vec<(&str, u64)> = contents.concat();
        let (eight, nine) = (release(&objects[..8]), release(&objects));
        assert!(kept(&wanted[..8], &[&eight], &[]).iter().all(Option::is_some));
        assert!(kept(&wanted, &[&nine], &[]).iter().all(Option::is_none));
    }

    #[test]
    fn content_in_an_object_that_is_missing_or_of_another_size_is_stored_anew() {
        let old = release(&[("o", &[("a", 5)]), ("p", &[("b", 7)])]);
        assert_eq!(kept(&[("a", 5), ("b", 7)], &[&old], &["o"]), [None, named("p")]);
        assert_eq!(kept(&[("a", 6), ("b", 7)], &[&old], &[]), [None, named("p")]);
    }

    #[test]
    fn the_first_release_decides_and_later_ones_fill_in() {
        let newest = release(&[("o", &[("a", 400), ("x", 600)]), ("p", &[("b", 500)])]);
        let other = release(&[("q", &[("a", 400), ("c", 100)]), ("r", &[("b", 500)])]);
        let all = [("a", 400), ("b", 500), ("c", 100)];
        let expected = [named("q"), named("p"), named("q")];
        assert_eq!(kept(&all, &[&newest, &other], &[]), expected, "the newest keeps too little of o");
        assert_eq!(kept(&all, &[&other, &newest], &[]), [named("q"), named("r"), named("q")]);
        assert_eq!(kept(&all, &[], &[]), [None, None, None]);
    }

    #[test]
    fn content_over_several_objects_is_kept_whole_or_not_at_all() {
        let path = |name: &str| RelPath::parse(name).expect("a legal path");
        let row = |name: &str, size| Row {
            path: path(name),
            digest: digest(name, size),
            kind: Kind::File { executable: false },
            policy: Policy::Managed,
        };
        let manifest = Manifest::new(vec![row("a", 1100), row("b", 900)]).expect("no conflicts");
        let objects = vec![object("o", 1000), object("p", 1000)];
        let a = vec![Piece { object: 0, offset: 0, length: 1000 }, Piece { object: 1, offset: 0, length: 100 }];
        let b = vec![Piece { object: 1, offset: 100, length: 900 }];
        let index = ObjectsIndex::new(objects, &[a, b], &manifest).expect("a good index");
        let old = (manifest, index);
        assert_eq!(kept(&[("a", 1100), ("b", 900)], &[&old], &[]), [named("o"), named("p")]);
        assert_eq!(kept(&[("a", 1100)], &[&old], &[]), [None], "a tenth of p is too little");
        assert_eq!(kept(&[("b", 900)], &[&old], &["o"]), [None], "a tenth of p is more than a twentieth of all");
    }
}
