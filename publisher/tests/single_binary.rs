//! A program that is one file becomes its next build, by itself: the example `single_binary` of the client, for real.

#[path = "support/cargo.rs"]
mod cargo;
#[path = "support/fresh.rs"]
mod fresh;
#[path = "../../client/tests/support/hostile.rs"]
mod hostile;
#[path = "support/world.rs"]
mod world;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, OnceLock};

use hostile::{Fault, Hostile};
use lamplighter_client::download::{JumpingTiming, RetryPolicy};
use lamplighter_client::error::Class;
use lamplighter_client::format::digest::Blake3;
use lamplighter_client::progress::{Cancel, Silent};
use lamplighter_client::single::{SelfConfig, SelfOutcome, SelfUpdate};
use lamplighter_client::source::{HttpOptions, Proxy};
use lamplighter_client::trust::Idle;

use world::{APP, PLATFORM, World, copy, noise, text, write};

const STAMP: &[u8] = b"single_binary build 0000000";

/// How well the publisher works is seen elsewhere.
const QUICKLY: &[&str] = &["--effort", "1", "--no-proof"];

/// The example's bytes, built once with the profile of this test.
fn example() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let built = cargo::build(&["--example", "single_binary", "--message-format", "json"]).output();
        let built = built.expect("cargo runs");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let lines = String::from_utf8(built.stdout).expect("text");
        let artifact = |line: &str| {
            let value: serde_json::Value = serde_json::from_str(line).ok()?;
            value["executable"].as_str().filter(|path| path.contains("single_binary")).map(PathBuf::from)
        };
        let built = lines.lines().find_map(artifact).expect("an executable");
        // Without debugging information, as programs are released.
        let dir = tempfile::tempdir().expect("a directory");
        let released = dir.path().join("released");
        let stripped = Command::new("strip").arg("-o").arg(&released).arg(built).status().expect("strip runs");
        assert!(stripped.success());
        fs::read(released).expect("readable")
    })
}

/// The example as `build`: its stamp rewritten, and some bytes of its own at the end.
fn stamped(build: u64) -> Vec<u8> {
    let mut bytes = example().to_vec();
    let at = bytes.windows(STAMP.len()).position(|window| window == STAMP).expect("the stamp");
    bytes[at + STAMP.len()] = b'0' + build as u8;
    bytes.extend(noise(build, 5000));
    bytes
}

/// A publisher that has published builds 1 to 3, with the site after each as `after-<build>`. The tests share its work.
fn publisher() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let world = World::new();
        for build in 1..=3 {
            let input = world.input(build, &[("demo", &stamped(build))]);
            fs::set_permissions(input.join("demo"), fs::Permissions::from_mode(0o755)).expect("a mode");
            world.publish(build, &input, QUICKLY);
            copy(&world.site(), &world.path(&format!("after-{build}")));
        }
        world
    })
}

/// A site of one's own, and a user's directory with the program and files of others.
struct Desk(World);

impl Desk {
    /// Builds 1 to `last` are published; the user has build 1, under a name of his own.
    fn new(last: u64) -> Self {
        let desk = Self(World { dir: tempfile::tempdir().expect("a directory") });
        copy(&publisher().path("keys"), &desk.0.path("keys"));
        desk.publish(last);
        desk.put(&stamped(1));
        write(&desk.dir().join("neighbour.txt"), b"not ours");
        write(&desk.dir().join("demo"), b"the release calls its file so, and this is another");
        desk
    }

    fn publish(&self, build: u64) {
        let _ = fs::remove_dir_all(self.0.site());
        copy(&publisher().path(&format!("after-{build}")), &self.0.site());
    }

    fn dir(&self) -> PathBuf {
        self.0.path("desk")
    }

    fn app(&self) -> PathBuf {
        self.dir().join("my program")
    }

    fn put(&self, bytes: &[u8]) {
        let _ = fs::remove_file(self.app());
        write(&self.app(), bytes);
        fs::set_permissions(self.app(), fs::Permissions::from_mode(0o750)).expect("a mode");
    }

