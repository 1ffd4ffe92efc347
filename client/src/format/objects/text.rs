//! Reading the text of an objects index, as the specification of [`super`] has it.

use super::{Builder, END, HEADER, NO_CONTENT, ObjectsError, ObjectsIndex, Piece, StoredObject, TYPE};
use crate::format::manifest::Manifest;
use crate::format::text::{TextError, number, records};

/// Line by line, so that beyond the text only the index itself takes memory.
pub(super) fn parse(bytes: &[u8], manifest: &Manifest) -> Result<ObjectsIndex, ObjectsError> {
    let mut lines = Lines::new(bytes)?;
    parse_header(&mut lines)?;
    let mut builder = Builder::new(manifest);
    parse_objects(&mut lines, &mut builder)?;
    for (index, row) in manifest.rows().iter().enumerate() {
        match lines.next() {
            None | Some(END) => {
                return Err(ObjectsError::RowCount { expected: manifest.rows().len(), found: index });
            }
            Some(NO_CONTENT) => builder.row(row, std::iter::empty())?,
            Some(line) => {
                lines.read_pieces(line)?;
                builder.row(row, lines.pieces.iter().copied())?;
            }
        }
    }
    lines.expect("end after the last row", |line| line == END)?;
    lines.expect_nothing()?;
    builder.finish()
}

/// The lines of a text, with the number of the one read last.
struct Lines<'a> {
    rest: &'a str,
    line: usize,
    /// Pieces of the row read last.
    pieces: Vec<Piece>,
}

impl<'a> Lines<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, TextError> {
        let rest = std::str::from_utf8(bytes).map_err(|e| {
            let line = bytes[..e.valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
            TextError::new(line, "UTF-8", "other bytes")
        })?;
        Ok(Self { rest, line: 0, pieces: Vec::new() })
    }

    fn peek(&self) -> Option<&'a str> {
        self.rest.split_once('\n').map(|(line, _)| line)
    }

    fn error(&self, expected: impl Into<String>, found: &str) -> TextError {
        TextError::new(self.line, expected, found)
    }

    fn expect(&mut self, expected: &str, accept: impl Fn(&str) -> bool) -> Result<&'a str, TextError> {
        match self.next() {
            Some(line) if accept(line) => Ok(line),
            Some(line) => Err(self.error(expected, line)),
            None => Err(TextError::new(self.line + 1, expected, self.rest)),
        }
    }

    fn expect_nothing(&self) -> Result<(), TextError> {
        if self.rest.is_empty() { Ok(()) } else { Err(TextError::new(self.line + 1, "nothing after end", self.rest)) }
    }

    /// Takes `line`, the one read last, apart into `pieces`.
    fn read_pieces(&mut self, line: &str) -> Result<(), TextError> {
        self.pieces.clear();
        let mut cells = line.split(',');
        while let Some(object) = cells.next() {
            let (Some(offset), Some(length)) = (cells.next(), cells.next()) else {
                return Err(self.error("object,offset,length for each piece, or -", line));
            };
            let read = |cell: &str| number(cell).ok_or_else(|| self.error("a number", cell));
            let object = read(object)?;
            // Every number that does not fit is above the highest object.
            let object = usize::try_from(object).unwrap_or(usize::MAX);
            let piece = Piece { object, offset: read(offset)?, length: read(length)? };
            self.pieces.push(piece);
        }
        Ok(())
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let (line, rest) = self.rest.split_once('\n')?;
        self.rest = rest;
        self.line += 1;
        Some(line)
    }
}

fn parse_header(lines: &mut Lines<'_>) -> Result<(), ObjectsError> {
    let is_ours = |line: &str| line.strip_prefix(TYPE).is_some_and(|rest| rest.starts_with(','));
    let header = lines.expect(HEADER, is_ours)?;
    check_ignored(lines.line, header)?;
    let version = header.split(',').nth(1).unwrap_or_default();
    match number(version) {
        Some(1) => Ok(()),
        Some(_) => Err(ObjectsError::TooOld { key: format!("{TYPE},{version}") }),
        None => Err(lines.error(HEADER, header).into()),
    }
}

fn parse_objects(lines: &mut Lines<'_>, builder: &mut Builder) -> Result<(), ObjectsError> {
    while let Some(line) = lines.peek() {
        let is_row = line.starts_with(|c: char| c.is_ascii_digit()) || line == NO_CONTENT || line == END;
        if is_row {
            break;
        }
        lines.next();
        let key = line.split(',').next().unwrap_or(line);
        if key == "object" {
            let object = parse_object(lines, line)?;
            builder.object(object)?;
            continue;
        }
        check_ignored(lines.line, line)?;
        if key.starts_with('!') {
            return Err(ObjectsError::TooOld { key: key.chars().take(120).collect() });
        }
        if !line.starts_with(|c: char| c.is_ascii_lowercase()) {
            return Err(lines.error("object, another key, a row or end", line).into());
        }
    }
    Ok(())
}

fn parse_object(lines: &Lines<'_>, line: &str) -> Result<StoredObject, ObjectsError> {
    let mut cells = line.split(',').skip(1);
    let mut next = || cells.next().ok_or_else(|| lines.error("object,BLAKE3,stored length,raw length", line));
    let (blake3, length, raw_length) = (next()?, next()?, next()?);
    if cells.next().is_some() {
        check_ignored(lines.line, line)?;
    }
    let bytes = |cell: &str| number(cell).ok_or_else(|| lines.error("a length in bytes", cell));
    let blake3 = blake3.parse().map_err(|_| lines.error("a BLAKE3 of 64 lowercase hexadecimal digits", blake3))?;
    Ok(StoredObject { blake3, length: bytes(length)?, raw_length: bytes(raw_length)? })
}

/// What is ignored follows the conventions of text formats all the same.
fn check_ignored(line: usize, text: &str) -> Result<(), ObjectsError> {
    match records(format!("{text}\n").as_bytes()) {
        Ok(_) => Ok(()),
        Err(error) => Err(TextError { line, ..error }.into()),
    }
}
