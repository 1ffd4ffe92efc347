//! What bytes may be: A3, A9, A20, A21.

use lamplighter_client::format::digest::Blake3;
use lamplighter_client::format::head::HEAD_BYTES_MAX;
use lamplighter_client::format::manifest::Manifest;
use lamplighter_client::format::objects::ObjectsIndex;
use lamplighter_client::format::release::RELEASE_BYTES_MAX;
use lamplighter_client::format::root::{ROOT_BYTES_MAX, Root};
use lamplighter_client::format::signed::SignedDocument;
use lamplighter_client::format::text::NUMBER_MAX;
use lamplighter_client::trust::ROOTS_MAX;

use super::keys::signed;
use super::scene::{HEAD, RELEASE, ROOT, Scene};
use crate::Table;

pub(crate) fn cases(table: &mut Table) {
    uncovered(table);
    endless(table);
    digests(table);
    documents(table);
    manifests(table);
}

/// The head's body with `old` replaced by `new`, signed by the right key.
fn head_with(old: &str, new: &str) -> String {
    outcome_of(|body| {
        let changed = body.replacen(old, new, 1);
        assert_ne!(changed, body, "{old:?} stands in the head");
        changed.into_bytes()
    })
}

fn outcome_of(change: impl FnOnce(&str) -> Vec<u8>) -> String {
    Scene::with(|s| {
        let body = SignedDocument::split(&s.head_bytes(), HEAD_BYTES_MAX).expect("signed").body;
        s.served_head = Some(signed(change(std::str::from_utf8(&body).expect("text")), &[HEAD]));
    })
    .outcome()
}

fn uncovered(table: &mut Table) {
    let row = "A3";
    for (name, more) in [("a line feed", "\n"), ("a line", "more\n"), ("a zero byte", "\0"), ("another body", "end\n")]
    {
        table.holds(row, format!("a head followed by {name}"), move || {
            let outcome =
                Scene::with(|s| s.served_head = Some([&s.head_bytes()[..], more.as_bytes()].concat())).outcome();
            outcome.starts_with("E_")
        });
        table.holds(row, format!("a release followed by {name}"), move || {
            let outcome = Scene::with(|s| s.served_release = Some([&s.release_bytes()[..], more.as_bytes()].concat()));
            outcome.outcome().starts_with("E_")
        });
    }
    table.expect(row, "records between end and the signatures", "E_SIGNATURE_FORM", || {
        Scene::with(|s| {
            let text = String::from_utf8(s.head_bytes()).expect("text");
            s.served_head = Some(text.replacen("\nend\n", "\nend\nhalt,*\n", 1).into_bytes());
        })
        .outcome()
    });
    table.expect(row, "records after a first end, signed", "E_SIGNATURE_FORM", || {
        head_with("\nend\n", "\nend\nhalt,*\nend\n")
    });
    let header = "filename,crc32,crc32_reversed,size,blake3,mode,link,policy\n";
    let row_of = |name: &str, size: u64| format!("{name},0,0,{size},{},0644,,\n", Blake3::of(b""));
    table.holds(row, "sizes of 5 GiB are sizes", {
        let text = format!("{header}{}", row_of("a", 5 << 30));
        move || Manifest::parse(text.as_bytes()).is_ok_and(|m| m.content_bytes() == 5 << 30)
    });
    table.holds(row, "sizes beyond numbers are none", {
        let text = format!("{header}{}", row_of("a", NUMBER_MAX + 1));
        move || Manifest::parse(text.as_bytes()).is_err()
    });
    table.holds(row, "sizes whose sum runs over are none", {
        let rows: String = (0..3000).map(|n| row_of(&format!("{n:04}"), NUMBER_MAX)).collect();
        move || Manifest::parse(format!("{header}{rows}").as_bytes()).is_err()
    });
    table.holds(row, "objects that cover less than the manifest", {
        let text = format!("{header}{}", row_of("a", 10));
        move || {
            let manifest = Manifest::parse(text.as_bytes()).expect("a manifest");
            let index = format!("lamplighter-objects,1\nobject,{},10,5\nrow,0,0,5\n", Blake3::of(b"x"));
            ObjectsIndex::parse(index.as_bytes(), &manifest).is_err()
        }
    });
}

