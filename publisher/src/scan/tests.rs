use std::sync::Mutex;

use super::*;
use crate::watch::Unwatched;
use lamplighter_client::format::digest::ContentDigest;

#[derive(Default)]
struct Notices(Mutex<Vec<(&'static str, String)>>);

impl Watch for Notices {
    fn step(&self, _: Step, _: &str, _: u64) {}
    fn advanced(&self, _: u64) {}
    fn notice(&self, code: &'static str, subject: &str, _: &str) {
        self.0.lock().expect("no panic").push((code, subject.to_owned()));
    }
}

struct Input(tempfile::TempDir);

impl Input {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let input = Self(tempfile::tempdir().expect("a directory"));
        files.iter().for_each(|(name, content)| input.file(name, content));
        input
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("below the input")).expect("created");
        std::fs::write(path, content).expect("written");
    }

    fn scan_with(&self, config: &PlatformConfig, watch: &dyn Watch) -> Result<Scanned, ScanError> {
        scan(self.0.path(), "linux-x86_64", &Rules::new("linux-x86_64", config)?, watch)
    }

    fn scan(&self) -> Result<Scanned, ScanError> {
        self.scan_with(&PlatformConfig::default(), &Unwatched)
    }
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| (*s).to_owned()).collect()
}

fn names(scanned: &Scanned) -> Vec<&str> {
    scanned.manifest.rows().iter().map(|r| r.path.as_str()).collect()
}

fn offenders(result: Result<Scanned, ScanError>) -> Vec<Offender> {
    match result {
        Err(ScanError::Offenders { offenders, .. }) => offenders,
        other => panic!("expected offenders, found {other:?}"),
    }
}

#[test]
fn many_files_become_sorted_rows_with_their_digests() {
    let input = Input::new(&[]);
    for index in 0..3000 {
        input.file(&format!("d{}/f{index}", index % 37), format!("content {index}").as_bytes());
    }
    std::fs::create_dir_all(input.path("empty/inner")).expect("created");
    let scanned = input.scan().expect("a release");
    assert_eq!(scanned.manifest.rows().len(), 3001);
    let (_, row) = scanned.manifest.find(&RelPath::parse("d4/f41").expect("a path")).expect("listed");
    assert_eq!(row.digest, ContentDigest::of(b"content 41"));
    let (_, row) = scanned.manifest.find(&RelPath::parse("empty/inner").expect("a path")).expect("listed");
    assert_eq!(row.kind, Kind::Directory);
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        assert_eq!(pool.install(|| input.scan()).expect("a release").manifest, scanned.manifest);
    }
}

#[test]
fn globs_leave_out_keep_and_make_executable() {
    let input =
        Input::new(&[("bin/tool", b"\x7fELF"), ("a.pdb", b""), ("x/b.pdb", b""), ("cfg/s.ini", b"s"), ("t/a", b"")]);
    let config = PlatformConfig {
        exclude: strings(&["*.pdb", "/t", "nothing"]),
        executable: strings(&["bin/*"]),
        keep: strings(&["cfg"]),
        ..PlatformConfig::default()
    };
    let notices = Notices::default();
    let scanned = input.scan_with(&config, &notices).expect("a release");
    assert_eq!(names(&scanned), ["bin/tool", "cfg/s.ini"]);
    assert_eq!(scanned.manifest.rows()[0].kind, Kind::File { executable: true });
    assert_eq!(scanned.manifest.rows()[1].policy, Policy::Keep);
    assert_eq!(notices.0.into_inner().expect("no panic"), [("unused-glob", "nothing".to_owned())]);
}

#[test]
fn an_input_must_be_a_directory_with_files() {
    let input = Input::new(&[("f", b"x")]);
    let rules = Rules::new("p", &PlatformConfig::default()).expect("no globs");
    for path in [input.path("f"), input.path("none")] {
        assert!(matches!(scan(&path, "p", &rules, &Unwatched), Err(ScanError::NotADirectory { .. })));
    }
    assert!(matches!(Input::new(&[]).scan(), Err(ScanError::Empty { .. })));
    let all = PlatformConfig { exclude: strings(&["*"]), ..PlatformConfig::default() };
    assert!(matches!(input.scan_with(&all, &Unwatched), Err(ScanError::Empty { .. })));
}

