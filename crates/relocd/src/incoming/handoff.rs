//! Carries out what the destination's state machine decides. Blocking calls.

use std::sync::{Mutex, MutexGuard};

use peer::{
    handoff::{
        AfterWrite, Written, WrongMove,
        destination::{Command, Destination, Event, State},
    },
    native::message::Outcome,
};
use toolstack::{Arrived, ToolstackError};

use crate::{
    fault,
    journal::{Entry, Journal},
    relocations::lock,
};

/// What is left to the caller, who has the connection.
#[derive(Debug)]
pub enum Say {
    /// `(loaded)`.
    Loaded,
    /// `(running (domid N))`.
    Running(u32),
    /// The answer to the question for the outcome.
    Outcome(Outcome),
    /// Nothing is left of the domain here.
    Discarded,
    /// The toolstack failed: call [`Incoming::again`] after a while.
    Retry(ToolstackError),
}

/// The destination's handoff with the domain and the journal that it decides about. Shared: the question for the outcome comes on another connection.
pub struct Incoming {
    inner: Mutex<Inner>,
}

struct Inner {
    machine: Destination,
    arrived: Option<Box<dyn Arrived>>,
    entry: Entry,
    journal: Journal,
    pending: Vec<Command>,
    lost: Option<String>,
    unwritten: bool,
    /// The commit's record may be on disk in spite of an error, and no later one has replaced it.
    perhaps_committed: bool,
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let inner = self.lock();
        f.debug_struct("Incoming")
            .field("state", &inner.machine.state())
            .field("entry", &inner.entry)
            .finish()
    }
}

impl Incoming {
    /// At the start of a relocation; the entry has been written.
    pub fn new(entry: Entry, journal: Journal) -> Incoming {
        Incoming::with(entry, journal, None, (Destination::default(), Vec::new()))
    }

    /// After a restart. `None`: the state in the entry is no state. [`Incoming::again`] begins the work.
    pub fn recover(entry: Entry, journal: Journal, arrived: Option<Box<dyn Arrived>>) -> Option<Incoming> {
        let recovered = Destination::recover(State::from_name(&entry.state)?);
        Some(Incoming::with(entry, journal, arrived, recovered))
    }

