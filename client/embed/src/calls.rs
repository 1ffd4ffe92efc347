//! What each function does, in safe code: from checked arguments to the structs and texts of the interface.

use std::path::{Path, PathBuf};

use lamplighter_client::deploy::DeployReport;
use lamplighter_client::error::Error;
use lamplighter_client::format::text::is_token;
use lamplighter_client::source::{HttpOptions, Proxy};
use lamplighter_client::trust::Idle;
use lamplighter_client::updater::{CheckOutcome, Origin, Outcome, Prepared, STARTS_MAX, StageOutcome, Start, Updater};

use crate::bridge::{self, Deliver, Link};
use crate::fault::{Fault, NOT_INSTALLED};
use crate::handles::{self, Opened};
use crate::json;
use crate::types::*;

/// A struct of the interface and the JSON text beside it.
pub(crate) type Told<T> = Result<(T, String), Fault>;

pub(crate) fn open(tree: &str, state: Option<&str>, proxy: Option<&str>) -> Result<LamplighterHandle, Fault> {
    let proxy = match proxy {
        None => Proxy::FromEnvironment,
        Some("") => Proxy::None,
        Some(url) => Proxy::Url(url.to_owned()),
    };
    let http = HttpOptions { proxy, ..HttpOptions::default() };
    // The program may change its current directory while the handle is open.
    Ok(handles::insert(Opened::new(absolute(tree)?, state.map(absolute).transpose()?, http)))
}

pub(crate) fn follow(handle: LamplighterHandle, channel: &str) -> Result<(), Fault> {
    if !is_token(channel) {
        return Err(Fault::usage("E_ARGUMENT", format!("{channel:?} is not a channel: 1 to 64 of a-z 0-9 _ -")));
    }
    handles::get(handle)?.follow(channel);
    Ok(())
}

pub(crate) fn install(handle: LamplighterHandle, origin: Origin, deliver: Deliver<'_>) -> Told<LamplighterReport> {
    let opened = handles::get(handle)?;
    let _turn = opened.begin()?;
    run_on(&opened, deliver, |link| {
        Ok(outcome(Updater::install(opened.config(link.progress), &with_absolute_site(origin)?)?))
    })
}

pub(crate) fn adopt(handle: LamplighterHandle, origin: Origin, deliver: Deliver<'_>) -> Told<LamplighterReport> {
    let opened = handles::get(handle)?;
    let _turn = opened.begin()?;
    run_on(&opened, deliver, |link| {
        let adopted = Updater::adopt(opened.config(link.progress), &with_absolute_site(origin)?)?;
        let report = LamplighterReport {
            state: LAMPLIGHTER_DONE,
            build: adopted.build,
            version: field(&adopted.version),
            route: field("nothing"),
            ..nothing_done()
        };
        Ok((report, json::adopted(&adopted)))
    })
}

pub(crate) fn check(handle: LamplighterHandle, deliver: Deliver<'_>) -> Told<LamplighterOffer> {
    with_updater(handle, deliver, |updater| {
        let found = updater.check()?;
        let offer = match &found {
            CheckOutcome::Available { build, version } => LamplighterOffer {
                state: LAMPLIGHTER_AVAILABLE,
                build: *build,
                version: field(version),
                ..no_offer("", "")
            },
            CheckOutcome::Idle(idle) => idle_offer(idle),
        };
        Ok((offer, json::check(&found)))
    })
}

pub(crate) fn stage(handle: LamplighterHandle, from: Option<&str>, deliver: Deliver<'_>) -> Told<LamplighterOffer> {
    with_updater(handle, deliver, |updater| {
        Ok(match updater.stage(from)? {
            StageOutcome::Ready(prepared) => ready(&prepared),
            StageOutcome::Idle(idle) => (idle_offer(&idle), json::idle(&idle)),
        })
    })
}

pub(crate) fn notes(handle: LamplighterHandle, language: &str) -> Result<String, Fault> {
    with_updater(handle, None, |updater| Ok(json::notes(&updater.notes(language)?)))
}

