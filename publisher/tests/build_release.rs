//! What publishing promises: sites that are equal for equal input, old releases from the site itself, and a channel that
//! moves last.

#[path = "support/press.rs"]
mod press;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;

use lamplighter_client::format::head::{HEAD_BYTES_MAX, Head};
use lamplighter_client::format::layout;
use lamplighter_client::format::release::{RELEASE_BYTES_MAX, Release};
use lamplighter_client::format::signed::SignedDocument;
use lamplighter_client::format::text::Time;
use lamplighter_publisher::build_release::{self, Request};
use lamplighter_publisher::config::{Config, PlatformConfig};
use lamplighter_publisher::error::{Class, Error};
use lamplighter_publisher::report::{PackFate, Summary};
use lamplighter_publisher::watch::{Step, Unwatched, Watch};

use press::{APP, LINUX, Press, WINDOWS, noise, write};

fn release_of(press: &Press, build: u64, platform: &str) -> Release {
    let bytes = fs::read(press.path("site").join(layout::release(build, platform))).expect("a release");
    Release::parse(&SignedDocument::split(&bytes, RELEASE_BYTES_MAX).expect("signed").body).expect("a release")
}

fn head_of(press: &Press, channel: &str) -> Head {
    let bytes = fs::read(press.path("site").join(layout::head(channel))).expect("a head");
    Head::parse(&SignedDocument::split(&bytes, HEAD_BYTES_MAX).expect("signed").body).expect("a head")
}

/// Publishes `inputs` with the library, where a test wants to look inside.
fn publish(press: &Press, build: u64, inputs: &[(&str, &str)], watch: Arc<dyn Watch>) -> Result<Summary, Error> {
    publish_with(press, build, inputs, watch, |_| {})
}

fn publish_with(
    press: &Press,
    build: u64,
    inputs: &[(&str, &str)],
    watch: Arc<dyn Watch>,
    change: impl FnOnce(&mut Config),
) -> Result<Summary, Error> {
    let platform = |(name, dir): &(&str, &str)| {
        ((*name).to_owned(), PlatformConfig { dir: Some(press.path(dir)), ..PlatformConfig::default() })
    };
    let mut config = Config {
        site: Some(press.path("site")),
        keys: Some(press.path("keys")),
        app: Some(APP.to_owned()),
        channel: Some("stable".to_owned()),
        build: Some(build),
        version: Some(format!("{build}.0")),
        jobs: Some(2),
        platform: inputs.iter().map(platform).collect(),
        ..Config::default()
    };
    change(&mut config);
    let request = Request::new(&config, true, Time::from_seconds(1_800_000_000)).expect("a request");
    build_release::run(&request, watch)
}

fn quiet() -> Arc<dyn Watch> {
    Arc::new(Unwatched)
}

/// Inputs of three builds: large files that change a little, small ones, files that move and go.
fn three_inputs(press: &Press) {
    let big = noise(1, 700_000);
    for build in 1..=3u8 {
        for platform in ["l", "w"] {
            let mut changed = big.clone();
            changed[usize::from(build) * 1000] ^= 1;
            let dir = format!("{platform}{build}");
            press.files(&dir, &[("app", &changed), ("same", b"same"), (&format!("moved/{build}"), &noise(2, 5000))]);
            for small in 0..40 {
                let text = format!("file {small} of {platform}, {}", if small % 7 == 0 { build } else { 0 });
                press.files(&dir, &[(&format!("small/{small}.txt"), text.as_bytes())]);
            }
        }
    }
}

#[test]
fn equal_input_gives_equal_sites_at_any_number_of_threads() {
    let first = Press::new();
    three_inputs(&first);
    let mut sites: Vec<BTreeMap<String, Vec<u8>>> = Vec::new();
    for jobs in ["1", "2", "5"] {
        let press = Press::empty();
        for dir in ["l1", "l2", "l3", "w1", "w2", "w3", "site", "keys"] {
            press::copy_tree(&first.path(dir), &press.path(dir));
        }
        for build in 1..=3u64 {
            let windows = format!("{WINDOWS}=w{build}");
            let args = Press::release_args(build, &format!("l{build}"));
            let mut command = press.command();
            command.args(args).args(["--platform", &windows, "--jobs", jobs]);
            let said: press::Said = command.env("SOURCE_DATE_EPOCH", "1800000000").output().expect("runs").into();
            said.expect(0, &[]);
        }
        press.verify();
        sites.push(press.site());
    }
    let names = |site: &BTreeMap<String, Vec<u8>>| site.keys().cloned().collect::<Vec<_>>();
    for other in &sites[1..] {
        assert_eq!(names(&sites[0]), names(other));
        for (name, bytes) in &sites[0] {
            assert!(*bytes == other[name], "{name} differs");
        }
    }
}

