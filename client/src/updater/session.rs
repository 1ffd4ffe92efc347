//! Reading and writing what an [`Updater`] remembers, and consulting the site.

use super::*;
use crate::consult::{Network, consult, fresh_state, later_roots};
use crate::download::Timing;
use crate::format::handover::Handover;
use crate::trust::Judgement;

/// The settings of an install from `origin`, as they are read later, and the root pinned with them.
///
/// # Errors
/// A root that is none; words that are none.
pub(super) fn settings_of(origin: &Origin) -> Result<(Settings, Pin), Error> {
    let settings = Settings {
        site: origin.site.clone(),
        app: origin.app.clone(),
        channel: origin.channel.clone(),
        platform: origin.platform.clone(),
        mirrors: origin.mirrors.clone(),
    };
    Settings::parse(&settings.to_bytes()).map_err(|source| Error::Usage(source.to_string()))?;
    let pin = pin(&settings, origin.root.clone(), 0)?;
    Ok((settings, pin))
}

impl Updater {
    /// What the tree is a tree of.
    pub fn origin(&self) -> Origin {
        Origin {
            site: self.settings.site.clone(),
            app: self.settings.app.clone(),
            channel: self.settings.channel.clone(),
            platform: self.settings.platform.clone(),
            root: self.pin.root.clone(),
            mirrors: self.settings.mirrors.clone(),
        }
    }

    /// An updater for a tree that has no settings yet: it can look, and nothing is written.
    ///
    /// # Errors
    /// No such directory; a root that is none; words that are none.
    pub fn for_origin(config: Config, origin: &Origin) -> Result<Self, Error> {
        let (settings, pin) = settings_of(origin)?;
        let tree = config.machine.open_tree(&config.tree, config.state.as_deref())?;
        Ok(Self { config, tree, settings, pin, switched: false })
    }

    /// Writes settings and pinned root.
    pub(super) fn write_origin(&self, lock: &TreeLock, origin: &Origin) -> Result<(), Error> {
        lock.replace_state(ROOT, &origin.root)?;
        lock.replace_state(SETTINGS, &self.settings.to_bytes())?;
        Ok(())
    }

    /// What was believed before. Damaged state loses freshness, nothing else: it is left aside with a notice.
    pub(super) fn state(&self) -> Result<TrustState, Error> {
        let Some(bytes) = self.tree.read_state(STATE)? else { return Ok(fresh_state(self.config.machine.as_ref())) };
        Ok(state::parse(&bytes).unwrap_or_else(|error| {
            let text = format!("damaged and left aside: {error}");
            self.config.progress.event(Event::Notice { code: "state_damaged", subject: STATE, text: &text });
            fresh_state(self.config.machine.as_ref())
        }))
    }

    /// Remembers what was believed, if anything new was. What a run beside this one has remembered meanwhile is not lost.
    pub(super) fn remember(&self, lock: &TreeLock, state: Option<TrustState>) -> Result<(), Error> {
        let Some(state) = state else { return Ok(()) };
        let before = self.tree.read_state(STATE)?;
        let bytes = match before.as_deref().map(state::parse) {
            Some(Ok(known)) => state::to_bytes(&trust::forward(&self.facts(&known, None, Goal::Check), &known, state)),
            Some(Err(_)) | None => state::to_bytes(&state),
        };
        if before.as_deref() != Some(&bytes[..]) {
            lock.replace_state(STATE, &bytes)?;
        }
        Ok(())
    }

    /// The same where nobody asked for a change: remembering makes later checks safer, but looking works in a read-only tree,
    /// and beside an update, too.
    pub(super) fn remember_if_free(&self, judgement: &Judgement) -> Result<(), Error> {
        let condemned = self.condemns_staged(judgement)?;
        if (judgement.state.is_some() || condemned)
            && let Ok(lock) = self.tree.lock(Duration::ZERO)
        {
            // A transaction that was cut off has its staging; whoever finishes it asks again.
            if condemned && !lock.is_in_transaction()? {
                lock.discard_staging()?;
            }
            self.remember(&lock, judgement.state.clone())?;
        }
        Ok(())
    }

    pub(super) fn facts<'a>(&'a self, state: &'a TrustState, installed: Option<Installed>, goal: Goal) -> Facts<'a> {
        Facts {
            pin: &self.pin,
            state,
            channel: &self.settings.channel,
            installed,
            clock: self.config.machine.clock(),
            goal,
        }
    }

