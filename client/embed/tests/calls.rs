//! The interface as a C program meets it: wrong arguments, handles, callbacks that panic, cancels from elsewhere.

// A test of a C interface calls it as C does: all pointers are to locals of the right type, or wrong on purpose.
#![allow(unsafe_code, clippy::undocumented_unsafe_blocks)]

mod support;

use std::ffi::{CStr, CString, c_char, c_void};
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{fs, thread};

use lamplighter::*;
use support::{c_path, frozen_site, sized};

/// A copy of the frozen site, whose channel `old` offers build 1 and `stable` build 2.
struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self { dir: tempfile::tempdir().expect("a directory") };
        copy(&frozen_site(), &world.path("site"));
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> CString {
        c_path(&self.path(name))
    }

    fn open(&self, tree: &str) -> LamplighterHandle {
        support::open(&self.path(tree))
    }

    /// Installs build 1 and follows `stable`.
    fn installed(&self, tree: &str) -> LamplighterHandle {
        let handle = self.open(tree);
        let mut error = error();
        let mut report: LamplighterReport = sized();
        let status = self.install(handle, &self.text("site"), &mut report, &mut error);
        assert_eq!((status, message(&error)), (LAMPLIGHTER_OK, String::new()));
        assert_eq!((report.state, report.build), (LAMPLIGHTER_DONE, 1));
        assert_eq!(unsafe { lamplighter_follow(handle, c"stable".as_ptr(), null_mut()) }, LAMPLIGHTER_OK);
        handle
    }

    fn install(
        &self,
        handle: LamplighterHandle,
        site: &CStr,
        report: &mut LamplighterReport,
        error: &mut LamplighterError,
    ) -> i32 {
        support::install(handle, site, &self.path("site/root/1.root"), report, error)
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("copied");
        }
    }
}

fn error() -> LamplighterError {
    sized()
}

fn text(field: &[c_char]) -> String {
    unsafe { CStr::from_ptr(field.as_ptr()) }.to_str().expect("UTF-8").to_owned()
}

fn message(error: &LamplighterError) -> String {
    text(&error.message)
}

fn stage(handle: LamplighterHandle, callback: LamplighterCallback, user: *mut c_void) -> (i32, LamplighterError) {
    let mut error = error();
    let status = unsafe { lamplighter_stage(handle, null(), callback, user, null_mut(), null_mut(), &raw mut error) };
    assert_eq!(status, error.status);
    (status, error)
}

#[test]
fn an_app_is_installed_updated_confirmed_and_taken_back() {
    let world = World::new();
    let handle = world.installed("tree");
    let mut offer: LamplighterOffer = sized();
    let mut json: *mut c_char = null_mut();
    unsafe {
        assert_eq!(lamplighter_check(handle, None, null_mut(), &raw mut offer, null_mut(), null_mut()), 0);
        assert_eq!((offer.state, offer.build), (LAMPLIGHTER_AVAILABLE, 2));
        assert_eq!(lamplighter_prepared(handle, &raw mut offer, null_mut(), null_mut()), 0);
        assert_eq!((offer.state, text(&offer.reason).as_str()), (LAMPLIGHTER_NOTHING, "not_staged"));
    }
    unsafe {
        assert_eq!(lamplighter_notes(handle, c"en".as_ptr(), &raw mut json, null_mut()), 0);
        assert_eq!(CStr::from_ptr(json), c"[]", "the frozen site has none");
        lamplighter_free_text(json);
        assert_eq!(lamplighter_notes(handle, null(), &raw mut json, null_mut()), LAMPLIGHTER_USAGE);
    }
    assert_eq!(stage(handle, None, null_mut()).0, LAMPLIGHTER_OK);
    let (mut tree, mut start): (LamplighterTree, LamplighterStart) = (sized(), sized());
    let (mut report, mut verified): (LamplighterReport, LamplighterVerified) = (sized(), sized());
    unsafe {
        assert_eq!(lamplighter_status(handle, &raw mut tree, null_mut(), null_mut()), 0);
        assert_eq!((tree.installed, tree.build, tree.prepared_build), (1, 1, 2));
        assert_eq!(lamplighter_commit(handle, None, null_mut(), &raw mut report, &raw mut json, null_mut()), 0);
        assert!(CStr::from_ptr(json).to_str().is_ok_and(|text| text.contains("\"kept_aside\":[]")));
        lamplighter_free_text(json);
        assert_eq!((report.state, report.build), (LAMPLIGHTER_DONE, 2));
        assert_eq!(lamplighter_count_start(handle, &raw mut start, null_mut()), 0);
        assert_eq!((start.action, start.start, start.starts_max), (LAMPLIGHTER_START_PROBATION, 1, 3));
        assert_eq!(lamplighter_rollback(handle, None, null_mut(), &raw mut report, null_mut(), null_mut()), 0);
        assert_eq!(report.build, 1);
        assert_eq!(lamplighter_verify(handle, 1, None, null_mut(), &raw mut verified, null_mut(), null_mut()), 0);
        assert_eq!((verified.build, verified.damaged), (1, 0));
        assert_eq!(lamplighter_check(handle, None, null_mut(), &raw mut offer, null_mut(), null_mut()), 0);
        assert_eq!((offer.state, text(&offer.reason).as_str()), (LAMPLIGHTER_NOTHING, "failed_here"));
        assert_eq!(lamplighter_confirm_healthy(handle, null_mut()), 0);
    }
    lamplighter_close(handle);
}

