//! The points where faults strike.

use crate::dice::Dice;

/// An end of the relocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Source,
    Destination,
}

pub const MESSAGES_OUT: &[&str] = &[
    "hello.send",
    "hello.sent",
    "relocate.send",
    "relocate.sent",
    "ready.received",
    "finish.sent",
    "loaded.received",
    "commit.send",
    "commit.sent",
    "running.received",
    "destroy.before",
    "destroy.after",
];
pub const MESSAGES_IN: &[&str] = &[
    "hello.received",
    "relocate.received",
    "ready.send",
    "ready.sent",
    "finish.received",
    "loaded.send",
    "loaded.sent",
    "commit.received",
    "unpause.before",
    "unpause.after",
    "running.send",
    "running.sent",
];
/// Reached only when something else has gone wrong before.
pub const LATER_OUT: &[&str] = &[
    "outcome.send",
    "outcome.sent",
    "outcome.received",
    "resume.before",
    "resume.after",
];
pub const LATER_IN: &[&str] = &["outcome.received", "outcome.send", "discard.before", "discard.after"];
pub const STATES_OUT: &[&str] = &["sending", "committed", "moved", "destroyed"];
pub const STATES_IN: &[&str] = &["receiving", "loaded", "committed", "running"];
pub const LATER_STATES_OUT: &[&str] = &["resuming", "resumed"];
pub const LATER_STATES_IN: &[&str] = &["discarding", "discarded"];
pub const STEPS: &[&str] = &["create", "write", "rename", "sync", "synced"];
pub const FAILING_STEPS: &[&str] = &["create", "write", "rename", "sync"];
pub const ERRORS: &[&str] = &["ENOSPC", "EIO", "EROFS"];

/// All points, as the log names them.
pub fn all() -> Vec<String> {
    let mut points = vec!["out.frame".to_owned(), "in.frame".to_owned()];
    for (word, messages, states) in [
        ("out", [MESSAGES_OUT, LATER_OUT], [STATES_OUT, LATER_STATES_OUT]),
        ("in", [MESSAGES_IN, LATER_IN], [STATES_IN, LATER_STATES_IN]),
    ] {
        points.extend(messages.concat().iter().map(|message| format!("{word}.{message}")));
        for state in states.concat() {
            points.extend(STEPS.iter().map(|step| format!("journal.{word}.{state}.{step}")));
        }
    }
    points
}

/// A fault, and what it leads to.
#[derive(Clone, Copy)]
pub struct Chain {
    /// Where the first fault strikes.
    pub end: End,
    pub points: &'static [&'static str],
    /// `kill` or `error`.
    pub action: &'static str,
    /// Where a daemon is killed then.
    pub then_end: End,
    pub then: &'static [&'static str],
}

impl Chain {
    /// The point, once or (a disk that stays full) for good.
    pub fn onwards(&self, point: &str, dice: &mut Dice) -> String {
        if !dice.chance(50) {
            return point.to_owned();
        }
        // The states that come after it fail as well: written so that the earlier ones don't.
        let mut words: Vec<&str> = point.split('.').collect();
        words[2] = "*";
        let before = if point.contains(".committed.") { 1 } else { 0 };
        let before = before + usize::from(self.end == End::Destination && before == 1);
        format!("{}@{}+", words.join("."), before + 1)
    }
}

