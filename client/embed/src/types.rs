//! The structs and numbers of the interface. Part of the header; every comment here is read by authors of launchers.

use std::ffi::{c_char, c_void};

/// Version of this interface. It grows with each addition; what was there stays as it was.
pub const LAMPLIGHTER_ABI: u32 = 1;

/// Status: done.
pub const LAMPLIGHTER_OK: i32 = 0;
/// Status: none of the others.
pub const LAMPLIGHTER_OTHER: i32 = 1;
/// Status: the call makes no sense: a NULL or wrong argument, a closed handle, a handle that is busy, nothing installed.
pub const LAMPLIGHTER_USAGE: i32 = 2;
/// Status: the site could not be reached, or what came was not the site's. The app still runs; try again later.
pub const LAMPLIGHTER_NETWORK: i32 = 4;
/// Status: something is not signed, not for this app, or not what was signed. Nothing was changed.
pub const LAMPLIGHTER_NOT_TRUSTED: i32 = 5;
/// Status: the tree is damaged; lamplighter_heal() puts it right.
pub const LAMPLIGHTER_DAMAGED: i32 = 6;
/// Status: the disk is full, read-only or failing, or permissions are missing.
pub const LAMPLIGHTER_DISK: i32 = 7;
/// Status: another program is updating this tree; its lock ends with it.
pub const LAMPLIGHTER_LOCKED: i32 = 8;
/// Status: this library is too old for the site. The app still runs.
pub const LAMPLIGHTER_TOO_OLD: i32 = 10;
/// Status: stopped by lamplighter_cancel().
pub const LAMPLIGHTER_CANCELLED: i32 = 11;
/// Status: a defect of this library, or a callback that threw. The tree is as after a crash: old or new.
pub const LAMPLIGHTER_PANIC: i32 = 12;

/// State: there was nothing to do; `reason` and `text` say why.
pub const LAMPLIGHTER_NOTHING: u32 = 0;
/// State: a newer release is offered.
pub const LAMPLIGHTER_AVAILABLE: u32 = 1;
/// State: a newer release is staged whole; lamplighter_commit() needs no network.
pub const LAMPLIGHTER_READY: u32 = 2;
/// State: done.
pub const LAMPLIGHTER_DONE: u32 = 3;

/// Kind of event: a phase begins. `phase`, `total_bytes`.
pub const LAMPLIGHTER_STARTED: u32 = 1;
/// Kind of event: a phase goes on. `phase`, `done_bytes`, `total_bytes`.
pub const LAMPLIGHTER_ADVANCED: u32 = 2;
/// Kind of event: something a person or a log should hear of. `code`, `subject`, `text`.
pub const LAMPLIGHTER_NOTICE: u32 = 3;

/// Before a start: start the app; it has proved itself, or there is nothing to go back to.
pub const LAMPLIGHTER_START_PLAIN: u32 = 0;
/// Before a start: start the app; it is on probation. Call lamplighter_confirm_healthy() once it works.
pub const LAMPLIGHTER_START_PROBATION: u32 = 1;
/// Before a start: call lamplighter_rollback() first; the release was started too often without being confirmed.
pub const LAMPLIGHTER_START_GO_BACK: u32 = 2;

/// An opened tree. 0 is never one. A number that is not, or no longer, an opened tree is a LAMPLIGHTER_USAGE error
/// wherever it is passed.
pub type LamplighterHandle = u64;

/// What went wrong. Filled by every call that takes one, on success too (`status` LAMPLIGHTER_OK, texts empty). It lies in
/// the caller's memory; nothing of it is to be freed.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct LamplighterError {
    /// In: sizeof(LamplighterError).
    pub size: u32,
    /// What the call returned: the class of the error, to act on.
    pub status: i32,
    /// 1 if the same call may succeed later without anyone doing anything.
    pub may_retry: u32,
    /// 0.
    pub reserved: u32,
    /// Stable name of the cause, such as "E_SIGNATURE", for logs and reports.
    pub code: [c_char; 48],
    /// One sentence for people, in English; cut if it is longer.
    pub message: [c_char; 1024],
}

