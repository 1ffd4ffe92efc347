//! No mirror can make wrong bytes right, and none can stop the others.

#![cfg(feature = "http")]

mod support;

use lamplighter_client::download::{DocumentError, Downloader, JumpingTiming, RetryPolicy, Timing};
use lamplighter_client::format::digest::Blake3;
use lamplighter_client::progress::{Cancel, Silent};
use lamplighter_client::source::{self, Body, ByteRange, Kind, Source, SourceError, Trouble};
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::hostile::{Fault, Hostile};
use support::setting::{Setting, noise, quick_options, signed};

const NAME: &str = "packs/ab/p";
const BLOCK: usize = 20_000;

/// Reads `bytes` block by block.
fn stream_through(setting: &Setting, bytes: &[u8]) {
    let mut stream = setting.downloader.stream(NAME, 0);
    for (n, block) in bytes.chunks(BLOCK).enumerate() {
        let read = stream.next(block.len() as u64, &Blake3::of(block));
        assert!(read.as_ref().is_ok_and(|read| read == block), "block {n}: {:?}", read.err());
    }
}

/// One of each kind of fault that a file of several blocks can meet.
fn zoo() -> Vec<Fault> {
    vec![
        Fault::CutAfter(12_345),
        Fault::ResetAfter(BLOCK),
        Fault::CloseAfter(33_333),
        Fault::Longer(10),
        Fault::ContentLength("77"),
        Fault::StallBeforeHead,
        Fault::StallAfter(BLOCK + 1),
        Fault::IgnoreRange,
        Fault::ContentRange("bytes 1-2/3"),
        Fault::LaterPart(1),
        Fault::Status(416),
        Fault::Status(404),
        Fault::Status(403),
        Fault::Status(500),
        Fault::Status(304),
        Fault::StatusWith(503, vec![("Retry-After", "5".into())]),
        Fault::Redirect("/elsewhere".into()),
        Fault::Redirect("file:///etc/passwd".into()),
        Fault::WebPage,
        Fault::Flip(30_000),
        Fault::Other(noise(100_000, 99)),
        Fault::Other(noise(10, 98)),
        Fault::Endless,
        Fault::Header("Content-Encoding", "br".into()),
        Fault::Chunked { size: 4_096, cut: Some(50_000) },
        Fault::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nHTTP/1.1 ".to_vec()),
    ]
}

#[test]
fn one_flipped_byte_costs_one_block() {
    let bytes = noise(BLOCK * 50, 1);
    let server = Hostile::files(&[(NAME, &bytes)]);
    server.script(NAME, [Fault::Flip(BLOCK * 30 + 5)]);
    let setting = Setting::new(&[&server]);
    stream_through(&setting, &bytes);
    assert_eq!(server.ranges(NAME), ["".to_owned(), format!("bytes={}-", BLOCK * 30)]);
    assert_eq!(server.log()[1].headers["cache-control"], "no-cache, no-transform");
    assert_eq!(server.log()[1].headers["pragma"], "no-cache");
    assert_eq!(setting.notices(), ["wrong-content"]);
    assert_eq!(setting.advanced_bytes(), bytes.len() as u64);
}

#[test]
fn a_flipped_byte_in_every_block_is_survived_block_by_block() {
    let bytes = noise(BLOCK * 12, 2);
    let server = Hostile::files(&[(NAME, &bytes)]);
    server.script(NAME, (0..12).map(|n| Fault::Flip(BLOCK * n + n)));
    let setting = Setting::new(&[&server]);
    stream_through(&setting, &bytes);
    assert_eq!(server.requests(), 13);
}

#[test]
fn content_that_stays_wrong_is_an_error_that_names_everything() {
    let bytes = noise(BLOCK * 3, 3);
    let server = Hostile::files(&[(NAME, &bytes)]);
    server.always(NAME, Fault::Flip(BLOCK + 1));
    let setting = Setting::new(&[&server]);
    let mut stream = setting.downloader.stream(NAME, 0);
    stream.next(BLOCK as u64, &Blake3::of(&bytes[..BLOCK])).unwrap();
    let expected = Blake3::of(&bytes[BLOCK..2 * BLOCK]);
    let error = stream.next(BLOCK as u64, &expected).unwrap_err();
    assert_eq!((error.code(), server.requests()), ("wrong-content", 2));
    let mut flipped = bytes[BLOCK..2 * BLOCK].to_vec();
    flipped[1] ^= 0x20;
    for part in [NAME, &server.url(), "20000 to 40000", &expected.to_string(), &Blake3::of(&flipped).to_string()] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    assert!(!error.is_transient());
}

