//! What the processor sees beyond its registers: RAM, console, timer, power switch.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::memory::GuestMemory;

/// Where RAM begins.
pub const RAM_BASE: u64 = 0x8000_0000;

const CONSOLE: u64 = 0x1000_0000;
const TIMER_COMPARE: u64 = 0x0200_4000;
const TIMER: u64 = 0x0200_bff8;
const POWER: u64 = 0x0010_0000;
const POWER_OFF: u32 = 0x5555;
const POWER_CRASH: u32 = 0x3333;

/// Ticks of the guest's clock in a second.
pub const TICKS_PER_SECOND: u64 = 10_000_000;

/// Why a machine has stopped for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halt {
    /// It switched itself off.
    PowerOff,
    /// It said that it crashed, or a trap had nowhere to go.
    Crash,
}

/// Everything around the processor.
pub struct Bus {
    /// RAM at [`RAM_BASE`].
    pub memory: Arc<GuestMemory>,
    /// The guest's clock, in ticks of 100 ns. Set from outside between stretches of execution.
    pub time: u64,
    /// When the timer interrupt becomes pending.
    pub time_compare: u64,
    /// Console output that has not been collected.
    pub output: Vec<u8>,
    /// Console input that the guest has not read.
    pub input: VecDeque<u8>,
    /// Set by the power switch.
    pub halt: Option<Halt>,
    /// When [`Bus::time`] was last brought up to date; `None`: the clock stands.
    clock_base: Option<Instant>,
}

impl Bus {
    /// A machine around this memory, at time 0.
    pub fn new(memory: Arc<GuestMemory>) -> Bus {
        Bus {
            memory,
            time: 0,
            time_compare: u64::MAX,
            output: Vec::new(),
            input: VecDeque::new(),
            halt: None,
            clock_base: None,
        }
    }

    /// Lets the guest's clock follow the host's from now on, if it stands.
    pub fn resume_clock(&mut self) {
        self.clock_base.get_or_insert_with(Instant::now);
    }

    /// Stops the guest's clock where it is.
    pub fn stop_clock(&mut self) {
        self.update_clock();
        self.clock_base = None;
    }

    /// Brings the guest's clock up to date.
    pub fn update_clock(&mut self) {
        if let Some(base) = &mut self.clock_base {
            let ticks = (base.elapsed().as_nanos() / 100) as u64;
            // What is not a whole tick stays in the base.
            *base += Duration::from_nanos(ticks * 100);
            self.time = self.time.wrapping_add(ticks);
        }
    }

    /// Loads `N` bytes; `None`: nothing is there.
    #[inline(always)]
    pub(crate) fn load<const N: usize>(&mut self, address: u64) -> Option<[u8; N]> {
        match self.memory.load::<N>(address.wrapping_sub(RAM_BASE)) {
            Some(bytes) => Some(bytes),
            None => self.load_device(address),
        }
    }

    /// Stores `N` bytes; `false`: nothing is there.
    #[inline(always)]
    pub(crate) fn store<const N: usize>(&mut self, address: u64, bytes: [u8; N]) -> bool {
        self.memory.store::<N>(address.wrapping_sub(RAM_BASE), bytes) || self.store_device(address, &bytes)
    }

    #[cold]
    fn load_device<const N: usize>(&mut self, address: u64) -> Option<[u8; N]> {
        let value = match address {
            CONSOLE => self.input.pop_front().map_or(u64::MAX, u64::from),
            TIMER => {
                self.update_clock();
                self.time
            }
            TIMER_COMPARE => self.time_compare,
            _ => return None,
        };
        let mut bytes = [0; N];
        bytes
            .iter_mut()
            .zip(value.to_le_bytes())
            .for_each(|(place, byte)| *place = byte);
        Some(bytes)
    }

    #[cold]
    fn store_device(&mut self, address: u64, bytes: &[u8]) -> bool {
        let value = bytes
            .iter()
            .rev()
            .fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        match address {
            CONSOLE => self.output.push(value as u8),
            TIMER_COMPARE if bytes.len() == 8 => self.time_compare = value,
            POWER if value as u32 == POWER_OFF => self.halt = Some(Halt::PowerOff),
            POWER if value as u32 == POWER_CRASH => self.halt = Some(Halt::Crash),
            _ => return false,
        }
        true
    }
}
