//! One run: a relocation, what goes wrong, and the wait until all is settled.

use std::{
    io::Read,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    pair::{Pair, Seen},
    plan::{Disturbance, Network, Plan, When},
    points::End,
    support::{Host, ticks},
};

/// How long it may take until all is settled. A bound on the run, no claim.
const SETTLED: Duration = Duration::from_secs(45);

/// How long the relocation itself may take.
const ENDED: Duration = Duration::from_secs(60);

const ENDS: [End; 2] = [End::Source, End::Destination];

/// How a run ended.
pub struct Outcome {
    pub moved: bool,
    /// Times that a daemon died.
    pub deaths: u32,
    /// Whether anything that was planned came about.
    pub struck: bool,
    /// The fault points that were.
    pub points: Vec<String>,
    /// From the moment that both daemons answered and the network was whole.
    pub recovery: Duration,
}

/// A disturbance as it goes on.
enum Disturbed {
    No,
    Waits(Network),
    Since(Instant, Network),
}

struct Run<'a> {
    pair: &'a mut Pair,
    plan: &'a Plan,
    xm: Child,
    begun: Instant,
    disturbed: Disturbed,
    /// When a dead daemon is restarted.
    restarts: [Option<Instant>; 2],
    /// Whether it has been.
    restarted: [bool; 2],
    deaths: u32,
    struck: bool,
    /// Since when both daemons have answered and the network has been whole.
    whole: Option<Instant>,
}

/// Carries out a plan. Panics if the domain does not end up as it must.
pub fn run(pair: &mut Pair, plan: &Plan) -> Outcome {
    pair.begin();
    pair.rearm(End::Source, &plan.source);
    pair.rearm(End::Destination, &plan.destination);
    if let Some(network) = plan.network.filter(|network| network.when == When::Start) {
        pair.network.disturb(network.what, pair.source);
    }
    let address = pair.at(End::Destination).address.clone();
    let mut arguments = vec!["migrate"];
    if plan.live {
        arguments.push("-l");
    }
    if plan.bandwidth {
        arguments.extend(["--bandwidth", "20M"]);
    }
    arguments.extend(["web", &address]);
    let mut command = pair.at(End::Source).xm_command(&arguments);
    let xm = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let now = Instant::now();
    let disturbed = match plan.network {
        Some(network) if network.when == When::Start => Disturbed::Since(now, network),
        Some(network) => Disturbed::Waits(network),
        None => Disturbed::No,
    };
    let run = Run {
        pair,
        plan,
        xm,
        begun: now,
        disturbed,
        restarts: [None, None],
        restarted: [false, false],
        deaths: 0,
        whole: None,
        struck: matches!(plan.network, Some(network) if network.when == When::Start),
    };
    run.see_through()
}

