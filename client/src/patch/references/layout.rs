//! The images of a unit, as a patch names them: where executables lie in old, and the section tables of new.
//!
//! Numbers are varints, signed ones zigzag.
//!
//! | field | form |
//! | --- | --- |
//! | parts of old | count; for each the bytes from the end of the part before, and its length: [`Image::find`] looks for images there |
//! | images of new | count, then each of them, in order |
//!
//! An image of new: which old image it continues (difference from its own index); bytes from the end of the image
//! before, and length; difference of the base and of the distance to the string table; count of sections. A section: 0
//! and its contents, or 1 + the difference of the index of its twin, the section of the old image it continues, from the
//! one after the last twin; then differences of address, size, offset in the image and bytes in the file: from those of
//! the twin, moved as the section before was moved, or from 0.
//!
//! MUST: old images have the same machine; parts and images lie within old and new; at most 256 of either, with at most
//! 256 sections.

use std::ops::Range;

use super::super::PatchError;
use super::image::{Contents, IMAGES_MAX, Image, SECTIONS_MAX, Section};
use super::predict::NewImage;
use crate::format::pack::wire::{Reader, put_varint, unzigzag, zigzag};

/// What a patch says of the images on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout {
    /// Where to look for images in old.
    pub old_parts: Vec<Range<u64>>,
    /// The images of new.
    pub new_images: Vec<NewImage>,
}

/// The images in `old` at `parts`.
pub fn find_images(old: &[u8], parts: &[Range<u64>]) -> Vec<Image> {
    let mut images = Vec::new();
    for part in parts {
        let bytes = usize::try_from(part.start).ok().zip(usize::try_from(part.end).ok());
        if let Some(bytes) = bytes.and_then(|(start, end)| old.get(start..end)) {
            images.extend(Image::find(bytes, part.start));
        }
    }
    images.truncate(IMAGES_MAX);
    images
}

impl Layout {
    /// Appends the layout; `old_images` are those [`find_images`] gives.
    pub fn put(&self, out: &mut Vec<u8>, old_images: &[Image]) {
        put_varint(out, self.old_parts.len() as u64);
        let mut end = 0;
        for part in &self.old_parts {
            put_varint(out, part.start - end);
            put_varint(out, part.end - part.start);
            end = part.end;
        }
        put_varint(out, self.new_images.len() as u64);
        end = 0;
        for (index, new) in self.new_images.iter().enumerate() {
            put_varint(out, zigzag(new.old as i64 - index as i64));
            put_image(out, new, &old_images[new.old], end);
            end = new.image.range.end;
        }
    }
}

fn put_image(out: &mut Vec<u8>, new: &NewImage, old: &Image, end: u64) {
    let image = &new.image;
    put_varint(out, image.range.start - end);
    put_varint(out, image.range.end - image.range.start);
    put_varint(out, difference(image.base, old.base));
    put_varint(out, difference(image.strings - image.range.start, old.strings - old.range.start));
    put_varint(out, image.sections.len() as u64);
    let mut walk = Walk::default();
    for (section, twin) in image.sections.iter().zip(&new.twins) {
        match twin {
            Some(twin) => put_varint(out, 1 + zigzag(*twin as i64 - walk.next_twin)),
            None => {
                put_varint(out, 0);
                put_varint(out, section.contents.number());
            }
        }
        let expected = walk.expect(twin.map(|twin| (twin, &old.sections[twin])), old.range.start);
        let relative = Section { offset: section.offset - image.range.start, ..*section };
        let fields = [
            (relative.address, expected.address),
            (relative.size, expected.size),
            (relative.offset, expected.offset),
            (relative.file_size, expected.file_size),
        ];
        fields.iter().for_each(|(actual, expected)| put_varint(out, difference(*actual, *expected)));
        walk.step(twin.map(|twin| (twin, &old.sections[twin])), old.range.start, &relative);
    }
}

/// What is expected of the next section.
#[derive(Default)]
struct Walk {
    next_twin: i64,
    address_shift: u64,
    offset_shift: u64,
}

impl Walk {
    fn expect(&self, twin: Option<(usize, &Section)>, old_start: u64) -> Section {
        let none = Section { address: 0, size: 0, offset: 0, file_size: 0, contents: Contents::Other };
        let Some((_, twin)) = twin else { return none };
        Section {
            address: twin.address.wrapping_add(self.address_shift),
            offset: (twin.offset - old_start).wrapping_add(self.offset_shift),
            ..*twin
        }
    }

    fn step(&mut self, twin: Option<(usize, &Section)>, old_start: u64, section: &Section) {
        if let Some((index, twin)) = twin {
            self.next_twin = index as i64 + 1;
            self.address_shift = section.address.wrapping_sub(twin.address);
            self.offset_shift = section.offset.wrapping_sub(twin.offset - old_start);
        }
    }
}

