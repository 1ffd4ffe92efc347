//! `index.html`: the report of a site, for people. Clients never read it.
//!
//! [`model`] reads from the site what the page tells, [`sizes`] keeps what of it takes long to read, [`html`] sets it,
//! [`charts`] draws. The page stands alone: style, drawings and its few lines of script lie in it, and it asks nobody for
//! anything, so it works from a file as from a bucket. The same site gives the same bytes: times come from signed documents,
//! and what depends on the day it is read is worked out by the script (the days left, where a rollout stands), whose dates
//! stand there as text as well. Everything that others wrote is escaped.

pub mod charts;
pub mod html;
pub mod model;
pub mod sizes;

use std::path::Path;
use std::sync::Arc;

use crate::error::Error;
use crate::origin::Origin;
use crate::site::{Site, SiteError, SiteWriter};
use crate::store::Content;
use crate::watch::Watch;
pub use model::Page;
use sizes::Sizes;

/// Its name in the site.
pub const NAME: &str = "index.html";

/// The page of the site in `dir`, or of the one at `origin` of which that is a part: what it tells of is fetched then.
///
/// # Errors
/// No site, or one whose roots are broken. All else is told on the page.
pub fn render(dir: &Path, origin: Option<&Arc<Origin>>) -> Result<String, SiteError> {
    let site = Site::open(dir)?.over(origin.cloned());
    Ok(html::render(&Page::read(&site, &mut Sizes::read(&site))?))
}

/// As [`render`], for the one who holds the lock of the site in `dir`: sizes are kept for the next time.
fn render_keeping(writer: &SiteWriter, origin: Option<&Arc<Origin>>) -> Result<String, SiteError> {
    let site = writer.site().clone().over(origin.cloned());
    let mut sizes = Sizes::read(&site);
    let page = html::render(&Page::read(&site, &mut sizes)?);
    sizes.keep(writer)?;
    Ok(page)
}

/// Writes the page into the site; true if it is another than before.
///
/// # Errors
/// Those of [`render`]; another publisher at work; the disk.
pub fn write(site: &Path, watch: Arc<dyn Watch>) -> Result<bool, SiteError> {
    let writer = SiteWriter::lock(site, watch)?;
    let page = render_keeping(&writer, None)?;
    if writer.site().read(NAME, page.len() as u64).ok().flatten().as_deref() == Some(page.as_bytes()) {
        return Ok(false);
    }
    writer.replace(NAME, page.as_bytes()).map(|()| true)
}

/// Puts the page into the bucket at `origin`, of whose site `dir` is a part; true if it is another than before.
///
/// # Errors
/// Those of [`render`]; another publisher at work on `dir`; a web server, where nothing can be put; the provider.
pub fn send(dir: &Path, origin: &Arc<Origin>, watch: Arc<dyn Watch>) -> Result<bool, Error> {
    let writer = SiteWriter::lock(dir, watch)?;
    let store = origin.writable()?;
    let page = render_keeping(&writer, Some(origin))?;
    if store.length(NAME)? == Some(page.len() as u64)
        && store.read(NAME, page.len() as u64)?.is_some_and(|stored| stored.bytes == page.as_bytes())
    {
        return Ok(false);
    }
    store.put(NAME, Content::Bytes(page.as_bytes()), &|_| {})?;
    Ok(true)
}

/// Writes the page after what it tells of has changed. That is done already, so a failure is no more than a notice.
pub fn write_after(site: &Path, watch: &Arc<dyn Watch>) {
    if let Err(error) = write(site, watch.clone()) {
        watch.notice("no-page", NAME, &format!("{error}; `publisher page` writes it"));
    }
}
