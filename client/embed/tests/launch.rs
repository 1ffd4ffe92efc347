//! The launcher's decisions through the C interface: questions asked, answers taken.

// A test of a C interface calls it as C does: all pointers are to locals of the right type, or wrong on purpose.
#![allow(unsafe_code, clippy::undocumented_unsafe_blocks)]

mod support;

use std::ffi::{CStr, c_void};
use std::path::Path;
use std::ptr::null_mut;

use lamplighter::*;
use support::{c_path, frozen_site, sized};

/// What the user would say, and what was asked.
struct User {
    answer: i32,
    asked: Vec<(u64, String, String)>,
    messages: Vec<String>,
    builds: usize,
}

unsafe extern "C-unwind" fn user(event: *const LamplighterEvent, user: *mut c_void) -> i32 {
    let (event, user) = unsafe { (&*event, &mut *user.cast::<User>()) };
    let text = |pointer| unsafe { CStr::from_ptr(pointer) }.to_str().expect("UTF-8").to_owned();
    match event.kind {
        LAMPLIGHTER_QUESTION => {
            user.asked.push((event.build, text(event.version), text(event.installed_version)));
            user.answer
        }
        LAMPLIGHTER_BUILD => {
            user.builds += 1;
            user.answer
        }
        LAMPLIGHTER_MESSAGE => {
            user.messages.push(text(event.text));
            0
        }
        _ => 0,
    }
}

/// A tree at build 1 that follows the channel of build 2, and a handle of it.
fn installed(dir: &Path) -> LamplighterHandle {
    let (frozen, tree) = (frozen_site(), dir.join("tree"));
    let handle = support::open(&tree);
    let (site, root) = (c_path(&frozen), frozen.join("root/1.root"));
    assert_eq!(support::install(handle, &site, &root, &mut sized(), &mut sized()), LAMPLIGHTER_OK);
    assert_eq!(unsafe { lamplighter_follow(handle, c"stable".as_ptr(), null_mut()) }, LAMPLIGHTER_OK);
    handle
}

fn launch(handle: LamplighterHandle, resources: u32, answer: i32) -> (u32, User) {
    let mut setup: LamplighterSetup = sized();
    setup.check_for_updates = 1;
    setup.resources = resources;
    let argument = c"--from=here";
    let arguments = [argument.as_ptr()];
    (setup.arguments, setup.argument_count) = (arguments.as_ptr(), 1);
    let mut launched: LamplighterLaunched = sized();
    let mut told = User { answer, asked: Vec::new(), messages: Vec::new(), builds: 0 };
    let pointer = (&raw mut told).cast();
    let status = unsafe {
        lamplighter_launch(handle, &raw const setup, Some(user), pointer, &raw mut launched, null_mut(), null_mut())
    };
    assert_eq!(status, LAMPLIGHTER_OK);
    (launched.action, told)
}

fn build(handle: LamplighterHandle) -> u64 {
    let mut tree: LamplighterTree = sized();
    assert_eq!(unsafe { lamplighter_status(handle, &raw mut tree, null_mut(), null_mut()) }, LAMPLIGHTER_OK);
    tree.build
}

#[test]
fn the_user_is_asked_and_the_answer_is_taken() {
    let dir = tempfile::tempdir().expect("a directory");
    let handle = installed(dir.path());
    let (action, told) = launch(handle, LAMPLIGHTER_LEAVE, LAMPLIGHTER_LATER);
    assert_eq!((action, build(handle), told.asked.len()), (LAMPLIGHTER_RUN, 1, 1));
    assert_eq!(told.asked[0].0, 2);
    assert!(!told.asked[0].1.is_empty() && !told.asked[0].2.is_empty(), "{:?}", told.asked);
    let (action, told) = launch(handle, LAMPLIGHTER_LEAVE, LAMPLIGHTER_YES);
    assert_eq!((action, build(handle), told.asked.len()), (LAMPLIGHTER_RUN, 2, 1), "{:?}", told.messages);
    assert!(told.messages.iter().any(|text| text == "changing files"), "{:?}", told.messages);
    let (action, told) = launch(handle, LAMPLIGHTER_LEAVE, LAMPLIGHTER_YES);
    assert_eq!((action, told.asked.len()), (LAMPLIGHTER_RUN, 0), "there is nothing more to ask");
    lamplighter_close(handle);
}

#[test]
fn a_build_that_is_skipped_is_not_asked_for_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let handle = installed(dir.path());
    assert_eq!(launch(handle, LAMPLIGHTER_LEAVE, LAMPLIGHTER_SKIP).1.asked.len(), 1);
    assert_eq!(launch(handle, LAMPLIGHTER_LEAVE, LAMPLIGHTER_YES).1.asked.len(), 0);
    assert_eq!(build(handle), 1);
    lamplighter_close(handle);
}

#[test]
fn a_developers_hook_is_called_and_its_failure_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let handle = installed(dir.path());
    // Any answer but 0: not now to the update, and a failure of the hook.
    let (action, told) = launch(handle, LAMPLIGHTER_BUILD_AND_DEPLOY, LAMPLIGHTER_LATER);
    assert_eq!((action, told.builds), (LAMPLIGHTER_RUN, 1));
    assert!(told.messages.iter().any(|text| text.contains("hook returned 1")), "{:?}", told.messages);
    lamplighter_close(handle);
}
