//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand};

use crate::exit;
use crate::network::Network;

/// Installs, updates, verifies and heals an application from a site of static files.
#[derive(Debug, Parser)]
#[command(version, after_help = exit::HELP)]
pub(crate) struct Args {
    /// Print results and events as JSON, one object a line.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print results and errors only.
    #[arg(long, global = true)]
    pub(crate) quiet: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Install the release a channel offers into a directory.
    Install(Install),
    /// Take over a tree that was installed by other means, recognising its release by what is on disk.
    Adopt(Origin),
    /// Ask the site whether there is a newer release.
    Check(Check),
    /// Explain in one paragraph which rule decides whether this tree is updated now.
    Why(Why),
    /// Collect what whoever helps you wants to know of this tree, and nothing private.
    Doctor(Doctor),
    /// Fetch, verify and apply the release the channel offers.
    Update(Update),
    /// Look for new releases from time to time and stage them: the next start of the app commits.
    Watch(Watch),
    /// Compare every file of the tree with its manifest.
    Verify(Verify),
    /// Bring every file of the tree back to what its manifest says.
    Heal(Heal),
    /// Start the app: finish or undo what was interrupted, update if you agree, run it, and go back if it never works.
    Launch(Launch),
    /// Say that the installed release works: the way back to the one before is closed.
    Confirm(TreeArgs),
    /// Go back to the last confirmed release, without the site.
    Rollback(TreeArgs),
    /// Keep the installed version: nothing else is installed until `hold --off`.
    Hold(Hold),
    /// Take the app away; files of yours stay.
    Uninstall(TreeArgs),
    /// Show what is installed and where it comes from.
    Status(TreeArgs),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Hold {
    #[command(flatten)]
    pub(crate) tree: TreeArgs,
    /// Let go of it.
    #[arg(long)]
    pub(crate) off: bool,
}

/// The tree a command works on.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct TreeArgs {
    /// Directory of the installed application.
    #[arg(long, value_name = "DIR")]
    pub(crate) tree: PathBuf,
    /// Keep the state here instead of in DIR/.lamplighter; on the same volume. (A macOS bundle's lies beside it.)
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Install, update and heal on a network share, too, where others may change what was verified.
    #[arg(long)]
    pub(crate) allow_network_share: bool,
}

/// Where a tree comes from and what it is.
#[derive(Debug, ClapArgs)]
pub(crate) struct Origin {
    /// The site: a URL or a directory.
    #[arg(long, value_name = "URL|DIR")]
    pub(crate) site: String,
    /// The root document to trust, as it was given to you by the publisher.
    #[arg(long, value_name = "FILE")]
    pub(crate) root: PathBuf,
    /// App id.
    #[arg(long, value_name = "ID")]
    pub(crate) app: String,
    /// Channel to follow.
    #[arg(long, value_name = "NAME")]
    pub(crate) channel: String,
    /// Platform; this machine's by default.
    #[arg(long, value_name = "NAME")]
    pub(crate) platform: Option<String>,
    /// Another place that hands out the same site, asked where the first one fails; may be given more than once. Mirrors the
    /// publisher names are known without it.
    #[arg(long, value_name = "URL|DIR")]
    pub(crate) mirror: Vec<String>,
    #[command(flatten)]
    pub(crate) tree: TreeArgs,
    #[command(flatten)]
    pub(crate) network: Network,
}

/// Where to keep, if anywhere.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct KeepArgs {
    /// Keep what is fetched in this directory, as a part of the site that others take with --from DIR, or from a web server
    /// that hands DIR out; what it lacks they get from the site.
    #[arg(long, value_name = "DIR")]
    pub(crate) keep_site: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Install {
    #[command(flatten)]
    pub(crate) origin: Origin,
    /// Ask here first this time, before the site: a URL or a directory, such as a copy of the site on a stick.
    #[arg(long, value_name = "URL|DIR")]
    pub(crate) from: Option<String>,
    #[command(flatten)]
    pub(crate) keep: KeepArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) tree: TreeArgs,
    /// Tell what is new, in this language; by default in that of LC_ALL, LC_MESSAGES or LANG.
    #[arg(long, value_name = "LANG", num_args = 0..=1)]
    pub(crate) notes: Option<Option<String>>,
    #[command(flatten)]
    pub(crate) network: Network,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Why {
    #[command(flatten)]
    pub(crate) tree: TreeArgs,
    #[command(flatten)]
    pub(crate) network: Network,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) tree: TreeArgs,
    /// Write the report to this file; with --json as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Do not read the app's files to compare them.
    #[arg(long)]
    pub(crate) no_files: bool,
    #[command(flatten)]
    pub(crate) network: Network,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Update {
    #[command(flatten)]
    pub(crate) tree: TreeArgs,
    /// Ask here first this time, before the site: a URL or a directory, such as a copy of the site on a stick.
    #[arg(long, value_name = "URL|DIR")]
    pub(crate) from: Option<String>,
    #[command(flatten)]
    pub(crate) keep: KeepArgs,
    /// Follow this channel from now on.
    #[arg(long, value_name = "NAME")]
    pub(crate) channel: Option<String>,
    /// Do all but the commit, which comes with the next start or the next update.
    #[arg(long)]
    pub(crate) stage_only: bool,
    #[command(flatten)]
    pub(crate) network: Network,
}

/// What becomes of the app's files at a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Files {
    /// They are taken as they are.
    Leave,
    /// Compare them with the manifest and fetch what differs.
    Verify,
    /// Fetch all of them, whatever is there.
    Afresh,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Launch {
    #[command(flatten)]
    pub(crate) tree: TreeArgs,
    /// Update without asking.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Do not look for updates.
    #[arg(long)]
    pub(crate) no_update: bool,
    /// What to do with the app's files before it runs.
    #[arg(long, value_enum, default_value = "leave")]
    pub(crate) files: Files,
    /// A new release is taken to work once it has run this long, or has ended well.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) confirm_after: u64,
    /// Exit code by which the app asks to be updated and started again.
    #[arg(long, value_name = "CODE", default_value_t = 85)]
    pub(crate) restart_code: i32,
    /// What the app is started with.
    #[arg(last = true)]
    pub(crate) arguments: Vec<std::ffi::OsString>,
    #[command(flatten)]
    pub(crate) network: Network,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Watch {
    #[command(flatten)]
    pub(crate) tree: TreeArgs,
    #[command(flatten)]
    pub(crate) network: Network,
    /// Time between two rounds, such as 90s, 30m, 6h or 1d; a minute at least, and a fifth more or less by chance.
    #[arg(long, value_name = "TIME", default_value = "6h", value_parser = interval)]
    pub(crate) interval: Duration,
    /// Make one round and end.
    #[arg(long)]
    pub(crate) once: bool,
}

fn interval(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit_seconds = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => 0,
    };
    let number = digits.parse::<u32>().ok().filter(|_| unit_seconds > 0);
    let number = number.ok_or_else(|| "expected a number and s, m, h or d, such as 6h".to_owned())?;
    Ok(Duration::from_secs(u64::from(number) * unit_seconds))
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) tree: TreeArgs,
    /// Compare the CRC-32 pair of each file, too.
    #[arg(long)]
    pub(crate) crc: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Heal {
    #[command(flatten)]
    pub(crate) tree: TreeArgs,
    /// Ask here first this time, before the site: a URL or a directory.
    #[arg(long, value_name = "URL|DIR")]
    pub(crate) from: Option<String>,
    #[command(flatten)]
    pub(crate) network: Network,
}
