//! Mirrors and networks: A10, A18, A19, and data without end as it comes over the wire: A9.

use std::sync::Arc;
use std::time::Duration;

use lamplighter_client::download::{Downloader, JumpingTiming, RetryPolicy};
use lamplighter_client::format::digest::Blake3;
use lamplighter_client::format::head::HEAD_BYTES_MAX;
use lamplighter_client::progress::{Cancel, Silent};
use lamplighter_client::source::{self, HttpOptions, Proxy};
use lamplighter_client::trust::Refusal;

use super::hostile::{Fault, Hostile};
use super::scene::{Scene, head_name};
use super::world::noise;
use crate::Table;

const OBJECT: &str = "objects/ab/object";
const OBJECT_BYTES: usize = 70_000;

/// A downloader over these servers, whose waits pass at once and whose patience with silence is short.
fn over(servers: &[&Hostile]) -> Downloader {
    let options =
        HttpOptions { proxy: Proxy::None, stall_timeout: Duration::from_millis(200), ..HttpOptions::default() };
    let sources = servers.iter().map(|server| source::open(&server.url(), &options).expect("a site")).collect();
    let policy = RetryPolicy { timing: Arc::new(JumpingTiming::default()), ..RetryPolicy::default() };
    Downloader::new(sources, policy, Cancel::default(), Arc::new(Silent))
}

fn server() -> (Hostile, Vec<u8>) {
    let object = noise(5, OBJECT_BYTES);
    (Hostile::files(&[(OBJECT, &object), (&head_name(), &Scene::new().head_bytes())]), object)
}

/// What a lying or broken mirror may answer for ever.
fn lies() -> Vec<(&'static str, Fault)> {
    vec![
        ("another byte", Fault::Flip(30_000)),
        ("another file", Fault::Other(noise(6, OBJECT_BYTES))),
        ("a shorter file", Fault::Other(noise(5, 10))),
        ("nothing", Fault::Other(Vec::new())),
        ("more than announced", Fault::Trailing(10)),
        ("more than there is", Fault::Longer(10)),
        ("a login page", Fault::WebPage),
        ("not found", Fault::Status(404)),
        ("forbidden", Fault::Status(403)),
        ("gone wrong", Fault::Status(500)),
        ("too many requests", Fault::StatusWith(429, vec![("Retry-After", "9".into())])),
        ("not modified", Fault::Status(304)),
        ("a file of the machine", Fault::Redirect("file:///etc/passwd".into())),
        ("itself again", Fault::Redirect(format!("/{OBJECT}"))),
        ("half of it", Fault::CutAfter(OBJECT_BYTES / 2)),
        ("a reset", Fault::ResetAfter(1000)),
        ("another coding", Fault::Header("Content-Encoding", "br".into())),
        ("a length of its own", Fault::ContentLength("77")),
        ("no answer in HTTP", Fault::Raw(b"220 mail.example ESMTP\r\n".to_vec())),
    ]
}

/// Slow ones, of which the first says nothing at all.
fn slow() -> Vec<(&'static str, Fault)> {
    vec![
        ("silence before the answer", Fault::StallBeforeHead),
        ("silence in the middle", Fault::StallAfter(100)),
        ("silence after the head", Fault::StallAfter(0)),
    ]
}

pub(crate) fn cases(table: &mut Table) {
    for (name, fault) in lies() {
        table.run("A18", format!("one mirror gives {name}, one is honest"), move || beside_an_honest_one(fault));
    }
    for (name, fault) in slow() {
        let (other, doc) = (fault.clone(), fault.clone());
        table.run("A10", format!("{name}, and one honest mirror"), move || beside_an_honest_one(other));
        table.run("A10", format!("{name} for ever, content"), move || {
            let (bad, object) = server();
            bad.always(OBJECT, fault);
            match over(&[&bad]).exact(OBJECT, OBJECT_BYTES as u64, &Blake3::of(&object)) {
                Err(_) if bad.requests() <= 12 => Ok(()),
                other => Err(format!("{:?} after {} requests", other.map(|b| b.len()), bad.requests())),
            }
        });
        table.run("A10", format!("{name} for ever, a document"), move || {
            let (bad, _) = server();
            bad.always(&head_name(), doc);
            match over(&[&bad]).document(&head_name(), HEAD_BYTES_MAX) {
                Err(_) if bad.requests() <= 4 => Ok(()),
                other => Err(format!("{:?} after {} requests", other.map(|b| b.len()), bad.requests())),
            }
        });
    }
    several_liars(table);
    endless(table);
    login_pages(table);
}

