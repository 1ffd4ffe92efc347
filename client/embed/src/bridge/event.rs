//! What is reported, as the struct that a callback is given.

use std::ffi::CString;

use lamplighter_client::launcher::Question;
use lamplighter_client::notes::NotesSection;
use lamplighter_client::progress::Phase;

use super::Message;
use crate::types::*;

/// Calls back, and knows how far the phase is.
pub(super) struct Teller<'a> {
    deliver: &'a mut dyn FnMut(&LamplighterEvent) -> i32,
    phase: Phase,
    done_bytes: u64,
    total_bytes: u64,
}

/// The texts of an event, by the fields they are for.
#[derive(Default)]
struct Texts {
    code: CString,
    subject: CString,
    text: CString,
    version: CString,
    installed_version: CString,
    notes: CString,
}

/// The numbers of a question, and what is known of the percentage.
#[derive(Default)]
struct Numbers {
    build: u64,
    needs_restart: bool,
    percent: Option<i32>,
}

impl<'a> Teller<'a> {
    pub(super) fn new(deliver: &'a mut dyn FnMut(&LamplighterEvent) -> i32) -> Self {
        Self { deliver, phase: Phase::Check, done_bytes: 0, total_bytes: 0 }
    }

    pub(super) fn tell(&mut self, message: Message) {
        let mut texts = Texts::default();
        match message {
            Message::Started { phase, total_bytes } => {
                (self.phase, self.done_bytes, self.total_bytes) = (phase, 0, total_bytes);
                self.call(LAMPLIGHTER_STARTED, &texts, Numbers::default());
            }
            Message::Advanced { bytes } => {
                self.done_bytes += bytes;
                self.call(LAMPLIGHTER_ADVANCED, &texts, Numbers::default());
            }
            Message::Notice { code, subject, text } => {
                (texts.code, texts.subject, texts.text) = (foreign(code), foreign(&subject), foreign(&text));
                self.call(LAMPLIGHTER_NOTICE, &texts, Numbers::default());
            }
            Message::Say { text, percent } => {
                texts.text = foreign(&text);
                let percent = Some(percent.map_or(-1, i32::from));
                self.call(LAMPLIGHTER_MESSAGE, &texts, Numbers { percent, ..Numbers::default() });
            }
            // A callback that panics takes `reply` down with it: then there is no answer.
            Message::Ask { question, reply } => {
                let _ = reply.send(self.ask(&question));
            }
            Message::Build { reply } => {
                let _ = reply.send(self.call(LAMPLIGHTER_BUILD, &texts, Numbers::default()));
            }
            Message::Done => {}
        }
    }

    fn ask(&mut self, question: &Question) -> i32 {
        let Question { build, version, installed_version, needs_restart, notes } = question;
        let restart = if *needs_restart { "; the app is started again for it" } else { "" };
        let texts = Texts {
            text: foreign(&format!("Version {version} is available{restart}. Update now?")),
            version: foreign(version),
            installed_version: foreign(installed_version.as_deref().unwrap_or_default()),
            notes: foreign(&markdown(notes)),
            ..Texts::default()
        };
        let numbers = Numbers { build: *build, needs_restart: *needs_restart, percent: Some(-1) };
        self.call(LAMPLIGHTER_QUESTION, &texts, numbers)
    }

    fn call(&mut self, kind: u32, texts: &Texts, numbers: Numbers) -> i32 {
        let phase = foreign(self.phase.name());
        (self.deliver)(&LamplighterEvent {
            size: size_of::<LamplighterEvent>() as u32,
            kind,
            done_bytes: self.done_bytes,
            total_bytes: self.total_bytes,
            phase: phase.as_ptr(),
            code: texts.code.as_ptr(),
            subject: texts.subject.as_ptr(),
            text: texts.text.as_ptr(),
            version: texts.version.as_ptr(),
            installed_version: texts.installed_version.as_ptr(),
            build: numbers.build,
            percent: numbers.percent.unwrap_or_else(|| percent(self.done_bytes, self.total_bytes)),
            needs_restart: u32::from(numbers.needs_restart),
            notes: texts.notes.as_ptr(),
        })
    }
}

fn markdown(notes: &[NotesSection]) -> String {
    notes.iter().map(|section| format!("## {}\n\n{}\n", section.version, section.text)).collect()
}

fn percent(done_bytes: u64, total_bytes: u64) -> i32 {
    done_bytes.saturating_mul(100).checked_div(total_bytes).map_or(-1, |percent| percent.min(100) as i32)
}

/// Text that ends at NUL; a NUL within becomes a space.
pub(crate) fn foreign(text: &str) -> CString {
    CString::new(text.replace('\0', " ")).unwrap_or_default()
}
