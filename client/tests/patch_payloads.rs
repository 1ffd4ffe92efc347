//! What a unit's blocks may hold, and what becomes of those that hold anything else.

use std::io::Cursor;

use lamplighter_client::format::pack::codec::{Algorithm, LZMA, STORED, ZSTD, ZstdEncoder};
use lamplighter_client::format::pack::wire::put_varint;
use lamplighter_client::format::pack::{PLAIN, Unit};
use lamplighter_client::patch::control::{Triple, put_triples};
use lamplighter_client::patch::{BLOCK_RAW_MAX, PatchError, UnitDecoder};
use proptest::prelude::*;

const OLD: &[u8] = b"0123456789";

fn unit(codec: Algorithm, blocks: usize) -> Unit {
    Unit {
        method: PLAIN,
        parameters: Vec::new(),
        codecs: vec![codec; 4],
        blocks: 0..blocks,
        old_rows: vec![0],
        new_rows: vec![0],
    }
}

fn triples(triples: &[(u64, u64, i64)]) -> Vec<u8> {
    let triple = |(diff, extra, seek): &(u64, u64, i64)| Triple { diff: *diff, extra: *extra, seek: *seek };
    put_triples(&triples.iter().map(triple).collect::<Vec<_>>())
}

/// A block of stored streams.
fn stored(streams: [&[u8]; 4]) -> Vec<u8> {
    let mut payload = Vec::new();
    for stream in streams {
        put_varint(&mut payload, stream.len() as u64);
        payload.extend_from_slice(stream);
    }
    payload
}

fn decode(codec: Algorithm, blocks: &[Vec<u8>], new_length: u64) -> Result<Vec<u8>, PatchError> {
    let mut decoder =
        UnitDecoder::new(&unit(codec, blocks.len()), OLD.len() as u64, new_length, Cursor::new(Vec::new()))?;
    let mut new = Vec::new();
    for block in blocks {
        let decoded = decoder.block(block, &mut &OLD[..], &mut new);
        assert!(new.len() as u64 <= new_length, "more was written than declared");
        decoded?;
    }
    decoder.finish()?;
    Ok(new)
}

#[test]
fn triples_copy_add_insert_and_seek() {
    let first = stored([&triples(&[(4, 2, 2), (3, 0, -9)]), &[1, 2, 2, 1], &[1, 2, 255], b"xy"]);
    assert_eq!(decode(STORED, std::slice::from_ref(&first), 9).expect("decoded"), b"0243xy668");
    let second = stored([&triples(&[(2, 1, 0)]), &[], &[], b"!"]);
    assert_eq!(decode(STORED, &[first, second], 12).expect("decoded"), b"0243xy66801!");
}

#[test]
fn streams_go_on_from_block_to_block() {
    let extra = b"the lamplighter goes from lantern to lantern".repeat(10);
    let mut encoders: Vec<ZstdEncoder> = (0..4).map(|_| ZstdEncoder::new(3, &[], None).expect("an encoder")).collect();
    let mut block = |extra: &[u8]| {
        let control = triples(&[(0, extra.len() as u64, 0)]);
        let mut payload = Vec::new();
        for (encoder, raw) in encoders.iter_mut().zip([&control[..], &[], &[], extra]) {
            let piece = encoder.piece(raw).expect("encoded");
            put_varint(&mut payload, piece.len() as u64);
            put_varint(&mut payload, raw.len() as u64);
            payload.extend_from_slice(&piece);
        }
        payload
    };
    let blocks = [block(&extra), block(&extra)];
    assert!(blocks[1].len() < blocks[0].len());
    assert_eq!(decode(ZSTD, &blocks, 880).expect("decoded"), extra.repeat(2));
    assert!(decode(ZSTD, &blocks[1..], 440).is_err(), "a later block needs those before it");
}

