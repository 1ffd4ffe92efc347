//! The chain of roots: made, signed in several places, rotated, and followed by clients that know its beginning alone.

#[path = "support/press.rs"]
mod press;
#[path = "support/world.rs"]
mod world;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lamplighter_client::format::head::{HEAD_BYTES_MAX, Head};
use lamplighter_client::format::signed::SignedDocument;
use lamplighter_client::format::text::Time;
use lamplighter_client::updater::Outcome;
use lamplighter_publisher::sign::{Role, Signers};

use press::{APP, Press, Said, write};
use world::{World, done};

const INPUT: i32 = 3;
const TRUST: i32 = 4;
const SITE: i32 = 5;

/// Two of three root keys, each on a machine of its own.
const CEREMONY: &str = r#"
publisher keygen --role root --password --out alice     # Alice, on her machine
minisign -G -W -p bob.pub -s bob.key                    # Bob, on his, with the stock program (leave out -W)
publisher keygen --role root --out carol                # Carol; keys/ has the keys of the jobs, and all public keys
publisher keygen --role release --role channel --out keys
cp alice/root.pub keys/root-alice.pub
cp bob.pub keys/root-bob.pub
cp carol/root.pub keys/root-carol.pub
publisher init --site site --app org.example.app --keys keys --root-threshold 2 --propose 1.root
publisher root show 1.root
"#;

/// Signing where the keys are.
const SIGNATURES: &str = r#"
publisher root sign 1.root --keys alice                 # Alice asks nobody: it is in her file what she signs

sed '/^end$/q' 1.root > 1.body                          # Bob signs the body, as any file
minisign -S -s bob.key -m 1.body

publisher root add-signature 1.root --signature 1.body.minisig
publisher root publish 1.root --site site
"#;

/// A release key is replaced, and no client ever meets a gap.
const ROTATION: &str = r#"
publisher keygen --role release --out new
publisher root propose --site site --add-key release=new/release.pub --out 2.root
publisher root sign 2.root --site site --keys alice
publisher root sign 2.root --site site --keys carol
publisher root publish 2.root --site site --dry-run     # what would follow
publisher root publish 2.root --site site

cp keys/channel.key new/
publisher build-release --site site --app org.example.app --channel stable --build 2 --version 2.0 \
    --platform linux-x86_64=two --keys new

publisher root propose --site site --remove-key release=keys/release.pub --out 3.root
publisher root sign 3.root --site site --keys alice
publisher root sign 3.root --site site --keys carol
publisher root publish 3.root --site site
"#;

/// A channel key is stolen.
const STOLEN: &str = r#"
publisher keygen --role channel --out fresh
publisher root propose --site site --remove-key channel=keys/channel.pub --add-key channel=fresh/channel.pub --out 4.root
publisher root sign 4.root --site site --keys alice
publisher root sign 4.root --site site --keys carol
publisher root publish 4.root --site site
publisher refresh --site site --keys fresh
"#;

/// Runs a script of the documentation, with the publisher of this build before all others.
#[track_caller]
fn script(dir: &Path, text: &str) -> String {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_publisher"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::iter::once(program.parent().expect("a parent").to_owned()).chain(std::env::split_paths(&path));
    let mut command = Command::new("sh");
    command.args(["-euc", text]).current_dir(dir).env("PATH", std::env::join_paths(places).expect("a path"));
    command.env("LAMPLIGHTER_KEY_PASSWORD", "Alice's own").env_remove("SOURCE_DATE_EPOCH");
    let said = Said::from(command.output().expect("a shell runs")).expect(0, &[]);
    said.out + &said.err
}

