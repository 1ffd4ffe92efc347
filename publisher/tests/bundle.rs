//! Bundles: a tree that was unpacked is one that was installed, and its first update goes by pack.

#[path = "support/world.rs"]
mod world;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

use lamplighter_client::deploy::RouteTaken;

use world::{APP, PLATFORM, World, contents, done, noise, text, write};

const USAGE: i32 = 2;
const SITE: i32 = 5;

/// Builds 1 and 2 of an app with an entry, a link, an empty directory and a name too long for an old tar header.
fn two_builds() -> World {
    let world = World::new();
    release(&world, 1);
    world
}

fn release(world: &World, build: u64) {
    let dir = world.path(&format!("input-{build}"));
    let script = format!("#!/bin/sh\necho \"build {build}\" \"$@\"\n");
    write(&dir.join("bin/app"), script.as_bytes());
    fs::set_permissions(dir.join("bin/app"), fs::Permissions::from_mode(0o755)).expect("set");
    let mut large = noise(1, 50_000);
    large[..8].copy_from_slice(&build.to_le_bytes());
    write(&dir.join("data"), &large);
    write(&dir.join("deep").join("x".repeat(90)).join("y".repeat(120)), b"a long name");
    fs::create_dir_all(dir.join("empty")).expect("made");
    symlink("bin/app", dir.join("start")).expect("linked");
    let config = format!("[platform.{PLATFORM}]\ndir = {:?}\nentry = \"bin/app\"\n", text(&dir));
    write(&world.path("publisher.toml"), config.as_bytes());
    let (build, version) = (build.to_string(), format!("{build}.0"));
    let (site, keys, config) = (text(&world.site()), text(&world.path("keys")), text(&world.path("publisher.toml")));
    let args = ["build-release", "--site", &site, "--app", APP, "--channel", "stable", "--keys", &keys, "--no-proof"];
    world.publisher(&[&args[..], &["--config", &config, "--build", &build, "--version", &version]].concat());
}

fn bundle(world: &World, out: &str, more: &[&str]) -> Output {
    let (site, out) = (text(&world.site()), text(&world.path(out)));
    let args =
        ["bundle", "--site", &site, "--build", "1", "--platform", PLATFORM, "--url", &site, "--channel", "stable"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_publisher"));
    command.args(args).args(["--out", &out]).args(more).output().expect("the publisher runs")
}

#[track_caller]
fn expect(output: &Output, code: i32, words: &[&str]) -> String {
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8(said).expect("UTF-8");
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "expected {word:?} in: {said}");
    }
    said
}

fn unpack(archive: &Path, to: &Path) {
    let file = fs::File::open(archive).expect("an archive");
    if archive.extension().is_some_and(|e| e == "zip") {
        zip::ZipArchive::new(file).expect("a zip").extract(to).expect("unpacked");
    } else {
        tar::Archive::new(zstd::Decoder::new(file).expect("zstd")).unpack(to).expect("unpacked");
    }
}

#[test]
fn the_first_update_of_an_unpacked_archive_goes_by_pack() {
    let world = two_builds();
    for out in ["app.zip", "app.tar.zst"] {
        expect(&bundle(&world, out, &["--name", "App"]), 0, &["build 1 (1.0)", "BLAKE3"]);
        let bytes = fs::read(world.path(out)).expect("an archive");
        fs::remove_file(world.path(out)).expect("removed");
        expect(&bundle(&world, out, &["--name", "App"]), 0, &[]);
        assert!(fs::read(world.path(out)).expect("again") == bytes, "{out} is not the same twice");
        unpack(&world.path(out), &world.path(&format!("unpacked-{out}")));
    }
    release(&world, 2);
    for out in ["app.zip", "app.tar.zst"] {
        let tree = format!("unpacked-{out}/App");
        assert_eq!(world.contents(&tree), contents(&world.path("input-1")), "{out}");
        let mode = |name: &str| world.path(&tree).join(name).metadata().expect("there").permissions().mode() & 0o777;
        assert_eq!((mode("bin/app"), mode("data"), mode(".lamplighter")), (0o755, 0o644, 0o700), "{out}");
        let verified = world.open(&tree).verify(false).expect("verified");
        assert_eq!((verified.build, verified.damaged.len()), (1, 0), "{out}");
        let report = done(world.update(&tree));
        assert_eq!((report.build, report.route), (2, RouteTaken::Pack), "{out}");
        assert_eq!(world.contents(&tree), contents(&world.path("input-2")), "{out}");
    }
    // No secret that decides about rollouts is shared.
    let read = |out: &str| fs::read(world.path(&format!("unpacked-{out}/App/.lamplighter/state"))).expect("a state");
    assert_ne!(read("app.zip"), read("app.tar.zst"));
}

