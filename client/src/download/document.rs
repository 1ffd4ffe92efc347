//! Signed documents: small, mutable, of unknown length, and somebody may be waiting for them; and what they name that is waited
//! for as well.

use super::attempts::{Attempts, Choice};
use super::error::{WrongContent, looks_like_web_page};
use super::mirrors::{Mirror, Slot};
use super::pump::{Message, Order, Pump, Wait};
use super::{DownloadError, EXACT_BYTES_MAX, Shared};
use crate::format::digest::Blake3;
use crate::progress::Event;
use crate::source::{ByteRange, Kind, SourceError, Trouble};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Why a document did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError<E> {
    /// No mirror delivered one.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// What was delivered is not accepted; the first refusal.
    #[error("{name} from {site} is not accepted: {error}")]
    Refused {
        /// Name in the site.
        name: String,
        /// The mirror.
        site: String,
        /// What the caller has against it.
        error: E,
    },
}

/// The loop over mirrors and tries.
struct Errand<'a> {
    shared: &'a Arc<Shared>,
    name: &'a str,
    cap_bytes: u64,
    /// It is immutable content of exactly so many bytes.
    exact: bool,
    attempts: Attempts,
    /// Time left for each mirror.
    budgets: Vec<Duration>,
    /// The first bytes of exact content, and the mirror they came from: a transfer that broke goes on there.
    kept: (usize, Vec<u8>),
}

pub(super) fn fetch<T, E>(
    shared: &Arc<Shared>,
    name: &str,
    cap_bytes: u64,
    accept: impl FnMut(usize, Vec<u8>) -> Result<T, E>,
) -> Result<T, DocumentError<E>> {
    run(Errand::new(shared, name, cap_bytes), accept)
}

/// A file of known length and digest, with no more time than for a document.
pub(super) fn fetch_exact(
    shared: &Arc<Shared>,
    name: &str,
    length: u64,
    expected: &Blake3,
) -> Result<Vec<u8>, DownloadError> {
    if length > EXACT_BYTES_MAX {
        return Err(DownloadError::TooLarge { name: name.into(), bytes: length, max_bytes: EXACT_BYTES_MAX });
    }
    let check = |mirror: usize, bytes: Vec<u8>| {
        let actual = Blake3::of(&bytes);
        if actual == *expected {
            shared.progress.event(Event::Advanced { bytes: length });
            return Ok(bytes);
        }
        let mirror = &shared.mirrors[mirror];
        mirror.lied();
        let (name, site, web_page) = (name.to_owned(), mirror.source.describe(), looks_like_web_page(&bytes));
        let wrong = WrongContent { name, site, start: 0, end: length, expected: *expected, actual, web_page };
        shared.notice("wrong-content", &wrong.name, &wrong.to_string());
        Err(Box::new(wrong))
    };
    let attempts = Attempts::awaited(shared.mirrors.len(), &shared.policy);
    let errand = Errand { exact: true, attempts, ..Errand::new(shared, name, length) };
    run(errand, check).map_err(|error| match error {
        DocumentError::Download(error) => error,
        DocumentError::Refused { error: wrong, .. } => wrong.into(),
    })
}

