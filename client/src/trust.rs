//! What the client believes: a pure function from state, documents and time to an offer or a refusal.
//!
//! No I/O and no clock: the caller fetches what [`judge`] asks for ([`Verdict::Need`]) and calls it again with it, until
//! the verdict is final. Nothing is to be persisted but the state of a final verdict, so a broken chain changes nothing.
//!
//! Rules, in the order they are checked (DESIGN of the site's trust: root → head → release → everything by hash):
//!
//! 1. The chain of roots starts at the pinned one. Stored roots are verified again every time: the state is data, never
//!    authority. Each step N+1 is signed by the thresholds of N and of N+1 and speaks for the same app.
//! 2. The chain is walked further when the head does not verify under the newest known root, names a newer one, when that
//!    root has expired, and once a week, counted from the first accepted head, or if the clock says that the last walk
//!    lies ahead; so a plain check is one request.
//! 3. Trusted time is the maximum of the clock, the last accepted `issued` and the client's build time.
//! 4. A head is for this app and channel; its sequence and `issued` never go back; an equal sequence means an equal body; an
//!    expired head is stale. Rotating the channel's keys forgets sequence and `issued` (fast-forward), rotating the release
//!    keys forgets the highest build seen; neither forgets the floor.
//! 5. The floor is the maximum of the compiled-in build, the signed release installed, and the highest build seen.
//! 6. A release is named by the head (length and BLAKE3), signed by the release role, and says the same app, platform,
//!    build and version.

use std::collections::BTreeMap;

use crate::format::digest::Blake3;
use crate::format::document::{DocumentError, FileRef};
use crate::format::head::{HEAD_BYTES_MAX, Head, HeadRelease};
use crate::format::release::{RELEASE_BYTES_MAX, Release};
use crate::format::root::Root;
use crate::format::signed::{SignedDocument, SignedError};
use crate::format::text::Time;

mod chain;
mod forward;
mod idle;
mod refusal;
pub mod state;

use chain::Chain;
pub use chain::pinned_root;
pub use forward::forward;
pub use refusal::Refusal;

/// Seconds between two walks of a root chain that nothing else asks for.
pub const ROOT_WALK_SECONDS: i64 = 7 * 24 * 3600;

/// Most root documents in one chain.
pub const ROOTS_MAX: usize = 256;

/// Seconds before a root's expiry from which the client warns.
pub const ROOT_WARNING_SECONDS: i64 = 90 * 24 * 3600;

/// What is compiled into a client, or pinned when a tree is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// App id.
    pub app: String,
    /// Platform token.
    pub platform: String,
    /// A whole root document, signatures included.
    pub root: Vec<u8>,
    /// Build of this very client; nothing below it is accepted. 0 for none.
    pub floor_build: u64,
    /// When this client was built: a lower bound of the time.
    pub built: Time,
}

/// What a client remembers of one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelState {
    /// Sequence of the last accepted head.
    pub sequence: u64,
    /// Its `issued`.
    pub issued: Time,
    /// BLAKE3 of its body.
    pub body: Blake3,
    /// Highest build an accepted head offered.
    pub highest_build: u64,
    /// Version of the root it was accepted under; tells whether keys were rotated since.
    pub root_version: u64,
}

/// What a client remembers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrustState {
    /// Root documents after the pinned one, in order; verified again on every use.
    pub roots: Vec<Vec<u8>>,
    /// When the end of the chain was last seen.
    pub roots_walked: Option<Time>,
    /// By channel.
    pub channels: BTreeMap<String, ChannelState>,
    /// Private, random, never sent.
    pub rollout_secret: [u8; 16],
    /// Mirrors the last accepted head named: the next one may be asked for there.
    pub mirrors: Vec<String>,
}

/// What is installed, from its signed release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Installed {
    /// Its build.
    pub build: u64,
    /// BLAKE3 of its manifest.
    pub manifest: Blake3,
}

/// What the caller wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// Whether there is something new; the release itself is not fetched.
    Check,
    /// The release to install, verified.
    Update,
}

/// Documents fetched so far in this run.
#[derive(Debug, Clone, Default)]
pub struct Documents {
    /// The channel's head.
    pub head: Option<Vec<u8>>,
    /// Roots beyond those in the state, in order.
    pub roots: Vec<Vec<u8>>,
    /// The site has no root after those.
    pub roots_ended: bool,
    /// The release the head names.
    pub release: Option<Vec<u8>>,
}

/// A document the caller is to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// The channel's head, at most [`HEAD_BYTES_MAX`] bytes.
    Head,
    /// This version of the root, at most [`ROOT_BYTES_MAX`](crate::format::root::ROOT_BYTES_MAX) bytes; not found ends the chain.
    Root(u64),
    /// The release of this build, exactly this file.
    Release {
        /// Build number.
        build: u64,
        /// Length and BLAKE3 the head gives.
        file: FileRef,
    },
}

