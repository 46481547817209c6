//! Carries out what the destination's state machine decides. Blocking calls.

use std::{
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use peer::{
    handoff::{
        Agenda, Written, WrongMove,
        destination::{Command, Destination, Event, State},
    },
    native::message::Outcome,
};
use toolstack::{Arrived, ToolstackError};

use crate::{
    fault,
    journal::{Entry, Journal, JournalError},
    relocations::lock,
};

/// What is left to the caller, who has the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Say {
    /// `(loaded)`.
    Loaded,
    /// `(running (domid N))`.
    Running(u32),
    /// The answer to the question for the outcome.
    Outcome(Outcome),
    /// Nothing is left of the domain here.
    Discarded,
}

/// The destination's handoff with the domain and the journal that it decides about. Shared: the question for the outcome comes on another connection.
///
/// The commands of the machine are kept in the [`Agenda`] that the model check has, and carried out one by one; what fails is tried again by
/// [`Incoming::again`] for as long as [`Incoming::has_later`].
pub struct Incoming {
    inner: Mutex<Inner>,
}

/// Looks for what has arrived of a domain.
pub type Find = Box<dyn Fn() -> toolstack::Result<Option<Box<dyn Arrived>>> + Send>;

/// How long a domain that is gone once it was told to run is looked for: it may be rebooting.
const REBOOTING: Duration = Duration::from_secs(15);
/// What is known of it then.
const GONE: &str =
    "it was told to run here, and then was not here any more: it may have run and ended, or somebody may have ended it";
/// What is known of a domain whose commit is in the journal, and which is not here when the daemon starts.
const LOST: &str = "it was committed to this host, but is not here: it may have run and ended, or this host may have been restarted before it ran";