#[test]
fn what_cannot_be_bundled_is_said_and_nothing_is_left() {
    let world = two_builds();
    let left = || fs::read_dir(world.dir.path()).expect("readable").count();
    let before = left();
    expect(&bundle(&world, "app.rar", &[]), USAGE, &[".zip or .tar.zst", "app.rar"]);
    expect(&bundle(&world, "app.zip", &["--template", "rpm"]), USAGE, &["nsis, inno, deb or macos"]);
    expect(&bundle(&world, "app.zip", &["--name", "a/b"]), USAGE, &["a/b"]);
    expect(&bundle(&world, "app.zip", &["--app", "org.example.other"]), SITE, &["another app"]);
    let object =
        fs::read_dir(world.site().join("objects")).expect("objects").next().expect("one").expect("readable").path();
    fs::rename(&object, world.path("aside")).expect("moved");
    assert_ne!(bundle(&world, "app.zip", &[]).status.code(), Some(0));
    fs::rename(world.path("aside"), &object).expect("moved back");
    assert_eq!(left(), before);
    // A macOS bundle has its state beside it.
    expect(&bundle(&world, "app.tar.zst", &["--name", "My.app"]), 0, &[]);
    unpack(&world.path("app.tar.zst"), &world.path("mac"));
    assert!(world.path("mac/.My.app.lamplighter/installed/release").exists());
    assert!(!world.path("mac/My.app/.lamplighter").exists());
}

#[test]
fn templates_are_written_whole_and_filled_in() {
    let world = two_builds();
    let name = "It's $App";
    for kind in ["nsis", "inno", "deb", "macos"] {
        expect(&bundle(&world, kind, &["--template", kind, "--name", name]), 0, &[]);
        expect(&bundle(&world, kind, &["--template", kind]), USAGE, &["exists already"]);
        for (path, bytes) in contents(&world.path(kind)) {
            let script = !path.contains(name);
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let unfilled = text
                .split('@')
                .skip(1)
                .find(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_uppercase() || c == '_'));
            assert!(!script || unfilled.is_none(), "{kind}/{path} has {unfilled:?}");
            if path.ends_with(".sh") || path.contains("usr/bin") {
                let checked = Command::new("sh").arg("-n").arg(world.path(kind).join(&path)).status();
                assert!(checked.expect("sh runs").success(), "{path}");
            }
        }
    }
    let script = fs::read_to_string(world.path("nsis/installer.nsi")).expect("a script");
    assert!(script.contains("!define NAME \"It's $$App\"") && script.contains("$INSTDIR\\bin\\app"), "{script}");
    assert!(world.path("inno/tree").join(name).join(".lamplighter/installed/release").exists());
    let image = Command::new("sh").arg(world.path("macos/image.sh")).output().expect("sh runs");
    expect(&image, 1, &["Contents/Info.plist"]);
}

/// Built with dpkg-deb, unpacked as a package is, started by a user, updated, and started again.
#[test]
fn a_debian_package_gives_each_user_a_copy_that_updates_itself() {
    let world = two_builds();
    expect(&bundle(&world, "deb", &["--template", "deb", "--name", "Example App"]), 0, &[]);
    let run = |program: &str, args: &[&str]| {
        let output = Command::new(program)
            .args(args)
            .current_dir(world.dir.path())
            .env("HOME", world.path("home"))
            .env_remove("XDG_DATA_HOME")
            .env_remove("SOURCE_DATE_EPOCH")
            .output();
        expect(&output.expect("it runs: scripts/setup-debian.sh test"), 0, &[])
    };
    run("deb/build.sh", &["one.deb"]);
    run("deb/build.sh", &["two.deb"]);
    assert!(
        fs::read(world.path("one.deb")).expect("built") == fs::read(world.path("two.deb")).expect("built"),
        "not the same twice"
    );
    let said = run("dpkg-deb", &["--field", "one.deb"]);
    assert!(said.contains("Package: example-app") && said.contains("Version: 1+1.0"), "{said}");
    let said = run("dpkg-deb", &["--contents", "one.deb"]);
    assert!(said.lines().all(|line| line.contains("root/root")), "{said}");
    assert!(
        said.lines().any(|l| l.starts_with("-rw-r--r--") && l.ends_with(".lamplighter/installed/release")),
        "{said}"
    );
    run("dpkg-deb", &["--extract", "one.deb", "system"]);
    let start = |args: &[&str]| run("system/usr/bin/example-app", args);
    assert_eq!(start(&["a b", "c"]), "build 1 a b c\n");
    let tree = "home/.local/share/Example App";
    assert_eq!(world.contents(tree), contents(&world.path("input-1")));
    release(&world, 2);
    assert_eq!(done(world.update(tree)).route, RouteTaken::Pack);
    assert_eq!(start(&[]), "build 2\n");
    assert_eq!(
        world.contents("system/opt/Example App"),
        contents(&world.path("input-1")),
        "what root owns is left alone"
    );
    let beside = fs::read_dir(world.path("home/.local/share")).expect("readable").count();
    assert_eq!(beside, 1, "nothing is left beside the copy");
}
