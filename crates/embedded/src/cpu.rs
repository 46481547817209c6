//! The processor: RV64IMA with Zicsr and Zifencei, machine mode only (unprivileged specification 20191213, privileged 1.12).

use crate::{
    arithmetic::{multiply, multiply_word, operate, operate_word},
    bus::{Bus, Halt},
    decode::Instruction,
};

/// Why execution stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The instructions that were allowed are used up.
    Spent,
    /// The guest waits for an interrupt.
    Waiting,
    /// The machine is off.
    Halted(Halt),
}

const TIMER_PENDING: u64 = 1 << 7;
const MSTATUS_MIE: u64 = 1 << 3;
const MSTATUS_MPIE: u64 = 1 << 7;
/// The mode before the trap: always machine mode.
const MSTATUS_MPP: u64 = 3 << 11;

const CAUSE_FETCH_MISALIGNED: u64 = 0;
const CAUSE_FETCH_FAULT: u64 = 1;
const CAUSE_ILLEGAL: u64 = 2;
const CAUSE_BREAKPOINT: u64 = 3;
const CAUSE_LOAD_FAULT: u64 = 5;
const CAUSE_STORE_MISALIGNED: u64 = 6;
const CAUSE_STORE_FAULT: u64 = 7;
const CAUSE_ECALL: u64 = 11;
const CAUSE_TIMER: u64 = 1 << 63 | 7;

/// What an instruction raises: cause and value.
type Trap = (u64, u64);

/// Registers of the processor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// x0 to x31; x0 is zero.
    pub x: [u64; 32],
    /// Address of the next instruction.
    pub pc: u64,
    /// Machine status: only the bits of interrupts.
    pub mstatus: u64,
    /// Interrupts that are let through.
    pub mie: u64,
    /// Address of the trap handler; 0 = none, a trap crashes the machine.
    pub mtvec: u64,
    /// For the trap handler's own use.
    pub mscratch: u64,
    /// Where the trap came from.
    pub mepc: u64,
    /// Why it came.
    pub mcause: u64,
    /// What it was about.
    pub mtval: u64,
    /// Instructions executed.
    pub instret: u64,
    /// Whether it waits for an interrupt.
    pub waiting: bool,
    /// The address that LR has reserved; lost when the machine moves, as it may be at any time.
    pub reservation: Option<u64>,
}

impl Cpu {
    /// A processor that begins at `pc`.
    pub fn new(pc: u64) -> Cpu {
        Cpu {
            pc,
            mstatus: MSTATUS_MPP,
            ..Cpu::default()
        }
    }

    /// Whether the timer's interrupt is pending and let through, at the bus's time.
    pub fn timer_wakes(&self, bus: &Bus) -> bool {
        bus.time >= bus.time_compare && self.mie & TIMER_PENDING != 0
    }

    /// Executes at most `count` instructions. Takes a timer interrupt first, if one is due.
    pub fn run(&mut self, bus: &mut Bus, count: u64) -> Stop {
        if self.timer_wakes(bus) {
            self.waiting = false;
            if self.mstatus & MSTATUS_MIE != 0 {
                self.trap((CAUSE_TIMER, 0), bus);
            }
        }
        if self.waiting {
            return Stop::Waiting;
        }
        let mut left = count;
        while left > 0 {
            left -= 1;
            if let Err(trap) = self.step(bus) {
                self.trap(trap, bus);
            }
            if self.waiting || bus.halt.is_some() {
                break;
            }
        }
        self.instret = self.instret.wrapping_add(count - left);
        match bus.halt {
            Some(halt) => Stop::Halted(halt),
            None if self.waiting => Stop::Waiting,
            None => Stop::Spent,
        }
    }

    fn trap(&mut self, (cause, value): Trap, bus: &mut Bus) {
        if self.mtvec & !3 == 0 {
            bus.halt = Some(Halt::Crash);
            return;
        }
        self.mepc = self.pc;
        self.mcause = cause;
        self.mtval = value;
        let enabled = self.mstatus & MSTATUS_MIE != 0;
        self.mstatus = MSTATUS_MPP | if enabled { MSTATUS_MPIE } else { 0 };
        let vectored = self.mtvec & 3 == 1 && cause >> 63 != 0;
        self.pc = (self.mtvec & !3).wrapping_add(if vectored { 4 * (cause & 0xff) } else { 0 });
    }

