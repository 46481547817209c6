//! The pages of an image: their types, how often they came, in which round.

use std::{collections::HashMap, io::Read};

use super::{
    names,
    report::{PageTypeCount, Part, Round},
    scan::{Scan, Step},
    tables::Tables,
};
use crate::PAGE_SIZE;

/// Pages in a piece of the map.
const PIECE: usize = 512;

/// Pieces at most: 2^28 pages, 1 TiB of guest memory, 1 GiB here. Pages beyond are not followed.
const MAX_PIECES: usize = (1 << 28) / PIECE;

/// Rounds that are listed at most.
const MAX_ROUNDS: usize = 1000;

/// An entry of a batch.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) pfn: u64,
    pub(super) nibble: u8,
}

impl Entry {
    pub(super) const BROKEN: u8 = 0xd;
    pub(super) const ABSENT: u8 = 0xf;

    pub(super) fn has_data(self) -> bool {
        self.nibble < Entry::BROKEN
    }
}

/// What is kept of each page that came: the type it had last, whether that copy has entries out of bounds, whether it came before, and in which batch.
///
/// Grows with the guest's memory, 4 bytes for each page, as pages come.
#[derive(Default)]
pub(super) struct PageMap {
    pieces: HashMap<u64, Box<[u32; PIECE]>>,
    /// The number of the batch, from 1.
    batch: u32,
    /// The first batch of this round.
    round: u32,
    /// The last page of this round, as long as all batches have come in ascending order.
    ascending: Option<u64>,
    /// Whether one has not.
    unordered: bool,
    /// Whether pages had to be left out.
    pub(super) overflow: bool,
}

const NIBBLE: u32 = 0xf;
const CAME: u32 = 1 << 4;
const BAD_TABLE: u32 = 1 << 5;
const AGAIN: u32 = 1 << 6;
const COUNTED: u32 = 1 << 7;
const BATCH_SHIFT: u32 = 8;
const MAX_BATCH: u32 = u32::MAX >> BATCH_SHIFT;

/// What is new about a page.
#[derive(Default)]
struct Came {
    first: bool,
    second: bool,
    twice_in_batch: bool,
}

impl PageMap {
    fn get(&self, pfn: u64) -> u32 {
        let piece = self.pieces.get(&(pfn / PIECE as u64));
        piece
            .and_then(|piece| piece.get((pfn % PIECE as u64) as usize))
            .copied()
            .unwrap_or(0)
    }

    fn slot(&mut self, pfn: u64) -> Option<&mut u32> {
        let key = pfn / PIECE as u64;
        if self.pieces.len() >= MAX_PIECES && !self.pieces.contains_key(&key) {
            self.overflow = true;
            return None;
        }
        let piece = self.pieces.entry(key).or_insert_with(|| Box::new([0; PIECE]));
        piece.get_mut((pfn % PIECE as u64) as usize)
    }

    /// The type that a page had when it came last; `None` if it has not come.
    pub(super) fn last(&self, pfn: u64) -> Option<u8> {
        let page = self.get(pfn);
        (page & CAME != 0).then_some((page & NIBBLE) as u8)
    }

    fn note(&mut self, entry: Entry) -> Came {
        let absent = entry.nibble == Entry::ABSENT;
        if absent && self.get(entry.pfn) == 0 {
            return Came::default();
        }
        let batch = self.batch;
        let Some(page) = self.slot(entry.pfn) else {
            return Came::default();
        };
        let old = *page;
        let first = !absent && old & COUNTED == 0;
        let again = !absent && old & COUNTED != 0;
        *page = batch << BATCH_SHIFT | CAME | u32::from(entry.nibble) & NIBBLE | old & (AGAIN | COUNTED);
        *page |= if first { COUNTED } else { 0 } | if again { AGAIN } else { 0 };
        Came {
            first,
            second: again && old & AGAIN == 0,
            twice_in_batch: old & CAME != 0 && old >> BATCH_SHIFT == batch && batch < MAX_BATCH,
        }
    }

    /// The page has gone since it came.
    pub(super) fn forget(&mut self, pfn: u64) {
        if self.get(pfn) & CAME != 0
            && let Some(page) = self.slot(pfn)
        {
            *page = *page & !(NIBBLE | BAD_TABLE) | u32::from(Entry::ABSENT);
        }
    }

