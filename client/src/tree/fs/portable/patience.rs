//! Waiting for other programs: scanners, indexers and editors hold files, and let go of them soon.

use std::io;
use std::time::Duration;

use crate::tree::fs::{FsError, Place};

/// Waits between tries while another program holds a file: 9.15 s in all.
const HELD_WAITS_MS: [u64; 9] = [50, 100, 200, 400, 800, 1600, 2000, 2000, 2000];
/// How many of them are spent on a refusal that may not end: 1.55 s.
const DENIED_WAITS: usize = 5;

/// Why a call was refused that may be allowed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// Another program holds the file, and lets nobody else have it.
    Held,
    /// Another program runs it or is about to let go of it; or a right is missing.
    Denied,
}

/// Sharing and lock violations have no kind of their own.
fn refusal(error: &io::Error) -> Option<Refusal> {
    const SHARING_VIOLATION: i32 = 32;
    const LOCK_VIOLATION: i32 = 33;
    match error.raw_os_error() {
        Some(SHARING_VIOLATION | LOCK_VIOLATION) if cfg!(windows) => Some(Refusal::Held),
        _ if error.kind() == io::ErrorKind::PermissionDenied => Some(Refusal::Denied),
        _ => None,
    }
}

pub(super) fn is_held(error: &io::Error) -> bool {
    refusal(error).is_some()
}

/// Milliseconds to wait before the call is made once more, after it failed `failures` times; nothing to give up.
fn wait_ms(refusal: Option<Refusal>, failures: usize) -> Option<u64> {
    let waits_max = match refusal? {
        Refusal::Held => HELD_WAITS_MS.len(),
        Refusal::Denied => DENIED_WAITS,
    };
    HELD_WAITS_MS[..waits_max].get(failures - 1).copied()
}

/// Makes the call `name`, and again at growing distances while another program holds the file.
pub(super) fn patiently<T>(
    name: &'static str,
    place: &Place,
    mut call: impl FnMut() -> io::Result<T>,
) -> Result<T, FsError> {
    let (mut failures, mut waited_ms) = (0, 0);
    loop {
        let error = match call() {
            Ok(done) => return Ok(done),
            Err(e) => e,
        };
        failures += 1;
        let why = refusal(&error).filter(|_| cfg!(windows));
        match wait_ms(why, failures) {
            Some(ms) => {
                std::thread::sleep(Duration::from_millis(ms));
                waited_ms += ms;
            }
            None => return Err(failed(name, place, waited_ms, error)),
        }
    }
}

pub(super) fn failed(call: &'static str, place: &Place, waited_ms: u64, source: io::Error) -> FsError {
    match refusal(&source) {
        Some(Refusal::Held) => FsError::Held { call, place: place.clone(), waited_ms, source },
        _ => FsError::io(call, place, source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits_ms(refusal: Refusal) -> Vec<u64> {
        (1..).map_while(|failures| wait_ms(Some(refusal), failures)).collect()
    }

    #[test]
    fn the_waits_are_bounded() {
        assert_eq!(waits_ms(Refusal::Held).iter().sum::<u64>(), 9150);
        assert_eq!(waits_ms(Refusal::Denied).iter().sum::<u64>(), 1550);
        assert_eq!(wait_ms(None, 1), None, "any other error is told at once");
    }

    #[test]
    fn a_call_that_succeeds_or_fails_for_another_reason_is_made_once() {
        let at = Place::tree_root();
        for kind in [None, Some(io::ErrorKind::NotFound)] {
            let mut calls = 0;
            let result = patiently("open", &at, || {
                calls += 1;
                kind.map_or(Ok(()), |kind| Err(kind.into()))
            });
            assert_eq!((calls, result.is_ok()), (1, kind.is_none()));
        }
    }

    #[cfg(windows)]
    #[test]
    fn a_call_is_made_until_the_file_is_let_go_of() {
        let mut calls = 0;
        let done = patiently("open", &Place::tree_root(), || {
            calls += 1;
            if calls < 4 { Err(io::Error::from_raw_os_error(32)) } else { Ok(()) }
        });
        assert!(done.is_ok() && calls == 4);
    }
}
