//! What clients find in a site at any moment: a publisher that dies between any two renames leaves a sound site, and the
//! next run finishes the job.

#[path = "support/press.rs"]
mod press;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lamplighter_client::format::text::Time;
use lamplighter_publisher::build_release::{self, Request};
use lamplighter_publisher::config::{Config, PlatformConfig};
use lamplighter_publisher::watch::{Step, Watch};

use press::{APP, LINUX, Press, WINDOWS, noise};

/// Where the victim works, and before which rename it dies.
const VICTIM_DIR: &str = "LAMPLIGHTER_TEST_VICTIM_DIR";
const VICTIM_RENAME: &str = "LAMPLIGHTER_TEST_VICTIM_RENAME";

/// Kills the process, without any tidying, before the rename of this number.
struct Killer {
    fatal: usize,
    renames: AtomicUsize,
}

impl Watch for Killer {
    fn step(&self, _: Step, _: &str, _: u64) {}
    fn advanced(&self, _: u64) {}
    fn notice(&self, _: &'static str, _: &str, _: &str) {}
    fn publishing(&self, _: &str) {
        if self.renames.fetch_add(1, Ordering::SeqCst) == self.fatal {
            std::process::abort();
        }
    }
}

fn publish(dir: &std::path::Path, build: u64, killer: &Arc<Killer>) {
    let platform = |name: &str, input: String| {
        (name.to_owned(), PlatformConfig { dir: Some(dir.join(input)), ..PlatformConfig::default() })
    };
    let config = Config {
        site: Some(dir.join("site")),
        keys: Some(dir.join("keys")),
        app: Some(APP.to_owned()),
        channel: Some("stable".to_owned()),
        build: Some(build),
        version: Some("1.0".to_owned()),
        jobs: Some(2),
        notes: [("en".to_owned(), dir.join("notes.md"))].into(),
        platform: [platform(LINUX, format!("l{build}")), platform(WINDOWS, format!("w{build}"))].into(),
        ..Config::default()
    };
    let request = Request::new(&config, true, Time::from_seconds(1_800_000_000)).expect("a request");
    build_release::run(&request, killer.clone()).expect("published");
}

fn immortal() -> Arc<Killer> {
    Arc::new(Killer { fatal: usize::MAX, renames: AtomicUsize::new(0) })
}

/// Not a test of its own: the process that dies. Without its variables it has nothing to do.
#[test]
fn victim() {
    let (Ok(dir), Ok(fatal)) = (std::env::var(VICTIM_DIR), std::env::var(VICTIM_RENAME)) else { return };
    let fatal = fatal.parse().expect("a number");
    publish(dir.as_ref(), 2, &Arc::new(Killer { fatal, renames: AtomicUsize::new(0) }));
}

#[test]
fn a_publisher_killed_at_any_rename_leaves_a_sound_site_and_the_next_run_finishes_the_job() {
    let press = Press::new();
    let big = noise(1, 60_000);
    for (input, first, small) in [("l1", 1, "a"), ("l2", 2, "b"), ("w1", 3, "a"), ("w2", 4, "c")] {
        let mut changed = big.clone();
        changed[0] = first;
        press.files(input, &[("app", &changed), ("small", small.as_bytes())]);
    }
    press.files("", &[("notes.md", b"# News\n")]);
    publish(press.dir.path(), 1, &immortal());
    let before = Press::empty();
    press::copy_tree(press.dir.path(), before.dir.path());

    let count = immortal();
    publish(press.dir.path(), 2, &count);
    let renames = count.renames.load(Ordering::SeqCst);
    let finished = press.site();
    assert!(renames > 10, "{renames} renames");

    for fatal in 0..renames {
        let press = Press::empty();
        press::copy_tree(before.dir.path(), press.dir.path());
        let program = std::env::current_exe().expect("this program");
        let output = Command::new(program)
            .args(["--exact", "victim", "--nocapture"])
            .env(VICTIM_DIR, press.dir.path())
            .env(VICTIM_RENAME, fatal.to_string())
            .output()
            .expect("the victim runs");
        assert!(!output.status.success(), "the victim of rename {fatal} lives");
        assert!(press.path("site/.publisher/tmp").exists(), "a dead process tidies nothing");

        press.verify();
        let head = &press.site()["channels/stable.head"];
        assert!(*head == before.site()["channels/stable.head"], "rename {fatal}: the head moves last");
        publish(press.dir.path(), 2, &immortal());
        let site = press.site();
        assert_eq!(site.keys().collect::<Vec<_>>(), finished.keys().collect::<Vec<_>>(), "rename {fatal}");
        for (name, bytes) in &site {
            assert!(*bytes == finished[name], "rename {fatal}: {name} differs");
        }
    }
}
