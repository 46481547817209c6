//! Carries out what the source's state machine decides. Blocking calls.

use peer::handoff::{
    AfterWrite, Written, WrongMove,
    source::{Command, Event, Source, State},
};
use toolstack::{Departed, ToolstackError};

use crate::{
    fault,
    journal::{Entry, Journal, JournalError},
};

/// What is left to the caller, who has the connection.
#[derive(Debug)]
pub enum Ask {
    /// Say `(commit)`.
    SendCommit,
    /// Ask for the outcome until an answer comes.
    Outcome,
    /// The toolstack failed: call [`Handoff::again`] after a while.
    Retry(ToolstackError),
    /// Nothing: the domain runs on here.
    Resumed,
    /// Nothing: the copy here is gone.
    Destroyed,
}

/// Looks for the copy of a domain that waits for the outcome, as [`Host::find_departed`](crate::host::Host::find_departed) gives it.
pub type Find = Box<dyn Fn() -> toolstack::Result<Option<Box<dyn Departed>>> + Send>;

/// The source's handoff with the domain and the journal that it decides about.
pub struct Handoff {
    machine: Source,
    departed: Option<Box<dyn Departed>>,
    find: Find,
    entry: Entry,
    journal: Journal,
    pending: Vec<Command>,
    unwritten: bool,
    denied: bool,
    guarded: bool,
}

impl Handoff {
    /// At the start of a relocation; the entry has been written.
    pub fn new(entry: Entry, journal: Journal, find: Find) -> Handoff {
        Handoff {
            machine: Source::default(),
            departed: None,
            find,
            entry,
            journal,
            pending: Vec::new(),
            unwritten: false,
            denied: false,
            guarded: false,
        }
    }

    /// After a restart. `None`: the state in the entry is no state. [`Handoff::again`] begins the work.
    pub fn recover(entry: Entry, journal: Journal, find: Find) -> Option<Handoff> {
        let (machine, pending) = Source::recover(State::from_name(&entry.state)?);
        Some(Handoff {
            machine,
            departed: None,
            find,
            entry,
            journal,
            pending,
            unwritten: false,
            denied: false,
            guarded: false,
        })
    }

    /// The suspended domain, once its image is complete.
    pub fn departed(&mut self, departed: Box<dyn Departed>) {
        self.departed = Some(departed);
    }

    /// Where the handoff stands.
    pub fn state(&self) -> State {
        self.machine.state()
    }

    /// What the journal says.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Whether the disk has an older record than [`Handoff::entry`].
    pub fn is_unwritten(&self) -> bool {
        self.unwritten
    }

    /// Keeps what happened for the journal's next record.
    pub fn note(&mut self, detail: impl Into<String>) {
        self.entry.detail = Some(detail.into());
    }

    /// Changes what the journal's next record says beside the state.
    pub fn amend(&mut self, change: impl FnOnce(&mut Entry)) {
        change(&mut self.entry);
    }

    /// Writes down what has been noted since the last record, with the state that stands there. Best effort: the old record says what matters.
    pub fn remember(mut self) -> Handoff {
        if let Err(error) = self.journal.write(&mut self.entry) {
            tracing::error!(%error, "what is known of the open outcome can't be written to the journal");
        }
        self
    }

    /// The destination has said that it never took the commit.
    pub fn deny(&mut self) {
        self.denied = true;
    }

    /// Whether [`Handoff::deny`] has been called.
    pub fn is_denied(&self) -> bool {
        self.denied
    }

    /// Keeps the domain's number at the destination for the journal's next record.
    pub fn runs_there_as(&mut self, domid: u32) {
        self.entry.domid = Some(domid);
    }

    /// How long the domain has stood still.
    pub fn suspended_for(&self) -> Option<std::time::Duration> {
        self.departed.as_ref().map(|departed| departed.suspended_for())
    }

    /// Takes an event, and does all that it leads to.
    ///
    /// # Errors
    /// [`WrongMove`] if the event can't follow.
    pub fn on(&mut self, event: Event) -> Result<Option<Ask>, WrongMove> {
        self.pending = self.machine.on(event)?;
        self.again()
    }

