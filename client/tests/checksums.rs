//! The CRC pair against an implementation that is not ours.
//!
//! Not on Windows: wine starts no python3 of the host, and nothing here depends on the system.
#![cfg(not(windows))]

use std::io::Write;
use std::process::{Command, Stdio};

use lamplighter_client::format::digest::{ContentDigest, ContentDigester};

/// Prints the CRC-32 of each file named on its input, forwards and of the bytes reversed.
const PYTHON: &str = "
import sys, zlib
for name in sys.stdin.read().splitlines():
    with open(name, 'rb') as file:
        content = file.read()
    print(zlib.crc32(content), zlib.crc32(content[::-1]))
";

/// Python is what the tests need beside the toolchain; without it this fails.
fn crcs_by_python(names: &str) -> Vec<(u32, u32)> {
    let mut python = Command::new("python3")
        .args(["-c", PYTHON])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is needed by this test and starts");
    python.stdin.take().expect("piped").write_all(names.as_bytes()).expect("python reads its input");
    let output = python.wait_with_output().expect("python ends");
    assert!(output.status.success(), "python: {}", output.status);
    let text = String::from_utf8(output.stdout).expect("decimal numbers");
    let pair = |line: &str| {
        let (forward, reversed) = line.split_once(' ').expect("two numbers a line");
        (forward.parse().expect("a CRC"), reversed.parse().expect("a CRC"))
    };
    text.lines().map(pair).collect()
}

/// Bytes made from `seed`, other ones for each `number`.
fn random(seed: u64, number: usize, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let key = [seed, number as u64].map(u64::to_le_bytes).concat();
    blake3::Hasher::new().update(&key).finalize_xof().fill(&mut bytes);
    bytes
}

#[test]
fn the_crc_pair_of_random_contents_is_what_pythons_zlib_finds() {
    let seed = getrandom::u64().expect("a seed");
    let dir = tempfile::tempdir().expect("a directory");
    let around = |n: usize| [n - 1, n, n + 1];
    let mut lengths: Vec<usize> = (0..=64).collect();
    lengths.extend([128, 4096, 65_536, 256 << 10, 1 << 20].into_iter().flat_map(around));
    lengths.extend((0..100).map(|n| usize::from(u16::from_le_bytes([random(seed, n, 2)[0], random(seed, n, 2)[1]]))));
    let contents: Vec<Vec<u8>> = lengths.iter().enumerate().map(|(n, length)| random(seed, n, *length)).collect();
    let mut names = String::new();
    for (number, content) in contents.iter().enumerate() {
        let path = dir.path().join(number.to_string());
        std::fs::write(&path, content).expect("written");
        names.push_str(&format!("{}\n", path.display()));
    }
    let expected = crcs_by_python(&names);
    assert_eq!(expected.len(), contents.len());
    for (number, (content, expected)) in contents.iter().zip(expected).enumerate() {
        let whole = ContentDigest::of(content);
        assert_eq!((whole.crc.forward, whole.crc.reversed), expected, "seed {seed}, {} bytes", content.len());
        let mut digester = ContentDigester::new();
        let chunk = 1 + usize::from(random(seed, number, 1)[0]) * (1 + content.len() / 500);
        content.chunks(chunk).for_each(|chunk| digester.update(chunk));
        assert_eq!(digester.finish(), whole, "seed {seed}, {} bytes by {chunk}", content.len());
    }
}
