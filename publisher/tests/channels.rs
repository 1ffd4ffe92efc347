//! Steering channels: rollout, halt, bad builds, refresh, and a look at the published site, from the command to the client.

#[path = "support/press.rs"]
mod press;
#[path = "support/world.rs"]
mod world;

use std::fs;
use std::sync::LazyLock;

use lamplighter_client::format::head::Head;
use lamplighter_client::format::signed::SignedDocument;
use lamplighter_client::format::text::Time;
use lamplighter_client::trust::Idle;
use lamplighter_client::updater::{CheckOutcome, Outcome};
use press::{APP, LINUX, Press};
use world::{World, done};

const DAY: i64 = 86_400;
const USAGE: i32 = 2;
const TRUST: i32 = 4;
const SITE: i32 = 5;

/// The head of a channel in the site.
fn head(site: &std::path::Path, channel: &str) -> Head {
    let bytes = fs::read(site.join(format!("channels/{channel}.head"))).expect("a head");
    let document = SignedDocument::split(&bytes, 16 << 10).expect("a signed document");
    Head::parse(&document.body).expect("a head")
}

/// Two builds of a world with the channel at the second, and a tree of the first.
fn one_behind() -> World {
    let world = World::new();
    world.release(1, &[("app", b"one")]);
    done(world.install("tree"));
    world.release(2, &[("app", b"two")]);
    world
}

fn steer(world: &World, command: &str, more: &[&str]) {
    let (site, keys) = (world::text(&world.site()), world::text(&world.path("keys")));
    world.publisher(&[&[command, "--site", &site, "--channel", "stable", "--keys", &keys], more].concat());
}

fn check(world: &World, tree: &str) -> CheckOutcome {
    world.open(tree).check().expect("a check")
}

fn is_available(outcome: &CheckOutcome, build: u64) -> bool {
    matches!(outcome, CheckOutcome::Available { build: found, .. } if *found == build)
}

#[test]
fn a_halted_channel_offers_nothing_until_it_is_resumed() {
    let world = one_behind();
    for more in [&[][..], &["--platform", LINUX], &["--platform", "*"]] {
        let sequence = head(&world.site(), "stable").sequence;
        steer(&world, "halt", more);
        let halted = fs::read(world.site().join("channels/stable.head")).expect("a head");
        steer(&world, "halt", more);
        assert_eq!(fs::read(world.site().join("channels/stable.head")).expect("a head"), halted, "{more:?}");
        assert_eq!(check(&world, "tree"), CheckOutcome::Idle(Idle::Halted));
        assert!(matches!(world.update("tree"), Ok(Outcome::Idle(Idle::Halted))));
        steer(&world, "resume", more);
        steer(&world, "resume", more);
        let resumed = head(&world.site(), "stable");
        assert_eq!((resumed.sequence, resumed.halts.len()), (sequence + 2, 0));
        assert!(is_available(&check(&world, "tree"), 2));
    }
    done(world.update("tree"));
}

#[test]
fn a_bad_build_is_not_installed_and_a_later_one_is() {
    let world = one_behind();
    steer(&world, "bad", &["--build", "2"]);
    assert_eq!(check(&world, "tree"), CheckOutcome::Idle(Idle::BadBuild(2)));
    steer(&world, "bad", &["--build", "2", "--undo"]);
    assert!(is_available(&check(&world, "tree"), 2));
    steer(&world, "bad", &["--build", "2", "--platform", LINUX]);
    assert_eq!(check(&world, "tree"), CheckOutcome::Idle(Idle::BadBuild(2)));
    world.release(3, &[("app", b"three")]);
    assert!(head(&world.site(), "stable").is_bad(LINUX, 2), "the mark stays");
    done(world.update("tree"));
    assert_eq!(world.contents("tree")["app"], b"three");
}

#[test]
fn a_rollout_keeps_installs_waiting_until_it_reaches_them() {
    let world = World::new();
    world.release(1, &[("app", b"one")]);
    done(world.install("tree"));
    let two = world.input(2, &[("app", b"two")]);
    world.publish(2, &two, &["--rollout", "0%, 100% after 1d"]);
    let begun = head(&world.site(), "stable").rollouts;
    let rollout = &begun[0];
    assert_eq!((rollout.platform.as_str(), &rollout.curve[..]), (LINUX, &[(0, 0), (86_400, 1000)][..]));
    let CheckOutcome::Idle(Idle::NotYetRolledOut { permille: 0, from: Some(from), .. }) = check(&world, "tree") else {
        panic!("it waits");
    };
    assert_eq!(from, rollout.start.plus(DAY));

    world.publish(2, &two, &["--rollout", "5%"]);
    assert_eq!(head(&world.site(), "stable").rollouts, begun, "a run that is repeated changes nothing");
    steer(&world, "promote", &["--build", "2"]);
    assert_eq!(head(&world.site(), "stable").rollouts, begun);
    steer(&world, "promote", &["--build", "2", "--rollout", "0:0 86400:1000"]);
    assert_eq!(head(&world.site(), "stable").rollouts, begun, "it does not begin again");
    steer(&world, "promote", &["--build", "2", "--rollout", "100%"]);
    assert!(head(&world.site(), "stable").rollouts.is_empty());
    assert!(is_available(&check(&world, "tree"), 2));

    // From the file, where the next release begins a rollout of its own.
    fs::write(world.path("p.toml"), "rollout = '0%'").expect("written");
    let three = world.input(3, &[("app", b"three")]);
    world.publish(3, &three, &["--config", &world::text(&world.path("p.toml"))]);
    let next = head(&world.site(), "stable").rollouts.remove(0);
    assert_ne!(next.salt, rollout.salt);
    assert!(matches!(check(&world, "tree"), CheckOutcome::Idle(Idle::NotYetRolledOut { from: None, .. })));
}

