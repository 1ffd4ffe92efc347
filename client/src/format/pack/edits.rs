//! The edit list: how the base release's manifest becomes the target release's.
//!
//! # Specification
//!
//! A varint count, then that many edits. A cursor walks the rows of the base manifest from the first; each edit adds
//! rows to the target manifest or moves the cursor. Base rows after the last edit are kept. An edit begins with the
//! varint `argument × 4 + kind`:
//!
//! | kind | argument | then | meaning |
//! | --- | --- | --- | --- |
//! | 0 keep | rows | | the next rows stay as they are |
//! | 1 drop | rows | | the next rows are not in the target release |
//! | 2 change | bits | content | the next row, a file, stays with another content, mode or policy |
//! | 3 insert | bits | path, content or destination | a row the base release does not have at this place |
//!
//! Bits of *change*: 1 the executable bit flips, 2 the policy flips, 4 and 8 the content (0 unchanged, 1 new, 2 base,
//! 3 twin). Bits of *insert*: 1 and 2 the kind (0 file, 1 executable file, 2 link, 3 empty directory), 4 policy `keep`,
//! 8 and 16 the content (0 new, 1 base, 2 twin); a link or directory has none of the last two. Content is
//!
//! * *new*: a varint, its size; its digests stand in the digest table, in the order of the edit list;
//! * *base*: a varint, the base row that has it (a moved or copied file);
//! * *twin*: a varint, which of the new contents before it is the same.
//!
//! A path is two varints and bytes: how many bytes it shares with the path of the target row before it, the length of
//! the rest, the rest. A link's destination is a varint, its length, and its bytes.
//!
//! MUST: counts of rows are not 0; a keep does not follow a keep, a drop not a drop, and the last edit is no keep; a
//! change changes something; neither manifest has more than 4,000,000 rows.

use super::super::digest::{Blake3, ContentDigest, CrcPair};
use super::super::manifest::Policy;
use super::super::text::NUMBER_MAX;
use super::PackError;
use super::wire::{Reader, put_varint};

/// Most rows of either manifest.
pub(super) const ROWS_MAX: u64 = 4_000_000;
/// Most bytes of a path or destination; the path rules allow no more.
const TEXT_BYTES_MAX: u64 = 1024;
/// Bytes of a new content's digests: BLAKE3 and the CRC pair.
pub(super) const DIGEST_BYTES: usize = 40;

/// One step of the walk from the base manifest to the target manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// The next base rows stay.
    Keep {
        /// How many, at least 1.
        rows: usize,
    },
    /// The next base rows are gone.
    Drop {
        /// How many, at least 1.
        rows: usize,
    },
    /// The next base row, a file, stays at its path.
    Change {
        /// Its content, where that changed.
        content: Option<Content>,
        /// Whether the executable bit is the other one now.
        flip_executable: bool,
        /// Whether the policy is the other one now.
        flip_policy: bool,
    },
    /// A row that was not there.
    Insert {
        /// Bytes its path shares with the target row before it.
        shared: usize,
        /// The rest of its path.
        rest: String,
        /// What it is.
        entry: Entry,
    },
}

/// What an inserted row is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A file.
    File {
        /// Whether it carries the executable bits.
        executable: bool,
        /// What an update may do to it.
        policy: Policy,
        /// Where its content comes from.
        content: Content,
    },
    /// A link with its destination.
    Link(String),
    /// An empty directory.
    Directory,
}

/// Where the content of a changed or inserted file comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A unit of the pack.
    New(ContentDigest),
    /// This row of the base release.
    Base {
        /// Index of the row.
        row: usize,
    },
    /// The same as the new content with this ordinal, which stands before it.
    Twin {
        /// Ordinal among the new contents, from 0.
        content: usize,
    },
}

/// A content the units of a pack bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NewContent {
    /// Target row that has it.
    pub(super) row: usize,
    /// Base row at the same path, if any.
    pub(super) base_row: Option<usize>,
}

