//! Two hosts, their journals and domains, and what is between them.

use peer::handoff::{Agenda, destination, source};

use crate::machine::{DestinationMachine, SourceMachine};

/// How much may go wrong in one run. Losses, delays and timeouts are not counted: there may be any number of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Crashes of the source's daemon.
    pub source_crashes: u8,
    /// Crashes of the destination's daemon.
    pub destination_crashes: u8,
    /// Failed writes to the source's journal, whole or half-way.
    pub source_journal_faults: u8,
    /// Failed writes to the destination's journal, whole or half-way.
    pub destination_journal_faults: u8,
    /// Failures of the toolstacks.
    pub toolstack_faults: u8,
    /// Decisions of operators.
    pub operator: u8,
    /// Hosts that are gone for good, with their domains.
    pub gone: u8,
    /// Power failures of hosts: their domains are gone, and a record that was not synced may be.
    pub power: u8,
    /// Records of finished relocations that the destination's journal drops.
    pub expiries: u8,
}

impl Bounds {
    /// Nothing goes wrong but the network.
    pub const NONE: Bounds = Bounds {
        source_crashes: 0,
        destination_crashes: 0,
        source_journal_faults: 0,
        destination_journal_faults: 0,
        toolstack_faults: 0,
        operator: 0,
        gone: 0,
        power: 0,
        expiries: 0,
    };
}

/// A host's daemon.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Daemon<Work> {
    /// Up, with the relocation in its books.
    Busy(Work),
    /// Up; only the journal still knows of the relocation.
    Idle,
    /// Crashed.
    Down,
    /// The host is gone for good.
    Gone,
}

impl<Work> Daemon<Work> {
    pub fn work(&self) -> Option<&Work> {
        match self {
            Daemon::Busy(work) => Some(work),
            _ => None,
        }
    }
    pub fn is_up(&self) -> bool {
        matches!(self, Daemon::Busy(_) | Daemon::Idle)
    }
}

/// The domain at one host. It outlives the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Domain {
    /// Not here.
    None,
    /// At the source: complete, stopped, and marked as departing.
    Suspended,
    /// At the destination: complete, and has never run.
    Arrived,
    /// It runs.
    Running,
}

/// Where the source's conversation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The image is going out.
    Copying,
    /// Waiting for `(loaded)`.
    AwaitLoaded,
    /// Waiting for `(running ...)`.
    AwaitRunning,
    /// The first connection is given up: asking for the outcome, and open to operators.
    Asking,
    /// Nothing is waited for.
    Concluding,
}

/// The source's daemon with the relocation: `relocd::outgoing::Handoff` and what calls it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SourceWork<S> {
    pub machine: S,
    pub pending: Vec<source::Command>,
    pub phase: Phase,
}

/// What the destination's task for the first connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Task {
    /// The image is coming in.
    Loading,
    /// Waiting for `(commit)`.
    AwaitCommit,
    /// Carrying out what has been decided; nothing more is taken from the connection.
    Settling,
}

/// Whose question for the outcome is being answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Asker {
    /// Nobody's.
    Nobody,
    /// One whose connection the source still has.
    Fresh,
    /// One whose connection the source has given up.
    Stale,
}

/// The destination's daemon with the relocation: `relocd::incoming::Incoming` and what calls it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DestinationWork<D> {
    pub machine: D,
    /// What is being carried out, with the lock held; and what is to be tried again after a pause, with the lock free.
    pub agenda: Agenda<destination::Command>,
    /// Nobody will try that again.
    pub orphaned: bool,
    pub task: Task,
    /// The first connection is still held.
    pub conversation: bool,
    pub asker: Asker,
    /// `committed`, but the domain is not here.
    pub lost: bool,
}

/// An answer to the question for the outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    Pending,
    Discarded,
    Running,
    Lost,
}

/// A message to the destination on the first connection. Each waits for the answer to the one before it: there is never more than one on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Forth {
    Image,
    Commit,
}

