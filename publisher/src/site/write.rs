//! The only place that changes a site.
//!
//! Every file is written beside its place, in `.publisher/tmp` of the site, flushed, and renamed in; a directory that got
//! names is flushed before anything that refers to them appears ([`SiteWriter::barrier`]). So a run that dies at any moment
//! leaves whole files only. `.publisher/lock` is held by the kernel while a run lasts; the file itself stays, empty.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use lamplighter_client::format::layout;
use lamplighter_client::lock_file::LockFile;
use tempfile::NamedTempFile;

use super::{Site, SiteError};
use crate::origin::Origin;
use crate::watch::Watch;

/// Directory of the publisher's own files in a site; nothing of it is for clients.
pub const WORK_DIR: &str = ".publisher";

/// A site that this process alone changes, until it is dropped.
pub struct SiteWriter {
    site: Site,
    watch: Arc<dyn Watch>,
    /// Directories whose names are not known to be durable yet.
    touched: Mutex<BTreeSet<PathBuf>>,
    temp_dir: PathBuf,
    /// None where nothing is written.
    lock: Option<LockFile>,
}

impl SiteWriter {
    /// Locks the site at `dir` and clears what a run that died left in its work directory.
    ///
    /// # Errors
    /// Not a site; another publisher holds it; the disk.
    pub fn lock(dir: &Path, watch: Arc<dyn Watch>) -> Result<Self, SiteError> {
        Self::hold(Site::open(dir)?, watch)
    }

    /// One that writes nothing into the site at `dir`, and holds no lock: what is put is only looked at. `temp_dir` is
    /// the caller's, for files under way.
    ///
    /// # Errors
    /// Not a site.
    pub fn pretending(dir: &Path, temp_dir: &Path, watch: Arc<dyn Watch>) -> Result<Self, SiteError> {
        let (site, temp_dir) = (Site::open(dir)?, temp_dir.to_owned());
        Ok(Self { site, watch, touched: Mutex::default(), temp_dir, lock: None })
    }

    /// Makes an empty directory into a site with this first root.
    ///
    /// # Errors
    /// There is a root already; the disk.
    pub fn create(dir: &Path, first_root: &[u8], watch: Arc<dyn Watch>) -> Result<(), SiteError> {
        let write = |source| SiteError::Write { name: layout::root(1), source };
        std::fs::create_dir_all(dir).map_err(write)?;
        let site = Site { dir: dir.to_owned(), origin: None };
        let writer = Self::hold(site, watch)?;
        writer.put(&layout::root(1), first_root)?;
        writer.barrier()
    }

    fn hold(site: Site, watch: Arc<dyn Watch>) -> Result<Self, SiteError> {
        let write = |source| SiteError::Write { name: format!("{WORK_DIR}/lock"), source };
        let work = site.dir.join(WORK_DIR);
        std::fs::create_dir_all(&work).map_err(write)?;
        let lock = File::options().create(true).truncate(false).write(true).open(work.join("lock")).map_err(write)?;
        let Ok(lock) = LockFile::try_lock(lock).map_err(write)? else {
            return Err(SiteError::Locked { dir: site.dir.clone() });
        };
        let temp_dir = work.join("tmp");
        let writer = Self { site, watch, touched: Mutex::default(), temp_dir, lock: Some(lock) };
        remove_tree(&writer.temp_dir()).map_err(write)?;
        std::fs::create_dir(writer.temp_dir()).map_err(write)?;
        Ok(writer)
    }

    /// The same, as a part of the site at `origin`, if there is one.
    pub fn over(mut self, origin: Option<Arc<Origin>>) -> Self {
        self.site = self.site.clone().over(origin);
        self
    }

    /// Keeps a copy of a file that lies where the rest of `site` is, and that was verified or is verified before each use.
    pub(crate) fn keep(site: &Site, name: &str, mut bytes: impl Read) -> Result<(), SiteError> {
        let write = |source| SiteError::Write { name: name.to_owned(), source };
        let path = site.path(name);
        std::fs::create_dir_all(path.parent().unwrap_or(&site.dir)).map_err(write)?;
        let temp = site.dir.join(WORK_DIR).join("tmp");
        std::fs::create_dir_all(&temp).map_err(write)?;
        let mut file = new_temp(&temp).map_err(write)?;
        io::copy(&mut bytes, &mut file).map_err(write)?;
        // What is lost with the power is fetched again.
        file.persist(&path).map(|_| ()).map_err(|e| write(e.error))
    }