    fn settings<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let root = self.0.site().join("root/1.root");
        let settings = [
            ("DEMO_SITE", text(&self.0.site())),
            ("DEMO_ROOT", text(&root)),
            ("DEMO_APP", APP.into()),
            ("DEMO_CHANNEL", "stable".into()),
            ("DEMO_PLATFORM", PLATFORM.into()),
        ];
        command.envs(settings)
    }

    /// Runs the program and expects it to succeed; gives what it said.
    #[track_caller]
    fn run(&self, args: &[&str]) -> String {
        let output = fresh::output(self.settings(Command::new(self.app()).args(args)));
        assert!(output.status.success(), "{}", said(&output));
        said(&output)
    }

    /// The program is `build` and nothing else in its directory is new or changed.
    #[track_caller]
    fn expect(&self, build: u64) {
        assert_eq!(Blake3::of(&fs::read(self.app()).expect("there")), Blake3::of(&stamped(build)), "not build {build}");
        assert!(self.run(&[]).starts_with(&format!("build {build}\n")));
        let mode = fs::metadata(self.app()).expect("there").permissions().mode();
        assert_eq!(mode & 0o7777, 0o750, "permissions are kept");
        assert_eq!(fs::read(self.dir().join("neighbour.txt")).expect("there"), b"not ours");
        assert!(fs::read(self.dir().join("demo")).expect("there").starts_with(b"the release calls"));
        assert_eq!(names(&self.dir()), ["demo", "my program", "neighbour.txt"], "nothing stays behind");
    }

    /// Flips a byte in the middle of each pack.
    fn tamper_with_packs(&self) {
        let packs = self.0.site().join("packs");
        let files = walkdir::WalkDir::new(packs).into_iter().filter_map(Result::ok).filter(|e| e.file_type().is_file());
        for file in files {
            let mut bytes = fs::read(file.path()).expect("readable");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(file.path(), bytes).expect("written");
        }
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("listed");
    let mut names: Vec<_> =
        entries.map(|e| e.expect("an entry").file_name().into_string().expect("a name in Unicode")).collect();
    names.sort();
    names
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn it_becomes_the_next_build_by_pack_while_it_runs() {
    let desk = Desk::new(2);
    assert!(desk.run(&["check"]).contains("2.0 (build 2) is available"));
    desk.expect(1);
    let updated = desk.run(&["update"]);
    assert!(updated.contains("replaced by build 2 by pack in 4 requests"), "{updated}");
    desk.expect(2);
    assert!(desk.run(&["update"]).contains("nothing to do: UpToDate"));
    desk.publish(3);
    let updated = desk.run(&["update"]);
    assert!(updated.contains("replaced by build 3 by pack"), "{updated}");
    desk.expect(3);
    // A copy of the first build is still recognised, and skips one.
    desk.put(&stamped(1));
    let updated = desk.run(&["update"]);
    assert!(updated.contains("replaced by build 3 by pack"), "{updated}");
    desk.expect(3);
}

#[test]
fn a_program_nobody_knows_is_replaced_in_full() {
    let desk = Desk::new(2);
    desk.put(&[stamped(1), b"changed by somebody".to_vec()].concat());
    let updated = desk.run(&["update"]);
    assert!(updated.contains("unknown_executable") && updated.contains("by objects"), "{updated}");
    desk.expect(2);
}

#[test]
fn a_tampered_pack_is_not_used() {
    let desk = Desk::new(2);
    desk.tamper_with_packs();
    let updated = desk.run(&["update"]);
    assert!(updated.contains("unusable") && updated.contains("by pack+objects"), "{updated}");
    desk.expect(2);
}

#[test]
fn where_nothing_true_can_be_had_the_program_stays_as_it_is() {
    let desk = Desk::new(2);
    desk.tamper_with_packs();
    fs::remove_dir_all(desk.0.site().join("objects")).expect("removed");
    let output = fresh::output(desk.settings(Command::new(desk.app()).arg("update")));
    assert!(!output.status.success(), "{}", said(&output));
    fs::remove_dir_all(desk.dir().join(".my program.lamplighter")).unwrap_or_default();
    desk.expect(1);
}

/// Old content under a new build number, as a publisher takes a release back.
#[test]
fn a_release_with_the_same_content_changes_nothing() {
    let desk = Desk::new(1);
    desk.0.publish(2, &publisher().path("input-1"), QUICKLY);
    assert!(desk.run(&["update"]).contains("nothing to do: UpToDate"));
    desk.expect(1);
}

#[test]
fn a_release_that_is_a_tree_is_refused() {
    let desk = Desk::new(1);
    let input = desk.0.input(2, &[("demo", &stamped(2)), ("data.txt", b"more")]);
    desk.0.publish(2, &input, &[QUICKLY, &["--bases", "0"]].concat());
    let output = fresh::output(desk.settings(Command::new(desk.app()).arg("update")));
    assert!(!output.status.success() && said(&output).contains("is not one file"), "{}", said(&output));
    desk.expect(1);
}

#[test]
fn state_protects_against_older_heads() {
    let desk = Desk::new(1);
    let head = desk.0.site().join("channels/stable.head");
    let first = fs::read(&head).expect("a head");
    desk.publish(2);
    let second = fs::read(&head).expect("a head");
    let state = desk.0.path("state");
    let with_state = |args: &[&str]| {
        let mut command = Command::new(desk.app());
        fresh::output(desk.settings(command.args(args).env("DEMO_STATE", &state)))
    };
    assert!(said(&with_state(&["update"])).contains("replaced by build 2"));
    desk.expect(2);
    fs::write(&head, &first).expect("written");
    let refused = with_state(&["update"]);
    assert!(!refused.status.success(), "an older head is noticed: {}", said(&refused));
    assert!(desk.run(&["update"]).contains("BelowFloor"), "without state it offers nothing all the same");
    fs::write(&head, &second).expect("written");
    assert!(said(&with_state(&["update"])).contains("UpToDate"));
}

/// Build 1 at `executable`, whose updates come from `server`.
fn in_process(world: &World, server: &Hostile, executable: PathBuf) -> SelfUpdate {
    SelfUpdate::new(SelfConfig {
        site: server.url(),
        app: APP.into(),
        channel: "stable".into(),
        platform: PLATFORM.into(),
        root: fs::read(world.site().join("root/1.root")).expect("a root"),
        build: 1,
        executable: Some(executable),
        state: None,
        http: HttpOptions { proxy: Proxy::None, ..HttpOptions::default() },
        retry: RetryPolicy { timing: Arc::new(JumpingTiming::default()), ..RetryPolicy::default() },
        progress: Arc::new(Silent),
        cancel: Cancel::default(),
        allow_network_share: false,
        share_of: |_| None,
    })
    .expect("a program")
}

#[test]
fn what_was_fetched_outlives_a_pause_of_the_roll_out_and_no_halt() {
    const BYTES: usize = 400_000;
    let world = World::new();
    let (first, more) = (noise(1, BYTES), noise(2, BYTES));
    let second = [&first[..], &more].concat();
    for (build, content) in [(1, &first), (2, &second)] {
        let input = world.input(build, &[("demo", content)]);
        world.publish(build, &input, QUICKLY);
    }
    let executable = world.path("desk/program");
    write(&executable, &first);
    let server = Hostile::dir(&world.site());
    let workshop = world.path("desk/.program.lamplighter");
    let updater = in_process(&world, &server, executable.clone());
    let steer = |action: &str, more: &[&str]| {
        let (site, keys) = (text(&world.site()), text(&world.path("keys")));
        world.publisher(&[&[action, "--site", &site, "--channel", "stable", "--keys", &keys], more].concat());
    };
    let cut_off = || {
        let mut packs = 0;
        server.attack(Box::new(move |path| {
            packs += u32::from(path.starts_with("packs/"));
            match packs {
                0 => Fault::Honest,
                1 => Fault::CutAfter(300_000),
                _ => Fault::Status(500),
            }
        }));
        assert_eq!(updater.update().expect_err("it is cut off").class(), Class::Network);
        server.behave();
        assert!(workshop.exists());
    };

    cut_off();
    steer("halt", &[]);
    assert_eq!(updater.update().expect("asked"), SelfOutcome::Idle(Idle::Halted));
    assert!(!workshop.exists(), "what is halted is not wanted any more");
    steer("resume", &[]);

    cut_off();
    steer("promote", &["--build", "2", "--rollout", "0:0"]);
    let idle = updater.update().expect("asked");
    assert!(matches!(idle, SelfOutcome::Idle(Idle::NotYetRolledOut { .. })), "{idle:?}");
    assert!(workshop.exists(), "the pause says nothing against the build");
    steer("promote", &["--build", "2", "--rollout", "100%"]);
    let SelfOutcome::Replaced(report) = updater.update().expect("updated") else { panic!("there is a newer one") };
    assert!(report.received_bytes < BYTES as u64 / 2, "{report:?}");
    assert!(fs::read(&executable).expect("there") == second && !workshop.exists());
}

/// The directory becomes read-only in a mount namespace of its own, where not even root may write.
#[cfg(target_os = "linux")]
#[test]
fn a_read_only_directory_is_told_and_left_alone() {
    let desk = Desk::new(2);
    let script =
        "set -e; cd \"$1\"; mount --bind desk desk; mount -o remount,ro,bind desk desk; \"desk/my program\" update";
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", script, "sh"]).arg(desk.0.dir.path());
    let output = desk.settings(&mut command).output().expect("unshare runs");
    assert!(!output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("cannot create") && said(&output).contains("Read-only"), "{}", said(&output));
    desk.expect(1);
}
