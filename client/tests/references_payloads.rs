//! What the blocks of a unit of executables may hold, and what becomes of those that hold anything else.

#[path = "support/frozen.rs"]
mod frozen;

use std::io::Cursor;

use frozen::{Frozen, decode};
use lamplighter_client::format::pack::codec::STORED;
use lamplighter_client::format::pack::wire::{put_varint, zigzag};
use lamplighter_client::format::pack::{REFERENCES, Unit};
use lamplighter_client::patch::UnitDecoder;
use lamplighter_client::patch::control::{Triple, put_triples};
use lamplighter_client::patch::references::image::{Contents, Image, Machine, Section};
use lamplighter_client::patch::references::page_hashes::{PageTable, put_tables};
use lamplighter_client::patch::references::scan::scan;
use lamplighter_client::patch::references::triples_max;
use proptest::prelude::*;

const IMAGE: &str = "elf-x86_64";

fn unit(blocks: usize) -> Unit {
    Unit {
        method: REFERENCES,
        parameters: Vec::new(),
        codecs: vec![STORED; 7],
        blocks: 0..blocks,
        old_rows: vec![0],
        new_rows: vec![0],
    }
}

/// The raw streams of a block.
#[derive(Debug, Clone, Default)]
struct Block {
    control: Vec<u8>,
    runs: Vec<u8>,
    residues: Vec<u8>,
    extra: Vec<u8>,
    layout: Vec<u8>,
    gaps: Vec<u8>,
    corrections: Vec<u8>,
}

impl Block {
    fn payload(&self) -> Vec<u8> {
        let streams =
            [&self.control, &self.runs, &self.residues, &self.extra, &self.layout, &self.gaps, &self.corrections];
        let mut payload = Vec::new();
        for stream in streams {
            put_varint(&mut payload, stream.len() as u64);
            payload.extend_from_slice(stream);
        }
        payload
    }
}

fn varints(numbers: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    numbers.iter().for_each(|number| put_varint(&mut bytes, *number));
    bytes
}

fn triples(triples: &[(u64, u64, i64)]) -> Vec<u8> {
    let triple = |(diff, extra, seek): &(u64, u64, i64)| Triple { diff: *diff, extra: *extra, seek: *seek };
    put_triples(&triples.iter().map(triple).collect::<Vec<_>>())
}

/// Old bytes that are one image, and what a patch to the same image is.
struct Setting {
    old: Vec<u8>,
    sections: u64,
}

impl Setting {
    fn new() -> Self {
        let old = Frozen::read(IMAGE).old;
        let sections = Image::find(&old, 0)[0].sections.len() as u64;
        Self { old, sections }
    }

    fn length(&self) -> u64 {
        self.old.len() as u64
    }

    /// Old is one part, new one image; `section` are the numbers of each section.
    fn images(&self, section: &[u64]) -> Vec<u64> {
        let mut numbers = vec![1, 0, self.length(), 1, 0, 0, self.length(), 0, 0, self.sections];
        (0..self.sections).for_each(|_| numbers.extend_from_slice(section));
        numbers
    }

    /// The layout stream of a block that makes `count` bytes: the image as it was, no tables.
    fn layout(&self, count: u64) -> Vec<u8> {
        varints(&[&[count][..], &self.images(&[1, 0, 0, 0, 0]), &[0]].concat())
    }

    /// The whole image, copied.
    fn whole(&self) -> Block {
        Block { control: triples(&[(self.length(), 0, 0)]), layout: self.layout(self.length()), ..Block::default() }
    }

    fn decode(&self, blocks: &[Block]) -> Result<Vec<u8>, String> {
        let payloads: Vec<Vec<u8>> = blocks.iter().map(Block::payload).collect();
        decode(&unit(blocks.len()), &payloads, &self.old, self.length()).map_err(|error| error.to_string())
    }

