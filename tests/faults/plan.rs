//! From a seed to what goes wrong.

use std::time::Duration;

/// Seeds that share a guest and a pair of hosts: each moves the domain on from where the last one left it.
pub const BLOCK: u64 = 10;

const MESSAGES_OUT: &[&str] = &[
    "hello.send",
    "hello.sent",
    "relocate.send",
    "relocate.sent",
    "ready.received",
    "finish.sent",
    "loaded.received",
    "commit.send",
    "commit.sent",
    "running.received",
    "destroy.before",
    "destroy.after",
];
const MESSAGES_IN: &[&str] = &[
    "hello.received",
    "relocate.received",
    "ready.send",
    "ready.sent",
    "finish.received",
    "loaded.send",
    "loaded.sent",
    "commit.received",
    "unpause.before",
    "unpause.after",
    "running.send",
    "running.sent",
];
/// Reached only when something else has gone wrong before.
const LATER_OUT: &[&str] = &[
    "outcome.send",
    "outcome.sent",
    "outcome.received",
    "resume.before",
    "resume.after",
];
const LATER_IN: &[&str] = &["outcome.received", "outcome.send", "discard.before", "discard.after"];
const STATES_OUT: &[&str] = &["sending", "committed", "moved", "destroyed"];
const STATES_IN: &[&str] = &["receiving", "loaded", "committed", "running"];
const LATER_STATES_OUT: &[&str] = &["resuming", "resumed"];
const LATER_STATES_IN: &[&str] = &["discarding", "discarded"];
const STEPS: &[&str] = &["create", "write", "rename", "sync", "synced"];
const FAILING_STEPS: &[&str] = &["create", "write", "rename", "sync"];
const ERRORS: &[&str] = &["ENOSPC", "EIO", "EROFS"];

/// All points, as the log names them.
pub fn points() -> Vec<String> {
    let mut points = vec!["out.frame".to_owned(), "in.frame".to_owned()];
    for (word, messages, states) in [
        ("out", [MESSAGES_OUT, LATER_OUT], [STATES_OUT, LATER_STATES_OUT]),
        ("in", [MESSAGES_IN, LATER_IN], [STATES_IN, LATER_STATES_IN]),
    ] {
        points.extend(messages.concat().iter().map(|message| format!("{word}.{message}")));
        for state in states.concat() {
            points.extend(STEPS.iter().map(|step| format!("journal.{word}.{state}.{step}")));
        }
    }
    points
}

/// Kinds of scenarios, in the order of the report, and how often each is drawn.
const KINDS: &[(&str, u64)] = &[
    ("kill source", 16),
    ("kill destination", 16),
    ("kill both", 12),
    ("kill again while recovering", 10),
    ("journal error at source", 8),
    ("journal error at destination", 8),
    ("journal error, then kill", 10),
    ("cut at a moment", 5),
    ("cut at a point", 12),
    ("reset", 5),
    ("half-open", 8),
    ("delay", 8),
    ("slow link", 4),
    ("loss", 5),
];

/// An end of the relocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Source,
    Destination,
}

/// What is done to the network, as the source sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    /// What the source sends is dropped.
    DropOut,
    /// What the destination sends is dropped.
    DropIn,
    DropBoth,
    /// Both ends are told that the connection is gone.
    Reset,
    /// All is dropped, and this end's daemon dies meanwhile and is restarted: the other end hears nothing of it.
    HalfOpen(End),
    /// One packet in a hundred is dropped.
    Loss,
    /// Packets are late.
    Slow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Start,
    After(Duration),
    /// Once a fault point has been reached at this end.
    Point(End),
}

/// A disturbance of the network.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    pub what: Disturbance,
    pub when: When,
    /// How long. None: up to the end of the relocation.
    pub heal: Option<Duration>,
}

/// What happens in one run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub kind: &'static str,
    pub live: bool,
    /// Slowed down, so that a moment is likely to fall into the copying.
    pub bandwidth: bool,
    /// Fault points of the two daemons, and of those that come up after a kill.
    pub source: String,
    pub destination: String,
    pub source_again: String,
    pub destination_again: String,
    /// From a daemon's death to its restart.
    pub down: Duration,
    pub network: Option<Network>,
}

/// The guest of a block of seeds.
#[derive(Clone, Debug)]
pub struct Guest {
    pub memory: u64,
    pub extra: String,
}

/// Random numbers that are the same everywhere (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.roll() % limit
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }

    fn end(&mut self) -> End {
        self.pick(&[End::Source, End::Destination])
    }

    /// A point that a relocation reaches by itself.
    fn point(&mut self, end: End) -> String {
        let (word, messages, states) = match end {
            End::Source => ("out", MESSAGES_OUT, STATES_OUT),
            End::Destination => ("in", MESSAGES_IN, STATES_IN),
        };
        match self.below(100) {
            0..20 => format!("{word}.frame@{}", 1 + self.below(24)),
            20..60 => format!("{word}.{}", self.pick(messages)),
            _ => format!("journal.{word}.{}.{}", self.pick(states), self.pick(STEPS)),
        }
    }

    /// A point that is reached after something has gone wrong.
    fn later_point(&mut self, end: End) -> String {
        let (word, messages, states, late_states) = match end {
            End::Source => ("out", LATER_OUT, STATES_OUT, LATER_STATES_OUT),
            End::Destination => ("in", LATER_IN, STATES_IN, LATER_STATES_IN),
        };
        match self.below(10) {
            0..4 => format!("{word}.{}", self.pick(messages)),
            4..8 => format!("journal.{word}.{}.{}", self.pick(late_states), self.pick(STEPS)),
            _ => format!("journal.{word}.{}.{}", self.pick(&states[2..]), self.pick(STEPS)),
        }
    }

    fn kill(&mut self, end: End) -> String {
        format!("{}=kill", self.point(end))
    }

    fn later_kill(&mut self, end: End) -> String {
        format!("{}=kill", self.later_point(end))
    }

    /// An error at a journal write, of the first or of any kind of state; for good (until the restart) with `+`.
    fn journal_error(&mut self, end: End, onwards: &str) -> String {
        let (word, states, late) = match end {
            End::Source => ("out", STATES_OUT, LATER_STATES_OUT),
            End::Destination => ("in", STATES_IN, LATER_STATES_IN),
        };
        let (step, error) = (self.pick(FAILING_STEPS), self.pick(ERRORS));
        if !onwards.is_empty() || self.chance(30) {
            return format!("journal.{word}.*.{step}@{}{onwards}=error={error}", 1 + self.below(4));
        }
        let state = if self.chance(20) {
            self.pick(late)
        } else {
            self.pick(states)
        };
        format!("journal.{word}.{state}.{step}=error={error}")
    }
}

