//! The patcher as an app uses it: waits, commits, starts the new version; and refuses what the app did not ask for.

#![cfg(target_os = "linux")]

mod support {
    pub mod app;
    pub mod world;
}

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use lamplighter_client::error::Error;
use lamplighter_client::process;
use lamplighter_client::updater::{HandedOver, StageOutcome, Updater};
use support::app::{App, program};
use support::world::done;

/// Build 1 installed, build 2 staged, and a process that plays the running app.
struct Case {
    app: App,
    running: Child,
}

impl Case {
    fn new() -> Self {
        Self::with("exit 0", &real_patcher())
    }

    /// Build 2 ends by `ending`, its patcher does `patcher`.
    fn with(ending: &str, patcher: &str) -> Self {
        let app = App::installed();
        app.release_with(2, ending, patcher, "");
        assert!(matches!(app.world.open("tree").stage(None), Ok(StageOutcome::Ready(_))));
        let running = Command::new("sleep").arg("60").spawn().expect("started");
        Self { app, running }
    }

    fn tree(&self) -> Updater {
        self.app.world.open("tree")
    }

    fn installed(&self) -> Option<u64> {
        self.app.build_of("tree")
    }

    fn staged_at(&self) -> PathBuf {
        self.tree().prepared().expect("readable").expect("staged").staged_at
    }

    fn hand_over(&self, arguments: &[&str]) -> Result<HandedOver, Error> {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        self.tree().hand_over(self.running.id(), &arguments)
    }

    /// Leaves a handover, and ends the patcher that was started for it.
    fn leave_handover(&self, arguments: &[&str]) {
        let handed = self.hand_over(arguments).expect("handed over");
        let mut gone = Command::new("kill");
        gone.args(["-9", &handed.patcher_pid.to_string()]).status().expect("killed");
        std::thread::sleep(Duration::from_millis(100));
    }

    /// Runs a patcher with `--json`, by hand.
    fn patcher(&self, pid: u32, tree: &str, staged: &str, arguments: &[&str]) -> Output {
        let mut command = self.app.command("patcher");
        command.args(["--json", "--ask-after", "1", "--give-up-after", "1"]);
        command.args([&pid.to_string(), tree, staged, "--"]).args(arguments);
        command.output().expect("the patcher runs")
    }

    fn end_app(&mut self) {
        self.running.kill().and_then(|()| self.running.wait()).expect("ended");
    }

