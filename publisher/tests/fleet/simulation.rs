//! One seed: a publisher, a few devices, and the months they live through.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::device::{Deed, Device, Plan, Ran};
use super::dice::Dice;
use super::judge::{Kind, Violation, judge};
use super::publisher::{Act, DAY, HEAD_SECONDS, HOUR, Publisher};

/// 2026-01-01, when every simulation begins.
const BEGIN: i64 = 1_767_225_600;
const DEVICES: usize = 3;
/// Starts in which a device must reach the newest build once all is well.
const LAST_STARTS: usize = 3;

/// What was counted; of many seeds, when added up.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) seeds: u64,
    pub(crate) seconds: i64,
    pub(crate) starts: u64,
    pub(crate) updates: u64,
    pub(crate) rollbacks: u64,
    pub(crate) crashes: u64,
    pub(crate) releases: u64,
    pub(crate) rotations: u64,
    pub(crate) halts: u64,
    pub(crate) requests: u64,
    pub(crate) faulty_requests: u64,
    pub(crate) violations: BTreeMap<Kind, u64>,
    /// Longest time from a halt to an installation of what was halted, by whoever had not heard of it.
    pub(crate) halt_seconds: i64,
    /// The same where the clock was wrong, or the update had been staged before.
    pub(crate) halt_seconds_otherwise: i64,
    pub(crate) installed_after_halt: u64,
}

impl Figures {
    pub(crate) fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.seconds += other.seconds;
        self.starts += other.starts;
        self.updates += other.updates;
        self.rollbacks += other.rollbacks;
        self.crashes += other.crashes;
        self.releases += other.releases;
        self.rotations += other.rotations;
        self.halts += other.halts;
        self.requests += other.requests;
        self.faulty_requests += other.faulty_requests;
        other.violations.iter().for_each(|(kind, count)| *self.violations.entry(*kind).or_default() += count);
        self.halt_seconds = self.halt_seconds.max(other.halt_seconds);
        self.halt_seconds_otherwise = self.halt_seconds_otherwise.max(other.halt_seconds_otherwise);
        self.installed_after_halt += other.installed_after_halt;
    }

    pub(crate) fn of(&self, kind: Kind) -> u64 {
        self.violations.get(&kind).copied().unwrap_or_default()
    }
}

/// What one seed came to.
pub(crate) struct Lived {
    pub(crate) figures: Figures,
    pub(crate) violations: Vec<Violation>,
    /// Every event, in order: equal for equal seeds.
    pub(crate) trace: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Publisher(Act),
    Device(usize),
}

struct Simulation {
    publisher: Arc<Mutex<Publisher>>,
    devices: Vec<Device>,
    events: BinaryHeap<Reverse<(i64, u64, Event)>>,
    /// Orders events of one second.
    next: u64,
    lived: Lived,
}

/// Lives through the months of `seed`; downloads in progress lie below `dir`.
pub(crate) fn live(seed: u64, dir: &Path) -> Lived {
    let mut dice = Dice::new(seed);
    let end = BEGIN + dice.within(40 * DAY..85 * DAY);
    let publisher = Arc::new(Mutex::new(Publisher::new(dice.fork(), BEGIN)));
    let devices = (0..DEVICES).map(|number| Device::new(dir.join(number.to_string()), dice.fork())).collect();
    let lived = Lived { figures: Figures::default(), violations: Vec::new(), trace: Vec::new() };
    let mut simulation = Simulation { publisher, devices, events: BinaryHeap::new(), next: 0, lived };
    let first = [
        (DAY, Event::Publisher(Act::Refresh)),
        (dice.within(DAY..10 * DAY), Event::Publisher(Act::Publish)),
        (dice.within(10 * DAY..60 * DAY), Event::Publisher(Act::Halt)),
        (dice.within(5 * DAY..50 * DAY), Event::Publisher(Act::Rotate)),
    ];
    first.into_iter().for_each(|(after, event)| simulation.push(BEGIN + after, event));
    for number in 0..DEVICES {
        simulation.push(BEGIN + dice.within(0..20 * DAY), Event::Device(number));
    }
    simulation.run(end);
    simulation.end_well(end);
    simulation.finish(end)
}

impl Simulation {
    fn push(&mut self, time: i64, event: Event) {
        self.next += 1;
        self.events.push(Reverse((time, self.next, event)));
    }

