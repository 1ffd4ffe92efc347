//! A proxy that passes everything on to one server, whatever host is asked for, and counts.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Runs until the program ends.
pub struct Passing {
    address: SocketAddr,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    plain: AtomicUsize,
    tunnels: AtomicUsize,
}

impl Passing {
    /// A proxy in front of `server`.
    pub fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let counts = Arc::new(Counts::default());
        let shared = counts.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let counts = shared.clone();
                thread::spawn(move || pass(client, server, &counts));
            }
        });
        Self { address, counts }
    }

    /// Its own address, as a client is told it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Connections that carried requests in the open.
    pub fn plain(&self) -> usize {
        self.counts.plain.load(Ordering::Relaxed)
    }

    /// Connections that became a tunnel (`CONNECT`).
    pub fn tunnels(&self) -> usize {
        self.counts.tunnels.load(Ordering::Relaxed)
    }
}

/// Hands on what a client sends, and back what the server says, until one of them has enough.
fn pass(mut client: TcpStream, server: SocketAddr, counts: &Counts) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let mut server = TcpStream::connect(server)?;
    if head.starts_with(b"CONNECT ") {
        counts.tunnels.fetch_add(1, Ordering::Relaxed);
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    } else {
        counts.plain.fetch_add(1, Ordering::Relaxed);
        server.write_all(&head)?;
    }
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