    fn wait_until_installed(&self, build: u64) {
        let until = Instant::now() + Duration::from_secs(30);
        while self.installed() != Some(build) {
            assert!(Instant::now() < until, "build {build} was never installed");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        let _ = self.running.kill();
        let _ = self.running.wait();
    }
}

/// The body of a release's patcher: the real one, with a log of its own for the app it starts.
fn real_patcher() -> String {
    format!("export APP_LOG=\"$(dirname \"$2\")/log\"\nexec {} \"$@\"", program("patcher").display())
}

fn refused(case: &Case, output: &Output, words: &str) {
    let said = App::said(output, 5);
    assert!(said.contains(words), "{said}");
    assert_eq!(case.installed(), Some(1));
    assert!(case.tree().prepared().expect("readable").is_some(), "the update still waits");
}

#[test]
fn the_patcher_waits_for_the_app_commits_and_starts_the_new_version_with_its_arguments() {
    let mut case = Case::new();
    let odd = ["--open", "a \"b\"", "new\nline", "%PATH%", "", "-", "--"];
    let handed = case.hand_over(&odd).expect("handed over");
    assert!(handed.patcher.starts_with(case.app.world.path("tree/.lamplighter/programs")), "it runs outside the tree");
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(case.installed(), Some(1), "nothing changes while the app runs");
    case.end_app();
    case.wait_until_installed(2);
    let arguments: String = odd.iter().map(|argument| format!("<{argument}>")).collect();
    case.app.expect_log(&format!("<2>{arguments}\n"));
    assert!(case.tree().previous_build().expect("readable").is_some(), "the new version is on probation");
}

#[test]
fn arguments_of_32_kib_pass_and_longer_ones_than_the_system_takes_are_refused_cleanly() {
    let mut case = Case::new();
    let too_long = "x".repeat(4 << 20);
    assert!(matches!(case.hand_over(&[&too_long]), Err(Error::Io { .. })));
    assert_eq!(case.installed(), Some(1));
    let long = "y".repeat(32 << 10);
    case.hand_over(&[&long]).expect("handed over");
    case.end_app();
    case.app.expect_log(&format!("<2><{long}>\n"));
}

#[test]
fn a_patcher_started_by_hand_is_refused() {
    let case = Case::new();
    let (tree, staged) = ("tree", case.staged_at());
    let output = case.patcher(case.running.id(), tree, staged.to_str().expect("text"), &[]);
    refused(&case, &output, "started by the app, not by hand");
}

#[test]
fn a_command_line_that_disagrees_with_the_handover_is_refused() {
    let case = Case::new();
    case.leave_handover(&["a", "b"]);
    let staged = case.staged_at();
    let staged = staged.to_str().expect("text");
    let pid = case.running.id();
    refused(&case, &case.patcher(pid + 1, "tree", staged, &["a", "b"]), "the process");
    refused(&case, &case.patcher(pid, "tree", staged, &["ab"]), "the arguments");
    refused(&case, &case.patcher(pid, "tree", staged, &["a", "c"]), "the arguments");
    let elsewhere = staged.replace("staging/", "staging/0");
    refused(&case, &case.patcher(pid, "tree", &elsewhere, &["a", "b"]), "the new version");
    refused(&case, &case.patcher(pid, "tree", "/tmp", &["a", "b"]), "staging/<key>");
    fs::rename(case.app.world.path("tree"), case.app.world.path("moved")).expect("moved");
    let moved = staged.replace("/tree/", "/moved/");
    let said = App::said(&case.patcher(pid, "moved", &moved, &["a", "b"]), 5);
    assert!(said.contains("the path of the app"), "{said}");
    // Where it lies now, what is staged is committed by the next start.
    let moved = case.app.world.open("moved");
    assert_eq!(moved.commit().expect("committed").build, 2);
}

#[test]
fn a_foreign_handover_is_refused() {
    let case = Case::new();
    case.leave_handover(&[]);
    let at = case.app.world.path("tree/.lamplighter/handover");
    let text = fs::read_to_string(&at).expect("a handover");
    let staged = case.staged_at();
    let staged = staged.to_str().expect("text");
    for bad in [text.replace("build,2", "build,3"), text.replace("end\n", ""), "nonsense".to_owned(), String::new()] {
        fs::write(&at, bad).expect("written");
        let output = case.patcher(1 << 22, "tree", staged, &[]);
        App::said(&output, 5);
        assert_eq!(case.installed(), Some(1));
    }
}

#[test]
fn an_app_that_never_ends_is_left_alone_and_the_next_start_updates() {
    let mut case = Case::new();
    case.leave_handover(&[]);
    let staged = case.staged_at();
    let output = case.patcher(case.running.id(), "tree", staged.to_str().expect("text"), &[]);
    let said = App::said(&output, 8);
    assert!(said.contains("still_running") && said.contains(&case.running.id().to_string()), "{said}");
    assert_eq!(case.installed(), Some(1));
    case.end_app();
    App::said(&case.app.launch(&[]), 0);
    assert_eq!(case.installed(), Some(2));
}

#[test]
fn an_app_that_the_user_started_again_is_waited_for_too() {
    let mut case = Case::new();
    // Any program that runs from the tree.
    let again = case.app.world.path("tree/helper");
    fs::copy("/bin/sleep", &again).expect("copied");
    let mut other = process::spawn(Command::new(&again).arg("1.5")).expect("started");
    case.hand_over(&[]).expect("handed over");
    case.end_app();
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(case.installed(), Some(1), "another program of the tree runs");
    other.wait().expect("ended");
    case.wait_until_installed(2);
}

#[test]
fn a_patcher_that_gives_up_leaves_the_user_with_the_old_version() {
    let mut case = Case::new();
    let helper = case.app.world.path("tree/helper");
    fs::copy("/bin/sleep", &helper).expect("copied");
    let mut other = process::spawn(Command::new(&helper).arg("60")).expect("started");
    case.leave_handover(&["x"]);
    let staged = case.staged_at();
    let pid = case.running.id();
    case.end_app();
    let said = App::said(&case.patcher(pid, "tree", staged.to_str().expect("text"), &["x"]), 8);
    assert!(said.contains(&other.id().to_string()), "{said}");
    case.app.expect_log("<1><x>\n");
    assert_eq!(case.installed(), Some(1));
    other.kill().and_then(|()| other.wait()).expect("ended");
    App::said(&case.app.launch(&[]), 0);
    assert_eq!(case.installed(), Some(2));
}

#[test]
fn a_staged_patcher_that_does_not_work_gives_way_to_the_installed_one() {
    let mut case = Case::with("exit 0", "exit 1");
    // The installed one is that of build 1, which logs nowhere; it commits all the same.
    let handed = case.hand_over(&[]).expect("handed over");
    let text = fs::read_to_string(&handed.patcher).expect("a script");
    assert!(text.contains("of build 1"), "{text}");
    case.end_app();
    case.wait_until_installed(2);
}

#[test]
fn without_any_patcher_that_works_the_commit_is_left_to_the_caller() {
    let app = App::new();
    app.publish(1, &[("app", b"#!/bin/sh\n# 1\n")], "");
    done(app.world.install("tree"));
    app.publish(2, &[("app", b"#!/bin/sh\n# 2\n"), ("patcher", b"#!/bin/sh\nexit 3\n")], "");
    let updater = app.world.open("tree");
    updater.stage(None).expect("staged");
    let refused = updater.hand_over(std::process::id(), &[]);
    assert!(matches!(refused, Err(Error::NoPatcher { .. })), "{refused:?}");
    assert_eq!(updater.commit().expect("committed").build, 2);
}

#[test]
fn a_new_version_that_does_not_start_at_all_goes_back_at_once() {
    let app = App::installed();
    let patcher = format!("#!/bin/sh\n{}\n", real_patcher());
    app.publish(2, &[("app", b"\x7fELF is not a program"), ("patcher", patcher.as_bytes())], "");
    app.world.open("tree").stage(None).expect("staged");
    let mut running = Command::new("sleep").arg("60").spawn().expect("started");
    app.world.open("tree").hand_over(running.id(), &["again".into()]).expect("handed over");
    running.kill().and_then(|()| running.wait()).expect("ended");
    app.expect_log("<1><again>\n");
    assert_eq!(app.build_of("tree"), Some(1));
    assert_eq!(app.world.contents("tree"), support::world::contents(&app.world.path("input-1")));
}

#[test]
fn a_commit_that_fails_starts_the_old_version_and_says_which_update_failed() {
    let mut case = Case::new();
    case.hand_over(&["x"]).expect("handed over");
    // What is staged is damaged after the app looked, and the site is gone.
    fs::rename(case.app.world.site(), case.app.world.path("gone")).expect("renamed");
    fs::write(case.staged_at().join("0"), b"damaged").expect("written");
    case.end_app();
    case.app.expect_log("<1><x>\n");
    assert_eq!(case.installed(), Some(1));
}

#[test]
fn a_tree_that_cannot_be_made_whole_is_not_started() {
    for gives_up in [false, true] {
        let mut case = Case::new();
        let helper = case.app.world.path("tree/helper");
        fs::copy("/bin/sleep", &helper).expect("copied");
        let mut other = gives_up.then(|| process::spawn(Command::new(&helper).arg("60")).expect("started"));
        case.leave_handover(&["x"]);
        let staged = case.staged_at();
        // Of an update that was given up: until a heal has put every file right, the tree may be of neither release.
        fs::write(case.app.world.path("tree/.lamplighter/journal.abandoned"), b"").expect("written");
        let pid = case.running.id();
        case.end_app();
        let said =
            App::said(&case.patcher(pid, "tree", staged.to_str().expect("text"), &["x"]), if gives_up { 8 } else { 6 });
        assert!(gives_up || said.contains("heal"), "{said}");
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(case.app.log(), "", "gives up: {gives_up}");
        if let Some(other) = &mut other {
            other.kill().and_then(|()| other.wait()).expect("ended");
        }
    }
}

#[test]
fn two_patchers_at_once_do_the_work_once() {
    let mut case = Case::new();
    let first = case.hand_over(&[]).expect("handed over");
    let staged = case.staged_at();
    let mut command = case.app.command("patcher");
    command.args([&case.running.id().to_string(), "tree", staged.to_str().expect("text"), "--"]);
    let mut second = command.spawn().expect("started");
    case.end_app();
    case.wait_until_installed(2);
    // Whichever comes second finds the handover gone once it gets the lock.
    let code = second.wait().expect("ended").code();
    assert!(matches!(code, Some(0 | 5)), "{code:?} beside {}", first.patcher_pid);
    case.app.expect_log("<2>");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(case.app.log().matches("<2>").count(), 1, "{}", case.app.log());
}