/// Walks `edits`, checks what can be checked without the base manifest, and finds the new contents in order.
pub(super) fn new_contents(edits: &[Edit]) -> Result<Vec<NewContent>, PackError> {
    let mut contents = Vec::new();
    let (mut base, mut target) = (0usize, 0usize);
    for edit in edits {
        let content = match edit {
            Edit::Keep { .. } | Edit::Drop { .. } => None,
            Edit::Change { content, .. } => content.as_ref().map(|content| (content, Some(base))),
            Edit::Insert { entry: Entry::File { content, .. }, .. } => Some((content, None)),
            Edit::Insert { .. } => None,
        };
        match content {
            Some((Content::New(_), base_row)) => contents.push(NewContent { row: target, base_row }),
            Some((Content::Twin { content }, _)) if *content >= contents.len() => {
                return Err(PackError::limit("a twin's content", contents.len() as u64, *content as u64));
            }
            _ => {}
        }
        let (passed, added) = match edit {
            Edit::Keep { rows } => (*rows, *rows),
            Edit::Drop { rows } => (*rows, 0),
            Edit::Change { .. } => (1, 1),
            Edit::Insert { .. } => (0, 1),
        };
        base = base.saturating_add(passed);
        target = target.saturating_add(added);
        let rows = base.max(target) as u64;
        if rows > ROWS_MAX {
            return Err(PackError::limit("rows", ROWS_MAX, rows));
        }
    }
    Ok(contents)
}

/// Appends the edit list without digests.
pub(super) fn put_edits(out: &mut Vec<u8>, edits: &[Edit]) {
    put_varint(out, edits.len() as u64);
    for edit in edits {
        match edit {
            Edit::Keep { rows } => put_varint(out, (*rows as u64) << 2),
            Edit::Drop { rows } => put_varint(out, (*rows as u64) << 2 | 1),
            Edit::Change { content, flip_executable, flip_policy } => {
                let source = content.as_ref().map_or(0, |content| source(content) + 1);
                put_varint(out, (source << 2 | u64::from(*flip_policy) << 1 | u64::from(*flip_executable)) << 2 | 2);
                content.iter().for_each(|content| put_content(out, content));
            }
            Edit::Insert { shared, rest, entry } => put_insert(out, *shared, rest, entry),
        }
    }
}