    fn refuse(&self, message: &str, blocks: &[Block]) {
        let error = self.decode(blocks).map(|_| ()).expect_err(message);
        assert!(error.contains(message), "{message}: {error}");
    }
}

#[test]
fn an_image_that_stays_as_it_is_needs_no_corrections() {
    let setting = Setting::new();
    assert!(setting.decode(&[setting.whole()]).expect("decoded") == setting.old);
}

#[test]
fn a_correction_is_added_to_the_prediction_after_its_gap() {
    let setting = Setting::new();
    let block =
        Block { gaps: varints(&[0, 5]), corrections: vec![0, 0, 1, 2, 0xff, 0xff, 0xff, 0xff], ..setting.whole() };
    // The first operand has 8 bytes, so the second correction is missing.
    setting.refuse("more bytes are needed", std::slice::from_ref(&block));
    let block = Block { corrections: [&[0; 6], &[1, 2][..], &[0xff; 4]].concat(), ..block };
    let new = setting.decode(&[block]).expect("decoded");
    let changed: Vec<usize> = (0..new.len()).filter(|at| new[*at] != setting.old[*at]).collect();
    assert!(changed.len() >= 3 && changed[1] == changed[0] + 1, "{changed:?}");
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes[changed[0]..changed[0] + 8].try_into().expect("8 bytes"));
    assert_eq!(word(&new).wrapping_sub(word(&setting.old)), 0x102);
}

#[test]
fn triples_and_layout_keep_their_rules() {
    let setting = Setting::new();
    let (whole, length) = (setting.whole(), setting.length());
    let with = |control: &[(u64, u64, i64)]| Block { control: triples(control), ..setting.whole() };
    let nothing = Block { layout: vec![0], ..Block::default() };
    let cases: Vec<(&str, Vec<Block>)> = vec![
        ("more bytes are needed", vec![Block { layout: Vec::new(), ..whole.clone() }]),
        ("before all triples are there", vec![with(&[(length - 1, 0, 0)])]),
        ("left of the plan", vec![whole.clone(), Block { control: triples(&[(0, 1, 0)]), ..nothing.clone() }]),
        ("left of the plan", vec![whole.clone(), Block { layout: vec![0, 7], ..nothing.clone() }]),
        ("left of the layout", vec![nothing.clone(), Block { layout: setting.layout(0), ..nothing.clone() }]),
        (
            "left of the layout",
            vec![
                Block { layout: setting.layout(0), ..with(&[(1, 0, 0)]) },
                Block { control: triples(&[(1, 0, 0)]), layout: vec![0, 7], ..nothing.clone() },
            ],
        ),
        ("left of the layout", vec![Block { layout: [setting.layout(length), vec![0]].concat(), ..whole.clone() }]),
        ("for new bytes", vec![with(&[(length, 1, 0)])]),
        ("for new bytes", vec![with(&[(u64::MAX, u64::MAX, 0)])]),
        ("for old bytes", vec![with(&[(1, 0, 0), (length - 1, 0, 0)]), nothing.clone()][..1].to_vec()),
        ("makes nothing", vec![with(&[(5, 0, 0), (0, 0, 0), (length - 5, 0, 0)])]),
        ("a seek out", vec![with(&[(length, 0, 1)])]),
        ("a seek out", vec![with(&[(length, 0, i64::MIN)])]),
        ("expected 2 blocks, found 1", Vec::new()),
    ];
    for (message, blocks) in cases {
        match message {
            "for old bytes" => {
                let control = triples(&[(1, 0, 5), (length - 1, 0, 0)]);
                setting.refuse(message, &[Block { control, ..setting.whole() }]);
            }
            "expected 2 blocks, found 1" => {
                let mut decoder =
                    UnitDecoder::new(&unit(2), length, length, Cursor::new(Vec::new())).expect("readable");
                let block = setting.whole().payload();
                decoder.block(&block, &mut setting.old.as_slice(), &mut Vec::new()).expect("decoded");
                assert!(decoder.finish().expect_err(message).to_string().contains(message));
            }
            _ => setting.refuse(message, &blocks),
        }
    }
    let fewer = Block { layout: setting.layout(length - 1), ..setting.whole() };
    setting.refuse(&format!("expected {length} new bytes, found {}", length - 1), &[fewer]);
    let huge = UnitDecoder::new(&unit(1), (1 << 30) + 1, 1, Cursor::new(Vec::new())).err().expect("refused");
    assert!(huge.to_string().contains("bytes of executables"), "{huge}");
}

