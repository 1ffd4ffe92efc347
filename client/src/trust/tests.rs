//! The workflow case by case; keys are those of [`crate::format::root::testing`].

use super::*;
use crate::format::head::Rollout;
use crate::format::root::testing::root;
use crate::format::signed::testing::{TestKey, sign};

const NOW: i64 = 2_000_000;
const DAY: i64 = 86_400;

struct World {
    pin: Pin,
    state: TrustState,
    installed: Option<Installed>,
    clock: Time,
    goal: Goal,
    head: Head,
    release: Release,
    roots: Vec<Vec<u8>>,
    channel_key: u8,
    release_key: u8,
}

impl World {
    fn new() -> Self {
        let file = FileRef::of(b"x");
        let release = Release {
            app: "org.example.app".into(),
            platform: "linux-x86_64".into(),
            build: 10,
            version: "1.0".into(),
            issued: Time::from_seconds(NOW),
            minimum_build: 0,
            entry: None,
            patcher: None,
            minimum_os: None,
            manifest: file,
            objects: file,
            notes: Vec::new(),
            reads_pack: 1,
            packs: Vec::new(),
        };
        let head = Head {
            app: "org.example.app".into(),
            channel: "stable".into(),
            sequence: 5,
            issued: Time::from_seconds(NOW),
            expires: Time::from_seconds(NOW + 7 * DAY),
            root_version: 1,
            releases: Vec::new(),
            rollouts: Vec::new(),
            halts: Vec::new(),
            bad_builds: Vec::new(),
            mirrors: Vec::new(),
        };
        let walked = Some(Time::from_seconds(NOW));
        Self {
            pin: Pin {
                app: "org.example.app".into(),
                platform: "linux-x86_64".into(),
                root: sign(&root(1).to_body(), &[&TestKey::new(1)]),
                floor_build: 0,
                built: Time::from_seconds(1_500_000),
            },
            state: TrustState { roots_walked: walked, ..TrustState::default() },
            installed: Some(Installed { build: 9, manifest: Blake3::of(b"old") }),
            clock: Time::from_seconds(NOW + 60),
            goal: Goal::Update,
            head,
            release,
            roots: Vec::new(),
            channel_key: 3,
            release_key: 2,
        }
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            pin: &self.pin,
            state: &self.state,
            channel: "stable",
            installed: self.installed,
            clock: self.clock,
            goal: self.goal,
        }
    }

    /// Runs the loop a client runs; gives the judgement and how many documents were asked for.
    fn run(&self) -> (Result<Judgement, Refusal>, usize) {
        let release = sign(&self.release.to_body(), &[&TestKey::new(self.release_key)]);
        let mut head = self.head.clone();
        if head.releases.is_empty() {
            head.releases.push(HeadRelease {
                platform: "linux-x86_64".into(),
                build: self.release.build,
                version: "1.0".into(),
                file: FileRef::of(&release),
            });
        }
        let head = sign(&head.to_body(), &[&TestKey::new(self.channel_key)]);
        let mut documents = Documents::default();
        for asked in 0..20 {
            let judgement = judge(&self.facts(), &documents);
            match judgement.as_ref().map(|j| &j.verdict) {
                Ok(Verdict::Need(Need::Head)) => documents.head = Some(head.clone()),
                Ok(Verdict::Need(Need::Release { .. })) => documents.release = Some(release.clone()),
                Ok(Verdict::Need(Need::Root(version))) => {
                    let index = usize::try_from(version - 2).expect("small");
                    match self.roots.get(index) {
                        Some(root) => documents.roots.push(root.clone()),
                        None => documents.roots_ended = true,
                    }
                }
                _ => return (judgement, asked),
            }
        }
        panic!("the verdict never becomes final");
    }

    fn verdict(&self) -> Verdict {
        self.run().0.expect("accepted").verdict
    }

    fn code(&self) -> &'static str {
        self.run().0.expect_err("refused").code()
    }

    /// Carries the accepted state over, as a client does.
    fn remember(&mut self) {
        self.state = self.run().0.expect("accepted").state.expect("a final verdict");
    }

    fn rotate(&mut self, version: u64, change: impl Fn(&mut Root), signers: &[u8]) {
        let mut next = root(version);
        change(&mut next);
        let keys: Vec<TestKey> = signers.iter().map(|s| TestKey::new(*s)).collect();
        self.roots.push(sign(&next.to_body(), &keys.iter().collect::<Vec<_>>()));
    }
}

