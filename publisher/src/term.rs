//! The only place that writes to a terminal: bars for people, plain lines for logs, JSON for programs.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use console::style;
use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressStyle};
use lamplighter_publisher::error::Error;
use lamplighter_publisher::sign::AskPassword;
use lamplighter_publisher::watch::{Step, Watch};
use serde_json::{Value, json};
use zeroize::Zeroizing;

const BAR: &str = "{prefix:>20} [{bar:25}] {bytes}/{total_bytes} {bytes_per_sec} {eta} left";
const PLAIN_EVERY: Duration = Duration::from_secs(10);
const JSON_EVERY: Duration = Duration::from_millis(500);
/// Notices of one kind that people are shown in full.
const NOTICES_SHOWN: usize = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Bars,
    Plain,
    Json,
}

/// A handle to the terminal; clones share it.
#[derive(Clone)]
pub(crate) struct Term {
    mode: Mode,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    current: Option<Current>,
    notices: BTreeMap<&'static str, usize>,
}

struct Current {
    step: Step,
    subject: String,
    total_bytes: u64,
    done_bytes: u64,
    started: Instant,
    told: Instant,
    bar: Option<ProgressBar>,
}

impl Current {
    /// Bytes a second, and the time left, as far as both are known.
    fn pace(&self) -> (f64, Option<Duration>) {
        let elapsed = self.started.elapsed().as_secs_f64();
        let rate = if elapsed > 0.0 { self.done_bytes as f64 / elapsed } else { 0.0 };
        let left = self.total_bytes.saturating_sub(self.done_bytes) as f64;
        let remaining = (rate > 0.0).then(|| Duration::try_from_secs_f64(left / rate).ok()).flatten();
        (rate, remaining)
    }

    fn to_text(&self) -> String {
        let (rate, remaining) = self.pace();
        let left = remaining.filter(|r| !r.is_zero()).map_or(String::new(), |r| format!(", {} left", HumanDuration(r)));
        format!(
            "{} {}: {} of {}, {}/s{left}",
            self.step.name(),
            self.subject,
            HumanBytes(self.done_bytes),
            HumanBytes(self.total_bytes),
            HumanBytes(rate as u64)
        )
    }

    fn to_json(&self) -> Value {
        let (rate, remaining) = self.pace();
        json!({
            "event": "progress", "step": self.step.name(), "subject": self.subject, "done_bytes": self.done_bytes,
            "total_bytes": self.total_bytes, "bytes_per_second": rate as u64,
            "remaining_seconds": remaining.map(|r| r.as_secs()),
        })
    }
}

impl Term {
    /// Bars where stderr is a terminal, plain lines elsewhere, JSON where asked for.
    pub(crate) fn new(json: bool) -> Self {
        let mode = match (json, std::io::stderr().is_terminal()) {
            (true, _) => Mode::Json,
            (false, true) => Mode::Bars,
            (false, false) => Mode::Plain,
        };
        Self { mode, state: Arc::default() }
    }

    /// Writes a result: `text` for people, `event` for programs.
    pub(crate) fn result(&self, text: &str, event: &Value) {
        self.end_step();
        // Nobody reads what cannot be written.
        let _ = match self.mode {
            Mode::Json => writeln!(std::io::stdout(), "{event}"),
            _ => writeln!(std::io::stdout(), "{text}"),
        };
    }

    /// Whether a program listens.
    pub(crate) fn is_json(&self) -> bool {
        self.mode == Mode::Json
    }

    /// Writes an error and gives the exit code of its class.
    pub(crate) fn failed(&self, error: &Error) -> ExitCode {
        self.end_step();
        let class = error.class();
        let event = json!({
            "event": "error", "class": class.name(), "code": class.exit_code(), "text": error.to_string(),
            "hint": class.hint(),
        });
        let hint = class.hint().map(|hint| format!("\n{} {hint}", style("hint:").cyan().bold().for_stderr()));
        let word = style("error:").red().bold().for_stderr();
        self.line(&format!("{word} {error}{}", hint.unwrap_or_default()), &event);
        ExitCode::from(class.exit_code())
    }

