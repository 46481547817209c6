//! Exhaustive check of the handoff: the machines of `peer::handoff` between two journals, two toolstacks and a network, with every order of events.
//!
//! The machines are the real ones. Around them the model does what the daemon does with their commands, one command at a time, and lets daemons
//! crash between any two; writes to the journal and actions of the toolstack fail; messages are delayed and lost; whoever waits may give up at any
//! moment; questions for the outcome arrive late, twice and out of order; operators decide; hosts lose power, or are gone for good.
//!
//! ```text
//! cargo test -p peer --test handoff_model -- --nocapture
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod calm;
mod destination_side;
mod machine;
mod model;
mod mutants;
mod source_side;
mod world;

use std::time::Instant;

use machine::{DestinationMachine, SourceMachine};
use model::{FORWARD, Handoff, NOT_NONE, ONE_RUNS, Rules, SETTLES};
use mutants::*;
use peer::handoff::{destination::Destination, source::Source};
use stateright::{Checker, HasDiscoveries, Model};
use world::Bounds;

/// Enough to see every fault beside every other.
const USUAL: Bounds = Bounds {
    source_crashes: 1,
    destination_crashes: 1,
    source_journal_faults: 1,
    destination_journal_faults: 2,
    toolstack_faults: 1,
    operator: 1,
    gone: 1,
    power: 0,
    expiries: 1,
};

/// Faults that follow each other.
const DEEP: Bounds = Bounds {
    source_crashes: 2,
    destination_crashes: 2,
    source_journal_faults: 2,
    destination_journal_faults: 3,
    toolstack_faults: 2,
    ..USUAL
};

/// Power failures, which undo what was not synced.
const POWER: Bounds = Bounds {
    gone: 0,
    power: 2,
    ..USUAL
};

/// Sees all there is within the bounds, and prints how much that was.
fn check(name: &str, bounds: Bounds, rules: Rules) {
    let begun = Instant::now();
    let checker = Handoff::<Source, Destination>::new(bounds, rules)
        .checker()
        .spawn_bfs()
        .join();
    let longest = {
        let verdicts = checker.model().verdicts.lock().unwrap();
        verdicts.values().map(|verdict| verdict.steps).max().unwrap_or_default()
    };
    println!(
        "{name}: {} states, {} transitions, depth {}, settled in {longest} steps at most once calm, {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        begun.elapsed().as_secs_f64(),
    );
    checker.assert_properties();
}

#[test]
fn the_network_alone() {
    check("the network alone", Bounds::NONE, Rules::default());
}

#[test]
fn every_fault_and_every_order() {
    check("every fault", DEEP, Rules::default());
}

#[test]
fn power_failures() {
    check("power failures", POWER, Rules::default());
}

/// Answers are final: it would do no harm if those on connections that were given up were believed.
#[test]
fn late_answers_would_do_no_harm() {
    let rules = Rules {
        believes_late_answers: true,
        ..Rules::default()
    };
    check("late answers believed", USUAL, rules);
}

/// A fault is caught by a property; prints the length of the shortest way to it.
fn catches<S: SourceMachine, D: DestinationMachine>(fault: &str, property: &'static str, rules: Rules) {
    let bounds = if rules.restart_does_not_sync { POWER } else { USUAL };
    let checker = Handoff::<S, D>::new(bounds, rules)
        .checker()
        .finish_when(HasDiscoveries::AnyOf([property].into()))
        .spawn_bfs()
        .join();
    let path = checker.discovery(property);
    let path = path.unwrap_or_else(|| panic!("{fault}: not caught by '{property}'"));
    println!(
        "{fault}: '{property}' is violated after {} steps",
        path.into_actions().len()
    );
}

fn source_catches<S: SourceMachine>(fault: &str, property: &'static str) {
    catches::<S, Destination>(fault, property, Rules::default());
}

fn destination_catches<D: DestinationMachine>(fault: &str, property: &'static str) {
    catches::<Source, D>(fault, property, Rules::default());
}

#[test]
fn faults_of_the_source_are_caught() {
    source_catches::<CommitBeforeJournal>("commit said before it is on disk", ONE_RUNS);
    source_catches::<CommitNotOnDisk>("commit said though it is not on disk", ONE_RUNS);
    source_catches::<TimeoutResumes>("timeout after the commit resumes", ONE_RUNS);
    source_catches::<TimeoutDestroys>("timeout after the commit destroys", NOT_NONE);
    source_catches::<NeverResumes>("'discarded' is not believed", SETTLES);
    source_catches::<CommittedRecoversAsSending>("restart forgets the commit", ONE_RUNS);
    source_catches::<MovedRecoversAsResuming>("restart resumes what has moved", ONE_RUNS);
}

#[test]
fn faults_of_the_destination_are_caught() {
    destination_catches::<DiscardedButWaits>("says discarded, takes a late commit", ONE_RUNS);
    destination_catches::<DiscardedThoughCommitted>("says discarded though committed", ONE_RUNS);
    destination_catches::<UnpauseBeforeJournal>("unpauses before the journal", ONE_RUNS);
    destination_catches::<UnpauseNotOnDisk>("unpauses though the commit is not on disk", ONE_RUNS);
    destination_catches::<LoadedRecoversAsCommitted>("restart unpauses without a commit", ONE_RUNS);
    destination_catches::<CommittedRecoversAsLoaded>("restart discards after the commit", FORWARD);
    destination_catches::<HalfWrittenIsForgotten>("a half-written commit is forgotten", ONE_RUNS);
    destination_catches::<NeverGivesUp>("never gives up", SETTLES);
}

#[test]
fn faults_of_the_daemon_are_caught() {
    let caught = |fault, property, rules| catches::<Source, Destination>(fault, property, rules);
    let right = Rules::default();
    let rules = Rules {
        half_done_reads_as_failed: true,
        ..right
    };
    caught("a half-written commit reads as not written", ONE_RUNS, rules);
    let rules = Rules {
        unknown_reads_as_discarded: true,
        ..right
    };
    caught("an expired record reads as discarded", ONE_RUNS, rules);
    let rules = Rules {
        failed_forgets_retries: true,
        ..right
    };
    caught("a lost connection ends the retries of a discard", SETTLES, rules);
    let rules = Rules {
        asked_forgets_retries: true,
        ..right
    };
    caught(
        "a discard that fails in answer to a question is not retried",
        SETTLES,
        rules,
    );
    let rules = Rules {
        forgets_last_record: true,
        ..right
    };
    caught("the last record is not retried", SETTLES, rules);
    let rules = Rules {
        restart_does_not_sync: true,
        ..right
    };
    caught("a restart does not sync the journal", FORWARD, rules);
}
