//! An app that is one executable file and replaces itself, without a tree and without a record of what is installed.
//!
//! The program is recognised by the checksum of its own file: among the base releases of the packs on offer, the one that
//! consists of exactly that file is what it is updated from. A file nobody knows is replaced by a full download. What is new
//! is built in a directory beside the executable, `.<name>.lamplighter`, and takes its place by a rename:
//!
//! * Whatever fails, and whenever the machine stops, the executable is the old one or the new one, whole. (On Windows, where
//!   a running program must be renamed away first, it lies under another name for a moment between two renames; a crash
//!   right there leaves it in that directory, as `old-….exe`.)
//! * Nothing else in the executable's directory is touched, whatever the release calls its file.
//! * After a success nothing stays behind, but on Windows the old file, which [`SelfUpdate::cleanup`] removes at the next
//!   start. After a lost connection what was fetched stays, and the next call goes on with it, or removes it if the build is
//!   no longer on offer.
//! * Permissions are kept; owner, setuid bits and extended attributes are those of a new file.
//!
//! # What is lost without a state file
//!
//! [`SelfConfig::build`] is compiled in, so nothing older is ever installed, with or without state. What a state file adds is
//! freshness: without it an attacker on the way may show a head that was seen before, as long as it has not expired, and a
//! rotation of keys is forgotten until the next build pins the new root; and a private secret: without it the bucket of
//! a roll-out comes from the machine and the executable's path, so it changes when either does.

mod executable;
mod memory;
mod workshop;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::consult::{self, Network, consult, pin, undecided};
use crate::deploy::{BaseRelease, Deploy, HELPERS, Order, Route, RouteTaken};
use crate::download::{Downloader, RetryPolicy};
use crate::error::{Class, Error};
use crate::format::digest::Blake3;
use crate::format::document::FileRef;
use crate::format::layout;
use crate::format::manifest::{Manifest, Row};
use crate::format::pack;
use crate::format::release::Release;
use crate::format::settings::Settings;
use crate::format::text::Time;
use crate::machine::ThisMachine;
use crate::notes::NotesSection;
use crate::progress::{Cancel, Event, Progress};
use crate::source::HttpOptions;
use crate::trust::{Facts, Goal, Idle, Installed, Judgement, Pin, TrustState, Verdict, VerifiedRelease};
use crate::updater::CheckOutcome;
use executable::content_of;
use memory::Memory;
use workshop::Workshop;

/// Most bytes the manifest of a tree of one file can have; a longer one need not be fetched to know better.
const ONE_FILE_MANIFEST_BYTES_MAX: u64 = 16 << 10;

/// What the app has compiled in, and how the site is reached.
#[derive(Clone)]
pub struct SelfConfig {
    /// URL or directory of the site.
    pub site: String,
    /// App id.
    pub app: String,
    /// Channel to follow.
    pub channel: String,
    /// Platform token.
    pub platform: String,
    /// The newest root document when the app was built, whole.
    pub root: Vec<u8>,
    /// Build number of this very program: nothing up to it is installed. 0 accepts every build.
    pub build: u64,
    /// The file to replace; the running program's by default.
    pub executable: Option<PathBuf>,
    /// A small file to remember in what was seen; see the head of the module. Its directory must exist.
    pub state: Option<PathBuf>,
    /// How HTTP is spoken.
    pub http: HttpOptions,
    /// How patient downloads are.
    pub retry: RetryPolicy,
    /// Told of phases, bytes and notices.
    pub progress: Arc<dyn Progress>,
    /// Asks to stop at the next safe point.
    pub cancel: Cancel,
    /// Updates on a network share, too. Whoever may write there can change a file after it was verified.
    pub allow_network_share: bool,
    /// Tells what kind of network share a directory lies on, if on any: [`system_share`](crate::tree::system_share) as a rule.
    pub share_of: fn(&Path) -> Option<&'static str>,
}

/// How a call of [`SelfUpdate::update`] ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SelfOutcome {
    /// The executable is the new one; whoever starts it next starts that.
    Replaced(SelfReport),
    /// There was nothing to do.
    Idle(Idle),
}

