//! `client launch` and the driver under it: update, run, prove, go back; local storage; uninstall.

#![cfg(unix)]

#[path = "../../client/tests/support/hostile.rs"]
mod hostile;
mod support {
    pub mod app;
    pub(crate) mod fresh;
    pub mod world;
}

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hostile::{Fault, Hostile};
use lamplighter_client::download::{JumpingTiming, Timing};
use lamplighter_client::launch::{Resources, Settings};
use lamplighter_client::launcher::{Answer, AsApp, Host, Question, Setup, as_app, as_updater};
use lamplighter_client::trust::Idle;
use lamplighter_client::updater::{CheckOutcome, Start};
use support::app::App;
use support::fresh;
use support::world::{PLATFORM, done, set_site, write};

/// A host that notes what it is told and gives one answer.
#[derive(Default)]
struct Listener {
    answer: Option<Answer>,
    told: Mutex<Vec<String>>,
    asked: Mutex<Vec<Question>>,
    hook: bool,
}

impl Listener {
    fn saying(answer: Answer) -> Arc<Self> {
        Arc::new(Self { answer: Some(answer), ..Self::default() })
    }

    fn heard(&self, words: &str) -> bool {
        self.told.lock().expect("no panic").iter().any(|text| text.contains(words))
    }
}

impl Host for Listener {
    fn message(&self, text: &str, _: Option<u8>) {
        self.told.lock().expect("no panic").push(text.to_owned());
    }

    fn ask(&self, question: &Question) -> Answer {
        self.asked.lock().expect("no panic").push(question.clone());
        self.answer.unwrap_or(Answer::Yes)
    }

    fn build_and_deploy(&self) -> Result<(), String> {
        if self.hook { Ok(()) } else { Err("no hook".into()) }
    }
}

const PLAIN: Settings =
    Settings { check_minimum: true, run_in_local: false, check_for_updates: true, resources: Resources::Leave };

/// A setup of a program that lies outside the tree.
fn setup(app: &App, settings: Settings) -> Setup {
    Setup {
        program: Some(app.world.path("launcher")),
        arguments: vec!["argument".into()],
        ..Setup::new(app.world.config("tree").0, settings)
    }
}

fn run(setup: &Setup, host: &Arc<Listener>) -> AsApp {
    let host: Arc<dyn Host> = host.clone();
    as_app(setup, &host).expect("a launch")
}

#[test]
fn launching_updates_if_told_to_and_passes_arguments_and_exit_code_on() {
    let app = App::new();
    app.release(1, "exit 7");
    done(app.world.install("tree"));
    app.release(2, "exit 9");
    let odd = ["--dash", "a \"b\" 'c'", "%PATH%", "new\nline", "", "\u{e9}", "$HOME `x` \\"];
    let launched = app.launch(&[&["--"], &odd[..]].concat());
    assert!(App::said(&launched, 7).contains("2.0 (build 2) is available"), "nobody to ask: later");
    let launched = app.launch(&[&["--yes", "--"], &odd[..]].concat());
    App::said(&launched, 9);
    let expected: String = odd.iter().map(|argument| format!("<{argument}>")).collect();
    assert!(app.log().contains(&format!("<1>{expected}\n")), "{}", app.log());
    assert!(app.log().contains(&format!("<2>{expected}\n")), "{}", app.log());
}

#[test]
fn a_release_that_fails_three_first_starts_gives_way_to_the_one_before() {
    let app = App::installed();
    app.release(2, "exit 1");
    for _ in 0..3 {
        App::said(&app.launch(&["--yes"]), 1);
    }
    let said = App::said(&app.launch(&["--yes"]), 0);
    assert!(said.contains("going back"), "{said}");
    assert_eq!(app.log().lines().map(|line| line.ends_with("<2>")).collect::<Vec<_>>(), [true, true, true, false]);
    assert_eq!(app.world.open("tree").check().expect("checked"), CheckOutcome::Idle(Idle::FailedHere(2)));
    App::said(&app.launch(&["--yes"]), 0);
}

