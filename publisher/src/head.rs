//! The next head of a channel, and the client's own verdict on it before it goes out.

use lamplighter_client::format::document::FileRef;
use lamplighter_client::format::head::{HEAD_BYTES_MAX, Head, HeadRelease};
use lamplighter_client::format::layout;
use lamplighter_client::format::text::Time;
use lamplighter_client::trust::{Documents, Facts, Goal, Idle, Pin, TrustState, Verdict, VerifiedRelease, judge};

use crate::init::days_in_seconds;
use crate::sign::Signers;
use crate::site::{Site, SiteError, SiteWriter, Trust};
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
    /// App id.
    pub app: &'a str,
    /// Channel.
    pub channel: &'a str,
    /// Newest root.
    pub root_version: u64,
    /// The time of the run.
    pub time: Time,
    /// Days until the head is stale.
    pub expires_days: u64,
}

/// The head that offers `rows` beside what `old` offers to other platforms; none if `old` says so already.
///
/// Mirrors, halts and bad builds stay as they are. A rollout of a platform that gets another release ends with it.
pub fn next(old: Option<&Head>, terms: &Terms<'_>, rows: Vec<HeadRelease>) -> Option<Head> {
    let mut head = old.cloned().unwrap_or_else(|| Head {
        app: terms.app.to_owned(),
        channel: terms.channel.to_owned(),
        sequence: 0,
        issued: terms.time,
        expires: terms.time,
        root_version: terms.root_version,
        releases: Vec::new(),
        rollouts: Vec::new(),
        halts: Vec::new(),
        bad_builds: Vec::new(),
        mirrors: Vec::new(),
    });
    let mut changed = old.is_none();
    for row in rows {
        if head.release_for(&row.platform) == Some(&row) {
            continue;
        }
        changed = true;
        head.rollouts.retain(|r| r.platform != row.platform);
        head.releases.retain(|r| r.platform != row.platform);
        head.releases.push(row);
    }
    if !changed {
        return None;
    }
    head.releases.sort_by(|a, b| a.platform.cmp(&b.platform));
    head.sequence += 1;
    head.root_version = terms.root_version;
    // A clock that went back must not make clients refuse the head: `issued` never does.
    head.issued = terms.time.max(head.issued);
    head.expires = head.issued.plus(days_in_seconds(terms.expires_days));
    Some(head)
}

/// Signs `head`, lets the client's code judge it for every platform it offers something to, and puts it into the site.
///
/// # Errors
/// A client would refuse it: nothing is written then. The disk.
pub fn publish(
    writer: &SiteWriter,
    trust: &Trust,
    signers: &Signers,
    head: &Head,
    watch: &dyn Watch,
) -> Result<(), SiteError> {
    let name = layout::head(&head.channel);
    let bytes = signers.sign(head.to_body(), &name, head.issued).to_bytes();
    if bytes.len() as u64 > HEAD_BYTES_MAX {
        let detail = format!("expected at most {HEAD_BYTES_MAX} bytes, found {}", bytes.len());
        return Err(SiteError::damaged(&name, detail));
    }
    if bytes.len() > HEAD_BYTES_WANTED {
        watch.notice("large-head", &name, &format!("{} bytes, which every check of a client fetches", bytes.len()));
    }
    for row in &head.releases {
        accepted(writer.site(), trust, &head.channel, &bytes, row, head.issued)?;
    }
    for halted in &head.halts {
        watch.notice("halted", halted, "the channel is halted there: clients are offered nothing until it is resumed");
    }
    writer.replace(&name, &bytes)
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

    fn offer(platform: &str, build: u64) -> HeadRelease {
        let file = FileRef { length: build, blake3: Blake3::of(platform.as_bytes()) };
        HeadRelease { platform: platform.to_owned(), build, version: build.to_string(), file }
    }

    fn terms(seconds: i64) -> Terms<'static> {
        let time = Time::from_seconds(seconds);
        Terms { app: "app", channel: "stable", root_version: 1, time, expires_days: 7 }
    }

    #[test]
    fn rows_of_other_platforms_stay() {
        let first = next(None, &terms(100), vec![offer("b", 1), offer("a", 1)]).expect("a first head");
        assert_eq!((first.sequence, first.expires.seconds()), (1, 100 + 7 * 86_400));
        assert_eq!(first.releases, [offer("a", 1), offer("b", 1)]);
        let second = next(Some(&first), &terms(200), vec![offer("b", 2)]).expect("another");
        assert_eq!((second.sequence, second.issued.seconds()), (2, 200));
        assert_eq!(second.releases, [offer("a", 1), offer("b", 2)]);
        assert_eq!(next(Some(&second), &terms(300), vec![offer("b", 2)]), None);
        assert_eq!(Head::parse(&second.to_body()), Ok(second));
    }

    #[test]
    fn time_never_goes_back_and_a_rollout_ends_with_its_release() {
        let mut old = next(None, &terms(500), vec![offer("a", 1), offer("b", 1)]).expect("a first head");
        let rollout = |platform: &str| Rollout {
            platform: platform.to_owned(),
            start: Time::from_seconds(0),
            salt: "s".to_owned(),
            curve: vec![(0, 10)],
        };
        old.rollouts = vec![rollout("a"), rollout("b")];
        old.halts = vec!["a".to_owned()];
        old.mirrors = vec!["https://m".to_owned()];
        let new = next(Some(&old), &terms(100), vec![offer("a", 2)]).expect("another");
        assert_eq!(new.issued.seconds(), 500);
        assert_eq!((new.rollouts, new.halts, new.mirrors), (vec![rollout("b")], old.halts, old.mirrors));
    }

    #[test]
    fn builds_only_grow() {
        let head = next(None, &terms(1), vec![offer("a", 5)]);
        let above = |platform: &str, build| require_above(head.as_ref(), "stable", platform, build);
        assert!(above("a", 5).is_ok() && above("a", 6).is_ok() && above("b", 1).is_ok());
        assert!(matches!(above("a", 4), Err(SiteError::BuildTooLow { last: 5, .. })));
    }
}
