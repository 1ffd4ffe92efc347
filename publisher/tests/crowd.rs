//! A crowd on one tree: 64 launchers, updaters and patchers at once, real processes, a third of them killed at random.
//!
//! One updater at a time changes the tree, nobody waits for ever, the app starts whenever it is started, and in the end the
//! tree is the newest release, whole. How long starts took is reported, not judged: `target/scoreboard/crowd.json`.
//! `LAMPLIGHTER_LONG=1` runs 30 rounds, else 2.

#![cfg(target_os = "linux")]

#[path = "../../client/tests/support/scoreboard.rs"]
mod scoreboard;
mod support {
    pub mod app;
    pub mod world;
}

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lamplighter_client::error::{Class, Error};
use lamplighter_client::updater::StageOutcome;
use support::app::{App, program};
use support::world::{contents, done, noise, write};

const CROWD: usize = 64;
/// Builds published in one round.
const BUILDS: u64 = 3;
/// How often an app tries to leave an update to the patcher.
const HAND_OVERS: usize = 4;
/// Nobody waits longer, on the slowest machine.
const FOR_EVER: Duration = Duration::from_secs(420);
const MINE: &str = "notes/mine.txt";

/// What was counted.
#[derive(Debug, Default)]
struct Tally {
    processes: u64,
    kills: u64,
    launched: u64,
    locked: u64,
    handed_over: u64,
    hung: u64,
    longest_launch: Duration,
    direct_starts: u64,
    longest_direct_start: Duration,
    holders_most: usize,
    holders: BTreeSet<u32>,
    /// What should not have happened.
    wrong: Vec<String>,
}

struct Crowd {
    app: App,
    tally: Mutex<Tally>,
    is_over: AtomicBool,
}

/// How a process ended.
struct Ended {
    code: Option<i32>,
    took: Duration,
}

