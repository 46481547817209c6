//! The pre-copy engine's view of a machine: its memory is mapped here, everything else is asked of its process.

use image::{ImageError, ImageSink, PAGE_SIZE};
use precopy::{Bitmap, Guest};

use crate::{
    memory::GuestMemory,
    protocol::{Answer, Command, Line, ProtocolError},
    state::VcpuState,
};

/// A machine that departs.
pub(crate) struct MachineGuest {
    pub(crate) line: Line,
    pub(crate) memory: GuestMemory,
}

impl MachineGuest {
    fn order(&mut self, command: &Command) -> Result<(), ImageError> {
        order(&mut self.line, command).map_err(|error| ImageError::Toolstack(error.to_string()))
    }
}

/// Tells a machine to do something.
pub(crate) fn order(line: &mut Line, command: &Command) -> Result<(), ProtocolError> {
    line.send(command)?;
    match line.receive()? {
        Answer::Done => Ok(()),
        Answer::Refused { reason } => Err(ProtocolError::Syntax(reason)),
        other => Err(ProtocolError::Syntax(format!("unexpected answer {other:?}"))),
    }
}

impl Guest for MachineGuest {
    fn pages(&self) -> u64 {
        self.memory.pages() as u64
    }

    fn start_dirty_log(&mut self) -> Result<(), ImageError> {
        self.order(&Command::CollectDirty)
    }

    fn fetch_dirty(&mut self, dirty: &mut Bitmap) -> Result<(), ImageError> {
        self.order(&Command::CollectDirty)?;
        self.memory.collected(|pfn| dirty.set(pfn));
        Ok(())
    }

    fn is_dirty_hint(&self, pfn: u64) -> bool {
        self.memory.is_dirty(pfn as usize)
    }

    fn is_zero_hint(&self, pfn: u64) -> bool {
        !self.memory.is_touched(pfn as usize)
    }

    fn read_pages(&mut self, pfns: &[u64], data: &mut [u8]) -> Result<(), ImageError> {
        let mut rest = data;
        let mut pfns = pfns;
        while let Some(first) = pfns.first() {
            // Neighbours in one copy.
            let run = pfns
                .iter()
                .zip(*first..)
                .take_while(|(pfn, expected)| *pfn == expected)
                .count();
            let Some((now, later)) = rest.split_at_mut_checked(run * PAGE_SIZE) else {
                return Err(ImageError::Toolstack("a buffer shorter than its pages".to_owned()));
            };
            if !self.memory.read(first * PAGE_SIZE as u64, now) {
                return Err(ImageError::Toolstack(format!(
                    "page {first:#x} is beyond the domain's memory"
                )));
            }
            rest = later;
            pfns = pfns.get(run..).unwrap_or_default();
        }
        Ok(())
    }

    fn suspend(&mut self) -> Result<(), ImageError> {
        self.order(&Command::Stop)
    }

    fn resume(&mut self) -> Result<(), ImageError> {
        self.order(&Command::Resume)
    }

    fn throttle(&mut self, percent: u8) -> Result<(), ImageError> {
        self.order(&Command::Throttle { percent })
    }

    fn put_state(&mut self, sink: &mut dyn ImageSink) -> Result<(), ImageError> {
        let ask = |line: &mut Line| {
            line.send(&Command::Suspend)?;
            match line.receive()? {
                Answer::State { length } => line.receive_bytes(length),
                other => Err(ProtocolError::Syntax(format!("unexpected answer {other:?}"))),
            }
        };
        let toolstack = |error: &dyn std::fmt::Display| ImageError::Toolstack(error.to_string());
        let bytes = ask(&mut self.line).map_err(|error| toolstack(&error))?;
        VcpuState::from_bytes(&bytes)
            .map_err(|error| toolstack(&error))?
            .put(sink)
    }
}