fn put_insert(out: &mut Vec<u8>, shared: usize, rest: &str, entry: &Entry) {
    let bits = match entry {
        Entry::File { executable, policy, content } => {
            source(content) << 3 | u64::from(*policy == Policy::Keep) << 2 | u64::from(*executable)
        }
        Entry::Link(_) => 2,
        Entry::Directory => 3,
    };
    put_varint(out, bits << 2 | 3);
    put_varint(out, shared as u64);
    put_text(out, rest);
    match entry {
        Entry::File { content, .. } => put_content(out, content),
        Entry::Link(destination) => put_text(out, destination),
        Entry::Directory => {}
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn source(content: &Content) -> u64 {
    match content {
        Content::New(_) => 0,
        Content::Base { .. } => 1,
        Content::Twin { .. } => 2,
    }
}

fn put_content(out: &mut Vec<u8>, content: &Content) {
    match content {
        Content::New(digest) => put_varint(out, digest.size),
        Content::Base { row } => put_varint(out, *row as u64),
        Content::Twin { content } => put_varint(out, *content as u64),
    }
}

/// Appends the digests of the new contents.
pub(super) fn put_digests(out: &mut Vec<u8>, edits: &[Edit]) {
    for edit in edits {
        if let Some(Content::New(digest)) = content_of(edit) {
            out.extend_from_slice(digest.blake3.as_bytes());
            out.extend_from_slice(&digest.crc.forward.to_le_bytes());
            out.extend_from_slice(&digest.crc.reversed.to_le_bytes());
        }
    }
}

fn content_of(edit: &Edit) -> Option<&Content> {
    match edit {
        Edit::Change { content, .. } => content.as_ref(),
        Edit::Insert { entry: Entry::File { content, .. }, .. } => Some(content),
        _ => None,
    }
}

/// Reads the edit list; the digests of new contents are zero until [`read_digests`] fills them in.
pub(super) fn read_edits(reader: &mut Reader<'_>) -> Result<Vec<Edit>, PackError> {
    let count = reader.varint()?;
    if count > 2 * ROWS_MAX {
        return Err(PackError::limit("edits", 2 * ROWS_MAX, count));
    }
    let mut edits = Vec::new();
    for _ in 0..count {
        let edit = read_edit(reader)?;
        let repeats = matches!(
            (edits.last(), &edit),
            (Some(Edit::Keep { .. }), Edit::Keep { .. }) | (Some(Edit::Drop { .. }), Edit::Drop { .. })
        );
        if repeats {
            return Err(PackError::Invalid { what: "an edit that repeats the kind of the one before it" });
        }
        edits.push(edit);
    }
    match edits.last() {
        Some(Edit::Keep { .. }) => Err(PackError::Invalid { what: "a keep as last edit" }),
        _ => Ok(edits),
    }
}

fn read_edit(reader: &mut Reader<'_>) -> Result<Edit, PackError> {
    let head = reader.varint()?;
    let argument = head >> 2;
    match head & 3 {
        0 | 1 => {
            if argument == 0 || argument > ROWS_MAX {
                return Err(PackError::limit("rows of an edit", ROWS_MAX, argument));
            }
            let rows = argument as usize;
            Ok(if head & 3 == 0 { Edit::Keep { rows } } else { Edit::Drop { rows } })
        }
        2 => {
            if argument == 0 || argument > 15 {
                return Err(PackError::Invalid { what: "the bits of a change" });
            }
            let content = if argument >> 2 == 0 { None } else { Some(read_content(reader, (argument >> 2) - 1)?) };
            Ok(Edit::Change { content, flip_executable: argument & 1 != 0, flip_policy: argument & 2 != 0 })
        }
        _ => read_insert(reader, argument),
    }
}

fn read_insert(reader: &mut Reader<'_>, bits: u64) -> Result<Edit, PackError> {
    let shared = reader.varint()?;
    if shared > TEXT_BYTES_MAX {
        return Err(PackError::limit("bytes a path shares", TEXT_BYTES_MAX, shared));
    }
    let rest = read_text(reader)?;
    let entry = match (bits & 3, bits >> 2) {
        (kind @ (0 | 1), more) if more < 6 => Entry::File {
            executable: kind == 1,
            policy: if more & 1 == 0 { Policy::Managed } else { Policy::Keep },
            content: read_content(reader, more >> 1)?,
        },
        (2, 0) => Entry::Link(read_text(reader)?),
        (3, 0) => Entry::Directory,
        _ => return Err(PackError::Invalid { what: "the bits of an insert" }),
    };
    Ok(Edit::Insert { shared: shared as usize, rest, entry })
}

fn read_text(reader: &mut Reader<'_>) -> Result<String, PackError> {
    let length = reader.varint()?;
    if length > TEXT_BYTES_MAX {
        return Err(PackError::limit("bytes of a path", TEXT_BYTES_MAX, length));
    }
    let bytes = reader.bytes(length)?;
    String::from_utf8(bytes.to_vec()).map_err(|_| PackError::Invalid { what: "a path that is not UTF-8" })
}

fn read_content(reader: &mut Reader<'_>, source: u64) -> Result<Content, PackError> {
    let number = reader.varint()?;
    match source {
        0 if number > NUMBER_MAX => Err(PackError::limit("bytes of a content", NUMBER_MAX, number)),
        0 => Ok(Content::New(ContentDigest {
            size: number,
            crc: CrcPair::default(),
            blake3: Blake3::from_bytes([0; 32]),
        })),
        _ if number > ROWS_MAX => Err(PackError::limit("a row or ordinal", ROWS_MAX, number)),
        1 => Ok(Content::Base { row: number as usize }),
        2 => Ok(Content::Twin { content: number as usize }),
        _ => Err(PackError::Invalid { what: "the source of a content" }),
    }
}

/// Fills in the digests of the new contents, in order.
pub(super) fn read_digests(reader: &mut Reader<'_>, edits: &mut [Edit]) -> Result<(), PackError> {
    for edit in edits {
        let content = match edit {
            Edit::Change { content: Some(content), .. } => content,
            Edit::Insert { entry: Entry::File { content, .. }, .. } => content,
            _ => continue,
        };
        if let Content::New(digest) = content {
            let bytes = reader.bytes(DIGEST_BYTES as u64)?;
            let (mut blake3, mut forward, mut reversed) = ([0; 32], [0; 4], [0; 4]);
            blake3.copy_from_slice(&bytes[..32]);
            forward.copy_from_slice(&bytes[32..36]);
            reversed.copy_from_slice(&bytes[36..]);
            digest.blake3 = Blake3::from_bytes(blake3);
            digest.crc = CrcPair { forward: u32::from_le_bytes(forward), reversed: u32::from_le_bytes(reversed) };
        }
    }
    Ok(())
}
