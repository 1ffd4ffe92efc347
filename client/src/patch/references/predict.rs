//! Predicts operands: what a reference copied from old says in new.
//!
//! A reference of old points to a target; the alignment tells where that target went; so the operand can be written
//! for its new place. Where that turns out wrong, the true target is remembered for all further references to the same
//! old target. For each kind of operand a vote compares the prediction with the plain old operand, and the better one is
//! used from then on.
//!
//! Publisher and client run the same steps in the same order, so both always predict the same.

use rayon::prelude::*;

use super::alignment::Alignment;
use super::image::{Image, image_at};
use super::operand::{KINDS, Kind, Place};
use super::scan::Found;

/// No prediction for a target.
const UNKNOWN: u64 = u64::MAX;
/// The votes' upper bound.
const VOTES_MAX: u16 = 255;

/// An image of new, and which of old it continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewImage {
    /// The image.
    pub image: Image,
    /// Index of the old image it continues.
    pub old: usize,
    /// For each of its sections the one of the old image it continues.
    pub twins: Vec<Option<usize>>,
}

/// A place in new that lies in a section of an image.
#[derive(Debug, Clone, Copy)]
pub struct NewPlace {
    image: u32,
    /// What operands there count from.
    pub place: Place,
}

/// Finds places in new; they are asked for in rising order as a rule.
pub struct Places {
    /// First and end offset, image, section; by offset.
    ranges: Vec<(u64, u64, u32, Place)>,
    last: usize,
}

impl Places {
    /// Over all sections of `images`.
    pub fn new(images: &[NewImage]) -> Self {
        let mut ranges = Vec::new();
        for (index, NewImage { image, .. }) in images.iter().enumerate() {
            for section in image.sections.iter().filter(|section| section.file_size > 0) {
                let place = Place {
                    address: section.address,
                    section: section.address,
                    base: image.base,
                    strings: image.strings,
                };
                let range = section.file_range();
                ranges.push((range.start, range.end, index as u32, place));
            }
        }
        ranges.sort_by_key(|range| (range.0, range.1));
        Self { ranges, last: 0 }
    }

    /// The place of byte `offset` of new, if it lies in a section.
    pub fn at(&mut self, offset: u64) -> Option<NewPlace> {
        let holds = |range: &(u64, u64, u32, Place)| (range.0..range.1).contains(&offset);
        if !self.ranges.get(self.last).is_some_and(holds) {
            self.last = self.ranges.partition_point(|range| range.0 <= offset).checked_sub(1)?;
        }
        let (start, _, image, place) = self.ranges.get(self.last).filter(|range| holds(range))?;
        let address = place.address.wrapping_add(offset - start);
        Some(NewPlace { image: *image, place: Place { address, ..*place } })
    }
}

/// All references of old, and what is known of their targets.
pub struct Predictor {
    offsets: Vec<u32>,
    kinds: Vec<Kind>,
    /// For each reference the index of its target.
    targets: Vec<u32>,
    /// For each target, new image << 32 | place in it.
    mapped: Vec<u64>,
    /// For each new image its lowest address, its span, and its first byte in new.
    bounds: Vec<(u64, u64, u64)>,
    votes: [[u16; 2]; KINDS],
}

/// What is expected of one operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prediction {
    /// By the target.
    by_target: u64,
    /// What to expect: that, or the old operand.
    pub word: u64,
}

impl Predictor {
    /// Maps the targets of `found` by `alignment`.
    pub fn new(old: &[Image], new: &[NewImage], found: &[Found], alignment: &Alignment) -> Self {
        let (targets, unique) = unique_targets(old, found);
        let low = |image: &Image| image.span().map_or(0, |(low, _)| low);
        let mapper = Mapper {
            old_low: old.iter().map(low).collect(),
            new_low: new.iter().map(|new| low(&new.image)).collect(),
            old,
            new,
            alignment,
        };
        let mapped = unique.into_par_iter().map(|target| mapper.map(target).unwrap_or(UNKNOWN)).collect();
        let bound = |new: &NewImage| {
            let (low, span) = new.image.span().unwrap_or((0, 0));
            (low, u64::from(span), new.image.range.start)
        };
        Self {
            offsets: found.iter().map(|found| found.offset).collect(),
            kinds: found.iter().map(|found| found.kind).collect(),
            targets,
            mapped,
            bounds: new.iter().map(bound).collect(),
            votes: [[0; 2]; KINDS],
        }
    }

    /// Index of the first reference at or behind `offset` of old.
    pub fn first_from(&self, offset: u64) -> usize {
        self.offsets.partition_point(|at| u64::from(*at) < offset)
    }

    /// Place in old and kind of a reference; none behind the last.
    pub fn reference(&self, index: usize) -> Option<(u64, Kind)> {
        Some((u64::from(*self.offsets.get(index)?), self.kinds[index]))
    }

    /// Where the target of reference `index` went: the image of new in the upper half, the place in it in the lower.
    pub fn mapped(&self, index: usize) -> Option<u64> {
        Some(self.mapped[self.targets[index] as usize]).filter(|mapped| *mapped != UNKNOWN)
    }

