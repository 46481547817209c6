//! Machines with one fault each.

use peer::handoff::{
    WrongMove,
    destination::{self, Destination},
    source::{self, Source},
};

use crate::machine::{DestinationMachine, SourceMachine};

/// A wrapper around a real machine, and the one method that it alters.
macro_rules! mutant {
    ($(#[$doc:meta])* $name:ident, $trait:ident, $real:ident, $altered:item) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub struct $name($real);

        impl $trait for $name {
            fn wrap(real: $real) -> Self {
                $name(real)
            }
            fn real(&self) -> &$real {
                &self.0
            }
            fn real_mut(&mut self) -> &mut $real {
                &mut self.0
            }
            $altered
        }
    };
}

type SourceCommands = Result<Vec<source::Command>, WrongMove>;
type DestinationCommands = Result<Vec<destination::Command>, WrongMove>;

mutant! {
    /// Says `(commit)` before it is on disk.
    CommitBeforeJournal, SourceMachine, Source,
    fn on(&mut self, event: source::Event) -> SourceCommands {
        use source::{Command, Event};
        let commands = self.0.on(event)?;
        Ok(match event {
            Event::Loaded => vec![Command::SendCommit, Command::Journal],
            Event::CommitJournalled => vec![],
            _ => commands,
        })
    }
}

mutant! {
    /// Says `(commit)` even if it could not be written.
    CommitNotOnDisk, SourceMachine, Source,
    fn on(&mut self, event: source::Event) -> SourceCommands {
        use source::Event;
        self.0.on(match event {
            Event::CommitNotJournalled => Event::CommitJournalled,
            event => event,
        })
    }
}

mutant! {
    /// Resumes when the connection is lost after the commit.
    TimeoutResumes, SourceMachine, Source,
    fn on(&mut self, event: source::Event) -> SourceCommands {
        use source::Event;
        self.0.on(match event {
            Event::Unknown => Event::Discarded,
            event => event,
        })
    }
}

mutant! {
    /// Destroys when the connection is lost after the commit.
    TimeoutDestroys, SourceMachine, Source,
    fn on(&mut self, event: source::Event) -> SourceCommands {
        use source::Event;
        self.0.on(match event {
            Event::Unknown => Event::Running,
            event => event,
        })
    }
}

mutant! {
    /// Takes no `discarded` for an answer.
    NeverResumes, SourceMachine, Source,
    fn on(&mut self, event: source::Event) -> SourceCommands {
        use source::Event;
        self.0.on(match event {
            Event::Discarded => Event::Unknown,
            event => event,
        })
    }
}

mutant! {
    /// Resumes after a restart although it had committed.
    CommittedRecoversAsSending, SourceMachine, Source,
    fn recover(journal: source::State) -> (Self, Vec<source::Command>) {
        use source::State;
        let (real, commands) = Source::recover(match journal {
            State::Committed => State::Sending,
            state => state,
        });
        (Self(real), commands)
    }
}

mutant! {
    /// Resumes after a restart although the domain had moved.
    MovedRecoversAsResuming, SourceMachine, Source,
    fn recover(journal: source::State) -> (Self, Vec<source::Command>) {
        use source::State;
        let (real, commands) = Source::recover(match journal {
            State::Moved => State::Resuming,
            state => state,
        });
        (Self(real), commands)
    }
}

mutant! {
    /// Answers `discarded` while it has not decided, and goes on waiting for the commit.
    DiscardedButWaits, DestinationMachine, Destination,
    fn on(&mut self, event: destination::Event) -> DestinationCommands {
        use destination::{Command, Event, State};
        match (self.0.state(), event) {
            (State::Loaded, Event::Asked) => Ok(vec![Command::AnswerDiscarded]),
            _ => self.0.on(event),
        }
    }
}

mutant! {
    /// Answers `discarded` while it has the commit and is starting the domain.
    DiscardedThoughCommitted, DestinationMachine, Destination,
    fn on(&mut self, event: destination::Event) -> DestinationCommands {
        use destination::{Command, Event, State};
        match (self.0.state(), event) {
            (State::Committed, Event::Asked) => Ok(vec![Command::AnswerDiscarded]),
            _ => self.0.on(event),
        }
    }
}

mutant! {
    /// Runs the domain before the commit is on disk.
    UnpauseBeforeJournal, DestinationMachine, Destination,
    fn on(&mut self, event: destination::Event) -> DestinationCommands {
        use destination::{Command, Event, State};
        match (self.0.state(), event) {
            (State::Loaded, Event::Commit) => {
                self.0.on(event)?;
                Ok(vec![Command::Unpause, Command::Journal])
            }
            (State::Deciding, Event::DidUnpause) => Ok(vec![]),
            (State::Deciding, Event::CommitJournalled) => {
                self.0.on(event)?;
                self.0.on(Event::DidUnpause)
            }
            _ => self.0.on(event),
        }
    }
}

mutant! {
    /// Runs the domain although the commit could not be written.
    UnpauseNotOnDisk, DestinationMachine, Destination,
    fn on(&mut self, event: destination::Event) -> DestinationCommands {
        use destination::Event;
        self.0.on(match event {
            Event::CommitNotJournalled => Event::CommitJournalled,
            event => event,
        })
    }
}

mutant! {
    /// Runs the domain after a restart although no commit had come.
    LoadedRecoversAsCommitted, DestinationMachine, Destination,
    fn recover(journal: destination::State) -> (Self, Vec<destination::Command>) {
        use destination::State;
        let (real, commands) = Destination::recover(match journal {
            State::Loaded => State::Committed,
            state => state,
        });
        (Self(real), commands)
    }
}

mutant! {
    /// Discards after a restart although it had committed.
    CommittedRecoversAsLoaded, DestinationMachine, Destination,
    fn recover(journal: destination::State) -> (Self, Vec<destination::Command>) {
        use destination::State;
        let (real, commands) = Destination::recover(match journal {
            State::Committed => State::Loaded,
            state => state,
        });
        (Self(real), commands)
    }
}

mutant! {
    /// Says `discarded` although a commit that was written half-way may be on disk.
    HalfWrittenIsForgotten, DestinationMachine, Destination,
    fn on(&mut self, event: destination::Event) -> DestinationCommands {
        use destination::Event;
        self.0.on(match event {
            Event::CommitInDoubt => Event::CommitNotJournalled,
            event => event,
        })
    }
}

mutant! {
    /// Keeps what has arrived, and waits for a commit that can't come any more.
    NeverGivesUp, DestinationMachine, Destination,
    fn on(&mut self, event: destination::Event) -> DestinationCommands {
        use destination::{Event, State};
        match (self.0.state(), event) {
            (State::Loaded, Event::Failed) => Ok(vec![]),
            _ => self.0.on(event),
        }
    }
}
