//! The functions of the interface: pointers in, pointers out. The only module with unsafe code.
//!
//! # Safety
//!
//! What the header promises the caller, and asks of it, is what makes the unsafe blocks here right:
//!
//! * A pointer to a text is NULL or leads to bytes that end with NUL and do not change during the call.
//! * A pointer to a struct is NULL or leads to at least as many bytes as its first field, `size`, says; it need not be
//!   aligned. No more than that is read or written ([`pointers`]).
//! * `json` is NULL or leads to a pointer that may be overwritten.
//! * A callback is NULL or a function of the type given.
//!
//! A NULL where something is needed, a text that is not UTF-8 and a size that cannot be are errors. Results are written on
//! the calling thread, after all work has ended; nothing foreign is touched after the return, and no pointer but the
//! callback's `user` is kept during it. No panic leaves [`guarded`].

#![allow(unsafe_code)]
// The comments of the functions become the C header; what they ask of a caller is said once, above and in its head.
#![allow(clippy::missing_safety_doc)]

mod pointers;

use std::ffi::{CStr, CString, c_char, c_void};
use std::sync::OnceLock;
use std::time::Duration;

use lamplighter_client::updater::Origin;

use crate::bridge::Deliver;
use crate::fault::Fault;
use crate::types::*;
use crate::{calls, handles, launching};
use pointers::{Callback, Json, Out, bytes, guarded, optional_text, text, texts};

/// Version of the interface the library was built with. A launcher built against LAMPLIGHTER_ABI runs with this version
/// and every later one.
#[unsafe(no_mangle)]
pub extern "C" fn lamplighter_abi_version() -> u32 {
    LAMPLIGHTER_ABI
}

/// Version of the library, for people. Not to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn lamplighter_version() -> *const c_char {
    const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => c"",
    };
    VERSION.as_ptr()
}

/// Platform token of this machine, such as "linux-x86_64". Not to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn lamplighter_platform() -> *const c_char {
    static PLATFORM: OnceLock<CString> = OnceLock::new();
    PLATFORM.get_or_init(|| CString::new(Origin::host_platform()).unwrap_or_default()).as_ptr()
}

/// Opens the tree in the directory `tree`, whether or not anything is installed there yet. Reads and changes nothing.
///
/// `state`: its state directory if not `.lamplighter` in the tree; on the same volume; else NULL. `proxy`: "http://host:port",
/// "https://", "socks5://" or "socks5h://", with credentials if need be; "" for no proxy whatever the environment says; NULL:
/// HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, else the system's settings. `handle`: gets the handle, 0 on failure.
/// Close it with lamplighter_close().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lamplighter_open(
    tree: *const c_char,
    state: *const c_char,
    proxy: *const c_char,
    handle: *mut LamplighterHandle,
    error: *mut LamplighterError,
) -> i32 {
    // SAFETY: as the head of this module says; `handle` is NULL or leads to room for a handle.
    unsafe {
        guarded(error, || {
            if handle.is_null() {
                return Err(Fault::usage("E_ARGUMENT", "handle is NULL"));
            }
            handle.write_unaligned(0);
            let opened =
                calls::open(text("tree", tree)?, optional_text("state", state)?, optional_text("proxy", proxy)?)?;
            handle.write_unaligned(opened);
            Ok(())
        })
    }
}

/// Closes a handle. Closing 0, or one that is closed, does nothing. A call that is running with it goes on to its end.
#[unsafe(no_mangle)]
pub extern "C" fn lamplighter_close(handle: LamplighterHandle) {
    handles::remove(handle);
}

/// Asks the call that is running with this handle, and all later ones, to stop at the next safe point: they return
/// LAMPLIGHTER_CANCELLED. What was fetched is kept for the next time. May be called at any time from any thread, and from
/// a callback. LAMPLIGHTER_USAGE if the handle is closed.
#[unsafe(no_mangle)]
pub extern "C" fn lamplighter_cancel(handle: LamplighterHandle) -> i32 {
    status(handles::get(handle).map(|opened| opened.cancel().cancel()))
}

/// Takes a cancel back for calls that begin from now on. To be called before a call that a user may cancel, by the thread
/// that will also cancel it: so no cancel is lost.
#[unsafe(no_mangle)]
pub extern "C" fn lamplighter_clear_cancel(handle: LamplighterHandle) -> i32 {
    status(handles::get(handle).map(|opened| opened.clear_cancel()))
}

/// Follows another channel with this handle; an installed tree remembers it once an update from there was verified.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lamplighter_follow(
    handle: LamplighterHandle,
    channel: *const c_char,
    error: *mut LamplighterError,
) -> i32 {
    // SAFETY: as the head of this module says.
    unsafe { guarded(error, || calls::follow(handle, text("channel", channel)?)) }
}