    /// What reference `index`, which says `old_word` in old, should say at `at` of new; none where nothing is known of
    /// its target.
    pub fn predict(&self, index: usize, old_word: u64, at: NewPlace) -> Option<Prediction> {
        let kind = self.kinds[index];
        let mapped = self.mapped[self.targets[index] as usize];
        if mapped >> 32 != u64::from(at.image) {
            return None;
        }
        let by_target = kind.point(old_word, at.place, self.from(kind, at.image).wrapping_add(mapped & 0xffff_ffff));
        let [by_target_votes, old_votes] = self.votes[kind as usize];
        Some(Prediction { by_target, word: if by_target_votes >= old_votes { by_target } else { old_word } })
    }

    /// Takes note of what reference `index` really says.
    pub fn learn(&mut self, index: usize, prediction: Prediction, old_word: u64, word: u64, at: NewPlace) {
        let kind = self.kinds[index];
        let [by_target, unchanged] = &mut self.votes[kind as usize];
        match (prediction.by_target == word, old_word == word) {
            (true, false) => {
                *by_target = (*by_target + 1).min(VOTES_MAX);
                *unchanged -= *unchanged >> 3;
            }
            (false, true) => {
                *unchanged = (*unchanged + 1).min(VOTES_MAX);
                *by_target -= *by_target >> 3;
            }
            _ => {}
        }
        if prediction.by_target != word
            && let Some(target) = kind.target(word, at.place)
        {
            let into = target.wrapping_sub(self.from(kind, at.image));
            if into < self.bounds[at.image as usize].1 {
                self.mapped[self.targets[index] as usize] = u64::from(at.image) << 32 | into;
            }
        }
    }

    /// What targets of `kind` are counted from in an image of new.
    fn from(&self, kind: Kind, image: u32) -> u64 {
        let (low, _, start) = self.bounds[image as usize];
        if kind.is_file_offset() { start } else { low }
    }
}

/// A target in old: image, whether it is an offset in the file, place.
type Target = (usize, bool, u32);

/// For each reference the index of its target, and the targets.
fn unique_targets(old: &[Image], found: &[Found]) -> (Vec<u32>, Vec<Target>) {
    // image < 2^8, file bit, target 32 bits, reference < 2^22: 63 bits.
    let mut image = 0;
    let mut keys = Vec::with_capacity(found.len());
    for (index, found) in found.iter().enumerate() {
        if !old.get(image).is_some_and(|old: &Image| old.range.contains(&u64::from(found.offset))) {
            image = image_at(old, u64::from(found.offset)).unwrap_or(0);
        }
        let class = (image as u64) << 1 | u64::from(found.kind.is_file_offset());
        keys.push((class << 32 | u64::from(found.target)) << 22 | index as u64);
    }
    keys.par_sort_unstable();
    let mut targets = vec![0; found.len()];
    let mut unique: Vec<Target> = Vec::new();
    let mut last = None;
    for key in keys {
        let (target, index) = (key >> 22, (key & 0x3f_ffff) as usize);
        if last != Some(target) {
            last = Some(target);
            unique.push(((target >> 33) as usize, target >> 32 & 1 == 1, target as u32));
        }
        targets[index] = unique.len() as u32 - 1;
    }
    (targets, unique)
}

struct Mapper<'a> {
    /// Lowest address of each image.
    old_low: Vec<u64>,
    new_low: Vec<u64>,
    old: &'a [Image],
    new: &'a [NewImage],
    alignment: &'a Alignment,
}

impl Mapper<'_> {
    /// New image << 32 | place in it.
    fn map(&self, (image, in_file, target): Target) -> Option<u64> {
        let old = self.old.get(image)?;
        if in_file {
            let offset = self.alignment.new_offset(old.range.start + u64::from(target))?;
            let index = self.new.iter().position(|new| new.image.range.contains(&offset))?;
            return Some(
                (index as u64) << 32 | u64::from(u32::try_from(offset - self.new[index].image.range.start).ok()?),
            );
        }
        let address = self.old_low[image] + u64::from(target);
        self.by_bytes(old, address).or_else(|| self.by_section(image, old, address))
    }

    /// By where the bytes at the target went.
    fn by_bytes(&self, old: &Image, address: u64) -> Option<u64> {
        let offset = self.alignment.new_offset(old.offset_of(address)?)?;
        let index = self.new.iter().position(|new| new.image.range.contains(&offset))?;
        self.pack(index, self.new[index].image.address_of(offset)?)
    }

    /// By where the section went: for what the file has no bytes of.
    fn by_section(&self, image: usize, old: &Image, address: u64) -> Option<u64> {
        let section = old.section_at(address)?;
        let index = self.new.iter().position(|new| new.old == image)?;
        let new = &self.new[index];
        let twin = new.twins.iter().position(|twin| *twin == Some(section))?;
        let into = address - old.sections[section].address;
        self.pack(index, new.image.sections[twin].address.checked_add(into)?)
    }

    fn pack(&self, image: usize, address: u64) -> Option<u64> {
        let into = address.checked_sub(self.new_low[image])?;
        Some((image as u64) << 32 | u64::from(u32::try_from(into).ok()?))
    }
}
