//! What the source's daemon does with its machine's commands: `relocd::outgoing`, and `relocd::recovery`.

use peer::handoff::{
    AfterWrite, Written,
    source::{Command, Event, State},
};

use crate::{
    machine::{DestinationMachine, SourceMachine},
    model::{Fate, Rules},
    world::{Asker, Back, Daemon, Domain, Forth, Outcome, Phase, Question, SourceWork, World},
};

impl<S: SourceMachine, D: DestinationMachine> World<S, D> {
    fn source_work(&mut self) -> &mut SourceWork<S> {
        match &mut self.source {
            Daemon::Busy(work) => work,
            _ => unreachable!("only called while it is at work"),
        }
    }

    /// The event, and a new phase. The first connection is closed unless the phase goes on using it.
    pub fn source_event(&mut self, event: Event, phase: Phase) {
        if !matches!(phase, Phase::AwaitLoaded | Phase::AwaitRunning) {
            self.wire.back = None;
        }
        let work = self.source_work();
        work.phase = phase;
        match work.machine.on(event) {
            Ok(commands) => work.pending = commands,
            Err(_) => self.past.wrong_move = true,
        }
        self.source_rests();
    }

    fn source_rests(&mut self) {
        let work = self.source_work();
        if work.pending.is_empty() && work.machine.state().is_over() {
            self.source_stops_asking();
            self.source = Daemon::Idle;
        }
    }

    /// Carries out the next command.
    pub fn source_step(&mut self, fate: Fate) {
        let command = self.source_work().pending.remove(0);
        match command {
            Command::Journal => self.source_journal(fate),
            Command::SendCommit => {
                let held = self.destination.work().is_some_and(|work| work.conversation);
                self.wire.forth = held.then_some(Forth::Commit);
                self.source_work().phase = Phase::AwaitRunning;
            }
            Command::AskOutcome => self.source_work().phase = Phase::Asking,
            Command::Resume | Command::Destroy if fate != Fate::Done => {
                self.left.toolstack_faults -= 1;
                self.source_work().pending.insert(0, command);
            }
            Command::Resume => {
                // Without a departed domain there is nothing to do.
                if self.source_domain == Domain::Suspended {
                    self.past.reversed |= matches!(self.source_record, State::Moved | State::Destroyed);
                    self.source_domain = Domain::Running;
                }
                self.source_event(Event::DidResume, Phase::Concluding);
            }
            Command::Destroy => {
                if self.source_domain == Domain::Suspended {
                    self.past.reversed |= matches!(self.source_record, State::Resuming | State::Resumed);
                    self.source_domain = Domain::None;
                }
                self.source_event(Event::DidDestroy, Phase::Concluding);
            }
        }
        if self.source.work().is_some() {
            self.source_rests();
        }
    }

    fn source_journal(&mut self, fate: Fate) {
        let record = self.source_work().machine.record();
        let written = match fate {
            Fate::Done => Written::Synced,
            Fate::Fails => Written::Failed,
            Fate::HalfDone => Written::Unsynced,
        };
        if written != Written::Synced {
            self.left.source_journal_faults -= 1;
        }
        if written != Written::Failed {
            self.past.reversed |= !follows(self.source_record, record);
            if written == Written::Synced {
                self.source_unsynced.clear();
            } else {
                self.source_unsynced.push(self.source_record);
            }
            self.source_record = record;
        }
        let work = self.source_work();
        if let AfterWrite::Feed(event) = work.machine.written(written) {
            match work.machine.on(event) {
                Ok(commands) => work.pending = commands,
                Err(_) => self.past.wrong_move = true,
            }
        }
    }

    /// The image has gone out, or could not.
    pub fn depart(&mut self, whole: bool) {
        if whole {
            self.source_domain = Domain::Suspended;
            self.wire.forth = self
                .destination
                .work()
                .is_some_and(|work| work.conversation)
                .then_some(Forth::Image);
            self.source_work().phase = Phase::AwaitLoaded;
        } else {
            self.source_event(Event::Failed, Phase::Concluding);
        }
    }

    /// A message arrives on the first connection.
    pub fn source_hears(&mut self) {
        match self.wire.back.take() {
            Some(Back::Loaded) => self.source_event(Event::Loaded, Phase::AwaitLoaded),
            Some(Back::Running) => self.source_event(Event::Running, Phase::Concluding),
            None => {}
        }
    }

