//! The destination's side of the handoff.

use super::{AfterWrite, Written, WrongMove};

/// Where the destination stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// The image is arriving; the source owns the domain.
    Receiving,
    /// The domain is complete and has never run; the source still owns it.
    Loaded,
    /// The commit has come and is being written to the journal.
    Deciding,
    /// The commit is on disk: the domain is ours, and is to be run.
    Committed,
    /// The write of the commit failed half-way: after a crash the journal may say `committed` or not. Or it does say so, the domain is lost, and an
    /// operator knows that it never ran. What has arrived is to be discarded, but nothing is touched and nothing is said before the journal says so.
    /// The record written in this state says `discarding`.
    Withdrawing,
    /// What has arrived is to be discarded. No commit will be taken any more.
    Discarding,
    /// The domain runs, or ran. Over.
    Running,
    /// Nothing is left of it here. Over.
    Discarded,
}

impl State {
    /// The state's name, as in the journal.
    pub fn name(self) -> &'static str {
        match self {
            State::Receiving => "receiving",
            State::Loaded => "loaded",
            State::Deciding => "deciding",
            State::Committed => "committed",
            State::Withdrawing => "withdrawing",
            State::Discarding => "discarding",
            State::Running => "running",
            State::Discarded => "discarded",
        }
    }

    /// The state for a name in the journal.
    pub fn from_name(name: &str) -> Option<State> {
        [
            State::Receiving,
            State::Loaded,
            State::Deciding,
            State::Committed,
            State::Withdrawing,
            State::Discarding,
            State::Running,
            State::Discarded,
        ]
        .into_iter()
        .find(|state| state.name() == name)
    }

    /// Whether nothing is left to do.
    pub fn is_over(self) -> bool {
        matches!(self, State::Running | State::Discarded)
    }
}

/// What happens to the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The image is complete, checked, and the domain built.
    Complete,
    /// The image is broken or cut, or the connection or this end gave up before the commit.
    Failed,
    /// The source said `(commit)`.
    Commit,
    /// The commit is in the journal, synced.
    CommitJournalled,
    /// The commit could not be written to the journal: the record before it stands.
    CommitNotJournalled,
    /// The commit was written to the journal but not synced: it may be on disk or not.
    CommitInDoubt,
    /// The journal says `discarding` where it may have said `committed`.
    Withdrawn,
    /// The source asked for the outcome on another connection.
    Asked,
    /// The domain runs.
    DidUnpause,
    /// What had arrived is gone.
    DidDiscard,
    /// The commit is on disk and the domain is lost; an operator says that it has run here: the source's copy is to go.
    OperatorRan,
    /// The commit is on disk and the domain is lost; an operator says that it has never run here: the source may run its copy.
    OperatorNeverRan,
}

/// What the daemon is to do, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Write [`Destination::record`] to the journal, synced; then do what [`Destination::written`] says.
    Journal,
    /// Say `(loaded)`.
    SendLoaded,
    /// Run the domain; answered by [`Event::DidUnpause`].
    Unpause,
    /// Say `(running ...)`, or answer so when asked.
    SendRunning,
    /// Discard what has arrived; answered by [`Event::DidDiscard`].
    Discard,
    /// Answer the question for the outcome: pending.
    AnswerPending,
    /// Answer the question for the outcome: discarded. Only ever when no record that says `committed` can be on disk, now or after a crash.
    AnswerDiscarded,
    /// Answer the question for the outcome: running.
    AnswerRunning,
}

/// The destination's side of one handoff.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    state: State,
}

impl Default for Destination {
    fn default() -> Self {
        Destination {
            state: State::Receiving,
        }
    }
}

impl Destination {
    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// After a restart: what the journal says, and what is to be done now.
    pub fn recover(journal: State) -> (Destination, Vec<Command>) {
        let (state, commands) = match journal {
            State::Receiving | State::Loaded | State::Deciding | State::Withdrawing | State::Discarding => {
                (State::Discarding, vec![Command::Journal, Command::Discard])
            }
            State::Committed => (State::Committed, vec![Command::Unpause]),
            State::Running | State::Discarded => (journal, vec![]),
        };
        (Destination { state }, commands)
    }

