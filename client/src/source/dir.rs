//! A site in a directory: a disk, a stick, a share in the local network.

use super::{Body, ByteRange, Kind, Obstacle, Source, SourceError, Trouble, check_name};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Reads plain files below one directory.
#[derive(Debug)]
pub(super) struct DirSource {
    root: PathBuf,
}

impl DirSource {
    /// Takes the site at `root`, which must exist.
    pub(super) fn open(root: PathBuf) -> Result<Self, SourceError> {
        let source = Self { root };
        source.check_root("")?;
        Ok(source)
    }

    fn check_root(&self, name: &str) -> Result<(), SourceError> {
        if self.root.is_dir() {
            return Ok(());
        }
        let site = self.describe();
        Err(SourceError::fatal(name, &site, Obstacle::NoDirectory(site.clone())))
    }

    fn error(&self, name: &str, error: &io::Error) -> SourceError {
        let (name, site, answer) = (name.to_owned(), self.describe(), error.to_string());
        match error.kind() {
            // A stick that was pulled out is no proof that a file does not exist.
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => match self.check_root(&name) {
                Ok(()) => SourceError::NotFound { name, site, answer },
                Err(gone) => gone,
            },
            io::ErrorKind::PermissionDenied => SourceError::Forbidden { name, site, answer },
            _ => SourceError::transient(&name, &site, Trouble::Interrupted(answer)),
        }
    }

    fn open_plain(&self, name: &str) -> Result<(File, u64), SourceError> {
        let path = name.split('/').fold(self.root.clone(), |path, part| path.join(part));
        let opened = open_plain_file(&path).map_err(|e| self.error(name, &e))?;
        opened.ok_or_else(|| SourceError::NotFound {
            name: name.into(),
            site: self.describe(),
            answer: "not a plain file".into(),
        })
    }
}

/// Opens `path` unless it is something else than a file, which is asked first: opening a pipe would wait for ever.
fn open_plain_file(path: &Path) -> io::Result<Option<(File, u64)>> {
    if !std::fs::metadata(path)?.is_file() {
        return Ok(None);
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    Ok(metadata.is_file().then_some((file, metadata.len())))
}

impl Source for DirSource {
    fn open(&self, name: &str, range: Option<ByteRange>, _: Kind) -> Result<Body, SourceError> {
        check_name(name, &self.describe())?;
        let (mut file, length) = self.open_plain(name)?;
        let Some(ByteRange { start, end }) = range else {
            return Ok(Body { start: 0, length: Some(length), reader: Box::new(file) });
        };
        if start >= length {
            let trouble = Trouble::Range { expected: start, actual: format!("a file of {length} bytes") };
            return Err(SourceError::transient(name, &self.describe(), trouble));
        }
        file.seek(SeekFrom::Start(start)).map_err(|e| self.error(name, &e))?;
        let bytes = end.unwrap_or(length).min(length).saturating_sub(start);
        Ok(Body { start, length: Some(bytes), reader: Box::new(file.take(bytes)) })
    }

    fn describe(&self) -> String {
        self.root.display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn site() -> (tempfile::TempDir, DirSource) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("packs/ab")).unwrap();
        fs::write(dir.path().join("packs/ab/one"), b"0123456789").unwrap();
        let source = DirSource::open(dir.path().into()).unwrap();
        (dir, source)
    }

    fn read(source: &DirSource, range: Option<ByteRange>) -> Result<(u64, String), &'static str> {
        let mut body = source.open("packs/ab/one", range, Kind::Content).map_err(|e| e.code())?;
        let mut text = String::new();
        body.reader.read_to_string(&mut text).unwrap();
        assert_eq!(body.length, Some(text.len() as u64));
        Ok((body.start, text))
    }

    #[test]
    fn ranges_are_honoured() {
        let (_dir, source) = site();
        assert_eq!(read(&source, None), Ok((0, "0123456789".into())));
        assert_eq!(read(&source, Some(ByteRange { start: 3, end: None })), Ok((3, "3456789".into())));
        assert_eq!(read(&source, Some(ByteRange { start: 3, end: Some(5) })), Ok((3, "34".into())));
        assert_eq!(read(&source, Some(ByteRange { start: 3, end: Some(99) })), Ok((3, "3456789".into())));
        assert_eq!(read(&source, Some(ByteRange { start: 5, end: Some(2) })), Ok((5, String::new())));
        assert_eq!(read(&source, Some(ByteRange { start: 10, end: None })), Err("range"));
    }

    #[test]
    fn what_is_no_plain_file_is_not_there() {
        let (dir, source) = site();
        let code = |name: &str| source.open(name, None, Kind::Content).map(|_| ()).map_err(|e| e.code());
        assert_eq!(code("packs/ab"), Err("not-found"));
        assert_eq!(code("packs/ab/two"), Err("not-found"));
        assert_eq!(code("packs/ab/one/two"), Err("not-found"));
        assert_eq!(code("../one"), Err("bad-name"));
        fs::remove_dir_all(dir.path()).unwrap();
        assert_eq!(code("packs/ab/one"), Err("no-directory"));
        assert_eq!(DirSource::open(dir.path().into()).map(|_| ()).map_err(|e| e.code()), Err("no-directory"));
    }
}
