//! How HTTP is spoken: everything a user or an app may set, with what holds if nobody does.

use std::time::Duration;

/// Settings of HTTP sources.
///
/// Trust never depends on them: a site is believed by its signatures alone, whatever carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpOptions {
    /// Longest wait for a connection, TLS included. 15 s.
    pub connect_timeout: Duration,
    /// Longest silence: from the request to the head of the answer, and between two pieces of the body. 30 s.
    pub stall_timeout: Duration,
    /// Lowest average speed, in bytes a second, over each `speed_window` of waiting for a body; below it the transfer
    /// is given up and goes on elsewhere. 0 switches it off. 128, since several transfers may share a slow line.
    pub speed_min: u64,
    /// Time over which `speed_min` is measured. 60 s.
    pub speed_window: Duration,
    /// Most redirects followed for one file. 5.
    pub redirects_max: u32,
    /// Whether documents may be redirected to another host. False: that is what log-in pages of networks do, and an
    /// update check must not take one for the site. Content is always followed, its digest decides.
    pub documents_follow_hosts: bool,
    /// Proxy. From the environment or the system's settings.
    pub proxy: Proxy,
    /// Which certificate authorities are accepted. Those compiled in.
    pub tls_roots: TlsRoots,
    /// More certificate authorities to accept, each one DER certificate: for sites within a company. None.
    pub tls_extra_roots: Vec<Vec<u8>>,
    /// Header fields sent to the hosts of the site and of the mirrors its user chose, never to those a head names, and dropped
    /// where a redirect leaves the host: for private sites. None.
    pub headers: Vec<(String, String)>,
    /// Product name sent along. `lamplighter/<version>`: nothing that tells one installation from another.
    pub user_agent: String,
}

/// The way to the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proxy {
    /// `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`, else the system's settings.
    FromEnvironment,
    /// No proxy, whatever the environment says.
    None,
    /// This one for everything: `http://`, `https://`, `socks5://` or `socks5h://`, with credentials if need be.
    Url(String),
}

/// Which certificate authorities a server's certificate may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsRoots {
    /// Mozilla's list, compiled in: the same everywhere, and needs nothing installed.
    Compiled,
    /// The operating system's, which also has those a company adds for its own proxies.
    System,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(30),
            speed_min: 128,
            speed_window: Duration::from_secs(60),
            redirects_max: 5,
            documents_follow_hosts: false,
            proxy: Proxy::FromEnvironment,
            tls_roots: TlsRoots::Compiled,
            tls_extra_roots: Vec::new(),
            headers: Vec::new(),
            user_agent: concat!("lamplighter/", env!("CARGO_PKG_VERSION")).into(),
        }
    }
}
