//! The frozen sites of `fixtures/sites`: builds 1 and 2, on the channels `old` and `stable`.

#![allow(dead_code, unreachable_pub)]

use std::fs;
use std::path::Path;

/// The frozen site. That for Windows is without links.
const SITE: &str = if cfg!(windows) { "windows-v1" } else { "v1" };

/// The platform it has releases for.
pub const PLATFORM: &str = if cfg!(windows) { "windows-x86_64" } else { "linux-x86_64" };

/// Copies it, so that tests can break it.
pub fn copy_to(site: &Path) {
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/sites").join(SITE), site);
}

/// The client's command that installs from it, in the directory where `site` lies.
pub fn install(channel: &str, tree: &str) -> String {
    let origin = format!("--site site --root site/root/1.root --app org.example.app --platform {PLATFORM}");
    format!("install {origin} --channel {channel} --tree {tree}")
}

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("readable") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).expect("copied");
        }
    }
}