/// What an update did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelfReport {
    /// Build of the new executable.
    pub build: u64,
    /// Its version.
    pub version: String,
    /// Where its content came from.
    pub route: RouteTaken,
    /// Requests made, documents included.
    pub requests: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// The file that was replaced.
    pub executable: PathBuf,
}

/// A program and its site.
pub struct SelfUpdate {
    executable: PathBuf,
    build: u64,
    settings: Settings,
    pin: Pin,
    memory: Memory,
    network: Network,
    /// The kind of share the executable lies on, where that keeps it from being replaced.
    forbidden_share: Option<&'static str>,
}

impl SelfUpdate {
    /// Changes nothing. To be made once, early in the run of a program: the system may not tell its path any more after it
    /// was replaced.
    ///
    /// # Errors
    /// Settings that cannot be, a root that is none, an executable that cannot be found.
    pub fn new(config: SelfConfig) -> Result<Self, Error> {
        let SelfConfig {
            site,
            app,
            channel,
            platform,
            root,
            build,
            executable,
            state,
            http,
            retry,
            progress,
            cancel,
            ..
        } = config;
        let settings = Settings { site, app, channel, platform, mirrors: Vec::new() };
        Settings::parse(&settings.to_bytes()).map_err(|source| Error::Usage(source.to_string()))?;
        let pin = pin(&settings, root, build)?;
        let executable = executable::find(executable)?;
        let share = executable.parent().and_then(config.share_of);
        let forbidden_share = share.filter(|_| !config.allow_network_share);
        let memory = Memory::new(state, &settings.app, &executable);
        let network = Network { http, retry, progress, cancel, machine: Arc::new(ThisMachine) };
        Ok(Self { executable, build, settings, pin, memory, network, forbidden_share })
    }

    /// The file that is replaced.
    pub fn executable(&self) -> &Path {
        &self.executable
    }

    /// Removes what an earlier update had to leave because it was running. Call it at the start of the program; what cannot
    /// be removed now stays until the next time.
    pub fn cleanup(&self) {
        workshop::remove_replaced(&self.executable);
    }

    /// Asks the site whether there is a newer build; one request as a rule.
    ///
    /// # Errors
    /// The site cannot be reached or is not to be trusted.
    pub fn check(&self) -> Result<CheckOutcome, Error> {
        let state = self.memory.read(self.progress())?;
        let downloader = self.network.downloader(&self.settings.site, &[], &state.mirrors)?;
        let judgement = self.consult(&state, &downloader, Goal::Check)?;
        // A check works where nothing can be written, too.
        let _ = self.memory.write(judgement.state);
        match judgement.verdict {
            Verdict::Available(release) => {
                Ok(CheckOutcome::Available { build: release.build, version: release.version })
            }
            Verdict::Idle(idle) => Ok(CheckOutcome::Idle(idle)),
            Verdict::Need(_) | Verdict::Offer(_) => Err(undecided()),
        }
    }

    /// What is new in the build on offer, and in those skipped; as [`crate::updater::Updater::notes`].
    ///
    /// # Errors
    /// The site cannot be reached or is not to be trusted.
    pub fn notes(&self, language: &str) -> Result<Vec<NotesSection>, Error> {
        let state = self.memory.read(self.progress())?;
        let downloader = self.network.downloader(&self.settings.site, &[], &state.mirrors)?;
        let judgement = self.consult(&state, &downloader, Goal::Update)?;
        let Verdict::Offer(offer) = judgement.verdict else { return Ok(Vec::new()) };
        let downloader = self.network.downloader(&self.settings.site, &[], &judgement.mirrors)?;
        consult::notes(&offer.release, (self.build > 0).then_some(self.build), language, &downloader)
    }

