//! The cases of theupdateframework/tuf-conformance that have a meaning here, by meaning. Each test says which it mirrors.
//!
//! Their timestamp is our head, their targets our release, their refresh one visit to a site. What lies between, their
//! snapshot, does not exist here: a head names its release by length and digest. Cases of file downloads need trees and
//! are in the publisher's `conformance` tests.
//!
//! # Meant to end differently
//!
//! | case | there | here |
//! | --- | --- | --- |
//! | `test_timestamp_content_changes` | the one at hand is used on | two bodies with one sequence are refused |
//! | `test_snapshot_has_too_few_keys` | the root is accepted | a root with a threshold out of reach is refused |
//! | `test_duplicate_sig_keyids` | the document is refused | the signature counts once, and enough others may stand beside it |
//! | `test_unsigned_metadata`, `test_root_expired` and others that look at what is stored | what was verified before the fault is kept | nothing is kept of a visit that does not end well |
//!
//! # Without a meaning here
//!
//! | case | why |
//! | --- | --- |
//! | `test_implicit_refresh` | there is no call that fetches a file without the head |
//! | `test_unsigned_metadata[snapshot]`, `test_url_and_metadata_version_mismatch[snapshot]`, `test_snapshot_hash_mismatch`, `test_snapshot_404`, `test_snapshot_expired`, `test_snapshot_rollback`, `test_new_snapshot_fast_forward_recovery` | no snapshot; the same faults of head and release are here |
//! | `test_targets_expired` | a release does not expire: the head that offers it does |
//! | `test_targets_role_removal` | a head may stop offering a platform: nothing is installed then |
//! | `test_keytype_and_scheme[rsa, ecdsa]` | Ed25519 alone |
//! | `test_download_with_hash_algorithms` | BLAKE3 alone |
//! | `test_graph_traversal`, `test_targetfile_search` | no delegations and no search by path |
//! | `test_static_repository` | about the formats of their repositories; ours are in `fixtures/sites` |
//! | `self_tests` | about their own tools |

use lamplighter_client::format::digest::Blake3;
use lamplighter_client::format::document::FileRef;
use lamplighter_client::format::head::{Head, HeadRelease};
use lamplighter_client::format::release::Release;
use lamplighter_client::format::root::{ChannelKey, Role, Root};
use lamplighter_client::format::text::Time;
use lamplighter_client::trust::{
    Documents, Facts, Goal, Idle, Installed, Judgement, Need, Pin, Refusal, TrustState, Verdict, judge,
};

use documents::{PLATFORM, plain_head, plain_release};
use keys::{Key, publics, signed};

#[path = "support/documents.rs"]
mod documents;
#[path = "support/keys.rs"]
mod keys;
#[path = "conformance/rotations.rs"]
mod rotations;

const NOW: i64 = 1_800_000_000;
const DAY: i64 = 86_400;
const ROOT: u8 = 1;
const RELEASE: u8 = 2;
const CHANNEL: u8 = 3;

/// A site and a client of it.
struct World {
    pin: Pin,
    state: TrustState,
    clock: i64,
    roots: Vec<Vec<u8>>,
    head: Option<Vec<u8>>,
    release: Option<Vec<u8>>,
}

fn role(threshold: u64, seeds: &[u8]) -> Role {
    Role { threshold, keys: publics(seeds) }
}

fn root(version: u64) -> Root {
    Root {
        app: "org.example.app".into(),
        version,
        issued: Time::from_seconds(NOW - 30 * DAY),
        expires: Time::from_seconds(NOW + 1000 * DAY),
        root: role(1, &[ROOT]),
        release: role(1, &[RELEASE]),
        channel_threshold: 1,
        channel: vec![ChannelKey { key: Key::new(CHANNEL).public(), channel: "*".into() }],
    }
}

fn bound(seeds: &[u8], channel: &str) -> Vec<ChannelKey> {
    publics(seeds).into_iter().map(|key| ChannelKey { key, channel: channel.into() }).collect()
}

fn release(build: u64) -> Release {
    plain_release(build, Time::from_seconds(NOW), FileRef::of(&build.to_le_bytes()))
}

fn head(sequence: u64, build: u64, release: &[u8]) -> Head {
    let (platform, version) = (PLATFORM.into(), build.to_string());
    let offered = HeadRelease { platform, build, version, file: FileRef::of(release) };
    Head { releases: vec![offered], ..plain_head(sequence, Time::from_seconds(NOW)) }
}

impl World {
    /// Head 1 offers build 1; nothing is installed and nothing remembered.
    fn new() -> Self {
        let mut world = Self {
            pin: Pin {
                app: "org.example.app".into(),
                platform: "linux-x86_64".into(),
                root: signed(root(1).to_body(), &[ROOT]),
                floor_build: 0,
                built: Time::from_seconds(NOW - 30 * DAY),
            },
            state: TrustState::default(),
            clock: NOW + 60,
            roots: Vec::new(),
            head: None,
            release: None,
        };
        world.publish(1, 1);
        world
    }