/// What the documentation tells, from the first key to a stolen one, with clients that were installed at the beginning.
#[test]
fn the_documented_ceremonies_lead_clients_from_the_first_root_to_the_last() {
    let world = World { dir: tempfile::tempdir().expect("a directory") };
    let run = |text: &str| script(world.dir.path(), text);
    let said = run(CEREMONY);
    assert!(said.contains("root: 2 of 3") && said.contains("missing 2 more of"), "{said}");
    let said = run(SIGNATURES);
    assert!(said.contains("missing 1 more of") && said.contains("site/root/1.root is the root of"), "{said}");
    let said = run(CEREMONY.lines().last().expect("a line"));
    assert!(said.contains("all signatures are there") || said.contains("root: 2 of 3"), "{said}");

    world.release(1, &[("app", b"#!/bin/sh\necho one\n"), ("data", &world::noise(3, 30_000))]);
    // Each keeps the first root; they come back at different times.
    for tree in ["early", "late", "poisoned"] {
        done(world.install(tree));
    }
    write(&world.path("two/app"), b"#!/bin/sh\necho two\n");
    write(&world.path("two/data"), &world::noise(3, 30_000));
    let said = run(ROTATION);
    assert!(
        !said.contains("head-to-sign") && !said.contains("does not accept"),
        "a planned rotation has no gap: {said}"
    );
    assert_eq!(done(world.update("early")).build, 2);
    world.publisher(&["verify", "--site", &world::text(&world.site())]);

    poison(&world);
    assert!(matches!(world.update("poisoned"), Ok(Outcome::Done(_))), "the thief's head is one to believe");
    let said = run(STOLEN);
    assert!(said.contains("does not accept the head of channel stable: sign it again, with 1 of"), "{said}");
    let head = head(&world);
    assert_eq!((head.sequence, head.root_version), (1, 4), "what the thief said of numbers and times is forgotten");
    assert!(head.issued <= Time::now());
    // Clients that believed the thief follow again, and those that never heard of any of it.
    assert!(matches!(world.update("poisoned"), Ok(Outcome::Idle(_))));
    assert_eq!(done(world.update("late")).build, 2);
    fs::rename(world.path("fresh/channel.key"), world.path("new/channel.key")).expect("moved");
    let args =
        ["--app", APP, "--channel", "stable", "--build", "3", "--version", "3", "--platform", "linux-x86_64=one"];
    write(&world.path("one/app"), b"three");
    run(&format!("publisher build-release --site site --keys new {}", args.join(" ")));
    for tree in ["early", "late", "poisoned"] {
        assert_eq!(done(world.update(tree)).build, 3, "{tree}");
    }
    world.publisher(&["verify", "--site", &world::text(&world.site())]);
}

const HEAD: &str = "channels/stable.head";

fn head(world: &World) -> Head {
    let bytes = fs::read(world.site().join(HEAD)).expect("there");
    Head::parse(&SignedDocument::split(&bytes, HEAD_BYTES_MAX).expect("a document").body).expect("a head")
}

/// What a thief of the channel key can do at worst: numbers and times nothing can follow.
fn poison(world: &World) {
    let far = Time::now().plus(40 * 365 * 86_400);
    let head = Head { sequence: (1 << 53) - 1, issued: far, expires: far.plus(86_400), ..head(world) };
    let signers = Signers::load(Role::Channel, Some(&world.path("keys"))).expect("the channel's key");
    let document = signers.sign(head.to_body(), HEAD, far).expect("signed");
    fs::write(world.site().join(HEAD), document.to_bytes()).expect("written");
}

/// A site with one release, and a machine of each root key.
fn published() -> Press {
    let press = Press::new();
    press.files("one", &[("app", b"1"), ("data", &press::noise(1, 20_000))]);
    press.release(1, "one", &[]).expect(0, &[]);
    press
}

/// Proposes with `flags`, signs with the key in `keys`, and publishes.
#[track_caller]
fn rotate(press: &Press, version: u64, flags: &[&str]) -> Said {
    let file = format!("{version}.root");
    press.run(&[&["root", "propose", "--site", "site", "--out", &file], flags].concat()).expect(0, &[]);
    press.run(&["root", "sign", &file, "--site", "site", "--keys", "keys"]).expect(0, &[]);
    press.run(&["root", "publish", &file, "--site", "site"]).expect(0, &[])
}

