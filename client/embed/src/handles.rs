//! Opened trees by number: the only state of the process.
//!
//! A handle is looked up, never dereferenced, and no number is given twice; so one that was closed too early, twice, or from
//! another thread during a call is an error, or harmless, and never a memory fault.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lamplighter_client::error::Error;
use lamplighter_client::progress::{Cancel, Progress};
use lamplighter_client::source::HttpOptions;
use lamplighter_client::updater::{Config, Updater};

use crate::fault::Fault;
use crate::types::LamplighterHandle;

/// An opened tree. Reads its files anew in each call: two handles of one tree, or two programs, never disagree.
pub(crate) struct Opened {
    tree: PathBuf,
    state: Option<PathBuf>,
    http: HttpOptions,
    channel: Mutex<Option<String>>,
    cancel: Mutex<Cancel>,
    allow_network_share: AtomicBool,
    busy: Mutex<()>,
}

impl Opened {
    pub(crate) fn new(tree: PathBuf, state: Option<PathBuf>, http: HttpOptions) -> Self {
        let (channel, cancel, busy) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { tree, state, http, channel, cancel, allow_network_share: AtomicBool::new(false), busy }
    }

    /// Takes the handle for one call.
    pub(crate) fn begin(&self) -> Result<MutexGuard<'_, ()>, Fault> {
        match self.busy.try_lock() {
            Ok(guard) => Ok(guard),
            // Nothing is guarded but the right to work; a call that panicked gave it back.
            Err(std::sync::TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => Err(Fault::usage(
                "E_BUSY",
                "another call with this handle is running; only a cancel may come beside it",
            )),
        }
    }

    /// The configuration of one call.
    pub(crate) fn config(&self, progress: Arc<dyn Progress>) -> Config {
        let (state, http, cancel) = (self.state.clone(), self.http.clone(), self.cancel());
        let allow_network_share = self.allow_network_share.load(Ordering::Relaxed);
        let channel = lock(&self.channel).clone();
        Config { state, channel, http, progress, cancel, allow_network_share, ..Config::new(&self.tree) }
    }

    /// The updater of one call.
    pub(crate) fn updater(&self, progress: Arc<dyn Progress>) -> Result<Updater, Error> {
        Updater::open(self.config(progress))
    }

    /// Follows `channel` from the next call on.
    pub(crate) fn follow(&self, channel: &str) {
        *lock(&self.channel) = Some(channel.to_owned());
    }

    /// Lets calls from the next one on stage on a network share, or not.
    pub(crate) fn allow_network_share(&self, allowed: bool) {
        self.allow_network_share.store(allowed, Ordering::Relaxed);
    }

    /// What asks the running call, and those after it, to stop.
    pub(crate) fn cancel(&self) -> Cancel {
        lock(&self.cancel).clone()
    }

    /// Calls that begin from now on are not asked to stop.
    pub(crate) fn clear_cancel(&self) {
        *lock(&self.cancel) = Cancel::default();
    }
}

struct Table {
    last: LamplighterHandle,
    opened: BTreeMap<LamplighterHandle, Arc<Opened>>,
}

static TABLE: Mutex<Table> = Mutex::new(Table { last: 0, opened: BTreeMap::new() });

/// Enters a tree into the table.
pub(crate) fn insert(opened: Opened) -> LamplighterHandle {
    let mut table = lock(&TABLE);
    table.last += 1;
    let handle = table.last;
    table.opened.insert(handle, Arc::new(opened));
    handle
}

/// Looks a handle up.
pub(crate) fn get(handle: LamplighterHandle) -> Result<Arc<Opened>, Fault> {
    let opened = lock(&TABLE).opened.get(&handle).cloned();
    opened.ok_or_else(|| Fault::usage("E_HANDLE", format!("{handle} is not an opened tree, or is closed")))
}

/// Takes a handle out of the table. A call that is running goes on to its end.
pub(crate) fn remove(handle: LamplighterHandle) {
    let opened = lock(&TABLE).opened.remove(&handle);
    drop(opened);
}

/// No state behind these locks can be left half changed by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
