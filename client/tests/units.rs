//! Frozen units: blocks that are published are decoded for ever. A change of the scan, of a prediction or of a codec that
//! would break them fails here. `fixtures/README.md` says how they are laid out.
//!
//! `BLESS=1 cargo test --test units` makes the one that no publisher writes, if it is missing.

#[path = "support/frozen.rs"]
mod frozen;

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;

use frozen::{Frozen, folder, names};
use lamplighter_client::format::digest::Blake3;
use lamplighter_client::format::pack::codec::{LZMA, STORED, ZSTD, ZstdEncoder};
use lamplighter_client::format::pack::wire::put_varint;
use lamplighter_client::format::pack::{PLAIN, REFERENCES};
use lamplighter_client::patch::control::{Triple, put_triples};
use lzma_rust2::{Lzma2Options, Lzma2Writer};

#[test]
fn frozen_units_give_the_bytes_they_always_gave() {
    let mut methods = Vec::new();
    let mut codecs = Vec::new();
    for name in names() {
        let frozen = Frozen::read(&name);
        let new = frozen.decode().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(Blake3::of(&new).to_string(), frozen.new_blake3, "{name}");
        methods.push(frozen.unit.method);
        codecs.extend(frozen.unit.codecs);
    }
    assert!([PLAIN, REFERENCES].iter().all(|method| methods.contains(method)), "{methods:?}");
    assert!([STORED, ZSTD, LZMA].iter().all(|codec| codecs.contains(codec)));
}

#[test]
fn a_frozen_unit_holds_wrong_and_right_predictions_and_hashes() {
    // What is frozen is worth its bytes only if it exercises what may change.
    for name in names().iter().filter(|name| *name != "codecs") {
        let frozen = Frozen::read(name);
        let pieces = frozen.pieces();
        let [control, .., layout, gaps, corrections] = pieces[0].as_slice() else { panic!("{name}: seven streams") };
        assert!(control.len() > 10 && layout.len() > 10 && gaps.len() > 4 && corrections.len() > 16, "{name}");
    }
}

/// Three blocks of method plain whose streams go on in LZMA, in zstd and as they are.
#[test]
fn codecs_go_on_over_frozen_blocks() {
    if std::env::var_os("BLESS").is_none() || folder("codecs").exists() {
        assert_eq!(Frozen::read("codecs").unit.blocks.len(), 3);
        return;
    }
    let old = b"the lamplighter goes from lantern to lantern\n".repeat(40);
    let mut options = Lzma2Options::with_preset(6);
    options.lzma_options.dict_size = 1 << 16;
    let mut lzma = Lzma2Writer::new(vec![16u8], options);
    let mut zstd = ZstdEncoder::new(12, &[], None).expect("an encoder");
    let (mut blocks, mut lengths, mut new) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..3u8 {
        let extra: Vec<u8> =
            (0..900u32).flat_map(|i| format!("wick {} ", i * u32::from(n + 3) % 257).into_bytes()).collect();
        let control = put_triples(&[Triple { diff: 100, extra: extra.len() as u64, seek: 17 }; 1]);
        let from = 117 * usize::from(n);
        let mut copied = old[from..from + 100].to_vec();
        copied[10] = copied[10].wrapping_add(n + 1);
        lzma.write_all(&extra).and_then(|()| lzma.flush()).expect("encoded");
        let pieces = [
            (control.clone(), None),
            (zstd.piece(&[10, 1]).expect("encoded"), Some(2)),
            (vec![n + 1], None),
            (std::mem::take(lzma.inner_mut()), Some(extra.len())),
        ];
        let start = blocks.len();
        for (stored, raw) in pieces {
            put_varint(&mut blocks, stored.len() as u64);
            raw.into_iter().for_each(|raw| put_varint(&mut blocks, raw as u64));
            blocks.extend_from_slice(&stored);
        }
        lengths.push((blocks.len() - start).to_string());
        new.extend([copied, extra].concat());
    }
    let codecs = [STORED, ZSTD, STORED, LZMA].map(|codec| codec.number().to_string()).join(" ");
    let mut text = "method,codecs,blocks,new length,new blake3\n".to_owned();
    let method = PLAIN.number();
    writeln!(text, "{method},{codecs},{},{},{}", lengths.join(" "), new.len(), Blake3::of(&new)).expect("written");
    fs::create_dir_all(folder("codecs")).expect("made");
    fs::write(folder("codecs").join("old"), &old).expect("written");
    fs::write(folder("codecs").join("blocks"), &blocks).expect("written");
    fs::write(folder("codecs").join("unit.csv"), text).expect("written");
}