    fn mark_bad(&mut self, pfn: u64) {
        if let Some(page) = self.slot(pfn) {
            *page |= BAD_TABLE;
        }
    }

    /// The lowest page whose last copy is a page table with entries out of bounds, and how many there are.
    pub(super) fn bad_tables(&self) -> Option<(u64, usize)> {
        let bad = self.pieces.iter().flat_map(|(key, piece)| {
            let bad = piece.iter().zip(0..).filter(|(page, _)| **page & BAD_TABLE != 0);
            bad.map(move |(_, at)| key * PIECE as u64 + at)
        });
        let (lowest, count) = bad.fold((u64::MAX, 0), |(lowest, count), pfn| (lowest.min(pfn), count + 1));
        (count > 0).then_some((lowest, count))
    }

    /// Begins a batch; whether a round begins with it: none of whose pages comes twice, and which goes on upwards if it began so. Savers go through memory
    /// once in a round: upwards since Xen 3.3, in a random order before.
    fn begin(&mut self, entries: &[Entry]) -> bool {
        self.batch = (self.batch + 1).min(MAX_BATCH);
        let mut present = entries.iter().filter(|entry| entry.nibble != Entry::ABSENT).peekable();
        let Some(first) = present.peek().map(|entry| entry.pfn) else {
            return self.round == 0;
        };
        let descends = self.ascending.is_some_and(|last| first <= last);
        let repeats =
            |entry: &Entry| self.get(entry.pfn) & CAME != 0 && self.get(entry.pfn) >> BATCH_SHIFT >= self.round;
        let new = self.round == 0 || descends || entries.iter().any(repeats);
        if new {
            self.round = self.batch;
        }
        let sorted = entries
            .iter()
            .filter(|entry| entry.nibble != Entry::ABSENT)
            .is_sorted_by(|a, b| a.pfn < b.pfn);
        self.unordered |= !sorted;
        self.ascending = present.last().map(|last| last.pfn).filter(|_| !self.unordered);
        new
    }
}

/// A run of records of pages, to be listed as one part.
#[derive(Default)]
pub(super) struct Run {
    pub(super) offset: u64,
    pub(super) end: u64,
    pub(super) records: u64,
    entries: u64,
    with_data: u64,
    round: usize,
    repeated: bool,
}

impl Run {
    pub(super) fn part(self, name: &str) -> Part {
        let Run { entries, with_data, .. } = self;
        let mut detail = format!("{entries} pages");
        if with_data != entries {
            detail += &format!(", {with_data} with data");
        }
        detail += &match self.repeated {
            true => ", for comparison".to_owned(),
            false => format!(", round {}", self.round),
        };
        Part {
            offset: self.offset,
            bytes: self.end - self.offset,
            count: self.records,
            name: name.to_owned(),
            detail,
        }
    }
}

/// How a batch is to be read.
#[derive(Clone, Copy)]
pub(super) struct How<'a> {
    /// The name of its part.
    pub(super) name: &'static str,
    /// How a PV guest's page tables are checked.
    pub(super) tables: Option<&'a Tables>,
    /// Whether it repeats, for comparison, what has come.
    pub(super) verify: bool,
}

impl<R: Read> Scan<R> {
    /// The data of a batch whose entries have been read and checked, but for what depends on those before it.
    pub(super) fn batch(&mut self, entries: &[Entry], how: How<'_>) -> Step {
        let offset = self.part_offset();
        let with_data = entries.iter().filter(|entry| entry.has_data()).count() as u64;
        let count = entries.len() as u64;
        let new_round = !how.verify && self.pages.begin(entries);
        self.report.pages.records += 1;
        self.report.records += 1;
        if !how.verify {
            self.count(entries)?;
            let rounds = &mut self.report.rounds;
            if new_round && rounds.len() < MAX_ROUNDS {
                rounds.push(Round {
                    offset,
                    ..Round::default()
                });
            }
            if let Some(round) = rounds.last_mut() {
                round.records += 1;
                round.entries += count;
                round.with_data += with_data;
            }
        }
        self.contents(entries, how)?;
        let (end, round) = (self.input.offset(), self.report.rounds.len());
        let same = |run: &Run| run.round == round && run.repeated == how.verify;
        if !self.run.as_ref().is_some_and(same) {
            self.list_run();
        }
        let run = self.run.get_or_insert(Run {
            offset,
            round,
            repeated: how.verify,
            ..Run::default()
        });
        run.end = end;
        run.records += 1;
        run.entries += count;
        run.with_data += with_data;
        self.run_name = how.name;
        Ok(())
    }

