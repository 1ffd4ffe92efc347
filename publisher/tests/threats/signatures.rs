//! How signatures are counted and checked: A15, A16.

use lamplighter_client::format::signed::{PublicKey, SignedDocument};

use super::keys::{publics, signed};
use super::scene::{HEAD, STRANGER, Scene, channel_key};
use crate::Table;

pub(crate) fn cases(table: &mut Table) {
    thresholds(table);
    duplicates(table);
    weak_keys(table);
    other_signatures(table);
}

/// Every multiset of up to six signatures by four keys and a stranger, at every threshold: distinct keys count, no more.
fn thresholds(table: &mut Table) {
    const KEYS: [u8; 4] = [HEAD, 21, 22, 23];
    for threshold in 1..=4u64 {
        table.run("A15", format!("all multisets of up to six signatures, threshold {threshold}"), move || {
            let mut seen = 0;
            let mut multisets: Vec<Vec<u8>> = vec![Vec::new()];
            for _ in 0..6 {
                let more = multisets.iter().flat_map(|set| {
                    let last = set.last().copied().unwrap_or(0);
                    let next = KEYS.into_iter().chain([STRANGER + 90]).filter(move |key| *key >= last);
                    next.map(|key| [&set[..], &[key]].concat())
                });
                let longest = multisets.iter().map(Vec::len).max().unwrap_or(0);
                let more: Vec<_> = more.filter(|set| set.len() > longest).collect();
                multisets.extend(more);
            }
            let role = lamplighter_client::format::root::Role { threshold, keys: publics(&KEYS) };
            for set in multisets.iter().filter(|set| !set.is_empty()) {
                let document = SignedDocument::split(&signed(b"lamplighter-x,1\nend\n".to_vec(), set), 1 << 14);
                let document = document.map_err(|e| e.to_string())?;
                let distinct = KEYS.iter().filter(|key| set.contains(key)).count() as u64;
                if role.accepts(&document) != (distinct >= threshold) {
                    return Err(format!("{set:?} with {distinct} distinct keys"));
                }
                seen += 1;
            }
            // All multisets of one to six out of five.
            if seen == 461 { Ok(()) } else { Err(format!("{seen} multisets")) }
        });
    }
    let two_of_two = |s: &mut Scene| {
        s.first.channel = vec![channel_key(HEAD, "*"), channel_key(21, "*")];
        s.first.channel_threshold = 2;
    };
    for (name, signers, expected) in [
        ("both of two", &[HEAD, 21][..], "offer"),
        ("in the other order", &[21, HEAD], "offer"),
        ("one of two", &[HEAD], "E_SIGNATURE"),
        ("one of two, twice", &[HEAD, HEAD], "E_SIGNATURE"),
        ("one of two and a stranger", &[HEAD, STRANGER], "E_SIGNATURE"),
        ("both and a stranger", &[STRANGER, HEAD, 21], "offer"),
    ] {
        table.expect("A15", format!("a head with {name}"), expected, move || {
            Scene::with(|s| {
                two_of_two(s);
                s.head_signers = signers.to_vec();
            })
            .outcome()
        });
    }
}

fn duplicates(table: &mut Table) {
    table.expect("A15", "a root that lists one key twice", "E_DOCUMENT", || {
        Scene::with(|s| s.rotate(&[1], |root| root.root.keys = publics(&[1, 1]))).outcome()
    });
    table.expect("A15", "a root that lists one key under two ids", "E_DOCUMENT", || {
        Scene::with(|s| {
            s.rotate(&[1], |root| {
                let key = root.root.keys[0].clone();
                let alias = PublicKey::new([77; 8], key.as_bytes()).expect("a key");
                root.root.keys = vec![key, alias];
                root.root.threshold = 2;
            });
        })
        .outcome()
    });
    table.holds("A15", "thirty-three signatures are too many", || {
        SignedDocument::split(&signed(b"x,1\nend\n".to_vec(), &[1; 33]), 1 << 20).is_err()
    });
    table.holds("A15", "thirty-two are not", || {
        SignedDocument::split(&signed(b"x,1\nend\n".to_vec(), &[1; 32]), 1 << 20).is_ok()
    });
}

/// The eight points of small order in their canonical encodings, and those that are not canonical.
fn weak_keys(table: &mut Table) {
    const SMALL_ORDER: [&str; 14] = [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    for hex in SMALL_ORDER {
        table.holds("A16", format!("the weak key {}…{}", &hex[..4], &hex[60..]), move || {
            let bytes: [u8; 32] =
                std::array::from_fn(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hexadecimal"));
            PublicKey::new([1; 8], &bytes).is_err()
        });
    }
}

fn other_signatures(table: &mut Table) {
    /// Where a signature's parts begin in the 74 bytes of its first line: algorithm, key id, R, S.
    fn altered(change: fn(&mut [u8])) -> Scene {
        use base64::prelude::{BASE64_STANDARD, Engine};
        Scene::with(|s| {
            let text = String::from_utf8(s.head_bytes()).expect("text");
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            let at = lines.iter().position(|line| line.starts_with("untrusted")).expect("a signature") + 1;
            let mut bytes = BASE64_STANDARD.decode(&lines[at]).expect("base64");
            change(&mut bytes);
            lines[at] = BASE64_STANDARD.encode(&bytes);
            s.served_head = Some((lines.join("\n") + "\n").into_bytes());
        })
    }
    let mut case = |name: &str, expected: &str, change: fn(&mut [u8])| {
        table.expect("A16", name, expected, move || altered(change).outcome());
    };
    case("unaltered", "offer", |_| {});
    case("a legacy signature", "E_SIGNATURE_FORM", |bytes| bytes[1] = b'd');
    case("an unknown algorithm", "E_SIGNATURE_FORM", |bytes| bytes[0] = b'X');
    case("another key id", "E_SIGNATURE", |bytes| bytes[2] ^= 1);
    case("S plus the order of the group", "E_SIGNATURE", |bytes| {
        const ORDER: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let mut carry = 0;
        for (digit, order) in bytes[42..74].iter_mut().zip(ORDER) {
            let sum = u16::from(*digit) + u16::from(order) + carry;
            (*digit, carry) = (sum as u8, sum >> 8);
        }
    });
    case("S zero", "E_SIGNATURE", |bytes| bytes[42..74].fill(0));
    case("R zero", "E_SIGNATURE", |bytes| bytes[10..42].fill(0));
    case("R of small order and S zero", "E_SIGNATURE", |bytes| {
        bytes[10..74].fill(0);
        bytes[10] = 1;
    });
    case("all ones", "E_SIGNATURE", |bytes| bytes[10..74].fill(0xff));
    table.expect("A16", "the digest of a body as a body", "E_NOT_OURS", || {
        Scene::with(|s| {
            let text = s.head_bytes();
            let end = text.windows(5).position(|w| w == b"\nend\n").expect("an end") + 5;
            let digest = lamplighter_client::format::signed::message_digest(&text[..end]);
            s.served_head = Some([&digest[..], &text[end..]].concat());
        })
        .outcome()
    });
    table.expect("A16", "another trusted comment", "E_SIGNATURE", || {
        Scene::with(|s| {
            let text = String::from_utf8(s.head_bytes()).expect("text");
            s.served_head = Some(text.replace("trusted comment: test", "trusted comment: tess").into_bytes());
        })
        .outcome()
    });
}