/// A release that was verified down from the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedRelease {
    /// The document as signed.
    pub bytes: Vec<u8>,
    /// What it says.
    pub release: Release,
}

/// Why nothing is to be installed although all documents are in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Idle {
    /// The offered build is installed.
    UpToDate,
    /// The head names nothing for this platform.
    NoReleaseForPlatform,
    /// The offered build is below the floor; it waits for a newer one.
    BelowFloor {
        /// Offered build.
        offered: u64,
        /// Lowest build accepted here.
        floor: u64,
    },
    /// The channel is halted.
    Halted,
    /// The offered build is marked bad.
    BadBuild(u64),
    /// The offered build did not prove itself on this machine, or the user went back from it.
    FailedHere(u64),
    /// The user holds the installed build.
    Held(u64),
    /// This install's bucket is not yet part of the rollout.
    NotYetRolledOut {
        /// This install's bucket, 0–999.
        bucket: u64,
        /// Buckets below this take part now.
        permille: u64,
        /// When this one will; none if the rollout never gets so far.
        from: Option<Time>,
    },
    /// The head has expired: nothing is wrong with the app, but nothing can be said to be new.
    Stale {
        /// When it expired.
        since: Time,
    },
    /// The newest known root has expired.
    RootExpired {
        /// When it expired.
        since: Time,
    },
}

/// What the documents come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Fetch this and ask again.
    Need(Need),
    /// A newer release, seen in the head only (goal [`Goal::Check`]).
    Available(HeadRelease),
    /// A newer release, verified.
    Offer(Box<VerifiedRelease>),
    /// Nothing to install.
    Idle(Idle),
}

/// A verdict and what goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// What to do.
    pub verdict: Verdict,
    /// What to remember; only with a final verdict, and only once what it offers is fetched and verified.
    pub state: Option<TrustState>,
    /// Mirrors the head names.
    pub mirrors: Vec<String>,
    /// The head it rests on, verified; stale or not.
    pub head: Option<Box<Head>>,
    /// When the newest root expires, if that is near.
    pub root_expires: Option<Time>,
}

/// Everything [`judge`] looks at.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// What is compiled in or pinned.
    pub pin: &'a Pin,
    /// What is remembered.
    pub state: &'a TrustState,
    /// The channel followed.
    pub channel: &'a str,
    /// What is installed, if anything.
    pub installed: Option<Installed>,
    /// The machine's clock at the start of the run.
    pub clock: Time,
    /// What the caller wants.
    pub goal: Goal,
}

/// Judges the documents fetched so far. Pure: equal input, equal result.
///
/// # Errors
/// A [`Refusal`] for whatever breaks the chain; nothing is to be persisted then.
pub fn judge(facts: &Facts<'_>, documents: &Documents) -> Result<Judgement, Refusal> {
    Judge::new(facts)?.judge(documents)
}

/// Judges several times in one run, with the pinned and the remembered roots verified once: where keys were replaced often, their
/// signatures are most of the work.
#[derive(Debug)]
pub struct Judge<'a> {
    facts: &'a Facts<'a>,
    known: Chain,
}

impl<'a> Judge<'a> {
    /// Verifies the roots that `facts` pins, and those it remembers as far as they verify.
    ///
    /// # Errors
    /// A [`Refusal`] of the pinned root.
    pub fn new(facts: &'a Facts<'a>) -> Result<Self, Refusal> {
        Ok(Self { facts, known: Chain::verify(facts)? })
    }

    /// What it judges by.
    pub fn facts(&self) -> &'a Facts<'a> {
        self.facts
    }

    /// As the function [`judge`].
    ///
    /// # Errors
    /// The same.
    pub fn judge(&self, documents: &Documents) -> Result<Judgement, Refusal> {
        judge_by(&self.known.clone().with(self.facts, documents)?, self.facts, documents)
    }

    /// What is remembered with the roots of `documents`, whatever else they say; and the version of the newest.
    ///
    /// # Errors
    /// A [`Refusal`] of one of these roots.
    pub fn roots(&self, documents: &Documents) -> Result<(TrustState, u64), Refusal> {
        let chain = self.known.clone().with(self.facts, documents)?;
        Ok((chain.in_state(self.facts), chain.newest().version))
    }
}