fn endless(table: &mut Table) {
    let row = "A9";
    // Keys nobody knows are read over, so a document can be made of any length.
    fn padded(body: Vec<u8>, signer: u8, length: u64) -> Vec<u8> {
        let text = String::from_utf8(body).expect("text");
        let empty = signed(text.replace("\nend\n", "\nx,\nend\n").into_bytes(), &[signer]).len() as u64;
        let padding = "x".repeat((length - empty) as usize);
        let bytes = signed(text.replace("\nend\n", &format!("\nx,{padding}\nend\n")).into_bytes(), &[signer]);
        assert_eq!(bytes.len() as u64, length);
        bytes
    }
    for (more, expected) in [(0, "offer"), (1, "E_NOT_OURS")] {
        table.expect(row, format!("a head of its greatest length and {more}"), expected, move || {
            Scene::with(|s| {
                s.head.releases = vec![s.row()];
                s.served_head = Some(padded(s.head.to_body(), HEAD, HEAD_BYTES_MAX + more));
            })
            .outcome()
        });
        table.expect(row, format!("a release of its greatest length and {more}"), expected, move || {
            Scene::with(|s| {
                s.served_release = Some(padded(s.release.to_body(), RELEASE, RELEASE_BYTES_MAX + more));
            })
            .outcome()
        });
        table.holds(row, format!("a root of its greatest length and {more}"), move || {
            let bytes = padded(Scene::new().first.to_body(), ROOT, ROOT_BYTES_MAX + more);
            let split = SignedDocument::split(&bytes, ROOT_BYTES_MAX);
            split.is_ok_and(|document| Root::parse(&document.body).is_ok()) == (more == 0)
        });
    }
    for (count, expected) in [(ROOTS_MAX, "offer"), (ROOTS_MAX + 1, "E_ROOT_CHAIN")] {
        table.expect(row, format!("a chain of {count} roots after the first"), expected, move || {
            Scene::with(|s| (0..count).for_each(|_| s.rotate(&[ROOT], |_| {}))).outcome()
        });
    }
}

fn digests(table: &mut Table) {
    let right = "0123456789abcdef".repeat(4);
    for length in 0..=130usize {
        let text: String = right.chars().cycle().take(length).collect();
        table.holds("A20", format!("a digest of {length} digits"), move || {
            text.parse::<Blake3>().is_ok() == (length == 64)
        });
    }
    for (name, bad) in [
        ("uppercase", right.to_uppercase()),
        ("one uppercase digit", right.replacen('a', "A", 1)),
        ("a space before", format!(" {}", &right[1..])),
        ("a space after", format!("{} ", &right[1..])),
        ("0x before", format!("0x{}", &right[2..])),
        ("a sign", format!("+{}", &right[1..])),
        ("a letter beyond f", right.replacen('f', "g", 1)),
        ("full-width digits", right.replacen('0', "\u{ff10}", 1)),
        ("a zero byte", right.replacen('0', "\0", 1)),
        ("an algorithm before", format!("blake3:{right}")),
    ] {
        let whole = bad.clone();
        table.holds("A20", format!("a digest with {name}"), move || whole.parse::<Blake3>().is_err());
        table.holds("A20", format!("a digest with {name} in a signed head"), move || {
            outcome_of(|body| {
                let digest = body.split([',', '\n']).find(|cell| cell.len() == 64).expect("a digest").to_owned();
                body.replace(&digest, &bad).into_bytes()
            })
            .starts_with("E_DOCUMENT")
        });
    }
}

