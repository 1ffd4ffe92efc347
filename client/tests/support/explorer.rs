//! Every disk a power cut may leave, at any change of an update and of the recovery from it, each started once.
//!
//! A disk is what all its names and contents hold once it is durable. Moments of one run have many disks in common, and a cut
//! during recovery often gives one that was there before, so each is started only once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use lamplighter_client::format::digest::Blake3;
use lamplighter_client::tree::fs::Base;
use lamplighter_client::tree::{Tree, TreeError};

use crate::scenarios::{Scenario, WayBack};
use crate::tree::{Release, record, recover};
use crate::tree_model::{Chance, Disk, Forgets, Machine};

/// How far one exploration goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reach {
    /// Where a moment may end in more ways than this, about as many are drawn, those with one thing lost or kept alone first.
    pub(crate) ways_max: usize,
    /// Cuts one after the other: 1 is in the change, 2 also in the recovery from it, and so on.
    pub(crate) cuts_max: usize,
    /// Violations after which it ends.
    pub(crate) violations_max: usize,
}

/// What an exploration came to.
#[derive(Debug, Default)]
pub(crate) struct Explored {
    /// Distinct disks that were started.
    pub(crate) disks: usize,
    /// Ways the power went, equal disks counted again.
    pub(crate) cuts: usize,
    /// Moments of which all ways were tried, and others.
    pub(crate) complete: usize,
    pub(crate) drawn: usize,
    /// Disks that were the new tree after the start.
    pub(crate) new: usize,
    pub(crate) violations: Vec<String>,
}

impl Explored {
    pub(crate) fn add(&mut self, other: Self) {
        self.disks += other.disks;
        self.cuts += other.cuts;
        self.complete += other.complete;
        self.drawn += other.drawn;
        self.new += other.new;
        self.violations.extend(other.violations);
    }
}

/// One way after the other: the choice that may still grow grows, those after it begin again.
struct Ways {
    /// For each loose thing the choice, and how many there are.
    choices: Vec<(usize, usize)>,
    asked: usize,
}

impl Chance for Ways {
    fn pick(&mut self, below: usize) -> usize {
        if self.asked == self.choices.len() {
            self.choices.push((0, below));
        }
        self.asked += 1;
        self.choices[self.asked - 1].0
    }
}

impl Ways {
    fn next(&mut self) -> bool {
        self.asked = 0;
        for (choice, below) in self.choices.iter_mut().rev() {
            *choice += 1;
            if *choice < *below {
                return true;
            }
            *choice = 0;
        }
        false
    }

    fn count(&self) -> usize {
        self.choices.iter().fold(1, |product, (_, below)| product.saturating_mul(*below))
    }
}

/// xorshift; the seed is the number of the case.
struct Dice(u64);

impl Chance for Dice {
    fn pick(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}

/// Keeps all loose things, or loses all, but for one.
struct AllBut {
    lose: bool,
    one: usize,
    seen: usize,
}

impl AllBut {
    fn new(lose: bool, one: usize) -> Self {
        Self { lose, one, seen: 0 }
    }
}

impl Chance for AllBut {
    fn pick(&mut self, below: usize) -> usize {
        let lose = self.lose != (self.seen == self.one);
        self.seen += 1;
        if lose { below - 1 } else { 0 }
    }
}

/// Ways the power may go at one moment, each given to `done`; whether they are all.
pub(crate) fn power_cuts(disk: &Disk, ways_max: usize, seed: u64, mut done: impl FnMut(Disk)) -> bool {
    let mut ways = Ways { choices: Vec::new(), asked: 0 };
    let first = disk.after_power_cut(&mut ways);
    if ways.count() <= ways_max {
        done(first);
        while ways.next() {
            done(disk.after_power_cut(&mut ways));
        }
        return true;
    }
    let loose = ways.choices.len();
    for lose in [true, false] {
        done(disk.after_power_cut(&mut AllBut::new(lose, usize::MAX)));
        for one in drawn_of(loose, ways_max / 4, seed) {
            done(disk.after_power_cut(&mut AllBut::new(lose, one)));
        }
    }
    for n in 0..ways_max as u64 / 2 {
        done(disk.after_power_cut(&mut Dice((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (n + 1))));
    }
    false
}

/// At most `count` of the numbers below `all`, evenly spread, others for another seed.
fn drawn_of(all: usize, count: usize, seed: u64) -> impl Iterator<Item = usize> {
    let step = all.div_ceil(count.max(1)).max(1);
    (seed as usize % step..all).step_by(step)
}

/// A moment at which the power may go, and what is known of how that must end.
struct Moment<'a> {
    disk: &'a Disk,
    /// Cuts before it, this one too.
    cuts: usize,
    /// Whether a promise was given before: that it is the new tree, or the old one.
    promised: Option<bool>,
    number: usize,
    story: &'a dyn Fn() -> String,
}

struct Explorer<'a> {
    scenario: &'a Scenario,
    reach: Reach,
    forgets: Option<Forgets>,
    old: BTreeMap<String, String>,
    new: BTreeMap<String, String>,
    /// Disks started, with the fewest cuts they were met after.
    seen: HashMap<(Blake3, Option<bool>), usize>,
    explored: Explored,
    way_back: WayBack,
}

