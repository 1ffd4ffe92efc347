//! One install of the app in the simulated fleet: its disk, its clock, its user, and what happens when it is started.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use lamplighter_client::download::RetryPolicy;
use lamplighter_client::error::{Class, Error};
use lamplighter_client::format::release::{RELEASE_BYTES_MAX, Release};
use lamplighter_client::format::signed::SignedDocument;
use lamplighter_client::format::text::Time;
use lamplighter_client::machine::Machine;
use lamplighter_client::progress::Cancel;
use lamplighter_client::source::{HttpOptions, Obstacle, Source, SourceError};
use lamplighter_client::tree::{Tree, TreeError};
use lamplighter_client::updater::{CheckOutcome, Config, Origin, Outcome, StageOutcome, Start, Updater};

use super::dice::Dice;
use super::network::Network;
use super::outage::{Power, Powered, lose_downloads, restore_directories};
use super::publisher::{CHANNEL, DAY, HOUR, PLACES, Publisher};
use super::releases::KEPT;
use super::tree_model::{self, Disk};
use super::tree_view::{self, state_file};
use super::world::{APP, PLATFORM};

/// Starts after which nobody would try again.
const STARTS_MAX: u64 = 20;

/// What the simulated machine answers to the client.
struct Simulated {
    network: Arc<Network>,
    began: i64,
    ahead: i64,
    model: Arc<tree_model::Machine>,
    power: Arc<Power>,
    real: PathBuf,
    secret: [u8; 16],
}

impl Machine for Simulated {
    fn clock(&self) -> Time {
        Time::from_seconds(self.began + self.ahead + self.network.passing.seconds())
    }

    fn secret(&self) -> [u8; 16] {
        self.secret
    }

    fn open_tree(&self, root: &Path, _: Option<&Path>) -> Result<Tree, TreeError> {
        let disk = Powered::fs_of(&self.model, self.power.clone(), &self.real);
        Ok(Tree::with_fs(disk, root, &self.real))
    }

    fn open_source(&self, location: &str, _: &HttpOptions) -> Result<Arc<dyn Source>, SourceError> {
        let nowhere = || SourceError::Fatal {
            name: String::new(),
            site: location.into(),
            obstacle: Obstacle::BadLocation(location.into()),
        };
        self.network.source(location).ok_or_else(nowhere)
    }

    fn helpers(&self) -> usize {
        0
    }
}

/// What is done when the app is started, beside starting it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    Update,
    Stage,
    Commit,
    Check,
    Verify,
    GoBack,
    Hold,
    LetGo,
    /// Nothing but finishing what was cut off.
    Recover,
}

/// How one start is to go.
pub(crate) struct Plan {
    pub(crate) deed: Deed,
    /// What the network is like is drawn; else it is fair.
    pub(crate) weather: bool,
    /// Power cuts, kills and failing calls happen.
    pub(crate) trouble: bool,
}

/// What one start came to.
#[derive(Debug, Default)]
pub(crate) struct Ran {
    /// For people, and for comparing two runs of a seed.
    pub(crate) log: String,
    pub(crate) starts: u64,
    /// Power cuts and kills on the way.
    pub(crate) crashes: u64,
    /// The user changed something between a crash and the start after it.
    pub(crate) meddled: bool,
    /// Why starting again and again came to no end.
    pub(crate) given_up: Option<String>,
    /// Why recovery could not put the tree together alone.
    pub(crate) unrecovered: Option<String>,
    /// The last error of something that was asked for.
    pub(crate) error: Option<String>,
    pub(crate) requests: (u64, u64),
}

