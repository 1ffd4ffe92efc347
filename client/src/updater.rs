//! The client as one thing: what a launcher, or the `client` program, calls.
//!
//! [`Updater`] joins trust, planning, download and tree. It keeps its settings, the pinned root and what it has believed in
//! the state directory of the tree.

mod back;
mod doctor;
mod examine;
mod hand_over;
mod kept;
mod last;
mod look;
mod outcome;
mod preinstalled;
mod session;
mod staged;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::consult::{self, pin, undecided};
use crate::deploy::{BaseRelease, Deploy, DeployReport, Order, Route};
use crate::download::{Downloader, RetryPolicy};
use crate::error::Error;
use crate::format::digest::Blake3;
use crate::format::layout;
use crate::format::manifest::Manifest;
use crate::format::path::RelPath;
use crate::format::release::{RELEASE_BYTES_MAX, Release};
use crate::format::settings::Settings;
use crate::machine::{Machine, ThisMachine};
use crate::notes::NotesSection;
use crate::progress::{Cancel, Event, Phase, Progress, Silent};
use crate::source::HttpOptions;
use crate::tree::{Record, Recovery, Transaction, Tree, TreeError, TreeLock, system_share};
use crate::trust::state;
use crate::trust::{self, Facts, Goal, Idle, Installed, Pin, TrustState, Verdict, VerifiedRelease};

pub(crate) use back::LAUNCH;
pub use back::{STARTS_MAX, Start};
pub(crate) use hand_over::HANDOVER;
pub use hand_over::{FAILED_UPDATE_VARIABLE, HandedOver, SELF_TEST};
use last::deployed;
pub use look::Look;
pub use outcome::{Adopted, CheckOutcome, Damage, Outcome, Status, Verified};
pub use preinstalled::state_files;
use staged::update_order;
pub use staged::{Prepared, StageOutcome};

/// Names of the files kept in the state directory.
const SETTINGS: &str = "settings";
const ROOT: &str = "root";
const STATE: &str = "state";

/// How long a command waits for another updater of the same tree.
const LOCK_WAIT: Duration = Duration::from_secs(3);

/// Where a tree is and how to reach its site.
#[derive(Clone)]
pub struct Config {
    /// Directory of the installed application.
    pub tree: PathBuf,
    /// State directory, if not `.lamplighter` in the tree; on the same volume.
    pub state: Option<PathBuf>,
    /// Followed from now on in place of the channel an installed tree remembers, as by [`Updater::follow`].
    pub channel: Option<String>,
    /// How HTTP is spoken.
    pub http: HttpOptions,
    /// How patient downloads are.
    pub retry: RetryPolicy,
    /// Told of phases, bytes and notices.
    pub progress: Arc<dyn Progress>,
    /// Asks to stop at the next safe point.
    pub cancel: Cancel,
    /// Stages on a network share, too. Whoever may write there can change a file after it was verified.
    pub allow_network_share: bool,
    /// Tells what kind of network share a directory lies on, if on any: [`system_share`], unless the host knows better.
    pub share_of: fn(&Path) -> Option<&'static str>,
    /// The machine it runs on: [`ThisMachine`], but for simulations.
    pub machine: Arc<dyn Machine>,
}

impl Config {
    /// The tree `tree` with all else as usual: the proxy of the environment, the protocol's patience, no reports.
    pub fn new(tree: impl Into<PathBuf>) -> Self {
        Self {
            tree: tree.into(),
            state: None,
            channel: None,
            http: HttpOptions::default(),
            retry: RetryPolicy::default(),
            progress: Arc::new(Silent),
            cancel: Cancel::default(),
            allow_network_share: false,
            share_of: system_share,
            machine: Arc::new(ThisMachine),
        }
    }
}

/// What a tree is to be a tree of.
#[derive(Debug, Clone)]
pub struct Origin {
    /// URL or directory of the site.
    pub site: String,
    /// App id.
    pub app: String,
    /// Channel to follow.
    pub channel: String,
    /// Platform token.
    pub platform: String,
    /// The root document to pin, whole.
    pub root: Vec<u8>,
    /// Other places that hand out the same site: asked where it fails. Those that heads name are known without being listed.
    pub mirrors: Vec<String>,
}