impl Run<'_> {
    fn see_through(mut self) -> Outcome {
        let mut looked = Instant::now();
        while !self.has_ended() {
            assert!(self.begun.elapsed() < ENDED, "the relocation does not end");
            if looked.elapsed() > Duration::from_millis(200) {
                self.pair.only_one_runs();
                looked = Instant::now();
            }
            thread::sleep(Duration::from_millis(4));
        }
        self.pair.network.heal();
        // A disk that stays full goes with the daemon: the next one has room again.
        for (end, faults) in ENDS.into_iter().zip([&self.plan.source, &self.plan.destination]) {
            if faults.contains("+=") && !self.pair.at(end).is_down() {
                self.pair.at(end).kill();
                // Until then the disk was broken: that is no recovery.
                self.whole = None;
            }
        }
        let mut recovery = self.settle();
        if self.plan.kind == "journal error, then kill" {
            // The record that failed is written again a second later, and that may be what the daemon dies of.
            thread::sleep(Duration::from_millis(1500));
            recovery = recovery.max(self.settle());
        }
        let (said, succeeded) = self.said();
        let moved = self.check(&said, succeeded);
        let points = self.points();
        Outcome {
            moved,
            deaths: self.deaths,
            struck: self.struck || !points.is_empty(),
            points,
            recovery,
        }
    }

    /// The fault points that were struck.
    fn points(&self) -> Vec<String> {
        let logs = ENDS.map(|end| self.pair.log(end)).concat();
        let after = |line: &str| Some(line.split_once("fault point ")?.1.split(' ').next()?.to_owned());
        logs.lines().filter_map(after).collect()
    }

    /// Restarts what has died when it is due, disturbs and heals the network. Whether there is nothing more to wait for.
    fn has_ended(&mut self) -> bool {
        let ended = self.xm.try_wait().unwrap().is_some();
        self.revive();
        self.disturbed = match std::mem::replace(&mut self.disturbed, Disturbed::No) {
            Disturbed::Waits(network) if self.is_due(network.when) => {
                self.disturb(network.what);
                Disturbed::Since(Instant::now(), network)
            }
            Disturbed::Waits(network) if !ended => Disturbed::Waits(network),
            Disturbed::Since(since, network) if !is_over(since, network, ended) => Disturbed::Since(since, network),
            Disturbed::Since(..) => {
                self.pair.network.heal();
                Disturbed::No
            }
            Disturbed::Waits(_) | Disturbed::No => Disturbed::No,
        };
        let undisturbed = matches!(self.disturbed, Disturbed::No) && self.restarts == [None, None];
        if !undisturbed {
            self.whole = None;
        } else if self.whole.is_none() && self.pair.hosts.iter().all(Host::answers) {
            self.whole = Some(Instant::now());
        }
        ended && undisturbed
    }

    fn is_due(&self, when: When) -> bool {
        match when {
            When::Start => true,
            When::After(time) => self.begun.elapsed() >= time,
            When::Point(end) => self.pair.log(end).contains("fault point"),
        }
    }

    fn disturb(&mut self, what: Disturbance) {
        self.pair.network.disturb(what, self.pair.source);
        self.struck = true;
        if let Disturbance::HalfOpen(end) = what
            && !self.pair.at(end).is_down()
        {
            self.pair.at(end).kill();
        }
    }

    fn revive(&mut self) {
        for (at, end) in ENDS.into_iter().enumerate() {
            if !self.pair.at(end).is_down() {
                continue;
            }
            let due = *self.restarts[at].get_or_insert_with(|| {
                self.deaths += 1;
                Instant::now() + self.plan.down
            });
            if Instant::now() >= due {
                let again = [&self.plan.source_again, &self.plan.destination_again][at];
                let faults = if self.restarted[at] { "" } else { again };
                self.pair.at(end).launch(faults);
                self.restarted[at] = true;
                self.restarts[at] = None;
            }
        }
    }

    /// Until exactly one host runs the domain, the other has nothing of it, and no relocation is open; how long that took since all was whole.
    fn settle(&mut self) -> Duration {
        let begun = Instant::now();
        loop {
            self.revive();
            let seen = [0, 1].map(|at| self.pair.seen(at));
            let open = self.pair.open_relocations();
            if let ([Some(here), Some(there)], Some(open)) = (seen, &open) {
                let whole = *self.whole.get_or_insert_with(Instant::now);
                let one = [here, there] == [Seen::Runs, Seen::Nothing] || [here, there] == [Seen::Nothing, Seen::Runs];
                if one && open.is_empty() {
                    return whole.elapsed();
                }
                self.pair.only_one_runs();
            } else {
                self.whole = None;
            }
            assert!(
                begun.elapsed() < SETTLED,
                "not settled: {seen:?}, open relocations: {open:?}"
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn said(&mut self) -> (String, bool) {
        let mut text = String::new();
        let succeeded = self.xm.wait().unwrap().success();
        let (out, err) = (self.xm.stdout.take(), self.xm.stderr.take());
        let _ = out.unwrap().read_to_string(&mut text);
        let _ = err.unwrap().read_to_string(&mut text);
        (text, succeeded)
    }

    /// All is settled: the domain is where it was said to be, its memory is right, and it stays so.
    fn check(&self, said: &str, succeeded: bool) -> bool {
        let home = &self.pair.hosts[self.pair.source];
        let moved = !home.runs();
        assert!(moved || !succeeded, "xm said that the domain had moved: {said}");
        let stayed = said.contains("runs on here") || said.contains("was not touched");
        assert!(!moved || !stayed, "xm said that the domain had stayed: {said}");
        let now = &self.pair.hosts[if moved { 1 - self.pair.source } else { self.pair.source }];
        now.verify();
        assert!(!ticks(&now.console(|text| !text.is_empty())).is_empty());
        let seen = [0, 1].map(|at| self.pair.seen(at));
        let mut expected = [Some(Seen::Nothing); 2];
        expected[usize::from(moved) ^ self.pair.source] = Some(Seen::Runs);
        assert_eq!(seen, expected, "it does not stay as it was");
        moved
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        let _ = self.xm.kill();
        let _ = self.xm.wait();
        if thread::panicking() {
            self.pair.network.heal();
        }
    }
}

fn is_over(since: Instant, network: Network, ended: bool) -> bool {
    network.heal.map_or(ended, |time| since.elapsed() >= time)
}