pub(crate) struct Device {
    real: PathBuf,
    pub(crate) disk: Disk,
    pub(crate) dice: Dice,
    secret: [u8; 16],
    /// Seconds its clock is ahead of true time.
    pub(crate) ahead: i64,
    /// What the user wrote last, by path: it must be somewhere.
    pub(crate) mine: BTreeMap<String, Vec<u8>>,
    /// All that the user ever wrote, by path.
    pub(crate) ever: BTreeMap<String, BTreeSet<Vec<u8>>>,
    pub(crate) installed: Option<u64>,
    /// Highest build that was confirmed.
    pub(crate) confirmed: u64,
    /// Builds it went back from.
    pub(crate) failed: BTreeSet<u64>,
    /// A way back was begun since the last judgement, from this build.
    pub(crate) going_back: Option<u64>,
    /// What is installed next may have been staged under an earlier head.
    pub(crate) committing: bool,
    pub(crate) rollbacks: u64,
}

impl Device {
    pub(crate) fn new(real: PathBuf, mut dice: Dice) -> Self {
        std::fs::create_dir_all(real.join("tree")).expect("a directory");
        let secret = std::array::from_fn(|_| dice.next() as u8);
        let mut disk = Disk::new(false);
        // Some lie on volumes where a file has one name.
        disk.has_links = dice.percent(85);
        Self {
            real,
            disk,
            dice,
            secret,
            ahead: 0,
            mine: BTreeMap::new(),
            ever: BTreeMap::new(),
            installed: None,
            confirmed: 0,
            failed: BTreeSet::new(),
            going_back: None,
            committing: false,
            rollbacks: 0,
        }
    }

    pub(crate) fn draw_deed(&mut self) -> Deed {
        match self.dice.below(100) {
            0..60 => Deed::Update,
            60..70 => Deed::Stage,
            70..79 => Deed::Commit,
            79..88 => Deed::Check,
            88..93 => Deed::Verify,
            93..95 => Deed::GoBack,
            95..97 => Deed::Hold,
            _ => Deed::LetGo,
        }
    }

    /// What happens to the machine between two starts: its clock, its user.
    pub(crate) fn live(&mut self) {
        if self.dice.percent(6) {
            self.ahead = match self.dice.below(5) {
                0 => self.dice.within(-2 * HOUR..2 * HOUR),
                1 => self.dice.within(DAY..400 * DAY),
                2 => self.dice.within(-400 * DAY..-DAY),
                _ => 0,
            };
        }
        if self.dice.percent(12) {
            self.write_by_hand();
        }
    }

    /// The user writes a file: one of his own, one that is in a release's way, or one that is listed.
    fn write_by_hand(&mut self) {
        const PATHS: [&str; 7] =
            ["notes/mine.txt", "data/own.txt", KEPT, "data/changed.txt", "new.txt", "swap/inner.txt", "large/mine"];
        let path = *self.dice.one_of(&PATHS);
        let text = format!("the user's {}", self.dice.below(1_000_000)).into_bytes();
        if tree_view::write(&mut self.disk, path, &text) {
            self.mine.insert(path.into(), text.clone());
            self.ever.entry(path.into()).or_default().insert(text);
        }
    }

    /// Starts the app at `now`; after a crash again, until one start comes to its end.
    pub(crate) fn start(&mut self, publisher: &Arc<Mutex<Publisher>>, now: i64, plan: &Plan) -> Ran {
        let mut ran = Ran::default();
        let mut deed = plan.deed;
        loop {
            ran.starts += 1;
            // At some time things go well for a while.
            let trouble = plan.trouble && ran.starts < 8;
            let (network, power) = self.surroundings(publisher, now, plan.weather && ran.starts < 12, trouble);
            let model = tree_model::Machine::start(self.disk.clone());
            let result = self.session(&network, &power, &model, now, deed, publisher);
            let (requests, faulty) = *network.counts.lock().expect("no panic");
            ran.requests = (ran.requests.0 + requests, ran.requests.1 + faulty);
            let said = match &result {
                Ok(text) => text.clone(),
                Err(error) => format!("{} {error}", error.code()).replace(&*self.real.to_string_lossy(), "DIR"),
            };
            let (changes, weather, gone) = (power.changes(), network.weather(), power.is_gone());
            ran.log += &format!("{deed:?} {weather:?} changes {changes} cut {gone}: {said}; ");
            self.disk = model.disk();
            if gone {
                ran.crashes += 1;
                self.reboot();
                // Somebody may be quicker than the next start.
                if self.dice.percent(10) {
                    ran.meddled = true;
                    self.write_by_hand();
                }
            } else {
                let healed = result.as_ref().is_ok_and(|text| text.starts_with(NEEDED_HEAL));
                ran.unrecovered = healed.then_some(said).or(ran.unrecovered);
                ran.error = result.err().map(|error| error.to_string());
                self.disk = self.disk.flushed();
                tree_view::sweep(&mut self.disk);
                if state_file(&self.disk, "journal").is_none() {
                    return ran;
                }
                if ran.starts >= STARTS_MAX {
                    ran.given_up = Some(format!("the journal stays: {:?}", ran.error));
                    return ran;
                }
            }
            deed = Deed::Recover;
        }
    }