    /// The site.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// A directory on the site's volume for files under way; it is emptied when the run ends, or when the next begins.
    pub fn temp_dir(&self) -> PathBuf {
        self.temp_dir.clone()
    }

    /// Whether the immutable file `name` is there with this length, or is named by a release where the rest of the site is.
    pub fn has(&self, name: &str, length: u64) -> bool {
        let known = || self.site.origin.as_ref().and_then(|origin| origin.known(name));
        self.site.local_length(name).or_else(known) == Some(length)
    }

    /// Puts an immutable file. Content that is there already is left alone; true if it was not.
    ///
    /// # Errors
    /// Other content is there; the disk.
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<bool, SiteError> {
        if let Some(length) = self.site.local_length(name) {
            let same = length == bytes.len() as u64 && self.site.read(name, length)?.as_deref() == Some(bytes);
            if same {
                return Ok(false);
            }
            self.may_replace(name)?;
        }
        self.rename_in(name, self.temp_with(name, bytes)?).map(|()| true)
    }

    /// Puts an immutable file that was written in [`SiteWriter::temp_dir`]; true if it was not there.
    ///
    /// # Errors
    /// Other content is there; the disk.
    pub fn put_file(&self, name: &str, file: NamedTempFile) -> Result<bool, SiteError> {
        let read = |source| SiteError::Read { name: name.to_owned(), source };
        if self.site.local_length(name).is_some() {
            if same_content(&self.site.path(name), file.path()).map_err(read)? {
                return Ok(false);
            }
            self.may_replace(name)?;
        }
        let write = |source| SiteError::Write { name: name.to_owned(), source };
        readable_by_all(file.as_file()).map_err(write)?;
        self.rename_in(name, file).map(|()| true)
    }

