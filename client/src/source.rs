//! Where the files of a site come from: ranged reads of a name, over HTTP or from a directory.
//!
//! A source only carries bytes. It is not trusted with anything: whatever it says of lengths is a hint, and what it
//! delivers is checked against signed digests by [`crate::download`]. Errors have three answers to "again?": *no such
//! file* (another mirror may have it), *transient* (later, or elsewhere), *fatal* (never, until somebody changes
//! something), and one more for a refusal, which stores that list no directories also use for missing files.

mod dir;
#[cfg(feature = "http")]
mod http;
mod options;

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use options::{HttpOptions, Proxy, TlsRoots};

/// A part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    /// First byte wanted, counted from 0.
    pub start: u64,
    /// The byte after the last one wanted; to the end of the file if absent.
    pub end: Option<u64>,
}

/// What is being read, which decides how caches on the way are spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A signed document whose name may get other content: caches must ask the origin.
    Document,
    /// Immutable content named by a signed digest: any cache may answer.
    Content,
    /// The same after its digest was wrong: caches on the way are asked to be passed by.
    Refetch,
}

/// An open file of a site.
pub struct Body {
    /// Offset in the file of the first byte of `reader`: the start asked for, or 0 where ranges are ignored.
    pub start: u64,
    /// Bytes `reader` claims to have; a hint, for nothing but messages.
    pub length: Option<u64>,
    /// The bytes. Silence is ended by the source itself, as an error of kind `TimedOut`.
    pub reader: Box<dyn Read + Send>,
}

/// A place that holds the files of a site. Calls come from several threads at once.
pub trait Source: Send + Sync {
    /// Opens the file `name`, a name built by [`crate::format::layout`], at `range`.
    ///
    /// # Errors
    /// See [`SourceError`]. A range that begins at or after the end of the file is [`Trouble::Range`].
    fn open(&self, name: &str, range: Option<ByteRange>, kind: Kind) -> Result<Body, SourceError>;

    /// The place, for messages; without credentials.
    fn describe(&self) -> String;
}

/// A source that could not be opened; every request gives the reason.
#[derive(Debug)]
pub struct Unreachable {
    site: String,
    error: SourceError,
}

impl Unreachable {
    /// The source `site`, which failed to open with `error`.
    pub fn new(site: &str, error: SourceError) -> Self {
        Self { site: site.to_owned(), error }
    }
}

impl Source for Unreachable {
    fn open(&self, _: &str, _: Option<ByteRange>, _: Kind) -> Result<Body, SourceError> {
        Err(self.error.clone())
    }

    fn describe(&self) -> String {
        self.site.clone()
    }
}

/// Why a file could not be read from a source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The source answers, and has no such file.
    #[error("{name} is not there: {site} answers {answer}")]
    NotFound {
        /// Name in the site.
        name: String,
        /// The source.
        site: String,
        /// Its answer, such as `404 Not Found`.
        answer: String,
    },
    /// The source answers, and hands the file out to nobody, or not to us.
    #[error("{name} is refused: {site} answers {answer}")]
    Forbidden {
        /// Name in the site.
        name: String,
        /// The source.
        site: String,
        /// Its answer, such as `403 Forbidden`.
        answer: String,
    },
    /// It may work later, or from another source.
    #[error("{name} could not be read from {site}: {trouble}")]
    Transient {
        /// Name in the site.
        name: String,
        /// The source.
        site: String,
        /// What happened.
        trouble: Trouble,
        /// The wait the source asks for.
        retry_after: Option<Duration>,
    },
    /// It will not work until somebody changes something.
    #[error("{name} cannot be read from {site}: {obstacle}")]
    Fatal {
        /// Name in the site; empty if the source itself cannot be opened.
        name: String,
        /// The source.
        site: String,
        /// What stands in the way.
        obstacle: Obstacle,
    },
}

