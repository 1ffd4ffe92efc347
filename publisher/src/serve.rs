//! A small static file server for trying a site on one machine; a real site needs nothing of it.
//!
//! GET and HEAD, one `Range`, keep-alive, a thread a connection. It lists no directory, follows no link out of the site,
//! and hands out no name with a component that begins with a dot. Cache headers are those a real server should send: all
//! is immutable but heads and the page for people.

mod request;

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use request::{Method, RangeReply, Request, RequestError};

use crate::delivery::{cache_control, content_type};
use crate::error::Class;

const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECTIONS_MAX: usize = 256;
const DRAIN_BYTES_MAX: u64 = 256 << 10;

/// Why a site cannot be served.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ServeError {
    #[error("cannot listen on {address}: {source}")]
    Listen { address: String, source: io::Error },
    #[error("cannot read the site {}: {source}", dir.display())]
    Site { dir: PathBuf, source: io::Error },
}

impl ServeError {
    /// The class it belongs to.
    pub fn class(&self) -> Class {
        match self {
            ServeError::Listen { .. } => Class::Usage,
            ServeError::Site { .. } => Class::Disk,
        }
    }
}

/// Hears of every answer: method and target, status, bytes of the body.
pub type Log = Arc<dyn Fn(&str, u16, u64) + Send + Sync>;

/// A server that listens already.
pub struct Server {
    listener: TcpListener,
    root: PathBuf,
    log: Log,
}

impl Server {
    /// Listens on `address` for the site at `dir`.
    ///
    /// # Errors
    /// The address is not free; there is no such directory.
    pub fn bind(dir: &Path, address: &str, log: Log) -> Result<Self, ServeError> {
        let root = dir.canonicalize().map_err(|source| ServeError::Site { dir: dir.to_owned(), source })?;
        let listener =
            TcpListener::bind(address).map_err(|source| ServeError::Listen { address: address.to_owned(), source })?;
        Ok(Self { listener, root, log })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the process ends.
    pub fn run(self) {
        let busy = Arc::new(AtomicUsize::new(0));
        for stream in self.listener.incoming().flatten() {
            if busy.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
                busy.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let (root, log, busy) = (self.root.clone(), self.log.clone(), busy.clone());
            std::thread::spawn(move || {
                // A client that goes away is no fault of the server.
                let _ = connection(&stream, &root, &log);
                busy.fetch_sub(1, Ordering::Relaxed);
            });
        }
    }
}

fn connection(stream: &TcpStream, root: &Path, log: &Log) -> io::Result<()> {
    stream.set_read_timeout(Some(IDLE_TIMEOUT))?;
    stream.set_write_timeout(Some(IDLE_TIMEOUT))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        let request = match Request::read(&mut reader) {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(()),
            Err(RequestError::Io(error)) => return Err(error),
            Err(RequestError::Refused(status)) => {
                log("-", status, 0);
                Reply::empty(status).send(stream, false, false)?;
                return drain(stream, &mut reader);
            }
        };
        let reply = answer(root, &request);
        log(&request.line, reply.status, reply.length);
        reply.send(stream, request.method == Method::Head, request.keep_alive)?;
        if !request.keep_alive {
            return Ok(());
        }
    }
}

/// Takes in a little of what is still under way: closing before would cost the other side the answer.
fn drain(stream: &TcpStream, reader: &mut impl Read) -> io::Result<()> {
    stream.shutdown(std::net::Shutdown::Write)?;
    io::copy(&mut reader.take(DRAIN_BYTES_MAX), &mut io::sink()).map(|_| ())
}

struct Reply {
    status: u16,
    length: u64,
    headers: Vec<(&'static str, String)>,
    body: Option<File>,
}

impl Reply {
    fn empty(status: u16) -> Self {
        let cache = ("Cache-Control", "no-store".to_owned());
        Self { status, length: 0, headers: vec![cache], body: None }
    }