#[test]
fn releases_of_a_replaced_key_are_named_and_stay_bases_of_new_ones() {
    let press = published();
    press.run(&["keygen", "--out", "next", "--role", "release"]).expect(0, &[]);
    let swap = ["--remove-key", "release=keys/release.pub", "--add-key", "release=next/release.pub"];
    let told = rotate(&press, 2, &swap).err;
    assert!(told.contains("does not accept build 1, which channel stable offers to linux-x86_64"), "{told}");
    assert!(!told.contains("head of channel"), "the channel's keys are as they were: {told}");
    // Nobody can offer build 1 any more; the old key is told since when it is none.
    let replaced = ["was signed by keys of root version 1", "under a new build number"];
    press.run(&["refresh", "--site", "site", "--force", "--keys", "keys"]).expect(TRUST, &replaced);
    let promote = ["promote", "--site", "site", "--channel", "stable", "--build", "1", "--keys", "keys"];
    press.run(&promote).expect(TRUST, &replaced);
    press.release(2, "one", &[]).expect(TRUST, &["is no release key any more since root version 2"]);
    fs::copy(press.path("next/release.key"), press.path("keys/release.key")).expect("copied");
    press.release(1, "one", &[]).expect(TRUST, &replaced);
    // The same content again costs no objects, and who has the old build gets there by a pack.
    let objects = |press: &Press| press.site().into_keys().filter(|name| name.starts_with("objects/")).count();
    let before = objects(&press);
    let said = press.release(2, "one", &["--json"]).expect(0, &[]);
    assert!(said.out.contains("\"base_build\":1") && said.out.contains("\"fate\":\"same\""), "{}", said.out);
    assert_eq!(objects(&press), before);
    press.files("three", &[("app", b"3"), ("data", &press::noise(1, 20_000))]);
    let said = press.release(3, "three", &["--json", "--bases", "2"]).expect(0, &[]);
    assert!(said.out.contains("\"base_build\":1") && !said.err.contains("release-skipped"), "{}", said.out + &said.err);
    press.verify();
}

#[test]
fn a_head_of_replaced_keys_is_signed_again_by_whatever_moves_the_channel() {
    for mover in ["promote", "halt", "refresh"] {
        let press = published();
        press.run(&["keygen", "--out", "next", "--role", "channel"]).expect(0, &[]);
        let swap = ["--remove-key", "channel=keys/channel.pub", "--add-key", "channel=next/channel.pub"];
        let told = rotate(&press, 2, &swap).err;
        assert!(told.contains("does not accept the head of channel stable"), "{told}");
        let show = press.run(&["root", "show", "--site", "site"]).expect(0, &["sign it again"]);
        assert!(show.out.contains("root version 2"), "{}", show.out);
        press.run(&["verify", "--site", "site"]).expect(SITE, &[]);
        let args = [mover, "--site", "site", "--channel", "stable"];
        let more: &[&str] = if mover == "promote" { &["--build", "1"] } else { &[] };
        let run = |keys: &str| press.run(&[&args[..], more, &["--keys", keys]].concat());
        run("keys").expect(TRUST, &["is no channel key any more since root version 2"]);
        if mover == "refresh" {
            // The scheduled job has no copy of the site.
            let job = ["refresh", "--site", "copy", "--from", "site", "--channel", "stable", "--keys", "next"];
            press.run(&["check-remote", "site", "--channel", "stable"]).expect(SITE, &[]);
            press.run(&job).expect(0, &[]);
            fs::copy(press.path("copy/channels/stable.head"), press.path("site/channels/stable.head"))
                .expect("uploaded");
        } else {
            run("next").expect(0, &[]);
        }
        press.verify();
        let show = press.run(&["root", "show", "--site", "site"]).expect(0, &[]);
        assert!(!show.err.contains("sign it again"), "{}", show.err);
    }
}