#[test]
fn each_rule_of_the_payload_is_kept() {
    let ten = triples(&[(10, 0, 0)]);
    let cases: Vec<(&str, Vec<u8>, u64)> = vec![
        ("more bytes are needed", vec![5, 1], 10),
        ("left of the payload", [stored([&ten, &[], &[], b""]), vec![0]].concat(), 10),
        ("more bytes are needed", stored([&ten[..2], &[], &[], b""]), 10),
        ("for new bytes", stored([&triples(&[(10, 1, 0)]), &[], &[], b"x"]), 10),
        ("for new bytes", stored([&triples(&[(u64::MAX, u64::MAX, 0)]), &[], &[], b""]), 10),
        ("for old bytes", stored([&triples(&[(11, 0, 0)]), &[], &[], b""]), 11),
        ("a seek out", stored([&triples(&[(10, 0, 1)]), &[], &[], b""]), 10),
        ("a seek out", stored([&triples(&[(0, 0, -1)]), &[], &[], b""]), 0),
        ("a seek out", stored([&triples(&[(1, 0, i64::MAX)]), &[], &[], b""]), 1),
        ("the extra bytes end early", stored([&triples(&[(0, 2, 0)]), &[], &[], b"x"]), 2),
        ("left of the extra bytes", stored([&ten, &[], &[], b"x"]), 10),
        ("an empty run", stored([&ten, &[1, 0], &[], b""]), 10),
        ("an empty run", stored([&ten, &[0, 1, 0, 1], &[1, 1], b""]), 10),
        ("the residues end early", stored([&ten, &[1, 2], &[1], b""]), 10),
        ("left of the residues", stored([&ten, &[1, 1], &[1, 1], b""]), 10),
        ("left of the runs", stored([&ten, &[10, 1], &[1], b""]), 10),
        ("left of the runs", stored([&ten, &[1, 1, 20, 1], &[1, 1], b""]), 10),
        ("left of the runs", stored([&ten, &[9, 2], &[1, 1], b""]), 10),
        ("expected 10 new bytes, found 9", stored([&triples(&[(9, 0, 0)]), &[], &[], b""]), 10),
    ];
    for (message, payload, new_length) in cases {
        let error = decode(STORED, std::slice::from_ref(&payload), new_length).expect_err(message).to_string();
        assert!(error.contains(message), "{message}: {error}");
    }
}

#[test]
fn declared_lengths_bound_what_is_decoded() {
    let mut bomb = Vec::new();
    let zeros = ZstdEncoder::new(3, &[], None).and_then(|mut e| e.piece(&vec![0; 64 << 20])).expect("encoded");
    for raw in [0, 0, 0, 64 << 20] {
        put_varint(&mut bomb, if raw == 0 { 0 } else { zeros.len() as u64 });
        put_varint(&mut bomb, raw);
    }
    bomb.extend_from_slice(&zeros);
    let error = decode(ZSTD, &[bomb], 64 << 20).expect_err("refused").to_string();
    assert!(error.contains("raw bytes of a block"), "{error}");
    let block = stored([&triples(&[(1, 0, 0)]), &[], &[], b""]);
    assert!(decode(STORED, &[], 1).is_err(), "no block came");
    let mut decoder = UnitDecoder::new(&unit(STORED, 1), 10, 2, Cursor::new(Vec::new())).expect("readable");
    decoder.block(&block, &mut &OLD[..], &mut Vec::new()).expect("decoded");
    assert!(decoder.block(&block, &mut &OLD[..], &mut Vec::new()).is_err(), "a block more than listed");
    let long = vec![0; BLOCK_RAW_MAX as usize + (65 << 10)];
    assert!(decode(STORED, &[long], 2).is_err());
}

#[test]
fn a_failing_reader_or_writer_is_reported() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let block = stored([&triples(&[(9, 0, 0)]), &[], &[], b""]);
    let decoder = || UnitDecoder::new(&unit(STORED, 1), 10, 9, Cursor::new(Vec::new())).expect("readable");
    let error = decoder().block(&block, &mut &OLD[..], &mut Full).expect_err("full");
    assert!(matches!(error, PatchError::Write(_)));
    let error = decoder().block(&block, &mut &OLD[..5], &mut Vec::new()).expect_err("old is shorter than declared");
    assert!(matches!(error, PatchError::Read { .. }));
}

proptest! {
    #[test]
    fn any_streams_give_an_error_or_the_declared_length(
        control in proptest::collection::vec((0u64..12, 0u64..4, -10i64..10), 0..6),
        runs in proptest::collection::vec(0u8..5, 0..8),
        residues in proptest::collection::vec(any::<u8>(), 0..8),
        extra in proptest::collection::vec(any::<u8>(), 0..12),
        new_length in 0u64..40,
    ) {
        let payload = stored([&triples(&control), &runs, &residues, &extra]);
        if let Ok(new) = decode(STORED, &[payload], new_length) {
            prop_assert_eq!(new.len() as u64, new_length);
        }
    }

    #[test]
    fn any_payload_gives_an_error_or_the_declared_length(
        payload in proptest::collection::vec(any::<u8>(), 0..80),
        new_length in 0u64..40,
        zstd in any::<bool>(),
    ) {
        if let Ok(new) = decode(if zstd { ZSTD } else { STORED }, &[payload], new_length) {
            prop_assert_eq!(new.len() as u64, new_length);
        }
    }
}

#[test]
fn dictionaries_are_bounded_before_memory_is_taken() {
    let payload = |logs: [u8; 4]| {
        let piece = |log: u8| [2, 1, log, 0];
        logs.map(piece).concat()
    };
    let error = decode(LZMA, &[payload([25, 16, 24, 16])], 1).expect_err("too much").to_string();
    assert!(error.contains("for bytes of dictionaries, found"), "{error}");
    let error = decode(LZMA, &[payload([25, 16, 23, 16])], 1).expect_err("no stream of LZMA").to_string();
    assert!(!error.contains("dictionaries"), "{error}");
}
