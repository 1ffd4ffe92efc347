//! Method 3: which layouts and blocks make what, and what becomes of those that lie.

use std::io::{Cursor, Write};

use lamplighter_client::format::pack::codec::STORED;
use lamplighter_client::format::pack::wire::put_varint;
use lamplighter_client::format::pack::{DEFLATE, Unit};
use lamplighter_client::patch::control::{Triple, put_triples};
use lamplighter_client::patch::deflate::{DeflateLayout, NewStream, OldStream};
use lamplighter_client::patch::{PatchError, UnitDecoder};
use lamplighter_client::zlib::Settings;
use proptest::prelude::*;

/// A stream of miniz, which is not zlib: any compressor will do for old.
fn stream(text: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(level));
    encoder.write_all(text).expect("a vector takes all");
    encoder.finish().expect("a vector takes all")
}

fn piece(bytes: &[u8]) -> Vec<u8> {
    let mut piece = Vec::new();
    put_varint(&mut piece, bytes.len() as u64);
    piece.extend_from_slice(bytes);
    piece
}

/// A block of the plain patch without residues.
fn block(triples: &[(u64, u64, i64)], extra: &[u8]) -> Vec<u8> {
    let triple = |(diff, extra, seek): &(u64, u64, i64)| Triple { diff: *diff, extra: *extra, seek: *seek };
    let control = put_triples(&triples.iter().map(triple).collect::<Vec<_>>());
    [piece(&control), piece(b""), piece(b""), piece(extra)].concat()
}

fn decode(old: &[u8], blocks: &[Vec<u8>], new_length: u64) -> Result<Vec<u8>, PatchError> {
    let unit = Unit {
        method: DEFLATE,
        parameters: Vec::new(),
        codecs: vec![STORED; 5],
        blocks: 0..blocks.len(),
        old_rows: vec![0],
        new_rows: vec![0],
    };
    let mut decoder = UnitDecoder::new(&unit, old.len() as u64, new_length, Cursor::new(Vec::new()))?;
    let mut new = Vec::new();
    for block in blocks {
        let decoded = decoder.block(block, &mut &old[..], &mut new);
        assert!(new.len() as u64 <= new_length, "more was written than declared");
        decoded?;
    }
    decoder.finish()?;
    Ok(new)
}

const TEXT: &[u8] = b"the lamplighter goes from lantern to lantern, and from lantern to lantern goes the lamplighter";

/// zlib 1.2.13, level 6: `from lantern to lantern` and its stream.
const FROM: &[u8] = b"from lantern to lantern";
const FROM_STREAM: &[u8] =
    &[0x4b, 0x2b, 0xca, 0xcf, 0x55, 0xc8, 0x49, 0xcc, 0x2b, 0x49, 0x2d, 0xca, 0x53, 0x28, 0xc9, 0x87, 0x31, 0x01];

/// `<<`, a stream of [`TEXT`], `>>`; and the place of the stream.
fn old() -> (Vec<u8>, OldStream) {
    let stream = stream(TEXT, 9);
    let place = OldStream { offset: 2, stream_bytes: stream.len() as u64, text_bytes: TEXT.len() as u64 };
    ([&b"<<"[..], &stream, b">>"].concat(), place)
}

/// Makes `<!`, the stream of [`FROM`], `>` from the [`old`] one.
fn sound() -> (Vec<u8>, DeflateLayout, Vec<u8>, Vec<u8>) {
    let (old, place) = old();
    let settings = Settings::DEFAULT;
    let new_stream = NewStream { gap_bytes: 2, text_bytes: FROM.len() as u64, settings };
    let layout = DeflateLayout { old: vec![place], new: vec![new_stream], rest_bytes: 1 };
    let text_at = old.len() as i64 + 21;
    let block = block(&[(1, 1, text_at - 1), (23, 1, 0)], b"!>");
    (old, layout, block, [b"<!", FROM_STREAM, b">"].concat())
}

#[test]
fn texts_come_from_old_streams_and_become_streams() {
    let (old, layout, block, new) = sound();
    // The example of the specification.
    assert_eq!(layout.to_bytes(), [1, 2, old.len() as u8 - 4, 94, 1, 2, 23, 68, 1]);
    let made = decode(&old, &[piece(&layout.to_bytes()), block], new.len() as u64).expect("decoded");
    assert_eq!(made, new);
}

#[test]
fn a_text_may_be_cut_anywhere_between_blocks() {
    let text: Vec<u8> = (0..200_000u32).map(|n| (n.wrapping_mul(n) >> 7) as u8 & 15).collect();
    let mut compressor = lamplighter_client::zlib::Compressor::new(Settings::DEFAULT, Vec::new());
    compressor.push(&text).expect("a vector takes all");
    let stream = compressor.finish().expect("a vector takes all");
    let new = [&b"ab"[..], &stream, &stream, b"c"].concat();
    let settings = Settings::DEFAULT;
    let place = |gap_bytes| NewStream { gap_bytes, text_bytes: text.len() as u64, settings };
    let layout = DeflateLayout { old: Vec::new(), new: vec![place(2), place(0)], rest_bytes: 1 };
    let expanded = [&b"ab"[..], &text, &text, b"c"].concat();
    for parts in [vec![1, 1, 1, 150_000, 50_000, 1, 199_999], vec![expanded.len()], vec![200_002, 200_000, 1]] {
        let mut blocks = vec![piece(&layout.to_bytes())];
        let mut rest = expanded.as_slice();
        for part in parts {
            let (now, later) = rest.split_at(part);
            blocks.push(block(&[(0, part as u64, 0)], now));
            rest = later;
        }
        blocks.push(block(&[(0, rest.len() as u64, 0)], rest));
        assert!(decode(b"", &blocks, new.len() as u64).expect("decoded") == new);
    }
}

