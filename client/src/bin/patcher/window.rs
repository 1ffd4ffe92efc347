//! The patcher's window: what it does, how far it is, and a way to stop while that is safe.
//!
//! The work runs on a thread of its own; the window only shows what that thread told and hands answers back. A window that
//! is closed early asks the work to stop, if that is still safe, and is gone in any case once the work has ended.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use eframe::egui;
use lamplighter_client::error::Error;
use lamplighter_client::patcher::{Answer, Patched, Question, View};
use lamplighter_client::progress::{Cancel, Event, Progress};

use crate::term::bytes;

/// Lines of the log that are shown.
const LOG_LINES: usize = 200;
/// How long a window that has good news stays open.
const STAY_OPEN: Duration = Duration::from_millis(1500);
const SIZE: [f32; 2] = [520.0, 300.0];

/// What the work has told.
#[derive(Default)]
struct Told {
    phase: String,
    plan: String,
    done_bytes: u64,
    total_bytes: u64,
    log: VecDeque<String>,
    question: Option<String>,
    answer: Option<Answer>,
    committing: bool,
    ended: Option<Result<String, String>>,
}

/// The shared end of the work and the window.
pub(crate) struct WindowView {
    told: Mutex<Told>,
    answered: Condvar,
    repaint: Mutex<Option<egui::Context>>,
    cancel: Cancel,
}

impl WindowView {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn repaint(&self) {
        let context = self.repaint.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(context) = context.as_ref() {
            context.request_repaint();
        }
    }

    fn log(told: &mut Told, line: String) {
        if told.log.len() == LOG_LINES {
            told.log.pop_front();
        }
        told.log.push_back(line);
    }

    fn answer(&self, answer: Answer) {
        let mut told = self.told();
        told.question = None;
        told.answer = Some(answer);
        self.answered.notify_all();
    }
}

impl Progress for WindowView {
    fn event(&self, event: Event<'_>) {
        let mut told = self.told();
        match event {
            Event::Started { phase, total_bytes } => {
                phase.name().clone_into(&mut told.phase);
                (told.done_bytes, told.total_bytes) = (0, total_bytes);
                let line = told.phase.clone();
                Self::log(&mut told, line);
            }
            Event::Advanced { bytes } => told.done_bytes += bytes,
            Event::Notice { code: "plan", text, .. } => text.clone_into(&mut told.plan),
            Event::Notice { code: "waiting", text, .. } => text.clone_into(&mut told.phase),
            Event::Notice { subject, text, .. } => {
                let line = if subject.is_empty() { text.to_owned() } else { format!("{subject}: {text}") };
                Self::log(&mut told, line);
            }
        }
        drop(told);
        self.repaint();
    }
}

