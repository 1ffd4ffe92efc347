//! The handover: what an app that ends leaves to the patcher that finishes its update.
//!
//! # Specification
//!
//! A text document ([`super::document`]) of type `lamplighter-handover,1` in the state directory, not signed. It carries no
//! authority: what is installed is decided by the signed release in staging. It makes sure that a patcher does what this app
//! asked for, and nothing that its command line was made to say by somebody else.
//!
//! | record | meaning |
//! | --- | --- |
//! | `build,<n>` | the release to be committed |
//! | `key,<token>` | its staging directory, `staging/<key>` in the state directory |
//! | `pid,<n>` | process of the app |
//! | `started,<text>` | when that process began, as the system tells it; tells a later process of the same number apart; optional |
//! | `tree,<blake3>,<text>` | BLAKE3 of the tree's path as the system holds it, and the path for people |
//! | `arguments,<n>,<blake3>` | number and digest of the arguments the new version is started with |
//!
//! The digest of arguments is BLAKE3 over each argument as its length in bytes (8 bytes, little endian) and its bytes as the
//! system holds them (on Windows: WTF-8).
//!
//! # Changelog
//!
//! * 1: first.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::digest::Blake3;
use super::document::{Body, BodyWriter, DocumentError};
use super::text::is_token;

/// First cell of the first line.
pub const TYPE: &str = "lamplighter-handover";

/// The document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handover {
    /// The release to be committed.
    pub build: u64,
    /// Key of its staging directory.
    pub key: String,
    /// Process of the app.
    pub pid: u32,
    /// When that process began, as the system tells it.
    pub started: Option<String>,
    /// BLAKE3 of the tree's path.
    pub tree: Blake3,
    /// The tree's path, for people.
    pub tree_text: String,
    /// Number of arguments.
    pub argument_count: u64,
    /// Their digest.
    pub arguments: Blake3,
}

impl Handover {
    /// Parses the document.
    ///
    /// # Errors
    /// Any rule of the specification broken.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let body = Body::parse(bytes, TYPE, &["build", "key", "pid", "started", "tree", "arguments"], &[])?;
        let digest = |record: &super::document::Record, cell| record.parse(cell, "a BLAKE3", |text| text.parse().ok());
        let (tree, arguments) = (body.one("tree")?, body.one("arguments")?);
        Ok(Self {
            build: body.one("build")?.number(0)?,
            key: body.one("key")?.word(0, "a staging key", is_token)?,
            pid: body.one("pid")?.parse(0, "a process number", |text| text.parse().ok())?,
            started: body.optional("started").map(|record| record.text(0).to_owned()),
            tree: digest(tree, 0)?,
            tree_text: tree.text(1).to_owned(),
            argument_count: arguments.number(0)?,
            arguments: digest(arguments, 1)?,
        })
    }

    /// The document's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = BodyWriter::new(TYPE);
        out.push(&["build", &self.build.to_string()]).push(&["key", &self.key]);
        out.push(&["pid", &self.pid.to_string()]);
        if let Some(started) = &self.started {
            out.push(&["started", started]);
        }
        out.push(&["tree", &self.tree.to_string(), &self.tree_text]);
        out.push(&["arguments", &self.argument_count.to_string(), &self.arguments.to_string()]);
        out.finish()
    }
}

/// Digest of a path, as the document holds it.
pub fn path_digest(path: &Path) -> Blake3 {
    Blake3::of(path.as_os_str().as_encoded_bytes())
}

/// A path for people: without control characters, so that it fits into a record.
pub fn path_text(path: &Path) -> String {
    path.to_string_lossy().chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Digest of arguments, as the document holds it.
pub fn arguments_digest(arguments: &[OsString]) -> Blake3 {
    let mut bytes = Vec::new();
    for argument in arguments {
        let argument: &OsStr = argument;
        bytes.extend((argument.len() as u64).to_le_bytes());
        bytes.extend(argument.as_encoded_bytes());
    }
    Blake3::of(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_read_back() {
        let path = Path::new("/opt/an app, with a comma");
        let arguments = [OsString::from("--open"), OsString::from("a \"b\"\n%PATH%")];
        let handover = Handover {
            build: 7,
            key: "0123abcd".into(),
            pid: 4711,
            started: Some("123456".into()),
            tree: path_digest(path),
            tree_text: path_text(path),
            argument_count: 2,
            arguments: arguments_digest(&arguments),
        };
        assert_eq!(Handover::parse(&handover.to_bytes()), Ok(handover.clone()));
        let without = Handover { started: None, ..handover };
        assert_eq!(Handover::parse(&without.to_bytes()), Ok(without));
    }

    #[test]
    fn where_one_argument_ends_counts() {
        let digest = |arguments: &[&str]| arguments_digest(&arguments.iter().map(OsString::from).collect::<Vec<_>>());
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
        assert_ne!(digest(&[]), digest(&[""]));
        assert_eq!(path_text(Path::new("/a\nb")), "/a?b");
    }
}