/// What went wrong this time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// Nobody answers: no route, no such host, connection refused, no handshake.
    #[error("no connection: {0}")]
    Connect(String),
    /// The connection ended or broke in the middle, or spoke no valid protocol.
    #[error("the connection broke: {0}")]
    Interrupted(String),
    /// Nothing came for too long.
    #[error("no byte arrived for {silence:?}")]
    Stalled {
        /// Length of the silence.
        silence: Duration,
    },
    /// Bytes came more slowly than an attack or a dead line is worth.
    #[error("too slow: expected {expected_bytes} bytes in {span:?}, received {received_bytes}")]
    Slow {
        /// Bytes that should have come.
        expected_bytes: u64,
        /// Bytes that came.
        received_bytes: u64,
        /// The time they were given.
        span: Duration,
    },
    /// The whole took longer than anybody should wait for it.
    #[error("it did not arrive within {limit:?}")]
    Late {
        /// The time it was given.
        limit: Duration,
    },
    /// A status that says neither yes nor no.
    #[error("unexpected HTTP status {0}")]
    Status(u16),
    /// The answer to a range is another range, or none can be had.
    #[error("asked for bytes from {expected}, the answer is {actual}")]
    Range {
        /// Start asked for.
        expected: u64,
        /// What came instead.
        actual: String,
    },
    /// A redirect that is not followed.
    #[error("redirect not followed: {0}")]
    Redirect(String),
    /// The body is compressed although that was declined; it is never unpacked before its digest is checked.
    #[error("expected the plain file, the answer is encoded as {0:?}")]
    Encoded(String),
    /// A web page in place of a file, as captive portals and error pages with status 200 give.
    #[error("the answer is a web page, not a file of a site (is there a log-in page on this network?)")]
    WebPage,
}

/// What stands in the way for good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// The location is neither a directory nor an address a site can be fetched from.
    #[error("not a location of a site: {0}")]
    BadLocation(String),
    /// The name is none a site can contain.
    #[error("not a name in a site")]
    BadName,
    /// The server's identity could not be established.
    #[error("secure connection refused: {0}")]
    Tls(String),
    /// The directory of the site does not exist.
    #[error("no such directory: {0}")]
    NoDirectory(String),
    /// The settings cannot be used.
    #[error("unusable settings: {0}")]
    BadOptions(String),
    /// The proxy wants credentials, or others.
    #[error("the proxy refuses: {0}")]
    Proxy(String),
}

impl SourceError {
    /// Stable name of the cause, for logs and scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not-found",
            Self::Forbidden { .. } => "forbidden",
            Self::Transient { trouble, .. } => trouble.code(),
            Self::Fatal { obstacle, .. } => obstacle.code(),
        }
    }

    /// Whether the answer itself shows that this source alters or withholds what it was given.
    pub fn is_mirror_fault(&self) -> bool {
        matches!(self, Self::Transient { trouble: Trouble::Encoded(_), .. })
    }

    /// The same, said of the file `subject`.
    pub(crate) fn about(mut self, subject: &str) -> Self {
        match &mut self {
            Self::NotFound { name, .. }
            | Self::Forbidden { name, .. }
            | Self::Transient { name, .. }
            | Self::Fatal { name, .. } => *name = subject.into(),
        }
        self
    }

    pub(crate) fn transient(name: &str, site: &str, trouble: Trouble) -> Self {
        Self::Transient { name: name.into(), site: site.into(), trouble, retry_after: None }
    }

    pub(crate) fn fatal(name: &str, site: &str, obstacle: Obstacle) -> Self {
        Self::Fatal { name: name.into(), site: site.into(), obstacle }
    }
}

impl Trouble {
    /// Stable name of the trouble.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Interrupted(_) => "interrupted",
            Self::Stalled { .. } => "stalled",
            Self::Slow { .. } | Self::Late { .. } => "slow",
            Self::Status(_) => "status",
            Self::Range { .. } => "range",
            Self::Redirect(_) => "redirect",
            Self::Encoded(_) => "encoded",
            Self::WebPage => "web-page",
        }
    }
}

impl Obstacle {
    /// Stable name of the obstacle.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadLocation(_) => "bad-location",
            Self::BadName => "bad-name",
            Self::Tls(_) => "tls",
            Self::NoDirectory(_) => "no-directory",
            Self::BadOptions(_) => "bad-options",
            Self::Proxy(_) => "proxy",
        }
    }
}