    /// Replaces a mutable file: a head, or the page for people. All that was put before is durable first.
    ///
    /// # Errors
    /// The disk; the old file is untouched then.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), SiteError> {
        self.barrier()?;
        self.rename_in(name, self.temp_with(name, bytes)?)?;
        self.barrier()
    }

    /// Replaces the publisher's own file `name`, which is not for clients.
    ///
    /// # Errors
    /// The disk; the old file is untouched then.
    pub fn note(&self, name: &str, bytes: &[u8]) -> Result<(), SiteError> {
        let name = format!("{WORK_DIR}/{name}");
        self.rename_in(&name, self.temp_with(&name, bytes)?)
    }

    /// Makes everything put so far durable.
    ///
    /// # Errors
    /// The disk.
    pub fn barrier(&self) -> Result<(), SiteError> {
        let touched = std::mem::take(&mut *self.touched.lock().unwrap_or_else(PoisonError::into_inner));
        for dir in touched {
            flush_directory(&dir).map_err(|source| SiteError::Write { name: dir.display().to_string(), source })?;
        }
        Ok(())
    }

    /// Removes what a run that died wrote for a release it did not come to sign.
    ///
    /// # Errors
    /// The release is signed, and so stays; the disk.
    pub fn clear_unsigned(&self, build: u64, platform: &str) -> Result<(), SiteError> {
        if self.site.length(&layout::release(build, platform)).is_some() {
            return Err(SiteError::Immutable { name: layout::release(build, platform) });
        }
        if self.lock.is_none() {
            return Ok(());
        }
        let name = layout::release_dir(build, platform);
        remove_tree(&self.site.path(&name)).map_err(|source| SiteError::Write { name, source })
    }

    /// Removes the file `name`; it is durable after the next [`SiteWriter::barrier`].
    ///
    /// # Errors
    /// The disk. A file that is gone already is no error.
    pub fn remove(&self, name: &str) -> Result<(), SiteError> {
        if self.lock.is_none() {
            return Ok(());
        }
        self.watch.removing(name);
        let path = self.site.path(name);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(SiteError::Write { name: name.to_owned(), source });
            }
            _ => {}
        }
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        touched.extend(path.parent().map(Path::to_owned));
        Ok(())
    }

    /// Removes the directory `name` and those above it, as far as they are empty. Call it after the barrier: an empty
    /// directory says nothing, so what becomes of it in a power cut does not matter.
    pub fn remove_empty(&self, name: &str) {
        let dir = self.site.path(name);
        let below_site = dir.ancestors().take_while(|dir| **dir != self.site.dir);
        for dir in below_site {
            if std::fs::remove_dir(dir).is_err() {
                break;
            }
        }
    }

    /// A file named by its own digest can only differ by damage, and is mended; any other is what clients may have read.
    fn may_replace(&self, name: &str) -> Result<(), SiteError> {
        if !(name.starts_with("objects/") || name.starts_with("packs/")) {
            return Err(SiteError::Immutable { name: name.to_owned() });
        }
        self.watch.notice("mended", name, "the file in the site was damaged and is written anew");
        Ok(())
    }

    fn temp_with(&self, name: &str, bytes: &[u8]) -> Result<NamedTempFile, SiteError> {
        let write = |source| SiteError::Write { name: name.to_owned(), source };
        let mut file = new_temp(&self.temp_dir()).map_err(write)?;
        file.write_all(bytes).map_err(write)?;
        Ok(file)
    }

    fn rename_in(&self, name: &str, file: NamedTempFile) -> Result<(), SiteError> {
        if self.lock.is_none() {
            return Ok(());
        }
        let write = |source: io::Error| SiteError::Write { name: name.to_owned(), source };
        file.as_file().sync_data().map_err(write)?;
        let path = self.site.path(name);
        let parent = path.parent().unwrap_or(&self.site.dir).to_owned();
        let missing: Vec<PathBuf> = parent.ancestors().take_while(|a| !a.exists()).map(Path::to_owned).collect();
        std::fs::create_dir_all(&parent).map_err(write)?;
        self.watch.publishing(name);
        if let Some(origin) = &self.site.origin {
            origin.wrote(name);
        }
        file.persist(&path).map_err(|e| write(e.error))?;
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        touched.extend(missing.iter().filter_map(|dir| dir.parent().map(Path::to_owned)));
        touched.insert(parent);
        Ok(())
    }
}

impl Drop for SiteWriter {
    fn drop(&mut self) {
        if self.lock.is_some() {
            // What cannot be removed now is removed by the next run.
            let _ = remove_tree(&self.temp_dir);
        }
    }
}

/// Removes what a run that was told to stop leaves in the site's work directory.
pub fn clear_temp(site: &Path) {
    // The next run does it if this cannot.
    let _ = remove_tree(&site.join(WORK_DIR).join("tmp"));
}

#[cfg(unix)]
fn new_temp(dir: &Path) -> io::Result<NamedTempFile> {
    use std::os::unix::fs::PermissionsExt;
    tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o644)).tempfile_in(dir)
}

#[cfg(not(unix))]
fn new_temp(dir: &Path) -> io::Result<NamedTempFile> {
    NamedTempFile::new_in(dir)
}

