//! What a program that is one file remembers: a small file where the app names one, else nothing.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::consult::fresh_state;
use crate::error::Error;
use crate::machine::ThisMachine;
use crate::progress::{Event, Progress};
use crate::trust::{TrustState, state};

/// Most bytes of a state file that are read.
const STATE_BYTES_MAX: u64 = 16 << 20;

pub(super) struct Memory {
    path: Option<PathBuf>,
    /// Stands in for the private secret where nothing can be remembered.
    derived_secret: [u8; 16],
}

impl Memory {
    pub(super) fn new(path: Option<PathBuf>, app: &str, executable: &Path) -> Self {
        Self { path, derived_secret: derived_secret(app, executable, &machine()) }
    }

    /// What was believed before. A damaged file loses freshness, nothing else: it is left aside with a notice.
    pub(super) fn read(&self, progress: &dyn Progress) -> Result<TrustState, Error> {
        let Some(path) = &self.path else {
            return Ok(TrustState { rollout_secret: self.derived_secret, ..TrustState::default() });
        };
        let Some(bytes) = read(path).map_err(|source| failed("read", path, source))? else {
            return Ok(fresh_state(&ThisMachine));
        };
        Ok(state::parse(&bytes).unwrap_or_else(|error| {
            let (subject, text) = (path.to_string_lossy(), format!("damaged and left aside: {error}"));
            progress.event(Event::Notice { code: "state_damaged", subject: &subject, text: &text });
            fresh_state(&ThisMachine)
        }))
    }

    /// Remembers, if there is anything new. After a crash the file holds the old state or the new one.
    pub(super) fn write(&self, state: Option<TrustState>) -> Result<(), Error> {
        let (Some(path), Some(state)) = (&self.path, state) else { return Ok(()) };
        let bytes = state::to_bytes(&state);
        if read(path).ok().flatten().as_deref() == Some(&bytes[..]) {
            return Ok(());
        }
        replace(path, &bytes).map_err(|source| failed("write", path, source))
    }
}

fn failed(doing: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Io { doing, path: path.to_owned(), source }
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match fs::File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut bytes = Vec::new();
    file.take(STATE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(parent)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// A bucket of its own for each machine and place. It is never sent, like the random one it stands in for; who knows the
/// machine can compute it, and learns in which share of a roll-out it is.
fn derived_secret(app: &str, executable: &Path, machine: &[String]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_derive_key("lamplighter 1 rollout secret of a program without state");
    let path = executable.to_string_lossy();
    for part in [app, &path].into_iter().chain(machine.iter().map(String::as_str)) {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    let mut secret = [0; 16];
    hasher.finalize_xof().fill(&mut secret);
    secret
}

/// What tells this machine and user from others, as far as it can be had.
fn machine() -> Vec<String> {
    let ids = ["/etc/machine-id", "/var/lib/dbus/machine-id"].map(|path| fs::read_to_string(path).ok());
    let variables = ["COMPUTERNAME", "USERPROFILE", "HOME"].map(|name| std::env::var(name).ok());
    let host = host_name();
    ids.into_iter().chain(variables).flatten().chain(host).collect()
}

#[cfg(unix)]
fn host_name() -> Option<String> {
    Some(rustix::system::uname().nodename().to_string_lossy().into_owned())
}

#[cfg(not(unix))]
fn host_name() -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;

    #[test]
    fn a_state_file_is_written_and_read_back_and_damage_is_no_obstacle() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("state");
        let memory = Memory::new(Some(path.clone()), "app", Path::new("exe"));
        let mut state = memory.read(&Silent).expect("fresh");
        state.roots = vec![b"root".to_vec()];
        memory.write(Some(state.clone())).expect("written");
        assert_eq!(memory.read(&Silent).expect("there"), state);
        memory.write(None).expect("nothing new");
        fs::write(&path, b"damaged").expect("written");
        assert!(memory.read(&Silent).expect("fresh").roots.is_empty());
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1);
    }

    #[test]
    fn without_a_file_the_secret_is_stable_and_differs_by_machine_app_and_place() {
        let machine = |name: &str| vec![name.to_owned()];
        let base = derived_secret("app", Path::new("/a"), &machine("one"));
        assert_eq!(base, derived_secret("app", Path::new("/a"), &machine("one")));
        for other in [
            derived_secret("other", Path::new("/a"), &machine("one")),
            derived_secret("app", Path::new("/b"), &machine("one")),
            derived_secret("app", Path::new("/a"), &machine("two")),
        ] {
            assert_ne!(base, other);
        }
        let memory = Memory::new(None, "app", Path::new("/a"));
        let state = memory.read(&Silent).expect("derived");
        memory.write(Some(TrustState::default())).expect("nothing to write to");
        assert_eq!(memory.read(&Silent).expect("derived"), state);
    }
}
