//! What can happen next, and what must hold.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    marker::PhantomData,
    sync::Mutex,
};

use peer::handoff::{destination, source};
use stateright::{Model, Property};

use crate::{
    calm::Verdict,
    machine::{DestinationMachine, SourceMachine},
    world::{Bounds, Daemon, Domain, Forth, Phase, Question, Task, World},
};

/// Never two.
pub const ONE_RUNS: &str = "two copies never run";
/// What was decided stays decided.
pub const FORWARD: &str = "no decision is reversed";
/// The daemons feed only events that the machines expect.
pub const EXPECTED: &str = "no event comes out of turn";
/// Every doubt ends.
pub const SETTLES: &str = "once calm, both hosts settle";
/// Never none.
pub const NOT_NONE: &str = "once calm, a copy runs unless its owner is gone";
/// The destination loses no domain of its own doing.
pub const KEPT: &str = "a committed domain is lost only with its host, or ends by itself";
/// Something happens at all.
pub const MOVES: &str = "a domain can move";
/// Something can be called off.
pub const STAYS: &str = "a domain can stay after a commit";

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// As it should.
    Done,
    /// Nothing has changed.
    Fails,
    /// Of a write: it is reported as failed, but the new record is what a restart finds. Of the unpause: the domain runs, and ends at once.
    HalfDone,
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Depart,
    DepartFails,
    SourceStep(Fate),
    SourceHears,
    SourceGivesUp,
    SourceCrashes,
    SourceRestarts,
    SourceIsGone,
    SourceLosesPower(Option<usize>),
    DestinationStep(Fate),
    DestinationRetries,
    DestinationHears,
    DestinationGivesUp,
    DestinationCrashes,
    DestinationRestarts,
    DestinationIsGone,
    DestinationLosesPower(Option<usize>),
    RecordExpires,
    LoseForth,
    LoseBack,
    Ask,
    QuestionArrives,
    StaleQuestionArrives,
    StaleQuestionIsLost,
    AnswerArrives,
    LateAnswerArrives,
    QuestionIsGivenUp,
    OperatorResumes,
    OperatorDestroys,
    OperatorSaysRan,
    OperatorSaysNeverRan,
}

/// What the daemons do beyond the machines. All `false`: what they should do. Each `true` is a fault to be caught.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// The destination feeds a write that failed half-way as one that failed.
    pub half_done_reads_as_failed: bool,
    /// The destination answers `discarded` for a relocation that is not in its journal.
    pub unknown_reads_as_discarded: bool,
    /// The destination forgets a discard that is to be tried again when the first connection ends.
    pub failed_forgets_retries: bool,
    /// Nobody tries again a discard that failed while the question for the outcome was answered.
    pub asked_forgets_retries: bool,
    /// The destination does not try again to write its last record.
    pub forgets_last_record: bool,
    /// A daemon that starts acts on records that may not have been synced.
    pub restart_does_not_sync: bool,
    /// The source believes answers on connections that it has given up. No fault: answers are final.
    pub believes_late_answers: bool,
}

/// The model: the machines, what may go wrong, and what the daemons do.
pub struct Handoff<S, D> {
    pub bounds: Bounds,
    pub rules: Rules,
    /// Verdicts on the calm continuations of states seen so far.
    pub verdicts: Mutex<HashMap<u64, Verdict>>,
    hasher: RandomState,
    machines: PhantomData<fn() -> (S, D)>,
}

impl<S, D> Handoff<S, D> {
    pub fn new(bounds: Bounds, rules: Rules) -> Self {
        Handoff {
            bounds,
            rules,
            verdicts: Mutex::default(),
            hasher: RandomState::new(),
            machines: PhantomData,
        }
    }

    pub fn key(&self, what: &impl Hash) -> u64 {
        self.hasher.hash_one(what)
    }
}

