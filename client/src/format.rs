//! Rules common to all formats of a site.
//!
//! # Conventions
//!
//! * Text formats are UTF-8, end every line with LF, hold CSV records as RFC 4180 has them (a cell is quoted only
//!   when it must be), and are canonical: for given content there is one byte sequence, which is what a writer
//!   writes and what a reader accepts.
//! * Numbers are decimal, without sign, leading zeros or spaces, and at most 2⁵³ − 1.
//! * Digests are BLAKE3, 64 lowercase hexadecimal digits. CRC-32 values are decimal.
//! * Times are RFC 3339 in UTC with whole seconds: `2026-01-31T12:00:00Z`.
//! * Binary formats use LEB128 varints, at most ten bytes, shortest form only.
//! * A reader ignores keys and trailing cells it does not know. An unknown key that begins with `!` means that this
//!   client is too old to follow the document.
//! * Limits are checked before memory is taken, digests before anything is decoded, signatures before anything is
//!   parsed.
//!
//! The specification of each format is the head comment of its module.

pub mod digest;
pub mod document;
pub mod handover;
pub mod head;
pub mod journal;
pub mod last;
pub mod launch;
pub mod layout;
pub mod manifest;
pub mod notes;
pub mod objects;
pub mod pack;
pub mod path;
pub mod release;
pub mod root;
pub mod settings;
pub mod signed;
pub mod text;