#[test]
fn a_newer_release_is_offered_with_two_documents() {
    let world = World::new();
    let (judgement, asked) = world.run();
    let judgement = judgement.expect("accepted");
    assert!(matches!(judgement.verdict, Verdict::Offer(offer) if offer.release.build == 10));
    assert_eq!(asked, 2);
    let known = &judgement.state.expect("to remember").channels["stable"];
    assert_eq!((known.sequence, known.highest_build), (5, 10));
}

#[test]
fn a_check_is_one_document_and_remembers_nothing_of_what_it_did_not_fetch() {
    let mut world = World::new();
    world.goal = Goal::Check;
    let (judgement, asked) = world.run();
    let judgement = judgement.expect("accepted");
    assert!(matches!(judgement.verdict, Verdict::Available(r) if r.build == 10));
    assert_eq!((asked, judgement.state), (1, None));
    world.installed = Some(Installed { build: 10, manifest: Blake3::of(b"new") });
    assert_eq!((world.verdict(), world.run().1), (Verdict::Idle(Idle::UpToDate), 1));
}

#[test]
fn wrong_keys_apps_platforms_and_channels_are_refused() {
    let refused = |change: fn(&mut World)| {
        let mut world = World::new();
        change(&mut world);
        world.code()
    };
    assert_eq!(refused(|w| w.channel_key = 9), "E_SIGNATURE");
    assert_eq!(refused(|w| w.channel_key = 2), "E_SIGNATURE", "a release key signs no head");
    assert_eq!(refused(|w| w.release_key = 3), "E_SIGNATURE", "a channel key signs no release");
    assert_eq!(refused(|w| w.head.app = "org.example.other".into()), "E_WRONG_APP");
    assert_eq!(refused(|w| w.head.channel = "beta".into()), "E_WRONG_CHANNEL");
    assert_eq!(refused(|w| w.release.app = "org.example.other".into()), "E_WRONG_APP");
    assert_eq!(refused(|w| w.release.platform = "windows-x86_64".into()), "E_WRONG_PLATFORM");
    assert_eq!(refused(|w| w.release.version = "2.0".into()), "E_WRONG_RELEASE");
    assert_eq!(refused(|w| w.pin.app = "org.example.other".into()), "E_WRONG_APP");
    assert_eq!(refused(|w| w.release.minimum_build = 10), "E_BELOW_MINIMUM");
}

#[test]
fn a_login_page_is_not_ours_and_transient() {
    let world = World::new();
    let documents = Documents { head: Some(b"<html>Please log in</html>".to_vec()), ..Documents::default() };
    let refusal = judge(&world.facts(), &documents).expect_err("refused");
    assert_eq!((refusal.code(), refusal.is_transient()), ("E_NOT_OURS", true));
}

#[test]
fn heads_never_go_back() {
    let mut world = World::new();
    world.remember();
    world.head.sequence = 4;
    assert_eq!(world.code(), "E_OLDER_HEAD");
    world.head.sequence = 5;
    world.head.expires = world.head.expires.plus(1);
    assert_eq!(world.code(), "E_EQUIVOCATION");
    world.head.sequence = 6;
    world.head.issued = world.head.issued.plus(-1);
    assert_eq!(world.code(), "E_OLDER_HEAD", "a later sequence issued earlier");
}

#[test]
fn nothing_below_any_floor_is_offered() {
    let mut world = World::new();
    world.remember();
    world.release.build = 9;
    world.head.sequence = 6;
    world.installed = Some(Installed { build: 8, manifest: Blake3::of(b"old") });
    assert_eq!(world.verdict(), Verdict::Idle(Idle::BelowFloor { offered: 9, floor: 10 }), "seen before");
    world.state = World::new().state;
    assert!(matches!(world.verdict(), Verdict::Offer(_)), "without the memory");
    world.pin.floor_build = 10;
    assert_eq!(world.verdict(), Verdict::Idle(Idle::BelowFloor { offered: 9, floor: 10 }), "compiled in");
    world.pin.floor_build = 0;
    world.installed = Some(Installed { build: 20, manifest: Blake3::of(b"old") });
    assert_eq!(world.verdict(), Verdict::Idle(Idle::BelowFloor { offered: 9, floor: 21 }), "installed");
}

