//! New files in staging: which are needed, what they cost, and where each comes from.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::{self, Write};

use super::flush::Flusher;
use super::from_objects::{self, Reusable};
use super::from_pack::OpenPack;
use super::look;
use super::target::Target;
use super::{BaseRelease, Deploy, Route, RouteTaken, Survey};
use crate::error::Error;
use crate::format::digest::Blake3;
use crate::format::manifest::{Kind, Manifest, Row};
use crate::format::objects::ObjectsIndex;
use crate::format::path::RelPath;
use crate::patch::PatchError;
use crate::plan::{self, Change, ContentSource, Costs};
use crate::tree::{StagedFile, Staging, TreeError, TreeFile};

/// The files to stage. A file's staged number is its row in the target manifest, so that it is found again whatever else has
/// changed in the tree meanwhile.
pub(super) struct Stage<'a> {
    deploy: &'a Deploy<'a>,
    staging: &'a Staging,
    /// Rows of the target manifest.
    rows: Vec<usize>,
    sources: Vec<ContentSource>,
    /// Staged in an earlier run and still right.
    done: Vec<bool>,
    /// The objects index, once something needs it.
    index: Option<ObjectsIndex>,
    /// Objects whose content is in the tree.
    reusable: Reusable,
    flusher: Flusher,
}

impl<'a> Stage<'a> {
    /// Chooses the source of every file.
    pub(super) fn plan(
        deploy: &'a Deploy<'a>,
        target: &Target<'_>,
        base: Option<&BaseRelease>,
        survey: &Survey,
        staging: &'a Staging,
        route: Route,
    ) -> Result<Self, Error> {
        let rows = if route == Route::Afresh { all_files(&target.manifest) } else { survey.rows_to_put() };
        let mut done = Vec::with_capacity(rows.len());
        let mut taken = HashSet::new();
        for row in &rows {
            deploy.stop_if_asked()?;
            let digest = &target.manifest.rows()[*row].digest;
            let is_first = taken.insert(digest.blake3);
            let take = || staging.take_previous(*row, digest, is_first);
            done.push(staging.reuse(*row, digest)? || (route == Route::Back && take()?));
        }
        let base = base.filter(|_| route != Route::Afresh);
        let candidates = base.map_or_else(BTreeSet::new, |base| old_rows(&rows, target, base));
        let looked_at: Vec<_> = survey.differences.iter().copied().zip(survey.found.iter().copied()).collect();
        let intact = match base {
            Some(base) => look::intact(deploy, &candidates, &base.manifest, &target.manifest, &looked_at)?,
            None => BTreeSet::new(),
        };
        let local = base.map_or_else(HashMap::new, |base| local_contents(&intact, &base.manifest));
        let unit_of = |row: usize| usable_unit(target.pack.as_ref()?, row, &intact);
        let sources = plan::sources(&rows, &target.manifest, &local, unit_of);
        let flusher = Flusher::new(deploy.helpers, staging, done.iter().filter(|done| !**done).count());
        let mut stage = Self { deploy, staging, rows, sources, done, index: None, reusable: Reusable::new(), flusher };
        if stage.sources.iter().zip(&stage.done).any(|(s, done)| *s == ContentSource::Objects && !done) {
            stage.open_index(target)?;
            stage.reusable = from_objects::reusable(deploy, base, &target.release.platform, &intact);
        }
        Ok(stage)
    }

    /// Position of a row; the rows stand in order.
    fn number_of(&self, row: usize) -> Option<usize> {
        self.rows.binary_search(&row).ok()
    }

    /// What is still to be fetched and written, beside `copied_bytes` of what is replaced.
    pub(super) fn costs(&self, target: &Target<'_>, survey: &Survey, copied_bytes: u64) -> Costs {
        let open = || self.rows.iter().zip(&self.sources).zip(&self.done).filter(|(_, done)| !**done).map(|(x, _)| x);
        let write_bytes: u64 = open().map(|(row, _)| target.manifest.rows()[*row].digest.size).sum();
        let units = self.units();
        let spans: Vec<_> = target.pack.iter().flat_map(|pack| units.iter().map(|unit| pack.span(*unit))).collect();
        let pack_bytes: u64 = spans.iter().map(|span| span.end - span.start).sum();
        let end = target.pack.as_ref().map_or(0, OpenPack::kept_end);
        let kept_bytes: u64 = spans.iter().map(|span| span.end.min(end).saturating_sub(span.start)).sum();
        let runs =
            spans.windows(2).filter(|pair| pair[0].end != pair[1].start).count() + usize::from(!spans.is_empty());
        let rows: Vec<usize> =
            open().filter(|(_, source)| **source == ContentSource::Objects).map(|(row, _)| *row).collect();
        let objects =
            self.index.as_ref().map_or_else(Vec::new, |index| from_objects::needed(index, &rows, &self.reusable));
        let object_bytes: u64 = objects.iter().map(|object| object.length).sum();
        // The pack's own request is open already; it goes on with the first run.
        let requests = (runs.saturating_sub(usize::from(target.pack.is_some())) + objects.len()) as u64;
        let removed = survey.changes.iter().filter(|c| matches!(c, Change::Remove { .. })).count();
        Costs {
            files_written: self.rows.len() as u64,
            files_removed: removed as u64,
            requests,
            fetch_bytes: pack_bytes + object_bytes,
            write_bytes,
            disk_bytes: Costs::disk_bytes_for(write_bytes + copied_bytes, pack_bytes - kept_bytes + object_bytes),
        }
    }