    fn count(&mut self, entries: &[Entry]) -> Step {
        for entry in entries {
            let came = self.pages.note(*entry);
            let pages = &mut self.report.pages;
            pages.entries += 1;
            pages.with_data += u64::from(entry.has_data());
            pages.distinct += u64::from(came.first);
            pages.again += u64::from(came.second);
            if entry.nibble != Entry::ABSENT {
                pages.highest = pages.highest.max(Some(entry.pfn));
            }
            match pages.types.iter_mut().find(|known| known.nibble == entry.nibble) {
                Some(known) => known.entries += 1,
                None => pages.types.push(PageTypeCount {
                    nibble: entry.nibble,
                    name: names::page_type(entry.nibble),
                    entries: 1,
                }),
            }
            if came.twice_in_batch {
                let found = format!("page {:#x} twice", entry.pfn);
                self.fault(self.part_offset(), found, "each page once in a record")?;
            }
        }
        Ok(())
    }

    /// Reads the pages' contents. Only those of page tables are looked at.
    fn contents(&mut self, entries: &[Entry], how: How<'_>) -> Step {
        let mut page = [0; PAGE_SIZE];
        let mut plain = 0;
        for entry in entries.iter().filter(|entry| entry.has_data()) {
            let tables = how.tables.filter(|tables| tables.applies(entry.nibble));
            let Some(tables) = tables else {
                plain += PAGE_SIZE as u64;
                continue;
            };
            self.skip(std::mem::take(&mut plain))?;
            let offset = self.input.offset();
            self.exact(&mut page)?;
            let Some(problem) = tables.problem(entry.nibble, &page) else {
                continue;
            };
            if tables.last_copy_counts {
                if !how.verify {
                    self.pages.mark_bad(entry.pfn);
                }
            } else {
                let found = format!(
                    "page {:#x} ({}) with {}",
                    entry.pfn,
                    names::page_type(entry.nibble),
                    problem.found
                );
                self.fault(offset + problem.at as u64, found, problem.expected)?;
            }
        }
        self.skip(plain)
    }

    /// Says that page tables are wrong whose last copies were to be waited for.
    pub(super) fn bad_tables(&mut self) -> Step {
        if let Some((pfn, count)) = self.pages.bad_tables() {
            let found = format!("{count} page tables, the first of them page {pfn:#x}, with entries out of bounds");
            let expected = "entries that name pages of the guest, and zeros in the hypervisor's slots";
            self.fault(self.part_offset(), found, expected)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(batches: &[&[u64]]) -> Vec<bool> {
        let mut map = PageMap::default();
        let begin = |batch: &&[u64]| {
            let entries: Vec<Entry> = batch.iter().map(|pfn| Entry { pfn: *pfn, nibble: 0 }).collect();
            let new = map.begin(&entries);
            for entry in entries {
                map.note(entry);
            }
            new
        };
        batches.iter().map(begin).collect()
    }

    #[test]
    fn a_round_ends_where_numbers_go_down_or_a_page_comes_again() {
        assert_eq!(
            rounds(&[&[0, 1], &[2, 5], &[3, 4], &[5, 6]]),
            [true, false, true, false]
        );
        // In a random order only a page that comes again tells.
        assert_eq!(
            rounds(&[&[7, 1], &[2, 5], &[3, 0], &[4, 5], &[0]]),
            [true, false, false, true, false]
        );
        assert_eq!(rounds(&[&[1], &[1], &[1]]), [true; 3]);
    }

    #[test]
    fn pages_are_counted_once() {
        let mut map = PageMap::default();
        let mut note = |pfn, nibble| {
            let came = map.note(Entry { pfn, nibble });
            map.batch += 1;
            (came.first, came.second)
        };
        assert_eq!(note(9, Entry::ABSENT), (false, false));
        assert_eq!(note(9, 0), (true, false));
        assert_eq!(note(9, 1), (false, true));
        assert_eq!(note(9, 1), (false, false));
        assert_eq!(note(1 << 40, 0), (true, false));
        assert_eq!((map.last(9), map.last(10), map.last(1 << 40)), (Some(1), None, Some(0)));
        map.forget(9);
        assert_eq!(map.last(9), Some(Entry::ABSENT));
    }
}
