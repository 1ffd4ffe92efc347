//! A small launcher in Rust: installs the app if it is not there, else updates it, and confirms the new release.
//!
//! usage: launcher TREE SITE ROOT APP CHANNEL [cancel]
//!
//! ROOT is a file with the root document; a real launcher has it compiled in. With `cancel` the download is cancelled as
//! soon as it begins, as a user might. Ends with the number of the error's class, or 0. `client/examples` has the same in
//! C, C#, Python and JavaScript.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;
use std::sync::Arc;

use lamplighter_client::error::{Class, Error};
use lamplighter_client::progress::{Cancel, Event, Phase, Progress};
use lamplighter_client::updater::{CheckOutcome, Config, Origin, Outcome, STARTS_MAX, StageOutcome, Start, Updater};

/// Prints events; may be called from any thread.
struct Printer {
    cancel: Cancel,
    cancel_download: bool,
}

impl Progress for Printer {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Started { phase: Phase::Download, .. } if self.cancel_download => self.cancel.cancel(),
            Event::Started { phase, total_bytes } => println!("  {}: {total_bytes} bytes", phase.name()),
            Event::Advanced { .. } => {}
            Event::Notice { code, subject, text } => println!("  {code}: {subject} {text}"),
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [tree, site, root, app, channel, more @ ..] = arguments.as_slice() else {
        eprintln!("usage: launcher TREE SITE ROOT APP CHANNEL [cancel]");
        return ExitCode::from(2);
    };
    let cancel = Cancel::default();
    let printer = Printer { cancel: cancel.clone(), cancel_download: more.iter().any(|word| word == "cancel") };
    let config = Config { progress: Arc::new(printer), cancel, ..Config::new(tree) };
    let origin = |root| Origin {
        site: site.clone(),
        app: app.clone(),
        channel: channel.clone(),
        platform: Origin::host_platform(),
        root,
        mirrors: Vec::new(),
    };
    let root = match std::fs::read(root) {
        Ok(root) => root,
        Err(error) => {
            eprintln!("{root}: {error}");
            return ExitCode::from(7);
        }
    };
    match install_or_update(config, &origin(root)).and_then(|updater| run(&updater)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let class = number(error.class());
            eprintln!("error {class} {}: {error}", error.code());
            ExitCode::from(class)
        }
    }
}

fn install_or_update(config: Config, origin: &Origin) -> Result<Updater, Error> {
    if !config.tree.join(".lamplighter").is_dir() {
        if let Outcome::Done(report) = Updater::install(config.clone(), origin)? {
            println!("installed {} (build {})", report.version, report.build);
        }
        return Updater::open(config);
    }
    let updater = Updater::open(config)?;
    match updater.check()? {
        CheckOutcome::Available { build, version } => println!("available {version} (build {build})"),
        CheckOutcome::Idle(idle) => {
            println!("nothing to do: {}", idle.code());
            return Ok(updater);
        }
    }
    // All but the last step; the app may run meanwhile.
    match updater.stage(None)? {
        StageOutcome::Ready(prepared) => println!("staged {} (build {})", prepared.version, prepared.build),
        StageOutcome::Idle(idle) => {
            println!("nothing to do: {}", idle.code());
            return Ok(updater);
        }
    }
    // The last step, when the app is closed. Needs no network.
    let report = updater.commit()?;
    println!("updated to {} (build {})", report.version, report.build);
    Ok(updater)
}

/// Counts the start, starts the app, and confirms the release once it works.
fn run(updater: &Updater) -> Result<(), Error> {
    match updater.count_start()? {
        Start::GoBack => println!("went back to build {}", updater.rollback()?.build),
        Start::Probation { start } => println!("start {start} of {STARTS_MAX}"),
        Start::Plain => {}
    }
    // Here the app is started, and looked at for a while.
    updater.confirm_healthy()?;
    println!("confirmed");
    Ok(())
}

/// The exit codes of the `client` program.
fn number(class: Class) -> u8 {
    match class {
        Class::Other => 1,
        Class::Usage => 2,
        Class::Network => 4,
        Class::NotTrusted => 5,
        Class::Damaged => 6,
        Class::Disk => 7,
        Class::Locked => 8,
        Class::TooOld => 10,
        Class::Cancelled => 11,
    }
}
