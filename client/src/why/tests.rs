//! Every rule has a code, numbers, and something to do where there is something.

use super::*;
use crate::download::DownloadError;
use crate::format::document::FileRef;
use crate::format::head::HeadRelease;
use crate::format::signed::SignedError;

fn head() -> Head {
    let file = FileRef::of(b"release");
    Head {
        app: "app".into(),
        channel: "stable".into(),
        sequence: 12,
        issued: Time::from_seconds(1000),
        expires: Time::from_seconds(2000),
        root_version: 1,
        releases: vec![HeadRelease { platform: "linux-x86_64".into(), build: 9, version: "1.4".into(), file }],
        rollouts: Vec::new(),
        halts: Vec::new(),
        bad_builds: vec![("*".into(), 7)],
        mirrors: Vec::new(),
    }
}

fn why(ended: Ended) -> Why {
    let head = head();
    let known = Known {
        channel: "stable",
        platform: "linux-x86_64",
        installed: Some((7, "1.2")),
        head: Some(&head),
        clock: Time::from_seconds(1500),
    };
    explain(&known, &ended)
}

#[track_caller]
fn expect(ended: Ended, code: &str, words: &[&str]) {
    let why = why(ended);
    assert_eq!(why.code, code);
    assert!(!why.text.contains('\n') && why.text.ends_with('.'), "{}", why.text);
    for word in words {
        assert!(why.text.contains(word), "expected {word:?} in: {}", why.text);
    }
    assert!(why.advice.is_none_or(|advice| why.text.ends_with(advice)), "{}", why.text);
}

#[test]
fn the_paragraph_begins_with_what_is_known() {
    expect(
        Ended::Idle(Idle::UpToDate),
        "up_to_date",
        &[
            "Build 7 (1.2) is installed, from channel stable.",
            "sequence 12, issued 1970-01-01T00:16:40Z, good until 1970-01-01T00:33:20Z",
            "offers build 9 (1.4) to linux-x86_64",
            "marked build 7, the installed one, as bad",
        ],
    );
    let known = Known { channel: "beta", platform: "p", installed: None, head: None, clock: Time::from_seconds(0) };
    let text = explain(&known, &Ended::Idle(Idle::NoReleaseForPlatform)).text;
    assert!(text.starts_with("Nothing is recorded as installed from channel beta. There is no release"), "{text}");
}

#[test]
fn every_rule_is_named_with_its_numbers() {
    let at = Time::from_seconds;
    expect(Ended::Offered(9, "1.4".into()), "available", &["Build 9 (1.4) is newer"]);
    expect(Ended::Idle(Idle::NoReleaseForPlatform), "no_release", &["Compare the platform"]);
    expect(Ended::Idle(Idle::BelowFloor { offered: 5, floor: 8 }), "below_floor", &["Build 5 is below 8"]);
    expect(Ended::Idle(Idle::Halted), "halted", &["halted the channel"]);
    expect(Ended::Idle(Idle::BadBuild(9)), "bad_build", &["marked build 9 as bad", "waits for a newer"]);
    expect(Ended::Idle(Idle::Held(5)), "held", &["holds build 5", "hold --off"]);
    expect(Ended::Idle(Idle::FailedHere(9)), "failed_here", &["Build 9 was installed here and taken back"]);
    let waits = |from| Idle::NotYetRolledOut { bucket: 431, permille: 100, from };
    let words = ["reached 100 of 1000", "has number 431", "reaches 432, at 1970-01-02T00:00:00Z"];
    expect(Ended::Idle(waits(Some(at(86_400)))), "not_yet", &words);
    expect(Ended::Idle(waits(None)), "not_yet", &["number 431", "no date yet"]);
    expect(
        Ended::Idle(Idle::Stale { since: at(1400) }),
        "stale",
        &["expired at 1970-01-01T00:23:20Z", "says 1970-01-01T00:25:00Z"],
    );
    expect(Ended::Idle(Idle::RootExpired { since: at(1400) }), "root_expired", &["root of trust", "newer root"]);
}

#[test]
fn errors_keep_their_codes_and_say_what_to_do() {
    let refused = |refusal| Ended::Failed(Error::Refused(refusal));
    let not_ours = Refusal::NotOurs { document: "head", source: SignedError::NotSigned };
    expect(refused(not_ours), "E_NOT_OURS", &["failed: the head is not a Lamplighter document", "browser"]);
    expect(refused(Refusal::OlderHead { found: 3, known: 5 }), "E_OLDER_HEAD", &["sequence 3", "harmless", "behind"]);
    expect(refused(Refusal::BelowMinimum { installed: 7, minimum: 8 }), "E_BELOW_MINIMUM", &["minimum 8", "afresh"]);
    expect(refused(Refusal::Equivocation { sequence: 5 }), "E_EQUIVOCATION", &["Tell the publisher"]);
    let unsigned = Refusal::Unsigned { document: "head", needed: 2, found: 1 };
    expect(refused(unsigned), "E_SIGNATURE", &["signed by 2", "found 1", "alters files"]);
    let unreachable = Error::Download(DownloadError::NoSource { name: "channels/stable.head".into() });
    expect(Ended::Failed(unreachable), "E_NETWORK", &["channels/stable.head", "try again later"]);
}
