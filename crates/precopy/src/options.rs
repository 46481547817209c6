//! What is wanted of a live relocation, and how it goes.

use std::time::Duration;

use image::ImageError;

/// What the operator wants of a live relocation.
#[derive(Clone, Debug)]
pub struct LiveOptions {
    /// The domain may stand still for this long.
    pub max_downtime: Duration,
    /// Bytes per second at most; `None` = as fast as the way allows.
    pub bandwidth: Option<u64>,
    /// Rounds at most before the guest counts as not converging.
    pub max_rounds: u32,
    /// What to do with a guest that dirties memory faster than it can be sent.
    pub on_no_convergence: OnNoConvergence,
}

impl Default for LiveOptions {
    fn default() -> Self {
        LiveOptions {
            max_downtime: Duration::from_millis(300),
            bandwidth: None,
            max_rounds: 30,
            on_no_convergence: OnNoConvergence::Stop,
        }
    }
}

/// The policy for a guest that dirties memory faster than it can be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnNoConvergence {
    /// Stop it and copy the rest, however long that takes.
    #[default]
    Stop,
    /// Give up; it runs on here.
    Abort,
    /// Slow it down until the rest fits.
    Throttle,
}

/// Where a departure stands. All counts are since its start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// The round: 1 is the first, the full copy.
    pub round: u32,
    /// Pages sent in all rounds.
    pub pages_sent: u64,
    /// Of these, pages that were all zero.
    pub zero_pages: u64,
    /// Pages done in this round.
    pub round_done: u64,
    /// Pages to do in this round.
    pub round_total: u64,
    /// Bytes per second at which memory goes out now (guest bytes, zero pages not counted).
    pub rate: u64,
    /// Bytes per second that the guest dirties, counted in whole pages.
    pub dirty_rate: u64,
    /// How long the domain would stand still if it were stopped now.
    pub estimated_downtime: Option<Duration>,
    /// Whether the domain stands still for the last copy.
    pub suspended: bool,
    /// Percent by which the guest is slowed down.
    pub throttle: u8,
}

/// Sees how a departure goes on and may end it.
pub trait Observer {
    /// Called often (each batch): must be cheap.
    ///
    /// # Errors
    /// An error ends the departure; the domain runs on here.
    fn progress(&mut self, progress: &Progress) -> Result<(), ImageError>;
}
