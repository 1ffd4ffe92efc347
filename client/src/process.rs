//! Other processes: whether one still runs, and which run programs of a tree.
//!
//! A process number alone says little, since systems use them again. What tells two processes of one number apart is when
//! they began; on Linux a descriptor of the process serves as well, and a process that started us can be held on to by the
//! pipe it gave us ([`Watched::from_pipe`]): the system closes it when the process ends, however it ends.

use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often a process is looked at.
const POLL: Duration = Duration::from_millis(50);

/// How long a program is waited for that is open for writing.
const BUSY_WAIT: Duration = Duration::from_secs(5);

/// Starts a program, also one that was written a moment ago.
///
/// A process with several threads gives each process it starts a copy of the handle another thread writes a program by, until
/// that process calls `exec`; while such a copy is open, the system starts no process from that program (`ETXTBSY`,
/// execve(2)). It passes by itself, so it is waited for.
///
/// # Errors
/// What the system says; of a program that stays open for writing, after some seconds.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    let until = Instant::now() + BUSY_WAIT;
    loop {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && Instant::now() < until => {
                std::thread::sleep(POLL);
            }
            other => return other,
        }
    }
}

/// A process somebody waits for.
#[derive(Debug)]
pub struct Watched {
    pid: u32,
    started: Option<String>,
    pipe_closed: Option<Arc<AtomicBool>>,
}

impl Watched {
    /// The process `pid`, which began at `started`, as [`started`] told.
    pub fn new(pid: u32, started: Option<String>) -> Self {
        Self { pid, started, pipe_closed: None }
    }

    /// The same process, whose end closes `pipe`; nothing but its end does. `pipe` is read on a thread of its own.
    pub fn from_pipe(mut self, mut pipe: impl Read + Send + 'static) -> Self {
        let closed = Arc::new(AtomicBool::new(false));
        let flag = closed.clone();
        std::thread::spawn(move || {
            let mut byte = [0];
            while matches!(pipe.read(&mut byte), Ok(count) if count > 0) {}
            flag.store(true, Ordering::Release);
        });
        self.pipe_closed = Some(closed);
        self
    }

    /// Whether it still runs.
    pub fn is_running(&self) -> bool {
        if self.pipe_closed.as_ref().is_some_and(|closed| closed.load(Ordering::Acquire)) {
            return false;
        }
        match (started(self.pid), &self.started) {
            (Known::Gone, _) => false,
            (Known::Began(now), Some(then)) => now == *then,
            (Known::Began(_) | Known::Unknown, _) => true,
        }
    }

    /// Waits for its end for at most `wait`, or until `stop` says so; true if it has ended.
    pub fn wait(&self, wait: Duration, stop: impl Fn() -> bool) -> bool {
        let until = Instant::now() + wait;
        loop {
            if !self.is_running() {
                return true;
            }
            if stop() || Instant::now() >= until {
                return false;
            }
            std::thread::sleep(POLL);
        }
    }
}

/// What the system tells of a process number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// No process has it, or only one that has ended.
    Gone,
    /// A process has it, and began then: a text that is equal only for the same process.
    Began(String),
    /// A process has it.
    Unknown,
}

/// When the process `pid` began.
pub fn started(pid: u32) -> Known {
    system::started(pid)
}

/// Processes other than this one that run a program below `tree`, a path without links; empty where the system does not
/// tell.
pub fn running_from(tree: &Path) -> Vec<u32> {
    let own = std::process::id();
    system::running_from(tree).into_iter().filter(|pid| *pid != own).collect()
}

#[cfg(target_os = "linux")]
mod system {
    use std::path::Path;

    use super::Known;

    /// Field 22 of `/proc/<pid>/stat`: ticks between the start of the machine and that of the process.
    pub(super) fn started(pid: u32) -> Known {
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return Known::Gone };
        // The second field is the program's name in parentheses, and may hold any character.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let mut fields = after_name.split_ascii_whitespace();
        match (fields.next(), fields.nth(18)) {
            // It has ended, and its parent has not asked how.
            (Some("Z" | "X"), _) => Known::Gone,
            (Some(_), Some(ticks)) => Known::Began(ticks.to_owned()),
            _ => Known::Unknown,
        }
    }

    pub(super) fn running_from(tree: &Path) -> Vec<u32> {
        let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
        let pid = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
        let runs = |pid: &u32| {
            std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|program| program.starts_with(tree))
                && started(*pid) != Known::Gone
        };
        entries.flatten().filter_map(pid).filter(runs).collect()
    }
}