#[test]
fn where_the_way_back_is_lost_the_app_still_runs() {
    let app = App::installed();
    app.release(2, "exit 1");
    for _ in 0..3 {
        App::said(&app.launch(&["--yes"]), 1);
    }
    fs::remove_dir_all(app.world.path("tree/.lamplighter/previous/content")).expect("removed");
    fs::rename(app.world.site(), app.world.path("gone")).expect("renamed");
    let said = App::said(&app.launch(&[]), 1);
    assert!(said.contains("going back did not work"), "{said}");
    assert_eq!(app.build_of("tree"), Some(2));
}

#[test]
fn a_release_that_ends_well_once_is_confirmed() {
    let app = App::installed();
    app.release(2, "exit 0");
    App::said(&app.launch(&["--yes"]), 0);
    assert_eq!(app.world.open("tree").previous_build().expect("readable"), None);
}

#[test]
fn a_release_that_runs_long_enough_is_confirmed_although_it_fails_later() {
    let app = App::installed();
    app.release(2, "sleep 1.5; exit 1");
    App::said(&app.launch(&["--yes", "--confirm-after", "1"]), 1);
    assert_eq!(app.world.open("tree").previous_build().expect("readable"), None);
}

#[test]
fn an_app_that_asks_for_it_is_updated_and_started_again() {
    let app = App::new();
    app.release(1, "exit 85");
    done(app.world.install("tree"));
    app.release(2, "exit 4");
    // The first run comes before anything is known of build 2: without --yes nothing is installed.
    let updater = app.world.open("tree");
    updater.stage(None).expect("staged");
    drop(updater);
    App::said(&app.launch(&[]), 4);
    assert!(app.log().contains("<2>"), "what was staged quietly is committed at the next start: {}", app.log());
}

#[test]
fn an_app_that_asks_for_it_at_once_each_time_asks_the_site_once() {
    let app = App::new();
    app.release(1, "[ \"$(wc -l < \"$APP_LOG\")\" -ge 4 ] && exit 4; exit 85");
    done(app.world.install("tree"));
    app.release(2, "exit 0");
    let said = App::said(&app.launch(&[]), 4);
    assert_eq!(app.log().lines().count(), 4);
    assert_eq!(said.matches("2.0 (build 2) is available").count(), 1, "{said}");
}

#[test]
fn an_app_whose_record_cannot_be_verified_runs_and_is_not_updated() {
    let app = App::installed();
    let path = |name: &str| support::world::text(&app.world.path(name));
    let (site, keys, next, file) = (path("site"), path("keys"), path("next"), path("2.root"));
    app.world.publisher(&["keygen", "--out", &next, "--role", "release"]);
    let (old, new) = (format!("release={keys}/release.pub"), format!("release={next}/release.pub"));
    let propose = ["root", "propose", "--site", &site, "--out", &file, "--remove-key", &old, "--add-key", &new];
    app.world.publisher(&propose);
    app.world.publisher(&["root", "sign", &file, "--site", &site, "--keys", &keys]);
    app.world.publisher(&["root", "publish", &file, "--site", &site]);
    fs::copy(app.world.path("next/release.key"), app.world.path("keys/release.key")).expect("copied");
    // A minimum that the installed build reaches, as long as it is known.
    app.release_with(2, "exit 0", "exit 0", "minimum_build = 1");
    done(app.world.update("tree"));
    app.release_with(3, "exit 0", "exit 0", "minimum_build = 2");
    fs::remove_file(app.world.path("tree/.lamplighter/state")).expect("removed");
    fs::rename(app.world.site(), app.world.path("gone")).expect("renamed");
    let host = Listener::saying(Answer::Yes);
    assert!(matches!(run(&setup(&app, PLAIN), &host), AsApp::Ready { start: Start::Plain, .. }));
    assert!(host.heard("cannot look for updates"), "there is no floor to look with");
    assert!(host.asked.lock().expect("no panic").is_empty());
    fs::rename(app.world.path("gone"), app.world.site()).expect("renamed");
    let host = Listener::saying(Answer::Later);
    assert!(matches!(run(&setup(&app, PLAIN), &host), AsApp::Ready { start: Start::Probation { start: 1 }, .. }));
    assert_eq!(host.asked.lock().expect("no panic").len(), 1);
    assert_eq!(app.build_of("tree"), Some(2), "the roots are known again");
}

