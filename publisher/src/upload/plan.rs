//! What has to be sent, in which order, and what must be looked at first: a pure function of two listings.

use std::collections::{BTreeMap, BTreeSet};

use lamplighter_client::format::layout;
use lamplighter_client::format::text::number;

use crate::delivery::FileKind;

/// Names and lengths.
pub type Listing = BTreeMap<String, u64>;

/// One file to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its name.
    pub name: String,
    /// Its length.
    pub length: u64,
    /// Its kind.
    pub kind: FileKind,
    /// It replaces what an upload that did not come to its end has left.
    pub replaces: bool,
}

/// What has to be sent to a place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order of sending; heads come after all of it.
    pub items: Vec<Item>,
    /// Files that are there with the right length, and whose bytes have to be compared: nothing that is published says yet
    /// that they are the right ones.
    pub compare: Vec<String>,
    /// Channels whose head lies in the local site.
    pub channels: Vec<String>,
    /// Files that are there already.
    pub present_files: u64,
    /// Their bytes.
    pub present_bytes: u64,
    /// Local files of releases that are not signed; they stay behind.
    pub unsigned: Vec<String>,
}

impl Plan {
    /// Bytes to be sent, without heads.
    pub fn bytes(&self) -> u64 {
        self.items.iter().map(|item| item.length).sum()
    }
}

/// An immutable file that is there with another length.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: expected {local_bytes} bytes as in the local site, found {remote_bytes}{}",
    if *unfinished { " of a release that was never finished" } else { "" })]
pub struct Conflict {
    /// Its name.
    pub name: String,
    /// Length in the local site.
    pub local_bytes: u64,
    /// Length at the other place.
    pub remote_bytes: u64,
    /// No signed release names it there: what an upload left that did not come to its end, or the work of another publisher.
    pub unfinished: bool,
}

/// Plans how `local` gets to a place that holds `remote`.
///
/// `moving` are releases that heads about to move name. With `replace_unfinished`, documents of a release that is not there
/// yet are replaced.
///
/// # Errors
/// Immutable files of another length, all of them.
pub fn plan(
    local: &Listing,
    remote: &Listing,
    moving: &BTreeSet<String>,
    replace_unfinished: bool,
) -> Result<Plan, Vec<Conflict>> {
    let mut plan = Plan::default();
    let mut conflicts = Vec::new();
    for (name, length) in local {
        let Some(kind) = FileKind::of(name) else { continue };
        let release = release_of(name);
        if release.as_ref().is_some_and(|release| !local.contains_key(release)) {
            plan.unsigned.push(name.clone());
            continue;
        }
        if let (FileKind::Head, Some(channel)) = (kind, channel_of(name)) {
            plan.channels.push(channel.to_owned());
            continue;
        }
        let item = |replaces| Item { name: name.clone(), length: *length, kind, replaces };
        // No published release names it there.
        let unfinished = kind == FileKind::Document && release.is_some_and(|release| !remote.contains_key(&release));
        match remote.get(name) {
            _ if matches!(kind, FileKind::Page | FileKind::ShardNote) => plan.items.push(item(true)),
            None => plan.items.push(item(false)),
            Some(_) if unfinished && replace_unfinished => plan.items.push(item(true)),
            Some(found) if found == length => {
                plan.present_files += 1;
                plan.present_bytes += length;
                if unfinished || kind == FileKind::Root || moving.contains(name) {
                    plan.compare.push(name.clone());
                }
            }
            Some(found) => {
                let (local_bytes, remote_bytes) = (*length, *found);
                conflicts.push(Conflict { name: name.clone(), local_bytes, remote_bytes, unfinished });
            }
        }
    }
    plan.items.sort_by(|a, b| (a.kind, root_version(&a.name), &a.name).cmp(&(b.kind, root_version(&b.name), &b.name)));
    if conflicts.is_empty() { Ok(plan) } else { Err(conflicts) }
}

/// The newest version of a root that a listing has and none below is missing; 0 where there is no first.
pub fn newest_root(listing: &Listing) -> u64 {
    (1..).take_while(|version| listing.contains_key(&layout::root(*version))).last().unwrap_or(0)
}

/// The signed release that a document of a release belongs to.
fn release_of(name: &str) -> Option<String> {
    let parts: Vec<&str> = name.split('/').collect();
    match parts[..] {
        ["releases", build, platform, _] => Some(layout::release(number(build)?, platform)),
        _ => None,
    }
}

fn channel_of(name: &str) -> Option<&str> {
    name.strip_prefix("channels/")?.strip_suffix(".head")
}

