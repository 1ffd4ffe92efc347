//! Bodies of signed documents: `key,value…` records under a first line that names the type.
//!
//! # Specification
//!
//! The first line is the document's type and version, for instance `lamplighter-head,1`; the last line is `end`; every
//! line between is a record whose first cell is its key. Keys a reader does not know are ignored; one that begins with `!`
//! means that the client is too old. Cells behind those a reader knows are ignored. A version other than 1 means that the
//! client is too old. The order of records does not matter except among records of one key.
//!
//! # Changelog
//!
//! * 1: first.

use super::text::{TextError, Time, number, push_record, records};

/// Why the body of a verified document cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum DocumentError {
    #[error("{0}")]
    Text(#[from] TextError),
    #[error("expected a document of type {expected}, found {found:?}")]
    OtherType { expected: &'static str, found: String },
    #[error("this client is too old for a document with {what:?}")]
    TooOld { what: String },
    #[error("the record {key:?} is missing")]
    Missing { key: &'static str },
    #[error("line {line}: the record {key:?} stands twice")]
    Twice { line: usize, key: String },
    #[error("{0}")]
    Rule(String),
}

/// One record behind its key.
#[derive(Debug, Clone)]
pub struct Record {
    line: usize,
    cells: Vec<String>,
}

impl Record {
    /// Cell `index`, counted from 0 behind the key; empty where the record is shorter.
    pub fn text(&self, index: usize) -> &str {
        self.cells.get(index + 1).map_or("", String::as_str)
    }

    /// All cells behind the key.
    pub fn cells(&self) -> &[String] {
        &self.cells[1..]
    }

    /// An error about cell `index`.
    pub fn error(&self, index: usize, expected: &str) -> DocumentError {
        let expected = format!("{expected} in the record {:?}", self.cells[0]);
        TextError::new(self.line, expected, self.text(index)).into()
    }

    /// Cell `index` as `parse` reads it.
    ///
    /// # Errors
    /// [`DocumentError::Text`] saying what was `expected`.
    pub fn parse<T>(
        &self,
        index: usize,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, DocumentError> {
        parse(self.text(index)).ok_or_else(|| self.error(index, expected))
    }

    /// Cell `index` as a number.
    ///
    /// # Errors
    /// [`DocumentError::Text`].
    pub fn number(&self, index: usize) -> Result<u64, DocumentError> {
        self.parse(index, "a number", number)
    }

    /// Cell `index` as a time.
    ///
    /// # Errors
    /// [`DocumentError::Text`].
    pub fn time(&self, index: usize) -> Result<Time, DocumentError> {
        self.parse(index, "a time such as 2026-01-31T12:00:00Z", Time::parse)
    }

    /// Cell `index` if `rule` holds for it.
    ///
    /// # Errors
    /// [`DocumentError::Text`].
    pub fn word(&self, index: usize, expected: &str, rule: impl Fn(&str) -> bool) -> Result<String, DocumentError> {
        self.parse(index, expected, |text| rule(text).then(|| text.to_owned()))
    }

    /// Cells `index` and `index + 1` as the length and BLAKE3 of a file.
    ///
    /// # Errors
    /// [`DocumentError::Text`].
    pub fn file(&self, index: usize) -> Result<FileRef, DocumentError> {
        let blake3 = self.parse(index + 1, "a BLAKE3 of 64 lowercase hexadecimal digits", |t| t.parse().ok())?;
        Ok(FileRef { length: self.number(index)?, blake3 })
    }
}

/// A file named by its length and BLAKE3 from a signed document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileRef {
    /// Bytes.
    pub length: u64,
    /// Digest of those bytes.
    pub blake3: super::digest::Blake3,
}

impl FileRef {
    /// Names `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self { length: bytes.len() as u64, blake3: super::digest::Blake3::of(bytes) }
    }

    /// The two cells of a record.
    pub fn cells(&self) -> [String; 2] {
        [self.length.to_string(), self.blake3.to_string()]
    }
}

/// The records of a body.
#[derive(Debug, Clone)]
pub struct Body {
    records: Vec<Record>,
}

impl Body {
    /// Parses a body whose signatures have been verified.
    ///
    /// `known` are the keys the caller will ask for; of those behind `many`, more than one may stand.
    ///
    /// # Errors
    /// Another type or version, an unknown `!key`, a single key standing twice, text that is not canonical.
    pub fn parse(body: &[u8], kind: &'static str, single: &[&str], many: &[&str]) -> Result<Self, DocumentError> {
        let mut lines = records(body)?;
        let first = lines.first().cloned().unwrap_or_default();
        if first.first().map(String::as_str) != Some(kind) {
            return Err(DocumentError::OtherType { expected: kind, found: first.join(",").chars().take(80).collect() });
        }
        if first.get(1).map(String::as_str) != Some("1") {
            return Err(DocumentError::TooOld { what: first.join(",") });
        }
        if lines.pop().is_none_or(|last| last != ["end"]) {
            return Err(DocumentError::Missing { key: "end" });
        }
        let mut records: Vec<Record> = Vec::new();
        for (index, cells) in lines.into_iter().enumerate().skip(1) {
            let key = cells[0].clone();
            if key.is_empty() {
                return Err(TextError::new(index + 1, "a key", &cells.join(",")).into());
            }
            if single.contains(&key.as_str()) {
                if records.iter().any(|r| r.cells[0] == key) {
                    return Err(DocumentError::Twice { line: index + 1, key });
                }
            } else if !many.contains(&key.as_str()) {
                if key.starts_with('!') {
                    return Err(DocumentError::TooOld { what: key });
                }
                continue;
            }
            records.push(Record { line: index + 1, cells });
        }
        Ok(Self { records })
    }

    /// The record of a key that may be left out.
    pub fn optional(&self, key: &str) -> Option<&Record> {
        self.records.iter().find(|r| r.cells[0] == key)
    }

    /// The record of a key that must stand.
    ///
    /// # Errors
    /// [`DocumentError::Missing`].
    pub fn one(&self, key: &'static str) -> Result<&Record, DocumentError> {
        self.optional(key).ok_or(DocumentError::Missing { key })
    }

    /// All records of a key, in order.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Record> {
        self.records.iter().filter(move |r| r.cells[0] == key)
    }
}

