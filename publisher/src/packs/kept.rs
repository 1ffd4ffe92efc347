//! Patches that earlier runs computed, in a directory: so that a run that is repeated, on another machine or after a
//! crash, computes only what is new.
//!
//! # Specification
//!
//! A file lies at `<ab>/<key>`, where the key is the BLAKE3 of all a patch depends on: contents of both sides, options,
//! version of the encoder, pack format. It holds the BLAKE3 of the description, the length of the description as eight
//! bytes, little end first, the description as JSON, and the blocks one after the other, each with length and BLAKE3 in
//! the description. A file that is not so is removed and computed again.
//!
//! The directory is a convenience, never an authority: packs made from it are proved like all others before a release is
//! signed. Whoever may write there can make a run fail, no more. When the run ends, the files used longest ago go until
//! the rest fits the limit; a file's time of change says when it was used.
//!
//! # Changelog
//!
//! * 1: first.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use lamplighter_client::format::digest::Blake3;
use lamplighter_client::format::pack::codec::Algorithm;
use lamplighter_client::format::pack::{BlockInfo, FORMAT};
use serde::{Deserialize, Serialize};
use tempfile::{NamedTempFile, spooled_tempfile_in};

use super::cache::{CachedUnit, HELD_BYTES};
use crate::diff::Encoded;

const DESCRIPTION_BYTES_MAX: u64 = 64 << 20;

/// A directory of patches.
#[derive(Debug)]
pub struct KeptPatches {
    dir: PathBuf,
    limit_bytes: u64,
    reused: AtomicU64,
    computed: AtomicU64,
    failed: AtomicU64,
}

/// What a run made of the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptUse {
    /// Patches that were there.
    pub reused: u64,
    /// Patches that were computed.
    pub computed: u64,
    /// Files that were damaged, or could not be written or removed.
    pub failed: u64,
    /// Bytes in the directory now.
    pub bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct Description {
    method: u64,
    parameters: Vec<u8>,
    codecs: Vec<u64>,
    uses_old: bool,
    /// Length and BLAKE3 of each block.
    blocks: Vec<(u64, String)>,
}

impl KeptPatches {
    /// The directory `dir`, which is made if need be; it may take `limit_bytes` when the run ends.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(dir: &Path, limit_bytes: u64) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let zero = AtomicU64::default;
        Ok(Self { dir: dir.to_owned(), limit_bytes, reused: zero(), computed: zero(), failed: zero() })
    }

    /// Where it lies.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn path(&self, key: Blake3) -> PathBuf {
        let name = Blake3::of(&[key.as_bytes().as_slice(), &FORMAT.to_le_bytes()].concat()).to_string();
        self.dir.join(&name[..2]).join(&name)
    }

    /// The unit under `key`, every byte checked; one that is damaged is removed.
    pub(super) fn load(&self, key: Blake3, scratch: &Path) -> Option<CachedUnit> {
        let path = self.path(key);
        match read(&path, scratch) {
            Ok(unit) => {
                // It was used now: a time that cannot be set makes it go earlier, no more.
                let _ = File::options().append(true).open(&path).and_then(|file| file.set_modified(SystemTime::now()));
                self.reused.fetch_add(1, Ordering::Relaxed);
                Some(unit)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(_) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                // The next one replaces it anyway.
                let _ = std::fs::remove_file(&path);
                None
            }
        }
    }

    /// Keeps `unit` under `key`. A patch that cannot be kept is computed again the next time.
    pub(super) fn store(&self, key: Blake3, unit: &CachedUnit) {
        self.computed.fetch_add(1, Ordering::Relaxed);
        if write(&self.dir, &self.path(key), unit).is_err() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Removes what was used longest ago until the rest fits the limit, and tells what the run made of it all.
    pub fn trim(&self) -> KeptUse {
        let files: Vec<(PathBuf, u64, SystemTime)> = walkdir::WalkDir::new(&self.dir)
            .min_depth(2)
            .into_iter()
            .filter_map(Result::ok)
            .filter(|entry| entry.file_type().is_file())
            .filter_map(|entry| {
                let metadata = entry.metadata().ok()?;
                Some((entry.path().to_owned(), metadata.len(), metadata.modified().ok()?))
            })
            .collect();
        let mut bytes: u64 = files.iter().map(|file| file.1).sum();
        for (path, length) in surplus(files, self.limit_bytes) {
            match std::fs::remove_file(&path) {
                Ok(()) => bytes -= length,
                Err(_) => drop(self.failed.fetch_add(1, Ordering::Relaxed)),
            }
        }
        let told = |count: &AtomicU64| count.load(Ordering::Relaxed);
        KeptUse { reused: told(&self.reused), computed: told(&self.computed), failed: told(&self.failed), bytes }
    }
}

/// What has to go of `files` (path, bytes, last use) for the rest to fit: what was used longest ago.
fn surplus(mut files: Vec<(PathBuf, u64, SystemTime)>, limit_bytes: u64) -> Vec<(PathBuf, u64)> {
    files.sort_by(|a, b| (a.2, &a.0).cmp(&(b.2, &b.0)));
    let mut total: u64 = files.iter().map(|file| file.1).sum();
    let goes = |(path, bytes, _)| {
        (total > limit_bytes).then(|| {
            total -= bytes;
            (path, bytes)
        })
    };
    files.into_iter().map_while(goes).collect()
}

