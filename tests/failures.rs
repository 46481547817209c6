//! Whatever breaks, and whenever: the domain runs on exactly one host, and nothing is left of it on the other.
// Helpers outside of test functions fail a test as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "failures/audit.rs"]
mod audit;
#[path = "failures/disks.rs"]
mod disks;
#[path = "failures/doubt.rs"]
mod doubt;
#[path = "failures/records.rs"]
mod records;
#[path = "failures/stages.rs"]
mod stages;
#[path = "failures/stops.rs"]
mod stops;
mod support;

use std::{
    process::{Child, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use support::{Host, PATIENCE, proxy::Proxy};

/// Short limits, so that a connection that has stalled is noticed soon.
const LIMITS: &str = "(xend-relocation-hosts-allow '127.0.0.0/8') (relocd-handshake-timeout 4) (relocd-idle-timeout 4) \
                      (relocd-commit-timeout 4)";

fn source(extra: &str) -> Host {
    let host = Host::with(extra);
    host.create("web", 16, "dirty=5 verify=100");
    host.console(|text| !support::ticks(text).is_empty());
    host
}

/// `xm migrate` through a proxy, in the background.
fn migrating(from: &Host, proxy: &Proxy, options: &[&str]) -> Child {
    let port = from.port.to_string();
    let arguments = [&["migrate"], options, &["-p", &port, "web", &proxy.address]].concat();
    from.xm_command(&arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Until the stage is reached.
fn reached(proxy: &Proxy, xm: &mut Child, from: &Host, to: &Host) {
    proxy.reached(|| {
        let ended = xm.try_wait().unwrap()?;
        Some(format!(
            "xm ended with {ended}\nsource:\n{}\ndestination:\n{}",
            from.log(),
            to.log()
        ))
    });
}

fn ended(mut xm: Child, from: &Host) -> Output {
    let begun = Instant::now();
    while xm.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < PATIENCE, "xm does not end; log:\n{}", from.log());
        thread::sleep(Duration::from_millis(20));
    }
    xm.wait_with_output().unwrap()
}

/// Waits until `here` runs the domain and `there` has no trace of it. At no time may both run it.
fn settles(here: &Host, there: &Host) {
    let logs = || format!("\nwhere it has to run:\n{}\nthe other:\n{}", here.log(), there.log());
    let begun = Instant::now();
    loop {
        let (runs, runs_there) = (here.runs(), there.runs());
        assert!(!(runs && runs_there), "both run it{}", logs());
        let doubtful = here.status_has("in-doubt") || there.status_has("in-doubt");
        if runs && there.is_empty() && !doubtful {
            return;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "not settled: {:?} and {:?}, in doubt: {doubtful}{}",
            here.domains(),
            there.domains(),
            logs()
        );
        thread::sleep(Duration::from_millis(20));
    }
}