    fn run(&mut self, end: i64) {
        while let Some(Reverse((now, _, event))) = self.events.pop() {
            if now >= end {
                return;
            }
            match event {
                Event::Publisher(act) => {
                    let next = self.publisher.lock().expect("no panic").act(act, now);
                    let offered = self.publisher.lock().expect("no panic").offered();
                    self.note(now, format!("publisher: {act:?}, offers {offered}"));
                    next.into_iter().for_each(|(time, act)| self.push(time, Event::Publisher(act)));
                }
                Event::Device(number) => {
                    let device = &mut self.devices[number];
                    device.live();
                    let plan = Plan { deed: device.draw_deed(), weather: true, trouble: true };
                    self.start(number, now, &plan);
                    let pause = match self.devices[number].dice.below(10) {
                        0 => 10..HOUR,
                        1..3 => HOUR..DAY,
                        3..9 => DAY..6 * DAY,
                        _ => 5 * DAY..30 * DAY,
                    };
                    let pause = self.devices[number].dice.within(pause);
                    self.push(now + pause, Event::Device(number));
                }
            }
        }
    }

    /// One start, and the judgement on it.
    fn start(&mut self, number: usize, now: i64, plan: &Plan) -> Ran {
        let device = &mut self.devices[number];
        let ran = device.start(&self.publisher, now, plan);
        let figures = &mut self.lived.figures;
        figures.starts += ran.starts;
        figures.crashes += ran.crashes;
        figures.requests += ran.requests.0;
        figures.faulty_requests += ran.requests.1;
        let publisher = self.publisher.lock().expect("no panic");
        let known = self.lived.violations.len();
        let alone = ran.unrecovered.clone().filter(|_| !ran.meddled);
        if let Some(text) = ran.given_up.clone().or(alone) {
            self.lived.violations.push(Violation { kind: Kind::Stuck, text });
        }
        let installed = judge(device, &publisher, now, &mut self.lived.violations);
        if let Some(installed) = &installed {
            figures.updates += 1;
            if let Some(since) = publisher.stopped_since(installed.build, now) {
                figures.installed_after_halt += 1;
                let usual = device.ahead == 0 && !installed.from_staging;
                let longest = if usual { &mut figures.halt_seconds } else { &mut figures.halt_seconds_otherwise };
                *longest = (*longest).max(now - since);
                if usual && now - since > HEAD_SECONDS {
                    let text = format!("build {} was stopped {} s before", installed.build, now - since);
                    self.lived.violations.push(Violation { kind: Kind::Forbidden, text });
                }
            }
        }
        drop(publisher);
        let line = format!("device {number} (clock {:+}): {} -> {:?}", device.ahead, ran.log, device.installed);
        self.note(now, line);
        for violation in known..self.lived.violations.len() {
            let text = format!("VIOLATION {:?}", self.lived.violations[violation]);
            self.note(now, text);
        }
        ran
    }

    fn note(&mut self, now: i64, text: String) {
        let (days, hours) = ((now - BEGIN) / DAY, (now - BEGIN) % DAY / HOUR);
        self.lived.trace.push(format!("day {days} {hours} h: {text}"));
    }

    /// Everything works again: everybody must come to the newest release.
    fn end_well(&mut self, end: i64) {
        let newest = self.publisher.lock().expect("no panic").end_well(end);
        for number in 0..DEVICES {
            let mut last = None;
            self.devices[number].ahead = 0;
            for start in 0..LAST_STARTS {
                let plan = Plan { deed: Deed::LetGo, weather: false, trouble: false };
                last = self.start(number, end + (start as i64 + 1) * HOUR, &plan).error;
                if self.devices[number].installed == Some(newest) && last.is_none() {
                    break;
                }
            }
            let found = self.devices[number].installed;
            if found != Some(newest) || last.is_some() {
                let text = format!("device {number} has {found:?}, not {newest}: {last:?}");
                self.note(end, format!("VIOLATION stuck: {text}"));
                self.lived.violations.push(Violation { kind: Kind::Stuck, text });
            }
        }
    }

    fn finish(self, end: i64) -> Lived {
        let mut lived = self.lived;
        let publisher = self.publisher.lock().expect("no panic");
        let figures = &mut lived.figures;
        figures.seeds = 1;
        figures.seconds = end - BEGIN;
        figures.releases = publisher.builds.len() as u64;
        figures.rotations = publisher.rotations;
        figures.halts = publisher.stopped.len() as u64;
        figures.rollbacks = self.devices.iter().map(|device| device.rollbacks).sum();
        for violation in &lived.violations {
            *figures.violations.entry(violation.kind).or_default() += 1;
        }
        lived
    }
}
