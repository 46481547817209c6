//! The rounds, and when to stop.

use std::time::Duration;

use image::{ImageError, ImageSink, PAGE_SIZE};

use crate::{
    Bitmap, Clock, Guest, LiveOptions, Observer, OnNoConvergence,
    round::{Copied, Copier},
};

/// Why the last copy began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastCopy {
    /// The relocation is offline: there is only this copy.
    Offline,
    /// What was left fitted the downtime that was allowed.
    Fits,
    /// The guest dirtied memory faster than it could be sent.
    NotConverging,
}

/// What a round has done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoundSummary {
    /// Pages sent.
    pub pages: u64,
    /// Of these, pages of zeros.
    pub zero_pages: u64,
    /// Pages that were to be sent and were dirty again before they were.
    pub skipped: u64,
    /// How long it took.
    pub time: Duration,
    /// Pages that the guest wrote meanwhile, each counted once.
    pub dirtied: u64,
}

/// What a whole relocation has done.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The rounds, with the last copy.
    pub rounds: Vec<RoundSummary>,
    /// Why the last copy began.
    pub last_copy: LastCopy,
    /// How long the guest took to stop.
    pub suspend_time: Duration,
    /// How long the last copy took.
    pub copy_time: Duration,
    /// How long the state beyond memory took.
    pub state_time: Duration,
    /// Percent by which the guest was slowed down in the end.
    pub throttle: u8,
}

impl Summary {
    /// Pages sent in all rounds.
    pub fn pages(&self) -> u64 {
        self.rounds.iter().map(|round| round.pages).sum()
    }
}

/// Rounds in a row that have to do no better than the one before for the guest to count as not converging.
const STUCK_ROUNDS: u32 = 3;

/// A round is better than the one before if it leaves less than this part of what that one left.
const BETTER: f64 = 0.9;

/// Percent of the guest's time that each step of throttling takes, and the most that is taken.
const THROTTLE_STEP: u8 = 20;
const THROTTLE_MOST: u8 = 99;

/// Sends a suspended guest: one round of all pages, then the state. Puts neither the start nor the end of the image.
///
/// # Errors
/// The sink's, the guest's, the observer's; the guest has then been resumed.
pub fn offline<G: Guest + ?Sized>(
    guest: &mut G,
    clock: &dyn Clock,
    sink: &mut dyn ImageSink,
    observer: &mut dyn Observer,
) -> Result<Summary, ImageError> {
    let mut all = Bitmap::new(guest.pages());
    all.set_all();
    let copier = Copier::new(clock, sink, observer, None);
    let summary = last_copy(guest, copier, all, Vec::new(), LastCopy::Offline);
    or_resume(guest, summary)
}

/// Sends a running guest, and in the end its state. Puts neither the start nor the end of the image. The bandwidth limit holds for the rounds while the guest runs: the last
/// copy goes as fast as it can, for every moment of it is downtime.
///
/// # Errors
/// The sink's, the guest's, the observer's; [`ImageError::Toolstack`] if the guest does not converge and that is to be an error. The guest has then been resumed.
pub fn live<G: Guest + ?Sized>(
    guest: &mut G,
    options: &LiveOptions,
    clock: &dyn Clock,
    sink: &mut dyn ImageSink,
    observer: &mut dyn Observer,
) -> Result<Summary, ImageError> {
    let summary = rounds(guest, options, clock, sink, observer);
    or_resume(guest, summary)
}

fn or_resume<G: Guest + ?Sized>(guest: &mut G, result: Result<Summary, ImageError>) -> Result<Summary, ImageError> {
    result.map_err(|error| match guest.resume() {
        Ok(()) => error,
        Err(second) => ImageError::Toolstack(format!("{error}; and then the domain could not be resumed: {second}")),
    })
}