    /// Fetches documents until the verdict is final.
    pub(super) fn consult(
        &self,
        downloader: &Downloader,
        state: &TrustState,
        installed: Option<Installed>,
        goal: Goal,
    ) -> Result<Judgement, Error> {
        consult(&self.facts(state, installed, goal), downloader, self.config.progress.as_ref())
    }

    /// The verdict, if it does not lead to a build that failed here, or away from one that is held.
    pub(super) fn unless_kept_away(&self, verdict: Verdict, installed: Option<u64>) -> Result<Verdict, Error> {
        let build = match &verdict {
            Verdict::Offer(release) => release.release.build,
            Verdict::Available(release) => release.build,
            Verdict::Idle(_) | Verdict::Need(_) => return Ok(verdict),
        };
        let launched = self.launch_state()?;
        Ok(match installed {
            Some(installed) if launched.held == Some(installed) => Verdict::Idle(Idle::Held(installed)),
            _ if launched.failed.contains(&build) => Verdict::Idle(Idle::FailedHere(build)),
            _ => verdict,
        })
    }

    /// A published release by its build, verified by the release role.
    pub(super) fn released(
        &self,
        downloader: &Downloader,
        state: &TrustState,
        build: u64,
    ) -> Result<VerifiedRelease, Error> {
        let name = layout::release(build, &self.settings.platform);
        let bytes = downloader.document(&name, RELEASE_BYTES_MAX)?;
        Ok(trust::judge_record(&self.facts(state, None, Goal::Update), &bytes)?)
    }

    /// The release recorded as installed, and the bytes of its manifest, both verified; none if nothing is. What needs no
    /// row of the manifest asks for this: a manifest of a large tree takes its time to be read.
    ///
    /// A commit replaces the two files one after the other. Who holds no lock may come between, or find what was cut off there:
    /// then the commit is waited for, or finished.
    fn installed_record(&self, state: &TrustState) -> Result<Option<(VerifiedRelease, Vec<u8>)>, Error> {
        match self.record_on_disk(state) {
            Err(Error::DamagedRecord { .. }) => {}
            read => return read,
        }
        if self.tree.is_in_transaction()? {
            self.begin()?;
        }
        match self.record_on_disk(state) {
            // Whoever replaced it since `state` was read may have seen later roots first.
            Err(Error::DamagedRecord { .. }) => self.record_on_disk(&self.state()?),
            read => read,
        }
    }

    /// What `read` finds in the record, and what was remembered for that. Where no root that is known stands behind the record,
    /// as after what was remembered got lost, the site is asked for later ones; they are remembered if one of them does.
    ///
    /// All of them follow from the pinned root, so no site can make a record good that nobody signed: it is damaged as before.
    pub(super) fn read_record<T>(
        &self,
        lock: Option<&TreeLock>,
        from: Option<&str>,
        read: impl Fn(&Self, &TrustState) -> Result<T, Error>,
    ) -> Result<(TrustState, T), Error> {
        let state = self.state()?;
        let damaged = match read(self, &state) {
            Err(damaged @ Error::DamagedRecord { .. }) => damaged,
            found => return found.map(|found| (state, found)),
        };
        let downloader = self.downloader(from, &state.mirrors);
        let walked = downloader.and_then(|sources| later_roots(&self.facts(&state, None, Goal::Check), &sources));
        let Ok(state) = walked else { return Err(damaged) };
        let found = read(self, &state)?;
        // In a read-only tree, and beside an update, they are asked for again.
        let own = if lock.is_none() { self.tree.lock(Duration::ZERO).ok() } else { None };
        if let Some(lock) = lock.or(own.as_ref()) {
            self.remember(lock, Some(state.clone()))?;
        }
        Ok((state, found))
    }

