//! A site on a web server, bucket or CDN: plain GETs over HTTP/1.1, one `Range` at most.
//!
//! What is sent: `User-Agent` without any id, `Accept-Encoding: identity`, `Cache-Control`, `Range` where a part is
//! wanted. No cookies, no query strings, no referrer. Redirects are followed here and not by the HTTP library, so that
//! each hop passes one rule ([`redirect::next_hop`]) and private header fields stay with the host they are meant for.
//!
//! Time is bounded by two timers: one for the connection, one for any silence after it; and by a lowest speed. The
//! blocking client of reqwest applies its timeout to each single operation, which is exactly a stall timer.
//!
//! A body that is encoded although `identity` was asked for is refused as a fault of the mirror: unpacking it would
//! mean to decode bytes nobody has signed.

mod answer;
mod redirect;

use super::{Body, ByteRange, HttpOptions, Kind, Obstacle, Proxy, Source, SourceError, TlsRoots, Trouble, check_name};
use reqwest::blocking::{Client, ClientBuilder, RequestBuilder, Response};
use reqwest::header::{ACCEPT_ENCODING, CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, LOCATION, PRAGMA, RANGE};
use reqwest::{Url, redirect::Policy};
use std::error::Error;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the HTTP library says of a proxy that wants credentials, or others: of a tunnel, and of SOCKS. Its types are private.
const PROXY_REFUSALS: [&str; 4] = [
    "proxy authorization required",
    "credentials not accepted",
    "server does not support user/pass authentication",
    "no acceptable authentication method",
];

/// Most header fields an answer may have.
const FIELDS_MAX: usize = 100;

/// One base address and the connections to its host.
pub(super) struct HttpSource {
    client: Client,
    base: Url,
    site: String,
    private: HeaderMap,
    options: HttpOptions,
}

impl HttpSource {
    /// Takes the site at `location`; connects to nothing yet.
    pub(super) fn open(location: &str, options: &HttpOptions) -> Result<Self, SourceError> {
        let base = base_url(location).map_err(|text| SourceError::fatal("", location, Obstacle::BadLocation(text)))?;
        let site = without_credentials(&base).to_string();
        let unusable = |text: String| SourceError::fatal("", &site, Obstacle::BadOptions(text));
        let private = private_headers(&options.headers).map_err(unusable)?;
        let client = client(options).map_err(unusable)?;
        Ok(Self { client, base, site, private, options: options.clone() })
    }

    /// Sends the request and follows redirects to the last answer.
    fn get(&self, name: &str, range: Option<ByteRange>, kind: Kind) -> Result<Response, SourceError> {
        let transient = |trouble| SourceError::transient(name, &self.site, trouble);
        let mut url = self.base.join(name).map_err(|_| SourceError::fatal(name, &self.site, Obstacle::BadName))?;
        for _ in 0..=self.options.redirects_max {
            let mut request = request(&self.client, &url, range, kind);
            if same_host(&url, &self.base) {
                request = request.headers(self.private.clone());
            }
            let response = request.send().map_err(|e| self.send_error(name, &e))?;
            let Some(location) = redirect_of(&response) else { return Ok(response) };
            url = redirect::next_hop(&url, location.as_bytes()).map_err(|text| transient(Trouble::Redirect(text)))?;
            if same_host(&url, &self.base) {
                copy_credentials(&self.base, &mut url);
            }
            if kind == Kind::Document && !self.options.documents_follow_hosts && !redirect::same_site(&self.base, &url)
            {
                let to = url.host_str().unwrap_or_default();
                return Err(transient(Trouble::Redirect(format!("to another host, {to}"))));
            }
        }
        Err(transient(Trouble::Redirect(format!("more than {} in a row", self.options.redirects_max))))
    }

    fn send_error(&self, name: &str, error: &reqwest::Error) -> SourceError {
        if let Some(tls) = find::<rustls::Error>(error).filter(|tls| is_refusal(tls)) {
            return SourceError::fatal(name, &self.site, Obstacle::Tls(tls.to_string()));
        }
        let text = chain(error);
        if PROXY_REFUSALS.iter().any(|refusal| text.contains(refusal)) {
            return SourceError::fatal(name, &self.site, Obstacle::Proxy(text));
        }
        let trouble = if error.is_connect() {
            Trouble::Connect(text)
        } else if error.is_timeout() {
            Trouble::Stalled { silence: self.options.stall_timeout }
        } else {
            Trouble::Interrupted(text)
        };
        SourceError::transient(name, &self.site, trouble)
    }
}

