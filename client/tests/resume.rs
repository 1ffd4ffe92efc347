//! Whatever servers and networks do, what arrives is what was signed, at a bounded price.

#![cfg(feature = "http")]

mod support;

use lamplighter_client::format::digest::Blake3;
use lamplighter_client::source::HttpOptions;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};
use support::hostile::{Fault, Hostile};
use support::setting::{Setting, noise, quick_options, signed};

const NAME: &str = "objects/ab/one";

/// Sends one file of `bytes` through `faults` and checks it arrives, with the ranges it was asked for.
fn arrives(bytes: &[u8], faults: impl IntoIterator<Item = Fault>) -> (Hostile, Setting, Vec<String>) {
    let server = Hostile::files(&[(NAME, bytes)]);
    server.script(NAME, faults);
    let setting = Setting::new(&[&server]);
    let (length, digest) = signed(bytes);
    let arrived = setting.downloader.exact(NAME, length, &digest);
    assert!(arrived.as_ref().is_ok_and(|arrived| arrived == bytes), "{:?}", arrived.err());
    assert_eq!(setting.advanced_bytes(), length);
    assert_eq!(setting.downloader.requests(), server.requests() as u64);
    let ranges = server.ranges(NAME);
    (server, setting, ranges)
}

fn error_code(server: &Hostile, bytes: &[u8]) -> &'static str {
    let (length, digest) = signed(bytes);
    Setting::new(&[server]).downloader.exact(NAME, length, &digest).expect_err("it must fail").code()
}

#[test]
fn undisturbed_stream_of_header_and_fifty_blocks_is_one_request() {
    let bytes = noise(50 * 30_000 + 777, 1);
    let server = Hostile::files(&[("packs/ab/p", &bytes)]);
    let setting = Setting::new(&[&server]);
    let mut stream = setting.downloader.stream("packs/ab/p", 0);
    let (header, blocks) = bytes.split_at(777);
    assert_eq!(stream.next(777, &Blake3::of(header)).unwrap(), header);
    for block in blocks.chunks(30_000) {
        assert_eq!(stream.next(block.len() as u64, &Blake3::of(block)).unwrap(), block);
    }
    assert_eq!(stream.position(), bytes.len() as u64);
    assert_eq!(server.ranges("packs/ab/p"), [""]);
    assert_eq!((setting.downloader.requests(), setting.downloader.received_bytes()), (1, bytes.len() as u64));
    assert_eq!(setting.advanced_bytes(), bytes.len() as u64);
    assert!(setting.notices().is_empty());
}

#[test]
fn requests_say_no_more_than_they_must() {
    let (server, setting, _) = arrives(&noise(1000, 1), []);
    let _ = setting.downloader.document(NAME, 2000).unwrap();
    let log = server.log();
    let mut names: Vec<&str> = log[0].headers.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "accept-encoding", "cache-control", "host", "user-agent"]);
    assert_eq!(log[0].headers["accept-encoding"], "identity");
    assert_eq!(log[0].headers["cache-control"], "no-transform");
    assert_eq!(log[0].headers["user-agent"], concat!("lamplighter/", env!("CARGO_PKG_VERSION")));
    assert_eq!(log[1].headers["cache-control"], "no-cache, no-transform");
    assert_eq!((log[0].method.as_str(), log[0].path.as_str()), ("GET", NAME));
}

#[test]
fn resume_goes_on_at_the_byte_of_the_cut() {
    let bytes = noise(65_536, 2);
    for cut in (0..=65_535).step_by(3_277).chain([1, 2, 65_534]) {
        for fault in [Fault::CutAfter(cut), Fault::ResetAfter(cut)] {
            let (server, setting, ranges) = arrives(&bytes, [fault.clone()]);
            assert_eq!((ranges.len(), setting.waited_s()), (2, 1), "{fault:?}");
            assert_eq!(setting.downloader.received_bytes(), 65_536, "{fault:?}");
            // A reset may take back bytes that had not been read yet, a clean end does not.
            if let Fault::CutAfter(_) = fault {
                let range = if cut == 0 { String::new() } else { format!("bytes={cut}-") };
                assert_eq!((ranges[1].clone(), server.sent_bytes()), (range, 65_536), "{fault:?}");
            }
        }
    }
}

