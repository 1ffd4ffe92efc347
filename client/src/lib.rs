//! Fetches, verifies and applies desktop software releases from a directory of static files.
//!
//! A *publisher* writes the directory (the *site*); any web server, bucket or CDN hands it out; this crate does
//! the rest inside the app's launcher. It owns every format, because the deployed reader is the one party that
//! can never be changed afterwards.
//!
//! # Invariants
//!
//! * [`mod@format`] does no I/O and its modules know no sibling beyond the shared words (digest, path, document).
//! * [`patch`] sees bytes, not files.
//! * [`plan`] and [`trust`] are pure functions.
//! * Only binaries write to a terminal; the library reports through [`progress`].
//! * No path of a manifest reaches the disk except as [`format::path::RelPath`].
//! * No byte from the network reaches a decoder before its signed hash has been checked.

pub mod bundle;
mod consult;
pub mod deploy;
pub mod doctor;
pub mod download;
pub mod error;
pub mod format;
pub mod keep;
pub mod launch;
pub mod launcher;
pub mod lock_file;
pub mod machine;
pub mod notes;
pub mod patch;
pub mod patcher;
pub mod plan;
pub mod process;
pub mod progress;
pub mod single;
pub mod source;
pub mod tree;
pub mod trust;
pub mod updater;
pub mod watch;
pub mod why;
pub mod zlib;