#[test]
fn channel_keys_sign_the_channels_they_are_bound_to() {
    let press = published();
    press.run(&["keygen", "--out", "beta", "--role", "channel"]).expect(0, &[]);
    rotate(&press, 2, &["--add-key", "channel:beta=beta/channel.pub"]);
    let promote = |channel: &str, keys: &str| {
        press.run(&["promote", "--site", "site", "--channel", channel, "--build", "1", "--keys", keys])
    };
    promote("stable", "beta").expect(TRUST, &["may sign the channel beta alone"]);
    promote("beta", "beta").expect(0, &[]);
    promote("beta", "keys").expect(0, &[]);
    press.verify();
}

#[test]
fn a_root_is_published_only_with_both_thresholds_and_as_the_next() {
    let press = published();
    for name in ["b", "c"] {
        press.run(&["keygen", "--out", name, "--role", "root"]).expect(0, &[]);
    }
    let flags = ["--add-key", "root=b/root.pub", "--add-key", "root=c/root.pub", "--threshold", "root=2"];
    let propose = |out: &str| press.run(&[&["root", "propose", "--site", "site", "--out", out][..], &flags].concat());
    propose("2.root").expect(0, &[]);
    propose("2.root").expect(2, &["exists already"]);
    let before = press.site();
    let publish = |file: &str| press.run(&["root", "publish", file, "--site", "site"]);
    let sign = |file: &str, keys: &str| press.run(&["root", "sign", file, "--site", "site", "--keys", keys]);
    let nobody = ["root version 1 asks for 1 of its root keys", "root version 2 asks for 2", "missing 2 more of"];
    publish("2.root").expect(TRUST, &nobody);
    sign("2.root", "b").expect(0, &[]);
    sign("2.root", "c").expect(0, &[]);
    publish("2.root").expect(TRUST, &["root version 1 asks for 1 of its root keys, found none: missing 1 more of"]);
    // An expired root is no way to anywhere, and signs no heads.
    let other = ["root", "propose", "--site", "site", "--out", "old.root", "--expires-days", "9"];
    press.run(&other).expect(0, &[]);
    let mut late = press.command();
    late.args(["root", "publish", "2.root", "--site", "site"]).env("SOURCE_DATE_EPOCH", "9000000000");
    Said::from(late.output().expect("runs")).expect(TRUST, &["expired at", "propose it again"]);
    sign("2.root", "keys").expect(0, &[]);
    assert_eq!(press.site(), before, "nothing of it touched the site");
    publish("2.root").expect(0, &[]);
    publish("2.root").expect(0, &[]);
    press.verify();
    // The same again, or one that leaves a version out, is not the next.
    publish("old.root").expect(SITE, &["is root version 2; after version 2 comes 3"]);
    press.run(&["root", "propose", "--site", "site", "--out", "3.root"]).expect(0, &[]);
    let skipped = fs::read_to_string(press.path("3.root")).expect("there").replace("version,3", "version,4");
    write(&press.path("4.root"), skipped.as_bytes());
    publish("4.root").expect(SITE, &["is root version 4; after version 2 comes 3"]);
    let other = skipped.replace("version,4", "version,3").replace(APP, "org.other");
    write(&press.path("other.root"), other.as_bytes());
    publish("other.root").expect(SITE, &["for another app", "org.other"]);
}

