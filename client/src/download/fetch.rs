//! One file on its way: what is wanted next, from whom, and what to do when it breaks or proves wrong.
//!
//! The file is taken block by block, each with its signed digest. Within a block a broken transfer goes on at the byte it
//! had reached, so a block may come from several mirrors, but for its first bytes. If it then proves wrong nobody can be blamed; it is fetched again
//! and, from then on, whoever began it goes on with it, and changing the mirror starts it over. So the next time there is
//! exactly one to blame, and one bad mirror cannot spoil what the good ones deliver.
//!
//! No validators (`If-Range`) are sent: names are immutable, mirrors have validators of their own, and the digest decides
//! anyway.

use super::attempts::{Attempts, Choice};
use super::connection::{Connection, HEAD_BYTES};
use super::error::{WrongContent, looks_like_web_page};
use super::mirrors::{Mirror, Slot};
use super::pump::{Message, Order, Pump, Wait};
use super::{DownloadError, EXACT_BYTES_MAX, Shared};
use crate::format::digest::Blake3;
use crate::progress::Event;
use crate::source::{ByteRange, Kind, SourceError, Trouble};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A gap in the file up to this size is read and dropped, since a new request would cost more.
const GAP_BYTES: u64 = 64 << 10;

/// Blocks and objects are rarely larger.
const BLOCK_BYTES_USUAL: u64 = 4 << 20;

/// Blocks of one file that nobody had right, after which no more of it is asked for: each has cost two requests to every mirror.
const BAD_BLOCKS_MAX: u32 = 3;

/// Takes the bytes of a block as they come, which may have to start over.
pub(super) trait Sink {
    fn write(&mut self, bytes: &[u8]) -> Result<(), DownloadError>;
    fn restart(&mut self) -> Result<(), DownloadError>;
}

impl Sink for Vec<u8> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), DownloadError> {
        self.extend_from_slice(bytes);
        Ok(())
    }

    fn restart(&mut self) -> Result<(), DownloadError> {
        self.clear();
        Ok(())
    }
}

pub(super) struct Fetch {
    shared: Arc<Shared>,
    name: String,
    /// Offset of the next byte wanted.
    position: u64,
    /// Offset from which on nothing is wanted.
    end: Option<u64>,
    /// Whether `end` is named in requests, since the file goes on after it.
    slice: bool,
    connection: Option<Connection>,
    attempts: Attempts,
    block: Block,
    /// Offset up to which bytes were reported as advanced.
    counted: u64,
    /// Offset up to which bytes of this block ever came.
    furthest: u64,
    /// The last wrong delivery of this block, or of the one the file was given up with.
    wrong: Option<Box<WrongContent>>,
    /// Blocks that were given up because they stayed wrong.
    bad_blocks: u32,
}

/// The block that is not verified yet.
struct Block {
    start: u64,
    givers: Givers,
    /// Whether it must come from one mirror.
    pure: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Givers {
    None,
    One(usize),
    /// Several mirrors, or a partial file.
    Mixed,
}

enum Step {
    /// The connection holds bytes for the present position.
    Ready,
    /// The block starts over.
    Restarted,
}

impl Fetch {
    /// The whole file of `length` bytes.
    pub(super) fn whole(shared: Arc<Shared>, name: &str, length: u64) -> Self {
        Self { end: Some(length), ..Self::open_ended(shared, name, 0) }
    }

    /// The file from `start` on, whatever its length.
    pub(super) fn open_ended(shared: Arc<Shared>, name: &str, start: u64) -> Self {
        let attempts = Attempts::content(shared.mirrors.len(), &shared.policy);
        Self {
            shared,
            name: name.into(),
            position: start,
            end: None,
            slice: false,
            connection: None,
            attempts,
            block: Block { start, givers: Givers::None, pure: false },
            counted: start,
            furthest: start,
            wrong: None,
            bad_blocks: 0,
        }
    }

