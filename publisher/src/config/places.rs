//! Where a site lies and where it goes.

use std::path::Path;

use super::{Config, ConfigError, in_range};
use crate::store::is_remote;
use crate::upload::CONNECTIONS_DEFAULT;

const CONNECTIONS_MAX: usize = 64;

impl Config {
    /// The site's directory.
    ///
    /// # Errors
    /// It is not given, or an address.
    pub fn site(&self) -> Result<&Path, ConfigError> {
        let site = self.site.as_deref().ok_or(ConfigError::Missing { key: "site", flag: "site" })?;
        match self.site_address() {
            Some(address) => Err(ConfigError::invalid("site", "a directory for this command", address)),
            None => Ok(site),
        }
    }

    /// The address of the site, if it is one and not a directory.
    pub fn site_address(&self) -> Option<&str> {
        self.site.as_deref().and_then(Path::to_str).filter(|site| is_remote(site))
    }

    /// Where what is needed of a site elsewhere is kept.
    ///
    /// # Errors
    /// It is not given.
    pub fn cache(&self) -> Result<&Path, ConfigError> {
        self.cache.as_deref().ok_or(ConfigError::Missing { key: "cache", flag: "cache" })
    }

    /// Where an upload goes: a directory below that of the configuration, or the address of a bucket.
    ///
    /// # Errors
    /// It is not given.
    pub fn upload_to(&self) -> Result<&str, ConfigError> {
        self.upload_to.as_deref().ok_or(ConfigError::Missing { key: "upload_to", flag: "to" })
    }

    /// How many files are under way at once in an upload.
    ///
    /// # Errors
    /// None or too many are asked for.
    pub fn connections(&self) -> Result<usize, ConfigError> {
        let asked = self.connections.unwrap_or(CONNECTIONS_DEFAULT);
        in_range("connections", asked, 1, CONNECTIONS_MAX, "1 to 64 connections")
    }
}
