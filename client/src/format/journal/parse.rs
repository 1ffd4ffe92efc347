//! Reads the body of a journal: header lines, then ops, each by the rules of the specification.

use std::collections::HashSet;

use super::{Area, Backup, EntryPath, HEADER, Journal, JournalError, JournalOp, Thing};
use crate::format::digest::Blake3;
use crate::format::path::{LinkDestination, RelPath};
use crate::format::text::{TextError, is_token, number};

/// Cells of an `op` line; a later writer may append more.
pub(super) const OP_CELLS: usize = 16;

#[derive(Default)]
struct Parser {
    key: Option<String>,
    kept: Option<u64>,
    from: Option<Option<Blake3>>,
    to: Option<Blake3>,
    ops: Vec<JournalOp>,
    staged: HashSet<usize>,
}

/// Parses the records of a body, whose trailer was checked.
pub(super) fn body(records: &[Vec<String>]) -> Result<Journal, JournalError> {
    let first = records.first().map(|cells| cells.join(",")).unwrap_or_default();
    if first != HEADER {
        return Err(error(1, HEADER, &first));
    }
    if records.last().is_none_or(|cells| cells.as_slice() != ["end"]) {
        return Err(error(records.len(), "end as the last line of the body", &first));
    }
    let mut parser = Parser::default();
    for (index, cells) in records.iter().enumerate().take(records.len() - 1).skip(1) {
        parser.line(index + 1, cells)?;
    }
    parser.finish(records.len())
}

fn error(line: usize, expected: &str, found: &str) -> JournalError {
    TextError::new(line, expected, found).into()
}

impl Parser {
    fn line(&mut self, line: usize, cells: &[String]) -> Result<(), JournalError> {
        let (key, value) = (cells[0].as_str(), cells.get(1).map_or("", String::as_str));
        let header = matches!(key, "key" | "kept" | "from" | "to");
        if header && !self.ops.is_empty() {
            return Err(error(line, "header lines before the first op", key));
        }
        match key {
            "key" if self.key.is_none() && is_token(value) => self.key = Some(value.to_owned()),
            "kept" if self.kept.is_none() && number(value).is_some() => self.kept = number(value),
            "from" if self.from.is_none() => self.from = Some(from(line, value)?),
            "to" if self.to.is_none() => self.to = Some(digest(line, value)?),
            "op" => {
                let op = self.op(line, cells)?;
                self.ops.push(op);
            }
            "end" => return Err(error(line, "one end", key)),
            _ if header => return Err(error(line, &format!("one {key} line with its value"), value)),
            _ if key.starts_with('!') => return Err(JournalError::TooOld { key: key.to_owned() }),
            _ => {}
        }
        Ok(())
    }

    fn finish(self, line: usize) -> Result<Journal, JournalError> {
        let missing = |key: &str| error(line, &format!("a {key} line before the end"), "end");
        Ok(Journal {
            key: self.key.ok_or_else(|| missing("key"))?,
            kept: self.kept.ok_or_else(|| missing("kept"))?,
            from: self.from.ok_or_else(|| missing("from"))?,
            to: self.to.ok_or_else(|| missing("to"))?,
            ops: self.ops,
        })
    }

    fn op(&mut self, line: usize, cells: &[String]) -> Result<JournalOp, JournalError> {
        if cells.len() < OP_CELLS {
            return Err(error(line, "an op of sixteen cells", &cells.join(",")));
        }
        if number(&cells[1]) != Some(self.ops.len() as u64) {
            return Err(error(line, &format!("op number {}", self.ops.len()), &cells[1]));
        }
        let area = match cells[2].as_str() {
            "tree" => Area::Tree,
            "record" => Area::Record,
            other => return Err(error(line, "area tree or record", other)),
        };
        let path = EntryPath::parse(&cells[3]).map_err(|expected| error(line, expected, &cells[3]))?;
        let (before, after) = (thing(line, &cells[4..8])?, thing(line, &cells[8..12])?);
        let staged = match cells[13].as_str() {
            "" => None,
            text => Some(self.staged(line, text)?),
        };
        let backup = match cells[14].as_str() {
            "" => Backup::None,
            "drop" => Backup::Drop,
            "keep" => Backup::Keep,
            other => return Err(error(line, "backup drop or keep, or none", other)),
        };
        let was = match cells[15].as_str() {
            "" => None,
            text => Some(EntryPath::parse(text).map_err(|expected| error(line, expected, text))?),
        };
        let destination = destination(line, &path, &after, &cells[12])?;
        let op = JournalOp { area, path, before, after, destination, staged, backup, was };
        self.check(line, &op)?;
        Ok(op)
    }

