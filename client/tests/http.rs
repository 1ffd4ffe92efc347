//! Redirects, proxies, certificates, and who learns what.

#![cfg(feature = "http")]

mod support;

use lamplighter_client::download::RetryPolicy;
use lamplighter_client::source::{self, ByteRange, HttpOptions, Kind, Proxy, TlsRoots};
use std::io::Read;
use std::net::TcpListener;
use std::time::Duration;
use support::hostile::{Fault, Hostile};
use support::proxy::Passing;
use support::setting::{Setting, noise, quick_options, signed};
use support::tls;

const NAME: &str = "objects/ab/one";

fn to(location: impl Into<String>) -> Fault {
    Fault::Redirect(location.into())
}

fn read(location: &str, options: &HttpOptions, kind: Kind) -> Result<Vec<u8>, &'static str> {
    let source = source::open(location, options).map_err(|e| e.code())?;
    let mut body = source.open(NAME, None, kind).map_err(|e| e.code())?;
    let mut bytes = Vec::new();
    body.reader.read_to_end(&mut bytes).map_err(|_| "body")?;
    Ok(bytes)
}

#[test]
fn redirects_are_followed_with_their_range_also_to_other_hosts() {
    let bytes = noise(30_000, 1);
    let elsewhere = Hostile::files(&[("far/away", &bytes)]);
    elsewhere.script("far/away", [Fault::CutAfter(1000)]);
    let server = Hostile::files(&[("b/c", &bytes)]);
    server.always(NAME, to("../../b/c"));
    server.always("b/c", to(format!("{}far/away#fragment", elsewhere.url())));
    let setting = Setting::new(&[&server]);
    let (length, digest) = signed(&bytes);
    assert_eq!(setting.downloader.exact(NAME, length, &digest).unwrap(), bytes);
    assert_eq!(elsewhere.ranges("far/away"), ["", "bytes=1000-"]);
    assert!(elsewhere.log().iter().all(|seen| !seen.headers.contains_key("referer")));
}

#[test]
fn redirects_that_lead_nowhere_good_are_refused() {
    let server = Hostile::files(&[]);
    for location in ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:text/plain,x", "http://exa mple/", "http://[::1"]
    {
        server.script(NAME, [to(location)]);
        assert_eq!(read(&server.url(), &quick_options(), Kind::Content), Err("redirect"), "{location}");
    }
    server.script(NAME, [Fault::Status(302)]);
    assert_eq!(read(&server.url(), &quick_options(), Kind::Content), Err("status"));
    server.script(NAME, [Fault::Raw(b"HTTP/1.1 302 x\r\nLocation: /a\rb\r\nContent-Length: 0\r\n\r\n".to_vec())]);
    assert!(read(&server.url(), &quick_options(), Kind::Content).is_err());
}

#[test]
fn redirect_loops_end_after_five() {
    let server = Hostile::files(&[]);
    server.always("*", to(format!("/{NAME}")));
    assert_eq!(read(&server.url(), &quick_options(), Kind::Content), Err("redirect"));
    assert_eq!(server.requests(), 6);
    server.always("*", to(""));
    assert_eq!(read(&server.url(), &quick_options(), Kind::Content), Err("redirect"));
}

#[test]
fn documents_are_not_redirected_to_other_hosts_unless_wanted() {
    let elsewhere = Hostile::files(&[("log-in", b"page")]);
    let server = Hostile::files(&[]);
    server.always(NAME, to(format!("{}log-in", elsewhere.url())));
    assert_eq!(read(&server.url(), &quick_options(), Kind::Document), Err("redirect"));
    assert_eq!(elsewhere.requests(), 0);
    assert_eq!(read(&server.url(), &quick_options(), Kind::Content), Ok(b"page".to_vec()));
    let options = HttpOptions { documents_follow_hosts: true, ..quick_options() };
    assert_eq!(read(&server.url(), &options, Kind::Document), Ok(b"page".to_vec()));
}