#[test]
fn images_and_tables_keep_their_rules() {
    let setting = Setting::new();
    let length = setting.length();
    let keep = [1, 0, 0, 0, 0];
    let images = |numbers: &[u64]| [&[1, 0, length][..], numbers].concat();
    let one = |numbers: &[u64]| images(&[&[1, 0, 0, length, 0, 0, 1][..], numbers].concat());
    let table = |numbers: &[u64]| [&setting.images(&keep)[..], numbers].concat();
    let same = zigzag(0);
    let cases: Vec<(&str, Vec<u64>)> = vec![
        ("for parts of old", vec![257]),
        ("bytes of a part or image", vec![1, 1, length, 0, 0]),
        ("bytes of a part or image", vec![1, u64::MAX, u64::MAX, 0, 0]),
        ("bytes of a part or image", vec![2, 0, length, 1, 0, 0, 0]),
        ("for images of new", images(&[257])),
        ("continues none of old", images(&[1, zigzag(1)])),
        ("continues none of old", images(&[1, zigzag(-1)])),
        ("continues none of old", images(&[1, zigzag(i64::MAX)])),
        ("continues none of old", vec![0, 1, 0]),
        ("bytes of a part or image", images(&[1, 0, 1, length])),
        ("bytes of a part or image", images(&[1, 0, u64::MAX, 1])),
        ("for sections", images(&[1, 0, 0, length, 0, 0, 257])),
        ("spans more than 4 GiB", images(&[1, 0, 0, length, 0, 0, 0, 0])),
        ("a section that continues none of old", one(&[1 + zigzag(setting.sections as i64)])),
        ("a section that continues none of old", one(&[1 + zigzag(-1)])),
        ("a section that continues none of old", one(&[u64::MAX])),
        ("unknown contents", one(&[0, 11])),
        ("a section beyond its image", one(&[0, 1, same, same, same, zigzag(length as i64 + 1)])),
        ("a section beyond its image", one(&[0, 1, same, same, zigzag(-1), same])),
        ("a section beyond its image", one(&[0, 1, zigzag(-1), zigzag(2), same, same])),
        ("spans more than 4 GiB", one(&[0, 1, same, zigzag(1 << 32), same, same, 0])),
        ("tables of page hashes", table(&[257])),
        ("beyond new", table(&[1, length + 1, 0, 12, 0])),
        ("beyond new", table(&[1, 0, length + 1, 12, 0])),
        ("beyond new", table(&[1, 0, length, 12, 0])),
        ("beyond new", table(&[1, 0, 4096, 12, u64::MAX])),
        ("beyond new", table(&[2, 0, 4096, 12, 0, length, 1, 12, 0])),
        ("a page size", table(&[1, 0, 4096, 7, 0])),
        ("a page size", table(&[1, 0, 4096, 21, 0])),
        ("a page size", table(&[1, 0, 4096, 256 + 12, 0])),
        ("more bytes are needed", table(&[1, 0, 4096])),
        ("more bytes are needed", setting.images(&keep)),
        ("more bytes are needed", setting.images(&keep)[..10].to_vec()),
    ];
    for (message, numbers) in cases {
        let layout = varints(&[&[length][..], &numbers].concat());
        setting.refuse(message, &[Block { layout, ..setting.whole() }]);
    }
}