/// Says whether calls with this handle, from the next one on, may install, stage and heal on a network share: `allowed` 1 or
/// 0, which is what a new handle has. Without it they are refused there with LAMPLIGHTER_DISK and the code
/// "E_NETWORK_SHARE", since others may change a file after it was verified. The app that is installed still runs.
#[unsafe(no_mangle)]
pub extern "C" fn lamplighter_allow_network_share(handle: LamplighterHandle, allowed: u32) -> i32 {
    status(handles::get(handle).map(|opened| opened.allow_network_share(allowed != 0)))
}

/// Installs the release a channel offers into the tree's directory, which is made if it is not there. A call that was cut
/// off is gone on with by the next. LAMPLIGHTER_USAGE if something is installed already.
///
/// This and all following functions: `callback` is called with events and `user`, NULL: not wanted; `report` (`offer`,
/// `verified`, ...) is filled on success, NULL: not wanted; `json` gets the same and more as JSON text, NULL: not wanted,
/// else NULL on failure, and to be freed with lamplighter_free_text(); `error` is filled in any case, NULL: not wanted.
/// Returns a status, LAMPLIGHTER_OK or what went wrong.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lamplighter_install(
    handle: LamplighterHandle,
    origin: *const LamplighterOrigin,
    callback: LamplighterCallback,
    user: *mut c_void,
    report: *mut LamplighterReport,
    json: *mut *mut c_char,
    error: *mut LamplighterError,
) -> i32 {
    // SAFETY: as the head of this module says.
    unsafe {
        told(callback, user, report, json, error, |deliver| calls::install(handle, read_origin(origin)?, deliver))
    }
}

/// Takes over a tree that was installed by other means: recognises its release by what is on disk, and records it. Changes
/// no file of the app.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lamplighter_adopt(
    handle: LamplighterHandle,
    origin: *const LamplighterOrigin,
    callback: LamplighterCallback,
    user: *mut c_void,
    report: *mut LamplighterReport,
    json: *mut *mut c_char,
    error: *mut LamplighterError,
) -> i32 {
    // SAFETY: as the head of this module says.
    unsafe { told(callback, user, report, json, error, |deliver| calls::adopt(handle, read_origin(origin)?, deliver)) }
}

/// Asks the site whether there is a newer release: one request as a rule. LAMPLIGHTER_AVAILABLE or LAMPLIGHTER_NOTHING.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lamplighter_check(
    handle: LamplighterHandle,
    callback: LamplighterCallback,
    user: *mut c_void,
    offer: *mut LamplighterOffer,
    json: *mut *mut c_char,
    error: *mut LamplighterError,
) -> i32 {
    // SAFETY: as the head of this module says.
    unsafe { told(callback, user, offer, json, error, |deliver| calls::check(handle, deliver)) }
}

/// Does all of an update but the commit; the app may run and sees nothing of it. LAMPLIGHTER_READY or LAMPLIGHTER_NOTHING. A
/// call that was cut off, by a cancel, an error or a crash, is gone on with by the next.
///
/// `from`: URL or directory to take content from instead of the site, or NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lamplighter_stage(
    handle: LamplighterHandle,
    from: *const c_char,
    callback: LamplighterCallback,
    user: *mut c_void,
    offer: *mut LamplighterOffer,
    json: *mut *mut c_char,
    error: *mut LamplighterError,
) -> i32 {
    // SAFETY: as the head of this module says.
    unsafe {
        told(callback, user, offer, json, error, |deliver| calls::stage(handle, optional_text("from", from)?, deliver))
    }
}

/// Gives the release notes of the offered release, one entry for each build that is skipped over, in `language` ("de",
/// "pt-BR") where there are such, else in another: a JSON list of `build`, `version` and `text`, which is Markdown. Empty
/// without an offer, or without notes. Raw HTML in the text is text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lamplighter_notes(
    handle: LamplighterHandle,
    language: *const c_char,
    json: *mut *mut c_char,
    error: *mut LamplighterError,
) -> i32 {
    // SAFETY: as the head of this module says.
    unsafe {
        guarded(error, || {
            let json = Json::new(json);
            json.write(&calls::notes(handle, text("language", language)?)?);
            Ok(())
        })
    }
}

/// Says what is staged whole and waits for its commit: LAMPLIGHTER_READY or LAMPLIGHTER_NOTHING. Asks no site.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lamplighter_prepared(
    handle: LamplighterHandle,
    offer: *mut LamplighterOffer,
    json: *mut *mut c_char,
    error: *mut LamplighterError,
) -> i32 {
    // SAFETY: as the head of this module says.
    unsafe { told(None, NOBODY, offer, json, error, |_| calls::prepared(handle)) }
}

/// Gives up what is staged, and what was fetched for it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lamplighter_discard(handle: LamplighterHandle, error: *mut LamplighterError) -> i32 {
    // SAFETY: as the head of this module says.
    unsafe { guarded(error, || calls::discard(handle)) }
}