#[test]
fn fifty_cuts_cost_at_most_one_twentieth_more() {
    let bytes = noise(8 << 20, 3);
    let cuts = || (0..50).map(|n: usize| n * 7_919 % 300_000 + 1);
    let (server, _, ranges) = arrives(&bytes, cuts().map(Fault::CutAfter));
    assert_eq!(ranges.len(), 51);
    assert!(server.sent_bytes() <= bytes.len() as u64 * 21 / 20, "{}", server.sent_bytes());
    let (_, setting, _) = arrives(&bytes, cuts().map(Fault::ResetAfter));
    assert_eq!(setting.downloader.received_bytes(), bytes.len() as u64);
}

#[test]
fn resume_partial_restarts_when_server_ignores_range() {
    let bytes = noise(300_000, 4);
    let (server, setting, ranges) = arrives(&bytes, [Fault::CutAfter(100_000), Fault::IgnoreRange]);
    assert_eq!(ranges, ["", "bytes=100000-"]);
    assert_eq!(server.sent_bytes(), 400_000);
    assert_eq!(setting.downloader.received_bytes(), 400_000);
}

#[test]
fn short_bodies_are_never_taken_for_the_end() {
    let bytes = noise(50_000, 5);
    for faults in [
        vec![Fault::CloseAfter(0), Fault::CloseAfter(20_000)],
        vec![Fault::CloseAfter(49_999)],
        vec![Fault::Chunked { size: 7_000, cut: Some(22_222) }],
        vec![Fault::ContentLength("12345")],
        vec![Fault::CutAfter(40_000), Fault::CutAfter(9_000)],
    ] {
        let (_, setting, ranges) = arrives(&bytes, faults.clone());
        assert!(ranges.len() > 1 && ranges[1..].iter().all(|range| range.len() > 6 || range.is_empty()), "{ranges:?}");
        assert_eq!(setting.downloader.received_bytes(), 50_000, "{faults:?}");
    }
}

#[test]
fn lengths_a_server_claims_are_only_hints() {
    let bytes = noise(50_000, 6);
    for text in ["49999", "50001", "-1", "50000, 50000", "many", "18446744073709551616", "18446744073709551615"] {
        arrives(&bytes, [Fault::ContentLength(text)]);
    }
    let (_, _, ranges) = arrives(&bytes, [Fault::Longer(12)]);
    assert_eq!(ranges.len(), 1);
    arrives(&bytes, [Fault::Chunked { size: 999, cut: None }]);
    arrives(&bytes, [Fault::CloseAfter(usize::MAX)]);
}

#[test]
fn bytes_after_a_body_do_not_poison_the_next_answer() {
    let bytes = noise(9_000, 7);
    let server = Hostile::files(&[(NAME, &bytes)]);
    server.always(NAME, Fault::Trailing(100));
    let setting = Setting::new(&[&server]);
    let (length, digest) = signed(&bytes);
    for _ in 0..5 {
        assert_eq!(setting.downloader.exact(NAME, length, &digest).unwrap(), bytes);
    }
}

#[test]
fn endless_bodies_are_left_at_the_signed_length() {
    let bytes = noise(5_000, 8);
    let server = Hostile::files(&[(NAME, &bytes)]);
    server.always(NAME, Fault::Endless);
    let setting = Setting::new(&[&server]);
    let (length, digest) = signed(&bytes);
    let error = setting.downloader.exact(NAME, length, &digest).unwrap_err();
    assert_eq!(error.code(), "wrong-content");
    assert!(setting.downloader.received_bytes() <= 2 * (length + 1));
    assert_eq!(setting.advanced_bytes(), length);

    let error = setting.downloader.document(NAME, 16 << 10).unwrap_err();
    assert_eq!(error.code(), "too-long");
    assert!(error.to_string().contains("at most 16384 bytes"), "{error}");
    assert!(setting.downloader.received_bytes() <= 2 * (length + 1) + 2 * ((16 << 10) + 1));
}

#[test]
fn silence_ends_by_the_stall_timer_and_the_file_goes_on_where_it_was() {
    let bytes = noise(100_000, 9);
    let (_, _, ranges) = arrives(&bytes, [Fault::StallAfter(30_000), Fault::StallBeforeHead, Fault::StallAfter(0)]);
    assert_eq!(ranges, ["", "bytes=30000-", "bytes=30000-", "bytes=30000-"]);
}