    fn staged(&mut self, line: usize, text: &str) -> Result<usize, JournalError> {
        let staged = number(text).and_then(|n| usize::try_from(n).ok());
        let staged = staged.ok_or_else(|| error(line, "the number of a staged file", text))?;
        if !self.staged.insert(staged) {
            return Err(error(line, "a staged file of its own for each op", text));
        }
        Ok(staged)
    }

    fn check(&self, line: usize, op: &JournalOp) -> Result<(), JournalError> {
        let wrong = |expected: &str| Err(error(line, expected, op.path.as_str()));
        if self.ops.last().is_some_and(|last| (last.area, &last.path) >= (op.area, &op.path)) {
            return wrong("ops sorted by area and path, each once");
        }
        if op.area == Area::Record && !matches!(op.path.as_str(), "release" | "manifest.csv") {
            return wrong("release or manifest.csv in the record");
        }
        if op.after != Thing::Absent {
            // What is new came from a manifest.
            let plain = op.path.to_plain().unwrap_or_else(|| op.path.as_str().to_owned());
            RelPath::parse(&plain).map_err(|source| JournalError::Path { line, source })?;
        }
        if op.was.is_none() && (op.before == op.after || (op.before.is_directory() && op.after.is_directory())) {
            return wrong("before and after that differ");
        }
        if op.was.as_ref().is_some_and(|was| !is_respelling(op, was)) {
            return wrong("another spelling of the path as the path before");
        }
        if let Thing::File { mode, .. } | Thing::Directory { mode } = op.after {
            let allowed = mode == 0o755 || (mode == 0o644 && !op.after.is_directory());
            if !allowed {
                return wrong("mode 0644 or 0755 after");
            }
        }
        let is_file = matches!(op.after, Thing::File { .. });
        if op.staged.is_some() != (is_file && !op.is_mode_only()) {
            return wrong("a staged number for a new file, and for nothing else");
        }
        let backed_up = op.backup != Backup::None;
        let right = match op.before {
            Thing::Absent => !backed_up,
            Thing::Directory { .. } => op.backup != Backup::Drop,
            Thing::File { .. } | Thing::Link { .. } => backed_up != op.is_mode_only(),
        };
        if right { Ok(()) } else { wrong("a backup of a file or link that is replaced, and of nothing else") }
    }
}

fn is_respelling(op: &JournalOp, was: &EntryPath) -> bool {
    op.before.is_leaf() && op.after.is_leaf() && *was != op.path && was.fold_key() == op.path.fold_key()
}

fn from(line: usize, text: &str) -> Result<Option<Blake3>, JournalError> {
    if text == "none" { Ok(None) } else { digest(line, text).map(Some) }
}

fn digest(line: usize, text: &str) -> Result<Blake3, JournalError> {
    text.parse().map_err(|_| error(line, "a BLAKE3 of 64 lowercase hexadecimal digits", text))
}

fn thing(line: usize, cells: &[String]) -> Result<Thing, JournalError> {
    let mode = |text: &str| {
        let octal = text.len() == 4 && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
        let mode = if octal { u32::from_str_radix(text, 8).ok() } else { None };
        mode.filter(|m| *m <= 0o777).ok_or_else(|| error(line, "a mode from 0000 to 0777", text))
    };
    let size = |text: &str| number(text).ok_or_else(|| error(line, "a size in bytes", text));
    match [&*cells[0], &*cells[1], &*cells[2], &*cells[3]] {
        ["absent", "", "", ""] => Ok(Thing::Absent),
        ["file", m, s, b] => Ok(Thing::File { mode: mode(m)?, size: size(s)?, blake3: digest(line, b)? }),
        ["link", "", s, b] => Ok(Thing::Link { size: size(s)?, blake3: digest(line, b)? }),
        ["dir", m, "", ""] => Ok(Thing::Directory { mode: mode(m)? }),
        _ => Err(error(line, "absent, file, link or dir with the cells it takes", &cells.join(","))),
    }
}

fn destination(
    line: usize,
    path: &EntryPath,
    after: &Thing,
    text: &str,
) -> Result<Option<LinkDestination>, JournalError> {
    let Thing::Link { size, blake3 } = after else {
        return if text.is_empty() { Ok(None) } else { Err(error(line, "a destination only for a link", text)) };
    };
    let link = path.to_rel().ok_or_else(|| error(line, "a link at a path by the path rules", path.as_str()))?;
    let destination = LinkDestination::parse(&link, text).map_err(|source| JournalError::Path { line, source })?;
    if *size != text.len() as u64 || *blake3 != Blake3::of(text.as_bytes()) {
        return Err(error(line, "a destination with the digest of the link", text));
    }
    Ok(Some(destination))
}
