//! Jobs that build one platform each, and the one that finishes: the channel moves to all platforms, or stays.

#[path = "support/press.rs"]
mod press;

use std::fs;

use lamplighter_client::format::head::{HEAD_BYTES_MAX, Head};
use lamplighter_client::format::layout;
use lamplighter_client::format::signed::SignedDocument;

use press::{APP, LINUX, Press, WINDOWS, noise};

const USAGE: i32 = 2;
const SITE: i32 = 5;

fn head_of(press: &Press) -> Head {
    let bytes = fs::read(press.path("site").join(layout::head("stable"))).expect("a head");
    Head::parse(&SignedDocument::split(&bytes, HEAD_BYTES_MAX).expect("signed").body).expect("a head")
}

/// What the job of one platform does: no channel key is at hand.
fn job(press: &Press, build: u64, platform: &str, more: &[&str]) {
    let input = format!("{platform}-{build}");
    let app = [noise(1, 20_000), input.clone().into_bytes()].concat();
    press.files(&input, &[("app", &app)]);
    let (build, version, platform) = (build.to_string(), format!("{build}.0"), format!("{platform}={input}"));
    let args =
        ["build-release", "--no-channel", "--site", "site", "--app", APP, "--channel", "stable", "--keys", "job"];
    let named = ["--build", &build, "--version", &version, "--platform", &platform];
    press.run(&[&args[..], &named, more].concat()).expect(0, &[]);
}

fn finish(press: &Press, build: &str, more: &[&str]) -> press::Said {
    let args = ["finish", "--site", "site", "--app", APP, "--channel", "stable", "--keys", "keys", "--build", build];
    press.run(&[&args[..], more].concat())
}

fn press() -> Press {
    let press = Press::new();
    fs::create_dir(press.path("job")).expect("made");
    fs::copy(press.path("keys/release.key"), press.path("job/release.key")).expect("copied");
    press
}

#[test]
fn a_channel_moves_when_every_platform_is_there_and_not_before() {
    let press = press();
    let both = ["--platform", LINUX, "--platform", WINDOWS];
    finish(&press, "1", &both).expect(SITE, &[LINUX, WINDOWS, "found none", "build 1"]);
    job(&press, 1, LINUX, &[]);
    let before = press.site();
    let said = finish(&press, "1", &both).expect(SITE, &["build 1", "stable stays"]);
    assert!(said.err.contains(&format!("release for {WINDOWS}, found {LINUX} alone")), "{}", said.err);
    assert!(press.site() == before, "the site changed");
    finish(&press, "1", &[]).expect(USAGE, &["no platform"]);

    job(&press, 1, WINDOWS, &[]);
    let said = finish(&press, "1", &both).expect(0, &[]);
    assert!(said.out.contains(&format!("stable offers build 1 to {LINUX}, {WINDOWS} (sequence 1)")), "{}", said.out);
    let again = finish(&press, "1", &[&both[..], &["--json"]].concat()).expect(0, &[]);
    assert!(again.out.contains("\"changed\":false"), "{}", again.out);
    press.verify();

    // The next build: what is not asked for stays, and is named.
    for platform in [LINUX, WINDOWS] {
        job(&press, 2, platform, &["--minimum-build", "1"]);
    }
    finish(&press, "2", &["--platform", LINUX]).expect(0, &["not among the platforms to finish", WINDOWS]);
    let offered: Vec<(String, u64)> = head_of(&press).releases.into_iter().map(|r| (r.platform, r.build)).collect();
    assert_eq!(offered, [(LINUX.to_owned(), 2), (WINDOWS.to_owned(), 1)]);
    finish(&press, "1", &both).expect(SITE, &["not above", LINUX]);
    press.verify();
}

#[test]
fn the_configuration_says_which_platforms_are_expected_and_how_the_build_is_rolled_out() {
    let press = press();
    let config = format!(
        "site = \"site\"\napp = \"{APP}\"\nchannel = \"stable\"\nrollout = \"1%, 100% after 2d\"\n\
         [platform.{LINUX}]\ndir = \"l\"\n[platform.{WINDOWS}]\ndir = \"w\"\n"
    );
    press.files(".", &[("p.toml", config.as_bytes())]);
    job(&press, 1, WINDOWS, &[]);
    let finish = || press.run(&["finish", "--config", "p.toml", "--keys", "keys", "--build", "1"]);
    finish().expect(SITE, &[&format!("release for {LINUX}, found {WINDOWS} alone")]);
    assert!(!press.path("site/channels").exists());
    job(&press, 1, LINUX, &[]);
    // A file that went missing on the way to the site.
    let object = press.site().into_keys().find(|name| name.starts_with("objects/")).expect("an object");
    fs::rename(press.path("site").join(&object), press.path("aside")).expect("moved");
    finish().expect(SITE, &[&object, "no such file"]);
    fs::rename(press.path("aside"), press.path("site").join(&object)).expect("moved back");
    finish().expect(0, &[]);
    let head = head_of(&press);
    assert_eq!((head.releases.len(), head.rollouts.len()), (2, 2));
    assert_eq!(head.rollouts[0].curve, [(0, 10), (172_800, 1000)]);
    finish().expect(0, &[]);
    assert_eq!(head_of(&press), head, "again is once");
}