    /// Offset of the next byte wanted.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Declares that nothing is wanted from `end` on.
    pub(super) fn limit(&mut self, end: u64) {
        (self.end, self.slice) = (Some(end), true);
        self.connection = None;
    }

    /// Declares that the first `bytes` of the block are there already, from an earlier transfer.
    pub(super) fn resume_at(&mut self, bytes: u64) {
        self.block.givers = if bytes > 0 { Givers::Mixed } else { Givers::None };
        self.furthest = self.block.start + bytes;
        self.advance_to(self.block.start + bytes);
    }

    /// Leaves out everything before `offset`.
    pub(super) fn skip_to(&mut self, offset: u64) {
        let gap = offset.checked_sub(self.position).filter(|gap| *gap <= GAP_BYTES);
        if gap.is_none() {
            self.connection = None;
        }
        self.position = offset;
        self.counted = self.counted.max(offset);
        self.begin_block();
    }

    /// The next `length` bytes, once they have the digest `blake3`.
    pub(super) fn block(&mut self, length: u64, blake3: &Blake3) -> Result<Vec<u8>, DownloadError> {
        if length > EXACT_BYTES_MAX {
            return Err(self.too_large(length));
        }
        // What is usual is taken at once; more only as bytes arrive, so that a length alone takes no memory.
        let mut bytes = Vec::with_capacity(length.min(BLOCK_BYTES_USUAL) as usize);
        self.block_into(length, blake3, blake3::Hasher::new(), &mut bytes)?;
        Ok(bytes)
    }

    /// The answer to who asks for `length` bytes in memory.
    pub(super) fn too_large(&self, length: u64) -> DownloadError {
        DownloadError::TooLarge { name: self.name.clone(), bytes: length, max_bytes: EXACT_BYTES_MAX }
    }

    /// The same into `sink`. `hasher` has seen what [`Self::resume_at`] declared.
    pub(super) fn block_into(
        &mut self,
        length: u64,
        expected: &Blake3,
        mut hasher: blake3::Hasher,
        sink: &mut dyn Sink,
    ) -> Result<(), DownloadError> {
        let end = self.block.start.saturating_add(length);
        self.extend_limit(end);
        let mut head = Vec::new();
        loop {
            while self.position < end {
                match self.step()? {
                    Step::Ready => self.take(end, &mut hasher, &mut head, sink)?,
                    Step::Restarted => start_over(&mut hasher, &mut head, sink)?,
                }
            }
            let actual = Blake3::from_bytes(*hasher.finalize().as_bytes());
            if actual == *expected {
                self.accept();
                return Ok(());
            }
            self.distrust(end, *expected, actual, looks_like_web_page(&head))?;
            start_over(&mut hasher, &mut head, sink)?;
        }
    }

    /// Moves what the connection holds, up to `end`, into `sink`.
    fn take(
        &mut self,
        end: u64,
        hasher: &mut blake3::Hasher,
        head: &mut Vec<u8>,
        sink: &mut dyn Sink,
    ) -> Result<(), DownloadError> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let wanted = usize::try_from(end - self.position).unwrap_or(usize::MAX);
        let bytes = connection.ready();
        let bytes = &bytes[..bytes.len().min(wanted)];
        hasher.update(bytes);
        head.extend(bytes.iter().take(HEAD_BYTES - head.len()));
        sink.write(bytes)?;
        let (mirror, taken) = (connection.mirror, bytes.len());
        connection.consume(taken);
        let position = self.position + taken as u64;
        let fresh = position.saturating_sub(self.furthest.max(self.position));
        self.furthest = self.furthest.max(position);
        if self.attempts.delivered(mirror, fresh) {
            self.shared.mirrors[mirror].worked(&mut connection.slot);
        }
        self.block.givers = match self.block.givers {
            Givers::None => Givers::One(mirror),
            Givers::One(other) if other == mirror => Givers::One(mirror),
            _ => Givers::Mixed,
        };
        self.advance_to(position);
        Ok(())
    }