    fn publish(&mut self, sequence: u64, build: u64) {
        self.publish_as(sequence, build, &[CHANNEL], &[RELEASE], |_| ());
    }

    fn publish_as(
        &mut self,
        sequence: u64,
        build: u64,
        channel: &[u8],
        by_release: &[u8],
        change: impl FnOnce(&mut Head),
    ) {
        let release = signed(release(build).to_body(), by_release);
        let mut head = head(sequence, build, &release);
        change(&mut head);
        self.head = Some(signed(head.to_body(), channel));
        self.release = Some(release);
    }

    /// One more root, which the next heads name.
    fn rotate(&mut self, change: impl FnOnce(&mut Root), signers: &[u8]) {
        let mut next = root(self.roots.len() as u64 + 2);
        change(&mut next);
        self.roots.push(signed(next.to_body(), signers));
    }

    /// One visit: the outcome and what was asked for, in order.
    fn look(&self) -> (Result<Judgement, Refusal>, Vec<Need>) {
        let facts = Facts {
            pin: &self.pin,
            state: &self.state,
            channel: "stable",
            installed: None::<Installed>,
            clock: Time::from_seconds(self.clock),
            goal: Goal::Update,
        };
        let (mut documents, mut asked) = (Documents::default(), Vec::new());
        loop {
            let judged = judge(&facts, &documents);
            let Ok(Judgement { verdict: Verdict::Need(need), .. }) = &judged else { return (judged, asked) };
            asked.push(need.clone());
            match need {
                Need::Head if self.head.is_some() => documents.head.clone_from(&self.head),
                Need::Release { .. } if self.release.is_some() => documents.release.clone_from(&self.release),
                Need::Root(version) => match self.roots.get(*version as usize - 2) {
                    Some(root) => documents.roots.push(root.clone()),
                    None => documents.roots_ended = true,
                },
                // Not there: the client ends with an error, and with what it had.
                _ => return (judged, asked),
            }
        }
    }

    /// A visit that must end well: its build. The client remembers it.
    fn accepts(&mut self) -> u64 {
        let judgement = self.look().0.expect("accepted");
        self.state = judgement.state.expect("a state to keep");
        let Verdict::Offer(offer) = judgement.verdict else { panic!("no offer: {:?}", judgement.verdict) };
        offer.release.build
    }

    fn refuses(&self) -> &'static str {
        self.look().0.expect_err("refused").code()
    }

    /// A visit after which nothing is installed, and nothing remembered.
    fn idles(&self) -> Idle {
        let judgement = self.look().0.expect("no refusal");
        let Verdict::Idle(idle) = judgement.verdict else { panic!("not idle: {:?}", judgement.verdict) };
        assert_eq!(judgement.state.filter(|_| !matches!(idle, Idle::BelowFloor { .. })), None);
        idle
    }

    fn sequence(&self) -> u64 {
        self.state.channels["stable"].sequence
    }
}

/// Mirrors `test_basic_refresh_requests` and `test_delegation_not_in_snapshot`: what no head names is not asked for.
#[test]
fn a_visit_asks_for_the_head_and_for_what_it_names() {
    let world = World::new();
    let asked = world.look().1;
    let release = world.release.as_deref().expect("a release");
    assert_eq!(asked, [Need::Head, Need::Release { build: 1, file: FileRef::of(release) }]);
}

/// Mirrors `test_basic_refresh_trusted_data`, `test_metadata_bytes_match` and `test_basic_metadata_hash_support`.
#[test]
fn what_is_remembered_is_what_was_served_byte_for_byte() {
    let mut world = World::new();
    let mut body = String::from_utf8(root(2).to_body()).expect("text");
    body = body.replace("end\n", "unheard-of,\"a, b\",c\nend\n");
    world.roots.push(signed(body.into_bytes(), &[ROOT]));
    world.publish_as(3, 7, &[CHANNEL], &[RELEASE], |head| head.root_version = 2);
    let judgement = world.look().0.expect("accepted");
    let Verdict::Offer(offer) = &judgement.verdict else { panic!("no offer") };
    assert_eq!(Some(&offer.bytes), world.release.as_ref());
    let state = judgement.state.expect("a state");
    assert_eq!(state.roots, world.roots);
    let known = &state.channels["stable"];
    assert_eq!((known.sequence, known.highest_build, known.root_version), (3, 7, 2));
}