#[test]
fn old_releases_come_from_the_site_and_packs_from_the_last_of_them() {
    let press = Press::new();
    three_inputs(&press);
    for (build, input) in [(1, "l1"), (2, "l2")] {
        publish(&press, build, &[(LINUX, input)], quiet()).expect("published");
        fs::remove_dir_all(press.path(input)).expect("removed");
    }
    let summary = publish(&press, 3, &[(LINUX, "l3")], quiet()).expect("published");
    let release = release_of(&press, 3, LINUX);
    assert_eq!(release.packs.iter().map(|p| p.base_build).collect::<Vec<_>>(), [2, 1]);
    let platform = &summary.platforms[0];
    assert!(platform.packs.iter().all(|p| matches!(p.fate, PackFate::Kept(bytes) if bytes * 50 < platform.full_bytes)));
    assert!(platform.new_object_bytes < platform.full_bytes);
    press.files("l4", &[("app", &noise(1, 700_000))]);
    publish_with(&press, 4, &[(LINUX, "l4")], quiet(), |c| c.bases = Some(1)).expect("published");
    assert_eq!(release_of(&press, 4, LINUX).packs.iter().map(|p| p.base_build).collect::<Vec<_>>(), [3]);
    publish_with(&press, 5, &[(LINUX, "l3")], quiet(), |c| c.bases = Some(0)).expect("published");
    assert!(release_of(&press, 5, LINUX).packs.is_empty());
    press.verify();
}

#[test]
fn packs_that_save_nothing_are_not_kept() {
    let press = Press::new();
    press.files("one", &[("a", &noise(1, 3000))]);
    press.files("two", &[("a", &noise(2, 3000))]);
    publish(&press, 1, &[(LINUX, "one")], quiet()).expect("published");
    let summary = publish(&press, 2, &[(LINUX, "two")], quiet()).expect("published");
    assert!(matches!(summary.platforms[0].packs[0].fate, PackFate::TooLarge(_)), "{summary:?}");
    assert!(!press.site().keys().any(|name| name.starts_with("packs/")));
    // The old content again, under a new number: nothing but the record changes.
    let back = publish(&press, 3, &[(LINUX, "two")], quiet()).expect("published");
    assert_eq!(back.platforms[0].packs[0].fate, PackFate::Same);
    press.verify();
}

#[test]
fn platforms_may_join_and_stay_behind() {
    let press = Press::new();
    press.files("one", &[("a", b"1")]);
    press.files("two", &[("a", b"2")]);
    publish(&press, 1, &[(LINUX, "one"), (WINDOWS, "one")], quiet()).expect("published");
    publish(&press, 2, &[(LINUX, "two")], quiet()).expect("published");
    let head = head_of(&press, "stable");
    let builds: Vec<(&str, u64)> = head.releases.iter().map(|r| (r.platform.as_str(), r.build)).collect();
    assert_eq!((builds, head.sequence), (vec![(LINUX, 2), (WINDOWS, 1)], 2));
    publish(&press, 2, &[(WINDOWS, "two"), ("macos-aarch64", "two")], quiet()).expect("published");
    let head = head_of(&press, "stable");
    assert!(head.releases.len() == 3 && head.releases.iter().all(|r| r.build == 2));
    let objects = press.site().into_keys().filter(|n| n.starts_with("objects/")).count();
    assert_eq!(objects, 2, "equal content of several platforms is stored once");
    press.verify();
}

