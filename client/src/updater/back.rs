//! Probation: a new release proves itself, or the tree goes back to the one before.

use super::*;
use crate::deploy::Order;
use crate::error::Class;
use crate::format::launch::LaunchState;
use crate::tree::Uninstalled;

/// Name of the launcher's file in the state directory.
pub(crate) const LAUNCH: &str = "launch";

/// How often a new build may be started without being confirmed.
pub const STARTS_MAX: u64 = 3;

/// What is to be done before the app is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Start it; it has proved itself, or there is nothing to go back to.
    Plain,
    /// Start it; it is on probation, and this is the `n`th start.
    Probation {
        /// From 1 to [`STARTS_MAX`].
        start: u64,
    },
    /// It was started [`STARTS_MAX`] times and never confirmed: go back first.
    GoBack,
}

impl Updater {
    /// Counts a start of the installed build. The count is durable when this returns, but on a disk that takes no writes: there
    /// the start is told with the number it would have, and does not count. Once the release is confirmed, space is free again.
    ///
    /// # Errors
    /// The lock is held; a tree that cannot be made whole; a damaged record; what the system says.
    pub fn count_start(&self) -> Result<Start, Error> {
        // An app in a read-only place is not to be kept from running by its own launcher.
        if !self.tree.has_previous()? && !self.tree.is_unfinished()? {
            return Ok(Start::Plain);
        }
        let lock = match self.begin() {
            Err(error) if error.class() == Class::Disk && !self.tree.is_unfinished()? => {
                let Some(build) = self.installed_build()? else { return Ok(Start::Plain) };
                return self.uncounted(build, &error);
            }
            lock => lock?,
        };
        if !self.tree.has_previous()? {
            return Ok(Start::Plain);
        }
        let Some(build) = self.installed_build()? else { return Ok(Start::Plain) };
        let mut state = self.launch_state()?;
        let starts = state.starts_of(build);
        if starts >= STARTS_MAX {
            return Ok(Start::GoBack);
        }
        state.starts = Some((build, starts + 1));
        match self.write_launch_state(&lock, &state) {
            Err(error) if error.class() == Class::Disk => self.uncounted(build, &error),
            written => written.map(|()| Start::Probation { start: starts + 1 }),
        }
    }

    /// A start that could not be counted: a disk that is full, or takes no writes, is no fault of the release.
    fn uncounted(&self, build: u64, error: &Error) -> Result<Start, Error> {
        let text = format!("this start of build {build} is not counted: {error}");
        self.config.progress.event(Event::Notice { code: "start_not_counted", subject: "", text: &text });
        Ok(Start::Probation { start: (self.launch_state()?.starts_of(build) + 1).min(STARTS_MAX) })
    }

    /// The installed release has proved itself: the way back is closed, and its space is free again.
    ///
    /// Who started a build and waits for it to prove itself calls [`Self::confirm_build`]: by then another may be installed.
    ///
    /// # Errors
    /// The lock is held; what the system says.
    pub fn confirm_healthy(&self) -> Result<(), Error> {
        self.confirm(None)
    }

    /// `build` has proved itself: as [`Self::confirm_healthy`] if it is what is installed, else nothing is done, since a release that
    /// was installed over it has proved nothing.
    ///
    /// # Errors
    /// The lock is held; a damaged record; what the system says.
    pub fn confirm_build(&self, build: u64) -> Result<(), Error> {
        self.confirm(Some(build))
    }

    fn confirm(&self, meant: Option<u64>) -> Result<(), Error> {
        if !self.tree.has_previous()? {
            return Ok(());
        }
        let lock = self.begin()?;
        if meant.is_some() && self.installed_build()? != meant {
            return Ok(());
        }
        lock.drop_previous()?;
        let mut state = self.launch_state()?;
        if state.starts.take().is_some() {
            self.write_launch_state(&lock, &state)?;
        }
        Ok(())
    }

    /// Goes back to the last confirmed release, from what the update left on disk; the build it leaves is not installed
    /// again. Needs the site only for files whose old content the user had edited before the update.
    ///
    /// # Errors
    /// [`Error::NoPrevious`]; whatever stops it: the tree is as before or as after.
    pub fn rollback(&self) -> Result<DeployReport, Error> {
        let lock = self.begin_anyway()?;
        self.noted(&lock, "rollback", self.rollback_locked(&lock), deployed)
    }