/// What becomes of each block of `bytes`, by its own digest, with one stream that skips to it.
fn blocks_by_skipping(setting: &Setting, bytes: &[u8]) -> Vec<&'static str> {
    let mut stream = setting.downloader.stream(NAME, 0);
    let block = |(n, block): (usize, &[u8])| {
        stream.skip_to((n * BLOCK) as u64);
        stream.next(block.len() as u64, &Blake3::of(block)).map_or_else(|error| error.code(), |_| "right")
    };
    bytes.chunks(BLOCK).enumerate().map(block).collect()
}

#[test]
fn a_block_that_stays_wrong_says_nothing_of_the_next_until_there_are_three() {
    let bytes = noise(BLOCK * 6, 31);
    let served = |wrong: &[usize]| {
        let mut other = bytes.clone();
        wrong.iter().for_each(|n| other[n * BLOCK + 7] ^= 1);
        let server = Hostile::files(&[(NAME, &other)]);
        (blocks_by_skipping(&Setting::new(&[&server]), &bytes), server.requests())
    };
    let (right, wrong) = ("right", "wrong-content");
    // The first block came with the request that brought what is wrong.
    assert_eq!(served(&[1]), (vec![right, wrong, right, right, right, right], 3));
    assert_eq!(served(&[0, 2]), (vec![wrong, right, wrong, right, right, right], 5));
    // After the third nothing is asked for any more.
    assert_eq!(served(&[0, 1, 2]), (vec![wrong; 6], 6));
}

#[test]
fn a_lying_mirror_costs_one_attempt_and_comes_last_from_then_on() {
    let files: Vec<(String, Vec<u8>)> = (0..5).map(|n| (format!("objects/ab/{n}"), noise(5_000, n))).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let (liar, good) = (Hostile::files(&files), Hostile::files(&files));
    liar.always("*", Fault::Flip(17));
    let setting = Setting::new(&[&liar, &good]);
    for (name, bytes) in &files {
        let (length, digest) = signed(bytes);
        assert_eq!(setting.downloader.exact(name, length, &digest).unwrap(), *bytes);
    }
    assert_eq!((liar.requests(), good.requests()), (1, 5));
    assert_eq!(setting.waited_s(), 0);
}

#[test]
fn no_fault_of_a_mirror_stops_the_update_while_another_is_good() {
    let bytes = noise(BLOCK * 5, 4);
    for fault in zoo() {
        let (bad, good) = (Hostile::files(&[(NAME, &bytes)]), Hostile::files(&[(NAME, &bytes)]));
        bad.always(NAME, fault.clone());
        let setting = Setting::new(&[&bad, &good]);
        stream_through(&setting, &bytes);
        let (length, digest) = signed(&bytes);
        assert_eq!(setting.downloader.exact(NAME, length, &digest).unwrap(), bytes, "{fault:?}");
        assert!(bad.requests() + good.requests() <= 8, "{fault:?}: {} + {}", bad.requests(), good.requests());
        assert_eq!(setting.advanced_bytes(), 2 * length, "{fault:?}");
    }
}

#[test]
fn two_bad_mirrors_of_three_never_win() {
    let bytes = noise(BLOCK * 5, 5);
    let zoo = zoo();
    for n in 0..zoo.len() {
        let servers: Vec<Hostile> = (0..3).map(|_| Hostile::files(&[(NAME, &bytes)])).collect();
        servers[n % 3].always(NAME, zoo[n].clone());
        servers[(n + 1) % 3].always(NAME, zoo[(n * 7 + 3) % zoo.len()].clone());
        let setting = Setting::new(&servers.iter().collect::<Vec<_>>());
        stream_through(&setting, &bytes);
        let (length, digest) = signed(&bytes);
        assert_eq!(setting.downloader.exact(NAME, length, &digest).unwrap(), bytes);
    }
}

#[test]
fn a_good_mirror_is_not_blamed_for_the_half_another_delivered() {
    let bytes = noise(60_000, 6);
    let mut wrong = bytes.clone();
    wrong[0] ^= 1;
    let (liar, good) = (Hostile::files(&[(NAME, &wrong)]), Hostile::files(&[(NAME, &bytes)]));
    // Always the first half, wrong, and then a cut: the blame must not fall on who delivers the rest.
    liar.always(NAME, Fault::CutAfter(30_000));
    let setting = Setting::new(&[&liar, &good]);
    let (length, digest) = signed(&bytes);
    assert_eq!(setting.downloader.exact(NAME, length, &digest).unwrap(), bytes);
    assert!(liar.requests() + good.requests() <= 5, "{} + {}", liar.requests(), good.requests());
    assert_eq!(setting.advanced_bytes(), length);
}