struct Inner {
    machine: Destination,
    arrived: Option<Box<dyn Arrived>>,
    /// Where the toolstack failed: it may have left something.
    find: Option<Find>,
    entry: Entry,
    journal: Journal,
    agenda: Agenda<Command>,
    /// Why nobody but an operator can say what became of it.
    lost: Option<&'static str>,
    /// Since when it has not been here, though it was told to run.
    gone: Option<Instant>,
    /// Why something has to be tried again.
    trouble: Option<String>,
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
        Incoming::with(entry, journal, (Destination::default(), Vec::new()))
    }

    /// After a restart. `None`: the state in the entry is no state. [`Incoming::again`] begins the work.
    pub fn recover(entry: Entry, journal: Journal) -> Option<Incoming> {
        let recovered = Destination::recover(State::from_name(&entry.state)?);
        Some(Incoming::with(entry, journal, recovered))
    }

    fn with(entry: Entry, journal: Journal, (machine, commands): (Destination, Vec<Command>)) -> Incoming {
        Incoming {
            inner: Mutex::new(Inner {
                machine,
                arrived: None,
                find: None,
                entry,
                journal,
                agenda: Agenda::recovered(commands),
                lost: None,
                gone: None,
                trouble: None,
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

    /// The domain's number, once it runs here.
    pub fn runs_as(&self) -> Option<u32> {
        let inner = self.lock();
        (inner.machine.state() == State::Running).then(|| inner.domid())
    }

    /// After a restart: the domain that waits here for a decision, if any does.
    pub fn found(&self, arrived: Option<Box<dyn Arrived>>) {
        self.lock().arrived = arrived;
    }

    /// The toolstack has failed to take the domain in, and may have left something of it: that nothing is left is to be seen, before it is said.
    pub fn failed(&self, find: Find) {
        self.lock().find = Some(find);
    }

    /// Whether something has failed that is to be tried again.
    pub fn has_later(&self) -> bool {
        self.lock().agenda.has_later()
    }

    /// Why something is to be tried again.
    pub fn trouble(&self) -> Option<String> {
        self.lock().trouble.clone()
    }

    /// Keeps what happened for the journal's next record.
    pub fn note(&self, detail: impl Into<String>) {
        self.lock().entry.detail = Some(detail.into());
    }

    /// The record, as the journal has it or should.
    pub fn entry(&self) -> Entry {
        self.lock().entry.clone()
    }

    /// Changes what the journal's next record says beside the state.
    pub fn amend(&self, change: impl FnOnce(&mut Entry)) {
        change(&mut self.lock().entry);
    }

    /// The commit is on disk, but the domain can't be found: nothing can be done here without an operator.
    pub fn lost(&self) {
        self.lock().lose(LOST);
    }

    /// A lost domain is here again, and runs: it has rebooted.
    ///
    /// # Errors
    /// [`WrongMove`] only if the machine and this program disagree.
    pub fn back(&self, arrived: Box<dyn Arrived>) -> Result<Vec<Say>, WrongMove> {
        let mut inner = self.lock();
        if inner.lost.take().is_none() {
            return Ok(Vec::new());
        }
        inner.arrived = Some(arrived);
        inner.gone = None;
        inner.agenda.event(vec![Command::Unpause]);
        inner.go()
    }

    /// Whether the domain is lost, and no operator has decided since.
    pub fn is_lost(&self) -> bool {
        self.why_lost().is_some()
    }

    /// What is known of a lost domain.
    pub fn why_lost(&self) -> Option<&'static str> {
        self.lock().lost
    }

    /// An operator decides about a lost domain: whether it has run here. `None`: it is not lost, or somebody was quicker.
    ///
    /// # Errors
    /// [`WrongMove`] only if the machine and this program disagree.
    pub fn operator(&self, ran: bool) -> Result<Option<Vec<Say>>, WrongMove> {
        let mut inner = self.lock();
        if inner.lost.take().is_none() {
            return Ok(None);
        }
        let event = if ran {
            Event::OperatorRan
        } else {
            Event::OperatorNeverRan
        };
        inner.on(event).map(Some)
    }

    /// The domain is built and complete.
    ///
    /// # Errors
    /// [`WrongMove`] if the event can't follow.
    pub fn complete(&self, arrived: Box<dyn Arrived>) -> Result<Vec<Say>, WrongMove> {
        let mut inner = self.lock();
        inner.arrived = Some(arrived);
        // It may have been given up in the meantime.
        if matches!(inner.machine.state(), State::Discarding | State::Discarded) {
            inner.agenda.event(vec![Command::Discard]);
            return inner.go();
        }
        inner.on(Event::Complete)
    }

    /// Takes an event, and does all that it leads to.
    ///
    /// # Errors
    /// [`WrongMove`] if the event can't follow.
    pub fn on(&self, event: Event) -> Result<Vec<Say>, WrongMove> {
        let mut inner = self.lock();
        if event == Event::Asked
            && let Some(why) = inner.lost
        {
            let reason = format!("{why}; an operator there can say which: xm resolve {}", inner.entry.id);
            return Ok(vec![Say::Outcome(Outcome::Lost { reason })]);
        }
        inner.on(event)
    }

    /// Tries again what has failed.
    ///
    /// # Errors
    /// [`WrongMove`] only if the machine and this program disagree.
    pub fn again(&self) -> Result<Vec<Say>, WrongMove> {
        let mut inner = self.lock();
        inner.agenda.retry();
        inner.go()
    }
}

impl Inner {
    fn on(&mut self, event: Event) -> Result<Vec<Say>, WrongMove> {
        self.then(event)?;
        self.go()
    }

    fn then(&mut self, event: Event) -> Result<(), WrongMove> {
        let commands = self.machine.on(event)?;
        self.agenda.event(commands);
        Ok(())
    }

    fn go(&mut self) -> Result<Vec<Say>, WrongMove> {
        let mut said = Vec::new();
        while let Some(command) = self.agenda.take() {
            match command {
                Command::Journal => self.write()?,
                Command::SendLoaded => said.push(Say::Loaded),
                Command::SendRunning => said.push(Say::Running(self.domid())),
                Command::AnswerPending => said.push(Say::Outcome(Outcome::Pending)),
                Command::AnswerDiscarded => said.push(Say::Outcome(Outcome::Discarded)),
                Command::AnswerRunning => said.push(Say::Outcome(Outcome::Running { domid: self.domid() })),
                Command::Unpause => match self.unpause() {
                    Ok(()) => self.then(Event::DidUnpause)?,
                    Err(error @ ToolstackError::NoDomain(_)) => {
                        if self.gone.get_or_insert_with(Instant::now).elapsed() < REBOOTING {
                            self.failed(command, "the domain is gone, or reboots", &error);
                        } else {
                            self.lose(GONE);
                        }
                    }
                    Err(error) => self.failed(command, "the toolstack failed", &error),
                },
                Command::Discard => match self.discard() {
                    Ok(()) => {
                        // Not if it came so late that all else was over.
                        if self.machine.state() == State::Discarding {
                            self.then(Event::DidDiscard)?;
                        }
                        said.push(Say::Discarded);
                    }
                    Err(error) => self.failed(command, "the toolstack failed", &error),
                },
            }
        }
        if !self.agenda.has_later() {
            self.trouble = None;
        }
        Ok(said)
    }

    fn failed(&mut self, command: Command, what: &str, error: &dyn std::fmt::Display) {
        self.agenda.again(command);
        let trouble = format!("{what}, trying again: {error}");
        if self.trouble.as_ref() != Some(&trouble) {
            tracing::error!(state = self.machine.state().name(), "{trouble}");
            self.trouble = Some(trouble);
        }
    }

    fn domid(&self) -> u32 {
        self.entry.domid.unwrap_or_default()
    }

    /// Writes the state. What follows, also where that fails, is the machine's decision.
    fn write(&mut self) -> Result<(), WrongMove> {
        let record = self.machine.record();
        self.entry.state = record.name().to_owned();
        let result = self.journal.write(&mut self.entry);
        let written = result.as_ref().err().map_or(Written::Synced, JournalError::written);
        match self.agenda.written(self.machine.written(written), Command::Journal) {
            Some(event) => {
                if let Err(error) = result {
                    tracing::error!(state = record.name(), ?written, "{error}");
                    self.entry.detail = Some(error.to_string());
                }
                self.then(event)
            }
            None => {
                if let Err(error) = result {
                    let again = if self.agenda.has_later() { ", trying again" } else { "" };
                    let trouble = format!("the record '{}' could not be written{again}: {error}", record.name());
                    if self.trouble.as_ref() != Some(&trouble) {
                        tracing::error!(?written, "{trouble}");
                        self.trouble = Some(trouble);
                    }
                }
                Ok(())
            }
        }
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

    fn lose(&mut self, why: &'static str) {
        self.lost = Some(why);
        // What it was found by is not what comes back.
        self.arrived = None;
        self.agenda.forget_later();
    }

    /// Without a domain there is nothing to do: `arrive` failed and left nothing, or is still at it and will be told.
    fn discard(&mut self) -> Result<(), ToolstackError> {
        let arrived = match (self.arrived.take(), &self.find) {
            (None, Some(find)) => find()?,
            (arrived, _) => arrived,
        };
        let Some(arrived) = arrived else {
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
