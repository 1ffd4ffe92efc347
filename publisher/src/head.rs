//! The next head of a channel, and the client's own verdict on it before it goes out.

pub mod edits;

use lamplighter_client::format::document::FileRef;
use lamplighter_client::format::head::{HEAD_BYTES_MAX, Head, HeadRelease};
use lamplighter_client::format::layout;
use lamplighter_client::format::root::Root;
use lamplighter_client::format::text::Time;
use lamplighter_client::trust::{Documents, Facts, Goal, Idle, Pin, TrustState, Verdict, VerifiedRelease, judge};

use crate::head::edits::{Shares, offer};
use crate::init::days_in_seconds;
use crate::sign::Signers;
use crate::site::{SignedHead, Site, SiteError, SiteWriter, Trust};
use crate::watch::Watch;

/// Heads should stay below this: it is what every check of every client costs.
const HEAD_BYTES_WANTED: usize = 2 << 10;

/// The row by which a head offers `release`.
pub fn row(release: &VerifiedRelease) -> HeadRelease {
    HeadRelease {
        platform: release.release.platform.clone(),
        build: release.release.build,
        version: release.release.version.clone(),
        file: FileRef::of(&release.bytes),
    }
}

/// The last build `head` offers to `platform`.
pub fn last_build(head: Option<&Head>, platform: &str) -> Option<u64> {
    head.and_then(|h| h.release_for(platform)).map(|r| r.build)
}

/// Checks that `build` may follow what the channel offers `platform` now: the same again, or more.
///
/// # Errors
/// [`SiteError::BuildTooLow`]: clients refuse to go back.
pub fn require_above(head: Option<&Head>, channel: &str, platform: &str, build: u64) -> Result<(), SiteError> {
    match last_build(head, platform) {
        Some(last) if build < last => {
            let (platform, channel) = (platform.to_owned(), channel.to_owned());
            Err(SiteError::BuildTooLow { platform, channel, build, last })
        }
        _ => Ok(()),
    }
}

/// What a head is made from.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// Channel.
    pub channel: &'a str,
    /// The time of the run.
    pub time: Time,
    /// Days until the head is stale.
    pub expires_days: u64,
    /// Mirrors it is to name; those it names where this is none.
    pub mirrors: Option<&'a [String]>,
}

/// The head that follows `old` once `edit` has changed it; none if that changes nothing.
///
/// What `edit` and the terms leave alone stays: mirrors, halts, bad builds, other platforms.
pub fn next(old: Option<&Head>, root: &Root, terms: &Terms<'_>, edit: impl FnOnce(&mut Head)) -> Option<Head> {
    let mut head = old.cloned().unwrap_or_else(|| Head {
        app: root.app.clone(),
        channel: terms.channel.to_owned(),
        sequence: 0,
        issued: terms.time,
        expires: terms.time,
        root_version: root.version,
        releases: Vec::new(),
        rollouts: Vec::new(),
        halts: Vec::new(),
        bad_builds: Vec::new(),
        mirrors: Vec::new(),
    });
    edit(&mut head);
    if let Some(mirrors) = terms.mirrors {
        head.mirrors = mirrors.to_vec();
    }
    (old != Some(&head)).then(|| renewed(head, root, terms))
}

/// `head` under a new sequence and with new dates, whatever else it says.
pub fn renewed(mut head: Head, root: &Root, terms: &Terms<'_>) -> Head {
    head.sequence += 1;
    head.root_version = root.version;
    // A clock that went back must not make clients refuse the head: `issued` never does.
    head.issued = terms.time.max(head.issued);
    head.expires = head.issued.plus(days_in_seconds(terms.expires_days));
    head
}

/// What a channel says now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The head.
    pub head: Head,
    /// False if it said so before, and was left as it was.
    pub changed: bool,
}

/// What a channel offers now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Sequence of the head.
    pub sequence: u64,
    /// False if the head offered all of it before.
    pub changed: bool,
    /// Platforms that are offered the build.
    pub platforms: Vec<String>,
}

/// All it takes to change what a channel says.
pub struct Mover<'a> {
    /// The site, locked.
    pub writer: &'a SiteWriter,
    /// Its roots.
    pub trust: &'a Trust,
    /// Channel keys the newest root trusts.
    pub signers: &'a Signers,
    /// Hears of what is odd.
    pub watch: &'a dyn Watch,
}

