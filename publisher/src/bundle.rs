//! A tree to be handed out whole: an archive for a download page, or the folder an installer is made from.
//!
//! The tree is installed from the site's objects by the client's own code, so every byte of it was checked, and each file
//! is checked again while it is packed. With it goes the state a client would have left: its signed record, the pinned root
//! and where the site is ([`lamplighter_client::updater::state_files`]). So the first update of an unpacked tree goes by pack.
//!
//! The bytes of an archive depend on the release and the arguments alone: entries are sorted, times are those of the release,
//! owners are nobody.

pub mod archive;
pub mod template;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lamplighter_client::error::Error as ClientError;
use lamplighter_client::format::digest::Blake3;
use lamplighter_client::format::manifest::{Kind, Manifest};
use lamplighter_client::format::path::RelPath;
use lamplighter_client::format::release::Release;
use lamplighter_client::tree::{Record, usual_state_dir};
use lamplighter_client::updater::{Origin, state_files};

use crate::error::{Class, Error};
use crate::scratch::{Scratch, ScratchTree};
use crate::site::documents::manifest;
use crate::site::{Site, SiteError, Trust};
use crate::watch::Watch;
use archive::{Content, Entry};
use template::Template;

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum BundleError {
    #[error("--out {}: expected a name that ends in .zip or .tar.zst", .0.display())]
    Format(PathBuf),
    #[error("--name: expected the name of one directory, found {0:?}")]
    Name(String),
    #[error("{} exists already; name a directory that does not", .0.display())]
    Exists(PathBuf),
    #[error("build {build} of {platform} names no entry: set `entry` of [platform.{platform}], which installers start")]
    NoEntry { build: u64, platform: String },
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error("{path} changed while it was packed: expected BLAKE3 {expected}, found {found}")]
    Changed { path: PathBuf, expected: Blake3, found: Blake3 },
}

impl BundleError {
    /// The class it belongs to.
    pub fn class(&self) -> Class {
        match self {
            BundleError::Format(_) | BundleError::Name(_) | BundleError::Exists(_) => Class::Usage,
            BundleError::NoEntry { .. } => Class::Site,
            BundleError::Write { .. } | BundleError::Changed { .. } => Class::Disk,
        }
    }
}

/// What is to be bundled.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The site.
    pub site: &'a Path,
    /// The app the site must belong to, if the caller knows it.
    pub app: Option<&'a str>,
    /// Build.
    pub build: u64,
    /// Platform.
    pub platform: &'a str,
    /// Where clients find the site: a URL as a rule.
    pub url: &'a str,
    /// The channel the tree is to follow.
    pub channel: &'a str,
    /// Other places that hand out the same site.
    pub mirrors: &'a [String],
    /// The root to pin; the newest of the site where it is not said.
    pub root: Option<&'a Path>,
    /// The directory everything lies in; the app id where it is not said.
    pub name: Option<&'a str>,
    /// The archive to write, or with a template the directory.
    pub out: &'a Path,
    /// What is written: an archive without one.
    pub template: Option<Template>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundled {
    /// The archive or directory.
    pub out: PathBuf,
    /// Version of the release.
    pub version: String,
    /// Entries, directories among them.
    pub entries: usize,
    /// Bytes of the files in it.
    pub content_bytes: u64,
    /// Length and BLAKE3 of the archive; none of a directory.
    pub file: Option<(u64, Blake3)>,
}

