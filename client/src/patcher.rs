//! The patcher: finishes an update while the app is closed, and starts the new version.
//!
//! ```text
//! patcher <pid> <app path> <new version path> [-- ARGS]
//! ```
//!
//! In this order: take the lock, read the handover the app left and refuse whatever disagrees with it, wait for the app and
//! every other program of the tree to end, recover, commit, start the new version with the same arguments. Where it gives up, or
//! the commit fails, the tree is the old one, and the old version is started. What is installed is decided by the signed release in
//! staging alone; see [`crate::format::handover`].

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::deploy::DeployReport;
use crate::error::Error;
use crate::format::handover::{Handover, arguments_digest, path_digest, path_text};
use crate::launcher::start_program;
use crate::process::{self, Watched};
use crate::progress::{Event, Progress};
use crate::tree::TreeLock;
use crate::updater::{Config, HANDOVER, Prepared, Updater};

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Process of the app.
    pub pid: u32,
    /// The installed tree.
    pub app: PathBuf,
    /// Its staging directory.
    pub new_version: PathBuf,
    /// What the new version is started with.
    pub arguments: Vec<OsString>,
}

/// What a patcher asks the person before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// The app, or another program of the tree, does not end.
    StillRunning {
        /// Their processes.
        pids: Vec<u32>,
        /// How long they were waited for.
        waited: Duration,
    },
}

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Wait on.
    Wait,
    /// Leave everything as it is; the update is finished at the next start.
    Stop,
}

/// Shows what a patcher does, and answers for the person before it.
pub trait View: Progress {
    /// Answers a question.
    fn ask(&self, question: &Question) -> Answer;

    /// From now on nothing can be cancelled until the commit is over.
    fn committing(&self) {}
}

/// How patient a patcher is.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Before it asks, and again between two questions.
    pub ask_after: Duration,
    /// For the lock.
    pub lock: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { ask_after: Duration::from_secs(20), lock: Duration::from_secs(60) }
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Patched {
    /// The commit; none if somebody else had finished the update already.
    pub report: Option<DeployReport>,
    /// The app that was started; none if the release names no program to start.
    pub app: Option<Child>,
}

/// Does the job. `view` is told of everything.
///
/// # Errors
/// [`Error::Handover`] for a command line that does not agree with what the app left; [`Error::StillRunning`] if it was
/// decided not to wait; whatever stops the commit. The tree is as before then, and the old version has been started,
/// except after a refusal, where it still runs, and where the tree could not be made whole.
pub fn run<V: View + 'static>(
    job: &Job,
    config: &Config,
    patience: &Patience,
    view: &Arc<V>,
) -> Result<Patched, Error> {
    let updater = open(job, config)?;
    let lock = match updater.lock(patience.lock) {
        Ok(lock) => lock,
        Err(error) => {
            if let Ok(handover) = agreed(job, &updater) {
                start_old(&updater, None, job, &handover);
            }
            return Err(error);
        }
    };
    let handover = agreed(job, &updater)?;
    if let Err(error) = wait_for_programs(&handover, &updater, patience, config, view.as_ref()) {
        let _ = lock.remove_state(HANDOVER);
        start_old(&updater, Some(lock), job, &handover);
        return Err(error);
    }
    let before = updater.entry();
    let result = finish(&updater, &lock, &handover, view.as_ref());
    // What was cut off may yet be undone, and what is between two releases is not started.
    let whole = result.is_ok() || updater.recover(&lock).is_ok();
    let _ = lock.remove_state(HANDOVER);
    let after = updater.entry();
    drop(lock);
    match result {
        Ok(report) => {
            let entry = after.ok().flatten();
            match start(&updater, entry.as_deref(), &job.arguments, None) {
                Ok(app) => Ok(Patched { report, app }),
                Err(error) => go_back(&updater, job, &handover, error),
            }
        }
        Err(error) => {
            if whole {
                let old = after.or(before).ok().flatten();
                let _ = start(&updater, old.as_deref(), &job.arguments, Some(handover.build));
            }
            Err(error)
        }
    }
}

/// Starts the old version where nothing was committed, and the app that asked for it has ended: a user who agreed to an update is
/// not left without the app. A tree that is between two releases, or that somebody else changes, is left alone.
fn start_old(updater: &Updater, lock: Option<TreeLock>, job: &Job, handover: &Handover) {
    if Watched::new(handover.pid, handover.started.clone()).is_running() {
        return;
    }
    let whole = match &lock {
        Some(lock) => updater.recover(lock).is_ok(),
        None => updater.status().is_ok_and(|status| !status.unfinished),
    };
    drop(lock);
    if whole {
        let _ = start(updater, updater.entry().ok().flatten().as_deref(), &job.arguments, Some(handover.build));
    }
}

