//! The driver around the launcher's decisions: gathers facts, carries actions out.
//!
//! Two entry points, for an app that takes care of itself: [`as_app`] at its start, and [`as_updater`] for a program that
//! only updates and starts it. Whatever goes wrong with an update is told and the app runs as it is; only a tree that somebody
//! else is changing, a build below the minimum and a tree that cannot be made whole keep it from running.
//!
//! Locks are held by the kernel for this process and go with it, however it ends.

mod facts;
mod progress;
mod ready;
mod start;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Class, Error};
use crate::launch::{Action, Resources, Settings, decide};
use crate::notes::NotesSection;
use crate::tree::TreeError;
use crate::updater::{
    Config, FAILED_UPDATE_VARIABLE, LAUNCH, Origin, Outcome, STARTS_MAX, StageOutcome, Start, Updater,
};

use facts::{Busy, Looked};
use progress::HostProgress;
pub use start::start;
pub(crate) use start::start_program;

/// What a user is asked before an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Offered build.
    pub build: u64,
    /// Its version.
    pub version: String,
    /// Version that is installed.
    pub installed_version: Option<String>,
    /// The app must be closed and started again for it.
    pub needs_restart: bool,
    /// What is new since the installed build, newest first; empty if the release says nothing, or it could not be had.
    pub notes: Vec<NotesSection>,
}

/// The user's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Update now.
    Yes,
    /// Not this time.
    Later,
    /// Do not ask for this build again.
    Skip,
}

/// The program around the driver.
pub trait Host: Send + Sync {
    /// Something to show, with the part that is done in percent where that is known.
    fn message(&self, text: &str, percent: Option<u8>);

    /// Asks the user. Without an answer of its own a host updates.
    fn ask(&self, question: &Question) -> Answer {
        let _ = question;
        Answer::Yes
    }

    /// A developer's hook: builds resources and puts them in place.
    ///
    /// # Errors
    /// What went wrong, for people.
    fn build_and_deploy(&self) -> Result<(), String> {
        Err("this program has no hook that builds resources".to_owned())
    }
}

/// How an app was set up.
#[derive(Clone)]
pub struct Setup {
    /// The tree the program belongs to, and how its site is reached. Events go to its `progress` and to the host.
    pub config: Config,
    /// What to do at a start.
    pub settings: Settings,
    /// Local storage, where the app is to run; needed with [`Settings::run_in_local`].
    pub local: Option<PathBuf>,
    /// Where local storage is filled from, if the tree does not say.
    pub origin: Option<Origin>,
    /// A tree that holds the resources; the app's own by default.
    pub resources: Option<Config>,
    /// Build compiled into this program, for a tree without a record.
    pub compiled_build: u64,
    /// This program; what the system says by default.
    pub program: Option<PathBuf>,
    /// What the app is started with.
    pub arguments: Vec<OsString>,
    /// Language of release notes, such as `en` or `pt-br`.
    pub language: String,
}

impl Setup {
    /// An app that runs where it is installed, with its own resources, started without arguments.
    pub fn new(config: Config, settings: Settings) -> Self {
        Self {
            config,
            settings,
            local: None,
            origin: None,
            resources: None,
            compiled_build: 0,
            program: None,
            arguments: Vec::new(),
            language: "en".to_owned(),
        }
    }
}

/// What the app does next.
#[derive(Debug)]
pub enum AsApp {
    /// Run. After a while without trouble, call [`Updater::confirm_build`].
    Ready {
        /// Whether this start is one of a release on probation.
        start: Start,
        /// Build that is installed where the app runs, if it is known.
        build: Option<u64>,
    },
    /// End now: the patcher waits for that and starts the new version.
    HandedOver {
        /// Build it leads to.
        build: u64,
        /// The patcher's process.
        patcher_pid: u32,
    },
    /// End now: the app was started elsewhere, or anew.
    Started(Child),
    /// The tree was changed under this program, and names nothing to start: start it again.
    Restart,
    /// End: somebody else changes the tree, or is about to.
    Locked,
    /// End: the app must be downloaded afresh.
    UpdateRequired {
        /// Lowest build that would do.
        minimum_build: u64,
    },
}

/// What a program does at its start, up to the point where the app runs.
///
/// # Errors
/// A tree that cannot be recovered or has a damaged record; a local storage that cannot be filled. What goes wrong with an
/// update alone is told to the host and is no error.
pub fn as_app(setup: &Setup, host: &Arc<dyn Host>) -> Result<AsApp, Error> {
    Driver::new(setup, host)?.run()
}

