//! Asks a site: fetches what [`crate::trust`] wants to see until its verdict is final. Needs no tree.

use std::sync::Arc;

use crate::download::{self, Downloader, RetryPolicy};
use crate::error::Error;
use crate::format::head::HEAD_BYTES_MAX;
use crate::format::layout;
use crate::format::release::Release;
use crate::format::root::{ROOT_BYTES_MAX, Root};
use crate::format::settings::Settings;
use crate::machine::Machine;
use crate::notes::{self, NOTES_BYTES_MAX, NotesError, NotesSection};
use crate::progress::{Cancel, Event, Phase, Progress};
use crate::source::{HttpOptions, Source, SourceError, Unreachable};
use crate::trust::{self, Documents, Facts, Idle, Judgement, Need, Pin, Refusal, TrustState, Verdict};

/// Fetches documents until the verdict on `facts` is final.
///
/// Where there are mirrors, one document that is refused, or stale, decides nothing as long as another has a better one.
/// Where there are none, a head that is refused is asked for once more: it may have been damaged on the way.
///
/// # Errors
/// The site cannot be reached or is not to be trusted.
pub(crate) fn consult(facts: &Facts<'_>, downloader: &Downloader, progress: &dyn Progress) -> Result<Judgement, Error> {
    progress.event(Event::Started { phase: Phase::Check, total_bytes: 0 });
    let mut documents = Documents::default();
    let mut other_heads = Vec::new();
    let mut kept: Option<Result<Judgement, Refusal>> = None;
    let mut chances = if downloader.sources() < 2 { 1 } else { 0 };
    loop {
        let judged = trust::judge(facts, &documents);
        if let Err(refusal) = &judged
            && chances > 0
            && !matches!(refusal, Refusal::TooOld { .. } | Refusal::BelowMinimum { .. })
        {
            chances -= 1;
            (documents.head, documents.release) = (None, None);
            continue;
        }
        if let Ok(Judgement { verdict: Verdict::Need(need), .. }) = &judged {
            match need {
                Need::Head => (documents.head, other_heads) = fetch_head(facts, downloader)?,
                need => fetch(facts, need, &mut documents, downloader)?,
            }
            continue;
        }
        let is_final = judged.as_ref().is_ok_and(|judgement| !is_stale(judgement));
        // A stale head that is signed says more than a refusal.
        let better = is_final || kept.is_none() || kept.as_ref().is_some_and(Result::is_err) && judged.is_ok();
        if better {
            kept = Some(judged);
        }
        match (is_final, other_heads.pop(), kept.take()) {
            (false, Some(head), before) => {
                (documents.head, documents.release, kept) = (Some(head), None, before);
            }
            (_, _, Some(judged)) => {
                let judgement = judged?;
                warn_of_root(&judgement, progress);
                return Ok(judgement);
            }
            (_, _, None) => return Err(undecided()),
        }
    }
}

fn is_stale(judgement: &Judgement) -> bool {
    matches!(judgement.verdict, Verdict::Idle(Idle::Stale { .. } | Idle::RootExpired { .. }))
}

/// A document as it came.
type Bytes = Vec<u8>;

/// Fetches the head: the first that is in order. Those that are stale, or signed by keys that a newer root may name, come
/// after it, the last of them first.
fn fetch_head(facts: &Facts<'_>, downloader: &Downloader) -> Result<(Option<Bytes>, Vec<Bytes>), Error> {
    let name = layout::head(facts.channel);
    if downloader.sources() < 2 {
        return Ok((Some(downloader.document(&name, HEAD_BYTES_MAX)?), Vec::new()));
    }
    let mut doubtful = Vec::new();
    let fetched = downloader.document_checked(&name, HEAD_BYTES_MAX, |bytes| {
        let documents = Documents { head: Some(bytes.clone()), ..Documents::default() };
        match trust::judge(facts, &documents) {
            Err(refusal) => Err(Some(refusal)),
            Ok(judgement) if is_stale(&judgement) || matches!(judgement.verdict, Verdict::Need(Need::Root(_))) => {
                if !doubtful.contains(&bytes) {
                    doubtful.push(bytes);
                }
                Err(None)
            }
            Ok(_) => Ok(bytes),
        }
    });
    match fetched {
        Ok(head) => Ok((Some(head), Vec::new())),
        Err(_) if !doubtful.is_empty() => {
            doubtful.reverse();
            Ok((doubtful.pop(), doubtful))
        }
        Err(download::DocumentError::Refused { error: Some(refusal), .. }) => Err(refusal.into()),
        Err(download::DocumentError::Refused { error: None, .. }) => Err(undecided()),
        Err(download::DocumentError::Download(error)) => Err(error.into()),
    }
}

/// Fetches anything but the head.
fn fetch(facts: &Facts<'_>, need: &Need, documents: &mut Documents, downloader: &Downloader) -> Result<(), Error> {
    match need {
        Need::Head => {}
        Need::Root(version) => {
            let follows = |bytes: Vec<u8>| {
                let mut with = documents.clone();
                with.roots.push(bytes.clone());
                // What is wrong with the head is another matter.
                trust::judge(facts, &Documents { head: None, ..with }).map(|_| bytes)
            };
            match downloader.document_checked(&layout::root(*version), ROOT_BYTES_MAX, follows) {
                Ok(bytes) => documents.roots.push(bytes),
                Err(download::DocumentError::Download(error)) if error.is_not_found() => documents.roots_ended = true,
                Err(download::DocumentError::Download(error)) => return Err(error.into()),
                Err(download::DocumentError::Refused { error, .. }) => return Err(error.into()),
            }
        }
        Need::Release { build, file } => {
            let name = layout::release(*build, &facts.pin.platform);
            documents.release = Some(downloader.exact(&name, file.length, &file.blake3)?);
        }
    }
    Ok(())
}