/// The new version does not even start: back to the old one, if the way is open.
fn go_back(updater: &Updater, job: &Job, handover: &Handover, error: Error) -> Result<Patched, Error> {
    if updater.previous_build()?.is_some() {
        updater.rollback()?;
        let _ = start(updater, updater.entry()?.as_deref(), &job.arguments, Some(handover.build));
    }
    Err(error)
}

/// The tree of the job; its state directory is the one the new version lies in.
fn open(job: &Job, config: &Config) -> Result<Updater, Error> {
    let wrong = |found: String| Error::Handover {
        what: "the path of the new version",
        expected: "a directory staging/<key> in the app's state directory".into(),
        found,
    };
    let shown = || job.new_version.display().to_string();
    let staging = job.new_version.parent().ok_or_else(|| wrong(shown()))?;
    let state = staging.parent().filter(|_| staging.file_name() == Some("staging".as_ref()));
    let state = state.ok_or_else(|| wrong(shown()))?;
    let mut config = Config { tree: job.app.clone(), state: None, ..config.clone() };
    let usual = Updater::open(config.clone());
    match usual {
        Ok(updater) if is_same(updater.state_dir(), state) => Ok(updater),
        _ => {
            config.state = Some(state.to_owned());
            Updater::open(config)
        }
    }
}

fn is_same(a: &Path, b: &Path) -> bool {
    match (std::fs::canonicalize(a), std::fs::canonicalize(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}

/// What the app left, if the command line agrees with it.
fn agreed(job: &Job, updater: &Updater) -> Result<Handover, Error> {
    let disagreement = |what, expected: String, found: String| Err(Error::Handover { what, expected, found });
    let Some(handover) = updater.handover()? else {
        let found = "none; a patcher is started by the app, not by hand".to_owned();
        return disagreement("the handover", "one that the app left".into(), found);
    };
    if handover.pid != job.pid {
        return disagreement("the process", handover.pid.to_string(), job.pid.to_string());
    }
    if handover.tree != path_digest(updater.root()) {
        let found = path_text(updater.root());
        return disagreement("the path of the app", handover.tree_text, found);
    }
    if job.new_version.file_name() != Some(handover.key.as_ref()) {
        return disagreement("the new version", handover.key, job.new_version.display().to_string());
    }
    let (count, digest) = (job.arguments.len() as u64, arguments_digest(&job.arguments));
    if (count, digest) != (handover.argument_count, handover.arguments) {
        let arguments = |count: u64| format!("{count} arguments with the digest the app left");
        return disagreement("the arguments", arguments(handover.argument_count), format!("{count}, or others"));
    }
    Ok(handover)
}

fn wait_for_programs(
    handover: &Handover,
    updater: &Updater,
    patience: &Patience,
    config: &Config,
    view: &impl View,
) -> Result<(), Error> {
    let mut app = Watched::new(handover.pid, handover.started.clone());
    if handover.started.is_none() {
        app = app.from_pipe(std::io::stdin());
    }
    let begun = Instant::now();
    let notice = Event::Notice { code: "waiting", subject: "", text: "waiting for the app to end" };
    view.event(notice);
    loop {
        let ended = app.wait(patience.ask_after, || config.cancel.is_cancelled());
        let mut pids = if ended { Vec::new() } else { vec![handover.pid] };
        if ended {
            // Somebody may have started it again meanwhile.
            let until = Instant::now() + patience.ask_after;
            pids = process::running_from(updater.root());
            while !pids.is_empty() && Instant::now() < until && !config.cancel.is_cancelled() {
                std::thread::sleep(Duration::from_millis(100));
                pids = process::running_from(updater.root());
            }
        }
        if config.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        if pids.is_empty() {
            return Ok(());
        }
        let question = Question::StillRunning { pids: pids.clone(), waited: begun.elapsed() };
        if view.ask(&question) == Answer::Stop {
            return Err(Error::StillRunning { path: updater.root().to_owned(), pids });
        }
    }
}

/// Commits; nothing if that has been done already.
fn finish(
    updater: &Updater,
    lock: &TreeLock,
    handover: &Handover,
    view: &impl View,
) -> Result<Option<DeployReport>, Error> {
    updater.recover(lock)?;
    if updater.installed_build()? == Some(handover.build) {
        return Ok(None);
    }
    let expected =
        |prepared: &Prepared| prepared.build == handover.build && prepared.staged_at.ends_with(&handover.key);
    if !updater.prepared()?.as_ref().is_some_and(expected) {
        return Err(Error::Handover {
            what: "the staged release",
            expected: format!("build {}", handover.build),
            found: "another, or a damaged one".into(),
        });
    }
    view.committing();
    updater.commit_locked(lock).map(Some)
}

/// Starts the app; nothing if no program is named.
fn start(
    updater: &Updater,
    entry: Option<&Path>,
    arguments: &[OsString],
    failed: Option<u64>,
) -> Result<Option<Child>, Error> {
    let start = |entry| start_program(updater, entry, arguments, failed, Stdio::null());
    entry.map(start).transpose()
}
