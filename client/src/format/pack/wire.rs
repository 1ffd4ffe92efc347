//! Varints and bounded reading, as the binary formats use them ([`crate::format`]).

/// Why bytes do not hold what a format asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum WireError {
    #[error("{needed} more bytes are needed where {left} are left")]
    Truncated { needed: u64, left: u64 },
    #[error("a varint is longer than its value needs")]
    NotShortest,
    #[error("a varint is larger than 64 bits")]
    TooLarge,
}

/// Appends `value` as LEB128 in its shortest form.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Maps small numbers of either sign to small numbers: 0, −1, 1, −2 … to 0, 1, 2, 3 ….
pub const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Undoes [`zigzag`].
pub const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Reads from the front of a byte slice.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader of `bytes` from their first.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// True once everything has been read.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `length` bytes.
    ///
    /// # Errors
    /// Fewer are left.
    pub fn bytes(&mut self, length: u64) -> Result<&'a [u8], WireError> {
        let left = self.rest.len() as u64;
        let taken = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let (taken, rest) = taken.ok_or(WireError::Truncated { needed: length, left })?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next varint.
    ///
    /// # Errors
    /// The bytes end, or hold a longer form than the value needs, or more than 64 bits.
    pub fn varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0;
        for (index, byte) in self.rest.iter().take(10).enumerate() {
            let bits = u64::from(byte & 0x7f);
            if index == 9 && bits > 1 {
                return Err(WireError::TooLarge);
            }
            value |= bits << (7 * index);
            if byte & 0x80 == 0 {
                if *byte == 0 && index > 0 {
                    return Err(WireError::NotShortest);
                }
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        if self.rest.len() < 10 { Err(WireError::Truncated { needed: 1, left: 0 }) } else { Err(WireError::TooLarge) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Result<u64, WireError> {
        Reader::new(bytes).varint()
    }

    #[test]
    fn only_the_shortest_form_is_read() {
        assert_eq!(read(&[0]), Ok(0));
        assert_eq!(read(&[0x80, 1]), Ok(128));
        assert_eq!(read(&[0x80, 0]), Err(WireError::NotShortest));
        assert_eq!(read(&[0xff, 0x80, 0]), Err(WireError::NotShortest));
        assert_eq!(read(&[0x80]), Err(WireError::Truncated { needed: 1, left: 0 }));
        assert_eq!(read(&[]), Err(WireError::Truncated { needed: 1, left: 0 }));
        assert_eq!(read(&[0xff; 10]), Err(WireError::TooLarge));
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]), Ok(u64::MAX));
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]), Err(WireError::TooLarge));
    }

    #[test]
    fn bytes_are_bounded() {
        let mut reader = Reader::new(b"abc");
        assert_eq!(reader.bytes(2), Ok(&b"ab"[..]));
        assert_eq!(reader.bytes(u64::MAX), Err(WireError::Truncated { needed: u64::MAX, left: 1 }));
        assert_eq!(reader.rest(), b"c");
    }

    proptest! {
        #[test]
        fn varints_come_back(value in any::<u64>(), shift in 0u32..64) {
            let value = value >> shift;
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            prop_assert_eq!(read(&bytes), Ok(value));
            prop_assert_eq!(zigzag(unzigzag(value)), value);
        }
    }
}