    /// Asks for passwords, where a person can answer: never for programs, nor where no terminal listens.
    pub(crate) fn ask(&self) -> Option<AskPassword> {
        let ask: AskPassword = |prompt| rpassword::prompt_password(prompt).map(Zeroizing::new);
        (self.mode == Mode::Bars && std::io::stdin().is_terminal()).then_some(ask)
    }

    /// Says something beside the progress.
    pub(crate) fn note(&self, code: &'static str, text: &str) {
        let event = json!({"event": "notice", "code": code, "subject": "", "text": text});
        self.line(&format!("{} {text}", style("note:").cyan().for_stderr()), &event);
    }

    /// Logs one request of `serve`.
    pub(crate) fn request(&self, line: &str, status: u16, bytes: u64) {
        let event = json!({"event": "request", "request": line, "status": status, "bytes": bytes});
        self.line(&format!("{status} {bytes:>10} {line}"), &event);
    }

    /// Ends the current step, and tells of notices that were held back.
    pub(crate) fn end_step(&self) {
        let mut state = self.state();
        if let Some(current) = state.current.take() {
            if let Some(bar) = &current.bar {
                bar.finish_and_clear();
            }
            self.say(&current.to_text(), &current.to_json());
        }
        let notices = std::mem::take(&mut state.notices);
        for (code, count) in notices.into_iter().filter(|(_, count)| *count > NOTICES_SHOWN && self.mode != Mode::Json)
        {
            let more = format!("{} {} more of {code}", style("warning:").yellow().for_stderr(), count - NOTICES_SHOWN);
            self.say(&more, &Value::Null);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, text: &str, event: &Value) {
        let state = self.state();
        match state.current.as_ref().and_then(|c| c.bar.as_ref()) {
            Some(bar) => bar.suspend(|| self.say(text, event)),
            None => self.say(text, event),
        }
    }

    fn say(&self, text: &str, event: &Value) {
        // Nobody reads what cannot be written.
        let _ = match self.mode {
            Mode::Json => writeln!(std::io::stderr(), "{event}"),
            _ => writeln!(std::io::stderr(), "{text}"),
        };
    }
}

impl Watch for Term {
    fn step(&self, step: Step, subject: &str, total_bytes: u64) {
        self.end_step();
        let bar = (self.mode == Mode::Bars).then(|| {
            let style = ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(total_bytes).with_style(style).with_prefix(format!("{} {subject}", step.name()))
        });
        let now = Instant::now();
        let subject = subject.to_owned();
        let current = Current { step, subject, total_bytes, done_bytes: 0, started: now, told: now, bar };
        if self.mode == Mode::Json {
            let event =
                json!({"event": "step", "step": step.name(), "subject": current.subject, "total_bytes": total_bytes});
            self.say("", &event);
        }
        self.state().current = Some(current);
    }

    fn advanced(&self, bytes: u64) {
        let mut state = self.state();
        let Some(current) = &mut state.current else { return };
        current.done_bytes += bytes;
        if let Some(bar) = &current.bar {
            bar.inc(bytes);
            return;
        }
        let every = if self.mode == Mode::Json { JSON_EVERY } else { PLAIN_EVERY };
        if current.told.elapsed() >= every {
            current.told = Instant::now();
            self.say(&current.to_text(), &current.to_json());
        }
    }

    fn notice(&self, code: &'static str, subject: &str, text: &str) {
        let count = {
            let mut state = self.state();
            let count = state.notices.entry(code).or_default();
            *count += 1;
            *count
        };
        if count <= NOTICES_SHOWN || self.mode == Mode::Json {
            let event = json!({"event": "notice", "code": code, "subject": subject, "text": text});
            self.line(&format!("{} {subject}: {text}", style("warning:").yellow().for_stderr()), &event);
        }
    }
}