/// Brings the tree to what was staged. The app should not run. Needs the site only for files the user took away or edited
/// meanwhile. After a crash at any moment the next call that changes the tree finishes the commit or undoes it: the tree
/// is the old release or the new one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lamplighter_commit(
    handle: LamplighterHandle,
    callback: LamplighterCallback,
    user: *mut c_void,
    report: *mut LamplighterReport,
    json: *mut *mut c_char,
    error: *mut LamplighterError,
) -> i32 {
    // SAFETY: as the head of this module says.
    unsafe { told(callback, user, report, json, error, |deliver| calls::commit(handle, deliver)) }
}

/// Stages and commits in one call. LAMPLIGHTER_DONE or LAMPLIGHTER_NOTHING. `from` as for lamplighter_stage().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lamplighter_update(
    handle: LamplighterHandle,
    from: *const c_char,
    callback: LamplighterCallback,
    user: *mut c_void,
    report: *mut LamplighterReport,
    json: *mut *mut c_char,
    error: *mut LamplighterError,
) -> i32 {
    // SAFETY: as the head of this module says.
    unsafe {
        told(callback, user, report, json, error, |deliver| {
            calls::update(handle, optional_text("from", from)?, deliver)
        })
    }
}

/// Brings every listed file back to what the installed release says. Asks the site only for content that is not in the
/// tree. `from` as for lamplighter_stage().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lamplighter_heal(
    handle: LamplighterHandle,
    from: *const c_char,
    callback: LamplighterCallback,
    user: *mut c_void,
    report: *mut LamplighterReport,
    json: *mut *mut c_char,
    error: *mut LamplighterError,
) -> i32 {
    // SAFETY: as the head of this module says.
    unsafe {
        told(callback, user, report, json, error, |deliver| calls::heal(handle, optional_text("from", from)?, deliver))
    }
}

/// Goes back to the last confirmed release, without the site as a rule. The build it leaves is not installed here again.
/// LAMPLIGHTER_OTHER if there is no way back.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lamplighter_rollback(
    handle: LamplighterHandle,
    callback: LamplighterCallback,
    user: *mut c_void,
    report: *mut LamplighterReport,
    json: *mut *mut c_char,
    error: *mut LamplighterError,
) -> i32 {
    // SAFETY: as the head of this module says.
    unsafe { told(callback, user, report, json, error, |deliver| calls::rollback(handle, deliver)) }
}

/// The installed release works: the way back is closed, and its space is free again. To be called by the app, or by its
/// launcher, once the new release has proved itself. Does nothing if it has already.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lamplighter_confirm_healthy(handle: LamplighterHandle, error: *mut LamplighterError) -> i32 {
    // SAFETY: as the head of this module says.
    unsafe { guarded(error, || calls::confirm_healthy(handle)) }
}

/// Counts a start of the installed release. To be called by a launcher before it starts the app; the count is durable when
/// this returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lamplighter_count_start(
    handle: LamplighterHandle,
    start: *mut LamplighterStart,
    error: *mut LamplighterError,
) -> i32 {
    // SAFETY: as the head of this module says.
    unsafe {
        guarded(error, || {
            let start = Out::new("start", start)?;
            start.write(calls::count_start(handle)?);
            Ok(())
        })
    }
}

/// The user does not want to be asked for `build` again. A launcher finds these builds in the JSON of lamplighter_status().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lamplighter_skip(handle: LamplighterHandle, build: u64, error: *mut LamplighterError) -> i32 {
    // SAFETY: as the head of this module says.
    unsafe { guarded(error, || calls::skip(handle, build)) }
}

/// Compares every listed file with the installed release, by BLAKE3 and, if `with_crc` is not 0, by its pair of CRCs too.
/// Damaged files are no error of the call: `verified` counts them, the JSON text names them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lamplighter_verify(
    handle: LamplighterHandle,
    with_crc: u32,
    callback: LamplighterCallback,
    user: *mut c_void,
    verified: *mut LamplighterVerified,
    json: *mut *mut c_char,
    error: *mut LamplighterError,
) -> i32 {
    // SAFETY: as the head of this module says.
    unsafe { told(callback, user, verified, json, error, |deliver| calls::verify(handle, with_crc != 0, deliver)) }
}

/// Says what is known of the tree without asking its site. A tree in which nothing is installed is no error: all is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lamplighter_status(
    handle: LamplighterHandle,
    tree: *mut LamplighterTree,
    json: *mut *mut c_char,
    error: *mut LamplighterError,
) -> i32 {
    // SAFETY: as the head of this module says.
    unsafe { told(None, NOBODY, tree, json, error, |_| calls::status(handle)) }
}

