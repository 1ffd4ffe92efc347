//! The launcher's decisions, driven for a program in another language.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use lamplighter_client::error::Error;
use lamplighter_client::launch::{Resources, Settings};
use lamplighter_client::launcher::{AsApp, Setup, as_app, as_updater};
use lamplighter_client::updater::{Origin, Start};
use serde_json::{Value, json};

use crate::bridge::{Deliver, Link};
use crate::calls::{Told, absolute, run_on, with_absolute_site};
use crate::fault::Fault;
use crate::handles::{self, Opened};
use crate::types::*;

/// How an app was set up, out of foreign memory.
pub(crate) struct Wanted {
    pub(crate) check_minimum: bool,
    pub(crate) check_for_updates: bool,
    pub(crate) resources: u32,
    pub(crate) local: Option<String>,
    pub(crate) origin: Option<Origin>,
    pub(crate) resources_tree: LamplighterHandle,
    pub(crate) compiled_build: u64,
    pub(crate) program: Option<String>,
    pub(crate) arguments: Vec<String>,
    pub(crate) language: String,
}

/// What a program does at its start; as an updater, with the time it waits for another one.
pub(crate) fn launch(
    handle: LamplighterHandle,
    wanted: Wanted,
    as_updater_for: Option<Duration>,
    deliver: Deliver<'_>,
) -> Told<LamplighterLaunched> {
    let opened = handles::get(handle)?;
    let resources = (wanted.resources_tree != 0).then(|| handles::get(wanted.resources_tree)).transpose()?;
    let _turn = opened.begin()?;
    run_on(&opened, deliver, |link| {
        let setup = setup(&opened, resources.as_deref(), wanted, &link)?;
        let done: Result<AsApp, Error> = match as_updater_for {
            Some(wait) => as_updater(&setup, &link.host, wait),
            None => as_app(&setup, &link.host),
        };
        Ok(told(&done?))
    })
}

fn setup(opened: &Opened, resources: Option<&Opened>, wanted: Wanted, link: &Link) -> Result<Setup, Fault> {
    let local = wanted.local.as_deref().map(absolute).transpose()?;
    let settings = Settings {
        check_minimum: wanted.check_minimum,
        run_in_local: local.is_some(),
        check_for_updates: wanted.check_for_updates,
        resources: match wanted.resources {
            LAMPLIGHTER_LEAVE => Resources::Leave,
            LAMPLIGHTER_BUILD_AND_DEPLOY => Resources::BuildAndDeploy,
            LAMPLIGHTER_VERIFY_AND_DEPLOY => Resources::VerifyAndDeploy,
            LAMPLIGHTER_ALWAYS_DEPLOY => Resources::AlwaysDeploy,
            other => return Err(Fault::usage("E_ARGUMENT", format!("setup.resources is {other}; 0 to 3 are known"))),
        },
    };
    Ok(Setup {
        config: opened.config(link.progress.clone()),
        settings,
        local,
        origin: wanted.origin.map(with_absolute_site).transpose()?,
        resources: resources.map(|resources| resources.config(link.progress.clone())),
        compiled_build: wanted.compiled_build,
        program: wanted.program.map(PathBuf::from),
        language: wanted.language,
        arguments: wanted.arguments.into_iter().map(OsString::from).collect(),
    })
}

fn told(done: &AsApp) -> (LamplighterLaunched, String) {
    let none = LamplighterLaunched { size: 0, action: LAMPLIGHTER_RUN, build: 0, pid: 0, start: 0 };
    let (launched, text): (LamplighterLaunched, Value) = match done {
        AsApp::Ready { start, .. } => {
            let start = if let Start::Probation { start } = start { *start } else { 0 };
            (LamplighterLaunched { start, ..none }, json!({"action": "run", "start": start}))
        }
        AsApp::HandedOver { build, patcher_pid } => {
            let pid = u64::from(*patcher_pid);
            (
                LamplighterLaunched { action: LAMPLIGHTER_HANDED_OVER, build: *build, pid, ..none },
                json!({"action": "handed_over", "build": build, "pid": pid}),
            )
        }
        AsApp::Started(child) => {
            let pid = u64::from(child.id());
            (
                LamplighterLaunched { action: LAMPLIGHTER_APP_STARTED, pid, ..none },
                json!({"action": "app_started", "pid": pid}),
            )
        }
        AsApp::Restart => (LamplighterLaunched { action: LAMPLIGHTER_RESTART, ..none }, json!({"action": "restart"})),
        AsApp::Locked => (LamplighterLaunched { action: LAMPLIGHTER_END_LOCKED, ..none }, json!({"action": "locked"})),
        AsApp::UpdateRequired { minimum_build } => (
            LamplighterLaunched { action: LAMPLIGHTER_UPDATE_REQUIRED, build: *minimum_build, ..none },
            json!({"action": "update_required", "build": minimum_build}),
        ),
    };
    (launched, text.to_string())
}
