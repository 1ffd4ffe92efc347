//! What a struct of fixed size has no room for, as JSON texts: lists, paths, where a tree comes from.

use lamplighter_client::deploy::DeployReport;
use lamplighter_client::notes::NotesSection;
use lamplighter_client::trust::Idle;
use lamplighter_client::updater::{Adopted, CheckOutcome, Prepared, Status, Verified};
use serde_json::{Value, json};

pub(crate) fn check(outcome: &CheckOutcome) -> String {
    match outcome {
        CheckOutcome::Available { build, version } => {
            json!({"state": "available", "build": build, "version": version}).to_string()
        }
        CheckOutcome::Idle(reason) => idle(reason),
    }
}

pub(crate) fn idle(idle: &Idle) -> String {
    nothing(idle.code(), &idle.to_string())
}

pub(crate) fn nothing(reason: &str, text: &str) -> String {
    json!({"state": "nothing", "reason": reason, "text": text}).to_string()
}

pub(crate) fn notes(sections: &[NotesSection]) -> String {
    let section = |s: &NotesSection| json!({"build": s.build, "version": s.version, "text": s.text});
    Value::from_iter(sections.iter().map(section)).to_string()
}

pub(crate) fn prepared(prepared: &Prepared) -> String {
    json!({
        "state": "ready", "build": prepared.build, "version": prepared.version, "from_build": prepared.from_build,
        "staged_at": prepared.staged_at.to_string_lossy(),
    })
    .to_string()
}

pub(crate) fn report(report: &DeployReport) -> String {
    let kept: Vec<Value> = report
        .kept_aside
        .iter()
        .map(|kept| json!({"path": kept.path, "kept_at": kept.kept_at.to_string_lossy()}))
        .collect();
    json!({
        "state": "done", "build": report.build, "version": report.version, "route": report.route.name(),
        "requests": report.requests, "received_bytes": report.received_bytes,
        "files_written": report.costs.files_written, "files_removed": report.costs.files_removed,
        "written_bytes": report.costs.write_bytes, "kept_aside": kept,
        "left_edited": report.left_edited.iter().map(|path| path.as_str()).collect::<Vec<_>>(),
    })
    .to_string()
}

pub(crate) fn adopted(adopted: &Adopted) -> String {
    json!({
        "state": "done", "build": adopted.build, "version": adopted.version, "rows": adopted.rows,
        "rows_intact": adopted.rows_intact,
    })
    .to_string()
}

pub(crate) fn verified(verified: &Verified) -> String {
    let damaged: Vec<Value> = verified
        .damaged
        .iter()
        .map(|damage| json!({"path": damage.path.as_str(), "what": damage.what, "policy_keep": damage.keep}))
        .collect();
    json!({
        "build": verified.build, "version": verified.version, "rows": verified.rows, "read_bytes": verified.read_bytes,
        "damaged": damaged,
    })
    .to_string()
}

pub(crate) fn status(status: &Status, skipped: &[u64]) -> String {
    let installed = status.installed.as_ref().map(|release| {
        let entry = release.entry.as_ref().map(|path| path.as_str());
        json!({"build": release.build, "version": release.version, "entry": entry})
    });
    json!({
        "site": status.settings.site, "app": status.settings.app, "channel": status.settings.channel,
        "platform": status.settings.platform, "installed": installed, "unfinished": status.unfinished,
        "given_up": status.given_up,
        "root_version": status.root_version, "root_expires": status.root_expires.to_string(),
        "last_issued": status.last_issued.map(|time| time.to_string()), "sequence": status.sequence,
        "skipped": skipped,
    })
    .to_string()
}
