//! Random programs of valid instructions.
//!
//! Three registers keep addresses, so that most programs go on for long: x30 the middle of the scratch area, x31 an aligned address in it, x29 an address in
//! the program. All others hold anything. A jump may still lead out of the program, which ends it on both machines alike.

use embedded::RAM_BASE;

/// Where the program is, from the beginning of RAM.
pub const CODE: u64 = 0x1000;
/// Where its data is: two pages, with what crosses from one to the other.
pub const SCRATCH: u64 = 0x8_0000;
/// Bytes of data.
pub const SCRATCH_LENGTH: usize = 8192;

const LENGTH: u64 = 128;
const IN_PROGRAM: u32 = 29;
const MIDDLE: u32 = 30;
const ALIGNED: u32 = 31;

/// Numbers that are always the same for a seed (SplitMix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0xd134_2543_de82_ef95))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub fn below(&mut self, bound: u64) -> u32 {
        (self.next() % bound) as u32
    }

    fn one_of(&mut self, choices: &[u32]) -> u32 {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// A value where arithmetic goes wrong first, as often as any other.
    fn value(&mut self) -> u64 {
        let edges = [
            0,
            1,
            u64::MAX,
            1 << 63,
            (1 << 63) - 1,
            1 << 31,
            (1 << 31) - 1,
            1 << 32,
            u64::from(u32::MAX),
        ];
        match self.below(4) {
            0 => edges[self.below(9) as usize],
            1 => (edges[self.below(9) as usize] as u32 as i32 as u64).wrapping_add(u64::from(self.below(3))),
            2 => self.next() >> self.below(64),
            _ => self.next(),
        }
    }

    /// A register that may be written.
    fn target(&mut self) -> u32 {
        self.below(29)
    }

    fn source(&mut self) -> u32 {
        self.below(32)
    }
}

fn r(opcode: u32, funct3: u32, funct7: u32, [rd, rs1, rs2]: [u32; 3]) -> u32 {
    funct7 << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
}

fn i(opcode: u32, funct3: u32, rd: u32, rs1: u32, immediate: i32) -> u32 {
    (immediate as u32) << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
}

fn s(funct3: u32, rs1: u32, rs2: u32, immediate: i32) -> u32 {
    let immediate = immediate as u32;
    (immediate >> 5 & 0x7f) << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | (immediate & 31) << 7 | 0x23
}

fn b(funct3: u32, rs1: u32, rs2: u32, offset: i32) -> u32 {
    let offset = offset as u32;
    let upper = (offset >> 12 & 1) << 6 | offset >> 5 & 0x3f;
    let lower = (offset >> 1 & 0xf) << 1 | offset >> 11 & 1;
    upper << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | lower << 7 | 0x63
}

fn j(rd: u32, offset: i32) -> u32 {
    let offset = offset as u32;
    let bits = (offset >> 20 & 1) << 19 | (offset >> 1 & 0x3ff) << 9 | (offset >> 11 & 1) << 8 | offset >> 12 & 0xff;
    bits << 12 | rd << 7 | 0x6f
}

/// A program that may go back and forth within itself.
pub fn program(random: &mut Random) -> Vec<u32> {
    let mut words = Vec::new();
    while (words.len() as u64) < LENGTH {
        instruction(random, &mut words);
    }
    words
}