#[test]
fn a_shaky_good_mirror_and_a_shaky_liar_still_give_the_right_block() {
    let bytes = noise(200_000, 10);
    let (liar, good) = (Hostile::files(&[(NAME, &noise(200_000, 11))]), Hostile::files(&[(NAME, &bytes)]));
    // Each breaks half way, each time, so that every block would be made of both.
    liar.always(NAME, Fault::CutAfter(100_000));
    good.always(NAME, Fault::CutAfter(100_000));
    for servers in [[&liar, &good], [&good, &liar]] {
        let setting = Setting::new(&servers);
        let (length, digest) = signed(&bytes);
        assert_eq!(setting.downloader.exact(NAME, length, &digest).unwrap(), bytes);
        assert!(setting.downloader.requests() <= 8, "{}", setting.downloader.requests());
    }
}

#[test]
fn log_in_pages_are_called_by_their_name_and_forgotten_when_the_network_opens() {
    let bytes = noise(60_000, 7);
    let server = Hostile::files(&[(NAME, &bytes), ("channels/stable.head", b"lamplighter-head,1\n")]);
    server.always("*", Fault::WebPage);
    let setting = Setting::new(&[&server]);
    let error = setting.downloader.document("channels/stable.head", 16 << 10).unwrap_err();
    assert_eq!((error.code(), error.is_transient()), ("web-page", true));
    let (length, digest) = signed(&bytes);
    let error = setting.downloader.exact(NAME, length, &digest).unwrap_err();
    assert_eq!((error.code(), error.is_transient()), ("web-page", true));

    server.behave();
    assert!(setting.downloader.document("channels/stable.head", 16 << 10).is_ok());
    server.script(NAME, [Fault::WebPage, Fault::WebPage]);
    assert_eq!(setting.downloader.exact(NAME, length, &digest).unwrap(), bytes);
}

#[test]
fn documents_are_asked_for_elsewhere_until_one_is_accepted() {
    const HEAD: &str = "channels/stable.head";
    let (old, new) = (Hostile::files(&[(HEAD, b"forged")]), Hostile::files(&[(HEAD, b"right")]));
    let check = |bytes: Vec<u8>| if bytes == b"right" { Ok(bytes.len()) } else { Err("bad signature") };
    let setting = Setting::new(&[&old, &new]);
    assert_eq!(setting.downloader.document_checked(HEAD, 100, check).unwrap(), 5);
    assert_eq!((old.requests(), new.requests()), (1, 1));

    let setting = Setting::new(&[&old]);
    let error = setting.downloader.document_checked(HEAD, 100, check).unwrap_err();
    assert!(matches!(&error, DocumentError::Refused { error: "bad signature", .. }), "{error}");
    assert_eq!(old.requests(), 3);
}

#[test]
fn missing_here_and_down_there_means_missing() {
    let (here, there) = (Hostile::files(&[]), Hostile::files(&[]));
    there.always("*", Fault::Status(500));
    let setting = Setting::new(&[&here, &there]);
    assert!(setting.downloader.document("root/9.root", 1000).unwrap_err().is_not_found());
    assert!(setting.downloader.exact("root/9.root", 1, &Blake3::of(b"x")).unwrap_err().is_not_found());
}

#[test]
fn documents_that_trickle_are_given_up_in_time() {
    let head = noise(2_000, 8);
    let (slow, good) = (Hostile::files(&[("h", &head)]), Hostile::files(&[("h", &head)]));
    slow.always("h", Fault::Trickle { bytes: 1, pause: Duration::from_millis(50) });
    let open = |server: &Hostile| source::open(&server.url(), &quick_options()).unwrap();
    let policy = RetryPolicy { document_time_max: Duration::from_millis(1_500), ..RetryPolicy::default() };
    for (sources, arrives) in [(vec![open(&slow)], false), (vec![open(&slow), open(&good)], true)] {
        let setting = Setting::over(sources, policy.clone());
        let began = Instant::now();
        let result = setting.downloader.document("h", 4_000);
        assert!(began.elapsed() < Duration::from_secs(100), "as long as all of it would take");
        assert_eq!(result.map_err(|e| e.code()), if arrives { Ok(head.clone()) } else { Err("slow") });
    }
    assert_eq!((slow.requests(), good.requests()), (2, 1));
}