/// Roots appear in order: a client walks them until one is missing.
fn root_version(name: &str) -> u64 {
    name.strip_prefix("root/").and_then(|n| n.strip_suffix(".root")).and_then(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OBJECT: &str = "objects/ab/ab00000000000000000000000000000000000000000000000000000000000000";

    fn listing(files: &[(&str, u64)]) -> Listing {
        files.iter().map(|(name, length)| ((*name).to_owned(), *length)).collect()
    }

    fn site() -> Listing {
        listing(&[
            (OBJECT, 10),
            ("channels/stable.head", 5),
            ("index.html", 7),
            ("releases/1/any/manifest.csv", 4),
            ("releases/1/any/objects.csv", 4),
            ("releases/1/any/release", 6),
            ("root/1.root", 3),
            ("root/10.root", 3),
            ("root/2.root", 3),
        ])
    }

    fn plan_to(remote: &Listing) -> Result<Plan, Vec<Conflict>> {
        plan(&site(), remote, &BTreeSet::new(), false)
    }

    #[test]
    fn everything_goes_in_the_order_in_which_it_may_appear() {
        let planned = plan_to(&Listing::new()).expect("a plan");
        let names: Vec<&str> = planned.items.iter().map(|item| item.name.as_str()).collect();
        let expected = [
            OBJECT,
            "releases/1/any/manifest.csv",
            "releases/1/any/objects.csv",
            "releases/1/any/release",
            "root/1.root",
            "root/2.root",
            "root/10.root",
            "index.html",
        ];
        assert_eq!((names, planned.channels, planned.present_files), (expected.to_vec(), vec!["stable".to_owned()], 0));
    }

    #[test]
    fn what_is_there_is_not_sent_again() {
        let planned = plan_to(&site()).expect("a plan");
        assert_eq!(planned.items.iter().map(|item| item.name.as_str()).collect::<Vec<_>>(), ["index.html"]);
        assert_eq!((planned.present_files, planned.present_bytes), (7, 33));
        assert_eq!(planned.compare, ["root/1.root", "root/10.root", "root/2.root"]);
    }

    #[test]
    fn another_length_is_a_conflict_that_names_the_file() {
        let mut remote = site();
        remote.insert(OBJECT.to_owned(), 9);
        let conflicts = plan_to(&remote).expect_err("a conflict");
        assert_eq!(conflicts.len(), 1);
        assert!(conflicts[0].to_string().contains(OBJECT) && conflicts[0].to_string().contains("found 9"));
    }

    #[test]
    fn documents_of_a_release_that_is_not_there_are_compared_and_replaced_only_if_asked() {
        let mut remote = site();
        remote.remove("releases/1/any/release");
        let planned = plan_to(&remote).expect("the same lengths");
        assert!(planned.compare.contains(&"releases/1/any/manifest.csv".to_owned()));
        remote.insert("releases/1/any/manifest.csv".to_owned(), 5);
        assert!(plan_to(&remote).expect_err("another length")[0].unfinished);
        let planned = plan(&site(), &remote, &BTreeSet::new(), true).expect("a plan");
        let replaced: Vec<_> = planned.items.iter().filter(|i| i.replaces).map(|i| i.name.as_str()).collect();
        assert_eq!(replaced, ["releases/1/any/manifest.csv", "releases/1/any/objects.csv", "index.html"]);
    }

    #[test]
    fn only_what_is_of_a_site_is_sent() {
        let mut local = site();
        for name in [".publisher/lock", ".publisher/tmp/x", "objects/ab/.tmp", "notes.txt", "channels/x.head~"] {
            local.insert(name.to_owned(), 1);
        }
        local.insert("releases/2/any/manifest.csv".to_owned(), 1);
        let planned = plan(&local, &Listing::new(), &BTreeSet::new(), false).expect("a plan");
        assert_eq!(planned.items.len(), 8);
        assert_eq!(planned.unsigned, ["releases/2/any/manifest.csv"]);
    }

    #[test]
    fn roots_count_up_to_the_first_gap() {
        assert_eq!((newest_root(&site()), newest_root(&Listing::new())), (2, 0));
    }

    proptest! {
        /// Whatever part has arrived before: what is left completes it, and nothing is sent twice.
        #[test]
        fn any_part_is_completed(there in proptest::collection::vec(any::<bool>(), 9)) {
            let remote: Listing =
                site().into_iter().zip(there).filter(|(_, there)| *there).map(|(file, _)| file).collect();
            let planned = plan_to(&remote).expect("nothing differs");
            let mut after = remote.clone();
            for item in &planned.items {
                prop_assert!(item.kind == FileKind::Page || !remote.contains_key(&item.name));
                after.insert(item.name.clone(), item.length);
            }
            after.insert("channels/stable.head".to_owned(), 5);
            prop_assert_eq!(after, site());
            prop_assert!(planned.items.is_sorted_by_key(|item| item.kind));
        }
    }
}
