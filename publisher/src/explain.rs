//! What an update from one release to another consists of, file by file, and what would make it smaller.
//!
//! Everything comes from the site: the two manifests, the pack that leads from one to the other, objects. Where there is no
//! pack, it is the objects a client has to fetch. [`shares`] says what each file takes of what several share, [`advice`] what a
//! build could do about the largest. The pure part is [`by_pack`] and [`by_objects`].

pub mod advice;
pub mod shares;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use lamplighter_client::format::digest::Blake3;
use lamplighter_client::format::layout;
use lamplighter_client::format::manifest::Manifest;
use lamplighter_client::format::objects::ObjectsIndex;
use lamplighter_client::format::pack::{DEFLATE, FORMAT, Origin, PLAIN, PackHeader, REFERENCES, Rebuilt, Unit};
use lamplighter_client::format::release::{PackRow, Release};
use lamplighter_client::plan::{Difference, differing};

use crate::build_release::prior::Loaded;
use crate::site::{Site, SiteError, Trust};
use crate::verify::content;
use advice::Advice;
use shares::{Shares, divide};

/// Base files of which clients reuse unchanged parts, where there is no pack: from this size on, in bytes.
const REUSE_BYTES_MIN: u64 = 1 << 20;

/// How a client gets there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By a pack.
    Pack,
    /// By objects: no pack leads there, or none this program reads.
    Objects,
    /// Both releases hold the same; only the record changes.
    Same,
}

impl Way {
    /// Stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Way::Pack => "pack",
            Way::Objects => "objects",
            Way::Same => "same",
        }
    }
}

/// Where a file of the target release comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// The base release has the same content elsewhere, and no longer there.
    Moved,
    /// The base release has the same content elsewhere, too.
    Copied,
    /// Another new file has the same content.
    Twin,
    /// Made from old bytes: what changed is downloaded.
    Patched(Transform),
    /// Downloaded whole, compressed.
    Full,
    /// Only the executable bit or the policy is another.
    Mode,
    /// A link, or an empty directory.
    NoContent,
}

impl How {
    /// Stable name.
    pub const fn name(&self) -> &'static str {
        match self {
            How::Moved => "moved",
            How::Copied => "copied",
            How::Twin => "twin",
            How::Patched(_) => "patched",
            How::Full => "full",
            How::Mode => "mode",
            How::NoContent => "no-content",
        }
    }
}

/// What a patch works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transform {
    /// The bytes as they are.
    Plain,
    /// Executables, with predicted operands.
    Executable,
    /// The texts inside of archives.
    Deflate,
    /// A method this program does not know.
    Unknown,
}

impl Transform {
    fn of(unit: &Unit) -> Self {
        match unit.method {
            PLAIN => Transform::Plain,
            REFERENCES => Transform::Executable,
            DEFLATE => Transform::Deflate,
            _ => Transform::Unknown,
        }
    }

    /// Stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Transform::Plain => "plain",
            Transform::Executable => "executable",
            Transform::Deflate => "deflate",
            Transform::Unknown => "unknown",
        }
    }
}

/// A path at which the target release differs from the base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its path in the target release.
    pub path: String,
    /// How it comes about.
    pub how: How,
    /// What it is made from: paths in the base release, for a twin in the target release.
    pub from: Vec<String>,
    /// Its size, in bytes.
    pub size: u64,
    /// What it takes of the download, in bytes.
    pub download_bytes: u64,
    /// Whether `download_bytes` is an estimate, since a shared patch does not say all.
    pub is_estimate: bool,
    /// Whether the base release has a file at this path, which the pack could make use of.
    pub replaces: bool,
    /// What would make it smaller.
    pub advice: Option<Advice>,
    /// Row in the target manifest.
    row: usize,
}

/// What an update consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Platform token.
    pub platform: String,
    /// Build and version of the base release.
    pub base: (u64, String),
    /// Build and version of the target release.
    pub target: (u64, String),
    /// How a client gets there.
    pub way: Way,
    /// Bytes of the download. Those of `parts` and `directory_bytes` add up to it.
    pub download_bytes: u64,
    /// What no single file takes: the header of a pack; manifest and index where it goes by objects.
    pub directory_bytes: u64,
    /// Objects that are fetched.
    pub objects: u64,
    /// Bytes of a full download: all objects of the target release.
    pub full_bytes: u64,
    /// What differs, the largest download first, then by path.
    pub parts: Vec<Part>,
    /// Files that stay as they are.
    pub unchanged: usize,
    /// Paths that are gone, without those that moved.
    pub removed: Vec<String>,
}

