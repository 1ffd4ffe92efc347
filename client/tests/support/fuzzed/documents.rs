//! Signed documents of a site, documents of a tree's state directory, and release notes.

use std::fmt::{Debug, Display};

use lamplighter_client::format::digest::Blake3;
use lamplighter_client::format::handover::Handover;
use lamplighter_client::format::head::{Head, Rollout};
use lamplighter_client::format::last::LastOutcome;
use lamplighter_client::format::launch::LaunchState;
use lamplighter_client::format::release::Release;
use lamplighter_client::format::root::{ROOT_BYTES_MAX, Root};
use lamplighter_client::format::settings::Settings;
use lamplighter_client::format::signed::{PublicKey, SIGNATURES_MAX, SignedDocument};
use lamplighter_client::format::text::{Time, is_app_id, is_display_version, is_token, number, push_record, records};
use lamplighter_client::format::{notes, pack};
use lamplighter_client::notes::{choose, cleaned, language_of, news};
use lamplighter_client::trust::state;

/// What `bytes` hold, which is read again from what is written of it.
pub fn comes_back<T: PartialEq + Debug, E: Display>(
    bytes: &[u8],
    parse: impl Fn(&[u8]) -> Result<T, E>,
    write: impl Fn(&T) -> Vec<u8>,
) -> Option<T> {
    // Errors quote what they found, which is part of what must not panic.
    let value = parse(bytes).map_err(|error| error.to_string()).ok()?;
    let again = parse(&write(&value)).map_err(|error| error.to_string());
    assert_eq!(again.as_ref(), Ok(&value), "what was written");
    Some(value)
}

/// `bytes` and the line with their digest that a state file or a journal ends with, so that a fuzzer gets past it.
pub fn with_trailer(bytes: &[u8]) -> Vec<u8> {
    [bytes, format!("blake3,{}\n", Blake3::of(bytes)).as_bytes()].concat()
}

/// A root, head or release, signed or as a body: split, judged, and read again as it is written.
pub fn signed_document(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(key) = PublicKey::parse_file(text)
    {
        assert_eq!(PublicKey::parse_file(&key.to_file()), Ok(key));
    }
    let split = |bytes: &[u8]| SignedDocument::split(bytes, 4 * ROOT_BYTES_MAX);
    let document = comes_back(data, split, SignedDocument::to_bytes);
    if let Some(document) = &document {
        assert!((1..=SIGNATURES_MAX).contains(&document.signatures.len()));
        assert!(data.starts_with(&document.body) && document.body.ends_with(b"\nend\n"));
    }
    let body = document.as_ref().map_or(data, |document| &document.body);
    if let Some(root) = comes_back(body, Root::parse, Root::to_body)
        && let Some(document) = &document
    {
        // None of the keys is the fuzzer's: nothing it writes counts as signed, unless a seed already was.
        let signers = document.count_signers(&root.root.keys);
        assert!(signers <= root.root.keys.len().min(document.signatures.len()));
    }
    if let Some(head) = comes_back(body, Head::parse, Head::to_body) {
        head.rollouts.iter().for_each(rollout);
        assert!(head.releases.iter().all(|r| head.release_for(&r.platform).is_some_and(|found| found == r)));
        assert!(head.bad_builds.iter().all(|(platform, build)| head.is_bad(platform, *build)));
    }
    if let Some(release) = comes_back(body, Release::parse, Release::to_body) {
        assert!(release.build > 0 && release.minimum_build <= release.build);
        assert_eq!(choose(&release, "de-AT").is_some(), !release.notes.is_empty());
        for row in &release.packs {
            let found = release.pack_from(&row.base_manifest.blake3, pack::FORMAT);
            assert!(found.is_none_or(|found| found.format <= pack::FORMAT));
            assert!(row.format != pack::FORMAT || found.is_some_and(|found| found.length <= row.length));
        }
    }
}

/// Shares only grow, and begin when they say.
fn rollout(rollout: &Rollout) {
    let bucket = rollout.bucket(&[7; 16]);
    assert!(bucket < 1000);
    let (before, after) = (rollout.permille_at(rollout.start), rollout.permille_at(rollout.start.plus(86_400)));
    assert!(before <= after && after <= 1000);
    // At the end of all times nothing begins.
    if let Some(from) = rollout.reaches(bucket).filter(|from| from.plus(1) > *from) {
        assert!(rollout.permille_at(from) > bucket);
    }
}

/// What a tree remembers: trust, settings, launches, a handover, how the last change ended.
pub fn state_files(data: &[u8]) {
    assert!(state::parse(data).is_err() || data.len() > 72);
    comes_back(&with_trailer(data), state::parse, state::to_bytes);
    comes_back(data, Settings::parse, Settings::to_bytes);
    comes_back(data, Handover::parse, Handover::to_bytes);
    comes_back(data, LastOutcome::parse, LastOutcome::to_bytes);
    if let Ok(launch) = LaunchState::parse(data) {
        // Old builds are forgotten when it is written.
        let kept = LaunchState::parse(&launch.to_bytes()).expect("what was written");
        assert!(kept.failed.is_subset(&launch.failed) && kept.skipped.is_subset(&launch.skipped));
        assert_eq!(LaunchState::parse(&kept.to_bytes()), Ok(kept));
    }
}

/// Sections come back byte for byte; what is shown of any text is clean.
pub fn release_notes(data: &[u8]) {
    if let Ok(sections) = notes::parse(data) {
        assert_eq!(notes::to_bytes(&sections), data);
        assert!(sections.windows(2).all(|pair| pair[0].build > pair[1].build));
        assert_eq!(news(data, 0, u64::MAX).map(|news| news.len()), Ok(sections.len()));
    }
    let text = String::from_utf8_lossy(data);
    let clean = cleaned(&text);
    assert!(!clean.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')));
    assert_eq!(cleaned(&clean), clean);
    assert!(language_of(None, None, Some(&text)).len() <= 35);
}

/// Any text gives records that are written as they stood, and cells that mean one thing.
pub fn text_records(data: &[u8]) {
    let Ok(lines) = records(data).map_err(|error| error.to_string()) else { return };
    let mut written = String::new();
    lines.iter().for_each(|cells| push_record(&mut written, cells.iter().map(String::as_str)));
    assert_eq!(written.as_bytes(), data);
    for cell in lines.iter().flatten() {
        assert!(number(cell).is_none_or(|n| n.to_string() == *cell));
        assert!(Time::parse(cell).is_none_or(|time| time.to_string() == *cell && time.plus(0) == time));
        assert!(!is_token(cell) || (is_app_id(cell) && is_display_version(cell)));
        assert!(cell.parse::<Blake3>().map_or(true, |digest| digest.to_string() == *cell));
    }
}