/// Where an app comes from, for lamplighter_install() and lamplighter_adopt(). Read only.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct LamplighterOrigin {
    /// In: sizeof(LamplighterOrigin).
    pub size: u32,
    /// 0.
    pub reserved: u32,
    /// URL or directory of the site.
    pub site: *const c_char,
    /// App id.
    pub app: *const c_char,
    /// Channel to follow.
    pub channel: *const c_char,
    /// Platform token; NULL: this machine's (lamplighter_platform()).
    pub platform: *const c_char,
    /// The root document to pin, whole, as the publisher gave it. Compile it into the launcher.
    pub root: *const u8,
    /// Its bytes.
    pub root_length: usize,
}

/// What a check found or a stage made ready.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct LamplighterOffer {
    /// In: sizeof(LamplighterOffer). Out: bytes filled.
    pub size: u32,
    /// LAMPLIGHTER_NOTHING, LAMPLIGHTER_AVAILABLE or LAMPLIGHTER_READY.
    pub state: u32,
    /// Build of the newer release; 0 if there is none.
    pub build: u64,
    /// LAMPLIGHTER_READY: the build it was staged for; 0 if none is recorded.
    pub from_build: u64,
    /// Version of the newer release, for people.
    pub version: [c_char; 264],
    /// LAMPLIGHTER_NOTHING: stable name of the reason: "up_to_date", "no_release", "below_floor", "halted", "bad_build",
    /// "failed_here", "not_yet", "stale", "root_expired"; "not_staged" from lamplighter_prepared().
    pub reason: [c_char; 32],
    /// The same for people.
    pub text: [c_char; 256],
}

/// What a deployment did.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct LamplighterReport {
    /// In: sizeof(LamplighterReport). Out: bytes filled.
    pub size: u32,
    /// LAMPLIGHTER_DONE, or LAMPLIGHTER_NOTHING with `reason` and `text`.
    pub state: u32,
    /// Build the tree is at now; 0 for LAMPLIGHTER_NOTHING.
    pub build: u64,
    /// Files written.
    pub files_written: u64,
    /// Files removed.
    pub files_removed: u64,
    /// Bytes of the files written.
    pub written_bytes: u64,
    /// Bytes received from the site.
    pub received_bytes: u64,
    /// Requests made.
    pub requests: u64,
    /// Edited or foreign files that were moved out of the way; the JSON text names them.
    pub kept_aside: u64,
    /// Listed files left as the user edited them; the JSON text names them.
    pub left_edited: u64,
    /// Version the tree is at now, for people.
    pub version: [c_char; 264],
    /// Where content came from: "nothing", "pack", "objects", "pack+objects".
    pub route: [c_char; 16],
    /// As in LamplighterOffer.
    pub reason: [c_char; 32],
    /// As in LamplighterOffer.
    pub text: [c_char; 256],
}

/// What comparing a tree with its manifest found.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct LamplighterVerified {
    /// In: sizeof(LamplighterVerified). Out: bytes filled.
    pub size: u32,
    /// 0.
    pub reserved: u32,
    /// Build recorded as installed.
    pub build: u64,
    /// Rows of its manifest.
    pub rows: u64,
    /// Rows that are not as released and should be; the JSON text names them.
    pub damaged: u64,
    /// Rows that are not as released and need not be: the user may edit them.
    pub edited: u64,
    /// Bytes of files read.
    pub read_bytes: u64,
    /// Version recorded as installed, for people.
    pub version: [c_char; 264],
}

/// What is known of a tree without asking its site.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct LamplighterTree {
    /// In: sizeof(LamplighterTree). Out: bytes filled.
    pub size: u32,
    /// 1 if a release is recorded as installed.
    pub installed: u32,
    /// Its build; 0 if none.
    pub build: u64,
    /// Build that is staged whole and waits for lamplighter_commit(); 0 if none.
    pub prepared_build: u64,
    /// Build that lamplighter_rollback() leads to; 0 if there is no way back.
    pub previous_build: u64,
    /// 1 if an update was cut off; the next call that changes the tree finishes or undoes it.
    pub unfinished: u32,
    /// 0.
    pub reserved: u32,
    /// Version recorded as installed, for people.
    pub version: [c_char; 264],
}

