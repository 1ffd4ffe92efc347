//! A publisher's months: releases, roll-outs, bad builds, halts, reverts, new keys. Signs real documents with real keys.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lamplighter_client::format::document::FileRef;
use lamplighter_client::format::head::{Head, HeadRelease, Rollout};
use lamplighter_client::format::layout;
use lamplighter_client::format::root::{ChannelKey, Role, Root};
use lamplighter_client::format::text::Time;

use super::dice::Dice;
use super::keys::{Key, publics, signed};
use super::releases::{Releases, TREES, releases};
use super::world::{APP, PLATFORM};

pub(crate) const CHANNEL: &str = "stable";
pub(crate) const HOUR: i64 = 3600;
pub(crate) const DAY: i64 = 24 * HOUR;
/// How long a head is good for.
pub(crate) const HEAD_SECONDS: i64 = 10 * DAY;
/// Where the origin and its mirrors are; the head names all but the first two.
pub(crate) const PLACES: [&str; 4] =
    ["https://site.example/app", "https://one.example/app", "https://two.example/app", "https://three.example/app"];

/// One build as it was published.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Build {
    /// Which of the trees it is.
    pub(crate) tree: usize,
    /// Whether the app starts.
    pub(crate) healthy: bool,
}

/// What is done at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Act {
    Refresh,
    Publish,
    /// A bad build has been noticed: this one.
    Notice(u64),
    /// Its fix is ready.
    Fix(u64),
    Halt,
    Resume,
    Rotate,
}

/// Secrets of the roles, as seeds.
struct Keys {
    root: Vec<u8>,
    release: u8,
    channel: u8,
    next: u8,
}

/// What lay at a name from a moment on.
type Version = (i64, Arc<[u8]>);

pub(crate) struct Publisher {
    dice: Dice,
    keys: Keys,
    root_version: u64,
    /// What the site holds: each name with what lay there from when on.
    files: BTreeMap<String, Vec<Version>>,
    /// Every head there ever was; the last one is out. The first has the sequence 1.
    pub(crate) heads: Vec<Head>,
    pub(crate) builds: BTreeMap<u64, Build>,
    /// When builds were halted or marked bad, and until when if that was taken back.
    pub(crate) stopped: Vec<(u64, i64, Option<i64>)>,
    pub(crate) rotations: u64,
}

impl Publisher {
    /// A site with its first release, whose first root is version 1.
    pub(crate) fn new(mut dice: Dice, now: i64) -> Self {
        let root = if dice.percent(85) { vec![1] } else { vec![1, 2, 3] };
        let keys = Keys { root, release: 4, channel: 5, next: 6 };
        let mut publisher = Self {
            dice,
            keys,
            root_version: 0,
            files: BTreeMap::new(),
            heads: Vec::new(),
            builds: BTreeMap::new(),
            stopped: Vec::new(),
            rotations: 0,
        };
        publisher.issue_root(&[], now);
        publisher.release(now, Build { tree: 0, healthy: true });
        publisher
    }

    /// What lies at `name` in a copy of the site made at `time`.
    pub(crate) fn file(&self, name: &str, time: i64) -> Option<Arc<[u8]>> {
        let content = &releases().content;
        if let Some(bytes) = content.get(name) {
            return Some(bytes.clone());
        }
        self.files.get(name)?.iter().rev().find(|(from, _)| *from <= time).map(|(_, bytes)| bytes.clone())
    }

    pub(crate) fn first_root(&self) -> Vec<u8> {
        self.files["root/1.root"][0].1.to_vec()
    }

    pub(crate) fn head(&self) -> &Head {
        &self.heads[self.heads.len() - 1]
    }

    /// Since when `build` is stopped, if it is at `time`.
    pub(crate) fn stopped_since(&self, build: u64, time: i64) -> Option<i64> {
        let is_it = |stop: &&(u64, i64, Option<i64>)| stop.0 == build && stop.2.is_none_or(|until| until > time);
        self.stopped.iter().filter(is_it).map(|stop| stop.1).min()
    }