impl Origin {
    /// Platform token of this machine, as releases are named by default.
    pub fn host_platform() -> String {
        format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH)
    }
}

/// A tree and its site.
pub struct Updater {
    config: Config,
    tree: Tree,
    settings: Settings,
    pin: Pin,
    /// The channel was changed in this run and is to be remembered.
    switched: bool,
}

impl Updater {
    /// Opens an installed tree by the settings in its state directory. Changes nothing.
    ///
    /// # Errors
    /// No settings there, or damaged ones.
    pub fn open(config: Config) -> Result<Self, Error> {
        let tree = config.machine.open_tree(&config.tree, config.state.as_deref())?;
        let path = tree.state_dir().to_path_buf();
        let (Some(settings), Some(root)) = (tree.read_state(SETTINGS)?, tree.read_state(ROOT)?) else {
            return Err(Error::NoSettings { path: config.tree });
        };
        let settings =
            Settings::parse(&settings).map_err(|source| Error::Settings { path: path.join(SETTINGS), source })?;
        let pin = pin(&settings, root, 0).map_err(|source| Error::PinnedRoot { path: path.join(ROOT), source })?;
        let channel = config.channel.clone();
        let mut updater = Self { config, tree, settings, pin, switched: false };
        channel.map_or(Ok(()), |channel| updater.follow(&channel))?;
        Ok(updater)
    }

    /// Installs the release a channel offers. A directory made for it goes again if the site is not to be trusted.
    ///
    /// # Errors
    /// A tree with a record is there already; whatever stops the installation. It is resumed by the same call.
    pub fn install(config: Config, origin: &Origin) -> Result<Outcome, Error> {
        Self::install_from(config, origin, None)
    }

    /// The same, asking `from` first this time; it is not remembered.
    ///
    /// # Errors
    /// As for [`Self::install`].
    pub fn install_from(config: Config, origin: &Origin, from: Option<&str>) -> Result<Outcome, Error> {
        let created = CreatedDir::ensure(&config.tree)?;
        let updater = Self::for_origin(config, origin)?;
        if updater.tree.record()?.is_some() {
            return Err(Error::AlreadyInstalled { path: updater.config.tree });
        }
        updater.may_stage()?;
        let state = updater.state()?;
        let downloader = updater.downloader(from, &state.mirrors)?;
        let judgement = updater.consult(&downloader, &state, None, Goal::Update)?;
        let release = match judgement.verdict {
            Verdict::Offer(release) => release,
            Verdict::Idle(idle) => return Ok(Outcome::Idle(idle)),
            Verdict::Need(_) | Verdict::Available(_) => return Err(undecided()),
        };
        created.keep();
        let lock = updater.begin_anyway()?;
        updater.write_origin(&lock, origin)?;
        updater.remember(&lock, judgement.state)?;
        let downloader = updater.downloader(from, &judgement.mirrors)?;
        let report = updater.deploy(&lock, &downloader).run(&Order {
            release: &release,
            base: None,
            route: Route::Cheapest,
            everything: true,
            manifest: None,
        })?;
        Ok(Outcome::Done(Box::new(report)))
    }

