//! From a seed to what goes wrong.

use std::time::Duration;

use crate::{
    dice::Dice,
    points::{CHAINS, End},
};

/// Seeds that share a guest and a pair of hosts: each moves the domain on from where the last one left it.
pub const BLOCK: u64 = 10;

/// Kinds of scenarios, in the order of the report, and how often each is drawn.
const KINDS: &[(&str, u64)] = &[
    ("kill source", 16),
    ("kill destination", 16),
    ("kill both", 12),
    ("kill again while recovering", 10),
    ("journal error at source", 8),
    ("journal error at destination", 8),
    ("journal error, then kill", 10),
    ("one after the other", 20),
    ("cut at a moment", 5),
    ("cut at a point", 12),
    ("reset", 5),
    ("half-open", 8),
    ("delay", 8),
    ("slow link", 4),
    ("loss", 5),
];

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

pub fn guest(seed: u64) -> Guest {
    let mut dice = Dice::new((seed / BLOCK).wrapping_mul(0x5851_f42d_4c95_7f2d));
    let memory = 16 + 4 * dice.below(5);
    let fill = dice.pick(&["random", "zero"]);
    let dirty = dice.pick(&[0, 2, 5, 10, 20]);
    Guest {
        memory,
        extra: format!("dirty={dirty} verify=120 fill={fill}"),
    }
}

pub fn plan(seed: u64) -> Plan {
    let mut dice = Dice::new(seed.wrapping_mul(0xd129_0d3f_2c5e_7a35));
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
        "one after the other" => chain(plan, dice),
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

/// One fault, and a kill at a point that is reached because of it.
fn chain(plan: &mut Plan, dice: &mut Dice) {
    let chain = dice.pick(CHAINS);
    let first = dice.choose(chain.points);
    let action = match chain.action {
        "error" => format!("{}=error={}", chain.onwards(first, dice), dice.error()),
        action => format!("{first}={action}"),
    };
    *faults(plan, chain.end) = action;
    let then = format!("{}=kill", dice.choose(chain.then));
    // A daemon that has died before dies once more when it is back; one that lives has both faults from the start.
    let dies = chain.action == "kill" && chain.end == chain.then_end;
    let place = match (chain.then_end, dies) {
        (End::Source, true) => &mut plan.source_again,
        (End::Destination, true) => &mut plan.destination_again,
        (end, false) => faults(plan, end),
    };
    if !place.is_empty() {
        place.push(',');
    }
    place.push_str(&then);
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
