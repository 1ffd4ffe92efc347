//! Progress on a terminal: one bar with bytes, rate and time left.

use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lamplighter_client::progress::{Event, Phase, Progress};

/// Draws a bar on a terminal; on anything else it prints one plain line a phase.
pub(crate) struct TerminalProgress {
    bar: Mutex<Option<ProgressBar>>,
    is_terminal: bool,
}

impl TerminalProgress {
    /// Progress on stderr.
    pub(crate) fn new() -> Self {
        Self { bar: Mutex::new(None), is_terminal: std::io::IsTerminal::is_terminal(&std::io::stderr()) }
    }

    fn start(&self, phase: Phase, total_bytes: u64) {
        let name = phase.name();
        if !self.is_terminal {
            if total_bytes > 0 {
                eprintln!("{name}: {}", bytes(total_bytes));
            }
            return;
        }
        let bar = ProgressBar::with_draw_target(Some(total_bytes), ProgressDrawTarget::stderr());
        let template = "{prefix:>9} {bar:30} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(name);
        if let Some(last) = self.lock().replace(bar) {
            last.finish_and_clear();
        }
    }

    /// Takes the bar off the terminal.
    pub(crate) fn finish(&self) {
        if let Some(bar) = self.lock().take() {
            bar.finish_and_clear();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<ProgressBar>> {
        self.bar.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Progress for TerminalProgress {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Started { phase, total_bytes } => self.start(phase, total_bytes),
            Event::Advanced { bytes } => {
                if let Some(bar) = self.lock().as_ref() {
                    bar.inc(bytes);
                }
            }
            Event::Notice { subject, text, .. } => {
                let named = subject.is_empty() || text.starts_with(subject);
                let line = if named { text.to_owned() } else { format!("{subject}: {text}") };
                match self.lock().as_ref() {
                    Some(bar) => bar.suspend(|| eprintln!("{line}")),
                    None => eprintln!("{line}"),
                }
            }
        }
    }
}

/// Bytes for people.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::HumanBytes(count).to_string()
}