    /// Units still needed, in the order they have in the pack.
    fn units(&self) -> BTreeSet<usize> {
        let unit = |(source, done): (&ContentSource, &bool)| match source {
            ContentSource::Unit(unit) if !done => Some(*unit),
            _ => None,
        };
        self.sources.iter().zip(&self.done).filter_map(unit).collect()
    }

    /// Makes every file; they are durable when it returns. A file that cannot be made from the tree or the pack is fetched
    /// in full, alone.
    pub(super) fn fill(&mut self, target: &mut Target<'_>, base: Option<&BaseRelease>) -> Result<RouteTaken, Error> {
        let to_fetch = |(source, done): (&ContentSource, &bool)| *source == ContentSource::Objects && !done;
        let planned_objects = self.sources.iter().zip(&self.done).any(to_fetch);
        let used_pack = self.sources.iter().any(|s| matches!(s, ContentSource::Unit(_)));
        self.fill_local(&target.manifest)?;
        if let (Some(pack), Some(base)) = (target.pack.as_mut(), base) {
            for unit in self.units() {
                self.fill_unit(pack, unit, base, &target.manifest)?;
            }
        }
        self.fill_twins(target)?;
        let fell_back = self.done.iter().zip(&self.sources).any(|(done, s)| !done && *s != ContentSource::Objects);
        self.fill_objects(target)?;
        self.flusher.wait()?;
        Ok(match (used_pack, planned_objects || fell_back) {
            (true, true) => RouteTaken::PackAndObjects,
            (true, false) => RouteTaken::Pack,
            (false, true) => RouteTaken::Objects,
            (false, false) => RouteTaken::NoContent,
        })
    }

    fn fill_local(&mut self, manifest: &Manifest) -> Result<(), Error> {
        for number in 0..self.rows.len() {
            match self.sources[number].clone() {
                _ if self.done[number] => {}
                ContentSource::Local(path) => {
                    let file = self.deploy.lock.open_file(&path);
                    self.fill_by_copy(number, &path, file, manifest)?;
                }
                ContentSource::Nothing => {
                    let mut sink = Sink::new(self.staging, &self.flusher);
                    sink.push(number, self.rows[number], &manifest.rows()[self.rows[number]])?;
                    self.take(sink.finish()?, manifest);
                }
                ContentSource::Unit(_) | ContentSource::Objects => {}
            }
        }
        Ok(())
    }

    /// Makes one file from another on disk, `path` for messages. What cannot be read is left to be fetched.
    fn fill_by_copy(
        &mut self,
        number: usize,
        path: &RelPath,
        file: Result<TreeFile, TreeError>,
        manifest: &Manifest,
    ) -> Result<(), Error> {
        let Ok(mut file) = file else { return Ok(()) };
        let row = &manifest.rows()[self.rows[number]];
        let mut sink = Sink::new(self.staging, &self.flusher);
        sink.push(number, self.rows[number], row)?;
        match from_objects::copy(self.deploy, &mut file, path, row.digest.size, &mut sink) {
            Ok(()) => self.take(sink.finish()?, manifest),
            Err(error @ Error::Cancelled) => return Err(error),
            Err(error) if sink.failed => return Err(error),
            Err(_) => {}
        }
        Ok(())
    }

    fn fill_unit(
        &mut self,
        pack: &mut OpenPack,
        unit: usize,
        base: &BaseRelease,
        manifest: &Manifest,
    ) -> Result<(), Error> {
        let mut sink = Sink::new(self.staging, &self.flusher);
        for row in &pack.header.units()[unit].new_rows {
            match self.number_of(*row).filter(|number| !self.done[*number]) {
                Some(number) => sink.push(number, *row, &manifest.rows()[*row])?,
                None => sink.push_nowhere(manifest.rows()[*row].digest.size),
            }
        }
        match pack.decode(self.deploy, unit, base, self.staging, &mut sink) {
            Ok(()) => self.take(sink.finish()?, manifest),
            Err(Error::Patch { source: PatchError::Write(source), .. }) if sink.failed => {
                return Err(sink.error(source));
            }
            Err(error) if sink.failed || !error.leaves_other_ways() => return Err(error),
            Err(error) => self.deploy.notice("unit_unusable", &pack.name, &error.to_string()),
        }
        Ok(())
    }

