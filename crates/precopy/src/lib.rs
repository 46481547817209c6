//! The pre-copy engine: rounds, convergence, downtime target, pacing. Pure logic over a [`Guest`] and a [`Clock`], for any toolstack
//! that owns its guests' memory.
//!
//! Round 1 sends every page while the guest runs; each further round sends what the guest has written since. When what is left fits the
//! downtime that the operator allows, or nothing better can be had, the guest is suspended and the rest follows.

mod bitmap;
mod clock;
mod engine;
mod guest;
mod options;
mod rate;
mod round;

pub use bitmap::Bitmap;
pub use clock::{Clock, SystemClock};
pub use engine::{LastCopy, RoundSummary, Summary, live, offline};
pub use guest::Guest;
pub use options::{LiveOptions, Observer, OnNoConvergence, Progress};
