//! Domains that wait for a decision.

use std::{
    io,
    path::PathBuf,
    time::{Duration, Instant},
};

use toolstack::{Arrived, Departed, DomainId, ToolstackError, Undone};

use super::{failed, machines::connect};
use crate::{
    guest::order,
    protocol::{Command, Line},
};

/// A machine that waits for a decision, and the way to it.
pub(super) struct Waiting {
    pub(super) id: DomainId,
    pub(super) path: PathBuf,
    pub(super) line: Line,
}

impl Waiting {
    /// Tells it what was decided. An attempt that fails leaves a new connection for the next one, if there still is a machine.
    fn decide(&mut self, command: &Command) -> Result<(), ToolstackError> {
        let Err(error) = order(&mut self.line, command) else {
            return Ok(());
        };
        match connect(&self.path) {
            Ok(stream) => self.line = Line::new(stream),
            // It was to go, and has gone: only its answer was lost.
            Err(lost) if is_gone(&lost) && matches!(command, Command::Destroy) => return Ok(()),
            Err(_) => {}
        }
        Err(failed(self.id, &error))
    }
}

/// Whether no machine is there any more: its directory went with it, or it died and left that behind.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// A machine that is suspended here and complete there.
pub(super) struct DepartedMachine {
    machine: Waiting,
    suspended: Instant,
}

impl DepartedMachine {
    /// One that has just departed.
    pub(super) fn new(mut machine: Waiting) -> DepartedMachine {
        let line = &mut machine.line;
        let status = line.send(&Command::Status).and_then(|()| line.receive());
        let suspended = match status {
            Ok(crate::protocol::Answer::Status {
                suspended_microseconds, ..
            }) => Duration::from_micros(suspended_microseconds),
            _ => Duration::ZERO,
        };
        DepartedMachine::found(machine, suspended)
    }

    /// One that has been found again.
    pub(super) fn found(machine: Waiting, suspended: Duration) -> DepartedMachine {
        let now = Instant::now();
        DepartedMachine {
            machine,
            suspended: now.checked_sub(suspended).unwrap_or(now),
        }
    }

    fn decide(mut self: Box<Self>, command: &Command) -> Result<(), Undone<dyn Departed>> {
        match self.machine.decide(command) {
            Ok(()) => Ok(()),
            Err(error) => Err(Undone { error, domain: self }),
        }
    }
}

impl Departed for DepartedMachine {
    fn id(&self) -> DomainId {
        self.machine.id
    }

    fn suspended_for(&self) -> Duration {
        self.suspended.elapsed()
    }

    fn resume(self: Box<Self>) -> Result<(), Undone<dyn Departed>> {
        self.decide(&Command::Resume)
    }

    fn destroy(self: Box<Self>) -> Result<(), Undone<dyn Departed>> {
        self.decide(&Command::Destroy)
    }
}

/// A machine that is complete here and has not executed.
pub(super) struct ArrivedMachine(pub(super) Waiting);

impl ArrivedMachine {
    fn decide(mut self: Box<Self>, command: &Command) -> Result<(), Undone<dyn Arrived>> {
        match self.0.decide(command) {
            Ok(()) => Ok(()),
            Err(error) => Err(Undone { error, domain: self }),
        }
    }
}

impl Arrived for ArrivedMachine {
    fn id(&self) -> DomainId {
        self.0.id
    }

    fn unpause(self: Box<Self>) -> Result<DomainId, Undone<dyn Arrived>> {
        let id = self.0.id;
        self.decide(&Command::Start).map(|()| id)
    }

    fn discard(self: Box<Self>) -> Result<(), Undone<dyn Arrived>> {
        self.decide(&Command::Destroy)
    }
}
