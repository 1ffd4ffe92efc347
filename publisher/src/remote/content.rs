//! The files that offered releases name: whether each is there, and how it is delivered.

use std::collections::BTreeMap;
use std::sync::Mutex;

use lamplighter_client::download::Downloader;
use lamplighter_client::format::document::FileRef;
use lamplighter_client::format::layout;
use lamplighter_client::format::objects::ObjectsIndex;
use lamplighter_client::format::pack::{HEADER_BYTES_MAX, PackHeader};
use lamplighter_client::format::release::Release;
use lamplighter_client::source::{ByteRange, Kind, SourceError};
use rayon::prelude::*;

use super::judge::{Habits, Seen, compression, presence, stale};
use super::web::{Answer, Ask, Web};
use super::{Checked, Finding, Remote};
use crate::error::Error;
use crate::site::Trust;

/// A file that must be there, and what is known of its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Named by its whole digest.
    Whole(FileRef),
    /// A pack of this length, named by the digest of its header, and the release it starts from.
    Pack(u64, FileRef, String),
}

impl Wanted {
    fn length(&self) -> u64 {
        match self {
            Wanted::Whole(file) => file.length,
            Wanted::Pack(length, ..) => *length,
        }
    }
}

/// Everything some release names, by name.
pub(super) type Names = BTreeMap<String, Wanted>;

/// Adds what `release` and its index name.
pub(super) fn add_names(names: &mut Names, release: &Release, index: &ObjectsIndex) {
    let (build, platform) = (release.build, &release.platform);
    names.insert(layout::manifest(build, platform), Wanted::Whole(release.manifest));
    names.insert(layout::objects(build, platform), Wanted::Whole(release.objects));
    for notes in &release.notes {
        names.insert(layout::notes(build, platform, &notes.language), Wanted::Whole(notes.file));
    }
    for object in index.objects() {
        let file = FileRef { length: object.length, blake3: object.blake3 };
        names.insert(layout::object(&object.blake3), Wanted::Whole(file));
    }
    for pack in &release.packs {
        let base = layout::release(pack.base_build, platform);
        names.insert(layout::pack(&pack.header.blake3), Wanted::Pack(pack.length, pack.header, base));
    }
}

/// Looks at every file of `names`, `connections` at once: its first byte, or all of it with `deep`.
pub(super) fn look(
    remote: &Remote,
    web: Option<&Web>,
    names: &Names,
    (connections, deep): (usize, bool),
    checked: &mut Checked,
) -> Result<(), Error> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(connections).build();
    let pool = pool.map_err(|e| Error::Threads(e.to_string()))?;
    let habits = Mutex::new(Habits::default());
    let one = |(name, wanted): (&String, &Wanted)| {
        let (answer, found) = first_byte(remote, web, name, wanted.length());
        if let Some(answer) = answer
            && let Ok(mut habits) = habits.lock()
        {
            habits.note(name, wanted.length(), &answer);
        }
        match found {
            None if deep => whole(&remote.downloader, name, wanted).err().map(|text| content(name, text)),
            Some(missing) if missing.code == "missing" && is_pruned(remote, web, wanted) => None,
            found => found,
        }
    };
    let listed: Vec<(&String, &Wanted)> = names.iter().collect();
    let found: Vec<Option<Finding>> = pool.install(|| listed.into_par_iter().with_max_len(1).map(one).collect());
    checked.requests += names.len() as u64;
    checked.files += names.len() as u64;
    checked.findings.extend(found.into_iter().flatten());
    checked.findings.extend(habits.into_inner().unwrap_or_default().findings());
    Ok(())
}

/// Whether a pack may be missing: pruning takes it with the release it starts from.
fn is_pruned(remote: &Remote, web: Option<&Web>, wanted: &Wanted) -> bool {
    let Wanted::Pack(_, _, base) = wanted else { return false };
    match web {
        Some(web) => web.ask(base, Ask::FirstByte, 1).is_ok_and(|(answer, _)| matches!(answer.status, 403 | 404 | 410)),
        None => matches!(
            remote.source.open(base, None, Kind::Content),
            Err(SourceError::NotFound { .. } | SourceError::Forbidden { .. })
        ),
    }
}