/// What is to be done before the app is started.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct LamplighterStart {
    /// In: sizeof(LamplighterStart). Out: bytes filled.
    pub size: u32,
    /// LAMPLIGHTER_START_PLAIN, LAMPLIGHTER_START_PROBATION or LAMPLIGHTER_START_GO_BACK.
    pub action: u32,
    /// LAMPLIGHTER_START_PROBATION: which start of this release it is, from 1.
    pub start: u64,
    /// How many starts without confirmation are allowed.
    pub starts_max: u64,
}

/// One report of a running call. Valid during the callback only: copy what is to be kept.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct LamplighterEvent {
    /// Bytes filled.
    pub size: u32,
    /// LAMPLIGHTER_STARTED, LAMPLIGHTER_ADVANCED or LAMPLIGHTER_NOTICE. Ignore others.
    pub kind: u32,
    /// Bytes done in this phase.
    pub done_bytes: u64,
    /// Bytes this phase will pass; 0 if that is not known.
    pub total_bytes: u64,
    /// "check", "plan", "download", "apply", "commit" or "verify"; never NULL.
    pub phase: *const c_char,
    /// LAMPLIGHTER_NOTICE: stable name of its kind, else ""; never NULL.
    pub code: *const c_char,
    /// LAMPLIGHTER_NOTICE: what it is about: a path, a name in the site, or ""; never NULL.
    pub subject: *const c_char,
    /// LAMPLIGHTER_NOTICE: one sentence for people, else ""; never NULL.
    pub text: *const c_char,
}

/// Called during a call, on the thread that made it, one event at a time. It should return quickly, and must return: it
/// may not throw, and may not jump out. It may call lamplighter_cancel(); any other call with the same handle is refused.
pub type LamplighterCallback = Option<unsafe extern "C-unwind" fn(event: *const LamplighterEvent, user: *mut c_void)>;

/// Text for a field of a struct: cut between two characters where it is too long, ended by NUL.
pub(crate) fn field<const N: usize>(text: &str) -> [c_char; N] {
    let mut out = [0; N];
    let mut end = text.len().min(N - 1);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    for (to, from) in out.iter_mut().zip(text.as_bytes()[..end].iter()) {
        *to = from.cast_signed() as c_char;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes of the first interface, on machines with 64-bit pointers. They may only grow.
    #[test]
    #[cfg(target_pointer_width = "64")]
    fn structs_have_no_hidden_gaps_and_keep_their_size() {
        assert_eq!(size_of::<LamplighterError>(), 4 * 4 + 48 + 1024);
        assert_eq!(size_of::<LamplighterOrigin>(), 8 + 6 * 8);
        assert_eq!(size_of::<LamplighterOffer>(), 8 + 2 * 8 + 264 + 32 + 256);
        assert_eq!(size_of::<LamplighterReport>(), 8 + 8 * 8 + 264 + 16 + 32 + 256);
        assert_eq!(size_of::<LamplighterVerified>(), 8 + 5 * 8 + 264);
        assert_eq!(size_of::<LamplighterTree>(), 8 + 3 * 8 + 8 + 264);
        assert_eq!(size_of::<LamplighterStart>(), 8 + 2 * 8);
        assert_eq!(size_of::<LamplighterEvent>(), 8 + 2 * 8 + 4 * 8);
    }

    #[test]
    fn a_text_too_long_is_cut_between_characters() {
        let bytes = |field: &[c_char]| field.iter().map(|c| *c as u8).collect::<Vec<_>>();
        assert_eq!(bytes(&field::<4>("abc")), b"abc\0");
        assert_eq!(bytes(&field::<4>("abcd")), b"abc\0");
        assert_eq!(bytes(&field::<4>("aéé")), [b'a', 0xc3, 0xa9, 0]);
        assert_eq!(bytes(&field::<3>("aé")), [b'a', 0, 0]);
        assert_eq!(bytes(&field::<1>("é")), [0]);
    }
}
