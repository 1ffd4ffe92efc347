//! One client and the documents it is shown, as a case changes them; judged by the code that ships.

use lamplighter_client::format::digest::Blake3;
use lamplighter_client::format::document::FileRef;
use lamplighter_client::format::head::{Head, HeadRelease, Rollout};
use lamplighter_client::format::layout;
use lamplighter_client::format::release::Release;
use lamplighter_client::format::root::{ChannelKey, Role, Root};
use lamplighter_client::format::text::Time;
use lamplighter_client::trust::{
    Documents, Facts, Goal, Idle, Installed, Judgement, Need, Pin, Refusal, TrustState, Verdict, judge,
};

pub(crate) use super::documents::{APP, PLATFORM};
use super::documents::{plain_head, plain_release};
use super::keys::{Key, publics, signed};

pub(crate) const CHANNEL: &str = "stable";
/// Some moment, in seconds.
pub(crate) const NOW: i64 = 1_800_000_000;
pub(crate) const DAY: i64 = 86_400;
/// Seeds of the keys a scene begins with.
pub(crate) const ROOT: u8 = 1;
pub(crate) const RELEASE: u8 = 2;
pub(crate) const HEAD: u8 = 3;
/// A key nobody named.
pub(crate) const STRANGER: u8 = 9;

/// A site as far as trust goes, and a client that asks it.
#[derive(Clone)]
pub(crate) struct Scene {
    pub(crate) first: Root,
    /// Roots after the first, with who signs them.
    pub(crate) later: Vec<(Root, Vec<u8>)>,
    pub(crate) head: Head,
    pub(crate) head_signers: Vec<u8>,
    pub(crate) release: Release,
    pub(crate) release_signers: Vec<u8>,
    /// Whether the head names the release as it is; otherwise its rows stay as they are.
    pub(crate) names_release: bool,
    /// Changes the bytes of what was signed, if a case wants to.
    pub(crate) alter_head: Option<fn(Vec<u8>) -> Vec<u8>>,
    pub(crate) alter_release: Option<fn(Vec<u8>) -> Vec<u8>>,
    /// Bytes served in their place, whatever else is set.
    pub(crate) served_head: Option<Vec<u8>>,
    pub(crate) served_release: Option<Vec<u8>>,
    pub(crate) floor_build: u64,
    pub(crate) built: i64,
    pub(crate) state: TrustState,
    pub(crate) installed: Option<u64>,
    pub(crate) clock: i64,
    pub(crate) platform: String,
    pub(crate) channel: String,
}

impl Scene {
    /// Build 10 is offered, build 5 installed, all is in order.
    pub(crate) fn new() -> Self {
        let time = Time::from_seconds(NOW);
        let file = FileRef::of(b"content");
        Self {
            first: root(1, &[ROOT], &[RELEASE], &[HEAD]),
            later: Vec::new(),
            head: plain_head(20, time),
            head_signers: vec![HEAD],
            release: Release { version: "1.0".into(), ..plain_release(10, time, file) },
            release_signers: vec![RELEASE],
            names_release: true,
            alter_head: None,
            alter_release: None,
            served_head: None,
            served_release: None,
            floor_build: 1,
            built: NOW - 30 * DAY,
            state: TrustState { roots_walked: Some(time), ..TrustState::default() },
            installed: Some(5),
            clock: NOW + 3600,
            platform: PLATFORM.into(),
            channel: CHANNEL.into(),
        }
    }

    pub(crate) fn with(change: impl FnOnce(&mut Self)) -> Self {
        let mut scene = Self::new();
        change(&mut scene);
        scene
    }

    pub(crate) fn release_bytes(&self) -> Vec<u8> {
        if let Some(bytes) = &self.served_release {
            return bytes.clone();
        }
        let bytes = signed(self.release.to_body(), &self.release_signers);
        self.alter_release.map_or(bytes.clone(), |alter| alter(bytes))
    }

    /// The row by which a head names the release.
    pub(crate) fn row(&self) -> HeadRelease {
        let (release, file) = (&self.release, FileRef::of(&self.release_bytes()));
        let (platform, version) = (release.platform.clone(), release.version.clone());
        HeadRelease { platform, build: release.build, version, file }
    }

    /// The head as it is served.
    pub(crate) fn head_bytes(&self) -> Vec<u8> {
        if let Some(bytes) = &self.served_head {
            return bytes.clone();
        }
        let mut head = self.head.clone();
        if self.names_release {
            head.releases = vec![self.row()];
        }
        let bytes = signed(head.to_body(), &self.head_signers);
        self.alter_head.map_or(bytes.clone(), |alter| alter(bytes))
    }

