//! What a launcher does next: a pure function from facts to one action.
//!
//! The launcher is a loop: gather facts, [`decide`], carry the action out, and ask again with what has changed. Nothing is
//! remembered between two decisions but the facts, so the table below is all there is to know.
//!
//! Rules, in this order; the first that applies decides:
//!
//! 1. The updater is running already: tell the user.
//! 2. The minimum is checked, and no build at hand reaches it: tell the user to download the app afresh. Without local
//!    storage that is this build; with it, both this build and the local one.
//! 3. The app is to run in local storage and does not: where no local build is (or only one below the minimum), install the
//!    offered release there if it is newer than this build, else copy this app; then run the local one and exit.
//! 4. Updates are checked for, and a newer release is offered: update, which ends this program.
//! 5. Resources: build and deploy them (a developer's hook), verify them, or fetch them all; unless that is done already.
//! 6. Ready.
//!
//! Offline, and where what the site says has expired, nothing is offered, so the app runs as it is. A build that failed
//! here, and one the user does not want to be asked for, count as not offered.

/// What becomes of resources at each start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resources {
    /// Nothing.
    Leave,
    /// A developer's machine: a hook builds them and puts them in place.
    BuildAndDeploy,
    /// Compare them with the manifest, and fetch what differs.
    VerifyAndDeploy,
    /// Fetch all of them, whatever is there.
    AlwaysDeploy,
}

/// What the app was set up to do; does not change while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Settings {
    /// Refuse to run below the minimum build.
    pub check_minimum: bool,
    /// Run from local storage, wherever the program was started from.
    pub run_in_local: bool,
    /// Look for updates.
    pub check_for_updates: bool,
    /// What becomes of resources.
    pub resources: Resources,
}

/// What is known at the moment of the decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Facts {
    /// How the app was set up.
    pub settings: Settings,
    /// Somebody else holds the lock.
    pub locked: bool,
    /// Build of the running program.
    pub this_build: u64,
    /// Build in local storage, if one is there.
    pub local_build: Option<u64>,
    /// Newest build the site offers this machine; none offline, when stale, or when there is none.
    pub offered_build: Option<u64>,
    /// Lowest build that may still update itself.
    pub minimum_build: u64,
    /// The running program lies in local storage.
    pub running_in_local: bool,
    /// The user has said no to the offered build, for now or for good.
    pub declined: bool,
    /// Resources have been seen to.
    pub resources_done: bool,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Tell the user that an update is running already, and exit.
    TellLocked,
    /// Tell the user to download the app afresh and to delete this one, and exit.
    TellDownloadAgain {
        /// The lowest build that would do.
        minimum_build: u64,
    },
    /// Install the offered release in local storage.
    InstallLocal {
        /// Its build.
        build: u64,
    },
    /// Copy this app to local storage.
    CopyToLocal,
    /// Start the app in local storage and exit.
    RunLocal,
    /// Ask the user, stage, hand over to the patcher, and exit.
    Update {
        /// The build to update to.
        build: u64,
    },
    /// See to the resources; [`Resources::Leave`] never comes.
    Deploy(Resources),
    /// Run.
    Ready,
}

/// The next action.
pub fn decide(facts: &Facts) -> Action {
    let Settings { check_minimum, run_in_local, check_for_updates, resources } = facts.settings;
    if facts.locked {
        return Action::TellLocked;
    }
    let newer =
        facts.offered_build.filter(|offered| check_for_updates && !facts.declined && *offered > facts.this_build);
    // A local build that may not run is none.
    let local = facts.local_build.filter(|local| !check_minimum || *local >= facts.minimum_build);
    if check_minimum && facts.this_build < facts.minimum_build && !(run_in_local && local.is_some()) {
        return Action::TellDownloadAgain { minimum_build: facts.minimum_build };
    }
    if run_in_local && !facts.running_in_local {
        return match (local, newer) {
            (Some(_), _) => Action::RunLocal,
            (None, Some(build)) => Action::InstallLocal { build },
            (None, None) => Action::CopyToLocal,
        };
    }
    if let Some(build) = newer {
        return Action::Update { build };
    }
    match resources {
        Resources::Leave => Action::Ready,
        _ if facts.resources_done => Action::Ready,
        resources => Action::Deploy(resources),
    }
}

#[cfg(test)]
mod tests;