impl Source for HttpSource {
    fn open(&self, name: &str, range: Option<ByteRange>, kind: Kind) -> Result<Body, SourceError> {
        check_name(name, &self.site)?;
        let response = self.get(name, range, kind)?;
        let start = answer::judge(name, &self.site, response.status(), response.headers(), range)?;
        let length = response.content_length();
        Ok(Body { start, length, reader: Box::new(PacedBody::new(response, &self.options)) })
    }

    fn describe(&self) -> String {
        self.site.clone()
    }
}

fn base_url(location: &str) -> Result<Url, String> {
    let mut url = Url::parse(location).map_err(|e| e.to_string())?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err("expected an address without ? and #".into());
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

fn without_credentials(url: &Url) -> Url {
    let mut url = url.clone();
    // Both fail only for addresses without a host, which http and https addresses have.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url
}

fn copy_credentials(from: &Url, to: &mut Url) {
    // They fail only for addresses without a host.
    let _ = to.set_username(from.username());
    let _ = to.set_password(from.password());
}

fn same_host(a: &Url, b: &Url) -> bool {
    a.origin() == b.origin()
}

fn private_headers(fields: &[(String, String)]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let bad = || format!("expected a header field, found one named {name:?}");
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| bad())?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

fn client(options: &HttpOptions) -> Result<Client, String> {
    let builder = ClientBuilder::new()
        .user_agent(&options.user_agent)
        .redirect(Policy::none())
        .referer(false)
        .http1_only()
        .http1_max_headers(FIELDS_MAX)
        .connect_timeout(options.connect_timeout)
        .timeout(options.stall_timeout);
    let builder = match &options.proxy {
        Proxy::FromEnvironment => builder,
        Proxy::None => builder.no_proxy(),
        Proxy::Url(url) => builder.proxy(reqwest::Proxy::all(url).map_err(|e| chain(&e.without_url()))?),
    };
    with_tls(builder, options)?.build().map_err(|e| chain(&e))
}

fn with_tls(builder: ClientBuilder, options: &HttpOptions) -> Result<ClientBuilder, String> {
    let provider = rustls::crypto::ring::default_provider();
    if options.tls_roots == TlsRoots::System {
        // reqwest looks for the process's provider; one that an app installed before stays.
        let _ = provider.install_default();
        let extra = options.tls_extra_roots.iter().map(|der| reqwest::Certificate::from_der(der));
        let extra = extra.collect::<Result<Vec<_>, _>>().map_err(|e| chain(&e))?;
        return Ok(builder.tls_certs_merge(extra));
    }
    let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for der in &options.tls_extra_roots {
        roots.add(der.clone().into()).map_err(|e| format!("expected a CA certificate in DER: {e}"))?;
    }
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(builder.tls_backend_preconfigured(config))
}

fn request(client: &Client, url: &Url, range: Option<ByteRange>, kind: Kind) -> RequestBuilder {
    let request = client.get(url.clone()).header(ACCEPT_ENCODING, "identity");
    let request = match kind {
        Kind::Document => request.header(CACHE_CONTROL, "no-cache, no-transform"),
        Kind::Content => request.header(CACHE_CONTROL, "no-transform"),
        Kind::Refetch => request.header(CACHE_CONTROL, "no-cache, no-transform").header(PRAGMA, "no-cache"),
    };
    match range {
        None => request,
        Some(ByteRange { start, end: None }) => request.header(RANGE, format!("bytes={start}-")),
        Some(ByteRange { start, end: Some(end) }) => {
            request.header(RANGE, format!("bytes={start}-{}", end.saturating_sub(1).max(start)))
        }
    }
}

fn redirect_of(response: &Response) -> Option<&HeaderValue> {
    let redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    response.headers().get(LOCATION).filter(|_| redirect)
}

/// TLS errors that another try cannot mend; damage on the line is no such error.
fn is_refusal(error: &rustls::Error) -> bool {
    use rustls::Error as E;
    matches!(
        error,
        E::InvalidCertificate(_)
            | E::InvalidCertRevocationList(_)
            | E::PeerIncompatible(_)
            | E::NoCertificatesPresented
            | E::UnsupportedNameType
            | E::NoApplicationProtocol
    )
}

/// The first error of type `T` in the chain of `error`, also inside I/O errors, which hide what they carry.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = inner.map(|e| e as &(dyn Error + 'static)).or_else(|| error.source());
    }
    None
}

/// All that an error and its sources say, without the address, which the caller names.
fn chain(error: &dyn Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        let text = text.split(" for url (").next().unwrap_or_default();
        if !texts.last().is_some_and(|last| last.contains(text)) {
            texts.push(text.into());
        }
        next = error.source();
    }
    texts.join(": ")
}

