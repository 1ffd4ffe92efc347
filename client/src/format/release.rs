//! The signed record of one release on one platform.
//!
//! # Specification
//!
//! A signed document of type `lamplighter-release,1`, at most 1 MiB, signed by the release role.
//!
//! | record | meaning |
//! | --- | --- |
//! | `app,<id>` `platform,<token>` | what it belongs to |
//! | `build,<n>` `version,<text>` | number (total order, from 1) and display string |
//! | `issued,<time>` | when it was made |
//! | `minimum,<build>` | builds below it must be downloaded afresh; ≤ `build`; optional, 0 if left out |
//! | `entry,<path>` | what a launcher starts; optional |
//! | `patcher,<path>` | the program that finishes an update while the app is closed; optional |
//! | `minimum-os,<text>` | oldest system it runs on, for people and launchers; optional |
//! | `manifest,<length>,<blake3>` | what the tree is ([`super::manifest`]) |
//! | `objects,<length>,<blake3>` | where full content lies  |
//! | `notes,<language>,<length>,<blake3>` | release notes in Markdown; any number |
//! | `reads,pack,<n>` | newest pack format the client inside this release reads |
//! | `pack,<format>,<base build>,<base manifest length>,<base manifest blake3>,<pack length>,<header length>,<header blake3>` | one step; any number |
//!
//! A pack is pinned whole, since its header names every block. A client skips packs whose format it cannot read.
//!
//! # Changelog
//!
//! * 1: first.

use super::digest::Blake3;
use super::document::{Body, BodyWriter, DocumentError, FileRef, Record};
use super::manifest::MANIFEST_BYTES_MAX;
use super::path::RelPath;
use super::text::{Time, is_app_id, is_display_version, is_token};

/// Most bytes a release document may have, signatures included.
pub const RELEASE_BYTES_MAX: u64 = 1 << 20;

/// First cell of the first line.
pub const TYPE: &str = "lamplighter-release";

/// Release notes in one language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notes {
    /// Language tag in lowercase, such as `en` or `pt-br`.
    pub language: String,
    /// The Markdown file.
    pub file: FileRef,
}

/// One pack of a release: the step from a base release to this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackRow {
    /// Pack format.
    pub format: u64,
    /// Build it starts from.
    pub base_build: u64,
    /// Manifest it starts from: what really identifies the base.
    pub base_manifest: FileRef,
    /// Bytes of the whole pack.
    pub length: u64,
    /// Length and BLAKE3 of its header; the BLAKE3 names the file.
    pub header: FileRef,
}

/// A release document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// App id.
    pub app: String,
    /// Platform token.
    pub platform: String,
    /// Build number, from 1.
    pub build: u64,
    /// Version as shown to people.
    pub version: String,
    /// When it was made.
    pub issued: Time,
    /// Builds below it must be downloaded afresh.
    pub minimum_build: u64,
    /// What a launcher starts.
    pub entry: Option<RelPath>,
    /// The program that finishes an update while the app is closed.
    pub patcher: Option<RelPath>,
    /// Oldest system it runs on.
    pub minimum_os: Option<String>,
    /// The manifest.
    pub manifest: FileRef,
    /// The objects index.
    pub objects: FileRef,
    /// Release notes.
    pub notes: Vec<Notes>,
    /// Newest pack format its own client reads.
    pub reads_pack: u64,
    /// Its packs.
    pub packs: Vec<PackRow>,
}

impl Release {
    /// Parses the body of a release whose signatures have been verified.
    ///
    /// # Errors
    /// Any rule of the specification broken.
    pub fn parse(body: &[u8]) -> Result<Self, DocumentError> {
        const SINGLE: &[&str] = &[
            "app",
            "platform",
            "build",
            "version",
            "issued",
            "minimum",
            "entry",
            "patcher",
            "minimum-os",
            "manifest",
            "objects",
        ];
        let body = Body::parse(body, TYPE, SINGLE, &["notes", "reads", "pack"])?;
        let notes: Result<Vec<_>, _> = body.all("notes").map(notes).collect();
        let packs: Result<Vec<_>, _> = body.all("pack").map(pack_row).collect();
        let path = |record: &Record| record.parse(0, "a path in the tree", |text| RelPath::parse(text).ok());
        let reads_pack = body.all("reads").find(|r| r.text(0) == "pack").map_or(Ok(0), |r| r.number(1))?;
        let release = Self {
            app: body.one("app")?.word(0, "an app id", is_app_id)?,
            platform: body.one("platform")?.word(0, "a platform", is_token)?,
            build: body.one("build")?.number(0)?,
            version: body.one("version")?.word(0, "a version", is_display_version)?,
            issued: body.one("issued")?.time(0)?,
            minimum_build: body.optional("minimum").map_or(Ok(0), |r| r.number(0))?,
            entry: body.optional("entry").map(path).transpose()?,
            patcher: body.optional("patcher").map(path).transpose()?,
            minimum_os: body.optional("minimum-os").map(|r| r.text(0).to_owned()),
            manifest: body.one("manifest")?.file(0)?,
            objects: body.one("objects")?.file(0)?,
            notes: notes?,
            reads_pack,
            packs: packs?,
        };
        release.check()?;
        Ok(release)
    }

