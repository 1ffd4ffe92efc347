//! The manifest: what the tree of one release on one platform is.
//!
//! # Specification
//!
//! A CSV text ([`crate::format`]). Its first line is `filename,crc32,crc32_reversed,size,blake3,mode,link,policy` and is
//! the version of the format; a later writer may append columns, which readers ignore unless the name begins with `!`.
//! Then comes one row for each file, link and empty directory, sorted by the bytes of `filename`:
//!
//! | column | content |
//! | --- | --- |
//! | `filename` | a path by the rules of [`super::path`] |
//! | `crc32`, `crc32_reversed` | the pair of [`super::digest`], unsigned decimal |
//! | `size` | bytes |
//! | `blake3` | digest of the content |
//! | `mode` | `0644` file, `0755` executable file, `link`, `dir` (an empty directory) |
//! | `link` | destination of a link, else empty |
//! | `policy` | empty, or `keep`: installed once, and never replaced if the user edited it (files only) |
//!
//! Size and digests of a link are those of its destination's UTF-8 bytes; those of a directory are those of nothing.
//!
//! MUST: the paths are free of conflicts ([`super::path::find_conflicts`]); at most 4,000,000 rows; at most 1 GiB;
//! sizes add up to at most 2^53 - 1.
//! Read in this order: length and BLAKE3 against the signed release, then header line, rows, order, conflicts.
//!
//! # Example
//!
//! ```csv
//! filename,crc32,crc32_reversed,size,blake3,mode,link,policy
//! app,3421780262,23003649,9,b7d65b48420d1033cb2595293263b6f72eabee20d55e699d0df1973b3c9deed1,0755,,
//! ```
//!
//! # Changelog
//!
//! * 1: first.

use super::digest::{Blake3, ContentDigest, CrcPair};
use super::path::{LinkDestination, PathConflict, PathError, RelPath, find_conflicts};
use super::text::{NUMBER_MAX, TextError, number, push_record, records};

/// First line of a manifest.
pub const HEADER: &str = "filename,crc32,crc32_reversed,size,blake3,mode,link,policy";

/// Most bytes a manifest may have.
pub const MANIFEST_BYTES_MAX: u64 = 1 << 30;

const COLUMNS: usize = 8;
const ROWS_MAX: usize = 4_000_000;

/// What a row stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A file; executable or not.
    File {
        /// Whether it carries the executable bits (0755, else 0644).
        executable: bool,
    },
    /// A symbolic link.
    Link(LinkDestination),
    /// An empty directory.
    Directory,
}

/// What an update may do to a file the user edited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Policy {
    /// Replace it, keeping the edited content aside.
    #[default]
    Managed,
    /// Leave the edited file in place.
    Keep,
}

/// One file, link or empty directory of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Where it lies.
    pub path: RelPath,
    /// Its content.
    pub digest: ContentDigest,
    /// What it is.
    pub kind: Kind,
    /// What to do if the user edited it.
    pub policy: Policy,
}

impl Row {
    /// A link at `path`, with the digests of its destination.
    pub fn link(path: RelPath, destination: LinkDestination) -> Self {
        let digest = ContentDigest::of(destination.as_str().as_bytes());
        Self { path, digest, kind: Kind::Link(destination), policy: Policy::Managed }
    }

    /// An empty directory at `path`.
    pub fn directory(path: RelPath) -> Self {
        Self { path, digest: ContentDigest::of(b""), kind: Kind::Directory, policy: Policy::Managed }
    }

    /// True for a file, whose content is stored in objects and packs.
    pub fn is_file(&self) -> bool {
        matches!(self.kind, Kind::File { .. })
    }

    fn cells(&self) -> [String; COLUMNS] {
        let (mode, link) = match &self.kind {
            Kind::File { executable: false } => ("0644", ""),
            Kind::File { executable: true } => ("0755", ""),
            Kind::Link(destination) => ("link", destination.as_str()),
            Kind::Directory => ("dir", ""),
        };
        let policy = match self.policy {
            Policy::Managed => "",
            Policy::Keep => "keep",
        };
        [
            self.path.as_str().into(),
            self.digest.crc.forward.to_string(),
            self.digest.crc.reversed.to_string(),
            self.digest.size.to_string(),
            self.digest.blake3.to_string(),
            mode.into(),
            link.into(),
            policy.into(),
        ]
    }
}

