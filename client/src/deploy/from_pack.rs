//! New files from the units of a pack.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use super::stage::Sink;
use super::target::checked_bytes;
use super::{BaseRelease, Deploy};
use crate::download::{KeptBlock, VerifiedStream};
use crate::error::Error;
use crate::format::digest::Blake3;
use crate::format::document::FileRef;
use crate::format::layout;
use crate::format::pack::{Origin, PackHeader, Rebuilt, Unit};
use crate::format::release::{PackRow, Release};
use crate::patch::{Joined, OldBytes, UnitDecoder};
use crate::progress::Event;
use crate::tree::{Staging, TreeFile};

/// A pack whose header is verified, and what of it is on disk from an earlier run.
pub(super) struct OpenPack {
    pub(super) name: String,
    pub(super) header: PackHeader,
    pub(super) rebuilt: Rebuilt,
    stream: VerifiedStream,
    /// What was fetched, at the offsets it has in the pack; each part is verified before it is used.
    partial: Partial,
}

/// A partly fetched pack, with its name for messages.
struct Partial {
    file: File,
    path: PathBuf,
}

impl OpenPack {
    /// Fetches the header and rebuilds the target manifest from `base`; gives its bytes, too.
    pub(super) fn open(
        deploy: &Deploy<'_>,
        row: &PackRow,
        base: &BaseRelease,
        release: &Release,
        staging: &Staging,
    ) -> Result<(Self, Vec<u8>), Error> {
        let name = layout::pack(&row.header.blake3);
        let path = staging.partial_path(&format!("pack-{}", row.header.blake3));
        let io = |source| Error::Io { doing: "open a partly fetched pack at", path: path.clone(), source };
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut partial = Partial { file: opened.map_err(io)?, path: path.clone() };
        let mut stream = deploy.downloader.stream(&name, 0);
        let bytes = part(deploy, &mut stream, &mut partial, 0, &row.header)?;
        let pack_error = |source| Error::Pack { name: name.clone(), source };
        let header = PackHeader::parse(&bytes).map_err(pack_error)?;
        let rebuilt = header.rebuild(&base.manifest).map_err(pack_error)?;
        let manifest_bytes = checked_bytes(&rebuilt.manifest, &release.manifest)
            .ok_or_else(|| Error::PackManifest { name: name.clone(), expected: release.manifest.blake3 })?;
        Ok((Self { name, header, rebuilt, stream, partial }, manifest_bytes))
    }

    /// The readable unit that makes the content of `target_row`.
    pub(super) fn unit_of(&self, target_row: usize) -> Option<usize> {
        let row = self.twin_of(target_row).unwrap_or(target_row);
        match self.rebuilt.origins[row] {
            Origin::Unit { unit } if self.header.units()[unit].is_readable() => Some(unit),
            _ => None,
        }
    }

    /// The row a unit makes whose content `target_row` shares.
    pub(super) fn twin_of(&self, target_row: usize) -> Option<usize> {
        match self.rebuilt.origins[target_row] {
            Origin::Twin { row } => Some(row),
            _ => None,
        }
    }

    /// Bytes of the blocks of `unit`, and where they lie in the pack.
    pub(super) fn span(&self, unit: usize) -> std::ops::Range<u64> {
        let blocks = &self.header.units()[unit].blocks;
        self.header.block_offset(blocks.start)..self.header.block_offset(blocks.end)
    }

    /// The offset up to which an earlier run may have fetched it. A hole before it, of a unit that was not needed then, passes for
    /// fetched: what is asked for is an estimate.
    pub(super) fn kept_end(&self) -> u64 {
        self.partial.file.metadata().map_or(0, |metadata| metadata.len())
    }

    /// Decodes one unit into `sink`, block by block as they arrive; what it must read again lies in `staging`.
    pub(super) fn decode(
        &mut self,
        deploy: &Deploy<'_>,
        unit: usize,
        base: &BaseRelease,
        staging: &Staging,
        sink: &mut Sink<'_>,
    ) -> Result<(), Error> {
        let Self { name, header, rebuilt, stream, partial } = self;
        let unit_header = &header.units()[unit];
        let lengths = rebuilt.lengths[unit];
        let patch_error = |source| Error::Patch { name: name.clone(), source };
        let mut old = open_old(deploy, unit_header, base)?;
        let mut decoder =
            UnitDecoder::new(unit_header, lengths.old, lengths.new, staging.scratch()).map_err(patch_error)?;
        for block in unit_header.blocks.clone() {
            deploy.stop_if_asked()?;
            let info = &header.blocks()[block];
            let file = FileRef { length: info.length, blake3: info.blake3 };
            let payload = part(deploy, stream, partial, header.block_offset(block), &file)?;
            decoder.block(&payload, &mut old, sink).map_err(patch_error)?;
        }
        decoder.finish().map_err(patch_error)
    }
}

/// Bytes of a pack at `offset`: from the partial file if they are there and right, else from the stream.
fn part(
    deploy: &Deploy<'_>,
    stream: &mut VerifiedStream,
    partial: &mut Partial,
    offset: u64,
    file: &FileRef,
) -> Result<Vec<u8>, Error> {
    if let Some(bytes) = kept(&mut partial.file, offset, file) {
        deploy.progress.event(Event::Advanced { bytes: file.length });
        return Ok(bytes);
    }
    stream.skip_to(offset);
    let block = KeptBlock { file: &mut partial.file, path: &partial.path, offset };
    Ok(stream.next_kept(file.length, &file.blake3, block)?)
}

fn kept(partial: &mut File, offset: u64, file: &FileRef) -> Option<Vec<u8>> {
    let end = offset.checked_add(file.length)?;
    if partial.metadata().ok()?.len() < end {
        return None;
    }
    partial.seek(SeekFrom::Start(offset)).ok()?;
    let mut bytes = Vec::new();
    Read::by_ref(partial).take(file.length).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 == file.length && Blake3::of(&bytes) == file.blake3).then_some(bytes)
}

/// The old files of a unit, one after the other.
fn open_old(deploy: &Deploy<'_>, unit: &Unit, base: &BaseRelease) -> Result<Joined<OldFile>, Error> {
    let mut old = Joined::new();
    for row in &unit.old_rows {
        let row = &base.manifest.rows()[*row];
        old.push(row.digest.size, OldFile(deploy.lock.open_file(&row.path)?));
    }
    Ok(old)
}

/// A file of the tree as old bytes.
struct OldFile(TreeFile);

impl OldBytes for OldFile {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        self.0.read_exact_at(offset, buffer)
    }
}
