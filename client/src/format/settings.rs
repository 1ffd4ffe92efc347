//! What a tree remembers of where it comes from.
//!
//! # Specification
//!
//! A text document ([`super::document`]) of type `lamplighter-settings,1` in the state directory, not signed: it says where
//! to look, never what to believe. The pinned root lies beside it as it was given.
//!
//! | record | meaning |
//! | --- | --- |
//! | `site,<url or directory>` | where the site is |
//! | `app,<id>` `channel,<name>` `platform,<token>` | what is followed |
//!
//! # Changelog
//!
//! * 1: first.

use super::document::{Body, BodyWriter, DocumentError};
use super::text::{is_app_id, is_token};

/// First cell of the first line.
pub const TYPE: &str = "lamplighter-settings";

/// Settings of one tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// URL or directory of the site.
    pub site: String,
    /// App id.
    pub app: String,
    /// Channel followed.
    pub channel: String,
    /// Platform of the tree.
    pub platform: String,
}

impl Settings {
    /// Parses the document.
    ///
    /// # Errors
    /// Any rule of the specification broken.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let body = Body::parse(bytes, TYPE, &["site", "app", "channel", "platform"], &[])?;
        Ok(Self {
            site: body.one("site")?.word(0, "a URL or a directory", |text| !text.is_empty())?,
            app: body.one("app")?.word(0, "an app id", is_app_id)?,
            channel: body.one("channel")?.word(0, "a channel", is_token)?,
            platform: body.one("platform")?.word(0, "a platform", is_token)?,
        })
    }

    /// The document's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = BodyWriter::new(TYPE);
        out.push(&["site", &self.site]).push(&["app", &self.app]);
        out.push(&["channel", &self.channel]).push(&["platform", &self.platform]);
        out.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_read_back() {
        let settings = Settings {
            site: "https://example.org/a,b".into(),
            app: "org.example.app".into(),
            channel: "stable".into(),
            platform: "linux-x86_64".into(),
        };
        assert_eq!(Settings::parse(&settings.to_bytes()), Ok(settings.clone()));
        let broken = Settings { channel: "A".into(), ..settings };
        assert!(Settings::parse(&broken.to_bytes()).is_err());
    }
}