/// Why bytes or rows are not a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum ManifestError {
    #[error("manifest {0}")]
    Text(#[from] TextError),
    #[error("manifest line {line}: {source}")]
    Path { line: usize, source: PathError },
    #[error("manifest line {line}: {path} is out of order or stands twice")]
    Order { line: usize, path: RelPath },
    #[error("manifest: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Conflicts(Vec<PathConflict>),
    #[error("manifest has column {column:?}, which this client is too old for")]
    TooOld { column: String },
    #[error("manifest has more than 4000000 rows")]
    TooManyRows,
    #[error("manifest lists more than 9007199254740991 bytes of content")]
    TooMuchContent,
}

/// A whole manifest: rows sorted by path and free of conflicts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest {
    rows: Vec<Row>,
}

impl Manifest {
    /// Sorts `rows` and checks them as a set.
    ///
    /// # Errors
    /// All conflicts at once, or too many rows.
    pub fn new(mut rows: Vec<Row>) -> Result<Self, ManifestError> {
        if rows.len() > ROWS_MAX {
            return Err(ManifestError::TooManyRows);
        }
        // Every sum over a manifest's sizes fits a number from here on.
        let total = rows.iter().try_fold(0u64, |sum, row| sum.checked_add(row.digest.size));
        if total.is_none_or(|bytes| bytes > NUMBER_MAX) {
            return Err(ManifestError::TooMuchContent);
        }
        rows.sort_by(|a, b| a.path.cmp(&b.path));
        let conflicts = find_conflicts(rows.iter().map(|r| (&r.path, true)));
        if conflicts.is_empty() { Ok(Self { rows }) } else { Err(ManifestError::Conflicts(conflicts)) }
    }

    /// Parses the bytes of a manifest whose digest has been checked.
    ///
    /// # Errors
    /// The first line that breaks the specification, with what was expected.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let records = records(bytes)?;
        let columns: Vec<&str> = HEADER.split(',').collect();
        let header = records.first().ok_or_else(|| TextError::new(1, HEADER, ""))?;
        if header.len() < COLUMNS || header.iter().zip(&columns).any(|(found, expected)| found != expected) {
            return Err(TextError::new(1, HEADER, &header.join(",")).into());
        }
        if let Some(column) = header[COLUMNS..].iter().find(|c| c.starts_with('!')) {
            return Err(ManifestError::TooOld { column: column.clone() });
        }
        if records.len() > ROWS_MAX {
            return Err(ManifestError::TooManyRows);
        }
        let mut rows: Vec<Row> = Vec::with_capacity(records.len() - 1);
        for (index, cells) in records.iter().enumerate().skip(1) {
            let row = parse_row(index + 1, cells)?;
            if rows.last().is_some_and(|last| last.path >= row.path) {
                return Err(ManifestError::Order { line: index + 1, path: row.path });
            }
            rows.push(row);
        }
        Self::new(rows)
    }

    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = String::with_capacity(self.rows.len() * 128 + HEADER.len() + 1);
        text.push_str(HEADER);
        text.push('\n');
        for row in &self.rows {
            push_record(&mut text, row.cells().iter().map(String::as_str));
        }
        text.into_bytes()
    }

    /// Rows in order of their paths.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The row of `path` and its index.
    pub fn find(&self, path: &RelPath) -> Option<(usize, &Row)> {
        let index = self.rows.binary_search_by(|row| row.path.cmp(path)).ok()?;
        Some((index, &self.rows[index]))
    }

    /// Sum of the sizes of its files, in bytes.
    pub fn content_bytes(&self) -> u64 {
        self.rows.iter().filter(|r| r.is_file()).map(|r| r.digest.size).sum()
    }
}