#[test]
fn a_file_somebody_waits_for_gets_the_time_of_a_document() {
    let bytes = noise(2_000, 32);
    let (length, digest) = signed(&bytes);
    let wait = Fault::StatusWith(503, vec![("Retry-After", "3600".into())]);
    let faults =
        [(wait, 1..=1, "status"), (Fault::Status(500), 4..=8, "status"), (Fault::Flip(5), 2..=2, "wrong-content")];
    for (fault, requests, code) in faults {
        let (bad, good) = (Hostile::files(&[(NAME, &bytes)]), Hostile::files(&[(NAME, &bytes)]));
        bad.always(NAME, fault.clone());
        let setting = Setting::new(&[&bad]);
        let error = setting.downloader.exact_in_time(NAME, length, &digest).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(requests.contains(&bad.requests()) && setting.waited_s() < 60, "{fault:?}: {}", bad.requests());
        for part in [NAME, &bad.url()] {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
        let setting = Setting::new(&[&bad, &good]);
        assert_eq!(setting.downloader.exact_in_time(NAME, length, &digest).unwrap(), bytes, "{fault:?}");
        assert_eq!((good.requests(), setting.waited_s()), (1, 0), "{fault:?}");
    }
}

#[test]
fn a_file_somebody_waits_for_is_what_was_signed() {
    let bytes = noise(2_000, 33);
    let (length, digest) = signed(&bytes);
    for (fault, requests) in [
        (Fault::Honest, 1),
        (Fault::Longer(10), 1),
        (Fault::Endless, 2),
        (Fault::Flip(5), 2),
        (Fault::CutAfter(700), 2),
        (Fault::CloseAfter(700), 2),
        (Fault::WebPage, 2),
    ] {
        let server = Hostile::files(&[(NAME, &bytes)]);
        server.script(NAME, [fault.clone()]);
        let setting = Setting::new(&[&server]);
        assert_eq!(setting.downloader.exact_in_time(NAME, length, &digest).unwrap(), bytes, "{fault:?}");
        assert_eq!((server.requests(), setting.advanced_bytes()), (requests, length), "{fault:?}");
        if matches!(fault, Fault::Flip(_)) {
            let asked: Vec<String> = server.log().iter().map(|seen| seen.headers["cache-control"].clone()).collect();
            assert_eq!(asked, ["no-transform", "no-cache, no-transform"]);
            assert_eq!(setting.notices(), ["wrong-content"]);
        }
    }
}

/// Fetches all `files` in four threads; one result a thread.
fn in_parallel(downloader: &Downloader, files: &[(String, Vec<u8>)]) -> Vec<Result<(), &'static str>> {
    let one = |(name, bytes): &(String, Vec<u8>)| {
        let (length, digest) = signed(bytes);
        let arrived = downloader.exact(name, length, &digest).map_err(|e| e.code())?;
        assert_eq!(arrived, *bytes);
        Ok(())
    };
    std::thread::scope(|scope| {
        let parts = files.chunks(files.len().div_ceil(4));
        let workers: Vec<_> = parts.map(|part| scope.spawn(move || part.iter().try_for_each(one))).collect();
        workers.into_iter().map(|worker| worker.join().expect("no worker panics")).collect()
    })
}

fn two_hundred_files() -> Vec<(String, Vec<u8>)> {
    (0..200).map(|n| (format!("objects/ab/{n}"), noise(3_000, n))).collect()
}

#[test]
fn many_threads_share_connections() {
    let files = two_hundred_files();
    let named: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let server = Hostile::files(&named);
    let setting = Setting::new(&[&server]);
    assert_eq!(in_parallel(&setting.downloader, &files), [Ok(()); 4]);
    assert_eq!((setting.downloader.requests(), setting.advanced_bytes()), (200, 600_000));
    assert!(server.connections() <= 20, "{}", server.connections());
}

#[test]
fn many_threads_are_no_louder_than_one_to_a_host_in_trouble() {
    let server = Hostile::files(&[]);
    server.always("*", Fault::Status(500));
    // A real clock: waits must keep the threads apart, and are long beside the time by which a busy machine is late.
    let policy = RetryPolicy { pause_first: Duration::from_millis(100), ..RetryPolicy::default() };
    let source = source::open(&server.url(), &quick_options()).unwrap();
    let downloader = Downloader::new(vec![source], policy, Cancel::default(), Arc::new(Silent));
    assert_eq!(in_parallel(&downloader, &two_hundred_files()), [Err("status"); 4]);
    // Up to four at once at first, then one after the other up to the eighth failure; one or two more where a busy
    // machine is late.
    assert!(server.requests() <= 14, "{}", server.requests());
    // Nobody waits for a host that is down, and nobody troubles it either.
    let before = server.requests();
    assert_eq!(in_parallel(&downloader, &two_hundred_files()), [Err("status"); 4]);
    assert!(server.requests() <= before + 1);
}