    fn surroundings(
        &mut self,
        publisher: &Arc<Mutex<Publisher>>,
        now: i64,
        weather: bool,
        trouble: bool,
    ) -> (Arc<Network>, Arc<Power>) {
        let dice = self.dice.fork();
        let network = if weather { Network::drawn } else { Network::fair }(publisher.clone(), now, dice);
        // A start that finds nothing new changes the disk a few times, an update a hundred times and more.
        let goes_at = (trouble && self.dice.percent(35)).then(|| {
            let most = if self.dice.percent(40) { 12 } else { 170 };
            self.dice.below(most)
        });
        let fails_at = (trouble && self.dice.percent(6)).then(|| self.dice.below(400));
        (Arc::new(network), Power::new(goes_at, fails_at, Cancel::default()))
    }

    /// After a power cut some of what was not flushed is lost; after a kill nothing is.
    fn reboot(&mut self) {
        if self.dice.percent(60) {
            self.disk = self.disk.after_power_cut(&mut self.dice);
            lose_downloads(&self.real, &mut self.dice);
        }
        tree_view::sweep(&mut self.disk);
        restore_directories(&self.disk, &self.real);
    }

    /// One run of the launcher, from its start to the app's.
    fn session(
        &mut self,
        network: &Arc<Network>,
        power: &Arc<Power>,
        model: &Arc<tree_model::Machine>,
        now: i64,
        deed: Deed,
        publisher: &Arc<Mutex<Publisher>>,
    ) -> Result<String, Error> {
        let machine = Simulated {
            network: network.clone(),
            began: now,
            ahead: self.ahead,
            model: model.clone(),
            power: power.clone(),
            real: self.real.clone(),
            secret: self.secret,
        };
        let mut config = Config::new(self.real.join("tree"));
        config.retry = RetryPolicy { timing: network.passing.clone(), ..RetryPolicy::default() };
        config.cancel = power.cancel();
        config.share_of = |_| None;
        config.machine = Arc::new(machine);
        let updater = match Updater::open(config.clone()) {
            Err(Error::NoSettings { .. }) if deed == Deed::Recover => return Ok("nothing is installed".into()),
            Err(Error::NoSettings { .. }) => {
                let root = publisher.lock().expect("no panic").first_root();
                match Updater::install(config.clone(), &origin(root))? {
                    Outcome::Done(report) => {
                        let launched = self.launch(&Updater::open(config)?, model, publisher)?;
                        return Ok(format!("installed {}, {launched}", report.build));
                    }
                    Outcome::Idle(idle) => return Ok(format!("no install: {}", idle.code())),
                }
            }
            opened => opened?,
        };
        if deed == Deed::Recover {
            return recover(&updater);
        }
        let done = self.act(&updater, model, deed);
        let done = match done {
            Err(error) if error.class() == Class::Damaged => {
                updater.heal(None).map(|report| format!("{error}: healed to {}", report.build))
            }
            done => done,
        };
        let launched = self.launch(&updater, model, publisher)?;
        Ok(format!("{}, {launched}", done?))
    }

