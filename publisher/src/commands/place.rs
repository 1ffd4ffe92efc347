//! Where a command works: in the site's directory, or in a cache that is a part of a site elsewhere.

use std::path::Path;
use std::sync::Arc;

use lamplighter_publisher::config::Config;
use lamplighter_publisher::error::Error;
use lamplighter_publisher::origin::Origin;
use lamplighter_publisher::page::write_after;
use lamplighter_publisher::upload::{self, Options};
use lamplighter_publisher::watch::Watch;
use serde_json::json;

use super::upload as uploading;
use crate::term::Term;

/// A place to work in.
pub(crate) struct Place {
    origin: Option<Arc<Origin>>,
    connections: usize,
}

impl Place {
    /// Attaches the cache where the configured site is an address; from then on `config` names the cache as the site.
    pub(crate) fn open(config: &mut Config, term: &Term) -> Result<Self, Error> {
        let connections = config.connections()?;
        let Some(address) = config.site_address().map(str::to_owned) else {
            return Ok(Self { origin: None, connections });
        };
        let cache = config.cache()?.to_owned();
        let channels: Vec<String> =
            config.channel.as_ref().map(|_| config.channel()).transpose()?.map(str::to_owned).into_iter().collect();
        let origin = Origin::attach(&address, &cache, &channels, Arc::new(term.clone()))?;
        config.site = Some(cache);
        Ok(Self { origin: Some(Arc::new(origin)), connections })
    }

    /// Where the rest of the site is.
    pub(crate) fn origin(&self) -> Option<&Arc<Origin>> {
        self.origin.as_ref()
    }

    /// Fetches what shards have made for `build`.
    pub(crate) fn collect(&self, config: &Config, build: u64) -> Result<(), Error> {
        let Some(origin) = &self.origin else { return Ok(()) };
        origin.fetch_shards(config.site()?, build)
    }

    /// Tells what was fetched.
    pub(crate) fn tell(&self, term: &Term) {
        let Some(origin) = &self.origin else { return };
        let fetched = origin.fetched();
        let text = format!("{}: {} requests, {} bytes fetched", origin.location(), fetched.requests, fetched.bytes);
        let event = json!({
            "event": "fetched", "location": origin.location(), "requests": fetched.requests, "bytes": fetched.bytes,
        });
        term.result(&text, &event);
    }

    /// Writes the report for people after a change of the site in `dir`; a failure is a notice. Not into a cache, which is a
    /// part of a site: its page would tell of that part alone.
    pub(crate) fn write_page(&self, dir: &Path, term: &Term) {
        if self.origin.is_none() {
            let watch: Arc<dyn Watch> = Arc::new(term.clone());
            write_after(dir, &watch);
        }
    }

    /// Sends what is new to where the site is, and tells what that and the work before it took.
    pub(crate) fn finish(&self, config: &Config, term: &Term) -> Result<(), Error> {
        let Some(origin) = &self.origin else { return Ok(()) };
        self.tell(term);
        let Some(store) = origin.store() else {
            let site = config.site()?.display().to_string();
            let text = format!(
                "{} cannot be written; send it with `publisher upload --site {site} --to LOCATION`",
                origin.location()
            );
            term.note("not-sent", &text);
            return Ok(());
        };
        let options = Options { connections: self.connections, ..Options::default() };
        let uploaded = upload::return_to(config.site()?, origin, options, Arc::new(term.clone()))?;
        origin.clear_shards(config.site()?)?;
        term.result(&uploading::text(&uploaded, store.location()), &uploading::event(&uploaded, store.location()));
        Ok(())
    }
}