    /// Sees to it that the connection holds bytes for the present position.
    fn step(&mut self) -> Result<Step, DownloadError> {
        loop {
            self.shared.check_cancel()?;
            let Some(connection) = &mut self.connection else {
                if self.connect()? {
                    return Ok(Step::Restarted);
                }
                continue;
            };
            connection.drop_before(self.position);
            if !connection.ready().is_empty() {
                return Ok(Step::Ready);
            }
            let error = match connection.pump.next(&self.shared.cancel, None) {
                Ok(Message::Bytes(chunk)) => {
                    let received = self.shared.received(chunk.len());
                    connection.refill(chunk);
                    received?;
                    continue;
                }
                Ok(Message::Failed(error)) => error,
                Err(Wait::Cancelled) => return Err(DownloadError::Cancelled),
                Ok(Message::Opened(_)) | Err(Wait::Ended | Wait::Late) => {
                    let site = self.shared.mirrors[connection.mirror].source.describe();
                    SourceError::transient(&self.name, &site, connection.early_end(self.position))
                }
            };
            let web_page = matches!(error, SourceError::Transient { trouble: Trouble::WebPage, .. });
            if let Some(broken) = self.connection.take() {
                self.failed(broken.mirror, broken.slot, error);
            }
            if web_page && self.block.givers != Givers::None {
                self.rewind();
                return Ok(Step::Restarted);
            }
        }
    }

    /// Opens a connection; true if that made the block start over.
    fn connect(&mut self) -> Result<bool, DownloadError> {
        let mut restarted = false;
        while self.connection.is_none() {
            let standings: Vec<_> = self.shared.mirrors.iter().map(Mirror::standing).collect();
            let kept = match self.block.givers {
                Givers::One(mirror) if self.block.pure => Some(mirror),
                _ => None,
            };
            let choice = self.attempts.choose(&standings, self.shared.policy.timing.now(), kept);
            let choice = choice.ok_or_else(|| self.over())?;
            let Some(slot) = self.shared.wait_for_slot(choice.mirror)? else { continue };
            restarted |= self.start_over_for(choice.mirror);
            self.request(choice, slot)?;
        }
        Ok(restarted)
    }

    /// Starts the block over if it must come from one mirror, and this one is not it; or if no more came of it than a request
    /// costs, since a block from two mirrors that proves wrong has to be fetched once more.
    fn start_over_for(&mut self, mirror: usize) -> bool {
        let one = match self.block.givers {
            Givers::None => return false,
            Givers::One(giver) if giver == mirror => return false,
            Givers::One(_) => true,
            Givers::Mixed => false,
        };
        let early = one && self.position - self.block.start <= GAP_BYTES;
        if !early && !self.block.pure {
            return false;
        }
        self.position = self.block.start;
        self.block.givers = Givers::None;
        true
    }

    fn request(&mut self, choice: Choice, slot: Slot) -> Result<(), DownloadError> {
        let source = &self.shared.mirrors[choice.mirror].source;
        let kind = if choice.refetch { Kind::Refetch } else { Kind::Content };
        let ranged = !choice.whole && (self.position > 0 || self.slice);
        let end = self.end.filter(|_| self.slice);
        let range = ranged.then_some(ByteRange { start: self.position, end });
        self.shared.requests.fetch_add(1, Ordering::Relaxed);
        let order = Order { name: self.name.clone(), range, kind, end: self.end };
        let site = || source.describe();
        let transient = |trouble| SourceError::transient(&self.name, &site(), trouble);
        let error = match Pump::start(source.clone(), order) {
            Err(error) => transient(Trouble::Connect(format!("no thread for it: {error}"))),
            Ok(pump) => match pump.next(&self.shared.cancel, None) {
                Ok(Message::Opened(at)) if at <= self.position => {
                    self.connection = Some(Connection::new(pump, choice.mirror, slot, at, self.end));
                    return Ok(());
                }
                Ok(Message::Opened(at)) => {
                    transient(Trouble::Range { expected: self.position, actual: format!("a body from {at}") })
                }
                Ok(Message::Failed(error)) => error,
                Err(Wait::Cancelled) => return Err(DownloadError::Cancelled),
                Ok(Message::Bytes(_)) | Err(Wait::Ended | Wait::Late) => {
                    transient(Trouble::Interrupted("it ended before it began".into()))
                }
            },
        };
        self.failed(choice.mirror, slot, error);
        Ok(())
    }

