//! Looking at what a channel offers, without taking it; and filling one tree from another.

use std::io;

use super::*;
use crate::consult::fresh_state;
use crate::format::head::Head;
use crate::format::manifest::Kind;
use crate::why::{self, Ended, Known, Why};

/// What a channel offers this tree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Look {
    /// The release, verified; none if there is nothing to install.
    pub offered: Option<Release>,
    /// Lowest build that may still update itself; 0 if nothing says so.
    pub minimum_build: u64,
    /// Why nothing is offered.
    pub idle: Option<Idle>,
}

impl Updater {
    /// Asks the site what it offers, and for the release itself. A build below the minimum is a finding, no error.
    ///
    /// # Errors
    /// The site cannot be reached or is not to be trusted.
    pub fn look(&self) -> Result<Look, Error> {
        let (state, installed) = self.read_record(None, None, Self::installed)?;
        let downloader = self.downloader(None, &state.mirrors)?;
        let judgement = match self.consult(&downloader, &state, installed, Goal::Update) {
            Ok(judgement) => judgement,
            Err(Error::Refused(trust::Refusal::BelowMinimum { minimum, .. })) => {
                return Ok(Look { minimum_build: minimum, ..Look::default() });
            }
            Err(error) => return Err(error),
        };
        if installed.is_some() {
            self.remember_if_free(&judgement)?;
        }
        match self.unless_kept_away(judgement.verdict, installed.map(|installed| installed.build))? {
            Verdict::Offer(release) => {
                let minimum_build = release.release.minimum_build;
                Ok(Look { offered: Some(release.release), minimum_build, idle: None })
            }
            Verdict::Idle(idle) => Ok(Look { idle: Some(idle), ..Look::default() }),
            Verdict::Need(_) | Verdict::Available(_) => Err(undecided()),
        }
    }

    /// Asks the site as a check does, and explains which rule decided; where something is on offer its signed release is
    /// looked at, too. Whatever goes wrong is the answer, no error.
    pub fn why(&self) -> (Why, Ended) {
        let mut head = None;
        let mut installed = None;
        let ended = self.ask_why(&mut installed, &mut head).unwrap_or_else(Ended::Failed);
        let known = Known {
            channel: &self.settings.channel,
            platform: &self.settings.platform,
            installed: installed.as_ref().map(|release: &Release| (release.build, release.version.as_str())),
            head: head.as_deref(),
            clock: self.config.machine.clock(),
        };
        (why::explain(&known, &ended), ended)
    }

    fn ask_why(&self, installed: &mut Option<Release>, head: &mut Option<Box<Head>>) -> Result<Ended, Error> {
        let state = self.state()?;
        let record = self.record(&state)?;
        let facts = record.as_ref().map(InstalledRecord::installed);
        *installed = record.map(|record| record.release.release);
        let downloader = self.downloader(None, &state.mirrors)?;
        self.ask(&downloader, &state, facts, head)
    }

    /// Asks through `downloader`, which rule decides; nothing is remembered.
    pub(super) fn ask(
        &self,
        downloader: &Downloader,
        state: &TrustState,
        facts: Option<Installed>,
        head: &mut Option<Box<Head>>,
    ) -> Result<Ended, Error> {
        let judgement = self.consult(downloader, state, facts, Goal::Update)?;
        *head = judgement.head;
        Ok(match self.unless_kept_away(judgement.verdict, facts.map(|installed| installed.build))? {
            Verdict::Offer(release) => Ended::Offered(release.release.build, release.release.version),
            Verdict::Idle(idle) => Ended::Idle(idle),
            Verdict::Need(_) | Verdict::Available(_) => return Err(undecided()),
        })
    }

    /// Installs in `config`'s tree the very release that is installed here, from the files here; no site is asked as long as
    /// they are as released. A release that is there already is replaced, as by an update.
    ///
    /// # Errors
    /// No record here; whatever stops it. The other tree is as before, or the release is there whole.
    pub fn copy_to(&self, config: Config) -> Result<DeployReport, Error> {
        let known = self.state()?;
        let record = self.record(&known)?.ok_or_else(|| self.no_record())?;
        let created = CreatedDir::ensure(&config.tree)?;
        let other = Self::for_origin(config, &self.origin())?;
        other.may_stage()?;
        let lock = other.begin_anyway()?;
        other.write_origin(&lock, &self.origin())?;
        // Later roots stand behind the record, perhaps. The place in rollouts is each install's own.
        let rollout_secret = fresh_state(other.config.machine.as_ref()).rollout_secret;
        other.remember(&lock, Some(TrustState { rollout_secret, ..known.clone() }))?;
        created.keep();
        let installed = other.record(&other.state()?)?;
        let base = installed.as_ref().map(|installed| &installed.base);
        let manifest = record.base.manifest.to_bytes();
        let order = Order {
            release: &record.release,
            base,
            route: Route::Cheapest,
            everything: base.is_none() || other.tree.is_unfinished()?,
            manifest: Some(&manifest),
        };
        let staging = lock.staging(&order.key())?;
        for (number, row) in record.base.manifest.rows().iter().enumerate().filter(|(_, row)| row.is_file()) {
            let Ok(mut file) = self.tree.open_file(&row.path) else { continue };
            let executable = row.kind == Kind::File { executable: true };
            let mut staged = staging.create(number, row.digest.size, executable)?;
            if io::copy(&mut file, &mut staged).is_ok() {
                // One that is not as released is fetched below.
                let _ = staged.finish(&row.digest);
            }
        }
        let downloader = other.patient_downloader(&known.mirrors);
        let deploy = other.deploy(&lock, &downloader);
        let staged = deploy.stage(&order)?;
        deploy.commit(staged, &order)
    }
}
