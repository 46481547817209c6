//! Seeded faults between real daemons, each in a network namespace of its own: kills, journal errors, cuts, delays, loss. Each run ends with exactly one
//! running copy, whose memory verifies.
//!
//! `cargo test --release -p relocd --features fault-points --test faults -- --nocapture`; `RELOCD_FAULT_SEEDS` runs from `RELOCD_FAULT_SEED` on, by
//! `RELOCD_FAULT_WORKERS` workers. Takes root; without it, this says so and passes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "faults/dice.rs"]
mod dice;
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
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use pair::Pair;
use plan::{BLOCK, Disturbance};
use points::End;
use report::Report;

fn number(variable: &str, default: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("{variable}: {text}"))
    })
}

#[test]
fn every_run_ends_with_exactly_one_copy_that_verifies() {
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
    let (first, count) = (number("RELOCD_FAULT_SEED", 0), number("RELOCD_FAULT_SEEDS", 40));
    let end = first + count;
    let next_block = AtomicU64::new(first / BLOCK);
    let report = Mutex::new(Report::default());
    thread::scope(|scope| {
        for _ in 0..number("RELOCD_FAULT_WORKERS", 3) {
            scope.spawn(|| {
                loop {
                    let block = next_block.fetch_add(1, Ordering::Relaxed);
                    let seeds = (block * BLOCK).max(first)..((block + 1) * BLOCK).min(end);
                    if seeds.is_empty() {
                        return;
                    }
                    work(seeds, slow.is_some(), &report);
                }
            });
        }
    });
    let report = report.into_inner().unwrap();
    println!("{report}");
    assert_eq!(report.failed(), 0, "failing seeds: see above");
}

/// A block of seeds, on one pair of hosts as long as all goes well.
fn work(seeds: std::ops::Range<u64>, can_be_slow: bool, report: &Mutex<Report>) {
    let guest = plan::guest(seeds.start);
    let mut pair = None;
    for seed in seeds {
        let plan = plan::plan(seed);
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
                println!("\nseed {seed} FAILED: {plan:?}, {guest:?}");
                println!(
                    "replay: RELOCD_FAULT_SEED={seed} RELOCD_FAULT_SEEDS=1 cargo test --release -p relocd --features fault-points --test \
                     faults -- --nocapture"
                );
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
