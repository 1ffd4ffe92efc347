//! Runs the work of a call beside the thread that made it, and hands what it reports and asks over to that thread.
//!
//! The client reports from any of its threads. Many languages cannot be called from a thread they do not know, or only while
//! their own main thread waits for events; the one thread every one of them can be called on is the one that made the call.
//! So the work is done on a thread of its own while the caller's delivers events. Bytes that pile up while a callback runs
//! are delivered as one event.

mod event;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use lamplighter_client::launcher::{Answer, Host, Question};
use lamplighter_client::progress::{Cancel, Event, Phase, Progress, Silent};

use crate::fault::Fault;
use crate::types::*;
use event::Teller;
pub(crate) use event::foreign;

/// Events that may wait for the callback; beyond them the work waits.
const QUEUE: usize = 64;

/// The callback of the host program; none if it wants no events. What it returns answers questions.
pub(crate) type Deliver<'a> = Option<&'a mut dyn FnMut(&LamplighterEvent) -> i32>;

/// Whom the work reports to and asks.
pub(crate) struct Link {
    pub(crate) progress: Arc<dyn Progress>,
    pub(crate) host: Arc<dyn Host>,
}

enum Message {
    Started { phase: Phase, total_bytes: u64 },
    Advanced { bytes: u64 },
    Notice { code: &'static str, subject: String, text: String },
    Say { text: String, percent: Option<u8> },
    Ask { question: Question, reply: SyncSender<i32> },
    Build { reply: SyncSender<i32> },
    Done,
}

struct Forward(SyncSender<Message>);

impl Forward {
    fn send(&self, message: Message) {
        // Nobody listens any more once the call has ended.
        let _ = self.0.send(message);
    }

    /// What the callback returns; none if it cannot be asked any more.
    fn ask(&self, message: impl FnOnce(SyncSender<i32>) -> Message) -> Option<i32> {
        let (reply, answer) = sync_channel(1);
        self.send(message(reply));
        answer.recv().ok()
    }
}

impl Progress for Forward {
    fn event(&self, event: Event<'_>) {
        self.send(match event {
            Event::Started { phase, total_bytes } => Message::Started { phase, total_bytes },
            Event::Advanced { bytes } => Message::Advanced { bytes },
            Event::Notice { code, subject, text } => {
                Message::Notice { code, subject: subject.into(), text: text.into() }
            }
        });
    }
}

impl Host for Forward {
    fn message(&self, text: &str, percent: Option<u8>) {
        self.send(Message::Say { text: text.into(), percent });
    }

    fn ask(&self, question: &Question) -> Answer {
        match self.ask(|reply| Message::Ask { question: question.clone(), reply }) {
            Some(LAMPLIGHTER_YES) => Answer::Yes,
            Some(LAMPLIGHTER_SKIP) => Answer::Skip,
            _ => Answer::Later,
        }
    }

    fn build_and_deploy(&self) -> Result<(), String> {
        match self.ask(|reply| Message::Build { reply }) {
            Some(0) => Ok(()),
            Some(number) => Err(format!("the program's hook returned {number}")),
            None => Err("the program's hook did not return".into()),
        }
    }
}

/// A program without a callback.
struct NoHost;

impl Host for NoHost {
    fn message(&self, _: &str, _: Option<u8>) {}
}

/// Runs `work` to its end and delivers what it reports meanwhile. A panic of the work, or of the callback, is an error; after
/// the latter the work is asked to stop, and waited for.
pub(crate) fn run<T: Send>(
    deliver: Deliver<'_>,
    cancel: &Cancel,
    work: impl FnOnce(Link) -> Result<T, Fault> + Send,
) -> Result<T, Fault> {
    let Some(deliver) = deliver else {
        return contained(|| work(Link { progress: Arc::new(Silent), host: Arc::new(NoHost) }));
    };
    let (sender, receiver) = sync_channel(QUEUE);
    thread::scope(|scope| {
        let spawned = thread::Builder::new().name("lamplighter".into()).spawn_scoped(scope, move || {
            let forward = Arc::new(Forward(sender.clone()));
            let result = contained(|| work(Link { progress: forward.clone(), host: forward }));
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
    deliver: &mut dyn FnMut(&LamplighterEvent) -> i32,
    cancel: &Cancel,
) -> Result<(), Fault> {
    let mut teller = Teller::new(deliver);
    let mut result = Ok(());
    let mut waiting = None;
    while let Some(message) = waiting.take().or_else(|| receiver.recv().ok()) {
        let message = match message {
            Message::Done => break,
            Message::Advanced { bytes } => {
                let more = gather(receiver, &mut waiting);
                Message::Advanced { bytes: bytes + more }
            }
            other => other,
        };
        if result.is_ok() {
            result = catch_unwind(AssertUnwindSafe(|| teller.tell(message))).map_err(|payload| {
                cancel.cancel();
                Fault::panic("the callback", payload)
            });
        }
    }
    result
}

/// Bytes of the reports that wait already; the first other message that waits is left in `waiting`.
fn gather(receiver: &Receiver<Message>, waiting: &mut Option<Message>) -> u64 {
    let mut sum = 0;
    while let Ok(next) = receiver.try_recv() {
        match next {
            Message::Advanced { bytes } => sum += bytes,
            other => {
                *waiting = Some(other);
                break;
            }
        }
    }
    sum
}