    fn failed(&mut self, mirror: usize, mut slot: Slot, error: SourceError) {
        self.shared.notice("retry", &self.name, &error.to_string());
        self.shared.note_failure(mirror, &mut slot, &error);
        self.attempts.failed(mirror, error);
    }

    fn accept(&mut self) {
        let mirror = self.connection.as_mut().map(|connection| {
            self.shared.mirrors[connection.mirror].worked(&mut connection.slot);
            connection.mirror
        });
        self.attempts.accepted(mirror);
        self.wrong = None;
        self.begin_block();
    }

    fn begin_block(&mut self) {
        self.block = Block { start: self.position, givers: Givers::None, pure: false };
        self.furthest = self.position;
        if self.bad_blocks < BAD_BLOCKS_MAX {
            self.attempts.forget_lies();
            self.wrong = None;
        }
    }

    /// Goes back to the start of a block that has the wrong digest.
    fn distrust(&mut self, end: u64, expected: Blake3, actual: Blake3, web_page: bool) -> Result<(), DownloadError> {
        let site = match self.block.givers {
            Givers::One(mirror) => {
                self.attempts.lied(mirror);
                self.shared.mirrors[mirror].lied();
                self.shared.mirrors[mirror].source.describe()
            }
            Givers::Mixed => {
                self.block.pure = true;
                "several transfers".into()
            }
            Givers::None => "nowhere".into(),
        };
        let (name, start) = (self.name.clone(), self.block.start);
        let wrong = Box::new(WrongContent { name, site, start, end, expected, actual, web_page });
        if self.block.givers == Givers::None {
            return Err(wrong.into());
        }
        self.shared.notice("wrong-content", &self.name, &wrong.to_string());
        self.wrong = Some(wrong);
        self.connection = None;
        self.rewind();
        Ok(())
    }

    /// Forgets what was taken of this block.
    fn rewind(&mut self) {
        self.block.givers = Givers::None;
        (self.position, self.furthest) = (self.block.start, self.block.start);
    }

    /// Why there is nobody left to ask.
    fn over(&mut self) -> DownloadError {
        if let Some(wrong) = &self.wrong {
            self.bad_blocks += 1;
            return wrong.clone().into();
        }
        // One that is down may not have been asked at all; then what it failed with before is what there is to say.
        let earlier = || self.shared.mirrors.iter().find_map(Mirror::last_error).map(|error| error.about(&self.name));
        let failed = self.attempts.error().or_else(earlier).map(|error| DownloadError::Source(Box::new(error)));
        failed.unwrap_or_else(|| DownloadError::NoSource { name: self.name.clone() })
    }

    fn advance_to(&mut self, position: u64) {
        self.position = position;
        if position > self.counted {
            self.shared.progress.event(Event::Advanced { bytes: position - self.counted });
            self.counted = position;
        }
    }

    /// Widens the limit for a block that goes beyond it.
    fn extend_limit(&mut self, end: u64) {
        if self.end.is_some_and(|limit| limit < end) {
            self.end = Some(end);
        }
        if self.connection.as_ref().is_some_and(|c| c.end.is_some_and(|limit| limit < end)) {
            self.connection = None;
        }
    }
}

fn start_over(hasher: &mut blake3::Hasher, head: &mut Vec<u8>, sink: &mut dyn Sink) -> Result<(), DownloadError> {
    hasher.reset();
    head.clear();
    sink.restart()
}