/// Temporary files are for their owner alone; what a web server hands out is not.
#[cfg(unix)]
pub(crate) fn readable_by_all(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
pub(crate) fn readable_by_all(_: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn flush_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(not(unix))]
fn flush_directory(_: &Path) -> io::Result<()> {
    Ok(())
}

fn remove_tree(dir: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn same_content(a: &Path, b: &Path) -> io::Result<bool> {
    let (mut a, mut b) = (File::open(a)?, File::open(b)?);
    if a.metadata()?.len() != b.metadata()?.len() {
        return Ok(false);
    }
    let (mut left, mut right) = (vec![0; 1 << 18], vec![0; 1 << 18]);
    loop {
        let n = a.read(&mut left)?;
        if n == 0 {
            return Ok(true);
        }
        b.read_exact(&mut right[..n])?;
        if left[..n] != right[..n] {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::Unwatched;

    fn site() -> (tempfile::TempDir, SiteWriter) {
        let dir = tempfile::tempdir().expect("a directory");
        let watch: Arc<dyn Watch> = Arc::new(Unwatched);
        SiteWriter::create(dir.path(), b"root\n", watch.clone()).expect("made");
        let writer = SiteWriter::lock(dir.path(), watch).expect("free");
        (dir, writer)
    }

    #[test]
    fn a_site_has_one_writer_at_a_time() {
        let (dir, writer) = site();
        let again = || SiteWriter::lock(dir.path(), Arc::new(Unwatched));
        assert!(matches!(again(), Err(SiteError::Locked { .. })));
        drop(writer);
        assert!(again().is_ok());
        assert!(matches!(Site::open(&dir.path().join("none")), Err(SiteError::NotASite { .. })));
    }

    #[test]
    fn published_files_never_change_and_damaged_ones_are_mended() {
        let (dir, writer) = site();
        assert!(writer.put("releases/1/any/release", b"a").expect("written"));
        assert!(!writer.put("releases/1/any/release", b"a").expect("the same"));
        assert!(matches!(writer.put("releases/1/any/release", b"b"), Err(SiteError::Immutable { .. })));
        assert!(matches!(writer.clear_unsigned(1, "any"), Err(SiteError::Immutable { .. })));
        assert!(writer.put("objects/ab/abcd", b"right").expect("written"));
        std::fs::write(dir.path().join("objects/ab/abcd"), b"wrong").expect("written");
        assert!(writer.put("objects/ab/abcd", b"right").expect("mended"));
        assert_eq!(std::fs::read(dir.path().join("objects/ab/abcd")).expect("there"), b"right");
        let temp = || {
            let mut file = NamedTempFile::new_in(writer.temp_dir()).expect("made");
            file.write_all(b"pack").expect("written");
            file
        };
        assert!(writer.put_file("packs/cd/cdef", temp()).expect("written"));
        assert!(!writer.put_file("packs/cd/cdef", temp()).expect("the same"));
    }

    #[cfg(unix)]
    #[test]
    fn a_web_server_may_read_what_is_published() {
        use std::os::unix::fs::PermissionsExt;
        let (dir, writer) = site();
        writer.put("objects/ab/abcd", b"x").expect("written");
        writer.put_file("packs/cd/c", NamedTempFile::new_in(writer.temp_dir()).expect("made")).expect("written");
        for name in ["objects/ab/abcd", "packs/cd/c", "root/1.root"] {
            let mode = dir.path().join(name).metadata().expect("there").permissions().mode();
            assert_eq!(mode & 0o444, 0o444, "{name}");
        }
    }

    #[test]
    fn leftovers_are_cleared_by_the_next_run() {
        let (dir, writer) = site();
        std::fs::write(writer.temp_dir().join("left"), b"x").expect("written");
        writer.put("releases/2/any/manifest.csv", b"unsigned").expect("written");
        drop(writer);
        let writer = SiteWriter::lock(dir.path(), Arc::new(Unwatched)).expect("free");
        assert_eq!(std::fs::read_dir(writer.temp_dir()).expect("there").count(), 0);
        writer.clear_unsigned(2, "any").expect("cleared");
        assert!(writer.put("releases/2/any/manifest.csv", b"other").expect("written"));
    }

    #[test]
    fn lists_what_it_holds() {
        let (_dir, writer) = site();
        for name in ["releases/10/b/release", "releases/9/a/release", "releases/9/b/release", "releases/x/a/release"] {
            writer.put(name, b"r").expect("written");
        }
        writer.put("releases/11/a/manifest.csv", b"m").expect("written");
        writer.replace("channels/stable.head", b"h").expect("written");
        writer.replace("channels/stable.head", b"h2").expect("replaced");
        let site = writer.site();
        let releases = site.releases().expect("listed");
        assert_eq!(releases, [(9, "a".to_owned()), (9, "b".to_owned()), (10, "b".to_owned())]);
        assert_eq!(site.channels().expect("listed"), ["stable"]);
        assert_eq!(site.read("channels/stable.head", 2).expect("read").as_deref(), Some(&b"h2"[..]));
        assert!(matches!(site.read("channels/stable.head", 1), Err(SiteError::Damaged { .. })));
    }
}
