//! Method 3, *deflate*: patches the text inside of archives instead of what a compressor made of it.
//!
//! # Specification
//!
//! Zips, jars, wheels, gzip and PNG files hold deflate streams (RFC 1951). A small change of a stream's text changes
//! nearly all of the stream. So the streams that changed are taken out, on both sides, and method 1 (*plain*) works on
//! what is left and on the texts:
//!
//! * *expanded old* is old as it is, then the text of each old stream the layout lists, in its order;
//! * *expanded new* is new with each stream the layout lists replaced by its text.
//!
//! The unit's codecs are the layout's, then those of the plain patch. Its first block is a payload of one piece, the
//! layout. The other blocks are those of a plain patch from expanded old to expanded new. What they make is passed on as
//! it comes, and where a text comes it is compressed as zlib would ([`crate::zlib`]), which gives the stream as it was.
//!
//! The layout, all varints:
//!
//! | field | form |
//! | --- | --- |
//! | old streams | their count, then for each: bytes of old since the stream before (or the start), bytes of the stream, bytes of its text |
//! | new streams | their count, then for each: bytes of new since the stream before (or the start), bytes of its text, the number of its [settings](crate::zlib::Settings::number) |
//! | rest | bytes of new after the last stream |
//!
//! Nothing says what the archives are: a reader parses none.
//!
//! MUST: the layout has at most 1 MiB; old streams lie within old, in order and apart; no stream and no text is empty;
//! an old stream gives exactly its text and is used up by it; the texts of one side have at most 1 GiB together; what is
//! put together is exactly as long as new, and all of expanded new is made.
//!
//! # Example
//!
//! Old is `<<`, a stream of 60 bytes whose text has 94, and `>>`. New is `<!`, what zlib's level 6 makes of a text of 23
//! bytes, and `>`. Expanded old has 158 bytes, expanded new 26. The layout is
//!
//! ```text
//! 01 02 3c 5e     1 old stream: 2 bytes before it, 60 bytes, 94 bytes of text
//! 01 02 17 44     1 new stream: 2 bytes before it, 23 bytes of text, settings 68
//! 01              1 byte after it
//! ```
//!
//! # Reasons
//!
//! A stream that no settings give byte for byte is not listed; it stays as it is. So is one that did not change: a
//! reader's work follows what changed.
//!
//! Time: that of method 1, the inflating of the old texts, and the compressing of the new ones, whose worst case is some
//! 4096 tries a byte. Memory: that of method 1 and 2 MiB; the old texts go to the scratch.
//!
//! # Changelog
//!
//! * 1: first.

mod expand;
mod layout;
mod weave;

use std::io::{SeekFrom, Write};

use self::expand::{Expanded, inflate_all};
pub use self::layout::{DeflateLayout, LAYOUT_BYTES_MAX, NewStream, OldStream, TEXT_BYTES_MAX};
use self::weave::{Weaver, Weaving};
use super::plain::Plain;
use super::{OldBytes, PatchError, PieceDecoder, Scratch, count};
use crate::format::pack::codec::Algorithm;

/// Where the patch stands between blocks.
pub(super) struct Deflate {
    old_length: u64,
    new_length: u64,
    layout_pieces: PieceDecoder,
    pieces: PieceDecoder,
    scratch: Box<dyn Scratch>,
    open: Option<Open>,
}

/// What there is once the layout was read.
struct Open {
    expanded_bytes: u64,
    plain: Plain,
    weaver: Weaver,
}

impl Deflate {
    pub(super) fn new(
        codecs: &[Algorithm],
        old_length: u64,
        new_length: u64,
        scratch: Box<dyn Scratch>,
    ) -> Result<Self, PatchError> {
        let (layout, plain) = codecs.split_at(1.min(codecs.len()));
        Ok(Self {
            old_length,
            new_length,
            layout_pieces: PieceDecoder::new(layout)?,
            pieces: PieceDecoder::new(plain)?,
            scratch,
            open: None,
        })
    }

    /// Carries out one block.
    pub(super) fn block(
        &mut self,
        payload: &[u8],
        old: &mut dyn OldBytes,
        new: &mut dyn Write,
    ) -> Result<(), PatchError> {
        let Some(open) = &mut self.open else {
            let layout = self.layout_pieces.decode(payload)?.pop().unwrap_or_default();
            self.open = Some(self.start(&layout, old)?);
            return Ok(());
        };
        let mut expanded = Expanded::new(old, self.old_length, &mut *self.scratch);
        let mut weaving = Weaving::new(&mut open.weaver, new);
        open.plain.apply(&self.pieces.decode(payload)?, &mut expanded, &mut weaving)
    }

    /// Checks that all of expanded new and of new was made.
    pub(super) fn finish(&self) -> Result<(), PatchError> {
        let (expanded, new_bytes) = match &self.open {
            Some(open) => ((open.expanded_bytes, open.plain.new_bytes()), open.weaver.new_bytes()),
            None => ((0, 0), 0),
        };
        count("bytes of expanded new", expanded.0, expanded.1)?;
        count("new bytes", self.new_length, new_bytes)
    }

    fn start(&mut self, layout: &[u8], old: &mut dyn OldBytes) -> Result<Open, PatchError> {
        let layout = DeflateLayout::parse(layout)?;
        layout.check(self.old_length, self.new_length)?;
        self.scratch.seek(SeekFrom::Start(0)).map_err(PatchError::Scratch)?;
        inflate_all(&layout.old, old, &mut *self.scratch)?;
        let old_bytes = self.old_length + layout.old_text_bytes();
        let new_bytes = layout.expanded_new_bytes();
        Ok(Open {
            expanded_bytes: new_bytes,
            plain: Plain::new(old_bytes, new_bytes),
            weaver: Weaver::new(layout.new, self.new_length),
        })
    }
}
