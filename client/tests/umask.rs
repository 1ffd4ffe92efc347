//! Modes do not depend on the umask. Alone in its program, since the umask is the process's.
//! Windows has neither modes nor a umask.
#![cfg(unix)]

#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/tree.rs"]
mod tree;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::fs::Mode;
use tree::Item::{File, Program};
use tree::{Release, Site, update};

#[test]
fn modes_are_exact_whatever_the_umask() {
    let old: Release = vec![("app", Program("one"))];
    let new: Release = vec![("app", Program("two")), ("d/e/text", File("x"))];
    for umask in [0o000, 0o077] {
        let site = Site::plain(&old);
        let before = rustix::process::umask(Mode::from_raw_mode(umask));
        let updated = update(&site.tree(), &old, &new);
        rustix::process::umask(before);
        updated.expect("an update");
        let mode = |path: &std::path::Path| fs::metadata(path).expect("there").permissions().mode() & 0o7777;
        let modes = ["app", "d", "d/e", "d/e/text"].map(|name| mode(&site.root().join(name)));
        assert_eq!(modes, [0o755, 0o755, 0o755, 0o644], "umask {umask:o}");
        assert_eq!(mode(&site.state()), 0o700, "umask {umask:o}");
    }
}