/// Opens the site at `location`: an `http://` or `https://` address (with or without a path and a final slash), a
/// `file://` address, or a directory.
///
/// Nothing is fetched. `options` matter to HTTP only, whose sources block: they must not be opened, used or dropped within
/// an asynchronous runtime.
///
/// # Errors
/// [`SourceError::Fatal`] if it is none of these, the directory does not exist, or the settings cannot be used.
pub fn open(location: &str, options: &HttpOptions) -> Result<Arc<dyn Source>, SourceError> {
    match Location::parse(location)? {
        Location::Directory(path) => Ok(Arc::new(dir::DirSource::open(path)?)),
        #[cfg(feature = "http")]
        Location::Http => Ok(Arc::new(http::HttpSource::open(location, options)?)),
        #[cfg(not(feature = "http"))]
        Location::Http => {
            let _ = options;
            let obstacle = Obstacle::BadLocation("this client was built without HTTP".into());
            Err(SourceError::fatal("", location, obstacle))
        }
    }
}

#[derive(Debug, PartialEq)]
enum Location {
    Http,
    Directory(PathBuf),
}

impl Location {
    fn parse(location: &str) -> Result<Self, SourceError> {
        let bad = |text: String| SourceError::fatal("", location, Obstacle::BadLocation(text));
        let Some((scheme, rest)) = location.split_once("://") else {
            if location.is_empty() {
                return Err(bad("empty".into()));
            }
            return Ok(Self::Directory(location.into()));
        };
        match scheme.to_ascii_lowercase().as_str() {
            "http" | "https" => Ok(Self::Http),
            "file" => file_path(rest).map(Self::Directory).map_err(bad),
            other => Err(bad(format!("expected http, https, file or a directory, found {other:?}"))),
        }
    }
}

/// The path of a `file://` address, from what follows the two slashes.
fn file_path(rest: &str) -> Result<PathBuf, String> {
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    if !path.starts_with('/') {
        return Err(format!("expected file:///path, found the host {:?}", path.split('/').next().unwrap_or(path)));
    }
    let decoded = percent_decoded(path)?;
    let drive = decoded.as_bytes().get(2) == Some(&b':');
    Ok(if cfg!(windows) && drive { decoded[1..].into() } else { decoded.into() })
}

fn percent_decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let hex = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = hex.filter(|h| !h.starts_with('+')).and_then(|h| u8::from_str_radix(h, 16).ok());
        bytes.push(byte.ok_or_else(|| format!("expected two hexadecimal digits after % in {text:?}"))?);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).map_err(|_| format!("expected UTF-8 in {text:?}"))
}

/// Refuses every name [`crate::format::layout`] cannot have built, so that none leads out of the site.
fn check_name(name: &str, site: &str) -> Result<(), SourceError> {
    let safe = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let good = |part: &str| !part.is_empty() && part != "." && part != ".." && part.bytes().all(safe);
    if name.len() <= 1024 && name.split('/').all(good) {
        return Ok(());
    }
    Err(SourceError::fatal(&name.chars().take(200).collect::<String>(), site, Obstacle::BadName))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for good in ["root/1.root", "channels/stable.head", "releases/7/any/notes.pt-BR.md", "index.html"] {
            assert!(check_name(good, "x").is_ok(), "{good}");
        }
        for bad in
            ["", "/", "/etc/passwd", "a//b", "a/", "../a", "a/../b", ".", "a/./b", "a\\b", "C:a", "a?b", "a%2e", "é"]
        {
            assert_eq!(check_name(bad, "x").map_err(|e| e.code()), Err("bad-name"), "{bad}");
        }
    }

    #[test]
    fn locations_are_addresses_or_directories() {
        let directory = |text: &str| Location::Directory(text.into());
        assert_eq!(Location::parse("HTTPS://example.org/a"), Ok(Location::Http));
        assert_eq!(Location::parse("some/dir"), Ok(directory("some/dir")));
        assert_eq!(Location::parse("C:\\site"), Ok(directory("C:\\site")));
        assert_eq!(Location::parse("file:///a%20b/c"), Ok(directory("/a b/c")));
        assert_eq!(Location::parse("file://localhost/a"), Ok(directory("/a")));
        for bad in ["", "ftp://x/y", "file://host/a", "file:///a%2", "file:///a%+1", "file:///%ff"] {
            assert_eq!(Location::parse(bad).map_err(|e| e.code()), Err("bad-location"), "{bad}");
        }
    }
}
