//! Why a tree is updated or not, in one paragraph: which rule decided, by which numbers, and what may be done.
//!
//! Pure: what is known goes in, words come out.

use crate::error::{Class, Error};
use crate::format::head::Head;
use crate::format::text::Time;
use crate::trust::{Idle, Refusal};

/// How asking ended.
#[derive(Debug)]
pub enum Ended {
    /// This build is on offer and would be installed.
    Offered(u64, String),
    /// Nothing is to be installed.
    Idle(Idle),
    /// The site could not be asked, or is not to be trusted.
    Failed(Error),
}

impl Ended {
    /// Stable name of the rule that decided: `available`, [`Idle::code`] or [`Error::code`].
    pub fn code(&self) -> &'static str {
        match self {
            Self::Offered(..) => "available",
            Self::Idle(idle) => idle.code(),
            Self::Failed(error) => error.code(),
        }
    }

    /// Whether it is not known what the channel offers.
    pub fn is_failed(&self) -> bool {
        matches!(self, Self::Failed(_))
    }
}

/// What is known when the question is asked.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Channel followed.
    pub channel: &'a str,
    /// Platform of the tree.
    pub platform: &'a str,
    /// Build and version installed.
    pub installed: Option<(u64, &'a str)>,
    /// The head, if one was accepted, stale or not.
    pub head: Option<&'a Head>,
    /// The machine's clock.
    pub clock: Time,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// [`Ended::code`].
    pub code: &'static str,
    /// The paragraph.
    pub text: String,
    /// What may be done; part of the paragraph.
    pub advice: Option<&'static str>,
}

/// Explains how asking ended.
pub fn explain(known: &Known<'_>, ended: &Ended) -> Why {
    let (decision, advice) = match ended {
        Ended::Offered(build, version) => {
            let text = format!("Build {build} ({version}) is newer, and nothing holds it back here.");
            (text, Some("An update installs it."))
        }
        Ended::Idle(idle) => (decided(idle, known.clock), advice_idle(idle)),
        Ended::Failed(error) => {
            (format!("Asking the site failed: {}.", error.to_string().trim_end_matches('.')), advice(error))
        }
    };
    let mut parts = vec![installed(known)];
    parts.extend(known.head.map(|head| says(head, known.platform)));
    parts.extend(is_bad(known));
    parts.push(decision);
    parts.extend(advice.map(str::to_owned));
    Why { code: ended.code(), text: parts.join(" "), advice }
}

fn installed(known: &Known<'_>) -> String {
    match known.installed {
        Some((build, version)) => format!("Build {build} ({version}) is installed, from channel {}.", known.channel),
        None => format!("Nothing is recorded as installed from channel {}.", known.channel),
    }
}

fn says(head: &Head, platform: &str) -> String {
    let offered = match head.release_for(platform) {
        Some(offered) => format!("offers build {} ({})", offered.build, offered.version),
        None => "offers nothing".to_owned(),
    };
    let (sequence, issued, expires) = (head.sequence, head.issued, head.expires);
    format!("The channel's head (sequence {sequence}, issued {issued}, good until {expires}) {offered} to {platform}.")
}

fn is_bad(known: &Known<'_>) -> Option<String> {
    let ((build, _), head) = known.installed.zip(known.head)?;
    head.is_bad(known.platform, build)
        .then(|| format!("The publisher has marked build {build}, the installed one, as bad."))
}

fn decided(idle: &Idle, clock: Time) -> String {
    match idle {
        Idle::UpToDate => "That is what is installed.".to_owned(),
        Idle::NoReleaseForPlatform => "There is no release for this platform.".to_owned(),
        Idle::BelowFloor { offered, floor } => format!(
            "Build {offered} is below {floor}, the lowest that is accepted here: a build as high was installed or offered before, and \
             nothing ever goes back to a lower one."
        ),
        Idle::Halted => "The publisher has halted the channel: it offers nothing until it is resumed.".to_owned(),
        Idle::BadBuild(build) => format!("The publisher has marked build {build} as bad: it is not installed."),
        Idle::FailedHere(build) => {
            format!("Build {build} was installed here and taken back, since it did not work or somebody asked for it.")
        }
        Idle::Held(build) => format!("Somebody here holds build {build}: no other is installed until it is let go of."),
        Idle::NotYetRolledOut { bucket, permille, from } => {
            let when = match from {
                Some(from) => format!("takes part when it reaches {}, at {from}", bucket + 1),
                None => "has no date yet".to_owned(),
            };
            format!(
                "The release is rolled out step by step and has reached {permille} of 1000 installs; this one has number {bucket} \
                 (drawn here, and told nobody), and {when}."
            )
        }
        Idle::Stale { since } => format!(
            "What the site says expired at {since}, and the clock of this machine says {clock}; so nothing can be said to be new. The app \
             that is installed still runs."
        ),
        Idle::RootExpired { since } => format!(
            "The newest root of trust that is known here expired at {since}, and the clock of this machine says {clock}. The app that is \
             installed still runs."
        ),
    }
}

fn advice_idle(idle: &Idle) -> Option<&'static str> {
    match idle {
        Idle::UpToDate => None,
        Idle::NoReleaseForPlatform => Some("Compare the platform and the channel with the publisher's."),
        Idle::BelowFloor { .. } | Idle::BadBuild(_) | Idle::FailedHere(_) => Some("It waits for a newer build."),
        Idle::Held(_) => Some("`client hold --off` lets go of it."),
        Idle::Halted | Idle::NotYetRolledOut { .. } => Some("There is nothing to do here."),
        Idle::Stale { .. } => Some(
            "If the clock is right, the publisher's job that signs heads again has stopped, or an old copy is being shown.",
        ),
        Idle::RootExpired { .. } => Some("If the clock is right, the publisher must sign a newer root."),
    }
}

/// What may be done about an error, in one sentence.
pub fn advice(error: &Error) -> Option<&'static str> {
    match error {
        Error::Refused(refusal) => Some(advice_refusal(refusal)),
        Error::Notes { .. } => None,
        _ => match error.class() {
            Class::Network => Some("The app still runs; try again later."),
            Class::NotTrusted => {
                Some("If this persists, the site or the network alters files; nothing was changed here.")
            }
            Class::Damaged => Some("Heal the tree, or adopt it again."),
            Class::Locked => Some("Wait until the other updater has ended; its lock ends with it."),
            Class::TooOld => Some("The app still runs; download it afresh."),
            _ => None,
        },
    }
}

fn advice_refusal(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::NotOurs { .. } => {
            "Open the site's address in a browser; a network that asks for a login answers in its place."
        }
        Refusal::Wrong { .. } => "Compare app, channel and platform with the publisher's.",
        Refusal::OlderHead { .. } => {
            "Nothing is wrong here; a cache on the way is behind, and a later try finds the newer one."
        }
        Refusal::Equivocation { .. } => "Tell the publisher: somebody else may hold the channel's key.",
        Refusal::TooOld { .. } | Refusal::BelowMinimum { .. } => "The app still runs; download it afresh.",
        Refusal::ReleaseDigest { .. } => "The site may be changing just now; try again in a while.",
        Refusal::Document { .. } | Refusal::RootVersion { .. } | Refusal::RootChain => {
            "Tell the publisher: what is signed there breaks the rules."
        }
        Refusal::Malformed { .. } | Refusal::Unsigned { .. } | Refusal::RootUnsigned { .. } => {
            "If this persists, the site or the network alters files; nothing was changed here."
        }
    }
}

#[cfg(test)]
mod tests;
