//! Scratch trees: old releases rebuilt from the site, and updates tried out, by the very code that ships in clients.

mod unflushed;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lamplighter_client::deploy::{BaseRelease, Deploy, DeployReport, HELPERS, Order, Route};
use lamplighter_client::download::{Downloader, RetryPolicy};
use lamplighter_client::error::Error as ClientError;
use lamplighter_client::format::manifest::Manifest;
use lamplighter_client::progress::Cancel;
use lamplighter_client::source::{self, HttpOptions, Source};
use lamplighter_client::tree::{Tree, TreeError, fs};
use lamplighter_client::trust::VerifiedRelease;
use tempfile::TempDir;

use crate::origin::Layered;
use crate::scratch::unflushed::Unflushed;
use crate::site::Site;
use crate::watch::{PartProgress, Watch};

/// Where scratch trees come from and lie.
#[derive(Clone)]
pub struct Scratch {
    source: Arc<dyn Source>,
    dir: PathBuf,
    watch: Arc<dyn Watch>,
}

/// A tree that vanishes when it is dropped. Its state lies beside it, so that it holds nothing but the release.
pub struct ScratchTree {
    dir: TempDir,
}

impl ScratchTree {
    /// The tree.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn open(&self) -> Result<Tree, TreeError> {
        let (tree, state) = (self.path(), self.state());
        Ok(Tree::with_fs(Box::new(Unflushed(fs::system(&tree, &state)?)), &tree, &state))
    }
}

impl Scratch {
    /// Scratch trees of `site` below `dir`.
    ///
    /// # Errors
    /// The site cannot be opened as clients open one.
    pub fn new(site: &Site, dir: &Path, watch: Arc<dyn Watch>) -> Result<Self, ClientError> {
        let location = site.dir().canonicalize().unwrap_or_else(|_| site.dir().to_owned());
        let local = source::open(&location.to_string_lossy(), &HttpOptions::default())?;
        let source = match site.origin() {
            Some(origin) => Arc::new(Layered::new(local, site, origin)),
            None => local,
        };
        Ok(Self { source, dir: dir.to_owned(), watch })
    }

    /// Whether the volume of `tree` has `bytes` to spare; no where it is not known.
    pub fn has_room(&self, tree: &ScratchTree, bytes: u64) -> bool {
        let free = tree.open().and_then(|tree| tree.free_bytes());
        matches!(free, Ok(Some(free)) if free > bytes)
    }

    /// Installs `release` from its objects into a new tree.
    ///
    /// # Errors
    /// Whatever stops a client.
    pub fn install(&self, release: &VerifiedRelease) -> Result<ScratchTree, ClientError> {
        let io = |source| ClientError::Io { doing: "create a scratch tree in", path: self.dir.clone(), source };
        let below = self.dir.canonicalize().map_err(io)?;
        let dir = tempfile::Builder::new().prefix("tree-").tempdir_in(below).map_err(io)?;
        let tree = ScratchTree { dir };
        std::fs::create_dir(tree.path()).map_err(io)?;
        self.deploy(&tree, release, None, Route::ObjectsOnly)?;
        Ok(tree)
    }

    /// Brings `tree`, which holds `base`, to `release`.
    ///
    /// # Errors
    /// Whatever stops a client.
    pub fn update(
        &self,
        tree: &ScratchTree,
        base: (&VerifiedRelease, &Manifest),
        release: &VerifiedRelease,
        route: Route,
    ) -> Result<DeployReport, ClientError> {
        let base = BaseRelease::recorded(&base.0.release, base.1.clone());
        self.deploy(tree, release, Some(&base), route)
    }

    fn deploy(
        &self,
        tree: &ScratchTree,
        release: &VerifiedRelease,
        base: Option<&BaseRelease>,
        route: Route,
    ) -> Result<DeployReport, ClientError> {
        let progress = Arc::new(PartProgress::new(self.watch.clone()));
        let cancel = Cancel::default();
        let sources = vec![self.source.clone()];
        let downloader = Downloader::new(sources, RetryPolicy::default(), cancel.clone(), progress.clone());
        let lock = tree.open()?.lock(Duration::ZERO)?;
        lock.recover()?;
        let deploy =
            Deploy { lock: &lock, downloader: &downloader, progress: &*progress, cancel: &cancel, helpers: HELPERS };
        deploy.run(&Order { release, base, route, everything: false, manifest: None })
    }
}
