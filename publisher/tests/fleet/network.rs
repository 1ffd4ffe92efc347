//! A network without a network: the copies of a site in memory, each in its own weather, on a clock that jumps.

use std::io::{self, Read};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lamplighter_client::download::Timing;
use lamplighter_client::format::head::{HEAD_BYTES_MAX, Head};
use lamplighter_client::format::layout;
use lamplighter_client::format::signed::SignedDocument;
use lamplighter_client::source::{Body, ByteRange, Kind, Source, SourceError, Trouble};

use super::dice::Dice;
use super::keys::signed;
use super::publisher::{CHANNEL, DAY, HOUR, PLACES, Publisher};

/// A key nobody was ever told to trust.
const ATTACKER: u8 = 255;

/// How one place behaves during one start of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    Fair,
    /// Hands out the site as it was so many seconds ago.
    Lags(i64),
    Down,
    /// A log-in page for whatever is asked.
    Portal,
    /// Every third answer breaks off, is late, or is an error.
    Patchy,
    /// Most of what it hands out is not what it should be.
    Liar,
    /// Ranges are ignored.
    Whole,
}

/// Seconds that pass while somebody waits.
#[derive(Default)]
pub(crate) struct Passing(Mutex<Duration>);

impl Passing {
    pub(crate) fn seconds(&self) -> i64 {
        self.now().as_secs() as i64
    }
}

impl Timing for Passing {
    fn now(&self) -> Duration {
        *self.0.lock().expect("no panic")
    }

    fn pause(&self, wait: Duration) {
        *self.0.lock().expect("no panic") += wait;
    }

    fn chance_per_mille(&self) -> u32 {
        500
    }
}

/// The network as one start of an app sees it.
pub(crate) struct Network {
    publisher: Arc<Mutex<Publisher>>,
    /// When the start began, in true time.
    began: i64,
    pub(crate) passing: Arc<Passing>,
    weather: [Weather; PLACES.len()],
    dice: Mutex<Dice>,
    /// Requests, and those that went wrong on purpose.
    pub(crate) counts: Mutex<(u64, u64)>,
}

impl Network {
    pub(crate) fn fair(publisher: Arc<Mutex<Publisher>>, began: i64, dice: Dice) -> Self {
        let weather = [Weather::Fair; PLACES.len()];
        Self { publisher, began, passing: Arc::default(), weather, dice: Mutex::new(dice), counts: Mutex::default() }
    }

    pub(crate) fn drawn(publisher: Arc<Mutex<Publisher>>, began: i64, mut dice: Dice) -> Self {
        let offline = dice.percent(8);
        let portal = dice.percent(4);
        let mut draw = || match dice.below(100) {
            _ if offline => Weather::Down,
            _ if portal => Weather::Portal,
            0..60 => Weather::Fair,
            60..70 => Weather::Lags(dice.within(HOUR..3 * DAY)),
            70..73 => Weather::Lags(dice.within(3 * DAY..60 * DAY)),
            73..80 => Weather::Down,
            80..88 => Weather::Patchy,
            88..97 => Weather::Liar,
            _ => Weather::Whole,
        };
        let weather = [draw(), draw(), draw(), draw()];
        Self { weather, ..Self::fair(publisher, began, dice) }
    }

    pub(crate) fn weather(&self) -> &[Weather] {
        &self.weather
    }

    pub(crate) fn source(self: &Arc<Self>, location: &str) -> Option<Arc<dyn Source>> {
        let place = PLACES.iter().position(|place| *place == location)?;
        Some(Arc::new(Place { network: self.clone(), place }))
    }
}

struct Place {
    network: Arc<Network>,
    place: usize,
}

impl Place {
    fn transient(&self, name: &str, trouble: Trouble, retry_after: Option<Duration>) -> SourceError {
        SourceError::Transient { name: name.into(), site: self.describe(), trouble, retry_after }
    }

    fn not_found(&self, name: &str) -> SourceError {
        SourceError::NotFound { name: name.into(), site: self.describe(), answer: "404 Not Found".into() }
    }

    /// What this place has under a name, honest or not.
    fn bytes(&self, name: &str, now: i64, dice: &mut Dice) -> Option<Arc<[u8]>> {
        let publisher = self.network.publisher.lock().expect("no panic");
        match self.network.weather[self.place] {
            Weather::Lags(seconds) => publisher.file(name, now - seconds),
            Weather::Portal => Some(b"<!DOCTYPE html><html><body>Please log in</body></html>".as_slice().into()),
            Weather::Liar if dice.percent(70) => lie(name, &publisher, now, dice),
            _ => publisher.file(name, now),
        }
    }
}

