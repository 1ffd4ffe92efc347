//! What tests of the C interface share: structs as a caller makes them, and an app to install.

// Each test program uses a part of it, and calls the interface as C does.
#![allow(dead_code, unreachable_pub, unsafe_code, clippy::undocumented_unsafe_blocks)]

use std::ffi::{CStr, CString};
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};

use lamplighter::*;

/// The site whose channel `old` offers build 1 and `stable` build 2.
pub fn frozen_site() -> PathBuf {
    let site = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/sites/v1");
    site.canonicalize().expect("a site")
}

/// A path as C has it.
pub fn c_path(path: &Path) -> CString {
    CString::new(path.to_str().expect("a name in Unicode")).expect("no NUL")
}

/// A struct of zeros with its size set; every struct of the interface begins with that.
pub fn sized<T: Copy>() -> T {
    let mut record = unsafe { std::mem::zeroed::<T>() };
    unsafe { (&raw mut record).cast::<u32>().write(size_of::<T>() as u32) };
    record
}

/// Opens a tree.
pub fn open(tree: &Path) -> LamplighterHandle {
    let mut handle = 0;
    let status = unsafe { lamplighter_open(c_path(tree).as_ptr(), null(), c"".as_ptr(), &raw mut handle, null_mut()) };
    assert_eq!(status, LAMPLIGHTER_OK);
    handle
}

/// Installs build 1 from `site`, a copy of the frozen one, whose root document is the file `root`.
pub fn install(
    handle: LamplighterHandle,
    site: &CStr,
    root: &Path,
    report: &mut LamplighterReport,
    error: &mut LamplighterError,
) -> i32 {
    let root = std::fs::read(root).expect("a root");
    let origin = LamplighterOrigin {
        site: site.as_ptr(),
        app: c"org.example.app".as_ptr(),
        channel: c"old".as_ptr(),
        platform: c"linux-x86_64".as_ptr(),
        root: root.as_ptr(),
        root_length: root.len(),
        ..sized()
    };
    unsafe { lamplighter_install(handle, &raw const origin, None, null_mut(), report, null_mut(), error) }
}