#[test]
fn expiry_is_stale_to_the_second_and_no_clock_set_back_revives_it() {
    let mut world = World::new();
    let expiry = NOW + 7 * DAY;
    world.clock = Time::from_seconds(expiry - 1);
    assert!(matches!(world.verdict(), Verdict::Need(_) | Verdict::Offer(_)));
    world.clock = Time::from_seconds(expiry);
    assert_eq!(world.verdict(), Verdict::Idle(Idle::Stale { since: Time::from_seconds(expiry) }));
    world.clock = Time::from_seconds(0);
    world.pin.built = Time::from_seconds(expiry + 1);
    assert_eq!(world.verdict(), Verdict::Idle(Idle::Stale { since: Time::from_seconds(expiry) }));
}

#[test]
fn halts_bad_builds_and_rollouts_hold_back() {
    let with = |change: fn(&mut Head)| {
        let mut world = World::new();
        change(&mut world.head);
        world.verdict()
    };
    assert_eq!(with(|h| h.halts.push("*".into())), Verdict::Idle(Idle::Halted));
    assert_eq!(with(|h| h.bad_builds.push(("linux-x86_64".into(), 10))), Verdict::Idle(Idle::BadBuild(10)));
    assert!(matches!(with(|h| h.bad_builds.push(("windows-x86_64".into(), 10))), Verdict::Offer(_)));
    let rollout = |h: &mut Head, share| {
        h.rollouts.push(Rollout { platform: "*".into(), start: h.issued, salt: "s".into(), curve: vec![(0, share)] });
    };
    let mut world = World::new();
    rollout(&mut world.head, 0);
    assert!(matches!(world.verdict(), Verdict::Idle(Idle::NotYetRolledOut { permille: 0, .. })));
    world.head.rollouts.clear();
    rollout(&mut world.head, 1000);
    assert!(matches!(world.verdict(), Verdict::Offer(_)));
}

#[test]
fn roots_are_walked_when_there_is_a_reason() {
    let mut world = World::new();
    assert_eq!(world.run().1, 2, "nothing asks for a walk");
    world.state.roots_walked = Some(Time::from_seconds(NOW - 8 * DAY));
    assert_eq!(world.run().1, 3, "a week has passed");
    let walked = world.run().0.expect("accepted").state.expect("state").roots_walked;
    assert_eq!(walked, Some(world.clock));
    world.state.roots_walked = Some(world.clock.plus(400 * DAY));
    assert_eq!(world.run().1, 3, "the last walk lies ahead: the clock was set back since");
    let walked = world.run().0.expect("accepted").state.expect("state").roots_walked;
    assert_eq!(walked, Some(world.clock));
    world.state.roots_walked = Some(Time::from_seconds(NOW));
    world.head.root_version = 2;
    assert_eq!(world.run().1, 3, "the head names a newer one");
}

#[test]
fn a_rotated_channel_key_is_followed_and_forgets_the_sequence() {
    let mut world = World::new();
    world.head.sequence = crate::format::text::NUMBER_MAX;
    world.remember();
    let new_channel = |r: &mut Root| r.channel[0].key = TestKey::new(30).public();
    world.rotate(2, new_channel, &[1]);
    world.channel_key = 30;
    world.head.sequence = 1;
    assert!(matches!(world.verdict(), Verdict::Offer(_)));
    world.remember();
    assert_eq!(world.state.roots.len(), 1);
    world.head.sequence = 2;
    assert_eq!(world.run().1, 2, "the walked chain is remembered");
    world.channel_key = 3;
    assert_eq!(world.code(), "E_SIGNATURE", "the old key is gone");
}

#[test]
fn a_rotated_release_key_forgets_the_highest_build_but_not_the_floor() {
    let mut world = World::new();
    world.release.build = 1_000_000;
    world.remember();
    world.rotate(2, |r| r.release.keys[0] = TestKey::new(20).public(), &[1]);
    world.release_key = 20;
    world.release.build = 11;
    world.head.sequence = 6;
    world.head.root_version = 2;
    assert!(matches!(world.verdict(), Verdict::Offer(_)));
    world.installed = Some(Installed { build: 12, manifest: Blake3::of(b"old") });
    assert!(matches!(world.verdict(), Verdict::Idle(Idle::BelowFloor { floor: 13, .. })));
}

