//! Ways to a site: proxies of every kind, from settings, flags and the environment, and what is told to whom.

#![cfg(feature = "http")]

#[path = "support/frozen_site.rs"]
mod frozen_site;
mod support;

use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::process::{Command, Output};

use lamplighter_client::source::{self, HttpOptions, Kind, Proxy};
use support::hostile::{Fault, Hostile};
use support::proxy::{Passing, USER};
use support::setting::{Setting, noise, quick_options, signed};
use support::tls;

const NAME: &str = "objects/ab/one";
const STRANGER: (&str, &str) = ("me", "wrong");
const DONE: i32 = 0;
const USAGE: i32 = 2;
const NETWORK: i32 = 4;

fn address(server: &Hostile) -> SocketAddr {
    server.url()["http://".len()..].trim_end_matches('/').parse().expect("an address")
}

fn through(proxy: String) -> HttpOptions {
    HttpOptions { proxy: Proxy::Url(proxy), tls_extra_roots: vec![tls::CA.to_vec()], ..quick_options() }
}

fn read(location: &str, proxy: String) -> Result<Vec<u8>, &'static str> {
    let source = source::open(location, &through(proxy)).map_err(|e| e.code())?;
    let mut body = source.open(NAME, None, Kind::Content).map_err(|e| e.code())?;
    let mut bytes = Vec::new();
    body.reader.read_to_end(&mut bytes).map_err(|_| "body")?;
    Ok(bytes)
}

#[test]
fn socks_proxies_are_told_names_or_addresses_as_their_scheme_says() {
    let server = Hostile::files(&[(NAME, b"far")]);
    let proxy = Passing::to(address(&server));
    let url = |scheme: &str| proxy.url().replace("http", scheme);
    assert_eq!(read("http://site.invalid/", url("socks5h")), Ok(b"far".to_vec()));
    assert_eq!(read("http://127.0.0.1:9/", url("socks5")), Ok(b"far".to_vec()));
    assert_eq!(proxy.asked(), ["SOCKS5 name site.invalid:80", "SOCKS5 address 127.0.0.1:9"]);
}

#[test]
fn a_secure_site_is_reached_through_socks_and_the_proxy_cannot_pose_as_it() {
    let proxy = Passing::to(tls::serve(tls::GOOD, b"secure"));
    let url = proxy.url().replace("http", "socks5h");
    assert_eq!(read("https://127.0.0.1:9/", url.clone()), Ok(b"secure".to_vec()));
    assert_eq!(read("https://example.org/", url), Err("tls"));
}

#[test]
fn credentials_are_given_to_every_kind_of_proxy_and_wrong_ones_are_named() {
    let server = Hostile::files(&[(NAME, b"far")]);
    let proxy = Passing::demanding(address(&server));
    for scheme in ["http", "socks5", "socks5h"] {
        let site = "http://127.0.0.1:9/";
        assert_eq!(read(site, proxy.url_for(scheme, USER)), Ok(b"far".to_vec()), "{scheme}");
        assert_eq!(read(site, proxy.url_for(scheme, STRANGER)), Err("proxy"), "{scheme}");
        assert_eq!(read(site, proxy.url().replace("http", scheme)), Err("proxy"), "{scheme}, without");
    }
    let secure = Passing::demanding(tls::serve(tls::GOOD, b"secure"));
    let site = "https://127.0.0.1:9/";
    assert_eq!(read(site, secure.url_for("http", USER)), Ok(b"secure".to_vec()));
    assert_eq!(read(site, secure.url_for("http", STRANGER)), Err("proxy"));
    assert_eq!((secure.tunnels(), secure.plain()), (1, 0));
}

#[test]
fn a_download_goes_on_when_the_way_leads_to_another_machine() {
    let bytes = noise(300_000, 1);
    let (one, two) = (Hostile::files(&[(NAME, &bytes)]), Hostile::files(&[(NAME, &bytes)]));
    one.script(NAME, [Fault::CutAfter(200_000)]);
    one.always("*", Fault::Status(500));
    for scheme in ["http", "socks5h"] {
        let proxy = Passing::to(address(&one));
        let options = through(proxy.url().replace("http", scheme));
        let source = source::open("http://site.invalid/", &options).unwrap();
        let setting = Setting::over(vec![source], Default::default());
        let mut stream = setting.downloader.stream(NAME, 0);
        one.script(NAME, [Fault::CutAfter(200_000)]);
        let half = &bytes[..150_000];
        let (length, digest) = signed(half);
        assert_eq!(stream.next(length, &digest).unwrap(), half);
        proxy.lead_to(address(&two));
        let (length, digest) = signed(&bytes[150_000..]);
        assert_eq!(stream.next(length, &digest).unwrap(), &bytes[150_000..]);
        assert_eq!(two.ranges(NAME).last().map(String::as_str), Some("bytes=200000-"), "{scheme}");
        one.behave();
    }
}

