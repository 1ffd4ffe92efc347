//! A downloader over hostile servers, with a clock that jumps, and what it reported.

use super::hostile::Hostile;
use lamplighter_client::download::{Downloader, JumpingTiming, RetryPolicy, Timing};
use lamplighter_client::format::digest::Blake3;
use lamplighter_client::progress::{Cancel, Event, Progress};
use lamplighter_client::source::{self, HttpOptions, Proxy, Source};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Adds up what was reported.
#[derive(Default)]
pub struct Tally {
    advanced_bytes: AtomicU64,
    notices: Mutex<Vec<(&'static str, String)>>,
}

impl Progress for Tally {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Advanced { bytes } => _ = self.advanced_bytes.fetch_add(bytes, Ordering::Relaxed),
            Event::Notice { code, text, .. } => self.notices.lock().unwrap().push((code, text.into())),
            Event::Started { .. } => {}
        }
    }
}

/// Everything a test needs around a downloader.
pub struct Setting {
    pub downloader: Downloader,
    pub clock: Arc<JumpingTiming>,
    pub tally: Arc<Tally>,
    pub cancel: Cancel,
}

impl Setting {
    /// With short timers.
    pub fn new(servers: &[&Hostile]) -> Self {
        Self::with(servers, &quick_options())
    }

    pub fn with(servers: &[&Hostile], options: &HttpOptions) -> Self {
        let urls: Vec<String> = servers.iter().map(|server| server.url()).collect();
        Self::over(urls.iter().map(|url| source::open(url, options).unwrap()).collect(), RetryPolicy::default())
    }

    pub fn over(sources: Vec<Arc<dyn Source>>, policy: RetryPolicy) -> Self {
        let (clock, tally) = (Arc::new(JumpingTiming::default()), Arc::new(Tally::default()));
        let cancel = Cancel::default();
        let policy = RetryPolicy { timing: clock.clone(), ..policy };
        let downloader = Downloader::new(sources, policy, cancel.clone(), tally.clone());
        Self { downloader, clock, tally, cancel }
    }

    pub fn advanced_bytes(&self) -> u64 {
        self.tally.advanced_bytes.load(Ordering::Relaxed)
    }

    /// Codes of the notices so far.
    pub fn notices(&self) -> Vec<&'static str> {
        self.tally.notices.lock().unwrap().iter().map(|(code, _)| *code).collect()
    }

    /// Seconds waited so far, by the jumping clock.
    pub fn waited_s(&self) -> u64 {
        self.clock.now().as_secs()
    }
}

/// No proxy, and timers as short as a busy machine allows.
pub fn quick_options() -> HttpOptions {
    HttpOptions { proxy: Proxy::None, stall_timeout: Duration::from_secs(1), ..HttpOptions::default() }
}

/// Bytes that look random and are the same every time.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut output = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut output);
    output
}

/// Length and digest as `exact` takes them.
pub fn signed(bytes: &[u8]) -> (u64, Blake3) {
    (bytes.len() as u64, Blake3::of(bytes))
}
