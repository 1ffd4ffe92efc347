//! `publisher root`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;
use lamplighter_client::format::layout;
use lamplighter_client::format::root::{Role as RootRole, Root};
use lamplighter_client::format::text::Time;
use lamplighter_client::trust::ROOT_WARNING_SECONDS;
use lamplighter_publisher::config::Config;
use lamplighter_publisher::error::Error;
use lamplighter_publisher::init::ROOT_EXPIRES_DAYS_DEFAULT;
use lamplighter_publisher::root::propose::{self, Changes};
use lamplighter_publisher::root::publish::{self, consequences};
use lamplighter_publisher::root::{Draft, RootError, gather, read_previous};
use lamplighter_publisher::site::{Site, Trust};
use lamplighter_publisher::watch::Watch;
use serde_json::{Value, json};

use crate::args::{ConfigArgs, KeyArgs, SiteArgs};
use crate::term::Term;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the roots of a site, or a proposed root and who signed it.
    Show(ShowArgs),
    /// Write the next root to a file, for its signatures to be gathered there. Without changes it only gets a new date.
    Propose(ProposeArgs),
    /// Sign a proposed root with the root keys at hand.
    Sign(GatherArgs),
    /// Add a signature that was made elsewhere, by `minisign -S` or any program that signs as it does.
    AddSignature(AddArgs),
    /// Put a proposed root on the end of a site's chain, once enough keys signed it. It cannot be taken back.
    Publish(PublishArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// A proposed root.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ProposeArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// A key to add: ROLE is root, release, channel, or channel:NAME for one channel alone; KEY is a minisign public key or its
    /// .pub file. May be given more than once, as the next two.
    #[arg(long, value_name = "ROLE=KEY")]
    add_key: Vec<String>,
    /// A key to remove, by itself, its .pub file or its id; from a channel where that is named, or else from all.
    #[arg(long, value_name = "ROLE=KEY|ID")]
    remove_key: Vec<String>,
    /// How many keys of a role must sign.
    #[arg(long, value_name = "ROLE=N")]
    threshold: Vec<String>,
    /// Days the root is good for.
    #[arg(long, value_name = "DAYS", default_value_t = ROOT_EXPIRES_DAYS_DEFAULT)]
    expires_days: u64,
    /// The file to write; it must not exist. [default: VERSION.root]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// A proposed root and what it follows.
#[derive(Debug, clap::Args)]
pub(crate) struct DraftArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The site whose newest root comes before.
    #[arg(long, value_name = "DIR")]
    site: Option<PathBuf>,
    /// The root before, where there is no site: a copy of its newest root/N.root.
    #[arg(long, value_name = "FILE", conflicts_with = "site")]
    previous: Option<PathBuf>,
    /// The proposed root.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct GatherArgs {
    #[command(flatten)]
    draft: DraftArgs,
    #[command(flatten)]
    keys: KeyArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct AddArgs {
    #[command(flatten)]
    draft: DraftArgs,
    /// The .minisig file; may be given more than once.
    #[arg(long, value_name = "FILE", required = true)]
    signature: Vec<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PublishArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// The proposed root.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Check everything and tell what would follow, but write nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(command: &Command, term: &Term) -> Result<ExitCode, Error> {
    match command {
        Command::Show(args) => show(args, term),
        Command::Propose(args) => propose(args, term),
        Command::Sign(args) => sign(args, term),
        Command::AddSignature(args) => add_signature(args, term),
        Command::Publish(args) => publish(args, term),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn show(args: &ShowArgs, term: &Term) -> Result<(), Error> {
    let config = args.site.with(Config::default())?;
    let now = super::now()?;
    let trust = config.site.as_deref().map(|dir| Trust::read(&Site::open(dir)?)).transpose()?;
    if let Some(file) = &args.file {
        let draft = Draft::read(file)?;
        tell(&draft.root, now, term);
        tell_missing(&draft, trust.as_ref().map(|t| previous_of(t, &draft.root)), term);
        return Ok(());
    }
    let (site, trust) = (Site::open(config.site()?)?, trust);
    let trust = trust.map_or_else(|| Trust::read(&site), Ok)?;
    trust.roots().iter().for_each(|root| tell(root, now, term));
    let root = trust.root();
    if root.expires <= now.plus(ROOT_WARNING_SECONDS) {
        let text = format!("root version {} expires at {}; propose a newer one", root.version, root.expires);
        term.notice("root-expires", "root", &text);
    }
    for found in consequences(&site, &trust, root)? {
        term.notice(found.code(), &found.subject(), &found.text(root.version));
    }
    Ok(())
}

fn propose(args: &ProposeArgs, term: &Term) -> Result<(), Error> {
    let config = args.site.with(Config::default())?;
    let site = Site::open(config.site()?)?;
    let trust = Trust::read(&site)?;
    let changes = Changes::parse(&args.add_key, &args.remove_key, &args.threshold)?;
    let root = propose::next(trust.root(), &changes, &site.channels()?, super::now()?, args.expires_days)?;
    let name = format!("{}.root", root.version);
    let file = propose::write(&root, args.out.clone().unwrap_or_else(|| PathBuf::from(name)))?;
    tell(&root, root.issued, term);
    let draft = Draft::read(&file)?;
    tell_missing(&draft, Some(trust.root()), term);
    for found in consequences(&site, &trust, &root)? {
        term.notice(found.code(), &found.subject(), &found.text(root.version));
    }
    let text = format!(
        "{} is to be signed: publisher root sign, or minisign -S and publisher root add-signature",
        file.display()
    );
    term.result(&text, &json!({"event": "proposed", "file": file, "version": root.version}));
    Ok(())
}

fn sign(args: &GatherArgs, term: &Term) -> Result<(), Error> {
    let flags = Config { keys: args.keys.dir(), password_file: args.keys.password_file(), ..Config::default() };
    let keys = args.draft.config.with(flags)?.key_sources(term.ask())?;
    let (mut draft, previous) = args.draft.open()?;
    tell(&draft.root, super::now()?, term);
    let new = gather::sign(&mut draft, previous.as_ref(), &keys)?;
    gathered(&draft, previous.as_ref(), &new, term)
}

fn add_signature(args: &AddArgs, term: &Term) -> Result<(), Error> {
    let (mut draft, previous) = args.draft.open()?;
    let mut new = Vec::new();
    for file in &args.signature {
        new.extend(gather::add(&mut draft, previous.as_ref(), file)?);
    }
    gathered(&draft, previous.as_ref(), &new, term)
}

fn gathered(draft: &Draft, previous: Option<&Root>, new: &[String], term: &Term) -> Result<(), Error> {
    if !new.is_empty() {
        draft.write()?;
    }
    let file = draft.file.display();
    let text = match new {
        [] => format!("{file} had these signatures before"),
        new => format!("{file} is signed by {} now", new.join(", ")),
    };
    term.result(&text, &json!({"event": "signed", "file": draft.file, "version": draft.root.version, "keys": new}));
    tell_missing(draft, previous, term);
    Ok(())
}

fn publish(args: &PublishArgs, term: &Term) -> Result<(), Error> {
    let config = args.site.with(Config::default())?;
    let dir = config.site()?;
    let draft = Draft::read(&args.file)?;
    let published = publish::run(dir, &draft, super::now()?, args.dry_run, Arc::new(term.clone()))?;
    let (root, name) = (&published.root, layout::root(published.root.version));
    for found in &published.consequences {
        term.notice(found.code(), &found.subject(), &found.text(root.version));
    }
    let file = dir.join(&name);
    let text = match (published.changed, args.dry_run) {
        (true, _) => format!("{} is the root of {} now", file.display(), root.app),
        (false, true) => format!("{} may be published as {name}", args.file.display()),
        (false, false) => format!("{} was the root of {} before", file.display(), root.app),
    };
    let codes: Vec<Value> =
        published.consequences.iter().map(|c| json!({"code": c.code(), "name": c.subject()})).collect();
    let event = json!({
        "event": "root-published", "file": file, "version": root.version, "changed": published.changed,
        "consequences": codes,
    });
    term.result(&text, &event);
    Ok(())
}

impl DraftArgs {
    /// The proposed root, and the one before it as far as it is known.
    fn open(&self) -> Result<(Draft, Option<Root>), Error> {
        let draft = Draft::read(&self.file)?;
        let config = self.config.with(Config { site: self.site.clone(), ..Config::default() })?;
        let previous = match (&self.previous, &config.site) {
            (Some(file), _) => Some(read_previous(file)?),
            (None, Some(dir)) if self.site.is_some() || Path::new(dir).exists() => {
                let trust = Trust::read(&Site::open(dir)?)?;
                Some(previous_of(&trust, &draft.root).clone())
            }
            _ => None,
        };
        match &previous {
            Some(root) if root.app != draft.root.app => {
                let (expected, found) = (root.app.clone(), draft.root.app);
                Err(RootError::OtherApp { file: self.file.clone(), expected, found }.into())
            }
            Some(root) if root.version + 1 != draft.root.version => {
                let (found, newest) = (draft.root.version, root.version);
                Err(RootError::Version { file: self.file.clone(), found, newest }.into())
            }
            _ => Ok((draft, previous)),
        }
    }
}

/// The root of a site that comes before `root`: its newest, unless `root` is published already.
fn previous_of<'a>(trust: &'a Trust, root: &Root) -> &'a Root {
    trust.roots().iter().rev().find(|r| r.version < root.version).unwrap_or(trust.root())
}

fn tell(root: &Root, now: Time, term: &Term) {
    let days = (root.expires.seconds() - now.seconds()) / 86_400;
    let left = if root.expires <= now { "expired".to_owned() } else { format!("{days} days left") };
    let mut text = format!(
        "root version {} of {}, issued {}, expires {} ({left})",
        root.version, root.app, root.issued, root.expires
    );
    let mut keys: Vec<Value> = Vec::new();
    let unbound = |role: &RootRole| role.keys.iter().map(|key| (key.clone(), None)).collect::<Vec<_>>();
    let bound = root.channel.iter().map(|k| (k.key.clone(), Some(k.channel.clone()))).collect();
    for (role, threshold, listed) in [
        ("root", root.root.threshold, unbound(&root.root)),
        ("release", root.release.threshold, unbound(&root.release)),
        ("channel", root.channel_threshold, bound),
    ] {
        text.push_str(&format!("\n  {role}: {threshold} of {}", listed.len()));
        for (key, channel) in listed {
            let what = channel.as_ref().map_or(String::new(), |channel| format!("  channel {channel}"));
            text.push_str(&format!("\n    {}  {}{what}", key.id_hex(), key.to_base64()));
            keys.push(json!({"role": role, "id": key.id_hex(), "public": key.to_base64(), "channel": channel}));
        }
    }
    let event = json!({
        "event": "root", "version": root.version, "app": root.app, "issued": root.issued.to_string(),
        "expires": root.expires.to_string(), "keys": keys, "thresholds": {"root": root.root.threshold,
        "release": root.release.threshold, "channel": root.channel_threshold},
    });
    term.result(&text, &event);
}

fn tell_missing(draft: &Draft, previous: Option<&Root>, term: &Term) {
    let missing = draft.missing(previous);
    for short in &missing {
        let signed = if short.signed.is_empty() { "none".to_owned() } else { short.signed.join(", ") };
        let text = format!(
            "root version {} asks for {} of its root keys: signed by {signed}; missing {} more of {}",
            short.version,
            short.threshold,
            short.missing(),
            short.unsigned.join(", ")
        );
        let event = json!({
            "event": "missing", "by": short.version, "threshold": short.threshold, "signed": short.signed,
            "missing": short.missing(), "unsigned": short.unsigned,
        });
        term.result(&text, &event);
    }
    if missing.is_empty() && previous.is_some() {
        term.result("all signatures are there: publisher root publish", &json!({"event": "complete"}));
    }
}
