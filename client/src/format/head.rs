//! The head of a channel: the only file of a site that changes.
//!
//! # Specification
//!
//! A signed document of type `lamplighter-head,1`, at most 16 KiB (2 KiB as a rule), signed by the channel role.
//!
//! | record | meaning |
//! | --- | --- |
//! | `app,<id>` `channel,<token>` | what it belongs to |
//! | `sequence,<n>` | grows with every head of the channel |
//! | `issued,<time>` `expires,<time>` | issued ≤ expires; an expired head is *stale* |
//! | `root,<version>` | newest root when it was signed |
//! | `release,<platform>,<build>,<version>,<length>,<blake3>` | the signed release offered to a platform; one a platform |
//! | `rollout,<platform>,<start>,<salt>,<curve>` | offered to a growing share; see below; one a platform |
//! | `halt,<platform>` | offers nothing |
//! | `bad,<platform>,<build>` | a build that must not be installed |
//! | `mirror,<url>` | another place that hands out the same site |
//!
//! `<platform>` of the last groups may be `*` for all. A rollout's curve is a space-separated list of `seconds:permille`,
//! both growing: from `seconds` after `start` on, `permille` of the installs are offered the release (0 before the first
//! point). An install's bucket is the first four bytes (big endian) of BLAKE3(salt ‖ secret) modulo 1000, with the 16 bytes
//! of its private secret and the bytes of the salt's text; it takes part while its bucket is below the permille.
//!
//! # Changelog
//!
//! * 1: first.

use super::document::{Body, BodyWriter, DocumentError, FileRef, Record};
use super::text::{Time, is_app_id, is_display_version, is_token, number};

/// Most bytes a head may have, signatures included.
pub const HEAD_BYTES_MAX: u64 = 16 << 10;

/// First cell of the first line.
pub const TYPE: &str = "lamplighter-head";

const CURVE_POINTS_MAX: usize = 32;

/// What a head offers to one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadRelease {
    /// Platform token.
    pub platform: String,
    /// Build number.
    pub build: u64,
    /// Version as shown to people.
    pub version: String,
    /// The signed release document.
    pub file: FileRef,
}

/// A release offered to a growing share of installs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    /// Platform token, or `*`.
    pub platform: String,
    /// When it begins.
    pub start: Time,
    /// Makes the shares of different releases independent.
    pub salt: String,
    /// Seconds since `start`, and the permille from then on; both growing.
    pub curve: Vec<(u64, u64)>,
}

impl Rollout {
    /// Permille of installs that take part at `time`.
    pub fn permille_at(&self, time: Time) -> u64 {
        let elapsed = time.seconds().saturating_sub(self.start.seconds());
        let reached = |point: &&(u64, u64)| i64::try_from(point.0).is_ok_and(|after| after <= elapsed);
        self.curve.iter().take_while(reached).last().map_or(0, |point| point.1)
    }

    /// When an install in `bucket` begins to take part; none if it never does.
    pub fn reaches(&self, bucket: u64) -> Option<Time> {
        let point = self.curve.iter().find(|point| point.1 > bucket)?;
        Some(self.start.plus(i64::try_from(point.0).ok()?))
    }

    /// Bucket, 0–999, of an install with this `secret`.
    pub fn bucket(&self, secret: &[u8; 16]) -> u64 {
        let digest = super::digest::Blake3::of(&[self.salt.as_bytes(), secret].concat());
        let [a, b, c, d, ..] = *digest.as_bytes();
        u64::from(u32::from_be_bytes([a, b, c, d]) % 1000)
    }
}

/// A head document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// App id.
    pub app: String,
    /// Channel.
    pub channel: String,
    /// Grows with every head of the channel.
    pub sequence: u64,
    /// When it was signed.
    pub issued: Time,
    /// When it becomes stale.
    pub expires: Time,
    /// Newest root when it was signed.
    pub root_version: u64,
    /// One row a platform.
    pub releases: Vec<HeadRelease>,
    /// Shares.
    pub rollouts: Vec<Rollout>,
    /// Platforms (or `*`) that are offered nothing.
    pub halts: Vec<String>,
    /// Platform (or `*`) and build that must not be installed.
    pub bad_builds: Vec<(String, u64)>,
    /// Base URLs of mirrors.
    pub mirrors: Vec<String>,
}

impl Head {
    /// Parses the body of a head whose signatures have been verified.
    ///
    /// # Errors
    /// Any rule of the specification broken.
    pub fn parse(body: &[u8]) -> Result<Self, DocumentError> {
        const SINGLE: &[&str] = &["app", "channel", "sequence", "issued", "expires", "root"];
        let body = Body::parse(body, TYPE, SINGLE, &["release", "rollout", "halt", "bad", "mirror"])?;
        let releases: Result<Vec<_>, _> = body.all("release").map(head_release).collect();
        let rollouts: Result<Vec<_>, _> = body.all("rollout").map(rollout).collect();
        let halts: Result<Vec<_>, _> = body.all("halt").map(scope).collect();
        let bad_builds: Result<Vec<_>, DocumentError> =
            body.all("bad").map(|r| Ok((scope(r)?, r.number(1)?))).collect();
        let head = Self {
            app: body.one("app")?.word(0, "an app id", is_app_id)?,
            channel: body.one("channel")?.word(0, "a channel", is_token)?,
            sequence: body.one("sequence")?.number(0)?,
            issued: body.one("issued")?.time(0)?,
            expires: body.one("expires")?.time(0)?,
            root_version: body.one("root")?.number(0)?,
            releases: releases?,
            rollouts: rollouts?,
            halts: halts?,
            bad_builds: bad_builds?,
            mirrors: body.all("mirror").map(|r| r.text(0).to_owned()).collect(),
        };
        head.check()?;
        Ok(head)
    }

