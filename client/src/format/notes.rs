//! Release notes in one language: what is new in a release, and in those before it, so that one file serves whoever skipped
//! some.
//!
//! # Specification
//!
//! UTF-8 text, lines ended by LF, at most 256 KiB: a list of at most 50 sections, newest build first. The signed release names
//! it by length and BLAKE3 ([`super::release`]). A section is one marker line and the Markdown text under it:
//!
//! ```text
//! <!-- build <build> version <version> -->
//! <text>
//! ```
//!
//! A Markdown viewer shows nothing of the marker, so the file reads well as it is.
//!
//! * The file MUST begin with a marker; a file without any section does not exist.
//! * A line that begins with `<!-- build ` is a marker. It MUST have the form above, with a build from 1 and a version as
//!   releases have them, without `>`. No text may contain such a line; the publisher refuses it.
//! * Builds MUST fall strictly. The first is at most the release's own: a release that brought no text has no section.
//! * A text MUST NOT be empty, begin with a blank line or a byte order mark, end with white space before its last LF, or
//!   contain CR.
//! * Where a build has a text, but none in the file's language, its text in another language stands in the file.
//! * A writer drops the oldest sections to stay within the limits.
//! * A reader MUST NOT show a text as it is: it removes what could act on a terminal or mislead a person
//!   ([`crate::notes::cleaned`]). Raw HTML in it is text, never markup.
//!
//! Order of validation: length, encoding, markers in order with the rules of each text.
//!
//! # Example
//!
//! ```text
//! <!-- build 7 version 1.2.0 -->
//! * Opens files twice as fast.
//! <!-- build 5 version 1.1.0 -->
//! * Says *hello*.
//! ```
//!
//! # Changelog
//!
//! * 1: first.

use super::text::{is_display_version, number};

/// Most bytes a notes file may have.
pub const NOTES_BYTES_MAX: u64 = 256 << 10;

/// Most sections a notes file may have.
pub const NOTES_SECTIONS_MAX: usize = 50;

const MARKER_START: &str = "<!-- build ";
const MARKER_VERSION: &str = " version ";
const MARKER_END: &str = " -->";

/// Why a text is no notes file, or cannot become part of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum NotesError {
    #[error("expected at most {NOTES_BYTES_MAX} bytes, found {found}")]
    TooLong { found: u64 },
    #[error("expected UTF-8, found other bytes at {at}")]
    NotUtf8 { at: usize },
    #[error("expected `<!-- build N version TEXT -->` in the first line, found {found:?}")]
    NoMarker { found: String },
    #[error("line {line}: expected `<!-- build N version TEXT -->`, found {found:?}")]
    Marker { line: usize, found: String },
    #[error("line {line}: expected a build below {above}, found {found}")]
    Order { line: usize, above: u64, found: u64 },
    #[error("expected at most {NOTES_SECTIONS_MAX} sections, found more")]
    TooMany,
    #[error(
        "the text of build {build} is not in the canonical form: no CR, no blank line or byte order mark at its start, no white space at its end"
    )]
    Text { build: u64 },
    #[error(
        "line {line} begins with `<!-- build `, which separates the sections of a notes file; write it another way"
    )]
    MarkerInText { line: usize },
    #[error("the version {version:?} cannot stand above release notes: it contains `>`")]
    Version { version: String },
}

/// What is new in one build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotesSection {
    /// Build number.
    pub build: u64,
    /// Its version as shown to people.
    pub version: String,
    /// Markdown, its last line ended by LF.
    pub text: String,
}

impl NotesSection {
    /// A section of an author's text, brought into the canonical form. None if the text says nothing.
    ///
    /// # Errors
    /// A line of the text is a marker; the version cannot stand in one.
    pub fn new(build: u64, version: &str, text: &str) -> Result<Option<Self>, NotesError> {
        let text = canonical(text);
        if text.is_empty() {
            return Ok(None);
        }
        if let Some(at) = text.lines().position(|line| line.starts_with(MARKER_START)) {
            return Err(NotesError::MarkerInText { line: at + 1 });
        }
        if !is_version(version) {
            return Err(NotesError::Version { version: version.into() });
        }
        Ok(Some(Self { build, version: version.into(), text }))
    }