fn beside_an_honest_one(fault: Fault) -> Result<(), String> {
    let ((bad, object), (good, _)) = (server(), server());
    bad.always(OBJECT, fault);
    let downloader = over(&[&bad, &good]);
    for round in 0..3 {
        let found = downloader.exact(OBJECT, OBJECT_BYTES as u64, &Blake3::of(&object)).map_err(|e| e.to_string())?;
        if found != object {
            return Err(format!("other bytes in round {round}"));
        }
    }
    // It is asked at first, once more past caches, and then comes last.
    if bad.requests() <= 10 { Ok(()) } else { Err(format!("the bad one was asked {} times", bad.requests())) }
}

fn several_liars(table: &mut Table) {
    for liars in 1..=4usize {
        table.run("A18", format!("{liars} liars before an honest mirror"), move || {
            let servers: Vec<(Hostile, Vec<u8>)> = (0..=liars).map(|_| server()).collect();
            let lies = lies();
            for (n, (bad, _)) in servers[..liars].iter().enumerate() {
                bad.always(OBJECT, lies[(n * 5) % lies.len()].1.clone());
            }
            let all: Vec<&Hostile> = servers.iter().map(|(server, _)| server).collect();
            let object = &servers[0].1;
            let found =
                over(&all).exact(OBJECT, OBJECT_BYTES as u64, &Blake3::of(object)).map_err(|e| e.to_string())?;
            if found == *object { Ok(()) } else { Err("other bytes".into()) }
        });
    }
    table.run("A18", "a mirror that gives an older head is not asked for long", || {
        let ((stale, _), (good, _)) = (server(), server());
        let older = Scene::with(|s| s.head.sequence = 19).head_bytes();
        stale.put(&head_name(), &older);
        let right = Scene::new().head_bytes();
        let accept = |bytes: Vec<u8>| {
            if bytes == right { Ok(bytes) } else { Err(Refusal::OlderHead { found: 19, known: 20 }) }
        };
        let found = over(&[&stale, &good]).document_checked(&head_name(), HEAD_BYTES_MAX, accept);
        match found {
            Ok(bytes) if bytes == right && stale.requests() <= 3 => Ok(()),
            other => Err(format!("{:?} after {} requests", other.map(|b| b.len()).map_err(|_| ()), stale.requests())),
        }
    });
}

fn endless(table: &mut Table) {
    table.run("A9", "a document without end", || {
        let (bad, _) = server();
        bad.always(&head_name(), Fault::Endless);
        match over(&[&bad]).document(&head_name(), HEAD_BYTES_MAX) {
            Err(_) if bad.sent_bytes() < 64 << 20 => Ok(()),
            other => Err(format!("{:?}, {} bytes sent", other.map(|b| b.len()), bad.sent_bytes())),
        }
    });
    table.run("A9", "content without end", || {
        let (bad, object) = server();
        bad.always(OBJECT, Fault::Endless);
        match over(&[&bad]).exact(OBJECT, OBJECT_BYTES as u64, &Blake3::of(&object)) {
            Err(_) if bad.sent_bytes() < 64 << 20 => Ok(()),
            other => Err(format!("{:?}, {} bytes sent", other.map(|b| b.len()), bad.sent_bytes())),
        }
    });
    table.run("A9", "a document longer than announced as allowed", || {
        let (bad, _) = server();
        bad.always(&head_name(), Fault::Other(vec![b'x'; HEAD_BYTES_MAX as usize + 1]));
        over(&[&bad]).document(&head_name(), HEAD_BYTES_MAX).map_or(Ok(()), |b| Err(format!("{} bytes", b.len())))
    });
}

fn login_pages(table: &mut Table) {
    for (name, fault) in [
        ("200", Fault::WebPage),
        ("511", Fault::Status(511)),
        ("302 to the portal", Fault::Redirect("http://portal.invalid/login".into())),
        ("302 to a page here", Fault::Redirect("/login".into())),
        ("204", Fault::Status(204)),
    ] {
        table.run("A19", format!("a login page with {name}, then the network opens"), move || {
            let (site, _) = server();
            site.put("login", b"<html><body>Please log in</body></html>");
            site.always(&head_name(), fault);
            let state = Scene::new().state;
            let portal = over(&[&site]).document(&head_name(), HEAD_BYTES_MAX);
            if let Ok(page) = portal {
                let scene = Scene::with(|s| s.served_head = Some(page));
                if scene.outcome() != "E_NOT_OURS" || scene.state != state {
                    return Err(format!("the page came to {}", scene.outcome()));
                }
            }
            site.behave();
            let head = over(&[&site]).document(&head_name(), HEAD_BYTES_MAX).map_err(|e| e.to_string())?;
            let outcome = Scene::with(|s| s.served_head = Some(head)).outcome();
            if outcome == "offer" { Ok(()) } else { Err(outcome) }
        });
    }
    table.holds("A19", "such a page is no reason to give up a mirror", || {
        let outcome = Scene::with(|s| s.served_head = Some(b"<!DOCTYPE html>\n".to_vec())).judge();
        outcome.is_err_and(|refusal| refusal.is_transient())
    });
}