fn parse_row(line: usize, cells: &[String]) -> Result<Row, ManifestError> {
    let error = |expected: &str, found: &str| ManifestError::Text(TextError::new(line, expected, found));
    if cells.len() < COLUMNS {
        return Err(error("eight cells", &cells.join(",")));
    }
    let path = RelPath::parse(&cells[0]).map_err(|source| ManifestError::Path { line, source })?;
    let crc =
        |text: &str| number(text).and_then(|n| u32::try_from(n).ok()).ok_or_else(|| error("a CRC-32 in decimal", text));
    let digest = ContentDigest {
        crc: CrcPair { forward: crc(&cells[1])?, reversed: crc(&cells[2])? },
        size: number(&cells[3]).ok_or_else(|| error("a size in bytes", &cells[3]))?,
        blake3: cells[4]
            .parse::<Blake3>()
            .map_err(|_| error("a BLAKE3 of 64 lowercase hexadecimal digits", &cells[4]))?,
    };
    let kind = match (cells[5].as_str(), cells[6].as_str()) {
        ("0644", "") => Kind::File { executable: false },
        ("0755", "") => Kind::File { executable: true },
        ("dir", "") => Kind::Directory,
        ("link", destination) => Kind::Link(
            LinkDestination::parse(&path, destination).map_err(|source| ManifestError::Path { line, source })?,
        ),
        (mode, _) => return Err(error("mode 0644, 0755, link or dir, and a destination only for a link", mode)),
    };
    let policy = match cells[7].as_str() {
        "" => Policy::Managed,
        "keep" if matches!(kind, Kind::File { .. }) => Policy::Keep,
        other => return Err(error("an empty policy, or keep for a file", other)),
    };
    let row = Row { path, digest, kind, policy };
    let implied = match &row.kind {
        Kind::File { .. } => row.digest,
        Kind::Link(destination) => ContentDigest::of(destination.as_str().as_bytes()),
        Kind::Directory => ContentDigest::of(b""),
    };
    if implied != row.digest {
        return Err(error("the digests of a link's destination, or of nothing for a directory", &cells[4]));
    }
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text).expect("a legal path")
    }

    fn file(name: &str, content: &[u8]) -> Row {
        Row {
            path: path(name),
            digest: ContentDigest::of(content),
            kind: Kind::File { executable: false },
            policy: Policy::Managed,
        }
    }

    #[test]
    fn written_and_read_back() {
        let link = path("lib/l");
        let destination = LinkDestination::parse(&link, "../a, b").expect("in the tree");
        let rows = vec![
            file("z", b"z"),
            Row::link(link, destination),
            Row::directory(path("empty")),
            file("a, b", b"123456789"),
        ];
        let manifest = Manifest::new(rows).expect("no conflicts");
        let bytes = manifest.to_bytes();
        assert_eq!(Manifest::parse(&bytes), Ok(manifest));
        assert!(String::from_utf8_lossy(&bytes).contains("\"a, b\",3421780262,23003649,9,"));
    }

    #[test]
    fn unknown_columns_are_ignored_unless_critical() {
        let manifest = Manifest::new(vec![file("a", b"x")]).expect("one row");
        let text = String::from_utf8(manifest.to_bytes()).expect("text");
        let mut lines: Vec<String> = text.lines().map(|l| format!("{l},later")).collect();
        assert_eq!(Manifest::parse(format!("{}\n", lines.join("\n")).as_bytes()), Ok(manifest));
        lines[0] = format!("{HEADER},!later");
        let refused = Manifest::parse(format!("{}\n", lines.join("\n")).as_bytes());
        assert_eq!(refused, Err(ManifestError::TooOld { column: "!later".into() }));
    }

    #[test]
    fn conflicts_are_all_named() {
        let conflicts = Manifest::new(vec![file("A", b""), file("a", b""), file("b", b""), file("b/c", b"")]);
        assert!(matches!(conflicts, Err(ManifestError::Conflicts(all)) if all.len() == 2));
    }
}