pub(crate) fn prepared(handle: LamplighterHandle) -> Told<LamplighterOffer> {
    with_updater(handle, None, |updater| {
        Ok(match updater.prepared()? {
            Some(prepared) => ready(&prepared),
            None => {
                let (reason, text) = ("not_staged", "no update is staged");
                (no_offer(reason, text), json::nothing(reason, text))
            }
        })
    })
}

pub(crate) fn discard(handle: LamplighterHandle) -> Result<(), Fault> {
    with_updater(handle, None, Updater::discard_staged)
}

pub(crate) fn commit(handle: LamplighterHandle, deliver: Deliver<'_>) -> Told<LamplighterReport> {
    with_updater(handle, deliver, |updater| Ok(done(&updater.commit()?)))
}

pub(crate) fn update(handle: LamplighterHandle, from: Option<&str>, deliver: Deliver<'_>) -> Told<LamplighterReport> {
    with_updater(handle, deliver, |updater| Ok(outcome(updater.update(from)?)))
}

pub(crate) fn heal(handle: LamplighterHandle, from: Option<&str>, deliver: Deliver<'_>) -> Told<LamplighterReport> {
    with_updater(handle, deliver, |updater| Ok(done(&updater.heal(from)?)))
}

pub(crate) fn rollback(handle: LamplighterHandle, deliver: Deliver<'_>) -> Told<LamplighterReport> {
    with_updater(handle, deliver, |updater| Ok(done(&updater.rollback()?)))
}

pub(crate) fn confirm_healthy(handle: LamplighterHandle) -> Result<(), Fault> {
    with_updater(handle, None, Updater::confirm_healthy)
}

pub(crate) fn skip(handle: LamplighterHandle, build: u64) -> Result<(), Fault> {
    with_updater(handle, None, |updater| updater.skip(build))
}

pub(crate) fn count_start(handle: LamplighterHandle) -> Result<LamplighterStart, Fault> {
    let (action, start) = match with_updater(handle, None, Updater::count_start)? {
        Start::Plain => (LAMPLIGHTER_START_PLAIN, 0),
        Start::Probation { start } => (LAMPLIGHTER_START_PROBATION, start),
        Start::GoBack => (LAMPLIGHTER_START_GO_BACK, 0),
    };
    Ok(LamplighterStart { size: 0, action, start, starts_max: STARTS_MAX })
}

pub(crate) fn verify(handle: LamplighterHandle, with_crc: bool, deliver: Deliver<'_>) -> Told<LamplighterVerified> {
    with_updater(handle, deliver, |updater| {
        let found = updater.verify(with_crc)?;
        let edited = found.damaged.iter().filter(|damage| damage.keep).count() as u64;
        let verified = LamplighterVerified {
            size: 0,
            reserved: 0,
            build: found.build,
            rows: found.rows as u64,
            damaged: found.damaged.len() as u64 - edited,
            edited,
            read_bytes: found.read_bytes,
            version: field(&found.version),
        };
        Ok((verified, json::verified(&found)))
    })
}

pub(crate) fn status(handle: LamplighterHandle) -> Told<LamplighterTree> {
    let found = with_updater(handle, None, |updater| {
        let status = updater.status()?;
        let skipped: Vec<u64> = updater.skipped()?.into_iter().collect();
        let tree = LamplighterTree {
            installed: u32::from(status.installed.is_some()),
            build: status.installed.as_ref().map_or(0, |release| release.build),
            prepared_build: updater.prepared()?.map_or(0, |prepared| prepared.build),
            previous_build: updater.previous_build()?.unwrap_or(0),
            unfinished: u32::from(status.unfinished),
            version: field(status.installed.as_ref().map_or("", |release| &release.version)),
            ..NO_TREE
        };
        Ok((tree, json::status(&status, &skipped)))
    });
    match found {
        Err(fault) if fault.code == NOT_INSTALLED => Ok((NO_TREE, "{}".into())),
        other => other,
    }
}

const NO_TREE: LamplighterTree = LamplighterTree {
    size: 0,
    installed: 0,
    build: 0,
    prepared_build: 0,
    previous_build: 0,
    unfinished: 0,
    reserved: 0,
    version: [0; 264],
};

