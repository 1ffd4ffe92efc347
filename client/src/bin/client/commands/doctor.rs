//! `client doctor`

use std::path::Path;
use std::sync::Arc;

use lamplighter_client::doctor::{FilesFacts, PlaceFacts, Report, TreeFacts};
use lamplighter_client::error::Error;
use lamplighter_client::progress::{Event, Progress};
use lamplighter_client::updater::Updater;
use serde_json::{Value, json};

use super::config;
use crate::args::Doctor;
use crate::exit::Exit;
use crate::output::Output;

/// Ends with 0 whatever was found: the report is the result.
pub(super) fn run(args: Doctor, output: &Output) -> Result<Exit, Error> {
    let mut config = config(args.tree, &args.network, output);
    // Notices name paths; a report is handed on as it is.
    config.progress = Arc::new(WithoutNotices(output.progress()));
    let report = Updater::doctor(config, !args.no_files);
    let (fields, text) = (to_json(&report), report.to_text());
    let Some(file) = args.out else {
        output.result("doctor", fields, &text);
        return Ok(Exit::Done);
    };
    let mut fields = fields;
    fields["event"] = json!("doctor");
    let content = if output.is_json() { fields.to_string() } else { text };
    write(&file, &content)?;
    let told = format!("written to {}; nothing was sent. Read it before you hand it on", file.display());
    output.result("report", json!({ "file": file }), &told);
    Ok(Exit::Done)
}

fn write(file: &Path, content: &str) -> Result<(), Error> {
    let written = std::fs::write(file, format!("{content}\n"));
    written.map_err(|source| Error::Io { doing: "write", path: file.to_owned(), source })
}

struct WithoutNotices(Arc<dyn Progress>);

impl Progress for WithoutNotices {
    fn event(&self, event: Event<'_>) {
        if !matches!(event, Event::Notice { .. }) {
            self.0.event(event);
        }
    }
}

fn to_json(report: &Report) -> Value {
    let machine = &report.machine;
    let proxy = &report.proxy;
    json!({
        "client": report.client,
        "machine": {"platform": machine.platform, "system": machine.system, "kernel": machine.kernel},
        "clock": report.clock.to_string(), "clock_ahead_seconds": report.clock_ahead_seconds(),
        "proxy": {"set_by": proxy.set_by, "kind": proxy.kind, "has_exceptions": proxy.has_exceptions},
        "trouble": report.trouble,
        "tree": report.tree.as_ref().map(tree),
    })
}

fn tree(tree: &TreeFacts) -> Value {
    let last = tree.last.as_ref().map(
        |last| json!({"what": last.what, "code": last.code, "build": last.build, "since": last.since.to_string()}),
    );
    let files = match &tree.files {
        None => Value::Null,
        Some(Err(code)) => json!({ "trouble": code }),
        Some(Ok(found)) => files(found),
    };
    let (disk, places) = (&tree.disk, tree.places.iter().map(place).collect::<Vec<_>>());
    json!({
        "app": tree.app, "channel": tree.channel, "platform": tree.platform,
        "installed": tree.installed.as_ref().map(|(build, version)| json!({"build": build, "version": version})),
        "record_trouble": tree.record_trouble, "unfinished": tree.unfinished, "given_up": tree.given_up,
        "locked": tree.locked,
        "staged": tree.staged, "held": tree.held, "previous": tree.previous, "starts": tree.starts,
        "failed": tree.failed, "last": last,
        "head": tree.head.map(|(sequence, issued)| json!({"sequence": sequence, "issued": issued.to_string()})),
        "root": tree.root.map(|(version, expires)| json!({"version": version, "expires": expires.to_string()})),
        "disk": {
            "free_bytes": disk.free_bytes, "kind": disk.kind, "share": disk.share, "writable": disk.writable,
        },
        "files": files, "places": places,
    })
}

fn files(files: &FilesFacts) -> Value {
    let damaged = files.damaged.iter().map(|(path, code, keep)| json!({"path": path, "code": code, "keep": keep}));
    json!({
        "rows": files.rows, "read_bytes": files.read_bytes, "damaged_count": files.damaged_count,
        "damaged": damaged.collect::<Vec<_>>(),
    })
}

fn place(place: &PlaceFacts) -> Value {
    let head = place.head.map(|(sequence, issued, expires)| {
        json!({"sequence": sequence, "issued": issued.to_string(), "expires": expires.to_string()})
    });
    json!({
        "place": place.place, "named_by": place.named_by, "code": place.code, "obstacle": place.obstacle, "head": head,
    })
}
