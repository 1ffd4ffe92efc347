//! What kinds of files a site has, and how a server hands each out: the one place that says so, for `serve`, for uploads and
//! for the configuration of other servers.

use std::fmt;

/// Never changes under its name.
pub const IMMUTABLE: &str = "public, max-age=31536000, immutable";
/// Is to be asked for again each time.
pub const MUTABLE: &str = "no-cache";

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Its names begin with this.
    pub prefix: &'static str,
    /// And end with this.
    pub suffix: &'static str,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// `Cache-Control`.
    pub cache_control: &'static str,
}

const fn kind(
    prefix: &'static str,
    suffix: &'static str,
    content_type: &'static str,
    cache_control: &'static str,
) -> Kind {
    Kind { prefix, suffix, content_type, cache_control }
}

const TEXT: &str = "text/plain; charset=utf-8";
const BYTES: &str = "application/octet-stream";

/// All of them, the closest description first.
pub const KINDS: &[Kind] = &[
    kind("index.html", "", "text/html; charset=utf-8", MUTABLE),
    kind("channels/", ".head", TEXT, MUTABLE),
    kind("root/", ".root", TEXT, IMMUTABLE),
    kind("releases/", ".csv", "text/csv; charset=utf-8", IMMUTABLE),
    kind("releases/", ".md", "text/markdown; charset=utf-8", IMMUTABLE),
    kind("releases/", "/release", TEXT, IMMUTABLE),
    kind("root/", "", BYTES, IMMUTABLE),
    kind("releases/", "", BYTES, IMMUTABLE),
    kind("objects/", "", BYTES, IMMUTABLE),
    kind("packs/", "", BYTES, IMMUTABLE),
];

/// What is no kind of file of a site.
const OTHER: Kind = kind("", "", BYTES, MUTABLE);

/// The kind of the file `name` of a site.
pub fn of(name: &str) -> Kind {
    let fits = |kind: &&Kind| name.starts_with(kind.prefix) && name.ends_with(kind.suffix);
    KINDS.iter().find(fits).copied().unwrap_or(OTHER)
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}*{}: {}; {}", self.prefix, self.suffix, self.content_type, self.cache_control)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_heads_and_the_page_may_change() {
        let mutable = |name: &str| of(name).cache_control == MUTABLE;
        assert!(mutable("index.html") && mutable("channels/stable.head") && mutable("elsewhere"));
        for name in
            ["root/1.root", "releases/1/any/release", "releases/1/any/manifest.csv", "objects/ab/abc", "packs/ab/abc"]
        {
            assert!(!mutable(name), "{name}");
        }
        assert_eq!(of("releases/1/any/release").content_type, TEXT);
        assert_eq!(of("releases/1/any/notes.en.md").content_type, "text/markdown; charset=utf-8");
        assert_eq!(of("packs/ab/abc.csv").content_type, BYTES, "a name in a pack's place says nothing");
    }
}
