//! Executables that are none, or whose headers lie: a patch is made and applied all the same.

#[path = "support/linker/mod.rs"]
mod linker;
#[path = "support/unit.rs"]
mod unit;

use linker::program::{Dice, Program};
use linker::{FORMATS, Format, Machine, Signature, link};
use proptest::prelude::*;

fn release(seed: u64, functions: usize, format: Format) -> Vec<u8> {
    link(&Program::random(&mut Dice::new(seed), functions, 6), format).bytes
}

/// Two releases of a small program.
fn pair(format: Format) -> (Vec<u8>, Vec<u8>) {
    let mut dice = Dice::new(5);
    let old = Program::random(&mut dice, 12, 6);
    (link(&old, format).bytes, link(&old.edited(&mut dice, 2), format).bytes)
}

/// Makes and applies a patch of what `change` does to old, to new and to both.
fn prove_changed(name: &str, (old, new): &(Vec<u8>, Vec<u8>), change: impl Fn(&mut Vec<u8>)) {
    let changed = |bytes: &Vec<u8>| {
        let mut bytes = bytes.clone();
        change(&mut bytes);
        bytes
    };
    for (old, new) in [(changed(old), new.clone()), (old.clone(), changed(new)), (changed(old), changed(new))] {
        let patch = unit::diff(&old, &new, 1);
        match patch.apply(&old, new.len()) {
            Ok(made) => assert!(made == new, "{name}: the new bytes differ"),
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

/// Where a format's headers lie, in bytes from the start.
fn header_fields(format: Format, bytes: &[u8]) -> Vec<usize> {
    let range = |start: usize, length: usize| (start..start + length).step_by(4);
    match format {
        Format::Pe(_) => range(0x3c, 4).chain(range(0x80, 48)).chain(range(0x188, 5 * 40)).collect(),
        Format::Elf(_) => {
            let table = u64::from_le_bytes(bytes[40..48].try_into().expect("8 bytes")) as usize;
            range(0, 64).chain(range(table + 64, bytes.len() - table - 64)).collect()
        }
        Format::MachO(..) => range(0, 32 + 2 * 72 + 72 + 5 * 80 + 24).collect(),
        Format::Fat(_) => range(0, 48).chain(range(0x4000, 32 + 72 + 160)).collect(),
    }
}

#[test]
fn any_header_field_may_hold_anything() {
    let mut dice = Dice::new(6);
    for format in FORMATS {
        let pair = pair(format);
        for at in header_fields(format, &pair.0) {
            let values = [0, 1, u32::MAX, dice.roll() as u32, 0x7fff_ffff];
            let value = values[dice.below(values.len())];
            for bytes in [&value.to_le_bytes()[..], &value.to_le_bytes()[..2]] {
                let name = format!("{format:?}: {bytes:02x?} at {at}");
                prove_changed(&name, &pair, |image| {
                    let end = (at + bytes.len()).min(image.len());
                    image[at..end].copy_from_slice(&bytes[..end - at]);
                });
            }
        }
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// Fields of section `index` of an ELF image: flags, address, offset, size.
fn set_elf_section(bytes: &mut [u8], index: usize, fields: [Option<u64>; 4]) {
    let table = u64::from_le_bytes(bytes[40..48].try_into().expect("8 bytes")) as usize;
    for (field, value) in fields.into_iter().enumerate() {
        if let Some(value) = value {
            put(bytes, table + 64 * index + 8 + 8 * field, &value.to_le_bytes());
        }
    }
}

#[test]
fn sections_that_overlap_wrap_or_lie_beyond_the_file_do_no_harm() {
    for machine in [Machine::X86, Machine::Arm] {
        let pair = pair(Format::Elf(machine));
        let numbers = [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 1 << 32, u64::MAX >> 1, u64::MAX - 4096, u64::MAX];
        for number in numbers {
            for field in 1..4 {
                let mut fields = [None; 4];
                fields[field] = Some(number);
                for index in [4, 5] {
                    let name = format!("{machine:?}: {number:x} in field {field} of section {index}");
                    prove_changed(&name, &pair, |bytes| set_elf_section(bytes, index, fields));
                }
            }
        }
        prove_changed("all sections are the whole file", &pair, |bytes| {
            let length = bytes.len() as u64;
            (1..7).for_each(|index| set_elf_section(bytes, index, [Some(6), Some(4096), Some(0), Some(length)]));
        });
        prove_changed("two sections share their bytes", &pair, |bytes| {
            set_elf_section(bytes, 5, [Some(6), None, Some(0x1000), Some(0x400)]);
        });
        prove_changed("code at the end of memory", &pair, |bytes| {
            (1..8).for_each(|index| set_elf_section(bytes, index, [Some(0), None, None, None]));
            set_elf_section(bytes, 4, [Some(6), Some(u64::MAX - 0x1fff), Some(0x40), Some(0x1fff)]);
        });
        prove_changed("three GiB of zeros behind the code", &pair, |bytes| {
            set_elf_section(bytes, 7, [None, None, None, Some(3 << 30)]);
        });
    }
}

#[test]
fn counts_of_sections_may_be_the_largest_there_are() {
    let pe = pair(Format::Pe(Machine::X86));
    prove_changed("65,535 sections of a PE", &pe, |bytes| put(bytes, 0x86, &[0xff, 0xff]));
    prove_changed("65,535 empty sections of a PE that are there", &pe, |bytes| {
        put(bytes, 0x86, &[0xff, 0xff]);
        bytes.resize(0x200 + 40 * 65_536, 0);
    });
    let elf = pair(Format::Elf(Machine::Arm));
    prove_changed("65,535 sections of an ELF", &elf, |bytes| put(bytes, 60, &[0xff, 0xff]));
    prove_changed("65,535 sections of an ELF that are there", &elf, |bytes| {
        let table = u64::from_le_bytes(bytes[40..48].try_into().expect("8 bytes")) as usize;
        let code = bytes[table + 256..table + 320].to_vec();
        bytes.truncate(table + 64);
        (0..65_534).for_each(|_| bytes.extend_from_slice(&code));
        put(bytes, 60, &[0xff, 0xff]);
    });
    let mach = pair(Format::MachO(Machine::X86, Signature::None));
    prove_changed("all commands of a Mach-O", &mach, |bytes| put(bytes, 16, &[0xff; 4]));
    prove_changed("commands without a length", &mach, |bytes| put(bytes, 36, &[0; 4]));
    prove_changed("segments in every eight bytes", &mach, |bytes| {
        let command = [0x19, 0, 0, 0, 8, 0, 0, 0];
        put(bytes, 16, &4096u32.to_le_bytes());
        (0..1000).for_each(|n| put(bytes, 32 + 8 * n, &command));
    });
}

/// A fat header over slices, each an offset and a length.
fn fat(slices: &[(u32, u32)], image: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xca, 0xfe, 0xba, 0xbe];
    bytes.extend_from_slice(&(slices.len() as u32).to_be_bytes());
    for (offset, length) in slices {
        for number in [0x0100_0007, 3, *offset, *length, 12] {
            bytes.extend_from_slice(&u32::to_be_bytes(number));
        }
    }
    bytes.resize(0x1000, 0);
    bytes.extend_from_slice(image);
    bytes.extend_from_slice(image);
    bytes
}

#[test]
fn fat_headers_may_point_anywhere() {
    let (old, new) = pair(Format::MachO(Machine::X86, Signature::None));
    let length = old.len().min(new.len()) as u32;
    let cases: [(&str, Vec<(u32, u32)>); 8] = [
        ("at itself", vec![(0, 0x1000 + length)]),
        ("at its own header", vec![(0, 48), (8, 40)]),
        ("eight times at one slice", vec![(0x1000, length); 8]),
        ("backwards", vec![(0x1000 + length, length), (0x1000, length)]),
        ("at slices within slices", vec![(0x1000, 2 * length), (0x1000 + length, length)]),
        ("beyond the file", vec![(0x1000, u32::MAX), (u32::MAX, u32::MAX)]),
        ("at cut slices", vec![(0x1000, length / 2), (0x1000 + length, 100)]),
        ("at more slices than are read", vec![(0x1000, length); 9]),
    ];
    for (name, slices) in cases {
        let image = |bytes: &[u8]| fat(&slices, &bytes[..length as usize]);
        prove_changed(name, &(image(&old), image(&new)), |_| {});
    }
    // Slices without a symbol table.
    let bare = |bytes: &[u8]| {
        let mut slice = bytes[..length as usize].to_vec();
        put(&mut slice, 16, &3u32.to_le_bytes());
        fat(&[(0x1000, length), (0x1000 + length, length)], &slice)
    };
    prove_changed("at slices without symbols", &(bare(&old), bare(&new)), |_| {});
}

#[derive(Debug, Clone)]
enum Edit {
    Insert(usize, u64, usize),
    Delete(usize, usize),
    Move(usize, usize, usize),
    Overwrite(usize, u64, usize),
    Truncate(usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (any::<usize>(), any::<u64>(), 0usize..900).prop_map(|(at, seed, length)| Edit::Insert(at, seed, length)),
        (any::<usize>(), 0usize..900).prop_map(|(at, length)| Edit::Delete(at, length)),
        (any::<usize>(), 0usize..900, any::<usize>()).prop_map(|(from, length, to)| Edit::Move(from, length, to)),
        (any::<usize>(), any::<u64>(), 0usize..300).prop_map(|(at, seed, length)| Edit::Overwrite(at, seed, length)),
        any::<usize>().prop_map(Edit::Truncate),
    ]
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    (0..length).map(|_| dice.roll() as u8).collect()
}

fn carry_out(bytes: &mut Vec<u8>, edit: &Edit) {
    let range = |bytes: &[u8], at: usize, length: usize| {
        let at = at % (bytes.len() + 1);
        at..(at + length).min(bytes.len())
    };
    match edit {
        Edit::Insert(at, seed, length) => {
            let at = at % (bytes.len() + 1);
            drop(bytes.splice(at..at, noise(*seed, *length)));
        }
        Edit::Delete(at, length) => drop(bytes.drain(range(bytes, *at, *length))),
        Edit::Move(from, length, to) => {
            let moved: Vec<u8> = bytes.drain(range(bytes, *from, *length)).collect();
            let to = to % (bytes.len() + 1);
            drop(bytes.splice(to..to, moved));
        }
        Edit::Overwrite(at, seed, length) => {
            let range = range(bytes, *at, *length);
            bytes[range.clone()].copy_from_slice(&noise(*seed, range.len()));
        }
        Edit::Truncate(at) => bytes.truncate(at % (bytes.len() + 1)),
    }
}

#[test]
fn executables_may_come_from_nothing_and_go_to_nothing() {
    for format in FORMATS {
        let image = release(7, 20, format);
        for (old, new) in [(&image[..], &[][..]), (&[], &image), (&image, &image), (&image[..1030], &image)] {
            unit::prove(old, new, 5);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_edit_of_an_executable_comes_back(
        seed in 0u64..50,
        old_format in 0usize..7,
        new_format in 0usize..14,
        old_edits in proptest::collection::vec(edit(), 0..3),
        new_edits in proptest::collection::vec(edit(), 0..7),
    ) {
        // Half of the pairs are of one format.
        let new_format = if new_format >= 7 { old_format } else { new_format };
        let (mut old, mut new) = (release(seed, 30, FORMATS[old_format]), release(seed, 30, FORMATS[new_format]));
        old_edits.iter().for_each(|edit| carry_out(&mut old, edit));
        new_edits.iter().for_each(|edit| carry_out(&mut new, edit));
        unit::prove(&old, &new, 1);
    }
}