    fn send(self, mut stream: &TcpStream, head_only: bool, keep_alive: bool) -> io::Result<()> {
        let mut text = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let connection = if keep_alive { "keep-alive" } else { "close" };
        text.push_str(&format!("Content-Length: {}\r\nConnection: {connection}\r\n\r\n", self.length));
        stream.write_all(text.as_bytes())?;
        if let Some(file) = self.body.filter(|_| !head_only) {
            let sent = io::copy(&mut file.take(self.length), &mut stream)?;
            if sent != self.length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        stream.flush()
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        416 => "Range Not Satisfiable",
        431 => "Request Header Fields Too Large",
        _ => "Internal Server Error",
    }
}

fn answer(root: &Path, request: &Request) -> Reply {
    if request.method == Method::Other {
        let mut reply = Reply::empty(405);
        reply.headers.push(("Allow", "GET, HEAD".to_owned()));
        return reply;
    }
    let Some((name, path)) = request.name().and_then(|name| Some((name, locate(root, name)?))) else {
        return Reply::empty(404);
    };
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
    let Ok((length, mut file)) = opened else { return Reply::empty(404) };
    let (status, start, end) = match request.range(length) {
        RangeReply::Whole => (200, 0, length),
        RangeReply::Part(start, end) => (206, start, end),
        RangeReply::Unsatisfiable => {
            let mut reply = Reply::empty(416);
            reply.headers.push(("Content-Range", format!("bytes */{length}")));
            return reply;
        }
    };
    if file.seek(SeekFrom::Start(start)).is_err() {
        return Reply::empty(500);
    }
    let mut headers = vec![
        ("Content-Type", content_type(name).to_owned()),
        ("Cache-Control", cache_control(name).to_owned()),
        ("Accept-Ranges", "bytes".to_owned()),
        ("X-Content-Type-Options", "nosniff".to_owned()),
    ];
    if status == 206 {
        headers.push(("Content-Range", format!("bytes {start}-{}/{length}", end - 1)));
    }
    Reply { status, length: end - start, headers, body: Some(file) }
}

/// The file of this name, if it is one and really lies in the site.
fn locate(root: &Path, name: &str) -> Option<PathBuf> {
    let path = name.split('/').fold(root.to_owned(), |path, part| path.join(part)).canonicalize().ok()?;
    (path.starts_with(root) && path.is_file()).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Site(tempfile::TempDir, SocketAddr);

    fn serve() -> Site {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["channels/stable.head", "objects/ab/abc", ".publisher/lock", "index.html"] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().expect("below")).expect("made");
            std::fs::write(path, name).expect("written");
        }
        let server = Server::bind(dir.path(), "127.0.0.1:0", Arc::new(|_, _, _| {})).expect("free");
        let address = server.address().expect("bound");
        std::thread::spawn(move || server.run());
        Site(dir, address)
    }

    impl Site {
        /// Sends `text` and reads until the server closes.
        fn exchange(&self, text: &str) -> String {
            let mut stream = TcpStream::connect(self.1).expect("connected");
            stream.write_all(text.as_bytes()).expect("sent");
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            String::from_utf8_lossy(&answer).into_owned()
        }

        fn get(&self, target: &str, headers: &str) -> String {
            self.exchange(&format!("GET {target} HTTP/1.1\r\nHost: x\r\n{headers}Connection: close\r\n\r\n"))
        }
    }

    #[test]
    fn files_are_served_with_their_cache_headers() {
        let site = serve();
        let head = site.get("/channels/stable.head", "");
        assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\nchannels/stable.head"), "{head}");
        assert!(head.contains("Cache-Control: no-cache\r\n") && head.contains("Content-Length: 20\r\n"), "{head}");
        assert!(site.get("/objects/ab/abc?x=1", "").contains("immutable"));
        assert!(site.get("/", "").ends_with("index.html"));
        let only_head = site.exchange("HEAD /objects/ab/abc HTTP/1.1\r\nConnection: close\r\n\r\n");
        assert!(only_head.contains("Content-Length: 14") && only_head.ends_with("\r\n\r\n"), "{only_head}");
    }

    #[test]
    fn ranges_are_served_one_at_a_time() {
        let site = serve();
        let ask = |range: &str| site.get("/objects/ab/abc", &format!("Range: bytes={range}\r\n"));
        let part = ask("2-4");
        assert!(part.starts_with("HTTP/1.1 206 ") && part.ends_with("\r\n\r\njec"), "{part}");
        assert!(part.contains("Content-Range: bytes 2-4/14\r\n") && part.contains("Content-Length: 3\r\n"), "{part}");
        assert!(ask("11-").ends_with("\r\n\r\nabc") && ask("-2").ends_with("\r\n\r\nbc"));
        assert!(ask("11-999").ends_with("\r\n\r\nabc"));
        assert!(ask("14-").starts_with("HTTP/1.1 416 ") && ask("14-").contains("bytes */14"));
        for whole in ["0-1,3-4", "x", "5-2", ""] {
            assert!(ask(whole).starts_with("HTTP/1.1 200 "), "{whole}");
        }
    }

    #[test]
    fn nothing_else_is_handed_out() {
        let site = serve();
        std::fs::write(site.0.path().parent().expect("a parent").join("outside"), b"x").expect("written");
        for name in [
            "/objects",
            "/objects/",
            "/objects/ab",
            "/none",
            "/.publisher/lock",
            "/../outside",
            "/objects/../index.html",
            "/%2e%2e/outside",
            "//etc/passwd",
            "/objects\\ab\\abc",
        ] {
            assert!(site.get(name, "").starts_with("HTTP/1.1 404 "), "{name}");
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("/etc/passwd", site.0.path().join("link")).expect("linked");
            assert!(site.get("/link", "").starts_with("HTTP/1.1 404 "));
        }
        assert!(site.exchange("POST / HTTP/1.1\r\nConnection: close\r\n\r\n").starts_with("HTTP/1.1 405 "));
        assert!(site.exchange("hello\r\n\r\n").starts_with("HTTP/1.1 400 "));
        let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(20_000));
        assert!(site.exchange(&long).starts_with("HTTP/1.1 431 "));
    }

    #[test]
    fn a_connection_carries_many_requests() {
        let site = serve();
        let one = "GET /objects/ab/abc HTTP/1.1\r\nHost: x\r\n\r\n";
        let answer = site.exchange(&format!("{one}{one}GET /none HTTP/1.0\r\n\r\n"));
        assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 2);
        assert_eq!(answer.matches("HTTP/1.1 404 ").count(), 1);
    }
}
