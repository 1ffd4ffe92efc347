//! What a web server says beside the bytes: asked with the requests a client makes, and with some it does not.

use std::io::Read;
use std::time::Duration;

use reqwest::blocking::{Client, Response};
use reqwest::header::{ACCEPT_ENCODING, CACHE_CONTROL, HeaderMap, HeaderName, RANGE};
use reqwest::redirect::Policy;

const TIMEOUT: Duration = Duration::from_secs(30);
const USER_AGENT: &str = concat!("lamplighter-publisher/", env!("CARGO_PKG_VERSION"));

/// A web server that hands out a site.
pub(super) struct Web {
    client: Client,
    /// Ends with a slash.
    base: String,
}

/// How a file is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// Its first byte, as a client that fetches a part.
    FirstByte,
    /// The whole, past all caches, as clients ask for heads.
    Fresh,
    /// The whole, from whatever cache has it.
    Cached,
    /// The first byte, by a program that takes compressed answers.
    Compressible,
}

/// An answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Length of the whole file, as far as the answer tells.
    pub(super) length: Option<u64>,
    /// Whether the answer is the part that was asked for.
    pub(super) is_part: bool,
    pub(super) cache_control: String,
    pub(super) content_encoding: String,
    pub(super) vary: String,
    pub(super) age_seconds: Option<u64>,
}

impl Web {
    /// The server at `location`, if it is the address of one.
    pub(super) fn open(location: &str) -> Option<Self> {
        if !(location.starts_with("http://") || location.starts_with("https://")) {
            return None;
        }
        // The process's provider of cryptography; one that was installed before stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = Client::builder().user_agent(USER_AGENT).timeout(TIMEOUT).redirect(Policy::limited(5));
        let client = builder.build().ok()?;
        Some(Self { client, base: format!("{}/", location.trim_end_matches('/')) })
    }

    /// Asks for the file `name`, and gives the answer with at most `cap_bytes` of its body.
    pub(super) fn ask(&self, name: &str, ask: Ask, cap_bytes: u64) -> Result<(Answer, Vec<u8>), String> {
        let encoding = if ask == Ask::Compressible { "gzip, br, zstd" } else { "identity" };
        let mut request = self.client.get(format!("{}{name}", self.base)).header(ACCEPT_ENCODING, encoding);
        if matches!(ask, Ask::FirstByte | Ask::Compressible) {
            request = request.header(RANGE, "bytes=0-0");
        }
        if ask == Ask::Fresh {
            request = request.header(CACHE_CONTROL, "no-cache, no-transform");
        }
        let response = request.send().map_err(|e| e.without_url().to_string())?;
        let answer = Answer::of(&response);
        let mut body = Vec::new();
        response.take(cap_bytes).read_to_end(&mut body).map_err(|e| e.to_string())?;
        Ok((answer, body))
    }
}

impl Answer {
    fn of(response: &Response) -> Self {
        let headers = response.headers();
        let status = response.status().as_u16();
        let is_part = status == 206;
        let whole = text(headers, "content-range").rsplit_once('/').and_then(|(_, whole)| whole.parse().ok());
        let sent = text(headers, "content-length").parse().ok();
        Self {
            status,
            length: if is_part { whole } else { sent },
            is_part,
            cache_control: text(headers, "cache-control").to_ascii_lowercase(),
            content_encoding: text(headers, "content-encoding").to_ascii_lowercase(),
            vary: text(headers, "vary").to_ascii_lowercase(),
            age_seconds: text(headers, "age").parse().ok(),
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> &'a str {
    headers.get(HeaderName::from_static(name)).and_then(|value| value.to_str().ok()).unwrap_or_default().trim()
}
