//! A launcher with a window: shows what is new, asks, shows progress, and starts the app.
//!
//! ```text
//! cargo run --features window --example window_launcher -- TREE [ARGS for the app]
//! ```
//!
//! All decisions are the library's ([`lamplighter_client::launcher::as_app`]); this program only shows and asks. Copy it, and
//! make it yours.

#![allow(clippy::print_stderr)]

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use eframe::egui;
use lamplighter_client::error::Error;
use lamplighter_client::launch::{Resources, Settings};
use lamplighter_client::launcher::{Answer, AsApp, Host, Question, Setup, as_app, start};
use lamplighter_client::notes::language_of;
use lamplighter_client::updater::{Config, Updater};
use pulldown_cmark::{Event, HeadingLevel, Parser, Tag, TagEnd};

const SIZE: [f32; 2] = [560.0, 420.0];
const RESOURCES: Resources = Resources::Leave;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(tree) = arguments.next().map(PathBuf::from) else {
        eprintln!("usage: window_launcher TREE [ARGS]");
        return ExitCode::from(2);
    };
    let shared = Arc::new(Shared::default());
    let worker = std::thread::spawn({
        let (shared, arguments) = (shared.clone(), arguments.collect::<Vec<_>>());
        move || {
            let result = launch(tree, &arguments, &shared);
            shared.told().ended = Some(result.map_err(|error| error.to_string()));
            shared.repaint();
        }
    });
    let title = "Lamplighter launcher";
    let viewport = egui::ViewportBuilder::default().with_inner_size(SIZE).with_title(title);
    let options = eframe::NativeOptions { viewport, ..eframe::NativeOptions::default() };
    let window = Window { shared };
    let create: eframe::AppCreator<'_> = Box::new(move |created| {
        *window.shared.context.lock().unwrap_or_else(|p| p.into_inner()) = Some(created.egui_ctx.clone());
        Ok(Box::new(window))
    });
    if let Err(error) = eframe::run_native(title, options, create) {
        eprintln!("no window: {error}");
        return ExitCode::FAILURE;
    }
    drop(worker);
    ExitCode::SUCCESS
}

/// Everything up to the running app.
fn launch(tree: PathBuf, arguments: &[OsString], shared: &Arc<Shared>) -> Result<String, Error> {
    let config = Config::new(tree);
    let settings = Settings { check_minimum: true, run_in_local: false, check_for_updates: true, resources: RESOURCES };
    let setup = Setup { arguments: arguments.to_vec(), language: language(), ..Setup::new(config.clone(), settings) };
    let host: Arc<dyn Host> = shared.clone();
    match as_app(&setup, &host)? {
        AsApp::Ready { build, .. } => {
            let updater = Updater::open(config)?;
            let child = start(&updater, arguments)?;
            // A real app says that it works once it does.
            build.map(|build| updater.confirm_build(build)).transpose()?;
            let version = updater.status()?.installed.map_or_else(String::new, |release| release.version);
            Ok(match child {
                Some(_) => format!("Version {version} is running"),
                None => format!("Version {version} is ready"),
            })
        }
        AsApp::HandedOver { .. } => Ok("The patcher takes over".into()),
        AsApp::Started(_) => Ok("Started".into()),
        AsApp::Restart => Ok("Please start the app again".into()),
        AsApp::Locked => Ok("An update is running already".into()),
        AsApp::UpdateRequired { .. } => Ok("Please download the app afresh".into()),
    }
}

fn language() -> String {
    let variable = |name| std::env::var(name).ok();
    let (lc_all, lc_messages, lang) = (variable("LC_ALL"), variable("LC_MESSAGES"), variable("LANG"));
    language_of(lc_all.as_deref(), lc_messages.as_deref(), lang.as_deref())
}

#[derive(Default)]
struct Told {
    message: String,
    percent: Option<u8>,
    question: Option<Question>,
    answer: Option<Answer>,
    ended: Option<Result<String, String>>,
}

/// What the working thread and the window share.
#[derive(Default)]
struct Shared {
    told: Mutex<Told>,
    answered: Condvar,
    context: Mutex<Option<egui::Context>>,
}

impl Shared {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn repaint(&self) {
        if let Some(context) = self.context.lock().unwrap_or_else(|p| p.into_inner()).as_ref() {
            context.request_repaint();
        }
    }
}

impl Host for Shared {
    fn message(&self, text: &str, percent: Option<u8>) {
        let mut told = self.told();
        text.clone_into(&mut told.message);
        told.percent = percent;
        drop(told);
        self.repaint();
    }