#[test]
fn silence_of_the_reader_is_no_stall() {
    let bytes = noise(3 << 20, 10);
    let server = Hostile::files(&[(NAME, &bytes)]);
    let setting = Setting::new(&[&server]);
    let mut stream = setting.downloader.stream(NAME, 0);
    for block in bytes.chunks(1 << 20) {
        assert_eq!(stream.next(block.len() as u64, &Blake3::of(block)).unwrap(), block);
        std::thread::sleep(Duration::from_millis(1_200));
    }
    assert_eq!(server.requests(), 1);
}

#[test]
fn a_cancel_is_noticed_while_the_network_is_silent() {
    let bytes = noise(100_000, 11);
    let server = Hostile::files(&[(NAME, &bytes)]);
    let (length, digest) = signed(&bytes);
    for fault in [Fault::StallBeforeHead, Fault::StallAfter(50_000)] {
        server.script(NAME, [fault]);
        let silence = Duration::from_secs(30);
        let options = HttpOptions { stall_timeout: silence, ..quick_options() };
        let setting = Setting::with(&[&server], &options);
        let cancel = setting.cancel.clone();
        let began = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(200));
                cancel.cancel();
            });
            let error = setting.downloader.exact(NAME, length, &digest).unwrap_err();
            assert_eq!(error.code(), "cancelled");
        });
        assert!(began.elapsed() < silence, "only the stall ended it");
    }
}

#[test]
fn a_range_answered_with_another_is_fetched_whole_once() {
    let bytes = noise(40_000, 12);
    for wrong in [
        Fault::ContentRange("bytes 0-39999/40000"),
        Fault::ContentRange("bytes 10001-39999/40000"),
        Fault::ContentRange("bytes 10000-40000/40000"),
        Fault::ContentRange("nonsense"),
        Fault::LaterPart(5),
        Fault::Status(416),
    ] {
        let (_, setting, ranges) = arrives(&bytes, [Fault::CutAfter(10_000), wrong.clone()]);
        assert_eq!(ranges, ["", "bytes=10000-", ""], "{wrong:?}");
        assert_eq!(setting.downloader.received_bytes(), 50_000, "{wrong:?}");
    }
}

#[test]
fn a_part_nobody_asked_for_is_not_taken() {
    let bytes = noise(40_000, 13);
    arrives(&bytes, [Fault::ContentRange("bytes 0-39999/40000")]);

    let server = Hostile::files(&[(NAME, &bytes)]);
    server.always(NAME, Fault::ContentRange("bytes 0-39999/40000"));
    assert_eq!(error_code(&server, &bytes), "range");
    assert_eq!(server.requests(), 2, "whole once more, and no pause would help");
}

#[test]
fn missing_and_refused_files_are_asked_for_once() {
    let server = Hostile::files(&[]);
    for (status, code) in [(404, "not-found"), (410, "not-found"), (403, "forbidden"), (401, "forbidden")] {
        let before = server.requests();
        server.script(NAME, [Fault::Status(status)]);
        assert_eq!(error_code(&server, b"x"), code);
        assert_eq!(server.requests() - before, 1);
    }
    let setting = Setting::new(&[&server]);
    assert!(setting.downloader.document("root/2.root", 1000).unwrap_err().is_not_found());
    server.script("root/2.root", [Fault::Status(403)]);
    assert!(setting.downloader.document("root/2.root", 1000).unwrap_err().is_forbidden());
}

#[test]
fn servers_in_trouble_are_tried_again_with_growing_pauses_and_at_most_eight_times() {
    let bytes = noise(1000, 14);
    for status in [500, 502, 503, 504, 429, 304, 204, 202, 418] {
        let (_, setting, ranges) = arrives(&bytes, [Fault::Status(status), Fault::Status(status)]);
        assert_eq!((ranges.len(), setting.waited_s()), (3, 1 + 2), "{status}");
        assert_eq!(setting.notices(), ["retry", "retry"]);
    }
    let server = Hostile::files(&[(NAME, &bytes)]);
    server.always(NAME, Fault::Status(500));
    let setting = Setting::new(&[&server]);
    let (length, digest) = signed(&bytes);
    let error = setting.downloader.exact(NAME, length, &digest).unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("HTTP status 500"), "{error}");
    assert!(error.to_string().contains(&server.url()) && error.to_string().contains(NAME), "{error}");
    assert_eq!((server.requests(), setting.waited_s()), (8, 1 + 2 + 4 + 8 + 16 + 32 + 64));
}

