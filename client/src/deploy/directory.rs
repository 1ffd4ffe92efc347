//! Deployment without channels and state: what a publisher proves its own site with.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{BaseRelease, Deploy, DeployReport, HELPERS, Order, Route};
use crate::download::{Downloader, RetryPolicy};
use crate::error::Error;
use crate::format::digest::Blake3;
use crate::format::manifest::Manifest;
use crate::format::release::{RELEASE_BYTES_MAX, Release};
use crate::format::signed::SignedDocument;
use crate::progress::{Cancel, Progress};
use crate::source::Source;
use crate::tree::{Record, Tree};
use crate::trust::VerifiedRelease;

/// Brings the directory `dir`, empty or deployed to before, to `release`, exactly as a client does once it has verified
/// that release. The caller vouches for the release and for what is recorded in the directory.
///
/// # Errors
/// Those of [`Deploy::run`], and a record that cannot be read.
pub fn deploy_directory(
    dir: &Path,
    source: Arc<dyn Source>,
    release: &VerifiedRelease,
    route: Route,
    progress: Arc<dyn Progress>,
    cancel: &Cancel,
) -> Result<DeployReport, Error> {
    let lock = Tree::open(dir, None)?.lock(Duration::ZERO)?;
    lock.recover()?;
    let base = lock.record()?.map(|record| recorded(dir, &record)).transpose()?;
    let downloader = Downloader::new(vec![source], RetryPolicy::default(), cancel.clone(), progress.clone());
    let deploy = Deploy { lock: &lock, downloader: &downloader, progress: progress.as_ref(), cancel, helpers: HELPERS };
    deploy.run(&Order { release, base: base.as_ref(), route, everything: base.is_none(), manifest: None })
}

fn recorded(dir: &Path, record: &Record) -> Result<BaseRelease, Error> {
    let damaged = |reason: String| Error::DamagedRecord { path: dir.to_owned(), reason };
    let document = SignedDocument::split(&record.release, RELEASE_BYTES_MAX).map_err(|e| damaged(e.to_string()))?;
    let release = Release::parse(&document.body).map_err(|e| damaged(e.to_string()))?;
    let manifest = Manifest::parse(&record.manifest).map_err(|e| damaged(e.to_string()))?;
    Ok(BaseRelease { manifest_blake3: Blake3::of(&record.manifest), ..BaseRelease::recorded(&release, manifest) })
}
