//! What the destination's daemon does with its machine's commands: `relocd::incoming`, and `relocd::recovery`.

use peer::handoff::{
    AfterWrite, Agenda, Written,
    destination::{Command, Event, State},
};

use crate::{
    machine::{DestinationMachine, SourceMachine},
    model::{Fate, Rules},
    world::{Asker, Back, Daemon, DestinationWork, Domain, Forth, Outcome, Phase, Question, Task, World},
};

impl<S: SourceMachine, D: DestinationMachine> World<S, D> {
    fn destination_work(&mut self) -> &mut DestinationWork<D> {
        match &mut self.destination {
            Daemon::Busy(work) => work,
            _ => unreachable!("only called while it is at work"),
        }
    }

    fn destination_event(&mut self, event: Event, rules: &Rules) {
        let work = self.destination_work();
        match work.machine.on(event) {
            Ok(commands) => {
                if rules.failed_forgets_retries && event != Event::Asked {
                    work.agenda.forget_later();
                }
                work.agenda.event(commands);
            }
            // A commit that comes too late is refused.
            Err(_)
                if event == Event::Commit && matches!(work.machine.state(), State::Discarding | State::Discarded) => {}
            Err(_) => self.past.wrong_move = true,
        }
        self.destination_rests();
    }

    /// Takes the relocation out of the books once nothing is left to do.
    fn destination_rests(&mut self) {
        let work = self.destination_work();
        if !work.agenda.rests() {
            return;
        }
        work.asker = Asker::Nobody;
        if work.task == Task::Settling && (!work.agenda.has_later() || work.orphaned) && !work.lost {
            self.destination_hangs_up();
            self.destination = Daemon::Idle;
        }
    }

    /// Nothing more is taken from the first connection, or said on it.
    fn destination_hangs_up(&mut self) {
        self.wire.forth = None;
        self.destination_work().conversation = false;
    }

    /// Carries out the next command.
    pub fn destination_step(&mut self, fate: Fate, rules: &Rules) {
        let work = self.destination_work();
        let command = work.agenda.take().unwrap();
        match command {
            Command::Journal => self.destination_journal(fate, rules),
            Command::SendLoaded => {
                work.task = Task::AwaitCommit;
                self.say(Back::Loaded, Phase::AwaitLoaded);
            }
            Command::SendRunning => self.say(Back::Running, Phase::AwaitRunning),
            Command::AnswerPending => self.answer(Outcome::Pending),
            Command::AnswerDiscarded => self.answer(Outcome::Discarded),
            Command::AnswerRunning => self.answer(Outcome::Running),
            Command::Unpause => self.unpause(fate),
            Command::Discard => self.discard(fate, rules),
        }
        self.destination_rests();
    }

    fn say(&mut self, word: Back, listens: Phase) {
        let held = self.destination_work().conversation;
        let heard = self.source.work().is_some_and(|work| work.phase == listens);
        if held && heard {
            self.wire.back = Some(word);
        }
    }

    fn answer(&mut self, outcome: Outcome) {
        self.says(outcome);
        if self.destination_work().asker == Asker::Fresh {
            self.wire.question = Question::Answered(outcome);
        } else {
            self.wire.late_answer = Some(outcome);
        }
    }

    fn says(&mut self, outcome: Outcome) {
        self.past.said_discarded |= outcome == Outcome::Discarded;
        self.past.reversed |= outcome == Outcome::Discarded && self.past.ran_there;
    }

    fn destination_journal(&mut self, fate: Fate, rules: &Rules) {
        let record = self.destination_work().machine.record();
        let written = match fate {
            Fate::Done => Written::Synced,
            Fate::HalfDone if !rules.half_done_reads_as_failed => Written::Unsynced,
            Fate::Fails | Fate::HalfDone => Written::Failed,
        };
        if fate != Fate::Done {
            self.left.destination_journal_faults -= 1;
        }
        if fate != Fate::Fails {
            let old = self.destination_record.unwrap_or(record);
            let withdrawn = old == State::Committed && (!self.past.commit_is_firm || self.past.operator_withdrew);
            self.past.reversed |= !follows(old, record, withdrawn);
            self.past.commit_is_firm |= record == State::Committed && fate == Fate::Done;
            if fate == Fate::Done {
                self.destination_unsynced.clear();
            } else {
                self.destination_unsynced.push(old);
            }
            self.destination_record = Some(record);
        }
        let work = self.destination_work();
        let follows = work.machine.written(written);
        if follows == AfterWrite::Again && rules.forgets_last_record && work.machine.state().is_over() {
            return;
        }
        if let Some(event) = work.agenda.written(follows, Command::Journal) {
            self.destination_then(event);
        }
    }

    /// An event that a command has led to.
    fn destination_then(&mut self, event: Event) {
        let work = self.destination_work();
        match work.machine.on(event) {
            Ok(commands) => work.agenda.event(commands),
            Err(_) => self.past.wrong_move = true,
        }
    }

    fn unpause(&mut self, fate: Fate) {
        if fate != Fate::Done {
            self.left.toolstack_faults -= 1;
        }
        if fate == Fate::Fails || self.destination_domain == Domain::None {
            self.destination_work().agenda.again(Command::Unpause);
            return;
        }
        if self.destination_domain == Domain::Arrived {
            let discarded = matches!(self.destination_record, Some(State::Discarding | State::Discarded));
            self.past.reversed |= self.past.said_discarded || discarded;
            self.past.ran_there = true;
            self.destination_domain = Domain::Running;
        }
        if fate == Fate::HalfDone {
            self.past.ended_there = true;
            self.past.owner_gone = true;
            self.destination_domain = Domain::None;
            self.destination_work().lost = true;
            self.destination_hangs_up();
            return;
        }
        self.destination_then(Event::DidUnpause);
    }