    fn act(&mut self, updater: &Updater, model: &tree_model::Machine, deed: Deed) -> Result<String, Error> {
        Ok(match deed {
            Deed::Update => match updater.update(None)? {
                Outcome::Done(report) => format!("updated to {} by {}", report.build, report.route.name()),
                Outcome::Idle(idle) => idle.code().into(),
            },
            Deed::Stage => match updater.stage(None)? {
                StageOutcome::Ready(prepared) => format!("staged {}", prepared.build),
                StageOutcome::Idle(idle) => idle.code().into(),
            },
            Deed::Commit => match updater.prepared()? {
                Some(prepared) => {
                    self.committing = true;
                    updater.commit()?;
                    format!("committed {}", prepared.build)
                }
                None => "nothing staged".into(),
            },
            Deed::Check => match updater.check()? {
                CheckOutcome::Available { build, .. } => format!("{build} is there"),
                CheckOutcome::Idle(idle) => idle.code().into(),
            },
            Deed::Verify if updater.verify(false)?.damaged.iter().any(|damage| !damage.keep) => {
                format!("healed to {}", updater.heal(None)?.build)
            }
            Deed::GoBack if updater.previous_build()?.is_some() => self.go_back(updater, model)?,
            Deed::Hold => format!("holds {}", updater.hold()?),
            Deed::LetGo => {
                updater.let_go()?;
                match updater.update(None)? {
                    Outcome::Done(report) => format!("let go, updated to {}", report.build),
                    Outcome::Idle(idle) => format!("let go, {}", idle.code()),
                }
            }
            Deed::Verify | Deed::GoBack | Deed::Recover => "nothing to do".into(),
        })
    }

    fn go_back(&mut self, updater: &Updater, model: &tree_model::Machine) -> Result<String, Error> {
        self.going_back = recorded_build(&model.disk());
        let report = updater.rollback()?;
        self.rollbacks += 1;
        self.failed.extend(self.going_back);
        Ok(format!("back to {}", report.build))
    }

    /// What the launcher does last, and what the app does then.
    fn launch(
        &mut self,
        updater: &Updater,
        model: &tree_model::Machine,
        publisher: &Arc<Mutex<Publisher>>,
    ) -> Result<String, Error> {
        let mut said = String::new();
        if updater.count_start()? == Start::GoBack {
            // An app that may work this time is better than none.
            said = self.go_back(updater, model).unwrap_or_else(|error| format!("no way back: {error}")) + ", ";
        }
        let Some(build) = recorded_build(&model.disk()) else { return Ok(said + "no app") };
        let healthy = publisher.lock().expect("no panic").builds.get(&build).is_some_and(|build| build.healthy);
        // Some apps are closed before they say that all is well.
        if !healthy || !self.dice.percent(75) {
            return Ok(said + "started");
        }
        updater.confirm_healthy()?;
        self.confirmed = self.confirmed.max(build);
        Ok(said + "confirmed")
    }
}

/// Begins what a recovery says that could not do without the site.
const NEEDED_HEAL: &str = "needed heal";

/// The next start after a crash, when all that is asked for is to finish it.
fn recover(updater: &Updater) -> Result<String, Error> {
    match updater.verify(false) {
        Ok(verified) => Ok(format!("recovered, {} not as released", verified.damaged.len())),
        Err(Error::NoRecord { .. }) => Ok("recovered, nothing recorded".into()),
        Err(error @ Error::Tree(TreeError::NeedsHeal { .. })) => {
            updater.heal(None)?;
            Ok(format!("{NEEDED_HEAL}: {error}"))
        }
        Err(error) => Err(error),
    }
}

fn origin(root: Vec<u8>) -> Origin {
    Origin {
        site: PLACES[0].into(),
        app: APP.into(),
        channel: CHANNEL.into(),
        platform: PLATFORM.into(),
        root,
        mirrors: vec![PLACES[1].into()],
    }
}

/// The build recorded on a disk; whether its signatures are right is for the client to know.
fn recorded_build(disk: &Disk) -> Option<u64> {
    let signed = state_file(disk, "installed/release")?;
    let body = SignedDocument::split(&signed, RELEASE_BYTES_MAX).ok()?.body;
    Release::parse(&body).ok().map(|release| release.build)
}
