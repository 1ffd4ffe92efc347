//! Which copies of fetched files are what was signed, and may stand under their names.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};

use super::*;
use crate::format::digest::ContentDigest;
use crate::format::document::FileRef;
use crate::format::head::{HEAD_BYTES_MAX, Head};
use crate::format::pack::{HEADER_BYTES_MAX, PackHeader};
use crate::keep::{Keep, Kept};
use crate::trust::Documents;

/// What files must be for their names to be theirs.
#[derive(Default)]
struct Expected {
    /// Documents that signed releases name.
    files: HashMap<String, FileRef>,
    /// Packs, by length and header.
    packs: HashMap<String, (u64, FileRef)>,
}

impl Updater {
    /// Keeps what `keep` has copied and is as signed: immutable files first, the head last, and that only if no newer one is
    /// there. Roots are those that are believed here.
    ///
    /// # Errors
    /// What the system says of the directory; what was kept before is whole.
    pub fn settle(&self, keep: &Keep) -> Result<Kept, Error> {
        let state = self.state()?;
        let mut kept = Kept::default();
        let mut came = keep.came();
        for bytes in [&self.pin.root].into_iter().chain(&state.roots) {
            let name = layout::root(trust::pinned_root(bytes)?.version);
            if !keep.has(&name) {
                keep.write_copy(&name, bytes)
                    .and_then(|()| self.placed(keep, &name, &mut kept))
                    .map_err(in_dir(keep))?;
            }
        }
        let mut expected = Expected::default();
        if let Ok(Some(release)) = self.installed_release(&state) {
            expected.of(&release);
        }
        // Releases say what the rest must be, and the head is to name only what is there.
        let rank =
            |name: &str| if name.ends_with("/release") { 0 } else { 1 + u8::from(name.starts_with("channels/")) };
        came.sort_by_key(|(name, _)| rank(name));
        for (name, bytes) in came {
            match self.is_as_signed(keep, &name, bytes, &state, &mut expected) {
                Ok(true) => self.placed(keep, &name, &mut kept).map_err(in_dir(keep))?,
                Ok(false) | Err(_) => kept.not_kept += 1,
            }
        }
        Ok(kept)
    }

    fn placed(&self, keep: &Keep, name: &str, kept: &mut Kept) -> io::Result<()> {
        let bytes = std::fs::metadata(keep.copy_of(name))?.len();
        keep.place(name)?;
        kept.files += 1;
        kept.bytes += bytes;
        Ok(())
    }

    fn is_as_signed(
        &self,
        keep: &Keep,
        name: &str,
        came_bytes: u64,
        state: &TrustState,
        expected: &mut Expected,
    ) -> io::Result<bool> {
        let copy = keep.copy_of(name);
        let length = std::fs::metadata(&copy)?.len();
        if length != came_bytes {
            return Ok(false);
        }
        if name.starts_with("objects/") {
            return Ok(layout::object(&digest_of(&copy)?) == name);
        }
        if let Some((length_expected, header)) = expected.packs.get(name) {
            return Ok(length == *length_expected && is_pack(&copy, header)?);
        }
        if let Some(file) = expected.files.get(name) {
            return Ok(length == file.length && digest_of(&copy)? == file.blake3);
        }
        if name.ends_with("/release") && length <= RELEASE_BYTES_MAX {
            let facts = self.facts(state, None, Goal::Update);
            let Ok(found) = trust::judge_record(&facts, &std::fs::read(&copy)?) else { return Ok(false) };
            expected.of(&found.release);
            return Ok(layout::release(found.release.build, &found.release.platform) == name);
        }
        if name == layout::head(&self.settings.channel) && length <= HEAD_BYTES_MAX {
            let known = std::fs::read(keep.dir().join(name)).ok().and_then(|bytes| self.signed_head(state, bytes));
            let found = self.signed_head(state, std::fs::read(&copy)?);
            return Ok(found.is_some_and(|found| known.is_none_or(|known| known.sequence < found.sequence)));
        }
        Ok(false)
    }

    fn signed_head(&self, state: &TrustState, bytes: Vec<u8>) -> Option<Head> {
        let documents = Documents { head: Some(bytes), ..Documents::default() };
        let judged = trust::judge(&self.facts(state, None, Goal::Check), &documents).ok()?;
        judged.head.map(|head| *head)
    }
}

impl Expected {
    fn of(&mut self, release: &Release) {
        let (build, platform) = (release.build, release.platform.as_str());
        self.files.insert(layout::manifest(build, platform), release.manifest);
        self.files.insert(layout::objects(build, platform), release.objects);
        for notes in &release.notes {
            self.files.insert(layout::notes(build, platform, &notes.language), notes.file);
        }
        for pack in &release.packs {
            self.files.insert(layout::manifest(pack.base_build, platform), pack.base_manifest);
            self.packs.insert(layout::pack(&pack.header.blake3), (pack.length, pack.header));
        }
    }
}

fn in_dir(keep: &Keep) -> impl Fn(io::Error) -> Error {
    |source| Error::Io { doing: "keep what was fetched in", path: keep.dir().to_owned(), source }
}

fn digest_of(path: &Path) -> io::Result<Blake3> {
    Ok(ContentDigest::read(&mut File::open(path)?)?.blake3)
}

/// Whether header and blocks are as signed, and the header names all there is.
fn is_pack(path: &Path, header: &FileRef) -> io::Result<bool> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    if header.length > length.min(HEADER_BYTES_MAX) {
        return Ok(false);
    }
    let mut reader = BufReader::new(file);
    let mut read = |bytes: u64| {
        let mut buffer = Vec::new();
        reader.by_ref().take(bytes).read_to_end(&mut buffer).map(|_| buffer)
    };
    let bytes = read(header.length)?;
    if Blake3::of(&bytes) != header.blake3 {
        return Ok(false);
    }
    let Ok(parsed) = PackHeader::parse(&bytes) else { return Ok(false) };
    for block in parsed.blocks() {
        if Blake3::of(&read(block.length.min(length))?) != block.blake3 {
            return Ok(false);
        }
    }
    Ok(parsed.pack_bytes() == length)
}
