//! What a hostile or broken site can do to a client: cost it time, never change its tree.

#[path = "support/signing.rs"]
mod signing;
#[path = "support/world.rs"]
mod world;

use std::fs;
use std::path::{Path, PathBuf};

use lamplighter_client::deploy::RouteTaken;
use lamplighter_client::error::{Class, Error};
use lamplighter_client::format::document::FileRef;
use lamplighter_client::format::head::Head;
use lamplighter_client::format::release::{PackRow, RELEASE_BYTES_MAX, Release};
use lamplighter_client::updater::{Origin, Outcome, Updater};
use lamplighter_publisher::sign::Role;

use signing::{body_of, change_head_and_text, sign};
use world::{PLATFORM, World, contents, done, noise, write};

/// Build 1 installed in `tree`, build 2 published.
fn installed() -> World {
    let world = World::new();
    world.release(1, &[("a.txt", b"one"), ("big.bin", &noise(1, 400_000)), ("c.txt", b"same")]);
    done(world.install("tree"));
    let mut changed = noise(1, 400_000);
    changed[5] ^= 1;
    world.release(2, &[("a.txt", b"two"), ("big.bin", &changed), ("c.txt", b"same")]);
    world
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let walk = walkdir::WalkDir::new(dir).sort_by_file_name().into_iter().map(|e| e.expect("readable"));
    walk.filter(|e| e.file_type().is_file()).map(walkdir::DirEntry::into_path).collect()
}

fn unchanged(world: &World) {
    assert_eq!(world.contents("tree"), contents(&world.path("input-1")), "the tree is as before");
}

fn code(error: &Error) -> &'static str {
    match error {
        Error::Refused(refusal) => refusal.code(),
        _ => "",
    }
}

#[test]
fn an_altered_head_or_release_is_refused() {
    let world = installed();
    let head = world.site().join("channels/stable.head");
    let release = world.site().join(format!("releases/2/{PLATFORM}/release"));
    for (path, at) in [(&head, 30), (&release, 40)] {
        let good = fs::read(path).expect("there");
        let mut bad = good.clone();
        bad[at] ^= 1;
        write(path, &bad);
        let refused = world.update("tree").expect_err("refused");
        assert!(matches!(refused.class(), Class::NotTrusted | Class::Network), "{refused}");
        unchanged(&world);
        write(path, &good);
    }
    done(world.update("tree"));
}

#[test]
fn an_altered_pack_falls_back_to_objects() {
    let world = installed();
    for pack in files_below(&world.site().join("packs")) {
        let mut bytes = fs::read(&pack).expect("there");
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        write(&pack, &bytes);
    }
    let outcome = world.update("tree");
    match outcome {
        Ok(_) => assert_eq!(world.contents("tree"), contents(&world.path("input-2"))),
        Err(error) => {
            assert_eq!(error.class(), Class::NotTrusted, "{error}");
            unchanged(&world);
        }
    }
}

#[test]
fn a_truncated_or_missing_pack_falls_back_to_objects() {
    let truncate = |pack: &Path| {
        let bytes = fs::read(pack).expect("there");
        write(pack, &bytes[..bytes.len() / 2]);
    };
    let remove = |pack: &Path| fs::remove_file(pack).expect("removed");
    let changes: [&dyn Fn(&Path); 2] = [&truncate, &remove];
    for change in changes {
        let world = installed();
        files_below(&world.site().join("packs")).iter().for_each(|pack| change(pack));
        let (config, notices) = world.config("tree");
        let outcome = Updater::open(config).and_then(|updater| updater.update(None));
        assert_eq!(done(outcome).route, RouteTaken::Objects);
        assert!(notices.has("pack_unusable"), "it says why");
        assert_eq!(world.contents("tree"), contents(&world.path("input-2")));
    }
}

#[test]
fn altered_content_of_every_kind_stops_an_installation() {
    let world = installed();
    let release = world.site().join(format!("releases/2/{PLATFORM}"));
    let mut files = files_below(&world.site().join("objects"));
    files.extend([release.join("manifest.csv"), release.join("objects.csv"), release.join("release")]);
    for (number, path) in files.iter().enumerate() {
        let good = fs::read(path).expect("there");
        let mut bad = good.clone();
        bad[good.len() / 2] ^= 1;
        write(path, &bad);
        let tree = format!("fresh-{number}");
        match world.install(&tree) {
            Err(error) => assert_eq!(error.class(), Class::NotTrusted, "{}: {error}", path.display()),
            // An object of build 1 only.
            Ok(_) => assert_eq!(world.contents(&tree), contents(&world.path("input-2"))),
        }
        write(path, &good);
    }
}

#[test]
fn a_login_page_in_place_of_the_site_is_told_as_such() {
    let world = installed();
    write(&world.site().join("channels/stable.head"), b"<html><body>Please log in</body></html>\n");
    let refused = world.update("tree").expect_err("refused");
    assert_eq!(refused.class(), Class::Network, "{refused}");
    unchanged(&world);
}

