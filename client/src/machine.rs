//! The machine an updater runs on, as a seam: its clock, its chance, its disks and its networks.
//!
//! [`ThisMachine`] is what every program uses. A simulation brings a machine of its own, on which months pass in
//! milliseconds, and runs the same code on it.

use std::path::Path;
use std::sync::Arc;

use crate::format::text::Time;
use crate::source::{self, HttpOptions, Source, SourceError};
use crate::tree::{Tree, TreeError};

/// What is asked of a machine; all of it is answered by the real one unless another answer is given.
pub trait Machine: Send + Sync {
    /// The time its clock shows, right or wrong.
    fn clock(&self) -> Time {
        Time::now()
    }

    /// The private secret of a new install, which decides its place in roll-outs.
    fn secret(&self) -> [u8; 16] {
        let mut secret = [0; 16];
        // Without randomness the install shares a bucket with others; nothing else depends on it.
        let _ = getrandom::fill(&mut secret);
        secret
    }

    /// Opens an installed directory, as [`Tree::open`] does.
    ///
    /// # Errors
    /// Those of [`Tree::open`].
    fn open_tree(&self, root: &Path, state: Option<&Path>) -> Result<Tree, TreeError> {
        Tree::open(root, state)
    }

    /// Opens a site or a mirror of it, as [`source::open`] does.
    ///
    /// # Errors
    /// Those of [`source::open`].
    fn open_source(&self, location: &str, options: &HttpOptions) -> Result<Arc<dyn Source>, SourceError> {
        source::open(location, options)
    }

    /// Threads that fetch objects, and as many that flush files, beside the one that works. With 0 everything that changes
    /// the disk is done by the calling thread, one after the other.
    fn helpers(&self) -> usize {
        crate::deploy::HELPERS
    }
}

/// The machine this program runs on.
#[derive(Debug, Clone, Copy, Default)]
pub struct ThisMachine;

impl Machine for ThisMachine {}