fn judge_by(chain: &Chain, facts: &Facts<'_>, documents: &Documents) -> Result<Judgement, Refusal> {
    let remembered = facts.state.channels.get(facts.channel);
    let known = remembered.filter(|k| !chain.rotated_since(k.root_version, |r| r.channel_role(facts.channel)));
    let seen = remembered.filter(|k| !chain.rotated_since(k.root_version, |r| r.release.clone()));
    let highest = seen.map_or(0, |k| k.highest_build);
    let time = [Some(facts.clock), Some(facts.pin.built), known.map(|k| k.issued)].into_iter().flatten().max();
    let time = time.unwrap_or(facts.clock);

    let root = chain.newest();
    let done = |verdict, state| Judgement {
        verdict,
        state,
        mirrors: Vec::new(),
        head: None,
        root_expires: (root.expires <= time.plus(ROOT_WARNING_SECONDS)).then_some(root.expires),
    };
    let need = |need| Ok(done(Verdict::Need(need), None));
    let Some(bytes) = &documents.head else { return need(Need::Head) };
    let next_root = || Need::Root(root.version + 1);

    let head = accept_head(facts, root, bytes);
    if !documents.roots_ended {
        let unproved = matches!(head, Err(Refusal::Unsigned { .. }));
        let newer = head.as_ref().is_ok_and(|(head, _)| head.root_version > root.version);
        let since_walk = facts.state.roots_walked.map(|at| time.seconds() - at.seconds());
        // A walk that lies ahead was noted under a clock that ran ahead: waiting for that day could take years.
        let week = since_walk.is_some_and(|seconds| !(0..ROOT_WALK_SECONDS).contains(&seconds));
        if unproved || newer || week || root.expires <= time {
            return need(next_root());
        }
    }
    let (head, body) = head?;
    if root.expires <= time {
        return Ok(done(Verdict::Idle(Idle::RootExpired { since: root.expires }), None));
    }
    refuse_replay(&head, &body, known)?;
    let time = time.max(head.issued);
    if head.expires <= time {
        let stale = done(Verdict::Idle(Idle::Stale { since: head.expires }), None);
        return Ok(Judgement { head: Some(Box::new(head)), ..stale });
    }

    let decision = decide(facts, &head, highest, time);
    let state = |offered: u64| {
        let channel = ChannelState {
            sequence: head.sequence,
            issued: head.issued,
            body,
            highest_build: highest.max(offered),
            root_version: root.version,
        };
        let walked = documents.roots_ended.then_some(facts.clock);
        Some(TrustState { mirrors: head.mirrors.clone(), ..chain.state_with(facts, channel, walked) })
    };
    let judgement = match (decision, facts.goal) {
        (Decision::Idle(idle), _) => done(Verdict::Idle(idle), state(0)),
        // The release is not fetched, so the chain does not hold as a whole: nothing to remember.
        (Decision::Offer(offered), Goal::Check) => done(Verdict::Available(offered.clone()), None),
        (Decision::Offer(offered), Goal::Update) => match &documents.release {
            None => done(Verdict::Need(Need::Release { build: offered.build, file: offered.file }), None),
            Some(bytes) => {
                let release = accept_release(facts, root, offered, bytes)?;
                done(Verdict::Offer(Box::new(release)), state(offered.build))
            }
        },
    };
    Ok(Judgement { mirrors: head.mirrors.clone(), head: Some(Box::new(head)), ..judgement })
}

/// The newest root that verifies from what is pinned and stored.
///
/// # Errors
/// A [`Refusal`] of the pinned root.
pub fn newest_root(facts: &Facts<'_>) -> Result<Root, Refusal> {
    Ok(Chain::verify(facts)?.newest().clone())
}

/// Verifies the signed release recorded in a tree: a release role of any root of the verified chain stands behind it, since
/// what was installed before a rotation stays installed.
///
/// # Errors
/// A [`Refusal`] for a release no known root stands behind, or one of another app or platform.
pub fn judge_record(facts: &Facts<'_>, bytes: &[u8]) -> Result<VerifiedRelease, Refusal> {
    let chain = Chain::verify(facts)?;
    let mut judged = chain.all.iter().rev().map(|root| signed_release(root, bytes));
    let newest = judged.next().unwrap_or(Err(Refusal::RootChain));
    let release = newest.or_else(|refusal| judged.find_map(Result::ok).ok_or(refusal))?;
    matching("release", "app", &facts.pin.app, &release.app)?;
    matching("release", "platform", &facts.pin.platform, &release.platform)?;
    Ok(VerifiedRelease { bytes: bytes.to_vec(), release })
}

