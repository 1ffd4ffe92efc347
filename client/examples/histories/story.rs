//! A random history: an honest publisher at work, somebody between the site and the client, and the client's memory.

use lamplighter_client::format::digest::Blake3;
use lamplighter_client::format::text::Time;
use lamplighter_client::trust::{Facts, Goal, Installed, Pin, TrustState, Verdict};
use serde_json::{Value, json};

use crate::dice::Dice;
use crate::documents::{APP, CHANNEL, HeadFacts, Keys, PLATFORM, ReleaseFacts, RootFacts, halved};
use crate::visit::{Site, told, visit};

mod attack;

pub(crate) const DAY: i64 = 86_400;
const START: i64 = 1_800_000_000;
/// Seeds each role chooses its keys from, and those no root ever names.
const POOLS: [std::ops::Range<u8>; 3] = [1..9, 11..19, 21..29];
const STRANGERS: [u8; 3] = [31, 32, 33];

struct Story {
    dice: Dice,
    /// True time; the client's clock may differ.
    now: i64,
    roots: Vec<RootFacts>,
    /// Indices of the publisher's own roots, in order.
    chain: Vec<usize>,
    heads: Vec<HeadFacts>,
    releases: Vec<ReleaseFacts>,
    newest_head: usize,
    newest_release: usize,
    /// Roles whose keys were misused and are replaced next.
    stolen: [bool; 3],
    /// The next head begins at 1 again, as it may after a rotation of the channel's keys.
    renumber: bool,
    pin: Pin,
    state: TrustState,
    installed: Option<u64>,
    steps: Vec<Value>,
}

/// What a site hands out in one step, by index.
struct Served {
    roots: Vec<usize>,
    head: usize,
    release: usize,
    head_cut: bool,
    release_cut: bool,
}

/// History `number` as one line of JSON.
pub(crate) fn tell(number: u64) -> Value {
    let mut story = Story::begin(Dice::new(number));
    for _ in 0..story.dice.between(4, 10) {
        story.publisher_works();
        story.client_visits();
    }
    let (roots, heads, releases): (Vec<_>, Vec<_>, Vec<_>) = (
        story.roots.iter().map(RootFacts::json).collect(),
        story.heads.iter().map(HeadFacts::json).collect(),
        story.releases.iter().map(ReleaseFacts::json).collect(),
    );
    let (floor, built) = (story.pin.floor_build, story.pin.built.seconds());
    json!({
        "history": number, "floor": floor, "built": built, "app": APP, "platform": PLATFORM, "channel": CHANNEL,
        "roots": roots, "heads": heads, "releases": releases, "steps": story.steps,
    })
}

impl Story {
    fn begin(mut dice: Dice) -> Self {
        let [root, release, channel] = POOLS.map(|pool| fresh_keys(&mut dice, pool));
        let mut first = RootFacts {
            app: APP,
            version: 1 + dice.below(3),
            expires: START + dice.one(&[20, 400, 1800, 1800, 1800]) * DAY,
            channel_threshold: channel.threshold,
            channel: channel.seeds.iter().map(|seed| (*seed, if dice.chance(80) { "*" } else { CHANNEL })).collect(),
            signers: enough(&mut dice, &root),
            root,
            release,
            cut: false,
        };
        // The client asks for roots by number, so the pinned one is always number 1 here.
        first.version = 1;
        if dice.chance(20) {
            first.channel.push((29, "beta"));
        }
        let pin = Pin {
            app: APP.into(),
            platform: PLATFORM.into(),
            root: first.bytes(),
            floor_build: if dice.chance(20) { dice.below(6) } else { 0 },
            built: Time::from_seconds(START + dice.one(&[-400, -30, 0, 5]) * DAY),
        };
        let mut story = Self {
            dice,
            now: START,
            roots: vec![first],
            chain: vec![0],
            heads: Vec::new(),
            releases: Vec::new(),
            newest_head: 0,
            newest_release: 0,
            stolen: [false; 3],
            renumber: false,
            pin,
            state: TrustState::default(),
            installed: None,
            steps: Vec::new(),
        };
        story.release(1);
        story.head();
        story
    }