/// Explains the update of `platform` from build `base` to build `target`.
///
/// # Errors
/// A release is missing or not signed; files it names are missing or not those that were signed.
pub fn explain(site: &Site, trust: &Trust, platform: &str, base: u64, target: u64) -> Result<Explanation, SiteError> {
    let read = |build| match site.length(&layout::release(build, platform)) {
        Some(_) => Loaded::read(site, trust, build, platform),
        None => Err(SiteError::NoSuchBuild { build, platforms: vec![platform.to_owned()] }),
    };
    let (base, target) = (read(base)?, read(target)?);
    let release = &target.release.release;
    let pack = release.packs.iter().find(|row| row.base_manifest == base.release.release.manifest);
    let mut parts = match pack.filter(|row| row.format <= FORMAT) {
        _ if base.release.release.manifest == release.manifest => Parts::default(),
        Some(row) => read_pack(site, row, &base.manifest)?,
        None => by_objects((&base.manifest, &base.index), (&target.manifest, &target.index), release),
    };
    parts.parts.sort_by(|a, b| b.download_bytes.cmp(&a.download_bytes).then_with(|| a.path.cmp(&b.path)));
    for part in advice::worth_a_look(&parts.parts) {
        let part = &mut parts.parts[part];
        part.advice = advice::look(site, &target.index, part.row, part)?;
    }
    let name = |release: &Release| (release.build, release.version.clone());
    let unchanged = target.manifest.rows().iter().filter(|row| row.is_file()).count();
    let changed = parts.parts.iter().filter(|part| part.how != How::NoContent).count();
    Ok(Explanation {
        platform: platform.to_owned(),
        base: name(&base.release.release),
        target: name(release),
        way: parts.way,
        download_bytes: parts.directory_bytes + parts.parts.iter().map(|part| part.download_bytes).sum::<u64>(),
        directory_bytes: parts.directory_bytes,
        objects: parts.objects,
        full_bytes: target.index.stored_bytes(),
        unchanged: unchanged.saturating_sub(changed),
        removed: removed(&base.manifest, &target.manifest, &parts.parts),
        parts: parts.parts,
    })
}

/// The paths that differ, and what of the download is no file's.
#[derive(Debug)]
pub struct Parts {
    way: Way,
    directory_bytes: u64,
    objects: u64,
    /// In the order of the target manifest.
    parts: Vec<Part>,
}

impl Default for Parts {
    fn default() -> Self {
        Self { way: Way::Same, directory_bytes: 0, objects: 0, parts: Vec::new() }
    }
}

fn read_pack(site: &Site, row: &PackRow, base: &Manifest) -> Result<Parts, SiteError> {
    let name = layout::pack(&row.header.blake3);
    let damaged = |detail: String| SiteError::damaged(&name, detail);
    let read = |source| SiteError::Read { name: name.clone(), source };
    if let Some(origin) = site.origin().filter(|_| !site.path(&name).exists()) {
        origin.fetch_pack(site, &name, row.length)?;
    }
    let mut file = File::open(site.path(&name)).map_err(read)?;
    let header = content::header(row, &mut file).map_err(damaged)?;
    if header.pack_bytes() != row.length {
        let detail = format!("expected {} bytes, its header says {}", row.length, header.pack_bytes());
        return Err(SiteError::damaged(&name, detail));
    }
    let rebuilt = header.rebuild(base).map_err(|e| SiteError::damaged(&name, e))?;
    let shares = header.units().iter().map(|unit| unit_shares(&mut file, &header, unit, &rebuilt).map_err(damaged));
    Ok(by_pack(base, &header, &rebuilt, &shares.collect::<Result<Vec<_>, _>>()?))
}