    fn check(&self) -> Result<(), DocumentError> {
        if self.build == 0 || self.minimum_build > self.build {
            return Err(DocumentError::Rule("a release's build starts at 1 and is not below its minimum".into()));
        }
        if self.manifest.length > MANIFEST_BYTES_MAX || self.objects.length > MANIFEST_BYTES_MAX {
            return Err(DocumentError::Rule("a manifest or objects index is longer than 1 GiB".into()));
        }
        Ok(())
    }

    /// The body's bytes.
    pub fn to_body(&self) -> Vec<u8> {
        let mut out = BodyWriter::new(TYPE);
        out.push(&["app", &self.app]).push(&["platform", &self.platform]);
        out.push(&["build", &self.build.to_string()]).push(&["version", &self.version]);
        out.push(&["issued", &self.issued.to_string()]);
        if self.minimum_build > 0 {
            out.push(&["minimum", &self.minimum_build.to_string()]);
        }
        if let Some(entry) = &self.entry {
            out.push(&["entry", entry.as_str()]);
        }
        if let Some(patcher) = &self.patcher {
            out.push(&["patcher", patcher.as_str()]);
        }
        if let Some(minimum_os) = &self.minimum_os {
            out.push(&["minimum-os", minimum_os]);
        }
        let mut push_file = |key: &[&str], file: &FileRef| {
            let cells = file.cells();
            out.push(&[key, &[&cells[0], &cells[1]]].concat());
        };
        push_file(&["manifest"], &self.manifest);
        push_file(&["objects"], &self.objects);
        for notes in &self.notes {
            push_file(&["notes", &notes.language], &notes.file);
        }
        out.push(&["reads", "pack", &self.reads_pack.to_string()]);
        for pack in &self.packs {
            let numbers = [pack.format, pack.base_build].map(|n| n.to_string());
            let (base, header) = (pack.base_manifest.cells(), pack.header.cells());
            let length = pack.length.to_string();
            out.push(&["pack", &numbers[0], &numbers[1], &base[0], &base[1], &length, &header[0], &header[1]]);
        }
        out.finish()
    }

    /// The smallest pack in a format up to `format_max` that starts from the manifest `base`.
    pub fn pack_from(&self, base: &Blake3, format_max: u64) -> Option<&PackRow> {
        let fits = |row: &&PackRow| row.base_manifest.blake3 == *base && (1..=format_max).contains(&row.format);
        self.packs.iter().filter(fits).min_by_key(|row| row.length)
    }
}

/// True for a language tag as file names hold it.
pub fn is_language(text: &str) -> bool {
    (2..=35).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

fn notes(record: &Record) -> Result<Notes, DocumentError> {
    Ok(Notes { language: record.word(0, "a language tag in lowercase", is_language)?, file: record.file(1)? })
}

fn pack_row(record: &Record) -> Result<PackRow, DocumentError> {
    let row = PackRow {
        format: record.number(0)?,
        base_build: record.number(1)?,
        base_manifest: record.file(2)?,
        length: record.number(4)?,
        header: record.file(5)?,
    };
    if row.header.length > row.length { Err(record.error(5, "a header no longer than its pack")) } else { Ok(row) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release() -> Release {
        let file = FileRef::of(b"content");
        let pack = |format, length| PackRow { format, base_build: 1, base_manifest: file, length, header: file };
        Release {
            app: "org.example.app".into(),
            platform: "linux-x86_64".into(),
            build: 2,
            version: "1.0, \"final\"".into(),
            issued: Time::from_seconds(1_000_000_000),
            minimum_build: 1,
            entry: RelPath::parse("bin/app").ok(),
            patcher: Some(RelPath::parse("bin/patcher").expect("a path")),
            minimum_os: Some("glibc 2.17".into()),
            manifest: file,
            objects: file,
            notes: vec![Notes { language: "en".into(), file }],
            reads_pack: 1,
            packs: vec![pack(2, 10), pack(1, 200), pack(1, 100)],
        }
    }

    #[test]
    fn written_and_read_back() {
        let release = release();
        assert_eq!(Release::parse(&release.to_body()), Ok(release));
    }

    #[test]
    fn the_smallest_readable_pack_is_chosen() {
        let release = release();
        let base = FileRef::of(b"content").blake3;
        assert_eq!(release.pack_from(&base, 1).map(|p| p.length), Some(100));
        assert_eq!(release.pack_from(&base, 2).map(|p| p.length), Some(10));
        assert_eq!(release.pack_from(&Blake3::of(b"other"), 2), None);
    }

    #[test]
    fn rules_hold() {
        let broken = |change: fn(&mut Release)| {
            let mut release = release();
            change(&mut release);
            Release::parse(&release.to_body()).is_err()
        };
        assert!(broken(|r| r.build = 0));
        assert!(broken(|r| r.minimum_build = 3));
        assert!(broken(|r| r.platform = "Windows".into()));
        assert!(broken(|r| r.packs[0].length = 1));
        assert!(broken(|r| r.manifest.length = 2 << 30));
        assert!(broken(|r| r.notes[0].language = "../x".into()));
    }
}
