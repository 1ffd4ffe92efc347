//! Releases and heads with nothing in them but what they must have; a test changes what it is about.

use lamplighter_client::format::document::FileRef;
use lamplighter_client::format::head::Head;
use lamplighter_client::format::release::Release;
use lamplighter_client::format::text::Time;

pub(crate) const APP: &str = "org.example.app";
pub(crate) const PLATFORM: &str = "linux-x86_64";

/// A release whose manifest and objects file are `file`.
pub(crate) fn plain_release(build: u64, issued: Time, file: FileRef) -> Release {
    Release {
        app: APP.into(),
        platform: PLATFORM.into(),
        build,
        version: build.to_string(),
        issued,
        minimum_build: 0,
        entry: None,
        patcher: None,
        minimum_os: None,
        manifest: file,
        objects: file,
        notes: Vec::new(),
        reads_pack: 1,
        packs: Vec::new(),
    }
}

/// A head that offers nothing, good from `issued` for a week.
pub(crate) fn plain_head(sequence: u64, issued: Time) -> Head {
    Head {
        app: APP.into(),
        channel: "stable".into(),
        sequence,
        issued,
        expires: issued.plus(7 * 86_400),
        root_version: 1,
        releases: Vec::new(),
        rollouts: Vec::new(),
        halts: Vec::new(),
        bad_builds: Vec::new(),
        mirrors: Vec::new(),
    }
}
