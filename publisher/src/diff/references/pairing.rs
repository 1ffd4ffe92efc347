//! Which image of old an image of new continues, and which section which.

use std::ops::Range;

use lamplighter_client::patch::references::image::{IMAGES_MAX, Image};
use lamplighter_client::patch::references::layout::{Layout, find_images};
use lamplighter_client::patch::references::predict::NewImage;

use super::Files;

/// The images of a unit.
#[derive(Debug, Clone)]
pub struct Pairing {
    /// Those of old, as a client finds them.
    pub(super) old_images: Vec<Image>,
    /// What the patch says of both sides.
    pub(super) layout: Layout,
}

impl Pairing {
    /// Finds the images of both sides; none where no image of new continues one of old.
    pub fn find(old: &[u8], new: &[u8], files: &Files) -> Option<Self> {
        let is_image = |range: &&Range<u64>| !find_images(old, std::slice::from_ref(*range)).is_empty();
        let old_parts: Vec<Range<u64>> = files.old.iter().filter(is_image).take(IMAGES_MAX).cloned().collect();
        let old_images = find_images(old, &old_parts);
        let mut new_images = Vec::new();
        for (index, range) in files.new.iter().enumerate() {
            let twin = files.twins.get(index).copied().flatten().and_then(|twin| files.old.get(twin));
            for image in find_images(new, std::slice::from_ref(range)) {
                let found = continued(&old_images, &image, twin);
                new_images.extend(found.map(|old| new_image(old, &old_images[old], image)));
            }
        }
        new_images.truncate(IMAGES_MAX);
        let layout = Layout { old_parts, new_images };
        (!layout.new_images.is_empty()).then_some(Self { old_images, layout })
    }
}

/// The old image of the same machine within `twin`, else the one of the nearest size.
fn continued(old: &[Image], new: &Image, twin: Option<&Range<u64>>) -> Option<usize> {
    let size = |image: &Image| image.range.end - image.range.start;
    let within =
        |image: &Image| twin.is_some_and(|twin| twin.start <= image.range.start && image.range.end <= twin.end);
    let alike = old.iter().enumerate().filter(|(_, image)| image.machine == new.machine);
    alike.min_by_key(|(index, image)| (!within(image), size(image).abs_diff(size(new)), *index)).map(|(index, _)| index)
}

fn new_image(old: usize, old_image: &Image, mut image: Image) -> NewImage {
    let mut used = vec![false; old_image.names.len()];
    let mut twin = |name: &String| {
        let found = (0..used.len()).find(|index| !used[*index] && old_image.names[*index] == *name)?;
        used[found] = true;
        Some(found)
    };
    let twins: Vec<Option<usize>> = image.names.iter().map(&mut twin).collect();
    // A reader takes the contents of a twin, and knows no names.
    for (section, twin) in image.sections.iter_mut().zip(&twins) {
        section.contents = twin.map_or(section.contents, |twin| old_image.sections[twin].contents);
    }
    image.names.clear();
    NewImage { image, old, twins }
}
