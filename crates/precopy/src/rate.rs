//! Rates: how fast memory goes out, and how fast it may.

use std::time::Duration;

/// How fast bytes go out, from what went out since the last look, the newest counting most.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rate {
    bytes_per_second: f64,
    bytes: u64,
    time: Duration,
}

/// What is measured over less than this is noise.
const LEAST: Duration = Duration::from_millis(5);

impl Rate {
    /// `bytes` went out in `time`.
    pub(crate) fn add(&mut self, bytes: u64, time: Duration) {
        self.bytes += bytes;
        self.time += time;
        if self.time < LEAST || self.bytes == 0 {
            return;
        }
        let new = self.bytes as f64 / self.time.as_secs_f64();
        self.bytes_per_second = if self.bytes_per_second == 0.0 {
            new
        } else {
            self.bytes_per_second * 0.7 + new * 0.3
        };
        (self.bytes, self.time) = (0, Duration::ZERO);
    }

    /// Bytes per second; `None` before anything has been measured.
    pub(crate) fn get(&self) -> Option<f64> {
        (self.bytes_per_second > 0.0).then_some(self.bytes_per_second)
    }

    /// How long `bytes` will take.
    pub(crate) fn time_for(&self, bytes: u64) -> Option<Duration> {
        let seconds = bytes as f64 / self.get()?;
        Duration::try_from_secs_f64(seconds).ok()
    }
}

/// Keeps bytes within a rate: says how long to wait. Time that was not used is saved for a tenth of a second at most.
#[derive(Clone, Debug)]
pub(crate) struct Pacer {
    bytes_per_second: u64,
    due: Duration,
}

impl Pacer {
    pub(crate) fn new(bytes_per_second: u64) -> Pacer {
        Pacer {
            bytes_per_second: bytes_per_second.max(1),
            due: Duration::ZERO,
        }
    }

    /// `bytes` are about to go out at `now`: how long they have to wait.
    pub(crate) fn wait(&mut self, now: Duration, bytes: u64) -> Duration {
        self.due = self.due.max(now.saturating_sub(Duration::from_millis(100)));
        let wait = self.due.saturating_sub(now);
        self.due += Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        wait
    }
}
