//! Domains that wait for a decision.

use std::time::{Duration, Instant};

use toolstack::{Arrived, Departed, DomainId, ToolstackError, Undone};

use super::failed;
use crate::{
    guest::order,
    protocol::{Command, Line},
};

/// A machine that is suspended here and complete there.
pub(super) struct DepartedMachine {
    id: DomainId,
    line: Line,
    suspended: Instant,
}

impl DepartedMachine {
    /// One that has just departed.
    pub(super) fn new(id: DomainId, mut line: Line) -> DepartedMachine {
        let status = line.send(&Command::Status).and_then(|()| line.receive());
        let suspended = match status {
            Ok(crate::protocol::Answer::Status {
                suspended_microseconds, ..
            }) => Duration::from_micros(suspended_microseconds),
            _ => Duration::ZERO,
        };
        DepartedMachine::found(id, line, suspended)
    }

    /// One that has been found again.
    pub(super) fn found(id: DomainId, line: Line, suspended: Duration) -> DepartedMachine {
        let now = Instant::now();
        DepartedMachine {
            id,
            line,
            suspended: now.checked_sub(suspended).unwrap_or(now),
        }
    }

    fn decide(mut self: Box<Self>, command: &Command) -> Result<(), Undone<dyn Departed>> {
        match order(&mut self.line, command) {
            Ok(()) => Ok(()),
            // A machine that was told to end, and has gone without an answer, has ended.
            Err(error) if matches!(command, Command::Destroy) && error.is_gone() => Ok(()),
            Err(error) => {
                let error = failed(self.id, &error);
                Err(Undone { error, domain: self })
            }
        }
    }
}

impl Departed for DepartedMachine {
    fn id(&self) -> DomainId {
        self.id
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
pub(super) struct ArrivedMachine {
    pub(super) id: DomainId,
    pub(super) line: Line,
}

impl Arrived for ArrivedMachine {
    fn id(&self) -> DomainId {
        self.id
    }

    fn unpause(mut self: Box<Self>) -> Result<DomainId, Undone<dyn Arrived>> {
        match order(&mut self.line, &Command::Start) {
            Ok(()) => Ok(self.id),
            Err(error) => Err(undone(error, self)),
        }
    }

    fn discard(mut self: Box<Self>) -> Result<(), Undone<dyn Arrived>> {
        match order(&mut self.line, &Command::Destroy) {
            Ok(()) => Ok(()),
            Err(error) if error.is_gone() => Ok(()),
            Err(error) => Err(undone(error, self)),
        }
    }
}

fn undone(error: impl std::fmt::Display, domain: Box<ArrivedMachine>) -> Undone<dyn Arrived> {
    let error: ToolstackError = failed(domain.id, &error);
    Undone { error, domain }
}