impl<'a> Explorer<'a> {
    fn new(scenario: &'a Scenario, reach: Reach, forgets: Option<Forgets>) -> Self {
        let whole = Machine::start(scenario.disk.clone());
        let old = whole.disk().snapshot(Base::Tree);
        (scenario.change)(&whole.tree()).expect("it works where nothing happens");
        let new = whole.disk().snapshot(Base::Tree);
        Self {
            scenario,
            reach,
            forgets,
            old,
            new,
            seen: HashMap::new(),
            explored: Explored::default(),
            way_back: scenario.way_back,
        }
    }

    fn run(mut self) -> Explored {
        let machine = Machine::start_with(self.scenario.disk.clone(), self.forgets.clone());
        machine.note();
        (self.scenario.change)(&machine.tree()).expect("it works where nothing happens");
        let (moments, end) = (machine.noted(), machine.disk());
        self.cut_at_all(&moments, &end, 1, (None, true), &|| self.scenario.name.to_owned());
        self.explored
    }

    /// The process ends at each moment, with all it did in memory; then the power may go while the next start recovers.
    fn run_with_kills(mut self) -> Explored {
        let machine = Machine::start(self.scenario.disk.clone());
        machine.note();
        (self.scenario.change)(&machine.tree()).expect("it works where nothing happens");
        for (number, disk) in machine.noted().into_iter().enumerate() {
            let story = || format!("{}; killed before change {number}", self.scenario.name);
            let machine = Machine::start(disk);
            machine.note();
            let recovered = recover(&machine.tree()).map_err(|e| format!("{}: {e}", story()));
            let (moments, end) = (machine.noted(), machine.disk());
            match recovered.and_then(|_| self.judge(&end, &story)) {
                Ok(is_new) => self.cut_at_all(&moments, &end, 1, (None, is_new), &story),
                Err(violation) => self.explored.violations.push(violation),
            }
        }
        self.explored
    }

    /// Each change in turn fails, and the power may go from then on.
    fn run_with_failures(mut self) -> Explored {
        for number in 0.. {
            let machine = Machine::start(self.scenario.disk.clone());
            machine.note();
            machine.fail_after(number as u64);
            let result = (self.scenario.change)(&machine.tree());
            let (moments, end) = (machine.noted(), machine.disk());
            if moments.len() <= number {
                break;
            }
            // A link that fails is as on a volume that has none.
            let was_link = machine.failed() == Some("link") && self.scenario.way_back == WayBack::Open;
            self.way_back = if was_link { WayBack::Fragile } else { self.scenario.way_back };
            let story = || format!("{}; change {number} failed", self.scenario.name);
            for (later, disk) in moments.iter().enumerate().skip(number + 1) {
                let story = || format!("{}; change {later} of {}", story(), moments.len());
                self.cut(&Moment { disk, cuts: 1, promised: None, number: later, story: &story });
            }
            let promised = match result {
                Ok(_) => Some(true),
                Err(TreeError::RolledBack { .. }) => Some(false),
                Err(_) => None,
            };
            self.cut(&Moment { disk: &end, cuts: 1, promised, number: moments.len(), story: &story });
        }
        self.explored
    }

    /// Cuts the power before each change of a run, and after it: then what it came to, `promised.1`, must stay.
    fn cut_at_all(
        &mut self,
        moments: &[Disk],
        end: &Disk,
        cuts: usize,
        promised: (Option<bool>, bool),
        story: &dyn Fn() -> String,
    ) {
        for (number, disk) in moments.iter().enumerate() {
            let story = || format!("{}; change {number} of {}", story(), moments.len());
            self.cut(&Moment { disk, cuts, promised: promised.0, number, story: &story });
        }
        let (story, number) = (|| format!("{}; the end", story()), moments.len());
        self.cut(&Moment { disk: end, cuts, promised: Some(promised.1), number, story: &story });
    }

    fn cut(&mut self, moment: &Moment<'_>) {
        let (mut way, ways_max) = (0, self.reach.ways_max);
        let complete = power_cuts(moment.disk, ways_max, moment.number as u64, |disk| {
            way += 1;
            self.explored.cuts += 1;
            if self.explored.violations.len() > self.reach.violations_max {
                return;
            }
            let before = self.seen.get(&(disk.identity(), moment.promised)).copied();
            if before.is_some_and(|cuts| cuts <= moment.cuts) {
                return;
            }
            self.seen.insert((disk.identity(), moment.promised), moment.cuts);
            self.explored.disks += usize::from(before.is_none());
            let story = || format!("{}, way {way}", (moment.story)());
            if let Err(violation) = self.start(disk, moment, &story) {
                self.explored.violations.push(violation);
            }
        });
        *(if complete { &mut self.explored.complete } else { &mut self.explored.drawn }) += 1;
    }