/// What an updater does: waits until the lock is free, for at most `wait`, updates or installs, and starts the app.
///
/// # Errors
/// The lock is not free in time; whatever stops the update: the tree is as before then, and nothing is started.
pub fn as_updater(setup: &Setup, host: &Arc<dyn Host>, wait: Duration) -> Result<AsApp, Error> {
    let driver = Driver::new(setup, host)?;
    let until = Instant::now() + wait;
    loop {
        match driver.update_or_install() {
            Err(error) if error.class() == Class::Locked && Instant::now() < until => {
                host.message("waiting for another updater", None);
            }
            done => break done?,
        }
    }
    driver.start_from(&driver.home())
}

struct Driver<'a> {
    setup: &'a Setup,
    host: &'a Arc<dyn Host>,
    program: PathBuf,
    declined: Option<u64>,
    resources_done: bool,
    /// What somebody else did with the tree when it was last looked at.
    busy: Busy,
    /// The site was asked already, with this result.
    looked: Option<Looked>,
}

impl<'a> Driver<'a> {
    fn new(setup: &'a Setup, host: &'a Arc<dyn Host>) -> Result<Self, Error> {
        let program = match &setup.program {
            Some(program) => program.clone(),
            None => std::env::current_exe().map_err(|source| Error::Io {
                doing: "find",
                path: "this program".into(),
                source,
            })?,
        };
        if setup.settings.run_in_local && setup.local.is_none() {
            return Err(Error::Usage("running in local storage needs its path".into()));
        }
        let failed = std::env::var(FAILED_UPDATE_VARIABLE).ok().and_then(|text| text.parse().ok());
        Ok(Self { setup, host, program, declined: failed, resources_done: false, busy: Busy::Free, looked: None })
    }

    fn run(mut self) -> Result<AsApp, Error> {
        if let Some(done) = self.start_anew()? {
            return Ok(done);
        }
        loop {
            let facts = self.facts()?;
            match decide(&facts) {
                Action::TellLocked => {
                    self.host.message("an update of this app is running already", None);
                    return Ok(AsApp::Locked);
                }
                Action::TellDownloadAgain { minimum_build } => {
                    let text = "this version can no longer update itself: download the app afresh and delete this one";
                    self.host.message(text, None);
                    return Ok(AsApp::UpdateRequired { minimum_build });
                }
                Action::InstallLocal { .. } => match self.update_or_install() {
                    Ok(()) => return self.start_from(&self.home()),
                    Err(error) => self.give_up(facts.offered_build, &error),
                },
                Action::CopyToLocal => {
                    self.host.message("copying the app to local storage", None);
                    self.open(&self.setup.config.tree)?.copy_to(self.config(&self.home()))?;
                }
                Action::RunLocal => return self.start_from(&self.home()),
                Action::Update { build } => {
                    if let Some(done) = self.update(build)? {
                        return Ok(done);
                    }
                    self.declined = Some(build);
                }
                Action::Deploy(resources) => {
                    self.deploy(resources);
                    self.resources_done = true;
                }
                Action::Ready => {
                    if let Some(done) = self.ready()? {
                        return Ok(done);
                    }
                }
            }
        }
    }

    /// The tree the app runs from in the end.
    fn home(&self) -> PathBuf {
        match &self.setup.local {
            Some(local) if self.setup.settings.run_in_local => local.clone(),
            _ => self.setup.config.tree.clone(),
        }
    }

    /// The configuration of `tree`, told to the host as well.
    fn config(&self, tree: &Path) -> Config {
        let own = tree == self.setup.config.tree;
        let state = if own { self.setup.config.state.clone() } else { None };
        let progress = Arc::new(HostProgress::new(self.host.clone(), self.setup.config.progress.clone()));
        Config { tree: tree.to_owned(), state, progress, ..self.setup.config.clone() }
    }

    fn open(&self, tree: &Path) -> Result<Updater, Error> {
        Updater::open(self.config(tree))
    }

    fn runs_in(&self, tree: &Path) -> bool {
        match (std::fs::canonicalize(&self.program), std::fs::canonicalize(tree)) {
            (Ok(program), Ok(tree)) => program.starts_with(tree),
            _ => false,
        }
    }

    fn give_up(&mut self, build: Option<u64>, error: &Error) {
        self.host.message(&format!("the update did not work, the app runs as it is: {error}"), None);
        self.declined = build;
    }