    fn rollback_locked(&self, lock: &TreeLock) -> Result<DeployReport, Error> {
        let previous = self.tree.previous()?.ok_or_else(|| Error::NoPrevious { path: self.config.tree.clone() })?;
        let trusted = self.state()?;
        let release = trust::judge_record(&self.facts(&trusted, None, Goal::Update), &previous.release)?;
        let record = self.record(&trusted)?;
        if let Some(record) = &record {
            let mut state = self.launch_state()?;
            state.failed.insert(record.release.release.build);
            state.starts = None;
            self.write_launch_state(lock, &state)?;
        }
        let base = record.as_ref().map(|record| &record.base);
        let downloader = self.patient_downloader(&trusted.mirrors);
        self.deploy(lock, &downloader).run(&Order {
            release: &release,
            base,
            route: Route::Back,
            everything: self.tree.is_unfinished()?,
            manifest: Some(&previous.manifest),
        })
    }

    /// The build a rollback would lead to.
    ///
    /// # Errors
    /// What the system says.
    pub fn previous_build(&self) -> Result<Option<u64>, Error> {
        let Some(previous) = self.tree.previous()? else { return Ok(None) };
        let trusted = self.state()?;
        let release = trust::judge_record(&self.facts(&trusted, None, Goal::Update), &previous.release)?;
        Ok(Some(release.release.build))
    }

    /// The user does not want to be asked for `build` again.
    ///
    /// # Errors
    /// The lock is held; what the system says.
    pub fn skip(&self, build: u64) -> Result<(), Error> {
        let lock = self.begin()?;
        let mut state = self.launch_state()?;
        state.skipped.insert(build);
        self.write_launch_state(&lock, &state)
    }

    /// Builds the user does not want to be asked for.
    ///
    /// # Errors
    /// What the system says.
    pub fn skipped(&self) -> Result<std::collections::BTreeSet<u64>, Error> {
        Ok(self.launch_state()?.skipped)
    }

    /// The user wants no other build than the installed one, until [`Self::let_go`]. Gives that build.
    ///
    /// # Errors
    /// Nothing is installed; the lock is held; what the system says.
    pub fn hold(&self) -> Result<u64, Error> {
        let lock = self.begin()?;
        let build = self.required_record()?.release.release.build;
        self.write_launch_state(&lock, &LaunchState { held: Some(build), ..self.launch_state()? })?;
        Ok(build)
    }

    /// Ends a hold; does nothing where there is none.
    ///
    /// # Errors
    /// The lock is held; what the system says.
    pub fn let_go(&self) -> Result<(), Error> {
        let lock = self.begin()?;
        self.write_launch_state(&lock, &LaunchState { held: None, ..self.launch_state()? })
    }

    /// The build that is held, if it is the installed one.
    ///
    /// # Errors
    /// What the system says.
    pub fn held(&self) -> Result<Option<u64>, Error> {
        let installed = self.installed_build()?;
        Ok(self.launch_state()?.held.filter(|build| Some(*build) == installed))
    }

    /// Before a commit over the build `installed`: decides which release the way back leads to afterwards. A build that was
    /// started and never confirmed is not one to go back to, nor is one that was to be gone back from; any other is confirmed by
    /// the update over it.
    pub(super) fn open_way_back(&self, lock: &TreeLock, installed: Option<u64>) -> Result<(), Error> {
        let launched = self.launch_state()?;
        if installed.is_none_or(|build| launched.starts_of(build) == 0 && !launched.failed.contains(&build)) {
            lock.drop_previous()?;
        }
        Ok(())
    }

    /// What the launcher remembers. Damaged, it is as if it were not there: nothing rests on it.
    pub(super) fn launch_state(&self) -> Result<LaunchState, Error> {
        let Some(bytes) = self.tree.read_state(LAUNCH)? else { return Ok(LaunchState::default()) };
        Ok(LaunchState::parse(&bytes).unwrap_or_default())
    }

    fn write_launch_state(&self, lock: &TreeLock, state: &LaunchState) -> Result<(), Error> {
        Ok(lock.replace_state(LAUNCH, &state.to_bytes())?)
    }
}

impl Updater {
    /// Takes the tree away: what its manifest lists and is as listed, and what this crate wrote. Whatever the user wrote
    /// stays, and the report says where.
    ///
    /// # Errors
    /// The lock is held; no record; what the system says: the record is still there then, and the next call goes on.
    pub fn uninstall(&self) -> Result<Uninstalled, Error> {
        let lock = self.begin_anyway()?;
        let record = self.required_record()?;
        Ok(lock.uninstall(&record.base.manifest, self.config.progress.as_ref())?)
    }
}