/// Writes the bundle, whole or not at all.
///
/// # Errors
/// No such release, or one clients would not accept; objects that are missing or damaged; the disk.
pub fn run(request: &Request<'_>, watch: Arc<dyn Watch>) -> Result<Bundled, Error> {
    let site = Site::open(request.site)?;
    let trust = Trust::read(&site)?;
    if let Some(app) = request.app {
        trust.require_app(&site, app)?;
    }
    let none = || SiteError::NoSuchBuild { build: request.build, platforms: vec![request.platform.to_owned()] };
    let release = trust.release(&site, request.build, request.platform)?.ok_or_else(none)?;
    let rows = manifest(&site, &release.release)?;
    let name = request.name.unwrap_or(&trust.root().app);
    if RelPath::parse(name).is_err() || name.contains('/') {
        return Err(BundleError::Name(name.to_owned()).into());
    }
    let out_dir = request.out.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let client = |doing| move |source| Error::Client { doing, source: Box::new(source) };
    let scratch = Scratch::new(&site, out_dir, watch).map_err(client("open the site"))?;
    let tree = scratch.install(&release).map_err(client("install the release"))?;
    let record = Record { release: release.bytes.clone(), manifest: rows.to_bytes() };
    let origin = origin(request, &trust)?;
    let state = state_files(&origin, &record).map_err(client("write the state of the tree"))?;
    let entries = entries(name, &rows, &tree, state);
    let content_bytes = entries.iter().map(Entry::bytes).sum();
    let file = match request.template {
        None => Some(archive::write(&entries, release.release.issued, request.out)?),
        Some(template) => {
            let values = template::Values::new(request, name, &release.release, content_bytes)?;
            write_template(template, &values, &entries, request.out)?;
            None
        }
    };
    let (out, version) = (request.out.to_owned(), release.release.version);
    Ok(Bundled { out, version, entries: entries.len(), content_bytes, file })
}

fn origin(request: &Request<'_>, trust: &Trust) -> Result<Origin, Error> {
    let (first, rest) = trust.documents();
    let read = |path: &Path| {
        let failed = |source| ClientError::Io { doing: "read", path: path.to_owned(), source };
        let source = |error| Error::Client { doing: "read the root to pin", source: Box::new(failed(error)) };
        std::fs::read(path).map_err(source)
    };
    Ok(Origin {
        site: request.url.to_owned(),
        app: trust.root().app.clone(),
        channel: request.channel.to_owned(),
        platform: request.platform.to_owned(),
        root: request.root.map_or_else(|| Ok(rest.last().map_or(first, Vec::as_slice).to_vec()), read)?,
        mirrors: request.mirrors.to_vec(),
    })
}

/// Everything of a tree named `name` with its state, where a client would have put it.
fn entries(name: &str, manifest: &Manifest, tree: &ScratchTree, state: Vec<(String, Vec<u8>)>) -> Vec<Entry> {
    let mut entries = vec![Entry { name: name.to_owned(), mode: 0o755, content: Content::Directory }];
    for row in manifest.rows() {
        let (mode, content) = match &row.kind {
            Kind::File { executable } => {
                let path = tree.path().join(row.path.to_path());
                (if *executable { 0o755 } else { 0o644 }, Content::File { path, digest: row.digest })
            }
            Kind::Link(destination) => (0o777, Content::Link(destination.as_str().to_owned())),
            Kind::Directory => (0o755, Content::Directory),
        };
        entries.push(Entry { name: format!("{name}/{}", row.path), mode, content });
    }
    let state_dir = usual_state_dir(Path::new(name)).to_string_lossy().replace('\\', "/");
    entries.push(Entry { name: state_dir.clone(), mode: 0o700, content: Content::Directory });
    for (path, bytes) in state {
        entries.push(Entry { name: format!("{state_dir}/{path}"), mode: 0o600, content: Content::Bytes(bytes) });
    }
    archive::complete(entries)
}

/// Writes the folder an installer is made from.
fn write_template(
    template: Template,
    values: &template::Values,
    entries: &[Entry],
    out: &Path,
) -> Result<(), BundleError> {
    if out.exists() {
        return Err(BundleError::Exists(out.to_owned()));
    }
    let written = template.files(values).into_iter().map(|(name, mode, text)| Entry {
        name,
        mode,
        content: Content::Bytes(text.into_bytes()),
    });
    let below = |entry: &Entry| Entry { name: format!("{}/{}", template.tree_dir(), entry.name), ..entry.clone() };
    let tree = entries.iter().map(|entry| template.open_to_all(below(entry)));
    let written: Vec<Entry> = archive::complete(written.chain(tree).collect());
    archive::write_directory(&written, out).inspect_err(|_| {
        // What is left of it must not look like a bundle; what cannot be removed is named by the error.
        let _ = std::fs::remove_dir_all(out);
    })
}

/// The entry of a release, which installers start.
fn entry_of(release: &Release) -> Result<String, BundleError> {
    let none = || BundleError::NoEntry { build: release.build, platform: release.platform.clone() };
    release.entry.as_ref().map(ToString::to_string).ok_or_else(none)
}
