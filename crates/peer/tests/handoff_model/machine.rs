//! The machines as the model drives them: the real ones, or wrappers around them that alter one behaviour.

use std::{fmt::Debug, hash::Hash};

use peer::handoff::{
    AfterWrite, Written, WrongMove,
    destination::{self, Destination},
    source::{self, Source},
};

/// A source's machine. All that an implementation does not override is the real one.
pub trait SourceMachine: Clone + Debug + Eq + Hash + Send + Sync + 'static {
    fn wrap(real: Source) -> Self;
    fn real(&self) -> &Source;
    fn real_mut(&mut self) -> &mut Source;

    fn state(&self) -> source::State {
        self.real().state()
    }
    fn record(&self) -> source::State {
        self.real().record()
    }
    fn written(&self, written: Written) -> AfterWrite<source::Event> {
        self.real().written(written)
    }
    fn recover(journal: source::State) -> (Self, Vec<source::Command>) {
        let (real, commands) = Source::recover(journal);
        (Self::wrap(real), commands)
    }
    fn on(&mut self, event: source::Event) -> Result<Vec<source::Command>, WrongMove> {
        self.real_mut().on(event)
    }
}

/// A destination's machine, likewise.
pub trait DestinationMachine: Clone + Debug + Eq + Hash + Send + Sync + 'static {
    fn wrap(real: Destination) -> Self;
    fn real(&self) -> &Destination;
    fn real_mut(&mut self) -> &mut Destination;

    fn state(&self) -> destination::State {
        self.real().state()
    }
    fn record(&self) -> destination::State {
        self.real().record()
    }
    fn written(&self, written: Written) -> AfterWrite<destination::Event> {
        self.real().written(written)
    }
    fn recover(journal: destination::State) -> (Self, Vec<destination::Command>) {
        let (real, commands) = Destination::recover(journal);
        (Self::wrap(real), commands)
    }
    fn on(&mut self, event: destination::Event) -> Result<Vec<destination::Command>, WrongMove> {
        self.real_mut().on(event)
    }
}

impl SourceMachine for Source {
    fn wrap(real: Source) -> Self {
        real
    }
    fn real(&self) -> &Source {
        self
    }
    fn real_mut(&mut self) -> &mut Source {
        self
    }
}

impl DestinationMachine for Destination {
    fn wrap(real: Destination) -> Self {
        real
    }
    fn real(&self) -> &Destination {
        self
    }
    fn real_mut(&mut self) -> &mut Destination {
        self
    }
}