#[test]
fn everything_a_block_brings_is_used() {
    let setting = Setting::new();
    let (whole, length) = (setting.whole(), setting.length());
    let inserted = Block { control: triples(&[(length - 4, 4, 0)]), extra: b"1234".to_vec(), ..whole.clone() };
    assert_eq!(setting.decode(std::slice::from_ref(&inserted)).expect("decoded")[length as usize - 4..], *b"1234");
    let cases: Vec<(&str, Block)> = vec![
        ("for new bytes", Block { layout: setting.layout(length + 1), ..whole.clone() }),
        ("for new bytes", Block { layout: setting.layout(u64::MAX), ..whole.clone() }),
        ("left of the runs", Block { runs: varints(&[length, 1]), residues: vec![1], ..whole.clone() }),
        ("an empty run", Block { runs: vec![1, 0], ..whole.clone() }),
        ("the residues end early", Block { runs: vec![1, 2], residues: vec![1], ..whole.clone() }),
        ("left of the residues", Block { residues: vec![1], ..whole.clone() }),
        ("left of the extra bytes", Block { extra: vec![1], ..whole.clone() }),
        ("the extra bytes end early", Block { extra: b"123".to_vec(), ..inserted }),
        ("gaps and corrections", Block { gaps: varints(&[1 << 40]), corrections: vec![0; 4], ..whole.clone() }),
        ("gaps and corrections", Block { corrections: vec![0; 4], ..whole.clone() }),
        ("more bytes are needed", Block { gaps: vec![0], ..whole.clone() }),
        ("a varint", Block { gaps: vec![0x80, 0], ..whole.clone() }),
    ];
    for (message, block) in cases {
        setting.refuse(message, &[block]);
    }
    let again = Block { layout: vec![1], ..Block::default() };
    setting.refuse("for new bytes", &[whole.clone(), again]);
    let endless = Block { layout: varints(&[u64::MAX]), ..Block::default() };
    setting.refuse("for new bytes", &[whole, endless]);
}

#[test]
fn page_hashes_are_computed_and_not_read() {
    let setting = Setting::new();
    let table = PageTable { covered: 0..4096, page_log: 12, slots: 5000 };
    let mut layout = varints(&[&[setting.length()][..], &setting.images(&[1, 0, 0, 0, 0])].concat());
    put_tables(&mut layout, std::slice::from_ref(&table));
    let new = setting.decode(&[Block { layout, ..setting.whole() }]).expect("decoded");
    let hashes = table.compute(&setting.old);
    assert!(new[5000..5032] == hashes[..] && new[..5000] == setting.old[..5000] && new[5032..] == setting.old[5032..]);
}

#[test]
fn sections_at_the_ends_of_memory_do_no_harm() {
    let setting = Setting::new();
    let length = setting.length();
    let extra = b"\xe8\xff\xff\xff\xff\x0f\x84\0\0\0\x80\x48\x8b\x05\xff\xff\xff\x7f".repeat(9);
    let control = triples(&[(length - 162, 162, 0)]);
    for address in [0, 1 << 31, (1 << 32) - 9, 1 << 63, u64::MAX - 5000, u64::MAX - 4095] {
        for size in [0, 1, 4000, 1 << 31, (1 << 32) - 1] {
            let code = [0, 1, zigzag(address as i64), zigzag(size), 0, zigzag(length as i64)];
            let far = [1 + zigzag(0), 0, 0, 0, 0];
            for sections in [vec![code.to_vec()], vec![code.to_vec(), far.to_vec()], vec![far.to_vec(), code.to_vec()]]
            {
                let numbers = [&[1, 0, length, 1, 0, 0, length, 0, 0, sections.len() as u64][..], &sections.concat()];
                let layout = varints(&[&[length][..], &numbers.concat(), &[0]].concat());
                let block = Block { control: control.clone(), layout, extra: extra.clone(), ..Block::default() };
                let _ = setting.decode(&[block]);
            }
        }
    }
}

