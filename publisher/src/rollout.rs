//! How a release reaches its users by and by: the shares a person writes down, and the curve a head carries.
//!
//! # Specification
//!
//! `SHARE [after TIME]`, separated by commas, both growing: `1%, 10% after 1d, 50% after 36h, 100% after 3d`.
//!
//! * `SHARE` is a percentage with at most one decimal: what heads carry is permille.
//! * `TIME` is a number and `m`, `h`, `d` or `w`, counted from the moment the release is offered. Without it the share holds at
//!   once, which only the first may.
//! * The form heads carry is taken too: `0:10 86400:100`, seconds and permille
//!   ([`lamplighter_client::format::head`]).
//! * `100%` alone means everybody at once: no rollout.
//! * At most 32 steps, and none after ten years.

use std::fmt;

use lamplighter_client::format::digest::Blake3;
use lamplighter_client::format::head::{HeadRelease, Rollout};
use lamplighter_client::format::text::{Time, number};

const POINTS_MAX: usize = 32;
const SECONDS_MAX: u64 = 3650 * 86_400;
const EVERYBODY: u64 = 1000;

/// Shares of installs over time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Curve {
    /// Seconds and permille, both growing.
    points: Vec<(u64, u64)>,
}

impl Curve {
    /// Reads what a person wrote; none where it is not of that form.
    pub fn parse(text: &str) -> Option<Self> {
        let points: Vec<(u64, u64)> = if text.contains(':') {
            text.split_ascii_whitespace().map(raw_point).collect::<Option<_>>()?
        } else {
            let steps = text.split(',').map(str::trim).enumerate();
            steps.map(|(index, step)| point(step, index == 0)).collect::<Option<_>>()?
        };
        let growing = points.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
        let within = points.iter().all(|(after, share)| *after <= SECONDS_MAX && *share <= EVERYBODY);
        (growing && within && (1..=POINTS_MAX).contains(&points.len())).then_some(Self { points })
    }

    /// Whether everybody takes part from the beginning.
    pub fn is_everybody(&self) -> bool {
        self.points.first().is_some_and(|point| *point == (0, EVERYBODY))
    }

    /// Whether everybody takes part in the end.
    pub fn reaches_everybody(&self) -> bool {
        self.points.last().is_some_and(|point| point.1 == EVERYBODY)
    }

    /// The row a head carries for `release` from `start` on; none where everybody takes part at once.
    pub fn rollout(&self, release: &HeadRelease, start: Time) -> Option<Rollout> {
        let (platform, curve) = (release.platform.clone(), self.points.clone());
        (!self.is_everybody()).then(|| Rollout { platform, start, salt: salt(release), curve })
    }

    /// Whether `rollout` is this curve for `release`, whenever it began.
    pub fn is_that_of(&self, rollout: &Rollout, release: &HeadRelease) -> bool {
        rollout.platform == release.platform && rollout.salt == salt(release) && rollout.curve == self.points
    }
}

/// Makes the first users of one release others than those of the next: from its digest, so that equal input gives equal heads.
fn salt(release: &HeadRelease) -> String {
    Blake3::of(format!("lamplighter rollout {}", release.file.blake3).as_bytes()).to_string()[..16].to_owned()
}

fn raw_point(text: &str) -> Option<(u64, u64)> {
    let (after, share) = text.split_once(':')?;
    Some((number(after)?, number(share)?))
}

fn point(text: &str, first: bool) -> Option<(u64, u64)> {
    match text.split_once(" after ") {
        Some((share, time)) => Some((seconds(time.trim())?, permille(share.trim())?)),
        None => Some((0, permille(text)?)).filter(|_| first),
    }
}

fn permille(text: &str) -> Option<u64> {
    let (whole, tenth) = text.strip_suffix('%')?.split_once('.').unwrap_or((text.strip_suffix('%')?, "0"));
    let tenth = number(tenth).filter(|tenth| *tenth < 10)?;
    number(whole).filter(|whole| *whole <= 100).map(|whole| whole * 10 + tenth)
}