impl Crowd {
    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().expect("no panic")
    }

    fn wrong(&self, text: String) {
        self.tally().wrong.push(text);
    }

    /// Publishes a build with enough in it that a commit is no matter of one rename.
    fn release(&self, build: u64) {
        let patcher = format!("#!/bin/sh\n# of build {build}\nexec {} \"$@\"\n", program("patcher").display());
        let app = format!("#!/bin/sh\n# build {build}\nexit 0\n");
        let noises: Vec<(String, Vec<u8>)> =
            (0..12).map(|n| (format!("data/{n}"), noise(build * 100 + n, 20_000))).collect();
        let mut files: Vec<(&str, &[u8])> = vec![("app", app.as_bytes()), ("patcher", patcher.as_bytes())];
        files.extend(noises.iter().map(|(name, content)| (name.as_str(), content.as_slice())));
        self.app.publish(build, &files, "");
    }

    /// Runs a program of the client to its end, or kills it after a while; nothing is expected of one that was killed.
    fn run(&self, name: &str, args: &[&str], log: &str, kill_after: Option<Duration>) -> Option<Ended> {
        let log = self.app.world.path(log);
        let output = File::create(&log).expect("a log");
        let mut command = self.app.command(name);
        command.args(args).stdin(Stdio::null()).stdout(output.try_clone().expect("a log")).stderr(output);
        let began = Instant::now();
        let mut child = command.spawn().expect("started");
        self.tally().processes += 1;
        if let Some(after) = kill_after {
            std::thread::sleep(after);
            self.tally().kills += u64::from(matches!(child.try_wait(), Ok(None)));
            child.kill().and_then(|()| child.wait()).expect("killed");
            return None;
        }
        match ended(&mut child, began) {
            Some(ended) => Some(ended),
            None => {
                child.kill().and_then(|()| child.wait()).expect("killed");
                self.tally().hung += 1;
                self.wrong(format!("{name} {args:?} never ended: {}", said(&log)));
                None
            }
        }
    }

    fn launch(&self, member: &str, kill_after: Option<Duration>) {
        let log = format!("launch-{member}");
        let Some(ended) = self.run("client", &["launch", "--yes", "--tree", "tree"], &log, kill_after) else { return };
        match ended.code {
            Some(0) => {
                let mut tally = self.tally();
                tally.launched += 1;
                tally.longest_launch = tally.longest_launch.max(ended.took);
            }
            Some(8) => self.tally().locked += 1,
            code => self.wrong(format!("a launcher ended with {code:?}: {}", said(&self.app.world.path(&log)))),
        }
    }

    fn update(&self, member: &str, kill_after: Option<Duration>) {
        let log = format!("update-{member}");
        let Some(ended) = self.run("client", &["update", "--tree", "tree"], &log, kill_after) else { return };
        match ended.code {
            Some(0 | 3) => {}
            Some(8) => self.tally().locked += 1,
            code => self.wrong(format!("an update ended with {code:?}: {}", said(&self.app.world.path(&log)))),
        }
    }

    /// An app that stages an update, leaves the rest to the patcher, and ends.
    fn hand_over(&self, kill_after: Option<Duration>) {
        let updater = self.app.world.open("tree");
        match updater.stage(None) {
            Ok(StageOutcome::Ready(_)) => {}
            Ok(StageOutcome::Idle(_)) => return,
            Err(error) if error.class() == Class::Locked => return self.tally().locked += 1,
            Err(error) => return self.wrong(format!("staging: {error}")),
        }
        let mut running = Command::new("sleep").arg("600").spawn().expect("started");
        let handed = updater.hand_over(running.id(), &[]);
        running.kill().and_then(|()| running.wait()).expect("ended");
        match handed {
            Ok(handed) => {
                {
                    let mut tally = self.tally();
                    (tally.processes, tally.handed_over) = (tally.processes + 1, tally.handed_over + 1);
                }
                if let Some(after) = kill_after {
                    std::thread::sleep(after);
                    let _ = Command::new("kill").args(["-9", &handed.patcher_pid.to_string()]).output();
                    self.tally().kills += 1;
                }
                let began = Instant::now();
                while runs(handed.patcher_pid) {
                    if began.elapsed() > FOR_EVER {
                        self.tally().hung += 1;
                        return self.wrong("a patcher never ended".into());
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            // Somebody was quicker.
            Err(Error::NothingStaged { .. } | Error::NoPatcher { .. }) => {}
            Err(error) if error.class() == Class::Locked => self.tally().locked += 1,
            Err(error) => self.wrong(format!("handing over: {error}")),
        }
    }

    /// Starts the app itself, again and again: it has to start whoever is updating it.
    fn start_directly(&self) {
        while !self.is_over.load(Ordering::Relaxed) {
            let began = Instant::now();
            let status = Command::new(self.app.world.path("tree/app")).status();
            let took = began.elapsed();
            if !status.as_ref().is_ok_and(std::process::ExitStatus::success) {
                self.wrong(format!("the app did not start: {status:?}"));
            }
            {
                let mut tally = self.tally();
                tally.direct_starts += 1;
                tally.longest_direct_start = tally.longest_direct_start.max(took);
            }
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// Watches who holds the lock.
    fn watch_lock(&self) {
        let inode = self.lock_inode();
        while !self.is_over.load(Ordering::Relaxed) {
            let locks = fs::read_to_string("/proc/locks").expect("readable");
            let pids: Vec<u32> = locks.lines().filter_map(|line| holder(line, inode)).collect();
            {
                let mut tally = self.tally();
                tally.holders_most = tally.holders_most.max(pids.len());
                tally.holders.extend(pids);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn lock_inode(&self) -> u64 {
        fs::metadata(self.app.world.path("tree/.lamplighter/lock")).expect("a lock").ino()
    }

    /// One crowd, while builds up to `build` are published.
    fn round(&self, build: u64) {
        let chance = noise(build, CROWD * 3);
        self.is_over.store(false, Ordering::Relaxed);
        std::thread::scope(|scope| {
            scope.spawn(|| self.start_directly());
            scope.spawn(|| self.watch_lock());
            let publisher = scope.spawn(move || (build + 1 - BUILDS..=build).for_each(|build| self.release(build)));
            let members: Vec<_> = (0..CROWD)
                .map(|number| {
                    let [kills, after, late] = [chance[number * 3], chance[number * 3 + 1], chance[number * 3 + 2]];
                    let kill_after = (kills % 3 == 0).then(|| Duration::from_millis(u64::from(after)));
                    let member = format!("{build}-{number}");
                    scope.spawn(move || {
                        // All at once, and yet not all at the very same stage.
                        std::thread::sleep(Duration::from_millis(u64::from(late) * 4));
                        match number % 8 {
                            // Others are quicker, more often than not.
                            0 | 1 => (0..HAND_OVERS).for_each(|_| self.hand_over(kill_after)),
                            2 | 3 => self.update(&member, kill_after),
                            _ => self.launch(&member, kill_after),
                        }
                    })
                })
                .collect();
            let ends: Vec<_> = members.into_iter().chain([publisher]).map(|thread| thread.join()).collect();
            self.is_over.store(true, Ordering::Relaxed);
            assert!(ends.iter().all(Result::is_ok), "somebody panicked");
        });
    }

    /// What is left when all have gone: the newest release, after one more update at most.
    fn expect_whole(&self, build: u64) {
        self.update(&format!("{build}-last"), None);
        assert_eq!(self.app.build_of("tree"), Some(build));
        let verified = self.app.world.open("tree").verify(true).expect("verified");
        assert!(verified.damaged.is_empty(), "{:?}", verified.damaged);
        let mut expected = contents(&self.app.world.path(&format!("input-{build}")));
        expected.insert(MINE.into(), b"mine".to_vec());
        assert_eq!(contents(&self.app.world.path("tree")), expected);
    }
}

fn ended(child: &mut Child, began: Instant) -> Option<Ended> {
    while began.elapsed() < FOR_EVER {
        if let Some(status) = child.try_wait().expect("waited for") {
            return Some(Ended { code: status.code(), took: began.elapsed() });
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}

fn said(log: &Path) -> String {
    fs::read_to_string(log).unwrap_or_default()
}

/// Whether a process is there and has not ended.
fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// The process that holds the lock on `inode`, if this line of `/proc/locks` is about one.
fn holder(line: &str, inode: u64) -> Option<u32> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [_, "FLOCK", _, "WRITE", pid, file, ..] = fields[..] else { return None };
    (file.rsplit(':').next()?.parse() == Ok(inode)).then(|| pid.parse().ok())?
}

fn keep(tally: &Tally, rounds: u64) {
    let figures = serde_json::json!({
        "rounds": rounds,
        "crowd": CROWD,
        "processes": tally.processes,
        "kills": tally.kills,
        "launched": tally.launched,
        "handed_over": tally.handed_over,
        "found_it_locked": tally.locked,
        "lock_holders_seen": tally.holders.len(),
        "lock_holders_at_once": tally.holders_most,
        "waits_for_ever": tally.hung,
        "direct_starts": tally.direct_starts,
        "longest_direct_start_ms": tally.longest_direct_start.as_millis() as u64,
        "longest_launch_ms": tally.longest_launch.as_millis() as u64,
        "mixed_trees": 0,
        "violations": tally.wrong.len(),
    });
    scoreboard::note("crowd", figures);
}

#[test]
fn a_crowd_on_one_tree_takes_turns_and_leaves_it_whole() {
    let crowd = Crowd { app: App::new(), tally: Mutex::default(), is_over: AtomicBool::new(false) };
    crowd.release(1);
    done(crowd.app.world.install("tree"));
    write(&crowd.app.world.path("tree").join(MINE), b"mine");
    let lock = crowd.lock_inode();
    let rounds = if std::env::var_os("LAMPLIGHTER_LONG").is_some() { 30 } else { 2 };
    for round in 1..=rounds {
        let build = 1 + round * BUILDS;
        crowd.round(build);
        crowd.expect_whole(build);
    }
    let tally = crowd.tally();
    keep(&tally, rounds);
    assert!(tally.wrong.is_empty(), "{}", tally.wrong.join("\n"));
    assert!(tally.holders_most <= 1, "{} updaters at once", tally.holders_most);
    assert_eq!(crowd.lock_inode(), lock, "the lock is always the same file");
    assert!(tally.kills > 0 && tally.launched > 0, "{tally:?}");
}
