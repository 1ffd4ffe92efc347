//! What is fuzzed: one function a target, for `fuzz/` and for the test that replays the committed corpora.
//!
//! Each takes any bytes and panics where a promise is broken. Inputs begin with the lengths that other files would declare,
//! so that a fuzzer gets past them.

// Each test file takes what it needs.
#![allow(dead_code, unreachable_pub)]

#[path = "fuzzed/documents.rs"]
mod documents;
#[path = "fuzzed/trees.rs"]
pub mod trees;

use std::io::{self, Cursor};

use lamplighter_client::format::pack::codec::Algorithm;
use lamplighter_client::format::pack::codec::{LZMA, STORED, StreamDecoder, ZSTD};
use lamplighter_client::format::pack::wire::put_varint;
use lamplighter_client::format::pack::{Content, DEFLATE, Edit, Entry, PLAIN, PackHeader, REFERENCES, Unit};
use lamplighter_client::patch::UnitDecoder;
use lamplighter_client::patch::references::alignment::{Alignment, Segment};
use lamplighter_client::patch::references::extra::{Direction, transform};
use lamplighter_client::patch::references::image::Image;
use lamplighter_client::patch::references::operand::word_at;
use lamplighter_client::patch::references::predict::{NewImage, Places, Predictor};
use lamplighter_client::patch::references::scan::scan;

pub use documents::{release_notes, signed_document, state_files, text_records};
pub use trees::{journal, manifest, object_frame, objects_index, paths};

/// Most rows of a base that is made for a header.
const BASE_ROWS_MAX: usize = 200;

/// A target: its name, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 17] = [
    ("text_records", text_records),
    ("signed_document", signed_document),
    ("state_files", state_files),
    ("release_notes", release_notes),
    ("paths", paths),
    ("manifest", manifest),
    ("objects_index", objects_index),
    ("object_frame", object_frame),
    ("journal", journal),
    ("pack_header", pack_header),
    ("pack_rebuild", pack_rebuild),
    ("zstd_stream", zstd_stream),
    ("lzma_stream", lzma_stream),
    ("plain_unit", plain_unit),
    ("references_unit", references_unit),
    ("deflate_unit", deflate_unit),
    ("image_scan", image_scan),
];

/// Takes the front off an input.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn number(&mut self) -> usize {
        let [low, high, rest @ ..] = self.0 else {
            self.0 = &[];
            return 0;
        };
        self.0 = rest;
        usize::from(u16::from_le_bytes([*low, *high]))
    }

    /// As many bytes as a number says, or all that are left.
    fn bytes(&mut self) -> &'a [u8] {
        let length = self.number();
        let (now, later) = self.0.split_at(length.min(self.0.len()));
        self.0 = later;
        now
    }
}

/// An input of [`plain_unit`], [`references_unit`] or [`deflate_unit`]: what is new's length, old, and the pieces of each block.
pub fn unit_input(new_length: usize, old: &[u8], blocks: &[Vec<Vec<u8>>]) -> Vec<u8> {
    let mut input = (new_length as u16).to_le_bytes().to_vec();
    for bytes in [old].into_iter().chain(blocks.iter().flatten().map(Vec::as_slice)) {
        input.extend_from_slice(&(bytes.len() as u16).to_le_bytes());
        input.extend_from_slice(bytes);
    }
    input
}

/// An input of [`zstd_stream`] or [`lzma_stream`]: for each piece its raw length and its stored bytes.
pub fn stream_input(pieces: &[(usize, Vec<u8>)]) -> Vec<u8> {
    let piece = |(raw, stored): &(usize, Vec<u8>)| {
        [&(*raw as u16).to_le_bytes()[..], &(stored.len() as u16).to_le_bytes(), stored].concat()
    };
    pieces.iter().flat_map(piece).collect()
}

/// A header is refused, or its blocks follow each other behind it.
pub fn pack_header(data: &[u8]) {
    if let Ok(header) = PackHeader::parse(data) {
        assert!(header.header_bytes() == data.len() as u64);
        let blocks = header.blocks().iter().enumerate();
        let end = blocks.fold(header.header_bytes(), |at, (index, block)| {
            assert_eq!(header.block_offset(index), at);
            at + block.length
        });
        assert_eq!(end, header.pack_bytes());
    }
}

/// A header is written as it was read, and makes of a base that has the rows it wants an error or a manifest that fits it.
pub fn pack_rebuild(data: &[u8]) {
    let Ok(header) = PackHeader::parse(data) else { return };
    let written = header.to_bytes();
    let again = PackHeader::parse(&written).expect("what was written");
    assert_eq!((again.edits(), again.units(), again.blocks()), (header.edits(), header.units(), header.blocks()));
    assert_eq!(again.to_bytes(), written);
    let rows = base_rows(&header);
    if rows > BASE_ROWS_MAX {
        return;
    }
    let base = trees::rows_of((0..rows as u64).map(|row| (row % 8 != 1).then_some(row)));
    if let Ok(rebuilt) = header.rebuild(&base) {
        assert_eq!(rebuilt.origins.len(), rebuilt.manifest.rows().len());
        assert_eq!(rebuilt.lengths.len(), header.units().len());
        manifest(&rebuilt.manifest.to_bytes());
    }
}

