//! The records of everything that is not memory: registers, timer, console. All numbers little-endian.
//!
//! | record | body |
//! |---|---|
//! | 0x52560001 vcpu | u32 version 1, u32 waiting; x0 to x31, pc, mstatus, mie, mtvec, mscratch, mepc, mcause, mtval, instret: u64 each |
//! | 0x52560002 timer | u32 version 1, u32 0; u64 clock in ticks of 100 ns, u64 mtimecmp |
//! | 0x52560003 console | u32 version 1, u32 bytes of input I, u64 bytes printed ever; I bytes of input not read, the rest: the last output |

use image::{ImageError, ImageSink, Item, record::RecordType};

use crate::{bus::Bus, console::Scrollback, cpu::Cpu};

const VCPU: RecordType = RecordType(RecordType::EMBEDDED_FIRST.0 + 1);
const TIMER: RecordType = RecordType(RecordType::EMBEDDED_FIRST.0 + 2);
const CONSOLE: RecordType = RecordType(RecordType::EMBEDDED_FIRST.0 + 3);
const VERSION: u32 = 1;

/// The most input and output that a console record may hold.
const MAX_CONSOLE: usize = 64 << 20;

/// A record that can't be the state of a machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("state of the machine: {0}")]
pub struct StateError(String);

/// Everything of a machine that is not memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VcpuState {
    /// The processor.
    pub cpu: Cpu,
    /// The guest's clock, in ticks of 100 ns.
    pub time: u64,
    /// When the timer interrupt becomes pending.
    pub time_compare: u64,
    /// Console input that the guest has not read.
    pub input: Vec<u8>,
    /// Bytes printed ever.
    pub printed: u64,
    /// The last output.
    pub output: Vec<u8>,
}

impl VcpuState {
    /// The state of a machine whose clock stands.
    pub(crate) fn of(cpu: &Cpu, bus: &Bus, scrollback: &Scrollback) -> VcpuState {
        VcpuState {
            cpu: Cpu {
                reservation: None,
                ..cpu.clone()
            },
            time: bus.time,
            time_compare: bus.time_compare,
            input: bus.input.iter().copied().collect(),
            printed: scrollback.printed(),
            output: scrollback.to_vec(),
        }
    }

    /// The three records, each with its type.
    fn records(&self) -> [(RecordType, Vec<u8>); 3] {
        let words = |version_and: u32, words: &[u64]| {
            let mut body = VERSION.to_le_bytes().to_vec();
            body.extend(version_and.to_le_bytes());
            body.extend(words.iter().flat_map(|word| word.to_le_bytes()));
            body
        };
        let cpu = &self.cpu;
        let mut registers = cpu.x.to_vec();
        registers.extend([
            cpu.pc,
            cpu.mstatus,
            cpu.mie,
            cpu.mtvec,
            cpu.mscratch,
            cpu.mepc,
            cpu.mcause,
            cpu.mtval,
            cpu.instret,
        ]);
        let mut console = words(self.input.len() as u32, &[self.printed]);
        console.extend(&self.input);
        console.extend(&self.output);
        [
            (VCPU, words(u32::from(cpu.waiting), &registers)),
            (TIMER, words(0, &[self.time, self.time_compare])),
            (CONSOLE, console),
        ]
    }

    /// Puts the records.
    ///
    /// # Errors
    /// The sink's.
    pub fn put(&self, sink: &mut dyn ImageSink) -> Result<(), ImageError> {
        self.records()
            .iter()
            .try_for_each(|(kind, body)| sink.put(Item::Record { kind: *kind, body }))
    }

    /// The state as bytes, for the machine's socket: each record with its type and length before it, u32 each.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, body) in self.records() {
            bytes.extend(kind.0.to_le_bytes());
            bytes.extend((body.len() as u32).to_le_bytes());
            bytes.extend(body);
        }
        bytes
    }

    /// The state from [`VcpuState::to_bytes`].
    ///
    /// # Errors
    /// [`StateError`].
    pub fn from_bytes(mut bytes: &[u8]) -> Result<VcpuState, StateError> {
        let mut gather = Gather::default();
        while !bytes.is_empty() {
            let kind = take_u32(&mut bytes)?;
            let length = take_u32(&mut bytes)? as usize;
            let Some((body, rest)) = bytes.split_at_checked(length) else {
                return Err(StateError("a record is cut off".to_owned()));
            };
            bytes = rest;
            gather.record(RecordType(kind), body)?;
        }
        gather.finish()
    }
}

