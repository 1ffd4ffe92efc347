//! Pack work that is divided over machines: each makes the packs from its share of the bases, one collects them and signs.
//!
//! # Specification
//!
//! A *shard note* lies at `shards/<build>/<platform>/<i>-of-<n>` and names the packs one machine has put into the site,
//! since packs are named by what is in them. CSV records, LF:
//!
//! | record | meaning |
//! | --- | --- |
//! | `lamplighter-shard,1` | first |
//! | `pack,<base build>,<base manifest BLAKE3>,<target manifest BLAKE3>,<made with>,<pack length>,<header length>,<header BLAKE3>` | a pack; *made with* stands for options, encoder and format |
//! | `end` | last |
//!
//! * The note is not signed, and nothing in it is believed. A record counts if it speaks of the very manifests and options
//!   of the run that collects; then the pack it names must have this header, every block its header names, make the very
//!   target manifest, and take a tree of the base to the target with the client's own code. One that does not is an error
//!   that names the file: somebody has altered it, or it was cut off on its way.
//! * At most 1 MiB and 4096 records. A note that is malformed is an error, too.
//! * A pack no note speaks of is made by the run that collects, so the result is the same, shards or not.
//! * Notes go when the release is signed.
//!
//! # Changelog
//!
//! * 1: first.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use lamplighter_client::format::digest::Blake3;
use lamplighter_client::format::document::FileRef;
use lamplighter_client::format::layout;
use lamplighter_client::format::pack;
use lamplighter_client::format::release::{PackRow, Release};
use lamplighter_client::format::text::{number, push_record, records};
use lamplighter_client::trust::VerifiedRelease;

use super::packing::{Made, Pack};
use super::prior::Loaded;
use super::release::Target;
use super::{Input, Job};
use crate::bases::worth_keeping;
use crate::diff::ENCODER_VERSION;
use crate::error::Error;
use crate::packs::PackOptions;
use crate::proof::{self, Base};
use crate::report::{PackFate, PlatformSummary, Summary};
use crate::scratch::ScratchTree;
use crate::site::SiteError;
use crate::verify::content;
use crate::watch::Unwatched;

const TYPE: &str = "lamplighter-shard";
/// Longest note.
pub const NOTE_BYTES_MAX: u64 = 1 << 20;
const RECORDS_MAX: usize = 4096;
/// More machines than this for one release are a mistake.
const SHARDS_MAX: u64 = 1000;

/// One share of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which, from 1.
    pub index: u64,
    /// Of how many.
    pub count: u64,
}