#[test]
fn a_release_may_wait_for_its_channel() {
    let press = Press::new();
    press.files("one", &[("a", b"1")]);
    press.release(1, "one", &["--no-channel"]).expect(0, &[]);
    assert!(!press.path("site/channels").exists());
    let promote = |channel: &str, build: &str, more: &[&str]| {
        let args = ["promote", "--site", "site", "--channel", channel, "--build", build, "--keys", "keys"];
        press.run(&[&args[..], more].concat())
    };
    promote("beta", "1", &[]).expect(0, &[]);
    promote("beta", "2", &[]).expect(5, &["build 2"]);
    promote("beta", "1", &["--platform", WINDOWS]).expect(5, &[WINDOWS]);
    assert_eq!(head_of(&press, "beta").sequence, 1);
    promote("beta", "1", &[]).expect(0, &[]);
    assert_eq!(head_of(&press, "beta").sequence, 1, "nothing new was to be said");
    promote("stable", "1", &[]).expect(0, &[]);
    press.release(2, "one", &[]).expect(0, &[]);
    promote("stable", "1", &[]).expect(5, &["expected 3 or more"]);
    press.verify();
}

#[test]
fn a_build_with_missing_content_is_not_promoted() {
    let press = Press::new();
    press.files("one", &[("a", b"1")]);
    press.release(1, "one", &["--no-channel"]).expect(0, &[]);
    let object = press.site().into_keys().find(|n| n.starts_with("objects/")).expect("an object");
    fs::remove_file(press.path("site").join(&object)).expect("removed");
    let promote = ["promote", "--site", "site", "--channel", "stable", "--build", "1", "--keys", "keys"];
    press.run(&promote).expect(5, &[&object, "no such file"]);
    assert!(!press.path("site/channels").exists());
    // Publishing the same again puts it back.
    fs::remove_dir_all(press.path("site/releases")).expect("removed");
    press.release(1, "one", &[]).expect(0, &[]);
    press.verify();
}

#[test]
fn configuration_and_notes_reach_the_release() {
    let press = Press::new();
    press.files("in/dist", &[("bin/app", b"#!/bin/sh\n"), ("set.ini", b"s"), ("x.pdb", b"p")]);
    press.files("in", &[("en.md", b"# News\n"), ("de.md", "# Neues für alle\n".as_bytes())]);
    let config = r#"
        site = "../site"
        keys = "../keys"
        app = "org.example.app"
        channel = "stable"
        version = "1.0 \"one\""
        minimum_build = 2
        exclude = ["*.pdb"]
        [notes]
        en = "en.md"
        [platform.linux-x86_64]
        dir = "dist"
        entry = "bin/app"
        minimum_os = "glibc 2.31"
        executable = ["bin/*"]
        keep = ["set.ini"]
    "#;
    write(&press.path("in/publisher.toml"), config.as_bytes());
    let args = ["build-release", "--config", "in/publisher.toml", "--build", "3", "--notes", "de=in/de.md"];
    let said = press.run(&args).expect(0, &[]);
    assert!(!said.err.contains("warning"), "{}", said.err);
    let release = release_of(&press, 3, LINUX);
    assert_eq!(release.version, "1.0 \"one\"");
    assert_eq!(release.entry.as_ref().map(|e| e.as_str()), Some("bin/app"));
    assert_eq!((release.minimum_os.as_deref(), release.minimum_build), (Some("glibc 2.31"), 2));
    assert_eq!(release.notes.iter().map(|n| n.language.as_str()).collect::<Vec<_>>(), ["de", "en"]);
    let manifest = String::from_utf8(press.site()[&layout::manifest(3, LINUX)].clone()).expect("text");
    let rows: Vec<&str> = manifest.lines().skip(1).collect();
    assert!(rows.len() == 2 && rows[0].ends_with(",0755,,") && rows[1].ends_with(",0644,,keep"), "{manifest}");
    press.verify();
}

#[test]
fn a_damaged_old_release_does_not_keep_a_new_one_from_being_published() {
    let press = Press::new();
    three_inputs(&press);
    publish(&press, 1, &[(LINUX, "l1")], quiet()).expect("published");
    publish(&press, 2, &[(LINUX, "l2")], quiet()).expect("published");
    fs::write(press.path("site").join(layout::manifest(1, LINUX)), b"damaged").expect("written");
    let said = press.release(3, "l3", &[]).expect(0, &["releases/1/linux-x86_64", "is not what it should be"]);
    assert!(said.out.contains("2 (2.0)") && !said.out.contains("1 (1.0)"), "{}", said.out);
    assert_eq!(release_of(&press, 3, LINUX).packs.len(), 1);
}