impl Source for Place {
    fn open(&self, name: &str, range: Option<ByteRange>, _: Kind) -> Result<Body, SourceError> {
        self.network.passing.pause(Duration::from_millis(120));
        let now = self.network.began + self.network.passing.seconds();
        let weather = self.network.weather[self.place];
        let mut dice = self.network.dice.lock().expect("no panic");
        let bytes = self.bytes(name, now, &mut dice);
        let trouble = weather == Weather::Patchy && dice.percent(33);
        {
            let mut counts = self.network.counts.lock().expect("no panic");
            counts.0 += 1;
            counts.1 += u64::from(trouble || matches!(weather, Weather::Down | Weather::Portal | Weather::Liar));
        }
        if weather == Weather::Down {
            return Err(self.transient(name, Trouble::Connect("no route".into()), None));
        }
        let mut cut = None;
        if trouble {
            match dice.below(5) {
                0 => return Err(self.transient(name, Trouble::Status(503), Some(Duration::from_secs(dice.below(90))))),
                1 => return Err(self.not_found(name)),
                2 => {
                    self.network.passing.pause(Duration::from_secs(30));
                    return Err(self.transient(name, Trouble::Stalled { silence: Duration::from_secs(30) }, None));
                }
                silently => cut = Some((dice.next(), silently == 3)),
            }
        }
        let bytes = bytes.ok_or_else(|| self.not_found(name))?;
        let range = range.filter(|_| weather != Weather::Whole && weather != Weather::Portal);
        let start = range.map_or(0, |range| range.start);
        let length = bytes.len() as u64;
        if start > 0 && start >= length {
            let trouble = Trouble::Range { expected: start, actual: "416".into() };
            return Err(self.transient(name, trouble, None));
        }
        let end = range.and_then(|range| range.end).map_or(length, |end| end.min(length));
        let (stop, silently) = cut.map_or((end, true), |(at, silently)| (start + at % (end - start + 1), silently));
        let reader = Reading { bytes, at: start as usize, stop: stop as usize, silently };
        Ok(Body { start, length: Some(end - start), reader: Box::new(reader) })
    }

    fn describe(&self) -> String {
        PLACES[self.place].into()
    }
}

struct Reading {
    bytes: Arc<[u8]>,
    at: usize,
    stop: usize,
    silently: bool,
}

impl Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.stop && !self.silently {
            return Err(io::Error::other(Trouble::Interrupted("the line went dead".into())));
        }
        let count = buffer.len().min(self.stop - self.at);
        buffer[..count].copy_from_slice(&self.bytes[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// Something that is not what `name` should hold.
fn lie(name: &str, publisher: &Publisher, now: i64, dice: &mut Dice) -> Option<Arc<[u8]>> {
    let truth = publisher.file(name, now)?;
    let mut bytes = truth.to_vec();
    match dice.below(7) {
        // A byte, early or anywhere.
        0 => {
            let at = dice.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << dice.below(8);
        }
        1 => bytes.truncate(dice.below(bytes.len() as u64) as usize),
        2 => bytes.extend(b"and more"),
        3 => bytes.fill(0),
        // A copy from long ago.
        4 => return publisher.file(name, now - dice.within(DAY..90 * DAY)).or(Some(truth)),
        // Another file of the site, signed and all.
        5 => {
            let build = *dice.one_of(&publisher.builds.keys().copied().collect::<Vec<_>>());
            return publisher.file(&layout::release(build, super::world::PLATFORM), now);
        }
        _ => {
            if let Some(forged) = forged_head(name, &truth) {
                bytes = forged;
            } else {
                bytes.reverse();
            }
        }
    }
    Some(bytes.into())
}

/// A head that moves everybody to the newest build whatever was halted, signed by somebody.
fn forged_head(name: &str, truth: &[u8]) -> Option<Vec<u8>> {
    if name != layout::head(CHANNEL) {
        return None;
    }
    let body = SignedDocument::split(truth, HEAD_BYTES_MAX).ok()?.body;
    let mut head = Head::parse(&body).ok()?;
    head.sequence += 1;
    head.halts.clear();
    head.bad_builds.clear();
    head.rollouts.clear();
    Some(signed(head.to_body(), &[ATTACKER]))
}
