//! Programs of a release that must run while the tree changes, and so run from a copy outside it.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::PathBuf;

use super::fs::{self, EXECUTABLE_MODE, FsError};
use super::stage::StagedFile;
use super::{TreeError, TreeLock, layout, scan};
use crate::format::digest::ContentDigest;
use crate::format::journal::Thing;

impl TreeLock {
    /// Puts the program `name`, read from `source`, into the state directory, where only its owner may write, and gives
    /// its path. One that is there already with this content is taken; copies of other versions go, unless they run.
    ///
    /// # Errors
    /// [`TreeError::Staged`] if `source` does not begin with the content of `digest`: nothing stays behind then. What the
    /// system says.
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
            let mut file = StagedFile::create(self, at.clone(), 0, digest.size, true)?;
            if let Err(error) = io::copy(&mut source.take(digest.size), &mut file) {
                file.remove();
                return Err(FsError::io("write", &at, error).into());
            }
            file.finish(digest)?;
        }
        Ok(self.state_dir().join(at.path()))
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