#[test]
fn a_root_step_needs_both_thresholds_and_the_next_number() {
    let refused = |version, signers: &[u8]| {
        let mut world = World::new();
        world.head.root_version = 2;
        world.rotate(version, |r| r.root.keys[0] = TestKey::new(11).public(), signers);
        world.run().0.err().map(|r| r.code())
    };
    assert_eq!(refused(2, &[1, 11]), None);
    assert_eq!(refused(2, &[1]), Some("E_ROOT_SIGNATURE"));
    assert_eq!(refused(2, &[11]), Some("E_ROOT_SIGNATURE"));
    assert_eq!(refused(3, &[1, 11]), Some("E_ROOT_VERSION"));
}

#[test]
fn stored_roots_are_not_believed_without_proof() {
    let mut world = World::new();
    let mut forged = root(2);
    forged.channel[0].key = TestKey::new(66).public();
    forged.root.keys[0] = TestKey::new(66).public();
    world.state.roots = vec![sign(&forged.to_body(), &[&TestKey::new(66)])];
    assert!(matches!(world.verdict(), Verdict::Offer(_)), "the forged root is left out");
    world.channel_key = 66;
    assert_eq!(world.code(), "E_SIGNATURE");
}

#[test]
fn an_expired_root_asks_for_the_next_and_then_stops() {
    let mut world = World::new();
    world.clock = Time::from_seconds(900_000_001);
    assert!(matches!(world.verdict(), Verdict::Idle(Idle::RootExpired { .. })));
    world.clock = Time::from_seconds(900_000_000 - DAY);
    world.head.expires = Time::from_seconds(950_000_000);
    assert_eq!(world.run().0.expect("accepted").root_expires, Some(Time::from_seconds(900_000_000)));
}

#[test]
fn a_critical_key_means_too_old_and_nothing_else() {
    let world = World::new();
    let body = String::from_utf8(world.head.to_body()).expect("text").replace("end\n", "!next,1\nend\n");
    let head = sign(body.as_bytes(), &[&TestKey::new(3)]);
    let documents = Documents { head: Some(head), ..Documents::default() };
    let refusal = judge(&world.facts(), &documents).expect_err("refused");
    assert_eq!((refusal.code(), refusal.is_transient()), ("E_CLIENT_TOO_OLD", false));
}

#[test]
fn a_recorded_release_is_judged_alone() {
    let world = World::new();
    let bytes = sign(&world.release.to_body(), &[&TestKey::new(2)]);
    assert!(judge_record(&world.facts(), &bytes).is_ok());
    let stranger = sign(&world.release.to_body(), &[&TestKey::new(8)]);
    assert_eq!(judge_record(&world.facts(), &stranger).map_err(|r| r.code()), Err("E_SIGNATURE"));
}

#[test]
fn a_record_signed_before_a_rotation_stays_valid() {
    let mut world = World::new();
    let bytes = sign(&world.release.to_body(), &[&TestKey::new(2)]);
    world.rotate(2, |r| r.release.keys[0] = TestKey::new(20).public(), &[1]);
    world.state.roots = world.roots.clone();
    assert!(judge_record(&world.facts(), &bytes).is_ok());
}

#[test]
fn a_rotation_seen_while_following_another_channel_counts_too() {
    let mut world = World::new();
    world.head.sequence = 1000;
    world.remember();
    world.rotate(2, |r| r.channel[0].key = TestKey::new(30).public(), &[1]);
    world.state.roots = world.roots.clone();
    world.channel_key = 30;
    world.head.sequence = 1;
    assert!(matches!(world.verdict(), Verdict::Offer(_)));
}

#[test]
fn the_channel_key_cannot_lock_anybody_out() {
    let mut world = World::new();
    let release = sign(&world.release.to_body(), &[&TestKey::new(2)]);
    let row = |file| HeadRelease { platform: "linux-x86_64".into(), build: 10, version: "1.0".into(), file };
    let judged = |world: &World, head: &[u8], release: &[u8]| {
        let head = Some(sign(head, &[&TestKey::new(3)]));
        let documents = Documents { head, roots_ended: true, release: Some(release.to_vec()), ..Documents::default() };
        judge(&world.facts(), &documents)
    };
    // A head cannot say which builds may update: what it adds is not read.
    world.head.releases = vec![row(FileRef::of(&release))];
    let body = String::from_utf8(world.head.to_body()).expect("text");
    for more in ["minimum,99", "minimum_build,99", "minimum,linux-x86_64,99"] {
        let body = body.replace("end\n", &format!("{more}\nend\n"));
        let judgement = judged(&world, body.as_bytes(), &release).expect("accepted");
        assert!(matches!(judgement.verdict, Verdict::Offer(_)), "{more}");
    }
    // A release with a higher minimum is not signed by who may say so.
    let mut strict = world.release.clone();
    strict.minimum_build = 10;
    let forged = sign(&strict.to_body(), &[&TestKey::new(3)]);
    world.head.releases = vec![row(FileRef::of(&forged))];
    let refused = judged(&world, &world.head.to_body(), &forged).expect_err("refused");
    assert_eq!(refused.code(), "E_SIGNATURE");
    // Signed by the release role it holds.
    world.head.releases.clear();
    world.release.minimum_build = 10;
    assert_eq!(world.code(), "E_BELOW_MINIMUM");
    world.release.minimum_build = 9;
    assert!(matches!(world.verdict(), Verdict::Offer(_)));
}