    fn check(&self) -> Result<(), DocumentError> {
        if self.issued > self.expires {
            return Err(DocumentError::Rule("a head expires before it is issued".into()));
        }
        let twice = |names: Vec<&str>| (1..names.len()).any(|i| names[..i].contains(&names[i]));
        if twice(self.releases.iter().map(|r| r.platform.as_str()).collect()) {
            return Err(DocumentError::Rule("a head offers two releases to one platform".into()));
        }
        if twice(self.rollouts.iter().map(|r| r.platform.as_str()).collect()) {
            return Err(DocumentError::Rule("a head has two rollouts for one platform".into()));
        }
        Ok(())
    }

    /// The body's bytes.
    pub fn to_body(&self) -> Vec<u8> {
        let mut out = BodyWriter::new(TYPE);
        out.push(&["app", &self.app]).push(&["channel", &self.channel]);
        out.push(&["sequence", &self.sequence.to_string()]);
        out.push(&["issued", &self.issued.to_string()]).push(&["expires", &self.expires.to_string()]);
        out.push(&["root", &self.root_version.to_string()]);
        for release in &self.releases {
            let (build, file) = (release.build.to_string(), release.file.cells());
            out.push(&["release", &release.platform, &build, &release.version, &file[0], &file[1]]);
        }
        for rollout in &self.rollouts {
            let points: Vec<String> = rollout.curve.iter().map(|(at, share)| format!("{at}:{share}")).collect();
            out.push(&["rollout", &rollout.platform, &rollout.start.to_string(), &rollout.salt, &points.join(" ")]);
        }
        for platform in &self.halts {
            out.push(&["halt", platform]);
        }
        for (platform, build) in &self.bad_builds {
            out.push(&["bad", platform, &build.to_string()]);
        }
        for mirror in &self.mirrors {
            out.push(&["mirror", mirror]);
        }
        out.finish()
    }

    /// What is offered to `platform`.
    pub fn release_for(&self, platform: &str) -> Option<&HeadRelease> {
        self.releases.iter().find(|r| r.platform == platform)
    }

    /// The rollout that governs `platform`: its own before that of all.
    pub fn rollout_for(&self, platform: &str) -> Option<&Rollout> {
        let named = |name: &str| self.rollouts.iter().find(|r| r.platform == name);
        named(platform).or_else(|| named("*"))
    }

    /// Whether `platform` is offered nothing.
    pub fn is_halted(&self, platform: &str) -> bool {
        self.halts.iter().any(|h| h == "*" || h == platform)
    }

    /// Whether `build` must not be installed on `platform`.
    pub fn is_bad(&self, platform: &str, build: u64) -> bool {
        self.bad_builds.iter().any(|(scope, bad)| *bad == build && (scope == "*" || scope == platform))
    }
}

fn scope(record: &Record) -> Result<String, DocumentError> {
    record.word(0, "a platform, or *", |text| text == "*" || is_token(text))
}

fn head_release(record: &Record) -> Result<HeadRelease, DocumentError> {
    Ok(HeadRelease {
        platform: record.word(0, "a platform", is_token)?,
        build: record.number(1)?,
        version: record.word(2, "a version", is_display_version)?,
        file: record.file(3)?,
    })
}

fn rollout(record: &Record) -> Result<Rollout, DocumentError> {
    let salt = record.word(2, "a salt of 1 to 64 letters and digits", |text| {
        (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric())
    })?;
    let curve = record.parse(3, "a curve such as 0:10 86400:1000, both growing", curve)?;
    Ok(Rollout { platform: scope(record)?, start: record.time(1)?, salt, curve })
}

