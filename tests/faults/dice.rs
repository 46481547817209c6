//! Random choices that a seed decides.

use std::time::Duration;

use crate::points::{
    ERRORS, End, FAILING_STEPS, LATER_IN, LATER_OUT, LATER_STATES_IN, LATER_STATES_OUT, MESSAGES_IN, MESSAGES_OUT,
    STATES_IN, STATES_OUT, STEPS,
};

/// Random numbers that are the same everywhere (splitmix64).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.roll() % limit
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    pub fn choose<'a>(&mut self, of: &[&'a str]) -> &'a str {
        self.pick(of)
    }

    pub fn error(&mut self) -> &'static str {
        self.pick(ERRORS)
    }

    pub fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }

    pub fn end(&mut self) -> End {
        self.pick(&[End::Source, End::Destination])
    }

    /// A point that a relocation reaches by itself.
    pub fn point(&mut self, end: End) -> String {
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
    pub fn later_point(&mut self, end: End) -> String {
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

    pub fn kill(&mut self, end: End) -> String {
        format!("{}=kill", self.point(end))
    }

    pub fn later_kill(&mut self, end: End) -> String {
        format!("{}=kill", self.later_point(end))
    }

    /// An error at a journal write, of the first or of any kind of state; for good (until the restart) with `+`.
    pub fn journal_error(&mut self, end: End, onwards: &str) -> String {
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
