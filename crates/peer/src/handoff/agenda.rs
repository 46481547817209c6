//! What is still to be done for a handoff, and in which order: the daemon and the model check keep the same one.

use std::collections::VecDeque;

use super::AfterWrite;

/// The commands that are left: now, and after a pause.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Agenda<Command> {
    now: VecDeque<Command>,
    later: Vec<Command>,
}

impl<Command> Default for Agenda<Command> {
    fn default() -> Self {
        Agenda {
            now: VecDeque::new(),
            later: Vec::new(),
        }
    }
}

impl<Command> Agenda<Command> {
    /// What a restart finds to do. A question for the outcome may come before it is taken up.
    pub fn recovered(commands: Vec<Command>) -> Self {
        Agenda {
            now: VecDeque::new(),
            later: commands,
        }
    }

    /// What an event leads to. It comes before the commands that are left, for an event may be what one of the commands has led to.
    pub fn event(&mut self, commands: Vec<Command>) {
        for command in commands.into_iter().rev() {
            self.now.push_front(command);
        }
    }

    /// The next command, to be carried out.
    pub fn take(&mut self) -> Option<Command> {
        self.now.pop_front()
    }

    /// The next command.
    pub fn peek(&self) -> Option<&Command> {
        self.now.front()
    }

    /// What has failed is tried again after a pause. Nothing that is left depends on it.
    pub fn again(&mut self, command: Command) {
        self.later.push(command);
    }

    /// What follows a write to the journal; the event that is to be fed to the machine, if it is one. `journal`: the command that wrote.
    pub fn written<Event>(&mut self, follows: AfterWrite<Event>, journal: Command) -> Option<Event> {
        match follows {
            AfterWrite::CarryOn => None,
            AfterWrite::Again => {
                self.again(journal);
                None
            }
            AfterWrite::Feed(event) => Some(event),
        }
    }

    /// The pause is over: what had failed is to be done now.
    pub fn retry(&mut self) {
        self.now.extend(self.later.drain(..));
    }

    /// Whether something is to be tried again after a pause.
    pub fn has_later(&self) -> bool {
        !self.later.is_empty()
    }

    /// Drops what is to be tried again.
    pub fn forget_later(&mut self) {
        self.later.clear();
    }

    /// Whether there is nothing to do now.
    pub fn rests(&self) -> bool {
        self.now.is_empty()
    }
}
