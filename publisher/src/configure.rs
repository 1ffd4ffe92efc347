//! Configuration for the servers that hand out a site, as text: templates with the caching rules of [`crate::delivery`].

use crate::delivery::{IMMUTABLE, MUTABLE};

/// A server, or a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Server {
    Nginx,
    Caddy,
    Apache,
    S3CloudFront,
    Cloudflare,
    GithubPages,
}

impl Server {
    /// Stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Server::Nginx => "nginx",
            Server::Caddy => "caddy",
            Server::Apache => "apache",
            Server::S3CloudFront => "s3-cloudfront",
            Server::Cloudflare => "cloudflare",
            Server::GithubPages => "github-pages",
        }
    }

    const fn template(self) -> &'static str {
        match self {
            Server::Nginx => include_str!("../templates/configure/nginx.conf"),
            Server::Caddy => include_str!("../templates/configure/caddy.Caddyfile"),
            Server::Apache => include_str!("../templates/configure/apache.conf"),
            Server::S3CloudFront => include_str!("../templates/configure/s3-cloudfront.yaml"),
            Server::Cloudflare => include_str!("../templates/configure/cloudflare.json"),
            Server::GithubPages => include_str!("../templates/configure/github-pages.yml"),
        }
    }

    fn listen(self, place: &Place) -> String {
        match (&place.listen, self) {
            (Some(listen), _) => listen.clone(),
            (None, Server::Caddy) => place.host.clone(),
            (None, Server::Apache) => "*:80".to_owned(),
            (None, _) => "80".to_owned(),
        }
    }
}

/// Where a site is to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    host: String,
    path: String,
    root: String,
    listen: Option<String>,
}

/// Why a place cannot be written into a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: expected {expected}, found {found:?}")]
pub struct PlaceError {
    /// The argument.
    pub key: &'static str,
    /// What it must be.
    pub expected: &'static str,
    /// What it is.
    pub found: String,
}

impl Place {
    /// A site at `path` of `host`, whose files lie in `root` on the server, which listens where `listen` says.
    ///
    /// # Errors
    /// Signs that mean something in a configuration.
    pub fn new(host: &str, path: &str, root: &str, listen: Option<&str>) -> Result<Self, PlaceError> {
        let word = |text: &str, more: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        let check = |key, truth, expected, found: &str| match truth {
            true => Ok(()),
            false => Err(PlaceError { key, expected, found: found.to_owned() }),
        };
        check("--host", word(host, ".-"), "a host name", host)?;
        let whole = path.starts_with('/') && path.ends_with('/') && !path.contains("//");
        check(
            "--path",
            whole && word(path, "/_-"),
            "a path that begins and ends with /, of letters, digits, _ and -",
            path,
        )?;
        check("--root", word(root, "/\\:._-"), "a directory, of letters, digits, / . _ and -", root)?;
        if let Some(listen) = listen {
            check("--listen", word(listen, ".:[]*/-"), "an address", listen)?;
        }
        let root = root.trim_end_matches('/').to_owned();
        Ok(Self { host: host.to_owned(), path: path.to_owned(), root, listen: listen.map(str::to_owned) })
    }
}

/// Caddy's line that takes the path off the names below it.
fn strip(path: &str) -> String {
    match path.trim_end_matches('/') {
        "" => "# The site is the whole host.".to_owned(),
        prefix => format!("uri strip_prefix {prefix}"),
    }
}

/// The configuration of `server` for a site at `place`.
pub fn configure(server: Server, place: &Place) -> String {
    let values = [
        ("host", place.host.clone()),
        ("name", place.host.replace('.', "-")),
        ("path", place.path.clone()),
        ("strip", strip(&place.path)),
        ("root", place.root.clone()),
        ("directory", place.root.trim_start_matches('/').to_owned()),
        ("listen", server.listen(place)),
        ("immutable", IMMUTABLE.to_owned()),
        ("mutable", MUTABLE.to_owned()),
    ];
    // Left of the rest of the template stands what is done; a value is never looked at again.
    let (mut done, mut rest) = (String::new(), server.template());
    while let Some((before, after)) = rest.split_once("{{") {
        let named = after
            .split_once("}}")
            .and_then(|(key, after)| Some((values.iter().find(|value| value.0 == key)?.1.as_str(), after)));
        done.push_str(before);
        let (value, after) = named.unwrap_or(("{{", after));
        done.push_str(value);
        rest = after;
    }
    done + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Server; 6] =
        [Server::Nginx, Server::Caddy, Server::Apache, Server::S3CloudFront, Server::Cloudflare, Server::GithubPages];

    #[test]
    fn every_place_is_filled_and_every_rule_told() {
        let place = Place::new("get.example.org", "/app/", "/srv/site/", None).expect("a place");
        for server in ALL {
            let text = configure(server, &place);
            let left = text.replace("${{ steps.publish.outputs.page_url }}", "");
            assert!(!left.contains("{{") && !left.contains("}}"), "{}: {left}", server.name());
            if server != Server::GithubPages {
                assert!(text.contains(IMMUTABLE) && text.contains(MUTABLE), "{}", server.name());
                assert!(text.contains("get.example.org"), "{}", server.name());
            }
            assert_eq!(text, configure(server, &place));
        }
        assert!(
            configure(Server::Nginx, &place)
                .contains("location ^~ /app/channels/ {\n        alias /srv/site/channels/;")
        );
        let json = serde_json::from_str::<serde_json::Value>(&configure(Server::Cloudflare, &place));
        assert!(json.is_ok_and(|json| json["rules"][1]["action_parameters"]["cache"] == false));
    }

    #[test]
    fn nothing_gets_into_a_configuration_that_means_something_there() {
        let key = |place: Result<Place, PlaceError>| place.map_err(|error| error.key).err();
        assert_eq!(key(Place::new("a;b", "/", "/srv", None)), Some("--host"));
        for path in ["app/", "/app", "/a b/", "/a{/", "//", "/a;/", "", "/a.b/"] {
            assert_eq!(key(Place::new("a", path, "/srv", None)), Some("--path"), "{path}");
        }
        assert_eq!(key(Place::new("a", "/", "/srv/\"", None)), Some("--root"));
        assert_eq!(key(Place::new("a", "/", "/srv", Some("80; x"))), Some("--listen"));
        assert_eq!(key(Place::new("a", "/", "C:/srv", Some("[::]:80"))), None);
    }
}
