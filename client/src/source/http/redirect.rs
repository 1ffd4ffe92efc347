//! Where a redirect may lead.

use reqwest::Url;

/// The address a `Location` of an answer from `from` leads to.
///
/// Only HTTP and HTTPS, never from HTTPS back to HTTP; credentials in it are dropped, since whoever answers must not
/// choose whom we log in as.
pub(super) fn next_hop(from: &Url, location: &[u8]) -> Result<Url, String> {
    let text = std::str::from_utf8(location).map_err(|_| "expected an address in UTF-8".to_owned())?;
    let mut url = from.join(text).map_err(|e| format!("expected an address, found {text:?}: {e}"))?;
    match (from.scheme(), url.scheme()) {
        ("https", "http") => return Err(format!("from https to {url}")),
        (_, "http" | "https") => {}
        (_, other) => return Err(format!("expected http or https, found {other:?}")),
    }
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_fragment(None);
    Ok(url)
}

/// Whether `url` is on the host of `base`; HTTPS may stand in for HTTP.
pub(super) fn same_site(base: &Url, url: &Url) -> bool {
    let upgraded = base.scheme() == "http" && url.scheme() == "https";
    base.host() == url.host() && (upgraded || base.port_or_known_default() == url.port_or_known_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_on_the_web_and_never_lose_encryption() {
        let hop = |from: &str, to: &str| next_hop(&from.parse().unwrap(), to.as_bytes()).map(|url| url.to_string());
        let ok = |text: &str| Ok(text.to_owned());
        assert_eq!(hop("http://a/b/c", "d"), ok("http://a/b/d"));
        assert_eq!(hop("http://a/b/c", "/d#e"), ok("http://a/d"));
        assert_eq!(hop("http://a/b/c", ""), ok("http://a/b/c"));
        assert_eq!(hop("http://a/b", "https://c/d"), ok("https://c/d"));
        assert_eq!(hop("https://a/b", "//c/d"), ok("https://c/d"));
        assert_eq!(hop("http://a/", "http://me:secret@c/"), ok("http://c/"));
        for (from, to) in [
            ("https://a/", "http://a/"),
            ("http://a/", "file:///etc/passwd"),
            ("http://a/", "ftp://b/c"),
            ("http://a/", "data:text/plain,x"),
            ("http://a/", "http://exa mple/"),
            ("http://a/", "http://[::1"),
        ] {
            assert!(hop(from, to).is_err(), "{from} to {to}");
        }
        assert!(next_hop(&"http://a/".parse().unwrap(), b"/\xff").is_err());
    }

    #[test]
    fn the_secure_twin_of_a_host_is_the_same_site() {
        let same = |a: &str, b: &str| same_site(&a.parse().unwrap(), &b.parse().unwrap());
        assert!(same("http://a/x", "http://a/y") && same("http://a", "https://a") && same("http://a:80", "http://a"));
        assert!(!same("http://a", "http://b") && !same("http://a", "http://a:81"));
    }
}