#[test]
fn a_wait_the_server_asks_for_is_honoured_up_to_an_hour() {
    let bytes = noise(1000, 15);
    let wait = |seconds: &str| Fault::StatusWith(503, vec![("Retry-After", seconds.to_owned())]);
    let (_, setting, _) = arrives(&bytes, [wait("1800")]);
    assert_eq!(setting.waited_s(), 1800);

    let server = Hostile::files(&[(NAME, &bytes)]);
    server.always("*", wait("3601"));
    let setting = Setting::new(&[&server]);
    let (length, digest) = signed(&bytes);
    let error = setting.downloader.exact(NAME, length, &digest).unwrap_err();
    assert_eq!((server.requests(), setting.waited_s()), (1, 0));
    assert_eq!(error.retry_after(), Some(Duration::from_secs(3601)));

    // Nobody waits half an hour for a document; the caller is told when to come back.
    server.behave();
    server.script(NAME, [wait("1800")]);
    let setting = Setting::new(&[&server]);
    let error = setting.downloader.document(NAME, 2000).unwrap_err();
    assert_eq!((setting.waited_s(), error.retry_after()), (0, Some(Duration::from_secs(1800))));
}

#[test]
fn gaps_cost_one_range_and_small_ones_nothing() {
    let bytes = noise(1 << 20, 17);
    let server = Hostile::files(&[(NAME, &bytes)]);
    let setting = Setting::new(&[&server]);
    let mut stream = setting.downloader.stream(NAME, 1000);
    let mut next = |from: usize, length: usize, expected: &[&str]| {
        stream.skip_to(from as u64);
        let block = &bytes[from..from + length];
        assert_eq!(stream.next(length as u64, &Blake3::of(block)).unwrap(), block);
        assert_eq!(server.ranges(NAME), expected);
    };
    next(1000, 500, &["bytes=1000-"]);
    next(1500, 500, &["bytes=1000-"]);
    next(40_000, 5_000, &["bytes=1000-"]);
    next(700_000, 5_000, &["bytes=1000-", "bytes=700000-"]);
    next(10, 5_000, &["bytes=1000-", "bytes=700000-", "bytes=10-"]);
    assert_eq!(setting.advanced_bytes(), 11_000);
}

#[test]
fn a_slice_names_its_end_and_keeps_its_connection() {
    let bytes = noise(1 << 20, 18);
    let server = Hostile::files(&[(NAME, &bytes)]);
    let setting = Setting::new(&[&server]);
    for start in [0, 200_000, 700_000] {
        let mut stream = setting.downloader.stream(NAME, start as u64).until(start as u64 + 3_000);
        for block in bytes[start..start + 3_000].chunks(1_000) {
            assert_eq!(stream.next(1_000, &Blake3::of(block)).unwrap(), block);
        }
        // What was said to be the end is none for who asks on.
        let block = &bytes[start + 3_000..start + 4_000];
        assert_eq!(stream.next(1_000, &Blake3::of(block)).unwrap(), block);
    }
    assert_eq!(server.ranges(NAME)[..2], ["bytes=0-2999", "bytes=3000-3999"]);
    assert_eq!((server.requests(), server.sent_bytes()), (6, 12_000));
}

/// Fetches `bytes` through the partial file `part` in a process that knows nothing of those before it.
fn through_part(server: &Hostile, bytes: &[u8], part: &Path) -> (Setting, Result<Vec<u8>, &'static str>) {
    let setting = Setting::new(&[server]);
    let (length, digest) = signed(bytes);
    let result = setting.downloader.exact_to_file(NAME, length, &digest, part).map_err(|e| e.code()).map(|mut file| {
        let mut read = Vec::new();
        file.read_to_end(&mut read).expect("a file just written can be read");
        read
    });
    (setting, result)
}