#[test]
fn private_fields_and_credentials_stay_with_their_host() {
    let elsewhere = Hostile::files(&[("x", b"far")]);
    let server = Hostile::files(&[]);
    server.always(NAME, to(format!("http://eve:pw@{}x", &elsewhere.url()["http://".len()..])));
    let options = HttpOptions { headers: vec![("X-Token".into(), "secret".into())], ..quick_options() };
    let location = server.url().replace("http://", "http://me:pass@");
    assert_eq!(read(&location, &options, Kind::Content), Ok(b"far".to_vec()));
    let (here, there) = (&server.log()[0].headers, &elsewhere.log()[0].headers);
    assert_eq!((here["x-token"].as_str(), here["authorization"].as_str()), ("secret", "Basic bWU6cGFzcw=="));
    assert!(!there.contains_key("x-token") && !there.contains_key("authorization"), "{there:?}");

    server.always(NAME, to("/same/host"));
    server.put("same/host", b"near");
    assert_eq!(read(&location, &options, Kind::Content), Ok(b"near".to_vec()));
    assert!(server.log().iter().all(|seen| seen.headers.contains_key("authorization")));
}

#[test]
fn a_site_may_lie_below_a_path() {
    let server = Hostile::files(&[("deep/er/objects/ab/one", b"x")]);
    for path in ["deep/er", "deep/er/"] {
        let location = format!("{}{path}", server.url());
        assert_eq!(read(&location, &quick_options(), Kind::Content), Ok(b"x".to_vec()));
    }
}

#[test]
fn slices_name_their_end() {
    let server = Hostile::files(&[(NAME, b"0123456789")]);
    let source = source::open(&server.url(), &quick_options()).unwrap();
    let mut text = String::new();
    let mut body = source.open(NAME, Some(ByteRange { start: 2, end: Some(5) }), Kind::Content).unwrap();
    body.reader.read_to_string(&mut text).unwrap();
    assert_eq!((body.start, body.length, text.as_str()), (2, Some(3), "234"));
    assert_eq!(server.ranges(NAME), ["bytes=2-4"]);
}

#[test]
fn bodies_encoded_all_the_same_are_a_fault_of_the_mirror() {
    let bytes = noise(1000, 2);
    let (bad, good) = (Hostile::files(&[(NAME, &bytes)]), Hostile::files(&[(NAME, &bytes)]));
    bad.always("*", Fault::Header("Content-Encoding", "gzip".into()));
    let setting = Setting::new(&[&bad, &good]);
    let (length, digest) = signed(&bytes);
    for _ in 0..3 {
        assert_eq!(setting.downloader.exact(NAME, length, &digest).unwrap(), bytes);
    }
    assert_eq!((bad.requests(), good.requests()), (1, 3));
}

#[test]
fn what_is_no_http_is_survived() {
    let bytes = noise(1000, 3);
    let many = (0..10_000).map(|n| format!("X-{n}: y\r\n")).collect::<String>();
    for raw in [
        String::new(),
        "hello".into(),
        "HTTP/1.1 999999 x\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\nx".into(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nx".into(),
        format!("HTTP/1.1 200 OK\r\n{many}\r\n"),
        format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(1 << 20)),
        "HTTP/1.1 100 Continue\r\n\r\n".repeat(50),
        "HTTP/1.0 200 OK\r\n\r\nshort".into(),
        "SSH-2.0-x\r\n".into(),
    ] {
        let server = Hostile::files(&[(NAME, &bytes)]);
        server.script(NAME, [Fault::Raw(raw.clone().into_bytes())]);
        let setting = Setting::new(&[&server]);
        let (length, digest) = signed(&bytes);
        let arrived = setting.downloader.exact(NAME, length, &digest);
        assert!(arrived.is_ok_and(|arrived| arrived == bytes), "{:.60}", raw);
        // One more where the nonsense passed for the beginning of the file.
        assert!(server.requests() <= 3, "{:.60}", raw);
    }
}

#[test]
fn nobody_at_home_is_said_after_one_try() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let open = |location: &str| source::open(location, &quick_options()).unwrap();
    let here = format!("http://{closed}/");
    for location in [here.as_str(), "http://no-such-host.invalid/"] {
        let setting = Setting::over(vec![open(location)], RetryPolicy::default());
        let error = setting.downloader.document("channels/stable.head", 1000).unwrap_err();
        assert!(error.is_offline() && error.is_transient(), "{error}");
        assert_eq!((setting.downloader.requests(), setting.waited_s()), (1, 0));
        assert!(error.to_string().contains(location), "{error}");
    }
}