/// The answer a web server gives to a request for the first byte, and what is wrong with the file.
fn first_byte(remote: &Remote, web: Option<&Web>, name: &str, length: u64) -> (Option<Answer>, Option<Finding>) {
    let missing = |text| Finding { is_warning: false, code: "missing", name: name.to_owned(), text };
    let Some(web) = web else {
        let start = Some(ByteRange { start: 0, end: Some(1) });
        let opened = remote.source.open(name, start, Kind::Content);
        return (None, opened.err().map(|error| missing(error.to_string())));
    };
    match web.ask(name, Ask::FirstByte, 1) {
        Ok((answer, _)) => {
            let found = presence(name, length, &answer);
            (Some(answer), found)
        }
        Err(error) => (None, Some(missing(error))),
    }
}

fn content(name: &str, text: String) -> Finding {
    Finding { is_warning: false, code: "content", name: name.to_owned(), text }
}

/// Fetches and hashes a whole file.
fn whole(downloader: &Downloader, name: &str, wanted: &Wanted) -> Result<(), String> {
    match wanted {
        Wanted::Whole(file) => downloader.exact(name, file.length, &file.blake3).map(|_| ()).map_err(|e| e.to_string()),
        Wanted::Pack(length, header, _) => {
            if header.length > HEADER_BYTES_MAX {
                return Err(format!("expected a header of at most {HEADER_BYTES_MAX} bytes, found {}", header.length));
            }
            let mut stream = downloader.stream(name, 0);
            let bytes = stream.next(header.length, &header.blake3).map_err(|e| e.to_string())?;
            // A header of a later format cannot be read, and was signed all the same.
            let Ok(parsed) = PackHeader::parse(&bytes) else { return Ok(()) };
            if parsed.pack_bytes() != *length {
                return Err(format!("expected {length} bytes, its header says {}", parsed.pack_bytes()));
            }
            parsed
                .blocks()
                .iter()
                .try_for_each(|block| stream.next(block.length, &block.blake3).map(|_| ()).map_err(|e| e.to_string()))
        }
    }
}

/// Looks at how the head of `channel` is delivered: by caches on the way, and beside the one clients got.
pub(super) fn head(web: &Web, trust: &Trust, channel: &str, newest: u64, checked: &mut Checked) {
    let name = layout::head(channel);
    let cap = lamplighter_client::format::head::HEAD_BYTES_MAX;
    let mut seen = Vec::new();
    let asked =
        [("a request past all caches", Ask::Fresh), ("an ordinary request", Ask::Cached), ("another one", Ask::Cached)];
    for (how, ask) in asked {
        checked.requests += 1;
        // That it can be fetched at all was seen before; an edge that fails now and then is told by what it answers.
        let Ok((answer, body)) = web.ask(&name, ask, cap) else { continue };
        if ask == Ask::Fresh {
            let mut habits = Habits::default();
            habits.note(&name, 0, &answer);
            checked.findings.extend(habits.findings());
        }
        let sequence = trust.check_last_head(channel, body).ok().map(|signed| signed.head.sequence);
        seen.push(Seen { how, sequence, age_seconds: answer.age_seconds });
    }
    checked.findings.extend(stale(&name, newest, &seen));
}

/// Looks at whether something compresses what it hands out, with one file of each kind.
pub(super) fn compressed(web: &Web, names: &Names, checked: &mut Checked) {
    let mut examples: BTreeMap<&str, &String> = BTreeMap::new();
    for name in names.keys() {
        examples.entry(name.split('/').next().unwrap_or_default()).or_insert(name);
    }
    for name in examples.values() {
        checked.requests += 1;
        let Ok((answer, _)) = web.ask(name, Ask::Compressible, 1) else { continue };
        checked.findings.extend(compression(name, &answer));
    }
}
