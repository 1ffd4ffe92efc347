//! Where results, notices and errors go: results to stdout, the rest to stderr, or everything as JSON lines on stdout.

use std::io::Write;
use std::sync::Arc;

use console::style;
use lamplighter_client::error::{Class, Error};
use lamplighter_client::progress::{Event, Progress, Silent};
use lamplighter_client::tree::TreeError;
use lamplighter_client::trust::Refusal;
use lamplighter_client::updater::Updater;
use lamplighter_client::why::advice;
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::term::TerminalProgress;

/// The output of one run. Clones share the terminal.
#[derive(Clone)]
pub(crate) struct Output {
    json: bool,
    quiet: bool,
    terminal: Option<Arc<TerminalProgress>>,
}

impl Output {
    /// Output as the flags ask for it.
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        let terminal = (!json && !quiet).then(|| Arc::new(TerminalProgress::new()));
        Self { json, quiet, terminal }
    }

    /// What the library reports to.
    pub(crate) fn progress(&self) -> Arc<dyn Progress> {
        match &self.terminal {
            Some(terminal) => terminal.clone(),
            None if self.json => Arc::new(JsonProgress),
            None => Arc::new(Silent),
        }
    }

    /// Whether events and results are printed as JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// A message on the way, for people.
    #[allow(dead_code)] // The patcher shows events alone.
    pub(crate) fn message(&self, text: &str) {
        if self.json {
            print_line("message", json!({ "text": text }));
        } else if !self.quiet {
            eprintln!("{text}");
        }
    }

    /// A result: `text` for people, `event` with its `fields` for programs.
    pub(crate) fn result(&self, event: &str, fields: Value, text: &str) {
        self.finish();
        if self.json {
            print_line(event, fields);
        } else {
            let _ = writeln!(std::io::stdout(), "{text}");
        }
    }

    /// An error, with what to do about it.
    pub(crate) fn error(&self, error: &Error, exit: Exit) {
        self.finish();
        let code = error.code();
        let hint = hint(error);
        if self.json {
            print_line("error", json!({"code": code, "exit": exit as u8, "text": error.to_string(), "hint": hint}));
            return;
        }
        eprintln!("{} {error} [{code}]", style("error:").red().bold().for_stderr());
        if let Some(hint) = hint {
            eprintln!("{} {hint}", style("hint:").cyan().bold().for_stderr());
        }
    }

    /// Takes the progress bar off the terminal.
    pub(crate) fn finish(&self) {
        if let Some(terminal) = &self.terminal {
            terminal.finish();
        }
    }
}

struct JsonProgress;

impl Progress for JsonProgress {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Started { phase, total_bytes } => {
                print_line("started", json!({"phase": phase.name(), "total_bytes": total_bytes}));
            }
            Event::Advanced { bytes } => print_line("advanced", json!({ "bytes": bytes })),
            Event::Notice { code, subject, text } => {
                print_line("notice", json!({"code": code, "subject": subject, "text": text}));
            }
        }
    }
}

fn print_line(event: &str, mut fields: Value) {
    fields["event"] = json!(event);
    // A closed pipe ends the output, not the work.
    let _ = writeln!(std::io::stdout(), "{fields}");
}

fn hint(error: &Error) -> Option<&'static str> {
    match error {
        Error::Refused(Refusal::Wrong { .. }) => Some("Compare --app, --channel and --platform with the publisher's."),
        Error::Tree(TreeError::Fs(error)) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Some("Another user may have installed this app: that user updates it; everybody may start the app itself.")
        }
        _ if error.class() == Class::Damaged => Some("Run `client heal --tree DIR`."),
        _ => advice(error),
    }
}

/// Uninstalls and tells what was left.
pub(crate) fn uninstalled(output: &Output, updater: &Updater) -> Result<Exit, Error> {
    let done = updater.uninstall()?;
    let fields = json!({"removed": done.removed, "left": done.left, "tree_is_gone": done.tree_is_gone});
    let mut text = format!("uninstalled: {} files removed", done.removed);
    if !done.left.is_empty() {
        text.push_str("; these are yours and stay:");
        for path in &done.left {
            text.push_str(&format!("\n  {}", path.display()));
        }
    }
    output.result("uninstalled", fields, &text);
    Ok(Exit::Done)
}