    /// Asks, stages and commits or hands over; nothing if the app is to run as it is.
    fn update(&mut self, build: u64) -> Result<Option<AsApp>, Error> {
        let home = self.home();
        let updater = self.open(&home)?;
        let waits = updater.prepared()?.is_some_and(|prepared| prepared.build == build);
        let in_tree = self.runs_in(&home);
        // What a round in the background has staged was agreed to when the round was set up.
        if !waits && !self.ask(&updater, build, in_tree)? {
            return Ok(None);
        }
        match self.carry_out(&updater, in_tree) {
            Ok(done) => Ok(done),
            Err(error) => {
                self.give_up(Some(build), &error);
                Ok(None)
            }
        }
    }

    fn ask(&self, updater: &Updater, build: u64, needs_restart: bool) -> Result<bool, Error> {
        let offered = self.looked.as_ref().and_then(|looked| looked.offered.clone());
        let version = offered.map_or_else(String::new, |(_, version)| version);
        let installed_version = updater.status()?.installed.map(|release| release.version);
        // Without notes the question is still worth asking.
        let notes = updater.notes(&self.setup.language).unwrap_or_default();
        let question = Question { build, version, installed_version, needs_restart, notes };
        match self.host.ask(&question) {
            Answer::Yes => Ok(true),
            Answer::Later => Ok(false),
            Answer::Skip => {
                updater.skip(build)?;
                Ok(false)
            }
        }
    }

    fn carry_out(&mut self, updater: &Updater, in_tree: bool) -> Result<Option<AsApp>, Error> {
        if let StageOutcome::Idle(_) = self.staged(updater)? {
            return Ok(None);
        }
        if in_tree {
            match updater.hand_over(std::process::id(), &self.setup.arguments) {
                Ok(handed) => {
                    let (build, patcher_pid) = (handed.build, handed.patcher_pid);
                    return Ok(Some(AsApp::HandedOver { build, patcher_pid }));
                }
                Err(Error::NoPatcher { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        updater.commit()?;
        self.anew_after(true)
    }

    /// Staged earlier, or now.
    fn staged(&self, updater: &Updater) -> Result<StageOutcome, Error> {
        match updater.stage(None) {
            Ok(outcome) => Ok(outcome),
            Err(error) => match updater.prepared()? {
                Some(prepared) if error.class() == Class::Network => Ok(StageOutcome::Ready(Box::new(prepared))),
                _ => Err(error),
            },
        }
    }

    fn update_or_install(&self) -> Result<(), Error> {
        let home = self.home();
        let done = match (self.open(&home), self.origin()) {
            (Err(Error::NoSettings { .. } | Error::Tree(TreeError::NotATree { .. })), Some(origin)) => {
                Updater::install(self.config(&home), &origin)?
            }
            (opened, _) => opened?.update(None)?,
        };
        if let Outcome::Done(report) = done {
            self.host.message(&format!("{} (build {}) is installed", report.version, report.build), Some(100));
        }
        Ok(())
    }

    fn origin(&self) -> Option<Origin> {
        let own = || self.open(&self.setup.config.tree).ok().map(|updater| updater.origin());
        self.setup.origin.clone().or_else(own)
    }

    /// Resources that cannot be seen to are told; the app decides what it does without them.
    fn deploy(&self, resources: Resources) {
        let config = self.setup.resources.clone().unwrap_or_else(|| self.config(&self.home()));
        let done = match resources {
            Resources::Leave => Ok(()),
            Resources::BuildAndDeploy => self.host.build_and_deploy(),
            Resources::VerifyAndDeploy => verify_and_deploy(config).map_err(|error| error.to_string()),
            Resources::AlwaysDeploy => {
                Updater::open(config).and_then(|updater| updater.deploy_afresh()).map(|_| ()).map_err(|e| e.to_string())
            }
        };
        if let Err(text) = done {
            self.host.message(&format!("resources could not be deployed: {text}"), None);
        }
    }
}

/// Brings a tree to what its channel offers and every file of it to its manifest.
fn verify_and_deploy(config: Config) -> Result<(), Error> {
    let updater = Updater::open(config)?;
    // Offline, what is installed is made whole as far as it can be.
    let updated = updater.update(None);
    let is_damaged = match updater.verify(false) {
        Err(Error::Tree(TreeError::NeedsHeal { .. })) => true,
        verified => verified?.damaged.iter().any(|damage| !damage.keep),
    };
    if is_damaged {
        updater.heal(None)?;
        return Ok(());
    }
    match updated {
        Err(error) if error.class() != Class::Network => Err(error),
        _ => Ok(()),
    }
}
