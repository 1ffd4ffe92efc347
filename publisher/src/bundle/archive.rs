//! Entries as an archive, zip or tar with zstd, or as a directory.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use lamplighter_client::format::digest::{Blake3, ContentDigest};
use lamplighter_client::format::text::{Time, number};
use tempfile::NamedTempFile;
use zip::write::SimpleFileOptions;

use super::BundleError;
use crate::site::write::readable_by_all;

/// How hard archives are compressed: they are made once and fetched often.
const ZSTD_LEVEL: i32 = 19;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, with `/` between directories.
    pub name: String,
    /// Its permissions.
    pub mode: u32,
    /// What it is.
    pub content: Content,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Content {
    Directory,
    Link(String),
    Bytes(Vec<u8>),
    /// A file on disk, which must have this digest.
    File {
        path: PathBuf,
        digest: ContentDigest,
    },
}

impl Entry {
    /// Bytes of its content.
    pub fn bytes(&self) -> u64 {
        match &self.content {
            Content::Directory | Content::Link(_) => 0,
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::File { digest, .. } => digest.size,
        }
    }

    /// Its content, hashed on the way.
    fn reader(&self) -> io::Result<Checked<'_>> {
        let reader: Box<dyn Read> = match &self.content {
            Content::Directory | Content::Link(_) => Box::new(io::empty()),
            Content::Bytes(bytes) => Box::new(bytes.as_slice()),
            Content::File { path, digest } => Box::new(File::open(path)?.take(digest.size)),
        };
        Ok(Checked { entry: self, reader, hasher: blake3::Hasher::new() })
    }

    /// Writes its content to `out`, and checks it.
    fn copy_to(&self, out: &mut impl Write) -> Result<(), CopyError> {
        let mut reader = self.reader()?;
        io::copy(&mut reader, out)?;
        reader.check()
    }
}

/// The content of an entry on its way.
struct Checked<'a> {
    entry: &'a Entry,
    reader: Box<dyn Read + 'a>,
    hasher: blake3::Hasher,
}

impl Read for Checked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        Ok(n)
    }
}

impl Checked<'_> {
    /// Checks that all that was read is what was to be read.
    fn check(self) -> Result<(), CopyError> {
        let Content::File { path, digest } = &self.entry.content else { return Ok(()) };
        let found = Blake3::from_bytes(*self.hasher.finalize().as_bytes());
        let (path, expected) = (path.clone(), digest.blake3);
        if found == expected {
            return Ok(());
        }
        Err(CopyError::Changed(BundleError::Changed { path, expected, found }))
    }
}

enum CopyError {
    Io(io::Error),
    Changed(BundleError),
}

impl From<io::Error> for CopyError {
    fn from(error: io::Error) -> Self {
        CopyError::Io(error)
    }
}

impl From<zip::result::ZipError> for CopyError {
    fn from(error: zip::result::ZipError) -> Self {
        CopyError::Io(error.into())
    }
}

impl CopyError {
    fn at(self, path: &Path) -> BundleError {
        match self {
            CopyError::Io(source) => BundleError::Write { path: path.to_owned(), source },
            CopyError::Changed(error) => error,
        }
    }
}

/// `entries` in order, with the directories above them.
pub fn complete(mut entries: Vec<Entry>) -> Vec<Entry> {
    let known: BTreeSet<String> = entries.iter().map(|entry| entry.name.clone()).collect();
    let mut missing = BTreeSet::new();
    for name in &known {
        let above = name.match_indices('/').map(|(at, _)| name[..at].to_owned());
        missing.extend(above.filter(|dir| !known.contains(dir)));
    }
    let directory = |name| Entry { name, mode: 0o755, content: Content::Directory };
    entries.extend(missing.into_iter().map(directory));
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries
}

/// Writes `entries` to the archive `out`, of the kind its name says; gives its length and BLAKE3.
pub(super) fn write(entries: &[Entry], time: Time, out: &Path) -> Result<(u64, Blake3), BundleError> {
    let name = out.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let write: fn(&[Entry], Time, &File) -> Result<(), CopyError> = match () {
        () if name.ends_with(".zip") => write_zip,
        () if name.ends_with(".tar.zst") => write_tar,
        () => return Err(BundleError::Format(out.to_owned())),
    };
    let failed = |source| BundleError::Write { path: out.to_owned(), source };
    let dir = out.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = NamedTempFile::new_in(dir).map_err(failed)?;
    write(entries, time, file.as_file()).map_err(|error| error.at(out))?;
    file.as_file().sync_data().map_err(failed)?;
    readable_by_all(file.as_file()).map_err(failed)?;
    file.persist(out).map_err(|e| failed(e.error))?;
    let mut hasher = blake3::Hasher::new();
    let length = io::copy(&mut File::open(out).map_err(failed)?, &mut hasher).map_err(failed)?;
    Ok((length, Blake3::from_bytes(*hasher.finalize().as_bytes())))
}