/// Gathers a state from records in any order, each exactly once.
#[derive(Default)]
pub(crate) struct Gather {
    state: VcpuState,
    seen: [bool; 3],
}

impl Gather {
    pub(crate) fn record(&mut self, kind: RecordType, body: &[u8]) -> Result<(), StateError> {
        let at = match kind {
            VCPU => 0,
            TIMER => 1,
            CONSOLE => 2,
            RecordType::STATIC_DATA_END => return Ok(()),
            kind if kind.is_optional() => return Ok(()),
            kind => return Err(StateError(format!("a record of unknown type {:#x}", kind.0))),
        };
        if std::mem::replace(&mut self.seen[at], true) {
            return Err(StateError(format!("a second record of type {:#x}", kind.0)));
        }
        let mut rest = body;
        let version = take_u32(&mut rest)?;
        if version != VERSION {
            return Err(StateError(format!(
                "version {version} of a record of type {:#x}",
                kind.0
            )));
        }
        let extra = take_u32(&mut rest)?;
        let state = &mut self.state;
        match at {
            0 => {
                let cpu = &mut state.cpu;
                for register in &mut cpu.x {
                    *register = take_u64(&mut rest)?;
                }
                cpu.x[0] = 0;
                for register in [
                    &mut cpu.pc,
                    &mut cpu.mstatus,
                    &mut cpu.mie,
                    &mut cpu.mtvec,
                    &mut cpu.mscratch,
                    &mut cpu.mepc,
                    &mut cpu.mcause,
                    &mut cpu.mtval,
                    &mut cpu.instret,
                ] {
                    *register = take_u64(&mut rest)?;
                }
                cpu.waiting = extra != 0;
            }
            1 => {
                state.time = take_u64(&mut rest)?;
                state.time_compare = take_u64(&mut rest)?;
            }
            _ => {
                state.printed = take_u64(&mut rest)?;
                if rest.len() > MAX_CONSOLE {
                    return Err(StateError(format!("a console of {} bytes", rest.len())));
                }
                let Some((input, output)) = rest.split_at_checked(extra as usize) else {
                    return Err(StateError("the console's input is cut off".to_owned()));
                };
                (state.input, state.output) = (input.to_vec(), output.to_vec());
                rest = &[];
            }
        }
        if rest.is_empty() {
            Ok(())
        } else {
            Err(StateError(format!("{} bytes too many", rest.len())))
        }
    }

    pub(crate) fn finish(self) -> Result<VcpuState, StateError> {
        if self.seen == [true; 3] {
            Ok(self.state)
        } else {
            Err(StateError("a record is missing".to_owned()))
        }
    }
}

fn take_u32(bytes: &mut &[u8]) -> Result<u32, StateError> {
    let Some((first, rest)) = bytes.split_first_chunk::<4>() else {
        return Err(StateError("a record is cut off".to_owned()));
    };
    *bytes = rest;
    Ok(u32::from_le_bytes(*first))
}

fn take_u64(bytes: &mut &[u8]) -> Result<u64, StateError> {
    let Some((first, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(StateError("a record is cut off".to_owned()));
    };
    *bytes = rest;
    Ok(u64::from_le_bytes(*first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn states()(words in prop::collection::vec(any::<u64>(), 45), waiting in any::<bool>(),
                    input in prop::collection::vec(any::<u8>(), 0..20), output in prop::collection::vec(any::<u8>(), 0..50)) -> VcpuState {
            let mut cpu = Cpu { pc: words[32], mstatus: words[33], mie: words[34], mtvec: words[35], mscratch: words[36], mepc: words[37],
                mcause: words[38], mtval: words[39], instret: words[40], waiting, ..Cpu::default() };
            cpu.x[1..].copy_from_slice(&words[1..32]);
            VcpuState { cpu, time: words[41], time_compare: words[42], input, printed: words[43], output }
        }
    }

    proptest! {
        #[test]
        fn round_trip_and_truncation(state in states()) {
            let bytes = state.to_bytes();
            prop_assert_eq!(&VcpuState::from_bytes(&bytes).unwrap(), &state);
            for length in 0..bytes.len() {
                prop_assert!(VcpuState::from_bytes(&bytes[..length]).is_err());
            }
            let twice = [bytes.clone(), bytes].concat();
            prop_assert!(VcpuState::from_bytes(&twice).is_err());
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = VcpuState::from_bytes(&bytes);
            let _ = Gather::default().record(VCPU, &bytes);
            let _ = Gather::default().record(CONSOLE, &bytes);
        }
    }
}