    /// Takes over a tree that was installed by other means: recognises its release by what is on disk, and records it.
    ///
    /// # Errors
    /// Nothing of the offered release or its bases is there.
    pub fn adopt(config: Config, origin: &Origin) -> Result<Adopted, Error> {
        let updater = Self::for_origin(config, origin)?;
        if !updater.config.tree.is_dir() {
            return Err(Error::Usage(format!("{} is not a directory", updater.config.tree.display())));
        }
        let state = updater.state()?;
        let downloader = updater.downloader(None, &state.mirrors)?;
        let judgement = updater.consult(&downloader, &state, None, Goal::Update)?;
        let offered = match judgement.verdict {
            Verdict::Offer(release) => release,
            Verdict::Idle(idle) => {
                return Err(Error::Usage(format!("the channel offers nothing to compare with: {idle:?}")));
            }
            Verdict::Need(_) | Verdict::Available(_) => return Err(undecided()),
        };
        let lock = updater.begin()?;
        let deploy = updater.deploy(&lock, &downloader);
        let Some(recognised) = deploy.recognise(&offered.release)? else {
            return Err(Error::Usage(format!(
                "nothing in {} belongs to a release of this channel; use install",
                updater.config.tree.display()
            )));
        };
        let release = if recognised.build == offered.release.build {
            *offered
        } else {
            updater.released(&downloader, &state, recognised.build)?
        };
        if release.release.manifest != recognised.manifest {
            return Err(Error::DamagedRecord {
                path: updater.config.tree.clone(),
                reason: format!("the site's release {} names another manifest", recognised.build),
            });
        }
        updater.write_origin(&lock, origin)?;
        updater.remember(&lock, judgement.state)?;
        let to = Record { release: release.bytes, manifest: recognised.base.manifest.to_bytes() };
        let staging = lock.staging("adopt")?;
        lock.commit(
            Transaction { from: lock.record()?, to, ops: Vec::new(), staging },
            updater.config.progress.as_ref(),
        )?;
        Ok(Adopted {
            build: release.release.build,
            version: release.release.version,
            rows_intact: recognised.rows_intact,
            rows: recognised.base.manifest.rows().len(),
        })
    }

    /// Follows another channel from now on; remembered once its head has been verified.
    ///
    /// # Errors
    /// Not a channel name.
    pub fn follow(&mut self, channel: &str) -> Result<(), Error> {
        if !crate::format::text::is_token(channel) {
            return Err(Error::Usage(format!("{channel:?} is not a channel: 1 to 64 of a-z 0-9 _ -")));
        }
        self.switched = self.settings.channel != channel;
        channel.clone_into(&mut self.settings.channel);
        Ok(())
    }

    /// Asks the site whether there is a newer release; one request as a rule.
    ///
    /// # Errors
    /// The site cannot be reached or is not to be trusted.
    pub fn check(&self) -> Result<CheckOutcome, Error> {
        let (state, installed) = self.read_record(None, None, Self::installed)?;
        let downloader = self.downloader(None, &state.mirrors)?;
        let judgement = self.consult(&downloader, &state, installed, Goal::Check)?;
        self.remember_if_free(&judgement)?;
        match self.unless_kept_away(judgement.verdict, installed.map(|installed| installed.build))? {
            Verdict::Available(release) => {
                Ok(CheckOutcome::Available { build: release.build, version: release.version })
            }
            Verdict::Idle(idle) => Ok(CheckOutcome::Idle(idle)),
            Verdict::Need(_) | Verdict::Offer(_) => Err(undecided()),
        }
    }

    /// What is new in the release on offer, and in those skipped on the way to it, newest first, in the language nearest to
    /// `language`. Safe to show; Markdown, in which raw HTML is text. Empty if nothing is on offer or it has no notes.
    ///
    /// # Errors
    /// The site cannot be reached or is not to be trusted.
    pub fn notes(&self, language: &str) -> Result<Vec<NotesSection>, Error> {
        let (state, installed) = self.read_record(None, None, Self::installed)?;
        let downloader = self.downloader(None, &state.mirrors)?;
        let judgement = self.consult(&downloader, &state, installed, Goal::Update)?;
        let Verdict::Offer(offer) = judgement.verdict else { return Ok(Vec::new()) };
        let downloader = self.downloader(None, &judgement.mirrors)?;
        consult::notes(&offer.release, installed.map(|installed| installed.build), language, &downloader)
    }

    /// Brings the tree to the release its channel offers; `from`, if given, is asked before the site this time.
    ///
    /// # Errors
    /// Whatever stops it; the tree is as before or as after, and what was fetched is kept for the next time.
    pub fn update(&self, from: Option<&str>) -> Result<Outcome, Error> {
        let lock = self.begin_anyway()?;
        let ended = self.update_locked(&lock, from);
        self.noted(&lock, "update", ended, |outcome| match outcome {
            Outcome::Done(report) => deployed(report),
            Outcome::Idle(idle) => (idle.code(), 0),
        })
    }

