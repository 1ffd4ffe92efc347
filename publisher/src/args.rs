//! What the command line says; each command's arguments stand with the command.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use lamplighter_client::format::text::Time;
use lamplighter_publisher::channel::Access;
use lamplighter_publisher::config::Config;
use lamplighter_publisher::error::Error;
use lamplighter_publisher::sign::KeySources;

use crate::commands::{
    build_release, bundle, check_remote, configure, cost, explain, finish, init, keygen, manual, page, promote, prune,
    refresh, revert, root, serve, steer, upload, verify,
};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  `check-remote` found something that expires soon
  2  usage: arguments or configuration
  3  input: the directory to be published
  4  trust: keys and signatures
  5  site: what the site holds, or does not; `verify` or `check-remote` found something wrong
  6  disk or network: reading or writing failed
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
    /// Look at the chain of roots, and put the next root on its end: new keys, thresholds, a new date.
    #[command(subcommand)]
    Root(root::Command),
    /// Put a release into a site, prove every way to it, and move the channel.
    BuildRelease(Box<build_release::Args>),
    /// Move a channel to a build that is in the site already, or change its rollout.
    Promote(promote::Args),
    /// Move a channel to a build that the jobs of a matrix have signed, each its platform's; to all of them or to none.
    Finish(finish::Args),
    /// Offer nothing on a channel, or on one platform of it, until it is resumed.
    Halt(steer::HaltArgs),
    /// Offer again what was halted.
    Resume(steer::HaltArgs),
    /// Mark a build that must never be installed.
    Bad(steer::BadArgs),
    /// Publish the content of an old build under a new number: the way back from a bad one.
    Revert(Box<revert::Args>),
    /// Sign heads again before they are stale; for a scheduled job.
    Refresh(refresh::Args),
    /// Say what an update from one build to another consists of, file by file, and what would make it smaller.
    Explain(explain::Args),
    /// Write the report of a site for people, index.html; where the site is a directory, every change does so, too.
    Page(page::Args),
    /// Send a site to a bucket or a directory: only what is missing, channel heads last.
    Upload(upload::Args),
    /// Write a release as an archive for a download page, or as the folder an installer is made from.
    Bundle(bundle::Args),
    /// Look at a published site as a client does: what is missing, and what expires soon.
    CheckRemote(check_remote::Args),
    /// Read a whole site and report everything that is wrong with it.
    Verify(verify::Args),
    /// Print the configuration of a server, or of a service, that hands out a site.
    Configure(configure::Args),
    /// Work out what a fleet of clients costs a month: requests, bytes, money, peaks; beside full downloads.
    Cost(cost::Args),
    /// Remove old releases from a site, and with them what only they need; first it is only shown what would go.
    Prune(prune::Args),
    /// Hand out a site on this machine, for trying it.
    Serve(serve::Args),
    /// Print a script that completes this program's command line in a shell.
    Completions(manual::CompletionsArgs),
    /// Write man pages of this program.
    Man(manual::ManArgs),
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

/// What every command that works on a site is told.
#[derive(Debug, clap::Args)]
pub(crate) struct SiteArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The site: a directory. Where heads are signed, for pruning and for the page also the address of a site elsewhere,
    /// s3://bucket/prefix, gs://, az:// or https://; what is needed of it is fetched into --cache, and what is new sent back.
    #[arg(long, value_name = "DIR|ADDRESS")]
    site: Option<PathBuf>,
    /// Where what is needed of a site elsewhere is kept for the next time.
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

impl SiteArgs {
    /// The configuration with these flags and `more` on top.
    pub(crate) fn with(&self, more: Config) -> Result<Config, Error> {
        self.config.with(Config { site: self.site.clone(), cache: self.cache.clone(), ..more })
    }
}

/// What every command that signs heads is told.
#[derive(Debug, clap::Args)]
pub(crate) struct SignArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// App id; the site must belong to it.
    #[arg(long, value_name = "ID")]
    app: Option<String>,
    /// The channel.
    #[arg(long, value_name = "NAME")]
    pub(crate) channel: Option<String>,
    #[command(flatten)]
    keys: KeyArgs,
    /// Days until the head is stale. [default: 7]
    #[arg(long, value_name = "DAYS")]
    expires_days: Option<u64>,
    /// Another place that hands out this site, for the head to name; may be given more than once. Without it those it names
    /// stay.
    #[arg(long, value_name = "URL")]
    mirror: Vec<String>,
    /// The head names no mirrors any more.
    #[arg(long, conflicts_with = "mirror")]
    no_mirrors: bool,
}

impl SignArgs {
    /// The configuration with these flags and `more` on top.
    pub(crate) fn with(&self, more: Config) -> Result<Config, Error> {
        let mirrors = (self.no_mirrors || !self.mirror.is_empty()).then(|| self.mirror.clone());
        self.site.with(Config {
            app: self.app.clone(),
            channel: self.channel.clone(),
            keys: self.keys.dir(),
            password_file: self.keys.password_file(),
            expires_days: self.expires_days,
            mirrors,
            ..more
        })
    }
}

/// How the heads of the site in `config` are reached at `time`, with these keys.
pub(crate) fn access<'a>(config: &'a Config, keys: &'a KeySources, time: Time) -> Result<Access<'a>, Error> {
    Ok(Access {
        site: config.site()?,
        origin: None,
        app: config.app.as_ref().map(|_| config.app()).transpose()?,
        keys,
        expires_days: config.expires_days()?,
        mirrors: config.mirrors()?,
        time,
    })
}
