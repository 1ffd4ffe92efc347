//! Objects and packs, each read once from end to end.

use std::fs::File;
use std::io::{BufReader, Read};

use lamplighter_client::format::digest::Blake3;
use lamplighter_client::format::document::FileRef;
use lamplighter_client::format::layout;
use lamplighter_client::format::objects::{StoredObject, decode};
use lamplighter_client::format::pack::{FORMAT, HEADER_BYTES_MAX, PackHeader};
use lamplighter_client::format::release::{PackRow, Release};

use super::Finding;
use crate::site::documents::{manifest, named};
use crate::site::{Site, SiteError};
use crate::watch::Watch;

/// A pack and the releases it stands between.
pub(crate) struct Pack<'a> {
    pub(crate) row: &'a PackRow,
    pub(crate) base: &'a Release,
    pub(crate) target: &'a Release,
}

/// Reads, hashes and decodes one object of this name, stored length and raw length.
pub(super) fn object(
    site: &Site,
    (blake3, length, raw_length): (Blake3, u64, u64),
    watch: &dyn Watch,
) -> Result<(), Finding> {
    let name = layout::object(&blake3);
    let finding = |text: String| Finding { code: "object", name: name.clone(), text };
    let stored = named(site, &name, &FileRef { length, blake3 });
    watch.advanced(length);
    let stored = stored.map_err(|error| match error {
        SiteError::Damaged { detail, .. } => finding(detail),
        other => finding(other.to_string()),
    })?;
    decode(&stored, &StoredObject { blake3, length, raw_length }).map_err(|e| finding(e.to_string()))?;
    Ok(())
}

/// Reads one pack: its header, what the header makes of the base manifest, every block, and that nothing follows.
pub(crate) fn pack(site: &Site, pack: &Pack<'_>, watch: &dyn Watch) -> Result<(), Finding> {
    let name = layout::pack(&pack.row.header.blake3);
    let finding = |text: String| Finding { code: "pack", name: name.clone(), text };
    watch.advanced(pack.row.length);
    let found = site.length(&name);
    if found != Some(pack.row.length) {
        let found = found.map_or("no such file".to_owned(), |length| format!("{length} bytes"));
        return Err(finding(format!("expected {} bytes, found {found}", pack.row.length)));
    }
    if pack.row.format > FORMAT {
        // Written by a newer publisher; all that can be said is that it is there.
        return Ok(());
    }
    let file = File::open(site.path(&name)).map_err(|e| finding(e.to_string()))?;
    let mut reader = BufReader::with_capacity(1 << 18, file);
    let header = header(pack.row, &mut reader).map_err(finding)?;
    let base = manifest(site, pack.base).map_err(|e| finding(e.to_string()))?;
    let rebuilt = header.rebuild(&base).map_err(|e| finding(e.to_string()))?;
    if FileRef::of(&rebuilt.manifest.to_bytes()) != pack.target.manifest {
        return Err(finding("it makes another manifest of its base's than its release has".to_owned()));
    }
    if header.pack_bytes() != pack.row.length {
        return Err(finding(format!("expected {} bytes, its header says {}", pack.row.length, header.pack_bytes())));
    }
    for (index, block) in header.blocks().iter().enumerate() {
        let found = read_exact(&mut reader, block.length).map(|bytes| Blake3::of(&bytes));
        if found.as_ref() != Ok(&block.blake3) {
            let found = found.map_or_else(|e| e, |digest| digest.to_string());
            return Err(finding(format!("block {index}: expected BLAKE3 {}, found {found}", block.blake3)));
        }
    }
    Ok(())
}

/// The header of the pack of `row`, which `reader` begins with.
pub(crate) fn header(row: &PackRow, reader: &mut impl Read) -> Result<PackHeader, String> {
    if row.header.length > HEADER_BYTES_MAX {
        return Err(format!("expected a header of at most {HEADER_BYTES_MAX} bytes, found {}", row.header.length));
    }
    let bytes = read_exact(reader, row.header.length)?;
    let found = Blake3::of(&bytes);
    if found != row.header.blake3 {
        return Err(format!("expected a header with BLAKE3 {}, found {found}", row.header.blake3));
    }
    PackHeader::parse(&bytes).map_err(|e| e.to_string())
}

/// The next `length` bytes; memory grows with what is there, not with what a header claims.
pub(crate) fn read_exact(reader: &mut impl Read, length: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    reader.take(length).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.len() as u64 == length { Ok(bytes) } else { Err(format!("{} bytes of {length}", bytes.len())) }
}