#[test]
fn later_runs_the_old_version_and_skip_does_not_ask_again() {
    let app = App::installed();
    app.release(2, "exit 0");
    let host = Listener::saying(Answer::Later);
    assert!(matches!(run(&setup(&app, PLAIN), &host), AsApp::Ready { start: Start::Plain, .. }));
    let host = Listener::saying(Answer::Skip);
    assert!(matches!(run(&setup(&app, PLAIN), &host), AsApp::Ready { .. }));
    assert!(matches!(run(&setup(&app, PLAIN), &host), AsApp::Ready { .. }));
    assert_eq!(host.asked.lock().expect("no panic").len(), 1);
    app.release(3, "exit 0");
    let host = Listener::saying(Answer::Yes);
    assert!(matches!(run(&setup(&app, PLAIN), &host), AsApp::Ready { start: Start::Probation { start: 1 }, .. }));
    let asked = host.asked.lock().expect("no panic")[0].clone();
    assert_eq!((asked.build, asked.installed_version.as_deref()), (3, Some("1.0")));
    assert!(host.heard("downloading") && host.heard("changing files"));
}

#[test]
fn a_site_that_cannot_be_reached_keeps_nobody_from_running() {
    let app = App::installed();
    fs::rename(app.world.site(), app.world.path("gone")).expect("renamed");
    let host = Listener::saying(Answer::Yes);
    assert!(matches!(run(&setup(&app, PLAIN), &host), AsApp::Ready { .. }));
    assert!(host.heard("cannot look for updates"));
}

#[test]
fn a_site_that_asks_for_patience_keeps_nobody_waiting() {
    let app = App::installed();
    app.release(2, "exit 0");
    let server = Hostile::dir(&app.world.site());
    set_site(&app.world.path("tree"), &server.url());
    let release = format!("releases/2/{PLATFORM}/release");
    let wait = Fault::StatusWith(503, vec![("Retry-After", "3600".into())]);
    let mut setup = setup(&app, PLAIN);
    let clock = Arc::new(JumpingTiming::default());
    setup.config.retry.timing = clock.clone();
    let host = Listener::saying(Answer::Yes);
    server.always(&release, wait);
    assert!(matches!(run(&setup, &host), AsApp::Ready { .. }));
    assert!(host.heard("cannot look for updates") && host.asked.lock().expect("no panic").is_empty());
    assert_eq!(server.ranges(&release).len(), 1);
    assert!(clock.now() <= setup.config.retry.document_time_max);
}

#[test]
fn a_bundle_that_macos_shows_from_elsewhere_runs_and_is_not_updated() {
    let app = App::new();
    app.release(1, "exit 0");
    let tree = "AppTranslocation/8B2C/d/Lantern.app";
    fs::create_dir_all(app.world.path(tree)).expect("made");
    done(app.world.install(tree));
    app.release(2, "exit 0");
    let setup = Setup { config: app.world.config(tree).0, ..setup(&app, PLAIN) };
    let host = Listener::saying(Answer::Yes);
    assert!(matches!(run(&setup, &host), AsApp::Ready { .. }));
    assert_eq!(app.world.open(tree).installed_build().expect("readable"), Some(1));
    assert!(host.asked.lock().expect("no panic").is_empty());
    assert!(!host.told.lock().expect("no panic").is_empty(), "the user hears why");
}