    /// Copies what shares its content with a file that a unit has made.
    fn fill_twins(&mut self, target: &Target<'_>) -> Result<(), Error> {
        let Some(pack) = &target.pack else { return Ok(()) };
        for number in 0..self.rows.len() {
            let Some(twin) = pack.twin_of(self.rows[number]).filter(|_| !self.done[number]) else { continue };
            let path = &target.manifest.rows()[twin].path;
            let file = match self.number_of(twin) {
                Some(made) if self.done[made] => self.staging.open(twin),
                // The unit did not work out: both go by objects.
                Some(_) => continue,
                // It is in the tree already, or the user's edit of it is.
                None => self.deploy.lock.open_file(path),
            };
            self.fill_by_copy(number, path, file, &target.manifest)?;
        }
        Ok(())
    }

    /// Notes which staged files came out right.
    fn take(&mut self, finished: Vec<(usize, bool)>, manifest: &Manifest) {
        for (number, right) in finished {
            self.done[number] = right;
            if !right {
                let path = manifest.rows()[self.rows[number]].path.as_str();
                self.deploy.notice("not_as_expected", path, "did not come out as signed; it is fetched in full");
            }
        }
    }

    fn fill_objects(&mut self, target: &Target<'_>) -> Result<(), Error> {
        let numbers: Vec<usize> = (0..self.rows.len()).filter(|number| !self.done[*number]).collect();
        if numbers.is_empty() {
            return Ok(());
        }
        self.open_index(target)?;
        let reusable = std::mem::take(&mut self.reusable);
        let left = self.objects_pass(&numbers, &reusable, target)?;
        // A file that came out wrong with bytes of the tree in it is made again without them.
        let left = if left.is_empty() { left } else { self.objects_pass(&left, &Reusable::new(), target)? };
        match left.first() {
            None => Ok(()),
            Some(number) => Err(Error::WrongContent { path: target.manifest.rows()[self.rows[*number]].path.clone() }),
        }
    }

    /// Makes the files `numbers` and gives those that did not come out as signed.
    fn objects_pass(
        &mut self,
        numbers: &[usize],
        reusable: &Reusable,
        target: &Target<'_>,
    ) -> Result<Vec<usize>, Error> {
        let Some(index) = &self.index else { return Ok(numbers.to_vec()) };
        let rows: Vec<usize> = numbers.iter().map(|number| self.rows[*number]).collect();
        let number_of: BTreeMap<usize, usize> = rows.iter().copied().zip(numbers.iter().copied()).collect();
        let mut finished = Vec::new();
        from_objects::make(self.deploy, self.staging, index, &rows, reusable, |row, write| {
            let mut sink = Sink::new(self.staging, &self.flusher);
            sink.push(number_of[&row], row, &target.manifest.rows()[row])?;
            write(&mut sink)?;
            finished.extend(sink.finish()?);
            Ok(())
        })?;
        let wrong = finished.iter().filter(|(_, right)| !right).map(|(number, _)| *number).collect();
        for (number, right) in finished {
            self.done[number] = right;
        }
        Ok(wrong)
    }

    fn open_index(&mut self, target: &Target<'_>) -> Result<(), Error> {
        if self.index.is_none() {
            let release = target.release;
            let index = from_objects::fetch_index(
                self.deploy,
                release.build,
                &release.platform,
                &release.objects,
                &target.manifest,
            )?;
            self.index = Some(index);
        }
        Ok(())
    }
}

fn all_files(manifest: &Manifest) -> Vec<usize> {
    manifest.rows().iter().enumerate().filter(|(_, row)| row.is_file()).map(|(index, _)| index).collect()
}