impl Mover<'_> {
    /// Moves the head of a channel to `releases`, which lie in the site.
    ///
    /// # Errors
    /// A release below what the channel offers, or one a client would refuse: nothing is written then. The disk.
    pub fn move_to(
        &self,
        terms: &Terms<'_>,
        releases: &[VerifiedRelease],
        shares: Shares<'_>,
    ) -> Result<Moved, SiteError> {
        let old = self.old(terms)?;
        for release in releases {
            require_above(
                old.as_ref().map(|o| &o.head),
                terms.channel,
                &release.release.platform,
                release.release.build,
            )?;
        }
        let offer_all = |head: &mut Head| releases.iter().for_each(|r| offer(head, &row(r), shares, terms.time));
        let published = self.apply(old, terms, offer_all)?;
        let platforms = releases.iter().map(|r| r.release.platform.clone()).collect();
        Ok(Moved { sequence: published.head.sequence, changed: published.changed, platforms })
    }

    /// Changes what a channel says; nothing is written if it says so already.
    ///
    /// # Errors
    /// The channel has no head; one a client would refuse: nothing is written then. The disk.
    pub fn change(&self, terms: &Terms<'_>, edit: impl FnOnce(&mut Head)) -> Result<Published, SiteError> {
        let old = self.old(terms)?;
        if old.is_none() {
            return Err(SiteError::NoHead { channel: terms.channel.to_owned() });
        }
        self.apply(old, terms, edit)
    }

    /// Signs `head` again, with new dates.
    ///
    /// # Errors
    /// A client would refuse it: nothing is written then. The disk.
    pub fn renew(&self, head: Head, terms: &Terms<'_>) -> Result<Head, SiteError> {
        let mirrors = terms.mirrors.map_or_else(|| head.mirrors.clone(), <[String]>::to_vec);
        let head = renewed(Head { mirrors, ..head }, self.trust.root(), terms);
        self.publish(&head)?;
        Ok(head)
    }

    /// What the channel says; where keys were replaced since, under a root before.
    fn old(&self, terms: &Terms<'_>) -> Result<Option<SignedHead>, SiteError> {
        self.trust.last_head(self.writer.site(), terms.channel)
    }

    fn apply(
        &self,
        old: Option<SignedHead>,
        terms: &Terms<'_>,
        edit: impl FnOnce(&mut Head),
    ) -> Result<Published, SiteError> {
        match (next(old.as_ref().map(|o| &o.head), self.trust.root(), terms, edit), old) {
            (Some(head), _) => {
                self.publish(&head)?;
                Ok(Published { head, changed: true })
            }
            (None, Some(old)) if old.current => Ok(Published { head: old.head, changed: false }),
            // It says so already, but under keys clients do not accept any more.
            (None, Some(old)) => Ok(Published { head: self.renew(old.head, terms)?, changed: true }),
            (None, None) => Err(SiteError::NoHead { channel: terms.channel.to_owned() }),
        }
    }

    /// Signs `head`, lets the client's code judge it for every platform, and puts it into the site.
    fn publish(&self, head: &Head) -> Result<(), SiteError> {
        let name = layout::head(&head.channel);
        let bytes = self.signers.sign(head.to_body(), &name, head.issued)?.to_bytes();
        if bytes.len() as u64 > HEAD_BYTES_MAX {
            let detail = format!("expected at most {HEAD_BYTES_MAX} bytes, found {}", bytes.len());
            return Err(SiteError::damaged(&name, detail));
        }
        if bytes.len() > HEAD_BYTES_WANTED {
            let text = format!("{} bytes, which every check of a client fetches", bytes.len());
            self.watch.notice("large-head", &name, &text);
        }
        for row in &head.releases {
            accepted(self.writer.site(), self.trust, &head.channel, &bytes, row, head.issued)?;
        }
        self.tell(head);
        self.writer.replace(&name, &bytes)
    }

    /// Tells what keeps clients from what the head offers.
    fn tell(&self, head: &Head) {
        for halted in &head.halts {
            let text = "the channel is halted there: clients are offered nothing until it is resumed";
            self.watch.notice("halted", halted, text);
        }
        for row in head.releases.iter().filter(|row| head.is_bad(&row.platform, row.build)) {
            let text = format!("build {} is offered and marked bad: clients are offered nothing", row.build);
            self.watch.notice("bad-build", &row.platform, &text);
        }
        for rollout in head.rollouts.iter().filter(|r| r.curve.last().is_none_or(|point| point.1 < 1000)) {
            self.watch.notice("rollout-never-ends", &rollout.platform, "the rollout never reaches everybody");
        }
    }
}