    fn root(&self) -> &RootFacts {
        &self.roots[self.chain[self.chain.len() - 1]]
    }

    /// Time passes, and now and then there is a rotation, a release, a fresh head.
    fn publisher_works(&mut self) {
        self.now += self.dice.one(&[600, 3600, DAY, DAY, 2 * DAY, 5 * DAY, 8 * DAY, 40 * DAY]);
        let mut renewed = false;
        if self.stolen.contains(&true) || self.dice.chance(30) {
            let root = self.next_root();
            self.chain.push(self.roots.len());
            self.roots.push(root);
            self.stolen = [false; 3];
            let build = self.releases[self.newest_release].build;
            // What is still offered is signed again with the keys that are now right.
            self.resign(build);
            renewed = true;
            self.renumber = self.dice.chance(25);
        }
        if self.dice.chance(40) {
            let build = self.releases[self.newest_release].build + 1 + self.dice.below(3);
            self.release(build);
            renewed = true;
        }
        if renewed || self.dice.chance(60) {
            self.head();
        }
    }

    /// The root that follows, with other keys for the roles that need them or are due.
    fn next_root(&mut self) -> RootFacts {
        let old = self.root().clone();
        let mut next = RootFacts { version: old.version + 1, ..old.clone() };
        next.expires = self.now + self.dice.one(&[3, 30, 400, 1800, 1800, 1800]) * DAY;
        for (role, stolen) in self.stolen.into_iter().enumerate() {
            if !stolen && !self.dice.chance(35) {
                continue;
            }
            let keys = match role {
                0 => next.root.clone(),
                1 => next.release.clone(),
                _ => Keys { threshold: next.channel_threshold, seeds: next.channel.iter().map(|k| k.0).collect() },
            };
            let keys = other_keys(&mut self.dice, keys, POOLS[role].clone(), stolen);
            match role {
                0 => next.root = keys,
                1 => next.release = keys,
                _ => {
                    next.channel_threshold = keys.threshold;
                    next.channel = keys.seeds.iter().map(|seed| (*seed, "*")).collect();
                }
            }
        }
        next.signers = enough(&mut self.dice, &old.root);
        next.signers.extend(enough(&mut self.dice, &next.root));
        next.signers.sort_unstable();
        next.signers.dedup();
        next
    }

    fn release(&mut self, build: u64) {
        let keys = self.root().release.clone();
        let signers = enough(&mut self.dice, &keys);
        let content = self.releases.len() as u64;
        self.newest_release = self.releases.len();
        self.releases.push(ReleaseFacts { app: APP, platform: PLATFORM, build, minimum: 0, content, signers });
    }

    fn resign(&mut self, build: u64) {
        let content = self.releases[self.newest_release].content;
        self.release(build);
        self.releases[self.newest_release].content = content;
    }

    /// A head that offers the newest release.
    fn next_head(&mut self) -> HeadFacts {
        let sequence = self.heads.get(self.newest_head).map_or(0, |h| h.sequence) + 1 + self.dice.below(3);
        let keys = self.root().channel_keys();
        HeadFacts {
            app: APP,
            channel: CHANNEL,
            sequence: if self.renumber { 1 } else { sequence },
            issued: self.now,
            expires: self.now + self.dice.one(&[1, 7, 7, 7, 30]) * DAY,
            root: self.root().version,
            build: self.releases[self.newest_release].build,
            release: self.newest_release,
            halted: self.dice.chance(4),
            bad: self.dice.chance(4),
            signers: enough(&mut self.dice, &keys),
        }
    }

    fn head(&mut self) {
        let head = self.next_head();
        self.renumber = false;
        self.newest_head = self.heads.len();
        self.heads.push(head);
    }