    #[inline(always)]
    fn step(&mut self, bus: &mut Bus) -> Result<(), Trap> {
        let pc = self.pc;
        if pc & 3 != 0 {
            return Err((CAUSE_FETCH_MISALIGNED, pc));
        }
        let Some(word) = bus.memory.load::<4>(pc.wrapping_sub(crate::RAM_BASE)) else {
            return Err((CAUSE_FETCH_FAULT, pc));
        };
        let i = Instruction(u32::from_le_bytes(word));
        let a = self.x[i.rs1()];
        let b = self.x[i.rs2()];
        let mut next = pc.wrapping_add(4);
        let illegal = (CAUSE_ILLEGAL, u64::from(i.0));
        match i.opcode() {
            0x37 => self.set(i, i.u()),
            0x17 => self.set(i, pc.wrapping_add(i.u())),
            0x6f => {
                self.set(i, next);
                next = pc.wrapping_add(i.j());
            }
            0x67 if i.funct3() == 0 => {
                self.set(i, next);
                next = a.wrapping_add(i.i()) & !1;
            }
            0x63 => {
                let taken = match i.funct3() {
                    0 => a == b,
                    1 => a != b,
                    4 => (a as i64) < b as i64,
                    5 => a as i64 >= b as i64,
                    6 => a < b,
                    7 => a >= b,
                    _ => return Err(illegal),
                };
                if taken {
                    next = pc.wrapping_add(i.b());
                }
            }
            0x03 => {
                let at = a.wrapping_add(i.i());
                let value = match i.funct3() {
                    0 => bus.load(at).map(|bytes| i8::from_le_bytes(bytes) as u64),
                    1 => bus.load(at).map(|bytes| i16::from_le_bytes(bytes) as u64),
                    2 => bus.load(at).map(|bytes| i32::from_le_bytes(bytes) as u64),
                    3 => bus.load(at).map(u64::from_le_bytes),
                    4 => bus.load(at).map(|bytes| u64::from(u8::from_le_bytes(bytes))),
                    5 => bus.load(at).map(|bytes| u64::from(u16::from_le_bytes(bytes))),
                    6 => bus.load(at).map(|bytes| u64::from(u32::from_le_bytes(bytes))),
                    _ => return Err(illegal),
                };
                self.set(i, value.ok_or((CAUSE_LOAD_FAULT, at))?);
            }
            0x23 => {
                let at = a.wrapping_add(i.s());
                let done = match i.funct3() {
                    0 => bus.store(at, (b as u8).to_le_bytes()),
                    1 => bus.store(at, (b as u16).to_le_bytes()),
                    2 => bus.store(at, (b as u32).to_le_bytes()),
                    3 => bus.store(at, b.to_le_bytes()),
                    _ => return Err(illegal),
                };
                if !done {
                    return Err((CAUSE_STORE_FAULT, at));
                }
            }
            0x13 => {
                let value = operate(i.funct3(), a, i.i(), i.i() as u32 >> 6 & 0x3f, 6).ok_or(illegal)?;
                self.set(i, value);
            }
            0x1b => {
                let value = operate_word(i.funct3(), a, i.i(), i.funct7()).ok_or(illegal)?;
                self.set(i, value);
            }
            0x33 => {
                let value = match i.funct7() {
                    1 => Some(multiply(i.funct3(), a, b)),
                    // SUB is the one operation that register-immediate does not have.
                    0x20 if i.funct3() == 0 => Some(a.wrapping_sub(b)),
                    0 => operate(i.funct3(), a, b, 0, 6),
                    0x20 if i.funct3() == 5 => operate(5, a, b, 0x10, 6),
                    _ => None,
                };
                self.set(i, value.ok_or(illegal)?);
            }
            0x3b => {
                let value = match i.funct7() {
                    1 => multiply_word(i.funct3(), a as u32, b as u32),
                    0x20 if i.funct3() == 0 => Some(a.wrapping_sub(b) as i32 as u64),
                    0 => operate_word(i.funct3(), a, b, 0),
                    0x20 if i.funct3() == 5 => operate_word(5, a, b, 0x20),
                    _ => None,
                };
                self.set(i, value.ok_or(illegal)?);
            }
            0x2f => {
                let value = self.atomic(bus, i, a, b)?;
                self.set(i, value);
            }
            // FENCE and FENCE.I: one processor, no caches.
            0x0f => {}
            0x73 => match (i.funct3(), i.0) {
                (0, 0x0000_0073) => return Err((CAUSE_ECALL, 0)),
                (0, 0x0010_0073) => return Err((CAUSE_BREAKPOINT, pc)),
                (0, 0x3020_0073) => {
                    let enabled = self.mstatus & MSTATUS_MPIE != 0;
                    self.mstatus = MSTATUS_MPP | MSTATUS_MPIE | if enabled { MSTATUS_MIE } else { 0 };
                    next = self.mepc & !3;
                }
                (0, 0x1050_0073) => {
                    bus.update_clock();
                    self.waiting = !self.timer_wakes(bus);
                }
                (0 | 4, _) => return Err(illegal),
                _ => {
                    let value = self.csr(bus, i, a).ok_or(illegal)?;
                    self.set(i, value);
                }
            },
            _ => return Err(illegal),
        }
        self.pc = next;
        Ok(())
    }