/// Who only downloads keeps nobody from a whole release; who changes the tree, or waits to, does.
#[test]
fn a_held_lock_keeps_the_app_from_running_while_files_change() {
    let app = App::installed();
    app.release(2, "exit 0");
    let tree = lamplighter_client::tree::Tree::open(&app.world.path("tree"), None).expect("a tree");
    let lock = tree.lock(Duration::ZERO).expect("free");
    let host = Listener::saying(Answer::Yes);
    assert!(matches!(run(&setup(&app, PLAIN), &host), AsApp::Ready { start: Start::Plain, .. }));
    assert!(host.heard("another program prepares an update") && host.asked.lock().expect("no panic").is_empty());
    App::said(&app.launch(&["--yes"]), 0);
    assert_eq!(app.build_of("tree"), Some(1));
    for sign in ["handover", "journal"] {
        let at = app.world.path("tree/.lamplighter").join(sign);
        write(&at, b"of another program");
        let host = Listener::saying(Answer::Yes);
        assert!(matches!(run(&setup(&app, PLAIN), &host), AsApp::Locked), "{sign}");
        assert!(host.heard("is running already"));
        fs::remove_file(at).expect("removed");
    }
    let record = app.world.path("tree/.lamplighter/installed");
    fs::rename(&record, app.world.path("moved")).expect("renamed");
    assert!(
        matches!(run(&setup(&app, PLAIN), &Listener::saying(Answer::Yes)), AsApp::Locked),
        "nothing is installed yet"
    );
    fs::rename(app.world.path("moved"), record).expect("renamed");
    drop(lock);
    App::said(&app.launch(&["--yes"]), 0);
    assert_eq!(app.build_of("tree"), Some(2));
}

/// Four documents opened at once are four starts of a release that works.
#[cfg(target_os = "linux")]
#[test]
fn a_release_that_runs_is_not_taken_back_for_being_started_often() {
    let app = App::installed();
    let sleep = fs::read("/bin/sleep").expect("a program");
    app.publish(2, &[("app", &sleep)], "");
    done(app.world.update("tree"));
    let host = Listener::saying(Answer::Yes);
    let mut running = Vec::new();
    for start in [1, 2, 3, 3, 3] {
        let ready = run(&setup(&app, PLAIN), &host);
        assert!(matches!(ready, AsApp::Ready { start: Start::Probation { start: n }, build: Some(2) } if n == start));
        let started = std::process::Command::new(app.world.path("tree/app")).arg("60").spawn();
        running.push(started.expect("started"));
    }
    assert!(host.heard("has not proved itself yet"));
    for mut child in running {
        child.kill().and_then(|()| child.wait()).expect("ended");
    }
    assert!(matches!(run(&setup(&app, PLAIN), &host), AsApp::Ready { build: Some(1), .. }), "now it has failed");
}

#[test]
fn a_build_below_the_minimum_is_told() {
    let app = App::installed();
    app.release_with(2, "exit 0", "exit 0", "minimum_build = 2");
    let host = Listener::saying(Answer::Yes);
    assert!(matches!(run(&setup(&app, PLAIN), &host), AsApp::UpdateRequired { minimum_build: 2 }));
    assert!(host.heard("download the app afresh"));
    let unchecked = Settings { check_minimum: false, ..PLAIN };
    assert!(matches!(run(&setup(&app, unchecked), &host), AsApp::Ready { .. }));
    App::said(&app.launch(&["--yes"]), 10);
}

#[test]
fn the_app_is_copied_to_local_storage_and_runs_from_there() {
    let app = App::installed();
    let settings = Settings { run_in_local: true, ..PLAIN };
    let setup = Setup { local: Some(app.world.path("local")), ..setup(&app, settings) };
    let host = Listener::saying(Answer::Yes);
    let AsApp::Started(mut child) = run(&setup, &host) else { panic!("started from local storage") };
    child.wait().expect("ended");
    assert!(host.heard("copying the app"));
    let expected = support::world::contents(&app.world.path("input-1"));
    assert_eq!(app.world.contents("local"), expected);
    assert!(app.world.open("local").verify(true).expect("verified").damaged.is_empty());
    // Now the program is the local one, and looks for updates itself.
    app.release(2, "exit 0");
    let local = Setup { program: Some(app.world.path("local/app")), ..setup.clone() };
    assert!(matches!(run(&local, &Listener::saying(Answer::Later)), AsApp::Ready { .. }));
    // Started from elsewhere, it only starts the local one.
    let AsApp::Started(mut child) = run(&setup, &host) else { panic!("started from local storage") };
    child.wait().expect("ended");
}

