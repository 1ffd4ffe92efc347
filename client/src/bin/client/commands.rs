//! One file a command; here what they share.

mod adopt;
mod check;
mod doctor;
mod heal;
mod install;
mod launch;
mod status;
mod update;
mod verify;
mod watch;
mod why;

use std::fs;

use lamplighter_client::deploy::DeployReport;
use lamplighter_client::error::Error;
use lamplighter_client::progress::Cancel;
use lamplighter_client::trust::Idle;
use lamplighter_client::updater::{Config, Origin, Updater};
use serde_json::{Value, json};

use crate::args::{self, Command, TreeArgs};
use crate::exit::Exit;
use crate::network::Network;
use crate::output::{Output, uninstalled};
use crate::term::bytes;

/// Runs a command.
pub(crate) fn run(command: Command, output: &Output) -> Result<Exit, Error> {
    match command {
        Command::Install(args) => install::run(args, output),
        Command::Adopt(args) => adopt::run(args, output),
        Command::Check(args) => check::run(args, output),
        Command::Why(args) => why::run(args, output),
        Command::Doctor(args) => doctor::run(args, output),
        Command::Update(args) => update::run(args, output),
        Command::Watch(args) => watch::run(args, output),
        Command::Verify(args) => verify::run(args, output),
        Command::Heal(args) => heal::run(args, output),
        Command::Launch(args) => launch::run(args, output),
        Command::Confirm(args) => confirm(args, output),
        Command::Rollback(args) => rollback(args, output),
        Command::Hold(args) => hold(args, output),
        Command::Uninstall(args) => uninstalled(output, &open(args, Network::default(), output)?),
        Command::Status(args) => status::run(args, output),
    }
}

fn confirm(tree: TreeArgs, output: &Output) -> Result<Exit, Error> {
    open(tree, Network::default(), output)?.confirm_healthy()?;
    output.result("confirmed", json!({}), "the installed release is confirmed");
    Ok(Exit::Done)
}

fn rollback(tree: TreeArgs, output: &Output) -> Result<Exit, Error> {
    let back = open(tree, Network::default(), output)?.rollback()?;
    report(output, "rolled_back", "went back to", &back);
    Ok(Exit::Done)
}

fn hold(args: args::Hold, output: &Output) -> Result<Exit, Error> {
    let updater = open(args.tree, Network::default(), output)?;
    if args.off {
        updater.let_go()?;
        output.result("let_go", json!({}), "no build is held; the next update may install another");
    } else {
        let build = updater.hold()?;
        let text = format!("build {build} is held: nothing else is installed until `client hold --off`");
        output.result("held", json!({"build": build}), &text);
    }
    Ok(Exit::Done)
}

/// The configuration the flags give; Ctrl-C asks the work to stop at the next safe point.
fn config(tree: TreeArgs, network: &Network, output: &Output) -> Config {
    let cancel = Cancel::default();
    let on_signal = cancel.clone();
    // Without a handler Ctrl-C ends the program at once, which is safe as well.
    let _ = ctrlc::set_handler(move || on_signal.cancel());
    let allow_network_share = tree.allow_network_share;
    Config {
        state: tree.state,
        http: network.http(),
        retry: network.retry(),
        progress: output.progress(),
        cancel,
        allow_network_share,
        ..Config::new(tree.tree)
    }
}

fn open(tree: TreeArgs, network: Network, output: &Output) -> Result<Updater, Error> {
    Updater::open(config(tree, &network, output))
}

/// The origin the flags give, with the root read from its file.
fn origin(args: args::Origin, output: &Output) -> Result<(Config, Origin), Error> {
    let read = fs::read(&args.root);
    let root = read.map_err(|source| Error::Io { doing: "read the root document", path: args.root, source })?;
    let platform = args.platform.unwrap_or_else(Origin::host_platform);
    let site = absolute_site(args.site)?;
    let mirrors = args.mirror.into_iter().map(absolute_site).collect::<Result<_, _>>()?;
    let origin = Origin { site, app: args.app, channel: args.channel, platform, root, mirrors };
    Ok((config(args.tree, &args.network, output), origin))
}

/// A directory is remembered as an absolute path, since later commands run elsewhere.
fn absolute_site(site: String) -> Result<String, Error> {
    if site.contains("://") {
        return Ok(site);
    }
    let path = std::path::absolute(&site);
    let path = path.map_err(|source| Error::Io { doing: "find", path: site.into(), source })?;
    path.into_os_string().into_string().map_err(|_| Error::Usage("a site's directory needs a name in Unicode".into()))
}

/// Tells what a deployment did.
fn report(output: &Output, event: &str, what: &str, report: &DeployReport) {
    let fields = json!({
        "build": report.build, "version": report.version, "route": report.route.name(),
        "requests": report.requests, "received_bytes": report.received_bytes,
        "files_written": report.costs.files_written, "files_removed": report.costs.files_removed,
        "written_bytes": report.costs.write_bytes,
        "kept_aside": report.kept_aside.iter().map(|k| json!({"path": k.path, "kept_as": k.kept_at}))
            .collect::<Vec<Value>>(),
        "left_edited": report.left_edited.iter().map(|p| p.as_str()).collect::<Vec<_>>(),
    });
    let mut text = format!(
        "{what} {} (build {}) by {}: {} files written, {} removed, {} received in {} requests",
        report.version,
        report.build,
        report.route.name(),
        report.costs.files_written,
        report.costs.files_removed,
        bytes(report.received_bytes),
        report.requests,
    );
    for kept in &report.kept_aside {
        text.push_str(&format!("\nkept aside: {} is now {}", kept.path, kept.kept_at.display()));
    }
    for path in &report.left_edited {
        text.push_str(&format!("\nleft as edited: {path}"));
    }
    output.result(event, fields, &text);
}

/// Tells why there is nothing to install.
fn report_idle(output: &Output, idle: &Idle) -> Exit {
    let text = idle.to_string();
    output.result("idle", json!({"code": idle.code(), "text": text}), &text);
    exit_of(idle)
}

fn exit_of(idle: &Idle) -> Exit {
    match idle {
        Idle::Stale { .. } | Idle::RootExpired { .. } => Exit::Stale,
        _ => Exit::NothingToDo,
    }
}