    /// What [`Command::Journal`] writes.
    pub fn record(&self) -> State {
        match self.state {
            State::Deciding => State::Committed,
            State::Withdrawing => State::Discarding,
            state => state,
        }
    }

    /// What follows [`Command::Journal`].
    pub fn written(&self, written: Written) -> AfterWrite<Event> {
        match (self.state, written) {
            (State::Deciding, Written::Synced) => AfterWrite::Feed(Event::CommitJournalled),
            (State::Deciding, Written::Failed) => AfterWrite::Feed(Event::CommitNotJournalled),
            (State::Deciding, Written::Unsynced) => AfterWrite::Feed(Event::CommitInDoubt),
            (State::Withdrawing, Written::Synced) => AfterWrite::Feed(Event::Withdrawn),
            // Nobody is left to answer the question for the outcome but the journal, once it is over.
            (State::Withdrawing | State::Running | State::Discarded, Written::Failed | Written::Unsynced) => {
                AfterWrite::Again
            }
            _ => AfterWrite::CarryOn,
        }
    }

    /// Takes an event.
    ///
    /// # Errors
    /// [`WrongMove`] if the event can't follow, such as a commit after a discard; the state is as before.
    pub fn on(&mut self, event: Event) -> Result<Vec<Command>, WrongMove> {
        let (state, commands) = match (self.state, event) {
            (State::Receiving, Event::Complete) => (State::Loaded, vec![Command::Journal, Command::SendLoaded]),
            (State::Receiving | State::Loaded, Event::Failed) => {
                (State::Discarding, vec![Command::Journal, Command::Discard])
            }
            // Whoever asks has lost the first connection: a commit that is still under way on it must find the door shut.
            (State::Receiving | State::Loaded, Event::Asked) => (
                State::Discarding,
                vec![Command::Journal, Command::Discard, Command::AnswerDiscarded],
            ),
            (State::Loaded, Event::Commit) => (State::Deciding, vec![Command::Journal]),
            (State::Deciding, Event::CommitJournalled) => (State::Committed, vec![Command::Unpause]),
            (State::Deciding, Event::CommitNotJournalled) => {
                (State::Discarding, vec![Command::Journal, Command::Discard])
            }
            (State::Deciding, Event::CommitInDoubt) => (State::Withdrawing, vec![Command::Journal]),
            (State::Withdrawing, Event::Withdrawn) => (State::Discarding, vec![Command::Discard]),
            (State::Committed, Event::DidUnpause) => (State::Running, vec![Command::Journal, Command::SendRunning]),
            (State::Committed, Event::OperatorRan) => (State::Running, vec![Command::Journal]),
            // As a commit that was never certain to be on disk: the source hears of it once no restart can find it.
            (State::Committed, Event::OperatorNeverRan) => (State::Withdrawing, vec![Command::Journal]),
            (State::Discarding, Event::DidDiscard) => (State::Discarded, vec![Command::Journal]),
            (state @ (State::Deciding | State::Committed | State::Withdrawing), Event::Asked) => {
                (state, vec![Command::AnswerPending])
            }
            (state @ State::Running, Event::Asked) => (state, vec![Command::AnswerRunning]),
            (state @ (State::Discarding | State::Discarded), Event::Asked) => (state, vec![Command::AnswerDiscarded]),
            // Late news of a connection that nobody needs any more.
            (state @ (State::Discarding | State::Discarded | State::Running), Event::Failed) => (state, vec![]),
            // The commit is on disk or on its way there: a lost connection changes nothing.
            (state @ (State::Deciding | State::Committed | State::Withdrawing), Event::Failed) => (state, vec![]),
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
            Event::Complete => "complete",
            Event::Failed => "failed",
            Event::Commit => "commit",
            Event::CommitJournalled => "commit journalled",
            Event::CommitNotJournalled => "commit not journalled",
            Event::CommitInDoubt => "commit not synced",
            Event::Withdrawn => "withdrawn",
            Event::Asked => "asked for the outcome",
            Event::DidUnpause => "unpaused",
            Event::DidDiscard => "discarded",
            Event::OperatorRan => "operator says that it ran",
            Event::OperatorNeverRan => "operator says that it never ran",
        }
    }
}