    /// Does what is left to do.
    ///
    /// # Errors
    /// [`WrongMove`] only if the machine and this program disagree.
    pub fn again(&mut self) -> Result<Option<Ask>, WrongMove> {
        let mut ask = None;
        while !self.pending.is_empty() {
            match self.pending.remove(0) {
                Command::Journal => self.write()?,
                Command::SendCommit => ask = Some(Ask::SendCommit),
                Command::AskOutcome => {
                    self.guard();
                    ask = Some(Ask::Outcome);
                }
                command @ (Command::Resume | Command::Destroy) => {
                    if let Err(error) = self.decide(command) {
                        self.pending.insert(0, command);
                        return Ok(Some(Ask::Retry(error)));
                    }
                    let (event, done) = match command {
                        Command::Resume => (Event::DidResume, Ask::Resumed),
                        _ => (Event::DidDestroy, Ask::Destroyed),
                    };
                    ask = Some(done);
                    self.pending = self.machine.on(event)?;
                }
            }
        }
        Ok(ask)
    }

    /// Writes the state; of the commit's record, the outcome is itself an event.
    ///
    /// The others may fail, and what they announce is done all the same. The disk says `sending` or `committed` then. After a crash the first resumes a copy
    /// that is still suspended under this relocation's identity, and the second asks the destination again, whose answer does not change; a copy that has been
    /// resumed or destroyed is not found by either. An operator's decision is asked for again. A commit that was written in spite of an error, before the domain
    /// was resumed, was never sent: the destination answers that it has discarded.
    fn write(&mut self) -> Result<(), WrongMove> {
        let record = self.machine.record();
        self.entry.state = record.name().to_owned();
        let result = self.journal.write(&mut self.entry);
        self.unwritten = result.is_err();
        if let Err(error) = &result {
            tracing::error!(%error, state = record.name(), "the journal can't be written");
        }
        let written = result.as_ref().err().map_or(Written::Synced, JournalError::written);
        if let AfterWrite::Feed(event) = self.machine.written(written) {
            if let Err(error) = result {
                self.note(error.to_string());
            }
            self.pending = self.machine.on(event)?;
        }
        Ok(())
    }

    /// Sees to it that nobody else lets the copy here run while the outcome is open, which may be for long. Whether that is so now: if not, the domain stands still
    /// as it is, and this can be tried again.
    pub fn guard(&mut self) -> bool {
        if self.guarded {
            return true;
        }
        let guarded = self.find().and_then(|departed| match departed {
            Some(mut departed) => {
                let guarded = departed.guard();
                self.departed = Some(departed);
                guarded
            }
            None => Ok(()),
        });
        if let Err(error) = guarded {
            tracing::error!(%error, "the copy here waits for the outcome, and could not be guarded against being resumed by others");
            return false;
        }
        self.guarded = true;
        true
    }

    fn find(&mut self) -> Result<Option<Box<dyn Departed>>, ToolstackError> {
        match self.departed.take() {
            Some(departed) => Ok(Some(departed)),
            None => (self.find)(),
        }
    }

    /// Without a domain there is nothing to do: `depart` failed and has resumed it, or a crash came after the deed. But that has to be seen: where the
    /// toolstack can't say, nothing is known.
    fn decide(&mut self, command: Command) -> Result<(), ToolstackError> {
        let Some(departed) = self.find()? else {
            return Ok(());
        };
        let word = if command == Command::Resume {
            "resume"
        } else {
            "destroy"
        };
        fault::point(&["out", word, "before"]);
        let done = match command {
            Command::Resume => departed.resume(),
            _ => departed.destroy(),
        };
        fault::point(&["out", word, "after"]);
        done.map_err(|undone| {
            // One that is not there any more may be another by now: its guest has rebooted, or ended. It is looked for anew.
            if !matches!(undone.error, ToolstackError::NoDomain(_)) {
                self.departed = Some(undone.domain);
            }
            undone.error
        })
    }
}

#[cfg(test)]
#[path = "handoff_tests.rs"]
mod tests;
