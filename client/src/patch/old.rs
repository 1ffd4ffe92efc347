//! Reading old bytes by position.

use std::io;

/// Old bytes that can be read at any place.
pub trait OldBytes {
    /// Fills `buffer` with the bytes from `offset` on. Callers stay within the length they were told.
    ///
    /// # Errors
    /// Reading fails, or the bytes end before.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

impl OldBytes for &[u8] {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).ok().and_then(|offset| self.get(offset..));
        let bytes = from.and_then(|from| from.get(..buffer.len())).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

/// Several old contents, one after the other, as one.
#[derive(Debug, Default)]
pub struct Joined<T> {
    /// Where each part ends, and the part.
    parts: Vec<(u64, T)>,
}

impl<T: OldBytes> Joined<T> {
    /// No parts yet.
    pub const fn new() -> Self {
        Self { parts: Vec::new() }
    }

    /// Appends a part of `length` bytes.
    pub fn push(&mut self, length: u64, part: T) {
        let end = self.length().saturating_add(length);
        self.parts.push((end, part));
    }

    /// Bytes of all parts.
    pub fn length(&self) -> u64 {
        self.parts.last().map_or(0, |(end, _)| *end)
    }
}

impl<T: OldBytes> OldBytes for Joined<T> {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut index = self.parts.partition_point(|(end, _)| *end <= offset);
        let (mut at, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let start = index.checked_sub(1).map_or(0, |before| self.parts[before].0);
            let (end, part) = self.parts.get_mut(index).ok_or(io::ErrorKind::UnexpectedEof)?;
            let length = rest.len().min(usize::try_from(*end - at).unwrap_or(usize::MAX));
            let (here, after) = rest.split_at_mut(length);
            if !here.is_empty() {
                part.read_at(at - start, here)?;
            }
            at = *end;
            rest = after;
            index += 1;
        }
        Ok(())
    }
}

/// Reads ahead, since most reads lie close behind the one before.
pub(super) struct ReadAhead {
    start: u64,
    bytes: Vec<u8>,
    length: u64,
}

const AHEAD_BYTES: usize = 64 << 10;

impl ReadAhead {
    /// Over `length` old bytes.
    pub(super) const fn new(length: u64) -> Self {
        Self { start: 0, bytes: Vec::new(), length }
    }

    /// Fills `buffer` from `offset` on, which the caller has found to lie within old.
    pub(super) fn read(&mut self, old: &mut dyn OldBytes, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if let Some(held) = self.held(offset, buffer.len()) {
            buffer.copy_from_slice(held);
            return Ok(());
        }
        if buffer.len() >= AHEAD_BYTES / 2 {
            return old.read_at(offset, buffer);
        }
        let left = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.resize(left.min(AHEAD_BYTES), 0);
        old.read_at(offset, &mut bytes)?;
        (self.start, self.bytes) = (offset, bytes);
        let held = self.bytes.get(..buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(held);
        Ok(())
    }

    fn held(&self, offset: u64, length: usize) -> Option<&[u8]> {
        let from = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        self.bytes.get(from..)?.get(..length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn joined_parts_read_as_their_concatenation(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..6),
            reads in proptest::collection::vec((0usize..120, 0usize..120), 1..20),
        ) {
            let whole = parts.concat();
            let mut joined = Joined::new();
            parts.iter().for_each(|part| joined.push(part.len() as u64, part.as_slice()));
            prop_assert_eq!(joined.length(), whole.len() as u64);
            let mut ahead = ReadAhead::new(whole.len() as u64);
            for (offset, length) in reads {
                let mut buffer = vec![0; length];
                let read = joined.read_at(offset as u64, &mut buffer);
                match whole.get(offset..).and_then(|from| from.get(..length)) {
                    Some(expected) => {
                        prop_assert!(read.is_ok() && buffer == expected);
                        buffer.fill(1);
                        prop_assert!(ahead.read(&mut joined, offset as u64, &mut buffer).is_ok());
                        prop_assert_eq!(&buffer, expected);
                    }
                    None => prop_assert!(read.is_err() || length == 0),
                }
            }
        }
    }
}
