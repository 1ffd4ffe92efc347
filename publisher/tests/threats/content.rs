//! Content that is not what it says: B6, B7.

use lamplighter_client::format::digest::Blake3;
use lamplighter_client::format::objects::{self, StoredObject};

use super::frozen::{self, Frozen};
use crate::Table;

pub(crate) fn cases(table: &mut Table) {
    bombs(table);
    patches(table);
}

fn object(stored: &[u8], raw_length: u64) -> StoredObject {
    StoredObject { blake3: Blake3::of(stored), length: stored.len() as u64, raw_length }
}

fn bombs(table: &mut Table) {
    let packed = |bytes: &[u8]| zstd::bulk::compress(bytes, 19).expect("compressed");
    let right = packed(b"the content");
    let mut case = |name: &str, stored: Vec<u8>, raw_length: u64| {
        table.holds("B6", format!("an object: {name}"), move || {
            objects::decode(&stored, &object(&stored, raw_length)).is_err()
        });
    };
    let zeros = packed(&vec![0; 64 << 20]);
    assert!(zeros.len() < 16 << 10, "a bomb is small");
    case("64 MiB out of a few bytes", zeros.clone(), 64 << 20);
    case("64 MiB where 1 KiB is announced", zeros, 1 << 10);
    case("a byte more than announced", right.clone(), 10);
    case("a byte less than announced", right.clone(), 12);
    case("cut short", right[..right.len() - 1].to_vec(), 11);
    case("followed by a byte", [&right[..], &[0]].concat(), 11);
    case("two frames", [&right[..], &right].concat(), 22);
    case("a frame that can be skipped before it", [&[0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0][..], &right].concat(), 11);
    case("not compressed", b"the content".to_vec(), 11);
    case("gzip", [&[0x1f, 0x8b][..], &right].concat(), 11);
    case("nothing", Vec::new(), 0);
    case(
        "a frame that states no length",
        {
            let mut out = Vec::new();
            let mut encoder = zstd::Encoder::new(&mut out, 3).expect("an encoder");
            std::io::Write::write_all(&mut encoder, b"the content").expect("written");
            encoder.finish().expect("finished");
            out
        },
        11,
    );
    // Magic number, a window of 2 GiB, an eight-byte content size of 11, an empty last block.
    case(
        "a window of gigabytes",
        {
            let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0b1100_0000, 0b1010_1000];
            frame.extend(11u64.to_le_bytes());
            frame.extend([1, 0, 0]);
            frame
        },
        11,
    );
    case(
        "a dictionary",
        {
            let mut frame = right.clone();
            frame[4] |= 1;
            frame
        },
        11,
    );
    table.holds("B6", "an object of 16 MiB at most", {
        let stored = right.clone();
        move || objects::decode(&stored, &StoredObject { raw_length: (16 << 20) + 1, ..object(&stored, 11) }).is_err()
    });
    table.holds("B6", "the right one", move || {
        objects::decode(&right, &object(&right, 11)).is_ok_and(|raw| raw == b"the content")
    });
}

/// Units of patches that were published once, with single bytes changed and lengths lied about: an error or other bytes, and
/// never a panic or more than was declared. (No client gets so far: a changed block does not have its signed digest.)
fn patches(table: &mut Table) {
    for name in frozen::names() {
        let unit = name.clone();
        table.run("B7", format!("unit {name}, a byte changed"), move || {
            let good = Frozen::read(&unit);
            if Blake3::of(&good.decode().map_err(|e| e.to_string())?).to_string() != good.new_blake3 {
                return Err("the right one does not decode".into());
            }
            let bytes: usize = good.payloads.iter().map(Vec::len).sum();
            for step in 0..60 {
                let mut bad = Frozen::read(&unit);
                let mut at = step * bytes / 60;
                let block = bad.payloads.iter().position(|payload| {
                    let here = at < payload.len();
                    at -= if here { 0 } else { payload.len() };
                    here
                });
                bad.payloads[block.ok_or("no such byte")?][at] ^= 1 << (step % 8);
                // It checks by itself that no more comes out than was declared.
                let _ = bad.decode();
            }
            Ok(())
        });
        let unit = name.clone();
        table.run("B7", format!("unit {name}, other lengths"), move || {
            for change in [-1i64, 1, 1 << 40] {
                let mut bad = Frozen::read(&unit);
                bad.new_length = bad.new_length.saturating_add_signed(change);
                if bad.decode().is_ok() {
                    return Err(format!("decoded to {} bytes", bad.new_length));
                }
            }
            Ok(())
        });
        if name == "codecs" {
            // It takes nothing from its old file.
            continue;
        }
        table.run("B8", format!("unit {name}, another old file"), move || {
            let mut bad = Frozen::read(&name);
            let right = bad.new_blake3.clone();
            for old in [Vec::new(), bad.old[..bad.old.len() / 2].to_vec(), bad.old.iter().map(|b| !b).collect()] {
                bad.old = old;
                if bad.decode().is_ok_and(|new| Blake3::of(&new).to_string() == right && !bad.old.is_empty()) {
                    return Err("the right file came out of a wrong one".into());
                }
            }
            Ok(())
        });
    }
}
