//! Frozen units of executables: `BLESS=1 cargo test --test golden_units` makes those of `fixtures/formats/unit/v1` that
//! are missing. `client/tests/units.rs` decodes them; here it is asked that they are still worth no more than today's.

#[path = "support/linker/mod.rs"]
mod linker;
#[path = "support/unit.rs"]
mod unit;

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use lamplighter_client::format::digest::Blake3;
use lamplighter_client::format::pack::REFERENCES;
use linker::program::{Dice, Program};
use linker::{Format, Machine, Signature, link};

const UNITS: [(&str, Format); 6] = [
    ("pe-x86_64", Format::Pe(Machine::X86)),
    ("pe-arm64", Format::Pe(Machine::Arm)),
    ("elf-x86_64", Format::Elf(Machine::X86)),
    ("elf-aarch64", Format::Elf(Machine::Arm)),
    ("mach-o-arm64-signed", Format::MachO(Machine::Arm, Signature::Right)),
    ("mach-o-fat", Format::Fat(Signature::Right)),
];

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/formats/unit/v1").join(name)
}

/// What a client is told of a unit.
fn describe(patch: &unit::Patch, new: &[u8]) -> String {
    let list = |numbers: Vec<u64>| numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
    let codecs = patch.encoded.codecs.iter().map(|codec| codec.number()).collect();
    let blocks = patch.encoded.blocks.iter().map(|block| block.length).collect();
    let mut text = "method,codecs,blocks,new length,new blake3\n".to_owned();
    let (method, codecs, blocks) = (patch.encoded.method.number(), list(codecs), list(blocks));
    writeln!(text, "{method},{codecs},{blocks},{},{}", new.len(), Blake3::of(new)).expect("written");
    text
}

#[test]
fn units_of_executables_are_frozen() {
    for (seed, (name, format)) in UNITS.into_iter().enumerate() {
        let mut dice = Dice::new(100 + seed as u64);
        let old = Program::random(&mut dice, 40, 16).with_noise(&mut dice);
        let new = old.edited(&mut dice, 4);
        let (old, new) = (link(&old, format).bytes, link(&new, format).bytes);
        let patch = unit::prove(&old, &new, 5);
        assert_eq!(patch.encoded.method, REFERENCES, "{name}");
        if std::env::var_os("BLESS").is_some() && !folder(name).exists() {
            fs::create_dir_all(folder(name)).expect("made");
            fs::write(folder(name).join("old"), &old).expect("written");
            fs::write(folder(name).join("blocks"), &patch.blocks).expect("written");
            fs::write(folder(name).join("unit.csv"), describe(&patch, &new)).expect("written");
        }
        let frozen = fs::read(folder(name).join("blocks")).expect("frozen blocks").len();
        assert!(patch.bytes() < frozen + frozen / 5 + 50, "{name}: {} bytes, {frozen} frozen", patch.bytes());
    }
}