/// Base rows whose content could serve: old files of units that make `rows`, and files with the content of one of them.
fn old_rows(rows: &[usize], target: &Target<'_>, base: &BaseRelease) -> BTreeSet<usize> {
    let wanted: BTreeSet<Blake3> = rows.iter().map(|row| target.manifest.rows()[*row].digest.blake3).collect();
    let same = |(_, row): &(usize, &Row)| row.is_file() && row.digest.size > 0 && wanted.contains(&row.digest.blake3);
    let mut candidates: BTreeSet<usize> =
        base.manifest.rows().iter().enumerate().filter(same).map(|(index, _)| index).collect();
    match &target.pack {
        Some(pack) => {
            let units: BTreeSet<usize> = rows.iter().filter_map(|row| pack.unit_of(*row)).collect();
            candidates.extend(units.iter().flat_map(|unit| &pack.header.units()[*unit].old_rows));
        }
        // Without a pack, pieces of the file at the same path may be the same.
        None => candidates.extend(rows.iter().filter_map(|row| {
            base.manifest
                .find(&target.manifest.rows()[*row].path)
                .filter(|(_, row)| row.is_file())
                .map(|(index, _)| index)
        })),
    }
    candidates
}

fn usable_unit(pack: &OpenPack, row: usize, intact: &BTreeSet<usize>) -> Option<usize> {
    let unit = pack.unit_of(row)?;
    pack.header.units()[unit].old_rows.iter().all(|old| intact.contains(old)).then_some(unit)
}

fn local_contents(intact: &BTreeSet<usize>, base: &Manifest) -> HashMap<Blake3, RelPath> {
    intact.iter().map(|index| &base.rows()[*index]).map(|row| (row.digest.blake3, row.path.clone())).collect()
}

/// Takes the bytes of several files one after the other, each into its staged file or nowhere.
pub(super) struct Sink<'a> {
    staging: &'a Staging,
    flusher: &'a Flusher,
    parts: std::collections::VecDeque<Part>,
    finished: Vec<(usize, bool)>,
    /// Writing failed: the disk is in trouble, not the content.
    pub(super) failed: bool,
    /// Why, until somebody asks.
    failure: Option<TreeError>,
}

struct Part {
    left: u64,
    file: Option<(usize, StagedFile, crate::format::digest::ContentDigest)>,
}

impl<'a> Sink<'a> {
    fn new(staging: &'a Staging, flusher: &'a Flusher) -> Self {
        let (parts, finished) = (std::collections::VecDeque::new(), Vec::new());
        Self { staging, flusher, parts, finished, failed: false, failure: None }
    }

    /// The next bytes are those of `row`, the `number`th of the files to stage, staged as `staged`.
    fn push(&mut self, number: usize, staged: usize, row: &Row) -> Result<(), Error> {
        let executable = row.kind == Kind::File { executable: true };
        let file = self.staging.create(staged, row.digest.size, executable)?;
        self.parts.push_back(Part { left: row.digest.size, file: Some((number, file, row.digest)) });
        Ok(())
    }

    /// The next `size` bytes are not needed.
    fn push_nowhere(&mut self, size: u64) {
        self.parts.push_back(Part { left: size, file: None });
    }

    /// Hands on what is complete to be flushed; gives for each staged number whether it is as signed.
    fn finish(mut self) -> Result<Vec<(usize, bool)>, Error> {
        if let Err(source) = self.end_parts() {
            return Err(self.error(source));
        }
        let missing = self.parts.into_iter().filter_map(|part| part.file.map(|(number, ..)| (number, false)));
        self.finished.extend(missing);
        Ok(self.finished)
    }

    /// What it means that this ended with `source`: the staged file's error if there is one.
    pub(super) fn error(&mut self, source: io::Error) -> Error {
        if let Some(failure) = self.failure.take() {
            return failure.into();
        }
        Error::Io { doing: "write to staging directory", path: self.staging.key().into(), source }
    }

    /// Notes the disk's trouble; gives what writers are told.
    fn fail(&mut self, error: TreeError) -> io::Error {
        (self.failed, self.failure) = (true, Some(error));
        io::Error::other("a staged file cannot be written")
    }

    /// Ends the parts that have all their bytes.
    fn end_parts(&mut self) -> io::Result<()> {
        while self.parts.front().is_some_and(|part| part.left == 0) {
            let part = self.parts.pop_front();
            if let Some((number, file, digest)) = part.and_then(|p| p.file) {
                match file.check(&digest).and_then(|file| self.flusher.push(file)) {
                    Ok(()) => self.finished.push((number, true)),
                    Err(TreeError::Staged { .. }) => self.finished.push((number, false)),
                    Err(error) => return Err(self.fail(error)),
                }
            }
        }
        Ok(())
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.end_parts()?;
        let Some(part) = self.parts.front_mut() else {
            return Err(io::Error::other("more bytes than the files have"));
        };
        let take = usize::try_from(part.left).map_or(bytes.len(), |left| left.min(bytes.len()));
        if let Some((_, file, _)) = &mut part.file
            && let Err(source) = file.write_all(&bytes[..take])
        {
            let error = file.error(source);
            return Err(self.fail(error));
        }
        part.left -= take as u64;
        Ok(take)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
