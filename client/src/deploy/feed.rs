//! Objects in the order they are used, fetched in parallel a bounded way ahead.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};

use super::Deploy;
use crate::download::Downloader;
use crate::error::Error;
use crate::format::digest::Blake3;
use crate::format::layout;
use crate::format::objects::{StoredObject, decode};
use crate::progress::{Cancel, Event, Progress};
use crate::tree::Staging;

/// Objects fetched ahead of the one in use; bounds the disk space that downloads take.
const AHEAD: usize = 8;

/// Fetched objects, kept on disk in staging until they are used up, so that a broken run resumes with them.
pub(super) struct ObjectFeed<'a> {
    downloader: &'a Downloader,
    staging: &'a Staging,
    progress: &'a dyn Progress,
    cancel: &'a Cancel,
    /// Threads that fetch ahead; with none, an object is fetched when it is used.
    fetchers: usize,
    /// In order of first use.
    objects: Vec<StoredObject>,
    state: Mutex<State>,
    changed: Condvar,
    next: AtomicUsize,
}

#[derive(Default)]
struct State {
    /// Objects below this index may be fetched.
    window_end: usize,
    /// What became of each object, by index.
    results: Vec<Option<Result<(), Error>>>,
    stopped: bool,
}

impl<'a> ObjectFeed<'a> {
    /// A feed of `objects`, which lists each object once in order of first use.
    pub(super) fn new(deploy: &'a Deploy<'_>, staging: &'a Staging, objects: Vec<StoredObject>) -> Self {
        let results = objects.iter().map(|_| None).collect();
        let state = Mutex::new(State { window_end: AHEAD, results, stopped: false });
        Self {
            downloader: deploy.downloader,
            staging,
            progress: deploy.progress,
            cancel: deploy.cancel,
            fetchers: deploy.helpers.min(objects.len()),
            objects,
            state,
            changed: Condvar::new(),
            next: AtomicUsize::new(0),
        }
    }

    /// Runs `work` while fetchers run beside it; they end with it.
    pub(super) fn run<T>(&self, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        std::thread::scope(|scope| {
            for _ in 0..self.fetchers {
                scope.spawn(|| self.fetch_all());
            }
            let result = work();
            self.lock().stopped = true;
            self.changed.notify_all();
            result
        })
    }

    /// The raw content of object `index`; waits for it, and lets the fetchers go on behind it.
    pub(super) fn raw(&self, index: usize) -> Result<Vec<u8>, Error> {
        if self.fetchers == 0 {
            self.fetch(&self.objects[index])?;
        } else {
            self.wait_for(index)?;
        }
        let object = &self.objects[index];
        let stored = self.stored(object).ok_or_else(|| Error::Vanished { path: self.path(object) })?;
        Ok(decode(&stored, object)?)
    }

    fn wait_for(&self, index: usize) -> Result<(), Error> {
        let mut state = self.lock();
        state.window_end = state.window_end.max(index + 1 + AHEAD);
        self.changed.notify_all();
        while state.results[index].is_none() {
            state = self.changed.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        state.results[index].replace(Ok(())).unwrap_or(Ok(()))
    }

    /// Frees the disk space of object `index`, which nothing needs any more.
    pub(super) fn discard(&self, index: usize) {
        // Only space is at stake: what stays behind is cleared with the staging directory.
        let _ = fs::remove_file(self.path(&self.objects[index]));
    }

    fn fetch_all(&self) {
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= self.objects.len() || !self.wait_for_window(index) {
                return;
            }
            let result = self.fetch(&self.objects[index]);
            self.lock().results[index] = Some(result);
            self.changed.notify_all();
        }
    }

    /// False when the work has ended.
    fn wait_for_window(&self, index: usize) -> bool {
        let mut state = self.lock();
        while !state.stopped && index >= state.window_end {
            state = self.changed.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        !state.stopped
    }

    fn fetch(&self, object: &StoredObject) -> Result<(), Error> {
        if self.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let (name, path) = (layout::object(&object.blake3), self.path(object));
        let kept = fs::metadata(&path).map_or(0, |m| m.len().min(object.length));
        self.progress.event(Event::Advanced { bytes: kept });
        self.downloader.exact_to_file(&name, object.length, &object.blake3, &path)?;
        Ok(())
    }

    /// The stored bytes on disk, if they are all there and right.
    fn stored(&self, object: &StoredObject) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut file = fs::File::open(self.path(object)).ok()?;
        Read::by_ref(&mut file).take(object.length + 1).read_to_end(&mut bytes).ok()?;
        (bytes.len() as u64 == object.length && Blake3::of(&bytes) == object.blake3).then_some(bytes)
    }

    fn path(&self, object: &StoredObject) -> PathBuf {
        self.staging.partial_path(&format!("object-{}", object.blake3))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
