//! What the command line says; each command's arguments stand with the command.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use lamplighter_publisher::config::Config;
use lamplighter_publisher::error::Error;

use crate::commands::{build_release, init, keygen, promote, serve, verify};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  2  usage: arguments or configuration
  3  input: the directory to be published
  4  trust: keys and signatures
  5  site: what the site holds, or does not; `verify` found something wrong
  6  disk: reading or writing failed
  7  proof: what was built does not lead where it should
  8  locked: another publisher is at work on the site
  130  interrupted

Environment:
  LAMPLIGHTER_ROOT_KEY, LAMPLIGHTER_RELEASE_KEY, LAMPLIGHTER_CHANNEL_KEY
                     content of a minisign secret key file; wins over --keys
  LAMPLIGHTER_ROOT_SIGN, LAMPLIGHTER_RELEASE_SIGN, LAMPLIGHTER_CHANNEL_SIGN
                     a command that signs: words between spaces, or a JSON list of strings. It gets the bytes to be
                     signed on stdin and prints a minisign signature (ED, four lines); wins over --keys
  LAMPLIGHTER_KEY_PASSWORD, LAMPLIGHTER_ROOT_KEY_PASSWORD, LAMPLIGHTER_RELEASE_KEY_PASSWORD,
  LAMPLIGHTER_CHANNEL_KEY_PASSWORD
                     password of protected keys; wins over --password-file. Without either it is asked for on a terminal
  SOURCE_DATE_EPOCH  seconds since 1970, the time of the run: equal input gives equal sites

Progress goes to stderr, results to stdout. Nothing that is published ever changes; a run that dies leaves a site that
clients can use, and the next run finishes the job.";

/// Writes sites of desktop software releases: patches, manifests and signed documents as static files.
#[derive(Debug, Parser)]
#[command(name = "publisher", version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// Write one JSON event a line: progress to stderr, results to stdout.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make key pairs for root, release and channel, as minisign files.
    Keygen(keygen::Args),
    /// Make an empty directory into a site: its first root says which keys may do what.
    Init(init::Args),
    /// Put a release into a site, prove every way to it, and move the channel.
    BuildRelease(Box<build_release::Args>),
    /// Move a channel to a build that is in the site already.
    Promote(promote::Args),
    /// Read a whole site and report everything that is wrong with it.
    Verify(verify::Args),
    /// Hand out a site on this machine, for trying it.
    Serve(serve::Args),
}

/// Where secret keys come from.
#[derive(Debug, clap::Args)]
pub(crate) struct KeyArgs {
    /// Directory of minisign key files: ROLE.key, and more as ROLE-NAME.key. The variables below win over it.
    #[arg(long = "keys", value_name = "DIR")]
    dir: Option<PathBuf>,
    /// File whose first line is the password of protected keys.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl KeyArgs {
    pub(crate) fn dir(&self) -> Option<PathBuf> {
        self.dir.clone()
    }

    pub(crate) fn password_file(&self) -> Option<PathBuf> {
        self.password_file.clone()
    }
}

/// Where settings come from that no flag gives.
#[derive(Debug, clap::Args)]
pub(crate) struct ConfigArgs {
    /// Configuration file; flags win over it. Without this, publisher.toml is read where it exists.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigArgs {
    /// The file with `flags` on top.
    pub(crate) fn with(&self, flags: Config) -> Result<Config, Error> {
        Ok(Config::load(self.config.as_deref())?.with_flags(flags))
    }
}
