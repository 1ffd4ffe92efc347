//! Starting a program of a tree.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::error::Error;
use crate::process;
use crate::updater::{FAILED_UPDATE_VARIABLE, Updater};

/// Starts the program the installed release names, with this program's environment and input; none if it names none.
///
/// # Errors
/// A damaged record; the program does not start.
pub fn start(updater: &Updater, arguments: &[OsString]) -> Result<Option<Child>, Error> {
    let entry = updater.entry()?;
    entry.map(|entry| start_program(updater, &entry, arguments, None, Stdio::inherit())).transpose()
}

/// Starts the program `entry` of a tree; it is told of an update that `failed`, and of no earlier one.
pub(crate) fn start_program(
    updater: &Updater,
    entry: &Path,
    arguments: &[OsString],
    failed: Option<u64>,
    input: Stdio,
) -> Result<Child, Error> {
    let path = updater.root().join(entry);
    let mut command = Command::new(&path);
    command.args(arguments).stdin(input).env_remove(FAILED_UPDATE_VARIABLE);
    command.envs(failed.map(|build| (FAILED_UPDATE_VARIABLE, build.to_string())));
    process::spawn(&mut command).map_err(|source| Error::Io { doing: "start", path, source })
}