/// Runs the client's judgement over a head and the release it offers in `row`, as a new install would.
///
/// # Errors
/// What a client would say.
pub fn accepted(
    site: &Site,
    trust: &Trust,
    channel: &str,
    head: &[u8],
    row: &HeadRelease,
    time: Time,
) -> Result<(), SiteError> {
    let name = layout::head(channel);
    let release = crate::site::documents::named(site, &layout::release(row.build, &row.platform), &row.file)?;
    let replaced =
        trust.check_release(&layout::release(row.build, &row.platform), release.clone(), row.build, &row.platform);
    if let Err(error @ SiteError::KeysReplaced { .. }) = replaced {
        return Err(error);
    }
    let (first, rest) = trust.documents();
    let pin = Pin {
        app: trust.root().app.clone(),
        platform: row.platform.clone(),
        root: first.to_vec(),
        floor_build: 0,
        built: time,
    };
    let state = TrustState { roots: rest.to_vec(), ..TrustState::default() };
    let facts = Facts { pin: &pin, state: &state, channel, installed: None, clock: time, goal: Goal::Update };
    let documents =
        Documents { head: Some(head.to_vec()), roots: Vec::new(), roots_ended: true, release: Some(release) };
    let refused = |detail: String| SiteError::Refused { name: name.clone(), platform: row.platform.clone(), detail };
    match judge(&facts, &documents).map_err(|refusal| refused(refusal.to_string()))?.verdict {
        Verdict::Offer(_) | Verdict::Idle(Idle::Halted | Idle::BadBuild(_) | Idle::NotYetRolledOut { .. }) => Ok(()),
        other => Err(refused(format!("{other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamplighter_client::format::digest::Blake3;
    use lamplighter_client::format::head::Rollout;
    use lamplighter_client::format::root::Role;

    fn at(platform: &str, build: u64) -> HeadRelease {
        let file = FileRef { length: build, blake3: Blake3::of(platform.as_bytes()) };
        HeadRelease { platform: platform.to_owned(), build, version: build.to_string(), file }
    }

    fn next(old: Option<&Head>, seconds: i64, rows: Vec<HeadRelease>) -> Option<Head> {
        let no_keys = || Role { threshold: 1, keys: Vec::new() };
        let time = Time::from_seconds(seconds);
        let root = Root {
            app: "app".to_owned(),
            version: 1,
            issued: time,
            expires: time,
            root: no_keys(),
            release: no_keys(),
            channel_threshold: 1,
            channel: Vec::new(),
        };
        let terms = Terms { channel: "stable", time, expires_days: 7, mirrors: None };
        super::next(old, &root, &terms, |head| {
            rows.iter().for_each(|row| edits::offer(head, row, Shares::default(), time));
        })
    }

    #[test]
    fn rows_of_other_platforms_stay() {
        let first = next(None, 100, vec![at("b", 1), at("a", 1)]).expect("a first head");
        assert_eq!((first.sequence, first.expires.seconds()), (1, 100 + 7 * 86_400));
        assert_eq!(first.releases, [at("a", 1), at("b", 1)]);
        let second = next(Some(&first), 200, vec![at("b", 2)]).expect("another");
        assert_eq!((second.sequence, second.issued.seconds()), (2, 200));
        assert_eq!(second.releases, [at("a", 1), at("b", 2)]);
        assert_eq!(next(Some(&second), 300, vec![at("b", 2)]), None);
        assert_eq!(Head::parse(&second.to_body()), Ok(second));
    }

    #[test]
    fn time_never_goes_back_and_a_rollout_ends_with_its_release() {
        let mut old = next(None, 500, vec![at("a", 1), at("b", 1)]).expect("a first head");
        let rollout = |platform: &str| Rollout {
            platform: platform.to_owned(),
            start: Time::from_seconds(0),
            salt: "s".to_owned(),
            curve: vec![(0, 10)],
        };
        old.rollouts = vec![rollout("a"), rollout("b")];
        old.halts = vec!["a".to_owned()];
        old.mirrors = vec!["https://m".to_owned()];
        let new = next(Some(&old), 100, vec![at("a", 2)]).expect("another");
        assert_eq!(new.issued.seconds(), 500);
        assert_eq!((new.rollouts, new.halts, new.mirrors), (vec![rollout("b")], old.halts, old.mirrors));
    }

    #[test]
    fn builds_only_grow() {
        let head = next(None, 1, vec![at("a", 5)]);
        let above = |platform: &str, build| require_above(head.as_ref(), "stable", platform, build);
        assert!(above("a", 5).is_ok() && above("a", 6).is_ok() && above("b", 1).is_ok());
        assert!(matches!(above("a", 4), Err(SiteError::BuildTooLow { last: 5, .. })));
    }
}
