//! Every write of the journal, failing at every step: once and for good, in each of the ways in which disks fail.

use std::time::Duration;

use crate::{
    plan::Plan,
    points::{ERRORS, End, FAILING_STEPS, LATER_STATES_IN, LATER_STATES_OUT, STATES_IN, STATES_OUT},
};

/// What else has to go wrong for a state to be written at all: the commit fails at the destination, so that the source resumes and asks in vain.
const TO_GET_THERE: &str = "journal.in.committed.create=error=EIO";

/// Where this state is written for the first time, counted over all states of its end: from there on a disk that stays broken fails.
fn from_here_on(end: End, state: &str, step: &str) -> usize {
    let order: &[&str] = match (end, state) {
        (End::Source, "resuming" | "resumed") => &["sending", "committed", "resuming", "resumed"],
        (End::Source, _) => STATES_OUT,
        // The commit is begun and goes no further.
        (End::Destination, "discarding" | "discarded") if step == "create" => {
            &["receiving", "loaded", "committed", "discarding", "discarded"]
        }
        (End::Destination, "discarding" | "discarded") => &["receiving", "loaded", "discarding", "discarded"],
        (End::Destination, _) => STATES_IN,
    };
    1 + order.iter().position(|other| *other == state).unwrap_or_default()
}

/// The steps with the errors that they fail with. What a failed rename means depends on the error; the other steps have one each, by turns.
fn steps() -> impl Iterator<Item = (&'static str, &'static str)> {
    let by_turns = FAILING_STEPS.iter().zip(ERRORS.iter().cycle());
    let rename = ERRORS.iter().map(|error| ("rename", *error));
    by_turns
        .map(|(step, error)| (*step, *error))
        .filter(|(step, _)| *step != "rename")
        .chain(rename)
}

/// One plan for each write and step, once and for good.
pub fn plans() -> Vec<Plan> {
    let mut plans = Vec::new();
    for (end, word, states, late_states) in [
        (End::Source, "out", STATES_OUT, LATER_STATES_OUT),
        (End::Destination, "in", STATES_IN, LATER_STATES_IN),
    ] {
        for state in states.iter().chain(late_states) {
            let is_late = late_states.contains(state);
            for (step, error) in steps() {
                let once = format!("journal.{word}.{state}.{step}=error={error}");
                plans.push(plan(end, &once, is_late));
                let count = from_here_on(end, state, step);
                let for_good = format!("journal.{word}.*.{step}@{count}+=error={error}");
                plans.push(plan(end, &for_good, is_late));
            }
        }
    }
    plans
}

fn plan(end: End, fault: &str, is_late: bool) -> Plan {
    let mut plan = Plan {
        kind: "every journal write",
        live: false,
        bandwidth: false,
        source: String::new(),
        destination: String::new(),
        source_again: String::new(),
        destination_again: String::new(),
        down: Duration::ZERO,
        network: None,
    };
    match end {
        End::Source => fault.clone_into(&mut plan.source),
        End::Destination => fault.clone_into(&mut plan.destination),
    }
    if is_late {
        plan.destination = match plan.destination.as_str() {
            "" => TO_GET_THERE.to_owned(),
            fault => format!("{TO_GET_THERE},{fault}"),
        };
    }
    plan
}