/// Decides what a program does at its start, and does it: recovers, looks for an update, asks (LAMPLIGHTER_QUESTION), stages,
/// hands over to the patcher or commits, sees to resources, counts the start, goes back from a release that never proved
/// itself. What goes wrong with an update alone is told (LAMPLIGHTER_MESSAGE), and the app runs as it is.
///
/// The program then does what `launched` says. LAMPLIGHTER_RUN in a program that is not the app itself: start the app, which
/// the JSON of lamplighter_status() names as `entry`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lamplighter_launch(
    handle: LamplighterHandle,
    setup: *const LamplighterSetup,
    callback: LamplighterCallback,
    user: *mut c_void,
    launched: *mut LamplighterLaunched,
    json: *mut *mut c_char,
    error: *mut LamplighterError,
) -> i32 {
    // SAFETY: as the head of this module says.
    unsafe {
        told(callback, user, launched, json, error, |deliver| {
            launching::launch(handle, read_setup(setup)?, None, deliver)
        })
    }
}

/// The same for a program that only updates the app, or installs it, and starts it. Waits for at most `wait_ms` milliseconds
/// if another program is updating. Asks nothing. Whatever stops the update is an error, and then nothing is started.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lamplighter_launch_updater(
    handle: LamplighterHandle,
    setup: *const LamplighterSetup,
    wait_ms: u64,
    callback: LamplighterCallback,
    user: *mut c_void,
    launched: *mut LamplighterLaunched,
    json: *mut *mut c_char,
    error: *mut LamplighterError,
) -> i32 {
    // SAFETY: as the head of this module says.
    unsafe {
        told(callback, user, launched, json, error, |deliver| {
            launching::launch(handle, read_setup(setup)?, Some(Duration::from_millis(wait_ms)), deliver)
        })
    }
}

/// Frees a text that was given through `json`. NULL does nothing. To be called once for each, and for nothing else.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lamplighter_free_text(text: *mut c_char) {
    if !text.is_null() {
        // SAFETY: the text came from `Json::write`, and is given back once.
        drop(unsafe { CString::from_raw(text) });
    }
}

fn status(result: Result<(), Fault>) -> i32 {
    result.map_or_else(|fault| fault.status, |()| LAMPLIGHTER_OK)
}

const NOBODY: *mut c_void = std::ptr::null_mut();

/// A call that tells a struct and a JSON text. Where they go is checked before anything is done.
///
/// # Safety
/// As the head of this module says.
unsafe fn told<T: pointers::Record>(
    callback: LamplighterCallback,
    user: *mut c_void,
    out: *mut T,
    json: *mut *mut c_char,
    error: *mut LamplighterError,
    call: impl FnOnce(Deliver<'_>) -> calls::Told<T>,
) -> i32 {
    // SAFETY: the caller's promise.
    unsafe {
        guarded(error, || {
            let json = Json::new(json);
            let out = Out::new(T::NAME, out)?;
            let callback = callback.map(|function| Callback::new(function, user));
            let (record, text) = match callback {
                Some(callback) => call(Some(&mut |event| callback.call(event)))?,
                None => call(None)?,
            };
            out.write(record);
            json.write(&text);
            Ok(())
        })
    }
}

/// # Safety
/// As the head of this module says.
unsafe fn read_origin(origin: *const LamplighterOrigin) -> Result<Origin, Fault> {
    // SAFETY: the caller's promise.
    unsafe {
        let origin = pointers::read("origin", origin)?;
        Ok(Origin {
            site: text("origin.site", origin.site)?.to_owned(),
            app: text("origin.app", origin.app)?.to_owned(),
            channel: text("origin.channel", origin.channel)?.to_owned(),
            platform: optional_text("origin.platform", origin.platform)?
                .map_or_else(Origin::host_platform, str::to_owned),
            root: bytes("origin.root", origin.root, origin.root_length)?.to_vec(),
            mirrors: Vec::new(),
        })
    }
}

/// # Safety
/// As the head of this module says.
unsafe fn read_setup(setup: *const LamplighterSetup) -> Result<launching::Wanted, Fault> {
    // SAFETY: the caller's promise.
    unsafe {
        let setup = pointers::read("setup", setup)?;
        Ok(launching::Wanted {
            check_minimum: setup.check_minimum != 0,
            check_for_updates: setup.check_for_updates != 0,
            resources: setup.resources,
            local: optional_text("setup.local", setup.local)?.map(str::to_owned),
            origin: if setup.origin.is_null() { None } else { Some(read_origin(setup.origin)?) },
            resources_tree: setup.resources_tree,
            compiled_build: setup.compiled_build,
            program: optional_text("setup.program", setup.program)?.map(str::to_owned),
            arguments: texts("setup.arguments", setup.arguments, setup.argument_count)?,
            language: optional_text("setup.language", setup.language)?.unwrap_or("en").to_owned(),
        })
    }
}