fn write_tar(entries: &[Entry], time: Time, out: &File) -> Result<(), CopyError> {
    let mut encoder = zstd::Encoder::new(BufWriter::new(out), ZSTD_LEVEL)?;
    encoder.include_checksum(true)?;
    let mut archive = tar::Builder::new(encoder);
    for entry in entries {
        let mut header = tar::Header::new_ustar();
        header.set_mode(entry.mode);
        header.set_mtime(u64::try_from(time.seconds()).unwrap_or(0));
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(entry.bytes());
        match &entry.content {
            Content::Directory => {
                header.set_entry_type(tar::EntryType::Directory);
                archive.append_data(&mut header, format!("{}/", entry.name), io::empty())?;
            }
            Content::Link(destination) => {
                header.set_entry_type(tar::EntryType::Symlink);
                archive.append_link(&mut header, &entry.name, destination)?;
            }
            Content::Bytes(_) | Content::File { .. } => {
                header.set_entry_type(tar::EntryType::Regular);
                let mut reader = entry.reader()?;
                archive.append_data(&mut header, &entry.name, &mut reader)?;
                reader.check()?;
            }
        }
    }
    let out = archive.into_inner()?.finish()?;
    Ok(out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_data()?)
}

fn write_zip(entries: &[Entry], time: Time, out: &File) -> Result<(), CopyError> {
    let mut archive = zip::ZipWriter::new(BufWriter::new(out));
    let time = dos_time(time);
    for entry in entries {
        let options = SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Deflated)
            .last_modified_time(time)
            .unix_permissions(entry.mode)
            .large_file(entry.bytes() >= u64::from(u32::MAX));
        match &entry.content {
            Content::Directory => archive.add_directory(&entry.name, options)?,
            Content::Link(destination) => archive.add_symlink(&entry.name, destination, options)?,
            Content::Bytes(_) | Content::File { .. } => {
                archive.start_file(&entry.name, options)?;
                entry.copy_to(&mut archive)?;
            }
        }
    }
    archive.finish()?.flush()?;
    Ok(())
}

/// `time` as zip archives know it, in UTC; their first moment where they do not reach so far.
fn dos_time(time: Time) -> zip::DateTime {
    let text = time.to_string();
    let mut parts =
        text.split(|c: char| !c.is_ascii_digit()).map(|part| number(part.trim_start_matches('0')).unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    let (year, mut small) = (next() as u16, || next() as u8);
    zip::DateTime::from_date_and_time(year, small(), small(), small(), small(), small()).unwrap_or_default()
}

/// Writes `entries` below the directory `out`, which is made.
pub(super) fn write_directory(entries: &[Entry], out: &Path) -> Result<(), BundleError> {
    let io_at = |path: &Path| {
        let path = path.to_owned();
        move |source| BundleError::Write { path, source }
    };
    std::fs::create_dir_all(out).map_err(io_at(out))?;
    for entry in entries {
        let path = entry.name.split('/').fold(out.to_owned(), |path, part| path.join(part));
        match &entry.content {
            Content::Directory => std::fs::create_dir(&path).map_err(io_at(&path))?,
            Content::Link(destination) => make_link(destination, &path).map_err(io_at(&path))?,
            Content::Bytes(_) | Content::File { .. } => {
                let mut file = File::create_new(&path).map_err(io_at(&path))?;
                entry.copy_to(&mut file).map_err(|error| error.at(&path))?;
            }
        }
        if !matches!(entry.content, Content::Link(_)) {
            set_mode(&path, entry.mode).map_err(io_at(&path))?;
        }
    }
    Ok(())
}

#[cfg(unix)]
fn make_link(destination: &str, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(destination, path)
}

#[cfg(windows)]
fn make_link(destination: &str, path: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(destination, path)
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn set_mode(_: &Path, _: u32) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_above_are_added_and_come_first() {
        let entry = |name: &str| Entry { name: name.to_owned(), mode: 0o644, content: Content::Bytes(vec![1]) };
        let names: Vec<String> =
            complete(vec![entry("a/b/c"), entry("a-b"), entry("a/b2")]).into_iter().map(|e| e.name).collect();
        assert_eq!(names, ["a", "a-b", "a/b", "a/b/c", "a/b2"]);
    }

    #[test]
    fn times_are_those_zip_can_say() {
        let time = dos_time(Time::parse("2026-01-31T12:08:09Z").expect("a time"));
        assert_eq!((time.year(), time.month(), time.day(), time.hour(), time.minute()), (2026, 1, 31, 12, 8));
        assert_eq!(dos_time(Time::from_seconds(0)), zip::DateTime::default());
    }
}
