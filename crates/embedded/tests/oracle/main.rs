//! The interpreter against another one: random programs on both, compared after each instruction.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod biased;
mod programs;

use std::sync::Arc;

use biased::Biased;
use ckb_vm::{
    CoreMachine, DefaultCoreMachine, DefaultMachine, DefaultMachineBuilder, ISA_A, ISA_IMC, Memory, SupportMachine,
    decoder::{Decoder, build_decoder},
    machine::VERSION2,
};
use embedded::{Bus, Cpu, GuestMemory, Halt, RAM_BASE, Stop};
use programs::{CODE, Random, SCRATCH, SCRATCH_LENGTH};

const RAM: u64 = 1 << 20;

type Oracle = DefaultMachine<DefaultCoreMachine<u64, Biased>>;

/// The same machine twice.
struct Pair {
    cpu: Cpu,
    bus: Bus,
    oracle: Oracle,
    decoder: Decoder,
}

impl Pair {
    fn new() -> Pair {
        let core =
            DefaultCoreMachine::<u64, Biased>::new_with_memory(ISA_IMC | ISA_A, VERSION2, u64::MAX, RAM as usize);
        Pair {
            cpu: Cpu::new(RAM_BASE + CODE),
            bus: Bus::new(Arc::new(GuestMemory::new(RAM).unwrap())),
            oracle: DefaultMachineBuilder::new(core).build(),
            decoder: build_decoder::<u64>(ISA_IMC | ISA_A, VERSION2),
        }
    }

    fn write(&mut self, at: u64, bytes: &[u8]) {
        assert!(self.bus.memory.write(at, bytes));
        self.oracle.memory_mut().store_bytes(RAM_BASE + at, bytes).unwrap();
    }

    fn load(&mut self, words: &[u32]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.write(CODE, &bytes);
    }

    /// Where both begin.
    fn set(&mut self, registers: &[u64; 32]) {
        self.cpu.x = *registers;
        for (at, value) in registers.iter().enumerate() {
            self.oracle.set_register(at, *value);
        }
        self.cpu.pc = RAM_BASE + CODE;
        self.oracle.update_pc(RAM_BASE + CODE);
        self.oracle.commit_pc();
    }

    /// One instruction on both; whether it could be executed. Without a trap handler a trap stops the machine where it is.
    fn step(&mut self) -> (bool, bool) {
        let theirs = self.oracle.step(&mut self.decoder).is_ok();
        let stop = self.cpu.run(&mut self.bus, 1);
        assert!(
            matches!(stop, Stop::Spent | Stop::Halted(Halt::Crash)),
            "the program has no other end: {stop:?}"
        );
        (stop == Stop::Spent, theirs)
    }

    fn scratch(&mut self) -> (Vec<u8>, Vec<u8>) {
        let mut ours = vec![0; SCRATCH_LENGTH];
        assert!(self.bus.memory.read(SCRATCH, &mut ours));
        let memory = self.oracle.memory_mut();
        let theirs = memory.load_bytes(RAM_BASE + SCRATCH, SCRATCH_LENGTH as u64).unwrap();
        (ours, theirs.to_vec())
    }
}

/// Both run the program with this seed; the instructions executed.
fn compare(seed: u64) -> u64 {
    let mut random = Random::new(seed);
    let mut pair = Pair::new();
    let program = programs::program(&mut random);
    let scratch = programs::scratch(&mut random);
    pair.load(&program);
    pair.write(SCRATCH, &scratch);
    pair.set(&programs::registers(&mut random));
    for executed in 0..400 {
        let at = pair.cpu.pc;
        let word = pair.bus.memory.load::<4>(at - RAM_BASE).map(u32::from_le_bytes);
        let before = pair.cpu.x;
        let (ours, theirs) = pair.step();
        let place =
            || format!("seed {seed}, instruction {executed}: {word:08x?} at {at:#x}, registers before: {before:x?}");
        assert_eq!(ours, theirs, "executed here, executed there; {}", place());
        assert_eq!(&pair.cpu.x[..], pair.oracle.registers(), "registers; {}", place());
        assert_eq!(pair.cpu.pc, *pair.oracle.pc(), "pc; {}", place());
        if !ours {
            break;
        }
    }
    let (ours, theirs) = pair.scratch();
    assert!(ours == theirs, "seed {seed}: memory differs");
    assert_eq!(pair.bus.memory.load::<4>(CODE), Some(program[0].to_le_bytes()));
    pair.cpu.instret
}

#[test]
fn random_programs_do_the_same_on_both() {
    let executed: u64 = (0..20_000).map(compare).sum();
    // So that a generator which only makes programs that end at once does not pass for a test.
    assert!(executed > 2_000_000, "only {executed} instructions");
}

#[test]
fn the_same_words_are_instructions_on_both() {
    let mut random = Random::new(1);
    let mut legal = 0;
    for _ in 0..200 {
        let mut pair = Pair::new();
        let words: Vec<u32> = (0..1000).map(|_| programs::any_word(&mut random)).collect();
        pair.load(&words);
        // Anywhere beyond the program, which is zero: there is none.
        pair.cpu.mtvec = RAM_BASE + SCRATCH;
        for (at, word) in (0_u64..).zip(&words) {
            let pc = RAM_BASE + CODE + 4 * at;
            let theirs = pair.decoder.decode(pair.oracle.memory_mut(), pc).is_ok();
            (pair.cpu.pc, pair.cpu.mcause) = (pc, 0);
            // Loads and stores fault, which makes them instructions.
            pair.cpu.x = [1 << 40; 32];
            pair.cpu.x[0] = 0;
            pair.cpu.run(&mut pair.bus, 1);
            let ours = pair.cpu.mcause != 2;
            assert_eq!(ours, theirs, "{word:08x}");
            legal += u32::from(ours);
        }
    }
    assert!(
        (40_000..160_000).contains(&legal),
        "{legal} of 200000 words are instructions"
    );
}