    /// The build on offer.
    pub(crate) fn offered(&self) -> u64 {
        self.head().releases[0].build
    }

    /// Does `act`, and says what comes of it later.
    pub(crate) fn act(&mut self, act: Act, now: i64) -> Vec<(i64, Act)> {
        match act {
            Act::Refresh => {
                self.put_head(now, |_| {});
                // Now and then nobody notices that the job has stopped.
                let next = if self.dice.percent(2) { 20 * DAY } else { DAY };
                vec![(now + next, Act::Refresh)]
            }
            Act::Publish => {
                let next = (now + self.dice.within(3 * DAY..14 * DAY), Act::Publish);
                if !self.head().halts.is_empty() {
                    return vec![next];
                }
                let healthy = self.dice.percent(80);
                let build = self.release_next(now, healthy);
                let notice = (now + self.dice.within(HOUR..4 * DAY), Act::Notice(build));
                if healthy { vec![next] } else { vec![notice, next] }
            }
            Act::Notice(build) => self.stop(build, now),
            Act::Fix(bad) => {
                if self.offered() == bad {
                    self.release_next(now, true);
                }
                Vec::new()
            }
            Act::Halt => {
                self.stopped.push((self.offered(), now, None));
                self.put_head(now, |head| head.halts = vec!["*".into()]);
                vec![(now + self.dice.within(2 * HOUR..5 * DAY), Act::Resume)]
            }
            Act::Resume => {
                self.put_head(now, |head| head.halts.clear());
                let offered = self.offered();
                if !self.head().is_bad(PLATFORM, offered) {
                    let open = self.stopped.iter_mut().filter(|stop| stop.0 == offered && stop.2.is_none());
                    open.for_each(|stop| stop.2 = Some(now));
                }
                let next = self.dice.within(20 * DAY..60 * DAY);
                vec![(now + next, Act::Halt)]
            }
            Act::Rotate => {
                self.rotate(now);
                vec![(now + self.dice.within(20 * DAY..70 * DAY), Act::Rotate)]
            }
        }
    }

    fn stop(&mut self, build: u64, now: i64) -> Vec<(i64, Act)> {
        if self.offered() != build {
            return Vec::new();
        }
        self.stopped.push((build, now, None));
        let scope = if self.dice.percent(50) { "*" } else { PLATFORM };
        let halts = self.dice.percent(50);
        self.put_head(now, |head| match halts {
            true => head.halts = vec![scope.into()],
            false => head.bad_builds.push((scope.into(), build)),
        });
        vec![(now + self.dice.within(HOUR..3 * DAY), Act::Fix(build))]
    }

    /// All is well again: nothing is halted, and a good release is offered to everybody. Gives its build.
    pub(crate) fn end_well(&mut self, now: i64) -> u64 {
        let build = self.release_next(now, true);
        self.put_head(now, |head| head.rollouts.clear());
        build
    }

    fn release_next(&mut self, now: i64, healthy: bool) -> u64 {
        let before = self.builds[&self.offered()].tree;
        // As a rule the next tree; at times an earlier one under a new number.
        let step = if self.dice.percent(70) { 1 } else { 1 + self.dice.below(TREES as u64 - 1) as usize };
        self.release(now, Build { tree: (before + step) % TREES, healthy })
    }

