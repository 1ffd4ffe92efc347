//! An app that is one executable file and replaces itself.
//!
//! ```text
//! single_binary           does its work: says which build it is
//! single_binary check     asks the site
//! single_binary update    becomes the newest build; the next start runs it
//! ```
//!
//! A real app compiles in everything below. So that the demonstration can be pointed at any site, this one takes its settings
//! from the environment: `DEMO_SITE` (URL or directory), `DEMO_ROOT` (file of the root document), `DEMO_APP`, `DEMO_CHANNEL`,
//! `DEMO_PLATFORM`, and `DEMO_STATE` (a small file to remember in; optional). Its build number is a stamp in the executable,
//! which a release script may rewrite without compiling again.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::env;
use std::process::ExitCode;
use std::sync::Arc;

use lamplighter_client::download::RetryPolicy;
use lamplighter_client::error::Error;
use lamplighter_client::progress::{Cancel, Event, Progress};
use lamplighter_client::single::{SelfConfig, SelfOutcome, SelfUpdate};
use lamplighter_client::source::HttpOptions;
use lamplighter_client::tree::system_share;
use lamplighter_client::updater::CheckOutcome;

/// The last eight digits are the build number.
static STAMP: &[u8; 28] = b"single_binary build 00000001";

fn main() -> ExitCode {
    let build = own_build();
    println!("build {build}");
    let done = match env::args().nth(1).as_deref() {
        None => Ok(()),
        Some("check") => updater(build).and_then(|updater| check(&updater)),
        Some("update") => updater(build).and_then(|updater| update(&updater)),
        Some(other) => Err(Error::Usage(format!("{other:?} is neither check nor update"))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn own_build() -> u64 {
    // Read as the executable has it, not as the compiler saw it.
    let stamp = std::hint::black_box(STAMP);
    stamp[20..].iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}

fn updater(build: u64) -> Result<SelfUpdate, Error> {
    let root = setting("DEMO_ROOT")?;
    let updater = SelfUpdate::new(SelfConfig {
        site: setting("DEMO_SITE")?,
        app: setting("DEMO_APP")?,
        channel: setting("DEMO_CHANNEL")?,
        platform: setting("DEMO_PLATFORM")?,
        root: std::fs::read(&root).map_err(|source| Error::Io { doing: "read", path: root.into(), source })?,
        build,
        executable: None,
        state: env::var_os("DEMO_STATE").map(Into::into),
        http: HttpOptions::default(),
        retry: RetryPolicy::default(),
        progress: Arc::new(Notices),
        cancel: Cancel::default(),
        allow_network_share: false,
        share_of: system_share,
    })?;
    updater.cleanup();
    Ok(updater)
}

fn setting(name: &str) -> Result<String, Error> {
    env::var(name).map_err(|_| Error::Usage(format!("{name} is not set")))
}

fn check(updater: &SelfUpdate) -> Result<(), Error> {
    match updater.check()? {
        CheckOutcome::Available { build, version } => println!("{version} (build {build}) is available"),
        CheckOutcome::Idle(idle) => println!("nothing to do: {idle:?}"),
    }
    Ok(())
}

fn update(updater: &SelfUpdate) -> Result<(), Error> {
    match updater.update()? {
        SelfOutcome::Replaced(done) => {
            println!("replaced by build {} by {} in {} requests", done.build, done.route.name(), done.requests);
        }
        SelfOutcome::Idle(idle) => println!("nothing to do: {idle:?}"),
    }
    Ok(())
}

/// Tells what a person should hear of.
struct Notices;

impl Progress for Notices {
    fn event(&self, event: Event<'_>) {
        if let Event::Notice { code, text, .. } = event {
            eprintln!("{code}: {text}");
        }
    }
}
