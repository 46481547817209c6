//! Two hosts, and a domain on one of them.

use std::{thread, time::Duration};

use crate::{
    network::{ADDRESSES, Network},
    plan::Guest,
    points::End,
    support::{Host, PATIENCE, ticks},
};

/// Short limits: whoever waits in vain shall do something else soon.
const LIMITS: &str = "(xend-relocation-hosts-allow '192.0.2.0/24') (relocd-handshake-timeout 2) (relocd-idle-timeout 2) \
                      (relocd-commit-timeout 2)";

/// States of a relocation that is over.
const OVER: &[&str] = &["resumed", "destroyed", "running", "discarded"];

pub struct Pair {
    pub hosts: [Host; 2],
    pub network: Network,
    /// Which of them the relocation goes out from.
    pub source: usize,
    /// Where the logs of this run begin.
    marks: [usize; 2],
}

/// What `xm list` says of `web` on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Nothing,
    Runs,
    /// Something of it that does not run.
    Stands,
}

impl Pair {
    pub fn new(guest: &Guest) -> Pair {
        let network = Network::new();
        let host = |at: usize| Host::in_namespace(&network.names[at], ADDRESSES[at], LIMITS);
        let mut hosts = [host(0), host(1)];
        for host in &mut hosts {
            host.run();
        }
        hosts[0].create("web", guest.memory, &guest.extra);
        hosts[0].console(|text| !ticks(text).is_empty());
        Pair {
            hosts,
            network,
            source: 0,
            marks: [0, 0],
        }
    }

    pub fn place(&self, end: End) -> usize {
        match end {
            End::Source => self.source,
            End::Destination => 1 - self.source,
        }
    }

    pub fn at(&mut self, end: End) -> &mut Host {
        let place = self.place(end);
        &mut self.hosts[place]
    }

    /// The next run begins.
    pub fn begin(&mut self) {
        self.source = usize::from(!self.hosts[0].runs());
        assert!(self.hosts[self.source].runs(), "the domain is gone");
        self.marks = [0, 1].map(|at| self.hosts[at].log().len());
    }

    /// The log of this run.
    pub fn log(&self, end: End) -> String {
        let place = self.place(end);
        let log = self.hosts[place].log();
        log.get(self.marks[place]..).unwrap_or_default().to_owned()
    }

    /// A daemon with these fault points instead of the one that runs; the old one is killed.
    pub fn rearm(&mut self, end: End, faults: &str) {
        let host = self.at(end);
        if host.is_armed() || !faults.is_empty() {
            if !host.is_down() {
                host.kill();
            }
            host.launch(faults);
            let begun = std::time::Instant::now();
            while !host.answers() {
                assert!(
                    begun.elapsed() < PATIENCE,
                    "the daemon does not come up: {}",
                    host.log()
                );
                thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// What there is of the domain on a host; `None`: its daemon does not answer.
    pub fn seen(&self, at: usize) -> Option<Seen> {
        let output = self.hosts[at].xm(&["list"]);
        if !output.status.success() {
            return None;
        }
        let list = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines: Vec<&str> = list.lines().filter(|line| line.contains("web")).collect();
        let runs = lines
            .iter()
            .any(|line| line.contains(" r----- ") || line.contains(" -b---- "));
        Some(match lines.len() {
            0 => Seen::Nothing,
            _ if runs => Seen::Runs,
            _ => Seen::Stands,
        })
    }

    /// Fails if the domain runs on both hosts at the same time: on one before and after the other was seen to run it.
    pub fn only_one_runs(&self) {
        if [0, 1, 0].map(|at| self.seen(at)) == [Some(Seen::Runs); 3] {
            panic!("the domain runs twice");
        }
    }

    /// Whether no relocation is left that is not over, at either end; `None`: a daemon does not answer.
    pub fn open_relocations(&self) -> Option<Vec<String>> {
        let mut open = Vec::new();
        for host in &self.hosts {
            let output = host.xm(&["status", "--json"]);
            if !output.status.success() {
                return None;
            }
            let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            for line in value["relocations"].as_array().unwrap() {
                let state = line["state"].as_str().unwrap();
                if !OVER.contains(&state) {
                    open.push(format!("{} {state}: {}", line["direction"], line["detail"]));
                }
            }
        }
        Some(open)
    }
}