    /// The next start on a disk, and what the power may make of it.
    fn start(&mut self, disk: Disk, after: &Moment<'_>, story: &dyn Fn() -> String) -> Result<(), String> {
        let machine = Machine::start_with(disk, self.forgets.clone());
        machine.note();
        recover(&machine.tree()).map_err(|e| format!("{}: {e}", story()))?;
        let (moments, end) = (machine.noted(), machine.disk());
        let is_new = self.judge(&end, story)?;
        self.explored.new += usize::from(is_new);
        if after.promised.is_some_and(|promised| promised != is_new) {
            return Err(format!("{}: what was done before was undone", story()));
        }
        if after.cuts < self.reach.cuts_max {
            self.cut_at_all(&moments, &end, after.cuts + 1, (after.promised, is_new), story);
        }
        Ok(())
    }

    /// Whether the disk holds the new tree; fails if it holds neither, or lost something of the user's.
    fn judge(&self, disk: &Disk, story: &dyn Fn() -> String) -> Result<bool, String> {
        let violated = |what: &str| Err(format!("{}: {what}", story()));
        let found = disk.snapshot(Base::Tree);
        let is_new = found == self.new;
        if !is_new && found != self.old {
            let differs: Vec<_> =
                found.iter().filter(|(k, v)| self.old.get(*k) != Some(v) && self.new.get(*k) != Some(v)).collect();
            return violated(&format!("neither old nor new: {differs:?} in {found:?}"));
        }
        let state = disk.snapshot(Base::State);
        let release = if is_new { &self.scenario.new } else { &self.scenario.old };
        if state.get("installed/manifest.csv") != Some(&manifest_shown(release)) {
            return violated("the record is of another tree");
        }
        let kept = state.iter().filter(|(path, _)| path.starts_with("kept/")).map(|(_, shown)| shown);
        let contents: Vec<&String> = found.values().chain(kept).collect();
        for (name, text) in self.scenario.user {
            if !contents.iter().any(|shown| shown.ends_with(text)) {
                return violated(&format!("{name} is lost"));
            }
        }
        if state.contains_key("journal") {
            return violated("the journal is still there");
        }
        if !is_new {
            return Ok(false);
        }
        match self.missing_for_the_way_back(&found, &state) {
            Some(missing) if self.way_back == WayBack::Open => violated(&format!("no way back without {missing}")),
            None if self.way_back == WayBack::Closed => violated("a way back that leads nowhere"),
            _ => Ok(true),
        }
    }

    /// What of the old release is not on the disk (invariant I7), but for what the user had edited.
    fn missing_for_the_way_back(
        &self,
        tree: &BTreeMap<String, String>,
        state: &BTreeMap<String, String>,
    ) -> Option<String> {
        let record = [("previous/manifest.csv", manifest_shown(&self.scenario.old))];
        if record.iter().any(|(name, shown)| state.get(*name) != Some(shown)) || !state.contains_key("previous/release")
        {
            return Some("its record".into());
        }
        let text = |shown: &String| shown.split_once(' ').map(|(_, text)| text.to_owned());
        let held = state.iter().filter(|(path, _)| path.starts_with("previous/content/")).map(|(_, shown)| shown);
        let held: HashSet<String> = held.chain(tree.values()).filter_map(text).collect();
        let had: HashSet<String> = self.old.values().filter_map(text).collect();
        let needed = self.scenario.old.iter().filter_map(|(name, item)| Some((name, item.text()?)));
        needed
            .filter(|(_, text)| had.contains(*text))
            .find(|(_, text)| !held.contains(*text))
            .map(|(name, _)| (*name).into())
    }
}

fn manifest_shown(release: &Release) -> String {
    format!("644 {}", String::from_utf8_lossy(&record(release).manifest))
}

/// Explores `scenario` as far as `reach` goes, on a machine that leaves out the flushes `forgets` names.
pub(crate) fn explore(scenario: &Scenario, reach: Reach, forgets: Option<Forgets>) -> Explored {
    alone(|| Explorer::new(scenario, reach, forgets).run())
}

/// The same, with the process ended at each moment first.
pub(crate) fn explore_kills(scenario: &Scenario, reach: Reach) -> Explored {
    alone(|| Explorer::new(scenario, reach, None).run_with_kills())
}

/// The same, with one change that failed first.
pub(crate) fn explore_failures(scenario: &Scenario, reach: Reach) -> Explored {
    alone(|| Explorer::new(scenario, reach, None).run_with_failures())
}

/// Runs `work` on a pool of one thread: what one start does is too small to share.
pub(crate) fn alone<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool").install(work)
}

/// Gives each of `items` to `work`, on two threads; the results are in the order of the items.
pub(crate) fn in_two_threads<I: Sync, T: Send>(items: &[I], work: impl Fn(&I) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { return };
                    let result = work(item);
                    done.lock().expect("a lock").insert(index, result);
                }
            });
        }
    });
    done.into_inner().expect("a lock").into_values().collect()
}

impl Machine {
    pub(crate) fn tree(self: &std::sync::Arc<Self>) -> Tree {
        Tree::with_fs(self.fs(), std::path::Path::new("/tree"), std::path::Path::new("/state"))
    }
}
