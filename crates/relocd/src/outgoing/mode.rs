//! From an operator's words to the engine's.

use peer::control::{Migrate, NoConvergence};
use toolstack::{LiveOptions, Mode, OnNoConvergence};

/// How an operator wants a running domain to depart.
pub fn of(order: &Migrate) -> Mode {
    if !order.live {
        return Mode::Offline;
    }
    let defaults = LiveOptions::default();
    Mode::Live(LiveOptions {
        max_downtime: order
            .max_downtime
            .map_or(defaults.max_downtime, std::time::Duration::from_millis),
        bandwidth: order.bandwidth,
        on_no_convergence: match order.on_no_convergence {
            None => defaults.on_no_convergence,
            Some(NoConvergence::Stop) => OnNoConvergence::Stop,
            Some(NoConvergence::Abort) => OnNoConvergence::Abort,
            Some(NoConvergence::Throttle) => OnNoConvergence::Throttle,
        },
        ..defaults
    })
}
