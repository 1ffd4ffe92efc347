//! What makes a tree that was unpacked from an archive one that was installed: its first update goes by pack.

use super::session::settings_of;
use super::{Origin, ROOT, SETTINGS};
use crate::error::Error;
use crate::tree::Record;

/// The files of the state directory of a tree that holds what `record` says, by their paths below it, in order.
///
/// What a client has believed is not among them, nor its private rollout secret: a secret that all share would put all
/// users at the same place of every rollout. The client makes its own when it first looks at the site.
///
/// # Errors
/// Settings or a root that no client would take.
pub fn state_files(origin: &Origin, record: &Record) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let (settings, _) = settings_of(origin)?;
    let [release, manifest] = record.state_files();
    Ok(vec![manifest, release, (ROOT.to_owned(), origin.root.clone()), (SETTINGS.to_owned(), settings.to_bytes())])
}
