//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;

use crate::exit;

/// Finishes an update while the app is closed, and starts the new version.
#[derive(Debug, Parser)]
#[command(version, after_help = exit::HELP, override_usage = "patcher <PID> <APP> <NEW_VERSION> [-- ARGS]\n       patcher --uninstall <APP>")]
pub(crate) struct Args {
    /// Process of the app; waited for.
    pub(crate) pid: Option<u32>,
    /// Directory of the installed app.
    pub(crate) app: Option<PathBuf>,
    /// Directory of the staged release.
    pub(crate) new_version: Option<PathBuf>,
    /// What the new version is started with.
    #[arg(last = true)]
    pub(crate) arguments: Vec<OsString>,
    /// Take this app away instead; files of yours stay.
    #[arg(long, value_name = "APP", conflicts_with_all = ["pid", "app", "new_version"])]
    pub(crate) uninstall: Option<PathBuf>,
    /// State directory, if it is not at its usual place; for --uninstall.
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Seconds to wait for the app before asking what to do.
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    pub(crate) ask_after: u64,
    /// Seconds to wait for the app in all, where nobody can be asked.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub(crate) give_up_after: u64,
    /// Where to show what is done.
    #[cfg(feature = "window")]
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) view: View,
    /// Say whether this program works here, and do nothing else.
    #[arg(long)]
    pub(crate) self_test: bool,
    /// Print results and events as JSON, one object a line.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print results and errors only.
    #[arg(long)]
    pub(crate) quiet: bool,
}

/// Where a patcher shows what it does.
#[cfg(feature = "window")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum View {
    /// In a window where there is a desktop, else on the terminal.
    Auto,
    /// In a window.
    Window,
    /// On the terminal.
    Terminal,
}
