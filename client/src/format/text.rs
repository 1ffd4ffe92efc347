//! Pieces of the text formats: canonical CSV records, numbers, times and short words.

use std::fmt;

use unicode_normalization::is_nfc;

/// Largest number a text format holds, 2⁵³ − 1, so that every language reads it exactly.
pub const NUMBER_MAX: u64 = (1 << 53) - 1;

/// Why text does not follow the conventions of [`crate::format`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: expected {expected}, found {found}")]
pub struct TextError {
    /// Line in the document, from 1.
    pub line: usize,
    /// What the format asks for here.
    pub expected: String,
    /// What stands there, shortened.
    pub found: String,
}

impl TextError {
    /// An error at `line` with `found` quoted and shortened.
    pub fn new(line: usize, expected: impl Into<String>, found: &str) -> Self {
        let shown: String = found.chars().take(120).collect();
        Self { line, expected: expected.into(), found: format!("{shown:?}") }
    }
}

/// Splits a text into CSV records, one a line, and refuses whatever is not canonical.
///
/// # Errors
/// Bytes that are not UTF-8; a CR, NUL, byte order mark or other control character; a missing LF at the end; quoting
/// other than where it must be.
pub fn records(bytes: &[u8]) -> Result<Vec<Vec<String>>, TextError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|e| TextError::new(line_at(bytes, e.valid_up_to()), "UTF-8", "other bytes"))?;
    if let Some(at) = text.find(|c: char| (c.is_control() && c != '\n') || c == '\u{feff}') {
        return Err(TextError::new(line_at(bytes, at), "no control characters", &text[at..]));
    }
    if !text.is_empty() && !text.ends_with('\n') {
        return Err(TextError::new(line_at(bytes, bytes.len()), "LF at the end", "the end of the text"));
    }
    text.lines().enumerate().map(|(index, line)| record(index + 1, line)).collect()
}

fn line_at(bytes: &[u8], at: usize) -> usize {
    bytes[..at].iter().filter(|b| **b == b'\n').count() + 1
}

/// Cells of one line. Canonical: quoted only if the cell holds a comma or a quote.
fn record(line: usize, text: &str) -> Result<Vec<String>, TextError> {
    if !text.contains('"') {
        return Ok(text.split(',').map(str::to_owned).collect());
    }
    let mut cells = Vec::new();
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    for row in reader.records() {
        let row = row.map_err(|_| TextError::new(line, "one CSV record", text))?;
        cells.extend(row.iter().map(str::to_owned));
    }
    let mut again = String::new();
    push_record(&mut again, cells.iter().map(String::as_str));
    if again.trim_end_matches('\n') != text {
        return Err(TextError::new(line, "quotes only around cells with a comma or a quote", text));
    }
    Ok(cells)
}

/// Appends one record and its LF.
pub fn push_record<'a>(out: &mut String, cells: impl IntoIterator<Item = &'a str>) {
    for (index, cell) in cells.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        if cell.contains(['"', ',']) {
            out.push('"');
            out.push_str(&cell.replace('"', "\"\""));
            out.push('"');
        } else {
            out.push_str(cell);
        }
    }
    out.push('\n');
}

/// A number without sign, leading zeros or spaces, at most [`NUMBER_MAX`].
pub fn number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    let value = if plain { text.parse().ok()? } else { return None };
    (value <= NUMBER_MAX).then_some(value)
}

/// A time in whole seconds since 1970-01-01T00:00:00Z, shown as RFC 3339 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(i64);

impl Time {
    const FORMAT: &'static str = "%Y-%m-%dT%H:%M:%SZ";

    /// Seconds since the epoch.
    pub const fn seconds(self) -> i64 {
        self.0
    }

    /// From seconds since the epoch, held between the years 0 and 9999.
    pub fn from_seconds(seconds: i64) -> Self {
        Self(seconds.clamp(-62_167_219_200, 253_402_207_200))
    }

    /// The clock of this machine.
    pub fn now() -> Self {
        Self::from_seconds(jiff::Timestamp::now().as_second())
    }

    /// `self` moved by `seconds`.
    pub fn plus(self, seconds: i64) -> Self {
        Self::from_seconds(self.0.saturating_add(seconds))
    }

    /// Parses exactly the form that [`Time`] is shown in; none before the year 0, which that form does not know.
    pub fn parse(text: &str) -> Option<Self> {
        let civil = jiff::civil::DateTime::strptime(Self::FORMAT, text).ok()?;
        let time = Self::from_seconds(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second());
        (time.to_string() == text).then_some(time)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let timestamp = jiff::Timestamp::from_second(self.0).unwrap_or_default();
        write!(f, "{}", timestamp.strftime(Self::FORMAT))
    }
}

/// True for a channel or platform name: 1 to 64 of `a-z 0-9 _ -`.
pub fn is_token(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}

/// True for an app id: 1 to 128 of `A-Z a-z 0-9 . _ -`.
pub fn is_app_id(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// True for a version as shown to people: 1 to 64 characters in normalisation form C, none of them invisible or able to
/// change the direction of what stands around it.
pub fn is_display_version(text: &str) -> bool {
    (1..=64).contains(&text.chars().count()) && !text.chars().any(is_invisible) && is_nfc(text)
}

/// True for characters people do not see or that reorder others: controls, bidirectional and zero-width ones, variation
/// selectors, tags.
pub(super) fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'
                ..='\u{180f}'
        )
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}')
        || matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_canonical() {
        let cells = records(b"a,\"b,c\",\"say \"\"x\"\"\"\n,\n").expect("canonical");
        assert_eq!(cells, [vec!["a", "b,c", "say \"x\""], vec!["", ""]]);
        for bad in ["a", "\"a\"\n", "a,\"b\n", "a\r\n", "a\0\n", "\u{feff}a\n", "x\"y\n", "\"a,b\"c\n"] {
            assert!(records(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(records(b"\xff\n").is_err());
    }

    #[test]
    fn numbers_are_strict() {
        assert_eq!(number("0"), Some(0));
        assert_eq!(number("9007199254740991"), Some(NUMBER_MAX));
        for bad in ["", "00", "01", "+1", "-1", " 1", "1 ", "9007199254740992", "99999999999999999999", "1e3", "٣"] {
            assert_eq!(number(bad), None, "{bad}");
        }
    }

    #[test]
    fn times_are_strict() {
        let text = "2026-01-31T12:00:00Z";
        assert_eq!(Time::parse(text).map(|t| (t.seconds(), t.to_string())), Some((1_769_860_800, text.into())));
        for end in ["0000-01-01T00:00:00Z", "9999-12-30T22:00:00Z"] {
            assert_eq!(Time::parse(end).map(|t| t.plus(0).to_string()), Some(end.into()));
        }
        for bad in [
            "2026-01-31",
            "2026-01-31T12:00:00",
            "2026-01-31T12:00:00+00:00",
            "2026-1-31T12:00:00Z",
            "2026-02-30T12:00:00Z",
            "-2026-01-31T12:00:00Z",
            "-0001-12-31T23:59:59Z",
            "9999-12-31T23:59:59Z",
            "10000-01-01T00:00:00Z",
        ] {
            assert_eq!(Time::parse(bad), None, "{bad}");
        }
    }
}