    #[inline(always)]
    fn set(&mut self, i: Instruction, value: u64) {
        self.x[i.rd()] = value;
        self.x[0] = 0;
    }

    /// Reads a control and status register, and writes it if the instruction does.
    fn csr(&mut self, bus: &mut Bus, i: Instruction, a: u64) -> Option<u64> {
        let old = match i.csr() {
            0x300 => self.mstatus,
            // RV64IMA.
            0x301 => 2 << 62 | 1 << 12 | 1 << 8 | 1,
            0x304 => self.mie,
            0x305 => self.mtvec,
            0x340 => self.mscratch,
            0x341 => self.mepc,
            0x342 => self.mcause,
            0x343 => self.mtval,
            0x344 => {
                bus.update_clock();
                if bus.time >= bus.time_compare { TIMER_PENDING } else { 0 }
            }
            0xc01 => {
                bus.update_clock();
                bus.time
            }
            0xb00 | 0xb02 | 0xc00 | 0xc02 => self.instret,
            0xf11..=0xf14 => 0,
            _ => return None,
        };
        let operand = if i.funct3() & 4 != 0 { i.rs1() as u64 } else { a };
        let writes = i.funct3() & 3 == 1 || i.rs1() != 0;
        if writes {
            let new = match i.funct3() & 3 {
                1 => operand,
                2 => old | operand,
                _ => old & !operand,
            };
            match i.csr() {
                0x300 => self.mstatus = MSTATUS_MPP | new & (MSTATUS_MIE | MSTATUS_MPIE),
                0x304 => self.mie = new & TIMER_PENDING,
                0x305 => self.mtvec = new & !2,
                0x340 => self.mscratch = new,
                0x341 => self.mepc = new & !3,
                0x342 => self.mcause = new,
                0x343 => self.mtval = new,
                // Writable in name only.
                0x301 | 0x344 | 0xb00 | 0xb02 => {}
                _ => return None,
            }
        }
        Some(old)
    }

    /// LR, SC and the atomic operations.
    fn atomic(&mut self, bus: &mut Bus, i: Instruction, at: u64, b: u64) -> Result<u64, Trap> {
        let illegal = (CAUSE_ILLEGAL, u64::from(i.0));
        let operation = i.funct7() >> 2;
        // Before anything is looked up at the address: what is no instruction does not fault there.
        let width = match (i.funct3(), operation) {
            (_, 2) if i.rs2() != 0 => return Err(illegal),
            (2, 0..=4 | 8 | 0x0c | 0x10 | 0x14 | 0x18 | 0x1c) => 4,
            (3, 0..=4 | 8 | 0x0c | 0x10 | 0x14 | 0x18 | 0x1c) => 8,
            _ => return Err(illegal),
        };
        if at & (width - 1) != 0 {
            return Err((CAUSE_STORE_MISALIGNED, at));
        }
        let load = |bus: &mut Bus| match width {
            4 => bus.load(at).map(|bytes| i32::from_le_bytes(bytes) as u64),
            _ => bus.load(at).map(u64::from_le_bytes),
        };
        let store = |bus: &mut Bus, value: u64| match width {
            4 => bus.store(at, (value as u32).to_le_bytes()),
            _ => bus.store(at, value.to_le_bytes()),
        };
        match operation {
            2 => {
                let value = load(bus).ok_or((CAUSE_LOAD_FAULT, at))?;
                self.reservation = Some(at);
                return Ok(value);
            }
            3 => {
                let reserved = self.reservation.take() == Some(at);
                if reserved && !store(bus, b) {
                    return Err((CAUSE_STORE_FAULT, at));
                }
                return Ok(u64::from(!reserved));
            }
            _ => {}
        }
        let old = load(bus).ok_or((CAUSE_STORE_FAULT, at))?;
        // In 32 bits the operands are compared as such, sign-extended like `old`.
        let b = if width == 4 { b as i32 as u64 } else { b };
        let unsigned = |value: u64| if width == 4 { u64::from(value as u32) } else { value };
        let new = match operation {
            0x00 => old.wrapping_add(b),
            0x01 => b,
            0x04 => old ^ b,
            0x08 => old | b,
            0x0c => old & b,
            0x10 => (old as i64).min(b as i64) as u64,
            0x14 => (old as i64).max(b as i64) as u64,
            0x18 => unsigned(old).min(unsigned(b)),
            _ => unsigned(old).max(unsigned(b)),
        };
        if store(bus, new) {
            Ok(old)
        } else {
            Err((CAUSE_STORE_FAULT, at))
        }
    }
}
