//! Who owns a domain while it is handed over: the decisions of both ends.
//!
//! Pure: no I/O, no clock. The daemon feeds events and carries out [`commands`](source::Command) in their order; a command that writes to the
//! journal is followed by what `written` says: an event, another attempt, or nothing. Only what the journal holds survives a crash.
//!
//! ```text
//!  source                                              destination
//!  Sending ──Failed/Lost──▶ Resuming                   Receiving ──Failed/Lost──▶ Discarding
//!     │ Loaded                                            │ Complete
//!  Deciding   (commit goes to the journal)             Loaded ──Lost/asked for the outcome──▶ Discarding
//!     │ Journalled                                        │ Commit
//!  Committed  (commit goes out)                        Deciding   (commit goes to the journal)
//!     │ Running, or outcome running                       │ Journalled
//!  Moved: destroy                                      Committed: unpause ──▶ Running
//! ```
//!
//! A commit whose write fails is withdrawn. At the source nothing has been said yet, so the domain simply runs on. At the destination the source has
//! committed, and hears `discarded` only when no record that says `committed` can turn up after a crash: a write that failed half-way is first
//! written over ([`destination::State::Withdrawing`]).
//!
//! The test `handoff_model` drives this code through every order of events and faults within its bounds; at the destination also the [`Agenda`], which
//! keeps what is left to do. What it asks of the daemon beyond carrying out commands: what failed is tried again until it is done, whatever other events
//! come; the relocation stays in the books till then; a relocation that the destination's journal does not know is no discarded one; nobody but the
//! source can ask for the outcome; and a daemon that starts syncs its journal before it reads it.
//!
//! A destination may find its commit on disk and the domain gone: the host lost power, or the domain ran and ended before that was on disk, or as soon as it was
//! told to run. Nothing but an operator knows which; the word is taken as the domain's unpause would have been, or withdrawn as a commit that was never
//! certain to be on disk.
//!
//! Before the source's commit is on its disk the source owns the domain; from then on the destination does, unless the destination says that it never
//! journalled the commit and never will.

mod agenda;
pub mod destination;
pub mod source;

pub use agenda::Agenda;

/// An event that can't happen in this state: a fault in the caller, or a peer that breaks the protocol. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event} can't follow in state {state}")]
pub struct WrongMove {
    /// The state's name.
    pub state: &'static str,
    /// The event's name.
    pub event: &'static str,
}

/// How a write to the journal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Written {
    /// The record is on disk.
    Synced,
    /// It is not, and the record before it stands.
    Failed,
    /// It is in place, but was not synced: a crash leaves it or the record before it.
    Unsynced,
}

/// What follows a write to the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AfterWrite<Event> {
    /// The next command.
    CarryOn,
    /// This event; what it leads to comes before the commands that are left.
    Feed(Event),
    /// The commands that are left; then, after a pause, the write once more, until it is on disk. The relocation stays in the books till then.
    Again,
}