#[test]
fn nothing_is_steered_that_is_not_there() {
    let press = Press::new();
    let steer = |command: &str, more: &[&str]| {
        press.run(&[&[command, "--site", "site", "--app", APP, "--keys", "keys", "--channel", "stable"], more].concat())
    };
    steer("halt", &[]).expect(SITE, &["stable", "no head"]);
    steer("refresh", &[]).expect(SITE, &["stable", "no head"]);
    press.run(&["refresh", "--site", "site", "--keys", "keys"]).expect(SITE, &["no channel"]);
    press.files("one", &[("app", b"1")]);
    press.release(1, "one", &[]).expect(0, &[]);
    let before = press.site();
    steer("halt", &["--platform", "linux"]).expect(SITE, &["linux", LINUX]);
    steer("halt", &["--platform", "Li nux"]).expect(USAGE, &["--platform"]);
    steer("bad", &[]).expect(USAGE, &["--build"]);
    steer("promote", &["--build", "1", "--rollout", "half"]).expect(USAGE, &["rollout", "half"]);
    steer("promote", &["--build", "1", "--mirror", "ftp://m"]).expect(USAGE, &["mirrors", "ftp://m"]);
    steer("revert", &["--to", "1"]).expect(SITE, &["nothing above build 1"]);
    press.run(&["halt", "--site", "site", "--channel", "stable", "--keys", "none"]).expect(TRUST, &["no channel key"]);
    press.run(&["halt", "--site", "site", "--channel", "stable", "--app", "other"]).expect(SITE, &["other"]);
    assert!(press.site() == before, "the site changed");
}

#[test]
fn mirrors_are_named_by_the_head_and_stay_until_something_else_is_said() {
    let world = World::new();
    let one = world.input(1, &[("app", b"one")]);
    world.publish(1, &one, &["--mirror", "https://a.example/", "--mirror", "https://b.example/x"]);
    let mirrors = || head(&world.site(), "stable").mirrors;
    assert_eq!(mirrors(), ["https://a.example/", "https://b.example/x"]);
    world.release(2, &[("app", b"two")]);
    assert_eq!(mirrors().len(), 2);
    steer(&world, "refresh", &["--force", "--mirror", "https://c.example"]);
    assert_eq!(mirrors(), ["https://c.example"]);
    steer(&world, "halt", &["--no-mirrors"]);
    assert!(mirrors().is_empty());
}

/// The publisher at a time of its own: days from now.
fn at(press: &Press, days: i64, args: &[&str]) -> press::Said {
    // Read once: two commands of one day are at the same second, however slow the machine is.
    static TODAY: LazyLock<i64> = LazyLock::new(|| Time::now().seconds());
    let seconds = *TODAY + days * DAY;
    press.command().args(args).env("SOURCE_DATE_EPOCH", seconds.to_string()).output().expect("it runs").into()
}

/// A site with a release on two channels, made that many days before now.
fn two_channels(days_ago: i64) -> Press {
    let press = Press::new();
    press.files("one", &[("app", b"1")]);
    let args = Press::release_args(1, "one");
    at(&press, -days_ago, &args.iter().map(String::as_str).collect::<Vec<_>>()).expect(0, &[]);
    let beta = ["promote", "--site", "site", "--channel", "beta", "--build", "1", "--keys", "keys"];
    at(&press, -days_ago, &beta).expect(0, &[]);
    press
}