#[test]
fn content_that_comes_too_slowly_is_given_up() {
    let bytes = noise(1000, 4);
    let server = Hostile::files(&[(NAME, &bytes)]);
    server.script(NAME, [Fault::Trickle { bytes: 1, pause: Duration::from_millis(20) }]);
    let options = HttpOptions { speed_min: 10_000, speed_window: Duration::from_millis(300), ..quick_options() };
    let setting = Setting::with(&[&server], &options);
    let (length, digest) = signed(&bytes);
    assert_eq!(setting.downloader.exact(NAME, length, &digest).unwrap(), bytes);
    assert_eq!(server.requests(), 2);
    assert!(server.ranges(NAME)[1].starts_with("bytes="));
}

#[test]
fn proxies_are_used_as_told() {
    let proxy = Hostile::files(&[(NAME, b"through the proxy")]);
    let options = |url: String| HttpOptions { proxy: Proxy::Url(url), ..quick_options() };
    let with_password = proxy.url().replace("http://", "http://me:pass@");
    let text = read("http://example.org/", &options(with_password), Kind::Content);
    assert_eq!(text, Ok(b"through the proxy".to_vec()));
    let seen = &proxy.log()[0].headers;
    assert_eq!((seen["host"].as_str(), seen["proxy-authorization"].as_str()), ("example.org", "Basic bWU6cGFzcw=="));

    proxy.script(NAME, [Fault::Status(407)]);
    assert_eq!(read("http://example.org/", &options(proxy.url()), Kind::Content), Err("proxy"));
    // A proxy that refuses the tunnel to a secure site.
    proxy.always("*", Fault::Status(403));
    assert_eq!(read("https://example.org/", &options(proxy.url()), Kind::Content), Err("connect"));
}

#[test]
fn a_secure_site_is_reached_through_a_tunnel() {
    let proxy = Passing::to(tls::serve(tls::GOOD, b"secure"));
    let trusting = HttpOptions { tls_extra_roots: vec![tls::CA.to_vec()], ..quick_options() };
    let options = HttpOptions { proxy: Proxy::Url(proxy.url()), ..trusting };
    // The certificate is for this address, of which the proxy makes another.
    assert_eq!(read("https://127.0.0.1:9/", &options, Kind::Content), Ok(b"secure".to_vec()));
    assert_eq!((proxy.tunnels(), proxy.plain()), (1, 0));
    assert_eq!(read("https://example.org/", &options, Kind::Content), Err("tls"), "the proxy cannot pose as the site");
}

#[test]
fn certificates_must_be_valid_and_known() {
    let location = |certificate| format!("https://{}/", tls::serve(certificate, b"secure"));
    let options = HttpOptions { tls_extra_roots: vec![tls::CA.to_vec()], ..quick_options() };
    assert_eq!(read(&location(tls::GOOD), &options, Kind::Content), Ok(b"secure".to_vec()));
    assert_eq!(read(&location(tls::ELSEWHERE), &options, Kind::Content), Err("tls"));
    assert_eq!(read(&location(tls::EXPIRED), &options, Kind::Content), Err("tls"));
    assert_eq!(read(&location(tls::GOOD), &quick_options(), Kind::Content), Err("tls"));
    let system = HttpOptions { tls_roots: TlsRoots::System, ..quick_options() };
    assert_eq!(read(&location(tls::GOOD), &system, Kind::Content), Err("tls"));
    // wine's certificate store takes no further authorities, as that of Windows does.
    if cfg!(not(windows)) {
        let system = HttpOptions { tls_extra_roots: vec![tls::CA.to_vec()], ..system };
        assert_eq!(read(&location(tls::GOOD), &system, Kind::Content), Ok(b"secure".to_vec()));
    }
}

#[test]
fn a_secure_site_never_falls_back_to_plain_text() {
    let plain = Hostile::files(&[(NAME, b"x")]);
    let location = plain.url().replace("http://", "https://");
    let code = read(&location, &quick_options(), Kind::Content).unwrap_err();
    assert!(matches!(code, "connect" | "tls" | "interrupted" | "stalled"), "{code}");
    assert_eq!(plain.requests(), 0);
}

#[test]
fn a_host_with_an_address_where_nobody_answers_is_reached_at_the_other() {
    // The name stands for both loopback addresses, where there are both; only one of them is served.
    let server = Hostile::files(&[(NAME, b"x")]);
    let location = server.url().replace("127.0.0.1", "localhost");
    assert_eq!(read(&location, &quick_options(), Kind::Content), Ok(b"x".to_vec()));
}