/// A message to the source on the first connection. Refusals are left out: to the source they are what a timeout is, and that may come at any moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Back {
    Loaded,
    Running,
}

/// The source's current question for the outcome, on a connection of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    None,
    Sent,
    /// The destination has it.
    Heard,
    Answered(Outcome),
}

/// What is between the hosts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wire {
    pub forth: Option<Forth>,
    pub back: Option<Back>,
    pub question: Question,
    /// Questions that are still on their way, on connections that the source has given up.
    pub stale_questions: u8,
    /// The last answer on a connection that the source has given up; kept only where the model asks what would be if it were believed.
    pub late_answer: Option<Outcome>,
}

/// What has happened, as far as the properties need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Past {
    /// An operator decided wrongly.
    pub operator_wrong: bool,
    /// An operator at the destination said that the lost domain never ran there.
    pub operator_withdrew: bool,
    /// The destination said `discarded`.
    pub said_discarded: bool,
    /// The destination's commit is on disk for certain.
    pub commit_is_firm: bool,
    /// The domain ran at the destination.
    pub ran_there: bool,
    /// A decision was reversed.
    pub reversed: bool,
    /// An event came that the machine does not allow in its state; a commit after a discard is no such.
    pub wrong_move: bool,
    /// A host is gone that had committed, or owned the domain; or the domain has ended by itself.
    pub owner_gone: bool,
    /// The power failed at the destination.
    pub power_failed_there: bool,
    /// The domain ended at the destination as soon as it ran.
    pub ended_there: bool,
    /// The destination's record has expired.
    pub expired: bool,
}

/// A state of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World<S, D> {
    pub source: Daemon<SourceWork<S>>,
    pub source_record: source::State,
    /// What a power failure may put in the record's place.
    pub source_unsynced: Vec<source::State>,
    pub source_domain: Domain,
    pub destination: Daemon<DestinationWork<D>>,
    pub destination_record: Option<destination::State>,
    /// What a power failure may put in the record's place.
    pub destination_unsynced: Vec<destination::State>,
    pub destination_domain: Domain,
    pub wire: Wire,
    pub left: Bounds,
    pub past: Past,
}

impl<S: SourceMachine, D: DestinationMachine> World<S, D> {
    /// After the negotiation: both journals have their first record, and the domain runs at the source.
    pub fn new(bounds: Bounds) -> Self {
        World {
            source: Daemon::Busy(SourceWork {
                machine: S::wrap(source::Source::default()),
                pending: Vec::new(),
                phase: Phase::Copying,
            }),
            source_record: source::State::Sending,
            source_unsynced: Vec::new(),
            source_domain: Domain::Running,
            destination: Daemon::Busy(DestinationWork {
                machine: D::wrap(destination::Destination::default()),
                agenda: Agenda::default(),
                orphaned: false,
                task: Task::Loading,
                conversation: true,
                asker: Asker::Nobody,
                lost: false,
            }),
            destination_record: Some(destination::State::Receiving),
            destination_unsynced: Vec::new(),
            destination_domain: Domain::None,
            wire: Wire {
                forth: None,
                back: None,
                question: Question::None,
                stale_questions: 0,
                late_answer: None,
            },
            left: bounds,
            past: Past::default(),
        }
    }

    /// How many copies run.
    pub fn running(&self) -> usize {
        [self.source_domain, self.destination_domain]
            .into_iter()
            .filter(|domain| *domain == Domain::Running)
            .count()
    }

    /// The source waits for the outcome.
    pub fn in_doubt(&self) -> bool {
        self.source
            .work()
            .is_some_and(|work| work.phase == Phase::Asking && work.pending.is_empty())
    }

    /// The destination has the commit, but the domain is lost: nothing can be done there without an operator.
    pub fn lost_there(&self) -> bool {
        self.destination.work().is_some_and(|work| work.lost)
    }

    /// Nothing is left to do at either host.
    pub fn settled(&self) -> bool {
        matches!(self.source, Daemon::Idle | Daemon::Gone) && matches!(self.destination, Daemon::Idle | Daemon::Gone)
    }
}
