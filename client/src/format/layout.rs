//! Every name in a site, built here and nowhere else.
//!
//! # Specification
//!
//! ```text
//! root/<version>.root                          trust chain, contiguous from 1, immutable
//! channels/<channel>.head                      the only mutable file
//! releases/<build>/<platform>/release          signed, immutable
//! releases/<build>/<platform>/manifest.csv     immutable
//! releases/<build>/<platform>/objects.csv      immutable
//! releases/<build>/<platform>/notes.<lang>.md  immutable
//! objects/<ab>/<blake3>                        immutable, named by the BLAKE3 of its stored bytes
//! packs/<ab>/<blake3>                          immutable, named by the BLAKE3 of its header
//! index.html                                   for people; never read by the client
//! ```
//!
//! `<ab>` are the first two digits of the digest. All names are lowercase ASCII, so they are safe on stores that ignore
//! case; there are no query strings and no directory listings.
//!
//! # Changelog
//!
//! * 1: first.

use super::digest::Blake3;
use super::text::is_token;

/// Name of version `version` of the root document.
pub fn root(version: u64) -> String {
    format!("root/{version}.root")
}

/// Name of the head of `channel`.
pub fn head(channel: &str) -> String {
    debug_assert!(is_token(channel));
    format!("channels/{channel}.head")
}

/// Directory of one release.
pub fn release_dir(build: u64, platform: &str) -> String {
    debug_assert!(is_token(platform));
    format!("releases/{build}/{platform}")
}

/// Name of a signed release.
pub fn release(build: u64, platform: &str) -> String {
    format!("{}/release", release_dir(build, platform))
}

/// Name of a release's manifest.
pub fn manifest(build: u64, platform: &str) -> String {
    format!("{}/manifest.csv", release_dir(build, platform))
}

/// Name of a release's objects index.
pub fn objects(build: u64, platform: &str) -> String {
    format!("{}/objects.csv", release_dir(build, platform))
}

/// Name of a release's notes in `language`.
pub fn notes(build: u64, platform: &str, language: &str) -> String {
    format!("{}/notes.{language}.md", release_dir(build, platform))
}

/// Name of an object.
pub fn object(digest: &Blake3) -> String {
    hashed("objects", digest)
}

/// Name of a pack, from the BLAKE3 of its header.
pub fn pack(header: &Blake3) -> String {
    hashed("packs", header)
}

fn hashed(kind: &str, digest: &Blake3) -> String {
    let hex = digest.to_string();
    format!("{kind}/{}/{hex}", &hex[..2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let digest = Blake3::of(b"");
        assert_eq!(root(3), "root/3.root");
        assert_eq!(head("stable"), "channels/stable.head");
        assert_eq!(notes(7, "any", "en"), "releases/7/any/notes.en.md");
        assert_eq!(object(&digest), format!("objects/af/{digest}"));
        assert_eq!(pack(&digest), format!("packs/af/{digest}"));
    }
}
