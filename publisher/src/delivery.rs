//! The files of a site as servers and buckets deliver them: what kind each is, when it may appear, how long it may be kept.
//!
//! | kind | names | cache | appears |
//! | --- | --- | --- | --- |
//! | content | `objects/…`, `packs/…` | immutable | first |
//! | shard note | `shards/…`, for publishers alone | no-cache | after all content |
//! | document | `manifest.csv`, `objects.csv`, `notes.*.md` of a release | immutable | after all content |
//! | release | `releases/<build>/<platform>/release` | immutable | after all documents |
//! | root | `root/<version>.root` | immutable | after all releases, in order |
//! | page | `index.html` | no-cache | after all roots |
//! | head | `channels/<channel>.head` | no-cache | last |

use lamplighter_client::format::release::is_language;
use lamplighter_client::format::text::{is_token, number};

use crate::build_release::shard;

/// Cache header of what never changes under its name.
pub const IMMUTABLE: &str = "public, max-age=31536000, immutable";
/// Cache header of what is to be asked for again each time.
pub const MUTABLE: &str = "no-cache";
const PAGE: &str = "index.html";
const DIGEST_DIGITS: usize = 64;

/// Kinds of files in the order in which they may appear: what names another comes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// An object or a pack, named by its own digest.
    Content,
    /// What a machine that makes a share of the packs says of them to the one that collects.
    ShardNote,
    /// What a signed release names, beside content.
    Document,
    /// A signed release.
    Release,
    /// A root.
    Root,
    /// The page for people.
    Page,
    /// The head of a channel.
    Head,
}

impl FileKind {
    /// The kind of the file `name`, or none if no site has a file of that name.
    pub fn of(name: &str) -> Option<Self> {
        let parts: Vec<&str> = name.split('/').collect();
        match parts[..] {
            [PAGE] => Some(FileKind::Page),
            ["root", file] => file.strip_suffix(".root").and_then(number).map(|_| FileKind::Root),
            ["channels", file] => file.strip_suffix(".head").filter(|c| is_token(c)).map(|_| FileKind::Head),
            ["objects" | "packs", fan, digest] => {
                (is_digest(digest) && digest.get(..2) == Some(fan)).then_some(FileKind::Content)
            }
            ["releases", build, platform, file] if number(build).is_some() && is_token(platform) => in_release(file),
            ["shards", ..] => shard::is_note(name).then_some(FileKind::ShardNote),
            _ => None,
        }
    }

    /// Whether a published file of this kind never changes.
    pub fn is_immutable(self) -> bool {
        !matches!(self, FileKind::ShardNote | FileKind::Page | FileKind::Head)
    }

    /// What a cache may do with it.
    pub fn cache_control(self) -> &'static str {
        if self.is_immutable() { IMMUTABLE } else { MUTABLE }
    }
}

fn in_release(file: &str) -> Option<FileKind> {
    let is_notes = |file: &str| {
        let language = file.strip_prefix("notes.").and_then(|rest| rest.strip_suffix(".md"));
        language.is_some_and(is_language)
    };
    match file {
        "release" => Some(FileKind::Release),
        "manifest.csv" | "objects.csv" => Some(FileKind::Document),
        file if is_notes(file) => Some(FileKind::Document),
        _ => None,
    }
}

fn is_digest(text: &str) -> bool {
    text.len() == DIGEST_DIGITS && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// What a cache may do with whatever has this name.
pub fn cache_control(name: &str) -> &'static str {
    let immutable = ["root/", "releases/", "objects/", "packs/"];
    if immutable.iter().any(|prefix| name.starts_with(prefix)) { IMMUTABLE } else { MUTABLE }
}

/// The media type of the file `name`.
pub fn content_type(name: &str) -> &'static str {
    let suffix = name.rsplit_once('.').map_or("", |(_, suffix)| suffix);
    match suffix {
        "html" => "text/html; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "md" => "text/markdown; charset=utf-8",
        "head" | "root" => "text/plain; charset=utf-8",
        _ if name.ends_with("/release") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamplighter_client::format::digest::Blake3;
    use lamplighter_client::format::layout;

    #[test]
    fn every_name_of_the_layout_has_its_kind() {
        let digest = Blake3::of(b"x");
        let names = [
            (layout::object(&digest), FileKind::Content),
            (layout::pack(&digest), FileKind::Content),
            ("shards/7/any/1-of-2".to_owned(), FileKind::ShardNote),
            (layout::manifest(7, "any"), FileKind::Document),
            (layout::objects(7, "any"), FileKind::Document),
            (layout::notes(7, "any", "pt-br"), FileKind::Document),
            (layout::release(7, "any"), FileKind::Release),
            (layout::root(3), FileKind::Root),
            ("index.html".to_owned(), FileKind::Page),
            (layout::head("stable"), FileKind::Head),
        ];
        for (name, kind) in &names {
            assert_eq!(FileKind::of(name), Some(*kind), "{name}");
            assert_eq!(cache_control(name), kind.cache_control(), "{name}");
        }
        assert!(names.is_sorted_by_key(|(_, kind)| *kind), "what names another comes after it");
    }

    #[test]
    fn what_is_not_of_a_site_has_no_kind() {
        let digest = Blake3::of(b"x").to_string();
        for name in [
            ".publisher/lock",
            "objects/af/short",
            "objects/zz/0000000000000000000000000000000000000000000000000000000000000000",
            "channels/stable.head#1",
            "channels/Stable.head",
            "root/x.root",
            "releases/7/any/release.tmp",
            "releases/7/any/notes.md",
            "releases/07/any/release",
            "index.html~",
            "",
        ] {
            assert_eq!(FileKind::of(name), None, "{name}");
        }
        assert_eq!(FileKind::of(&format!("objects/00/{digest}")), None);
    }
}