/// Mirrors `test_invalid_initial_root` and `test_unsigned_initial_root`.
#[test]
fn a_broken_pinned_root_is_refused_before_anything_is_asked_for() {
    let body = String::from_utf8(root(1).to_body()).expect("text");
    let without_version = body.replace("version,1\n", "").into_bytes();
    for (root, code) in [
        (signed(without_version, &[ROOT]), "E_DOCUMENT"),
        (signed(body.clone().into_bytes(), &[9]), "E_ROOT_SIGNATURE"),
    ] {
        let mut world = World::new();
        world.pin.root = root;
        let (judged, asked) = world.look();
        assert_eq!((judged.expect_err("refused").code(), asked), (code, vec![]));
    }
}

/// Mirrors `test_unsigned_metadata[root]`, `[timestamp]` and `[targets]`.
#[test]
fn an_unsigned_document_is_refused_and_nothing_of_the_visit_is_kept() {
    let named = |head: &mut Head| head.root_version = 2;
    let mut world = World::new();
    world.rotate(|_| (), &[9]);
    world.publish_as(2, 2, &[CHANNEL], &[RELEASE], named);
    assert_eq!(world.refuses(), "E_ROOT_SIGNATURE");
    for (channel, by_release) in [(9, RELEASE), (CHANNEL, 9)] {
        let mut world = World::new();
        world.rotate(|_| (), &[ROOT]);
        world.publish_as(2, 2, &[channel], &[by_release], named);
        assert_eq!(world.refuses(), "E_SIGNATURE");
    }
}

/// Mirrors `test_url_and_metadata_version_mismatch[root]` and `[targets]`.
#[test]
fn a_document_with_another_number_than_its_name_is_refused() {
    let mut world = World::new();
    world.rotate(|root| root.version = 3, &[ROOT]);
    world.publish_as(2, 2, &[CHANNEL], &[RELEASE], |head| head.root_version = 3);
    assert_eq!(world.refuses(), "E_ROOT_VERSION");
    let mut world = World::new();
    world.publish_as(2, 3, &[CHANNEL], &[RELEASE], |head| head.releases[0].build = 2);
    assert_eq!(world.refuses(), "E_WRONG_RELEASE");
}

/// Mirrors `test_timestamp_content_changes`; here it is a refusal.
#[test]
fn a_head_that_changes_under_its_number_is_refused() {
    let mut world = World::new();
    world.accepts();
    world.publish(1, 100);
    assert_eq!(world.refuses(), "E_EQUIVOCATION");
    assert_eq!(world.sequence(), 1);
}

/// Mirrors `test_targets_hash_mismatch`.
#[test]
fn a_release_other_than_the_one_named_is_refused() {
    let mut world = World::new();
    world.accepts();
    world.publish(2, 2);
    let right = world.release.replace(signed(release(2).to_body(), &[RELEASE, RELEASE]));
    assert_eq!(world.refuses(), "E_RELEASE_DIGEST");
    world.release = right;
    assert_eq!(world.accepts(), 2);
}

/// Mirrors `test_custom_fields` and `test_deprecated_keyid_hash_algorithms`.
#[test]
fn fields_nobody_knows_change_nothing() {
    let mut world = World::new();
    world.accepts();
    let mut next = root(2);
    next.release = role(1, &[20]);
    let key = Key::new(20).public().to_base64();
    let body = String::from_utf8(next.to_body()).expect("text");
    let body = body.replace(&key, &format!("{key},md5")).replace("end\n", "custom-field,value\nend\n");
    world.roots.push(signed(body.into_bytes(), &[ROOT]));
    world.publish_as(2, 2, &[CHANNEL], &[20], |head| head.root_version = 2);
    assert_eq!(world.accepts(), 2);
    assert_eq!(world.state.roots.len(), 1);
}

/// Mirrors `test_timestamp_404` and `test_targets_404`.
#[test]
fn without_the_head_or_the_release_nothing_is_remembered() {
    let mut world = World::new();
    world.accepts();
    world.publish(2, 2);
    world.release = None;
    let (judged, asked) = world.look();
    assert!(matches!(asked.last(), Some(Need::Release { build: 2, .. })));
    assert_eq!(judged.expect("no refusal").state, None);
    world.head = None;
    let (judged, asked) = world.look();
    assert_eq!((asked, judged.expect("no refusal").state), (vec![Need::Head], None));
}

/// Mirrors `test_incorrect_metadata_type`.
#[test]
fn a_release_signed_by_the_channel_is_no_head() {
    let mut world = World::new();
    world.head = Some(signed(release(2).to_body(), &[CHANNEL]));
    assert_eq!(world.refuses(), "E_DOCUMENT");
}