#[test]
fn a_directory_can_stand_in_for_a_server() {
    let bytes = noise(100_000, 9);
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("packs/ab")).unwrap();
    std::fs::write(dir.path().join(NAME), &bytes).unwrap();
    let server = Hostile::dir(dir.path());
    server.script(NAME, [Fault::CutAfter(45_000)]);
    server.always(NAME, Fault::Status(500));
    let directory = source::open(dir.path().to_str().unwrap(), &quick_options()).unwrap();
    let remote: Arc<dyn Source> = source::open(&server.url(), &quick_options()).unwrap();
    let setting = Setting::over(vec![remote, directory], RetryPolicy::default());
    stream_through(&setting, &bytes);
    assert_eq!((setting.downloader.requests(), server.requests()), (2, 1));
    assert_eq!(setting.advanced_bytes(), 100_000);
}

/// Answers nothing but 503, and notes by the clock when it was asked.
struct Failing {
    clock: Arc<JumpingTiming>,
    asked: Mutex<Vec<Duration>>,
}

impl Source for Failing {
    fn open(&self, name: &str, _: Option<ByteRange>, _: Kind) -> Result<Body, SourceError> {
        self.asked.lock().expect("no panic").push(self.clock.now());
        let (name, site, trouble) = (name.into(), "failing".into(), Trouble::Status(503));
        Err(SourceError::Transient { name, site, trouble, retry_after: None })
    }

    fn describe(&self) -> String {
        "failing".into()
    }
}

/// The shortest pauses chance allows.
struct Hasty(Arc<JumpingTiming>);

impl Timing for Hasty {
    fn now(&self) -> Duration {
        self.0.now()
    }

    fn pause(&self, wait: Duration) {
        self.0.pause(wait);
    }

    fn chance_per_mille(&self) -> u32 {
        0
    }
}

#[test]
fn a_host_that_fails_is_sent_at_most_eight_requests_a_minute_however_much_there_is_to_fetch() {
    let clock = Arc::new(JumpingTiming::default());
    let source = Arc::new(Failing { clock: clock.clone(), asked: Mutex::default() });
    // More tries than usual, and pauses that hardly grow: nothing but the limit is left to hold it back.
    let policy = RetryPolicy {
        tries_max: 60,
        pause_max: Duration::from_secs(1),
        timing: Arc::new(Hasty(clock)),
        ..RetryPolicy::default()
    };
    let downloader = Downloader::new(vec![source.clone()], policy, Cancel::default(), Arc::new(Silent));
    const THREADS: usize = 4;
    std::thread::scope(|scope| {
        for n in 0..THREADS {
            let downloader = downloader.clone();
            scope.spawn(move || downloader.exact(&format!("objects/ab/{n}"), 5, &Blake3::of(b"12345")).unwrap_err());
        }
    });
    let mut asked = source.asked.lock().unwrap().clone();
    asked.sort();
    assert!(asked.len() >= 60, "{}", asked.len());
    // Whoever waits moves the clock of the others, so a request may be noted later than it was sent, and only all of them
    // together can be counted. Those under way when the first one failed are beyond recall.
    let minutes = 1 + asked.last().unwrap().as_secs() as usize / 60;
    assert!(asked.len() < 8 * minutes + THREADS, "{} requests in {minutes} minutes: {asked:?}", asked.len());
    assert!(asked.len() > 7 * (minutes - 1), "no more is held back than has to be: {asked:?}");
}

#[test]
fn a_cap_on_bytes_a_second_holds_for_all_transfers_together() {
    let bytes = noise(1 << 20, 40);
    let server = Hostile::files(&[(NAME, &bytes)]);
    let source = source::open(&server.url(), &quick_options()).unwrap();
    let policy = RetryPolicy { bytes_per_second_max: NonZeroU64::new(64 << 10), ..RetryPolicy::default() };
    let setting = Setting::over(vec![source], policy);
    let (length, digest) = signed(&bytes);
    for _ in 0..3 {
        assert_eq!(setting.downloader.exact(NAME, length, &digest).unwrap(), bytes);
    }
    // Less what is lost by counting in whole nanoseconds.
    assert!((3 * 16 - 1..=3 * 16).contains(&setting.waited_s()), "{}", setting.waited_s());
}
