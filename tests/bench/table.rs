//! Figures and bars, as a table.

#[derive(Clone, Copy)]
pub struct Bar {
    limit: f64,
    least: bool,
    time: bool,
}

impl Bar {
    pub fn at_most(limit: f64) -> Bar {
        Bar {
            limit,
            least: false,
            time: false,
        }
    }

    pub fn time_at_most(limit: f64) -> Bar {
        Bar {
            limit,
            least: false,
            time: true,
        }
    }

    pub fn time_at_least(limit: f64) -> Bar {
        Bar {
            limit,
            least: true,
            time: true,
        }
    }

    fn is_met(self, value: f64) -> bool {
        if self.least {
            value >= self.limit
        } else {
            value <= self.limit
        }
    }
}

#[derive(Default)]
pub struct Table {
    lines: Vec<(&'static str, f64, Option<Bar>)>,
}

impl Table {
    pub fn figure(&mut self, name: &'static str, value: f64) {
        self.lines.push((name, value, None));
    }

    pub fn bar(&mut self, name: &'static str, value: f64, bar: Bar) {
        self.lines.push((name, value, Some(bar)));
    }

    pub fn print(&self) {
        println!("\n{:<50} {:>9} {:>9}  ", "figure", "measured", "bar");
        for (name, value, bar) in &self.lines {
            let (limit, verdict) = match bar {
                None => (String::new(), String::new()),
                Some(bar) => {
                    let sign = if bar.least { ">=" } else { "<=" };
                    let verdict = if bar.is_met(*value) { "ok" } else { "MISSED" };
                    // How far it is from the bar, either way.
                    let verdict = format!("{verdict} ({:+.0} %)", (value / bar.limit - 1.0) * 100.0);
                    (format!("{sign} {}", bar.limit), verdict)
                }
            };
            println!("{name:<50} {value:>9.2} {limit:>9}  {verdict}");
        }
    }

    /// Whether all bars are met that are not of time.
    pub fn is_met(&self) -> bool {
        let missed = |(_, value, bar): &(_, f64, Option<Bar>)| bar.is_some_and(|bar| !bar.time && !bar.is_met(*value));
        !self.lines.iter().any(missed)
    }
}