#[test]
fn a_newer_release_goes_to_empty_local_storage_at_once() {
    let app = App::installed();
    app.release(2, "exit 0");
    let settings = Settings { run_in_local: true, ..PLAIN };
    let setup = Setup { local: Some(app.world.path("local")), ..setup(&app, settings) };
    let AsApp::Started(mut child) = run(&setup, &Listener::saying(Answer::Yes)) else { panic!("started") };
    child.wait().expect("ended");
    assert_eq!(app.build_of("local"), Some(2));
    assert_eq!(app.build_of("tree"), Some(1), "the download stays as it is");
}

#[test]
fn an_updater_installs_updates_and_starts() {
    let app = App::new();
    app.release(1, "exit 0");
    let setup = Setup { origin: Some(app.world.origin()), ..setup(&app, PLAIN) };
    let host: Arc<dyn Host> = Listener::saying(Answer::Yes);
    for build in 1..=2 {
        let AsApp::Started(mut child) = as_updater(&setup, &host, Duration::from_secs(1)).expect("updated") else {
            panic!("started")
        };
        child.wait().expect("ended");
        assert_eq!(app.build_of("tree"), Some(build));
        app.release(build + 1, "exit 0");
    }
    let tree = lamplighter_client::tree::Tree::open(&app.world.path("tree"), None).expect("a tree");
    let lock = tree.lock(Duration::ZERO).expect("free");
    assert!(as_updater(&setup, &host, Duration::from_millis(100)).is_err(), "the lock stays held");
    drop(lock);
}

#[test]
fn resources_are_verified_fetched_or_built() {
    let app = App::installed();
    let with = |resources| setup(&app, Settings { resources, ..PLAIN });
    write(&app.world.path("tree/data"), b"damaged");
    let host = Listener::saying(Answer::Yes);
    run(&with(Resources::Leave), &host);
    assert_eq!(fs::read(app.world.path("tree/data")).expect("there"), b"damaged");
    run(&with(Resources::VerifyAndDeploy), &host);
    assert_eq!(fs::read(app.world.path("tree/data")).expect("there"), b"data");
    write(&app.world.path("tree/data"), b"damaged");
    write(&app.world.path("tree/mine"), b"mine");
    run(&with(Resources::AlwaysDeploy), &host);
    assert_eq!(fs::read(app.world.path("tree/data")).expect("there"), b"data");
    assert_eq!(fs::read(app.world.path("tree/mine")).expect("there"), b"mine", "only what manifests list");
    run(&with(Resources::BuildAndDeploy), &host);
    assert!(host.heard("resources could not be deployed: no hook"));
    let host = Arc::new(Listener { hook: true, ..Listener::default() });
    run(&with(Resources::BuildAndDeploy), &host);
    assert!(!host.heard("resources could not be deployed"));
}

#[test]
fn uninstalling_leaves_what_is_the_users_and_says_where() {
    let app = App::installed();
    write(&app.world.path("tree/data"), b"edited");
    write(&app.world.path("tree/saves/game"), b"mine");
    let said = app.command("client").args(["uninstall", "--tree", "tree"]).output().expect("the client runs");
    let said = App::said(&said, 0);
    assert!(said.contains("tree/data"), "{said}");
    let left: Vec<String> = app.world.contents("tree").into_keys().collect();
    assert_eq!(left, ["data", "saves/game"]);
    assert!(!app.world.path("tree/.lamplighter").exists());
}

#[test]
fn a_tree_nobody_wrote_to_goes_as_a_whole_even_by_a_program_in_it() {
    let app = App::installed();
    let own = app.world.path("tree/patcher-copy");
    fs::copy(support::app::program("patcher"), &own).expect("copied");
    let mut command = std::process::Command::new(&own);
    command.args(["--uninstall", "tree"]).current_dir(app.world.dir.path());
    App::said(&fresh::output(&mut command), 0);
    assert_eq!(app.world.contents("tree").into_keys().collect::<Vec<_>>(), ["patcher-copy"], "not listed, so not ours");
    fs::remove_dir_all(app.world.path("tree")).expect("removed");
    done(app.world.install("tree"));
    let said = app.command("patcher").args(["--uninstall", "tree"]).output().expect("it runs");
    App::said(&said, 0);
    assert!(!app.world.path("tree").exists());
}