#[test]
fn signatures_from_elsewhere_are_taken_if_they_are_over_the_body_and_count() {
    let press = published();
    press.run(&["keygen", "--out", "stranger"]).expect(0, &[]);
    press.run(&["root", "propose", "--site", "site", "--out", "2.root"]).expect(0, &[]);
    let minisign = |key: &str, file: &str, more: &[&str]| {
        let mut command = Command::new("minisign");
        command.current_dir(press.dir.path()).args(["-S", "-s", key, "-m", file, "-x", "sig"]).args(more);
        let output = command.output().expect("the stock minisign program is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let add = |more: &[&str]| {
        press.run(&[&["root", "add-signature", "2.root", "--signature", "sig", "--site", "site"], more].concat())
    };
    minisign("stranger/root.key", "2.root", &[]);
    add(&[]).expect(TRUST, &["which is no root key of version 2 and of version 1"]);
    minisign("keys/root.key", "site/root/1.root", &[]);
    add(&[]).expect(TRUST, &["made it over other bytes"]);
    minisign("keys/root.key", "2.root", &["-l"]);
    add(&[]).expect(TRUST, &["prehashed"]);
    write(&press.path("sig"), b"hello\n");
    add(&[]).expect(TRUST, &["expected the four lines that `minisign -S` writes"]);
    // A comment of one's own is signed by the stock program, and has no authority; line ends may be those of Windows.
    minisign("keys/root.key", "2.root", &["-t", "read over the telephone", "-c", "untrusted, too"]);
    let windows = fs::read_to_string(press.path("sig")).expect("there").replace('\n', "\r\n");
    write(&press.path("sig"), windows.as_bytes());
    add(&[]).expect(0, &[]);
    let once = fs::read(press.path("2.root")).expect("there");
    let again = add(&[]).expect(0, &[]);
    assert!(again.out.contains("had these signatures before"), "{}", again.out);
    press.run(&["root", "sign", "2.root", "--keys", "keys"]).expect(0, &[]);
    assert_eq!(fs::read(press.path("2.root")).expect("there"), once, "a key signs once");
    let foreign = press.run(&["root", "sign", "2.root", "--site", "site", "--keys", "stranger"]);
    foreign.expect(TRUST, &["none of the root keys at hand", "is in none of the site's roots"]);
    fs::copy(press.path("keys/release.key"), press.path("stranger/root.key")).expect("copied");
    let mistaken = press.run(&["root", "sign", "2.root", "--keys", "stranger"]);
    mistaken.expect(TRUST, &["is a release key"]);
    press.run(&["root", "publish", "2.root", "--site", "site"]).expect(0, &[]);
    press.verify();
}

#[test]
fn proposals_that_could_not_be_lived_with_are_refused() {
    let press = published();
    let propose =
        |flags: &[&str]| press.run(&[&["root", "propose", "--site", "site", "--out", "2.root"], flags].concat());
    propose(&["--add-key", "release=keys/release.pub"]).expect(TRUST, &["is a release key already"]);
    propose(&["--remove-key", "release=keys/channel.pub"]).expect(TRUST, &["is no release key of root version 1"]);
    propose(&["--remove-key", "channel=keys/channel.pub"])
        .expect(TRUST, &["the channel threshold would be 1, and 0 key(s)"]);
    propose(&["--threshold", "root=2"]).expect(TRUST, &["the root threshold would be 2, and 1 key(s)"]);
    propose(&["--add-key", "release=RWQ"]).expect(2, &["--add-key release=RWQ"]);
    propose(&["--add-key", "release=keys/release.key"]).expect(2, &["minisign public key"]);
    assert!(!press.path("2.root").exists());
}

#[test]
fn an_expired_root_is_followed_by_one_its_keys_sign() {
    let press = Press::empty();
    press.run(&["keygen", "--out", "keys"]).expect(0, &[]);
    let init = ["init", "--site", "site", "--app", APP, "--keys", "keys", "--root-expires-days", "1"];
    let mut command = press.command();
    Said::from(command.args(init).env("SOURCE_DATE_EPOCH", "1700000000").output().expect("runs")).expect(0, &[]);
    press.files("one", &[("app", b"1")]);
    press.release(1, "one", &[]).expect(TRUST, &["root version 1 expired at 2023-11-15", "publisher root propose"]);
    press.run(&["root", "show", "--site", "site"]).expect(0, &["root version 1 expires at 2023-11-15"]);
    rotate(&press, 2, &[]);
    press.release(1, "one", &[]).expect(0, &[]);
    press.verify();
}

#[test]
fn several_keys_of_a_role_sign_together_or_not_at_all() {
    let press = Press::empty();
    press.run(&["keygen", "--out", "keys"]).expect(0, &[]);
    press.run(&["keygen", "--out", "more"]).expect(0, &[]);
    for role in ["root", "release", "channel"] {
        for suffix in ["key", "pub"] {
            let (from, to) = (format!("more/{role}.{suffix}"), format!("keys/{role}-b.{suffix}"));
            fs::rename(press.path(&from), press.path(&to)).expect("moved");
        }
    }
    let init = ["init", "--site", "site", "--app", APP, "--keys", "keys", "--root-threshold", "2"];
    press.run(&[&init[..], &["--release-threshold", "2", "--channel-threshold", "2"]].concat()).expect(0, &[]);
    press.files("one", &[("app", b"1")]);
    press.release(1, "one", &[]).expect(0, &[]);
    let lacking = |role: &str, run: &dyn Fn() -> Said| {
        let (there, away) = (press.path(&format!("keys/{role}-b.key")), press.path("away"));
        fs::rename(&there, &away).expect("moved");
        let said =
            run().expect(TRUST, &[&format!("the {role} keys at hand would not be accepted"), "missing: 1 more of"]);
        fs::rename(&away, &there).expect("moved");
        said
    };
    // There is no directory `two`: keys come first, and nothing is read.
    lacking("release", &|| press.release(2, "two", &[]));
    lacking("channel", &|| press.release(2, "two", &[]));
    press.release(2, "two", &[]).expect(INPUT, &["two"]);
    lacking("channel", &|| press.run(&["refresh", "--site", "site", "--force", "--keys", "keys"]));
    let promote = ["promote", "--site", "site", "--channel", "stable", "--build", "1", "--keys", "keys"];
    lacking("channel", &|| press.run(&promote));
    // Without the channel its key is not needed.
    fs::remove_file(press.path("keys/channel-b.key")).expect("removed");
    press.files("two", &[("app", b"2")]);
    press.release(2, "two", &["--no-channel"]).expect(0, &[]);
    press.verify();
}

#[test]
fn a_command_signs_for_a_role_from_the_configuration_or_a_variable() {
    let press = published();
    press.files("two", &[("app", b"2")]);
    fs::create_dir(press.path("vault")).expect("made");
    fs::rename(press.path("keys/release.key"), press.path("vault/release.key")).expect("moved");
    let sign = "#!/bin/sh\nset -eu\ncat > vault/body\nminisign -S -s vault/release.key -m vault/body -x vault/sig \\\n\
                -t \"$LAMPLIGHTER_SIGN_COMMENT\" >/dev/null\necho \"$LAMPLIGHTER_SIGN_ROLE $LAMPLIGHTER_SIGN_NAME\" >> vault/log\n\
                cat vault/sig\n";
    write(&press.path("vault/sign.sh"), sign.as_bytes());
    write(&press.path("publisher.toml"), b"[signers]\nrelease = [\"sh\", \"vault/sign.sh\"]\n");
    press.release(2, "two", &[]).expect(0, &[]);
    let log = fs::read_to_string(press.path("vault/log")).expect("there");
    assert_eq!(log, "release probe\nrelease releases/2/linux-x86_64/release\n");
    fs::remove_file(press.path("publisher.toml")).expect("removed");
    let with = |variable: &str, build: u64, input: &str| {
        let mut command = press.command();
        command.args(Press::release_args(build, input)).env("LAMPLIGHTER_RELEASE_SIGN", variable);
        Said::from(command.output().expect("the publisher runs"))
    };
    with("sh vault/sign.sh", 3, "two").expect(0, &[]);
    // Before any work: there is no directory `none`.
    with("false", 4, "none").expect(TRUST, &["the command that signs as release (false) failed: it ended with"]);
    with("[\"sh\", \"-c\", \"echo no token >&2; exit 1\"]", 4, "none").expect(TRUST, &["no token"]);
    with("echo hello", 4, "none").expect(TRUST, &["is no signature"]);
    press.verify();
}
