//! A file system over the real one that fails or dies at the k-th changing call, and never waits for the disk.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lamplighter_client::tree::fs::{
    self, Directory, Entry, Existing, Fs, FsError, LockGuard, Metadata, Place, WriteFile,
};

/// What happens at the chosen call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process ends: neither this nor any later call does anything.
    Die,
    /// This call alone fails.
    Fail(Refusal),
    /// The same, and calls that only look are counted as well.
    FailAny(Refusal),
}

/// How a system says no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Device,
    Space,
    Access,
    Handles,
}

/// All of them.
pub(crate) const REFUSALS: [Refusal; 4] = [Refusal::Device, Refusal::Space, Refusal::Access, Refusal::Handles];

impl Refusal {
    /// EIO, ENOSPC, EACCES, EMFILE, or what Windows calls them.
    fn error(self) -> io::Error {
        let codes = if cfg!(windows) { [1117, 112, 5, 4] } else { [5, 28, 13, 24] };
        io::Error::from_raw_os_error(codes[self as usize])
    }
}

/// Counts calls over all file systems that share it.
pub(crate) struct Control {
    calls: AtomicU64,
    at: u64,
    fault: Fault,
    /// Names the volume has room for, beside those there are.
    names: AtomicI64,
    meddler: Mutex<Option<Meddler>>,
}

/// Somebody who does something of his own just before a changing call, of which he is told name and place.
type Meddler = Box<dyn FnMut(&str, &Place) + Send>;

impl Control {
    /// A control that only counts.
    pub(crate) fn counting() -> Arc<Self> {
        Self::at(u64::MAX, Fault::Die)
    }

    /// A control with `fault` at the call number `at`, from 0.
    pub(crate) fn at(at: u64, fault: Fault) -> Arc<Self> {
        let names = AtomicI64::new(i64::MAX / 2);
        Arc::new(Self { calls: AtomicU64::new(0), at, fault, names, meddler: Mutex::new(None) })
    }

    /// The same while somebody meddles.
    pub(crate) fn with_meddler(self: Arc<Self>, meddler: impl FnMut(&str, &Place) + Send + 'static) -> Arc<Self> {
        *self.meddler.lock().expect("a meddler") = Some(Box::new(meddler));
        self
    }

    /// The same on a volume that has room for so many more names: files, links and directories.
    pub(crate) fn with_names(self: Arc<Self>, names: u64) -> Arc<Self> {
        self.names.store(names as i64, Ordering::SeqCst);
        self
    }

    /// Names there is room for still.
    pub(crate) fn names(&self) -> u64 {
        self.names.load(Ordering::SeqCst) as u64
    }

    fn take_name(&self) -> io::Result<()> {
        let taken = self.names.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| (left > 0).then_some(left - 1));
        taken.map(drop).map_err(|_| Refusal::Space.error())
    }

    fn give_name(&self) {
        self.names.fetch_add(1, Ordering::SeqCst);
    }

    /// Calls so far.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    fn change(&self) -> io::Result<()> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        match self.fault {
            Fault::Die if call >= self.at => Err(io::Error::other("the process has ended")),
            Fault::Fail(refusal) | Fault::FailAny(refusal) if call == self.at => Err(refusal.error()),
            _ => Ok(()),
        }
    }

    fn look(&self) -> io::Result<()> {
        match self.fault {
            Fault::FailAny(_) => self.change(),
            Fault::Die if self.calls() > self.at => Err(io::Error::other("the process has ended")),
            _ => Ok(()),
        }
    }
}

/// What a volume lacks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lacks {
    pub(crate) hard_links: bool,
    pub(crate) links: bool,
    /// Told as free, if not what is.
    pub(crate) free_bytes: Option<u64>,
    /// Files that are cheap to flush one by one.
    pub(crate) cheap_flushes: bool,
    /// A directory that nobody may write in.
    pub(crate) rights: Option<&'static str>,
    /// A file that another program holds: it can be neither replaced nor removed.
    pub(crate) held: Option<&'static str>,
    /// A file of the state directory that the device cannot read.
    pub(crate) unreadable: Option<&'static str>,
}

/// A volume with everything.
pub(crate) const NOTHING: Lacks = Lacks {
    hard_links: false,
    links: false,
    free_bytes: None,
    cheap_flushes: false,
    rights: None,
    held: None,
    unreadable: None,
};

pub(crate) struct FaultyFs {
    inner: Box<dyn Fs>,
    control: Arc<Control>,
    lacks: Lacks,
}

impl FaultyFs {
    pub(crate) fn open(root: &Path, state: &Path, control: Arc<Control>) -> Box<dyn Fs> {
        Self::open_on(NOTHING, root, state, control)
    }

    /// The same on a volume that lacks something.
    pub(crate) fn open_on(lacks: Lacks, root: &Path, state: &Path, control: Arc<Control>) -> Box<dyn Fs> {
        let inner = fs::system(root, state).expect("a tree");
        Box::new(Self { inner, control, lacks })
    }

    fn look(&self, at: &Place) -> Result<(), FsError> {
        self.control.look().map_err(|e| FsError::io("look at", at, e))
    }

    fn change(&self, call: &'static str, at: &Place) -> Result<(), FsError> {
        if let Some(meddler) = self.control.meddler.lock().expect("a meddler").as_mut() {
            meddler(call, at);
        }
        self.control.change().map_err(|e| FsError::io(call, at, e))
    }

    /// A call that makes a name.
    fn name(&self, call: &'static str, at: &Place, make: impl FnOnce() -> Result<(), FsError>) -> Result<(), FsError> {
        self.change(call, at)?;
        self.control.take_name().map_err(|e| FsError::io(call, at, e))?;
        make().inspect_err(|_| self.control.give_name())
    }