#[test]
fn damage_is_counted_named_and_healed() {
    let world = World::new();
    let handle = world.installed("tree");
    let file = fs::read_dir(world.path("tree")).expect("readable").map(|entry| entry.expect("readable").path());
    let file = file.filter(|path| path.is_file()).min().expect("a file");
    fs::write(&file, b"damaged").expect("written");
    let (mut verified, mut json): (LamplighterVerified, *mut c_char) = (sized(), null_mut());
    unsafe {
        assert_eq!(lamplighter_verify(handle, 0, None, null_mut(), &raw mut verified, &raw mut json, null_mut()), 0);
        let name = file.file_name().expect("a name").to_string_lossy();
        assert!(CStr::from_ptr(json).to_string_lossy().contains(&*name));
        lamplighter_free_text(json);
        assert_eq!(verified.damaged, 1);
        assert_eq!(lamplighter_heal(handle, null(), None, null_mut(), null_mut(), null_mut(), null_mut()), 0);
        assert_eq!(lamplighter_verify(handle, 0, None, null_mut(), &raw mut verified, null_mut(), null_mut()), 0);
    }
    assert_eq!(verified.damaged, 0);
    lamplighter_close(handle);
}

#[test]
fn wrong_arguments_are_errors_and_no_more() {
    let world = World::new();
    let tree = world.text("tree");
    let (mut handle, mut told) = (7, error());
    let refused = |status: i32, told: &LamplighterError, expected: &str| {
        assert_eq!(
            (status, told.status, text(&told.code).as_str()),
            (LAMPLIGHTER_USAGE, LAMPLIGHTER_USAGE, "E_ARGUMENT")
        );
        assert!(message(told).contains(expected), "{}", message(told));
    };
    unsafe {
        let status = lamplighter_open(null(), null(), null(), &raw mut handle, &raw mut told);
        refused(status, &told, "tree is NULL");
        assert_eq!(handle, 0, "a failed open gives no handle");
        let status = lamplighter_open(c"\xff\xfe".as_ptr(), null(), null(), &raw mut handle, &raw mut told);
        refused(status, &told, "tree is not UTF-8");
        let status = lamplighter_open(tree.as_ptr(), c"\xc3".as_ptr(), null(), &raw mut handle, &raw mut told);
        refused(status, &told, "state is not UTF-8");
        let status = lamplighter_open(tree.as_ptr(), null(), null(), null_mut(), &raw mut told);
        refused(status, &told, "handle is NULL");
    }
    let handle = world.open("tree");
    unsafe {
        let status = lamplighter_follow(handle, c"No Channel".as_ptr(), &raw mut told);
        refused(status, &told, "is not a channel");
        let status = lamplighter_install(handle, null(), None, null_mut(), null_mut(), null_mut(), &raw mut told);
        refused(status, &told, "origin is NULL");
        let mut origin: LamplighterOrigin = sized();
        let status =
            lamplighter_install(handle, &raw const origin, None, null_mut(), null_mut(), null_mut(), &raw mut told);
        refused(status, &told, "origin.site is NULL");
        origin.size = 0;
        let status =
            lamplighter_install(handle, &raw const origin, None, null_mut(), null_mut(), null_mut(), &raw mut told);
        refused(status, &told, "origin.size is 0");
        let mut offer: LamplighterOffer = sized();
        offer.size = 12;
        let mut json = c"before".as_ptr().cast_mut();
        let status = lamplighter_check(handle, None, null_mut(), &raw mut offer, &raw mut json, &raw mut told);
        refused(status, &told, "offer.size is 12");
        assert!(json.is_null(), "nothing to free after a failure");
        let mut setup: LamplighterSetup = sized();
        setup.argument_count = 3;
        let status =
            lamplighter_launch(handle, &raw const setup, None, null_mut(), null_mut(), null_mut(), &raw mut told);
        refused(status, &told, "setup.arguments is NULL");
        lamplighter_free_text(null_mut());
    }
    lamplighter_close(handle);
}