impl<S: SourceMachine, D: DestinationMachine> Handoff<S, D> {
    fn source_actions(world: &World<S, D>, actions: &mut Vec<Action>) {
        use source::Command;
        if world.source.is_up() {
            if world.left.source_crashes > 0 {
                actions.push(Action::SourceCrashes);
            }
            if world.left.gone > 0 {
                actions.push(Action::SourceIsGone);
            }
        }
        if world.left.power > 0 && !matches!(world.source, Daemon::Gone) {
            actions.extend(fallbacks(world.source_unsynced.len()).map(Action::SourceLosesPower));
        }
        let work = match &world.source {
            Daemon::Busy(work) => work,
            Daemon::Down => return actions.push(Action::SourceRestarts),
            Daemon::Idle | Daemon::Gone => return,
        };
        if let Some(command) = work.pending.first() {
            actions.push(Action::SourceStep(Fate::Done));
            let (fails, half) = match command {
                Command::Journal => (world.left.source_journal_faults > 0, true),
                Command::Resume | Command::Destroy => (
                    world.left.toolstack_faults > 0 && world.source_domain == Domain::Suspended,
                    false,
                ),
                Command::SendCommit | Command::AskOutcome => (false, false),
            };
            if fails {
                actions.push(Action::SourceStep(Fate::Fails));
            }
            if fails && half {
                actions.push(Action::SourceStep(Fate::HalfDone));
            }
            return;
        }
        match work.phase {
            Phase::Copying => actions.extend([Action::Depart, Action::DepartFails]),
            Phase::AwaitLoaded | Phase::AwaitRunning => {
                actions.push(Action::SourceGivesUp);
                if world.wire.back.is_some() {
                    actions.push(Action::SourceHears);
                }
            }
            Phase::Asking => {
                match world.wire.question {
                    Question::None => actions.push(Action::Ask),
                    Question::Sent | Question::Heard => actions.push(Action::QuestionIsGivenUp),
                    Question::Answered(_) => actions.extend([Action::AnswerArrives, Action::QuestionIsGivenUp]),
                }
                if world.left.operator > 0 {
                    actions.extend([Action::OperatorResumes, Action::OperatorDestroys]);
                }
            }
            Phase::Concluding => {}
        }
    }

    fn destination_actions(world: &World<S, D>, actions: &mut Vec<Action>) {
        use destination::Command;
        if world.destination.is_up() {
            if world.left.destination_crashes > 0 {
                actions.push(Action::DestinationCrashes);
            }
            if world.left.gone > 0 {
                actions.push(Action::DestinationIsGone);
            }
        }
        if world.left.power > 0 && !matches!(world.destination, Daemon::Gone) {
            actions.extend(fallbacks(world.destination_unsynced.len()).map(Action::DestinationLosesPower));
        }
        let work = match &world.destination {
            Daemon::Busy(work) => work,
            Daemon::Idle => {
                let over = world.destination_record.is_some_and(destination::State::is_over);
                if over && world.left.expiries > 0 {
                    actions.push(Action::RecordExpires);
                }
                return;
            }
            Daemon::Down => return actions.push(Action::DestinationRestarts),
            Daemon::Gone => return,
        };
        if let Some(command) = work.agenda.peek() {
            actions.push(Action::DestinationStep(Fate::Done));
            let toolstack = world.left.toolstack_faults > 0 && world.destination_domain == Domain::Arrived;
            let (fails, half) = match command {
                Command::Journal => (world.left.destination_journal_faults > 0, true),
                Command::Unpause => (toolstack, true),
                Command::Discard => (toolstack, false),
                _ => (false, false),
            };
            if fails {
                actions.push(Action::DestinationStep(Fate::Fails));
            }
            if fails && half {
                actions.push(Action::DestinationStep(Fate::HalfDone));
            }
            return;
        }
        if work.agenda.has_later() && !work.orphaned {
            actions.push(Action::DestinationRetries);
        }
        if work.lost && world.left.operator > 0 {
            actions.extend([Action::OperatorSaysRan, Action::OperatorSaysNeverRan]);
        }
        let wanted = match work.task {
            Task::Loading => Some(Forth::Image),
            Task::AwaitCommit => Some(Forth::Commit),
            Task::Settling => None,
        };
        if wanted.is_some() {
            actions.push(Action::DestinationGivesUp);
            if world.wire.forth == wanted {
                actions.push(Action::DestinationHears);
            }
        }
    }

    fn wire_actions(world: &World<S, D>, actions: &mut Vec<Action>) {
        let wire = &world.wire;
        if wire.forth.is_some() {
            actions.push(Action::LoseForth);
        }
        if wire.back.is_some() {
            actions.push(Action::LoseBack);
        }
        let listens = match &world.destination {
            Daemon::Busy(work) => work.agenda.rests(),
            Daemon::Idle => true,
            Daemon::Down | Daemon::Gone => false,
        };
        if wire.question == Question::Sent && listens {
            actions.push(Action::QuestionArrives);
        }
        if wire.stale_questions > 0 {
            actions.push(Action::StaleQuestionIsLost);
            if listens {
                actions.push(Action::StaleQuestionArrives);
            }
        }
        if wire.late_answer.is_some() {
            actions.push(Action::LateAnswerArrives);
        }
    }