fn write(dir: &Path, path: &Path, unit: &CachedUnit) -> io::Result<()> {
    let encoded = &unit.encoded;
    let description = serde_json::to_vec(&Description {
        method: encoded.method.number(),
        parameters: encoded.parameters.clone(),
        codecs: encoded.codecs.iter().map(|codec| codec.number()).collect(),
        uses_old: unit.uses_old,
        blocks: encoded.blocks.iter().map(|block| (block.length, block.blake3.to_string())).collect(),
    })?;
    std::fs::create_dir_all(path.parent().unwrap_or(dir))?;
    let mut file = NamedTempFile::new_in(dir)?;
    file.write_all(Blake3::of(&description).as_bytes())?;
    file.write_all(&(description.len() as u64).to_le_bytes())?;
    file.write_all(&description)?;
    unit.write_to(&mut file)?;
    file.persist(path).map(|_| ()).map_err(|error| error.error)
}

fn read(path: &Path, scratch: &Path) -> io::Result<CachedUnit> {
    let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut file = io::BufReader::new(File::open(path)?);
    let (mut digest, mut length) = ([0; 32], [0; 8]);
    file.read_exact(&mut digest)?;
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > DESCRIPTION_BYTES_MAX {
        return Err(damaged("length"));
    }
    let mut description = Vec::new();
    (&mut file).take(length).read_to_end(&mut description)?;
    if *Blake3::of(&description).as_bytes() != digest {
        return Err(damaged("description"));
    }
    let description: Description = serde_json::from_slice(&description)?;
    let mut blocks = Vec::new();
    let mut out = spooled_tempfile_in(HELD_BYTES, scratch);
    for (length, blake3) in description.blocks {
        let expected: Blake3 = blake3.parse().map_err(|_| damaged("digest"))?;
        let mut hasher = blake3::Hasher::new();
        let copied = io::copy(&mut (&mut file).take(length), &mut Both(&mut out, &mut hasher))?;
        if copied != length || hasher.finalize().as_bytes() != expected.as_bytes() {
            return Err(damaged("block"));
        }
        blocks.push(BlockInfo { length, blake3: expected });
    }
    if file.read(&mut [0])? > 0 {
        return Err(damaged("end"));
    }
    out.rewind()?;
    let codecs = description.codecs.into_iter().map(Algorithm::from_number).collect();
    let method = Algorithm::from_number(description.method);
    let encoded = Encoded { method, parameters: description.parameters, codecs, blocks };
    Ok(CachedUnit::new(encoded, description.uses_old, out))
}

/// Writes to the first, and hashes what was written.
struct Both<'a, W>(&'a mut W, &'a mut blake3::Hasher);

impl<W: Write> Write for Both<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.0.write(bytes)?;
        self.1.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use lamplighter_client::format::pack::PLAIN;

    use super::*;

    fn unit(content: &[u8]) -> CachedUnit {
        let (first, second) = content.split_at(content.len() / 2);
        let block = |bytes: &[u8]| BlockInfo { length: bytes.len() as u64, blake3: Blake3::of(bytes) };
        let mut blocks = spooled_tempfile_in(HELD_BYTES, std::env::temp_dir());
        blocks.write_all(content).expect("written");
        let encoded = Encoded {
            method: PLAIN,
            parameters: vec![1, 2],
            codecs: vec![Algorithm::first(0), Algorithm::first(1)],
            blocks: vec![block(first), block(second)],
        };
        CachedUnit::new(encoded, true, blocks)
    }

    fn bytes(unit: &CachedUnit) -> Vec<u8> {
        let mut out = Vec::new();
        unit.write_to(&mut out).expect("read");
        out
    }

    #[test]
    fn what_was_kept_comes_back_and_what_was_damaged_does_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let kept = KeptPatches::open(dir.path(), u64::MAX).expect("opened");
        let (key, unit) = (Blake3::of(b"key"), unit(&[7; 1000]));
        assert!(kept.load(key, dir.path()).is_none());
        kept.store(key, &unit);
        let again = kept.load(key, dir.path()).expect("there");
        assert_eq!((&again.encoded, again.uses_old, bytes(&again)), (&unit.encoded, true, bytes(&unit)));
        let path = kept.path(key);
        let whole = std::fs::read(&path).expect("there");
        for at in (0..whole.len()).step_by(7) {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, &damaged).expect("written");
            assert!(kept.load(key, dir.path()).is_none() && !path.exists(), "byte {at}");
        }
        for length in [0, 10, 40, whole.len() - 1] {
            std::fs::write(&path, &whole[..length]).expect("written");
            assert!(kept.load(key, dir.path()).is_none(), "{length} bytes");
        }
        std::fs::write(&path, [&whole[..], b"x"].concat()).expect("written");
        assert!(kept.load(key, dir.path()).is_none(), "it goes on");
    }

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let file = |name: &str, bytes, second| (PathBuf::from(name), bytes, UNIX_EPOCH + Duration::from_secs(second));
        let files = vec![file("new", 5, 9), file("old", 5, 1), file("mid", 5, 5)];
        let names = |limit| -> Vec<String> {
            surplus(files.clone(), limit).into_iter().map(|(path, _)| path.display().to_string()).collect()
        };
        assert_eq!(
            (names(15).len(), names(14), names(9), names(0).len()),
            (0, vec!["old".into()], vec!["old".into(), "mid".into()], 3)
        );
    }
}
