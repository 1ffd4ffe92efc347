//! Which file of a shared patch takes which of its bytes: pure.
//!
//! A patch of one file is that file's. Where small files share one, its streams are decoded and each stored byte goes to a
//! file by what it stands for: the bytes a stream takes in a block are divided in proportion to what the stream says there of
//! each file. Triples, runs, residues and extra bytes have places in the new bytes ([`lamplighter_client::patch`]); what
//! frames them follows the rest. Two things are not in a pack and so are estimated: how many residues predicted operands
//! pass over, and how many bytes each single stream of an archive has. Nothing is lost on the way: the shares of a unit add
//! up to the bytes of its blocks.

use lamplighter_client::format::pack::codec::STORED;
use lamplighter_client::format::pack::wire::Reader;
use lamplighter_client::format::pack::{DEFLATE, REFERENCES, Unit};
use lamplighter_client::patch::control::{Triple, Triples};
use lamplighter_client::patch::deflate::DeflateLayout;
use lamplighter_client::patch::{PatchError, PieceDecoder};

const CONTROL: usize = 0;
const RUNS: usize = 1;
const RESIDUES: usize = 2;
const EXTRA: usize = 3;
const LAYOUT: usize = 4;

/// Divides the blocks of one unit over its files.
pub struct Shares<'a> {
    unit: &'a Unit,
    sizes: &'a [u64],
    places: Places,
    pieces: PieceDecoder,
    /// Of method 3, until the block with the layout has come.
    layout: Option<PieceDecoder>,
    /// New bytes made so far, and told of by triples so far; the same but for method 2.
    made: u64,
    told: u64,
    parts: Vec<Part>,
    bytes: Vec<u64>,
}

/// What one triple makes: where in new, and how much of it is diff and extra.
#[derive(Debug, Clone, Copy)]
struct Part {
    start: u64,
    diff: u64,
    extra: u64,
}

impl<'a> Shares<'a> {
    /// Before the first block; `sizes` are those of the unit's new rows.
    ///
    /// # Errors
    /// A codec is unknown.
    pub fn new(unit: &'a Unit, sizes: &'a [u64]) -> Result<Self, PatchError> {
        let (layout, streams) = unit.codecs.split_at(usize::from(unit.method == DEFLATE).min(unit.codecs.len()));
        Ok(Self {
            unit,
            sizes,
            places: Places::of(sizes),
            pieces: PieceDecoder::new(streams)?,
            layout: (unit.method == DEFLATE).then(|| PieceDecoder::new(layout)).transpose()?,
            made: 0,
            told: 0,
            parts: Vec::new(),
            bytes: vec![0; sizes.len()],
        })
    }

    /// The next block, whose BLAKE3 has been checked.
    ///
    /// # Errors
    /// It is not what the unit's method writes.
    pub fn block(&mut self, payload: &[u8]) -> Result<(), PatchError> {
        if let Some(mut decoder) = self.layout.take() {
            return self.layout(payload, &mut decoder);
        }
        let codecs = &self.unit.codecs[self.unit.codecs.len() - self.streams()..];
        let mut stored = Vec::with_capacity(codecs.len());
        let mut reader = Reader::new(payload);
        for codec in codecs {
            let length = reader.varint()?;
            if *codec != STORED {
                reader.varint()?;
            }
            reader.bytes(length)?;
            stored.push(length);
        }
        let pieces = self.pieces.decode(payload)?;
        let weights = self.weights(&pieces)?;
        let framing = (payload.len() as u64).saturating_sub(stored.iter().sum());
        let mut block = vec![0; self.sizes.len()];
        for (stored, weights) in stored.iter().zip(&weights) {
            divide(*stored, weights, self.sizes, &mut block);
        }
        let so_far = block.clone();
        divide(framing, &so_far, self.sizes, &mut block);
        self.bytes.iter_mut().zip(block).for_each(|(sum, bytes)| *sum += bytes);
        Ok(())
    }

    /// Bytes of each file, in the order of the new rows.
    pub fn finish(self) -> Vec<u64> {
        self.bytes
    }

    fn streams(&self) -> usize {
        self.unit.codecs.len() - usize::from(self.unit.method == DEFLATE)
    }

    fn layout(&mut self, payload: &[u8], decoder: &mut PieceDecoder) -> Result<(), PatchError> {
        let piece = decoder.decode(payload)?.pop().unwrap_or_default();
        let layout = DeflateLayout::parse(&piece)?;
        let mut weights = vec![0; self.sizes.len()];
        let corners = corners(&layout, self.sizes.iter().sum());
        for corner in corners.windows(2).filter(|pair| pair[1].1 - pair[0].1 != pair[1].0 - pair[0].0) {
            self.places.add(corner[0].0, 1, &mut weights);
        }
        self.places = self.places.moved(&corners);
        divide(payload.len() as u64, &weights, self.sizes, &mut self.bytes);
        Ok(())
    }

