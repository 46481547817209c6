//! What all the runs came to.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use crate::{points, run::Outcome};

#[derive(Default)]
struct Line {
    runs: u32,
    failed: u32,
    skipped: u32,
    moved: u32,
    stayed: u32,
    /// Runs in which nothing went wrong: the point was not on the way.
    quiet: u32,
    deaths: u32,
}

#[derive(Default)]
pub struct Report {
    lines: BTreeMap<&'static str, Line>,
    recoveries: Vec<Duration>,
    struck: BTreeSet<String>,
}

impl Report {
    pub fn add(&mut self, kind: &'static str, outcome: &Outcome) {
        let line = self.lines.entry(kind).or_default();
        line.runs += 1;
        line.moved += u32::from(outcome.moved);
        line.stayed += u32::from(!outcome.moved);
        line.quiet += u32::from(!outcome.struck);
        line.deaths += outcome.deaths;
        self.struck.extend(outcome.points.iter().cloned());
        if outcome.deaths > 0 {
            self.recoveries.push(outcome.recovery);
        }
        let runs = self.sum(|line| line.runs);
        if runs.is_multiple_of(50) {
            println!("{runs} runs, {} failed so far", self.failed());
        }
    }

    pub fn fail(&mut self, kind: &'static str) {
        let line = self.lines.entry(kind).or_default();
        line.runs += 1;
        line.failed += 1;
    }

    pub fn skip(&mut self, kind: &'static str) {
        self.lines.entry(kind).or_default().skipped += 1;
    }

    pub fn failed(&self) -> u32 {
        self.sum(|line| line.failed)
    }

    fn sum(&self, of: impl Fn(&Line) -> u32) -> u32 {
        self.lines.values().map(of).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{:<30} {:>5} {:>6} {:>6} {:>6} {:>6} {:>6} {:>7}",
            "kind", "runs", "moved", "stayed", "quiet", "deaths", "failed", "skipped"
        )?;
        for (kind, line) in &self.lines {
            writeln!(
                f,
                "{kind:<30} {:>5} {:>6} {:>6} {:>6} {:>6} {:>6} {:>7}",
                line.runs, line.moved, line.stayed, line.quiet, line.deaths, line.failed, line.skipped
            )?;
        }
        let mut times = self.recoveries.clone();
        times.sort();
        let at = |percent: usize| times.get((times.len() * percent / 100).min(times.len().saturating_sub(1)));
        let seconds = |percent| at(percent).map_or(0.0, Duration::as_secs_f64);
        let within = times.iter().filter(|time| **time <= Duration::from_secs(5)).count();
        writeln!(
            f,
            "settled after both daemons answered, runs with a death: p50 {:.2} s, p90 {:.2} s, p99 {:.2} s, longest {:.2} s; \
             {within} of {} within 5 s",
            seconds(50),
            seconds(90),
            seconds(99),
            seconds(100),
            times.len()
        )?;
        let points = points::all();
        let missed: Vec<&str> = points
            .iter()
            .filter(|point| !self.struck.contains(*point))
            .map(String::as_str)
            .collect();
        writeln!(
            f,
            "points struck: {} of {}; not: {}",
            points.len() - missed.len(),
            points.len(),
            missed.join(" ")
        )?;
        write!(f, "{} runs, {} failed", self.sum(|line| line.runs), self.failed())
    }
}