#[cfg(windows)]
mod system {
    use std::path::Path;

    use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};

    use super::Known;

    pub(super) fn started(pid: u32) -> Known {
        let (mut system, pid) = (System::new(), Pid::from_u32(pid));
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, ProcessRefreshKind::nothing());
        match system.process(pid) {
            Some(process) if process.start_time() > 0 => Known::Began(process.start_time().to_string()),
            Some(_) => Known::Unknown,
            None => Known::Gone,
        }
    }

    pub(super) fn running_from(tree: &Path) -> Vec<u32> {
        // Both sides in the same form, whatever form the caller has.
        let Ok(tree) = std::fs::canonicalize(tree) else { return Vec::new() };
        let mut system = System::new();
        let what = ProcessRefreshKind::nothing().with_exe(UpdateKind::Always);
        system.refresh_processes_specifics(ProcessesToUpdate::All, true, what);
        let below = |program: &Path| std::fs::canonicalize(program).is_ok_and(|program| program.starts_with(&tree));
        let running = system.processes().iter().filter(|(_, process)| process.exe().is_some_and(below));
        running.map(|(pid, _)| pid.as_u32()).collect()
    }
}

#[cfg(all(unix, not(target_os = "linux")))]
mod system {
    use std::path::Path;

    use rustix::process::{Pid, test_kill_process};

    use super::Known;

    pub(super) fn started(pid: u32) -> Known {
        let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Known::Gone };
        match test_kill_process(pid) {
            Err(rustix::io::Errno::SRCH) => Known::Gone,
            _ => Known::Unknown,
        }
    }

    pub(super) fn running_from(_: &Path) -> Vec<u32> {
        Vec::new()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_is_waited_for_until_it_ends() {
        let mut child = Command::new("sleep").arg("0.3").spawn().expect("started");
        let Known::Began(began) = started(child.id()) else { panic!("it runs") };
        let watched = Watched::new(child.id(), Some(began));
        assert!(!watched.wait(Duration::from_millis(60), || false), "it still runs");
        assert!(!watched.wait(Duration::from_secs(5), || true), "asked to stop");
        assert!(watched.wait(Duration::from_secs(5), || false), "a zombie has ended, too");
        child.wait().expect("waited");
        assert_eq!(started(child.id()), Known::Gone);
    }

    #[test]
    fn a_later_process_of_the_same_number_is_another() {
        let mut child = Command::new("sleep").arg("5").spawn().expect("started");
        assert!(Watched::new(child.id(), None).is_running());
        assert!(!Watched::new(child.id(), Some("1".into())).is_running(), "began at another time");
        child.kill().and_then(|()| child.wait()).expect("ended");
    }

    #[test]
    fn the_end_of_a_process_closes_the_pipe_it_held() {
        let mut child = Command::new("sleep").arg("0.2").stdout(Stdio::piped()).spawn().expect("started");
        // This very process lives on, but the pipe tells otherwise.
        let watched = Watched::new(std::process::id(), None).from_pipe(child.stdout.take().expect("a pipe"));
        assert!(watched.is_running());
        assert!(watched.wait(Duration::from_secs(5), || false));
        child.wait().expect("waited");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_program_somebody_still_has_open_for_writing_is_waited_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let program = dir.path().join("true");
        std::fs::copy("/bin/true", &program).expect("copied");
        let open = std::fs::File::options().append(true).open(&program).expect("opened");
        let busy = Command::new(&program).spawn().expect_err("it is being written");
        assert_eq!(busy.kind(), io::ErrorKind::ExecutableFileBusy);
        let closing = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            drop(open);
        });
        assert!(spawn(&mut Command::new(&program)).and_then(|mut child| child.wait()).expect("started").success());
        closing.join().expect("closed");
    }

    #[test]
    fn programs_that_run_from_a_tree_are_found() {
        let dir = tempfile::tempdir().expect("a directory");
        let tree = std::fs::canonicalize(dir.path()).expect("a path");
        assert!(running_from(&tree).is_empty());
        let program = tree.join("sleeper");
        std::fs::copy("/bin/sleep", &program).expect("copied");
        let mut child = spawn(Command::new(&program).arg("5")).expect("started");
        let found = running_from(&tree);
        child.kill().and_then(|()| child.wait()).expect("ended");
        assert_eq!(found, [child.id()]);
    }
}
