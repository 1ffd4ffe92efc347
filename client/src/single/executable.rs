//! The file a program runs from: found, identified, replaced.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::workshop::NewFile;
use crate::error::Error;
use crate::format::digest::Blake3;
use crate::format::document::FileRef;

/// The file to replace: `given`, or that of the running program; links on the way resolved, so that they stay.
pub(super) fn find(given: Option<PathBuf>) -> Result<PathBuf, Error> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { doing: "find the executable", path, source }
    };
    let path = match given {
        Some(path) => path,
        None => std::env::current_exe().map_err(failed(Path::new("of this program")))?,
    };
    let real = fs::canonicalize(&path).map_err(failed(&path))?;
    let metadata = fs::metadata(&real).map_err(failed(&path))?;
    if metadata.is_file() && real.parent().is_some() {
        return Ok(real);
    }
    Err(failed(&path)(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file")))
}

/// Length and BLAKE3 of the file.
pub(super) fn content_of(path: &Path) -> Result<FileRef, Error> {
    let failed = |source| Error::Io { doing: "read", path: path.to_owned(), source };
    File::open(path).and_then(|file| copy(file, &mut io::sink())).map_err(failed)
}

/// Copies, and tells length and BLAKE3 of what was copied.
pub(super) fn copy(mut from: impl Read, to: &mut impl Write) -> io::Result<FileRef> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    let mut length = 0;
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(FileRef { length, blake3: Blake3::from_bytes(*hasher.finalize().as_bytes()) }),
            n => {
                to.write_all(&buffer[..n])?;
                hasher.update(&buffer[..n]);
                length += n as u64;
            }
        }
    }
}

/// Puts `new`, which is durable, in the place of `executable`; where a running program cannot be replaced it goes to `aside`.
pub(super) fn replace(executable: &Path, new: NewFile, aside: &Path) -> Result<(), Error> {
    let replaced = if cfg!(windows) { swap(new.path(), executable, aside) } else { fs::rename(new.path(), executable) };
    replaced.map_err(|source| Error::Io { doing: "replace", path: executable.to_owned(), source })?;
    new.took_its_place();
    flush_names(executable);
    Ok(())
}

/// `executable` goes to `aside` and `new` takes its place; if that fails it comes back.
fn swap(new: &Path, executable: &Path, aside: &Path) -> io::Result<()> {
    fs::rename(executable, aside)?;
    fs::rename(new, executable).inspect_err(|_| {
        // What failed first is the error to tell; should this fail too, the file is in `aside`.
        let _ = fs::rename(aside, executable);
    })
}

/// The replacement holds already; a power cut before its name is durable gives the old file.
fn flush_names(executable: &Path) {
    if cfg!(unix)
        && let Some(parent) = executable.parent()
    {
        let _ = File::open(parent).and_then(|dir| dir.sync_all());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_that_of_the_whole_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("app");
        for length in [0, 1, 262_144, 700_001] {
            let bytes: Vec<u8> = (0..length).map(|n: u32| (n / 251) as u8).collect();
            fs::write(&path, &bytes).expect("written");
            assert_eq!(content_of(&path).expect("readable"), FileRef::of(&bytes));
        }
        assert!(content_of(&dir.path().join("missing")).is_err());
        assert!(find(Some(dir.path().to_owned())).is_err(), "a directory is no executable");
    }

    #[test]
    fn a_swap_leaves_the_old_file_aside_or_puts_it_back() {
        let dir = tempfile::tempdir().expect("a directory");
        let [app, new, aside] = ["app", "new", "aside"].map(|name| dir.path().join(name));
        fs::write(&app, b"old").expect("written");
        assert!(swap(&new, &app, &aside).is_err(), "there is no new file");
        assert_eq!(fs::read(&app).expect("there"), b"old");
        assert!(!aside.exists());
        fs::write(&new, b"new").expect("written");
        swap(&new, &app, &aside).expect("swapped");
        assert_eq!(
            (fs::read(&app).expect("there"), fs::read(&aside).expect("there")),
            (b"new".to_vec(), b"old".to_vec())
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_the_executable_is_resolved() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("app-1"), b"x").expect("written");
        std::os::unix::fs::symlink("app-1", dir.path().join("app")).expect("a link");
        let found = find(Some(dir.path().join("app"))).expect("found");
        assert_eq!(found.file_name(), Some("app-1".as_ref()));
    }
}