/// What each file of `unit` takes of its blocks. Only blocks that several files share are read.
fn unit_shares(
    file: &mut (impl Read + Seek),
    header: &PackHeader,
    unit: &Unit,
    rebuilt: &Rebuilt,
) -> Result<Vec<u64>, String> {
    let sizes: Vec<u64> = unit.new_rows.iter().map(|row| rebuilt.manifest.rows()[*row].digest.size).collect();
    let bytes: u64 = header.blocks()[unit.blocks.clone()].iter().map(|block| block.length).sum();
    let mut even = vec![0; sizes.len()];
    if sizes.len() == 1 || !unit.is_readable() {
        divide(bytes, &sizes, &[], &mut even);
        return Ok(even);
    }
    let mut shares = Shares::new(unit, &sizes).map_err(|e| e.to_string())?;
    for index in unit.blocks.clone() {
        let block = &header.blocks()[index];
        file.seek(SeekFrom::Start(header.block_offset(index))).map_err(|e| e.to_string())?;
        let payload = content::read_exact(file, block.length)?;
        let found = Blake3::of(&payload);
        if found != block.blake3 {
            return Err(format!("block {index}: expected BLAKE3 {}, found {found}", block.blake3));
        }
        shares.block(&payload).map_err(|e| format!("block {index}: {e}"))?;
    }
    Ok(shares.finish())
}

/// The parts of an update by pack; `shares` has for each unit what each of its new rows takes.
pub fn by_pack(base: &Manifest, header: &PackHeader, rebuilt: &Rebuilt, shares: &[Vec<u64>]) -> Parts {
    let target = &rebuilt.manifest;
    let path = |manifest: &Manifest, row: usize| manifest.rows()[row].path.to_string();
    let mut taken: HashMap<usize, u64> = HashMap::new();
    for (unit, shares) in header.units().iter().zip(shares) {
        taken.extend(unit.new_rows.iter().copied().zip(shares.iter().copied()));
    }
    let part = |row: usize| {
        let mut part = Part::of(base, target, row);
        match rebuilt.origins[row] {
            Origin::None => {}
            Origin::Unchanged => part.how = How::Mode,
            Origin::Copy { base_row } => {
                let stays = target.find(&base.rows()[base_row].path).is_some();
                part.how = if stays { How::Copied } else { How::Moved };
                part.from = vec![path(base, base_row)];
            }
            Origin::Twin { row } => {
                part.how = How::Twin;
                part.from = vec![path(target, row)];
            }
            Origin::Unit { unit } => {
                let unit = &header.units()[unit];
                part.how = if unit.old_rows.is_empty() { How::Full } else { How::Patched(Transform::of(unit)) };
                part.from = old_of(base, unit, &part.path);
                part.download_bytes = taken.get(&row).copied().unwrap_or_default();
                part.is_estimate = unit.new_rows.len() > 1 && unit.method != PLAIN;
            }
        }
        part
    };
    let changed = differing_rows(base, target);
    Parts {
        way: Way::Pack,
        directory_bytes: header.header_bytes(),
        objects: 0,
        parts: changed.into_iter().map(part).collect(),
    }
}

/// What a file of a unit is made from: the old file at its path, or that of a unit with one; none is named where many serve.
fn old_of(base: &Manifest, unit: &Unit, path: &str) -> Vec<String> {
    let all: Vec<String> = unit.old_rows.iter().map(|row| base.rows()[*row].path.to_string()).collect();
    match all.iter().find(|old| *old == path) {
        Some(own) => vec![own.clone()],
        None if unit.new_rows.len() == 1 => all,
        None => Vec::new(),
    }
}

/// Rows of `target` in which a path differs from `base`, modes and policies too.
fn differing_rows(base: &Manifest, target: &Manifest) -> Vec<usize> {
    let rows = target.rows().iter().enumerate();
    rows.filter(|(_, row)| base.find(&row.path).map(|(_, old)| old) != Some(*row)).map(|(index, _)| index).collect()
}

