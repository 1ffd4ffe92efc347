//! Method *references* on executables of every format: whole, small, and not to be shaken by any bytes.

#[path = "support/linker/mod.rs"]
mod linker;
#[path = "support/unit.rs"]
mod unit;

use lamplighter_client::format::pack::REFERENCES;
use lamplighter_client::format::pack::wire::Reader;
use lamplighter_client::patch::references::image::{Image, image_at};
use lamplighter_client::patch::references::scan::{Found, scan};
use linker::program::{Dice, Program};
use linker::{FORMATS, Format, Linked, Machine, Signature, link};
use proptest::prelude::*;

/// Two releases of one program.
fn releases(seed: u64, functions: usize, edits: usize, format: Format) -> (Linked, Linked) {
    let mut dice = Dice::new(seed);
    let old = Program::random(&mut dice, functions, functions / 4 + 3);
    let new = old.edited(&mut dice, edits);
    (link(&old, format), link(&new, format))
}

#[test]
fn the_scan_finds_what_the_linker_wrote() {
    for format in FORMATS {
        let (old, _) = releases(1, 300, 0, format);
        let images = Image::find(&old.bytes, 0);
        assert_eq!(images.len(), if matches!(format, Format::Fat(_)) { 2 } else { 1 }, "{format:?}");
        let found = scan(&old.bytes, &images);
        let target = |found: &Found| {
            let image = &images[image_at(&images, found.offset.into()).expect("an image")];
            let low = if found.kind.is_file_offset() { 0 } else { image.span().expect("a span").0 };
            low + u64::from(found.target)
        };
        let right = old.references.iter().filter(|reference| {
            let at = found.binary_search_by_key(&reference.offset, |found| found.offset.into());
            at.is_ok_and(|at| target(&found[at]) == reference.target)
        });
        let (right, all) = (right.count(), old.references.len());
        assert!(right * 1000 >= all * 999, "{format:?}: {right} of {all} references");
        assert!(found.len() * 1000 <= all * 1001, "{format:?}: {} found where {all} are", found.len());
    }
}

/// Wrong predictions of a patch.
fn wrong_predictions(patch: &unit::Patch) -> usize {
    let count = |gaps: &Vec<u8>| {
        let (mut reader, mut count) = (Reader::new(gaps), 0);
        while !reader.is_empty() {
            reader.varint().expect("a varint");
            count += 1;
        }
        count
    };
    patch.pieces().iter().map(|pieces| count(&pieces[5])).sum()
}

/// Of what the patch without prediction takes, so many hundredths are allowed.
const COSTS: [(Format, usize); 7] = [
    (Format::Pe(Machine::X86), 14),
    (Format::Pe(Machine::Arm), 23),
    (Format::Elf(Machine::X86), 20),
    (Format::Elf(Machine::Arm), 26),
    (Format::MachO(Machine::X86, Signature::None), 20),
    (Format::MachO(Machine::Arm, Signature::None), 33),
    (Format::Fat(Signature::None), 25),
];

#[test]
fn a_step_costs_much_less_than_without_prediction() {
    for (format, hundredths) in COSTS {
        let (old, new) = releases(2, 400, 12, format);
        let patch = unit::prove(&old.bytes, &new.bytes, 5);
        assert_eq!(patch.encoded.method, REFERENCES, "{format:?}");
        let (plain, wrong) = (unit::diff_plain(&old.bytes, &new.bytes, 5).bytes(), wrong_predictions(&patch));
        let bytes = patch.bytes();
        assert!(bytes * 100 <= plain * hundredths, "{format:?}: {bytes} of {plain} bytes, {wrong} wrong predictions");
    }
}

#[test]
fn files_of_one_unit_are_predicted_wherever_they_begin() {
    let mut dice = Dice::new(3);
    let old = Program::random(&mut dice, 200, 60);
    let new = old.edited(&mut dice, 6);
    for format in FORMATS {
        let (old, new) = (link(&old, format).bytes, link(&new, format).bytes);
        let alone = unit::prove(&old, &new, 5).bytes();
        let (front, longer_front) = (b"a text".to_vec(), b"a longer text".to_vec());
        let files = unit::files(&[front.len(), old.len()], &[longer_front.len(), new.len()]);
        let (old, new) = ([front, old].concat(), [longer_front, new].concat());
        let patch = unit::diff_files(&old, &new, &files, 5);
        assert!(patch.apply(&old, new.len()).expect("decoded") == new);
        let bytes = patch.bytes();
        assert!(bytes < alone + alone / 20 + 40, "{format:?}: {bytes} bytes, {alone} alone");
    }
}