    /// For each stream how much it says of each file in this block.
    fn weights(&mut self, pieces: &[Vec<u8>]) -> Result<Vec<Vec<u64>>, PatchError> {
        let mut weights = vec![vec![0; self.sizes.len()]; pieces.len()];
        let (&[control, runs, ..], true) = (&pieces.iter().collect::<Vec<_>>()[..], pieces.len() > EXTRA) else {
            return Ok(weights);
        };
        let mut triples = Triples::read(control)?;
        while let Some(Triple { diff, extra, .. }) = triples.next()? {
            self.places.add(self.told, 1, &mut weights[CONTROL]);
            self.parts.push(Part { start: self.told, diff, extra });
            self.told = self.told.saturating_add(diff).saturating_add(extra);
        }
        let end = match self.unit.method {
            REFERENCES => {
                self.made.saturating_add(Reader::new(pieces.get(LAYOUT).map_or(&[], Vec::as_slice)).varint()?)
            }
            _ => self.told,
        };
        let copied = self.copied(end, &mut weights[EXTRA]);
        self.walk_runs(runs, &copied, &mut weights)?;
        for (start, length) in copied {
            weights.iter_mut().skip(LAYOUT).for_each(|weights| self.places.add(start, length, weights));
        }
        self.made = end;
        self.parts.retain(|part| part.start.saturating_add(part.diff).saturating_add(part.extra) > end);
        Ok(weights)
    }

    /// What of new is copied from old up to `end`, and the extra bytes there by file.
    fn copied(&self, end: u64, extra: &mut [u64]) -> Vec<(u64, u64)> {
        let within = |start: u64, length: u64| {
            let (from, to) = (start.max(self.made), start.saturating_add(length).min(end));
            (from < to).then(|| (from, to - from))
        };
        let mut copied = Vec::new();
        for part in &self.parts {
            copied.extend(within(part.start, part.diff));
            if let Some((start, length)) = within(part.start.saturating_add(part.diff), part.extra) {
                self.places.add(start, length, extra);
            }
        }
        copied
    }

    /// Runs count the diff bytes of the block one after the other; `copied` says where these lie in new.
    fn walk_runs(&self, runs: &[u8], copied: &[(u64, u64)], weights: &mut [Vec<u64>]) -> Result<(), PatchError> {
        let mut runs = Reader::new(runs);
        let mut copied = copied.iter().copied();
        let (mut start, mut left) = copied.next().unwrap_or_default();
        let mut last = start;
        while !runs.is_empty() {
            for (is_residues, mut count) in [(false, runs.varint()?), (true, runs.varint()?)] {
                if is_residues {
                    self.places.add(start, 1, &mut weights[RUNS]);
                }
                while count > 0 {
                    if left == 0 {
                        let Some(next) = copied.next() else { break };
                        (start, left) = next;
                    }
                    let step = count.min(left);
                    if is_residues {
                        self.places.add(start, step, &mut weights[RESIDUES]);
                    }
                    (last, start, left, count) = (start, start.saturating_add(step), left - step, count - step);
                }
                if is_residues && count > 0 {
                    self.places.add(last, count, &mut weights[RESIDUES]);
                }
            }
        }
        Ok(())
    }
}

/// Where the files lie in what the triples make, one after the other: the end of each.
struct Places {
    ends: Vec<u64>,
}

impl Places {
    fn of(sizes: &[u64]) -> Self {
        let mut end = 0u64;
        let next = |size: &u64| {
            end = end.saturating_add(*size);
            end
        };
        Self { ends: sizes.iter().map(next).collect() }
    }

    /// Adds `length` to the files that `length` bytes at `start` lie in; what lies behind all is the last one's.
    fn add(&self, mut start: u64, mut length: u64, weights: &mut [u64]) {
        let mut file = self.ends.partition_point(|end| *end <= start);
        while length > 0 {
            let last = self.ends.len() - 1;
            let step = if file >= last { length } else { length.min(self.ends[file] - start) };
            let weight = &mut weights[file.min(last)];
            *weight = weight.saturating_add(step);
            (start, length, file) = (start.saturating_add(step), length - step, file + 1);
        }
    }

    /// The same files where the texts of archives stand for their streams.
    fn moved(&self, corners: &[(u64, u64)]) -> Self {
        Self { ends: self.ends.iter().map(|end| interpolate(corners, *end)).collect() }
    }
}