    /// Replaces the executable by the build on offer.
    ///
    /// # Errors
    /// Whatever stops it; the executable is as it was.
    pub fn update(&self) -> Result<SelfOutcome, Error> {
        let state = self.memory.read(self.progress())?;
        let downloader = self.network.downloader(&self.settings.site, &[], &state.mirrors)?;
        let judgement = self.consult(&state, &downloader, Goal::Update)?;
        self.memory.write(judgement.state)?;
        let release = match judgement.verdict {
            Verdict::Offer(release) => *release,
            Verdict::Idle(idle) => {
                if !idle.leaves_offer() {
                    workshop::remove_unused(&self.executable);
                }
                return Ok(SelfOutcome::Idle(idle));
            }
            Verdict::Need(_) | Verdict::Available(_) => return Err(undecided()),
        };
        if let Some(kind) = self.forbidden_share {
            return Err(Error::NetworkShare { path: self.executable.clone(), kind });
        }
        if release.release.manifest.length > ONE_FILE_MANIFEST_BYTES_MAX {
            return Err(self.not_one_file(&release.release));
        }
        let workshop = Workshop::open(&self.executable)?;
        let content = match judgement.mirrors.is_empty() {
            true => None,
            false => Some(self.network.downloader(&self.settings.site, &[], &judgement.mirrors)?),
        };
        let outcome = self.become_release(&workshop, &release, &content.unwrap_or(downloader));
        if !outcome.as_ref().is_err_and(|error| matches!(error.class(), Class::Network | Class::Cancelled)) {
            workshop.remove();
        }
        outcome
    }

    fn become_release(
        &self,
        workshop: &Workshop,
        release: &VerifiedRelease,
        downloader: &Downloader,
    ) -> Result<SelfOutcome, Error> {
        let own = content_of(&self.executable)?;
        let base = self.find_base(&release.release, &own, downloader)?;
        let mut manifest = None;
        if let Some((_, row)) = &base {
            workshop.copy_in(&self.executable, row, &own)?;
        } else {
            let (target, bytes) = self.manifest(release.release.build, &release.release.manifest, downloader)?;
            let row = one_file(&target).ok_or_else(|| self.not_one_file(&release.release))?;
            if holds(row, &own) {
                return Ok(SelfOutcome::Idle(Idle::UpToDate));
            }
            self.notice("unknown_executable", "no known release is this file; the new one is fetched in full");
            manifest = Some(bytes);
        }
        let order = Order {
            release,
            base: base.as_ref().map(|(base, _)| base),
            route: Route::Cheapest,
            everything: base.is_none(),
            manifest: manifest.as_deref(),
        };
        let Network { progress, cancel, .. } = &self.network;
        let staged = Deploy { lock: workshop.lock(), downloader, progress: &**progress, cancel, helpers: HELPERS }
            .stage(&order)?;
        let name = layout::manifest(release.release.build, &release.release.platform);
        let target = Manifest::parse(&staged.record().manifest).map_err(|source| Error::Manifest { name, source })?;
        let row = one_file(&target).ok_or_else(|| self.not_one_file(&release.release))?;
        if holds(row, &own) {
            return Ok(SelfOutcome::Idle(Idle::UpToDate));
        }
        let new = workshop.copy_out(staged.staging(), row, &self.executable)?;
        if content_of(&self.executable)? != own {
            return Err(Error::ChangedMeanwhile { path: self.executable.clone() });
        }
        executable::replace(&self.executable, new, &workshop.aside())?;
        Ok(SelfOutcome::Replaced(SelfReport {
            build: release.release.build,
            version: release.release.version.clone(),
            route: staged.route(),
            requests: downloader.requests(),
            received_bytes: downloader.received_bytes(),
            executable: self.executable.clone(),
        }))
    }

    /// The base release that is exactly the file `own`, and its one row.
    fn find_base(
        &self,
        release: &Release,
        own: &FileRef,
        downloader: &Downloader,
    ) -> Result<Option<(BaseRelease, Row)>, Error> {
        for (build, file) in candidates(release, self.build) {
            let manifest = match self.manifest(build, &file, downloader) {
                Ok((manifest, _)) => manifest,
                Err(error) if error.leaves_other_ways() => {
                    self.notice("base_unusable", &error.to_string());
                    continue;
                }
                Err(error) => return Err(error),
            };
            if let Some(row) = one_file(&manifest).filter(|row| holds(row, own)).cloned() {
                let base = BaseRelease { manifest, manifest_blake3: file.blake3, objects: None, unproven: false };
                return Ok(Some((base, row)));
            }
        }
        Ok(None)
    }