#[test]
fn code_of_the_last_pages_of_memory_is_scanned() {
    // `adrp x8` of the last page, `ldr q0` from 64 KiB behind its start, and the same of the page before all memory.
    let words = [0xb000_0008u32, 0x3dff_fd00, 0xd000_0008, 0x3dff_fd00, 0xf0ff_ffe8, 0x9140_0108];
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    for address in [0, u64::MAX - 0x1fff, u64::MAX - 0xfff] {
        let code = Section { address, size: 0xfff, offset: 0, file_size: 24, contents: Contents::Code };
        let last = Section { address: address.saturating_add(0x1000).min(u64::MAX - 0xfff), file_size: 0, ..code };
        let image = Image {
            machine: Machine::Arm,
            base: 0,
            range: 0..24,
            sections: vec![code, last],
            names: Vec::new(),
            strings: 0,
        };
        let found = scan(&bytes, &[image]);
        assert!(found.iter().all(|found| found.offset <= 20));
    }
}

fn change(bytes: &mut Vec<u8>, edits: &[(usize, u8, u8)]) {
    for (at, byte, what) in edits {
        let at = at % (bytes.len() + 1);
        match what % 3 {
            0 if at < bytes.len() => bytes[at] = *byte,
            1 if at < bytes.len() => drop(bytes.remove(at)),
            _ => bytes.insert(at, *byte),
        }
    }
}

fn edits() -> impl Strategy<Value = Vec<(usize, u8, u8)>> {
    let byte = prop_oneof![any::<u8>(), Just(0), Just(0xff), Just(0x7f), Just(0x80)];
    proptest::collection::vec((any::<usize>(), byte, any::<u8>()), 1..6)
}

proptest! {
    #[test]
    fn changed_payloads_give_an_error_or_the_declared_length(
        name in 0usize..7,
        edits in edits(),
        new_length in prop_oneof![Just(None), (0u64..40_000).prop_map(Some)],
    ) {
        let mut frozen = Frozen::read(&frozen::names()[name]);
        change(&mut frozen.payloads[0], &edits);
        frozen.new_length = new_length.unwrap_or(frozen.new_length);
        let _ = frozen.decode();
    }

    #[test]
    fn a_changed_stream_gives_an_error_or_the_declared_length(
        name in 0usize..7,
        stream in 0usize..7,
        edits in edits(),
        old_edits in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..4),
    ) {
        let mut frozen = Frozen::read(&frozen::names()[name]);
        let mut payloads = Vec::new();
        for mut pieces in frozen.pieces() {
            let stream = stream % pieces.len();
            change(&mut pieces[stream], &edits);
            let mut payload = Vec::new();
            for piece in pieces {
                put_varint(&mut payload, piece.len() as u64);
                payload.extend_from_slice(&piece);
            }
            payloads.push(payload);
        }
        frozen.unit.codecs.fill(STORED);
        frozen.payloads = payloads;
        for (at, byte) in old_edits {
            let at = at % frozen.old.len();
            frozen.old[at] = byte;
        }
        let _ = frozen.decode();
    }
}

#[test]
fn triples_are_bounded_by_what_they_make() {
    let setting = Setting::new();
    let new_length = 100_000;
    let most = triples_max(new_length);
    let decode = |count: u64| {
        let control = triples(&vec![(1, 0, -1); count as usize]);
        let block = Block { control, layout: varints(&[0]), ..Block::default() };
        let mut decoder = UnitDecoder::new(&unit(1), setting.old.len() as u64, new_length, Cursor::new(Vec::new()))
            .expect("readable");
        decoder.block(&block.payload(), &mut &setting.old[..], &mut Vec::new())
    };
    decode(most).expect("as many as may be");
    let error = decode(most + 1).expect_err("one more").to_string();
    assert!(error.contains(&format!("expected at most {most} for control triples")), "{error}");
}
