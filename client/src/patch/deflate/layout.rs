//! Where the streams lie: the layout of method 3 in its bytes.

use super::super::PatchError;
use crate::format::pack::wire::{Reader, put_varint};
use crate::zlib::Settings;

/// Most bytes a layout may have.
pub const LAYOUT_BYTES_MAX: u64 = 1 << 20;
/// Most bytes the texts of one side may have together.
pub const TEXT_BYTES_MAX: u64 = 1 << 30;

/// A deflate stream of old whose text is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OldStream {
    /// Where it begins in old, in bytes.
    pub offset: u64,
    /// Its own bytes.
    pub stream_bytes: u64,
    /// Bytes of its text.
    pub text_bytes: u64,
}

/// A deflate stream of new that is made from its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewStream {
    /// Bytes of new between the stream before, or the start, and this one.
    pub gap_bytes: u64,
    /// Bytes of its text.
    pub text_bytes: u64,
    /// What zlib was told.
    pub settings: Settings,
}

/// Which streams method 3 takes out of old and new.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeflateLayout {
    /// Streams of old, in order and apart.
    pub old: Vec<OldStream>,
    /// Streams of new, in order.
    pub new: Vec<NewStream>,
    /// Bytes of new after the last stream.
    pub rest_bytes: u64,
}

impl DeflateLayout {
    /// The bytes that stand for it. Streams of old are in order and apart.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, self.old.len() as u64);
        let mut end = 0;
        for stream in &self.old {
            put_varint(&mut out, stream.offset.saturating_sub(end));
            put_varint(&mut out, stream.stream_bytes);
            put_varint(&mut out, stream.text_bytes);
            end = stream.offset.saturating_add(stream.stream_bytes);
        }
        put_varint(&mut out, self.new.len() as u64);
        for stream in &self.new {
            put_varint(&mut out, stream.gap_bytes);
            put_varint(&mut out, stream.text_bytes);
            put_varint(&mut out, stream.settings.number());
        }
        put_varint(&mut out, self.rest_bytes);
        out
    }

    /// Parses a layout, without regard to the lengths of old and new.
    ///
    /// # Errors
    /// It is too long, cut, or has empty streams.
    pub fn parse(bytes: &[u8]) -> Result<Self, PatchError> {
        limit("bytes of a layout", LAYOUT_BYTES_MAX, bytes.len() as u64)?;
        let mut reader = Reader::new(bytes);
        let mut layout = Self::default();
        let mut end = 0u64;
        // Each stream takes three bytes, so no count makes lists longer than the layout.
        for _ in 0..reader.varint()? {
            let offset = end.saturating_add(reader.varint()?);
            let stream = OldStream { offset, stream_bytes: reader.varint()?, text_bytes: reader.varint()? };
            if stream.stream_bytes == 0 || stream.text_bytes == 0 {
                return Err(PatchError::Invalid { what: "an empty old stream" });
            }
            end = offset.saturating_add(stream.stream_bytes);
            layout.old.push(stream);
        }
        for _ in 0..reader.varint()? {
            let (gap_bytes, text_bytes) = (reader.varint()?, reader.varint()?);
            let settings = Settings::from_number(reader.varint()?)
                .ok_or(PatchError::Invalid { what: "settings that zlib does not have" })?;
            if text_bytes == 0 {
                return Err(PatchError::Invalid { what: "an empty new stream" });
            }
            layout.new.push(NewStream { gap_bytes, text_bytes, settings });
        }
        layout.rest_bytes = reader.varint()?;
        match reader.rest().len() as u64 {
            0 => Ok(layout),
            bytes => Err(PatchError::Unused { of: "the layout", bytes }),
        }
    }

    /// Checks it against the lengths of old and new.
    pub(super) fn check(&self, old_length: u64, new_length: u64) -> Result<(), PatchError> {
        let old_end = self.old.last().map_or(0, |stream| stream.offset.saturating_add(stream.stream_bytes));
        limit("old bytes up to the last stream", old_length, old_end)?;
        limit("bytes of old texts", TEXT_BYTES_MAX, self.old_text_bytes())?;
        limit("bytes of new texts", TEXT_BYTES_MAX, self.new_text_bytes())?;
        limit("new bytes beside the streams", new_length, self.new_gap_bytes())
    }

    /// Bytes of the texts of old.
    pub fn old_text_bytes(&self) -> u64 {
        sum(self.old.iter().map(|stream| stream.text_bytes))
    }

    /// Bytes of the texts of new.
    pub fn new_text_bytes(&self) -> u64 {
        sum(self.new.iter().map(|stream| stream.text_bytes))
    }

    fn new_gap_bytes(&self) -> u64 {
        sum(self.new.iter().map(|stream| stream.gap_bytes)).saturating_add(self.rest_bytes)
    }

    pub(super) fn expanded_new_bytes(&self) -> u64 {
        self.new_gap_bytes().saturating_add(self.new_text_bytes())
    }
}

fn sum(bytes: impl Iterator<Item = u64>) -> u64 {
    bytes.fold(0, u64::saturating_add)
}

fn limit(what: &'static str, limit: u64, found: u64) -> Result<(), PatchError> {
    if found > limit { Err(PatchError::Limit { what, limit, found }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn layouts_come_back(
            old in proptest::collection::vec((0u64..1 << 40, 1u64..1 << 30, 1u64..1 << 30), 0..9),
            new in proptest::collection::vec((0u64..1 << 40, 1u64..1 << 30, 0u64..1134), 0..9),
            rest_bytes in any::<u64>(),
        ) {
            let mut end = 0;
            let old = old.into_iter().map(|(gap, stream_bytes, text_bytes)| {
                let offset = end + gap;
                end = offset + stream_bytes;
                OldStream { offset, stream_bytes, text_bytes }
            }).collect();
            let stream = |(gap_bytes, text_bytes, number)| {
                NewStream { gap_bytes, text_bytes, settings: Settings::from_number(number).expect("known") }
            };
            let layout = DeflateLayout { old, new: new.into_iter().map(stream).collect(), rest_bytes };
            let bytes = layout.to_bytes();
            prop_assert_eq!(DeflateLayout::parse(&bytes).expect("a layout"), layout);
            for cut in 0..bytes.len() {
                prop_assert!(DeflateLayout::parse(&bytes[..cut]).is_err());
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), old in any::<u64>(), new in any::<u64>()) {
            if let Ok(layout) = DeflateLayout::parse(&bytes) {
                let _ = layout.check(old, new);
                layout.expanded_new_bytes();
            }
        }
    }
}
