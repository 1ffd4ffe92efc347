//! Machine code of functions.

use super::program::{Access, Dice, Function, Op, Word};
use super::{Machine, Symbols, Writer};

const NOISE_WORDS: u64 = 24;

/// Bytes of a function.
pub(super) fn length(function: &Function, machine: Machine) -> u64 {
    function.ops.iter().map(|op| op_length(op, machine)).sum()
}

fn op_length(op: &Op, machine: Machine) -> u64 {
    match (machine, op) {
        (_, Op::Noise(_)) => 4 * NOISE_WORDS,
        (Machine::X86, Op::Plain(choice)) => x86_plain(*choice).len() as u64,
        (Machine::X86, Op::Call(_) | Op::Jump(_)) => 5,
        (Machine::X86, Op::Branch(_)) => 6,
        (Machine::X86, Op::Use(_, Access::Store(_))) => 10,
        (Machine::X86, Op::Use(..)) => 7,
        (Machine::Arm, Op::Use(..)) => 8,
        (Machine::Arm, _) => 4,
    }
}

/// Writes a function where the writer stands.
pub(super) fn write(writer: &mut Writer, function: &Function, machine: Machine, symbols: &Symbols) {
    let mut address = symbols.functions[&function.id];
    for op in &function.ops {
        let target = match op {
            Op::Plain(_) | Op::Noise(_) => 0,
            Op::Call(id) | Op::Jump(id) | Op::Branch(id) => {
                symbols.address(&Word::Function(*id)).expect("a function of the program")
            }
            Op::Use(id, _) => symbols.address(&Word::Datum(*id)).expect("a datum of the program"),
        };
        match machine {
            Machine::X86 => x86(writer, op, address, target),
            Machine::Arm => arm(writer, op, address, target),
        }
        address += op_length(op, machine);
    }
}

fn x86_plain(choice: u32) -> Vec<u8> {
    let [low, middle, ..] = choice.to_le_bytes();
    match choice >> 29 {
        0 => vec![0x48, 0x89, 0xc3],
        1 => vec![0x31, 0xc0],
        2 => vec![0x48, 0x83, 0xc4, low & 0x78],
        3 => vec![0xb8, low, middle, 0, 0],
        4 => vec![0x0f, 0x1f, 0x44, 0, 0],
        5 => vec![0x74, low & 0x7f],
        6 => vec![0x55, 0x41, 0x57],
        _ => vec![0xba, low, middle, low, 0],
    }
}

fn x86(writer: &mut Writer, op: &Op, address: u64, target: u64) {
    let (opcode, after): (Vec<u8>, Vec<u8>) = match op {
        Op::Noise(seed) => return writer.put(&x86_noise(*seed)),
        Op::Plain(choice) => return writer.put(&x86_plain(*choice)),
        Op::Call(_) => (vec![0xe8], vec![]),
        Op::Jump(_) => (vec![0xe9], vec![]),
        Op::Branch(_) => (vec![0x0f, 0x84], vec![]),
        Op::Use(_, Access::Load) => (vec![0x48, 0x8b, 0x05], vec![]),
        Op::Use(_, Access::Address) => (vec![0x48, 0x8d, 0x0d], vec![]),
        Op::Use(_, Access::Store(value)) => (vec![0xc7, 0x05], value.to_le_bytes().to_vec()),
        Op::Use(_, Access::Compare(value)) => (vec![0x83, 0x3d], vec![*value]),
    };
    let end = address + op_length(op, Machine::X86);
    writer.put(&opcode);
    writer.u32_to(target.wrapping_sub(end), target);
    writer.put(&after);
}

fn arm(writer: &mut Writer, op: &Op, address: u64, target: u64) {
    let distance = target.wrapping_sub(address);
    let branch = |bits: u64| distance >> 2 & ((1 << bits) - 1);
    match op {
        Op::Noise(seed) => arm_noise(*seed).iter().for_each(|word| writer.u32(*word)),
        Op::Plain(choice) => writer.u32(0xd280_0000 | u64::from(choice & 0xffff) << 5 | u64::from(choice >> 16 & 7)),
        Op::Call(_) => writer.u32_to(0x9400_0000 | branch(26), target),
        Op::Jump(_) => writer.u32_to(0x1400_0000 | branch(26), target),
        Op::Branch(_) => writer.u32_to(0x5400_0001 | branch(19) << 5, target),
        Op::Use(_, access) => {
            let pages = (target >> 12).wrapping_sub(address >> 12);
            writer.u32_to(0x9000_0008 | (pages & 3) << 29 | (pages >> 2 & 0x7_ffff) << 5, target);
            let low = target & 0xfff;
            let word = if *access == Access::Load { 0xf940_0108 | (low >> 3) << 10 } else { 0x9100_0108 | low << 10 };
            writer.u32_to(word, target);
        }
    }
}

/// Opcodes of every kind in front of small distances.
fn x86_noise(seed: u32) -> Vec<u8> {
    let mut dice = Dice::new(seed.into());
    let mut bytes = Vec::new();
    while bytes.len() < 4 * NOISE_WORDS as usize {
        let any = dice.roll() as u8;
        match dice.below(8) {
            0 => bytes.push(0xe8 | any & 1),
            1 => bytes.extend([0x0f, 0x80 | any & 0x1f]),
            2 => bytes.extend([0x0f, any, 0x05 | any & 0x38]),
            3 => bytes.extend([0xc5, any, any ^ 0x55, 0x0d]),
            4 => bytes.extend([0xc4, 0xe2, any, 0x58, 0x05]),
            5 => bytes.extend([[0xf6, 0xf7, 0xc6, 0x80, 0x69, 0xc1][dice.below(6)], 0x05 | any & 0x38]),
            _ => bytes.extend([any, 0x05 | (any >> 2) & 0x38]),
        }
        let distance = dice.below(0x6000) as i32 - 0x2000;
        bytes.extend_from_slice(&distance.to_le_bytes());
    }
    bytes.truncate(4 * NOISE_WORDS as usize);
    bytes
}

/// Words near those that the scan takes, with small distances.
fn arm_noise(seed: u32) -> Vec<u64> {
    let mut dice = Dice::new(seed.into());
    let word = |_| {
        let (any, small) = (dice.roll() & 0xffff_ffff, dice.roll() & 0x7ff);
        match dice.below(7) {
            0 => 0x1400_0000 | any & 0x8000_0000 | small,
            1 => 0x5400_0000 | any & 31 | small << 5,
            2 => 0x3400_0000 | any & 0x8300_001f | small << 5,
            3 => 0x9000_0000 | any & 0x6000_0003 | (small & 3) << 5,
            4 => 0x9100_0000 | any & 0x00c0_001f | (any >> 8 & 3) << 5 | small << 10,
            5 => 0x3900_0000 | any & 0xc4c0_001f | (any >> 8 & 3) << 5 | (small & 0x1ff) << 10,
            _ => any,
        }
    };
    (0..NOISE_WORDS).map(word).collect()
}
