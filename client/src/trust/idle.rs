//! Why nothing is to be installed: stable names and sentences for people.

use std::fmt;

use super::Idle;

impl Idle {
    /// Whether it says nothing against the build that was on offer before, which may be again.
    pub(crate) fn leaves_offer(&self) -> bool {
        matches!(self, Self::NotYetRolledOut { .. } | Self::Stale { .. } | Self::RootExpired { .. })
    }

    /// Stable name of the reason.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UpToDate => "up_to_date",
            Self::NoReleaseForPlatform => "no_release",
            Self::BelowFloor { .. } => "below_floor",
            Self::Halted => "halted",
            Self::BadBuild(_) => "bad_build",
            Self::FailedHere(_) => "failed_here",
            Self::Held(_) => "held",
            Self::NotYetRolledOut { .. } => "not_yet",
            Self::Stale { .. } => "stale",
            Self::RootExpired { .. } => "root_expired",
        }
    }
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UpToDate => write!(f, "the newest release is installed"),
            Self::NoReleaseForPlatform => write!(f, "the channel has no release for this platform"),
            Self::BelowFloor { offered, floor } => {
                write!(f, "the channel offers build {offered}, below {floor}; it waits for a newer one")
            }
            Self::Halted => write!(f, "the publisher has halted this channel"),
            Self::BadBuild(build) => write!(f, "the publisher has marked build {build} as bad"),
            Self::FailedHere(build) => {
                write!(f, "build {build} was taken back on this machine; it waits for a newer one")
            }
            Self::Held(build) => write!(f, "build {build} is held here; `client hold --off` lets go of it"),
            Self::NotYetRolledOut { bucket, permille, .. } => {
                write!(f, "this install is number {bucket} of 1000 in the roll-out, which has reached {permille}")
            }
            Self::Stale { since } => {
                write!(f, "what the site says has expired at {since}; the app still runs, and nothing is updated")
            }
            Self::RootExpired { since } => {
                write!(f, "the newest known root has expired at {since}; the app still runs")
            }
        }
    }
}