/// Damages every pack of the site as soon as the proof begins.
struct Saboteur(std::path::PathBuf);

impl Watch for Saboteur {
    fn step(&self, step: Step, _: &str, _: u64) {
        if step != Step::Proof {
            return;
        }
        for name in press::contents(&self.0).into_keys().filter(|n| n.starts_with("packs/")) {
            let path = self.0.join(name);
            let mut bytes = fs::read(&path).expect("there");
            bytes.iter_mut().rev().take(10).for_each(|b| *b ^= 1);
            fs::write(path, bytes).expect("written");
        }
    }
    fn advanced(&self, _: u64) {}
    fn notice(&self, _: &'static str, _: &str, _: &str) {}
}

#[test]
fn nothing_is_released_that_the_proof_refuses() {
    let press = Press::new();
    three_inputs(&press);
    publish(&press, 1, &[(LINUX, "l1")], quiet()).expect("published");
    let head = fs::read(press.path("site/channels/stable.head")).expect("there");
    let saboteur = Arc::new(Saboteur(press.path("site")));
    let error = publish(&press, 2, &[(LINUX, "l2")], saboteur).expect_err("a damaged pack");
    assert_eq!(error.class(), Class::Proof);
    assert!(error.to_string().contains("build 1 → build 2"), "{error}");
    assert_eq!(fs::read(press.path("site/channels/stable.head")).expect("there"), head);
    assert!(!press.path("site").join(layout::release(2, LINUX)).exists());
    // The next run mends what is damaged and finishes the job.
    publish(&press, 2, &[(LINUX, "l2")], quiet()).expect("published");
    press.verify();
}

/// Changes a file of the input when the packs are done.
struct Meddler(std::path::PathBuf);

impl Watch for Meddler {
    fn step(&self, step: Step, _: &str, _: u64) {
        if step == Step::Proof {
            fs::write(&self.0, b"something else").expect("written");
        }
    }
    fn advanced(&self, _: u64) {}
    fn notice(&self, _: &'static str, _: &str, _: &str) {}
}

#[test]
fn an_input_that_changes_before_the_end_is_not_released() {
    let press = Press::new();
    press.files("one", &[("a", b"1"), ("b", b"2")]);
    let meddler = Arc::new(Meddler(press.path("one/b")));
    let error = publish(&press, 1, &[(LINUX, "one")], meddler).expect_err("a changed input");
    assert_eq!(error.class(), Class::Input);
    assert!(!press.path("site/releases/1/linux-x86_64/release").exists() && !press.path("site/channels").exists());
}

#[test]
fn scratch_trees_and_temporary_files_are_gone_afterwards() {
    let press = Press::new();
    three_inputs(&press);
    fs::create_dir(press.path("scratch")).expect("made");
    for build in ["1", "2"] {
        press.release(build.parse().expect("a number"), &format!("l{build}"), &["--scratch", "scratch"]).expect(0, &[]);
    }
    let entries = |path: &str| {
        let all = fs::read_dir(press.path(path)).expect("there");
        let names = all.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
        names.collect::<BTreeSet<_>>()
    };
    assert_eq!(entries("scratch"), BTreeSet::new());
    let lasting = ["lock", "proofs.csv", "sizes.csv"].map(String::from);
    assert_eq!(entries("site/.publisher"), BTreeSet::from(lasting), "what is kept for the next run stays");
}

#[test]
fn notes_that_could_be_taken_for_several_builds_are_refused() {
    let press = Press::new();
    press.files(
        "",
        &[("one/a", b"1"), ("en.md", b"fine\n<!-- build 9 version 9.0 -->\nmore\n"), ("long.md", &[b'x'; 300_000])],
    );
    let words = ["en.md", "line 2", "write it another way"];
    press.release(1, "one", &["--notes", "en=en.md"]).expect(3, &words);
    press.release(1, "one", &["--notes", "en=long.md"]).expect(3, &["long.md", "at most 262144 bytes"]);
    assert!(!press.path("site/releases").exists());
}
