//! One history of a tree: what the user does, and what the client does.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use lamplighter_client::error::Error;
use lamplighter_client::machine::Machine;
use lamplighter_client::source::{self, HttpOptions, Source, SourceError};
use lamplighter_client::tree::{Tree, TreeError};
use lamplighter_client::updater::{Config, Outcome, Updater};

use super::releases::{BUILDS, Dice, Releases};
use super::tree_fs::{Control, Fault, FaultyFs};
use super::user::User;

/// A machine that ends in the middle, and on which the site is as old as is wanted.
struct Mortal {
    control: Mutex<Arc<Control>>,
    site: Mutex<PathBuf>,
}

impl Machine for Mortal {
    fn open_tree(&self, root: &Path, _: Option<&Path>) -> Result<Tree, TreeError> {
        let state = root.join(".lamplighter");
        let control = self.control.lock().expect("a lock").clone();
        Ok(Tree::with_fs(FaultyFs::open(root, &state, control), root, &state))
    }

    fn open_source(&self, _: &str, options: &HttpOptions) -> Result<Arc<dyn Source>, SourceError> {
        let site = self.site.lock().expect("a lock").clone();
        source::open(site.to_str().expect("Unicode"), options)
    }

    fn helpers(&self) -> usize {
        0
    }
}

/// What histories came to.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) steps: u64,
    pub(crate) updates: u64,
    pub(crate) heals: u64,
    pub(crate) ways_back: u64,
    pub(crate) cut_off: u64,
    /// Files the user wrote, and things of his that were set aside.
    pub(crate) written: u64,
    pub(crate) kept: u64,
    /// Links where a directory of the release must be.
    pub(crate) refused_links: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        let Self { steps, updates, heals, ways_back, cut_off, written, kept, refused_links } = other;
        for (sum, part) in [
            (&mut self.steps, steps),
            (&mut self.updates, updates),
            (&mut self.heals, heals),
            (&mut self.ways_back, ways_back),
            (&mut self.cut_off, cut_off),
            (&mut self.written, written),
            (&mut self.kept, kept),
            (&mut self.refused_links, refused_links),
        ] {
            *sum += part;
        }
    }
}

/// What the client is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Update(u64),
    Heal,
    GoBack,
    Confirm,
}

pub(crate) struct History<'a> {
    releases: &'a Releases,
    machine: Arc<Mortal>,
    root: PathBuf,
    dice: Dice,
    user: User,
    tally: Tally,
    /// Steps so far, for people.
    story: Vec<String>,
    told: bool,
}

impl<'a> History<'a> {
    /// Runs the history number `seed`; panics with its steps where something is lost.
    pub(crate) fn run(releases: &'a Releases, seed: u64, told: bool) -> Tally {
        let place = Path::new("/dev/shm");
        let dir = if place.is_dir() { tempfile::tempdir_in(place) } else { tempfile::tempdir() }.expect("a directory");
        let root = dir.path().join("tree");
        let machine = Arc::new(Mortal { control: Mutex::new(Control::counting()), site: Mutex::new(releases.site(1)) });
        let user = User::of(root.clone(), seed);
        let (dice, tally, story) = (Dice::new(seed), Tally::default(), Vec::new());
        let mut history = Self { releases, machine, root, dice, user, tally, story, told };
        history.live();
        history.tally.written = history.user.written();
        history.tally
    }

    fn tell(&mut self, what: String) {
        if self.told {
            println!("{what}");
        }
        self.story.push(what);
    }

    fn fail(&self, why: &str) -> ! {
        panic!("{why}\nafter:\n{}", self.story.join("\n"));
    }