/// Mirrors `test_faketime`, `test_root_expired` and `test_expired_local_root`.
#[test]
fn an_expired_root_is_stale_until_the_next_one_comes() {
    let mut world = World::new();
    world.rotate(|root| root.expires = Time::from_seconds(NOW + 7 * DAY), &[ROOT]);
    world.publish_as(2, 2, &[CHANNEL], &[RELEASE], |head| {
        (head.root_version, head.expires) = (2, Time::from_seconds(NOW + 21 * DAY));
    });
    world.accepts();
    world.clock = NOW + 8 * DAY;
    assert_eq!(world.idles(), Idle::RootExpired { since: Time::from_seconds(NOW + 7 * DAY) });
    world.rotate(|root| root.expires = Time::from_seconds(NOW + 21 * DAY), &[ROOT]);
    world.clock = NOW + 18 * DAY;
    assert_eq!(world.accepts(), 2);
    assert_eq!(world.state.roots.len(), 2);
}

/// Mirrors `test_timestamp_expired` and `test_expired_local_timestamp`.
#[test]
fn an_expired_head_is_stale_until_the_next_one_comes() {
    let mut world = World::new();
    world.accepts();
    world.publish_as(2, 2, &[CHANNEL], &[RELEASE], |head| head.expires = Time::from_seconds(NOW + 60));
    assert_eq!(world.idles(), Idle::Stale { since: Time::from_seconds(NOW + 60) });
    assert_eq!(world.sequence(), 1);
    world.clock = NOW + 18 * DAY;
    world.publish_as(3, 3, &[CHANNEL], &[RELEASE], |head| head.expires = Time::from_seconds(NOW + 21 * DAY));
    assert_eq!(world.accepts(), 3, "what is remembered has expired, and that is no matter");
}

/// Mirrors `test_download_with_unknown_hash_algorithm`.
#[test]
fn a_digest_of_another_kind_is_refused() {
    let mut world = World::new();
    let body = String::from_utf8(head(2, 2, b"x").to_body()).expect("text");
    let digest = Blake3::of(b"x").to_string();
    for other in [digest.repeat(2), format!("sha512:{digest}"), String::new()] {
        world.head = Some(signed(body.replace(&digest, &other).into_bytes(), &[CHANNEL]));
        assert_eq!(world.refuses(), "E_DOCUMENT");
    }
}

/// Mirrors `test_unusual_role_name`: names become parts of paths, so there are no unusual ones.
#[test]
fn unusual_names_are_refused() {
    for name in ["?", "#", "/stable", "../stable"] {
        let mut world = World::new();
        world.rotate(|root| root.channel.extend(bound(&[30], name)), &[ROOT]);
        world.publish_as(2, 2, &[CHANNEL], &[RELEASE], |head| head.root_version = 2);
        assert_eq!(world.refuses(), "E_DOCUMENT", "a channel {name:?}");
        let mut world = World::new();
        world.publish_as(2, 2, &[CHANNEL], &[RELEASE], |head| head.releases[0].platform = name.into());
        assert_eq!(world.refuses(), "E_DOCUMENT", "a platform {name:?}");
    }
}

/// Mirrors `test_new_timestamp_version_rollback` and `test_new_timestamp_fast_forward_recovery`.
#[test]
fn a_head_goes_back_only_with_new_channel_keys() {
    let mut world = World::new();
    world.publish(100, 1);
    world.accepts();
    world.publish(1, 1);
    assert_eq!(world.refuses(), "E_OLDER_HEAD");
    assert_eq!(world.sequence(), 100);
    world.rotate(|root| root.channel = bound(&[30], "*"), &[ROOT]);
    world.publish_as(1, 1, &[30], &[RELEASE], |head| head.root_version = 2);
    world.accepts();
    assert_eq!(world.sequence(), 1);
}

/// Mirrors `test_targets_rollback` and `test_targets_fast_forward_recovery`.
#[test]
fn a_build_goes_back_only_with_new_release_keys() {
    let mut world = World::new();
    world.publish(1, 100);
    world.accepts();
    world.publish(2, 1);
    assert_eq!(world.idles(), Idle::BelowFloor { offered: 1, floor: 100 });
    world.rotate(|root| root.release = role(1, &[20]), &[ROOT]);
    world.publish_as(2, 1, &[CHANNEL], &[20], |head| head.root_version = 2);
    assert_eq!(world.accepts(), 1);
}

/// Mirrors `test_cached_role_is_verified_against_current_delegator`.
#[test]
fn a_key_bound_to_one_channel_has_no_say_in_another() {
    let mut world = World::new();
    world.rotate(|root| root.channel.extend(bound(&[30], "beta")), &[ROOT]);
    world.publish_as(2, 2, &[30], &[RELEASE], |head| (head.root_version, head.channel) = (2, "beta".into()));
    assert_eq!(world.refuses(), "E_SIGNATURE");
    world.publish_as(2, 2, &[CHANNEL], &[RELEASE], |head| (head.root_version, head.channel) = (2, "beta".into()));
    assert_eq!(world.refuses(), "E_WRONG_CHANNEL");
}