    fn manifest(&self, build: u64, file: &FileRef, downloader: &Downloader) -> Result<(Manifest, Vec<u8>), Error> {
        let name = layout::manifest(build, &self.settings.platform);
        let bytes = downloader.exact(&name, file.length, &file.blake3)?;
        let manifest = Manifest::parse(&bytes).map_err(|source| Error::Manifest { name, source })?;
        Ok((manifest, bytes))
    }

    fn consult(&self, state: &TrustState, downloader: &Downloader, goal: Goal) -> Result<Judgement, Error> {
        // Only the build counts here: the floor, and the minimum a release may ask for.
        let installed = Installed { build: self.build, manifest: Blake3::of(b"") };
        let facts = Facts {
            pin: &self.pin,
            state,
            channel: &self.settings.channel,
            installed: (self.build > 0).then_some(installed),
            clock: Time::now(),
            goal,
        };
        consult(&facts, downloader, self.progress())
    }

    fn progress(&self) -> &dyn Progress {
        &*self.network.progress
    }

    fn notice(&self, code: &'static str, text: &str) {
        self.progress().event(Event::Notice { code, subject: "", text });
    }

    fn not_one_file(&self, release: &Release) -> Error {
        Error::NotOneFile { build: release.build, path: self.executable.clone() }
    }
}

/// Base releases that may be one file, each once: the app's own build first, then the newest.
fn candidates(release: &Release, own_build: u64) -> Vec<(u64, FileRef)> {
    let readable = release.packs.iter().filter(|row| (1..=pack::FORMAT).contains(&row.format));
    let mut found: Vec<(u64, FileRef)> = Vec::new();
    for row in readable.filter(|row| row.base_manifest.length <= ONE_FILE_MANIFEST_BYTES_MAX) {
        if found.iter().all(|(_, file)| *file != row.base_manifest) {
            found.push((row.base_build, row.base_manifest));
        }
    }
    found.sort_by_key(|(build, _)| (*build != own_build, std::cmp::Reverse(*build)));
    found
}

/// The only row of a tree that is one file.
fn one_file(manifest: &Manifest) -> Option<&Row> {
    match manifest.rows() {
        [row] if row.is_file() => Some(row),
        _ => None,
    }
}

fn holds(row: &Row, content: &FileRef) -> bool {
    row.digest.size == content.length && row.digest.blake3 == content.blake3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::release::PackRow;

    #[test]
    fn the_own_build_is_tried_first_then_the_newest() {
        let file = |text: &str| FileRef::of(text.as_bytes());
        let row = |format, base_build, manifest| PackRow {
            format,
            base_build,
            base_manifest: manifest,
            length: 9,
            header: FileRef { length: 1, ..file("h") },
        };
        let long = FileRef { length: ONE_FILE_MANIFEST_BYTES_MAX + 1, ..file("long") };
        let release = Release {
            app: "a".into(),
            platform: "any".into(),
            build: 9,
            version: "9".into(),
            issued: Time::from_seconds(0),
            minimum_build: 0,
            entry: None,
            patcher: None,
            minimum_os: None,
            manifest: file("9"),
            objects: file("o"),
            notes: Vec::new(),
            reads_pack: 1,
            packs: vec![
                row(1, 5, file("5")),
                row(1, 7, file("7")),
                row(pack::FORMAT + 1, 8, file("8")),
                row(1, 6, file("6")),
                row(1, 4, file("5")),
                row(1, 3, long),
            ],
        };
        let builds = |own| candidates(&release, own).into_iter().map(|(build, _)| build).collect::<Vec<_>>();
        assert_eq!(builds(6), [6, 7, 5]);
        assert_eq!(builds(0), [7, 6, 5]);
    }
}