/// A body that ends with an error when it comes too slowly or not at all.
struct PacedBody {
    response: Response,
    stall_timeout: Duration,
    pace: Pace,
}

impl PacedBody {
    fn new(response: Response, options: &HttpOptions) -> Self {
        let pace = Pace { speed_min: options.speed_min, window: options.speed_window, ..Pace::default() };
        Self { response, stall_timeout: options.stall_timeout, pace }
    }
}

impl Read for PacedBody {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let asked = Instant::now();
        let read = self.response.read(buffer).map_err(|error| {
            let timeout = find::<reqwest::Error>(&error).is_some_and(reqwest::Error::is_timeout);
            let trouble = match timeout {
                true => Trouble::Stalled { silence: self.stall_timeout },
                false => {
                    Trouble::Interrupted(find::<reqwest::Error>(&error).map_or_else(|| chain(&error), |e| chain(e)))
                }
            };
            io::Error::new(if timeout { io::ErrorKind::TimedOut } else { io::ErrorKind::Other }, trouble)
        })?;
        self.pace.check(read as u64, asked.elapsed()).map_err(|slow| io::Error::new(io::ErrorKind::TimedOut, slow))?;
        Ok(read)
    }
}

/// Measures speed over windows of time spent waiting for the network: a reader that takes its time is no slow server.
#[derive(Default)]
struct Pace {
    speed_min: u64,
    window: Duration,
    bytes: u64,
    waited: Duration,
}

impl Pace {
    fn check(&mut self, bytes: u64, waited: Duration) -> Result<(), Trouble> {
        self.bytes += bytes;
        self.waited += waited;
        if self.waited < self.window {
            return Ok(());
        }
        let expected_bytes = (self.speed_min as f64 * self.waited.as_secs_f64()) as u64;
        let (received_bytes, span) = (self.bytes, self.waited);
        (self.bytes, self.waited) = (0, Duration::ZERO);
        if received_bytes < expected_bytes && bytes > 0 {
            return Err(Trouble::Slow { expected_bytes, received_bytes, span });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_addresses_get_a_final_slash_and_lose_their_credentials_in_messages() {
        let site = |location: &str| HttpSource::open(location, &HttpOptions::default()).map(|s| s.describe());
        assert_eq!(site("http://example.org").as_deref(), Ok("http://example.org/"));
        assert_eq!(site("https://me:secret@example.org/a/b").as_deref(), Ok("https://example.org/a/b/"));
        for bad in ["http://", "http://exa mple", "https://example.org/?q", "https://example.org/#a"] {
            assert_eq!(site(bad).map_err(|e| e.code()), Err("bad-location"), "{bad}");
        }
    }

    #[test]
    fn unusable_settings_are_named() {
        let open = |options: HttpOptions| HttpSource::open("https://example.org", &options).map(|_| ());
        let code = |options| open(options).map_err(|e| e.code());
        let defaults = HttpOptions::default;
        assert_eq!(code(HttpOptions { proxy: Proxy::Url("::".into()), ..defaults() }), Err("bad-options"));
        assert_eq!(code(HttpOptions { tls_extra_roots: vec![vec![1, 2]], ..defaults() }), Err("bad-options"));
        assert_eq!(code(HttpOptions { headers: vec![("a b".into(), "c".into())], ..defaults() }), Err("bad-options"));
        assert_eq!(code(HttpOptions { proxy: Proxy::Url("socks5h://a:b@127.0.0.1:9".into()), ..defaults() }), Ok(()));
        assert_eq!(code(HttpOptions { tls_roots: TlsRoots::System, ..defaults() }), Ok(()));
    }

    #[test]
    fn only_time_spent_waiting_counts_as_slow() {
        let pace = || Pace { speed_min: 100, window: Duration::from_secs(10), ..Pace::default() };
        let (mut slow, mut fast) = (pace(), pace());
        for _ in 0..9 {
            assert_eq!(slow.check(1, Duration::from_secs(1)), Ok(()));
            assert_eq!(fast.check(100, Duration::from_secs(1)), Ok(()));
        }
        let span = Duration::from_secs(10);
        assert_eq!(
            slow.check(1, Duration::from_secs(1)),
            Err(Trouble::Slow { expected_bytes: 1000, received_bytes: 10, span })
        );
        assert_eq!(fast.check(100, Duration::from_secs(1)), Ok(()));
        assert_eq!(fast.bytes, 0);
    }
}
