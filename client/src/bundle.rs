//! What macOS does to the bundle of an app, and what that means for updating it.
//!
//! | finding | how it is seen | update |
//! | --- | --- | --- |
//! | quarantine | the extended attribute `com.apple.quarantine` on the bundle | goes on |
//! | App Translocation | `/AppTranslocation/` in the path of the bundle | not possible |
//! | read-only volume | the mount is read-only, as that of a disk image is | not possible |
//!
//! A signed bundle may hold nothing foreign, so its state lies beside it; and the system remembers signatures by file, so a
//! file of it is never written into: new content always comes as a new file, by rename ([`crate::tree`]). Files are the
//! publisher's to the byte, links included, so that signature and staple stay valid.

use std::fmt;
use std::path::Path;

/// The extended attribute of what was downloaded.
pub const QUARANTINE: &str = "com.apple.quarantine";

/// What is known of a bundle, or of any installed directory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Names of its extended attributes.
    pub attributes: Vec<String>,
    /// Its volume takes no writes.
    pub is_read_only: bool,
}

/// Something that a user has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// It was downloaded, and the system has not let go of it.
    Quarantined,
    /// It runs from a copy at a random place.
    Translocated,
    /// It lies on a volume that takes no writes.
    ReadOnlyVolume,
}

impl Finding {
    /// A stable code, for scripts.
    pub fn code(self) -> &'static str {
        match self {
            Self::Quarantined => "quarantined",
            Self::Translocated => "translocated",
            Self::ReadOnlyVolume => "read-only-volume",
        }
    }

    /// Whether the app cannot be updated where it is.
    pub fn prevents_update(self) -> bool {
        match self {
            Self::Quarantined => false,
            Self::Translocated | Self::ReadOnlyVolume => true,
        }
    }
}

/// The explanation for people, with what to do.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quarantined => {
                "macOS marks this app as downloaded. If it asks at each start, move the app to the Applications folder with \
                 the Finder and open it from there."
            }
            Self::Translocated => {
                "macOS runs this app from a copy that cannot be changed, because it was opened where it was downloaded. \
                 Quit it, move it to the Applications folder with the Finder, and open it from there."
            }
            Self::ReadOnlyVolume => {
                "This app lies on a volume that cannot be written to, such as a disk image. Copy it to the Applications \
                 folder and open it from there."
            }
        })
    }
}

/// What `facts` about the bundle at `path`, a path without links, mean. Pure; on every system the same.
pub fn findings(path: &Path, facts: &Facts) -> Vec<Finding> {
    let is_translocated = path.components().any(|component| component.as_os_str() == "AppTranslocation");
    let mut findings = Vec::new();
    if is_translocated {
        findings.push(Finding::Translocated);
    } else if facts.is_read_only {
        // A translocated app always lies on one; where it really lies is what counts.
        findings.push(Finding::ReadOnlyVolume);
    }
    if facts.attributes.iter().any(|name| name == QUARANTINE) {
        findings.push(Finding::Quarantined);
    }
    findings
}

/// The bundle that `program` is the executable of: `X.app` for `X.app/Contents/MacOS/x`. Pure.
pub fn bundle_of(program: &Path) -> Option<&Path> {
    let folder = program.parent()?;
    let contents = folder.parent()?;
    let bundle = contents.parent()?;
    let is_bundle =
        folder.ends_with("Contents/MacOS") && bundle.extension().is_some_and(|e| e.eq_ignore_ascii_case("app"));
    is_bundle.then_some(bundle)
}

/// Finds out the facts about `path`. What the system does not tell counts as not so: other checks come before any change.
#[cfg(unix)]
pub fn look(path: &Path) -> Facts {
    use rustix::fs::{StatVfsMountFlags, listxattr, statvfs};
    const NAMES_BYTES_MAX: usize = 64 << 10;
    let mut names = vec![0u8; NAMES_BYTES_MAX];
    let length = listxattr(path, &mut names[..]).unwrap_or(0);
    let attributes = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Facts {
        attributes: attributes.map(|name| String::from_utf8_lossy(name).into_owned()).collect(),
        is_read_only: statvfs(path).is_ok_and(|volume| volume.f_flag.contains(StatVfsMountFlags::RDONLY)),
    }
}

/// Finds out the facts about `path`: none where there are no bundles.
#[cfg(not(unix))]
pub fn look(_: &Path) -> Facts {
    Facts::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(attributes: &[&str], is_read_only: bool) -> Facts {
        Facts { attributes: attributes.iter().map(|name| (*name).to_owned()).collect(), is_read_only }
    }

    #[test]
    fn every_combination_of_facts() {
        use Finding::{Quarantined, ReadOnlyVolume, Translocated};
        let usual = "/Applications/Lantern.app";
        let moved = "/private/var/folders/x1/T/AppTranslocation/8B2C/d/Lantern.app";
        let other = [QUARANTINE, "com.apple.FinderInfo"];
        let cases: &[(&str, Facts, &[Finding])] = &[
            (usual, facts(&[], false), &[]),
            (usual, facts(&other[1..], false), &[]),
            (usual, facts(&other, false), &[Quarantined]),
            ("/Volumes/Lantern/Lantern.app", facts(&[], true), &[ReadOnlyVolume]),
            ("/Volumes/Lantern/Lantern.app", facts(&other, true), &[ReadOnlyVolume, Quarantined]),
            (moved, facts(&[], true), &[Translocated]),
            (moved, facts(&[], false), &[Translocated]),
            (moved, facts(&other, true), &[Translocated, Quarantined]),
            ("/Applications/MyAppTranslocation/Lantern.app", facts(&[], false), &[]),
        ];
        for (path, facts, expected) in cases {
            assert_eq!(findings(Path::new(path), facts), *expected, "{path} {facts:?}");
        }
    }

    #[test]
    fn only_what_cannot_be_written_prevents_an_update_and_all_say_what_to_do() {
        let all = [Finding::Quarantined, Finding::Translocated, Finding::ReadOnlyVolume];
        assert_eq!(all.map(Finding::prevents_update), [false, true, true]);
        assert!(all.iter().all(|finding| finding.to_string().contains("Applications folder")));
    }

    #[test]
    fn a_bundle_is_known_by_its_shape() {
        let bundle = |program: &'static str| bundle_of(Path::new(program)).and_then(Path::to_str);
        assert_eq!(bundle("/Applications/L.app/Contents/MacOS/l"), Some("/Applications/L.app"));
        assert_eq!(bundle("/Applications/L.APP/Contents/MacOS/l"), Some("/Applications/L.APP"));
        assert_eq!(bundle("/opt/l/Contents/MacOS/l"), None);
        assert_eq!(bundle("/Applications/L.app/Contents/Helpers/l"), None);
        assert_eq!(bundle("l"), None);
    }

    #[test]
    fn looking_at_an_ordinary_directory_finds_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(!look(dir.path()).is_read_only);
        assert_eq!(findings(dir.path(), &look(dir.path())), []);
        assert_eq!(look(&dir.path().join("missing")), Facts::default());
    }
}
