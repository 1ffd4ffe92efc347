//! The last steps of a start: the tree is whole, its release has proved itself or may still do so, the app is started.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::facts::{Busy, is_anothers};
use super::*;
use crate::process;

/// How long after a counted start a program that runs is one that may yet prove itself: twice the time after which `client launch`
/// confirms.
const PROVING: Duration = Duration::from_secs(60);

impl Driver<'_> {
    /// Finishes or undoes what was cut off, before anything is decided. If that changed the files under this very program, the app
    /// is started anew: this process may be of neither release.
    ///
    /// What keeps it from being done shows later, in the step that needs a whole tree: an update or a heal may help before.
    pub(super) fn start_anew(&self) -> Result<Option<AsApp>, Error> {
        let home = self.home();
        let Ok(updater) = self.open(&home) else { return Ok(None) };
        self.anew_after(updater.finish_interrupted().unwrap_or(false))
    }

    /// The app, started anew if its own files were just `changed` under it.
    pub(super) fn anew_after(&self, changed: bool) -> Result<Option<AsApp>, Error> {
        if changed && self.runs_in(&self.home()) { self.start_from(&self.home()).map(Some) } else { Ok(None) }
    }

    /// The last step: counts the start, or goes back from a release that never proved itself.
    pub(super) fn ready(&self) -> Result<Option<AsApp>, Error> {
        let plain = |build| Ok(Some(AsApp::Ready { start: Start::Plain, build }));
        let updater = match self.open(&self.home()) {
            // An app without a tree of ours has nothing to prove.
            Err(Error::NoSettings { .. }) => return plain(None),
            Err(error) if is_anothers(&error) => {
                self.host.message("another user installed this app, and updates it", None);
                return plain(None);
            }
            opened => opened?,
        };
        if self.busy == Busy::Prepares {
            // Counting needs the lock.
            return plain(None);
        }
        match updater.finish_interrupted() {
            // Somebody began since it was last looked at.
            Err(error) if error.class() == Class::Locked => return Ok(Some(AsApp::Locked)),
            finished => {
                if let Some(done) = self.anew_after(finished?)? {
                    return Ok(Some(done));
                }
            }
        }
        let build = updater.installed_build().unwrap_or(None);
        match updater.count_start() {
            Err(error) if error.class() == Class::Locked => Ok(Some(AsApp::Locked)),
            // What does not verify is neither counted nor gone back from.
            Err(Error::DamagedRecord { .. }) => plain(None),
            Err(error) => Err(error),
            Ok(Start::GoBack) if is_proving_itself(&updater) => {
                self.host.message("the new version runs already, and has not proved itself yet", None);
                Ok(Some(AsApp::Ready { start: Start::Probation { start: STARTS_MAX }, build }))
            }
            Ok(Start::GoBack) => self.go_back(&updater, build),
            Ok(start) => Ok(Some(AsApp::Ready { start, build })),
        }
    }

    fn go_back(&self, updater: &Updater, build: Option<u64>) -> Result<Option<AsApp>, Error> {
        self.host.message("the new version did not start three times: going back to the one before", None);
        if let Err(error) = updater.rollback() {
            // A tree between two releases is not started.
            updater.finish_interrupted()?;
            // An app that may work this time is better than none.
            self.host.message(&format!("going back did not work, the app runs as it is: {error}"), None);
            return Ok(Some(AsApp::Ready { start: Start::Plain, build }));
        }
        self.anew_after(true)
    }

    /// Starts the app of a tree, which is made whole before.
    ///
    /// # Errors
    /// A tree that cannot be made whole, also not with what its site has; the program does not start.
    pub(super) fn start_from(&self, tree: &Path) -> Result<AsApp, Error> {
        let updater = self.open(tree)?;
        match updater.finish_interrupted() {
            Err(Error::Tree(TreeError::NeedsHeal { .. })) if tree == self.home() => self.update_or_install()?,
            finished => drop(finished?),
        }
        match start(&updater, &self.setup.arguments)? {
            Some(child) => Ok(AsApp::Started(child)),
            None => Ok(AsApp::Restart),
        }
    }
}

/// Whether the app of a release that was counted often enough runs, started a moment ago: a user who opens several documents at once
/// starts it as often. False where the system does not tell what runs.
fn is_proving_itself(updater: &Updater) -> bool {
    let Ok(Some(entry)) = updater.entry() else { return false };
    let counted = std::fs::metadata(updater.state_dir().join(LAUNCH)).and_then(|metadata| metadata.modified());
    let since = counted.ok().and_then(|counted| SystemTime::now().duration_since(counted).ok());
    since.is_some_and(|since| since < PROVING) && !process::running_from(&updater.root().join(entry)).is_empty()
}
