//! Moves the bytes of one answer from a thread of its own to the reader.
//!
//! A read of a silent network lasts as long as the source lets it. With the thread in between, the reader can look at its
//! cancel token all the while, and leave; the thread then ends with its next byte or time limit, and the connection with
//! it. The few chunks in between also let the network go on while the reader decodes.

use crate::progress::Cancel;
use crate::source::{Body, ByteRange, Kind, Source, SourceError, Trouble};
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

const CHUNK_BYTES: usize = 64 << 10;
const CHUNKS_WAITING: usize = 4;

/// Most bytes a transfer reads beyond what was taken from it: those waiting, the one being sent, the one being read.
pub const READ_AHEAD_BYTES: usize = CHUNK_BYTES * (CHUNKS_WAITING + 2);

/// How often the reader looks at its cancel token.
const GLANCE: Duration = Duration::from_millis(50);

/// What is to be fetched.
pub(super) struct Order {
    pub(super) name: String,
    pub(super) range: Option<ByteRange>,
    pub(super) kind: Kind,
    /// Offset in the file after which nothing is read, but for one byte that shows whether there is more.
    pub(super) end: Option<u64>,
}

/// The reading end.
pub(super) struct Pump {
    messages: Receiver<Message>,
}

/// In this order: one `Opened`, then `Bytes`, then the channel closes at the end of the body; or `Failed` at any time.
pub(super) enum Message {
    /// The answer began; its first byte stands at this offset.
    Opened(u64),
    Bytes(Vec<u8>),
    Failed(SourceError),
}

/// Why there is no message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// The body is complete, as far as the source can tell.
    Ended,
    Cancelled,
    /// The deadline passed.
    Late,
}

impl Pump {
    /// Starts the transfer.
    pub(super) fn start(source: Arc<dyn Source>, order: Order) -> io::Result<Self> {
        let (sender, messages) = sync_channel(CHUNKS_WAITING);
        // The thread is not waited for: it holds nothing but the connection, and ends by the source's own timers.
        thread::Builder::new().name("lamplighter-fetch".into()).spawn(move || run(source.as_ref(), &order, &sender))?;
        Ok(Self { messages })
    }

    /// The next message, unless it is cancelled or `deadline` passes before.
    pub(super) fn next(&self, cancel: &Cancel, deadline: Option<Instant>) -> Result<Message, Wait> {
        loop {
            if cancel.is_cancelled() {
                return Err(Wait::Cancelled);
            }
            let left = deadline.map_or(GLANCE, |deadline| deadline.saturating_duration_since(Instant::now()));
            match self.messages.recv_timeout(left.min(GLANCE)) {
                Ok(message) => return Ok(message),
                Err(RecvTimeoutError::Disconnected) => return Err(Wait::Ended),
                Err(RecvTimeoutError::Timeout) if left.is_zero() => return Err(Wait::Late),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

/// Runs the transfer; nobody listening any more ends it quietly.
fn run(source: &dyn Source, order: &Order, sender: &SyncSender<Message>) {
    let opened = source.open(&order.name, order.range, order.kind);
    let result = opened.and_then(|body| {
        if sender.send(Message::Opened(body.start)).is_ok() {
            copy(body, order.end, sender).map_err(|error| read_error(source, &order.name, &error))
        } else {
            Ok(())
        }
    });
    if let Err(error) = result {
        let _ = sender.send(Message::Failed(error));
    }
}

fn copy(mut body: Body, end: Option<u64>, sender: &SyncSender<Message>) -> io::Result<()> {
    // One byte more than wanted: a body that ends in time leaves its connection usable, and one that does not is seen.
    let mut left = end.map_or(u64::MAX, |end| end.saturating_sub(body.start).saturating_add(1));
    let mut buffer = vec![0; CHUNK_BYTES];
    while left > 0 {
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = match body.reader.read(&mut buffer[..most]) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        left -= read as u64;
        if sender.send(Message::Bytes(buffer[..read].to_vec())).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn read_error(source: &dyn Source, name: &str, error: &io::Error) -> SourceError {
    let trouble = error.get_ref().and_then(|inner| inner.downcast_ref::<Trouble>()).cloned();
    let trouble = trouble.unwrap_or_else(|| Trouble::Interrupted(error.to_string()));
    SourceError::transient(name, &source.describe(), trouble)
}
