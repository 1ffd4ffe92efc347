//! Changed inputs from given ones: what a fuzzer does, without its sense of what is new, and the same each time.

#![allow(dead_code, unreachable_pub)]

/// What formats are made of; parsers are sensitive to it.
const TOKENS: &[&[u8]] = &[
    b",",
    b"\n",
    b"\"",
    b"\"\"",
    b"/",
    b"..",
    b"../",
    b".",
    b"!",
    b"*",
    b"%",
    b"%2F",
    b"%00",
    b"-",
    b"0",
    b"1",
    b" ",
    b":",
    b"\r",
    b"\0",
    b"\x1b[",
    b"\x1b]",
    b"~1",
    b"end\n",
    b"\nend\n",
    b"op,",
    b"key,",
    b"object,",
    b"keep",
    b"drop",
    b"none",
    b"file",
    b"link",
    b"dir",
    b"absent",
    b"0644",
    b"0755",
    b".lamplighter",
    b"con",
    b"9007199254740991",
    b"9007199254740992",
    b"18446744073709551615",
    b"4294967296",
    b"2026-01-31T12:00:00Z",
    b"\xff",
    b"\x80\x00",
    b"\xff\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\xef\xbb\xbf",
    b"\xe2\x80\x8d",
    b"\xe2\x84\x80",
    b"\xcc\x81",
    b"\xc5\xbf",
    b"<!-- build 9 version 1 -->\n",
];

/// A stream of numbers that looks random and is always the same (SplitMix64).
pub struct Mutator(pub u64);

impl Mutator {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 where there is none.
    fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.next() % end as u64) as usize }
    }

    /// A place and a length within `length` bytes; short ones are more likely.
    fn span(&mut self, length: usize) -> (usize, usize) {
        let at = self.below(length + 1);
        let most = [4, 32, length][self.below(3)];
        (at, self.below((length - at).min(most) + 1))
    }

    /// One of `corpus`, changed in one to five ways, at most `bytes_max` long.
    pub fn input(&mut self, corpus: &[Vec<u8>], bytes_max: usize) -> Vec<u8> {
        let mut input = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(5) {
            self.change(&mut input, corpus);
        }
        input.truncate(bytes_max);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let (at, length) = self.span(input.len());
        match self.below(9) {
            0 if !input.is_empty() => {
                let at = self.below(input.len());
                input[at] ^= 1 << self.below(8);
            }
            1 if !input.is_empty() => {
                let at = self.below(input.len());
                input[at] = [0, 1, 0x7f, 0x80, 0xff, b'0', b'9', self.next() as u8][self.below(8)];
            }
            2 => drop(input.drain(at..at + length)),
            3 => {
                let copied = input[at..at + length].to_vec();
                let to = self.below(input.len() + 1);
                input.splice(to..to, copied);
            }
            4 => drop(input.splice(at..at, TOKENS[self.below(TOKENS.len())].iter().copied())),
            5 => drop(input.splice(at..at + length, TOKENS[self.below(TOKENS.len())].iter().copied())),
            6 => {
                let other = &corpus[self.below(corpus.len())];
                let (from, count) = self.span(other.len());
                input.splice(at..at + length, other[from..from + count].iter().copied());
            }
            7 => self.change_lines(input, corpus),
            _ => self.change_number(input, at),
        }
    }

    /// Takes a line away, doubles it, exchanges it with another, or puts one of another input in its place.
    fn change_lines(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let other = &corpus[self.below(corpus.len())];
        let foreign: Vec<&[u8]> = other.split_inclusive(|byte| *byte == b'\n').collect();
        let mut lines: Vec<&[u8]> = input.split_inclusive(|byte| *byte == b'\n').collect();
        if lines.is_empty() || foreign.is_empty() {
            return;
        }
        let (a, b) = (self.below(lines.len()), self.below(lines.len()));
        match self.below(4) {
            0 => drop(lines.remove(a)),
            1 => lines.insert(b, lines[a]),
            2 => lines.swap(a, b),
            _ => lines[a] = foreign[self.below(foreign.len())],
        }
        *input = lines.concat();
    }

    /// The first decimal number behind `at` becomes a near one, or twice as long.
    fn change_number(&mut self, input: &mut Vec<u8>, at: usize) {
        let Some(start) = input[at..].iter().position(u8::is_ascii_digit).map(|found| at + found) else { return };
        let digits = input[start..].iter().take_while(|byte| byte.is_ascii_digit()).take(19).count();
        let text = String::from_utf8_lossy(&input[start..start + digits]).into_owned();
        let number: u64 = text.parse().unwrap_or(0);
        let new = [number.wrapping_add(1), number.wrapping_sub(1), number << 32, 0][self.below(4)];
        let new = if self.below(8) == 0 { format!("{text}{text}") } else { new.to_string() };
        input.splice(start..start + digits, new.into_bytes());
    }
}
