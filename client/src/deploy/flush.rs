//! Makes staged files durable: on threads of its own while the next ones are made, as a flush waits for the disk, and several
//! at once share one write of the file system's journal; or, where there are many and the system can, all by one flush at
//! the end.

use std::any::Any;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::error::Error;
use crate::tree::{CheckedFile, Staging, TreeError};

/// Files that wait, each open: some systems allow 256 in all.
const WAITING_MAX: usize = 16;

/// Takes files whose content is right and makes them durable.
pub(super) struct Flusher {
    queue: Option<SyncSender<CheckedFile>>,
    threads: Vec<JoinHandle<()>>,
    failed: Arc<Mutex<Option<TreeError>>>,
    left: Option<Left>,
}

/// Files that wait for one flush of all.
struct Left {
    staging: Staging,
    numbers: Mutex<Vec<usize>>,
}

impl Flusher {
    /// For up to `files` files of `staging`. Flushes on so many threads; with none, whoever hands a file over does it.
    pub(super) fn new(threads: usize, staging: &Staging, files: usize) -> Self {
        if staging.flushes_at_once(files) {
            let left = Left { staging: staging.clone(), numbers: Mutex::default() };
            return Self { queue: None, threads: Vec::new(), failed: Arc::default(), left: Some(left) };
        }
        let (queue, files) = sync_channel(WAITING_MAX);
        let files = Arc::new(Mutex::new(files));
        let failed = Arc::new(Mutex::new(None));
        let queue = (threads > 0).then_some(queue);
        let threads = (0..threads).map(|_| {
            let (files, failed) = (Arc::clone(&files), Arc::clone(&failed));
            std::thread::spawn(move || flush_all(&files, &failed))
        });
        Self { threads: threads.collect(), queue, failed, left: None }
    }

    /// Takes a file; waits while too many are waiting.
    ///
    /// # Errors
    /// An earlier one could not be flushed.
    pub(super) fn push(&self, file: CheckedFile) -> Result<(), TreeError> {
        if let Some(left) = &self.left {
            left.numbers.lock().unwrap_or_else(PoisonError::into_inner).push(file.leave()?);
            return Ok(());
        }
        if let Some(error) = self.failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(error);
        }
        let Some(queue) = &self.queue else { return file.seal() };
        // Refused where no thread is left to take it.
        queue.send(file).or_else(|refused| refused.0.seal())
    }

    /// Waits until everything taken is durable. Nothing can be taken after that.
    ///
    /// # Errors
    /// The first failure.
    pub(super) fn wait(&mut self) -> Result<(), Error> {
        if let Some(panic) = self.close() {
            // Its file is not durable, so the update must not go on.
            std::panic::resume_unwind(panic);
        }
        if let Some(left) = &self.left {
            let numbers = std::mem::take(&mut *left.numbers.lock().unwrap_or_else(PoisonError::into_inner));
            left.staging.flush(&numbers)?;
        }
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Lets the threads end; gives what one of them panicked with.
    fn close(&mut self) -> Option<Box<dyn Any + Send>> {
        self.queue = None;
        let ends: Vec<_> = self.threads.drain(..).map(JoinHandle::join).collect();
        ends.into_iter().find_map(Result::err)
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        // An update that ends early has its own error.
        let _ = self.close();
    }
}

fn flush_all(files: &Mutex<Receiver<CheckedFile>>, failed: &Mutex<Option<TreeError>>) {
    loop {
        let next = files.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(file) = next else { return };
        if let Err(error) = file.seal() {
            failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    }
}