    fn ask(&self, question: &Question) -> Answer {
        let mut told = self.told();
        (told.question, told.answer) = (Some(question.clone()), None);
        self.repaint();
        loop {
            if let Some(answer) = told.answer.take() {
                told.question = None;
                return answer;
            }
            told = self.answered.wait(told).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }
}

struct Window {
    shared: Arc<Shared>,
}

impl eframe::App for Window {
    fn ui(&mut self, ui: &mut egui::Ui, _: &mut eframe::Frame) {
        let shared = self.shared.clone();
        let mut told = shared.told();
        let mut close = false;
        egui::CentralPanel::default().show(ui, |ui| match (&told.ended, told.question.clone()) {
            (Some(ended), _) => close = show_end(ui, ended),
            (None, Some(question)) => {
                if let Some(answer) = show_question(ui, &question) {
                    told.answer = Some(answer);
                    shared.answered.notify_all();
                }
            }
            (None, None) => {
                ui.heading("Starting");
                ui.label(&told.message);
                let part = f32::from(told.percent.unwrap_or(0)) / 100.0;
                ui.add(egui::ProgressBar::new(part).show_percentage());
            }
        });
        if close {
            ui.ctx().send_viewport_cmd(egui::ViewportCommand::Close);
        }
    }
}

fn show_end(ui: &mut egui::Ui, ended: &Result<String, String>) -> bool {
    match ended {
        Ok(text) => ui.heading(text),
        Err(text) => ui.colored_label(ui.visuals().error_fg_color, text),
    };
    ui.button("Close").clicked()
}

fn show_question(ui: &mut egui::Ui, question: &Question) -> Option<Answer> {
    ui.heading(format!("Version {} is available", question.version));
    if let Some(installed) = &question.installed_version {
        ui.weak(format!("You have version {installed}."));
    }
    ui.add_space(8.0);
    let height = ui.available_height() - 40.0;
    egui::ScrollArea::vertical().max_height(height).auto_shrink([false, false]).show(ui, |ui| {
        for section in &question.notes {
            ui.label(egui::RichText::new(format!("Version {}", section.version)).strong().size(16.0));
            markdown(ui, &section.text);
            ui.add_space(8.0);
        }
    });
    let mut answer = None;
    ui.horizontal(|ui| {
        for (text, choice) in
            [("Update now", Answer::Yes), ("Later", Answer::Later), ("Skip this version", Answer::Skip)]
        {
            if ui.button(text).clicked() {
                answer = Some(choice);
            }
        }
    });
    answer
}

/// Headings, paragraphs, lists, emphasis and code; links and images are shown as their text, since nothing of a release
/// note should lead anywhere.
fn markdown(ui: &mut egui::Ui, text: &str) {
    let mut line = egui::text::LayoutJob::default();
    let (mut size, mut strong, mut italics, mut code) = (14.0, false, false, false);
    let format = |size: f32, strong: bool, italics: bool, code: bool, ui: &egui::Ui| egui::TextFormat {
        font_id: if code { egui::FontId::monospace(size) } else { egui::FontId::proportional(size) },
        color: if strong { ui.visuals().strong_text_color() } else { ui.visuals().text_color() },
        italics,
        ..egui::TextFormat::default()
    };
    for event in Parser::new(text) {
        match event {
            Event::Start(Tag::Heading { level, .. }) => {
                size = if level == HeadingLevel::H1 { 18.0 } else { 15.0 };
                strong = true;
            }
            Event::Start(Tag::Item) => line.append("  \u{2022} ", 0.0, format(size, false, false, false, ui)),
            Event::Start(Tag::Strong) => strong = true,
            Event::End(TagEnd::Strong) => strong = false,
            Event::Start(Tag::Emphasis) => italics = true,
            Event::End(TagEnd::Emphasis) => italics = false,
            Event::Start(Tag::CodeBlock(_)) => code = true,
            Event::Text(text) => line.append(&text, 0.0, format(size, strong, italics, code, ui)),
            Event::Code(text) => line.append(&text, 0.0, format(size, strong, italics, true, ui)),
            Event::SoftBreak => line.append(" ", 0.0, format(size, strong, italics, code, ui)),
            Event::HardBreak => line.append("\n", 0.0, format(size, strong, italics, code, ui)),
            Event::End(TagEnd::Heading(_) | TagEnd::Paragraph | TagEnd::Item | TagEnd::CodeBlock) => {
                if !line.is_empty() {
                    ui.label(std::mem::take(&mut line));
                }
                (size, strong, code) = (14.0, false, false);
            }
            _ => {}
        }
    }
}
