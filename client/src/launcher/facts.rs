//! What is known before a decision: builds, the lock, and what the site offers.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::bundle;
use crate::launch::Facts;
use crate::updater::HANDOVER;

/// How long a held lock is looked at before it counts as held: a process that is just being started holds, for a moment, a
/// copy of a lock its parent has let go of.
const LOCK_GLANCE: Duration = Duration::from_millis(300);

#[derive(Clone, Default)]
pub(super) struct Looked {
    pub(super) offered: Option<(u64, String)>,
    pub(super) minimum_build: u64,
}

/// What somebody else does with a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Busy {
    /// Nothing.
    Free,
    /// He holds the lock, and what the app sees stays as it is: he looks, or downloads.
    Prepares,
    /// He changes the tree, or is about to.
    Changes,
}

impl Driver<'_> {
    pub(super) fn facts(&mut self) -> Result<Facts, Error> {
        let (settings, home) = (self.setup.settings, self.home());
        let own = self.setup.config.tree.clone();
        let busy = busy(&home, &self.config(&home))?;
        let locked = busy == Busy::Changes;
        let looks = settings.check_for_updates || settings.check_minimum;
        let may_ask = looks && self.looked.is_none() && busy == Busy::Free;
        let build_of = |tree: &Path| -> Result<Option<u64>, Error> {
            match self.open(tree) {
                Ok(updater) if !locked => updater.build_to_start(may_ask),
                // Nothing is decided by it then.
                Ok(_) | Err(Error::NoSettings { .. }) => Ok(None),
                Err(Error::Tree(TreeError::NotATree { .. })) => Ok(None),
                Err(error) if is_anothers(&error) => Ok(None),
                Err(error) => Err(error),
            }
        };
        let running_in_local = self.setup.local.as_deref().is_some_and(|local| self.runs_in(local));
        let local_build = if settings.run_in_local { build_of(&home)? } else { None };
        let own_build = if running_in_local { local_build } else { build_of(&own)? };
        let this_build = own_build.unwrap_or(0).max(self.setup.compiled_build);
        let looked = match busy {
            Busy::Free => self.look(&home, local_build.is_some()),
            // Whoever holds the lock sees to updates and to files; the app runs as it is.
            Busy::Prepares | Busy::Changes => Looked::default(),
        };
        if busy == Busy::Prepares && self.busy != Busy::Prepares {
            self.host.message("another program prepares an update of this app, which runs as it is", None);
        }
        self.busy = busy;
        let offered_build = looked.offered.as_ref().map(|(build, _)| *build);
        Ok(Facts {
            settings,
            locked,
            this_build,
            local_build,
            offered_build,
            minimum_build: looked.minimum_build,
            running_in_local,
            declined: offered_build.is_some() && offered_build == self.declined,
            resources_done: self.resources_done || busy == Busy::Prepares,
        })
    }

    /// What the site offers, asked once; and what was staged earlier.
    fn look(&mut self, home: &Path, home_is_there: bool) -> Looked {
        if let Some(looked) = &self.looked {
            return looked.clone();
        }
        let Settings { check_for_updates, check_minimum, .. } = self.setup.settings;
        let mut looked = Looked::default();
        if check_for_updates || check_minimum {
            let tree = if home_is_there { home } else { &self.setup.config.tree };
            match self.look_at(tree) {
                Ok(found) => looked = found,
                Err(error) => self.host.message(&format!("cannot look for updates: {error}"), None),
            }
        }
        self.looked = Some(looked.clone());
        looked
    }

    fn look_at(&self, tree: &Path) -> Result<Looked, Error> {
        if self.is_kept_from_updates(tree) {
            return Ok(Looked::default());
        }
        let updater = match (self.open(tree), &self.setup.origin) {
            (Err(Error::NoSettings { .. }), Some(origin)) => Updater::for_origin(self.config(tree), origin)?,
            (opened, _) => opened?,
        };
        let skipped = updater.skipped()?;
        // What was staged before waits as long as the installed build is held.
        let free = updater.held()?.is_none();
        let look = updater.look();
        // Asked after the site, which may have condemned it.
        let staged = updater.prepared()?.filter(|_| free).map(|prepared| (prepared.build, prepared.version));
        let look = match look {
            Ok(look) => look,
            // What is staged needs no site.
            Err(_) if staged.is_some() => return Ok(Looked { offered: staged, minimum_build: 0 }),
            Err(error) => return Err(error),
        };
        let offered = look.offered.map(|release| (release.build, release.version));
        let offered = offered.filter(|(build, _)| !skipped.contains(build));
        Ok(Looked { offered: offered.or(staged), minimum_build: look.minimum_build })
    }

    /// A bundle of macOS that the system shows from elsewhere, or from a disk image, cannot be updated where it is.
    fn is_kept_from_updates(&self, tree: &Path) -> bool {
        if tree.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("app")) {
            return false;
        }
        let findings = bundle::findings(tree, &bundle::look(tree));
        findings.iter().for_each(|finding| self.host.message(&finding.to_string(), None));
        findings.iter().any(|finding| finding.prevents_update())
    }
}

/// What somebody else does with the tree of `config`, as far as it can be seen: a lock alone says that he may change it later.
fn busy(tree: &Path, config: &Config) -> Result<Busy, Error> {
    if !tree.is_dir() {
        return Ok(Busy::Free);
    }
    let opened = config.machine.open_tree(tree, config.state.as_deref())?;
    if !opened.state_dir().is_dir() {
        return Ok(Busy::Free);
    }
    match opened.lock(LOCK_GLANCE) {
        Err(TreeError::Locked { .. }) => {}
        // In a read-only tree nothing is updated, and nothing keeps the app from running.
        _ => return Ok(Busy::Free),
    }
    let is_ready = !opened.is_unfinished()? && opened.read_state(HANDOVER)?.is_none() && opened.record()?.is_some();
    Ok(if is_ready { Busy::Prepares } else { Busy::Changes })
}

/// Whether the tree's state belongs to another user, who alone updates it; for all others the app just runs.
pub(super) fn is_anothers(error: &Error) -> bool {
    matches!(error, Error::Tree(TreeError::Fs(error)) if error.kind() == std::io::ErrorKind::PermissionDenied)
}
