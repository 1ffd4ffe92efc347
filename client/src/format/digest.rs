//! What identifies content: its BLAKE3, and the CRC-32 pair of the manifest.
//!
//! # Specification
//!
//! | name | definition |
//! | --- | --- |
//! | `blake3` | BLAKE3 with 256 bits of output; decides what is installed |
//! | `crc32` | CRC-32/ISO-HDLC of the content |
//! | `crc32_reversed` | the same CRC over the content's bytes from last to first |
//!
//! The pair is a 64-bit check against damage and worthless against an attacker. For the nine bytes `123456789` it is
//! 3421780262 and 23003649.
//!
//! Both CRCs come out of one forward pass. With `A` the bytes seen and `B` the next chunk, the reversed content is
//! `rev(B) ‖ rev(A)`, so the CRC of `rev(B)` is combined *in front of* that of `rev(A)` (zlib's `crc32_combine`).

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

/// A BLAKE3 digest, shown as 64 lowercase hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Blake3([u8; 32]);

/// Text that should be a BLAKE3 digest and is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a BLAKE3 digest of 64 lowercase hexadecimal digits, found {found:?}")]
pub struct BadDigest {
    found: String,
}

impl Blake3 {
    /// Digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Takes the 32 bytes of a digest as they are.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Blake3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Blake3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blake3({self})")
    }
}

impl FromStr for Blake3 {
    type Err = BadDigest;

    fn from_str(text: &str) -> Result<Self, BadDigest> {
        let lowercase = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let bad = || BadDigest { found: text.chars().take(80).collect() };
        if !lowercase || text.len() != 64 {
            return Err(bad());
        }
        blake3::Hash::from_hex(text).map(|hash| Self(*hash.as_bytes())).map_err(|_| bad())
    }
}

/// The CRC-32 of content forwards and backwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct CrcPair {
    /// CRC-32/ISO-HDLC from first byte to last.
    pub forward: u32,
    /// The same from last byte to first.
    pub reversed: u32,
}

/// Everything a manifest says of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentDigest {
    /// Length in bytes.
    pub size: u64,
    /// The CRC pair.
    pub crc: CrcPair,
    /// The BLAKE3 that decides.
    pub blake3: Blake3,
}

impl ContentDigest {
    /// Digest of `bytes` held in memory.
    pub fn of(bytes: &[u8]) -> Self {
        let mut digester = ContentDigester::new();
        digester.update(bytes);
        digester.finish()
    }

    /// Reads `reader` to its end in constant memory.
    ///
    /// # Errors
    /// Whatever reading gives.
    pub fn read(reader: &mut impl Read) -> io::Result<Self> {
        let mut digester = ContentDigester::new();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(digester.finish()),
                Ok(n) => digester.update(&buffer[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

/// Large enough that the per-chunk combination of the reversed CRC costs nothing.
const READ_BYTES: usize = 256 << 10;

/// Computes a [`CrcPair`] as bytes pass, each byte once.
#[derive(Debug, Clone, Default)]
pub struct CrcPairer {
    forward: crc32fast::Hasher,
    /// CRC of the reversed bytes so far.
    reversed: crc32fast::Hasher,
    scratch: Vec<u8>,
}

impl CrcPairer {
    /// A pair over no bytes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends `chunk` to the content.
    pub fn update(&mut self, chunk: &[u8]) {
        self.forward.update(chunk);
        self.scratch.clear();
        self.scratch.extend(chunk.iter().rev());
        let mut front = crc32fast::Hasher::new();
        front.update(&self.scratch);
        front.combine(&self.reversed);
        self.reversed = front;
    }

    /// The pair over all bytes passed.
    pub fn finish(self) -> CrcPair {
        CrcPair { forward: self.forward.finalize(), reversed: self.reversed.finalize() }
    }
}

/// Computes a [`ContentDigest`] as bytes pass, each byte once.
#[derive(Debug, Clone, Default)]
pub struct ContentDigester {
    size: u64,
    crc: CrcPairer,
    blake3: blake3::Hasher,
}

impl ContentDigester {
    /// A digest over no bytes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends `chunk` to the content.
    pub fn update(&mut self, chunk: &[u8]) {
        self.size += chunk.len() as u64;
        self.crc.update(chunk);
        self.blake3.update(chunk);
    }

    /// The digest over all bytes passed.
    pub fn finish(self) -> ContentDigest {
        ContentDigest {
            size: self.size,
            crc: self.crc.finish(),
            blake3: Blake3::from_bytes(*self.blake3.finalize().as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn in_chunks(bytes: &[u8], chunk: usize) -> ContentDigest {
        let mut digester = ContentDigester::new();
        bytes.chunks(chunk.max(1)).for_each(|c| digester.update(c));
        digester.finish()
    }

    #[test]
    fn known_vectors() {
        let digest = ContentDigest::of(b"123456789");
        assert_eq!(digest.crc, CrcPair { forward: 3_421_780_262, reversed: 23_003_649 });
        assert_eq!(digest.size, 9);
        assert_eq!(ContentDigest::of(b"").crc, CrcPair { forward: 0, reversed: 0 });
        assert_eq!(Blake3::of(b"").to_string(), "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
    }

    #[test]
    fn palindromes_have_equal_crcs() {
        for text in ["a", "abba", "level", "never odd or even reversed desrever neve ro ddo reven"] {
            let digest = ContentDigest::of(text.as_bytes());
            assert_eq!(digest.crc.forward, digest.crc.reversed, "{text}");
        }
    }

    #[test]
    fn every_chunking_of_eleven_bytes_agrees() {
        let bytes = b"lamplighter";
        for length in 0..=bytes.len() {
            let content = &bytes[..length];
            let backwards: Vec<u8> = content.iter().rev().copied().collect();
            for chunk in 1..=11 {
                let crc = in_chunks(content, chunk).crc;
                assert_eq!(crc.forward, crc32fast::hash(content));
                assert_eq!(crc.reversed, crc32fast::hash(&backwards));
            }
        }
    }

    #[test]
    fn digests_are_parsed_strictly() {
        let good = Blake3::of(b"x").to_string();
        assert_eq!(good.parse::<Blake3>().as_ref().map(ToString::to_string), Ok(good.clone()));
        for bad in
            [String::new(), good[1..].into(), format!("{good}0"), good.to_uppercase(), good.replace(&good[..1], "g")]
        {
            assert!(bad.parse::<Blake3>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn chunking_never_matters(bytes in proptest::collection::vec(any::<u8>(), 0..5000), chunk in 1usize..700) {
            prop_assert_eq!(in_chunks(&bytes, chunk), ContentDigest::of(&bytes));
            let mut backwards = bytes.clone();
            backwards.reverse();
            prop_assert_eq!(ContentDigest::of(&bytes).crc.reversed, crc32fast::hash(&backwards));
            prop_assert_eq!(ContentDigest::read(&mut bytes.as_slice()).ok(), Some(ContentDigest::of(&bytes)));
        }
    }
}
