//! `--keep-site`: what a command fetches becomes a part of the site in a directory.

use std::path::Path;
use std::sync::Arc;

use lamplighter_client::error::Error;
use lamplighter_client::keep::Keep;
use lamplighter_client::updater::{Config, Updater};
use serde_json::json;

use crate::args::KeepArgs;
use crate::output::Output;
use crate::term::bytes;

/// The directory, once it is known to be one.
pub(crate) struct Keeping(Option<Arc<Keep>>);

impl KeepArgs {
    /// Makes the directory, and lets the sites of `config` be copied from.
    pub(crate) fn begin(&self, config: &mut Config) -> Result<Keeping, Error> {
        let Some(dir) = &self.keep_site else { return Ok(Keeping(None)) };
        let failed = |source| Error::Io { doing: "keep a site in", path: dir.clone(), source };
        let keep = Keep::open(dir).map_err(failed)?;
        config.machine = keep.watching(config.machine.clone());
        Ok(Keeping(Some(keep)))
    }
}

impl Keeping {
    /// Keeps what came and is as signed, however the command ended; what cannot be kept is told and is no failure of it.
    pub(crate) fn end(&self, open: impl FnOnce() -> Result<Updater, Error>, output: &Output) {
        let Some(keep) = &self.0 else { return };
        let dir: &Path = keep.dir();
        match open().and_then(|updater| updater.settle(keep)) {
            Ok(kept) => {
                let (files, not) = (kept.files, kept.not_kept);
                let not = if not > 0 { format!("; {not} that did not come whole were not") } else { String::new() };
                let text = format!("kept in {}: {files} files, {}{not}", dir.display(), bytes(kept.bytes));
                let fields = json!({"dir": dir, "files": kept.files, "bytes": kept.bytes, "not_kept": kept.not_kept});
                output.result("kept", fields, &text);
            }
            Err(error) => output.message(&format!("nothing was kept in {}: {error}", dir.display())),
        }
    }
}