    /// The first connection is cut, or has been silent for too long.
    pub fn source_gives_up(&mut self) {
        match self.source_work().phase {
            Phase::AwaitRunning => self.source_event(Event::Unknown, Phase::Asking),
            _ => self.source_event(Event::Failed, Phase::Concluding),
        }
    }

    /// An answer to the question for the outcome.
    pub fn source_learns(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Running => self.source_event(Event::Running, Phase::Concluding),
            Outcome::Discarded => self.source_event(Event::Discarded, Phase::Concluding),
            Outcome::Pending | Outcome::Lost => {}
        }
    }

    /// The connection of the current question is gone. The question may still be on its way.
    pub fn source_stops_asking(&mut self) {
        match self.wire.question {
            Question::None => {}
            Question::Sent => self.wire.stale_questions = (self.wire.stale_questions + 1).min(2),
            Question::Heard => {
                if let Daemon::Busy(work) = &mut self.destination
                    && work.asker == Asker::Fresh
                {
                    work.asker = Asker::Stale;
                }
            }
            Question::Answered(outcome) => self.wire.late_answer = Some(outcome),
        }
        self.wire.question = Question::None;
    }

    /// The daemon dies; what it had sent may still arrive.
    pub fn source_crash(&mut self) {
        self.source_stops_asking();
        self.wire.back = None;
        self.source = Daemon::Down;
    }

    /// The power fails: what was not synced may be what it was before.
    pub fn source_loses_power(&mut self, before: Option<usize>) {
        self.source_crash();
        self.past.owner_gone |= self.source_domain != Domain::None && !self.runs_there();
        self.source_domain = Domain::None;
        if let Some(before) = before {
            self.source_record = self.source_unsynced[before];
        }
        self.source_unsynced.clear();
    }

    /// The daemon starts, syncs its journal, and reads it.
    pub fn source_restart(&mut self, rules: &Rules) {
        if !rules.restart_does_not_sync {
            self.source_unsynced.clear();
        }
        self.source = if self.source_record.is_over() {
            Daemon::Idle
        } else {
            let (machine, pending) = S::recover(self.source_record);
            Daemon::Busy(SourceWork {
                machine,
                pending,
                phase: Phase::Concluding,
            })
        };
    }

    /// The host is gone, with what ran on it.
    pub fn source_is_gone(&mut self) {
        self.source_crash();
        self.source = Daemon::Gone;
        self.past.owner_gone |= self.source_domain != Domain::None && !self.runs_there();
        self.source_domain = Domain::None;
    }

    /// An operator decides in doubt. Wrong is what the destination may contradict.
    pub fn operator(&mut self, resume: bool) {
        self.past.operator_wrong |= if resume {
            !self.never_runs_there()
        } else {
            !self.runs_there()
        };
        self.source_stops_asking();
        let event = if resume {
            Event::OperatorResume
        } else {
            Event::OperatorDestroy
        };
        self.source_event(event, Phase::Concluding);
    }

    /// The domain runs at the destination, or will without fail.
    pub fn runs_there(&self) -> bool {
        match self.destination_domain {
            Domain::Running => true,
            Domain::Arrived => self.past.commit_is_firm,
            Domain::None | Domain::Suspended => false,
        }
    }

    fn never_runs_there(&self) -> bool {
        use peer::handoff::destination::State;
        matches!(self.destination, Daemon::Gone)
            || self.destination_domain == Domain::None
            || matches!(self.destination_record, Some(State::Discarding | State::Discarded))
    }

    /// With rules that believe answers on connections that were given up.
    pub fn late_answer(&mut self, rules: &Rules) {
        if let Some(outcome) = self.wire.late_answer.take()
            && rules.believes_late_answers
            && self.in_doubt()
        {
            self.source_stops_asking();
            self.source_learns(outcome);
        }
    }
}

/// Whether a record may be written over another.
fn follows(old: State, new: State) -> bool {
    old == new
        || match old {
            State::Sending => matches!(new, State::Committed | State::Resuming | State::Resumed),
            State::Committed => new != State::Sending,
            State::Moved => new == State::Destroyed,
            State::Resuming => new == State::Resumed,
            _ => false,
        }
}