fn seconds(text: &str) -> Option<u64> {
    let (count, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit_seconds = match unit {
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return None,
    };
    number(count.trim()).and_then(|count| count.checked_mul(unit_seconds))
}

impl fmt::Display for Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (after, share)) in self.points.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{}", Percent(*share))?;
            match *after {
                0 => {}
                s if s % 86_400 == 0 => write!(f, " after {}d", s / 86_400)?,
                s if s % 3600 == 0 => write!(f, " after {}h", s / 3600)?,
                s if s % 60 == 0 => write!(f, " after {}m", s / 60)?,
                s => write!(f, " after {s} seconds")?,
            }
        }
        Ok(())
    }
}

/// Permille, shown in percent.
struct Percent(u64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 % 10 {
            0 => write!(f, "{}%", self.0 / 10),
            tenth => write!(f, "{}.{tenth}%", self.0 / 10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamplighter_client::format::document::FileRef;

    fn points(text: &str) -> Option<Vec<(u64, u64)>> {
        Curve::parse(text).map(|curve| curve.points)
    }

    #[test]
    fn people_write_shares_and_times() {
        let expected = vec![(0, 10), (86_400, 100), (129_600, 505), (604_800, 1000)];
        assert_eq!(points("1%, 10% after 1d,50.5% after 36h, 100% after 1w"), Some(expected.clone()));
        assert_eq!(points("0:10 86400:100 129600:505 604800:1000"), Some(expected));
        assert_eq!(points("5% after 30m"), Some(vec![(1800, 50)]));
        assert_eq!(points("0%"), Some(vec![(0, 0)]));
        assert!(Curve::parse("100%").is_some_and(|curve| curve.is_everybody() && curve.reaches_everybody()));
        assert!(Curve::parse("10%").is_some_and(|curve| !curve.is_everybody() && !curve.reaches_everybody()));
    }

    #[test]
    fn what_is_no_growing_curve_is_refused() {
        for text in [
            "",
            "1",
            "%",
            "101%",
            "100.1%",
            "1.05%",
            "-1%",
            "1%, 10%",
            "10%, 1% after 1d",
            "1% after 1d, 2% after 1d",
            "1% after 1",
            "1% after d",
            "1% after 1y",
            "1% after 99999999d",
            "1%,",
            "0:1001",
            "5:1 5:2",
            "0:2 5:1",
            "0:1,5:2",
            "a:b",
            "1% ,, 2% after 1d",
        ] {
            assert_eq!(points(text), None, "{text:?}");
        }
        let many = (0..33).map(|n| format!("{n}:{n}")).collect::<Vec<_>>().join(" ");
        assert_eq!((points(&many), points(&many[..many.len() - 6]).is_some()), (None, true));
    }

    #[test]
    fn what_is_shown_means_the_same() {
        for text in ["1%, 10% after 1d, 50.5% after 36h, 100% after 90m", "0.1%, 100% after 5m", "100%"] {
            let Some(curve) = Curve::parse(text) else { continue };
            assert_eq!(curve.to_string(), text);
        }
        assert_eq!(Curve::parse("1:5").map(|c| c.to_string()), Some("0.5% after 1 seconds".to_owned()));
    }

    #[test]
    fn every_release_and_platform_has_a_salt_of_its_own() {
        let release = |platform: &str, content: &[u8]| HeadRelease {
            platform: platform.to_owned(),
            build: 1,
            version: "1".to_owned(),
            file: FileRef::of(content),
        };
        let start = Time::from_seconds(5);
        let curve = Curve::parse("1%").expect("a curve");
        let rollout = |r: &HeadRelease| curve.rollout(r, start).expect("not everybody");
        let (one, two) = (rollout(&release("a", b"1")), rollout(&release("a", b"2")));
        assert_eq!(one, rollout(&release("a", b"1")));
        assert_ne!(one.salt, two.salt);
        assert!(curve.is_that_of(&one, &release("a", b"1")) && !curve.is_that_of(&one, &release("a", b"2")));
        assert_eq!(Curve::parse("100%").and_then(|c| c.rollout(&release("a", b"1"), start)), None);
    }
}