fn instruction(random: &mut Random, words: &mut Vec<u32>) {
    let (rd, rs1, rs2) = (random.target(), random.source(), random.source());
    let all = [rd, rs1, rs2];
    let immediate = random.next() as i32 >> 20;
    // From here to any other place; mostly forward, or programs would soon be caught in a loop.
    let here = words.len() as i32;
    let place = if random.below(8) == 0 {
        random.below(LENGTH) as i32
    } else {
        here + 1 + random.below(6) as i32
    };
    let offset = 4 * (place - here);
    let (shift, word_shift) = (random.below(64), random.below(32));
    let word = match random.below(24) {
        0..3 => i(0x13, random.one_of(&[0, 2, 3, 4, 6, 7]), rd, rs1, immediate),
        3 => r(0x13, 1, shift >> 5, [rd, rs1, shift & 31]),
        4 => r(0x13, 5, random.one_of(&[0, 0x20]) | shift >> 5, [rd, rs1, shift & 31]),
        5 => i(0x1b, 0, rd, rs1, immediate),
        6 => r(0x1b, random.one_of(&[1, 5]), 0, [rd, rs1, word_shift]),
        7 => r(0x1b, 5, 0x20, [rd, rs1, word_shift]),
        8..10 => r(0x33, random.below(8), 0, all),
        10 => r(0x33, random.one_of(&[0, 5]), 0x20, all),
        11 => r(0x3b, random.one_of(&[0, 1, 5]), 0, all),
        12 => r(0x3b, random.one_of(&[0, 5]), 0x20, all),
        13..15 => r(0x33, random.below(8), 1, all),
        15 => r(0x3b, random.one_of(&[0, 4, 5, 6, 7]), 1, all),
        16 => (random.next() as u32 & 0xffff_f000) | rd << 7 | random.one_of(&[0x17, 0x37]),
        17..19 => i(0x03, random.below(7), rd, MIDDLE, immediate),
        19 => s(random.below(4), MIDDLE, rs2, immediate),
        20 => b(random.one_of(&[0, 1, 4, 5, 6, 7]), rs1, rs2, offset),
        21 => j(rd, offset),
        22 => {
            // AUIPC and JALR; bit 0 of where it goes does not count.
            words.push(IN_PROGRAM << 7 | 0x17);
            let link = random.one_of(&[rd, IN_PROGRAM]);
            i(0x67, 0, link, IN_PROGRAM, (offset & !1) | random.below(2) as i32)
        }
        _ => {
            if random.below(3) != 0 {
                words.push(i(0x13, 0, ALIGNED, MIDDLE, immediate & !7));
            }
            let operation = random.one_of(&[0, 1, 2, 2, 3, 3, 4, 8, 0xc, 0x10, 0x14, 0x18, 0x1c]);
            let operand = if operation == 2 { 0 } else { rs2 };
            let order = random.below(4);
            let width = random.one_of(&[2, 3]);
            r(0x2f, width, operation << 2 | order, [rd, ALIGNED, operand])
        }
    };
    words.push(word);
}

/// What the registers hold at first.
pub fn registers(random: &mut Random) -> [u64; 32] {
    let mut registers = std::array::from_fn(|_| random.value());
    registers[0] = 0;
    registers[IN_PROGRAM as usize] = RAM_BASE + CODE;
    registers[MIDDLE as usize] = RAM_BASE + SCRATCH + SCRATCH_LENGTH as u64 / 2;
    registers[ALIGNED as usize] = registers[MIDDLE as usize];
    registers
}

/// What the data is at first.
pub fn scratch(random: &mut Random) -> Vec<u8> {
    (0..SCRATCH_LENGTH / 8)
        .flat_map(|_| random.value().to_le_bytes())
        .collect()
}

/// Any 32-bit word, with fields that are likely to make an instruction. Without FENCE and SYSTEM, of which the other interpreter knows other ones.
pub fn any_word(random: &mut Random) -> u32 {
    let opcodes = [0x03, 0x13, 0x17, 0x1b, 0x23, 0x2f, 0x33, 0x37, 0x3b, 0x63, 0x67, 0x6f];
    let opcode = match random.below(8) {
        0 => match random.below(32) << 2 | 3 {
            0x0f | 0x73 => 0x7f,
            other => other,
        },
        _ => random.one_of(&opcodes),
    };
    let upper = match random.below(4) {
        0 => random.next() as u32 & 0x7f,
        _ => random.one_of(&[0, 1, 0x20, 0x21, 8, 0xc]),
    };
    let rs2 = if random.below(4) == 0 { 0 } else { random.source() };
    r(opcode, random.below(8), upper, [random.source(), random.source(), rs2])
}