fn accept_head(facts: &Facts<'_>, root: &Root, bytes: &[u8]) -> Result<(Head, Blake3), Refusal> {
    let document = split("head", bytes, HEAD_BYTES_MAX)?;
    let role = root.channel_role(facts.channel);
    if !role.accepts(&document) {
        let found = document.count_signers(&role.keys) as u64;
        return Err(Refusal::Unsigned { document: "head", needed: role.threshold, found });
    }
    let head = Head::parse(&document.body).map_err(|source| body_error("head", source))?;
    matching("head", "app", &facts.pin.app, &head.app)?;
    matching("head", "channel", facts.channel, &head.channel)?;
    Ok((head, Blake3::of(&document.body)))
}

fn refuse_replay(head: &Head, body: &Blake3, known: Option<&ChannelState>) -> Result<(), Refusal> {
    let Some(known) = known else { return Ok(()) };
    if head.sequence < known.sequence || (head.sequence > known.sequence && head.issued < known.issued) {
        return Err(Refusal::OlderHead { found: head.sequence, known: known.sequence });
    }
    if head.sequence == known.sequence && *body != known.body {
        return Err(Refusal::Equivocation { sequence: head.sequence });
    }
    Ok(())
}

enum Decision<'a> {
    Offer(&'a HeadRelease),
    Idle(Idle),
}

fn decide<'a>(facts: &Facts<'_>, head: &'a Head, highest: u64, time: Time) -> Decision<'a> {
    let platform = &facts.pin.platform;
    let Some(offered) = head.release_for(platform) else { return Decision::Idle(Idle::NoReleaseForPlatform) };
    if facts.installed.is_some_and(|i| i.build == offered.build) {
        return Decision::Idle(Idle::UpToDate);
    }
    // The installed build itself is excluded above: whatever is offered now must be above it.
    let above_installed = facts.installed.map_or(0, |i| i.build + 1);
    let floor = facts.pin.floor_build.max(highest).max(above_installed);
    if offered.build < floor {
        return Decision::Idle(Idle::BelowFloor { offered: offered.build, floor });
    }
    if head.is_halted(platform) {
        return Decision::Idle(Idle::Halted);
    }
    if head.is_bad(platform, offered.build) {
        return Decision::Idle(Idle::BadBuild(offered.build));
    }
    if let Some(rollout) = head.rollout_for(platform) {
        let (bucket, permille) = (rollout.bucket(&facts.state.rollout_secret), rollout.permille_at(time));
        if bucket >= permille {
            let from = rollout.reaches(bucket);
            return Decision::Idle(Idle::NotYetRolledOut { bucket, permille, from });
        }
    }
    Decision::Offer(offered)
}

fn accept_release(
    facts: &Facts<'_>,
    root: &Root,
    offered: &HeadRelease,
    bytes: &[u8],
) -> Result<VerifiedRelease, Refusal> {
    let found = FileRef::of(bytes);
    if found != offered.file {
        return Err(Refusal::ReleaseDigest {
            expected: offered.file.blake3,
            expected_length: offered.file.length,
            found: found.blake3,
            found_length: found.length,
        });
    }
    let release = signed_release(root, bytes)?;
    matching("release", "app", &facts.pin.app, &release.app)?;
    matching("release", "platform", &facts.pin.platform, &release.platform)?;
    matching("release", "build", &offered.build.to_string(), &release.build.to_string())?;
    matching("release", "version", &offered.version, &release.version)?;
    if let Some(installed) = facts.installed.filter(|i| i.build < release.minimum_build) {
        return Err(Refusal::BelowMinimum { installed: installed.build, minimum: release.minimum_build });
    }
    Ok(VerifiedRelease { bytes: bytes.to_vec(), release })
}

fn signed_release(root: &Root, bytes: &[u8]) -> Result<Release, Refusal> {
    let document = split("release", bytes, RELEASE_BYTES_MAX)?;
    if !root.release.accepts(&document) {
        let found = document.count_signers(&root.release.keys) as u64;
        return Err(Refusal::Unsigned { document: "release", needed: root.release.threshold, found });
    }
    Release::parse(&document.body).map_err(|source| body_error("release", source))
}

fn split(document: &'static str, bytes: &[u8], cap_bytes: u64) -> Result<SignedDocument, Refusal> {
    SignedDocument::split(bytes, cap_bytes).map_err(|source| match source {
        SignedError::NotSigned | SignedError::TooLong { .. } => Refusal::NotOurs { document, source },
        _ => Refusal::Malformed { document, source },
    })
}

fn body_error(document: &'static str, source: DocumentError) -> Refusal {
    match source {
        DocumentError::TooOld { .. } => Refusal::TooOld { document, source },
        _ => Refusal::Document { document, source },
    }
}

fn matching(document: &'static str, what: &'static str, expected: &str, found: &str) -> Result<(), Refusal> {
    if expected == found {
        return Ok(());
    }
    Err(Refusal::Wrong { document, what, expected: expected.into(), found: found.into() })
}

#[cfg(test)]
mod tests;