impl View for WindowView {
    fn ask(&self, question: &Question) -> Answer {
        let Question::StillRunning { pids, waited } = question;
        let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
        let mut told = self.told();
        told.question =
            Some(format!("The app still runs (process {}), after {} s.", pids.join(", "), waited.as_secs()));
        told.answer = None;
        self.repaint();
        loop {
            if let Some(answer) = told.answer.take() {
                return answer;
            }
            if self.cancel.is_cancelled() {
                return Answer::Stop;
            }
            let waited = self.answered.wait_timeout(told, Duration::from_millis(200));
            told = waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
    }

    fn committing(&self) {
        self.told().committing = true;
        self.repaint();
    }
}

/// Runs `work` on a thread and shows it. Without a desktop the work is done all the same, unseen.
pub(crate) fn run(
    title: &str,
    cancel: Cancel,
    work: impl FnOnce(Arc<WindowView>) -> Result<Patched, Error> + Send + 'static,
) -> Result<Patched, Error> {
    let (told, answered, repaint) = (Mutex::default(), Condvar::new(), Mutex::default());
    let view = Arc::new(WindowView { told, answered, repaint, cancel });
    let shared = view.clone();
    let worker = std::thread::spawn(move || {
        let result = work(shared.clone());
        let ended = match &result {
            Ok(Patched { report: Some(report), .. }) => Ok(format!("{} is installed", report.version)),
            Ok(_) => Ok("The update was finished already".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        shared.told().ended = Some(ended);
        shared.repaint();
        result
    });
    let viewport = egui::ViewportBuilder::default().with_inner_size(SIZE).with_title(title);
    let options = eframe::NativeOptions { viewport, ..eframe::NativeOptions::default() };
    let window = Window { view: view.clone(), title: title.to_owned(), closes_at: None };
    let create: eframe::AppCreator<'_> = Box::new(move |created| {
        *window.view.repaint.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(created.egui_ctx.clone());
        Ok(Box::new(window))
    });
    if let Err(error) = eframe::run_native(title, options, create) {
        eprintln!("no window: {error}");
    }
    worker.join().unwrap_or(Err(Error::Cancelled))
}

struct Window {
    view: Arc<WindowView>,
    title: String,
    closes_at: Option<std::time::Instant>,
}

impl eframe::App for Window {
    fn ui(&mut self, ui: &mut egui::Ui, _: &mut eframe::Frame) {
        let view = self.view.clone();
        let told = view.told();
        let ended_well = matches!(told.ended, Some(Ok(_)));
        let (mut stop, mut close, mut answer) = (false, false, None);
        egui::CentralPanel::default().show(ui, |ui| {
            ui.heading(&self.title);
            ui.add_space(6.0);
            state(ui, &told);
            ui.add_space(6.0);
            answer = question(ui, &told);
            log(ui, &told);
            ui.add_space(6.0);
            ui.horizontal(|ui| {
                if told.ended.is_some() {
                    close = ui.button("Close").clicked();
                } else {
                    stop = ui.add_enabled(!told.committing, egui::Button::new("Cancel")).clicked();
                }
            });
        });
        drop(told);
        if let Some(answer) = answer {
            view.answer(answer);
        }
        if stop {
            view.cancel.cancel();
        }
        self.close_in_time(ui.ctx(), ended_well, close);
    }

    fn on_exit(&mut self, _: Option<&eframe::glow::Context>) {
        let told = self.view.told();
        if told.ended.is_none() && !told.committing {
            self.view.cancel.cancel();
        }
    }
}

impl Window {
    fn close_in_time(&mut self, context: &egui::Context, ended_well: bool, close: bool) {
        let now = std::time::Instant::now();
        if ended_well {
            let closes_at = *self.closes_at.get_or_insert(now + STAY_OPEN);
            context.request_repaint_after(closes_at.saturating_duration_since(now));
        }
        if close || self.closes_at.is_some_and(|at| now >= at) {
            context.send_viewport_cmd(egui::ViewportCommand::Close);
        }
    }
}

fn state(ui: &mut egui::Ui, told: &Told) {
    match &told.ended {
        Some(Ok(text)) => {
            ui.label(text);
        }
        Some(Err(text)) => {
            ui.colored_label(ui.visuals().error_fg_color, text);
        }
        None => {
            ui.label(&told.phase);
        }
    }
    let part = match (&told.ended, told.total_bytes) {
        (Some(Ok(_)), _) => 1.0,
        (_, 0) => 0.0,
        (_, total) => told.done_bytes as f32 / total as f32,
    };
    let mut bar = egui::ProgressBar::new(part.min(1.0));
    if told.total_bytes > 0 {
        bar = bar.text(format!("{} of {}", bytes(told.done_bytes), bytes(told.total_bytes)));
    }
    ui.add(bar);
    if !told.plan.is_empty() {
        ui.weak(&told.plan);
    }
}

fn question(ui: &mut egui::Ui, told: &Told) -> Option<Answer> {
    let text = told.question.as_ref()?;
    ui.label(text);
    let mut answer = None;
    ui.horizontal(|ui| {
        if ui.button("Wait").clicked() {
            answer = Some(Answer::Wait);
        }
        if ui.button("Stop; update at the next start").clicked() {
            answer = Some(Answer::Stop);
        }
    });
    answer
}

fn log(ui: &mut egui::Ui, told: &Told) {
    egui::ScrollArea::vertical().max_height(90.0).stick_to_bottom(true).show(ui, |ui| {
        ui.set_min_width(ui.available_width());
        for line in &told.log {
            ui.monospace(line);
        }
    });
}
