//! An update in two halves: everything but the commit while the app runs, the commit when it does not.

use super::*;
use crate::deploy::{Order, Staged};
use crate::trust::Judgement;

/// An update of which only the commit is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// Build it leads to.
    pub build: u64,
    /// Its version.
    pub version: String,
    /// Build it starts from; none for a tree without a record.
    pub from_build: Option<u64>,
    /// Where its contents lie: what a patcher is told as the path of the new version.
    pub staged_at: PathBuf,
    /// The release it leads to.
    pub release: Release,
}

/// How staging an update ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StageOutcome {
    /// Everything is there; [`Updater::commit`] needs no network.
    Ready(Box<Prepared>),
    /// There is nothing to install.
    Idle(Idle),
}

/// What waits in staging, verified.
pub(super) struct Waiting {
    pub(super) release: VerifiedRelease,
    pub(super) manifest: Vec<u8>,
    /// Key of its staging directory.
    pub(super) key: String,
    /// What the tree is until then.
    pub(super) record: Option<InstalledRecord>,
    pub(super) prepared: Prepared,
    /// Mirrors that are remembered.
    pub(super) mirrors: Vec<String>,
}

impl Updater {
    /// Does all of an update but the commit: what the app can see stays as it is. A call that was cut off is gone on with
    /// by the next.
    ///
    /// # Errors
    /// Whatever stops it; what was fetched is kept for the next time.
    pub fn stage(&self, from: Option<&str>) -> Result<StageOutcome, Error> {
        let lock = self.begin()?;
        let ended = self.stage_locked(&lock, from);
        self.noted(&lock, "stage", ended, |outcome| match outcome {
            StageOutcome::Ready(prepared) => ("done", prepared.build),
            StageOutcome::Idle(idle) => (idle.code(), 0),
        })
    }

    fn stage_locked(&self, lock: &TreeLock, from: Option<&str>) -> Result<StageOutcome, Error> {
        match self.offer(lock, from)? {
            Offered::Idle(idle) => Ok(StageOutcome::Idle(idle)),
            Offered::Release { release, base, downloader, .. } => {
                let deploy = self.deploy(lock, &downloader);
                let staged = deploy.stage(&update_order(&release, base.as_ref()))?;
                self.keep_for_commit(&staged)?;
                let waiting = self.waiting()?.ok_or_else(undecided)?;
                Ok(StageOutcome::Ready(Box::new(waiting.prepared)))
            }
        }
    }

    /// What is staged whole and waits for its commit.
    ///
    /// # Errors
    /// A damaged record of the tree, or what the system says. Damaged staging is no error: there is nothing then.
    pub fn prepared(&self) -> Result<Option<Prepared>, Error> {
        Ok(self.waiting()?.map(|waiting| waiting.prepared))
    }

    /// Commits what [`Self::stage`] left. Needs the site only for files that the user took away or edited meanwhile.
    ///
    /// # Errors
    /// [`Error::NothingStaged`]; whatever stops it: the tree is as before or as after.
    pub fn commit(&self) -> Result<DeployReport, Error> {
        let lock = self.begin()?;
        self.commit_locked(&lock)
    }

    /// [`Self::commit`] under a lock the caller holds, after recovery.
    pub(crate) fn commit_locked(&self, lock: &TreeLock) -> Result<DeployReport, Error> {
        self.noted(lock, "commit", self.commit_waiting(lock), deployed)
    }

    fn commit_waiting(&self, lock: &TreeLock) -> Result<DeployReport, Error> {
        let waiting = self.waiting()?.ok_or_else(|| Error::NothingStaged { path: self.config.tree.clone() })?;
        let downloader = self.patient_downloader(&waiting.mirrors);
        let base = waiting.record.as_ref().map(|record| &record.base);
        let order = Order { manifest: Some(&waiting.manifest), ..update_order(&waiting.release, base) };
        let deploy = self.deploy(lock, &downloader);
        let staged = deploy.stage(&order)?;
        self.open_way_back(lock, waiting.prepared.from_build)?;
        deploy.commit(staged, &order)
    }

    /// Gives up what is staged.
    ///
    /// # Errors
    /// The lock is held; what the system says.
    pub fn discard_staged(&self) -> Result<(), Error> {
        Ok(self.begin()?.discard_staging()?)
    }

    /// Whether the head says that what is staged whole must not be installed: the channel is halted, or that build is bad,
    /// whatever it offers now. The commit asks nobody, so it has to be given up; before the head is remembered, so that no
    /// crash leaves a client that knows and commits.
    pub(super) fn condemns_staged(&self, judgement: &Judgement) -> Result<bool, Error> {
        let Some(head) = &judgement.head else { return Ok(false) };
        let platform = &self.settings.platform;
        let halted = head.is_halted(platform);
        if !halted && head.bad_builds.is_empty() {
            return Ok(false);
        }
        let Some(staged) = self.tree.staged()? else { return Ok(false) };
        let release = trust::judge_record(&self.facts(&self.state()?, None, Goal::Update), &staged.record.release);
        Ok(halted || release.is_ok_and(|release| head.is_bad(platform, release.release.build)))
    }

    /// Writes down that everything is staged. After a crash it is written whole, or not at all.
    fn keep_for_commit(&self, staged: &Staged) -> Result<(), Error> {
        Ok(staged.staging().keep_record(staged.record())?)
    }

    pub(super) fn waiting(&self) -> Result<Option<Waiting>, Error> {
        let Some(staged) = self.tree.staged()? else { return Ok(None) };
        let state = self.state()?;
        let Ok(release) = trust::judge_record(&self.facts(&state, None, Goal::Update), &staged.record.release) else {
            return Ok(None);
        };
        let record = self.record(&state)?;
        let base = record.as_ref().map(|record| &record.base);
        let installed = record.as_ref().map(|record| record.release.release.build);
        let seen = state.channels.get(&self.settings.channel).map_or(0, |channel| channel.highest_build);
        let build = release.release.build;
        let is_newest = installed.is_none_or(|installed| build > installed) && build >= seen.max(self.pin.floor_build);
        let wanted = !self.launch_state()?.failed.contains(&build);
        // What was staged for another base, or is no longer the newest, is of no use.
        let fits = update_order(&release, base).key() == staged.key;
        if !(is_newest && wanted && fits) {
            return Ok(None);
        }
        let prepared = Prepared {
            build,
            version: release.release.version.clone(),
            from_build: installed,
            staged_at: staged.path,
            release: release.release.clone(),
        };
        let (manifest, key, mirrors) = (staged.record.manifest, staged.key, state.mirrors);
        Ok(Some(Waiting { release, manifest, key, record, prepared, mirrors }))
    }
}

/// The usual order of an update.
pub(super) fn update_order<'a>(release: &'a VerifiedRelease, base: Option<&'a BaseRelease>) -> Order<'a> {
    Order { release, base, route: Route::Cheapest, everything: false, manifest: None }
}