/// Corresponding places in new and in expanded new. How long each stream is in new stands nowhere: what all have together is
/// divided by their texts.
fn corners(layout: &DeflateLayout, new_bytes: u64) -> Vec<(u64, u64)> {
    let gaps = layout.new.iter().fold(layout.rest_bytes, |sum, stream| sum.saturating_add(stream.gap_bytes));
    let streams = new_bytes.saturating_sub(gaps);
    let texts: u64 = layout.new.iter().fold(0, |sum, stream| sum.saturating_add(stream.text_bytes));
    let (mut corners, mut new_at, mut at) = (vec![(0, 0)], 0u64, 0u64);
    let (mut text_sum, mut stream_sum) = (0u64, 0);
    for stream in &layout.new {
        new_at = new_at.saturating_add(stream.gap_bytes);
        at = at.saturating_add(stream.gap_bytes);
        corners.push((new_at, at));
        text_sum = text_sum.saturating_add(stream.text_bytes);
        let reached = scaled(streams, text_sum, texts);
        new_at = new_at.saturating_add(reached - stream_sum);
        stream_sum = reached;
        at = at.saturating_add(stream.text_bytes);
        corners.push((new_at, at));
    }
    corners.push((new_at.saturating_add(layout.rest_bytes), at.saturating_add(layout.rest_bytes)));
    corners
}

fn interpolate(corners: &[(u64, u64)], place: u64) -> u64 {
    let after = corners.partition_point(|corner| corner.0 <= place).min(corners.len() - 1);
    let (from, to) = (corners[after.saturating_sub(1)], corners[after]);
    from.1 + scaled(to.1 - from.1, place.saturating_sub(from.0).min(to.0 - from.0), to.0 - from.0)
}

/// `whole × part ÷ parts`, 0 where there are no parts.
fn scaled(whole: u64, part: u64, parts: u64) -> u64 {
    match parts {
        0 => 0,
        _ => (u128::from(whole) * u128::from(part) / u128::from(parts)) as u64,
    }
}

/// Adds `bytes` to `shares` in proportion to `weights`, or else to `otherwise`, or else to the first; not one is lost.
pub fn divide(bytes: u64, weights: &[u64], otherwise: &[u64], shares: &mut [u64]) {
    let sum = |weights: &[u64]| weights.iter().map(|weight| u128::from(*weight)).sum::<u128>();
    let (weights, all) = match (sum(weights), sum(otherwise)) {
        (0, 0) => {
            shares.iter_mut().take(1).for_each(|share| *share += bytes);
            return;
        }
        (0, all) => (otherwise, all),
        (all, _) => (weights, all),
    };
    // So that products fit; the last weight reaches `all` all the same.
    let shift = (128 - all.leading_zeros()).saturating_sub(64);
    let (mut weight_sum, mut given) = (0u128, 0u64);
    for (weight, share) in weights.iter().zip(shares) {
        weight_sum += u128::from(*weight);
        let reached = (u128::from(bytes) * (weight_sum >> shift) / (all >> shift)) as u64;
        *share += reached - given;
        given = reached;
    }
}

#[cfg(test)]
mod tests {
    use lamplighter_client::patch::deflate::NewStream;
    use lamplighter_client::zlib::Settings;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn places_are_split_at_the_ends_of_files() {
        let places = Places::of(&[10, 0, 5]);
        let mut weights = vec![0; 3];
        places.add(8, 4, &mut weights);
        assert_eq!(weights, [2, 0, 2]);
        places.add(14, 9, &mut weights);
        assert_eq!(weights, [2, 0, 11], "what lies behind is the last one's");
    }

    #[test]
    fn an_archive_takes_the_room_of_its_texts() {
        let settings = Settings::from_number(68).expect("settings");
        let layout = DeflateLayout {
            old: Vec::new(),
            new: vec![
                NewStream { gap_bytes: 10, text_bytes: 100, settings },
                NewStream { gap_bytes: 30, text_bytes: 300, settings },
            ],
            rest_bytes: 20,
        };
        // 160 bytes: 60 around the streams, so 25 and 75 for the streams.
        let corners = corners(&layout, 160);
        assert_eq!(corners, [(0, 0), (10, 10), (35, 110), (65, 140), (140, 440), (160, 460)]);
        assert_eq!(Places::of(&[50, 110]).moved(&corners).ends, [125, 460]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost(bytes: u64, weights in proptest::collection::vec(any::<u64>(), 1..20), other: u64) {
            let otherwise = vec![other; weights.len()];
            let mut shares = vec![0; weights.len()];
            divide(bytes, &weights, &otherwise, &mut shares);
            prop_assert_eq!(shares.iter().sum::<u64>(), bytes);
        }
    }
}