#[test]
fn all_offenders_are_named_at_once() {
    let input = Input::new(&[("ok", b""), ("nul.txt", b""), ("dir./x", b""), ("Foo", b""), ("foo", b""), ("a?b", b"")]);
    let found = offenders(input.scan());
    let paths: Vec<&str> = found.iter().map(|o| o.path.as_str()).collect();
    assert_eq!(paths, ["a?b", "dir.", "foo", "nul.txt"]);
}

#[test]
fn the_state_directory_is_not_published() {
    let found = offenders(Input::new(&[(".lamplighter/lock", b""), ("a", b"")]).scan());
    assert!(matches!(found[0].problem, Problem::Path(PathRule::StateDirectory)));
}

#[test]
fn the_entry_must_be_a_file_of_the_tree() {
    let input = Input::new(&[("bin/app", b"x"), ("bin/other", b"")]);
    let with = |entry: &str| PlatformConfig { entry: Some(entry.to_owned()), ..PlatformConfig::default() };
    let notices = Notices::default();
    assert!(input.scan_with(&with("bin/app"), &notices).is_ok());
    assert_eq!(notices.0.into_inner().expect("no panic"), [("not-executable", "bin/app".to_owned())]);
    for bad in ["bin", "bin/none", "../app", ""] {
        assert!(matches!(input.scan_with(&with(bad), &Unwatched), Err(ScanError::Entry { .. })), "{bad}");
    }
}

#[test]
fn a_file_touched_after_the_scan_is_noticed() {
    let input = Input::new(&[("a", b"one"), ("b", b"two")]);
    let scanned = input.scan().expect("a release");
    assert!(scanned.recheck().is_ok());
    input.file("a", b"longer");
    std::fs::remove_file(input.path("b")).expect("removed");
    assert!(matches!(scanned.recheck(), Err(ScanError::Offenders { offenders, .. }) if offenders.len() == 2));
}

#[test]
fn site_and_input_lie_apart() {
    let input = Input::new(&[("site/f", b""), ("tree/f", b"")]);
    assert!(check_apart(&input.path("tree"), &input.path("site")).is_ok());
    assert!(check_apart(&input.path(""), &input.path("site")).is_err());
    assert!(check_apart(&input.path("site"), &input.path("")).is_err());
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn links_modes_and_special_files() {
        let input = Input::new(&[("bin/app", b"#!/bin/sh\n"), ("lib/x", b"")]);
        let mode = std::fs::Permissions::from_mode(0o4755);
        std::fs::set_permissions(input.path("bin/app"), mode).expect("set");
        symlink("../bin/app", input.path("lib/app")).expect("linked");
        let notices = Notices::default();
        let scanned = input.scan_with(&PlatformConfig::default(), &notices).expect("a release");
        assert_eq!(names(&scanned), ["bin/app", "lib/app", "lib/x"]);
        assert_eq!(scanned.manifest.rows()[0].kind, Kind::File { executable: true });
        assert!(matches!(&scanned.manifest.rows()[1].kind, Kind::Link(d) if d.as_str() == "../bin/app"));
        assert!(notices.0.lock().expect("no panic").is_empty());

        symlink("/etc/passwd", input.path("out1")).expect("linked");
        symlink("../../x", input.path("lib/out2")).expect("linked");
        let _socket = std::os::unix::net::UnixListener::bind(input.path("sock")).expect("bound");
        std::fs::write(input.path("").join(std::ffi::OsStr::from_bytes(b"bad\xff")), b"").expect("written");
        let found = offenders(input.scan());
        let named = |name: &str| &found.iter().find(|o| o.path == name).expect(name).problem;
        assert_eq!(found.len(), 4);
        assert!(matches!(named("out1"), Problem::Link { .. }) && matches!(named("lib/out2"), Problem::Link { .. }));
        assert!(matches!(named("sock"), Problem::Special { kind: "socket" }));
        assert!(matches!(named("bad\u{fffd}"), Problem::NotUtf8));
    }

    #[test]
    fn dangling_links_are_warned_of() {
        let input = Input::new(&[("a", b"")]);
        symlink("gone", input.path("l")).expect("linked");
        let notices = Notices::default();
        assert!(input.scan_with(&PlatformConfig::default(), &notices).is_ok());
        assert_eq!(notices.0.into_inner().expect("no panic"), [("dangling-link", "l".to_owned())]);
    }
}
