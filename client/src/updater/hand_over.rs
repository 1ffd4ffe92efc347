//! Leaving the commit to the patcher, a program of the release that runs while the app does not.

use std::ffi::{OsStr, OsString};
use std::process::{Command, Stdio};
use std::time::Instant;

use super::*;
use crate::format::digest::ContentDigest;
use crate::format::handover::{Handover, arguments_digest, path_digest, path_text};
use crate::process;

/// Name of the handover in the state directory.
pub(crate) const HANDOVER: &str = "handover";

/// The argument that makes a patcher say whether it works on this machine.
pub const SELF_TEST: &str = "--self-test";
/// How long a self-test may take: a scanner may look at a new program first.
const SELF_TEST_WAIT: Duration = Duration::from_secs(20);

/// Set for the app that a patcher starts although the update failed, to the build that failed: the app does not try again
/// in this run.
pub const FAILED_UPDATE_VARIABLE: &str = "LAMPLIGHTER_FAILED_UPDATE";

/// A patcher that was started, and waits for this process to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandedOver {
    /// Build it leads to.
    pub build: u64,
    /// The patcher's process.
    pub patcher_pid: u32,
    /// The program it runs.
    pub patcher: PathBuf,
}

impl Updater {
    /// Starts the patcher of the staged release, which waits for the process `pid` to end, commits, and starts the new
    /// version with `arguments`. The caller should end soon.
    ///
    /// The patcher runs from the state directory, from a copy of what the signed manifest lists, and only after a self-test;
    /// where the staged one fails that, the installed one is taken.
    ///
    /// # Errors
    /// [`Error::NothingStaged`]; [`Error::NoPatcher`] if neither release has one that works: [`Self::commit`] is left then.
    /// Arguments that are too long for the system. Nothing was changed.
    pub fn hand_over(&self, pid: u32, arguments: &[OsString]) -> Result<HandedOver, Error> {
        let lock = self.begin()?;
        let waiting = self.waiting()?.ok_or_else(|| Error::NothingStaged { path: self.config.tree.clone() })?;
        let patcher = self.working_patcher(&lock, &waiting)?;
        let prepared = &waiting.prepared;
        let started = match process::started(pid) {
            process::Known::Began(text) => Some(text),
            _ => None,
        };
        let handover = Handover {
            build: prepared.build,
            key: waiting.key.clone(),
            pid,
            started,
            tree: path_digest(self.tree.root()),
            tree_text: path_text(self.tree.root()),
            argument_count: arguments.len() as u64,
            arguments: arguments_digest(arguments),
        };
        lock.replace_state(HANDOVER, &handover.to_bytes())?;
        // The patcher takes it.
        drop(lock);
        let mut command = Command::new(&patcher);
        command.arg(pid.to_string()).arg(self.tree.root()).arg(&prepared.staged_at).arg("--").args(arguments);
        let spawned = process::spawn(command.stdin(Stdio::piped()));
        let mut child = spawned.map_err(|source| Error::Io { doing: "start", path: patcher.clone(), source })?;
        // Held until this process ends: that is how the patcher knows, where the system tells it nothing else.
        std::mem::forget(child.stdin.take());
        Ok(HandedOver { build: prepared.build, patcher_pid: child.id(), patcher })
    }

    /// The staged patcher, or else the installed one, placed outside the tree and tested.
    fn working_patcher(&self, lock: &TreeLock, waiting: &super::staged::Waiting) -> Result<PathBuf, Error> {
        let release = &waiting.release.release;
        let manifest = Manifest::parse(&waiting.manifest)
            .map_err(|source| Error::Manifest { name: layout::manifest(release.build, &release.platform), source })?;
        let staged = release.patcher.as_ref().and_then(|path| Some((path, manifest.find(path)?)));
        if let Some((path, (row, listed))) = staged {
            let placed = match lock.staging(&waiting.key)?.open(row) {
                Ok(mut file) => place(lock, path, &listed.digest, &mut file),
                // It does not change with the update.
                Err(_) => lock.open_file(path).and_then(|mut file| place(lock, path, &listed.digest, &mut file)),
            };
            if let Some(patcher) = self.tested(placed) {
                return Ok(patcher);
            }
        }
        let installed = waiting.record.as_ref().and_then(|record| {
            let path = record.release.release.patcher.as_ref()?;
            Some((path, record.base.manifest.find(path)?.1))
        });
        if let Some((path, listed)) = installed {
            let placed = lock.open_file(path).and_then(|mut file| place(lock, path, &listed.digest, &mut file));
            if let Some(patcher) = self.tested(placed) {
                return Ok(patcher);
            }
        }
        Err(Error::NoPatcher { path: self.config.tree.clone() })
    }

    fn tested(&self, placed: Result<PathBuf, TreeError>) -> Option<PathBuf> {
        let tested = match &placed {
            Ok(patcher) => self_test(patcher).map_err(|reason| format!("{}: {reason}", patcher.display())),
            Err(error) => Err(error.to_string()),
        };
        match tested {
            Ok(()) => placed.ok(),
            Err(text) => {
                let notice = Event::Notice { code: "patcher_unusable", subject: "patcher", text: &text };
                self.config.progress.event(notice);
                None
            }
        }
    }
}

fn place(
    lock: &TreeLock,
    path: &RelPath,
    digest: &ContentDigest,
    file: &mut crate::tree::TreeFile,
) -> Result<PathBuf, TreeError> {
    lock.place_program(OsStr::new(path.file_name()), digest, file)
}

/// Whether a program ends well when asked to test itself.
fn self_test(program: &Path) -> Result<(), String> {
    let mut command = Command::new(program);
    command.arg(SELF_TEST).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = process::spawn(&mut command).map_err(|e| format!("does not start: {e}"))?;
    let until = Instant::now() + SELF_TEST_WAIT;
    while matches!(child.try_wait(), Ok(None)) {
        if Instant::now() >= until {
            let _ = child.kill();
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("fails its self-test: {status}")),
        Err(e) => Err(e.to_string()),
    }
}