impl FromStr for Shard {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "expected I/N such as 2/4, with I from 1 to N, and N at most 1000";
        let (index, count) = text.split_once('/').ok_or(expected)?;
        let (index, count) = number(index).zip(number(count)).ok_or(expected)?;
        if (1..=SHARDS_MAX).contains(&count) && (1..=count).contains(&index) {
            Ok(Self { index, count })
        } else {
            Err(expected)
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl Shard {
    /// Whether the base that is `position`th of the run is this one's.
    pub fn has(&self, position: usize) -> bool {
        position as u64 % self.count == self.index - 1
    }
}

/// Directory of the notes of a release.
pub fn notes_dir(build: u64, platform: &str) -> String {
    format!("shards/{build}/{platform}")
}

fn note_name(build: u64, platform: &str, shard: Shard) -> String {
    format!("{}/{}-of-{}", notes_dir(build, platform), shard.index, shard.count)
}

/// Whether `name` is that of a note.
pub fn is_note(name: &str) -> bool {
    let shard = |text: &str| text.split_once("-of-").and_then(|(i, n)| format!("{i}/{n}").parse::<Shard>().ok());
    match name.split('/').collect::<Vec<_>>()[..] {
        ["shards", build, platform, file] => {
            let id = number(build).filter(|_| lamplighter_client::format::text::is_token(platform));
            id.zip(shard(file)).is_some_and(|(build, shard)| note_name(build, platform, shard) == name)
        }
        _ => false,
    }
}

/// Names and lengths of the packs that the note `name` speaks of; nothing of it is believed.
///
/// # Errors
/// It is no note.
pub fn packs_of(name: &str, bytes: &[u8]) -> Result<Vec<(String, u64)>, SiteError> {
    let parts = parse_note(name, bytes)?;
    Ok(parts.iter().map(|part| (layout::pack(&part.header.blake3), part.length)).collect())
}

/// What a note says of one pack.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    base_build: u64,
    base_manifest: Blake3,
    target_manifest: Blake3,
    made_with: String,
    length: u64,
    header: FileRef,
}

impl Part {
    fn parse(record: &[String]) -> Option<Self> {
        let [kind, base_build, base_manifest, target_manifest, made_with, length, header_length, header] = record
        else {
            return None;
        };
        (kind == "pack").then_some(())?;
        Some(Self {
            base_build: number(base_build)?,
            base_manifest: base_manifest.parse().ok()?,
            target_manifest: target_manifest.parse().ok()?,
            made_with: made_with.clone(),
            length: number(length)?,
            header: FileRef { length: number(header_length)?, blake3: header.parse().ok()? },
        })
    }
}

/// Stands for everything a pack's bytes depend on beside the contents.
fn made_with(options: PackOptions) -> String {
    format!("{} {} {ENCODER_VERSION} {}", options.effort.number(), options.deflate_bytes_per_second, pack::FORMAT)
}

fn to_note(parts: &[Part]) -> Vec<u8> {
    let mut text = String::new();
    push_record(&mut text, [TYPE, "1"]);
    for part in parts {
        let numbers = [part.base_build, part.length, part.header.length].map(|n| n.to_string());
        let digests = [part.base_manifest, part.target_manifest, part.header.blake3].map(|d| d.to_string());
        let cells =
            ["pack", &numbers[0], &digests[0], &digests[1], &part.made_with, &numbers[1], &numbers[2], &digests[2]];
        push_record(&mut text, cells);
    }
    push_record(&mut text, ["end"]);
    text.into_bytes()
}

fn parse_note(name: &str, bytes: &[u8]) -> Result<Vec<Part>, SiteError> {
    let damaged = |detail: &str| SiteError::damaged(name, detail);
    let records = records(bytes).map_err(|e| SiteError::damaged(name, e))?;
    if records.len() > RECORDS_MAX {
        return Err(damaged("too many records"));
    }
    match &records[..] {
        [first, parts @ .., last] if *first == [TYPE, "1"] && *last == ["end"] => {
            let parts: Option<Vec<Part>> = parts.iter().map(|record| Part::parse(record)).collect();
            parts.ok_or_else(|| damaged("a record that is none of a shard note"))
        }
        _ => Err(damaged("expected lamplighter-shard,1 … end")),
    }
}

impl Job<'_> {
    /// Makes the packs of one share of the work, and notes them; nothing is signed.
    pub(super) fn shard(&self, inputs: &[Input<'_>], shard: Shard) -> Result<Summary, Error> {
        let (mut position, mut platforms) = (0, Vec::new());
        for input in inputs {
            let manifest = FileRef::of(&input.scanned.manifest.to_bytes());
            // Whether a pack is worth keeping is for the run that collects to say: it knows the full download.
            let target = Target { input, manifest, objects: FileRef::of(b""), full_bytes: u64::MAX };
            let mut bases = self.before(input.platform).bases;
            bases.retain(|_| {
                position += 1;
                shard.has(position - 1)
            });
            let packs = self.packs(&target, &bases)?;
            self.write_note(&target, shard, &packs)?;
            platforms.push(PlatformSummary {
                platform: input.platform.to_owned(),
                reused: false,
                rows: input.scanned.manifest.rows().len(),
                content_bytes: input.scanned.manifest.content_bytes(),
                full_bytes: 0,
                new_object_bytes: 0,
                seconds: 0.0,
                packs: packs.into_iter().map(|pack| pack.summary).collect(),
            });
        }
        self.request.origin.iter().try_for_each(|origin| origin.require_no_trouble())?;
        let version = self.request.version.clone();
        Ok(Summary { build: self.request.build, version, platforms, shard: Some(shard), ..Summary::default() })
    }

    /// Notes what this machine has put into the site.
    pub(super) fn write_note(&self, target: &Target<'_>, shard: Shard, packs: &[Pack]) -> Result<(), SiteError> {
        let part = |row: &PackRow| Part {
            base_build: row.base_build,
            base_manifest: row.base_manifest.blake3,
            target_manifest: target.manifest.blake3,
            made_with: made_with(self.request.packs),
            length: row.length,
            header: row.header,
        };
        let parts: Vec<Part> = packs.iter().filter_map(|pack| pack.row.as_ref()).map(part).collect();
        self.writer.replace(&note_name(self.request.build, target.input.platform, shard), &to_note(&parts))
    }

    /// The pack from `base` that a note speaks of, if this run collects; not believed yet.
    pub(super) fn collected(&self, target: &Target<'_>, base: &Loaded) -> Result<Option<PackRow>, Error> {
        if !self.request.mode.collects() {
            return Ok(None);
        }
        let (site, dir) = (self.writer.site(), notes_dir(self.request.build, target.input.platform));
        let release = &base.release.release;
        for file in site.names(&dir)? {
            let name = format!("{dir}/{file}");
            let Some(bytes) = site.read(&name, NOTE_BYTES_MAX)? else { continue };
            let parts = parse_note(&name, &bytes)?;
            let fits = |part: &&Part| {
                part.base_build == release.build
                    && part.base_manifest == release.manifest.blake3
                    && part.target_manifest == target.manifest.blake3
                    && part.made_with == made_with(self.request.packs)
            };
            if let Some(part) = parts.iter().find(fits) {
                return Ok(Some(PackRow {
                    format: pack::FORMAT,
                    base_build: release.build,
                    base_manifest: release.manifest,
                    length: part.length,
                    header: part.header,
                }));
            }
        }
        let text = "no shard has made this pack; it is made now";
        self.watch.notice("no-shard", &layout::release(release.build, &release.platform), text);
        Ok(None)
    }

    /// Takes `tree`, which holds `base`, to the release by the pack of `row`, with the client's own code; only then it counts.
    pub(super) fn apply(
        &self,
        target: &Target<'_>,
        base: &Loaded,
        tree: ScratchTree,
        row: PackRow,
    ) -> Result<Made, Error> {
        let name = layout::pack(&row.header.blake3);
        let refused = |detail: String| SiteError::ShardPart { name: name.clone(), detail };
        // Not signed, and never will be: it says what the one that is signed will say of this pack.
        let release = Release {
            app: self.request.app.clone(),
            platform: target.input.platform.to_owned(),
            build: self.request.build,
            version: self.request.version.clone(),
            issued: self.request.time,
            minimum_build: 0,
            entry: None,
            patcher: None,
            minimum_os: None,
            manifest: target.manifest,
            objects: target.objects,
            notes: Vec::new(),
            reads_pack: pack::FORMAT,
            packs: vec![row.clone()],
        };
        let part = content::Pack { row: &row, base: &base.release.release, target: &release };
        content::pack(self.writer.site(), &part, &Unwatched).map_err(|finding| refused(finding.text))?;
        let release = VerifiedRelease { bytes: release.to_body(), release };
        let start = Base { known: base.known(), tree: Some(tree) };
        let tried = proof::way(&self.scratch, (&release, &target.input.scanned.manifest), Some(start));
        tried.map_err(|error| refused(error.detail.to_string()))?;
        let (fate, row) = match worth_keeping(row.length, target.full_bytes) {
            true => (PackFate::Kept(row.length), Some(row)),
            false => (PackFate::TooLarge(row.length), None),
        };
        Ok(Made { fate, row, file: None, tree: None, applied: true })
    }

    /// Removes the notes of a release that is signed, and those packs of theirs that no release names: they did not save
    /// enough, or were over the budget.
    pub(super) fn clear_notes(&self, release: &Release) -> Result<(), SiteError> {
        let (site, dir) = (self.writer.site(), notes_dir(self.request.build, &release.platform));
        let mut unnamed = BTreeSet::new();
        for file in site.names(&dir)? {
            let name = format!("{dir}/{file}");
            // The release stands; a note that says nothing goes like the others.
            let bytes = site.read(&name, NOTE_BYTES_MAX)?.unwrap_or_default();
            let parts = parse_note(&name, &bytes).unwrap_or_default();
            unnamed.extend(parts.iter().map(|part| layout::pack(&part.header.blake3)));
            self.writer.remove(&name)?;
        }
        let name_of = |row: &PackRow| layout::pack(&row.header.blake3);
        for row in &release.packs {
            unnamed.remove(&name_of(row));
        }
        // Seldom there are any left; then all others that might name them are asked.
        let others = if unnamed.is_empty() { Vec::new() } else { site.releases()? };
        for (build, platform) in others {
            let other = self.authority.trust.past_release(site, build, &platform)?;
            let packs = other.map(|other| other.release.packs).unwrap_or_default();
            for row in &packs {
                unnamed.remove(&name_of(row));
            }
        }
        unnamed.iter().try_for_each(|name| self.writer.remove(name))?;
        self.writer.barrier()?;
        unnamed.iter().filter_map(|name| name.rsplit_once('/')).for_each(|(fan, _)| self.writer.remove_empty(fan));
        self.writer.remove_empty(&dir);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_base_is_somebodys_and_nobody_elses() {
        let shards: Vec<Shard> = (1..=3).map(|index| Shard { index, count: 3 }).collect();
        for position in 0..10 {
            assert_eq!(shards.iter().filter(|shard| shard.has(position)).count(), 1);
        }
        for bad in ["", "1", "0/2", "3/2", "1/0", "1/1001", "a/b", "1/2/3", " 1/2"] {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
        assert_eq!("2/4".parse::<Shard>().map(|s| s.to_string()), Ok("2/4".to_owned()));
    }

    #[test]
    fn a_note_is_read_back_and_nothing_else_is() {
        let digest = |text: &str| Blake3::of(text.as_bytes());
        let part = |base_build| Part {
            base_build,
            base_manifest: digest("base"),
            target_manifest: digest("target"),
            made_with: made_with(PackOptions::of_effort(5)),
            length: 7,
            header: FileRef { length: 5, blake3: digest("header") },
        };
        let parts = vec![part(1), part(2)];
        let bytes = to_note(&parts);
        assert_eq!(parse_note("n", &bytes).expect("a note"), parts);
        let text = String::from_utf8(bytes).expect("UTF-8");
        for (from, to) in
            [("end\n", ""), ("shard,1", "shard,2"), ("pack,1", "pack,-1"), ("pack,2", "peck,2"), (",7,", ",7,7,")]
        {
            assert!(parse_note("n", text.replacen(from, to, 1).as_bytes()).is_err(), "{from}");
        }
        assert!(is_note("shards/7/linux-x86_64/2-of-3"));
        for bad in [
            "shards/7/linux/4-of-3",
            "shards/07/linux/1-of-3",
            "shards/7/linux/x",
            "shards/7/1-of-3",
            "packs/7/linux/1-of-3",
        ] {
            assert!(!is_note(bad), "{bad}");
        }
    }
}