    /// Carries out an action that is possible.
    pub fn act(&self, last: &World<S, D>, action: Action) -> World<S, D> {
        let mut world = last.clone();
        let rules = &self.rules;
        match action {
            Action::Depart => world.depart(true),
            Action::DepartFails => world.depart(false),
            Action::SourceStep(fate) => world.source_step(fate),
            Action::SourceHears => world.source_hears(),
            Action::SourceGivesUp => world.source_gives_up(),
            Action::SourceCrashes => {
                world.left.source_crashes -= 1;
                world.source_crash();
            }
            Action::SourceRestarts => world.source_restart(rules),
            Action::SourceIsGone => {
                world.left.gone -= 1;
                world.source_is_gone();
            }
            Action::SourceLosesPower(before) => {
                world.left.power -= 1;
                world.source_loses_power(before);
            }
            Action::DestinationStep(fate) => world.destination_step(fate, rules),
            Action::DestinationRetries => world.destination_retry(),
            Action::DestinationHears => world.destination_hears(rules),
            Action::DestinationGivesUp => world.destination_gives_up(rules),
            Action::DestinationCrashes => {
                world.left.destination_crashes -= 1;
                world.destination_crash();
            }
            Action::DestinationRestarts => world.destination_restart(rules),
            Action::DestinationIsGone => {
                world.left.gone -= 1;
                world.destination_is_gone();
            }
            Action::DestinationLosesPower(before) => {
                world.left.power -= 1;
                world.destination_loses_power(before);
            }
            Action::RecordExpires => {
                world.left.expiries -= 1;
                world.past.expired = true;
                world.destination_record = None;
            }
            Action::LoseForth => world.wire.forth = None,
            Action::LoseBack => world.wire.back = None,
            Action::Ask => world.wire.question = Question::Sent,
            Action::QuestionArrives => world.destination_is_asked(true, rules),
            Action::StaleQuestionArrives => world.destination_is_asked(false, rules),
            Action::StaleQuestionIsLost => world.wire.stale_questions -= 1,
            Action::AnswerArrives => {
                if let Question::Answered(outcome) = world.wire.question {
                    world.wire.question = Question::None;
                    world.source_learns(outcome);
                }
            }
            Action::LateAnswerArrives => world.late_answer(rules),
            Action::QuestionIsGivenUp => world.source_stops_asking(),
            Action::OperatorResumes | Action::OperatorDestroys => {
                world.left.operator -= 1;
                world.operator(action == Action::OperatorResumes);
            }
            Action::OperatorSaysRan | Action::OperatorSaysNeverRan => {
                world.left.operator -= 1;
                world.operator_there(action == Action::OperatorSaysRan, rules);
            }
        }
        if !rules.believes_late_answers {
            world.wire.late_answer = None;
        }
        if world.left.power == 0 {
            world.source_unsynced.clear();
            world.destination_unsynced.clear();
        }
        world
    }
}

/// What a power failure may leave: the record, or one of those before it.
fn fallbacks(unsynced: usize) -> impl Iterator<Item = Option<usize>> {
    std::iter::once(None).chain((0..unsynced).map(Some))
}

impl<S: SourceMachine, D: DestinationMachine> Model for Handoff<S, D> {
    type State = World<S, D>;
    type Action = Action;

    fn init_states(&self) -> Vec<World<S, D>> {
        vec![World::new(self.bounds)]
    }

    fn actions(&self, world: &World<S, D>, actions: &mut Vec<Action>) {
        Self::source_actions(world, actions);
        Self::destination_actions(world, actions);
        Self::wire_actions(world, actions);
    }

    fn next_state(&self, last: &World<S, D>, action: Action) -> Option<World<S, D>> {
        Some(self.act(last, action))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE_RUNS, |_, world: &World<S, D>| {
                world.running() < 2 || world.past.operator_wrong
            }),
            Property::always(FORWARD, |_, world: &World<S, D>| {
                !world.past.reversed || world.past.operator_wrong
            }),
            Property::always(EXPECTED, |_, world: &World<S, D>| !world.past.wrong_move),
            Property::always(KEPT, |_, world: &World<S, D>| {
                !world.lost_there() || world.past.power_failed_there || world.past.ended_there
            }),
            Property::always(SETTLES, |model: &Self, world: &World<S, D>| model.calms(world).settles),
            Property::always(NOT_NONE, |model: &Self, world: &World<S, D>| model.calms(world).runs),
            Property::sometimes(MOVES, |_, world: &World<S, D>| {
                world.settled() && world.destination_domain == Domain::Running && world.source_domain == Domain::None
            }),
            Property::sometimes(STAYS, |_, world: &World<S, D>| {
                world.settled() && world.source_domain == Domain::Running && world.past.said_discarded
            }),
        ]
    }
}