/// The frozen site on a server, and a tree of build 1 that follows it under a name only proxies know.
struct World {
    dir: tempfile::TempDir,
    server: Hostile,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let site = dir.path().join("site");
        frozen_site::copy_to(&site);
        let world = Self { server: Hostile::dir(&site), dir };
        let install = frozen_site::install("old", "tree");
        assert_eq!(world.run(&install, &[]).status.code(), Some(DONE));
        let settings = world.dir.path().join("tree/.lamplighter/settings");
        let text = fs::read_to_string(&settings).expect("settings");
        let moved = text.lines().map(|line| if line.starts_with("site,") { "site,http://site.invalid/" } else { line });
        fs::write(&settings, moved.collect::<Vec<_>>().join("\n") + "\n").expect("written");
        world
    }

    fn run(&self, line: &str, environment: &[(&str, &str)]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_client"));
        command.args(line.split_whitespace()).current_dir(self.dir.path());
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
            command.env_remove(name).env_remove(name.to_lowercase());
        }
        command.envs(environment.iter().copied()).output().expect("the client runs")
    }

    #[track_caller]
    fn expect(&self, code: i32, line: &str, environment: &[(&str, &str)]) -> String {
        let output = self.run(line, environment);
        let said = [&output.stdout[..], &output.stderr[..]].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert_eq!(output.status.code(), Some(code), "{line} {environment:?}\n{said}");
        said
    }
}

/// Exit code of a check that finds nothing new.
const NOTHING_NEW: i32 = 3;

#[test]
fn the_environment_names_proxies_and_whom_to_reach_without() {
    let world = World::new();
    let proxy = Passing::demanding(address(&world.server));
    let (http, socks) = (proxy.url_for("http", USER), proxy.url_for("socks5h", USER));
    let check = "check --tree tree";
    for (name, url) in [("http_proxy", &http), ("ALL_PROXY", &http), ("all_proxy", &socks), ("HTTP_PROXY", &socks)] {
        world.expect(NOTHING_NEW, check, &[(name, url)]);
    }
    assert_eq!(proxy.asked().len(), 4, "{:?}", proxy.asked());
    assert_eq!(proxy.asked().iter().filter(|line| line.contains("site.invalid")).count(), 4, "{:?}", proxy.asked());
    // Not for this host, so that it is looked for without, and not found.
    world.expect(NETWORK, check, &[("ALL_PROXY", &http), ("NO_PROXY", "example.org, site.invalid")]);
    world.expect(NETWORK, check, &[("HTTPS_PROXY", &http)]);
    assert_eq!(proxy.asked().len(), 4);
    let said = world.expect(NETWORK, check, &[("ALL_PROXY", &proxy.url_for("http", STRANGER))]);
    assert!(said.contains("proxy") && !said.contains("wrong"), "{said}");
}

#[test]
fn flags_come_before_the_environment() {
    let world = World::new();
    let proxy = Passing::demanding(address(&world.server));
    let (right, wrong) = (proxy.url_for("socks5h", USER), proxy.url_for("http", STRANGER));
    world.expect(NOTHING_NEW, &format!("check --tree tree --proxy {right}"), &[("ALL_PROXY", &wrong)]);
    assert_eq!(proxy.asked(), ["SOCKS5 name site.invalid:80"]);
}

#[test]
fn fields_for_a_private_site_come_from_flags_and_files_and_are_kept_secret() {
    let world = World::new();
    let proxy = Passing::to(address(&world.server)).url();
    fs::write(world.dir.path().join("secrets"), "Authorization: Bearer of-tidings\nX-Team: lamps\n").unwrap();
    let base = format!("check --tree tree --proxy {proxy}");
    world.expect(NOTHING_NEW, &format!("{base} --header @secrets --header X-More:1"), &[]);
    let log = world.server.log();
    let seen = &log.last().unwrap().headers;
    let value = |name: &str| seen.get(name).map(String::as_str);
    assert_eq!((value("authorization"), value("x-team")), (Some("Bearer of-tidings"), Some("lamps")));
    assert_eq!(value("x-more"), Some("1"));
    let said = world.expect(USAGE, &format!("{base} --header secret-without-a-name"), &[]);
    assert!(!said.contains("expected a header field, found"), "{said}");
    world.expect(USAGE, &format!("{base} --limit-rate fast"), &[]);
    world.expect(NOTHING_NEW, &format!("{base} --limit-rate 250K"), &[]);
}