#[test]
fn a_refresh_signs_what_expires_soon_with_the_channel_key_alone() {
    let press = two_channels(2);
    fs::create_dir(press.path("job")).expect("made");
    fs::copy(press.path("keys/channel.key"), press.path("job/channel.key")).expect("copied");
    let refresh = ["refresh", "--site", "site", "--keys", "job"];
    let sequences = || ["beta", "stable"].map(|channel| head(&press.path("site"), channel).sequence);
    let before = press.site();
    // Five days are left: more than two thirds.
    at(&press, 0, &refresh).expect(0, &[]);
    assert!(press.site() == before, "nothing was due");
    let said = at(&press, 1, &refresh).expect(0, &[]);
    assert!(said.out.contains("beta is signed again") && said.out.contains("stable is signed again"), "{}", said.out);
    assert_eq!(sequences(), [2, 2]);
    let renewed = head(&press.path("site"), "stable");
    assert_eq!(renewed.expires.seconds() - renewed.issued.seconds(), 7 * DAY);
    assert_eq!(renewed.releases, {
        let old = SignedDocument::split(&before["channels/stable.head"], 16 << 10).expect("a document");
        Head::parse(&old.body).expect("a head").releases
    });
    at(&press, 1, &refresh).expect(0, &[]);
    assert_eq!(sequences(), [2, 2], "again is once");
    at(&press, 1, &[&refresh[..], &["--channel", "beta", "--force"]].concat()).expect(0, &[]);
    at(&press, 1, &[&refresh[..], &["--channel", "beta", "--days-left", "7"]].concat()).expect(0, &[]);
    assert_eq!(sequences(), [3, 2]);
    at(&press, 1, &[&refresh[..], &["--channel", "beta", "--days-left", "8"]].concat()).expect(0, &[]);
    assert_eq!(sequences(), [4, 2]);
    // Only heads changed, and the report that tells of them; an expired one is as good as another.
    at(&press, 100, &refresh).expect(0, &[]);
    assert_eq!(sequences(), [5, 3]);
    let changed: Vec<String> =
        press.site().into_iter().filter(|(n, b)| before.get(n) != Some(b)).map(|(n, _)| n).collect();
    assert_eq!(changed, ["channels/beta.head", "channels/stable.head", "index.html"]);
    let beta = fs::read(press.path("site/channels/beta.head")).expect("a head");
    fs::write(press.path("site/channels/beta.head"), b"damaged").expect("written");
    let said = at(&press, 104, &refresh).expect(SITE, &["beta"]);
    assert!(said.out.contains("stable is signed again"), "one that fails keeps no other from it: {}", said.out);
    fs::write(press.path("site/channels/beta.head"), beta).expect("mended");
    at(&press, 365 * 5 - 80, &refresh).expect(0, &["root version 1 expires"]);
    at(&press, 365 * 6, &refresh).expect(TRUST, &["root version 1 expired"]);
}

#[test]
fn a_stale_channel_comes_back_with_a_refresh() {
    let press = two_channels(8);
    let origin = lamplighter_client::updater::Origin {
        site: press.path("site").to_str().expect("Unicode").to_owned(),
        app: APP.into(),
        channel: "stable".into(),
        platform: LINUX.into(),
        root: fs::read(press.path("site/root/1.root")).expect("a root"),
        mirrors: Vec::new(),
    };
    let world = World { dir: tempfile::tempdir().expect("a directory") };
    let install = || lamplighter_client::updater::Updater::install(world.config("tree").0, &origin);
    assert!(matches!(install(), Ok(Outcome::Idle(Idle::Stale { .. }))));
    at(&press, 0, &["refresh", "--site", "site", "--keys", "keys"]).expect(0, &[]);
    done(install());
}

#[test]
fn a_refresh_needs_no_copy_of_the_site() {
    let press = two_channels(4);
    let from = ["refresh", "--from", "site", "--site", "job", "--channel", "beta", "--keys", "keys"];
    at(&press, 0, &from).expect(0, &[]);
    let copied = press::contents(&press.path("job"));
    let names: Vec<&str> = copied.keys().map(String::as_str).collect();
    assert_eq!(names, ["channels/beta.head", "releases/1/linux-x86_64/release", "root/1.root"]);
    assert_eq!(head(&press.path("job"), "beta").sequence, 2);
    at(&press, 0, &from).expect(0, &[]);
    assert!(press::contents(&press.path("job")) == copied, "what was signed and not uploaded yet is not signed again");
    // What was signed fits the site it came from.
    fs::copy(press.path("job/channels/beta.head"), press.path("site/channels/beta.head")).expect("uploaded");
    press.verify();
    at(&press, 0, &from).expect(0, &[]);
    assert_eq!(head(&press.path("job"), "beta").sequence, 2, "the next run sees that nothing is due");
    at(&press, 0, &[&from[..], &["--app", "other"]].concat()).expect(SITE, &["other"]);
}

