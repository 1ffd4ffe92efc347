//! Reads one file of an input, in constant memory, and notices if it does not hold still.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::Read;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use lamplighter_client::format::digest::{ContentDigest, ContentDigester};

use super::Problem;
use crate::watch::Watch;

const READ_BYTES: usize = 256 << 10;

/// What a file system says of a file without reading it; it changes when the file does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    size: u64,
    modified: Option<SystemTime>,
    /// Device and inode, where there are such.
    identity: (u64, u64),
}

impl Stamp {
    /// The stamp in `metadata`.
    pub fn of(metadata: &Metadata) -> Self {
        Self { size: metadata.len(), modified: metadata.modified().ok(), identity: identity(metadata) }
    }

    /// Length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.modified.and_then(|m| m.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        write!(
            f,
            "{} bytes, inode {}, modified {}.{:09}",
            self.size,
            self.identity.1,
            since.as_secs(),
            since.subsec_nanos()
        )
    }
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> (u64, u64) {
    (0, 0)
}

/// What the first bytes of a file tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Looks {
    /// The executable format it has, if it should carry the executable bit.
    pub(super) executable: Option<&'static str>,
}

pub(super) struct Hashed {
    pub(super) digest: ContentDigest,
    pub(super) looks: Looks,
}

/// Digests the file at `path`, which bore `listed` when it was listed.
pub(super) fn hash_file(path: &Path, name: &str, listed: &Stamp, watch: &dyn Watch) -> Result<Hashed, Problem> {
    let mut file = File::open(path).map_err(Problem::Unreadable)?;
    still(listed, &file.metadata().map_err(Problem::Unreadable)?)?;
    let mut digester = ContentDigester::new();
    let mut looks = None;
    let mut buffer = vec![0; READ_BYTES.min(usize::try_from(listed.size).unwrap_or(READ_BYTES) + 1)];
    loop {
        let filled = fill(&mut file, &mut buffer).map_err(Problem::Unreadable)?;
        looks.get_or_insert_with(|| look(&buffer[..filled], name));
        if filled == 0 {
            break;
        }
        digester.update(&buffer[..filled]);
        watch.advanced(filled as u64);
    }
    still(listed, &file.metadata().map_err(Problem::Unreadable)?)?;
    let digest = digester.finish();
    if digest.size != listed.size {
        let after = format!("{} bytes read", digest.size);
        return Err(Problem::Changed { before: listed.to_string(), after });
    }
    Ok(Hashed { digest, looks: looks.unwrap_or_default() })
}

fn still(listed: &Stamp, now: &Metadata) -> Result<(), Problem> {
    let now = Stamp::of(now);
    if now == *listed {
        return Ok(());
    }
    Err(Problem::Changed { before: listed.to_string(), after: now.to_string() })
}

/// Fills `buffer` as far as the file goes, so that the first chunk holds all that [`look`] wants.
fn fill(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// Recognises programs, not libraries: those work without the executable bit.
fn look(start: &[u8], name: &str) -> Looks {
    let executable = if is_elf_program(start, name) {
        Some("an ELF program")
    } else if is_macho_program(start, name) {
        Some("a Mach-O program")
    } else if start.starts_with(b"#!/") || start.starts_with(b"#! /") {
        Some("a #! script")
    } else {
        None
    };
    Looks { executable }
}

fn is_elf_program(start: &[u8], name: &str) -> bool {
    let Some([0x7f, b'E', b'L', b'F', _, order, ..]) = start.first_chunk::<18>() else { return false };
    let raw = [start[16], start[17]];
    match if *order == 2 { u16::from_be_bytes(raw) } else { u16::from_le_bytes(raw) } {
        2 => true,
        // Libraries and position-independent programs share a type; a library says so in its name.
        3 => !name.contains(".so") && !name.contains('.'),
        _ => false,
    }
}

fn is_macho_program(start: &[u8], name: &str) -> bool {
    let word = |at: usize| start.get(at..at + 4).and_then(|b| b.first_chunk::<4>()).copied();
    const EXECUTE: u32 = 2;
    match word(0) {
        Some([0xcf | 0xce, 0xfa, 0xed, 0xfe]) => word(12).map(u32::from_le_bytes) == Some(EXECUTE),
        Some([0xfe, 0xed, 0xfa, 0xce | 0xcf]) => word(12).map(u32::from_be_bytes) == Some(EXECUTE),
        // A fat file names a few architectures; a Java class with the same magic has a version of 45 and more there.
        Some([0xca, 0xfe, 0xba, 0xbe]) => {
            word(4).map(u32::from_be_bytes).is_some_and(|count| (1..30).contains(&count)) && !name.contains('.')
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::Unwatched;

    /// Writes to the file as soon as its first bytes were read.
    struct Meddler<'a>(&'a Path);

    impl Watch for Meddler<'_> {
        fn step(&self, _: crate::watch::Step, _: &str, _: u64) {}
        fn advanced(&self, _: u64) {
            std::fs::write(self.0, b"other").expect("written");
        }
        fn notice(&self, _: &'static str, _: &str, _: &str) {}
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("f");
        std::fs::write(&path, vec![7; READ_BYTES * 2]).expect("written");
        let stamp = Stamp::of(&path.metadata().expect("there"));
        assert!(matches!(hash_file(&path, "f", &stamp, &Meddler(&path)), Err(Problem::Changed { .. })));
        assert!(matches!(hash_file(&path, "f", &stamp, &Unwatched), Err(Problem::Changed { .. })), "listed otherwise");
        let stamp = Stamp::of(&path.metadata().expect("there"));
        let hashed = hash_file(&path, "f", &stamp, &Unwatched).map(|h| h.digest).ok();
        assert_eq!(hashed, Some(ContentDigest::of(b"other")));
    }

    #[test]
    fn programs_are_recognised_and_libraries_are_not() {
        let elf = |kind: u8| [b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".as_slice(), &[kind, 0, 62, 0]].concat();
        let is = |bytes: &[u8], name: &str| look(bytes, name).executable.is_some();
        assert!(is(&elf(2), "app") && is(&elf(2), "app.bin") && is(&elf(3), "app"));
        assert!(!is(&elf(3), "libx.so.1") && !is(&elf(3), "x.so") && !is(&elf(1), "x.o"));
        let macho = |kind: u8| [b"\xcf\xfa\xed\xfe".as_slice(), &[0; 8], &[kind, 0, 0, 0]].concat();
        assert!(is(&macho(2), "app") && !is(&macho(6), "x.dylib"));
        assert!(is(b"\xca\xfe\xba\xbe\0\0\0\x02", "app") && !is(b"\xca\xfe\xba\xbe\0\0\0\x34", "Main"));
        assert!(is(b"#!/bin/sh\n", "x") && is(b"#! /bin/sh", "x") && !is(b"#![allow]", "x.rs") && !is(b"", "x"));
    }
}