    /// A call that takes a name away.
    fn unname(
        &self,
        call: &'static str,
        at: &Place,
        remove: impl FnOnce() -> Result<(), FsError>,
    ) -> Result<(), FsError> {
        self.change(call, at)?;
        remove().inspect(|()| self.control.give_name())
    }
}

fn refused_at(refused: Option<&str>, at: &Place) -> Result<(), FsError> {
    let here = refused.is_some_and(|path| at.path() == Path::new(path));
    if here { Err(FsError::io("probe", at, io::Error::from(io::ErrorKind::PermissionDenied))) } else { Ok(()) }
}

struct FaultyFile {
    inner: Box<dyn WriteFile>,
    control: Arc<Control>,
}

impl Write for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Err(e) = self.control.change() {
            // Half of it arrived.
            let _ = self.inner.write(&bytes[..bytes.len() / 2]);
            return Err(e);
        }
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl WriteFile for FaultyFile {
    fn set_mode(&mut self, mode: u32) -> io::Result<()> {
        self.control.change()?;
        self.inner.set_mode(mode)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.control.change()
    }
}

impl Fs for FaultyFs {
    fn metadata(&self, at: &Place) -> Result<Option<Metadata>, FsError> {
        self.look(at)?;
        self.inner.metadata(at)
    }

    fn look(&self, at: &Place) -> Result<Entry, FsError> {
        FaultyFs::look(self, at)?;
        if at.base() == fs::Base::State && self.lacks.unreadable.is_some_and(|path| at.path() == Path::new(path)) {
            return Err(FsError::io("read", at, Refusal::Device.error()));
        }
        self.inner.look(at)
    }

    fn directory(&self, at: &Place) -> Result<Option<Box<dyn Directory>>, FsError> {
        FaultyFs::look(self, at)?;
        self.inner.directory(at)
    }

    fn list(&self, at: &Place) -> Result<Vec<OsString>, FsError> {
        FaultyFs::look(self, at)?;
        self.inner.list(at)
    }

    fn free_bytes(&self) -> Result<Option<u64>, FsError> {
        self.lacks.free_bytes.map_or_else(|| self.inner.free_bytes(), |bytes| Ok(Some(bytes)))
    }

    fn keeps_modes(&self) -> bool {
        self.inner.keeps_modes()
    }

    fn probe_directory(&self, at: &Place) -> Result<(), FsError> {
        FaultyFs::look(self, at)?;
        refused_at(self.lacks.rights, at)?;
        self.inner.probe_directory(at)
    }

    fn probe_file(&self, at: &Place) -> Result<(), FsError> {
        FaultyFs::look(self, at)?;
        refused_at(self.lacks.held, at)?;
        self.inner.probe_file(at)
    }

    fn prepare_state(&self) -> Result<(), FsError> {
        self.change("prepare", &Place::state_root())?;
        self.inner.prepare_state()
    }

    fn lock(&self, at: &Place, wait: Duration) -> Result<Option<LockGuard>, FsError> {
        self.change("lock", at)?;
        self.inner.lock(at, wait)
    }

    fn create_file(&self, at: &Place) -> Result<Box<dyn WriteFile>, FsError> {
        let mut made = None;
        self.name("create", at, || self.inner.create_file(at).map(|file| made = Some(file)))?;
        Ok(Box::new(FaultyFile { inner: made.expect("made"), control: self.control.clone() }))
    }

    fn create_dir(&self, at: &Place, mode: u32) -> Result<(), FsError> {
        self.name("create directory", at, || self.inner.create_dir(at, mode))
    }

    fn symlink(&self, destination: &[u8], at: &Place) -> Result<(), FsError> {
        let none = || FsError::io("create link", at, io::Error::from(io::ErrorKind::Unsupported));
        self.name(
            "create link",
            at,
            || if self.lacks.links { Err(none()) } else { self.inner.symlink(destination, at) },
        )
    }

    fn hard_link(&self, from: &Place, to: &Place) -> Result<(), FsError> {
        let none = || FsError::io("link", from, io::Error::from(io::ErrorKind::Unsupported));
        self.name("link", from, || if self.lacks.hard_links { Err(none()) } else { self.inner.hard_link(from, to) })
    }

    fn rename(&self, from: &Place, to: &Place, existing: Existing) -> Result<(), FsError> {
        self.change("rename", to)?;
        let replaces = existing == Existing::Replace && self.inner.metadata(to)?.is_some();
        self.inner.rename(from, to, existing)?;
        if replaces {
            self.control.give_name();
        }
        Ok(())
    }

    fn remove_file(&self, at: &Place) -> Result<(), FsError> {
        refused_at(self.lacks.held, at)?;
        self.unname("remove", at, || self.inner.remove_file(at))
    }

    fn remove_dir(&self, at: &Place) -> Result<(), FsError> {
        self.unname("remove directory", at, || self.inner.remove_dir(at))
    }

    fn set_mode(&self, at: &Place, mode: u32) -> Result<(), FsError> {
        self.change("set mode", at)?;
        self.inner.set_mode(at, mode)
    }

    fn sync_file(&self, at: &Place) -> Result<(), FsError> {
        self.change("flush", at)
    }

    fn sync_dir(&self, at: &Place) -> Result<(), FsError> {
        self.change("flush directory", at)
    }

    fn has_cheaper_sync_volume(&self, _: usize) -> bool {
        self.lacks.cheap_flushes
    }

    fn sync_volume(&self) -> Result<(), FsError> {
        self.change("flush volume of", &Place::tree_root())
    }
}
