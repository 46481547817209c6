//! Exhaustive check of the handoff: the machines of `peer::handoff` between two journals, two toolstacks and a network, with every order of events.
//!
//! The machines are the real ones. Around them the model does what the daemon does with their commands, one command at a time, and lets daemons
//! crash between any two; writes to the journal and actions of the toolstack fail; messages are delayed and lost; whoever waits may give up at any
//! moment; questions for the outcome arrive late, twice and out of order; operators decide; hosts are gone for good.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod calm;
mod destination_side;
mod machine;
mod model;
mod source_side;
mod world;

use std::time::Instant;

use machine::{DestinationMachine, SourceMachine};
use model::{Handoff, Rules};
use peer::handoff::{destination::Destination, source::Source};
use stateright::{Checker, Model};
use world::Bounds;

/// Sees all there is within the bounds, and prints how much that was.
fn check(name: &str, bounds: Bounds, rules: Rules) {
    let begun = Instant::now();
    let checker = Handoff::<Source, Destination>::new(bounds, rules).checker().spawn_bfs().join();
    let longest = checker.model().verdicts.lock().unwrap().values().map(|verdict| verdict.steps).max();
    println!(
        "{name}: {} states, {} transitions, depth {}, at most {} steps to settle, {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        longest.unwrap_or_default(),
        begun.elapsed().as_secs_f64(),
    );
    checker.assert_properties();
}

#[test]
fn network_alone() {
    check("network", Bounds::NONE, Rules::default());
}
#[test]
fn everything_once() {
    let bounds = Bounds { source_crashes: 1, destination_crashes: 1, source_journal_faults: 1, destination_journal_faults: 2, toolstack_faults: 1, operator: 1, gone: 1, expiries: 1 };
    check("everything", bounds, Rules::default());
}