#[test]
fn network_shares_are_allowed_for_an_opened_tree_only() {
    let world = World::new();
    let handle = world.open("tree");
    assert_eq!([1, 0, 7].map(|allowed| lamplighter_allow_network_share(handle, allowed)), [LAMPLIGHTER_OK; 3]);
    lamplighter_close(handle);
    assert_eq!(lamplighter_allow_network_share(handle, 1), LAMPLIGHTER_USAGE);
}

#[test]
fn a_struct_for_errors_of_an_impossible_size_is_left_alone() {
    let mut told = error();
    for size in [0, 1087, u32::MAX] {
        told.size = size;
        assert_eq!(unsafe { lamplighter_follow(0, c"stable".as_ptr(), &raw mut told) }, LAMPLIGHTER_USAGE);
        assert_eq!((told.size, told.status), (size, 0));
    }
    assert_eq!(unsafe { lamplighter_follow(0, c"stable".as_ptr(), null_mut()) }, LAMPLIGHTER_USAGE);
}

#[test]
fn a_tree_without_an_app_has_a_status_and_no_update() {
    let world = World::new();
    let handle = world.open("nowhere");
    let (mut tree, mut told): (LamplighterTree, _) = (sized(), error());
    assert_eq!(unsafe { lamplighter_status(handle, &raw mut tree, null_mut(), null_mut()) }, LAMPLIGHTER_OK);
    assert_eq!((tree.installed, tree.build), (0, 0));
    let status = unsafe { lamplighter_check(handle, None, null_mut(), null_mut(), null_mut(), &raw mut told) };
    assert_eq!((status, text(&told.code).as_str()), (LAMPLIGHTER_USAGE, "E_NOT_INSTALLED"));
    assert!(!world.path("nowhere").exists(), "asking makes nothing");
    lamplighter_close(handle);
}

#[test]
fn a_closed_handle_and_one_never_given_are_errors() {
    let world = World::new();
    let handle = world.installed("tree");
    lamplighter_close(handle);
    lamplighter_close(handle);
    for wrong in [handle, 0, u64::MAX] {
        let (status, told) = stage(wrong, None, null_mut());
        assert_eq!((status, text(&told.code).as_str()), (LAMPLIGHTER_USAGE, "E_HANDLE"));
        assert_eq!(
            (lamplighter_cancel(wrong), lamplighter_clear_cancel(wrong)),
            (LAMPLIGHTER_USAGE, LAMPLIGHTER_USAGE)
        );
        lamplighter_close(wrong);
    }
    assert_ne!(world.open("tree"), handle, "no number is given twice");
}

/// What a callback saw.
#[derive(Default)]
struct Seen {
    handle: LamplighterHandle,
    threads: Vec<thread::ThreadId>,
    phases: Vec<String>,
    done_bytes: u64,
    total_bytes: u64,
    inner: i32,
}