    fn update_locked(&self, lock: &TreeLock, from: Option<&str>) -> Result<Outcome, Error> {
        match self.offer(lock, from)? {
            Offered::Idle(idle) => {
                // Nothing came that would have made the tree whole.
                self.recover(lock)?;
                Ok(Outcome::Idle(idle))
            }
            Offered::Release { release, base, installed, downloader } => {
                let everything = self.tree.is_unfinished()?;
                let order = Order { everything, ..update_order(&release, base.as_ref()) };
                let deploy = self.deploy(lock, &downloader);
                let staged = deploy.stage(&order)?;
                self.open_way_back(lock, installed)?;
                Ok(Outcome::Done(Box::new(deploy.commit(staged, &order)?)))
            }
        }
    }

    /// What the channel offers this tree, and from where it is to be fetched.
    fn offer(&self, lock: &TreeLock, from: Option<&str>) -> Result<Offered, Error> {
        let (state, record) = self.read_record(Some(lock), from, Self::record)?;
        let installed = record.as_ref().map(InstalledRecord::installed);
        let downloader = self.downloader(from, &state.mirrors)?;
        let judgement = self.consult(&downloader, &state, installed, Goal::Update)?;
        let installed = installed.map(|installed| installed.build);
        if self.condemns_staged(&judgement)? {
            lock.discard_staging()?;
        }
        self.remember(lock, judgement.state)?;
        if self.switched {
            lock.replace_state(SETTINGS, &self.settings.to_bytes())?;
        }
        let release = match self.unless_kept_away(judgement.verdict, installed)? {
            Verdict::Offer(release) => release,
            Verdict::Idle(idle) => {
                if matches!(idle, Idle::Halted | Idle::BadBuild(_)) {
                    lock.discard_staging()?;
                }
                return Ok(Offered::Idle(idle));
            }
            Verdict::Need(_) | Verdict::Available(_) => return Err(undecided()),
        };
        self.may_stage()?;
        let content =
            if judgement.mirrors.is_empty() { None } else { Some(self.downloader(from, &judgement.mirrors)?) };
        let downloader = content.unwrap_or(downloader);
        let base = match record {
            Some(record) => Some(record.base),
            None => self.deploy(lock, &downloader).recognise(&release.release)?.map(|recognised| recognised.base),
        };
        Ok(Offered::Release { release, base, installed, downloader })
    }

    /// Brings every listed file back to the installed manifest. Needs no fresh head, only the record; and the site only for
    /// content that is not in the tree.
    ///
    /// # Errors
    /// No record; whatever stops it.
    pub fn heal(&self, from: Option<&str>) -> Result<DeployReport, Error> {
        self.may_stage()?;
        let lock = self.begin_anyway()?;
        let (state, record) = self.read_record(Some(&lock), from, Self::record)?;
        let record = record.ok_or_else(|| self.no_record())?;
        let downloader = self.downloader(from, &state.mirrors)?;
        let ended = self.deploy(&lock, &downloader).run(&healing(&record, Route::ObjectsOnly));
        if ended.is_ok() {
            lock.healed()?;
        }
        self.noted(&lock, "heal", ended, deployed)
    }

    /// Fetches every listed file in full again, whatever is on disk, and replaces what differs. Until all of it is there
    /// nothing changes.
    ///
    /// # Errors
    /// No record; whatever stops it.
    pub fn deploy_afresh(&self) -> Result<DeployReport, Error> {
        self.may_stage()?;
        let lock = self.begin_anyway()?;
        let (state, record) = self.read_record(Some(&lock), None, Self::record)?;
        let record = record.ok_or_else(|| self.no_record())?;
        let downloader = self.downloader(None, &state.mirrors)?;
        let deployed = self.deploy(&lock, &downloader).run(&healing(&record, Route::Afresh))?;
        lock.healed()?;
        Ok(deployed)
    }

