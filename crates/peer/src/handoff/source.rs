//! The source's side of the handoff.

use super::{AfterWrite, Written, WrongMove};

/// Where the source stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// The image is on its way; the source owns the domain.
    Sending,
    /// The destination has all of it; the commit is being written to the journal. The source still owns the domain.
    Deciding,
    /// The commit is on disk. The destination owns the domain, unless it says that it never journalled the commit.
    Committed,
    /// The relocation failed: the domain is to run on here.
    Resuming,
    /// The domain runs there: this copy is to be destroyed.
    Moved,
    /// The domain runs on here. Over.
    Resumed,
    /// The copy here is gone. Over.
    Destroyed,
}

impl State {
    /// The state's name, as in the journal.
    pub fn name(self) -> &'static str {
        match self {
            State::Sending => "sending",
            State::Deciding => "deciding",
            State::Committed => "committed",
            State::Resuming => "resuming",
            State::Moved => "moved",
            State::Resumed => "resumed",
            State::Destroyed => "destroyed",
        }
    }

    /// The state for a name in the journal.
    pub fn from_name(name: &str) -> Option<State> {
        [
            State::Sending,
            State::Deciding,
            State::Committed,
            State::Resuming,
            State::Moved,
            State::Resumed,
            State::Destroyed,
        ]
        .into_iter()
        .find(|state| state.name() == name)
    }

    /// Whether nothing is left to do.
    pub fn is_over(self) -> bool {
        matches!(self, State::Resumed | State::Destroyed)
    }
}

/// What happens to the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The destination said `(loaded)`; an xend has taken all but the last bytes of the image, and has not complained.
    Loaded,
    /// The relocation failed before the commit: cut, refused, cancelled, timed out.
    Failed,
    /// The commit is in the journal, synced.
    CommitJournalled,
    /// The commit could not be written to the journal, or may not be on disk. It has not been said.
    CommitNotJournalled,
    /// The destination said `(running ...)`, on the first connection or as an outcome; an xend said `(ok)`.
    Running,
    /// The destination said that it discarded what it had and will never run it; or the last bytes to an xend were not all sent.
    Discarded,
    /// The connection is gone, or the destination does not know yet: the outcome is open.
    Unknown,
    /// An operator decided that the domain runs on here.
    OperatorResume,
    /// An operator decided that this copy goes.
    OperatorDestroy,
    /// The domain runs here again.
    DidResume,
    /// The copy here is gone.
    DidDestroy,
}

/// What the daemon is to do, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Write [`Source::record`] to the journal, synced; then do what [`Source::written`] says.
    Journal,
    /// Say `(commit)` to the destination; send an xend the last bytes of the image. Never before the commit is on disk.
    SendCommit,
    /// Ask for the outcome, again and again, until an answer comes. An xend can't be asked: only an operator decides.
    AskOutcome,
    /// Run the domain on here; answered by [`Event::DidResume`].
    Resume,
    /// Destroy this copy; answered by [`Event::DidDestroy`].
    Destroy,
}

/// The source's side of one handoff.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    state: State,
}

impl Default for Source {
    fn default() -> Self {
        Source { state: State::Sending }
    }
}

impl Source {
    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// After a restart: what the journal says, and what is to be done now.
    ///
    /// A record that was written while sending means that no commit ever went out, for the commit's record comes first.
    pub fn recover(journal: State) -> (Source, Vec<Command>) {
        let (state, commands) = match journal {
            State::Sending | State::Deciding | State::Resuming => (State::Resuming, vec![Command::Resume]),
            State::Committed => (State::Committed, vec![Command::AskOutcome]),
            State::Moved => (State::Moved, vec![Command::Destroy]),
            State::Resumed | State::Destroyed => (journal, vec![]),
        };
        (Source { state }, commands)
    }

    /// What [`Command::Journal`] writes.
    pub fn record(&self) -> State {
        match self.state {
            State::Deciding => State::Committed,
            state => state,
        }
    }

    /// What follows [`Command::Journal`].
    ///
    /// Only the commit's record decides anything: where a later one is missing, a restart asks for the outcome again and hears the same.
    pub fn written(&self, written: Written) -> AfterWrite<Event> {
        match (self.state, written) {
            (State::Deciding, Written::Synced) => AfterWrite::Feed(Event::CommitJournalled),
            (State::Deciding, Written::Failed | Written::Unsynced) => AfterWrite::Feed(Event::CommitNotJournalled),
            _ => AfterWrite::CarryOn,
        }
    }

    /// Takes an event.
    ///
    /// # Errors
    /// [`WrongMove`] if the event can't follow; the state is as before.
    pub fn on(&mut self, event: Event) -> Result<Vec<Command>, WrongMove> {
        let (state, commands) = match (self.state, event) {
            (State::Sending, Event::Loaded) => (State::Deciding, vec![Command::Journal]),
            (State::Sending, Event::Failed) => (State::Resuming, vec![Command::Resume]),
            (State::Deciding, Event::CommitJournalled) => (State::Committed, vec![Command::SendCommit]),
            // Nothing was sent: the domain is still ours. The journal is told so first, for a torn sync may have left the commit on disk.
            (State::Deciding, Event::CommitNotJournalled) => (State::Resuming, vec![Command::Journal, Command::Resume]),
            (State::Committed, Event::Running) => (State::Moved, vec![Command::Journal, Command::Destroy]),
            (State::Committed, Event::Discarded) => (State::Resuming, vec![Command::Journal, Command::Resume]),
            (State::Committed, Event::Unknown) => (State::Committed, vec![Command::AskOutcome]),
            (State::Committed, Event::OperatorResume) => (State::Resuming, vec![Command::Journal, Command::Resume]),
            (State::Committed, Event::OperatorDestroy) => (State::Moved, vec![Command::Journal, Command::Destroy]),
            (State::Resuming, Event::DidResume) => (State::Resumed, vec![Command::Journal]),
            (State::Moved, Event::DidDestroy) => (State::Destroyed, vec![Command::Journal]),
            (state, event) => {
                return Err(WrongMove {
                    state: state.name(),
                    event: event.name(),
                });
            }
        };
        self.state = state;
        Ok(commands)
    }
}

impl Event {
    fn name(self) -> &'static str {
        match self {
            Event::Loaded => "loaded",
            Event::Failed => "failed",
            Event::CommitJournalled => "commit journalled",
            Event::CommitNotJournalled => "commit not journalled",
            Event::Running => "running",
            Event::Discarded => "discarded",
            Event::Unknown => "unknown outcome",
            Event::OperatorResume => "operator says resume",
            Event::OperatorDestroy => "operator says destroy",
            Event::DidResume => "resumed",
            Event::DidDestroy => "destroyed",
        }
    }
}
