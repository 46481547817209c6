//! `cargo bench`: how fast, how lean and how short relocations between two real daemons on loopback are, each figure against its bar.
//!
//! Exits with 1 if a bar on bytes or memory is missed. Bars on time are printed only, for time is the machine's as much as the program's: the throughput
//! has a plain copy in the same run next to it.
//!
//! `RELOCD_BENCH_MIB`: MiB of the domain whose throughput is measured, instead of 2048.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod plain;
#[path = "../support/mod.rs"]
mod support;
mod table;

use std::{
    io::Read,
    process::{ExitCode, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use plain::Plain;
use support::Host;
use table::{Bar, Table};

fn main() -> ExitCode {
    let mut table = Table::default();
    throughput(&mut table);
    live(&mut table);
    sparse(&mut table);
    table.print();
    if table.is_met() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// What `xm migrate --json` says of a relocation of `web`.
struct Report(serde_json::Value);

impl Report {
    fn of(from: &Host, to: &Host, options: &[&str]) -> Report {
        let said = from.migrates(to, &[options, &["--json"]].concat());
        Report(serde_json::from_str::<serde_json::Value>(&said).unwrap()["migrated"].clone())
    }

    fn number(&self, name: &str) -> f64 {
        self.0[name].as_f64().unwrap()
    }
}

/// Waits, however long it takes, until the guest has filled its memory.
fn filled(host: &Host) {
    let mut command = host.xm_command(&["console", "web"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let (mut out, mut seen, mut bytes) = (child.stdout.take().unwrap(), Vec::new(), [0; 512]);
    while !String::from_utf8_lossy(&seen).contains("filled\n") {
        let count = out.read(&mut bytes).unwrap();
        assert!(count > 0, "the console ends: {}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&bytes[..count]);
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A domain of what no one can compress, offline, and a plain copy of as many bytes; in turn, for what the machine does besides comes and goes.
fn throughput(table: &mut Table) {
    const TURNS: usize = 5;
    let mib = std::env::var("RELOCD_BENCH_MIB").map_or(2048, |text| text.parse().unwrap());
    let (a, b) = (Host::start(), Host::start());
    a.create("web", mib, "fill=random verify=0");
    let plain = Plain::new((mib << 20) as usize);
    filled(&a);
    let (mut from, mut to) = (&a, &b);
    let mut turns = Vec::new();
    let most = Peak::during([&a, &b], || {
        for _ in 0..TURNS {
            let reference = mib as f64 / plain.copy().as_secs_f64();
            let report = Report::of(from, to, &[]);
            let ours = mib as f64 / (report.number("total-ms") / 1000.0);
            let ratio = ours / reference;
            println!("{mib} MiB offline: {ours:.0} MiB/s; a plain copy: {reference:.0} MiB/s; ratio {ratio:.2}");
            turns.push((ratio, ours, reference));
            std::mem::swap(&mut from, &mut to);
        }
    });
    turns.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (ratio, ours, reference) = turns[TURNS / 2];
    table.figure("random, offline: MiB/s, in the median turn", ours);
    table.figure("plain copy: MiB/s, in the same turn", reference);
    table.bar(
        "random, offline: throughput / plain copy",
        ratio,
        Bar::time_at_least(0.6),
    );
    table.bar("random, offline: a daemon's own memory, MiB", most, Bar::at_most(64.0));
}

/// A domain of 1 GiB that keeps writing 64 MiB of it, all of them several times in a second: live.
fn live(table: &mut Table) {
    let (a, b) = (Host::start(), Host::start());
    a.create("web", 1024, "fill=random dirty=200 wss=64 verify=20");
    filled(&a);
    let mut report = None;
    let most = Peak::during([&a, &b], || {
        report = Some(Report::of(&a, &b, &["-l", "--max-downtime", "50"]))
    });
    let report = report.unwrap();
    println!("1 GiB live: {}", report.0);
    let bytes = report.number("wire-bytes") / f64::from(1 << 30);
    table.bar(
        "1 GiB, 64 MiB hot, live: bytes on the wire / RAM",
        bytes,
        Bar::at_most(1.3),
    );
    table.bar(
        "1 GiB, 64 MiB hot, live: downtime, ms",
        report.number("downtime-ms"),
        Bar::time_at_most(100.0),
    );
    table.bar(
        "1 GiB, 64 MiB hot, live: a daemon's own memory, MiB",
        most,
        Bar::at_most(64.0),
    );
}

/// A domain of 8 GiB of which little has ever been touched.
fn sparse(table: &mut Table) {
    let (a, b) = (Host::start(), Host::start());
    a.create("web", 8192, "dirty=50 wss=64 verify=20");
    a.console(|text| !support::ticks(text).is_empty());
    let most = Peak::during([&a, &b], || {
        println!("8 GiB live: {}", Report::of(&a, &b, &["-l"]).0);
        println!("8 GiB offline: {}", Report::of(&b, &a, &[]).0);
    });
    table.bar("8 GiB, sparse: a daemon's own memory, MiB", most, Bar::at_most(64.0));
}

/// The most memory of its own that a daemon has had at a time: guest memory is shared, and does not count.
struct Peak {
    process: i32,
    kib: AtomicU64,
}

impl Peak {
    /// MiB that the larger of the two daemons has at most while `what` goes on.
    fn during(hosts: [&Host; 2], what: impl FnOnce()) -> f64 {
        let peaks = hosts.map(|host| Peak {
            process: host.pid().as_raw(),
            kib: AtomicU64::new(0),
        });
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    peaks.iter().for_each(Peak::sample);
                    thread::sleep(Duration::from_millis(2));
                }
            });
            what();
            done.store(true, Ordering::Relaxed);
        });
        let kib = peaks.iter().map(|peak| peak.kib.load(Ordering::Relaxed)).max().unwrap();
        kib as f64 / 1024.0
    }

    fn sample(&self) {
        self.kib
            .fetch_max(support::own_memory_kib(self.process), Ordering::Relaxed);
    }
}