    /// Build of the release recorded as installed, for who starts the app whatever is recorded: none if a record does not verify,
    /// with the site's help if it `may_ask`. As long as that is so nothing is installed over it, so no floor is lost.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn build_to_start(&self, may_ask: bool) -> Result<Option<u64>, Error> {
        let found = if may_ask {
            self.read_record(None, None, Self::installed_release).map(|(_, release)| release)
        } else {
            self.installed_release(&self.state()?)
        };
        match found {
            Err(Error::DamagedRecord { .. }) => Ok(None),
            found => Ok(found?.map(|release| release.build)),
        }
    }

    fn record_on_disk(&self, state: &TrustState) -> Result<Option<(VerifiedRelease, Vec<u8>)>, Error> {
        let Some(record) = self.tree.record()? else { return Ok(None) };
        let damaged = |reason: String| self.damaged_record(reason);
        let release = trust::judge_record(&self.facts(state, None, Goal::Check), &record.release)
            .map_err(|refusal| damaged(refusal.to_string()))?;
        let expected = release.release.manifest;
        if expected.length != record.manifest.len() as u64 || expected.blake3 != Blake3::of(&record.manifest) {
            return Err(damaged("its manifest is not the one its release names".into()));
        }
        Ok(Some((release, record.manifest)))
    }

    /// The release recorded as installed, verified; none if nothing is.
    pub(super) fn installed_release(&self, state: &TrustState) -> Result<Option<Release>, Error> {
        Ok(self.installed_record(state)?.map(|(release, _)| release.release))
    }

    /// What a site is asked with: the release recorded as installed, verified; none if nothing is.
    pub(super) fn installed(&self, state: &TrustState) -> Result<Option<Installed>, Error> {
        let installed = |release: Release| Installed { build: release.build, manifest: release.manifest.blake3 };
        Ok(self.installed_release(state)?.map(installed))
    }

    /// What is recorded as installed, verified; none if nothing is.
    pub(super) fn record(&self, state: &TrustState) -> Result<Option<InstalledRecord>, Error> {
        let Some((release, bytes)) = self.installed_record(state)? else { return Ok(None) };
        let manifest = Manifest::parse(&bytes).map_err(|error| self.damaged_record(error.to_string()))?;
        let base = BaseRelease::recorded(&release.release, manifest);
        Ok(Some(InstalledRecord { release, base }))
    }

    fn damaged_record(&self, reason: String) -> Error {
        Error::DamagedRecord { path: self.config.tree.clone(), reason }
    }

    pub(super) fn required_record(&self) -> Result<InstalledRecord, Error> {
        self.record(&self.state()?)?.ok_or_else(|| self.no_record())
    }

    pub(super) fn no_record(&self) -> Error {
        Error::NoRecord { path: self.config.tree.clone() }
    }

    /// Where the tree lies, without links.
    pub fn root(&self) -> &Path {
        self.tree.root()
    }

    /// Where its state lies.
    pub fn state_dir(&self) -> &Path {
        self.tree.state_dir()
    }

    /// Build of the release recorded as installed.
    ///
    /// # Errors
    /// A damaged record.
    pub fn installed_build(&self) -> Result<Option<u64>, Error> {
        Ok(self.installed_release(&self.state()?)?.map(|release| release.build))
    }

    /// The program of the installed release that is started, as a path in the tree; none if it names none.
    ///
    /// # Errors
    /// A damaged record.
    pub fn entry(&self) -> Result<Option<PathBuf>, Error> {
        let release = self.installed_release(&self.state()?)?;
        Ok(release.and_then(|release| release.entry).map(|entry| entry.to_path()))
    }

    /// What an app left to the patcher; none if nothing, or if it cannot be read.
    pub(crate) fn handover(&self) -> Result<Option<Handover>, Error> {
        Ok(self.tree.read_state(HANDOVER)?.and_then(|bytes| Handover::parse(&bytes).ok()))
    }

    /// A downloader for the site, and mirrors: those of the settings, then `mirrors`. `from` is asked before all of them.
    pub(super) fn downloader(&self, from: Option<&str>, mirrors: &[String]) -> Result<Downloader, Error> {
        let Settings { site, mirrors: own, .. } = &self.settings;
        let Some(from) = from else { return self.network().downloader(site, own, mirrors) };
        let own: Vec<String> = [site].into_iter().chain(own).cloned().collect();
        self.network().downloader(from, &own, mirrors)
    }

    /// A downloader for work that as a rule needs none: a site that cannot be opened is an error only when asked.
    pub(super) fn patient_downloader(&self, mirrors: &[String]) -> Downloader {
        self.network().patient_downloader(&self.settings.site, &self.settings.mirrors, mirrors)
    }

    /// The clock downloads go by, and what asks to stop.
    pub(crate) fn timing_and_cancel(&self) -> (Arc<dyn Timing>, Cancel) {
        (self.config.retry.timing.clone(), self.config.cancel.clone())
    }

    pub(super) fn network(&self) -> Network {
        let Config { http, retry, progress, cancel, machine, .. } = self.config.clone();
        Network { http, retry, progress, cancel, machine }
    }
}
