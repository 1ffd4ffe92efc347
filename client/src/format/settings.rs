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
//! | `mirror,<url or directory>` | other places that hand out the same site, at most 16, asked where the first one fails |
//!
//! # Changelog
//!
//! * 1: first.

use super::document::{Body, BodyWriter, DocumentError};
use super::text::{is_app_id, is_token};

/// First cell of the first line.
pub const TYPE: &str = "lamplighter-settings";

/// Most mirrors one tree is given.
pub const MIRRORS_MAX: usize = 16;

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
    /// Other places that hand out the same site.
    pub mirrors: Vec<String>,
}

impl Settings {
    /// Parses the document.
    ///
    /// # Errors
    /// Any rule of the specification broken.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let body = Body::parse(bytes, TYPE, &["site", "app", "channel", "platform"], &["mirror"])?;
        let place = |text: &str| !text.is_empty();
        let mirrors: Result<Vec<_>, DocumentError> =
            body.all("mirror").map(|r| r.word(0, "a URL or a directory", place)).collect();
        let mirrors = mirrors?;
        if mirrors.len() > MIRRORS_MAX {
            return Err(DocumentError::Rule(format!("more than {MIRRORS_MAX} mirrors")));
        }
        Ok(Self {
            mirrors,
            site: body.one("site")?.word(0, "a URL or a directory", place)?,
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
        for mirror in &self.mirrors {
            out.push(&["mirror", mirror]);
        }
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
            mirrors: vec!["https://m.example/".into(), "/media/usb".into()],
        };
        assert_eq!(Settings::parse(&settings.to_bytes()), Ok(settings.clone()));
        let many = Settings { mirrors: vec!["m".into(); 17], ..settings.clone() };
        assert!(Settings::parse(&many.to_bytes()).is_err());
        let broken = Settings { channel: "A".into(), ..settings };
        assert!(Settings::parse(&broken.to_bytes()).is_err());
    }
}