const AT_LOADING: &[&str] = &[
    "in.ready.sent",
    "in.frame",
    "in.finish.received",
    "in.loaded.send",
    "journal.in.loaded.write",
];
const AT_COMMIT: &[&str] = &[
    "in.commit.received",
    "journal.in.committed.create",
    "journal.in.committed.rename",
];
const AT_UNPAUSE: &[&str] = &[
    "journal.in.committed.sync",
    "journal.in.committed.synced",
    "in.unpause.before",
    "in.unpause.after",
    "in.running.send",
];
const AT_SENDING: &[&str] = &[
    "out.frame@3",
    "out.finish.sent",
    "out.loaded.received",
    "journal.out.committed.create",
    "journal.out.committed.rename",
];
const AT_COMMITTED: &[&str] = &[
    "journal.out.committed.sync",
    "journal.out.committed.synced",
    "out.commit.send",
    "out.commit.sent",
];
const RESUME: &[&str] = &[
    "out.resume.before",
    "out.resume.after",
    "journal.out.resumed.create",
    "journal.out.resumed.write",
    "journal.out.resumed.rename",
    "journal.out.resumed.sync",
    "journal.out.resumed.synced",
];
const ASK_AND_RESUME: &[&str] = &[
    "out.outcome.send",
    "out.outcome.sent",
    "out.outcome.received",
    "journal.out.resuming.create",
    "journal.out.resuming.write",
    "journal.out.resuming.rename",
    "journal.out.resuming.sync",
    "journal.out.resuming.synced",
    "out.resume.before",
    "out.resume.after",
    "journal.out.resumed.synced",
];
const RESUMING: &[&str] = &[
    "journal.out.resuming.create",
    "journal.out.resuming.write",
    "journal.out.resuming.rename",
    "journal.out.resuming.sync",
    "journal.out.resuming.synced",
    "out.resume.before",
    "out.resume.after",
    "journal.out.resumed.create",
    "journal.out.resumed.synced",
];
const ASK_AND_GO: &[&str] = &[
    "out.outcome.send",
    "out.outcome.sent",
    "out.outcome.received",
    "journal.out.moved.create",
    "journal.out.moved.sync",
    "out.destroy.before",
    "out.destroy.after",
];
const DISCARD: &[&str] = &[
    "journal.in.discarding.create",
    "journal.in.discarding.write",
    "journal.in.discarding.rename",
    "journal.in.discarding.sync",
    "journal.in.discarding.synced",
    "in.discard.before",
    "in.discard.after",
    "journal.in.discarded.create",
    "journal.in.discarded.write",
    "journal.in.discarded.rename",
    "journal.in.discarded.sync",
    "journal.in.discarded.synced",
];
const ASKED: &[&str] = &[
    "in.outcome.received",
    "in.outcome.send",
    "in.unpause.before",
    "journal.in.running.synced",
];
const COMMIT_AT_SOURCE: &[&str] = &[
    "journal.out.committed.create",
    "journal.out.committed.write",
    "journal.out.committed.rename",
    "journal.out.committed.sync",
];
const COMMIT_AT_DESTINATION: &[&str] = &[
    "journal.in.committed.create",
    "journal.in.committed.write",
    "journal.in.committed.rename",
    "journal.in.committed.sync",
];

const fn chain(
    end: End,
    points: &'static [&'static str],
    action: &'static str,
    then_end: End,
    then: &'static [&'static str],
) -> Chain {
    Chain {
        end,
        points,
        action,
        then_end,
        then,
    }
}

/// What leads to what.
pub const CHAINS: &[Chain] = &[
    chain(End::Destination, AT_LOADING, "kill", End::Source, RESUME),
    chain(End::Destination, AT_LOADING, "kill", End::Destination, DISCARD),
    chain(End::Destination, AT_COMMIT, "kill", End::Source, ASK_AND_RESUME),
    chain(End::Destination, AT_COMMIT, "kill", End::Destination, DISCARD),
    chain(End::Destination, AT_UNPAUSE, "kill", End::Source, ASK_AND_GO),
    chain(End::Destination, AT_UNPAUSE, "kill", End::Destination, ASKED),
    chain(End::Source, AT_SENDING, "kill", End::Destination, DISCARD),
    chain(End::Source, AT_SENDING, "kill", End::Source, RESUME),
    chain(End::Source, AT_COMMITTED, "kill", End::Destination, ASKED),
    chain(End::Source, AT_COMMITTED, "kill", End::Source, ASK_AND_RESUME),
    chain(End::Source, COMMIT_AT_SOURCE, "error", End::Source, RESUMING),
    chain(End::Source, COMMIT_AT_SOURCE, "error", End::Destination, DISCARD),
    chain(
        End::Destination,
        COMMIT_AT_DESTINATION,
        "error",
        End::Destination,
        DISCARD,
    ),
    chain(
        End::Destination,
        COMMIT_AT_DESTINATION,
        "error",
        End::Source,
        ASK_AND_RESUME,
    ),
];