    /// Bytes it takes in a file.
    pub fn length(&self) -> u64 {
        (self.marker().len() + self.text.len()) as u64
    }

    fn marker(&self) -> String {
        format!("{MARKER_START}{}{MARKER_VERSION}{}{MARKER_END}\n", self.build, self.version)
    }
}

/// Reads a notes file whose digest has been checked: its sections, newest build first.
///
/// # Errors
/// Any rule of the specification broken.
pub fn parse(bytes: &[u8]) -> Result<Vec<NotesSection>, NotesError> {
    if bytes.len() as u64 > NOTES_BYTES_MAX {
        return Err(NotesError::TooLong { found: bytes.len() as u64 });
    }
    let text = std::str::from_utf8(bytes).map_err(|e| NotesError::NotUtf8 { at: e.valid_up_to() })?;
    let mut sections: Vec<NotesSection> = Vec::new();
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let number = index + 1;
        if line.starts_with(MARKER_START) {
            let (build, version) =
                marker(line).ok_or_else(|| NotesError::Marker { line: number, found: short(line) })?;
            if let Some(last) = sections.last() {
                check_text(last)?;
                if build >= last.build {
                    return Err(NotesError::Order { line: number, above: last.build, found: build });
                }
            }
            if sections.len() == NOTES_SECTIONS_MAX {
                return Err(NotesError::TooMany);
            }
            sections.push(NotesSection { build, version: version.into(), text: String::new() });
        } else if let Some(last) = sections.last_mut() {
            last.text.push_str(line);
        } else {
            return Err(NotesError::NoMarker { found: short(line) });
        }
    }
    let Some(last) = sections.last() else { return Err(NotesError::NoMarker { found: String::new() }) };
    check_text(last)?;
    Ok(sections)
}

/// The file of these sections, which follow the rules above.
pub fn to_bytes(sections: &[NotesSection]) -> Vec<u8> {
    sections.iter().flat_map(|section| [section.marker(), section.text.clone()]).collect::<String>().into_bytes()
}

/// Build and version of a marker line.
fn marker(line: &str) -> Option<(u64, &str)> {
    let inner = line.strip_prefix(MARKER_START)?.strip_suffix('\n')?.strip_suffix(MARKER_END)?;
    let (build, version) = inner.split_once(MARKER_VERSION)?;
    let build = number(build).filter(|build| *build > 0)?;
    is_version(version).then_some((build, version))
}

/// A `>` could end the comment early.
fn is_version(text: &str) -> bool {
    is_display_version(text) && !text.contains('>')
}

fn check_text(section: &NotesSection) -> Result<(), NotesError> {
    let right = !section.text.is_empty() && canonical(&section.text) == section.text;
    if right { Ok(()) } else { Err(NotesError::Text { build: section.build }) }
}

/// LF at the end of every line, no blank lines around; empty if there is nothing else.
fn canonical(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut rest = text.trim_end_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    loop {
        rest = rest.trim_start_matches('\u{feff}');
        match rest.split_once('\n') {
            Some((first, others)) if first.trim().is_empty() => rest = others,
            _ => break,
        }
    }
    if rest.trim().is_empty() { String::new() } else { format!("{rest}\n") }
}

