//! A relocation as it goes on: a bar on a terminal, lines elsewhere.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use peer::control::Progress;

use crate::{
    render::escape,
    units::{bytes, millis},
};

/// Between two lines of one stage at least.
const QUIET: Duration = Duration::from_secs(2);

/// Shows progress on stderr.
pub(crate) enum Meter {
    /// On a terminal.
    Bar(ProgressBar),
    /// In a file or a pipe.
    Lines(Lines<io::Stderr>),
    /// For programs.
    Silent,
}

impl Meter {
    /// What suits stderr.
    pub(crate) fn new(silent: bool) -> Meter {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        if silent {
            Meter::Silent
        } else if io::stderr().is_terminal() && !dumb {
            Meter::Bar(bar())
        } else {
            Meter::Lines(Lines::new(io::stderr()))
        }
    }

    /// Shows where it stands.
    pub(crate) fn show(&mut self, progress: &Progress) {
        match self {
            Meter::Bar(bar) => {
                // A bar without a length would count as full.
                bar.set_length(progress.round_total.max(1));
                bar.set_position(progress.round_done.min(progress.round_total));
                bar.set_prefix(escape(&progress.stage));
                bar.set_message(if progress.round > 0 {
                    describe(progress)
                } else {
                    String::new()
                });
            }
            Meter::Lines(lines) => lines.show(Instant::now(), progress),
            Meter::Silent => {}
        }
    }

    /// Makes room for what follows.
    pub(crate) fn finish(&self) {
        if let Meter::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
    // A template that does not parse would be a mistake in this line; then the default one does.
    let style = ProgressStyle::with_template("{prefix:10} {elapsed:>4} [{wide_bar}] {percent:>3}%\n{wide_msg}");
    bar.set_style(
        style
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> "),
    );
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

/// Round, pages, rate, dirty rate, estimated downtime.
pub(crate) fn describe(progress: &Progress) -> String {
    let mut text = format!(
        "round {}: {}/{} pages",
        progress.round, progress.round_done, progress.round_total
    );
    if progress.rate > 0 {
        text.push_str(&format!(", {}/s", bytes(progress.rate)));
    }
    if progress.dirty_rate > 0 {
        text.push_str(&format!(", dirties {}/s", bytes(progress.dirty_rate)));
    }
    if let Some(downtime) = progress.estimated_downtime_ms {
        text.push_str(&format!(", downtime ~{}", millis(downtime as f64)));
    }
    if progress.throttle > 0 {
        text.push_str(&format!(", slowed down by {} %", progress.throttle));
    }
    text
}

/// One line for each stage, and for rounds, but not too many.
pub(crate) struct Lines<W> {
    out: W,
    last: Option<(Instant, String, u32)>,
}

impl<W: Write> Lines<W> {
    fn new(out: W) -> Lines<W> {
        Lines { out, last: None }
    }

    fn show(&mut self, now: Instant, progress: &Progress) {
        if let Some((when, stage, round)) = &self.last {
            let is_early = *round == progress.round || now.saturating_duration_since(*when) < QUIET;
            if *stage == progress.stage && is_early {
                return;
            }
        }
        let stage = escape(&progress.stage);
        // Progress that nobody can read stops nothing.
        let _ = match progress.round {
            0 => writeln!(self.out, "{stage}"),
            _ => writeln!(self.out, "{stage}: {}", describe(progress)),
        };
        self.last = Some((now, progress.stage.clone(), progress.round));
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn at(stage: &str, round: u32) -> Progress {
        Progress {
            id: Uuid::nil(),
            stage: stage.to_owned(),
            round,
            round_done: 1,
            round_total: 2,
            pages_sent: 1,
            wire_bytes: 1,
            rate: 1_500_000,
            dirty_rate: 2000,
            estimated_downtime_ms: Some(40),
            throttle: 30,
        }
    }

    #[test]
    fn lines_come_with_changes_and_not_too_often() {
        let start = Instant::now();
        let mut lines = Lines::new(Vec::new());
        let seconds = |count| start + Duration::from_secs(count);
        lines.show(start, &at("connecting", 0));
        lines.show(seconds(1), &at("copying", 1));
        lines.show(seconds(2), &at("copying", 1));
        lines.show(seconds(9), &at("copying", 1));
        lines.show(seconds(10), &at("copying", 2));
        lines.show(seconds(11), &at("copying", 3));
        lines.show(seconds(11), &at("load\x1bing", 3));
        let text = String::from_utf8(lines.out).unwrap();
        let details = "1/2 pages, 1.5 MB/s, dirties 2.0 kB/s, downtime ~40 ms, slowed down by 30 %";
        let expected = format!(
            "connecting\ncopying: round 1: {details}\ncopying: round 2: {details}\nload\\x1bing: round 3: {details}\n"
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn any_progress_can_be_shown_as_a_bar() {
        let bar = bar();
        bar.set_draw_target(ProgressDrawTarget::hidden());
        let mut meter = Meter::Bar(bar);
        let mut strange = at("{x}\n", u32::MAX);
        strange.round_done = u64::MAX;
        strange.round_total = 0;
        strange.rate = u64::MAX;
        strange.estimated_downtime_ms = Some(u64::MAX);
        meter.show(&strange);
        meter.finish();
    }
}
