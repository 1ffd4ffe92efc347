//! Contents of rows, read from the directory of a release and checked against its manifest.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use lamplighter_client::format::digest::Blake3;
use lamplighter_client::format::manifest::{Manifest, Row};
use lamplighter_client::patch::{Joined, OldBytes};

use super::PackBuildError;

/// Contents up to this size are held in memory, so that a unit of many small files needs no file handles.
const HELD_BYTES: u64 = 2 << 20;

/// The content of one row.
pub(super) enum Part {
    Held(Vec<u8>),
    File(File),
}

impl OldBytes for Part {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Held(bytes) => bytes.as_slice().read_at(offset, buffer),
            Self::File(file) => {
                file.seek(SeekFrom::Start(offset))?;
                file.read_exact(buffer)
            }
        }
    }
}

/// The contents of `rows`, one after the other.
pub(super) fn open(manifest: &Manifest, dir: &Path, rows: &[usize]) -> Result<Joined<Part>, PackBuildError> {
    let mut joined = Joined::new();
    for row in rows {
        let row = &manifest.rows()[*row];
        joined.push(row.digest.size, open_one(row, dir)?);
    }
    Ok(joined)
}

fn open_one(row: &Row, dir: &Path) -> Result<Part, PackBuildError> {
    let path = dir.join(row.path.to_path());
    let fail = |source| PackBuildError::Read { path: path.clone(), source };
    let mut file = File::open(&path).map_err(fail)?;
    if row.digest.size <= HELD_BYTES {
        let mut bytes = Vec::with_capacity(row.digest.size as usize + 1);
        file.take(row.digest.size + 1).read_to_end(&mut bytes).map_err(fail)?;
        check(row, &path, bytes.len() as u64, Blake3::of(&bytes))?;
        return Ok(Part::Held(bytes));
    }
    let mut hasher = blake3::Hasher::new();
    let length = io::copy(&mut (&mut file).take(row.digest.size + 1), &mut hasher).map_err(fail)?;
    check(row, &path, length, Blake3::from_bytes(*hasher.finalize().as_bytes()))?;
    Ok(Part::File(file))
}

fn check(row: &Row, path: &PathBuf, length: u64, blake3: Blake3) -> Result<(), PackBuildError> {
    if length == row.digest.size && blake3 == row.digest.blake3 {
        Ok(())
    } else {
        Err(PackBuildError::Changed { path: path.to_owned(), expected: row.digest.blake3, actual: blake3 })
    }
}
