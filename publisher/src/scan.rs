//! Turns an input directory into a manifest, or names everything in it that keeps it from being one.
//!
//! What is wrong is collected over the whole tree and reported at once, so that a release engineer mends an input in one
//! go. A file must hold still: its size, time and identity are compared before and after it is read, again when all are
//! read, and once more by [`Scanned::recheck`] before anything is signed.

mod globs;
mod hash;
mod walk;

use std::path::{Path, PathBuf};

use lamplighter_client::format::manifest::{Kind, Manifest, ManifestError, Policy, Row};
use lamplighter_client::format::path::{PathConflict, PathRule, RelPath, find_conflicts};
use rayon::prelude::*;

use crate::config::PlatformConfig;
use crate::error::Class;
use crate::watch::{Step, Watch};
pub use globs::Globs;
pub use hash::Stamp;
use hash::{Looks, hash_file};
use walk::{Entry, EntryKind};

/// Why an input directory is not a release.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ScanError {
    #[error("input {dir}: expected a directory, found {found}")]
    NotADirectory { dir: PathBuf, found: String },
    #[error(
        "input {dir}: expected files to publish, found none; is the path right, or do the exclude globs match all?"
    )]
    Empty { dir: PathBuf },
    #[error("input {dir} and site {site} lie in one another: keep them apart")]
    Overlap { dir: PathBuf, site: PathBuf },
    #[error("glob {pattern:?} of {key}: {detail}")]
    Glob { key: &'static str, pattern: String, detail: String },
    #[error("{key} {entry:?} of input {dir}: {detail}")]
    Entry { key: &'static str, entry: String, dir: PathBuf, detail: String },
    #[error("input {dir} cannot be published, {} problem(s):{}", offenders.len(), listed(offenders))]
    Offenders { dir: PathBuf, offenders: Vec<Offender> },
    #[error("input {dir}: {source}")]
    Manifest { dir: PathBuf, source: ManifestError },
}

impl ScanError {
    /// The class it belongs to.
    pub fn class(&self) -> Class {
        match self {
            ScanError::Glob { .. } => Class::Usage,
            _ => Class::Input,
        }
    }
}

fn listed(offenders: &[Offender]) -> String {
    offenders.iter().map(|o| format!("\n  {o}")).collect()
}

/// One thing that keeps an input from being published.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct Offender {
    /// Path in the input directory, as far as it can be shown.
    pub path: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a file of the input.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Problem {
    #[error("its name is not UTF-8; rename it")]
    NotUtf8,
    #[error("{0}; rename it")]
    Path(PathRule),
    #[error("{0}; rename one of them")]
    Conflict(PathConflict),
    #[error("cannot be read: {0}")]
    Unreadable(std::io::Error),
    #[error("changed while it was read (before: {before}; after: {after}); publish a directory nothing writes to")]
    Changed { before: String, after: String },
    #[error("is a link to {destination:?}, which is not allowed: {rule}; make it relative and keep it in the tree")]
    Link { destination: String, rule: PathRule },
    #[error("is a {kind}; only files, links and directories can be published")]
    Special { kind: &'static str },
}

/// What the configuration says of one platform's tree.
#[derive(Debug)]
pub struct Rules {
    exclude: Globs,
    executable: Globs,
    keep: Globs,
    entry: Option<String>,
    patcher: Option<String>,
    /// Whether executable bits mean anything on the platform.
    has_modes: bool,
}

impl Rules {
    /// Rules for `platform`.
    ///
    /// # Errors
    /// A glob that is none.
    pub fn new(platform: &str, config: &PlatformConfig) -> Result<Self, ScanError> {
        Ok(Self {
            exclude: Globs::new("exclude", &config.exclude)?,
            executable: Globs::new("executable", &config.executable)?,
            keep: Globs::new("keep", &config.keep)?,
            entry: config.entry.clone(),
            patcher: config.patcher.clone(),
            has_modes: !platform.starts_with("windows"),
        })
    }
}

/// An input directory, read.
#[derive(Debug)]
pub struct Scanned {
    /// Where it lies.
    pub dir: PathBuf,
    /// What it holds.
    pub manifest: Manifest,
    stamps: Vec<(RelPath, Stamp)>,
}

impl Scanned {
    /// A tree that holds `manifest`, and that nobody else touches: one the client's code installed.
    pub(crate) fn installed(dir: PathBuf, manifest: Manifest) -> Self {
        Self { dir, manifest, stamps: Vec::new() }
    }

    /// Checks that no file was touched since it was read.
    ///
    /// # Errors
    /// All files that were.
    pub fn recheck(&self) -> Result<(), ScanError> {
        let offenders: Vec<Offender> = self.stamps.par_iter().filter_map(|(p, s)| self.recheck_one(p, s)).collect();
        refuse(&self.dir, offenders)
    }

    fn recheck_one(&self, path: &RelPath, before: &Stamp) -> Option<Offender> {
        let problem = match std::fs::symlink_metadata(self.dir.join(path.to_path())) {
            Err(error) => Problem::Unreadable(error),
            Ok(metadata) => {
                let after = Stamp::of(&metadata);
                if after == *before {
                    return None;
                }
                Problem::Changed { before: before.to_string(), after: after.to_string() }
            }
        };
        Some(Offender { path: path.to_string(), problem })
    }
}

/// Reads `dir` on rayon's current pool, each file once.
///
/// # Errors
/// A directory that is none or holds nothing; a missing entry executable; all offenders at once.
pub fn scan(dir: &Path, platform: &str, rules: &Rules, watch: &dyn Watch) -> Result<Scanned, ScanError> {
    check_directory(dir)?;
    let (entries, mut offenders) = walk::walk(dir, &rules.exclude);
    offenders.extend(find_conflicts(entries.iter().map(|e| (&e.path, true))).into_iter().map(conflict));
    watch.step(Step::Scan, platform, entries.iter().map(|e| e.bytes()).sum());
    let read: Vec<Result<Read, Offender>> = entries.par_iter().map(|e| read(dir, e, rules, watch)).collect();
    let mut found = Vec::with_capacity(read.len());
    for result in read {
        match result {
            Ok(read) => found.push(read),
            Err(offender) => offenders.push(offender),
        }
    }
    refuse(dir, offenders)?;
    if found.is_empty() {
        return Err(ScanError::Empty { dir: dir.to_owned() });
    }
    check_program(dir, &found, "entry", rules.entry.as_ref())?;
    check_program(dir, &found, "patcher", rules.patcher.as_ref())?;
    notice_modes(&found, platform, rules, watch);
    notice_links(&found, platform, watch);
    [&rules.exclude, &rules.executable, &rules.keep].into_iter().for_each(|globs| globs.notice_unused(watch));
    let stamps = found.iter().filter_map(|r| Some((r.row.path.clone(), r.stamp.clone()?))).collect();
    let manifest = Manifest::new(found.into_iter().map(|r| r.row).collect())
        .map_err(|source| ScanError::Manifest { dir: dir.to_owned(), source })?;
    let scanned = Scanned { dir: dir.to_owned(), manifest, stamps };
    scanned.recheck()?;
    Ok(scanned)
}

/// Refuses an input that holds the site, or lies in it.
///
/// # Errors
/// They overlap.
pub fn check_apart(dir: &Path, site: &Path) -> Result<(), ScanError> {
    let (Ok(real_dir), Ok(real_site)) = (dir.canonicalize(), site.canonicalize()) else { return Ok(()) };
    if real_dir.starts_with(&real_site) || real_site.starts_with(&real_dir) {
        return Err(ScanError::Overlap { dir: dir.to_owned(), site: site.to_owned() });
    }
    Ok(())
}

struct Read {
    row: Row,
    stamp: Option<Stamp>,
    looks: Looks,
}

fn check_directory(dir: &Path) -> Result<(), ScanError> {
    let found = match std::fs::metadata(dir) {
        Ok(metadata) if metadata.is_dir() => return Ok(()),
        Ok(_) => "a file".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(ScanError::NotADirectory { dir: dir.to_owned(), found })
}

fn read(dir: &Path, entry: &Entry, rules: &Rules, watch: &dyn Watch) -> Result<Read, Offender> {
    match &entry.kind {
        EntryKind::Directory => {
            Ok(Read { row: Row::directory(entry.path.clone()), stamp: None, looks: Looks::default() })
        }
        EntryKind::Link(destination) => {
            let row = Row::link(entry.path.clone(), destination.clone());
            Ok(Read { row, stamp: None, looks: Looks::default() })
        }
        EntryKind::File { executable, stamp } => {
            let hashed = hash_file(&dir.join(entry.path.to_path()), entry.path.file_name(), stamp, watch)
                .map_err(|problem| Offender { path: entry.path.to_string(), problem })?;
            let executable = *executable || rules.executable.matches(&entry.path);
            let policy = if rules.keep.matches(&entry.path) { Policy::Keep } else { Policy::Managed };
            let row = Row { path: entry.path.clone(), digest: hashed.digest, kind: Kind::File { executable }, policy };
            Ok(Read { row, stamp: Some(stamp.clone()), looks: hashed.looks })
        }
    }
}

fn conflict(conflict: PathConflict) -> Offender {
    let path = match &conflict {
        PathConflict::SameName { second, .. } => second.to_string(),
        PathConflict::BelowFile { below, .. } => below.to_string(),
    };
    Offender { path, problem: Problem::Conflict(conflict) }
}

fn refuse(dir: &Path, mut offenders: Vec<Offender>) -> Result<(), ScanError> {
    if offenders.is_empty() {
        return Ok(());
    }
    offenders.sort_by(|a, b| a.path.cmp(&b.path));
    Err(ScanError::Offenders { dir: dir.to_owned(), offenders })
}

/// Checks that a program the configuration names is a file of the tree.
fn check_program(dir: &Path, found: &[Read], key: &'static str, entry: Option<&String>) -> Result<(), ScanError> {
    let Some(entry) = entry else { return Ok(()) };
    let error = |detail: String| ScanError::Entry { key, entry: entry.clone(), dir: dir.to_owned(), detail };
    let path = RelPath::parse(entry).map_err(|e| error(e.rule.to_string()))?;
    match found.iter().find(|r| r.row.path == path) {
        Some(read) if read.row.is_file() => Ok(()),
        Some(_) => Err(error("expected a file, found a link or a directory".to_owned())),
        None => Err(error("expected a file of the tree, found nothing there".to_owned())),
    }
}

fn notice_modes(found: &[Read], platform: &str, rules: &Rules, watch: &dyn Watch) {
    for read in found.iter().filter(|_| rules.has_modes) {
        let Kind::File { executable: false } = read.row.kind else { continue };
        let named = |program: &Option<String>| program.as_deref() == Some(read.row.path.as_str());
        let is_entry = named(&rules.entry) || named(&rules.patcher);
        let what = match read.looks.executable {
            Some(format) => format,
            None if is_entry => "a program the configuration names",
            None => continue,
        };
        let text = format!("{platform}: {what} without the executable bit; an `executable` glob would set it");
        watch.notice("not-executable", read.row.path.as_str(), &text);
    }
}

fn notice_links(found: &[Read], platform: &str, watch: &dyn Watch) {
    for read in found {
        let Kind::Link(destination) = &read.row.kind else { continue };
        let path = read.row.path.as_str();
        if platform.starts_with("windows") {
            watch.notice("link-on-windows", path, "most Windows users may not create links; ship a file instead");
        }
        let resolved = resolve(path, destination.as_str());
        let below = format!("{resolved}/");
        let there = |r: &Read| r.row.path.as_str() == resolved || r.row.path.as_str().starts_with(&below);
        if !found.iter().any(there) {
            watch.notice("dangling-link", path, &format!("it points at {resolved}, which is not in the tree"));
        }
    }
}

/// Where a link at `path` points, by names alone; the path rules have made sure that this is in the tree.
fn resolve(path: &str, destination: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in destination.split('/') {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests;