    fn release(&mut self, now: i64, made: Build) -> u64 {
        let build = self.builds.keys().last().map_or(1, |last| last + 1 + self.dice.below(3));
        let Releases { made: all, .. } = releases();
        let of = &all[made.tree];
        let mut release = of.release.clone();
        (release.build, release.version, release.issued) = (build, format!("{build}.0"), Time::from_seconds(now));
        // Packs lead on from builds that this publisher has released.
        let latest = |tree: usize| self.builds.iter().rev().find(|(_, of)| of.tree == tree).map(|(build, _)| *build);
        release.packs.retain_mut(|pack| {
            let base = latest(pack.base_build as usize - 1).filter(|base| *base < build);
            pack.base_build = base.unwrap_or_default();
            base.is_some()
        });
        let signed: Arc<[u8]> = signed(release.to_body(), &[self.keys.release]).into();
        let file = FileRef::of(&signed);
        self.put(layout::manifest(build, PLATFORM), now, of.manifest.clone());
        self.put(layout::objects(build, PLATFORM), now, of.objects.clone());
        self.put(layout::release(build, PLATFORM), now, signed);
        self.builds.insert(build, made);
        let rollout = self.dice.percent(40).then(|| Rollout {
            platform: "*".into(),
            start: Time::from_seconds(now),
            salt: format!("s{}", self.dice.next()),
            curve: vec![(0, 50), (DAY as u64, 300), (3 * DAY as u64, 1000)],
        });
        self.put_head(now, |head| {
            head.releases = vec![HeadRelease { platform: PLATFORM.into(), build, version: format!("{build}.0"), file }];
            head.rollouts = rollout.into_iter().collect();
            head.halts.clear();
        });
        build
    }

    /// New keys for some of the roles. New release keys come with a release that they sign.
    fn rotate(&mut self, now: i64) {
        self.rotations += 1;
        let before = self.keys.root.clone();
        let mut next = || {
            self.keys.next += 1;
            self.keys.next
        };
        if self.dice.percent(40) {
            self.keys.root = if self.dice.percent(85) { vec![next()] } else { vec![next(), next(), next()] };
        }
        let release = self.dice.percent(50);
        if release {
            self.keys.release = next();
        }
        if self.dice.percent(60) {
            self.keys.channel = next();
        }
        self.issue_root(&before, now);
        if release {
            let healthy = Build { healthy: true, ..self.builds[&self.offered()] };
            self.release(now, healthy);
        } else {
            self.put_head(now, |_| {});
        }
    }

    fn issue_root(&mut self, also_signed_by: &[u8], now: i64) {
        self.root_version += 1;
        let keys = &self.keys;
        // Two of three suffice, and one of one.
        let threshold = if keys.root.len() > 1 { 2 } else { 1 };
        let root = Root {
            app: APP.into(),
            version: self.root_version,
            issued: Time::from_seconds(now),
            expires: Time::from_seconds(now + 900 * DAY),
            root: Role { threshold, keys: publics(&keys.root) },
            release: Role { threshold: 1, keys: publics(&[keys.release]) },
            channel_threshold: 1,
            channel: vec![ChannelKey { key: Key::new(keys.channel).public(), channel: "*".into() }],
        };
        let signers: BTreeSet<u8> = keys.root.iter().chain(also_signed_by).copied().collect();
        let bytes = signed(root.to_body(), &signers.into_iter().collect::<Vec<_>>());
        self.put(layout::root(self.root_version), now, bytes.into());
    }

    /// Signs the head anew, changed.
    fn put_head(&mut self, now: i64, change: impl FnOnce(&mut Head)) {
        let mut head = self.heads.last().cloned().unwrap_or_else(|| Head {
            app: APP.into(),
            channel: CHANNEL.into(),
            sequence: 0,
            issued: Time::from_seconds(now),
            expires: Time::from_seconds(now),
            root_version: self.root_version,
            releases: Vec::new(),
            rollouts: Vec::new(),
            halts: Vec::new(),
            bad_builds: Vec::new(),
            mirrors: PLACES[2..].iter().map(|place| (*place).to_owned()).collect(),
        });
        head.sequence += 1;
        (head.issued, head.expires) = (Time::from_seconds(now), Time::from_seconds(now + HEAD_SECONDS));
        head.root_version = self.root_version;
        change(&mut head);
        let bytes = signed(head.to_body(), &[self.keys.channel]);
        self.put(layout::head(CHANNEL), now, bytes.into());
        self.heads.push(head);
    }

    fn put(&mut self, name: String, now: i64, bytes: Arc<[u8]>) {
        self.files.entry(name).or_default().push((now, bytes));
    }
}
