//! Programs of a release that must run while the tree changes, and so run from a copy outside it.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::PathBuf;

use super::fs::{self, EXECUTABLE_MODE, FsError, Place};
use super::{TreeError, TreeLock, layout, scan};
use crate::format::digest::{Blake3, ContentDigest};
use crate::format::journal::Thing;

const BUFFER_BYTES: usize = 64 << 10;

impl TreeLock {
    /// Puts the program `name`, read from `source`, into the state directory, where only its owner may write, and gives
    /// its path. One that is there already with this content is taken; copies of other versions go, unless they run.
    ///
    /// # Errors
    /// [`TreeError::Staged`] if `source` does not hold `digest`: nothing stays behind then. What the system says.
    pub fn place_program(
        &self,
        name: &OsStr,
        digest: &ContentDigest,
        source: &mut dyn Read,
    ) -> Result<PathBuf, TreeError> {
        let fs = self.fs();
        let directory = layout::program_dir(&digest.blake3);
        fs::create_state_dirs(fs, &directory)?;
        for other in fs.list(&layout::all_programs())? {
            if Some(other.as_os_str()) != directory.name() {
                // It may still run; then it goes another time.
                let _ = fs::remove_all(fs, &layout::all_programs().entry(other));
            }
        }
        let at = directory.entry(name);
        let wanted = Thing::File { mode: EXECUTABLE_MODE, size: digest.size, blake3: digest.blake3 };
        if !scan::observe(fs, &at)?.thing.is_some_and(|thing| thing.same_content(&wanted)) {
            fs::remove_all(fs, &at)?;
            if let Err(error) = self.write_program(&at, digest, source) {
                let _ = fs::remove_all(fs, &at);
                return Err(error);
            }
        }
        Ok(self.state_dir().join(at.path()))
    }

    fn write_program(&self, at: &Place, digest: &ContentDigest, source: &mut dyn Read) -> Result<(), TreeError> {
        let failed = |e: std::io::Error| FsError::io("write", at, e);
        let mut file = self.fs().create_file(at)?;
        let mut hasher = blake3::Hasher::new();
        let (mut written, mut buffer) = (0u64, vec![0; BUFFER_BYTES]);
        loop {
            let count = source.read(&mut buffer).map_err(failed)?;
            if count == 0 {
                break;
            }
            hasher.update(&buffer[..count]);
            written += count as u64;
            file.write_all(&buffer[..count]).map_err(failed)?;
        }
        let found = Blake3::from_bytes(*hasher.finalize().as_bytes());
        if written != digest.size || found != digest.blake3 {
            return Err(TreeError::Staged {
                number: 0,
                expected_size: digest.size,
                expected: digest.blake3,
                found: format!("{written} bytes with BLAKE3 {found}"),
            });
        }
        let done = file.flush().and_then(|()| file.set_mode(EXECUTABLE_MODE)).and_then(|()| file.sync());
        Ok(done.map_err(failed)?)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tree::Tree;

    #[test]
    fn a_program_is_placed_whole_and_replaces_other_versions() {
        let dir = tempfile::tempdir().expect("a directory");
        let lock = Tree::open(dir.path(), None).and_then(|tree| tree.lock(Duration::ZERO)).expect("a free tree");
        let place = |content: &[u8], digest: &[u8]| {
            lock.place_program(OsStr::new("patcher"), &ContentDigest::of(digest), &mut &content[..])
        };
        let first = place(b"one", b"one").expect("placed");
        assert_eq!(std::fs::read(&first).expect("there"), b"one");
        assert_eq!(place(b"unread", b"one").expect("there already"), first);
        assert!(matches!(place(b"altered", b"two"), Err(TreeError::Staged { .. })));
        let second = place(b"two", b"two").expect("placed");
        assert!(second.exists() && !first.exists());
    }
}