const fn difference(actual: u64, expected: u64) -> u64 {
    zigzag(actual.wrapping_sub(expected) as i64)
}

/// Reads the parts of old; the images there are needed to go on.
pub(super) fn read_parts(reader: &mut Reader<'_>, old_length: u64) -> Result<Vec<Range<u64>>, PatchError> {
    let (mut parts, mut end) = (Vec::new(), 0);
    for _ in 0..count(reader, "parts of old", IMAGES_MAX)? {
        let part = range(reader, end, old_length)?;
        end = part.end;
        parts.push(part);
    }
    Ok(parts)
}

/// Reads the images of new.
pub(super) fn read_images(
    reader: &mut Reader<'_>,
    old_images: &[Image],
    new_length: u64,
) -> Result<Vec<NewImage>, PatchError> {
    let (mut images, mut end) = (Vec::new(), 0);
    for index in 0..count(reader, "images of new", IMAGES_MAX)? {
        let image = read_image(reader, index, old_images, end, new_length)?;
        end = image.image.range.end;
        images.push(image);
    }
    Ok(images)
}

fn read_image(
    reader: &mut Reader<'_>,
    index: usize,
    old_images: &[Image],
    end: u64,
    new_length: u64,
) -> Result<NewImage, PatchError> {
    let old = (index as i64).checked_add(unzigzag(reader.varint()?)).and_then(|old| usize::try_from(old).ok());
    let missing = PatchError::Invalid { what: "an image that continues none of old" };
    let (old, old_image) = old.and_then(|old| Some((old, old_images.get(old)?))).ok_or(missing)?;
    let range = range(reader, end, new_length)?;
    let base = plus(old_image.base, reader.varint()?);
    let strings = plus(old_image.strings - old_image.range.start, reader.varint()?).wrapping_add(range.start);
    let (mut sections, mut twins) = (Vec::new(), Vec::new());
    let mut walk = Walk::default();
    for _ in 0..count(reader, "sections", SECTIONS_MAX)? {
        let (section, twin) = read_section(reader, old_image, &mut walk)?;
        let offset = section.offset.checked_add(range.start);
        let file_end = offset.and_then(|offset| offset.checked_add(section.file_size));
        if file_end.is_none_or(|end| end > range.end) || section.address.checked_add(section.size).is_none() {
            return Err(PatchError::Invalid { what: "a section beyond its image" });
        }
        sections.push(Section { offset: section.offset + range.start, ..section });
        twins.push(twin);
    }
    let image = Image { machine: old_image.machine, base, range, sections, names: Vec::new(), strings };
    if image.span().is_none() {
        return Err(PatchError::Invalid { what: "an image that spans more than 4 GiB" });
    }
    Ok(NewImage { image, old, twins })
}

fn read_section(reader: &mut Reader<'_>, old: &Image, walk: &mut Walk) -> Result<(Section, Option<usize>), PatchError> {
    let (twin, contents) = match reader.varint()? {
        0 => (None, Contents::from_number(reader.varint()?)),
        code => {
            let index = walk.next_twin.checked_add(unzigzag(code - 1)).and_then(|index| usize::try_from(index).ok());
            let found = index.and_then(|index| Some((index, old.sections.get(index)?)));
            let twin = found.ok_or(PatchError::Invalid { what: "a section that continues none of old" })?;
            (Some(twin), Some(twin.1.contents))
        }
    };
    let contents = contents.ok_or(PatchError::Invalid { what: "unknown contents of a section" })?;
    let expected = walk.expect(twin, old.range.start);
    let section = Section {
        address: plus(expected.address, reader.varint()?),
        size: plus(expected.size, reader.varint()?),
        offset: plus(expected.offset, reader.varint()?),
        file_size: plus(expected.file_size, reader.varint()?),
        contents,
    };
    walk.step(twin, old.range.start, &section);
    Ok((section, twin.map(|(index, _)| index)))
}

const fn plus(expected: u64, code: u64) -> u64 {
    expected.wrapping_add(unzigzag(code) as u64)
}

fn range(reader: &mut Reader<'_>, end: u64, limit: u64) -> Result<Range<u64>, PatchError> {
    let start = end.checked_add(reader.varint()?);
    let length = reader.varint()?;
    match start.and_then(|start| Some(start..start.checked_add(length)?)) {
        Some(range) if range.end <= limit => Ok(range),
        _ => {
            Err(PatchError::Limit { what: "bytes of a part or image", limit: limit.saturating_sub(end), found: length })
        }
    }
}

fn count(reader: &mut Reader<'_>, what: &'static str, limit: usize) -> Result<usize, PatchError> {
    let found = reader.varint()?;
    match usize::try_from(found) {
        Ok(count) if count <= limit => Ok(count),
        _ => Err(PatchError::Limit { what, limit: limit as u64, found }),
    }
}