pub fn guest(seed: u64) -> Guest {
    let mut dice = Dice((seed / BLOCK).wrapping_mul(0x5851_f42d_4c95_7f2d));
    let memory = 16 + 4 * dice.below(5);
    let fill = dice.pick(&["random", "zero"]);
    let dirty = dice.pick(&[0, 2, 5, 10, 20]);
    Guest {
        memory,
        extra: format!("dirty={dirty} verify=120 fill={fill}"),
    }
}

pub fn plan(seed: u64) -> Plan {
    let mut dice = Dice(seed.wrapping_mul(0xd129_0d3f_2c5e_7a35));
    let mut ticket = dice.below(KINDS.iter().map(|(_, weight)| weight).sum());
    let mut kind = KINDS[0].0;
    for (name, weight) in KINDS {
        kind = name;
        if ticket < *weight {
            break;
        }
        ticket -= weight;
    }
    let mut plan = Plan {
        kind,
        live: dice.chance(60),
        bandwidth: false,
        source: String::new(),
        destination: String::new(),
        source_again: String::new(),
        destination_again: String::new(),
        down: dice.millis(0, 400),
        network: None,
    };
    fill(&mut plan, &mut dice);
    plan
}

fn fill(plan: &mut Plan, dice: &mut Dice) {
    match plan.kind {
        "kill source" => plan.source = dice.kill(End::Source),
        "kill destination" => plan.destination = dice.kill(End::Destination),
        "kill both" => {
            let late = dice.chance(50);
            let first = dice.end();
            let other = if first == End::Source {
                End::Destination
            } else {
                End::Source
            };
            *faults(plan, first) = dice.kill(first);
            *faults(plan, other) = if late { dice.later_kill(other) } else { dice.kill(other) };
        }
        "kill again while recovering" => {
            let first = dice.end();
            *faults(plan, first) = dice.kill(first);
            plan.source_again = dice.later_kill(End::Source);
            plan.destination_again = dice.later_kill(End::Destination);
        }
        "journal error at source" => plan.source = dice.journal_error(End::Source, ""),
        "journal error at destination" => plan.destination = dice.journal_error(End::Destination, ""),
        "journal error, then kill" => {
            let end = dice.end();
            let onwards = dice.pick(&["", "+"]);
            let error = dice.journal_error(end, onwards);
            let kill = if dice.chance(60) {
                dice.later_kill(end)
            } else {
                dice.kill(end)
            };
            *faults(plan, end) = format!("{error},{kill}");
        }
        "cut at a moment" => {
            plan.bandwidth = plan.live && dice.chance(60);
            plan.network = Some(Network {
                what: dice.pick(&[Disturbance::DropOut, Disturbance::DropIn, Disturbance::DropBoth]),
                when: When::After(dice.millis(0, if plan.bandwidth { 1200 } else { 150 })),
                heal: Some(dice.millis(100, 4000)),
            });
        }
        "cut at a point" => at_a_point(
            plan,
            dice,
            &[Disturbance::DropOut, Disturbance::DropIn, Disturbance::DropBoth],
        ),
        "reset" => at_a_point(plan, dice, &[Disturbance::Reset]),
        "half-open" => at_a_point(
            plan,
            dice,
            &[
                Disturbance::HalfOpen(End::Source),
                Disturbance::HalfOpen(End::Destination),
            ],
        ),
        "delay" => {
            for end in [End::Source, End::Destination] {
                let time = dice.millis(50, 3500).as_millis();
                *faults(plan, end) = format!("{}=delay={time}", dice.point(end));
            }
        }
        _ => {
            let what = if plan.kind == "loss" {
                Disturbance::Loss
            } else {
                Disturbance::Slow
            };
            plan.network = Some(Network {
                what,
                when: When::Start,
                heal: None,
            });
            if dice.chance(50) {
                let end = dice.end();
                *faults(plan, end) = dice.kill(end);
            }
        }
    }
}

/// A daemon waits at a point long enough for the network to change around it.
fn at_a_point(plan: &mut Plan, dice: &mut Dice, of: &[Disturbance]) {
    let end = dice.end();
    *faults(plan, end) = format!("{}=delay=400", dice.point(end));
    plan.network = Some(Network {
        what: dice.pick(of),
        when: When::Point(end),
        heal: Some(dice.millis(200, 4000)),
    });
}

fn faults(plan: &mut Plan, end: End) -> &mut String {
    match end {
        End::Source => &mut plan.source,
        End::Destination => &mut plan.destination,
    }
}