fn warn_of_root(judgement: &Judgement, progress: &dyn Progress) {
    if let Some(expires) = judgement.root_expires {
        let text = format!("the newest root expires at {expires}");
        progress.event(Event::Notice { code: "root_expires", subject: "root", text: &text });
    }
}

/// What is new in `release` for who has `installed`, in the language nearest to `language`; nothing if it has no notes.
///
/// Who has nothing installed is told of this build alone: nothing else is news to him.
///
/// # Errors
/// The file cannot be fetched, or breaks the rules of its format.
pub(crate) fn notes(
    release: &Release,
    installed: Option<u64>,
    language: &str,
    downloader: &Downloader,
) -> Result<Vec<NotesSection>, Error> {
    let Some(chosen) = notes::choose(release, language) else { return Ok(Vec::new()) };
    let name = layout::notes(release.build, &release.platform, &chosen.language);
    let broken = |source| Error::Notes { name: name.clone(), source };
    if chosen.file.length > NOTES_BYTES_MAX {
        return Err(broken(NotesError::TooLong { found: chosen.file.length }));
    }
    let file = downloader.exact(&name, chosen.file.length, &chosen.file.blake3)?;
    notes::news(&file, installed.unwrap_or(release.build - 1), release.build).map_err(broken)
}

/// A place, whether the site named it, and the source.
type Opened = (String, bool, Result<Arc<dyn Source>, SourceError>);

/// The same with a downloader for it alone.
pub(crate) type Each = (String, bool, Result<Downloader, Error>);

/// How sources are opened and used.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) http: HttpOptions,
    pub(crate) retry: RetryPolicy,
    pub(crate) progress: Arc<dyn Progress>,
    pub(crate) cancel: Cancel,
    pub(crate) machine: Arc<dyn Machine>,
}

impl Network {
    /// A downloader for `location` and its mirrors: those of the user's choice, and those `named` by the site.
    pub(crate) fn downloader(&self, location: &str, own: &[String], named: &[String]) -> Result<Downloader, Error> {
        let mut sources: Vec<Arc<dyn Source>> = Vec::new();
        for (number, (_, _, source)) in self.sources(location, own, named).into_iter().enumerate() {
            match source {
                Ok(source) => sources.push(source),
                Err(error) if number == 0 => return Err(error.into()),
                // A mirror that cannot be opened is no reason to stop.
                Err(_) => {}
            }
        }
        Ok(self.downloader_of(sources))
    }

    /// A downloader for each of these places alone, which tries once; with the place, and whether the site named it.
    pub(crate) fn each(&self, location: &str, own: &[String], named: &[String]) -> Vec<Each> {
        let once = RetryPolicy { document_tries_max: 1, ..self.retry.clone() };
        let network = Self { retry: once, ..self.clone() };
        let alone = |(place, by_site, source): Opened| {
            let downloader = source.map(|source| network.downloader_of(vec![source])).map_err(Error::from);
            (place, by_site, downloader)
        };
        self.sources(location, own, named).into_iter().map(alone).collect()
    }

    /// Each place once, `location` first. Private header fields go to hosts the user chose: who may sign heads may not ask for
    /// the user's secrets.
    fn sources(&self, location: &str, own: &[String], named: &[String]) -> Vec<Opened> {
        let chosen: Vec<&str> = own.iter().map(String::as_str).chain([location]).map(host).collect();
        let without = HttpOptions { headers: Vec::new(), ..self.http.clone() };
        let mut opened: Vec<Opened> = Vec::new();
        let own = [location].into_iter().chain(own.iter().map(String::as_str)).map(|place| (place, false));
        for (place, by_site) in own.chain(named.iter().map(|place| (place.as_str(), true))) {
            let plain = place.trim_end_matches('/');
            if !opened.iter().any(|(known, ..)| known.trim_end_matches('/') == plain) {
                let options = if chosen.contains(&host(place)) { &self.http } else { &without };
                opened.push((place.to_owned(), by_site, self.machine.open_source(place, options)));
            }
        }
        opened
    }

    /// The same for work that as a rule needs none: a site that cannot be opened is an error only when asked.
    pub(crate) fn patient_downloader(&self, location: &str) -> Downloader {
        let opened = self.machine.open_source(location, &self.http);
        self.downloader_of(vec![opened.unwrap_or_else(|error| Arc::new(Unreachable::new(location, error)))])
    }

    fn downloader_of(&self, sources: Vec<Arc<dyn Source>>) -> Downloader {
        Downloader::new(sources, self.retry.clone(), self.cancel.clone(), self.progress.clone())
    }
}

/// The part of an address that names scheme, host and port.
fn host(location: &str) -> &str {
    let end = location.match_indices('/').nth(2).map_or(location.len(), |(at, _)| at);
    &location[..end]
}

/// What a client that follows `settings` pins; `floor_build` is its own build, 0 for a program that is no app's.
pub(crate) fn pin(settings: &Settings, root: Vec<u8>, floor_build: u64) -> Result<Pin, Refusal> {
    // The pinned root cannot have been issued after this client was made: a lower bound of the time.
    let parsed: Root = trust::pinned_root(&root)?;
    Ok(Pin { app: settings.app.clone(), platform: settings.platform.clone(), root, floor_build, built: parsed.issued })
}

/// A state for an install that remembers nothing yet, with a private bucket of its own.
pub(crate) fn fresh_state(machine: &dyn Machine) -> TrustState {
    TrustState { rollout_secret: machine.secret(), ..TrustState::default() }
}

/// A verdict that asks for more, or for less, than the goal allows: unreachable, and an error rather than a panic.
pub(crate) fn undecided() -> Error {
    Error::Usage("the documents of the site lead to no decision".into())
}
