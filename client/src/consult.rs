//! Asks a site: fetches what [`crate::trust`] wants to see until its verdict is final. Needs no tree.

use std::collections::HashSet;
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
use crate::trust::{self, Documents, Facts, Idle, Judge, Judgement, Need, Pin, Refusal, TrustState, Verdict};

/// Fetches documents until the verdict on `facts` is final.
///
/// Where there are mirrors, one document that is refused, or stale, decides nothing as long as another has a better one.
/// Where there are none, a head that is refused is asked for once more: it may have been damaged on the way.
///
/// # Errors
/// The site cannot be reached or is not to be trusted.
pub(crate) fn consult(facts: &Facts<'_>, downloader: &Downloader, progress: &dyn Progress) -> Result<Judgement, Error> {
    progress.event(Event::Started { phase: Phase::Check, total_bytes: 0 });
    let judge = &Judge::new(facts)?;
    let mut documents = Documents::default();
    let mut source = 0;
    let mut other_heads = OtherHeads::default();
    let mut kept: Option<Result<Judgement, Refusal>> = None;
    let mut chances = if downloader.sources() < 2 { 1 } else { 0 };
    loop {
        let judged = judge.judge(&documents);
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
                Need::Head => {
                    let (head, others) = fetch_head(judge, downloader)?;
                    (documents.head, source, other_heads) = (Some(head.bytes), head.source, others);
                }
                Need::Root(version) if other_heads.sound.is_some() => {
                    if !fetch_root_from(source, judge, *version, &mut documents, downloader)?
                        && let Some(next) = other_heads.pop()
                    {
                        (documents.head, documents.release, source) = (Some(next.bytes), None, next.source);
                    }
                }
                need => fetch(judge, need, &mut documents, downloader)?,
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
            (false, Some(next), before) => {
                (documents.head, documents.release, source, kept) = (Some(next.bytes), None, next.source, before);
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

/// A head as it came, and the number of the source it came from.
struct OfferedHead {
    bytes: Vec<u8>,
    source: usize,
}

/// Heads to try after the first.
#[derive(Default)]
struct OtherHeads {
    /// Those that must prove themselves, the last to try first.
    doubtful: Vec<OfferedHead>,
    /// Tried after them: it is in order as far as the roots at hand tell.
    sound: Option<OfferedHead>,
}

impl OtherHeads {
    fn pop(&mut self) -> Option<OfferedHead> {
        self.doubtful.pop().or_else(|| self.sound.take())
    }
}

/// Fetches the head to try first, and those after it.
///
/// Where nothing is in order, stale heads come after it. One that names a newer root, or may be signed by the keys of one,
/// comes before one that is in order, if its source was asked before: what is in order under the old root may be what a source
/// still has from before the keys were replaced.
fn fetch_head(judge: &Judge<'_>, downloader: &Downloader) -> Result<(OfferedHead, OtherHeads), Error> {
    let name = layout::head(judge.facts().channel);
    if downloader.sources() < 2 {
        let bytes = downloader.document(&name, HEAD_BYTES_MAX)?;
        return Ok((OfferedHead { bytes, source: 0 }, OtherHeads::default()));
    }
    let (mut of_newer_root, mut stale) = (Vec::<OfferedHead>::new(), Vec::<OfferedHead>::new());
    let fetched = downloader.document_checked_by_source(&name, HEAD_BYTES_MAX, |source, bytes| {
        let documents = Documents { head: Some(bytes.clone()), ..Documents::default() };
        let offered = OfferedHead { bytes, source };
        match judge.judge(&documents) {
            Err(refusal) => return Err(Some(refusal)),
            Ok(judgement) if matches!(judgement.verdict, Verdict::Need(Need::Root(_))) => of_newer_root.push(offered),
            Ok(judgement) if is_stale(&judgement) => stale.push(offered),
            Ok(_) => return Ok(offered),
        }
        Err(None)
    });
    let (mut doubtful, sound) = match fetched {
        Ok(head) => (of_newer_root, Some(head)),
        Err(_) if !of_newer_root.is_empty() || !stale.is_empty() => {
            of_newer_root.append(&mut stale);
            (of_newer_root, None)
        }
        Err(download::DocumentError::Refused { error: Some(refusal), .. }) => return Err(refusal.into()),
        Err(download::DocumentError::Refused { error: None, .. }) => return Err(undecided()),
        Err(download::DocumentError::Download(error)) => return Err(error.into()),
    };
    // A source whose head was not taken is asked twice.
    let mut seen = HashSet::new();
    doubtful.retain(|head| seen.insert(head.bytes.clone()));
    doubtful.reverse();
    let mut heads = OtherHeads { doubtful, sound };
    let first = heads.pop().ok_or_else(undecided)?;
    Ok((first, heads))
}

/// Fetches a root from the source of the head that names it, while another head is in order: whoever offers a head of a root that
/// nobody has costs one request. False if the root is not to be had there.
fn fetch_root_from(
    source: usize,
    judge: &Judge<'_>,
    version: u64,
    documents: &mut Documents,
    downloader: &Downloader,
) -> Result<bool, Error> {
    let Some(root) = downloader.document_from(source, &layout::root(version), ROOT_BYTES_MAX)? else {
        return Ok(false);
    };
    let mut with = Documents { head: None, ..documents.clone() };
    with.roots.push(root.clone());
    if judge.judge(&with).is_err() {
        return Ok(false);
    }
    documents.roots.push(root);
    Ok(true)
}

/// Fetches anything but the head.
fn fetch(judge: &Judge<'_>, need: &Need, documents: &mut Documents, downloader: &Downloader) -> Result<(), Error> {
    match need {
        Need::Head => {}
        Need::Root(version) => {
            let follows = |bytes: Vec<u8>| {
                let mut with = documents.clone();
                with.roots.push(bytes.clone());
                // What is wrong with the head is another matter.
                judge.judge(&Documents { head: None, ..with }).map(|_| bytes)
            };
            match downloader.document_checked(&layout::root(*version), ROOT_BYTES_MAX, follows) {
                Ok(bytes) => documents.roots.push(bytes),
                Err(download::DocumentError::Download(error)) if error.is_not_found() => documents.roots_ended = true,
                Err(download::DocumentError::Download(error)) => return Err(error.into()),
                Err(download::DocumentError::Refused { error, .. }) => return Err(error.into()),
            }
        }
        Need::Release { build, file } => {
            let name = layout::release(*build, &judge.facts().pin.platform);
            documents.release = Some(downloader.exact_in_time(&name, file.length, &file.blake3)?);
        }
    }
    Ok(())
}

/// What is remembered, with the roots that the site has after those: for what they alone can verify.
///
/// # Errors
/// The site cannot be reached, or has a root there that does not follow.
pub(crate) fn later_roots(facts: &Facts<'_>, downloader: &Downloader) -> Result<TrustState, Error> {
    let judge = Judge::new(facts)?;
    let mut documents = Documents::default();
    loop {
        let (state, newest) = judge.roots(&documents)?;
        if documents.roots_ended {
            return Ok(TrustState { roots_walked: Some(facts.clock), ..state });
        }
        fetch(&judge, &Need::Root(newest + 1), &mut documents, downloader)?;
    }
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
    let file = downloader.exact_in_time(&name, chosen.file.length, &chosen.file.blake3)?;
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

    /// As [`Self::downloader`], for work that as a rule needs none: a site that cannot be opened is an error only when asked.
    pub(crate) fn patient_downloader(&self, location: &str, own: &[String], named: &[String]) -> Downloader {
        let opened = self.sources(location, own, named).into_iter().map(|(place, _, source)| {
            let unreachable = |error| -> Arc<dyn Source> { Arc::new(Unreachable::new(&place, error)) };
            source.unwrap_or_else(unreachable)
        });
        self.downloader_of(opened.collect())
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