    /// Offers `build`.
    pub(crate) fn offer(&mut self, build: u64, sequence: u64) {
        self.release.build = build;
        self.head.sequence = sequence;
    }

    /// Appends a root that differs from the newest by `change`, signed by `signers`.
    pub(crate) fn rotate(&mut self, signers: &[u8], change: impl FnOnce(&mut Root)) {
        let newest = self.later.last().map_or(&self.first, |(root, _)| root);
        let mut next = Root { version: newest.version + 1, ..newest.clone() };
        change(&mut next);
        self.head.root_version = next.version;
        self.later.push((next, signers.to_vec()));
    }

    /// Lets the client judge, fetching what it asks for.
    pub(crate) fn judge(&self) -> Result<Judgement, Refusal> {
        let pin = Pin {
            app: APP.into(),
            platform: self.platform.clone(),
            root: signed(self.first.to_body(), &[ROOT]),
            floor_build: self.floor_build,
            built: Time::from_seconds(self.built),
        };
        let installed = self.installed.map(|build| Installed { build, manifest: Blake3::of(b"installed") });
        let clock = Time::from_seconds(self.clock);
        let facts =
            Facts { pin: &pin, state: &self.state, channel: &self.channel, installed, clock, goal: Goal::Update };
        let mut documents = Documents::default();
        let mut later = self.later.iter().skip(self.state.roots.len());
        loop {
            let judgement = judge(&facts, &documents)?;
            match judgement.verdict {
                Verdict::Need(Need::Head) => documents.head = Some(self.head_bytes()),
                Verdict::Need(Need::Release { .. }) => documents.release = Some(self.release_bytes()),
                // All at once: the chain is verified anew at each turn, and some cases have hundreds.
                Verdict::Need(Need::Root(_)) => {
                    let roots: Vec<_> = later.by_ref().map(|(root, signers)| signed(root.to_body(), signers)).collect();
                    documents.roots_ended = roots.is_empty();
                    documents.roots.extend(roots);
                }
                _ => return Ok(judgement),
            }
        }
    }

    /// What came of it, in a word: `offer`, the name of a reason to do nothing, or the code of a refusal.
    pub(crate) fn outcome(&self) -> String {
        match self.judge() {
            Err(refusal) => refusal.code().to_owned(),
            Ok(judgement) => match judgement.verdict {
                Verdict::Offer(release) => {
                    assert_eq!(release.release, self.release, "what is offered is what was signed");
                    "offer".into()
                }
                Verdict::Idle(idle) => name(&idle).into(),
                other => format!("{other:?}"),
            },
        }
    }

    /// Takes over the state the client remembers after an accepted run.
    pub(crate) fn remember(&mut self) -> &mut Self {
        let judgement = self.judge().expect("accepted");
        self.state = judgement.state.expect("a final verdict is remembered");
        self
    }
}

fn name(idle: &Idle) -> &'static str {
    match idle {
        Idle::UpToDate => "up-to-date",
        Idle::NoReleaseForPlatform => "no-release",
        Idle::BelowFloor { .. } => "below-floor",
        Idle::Halted => "halted",
        Idle::BadBuild(_) => "bad-build",
        Idle::FailedHere(_) => "failed-here",
        Idle::Held(_) => "held",
        Idle::NotYetRolledOut { .. } => "not-yet",
        Idle::Stale { .. } => "stale",
        Idle::RootExpired { .. } => "root-expired",
    }
}

/// A root of one version, thresholds one.
pub(crate) fn root(version: u64, root: &[u8], release: &[u8], channel: &[u8]) -> Root {
    let role = |keys: &[u8]| Role { threshold: 1, keys: publics(keys) };
    Root {
        app: APP.into(),
        version,
        issued: Time::from_seconds(NOW - 10 * DAY),
        expires: Time::from_seconds(NOW + 1000 * DAY),
        root: role(root),
        release: role(release),
        channel_threshold: 1,
        channel: channel.iter().map(|seed| channel_key(*seed, "*")).collect(),
    }
}

pub(crate) fn channel_key(seed: u8, channel: &str) -> ChannelKey {
    ChannelKey { key: Key::new(seed).public(), channel: channel.into() }
}

pub(crate) fn rollout(permille: u64) -> Rollout {
    let start = Time::from_seconds(NOW);
    Rollout { platform: "*".into(), start, salt: "salt".into(), curve: vec![(0, permille)] }
}

/// Where documents lie, for cases that serve them.
pub(crate) fn head_name() -> String {
    layout::head(CHANNEL)
}