#[test]
fn each_rule_of_the_layout_is_kept() {
    let (old, layout, block, new) = sound();
    let with_old = |change: fn(&mut OldStream)| {
        let mut layout = layout.clone();
        change(&mut layout.old[0]);
        layout.to_bytes()
    };
    let with_new = |change: fn(&mut NewStream)| {
        let mut layout = layout.clone();
        change(&mut layout.new[0]);
        layout.to_bytes()
    };
    let with_rest = |rest_bytes| DeflateLayout { rest_bytes, ..layout.clone() }.to_bytes();
    let good = layout.to_bytes();
    let last = good.len() - 1;
    let mut twice = layout.clone();
    twice.old.push(OldStream { offset: old.len() as u64, stream_bytes: 1, text_bytes: 1 });
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("an empty old stream", with_old(|stream| stream.stream_bytes = 0)),
        ("an empty old stream", with_old(|stream| stream.text_bytes = 0)),
        ("old bytes up to the last stream", with_old(|stream| stream.offset = 1 << 40)),
        ("old bytes up to the last stream", with_old(|stream| stream.offset = u64::MAX)),
        ("old bytes up to the last stream", with_old(|stream| stream.stream_bytes += 3)),
        ("old bytes up to the last stream", twice.to_bytes()),
        ("bytes of old texts", with_old(|stream| stream.text_bytes = (1 << 30) + 1)),
        ("expected 93 bytes of text, found 94", with_old(|stream| stream.text_bytes -= 1)),
        ("expected 95 bytes of text, found 94", with_old(|stream| stream.text_bytes += 1)),
        ("bytes of the stream, found", with_old(|stream| stream.stream_bytes += 2)),
        ("bytes of a stream that ends, found", with_old(|stream| stream.stream_bytes -= 1)),
        ("inflating the old stream at 0", with_old(|stream| stream.offset = 0)),
        ("an empty new stream", with_new(|stream| stream.text_bytes = 0)),
        ("bytes of new texts", with_new(|stream| stream.text_bytes = (1 << 30) + 1)),
        ("new bytes beside the streams", with_new(|stream| stream.gap_bytes = u64::MAX)),
        ("new bytes beside the streams", with_rest(u64::MAX)),
        ("for new bytes", with_rest(0)),
        ("expected 27 bytes of expanded new, found 26", with_new(|stream| stream.text_bytes += 1)),
        ("settings that zlib does not have", [&good[..last - 1], &[0xff, 9, 1]].concat()),
        ("left of the layout", [&good[..], b"x"].concat()),
        ("more bytes are needed", good[..last].to_vec()),
        ("bytes of a layout", [&good[..], &[0; 1 << 20]].concat()),
    ];
    for (message, layout) in cases {
        let made = decode(&old, &[piece(&layout), block.clone()], new.len() as u64);
        let error = made.expect_err(message).to_string();
        assert!(error.contains(message), "{message}: {error}");
    }
}

#[test]
fn no_more_is_written_than_declared() {
    // A text that grows: what follows from it is longer than new.
    let noise: Vec<u8> = (0..100_000u32).map(|n| (n.wrapping_mul(0x9e37_79b9) >> 13) as u8).collect();
    let stream = NewStream { gap_bytes: 0, text_bytes: noise.len() as u64, settings: Settings::DEFAULT };
    let layout = DeflateLayout { old: Vec::new(), new: vec![stream], rest_bytes: 0 };
    let blocks = [piece(&layout.to_bytes()), block(&[(0, noise.len() as u64, 0)], &noise)];
    let error = decode(b"", &blocks, 1000).expect_err("refused");
    assert!(error.to_string().contains("expected at most 1000 bytes"), "{error}");
    let error = decode(b"", &blocks[..1], 1000).expect_err("refused");
    assert!(error.to_string().contains("expected 100000 bytes of expanded new, found 0"), "{error}");
}

proptest! {
    #[test]
    fn no_flipped_or_cut_block_panics(at in any::<usize>(), bit in 0u32..8, cut in any::<usize>(), which in 0usize..3) {
        let (mut old, layout, block, new) = sound();
        let mut blocks = vec![piece(&layout.to_bytes()), block];
        let bytes = if which == 2 { &mut old } else { &mut blocks[which] };
        let length = bytes.len();
        bytes[at % length] ^= 1 << bit;
        let _ = decode(&old, &blocks, new.len() as u64);
        let bytes = if which == 2 { &mut old } else { &mut blocks[which] };
        bytes.truncate(cut % length);
        let _ = decode(&old, &blocks, new.len() as u64);
    }
}
