//! Writes sites of desktop software releases: plain files that any web server, bucket or CDN can hand out.
//!
//! One run of [`build_release`] reads a directory a platform, and puts objects, packs, manifests and signed documents
//! into the site; it proves every way to the new release with the client's own code before the channel moves.
//!
//! # Invariants
//!
//! * Only [`sign`] ever holds a secret key.
//! * [`site`] alone writes into a site, and always by rename: immutable files first, then the signed release, the head
//!   last. Whatever the moment a run dies at, clients find a site they can use and the next run finishes the job.
//! * A file that a signed release names never changes.
//! * Equal input gives equal bytes, at any number of threads: no clock beyond one time a run, no random salt.
//! * The library writes nothing to a terminal; it reports through [`watch`].

pub mod bases;
pub mod build_release;
pub mod bundle;
pub mod channel;
pub mod config;
pub mod configure;
pub mod cost;
pub mod delivery;
pub mod diff;
pub mod error;
pub mod explain;
pub mod finish;
pub mod head;
pub mod init;
pub mod objects;
pub mod origin;
pub mod packs;
pub mod page;
pub mod promote;
pub mod proof;
pub mod prune;
pub mod refresh;
pub mod remote;
pub mod report;
pub mod rollout;
pub mod root;
pub mod scan;
pub mod scratch;
pub mod serve;
pub mod sign;
pub mod site;
pub mod store;
pub mod upload;
pub mod verify;
pub mod watch;
