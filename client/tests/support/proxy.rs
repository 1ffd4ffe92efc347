//! A proxy that passes everything on to one server, whatever host is asked for, and remembers who was asked for. It speaks
//! HTTP in the open, `CONNECT` and SOCKS5 (RFC 1928, RFC 1929), on one port.

// Test programs of both crates take what they need.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// User and password of a proxy that wants them: in the open, and as HTTP writes them.
pub const USER: (&str, &str) = ("me", "pass");
const BASIC: &str = "basic bwu6cgfzcw==";

/// Runs until the program ends.
pub struct Passing {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    server: Mutex<SocketAddr>,
    demanding: bool,
    asked: Mutex<Vec<String>>,
}

impl Passing {
    /// A proxy in front of `server`.
    pub fn to(server: SocketAddr) -> Self {
        Self::start(server, false)
    }

    /// The same, for nobody but [`USER`].
    pub fn demanding(server: SocketAddr) -> Self {
        Self::start(server, true)
    }

    fn start(server: SocketAddr, demanding: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { server: Mutex::new(server), demanding, asked: Mutex::default() });
        let given = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = given.clone();
                thread::spawn(move || shared.pass(client));
            }
        });
        Self { address, shared }
    }

    /// Its own address, as a client is told it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The same for another scheme, with user and password.
    pub fn url_for(&self, scheme: &str, (user, password): (&str, &str)) -> String {
        format!("{scheme}://{user}:{password}@{}", self.address)
    }

    /// From now on connections lead to another server.
    pub fn lead_to(&self, server: SocketAddr) {
        *self.shared.server.lock().unwrap() = server;
    }

    /// What was asked for so far, one line a connection: a way and a host.
    pub fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().unwrap().clone()
    }

    fn count(&self, way: &str) -> usize {
        self.asked().iter().filter(|line| line.starts_with(way)).count()
    }

    /// Connections that carried requests in the open.
    pub fn plain(&self) -> usize {
        self.count("open ")
    }

    /// Connections that became a tunnel (`CONNECT`).
    pub fn tunnels(&self) -> usize {
        self.count("CONNECT ")
    }
}

impl Shared {
    fn ask(&self, line: String) {
        self.asked.lock().unwrap().push(line);
    }

    fn pass(&self, mut client: TcpStream) -> io::Result<()> {
        let mut first = [0];
        client.peek(&mut first)?;
        let to_server = if first == [5] { self.socks(&mut client)? } else { self.http(&mut client)? };
        if let Some(head) = to_server {
            let mut server = TcpStream::connect(*self.server.lock().unwrap())?;
            server.write_all(&head)?;
            exchange(client, server)?;
        }
        Ok(())
    }

    /// Reads the head of a request; gives what of it goes to the server.
    fn http(&self, client: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(byte(client)?);
        }
        let text = String::from_utf8_lossy(&head).into_owned();
        let (method, target) = text.split_once(' ').unwrap_or_default();
        let target = target.split(' ').next().unwrap_or_default();
        if self.demanding && !text.to_ascii_lowercase().contains(&format!("proxy-authorization: {BASIC}")) {
            client.write_all(b"HTTP/1.1 407 x\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n")?;
            return Ok(None);
        }
        if method == "CONNECT" {
            self.ask(format!("CONNECT {target}"));
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
            return Ok(Some(Vec::new()));
        }
        self.ask(format!("open {}", target.split('/').nth(2).unwrap_or_default()));
        Ok(Some(head))
    }

    /// Shakes hands as a SOCKS5 server.
    fn socks(&self, client: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
        byte(client)?;
        let count = byte(client)?;
        let methods = bytes(client, count)?;
        let method = if self.demanding { 2 } else { 0 };
        if !methods.contains(&method) {
            client.write_all(&[5, 0xff])?;
            return Ok(None);
        }
        client.write_all(&[5, method])?;
        if method == 2 {
            byte(client)?;
            let length = byte(client)?;
            let user = bytes(client, length)?;
            let length = byte(client)?;
            let password = bytes(client, length)?;
            let right = (user.as_slice(), password.as_slice()) == (USER.0.as_bytes(), USER.1.as_bytes());
            client.write_all(&[1, u8::from(!right)])?;
            if !right {
                return Ok(None);
            }
        }
        let request = bytes(client, 4)?;
        let host = match request[3] {
            3 => {
                let length = byte(client)?;
                format!("name {}", String::from_utf8_lossy(&bytes(client, length)?))
            }
            1 => {
                let address: [u8; 4] = bytes(client, 4)?.try_into().unwrap();
                format!("address {}", Ipv4Addr::from(address))
            }
            _ => return Ok(None),
        };
        let port = bytes(client, 2)?;
        self.ask(format!("SOCKS5 {host}:{}", u16::from_be_bytes([port[0], port[1]])));
        client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
        Ok(Some(Vec::new()))
    }
}

fn byte(stream: &mut TcpStream) -> io::Result<u8> {
    bytes(stream, 1).map(|bytes| bytes[0])
}

fn bytes(stream: &mut TcpStream, count: u8) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::from(count)];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Hands on what a client sends, and back what the server says, until one of them has enough.
fn exchange(mut client: TcpStream, mut server: TcpStream) -> io::Result<()> {
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    let up = thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    let _ = io::copy(&mut server, &mut client);
    let _ = client.shutdown(Shutdown::Both);
    let _ = up.join();
    Ok(())
}
