//! The `patcher` program: finishes an update while the app is closed and starts the new version; also uninstalls.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod args;
#[path = "../client/exit.rs"]
mod exit;
#[path = "../client/output.rs"]
mod output;
#[path = "../client/term.rs"]
mod term;
mod view;
#[cfg(feature = "window")]
mod window;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use lamplighter_client::error::Error;
use lamplighter_client::patcher::{self, Job, Patched, Patience};
use lamplighter_client::progress::Cancel;
use lamplighter_client::updater::{Config, Updater};
use serde_json::json;

use args::Args;
use exit::Exit;
use output::Output;
use view::TerminalView;

fn main() -> ExitCode {
    let args = Args::parse();
    if args.self_test {
        println!("patcher {}", env!("CARGO_PKG_VERSION"));
        return Exit::Done.into();
    }
    let output = Output::new(args.json, args.quiet);
    let done = match &args.uninstall {
        Some(tree) => uninstall(tree.clone(), &args, &output),
        None => patch(&args, &output),
    };
    done.unwrap_or_else(|error| {
        let exit = Exit::of(&error);
        output.error(&error, exit);
        exit
    })
    .into()
}

fn config(tree: PathBuf, args: &Args, output: &Output) -> Config {
    let cancel = Cancel::default();
    let on_signal = cancel.clone();
    // Without a handler Ctrl-C ends the program at once, which is safe as well.
    let _ = ctrlc::set_handler(move || on_signal.cancel());
    Config { state: args.state.clone(), progress: output.progress(), cancel, ..Config::new(tree) }
}

fn patch(args: &Args, output: &Output) -> Result<Exit, Error> {
    let (Some(pid), Some(app), Some(new_version)) = (args.pid, args.app.clone(), args.new_version.clone()) else {
        return Err(Error::Usage(
            "a patcher needs the process, the path of the app and that of the new version".into(),
        ));
    };
    let job = Job { pid, app: app.clone(), new_version, arguments: args.arguments.clone() };
    let config = config(app, args, output);
    let patience = Patience { ask_after: Duration::from_secs(args.ask_after), ..Patience::default() };
    let patched = run(job, config, patience, args, output)?;
    let text = match &patched.report {
        Some(report) => format!("updated to {} (build {})", report.version, report.build),
        None => "the update was finished already".to_owned(),
    };
    let fields = json!({
        "build": patched.report.as_ref().map(|r| r.build),
        "version": patched.report.as_ref().map(|r| r.version.clone()),
        "app_pid": patched.app.as_ref().map(std::process::Child::id),
    });
    output.result("patched", fields, &text);
    Ok(Exit::Done)
}

/// In a window where there is a desktop and nobody asked for something else; on the terminal otherwise.
#[cfg(feature = "window")]
fn run(job: Job, config: Config, patience: Patience, args: &Args, output: &Output) -> Result<Patched, Error> {
    let wants_window = match args.view {
        args::View::Auto => !args.json && !args.quiet && has_desktop(),
        args::View::Window => true,
        args::View::Terminal => false,
    };
    if !wants_window {
        return in_terminal(&job, &config, &patience, args, output);
    }
    let title = job.app.file_name().map_or_else(|| "Update".into(), |name| format!("Updating {}", name.display()));
    let cancel = config.cancel.clone();
    window::run(&title, cancel, move |view| {
        let config = Config { progress: view.clone(), ..config };
        patcher::run(&job, &config, &patience, &view)
    })
}

#[cfg(not(feature = "window"))]
fn run(job: Job, config: Config, patience: Patience, args: &Args, output: &Output) -> Result<Patched, Error> {
    in_terminal(&job, &config, &patience, args, output)
}

#[cfg(feature = "window")]
fn has_desktop() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    cfg!(any(windows, target_os = "macos")) || is_set("DISPLAY") || is_set("WAYLAND_DISPLAY")
}

fn in_terminal(
    job: &Job,
    config: &Config,
    patience: &Patience,
    args: &Args,
    output: &Output,
) -> Result<Patched, Error> {
    let view = Arc::new(TerminalView::new(output, Duration::from_secs(args.give_up_after)));
    patcher::run(job, config, patience, &view)
}

fn uninstall(tree: PathBuf, args: &Args, output: &Output) -> Result<Exit, Error> {
    let updater = Updater::open(config(tree, args, output))?;
    output::uninstalled(output, &updater)
}