fn curve(text: &str) -> Option<Vec<(u64, u64)>> {
    let point = |text: &str| {
        let (at, share) = text.split_once(':')?;
        Some((number(at)?, number(share).filter(|share| *share <= 1000)?))
    };
    let points: Vec<(u64, u64)> = text.split(' ').map(point).collect::<Option<_>>()?;
    let growing = points.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
    (growing && points.len() <= CURVE_POINTS_MAX).then_some(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        Head {
            app: "org.example.app".into(),
            channel: "stable".into(),
            sequence: 5,
            issued: Time::from_seconds(1000),
            expires: Time::from_seconds(2000),
            root_version: 1,
            releases: vec![HeadRelease {
                platform: "linux-x86_64".into(),
                build: 3,
                version: "3.0".into(),
                file: FileRef::of(b"release"),
            }],
            rollouts: vec![Rollout {
                platform: "*".into(),
                start: Time::from_seconds(1000),
                salt: "ab12".into(),
                curve: vec![(0, 10), (3600, 500), (7200, 1000)],
            }],
            halts: vec!["windows-x86_64".into()],
            bad_builds: vec![("*".into(), 2)],
            mirrors: vec!["https://mirror.example/app".into()],
        }
    }

    #[test]
    fn written_and_read_back() {
        let head = head();
        assert_eq!(Head::parse(&head.to_body()), Ok(head.clone()));
        assert!(head.is_halted("windows-x86_64") && !head.is_halted("linux-x86_64"));
        assert!(head.is_bad("linux-x86_64", 2) && !head.is_bad("linux-x86_64", 3));
    }

    #[test]
    fn a_rollout_follows_its_curve() {
        let rollout = &head().rollouts[0];
        let share = |after: i64| rollout.permille_at(Time::from_seconds(1000 + after));
        assert_eq!([-1, 0, 3599, 3600, 7200, 1 << 33].map(share), [0, 10, 10, 500, 1000, 1000]);
        let inside = (0..10_000u32)
            .filter(|i| {
                let mut secret = [0; 16];
                secret[..4].copy_from_slice(&i.to_le_bytes());
                rollout.bucket(&secret) < 500
            })
            .count();
        assert!((4_850..=5_150).contains(&inside), "{inside} of 10000");
    }

    /// Secrets of so many installs.
    fn secrets(installs: usize) -> Vec<[u8; 16]> {
        let mut stream = blake3::Hasher::new().update(b"installs").finalize_xof();
        let mut next = || {
            let mut secret = [0; 16];
            stream.fill(&mut secret);
            secret
        };
        (0..installs).map(|_| next()).collect()
    }

    #[test]
    fn shares_of_many_installs_are_as_asked_and_only_grow() {
        const INSTALLS: usize = 100_000;
        const SHARES: [u64; 5] = [0, 10, 100, 500, 1000];
        let secrets = secrets(INSTALLS);
        let hour = |n: usize| u64::try_from(n).unwrap_or_default() * 3600;
        let rollout = |salt: &str| Rollout {
            platform: "*".into(),
            start: Time::from_seconds(0),
            salt: salt.into(),
            curve: SHARES.iter().enumerate().map(|(n, share)| (hour(n), *share)).collect(),
        };
        let mut first_tenths = Vec::new();
        for release in ["one", "two"].map(rollout) {
            let buckets: Vec<u64> = secrets.iter().map(|secret| release.bucket(secret)).collect();
            assert!(buckets.iter().all(|bucket| *bucket < 1000));
            let mut before = vec![false; INSTALLS];
            for (n, share) in SHARES.into_iter().enumerate() {
                let time = Time::from_seconds(i64::try_from(hour(n)).unwrap_or_default());
                let permille = release.permille_at(time);
                assert_eq!(permille, share);
                let takes_part: Vec<bool> = buckets.iter().map(|bucket| *bucket < permille).collect();
                assert!(before.iter().zip(&takes_part).all(|(was, is)| !was || *is), "who takes part goes on to");
                let found = takes_part.iter().filter(|t| **t).count();
                let wanted = INSTALLS * usize::try_from(share).unwrap_or_default() / 1000;
                assert!(found.abs_diff(wanted) <= INSTALLS * 5 / 1000, "{found} of {INSTALLS} at {share} permille");
                for (bucket, is) in buckets.iter().zip(&takes_part) {
                    assert_eq!(release.reaches(*bucket).is_some_and(|from| from <= time), *is);
                }
                if share == 100 {
                    first_tenths.push(takes_part.clone());
                }
                before = takes_part;
            }
        }
        // Nobody is among the first every time: of two tenths, a hundredth is in both.
        let both = first_tenths[0].iter().zip(&first_tenths[1]).filter(|(a, b)| **a && **b).count();
        assert!(both.abs_diff(INSTALLS / 100) <= INSTALLS / 500, "{both} of {INSTALLS}");
    }

    #[test]
    fn rules_hold() {
        let broken = |change: fn(&mut Head)| {
            let mut head = head();
            change(&mut head);
            Head::parse(&head.to_body()).is_err()
        };
        assert!(broken(|h| h.expires = h.issued.plus(-1)));
        assert!(broken(|h| h.releases.push(h.releases[0].clone())));
        assert!(broken(|h| h.rollouts.push(h.rollouts[0].clone())));
        assert!(broken(|h| h.rollouts[0].curve = vec![(0, 1001)]));
        assert!(broken(|h| h.rollouts[0].curve = vec![(5, 10), (5, 20)]));
        assert!(broken(|h| h.rollouts[0].curve = vec![(0, 20), (5, 10)]));
        assert!(broken(|h| h.rollouts[0].salt = "a b".into()));
        assert!(broken(|h| h.halts[0] = "Windows".into()));
        assert!(broken(|h| h.channel = String::new()));
    }
}
