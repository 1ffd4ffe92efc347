//! Takes a pack the whole way a client takes it, in memory.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use lamplighter_client::format::digest::Blake3;
use lamplighter_client::format::manifest::Manifest;
use lamplighter_client::format::pack::{Origin, PackHeader, Rebuilt};
use lamplighter_client::patch::{Joined, PatchError, UnitDecoder};

/// Contents of the rows of a base release, by index.
pub(crate) fn contents(manifest: &Manifest, dir: &Path) -> Vec<Vec<u8>> {
    let read = |row: &lamplighter_client::format::manifest::Row| {
        if row.is_file() { fs::read(dir.join(row.path.to_path())).unwrap_or_default() } else { Vec::new() }
    };
    manifest.rows().iter().map(read).collect()
}

/// Decodes one unit from nothing but its own blocks of `pack`.
pub(crate) fn decode_unit(
    header: &PackHeader,
    rebuilt: &Rebuilt,
    unit: usize,
    pack: &[u8],
    base: &[Vec<u8>],
) -> Result<Vec<u8>, PatchError> {
    let (unit, lengths) = (&header.units()[unit], rebuilt.lengths[unit]);
    let mut old = Joined::new();
    unit.old_rows.iter().for_each(|row| old.push(base[*row].len() as u64, base[*row].as_slice()));
    let mut decoder = UnitDecoder::new(unit, lengths.old, lengths.new, Cursor::new(Vec::new()))?;
    let mut new = Vec::new();
    for block in unit.blocks.clone() {
        let payload = &pack[header.block_offset(block) as usize..header.block_offset(block + 1) as usize];
        decoder.block(payload, &mut old, &mut new)?;
    }
    decoder.finish()?;
    Ok(new)
}

/// Rebuilds the manifest, decodes every unit (the last one first), and gives the content of each target row.
///
/// # Panics
/// Anything is not as the base manifest and the pack promise.
pub(crate) fn apply(
    pack: &[u8],
    header_length: u64,
    base: &Manifest,
    base_contents: &[Vec<u8>],
) -> (Manifest, Vec<Vec<u8>>) {
    let header = PackHeader::parse(&pack[..header_length as usize]).expect("a header");
    assert_eq!(header.pack_bytes(), pack.len() as u64);
    assert_eq!(header.to_bytes(), &pack[..header_length as usize]);
    for (index, block) in header.blocks().iter().enumerate() {
        let payload = &pack[header.block_offset(index) as usize..header.block_offset(index + 1) as usize];
        assert_eq!(Blake3::of(payload), block.blake3);
    }
    let rebuilt = header.rebuild(base).expect("edits that fit");
    let rows = rebuilt.manifest.rows();
    let mut found: Vec<Option<Vec<u8>>> = vec![None; rows.len()];
    for unit in (0..header.units().len()).rev() {
        let new = decode_unit(&header, &rebuilt, unit, pack, base_contents).expect("a unit");
        let mut at = 0;
        for row in &header.units()[unit].new_rows {
            let end = at + rows[*row].digest.size as usize;
            found[*row] = Some(new[at..end].to_vec());
            at = end;
        }
    }
    for (index, origin) in rebuilt.origins.iter().enumerate() {
        match *origin {
            Origin::Unit { unit } => assert!(header.units()[unit].new_rows.contains(&index)),
            Origin::Unchanged => {
                let (row, _) = base.find(&rows[index].path).expect("the same path");
                found[index] = Some(base_contents[row].clone());
            }
            Origin::Copy { base_row } => found[index] = Some(base_contents[base_row].clone()),
            Origin::Twin { row } => found[index] = found[row].clone(),
            Origin::None => found[index] = Some(Vec::new()),
        }
    }
    for (row, content) in rows.iter().zip(&found).filter(|(row, _)| row.is_file()) {
        let content = content.as_ref().expect("every file has a content");
        assert_eq!(Blake3::of(content), row.digest.blake3, "{}", row.path);
    }
    (rebuilt.manifest.clone(), found.into_iter().map(Option::unwrap_or_default).collect())
}