fn documents(table: &mut Table) {
    let row = "A21";
    for (name, old, new) in [
        ("CR before LF", "\n", "\r\n"),
        ("a lone CR", "app,", "app,\r"),
        ("a zero byte", "app,", "app,\0"),
        ("a byte order mark", "lamplighter-head", "\u{feff}lamplighter-head"),
        ("an escape", "app,", "app,\u{1b}[2J"),
        ("DEL", "app,", "app,\u{7f}"),
        ("a bell", "app,", "app,\u{7}"),
        ("an empty line", "\nchannel", "\n\nchannel"),
        ("an empty line at the end", "\nend\n", "\n\nend\n"),
        ("a key twice", "\nchannel,stable\n", "\nchannel,stable\nchannel,stable\n"),
        ("a sequence twice", "\nsequence,20\n", "\nsequence,20\nsequence,21\n"),
        ("a number with a sign", "sequence,20", "sequence,+20"),
        ("a number with a leading zero", "sequence,20", "sequence,020"),
        ("a number with a space", "sequence,20", "sequence, 20"),
        ("a negative number", "sequence,20", "sequence,-20"),
        ("a fraction", "sequence,20", "sequence,20.0"),
        ("an exponent", "sequence,20", "sequence,2e1"),
        ("hexadecimal", "sequence,20", "sequence,0x14"),
        ("no number", "sequence,20", "sequence,"),
        ("full-width digits", "sequence,20", "sequence,\u{ff12}\u{ff10}"),
        ("2^64", "sequence,20", "sequence,18446744073709551616"),
        ("a time without zone", "T", " "),
        ("a key left out", "channel,stable\n", ""),
        ("needless quotes", "channel,stable", "channel,\"stable\""),
        ("an open quote", "channel,stable", "channel,\"stable"),
        ("a formula", "app,org.example.app", "app,=cmd|calc"),
        ("a platform in capitals", "linux-x86_64", "Linux-x86_64"),
        ("a platform with a slash", "linux-x86_64", "../x"),
        ("text that is not NFC", "1.0", "e\u{301}"),
        ("a bidirectional override", "1.0", "1\u{202e}0"),
        ("another type", "lamplighter-head", "lamplighter-root"),
    ] {
        table.holds(row, format!("a head with {name}"), move || {
            let outcome = head_with(old, new);
            matches!(outcome.as_str(), "E_DOCUMENT" | "E_NOT_OURS" | "E_SIGNATURE_FORM") || {
                println!("{name}: {outcome}");
                false
            }
        });
    }
    table.expect(row, "bytes that are not UTF-8", "E_NOT_OURS", || {
        Scene::with(|s| {
            let mut bytes = s.head_bytes();
            bytes[25] = 0xff;
            s.served_head = Some(bytes);
        })
        .outcome()
    });
    table.expect(row, "an unknown key is read over", "offer", || head_with("\nchannel", "\nlater,what\nchannel"));
    table.expect(row, "unknown cells are read over", "offer", || head_with("sequence,20", "sequence,20,more"));
    table.expect(row, "a later version of the format", "E_CLIENT_TOO_OLD", || {
        head_with("lamplighter-head,1", "lamplighter-head,2")
    });
    table.expect(row, "a key this client must know", "E_CLIENT_TOO_OLD", || {
        head_with("\nchannel", "\n!later,what\nchannel")
    });
}

fn manifests(table: &mut Table) {
    let empty = Blake3::of(b"").to_string();
    let row = format!("a.txt,0,0,0,{empty},0644,,\n");
    let header = "filename,crc32,crc32_reversed,size,blake3,mode,link,policy\n";
    let good = format!("{header}{row}");
    let mut bad = |name: &str, text: String| {
        table.holds("A21", format!("a manifest with {name}"), move || Manifest::parse(text.as_bytes()).is_err());
    };
    bad("a CR", good.replace('\n', "\r\n"));
    bad("a byte order mark", format!("\u{feff}{good}"));
    bad("no header", row.clone());
    bad("another header", good.replace("crc32_reversed", "crc"));
    bad("nothing at all", String::new());
    bad("rows out of order", format!("{header}{}{row}", row.replace("a.txt", "b.txt")));
    bad("a row twice", format!("{good}{row}"));
    bad("a cell too few", good.replace(",0644,,", ",0644,"));
    bad("no line feed at the end", good.trim_end().to_owned());
    bad("a checksum above 32 bits", good.replace("a.txt,0,", "a.txt,4294967296,"));
    bad("a negative checksum", good.replace("a.txt,0,", "a.txt,-1,"));
    bad("a size with a leading zero", good.replace(",0,0,0,", ",0,0,00,"));
    bad("an unknown policy", good.replace("0644,,", "0644,,delete"));
    bad("keep on a directory", good.replace("0644,,", "dir,,keep"));
    bad("a destination for a file", good.replace("0644,,", "0644,b,"));
    bad("a column this client must know", good.replace("policy\n", "policy,!acl\n").replace(",,\n", ",,,x\n"));
    bad("needless quotes", good.replace("a.txt", "\"a.txt\""));
    bad("a directory with content", good.replace(",0,0,0,", ",0,0,1,").replace("0644", "dir"));
    table.holds("A21", "a manifest with a column that may be read over", {
        let text = good.replace("policy\n", "policy,owner\n").replace(",,\n", ",,,x\n");
        move || Manifest::parse(text.as_bytes()).is_ok()
    });
    table.holds("A21", "the manifest they are made from", move || Manifest::parse(good.as_bytes()).is_ok());
}