fn short(text: &str) -> String {
    text.trim_end_matches('\n').chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn section(build: u64, text: &str) -> NotesSection {
        NotesSection::new(build, "1.0", text).expect("no marker").expect("some text")
    }

    #[test]
    fn the_example_is_read_and_written_back() {
        let example = "<!-- build 7 version 1.2.0 -->\n* Opens files twice as fast.\n<!-- build 5 version 1.1 (b), x -->\n* Says *hello*.\n\n  <!-- build 3 -->\n";
        let sections = parse(example.as_bytes()).expect("the example");
        assert_eq!(
            sections.iter().map(|s| (s.build, s.version.as_str())).collect::<Vec<_>>(),
            [(7, "1.2.0"), (5, "1.1 (b), x")]
        );
        assert_eq!(sections[1].text, "* Says *hello*.\n\n  <!-- build 3 -->\n");
        assert_eq!(to_bytes(&sections), example.as_bytes());
        assert_eq!(sections.iter().map(NotesSection::length).sum::<u64>(), example.len() as u64);
    }

    #[test]
    fn an_authors_text_is_brought_into_form() {
        for (author, kept) in [
            ("\u{feff}# News\r\n\r\nline\rline  \r\n\r\n", "# News\n\nline\nline\n"),
            ("\n \t\n\u{feff}\n    code\n", "    code\n"),
            ("x", "x\n"),
        ] {
            assert_eq!(section(3, author).text, kept);
        }
        for nothing in ["", "\n\n", "\u{feff}", " \t\r\n"] {
            assert_eq!(NotesSection::new(3, "1", nothing), Ok(None), "{nothing:?}");
        }
    }

    #[test]
    fn a_marker_in_an_authors_text_is_refused() {
        let refused = NotesSection::new(3, "1", "\nfine\n<!-- build 99 version 9 -->\nmore");
        assert_eq!(refused, Err(NotesError::MarkerInText { line: 2 }));
        assert!(NotesSection::new(3, "1", "a <!-- build 99 version 9 -->").is_ok_and(|s| s.is_some()));
        for version in ["a --> b", "", "a\nb"] {
            assert!(matches!(NotesSection::new(3, version, "x"), Err(NotesError::Version { .. })), "{version:?}");
        }
    }

    #[test]
    fn limits_hold() {
        let many = |count: u64| to_bytes(&(1..=count).rev().map(|b| section(b, "x")).collect::<Vec<_>>());
        assert!(parse(&many(NOTES_SECTIONS_MAX as u64)).is_ok());
        assert_eq!(parse(&many(NOTES_SECTIONS_MAX as u64 + 1)), Err(NotesError::TooMany));
        let long = |length: usize| to_bytes(&[section(1, &"x".repeat(length))]);
        let room = NOTES_BYTES_MAX as usize - long(1).len() + 1;
        assert!(parse(&long(room)).is_ok());
        assert_eq!(parse(&long(room + 1)), Err(NotesError::TooLong { found: NOTES_BYTES_MAX + 1 }));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            texts in prop::collection::vec("[ -~\\r\\n\u{feff}é<!-]{0,40}", 1..6),
            versions in prop::collection::vec("[0-9a-zé .\"-]{1,9}", 6),
        ) {
            let made = texts.iter().zip(&versions).zip((1..7_u64).rev());
            let sections: Vec<_> =
                made.filter_map(|((text, version), build)| NotesSection::new(build, version, text).ok().flatten()).collect();
            prop_assume!(!sections.is_empty());
            prop_assert_eq!(parse(&to_bytes(&sections)), Ok(sections));
        }

        #[test]
        fn what_is_read_is_canonical(bytes in prop::collection::vec(any::<u8>(), 0..60), lines in prop::collection::vec(
            prop::sample::select(vec![
                "<!-- build 9 version 1 -->", "<!-- build 8 version a -->", "<!-- build 8 -->", "x", "", " ", "\r", "\u{feff}",
            ]), 0..8))
        {
            let mut file = lines.join("\n").into_bytes();
            for bytes in [bytes.clone(), { file.push(b'\n'); file.clone() }, [file, bytes].concat()] {
                if let Ok(sections) = parse(&bytes) {
                    prop_assert_eq!(to_bytes(&sections), bytes);
                }
            }
        }
    }
}
