//! `client launch`: the ready-made launcher.

use std::io::{IsTerminal, Write};
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lamplighter_client::error::Error;
use lamplighter_client::launch::{Resources, Settings};
use lamplighter_client::launcher::{Answer, AsApp, Host, Question, Setup, as_app, start};
use lamplighter_client::updater::{Config, Start, Updater};
use serde_json::json;

use super::check::{in_text, own_language};
use super::config;
use crate::args::{Files, Launch};
use crate::exit::Exit;
use crate::output::Output;

/// How often a running app is looked at.
const POLL: Duration = Duration::from_millis(50);

/// How soon after a look the site is asked again because the app wants to be started again: one that ends at once would ask
/// without end.
const LOOK_PAUSE: Duration = Duration::from_secs(60);

pub(super) fn run(args: Launch, output: &Output) -> Result<Exit, Error> {
    let config = config(args.tree.clone(), &args.network, output);
    let asks = !args.yes && !output.is_json() && std::io::stdin().is_terminal();
    let host: Arc<dyn Host> = Arc::new(TerminalHost { asks, yes: args.yes, output: output.clone() });
    let setup = setup(&args, config);
    let mut looked: Option<Instant> = None;
    loop {
        let looks = looks_again(looked.map(|at| at.elapsed())) || is_staged(&setup);
        if looks {
            looked = Some(Instant::now());
        }
        let app = match as_app(&if looks { setup.clone() } else { without_look(&setup) }, &host)? {
            AsApp::Ready { start: counted, build } => {
                output.finish();
                let updater = Updater::open(setup.config.clone())?;
                match start(&updater, &args.arguments)? {
                    Some(app) => Running { app, updater, on_probation: build.filter(|_| counted != Start::Plain) },
                    None => return Err(nothing_to_start(&setup)),
                }
            }
            AsApp::Started(app) => Running { app, updater: Updater::open(setup.config.clone())?, on_probation: None },
            AsApp::HandedOver { build, patcher_pid } => {
                let fields = json!({"build": build, "patcher_pid": patcher_pid});
                output.result("handed_over", fields, "the patcher finishes the update and starts the app");
                return Ok(Exit::Done);
            }
            AsApp::Restart => return Err(nothing_to_start(&setup)),
            AsApp::Locked => return Ok(Exit::Locked),
            AsApp::UpdateRequired { .. } => return Ok(Exit::TooOld),
        };
        let code = app.wait(Duration::from_secs(args.confirm_after), output)?;
        if code != args.restart_code {
            std::process::exit(code);
        }
        output.message("the app asks to be started again");
    }
}

fn setup(args: &Launch, config: Config) -> Setup {
    let resources = match args.files {
        Files::Leave => Resources::Leave,
        Files::Verify => Resources::VerifyAndDeploy,
        Files::Afresh => Resources::AlwaysDeploy,
    };
    let update = !args.no_update;
    let settings = Settings { check_minimum: update, run_in_local: false, check_for_updates: update, resources };
    Setup { arguments: args.arguments.clone(), language: own_language(), ..Setup::new(config, settings) }
}

/// Whether the site is asked at a start, so long after it was asked last.
fn looks_again(since: Option<Duration>) -> bool {
    since.is_none_or(|since| since >= LOOK_PAUSE)
}

/// What waits is committed at the next start, however soon that comes.
fn is_staged(setup: &Setup) -> bool {
    let prepared = Updater::open(setup.config.clone()).and_then(|updater| updater.prepared());
    prepared.is_ok_and(|prepared| prepared.is_some())
}

fn without_look(setup: &Setup) -> Setup {
    let settings = Settings { check_minimum: false, check_for_updates: false, ..setup.settings };
    Setup { settings, ..setup.clone() }
}

fn nothing_to_start(setup: &Setup) -> Error {
    let tree = setup.config.tree.display();
    Error::Usage(format!("the release installed in {tree} names no program to start (entry in publisher.toml)"))
}

/// The app, and the build of it that still has to prove itself.
struct Running {
    app: Child,
    updater: Updater,
    on_probation: Option<u64>,
}

impl Running {
    /// Waits for the app; on the way, confirms a release that runs long enough, or ends well. Gives its exit code.
    fn wait(mut self, confirm_after: Duration, output: &Output) -> Result<i32, Error> {
        let begun = Instant::now();
        loop {
            let waited = self.app.try_wait();
            let ended = waited.map_err(|source| Error::Io { doing: "wait for", path: "the app".into(), source })?;
            let works = ended.map_or(begun.elapsed() >= confirm_after, |status| status.success());
            if works
                && let Some(build) = self.on_probation.take()
                && let Err(error) = self.updater.confirm_build(build)
            {
                output.message(&format!("cannot note that the new release works: {error}"));
            }
            if let Some(status) = ended {
                return Ok(exit_code(status));
            }
            std::thread::sleep(POLL);
        }
    }
}

/// The code of the app; ended by a signal, 128 and its number, as shells have it.
fn exit_code(status: std::process::ExitStatus) -> i32 {
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt;
        if let Some(signal) = status.signal() {
            return 128 + signal;
        }
    }
    status.code().unwrap_or(1)
}

struct TerminalHost {
    asks: bool,
    yes: bool,
    output: Output,
}

impl Host for TerminalHost {
    fn message(&self, text: &str, percent: Option<u8>) {
        // Progress is shown by the bar.
        if percent.is_none() {
            self.output.message(text);
        }
    }

    fn ask(&self, question: &Question) -> Answer {
        if self.yes {
            return Answer::Yes;
        }
        let installed = question.installed_version.as_deref().unwrap_or("nothing");
        let news = in_text(&question.notes);
        let text = format!("{} (build {}) is available; you have {installed}{news}", question.version, question.build);
        if !self.asks {
            self.output.message(&text);
            return Answer::Later;
        }
        self.output.finish();
        let restart = if question.needs_restart { "; the app is restarted for it" } else { "" };
        let _ = write!(std::io::stderr(), "{text}\n\nUpdate now{restart}? [Y]es, [l]ater, [s]kip this version: ");
        let mut line = String::new();
        let answered = std::io::stdin().read_line(&mut line).is_ok_and(|count| count > 0);
        match line.trim().to_ascii_lowercase().as_str() {
            "" | "y" | "yes" if answered => Answer::Yes,
            "s" | "skip" => Answer::Skip,
            _ => Answer::Later,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_site_is_asked_once_a_minute() {
        let after = |seconds| looks_again(Some(Duration::from_secs(seconds)));
        assert_eq!((looks_again(None), after(0), after(59), after(60)), (true, false, false, true));
    }
}
