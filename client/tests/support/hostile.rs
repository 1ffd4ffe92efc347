//! A web server that misbehaves on command: plain `std`, threads, HTTP/1.1 with connections kept alive.
//!
//! It serves a directory ([`Hostile::dir`]) or files held in memory ([`Hostile::files`]) like any static server, with
//! single ranges, and keeps a log of every request. Each path can be given a script, a list of [`Fault`]s: the n-th
//! request for the path meets the n-th fault, later ones what [`Hostile::always`] set, or an honest answer. The path `*`
//! stands for all paths that have no script of their own. Nothing is random, so a test sees the same twice.
//!
//! ```
//! let server = Hostile::files(&[("objects/ab/x", bytes)]);
//! server.script("objects/ab/x", [Fault::CutAfter(1000), Fault::Status(503)]);
//! let source = source::open(&server.url(), &options)?;
//! // ... the third request is answered honestly
//! assert_eq!(server.ranges("objects/ab/x"), ["", "bytes=1000-", "bytes=1000-"]);
//! ```
//!
//! Offsets in faults count bytes of the *answer's body*, but for [`Fault::Flip`], which names a byte of the file, so that
//! it is wrong in whatever range is asked for.

// Test programs of both crates take what they need.
#![allow(dead_code, unreachable_pub)]

#[path = "hostile/door.rs"]
mod door;

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use door::Door;

