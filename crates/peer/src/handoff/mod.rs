//! Who owns a domain while it is handed over: the decisions of both ends.
//!
//! Pure: no I/O, no clock. The daemon feeds events and carries out [`commands`](source::Command) in their order; a command that writes to the
//! journal is answered by an event that says whether the write is on disk. Only what the journal holds survives a crash.
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
//! Before the source's commit is on its disk the source owns the domain; from then on the destination does, unless the destination says that it never
//! journalled the commit and never will.

pub mod destination;
pub mod source;

/// An event that can't happen in this state: a fault in the caller, or a peer that breaks the protocol. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event} can't follow in state {state}")]
pub struct WrongMove {
    /// The state's name.
    pub state: &'static str,
    /// The event's name.
    pub event: &'static str,
}