    fn live(&mut self) {
        let first = 1 + self.dice.below(3) as u64;
        self.offer(first);
        let installed = Updater::install(self.config(), &self.releases.world.origin());
        self.tell(format!("installed {first}"));
        if !matches!(installed, Ok(Outcome::Done(_))) {
            self.fail(&format!("{installed:?}"));
        }
        let mut newest = first;
        for _ in 0..6 {
            for _ in 0..self.dice.below(4) {
                let what = self.user.act(&mut self.dice);
                self.tell(what);
            }
            let deed = match self.dice.below(6) {
                0..=2 if newest < BUILDS => {
                    newest += 1 + self.dice.below((BUILDS - newest).min(3) as usize) as u64;
                    Deed::Update(newest)
                }
                0..=3 => Deed::Heal,
                4 => Deed::GoBack,
                _ => Deed::Confirm,
            };
            self.step(deed);
        }
    }

    fn offer(&self, build: u64) {
        *self.machine.site.lock().expect("a lock") = self.releases.site(build);
    }

    fn config(&self) -> Config {
        Config { machine: self.machine.clone(), ..Config::new(&self.root) }
    }

    fn open(&self) -> Updater {
        Updater::open(self.config()).unwrap_or_else(|error| self.fail(&format!("it does not open: {error}")))
    }

    /// The client does something; every third time it ends in the middle, is started again and does it once more.
    fn step(&mut self, deed: Deed) {
        self.tally.steps += 1;
        if let Deed::Update(build) = deed {
            self.offer(build);
        }
        if self.dice.one_in(3) {
            let call = self.dice.below(260) as u64;
            *self.machine.control.lock().expect("a lock") = Control::at(call, Fault::Die);
            let done = self.done(deed);
            *self.machine.control.lock().expect("a lock") = Control::counting();
            if done.is_err() {
                self.tally.cut_off += 1;
                self.tell(format!("{deed:?}, ended at call {call}"));
                let recovered = self.open().verify(false);
                if let Err(error) = recovered {
                    self.fail(&format!("not recovered: {error}"));
                }
                self.judge();
            }
        }
        let mut done = self.done(deed);
        if done.as_ref().is_err_and(|error| error.to_string().contains("links are not followed")) && self.user.unlink()
        {
            self.tell(format!("{deed:?} refused to go through a link, which the user takes away"));
            self.tally.refused_links += 1;
            done = self.done(deed);
        }
        self.tell(format!("{deed:?}: {}", done.as_ref().map_or_else(ToString::to_string, |said| said.clone())));
        match (&done, deed) {
            (Err(Error::NoPrevious { .. }), Deed::GoBack) => {}
            (Err(error), _) => self.fail(&format!("{error}")),
            (Ok(_), Deed::Heal) => self.user.touched.clear(),
            (Ok(_), _) => {}
        }
        self.judge();
    }

    fn done(&mut self, deed: Deed) -> Result<String, Error> {
        let updater = Updater::open(self.config())?;
        let report = match deed {
            Deed::Update(_) => {
                self.tally.updates += 1;
                match updater.update(None)? {
                    Outcome::Done(report) => *report,
                    Outcome::Idle(idle) => return Ok(format!("nothing, {}", idle.code())),
                }
            }
            Deed::Heal => {
                self.tally.heals += 1;
                updater.heal(None)?
            }
            Deed::GoBack => {
                self.tally.ways_back += 1;
                updater.rollback()?
            }
            Deed::Confirm => return updater.confirm_healthy().map(|()| "confirmed".into()),
        };
        self.tally.kept += report.kept_aside.len() as u64;
        Ok(format!("{} set aside", report.kept_aside.len()))
    }

    /// Everything of the user's is there, and everything else is as released.
    fn judge(&self) {
        let lost = self.user.lost();
        if !lost.is_empty() {
            self.fail(&format!("lost: {lost:?}"));
        }
        let verified = self.open().verify(false).unwrap_or_else(|error| self.fail(&format!("not verified: {error}")));
        let wrong: Vec<_> =
            verified.damaged.iter().filter(|damage| !damage.keep && !self.user.was_at(damage.path.as_str())).collect();
        if !wrong.is_empty() {
            self.fail(&format!("not as released, and the user did not touch it: {wrong:?}"));
        }
        if fs::symlink_metadata(self.root.join(".lamplighter/journal")).is_ok() {
            self.fail("the journal is still there");
        }
    }
}