#[test]
fn a_download_goes_on_after_the_process_was_restarted() {
    let bytes = noise(500_000, 19);
    let server = Hostile::files(&[(NAME, &bytes)]);
    let dir = tempfile::tempdir().unwrap();
    let part = dir.path().join("one.part");
    server.script(NAME, [Fault::CutAfter(200_000)]);
    server.always(NAME, Fault::Status(500));
    assert_eq!(through_part(&server, &bytes, &part).1, Err("status"));
    assert_eq!(fs::read(&part).unwrap(), bytes[..200_000]);

    server.behave();
    let (setting, result) = through_part(&server, &bytes, &part);
    assert_eq!(result.as_ref(), Ok(&bytes));
    assert_eq!(server.ranges(NAME).last().unwrap(), "bytes=200000-");
    assert_eq!((setting.advanced_bytes(), server.sent_bytes() - 8 * 11), (500_000, 500_000 - 11));
    assert_eq!(fs::read(&part).unwrap(), bytes);
}

#[test]
fn a_complete_partial_file_needs_no_request() {
    let bytes = noise(50_000, 20);
    let server = Hostile::files(&[]);
    let dir = tempfile::tempdir().unwrap();
    let part = dir.path().join("one.part");
    fs::write(&part, &bytes).unwrap();
    let (setting, result) = through_part(&server, &bytes, &part);
    assert_eq!((result.as_ref(), server.requests(), setting.advanced_bytes()), (Ok(&bytes), 0, 50_000));
}

#[test]
fn a_partial_file_that_proves_wrong_is_fetched_once_from_scratch() {
    let bytes = noise(50_000, 21);
    let dir = tempfile::tempdir().unwrap();
    let part = dir.path().join("one.part");
    let mut wrong = bytes.clone();
    wrong[7] ^= 1;
    for (there, ranges) in [(20_000, vec!["bytes=20000-", ""]), (50_000, vec![""])] {
        let server = Hostile::files(&[(NAME, &bytes)]);
        fs::write(&part, &wrong[..there]).unwrap();
        let (setting, result) = through_part(&server, &bytes, &part);
        assert_eq!(result.as_ref(), Ok(&bytes));
        assert_eq!(
            (server.ranges(NAME), setting.advanced_bytes()),
            (ranges.iter().map(ToString::to_string).collect(), 50_000)
        );
    }
    // One that is too long can't be a beginning.
    let server = Hostile::files(&[(NAME, &bytes)]);
    fs::write(&part, noise(50_001, 1)).unwrap();
    assert_eq!(through_part(&server, &bytes, &part).1.as_ref(), Ok(&bytes));
    assert_eq!(server.ranges(NAME), [""]);
    assert_eq!(fs::read(&part).unwrap(), bytes);
}

#[test]
fn a_partial_file_that_cannot_be_written_is_named() {
    let server = Hostile::files(&[(NAME, b"x")]);
    let dir = tempfile::tempdir().unwrap();
    let part = dir.path().join("missing/one.part");
    let (length, digest) = signed(b"x");
    let error = Setting::new(&[&server]).downloader.exact_to_file(NAME, length, &digest, &part).unwrap_err();
    assert_eq!((error.code(), server.requests()), ("file", 0));
    assert!(error.to_string().contains("one.part"), "{error}");
}

#[test]
fn empty_files_and_absurd_lengths_need_no_request() {
    let server = Hostile::files(&[]);
    let setting = Setting::new(&[&server]);
    assert_eq!(setting.downloader.exact(NAME, 0, &Blake3::of(b"")).unwrap(), b"");
    assert_eq!(setting.downloader.exact(NAME, 0, &Blake3::of(b"x")).unwrap_err().code(), "wrong-content");
    assert_eq!(setting.downloader.exact(NAME, u64::MAX, &Blake3::of(b"")).unwrap_err().code(), "too-large");
    assert_eq!(Setting::new(&[]).downloader.exact(NAME, 1, &Blake3::of(b"")).unwrap_err().code(), "no-source");
    assert_eq!(Setting::new(&[]).downloader.document(NAME, 1).unwrap_err().code(), "no-source");
    assert_eq!(server.requests(), 0);
}

#[test]
fn documents_are_never_served_by_a_name_that_leads_elsewhere() {
    let server = Hostile::files(&[]);
    let setting = Setting::new(&[&server]);
    for name in ["../secret", "/etc/passwd", "a?b", "a#b", "http://example.org/"] {
        assert_eq!(setting.downloader.document(name, 10).unwrap_err().code(), "bad-name", "{name}");
    }
    assert_eq!(server.requests(), 0);
}