/// Rows a base manifest must have.
fn base_rows(header: &PackHeader) -> usize {
    let copied = |content: &Content| if let Content::Base { row } = content { row + 1 } else { 0 };
    let (mut passed, mut named) = (0usize, 0);
    for edit in header.edits() {
        match edit {
            Edit::Keep { rows } | Edit::Drop { rows } => passed = passed.saturating_add(*rows),
            Edit::Change { content, .. } => {
                passed = passed.saturating_add(1);
                named = named.max(content.as_ref().map_or(0, copied));
            }
            Edit::Insert { entry: Entry::File { content, .. }, .. } => named = named.max(copied(content)),
            Edit::Insert { .. } => {}
        }
    }
    header.units().iter().flat_map(|unit| &unit.old_rows).fold(passed.max(named), |rows, row| rows.max(row + 1))
}

fn stream(codec: Algorithm, data: &[u8]) {
    let mut input = Input(data);
    let mut decoder = StreamDecoder::new(codec).expect("memory").expect("a known codec");
    while !input.0.is_empty() {
        let raw_length = input.number();
        match decoder.piece(input.bytes(), raw_length) {
            Ok(raw) => assert_eq!(raw.len(), raw_length),
            Err(_) => return,
        }
    }
}

/// A piece is refused or has the declared length.
pub fn zstd_stream(data: &[u8]) {
    stream(ZSTD, data);
}

/// As [`zstd_stream`].
pub fn lzma_stream(data: &[u8]) {
    stream(LZMA, data);
}

/// Counts what is written, up to what is declared.
struct Sink {
    left: usize,
}

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len()).expect("no more than declared");
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether an input of a method decodes; `streams` are in the first block and in the others.
pub fn decodes(method: Algorithm, streams: [usize; 2], data: &[u8]) -> bool {
    let mut input = Input(data);
    let new_length = input.number();
    let mut old = input.bytes();
    let mut payloads = Vec::new();
    while !input.0.is_empty() {
        let mut payload = Vec::new();
        for _ in 0..streams[payloads.len().min(1)] {
            let piece = input.bytes();
            put_varint(&mut payload, piece.len() as u64);
            payload.extend_from_slice(piece);
        }
        payloads.push(payload);
    }
    let codecs = if streams[0] == streams[1] { streams[0] } else { streams[0] + streams[1] };
    let unit = Unit {
        method,
        parameters: Vec::new(),
        codecs: vec![STORED; codecs],
        blocks: 0..payloads.len(),
        old_rows: vec![0],
        new_rows: vec![0],
    };
    let scratch = Cursor::new(Vec::new());
    let Ok(mut decoder) = UnitDecoder::new(&unit, old.len() as u64, new_length as u64, scratch) else { return false };
    let mut sink = Sink { left: new_length };
    let decoded = payloads.iter().try_for_each(|payload| decoder.block(payload, &mut old, &mut sink));
    let is_whole = decoded.and_then(|()| decoder.finish()).is_ok();
    assert!(!is_whole || sink.left == 0);
    is_whole
}

/// Any blocks of method 1 give an error or the declared length.
pub fn plain_unit(data: &[u8]) {
    decodes(PLAIN, [4, 4], data);
}

/// Any blocks of method 2, on any old bytes, give an error or the declared length.
pub fn references_unit(data: &[u8]) {
    decodes(REFERENCES, [7, 7], data);
}

/// Any layout and blocks of method 3 give an error or the declared length.
pub fn deflate_unit(data: &[u8]) {
    decodes(DEFLATE, [1, 4], data);
}

/// Any bytes have images whose references lie within them, apart from each other, and can be predicted; extra bytes of
/// their code come back.
pub fn image_scan(data: &[u8]) {
    let images = Image::find(data, 0);
    let found = scan(data, &images);
    let mut end = 0;
    for found in &found {
        assert!(found.offset as usize >= end);
        end = found.offset as usize + found.kind.length();
    }
    assert!(end <= data.len());
    let new_image = |(old, image): (usize, &Image)| NewImage {
        image: image.clone(),
        old,
        twins: (0..image.sections.len()).map(Some).collect(),
    };
    let new: Vec<NewImage> = images.iter().enumerate().map(new_image).collect();
    let half = data.len() as u64 / 2;
    let segments = [Segment { new: 0, old: half, length: half }, Segment { new: half, old: 0, length: half }];
    let mut predictor = Predictor::new(&images, &new, &found, &Alignment::new(&segments));
    let mut places = Places::new(&new);
    for (index, found) in found.iter().enumerate() {
        let word = word_at(data, found.offset as usize, found.kind.length());
        if let Some(at) = places.at(found.offset.into())
            && let Some(prediction) = predictor.predict(index, word, at)
        {
            predictor.learn(index, prediction, word, word, at);
        }
    }
    for image in &images {
        let mut bytes = data[image.range.start as usize..image.range.end as usize].to_vec();
        transform(image, image.range.start, &mut bytes, Direction::ToAbsolute);
        transform(image, image.range.start, &mut bytes, Direction::ToRelative);
        assert!(bytes == data[image.range.start as usize..image.range.end as usize]);
    }
}