unsafe extern "C-unwind" fn look(event: *const LamplighterEvent, user: *mut c_void) -> i32 {
    let (event, seen) = unsafe { (&*event, &mut *user.cast::<Seen>()) };
    seen.threads.push(thread::current().id());
    let phase = unsafe { CStr::from_ptr(event.phase) }.to_str().expect("UTF-8");
    if event.kind == LAMPLIGHTER_STARTED {
        seen.phases.push(phase.to_owned());
    }
    if phase == "download" {
        (seen.done_bytes, seen.total_bytes) = (event.done_bytes, event.total_bytes);
    }
    // A second call with the same handle.
    seen.inner = unsafe { lamplighter_prepared(seen.handle, null_mut(), null_mut(), null_mut()) };
    0
}

#[test]
fn events_come_on_the_calling_thread_and_a_second_call_is_refused() {
    let world = World::new();
    let handle = world.installed("tree");
    let mut seen = Seen { handle, ..Seen::default() };
    assert_eq!(stage(handle, Some(look), (&raw mut seen).cast()).0, LAMPLIGHTER_OK);
    assert!(seen.threads.iter().all(|id| *id == thread::current().id()));
    assert_eq!(seen.phases, ["check", "plan", "download"]);
    assert!(seen.total_bytes > 0 && seen.done_bytes == seen.total_bytes, "{} of {}", seen.done_bytes, seen.total_bytes);
    assert_eq!(seen.inner, LAMPLIGHTER_USAGE);
    lamplighter_close(handle);
}

unsafe extern "C-unwind" fn throw(_: *const LamplighterEvent, _: *mut c_void) -> i32 {
    panic!("thrown by the callback");
}

#[test]
fn a_panic_in_a_callback_ends_the_call_and_nothing_else() {
    let world = World::new();
    let handle = world.installed("tree");
    let (status, told) = stage(handle, Some(throw), null_mut());
    assert_eq!((status, text(&told.code).as_str()), (LAMPLIGHTER_PANIC, "E_PANIC"));
    assert!(message(&told).contains("thrown by the callback"), "{}", message(&told));
    assert_eq!(stage(handle, None, null_mut()).0, LAMPLIGHTER_OK, "the handle goes on to work");
    lamplighter_close(handle);
}

/// A server that takes connections and never answers; tells of the first.
fn silent_server() -> (CString, mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
            held.push(stream);
            let _ = sender.send(());
        }
    });
    (CString::new(url).expect("no NUL"), receiver)
}

#[test]
fn a_cancel_from_another_thread_stops_a_call_and_those_after_it() {
    let world = World::new();
    let (url, connected) = silent_server();
    let handle = world.open("tree");
    let cancelling = thread::spawn(move || {
        connected.recv().expect("a connection");
        assert_eq!(lamplighter_cancel(handle), LAMPLIGHTER_OK);
    });
    let (mut report, mut told) = (sized(), error());
    let begun = Instant::now();
    assert_eq!(world.install(handle, &url, &mut report, &mut told), LAMPLIGHTER_CANCELLED);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    cancelling.join().expect("no panic");
    let site = world.text("site");
    assert_eq!(world.install(handle, &site, &mut report, &mut told), LAMPLIGHTER_CANCELLED, "it lasts");
    assert_eq!(lamplighter_clear_cancel(handle), LAMPLIGHTER_OK);
    assert_eq!(world.install(handle, &site, &mut report, &mut told), LAMPLIGHTER_OK, "{}", message(&told));
    lamplighter_close(handle);
}

#[test]
fn a_tampered_site_is_not_trusted_and_changes_nothing() {
    let world = World::new();
    let handle = world.installed("tree");
    let head = world.path("site/channels/stable.head");
    let altered = fs::read_to_string(&head).expect("a head").replacen("org.example.app", "org.example.apq", 1);
    fs::write(&head, altered).expect("written");
    let (status, told) = stage(handle, None, null_mut());
    assert_eq!((status, text(&told.code).as_str()), (LAMPLIGHTER_NOT_TRUSTED, "E_SIGNATURE"));
    assert_eq!(told.may_retry, 0);
    fs::rename(world.path("site"), world.path("gone")).expect("renamed");
    let (status, told) = stage(handle, None, null_mut());
    assert_eq!((status, told.may_retry), (LAMPLIGHTER_NETWORK, 1), "{}", message(&told));
    lamplighter_close(handle);
}
