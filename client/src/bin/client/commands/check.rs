//! `client check`

use lamplighter_client::error::Error;
use lamplighter_client::notes::{NotesSection, language_of};
use lamplighter_client::updater::CheckOutcome;
use serde_json::{Value, json};

use super::{open, report_idle};
use crate::args::Check;
use crate::exit::Exit;
use crate::output::Output;

pub(super) fn run(args: Check, output: &Output) -> Result<Exit, Error> {
    let updater = open(args.tree, args.network, output)?;
    match updater.check()? {
        CheckOutcome::Available { build, version } => {
            let mut fields = json!({"build": build, "version": version});
            let mut text = format!("{version} (build {build}) is available");
            if let Some(language) = args.notes {
                let notes = updater.notes(&language.unwrap_or_else(own_language))?;
                text.push_str(&in_text(&notes));
                fields["notes"] = notes.iter().map(in_json).collect();
            }
            output.result("available", fields, &text);
            Ok(Exit::Done)
        }
        CheckOutcome::Idle(idle) => Ok(report_idle(output, &idle)),
    }
}

pub(super) fn own_language() -> String {
    let set = ["LC_ALL", "LC_MESSAGES", "LANG"].map(|name| std::env::var(name).ok());
    let [lc_all, lc_messages, lang] = set.each_ref().map(Option::as_deref);
    language_of(lc_all, lc_messages, lang)
}

/// Each section under its version, a blank line before it.
pub(super) fn in_text(notes: &[NotesSection]) -> String {
    let section = |n: &NotesSection| format!("\n\n{} (build {})\n{}", n.version, n.build, n.text.trim_end());
    notes.iter().map(section).collect()
}

fn in_json(section: &NotesSection) -> Value {
    json!({"build": section.build, "version": section.version, "text": section.text})
}
