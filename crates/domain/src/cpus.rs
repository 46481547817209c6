//! Sets of processors.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A set of the host's processors, as ranges: sorted, apart, both ends included. Empty: any processor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(u32, u32)>", into = "Vec<(u32, u32)>")]
pub struct CpuSet {
    ranges: Vec<(u32, u32)>,
}

impl CpuSet {
    /// Processors are numbered below this.
    pub const LIMIT: u32 = 4096;

    /// The set of these processors; those beyond [`CpuSet::LIMIT`] are left out.
    pub fn new(cpus: impl IntoIterator<Item = u32>) -> CpuSet {
        let mut all: Vec<u32> = cpus.into_iter().filter(|cpu| *cpu < CpuSet::LIMIT).collect();
        all.sort_unstable();
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for cpu in all {
            match ranges.last_mut() {
                Some((_, last)) if cpu <= *last + 1 => *last = cpu,
                _ => ranges.push((cpu, cpu)),
            }
        }
        CpuSet { ranges }
    }

    /// Reads `0-3,5,^2`, as xend and xl have it (without xl's words for nodes); `all` and an empty text are any processor.
    pub fn from_text(text: &str) -> Option<CpuSet> {
        if matches!(text.trim(), "" | "all") {
            return Some(CpuSet::default());
        }
        let mut member = vec![false; CpuSet::LIMIT as usize];
        for part in text.split(',').map(str::trim) {
            let (on, part) = match part.strip_prefix('^') {
                Some(rest) => (false, rest.trim()),
                None => (true, part),
            };
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first: u32 = first.trim().parse().ok()?;
            let last: u32 = last.trim().parse().ok()?;
            let range = member.get_mut(first as usize..=last as usize)?;
            range.fill(on);
        }
        let cpus = member.iter().enumerate().filter(|(_, on)| **on);
        let set = CpuSet::new(cpus.filter_map(|(cpu, _)| u32::try_from(cpu).ok()));
        // Nothing left is not the same as any.
        (!set.is_any()).then_some(set)
    }

    /// Whether it is any processor.
    pub fn is_any(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The processors; none for any.
    pub fn cpus(&self) -> impl Iterator<Item = u32> {
        self.ranges.iter().flat_map(|(first, last)| *first..=*last)
    }

    /// How many processors; 0 for any.
    pub fn count(&self) -> usize {
        self.ranges
            .iter()
            .map(|(first, last)| (last - first + 1) as usize)
            .sum()
    }
}

impl From<Vec<(u32, u32)>> for CpuSet {
    fn from(ranges: Vec<(u32, u32)>) -> CpuSet {
        CpuSet::new(
            ranges
                .into_iter()
                .flat_map(|(first, last)| first..=last.min(CpuSet::LIMIT)),
        )
    }
}

impl From<CpuSet> for Vec<(u32, u32)> {
    fn from(set: CpuSet) -> Vec<(u32, u32)> {
        set.ranges
    }
}

impl fmt::Display for CpuSet {
    /// `0-3,5`; `all` for any.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_any() {
            return f.write_str("all");
        }
        for (at, (first, last)) in self.ranges.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        for (text, printed) in [
            ("0-3,^1", "0,2-3"),
            ("5", "5"),
            ("4,0-2,3", "0-4"),
            ("all", "all"),
            ("", "all"),
            (" 1 , 2 ", "1-2"),
        ] {
            assert_eq!(CpuSet::from_text(text).unwrap().to_string(), printed);
        }
        for text in ["x", "1-", "3-1", "0,^0", "4096", "0-4294967295", "node:1", "-1", ","] {
            assert_eq!(CpuSet::from_text(text), None, "{text}");
        }
        assert_eq!(CpuSet::new([3, 1, 2, 9, 1]).to_string(), "1-3,9");
    }
}