    fn clock(&mut self, head: usize) -> i64 {
        let head = &self.heads[head];
        let (issued, expires) = (head.issued, head.expires);
        match self.dice.below(20) {
            0 => self.now - DAY,
            1 => self.now - 4000 * DAY,
            2 => self.now + 8 * DAY,
            3 => self.now + 2500 * DAY,
            4 => expires - 1 + self.dice.between(0, 1),
            5 => self.root().expires - 1 + self.dice.between(0, 1),
            6 => issued - 1,
            _ => self.now + self.dice.between(0, 3600),
        }
    }

    fn client_visits(&mut self) {
        let served = self.serve();
        let clock = self.clock(served.head);
        let forgot = self.dice.chance(4);
        if forgot {
            self.state = TrustState::default();
        }
        if self.dice.chance(6) {
            self.installed = self.dice.one(&[None, Some(1), Some(2), Some(9)]);
        }
        let goal = if self.dice.chance(8) { Goal::Check } else { Goal::Update };
        let site = Site {
            roots: served.roots.iter().map(|index| self.roots[*index].bytes()).collect(),
            head: halved(self.heads[served.head].bytes(&self.releases), served.head_cut),
            release: halved(self.releases[served.release].bytes(), served.release_cut),
        };
        let facts = Facts {
            pin: &self.pin,
            state: &self.state,
            channel: CHANNEL,
            installed: self.installed.map(|build| Installed { build, manifest: Blake3::of(b"installed") }),
            clock: Time::from_seconds(clock),
            goal,
        };
        let (judged, asked) = visit(&facts, &site);
        self.steps.push(json!({
            "clock": clock, "goal": if goal == Goal::Check { "check" } else { "update" }, "forgot": forgot,
            "installed": self.installed, "roots": served.roots, "head": served.head, "head_cut": served.head_cut,
            "release": served.release, "release_cut": served.release_cut, "ours": told(&judged, asked),
        }));
        let Ok(judgement) = judged else { return };
        if let Some(state) = judgement.state {
            self.state = state;
        }
        if let Verdict::Offer(offer) = judgement.verdict
            && self.dice.chance(60)
        {
            self.installed = Some(offer.release.build);
        }
    }
}

/// Enough keys of a role to sign, and sometimes more.
fn enough(dice: &mut Dice, keys: &Keys) -> Vec<u8> {
    let more = if dice.chance(30) { dice.below(3) } else { 0 };
    let mut signers = dice.some(&keys.seeds, (keys.threshold + more) as usize);
    if dice.chance(10) || signers.is_empty() {
        signers.push(dice.one(&STRANGERS));
    }
    signers
}

fn fresh_keys(dice: &mut Dice, pool: std::ops::Range<u8>) -> Keys {
    let count = dice.between(1, 5) as usize;
    let seeds = dice.some(&pool.collect::<Vec<_>>(), count);
    Keys { threshold: 1 + dice.below(seeds.len().min(3) as u64), seeds }
}

/// `keys` after a rotation; `all`: none of the old ones stays.
fn other_keys(dice: &mut Dice, keys: Keys, pool: std::ops::Range<u8>, all: bool) -> Keys {
    let unused: Vec<u8> = pool.clone().filter(|seed| !keys.seeds.contains(seed)).collect();
    let mut next = keys.clone();
    match if all { 0 } else { dice.below(7) } {
        0 | 1 => {
            let count = dice.between(1, 3) as usize;
            next.seeds = dice.some(&unused, count);
        }
        2 | 3 => next.seeds[0] = dice.one(&unused),
        4 if next.seeds.len() < 5 => next.seeds.push(dice.one(&unused)),
        5 if next.seeds.len() > 1 => drop(next.seeds.pop()),
        _ => next.threshold = 1 + dice.below(3),
    }
    next.threshold = next.threshold.min(next.seeds.len() as u64);
    next
}
