//! The structs and numbers of the interface. Part of the header; every comment here is read by authors of launchers.

use std::ffi::{c_char, c_void};

/// Version of this interface. It grows with each addition; what was there stays as it was.
pub const LAMPLIGHTER_ABI: u32 = 2;

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
/// Kind of event: something to show to the user, from lamplighter_launch(). `text`, `percent`.
pub const LAMPLIGHTER_MESSAGE: u32 = 4;
/// Kind of event: update now? `build`, `version`, `installed_version`, `needs_restart`; a sentence for the user in `text`.
/// The callback returns LAMPLIGHTER_YES, LAMPLIGHTER_LATER or LAMPLIGHTER_SKIP.
pub const LAMPLIGHTER_QUESTION: u32 = 5;
/// Kind of event: build resources and put them in place (LAMPLIGHTER_BUILD_AND_DEPLOY). The callback returns 0 if that is
/// done, else any other number.
pub const LAMPLIGHTER_BUILD: u32 = 6;

/// Answer: update now. What a launcher without a callback answers.
pub const LAMPLIGHTER_YES: i32 = 0;
/// Answer: not this time.
pub const LAMPLIGHTER_LATER: i32 = 1;
/// Answer: do not ask for this build again.
pub const LAMPLIGHTER_SKIP: i32 = 2;

/// Resources at each start: nothing is done with them.
pub const LAMPLIGHTER_LEAVE: u32 = 0;
/// Resources at each start: a developer's callback builds them (LAMPLIGHTER_BUILD).
pub const LAMPLIGHTER_BUILD_AND_DEPLOY: u32 = 1;
/// Resources at each start: compared with the manifest; what differs is fetched.
pub const LAMPLIGHTER_VERIFY_AND_DEPLOY: u32 = 2;
/// Resources at each start: all of them are fetched, whatever is there.
pub const LAMPLIGHTER_ALWAYS_DEPLOY: u32 = 3;

/// What the launcher does next: run the app. Confirm it once it works (lamplighter_confirm_healthy()).
pub const LAMPLIGHTER_RUN: u32 = 0;
/// What the launcher does next: end. The patcher waits for that, and starts the new version.
pub const LAMPLIGHTER_HANDED_OVER: u32 = 1;
/// What the launcher does next: end. The app was started elsewhere, or anew.
pub const LAMPLIGHTER_APP_STARTED: u32 = 2;
/// What the launcher does next: start itself again; it was replaced, and the release names nothing to start.
pub const LAMPLIGHTER_RESTART: u32 = 3;
/// What the launcher does next: end. Another program is updating.
pub const LAMPLIGHTER_END_LOCKED: u32 = 4;
/// What the launcher does next: end. The app must be downloaded afresh.
pub const LAMPLIGHTER_UPDATE_REQUIRED: u32 = 5;

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
    /// "failed_here", "held", "not_yet", "stale", "root_expired"; "not_staged" from lamplighter_prepared().
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
    /// Where this call took content from: "nothing", "pack", "objects", "pack+objects".
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
    /// LAMPLIGHTER_STARTED, LAMPLIGHTER_ADVANCED, LAMPLIGHTER_NOTICE, ... Ignore others, and return 0.
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
    /// LAMPLIGHTER_NOTICE, LAMPLIGHTER_MESSAGE, LAMPLIGHTER_QUESTION: one sentence for people, else ""; never NULL.
    pub text: *const c_char,
    /// LAMPLIGHTER_QUESTION: version of the offered release, else ""; never NULL.
    pub version: *const c_char,
    /// LAMPLIGHTER_QUESTION: version that is installed, or ""; never NULL.
    pub installed_version: *const c_char,
    /// LAMPLIGHTER_QUESTION: build of the offered release, else 0.
    pub build: u64,
    /// How much is done, 0 to 100; -1 if that is not known.
    pub percent: i32,
    /// LAMPLIGHTER_QUESTION: 1 if the app must be closed and started again for it.
    pub needs_restart: u32,
    /// LAMPLIGHTER_QUESTION: what is new, newest first, as Markdown: a heading with each version and its notes; else "".
    /// Never NULL.
    pub notes: *const c_char,
}

/// How an app was set up, for lamplighter_launch() and lamplighter_launch_updater(). Read only; zero is a good default.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct LamplighterSetup {
    /// In: sizeof(LamplighterSetup).
    pub size: u32,
    /// 1: refuse to run below the minimum build.
    pub check_minimum: u32,
    /// 1: look for updates.
    pub check_for_updates: u32,
    /// LAMPLIGHTER_LEAVE, LAMPLIGHTER_BUILD_AND_DEPLOY, LAMPLIGHTER_VERIFY_AND_DEPLOY or LAMPLIGHTER_ALWAYS_DEPLOY.
    pub resources: u32,
    /// Local storage the app is to run in, wherever it was started from; NULL: it runs where it is.
    pub local: *const c_char,
    /// Where local storage is filled from, if the tree does not say; else NULL.
    pub origin: *const LamplighterOrigin,
    /// A handle of the tree that holds the resources; 0: the app's own tree.
    pub resources_tree: LamplighterHandle,
    /// Build compiled into the program, for a tree without a record; else 0.
    pub compiled_build: u64,
    /// The program itself; NULL: what the system says. In an interpreter that is the interpreter: give the script's path.
    pub program: *const c_char,
    /// What the app is started with: an array of texts.
    pub arguments: *const *const c_char,
    /// Their number.
    pub argument_count: usize,
    /// Language of the notes in a question, such as "de"; NULL: "en".
    pub language: *const c_char,
}

/// What the launcher does next.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct LamplighterLaunched {
    /// In: sizeof(LamplighterLaunched). Out: bytes filled.
    pub size: u32,
    /// LAMPLIGHTER_RUN, LAMPLIGHTER_HANDED_OVER, LAMPLIGHTER_APP_STARTED, LAMPLIGHTER_RESTART, LAMPLIGHTER_END_LOCKED or
    /// LAMPLIGHTER_UPDATE_REQUIRED.
    pub action: u32,
    /// LAMPLIGHTER_HANDED_OVER: the build it leads to. LAMPLIGHTER_UPDATE_REQUIRED: the lowest that would do. Else 0.
    pub build: u64,
    /// Process of the patcher or of the app that was started; else 0.
    pub pid: u64,
    /// LAMPLIGHTER_RUN: which start of a release on probation it is, from 1; 0 if it is on none.
    pub start: u64,
}

/// Called during a call, on the thread that made it, one event at a time. It should return quickly, and must return: it
/// may not throw, and may not jump out. What it returns answers LAMPLIGHTER_QUESTION and LAMPLIGHTER_BUILD; for all other
/// kinds it is ignored, return 0. It may call lamplighter_cancel(); any other call with the same handle is refused.
pub type LamplighterCallback =
    Option<unsafe extern "C-unwind" fn(event: *const LamplighterEvent, user: *mut c_void) -> i32>;

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
        assert_eq!(size_of::<LamplighterEvent>(), 8 + 2 * 8 + 6 * 8 + 8 + 8 + 8);
        assert_eq!(size_of::<LamplighterSetup>(), 4 * 4 + 8 * 8);
        assert_eq!(size_of::<LamplighterLaunched>(), 8 + 3 * 8);
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