    fn deploy<'a>(&'a self, lock: &'a TreeLock, downloader: &'a Downloader) -> Deploy<'a> {
        let Config { progress, cancel, machine, .. } = &self.config;
        Deploy { lock, downloader, progress: progress.as_ref(), cancel, helpers: machine.helpers() }
    }

    /// Refuses to fetch content for a tree that lies on a network share, unless that was allowed: between check and rename
    /// whoever may write there could swap it. The state lies on the same volume. What was staged by leave is committed by it.
    fn may_stage(&self) -> Result<(), Error> {
        match (self.config.share_of)(self.tree.root()) {
            Some(kind) if !self.config.allow_network_share => {
                Err(Error::NetworkShare { path: self.tree.root().to_owned(), kind })
            }
            _ => Ok(()),
        }
    }

    /// Finishes or undoes an update that was cut off; true if there was one. The lock is taken only then.
    ///
    /// # Errors
    /// [`TreeError::NeedsHeal`]; the lock is held; what the system says. The tree may be neither release then.
    pub fn finish_interrupted(&self) -> Result<bool, Error> {
        if !self.tree.is_unfinished()? {
            return Ok(false);
        }
        let lock = self.tree.lock(LOCK_WAIT)?;
        let recovery = lock.recover()?;
        self.tell_recovery(&recovery);
        Ok(recovery != Recovery::Nothing)
    }

    /// Locks the tree and finishes or undoes what was interrupted.
    fn begin(&self) -> Result<TreeLock, Error> {
        let lock = self.tree.lock(LOCK_WAIT)?;
        self.recover(&lock)?;
        Ok(lock)
    }

    /// The same for what makes the tree whole, or takes it away: a transaction that cannot be recovered is given up.
    fn begin_anyway(&self) -> Result<TreeLock, Error> {
        let lock = self.tree.lock(LOCK_WAIT)?;
        match lock.recover() {
            // Neither manifest can be put together from what is on disk, so the record decides and the site fills in.
            Err(TreeError::NeedsHeal { .. }) => self.tell_recovery(&lock.abandon()?),
            other => self.tell_recovery(&other?),
        }
        Ok(lock)
    }

    /// Waits for the lock of the tree.
    pub(crate) fn lock(&self, wait: Duration) -> Result<TreeLock, Error> {
        Ok(self.tree.lock(wait)?)
    }

    /// Finishes or undoes what was interrupted.
    pub(crate) fn recover(&self, lock: &TreeLock) -> Result<(), Error> {
        self.tell_recovery(&lock.recover()?);
        Ok(())
    }

    fn tell_recovery(&self, recovery: &Recovery) {
        let (text, report) = match recovery {
            Recovery::Nothing => return,
            Recovery::RolledForward(report) => ("an update that was cut off has been finished", report),
            Recovery::RolledBack(report) => ("an update that was cut off has been undone", report),
        };
        let notice = |code, subject: &str, text: &str| {
            self.config.progress.event(Event::Notice { code, subject, text });
        };
        notice("recovered", "", text);
        for kept in &report.kept {
            notice("kept_aside", &kept.path, &format!("is now {}", kept.kept_at.display()));
        }
    }
}

/// The recorded release, verified.
struct InstalledRecord {
    release: VerifiedRelease,
    base: BaseRelease,
}

impl InstalledRecord {
    fn installed(&self) -> Installed {
        Installed { build: self.release.release.build, manifest: self.base.manifest_blake3 }
    }
}

/// What a channel offers one tree.
enum Offered {
    Release {
        release: Box<VerifiedRelease>,
        base: Option<BaseRelease>,
        /// Build recorded as installed.
        installed: Option<u64>,
        downloader: Downloader,
    },
    Idle(Idle),
}

/// Every row of what is recorded, to be as recorded.
fn healing(record: &InstalledRecord, route: Route) -> Order<'_> {
    Order { release: &record.release, base: Some(&record.base), route, everything: true, manifest: None }
}

/// A directory made for a new tree; taken away again, if it is empty, unless kept.
struct CreatedDir {
    path: PathBuf,
    made: bool,
}

impl CreatedDir {
    fn ensure(path: &Path) -> Result<Self, Error> {
        let made = !path.exists();
        let created = std::fs::create_dir_all(path);
        created.map_err(|source| Error::Io { doing: "create", path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), made })
    }

    fn keep(mut self) {
        self.made = false;
    }
}

impl Drop for CreatedDir {
    fn drop(&mut self) {
        if self.made {
            // Only an empty directory goes; whatever else is in it stays.
            let _ = std::fs::remove_dir(&self.path);
        }
    }
}