#[test]
fn a_look_from_outside_warns_in_time_and_names_what_is_missing() {
    let press = two_channels(0);
    fs::copy(press.path("site/root/1.root"), press.path("pinned.root")).expect("copied");
    let look =
        ["check-remote", "site", "--app", APP, "--channel", "stable", "--channel", "beta", "--root", "pinned.root"];
    let said = at(&press, 0, &look).expect(0, &[]);
    assert!(said.out.contains("stable offers linux-x86_64 1") && said.out.contains("nothing is wrong"), "{}", said.out);
    at(&press, 3, &look).expect(0, &[]);
    let said = at(&press, 5, &look).expect(1, &[]);
    assert!(said.out.contains("soon: channels/stable.head"), "{}", said.out);
    at(&press, 5, &[&look[..], &["--head-days", "1"]].concat()).expect(0, &[]);
    let said = at(&press, 8, &look).expect(SITE, &[]);
    assert!(said.out.contains("wrong: channels/beta.head: it expired"), "{}", said.out);
    let said = at(&press, 0, &[&look[..], &["--root-days", "1830"]].concat()).expect(1, &[]);
    assert!(said.out.contains("soon: root/1.root"), "{}", said.out);
    let said = at(&press, 365 * 6, &look).expect(SITE, &[]);
    assert!(said.out.contains("wrong: root/1.root: it expired"), "{}", said.out);

    fs::write(press.path("other.root"), b"another").expect("written");
    let pinned = ["check-remote", "site", "--channel", "stable", "--root", "other.root"];
    assert!(press.run(&pinned).expect(SITE, &[]).out.contains("clients carry"));
    press.run(&["check-remote", "nowhere", "--channel", "stable"]).expect(SITE, &["nowhere", "--root"]);
    press.run(&["check-remote", "site", "--channel", "gamma"]).expect(SITE, &[]);
    press.run(&["check-remote", "site"]).expect(USAGE, &["--channel"]);

    let breaking = |name: &str, code: &str| {
        let kept = fs::read(press.path("site").join(name)).expect("there");
        let mut altered = kept.clone();
        altered[30] ^= 1;
        for damage in [None, Some(altered)] {
            match damage {
                None => fs::remove_file(press.path("site").join(name)).expect("removed"),
                Some(bytes) => fs::write(press.path("site").join(name), bytes).expect("written"),
            }
            let said = press.run(&[&look[..], &["--json"]].concat()).expect(SITE, &[]);
            assert!(said.out.contains(&format!("\"code\":\"{code}\"")), "{name}: {}", said.out);
        }
        fs::write(press.path("site").join(name), kept).expect("mended");
    };
    breaking("channels/stable.head", "head");
    breaking("releases/1/linux-x86_64/release", "release");
    breaking("releases/1/linux-x86_64/manifest.csv", "manifest");
    breaking("root/1.root", "root");
    press.run(&look).expect(0, &[]);

    // Clients take the signed length of it, whatever comes after; but nobody has any business to write there.
    for name in ["releases/1/linux-x86_64/release", "releases/1/linux-x86_64/manifest.csv"] {
        let kept = fs::read(press.path("site").join(name)).expect("there");
        fs::write(press.path("site").join(name), [&kept[..], b"x"].concat()).expect("written");
        let said = press.run(&look).expect(1, &[]);
        assert!(said.out.contains(&format!("odd: {name}: it goes on after the {} bytes", kept.len())), "{}", said.out);
        press.run(&["verify", "--site", "site"]).expect(SITE, &[]);
        fs::write(press.path("site").join(name), kept).expect("mended");
    }
    press.run(&look).expect(0, &[]);
}

#[test]
fn why_names_the_rule_that_decides_and_its_numbers() {
    let world = one_behind();
    let why = |code: &str, words: &[&str]| {
        let why = world.open("tree").why().0;
        assert_eq!(why.code, code, "{}", why.text);
        for word in words {
            assert!(why.text.contains(word), "expected {word:?} in: {}", why.text);
        }
    };
    let sequence = head(&world.site(), "stable").sequence;
    why("available", &["Build 1 (1.0) is installed", &format!("sequence {sequence}"), "Build 2 (2.0) is newer"]);
    steer(&world, "halt", &[]);
    why("halted", &["halted"]);
    steer(&world, "resume", &[]);
    steer(&world, "bad", &["--build", "2"]);
    why("bad_build", &["marked build 2 as bad"]);
    steer(&world, "bad", &["--build", "2", "--undo"]);
    steer(&world, "bad", &["--build", "1"]);
    steer(&world, "promote", &["--build", "2", "--rollout", "0%, 100% after 1d"]);
    let turn = head(&world.site(), "stable").rollouts[0].start.plus(DAY).to_string();
    why("not_yet", &["marked build 1, the installed one", "reached 0 of 1000", &format!("at {turn}")]);
    let three = world.input(3, &[("app", b"three")]);
    world.publish(3, &three, &["--minimum-build", "2"]);
    why("E_BELOW_MINIMUM", &["minimum 2", "download it afresh"]);
    fs::remove_dir_all(world.site()).expect("removed");
    assert!(world.open("tree").why().1.is_failed());
}
