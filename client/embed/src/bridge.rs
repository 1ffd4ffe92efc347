//! Runs the work of a call beside the thread that made it, and hands its events over to that thread.
//!
//! The client reports from any of its threads. Many languages cannot be called from a thread they do not know, or only while
//! their own main thread waits for events; the one thread every one of them can be called on is the one that made the call.
//! So the work is done on a thread of its own while the caller's delivers events. Bytes that pile up while a callback runs
//! are delivered as one event.

use std::ffi::CString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use lamplighter_client::progress::{Cancel, Event, Phase, Progress, Silent};

use crate::fault::Fault;
use crate::types::*;

/// Events that may wait for the callback; beyond them the work waits.
const QUEUE: usize = 64;

/// What the host program gave to be called; none if it wants no events.
pub(crate) type Deliver<'a> = Option<&'a mut dyn FnMut(&LamplighterEvent)>;

enum Message {
    Started { phase: Phase, total_bytes: u64 },
    Advanced { bytes: u64 },
    Notice { code: &'static str, subject: String, text: String },
    Done,
}

struct Forward(SyncSender<Message>);

impl Progress for Forward {
    fn event(&self, event: Event<'_>) {
        let message = match event {
            Event::Started { phase, total_bytes } => Message::Started { phase, total_bytes },
            Event::Advanced { bytes } => Message::Advanced { bytes },
            Event::Notice { code, subject, text } => {
                Message::Notice { code, subject: subject.into(), text: text.into() }
            }
        };
        // Nobody listens any more once the call has ended.
        let _ = self.0.send(message);
    }
}

/// Runs `work` to its end and delivers what it reports meanwhile. A panic of the work, or of the callback, is an error; after
/// the latter the work is asked to stop, and waited for.
pub(crate) fn run<T: Send>(
    deliver: Deliver<'_>,
    cancel: &Cancel,
    work: impl FnOnce(Arc<dyn Progress>) -> Result<T, Fault> + Send,
) -> Result<T, Fault> {
    let Some(deliver) = deliver else {
        return contained(|| work(Arc::new(Silent)));
    };
    let (sender, receiver) = sync_channel(QUEUE);
    thread::scope(|scope| {
        let spawned = thread::Builder::new().name("lamplighter".into()).spawn_scoped(scope, move || {
            let progress = Arc::new(Forward(sender.clone()));
            let result = contained(|| work(progress));
            let _ = sender.send(Message::Done);
            result
        });
        let worker = spawned.map_err(|error| Fault {
            status: LAMPLIGHTER_OTHER,
            code: "E_THREAD",
            message: format!("cannot start a thread: {error}"),
        })?;
        let delivered = deliver_all(&receiver, deliver, cancel);
        let result = worker.join().unwrap_or_else(|payload| Err(Fault::panic("the library", payload)));
        delivered.and(result)
    })
}

fn contained<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    // What a panic leaves half done is in the tree's hands, which takes it for a crash; no value of the call survives.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| Err(Fault::panic("the library", payload)))
}

/// Delivers until the work is done. After a panic of the callback nothing more is delivered.
fn deliver_all(
    receiver: &Receiver<Message>,
    deliver: &mut dyn FnMut(&LamplighterEvent),
    cancel: &Cancel,
) -> Result<(), Fault> {
    let mut at = Position::default();
    let mut result = Ok(());
    let mut waiting = None;
    while let Some(message) = waiting.take().or_else(|| receiver.recv().ok()) {
        let message = match message {
            Message::Done => break,
            Message::Advanced { mut bytes } => {
                while let Ok(next) = receiver.try_recv() {
                    match next {
                        Message::Advanced { bytes: more } => bytes += more,
                        other => {
                            waiting = Some(other);
                            break;
                        }
                    }
                }
                Message::Advanced { bytes }
            }
            other => other,
        };
        if result.is_err() {
            continue;
        }
        let one = AssertUnwindSafe(|| at.tell(message, &mut *deliver));
        result = catch_unwind(one).map_err(|payload| {
            cancel.cancel();
            Fault::panic("the callback", payload)
        });
    }
    result
}

/// How far the phase is.
#[derive(Default)]
struct Position {
    phase: Option<Phase>,
    done_bytes: u64,
    total_bytes: u64,
}

impl Position {
    fn tell(&mut self, message: Message, deliver: &mut dyn FnMut(&LamplighterEvent)) {
        let (mut code, mut subject, mut text) = (CString::default(), CString::default(), CString::default());
        let kind = match message {
            Message::Started { phase, total_bytes } => {
                *self = Self { phase: Some(phase), done_bytes: 0, total_bytes };
                LAMPLIGHTER_STARTED
            }
            Message::Advanced { bytes } => {
                self.done_bytes += bytes;
                LAMPLIGHTER_ADVANCED
            }
            Message::Notice { code: c, subject: s, text: t } => {
                (code, subject, text) = (foreign(c), foreign(&s), foreign(&t));
                LAMPLIGHTER_NOTICE
            }
            Message::Done => return,
        };
        let phase = foreign(self.phase.unwrap_or(Phase::Check).name());
        deliver(&LamplighterEvent {
            size: size_of::<LamplighterEvent>() as u32,
            kind,
            done_bytes: self.done_bytes,
            total_bytes: self.total_bytes,
            phase: phase.as_ptr(),
            code: code.as_ptr(),
            subject: subject.as_ptr(),
            text: text.as_ptr(),
        });
    }
}

/// Text that ends at NUL; a NUL within becomes a space.
pub(crate) fn foreign(text: &str) -> CString {
    CString::new(text.replace('\0', " ")).unwrap_or_default()
}
