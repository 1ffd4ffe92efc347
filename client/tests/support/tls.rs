//! A server over TLS that answers every request with the same file, with a certificate of one's choice.

// Test programs of both crates take what they need.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// The authority of all the certificates here.
pub const CA: &[u8] = include_bytes!("tls/ca.der");
/// For 127.0.0.1.
pub const GOOD: &[u8] = include_bytes!("tls/good.der");
/// For example.org.
pub const ELSEWHERE: &[u8] = include_bytes!("tls/elsewhere.der");
/// For 127.0.0.1, and over.
pub const EXPIRED: &[u8] = include_bytes!("tls/expired.der");
const KEY: &[u8] = include_bytes!("tls/leaf.key");

/// Serves `file` until the program ends, and says where.
pub fn serve(certificate: &'static [u8], file: &'static [u8]) -> SocketAddr {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(KEY));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(certificate)], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = ServerConnection::new(config.clone()).unwrap();
            thread::spawn(move || answer(StreamOwned::new(connection, stream), file));
        }
    });
    address
}

fn answer(stream: StreamOwned<ServerConnection, TcpStream>, file: &[u8]) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let stream = reader.get_mut();
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", file.len())?;
    stream.write_all(file)?;
    stream.conn.send_close_notify();
    stream.flush()
}