fn run<T, E>(
    mut errand: Errand<'_>,
    mut accept: impl FnMut(usize, Vec<u8>) -> Result<T, E>,
) -> Result<T, DocumentError<E>> {
    let (shared, name) = (errand.shared, errand.name);
    let mut refusal = None;
    let mut too_long = None;
    loop {
        let Some((choice, mut slot)) = errand.next_mirror()? else {
            let failed = || errand.attempts.error().map(|error| DownloadError::Source(Box::new(error)));
            let none = || DownloadError::NoSource { name: name.into() };
            return Err(refusal.unwrap_or_else(|| too_long.or_else(failed).unwrap_or_else(none).into()));
        };
        let (mirror, began) = (choice.mirror, Instant::now());
        let fetched = errand.once(choice);
        errand.budgets[mirror] = errand.budgets[mirror].saturating_sub(began.elapsed());
        match fetched {
            Ok(bytes) => match accept(mirror, bytes) {
                Ok(accepted) => {
                    shared.mirrors[mirror].worked(&mut slot);
                    return Ok(accepted);
                }
                Err(error) => {
                    let (name, site) = (name.to_owned(), shared.mirrors[mirror].source.describe());
                    refusal.get_or_insert(DocumentError::Refused { name, site, error });
                    errand.attempts.lied(mirror);
                }
            },
            Err(Failure::Source(error)) => errand.failed(mirror, slot, error),
            Err(Failure::Late) => errand.late(mirror, slot),
            Err(Failure::Over(error @ DownloadError::TooLong { .. })) => {
                too_long.get_or_insert(error);
                errand.attempts.lied(mirror);
            }
            Err(Failure::Over(error)) => return Err(error.into()),
        }
    }
}

/// One request to one mirror, which had better have it; nothing if it does not deliver.
pub(super) fn fetch_from(
    shared: &Arc<Shared>,
    mirror: usize,
    name: &str,
    cap_bytes: u64,
) -> Result<Option<Vec<u8>>, DownloadError> {
    let mut errand = Errand::new(shared, name, cap_bytes);
    let slot = shared.mirrors[mirror].at_once(&shared.policy);
    match errand.once(Choice { mirror, refetch: false, whole: true }) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(Failure::Over(DownloadError::TooLong { .. })) => Ok(None),
        Err(Failure::Over(error)) => Err(error),
        Err(Failure::Source(error)) => {
            errand.failed(mirror, slot, error);
            Ok(None)
        }
        Err(Failure::Late) => {
            errand.late(mirror, slot);
            Ok(None)
        }
    }
}

enum Failure {
    Source(SourceError),
    /// The mirror's time is up.
    Late,
    Over(DownloadError),
}

impl<'a> Errand<'a> {
    fn new(shared: &'a Arc<Shared>, name: &'a str, cap_bytes: u64) -> Self {
        let mirrors = shared.mirrors.len();
        let attempts = Attempts::document(mirrors, &shared.policy);
        let budgets = vec![shared.policy.document_time_max; mirrors];
        Self { shared, name, cap_bytes, exact: false, attempts, budgets, kept: (0, Vec::new()) }
    }

    /// Waits for the next mirror that can be asked within its time. The first request to each does not wait: whatever
    /// failed before, somebody wants to know now.
    fn next_mirror(&mut self) -> Result<Option<(Choice, Slot)>, DownloadError> {
        loop {
            let now = self.shared.policy.timing.now();
            let standings: Vec<_> = self.shared.mirrors.iter().map(Mirror::standing).collect();
            let Some(choice) = self.attempts.choose(&standings, now, None) else { return Ok(None) };
            if self.attempts.is_first(choice.mirror) {
                return Ok(Some((choice, self.shared.mirrors[choice.mirror].at_once(&self.shared.policy))));
            }
            let wait = standings[choice.mirror].rest(now);
            let budget = &mut self.budgets[choice.mirror];
            if wait >= *budget {
                self.attempts.give_up(choice.mirror);
                continue;
            }
            *budget -= wait;
            if let Some(slot) = self.shared.wait_for_slot(choice.mirror)? {
                return Ok(Some((choice, slot)));
            }
        }
    }

    fn kind(&self, refetch: bool) -> Kind {
        match (self.exact, refetch) {
            (false, _) => Kind::Document,
            (true, false) => Kind::Content,
            (true, true) => Kind::Refetch,
        }
    }

    /// What is there already of what `choice` is asked for.
    fn take_kept(&mut self, choice: Choice) -> Vec<u8> {
        let (mirror, bytes) = std::mem::take(&mut self.kept);
        if mirror == choice.mirror && !choice.refetch && !choice.whole { bytes } else { Vec::new() }
    }