#[test]
fn another_root_app_platform_or_channel_is_refused() {
    let world = installed();
    let other = World::new();
    let refused = |origin: Origin, tree: &str| {
        let error = Updater::install(world.config(tree).0, &origin).map(|_| ()).expect_err("refused");
        assert!(!world.path(tree).exists(), "nothing stays behind");
        error
    };
    let root = fs::read(other.site().join("root/1.root")).expect("a root");
    assert_eq!(code(&refused(Origin { root, ..world.origin() }, "t1")), "E_SIGNATURE");
    assert_eq!(code(&refused(Origin { app: "org.example.other".into(), ..world.origin() }, "t2")), "E_WRONG_APP");
    let channel = refused(Origin { channel: "beta".into(), ..world.origin() }, "t3");
    assert_eq!(channel.class(), Class::Network, "{channel}");
    let origin = Origin { platform: "windows-x86_64".into(), ..world.origin() };
    let idle = Updater::install(world.config("t4").0, &origin).expect("understood");
    assert!(matches!(idle, Outcome::Idle(lamplighter_client::trust::Idle::NoReleaseForPlatform)));
    assert!(!world.path("t4").exists());
    let garbage = refused(Origin { root: b"not a root".to_vec(), ..world.origin() }, "t5");
    assert_eq!(code(&garbage), "E_NOT_OURS");
}

/// Replaces the release of build 2, and the head that names it.
fn republish(world: &World, release_body: Vec<u8>, head_more: &str) {
    let release = sign(world, Role::Release, release_body);
    write(&world.site().join(format!("releases/2/{PLATFORM}/release")), &release);
    let name = |head: &mut Head| head.releases[0].file = FileRef::of(&release);
    change_head_and_text(world, name, |text| text.replace("\nend\n", &format!("\n{head_more}end\n")));
}

fn release_two(world: &World) -> Release {
    let path = world.site().join(format!("releases/2/{PLATFORM}/release"));
    Release::parse(&body_of(&path, RELEASE_BYTES_MAX)).expect("a release")
}

#[test]
fn unknown_keys_and_a_later_pack_format_lead_to_objects() {
    let world = installed();
    let mut release = release_two(&world);
    let packs: Vec<PackRow> = release.packs.iter().map(|p| PackRow { format: 2, length: 100, ..p.clone() }).collect();
    let packs = packs.into_iter().map(|p| PackRow { header: FileRef { length: 50, ..p.header }, ..p });
    release.packs = packs.collect();
    release.reads_pack = 2;
    let body = String::from_utf8(release.to_body()).expect("text");
    let body =
        body.replace("\nend\n", "\ncolour,blue\nreads,colour,7\nend\n").replace("\nbuild,2\n", "\nbuild,2,later\n");
    republish(&world, body.into_bytes(), "weather,fine,later\n");
    assert_eq!(done(world.update("tree")).route, RouteTaken::Objects);
    assert_eq!(world.contents("tree"), contents(&world.path("input-2")));
}

#[test]
fn an_unknown_critical_key_means_too_old_and_the_app_still_runs() {
    let world = installed();
    let body = release_two(&world).to_body();
    republish(&world, body, "!weather,fine\n");
    let refused = world.update("tree").expect_err("too old");
    assert_eq!((code(&refused), refused.class()), ("E_CLIENT_TOO_OLD", Class::TooOld));
    unchanged(&world);
    assert!(world.open("tree").verify(false).expect("verified").damaged.is_empty());

    let world = installed();
    let body = String::from_utf8(release_two(&world).to_body()).expect("text").replace("\nend\n", "\n!next,1\nend\n");
    republish(&world, body.into_bytes(), "");
    assert_eq!(world.update("tree").expect_err("too old").class(), Class::TooOld);
    unchanged(&world);
}

#[test]
fn a_damaged_state_costs_nothing_but_freshness() {
    let world = installed();
    write(&world.path("tree/.lamplighter/state"), b"nonsense");
    let (config, notices) = world.config("tree");
    done(Updater::open(config).and_then(|updater| updater.update(None)));
    assert!(notices.has("state_damaged"));
    assert_eq!(world.contents("tree"), contents(&world.path("input-2")));
}

#[test]
fn an_older_head_is_harmless_and_refused() {
    let world = World::new();
    world.release(1, &[("a.txt", b"one")]);
    let path = world.site().join("channels/stable.head");
    let older = fs::read(&path).expect("there");
    world.release(2, &[("a.txt", b"two")]);
    done(world.install("tree"));
    write(&path, &older);
    let refused = world.update("tree").expect_err("refused");
    assert_eq!((code(&refused), refused.class()), ("E_OLDER_HEAD", Class::Network));
    assert_eq!(world.contents("tree"), contents(&world.path("input-2")));
}