/// What a run remembers that comes to the site after `steps` of its history: a head of the highest numbers, new keys for heads and
/// releases, and a root that replaces none.
fn remembered_after(steps: usize) -> TrustState {
    let mut world = World::new();
    let heads = [(5, 10), (crate::format::text::NUMBER_MAX, 1_000_000), (1, 12), (2, 13)];
    (world.head.sequence, world.release.build) = heads[steps];
    world.head.issued = Time::from_seconds(NOW + steps as i64);
    world.head.mirrors = vec![format!("https://{steps}.example")];
    if steps >= 2 {
        let replaced = |root: &mut Root| {
            root.release.keys[0] = TestKey::new(20).public();
            root.channel[0].key = TestKey::new(30).public();
        };
        world.rotate(2, replaced, &[1]);
        if steps == 3 {
            world.rotate(3, replaced, &[1]);
        }
        (world.release_key, world.channel_key, world.head.root_version) = (20, 30, steps as u64);
    }
    let state = world.run().0.expect("accepted").state.expect("a final verdict");
    assert_eq!((state.roots.len(), state.channels["stable"].sequence), (steps.max(1) - 1, heads[steps].0));
    state
}

#[test]
fn of_two_runs_the_later_is_remembered_whichever_writes_last() {
    let world = World::new();
    for known in 0..4 {
        for judged in 0..4 {
            let joined = forward(&world.facts(), &remembered_after(known), remembered_after(judged));
            assert_eq!(joined, remembered_after(known.max(judged)), "{known} is there when {judged} is written");
        }
    }
}

#[test]
fn what_each_of_two_runs_saw_stays_where_no_key_was_replaced() {
    let world = World::new();
    let (mut second, third) = (remembered_after(2), remembered_after(3));
    let second_of =
        |state: &mut TrustState, change: fn(&mut ChannelState)| change(state.channels.get_mut("stable").expect("one"));
    second_of(&mut second, |channel| (channel.sequence, channel.highest_build) = (9, 20));
    second.channels.insert("beta".into(), third.channels["stable"].clone());
    second.rollout_secret = [2; 16];
    for (known, judged) in [(&second, &third), (&third, &second)] {
        let joined = forward(&world.facts(), known, judged.clone());
        let expected = ChannelState {
            sequence: 9,
            body: second.channels["stable"].body,
            highest_build: 20,
            ..third.channels["stable"].clone()
        };
        assert_eq!(joined.channels["stable"], expected);
        assert!(joined.channels.contains_key("beta"));
        assert_eq!((&joined.roots, &joined.mirrors), (&third.roots, &second.mirrors));
        assert_eq!(joined.rollout_secret, known.rollout_secret, "the place in a rollout stays");
    }
    // Of two heads with one number the first that was believed stays: the other is refused from then on.
    let mut other = third.clone();
    second_of(&mut other, |channel| channel.body = Blake3::of(b"other"));
    assert_eq!(forward(&world.facts(), &third, other).channels, third.channels);
}

#[test]
fn roots_that_do_not_follow_the_pinned_one_are_not_kept_for_their_number() {
    let world = World::new();
    let judged = remembered_after(2);
    let mut known = remembered_after(0);
    known.roots = vec![b"no root".to_vec(), b"nor this".to_vec(), b"nor this".to_vec()];
    known.channels.get_mut("stable").expect("one").root_version = 4;
    let joined = forward(&world.facts(), &known, judged.clone());
    assert_eq!(joined.roots, judged.roots);
    assert_eq!(joined.channels["stable"].root_version, 2, "or no root would ever be known to replace its keys");
}