    /// One request. What came of exact content before it broke is kept for the next.
    fn once(&mut self, choice: Choice) -> Result<Vec<u8>, Failure> {
        let mut bytes = self.take_kept(choice);
        let done = self.receive(choice, &mut bytes);
        if self.exact && done.is_err() {
            self.kept = (choice.mirror, bytes);
            return done.map(|()| Vec::new());
        }
        done.map(|()| bytes)
    }

    fn receive(&self, Choice { mirror, refetch, .. }: Choice, bytes: &mut Vec<u8>) -> Result<(), Failure> {
        let source = &self.shared.mirrors[mirror].source;
        let transient = |trouble| Failure::Source(SourceError::transient(self.name, &source.describe(), trouble));
        let deadline = Instant::now() + self.budgets[mirror];
        self.shared.requests.fetch_add(1, Ordering::Relaxed);
        let (name, kind) = (self.name.into(), self.kind(refetch));
        let start = bytes.len() as u64;
        let range = (start > 0).then_some(ByteRange { start, end: None });
        let order = Order { name, range, kind, end: Some(self.cap_bytes) };
        let pump = Pump::start(source.clone(), order)
            .map_err(|error| transient(Trouble::Connect(format!("no thread for it: {error}"))))?;
        let mut opened = false;
        loop {
            match pump.next(&self.shared.cancel, Some(deadline)) {
                Ok(Message::Opened(0)) => {
                    bytes.clear();
                    opened = true;
                }
                Ok(Message::Opened(at)) if at == start => opened = true,
                Ok(Message::Opened(at)) => {
                    return Err(transient(Trouble::Range { expected: start, actual: format!("byte {at}") }));
                }
                Ok(Message::Bytes(chunk)) => {
                    self.shared.received(chunk.len()).map_err(Failure::Over)?;
                    bytes.extend_from_slice(&chunk);
                    if self.exact && bytes.len() as u64 >= self.cap_bytes {
                        // What comes after the signed length is nobody's business.
                        bytes.truncate(self.cap_bytes as usize);
                        return Ok(());
                    }
                    if bytes.len() as u64 > self.cap_bytes {
                        return Err(Failure::Over(self.too_long(mirror)));
                    }
                }
                Ok(Message::Failed(error)) => return Err(Failure::Source(error)),
                Err(Wait::Ended) if !opened => return Err(transient(Trouble::Interrupted("it never began".into()))),
                Err(Wait::Ended) if looks_like_web_page(bytes) => {
                    bytes.clear();
                    return Err(transient(Trouble::WebPage));
                }
                Err(Wait::Ended) if self.exact && (bytes.len() as u64) < self.cap_bytes => {
                    let text = format!("it ended at byte {} of {}", bytes.len(), self.cap_bytes);
                    return Err(transient(Trouble::Interrupted(text)));
                }
                Err(Wait::Ended) => return Ok(()),
                Err(Wait::Cancelled) => return Err(Failure::Over(DownloadError::Cancelled)),
                Err(Wait::Late) => return Err(Failure::Late),
            }
        }
    }

    fn too_long(&self, mirror: usize) -> DownloadError {
        let site = self.shared.mirrors[mirror].source.describe();
        DownloadError::TooLong { name: self.name.into(), site, cap_bytes: self.cap_bytes }
    }

    fn failed(&mut self, mirror: usize, mut slot: Slot, error: SourceError) {
        self.shared.notice("retry", self.name, &error.to_string());
        self.shared.note_failure(mirror, &mut slot, &error);
        // Whoever is offline learns so after one try, which was for the document that names an exact file.
        let unreachable = !self.exact && matches!(&error, SourceError::Transient { trouble: Trouble::Connect(_), .. });
        self.attempts.failed(mirror, error);
        if unreachable {
            self.attempts.give_up(mirror);
        }
    }

    fn late(&mut self, mirror: usize, slot: Slot) {
        let site = self.shared.mirrors[mirror].source.describe();
        let trouble = Trouble::Late { limit: self.shared.policy.document_time_max };
        self.failed(mirror, slot, SourceError::transient(self.name, &site, trouble));
        self.attempts.give_up(mirror);
    }
}