/// The parts of an update by objects: what a client has to fetch whose tree holds the base release.
pub fn by_objects(
    (base, base_index): (&Manifest, &ObjectsIndex),
    (target, index): (&Manifest, &ObjectsIndex),
    release: &Release,
) -> Parts {
    let here: HashMap<Blake3, usize> = base
        .rows()
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, row)| row.is_file())
        .map(|(index, row)| (row.digest.blake3, index))
        .collect();
    let mut parts: Vec<Part> = Vec::new();
    let mut fetched: BTreeMap<Blake3, usize> = BTreeMap::new();
    for row in differing_rows(base, target) {
        let (new, old) = (&target.rows()[row], base.find(&target.rows()[row].path));
        let mut part = Part { replaces: false, ..Part::of(base, target, row) };
        match here.get(&new.digest.blake3).map(|old| &base.rows()[*old]) {
            _ if !new.is_file() => {}
            _ if old.is_some_and(|(_, old)| old.digest == new.digest && old.is_file()) => part.how = How::Mode,
            Some(old) => {
                part.how = if target.find(&old.path).is_some() { How::Copied } else { How::Moved };
                part.from = vec![old.path.to_string()];
            }
            None => match fetched.get(&new.digest.blake3) {
                Some(twin) => {
                    part.how = How::Twin;
                    part.from = vec![target.rows()[*twin].path.to_string()];
                }
                None => {
                    part.how = How::Full;
                    fetched.insert(new.digest.blake3, row);
                }
            },
        }
        parts.push(part);
    }
    let reusable = reusable(base, base_index);
    let mut weights: BTreeMap<usize, Vec<(usize, u64)>> = BTreeMap::new();
    for (number, part) in parts.iter().enumerate().filter(|(_, part)| part.how == How::Full) {
        for piece in index.pieces(part.row) {
            weights.entry(piece.object).or_default().push((number, piece.length));
        }
    }
    let mut objects = 0;
    for (object, users) in weights {
        let object = &index.objects()[object];
        if reusable.contains(&object.blake3) {
            continue;
        }
        objects += 1;
        let lengths: Vec<u64> = users.iter().map(|user| user.1).collect();
        let mut shares = vec![0; users.len()];
        divide(object.length, &lengths, &[], &mut shares);
        for ((number, _), share) in users.iter().zip(shares) {
            parts[*number].download_bytes += share;
            parts[*number].is_estimate |= users.len() > 1;
        }
    }
    let directory_bytes = release.manifest.length + release.objects.length;
    Parts { way: Way::Objects, directory_bytes, objects, parts }
}

/// Objects that lie whole in one large old file: clients take them from there.
fn reusable(base: &Manifest, index: &ObjectsIndex) -> BTreeSet<Blake3> {
    if !base.rows().iter().any(|row| row.is_file() && row.digest.size >= REUSE_BYTES_MIN) {
        return BTreeSet::new();
    }
    let pieces = (0..base.rows().len()).flat_map(|row| index.pieces(row));
    let whole = pieces.filter(|piece| piece.offset == 0 && piece.length == index.objects()[piece.object].raw_length);
    whole.map(|piece| index.objects()[piece.object].blake3).collect()
}

impl Part {
    fn new(path: &str, how: How) -> Self {
        let (path, from) = (path.to_owned(), Vec::new());
        Self { path, how, from, size: 0, download_bytes: 0, is_estimate: false, replaces: false, advice: None, row: 0 }
    }

    /// How it comes about, for people.
    pub fn how_text(&self) -> String {
        let from = self.from.first().filter(|from| **from != self.path);
        let from = |word: &str| from.map_or_else(String::new, |from| format!(" {word} {from}"));
        match &self.how {
            How::Moved => format!("moved{}", from("from")),
            How::Copied => format!("copied{}", from("from")),
            How::Twin => format!("the same{}", from("as")),
            How::Patched(Transform::Plain) => format!("patched{}", from("from")),
            How::Patched(transform) => format!("patched ({}){}", transform.name(), from("from")),
            How::Full => "full".to_owned(),
            How::Mode => "mode".to_owned(),
            How::NoContent => "link or directory".to_owned(),
        }
    }

    fn of(base: &Manifest, target: &Manifest, row: usize) -> Self {
        let new = &target.rows()[row];
        let mut part = Self::new(new.path.as_str(), How::NoContent);
        part.row = row;
        part.size = if new.is_file() { new.digest.size } else { 0 };
        part.replaces = base.find(&new.path).is_some_and(|(_, old)| old.is_file());
        part
    }
}

fn removed(base: &Manifest, target: &Manifest, parts: &[Part]) -> Vec<String> {
    let moved: BTreeSet<&str> = parts
        .iter()
        .filter(|part| part.how == How::Moved)
        .flat_map(|part| part.from.iter().map(String::as_str))
        .collect();
    let gone = differing(base, target).into_iter().filter_map(|difference| match difference {
        Difference::Removed { base_row } => Some(base.rows()[base_row].path.to_string()),
        Difference::Changed { .. } => None,
    });
    gone.filter(|path| !moved.contains(path.as_str())).collect()
}