fn rounds<G: Guest + ?Sized>(
    guest: &mut G,
    options: &LiveOptions,
    clock: &dyn Clock,
    sink: &mut dyn ImageSink,
    observer: &mut dyn Observer,
) -> Result<Summary, ImageError> {
    let mut copier = Copier::new(clock, sink, observer, options.bandwidth);
    guest.start_dirty_log()?;
    let mut todo = Bitmap::new(guest.pages());
    let mut next = todo.clone();
    todo.set_all();
    let mut done: Vec<RoundSummary> = Vec::new();
    let mut convergence = Convergence::new(options);
    loop {
        let begun = clock.now();
        let copied = copier.round(guest, &todo, true)?;
        next.clear_all();
        guest.fetch_dirty(&mut next)?;
        let time = clock.now().saturating_sub(begun);
        let dirtied = next.count();
        done.push(round_summary(copied, time, dirtied));
        let left = dirtied * PAGE_SIZE as u64;
        copier.progress.dirty_rate = rate(left, time);
        // Without anything measured, whatever was sent took no time worth measuring.
        let estimate = copier.rate.time_for(left).unwrap_or_default();
        copier.progress.estimated_downtime = Some(estimate);
        std::mem::swap(&mut todo, &mut next);
        match convergence.judge(left, estimate) {
            Verdict::Stop(reason) => return last_copy(guest, copier, todo, done, reason),
            Verdict::Go => {}
            Verdict::Throttle(percent) => {
                guest.throttle(percent)?;
                copier.progress.throttle = percent;
            }
            Verdict::Abort => {
                let (dirty, sent) = (
                    copier.progress.dirty_rate >> 20,
                    copier.rate.get().unwrap_or_default() as u64 >> 20,
                );
                return Err(ImageError::Toolstack(format!(
                    "the guest dirties memory faster than it can be sent ({dirty} MiB/s against {sent} MiB/s, {} rounds)",
                    done.len()
                )));
            }
        }
    }
}

fn round_summary(copied: Copied, time: Duration, dirtied: u64) -> RoundSummary {
    RoundSummary {
        pages: copied.pages,
        zero_pages: copied.zero_pages,
        skipped: copied.skipped,
        time,
        dirtied,
    }
}

fn rate(bytes: u64, time: Duration) -> u64 {
    if time.is_zero() {
        0
    } else {
        (bytes as f64 / time.as_secs_f64()) as u64
    }
}

/// Suspends the guest, and sends what is left: `todo` and what it wrote until it stood still.
fn last_copy<G: Guest + ?Sized>(
    guest: &mut G,
    mut copier: Copier<'_>,
    mut todo: Bitmap,
    mut rounds: Vec<RoundSummary>,
    reason: LastCopy,
) -> Result<Summary, ImageError> {
    let clock = copier.clock;
    let begun = clock.now();
    guest.suspend()?;
    let suspended = clock.now();
    if reason != LastCopy::Offline {
        guest.fetch_dirty(&mut todo)?;
    }
    copier.progress.suspended = true;
    copier.unlimited();
    let copied = copier.round(guest, &todo, false)?;
    let copied_at = clock.now();
    rounds.push(round_summary(copied, copied_at.saturating_sub(suspended), 0));
    guest.put_state(copier.sink)?;
    Ok(Summary {
        rounds,
        last_copy: reason,
        suspend_time: suspended.saturating_sub(begun),
        copy_time: copied_at.saturating_sub(suspended),
        state_time: clock.now().saturating_sub(copied_at),
        throttle: copier.progress.throttle,
    })
}

enum Verdict {
    Go,
    Throttle(u8),
    Stop(LastCopy),
    Abort,
}

/// Judges after each round whether another one helps.
struct Convergence<'a> {
    options: &'a LiveOptions,
    rounds: u32,
    stuck: u32,
    last_left: Option<u64>,
    throttle: u8,
}

impl<'a> Convergence<'a> {
    fn new(options: &'a LiveOptions) -> Convergence<'a> {
        Convergence {
            options,
            rounds: 0,
            stuck: 0,
            last_left: None,
            throttle: 0,
        }
    }

    fn judge(&mut self, left: u64, estimate: Duration) -> Verdict {
        self.rounds += 1;
        if left == 0 || estimate <= self.options.max_downtime {
            return Verdict::Stop(LastCopy::Fits);
        }
        let better = self.last_left.is_none_or(|last| (left as f64) < last as f64 * BETTER);
        self.stuck = if better { 0 } else { self.stuck + 1 };
        self.last_left = Some(left);
        if self.rounds < self.options.max_rounds && self.stuck < STUCK_ROUNDS {
            return Verdict::Go;
        }
        match self.options.on_no_convergence {
            OnNoConvergence::Stop => Verdict::Stop(LastCopy::NotConverging),
            OnNoConvergence::Abort => Verdict::Abort,
            OnNoConvergence::Throttle if self.throttle >= THROTTLE_MOST => Verdict::Stop(LastCopy::NotConverging),
            OnNoConvergence::Throttle => {
                self.throttle = (self.throttle + THROTTLE_STEP).min(THROTTLE_MOST);
                // The slower guest gets a fresh chance, bounded by the number of steps: nothing to be compared with counts as better.
                self.last_left = None;
                Verdict::Throttle(self.throttle)
            }
        }
    }
}