/// Writes a body record by record.
#[derive(Debug)]
pub struct BodyWriter(String);

impl BodyWriter {
    /// A body of type `kind`, version 1.
    pub fn new(kind: &str) -> Self {
        Self(format!("{kind},1\n"))
    }

    /// Appends one record.
    pub fn push(&mut self, cells: &[&str]) -> &mut Self {
        push_record(&mut self.0, cells.iter().copied());
        self
    }

    /// Appends `end` and gives the bytes.
    pub fn finish(mut self) -> Vec<u8> {
        self.0.push_str("end\n");
        self.0.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Body, DocumentError> {
        Body::parse(text.as_bytes(), "lamplighter-test", &["app", "build"], &["pack"])
    }

    #[test]
    fn unknown_keys_are_ignored_and_critical_ones_are_not() {
        let body = parse("lamplighter-test,1\napp,x,later\nnew,1\npack,1\npack,2\nend\n").expect("readable");
        assert_eq!(body.one("app").map(|r| r.text(0).to_owned()), Ok("x".into()));
        assert_eq!(body.all("pack").count(), 2);
        assert!(matches!(parse("lamplighter-test,1\n!new,1\nend\n"), Err(DocumentError::TooOld { .. })));
        assert!(matches!(parse("lamplighter-test,2\nend\n"), Err(DocumentError::TooOld { .. })));
    }

    #[test]
    fn structure_is_checked() {
        assert!(matches!(parse("lamplighter-head,1\nend\n"), Err(DocumentError::OtherType { .. })));
        assert!(matches!(parse("lamplighter-test,1\napp,x\n"), Err(DocumentError::Missing { key: "end" })));
        assert!(matches!(parse("lamplighter-test,1\napp,x\napp,x\nend\n"), Err(DocumentError::Twice { line: 3, .. })));
        let body = parse("lamplighter-test,1\nbuild,01\nend\n").expect("readable");
        let error = body.one("build").and_then(|r| r.number(0)).unwrap_err();
        assert_eq!(error.to_string(), "line 2: expected a number in the record \"build\", found \"01\"");
        assert_eq!(body.one("app").err(), Some(DocumentError::Missing { key: "app" }));
    }
}
