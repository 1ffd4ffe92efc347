//! Writes sites of desktop software releases.

pub mod diff;
pub mod packs;
