//! Seeded faults between real daemons, each in a network namespace of its own: kills, journal errors, cuts, delays, loss. Each run ends with exactly one
//! running copy, whose memory verifies. And each write of the journal, failing at each step (`RELOCD_FAULT_WRITES=0` leaves those out).
//!
//! `cargo test --release -p relocd --features fault-points --test faults -- --nocapture`; `RELOCD_FAULT_SEEDS` runs from `RELOCD_FAULT_SEED` on, by
//! `RELOCD_FAULT_WORKERS` workers. Takes root; without it, this says so and passes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "faults/dice.rs"]
mod dice;
#[path = "faults/matrix.rs"]
mod matrix;
#[path = "faults/network.rs"]
mod network;
#[path = "faults/pair.rs"]
mod pair;
#[path = "faults/plan.rs"]
mod plan;
#[path = "faults/points.rs"]
mod points;
#[path = "faults/report.rs"]
mod report;
#[path = "faults/run.rs"]
mod run;
mod support;

use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use pair::Pair;
use plan::{BLOCK, Disturbance, Plan};
use points::End;
use report::Report;

fn number(variable: &str, default: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("{variable}: {text}"))
    })
}

/// One at a time: each has as many hosts at work as the machine bears.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn every_run_ends_with_exactly_one_copy_that_verifies() {
    let first = number("RELOCD_FAULT_SEED", 0);
    let seeds = first..first + number("RELOCD_FAULT_SEEDS", 40);
    run_all(
        "every_run",
        ["RELOCD_FAULT_SEED", "RELOCD_FAULT_SEEDS"],
        seeds,
        plan::plan,
    );
}

#[test]
fn every_journal_write_that_fails_leaves_exactly_one_copy_that_verifies() {
    let plans = matrix::plans();
    let first = number("RELOCD_FAULT_WRITE", 0);
    let end = (plans.len() as u64).min(first + number("RELOCD_FAULT_WRITES", u64::MAX / 2));
    let variables = ["RELOCD_FAULT_WRITE", "RELOCD_FAULT_WRITES"];
    run_all("every_journal_write", variables, first..end, |at| {
        plans[at as usize].clone()
    });
}

/// Carries out the plans of these numbers. The test and the variables are those that choose one of them.
fn run_all(test: &str, [first, count]: [&str; 2], numbers: Range<u64>, plan_of: impl Fn(u64) -> Plan + Sync) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(why) = network::missing() {
        println!("SKIPPED: {why}");
        return;
    }
    network::sweep();
    let slow = network::Network::new().slowness();
    match slow {
        Some(way) => println!("late packets: {}", way.join(" ")),
        None => println!("SKIPPED: late packets: this kernel has neither netem nor tbf"),
    }
    if numbers.is_empty() {
        return;
    }
    let next_block = AtomicU64::new(numbers.start / BLOCK);
    let report = Mutex::new(Report::default());
    thread::scope(|scope| {
        for _ in 0..number("RELOCD_FAULT_WORKERS", 3) {
            scope.spawn(|| {
                loop {
                    let block = next_block.fetch_add(1, Ordering::Relaxed);
                    let numbers = (block * BLOCK).max(numbers.start)..((block + 1) * BLOCK).min(numbers.end);
                    if numbers.is_empty() {
                        return;
                    }
                    let replay = |at: u64| {
                        format!("{first}={at} {count}=1 cargo test --release -p relocd --features fault-points --test faults {test} -- --nocapture")
                    };
                    work(numbers, &plan_of, &replay, slow.is_some(), &report);
                }
            });
        }
    });
    let report = report.into_inner().unwrap();
    println!("{report}");
    assert_eq!(report.failed(), 0, "failing runs: see above");
}

/// A block of numbers, on one pair of hosts as long as all goes well.
fn work(
    numbers: Range<u64>,
    plan_of: &impl Fn(u64) -> Plan,
    replay: &impl Fn(u64) -> String,
    can_be_slow: bool,
    report: &Mutex<Report>,
) {
    let guest = plan::guest(numbers.start);
    let mut pair = None;
    for number in numbers {
        let plan = plan_of(number);
        let slow = plan.network.is_some_and(|network| network.what == Disturbance::Slow);
        if slow && !can_be_slow {
            report.lock().unwrap().skip(plan.kind);
            continue;
        }
        let ran = catch_unwind(AssertUnwindSafe(|| {
            let pair = pair.get_or_insert_with(|| Pair::new(&guest));
            run::run(pair, &plan)
        }));
        match ran {
            Ok(outcome) => report.lock().unwrap().add(plan.kind, &outcome),
            Err(_) => {
                let mut report = report.lock().unwrap();
                report.fail(plan.kind);
                println!("\nrun {number} FAILED: {plan:?}, {guest:?}");
                println!("replay: {}", replay(number));
                if let Some(pair) = pair.take() {
                    println!(
                        "source:\n{}\ndestination:\n{}",
                        pair.log(End::Source),
                        pair.log(End::Destination)
                    );
                }
            }
        }
    }
}