/// Runs the work of a call whose turn it is.
pub(crate) fn run_on<T: Send>(
    opened: &Opened,
    deliver: Deliver<'_>,
    work: impl FnOnce(Link) -> Result<T, Fault> + Send,
) -> Result<T, Fault> {
    let result = bridge::run(deliver, &opened.cancel(), work);
    if result.as_ref().is_err_and(|fault| fault.status == LAMPLIGHTER_PANIC) {
        // The work was asked to stop because of the panic, not by anyone who would take that back.
        opened.clear_cancel();
    }
    result
}

/// One call on an installed tree: looks the handle up, takes its turn, and runs `work` beside the calling thread.
fn with_updater<T: Send>(
    handle: LamplighterHandle,
    deliver: Deliver<'_>,
    work: impl FnOnce(&Updater) -> Result<T, Error> + Send,
) -> Result<T, Fault> {
    let opened = handles::get(handle)?;
    let _turn = opened.begin()?;
    run_on(&opened, deliver, |link| Ok(work(&opened.updater(link.progress)?)?))
}

fn ready(prepared: &Prepared) -> (LamplighterOffer, String) {
    let offer = LamplighterOffer {
        state: LAMPLIGHTER_READY,
        build: prepared.build,
        from_build: prepared.from_build.unwrap_or(0),
        version: field(&prepared.version),
        ..no_offer("", "")
    };
    (offer, json::prepared(prepared))
}

fn idle_offer(idle: &Idle) -> LamplighterOffer {
    no_offer(idle.code(), &idle.to_string())
}

fn no_offer(reason: &str, text: &str) -> LamplighterOffer {
    LamplighterOffer {
        size: 0,
        state: LAMPLIGHTER_NOTHING,
        build: 0,
        from_build: 0,
        version: field(""),
        reason: field(reason),
        text: field(text),
    }
}

fn outcome(outcome: Outcome) -> (LamplighterReport, String) {
    match outcome {
        Outcome::Done(report) => done(&report),
        Outcome::Idle(idle) => {
            let report =
                LamplighterReport { reason: field(idle.code()), text: field(&idle.to_string()), ..nothing_done() };
            (report, json::idle(&idle))
        }
    }
}

fn done(report: &DeployReport) -> (LamplighterReport, String) {
    let told = LamplighterReport {
        state: LAMPLIGHTER_DONE,
        build: report.build,
        files_written: report.costs.files_written,
        files_removed: report.costs.files_removed,
        written_bytes: report.costs.write_bytes,
        received_bytes: report.received_bytes,
        requests: report.requests,
        kept_aside: report.kept_aside.len() as u64,
        left_edited: report.left_edited.len() as u64,
        version: field(&report.version),
        route: field(report.route.name()),
        ..nothing_done()
    };
    (told, json::report(report))
}

fn nothing_done() -> LamplighterReport {
    LamplighterReport {
        size: 0,
        state: LAMPLIGHTER_NOTHING,
        build: 0,
        files_written: 0,
        files_removed: 0,
        written_bytes: 0,
        received_bytes: 0,
        requests: 0,
        kept_aside: 0,
        left_edited: 0,
        version: field(""),
        route: field(""),
        reason: field(""),
        text: field(""),
    }
}

pub(crate) fn absolute(path: &str) -> Result<PathBuf, Fault> {
    std::path::absolute(Path::new(path))
        .map_err(|error| Fault::usage("E_ARGUMENT", format!("{path:?} is not the name of a directory: {error}")))
}

/// A site in a directory is remembered as an absolute path, since later calls are made elsewhere.
pub(crate) fn with_absolute_site(origin: Origin) -> Result<Origin, Fault> {
    if origin.site.contains("://") {
        return Ok(origin);
    }
    let site = absolute(&origin.site)?.into_os_string().into_string();
    let site = site.map_err(|_| Fault::usage("E_ARGUMENT", "a site's directory needs a name in Unicode"))?;
    Ok(Origin { site, ..origin })
}