#[test]
fn page_hashes_that_follow_from_the_file_cost_nothing() {
    let mut dice = Dice::new(4);
    let old = Program::random(&mut dice, 900, 100);
    let new = old.edited(&mut dice, 9);
    let signatures = [Signature::None, Signature::Right, Signature::Wrong];
    for link_as in [|signature| Format::MachO(Machine::Arm, signature), Format::Fat] {
        let cost = |signature| {
            let (old, new) = (link(&old, link_as(signature)).bytes, link(&new, link_as(signature)).bytes);
            unit::prove(&old, &new, 5).bytes()
        };
        let [without, right, wrong] = signatures.map(cost);
        // Some 20 pages of 32 bytes an image.
        assert!(right < without + 130, "{right} bytes, {without} unsigned");
        assert!(wrong > right + 500, "{wrong} bytes with a wrong hash, {right} without");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn any_program_becomes_any_later_one(
        seed: u64,
        functions in 3usize..120,
        edits in 0usize..30,
        format in 0usize..10,
        effort in 1u8..10,
    ) {
        let signed = [
            Format::MachO(Machine::Arm, Signature::Right),
            Format::MachO(Machine::X86, Signature::Wrong),
            Format::Fat(Signature::Right),
        ];
        let format = FORMATS.into_iter().chain(signed).nth(format).expect("a format");
        let (old, new) = releases(seed, functions, edits, format);
        let patch = unit::prove(&old.bytes, &new.bytes, effort);
        prop_assert_eq!(patch.encoded.method, REFERENCES);
    }
}

/// The same patch with so many threads.
fn with_threads(threads: usize, old: &[u8], new: &[u8], effort: u8) -> unit::Patch {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
    pool.install(|| unit::diff(old, new, effort))
}

#[test]
fn patches_are_equal_at_any_number_of_threads() {
    // More code than one chunk of the scan has.
    for (format, functions) in [(Format::Elf(Machine::X86), 6000), (Format::Fat(Signature::Right), 5000)] {
        let (old, new) = releases(8, functions, 30, format);
        let one = with_threads(1, &old.bytes, &new.bytes, 2);
        assert!(one.apply(&old.bytes, new.bytes.len()).expect("decoded") == new.bytes);
        for threads in [2, 8] {
            let many = with_threads(threads, &old.bytes, &new.bytes, 2);
            assert!(many.encoded == one.encoded && many.blocks == one.blocks, "{format:?} with {threads} threads");
        }
    }
}

#[test]
fn any_number_of_threads_makes_the_same_bytes_of_old() {
    let (old, new) = releases(9, 5000, 20, Format::Elf(Machine::Arm));
    let patch = unit::diff(&old.bytes, &new.bytes, 1);
    for threads in [1, 8] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        let made = pool.install(|| patch.apply(&old.bytes, new.bytes.len()).expect("decoded"));
        assert!(made == new.bytes, "{threads} threads");
    }
}

/// Executables of the machine the test runs on: itself, and what lies in the usual place, if anything does.
fn found_executables() -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir("/usr/bin").into_iter().flatten().filter_map(Result::ok);
    let mut paths: Vec<(u64, std::path::PathBuf)> = entries
        .filter_map(|entry| Some((entry.metadata().ok().filter(|found| found.is_file())?.len(), entry.path())))
        .filter(|(length, _)| (20_000..120_000).contains(length))
        .collect();
    paths.sort();
    let step = paths.len() / 24 + 1;
    let read = paths.iter().step_by(step).filter_map(|(_, path)| std::fs::read(path).ok());
    let mut images: Vec<Vec<u8>> = read.filter(|bytes| !Image::find(bytes, 0).is_empty()).collect();
    let own = std::fs::read(std::env::current_exe().expect("a path")).expect("itself");
    images.push(own[..own.len().min(200_000)].to_vec());
    images
}

#[test]
fn real_executables_become_their_neighbours() {
    let images = found_executables();
    for pair in images.windows(2) {
        unit::prove(&pair[0], &pair[1], 1);
    }
    let own = images.last().expect("itself");
    unit::prove(own, own, 1);
}