/// One way to answer.
#[derive(Debug, Clone)]
pub enum Fault {
    /// As it should be.
    Honest,
    /// Announces everything, sends so many bytes of the body, closes.
    CutAfter(usize),
    /// The same with a TCP reset.
    ResetAfter(usize),
    /// Announces no length, sends so many bytes (all if fewer are there), closes: a clean end as far as HTTP knows.
    CloseAfter(usize),
    /// Announces and sends so many bytes too many.
    Longer(usize),
    /// Sends so many bytes after a body of the announced length.
    Trailing(usize),
    /// This `Content-Length`, the honest body, then close.
    ContentLength(&'static str),
    /// Silence before the answer.
    StallBeforeHead,
    /// Silence after so many bytes of the body.
    StallAfter(usize),
    /// So many bytes at a time with a pause after each.
    Trickle { bytes: usize, pause: Duration },
    /// 200 and the whole file, whatever range is asked for.
    IgnoreRange,
    /// 206 with the right bytes and this `Content-Range`.
    ContentRange(&'static str),
    /// 206 with so many bytes left out at the front, and a truthful `Content-Range`.
    LaterPart(usize),
    /// This status and a short text.
    Status(u16),
    /// This status with these header fields.
    StatusWith(u16, Vec<(&'static str, String)>),
    /// 302 to there.
    Redirect(String),
    /// 200 and a log-in page.
    WebPage,
    /// The byte at this offset of the file is another.
    Flip(usize),
    /// These bytes in place of the file.
    Other(Vec<u8>),
    /// A body without end, unannounced.
    Endless,
    /// An honest answer with one more header field.
    Header(&'static str, String),
    /// Chunks of this size; ends in the middle of a chunk after so many bytes, if that is given.
    Chunked { size: usize, cut: Option<usize> },
    /// These bytes in place of an answer, then close.
    Raw(Vec<u8>),
    /// No answer, and no connection is taken any more until [`Hostile::come_back`] or [`Hostile::behave`].
    Vanish,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Number of the connection it came on.
    pub connection: usize,
    pub method: String,
    /// Without the leading slash.
    pub path: String,
    /// Value of `Range`, empty if there was none.
    pub range: String,
    /// All fields, names in lowercase.
    pub headers: HashMap<String, String>,
}

/// The server; it stops when dropped.
pub struct Hostile {
    address: SocketAddr,
    state: Arc<State>,
    acceptor: Option<JoinHandle<()>>,
}

/// Chooses how a request for a path is answered.
pub type Attack = Box<dyn FnMut(&str) -> Fault + Send>;

enum Files {
    Dir(PathBuf),
    Memory(Mutex<HashMap<String, Arc<Vec<u8>>>>),
}

struct State {
    files: Files,
    scripts: Mutex<HashMap<String, Script>>,
    attack: Mutex<Option<Attack>>,
    log: Mutex<Vec<Seen>>,
    sent_bytes: AtomicU64,
    connections: AtomicUsize,
    stop: AtomicBool,
    door: Door,
    address: SocketAddr,
}

#[derive(Default)]
struct Script {
    queue: VecDeque<Fault>,
    then: Option<Fault>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread of the server panics with a lock held")
}

impl Hostile {
    /// Serves the files below `root`.
    pub fn dir(root: &Path) -> Self {
        Self::start(Files::Dir(root.into()))
    }

    /// Serves these files.
    pub fn files(files: &[(&str, &[u8])]) -> Self {
        let files = files.iter().map(|(name, bytes)| ((*name).to_owned(), Arc::new(bytes.to_vec())));
        Self::start(Files::Memory(Mutex::new(files.collect())))
    }

    fn start(files: Files) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let state = Arc::new(State {
            files,
            scripts: Mutex::default(),
            attack: Mutex::default(),
            log: Mutex::default(),
            sent_bytes: AtomicU64::new(0),
            connections: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            door: Door::default(),
            address,
        });
        let shared = state.clone();
        let acceptor = thread::spawn(move || {
            shared.door.keep(listener, |stream| {
                let (shared, number) = (shared.clone(), shared.connections.fetch_add(1, Ordering::Relaxed));
                thread::spawn(move || shared.converse(stream, number));
            });
        });
        Self { address, state, acceptor: Some(acceptor) }
    }

    /// Address of the site, with a final slash.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// The next requests for `path` meet these faults, one each.
    pub fn script(&self, path: &str, faults: impl IntoIterator<Item = Fault>) {
        lock(&self.state.scripts).entry(path.into()).or_default().queue.extend(faults);
    }

    /// Requests for `path` meet this fault when the script has ended.
    pub fn always(&self, path: &str, fault: Fault) {
        lock(&self.state.scripts).entry(path.into()).or_default().then = Some(fault);
    }

    /// Every request that no script covers is answered as `attack` says.
    pub fn attack(&self, attack: Attack) {
        *lock(&self.state.attack) = Some(attack);
    }

    /// Forgets all scripts and the attack.
    pub fn behave(&self) {
        lock(&self.state.scripts).clear();
        *lock(&self.state.attack) = None;
        self.come_back();
    }

    /// Takes connections again after [`Fault::Vanish`].
    pub fn come_back(&self) {
        self.state.door.open();
    }

    /// Replaces or adds a file of a server that holds its files in memory.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        match &self.state.files {
            Files::Memory(files) => lock(files).insert(name.into(), Arc::new(bytes.to_vec())),
            Files::Dir(_) => panic!("write into the directory instead"),
        };
    }

    /// All requests so far.
    pub fn log(&self) -> Vec<Seen> {
        lock(&self.state.log).clone()
    }

    /// The ranges asked for at `path`, in order; an empty one for each request without.
    pub fn ranges(&self, path: &str) -> Vec<String> {
        self.log().into_iter().filter(|seen| seen.path == path).map(|seen| seen.range).collect()
    }

    /// Number of requests so far.
    pub fn requests(&self) -> usize {
        lock(&self.state.log).len()
    }

    /// Number of connections so far.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// Bytes of bodies handed to the network so far; some may never have arrived.
    pub fn sent_bytes(&self) -> u64 {
        self.state.sent_bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
        self.state.door.end(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

/// What is about to be sent.
struct Answer {
    status: u16,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

/// Whether the connection stays open.
type Open = io::Result<bool>;

impl State {
    fn converse(&self, mut stream: TcpStream, connection: usize) {
        let _ = stream.set_nodelay(true);
        let mut buffer = Vec::new();
        while let Some((seen, reset)) = self.receive(&mut stream, &mut buffer, connection) {
            match self.answer(&mut stream, &seen, reset) {
                Ok(true) => {}
                _ => break,
            }
        }
        // Closing with bytes unread is what makes a reset.
        if buffer.is_empty() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Reads one request. The last byte of one that is to end in a reset is left in the socket.
    fn receive(&self, stream: &mut TcpStream, buffer: &mut Vec<u8>, connection: usize) -> Option<(Seen, Fault)> {
        let mut chunk = [0; 16 << 10];
        loop {
            let peeked = stream.peek(&mut chunk).ok().filter(|n| *n > 0)?;
            let mut all = buffer.clone();
            all.extend_from_slice(&chunk[..peeked]);
            let Some(end) = all.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4) else {
                stream.read_exact(&mut chunk[..peeked]).ok()?;
                *buffer = all;
                continue;
            };
            let seen = parse(&String::from_utf8_lossy(&all[..end]), connection)?;
            let fault = self.next_fault(&seen.path);
            let mut rest = end - buffer.len();
            buffer.clear();
            if matches!(fault, Fault::ResetAfter(_)) {
                rest -= 1;
                buffer.push(0);
            }
            stream.read_exact(&mut chunk[..rest]).ok()?;
            lock(&self.log).push(seen.clone());
            return Some((seen, fault));
        }
    }

    fn next_fault(&self, path: &str) -> Fault {
        let mut scripts = lock(&self.scripts);
        let key = if scripts.contains_key(path) { path } else { "*" };
        let Some(script) = scripts.get_mut(key) else {
            return lock(&self.attack).as_mut().map_or(Fault::Honest, |attack| attack(path));
        };
        script.queue.pop_front().or_else(|| script.then.clone()).unwrap_or(Fault::Honest)
    }

    fn file(&self, path: &str) -> Option<Vec<u8>> {
        match &self.files {
            Files::Dir(root) => std::fs::read(root.join(path)).ok(),
            Files::Memory(files) => lock(files).get(path).map(|bytes| bytes.to_vec()),
        }
    }

    fn answer(&self, stream: &mut TcpStream, seen: &Seen, fault: Fault) -> Open {
        let mut file = self.file(&seen.path);
        if let (Fault::Flip(at), Some(bytes)) = (&fault, &mut file)
            && let Some(byte) = bytes.get_mut(*at)
        {
            *byte ^= 0x20;
        }
        if let Fault::Other(bytes) = &fault {
            file = Some(bytes.clone());
        }
        let whole = matches!(fault, Fault::IgnoreRange);
        let range = if whole { "" } else { &seen.range };
        let mut answer = static_answer(file.as_deref(), range);
        match fault {
            Fault::Honest | Fault::Flip(_) | Fault::Other(_) | Fault::IgnoreRange => self.send(stream, &answer),
            Fault::CutAfter(n) | Fault::ResetAfter(n) => {
                self.head(stream, &answer, true)?;
                self.body(stream, cut(&answer.body, n))?;
                Ok(false)
            }
            Fault::CloseAfter(n) => {
                self.head(stream, &answer, false)?;
                self.body(stream, cut(&answer.body, n))?;
                Ok(false)
            }
            Fault::Longer(n) => {
                answer.body.extend(std::iter::repeat_n(b'+', n));
                self.send(stream, &answer)
            }
            Fault::Trailing(n) => {
                self.send(stream, &answer)?;
                self.body(stream, &vec![b'+'; n])?;
                Ok(true)
            }
            Fault::ContentLength(text) => {
                answer.fields.push(("Content-Length".into(), text.into()));
                self.head(stream, &answer, false)?;
                self.body(stream, &answer.body)?;
                Ok(false)
            }
            Fault::StallBeforeHead => self.stall(stream),
            Fault::StallAfter(n) => {
                self.head(stream, &answer, true)?;
                self.body(stream, cut(&answer.body, n))?;
                self.stall(stream)
            }
            Fault::Trickle { bytes, pause } => self.trickle(stream, &answer, bytes, pause),
            Fault::ContentRange(text) => {
                answer.status = 206;
                answer.fields.retain(|(name, _)| name != "Content-Range");
                answer.fields.push(("Content-Range".into(), text.into()));
                self.send(stream, &answer)
            }
            Fault::LaterPart(n) => {
                let first = seen.range.trim_start_matches("bytes=").split('-').next().unwrap_or("0");
                let first = first.parse::<usize>().unwrap_or(0) + n;
                self.send(stream, &static_answer(file.as_deref(), &format!("bytes={first}-")))
            }
            other => self.foreign_answer(stream, answer, other),
        }
    }

    /// The answers that have little to do with the file.
    fn foreign_answer(&self, stream: &mut TcpStream, mut answer: Answer, fault: Fault) -> Open {
        match fault {
            Fault::Status(status) => self.send(stream, &plain_answer(status, Vec::new())),
            Fault::StatusWith(status, fields) => self.send(stream, &plain_answer(status, fields)),
            Fault::Redirect(to) => self.send(stream, &plain_answer(302, vec![("Location", to)])),
            Fault::WebPage => {
                let mut page = plain_answer(200, vec![("Content-Type", "text/html".into())]);
                page.body = b"\n<!DOCTYPE html>\n<title>Welcome to our network</title>\n".to_vec();
                self.send(stream, &page)
            }
            Fault::Endless => {
                self.head(stream, &Answer { status: 200, fields: Vec::new(), body: Vec::new() }, false)?;
                let junk = [b'z'; 8 << 10];
                while !self.stop.load(Ordering::Relaxed) {
                    self.body(stream, &junk)?;
                }
                Ok(false)
            }
            Fault::Header(name, value) => {
                answer.fields.push((name.into(), value));
                self.send(stream, &answer)
            }
            Fault::Chunked { size, cut } => self.chunked(stream, answer, size, cut),
            Fault::Raw(bytes) => {
                stream.write_all(&bytes)?;
                Ok(false)
            }
            Fault::Vanish => {
                self.door.shut(self.address);
                Ok(false)
            }
            _ => self.send(stream, &answer),
        }
    }

    fn send(&self, stream: &mut TcpStream, answer: &Answer) -> Open {
        self.head(stream, answer, true)?;
        self.body(stream, &answer.body)?;
        Ok(true)
    }

    fn head(&self, stream: &mut TcpStream, answer: &Answer, with_length: bool) -> io::Result<()> {
        let mut text = format!("HTTP/1.1 {} Answer\r\n", answer.status);
        if with_length {
            text.push_str(&format!("Content-Length: {}\r\n", answer.body.len()));
        }
        for (name, value) in &answer.fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        stream.write_all(text.as_bytes())
    }

    fn body(&self, stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
        for chunk in bytes.chunks(16 << 10) {
            // Counted first, so that who has the bytes finds them counted.
            self.sent_bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            stream.write_all(chunk)?;
        }
        Ok(())
    }

    fn trickle(&self, stream: &mut TcpStream, answer: &Answer, bytes: usize, pause: Duration) -> Open {
        self.head(stream, answer, true)?;
        for chunk in answer.body.chunks(bytes) {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            self.body(stream, chunk)?;
            thread::sleep(pause);
        }
        Ok(true)
    }

    fn chunked(&self, stream: &mut TcpStream, mut answer: Answer, size: usize, cut: Option<usize>) -> Open {
        answer.fields.push(("Transfer-Encoding".into(), "chunked".into()));
        self.head(stream, &answer, false)?;
        let mut sent = 0;
        for chunk in answer.body.chunks(size) {
            stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes())?;
            if let Some(left) = cut.map(|cut| cut - sent).filter(|left| *left < chunk.len()) {
                self.body(stream, &chunk[..left])?;
                return Ok(false);
            }
            self.body(stream, chunk)?;
            stream.write_all(b"\r\n")?;
            sent += chunk.len();
        }
        stream.write_all(b"0\r\nX-Trailer: ignored\r\n\r\n")?;
        Ok(true)
    }

    /// Holds the connection open until the client leaves or the server stops.
    fn stall(&self, stream: &mut TcpStream) -> Open {
        stream.set_read_timeout(Some(Duration::from_millis(10)))?;
        let mut byte = [0];
        while !self.stop.load(Ordering::Relaxed) {
            match stream.peek(&mut byte) {
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                _ => break,
            }
        }
        Ok(false)
    }
}

fn cut(body: &[u8], n: usize) -> &[u8] {
    &body[..n.min(body.len())]
}

fn plain_answer(status: u16, fields: Vec<(&'static str, String)>) -> Answer {
    let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let body = if status == 304 || status == 204 { Vec::new() } else { format!("status {status}\n").into_bytes() };
    Answer { status, fields, body }
}

/// What a static server answers.
fn static_answer(file: Option<&[u8]>, range: &str) -> Answer {
    let Some(file) = file else { return plain_answer(404, Vec::new()) };
    let whole = Answer { status: 200, fields: vec![("Accept-Ranges".into(), "bytes".into())], body: file.to_vec() };
    let Some((first, last)) = range.strip_prefix("bytes=").and_then(|span| span.split_once('-')) else { return whole };
    let Ok(first) = first.parse::<usize>() else { return whole };
    let last = last.parse::<usize>().unwrap_or(usize::MAX).min(file.len().saturating_sub(1));
    if first >= file.len() {
        return plain_answer(416, vec![("Content-Range", format!("bytes */{}", file.len()))]);
    }
    let field = ("Content-Range".into(), format!("bytes {first}-{last}/{}", file.len()));
    Answer { status: 206, fields: vec![field], body: file[first..=last].to_vec() }
}

fn parse(head: &str, connection: usize) -> Option<Seen> {
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?);
    // A client that speaks to a proxy names the whole address.
    let path = target.strip_prefix("http://").and_then(|rest| rest.split_once('/')).map_or(target, |(_, path)| path);
    let fields = lines.filter_map(|line| line.split_once(':'));
    let headers: HashMap<_, _> = fields.map(|(k, v)| (k.to_ascii_lowercase(), v.trim().to_owned())).collect();
    let range = headers.get("range").cloned().unwrap_or_default();
    Some(Seen { connection, method, path: path.trim_start_matches('/').into(), range, headers })
}
