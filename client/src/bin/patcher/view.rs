//! What a patcher shows on a terminal, or as JSON.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use lamplighter_client::patcher::{Answer, Question, View};
use lamplighter_client::progress::{Event, Progress};
use serde_json::json;

use crate::output::Output;

/// Shows progress as the client program does, and asks where somebody can answer.
pub(crate) struct TerminalView {
    progress: Arc<dyn Progress>,
    json: bool,
    give_up_after: Duration,
}

impl TerminalView {
    pub(crate) fn new(output: &Output, give_up_after: Duration) -> Self {
        Self { progress: output.progress(), json: output.is_json(), give_up_after }
    }
}

impl Progress for TerminalView {
    fn event(&self, event: Event<'_>) {
        self.progress.event(event);
    }
}

impl View for TerminalView {
    fn ask(&self, question: &Question) -> Answer {
        let Question::StillRunning { pids, waited } = question;
        let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
        let text = format!("the app still runs (process {}), after {} s", pids.join(", "), waited.as_secs());
        if self.json {
            println!("{}", json!({"event": "question", "code": "still_running", "pids": pids, "text": text}));
        } else if std::io::stdin().is_terminal() {
            let _ = write!(std::io::stderr(), "{text}; wait on, or stop? [W/s] ");
            let mut line = String::new();
            let answered = std::io::stdin().read_line(&mut line).is_ok_and(|count| count > 0);
            return if answered && !line.trim().eq_ignore_ascii_case("s") { Answer::Wait } else { Answer::Stop };
        } else {
            eprintln!("{text}; waiting on");
        }
        if *waited < self.give_up_after { Answer::Wait } else { Answer::Stop }
    }
}
