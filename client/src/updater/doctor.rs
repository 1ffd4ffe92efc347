//! Gathers the facts of a support report.

use super::*;
use crate::doctor::{
    DAMAGE_NAMED_MAX, DiskFacts, FilesFacts, MachineFacts, PlaceFacts, Report, TreeFacts, kernel_numbers, proxy_facts,
    public_place, public_word,
};
use crate::source::SourceError;
use crate::tree::volume_kind;
use crate::why::Ended;

impl Updater {
    /// A report of the tree of `config`, of the machine and of the way to the site. Nothing of the tree is changed; files are
    /// compared with their manifest if `with_files`. Whatever goes wrong is a finding, no error.
    pub fn doctor(config: Config, with_files: bool) -> Report {
        let proxy = proxy_facts(&config.http.proxy, |name| std::env::var(name).ok());
        let clock = config.machine.clock();
        let opened = Self::open(config);
        let trouble = opened.as_ref().err().map(Error::code);
        let tree = opened.ok().map(|updater| updater.tree_facts(with_files));
        Report { client: env!("CARGO_PKG_VERSION"), machine: machine_facts(), clock, proxy, trouble, tree }
    }

    fn tree_facts(&self, with_files: bool) -> TreeFacts {
        let state = self.state();
        let installed = state
            .as_ref()
            .map_err(Error::code)
            .and_then(|state| self.installed_release(state).map_err(|error| error.code()));
        let launched = self.launch_state().unwrap_or_default();
        let build = installed.as_ref().ok().and_then(|release| release.as_ref()).map(|release| release.build);
        let unfinished = self.tree.is_unfinished().unwrap_or(false);
        let known = state.as_ref().ok().and_then(|state| state.channels.get(&self.settings.channel));
        let root = state.as_ref().ok().and_then(|state| trust::newest_root(&self.facts(state, None, Goal::Check)).ok());
        TreeFacts {
            app: self.settings.app.clone(),
            channel: self.settings.channel.clone(),
            platform: self.settings.platform.clone(),
            record_trouble: installed.as_ref().err().copied(),
            installed: installed.ok().flatten().map(|release| (release.build, release.version)),
            unfinished,
            given_up: self.tree.is_given_up().unwrap_or(false),
            locked: self.is_locked(),
            staged: self.prepared().ok().flatten().map(|prepared| prepared.build),
            held: launched.held.filter(|held| Some(*held) == build),
            previous: self.previous_build().ok().flatten(),
            starts: build.map_or(0, |build| launched.starts_of(build)),
            failed: launched.failed.into_iter().collect(),
            head: known.map(|channel| (channel.sequence, channel.issued)),
            root: root.map(|root| (root.version, root.expires)),
            last: self.last_outcome(),
            disk: self.disk_facts(),
            // Comparing would first finish what was cut off: a report changes nothing.
            files: (with_files && !unfinished).then(|| self.files_facts()),
            places: state.map(|state| self.places(&state)).unwrap_or_default(),
        }
    }

    fn is_locked(&self) -> bool {
        // Where nothing was ever installed the lock would have to be made.
        self.tree.state_dir().is_dir() && matches!(self.tree.lock(Duration::ZERO), Err(TreeError::Locked { .. }))
    }

    fn disk_facts(&self) -> DiskFacts {
        DiskFacts {
            free_bytes: self.tree.free_bytes().ok().flatten(),
            kind: volume_kind(self.tree.root()),
            share: (self.config.share_of)(self.tree.root()),
            writable: self.tree.probe_writable().is_ok(),
        }
    }

    fn files_facts(&self) -> Result<FilesFacts, &'static str> {
        let verified = self.verify(false).map_err(|error| error.code())?;
        let damaged = verified.damaged.iter().take(DAMAGE_NAMED_MAX);
        Ok(FilesFacts {
            rows: verified.rows,
            read_bytes: verified.read_bytes,
            damaged_count: verified.damaged.len(),
            damaged: damaged.map(|d| (d.path.as_str().to_owned(), d.code, d.keep)).collect(),
        })
    }

    /// Asks each place by itself, once, as a check would.
    fn places(&self, state: &TrustState) -> Vec<PlaceFacts> {
        let installed = self.installed(state).ok().flatten();
        let named = &state.mirrors;
        let each = self.network().each(&self.settings.site, &self.settings.mirrors, named);
        let ask = |(place, by_head, source): (String, bool, Result<Downloader, Error>)| {
            let mut head = None;
            let asked = source.and_then(|downloader| self.ask(&downloader, state, installed, &mut head));
            let ended = asked.unwrap_or_else(Ended::Failed);
            let obstacle = match &ended {
                Ended::Failed(error) => obstacle(error).map(SourceError::code),
                _ => None,
            };
            PlaceFacts {
                place: public_place(&place),
                named_by: if by_head { "head" } else { "settings" },
                code: ended.code(),
                obstacle,
                head: head.map(|head| (head.sequence, head.issued, head.expires)),
            }
        };
        each.into_iter().map(ask).collect()
    }
}

/// What stood in the way of reaching a place.
fn obstacle(error: &Error) -> Option<&SourceError> {
    match error {
        Error::Source(error) => Some(error),
        Error::Download(crate::download::DownloadError::Source(error)) => Some(error),
        _ => None,
    }
}

fn machine_facts() -> MachineFacts {
    let (system, kernel) = system();
    let plain = |text: String| Some(text).filter(|text| !text.is_empty());
    MachineFacts {
        platform: Origin::host_platform(),
        system: system.map(|text| public_word(&text)).and_then(plain),
        kernel: kernel.map(|text| kernel_numbers(&text)).and_then(plain),
    }
}

/// What the system calls itself, and its kernel's version.
#[cfg(unix)]
fn system() -> (Option<String>, Option<String>) {
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let value = |key: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.map(|value| value.trim_matches('"').to_owned())
    };
    let system = value("ID").map(|id| format!("{id} {}", value("VERSION_ID").unwrap_or_default()).trim().to_owned());
    (system, Some(kernel))
}

#[cfg(windows)]
fn system() -> (Option<String>, Option<String>) {
    (sysinfo::System::os_version(), sysinfo::System::kernel_version())
}

#[cfg(not(any(unix, windows)))]
fn system() -> (Option<String>, Option<String>) {
    (None, None)
}