    fn discard(&mut self, fate: Fate, rules: &Rules) {
        if fate != Fate::Done {
            self.left.toolstack_faults -= 1;
            let work = self.destination_work();
            let asked = work.asker != Asker::Nobody;
            work.agenda.again(Command::Discard);
            work.orphaned |= asked && rules.asked_forgets_retries;
            return;
        }
        if self.destination_domain == Domain::Arrived {
            self.destination_domain = Domain::None;
        }
        self.destination_then(Event::DidDiscard);
    }

    /// Tries again what had failed.
    pub fn destination_retry(&mut self) {
        self.destination_work().agenda.retry();
    }

    /// A message arrives on the first connection.
    pub fn destination_hears(&mut self, rules: &Rules) {
        match self.wire.forth.take() {
            Some(Forth::Image) => {
                self.destination_domain = Domain::Arrived;
                self.destination_event(Event::Complete, rules);
            }
            Some(Forth::Commit) => {
                self.destination_work().task = Task::Settling;
                self.destination_event(Event::Commit, rules);
            }
            None => {}
        }
    }

    /// The image is broken, or the first connection cut, or silent for too long.
    pub fn destination_gives_up(&mut self, rules: &Rules) {
        self.destination_hangs_up();
        self.destination_work().task = Task::Settling;
        self.destination_event(Event::Failed, rules);
    }

    /// The question for the outcome arrives.
    pub fn destination_is_asked(&mut self, fresh: bool, rules: &Rules) {
        if fresh {
            self.wire.question = Question::Heard;
        } else {
            self.wire.stale_questions -= 1;
        }
        let known = match &mut self.destination {
            Daemon::Busy(work) if work.lost => Some(Outcome::Lost),
            Daemon::Busy(work) => {
                work.asker = if fresh { Asker::Fresh } else { Asker::Stale };
                None
            }
            _ => Some(match self.destination_record {
                None if rules.unknown_reads_as_discarded => Outcome::Discarded,
                None => Outcome::Lost,
                Some(State::Running) => Outcome::Running,
                Some(State::Discarded) => Outcome::Discarded,
                Some(_) => Outcome::Pending,
            }),
        };
        match known {
            None => self.destination_event(Event::Asked, rules),
            Some(outcome) => {
                self.says(outcome);
                if fresh {
                    self.wire.question = Question::Answered(outcome);
                } else {
                    self.wire.late_answer = Some(outcome);
                }
            }
        }
    }

    /// The commit is on disk and the domain is lost: an operator says whether it ran. Wrong is what did not happen.
    pub fn operator_there(&mut self, ran: bool, rules: &Rules) {
        self.past.operator_wrong |= ran != self.past.ran_there;
        self.past.operator_withdrew |= !ran;
        self.destination_work().lost = false;
        let event = if ran {
            Event::OperatorRan
        } else {
            Event::OperatorNeverRan
        };
        self.destination_event(event, rules);
    }

    /// The daemon dies; what it had sent may still arrive.
    pub fn destination_crash(&mut self) {
        self.wire.forth = None;
        self.destination = Daemon::Down;
    }

    /// The power fails: what was not synced may be what it was before.
    pub fn destination_loses_power(&mut self, before: Option<usize>) {
        self.destination_crash();
        self.past.power_failed_there = true;
        self.past.owner_gone |= self.past.commit_is_firm || self.destination_domain == Domain::Running;
        self.destination_domain = Domain::None;
        if let Some(before) = before {
            self.destination_record = Some(self.destination_unsynced[before]);
        }
        self.destination_unsynced.clear();
    }

    /// The daemon starts, syncs its journal, and reads it.
    pub fn destination_restart(&mut self, rules: &Rules) {
        if !rules.restart_does_not_sync {
            self.destination_unsynced.clear();
        }
        let Some(record) = self.destination_record.filter(|record| !record.is_over()) else {
            self.destination = Daemon::Idle;
            return;
        };
        self.past.commit_is_firm |= record == State::Committed && self.destination_unsynced.is_empty();
        // A question may come before the work is taken up.
        let (machine, commands) = D::recover(record);
        let lost = record == State::Committed && self.destination_domain == Domain::None;
        self.destination = Daemon::Busy(DestinationWork {
            machine,
            agenda: Agenda::recovered(if lost { Vec::new() } else { commands }),
            orphaned: false,
            task: Task::Settling,
            conversation: false,
            asker: Asker::Nobody,
            lost,
        });
    }

    /// The host is gone, with what ran on it.
    pub fn destination_is_gone(&mut self) {
        self.destination_crash();
        self.destination = Daemon::Gone;
        self.past.owner_gone |= self.past.commit_is_firm || self.destination_domain == Domain::Running;
        self.destination_domain = Domain::None;
    }
}

/// Whether a record may be written over another. `withdrawn`: the old one is a commit that was never certain to be on disk.
fn follows(old: State, new: State, withdrawn: bool) -> bool {
    old == new
        || match old {
            State::Receiving => new != State::Running,
            State::Loaded => !matches!(new, State::Receiving | State::Running),
            State::Committed if withdrawn => matches!(new, State::Running | State::Discarding | State::Discarded),
            State::Committed => new == State::Running,
            State::Discarding => new == State::Discarded,
            _ => false,
        }
}