    fn with(
        entry: Entry,
        journal: Journal,
        arrived: Option<Box<dyn Arrived>>,
        (machine, pending): (Destination, Vec<Command>),
    ) -> Incoming {
        Incoming {
            inner: Mutex::new(Inner {
                machine,
                arrived,
                entry,
                journal,
                pending,
                lost: None,
                unwritten: false,
                perhaps_committed: false,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// Where the handoff stands.
    pub fn state(&self) -> State {
        self.lock().machine.state()
    }

    /// Keeps what happened for the journal's next record.
    pub fn note(&self, detail: impl Into<String>) {
        self.lock().entry.detail = Some(detail.into());
    }

    /// The last record, if the disk has an older one.
    pub fn unwritten(&self) -> Option<(Journal, Entry)> {
        let inner = self.lock();
        inner.unwritten.then(|| (inner.journal.clone(), inner.entry.clone()))
    }

    /// What happened, as the journal has it or should.
    pub fn detail(&self) -> Option<String> {
        self.lock().entry.detail.clone()
    }

    /// The commit is on disk, but the domain can't be found: nothing can be done here without an operator.
    pub fn lost(&self, reason: &str) {
        let mut inner = self.lock();
        inner.lost = Some(reason.to_owned());
        inner.pending.clear();
    }

    /// The domain is built and complete.
    ///
    /// # Errors
    /// [`WrongMove`] if the event can't follow.
    pub fn complete(&self, arrived: Box<dyn Arrived>) -> Result<Vec<Say>, WrongMove> {
        let mut inner = self.lock();
        inner.arrived = Some(arrived);
        // Somebody may have asked for the outcome in the meantime, and heard that it is discarded: so it has to be.
        match inner.machine.state() {
            State::Discarding => inner.go(vec![Command::Discard]),
            State::Discarded => {
                inner.pending = vec![Command::Discard];
                inner.go_without_events()
            }
            _ => inner.on(Event::Complete),
        }
    }

    /// Takes an event, and does all that it leads to.
    ///
    /// # Errors
    /// [`WrongMove`] if the event can't follow.
    pub fn on(&self, event: Event) -> Result<Vec<Say>, WrongMove> {
        let mut inner = self.lock();
        if event == Event::Asked
            && let Some(reason) = &inner.lost
        {
            return Ok(vec![Say::Outcome(Outcome::Lost { reason: reason.clone() })]);
        }
        inner.on(event)
    }

    /// Does what is left to do.
    ///
    /// # Errors
    /// [`WrongMove`] only if the machine and this program disagree.
    pub fn again(&self) -> Result<Vec<Say>, WrongMove> {
        let mut inner = self.lock();
        let pending = std::mem::take(&mut inner.pending);
        inner.go(pending)
    }
}

impl Inner {
    fn on(&mut self, event: Event) -> Result<Vec<Say>, WrongMove> {
        let mut commands = self.machine.on(event)?;
        // A failure may come between two attempts of something else: whoever tells of it sees to what is left.
        if event == Event::Failed {
            commands.append(&mut self.pending);
        }
        // So may a question for the outcome: it stays to be done.
        if event == Event::Asked && !self.pending.is_empty() {
            let rest = std::mem::take(&mut self.pending);
            let said = self.go(commands);
            self.pending.extend(rest);
            return said;
        }
        self.go(commands)
    }

    fn go(&mut self, commands: Vec<Command>) -> Result<Vec<Say>, WrongMove> {
        let mut said = Vec::new();
        self.pending = commands;
        while !self.pending.is_empty() {
            match self.pending.remove(0) {
                Command::Journal => self.write()?,
                Command::SendLoaded => said.push(Say::Loaded),
                Command::SendRunning => said.push(Say::Running(self.domid())),
                Command::AnswerPending => said.push(Say::Outcome(Outcome::Pending)),
                Command::AnswerDiscarded => said.push(Say::Outcome(self.discarded())),
                Command::AnswerRunning => said.push(Say::Outcome(Outcome::Running { domid: self.domid() })),
                Command::Unpause => match self.unpause() {
                    Ok(()) => self.then(Event::DidUnpause)?,
                    Err(error) => {
                        self.pending.insert(0, Command::Unpause);
                        said.push(Say::Retry(error));
                        break;
                    }
                },
                Command::Discard => match self.discard() {
                    Ok(()) => {
                        self.then(Event::DidDiscard)?;
                        said.push(Say::Discarded);
                    }
                    Err(error) => {
                        // Whatever else was to be done does not depend on it; the discard is tried again.
                        said.push(Say::Retry(error));
                        let rest = std::mem::take(&mut self.pending);
                        said.extend(self.answers(rest));
                        self.pending = vec![Command::Discard];
                        break;
                    }
                },
            }
        }
        Ok(said)
    }

    /// A discard after the machine has ended: of a domain that arrived too late.
    fn go_without_events(&mut self) -> Result<Vec<Say>, WrongMove> {
        match self.discard() {
            Ok(()) => {
                self.pending.clear();
                Ok(vec![Say::Discarded])
            }
            Err(error) => Ok(vec![Say::Retry(error)]),
        }
    }

    fn then(&mut self, event: Event) -> Result<(), WrongMove> {
        let mut commands = self.machine.on(event)?;
        commands.append(&mut self.pending);
        self.pending = commands;
        Ok(())
    }

    fn answers(&self, commands: Vec<Command>) -> Vec<Say> {
        let answer = |command| match command {
            Command::AnswerDiscarded => Some(Say::Outcome(self.discarded())),
            _ => None,
        };
        commands.into_iter().filter_map(answer).collect()
    }

    /// The answer for a domain that is to be discarded. If the disk may say that it is committed, a crash would run it: then only once it is gone.
    fn discarded(&self) -> Outcome {
        if self.perhaps_committed && self.arrived.is_some() {
            Outcome::Pending
        } else {
            Outcome::Discarded
        }
    }

    fn domid(&self) -> u32 {
        self.entry.domid.unwrap_or_default()
    }

    /// Writes the state; of the commit's record, the outcome is itself an event.
    ///
    /// The others may fail, and what they announce is done all the same. Without `loaded`, `discarding` or `discarded` the disk says `receiving` or `loaded`, which
    /// means the same to a restart and to a source that asks: discarded. Without `running` it says `committed`, and the domain is found running. What is left is a
    /// commit that was written in spite of an error: see `perhaps_committed`; once the domain is discarded, a restart reports it as lost.
    fn write(&mut self) -> Result<(), WrongMove> {
        let deciding = self.machine.state() == State::Deciding;
        let record = self.machine.record();
        self.entry.state = record.name().to_owned();
        let result = self.journal.write(&mut self.entry);
        self.unwritten = result.is_err();
        self.perhaps_committed = result.is_err() && (deciding || self.perhaps_committed);
        if let Err(error) = &result {
            tracing::error!(%error, state = record.name(), "the journal can't be written");
        }
        // A record that may be in place in spite of the error counts as failed: `perhaps_committed` guards what is said and done then. What is to be
        // written again is tried by `unwritten`.
        let written = if result.is_ok() {
            Written::Synced
        } else {
            Written::Failed
        };
        if let AfterWrite::Feed(event) = self.machine.written(written) {
            if let Err(error) = result {
                self.entry.detail = Some(error.to_string());
            }
            self.then(event)?;
        }
        Ok(())
    }

    fn unpause(&mut self) -> Result<(), ToolstackError> {
        let Some(arrived) = self.arrived.take() else {
            return match self.entry.domid {
                Some(_) => Ok(()),
                None => Err(ToolstackError::Failed("the arrived domain can't be found".to_owned())),
            };
        };
        fault::point(&["in", "unpause", "before"]);
        let unpaused = arrived.unpause();
        fault::point(&["in", "unpause", "after"]);
        match unpaused {
            Ok(domid) => {
                self.entry.domid = Some(domid);
                Ok(())
            }
            Err(undone) => {
                self.arrived = Some(undone.domain);
                Err(undone.error)
            }
        }
    }

    /// Without a domain there is nothing to do: `arrive` failed and left nothing, or is still at it and will be told.
    fn discard(&mut self) -> Result<(), ToolstackError> {
        let Some(arrived) = self.arrived.take() else {
            return Ok(());
        };
        fault::point(&["in", "discard", "before"]);
        let discarded = arrived.discard();
        fault::point(&["in", "discard", "after"]);
        discarded.map_err(|undone| {
            self.arrived = Some(undone.domain);
            undone.error
        })
    }
}

#[cfg(test)]
#[path = "handoff_tests.rs"]
mod tests;
